"""Microphone and loudspeaker: frames in and playout out, in real time, each on its own rate."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from pipeline.audio.channels import Mix
from pipeline.audio.playout import Sounding
from pipeline.audio.portaudio import ALSA, WORDS, Device, cannot_open, owner
from pipeline.clock import NS_PER_S
from pipeline.errors import StageError
from pipeline.events import Frame, Samples

FRAME_S = 0.032
"""Length of a microphone's frames: that of the voice detector's windows. To wake the loop, whose
caches are cold then, costs more than to hear a frame; of frames of 20 ms two in five complete no
window, and the ends of windows wait for those of frames, for 12 ms in the mean."""

LEAD_S = 0.001
"""Of its first frame only the last millisecond is heard, which the resampler holds back: a window
ends with each frame then, at 48 kHz and at 16. At 44.1 kHz, of which 32 ms are no whole number of
samples, windows end before frames do, 16 ms in the mean."""

SPEAKER_BLOCK_S = 0.010
"""Length of a loudspeaker's blocks: how often it asks, and how late a stop can be noticed."""

MOST_FRAMES = 62
"""Frames (2 s) that may wait for a reader; older ones are dropped."""

QUIET_FRAMES, REPLY_FRAMES = 6, 3
HUSH_FRAMES = 31
"""So many soft frames (`_is_soft`) wait for one another, 200 ms where nobody is in a hurry and 100
while a reply is heard, once so many (1 s) have come. One that is louder brings at once those before
it, so that a voice over the reply is heard as soon as else."""

OLDEST_S = 0.25
FURTHEST_S = 1.0
"""A block that claims to have been captured longer ago, or to be heard later, than this is not
believed. Bluetooth headsets do take tenths of a second, and longer to play than to hear."""

LOST_S = 1.0
"""After so much time in which a device brought nothing the machine slept, and sound is lost: less
may be a busy machine, which is late."""

WARM_S = 1.5
"""Until a microphone has run for this long, nothing is believed that exceeds its own buffer:
PulseAudio claims 0.2 s to 0.6 s in the first second of a recording, and means 0.02 s."""

SILENT_S = 4.0
LOOKS = 4
"""A device that has not asked or answered for this long is lost. It is looked at so often in that
time, and the looks are counted, so that a laptop that slept does not lose its devices. A sound
server that wakes a card takes up to 2 s."""

STEADY_S = 0.1
PATIENCE_S = 3.0
"""A loudspeaker is steady when it has taken this much more than its buffer holds; many take the
first blocks in a burst and then pause. After that time it is good enough."""

REST_S = 5.0
"""After so long in which nothing is said or played a loudspeaker rests (s): silence in blocks of
10 ms costs as much CPU as a microphone, half of all that a quiet minute does. It plays again 3 ms
after it is asked to (PulseAudio), which is when the user's voice begins a turn, or a reply without
one; a card that slept as well has the length of what the user says to wake up."""

WAKES_S = 0.5
"""Only under ALSA a loudspeaker rests, with any sound server behind it, and only if it played
steadily so soon after its first start (s; PulseAudio takes 0.12 s): a reply would begin without its
first words where waking takes longer than the user speaks. Elsewhere a stream plays on: Core Audio
may take seconds to abort one (PortAudio's issue 367), and WASAPI half a second to start one
again."""

CLOSE_S = 2.0
"""How long a device may take to close before it is left behind."""

FLOOR_DBFS = -120.0
"""Level of digital silence; 16 bits reach down to -96."""


