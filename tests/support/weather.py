"""The tool of all applications in `foreign_clients`; `speech-to-speech talk` takes the module."""

from __future__ import annotations

from typing import Any

RESULT = "rain, 12 degrees"
"""What it always gives."""

TOOL: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}

TOOLS = [TOOL]


async def execute_tool(name: str, arguments: dict[str, Any]) -> str:
    assert (name, list(arguments)) == ("weather", ["city"])
    return RESULT
