"""How steady the machine is: a fixed piece of work, timed again and again between the turns.

If the same work takes 5 % longer at one time than at another, a difference of 5 % between two
variants says nothing.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 8
"""Timings of one calibration. The fastest counts: how fast the machine is then, and not whether
another program got in the way, which is different each time and shows in the turns' own spread."""

_STEPS = 60_000
_ARRAY = np.linspace(0.1, 1.0, 100_000, dtype=np.float32)
_FREQUENCIES = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of the machine at one moment.

    Attributes:
        loop_ns: What the calibration loop took.
        load: Load average of the last minute; None where the system has none.
        mhz: Mean frequency of the cores; None where it cannot be read.
    """

    loop_ns: int
    load: float | None
    mhz: float | None


@dataclass
class Noise:
    """Readings of a whole run: before the first turn, between turns, and after the last."""

    readings: list[Reading] = field(default_factory=list)

    def look(self) -> None:
        """Take a reading. Blocks for some 30 ms, so not while anything is timed."""
        self.readings.append(Reading(loop_ns(), load(), mhz()))

    def summary(self) -> dict[str, Any]:
        """For a profile's header (see `summarise`)."""
        return summarise(self.readings)


def summarise(readings: Sequence[Reading]) -> dict[str, Any]:
    """What readings say, in the order in which they were made.

    Returns:
        `loop_ms`: `before`, `after`, `median`, `min`, `max`; `relative`: by what share of its
        median the loop varied, as half the distance from the 10th to the 90th percentile; `drift`:
        how much slower it was at the end than at the beginning, as a share; `readings`: their
        number; `load` and `mhz`: `before`, `after`, `max`, `min`, or None where unknown.
    """
    if not readings:
        return {}
    loops = [reading.loop_ns / 1e6 for reading in readings]
    middle = statistics.median(loops)
    low, high = (float(np.percentile(loops, q)) for q in (10, 90))
    return {
        "readings": len(readings),
        "loop_ms": {**(_ends(loops) or {}), "median": round(middle, 4)},
        "relative": round((high - low) / 2 / middle, 5),
        "drift": round(loops[-1] / loops[0] - 1, 5),
        "load": _ends([r.load for r in readings if r.load is not None]),
        "mhz": _ends([r.mhz for r in readings if r.mhz is not None]),
    }


def loop_ns() -> int:
    """How long the fixed work takes now (ns): arithmetic in Python and in numpy, on one core."""
    return min(_timed() for _ in range(ROUNDS))


def load() -> float | None:
    """Load average of the last minute."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):  # Windows has none
        return None


def mhz() -> float | None:
    """Mean frequency of the cores now (MHz), where Linux tells it."""
    values = []
    for file in _FREQUENCIES.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"):
        try:
            values.append(int(file.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    if not values:
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            values = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
        except (OSError, ValueError, IndexError):
            return None
    return round(statistics.fmean(values), 1) if values else None


def _timed() -> int:
    began = time.perf_counter_ns()
    total = 1
    for step in range(_STEPS):
        total = (total * 31 + step) % 1_000_003
    # Elementwise, for BLAS would spread it over all cores.
    float(np.sqrt(_ARRAY * _ARRAY + total).sum())
    return time.perf_counter_ns() - began


def _ends(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    named = {"before": values[0], "after": values[-1], "min": min(values), "max": max(values)}
    return {name: round(value, 4) for name, value in named.items()}
