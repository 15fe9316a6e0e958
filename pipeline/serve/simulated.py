"""A Realtime server on a real socket, and behind a network, that replays a script.

Messages arrive late, in order, or not at all, as the script's network has it. `cascade simulate`
runs it, and a comparison does in a child process.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from pipeline.audio.resample import resampled
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.config import Settings
from pipeline.engines.worker import apart
from pipeline.errors import BadInput, StageError
from pipeline.events import Samples
from pipeline.serve.items import KeptItem
from pipeline.serve.link import LARGEST, PATH, SUBPROTOCOL, Author, Link, Opening
from pipeline.serve.protocol import ServerSide
from pipeline.serve.refused import RequestRefused
from pipeline.serve.responses import RealtimeResponse, ResponseStatus
from pipeline.serve.script import (
    MODEL_SEPARATOR,
    PRESETS,
    Fault,
    FaultTime,
    Script,
    ScriptedNetwork,
    ScriptedTurn,
    dump,
    load,
    preset,
)
from pipeline.serve.session_object import JsonObject
from pipeline.serve.sound import RATE
from pipeline.serve.speech import (
    ReplyPiece,
    Sounds,
    UtteranceEdge,
    UtteranceFinder,
    hum,
    pieces,
    speak,
)
from pipeline.speech_to_speech.brief import STAMP, SystemSpec

CLOSE_S = 1.0
"""How long a client may take to answer that the connection is closed."""

SESSION_S = 3600
"""A session lasts an hour, says OpenAI's guide."""

KEPT_S = 2
"""So much sound from before an utterance is kept, for the padding."""

OPEN_NS = 5 * NS_PER_MS
"""So long before a reply's first sound its message begins and has its first word."""

QUOTA = {
    "type": "insufficient_quota",
    "code": "insufficient_quota",
    "message": "You exceeded your current quota, please check your plan and billing details.",
}

_REFUSALS = {
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("insufficient_quota", "insufficient_quota", QUOTA["message"]),
}


MOST_WAITING = 4096
"""Messages of a client that are on the way; it must wait to send more."""

_SPIN_NS = 2 * NS_PER_MS
"""asyncio's own timers are up to 1 ms late (epoll counts in whole ones); the rest is spun away."""


async def sleep_until(t_ns: int, clock: Clock) -> None:
    """Return when `clock` shows `t_ns`, within some 0.1 ms where the machine is idle.

    It sleeps until shortly before and then yields in a tight loop, so that it also takes turns with
    everything else that runs.
    """
    while (left := t_ns - clock.now_ns()) > 0:
        await asyncio.sleep((left - _SPIN_NS) / NS_PER_S if left > _SPIN_NS else 0)


class Delay:
    """One direction of a connection. Pure: it says when a message arrives, and waits for nothing.

    Messages arrive in the order in which they were sent, as over TCP: one that is held up holds up
    all that follow it. `stall_ms` of every `stall_every_s` nothing arrives.

    Args:
        network: Its delays.
        seed: Of the jitter, such as `"1/0/up"`.
        opened_ns: When the connection was made; stalls are counted from here.
    """

    def __init__(self, network: ScriptedNetwork, seed: str, opened_ns: int) -> None:
        self._network = network
        self._random = random.Random(f"network/{seed}")
        self._opened_ns = self._latest_ns = opened_ns

    def arrival_ns(self, sent_ns: int) -> int:
        """When a message that is sent now arrives (ns, on the clock of `sent_ns`)."""
        network = self._network
        ms = network.rtt_ms / 2 + self._random.random() * network.jitter_ms
        due = max(sent_ns + round(ms * NS_PER_MS), self._latest_ns)
        if every := round(network.stall_every_s * NS_PER_S):
            stalls, within = divmod(due - self._opened_ns, every)
            stall = round(network.stall_ms * NS_PER_MS)
            if stalls > 0 and within < stall:
                due += stall - within
        self._latest_ns = due
        return due


