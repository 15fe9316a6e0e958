"""The summary's figures as the report shows them: tables, distributions, curves. None is made here.

A table's row holds a cell for each path: `value` in the row's `unit`, its 95 % interval `ci`, a
`note`, and the `difference` from the first path; a path without the figure has None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.compare.by_condition import note_of
from pipeline.compare.selectivity import RATES
from pipeline.measure.stats import LEVEL, UNDECIDED, in_words
from pipeline.measure.summary import of
from pipeline.measure.waterfall import LABELS

TOPICS = {
    "answer": "Answers",
    "tools": "Tools",
    "instructions": "Instructions followed",
    "recall": "Recall",
    "interruption": "Memory of interrupted replies",
    "turn-taking": "Silent where asked to be",
}
"""What checks are about, as the report calls it."""

ENTITIES = {"number": "Numbers", "code": "Codes", "name": "Names"}
"""Kinds of entities, as the report calls them."""

WHOLE = "voice_to_voice_ms"

Variant = Mapping[str, Any]
Cell = dict[str, Any]
Figure = Callable[[Variant], Cell | None]
ConditionFigure = tuple[str, str, Figure, str]


class Row(NamedTuple):
    """A figure: all that is declared of it.

    Attributes:
        label: What it is called.
        unit: Of `report.in_unit`.
        cell: Gives it of a system.
        note: What it is, where the label does not say so.
    """

    label: str
    unit: str
    cell: Figure
    note: str = ""


def by_path(summary: Mapping[str, Any]) -> dict[str, Variant]:
    """The summary's variants by the path's own name."""
    found = summary.get("variants") or {}
    return {one.get("path", name): one for name, one in found.items()}


def measures(
    summary: Mapping[str, Any], paths: Sequence[str], header: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The tables of all paths side by side; rows of which no path has anything are left out."""
    variants = by_path(summary)
    each = [variants.get(path, {}) for path in paths]
    found = []
    order = summary.get("conditions") or ()
    for title, caption, rows in (*_tables(each, header), _conditions(order, each)):
        made = [
            {
                "label": row.label,
                "unit": row.unit,
                "note": row.note,
                "cells": [row.cell(one) for one in each],
            }
            for row in rows
        ]
        filled = [row for row in made if any(row["cells"])]
        if filled:
            found.append({"title": title, "caption": caption, "rows": filled})
    return found


def _name(key: str) -> str:
    """What a figure of the server's is called."""
    return key.replace("_", " ").capitalize()


