"""What the model is reminded of where a client owns the conversation: the items are the history.

Nothing is kept here but where a prompt begins that has no room for all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from pipeline.config import ConversationSettings
from pipeline.conversation.history import (
    NOTHING,
    RETENTION,
    RUNNING,
    Message,
    changed_to,
    clean,
    joined,
    oldest,
    room,
    shortened,
    wire,
)
from pipeline.engines.prosody import EXPLAINED
from pipeline.engines.tokens import TokenGauge, tool_chars
from pipeline.engines.tools import Prompt, Tool, ToolUse
from pipeline.serve.items import KeptItem
from pipeline.serve.protocol import ServerSide
from pipeline.serve.remote_tools import RemoteTools
from pipeline.serve.responses import RealtimeResponse, settings
from pipeline.serve.session_object import JsonObject, prompt_pictures
from pipeline.tools.toolbox import RESULT_CHARS, cut

SILENCE = "(The user says nothing.)"
"""Stands for the silence that a model is asked to break."""


class Remembered:
    """A `Memory` whose messages are the items of a client's conversation.

    Args:
        side: Has the items, and the session's settings.
        limits: How large a prompt may be, and whether it tells how something was said.
        gauge: Tells how many tokens there are, and how many the model takes.
        language: Code of what a conversation begins in; where it changes the model is told so.
        remote: Has the tools of MCP servers; None: there are none.
    """

    def __init__(
        self,
        side: ServerSide,
        limits: ConversationSettings,
        gauge: TokenGauge,
        language: str = "",
        remote: RemoteTools | None = None,
    ) -> None:
        self._side = side
        self._language = language
        self._remote = remote
        self._limit = limits.budget_tokens
        self._gauge = gauge
        self._explained = EXPLAINED if limits.prosody else ""
        self._first: KeptItem | None = None

    @property
    def history(self) -> list[Message]:
        """Everything said and heard, in order."""
        return [message for _, message in messages(self._side.items.kept, self._language)]

    @property
    def unanswered(self) -> bool:
        """Whether the user spoke last, or a tool."""
        last = next((m for m in reversed(self.history) if m.content or not m.pictures), None)
        return last is not None and last.role in ("user", "tool") and last.content != RUNNING

    def add(
        self,
        role: Literal["user", "assistant"],
        content: str,
        turn: int,
        note: str = "",
        language: str = "",
    ) -> None:
        """Keep how words were spoken: who tells the client what was said has them in an item."""
        if note:
            spoken = (item for item in reversed(self._side.items.kept) if _text(item) == content)
            for item in spoken:
                item.note = note
                break

    def show(self, url: str, turn: int) -> None:
        """Nothing: a client shows pictures in items."""

    def settle(self, turn: int, heard: str, *, part: int = 0, cuts: Sequence[int] = ()) -> None:
        """Nothing: likewise. Unless it is cut short, all of a reply counts."""

    def prompt(
        self, *, said: str = "", note: str = "", language: str = "", reserve_tokens: int = 0
    ) -> Prompt:
        """What the model is asked with to go on with the conversation (see `Memory.prompt`)."""
        kept = self._side.items.kept
        if self._side.session.get("truncation") == "disabled":
            self._first = None
        start = kept.index(self._first) if self._first in kept else 0
        found = messages(kept[start:], self._language)
        before = next((i.language for i in reversed(kept) if i.language), self._language)
        answer_in = changed_to(language, before)
        now = [Message("user", said, 0, note=note, answer_in=answer_in)] if said else []
        asked = self._settings
        drop = self._excess([message for _, message in found] + now, asked, reserve_tokens)
        if drop:
            self._first = found[drop][0] if drop < len(found) else None
        return self._asked(asked, [message for _, message in found[drop:]] + now, reserve_tokens)

    def prompt_for(self, response: RealtimeResponse) -> Prompt:
        """What the model is asked with for a response of its own settings, and its own input."""
        if response.given is None and response.settings == self._settings:
            return self.prompt()
        found = [message for _, message in messages(response.read, self._language)]
        asked = response.settings | {"in_band": response.in_band}
        drop = self._excess(found, asked, 0)
        return self._asked(asked, found[drop:], 0)

    @property
    def _settings(self) -> JsonObject:
        """What the model is told besides; a transcriber tells it nothing."""
        if self._side.answers:
            return settings(self._side.session, {})
        return {"instructions": "", "tools": [], "tool_choice": "auto", "max_output_tokens": "inf"}

    def _excess(self, found: list[Message], asked: JsonObject, reserve: int) -> int:
        """How many of the messages to leave out."""
        wanted = self._side.session.get("truncation")
        if wanted == "disabled":
            return 0
        most, retention = self._room(asked), RETENTION
        if isinstance(wanted, dict):
            retention = wanted["retention_ratio"]
            limit = (wanted["token_limits"] or {}).get("post_instructions")
            most = most if limit is None else min(most, limit)
        costs = [self._said([message]) for message in found]
        return oldest(found, costs, room=most, reserve=reserve, retention=retention)

    def _asked(self, asked: JsonObject, found: list[Message], reserve: int) -> Prompt:
        told = self._told(asked)
        # What the client adds of the system's, at the beginning, is joined to the instructions.
        most = self._room(asked) + self._said(told) - reserve
        found = shortened(joined([*told, *found]), most, self._gauge)
        limit = asked["max_output_tokens"]
        tools, choice = self._chosen(asked)
        return Prompt(
            map(wire, found),
            tools,
            choice=choice,
            limit=None if limit == "inf" else limit,
        )

    def _told(self, asked: JsonObject) -> list[Message]:
        """The instructions, what the notes are, and the pictures of a prompt.

        These the user shows: most chats take none from the system.
        """
        told = " ".join(filter(None, (asked["instructions"], self._explained)))
        pictures = prompt_pictures(asked)
        words = " ".join(f"(The picture {name}.)" for name, _ in pictures)
        shown = Message("user", words, 0, pictures=tuple(url for _, url in pictures))
        return [*([Message("system", told, 0)] if told else []), *([shown] if pictures else [])]

    def _room(self, asked: JsonObject) -> float:
        """Tokens that what is said may have."""
        fixed = self._said(self._told(asked)) + self._gauge.tools(tool_chars(self._tools(asked)))
        return room(self._limit, fixed, self._gauge)

    def _said(self, messages: Iterable[Message]) -> float:
        return sum(self._gauge.message(wire(message)) for message in messages)

    def _tools(self, asked: JsonObject) -> list[Tool]:
        if asked["tool_choice"] == "none":
            return []
        own = [
            Tool(tool["name"], tool.get("description") or "", tool.get("parameters") or _TAKES_NONE)
            for tool in asked["tools"]
            if tool["type"] == "function"
        ]
        return own + (self._remote.tools_for(asked) if self._remote is not None else [])

    def _chosen(self, asked: JsonObject) -> tuple[list[Tool], str | JsonObject]:
        """The tools on offer, and which of them has to be called, as the chat API says it."""
        tools, choice = self._tools(asked), asked["tool_choice"]
        match choice:
            case {"type": "mcp", "server_label": label, **more} if self._remote is not None:
                places = self._remote.places_for(asked)
                wanted = (label, more.get("name"))
                tools = [
                    tool
                    for tool in tools
                    if (place := places.get(tool.name)) and wanted in ((place[0], None), place)
                ]
                return tools, "required" if tools else "auto"
            case {"name": name}:
                return tools, {"type": "function", "function": {"name": name}}
        return tools, "auto" if choice == "none" else str(choice)


_TAKES_NONE = Tool("").parameters
"""Of a function that the client says nothing of."""


def messages(items: Iterable[KeptItem], language: str = "") -> list[tuple[KeptItem, Message]]:
    """The messages that items are, in order, each with the item that it came from.

    A call stands where its result does, for no chat takes one without the other: a result that came
    late is told late. A call without a result is running. Calls that follow each other were asked
    for at once; they are in one message where their results follow each other too.
    """
    items = list(items)
    calls = {i.about["call_id"]: i for i in items if i.about["type"] == "function_call"}
    done = {i.about["call_id"] for i in items if i.about["type"] == "function_call_output"}
    runs = itertools.groupby(items, lambda i: i.about["type"] == "function_call" or i.id)
    run_of = {item.id: number for number, (_, run) in enumerate(runs) for item in run}
    found: list[tuple[KeptItem, Message]] = []
    asking, run = 0, -1

    def tell(item: KeptItem, call: KeptItem, output: str) -> None:
        """Tell of a call, and of its result."""
        nonlocal asking, run
        about = call.about
        use = ToolUse(
            about.get("call_id") or call.id, clean(about["name"]), clean(about["arguments"])
        )
        result = item, Message("tool", output, 0, call_id=use.id)
        if run == run_of[call.id] and len(found) == asking + 1 + len(found[asking][1].calls):
            first, message = found[asking]
            found[asking] = first, replace(message, calls=(*message.calls, use))
        else:
            asking, run = len(found), run_of[call.id]
            found.append((item, Message("assistant", "", 0, (use,))))
        found.append(result)

    for item in _as_they_came(items):
        match item.about["type"]:
            case "message":
                text, pictures = _text(item), _pictures(item)
                if text or pictures:
                    answer_in = changed_to(item.language, language)
                    language = item.language or language
                    role, note = item.about["role"], item.note
                    message = Message(
                        role, text, 0, pictures=pictures, note=note, answer_in=answer_in
                    )
                    found.append((item, message))
            case "function_call" if item.about["call_id"] not in done:
                if item.about["status"] == "completed":
                    tell(item, item, RUNNING)
            case "mcp_call":
                tell(item, item, _remote_result(item))
            case "function_call_output" if item.about["call_id"] in calls:
                tell(item, calls.pop(item.about["call_id"]), _output(item.about["output"]))
    return found


def _remote_result(call: KeptItem) -> str:
    """What the model is told of a call that the server makes itself."""
    match call.about:
        case {"error": {"message": message}}:
            return _output(f"Error: {message}")
        case {"output": str(output)}:
            return _output(output)
    return RUNNING


def _output(text: str) -> str:
    output = clean(text).strip() or NOTHING
    return cut(output, RESULT_CHARS) if len(output) > RESULT_CHARS else output


def _as_they_came(items: list[KeptItem]) -> Iterator[KeptItem]:
    """The items in order, but for calls whose results came late: they stand where these came."""
    late = [item for item in items if item.late_after in items]
    for item in items:
        if item not in late:
            yield item
        yield from (call for call in late if call.late_after is item)


def _text(item: KeptItem) -> str:
    """The words of a message: those that were understood or heard, else those that it tells."""
    said = [
        item.words.get(place, part.get("text") or part.get("transcript") or "").strip()
        for place, part in enumerate(item.about["content"])
    ]
    return clean(" ".join(filter(None, said)))


def _pictures(item: KeptItem) -> tuple[str, ...]:
    shown = (
        item.seen.get(place, part["image_url"])
        for place, part in enumerate(item.about["content"])
        if part["type"] == "input_image"
    )
    return tuple(filter(None, shown))
