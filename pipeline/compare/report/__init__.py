"""The report of a comparison: one file, in which every utterance's replies are seen and heard.

All figures come from the summary; here they are only laid out. Where a simulated server had a part
in the run, the stamp is in the markup: on the title, above the page, and on every section, table
and figure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.compare.record import Conversation
from pipeline.compare.report import data, figures
from pipeline.measure import report, waterfall
from pipeline.measure.report import Axis
from pipeline.speech_to_speech.brief import STAMP

NAME = report.NAME

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
"""Blocks of the template, and their headings."""

COLUMNS = 4
"""So many paths have a column in the table of utterances; the others are in its rows."""

CURVE_PX, NARROW_PX, LETTER_PX = 210, 330, 6.8
"""Height of a curve, its width on a phone, and the width of a letter on its axis."""


def write(
    folder: Path,
    header: Mapping[str, Any],
    conversations: Sequence[Conversation],
    summary: Mapping[str, Any],
    *,
    sound_bytes: int = waterfall.MOST_BYTES,
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
    shown = content(header, conversations, summary)
    sounds = data.embed(folder, conversations, shown["turns"], sound_bytes)
    return report.write(folder / NAME, page(shown, sounds))


def content(
    header: Mapping[str, Any], conversations: Sequence[Conversation], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """What the report shows."""
    paths = data.paths(header, conversations)
    names = [path["name"] for path in paths]
    labels = {path["name"]: path["label"] for path in paths}
    turns = data.turns(conversations, labels)
    stamped = any(path["simulated"] for path in paths)
    return {
        "title": "Cascade comparison",
        "stamp": STAMP if stamped else "",
        "header": dict(header),
        "sections": SECTIONS,
        "paths": paths,
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


def page(shown: Mapping[str, Any], sounds: Mapping[int, str]) -> str:
    """The file.

    Args:
        shown: Of `content`, each turn with what `data.embed` told of its sound.
        sounds: Base64 FLAC by number of turn.
    """
    turns, paths, header = shown["turns"], shown["paths"], shown["header"]
    places = {(turn["conversation"], turn["number"]): turn for turn in turns}
    followed = [
        (turn, after)
        for turn in turns
        if turn["repeat"] and (after := places.get((turn["conversation"], turn["number"] + 1)))
    ]
    values = {
        **shown,
        "counted": [turn for turn in turns if turn["repeat"]],
        "interrupted": [
            (turn, after, [one for one in turn["checks"] if one["kind"].startswith("history")])
            for turn, after in followed
            if after["interrupts"]
        ],
        "unmet": [
            (turn, check)
            for turn in turns
            for check in turn["checks"]
            if turn["repeat"] and check["met"] is not True
        ],
        "standings": sorted({standing for turn in turns for standing in _standing(turn)}),
        "rows": [_row(row, turns) for row in shown["rows"]],
        "columns": _columns(paths),
        "column_count": COLUMNS,
        "setups": {one["label"]: _mapping(header, "variants").get(one["name"]) for one in paths},
        "scenarios": _texts(header.get("scenarios")),
        "strips": [_strip(one, turns, paths) for one in shown["strips"]],
        "curves": [_curve(one, paths) for one in shown["curves"]],
    }
    return report.render("pipeline.compare", "compare.html", values, turns, sounds)


def _mapping(header: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping of the header; empty if it is none."""
    found = header.get(name)
    return found if isinstance(found, Mapping) else {}


def _texts(scenarios: Any) -> dict[str, str]:
    """The scenarios by name, as text."""
    if isinstance(scenarios, Sequence):
        scenarios = {one["name"]: one for one in scenarios}
    return {
        name: one if isinstance(one, str) else json.dumps(one, indent=2, ensure_ascii=False)
        for name, one in (scenarios or {}).items()
    }


