"""A session with OpenAI's Live API (`gpt-live-1`), through the `openai` SDK.

The model listens and speaks at once, and tells no turns: `duplex` makes them, from our detector on
what the user says and a gate on what the model says. So a reply is told to be over only when it has
been silent for a while, and `committed` is the first sign of a reply.

Work is delegated: by `delegation=responses` (used where there are tools) to a text model of OpenAI,
`backend=MODEL`, which calls the tools; the text model gets the instructions too. By
`delegation=client` to us, but without a word of what is to be done: such a delegation is told as a
call of a tool `delegation`, whose arguments hold what the user was understood to say in the turn.
Its result is limited to some 500 tokens a piece by the API, and cut after `PIECES` of them.

What cannot be done, for want of anything in the API: commit a turn, cancel or truncate a reply,
tell which delegation a spoken answer belongs to. A closed connection cannot be taken up again; a
new one is begun with the history as text, once a minute at most.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import openai
from openai.resources.live.live import AsyncLiveConnection
from websockets.exceptions import ConnectionClosed

from pipeline.audio.resample import Resampler
from pipeline.clock import NS_PER_MS, Clock
from pipeline.config import TurnSettings, VadSettings
from pipeline.conversation.history import Message
from pipeline.engines.vad import VoiceDetector
from pipeline.errors import CascadeError, StageError, first_of
from pipeline.events import Event, Failure, Frame, Samples, Usage
from pipeline.session import EventQueue
from pipeline.speech_to_speech import live_link
from pipeline.speech_to_speech import openai_link as link
from pipeline.speech_to_speech import openai_words as words
from pipeline.speech_to_speech.brief import Brief, Facts, Target, stamp
from pipeline.speech_to_speech.duplex import Duplex
from pipeline.speech_to_speech.encoding import PCM_RATE
from pipeline.speech_to_speech.keys import shown
from pipeline.speech_to_speech.live_work import Work, text
from pipeline.trace import Trace
from pipeline.turns.listener import Hearing
from pipeline.turns.taker import TIMES, Began, Ended, TurnTaker

TURNS = TurnSettings(predict=False, hold_ms=700, barge_in_ms=800)
"""When the user's turn begins and ends for us. Nothing waits for its end, so that the hold may be
long and a pause in a sentence makes no turn of its own."""

CLOSE_S = 0.6
"""How long leaving waits for the final usage."""

AHEAD = 500
"""Frames (20 ms) that may wait to be sent, and kinds of odd messages to be told of."""

_IGNORED = frozenset(
    {"session.started", "session.updated", "session.commentary.appended", "info"}
    | {"session.thinking.appended", "session.instructions.appended"}
)

log = logging.getLogger(__name__)


class LiveSession:
    """A `Direct` session with a full-duplex model.

    Attributes:
        oddities: How many messages were malformed, or of a type that nobody knows.
    """

    def __init__(self, target: Target, brief: Brief, trace: Trace, clock: Clock) -> None:
        """Prepare a session; nothing is connected.

        Args:
            target: `openai-live`, with the options `voice`, `delegation` and `backend`.
            brief: What the conversation is about.
            trace: Takes the marks.
            clock: The one clock.

        Raises:
            BadInput: There is no key, or an option cannot be.
        """
        self.oddities = 0
        self._reconnects = 0
        self._target = target
        self._brief = brief
        self._clock = clock
        live_link.delegation(target, brief)
        self._place = link.place(target)
        self._host = self._place.host
        self._client = link.client(self._place)
        self._duplex = Duplex(PCM_RATE, lambda turn, name, t_ns: trace.mark(turn, name, t_ns))
        self._work = Work(self._duplex, tools=bool(brief.tools))
        self._hearing: Hearing
        self._turns = TurnTaker(TURNS, VadSettings())
        self._resampler: Resampler | None = None
        self._outbox: asyncio.Queue[Samples] = asyncio.Queue(AHEAD)
        self._events = EventQueue()
        self._connection: AsyncLiveConnection
        self._facts: Facts | None = None
        self._live: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._over = False
        self._renewals = link.Renewals()
        self._billed_s = 0.0
        self._odd_kinds: set[str] = set()

    async def __aenter__(self) -> Self:
        """Connect, configure, and wait until the session has started.

        Raises:
            StageError: The server cannot be used; the message says why.
        """
        try:
            detector = await asyncio.to_thread(VoiceDetector, VadSettings())
            self._hearing = Hearing(detector, TIMES.max_turn_s)
            began = self._clock.now_ns()
            resource = await self._connect([])
            took_ms = (self._clock.now_ns() - began) / NS_PER_MS
        except BaseException:
            await self._client.close()
            raise
        simulated = stamp(getattr(resource, "id", ""))
        model = str(getattr(resource, "model", "") or self._place.model)
        self._facts = Facts(model, self._host, took_ms, simulated, duplex=True)
        self._live = asyncio.create_task(self._run(), name="openai-live")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session, so that the last of its usage is told, and the connection."""
        if self._live is None:
            return
        lost, self._over = self._over, True
        try:
            if not lost:
                with contextlib.suppress(TimeoutError, ConnectionClosed, openai.OpenAIError):
                    async with asyncio.timeout(CLOSE_S):
                        await self._connection.session.close()
                        await self._closed.wait()
        finally:
            self._live.cancel()
            await asyncio.wait([self._live])
            await self._client.close()
            self._end(self._duplex.over())

    @property
    def facts(self) -> Facts | None:
        """What was found at the other end; None before the session is entered."""
        return self._facts

    @property
    def history(self) -> list[Message]:
        """What the model remembers: all that was said, since nothing can be truncated."""
        return self._duplex.history

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and made again."""
        return self._reconnects

    async def send(self, frame: Frame) -> None:
        """Take the next of the microphone; every frame is sent, silence too."""
        if self._over:
            return
        if frame.begins:
            self._turns.another()
        for verdict in self._hearing.push(frame):
            for decision in self._turns.push(verdict, speaking=False):
                match decision:
                    case Began():
                        voiced = self._hearing.time_of(decision.voiced)
                        self._events.tell(*self._duplex.user_began(voiced))
                    case Ended():
                        self._events.tell(*self._duplex.user_stopped(self._clock.now_ns()))
        self._events.tell(*self._duplex.tick(self._clock.now_ns()))
        if self._resampler is None or self._resampler.rate_in != frame.rate:
            self._resampler = Resampler(frame.rate, PCM_RATE)
        if len(samples := self._resampler.push(frame.samples)):
            await self._outbox.put(samples)

    def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left or lost."""
        return self._events.read()

    async def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply: only for what its `heard_text` says."""
        self._duplex.played(reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        """Answer a `ToolCall`: the backend goes on once it has the results of all its calls.

        Raises:
            CascadeError: No such call is open.
        """
        events, messages = self._work.result(call_id, output, self._clock.now_ns())
        self._events.tell(*events)
        await self._say(messages)

    async def commit(self) -> None:
        """The API has no turns to be committed.

        Raises:
            CascadeError: Always.
        """
        raise CascadeError(f"{self._place.model} decides itself when a turn is over")

    async def _connect(self, history: list[Message]) -> Any:
        """Begin a session that goes on with `history`; gives what the server says of it."""
        config = live_link.configuration(self._target, self._place.model, self._brief, history)
        self._connection, resource = await live_link.start(self._client, self._place, config)
        self._billed_s = 0.0
        return resource

    async def _run(self) -> None:
        """Hold the session, over one connection after the other."""
        try:
            while True:
                why, fatal = await self._hold(self._connection)
                if self._over:
                    return
                events = self._work.forget()
                message, fatal = await self._again(f"{self._host}: {why}", fatal)
                events += self._duplex.lost(message, self._clock.now_ns(), fatal=fatal)
                if fatal:
                    self._end(events)
                    return
                self._events.tell(*events)
        except Exception as error:
            log.exception("openai-live")
            cause = first_of(error) if isinstance(error, BaseExceptionGroup) else error
            message = f"{type(cause).__name__}: {shown(str(cause))}"
            self._end([Failure(self._duplex.turn, "direct", message, True)])

    async def _again(self, message: str, fatal: bool) -> tuple[str, bool]:
        """Connect anew, unless that was just done: what to tell, and whether it is the end."""
        if fatal or not self._renewals.allowed(self._clock.now_ns()):
            return message, True
        try:
            await self._connect(self._duplex.history)
        except StageError as error:
            return f"{message}; {error}", True
        self._reconnects += 1
        return f"{message}; connected again, with what had been said as text", False

    async def _hold(self, connection: AsyncLiveConnection) -> tuple[str, bool]:
        """Send and receive until the connection ends; why it did, and whether that is for good."""
        try:
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(self._send_all(connection))
                try:
                    while (end := await self._take(await connection.recv_bytes())) is None:
                        await self._events.room()
                    return end
                except ConnectionClosed as error:
                    return words.closed(error), not link.renewable(error)
                finally:
                    sender.cancel()
        finally:
            await link.shut(connection)

    async def _send_all(self, connection: AsyncLiveConnection) -> None:
        with contextlib.suppress(ConnectionClosed, openai.OpenAIError):
            while True:
                sound = (await self._outbox.get()).astype("<i2").tobytes()
                await connection.session.input_audio.append(audio=base64.b64encode(sound).decode())

    async def _say(self, messages: list[Mapping[str, Any]]) -> None:
        """Send messages; a connection that is gone is noticed by who receives."""
        with contextlib.suppress(ConnectionClosed, openai.OpenAIError):
            for message in messages:
                command: Any = message
                await self._connection.send(command)

    async def _take(self, data: bytes) -> tuple[str, bool] | None:
        """Act upon a message; gives how the session ended, if it tells that."""
        kind: object = None
        try:
            event: Any = self._connection.parse_event(data)
            kind = getattr(event, "type", None)
            if kind == "session.closed":
                return await self._was_closed(event)
            await self._act(kind, event)
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
            self._odd("malformed", kind)
        return None

    async def _act(self, kind: object, event: Any) -> None:
        now = self._clock.now_ns()
        duplex = self._duplex
        match kind:
            case "session.output_audio.delta":
                sound = base64.b64decode(event.delta, validate=True)
                samples = np.frombuffer(sound, "<i2").astype(np.int16)
                self._events.tell(*duplex.sounded(samples, now))
            case "session.input_transcript.delta":
                self._events.tell(*duplex.understood(text(event.delta)))
            case "session.output_transcript.delta":
                self._events.tell(*duplex.said(text(event.delta), now))
            case "session.delegation.created":
                name, by = text(event.delegation.id), text(event.delegation.target)
                await self._outcome(*self._work.delegated(name, by, now))
            case "response.event":
                name = event.delegation_id or ""
                await self._outcome(*self._work.backend(name, event.event, now, self._host))
            case "session.usage.updated":
                await self._bill(float(event.usage.seconds))
            case "error":
                message = f"{self._host}: {words.reason(event.error)}"
                self._events.tell(Failure(duplex.turn, "direct", message, False))
            case _ if kind not in _IGNORED:
                self._odd("unknown", kind)

    async def _outcome(self, events: list[Event], messages: list[Mapping[str, Any]]) -> None:
        self._events.tell(*events)
        await self._say(messages)

    async def _was_closed(self, event: Any) -> tuple[str, bool]:
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            await self._bill(float(event.usage.seconds))
        self._closed.set()
        reason = str(getattr(event, "reason", ""))
        return f"the session ended ({shown(reason)})", reason == "content"

    async def _bill(self, total_s: float) -> None:
        """The API tells totals of a session; events tell what was added."""
        added, self._billed_s = total_s - self._billed_s, max(total_s, self._billed_s)
        if added > 0:
            usage = Usage(self._duplex.turn, 0, 0, 0, seconds=added, kind="session")
            self._events.tell(usage)

    def _odd(self, what: str, kind: object) -> None:
        """A message that cannot be acted upon: the first of each kind is worth a warning."""
        self.oddities += 1
        name = f"{what} {shown(str(kind))}"
        if name not in self._odd_kinds and len(self._odd_kinds) < AHEAD:
            self._odd_kinds.add(name)
            log.warning("%s sent something %s; going on without it", self._host, name)

    def _end(self, events: list[Event]) -> None:
        """Whoever reads gets the last events and the end; whoever sends is not kept waiting."""
        self._over = True
        self._events.end(*events)
        while not self._outbox.empty():
            self._outbox.get_nowait()
