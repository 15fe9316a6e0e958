"""A session with a server that speaks OpenAI's Realtime protocol, through the `openai` SDK.

What to make of the server's events is `realtime_core`'s to decide; here are the connection, the
sound on its way there, and a new connection when one is lost: with the history as text, at most
once in `openai_link.RECONNECT_S`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections import deque
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self

from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed

from pipeline.audio.resample import Resampler
from pipeline.clock import NS_PER_MS, Clock
from pipeline.conversation.history import Message
from pipeline.errors import CascadeError, StageError
from pipeline.events import Event, Frame, ReplyInterrupted
from pipeline.session import EventQueue
from pipeline.speech_to_speech import openai_link as link
from pipeline.speech_to_speech import openai_words as words
from pipeline.speech_to_speech.brief import STAMP, Brief, Facts, Target, parameters
from pipeline.speech_to_speech.realtime_book import Mark, Say
from pipeline.speech_to_speech.realtime_core import Core
from pipeline.speech_to_speech.realtime_wishes import read
from pipeline.trace import Trace

STALL_S = 20.0
"""A server that takes nothing for so long is lost. websockets' own pings find out no sooner."""

AHEAD = 3000
"""Messages that may wait to be sent: a minute of sound, more than a stall and a new connection
take. What comes beyond is lost."""

TICK_S = 1.0
"""How often it is looked whether the server still says anything."""

log = logging.getLogger(__name__)


