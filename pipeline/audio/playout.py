"""What is to be heard: the buffer between a session's replies and a loudspeaker.

The session's side writes whole clauses at once, at the synthesiser's rate; the device's side reads
some milliseconds at a time, at its own rate, from its own thread. In between, every sample is
accounted for: which reply it belongs to, when it is heard, and what was never played.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.audio.audible import Ear
from pipeline.audio.resample import Resampler
from pipeline.audio.stream import Fifo
from pipeline.clock import NS_PER_S
from pipeline.events import Samples

FADE_S = 0.005
"""A reply that is stopped fades out over this long: shorter clicks, longer is heard as lag."""

DUCK_DB = -20.0
"""How much quieter a ducked reply is: the user's voice is far above it, and it is still heard that
the reply goes on. Television ducks by some 10 to 20 dB under a voice that speaks over it."""

DUCK_GAIN = 10 ** (DUCK_DB / 20)
"""The same as a factor."""

DUCK_S = 0.015
SWELL_S = 0.100
"""How long the way down takes, and the way back up. Down it hurries, for the user is speaking, but
clicks below 10 ms; up it must not startle."""

REMEMBERED = 64
"""Replies that `Playout` can still be asked about."""

Gains = npt.NDArray[np.float64]

Tap = Callable[[Samples, int], None]
"""Gets every block that is played: int16 (n,), and when its first sample is heard (ns)."""


class Sounding(Protocol):
    """What a loudspeaker plays: a `Playout`, or several that are mixed."""

    @property
    def rate(self) -> int:
        """The device's sample rate (Hz)."""
        ...

    @property
    def pending_ns(self) -> int:
        """How much sound is still queued (ns)."""
        ...

    def read(self, n: int, t_ns: int, *, not_before_ns: int = 0, ahead_ns: int = 0) -> Samples:
        """Take the next stretch of sound to the device (see `Playout.read`)."""
        ...


@dataclass(frozen=True, slots=True)
class Played:
    """How far a reply has been played, as of now. Times are when sound leaves the loudspeaker (ns).

    Attributes:
        rate: Hz, of `written` and `position`.
        written: Samples that the session gave.
        position: Samples of these that went to the device.
        stopped: It was cut short by `Playout.stop`.
        done: All that will ever be heard of it has gone to the device.
        first_ns: When its first sample went to the device, which takes a while to make it heard;
            None before that, as all times.
        audible_ns: When the first sample above the threshold is heard, silence before it left out.
        last_ns: When the last sample so far has been heard.
        last_audible_ns: When the last one above the threshold is heard.
        underrun_ns: How long it was silent in all because its next sound was not there in time.
    """

    rate: int
    written: int
    position: int
    stopped: bool
    done: bool
    first_ns: int | None
    audible_ns: int | None
    last_ns: int | None
    last_audible_ns: int | None
    underrun_ns: int