def _tables(
    each: Sequence[Variant], header: Mapping[str, Any]
) -> Iterator[tuple[str, str, list[Row]]]:
    """Title, caption and rows of each table."""
    about = header.get("figures") or {}
    yield (
        "Latency",
        "From the true end of the user's speech to the first audible sample of the reply, both by "
        f"the stereo WAV, with {100 * LEVEL:.0f} % intervals of the median.",
        [
            Row("Median", "ms", _median(WHOLE, f"against_first.{WHOLE}")),
            Row("90th percentile", "ms", _value(f"{WHOLE}.p90")),
            Row("95th percentile", "ms", _value(f"{WHOLE}.p95")),
            Row(
                "Unmeasurable turns",
                "count",
                _value("unmeasurable", least=1),
                "They were answered, but noise after the speech hides when it ended.",
            ),
            Row("Slowest", "ms", _value(f"{WHOLE}.max")),
            Row(
                "Median to the answer",
                "ms",
                _median("answering.ms", "against_first.answering_ms", _fillers),
                "To the first audible sample that is no filler such as “one moment”.",
            ),
        ],
    )
    yield (
        "Where the time went",
        "Medians of the parts of that latency, as traced here: they need not sum to the median of "
        "the whole. A speech model is one part: what it does inside is not told.",
        [
            Row(LABELS[key], "ms", _median(f"parts_ms.{key}", f"against_first.parts_ms.{key}"))
            for key in _keys(each, "parts_ms", LABELS)
        ],
    )
    yield (
        "The server's own figures",
        "Medians of what events of the other side tell. Published figures are mostly of these "
        "kinds, and leave out parts of what a user waits for: they do not compare with the latency "
        "above. The round trip, a part of most of them, is shown apart.",
        [
            *(
                Row(_name(key), "ms", _median(f"server_ms.{key}"), str(about.get(key, "")))
                for key in _keys(each, "server_ms", about)
            ),
            Row(
                "Round trip",
                "ms",
                _median("rtt_ms"),
                "To the server and back, measured beside each conversation.",
            ),
            Row(
                "Connecting",
                "ms",
                _median("connect_ms"),
                "Until the server was ready to hear; in no latency, for the connection is open.",
            ),
        ],
    )
    kinds = [kind for kind in ENTITIES if any(of(one, f"entities.by_kind.{kind}") for one in each)]
    yield (
        "Understanding and doing",
        "Shares of expectations that were met, with Wilson's 95 % intervals. A turn without a "
        "reply has met none.",
        [
            Row(
                "Word error rate",
                "share",
                _word_errors,
                "Of the transcript that the path gave, against what was said; less is better.",
            ),
            Row(
                "Numbers, codes and names understood",
                "share",
                _share("entities.overall", "against_first.entities"),
                "Each is in that transcript or not, however it is written.",
            ),
            *(
                Row(ENTITIES[kind], "share", _share(f"entities.by_kind.{kind}"))
                for kind in (kinds if len(kinds) > 1 else ())
            ),
            Row(
                "All expectations",
                "share",
                _share("expectations", "against_first.success"),
                "The difference is of turns in which all were met.",
            ),
            *(
                Row(TOPICS.get(topic, topic), "share", _share(f"checks.{topic}"))
                for topic in _keys(each, "checks", TOPICS)
            ),
        ],
    )
    yield (
        "Sound of the replies",
        f"What {of(header, 'fidelity.model') or 'a recogniser'} reads in it, against their own "
        f"text. {_floor(header)}",
        [
            Row("Words that differ", "share", _spoken_words, "Less is better."),
            Row(
                "Numbers and codes in the sound",
                "share",
                _share("spoken_words.entities"),
                "Of those in the text of the replies.",
            ),
        ],
    )
    yield (
        "Tools",
        "Turns in which the right tool was called with the right arguments, and on time; Section 4 "
        "has them by turn and by length of the instructions.",
        [
            Row("All turns", "share", _share("tools.overall", "against_first.tools")),
            Row("On the first turn", "share", _share_at(each, "tools_first_turn", min)),
            Row("On the last turn", "share", _share_at(each, "tools_last_turn", max)),
            Row(
                "Median time to the call",
                "ms",
                _median("tools.asked_ms"),
                "From the true end of the user's speech.",
            ),
        ],
    )
    yield (
        "Interruptions",
        "What becomes of a reply when the user speaks into it.",
        [
            Row(
                "Median time to silence",
                "ms",
                _median("interruption.silence_ms", note=_loud),
                "From the first audible sample of the interruption to the last one of the reply.",
            ),
            Row(
                "Right memory",
                "share",
                _share("interruption.history", undecided=False),
                "Whether the model's history holds what was heard, and nothing that was not.",
            ),
        ],
    )
    yield (
        "Selectivity",
        "Whether a system speaks when it is spoken to, and only then, by the stereo WAV: shares of "
        "turns with Wilson's 95 % intervals, and median times.",
        [
            *(
                Row(
                    rate.label,
                    "share",
                    _share(f"selectivity.{name}", f"against_first.selectivity.{name}"),
                    rate.note,
                )
                for name, rate in RATES.items()
            ),
            Row("Median time until it came back", "ms", _median("selectivity.back_ms", note=_back)),
            Row(
                "Median talk-over",
                "ms",
                _median("selectivity.talk_over_ms"),
                "How long both speak, in turns in which they do.",
            ),
        ],
    )
    yield (
        "Heavy tools",
        "A tool takes half a minute or returns a great deal, while the user keeps talking.",
        [
            Row("Still connected", "share", _share("heavy_tools.connected")),
            Row("Still answering", "share", _share("heavy_tools.answering")),
            Row("Slowest tool", "s", _value("heavy_tools.slowest_s")),
            Row("Largest result", "bytes", _value("heavy_tools.largest_bytes")),
            Row("Calls taken back", "count", _value("heavy_tools.cancelled")),
        ],
    )
    dates = sorted({date for one in each if (date := of(one, "cost.prices_as_of"))})
    when = f" Prices are of {', '.join(dates)}." if dates else ""
    yield (
        "Cost",
        "From the usage that was told and a table of prices; what is not known is not taken for "
        f"free.{when}",
        [
            Row("Per minute of conversation", "usd", _per_minute),
            Row("Per minute that the user spoke", "usd", _value("cost.per_speech_minute_usd")),
            Row("Per turn", "usd", _value("cost.per_turn_usd")),
            Row("In all", "usd", _in_all),
            Row(
                "Processor, per minute",
                "s",
                _value("cost.cpu_s_per_minute", ci="cost.cpu_s_per_minute_ci95"),
                "Processor time of this machine; that of others, behind an API, is in the price.",
            ),
            Row("Processor, per turn", "s", _value("cost.cpu_s_per_turn")),
            Row(
                "Energy, per minute",
                "J",
                _value("cost.joules_per_minute"),
                "Of the processor, where the machine tells.",
            ),
        ],
    )
    yield (
        "Failures",
        "Turns without a reply are in no latency; Section 7 has the reasons.",
        [
            Row("Turns that failed", "count", _failed_turns),
            Row("Conversations that broke off", "count", _failed_conversations),
            Row("Connections lost and made again", "count", _value("conversations.reconnects")),
            Row(
                "Replies with gaps",
                "count",
                _value("underruns.turns"),
                "The next sound was not there in time.",
            ),
        ],
    )


