"""How figures are printed: medians with their range, and aims that are met or missed.

A value that is None was not measured, and counts nowhere.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.errors import CascadeError
from pipeline.measure.stats import describe

BARS = "▁▂▃▄▅▆▇█"


def run_bench(main: Callable[[], object]) -> None:
    """Run a bench to its end, or say what is wrong with what it was given, and exit."""
    try:
        work = main()
        if inspect.iscoroutine(work):
            asyncio.run(work)
    except CascadeError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def show_machine() -> None:
    """Two lines: which machine, and how busy it is."""
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"load before: {', '.join(f'{x:.2f}' for x in os.getloadavg())}")


def show(name: str, values: Iterable[float | None], unit: str, *, every: bool = False) -> None:
    """One line: median, and the range of all values.

    With `every` a second one: the 90th percentile, and all values in order of size.
    """
    if not (known := sorted(measured(values))):
        print(f"  {name:<44} nothing measured")
        return
    print(
        f"  {name:<44} {statistics.median(known):9.2f} {unit}   "
        f"({known[0]:.2f} to {known[-1]:.2f}, n = {len(known)})"
    )
    if every:
        print(f"      p90 {p90(known):.0f}; all: {' '.join(f'{value:.0f}' for value in known)}")


def curve(name: str, values: Sequence[float | None], unit: str) -> None:
    """Two lines: how values went in the course of a run, and the median of each tenth of it."""
    tenths = [
        median(values[len(values) * n // 10 : max(len(values) * (n + 1) // 10, n and 1)])
        for n in range(10)
    ]
    known = measured(tenths)
    top = max(known, default=0.0) or 1.0
    bars = "".join(" " if v is None else BARS[round(v / top * (len(BARS) - 1))] for v in tenths)
    told = " ".join("-" if v is None else f"{v:.4g}" for v in tenths)
    print(f"  {name:<44} {bars}   {unit}, medians of tenths, from 0")
    print(f"      {told}")


def measured(values: Iterable[float | None]) -> list[float]:
    """Those that were measured."""
    return [value for value in values if value is not None]


def median(values: Iterable[float | None]) -> float | None:
    """The median, or None of nothing."""
    known = measured(values)
    return statistics.median(known) if known else None


def p90(values: Iterable[float | None]) -> float | None:
    """The 90th percentile, as a profile has it, or None of nothing."""
    found = describe(measured(values))
    return None if found is None else found["p90"]


@dataclass
class Aims:
    """What was aimed at, and whether it was reached; printed at the end of a run."""

    lines: list[str] = field(default_factory=list)

    def most(self, name: str, value: float | None, limit: float, unit: str = "") -> None:
        """An aim that is met by `limit` or less; None was not measured, which misses it."""
        met = value is not None and value <= limit
        got = "not measured" if value is None else f"{value:.2f}{unit and ' '}{unit}"
        what = f"at most {limit:g}{unit and ' '}{unit}"
        self.lines.append(f"  {'met   ' if met else 'MISSED'}  {name}: {got}, aim {what}")

    def show(self) -> None:
        """Print them all."""
        print("aims")
        print("\n".join(self.lines) or "  none measured")
