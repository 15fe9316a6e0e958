"""The sound that a client sent and that is no item yet."""

from __future__ import annotations

import numpy as np

from pipeline.events import Samples


class InputBuffer:
    """Keeps the newest sound of a stream, addressed by its place in the whole stream.

    Attributes:
        start: Place of the oldest sample that is kept (samples from the start of the stream).
    """

    def __init__(self) -> None:
        self.start = 0
        self._pieces: list[Samples] = []
        self._held = 0

    @property
    def end(self) -> int:
        """One past the newest sample: how many were ever pushed."""
        return self.start + self._held

    def __len__(self) -> int:
        return self._held

    def push(self, samples: Samples) -> None:
        """The next piece, int16 (n,)."""
        self._pieces.append(samples)
        self._held += len(samples)

    def between(self, start: int, end: int) -> Samples:
        """A copy of what is kept of that stretch."""
        whole = np.concatenate([*self._pieces, np.zeros(0, np.int16)])
        return whole[max(0, start - self.start) : max(0, end - self.start)].copy()

    def forget(self, before: int) -> None:
        """Let go of what lies before that place, in whole pieces."""
        drop = 0
        while drop < len(self._pieces) and self.start + len(self._pieces[drop]) <= before:
            self.start += len(self._pieces[drop])
            self._held -= len(self._pieces[drop])
            drop += 1
        del self._pieces[:drop]

    def clear(self) -> None:
        """Let go of everything."""
        self.start = self.end
        self._pieces.clear()
        self._held = 0
