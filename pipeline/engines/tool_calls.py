"""Tool calls as chat servers stream them, put together. Pure.

The OpenAI API sends the id and the name of a call first, then its arguments in pieces, all under
the call's index. Others send whole calls in one piece, leave out index or id, use one index for
all, repeat id and name with every piece, or make up a new id for each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pipeline.engines.tools import ToolUse


@dataclass(frozen=True, slots=True)
class Part:
    """What one entry of a chunk's `tool_calls` brings; empty where it brings nothing.

    Attributes:
        index: Of the call among those of the reply; None: not told.
        id: Of the call.
        name: Of the tool.
        arguments: More of their text.
    """

    index: int | None
    id: str
    name: str
    arguments: str


def parts(entries: Any) -> list[Part]:
    """Read a chunk's `tool_calls`, which the client builds from any JSON without looking.

    Raises:
        AttributeError, TypeError: They have not the shape of that.
    """
    return [_part(entry) for entry in entries or ()]


class Assembly:
    """The calls of one reply; `push` the parts in order."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int | None, _Call] = {}

    def push(self, part: Part) -> None:
        """Take the next part."""
        call = self._at.get(part.index) if part.index is not None else self._last()
        if call is None or _begins(part, call):
            call = _Call(part.id, part.name)
            self._calls.append(call)
        else:
            call.id = call.id or part.id
            # A name in pieces is told apart from one that is repeated.
            if part.name and part.name != call.name:
                call.name += part.name
        call.arguments += part.arguments
        self._at[part.index] = call

    @property
    def uses(self) -> tuple[ToolUse, ...]:
        """The calls so far, in order. Without a name there is none. Ids may be empty, or alike."""
        return tuple(ToolUse(c.id, c.name, c.arguments) for c in self._calls if c.name)

    @property
    def whole(self) -> bool:
        """Whether the last call's arguments are no beginning of something longer."""
        return not self._calls or _complete(self._calls[-1].arguments)

    def _last(self) -> _Call | None:
        return self._calls[-1] if self._calls else None


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: str = ""


def _begins(part: Part, call: _Call) -> bool:
    """Whether a part begins a new call, and does not go on with this one of the same index.

    What brings no name never does, whatever its id. A name under another id does; under no id, if
    the call before it is complete, or could be, since nothing told its index.
    """
    if not part.name or not call.name:
        return False
    if part.id and call.id:
        return part.id != call.id
    return _complete(call.arguments) or (part.index is None and not call.arguments)


def _complete(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True


def _part(entry: Any) -> Part:
    function = entry.function
    index = entry.index
    return Part(
        index if isinstance(index, int) else None,
        _text(entry.id),
        _text(getattr(function, "name", None)),
        _arguments(getattr(function, "arguments", None)),
    )


def _arguments(given: object) -> str:
    """The text of arguments; some servers send the object itself."""
    return json.dumps(given) if isinstance(given, dict) else _text(given)


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""
