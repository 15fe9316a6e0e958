"""A recording that begins and ends at known samples: noise, which an energy detector takes for
speech."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from pipeline.events import Samples

RATE = 16_000
LEAD_S, SPEECH_S, TAIL_S = 0.3, 0.8, 0.1


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