class _Stream:
    """What microphone and loudspeaker share: opening, closing, and noticing that it is gone.

    An async context manager, which raises a fatal `StageError` if it does not open. PortAudio calls
    back in its own thread. A device that is unplugged ends its stream, or just
    falls silent; either raises a fatal `StageError` in whoever waits for it.
    """

    block_s: float

    def __init__(self, device: Device, latency_ms: float, silent_s: float, close_s: float) -> None:
        self.device = device
        self.rate = device.rate
        self._look_s = silent_s / LOOKS
        self._close_s = close_s
        self._latency_s = latency_ms / 1000
        self._stream: Any = None
        self._ended = False
        self._beats = 0
        self._seen = 0
        self._idle_looks = 0
        self._next_ns = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.wrap_future(owner().submit(self._open))
            await self._settle()
        except BaseException:
            # Failed or cancelled: nobody else would close it.
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        # A driver that hangs here is left behind: the conversation is over anyway.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._close_s):
                # Not given up with it: what opens late is closed late.
                await asyncio.shield(asyncio.wrap_future(owner().submit(self._close)))

    def _open(self, sounddevice: Any) -> None:
        microphone = self.device.kind == "input"
        make = sounddevice.RawInputStream if microphone else sounddevice.OutputStream
        try:
            self._stream = make(
                device=self.device.index,
                samplerate=self.rate,
                blocksize=math.ceil(round(self.block_s * self.rate, 3)),
                channels=self.device.channels,
                dtype="int16",
                latency=self._latency_s,
                callback=self._callback,
                finished_callback=self._finish,
            )
            self._latency_s = self._stream.latency
            self._stream.start()
        except sounddevice.PortAudioError as error:
            raise cannot_open(self.device, error) from error

    def _close(self, sounddevice: Any) -> None:
        # Looked at in this thread, after the stream that may be opening in it.
        if self._stream is not None:
            # Not `stop`, which plays the buffer to its end.
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)

    async def _settle(self) -> None:
        """Wait until it runs as it will."""

    def _callback(self, data: Any, n: int, times: Any, status: Any) -> None:
        raise NotImplementedError

    def _finish(self) -> None:
        self._ended = True

    def _look(self) -> None:
        """Raise if the device is gone; to be called every `_look_s`."""
        moved = self._beats != self._seen
        self._seen = self._beats
        self._idle_looks = 0 if moved else self._idle_looks + 1
        if self._ended or self._idle_looks >= LOOKS:
            raise StageError(
                "audio",
                f"{WORDS[self.device.kind]} {self.device.name}: is gone: it was unplugged, or its "
                "sound server stopped. Connect it again, or choose another one, and restart.",
                fatal=True,
            )


