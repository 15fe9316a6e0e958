"""An event loop in which waiting takes no time, so that a minute of dialogue runs in milliseconds.

Timers fire in order, at their times on the loop's own clock, which jumps ahead whenever every task
waits. For tests without threads and sockets.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

import pytest

from pipeline.clock import NS_PER_S, Clock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
P = ParamSpec("P")


class _Jumping(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("every task waits for something that nobody will do")
        self.now += max(0.0, timeout)
        # The loop's own pipe is always there; nothing comes through it that the loop does not know.
        return super().select(0) if len(self.get_map()) > 1 else []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time` is virtual, from 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def sleep_through(self, seconds: float) -> None:
        """Pass so much time in which nothing runs."""
        self._jumping.now += seconds

    def run_in_executor(
        self, executor: object, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Do it now: what a thread does takes no time either."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


class VirtualClock(Clock):
    """The running loop's time."""

    def now_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * 1e9)

    async def sleep_until(self, t_ns: int) -> None:
        await asyncio.sleep(max(0.0, (t_ns - self.now_ns()) / 1e9))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in virtual time, the monotonic clock too; an error if it waits for ever."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, pytest.MonkeyPatch.context() as patch:
        loop = runner.get_loop()
        patch.setattr(time, "monotonic_ns", lambda: round(loop.time() * NS_PER_S))
        return runner.run(work)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Have a test that measures time `run` like that: exactly, at once, and beside any others."""

    @functools.wraps(test)
    def tested(*args: P.args, **more: P.kwargs) -> None:
        run(test(*args, **more))

    return tested
