"""Samples out of bytes cut anywhere; what is none is told apart."""

from __future__ import annotations

import io
import itertools
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio.pcm import NoSamples, PcmReader
from pipeline.events import Samples

SOUND = np.arange(-300, 300, dtype=np.int16)


def wav(rate: int = 16_000, channels: int = 1, width: int = 2, sound: Samples = SOUND) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(np.repeat(sound, channels).tobytes())
    return file.getvalue()


def pushed(reader: PcmReader, data: bytes, cuts: list[int]) -> Samples:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [reader.push(data[a:b]) for a, b in itertools.pairwise(places)]
    return np.concatenate(parts)


@given(st.lists(st.integers(0, 2500)), st.integers(1, 3))
def test_a_wav_may_be_cut_anywhere(cuts: list[int], channels: int) -> None:
    reader = PcmReader(24_000)
    assert (pushed(reader, wav(22_050, channels), cuts) == SOUND).all()
    assert reader.rate == 22_050


@given(st.lists(st.integers(0, 1200)))
def test_bare_samples_may_be_cut_anywhere(cuts: list[int]) -> None:
    reader = PcmReader(24_000)
    assert (pushed(reader, SOUND.tobytes(), cuts) == SOUND).all()
    assert reader.rate == 24_000


def test_chunks_before_the_sound_are_passed_over() -> None:
    plain = wav()
    listed = b"LIST" + struct.pack("<I", 5) + b"INFO\0\0"
    data = plain[:36] + listed + plain[36:]
    assert (PcmReader(24_000).push(data) == SOUND).all()


@pytest.mark.parametrize(
    ("content_type", "rate"),
    [
        ("audio/pcm;rate=22050;channels=1", 22_050),
        ('audio/L16; rate="16000"', 16_000),
        ("audio/pcm", 24_000),
        ("application/octet-stream", 24_000),
        ("audio/mpeg", 24_000),
    ],
)
def test_the_type_may_tell_the_rate(content_type: str, rate: int) -> None:
    reader = PcmReader(24_000, content_type)
    assert (reader.push(SOUND.tobytes()) == SOUND).all()
    assert reader.rate == rate


@pytest.mark.parametrize(
    ("data", "content_type", "told"),
    [
        (b"ID3\x04rest", "", "MP3"),
        (b"OggSrest", "audio/pcm", "Ogg"),
        (b"fLaCrest", "", "FLAC"),
        (b"\xff\xf3\x84\x64rest", "audio/mpeg", "MP3"),
        (b'{"error": "none"}', "application/json", "application/json"),
        (b"<html></html>", "text/html; charset=utf-8", "text/html"),
        (wav(width=1), "audio/wav", "a WAV of 8-bit samples"),
        (b"RIFF0000WAVE" + b"junk\x00\x00\x10\x00" + b"\0" * 0x110000, "", "a WAV without sound"),
    ],
)
def test_what_is_no_sample_is_told(data: bytes, content_type: str, told: str) -> None:
    with pytest.raises(NoSamples, match=told):
        PcmReader(24_000, content_type).push(data)
