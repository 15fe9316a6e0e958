"""What each condition costs: figures by condition, paired with those of clean sound. Pure.

Where one of the conditions is clean, a system's own figures are of clean sound alone: how fast it
is and how well it does is not a mean over the rooms that somebody happened to name. What it cost
and what failed is of all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.compare import scoring, selectivity
from pipeline.compare.conditions import CLEAN
from pipeline.compare.record import Conversation
from pipeline.compare.results import AgainstClean, ConditionResult
from pipeline.measure.record import Turn
from pipeline.measure.stats import Apart, SharesApart, describe, share
from pipeline.measure.summary import of

WORSE = {
    "answered": "fewer",
    "success": "fewer",
    "tools": "fewer",
    "entities": "fewer",
    "wer": "more",
    **{
        f"selectivity.{name}": "fewer" if rate.good else "more"
        for name, rate in selectivity.RATES.items()
        if name != "missed"  # which is what is not answered
    },
    "voice_to_voice_ms": "slower",
}
"""What is worse than clean, by the figure; the first is the worst."""


def axis(header: Mapping[str, Any], conversations: Iterable[Conversation]) -> list[str]:
    """The conditions of these conversations, in the order of the scenarios.

    Empty where all sound was clean.
    """
    held = [one.condition or CLEAN for one in conversations]
    scenarios = header.get("scenarios") or {}
    listed = [about.get("condition") or CLEAN for about in scenarios.values()]
    order = [name for name in dict.fromkeys([*listed, *held]) if name in held]
    return [] if order in ([], [CLEAN]) else order


def headline(conversations: Sequence[Conversation], order: Sequence[str]) -> list[Conversation]:
    """Those that a system's own figures are of; the warm-up, which counts nowhere, is with them."""
    if CLEAN not in order:
        return [*conversations]
    return [one for one in conversations if not one.condition or one.repeat == 0]


def note_of(order: Sequence[str]) -> str:
    """Which conditions a system's own figures are of; empty where there is one only."""
    if not order:
        return ""
    if CLEAN in order:
        return "figures are of clean sound, but costs and failures of all conditions"
    return "figures are of all conditions together, for none of them is clean"


def by_condition(
    conversations: Iterable[Conversation], order: Sequence[str], noise: float | None
) -> dict[str, ConditionResult]:
    """The figures of one system in each condition.

    Args:
        conversations: All of the system.
        order: Of `axis`.
        noise: By what share the machine's own speed varied; None: not known.
    """
    turns: dict[str, list[scoring.Counted]] = {name: [] for name in order}
    for one, turn in scoring.counted(conversations) if order else ():
        condition = one.condition or CLEAN
        # Called alike in all conditions, so that the same words pair up.
        alike = dataclasses.replace(one, scenario=one.scenario.removesuffix(f" {condition}"))
        turns[condition].append((alike, turn))
    found = {name: _figures(of) for name, of in turns.items()}
    if clean := turns.get(CLEAN):
        for name, of in turns.items():
            if name != CLEAN:
                found[name]["against_clean"] = _against(clean, of, noise)
    return found


def worse(result: ConditionResult) -> tuple[str, Apart | SharesApart] | None:
    """What is clearly worse than with clean sound, and by how much; None: nothing is.

    Of several figures it is the first of `WORSE`.
    """
    against = result.get("against_clean")
    for name, verdict in WORSE.items():
        one: Any = of(against, name)
        if one and one["verdict"] == verdict and not one.get("within_noise"):
            return name, one
    return None


def _figures(turns: Sequence[scoring.Counted]) -> ConditionResult:
    entities = scoring.entities(turns)
    answered, tools = (
        [*scoring.keyed(turns, judged).values()] for judged in (_answered, scoring.tool_ok)
    )
    return {
        "turns": len(answered),
        "answered": share(answered),
        "voice_to_voice_ms": describe([*scoring.keyed(turns, scoring.latency_ms).values()]),
        "wer": scoring.word_error_rate(turns),
        "expectations": scoring.overall(turns),
        "tools": share(tools) if tools else None,
        "entities": entities and entities["overall"],
        "interruption": scoring.interruption(turns),
        "selectivity": selectivity.figures(turn for _, turn in turns),
    }


def _against(
    clean: Sequence[scoring.Counted], other: Sequence[scoring.Counted], noise: float | None
) -> AgainstClean:
    compared = scoring.compared(clean, other)
    return {
        "voice_to_voice_ms": scoring.times_apart(clean, other, scoring.latency_ms, noise),
        "answered": scoring.shares_apart(
            scoring.keyed(clean, _answered), scoring.keyed(other, _answered)
        ),
        "success": compared["success"],
        "tools": compared["tools"],
        "entities": compared["entities"],
        "wer": compared["wer"],
        "stop_ms": scoring.times_apart(clean, other, _stop_ms, noise),
        "talk_over_ms": scoring.times_apart(clean, other, _talk_over_ms, noise),
        "selectivity": scoring.selective(clean, other),
    }


def _stop_ms(turn: Turn) -> float | None:
    return None if turn.silence_ns is None else turn.silence_ns / 1e6


def _talk_over_ms(turn: Turn) -> float | None:
    both_ns = turn.taking and turn.taking.talk_over_ns
    return both_ns / 1e6 if both_ns else None


def _answered(turn: Turn) -> bool | None:
    return turn.record.answered if turn.timed else None