class RealtimeSession:
    """A `Direct` session with a Realtime server.

    Attributes:
        reconnects: How often the connection was lost and made again.
    """

    def __init__(self, target: Target, brief: Brief, trace: Trace, clock: Clock) -> None:
        """Prepare a session; nothing is connected.

        Args:
            target: `openai` or `realtime`, with the options in `realtime_wishes.OPTIONS`.
            brief: What the conversation is about.
            trace: Takes the marks.
            clock: The one clock.

        Raises:
            BadInput: There is no key, or an option or the URL cannot be.
        """
        self.reconnects = 0
        self._wishes = read(target)
        self._place = link.place(target)
        self._brief = brief
        self._trace = trace
        self._clock = clock
        self._core = Core(manual=self._wishes.turns == "manual")
        self._sdk = link.client(self._place)
        self._events = EventQueue()
        self._outbox: deque[tuple[bool, str]] = deque()
        self._waiting = asyncio.Event()
        self._resampler: Resampler | None = None
        self._tasks = asyncio.TaskGroup()
        self._run: asyncio.Task[None] | None = None
        self._facts: Facts | None = None
        self._connection: AsyncRealtimeConnection | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        """Connect, and wait until the server is ready.

        Raises:
            StageError: It cannot be had; the message says why.
        """
        begin_ns = self._clock.now_ns()
        try:
            connection = await self._open()
        except BaseException:
            await self._sdk.close()
            raise
        self._connection = connection
        self._facts = self._found((self._clock.now_ns() - begin_ns) / NS_PER_MS)
        await self._tasks.__aenter__()
        self._run = self._tasks.create_task(self._keep(connection))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; whoever still reads gets the end."""
        self._ended = True
        if self._run is not None:
            self._run.cancel()
        # What went wrong outside is told as it is, not as one of a group.
        cancelled = exc_type is not None and issubclass(exc_type, asyncio.CancelledError)
        why = (exc_type, exc, traceback) if cancelled else (None, None, None)
        try:
            await self._tasks.__aexit__(*why)
        finally:
            self._events.end()
            # Here, for a task that is cancelled before its first step closes nothing.
            await self._shut()
            await self._sdk.close()

    @property
    def facts(self) -> Facts | None:
        """What was found at the other end; None before the session is entered."""
        return self._facts

    @property
    def history(self) -> list[Message]:
        """What the model remembers so far, as far as is known."""
        return self._core.history

    async def send(self, frame: Frame) -> None:
        """Take the next of the microphone, at any rate."""
        if self._ended:
            return
        rate = self._core.input.rate
        if self._resampler is None or (self._resampler.rate_in, self._resampler.rate_out) != (
            frame.rate,
            rate,
        ):
            self._resampler = Resampler(frame.rate, rate)
        samples = self._resampler.push(frame.samples)
        if not len(samples):
            return
        if len(self._outbox) >= AHEAD:
            log.debug("the server takes no sound: 20 ms of it are lost")
            return
        sound = base64.b64encode(self._core.input.encode(samples)).decode()
        self._post(json.dumps({"type": "input_audio_buffer.append", "audio": sound}), sound=True)

    async def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left or fails for good."""
        async for event in self._events.read():
            if isinstance(event, ReplyInterrupted):
                self._core.told(event.id)
            yield event

    async def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        self._core.heard(reply_id, samples)
        self._carry_out()

    async def tool_result(self, call_id: str, output: str) -> None:
        """Answer a tool call.

        Raises:
            CascadeError: No such call is open.
        """
        self._core.result(call_id, output, self._clock.now_ns())
        self._carry_out()

    async def commit(self) -> None:
        """Say that the user's turn is over.

        Raises:
            StageError: The session ends turns itself.
        """
        self._core.commit(self._clock.now_ns())
        self._carry_out()

    async def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await link.shut(connection)

    async def _open(self) -> AsyncRealtimeConnection:
        """A connection with a server that is ready."""
        connection = await link.connect(self._sdk, self._place)
        try:
            await link.configure(
                connection, self._core, self._hear, self._place, self._wishes, self._brief
            )
            for message in self._core.replay():
                await connection.send_raw(json.dumps(message))
        except BaseException as error:
            await link.shut(connection)
            if isinstance(error, ConnectionClosed):
                why = words.closed(error)
                raise StageError("direct", f"{self._place.host}: {why}") from None
            raise
        return connection

    def _found(self, connect_ms: float) -> Facts:
        session = self._core.session
        model, tracing = session.get("model"), session.get("tracing")
        simulated = None
        if isinstance(tracing, dict) and tracing.get("workflow_name") == STAMP:
            simulated = parameters(tracing.get("metadata"))
        said = model if isinstance(model, str) and model else self._place.model
        return Facts(said, self._place.host, connect_ms, simulated)

    async def _keep(self, connection: AsyncRealtimeConnection) -> None:
        """Hold the conversation, over as many connections as it may take."""
        renewals = link.Renewals()
        while True:
            why, renewable = await self._hold(connection)
            await self._shut()
            now_ns = self._clock.now_ns()
            renewable = renewable and renewals.allowed(now_ns)
            why = f"{self._place.host}: {why}"
            self._core.lost(why, now_ns, fatal=not renewable)
            # The server that knew what these were about is gone; sound is for any.
            self._outbox = deque(each for each in self._outbox if each[0])
            self._carry_out()
            if renewable:
                log.warning("%s; connecting again", why)
                try:
                    self._connection = connection = await self._open()
                except CascadeError as error:
                    again = f"{why}; and then: {error}"
                    self._core.lost(again, self._clock.now_ns(), fatal=True)
                    self._carry_out()
                else:
                    self.reconnects += 1
                    continue
            self._ended = True
            self._events.end()
            return

    async def _hold(self, connection: AsyncRealtimeConnection) -> tuple[str, bool]:
        """Converse until the connection is lost: why, and whether a new one may be had."""
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write(connection))
            reader = tasks.create_task(self._read(connection))
            ticker = tasks.create_task(self._tick())
            await asyncio.wait((writer, reader), return_when=asyncio.FIRST_COMPLETED)
            for task in (writer, reader, ticker):
                task.cancel()
        ended = reader if not reader.cancelled() else writer
        return ended.result()

    async def _read(self, connection: AsyncRealtimeConnection) -> tuple[str, bool]:
        while not self._core.expired:
            try:
                message = await connection.recv_bytes()
            except ConnectionClosed as error:
                return words.closed(error), self._core.expired or link.renewable(error)
            self._hear(message)
            self._carry_out()
            await self._events.room()
        return "the session had lasted as long as it may", True

    async def _write(self, connection: AsyncRealtimeConnection) -> tuple[str, bool]:
        while True:
            while self._outbox:
                try:
                    async with asyncio.timeout(STALL_S):
                        await connection.send_raw(self._outbox[0][1])
                except TimeoutError:
                    return f"the server takes nothing for {STALL_S:g} s", True
                except (ConnectionClosed, OSError):
                    # The reader finds out why; it may still have messages to read.
                    await asyncio.Event().wait()
                self._outbox.popleft()
            self._waiting.clear()
            await self._waiting.wait()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._core.tick(self._clock.now_ns())
            self._carry_out()

    def _hear(self, message: bytes) -> None:
        """Take a message of the server's."""
        try:
            event: Any = json.loads(message)
        except (ValueError, RecursionError):
            self._core.garbled()
            return
        self._core.receive(event, self._clock.now_ns())

    def _carry_out(self) -> None:
        """Do what was decided."""
        for out in self._core.take():
            match out:
                case Say():
                    self._post(json.dumps(out.message), sound=False)
                case Mark():
                    self._trace.mark(out.turn, out.name, out.t_ns)
                case _:
                    self._events.tell(out)

    def _post(self, message: str, *, sound: bool) -> None:
        if not self._ended:
            self._outbox.append((sound, message))
            self._waiting.set()
