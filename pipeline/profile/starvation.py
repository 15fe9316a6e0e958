"""Gaps in a reply, where it is heard faster than it is written. Pure.

A fluid model: each token becomes sound some time after it has arrived, and each sound follows the
one before it or, if it is not there yet, a gap. When sound runs low clauses get short
(`reply.STARVING_S`), so that their lengths hardly matter. But words that are spoken one by one last
longer, and fill some of the gaps: against real turns the model was a quarter too long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.clock import NS_PER_S
from pipeline.measure.record import Record
from pipeline.text.spoken import CHARS_PER_SECOND


def pace_ns(record: Record, texts: Sequence[str]) -> float:
    """How long a character of a turn's reply lasts (ns): measured, if all of it was heard."""
    marks = record.marks
    whole = {"heard.first", "heard.last", "llm.last_token"} <= marks.keys()
    if not whole or "interrupted" in marks:
        return NS_PER_S / CHARS_PER_SECOND
    sounded = marks["heard.last"] - marks["heard.first"] - record.underrun_ns
    return max(0, sounded) / max(1, sum(map(len, texts)))


def missing_ns(
    marks: Mapping[str, int], texts: Sequence[str], times: Sequence[int], pace: float
) -> int:
    """How long the loudspeaker waits for sound, between a reply's first and its last.

    Args:
        marks: With those from the first clause to the first audible sound.
        texts: The reply's tokens.
        times: When they arrive (ns).
        pace: How long a character lasts (ns).
    """
    clock = float(marks["heard.first"])
    sound = marks["tts.first_audio"]
    making = sound - marks["clause.first"] + marks["heard.first"] - max(sound, marks["committed"])
    missing = 0.0
    for text, at in zip(texts, times, strict=True):
        late = max(0.0, at + making - clock)
        missing += late
        clock += late + len(text) * pace
    return round(missing)
