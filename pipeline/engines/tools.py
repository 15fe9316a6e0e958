"""What a chat model is asked with: tools that it may call, and prompts that bring them. Pure.

A model whose chat template shows it no tools is told of them in words (`in_words`). They are
described in the system prompt, calls and results stand in the text as the models do it that were
trained to (the form of Hermes 2 Pro, which Qwen took over), and the model's own calls are read out
of its text (`text.visible`). The description stands behind the instructions, so that what a server
has read of them stays good.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.text.written_calls import Offered

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


# in words

ANSWER = "You have the result of that call already. Answer in words, with that result."

_HEAD = "# Tools\nYou can use these tools:"

_HOW = (
    "Where one fits what the user asks for, write nothing but a call of it, in this form:\n"
    "{example}\n"
    "Where none fits, answer in words."
)
"""Results are not spoken of: models write the last mark that they read of."""

_AGAIN = "(If a tool fits this, write nothing but its call. If none does, answer in words.)"
"""Stands behind what the user says, from the second turn on. Small models forget what is said of
tools so far back: Qwen2.5-Coder 1.5B called in 2 of 10 second turns without, in 7 with it."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def in_words(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    *,
    reminds: bool = True,
) -> list[dict[str, Any]]:
    """Messages as a model reads them whose template knows neither tools, nor calls, nor results.

    Results become the user's words, for templates insist on user and assistant in turn.

    Args:
        messages: As the chat API takes them.
        tools: As a request has them in `tools`.
        reminds: Whether they are called to mind behind what the user says last; not where it is
            asked whether that is over.
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        plain = {key: value for key, value in message.items() if not key.startswith("tool_call")}
        if calls := message.get("tool_calls"):
            written = [_call(use["function"]) for use in calls]
            plain["content"] = "\n".join(filter(None, [message.get("content"), *written]))
        if message["role"] == "tool":
            result = f"<tool_response>{message['content']}</tool_response>"
            plain = {"role": "user", "content": result}
            if found and found[-1]["role"] == "user" and isinstance(found[-1]["content"], str):
                plain["content"] = f"{found.pop()['content']}\n{result}"
        found.append(plain)
    if not tools:
        return found
    if reminds and any(each["role"] == "assistant" for each in messages):
        last = messages[-1]
        if last["role"] == "user" and isinstance(last["content"], str):
            found[-1] = {**found[-1], "content": f"{found[-1]['content']}\n{_AGAIN}"}
    if not found or found[0]["role"] != "system":
        found.insert(0, {"role": "system", "content": ""})
    functions = [tool["function"] for tool in tools]
    first = functions[0]
    example = _call({"name": first["name"], "arguments": json.dumps(_example(first["parameters"]))})
    described = "\n".join(json.dumps(function, ensure_ascii=False) for function in functions)
    text = "\n".join([_HEAD, described, _HOW.format(example=example)])
    instructions = found[0]["content"]
    found[0] = {**found[0], "content": f"{instructions}\n\n{text}" if instructions else text}
    return found


def _call(function: Mapping[str, Any]) -> str:
    """A call of the chat API's, as it stands in the text."""
    arguments = function["arguments"]
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'<tool_call>{{"name": {name}, "arguments": {arguments}}}</tool_call>'


def _example(schema: Mapping[str, Any]) -> dict[str, str]:
    return dict.fromkeys(schema.get("properties") or {}, "...")


def answered(messages: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Names and arguments of the calls since the user's last words: their results are there."""
    found: set[tuple[str, str]] = set()
    for message in messages:
        if message["role"] == "user":
            found.clear()
        for use in message.get("tool_calls") or ():
            found.add((use["function"]["name"], use["function"]["arguments"]))
    return found


def call_format(offered: Offered) -> dict[str, Any]:
    """A request's `response_format` that lets the model write nothing but a call of one tool."""
    each = [_object({"name": {"const": n}, "arguments": dict(s)}) for n, s in offered.items()]
    named = {"name": "call", "schema": each[0] if len(each) == 1 else {"anyOf": each}}
    return {"type": "json_schema", "json_schema": named}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def complaint(uses: Iterable[ToolUse], offered: Offered) -> str:
    """What is wrong with calls, in words for the model; empty: nothing.

    The names are looked at, and the outer layer of the arguments: what is deeper is the tool's own
    to judge.
    """
    for use in uses:
        if use.name not in offered:
            return (
                f"There is no tool {use.name}. Call one of these, or answer in words: "
                f"{', '.join(offered)}."
            )
        schema = offered[use.name]
        try:
            given = json.loads(use.arguments or "{}")
        except (ValueError, RecursionError):
            given = None
        if not isinstance(given, dict):
            return f"The arguments of {use.name} are no JSON object."
        if missing := [name for name in schema.get("required") or () if name not in given]:
            return f"The arguments of {use.name} lack {', '.join(missing)}."
        properties = schema.get("properties") or {}
        for name, value in given.items():
            wanted = properties.get(name)
            if isinstance(wanted, dict) and (wrong := _misfit(value, wanted)):
                return f"{name} of {use.name} is {json.dumps(value)}; it has to be {wrong}."
    return ""


def _misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """What a value has to be, and is not; empty: it is, or nobody can tell."""
    values = schema.get("enum")
    if isinstance(values, list) and value not in values:
        return f"one of {json.dumps(values)}"
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, list) else []
    kinds = [kind for name in names for kind in _TYPES.get(str(name), (object,))]
    is_number = isinstance(value, float) and value.is_integer() and "integer" in names
    right = isinstance(value, tuple(kinds)) and (not isinstance(value, bool) or bool in kinds)
    return "" if not kinds or right or is_number else f"of type {' or '.join(map(str, names))}"
