"""What the session of a server knows of its client: how it came, and how to speak with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pipeline.serve.refused import RequestRefused
from pipeline.serve.session_object import JsonObject

PATH = "/v1/realtime"
SUBPROTOCOL = "realtime"

LARGEST = 22 * 1024 * 1024
"""Bytes of a message: 15 MiB of sound in base64, and what is around it."""


class Link(Protocol):
    """A client's connection, whatever carries it.

    Sending never waits: what a slow client does not take is the connection's business, which ends
    one that takes too long.
    """

    def messages(self) -> AsyncIterator[tuple[int, str | bytes]]:
        """What arrives from the client, with the time of its arrival (ns); ends with the line."""
        ...

    def send(self, message: str) -> None:
        """Send, after all that was sent before it; of what is closed nothing is sent."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what was sent, with a closing code."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client asked for when it connected.

    Attributes:
        model: The model that it named; empty: none.
        intent: What the session is for: a conversation, or only what was said, written down.
        session: Fields of the session that its key was made for, as in `session.update`.
    """

    model: str = ""
    intent: Literal["realtime", "transcription"] = "realtime"
    session: Mapping[str, Any] = field(default_factory=dict)


MOST_SENT = 7 << 17
"""Characters of what a message tells: with what is around it, it stays below the 1 MiB that clients
take."""


class Author:
    """Writes a connection's events, each with an id of its own.

    Args:
        tag: Part of every id, so that those of two connections differ.
        send: Is given each event.

    Attributes:
        send: As given.
    """

    def __init__(self, tag: str, send: Callable[[JsonObject], None]) -> None:
        self._tag = tag
        self.send = send
        self._count = 0

    def new_id(self, kind: str) -> str:
        """An id that nothing else has, such as `item_tag0001`; `kind` is its beginning."""
        self._count += 1
        return f"{kind}_{self._tag}{self._count:04}"

    def tell(self, kind: str, **fields: Any) -> None:
        """Send an event of type `kind`."""
        self.send({"type": kind, "event_id": self.new_id("event"), **fields})

    def refuse(self, refused: RequestRefused) -> None:
        """Send an error event."""
        self.tell("error", error={**refused.error, "event_id": refused.event_id})