def _conditions(order: Sequence[str], each: Sequence[Variant]) -> tuple[str, str, list[Row]]:
    """Title, caption and rows of the table of conditions: each figure in each of them."""
    return (
        "Rooms and lines",
        "What was laid over the user’s sound before any system heard it; latency still counts from "
        "the end of the clean speech. Differences are those from clean sound, of the same words. "
        f"All other {note_of(order)}. What is nothing in all conditions is left out.",
        [
            Row(f"{label}, {condition}", unit, _in(condition, figure, against))
            for label, unit, figure, against in _known(order, each)
            for condition in order
        ],
    )


def _known(order: Sequence[str], each: Sequence[Variant]) -> list[ConditionFigure]:
    """Of `CONDITION_FIGURES` those that are known anywhere; faults only if there are any."""
    found = [(one.get("by_condition") or {}).get(name, {}) for one in each for name in order]
    faults = {rate.label for rate in RATES.values() if not rate.good}

    def tells(one: ConditionFigure) -> bool:
        values = [cell["value"] for mine in found if (cell := one[2](mine))]
        return any(values) if one[0] in faults else any(value is not None for value in values)

    return [one for one in CONDITION_FIGURES if tells(one)]


def _in(condition: str, figure: Figure, against: str) -> Figure:
    """A figure in a condition, with its difference from clean."""

    def found(one: Variant) -> Cell | None:
        mine = (one.get("by_condition") or {}).get(condition, {})
        cell = figure(mine)
        return cell and {**cell, "difference": _difference(mine, f"against_clean.{against}")}

    return found


def _keys(each: Sequence[Variant], name: str, known: Iterable[str]) -> list[str]:
    """The keys of a mapping that any path has: the known ones first, in their order."""
    keys = dict.fromkeys(key for one in each for key in one.get(name) or ())
    return list(dict.fromkeys([*(key for key in known if key in keys), *keys]))


def _cell(value: float | None, ci: Any = None, note: str = "", apart: Any = None) -> Cell | None:
    """A figure; None where there is neither a value nor something to say of it."""
    if value is None and not note:
        return None
    return {"value": value, "ci": ci, "note": note, "difference": apart}


def _value(name: str, *, ci: str = "", least: float | None = None) -> Figure:
    """A number, if it is known and not below `least`."""

    def figure(one: Variant) -> Cell | None:
        value = of(one, name)
        if value is not None and least is not None and value < least:
            return None
        return _cell(value, of(one, ci) if ci else None)

    return figure


def _median(name: str, against: str = "", note: Callable[[Variant], str] | None = None) -> Figure:
    """The median of a distribution, with what it is compared by."""

    def figure(one: Variant) -> Cell | None:
        if not (stats := of(one, name)):
            return None
        told = "; ".join(filter(None, (f"n {stats['n']}", note(one) if note else "")))
        return _cell(stats["median"], stats.get("ci95"), told, _difference(one, against))

    return figure


