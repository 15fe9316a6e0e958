"""A session with OpenAI's Live API (`gpt-live-1`), through the `openai` SDK.

The model listens and speaks at once, and tells no turns. So they are made here: a turn is the
user's, by our own detector; what the model says until the user speaks again is the reply to it, by
a gate on its sound. A reply is told to be over only when it has been silent for a while, and
`committed` is the first sign of a reply. The model is not told to stop when the user speaks: it
listens, and decides. Where its sound ends while the user speaks over it, it gave way, which is an
interruption. A reply that happened to be over just then looks the same, and counts as one too.

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
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import openai
from openai.resources.live.live import AsyncLiveConnection
from websockets.exceptions import ConnectionClosed

from pipeline.audio import encoding
from pipeline.clock import NS_PER_MS, Clock
from pipeline.conversation.history import Message
from pipeline.errors import CascadeError, StageError
from pipeline.events import Failure, Samples, Usage
from pipeline.speech_to_speech.brief import Brief, Facts, SystemSpec, given
from pipeline.speech_to_speech.keys import shown
from pipeline.speech_to_speech.ledger import (
    Now,
    ReplyEntry,
    TakeMark,
    TurnEntry,
)
from pipeline.speech_to_speech.openai_server import (
    OpenAiSession,
    as_item,
    functions,
    server_of,
)
from pipeline.speech_to_speech.turnless import OWED_MS, SoundGate, Stretch, TurnlessCore
from pipeline.speech_to_speech.wire import count, error_in, reason, sound_in, text_in
from pipeline.trace import Trace

OPTIONS: Mapping[str, Sequence[str] | range] = {
    "voice": (),
    "delegation": ("responses", "client"),
    "backend": (),
}
"""What the command line can say, and the values that are allowed; none listed: any."""

BACKEND = "gpt-5.5"
"""Which text model works on what is delegated, unless the command line names another."""

READY_S = 15.0
"""From the attempt to connect to a session that has started."""

CLOSE_S = 0.6
"""How long leaving waits for the final usage."""

HISTORY = 128
"""Messages that a new session can be given."""

PAUSE_MS = 1000.0
"""Silence that ends a reply: longer than the pauses between sentences."""

YIELD_MS = 300.0
"""The same once the user has spoken on: a pause that may be the one before the next answer."""

STALL_MS = 500.0
"""A stream that stops altogether is silence after this much more time: networks stall."""

PIECE_CHARS = 1500
"""About 500 tokens: what one message to the model may hold."""

PIECES = 8
"""A client delegation's result has at most so many."""

DELEGATION = "delegation"
"""What the tool is called that stands for a delegation to us."""

NO_BACKEND = "Nothing can be looked up in this session. Answer from what you know."
"""Told silently to a model that delegates though there is nobody to work."""

IGNORED = frozenset(
    {"session.started", "session.updated", "session.commentary.appended", "info"}
    | {"session.thinking.appended", "session.instructions.appended"}
    | {"session.paused", "session.resumed"}
)
"""Messages that tell nothing that others do not. How long a session was paused, and so billed as
standby, is in its usage; the API pauses only those over WebRTC, which ours are not."""


@dataclass(slots=True, eq=False)
class LiveTask:
    """Work that the model has given away.

    Attributes:
        turn: In which turn.
        ours: It was given to us, not to a text model.
        calls: Of tools, not answered yet: their ids.
        called: Whether the text model's latest response called any.
        ended: Whether that response is complete.
    """

    turn: TurnEntry
    ours: bool = False
    calls: set[str] = field(default_factory=set)
    called: bool = False
    ended: bool = False


