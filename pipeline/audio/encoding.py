"""How Realtime APIs put sound on the wire: 16-bit PCM at some rate, or G.711 at 8 kHz. Pure."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.events import Samples

PCM_RATE = 24_000
"""The rate of PCM where nobody names another: the only one that OpenAI has (Hz)."""

G711_RATE = 8_000
"""The rate of G.711 (Hz)."""

RATES = (4_000, 192_000)
"""A rate outside of these is none (Hz)."""

PCM = {"type": "audio/pcm", "rate": PCM_RATE}
"""What we ask for, as `session.update` names it."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A format of sound, mono.

    Attributes:
        kind: `pcm` is 16 bits, little-endian; `pcmu` and `pcma` are G.711's mu-law and A-law.
        rate: Hz.
    """

    kind: Literal["pcm", "pcmu", "pcma"] = "pcm"
    rate: int = PCM_RATE

    @property
    def width(self) -> int:
        """Bytes per sample."""
        return 2 if self.kind == "pcm" else 1

    def decode(self, data: bytes) -> Samples:
        """Sound from bytes; a last byte that is half a sample is left out."""
        if self.kind == "pcm":
            whole = len(data) // 2 * 2
            return np.frombuffer(data[:whole], "<i2").astype(np.int16)
        return _levels(self.kind)[np.frombuffer(data, np.uint8)]

    def encode(self, samples: Samples) -> bytes:
        """Sound as bytes."""
        if self.kind == "pcm":
            return samples.astype("<i2", copy=False).tobytes()
        return _codes(self.kind)[samples.astype(np.int16, copy=False).view(np.uint16)].tobytes()


def read(audio: object, side: Literal["input", "output"], before: Encoding) -> Encoding:
    """The encoding that a session's `audio` states for a side; `before` where it states none.

    Also understood are the names of the beta API and a bare rate.
    """
    side_of = audio.get(side) if isinstance(audio, Mapping) else None
    stated: Any = side_of.get("format") if isinstance(side_of, Mapping) else None
    match stated:
        case {"type": "audio/pcmu"} | "g711_ulaw" | "audio/pcmu":
            return Encoding("pcmu", G711_RATE)
        case {"type": "audio/pcma"} | "g711_alaw" | "audio/pcma":
            return Encoding("pcma", G711_RATE)
        case {"rate": int(rate)} if RATES[0] <= rate <= RATES[1]:
            return Encoding("pcm", rate)
        case {"type": "audio/pcm"} | "pcm16" | "audio/pcm":
            return Encoding("pcm", before.rate if before.kind == "pcm" else PCM_RATE)
    return before


@functools.cache
def _levels(kind: Literal["pcmu", "pcma"]) -> Samples:
    """The level of each code (ITU-T G.711), as FFmpeg has it."""
    codec = av.CodecContext.create({"pcmu": "pcm_mulaw", "pcma": "pcm_alaw"}[kind], "r")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout = G711_RATE, "mono"
    (frame,) = codec.decode(av.Packet(bytes(range(256))))
    return np.asarray(frame.to_ndarray()[0], np.int16)


@functools.cache
def _codes(kind: Literal["pcmu", "pcma"]) -> NDArray[np.uint8]:
    """The code of each sample, in the order of its bits as an unsigned number.

    It is the one whose level is nearest; what is halfway takes the upper one.
    """
    table = _levels(kind)
    order = np.argsort(table, kind="stable")
    levels = table[order].astype(np.int32)
    samples = np.arange(1 << 16, dtype=np.uint16).view(np.int16)
    nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, samples, side="right")
    return order[nearest].astype(np.uint8)
