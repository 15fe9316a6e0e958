"""The answers of a session, one at a time: begun, held, dropped, spoken, interrupted, told late.

It knows nothing of how turns are found: that is the cascade's, which tells it what the user does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline.clock import Clock
from pipeline.config import Settings
from pipeline.conversation.answer import Answer, Engines, Judge, Recognise
from pipeline.conversation.history import History, ReplyPlace
from pipeline.conversation.pending import Pending
from pipeline.conversation.reply import Emit, Reply
from pipeline.errors import CascadeError
from pipeline.events import (
    ReplyDone,
    ReplyDucked,
    ReplyInterrupted,
    ReplySwelled,
    ToolCancelled,
)
from pipeline.trace import Trace


class Answering:
    """The answer that is being made, and the reply that is being heard.

    Attributes:
        turn: The newest turn, counted from 1 (0: none yet).
        attempts: How often an answer to it was begun.
        answer: What is being made; None: nothing is.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Settings,
        *,
        conversation: History,
        trace: Trace,
        clock: Clock,
        emit: Emit,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        made: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            engines: Recognise, write and speak.
            settings: Of the run.
            conversation: What was said before; gets what is said.
            trace: Takes the marks.
            clock: The session's.
            emit: Takes the events.
            start: Starts a task that ends with the session.
            made: Told when a reply is made whole, and nobody has spoken meanwhile.
        """
        history = conversation.history
        self.turn = max((m.turn for m in history), default=0)
        self.attempts = 0
        self.answer: Answer | None = None
        self._engines = engines
        self._settings = settings
        self._conversation = conversation
        self._pending = Pending(
            rounds=settings.conversation.tool_rounds,
            used=[use.id for message in history for use in message.calls],
        )
        self._trace = trace
        self._clock = clock
        self._emit = emit
        self._start = start
        self._made = made
        self._task: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        self._ducked: Reply | None = None

    @property
    def speaking(self) -> bool:
        """Whether a reply is under way, heard or about to be."""
        return self._reply is not None and not self._reply.over

    @property
    def preparing(self) -> bool:
        """Whether an answer is made that nobody waits for yet."""
        return self.answer is not None and self.answer.preparing

    async def new_turn(self) -> None:
        """The user begins to speak."""
        await self._interrupt()
        self.turn += 1
        self.attempts = 0

    def begin(self, recognise: Recognise, judge: Judge) -> None:
        """Begin an answer to the turn, be it over or paused."""
        answer = self._new()
        self._work_on(answer, answer.run(recognise, judge))

    async def commit(self) -> None:
        """The turn is over: what was made ahead is told."""
        assert self.answer is not None
        await self.answer.commit()

    async def say(self, line: str) -> None:
        """Begin a turn of the assistant's own accord: speak a line."""
        self.turn += 1
        self.attempts = 0
        answer = self._new()
        self._work_on(answer, answer.say(line))
        await answer.commit()

    async def tell_late(self) -> None:
        """Nobody speaks: if nothing is to be answered, tell what tools gave too late."""
        if self._task is not None or self.speaking:
            return
        group = self._pending.next_late()
        if group is None:
            return
        place = self._conversation.follow_up(group.uses, self.turn)
        answer = self._new(group.turn, late=place)
        await answer.prepare(group)
        self._work_on(answer, answer.tell())
        await answer.commit()

    async def drop(self, reason: str) -> None:
        """Throw away the answer that was begun: nobody has learnt of it."""
        answer, task = self.answer, self._task
        if answer is None or task is None or answer.committed:
            return
        self.answer = self._task = None
        task.cancel()
        await asyncio.wait([task])
        self._trace.mark(
            answer.turn,
            "discarded",
            self._clock.now_ns(),
            generation=answer.generation,
            reason=reason,
            **answer.wasted(),
        )

    async def duck(self) -> None:
        """There is voice over the reply: play it quietly."""
        if self._reply is not None:
            self._ducked = self._reply
            await self._emit(ReplyDucked(self._reply.turn, self._reply.id))

    async def swell(self) -> None:
        """The voice meant nothing."""
        reply, self._ducked = self._ducked, None
        if reply is not None:
            await self._emit(ReplySwelled(reply.turn, reply.id))

    def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        if self._reply is not None and self._reply.id == reply_id:
            self._reply.played(samples)
            if self._task is None:
                self.settle()

    def settle(self) -> None:
        """The history's last reply is what was heard of it."""
        if self._reply is not None:
            turn, part = self._reply.place
            heard = self._reply.heard_text()
            self._conversation.settle(turn, heard, part=part, cuts=self._reply.cuts)

    def tool_result(self, call_id: str, output: str) -> None:
        """Take a tool's result; what is not wanted any more is dropped.

        Raises:
            CascadeError: No such call is open.
        """
        if call_id in self._pending:
            self._conversation.result(call_id, output)
        try:
            self._pending.answered(call_id)
        except KeyError:
            raise CascadeError(
                f"no tool call {call_id!r} is open; answer each ToolCall once, by its id"
            ) from None

    def close(self) -> list[ToolCancelled]:
        """All work has stopped: settle the history. Gives what is to be told of open calls."""
        self.settle()
        calls = self._pending.cancel()
        for _, call_id in calls:
            self._conversation.cancel(call_id)
        return [ToolCancelled(turn, call_id) for turn, call_id in calls]

    def _new(self, turn: int | None = None, late: ReplyPlace | None = None) -> Answer:
        self.attempts += late is None
        return Answer(
            turn or self.turn,
            self.attempts,
            engines=self._engines,
            settings=self._settings.reply,
            conversation=self._conversation,
            trace=self._trace,
            clock=self._clock,
            emit=self._emit,
            began=self._speaks,
            pending=self._pending,
            late=late,
        )

    def _speaks(self, reply: Reply) -> None:
        """A committed reply is under way."""
        self._reply = reply

    def _work_on(self, answer: Answer, work: Coroutine[Any, Any, None]) -> None:
        self.answer = answer
        self._task = self._start(self._see_through(answer, work))
        # What is cancelled before its first step has begun nothing.
        self._task.add_done_callback(lambda _: work.close())

    async def _see_through(self, answer: Answer, work: Coroutine[Any, Any, None]) -> None:
        """Work on an answer to the end of its making."""
        await work
        if self._task is asyncio.current_task():
            self.answer = self._task = None
        if answer.reply is not None and answer.place.turn == self.turn:
            self._made()
        self.settle()

    async def _interrupt(self) -> None:
        """The user speaks: stop the reply, and keep of it what was heard.

        A recognition goes on: what was said is not lost. So do tools.
        """
        answer, task, reply = self.answer, self._task, self._reply
        self.answer = self._task = None
        if answer is not None and answer.reply is None:
            answer.superseded = True
        if reply is None or reply.over:
            await self.swell()
            return
        # All there is of it was heard, and the rest waits for tools: nothing is cut short.
        between = answer is not None and answer.waiting and reply.lulled
        reply.stopped = True
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.settle()
        if between:
            await self.swell()
            await self._emit(ReplyDone(reply.turn, reply.id, "completed"))
            return
        self._ducked = None
        if not reply.place.part:
            self._trace.mark(reply.turn, "interrupted", self._clock.now_ns())
        await self._emit(ReplyInterrupted(reply.turn, reply.id, reply.heard_text()))
        if task is not None:
            await self._emit(ReplyDone(reply.turn, reply.id, "interrupted"))
