"""When a stream that never pauses has sound in it. Pure: samples in, stretches of sound out.

A full-duplex model sends sound all the time and tells no turns. Energy decides when it speaks: the
gate opens at the first sound, and closes after a silence, with a lower threshold for staying open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.audio.audible import AUDIBLE_DBFS
from pipeline.events import Samples

FRAME_S = 0.01
"""What is judged at a time (s)."""

SHARE = 0.125
"""Share of a frame's samples above the threshold that makes it loud: half of what
`audible.onset` wants of half the time, so that no onset of sound is missed. A click has less."""

RELEASE_DB = 6.0
"""So much quieter than what opens the gate may be what keeps it open."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Samples to be passed on, which follow the stretch before unless it `begins` anew.

    Attributes:
        start: Offset of the first one in the stream.
        samples: int16 (n,); none where the gate is closed without more coming.
        begins: The gate opened for it.
        ends: The gate closed behind it.
    """

    start: int
    samples: Samples
    begins: bool
    ends: bool


class SoundGate:
    """Lets sound through, whole, and silence not.

    What it lets through keeps the time at which a loudspeaker that plays everything would play it:
    the piece in which sound begins passes from the piece's start on, and pauses pass too.

    Args:
        rate: Hz.
        open_dbfs: Peak level above which samples count as sound.

    Attributes:
        open: Whether there is sound, or was a moment ago.
        sounded: Offset in the stream at which the latest sound ended.
    """

    def __init__(self, rate: int, open_dbfs: float = AUDIBLE_DBFS) -> None:
        self.open = False
        self.sounded = 0
        self._rate = rate
        self._frame = max(1, round(rate * FRAME_S))
        self._opens = 32768 * 10 ** (open_dbfs / 20)
        self._keeps = 32768 * 10 ** ((open_dbfs - RELEASE_DB) / 20)
        self._rest: Samples = np.zeros(0, np.int16)
        self._at = 0

    @property
    def quiet_ms(self) -> float:
        """How long there has been no sound, as far as was judged (ms)."""
        return (self._at - self.sounded) * 1000 / self._rate

    def push(self, samples: Samples, hold_ms: float) -> list[Stretch]:
        """Take the next piece of the stream.

        Args:
            samples: int16 (n,), any n.
            hold_ms: Silence that closes the gate, as of now.

        Returns:
            What passes of it, and, where sound begins across its start, of the piece before.
        """
        hold = round(hold_ms * self._rate / 1000)
        sound = np.concatenate([self._rest, samples])
        base, piece = self._at, self._at + len(self._rest)
        whole = len(sound) // self._frame
        opens, keeps = self._loud(sound, whole, self._opens), self._loud(sound, whole, self._keeps)
        passed: list[Stretch] = []
        begin, begins = piece, False
        for i in range(whole):
            start = base + i * self._frame
            end = start + self._frame
            if keeps[i] if self.open else opens[i]:
                if not self.open:
                    self.open = begins = True
                    begin = passed[-1].start + len(passed[-1].samples) if passed else piece
                    begin = min(begin, start)
                self.sounded = end
            elif self.open and end - self.sounded >= hold:
                self.open = False
                passed.append(Stretch(begin, sound[begin - base : end - base], begins, True))
                begins = False
        self._at = base + whole * self._frame
        self._rest = sound[whole * self._frame :].copy()
        if self.open and begin < base + len(sound):
            passed.append(Stretch(begin, sound[begin - base :], begins, False))
        return passed

    def close(self) -> Stretch | None:
        """Nothing more comes for now: close the gate if it is open."""
        if not self.open:
            return None
        self.open = False
        end = self._at + len(self._rest)
        return Stretch(end, self._rest[:0], False, True)

    def _loud(self, sound: Samples, whole: int, threshold: float) -> npt.NDArray[np.bool_]:
        """Which of the whole frames have enough samples above the threshold."""
        frames = np.abs(sound[: whole * self._frame].astype(np.int32)).reshape(whole, self._frame)
        loud: npt.NDArray[np.bool_] = (frames > threshold).mean(axis=1) >= SHARE
        return loud
