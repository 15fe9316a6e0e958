"""Sounds that are easily recognised."""

from __future__ import annotations

import numpy as np

from pipeline.events import Samples


def tone(rate: int, seconds: float, hz: float = 440, level: float = 12000) -> Samples:
    """A sine, from its first zero on."""
    return (level * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.int16)


def steady(value: int, n: int) -> Samples:
    """`n` samples that are all the same."""
    return np.full(n, value, np.int16)
