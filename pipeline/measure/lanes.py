"""The lanes of the waterfall: a session's trace in, spans out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.measure.record import Span
from pipeline.timeline import WORK

Line = Mapping[str, Any]
"""A mark as `Trace` writes it: `turn`, `generation`, `mark`, `t_ns`, and more."""

DROPPED = "dropped: "
"""Before the name of work that was thrown away."""

WAITING = "first token"
"""Name of the wait for a token that never came."""


def lanes(lines: Sequence[Line], turn: int, *, until_ns: int) -> tuple[Span, ...]:
    """The spans of a turn, by when they begin; work that was thrown away is marked `DROPPED`.

    Args:
        lines: All marks of the session, in order.
        turn: Which turn.
        until_ns: When it was over; what was still going on then ends there.
    """
    mine = [line for line in lines if line["turn"] == turn]
    kept = max((line["generation"] for line in mine if line["mark"] in WORK), default=1)
    discarded = {line["generation"]: line["t_ns"] for line in mine if line["mark"] == "discarded"}
    times = {line["mark"]: line["t_ns"] for line in mine}
    spans = [
        *_between("user", "speech", times, "speech.start", "speech.end", until_ns),
        *_between("endpoint", "hold", times, "speech.end", "committed", until_ns),
    ]
    for generation in sorted({line["generation"] for line in mine}):
        attempt = [line for line in mine if line["generation"] == generation]
        if generation == kept and generation not in discarded:
            spans += _attempt(attempt, until_ns)
        elif generation in discarded:
            for span in _attempt(attempt, discarded[generation]):
                spans.append(Span(span.lane, DROPPED + span.name, span.start_ns, span.end_ns))
    spans += _between("speaker", "reply", times, "heard.first", "heard.last", until_ns)
    return tuple(sorted(spans, key=lambda span: span.start_ns))


def wasted(lines: Iterable[Line]) -> dict[str, float]:
    """Speculation in vain, over all turns of a session.

    Returns:
        `attempts` that were dropped, how many of them had been `transcribed`, and the `characters`
        and `speech_ms` that they had made; empty if none was.
    """
    sums: dict[str, float] = {}
    for line in lines:
        if line["mark"] == "discarded":
            sums["attempts"] = sums.get("attempts", 0) + 1
            for key in ("transcribed", "characters", "speech_ms"):
                sums[key] = sums.get(key, 0) + float(line.get(key, 0))
    return sums


def _attempt(lines: Sequence[Line], until_ns: int) -> Iterator[Span]:
    """The work of one attempt: recognition, each token, each clause."""
    times: dict[str, int] = {}
    for line in lines:
        times.setdefault(line["mark"], line["t_ns"])
    yield from _between("stt", "recognition", times, "stt.start", "stt.final", until_ns)
    before = times.get("llm.request")
    for line in lines:
        if line["mark"] == "token" and before is not None:
            yield Span("llm", line["text"], before, line["t_ns"])
            before = line["t_ns"]
    if before is not None and "token" not in times:
        yield Span("llm", WAITING, before, max(before, until_ns))
    yield from _clauses(lines)


def _clauses(lines: Sequence[Line]) -> Iterator[Span]:
    """Each clause from when the voice began it to its last sound."""
    begun: Line | None = None
    last_ns = 0
    for line in lines:
        if line["mark"] == "tts.clause":
            if begun is not None:
                yield Span("tts", begun["text"], begun["t_ns"], last_ns)
            begun, last_ns = line, line["t_ns"]
        elif line["mark"] == "tts.piece":
            last_ns = line["t_ns"]
    if begun is not None:
        yield Span("tts", begun["text"], begun["t_ns"], last_ns)


def _between(
    lane: str, name: str, times: Mapping[str, int], first: str, last: str, until_ns: int
) -> Iterator[Span]:
    """A span between two marks; open-ended where only the first was made."""
    if first in times:
        begin = times[first]
        yield Span(lane, name, begin, max(begin, times.get(last, until_ns)))
