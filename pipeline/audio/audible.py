"""Where sound begins and ends: one definition for the device, the trace and the WAV check."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.clock import NS_PER_S
from pipeline.events import Samples

AUDIBLE_DBFS = -50.0
"""Sound starts to be audible above this peak; a Piper voice hisses at -57 before its first word."""

THRESHOLD = 32768 * 10 ** (AUDIBLE_DBFS / 20)
"""The same, as a sample."""

CONFIRM_S = 0.005
CONFIRM_SHARE = 0.25
"""A sample is the onset of sound if this share of the samples in this time after it is above the
threshold too. One that is not belongs to a click, or to a filter that rings."""


def onset(samples: Samples, rate: int) -> int | None:
    """Index of the first audible sample of mono int16 sound; None if it is all silence."""
    loud = np.concatenate([_loud(samples), np.zeros(int(CONFIRM_S * rate), np.bool_)])
    return _sustained(loud, rate)


def ending(samples: Samples, rate: int) -> int | None:
    """One past the last audible sample of mono int16 sound; None if it is all silence."""
    last = onset(samples[::-1], rate)
    return None if last is None else len(samples) - last


def stretches(
    samples: Samples, rate: int, pause_s: float, threshold: float = THRESHOLD
) -> list[tuple[int, int]]:
    """Where mono int16 sound is audible: first index and one past the last of each stretch.

    Args:
        samples: The sound.
        rate: Hz.
        pause_s: Silence that is no longer is inside a stretch (s).
        threshold: A sample above it is audible.
    """
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > threshold)
    found = []
    for one in np.split(loud, np.flatnonzero(np.diff(loud) > pause_s * rate) + 1):
        if not len(one):
            continue
        sound, begin = samples[one[0] : one[-1] + 1], int(one[0])
        if (first := onset(sound, rate)) is not None:
            found.append((begin + first, begin + (ending(sound, rate) or len(sound))))
    return found


def is_audible(samples: Samples) -> bool:
    """Whether any of mono int16 sound is above the threshold, be it a click."""
    return len(samples) > 0 and max(int(samples.max()), -int(samples.min())) > THRESHOLD


class Ear:
    """Listens to a stream that comes in blocks for its first and its latest audible sample.

    Args:
        rate: Hz.

    Attributes:
        audible_ns: When the first audible sample is heard; None until there is one.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.audible_ns: int | None = None
        self._latest_ns: int | None = None
        self._undecided: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)

    @property
    def last_audible_ns(self) -> int | None:
        """When the latest audible sample is heard; None until there is one."""
        return None if self.audible_ns is None else self._latest_ns

    def hear(self, samples: Samples, t_ns: int) -> None:
        """The next block: int16 (n,), heard from `t_ns` on."""
        loud = _loud(samples)
        if loud.any():
            latest = len(loud) - 1 - int(np.argmax(loud[::-1]))
            self._latest_ns = t_ns + latest * NS_PER_S // self.rate
        if self.audible_ns is not None:
            return
        held = len(self._undecided)
        loud = np.concatenate([self._undecided, loud])
        if (index := _sustained(loud, self.rate)) is not None:
            self.audible_ns = t_ns + (index - held) * NS_PER_S // self.rate
        self._undecided = loud[-int(CONFIRM_S * self.rate) :]

    def pause(self) -> None:
        """The next block does not follow the one before it: there was silence in between."""
        self._undecided = self._undecided[:0]


def _loud(samples: Samples) -> npt.NDArray[np.bool_]:
    loud: npt.NDArray[np.bool_] = np.abs(samples.astype(np.int32)) > THRESHOLD
    return loud


def _sustained(loud: npt.NDArray[np.bool_], rate: int) -> int | None:
    """First loud index with enough loud ones in the time after it, as far as that is known."""
    window = int(CONFIRM_S * rate)
    if len(loud) <= window:
        return None
    total = np.concatenate([[0], np.cumsum(loud)])
    enough = total[window + 1 :] - total[1 : len(loud) - window + 1] >= CONFIRM_SHARE * window
    found = np.flatnonzero(loud[: len(loud) - window] & enough)
    return int(found[0]) if len(found) else None
