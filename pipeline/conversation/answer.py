"""One attempt to answer a turn: recognise, write, speak, and hold it all until the turn is over.

The attempt begins at a short silence, before anybody knows whether the user has finished. All it
tells waits behind a gate. When the turn is committed the gate opens, and what was made until then
is there at once; if the user goes on speaking, the attempt is dropped, and nobody learns of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

from pipeline.clock import Clock
from pipeline.config import Reply as ReplySettings
from pipeline.conversation.history import History, ReplyPlace
from pipeline.conversation.pending import Group, Pending
from pipeline.conversation.reply import Emit, Reply, Voice
from pipeline.conversation.rounds import Rounds
from pipeline.engines.llm import Messages, ToolsRefused, Used, Writer
from pipeline.engines.whisper import Audio, Transcription
from pipeline.errors import StageError
from pipeline.events import (
    Event,
    Failure,
    ReplyDone,
    ReplyStarted,
    ReplyStatus,
    Transcript,
)
from pipeline.timeline import DETAILS
from pipeline.trace import Trace
from pipeline.turns.listener import Detector

log = logging.getLogger(__name__)

Recognise = Callable[[], Awaitable[Transcription]]
"""Gives what was said."""

Judge = Callable[[Messages, Transcription], Awaitable[None]]
"""Gets the prompt (empty where there is nothing to answer) and what was said, once that is known,
and is waited for before the model is asked."""


class Engines(Protocol):
    """What computes (`engines.LocalEngines`): loaded, warm, and owned by somebody else."""

    def new_detector(self) -> Detector:
        """A judge of voice for one session: it remembers what it has heard."""
        ...

    @property
    def model(self) -> Writer:
        """Writes replies, and calls tools."""
        ...

    @property
    def voice(self) -> Voice:
        """Speaks them."""
        ...

    async def read_ahead(self, messages: Messages) -> None:
        """Let the model read a prompt before it is asked to go on from it, where that helps."""
        ...

    async def transcribe(
        self,
        audio: Audio,
        voiced_ms: float | None = None,
        *,
        prefix: str = "",
        language: str = "",
    ) -> Transcription:
        """Recognise an utterance (16 kHz, -1 to 1) with this much voice in it (None: unknown).

        Args:
            audio: The utterance.
            voiced_ms: How much of it is voiced (ms).
            prefix: The words that it surely begins with, which need not be recognised again.
            language: Code of the language that is spoken; empty: not known yet.
        """
        ...

    async def melody(self, audio: Audio) -> float | None:
        """Whether the speaker sounds finished, as a probability; None if nobody can tell."""
        ...

    async def judge(self, messages: Messages) -> float | None:
        """Whether the last message of a prompt reads finished, as a probability; None likewise."""
        ...


class Gate:
    """Keeps events back until it is opened; from then on they pass."""

    def __init__(self, emit: Emit) -> None:
        self.opened = asyncio.Event()
        self._emit = emit
        self._held: deque[Event] = deque()

    async def emit(self, event: Event) -> None:
        """Pass an event on, or keep it."""
        if self.opened.is_set():
            await self._emit(event)
        else:
            self._held.append(event)

    async def open(self) -> None:
        """Pass on what was kept, in order; what is emitted meanwhile comes after it."""
        while self._held:
            await self._emit(self._held.popleft())
        self.opened.set()


class Line:
    """A model that writes what it was told to."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def stream(self, messages: Messages) -> AsyncGenerator[str | Used, None]:
        """Yield the text."""
        yield self._text


