"""The two ends of a conversation: where the user's sound comes from and the reply's goes to.

Each end is a device or a file, in any combination; what is behind them is the same to the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from pipeline.audio import devices, echo
from pipeline.audio.files import WavWriter, read_audio
from pipeline.audio.playout import Playout, Sounding, Tap
from pipeline.audio.portaudio import Device, find_device
from pipeline.audio.recorder import Recorder
from pipeline.audio.virtual import VirtualCard
from pipeline.clock import Clock, FastClock
from pipeline.config import AudioSettings
from pipeline.errors import BadInput, StageError
from pipeline.events import Frame, Samples

RATE = 16_000
"""At which recordings are heard (Hz)."""

MICROPHONE = "mic"
SPEAKER = "speaker"

log = logging.getLogger(__name__)


class Line(Protocol):
    """What a driver needs of the ends of a conversation: `Ends`, or one session's share of them."""

    playout: Playout

    def frames(self) -> AsyncGenerator[Frame]:
        """What the user says."""
        ...

    async def watch(self) -> None:
        """Keep the other end going beside `frames`."""
        ...

    def go_on(self, quiet: bool, turns: int) -> bool:
        """Take notice of what happens; False when the conversation is over."""
        ...


class Ends:
    """Opens microphone and speaker, or the files that stand for them.

    `find` the devices, then `open` them; then `playout` is what is to be heard, and `frames` what
    was said.

    Attributes:
        failed: A file could not be written, or not to its end. The conversation goes on without.
        echo_note: What is done against echo, in a line for the user, if they did not ask for it.
        card: What plays recordings and drives a file, once it is open; None between two devices.
    """

    playout: Playout

    def __init__(
        self,
        settings: AudioSettings,
        inputs: Sequence[str],
        output: str,
        *,
        record: Path | None = None,
        fast: bool = False,
        patience_s: float = 1.0,
        parts: int = 1,
    ) -> None:
        """Check that the ends can be had; nothing is opened yet.

        Args:
            settings: Devices and their latency.
            inputs: `mic`, or recordings, one or more.
            output: `speaker`, or a WAV file to write.
            record: Stereo WAV of both sides to write, if any.
            fast: Skip waiting; for files on both ends.
            patience_s: Silence after a recording that shows that nothing more will be answered.
            parts: Of a frame (see `VirtualCard`).

        Raises:
            BadInput: A recording cannot be read, the ends do not go together, or the echo canceller
                is asked for and not installed.
        """
        self.failed = False
        self.clock: Clock = FastClock() if fast else Clock()
        self._settings = settings
        self._files = [] if list(inputs) == [MICROPHONE] else [Path(name) for name in inputs]
        if any(str(path) == MICROPHONE for path in self._files):
            raise BadInput("--input: either mic or recordings, not both")
        for path in self._files:
            # The first block only: a long file would take long.
            next(read_audio(path, RATE), None)
        self._output = None if output == SPEAKER else Path(output)
        if self._output is not None and self._output.suffix.lower() != ".wav":
            raise BadInput(f"--output {output}: speaker, or a file whose name ends in .wav")
        if record is not None and record.suffix.lower() not in (".wav", ""):
            raise BadInput(f"--record {record}: give a file whose name ends in .wav")
        if fast and not (self._files and self._output):
            raise BadInput("--fast needs recordings as --input and a WAV file as --output")
        live = not self._files and self._output is None
        self._make_echo, self.echo_note = echo.choose(settings.echo, live=live)
        self._echo: echo.Echo | None = None
        self._record = record
        self._patience_ns = int(patience_s * 1e9)
        self._parts = parts
        self.card: VirtualCard | None = None
        self._input_device: Device | None = None
        self._output_device: Device | None = None
        self._source: devices.Microphone | VirtualCard | None = None
        self._speaker: devices.Speaker | None = None
        self._sound: Sounding
        self._turns_before = 0
        self._quiet_from_ns: int | None = None
        self._recorder: Recorder | None = None

    @property
    def recorded_from_ns(self) -> int | None:
        """When the first sample of the recording of both sides was heard (ns)."""
        return self._recorder.start_ns if self._recorder is not None else None

    def written(self) -> list[Future[None]]:
        """Done when all that was heard so far is in the files; that of the replies is already."""
        return [self._recorder.written()] if self._recorder is not None else []

    @property
    def late_ns(self) -> int:
        """How late a block of a file came at worst (ns): normally a millisecond or two."""
        return self.card.latest_ns if self.card is not None else 0

    async def find(self) -> None:
        """Find the devices, before anything slow is done; in a thread, for they may be slow too.

        Raises:
            CascadeError: One is missing, or refuses.
        """
        find, settings = find_device, self._settings
        if not self._files:
            self._input_device = await asyncio.to_thread(find, "input", settings.input_device)
        if self._output is None:
            self._output_device = await asyncio.to_thread(find, "output", settings.output_device)

    @contextlib.asynccontextmanager
    async def open(
        self,
        reply_rate: int,
        busy: Callable[[], bool] = lambda: False,
        *,
        mixed: Callable[[int, Tap | None], Sounding] | None = None,
    ) -> AsyncGenerator[None]:
        """Open both ends.

        Args:
            reply_rate: Rate of the replies (Hz), and so of a WAV file that stands for the speaker.
            busy: Whether a stage computes that somebody may soon wait for (see `VirtualCard`).
            mixed: Makes what is to be heard, from its rate (Hz) and what listens to it; then there
                is no `playout`.

        Raises:
            CascadeError: A device or file cannot be opened.
        """
        async with contextlib.AsyncExitStack() as stack:
            speaker, microphone = self._output_device, self._input_device
            rate = reply_rate if speaker is None else speaker.rate
            taps: list[Callable[[Samples, int, int], None]] = []
            if self._make_echo is not None:
                self._echo = self._make_echo()
                taps.append(self._echo.reference)
            if self._record is not None:
                recorder = Recorder(self._record, rate)
                stack.callback(self._close, recorder)
                self._recorder = recorder
                taps.append(recorder.reply)
            tap = _all_of(taps, rate)
            if mixed is None:
                self._sound = self.playout = Playout(rate, tap=tap)
            else:
                self._sound = mixed(rate, tap)
            latency = self._settings.latency_ms
            sink = None
            if self._output is not None:
                wav = WavWriter(self._output, rate)
                stack.callback(self._close, wav)
                sink = functools.partial(self._write, wav)
            if self._files or sink is not None:
                self._source = self.card = VirtualCard(
                    self.clock,
                    self._files,
                    self._sound if sink is not None else None,
                    sink,
                    rate=RATE,
                    parts=self._parts,
                    busy=busy,
                )
            if microphone is not None:
                opened = devices.Microphone(microphone, latency)
                self._source = await stack.enter_async_context(opened)
            if speaker is not None:
                playing = devices.Speaker(self._sound, speaker, latency)
                self._speaker = await stack.enter_async_context(playing)
            yield

    async def frames(self) -> AsyncGenerator[Frame]:
        """What the user says, frame by frame, for ever.

        Raises:
            StageError: The microphone is gone.
        """
        assert self._source is not None
        async for frame in self._source.frames():
            if self._recorder is not None:
                with self._going_on():
                    self._recorder.user(frame)
            yield frame if self._echo is None else self._echo.clean(frame)

    async def watch(self) -> None:
        """Keep the other end going beside `frames`: drive a file, or watch a loudspeaker.

        Raises:
            StageError: The loudspeaker is gone.
        """
        if self._speaker is not None:
            await self._speaker.watch()
        elif self.card is not None and self.card is not self._source:
            await self.card.run()

    def go_on(self, quiet: bool, turns: int) -> bool:
        """Let microphone and loudspeaker take their time where nobody waits for them.

        With recordings: begin the next one once all is quiet; False when all are over.

        Args:
            quiet: Nobody speaks, thinks or is about to.
            turns: How many turns have begun so far.
        """
        playing = self._sound.pending_ns > 0
        # Who is asked may answer before all of the question was played.
        idle = quiet and not playing
        if isinstance(self._source, devices.Microphone):
            hushed = devices.QUIET_FRAMES if idle else devices.REPLY_FRAMES if playing else 1
            self._source.together = hushed
        if self._speaker is not None:
            self._speaker.rest(idle)
        card = self.card
        if card is None or not self._files:
            return True
        if not (quiet and card.quiet):
            self._quiet_from_ns = None
            return True
        now = self.clock.now_ns()
        if self._quiet_from_ns is None:
            self._quiet_from_ns = now
        if now - self._quiet_from_ns < self._patience_ns:
            return True
        if turns == self._turns_before:
            log.warning("%s: no speech was heard in it", card.spans[-1].path)
        self._quiet_from_ns = None
        going_on = card.next()
        # Of the last one it is known by now whether there was speech in it.
        self._turns_before = turns if going_on else -1
        return going_on

    def _write(self, wav: WavWriter, samples: Samples) -> None:
        with self._going_on():
            wav.write(samples)

    def _close(self, file: WavWriter | Recorder) -> None:
        with self._going_on():
            file.close()

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        """A recording that cannot go on is said aloud, and does not end the conversation."""
        try:
            yield
        except StageError as error:
            self.failed = True
            log.error("%s", error)


def _all_of(taps: Sequence[Callable[[Samples, int, int], None]], rate: int) -> Tap | None:
    if not taps:
        return None

    def tap(samples: Samples, t_ns: int) -> None:
        for each in taps:
            each(samples, rate, t_ns)

    return tap
