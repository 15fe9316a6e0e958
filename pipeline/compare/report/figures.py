"""The summary's distributions and curves, laid out as the report draws them. None is made here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pipeline.measure.waterfall import LABELS

Variant = Mapping[str, Any]


def by_path(summary: Mapping[str, Any]) -> dict[str, Variant]:
    """The summary's variants by the path's own name."""
    found = summary.get("variants") or {}
    return {one.get("path", name): one for name, one in found.items()}


def verdict(summary: Mapping[str, Any]) -> list[str]:
    """Its sentences."""
    return [str(sentence) for sentence in summary.get("verdict") or ()]


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """What a reader should bear in mind."""
    return [str(sentence) for sentence in summary.get("warnings") or ()]


def prices(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Where each path's prices come from, and what was spent on what."""
    found: dict[str, Any] = {}
    for name, variant in (summary.get("variants") or {}).items():
        bill = variant.get("cost") or {}
        if bill.get("prices_as_of"):
            found[name] = {
                "as of": bill["prices_as_of"],
                "source": bill.get("source"),
                "spent ($)": dict(bill.get("parts_usd") or {}),
            }
        elif bill.get("note"):
            found[name] = bill["note"]
    return found


def strips(
    summary: Mapping[str, Any],
    turns: Sequence[Mapping[str, Any]],
    paths: Sequence[str],
    parts: Iterable[str],
) -> list[dict[str, Any]]:
    """Distributions: of the whole latency, to the answer where that differs, of each part."""
    variants = by_path(summary)
    counted = [turn for turn in turns if turn["repeat"] and turn["wav_ms"] is not None]

    def panel(
        kind: str,
        title: str,
        value: Callable[[Mapping[str, Any]], float | None],
        stats: Callable[[Variant], Any],
    ) -> dict[str, Any]:
        groups = []
        for index, path in enumerate(paths):
            mine = [(value(turn), turn["id"]) for turn in counted if turn["path"] == path]
            dots = [[ms, number] for ms, number in mine if ms is not None]
            if dots:
                found = stats(variants.get(path, {})) or {}
                groups.append({"path": index, "stats": found, "dots": dots})
        return {"kind": kind, "title": title, "groups": groups}

    found = [
        panel(
            "total",
            "Voice to voice (ms, by the WAV)",
            lambda turn: turn["wav_ms"],
            lambda variant: variant.get("voice_to_voice_ms"),
        )
    ]
    if any((variant.get("answering") or {}).get("fillers") for variant in variants.values()):
        found.append(
            panel(
                "total",
                "To the first sound that answers (ms, by the WAV)",
                lambda turn: turn["answering_ms"],
                lambda variant: (variant.get("answering") or {}).get("ms"),
            )
        )
    for part in parts:
        found.append(
            panel(part, f"{LABELS[part]} (ms)", _part_of("parts", part), _part_of("parts_ms", part))
        )
    return [one for one in found if one["groups"]]


def _part_of(where: str, part: str) -> Callable[[Mapping[str, Any]], Any]:
    """Gives a part from the mapping that something holds under a name, if it holds one."""
    return lambda holder: (holder.get(where) or {}).get(part)


def curves(summary: Mapping[str, Any], paths: Sequence[str]) -> list[dict[str, Any]]:
    """Shares along the conversation and by length of the instructions, a series for each path."""
    variants = by_path(summary)
    each = [variants.get(path, {}) for path in paths]
    tools = [variant.get("tools") or {} for variant in each]
    right = "Turns in which the right tool was called with the right arguments, and on time"
    found = [
        _by_turn("Tools by turn", f"{right}, over all scenarios.", _all(tools, "by_turn")),
        _by_length(right, _all(tools, "by_length")),
    ]
    points = _all(tools, "by_length_and_turn")
    lengths = dict.fromkeys(point["length"] for mine in points for point in mine)
    for length in lengths if len(lengths) > 1 else ():
        some = [[point for point in mine if point["length"] == length] for mine in points]
        title = f"Tools by turn, {length} instructions"
        found.append(_by_turn(title, f"{right}, where the instructions are {length}.", some))
    for name, title, note in (
        ("instructions_by_turn", "Instructions by turn", "Turns that followed the instructions."),
        ("recall_by_turn", "Recall by turn", "Turns that remembered what had been said before."),
    ):
        found.append(_by_turn(title, note, _all(each, name)))
    return [one for one in found if len(one["ticks"]) > 1]


def _all(each: Sequence[Mapping[str, Any]], name: str) -> list[list[Mapping[str, Any]]]:
    return [[point for point in one.get(name) or () if point.get("n")] for one in each]


def _by_turn(title: str, note: str, each: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    turns = sorted({point["turn"] for mine in each for point in mine})
    return {
        "title": title,
        "note": note,
        "axis": "turn",
        "ticks": [[turn, str(turn)] for turn in turns],
        "series": _series(each, lambda point: point["turn"]),
    }


def _by_length(note: str, each: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    sizes: dict[str, int] = {}
    for mine in each:
        for point in mine:
            sizes[point["length"]] = point["instruction_chars"]
    order = sorted(sizes, key=lambda length: sizes[length])
    return {
        "title": "Tools by length of the instructions",
        "note": f"{note}, over all turns; lengths are in characters.",
        "axis": "length of the instructions",
        "ticks": [
            [place, f"{length} ({sizes[length]:,})".replace(",", " ")]
            for place, length in enumerate(order)
        ],
        "series": _series(each, lambda point: order.index(point["length"])),
    }


def _series(
    each: Sequence[Sequence[Mapping[str, Any]]], place: Callable[[Mapping[str, Any]], int]
) -> list[dict[str, Any]]:
    return [
        {
            "path": index,
            "points": [
                {
                    "x": place(point),
                    "share": point["share"],
                    "ci": point["ci95"],
                    "met": point["met"],
                    "n": point["n"],
                }
                for point in mine
            ],
        }
        for index, mine in enumerate(each)
        if mine
    ]
