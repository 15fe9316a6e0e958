"""What a simulated Realtime server answers, when, and what goes wrong in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from pipeline.clock import NS_PER_MS, Clock
from pipeline.realtime.conversation import Conversation
from pipeline.realtime.events import Author, Event, Refused
from pipeline.realtime.response import Response, Status
from pipeline.realtime.usage import Entry, Meter, text_tokens
from pipeline.simulated.script import Fault, FaultTime, Script, ScriptedTurn, turn_of
from pipeline.simulated.speech import Piece, pieces
from pipeline.simulated.timing import sleep_until
from pipeline.simulated.voice import Sounds, at_rate, hum
from pipeline.simulated.wire import Wire

OPEN_NS = 5 * NS_PER_MS
"""So long before a reply's first sound its message begins and has its first word."""

LIMITS = {"requests": 10_000, "tokens": 1_000_000}
"""What `rate_limits.updated` shows; nothing is limited."""

QUOTA = {
    "type": "insufficient_quota",
    "code": "insufficient_quota",
    "message": "You exceeded your current quota, please check your plan and billing details.",
}


@dataclass(slots=True)
class Stage:
    """What both halves of a session work with.

    Attributes:
        script: What to do.
        turns: The conversation that the client asked for.
        sounds: All that is said.
        wire: The connection.
        clock: The time.
        author: Writes events.
        session: The session object as it is now.
        conversation: The items.
        tasks: Of this client.
    """

    script: Script
    turns: tuple[ScriptedTurn, ...]
    sounds: Sounds
    wire: Wire
    clock: Clock
    author: Author
    session: Event
    conversation: Conversation
    tasks: asyncio.TaskGroup

    def send(self, *events: Event) -> None:
        """Send events."""
        for event in events:
            self.wire.send(json.dumps(event))

    def tell(self, kind: str, **fields: Any) -> None:
        """Send one event."""
        self.send(self.author.event(kind, **fields))

    def turn(self, number: int) -> ScriptedTurn:
        """The turn of that number, from 0."""
        return turn_of(self.turns, number)


@dataclass(frozen=True, slots=True)
class Ask:
    """Something to be answered.

    Attributes:
        number: Of the turn, from 0.
        first_ns: When the first sound of the answer is due.
        follow_up: Its tools were called, so that the reply is due.
    """

    number: int
    first_ns: int
    follow_up: bool = False


