"""A session over connections to a server: connect, send, receive, connect again, end.

What is the same for every protocol is here. A protocol's session says how a connection is made,
what is sent over it, and which core takes what comes.

No message ends a session: what is no JSON, of a kind that is not known, or not as it should be, is
counted by the core and passed over. The end of a connection ends none either, also where the server
closed it as usual: the next one is a new session to the server, which is told the settings again,
and what was said as far as the protocol allows. A session ends for good where the server's reason
for closing will be its reason again (`WireErrors`), where no new connection is to be had, or where
one after the other is lost with no reply between them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from websockets.exceptions import ConnectionClosed

from pipeline.audio.resample import Resampler
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.conversation.history import Message
from pipeline.errors import CascadeError, StageError, first_of
from pipeline.events import Event, Frame, ReplyInterrupted, Samples
from pipeline.session import EventQueue
from pipeline.speech_to_speech.brief import Facts
from pipeline.speech_to_speech.keys import shown
from pipeline.speech_to_speech.ledger import Parcel, ProtocolCore
from pipeline.speech_to_speech.turnless import TurnlessCore, UserTurns
from pipeline.speech_to_speech.wire import Denied, WireErrors

LOSSES, WITHIN_S = 3, 60.0
"""A server that breaks more connections than so many in so many seconds is given up, unless it
answered in between."""

RETRIES_S = (0.0, 0.5, 1.0, 2.0)
"""Waits before each attempt to connect again (s): a server that is restarted takes a moment."""

STALL_S = 20.0
"""A server that takes nothing for so long is lost. websockets' own pings find out no sooner."""

AHEAD_S = 60.0
"""So much sound may wait to be sent: more than a stall and a new connection take. What comes
beyond is lost."""

TICK_S = 0.05
"""How often the core is told that time goes by."""

log = logging.getLogger(__name__)

Link = TypeVar("Link")
"""A connection, as a client library has it."""


class Leave(Exception):
    """The connection is to be left for a new one, though it is not broken."""


class Outbox:
    """What waits to be sent. The first parcel leaves when it has been sent whole."""

    def __init__(self, ahead_s: float = AHEAD_S) -> None:
        """Begin empty (see `AHEAD_S`)."""
        self._ahead_s = ahead_s
        self._waiting: deque[Parcel] = deque()
        self._waiting_s = 0.0
        self.filled = asyncio.Event()

    @property
    def first(self) -> Parcel | None:
        """What is to be sent next."""
        return self._waiting[0] if self._waiting else None

    def put(self, parcel: Parcel) -> None:
        """Add something to be sent."""
        if parcel.seconds and self._waiting_s >= self._ahead_s:
            log.debug("the server takes no sound: %g s of it are lost", parcel.seconds)
            return
        self._waiting.append(parcel)
        self._waiting_s += parcel.seconds
        self.filled.set()

    def sent(self) -> Parcel:
        """The first parcel was sent; gives it."""
        parcel = self._waiting.popleft()
        self._waiting_s -= parcel.seconds
        return parcel

    def broken(self) -> None:
        """The connection broke: drop what only its server had a use for."""
        self._waiting = deque(parcel for parcel in self._waiting if parcel.lasting)


