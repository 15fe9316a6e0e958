"""What the loudspeaker plays, kept out of what the microphone hears.

With loudspeakers the assistant's own voice comes back through the room. Either it is computed from
what is played and taken away (`EchoCanceller`), or the microphone is silent while a reply is heard
(`HalfDuplex`). Both have the same shape: `reference` is a playout's tap, `clean` takes the
microphone's frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.audio.audible import is_audible
from pipeline.audio.stream import JUMP_S, SMOOTHING, STEP_S, Fifo, Track
from pipeline.clock import NS_PER_S
from pipeline.errors import BadInput
from pipeline.events import Frame, Samples

EchoMode = Literal["auto", "cancel", "half-duplex", "off"]

PACKAGE = "pywebrtc_audio"
"""WebRTC's echo canceller (AEC3), which the extra `echo` brings: what browsers use in calls. Of its
bindings this one has wheels for all platforms, takes 0.4 MB and needs nothing but numpy."""

LEAD_S = 0.020
"""The reference is given to the canceller this much before the echo is due. Measured over a minute
of people's speech: an echo at the very time of its reference, or up to 0.5 ms after it, is lost for
good after some seconds (loss 1 to 3 dB); one before it loses 4 to 20 dB; from 1 ms to 500 ms after
it, 38 to 40 dB. More lead is not to be had: a loudspeaker's blocks are known only about its buffer
before they are heard."""

REACH_S = (0.005, 0.450)
"""How late after its reference an echo is left to the canceller's own search, which reaches from
1 ms to 500 ms (at 510 ms it failed). Within that `stream_delay_ms` makes little difference, beyond
it helps somewhat or not at all; so an echo elsewhere is met by moving the reference."""

SEARCH_S = (-0.5, 1.5)
"""Where an echo is looked for, after the time at which the loudspeaker's device says that its sound
is heard. Of what devices know that time has all: PortAudio's time of a block holds the sound
server's latency. What they do not know, wireless loudspeakers hide: 0.15 s to 0.7 s. Some claim
more than they have."""

SEARCH_RATE = 4000
WINDOW_S = 3.0
HOP_S = 0.25
REST_S = 1.75
CLEAR = 2.0
BESIDE_S = 0.010
"""How it is looked for: at about this rate (Hz), in so much sound, so often, and after a pause once
it is found: where the sides fit twice as well as anywhere else but within 10 ms. Measured on
people's speech over a voice's, in looks from 0.25 s of reply on: in 1400 without echo never more
than 1.7 times; in 4300 with one of -10 dB to -30 dB, at the wrong place once 1.9 times, else never
more than 1.7. With nobody speaking over it, an echo 700 ms late is found after 1 s of the reply,
0.3 s after it is first heard."""

AUDIBLE = 100.0
"""RMS (-50 dBFS) of a reference that is worth a look: none is taken while no reply is played."""

FFT_STEP = 1 << 11
"""Lengths of transforms are multiples of this, and so fast."""

DELAY_16K_S = 0.008
DELAY_S = 0.009
"""How late the canceller's output is, at 16 kHz and at rates between which and 16 kHz it converts
(measured: 8.0 ms, 9.0 to 9.7 ms at 22 to 48 kHz). Where frames are no whole number of its blocks of
10 ms, one such block comes on top."""

GAP_S = 2.0
"""A reference that is interrupted for longer begins anew; what was missing is silence. After so
much silence of it no echo is left either, not of a wireless loudspeaker in a hall: what is heard
then is heard as it is, which costs nothing, and no delay."""

MOST_BLOCKS = 512
"""Blocks of reference, 5 s, that may wait for a frame."""

TAIL_S = 0.4
"""A half-duplex microphone stays silent this long after the last audible sample of a reply: both
devices' buffers and the room take up to 0.1 s, a wireless loudspeaker up to 0.3 s more."""

HEAD_S = 0.020
"""And it falls silent this much before the first one, for times that are a little wrong."""


class Echo(Protocol):
    """Keeps the replies out of the microphone."""

    @property
    def delay_s(self) -> float:
        """By how much `clean` delays sound (seconds)."""

    def reference(self, samples: Samples, rate: int, t_ns: int) -> None:
        """What is played: int16 (n,) at `rate` Hz, heard from `t_ns` on. Any thread; no wait."""

    def clean(self, frame: Frame) -> Frame:
        """The frame without echo: as many samples, timed by when these were captured."""