def _share(name: str, against: str = "", undecided: bool = True) -> Figure:
    """How many of some things are so."""

    def figure(one: Variant) -> Cell | None:
        stats = of(one, name)
        unknown = (stats or {}).get("undecided") if undecided else 0
        note = f"{unknown} undecided" if unknown else ""
        return _share_cell(stats, note, _difference(one, against))

    return figure


def _back(one: Variant) -> str:
    came = of(one, "selectivity.came_back")
    return f"of {came['n']} that were stopped" if came and came["n"] else ""


def _share_at(each: Sequence[Variant], name: str, end: Callable[[Iterable[int]], int]) -> Figure:
    """The first or last turn in which a tool was wanted, as the difference has it."""
    compared = [found["turn"] for one in each if (found := of(one, f"against_first.{name}"))]
    turns = [point["turn"] for one in each for point in of(one, "tools.by_turn") or ()]
    wanted = compared[0] if compared else end(turns) if turns else None

    def figure(one: Variant) -> Cell | None:
        points = of(one, "tools.by_turn") or ()
        found = next((point for point in points if point["turn"] == wanted), None)
        return _share_cell(found, f"turn {wanted}", _difference(one, f"against_first.{name}"))

    return figure


def _share_cell(stats: Any, note: str, apart: Any) -> Cell | None:
    if not stats or not stats.get("n"):
        return None
    told = "; ".join(filter(None, (f"{stats['met']} of {stats['n']}", note)))
    return _cell(stats["share"], stats["ci95"], told, apart)


def _difference(one: Variant, name: str) -> dict[str, Any] | None:
    """A difference of medians, or of shares."""
    found = of(one, name) if name else None
    if not found:
        return None
    return {
        "value": found.get("median", found.get("difference")),
        "ci": found.get("ci95"),
        "n": found.get("n"),
        "verdict": in_words(found),
        "clear": found["verdict"] != UNDECIDED,
    }


def _fillers(one: Variant) -> str:
    count, never = (of(one, f"answering.{name}") for name in ("fillers", "never"))
    return "; ".join(
        [*([f"{count} after a filler"] if count else []), *([f"{never} never"] if never else [])]
    )


def _loud(one: Variant) -> str:
    count = of(one, "interruption.without_silence")
    return f"{count} did not stop, or were over by themselves" if count else ""


def _errors(name: str, unknown: str, of_what: str) -> Figure:
    """A rate of errors by words; `unknown` counts those of which it is not known."""

    def figure(one: Variant) -> Cell | None:
        if not (stats := one.get(name)):
            return None
        told = [f"{stats['errors']} of {stats['words']} words"] if stats["turns"] else []
        told += [f"{stats[unknown]} {of_what}"] if stats[unknown] else []
        apart = _difference(one, f"against_first.{name}")
        return _cell(stats["rate"], stats["ci95"], "; ".join(told), apart)

    return figure


_word_errors = _errors("wer", "without_transcript", "turns without a transcript")
_spoken_words = _errors("spoken_words", "unknown", "not known")


def _floor(header: Mapping[str, Any]) -> str:
    """What the recogniser makes of words that are known."""
    if not (found := of(header, "fidelity.floor")):
        return "The recogniser's own errors are in the figures."
    return (
        "The recogniser's own errors are in the figures: of the user's words, which are known, it "
        f"has {100 * found['rate']:.1f} % wrong."
    )


def _per_minute(one: Variant) -> Cell | None:
    usd, ci, note = (
        of(one, f"cost.{key}") for key in ("per_minute_usd", "per_minute_ci95", "note")
    )
    return _cell(usd, ci, note or "")


def _in_all(one: Variant) -> Cell | None:
    usd = of(one, "cost.usd")
    held = of(one, "cost.conversations")
    return None if usd is None else _cell(usd, note=f"{held} conversations")


def _failed_turns(one: Variant) -> Cell | None:
    if "failed" not in one:
        return None
    statuses = one.get("statuses") or {}
    bad = [f"{count} {name}" for name, count in statuses.items() if count and name != "ok"]
    return _cell(one["failed"], note="; ".join([f"of {sum(statuses.values())}", *bad]))


def _failed_conversations(one: Variant) -> Cell | None:
    stats = one.get("conversations")
    return _cell(stats["failed"], note=f"of {stats['n']}") if stats else None