class ApiSession(ABC, Generic[Link]):
    """A `SpeechToSpeech` session over connections of type `Link`, one after the other.

    Args:
        core: Takes what comes, and decides.
        errors: Of the server.
        clock: The one clock.
        rate: Of the sound that is sent (Hz).
        outbox: What waits to be sent; None: a plain one.
        losses: See `LOSSES`.
        retries_s: See `RETRIES_S`.
        stall_s: See `STALL_S`.
        ahead: So many events may wait to be read before nothing more is received.
    """

    def __init__(
        self,
        core: ProtocolCore,
        errors: WireErrors,
        clock: Clock,
        *,
        rate: int,
        outbox: Outbox | None = None,
        losses: int = LOSSES,
        retries_s: Sequence[float] = RETRIES_S,
        stall_s: float = STALL_S,
        ahead: int = 4096,
    ) -> None:
        self._core = core
        self._turns = UserTurns(core) if isinstance(core, TurnlessCore) else None
        self._errors = errors
        self._clock = clock
        self._rate = rate
        self._outbox = Outbox() if outbox is None else outbox
        self._retries_s = retries_s
        self._stall_s = stall_s
        self._events = EventQueue(ahead)
        self._resampler: Resampler | None = None
        self._lost_ns: deque[int] = deque(maxlen=losses)
        self._answered = 0
        self._connection: Link | None = None
        self._facts: Facts | None = None
        self._reconnects = 0
        self._over = False
        self._run: asyncio.Task[None] | None = None

    @abstractmethod
    async def _connect(self) -> Link:
        """A new connection over which the conversation can begin, or go on.

        Raises:
            StageError: There is none to be had; the message says why.
        """

    @abstractmethod
    async def _deliver(self, connection: Link, parcel: Parcel) -> None:
        """Send a parcel."""

    @abstractmethod
    async def _read(self, connection: Link) -> str | bytes:
        """The next message of the server's, as it came.

        Raises:
            ConnectionClosed: There is none.
        """

    @abstractmethod
    async def _listen(self, connection: Link) -> None:
        """Take what the server sends, until the connection ends.

        Raises:
            ConnectionClosed: It ended.
            StageError: It ended, or is to be ended; for good if `fatal`.
        """

    @abstractmethod
    async def _shut(self, connection: Link) -> None:
        """Close a connection in a short time, whatever state it is in."""

    @abstractmethod
    async def _release(self) -> None:
        """Let go of what the client library keeps."""

    @abstractmethod
    def _found(self, connection: Link, connect_ms: float) -> Facts:
        """What there is at the other end."""

    @abstractmethod
    def _pack(self, samples: Samples) -> object:
        """The message that takes sound to the server; int16 (n,) at the session's rate."""

    def _pieces(self, samples: Samples) -> Iterator[Samples]:
        """The next sound, int16 (n,), in the pieces in which it is sent."""
        if len(samples):
            yield samples

    async def _leave(self, connection: Link) -> None:
        """Say goodbye to a server whose connection is whole."""

    def _resume(self) -> None:
        """A new connection takes over."""

    async def __aenter__(self) -> Self:
        """Connect, and wait until the server is ready.

        Raises:
            StageError: It cannot be had; the message says why.
        """
        if self._turns is not None:
            await self._turns.load()
        began_ns = self._clock.now_ns()
        try:
            connection = self._connection = await self._connect()
        except BaseException:
            await self._release()
            raise
        self._facts = self._found(connection, (self._clock.now_ns() - began_ns) / NS_PER_MS)
        self._run = asyncio.create_task(self._keep(connection), name=type(self).__name__)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; whoever still reads gets the end."""
        if self._run is None:
            return
        whole, self._over = not self._over, True
        try:
            if whole and self._connection is not None:
                await self._leave(self._connection)
        finally:
            self._run.cancel()
            try:
                await asyncio.wait([self._run])
            finally:
                self._core.over()
                self._carry_out()
                self._events.end()
                # Here, for a task that is cancelled before its first step closes nothing.
                await self._drop()
                await self._release()

    @property
    def facts(self) -> Facts | None:
        """What was found at the other end; None before the session is entered."""
        return self._facts

    @property
    def history(self) -> list[Message] | None:
        """What the model remembers so far, as far as is known; None: nobody can tell."""
        return self._core.history

    @property
    def reconnects(self) -> int:
        """How often the connection was lost, or left, and made again."""
        return self._reconnects

    async def send(self, frame: Frame) -> None:
        """Take the next of the microphone, at any rate; it is sent soon, silence too."""
        if self._over:
            return
        if self._turns is not None:
            self._turns.push(frame)
            self._carry_out()
        resampler = self._resampler
        if resampler is None or (resampler.rate_in, resampler.rate_out) != (frame.rate, self._rate):
            resampler = self._resampler = Resampler(frame.rate, self._rate)
        for piece in self._pieces(resampler.push(frame.samples)):
            self._outbox.put(Parcel(self._pack(piece), len(piece) / self._rate, lasting=True))

    async def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left or fails for good."""
        async for event in self._events.read():
            if isinstance(event, ReplyInterrupted):
                self._core.ledger.noticed(event.id)
            yield event

    async def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        if (reply := self._core.ledger.played(reply_id, samples)) is not None:
            self._core.cut(reply)
            self._carry_out()

    async def tool_result(self, call_id: str, output: str) -> None:
        """Answer a `ToolCall`; of one that was cancelled nobody wants the result.

        Raises:
            CascadeError: No such call is open.
        """
        self._core.result(call_id, output)
        self._carry_out()

    async def commit(self) -> None:
        """End the user's turn, where `turns=manual` was asked for.

        Raises:
            CascadeError: The session ends turns itself.
        """
        raise CascadeError("this session ends turns itself; use turns=manual to end them")

    def _carry_out(self) -> None:
        """Do what the core decided."""
        self._events.tell(*self._core.ledger.take())
        for parcel in self._core.take():
            if not self._over:
                self._outbox.put(parcel)

    async def _took(self) -> None:
        """Do what the core decided about a message, and wait while nobody reads."""
        self._carry_out()
        await self._events.room()

    async def _receive(self, connection: Link) -> Any:
        """The next message of the server's that is JSON."""
        while True:
            message = await self._read(connection)
            try:
                return json.loads(message)
            except (ValueError, RecursionError):
                self._core.strange("a message that is no JSON")

    async def _keep(self, connection: Link) -> None:
        """Hold the conversation, over as many connections as it may take."""
        try:
            # A cancellation that meets another error in a task group is lost with it.
            while not self._over:
                why = await self._converse(connection)
                if not self._over:
                    await self._drop()
                    connection = await self._again(why)
        except StageError as error:
            self._end(str(error))
            await self._drop()
        except Exception as error:
            log.exception("a session with %s", self._errors.host)
            self._end(f"{type(error).__name__}: {shown(str(error))}")

    async def _again(self, why: str) -> Link:
        """A new connection for the same conversation; `why`: empty where the last was left.

        Raises:
            StageError: The conversation cannot go on.
        """
        now_ns = self._clock.now_ns()
        if why:
            answered = sum(r.done and not r.broken for r in self._core.ledger.replies)
            if answered > self._answered:
                self._answered = answered
                self._lost_ns.clear()
            often = len(self._lost_ns) == self._lost_ns.maxlen
            if often and now_ns - self._lost_ns[0] < WITHIN_S * NS_PER_S:
                raise StageError("direct", f"{why}; again and again: given up", fatal=True)
            self._lost_ns.append(now_ns)
            log.warning("%s; connecting again", why)
            self._core.lost(why, fatal=False)
            self._outbox.broken()
            self._carry_out()
        for number, wait_s in enumerate(self._retries_s, start=1):
            await asyncio.sleep(wait_s)
            try:
                connection = self._connection = await self._connect()
                break
            except StageError as error:
                if isinstance(error, Denied) or number == len(self._retries_s):
                    also = f"{why}; and then: " if why else ""
                    raise StageError("direct", f"{also}{error}", fatal=True) from None
                log.warning("cannot go on yet: %s", error)
        self._reconnects += 1
        self._resume()
        return connection

    async def _converse(self, connection: Link) -> str:
        """Send and receive until the connection ends; gives why, empty where it is to be left.

        Raises:
            StageError: It ended, and there is no way to go on.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_all(connection))
                tasks.create_task(self._tick())
                await self._listen(connection)
        except BaseExceptionGroup as group:
            error = first_of(group)
            if isinstance(error, ConnectionClosed):
                error = self._errors.closed(error)
            if isinstance(error, Leave):
                return ""
            if isinstance(error, StageError) and not error.fatal:
                return str(error)
            raise error from None
        raise AssertionError("who listens ends by an error")

    async def _send_all(self, connection: Link) -> None:
        """Outbox → server."""
        while True:
            while (parcel := self._outbox.first) is not None:
                try:
                    async with asyncio.timeout(self._stall_s):
                        await self._deliver(connection, parcel)
                except TimeoutError:
                    why = f"{self._errors.host} takes nothing for {self._stall_s:g} s"
                    raise StageError("direct", why) from None
                except (ConnectionClosed, OSError):
                    # Who receives finds out why, and may still have messages to read.
                    return
                self._outbox.sent()
            self._outbox.filled.clear()
            await self._outbox.filled.wait()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._core.tick()
            self._carry_out()
            if self._core.leave:
                raise Leave

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._shut(connection)

    def _end(self, why: str) -> None:
        """The conversation is lost for good."""
        if not self._over:
            self._core.lost(why, fatal=True)
            self._core.over()
            self._carry_out()
            self._over = True
            self._events.end()
