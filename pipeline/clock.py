"""The one clock: monotonic, integer nanoseconds.

Everything that is timed is timed by a `Clock` or by `time.monotonic_ns`, which is the same thing.
Wall-clock time jumps and appears nowhere.
"""

from __future__ import annotations

import asyncio
import time

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Clock:
    """Real time."""

    def now_ns(self) -> int:
        """The time now (ns); comparable with `time.monotonic_ns`."""
        return time.monotonic_ns()

    async def sleep_until(self, t_ns: int) -> None:
        """Return when the clock shows `t_ns` or more; at once if it does already."""
        while (left := t_ns - self.now_ns()) > 0:
            await asyncio.sleep(left / NS_PER_S)


class FastClock(Clock):
    """Real time that can be put forward where there is nothing to do but wait (`--fast`).

    Between two skips it runs at the pace of real time, so that what a stage takes is measured
    honestly.
    """

    def __init__(self) -> None:
        self._skipped_ns = 0
        self._moved = asyncio.Event()

    @property
    def skipped_ns(self) -> int:
        """How far it is ahead of real time (ns)."""
        return self._skipped_ns

    def now_ns(self) -> int:
        """The time now (ns): monotonic time and what was skipped."""
        return time.monotonic_ns() + self._skipped_ns

    def skip_to(self, t_ns: int) -> None:
        """Put the clock forward to `t_ns`; never back."""
        ahead = t_ns - self.now_ns()
        if ahead > 0:
            self._skipped_ns += ahead
            self._moved.set()
            self._moved = asyncio.Event()

    async def sleep_until(self, t_ns: int) -> None:
        """Return when the clock shows `t_ns` or more, be it by waiting or by a skip."""
        while (left := t_ns - self.now_ns()) > 0:
            try:
                async with asyncio.timeout(left / NS_PER_S):
                    await self._moved.wait()
            except TimeoutError:
                continue
