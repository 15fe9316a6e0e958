"""Sound that comes in blocks, as one stream: taken in pieces of any length, or put on the clock."""

from __future__ import annotations

from collections import deque

import numpy as np

from pipeline.audio.resample import Resampler
from pipeline.clock import NS_PER_S
from pipeline.events import Samples

JUMP_S = 0.020
"""Count and clock of a channel that differ by more mean that sound was lost, or came twice."""

SMOOTHING = 1 / 16
STEP_S = 0.005
SLEW_S = 0.001
"""A smaller difference is jitter, or a device whose clock runs a little fast or slow, and counts by
its average over some 16 blocks. Above `STEP_S`, sound moves by that much at once. Above `SLEW_S`,
one sample of each block is doubled or left out until it is not, which is inaudible and keeps up
with clocks that are off by 0.2 %; real ones are off by 0.01 %."""


class Fifo:
    """Sound that waits: blocks of any length in, pieces of any length out.

    Args:
        samples: What waits already.
    """

    def __init__(self, *samples: Samples) -> None:
        self._blocks: deque[Samples] = deque()
        self._waiting = 0
        for block in samples:
            self.push(block)

    def __len__(self) -> int:
        """How many samples wait."""
        return self._waiting

    def push(self, samples: Samples) -> None:
        """Add a block to the end; int16 (n,), any n. It is not copied."""
        if len(samples):
            self._blocks.append(samples)
            self._waiting += len(samples)

    def take(self, n: int) -> Samples:
        """Take the first `n` samples, or all if fewer wait."""
        n = min(n, self._waiting)
        self._waiting -= n
        pieces = [np.zeros(0, np.int16)] if n == 0 else []
        while n > 0:
            piece = self._blocks.popleft()
            if len(piece) > n:
                self._blocks.appendleft(piece[n:])
                piece = piece[:n]
            pieces.append(piece)
            n -= len(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


class Track:
    """One channel: blocks of sound with their times in, one unbroken stream out.

    Args:
        rate: Sample rate of the stream (Hz).
        start_ns: When its first sample is heard.

    Attributes:
        end: How many samples of the stream are complete.
    """

    def __init__(self, rate: int, start_ns: int) -> None:
        self.rate = rate
        self.end = 0
        self._start_ns = start_ns
        self._ready = Fifo()
        self._resampler = Resampler(rate, rate)
        self._base = 0
        self._count = 0
        self._skip = 0
        self._drift_s = 0.0
        self._begun = False
        self._doubtful: list[tuple[Samples, int]] = []
        self._second: Samples = np.zeros(rate, np.int16)

    def push(self, samples: Samples, rate: int, t_ns: int) -> None:
        """Add a block: int16 (n,) at `rate`, its first sample heard at `t_ns`."""
        if rate != self._resampler.rate_in:
            self._settle()
            self._restart(rate)
        if not self._begun:
            self._begun = True
            self._jump(self._error_s(t_ns))
        blocks = [*self._doubtful, (samples, t_ns)]
        errors = [self._error_s(blocks[0][1])]
        if len(blocks) == 2:
            errors.append(self._error_s(t_ns, placed=len(blocks[0][0])))
        elif abs(errors[0]) > JUMP_S:
            # One block's time may be wrong. Two that agree are right, and the first is moved too.
            self._doubtful = blocks
            return
        if min(errors) > JUMP_S or max(errors) < -JUMP_S:
            self._jump(min(errors, key=abs))
        self._doubtful = []
        for block, heard_ns in blocks:
            self._place(block, heard_ns)

    def pad_to(self, end: int) -> None:
        """Be silent up to index `end`."""
        self._settle()
        self._restart(self._resampler.rate_in)
        self._be_silent(end - self.end)

    def take(self, n: int) -> Samples:
        """The next `n` samples, no more than up to `end`."""
        return self._ready.take(n)

    def finish(self) -> None:
        """Complete the stream with what is held back."""
        self._settle()
        self._restart(self._resampler.rate_in)

    def _error_s(self, t_ns: int, placed: int = 0) -> float:
        """How much later a block is by the clock than by count, `placed` samples from now."""
        counted_ns = self._base * NS_PER_S // self.rate
        counted_ns += (self._count + placed - self._skip) * NS_PER_S // self._resampler.rate_in
        return (t_ns - self._start_ns - counted_ns) / NS_PER_S

    def _jump(self, seconds: float) -> None:
        """Go on later, after silence; or, if negative, after leaving out what comes next."""
        self._drift_s = 0.0
        if seconds > 0:
            self._restart(self._resampler.rate_in)
            self._be_silent(round(seconds * self.rate))
        else:
            self._skip += round(-seconds * self._resampler.rate_in)

    def _place(self, samples: Samples, t_ns: int) -> None:
        error_s = self._error_s(t_ns)
        if abs(error_s) <= JUMP_S:
            self._drift_s += (error_s - self._drift_s) * SMOOTHING
        if abs(self._drift_s) > STEP_S:
            self._jump(self._drift_s)
        left_out = min(self._skip, len(samples))
        self._skip -= left_out
        samples = samples[left_out:]
        if len(samples) and self._drift_s > SLEW_S:
            samples = np.append(samples, samples[-1])
            self._drift_s -= 1 / self._resampler.rate_in
        elif len(samples) and self._drift_s < -SLEW_S:
            samples = samples[:-1]
            self._drift_s += 1 / self._resampler.rate_in
        self._count += len(samples)
        self._append(self._resampler.push(samples))

    def _settle(self) -> None:
        """Believe the block that is in doubt."""
        for samples, t_ns in self._doubtful:
            self._jump(self._error_s(t_ns))
            self._place(samples, t_ns)
        self._doubtful = []

    def _restart(self, rate_in: int) -> None:
        self._append(self._resampler.flush())
        self._skip = self._skip * rate_in // self._resampler.rate_in
        if rate_in != self._resampler.rate_in:
            self._resampler = Resampler(rate_in, self.rate)
        self._base = self.end
        self._count = 0

    def _be_silent(self, n: int) -> None:
        while n > 0:
            piece = self._second[:n]
            self._append(piece)
            n -= len(piece)
        self._base = self.end

    def _append(self, samples: Samples) -> None:
        self._ready.push(samples)
        self.end += len(samples)
