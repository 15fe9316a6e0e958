"""Where several sessions share one microphone and one loudspeaker.

Each session has a branch of its own: the microphone's frames, and a playout that is read in real
time whether anybody hears it or not. So what is not heard is played, interrupted and timed as if it
were; the mixer lets one of them through.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import numpy as np

from pipeline.audio.playout import Playout, Tap
from pipeline.clock import NS_PER_S, Clock
from pipeline.compare.switch import FADE_S, Crossfade
from pipeline.events import Frame, Samples

MOST_WAITING = 250
"""Frames (5 s) that may wait for a session that does not take them; then the oldest are lost."""

SILENT_S = 60.0
"""A session that has neither said nor done anything for so long is not waited for any more."""


class Mixer:
    """One loudspeaker for several playouts, as a loudspeaker reads one (`Sounding`).

    Args:
        paths: How many there are.
        rate: The device's sample rate (Hz), and so of all playouts.
        tap: Gets what is really heard; called in the reader's thread, as a playout's.

    Attributes:
        playouts: One for each path.
        heard: Index of the path that is let through; to be set from any thread. What is heard
            changes with the next block, and fades within 10 ms.
    """

    def __init__(self, paths: int, rate: int, tap: Tap | None = None) -> None:
        self.rate = rate
        self.playouts = [Playout(rate) for _ in range(paths)]
        self.heard = 0
        self._crossfade = Crossfade(paths, int(FADE_S * rate))
        self._tap = tap

    def read(self, n: int, t_ns: int, *, not_before_ns: int = 0, ahead_ns: int = 0) -> Samples:
        """Take the next stretch from every playout; gives what of it is heard.

        Args and result are those of `Playout.read`.
        """
        blocks = [
            playout.read(n, t_ns, not_before_ns=not_before_ns, ahead_ns=ahead_ns)
            for playout in self.playouts
        ]
        gains = self._crossfade.gains(self.heard, n)
        if isinstance(gains, int):
            mixed = blocks[gains]
        else:
            parts = [block * gain for block, gain in zip(blocks, gains, strict=True)]
            mixed = np.rint(np.sum(parts, axis=0)).astype(np.int16)
        if self._tap is not None:
            self._tap(mixed, t_ns)
        return mixed


class Branch:
    """One session's share of the microphone and the loudspeaker: a `Line` for its driver.

    Attributes:
        ready: Set once the session begins to hear.
        turns: How many turns have begun.
        lost: Frames that it did not take in time.
    """

    def __init__(self, playout: Playout, clock: Clock) -> None:
        """Make a branch with a playout of its own."""
        self.playout = playout
        self.ready = asyncio.Event()
        self.turns = 0
        self.lost = 0
        self._clock = clock
        self._waiting: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._ended = False
        self._quiet = True
        self._stirred_ns = 0

    @property
    def quiet(self) -> bool:
        """Whether nobody speaks, thinks or is about to; also if it has been mute for a minute."""
        if not self._waiting.empty():
            return False
        silent_ns = self._clock.now_ns() - self._stirred_ns
        given_up = silent_ns > SILENT_S * NS_PER_S and self.playout.pending_ns == 0
        return self._quiet or given_up

    def stir(self) -> None:
        """Take note that the session has done something."""
        self._stirred_ns = self._clock.now_ns()

    def offer(self, frame: Frame) -> bool:
        """Give it the microphone's next frame. Never waits.

        Returns:
            False if that was too much, for the first time: an older frame is lost.
        """
        if self._ended:
            return True
        behind = self._waiting.qsize() >= MOST_WAITING
        if behind:
            self._waiting.get_nowait()
            self.lost += 1
        self._waiting.put_nowait(frame)
        return not (behind and self.lost == 1)

    def end(self) -> None:
        """Let the conversation end, once what was offered has been heard."""
        self._ended = True
        self._waiting.put_nowait(None)

    async def frames(self) -> AsyncGenerator[Frame]:
        """What the microphone hears, until `end`."""
        self.stir()
        self.ready.set()
        while (frame := await self._waiting.get()) is not None:
            yield frame

    async def watch(self) -> None:
        """Nothing to do: the mixer is read by who owns the loudspeaker."""

    def go_on(self, quiet: bool, turns: int) -> bool:
        """Take note of what the driver sees; the end comes by `end`."""
        if not quiet and self.playout.pending_ns:
            self.stir()
        self._quiet = quiet
        self.turns = turns
        return True
