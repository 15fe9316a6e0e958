"""The report: one file that a browser opens offline, with every turn's waterfall and sound in it.

All figures come from `summary.summarise`; here they are only laid out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.measure import gates, junit, perfetto, report, waterfall
from pipeline.measure.record import Record
from pipeline.measure.report import Axis, ms
from pipeline.measure.run import REPORT, SUMMARY, TURNS, Files, as_csv, as_json
from pipeline.measure.summary import COLUMNS, ProfileSummary, by_variant, row
from pipeline.trace import PARTS

SECTIONS = (
    ("summary", "Summary"),
    ("time", "Where the time went"),
    ("distributions", "Distributions"),
    ("turns", "Turns"),
    ("failures", "Failures and time-outs"),
    ("warmup", "Warm-up"),
    ("conditions", "Conditions"),
)
"""Blocks of the template, and their headings."""

WIDE_PX, NARROW_PX, LETTER_PX = 1000, 330, 6.4
"""Widths of the bars in a window and on a phone, and of a letter in them: what fits into a part."""


def files(
    folder: Path, header: Mapping[str, Any], records: Sequence[Record], summary: ProfileSummary
) -> Files:
    """What a profile leaves beside its records: tables, a trace, the report, `junit.xml`."""
    return {
        SUMMARY: lambda: as_json(summary),
        TURNS: lambda: as_csv(COLUMNS, map(row, records)),
        perfetto.NAME: lambda: perfetto.rendered(header, records),
        REPORT: lambda: rendered(folder, header, records, summary),
        junit.NAME: lambda: junit.rendered("profile", header, summary, junit.turns(records)),
    }


def rendered(
    folder: Path,
    header: Mapping[str, Any],
    records: Sequence[Record],
    summary: ProfileSummary,
    sound_bytes: int = waterfall.MOST_BYTES,
) -> str:
    """The page of a profile: `report.html` in its folder.

    Args:
        folder: The profile's, in which the WAVs are.
        header: What describes the run.
        records: All of them, warm-up included.
        summary: Of `measure.summary.summarise`.
        sound_bytes: Most sound to embed (bytes of base64).
    """
    turns = [waterfall.turn(number, record) for number, record in enumerate(records)]
    sounds = _embed(folder, records, turns, sound_bytes)
    values = content(header, records, turns, summary)
    return report.render("pipeline.profile", "profile.html", values, turns, sounds)


def content(
    header: Mapping[str, Any],
    records: Sequence[Record],
    turns: Sequence[Mapping[str, Any]],
    summary: ProfileSummary,
) -> dict[str, Any]:
    """What the template shows.

    Args:
        header: What describes the run.
        records: All of them, warm-up included.
        turns: `waterfall.turn` of each.
        summary: Of `measure.summary.summarise`.
    """
    names = list(by_variant(header, records))
    stats = {name: summary["variants"].get(name, {"n": 0, "failed": 0}) for name in names}
    measured = [turn for turn in turns if turn["repeat"]]
    labelled = waterfall.parts(PARTS)
    groups = [
        report.Group(name, one, [turn for turn in turns if turn["variant"] == name])
        for name, one in stats.items()
    ]
    return {
        "title": "Cascade profile",
        "sections": SECTIONS,
        "header": dict(header),
        "gates": [gates.shown(one) for one in summary.get("gates") or ()],
        "warnings": summary.get("warnings") or (),
        "variants": names,
        "stats": stats,
        "sound": summary.get("sound") or {},
        "parts": labelled,
        "bars": _bars(stats),
        "panels": report.distributions(groups, PARTS),
        "measured": measured,
        "warm": [turn for turn in turns if not turn["repeat"]],
    }


def _bars(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Means of the parts, variant under variant, on one axis; None for one without a reply."""
    rows = {name: _means(one) for name, one in stats.items()}
    low, high = 0.0, 1.0
    for name, means in rows.items():
        if means:
            total = stats[name].get("voice_to_voice_ms") or {}
            ends = (total.get("median"), *(total.get("ci95") or ()), means["total"])
            high = max(high, *(end for end in ends if end is not None))
            low = min(low, means["total"], means["commit"] - sum(ms for _, ms in means["hidden"]))
    axis = Axis(low, high)
    ticks = axis.ticks(8)
    for tick in ticks:
        tick["text"] += " ms" if tick["text"] == "0" else ""
    drawn = {name: means and _bar(means, stats[name], axis) for name, means in rows.items()}
    return {"rows": drawn, "ticks": ticks}


def _means(stats: Mapping[str, Any]) -> dict[str, Any] | None:
    """The mean of each part (ms), in order, and of the work that was hidden before the commit."""

    def mean(kind: str, name: str) -> float | None:
        found: float | None = ((stats.get(kind) or {}).get(name) or {}).get("mean")
        return found

    parts = [(name, mean("parts_ms", name)) for name in PARTS]
    if all(value is None for _, value in parts):
        return None
    hidden = [(name, mean("hidden_ms", name) or 0.0) for name in PARTS]
    return {
        "parts": [(name, value or 0.0) for name, value in parts],
        "hidden": [(name, value) for name, value in hidden if value >= 0.05],
        "commit": parts[0][1] or 0.0,
        "total": sum(value or 0.0 for _, value in parts),
    }


def _bar(row: Mapping[str, Any], stats: Mapping[str, Any], axis: Axis) -> dict[str, Any]:
    """A variant's bar: its parts from the end of speech on, what was hidden up to the commit."""
    total = stats.get("voice_to_voice_ms") or {}
    hidden_ms = sum(value for _, value in row["hidden"])
    ends = total.get("ci95") or ()
    return {
        "parts": _segments(row["parts"], 0.0, axis, "on average"),
        "hidden": _segments(row["hidden"], row["commit"] - hidden_ms, axis, "before the commit"),
        "commit": axis.at(row["commit"]),
        "mean": row["total"],
        "median": None if total.get("median") is None else axis.at(total["median"]),
        "ci": [axis.at(end) for end in ends if end is not None],
    }


def _segments(
    parts: Sequence[tuple[str, float]], at: float, axis: Axis, when: str
) -> list[dict[str, Any]]:
    """Parts side by side from `at` on (ms)."""
    found = []
    for name, value in parts:
        if value:
            left, right = sorted((axis.at(at), axis.at(at + value)))
            label, text = waterfall.LABELS[name], ms(value)
            found.append(
                {
                    "name": name,
                    "x": left,
                    "width": round(max(right - left, 0.07), 2),
                    "about": f"{label}\n{text} ms {when}",
                    "wide": _fitting((f"{label} {text}", text), (right - left) / 100 * WIDE_PX),
                    "narrow": _fitting((f"{label} {text}", text), (right - left) / 100 * NARROW_PX),
                }
            )
            at += value
    return found


def _fitting(texts: Sequence[str], width_px: float) -> str:
    """The first text for which there is room; empty if there is none."""
    return next((text for text in texts if len(text) * LETTER_PX < width_px - 10), "")


def _embed(
    folder: Path, records: Sequence[Record], turns: list[dict[str, Any]], most: int
) -> dict[int, str]:
    """Sound by number of turn, as much as fits: turns that went wrong first, the warm-up last.

    Tells each of `turns` what there is: `sound` is `inside`, `linked` or `none`.
    """

    def urgency(number: int) -> tuple[bool, bool, int]:
        record = records[number]
        return record.repeat == 0, record.status == "ok", record.order

    room = waterfall.Room(most)
    for number in sorted(range(len(records)), key=urgency):
        turns[number] |= room.take(number, waterfall.read(folder, records[number].wav))
    return room.inside