def choose(mode: EchoMode, *, live: bool) -> tuple[Callable[[], Echo] | None, str]:
    """What to do against echo.

    Args:
        mode: The setting.
        live: Whether both ends are devices: between files nothing comes back.

    Returns:
        What makes the means, or None, and one line for the user if they had no say in it.

    Raises:
        BadInput: The canceller is asked for, and not installed.
    """
    installed = find_spec(PACKAGE) is not None
    if mode == "cancel" and not installed:
        raise BadInput(
            'echo cancel: needs an optional package: pip install "voice-cascade[echo]"\n'
            "or use --echo half-duplex, or --echo off with headphones"
        )
    if mode == "off" or (mode == "auto" and not live):
        return None, ""
    if mode == "cancel":
        return EchoCanceller, ""
    if mode == "half-duplex":
        return HalfDuplex, ""
    if installed:
        return EchoCanceller, "echo: cancel: speak over it at any time; off with --echo off"
    return HalfDuplex, (
        "echo: half-duplex: it does not listen while it speaks; "
        "with headphones use --echo off, or install voice-cascade[echo]"
    )


class HalfDuplex:
    """Silences the microphone while a reply is audible, and until its echo is over."""

    delay_s = 0.0

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int]] = deque(maxlen=MOST_BLOCKS)
        self._spans: deque[tuple[int, int]] = deque()

    def reference(self, samples: Samples, rate: int, t_ns: int) -> None:
        """What is played: int16 (n,) at `rate` Hz, heard from `t_ns` on. Any thread; no wait."""
        if is_audible(samples):
            begin_ns = t_ns - int(HEAD_S * NS_PER_S)
            end_ns = t_ns + len(samples) * NS_PER_S // rate + int(TAIL_S * NS_PER_S)
            self._waiting.append((begin_ns, end_ns))

    def clean(self, frame: Frame) -> Frame:
        """The frame, or as much silence if any of it may hold a reply."""
        for _ in range(len(self._waiting)):
            begin_ns, end_ns = self._waiting.popleft()
            if self._spans and begin_ns <= self._spans[-1][1]:
                before_ns, until_ns = self._spans.pop()
                begin_ns, end_ns = min(begin_ns, before_ns), max(end_ns, until_ns)
            self._spans.append((begin_ns, end_ns))
        while self._spans and self._spans[0][1] <= frame.t_ns:
            self._spans.popleft()
        if not self._spans or self._spans[0][0] >= frame.t_ns + frame.duration_ns:
            return frame
        return replace(frame, samples=np.zeros_like(frame.samples))


