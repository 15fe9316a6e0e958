"""The instrument's own error: a short conversation with the system of known behaviour, measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

import numpy as np

from pipeline.audio.files import WavWriter
from pipeline.audio.line import RATE
from pipeline.clock import NS_PER_MS, Clock
from pipeline.errors import CascadeError
from pipeline.measure import reference
from pipeline.measure.conduct import hold
from pipeline.measure.cues import Utterance
from pipeline.measure.recording import MemoryTrace
from pipeline.measure.reference import Behaviour, ReferenceSession

ERROR_MS = 15.0
"""By so much the instrument may be off; a reply waits up to 5 ms for the next block of sound."""

KNOWN = Behaviour(latency=300, reply=200)

SPEECH_S = (0.3, 0.302, 0.304)
LEAD_S, TAIL_S = 0.05, 0.05
"""Of what is said, a turn each, of a second: noise, which begins and ends at known samples, between
silences. The ends are spread over a block of sound, as those of people are."""


class OwnError(TypedDict):
    """By how much the instrument was off: measured less known, in `n` of so many `turns`.

    `worst_ms` is the one farthest from none. Both are None where no turn could be measured, and
    `reason` is why one was not.
    """

    known_ms: float
    turns: int
    n: int
    median_ms: float | None
    worst_ms: float | None
    reason: str


async def calibrate() -> OwnError:
    """Measure the instrument's own error, in some three seconds."""
    errors: list[float] = []
    reason = ""
    with tempfile.TemporaryDirectory() as folder:
        said = [_noise(Path(folder) / f"{seconds}.wav", seconds) for seconds in SPEECH_S]
        tape = MemoryTrace()
        session = ReferenceSession(KNOWN, tape, Clock())
        both = Path(folder) / "both.wav"
        try:
            held = await hold(session, tape, said, both, reference.RATE)
            for turn in held.turns():
                measured_ns = turn.record.wav_voice_to_voice_ns
                if measured_ns is None:
                    reason = turn.record.reason
                else:
                    errors.append(measured_ns / NS_PER_MS - KNOWN.latency)
        except (CascadeError, OSError) as error:
            reason = str(error)
    worst: float = max(errors, key=abs, default=0.0)
    return {
        "known_ms": float(KNOWN.latency),
        "turns": len(SPEECH_S),
        "n": len(errors),
        "median_ms": round(median(errors), 3) if errors else None,
        "worst_ms": round(worst, 3) if errors else None,
        "reason": reason,
    }


def told(found: Mapping[str, Any] | None) -> list[str]:
    """The instrument's own error in a sentence; none where it is not known."""
    if not found or found["median_ms"] is None:
        return []
    return [
        f"the instrument's own error in this run: {found['median_ms']:+.0f} ms "
        f"(worst {found['worst_ms']:+.0f} ms, of {found['n']} turns)"
    ]


def doubts(found: Mapping[str, Any] | None) -> list[str]:
    """What a reader should know of it, a sentence each."""
    if not found:
        return []
    doubted = []
    if found["n"] < found["turns"]:
        doubted.append(
            f"the instrument measured {found['n']} of {found['turns']} turns of a system of known "
            f"latency: {found['reason']}"
        )
    if found["worst_ms"] is not None and abs(found["worst_ms"]) > ERROR_MS:
        doubted.append(
            f"the instrument was off by up to {abs(found['worst_ms']):.0f} ms with a system of "
            "known latency: the machine was too busy to measure well; close other programs, run "
            "again"
        )
    return doubted


def _noise(path: Path, seconds: float) -> Utterance:
    noise = np.random.default_rng(1).integers(-9_000, 9_000, round(seconds * RATE))
    around = int(LEAD_S * RATE), int(TAIL_S * RATE)
    with WavWriter(path, RATE) as wav:
        wav.write(np.pad(noise.astype(np.int16), around))
    return Utterance(
        path=path,
        end_of_speech_s=LEAD_S + seconds,
        seconds=LEAD_S + seconds + TAIL_S,
        pause_s=0.1,
        patience_s=2.0,
    )
