"""The conversation as a stereo file: the user on the left, the reply on the right, on one clock."""

from __future__ import annotations

import logging
import threading
from collections import deque
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from pipeline.audio.files import WavWriter
from pipeline.audio.resample import Resampler
from pipeline.clock import NS_PER_S
from pipeline.errors import StageError
from pipeline.events import Frame, Samples

log = logging.getLogger(__name__)

JUMP_S = 0.020
"""Count and clock of a channel that differ by more mean that sound was lost, or came twice."""

SMOOTHING = 1 / 16
STEP_S = 0.005
SLEW_S = 0.001
"""A smaller difference is jitter, or a device whose clock runs a little fast or slow, and counts by
its average over some 16 blocks. Above `STEP_S`, sound moves by that much at once. Above `SLEW_S`,
one sample of each block is doubled or left out until it is not, which is inaudible and keeps up
with clocks that are off by 0.2 %; real ones are off by 0.01 %."""

WRITE_S = 0.25
"""Sound is written in pieces of at least this length."""

PATIENCE_S = 5.0
"""A channel this far behind the other is silent: what it has to say later is dropped."""

MOST_WAITING = 5000
"""Blocks, half a minute of them, that may wait for a disk that does not respond."""

CLOSE_S = 10.0
"""How long `close` waits for the disk."""


class Recorder:
    """Writes both sides of a conversation, each sample where the clock says that it was heard.

    The file is a witness against the trace: the latency that is measured from its edges must agree.
    Each channel is placed by the time of its first block and by count from there on, and put right
    against the clock as its blocks come in, so that jitter does not tear it and drift does not add
    up. All work happens in a thread of its own; `user` and `reply` never wait.

    Args:
        path: The WAV file; replaced if it exists.
        rate: Its sample rate (Hz).

    Attributes:
        start_ns: When the file's first sample was heard (ns); None before anything was.
        dropped: Blocks that were lost because the disk did not respond for half a minute.

    Raises:
        BadInput: The file cannot be created there.
        StageError: Of stage `audio`: the disk is full already.
    """

    def __init__(self, path: Path, rate: int) -> None:
        self.start_ns: int | None = None
        self.dropped = 0
        self._writer = WavWriter(path, rate, 2)
        self._rate = rate
        self._tracks: list[Track] = []
        self._error: StageError | None = None
        self._ended = False
        self._waiting: SimpleQueue[tuple[int, Samples, int, int] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def user(self, frame: Frame) -> None:
        """What the microphone heard next.

        Raises:
            StageError: Once, if the file could not be written since the last call; what comes
                later is ignored, and the conversation can go on.
        """
        self._put(0, frame.samples, frame.rate, frame.t_ns)
        self._report()

    def reply(self, samples: Samples, rate: int, t_ns: int) -> None:
        """What the loudspeaker played next; meant to be a `Playout`'s tap. Safe in any thread.

        Args:
            samples: int16 (n,).
            rate: Their rate (Hz).
            t_ns: When the first of them was, or will be, heard.
        """
        self._put(1, samples, rate, t_ns)

    def close(self) -> None:
        """Write what is left and finish the file. Safe to call more than once.

        Raises:
            StageError: The file could not be written, and `user` has not said so yet.
        """
        self._waiting.put(None)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            raise StageError(
                "audio", f"{self._writer.path}: the disk does not respond; the end is not written"
            )
        self._report()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _put(self, channel: int, samples: Samples, rate: int, t_ns: int) -> None:
        if self._ended:
            return
        if self.start_ns is None:
            self.start_ns = t_ns
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put((channel, samples, rate, t_ns))
        else:
            self.dropped += 1

    def _report(self) -> None:
        if (error := self._error) is not None:
            self._error = None
            raise error

    def _work(self) -> None:
        try:
            while (item := self._waiting.get()) is not None:
                channel, samples, rate, t_ns = item
                if not self._tracks:
                    assert self.start_ns is not None
                    self._tracks = [Track(self._rate, self.start_ns) for _ in range(2)]
                self._tracks[channel].push(samples, rate, t_ns)
                self._write(at_least=int(WRITE_S * self._rate))
            self._end()
        except StageError as error:
            self._error = error
        except Exception as error:
            log.exception("%s: recording ended", self._writer.path)
            self._error = StageError("audio", f"{self._writer.path}: recording ended: {error!r}")
        finally:
            self._ended = True

    def _write(self, *, at_least: int) -> None:
        """Write as far as both channels are complete."""
        user, reply = self._tracks
        ahead = max(user.end, reply.end) - int(PATIENCE_S * self._rate)
        for track in self._tracks:
            if track.end < ahead:
                track.pad_to(ahead)
        ready = min(user.end, reply.end) - self._writer.frames
        if ready < at_least:
            return
        while ready > 0:
            n = min(ready, self._rate)
            self._writer.write(np.column_stack([user.take(n), reply.take(n)]))
            ready -= n

    def _end(self) -> None:
        for track in self._tracks:
            track.finish()
        for track in self._tracks:
            track.pad_to(max(track.end for track in self._tracks))
        if self._tracks:
            self._write(at_least=0)
        self._writer.close()


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
        self._ready: deque[Samples] = deque()
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
        pieces = []
        while n > 0:
            piece = self._ready.popleft()
            if len(piece) > n:
                self._ready.appendleft(piece[n:])
                piece = piece[:n]
            pieces.append(piece)
            n -= len(piece)
        return np.concatenate(pieces) if pieces else self._second[:0]

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
        if len(samples):
            self._ready.append(samples)
            self.end += len(samples)
