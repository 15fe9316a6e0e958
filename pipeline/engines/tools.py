"""Tools that a model may call: what every session is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may ask for; the driver runs it (`events.ToolCall`).

    Attributes:
        name: What the model calls it.
        description: When to call it, in words for the model.
        parameters: JSON Schema of its arguments, an object.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )


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
