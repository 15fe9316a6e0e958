"""The one seam: what talk, profile and compare drive.

The cascade and every speech-to-speech API are sessions: audio frames go in, events come out, and
the driver reports what was really heard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Protocol, Self

from pipeline.events import Event, Frame


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
        """Take the next 20 ms or so of the microphone; frames arrive in order, with no gaps."""
        ...

    def events(self) -> AsyncIterator[Event]:
        """What happens, in order, until the session is left or fails for good."""
        ...

    async def heard(self, reply_id: str, samples: int) -> None:
        """Say how much of a reply has been played (samples at the rate of its frames).

        Drivers report it every 20 ms or so while a reply plays: it paces what is made ahead, and
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
