"""What a chat model is asked with: tools that it may call, and prompts that bring them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Told = Literal["idle", "now", "silent"]
"""When the user hears of a result that comes after the reply has gone on: once nobody speaks, at
once, or never (the model knows it from then on)."""

IDLE_S = 1.0
"""Nobody has spoken for so long (s): time for a result that is told when `idle`. Who was asked
something in the reply before has begun to answer by then."""

NAME_CHARS = 64
"""Longest name of a function that the OpenAI API takes."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may ask for; the driver runs it (`events.ToolCall`).

    Attributes:
        name: What the model calls it.
        description: When to call it, in words for the model.
        parameters: JSON Schema of its arguments, an object.
        told: When the user hears of its result.
        timeout_s: How long it may take (s).
        approved: Whether it may be run without asking the user.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    told: Told = "idle"
    timeout_s: float = 30.0
    approved: bool = True


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What a model asks of a tool.

    Attributes:
        id: The call's name, which its result is given under.
        name: The tool's.
        arguments: JSON text, or what the model took for that.
    """

    id: str
    name: str
    arguments: str


class Prompt(list[dict[str, Any]]):
    """Messages, and how the model may answer them.

    Attributes:
        tools: May be called; empty: none.
        choice: Which of them has to be, as the chat API's `tool_choice`; `auto`: the model chooses.
        limit: Tokens of the answer; None: as many as the settings allow.
    """

    def __init__(
        self,
        messages: Iterable[dict[str, Any]],
        tools: Iterable[Tool] = (),
        *,
        choice: str | Mapping[str, Any] = "auto",
        limit: int | None = None,
    ) -> None:
        super().__init__(messages)
        self.tools = tuple(tools)
        self.choice = choice
        self.limit = limit


def tools_of(messages: object) -> list[dict[str, Any]]:
    """The tools that come with messages, as a request's `tools`; mere messages come with none."""
    if not isinstance(messages, Prompt):
        return []
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
        }
        for tool in messages.tools
    ]


def tool_call(use: ToolUse) -> Mapping[str, Any]:
    """A call, as a message of the assistant's has it in `tool_calls`.

    Servers refuse, or fail to write into their chat template, names with odd characters, and
    arguments that are no JSON object: what a model wrote amiss once must not spoil every request
    that follows.
    """
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", use.name)[:NAME_CHARS]
    function = {"name": name, "arguments": arguments(use.arguments)}
    return {"id": use.id, "type": "function", "function": function}


def arguments(text: str) -> str:
    """The arguments of a call as the JSON text of an object, whatever the model wrote."""
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        given = text.strip()
    if not given:  # nothing, in whatever form
        return "{}"
    return text if isinstance(given, dict) else json.dumps({"unreadable": text})