CONDITION_FIGURES: tuple[ConditionFigure, ...] = (
    ("Median latency", "ms", _median(WHOLE), WHOLE),
    ("Word error rate", "share", _word_errors, "wer"),
    ("Numbers, codes and names", "share", _share("entities"), "entities"),
    ("All expectations", "share", _share("expectations"), "success"),
    ("Right tools", "share", _share("tools"), "tools"),
    ("Turns answered", "share", _share("answered"), "answered"),
    *(
        (rate.label, "share", _share(f"selectivity.{name}"), f"selectivity.{name}")
        for name, rate in RATES.items()
    ),
    ("Median time to silence", "ms", _median("interruption.silence_ms", note=_loud), "stop_ms"),
    ("Median talk-over", "ms", _median("selectivity.talk_over_ms"), "talk_over_ms"),
)
"""What is shown of each condition: its label, unit, cell, and key of the difference from clean."""


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


def curves(summary: Mapping[str, Any], paths: Sequence[str]) -> list[dict[str, Any]]:
    """Figures along the conversation, by length of the instructions, and by condition.

    Each has a series for each path; a point has its `value` and interval `ci` in the curve's
    `unit`, and `among` how many it is of.
    """
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
    for name, title, about in (
        ("instructions_by_turn", "Instructions by turn", "Turns that followed the instructions."),
        ("recall_by_turn", "Recall by turn", "Turns that remembered what had been said before."),
    ):
        found.append(_by_turn(title, about, _all(each, name)))
    order = summary.get("conditions") or ()
    found += [_by_condition(order, each, *one[:3]) for one in _known(order, each)]
    return [one for one in found if len(one["ticks"]) > 1]


def _all(each: Sequence[Mapping[str, Any]], name: str) -> list[list[Mapping[str, Any]]]:
    return [[point for point in one.get(name) or () if point.get("n")] for one in each]


def _by_turn(title: str, note: str, each: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    turns = sorted({point["turn"] for mine in each for point in mine})
    series = _series(each, lambda point: point["turn"])
    return _curve(title, note, "turn", "share", [(turn, str(turn)) for turn in turns], series)


def _by_length(note: str, each: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    sizes = {point["length"]: point["instruction_chars"] for mine in each for point in mine}
    order = sorted(sizes, key=lambda length: sizes[length])
    names = (f"{length} ({sizes[length]:,})".replace(",", " ") for length in order)
    return _curve(
        "Tools by length of the instructions",
        f"{note}, over all turns; lengths are in characters.",
        "length of the instructions",
        "share",
        enumerate(names),
        _series(each, lambda point: order.index(point["length"])),
    )


def _by_condition(
    order: Sequence[str], each: Sequence[Variant], label: str, unit: str, figure: Figure
) -> dict[str, Any]:
    """The curve of a figure over the conditions, with points where it is known."""
    series: list[dict[str, Any]] = []
    for index, one in enumerate(each):
        cells = [figure((one.get("by_condition") or {}).get(name, {})) for name in order]
        points = [
            {"x": place, "value": cell["value"], "ci": cell["ci"], "among": cell["note"]}
            for place, cell in enumerate(cells)
            if cell and cell["value"] is not None
        ]
        if points:
            series.append({"path": index, "points": points})
    places = sorted({point["x"] for one in series for point in one["points"]})
    return _curve(
        f"{label} by condition",
        f"{label} in each condition of the user’s sound.",
        "condition",
        unit,
        [(place, order[place]) for place in places],
        series,
    )


def _curve(
    title: str,
    note: str,
    axis: str,
    unit: str,
    ticks: Iterable[tuple[int, str]],
    series: list[dict[str, Any]],
) -> dict[str, Any]:
    about = {"title": title, "note": note, "axis": axis, "unit": unit}
    return {**about, "ticks": [[place, text] for place, text in ticks], "series": series}


def _series(
    each: Sequence[Sequence[Mapping[str, Any]]], place: Callable[[Mapping[str, Any]], int]
) -> list[dict[str, Any]]:
    return [
        {
            "path": index,
            "points": [
                {
                    "x": place(point),
                    "value": point["share"],
                    "ci": point["ci95"],
                    "among": f"{point['met']} of {point['n']}",
                }
                for point in mine
            ],
        }
        for index, mine in enumerate(each)
        if mine
    ]
