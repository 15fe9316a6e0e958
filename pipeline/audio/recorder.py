"""The conversation as a stereo file: the user on the left, the reply on the right, on one clock."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from pipeline.audio.files import MOST_BYTES, WavWriter
from pipeline.audio.stream import Track
from pipeline.errors import StageError
from pipeline.events import Frame, Samples

log = logging.getLogger(__name__)

PATIENCE_S = 5.0
"""A channel this far behind the other is silent: what it has to say later is dropped."""

MOST_WAITING = 5000
"""Blocks, half a minute of them, that may wait for a disk that does not respond."""

CLOSE_S = 10.0
"""How long `close` waits for the disk."""

Block = tuple[int, Samples, int, int]
"""Channel, samples, rate (Hz), and when the first of them was heard (ns)."""


class Recorder:
    """Writes both sides of a conversation, each sample where the clock says that it was heard.

    The file is a witness against the trace: the latency that is measured from its edges must agree.
    Each channel is placed by the time of its first block and by count from there on, and put right
    against the clock as its blocks come in, so that jitter does not tear it and drift does not add
    up. All work happens in a thread of its own; `user` and `reply` never wait.

    Args:
        path: The WAV file; replaced if it exists.
        rate: Its sample rate (Hz).
        most_bytes: How large it may become.
        most_waiting: Blocks that may wait for the disk.

    Attributes:
        start_ns: When the file's first sample was heard (ns); None before anything was.
        dropped: Blocks that were lost because the disk did not respond for half a minute.

    Raises:
        BadInput: The file cannot be created there.
        StageError: Of stage `audio`: the disk is full already.
    """

    def __init__(
        self,
        path: Path,
        rate: int,
        *,
        most_bytes: int = MOST_BYTES,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.start_ns: int | None = None
        self.dropped = 0
        self._writer = WavWriter(path, rate, 2, most_bytes=most_bytes)
        self._rate = rate
        self._most_waiting = most_waiting
        self._tracks: list[Track] = []
        self._error: StageError | None = None
        self._ended = False
        self._waiting: SimpleQueue[Block | Future[None] | None] = SimpleQueue()
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

    def written(self) -> Future[None]:
        """Done when all that both sides have brought so far is in the file."""
        done: Future[None] = Future()
        if self._ended:
            done.set_result(None)
        else:
            self._waiting.put(done)
        return done

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
        if self._waiting.qsize() < self._most_waiting:
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
                if isinstance(item, Future):
                    item.set_result(None)
                    continue
                channel, samples, rate, t_ns = item
                if not self._tracks:
                    assert self.start_ns is not None
                    self._tracks = [Track(self._rate, self.start_ns) for _ in range(2)]
                self._tracks[channel].push(samples, rate, t_ns)
                self._write()
            self._end()
        except StageError as error:
            self._error = error
        except Exception as error:
            log.exception("%s: recording ended", self._writer.path)
            self._error = StageError("audio", f"{self._writer.path}: recording ended: {error!r}")
        finally:
            self._ended = True

    def _write(self) -> None:
        """Write as far as both channels are complete."""
        user, reply = self._tracks
        ahead = max(user.end, reply.end) - int(PATIENCE_S * self._rate)
        for track in self._tracks:
            if track.end < ahead:
                track.pad_to(ahead)
        ready = min(user.end, reply.end) - self._writer.frames
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
            self._write()
        self._writer.close()