class EchoCanceller:
    """Takes the replies out of what the microphone hears, and leaves the user's voice.

    It adapts to the room from the first reply on and keeps what it has learnt. The loudspeaker may
    have any rate, sound may be missing at either end, and the devices' clocks may run apart. An
    echo may come up to 1.5 s after, or 0.5 s before, the time that the loudspeaker's device claims;
    one that is more than 0.43 s late, or early, is heard until it has been found, about half a
    second. Speech that is as loud as the echo or louder comes through; its softest parts do not.
    A second of sound costs some 10 ms, a frame of 20 ms some 0.2 ms; looking for the echo costs
    1 ms every 0.25 s while a reply is played, and every 2 s once found. While nothing is played it
    sleeps: what is heard comes through at once, as it is. Call it from the event loop.

    Attributes:
        delay_s: By how much `clean` delays sound (seconds): the frame that it gave last.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._waiting: deque[tuple[Samples, int, int]] = deque(maxlen=MOST_BLOCKS)
        self._sides: tuple[_Near, _Far, _Search] | None = None
        self._late_s = 0.0
        self._echo_until_ns = 0
        self._slept: Samples | None = None

    def reference(self, samples: Samples, rate: int, t_ns: int) -> None:
        """What is played: int16 (n,) at `rate` Hz, heard from `t_ns` on. Any thread; no wait."""
        if samples.any():
            self._echo_until_ns = t_ns + int(GAP_S * NS_PER_S)
        if t_ns < self._echo_until_ns:
            self._waiting.append((samples, rate, t_ns))

    def clean(self, frame: Frame) -> Frame:
        """The frame without echo: as many samples, timed by when these were captured."""
        if self._sides is None or self._sides[0].rate != frame.rate:
            self._sides = _Near(frame.rate), _Far(frame.rate), _Search(frame.rate)
            self._slept = frame.samples[:0]
        near, far, search = self._sides
        t_ns = near.time(frame)
        if not self._waiting and t_ns >= self._echo_until_ns:
            self.delay_s, self._slept = 0.0, frame.samples
            return frame
        if self._slept is not None:
            # What the canceller holds of the time before it slept comes out first.
            near.process(self._slept, np.zeros_like(self._slept))
            search.forget()
            self._slept = None
        for _ in range(len(self._waiting)):
            far.push(*self._waiting.popleft())
        lead_s = LEAD_S - self._late_s
        reference = far.read(t_ns + int(lead_s * NS_PER_S), len(frame.samples))
        after_s = search.push(frame.samples, reference, lead_s)
        samples = near.process(frame.samples, reference)
        if after_s is not None and not REACH_S[0] <= after_s <= REACH_S[1]:
            self._late_s += after_s - LEAD_S
            near.forget()
            search.forget()
        self.delay_s = near.delay_s
        heard_ns = frame.t_ns - int(self.delay_s * NS_PER_S)
        return replace(frame, samples=samples, t_ns=heard_ns)


class _Near:
    """The microphone's side: steady times, and the canceller's blocks of 10 ms."""

    def __init__(self, rate: int) -> None:
        from pywebrtc_audio import AudioProcessor  # an extra

        self.rate = rate
        self.delay_s = DELAY_16K_S if rate == 16_000 else DELAY_S
        self._block = rate // 100
        # It converts to a rate of its own where it must, and tells the level of no sound.
        self._processor = AudioProcessor(
            sample_rate=rate, echo_cancellation=True, stream_delay_ms=int(LEAD_S * 1000)
        )
        self._anchor_ns: int | None = None
        self._late_ns = 0.0
        self._doubtful = False
        self._pending = Fifo(), Fifo()
        self._ready = Fifo()

    def time(self, frame: Frame) -> int:
        """When a frame was captured (ns), without the jitter of its own time.

        Times that differ from the count by more than `JUMP_S` twice in a row are believed at once,
        others by their average over 16 frames if that exceeds `STEP_S`: each correction makes the
        canceller look for the echo anew, which takes it some tenths of a second.
        """
        count_ns = frame.offset * NS_PER_S // self.rate
        if self._anchor_ns is None:
            self._anchor_ns = frame.t_ns - count_ns
        error_ns = frame.t_ns - count_ns - self._anchor_ns
        if abs(error_ns) > JUMP_S * NS_PER_S:
            if self._doubtful:
                self._anchor_ns += error_ns
                self._late_ns = 0.0
            self._doubtful = not self._doubtful
        else:
            self._doubtful = False
            self._late_ns += (error_ns - self._late_ns) * SMOOTHING
            if abs(self._late_ns) > STEP_S * NS_PER_S:
                self._anchor_ns += int(self._late_ns)
                self._late_ns = 0.0
        return self._anchor_ns + count_ns

    def forget(self) -> None:
        """Begin anew with an echo of another delay: what was learnt would stand in its way."""
        self._processor.reset()

    def process(self, near: Samples, far: Samples) -> Samples:
        """Cancel; int16 (n,) each. Returns as many, later by `delay_s`."""
        for side, samples in zip(self._pending, (near, far), strict=True):
            side.push(samples)
        if whole := len(self._pending[0]) // self._block * self._block:
            sides = (np.ascontiguousarray(side.take(whole)) for side in self._pending)
            self._ready.push(self._processor.process(*sides))
        # Where frames are no whole number of blocks, all wait for the rest of one from then on.
        if len(near) > len(self._ready):
            late: Samples = np.zeros(self._block - 1, np.int16)
            self._ready = Fifo(late, self._ready.take(len(near)))
            self.delay_s += len(late) / self.rate
        return self._ready.take(len(near))


class _Search:
    """Finds how late the echo is after its reference, wherever it is (see `SEARCH_S`).

    By the generalised cross-correlation with phase transform (Knapp and Carter, 1976): the two
    sides' cross-spectrum with all frequencies equally strong. Speech, which resembles itself at
    every period of its pitch, fits at one delay only then.
    """

    def __init__(self, rate: int) -> None:
        self._every = max(1, rate // SEARCH_RATE)
        self._rate = rate / self._every
        self._window = int(WINDOW_S * rate)
        self._hop = int(HOP_S * rate)
        self._rest = int(REST_S * rate)
        self.forget()

    def forget(self) -> None:
        """Begin anew: the reference has been moved."""
        self._sides: deque[tuple[Samples, Samples]] = deque()
        self._held = 0
        self._new = 0

    def push(self, near: Samples, far: Samples, lead_s: float) -> float | None:
        """Add sound; int16 (n,) each, `far` as heard `lead_s` later by its device's word.

        Returns:
            How much later than `far` the echo is (seconds), whenever it was looked for and found.
        """
        self._sides.append((near, far))
        self._held += len(near)
        self._new += len(near)
        while self._held - len(self._sides[0][0]) >= self._window:
            self._held -= len(self._sides.popleft()[0])
        if self._new < self._hop:
            return None
        found_s = self._look(lead_s)
        self._new = -self._rest if found_s is not None else 0
        return found_s

    def _look(self, lead_s: float) -> float | None:
        near_sides, far_sides = zip(*self._sides, strict=True)
        far = self._slowed(far_sides)
        if np.sqrt(np.mean(far**2)) < AUDIBLE:
            return None
        near = self._slowed(near_sides)
        first, end = (int((late_s + lead_s) * self._rate) for late_s in SEARCH_S)
        size = -(-(len(near) + max(-first, end)) // FFT_STEP) * FFT_STEP
        cross = np.fft.rfft(near, size) * np.conj(np.fft.rfft(far, size))
        fits = np.abs(np.fft.irfft(cross / (np.abs(cross) + 1e-3), size))
        fits = np.roll(fits, -first)[: end - first]
        best, beside = int(np.argmax(fits)), int(BESIDE_S * self._rate)
        others = np.concatenate([fits[: max(best - beside, 0)], fits[best + beside :]])
        return (first + best) / self._rate if fits[best] > CLEAR * np.max(others) else None

    def _slowed(self, pieces: Sequence[Samples]) -> npt.NDArray[np.float32]:
        sound = np.concatenate(pieces)
        whole = len(sound) - len(sound) % self._every
        slowed: npt.NDArray[np.float32] = (
            sound[:whole].reshape(-1, self._every).mean(axis=1, dtype=np.float32)
        )
        return slowed


class _Far:
    """The loudspeaker's side: what was heard when, at the microphone's rate."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._track = Track(rate, 0)
        self._start_ns = 0
        self._end_ns: int | None = None
        self._known: Samples = np.zeros(0, np.int16)
        self._first = 0

    def push(self, samples: Samples, rate: int, t_ns: int) -> None:
        """Add a block: int16 (n,) at `rate`, heard from `t_ns` on."""
        if self._end_ns is None or abs(t_ns - self._end_ns) > GAP_S * NS_PER_S:
            self._track = Track(self._rate, t_ns)
            self._start_ns = t_ns
            self._known, self._first = self._known[:0], 0
        self._end_ns = t_ns + len(samples) * NS_PER_S // rate
        self._track.push(samples, rate, t_ns)

    def read(self, t_ns: int, n: int) -> Samples:
        """The `n` samples heard from `t_ns` on; silence where nothing is known."""
        taken = self._first + len(self._known)
        self._known = np.concatenate([self._known, self._track.take(self._track.end - taken)])
        out = np.zeros(n, np.int16)
        at = (t_ns - self._start_ns) * self._rate // NS_PER_S - self._first
        begin, end = max(at, 0), min(at + n, len(self._known))
        if begin < end:
            out[begin - at : end - at] = self._known[begin:end]
        # What is read next may be earlier: by a late echo's delay, and where a time is corrected.
        kept = int((SEARCH_S[1] - SEARCH_S[0] + 5 * JUMP_S) * self._rate)
        over = min(max(at - kept, 0), len(self._known))
        self._known = self._known[over:]
        self._first += over
        return out
