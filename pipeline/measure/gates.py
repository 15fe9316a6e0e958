"""Limits that decide whether a run is good enough: what each is of, and which are not met. Pure.

A gate is judged by the figure itself, as `summary.json` has it; how sure that is stands beside it.
A figure that a run does not have does not meet its gate: nothing was shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from rich.table import Table
from rich.text import Text

from pipeline import yaml_file
from pipeline.errors import BadInput
from pipeline.measure.stats import Interval
from pipeline.measure.summary import of
from pipeline.measure.terminal import NONE, table

OPTION = "--expect"

INTERRUPTED = "the run was interrupted"
"""Why nothing is judged of a run that was."""


class Figure(NamedTuple):
    """What a gate can be about.

    Attributes:
        value: Where a variant of the summary has it: a dotted name.
        lacking: Why there is none, if there is none; a dotted name where the summary tells.
        ci: Where its 95 % interval is; empty: it has none.
        more: More is better, so that the limit is the least; else it is the most.
        share: It is a share, from 0 to 1.
    """

    value: str
    lacking: str = "nothing was measured"
    ci: str = ""
    more: bool = False
    share: bool = False


def _latency(name: str, ci: str = "") -> Figure:
    return Figure(f"voice_to_voice_ms.{name}", "no turn has a latency", ci)


TURNS = {
    "median_ms": _latency("median", "voice_to_voice_ms.ci95"),
    "p90_ms": _latency("p90"),
    "p95_ms": _latency("p95"),
    "max_ms": _latency("max"),
    "failed": Figure("failed"),
    "unmeasurable": Figure("unmeasurable"),
    "underruns": Figure("underruns.turns"),
    "disagreement_ms": Figure("disagreement_ms.max", "no turn has a latency by WAV and trace"),
}
"""Figures of every run: of `cascade profile` they are all. `disagreement_ms` is the largest."""


class Gate(NamedTuple):
    """A limit: of a figure, for one system or variant, or for each (`system` empty)."""

    figure: str
    limit: float
    system: str = ""


class Judged(TypedDict):
    """What became of a gate.

    `bound` is `at most` or `at least`; `on` is the file that the gate is about, if it is about one.
    `met` is None where nothing was judged; `reason` says why, or why there is no `value`. `told` is
    what was found and what was wanted in a sentence.
    """

    system: str
    figure: str
    bound: str
    limit: float
    value: float | None
    ci95: Interval | None
    met: bool | None
    reason: str
    told: str
    on: NotRequired[str]


def read(
    given: Iterable[str], known: Mapping[str, Figure], systems: Sequence[str]
) -> tuple[Gate, ...]:
    """Gates as the command line gives them: `NAME=LIMIT`, or a YAML file with a mapping of such.

    Of two for the same figure and system the later one counts.

    Args:
        given: What stood behind each `--expect`.
        known: The figures there are.
        systems: Names of the systems or variants.

    Raises:
        BadInput: A file cannot be read, or `parse` refuses.
    """
    found: dict[tuple[str, str], Gate] = {}
    for text in given:
        where = f"{OPTION} {text}: "
        if text.lower().endswith(yaml_file.SUFFIXES):
            plain = yaml_file.read(Path(text), "needs figures with limits, such as `p90_ms: 900`")
        else:
            name, equals, limit = text.partition("=")
            plain = {name.strip(): limit.strip()}
            if not equals:
                raise BadInput(f"{where}write NAME=LIMIT, such as p90_ms=900, or name a .yaml file")
        found |= {(one.system, one.figure): one for one in parse(plain, known, systems, where)}
    return tuple(found.values())


def parse(
    plain: object, known: Mapping[str, Figure], systems: Sequence[str], where: str
) -> tuple[Gate, ...]:
    """Gates of a mapping: from figures to limits, or from systems to such mappings.

    Args:
        plain: The mapping.
        known: The figures there are.
        systems: Names of the systems or variants; none: gates are not for one of them alone.
        where: Begins each message.

    Raises:
        BadInput: A figure or system is not known, or a limit is none.
    """
    if not isinstance(plain, Mapping):
        raise BadInput(f"{where}needs figures with limits, such as `p90_ms: 900`")
    found = []
    for name, limit in plain.items():
        if not isinstance(limit, Mapping):
            found.append(_gate(name, limit, "", known, where))
            continue
        if name not in systems:
            if not systems:
                raise BadInput(f"{where}{name}: limits of one system go with {OPTION} FILE.yaml")
            there = ", ".join(systems)
            raise BadInput(f"{where}{name!r} is no system of this run; there are {there}")
        found += [_gate(figure, one, str(name), known, where) for figure, one in limit.items()]
    return tuple(found)


def _gate(
    name: object, limit: object, system: str, known: Mapping[str, Figure], where: str
) -> Gate:
    if name not in known:
        raise BadInput(f"{where}there is no figure {str(name)!r}; there are {', '.join(known)}")
    try:
        number = math.nan if isinstance(limit, bool) else float(limit)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise BadInput(f"{where}{name} is {limit!r}; its limit is a number, 0 or more")
    if known[str(name)].share and number > 1:
        raise BadInput(f"{where}{name} is {limit!r}; its limit is a share, such as 0.95")
    return Gate(str(name), number, system)


def judge(
    gates: Sequence[Gate],
    known: Mapping[str, Figure],
    variants: Mapping[str, Mapping[str, Any]],
    *,
    on: str = "",
    unjudged: str = "",
) -> list[Judged]:
    """What becomes of the gates. A system's own limit takes the place of the one for each.

    Args:
        gates: What to judge by.
        known: The figures there are.
        variants: Systems or variants, as the summary has them.
        on: The file that the gates are about, if it is not the whole run.
        unjudged: Why nothing is judged; empty: it is.
    """
    found: list[Judged] = []
    for name, one in variants.items():
        mine = {gate.figure: gate for gate in gates if not gate.system}
        mine |= {gate.figure: gate for gate in gates if gate.system == one.get("path", name)}
        for gate in mine.values():
            judged = _judged(gate, known[gate.figure], name, one, unjudged)
            if on:
                judged["on"] = on
            judged["told"] = _told(judged)
            found.append(judged)
    return found


def _judged(gate: Gate, figure: Figure, name: str, one: Mapping[str, Any], unjudged: str) -> Judged:
    value, reason = of(one, figure.value), unjudged
    if not sum((one.get("statuses") or {}).values()):
        value, reason = None, unjudged or "no turn was held"
    elif value is None and not unjudged:
        reason = of(one, figure.lacking) or figure.lacking
    met = value is not None and (value >= gate.limit if figure.more else value <= gate.limit)
    return {
        "system": name,
        "figure": gate.figure,
        "bound": "at least" if figure.more else "at most",
        "limit": gate.limit,
        "value": value,
        "ci95": of(one, figure.ci) if figure.ci and value is not None else None,
        "met": None if unjudged else met,
        "reason": reason,
        "told": "",
    }


def shown(one: Judged) -> dict[str, str]:
    """A gate as people read it: what was `wanted` (the `limit` of it), what was `found`."""
    limit = f"{one['bound']} {one['limit']:g}" + (f" in {one['on']}" if one.get("on") else "")
    return {
        "system": one["system"],
        "wanted": f"{one['figure']} {limit}",
        "limit": limit,
        "found": NONE if one["value"] is None else _number(one["value"]),
        "interval": " to ".join(map(_number, one["ci95"])) if one["ci95"] else "",
        "verdict": {True: "met", False: "not met", None: "not judged"}[one["met"]],
        "reason": one["reason"],
    }


def _told(one: Judged) -> str:
    texts = shown(one)
    inside = texts["reason"] or (f"95 %: {texts['interval']}" if texts["interval"] else "")
    beside = f" ({inside})" if inside else ""
    found = "not known" if one["value"] is None else texts["found"]
    return f"{one['figure']} is {found}{beside}; wanted: {texts['limit']}"


def as_table(judged: Iterable[Judged]) -> Table:
    """All gates on a terminal, a row each."""
    made = table("system", "gate", "limit", "found", "95 % interval", "")
    for one in judged:
        texts = shown(one)
        verdict = Text(texts["verdict"], "" if one["met"] else "bold red")
        system = f"{texts['system']}, {one['on']}" if one.get("on") else texts["system"]
        limit = f"{'>=' if one['bound'] == 'at least' else '<='} {one['limit']:g}"
        made.add_row(Text(system), one["figure"], limit, texts["found"], texts["interval"], verdict)
    return made


def _number(value: float) -> str:
    """In the unit that the figure's name tells."""
    return f"{value:.1f}".removesuffix(".0") if abs(value) >= 100 else f"{value:.3g}"