class LiveCore(TurnlessCore):
    """Turns for a model that has none: who speaks when, in a full-duplex conversation.

    Args:
        mark: Takes the marks.
        now: Tells the time.
        host: What to call the server.
        tools: Whether we can do anything for the model.

    Attributes:
        speaking: Whether the user speaks.
        ended: Why the server has ended the session; None: it has not.
    """

    def __init__(
        self,
        mark: TakeMark,
        now: Now,
        *,
        host: str = "",
        tools: bool = False,
    ) -> None:
        super().__init__(mark, now)
        # It cannot be told that a reply was cut.
        self.ledger.whole = True
        self.speaking = False
        self.ended: str | None = None
        self._host = host
        self._tools = tools
        self._gate = SoundGate(encoding.PCM_RATE)
        self._billed_s = {"session": 0.0, "standby": 0.0}
        # Until when more of the reply is expected though it is silent.
        self._owed_ns = 0
        self._tasks: dict[str, LiveTask] = {}
        self._called_by: dict[str, str] = {}

    def begin(self) -> None:
        """Another session of the server's begins."""
        self.ended, self._billed_s = None, {"session": 0.0, "standby": 0.0}

    def receive(self, event: Any) -> None:
        """Take a message of the server's: JSON as it was parsed, whatever that is."""
        match event:
            case {"type": "session.output_audio.delta", "delta": str(delta)}:
                if (sound := sound_in(delta)) is None:
                    self.strange("sound that is no base64")
                else:
                    self.sounded(encoding.Encoding().decode(sound))
            case {"type": "session.input_transcript.delta", "delta": str(delta)}:
                self._understood(self._turn.said + delta)  # it comes without turns
            case {"type": "session.output_transcript.delta", "delta": str(delta)}:
                self.said(delta)
            case {
                "type": "session.delegation.created",
                "delegation": {"id": str(name), "target": str(by)},
            }:
                self._delegated(name, by)
            case {"type": "response.event", "event": {"type": str()} as inner}:
                name = event.get("delegation_id")
                self._backend(name if isinstance(name, str) else "", inner)
            case {"type": "session.usage.updated", "usage": {"seconds": float() | int()} as usage}:
                self._bill(usage)
            case {"type": "session.closed"}:
                match event:
                    case {"usage": {"seconds": float() | int()} as usage}:
                        self._bill(usage)
                self.ended = text_in(event, "reason")
            case {"type": "error"}:
                why = f"{self._host}: {reason(error_in(event))}"
                self.ledger.add(Failure(self.ledger.number, "direct", why, False))
            case {"type": str(kind)} if kind in IGNORED:
                pass
            case {"type": str(kind)}:
                self.strange(kind)
            case _:
                self.strange("a message without a type")

    def user_began(self, voiced_ns: int) -> None:
        """The user speaks, since `voiced_ns`."""
        self.ledger.finish_transcript(self._turn)
        if self._reply is not None and not self._gate.open:
            self._end_reply("completed")
        self._begin_turn(voiced_ns)
        self.speaking = True

    def user_stopped(self) -> None:
        """The user's turn is over."""
        self.speaking = False
        if not self._gate.open:
            self._owe()
            # What was said into the user's speech was not the answer.
            self._turn.marked.clear()
        self.ledger.commit(self._turn, marked=False)

    def said(self, delta: str) -> None:
        """More of what the model says."""
        reply = self._late()
        if reply is None:
            reply = self._take_floor()
            if not reply.samples:
                self._owe()
        # Text and sound come without a word of what belongs together.
        self.ledger.text(reply, reply.part(""), delta)

    def sounded(self, samples: Samples) -> None:
        """More of the model's sound, silence included; int16 (n,)."""
        self._came_ns = self.ledger.now_ns
        for stretch in self._gate.push(samples, self._hold_ms):
            self._pass_on(stretch)

    def tick(self) -> None:
        """Time goes by: end what only silence can end."""
        silent_ms = (self.ledger.now_ns - self._came_ns) / NS_PER_MS
        if silent_ms > self._hold_ms + STALL_MS and (last := self._gate.close()):
            self._pass_on(last)
        busy = self._gate.open or self.speaking or self._tasks
        if self._reply is not None and not busy and self.ledger.now_ns >= self._owed_ns:
            self._end_reply("completed")

    def result(self, call_id: str, output: str) -> None:
        """Take a tool's result: the text model goes on once it has those of all its calls.

        Raises:
            CascadeError: No such call is open.
        """
        if (call := self.ledger.take_result(call_id, output)) is None:
            return
        call.sent = True
        name = self._called_by[call_id]
        if (task := self._tasks.get(name)) is None:
            return
        task.calls.discard(call_id)
        if task.ours:
            self._settle(name)
            starts = range(0, min(len(output), PIECES * PIECE_CHARS) or 1, PIECE_CHARS)
            for at in starts:
                piece = output[at : at + PIECE_CHARS]
                self._append("session.commentary.append", name, piece)
            return
        item = {"type": "function_call_output", "call_id": call_id, "output": output}
        self._say({"type": "response.item.create", "item": item})
        self._go_on(task)

    def lost(self, why: str, *, fatal: bool) -> None:
        """The connection is gone: what was under way has failed."""
        waits = self._turn.number and self._turn.reply is None
        if fatal or self._reply is not None or self._tasks or self.speaking or waits:
            self.ledger.fail(self._reply.turn if self._reply else self._turn, why, fatal=fatal)
        self.ledger.cancel(self.ledger.open_calls())
        self._gate.close()
        self._tasks.clear()
        if self._reply is not None:
            self._end_reply("failed")

    @property
    def _hold_ms(self) -> float:
        """Silence that ends what the model says now."""
        old = self._reply is not None and self._reply.turn is not self._turn
        return YIELD_MS if old else PAUSE_MS

    def _pass_on(self, stretch: Stretch) -> None:
        """Sound that the gate lets through."""
        if stretch.begins:
            reply = self._take_floor()
            self._owed_ns = 0
            reply.part("").filler = bool(self._tasks)
        if self._reply is None:
            return
        if len(stretch.samples):
            silent = stretch.start + len(stretch.samples) - self._gate.sounded
            part = self._reply.part("")
            self.ledger.sound(self._reply, part, stretch.samples, encoding.PCM_RATE, silent)
        if stretch.ends:
            self._fell_silent(self._reply)

    def _fell_silent(self, reply: ReplyEntry) -> None:
        """The gate has closed behind the reply."""
        if reply.turn is not self._turn:
            if self.speaking:
                # It gave way.
                self._reply = None
                self.ledger.interrupt(reply)
            else:
                self._end_reply("completed")
        # A word into the user's speech, or before work that is given away, is not all there is.
        elif not (self.speaking or self._tasks or self.ledger.now_ns < self._owed_ns):
            self._end_reply("completed")

    def _take_floor(self) -> ReplyEntry:
        """A sign of a reply: it is under way, or begins."""
        reply = self._reply
        old = reply is not None and reply.turn is not self._turn and not self.speaking
        if old and (not self._gate.open or self._gate.quiet_ms >= YIELD_MS / 2):
            # The user has spoken since and is done: this is what the model says to that.
            self._gate.close()
            self._end_reply("completed")
        if self._reply is None:
            self._owed_ns = 0
        return super()._take_floor()

    def _owe(self) -> None:
        """More is expected of the reply, soon."""
        if self._reply is not None:
            self._owed_ns = self.ledger.now_ns + round(OWED_MS * NS_PER_MS)

    # Work that is given away.

    def _delegated(self, name: str, by: str) -> None:
        """The model gives work away, and will speak of it later; what it is, it does not say."""
        ours = by == "client"
        if ours and not self._tools:
            self._append("session.thinking.append", name, NO_BACKEND)
            return
        task = self._task(name)
        if ours:
            task.ours = True
            self._call(name, name, DELEGATION, json.dumps({"heard": task.turn.said.strip()}))

    def _backend(self, name: str, event: Mapping[str, Any]) -> None:
        """What the text model does: an event of the Responses API."""
        match event:
            case {"type": "response.created"}:
                task = self._task(name)
                task.called = task.ended = False
            case {
                "type": "response.output_item.done",
                "item": {
                    "type": "function_call",
                    "call_id": str(call_id),
                    "name": str(tool),
                    "arguments": str(arguments),
                },
            }:
                self._task(name).called = True
                self._call(name, call_id, tool, arguments)
            case {"type": "response.output_item.done", "item": {"type": "function_call"}}:
                self.strange("a call of a tool that names none")
            case {"type": "response.completed" | "response.incomplete", "response": response}:
                task = self._task(name)
                match response:
                    case {"usage": {"input_tokens": int(read), "output_tokens": int(made)} as used}:
                        cached = count(used, "input_tokens_details", "cached_tokens")
                        self.ledger.add(Usage(task.turn.number, read, cached, made))
                task.ended = True
                if task.called:
                    self._go_on(task)
                else:
                    self._settle(name)
            case {"type": "response.failed" | "error"}:
                task = self._task(name)
                response = event.get("response")
                failed = response if isinstance(response, Mapping) else event
                why = f"{self._host}: the text model failed: {reason(error_in(failed))}"
                self.ledger.add(Failure(task.turn.number, "direct", why, False))
                self._settle(name)

    def _task(self, name: str) -> LiveTask:
        """The task of this name, begun if it is new."""
        if name not in self._tasks:
            turn = self._take_floor().turn
            self._tasks[name] = LiveTask(turn)
        return self._tasks[name]

    def _call(self, name: str, call_id: str, tool: str, arguments: str) -> None:
        task = self._tasks[name]
        if self.ledger.called(task.turn, call_id, tool, arguments) is not None:
            task.calls.add(call_id)
            self._called_by[call_id] = name

    def _go_on(self, task: LiveTask) -> None:
        """Let the text model go on once it has all that it asked for, and has finished asking."""
        if task.called and task.ended and not task.calls:
            task.called = task.ended = False
            self._say({"type": "response.create"})

    def _settle(self, name: str) -> None:
        """The work is done: the model will say what came of it."""
        if self._tasks.pop(name, None) is not None:
            self._owe()

    def _append(self, kind: str, task: str, content: str) -> None:
        self._say({"type": kind, "content": content, "delegation_id": task})

    def _bill(self, usage: Mapping[str, Any]) -> None:
        """The API tells totals of a session, standby included; events tell what was added."""
        # Not every message has it: then what was known of it holds.
        paused, standby_s = usage.get("paused_seconds"), self._billed_s["standby"]
        if isinstance(paused, int | float):
            standby_s = float(paused)
        totals: tuple[tuple[Literal["session", "standby"], float], ...] = (
            ("session", float(usage["seconds"]) - standby_s),
            ("standby", standby_s),
        )
        for kind, total_s in totals:
            added = total_s - self._billed_s[kind]
            if added > 0:
                self._billed_s[kind] = total_s
                self.ledger.add(Usage(self.ledger.number, 0, 0, 0, seconds=added, kind=kind))


