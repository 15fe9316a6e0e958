"""Noise, white and pink, and how loud a voice is beside it.

And a recording that begins and ends at known samples: noise, which an energy detector takes for
speech.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.events import Samples

RATE = 16_000
LEAD_S, SPEECH_S, TAIL_S = 0.3, 0.8, 0.1

Floats = npt.NDArray[np.float64]


def noise(kind: str, length: int, seed: int = 1) -> Floats:
    """White or pink noise of power 1."""
    made = np.random.default_rng(seed).standard_normal(length)
    if kind == "pink":
        hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20)
        made = np.fft.irfft(np.fft.rfft(made) / np.sqrt(hertz), length)
    return np.asarray(made / np.sqrt(np.mean(made**2)))


def level(voice: Floats) -> float:
    """Root mean square where the voice sounds: within 30 dB of its loudest 20 ms."""
    frames = np.square(voice[: len(voice) // 320 * 320]).reshape(-1, 320).mean(axis=1)
    return float(np.sqrt(frames[frames > frames.max() / 1000].mean()))


def utterance(path: Path) -> Path:
    """Noise that begins and ends at known samples, with a pause inside as speech has."""
    sound = np.random.default_rng(7).integers(-9000, 9000, int(SPEECH_S * RATE)).astype(np.int16)
    sound[6000:9000] = 0
    silence: list[Samples] = [np.zeros(int(s * RATE), np.int16) for s in (LEAD_S, TAIL_S)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.concatenate([silence[0], sound, silence[1]]).tobytes())
    return path
