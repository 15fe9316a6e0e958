"""Sound that tests put together, and where there is sound in what they get."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.audio.audible import AUDIBLE_DBFS, onset
from pipeline.audio.files import WavWriter
from pipeline.events import Samples
from support.cli_child import read_wav


def tone(rate: int, seconds: float, hz: float = 440, level: float = 12000) -> Samples:
    """A sine, from its first zero on."""
    return (level * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


def hum(rate: int, seconds: float, hz: float = 300) -> Samples:
    """Something that is audible from its first sample to its last."""
    at = np.arange(round(rate * seconds)) / rate
    return (8000 * np.cos(2 * np.pi * hz * at)).astype(np.int16)


def silence(rate: int, seconds: float) -> Samples:
    """Nothing."""
    return np.zeros(round(rate * seconds), np.int16)


def steady(value: int, n: int) -> Samples:
    """`n` samples that are all the same."""
    return np.full(n, value, np.int16)


def in_a_row(path: Path, *recordings: Path, pause_s: float) -> Path:
    """Write recordings of one rate into one file, silence after each."""
    sounds = [read_wav(each) for each in recordings]
    [rate] = {rate for _, rate in sounds}
    with WavWriter(path, rate) as wav:
        for sound, _ in sounds:
            wav.write(np.concatenate([sound[:, 0], silence(rate, pause_s)]))
    return path


def stretches(samples: Samples, rate: int, gap_s: float) -> list[slice]:
    """Where there is sound, parted by silences of `gap_s`.

    A click just before a beginning is none, by the same rule as everywhere.
    """
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 32768 * 10 ** (AUDIBLE_DBFS / 20))
    breaks = np.flatnonzero(np.diff(loud) > gap_s * rate)
    begins = loud[np.concatenate([[0], breaks + 1])] if len(loud) else []
    ends = loud[np.concatenate([breaks, [-1]])] if len(loud) else []
    return [
        slice(int(a) + (onset(samples[a : b + 1], rate) or 0), int(b) + 1)
        for a, b in zip(begins, ends, strict=True)
    ]
