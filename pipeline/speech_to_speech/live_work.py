"""What a Live model gives away to be done: who does it, what is asked of us, what comes back. Pure.

Every method gives the events to be told and the messages to be sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import CascadeError
from pipeline.events import Event, Failure, ToolCall, ToolCancelled, Usage
from pipeline.speech_to_speech.duplex import Duplex
from pipeline.speech_to_speech.keys import shown

PIECE_CHARS = 1500
"""About 500 tokens: what one message to the model may hold."""

PIECES = 8
"""A client delegation's result has at most so many."""

DELEGATION = "delegation"
"""What the tool is called that stands for a delegation to us."""

NO_BACKEND = "Nothing can be looked up in this session. Answer from what you know."
"""Told silently to a model that delegates though there is nobody to work."""

Outcome = tuple[list[Event], list[Mapping[str, Any]]]
"""Events to be told, messages to be sent."""


@dataclass(slots=True)
class _Task:
    """Work that the model has given away.

    Attributes:
        turn: In which turn.
        calls: Of tools, not answered yet.
        called: Whether the backend's latest response called any.
        ended: Whether that response is complete.
    """

    turn: int
    calls: set[str] = field(default_factory=set)
    called: bool = False
    ended: bool = False


class Work:
    """The delegations of a session.

    Args:
        duplex: The conversation, which waits for what comes of them.
        tools: Whether we can do anything for the model.
    """

    def __init__(self, duplex: Duplex, *, tools: bool) -> None:
        self._duplex = duplex
        self._tools = tools
        self._tasks: dict[str, _Task] = {}
        self._calls: dict[str, str] = {}
        self._ours: set[str] = set()

    def forget(self) -> list[Event]:
        """The connection is gone, and its tasks with it; late results are dropped."""
        open_calls = [(task.turn, call) for task in self._tasks.values() for call in task.calls]
        self._tasks.clear()
        self._ours.clear()
        return [ToolCancelled(turn, call) for turn, call in sorted(open_calls)]

    def delegated(self, name: str, target: str, now_ns: int) -> Outcome:
        """The model gave away a task of that name. Of what is to be done it says nothing."""
        if target == "client" and not self._tools:
            return [], [_message("session.thinking.append", name, NO_BACKEND)]
        events = self._begin(name, now_ns)
        if target == "client":
            self._ours.add(name)
            turn = self._tasks[name].turn
            said = [m.content for m in self._duplex.history if (m.role, m.turn) == ("user", turn)]
            events.append(self._call(name, name, DELEGATION, json.dumps({"heard": " ".join(said)})))
        return events, []

    def backend(self, name: str, event: Mapping[str, Any], now_ns: int, host: str) -> Outcome:
        """What the text model does: an event of the Responses API.

        Raises:
            ValueError: It has not the shape of one.
            KeyError: Likewise.
        """
        events = self._begin(name, now_ns)
        task = self._tasks[name]
        match event:
            case {"type": "response.created"}:
                task.called = task.ended = False
            case {"type": "response.output_item.done", "item": {"type": "function_call", **item}}:
                parts = [text(item[key]) for key in ("call_id", "name", "arguments")]
                events.append(self._call(name, *parts))
            case {"type": "response.completed" | "response.incomplete", "response": response}:
                if usage := response.get("usage"):
                    events.append(_usage(task.turn, usage))
                task.ended = True
                if not task.called:
                    self._settle(name, now_ns)
                return events, self._go_on(task)
            case {"type": "response.failed" | "error"}:
                message = f"{host}: the text model failed: {_reason(event)}"
                events.append(Failure(task.turn, "direct", message, False))
                self._settle(name, now_ns)
        return events, []

    def result(self, call_id: str, output: str, now_ns: int) -> Outcome:
        """The result of a tool.

        Raises:
            CascadeError: No such call is open.
        """
        if call_id not in self._calls:
            raise CascadeError(f"no tool call {call_id!r} is open")
        name = self._calls.pop(call_id)
        task = self._tasks.get(name)
        if task is None:
            return [], []
        task.calls.discard(call_id)
        if name in self._ours:
            self._ours.discard(name)
            self._settle(name, now_ns)
            starts = range(0, min(len(output), PIECES * PIECE_CHARS) or 1, PIECE_CHARS)
            pieces = [output[at : at + PIECE_CHARS] for at in starts]
            return [], [_message("session.commentary.append", name, piece) for piece in pieces]
        item = {"type": "function_call_output", "call_id": call_id, "output": output}
        return [], [{"type": "response.item.create", "item": item}, *self._go_on(task)]

    def _begin(self, name: str, now_ns: int) -> list[Event]:
        if name in self._tasks:
            return []
        turn, events = self._duplex.delegated(name, now_ns)
        self._tasks[name] = _Task(turn)
        return events

    def _call(self, task: str, call_id: str, name: str, arguments: str) -> ToolCall:
        self._tasks[task].calls.add(call_id)
        self._tasks[task].called = True
        self._calls[call_id] = task
        return ToolCall(self._tasks[task].turn, call_id, name, arguments)

    def _go_on(self, task: _Task) -> list[Mapping[str, Any]]:
        """Let the backend go on once it has all that it asked for, and has finished asking."""
        if not (task.called and task.ended) or task.calls:
            return []
        task.called = task.ended = False
        return [{"type": "response.create"}]

    def _settle(self, name: str, now_ns: int) -> None:
        self._tasks.pop(name, None)
        self._duplex.settled(name, now_ns)


def text(value: object) -> str:
    """A value that has to be text.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, str):
        raise ValueError(f"not text: {type(value).__name__}")
    return value


def _message(kind: str, task: str, content: str) -> Mapping[str, Any]:
    return {"type": kind, "content": content, "delegation_id": task}


def _usage(turn: int, usage: Mapping[str, Any]) -> Usage:
    """The tokens of the text model's response."""
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(turn, int(usage["input_tokens"]), int(cached), int(usage["output_tokens"]))


def _reason(event: Mapping[str, Any]) -> str:
    match event:
        case {"response": {"error": {"message": str(said)}}} | {"message": str(said)}:
            return shown(said)
    return "no reason given"
