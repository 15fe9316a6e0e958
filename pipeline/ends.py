"""The two ends of a conversation: where the user's sound comes from and the reply's goes to.

Each end is a device or a file, in any combination; what is behind them is the same to the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path

from pipeline.audio.files import WavWriter, duration_s
from pipeline.audio.playout import Playout
from pipeline.audio.recorder import Recorder
from pipeline.audio.virtual import VirtualCard
from pipeline.clock import Clock, FastClock
from pipeline.config import Audio
from pipeline.errors import BadInput, StageError
from pipeline.events import Frame, Samples

MICROPHONE = "mic"
SPEAKER = "speaker"

log = logging.getLogger(__name__)


class Ends:
    """Opens microphone and speaker, or the files that stand for them.

    `open` makes them ready; then `playout` is what is to be heard, and `frames` what was said.
    """

    playout: Playout

    def __init__(
        self,
        settings: Audio,
        inputs: Sequence[str],
        output: str,
        *,
        record: Path | None = None,
        fast: bool = False,
        patience_s: float = 1.0,
    ) -> None:
        """Check that the ends can be had; nothing is opened yet.

        Args:
            settings: Devices and their latency.
            inputs: `mic`, or recordings, one or more.
            output: `speaker`, or a WAV file to write.
            record: Stereo WAV of both sides to write, if any.
            fast: Skip waiting; for files on both ends.
            patience_s: Silence after a recording that shows that nothing more will be answered.

        Raises:
            BadInput: A recording cannot be read, or the ends do not go together.
        """
        self.clock: Clock = FastClock() if fast else Clock()
        self._settings = settings
        self._files = [] if list(inputs) == [MICROPHONE] else [Path(name) for name in inputs]
        if any(str(path) == MICROPHONE for path in self._files):
            raise BadInput("--input: either mic or recordings, not both")
        for path in self._files:
            duration_s(path)
        self._output = None if output == SPEAKER else Path(output)
        if self._output is not None and self._output.suffix.lower() != ".wav":
            raise BadInput(f"--output {output}: speaker, or a file whose name ends in .wav")
        if fast and not (self._files and self._output):
            raise BadInput("--fast needs recordings as --input and a WAV file as --output")
        self._record = record
        self._patience_ns = int(patience_s * 1e9)
        self._card: VirtualCard | None = None
        self._begun = 1
        self._quiet_from_ns: int | None = None
        self._recorder: Recorder | None = None

    @contextlib.asynccontextmanager
    async def open(self, reply_rate: int, busy: Callable[[], bool]) -> AsyncGenerator[None]:
        """Open both ends.

        Args:
            reply_rate: Rate of the replies (Hz), and so of a WAV file that stands for the speaker.
            busy: Whether a stage computes that somebody may soon wait for (see `VirtualCard`).

        Raises:
            CascadeError: A device or file cannot be opened.
        """
        async with contextlib.AsyncExitStack() as stack:
            rate = reply_rate
            tap = None
            if self._record is not None:
                recorder = stack.enter_context(Recorder(self._record, rate))
                self._recorder = recorder
                tap = functools.partial(_record_reply, recorder, rate)
            self.playout = Playout(rate, tap=tap)
            sink = None
            if self._output is not None:
                wav = stack.enter_context(WavWriter(self._output, rate))
                sink = functools.partial(_write, wav)
            else:
                await stack.enter_async_context(self._speaker())
            if self._files or sink is not None:
                playout = self.playout if sink is not None else None
                self._card = VirtualCard(self.clock, self._files, playout, sink, busy=busy)
            yield

    async def frames(self) -> AsyncGenerator[Frame]:
        """What the user says: 20 ms at a time, for ever.

        Raises:
            StageError: The microphone is gone.
        """
        async with contextlib.AsyncExitStack() as stack:
            if self._files:
                assert self._card is not None
                source = self._card.frames()
            else:
                source = (await stack.enter_async_context(self._microphone())).frames()
                if self._card is not None:
                    tasks = await stack.enter_async_context(asyncio.TaskGroup())
                    stack.callback(tasks.create_task(self._card.run()).cancel)
            async for frame in source:
                if self._recorder is not None:
                    with _warned():
                        self._recorder.user(frame)
                yield frame

    def go_on(self, quiet: bool) -> bool:
        """With recordings: begin the next one once all is quiet; False when all are over.

        Args:
            quiet: Nobody speaks, thinks or is about to.
        """
        card = self._card
        if card is None or not self._files:
            return True
        if not quiet or len(card.spans) < self._begun:
            self._quiet_from_ns = None
            return True
        now = self.clock.now_ns()
        if self._quiet_from_ns is None:
            self._quiet_from_ns = now
        if now - self._quiet_from_ns < self._patience_ns:
            return True
        self._quiet_from_ns = None
        self._begun += 1
        return card.next()


def _record_reply(recorder: Recorder, rate: int, samples: Samples, t_ns: int) -> None:
    recorder.reply(samples, rate, t_ns)


def _write(wav: WavWriter, samples: Samples) -> None:
    with _warned():
        wav.write(samples)


@contextlib.contextmanager
def _warned() -> Iterator[None]:
    """A recording that cannot go on is said aloud, and does not end the conversation."""
    try:
        yield
    except StageError as error:
        log.error("%s", error)
