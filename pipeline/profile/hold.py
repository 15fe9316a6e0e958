"""The silence that ended a turn, and what it would be with other settings or known words. Pure."""

from __future__ import annotations

import math

from pipeline.clock import NS_PER_MS
from pipeline.config import Turns
from pipeline.measure.record import Record
from pipeline.turns.completeness import completeness
from pipeline.turns.end_of_turn import Evidence, hold_ms, probability

WINDOW_NS = 32 * NS_PER_MS
"""The detector's window: a silence is as long as the windows that it has filled."""

LATE_NS = 2 * WINDOW_NS
"""A commit, or an attempt, later than this after its window has waited for something else."""

SURE_OF_WORDS = 0.93
"""How sure the recogniser is taken to be of its words, which no record says: the embedded one's
median over seven of the development recordings, from the holds that it led to."""


JUDGED = 0.4
"""How likely the embedded language model is taken to call a turn over that is: whole sentences get
some half, which leads to the shortest hold, as two thirds of the starter corpus's turns had."""


def windows_ns(ms: float) -> int:
    """The silence after which so much has been seen: whole windows (ns)."""
    return math.ceil(round(ms * NS_PER_MS) / WINDOW_NS) * WINDOW_NS


def held_ms(record: Record, turns: Turns) -> float:
    """The silence that was asked of the user (ms): as recorded, or what the marks allow."""
    if record.hold_ms is not None:
        return record.hold_ms
    marks = record.marks
    silent = marks["vad.stop"] - WINDOW_NS if "vad.stop" in marks else marks["speech.end"]
    silence_ms = (marks["committed"] - silent) / NS_PER_MS
    # The commit is decided at the end of a window, and a frame later at the latest.
    slack_ms = LATE_NS / NS_PER_MS
    for ms in (turns.hold_ms, turns.shortest_ms, turns.longest_ms):
        if ms <= silence_ms < ms + slack_ms:
            return float(ms)
    return max(0.0, silence_ms - slack_ms / 2)


def moved_ms(hold: float, turns: Turns, usual: float) -> float:
    """What is asked where `hold` was, with another `turns.hold_ms` (ms).

    As far between the shortest, the usual and the longest hold as before: the probability of an end
    is the same (`endpoint.hold_ms`).

    Args:
        hold: What was asked (ms).
        turns: The settings then.
        usual: `turns.hold_ms` now (ms).
    """
    was = float(turns.hold_ms)
    if was == usual:
        return hold
    if not turns.predict:
        return hold * usual / was
    if hold == was:
        return usual
    shortest, longest = turns.shortest_ms, max(turns.shortest_ms, turns.longest_ms)
    middle, new_middle = (min(max(ms, shortest), longest) for ms in (was, usual))
    if hold == middle:
        return new_middle
    far = shortest if hold < middle else longest
    if far == middle:
        return hold
    share = min(1.0, math.log(max(hold, 1.0) / middle) / math.log(far / middle))
    return float(new_middle * (far / new_middle) ** share)


def read_ms(
    words: str, language: str, turns: Turns, usual: float, *, judged: bool = False
) -> float | None:
    """The hold for how finished words read by the rules (ms); None if they say nothing.

    Args:
        words: What was said.
        language: Its code.
        turns: The settings.
        usual: The hold of which nothing is known (ms).
        judged: Whether the language model is asked too.
    """
    if not turns.predict:
        return None
    rules = completeness(words, language)
    opinion = JUDGED if judged else None
    p = probability(Evidence(words=rules, judged=opinion, sure=SURE_OF_WORDS))
    return None if p is None else hold_ms(turns, p, usual)
