"""Voices that are made here: vowels of a known pitch, whispers of people's recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.audio.files import read_audio
from pipeline.audio.resample import resampled
from pipeline.engines.whisper import RATE, Audio, scaled

Numbers = npt.NDArray[np.float64]

FORMANTS = ((600, 80), (1200, 90), (2500, 120))
"""Of a vowel: frequencies and bandwidths (Hz)."""


def vowel(hz: float | Sequence[float], seconds: float = 1.0, level: float = 0.1) -> Numbers:
    """A vowel at this pitch, or gliding along these pitches, as loud as that (rms)."""
    n = round(seconds * RATE)
    pitch = np.interp(np.arange(n), np.linspace(0, n, np.size(hz)), np.atleast_1d(hz))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = np.zeros(n)
    for number in range(1, int(4000 / pitch.max()) + 1):
        at = number * pitch
        heights = (1 / (1 + ((at - centre) / width) ** 2) for centre, width in FORMANTS)
        sound += np.sqrt(sum(heights)) / number * np.sin(number * phase + number)
    loud: Numbers = sound * (level / np.sqrt(np.mean(sound**2)))
    return loud


def with_noise(sound: Numbers, snr_db: float, seed: int = 1) -> Audio:
    """A sound in white noise."""
    noise = np.random.default_rng(seed).standard_normal(len(sound))
    scale = np.sqrt(np.mean(sound**2)) * 10 ** (-snr_db / 20)
    noisy: Audio = (sound + scale * noise).astype(np.float32)
    return noisy


def whispered(audio: Audio) -> Audio:
    """The same words without a pitch: every 15 ms the shape of the voice's spectrum, of noise."""
    noise = np.random.default_rng(2).standard_normal(len(audio))
    hop, length = 240, 480
    window, out = np.hanning(length), np.zeros(len(audio))
    broad = np.ones(13) / 13  # 430 Hz: formants stay, harmonics do not
    for at in range(0, len(audio) - length, hop):
        part = np.abs(np.fft.rfft(audio[at : at + length] * window))
        shape = np.sqrt(np.convolve(part**2, broad, "same"))
        made = np.fft.irfft(shape * np.fft.rfft(noise[at : at + length]) / np.sqrt(length))
        out[at : at + length] += made * window
    return out.astype(np.float32)


def played_at(audio: Audio, speed: float) -> Audio:
    """A recording played so much faster: its pitch rises by as much."""
    samples = (audio * 32767).astype(np.int16)
    return scaled(resampled(samples, round(RATE * speed), RATE))


def heard(path: Path) -> Audio:
    """A recording as the recogniser gets it."""
    return scaled(np.concatenate([*read_audio(path, RATE)]))