class Microphone(_Stream):
    """A microphone, as an async context manager that yields frames.

    Frames that nobody takes for 2 s are lost. The times of those that follow tell where sound is
    missing, and their offsets where it is more than `LOST_S`.

    Attributes:
        together: So many frames come in one in a hush, until one of them is louder.

    Args:
        device: From `find_device("input", …)`.
        latency_ms: Buffer to ask the device for.
        silent_s: After so much time in which it brings nothing it is gone.
        close_s: How long it may take to close.

    Raises:
        StageError: Of stage `audio`, fatal, on entering: it does not open.
    """

    block_s = FRAME_S

    def __init__(
        self,
        device: Device,
        latency_ms: float = 20.0,
        *,
        silent_s: float = SILENT_S,
        close_s: float = CLOSE_S,
    ) -> None:
        super().__init__(device, latency_ms, silent_s, close_s)
        self.together = 1
        self._mix = Mix(f"microphone {device.name}", device.rate, device.channels)
        self._hushed = 0
        self._captured = 0
        # Bytes, offset of the first sample, and when that was captured (ns).
        self._blocks: deque[tuple[bytes, int, int]] = deque()
        self._arrived = asyncio.Event()

    async def frames(self) -> AsyncIterator[Frame]:
        """What it hears: frames at the device's rate, each with the time of its capture.

        In a hush they come by several in one (see `together`).

        Raises:
            StageError: Of stage `audio`, fatal: the device is gone.
        """
        # One timer, not one a frame.
        looks = asyncio.create_task(self._wake_to_look())
        try:
            while True:
                while self._blocks:
                    yield self._next(self.together)
                await self._arrived.wait()
                self._arrived.clear()
                self._look()
        finally:
            looks.cancel()

    async def _wake_to_look(self) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            self._arrived.set()

    def _next(self, most: int) -> Frame:
        """The blocks that wait as one, as far as they follow one another, and no more of them."""
        channels = self.device.channels
        block, offset, t_ns = self._blocks.popleft()
        pieces, end = [block], offset + len(block) // (2 * channels)
        while self._blocks and len(pieces) < most and self._blocks[0][1] == end:
            pieces.append(self._blocks.popleft()[0])
            end += len(pieces[-1]) // (2 * channels)
        samples = np.frombuffer(bytearray().join(pieces), np.int16)
        if channels > 1:
            samples = self._mix.push(samples.reshape(-1, channels).astype(np.float32))
        return Frame(samples, self.rate, offset, t_ns)

    def _callback(self, data: Any, n: int, times: Any, status: Any) -> None:
        # Little is done here: the caches are cold, and NumPy twice in each block would cost more
        # than all that a quiet minute costs in the loop.
        now_ns = time.monotonic_ns()
        block_s = n / self.rate
        buffer_s = max(self._latency_s, block_s)
        ago_s = plausible(
            times.currentTime - times.inputBufferAdcTime,
            at_least_s=block_s / 2,
            at_most_s=OLDEST_S if self._captured > WARM_S * self.rate else buffer_s,
            otherwise_s=buffer_s,
        )
        # Sound follows on sound: later than counted where some was lost, earlier only where what
        # came before was dated too late, which is made up for at half speed.
        block_ns = int(block_s * NS_PER_S)
        t_ns = max(now_ns - int(ago_s * NS_PER_S), self._next_ns - block_ns // 2)
        t_ns = min(t_ns, now_ns - block_ns)
        if self._next_ns and t_ns - self._next_ns > LOST_S * NS_PER_S:
            self._captured += (t_ns - self._next_ns) * self.rate // NS_PER_S
        self._next_ns = t_ns + block_ns
        self._beats += 1
        if len(self._blocks) >= MOST_FRAMES:
            self._blocks.popleft()
        block = bytes(data)
        if not self._captured:
            lead = min(n, int(LEAD_S * self.rate))
            block = block[-2 * self.device.channels * lead :]
            t_ns += (n - lead) * NS_PER_S // self.rate
            n = lead
        self._blocks.append((block, self._captured, t_ns))
        self._captured += n
        self._hushed = self._hushed + 1 if _is_soft(block) else 0
        if self._hushed <= HUSH_FRAMES or len(self._blocks) >= self.together:
            self._wake()

    def _finish(self) -> None:
        super()._finish()
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._arrived.set)


