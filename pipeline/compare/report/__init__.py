"""The report of a comparison: one file, in which every utterance's replies are seen and heard.

All figures come from the summary; the script only draws. Where a simulated server had a part in the
run, the stamp is in the markup itself: on the title, above the page, and in every section; the
script adds it to every table and figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline.compare.record import Conversation
from pipeline.compare.report import data, figures
from pipeline.measure.html import page, sound
from pipeline.measure.html.page import Kit, Page
from pipeline.measure.html.turns import parts
from pipeline.profile.report import SHARED
from pipeline.speech_to_speech.brief import STAMP

NAME = "report.html"

SECTIONS = (
    ("verdict", "Verdict"),
    ("paths", "Side by side"),
    ("latency", "Latency of every turn"),
    ("curves", "Along the conversation"),
    ("utterances", "Utterances"),
    ("history", "After interruptions"),
    ("failures", "What failed"),
    ("method", "How it was measured"),
)
"""What the script draws, by name, and its title."""

KIT = Kit(
    styles=((SHARED, "base.css"), (__package__, "report.css")),
    scripts=(
        *((SHARED, name) for name in ("dom.js", "strips.js", "sound.js", "waterfall.js")),
        *((SHARED, name) for name in ("navigate.js", "list.js", "frame.js")),
        *((__package__, name) for name in ("paths.js", "curves.js", "utterances.js")),
        *((__package__, name) for name in ("history.js", "method.js", "report.js")),
    ),
)


def write(
    folder: Path,
    header: Mapping[str, Any],
    conversations: Sequence[Conversation],
    summary: Mapping[str, Any],
    *,
    sound_bytes: int = sound.MOST_BYTES,
) -> Path:
    """Write `report.html` into a comparison's folder, in which the conversations' WAVs are.

    Args:
        folder: The comparison's.
        header: What describes the run.
        conversations: All of them, warm-up included.
        summary: Of `compare.summary.summarise`.
        sound_bytes: Most sound to embed (bytes of base64).

    Returns:
        The file's path.

    Raises:
        StageError: Of stage `save`: the file cannot be written.
    """
    drawn = content(header, conversations, summary)
    sounds = data.embed(folder, conversations, drawn["turns"], sound_bytes)
    return page.write(folder / NAME, KIT, made(drawn, sounds))


def content(
    header: Mapping[str, Any], conversations: Sequence[Conversation], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """What the script draws."""
    paths = data.paths(header, conversations)
    names = [path["name"] for path in paths]
    labels = {path["name"]: path["label"] for path in paths}
    turns = data.turns(conversations, labels)
    stamped = any(path["simulated"] for path in paths)
    return {
        "stamp": STAMP if stamped else "",
        "header": dict(header),
        "sections": list(SECTIONS),
        "paths": paths,
        "parts": parts(data.PART_NAMES),
        "peak_ms": sound.PEAK_MS,
        "verdict": summary.get("verdict") or [],
        "warnings": summary.get("warnings") or [],
        "measures": figures.measures(summary, names, header),
        "strips": figures.strips(summary, turns, names, data.PART_NAMES),
        "curves": figures.curves(summary, names),
        "prices": figures.prices(summary),
        "turns": turns,
        "rows": data.rows(turns, header, names),
        "broken": data.broken(conversations, labels),
    }


def made(drawn: Mapping[str, Any], sounds: Mapping[int, str]) -> Page:
    """The page with its markup: title, banner and the sections that the script fills."""
    stamp = str(drawn.get("stamp") or "")
    title = "Cascade comparison"
    return Page(
        f"{stamp}: {title}" if stamp else title,
        drawn,
        main="".join(
            _section(number, name, heading, drawn)
            for number, (name, heading) in enumerate(SECTIONS, start=1)
        ),
        banner=_banner(drawn) if stamp else "",
        sounds=sounds,
    )


def _banner(drawn: Mapping[str, Any]) -> str:
    stamp = escape(str(drawn["stamp"]))
    names = [escape(path["name"]) for path in drawn["paths"] if path["simulated"]]
    what = (
        f"Nothing said here of {' and '.join(names)} was measured at a real service: a local "
        "server replayed a script."
    )
    return (
        f'<div id="stamp" role="note"><b>{stamp}</b> <span>{what}</span></div>\n'
        f'<div class="watermark" aria-hidden="true">{stamp}</div>\n'
    )


def _section(number: int, name: str, heading: str, drawn: Mapping[str, Any]) -> str:
    stamp = escape(str(drawn.get("stamp") or ""))
    badge = f' <b class="stamped">{stamp}</b>' if stamp else ""
    inner = _verdict(drawn) if name == "verdict" else ""
    return (
        f'<section id="section-{number}" data-name="{name}" '
        f'aria-labelledby="section-{number}-title"><h2 id="section-{number}-title">'
        f'<span class="number">{number}</span>{heading}{badge}</h2>{inner}</section>\n'
    )


def _verdict(drawn: Mapping[str, Any]) -> str:
    """The verdict, readable without the script."""
    sentences = "".join(f"<li>{escape(one)}</li>" for one in drawn.get("verdict") or ())
    without = (
        "<noscript><p>The rest of this report is drawn by the script inside it; the same figures "
        "are in summary.json and turns.csv beside it.</p></noscript>"
    )
    found = f'<ol class="verdict">{sentences}</ol>' if sentences else "<p>There is none.</p>"
    return found + without
