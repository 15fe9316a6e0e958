"""Turns of a profile with parts that are known to the millisecond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from pipeline.measure.record import Record, Status
from pipeline.trace import MARKS

MS = 1_000_000

SPECULATIVE = {
    name: at * MS
    for name, at in {
        "speech.end": 1000,
        "provisional": 1200,
        "stt.start": 1200,
        "stt.final": 1300,
        "llm.request": 1300,
        "llm.first_token": 1400,
        "clause.first": 1450,
        "committed": 1500,
        "tts.start": 1450,
        "tts.first_audio": 1600,
        "playout.first": 1650,
        "heard.first": 1700,
    }.items()
}
"""Marks of a turn that is answered ahead (ns): 700 ms from the end of speech."""

NEEDED = ("speech.end", "committed", "heard.first")
"""The marks without which a turn has no latency."""


def marks_at(times: st.SearchStrategy[int]) -> st.SearchStrategy[dict[str, int]]:
    """Marks in any order: those that a latency needs, and any others."""
    return st.fixed_dictionaries(
        dict.fromkeys(NEEDED, times),
        optional={mark: times for mark in MARKS if mark not in NEEDED},
    )


PLAIN: Mapping[str, float] = {
    "endpoint": 500,
    "stt": 200,
    "llm_first_token": 100,
    "first_clause": 150,
    "tts_first_audio": 80,
    "device": 30,
    "own": 10,
}
"""Adds up to 1070 ms."""


def marks(
    parts: Mapping[str, float], *, ahead_ms: float = 0, at_ns: int = 5_000 * MS
) -> dict[str, int]:
    """Marks of a turn with these parts (ms), recognised `ahead_ms` before the commit."""

    def later(mark: str, ms: float) -> int:
        return found[mark] + round(ms * MS)

    found = {"speech.start": at_ns - 1_500 * MS, "speech.end": at_ns}
    found["committed"] = later("speech.end", parts["endpoint"])
    found["stt.start"] = later("committed", -ahead_ms)
    found["stt.final"] = later("committed", parts["stt"])
    found["llm.request"] = found["stt.final"]
    found["llm.first_token"] = later("llm.request", parts["llm_first_token"])
    found["clause.first"] = later("llm.first_token", parts["first_clause"])
    found["tts.start"] = found["clause.first"]
    found["tts.first_audio"] = later("tts.start", parts["tts_first_audio"])
    found["playout.first"] = later("tts.first_audio", parts["own"])
    found["heard.first"] = later("playout.first", parts["device"])
    return found


def turn(
    variant: str = "plain",
    file: str = "a.wav",
    repeat: int = 1,
    *,
    status: Status = "ok",
    wav_off_ms: float = 0,
    ahead_ms: float = 0,
    more: Mapping[str, Any] | None = None,
    **changed: float,
) -> Record:
    """A turn with the parts of `PLAIN`, but for those in `changed` (ms).

    Args:
        variant: Its variant.
        file: Its recording.
        repeat: Its repetition; 0 is the warm-up.
        status: How it went; without a reply it has the marks until the commit.
        wav_off_ms: By how much the WAV's latency is above the trace's.
        ahead_ms: How much of the recognition was hidden.
        more: Other fields of the record.
        changed: Parts that differ.
    """
    found = marks({**PLAIN, **changed}, ahead_ms=ahead_ms)
    latency = None
    if status == "ok":
        latency = found["heard.first"] - found["speech.end"] + round(wav_off_ms * MS)
    else:
        found = {name: at for name, at in found.items() if at <= found["committed"]}
    return Record(
        variant, file, repeat, 0, status, marks=found, wav_voice_to_voice_ns=latency, **(more or {})
    )


def header(*variants: str, relative: float = 0.01, loop_ms: float = 10.0) -> dict[str, Any]:
    """What describes a run of these variants on a machine that is this steady and this fast."""
    return {
        "started": "2026-11-20T09:41:07+0000",
        "machine": {"system": "Linux", "cores": 2},
        "versions": {"voice-cascade": "0.1.0"},
        "models": {"stt": "mini"},
        "settings": {"stt": {"threads": 1}},
        "variants": {name: {} for name in variants},
        "seed": 7,
        "noise": {"readings": 5, "relative": relative, "loop_ms": {"median": loop_ms}},
        "interrupted": False,
    }
