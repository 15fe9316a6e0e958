"""Sound as Realtime APIs have it on the wire."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio.encoding import Encoding, read
from pipeline.events import Samples

G711 = {"pcmu": "pcm_mulaw", "pcma": "pcm_alaw"}


def ffmpeg(kind: str, samples: Samples) -> bytes:
    """G.711 as FFmpeg writes it."""
    codec = av.CodecContext.create(G711[kind], "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout, codec.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


@pytest.mark.parametrize("kind", G711)
def test_g711_is_as_near_as_ffmpegs_for_every_sample(kind: Any) -> None:
    every = np.arange(-(1 << 15), 1 << 15).astype(np.int16)
    encoding, theirs = Encoding(kind, 8000), ffmpeg(kind, every)
    ours = encoding.encode(every)

    def error(codes: bytes) -> Any:
        return np.abs(encoding.decode(codes).astype(int) - every)

    assert (error(ours) <= error(theirs)).all()
    # They differ where a sample is about halfway between two levels.
    assert np.mean(np.frombuffer(ours, np.uint8) == np.frombuffer(theirs, np.uint8)) > 0.99
    # A file that they wrote is read, to the bit.
    codec = av.CodecContext.create(G711[kind], "r")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout = 8000, "mono"
    (frame,) = codec.decode(av.Packet(theirs))
    np.testing.assert_array_equal(encoding.decode(theirs), frame.to_ndarray()[0])


@given(st.integers(0, 255).map(lambda code: bytes([code])))
def test_g711_codes_survive(code: bytes) -> None:
    for kind in ("pcmu", "pcma"):
        encoding = Encoding(kind, 8000)  # type: ignore[arg-type]
        assert encoding.decode(encoding.encode(encoding.decode(code))) == encoding.decode(code)


def test_g711_levels() -> None:
    """Against values of ITU-T G.711: silence, the smallest steps and the largest."""
    mu, a = Encoding("pcmu", 8000), Encoding("pcma", 8000)
    assert mu.decode(b"\xff\x7f\x00\x80").tolist() == [0, 0, -32124, 32124]
    assert a.decode(b"\xd5\x55\x2a\xaa").tolist() == [8, -8, -32256, 32256]
    tone = (8000 * np.sin(np.arange(800) / 5)).astype(np.int16)
    for encoding in (mu, a):
        error = encoding.decode(encoding.encode(tone)).astype(float) - tone
        assert 10 * np.log10(np.mean(tone.astype(float) ** 2) / np.mean(error**2)) > 30


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ({"type": "audio/pcm", "rate": 16000}, Encoding("pcm", 16000)),
        ({"type": "audio/pcm"}, Encoding()),
        ({"type": "audio/pcmu"}, Encoding("pcmu", 8000)),
        ("g711_alaw", Encoding("pcma", 8000)),
        ({"rate": -5}, Encoding()),
        (None, Encoding()),
    ],
)
def test_stated_formats(stated: object, found: Encoding) -> None:
    assert read({"output": {"format": stated}}, "output", Encoding()) == found
    assert read(None, "output", found) == found
