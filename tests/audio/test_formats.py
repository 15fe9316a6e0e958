"""Sound is encoded as it is made: what comes out early, and that it is the same sound."""

from __future__ import annotations

import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from pipeline.audio.files import read_audio
from pipeline.audio.formats import Encoder, Format
from pipeline.events import Samples

RATE = 24_000
TONE = (8000 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)).astype(np.int16)


def encoded(form: Format, sizes: int, rate: int = RATE, sound: Samples = TONE) -> list[bytes]:
    encoder = Encoder(form, rate)
    parts = [encoder.push(sound[at : at + sizes]) for at in range(0, len(sound), sizes)]
    return [*parts, encoder.finish()]


def read(data: bytes, form: str) -> Samples:
    if form == "pcm":
        return np.frombuffer(data, "<i2").astype(np.int16)
    return np.concatenate([*read_audio(Path(f"a.{form}"), RATE, io.BytesIO(data))])


@pytest.mark.parametrize("form", get_args(Format))
@pytest.mark.parametrize("sizes", [37, 4800, 100_000])
def test_it_is_the_same_sound_however_it_comes(form: Format, sizes: int) -> None:
    heard = read(b"".join(encoded(form, sizes)), form)
    assert len(heard) == pytest.approx(len(TONE), abs=0.12 * RATE)
    middle = heard[RATE : 2 * RATE].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle))
    assert spectrum.argmax() == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(8000 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("form", get_args(Format))
def test_half_a_second_of_sound_leaves_bytes(form: Format) -> None:
    encoder = Encoder(form, RATE)
    early = encoder.push(TONE[: RATE // 2])
    rest = encoder.push(TONE[RATE // 2 : RATE]) + encoder.finish()
    assert len(early) > (len(early) + len(rest)) / 4


@pytest.mark.parametrize("form", get_args(Format))
def test_of_nothing_nothing_is_heard(form: Format) -> None:
    encoder = Encoder(form, RATE)
    data = encoder.push(TONE[:0]) + encoder.push(TONE[:480]) + encoder.push(TONE[:0])
    assert len(read(data + encoder.finish(), form)) < 0.15 * RATE
    Encoder(form, RATE).finish()