class Answer:
    """The work on one answer. Run it in a task; cancelling the task stops all of it.

    Attributes:
        turn: Its turn.
        generation: Which attempt it is in this turn, from 1.
        text: What the user said, once that is known.
        reply: The reply, once it is being made.
        superseded: Set by the owner when the user spoke on during the recognition: the words are
            kept, and the reply is left to the next turn.
        place: Where the reply stands in the history.
    """

    def __init__(
        self,
        turn: int,
        generation: int,
        *,
        engines: Engines,
        settings: ReplySettings,
        conversation: History,
        trace: Trace,
        clock: Clock,
        emit: Emit,
        began: Callable[[Reply], None],
        pending: Pending | None = None,
        late: ReplyPlace | None = None,
    ) -> None:
        """Prepare an answer.

        Args:
            turn: Its turn.
            generation: Which attempt.
            engines: Write and speak the reply.
            settings: How its stages overlap.
            conversation: Gets the user's words when the turn is committed, and the reply then.
            trace: Takes the marks.
            clock: The session's.
            emit: Takes the events, from the commit on.
            began: Told of the reply once it is under way and the turn is committed.
            pending: Keeps the tool calls of the session; None: there are none yet.
            late: It tells the results of calls that came late, here in the history; None: it is
                the answer to what the user says in its turn.
        """
        self.turn = turn
        self.place = late or ReplyPlace(turn)
        self.generation = generation
        self.text: str | None = None
        self.reply: Reply | None = None
        self.superseded = False
        self._engines = engines
        self._settings = settings
        self._conversation = conversation
        self._trace = trace
        self._clock = clock
        self._gate = Gate(emit)
        self._began = began
        self._pending = pending or Pending()
        self._late = late is not None
        self._rounds: Rounds | None = None
        self._committed = False
        self._kept = False
        self._made = False

    @property
    def committed(self) -> bool:
        """Whether the turn it answers is over."""
        return self._committed

    @property
    def preparing(self) -> bool:
        """Whether it is computing ahead of the commit."""
        ahead = self.reply is not None and self.reply.ahead
        return not (self.committed or self._made or ahead or self.waiting)

    @property
    def waiting(self) -> bool:
        """Whether it goes on only when tools have answered."""
        return self._rounds is not None and self._rounds.waiting

    async def commit(self) -> None:
        """The turn is over: keep the user's words, and tell all that was held back."""
        self._committed = True
        self._keep()
        if self.reply is not None:
            self._began(self.reply)
        await self._gate.open()

    def wasted(self) -> dict[str, Any]:
        """What was done in vain if it is dropped now, for the trace."""
        reply = self.reply
        return {
            "transcribed": self.text is not None,
            "characters": len(reply.text) if reply else 0,
            "speech_ms": round(reply.made_s * 1000) if reply else 0,
        }

    async def run(self, recognise: Recognise, judge: Judge) -> None:
        """Answer what `recognise` gives. Returns when all of it is made, and committed.

        Args:
            recognise: Waits for what was said.
            judge: Is waited for before the model is asked.
        """
        await self._finish(self._answer(recognise, judge))

    async def say(self, line: str) -> None:
        """Speak `line`, of the assistant's own accord."""
        await self._prepare(Line(line))
        await self._finish(self._respond([]))

    async def prepare(self, group: Group) -> None:
        """Make the reply that `tell` speaks, so that it can be interrupted from now on."""
        await self._prepare(self._engines.model, asked=group.rounds)

    async def tell(self) -> None:
        """Tell the results of a group of calls, which came when nobody waited any more."""
        await self._finish(self._respond(self._conversation.prompt()))

    async def _finish(self, work: Awaitable[ReplyStatus]) -> None:
        """Do the work, tell how it went; nothing is told before the commit."""
        failure: Failure | None = None
        refused = False
        status: ReplyStatus = "failed"
        try:
            status = await work
        except StageError as error:
            refused = isinstance(error, ToolsRefused)
            failure = Failure(self.turn, error.stage, str(error), error.fatal)
        except Exception as error:
            log.exception("turn %d", self.turn)
            message = f"{type(error).__name__}: {error}"
            failure = Failure(self.turn, "cascade", message, False)
        self._made = True
        await self._gate.opened.wait()
        if failure is not None:
            if refused:
                self._conversation.offer(())  # from now on: it is told just now
            self._mark("failed", stage=failure.stage)
            await self._gate.emit(failure)
        # The reply may have been stopped meanwhile, which was told already.
        if self.reply is None or not self.reply.stopped:
            reply_id = self.reply.id if self.reply is not None else ""
            await self._gate.emit(ReplyDone(self.turn, reply_id, status))

    async def _answer(self, recognise: Recognise, judge: Judge) -> ReplyStatus:
        self._mark("stt.start")
        heard = await recognise()
        self._mark("stt.final", dropped=heard.dropped)
        self.text = heard.text
        self._keep()
        await self._gate.emit(Transcript(self.turn, heard.text, True))
        # What was said before and got no reply is answered with this, be this but a cough.
        if not heard.text and not self._conversation.unanswered:
            await judge([], heard)
            return "skipped"
        if self.superseded:
            return "interrupted"
        said = "" if self._kept else heard.text
        messages = self._conversation.prompt(said=said)
        await judge(messages, heard)
        await self._prepare(self._engines.model)
        return await self._respond(messages)

    async def _prepare(self, model: Writer, *, asked: int = 0) -> None:
        self._rounds = Rounds(
            model,
            self.turn,
            self.place,
            conversation=self._conversation,
            pending=self._pending,
            emit=self._gate.emit,
            committed=self._gate.opened,
            asked=asked,
        )
        self.reply = Reply(
            self.turn,
            self._pending.reply_id(self.turn) if self._late else f"reply-{self.turn}",
            model=self._rounds,
            voice=self._engines.voice,
            settings=self._settings,
            clock=self._clock,
            emit=self._gate.emit,
            mark=self._mark,
            committed=self._gate.opened,
            place=self.place,
        )
        if self.committed:
            self._began(self.reply)
        await self._gate.emit(ReplyStarted(self.turn, self.reply.id))

    async def _respond(self, messages: Messages) -> ReplyStatus:
        assert self.reply is not None
        await self.reply.run(messages)
        # The user may have learnt of a late result from another reply meanwhile.
        if not self.reply.text.strip() and not self._late:
            raise StageError("llm", "the model had nothing to say; ask again, or take another one")
        await self._gate.opened.wait()
        turn, part = self.place
        self._conversation.settle(turn, self.reply.text, part=part, cuts=self.reply.cuts)
        return "completed"

    def _keep(self) -> None:
        """Once the turn is over and the words are known, they are part of the conversation."""
        if self._committed and self.text is not None and not self._kept:
            self._kept = True
            self._conversation.add("user", self.text, self.turn)

    def _mark(self, name: str, **more: Any) -> None:
        # The marks of a turn are those of its first reply.
        if self._late and name not in DETAILS:
            return
        now = self._clock.now_ns()
        self._trace.mark(self.turn, name, now, generation=self.generation, **more)
