"""Energy that the processor has used, where the machine tells (Linux, powercap)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of Intel's and AMD's RAPL (kernel: admin-guide/pm/powercap)."""

MICROJOULES = 1_000_000

Meter = Mapping[Path, tuple[int, int]]
"""Each package's counter, and where it begins again from 0 (microjoules)."""


def read(folder: Path = POWERCAP) -> Meter:
    """The counters of all packages now; empty where there are none, or they may not be read."""
    meter: dict[Path, tuple[int, int]] = {}
    for zone in sorted(folder.glob("intel-rapl:[0-9]")):
        try:
            spent = int((zone / "energy_uj").read_text())
            meter[zone] = (spent, int((zone / "max_energy_range_uj").read_text()))
        except (OSError, ValueError):
            continue
    return meter


def since(before: Meter, folder: Path = POWERCAP) -> float | None:
    """What was used since a reading (J), by everything on this machine; None if it is not told."""
    now = read(folder)
    if not before or now.keys() != before.keys():
        return None
    total = 0
    for zone, (spent, _) in now.items():
        earlier, limit = before[zone]
        total += spent - earlier if spent >= earlier else spent + limit - earlier
    return total / MICROJOULES
