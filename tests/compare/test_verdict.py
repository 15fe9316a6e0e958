"""Three sentences: what they say in each case, and what they never say."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

from support import comparison_samples as made
from support import pages

from pipeline.compare.cost import prices
from pipeline.compare.record import Conversation
from pipeline.compare.summary import summarise
from pipeline.compare.verdict import verdict
from pipeline.measure.record import Turn
from pipeline.turns.speech_end import UNMEASURABLE

TABLE = prices()
TWO = (made.CASCADE, made.DIRECT)
OTHER = "ws://host:1/v1"
STAMPED = f"{made.SIMULATED} [SIMULATED]"


@cache
def _summary(systems: tuple[str, ...], faults: bool) -> Any:
    return summarise(*made.comparison(paths=systems, faults=faults), TABLE)


def summary(*systems: str, faults: bool = True) -> Any:
    """A summary that a test may change."""
    return copy.deepcopy(_summary(systems or TWO, faults))


def summary_of(
    keep: Callable[[Conversation], Conversation | None],
    systems: tuple[str, ...] = TWO,
    **asked: Any,
) -> Any:
    """The summary of those conversations, changed, that `keep` gives."""
    header, conversations = made.comparison(paths=systems, **asked)
    return summarise(
        header, [found for one in conversations if (found := keep(one)) is not None], TABLE
    )


def each(one: Conversation, change: Callable[[Turn], Turn]) -> Conversation:
    return dataclasses.replace(one, turns=tuple(map(change, one.turns)))


def recorded(turn: Turn, **changes: Any) -> Turn:
    return dataclasses.replace(turn, record=dataclasses.replace(turn.record, **changes))


def undecided(low: float) -> Any:
    """An interval that holds zero, and nothing that was expected."""
    found = summary(faults=False)
    whole = found["variants"][made.DIRECT]["against_first"]["voice_to_voice_ms"]
    whole |= {"median": 5.0, "ci95": [low, 12.0], "verdict": "no difference shown"}
    for variant in found["variants"].values():
        variant |= {"expectations": None, "tools": None}
    return found


def mute() -> Any:
    """The second system answered nothing."""

    def broken(one: Conversation) -> Conversation:
        if one.path == made.CASCADE:
            return one
        gone = {"status": "failed", "wav_voice_to_voice_ns": None, "marks": {}}
        mute = each(
            one,
            lambda turn: dataclasses.replace(recorded(turn, **gone), checks=(), word_errors=None),
        )
        return dataclasses.replace(mute, status="failed", usage=())

    return summary_of(broken)


def beside() -> Any:
    """All that may be said beside a latency."""
    found = summary()
    cascade, direct = found["variants"].values()
    direct["answering"]["ms"]["median"] = direct["voice_to_voice_ms"]["median"] + 1500
    direct["against_first"]["voice_to_voice_ms"]["within_noise"] = True
    direct["manual"] = True
    cascade["too_soon"] = 1
    return found


def played(*sources: str) -> Any:
    """Systems with simulations of these sources."""
    found = summary(made.CASCADE, made.SIMULATED)
    variant = found["variants"].pop(STAMPED)
    for number, source in enumerate(sources):
        simulation = {"source": source} if source else {}
        found["variants"][f"{number} [SIMULATED]"] = {**variant, "simulation": simulation}
    return found


CASES: dict[str, Callable[[], Any]] = {
    "nothing failed": lambda: summary(faults=False),
    "things failed": summary,
    "the other way round": lambda: summary(made.DIRECT, made.CASCADE, faults=False),
    "an interval that holds zero": lambda: undecided(-20.0),
    "an interval that begins at zero": lambda: undecided(0.0),
    "too few pairs": lambda: summary_of(
        lambda one: one if (one.scenario, one.repeat) == ("pirate", 1) else None, faults=False
    ),
    "one system": lambda: summary(made.CASCADE),
    "three systems": lambda: summary(*TWO, OTHER, faults=False),
    "a system that answered nothing": mute,
    "no turn in common": lambda: summary_of(
        lambda one: one if (one.scenario == "sums") == (one.path == made.CASCADE) else None,
        faults=False,
    ),
    "all that may be said beside a latency": beside,
    "nothing at all": lambda: summarise({}, [], TABLE),
    "nothing yet": lambda: summarise(made.header(TWO), [], TABLE),
    "what was to be ignored": lambda: summary_of(made.selective, (made.CASCADE,), faults=False),
    "conditions": lambda: summarise(
        *made.in_conditions(*made.comparison(paths=TWO, faults=False)), TABLE
    ),
    "a simulation": lambda: summary(made.CASCADE, made.SIMULATED),
    "simulations of several sources": lambda: played(made.SOURCE, "", "So it says!\nWhy? 1.5 s."),
}


def test_what_is_said_in_each_case() -> None:
    told = (f"# {name}\n" + "\n".join(verdict(case())) for name, case in CASES.items())
    pages.check("verdicts.txt", "\n\n".join(told))


def test_a_system_that_is_told_of_the_end_is_not_faster_without_a_word() -> None:
    found = made.header(TWO)
    found["variants"][made.DIRECT]["turns"] = "manual"
    figures = summarise(found, made.comparison(paths=TWO)[1], TABLE)
    assert figures["variants"][made.DIRECT]["manual"]
    assert any("turns=manual" in warning for warning in figures["warnings"])


def test_a_reply_into_the_user_s_words_is_no_merit() -> None:
    def soon(one: Conversation) -> Conversation:
        if (one.path, one.scenario, one.repeat) != (made.DIRECT, "capital", 1):
            return one
        return each(one, lambda turn: recorded(turn, wav_voice_to_voice_ns=-200 * made.MS))

    figures = summary_of(soon, faults=False)
    assert figures["variants"][made.DIRECT]["too_soon"] == 1
    assert any("before the user had finished" in warning for warning in figures["warnings"])


def test_what_noise_hides_is_neither_too_soon_nor_failed() -> None:
    def hidden(one: Conversation) -> Conversation:
        first, *others = one.turns
        lost = {"status": "unmeasurable", "reason": UNMEASURABLE, "wav_voice_to_voice_ns": None}
        return dataclasses.replace(one, turns=(recorded(first, **lost), *others))

    before = summary(made.CASCADE, faults=False)["variants"][made.CASCADE]
    figures = summary_of(hidden, (made.CASCADE,), faults=False)
    found = figures["variants"][made.CASCADE]
    number = found["conversations"]["n"]
    assert (found["unmeasurable"], found["failed"], found["too_soon"]) == (number, 0, 0)
    assert found["n"] == before["n"] - number
    assert found["failures"] == []
    # It was answered all the same: what was understood and done counts.
    assert (found["wer"], found["expectations"]) == (before["wer"], before["expectations"])
    assert f"{number} more unmeasurable for noise" in verdict(figures)[0]
    assert "before the user had finished" not in str(figures)
    assert any(UNMEASURABLE in warning for warning in figures["warnings"])
