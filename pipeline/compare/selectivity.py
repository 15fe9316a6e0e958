"""Whether a system speaks when it is spoken to, and only then: outcomes of turns, in rates. Pure.

All of it is by the WAV (`measure.turn_taking`). What broke down counts nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, cast

from pipeline.compare.results import Selectivity
from pipeline.measure.record import Check, Turn, TurnTaking
from pipeline.measure.stats import describe, share

TOPIC = "turn-taking"
"""What the expectations are about that a reply is stopped, or a sound ignored."""

NOTHING_INTO = "nothing to be ignored while a reply was heard"
NOT_INTO = "no reply was being heard"
MAYBE_OVER = "the reply may have been over by itself"


def _cut_in(turn: Turn, taking: TurnTaking) -> bool | None:
    if turn.outcome != "respond" or turn.record.status != "ok":
        return None
    return taking.cut_in_ns is not None


def _missed(turn: Turn, taking: TurnTaking) -> bool | None:
    return None if turn.outcome != "respond" else not turn.record.answered


def _false_stop(turn: Turn, taking: TurnTaking) -> bool | None:
    return bool(taking.stopped) if turn.outcome == "ignore" and taking.into_reply else None


def _false_barge_in(turn: Turn, taking: TurnTaking) -> bool | None:
    stopped = _false_stop(turn, taking)
    return None if stopped is None else stopped or taking.ducked_ns is not None


def _spurious(turn: Turn, taking: TurnTaking) -> bool | None:
    return None if turn.outcome != "ignore" else taking.spurious_ns is not None


def _stops(turn: Turn, taking: TurnTaking) -> bool | None:
    return taking.stopped if turn.interrupts and taking.into_reply else None


class Rate(NamedTuple):
    """A share of turns: all that is declared of it.

    Attributes:
        so: Whether a turn is what it counts; None where it is not of those that it could be.
        label: What it is called in a table.
        does: What a system does in such a turn, in words.
        among: What it is of, as `there was …` goes on where there is nothing of that.
        note: What it is, where the label does not say so.
        good: More of it is better.
    """

    so: Callable[[Turn, TurnTaking], bool | None]
    label: str
    does: str
    among: str
    note: str
    good: bool = False


RATES: Mapping[str, Rate] = {
    "cut_in": Rate(
        _cut_in,
        "Cut in",
        "cuts in",
        "no turn with a latency",
        "It speaks before the user has finished.",
    ),
    "missed": Rate(
        _missed,
        "Missed",
        "misses",
        "no turn that asks for an answer",
        "No answer came where one was asked for.",
    ),
    "spurious": Rate(
        _spurious,
        "Spurious replies",
        "answers what is to be ignored",
        "nothing to be ignored",
        "To what was to be ignored: coughs, silence, words for somebody else.",
    ),
    "false_barge_in": Rate(
        _false_barge_in,
        "False barge-ins",
        "stops or is quieter for it",
        NOTHING_INTO,
        "What was to be ignored, and was said into a reply, stopped it or made it quieter.",
    ),
    "false_stop": Rate(
        _false_stop,
        "Stopped for nothing",
        "stops for it",
        NOTHING_INTO,
        "Of the same turns: the reply fell silent, for a while or for good.",
    ),
    "stops": Rate(
        _stops,
        "Stopped when told to",
        "stops when told to",
        "no reply that was to fall silent while it was heard",
        "Of interruptions that were meant.",
        good=True,
    ),
}
"""What there are shares of, as `results.Selectivity` has them."""


def is_so(turn: Turn, rate: str) -> bool | None:
    """Whether a turn is what a rate counts; None where it is not of those that it could be."""
    if turn.taking is None or turn.record.status == "failed":
        return None
    return RATES[rate].so(turn, turn.taking)


def figures(turns: Iterable[Turn]) -> Selectivity:
    """The rates and times of some turns."""
    turns = [turn for turn in turns if turn.taking is not None]
    shares = {
        rate: share([so for turn in turns if (so := is_so(turn, rate)) is not None])
        for rate in RATES
    }

    def times(rate: str, value: Callable[[TurnTaking], int | None]) -> list[int | None]:
        return [value(turn.taking) for turn in turns if is_so(turn, rate) and turn.taking]

    def ms(values: Iterable[int | None]) -> list[float]:
        return [ns / 1e6 for ns in values if ns is not None]

    back = times("false_stop", lambda taking: taking.back_ns)
    both = [turn.taking.talk_over_ns for turn in turns if turn.taking and turn.taking.talk_over_ns]
    more = {
        "cut_in_ms": describe(ms(times("cut_in", lambda taking: taking.cut_in_ns))),
        "came_back": share([ns is not None for ns in back]),
        "back_ms": describe(ms(back)),
        "talk_over_ms": describe(ms(both)),
    }
    return cast(Selectivity, {**shares, **more})


def told(turn: Turn) -> str:
    """What became of a turn, in a few words; empty where it was answered as any, or broke down."""
    taking = turn.taking
    if taking is None or turn.record.status == "failed":
        return ""
    if turn.outcome == "respond":
        return "cut in" if is_so(turn, "cut_in") else ""
    if turn.outcome == "stop":
        return {True: "stopped", False: "went on", None: "not tested"}[is_so(turn, "stops")]
    found = [
        word
        for word, so in (
            ("answered it", is_so(turn, "spurious")),
            ("stopped for it", is_so(turn, "false_stop")),
        )
        if so
    ]
    quieter = "ducked for it" if is_so(turn, "false_barge_in") else "ignored"
    return ", ".join(found) or quieter


def check(turn: Turn) -> Check | None:
    """Whether a reply was stopped, or a sound ignored; None where an answer was asked for."""
    taking = turn.taking
    if turn.outcome == "respond":
        return None
    if taking is None or turn.record.status == "failed":
        return Check(turn.outcome, _WANTED[turn.outcome], None, turn.record.reason, TOPIC)
    if turn.outcome == "stop":
        met = is_so(turn, "stops")
        why = NOT_INTO if not taking.into_reply else MAYBE_OVER if met is None else "it went on"
    else:
        met = not (is_so(turn, "spurious") or is_so(turn, "false_barge_in"))
        why = "; ".join(_what(turn, taking))
    return Check(turn.outcome, _WANTED[turn.outcome], met, "" if met else why, TOPIC)


_WANTED = {"stop": "the reply falls silent", "ignore": "nothing changes"}


def _what(turn: Turn, taking: TurnTaking) -> Iterable[str]:
    """What changed for a sound that was to be ignored."""
    if taking.stopped or taking.ducked_ns is not None:
        back = "for good"
        if taking.back_ns is not None:
            back = f"for {taking.back_ns / 1e6:.0f} ms"
        since, how = (
            (taking.ended_ns, "silent") if taking.stopped else (taking.ducked_ns, "quieter")
        )
        yield f"{how} after {(since or 0) / 1e6:.0f} ms, {back}"
    if taking.spurious_ns is not None:
        yield f"a reply after {taking.spurious_ns / 1e6:.0f} ms"
