"""Writes the events of one connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.serve.refused import RequestRefused
from pipeline.serve.session_object import JsonObject

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