class Replies:
    """Answers what is asked, one response at a time.

    Attributes:
        active: The response to the conversation that is under way.
        spoke: Whether the client has heard the voice.
        calls: Number of the turn in which a tool was called, by the call's id.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._meter = Meter()
        self._task: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._free = asyncio.Event()
        self._free.set()
        self.active: Response | None = None
        self.spoke = False
        self.calls: dict[str, int] = {}

    def after(self, work: Callable[[], Coroutine[Any, Any, Ask | None]]) -> None:
        """Answer the `Ask` that comes of `work`, once nothing else is answered."""

        async def wait() -> None:
            ask = await work()
            if ask is not None:
                await self._free.wait()
                self.answer(ask, {})

        self._waiting = self._stage.tasks.create_task(wait())

    def answer(self, ask: Ask, options: Event) -> None:
        """Begin a response.

        Args:
            ask: To what.
            options: Of the client's `response.create`.
        """
        stage = self._stage
        response = Response(stage.author, stage.session, options, stage.conversation)
        task = stage.tasks.create_task(self._answer(ask, response))
        if response.in_band:
            self.active, self._task = response, task
            self._free.clear()

    def withdraw(self) -> None:
        """Do not answer what waits to be answered."""
        if self._waiting is not None:
            self._waiting.cancel()

    def cancel(self, reason: str) -> None:
        """End the response that is under way, if there is one."""
        response, task = self.active, self._task
        if response is not None and task is not None:
            task.cancel()
            self._done(response, "cancelled", reason=reason)

    async def fault(self, number: int, at: FaultTime) -> bool:
        """Let go wrong what goes wrong in that turn at that time; whether this is the end of it."""
        fault = self._stage.turn(number).fault
        return fault is not None and fault.at == at and _happen(self._stage, fault)

    async def _answer(self, ask: Ask, response: Response) -> None:
        turn = self._stage.turn(ask.number)
        calls = () if ask.follow_up else turn.calls
        fault = None if calls else turn.fault
        if fault is not None and await self.fault(ask.number, "before reply"):
            return
        self._begin(response)
        first_ns = ask.first_ns
        if calls:
            for call in calls:
                if call.preamble:
                    await self._say(response, call.preamble, first_ns)
                    first_ns = 0
                await sleep_until(first_ns, self._stage.clock)
                call_id = self._stage.author.new_id("call")
                self.calls[call_id] = ask.number
                self._stage.send(
                    *response.call(call.name, json.dumps(dict(call.arguments)), call_id)
                )
        elif not await self._reply(response, turn, ask.number, first_ns):
            return
        self._done(response, "completed")
        if fault is not None:
            await self.fault(ask.number, "after reply")

    def _begin(self, response: Response) -> None:
        self._stage.send(*response.created())

    async def _reply(
        self, response: Response, turn: ScriptedTurn, number: int, first_ns: int
    ) -> bool:
        """Say the turn's reply, with its fault; whether it is to be ended as completed."""
        fault = turn.fault
        kind = fault.kind if fault is not None else ""
        halves = _halves(self._pieces(turn.reply, fault))
        if kind == "quota":
            assert fault is not None
            if fault.at == "mid reply":
                await self._say_pieces(response, halves[0], first_ns)
            self._done(response, "failed", error=QUOTA)
            return False
        if not turn.reply:
            await sleep_until(first_ns, self._stage.clock)
            return True
        await self._say_pieces(response, halves[0], first_ns)
        if kind == "half":
            self._stage.send(*response.close())
            return True
        if await self.fault(number, "mid reply"):
            return False
        await self._say_more(response, halves[1])
        self._stage.send(*response.close())
        return True

    async def _say(self, response: Response, text: str, first_ns: int) -> None:
        await self._say_pieces(response, self._pieces(text, None), first_ns)
        self._stage.send(*response.close())

    async def _say_pieces(self, response: Response, said: list[Piece], first_ns: int) -> None:
        """Open a message; its first sound leaves at `first_ns`."""
        clock = self._stage.clock
        await sleep_until(first_ns - OPEN_NS, clock)
        self._stage.send(*response.open(), *response.text(said[0].text))
        if response.speaks:
            first = response.audio(said[0].samples)
            await sleep_until(first_ns, clock)
            self._stage.send(*first)
            self.spoke = True
        await self._say_more(response, said[1:])

    async def _say_more(self, response: Response, said: list[Piece]) -> None:
        due = self._stage.clock.now_ns()
        for piece in said:
            due += piece.wait_ns
            await self._stage.clock.sleep_until(due)
            if piece.text:
                self._stage.send(*response.text(piece.text))
            if response.speaks:
                self._stage.send(*response.audio(piece.samples))

    def _pieces(self, text: str, fault: Fault | None) -> list[Piece]:
        sound = self._stage.sounds.get(text)
        if sound is None:
            sound = hum(text)
        if fault is not None and fault.kind == "rate":
            sound = at_rate(sound, fault.rate)
        return pieces(text, sound)

    def _done(
        self,
        response: Response,
        status: Status,
        *,
        reason: str | None = None,
        error: Event | None = None,
    ) -> None:
        """End a response and say what it cost."""
        closing = response.close("incomplete")
        usage = self._meter.usage(self._context(response), *response.made)
        done = response.done(status, usage, reason=reason, error=error)
        self._stage.send(*closing, *done)
        limits = [
            {"name": name, "limit": limit, "remaining": limit, "reset_seconds": 0.0}
            for name, limit in LIMITS.items()
        ]
        self._stage.tell("rate_limits.updated", rate_limits=limits)
        if response is self.active:
            self.active = self._task = None
            self._free.set()

    def _context(self, response: Response) -> list[Entry]:
        """What the model read for a response: not its own output."""
        session = self._stage.session
        told = [session["instructions"], json.dumps(session["tools"]) if session["tools"] else ""]
        own = {item["id"] for item in response.output}
        entries = self._stage.conversation.entries()
        return [Entry(text, text_tokens(text)) for text in told] + [
            entry for entry in entries if entry.key.partition("/")[0] not in own
        ]


def _halves(said: list[Piece]) -> tuple[list[Piece], list[Piece]]:
    middle = max(1, len(said) // 2)
    return said[:middle], said[middle:]


def _happen(stage: Stage, fault: Fault) -> bool:
    """Do what a fault does; whether nothing comes after it."""
    match fault.kind:
        case "close":
            stage.wire.close(fault.code, fault.message)
        case "drop":
            stage.wire.drop()
        case "silence":
            stage.wire.mute()
        case "malformed":
            stage.wire.send('{"type": "response.output_audio.delta", "delta": ')
            return False
        case "unknown":
            event = {"type": "response.dreamt", "event_id": stage.author.new_id("event")}
            stage.wire.send(json.dumps(event))
            return False
        case "error":
            message = fault.message or "The server had an error while processing your request."
            stage.send(stage.author.error(Refused(str(fault.code), message, kind="server_error")))
            return False
        case _:
            return False
    return True
