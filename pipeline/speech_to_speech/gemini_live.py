"""A session with the Gemini Live API, through Google's own client.

Nothing in this protocol promises a sign that the user has stopped speaking. `committed` is marked
at the first that there is: the end of the server's voice activity, our own `commit`, or else the
first output of the model. In the last case the wait for the end of the turn cannot be told from the
model's own time, and the model's part is all but nothing.

Connections of this API last some minutes. When the server says that it will go away, the session
moves to a new connection as soon as nothing is under way, and goes on where it was; sound waits
meanwhile. It does the same when a connection breaks, if the server has given it a handle to go on
with: what the user had said and was not answered is then sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from websockets import exceptions

from pipeline.audio.audible import onset
from pipeline.audio.resample import Resampler
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.conversation.history import Message
from pipeline.errors import CascadeError, StageError, first_of
from pipeline.events import Event, Frame
from pipeline.session import EventQueue
from pipeline.speech_to_speech import gemini_link as link
from pipeline.speech_to_speech import gemini_words as words
from pipeline.speech_to_speech.brief import Brief, Facts, Target, stamp
from pipeline.speech_to_speech.gemini_core import GeminiCore
from pipeline.speech_to_speech.gemini_outbox import Outbox, Parcel
from pipeline.speech_to_speech.secrets import shown
from pipeline.trace import Trace

if TYPE_CHECKING:
    from google.genai import types
    from google.genai.live import AsyncSession

RETRIES_S = (0.0, 0.5, 1.0, 2.0)
"""Waits before each attempt to connect again."""

LOSSES, LOSSES_S = 3, 60.0
"""A server that breaks more connections than this in so many seconds is given up."""

MARGIN_S = 1.0
"""A connection that will be closed is left so long before, whatever is under way."""

LOOK_S = 0.05
"""How often it is seen whether a connection can be left."""

log = logging.getLogger(__name__)


class _Leave(Exception):
    """The connection is to be left for a new one."""


class GeminiSession:
    """A `Direct` session with Gemini Live: 16 kHz in, 24 kHz out."""

    def __init__(self, target: Target, brief: Brief, trace: Trace, clock: Clock) -> None:
        """Prepare; entering it connects.

        Args:
            target: Which model, where, with what options (`gemini_link.OPTIONS`).
            brief: Instructions and tools.
            trace: Takes the marks.
            clock: The one clock.

        Raises:
            BadInput: The client library or the key is missing, or an option is wrong.
        """
        self._link = link.Link(target, brief)
        self._clock = clock
        self._core = GeminiCore(
            trace.mark, blocking=self._link.wishes.blocking, manual=self._link.wishes.manual
        )
        self._outbox = Outbox()
        self._filled = asyncio.Event()
        self._events = EventQueue()
        self._resampler: Resampler | None = None
        self._handle = ""
        self._leave_ns: int | None = None
        self._leaving = asyncio.Event()
        self._lost_ns: deque[int] = deque(maxlen=LOSSES)
        self._facts: Facts | None = None
        self._reconnects = 0
        self._over = False
        self._tasks = asyncio.TaskGroup()
        self._running: asyncio.Task[None] | None = None

    @property
    def facts(self) -> Facts | None:
        """What was found at the other end; None before the session is entered."""
        return self._facts

    @property
    def history(self) -> list[Message]:
        """What was said; of an interrupted reply the words heard, by share of its sound.

        The API does not tell what its model remembers of it.
        """
        return self._core.history

    @property
    def reconnects(self) -> int:
        """How often the conversation went on over a new connection."""
        return self._reconnects

    async def __aenter__(self) -> Self:
        """Connect, and wait until the server is ready.

        Raises:
            StageError: It cannot be had; the message says why.
        """
        ready: asyncio.Future[Facts] = asyncio.get_running_loop().create_future()
        await self._tasks.__aenter__()
        self._running = self._tasks.create_task(self._run(ready))
        try:
            self._facts = await ready
        except BaseException as error:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tasks.__aexit__(None, None, None)
            raise error from None
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; whoever still reads gets the end."""
        assert self._running is not None
        self._over = True
        self._running.cancel()
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._events.end()

    async def send(self, frame: Frame) -> None:
        """Take the next sound of the microphone, at any rate; it is sent soon, silence too."""
        if self._over:
            return
        if self._resampler is None or self._resampler.rate_in != frame.rate:
            self._resampler = Resampler(frame.rate, link.RATE)
        if self._link.wishes.manual and not self._core.speaking:
            await self._listen_for_begin(frame)
        if len(samples := self._resampler.push(frame.samples)):
            await self._put(Parcel("sound", samples.astype("<i2", copy=False).tobytes()))

    async def commit(self) -> None:
        """The user's turn is over; nothing happens where nothing was said.

        Raises:
            CascadeError: The server ends turns itself.
        """
        if not self._link.wishes.manual:
            raise CascadeError(
                "this path ends turns itself; ask for turns=manual to do it yourself"
            )
        if self._core.speaking:
            self._events.tell(*self._core.user_stopped(self._clock.now_ns()))
            await self._put(Parcel("end"))

    def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left or lost for good."""
        return self._events.read()

    async def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        self._core.played(reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        """Give the model the result of a call; of one that was cancelled nobody wants it.

        Raises:
            CascadeError: No such call is open.
        """
        scheduling = self._link.wishes.scheduling
        silent, interrupting = scheduling == "silent", scheduling == "interrupt"
        name, events = self._core.answered(call_id, silent=silent, interrupting=interrupting)
        if name:
            await self._put(Parcel.of_tool(call_id, name, output, scheduling))
        self._events.tell(*events)

    async def _run(self, ready: asyncio.Future[Facts]) -> None:
        """Keep a connection until the session is left, or no more is to be had."""
        began_ns, why = self._clock.now_ns(), ""
        try:
            async with self._link.connect() as session:
                if not ready.done():
                    # Else whoever waited was cancelled just now.
                    ready.set_result(self._found(session, began_ns))
                why = await self._converse(session)
            # A cancellation that meets another error in a task group is lost with it.
            while not self._over:
                why = await self._again(why)
        except StageError as error:
            if not ready.done():
                ready.set_exception(error)
                return
            await self._end(str(error))
        finally:
            if not ready.done():
                ready.cancel()
            await self._link.close()

    async def _again(self, why: str) -> str:
        """Go on over a new connection; gives why that ended, empty where it was to be left.

        Raises:
            StageError: The conversation cannot go on.
        """
        now_ns = self._clock.now_ns()
        if why:
            recent = len(self._lost_ns) == LOSSES
            if recent and now_ns - self._lost_ns[0] < LOSSES_S * NS_PER_S:
                raise StageError("direct", f"{why}; again and again: given up", fatal=True)
            self._lost_ns.append(now_ns)
            self._events.tell(*self._core.lost(why, now_ns, fatal=False))
        async with self._resumed(broken=bool(why)) as session:
            self._reconnects += 1
            return await self._converse(session)

    @contextlib.asynccontextmanager
    async def _resumed(self, *, broken: bool) -> AsyncGenerator[AsyncSession]:
        """A new connection for the same conversation, after some attempts."""
        async with contextlib.AsyncExitStack() as stack:
            for number, wait_s in enumerate(RETRIES_S, start=1):
                await asyncio.sleep(wait_s)
                try:
                    session = await stack.enter_async_context(self._link.connect(self._handle))
                    break
                except StageError as error:
                    if isinstance(error, words.Refused) or number == len(RETRIES_S):
                        raise
                    log.warning("cannot go on yet: %s", error)
            self._outbox.again(broken=broken)
            self._core.resumed()
            self._leave_ns = None
            self._leaving.clear()
            yield session

    async def _converse(self, session: AsyncSession) -> str:
        """Send and receive until the connection ends; gives why, empty where it is to be left.

        Raises:
            StageError: It ended, and there is no way to go on.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_all(session))
                tasks.create_task(self._watch())
                await self._receive_all(session)
        except BaseExceptionGroup as group:
            error = first_of(group)
            if isinstance(error, _Leave):
                return ""
            if isinstance(error, StageError) and not error.fatal and self._handle:
                return str(error)
            raise error from None
        raise AssertionError("unreachable")

    async def _send_all(self, session: AsyncSession) -> None:
        """Outbox → server."""
        try:
            while True:
                while (parcel := self._outbox.first) is not None:
                    await link.deliver(session, parcel)
                    open_turn = self._core.speaking or self._core.unanswered
                    self._outbox.sent(open_turn=open_turn)
                self._filled.clear()
                await self._filled.wait()
        except exceptions.ConnectionClosed:
            # The receiving side knows why.
            return

    async def _receive_all(self, session: AsyncSession) -> None:
        """Server → events."""
        while True:
            try:
                async for message in session.receive():
                    await self._take(message)
            except (ValueError, TypeError, AttributeError) as error:
                # The client cannot read it; of a message of an unknown kind it makes a TypeError.
                self._core.strange("a malformed or unknown message")
                log.debug("not understood: %s", shown(str(error)))
            except self._api_error as error:
                if not isinstance(getattr(error, "details", None), dict):
                    reason = str(getattr(error, "details", "") or "")
                    raise words.closed(reason, self._link.host, self._link.wishes.model) from None
                self._events.tell(*self._core.failed(words.error(error), self._clock.now_ns()))

    async def _take(self, message: types.LiveServerMessage) -> None:
        now_ns = self._clock.now_ns()
        update, away = message.session_resumption_update, message.go_away
        if update is not None and update.resumable and update.new_handle:
            self._handle = update.new_handle
        if away is not None:
            self._leave_ns = now_ns + _duration_ns(away.time_left or "")
            self._leaving.set()
        events = self._core.message(message, now_ns)
        if self._core.generating:
            self._outbox.answered()
        self._events.tell(*events)
        await self._events.room()

    async def _watch(self) -> None:
        """Leave a connection that will be closed: when nothing is under way, or just before."""
        await self._leaving.wait()
        assert self._leave_ns is not None
        last_ns = self._leave_ns - round(MARGIN_S * NS_PER_S)
        while not (self._handle and self._core.quiet):
            # A reply that is being made would be lost; it may be whole before the server goes.
            pressing = self._clock.now_ns() >= last_ns
            if self._handle and pressing and not self._core.generating:
                break
            await asyncio.sleep(LOOK_S)
        raise _Leave

    @property
    def _api_error(self) -> type[Exception]:
        from google.genai import errors

        return errors.APIError

    async def _listen_for_begin(self, frame: Frame) -> None:
        """Where turns are ours to tell, one begins with audible sound."""
        if onset(frame.samples, frame.rate) is not None:
            self._events.tell(*self._core.user_began(self._clock.now_ns()))
            await self._put(Parcel("start"))

    async def _put(self, parcel: Parcel) -> None:
        try:
            self._outbox.put(parcel)
        except StageError as error:
            await self._end(str(error))
            if self._running is not None:
                self._running.cancel()
            return
        self._filled.set()

    async def _end(self, why: str) -> None:
        """The conversation is lost for good."""
        if self._over:
            return
        self._over = True
        self._events.end(*self._core.lost(why, self._clock.now_ns(), fatal=True))

    def _found(self, session: AsyncSession, began_ns: int) -> Facts:
        simulated = stamp(session.session_id)
        model = self._link.wishes.model.partition("#")[0]
        return Facts(
            model=model if simulated is None else f"simulated:{simulated.get('name', model)}",
            host=self._link.host,
            connect_ms=(self._clock.now_ns() - began_ns) / NS_PER_MS,
            simulated=simulated,
        )


def _duration_ns(text: str) -> int:
    """A duration such as `9.5s` (ns); 0 for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s", text.strip())
    return round(float(found[1]) * NS_PER_S) if found else 0
