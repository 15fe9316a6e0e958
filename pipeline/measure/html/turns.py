"""What a report draws of a turn: a record in, plain values for JSON out. No statistics are made.

Times are in ms and count from the true end of the user's speech.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from pipeline.clock import NS_PER_MS
from pipeline.measure.record import Record
from pipeline.trace import DIRECT_STAGES, MARKS, STAGES

OWNERS = {
    "endpoint": "setting",
    "stt": "stage",
    "llm_first_token": "stage",
    "first_clause": "stage",
    "tts_first_audio": "stage",
    "model": "model",
    "device": "device",
    "own": "own code",
}
"""Who can do something about a part."""

LABELS = {
    "endpoint": "endpoint hold",
    "stt": "STT",
    "llm_first_token": "LLM first token",
    "first_clause": "first clause",
    "tts_first_audio": "TTS first audio",
    "model": "speech model",
    "device": "device",
    "own": "own code",
}
"""What a part is called in a report."""


def parts(names: Iterable[str]) -> list[dict[str, str]]:
    """Name, label and owner of each of these parts."""
    return [{"name": name, "label": LABELS[name], "owner": OWNERS[name]} for name in names]


def turn(number: int, record: Record) -> dict[str, Any]:
    """One record; `number` is what its links name it by."""
    zero = zero_ns(record)
    timeline = record.timeline
    wav_ns = record.wav_voice_to_voice_ns if record.status == "ok" else None
    trace_ns = timeline.total_ns if timeline else None
    both = wav_ns is not None and trace_ns is not None
    return {
        "id": number,
        "variant": record.variant,
        "file": record.file,
        "repeat": record.repeat,
        "order": record.order,
        "status": record.status,
        "reason": record.reason,
        "end_of_speech": record.end_of_speech,
        "from_speech_end": "speech.end" in record.marks,
        "wav_ms": in_ms(wav_ns),
        "trace_ms": in_ms(trace_ns),
        "difference_ms": in_ms((trace_ns or 0) - (wav_ns or 0)) if both else None,
        "parts": {name: in_ms(ns) for name, ns in timeline.parts.items()} if timeline else None,
        "hidden": {name: in_ms(ns) for name, ns in timeline.hidden.items()} if timeline else None,
        "blocking": [
            [name, in_ms(start - zero), in_ms(end - zero)]
            for name, start, end in (blocking(record.marks) if timeline else ())
        ],
        "marks": [
            [name, in_ms(record.marks[name] - zero)]
            for name in sorted(record.marks, key=lambda name: (record.marks[name], _rank(name)))
        ],
        "spans": [
            [span.lane, span.name, in_ms(span.start_ns - zero), in_ms(span.end_ns - zero)]
            for span in record.spans
        ],
        "transcript": record.transcript,
        "expected": record.expected,
        "reply": record.reply,
        "underrun_ms": in_ms(record.underrun_ns),
        "wasted": dict(record.wasted),
        "cpu_ms": in_ms(record.cpu_ns),
        "late_ms": in_ms(record.late_ns),
        "hold_ms": record.hold_ms,
        "level_dbfs": _rounded(record.level_dbfs),
        "snr_db": _rounded(record.snr_db),
        "node": record.node,
        "wav": quote(record.wav.replace("\\", "/")),
        "wav_start_ms": in_ms(record.wav_start_ns - zero),
    }


def zero_ns(record: Record) -> int:
    """Where the axis of a turn begins: the true end of speech, else the first thing known."""
    if "speech.end" in record.marks:
        return record.marks["speech.end"]
    times = [*record.marks.values(), *(span.start_ns for span in record.spans)]
    return min(times, default=record.wav_start_ns)


def blocking(marks: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Which part held the turn up, and when: (part, from, to), contiguous (ns).

    The lengths of each part's stretches sum to what `Timeline.from_marks` gives it; only `own` can
    have more than one.
    """
    start, end = marks["speech.end"], marks["heard.first"]
    cursor = min(max(marks["committed"], start), end)
    found = [("endpoint", start, cursor)]
    for name, first, last in DIRECT_STAGES if "model.first_audio" in marks else STAGES:
        if first not in marks or last not in marks:
            continue
        begin = min(max(marks[first], cursor), end)
        finish = min(max(marks[last], begin), end)
        found += [("own", cursor, begin), (name, begin, finish)]
        cursor = finish
    found.append(("own", cursor, end))
    return [stretch for stretch in found if stretch[1] != stretch[2]]


def in_ms(ns: int | None) -> float | None:
    """Nanoseconds as milliseconds, to the microsecond."""
    return None if ns is None else round(ns / NS_PER_MS, 3)


def _rounded(decibels: float | None) -> float | None:
    return None if decibels is None else round(decibels, 1)


def _rank(mark: str) -> int:
    return MARKS.index(mark) if mark in MARKS else len(MARKS)
