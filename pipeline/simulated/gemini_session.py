"""One client of the simulated Gemini Live server: what it sends is heard and answered."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.clock import NS_PER_MS, Clock
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.simulated.gemini_replies import CHARS_PER_TOKEN, Memory, Replies, Stage
from pipeline.simulated.listener import Began, Ended, Listener
from pipeline.simulated.script import (
    MODEL_SEPARATOR,
    Script,
    ScriptedTurn,
    conversation,
    describe,
    turn_of,
)
from pipeline.simulated.timing import Latencies, sleep_until
from pipeline.simulated.voice import Sounds
from pipeline.simulated.wire import Wire
from pipeline.speech_to_speech.brief import STAMP
from pipeline.speech_to_speech.gemini import NON_BLOCKING

RATE = 16_000
"""Hz, of what is heard."""

INVALID, POLICY = 1007, 1008
"""Closing codes: a message that makes no sense; something that is not to be had."""

Message = dict[str, Any]

Saved = dict[str, Memory]
"""What a client can go on with, by handle."""


class _Over(Exception):
    """The client is gone, and with it all that is done for it."""


class _Wrong(Exception):
    """The client is to be sent away: closing code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class _Setup:
    """What a client has asked for."""

    model: str
    handle: str = ""
    resumable: bool = False
    heard: bool = False
    spoken: bool = False
    manual: bool = False
    silence_ms: float = 0.0
    instructions: str = ""
    blocking: frozenset[str] = field(default_factory=frozenset)


class GeminiTalk:
    """A conversation with one client.

    Args:
        script: What to do.
        sounds: All that is said.
        wire: The connection.
        seed: Of what is drawn, such as `"1/0"`.
        clock: The time.
        saved: Conversations to go on with; this one's is added.
        signals: Tell of voice activity.
    """

    def __init__(
        self,
        script: Script,
        sounds: Sounds,
        wire: Wire,
        seed: str,
        clock: Clock,
        saved: Saved,
        *,
        signals: bool,
    ) -> None:
        self._script = script
        self._seed = seed
        self._clock = clock
        self._wire = wire
        self._saved = saved
        self._signals = signals
        self._stage = Stage(script, sounds, wire, clock, asyncio.TaskGroup(), self._update)
        self._replies = Replies(self._stage)
        self._setup: _Setup | None = None
        self._memory: Memory | None = None
        self._turns: tuple[ScriptedTurn, ...] = ()
        self._listener = Listener(RATE, script.silence_ms)
        self._active = False
        self._ended: Ended | None = None
        self._pending: int | None = None
        self._answer: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve the client until it is gone."""
        try:
            async with self._stage.tasks as tasks:
                moving = tasks.create_task(self._wire.run())
                working = tasks.create_task(self._work())
                await asyncio.wait([moving, working], return_when=asyncio.FIRST_COMPLETED)
                raise _Over
        except* _Over:
            pass
        finally:
            if self._memory is not None and self._pending is not None:
                # It was not answered: who comes back with it is.
                self._memory.number = self._pending

    async def _work(self) -> None:
        async for arrived_ns, data in self._wire.messages():
            try:
                self._do(_read(data), arrived_ns)
            except _Wrong as wrong:
                self._wire.close(wrong.code, str(wrong))

    def _do(self, message: Message, arrived_ns: int) -> None:
        if self._setup is None:
            if "setup" not in message:
                raise _Wrong(INVALID, "The first message must be a setup.")
            self._begin(_object(message["setup"]))
        elif "realtime_input" in message:
            self._input(_snake(_object(message["realtime_input"])), arrived_ns)
        elif "tool_response" in message:
            responses = _snake(_object(message["tool_response"])).get("function_responses", [])
            for response in responses:
                self._result(_snake(_object(response)))
        else:
            raise _Wrong(INVALID, "Request contains an invalid argument.")

    def _begin(self, message: Message) -> None:
        setup = self._setup = _setup(message)
        try:
            self._turns = conversation(self._script, setup.model)
        except BadInput:
            raise _Wrong(
                POLICY,
                f"models/{setup.model} is not found for API version v1, or is not supported for "
                "bidiGenerateContent.",
            ) from None
        if setup.handle:
            if setup.handle not in self._saved:
                raise _Wrong(POLICY, "BidiGenerateContent session not found")
            self._memory = self._saved[setup.handle]
        else:
            self._memory = Memory(Latencies(self._script.latency, self._seed))
            self._memory.read += len(setup.instructions) // CHARS_PER_TOKEN
        if setup.silence_ms:
            self._listener.silence_ms = setup.silence_ms
        stage = self._stage
        stage.memory, stage.spoken, stage.blocking = self._memory, setup.spoken, setup.blocking
        told = base64.urlsafe_b64encode(json.dumps(describe(self._script)).encode()).decode()
        stage.tell(setupComplete={"sessionId": f"{STAMP}.{told.rstrip('=')}"})
        self._update(resumable=True)
        self._expect()

    def _update(self, *, resumable: bool) -> None:
        """Say whether the client could go on from here, and with what."""
        assert self._setup is not None and self._memory is not None
        if not self._setup.resumable:
            return
        if not resumable:
            self._stage.tell(sessionResumptionUpdate={"resumable": False})
            return
        handle = uuid.uuid4().hex
        self._saved[handle] = self._memory
        self._stage.tell(sessionResumptionUpdate={"newHandle": handle, "resumable": True})

    def _input(self, message: Message, arrived_ns: int) -> None:
        assert self._setup is not None
        if "activity_start" in message and self._setup.manual:
            self._active = True
            self._start()
        elif "activity_end" in message and self._setup.manual:
            ended = self._listener.stop() or self._ended
            self._active, self._ended = False, None
            self._stop(ended.t_ns if ended is not None else arrived_ns, told=True)
        elif "audio" in message:
            self._hear(_sound(_snake(_object(message["audio"]))), arrived_ns)

    def _hear(self, samples: Samples, arrived_ns: int) -> None:
        assert self._setup is not None and self._memory is not None
        self._memory.hear(len(samples) / RATE)
        for found in self._listener.hear(samples, arrived_ns):
            if self._setup.manual:
                if isinstance(found, Ended):
                    self._ended = found
            elif isinstance(found, Began):
                self._start()
            else:
                turn = self._turn
                self._stop(found.t_ns, told=turn.ends_s is not None or turn.early_s is not None)

    @property
    def _turn(self) -> ScriptedTurn:
        assert self._memory is not None
        return turn_of(self._turns, self._memory.number)

    def _start(self) -> None:
        """The user begins to speak: what is being said ends."""
        if self._answer is not None:
            self._answer.cancel()
            self._answer = self._pending = None
        if self._signals:
            self._signal("ACTIVITY_START")
        self._replies.interrupt(by_user=True)
        self._replies.speaking(True)
        self._stage.tasks.create_task(self._replies.fault(self._turn, "speech"))

    def _stop(self, ended_ns: int, *, told: bool) -> None:
        """The user's utterance is over; say so a little later, and answer."""
        memory, turn = self._memory, self._turn
        assert memory is not None
        number, memory.number = memory.number, memory.number + 1
        self._pending = number
        self._expect()
        latency = memory.latencies.draw_ns()
        pause = min(round(self._listener.silence_ms * NS_PER_MS), latency // 2)

        async def answer() -> None:
            assert self._setup is not None
            if told and not self._setup.manual:
                await sleep_until(ended_ns + pause, self._clock)
            self._replies.speaking(False)
            if self._signals:
                self._signal("ACTIVITY_END")
            if self._setup.heard:
                for place, word in enumerate(turn.transcript.split()):
                    text = f" {word}" if place else word
                    self._stage.tell(serverContent={"inputTranscription": {"text": text}})
            if await self._replies.fault(turn, "before reply"):
                return
            await self._replies.wait(ended_ns + latency)
            self._pending = None
            # A task of its own: the next utterance interrupts it instead of withdrawing it.
            self._replies.answer(turn, ended_ns + latency)

        self._answer = self._stage.tasks.create_task(answer())

    def _signal(self, kind: str) -> None:
        offset = f"{self._listener.position / RATE:.3f}s"
        self._stage.tell(voiceActivity={"type": kind, "audioOffset": offset})

    def _result(self, response: Message) -> None:
        assert self._memory is not None
        self._memory.read += len(json.dumps(response.get("response"))) // CHARS_PER_TOKEN
        scheduling = str(response.get("scheduling", "")).upper()
        if not self._replies.result(str(response.get("id", "")), scheduling):
            raise _Wrong(INVALID, "Request contains a function response to no open call.")

    def _expect(self) -> None:
        """Tell the listener of the next utterance."""
        turn = self._turn
        self._listener.expect(turn.ends_s, turn.early_s)


def _read(data: str | bytes) -> Message:
    try:
        return _snake(_object(json.loads(data)))
    except (ValueError, RecursionError):
        raise _Wrong(INVALID, "Invalid JSON payload received.") from None


def _object(value: Any) -> Message:
    if not isinstance(value, dict):
        raise _Wrong(INVALID, "Invalid value in the payload: an object was expected.")
    return value


def _snake(message: Message) -> Message:
    """A message with its keys in snake case: both spellings are taken, as by the real servers."""
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in key): value
        for key, value in message.items()
    }


