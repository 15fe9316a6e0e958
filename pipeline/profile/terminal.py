"""A profile's summary on a terminal: tables, bars, differences in words, warnings.

It reads in 80 columns, without colour, and where only ASCII can be written: the parts of a bar
differ in pattern, and every number is in a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.measure import reference
from pipeline.measure.gates import as_table
from pipeline.measure.stats import Spread, in_words
from pipeline.measure.summary import Against, ProfileSummary, VariantFigures
from pipeline.measure.terminal import (
    NAME_WIDTH,
    NONE,
    change,
    colour,
    count,
    latencies,
    moved,
    ms,
    recordings,
    table,
    tell,
)
from pipeline.measure.waterfall import OWNERS
from pipeline.terminal import LABELS
from pipeline.trace import PARTS

PATTERNS = dict(zip(PARTS, "░█▓▒▞▬·", strict=True))
LETTERS = dict(zip(PARTS, "eSTCAdo", strict=True))
"""What a part of a bar is drawn with, the second where only ASCII can be written."""

COLOURS = dict(
    zip(PARTS, ("blue", "green", "yellow", "magenta", "cyan", "bright_blue", "red"), strict=True)
)

SEEN_MS = 0.5
"""Less is shown as nothing."""


def show(console: Console, summary: ProfileSummary) -> None:
    """Show what `summary.summarise` found."""
    variants = summary["variants"]
    console.print(_heading(summary))
    console.print()
    more = {key: f"voice_to_voice_ms.{key}" for key in ("p90", "p95", "max")}
    console.print(latencies("variant", variants, **more))
    warm = {name: ms(variant["warm_up"]["median_ms"]) for name, variant in variants.items()}
    if told := ", ".join(f"{name} {ms}" for name, ms in warm.items() if ms != NONE):
        console.print(Text(f"warm-up, not counted: {told}", "dim"))
    measured = {name: variant for name, variant in variants.items() if variant["n"]}
    if measured:
        marks = LETTERS if console.options.ascii_only else PATTERNS
        console.print(Text("\nWhere it went: median of each part (medians need not add up)"))
        console.print(_parts(measured, marks))
        console.print()
        for line in _bars(measured, marks, console.width):
            console.print(line, no_wrap=True, overflow="ellipsis")
    for name, variant in variants.items():
        if "against_first" in variant:
            console.print()
            console.print(_against(name, variant["against_first"]))
    if gates := summary.get("gates"):
        console.print(Text("\nGates", "bold"))
        console.print(as_table(gates))
    if heard := recordings(summary.get("sound") or {}):
        console.print(Text("\nThe recordings: level of the voice, and its distance from the noise"))
        console.print(heard)
    notes = [*_notes(variants), *reference.told(summary.get("instrument"))]
    tell(console, notes, summary["warnings"])


def _heading(summary: ProfileSummary) -> Text:
    variants = summary["variants"].values()
    turns = sum(one["n"] + one["unmeasurable"] + one["failed"] for one in variants)
    said = [count(summary["recordings"], "recording"), count(len(variants), "variant")]
    said.append(count(turns, "turn"))
    if "seed" in summary:
        said.append(f"seed {summary['seed']}")
    return Text(f"Voice-to-voice latency, ms: {', '.join(said)}", "bold")


def _parts(variants: Mapping[str, VariantFigures], marks: Mapping[str, str]) -> Table:
    """A row a variant, and one below it for what was hidden; its head is the key to the bars."""
    heads = []
    for name in PARTS:
        owner = OWNERS[name].replace(" ", "\n")
        label = "" if name in ("device", "own") else LABELS[name].replace(" ", "\n")
        heads.append("\n".join(filter(None, (owner, label, marks[name]))))
    made = table("", *heads)
    for column, name in zip(made.columns[1:], PARTS, strict=True):
        column.header_style = COLOURS[name]
    for variant_name, variant in variants.items():
        parts, hidden = _medians(variant["parts_ms"]), _medians(variant["hidden_ms"])
        made.add_row(Text(variant_name), *(ms(parts.get(name)) for name in PARTS))
        if _seen(hidden):
            cells = [f"{hidden[n]:.0f}" if hidden.get(n, 0) > SEEN_MS else "" for n in PARTS]
            made.add_row("  hidden", *cells, style="dim")
    return made


def _bars(
    variants: Mapping[str, VariantFigures], marks: Mapping[str, str], width: int
) -> Iterable[Text]:
    """A bar a variant, all of one scale; below it, ending at the commit, what was hidden."""
    stacks = {
        name: (_medians(variant["parts_ms"]), _medians(variant["hidden_ms"]))
        for name, variant in variants.items()
    }
    longest = max(
        max(sum(_positive(parts)), sum(_positive(hidden))) for parts, hidden in stacks.values()
    )
    longest_name = max(map(cell_len, variants))
    aside = longest_name > NAME_WIDTH
    indent = len("  hidden ") if aside else max(longest_name, len("  hidden")) + 1
    room = max(10, width - indent - len(" 00000 ms"))
    scale = room / max(longest, SEEN_MS)
    for name, (parts, hidden) in stacks.items():
        if aside:
            yield Text(name)
        whole = variants[name]["voice_to_voice_ms"]
        assert whole is not None
        start = Text("" if aside else name)
        start.append(" " * (indent - start.cell_len))
        yield start + bar(parts, scale, marks) + Text(f" {whole['median']:.0f} ms", "bold")
        if _seen(hidden):
            drawn = bar(hidden, scale, marks)
            lead = max(0, round(parts.get("endpoint", 0) * scale) - len(drawn))
            gap = Text("  hidden".ljust(indent) + " " * lead)
            yield gap + drawn + Text(f" {sum(_positive(hidden)):.0f} ms", "dim")


def bar(parts: Mapping[str, float], scale: float, marks: Mapping[str, str]) -> Text:
    """Parts in a row, each as long as it took.

    Ends are rounded, not lengths, so that the whole is never off by more than half a cell.

    Args:
        parts: Milliseconds by part; what is below zero has no length.
        scale: Cells a millisecond.
        marks: What each part is drawn with.
    """
    drawn, until = Text(), 0.0
    for name in PARTS:
        begin, until = until, until + max(0.0, parts.get(name, 0.0)) * scale
        drawn.append(marks[name] * (round(until) - round(begin)), COLOURS[name])
    return drawn


def _against(name: str, against: Against) -> Text:
    whole = against["voice_to_voice_ms"]
    line = Text.assemble((name, "bold"), f" against {against['variant']}: ")
    if whole is None:
        return line + Text("no recording was answered by both, so nothing can be said")
    line.append(in_words(whole), colour(whole))
    line.append(f", {change(whole)}, {count(against['n'], 'pair')}")
    parts = moved(against)
    return line.append(f"; moved: {parts}" if parts else "")


def _notes(variants: Mapping[str, VariantFigures]) -> Iterable[str]:
    """What was lost beside latency: holes in replies, speculation in vain."""
    for name, variant in variants.items():
        holes = variant["underruns"]
        if holes["turns"]:
            yield (
                f"{name}: the reply had holes in {count(holes['turns'], 'turn')}, "
                f"the worst {holes['max_ms']:.0f} ms"
            )
        wasted = [_amount(what, much) for what, much in variant["wasted"].items() if much]
        if wasted:
            yield f"{name}: speculation in vain, over all turns: {', '.join(wasted)}"


def _amount(what: str, much: float) -> str:
    """Such as `attempts 3` or `speech 400 ms`."""
    unit = " ms" if what.endswith("_ms") else ""
    return f"{what.removesuffix('_ms').replace('_', ' ')} {much:.0f}{unit}"


def _medians(described: Mapping[str, Spread | None]) -> dict[str, float]:
    return {name: one["median"] for name, one in described.items() if one is not None}


def _positive(parts: Mapping[str, float]) -> list[float]:
    return [max(0.0, ms) for ms in parts.values()]


def _seen(hidden: Mapping[str, float]) -> bool:
    return any(ms > SEEN_MS for ms in hidden.values())
