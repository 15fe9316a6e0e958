"""The report: one file that a browser opens offline, with every turn's waterfall and sound in it.

The page fetches nothing: its style, script, data and sound are inside, and its content security
policy forbids everything else, so that no transcript can make it do more than show text. All
figures come from `summary.summarise`; the script only draws.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.errors import StageError
from pipeline.profile.record import Record
from pipeline.profile.report import data, sound
from pipeline.profile.summary import summarise

NAME = "report.html"

SOUND_BYTES = 25_000_000
"""Most sound (as base64 text) inside a report: a page of this size still opens at once. The
recordings beyond it are linked in the folder."""

SCRIPTS = ("dom.js", "charts.js", "distributions.js", "sound.js", "waterfall.js", "turns.js")
"""Parts of the script, in order, before `report.js`."""


def write(
    folder: Path,
    header: Mapping[str, Any],
    records: Sequence[Record],
    *,
    sound_bytes: int = SOUND_BYTES,
) -> Path:
    """Write `report.html` into a profile's folder, in which the records' WAVs are.

    Args:
        folder: The profile's.
        header: What describes the run.
        records: All of them, warm-up included.
        sound_bytes: Most sound to embed (bytes of base64).

    Returns:
        The file's path.

    Raises:
        StageError: Of stage `save`: the file cannot be written.
    """
    turns = [data.turn(number, record) for number, record in enumerate(records)]
    content = {
        "header": dict(header),
        "parts": data.parts(),
        "variants": data.variants(header, records),
        "summary": summarise(header, records),
        "peak_ms": sound.PEAK_MS,
        "turns": turns,
    }
    sounds = _embed(folder, records, turns, sound_bytes)
    path = folder / NAME
    try:
        path.write_text(_page(content, sounds), encoding="utf-8")
    except OSError as error:
        raise StageError(
            "save", f"{path}: the report cannot be written: {error.strerror}"
        ) from None
    return path


def _embed(
    folder: Path, records: Sequence[Record], turns: list[dict[str, Any]], most: int
) -> dict[int, str]:
    """Sound by number of turn, as much as fits: turns that went wrong first, the warm-up last.

    Tells each turn in `turns` what there is: `sound` is `inside`, `linked` or `none`.
    """

    def urgency(number: int) -> tuple[bool, bool, int]:
        record = records[number]
        return record.repeat == 0, record.status == "ok", record.order

    inside: dict[int, str] = {}
    room = True
    for number in sorted(range(len(records)), key=urgency):
        about = turns[number]
        path = _recording(folder, records[number].wav)
        stereo = sound.read(path) if path else None
        if stereo is None:
            about |= {"sound": "none", "wav": ""}
            continue
        about |= {"sound": "linked", "peaks": sound.peaks(stereo)}
        about["seconds"] = len(stereo) / sound.RATE
        if room:
            flac = sound.flac(stereo)
            most -= len(flac)
            room = most >= 0
        if room:
            inside[number] = flac
            about["sound"] = "inside"
    return inside


def _recording(folder: Path, name: str) -> Path | None:
    """Where a record says that its WAV is, unless that is outside the profile's folder."""
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError):
        return None
    return path if name and path.is_relative_to(folder.resolve()) else None


def _page(content: Mapping[str, Any], sounds: Mapping[int, str]) -> str:
    style = _resource("report.css")
    parts = "\n".join(_resource(name) for name in (*SCRIPTS, "report.js"))
    script = f'(() => {{\n"use strict";\n{parts}}})();\n'
    values = {
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "data": _json(content),
        "sounds": "\n".join(
            f'<script type="text/plain" id="sound-{number}">{flac}</script>'
            for number, flac in sorted(sounds.items())
        ),
    }
    # One pass, so that nothing in the data is taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _resource("report.html"))


def _json(content: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever texts it holds."""
    text = json.dumps(data.plain(content), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    """What a content security policy knows an inline element by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
