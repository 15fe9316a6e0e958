"""What the microphone hears: frames in, verdicts on voice out, and the sound kept for a while."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from pipeline.audio.audible import ending
from pipeline.audio.resample import Resampler
from pipeline.audio.tape import Tape
from pipeline.events import Frame, Samples
from pipeline.stages.stt import Audio
from pipeline.stages.vad import WINDOW, Voice

RATE = 16_000
"""Samples per second (Hz) of all that is kept and judged."""

JUDGE_LAG = 2 * WINDOW
"""How much silence (samples) what is judged voiced may end with: measured, up to 46 ms."""

FADE = RATE // 10
"""How much sound (samples) may follow what is judged voiced: a voice fades out for up to 80 ms."""

LOST_NS = 1_000_000_000
"""A gap in the microphone's time beyond which what comes has nothing to do with what was."""


class Detector(Protocol):
    """Judges voice (`stages.vad.VoiceDetector`)."""

    def push(self, samples: Samples) -> list[Voice]:
        """Take 16 kHz audio, give the verdicts on its 32 ms windows."""
        ...


class Hearing:
    """Resamples, keeps and judges what is heard. Offsets are samples at 16 kHz since the start.

    Args:
        detector: Judges voice.
        seconds: How much sound to keep (s).
    """

    def __init__(self, detector: Detector, seconds: float) -> None:
        self._detector = detector
        self._tape = Tape(RATE, seconds)
        self._resampler: Resampler | None = None
        self._lag_ns = 0
        self._next_ns: int | None = None

    @property
    def end(self) -> int:
        """How many samples have been heard."""
        return self._tape.end

    def follows(self, frame: Frame) -> bool:
        """Whether `frame` goes on where the last one ended; not so after the machine slept."""
        return self._next_ns is None or frame.t_ns - self._next_ns <= LOST_NS

    def push(self, frame: Frame) -> list[Voice]:
        """Take the next frame, at any rate; gives the verdicts on the windows it completes."""
        self._next_ns = frame.t_ns + frame.duration_ns
        if self._resampler is None or self._resampler.rate_in != frame.rate:
            self._resampler = Resampler(frame.rate, RATE)
            self._lag_ns = 0
        samples = self._resampler.push(frame.samples)
        # The resampler holds samples back: the first to come out went in that much earlier.
        self._tape.append(samples, frame.t_ns - self._lag_ns)
        self._lag_ns += frame.duration_ns - len(samples) * 1_000_000_000 // RATE
        return self._detector.push(samples)

    def time_of(self, offset: int) -> int:
        """When the sample at `offset` was captured (ns)."""
        return self._tape.time_of(offset)

    def last_sound(self, judged: int) -> int:
        """Where the voice fell silent that was judged to end at `judged`.

        The judge is a little late, or leaves out how it fades. Where it does not fall silent there,
        because the room is not, the judge is believed.
        """
        start = judged - JUDGE_LAG
        end = ending(self._tape.cut(start, judged + FADE), RATE)
        if end is None or end == min(judged + FADE, self._tape.end) - start:
            end = ending(self._tape.cut(start, judged), RATE)
        return judged if end is None else start + end

    def sound(self, start: int, end: int, *, until: int = 0) -> Audio:
        """What was heard from `start` to before `end`, and silence up to `until` if that is later.

        float32 in ±1, as the recogniser takes it.
        """
        audio = self._tape.cut(start, end).astype(np.float32) / np.float32(32768)
        return np.pad(audio, (0, max(0, until - end)))
