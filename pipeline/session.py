"""The one seam: what talk, profile, compare and serve drive.

The cascade and every speech-to-speech API are sessions: audio frames go in, events come out, and
the driver reports what was really heard.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

from pipeline.events import Event, Frame


class Session(Protocol):
    """A conversation partner that hears and speaks.

    Entering it makes it ready to listen (models loaded and warm, connections open); leaving it
    stops everything it does. One task sends, one reads `events`; both may be the same.
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
