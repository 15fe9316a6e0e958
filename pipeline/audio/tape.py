"""The last seconds of the microphone, found again by sample offset or by time."""

from __future__ import annotations

from collections import deque

import numpy as np

from pipeline.events import Samples


class Tape:
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
