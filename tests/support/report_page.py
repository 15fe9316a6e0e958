"""Both reports, written from synthetic runs, and what a browser finds inside their files."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.compare import cost
from pipeline.compare import report as compare_report
from pipeline.compare import summary as compare_summary
from pipeline.measure import summary as profile_summary
from pipeline.measure.record import Record
from pipeline.measure.run import REPORT
from pipeline.measure.run import write as leave
from pipeline.profile import report as profile_report
from support import comparison_samples, samples

KINDS = ("profile", "comparison")

NAMESPACE = "http://www.w3.org/2000/svg"
"""The only address in a report; nothing is fetched from it."""

FEW = tuple(samples.SAID)[:4]

HOSTILE = (
    "</script><b id='evil'>bold</b><img src=x onerror=document.title='evil'>"
    "<!-- {{ script }} & \u2028 \0 \\u003c"
)
"""A text that would be markup, a script or a template if a page took it for more than text."""


def write(
    kind: str,
    folder: Path,
    change: Callable[[Record], Record] = lambda record: record,
    *,
    header: dict[str, Any] | None = None,
    sound: Path | None = None,
    wav: str | None = None,
    keep: Callable[[Record], bool] = lambda record: True,
    most: int | None = None,
    summarised: bool = True,
    **options: Any,
) -> Path:
    """Write a report of one `kind` of a synthetic run.

    Args:
        kind: Of `KINDS`.
        folder: Where.
        change: Makes the records that are reported of those of the run.
        header: What replaces parts of the run's.
        sound: Where the run's sound is written; None: nowhere.
        wav: What every recording is called instead of its name.
        keep: Which records are reported; of a comparison, conversations of which any are kept.
        most: Most sound to embed.
        summarised: Whether there are statistics, which take time; a profile has them always.
        options: Of the synthetic run.
    """
    limit = {} if most is None else {"sound_bytes": most}
    if kind == "profile":
        head, records = samples.profile(sound, files=FEW, **options)
        told = [change(one) for one in records if keep(one)]
        told = [one if wav is None else replace(one, wav=wav) for one in told]
        head |= header or {}
        summary: Any = profile_summary.summarise(head, told)
        page = profile_report.rendered(folder, head, told, summary, **limit)
        return leave(folder / REPORT, page)
    head, held = comparison_samples.comparison(sound, **options)
    held = [one for one in held if any(keep(turn.record) for turn in one.turns)]
    held = [
        replace(
            one,
            wav=one.wav if wav is None else wav,
            turns=tuple(replace(turn, record=change(turn.record)) for turn in one.turns),
        )
        for one in held
    ]
    head |= header or {}
    summary = compare_summary.summarise(head, held, cost.prices()) if summarised else {}
    page = compare_report.rendered(folder, head, held, summary, **limit)
    return leave(folder / REPORT, page)


def recorded(kind: str, **options: Any) -> list[Record]:
    """The records of the synthetic run, in the order of the turns in its report."""
    if kind == "profile":
        return samples.profile(files=FEW, **options)[1]
    held = comparison_samples.comparison(**options)[1]
    return [turn.record for one in held for turn in one.turns]


class Elements(HTMLParser):
    """Start tags of a page with their attributes, and all of its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(re.sub(r'(<script type="text/plain"[^>]*>)[^<]*', r"\1", page))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def content(page: str) -> dict[str, Any]:
    """What the script draws, as it finds it: up to the first end tag."""
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    loaded: dict[str, Any] = json.loads(found)
    return loaded


def sounds(page: str) -> dict[int, str]:
    """Base64 FLAC by number of turn."""
    found = re.findall(r'<script type="text/plain" id="sound-(\d+)">(.*?)</script>', page)
    return {int(number): text for number, text in found}


def decoded(source: Path | str) -> np.ndarray[Any, Any]:
    """Samples of a recording, or of base64 FLAC: a row each."""
    file = source if isinstance(source, Path) else io.BytesIO(base64.b64decode(source))
    with av.open(file) as container:
        frames = [frame.to_ndarray().reshape(-1, 2) for frame in container.decode(audio=0)]
    return np.concatenate(frames)
