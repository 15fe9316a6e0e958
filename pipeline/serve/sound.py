"""Sound on its way between a client and its session, in any format of the protocol. Pure.

Inside, all sound is int16 mono at `RATE`. What a client sends may end in the middle of a sample.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Iterator

import numpy as np

from pipeline.audio.encoding import PCM_RATE, Encoding
from pipeline.audio.resample import Resampler, resampled
from pipeline.events import Samples
from pipeline.serve.refused import invalid

RATE = PCM_RATE
"""Hz, of all sound inside."""

MOST_APPENDED = 15 * 1024 * 1024
"""Bytes of sound in one message, as the protocol allows."""

MOST_BUFFERED_S = 600
"""So much sound of a client may wait to become an item (29 MB)."""

MOST_DELTA = 1 << 17
"""Bytes of sound in one event: 2.7 s at 24 kHz."""


def unpacked(audio: str, param: str = "audio") -> bytes:
    """Sound from base64.

    Raises:
        RequestRefused: It is none, or more than 15 MiB; `param` is where it stands.
    """
    try:
        data = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(param, "is no base64") from None
    if len(data) > MOST_APPENDED:
        raise invalid(param, "is more than 15 MiB")
    return data


def packed(data: bytes) -> str:
    """Sound as events carry it: base64."""
    return base64.b64encode(data).decode("ascii")


def seconds(data: bytes, encoding: Encoding) -> float:
    """How long a piece of sound is (s)."""
    return len(data) / encoding.width / encoding.rate


class SoundIn:
    """A client's stream as samples, without a gap between its pieces.

    Args:
        encoding: Of the stream.
        rates: Hz; it is given at each of them.
    """

    def __init__(self, encoding: Encoding, *rates: int) -> None:
        self.encoding = encoding
        self._resamplers = {rate: Resampler(encoding.rate, rate) for rate in rates}
        self._half = b""

    def push(self, data: bytes) -> dict[int, Samples]:
        """The next piece by rate; half a sample at its end waits for the other half."""
        data = self._half + data
        whole = len(data) // self.encoding.width * self.encoding.width
        self._half = data[whole:]
        samples = self.encoding.decode(data[:whole])
        return {rate: resampler.push(samples) for rate, resampler in self._resamplers.items()}

    def flush(self) -> dict[int, Samples]:
        """End the stream: what the resampling holds back, by rate; half a sample is lost."""
        self._half = b""
        return {rate: resampler.flush() for rate, resampler in self._resamplers.items()}


class SoundOut:
    """Samples at `RATE` as a client's stream, without a gap between its pieces.

    Args:
        encoding: Of the stream.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._resampler = Resampler(RATE, encoding.rate)

    def push(self, samples: Samples) -> Iterator[str]:
        """What is ready, in base64, in as many pieces as it needs."""
        return self._pieces(self._resampler.push(samples))

    def flush(self) -> Iterator[str]:
        """End the stream: what the resampling holds back."""
        return self._pieces(self._resampler.flush())

    def _pieces(self, samples: Samples) -> Iterator[str]:
        data = self._encoding.encode(samples)
        return (
            packed(data[start : start + MOST_DELTA]) for start in range(0, len(data), MOST_DELTA)
        )


def decoded(data: bytes, encoding: Encoding) -> Samples:
    """All of a sound, at `RATE`."""
    return resampled(encoding.decode(data), encoding.rate, RATE)


def encoded(samples: Samples, encoding: Encoding) -> str:
    """All of a sound at `RATE` in base64."""
    return packed(encoding.encode(resampled(samples, RATE, encoding.rate)))


class InputBuffer:
    """The sound that a client sent and that is no item yet, by its place in the whole stream.

    Attributes:
        start: Place of the oldest sample that is kept (samples from the start of the stream).
    """

    def __init__(self) -> None:
        self.start = 0
        self._pieces: deque[Samples] = deque()
        self._held = 0

    @property
    def end(self) -> int:
        """One past the newest sample: how many were ever pushed."""
        return self.start + self._held

    def __len__(self) -> int:
        return self._held

    def push(self, samples: Samples) -> None:
        """Keep the next piece, int16 (n,)."""
        self._pieces.append(samples)
        self._held += len(samples)

    def between(self, start: int, end: int) -> Samples:
        """A copy of what is kept of that stretch."""
        whole = np.concatenate([*self._pieces, np.zeros(0, np.int16)])
        return whole[max(0, start - self.start) : max(0, end - self.start)].copy()

    def forget(self, before: int) -> None:
        """Let go of what lies before that place."""
        while self._pieces and self.start < before:
            oldest = self._pieces.popleft()
            gone = min(len(oldest), before - self.start)
            if gone < len(oldest):
                self._pieces.appendleft(oldest[gone:])
            self.start += gone
            self._held -= gone

    def clear(self) -> None:
        """Let go of everything."""
        self.start, self._held = self.end, 0
        self._pieces.clear()
