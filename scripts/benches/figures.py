"""How figures are printed: medians with their range, and aims that are met or missed."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


def show_machine() -> None:
    """Two lines: which machine, and how busy it is."""
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"load before: {', '.join(f'{x:.2f}' for x in os.getloadavg())}")


def show(name: str, values: Sequence[float], unit: str) -> None:
    """One line: median, and the range of all values."""
    if not values:
        print(f"  {name:<44} nothing measured")
        return
    middle = statistics.median(values)
    print(
        f"  {name:<44} {middle:9.2f} {unit}   ({min(values):.2f} to {max(values):.2f}, "
        f"n = {len(values)})"
    )


def show_all(name: str, values: Sequence[float], unit: str) -> None:
    """As `show`, and below it the 90th percentile and every value, in order of size."""
    show(name, values, unit)
    if values:
        print(
            f"      p90 {quantile(values, 0.9):.0f}; all: {' '.join(map(_short, sorted(values)))}"
        )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _short(value: float) -> str:
    return f"{value:.0f}"


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


def median(values: Sequence[float]) -> float | None:
    """The median, or None of nothing."""
    return statistics.median(values) if values else None