class Wire:
    """Sends and receives with the delays of a `ScriptedNetwork`.

    `run` has to run all the while: it moves the messages.

    Args:
        socket: The connection.
        network: What lies between.
        seed: Of what is drawn, such as `"1/0"`.
        clock: The time.
    """

    def __init__(
        self, socket: ServerConnection, network: ScriptedNetwork, seed: str, clock: Clock
    ) -> None:
        self._socket = socket
        self._clock = clock
        opened = clock.now_ns()
        self._up = Delay(network, f"{seed}/up", opened)
        self._down = Delay(network, f"{seed}/down", opened)
        self._received: asyncio.Queue[tuple[int, str | bytes] | None] = asyncio.Queue(MOST_WAITING)
        self._to_send: asyncio.Queue[tuple[int, Callable[[], Awaitable[None]]]] = asyncio.Queue()
        self._is_mute = False

    async def run(self) -> None:
        """Move messages both ways; returns when the connection is gone."""
        sending = asyncio.create_task(self._send_all())
        try:
            await self._receive_all()
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def messages(self) -> AsyncIterator[tuple[int, str | bytes]]:
        """What arrives from the client, with the time of its arrival (ns); ends with the line."""
        while (message := await self._received.get()) is not None:
            await self._clock.sleep_until(message[0])
            yield message

    def send(self, message: str) -> None:
        """Send, after all that was sent before it; leaves now, and arrives later."""
        self._put(lambda: self._socket.send(message))

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what was sent, with a closing code."""
        self._put(lambda: self._socket.close(code, reason))
        self.mute()

    def drop(self) -> None:
        """Break the connection after what was sent, without a word."""

        async def abort() -> None:
            self._socket.transport.abort()

        self._put(abort)
        self.mute()

    def mute(self) -> None:
        """From now on nothing is sent; the connection stays open."""
        self._is_mute = True

    def _put(self, act: Callable[[], Awaitable[None]]) -> None:
        if not self._is_mute:
            self._to_send.put_nowait((self._down.arrival_ns(self._clock.now_ns()), act))

    async def _receive_all(self) -> None:
        try:
            async for message in self._socket:
                arrival_ns = self._up.arrival_ns(self._clock.now_ns())
                await self._received.put((arrival_ns, message))
        except ConnectionClosed:
            pass
        finally:
            # The reader may be gone, with the queue full.
            if self._received.full():
                self._received.get_nowait()
            self._received.put_nowait(None)

    async def _send_all(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                arrival_ns, act = await self._to_send.get()
                await sleep_until(arrival_ns, self._clock)
                await act()


class SimulatedServer:
    """Listens while it is entered.

    Args:
        script: What is replayed, to each client from its beginning.
        sounds: All that the script says.
        host: Where to listen.
        port: 0 takes one that is free.

    Raises:
        BadInput: On entering: the port cannot be had.
    """

    def __init__(
        self,
        script: Script,
        sounds: Sounds,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._script = script
        self._sounds = sounds
        self._host = host
        self._port = port
        self._clock = Clock()
        self._clients = 0
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """What a client gives as its base URL: the path up to `/realtime`."""
        assert self._server is not None, "it does not listen"
        port = next(iter(self._server.sockets)).getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"ws://{host}:{port}/v1"

    async def __aenter__(self) -> Self:
        try:
            self._server = await serve(
                self._talk,
                self._host,
                self._port,
                process_request=self._admit,
                select_subprotocol=_select,
                max_size=LARGEST,
                compression=None,
                close_timeout=CLOSE_S,
            )
        except OSError as error:
            raise BadInput(f"{self._host}:{self._port}: cannot listen: {error.strerror}") from None
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """None for a client that may come in; else why it may not."""
        if self._script.refuse:
            return _refusal(connection, self._script.refuse, self._script.retry_after_s)
        if urlsplit(request.path).path != PATH:
            return _refusal(connection, 404)
        try:
            self._script.conversation(_opening(request).model)
        except BadInput as error:
            return _refusal(connection, 404, message=str(error))
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        seed = f"{self._script.seed}/{self._clients}"
        self._clients += 1
        wire = Wire(connection, self._script.network, seed, self._clock)
        opening = _opening(connection.request)
        session = ScriptedSession(self._script, opening, self._sounds, wire, seed, self._clock)
        try:
            async with asyncio.TaskGroup() as tasks:
                ends = [tasks.create_task(work) for work in (wire.run(), session.run())]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                raise _Over
        except* _Over:
            pass


def _refusal(
    connection: ServerConnection, status: int, retry_after_s: float = 0, message: str = ""
) -> Response:
    """The answer to a client that may not come in: an error in JSON, as OpenAI's servers give."""
    kind, code, text = _REFUSALS[status]
    error = {"message": message or text, "type": kind, "param": None, "code": code}
    response = connection.respond(http.HTTPStatus(status), json.dumps({"error": error}) + "\n")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    if status == 429:
        response.headers["Retry-After"] = f"{retry_after_s:.0f}"
    return response