def _sound(blob: Message) -> Samples:
    kind = str(blob.get("mime_type", "")).replace(" ", "").lower()
    if kind not in ("audio/pcm", f"audio/pcm;rate={RATE}"):
        raise _Wrong(INVALID, f"This server takes audio/pcm;rate={RATE}.")
    text = str(blob.get("data", "")).translate({ord("-"): "+", ord("_"): "/"})
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _Wrong(INVALID, "Invalid base64 in the payload.") from None
    return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16)


def _setup(message: Message) -> _Setup:
    message = _snake(message)
    model = str(message.get("model", "")).removeprefix("models/")
    if not model:
        raise _Wrong(INVALID, "A setup names a model.")
    input_config = _snake(_object(message.get("realtime_input_config") or {}))
    detection = _snake(_object(input_config.get("automatic_activity_detection") or {}))
    resumption = message.get("session_resumption")
    instructions = _object(message.get("system_instruction") or {})
    by_default = not model.partition(MODEL_SEPARATOR)[0].startswith(NON_BLOCKING)
    blocking = set()
    for tool in message.get("tools") or []:
        for function in _snake(_object(tool)).get("function_declarations") or []:
            behavior = _object(function).get("behavior", "")
            if behavior == "BLOCKING" or (not behavior and by_default):
                blocking.add(str(function.get("name", "")))
    return _Setup(
        model,
        handle=str(_object(resumption or {}).get("handle") or ""),
        resumable=resumption is not None,
        heard="input_audio_transcription" in message,
        spoken="output_audio_transcription" in message,
        manual=bool(detection.get("disabled")),
        silence_ms=float(detection.get("silence_duration_ms") or 0),
        instructions=" ".join(
            str(_object(part).get("text", "")) for part in instructions.get("parts") or []
        ),
        blocking=frozenset(blocking),
    )
