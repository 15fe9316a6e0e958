"""What was understood and done right: shares of expectations met, along turns and instructions.

Pure. An expectation of which nobody could tell whether it was met counts only as `undecided`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.compare.record import Check, Conversation, Turn
from pipeline.measure.stats import ratio_interval, share, share_difference
from pipeline.measure.summary import described

HISTORY = ("history", "history lacks")
"""Kinds of checks that are about what the model remembers."""

Held = tuple[Conversation, Turn]
"""A turn, and the conversation that it is of."""

Key = tuple[str, int, int]
"""Scenario, turn, repeat: what pairs the turns of two paths."""


def held(conversations: Iterable[Conversation]) -> list[Held]:
    """All turns that count: those of the warm-up do not."""
    return [(one, turn) for one in conversations if one.repeat > 0 for turn in one.turns]


def tool_ok(turn: Turn) -> bool | None:
    """Whether all was right with the tools of a turn; None where nothing was expected of them."""
    return _all(turn, lambda check: check.topic == "tools")


def turn_ok(turn: Turn) -> bool | None:
    """Whether all expectations of a turn were met; None where there were none."""
    return _all(turn, lambda check: True)


def topics(turns: Iterable[Held]) -> dict[str, Any]:
    """Expectations met, by what they are about."""
    by_topic: dict[str, list[Check]] = {}
    for _, turn in turns:
        for check in turn.checks:
            by_topic.setdefault(check.topic, []).append(check)
    return {topic: _share_of(checks) for topic, checks in by_topic.items()}


def overall(turns: Iterable[Held]) -> dict[str, Any] | None:
    """All expectations together."""
    checks = [check for _, turn in turns for check in turn.checks]
    return _share_of(checks) if checks else None


def tools(turns: Sequence[Held], lengths: Mapping[str, str]) -> dict[str, Any] | None:
    """How often the right tool was called, rightly: in all, by turn, by length of instructions.

    Args:
        turns: Of one path.
        lengths: Name of the length of the instructions by scenario; empty where it does not vary.
    """
    done = [(one, turn, ok) for one, turn in turns if (ok := tool_ok(turn)) is not None]
    if not done:
        return None
    chars: dict[str, int] = {}
    for one, _, _ in done:
        if length := lengths.get(one.scenario, ""):
            chars[length] = max(chars.get(length, 0), one.instruction_chars)
    order = sorted(chars, key=lambda length: chars[length])
    return {
        "overall": _share([ok for _, _, ok in done]),
        "by_turn": curve((turn.number, ok) for _, turn, ok in done),
        "by_length": [
            {
                "length": length,
                "instruction_chars": chars[length],
                **_share([ok for one, _, ok in done if lengths.get(one.scenario) == length]),
            }
            for length in order
        ],
        "by_length_and_turn": [
            {"length": length, **point}
            for length in order
            for point in curve(
                (turn.number, ok) for one, turn, ok in done if lengths.get(one.scenario) == length
            )
        ],
        "asked_ms": described(
            [call.asked_ns / 1e6 for _, turn, _ in done for call in turn.calls[:1]]
        ),
    }


def along(turns: Iterable[Held], topic: str) -> list[dict[str, Any]]:
    """How often the expectations of a topic were met, by turn."""
    return curve(
        (turn.number, ok)
        for _, turn in turns
        if (ok := _all(turn, lambda check: check.topic == topic)) is not None
    )


def curve(points: Iterable[tuple[int, bool]]) -> list[dict[str, Any]]:
    """Shares by turn, in the order of the turns."""
    by_turn: dict[int, list[bool]] = {}
    for number, ok in points:
        by_turn.setdefault(number, []).append(ok)
    return [{"turn": number, **_share(by_turn[number])} for number in sorted(by_turn)]


def word_error_rate(turns: Iterable[Held]) -> dict[str, Any] | None:
    """Wrong words by words said, over all turns with a transcript; None if no words are known."""
    spoken = [turn for _, turn in turns if turn.words > 0]
    if not spoken:
        return None
    heard = [turn for turn in spoken if turn.word_errors is not None]
    if not any(turn.record.answered for turn in heard):
        # A path that never tells what it understood has not misheard what it left unanswered.
        heard = []
    errors = [turn.word_errors or 0 for turn in heard]
    words = [turn.words for turn in heard]
    return {
        "turns": len(heard),
        "without_transcript": sum(
            turn.word_errors is None and turn.record.answered for turn in spoken
        ),
        "errors": sum(errors),
        "words": sum(words),
        "rate": sum(errors) / sum(words) if heard else None,
        "ci95": ratio_interval(errors, words),
    }


def interruption(turns: Sequence[Held]) -> dict[str, Any] | None:
    """What became of replies that were interrupted; None if none was."""
    cut = [turn for _, turn in turns if turn.interrupts]
    checks = [c for _, turn in turns for c in turn.checks if c.kind in HISTORY]
    if not cut and not checks:
        return None
    silences = [turn.silence_ns / 1e6 for turn in cut if turn.silence_ns is not None]
    return {
        "n": len(cut),
        "silence_ms": described(silences),
        "without_silence": len(cut) - len(silences),
        "history": _share_of(checks) if checks else None,
    }


def heavy_tools(conversations: Iterable[Conversation]) -> dict[str, Any] | None:
    """Whether tools that are slow or return much broke anything; None if there were none."""
    heavy = [one for one in conversations if one.repeat > 0 and one.topic == "heavy tools"]
    if not heavy:
        return None
    turns = [turn for one in heavy for turn in one.turns]
    calls = [call for turn in turns for call in turn.calls]
    waits = [
        (call.answered_ns - call.asked_ns) / 1e9 for call in calls if call.answered_ns is not None
    ]
    return {
        "connected": _share([one.status == "ok" for one in heavy]),
        "answering": _share([turn.record.answered for turn in turns]),
        "reconnects": sum(one.reconnects for one in heavy),
        "calls": len(calls),
        "cancelled": sum(call.cancelled for call in calls),
        "slowest_s": max(waits, default=None),
        "largest_bytes": max((call.result_bytes for call in calls), default=None),
    }


def compared(first: Sequence[Held], second: Sequence[Held]) -> dict[str, Any]:
    """How two paths differ in what they did right, turn by turn of the same name.

    `success` is of turns of which all expectations were met; the others of turns of which all was
    right with the tools: all of them, those of the first turn, and those of the last.
    """
    tool = _keyed(first, tool_ok), _keyed(second, tool_ok)
    numbers = {number for of in tool for _, number, _ in of}
    begin, last = min(numbers, default=0), max(numbers, default=0)
    return {
        "success": _apart(_keyed(first, turn_ok), _keyed(second, turn_ok)),
        "tools": _apart(*tool),
        "tools_first_turn": _at_turn(tool, begin),
        "tools_last_turn": _at_turn(tool, last) if last > begin else None,
    }


def _at_turn(
    tool: tuple[Mapping[Key, bool], Mapping[Key, bool]], number: int
) -> dict[str, Any] | None:
    first, second = ({k: ok for k, ok in of.items() if k[1] == number} for of in tool)
    found = _apart(first, second)
    return None if found is None else {"turn": number, **found}


def _apart(first: Mapping[Key, bool], second: Mapping[Key, bool]) -> dict[str, Any] | None:
    keys = [key for key in first if key in second]
    # One that breaks off takes all of its turns along.
    conversations = [(scenario, repeat) for scenario, _, repeat in keys]
    found = share_difference(
        [first[key] for key in keys], [second[key] for key in keys], conversations
    )
    return None if found is None else asdict(found)


def _keyed(turns: Iterable[Held], judged: Callable[[Turn], bool | None]) -> dict[Key, bool]:
    return {
        (one.scenario, turn.number, one.repeat): ok
        for one, turn in turns
        if (ok := judged(turn)) is not None
    }


def _all(turn: Turn, about: Callable[[Check], bool]) -> bool | None:
    decided = [check.met for check in turn.checks if about(check) and check.met is not None]
    return all(decided) if decided else None


def _share_of(checks: Sequence[Check]) -> dict[str, Any]:
    decided = [bool(check.met) for check in checks if check.met is not None]
    return {**_share(decided), "undecided": len(checks) - len(decided)}


def _share(met: Sequence[bool]) -> dict[str, Any]:
    found = share(met)
    return {"n": 0, "met": 0, "share": None, "ci95": None} if found is None else asdict(found)
