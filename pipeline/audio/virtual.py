"""A sound card made of files: the same ends as a microphone and a loudspeaker, on a given clock."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.audio.files import check_audio, read_audio
from pipeline.audio.playout import Sounding
from pipeline.audio.stream import Fifo
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock, FastClock
from pipeline.events import Frame, Samples

log = logging.getLogger(__name__)

FRAMES_PER_S = 50
"""Frames of 20 ms, as from a device."""

LATE_NS = 100 * NS_PER_MS
"""Of a block this late the user is told: a device would have lost sound by then."""

LOST_NS = 1000 * NS_PER_MS
"""A block this late moves the schedule: the machine slept, and what it missed is not made up."""

LOOK_NS = 2 * NS_PER_MS
"""How often a fast clock looks whether there is still work."""


@dataclass(frozen=True, slots=True)
class Playing:
    """When a file was spoken into the microphone, from its first sample to its last (ns).

    Of that `lost_ns` is silence that fell into it while the machine slept.
    """

    path: Path
    start_ns: int
    end_ns: int
    lost_ns: int = 0


class VirtualCard:
    """Plays files into a microphone, and takes replies from a loudspeaker, every 20 ms.

    Both ends hang on one absolute schedule, so they never drift apart or away from the clock. At
    time T the microphone gives what it heard in the 20 ms before T, and the loudspeaker takes what
    will be heard in the 20 ms after it: as causal as a device, with no latency of its own.

    With a `FastClock` the wait for the next block is skipped unless `busy` says that something is
    being worked on.

    Args:
        clock: What the schedule hangs on.
        sources: Files that the microphone hears one after another, the first at once, each other
            one when `next` says so; silence in between and after. May be empty.
        playout: Its other end; None where a real loudspeaker reads it.
        sink: Gets every block taken from the playout, int16 (n,) at its rate; say,
            `WavWriter.write`.
        rate: Sample rate of the microphone (Hz).
        parts: How many times within a frame the loudspeaker is driven. A reply begins with what it
            takes, so this is how exactly its beginning can be timed.
        busy: For a `FastClock`: whether real time must pass. It must be true from the moment a
            frame is handed over until all that follows from it has been computed.

    Attributes:
        spans: The files that have been spoken so far, and when.
        latest_ns: The latest that a block came (ns).

    Raises:
        BadInput: One of the sources cannot be read.
    """

    def __init__(
        self,
        clock: Clock,
        sources: Sequence[Path] = (),
        playout: Sounding | None = None,
        sink: Callable[[Samples], None] | None = None,
        *,
        rate: int = 16000,
        parts: int = 1,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.spans: list[Playing] = []
        self.latest_ns = 0
        self._clock = clock
        self._playout = playout
        self._sink = sink
        self._rate = rate
        self._parts = parts
        self._busy = busy
        self._tapes = [_Tape(path, rate) for path in sources]
        self._current = 0
        self._granted = 1
        self._late = False

    @property
    def begun_ns(self) -> int | None:
        """When the file that is being spoken began; None in the silence around files."""
        tape = self._tapes[self._current] if self._current < len(self._tapes) else None
        return tape.start_ns if tape is not None else None

    @property
    def quiet(self) -> bool:
        """Whether all the files that may begin so far are over."""
        return self._current >= min(self._granted, len(self._tapes))

    def next(self) -> bool:
        """Let one more file begin, as soon as the current one is over; False if there is none."""
        if self._granted >= len(self._tapes):
            return False
        self._granted += 1
        return True

    async def frames(self) -> AsyncIterator[Frame]:
        """What the microphone hears, without end: frames of 20 ms, and silence between the files.

        This is also what drives the loudspeaker, so one reader at a time, that reads on while a
        reply is played. A reader that takes long makes the next blocks late; none is lost.
        """
        start_ns = self._clock.now_ns()
        per_s = FRAMES_PER_S * self._parts
        for frame in itertools.count():
            begin_ns = start_ns + frame * NS_PER_S // FRAMES_PER_S
            for block in range(frame * self._parts, (frame + 1) * self._parts):
                end_ns = start_ns + (block + 1) * NS_PER_S // per_s
                now_ns = await self._wait(end_ns)
                if now_ns - end_ns > LOST_NS:
                    start_ns += now_ns - end_ns
                    end_ns = now_ns
                if self._playout is not None:
                    taken = len(_piece(block, self._playout.rate, per_s))
                    sound = self._playout.read(taken, end_ns, not_before_ns=now_ns)
                    if self._sink is not None:
                        self._sink(sound)
            piece = _piece(frame, self._rate, FRAMES_PER_S)
            samples, begins = self._listen(len(piece), begin_ns)
            yield Frame(samples, self._rate, piece.start, begin_ns, begins)

    async def run(self) -> None:
        """Drive the loudspeaker alone, until cancelled: the microphone is a real one."""
        async for _ in self.frames():
            pass

    def _listen(self, n: int, t_ns: int) -> tuple[Samples, bool]:
        """The next `n` samples of the microphone, the first at `t_ns`; whether a file begins."""
        if self.quiet:
            return np.zeros(n, np.int16), False
        tape = self._tapes[self._current]
        begins = tape.start_ns is None
        tape.start_ns = t_ns if tape.start_ns is None else tape.start_ns
        samples, over = tape.take(n)
        tape.taken += len(samples)
        if over:
            end_ns = t_ns + len(samples) * NS_PER_S // self._rate
            lost_ns = end_ns - tape.start_ns - tape.taken * NS_PER_S // self._rate
            lost_ns = lost_ns if lost_ns > LOST_NS // 2 else 0  # less is rounding
            self.spans.append(Playing(tape.path, tape.start_ns, end_ns, lost_ns))
            self._current += 1
        return np.concatenate([samples, np.zeros(n - len(samples), np.int16)]), begins

    async def _wait(self, due_ns: int) -> int:
        """Return at `due_ns` of the clock, or by skipping to it; gives the time that it is then."""
        clock = self._clock
        # Whoever was woken by the last block gets to run first, however fast the clock.
        await asyncio.sleep(0)
        if isinstance(clock, FastClock):
            while clock.now_ns() < due_ns:
                if self._busy():
                    await asyncio.sleep(min(LOOK_NS, due_ns - clock.now_ns()) / NS_PER_S)
                else:
                    clock.skip_to(due_ns)
        else:
            await clock.sleep_until(due_ns)
        now_ns = clock.now_ns()
        late_ns = now_ns - due_ns
        self.latest_ns = max(self.latest_ns, late_ns)
        if late_ns > LATE_NS and not self._late:
            self._late = True
            log.warning(
                "the machine is too busy to keep real time: a block of sound came %d ms late",
                late_ns // NS_PER_MS,
            )
        return now_ns


def _piece(index: int, rate: int, per_s: int) -> range:
    """Which samples of a stream are in one of its equal pieces; no rounding errors add up."""
    return range(index * rate // per_s, (index + 1) * rate // per_s)


class _Tape:
    """A file's samples, as many at a time as are asked for."""

    def __init__(self, path: Path, rate: int) -> None:
        self.path = path
        self.start_ns: int | None = None
        self.taken = 0
        check_audio(path)
        self._rate = rate
        self._blocks: Iterator[Samples] | None = None
        self._ready = Fifo()

    def take(self, n: int) -> tuple[Samples, bool]:
        """The next `n` samples, or fewer at the end; and whether that was the end."""
        if self._blocks is None:
            # Not sooner: a corpus may have more files than may be open at once.
            self._blocks = read_audio(self.path, self._rate)
        while len(self._ready) <= n:
            block = next(self._blocks, None)
            if block is None:
                return self._ready.take(n), True
            self._ready.push(block)
        return self._ready.take(n), False
