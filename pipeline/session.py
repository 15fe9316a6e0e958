"""The one seam: what talk, profile and compare drive.

The cascade and every speech-to-speech API are sessions: audio frames go in, events come out, and
the driver reports what was really heard.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, TypeVarTuple

from pipeline.events import Event, Frame

Found = TypeVar("Found")
Args = TypeVarTuple("Args")


class Session(Protocol):
    """A conversation partner that hears and speaks.

    Entering it makes it ready to listen (models loaded and warm, connections open); leaving it
    stops everything it does. One task sends, one reads `events`; both may be the same, for `send`
    never waits until somebody reads.
    """

    async def __aenter__(self) -> Self:
        """Make ready.

        Raises:
            CascadeError: It cannot be made ready; the message says why.
        """
        ...

    async def send(self, frame: Frame) -> None:
        """Take the next piece of the microphone; they arrive in order, with no gaps."""
        ...

    def events(self) -> AsyncIterator[Event]:
        """What happens, in order, until the session is left or fails for good."""
        ...

    async def heard(self, reply_id: str, samples: int) -> None:
        """Say how much of a reply has been played (samples at the rate of its frames).

        Drivers report it every 100 ms or so while a reply plays: it paces what is made ahead, and
        after an interruption decides what the history keeps.
        """
        ...

    async def tool_result(self, call_id: str, output: str) -> None:
        """Answer a `ToolCall`.

        Raises:
            CascadeError: No such call is open.
        """
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, promptly and completely."""
        ...


class EventQueue:
    """Events on their way from a session to whoever reads them, in order.

    Telling never waits, so that one task can both send and read. What comes from a server waits
    for `room` instead, at the connection: nobody knows how much that will be.

    Args:
        ahead: So many may wait before there is no room.
    """

    def __init__(self, ahead: int = 4096) -> None:
        self._ahead = ahead
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._read = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._events)

    def tell(self, *events: Event) -> None:
        """Add events; after the end nothing is added."""
        if not self._closed:
            self._events.extend(events)
            self._changed.set()

    def end(self, *events: Event) -> None:
        """Add the last events: who reads gets all that wait, and then the end."""
        self.tell(*events)
        self._closed = True
        self._changed.set()
        self._read.set()

    async def room(self) -> None:
        """Wait until fewer than `ahead` wait, or the end."""
        while len(self._events) >= self._ahead and not self._closed:
            self._read.clear()
            await self._read.wait()

    async def read(self) -> AsyncGenerator[Event, None]:
        """Yield the events to their end; for one reader at a time."""
        while True:
            while self._events:
                event = self._events.popleft()
                self._read.set()
                yield event
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()


class Inbox:
    """All that happens to a session, one thing after the other, and the work that finds it out.

    An act is a plain function, and only acts change what the session knows: while one is done,
    nothing else is. Work is a coroutine that computes and changes nothing; what it has found is
    brought in by an act. So decisions are made in order, and each sees all those before it.

    Leaving it (an async context manager) cancels all work. Work that fails ends the session.
    """

    def __init__(self) -> None:
        self._acts: deque[Callable[[], None]] = deque()
        self._acting = False
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Take work from now on."""
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel the work, and wait until it has stopped."""
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(exc_type, exc, traceback)

    def put(self, act: Callable[[*Args], None], *args: *Args) -> None:
        """Do an act: at once, or from within another act, after that.

        Raises:
            Exception: What the act raises.
        """
        if self._acting:
            self._acts.append(functools.partial(act, *args))
            return
        self._acting = True
        try:
            act(*args)
            while self._acts:
                self._acts.popleft()()
        finally:
            self._acting = False

    def start(
        self, work: Coroutine[Any, Any, Found], then: Callable[[Found], None]
    ) -> asyncio.Task[None]:
        """Begin work; the act `then` gets what it has found, unless it is cancelled."""

        async def see_through() -> None:
            self.put(then, await work)

        task = self._tasks.create_task(see_through())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # What is cancelled before its first step has begun nothing.
        task.add_done_callback(lambda _: work.close())
        return task
