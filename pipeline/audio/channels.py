"""Several channels in, one out: their average, or where that loses the voice, the one that has it.

The average loses a voice where channels cancel each other, where only one of many has it, or where
another one brings noise. Then the channel is heard that has the voice at the moment. Which one that
is follows from levels alone: a voice comes and goes, noise and hum stay. Hum and rumble weigh
little, for it is how sharply the wave bends that is compared.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.events import Samples

Sound = npt.NDArray[np.floating[Any]]
"""Several channels, shape (n, channels), or one, shape (n,); 32768 is full scale."""

WINDOWS_PER_S = 50
"""Levels are measured in windows of 20 ms."""

RATE = 4000
"""They are measured at about this rate (Hz), which has most of a voice's power."""

SPAN = 150
AHEAD = 100
"""Windows by which a channel is judged (3 s), and so many of them lie ahead of what is mixed, where
that can wait (2 s)."""

BEFORE, AFTER = 5, 15
"""Windows around a moment whose mean is its level (0.1 s and 0.3 s)."""

QUIET, LOUD = 0.1, 0.95
"""The share of windows that are quieter than noise (in the pauses of speech), and than a voice."""

MODULATED = 10.0
"""A voice is louder than the noise by more than this (power); steady noise varies by 3 at most."""

LOST = 10**0.8
"""The average may lose so much of the distance from voice to noise (8 dB, as power): one of two
channels that has the voice alone loses 6 dB, which does no harm."""

LOUDER = 2.0
"""Another channel's voice is heard once it is louder by this (3 dB, as power)."""

SILENCE = 10.0
"""Power below which nothing is told apart (squares of a step of 16 bits)."""

FADE_S = 0.01
"""One channel fades into another over this long."""

log = logging.getLogger(__name__)


class Mix:
    """Makes one channel of several, block by block.

    Where the average is not heard a warning says so, once of each source.

    Attributes:
        chosen: The channel that is heard, from 0; None: the average of all. Once the average has
            lost a voice it is not returned to.
    """

    def __init__(self, source: str, rate: int, channels: int, *, ahead: int = 0) -> None:
        """Begin with the average.

        Args:
            source: What the sound comes from, for the warning.
            rate: Of the sound (Hz).
            channels: How many there are, 2 or more.
            ahead: Windows that are held back to know what comes (see `AHEAD`).
        """
        self.chosen: int | None = None
        self._source = source
        self._rate = rate
        self._ahead = ahead
        self._levels = np.zeros((0, 2, channels + 1))
        self._waiting: deque[tuple[Sound, int]] = deque()
        self._windows_waiting = 0
        self._begun = False

    def push(self, sound: Sound) -> Samples:
        """Take the next block; gives what is due, int16 (n,).

        Whole windows of 20 ms are measured, what is beyond them in a block is not.
        """
        levels = self._measured(sound)
        self._levels = np.concatenate([self._levels, levels])[-SPAN:]
        self._waiting.append((sound, len(levels)))
        self._windows_waiting += len(levels)
        due = []
        while self._windows_waiting - self._waiting[0][1] >= self._ahead:
            due.append(self._next())
            if not self._waiting:
                break
        return np.concatenate([np.zeros(0, np.int16), *due])

    def flush(self) -> Samples:
        """The rest of what was held back."""
        return np.concatenate([np.zeros(0, np.int16), *(self._next() for _ in [*self._waiting])])

    def _measured(self, sound: Sound) -> npt.NDArray[np.float64]:
        """How loud each channel, and the average behind them, is in each window.

        Returns:
            Shape (windows, 2, channels + 1): the power of the second differences, in which a voice
            outweighs hum and rumble, and the power of all.
        """
        step = max(1, self._rate // RATE)
        window = max(3, self._rate // WINDOWS_PER_S // step)
        whole = len(sound) // (window * step)
        at = np.arange(0, whole * window * step, step)
        slow = np.add.reduceat(sound[: len(at) * step], at, axis=0) / step
        parted = np.column_stack([slow, _average(slow)]).reshape(whole, window, slow.shape[1] + 1)
        bends = np.square(np.diff(parted, n=2, axis=1)).mean(axis=1)
        return np.stack([bends, parted.var(axis=1)], axis=1)

    def _next(self) -> Samples:
        """Mix the block that has waited longest."""
        before = self.chosen
        self._choose()
        sound, windows = self._waiting.popleft()
        self._windows_waiting -= windows
        mixed = _heard(sound, self.chosen)
        if self.chosen != before and self._begun:
            fade = max(1, int(FADE_S * self._rate))
            rising = np.minimum(np.arange(1, len(sound) + 1, dtype=np.float32) / fade, 1)
            mixed = rising * mixed + (1 - rising) * _heard(sound, before)
        self._begun = True
        # Rounded as FFmpeg rounds the average of two channels of 16 bits.
        samples: Samples = np.clip(np.floor(mixed + 0.5), -32768, 32767).astype(np.int16)
        return samples

    def _choose(self) -> None:
        """See which channel has the voice now, and whether the average has."""
        if not len(self._levels):
            return
        ranked = np.sort(self._levels, axis=0)
        bends, powers = np.maximum(ranked[int(QUIET * len(ranked))], SILENCE)
        loud_bends, loud_powers = ranked[int(LOUD * len(ranked))]
        voiced = (loud_bends > MODULATED * bends)[:-1]
        if self.chosen is None:
            best = int(np.argmax(voiced * loud_bends[:-1]))
            # Noises of different channels are not alike, so that their powers add.
            noise = max(powers[:-1][~voiced].sum() / len(voiced) ** 2, SILENCE)
            quiet = loud_bends[-1] * LOST < loud_bends[best]
            drowned = loud_powers[-1] / noise * LOST < loud_powers[best] / powers[best]
            if voiced[best] and (quiet or drowned):
                self.chosen = best
                _tell(self._source, len(voiced), best + 1)
            return
        now = len(self._levels) - self._windows_waiting
        around = self._levels[max(0, now - BEFORE) : now + AFTER, 0, :-1].mean(axis=0)
        voices = voiced * np.maximum(around - MODULATED * bends[:-1], 0.0)
        best = int(np.argmax(voices))
        if voices[best] > LOUDER * voices[self.chosen]:
            self.chosen = best


@functools.cache
def _tell(source: str, channels: int, first: int) -> None:
    log.warning(
        "%s: the average of its %d channels loses the voice: the one that has it is heard, "
        "first channel %d",
        source,
        channels,
        first,
    )


def _heard(sound: Sound, chosen: int | None) -> Sound:
    """A channel of a sound, or the average of all."""
    return _average(sound) if chosen is None else sound[:, chosen]


def _average(sound: Sound) -> Sound:
    # Ten times as fast as numpy's mean.
    channels = sound.shape[1]
    average: Sound = sound @ np.full(channels, 1 / channels, np.float32)
    return average