def _columns(paths: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Of the table of utterances: key, label, class, and what it is."""
    latency = "Voice-to-voice latency by the WAV (ms)"
    return [
        ("utterance", "Utterance", "file", ""),
        ("said", "Said", "wide text", ""),
        ("topic", "Topic", "wide", ""),
        ("repeat", "Rep.", "num", "Repetition"),
        *((f"path {one['name']}", one["label"], "wide num", latency) for one in paths[:COLUMNS]),
    ]


def _row(row: Mapping[str, Any], turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An utterance with its turns, and what it is found by."""
    mine = [turns[number] for number in row["turns"]]
    words = [row["scenario"], row["said"]]
    for turn in mine:
        words += [turn["transcript"], turn["reply"], turn["reason"]]
        words += [call["name"] for call in turn["calls"]]
    facets = [
        {"Path": [turn["title"]], "Scenario": [row["scenario"]], "Status": _standing(turn)}
        for turn in mine
    ]
    return {**row, "mine": mine, "words": words, "facets": facets}


def _standing(turn: Mapping[str, Any]) -> list[str]:
    """What a turn may be filtered by."""
    met = [check["met"] for check in turn["checks"]]
    unmet = ["check not met"] if False in met else []
    undecided = ["check undecided"] if None in met else []
    return [turn["shown"], *unmet, *undecided]


def _strip(
    one: Mapping[str, Any], turns: Sequence[Mapping[str, Any]], paths: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A distribution of `figures.strips`, laid out."""

    def about(number: int) -> str:
        turn = turns[number]
        where = f"{turn['scenario']} turn {turn['number']}, repeat {turn['repeat']}"
        return f"{where}\n{turn['title']}"

    total = one["kind"] == "total"
    groups = [
        {
            "label": paths[group["path"]]["label"],
            "mark": f"p-{group['path'] % 6}" if total else "",
            "stats": group["stats"],
            "dots": [(value, number, about(number)) for value, number in group["dots"]],
        }
        for group in one["groups"]
    ]
    return {**one, "drawn": report.strips(groups, share=total, bins=180 if total else 90)}


def _curve(one: Mapping[str, Any], paths: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A curve of `figures.curves`, laid out: places across in percent, down in pixels."""
    low, high = one["ticks"][0][0], one["ticks"][-1][0]
    axis = Axis(low, high, pad=11) if high > low else Axis(low - 1, high + 1, pad=11)
    labels = dict(one["ticks"])
    apart = min(1.2, 50 / len(labels) / (len(one["series"]) + 1))

    def down(share: float) -> float:
        return round(16 + (1 - share) * CURVE_PX, 1)

    def point(series: Mapping[str, Any], row: int, found: Mapping[str, Any]) -> dict[str, Any]:
        told = [
            f"{report.in_unit(found['share'], 'share')} ({found['met']} of {found['n']})",
            paths[series["path"]]["label"],
            f"{one['axis']} {labels[found['x']]}",
            f"95 % interval {report.span(found['ci'], 'share')} %" if found["ci"] else "",
        ]
        return {
            **found,
            "at": found["x"],
            "x": round(axis.at(found["x"]) + (row - (len(one["series"]) - 1) / 2) * apart, 2),
            "y": down(found["share"]),
            "ends": [down(end) for end in found["ci"] or ()],
            "about": [text for text in told if text],
        }

    ticks, taken = [], -100.0
    for value, label in one["ticks"]:
        half = len(label) * LETTER_PX / 2 / NARROW_PX * 100
        fits = axis.at(value) - half > taken
        taken = axis.at(value) + half if fits else taken
        ticks.append({"x": axis.at(value), "at": value, "text": label, "fits": fits})
    return {
        **one,
        "ticks": ticks,
        "levels": [(down(share), f"{100 * share:.0f} %") for share in (0, 0.25, 0.5, 0.75, 1)],
        "series": [
            {**series, "points": [point(series, row, found) for found in series["points"]]}
            for row, series in enumerate(one["series"])
        ],
    }
