"""What a session with an API is told before it begins, and what it tells of itself after that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.conversation.history import Message
from pipeline.engines.tools import Tool
from pipeline.session import Session


@dataclass(frozen=True, slots=True)
class Brief:
    """What a conversation is about; the same for every system of a comparison.

    Attributes:
        instructions: The system prompt.
        tools: What the model may call.
        language: Code of what is spoken, such as `en`; empty: not known.
    """

    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a session found at the other end.

    Attributes:
        model: Which model answers, as the server says.
        host: Where (host and port), without anything secret.
        connect_ms: How long it took until it was ready to hear.
        simulated: None for a real API. Else this was one of our own servers that replay a script,
            and these are its parameters with the published source they came from.
        duplex: It has no turns of its own: it listens and speaks at once.
    """

    model: str
    host: str
    connect_ms: float
    simulated: Mapping[str, Any] | None = None
    duplex: bool = False


class SpeechToSpeech(Session, Protocol):
    """A `Session` that is a speech-to-speech API."""

    @property
    def facts(self) -> Facts | None:
        """What was found at the other end; None before the session is entered."""
        ...

    @property
    def history(self) -> list[Message]:
        """What the model remembers so far, as far as is known: a reply as it was truncated."""
        ...

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and made again, with the conversation going on."""
        ...

    async def commit(self) -> None:
        """Say that the user's turn is over; only where `turns=manual` was asked for.

        Raises:
            CascadeError: The session ends turns itself.
        """
        ...


STAMP = "SIMULATED"
"""What is written on everything that a simulated server has a part in."""


def parameters(stamped: object) -> Mapping[str, Any]:
    """What a simulated server says of itself; never empty: what is stamped is simulated."""
    return dict(stamped) if isinstance(stamped, dict) and stamped else {"name": "unknown"}