def _opening(request: Request) -> Opening:
    """What a client asks for."""
    asked = parse_qs(urlsplit(request.path).query)
    is_transcription = asked.get("intent") == ["transcription"]
    return Opening(asked.get("model", [""])[0], "transcription" if is_transcription else "realtime")


def _select(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """`realtime` for clients that offer it; those that offer none get none."""
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


class _Over(Exception):
    """The client is gone, and with it all that is done for it."""


class ScriptedSession:
    """A conversation with one client: what it sends is heard, done and answered.

    A script's faults `drop` and `silence` need a `Wire`; another link is closed instead.

    Args:
        script: What to do.
        opening: What the client asked for.
        sounds: All that is said.
        link: The connection.
        seed: Of what is drawn, such as `"1/0"`.
        clock: The time.
    """

    def __init__(
        self, script: Script, opening: Opening, sounds: Sounds, link: Link, seed: str, clock: Clock
    ) -> None:
        self._turns = script.conversation(opening.model)
        self._sounds = sounds
        self._link = link
        self._clock = clock
        tag = f"{seed.replace('/', '_')}_"
        self._author = Author(tag, lambda event: link.send(json.dumps(event)))
        self._side = ServerSide(
            self._author,
            f"simulated:{script.name}",
            int(time.time()) + SESSION_S,
            replace(opening, model=opening.model.partition(MODEL_SEPARATOR)[0]),
            tracing={"workflow_name": STAMP, "metadata": script.describe()},
        )
        assert self._side.detection is not None
        self._side.detection["silence_duration_ms"] = round(script.silence_ms)
        self._finder = UtteranceFinder(RATE, script.silence_ms)
        self._latency = script.latency
        self._random = random.Random(f"latency/{seed}")
        self._tasks = asyncio.TaskGroup()
        # What the user said, and what of it is to be answered next.
        self._users = 0
        self._last = (0, False)
        self._ended: UtteranceEdge | None = None
        # What is answered now, and what waits until that is over.
        self._making: dict[str, asyncio.Task[None]] = {}
        self._waiting: asyncio.Task[None] | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._calls: dict[str, int] = {}
        self._expect()

    async def run(self) -> None:
        """Serve the client until it is gone."""
        self._side.begin()
        try:
            async with self._tasks as tasks:
                tasks.create_task(self._expire())
                async for arrived_ns, message in self._link.messages():
                    event = self._side.receive(message)
                    if event is not None:
                        self._do(event, arrived_ns)
                raise _Over
        except* _Over:
            pass

    async def _expire(self) -> None:
        await asyncio.sleep(self._side.session["expires_at"] - time.time())
        self._side.expire()
        self._link.close(1001, "The session has expired.")

    def _do(self, event: JsonObject, arrived_ns: int) -> None:
        match event["type"]:
            case "session.update":
                detection = self._side.detection or {}
                self._finder.silence_ms = detection.get(
                    "silence_duration_ms", self._finder.silence_ms
                )
            case "input_audio_buffer.append":
                pieces = [piece for piece, _ in event["audio"]]
                self._hear(np.concatenate([np.zeros(0, np.int16), *pieces]), arrived_ns)
            case "input_audio_buffer.commit":
                self._hear(event["audio"], arrived_ns)
                self._ended = self._finder.stop() or self._ended
                self._withdraw()
                speaks = self._side.speech is not None
                self._heard(self._side.speech_stopped() if speaks else self._side.commit())
            case "input_audio_buffer.clear":
                self._withdraw()
                self._finder.reset()
                self._ended = None
            case "conversation.item.create":
                self._created(event["item"])
            case "response.create":
                self._respond(event["response"])
            case "response.cancel":
                self._cancel(self._side.responses[event["response_id"]], "client_cancelled")

    def _created(self, item: JsonObject) -> None:
        if item.get("role") == "user":
            self._next_turn()
        elif item["type"] == "function_call_output":
            self._last = (self._calls.get(item["call_id"], max(0, self._users - 1)), True)

    def _hear(self, samples: Samples, arrived_ns: int) -> None:
        side = self._side
        for edge in self._finder.hear(samples, arrived_ns):
            if not edge.is_end:
                self._start(edge.sample)
            elif side.detection is None:
                self._ended = edge
            else:
                self._stop(edge)
        if side.detection is not None and side.speech is None:
            side.buffer.forget(side.buffer.end - KEPT_S * RATE)

    def _start(self, sample: int) -> None:
        """The user begins to speak."""
        side = self._side
        if side.detection is not None:
            if side.speech is not None:
                # The utterance before is over, but that was not said yet.
                self._heard(side.speech_stopped())
                self._withdraw()
            side.speech_started(sample)
            if side.detection["interrupt_response"]:
                self._withdraw()
                if side.active is not None:
                    self._cancel(side.active, "turn_detected")
        self._tasks.create_task(self._fault(self._turn(self._users), "speech"))

    def _stop(self, ended: UtteranceEdge) -> None:
        """The user's utterance is over; say so a little later, and answer."""
        number, turn = self._users, self._turn(self._users)
        latency = self._latency.draw_ns(self._random)
        pause = min(round(self._finder.silence_ms * NS_PER_MS), latency // 2)
        is_told = turn.ends_s is not None or turn.early_s is not None

        async def answer() -> None:
            if is_told:
                await sleep_until(ended.t_ns + pause, self._clock)
            self._heard(self._side.speech_stopped())
            detection = self._side.detection
            wants = detection is not None and detection["create_response"]
            if not wants or not self._side.answers:
                self._ended = ended
                return
            self._last = (number, True)
            await self._free.wait()
            self._answer(number, ended.t_ns + latency)

        self._waiting = self._tasks.create_task(answer())

    def _heard(self, item: KeptItem) -> None:
        """An utterance has become an item of the conversation."""
        text = self._turn(self._users).transcript
        for place, word in enumerate(text.split(" ") if text else []):
            self._side.transcribing(item.id, f" {word}" if place else word)
        self._side.transcribed(item, text)
        self._next_turn()

    def _next_turn(self) -> None:
        """The user's turn is what a response answers now; another one may follow."""
        self._last = (self._users, False)
        self._users += 1
        self._expect()

    def _expect(self) -> None:
        """Tell the finder of the next utterance."""
        turn = self._turn(self._users)
        self._finder.expect(turn.ends_s, turn.early_s)

    def _turn(self, number: int) -> ScriptedTurn:
        """The turn of that number, from 0; past the last they begin again."""
        return self._turns[number % len(self._turns)]

    def _respond(self, options: JsonObject) -> None:
        number, follow_up = self._last
        now = self._clock.now_ns()
        from_ns = now if self._ended is None else self._ended.t_ns
        self._ended = None
        first_ns = max(from_ns + self._latency.draw_ns(self._random), now)
        self._answer(number, first_ns, options, follow_up=follow_up)
        # Asked again, it does not call again.
        self._last = (number, True)

    def _answer(
        self,
        number: int,
        first_ns: int,
        options: JsonObject | None = None,
        *,
        follow_up: bool = False,
    ) -> None:
        """Begin a response.

        Args:
            number: Of the user's turn, from 0.
            first_ns: When its first sound is due.
            options: Those of the client's `response.create`.
            follow_up: The turn's tools were called, so that the reply is due.
        """
        response = self._side.respond(options)
        making = self._make(response, number, first_ns, follow_up)
        self._making[response.id] = self._tasks.create_task(making)
        if response.in_band:
            self._free.clear()

    def _withdraw(self) -> None:
        """Do not answer what waits to be answered."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _cancel(self, response: RealtimeResponse, reason: str) -> None:
        """End a response that is under way."""
        self._making[response.id].cancel()
        self._end(response, "cancelled", reason=reason)

    def _end(self, response: RealtimeResponse, status: ResponseStatus, **details: Any) -> None:
        """End a response."""
        self._side.end(response, status, **details)
        del self._making[response.id]
        if response.in_band:
            self._free.set()

    async def _make(
        self, response: RealtimeResponse, number: int, first_ns: int, follow_up: bool
    ) -> None:
        """Make a response: the turn's calls, or its reply."""
        turn = self._turn(number)
        calls = () if follow_up else turn.calls
        if not calls and await self._fault(turn, "before reply"):
            return
        response.begin()
        for call in calls:
            if call.preamble:
                await self._say(response, self._pieces(call.preamble), first_ns)
                response.close()
                first_ns = 0
            await sleep_until(first_ns, self._clock)
            call_id = self._author.new_id("call")
            self._calls[call_id] = number
            response.call(call.name, json.dumps(dict(call.arguments)), call_id)
        if not calls and not await self._reply(response, turn, first_ns):
            return
        self._end(response, "completed")
        if not calls:
            await self._fault(turn, "after reply")

    async def _reply(self, response: RealtimeResponse, turn: ScriptedTurn, first_ns: int) -> bool:
        """Say the turn's reply, with its fault; whether it is to be ended as completed."""
        kind = turn.fault.kind if turn.fault is not None else ""
        said = self._pieces(turn.reply, turn.fault)
        middle = max(1, len(said) // 2)
        if kind == "quota":
            if turn.fault is not None and turn.fault.at == "mid reply":
                await self._say(response, said[:middle], first_ns)
            self._end(response, "failed", error=QUOTA)
            return False
        if not turn.reply:
            await sleep_until(first_ns, self._clock)
            return True
        await self._say(response, said[:middle], first_ns)
        if kind != "half":
            if await self._fault(turn, "mid reply"):
                return False
            await self._say_more(response, said[middle:])
        response.close()
        return True

    async def _say(
        self, response: RealtimeResponse, said: Sequence[ReplyPiece], first_ns: int
    ) -> None:
        """Open a message; its first sound leaves at `first_ns`."""
        await sleep_until(first_ns - OPEN_NS, self._clock)
        response.open()
        response.text(said[0].text)
        if response.speaks:
            await sleep_until(first_ns, self._clock)
            response.audio(said[0].samples)
            self._side.spoke = True
        await self._say_more(response, said[1:])

    async def _say_more(self, response: RealtimeResponse, said: Iterable[ReplyPiece]) -> None:
        due = self._clock.now_ns()
        for piece in said:
            due += piece.wait_ns
            await self._clock.sleep_until(due)
            if piece.text:
                response.text(piece.text)
            if response.speaks:
                response.audio(piece.samples)

    def _pieces(self, text: str, fault: Fault | None = None) -> list[ReplyPiece]:
        sound = self._sounds.get(text)
        if sound is None:
            sound = hum(text)
        if fault is not None and fault.kind == "rate":
            sound = resampled(sound, RATE, fault.rate)
        return list(pieces(text, sound))

    async def _fault(self, turn: ScriptedTurn, at: FaultTime) -> bool:
        """Let go wrong what goes wrong in that turn at that time; whether nothing comes after."""
        fault = turn.fault
        if fault is None or fault.at != at:
            return False
        match fault.kind:
            case "drop" if isinstance(self._link, Wire):
                self._link.drop()
            case "silence" if isinstance(self._link, Wire):
                self._link.mute()
            case "close" | "drop" | "silence":
                self._link.close(fault.code, fault.message)
            case "malformed":
                self._link.send('{"type": "response.output_audio.delta", "delta": ')
            case "unknown":
                event_id = self._author.new_id("event")
                self._link.send(json.dumps({"type": "response.dreamt", "event_id": event_id}))
            case "error":
                message = fault.message or "The server had an error while processing your request."
                self._author.refuse(RequestRefused(str(fault.code), message, status=500))
        return fault.kind in ("close", "drop", "silence")


START_S = 60.0
"""How long a child may take until it listens: it speaks its replies first."""

STOP_S = 3.0
"""How long it may take to stop before it is made to."""


async def simulate(
    settings: Settings,
    protocol: str,
    script: Path | None = None,
    published: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    as_json: bool = False,
    child: bool = False,
) -> int:
    """Serve until cancelled, and return 0 then; prints one line of JSON on stdout once it listens.

    Args:
        settings: Say which voice speaks the replies.
        protocol: `realtime`.
        script: A script in YAML.
        published: The name of a preset; with `script`, only its latency is taken.
        host: Where to listen.
        port: 0 takes one that is free.
        as_json: Say everything about it, not only where it is.
        child: End when stdin does: whoever started it is gone.

    Raises:
        BadInput: There is no such protocol or preset, the script is none, or the port is taken.
        StageError: The voice of the replies failed.
    """
    check_protocol(protocol)
    played = _script(script, published)
    sounds = await apart(lambda: speak(played, settings))
    async with SimulatedServer(played, sounds, host, port) as server:
        said: dict[str, Any] = {"url": server.url}
        if as_json:
            about = {"script": played.describe(), "conversations": list(played.conversations)}
            said |= {"protocol": protocol, **about}
        print(json.dumps(said), flush=True)
        # To be told to stop is how a server ends; nothing was interrupted.
        with contextlib.suppress(asyncio.CancelledError):
            await (_orphaned() if child else asyncio.Event().wait())
    return 0


def check_protocol(protocol: str) -> None:
    """See that a simulated server can speak it.

    Raises:
        BadInput: It cannot.
    """
    if protocol == "gemini":
        raise BadInput(
            "gemini is no protocol of a simulated server any more: write realtime, which replays "
            "the same scripts and presets with the same latency"
        )
    if protocol != "realtime":
        raise BadInput(f"{protocol} is no protocol of a simulated server: write realtime")


@contextlib.asynccontextmanager
async def serving(script: Script, options: Mapping[str, str]) -> AsyncGenerator[SystemSpec]:
    """Run a server for the script in a process of its own; gives where it is, to connect to.

    Its work does not slow down what measures it.

    Args:
        script: What it replays.
        options: Of the session; `protocol` is left out.

    Raises:
        StageError: It does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.yaml"
        await asyncio.to_thread(file.write_text, dump(script), "utf-8")
        # A file, for nobody reads what it says while it works.
        said = Path(folder) / "said.txt"
        with said.open("wb") as errors:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pipeline", "simulate", "realtime", "--script", str(file)),
                "--child",
                # It ends when this pipe does, and so never outlives this process.
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        try:
            url = await _url(child, said)
            rest = {key: value for key, value in options.items() if key != "protocol"}
            yield SystemSpec(script.name, "realtime", script.name, url, rest)
        finally:
            await _stop(child)


async def _url(child: asyncio.subprocess.Process, said: Path) -> str:
    """What the server says once it listens; `said` is what it complains of."""
    assert child.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            return str(json.loads(await child.stdout.readline())["url"])
    except (TimeoutError, ValueError):
        lines = said.read_text("utf-8", errors="replace").split("\n")
        why = next((line for line in lines if line), f"it said nothing within {START_S:g} s")
        raise StageError("direct", f"the simulated server did not start: {why}") from None


async def _stop(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        # Windows knows no SIGINT for a child.
        child.terminate() if sys.platform == "win32" else child.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(STOP_S):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _orphaned() -> None:
    """Return when stdin ends; in a thread of its own, for on Windows it cannot be waited for."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        sys.stdin.buffer.read()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(gone.set)

    threading.Thread(target=watch, name="stdin", daemon=True).start()
    await gone.wait()


def _script(file: Path | None, published: str | None) -> Script:
    if file is None and published is None:
        raise BadInput(f"simulate: give --script FILE.yaml or --preset {'|'.join(PRESETS)}")
    base = None if published is None else preset(published)
    if file is None:
        assert base is not None
        return base
    script = load(file)
    if base is None:
        return script
    return replace(script, name=base.name, source=base.source, latency=base.latency)
