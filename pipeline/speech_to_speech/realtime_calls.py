"""Tool calls of a Realtime session, and the responses that are still to be asked for. Pure.

A result goes to the server once the response that made the call is over; the next response is asked
for when all calls of that one are answered, nothing else is being said, and the user is silent.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import CascadeError
from pipeline.events import ToolCall, ToolCancelled
from pipeline.speech_to_speech.realtime_book import Book, Turn
from pipeline.speech_to_speech.realtime_replies import Reply

ASK = "cascade_ask"
"""Key of a response's metadata by which our own requests are known again."""


@dataclass(slots=True)
class Response:
    """A response that the server makes.

    Attributes:
        id: The server's.
        reply: What it is part of.
        dropped: Nothing of it is wanted any more.
        over: The server has ended it.
        fillers: Items that only bridge the time until the answer.
        announced: Calls that came in full, but not yet as complete items: name and arguments by id.
        calls: Those made.
    """

    id: str
    reply: Reply
    dropped: bool = False
    over: bool = False
    fillers: set[str] = field(default_factory=set)
    announced: dict[str, tuple[str, str]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)


@dataclass(slots=True)
class Call:
    """A tool call.

    Attributes:
        id: The server's.
        response: What made it.
        output: Its result; None: there is none yet.
        sent: The server has the result.
        cancelled: The server is gone that wanted it.
    """

    id: str
    response: Response
    output: str | None = None
    sent: bool = False
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A response to be asked for, in a turn."""

    number: int
    turn: Turn


class Calls:
    """Keeps the calls, and asks for responses one at a time."""

    def __init__(self, book: Book) -> None:
        """Begin with no call."""
        self._book = book
        self._calls: dict[str, Call] = {}
        self._asks: deque[Ask] = deque()
        self._numbers = itertools.count(1)
        self.asked: Ask | None = None
        self.active: dict[str, Response] = {}
        self._refused = False

    def made(self, response: Response, call_id: str, name: str, arguments: str) -> None:
        """The model calls a tool."""
        if not call_id or call_id in self._calls:
            return
        call = self._calls[call_id] = Call(call_id, response)
        response.calls.append(call)
        self._book.out.append(ToolCall(response.reply.turn, call_id, name, arguments))

    def result(self, call_id: str, output: str) -> None:
        """A call's result.

        Raises:
            CascadeError: No such call is open.
        """
        call = self._calls.get(call_id)
        if call is None or (call.output is not None and not call.cancelled):
            raise CascadeError(f"no tool call {call_id!r} is open")
        call.output = output
        if not call.cancelled and call.response.over:
            self.deliver(call.response)

    def deliver(self, response: Response) -> None:
        """Send what results there are of an ended response's calls."""
        for call in response.calls:
            if call.output is None or call.sent or call.cancelled:
                continue
            call.sent = True
            self._book.say(
                "conversation.item.create",
                event_id=f"result-{call.id}"[:512],
                item={"type": "function_call_output", "call_id": call.id, "output": call.output},
            )
            if all(each.sent for each in response.calls):
                self.ask(self._book.turns[response.reply.turn - 1])

    def open_in(self, turn: int) -> bool:
        """Whether calls of this turn await their result, or its response is still to come."""
        waiting = any(
            call.response.reply.turn == turn and not call.sent and not call.cancelled
            for call in self._calls.values()
        )
        asks = [*self._asks, *([self.asked] if self.asked else [])]
        return waiting or any(ask.turn.number == turn for ask in asks)

    def waits_for_driver(self, turn: int) -> bool:
        """Whether it is the driver whose result of a call is awaited in this turn."""
        return any(
            call.response.reply.turn == turn and call.output is None and not call.cancelled
            for call in self._calls.values()
        )

    def ask(self, turn: Turn, *, first: bool = False) -> None:
        """Ask for a response in this turn as soon as that can be."""
        ask = Ask(next(self._numbers), turn)
        if first:
            self._asks.appendleft(ask)
        else:
            self._asks.append(ask)

    def go_on(self) -> None:
        """Ask for the next response, if nothing is in the way."""
        if self.asked or self.active or self._refused or not self._asks:
            return
        ask = self._asks[0]
        # Neither over the user's words, nor before the response that the server makes to them.
        if self._book.pending and ask.turn is not self._book.turn:
            return
        self.asked = self._asks.popleft()
        metadata = {ASK: str(ask.number)}
        self._book.say(
            "response.create", event_id=f"ask-{ask.number}", response={"metadata": metadata}
        )

    def take(self, metadata: Any) -> Ask | None:
        """Our request that a response with this metadata is the answer to."""
        named = metadata.get(ASK) if isinstance(metadata, dict) else None
        if self.asked is not None and named == str(self.asked.number):
            return self.take_any()
        return None

    def take_any(self) -> Ask | None:
        """Our request that is not answered yet, now answered."""
        ask, self.asked = self.asked, None
        return ask

    def refused(self) -> None:
        """The server says that a response is under way: ask again when one is over."""
        if self.asked is not None:
            self._asks.appendleft(self.asked)
            self.asked = None
            self._refused = True

    def free(self) -> None:
        """A response has begun or ended: what was refused may be asked again."""
        self._refused = False

    def forget(self) -> None:
        """The server is gone: nobody wants the results any more."""
        for call in self._calls.values():
            if not call.sent and not call.cancelled:
                call.cancelled = True
                self._book.out.append(ToolCancelled(call.response.reply.turn, call.id))
        self._asks.clear()
        self.asked = None
        self.active.clear()
        self._refused = False
