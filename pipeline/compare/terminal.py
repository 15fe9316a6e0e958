"""A comparison's summary on a terminal: what it comes to, side by side, along turns, what failed.

It reads in 80 columns, without colour, and where only ASCII can be written. Where a system was
simulated, the first line and every heading say so, and so does the system's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.compare.by_condition import note_of
from pipeline.compare.conditions import CLEAN
from pipeline.compare.record import source_of
from pipeline.compare.results import (
    ConditionResult,
    Costs,
    ReadBy,
    Summary,
    SystemResult,
    TurnPoint,
    WordErrors,
)
from pipeline.compare.selectivity import RATES
from pipeline.measure import reference
from pipeline.measure.gates import as_table
from pipeline.measure.stats import Met
from pipeline.measure.summary import of
from pipeline.measure.terminal import NONE, latencies, ms, recordings, table, tell
from pipeline.speech_to_speech.brief import STAMP

BLOCKS = "▁▂▃▄▅▆▇█"
DIGITS = "0123456789"
"""What a share is drawn with, from nothing to all; the second where only ASCII can be written."""

MOST = 8
"""Failures that are told one by one."""

FAULTS = ("cut_in", "missed")
"""Those of every scenario: worth a word only where there is something to say."""

TOGETHER = (
    "the words were said to all paths at the same moment (--together); each turn waited until all "
    "had answered the one before"
)

Variants = Mapping[str, SystemResult]


def show(console: Console, summary: Summary) -> None:
    """Show what `summary.summarise` found."""
    variants: Variants = summary["variants"]
    simulated = bool(summary["simulated"])
    for stamp in _stamp(variants):
        console.print(stamp)
    for sentence in summary["verdict"]:
        console.print(Text(sentence))
    marks = DIGITS if console.options.ascii_only else BLOCKS
    more = {"p95": "voice_to_voice_ms.p95", "answer": "answering.ms.median"}
    gates = summary.get("gates")
    sections: list[tuple[str, Iterable[RenderableType | None]]] = [
        ("Voice-to-voice latency, ms", [latencies("path", variants, **more), *_beside(variants)]),
        ("Understanding, tools, cost", [_rights(variants)]),
        (
            "Numbers, codes and names; words of the replies",
            _words(variants, summary.get("fidelity")),
        ),
        *((title, [_drawn(curves, marks)]) for title, curves in _curves(variants)),
        ("Right tool, by length of the instructions", [_lengths(variants)]),
        ("Who speaks when (shares of turns)", _selectivity(variants)),
        ("By condition of the user's sound", [_conditions(variants)]),
        ("Interruptions, heavy tools", [*_interruptions(variants), *_heavy(variants)]),
        ("Gates", [as_table(gates) if gates else None]),
        (
            "The recordings: level of voice, distance from noise",
            [recordings(summary.get("sound") or {})],
        ),
        ("What failed", _failures(variants)),
    ]
    for title, found in sections:
        if told := [line for line in found if line is not None]:
            console.print(_heading(f"\n{title}", simulated))
            for line in told:
                console.print(line)
    notes = [TOGETHER] if summary.get("together") else []
    tell(console, [*notes, *_notes(summary)], summary["warnings"])


def sparkline(points: Sequence[Mapping[str, Any]], marks: str, last: int) -> str:
    """A curve of shares in one line, a mark for each turn; a dot where there is no share.

    Args:
        points: `turn` and `share` each.
        marks: From nothing to all.
        last: Number of the last turn.
    """
    shares = {point["turn"]: point["share"] for point in points}
    drawn = []
    for turn in range(1, last + 1):
        share = shares.get(turn)
        drawn.append("." if share is None else _mark(share, marks))
    return "".join(drawn)


def _mark(share: float, marks: str) -> str:
    """The first mark is nothing, the last is all, and no other share is drawn as these are."""
    if share <= 0:
        return marks[0]
    return marks[-1] if share >= 1 else marks[1 + int(share * (len(marks) - 2))]


def _stamp(variants: Variants) -> Iterable[Text]:
    for name, one in variants.items():
        if one.get("simulated"):
            played = one.get("simulation") or {}
            inside = ", ".join(f"{key} {value}" for key, value in played.items() if key != "source")
            line = Text.assemble((f" {STAMP} ", "bold reverse"), f" {name} is a script")
            line.append(f", not a measurement; latency after: {source_of(played)}")
            yield line.append(f" ({inside})" if inside else "")


def _heading(text: str, simulated: bool) -> Text:
    return Text(f"{text} [{STAMP}]" if simulated else text, "bold")


def _beside(variants: Variants) -> Iterable[Text]:
    """What the other side tells of itself: it leaves out parts of what a user waits for."""
    for name, one in variants.items():
        told = [
            f"{key.replace('_', ' ')} {found['median']:.0f}"
            for key, found in one["server_ms"].items()
            if found
        ]
        if one["rtt_ms"]:
            told.append(f"round trip {one['rtt_ms']['median']:.1f}")
        if one["connect_ms"]:
            told.append(f"connected in {one['connect_ms']['median']:.0f}")
        if told:
            yield Text(f"{name}, medians beside it: {', '.join(told)}", "dim")


def _rights(variants: Variants) -> Table:
    made = table("path", "misheard", "as expected", "right tool", "a minute")
    for name, one in variants.items():
        tools = one["tools"]
        made.add_row(
            Text(name),
            _misheard(one["wer"]),
            _share(one["expectations"]),
            _share(tools and tools["overall"]),
            _cost(one["cost"]),
        )
    return made


def _words(variants: Variants, reading: ReadBy | None) -> Iterable[Text]:
    for name, one in variants.items():
        if (found := one["entities"]) and found["overall"]["n"]:
            kinds = [f"{kind}s {_of(of)}" for kind, of in found["by_kind"].items() if of["n"]]
            inside = f": {', '.join(kinds)}" if len(kinds) > 1 else ""
            yield Text(f"{name}: understood {_of(found['overall'])}{inside}")
    for name, one in variants.items():
        if reading and (read := one["spoken_words"]) and read["rate"] is not None:
            line = f"{name}, its replies as {reading['model']} reads them: "
            line += f"{100 * read['rate']:.1f} % of {read['words']} words differ"
            if read["entities"]["n"]:
                line += f", numbers and codes {_of(read['entities'])}"
            yield Text(line)
    if reading and (floor := reading["floor"]):
        told = f"{reading['model']} has {100 * floor['rate']:.1f} % of the user's words wrong"
        yield Text(f"{told}, which are known", "dim")


def _cost(cost: Costs) -> str:
    if cost["per_minute_usd"] is not None:
        return f"${cost['per_minute_usd']:.3g}"
    if cost["model"] or cost["cpu_s_per_minute"] is None:
        return "not known"
    return f"{cost['cpu_s_per_minute']:.0f} CPU-s"


def _curves(variants: Variants) -> Iterable[tuple[str, dict[str, Sequence[TurnPoint]]]]:
    """Curves by turn of all systems that have one, with what they are of."""
    found: dict[str, dict[str, Sequence[TurnPoint]]] = {
        "Right tool, by turn": {
            name: one["tools"]["by_turn"] if one["tools"] else [] for name, one in variants.items()
        },
        "Instructions followed, by turn": {
            name: one["instructions_by_turn"] for name, one in variants.items()
        },
        "Recalled, by turn": {name: one["recall_by_turn"] for name, one in variants.items()},
    }
    return [
        (title, curves)
        for title, curves in found.items()
        if any(len(points) > 1 for points in curves.values())
    ]


def _drawn(curves: Mapping[str, Sequence[TurnPoint]], marks: str) -> Table:
    last = max(point["turn"] for points in curves.values() for point in points)
    low, high = (f"{mark} {end} %" for mark, end in ((marks[0], 0), (marks[-1], 100)))
    made = table("path", f"turn 1 to {last}", "first", "last")
    for name, points in curves.items():
        ends = (
            [_point(points[0]), _point(points[-1]) if len(points) > 1 else ""]
            if points
            else [NONE, NONE]
        )
        made.add_row(Text(name), sparkline(points, marks, last), *ends)
    made.caption = f"{low} to {high}, . none"
    made.caption_justify = "left"
    return made


def _point(point: TurnPoint) -> str:
    return f"{point['met']} of {point['n']}, turn {point['turn']}"


def _lengths(variants: Variants) -> Table | None:
    found = {
        name: {point["length"]: point for point in one["tools"]["by_length"]}
        if one["tools"]
        else {}
        for name, one in variants.items()
    }
    sizes = {
        length: point["instruction_chars"] for of in found.values() for length, point in of.items()
    }
    if not sizes:
        return None
    lengths = sorted(sizes, key=lambda length: sizes[length])
    made = table("path", *lengths)
    for name, points in found.items():
        made.add_row(Text(name), *(_share(points.get(length)) for length in lengths))
    return made


def _each(variants: Variants) -> Iterable[tuple[str, SystemResult | ConditionResult]]:
    """Each system, then it in each condition but clean sound, of which its own figures are."""
    for name, one in variants.items():
        yield name, one
        for condition, found in (one.get("by_condition") or {}).items():
            if condition != CLEAN:
                yield f"{name}, {condition}", found


def _selectivity(variants: Variants) -> Iterable[Text]:
    for name, one in _each(variants):
        found, apart = one["selectivity"], of(one, "against_clean.selectivity") or {}
        told = []
        for key, rate in RATES.items():
            share: Met = found[key]  # type: ignore[literal-required]
            points = f", {100 * apart[key]['difference']:+.0f} points" if key in apart else ""
            as_clean = points and not apart[key]["difference"]
            if share["n"] and (share["met"] or key not in FAULTS) and not as_clean:
                told.append(f"{rate.does} {_share(share)}{points}")
        if told:
            yield Text(f"{name}: {'; '.join(told)}")


def _conditions(variants: Variants) -> Table | None:
    """A row for each system in each condition, with how much later than clean it is heard."""
    made = table("path, condition", "answered", "median", "later", "misheard", "right", "tool")
    for name, one in variants.items():
        for condition, found in (one.get("by_condition") or {}).items():
            whole = found["voice_to_voice_ms"]
            against = found.get("against_clean")
            apart = against and against["voice_to_voice_ms"]
            made.add_row(
                Text(f"{name}, {condition}"),
                _percent(found["answered"]),
                ms(whole and whole["median"]),
                f"{apart['median']:+.0f}" if apart else "",
                _misheard(found["wer"]),
                _percent(found["expectations"]),
                _percent(found["tools"]),
            )
    return made if made.row_count else None


def _interruptions(variants: Variants) -> Iterable[Text]:
    for name, one in _each(variants):
        if cut := one["interruption"]:
            told = []
            if found := cut["silence_ms"]:
                told.append(f"silent {found['median']:.0f} ms after the user began")
            if cut["without_silence"]:
                told.append(f"{cut['without_silence']} of {cut['n']} not stopped, or over before")
            if (history := cut["history"]) and history["n"]:
                told.append(f"history right in {history['met']} of {history['n']}")
            if told:
                yield Text(f"{name}, interrupted: {', '.join(told)}")


def _heavy(variants: Variants) -> Iterable[Text]:
    for name, one in variants.items():
        if heavy := one["heavy_tools"]:
            line = f"{name}, heavy tools: connected to the end in {_of(heavy['connected'])}"
            line += f", {_of(heavy['answering'])} turns answered"
            if heavy["slowest_s"] is not None:
                line += f", the slowest tool took {heavy['slowest_s']:.0f} s"
            yield Text(line)


def _failures(variants: Variants) -> Iterable[Text]:
    every = [(name, one) for name, system in variants.items() for one in system["failures"]]
    for name, one in every[:MOST]:
        turn = "" if one["turn"] is None else f" turn {one['turn']}"
        lost = f", {one['turns']} turns lost" if one["turns"] > 1 else ""
        reason = f": {one['reason']}" if one["reason"] else ""
        where = f"{one['scenario']}{turn} repeat {one['repeat']}"
        yield Text.assemble((f"{name}: ", "bold"), f"{where}, {one['status']}{lost}{reason}")
    if len(every) > MOST:
        yield Text(f"and {len(every) - MOST} more, in summary.json")


def _notes(summary: Summary) -> Iterable[str]:
    if told := note_of(summary.get("conditions") or ()):
        yield f"all other {told}"
    for name, one in summary["variants"].items():
        if one["cost"]["note"] and one["cost"]["model"]:
            yield f"{name}: {one['cost']['note']}"
    yield from reference.told(summary.get("instrument"))


def _misheard(words: WordErrors | None) -> str:
    return NONE if words is None or words["rate"] is None else f"{100 * words['rate']:.1f} %"


def _percent(found: Met | None) -> str:
    return NONE if found is None or found["share"] is None else f"{100 * found['share']:.0f} %"


def _share(found: Met | None) -> str:
    if found is None or found["share"] is None:
        return NONE
    low, high = found["ci95"] or (0.0, 0.0)
    return f"{100 * found['share']:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def _of(found: Met) -> str:
    return f"{found['met']} of {found['n']}"
