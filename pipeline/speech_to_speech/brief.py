"""What is asked for, what a session with an API is told, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.conversation.history import Message
from pipeline.engines.tools import Tool
from pipeline.errors import BadInput
from pipeline.session import Session

SCRIPTED = ("simulated", "reference")
"""Kinds that are no real systems: they do what they are told to."""


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """A system, as the command line describes it.

    Attributes:
        name: What reports call it: the text as given, without keys and passwords.
        kind: `cascade`, `openai`, `openai-live`, `gemini`, `realtime` (any URL), `map`,
            `audio-llm`, or one of `SCRIPTED`.
        model: Which model to ask for; empty where the server decides. Of `map`: which map.
        url: Where, for `realtime` and `audio-llm`, and for a `map` that does not say so itself.
        options: What else was said: `turns`, `voice`, …; for the cascade settings by dotted name.
    """

    name: str
    kind: str
    model: str = ""
    url: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def given(spec: SystemSpec, known: Mapping[str, Sequence[str] | range]) -> dict[str, str]:
    """What the command line says of a system; an option without a value is not given.

    Args:
        spec: The system.
        known: The options there are: which values each can have, or which numbers; none: any text.

    Raises:
        BadInput: There is no such option, or it cannot have that value.
    """
    options = {name: value for name, value in spec.options.items() if value}
    for name in spec.options:
        if name not in known:
            raise BadInput(f"{spec.name}: no option {name!r}; there are {', '.join(known)}")
    for name, value in options.items():
        allowed, said = known[name], ""
        if isinstance(allowed, range):
            if not (value.isascii() and value.isdecimal() and int(value) in allowed):
                said = f"a number from {allowed[0]} to {allowed[-1]}"
        elif allowed and value not in allowed:
            said = f"one of {', '.join(allowed)}"
        if said:
            raise BadInput(f"{spec.name}: {name} is {said}, not {value!r}")
    return options


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
        calls: It tells which tools it calls.
    """

    model: str
    host: str
    connect_ms: float
    simulated: Mapping[str, Any] | None = None
    duplex: bool = False
    calls: bool = True


class SpeechToSpeech(Session, Protocol):
    """A `Session` that is a speech-to-speech API."""

    @property
    def facts(self) -> Facts | None:
        """What was found at the other end; None before the session is entered."""
        ...

    @property
    def history(self) -> list[Message] | None:
        """What the model remembers so far, as far as is known: a reply as it was truncated.

        None: nobody can tell.
        """
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
