"""What the session of a server knows of its client: how it came, and how to speak with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

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
