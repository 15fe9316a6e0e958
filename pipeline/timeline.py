"""Where the time of a turn went: marks in, contiguous parts out. Pure.

Voice-to-voice latency runs from the last voiced sample of the user's speech (`speech.end`, as
captured) to the first audible sample of the reply at the device (`heard.first`). It is cut into
parts that follow each other and sum to it exactly, in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MARKS = (
    "speech.start",
    "speech.end",
    "vad.stop",
    "provisional",
    "stt.start",
    "stt.final",
    "llm.request",
    "llm.first_token",
    "clause.first",
    "tts.start",
    "tts.first_audio",
    "committed",
    "model.start",
    "model.first_text",
    "model.first_audio",
    "playout.first",
    "heard.first",
    "llm.last_token",
    "tts.last_audio",
    "playout.last",
    "heard.last",
    "discarded",
    "interrupted",
    "failed",
)
"""Every mark a turn can have. Which come before which depends on the mode: without speculation
`committed` precedes `stt.start`."""

DETAILS = ("token", "clause", "tts.clause", "tts.piece")
"""What a turn may have many of, for the eye only: a piece of text from the model, a clause cut from
it, a clause that the voice begins, a piece of its sound."""

WORK = (
    *MARKS[MARKS.index("stt.start") : MARKS.index("committed")],
    *("llm.last_token", "tts.last_audio"),
)
"""The marks of one attempt at a reply; all others are the turn's."""

STAGES = (
    ("stt", "stt.start", "stt.final"),
    ("llm_first_token", "llm.request", "llm.first_token"),
    ("first_clause", "llm.first_token", "clause.first"),
    ("tts_first_audio", "tts.start", "tts.first_audio"),
    ("device", "playout.first", "heard.first"),
)
"""The parts that a stage owns: name, first mark, last mark, in the order in which they happen."""

PARTS = ("endpoint", *(name for name, _, _ in STAGES), "own")
"""All parts, in order. `endpoint` is the wait for the end of the turn; `own` is what no stage owns:
our code, queues and gaps."""

DIRECT_STAGES = (
    ("model", "committed", "model.first_audio"),
    ("device", "playout.first", "heard.first"),
)
"""The stages of a speech-to-speech model, of which nothing more is known from outside."""

DIRECT_PARTS = ("endpoint", *(name for name, _, _ in DIRECT_STAGES), "own")
"""All parts of such a turn."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A turn's latency in parts.

    Attributes:
        total_ns: Voice-to-voice latency.
        parts: Nanoseconds by part, in the order of `PARTS`, or of `DIRECT_PARTS` where the marks
            are a speech-to-speech model's; they sum to `total_ns` exactly. None is negative, save
            where the reply was heard before the user had finished: then `total_ns` is negative,
            and all of it is `endpoint`'s, which took the turn for over too early.
        hidden: Nanoseconds of each stage's work done before the commit, so that nobody waited.
    """

    total_ns: int
    parts: Mapping[str, int]
    hidden: Mapping[str, int]

    @classmethod
    def from_marks(cls, marks: Mapping[str, int]) -> Timeline | None:
        """The timeline of a turn with these marks (ns), or None if no reply was heard in it."""
        if not {"speech.end", "committed", "heard.first"} <= marks.keys():
            return None
        start, end = marks["speech.end"], marks["heard.first"]
        committed = min(max(marks["committed"], start), end)
        direct = "model.first_audio" in marks
        parts = dict.fromkeys(DIRECT_PARTS if direct else PARTS, 0)
        hidden: dict[str, int] = {}
        parts["endpoint"] = committed - start
        cursor = committed
        for name, first, last in DIRECT_STAGES if direct else STAGES:
            if first not in marks or last not in marks:
                continue
            hidden[name] = max(0, min(marks[last], committed) - marks[first])
            begin = min(max(marks[first], cursor), end)
            finish = min(max(marks[last], begin), end)
            parts["own"] += begin - cursor
            parts[name] = finish - begin
            cursor = finish
        parts["own"] += end - cursor
        return cls(end - start, parts, hidden)
