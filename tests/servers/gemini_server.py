"""A Gemini Live server on a real socket, with TLS, that replays a script.

It does what the tests of the client need: turns found by silence or told by the client,
transcripts, tools that are waited for or not, interruptions, resumption, and the faults of a
script. Google's client connects with TLS only, so the server makes a certificate of its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http
import json
import math
import random
import ssl
import tempfile
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trustme
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from pipeline.audio.resample import resampled
from pipeline.clock import NS_PER_MS, Clock
from pipeline.errors import BadInput
from pipeline.serve.requests import RATE
from pipeline.serve.script import Fault, FaultTime, Script, ScriptedTurn
from pipeline.serve.speech import ReplyPiece, UtteranceFinder, hum, pieces
from pipeline.serve.wire import Wire, sleep_until
from pipeline.speech_to_speech.gemini import NON_BLOCKING

HEARD_RATE = 16_000
TOKENS_PER_S = 25
GO_AWAY_S = 2.0
"""So long after it was announced a connection is closed."""

QUOTA = "You exceeded your current quota, please check your plan and billing details."
REFUSALS = {
    401: ("UNAUTHENTICATED", "API key not valid. Please pass a valid API key."),
    404: ("NOT_FOUND", "The model does not exist."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
}

Message = dict[str, Any]


@dataclass
class Memory:
    """What outlives a connection: number of the next turn, tokens, faults that have been."""

    draw_ns: Callable[[], int]
    number: int = 0
    read: int = 0
    heard: float = 0.0
    happened: list[object] = field(default_factory=list)


@dataclass
class Asked:
    """A turn whose tools are at work: ids of its calls, with whether the model waits for them."""

    turn: ScriptedTurn
    calls: dict[str, bool]
    silent: bool = True


class GeminiServer:
    """Listens while it is entered.

    `signals`: tell clients of voice activity, which the real servers do not promise. `leaves`: at
    that time of the first turn it asks the client to come back, once.
    """

    def __init__(
        self, script: Script, *, signals: bool = True, leaves: FaultTime | None = None
    ) -> None:
        self.script = script
        self.signals = signals
        self.leaves = leaves
        self.saved: dict[str, Memory] = {}
        self._clients = 0
        self._server: Server | None = None
        self._stack = contextlib.AsyncExitStack()
        self.certificate = Path()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"wss://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def __aenter__(self) -> GeminiServer:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self.certificate = Path(folder) / "certificate.pem"
        authority.cert_pem.write_to_path(str(self.certificate))
        listening = serve(
            self._talk, "127.0.0.1", 0, process_request=self._admit, compression=None, ssl=context
        )
        self._server = await self._stack.enter_async_context(listening)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    def _admit(self, connection: ServerConnection, _: Request) -> Response | None:
        if not (code := self.script.refuse):
            return None
        status, message = REFUSALS[code]
        error = {"code": code, "message": message, "status": status}
        response = connection.respond(http.HTTPStatus(code), json.dumps({"error": error}) + "\n")
        if code == 429:
            response.headers["Retry-After"] = f"{self.script.retry_after_s:.0f}"
        return response

    async def _talk(self, connection: ServerConnection) -> None:
        seed = f"{self.script.seed}/{self._clients}"
        self._clients += 1
        clock = Clock()
        wire = Wire(connection, self.script.network, seed, clock)
        talk = Talk(
            self, wire, clock, Memory(partial(self.script.latency.draw_ns, random.Random(seed)))
        )
        async with stopping() as tasks:
            tasks.create_task(talk.work(tasks))
            await wire.run()
        if talk.pending is not None:
            # It was not answered: who comes back with it is.
            talk.memory.number = talk.pending


@contextlib.asynccontextmanager
async def stopping() -> AsyncGenerator[asyncio.TaskGroup]:
    """Tasks that end when what they are for is over."""

    class Over(Exception):
        pass

    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
            raise Over
    except* Over:
        pass


class Talk:
    """A connection: what the client sends is heard and answered."""

    def __init__(self, server: GeminiServer, wire: Wire, clock: Clock, memory: Memory) -> None:
        self._server = server
        self._wire = wire
        self._clock = clock
        self.memory = memory
        self.pending: int | None = None
        self._tasks: asyncio.TaskGroup
        self._turns: tuple[ScriptedTurn, ...] = ()
        self._finder = UtteranceFinder(HEARD_RATE, server.script.silence_ms)
        self._resumable = self._manual = False
        self._blocking: set[str] = set()
        self._ended_ns: int | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._asked: list[Asked] = []
        self._made_s = 0.0
        self._calls = 0
        # Nothing is being said; the user says nothing.
        self._free, self._quiet = asyncio.Event(), asyncio.Event()
        self._free.set()
        self._quiet.set()

    async def work(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        async for arrived_ns, data in self._wire.messages():
            message = snake(json.loads(data))
            if "setup" in message:
                self._begin(snake(message["setup"]))
            elif "tool_response" in message:
                for result in snake(message["tool_response"])["function_responses"]:
                    self._result(result)
            else:
                self._input(snake(message["realtime_input"]), arrived_ns)

    def _tell(self, **message: Any) -> None:
        self._wire.send(json.dumps(message))

    def _begin(self, setup: Message) -> None:
        script, model = self._server.script, str(setup["model"]).removeprefix("models/")
        resumption = setup.get("session_resumption")
        handle = (resumption or {}).get("handle")
        try:
            self._turns = script.conversation(model)
            self.memory = self._server.saved[handle] if handle else self.memory
        except BadInput:
            self._wire.close(1008, f"models/{model} is not found for API version v1")
            return
        except KeyError:
            self._wire.close(1008, "BidiGenerateContent session not found")
            return
        if not handle:
            parts = setup.get("system_instruction", {}).get("parts", [])
            self.memory.read += sum(len(part["text"]) // 4 for part in parts)
        config = snake(setup.get("realtime_input_config", {}))
        detection = snake(config.get("automatic_activity_detection", {}))
        self._manual = detection.get("disabled", False)
        self._finder.silence_ms = detection.get("silence_duration_ms", script.silence_ms)
        self._resumable = resumption is not None
        by_default = "" if model.startswith(NON_BLOCKING) else "BLOCKING"
        for tool in setup.get("tools", []):
            for function in snake(tool)["function_declarations"]:
                if (function.get("behavior") or by_default) == "BLOCKING":
                    self._blocking.add(function["name"])
        self._tell(setupComplete={"sessionId": "a-session"})
        self._resumption(True)
        self._expect()

    def _resumption(self, possible: bool) -> None:
        """Say whether the client could go on from here, and with what."""
        if not self._resumable:
            return
        update: Message = {"resumable": possible}
        if possible:
            update["newHandle"] = uuid.uuid4().hex
            self._server.saved[update["newHandle"]] = self.memory
        self._tell(sessionResumptionUpdate=update)

    def _input(self, message: Message, arrived_ns: int) -> None:
        if "activity_start" in message:
            self._start()
        elif "activity_end" in message:
            edge, ended_ns = self._finder.stop(), self._ended_ns
            self._ended_ns = None
            self._stop(edge.t_ns if edge else ended_ns or arrived_ns, told=True)
        elif "audio" in message:
            sound = np.frombuffer(base64.urlsafe_b64decode(as_url(message["audio"]["data"])), "<i2")
            self.memory.heard += len(sound) / HEARD_RATE * TOKENS_PER_S
            for edge in self._finder.hear(sound, arrived_ns):
                if self._manual:
                    self._ended_ns = edge.t_ns if edge.is_end else self._ended_ns
                elif edge.is_end:
                    told = self._turn.ends_s is not None or self._turn.early_s is not None
                    self._stop(edge.t_ns, told=told)
                else:
                    self._start()

    @property
    def _turn(self) -> ScriptedTurn:
        return self._turns[self.memory.number % len(self._turns)]

    def _expect(self) -> None:
        self._finder.expect(self._turn.ends_s, self._turn.early_s)

    def _start(self) -> None:
        """The user begins to speak: what is being said ends."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = self.pending = None
        self._signal("ACTIVITY_START")
        self._interrupt(by_user=True)
        self._quiet.clear()
        self._tasks.create_task(self._fault(self._turn, "speech"))

    def _stop(self, ended_ns: int, *, told: bool) -> None:
        """The user's utterance is over; say so a little later, and answer."""
        turn, self.pending = self._turn, self.memory.number
        self.memory.number += 1
        self._expect()
        latency = self.memory.draw_ns()
        first_ns = ended_ns + latency
        pause = min(round(self._finder.silence_ms * NS_PER_MS), latency // 2)

        async def answer() -> None:
            if told and not self._manual:
                await sleep_until(ended_ns + pause, self._clock)
            self._quiet.set()
            self._signal("ACTIVITY_END")
            for place, word in enumerate(turn.transcript.split()):
                text = f" {word}" if place else word
                self._tell(serverContent={"inputTranscription": {"text": text}})
            if await self._fault(turn, "before reply"):
                return
            await self._free.wait()
            await self._clock.sleep_until(first_ns - 10 * NS_PER_MS)
            self.pending = None
            # A task of its own: the next utterance interrupts it instead of withdrawing it.
            self._say(self._answer(turn, first_ns))

        self._waiting = self._tasks.create_task(answer())

    def _signal(self, kind: str) -> None:
        if self._server.signals:
            offset = f"{self._finder.position / HEARD_RATE:.3f}s"
            self._tell(voiceActivity={"type": kind, "audioOffset": offset})

    def _say(self, work: Coroutine[Any, Any, None]) -> None:
        self._free.clear()
        self._made_s = 0.0
        self._resumption(False)
        self._answering = self._tasks.create_task(work)

    def _interrupt(self, *, by_user: bool) -> None:
        """Stop what is being said. The user's words also end calls that are waited for."""
        waiting = False
        if by_user:
            blocked = [one for one in self._asked if True in one.calls.values()]
            waiting = self._answering is None and bool(blocked)
            ids = [id_ for one in blocked for id_, blocks in one.calls.items() if blocks]
            self._asked = [one for one in self._asked if one not in blocked]
            if ids:
                self._tell(toolCallCancellation={"ids": ids})
        if self._answering is not None:
            self._answering.cancel()
        elif not waiting:
            return
        self._over()
        self._tell(serverContent={"interrupted": True})
        self._complete()

    def _over(self) -> None:
        self._answering = None
        self._free.set()

    def _result(self, response: Message) -> None:
        self.memory.read += len(json.dumps(response.get("response"))) // 4
        call_id, scheduling = response["id"], str(response.get("scheduling", "")).upper()
        asked = next(one for one in self._asked if call_id in one.calls)
        blocks = asked.calls.pop(call_id)
        asked.silent &= not blocks and scheduling == "SILENT"
        if asked.calls:
            return
        self._asked.remove(asked)
        if asked.silent:
            return
        due = self._clock.now_ns() + self.memory.draw_ns()
        if blocks:
            self._say(self._follow_up(asked.turn, due))
            return
        if scheduling == "INTERRUPT":
            self._interrupt(by_user=False)
        self._tasks.create_task(self._when_idle(asked.turn, due))

    async def _when_idle(self, turn: ScriptedTurn, due: int) -> None:
        while not (self._free.is_set() and self._quiet.is_set()):
            await self._free.wait()
            await self._quiet.wait()
        self._say(self._follow_up(turn, due))

    async def _answer(self, turn: ScriptedTurn, first_ns: int) -> None:
        if not turn.calls:
            await self._follow_up(turn, first_ns)
            return
        asked = Asked(turn, {})
        self._asked.append(asked)
        for call in turn.calls:
            if call.preamble:
                await self._send(made(call.preamble), first_ns)
                first_ns = 0
            await sleep_until(first_ns, self._clock)
            call_id = f"call-{id(self):x}-{self._calls}"
            self._calls += 1
            asked.calls[call_id] = call.name in self._blocking
            function = {"id": call_id, "name": call.name, "args": dict(call.arguments)}
            self._tell(toolCall={"functionCalls": [function]})
        if True in asked.calls.values():
            # The model waits, in the middle of its turn.
            self._answering = None
            return
        self._finish()

    async def _follow_up(self, turn: ScriptedTurn, first_ns: int) -> None:
        """Say a turn's reply, with what goes wrong in it."""
        fault = turn.fault
        kind = fault.kind if fault is not None else ""
        rate = fault.rate if fault is not None and kind == "rate" else RATE
        said = made(turn.reply, rate)
        middle = max(1, len(said) // 2)
        await self._send(said[:middle], first_ns, rate)
        if kind == "quota":
            self._wire.close(1011, QUOTA)
            return
        if kind != "half":
            if await self._fault(turn, "mid reply"):
                return
            await self._send(said[middle:], 0, rate)
        self._finish()
        await self._fault(turn, "after reply")

    async def _send(self, said: list[ReplyPiece], first_ns: int, rate: int = RATE) -> None:
        """Send pieces; the first leaves at `first_ns`, or as soon as it may."""
        due = first_ns or self._clock.now_ns()
        for piece in said:
            due += piece.wait_ns
            await sleep_until(due, self._clock)
            data = base64.b64encode(piece.samples.astype("<i2").tobytes()).decode()
            blob = {"mimeType": f"audio/pcm;rate={rate}", "data": data}
            content = {"modelTurn": {"role": "model", "parts": [{"inlineData": blob}]}}
            self._tell(serverContent=content)
            self._made_s += len(piece.samples) / rate
            if piece.text:
                self._tell(serverContent={"outputTranscription": {"text": piece.text}})

    def _finish(self) -> None:
        """Everything is made, and the turn complete: nobody waits until it has been heard."""
        self._tell(serverContent={"generationComplete": True})
        self._complete()
        self._over()
        self._resumption(True)

    def _complete(self) -> None:
        """Say that the turn is over, and what it cost: all that was said so far is read again."""
        read, heard = self.memory.read, math.ceil(self.memory.heard)
        spoken = math.ceil(self._made_s * TOKENS_PER_S)
        self.memory.heard += self._made_s * TOKENS_PER_S
        self._made_s = 0.0
        usage = {
            "promptTokenCount": read + heard,
            "responseTokenCount": spoken,
            "totalTokenCount": read + heard + spoken,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": read},
                {"modality": "AUDIO", "tokenCount": heard},
            ],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": spoken}],
        }
        self._tell(serverContent={"turnComplete": True}, usageMetadata=usage)

    async def _fault(self, turn: ScriptedTurn, at: FaultTime) -> bool:
        """Let go wrong, once, what does so in a turn at that time; whether nothing comes after."""
        if self._server.leaves == at and "leaves" not in self.memory.happened:
            self.memory.happened.append("leaves")
            self._tell(goAway={"timeLeft": f"{GO_AWAY_S:g}s"})
            self._tasks.create_task(self._leave())
        fault = turn.fault
        if fault is None or fault.at != at or any(fault is one for one in self.memory.happened):
            return False
        self.memory.happened.append(fault)
        return self._happen(fault)

    def _happen(self, fault: Fault) -> bool:
        match fault.kind:
            case "close":
                self._wire.close(fault.code, fault.message)
            case "drop":
                self._wire.drop()
            case "silence":
                self._wire.mute()
            case "quota":
                self._wire.close(1011, QUOTA)
            case "malformed":
                self._wire.send('{"serverContent": {"modelTurn": ')
            case "unknown":
                self._tell(dreamt={"of": "sheep"})
            case "error":
                self._tell(code=fault.code, status="INTERNAL", message=fault.message)
        return fault.kind in ("close", "drop", "silence", "quota")

    async def _leave(self) -> None:
        await asyncio.sleep(GO_AWAY_S)
        self._wire.close(1001, "The service goes away.")


def made(text: str, rate: int = RATE) -> list[ReplyPiece]:
    """A reply in pieces, hummed."""
    sound = hum(text)
    return list(pieces(text, sound if rate == RATE else resampled(sound, RATE, rate)))


def snake(message: Message) -> Message:
    """A message with its keys in snake case: both spellings are taken, as by the real servers."""
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in key): value
        for key, value in message.items()
    }


def as_url(text: str) -> str:
    """Base64 in the letters of URLs, with its padding: clients send either."""
    return text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4)
