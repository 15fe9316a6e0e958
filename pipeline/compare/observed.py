"""A session that is watched while a scenario is held with it, and whose tools are answered."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

from pipeline.audio.line import Ends
from pipeline.compare.cues import Cues
from pipeline.compare.toolbox import Toolbox
from pipeline.errors import CascadeError
from pipeline.events import (
    Event,
    Frame,
    ReplyAudio,
    ReplyInterrupted,
    ToolCall,
    ToolCancelled,
    Usage,
)
from pipeline.measure.recording import RecordedSession
from pipeline.session import Session


@dataclass(slots=True)
class Asked:
    """A call as it went; times of the monotonic clock (ns)."""

    turn: int
    id: str
    name: str
    arguments: str
    asked_ns: int
    answered_ns: int | None = None
    cancelled: bool = False
    result_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Filler:
    """What of a turn was only to bridge the time: `samples` of reply `reply_id`."""

    reply_id: str
    samples: int


class Observed(RecordedSession):
    """A session that passes everything on, notes it, and gives tools' results.

    Attributes:
        calls: Tools that were called, in order.
        usage: What was used, with the turn, in order.
        fillers: What of each turn was filler, by turn.
        positions: Of each reply, when how many of its samples had been played.
        rates: Of each reply (Hz).
        order: The replies of each turn, in order.
        interrupted: What was heard of replies that were cut short, by turn.
    """

    def __init__(
        self,
        session: Session,
        ends: Ends,
        cues: Cues,
        toolbox: Toolbox,
        commit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Observe `session`.

        Args:
            session: Who is talked to.
            ends: Where its replies are heard.
            cues: Are told what happens.
            toolbox: Answers its calls.
            commit: Says to the session that the user has finished; None: it finds that out.
        """
        super().__init__(session, ends)
        self.calls: list[Asked] = []
        self.usage: list[dict[str, Any]] = []
        self.fillers: dict[int, Filler] = {}
        self.positions: dict[str, list[tuple[int, int]]] = {}
        self.rates: dict[str, int] = {}
        self.order: dict[int, list[str]] = {}
        self.interrupted: dict[int, str] = {}
        self._clock = ends.clock
        self._cues = cues
        self._toolbox = toolbox
        self._commit = commit
        self._committed = 0
        self._made: dict[str, int] = {}
        self._tools = asyncio.TaskGroup()
        self._working: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self._tools.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        for task in self._working:
            task.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._tools.__aexit__(None, None, None)
        finally:
            await super().__aexit__(*exc)

    async def send(self, frame: Frame) -> None:
        """Pass a frame on; where nobody else finds the end of a turn, say so at its true end."""
        await super().send(frame)
        if self._commit is None or self._committed == len(self._cues.said):
            return
        if self._cues.finished(frame.t_ns + frame.duration_ns):
            self._committed = len(self._cues.said)
            await self._commit()

    async def heard(self, reply_id: str, samples: int) -> None:
        """Pass the playout position on, and note it."""
        now_ns = self._clock.now_ns()
        positions = self.positions.setdefault(reply_id, [])
        if samples > (positions[-1][1] if positions else 0):
            positions.append((now_ns, samples))
            played = self._ends.playout.played(reply_id)
            # The silence that a reply begins with is not heard.
            if played is not None and played.audible_ns is not None:
                turn = next((one for one, ids in self.order.items() if reply_id in ids), None)
                self._cues.heard(now_ns, turn)
        await super().heard(reply_id, samples)

    async def events(self) -> AsyncGenerator[Event, None]:
        """The session's events, noted; calls are answered."""
        async for event in super().events():
            now_ns = self._clock.now_ns()
            self._observe(event, now_ns)
            self._cues.event(event, now_ns)
            yield event

    def _observe(self, event: Event, now_ns: int) -> None:
        match event:
            case ReplyAudio():
                made = self._made.get(event.id, 0) + len(event.frame.samples)
                self._made[event.id] = made
                self.rates[event.id] = event.frame.rate
                replies = self.order.setdefault(event.turn, [])
                if event.id not in replies:
                    replies.append(event.id)
                if event.filler:
                    self.fillers[event.turn] = Filler(event.id, made)
            case ToolCall():
                self._call(event, now_ns)
            case ToolCancelled():
                for call in self.calls:
                    if call.id == event.id and call.answered_ns is None:
                        call.cancelled = True
            case ReplyInterrupted():
                self.interrupted[event.turn] = event.heard_text
            case Usage():
                plain = dataclasses.asdict(event)
                self.usage.append(plain)

    def _call(self, event: ToolCall, now_ns: int) -> None:
        call = Asked(event.turn, event.id, event.name, event.arguments, now_ns)
        self.calls.append(call)
        replies = self.order.get(event.turn)
        if replies:
            self.fillers[event.turn] = Filler(replies[-1], self._made[replies[-1]])
        task = self._tools.create_task(self._work(call))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, call: Asked) -> None:
        output, delay_s = self._toolbox.answer(call.name, call.arguments)
        if delay_s:
            await asyncio.sleep(delay_s)
        if call.cancelled:
            return
        call.answered_ns = self._clock.now_ns()
        call.result_bytes = len(output.encode())
        self._cues.result(call.id, call.answered_ns)
        try:
            await self.tool_result(call.id, output)
        except CascadeError:
            # The session has ended, or does not want it any more; what follows will tell.
            call.cancelled = True
