"""When a simulated server answers: what is drawn, and waiting for an instant to the millisecond."""

from __future__ import annotations

import asyncio
import math
import random

from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.simulated.script import Latency

Z95 = 1.6448536269514722
"""95 % of a normal distribution lie below so many standard deviations."""

_SPIN_NS = 2 * NS_PER_MS
"""asyncio's own timers are up to 1 ms late (epoll counts in whole ones); the rest is spun away."""

LEAST_NS = NS_PER_MS
"""No draw is shorter: a reply follows what it answers."""


class Latencies:
    """Draws latencies, the same ones for the same seed.

    Args:
        latency: The distribution.
        seed: Of the draws, such as `"1/0"`: the script's seed and the connection's number.
    """

    def __init__(self, latency: Latency, seed: str) -> None:
        self._latency = latency
        self._random = random.Random(f"latency/{seed}")

    def draw_ns(self) -> int:
        """The next one (ns), 1 ms at least."""
        latency = self._latency
        match latency.distribution:
            case "constant":
                ms = latency.median_ms
            case "uniform":
                ms = self._random.uniform(latency.low_ms, latency.high_ms)
            case "lognormal":
                sigma = math.log(latency.p95_ms / latency.median_ms) / Z95
                ms = latency.median_ms * math.exp(self._random.gauss(0, sigma))
        return max(LEAST_NS, round(ms * NS_PER_MS))


async def sleep_until(t_ns: int, clock: Clock) -> None:
    """Return when `clock` shows `t_ns`, within some 0.1 ms where the machine is idle.

    It sleeps until shortly before and then yields in a tight loop, so that it also takes turns with
    everything else that runs.
    """
    while (left := t_ns - clock.now_ns()) > 0:
        await asyncio.sleep((left - _SPIN_NS) / NS_PER_S if left > _SPIN_NS else 0)