class Speaker(_Stream):
    """A loudspeaker that plays a playout, as an async context manager.

    It stays open and plays silence between replies: opening takes long, and cuts off what is played
    first. When all is quiet for long it rests (see `rest`). After `Playout.stop` it is silent
    within its block (10 ms), the fade (5 ms) and the device's buffer, which is about `latency_ms`:
    25 ms in all on PulseAudio by default. No more is needed for that than a small block and a small
    latency, which PortAudio hands to the sound server as the size of its buffer;
    `PULSE_LATENCY_MSEC` does not make it shorter.

    Args:
        playout: What it plays; its rate should be the device's.
        device: From `find_device("output", …)`.
        latency_ms: Buffer to ask the device for.
        silent_s: After so much time in which it asks for nothing it is gone.
        steady_s: How long it may take to play steadily.

    Attributes:
        underflows: How often the device ran out of sound because this program was too slow.

    Raises:
        StageError: Of stage `audio`, fatal, on entering: it does not open.
    """

    block_s = SPEAKER_BLOCK_S

    def __init__(
        self,
        playout: Sounding,
        device: Device,
        latency_ms: float = 20.0,
        *,
        silent_s: float = SILENT_S,
        steady_s: float = PATIENCE_S,
    ) -> None:
        super().__init__(device, latency_ms, silent_s, CLOSE_S)
        self.rate = playout.rate
        self._steady_s = steady_s
        self.underflows = 0
        self._playout = playout
        self._taken = 0
        self._wakes_soon = False
        # Since when all is quiet (s; None: it is not), and whether it is to rest, and does.
        self._quiet_from: float | None = None
        self._rests = self._stopped = False

    async def _settle(self) -> None:
        enough = (self._latency_s + STEADY_S) * self.rate
        begun = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._steady_s):
                while self._taken < enough and not self._ended:
                    await asyncio.sleep(self.block_s)
        if self._ended:
            self._look()
        took_s = time.monotonic() - begun
        self._wakes_soon = self.device.host == ALSA and took_s < WAKES_S

    async def watch(self) -> NoReturn:
        """Wait for ever, and raise when the device is gone. To be run beside the conversation.

        Raises:
            StageError: Of stage `audio`, fatal: the device is gone.
        """
        while True:
            await asyncio.sleep(self._look_s)
            self._look()

    def rest(self, quiet: bool) -> None:
        """Rest when all is quiet for long, until it is not; to be called again and again.

        A loudspeaker that may not wake in time never rests (see `WAKES_S`).

        Args:
            quiet: Nobody speaks, thinks or is about to.
        """
        now = time.monotonic()
        if not quiet or not self._wakes_soon:
            self._quiet_from = None
        elif self._quiet_from is None:
            self._quiet_from = now
        rests = self._quiet_from is not None and now - self._quiet_from >= REST_S
        if rests != self._rests:
            self._rests = rests
            owner().submit(self._lie_down if rests else self._get_up)

    def _lie_down(self, sounddevice: Any) -> None:
        self._stopped = True
        self._stream.abort(ignore_errors=True)

    def _get_up(self, sounddevice: Any) -> None:
        self._stopped = False
        try:
            self._stream.start()
        except sounddevice.PortAudioError:
            self._finish()

    def _look(self) -> None:
        # What rests is not asked: whether it is gone is known when it gets up.
        self._beats += self._rests
        super()._look()

    def _finish(self) -> None:
        if not self._stopped:
            super()._finish()

    def _callback(self, data: npt.NDArray[np.int16], n: int, times: Any, status: Any) -> None:
        now_ns = time.monotonic_ns()
        ahead_s = plausible(
            times.outputBufferDacTime - times.currentTime,
            at_least_s=1e-4,
            at_most_s=FURTHEST_S,
            otherwise_s=self._latency_s,
        )
        # As with a microphone: no block is heard before the one that it follows.
        block_ns = n * NS_PER_S // self.rate
        t_ns = max(now_ns + int(ahead_s * NS_PER_S), self._next_ns - block_ns // 2)
        self._next_ns = t_ns + block_ns
        data[:] = self._playout.read(n, t_ns, ahead_ns=t_ns - now_ns)[:, np.newaxis]
        self._beats += 1
        self._taken += n
        if status.output_underflow:
            self.underflows += 1


def _is_soft(block: bytes) -> bool:
    """Whether int16 sound stays within 8 bits: below -42 dBFS."""
    return not block[_HIGH::2].strip(b"\x00\xff")


_HIGH = int(sys.byteorder == "little")  # where a sample's upper byte is


def plausible(seconds: float, *, at_least_s: float, at_most_s: float, otherwise_s: float) -> float:
    """How far a block is from now, by the device's word if that can be true (seconds)."""
    return seconds if at_least_s <= seconds <= at_most_s else otherwise_s


def peak_dbfs(samples: Samples) -> float:
    """How loud int16 (n,) gets, relative to full scale (dBFS); -120 is digital silence."""
    peak = int(np.abs(samples.astype(np.int32)).max(initial=0))
    return 20 * math.log10(peak / 32768) if peak else FLOOR_DBFS


async def meter(device: Device, seconds: float, latency_ms: float = 20.0) -> AsyncIterator[float]:
    """Listen to a microphone for some seconds and give its peak (dBFS) every 100 ms.

    Raises:
        StageError: Of stage `audio`: it does not open, or is gone.
    """
    wanted = round(seconds * 10)
    per_level = round(0.1 / FRAME_S)
    heard: list[Samples] = []
    async with Microphone(device, latency_ms) as microphone:
        async for frame in microphone.frames():
            heard.append(frame.samples)
            if len(heard) == per_level:
                yield peak_dbfs(np.concatenate(heard))
                heard = []
                wanted -= 1
            if wanted <= 0:
                return
