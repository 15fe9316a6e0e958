"""All tools of a conversation: one place to call them, and results that a model can use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from pipeline.engines.tools import Tool
from pipeline.errors import BadInput, CascadeError, one_line
from pipeline.events import ToolCall

log = logging.getLogger(__name__)

RESULT_CHARS = 1500
"""Longest result that the model gets: what a person would listen to is a tenth of it, and a small
model reads it in half a second. The history keeps no more of any result, be it a client's."""

ASIDE_CHARS = 50_000
"""A longer result is shortened in a thread: to read a megabyte of JSON takes 10 ms."""

CANCEL = Tool(
    "cancel_running_tools",
    "Stop all tool calls that are still running, because the user does not want them any more.",
)
"""What a model calls when the user wants that: the session does it. Offered to the model beside the
tools of a toolbox."""

Approve = Callable[[Tool, Mapping[str, Any]], Awaitable[bool]]
"""Asks whether a tool that is not `approved` may be called with these arguments."""


class ToolFailed(CascadeError):
    """A tool gave no result; the message is for the model, which tells the user."""


class ToolSource(Protocol):
    """Tools, and what runs them. An async context manager: inside it they can be called."""

    async def __aenter__(self) -> Self:
        """Make ready.

        Raises:
            CascadeError: It cannot be made ready; the message says why.
        """
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, promptly and completely; what still runs is cancelled."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """What may be called just now; it may change while it is entered."""
        ...

    def watch(self, tell: Callable[[], None]) -> None:
        """Tell whenever `tools` change."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run a tool, and give its whole result as text.

        Args:
            name: One of `tools`.
            arguments: As the model wrote them; not checked yet.

        Raises:
            ToolFailed: It has no result.
        """
        ...


class ToolResult(NamedTuple):
    """What a call gave.

    Attributes:
        text: For the model: short, and an `Error: …` where it failed.
        whole: All of it, for the log; of what failed, where.
    """

    text: str
    whole: str


class Toolbox:
    """The tools of several sources, called by name. An async context manager.

    Whatever a call does, there is a result within the tool's time: calls run side by side, and what
    raises, hangs or gives too much is told to the model in words.

        async with Toolbox([FunctionTools([Path("weather.py")])]) as toolbox:
            result = await toolbox.call("weather", '{"city": "Rome"}')
    """

    def __init__(self, sources: Sequence[ToolSource], approve: Approve | None = None) -> None:
        """Prepare.

        Args:
            sources: Where the tools are; entered and left with the toolbox.
            approve: Asked before a tool is called that is not `approved`; None: such a call fails.
                What it takes is no part of the tool's time.
        """
        self._sources = sources
        self._approve = approve
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Make all sources ready.

        Raises:
            BadInput: Two tools have the same name, or one that of `CANCEL`.
            CascadeError: A source cannot be made ready.
        """
        async with contextlib.AsyncExitStack() as stack:
            for source in self._sources:
                await stack.enter_async_context(source)
            names = [tool.name for source in self._sources for tool in source.tools]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise BadInput(f"two tools are called {twice[0]}; rename one, or leave one out")
            if CANCEL.name in names:  # the session would take a call of it for that of its own
                raise BadInput(f"a tool is called {CANCEL.name}, as Cascade's own; rename it")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave all sources; what still runs is cancelled."""
        await self._stack.aclose()

    @property
    def tools(self) -> Sequence[Tool]:
        """What may be called just now; of two of the same name, the first."""
        return [tool for _, tool in self._named().values()]

    def watch(self, tell: Callable[[], None]) -> None:
        """Tell when other tools may be called."""
        for source in self._sources:
            source.watch(tell)

    async def call(self, name: str, arguments: str) -> ToolResult:
        """Run a tool; several calls may run at a time, and cancelling one stops it.

        Args:
            name: Whatever the model wrote.
            arguments: JSON text of an object, or what the model took for that.
        """
        try:
            whole = await self._run(name, arguments)
        except ToolFailed as error:
            told = f"Error: {error}"
            log.warning("tool %s: %s", one_line(name, 64), one_line(str(error)))
            cause = error.__cause__
            return ToolResult(
                shortened(told),
                told if cause is None else "".join(traceback.format_exception(cause)),
            )
        if len(whole) > ASIDE_CHARS:
            return ToolResult(await asyncio.to_thread(shortened, whole), whole)
        return ToolResult(shortened(whole), whole)

    async def answer(self, call: ToolCall) -> str:
        """Run what a session asks for; gives the result for `Session.tool_result`."""
        return (await self.call(call.name, call.arguments)).text

    async def _run(self, name: str, arguments: str) -> str:
        """The whole result.

        Raises:
            ToolFailed: There is none.
        """
        named = self._named()
        if name not in named:
            raise ToolFailed(
                f"there is no tool {one_line(name, 64)!r}; there is {', '.join(named)}"
            )
        source, tool = named[name]
        try:
            given = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise ToolFailed(f"the arguments are no JSON: {error}") from None
        if not isinstance(given, dict):
            raise ToolFailed('the arguments have to be a JSON object, such as {"name": "value"}')
        if not tool.approved and not (self._approve and await self._approve(tool, given)):
            raise ToolFailed("the user has not allowed this call")
        try:
            async with asyncio.timeout(tool.timeout_s) as limit:
                return await source.call(name, given)
        except TimeoutError:
            if not limit.expired():
                raise ToolFailed("a time-out within it") from None
            raise ToolFailed(f"it took longer than {tool.timeout_s:g} s and was given up") from None
        except ToolFailed:
            raise
        except Exception as error:  # a source's own defect ends no conversation
            log.debug("tool %s", name, exc_info=True)
            raise ToolFailed(f"{type(error).__name__}: {one_line(str(error))}") from error

    def _named(self) -> dict[str, tuple[ToolSource, Tool]]:
        found: dict[str, tuple[ToolSource, Tool]] = {}
        for source in self._sources:
            for tool in source.tools:
                found.setdefault(tool.name, (source, tool))
        return found


def shortened(text: str, chars: int = RESULT_CHARS) -> str:
    """A result of at most so many characters, of which a model can still make sense. Pure.

    JSON stays JSON: long lists and texts in it are cut, and say what is left out. Other text is cut
    at the end of a line, a sentence or a word. Binary data is only named.
    """
    text = text.strip()
    if text.startswith("data:") and ";base64," in text[:100]:
        kind, _, data = text.removeprefix("data:").partition(";base64,")
        size = len(data) * 3 // 4 - data[-2:].count("=")
        return f"({kind}, {size} bytes; it cannot be read aloud)"
    if len(text) <= chars:
        return text
    if text[0] in "[{":
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(text)
            for items, letters in _CUTS:
                short = json.dumps(_pruned(value, items, letters), ensure_ascii=False)
                if len(short) <= chars:
                    return short
    return cut(text, chars)


def cut(text: str, chars: int) -> str:
    """The beginning of a text, with a note that the rest was cut off. Pure.

    It ends where a line, a sentence or a word does, if one does in its last third. A text that has
    the note already keeps its count of what there was.

    Args:
        text: Longer than that.
        chars: So many in all, the note included, which itself is never cut.
    """
    had = re.search(r"\n\[cut off here: (\d+) characters in all\]$", text)
    note = f"\n[cut off here: {had[1] if had else len(text)} characters in all]"
    kept = text[: max(0, chars - len(note))]
    for mark in ("\n", ". ", " "):
        place = kept.rfind(mark)
        if place >= len(kept) * 2 // 3:
            kept = kept[: place + len(mark)].rstrip()
            break
    return kept + note


_CUTS = ((40, 400), (20, 200), (10, 200), (10, 100), (5, 80), (3, 60), (2, 40), (1, 20))
"""How many members of each list or object are kept, and how many characters of each text: less and
less, until all of it fits."""

_DEEPEST = 6
"""What is nested deeper is left out."""


def _pruned(value: Any, items: int, letters: int, depth: int = 0) -> Any:
    """JSON with at most so many members in each list and object, and letters in each text."""
    if isinstance(value, str):
        return value if len(value) <= letters else value[:letters].rstrip() + "…"
    if not isinstance(value, list | dict):
        return value
    if depth == _DEEPEST and value:
        return "…"
    rest = len(value) - items
    if isinstance(value, list):
        short = [_pruned(one, items, letters, depth + 1) for one in value[:items]]
        return [*short, f"… and {rest} more"] if rest > 0 else short
    first = list(value.items())[:items]
    found = {key[:letters]: _pruned(one, items, letters, depth + 1) for key, one in first}
    return {**found, "…": f"and {rest} more"} if rest > 0 else found
