"""The report: one file that a browser opens offline, with every turn's waterfall and sound in it.

All figures come from `summary.summarise`; the script only draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.measure.html import page, sound, turns
from pipeline.measure.html.page import Kit, Page
from pipeline.measure.record import Record
from pipeline.measure.summary import summarise
from pipeline.profile.report import data
from pipeline.trace import PARTS

NAME = "report.html"

SHARED = page.SHARED
KIT = Kit(
    styles=((SHARED, "base.css"), (__package__, "report.css")),
    scripts=(
        *((SHARED, name) for name in ("dom.js", "strips.js", "sound.js", "waterfall.js")),
        *((SHARED, name) for name in ("navigate.js", "list.js", "frame.js")),
        *((__package__, name) for name in ("charts.js", "turns.js", "report.js")),
    ),
)

WITHOUT_SCRIPT = (
    "<noscript><p>This report is drawn by the script inside it; the same figures are in "
    "summary.json and turns.csv beside it.</p></noscript>"
)


def write(
    folder: Path,
    header: Mapping[str, Any],
    records: Sequence[Record],
    *,
    sound_bytes: int = sound.MOST_BYTES,
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
    drawn = [turns.turn(number, record) for number, record in enumerate(records)]
    content = {
        "header": dict(header),
        "parts": turns.parts(PARTS),
        "variants": data.variants(header, records),
        "summary": summarise(header, records),
        "peak_ms": sound.PEAK_MS,
        "turns": drawn,
    }
    sounds = _embed(folder, records, drawn, sound_bytes)
    return page.write(folder / NAME, KIT, _page(content, sounds))


def _page(content: Mapping[str, Any], sounds: Mapping[int, str]) -> Page:
    return Page("Cascade profile", content, main=WITHOUT_SCRIPT, sounds=sounds)


def _embed(
    folder: Path, records: Sequence[Record], drawn: list[dict[str, Any]], most: int
) -> dict[int, str]:
    """Sound by number of turn, as much as fits: turns that went wrong first, the warm-up last.

    Tells each turn in `drawn` what there is: `sound` is `inside`, `linked` or `none`.
    """

    def urgency(number: int) -> tuple[bool, bool, int]:
        record = records[number]
        return record.repeat == 0, record.status == "ok", record.order

    room = sound.Room(most)
    for number in sorted(range(len(records)), key=urgency):
        path = sound.recording(folder, records[number].wav)
        stereo = sound.read(path) if path else None
        drawn[number] |= room.take(number, stereo)
    return room.inside