class LiveSession(OpenAiSession[AsyncLiveConnection]):
    """A `SpeechToSpeech` session with a full-duplex model."""

    def __init__(
        self,
        spec: SystemSpec,
        brief: Brief,
        trace: Trace,
        clock: Clock,
        *,
        ready_s: float = READY_S,
        **more: Any,
    ) -> None:
        """Prepare a session; nothing is connected.

        Args:
            spec: `openai-live`, with the options in `OPTIONS`.
            brief: What the conversation is about.
            trace: Takes the marks.
            clock: The one clock.
            ready_s: See `READY_S`.
            more: See `ApiSession`.

        Raises:
            BadInput: There is no key, or an option cannot be.
        """
        self._options = given(spec, OPTIONS)
        self._brief = brief
        self._ready_s = ready_s
        server = server_of(spec)
        self._live = LiveCore(trace.mark, clock.now_ns, host=server.host, tools=bool(brief.tools))
        self._started: Mapping[str, Any] = {}
        self._closed = asyncio.Event()
        rate = encoding.PCM_RATE
        super().__init__(self._live, server, clock, connect_s=ready_s, rate=rate, **more)

    async def commit(self) -> None:
        """The API has no turns to be committed.

        Raises:
            CascadeError: Always.
        """
        raise CascadeError(f"{self._server.model} decides itself when a turn is over")

    def _pack(self, samples: Samples) -> dict[str, str]:
        sound = base64.b64encode(samples.astype("<i2", copy=False).tobytes()).decode()
        return {"type": "session.input_audio.append", "audio": sound}

    async def _open(self, options: Any) -> AsyncLiveConnection:
        return await self._sdk.live.connect(websocket_connection_options=options).enter()

    async def _set_up(self, connection: AsyncLiveConnection) -> None:
        wanted = configuration(self._options, self._server.model, self._brief, self._core.history)
        await connection.send_raw(json.dumps({"type": "session.start", "session": wanted}))
        async with asyncio.timeout(self._ready_s):
            self._started = await self._start(connection)
        self._live.begin()

    async def _start(self, connection: AsyncLiveConnection) -> Mapping[str, Any]:
        """Wait until the session has started; gives what the server says of it."""
        while True:
            match event := await self._receive(connection):
                case {"type": "session.started"}:
                    session = event.get("session")
                    return session if isinstance(session, dict) else {}
                case {"type": "error"}:
                    error = error_in(event)
                    raise self._errors.refused(text_in(error, "code", "type"), reason(error))

    async def _listen(self, connection: AsyncLiveConnection) -> None:
        while self._live.ended is None:
            self._live.receive(await self._receive(connection))
            await self._took()
        self._closed.set()
        why = f"{self._server.host}: the session ended ({shown(self._live.ended)})"
        raise StageError("direct", why, fatal=self._live.ended == "content")

    async def _leave(self, connection: AsyncLiveConnection) -> None:
        """Close the session, so that the last of its usage is told."""
        with contextlib.suppress(TimeoutError, ConnectionClosed, openai.OpenAIError):
            async with asyncio.timeout(CLOSE_S):
                await connection.send_raw(json.dumps({"type": "session.close"}))
                await self._closed.wait()

    def _found(self, connection: AsyncLiveConnection, connect_ms: float) -> Facts:
        model = text_in(self._started, "model") or self._server.model
        return Facts(model, self._server.host, connect_ms, duplex=True)


def configuration(
    options: Mapping[str, str], model: str, brief: Brief, history: Sequence[Message]
) -> dict[str, Any]:
    """What `session.start` says; nothing more, for the API refuses fields that it does not know.

    Args:
        options: As the command line gives them.
        model: Which model.
        brief: Instructions and tools.
        history: What to go on with; of more messages than the API takes, the last.
    """
    audio: dict[str, Any] = {"format": encoding.PCM}
    if voice := options.get("voice"):
        audio["output"] = {"voice": voice}
    instructions = {"instructions": brief.instructions} if brief.instructions else {}
    config: dict[str, Any] = {"model": model, "audio": audio, **instructions}
    if options.get("delegation", "responses" if brief.tools else "client") == "responses":
        name = options.get("backend", BACKEND)
        backend = {"model": name, **instructions, "tools": functions(brief)}
        config["delegation"] = {"type": "responses", "responses": backend}
    if history:
        config["input"] = [as_item(message) for message in history[-HISTORY:]]
    return config