class Playout:
    """Replies in, one continuous stream of sound out. Every method may be called from any thread.

    Replies are played in the order in which they were begun. Writing a new one finishes the one
    before it. No method waits: `read` gives silence where there is nothing to play.

    Args:
        rate: The device's sample rate (Hz).
        tap: Called at the end of every `read`, in its thread, so it must not wait either.
    """

    def __init__(self, rate: int, *, tap: Tap | None = None) -> None:
        self.rate = rate
        self._tap = tap
        # Resampling takes up to milliseconds and happens under the first lock, which the device's
        # thread never takes; the second is held for microseconds.
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._replies: OrderedDict[str, _Reply] = OrderedDict()
        self._queue: deque[_Reply] = deque()
        self._quiet = True
        self._gain = 1.0
        self._ducked = False
        self._taken = 0
        self._waiting: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def moved(self, seconds: float = 0.0) -> None:
        """Wait until the device has taken its next block, be there sound in it or not.

        Args:
            seconds: And so much in all.
        """
        taken = asyncio.Event()
        with self._lock:
            due = self._taken + int(seconds * self.rate)
            self._waiting.append((due, asyncio.get_running_loop(), taken))
        await taken.wait()

    def write(self, reply_id: str, samples: Samples, rate: int) -> None:
        """Add sound to the end of a reply, which this begins if it is new.

        What is written to a reply that was stopped or finished is dropped.

        Args:
            reply_id: Whose sound it is.
            samples: int16 (n,), any n.
            rate: Its sample rate (Hz), the same for all of a reply.
        """
        with self._writing:
            reply = self._replies.get(reply_id)
            if reply is None:
                reply = self._begin(reply_id, rate)
            if reply.rate != rate:
                raise ValueError(f"reply {reply_id} has {reply.rate} Hz, and now {rate}")
            converted = reply.resampler.push(samples)
            with self._lock:
                if not reply.finished:
                    reply.written += len(samples)
                    reply.waiting.push(converted)

    def finish(self, reply_id: str) -> None:
        """Say that no more comes for a reply. Unknown ones are ignored: they had no sound."""
        with self._writing:
            if reply := self._replies.get(reply_id):
                self._finish(reply)

    def read(self, n: int, t_ns: int, *, not_before_ns: int = 0, ahead_ns: int = 0) -> Samples:
        """Take the next stretch of sound to the device.

        Args:
            n: Samples at the device's rate.
            t_ns: When the first of them will be heard.
            not_before_ns: Sound that breaks a silence does not begin earlier than this. For a
                reader that is late: what was written just now cannot have been heard before.
            ahead_ns: How much earlier than it is heard it is taken.

        Returns:
            int16 (n,); silence where there is nothing to play.
        """
        block = np.zeros(n, np.int16)
        with self._lock:
            gains = self._gains(n)
            start = 0
            if self._quiet and not_before_ns > t_ns:
                start = min(n, -((t_ns - not_before_ns) * self.rate // NS_PER_S))
            if start < n:
                self._fill(block, start, t_ns, gains, ahead_ns)
                self._quiet = not any(reply.waiting for reply in self._queue)
            self._taken += n
            waiting = self._waiting
            if waiting:
                self._waiting = [one for one in waiting if one[0] > self._taken]
        for due, loop, taken in waiting:
            if due <= self._taken:
                with contextlib.suppress(RuntimeError):  # the loop is closed already
                    loop.call_soon_threadsafe(taken.set)
        if self._tap is not None:
            self._tap(block, t_ns)
        return block

    def stop(self) -> None:
        """Drop everything that is queued. What is being played fades out within 5 ms.

        It fades from where it is; what is written from now on is played at full level again.
        """
        with self._lock:
            for reply in self._queue:
                reply.stop(int(FADE_S * self.rate), self._gain)
            self._gain = 1.0
            self._ducked = False

    def duck(self) -> None:
        """Play all that is heard from the next sample on 20 dB quieter, until `swell` or `stop`.

        The level falls within 15 ms; the stream goes on as before. No matter whether anything is
        played, or it is ducked already.
        """
        with self._lock:
            self._ducked = True

    def swell(self) -> None:
        """Return to the full level, within 100 ms. No matter whether it was ducked."""
        with self._lock:
            self._ducked = False

    def position(self, reply_id: str) -> int:
        """Samples of a reply that went to the device, at the rate at which they were written.

        Never falls. After `stop` it is final: the fade counts as played. 0 for an unknown reply.
        """
        with self._lock:
            reply = self._replies.get(reply_id)
            return reply.position(self.rate) if reply else 0

    def played(self, reply_id: str) -> Played | None:
        """How far a reply has been played; None if nothing was ever written to it."""
        with self._lock:
            reply = self._replies.get(reply_id)
            return reply.snapshot(self.rate) if reply else None

    @property
    def pending_ns(self) -> int:
        """How much sound is still queued (ns)."""
        with self._lock:
            return sum(len(reply.waiting) for reply in self._queue) * NS_PER_S // self.rate

    def _begin(self, reply_id: str, rate: int) -> _Reply:
        for earlier in list(self._replies.values()):
            self._finish(earlier)
        reply = _Reply(rate, self.rate)
        with self._lock:
            self._replies[reply_id] = reply
            self._queue.append(reply)
            while len(self._replies) > REMEMBERED and next(iter(self._replies.values())).done:
                self._replies.popitem(last=False)
        return reply

    def _finish(self, reply: _Reply) -> None:
        if reply.finished:
            return
        rest = reply.resampler.flush()
        with self._lock:
            if not reply.finished:
                # The resampler's last millisecond is not worth a blip after the sound has ended.
                if not reply.starving:
                    reply.waiting.push(rest)
                reply.finished = True

    def _gains(self, n: int) -> Gains | None:
        """What the next `n` samples are multiplied by; None for 1. It moves on in silence too."""
        target = DUCK_GAIN if self._ducked else 1.0
        if self._gain == target:
            return None if target == 1.0 else np.full(n, target)
        seconds = DUCK_S if self._ducked else SWELL_S
        step = math.copysign((1 - DUCK_GAIN) / (seconds * self.rate), target - self._gain)
        ramp = self._gain + step * np.arange(1, n + 1)
        gains: Gains = np.maximum(ramp, target) if self._ducked else np.minimum(ramp, target)
        if n:
            self._gain = float(gains[-1])
        return gains

    def _fill(self, block: Samples, at: int, t_ns: int, gains: Gains | None, ahead_ns: int) -> None:
        """Move sound into `block` from index `at` on."""
        while at < len(block) and self._queue:
            reply = self._queue[0]
            rest = None if gains is None else gains[at:]
            heard_ns = t_ns + at * NS_PER_S // self.rate
            taken = reply.take(block[at:], heard_ns, rest, ahead_ns)
            at += taken
            if reply.done:
                self._queue.popleft()
            elif taken == 0:
                reply.starve(len(block) - at)
                break


class _Reply:
    """One reply's sound, at the device's rate, and what became of it."""

    def __init__(self, rate: int, device_rate: int) -> None:
        self.rate = rate
        self.resampler = Resampler(rate, device_rate)
        self.written = 0
        self.finished = False
        self.stopped = False
        self.waiting = Fifo()
        self._handed = 0
        self._newest = 0
        self._ear = Ear(device_rate)
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._dry = 0
        self._underrun = 0

    @property
    def done(self) -> bool:
        return self.finished and not self.waiting

    @property
    def starving(self) -> bool:
        return self._dry > 0

    def take(self, into: Samples, t_ns: int, gains: Gains | None, ahead_ns: int) -> int:
        """Move queued sound, times `gains`, to the start of `into`; returns how much.

        It is heard from `t_ns` on.
        """
        sound = self.waiting.take(len(into))
        if (n := len(sound)) == 0:
            return 0
        self._count_underrun()
        self._handed += n
        self._newest = int(sound[-1])
        into[:n] = sound if gains is None else _scaled(sound, gains[:n])
        if self._first_ns is None:
            self._first_ns = t_ns - ahead_ns
        self._last_ns = t_ns + n * NS_PER_S // self._ear.rate
        self._ear.hear(into[:n], t_ns)
        return n

    def starve(self, samples: int) -> None:
        """The device wanted this many more than there were: a gap, if more comes."""
        if self._handed:
            self._dry += samples
            self._newest = 0
            self._ear.pause()

    def stop(self, fade: int, gain: float) -> None:
        """Keep no more than `fade` samples, falling to zero; none if it has not been heard yet.

        They stay at the level `gain`, at which it is played now.
        """
        if self.done:
            return
        if self.stopped:
            self.waiting = Fifo(_scaled(self.waiting.take(fade), gain))
            return
        self._count_underrun()
        rest = self.waiting.take(fade if self._handed else 0)
        level = int(rest[-1]) if len(rest) else self._newest
        if not self.finished and level:
            # Its sound ends here for now, in the middle of a wave: hold it while it fades.
            rest = np.concatenate([rest, np.full(fade - len(rest), level, np.int16)])
        ramp = gain * np.linspace(1, 0, len(rest) + 1)[1:]
        self.waiting = Fifo((rest * ramp).astype(np.int16))
        self.finished = self.stopped = True

    def position(self, device_rate: int) -> int:
        if self.done and not self.stopped:
            return self.written
        heard = self._handed + (len(self.waiting) if self.stopped else 0)
        return min(self.written, heard * self.rate // device_rate)

    def snapshot(self, device_rate: int) -> Played:
        return Played(
            rate=self.rate,
            written=self.written,
            position=self.position(device_rate),
            stopped=self.stopped,
            done=self.done,
            first_ns=self._first_ns,
            audible_ns=self._ear.audible_ns,
            last_ns=self._last_ns,
            last_audible_ns=self._ear.last_audible_ns,
            underrun_ns=self._underrun * NS_PER_S // device_rate,
        )

    def _count_underrun(self) -> None:
        self._underrun += self._dry
        self._dry = 0


def _scaled(samples: Samples, gain: Gains | float) -> Samples:
    scaled: Samples = np.rint(samples * gain).astype(np.int16)
    return scaled
