"""What the microphone hears: frames in, verdicts on voice out, and the sound kept for a while."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from pipeline.audio.resample import Resampler
from pipeline.engines.vad import RATE, Voice
from pipeline.engines.whisper import Audio
from pipeline.events import Frame, Samples
from pipeline.turns.speech_end import AROUND, speech_end

LOST_S = 0.5
"""So much lost sound (s), and what comes has nothing to do with what was."""


class Detector(Protocol):
    """Judges voice (`engines.vad.VoiceDetector`)."""

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
        self._kept = RingBuffer(RATE, seconds)
        self._resampler: Resampler | None = None
        self._lag_ns = 0
        self._last: Frame | None = None

    @property
    def end(self) -> int:
        """How many samples have been heard."""
        return self._kept.end

    def follows(self, frame: Frame) -> bool:
        """Whether `frame` goes on where the last one ended; not so after a machine slept.

        Its samples are counted, not its time: a file that is read on a busy machine comes late, and
        is whole.
        """
        last = self._last
        if last is None or last.rate != frame.rate:
            return True
        return frame.offset - last.offset - len(last.samples) <= LOST_S * frame.rate

    def push(self, frame: Frame) -> list[Voice]:
        """Take the next frame, at any rate; gives the verdicts on the windows it completes."""
        self._last = frame
        if self._resampler is None or self._resampler.rate_in != frame.rate:
            self._resampler = Resampler(frame.rate, RATE)
            self._lag_ns = 0
        samples = self._resampler.push(frame.samples)
        # The resampler holds samples back: the first to come out went in that much earlier.
        self._kept.append(samples, frame.t_ns - self._lag_ns)
        self._lag_ns += frame.duration_ns - len(samples) * 1_000_000_000 // RATE
        return self._detector.push(samples)

    def time_of(self, offset: int) -> int:
        """When the sample at `offset` was captured (ns)."""
        return self._kept.time_of(offset)

    def last_sound(self, judged: int) -> int:
        """Where the voice ended that was judged to end at `judged` (see `speech_end`).

        Only what was heard so far is looked at.
        """
        start = max(0, judged - AROUND, self._kept.begin)
        found = speech_end(self._kept.cut(start, judged + AROUND), judged - start)
        return start + found.end

    def sound(self, start: int, end: int, *, until: int = 0) -> Audio:
        """What was heard from `start` to before `end`, and silence up to `until` if that is later.

        float32 in ±1, as the recogniser takes it.
        """
        audio = self._kept.cut(start, end).astype(np.float32) / np.float32(32768)
        return np.pad(audio, (0, max(0, until - end)))


class RingBuffer:
    """Keeps the newest audio of a stream, and knows when each sample was captured.

    Offsets count samples since the stream began, at `rate`.
    """

    def __init__(self, rate: int, seconds: float) -> None:
        """Keep at least `seconds` of audio at `rate` Hz."""
        self.rate = rate
        self._keep = int(seconds * rate)
        self._blocks: deque[tuple[int, int, Samples]] = deque()
        self.end = 0

    @property
    def begin(self) -> int:
        """Offset of the oldest sample that is kept."""
        return self._blocks[0][0] if self._blocks else self.end

    def append(self, samples: Samples, t_ns: int) -> None:
        """Add what follows; `t_ns` is when its first sample was captured."""
        if not len(samples):
            return
        self._blocks.append((self.end, t_ns, samples))
        self.end += len(samples)
        while self._blocks and self._blocks[0][0] + len(self._blocks[0][2]) < self.end - self._keep:
            self._blocks.popleft()

    def cut(self, start: int, end: int) -> Samples:
        """A copy of the samples from `start` to before `end`, as far as they are still kept."""
        parts = [
            block[max(0, start - first) : max(0, end - first)]
            for first, _, block in self._blocks
            if first < end and first + len(block) > start
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def time_of(self, offset: int) -> int:
        """When the sample at `offset` was captured (ns); beyond what is kept it is extrapolated.

        Each block has its own capture time, so a device clock that drifts does no harm.
        """
        if not self._blocks:
            return 0
        first, t_ns, _ = self._blocks[0]
        for start, time, _ in reversed(self._blocks):
            if start <= offset:
                first, t_ns = start, time
                break
        return t_ns + (offset - first) * 1_000_000_000 // self.rate
