"""Sound into files as it is made: MP3, Opus, AAC, FLAC, WAV or bare samples, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import av
import numpy as np
from av.audio.stream import AudioStream

from pipeline.events import Samples

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
"""As the OpenAI API names them; `pcm` is 16-bit little-endian, without a header."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How FFmpeg makes a format: its container, that one's options, the codec, its samples."""

    container: str
    codec: str
    samples: str = "s16"
    options: dict[str, str] = field(default_factory=dict)
    bit_rate: int = 0


# A stream is not sought in: what a header could say only at the end is left out of it. So is the
# name of the encoder, for many a reader takes the header of a WAV to have 44 bytes. A page of Ogg
# would else wait for a second of sound.
_KINDS: dict[str, _Kind] = {
    "mp3": _Kind("mp3", "libmp3lame", "s16p", {"write_xing": "0"}, 64_000),
    "opus": _Kind("ogg", "libopus", "s16", {"page_duration": "100000"}, 32_000),
    "aac": _Kind("adts", "aac", "fltp", bit_rate=64_000),
    "flac": _Kind("flac", "flac"),
    "wav": _Kind("wav", "pcm_s16le"),
}


class Encoder:
    """Encodes one stream of mono sound.

    Args:
        format: What to make of it.
        rate: Samples a second (Hz): one of 8000, 16000, 24000 and 48000, which every format takes.
    """

    def __init__(self, format: Format, rate: int) -> None:
        self._made = bytearray()
        self._rate = rate
        self._stream: AudioStream | None = None
        self._container: Any = None
        if format == "pcm":
            return
        kind = _KINDS[format]
        options = {"flush_packets": "1", "fflags": "+bitexact", **kind.options}
        self._container = av.open(_Sink(self._made), "w", kind.container, container_options=options)
        self._stream = self._container.add_stream(kind.codec, rate=rate, layout="mono")
        self._stream.format = kind.samples
        if kind.bit_rate:
            self._stream.bit_rate = kind.bit_rate
        self._resampler = av.AudioResampler(kind.samples, "mono", rate)

    def push(self, samples: Samples) -> bytes:
        """Take the next piece, int16 (n,); gives what is encoded by then."""
        if self._stream is None:
            return samples.astype("<i2").tobytes()
        if not len(samples):  # which FFmpeg has no memory for
            return b""
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[np.newaxis]), format="s16", layout="mono"
        )
        frame.sample_rate = self._rate
        for piece in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(piece))
        return self._taken()

    def finish(self) -> bytes:
        """End the stream; gives the rest."""
        if self._stream is None:
            return b""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._taken()

    def _taken(self) -> bytes:
        made = bytes(self._made)
        self._made.clear()
        return made


class _Sink:
    """What FFmpeg writes to; it cannot be sought in."""

    def __init__(self, into: bytearray) -> None:
        self._into = into

    def write(self, data: bytes) -> int:
        """Keep what comes."""
        self._into += data
        return len(data)
