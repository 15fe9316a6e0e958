"""What a simulated Gemini Live server answers, when, and what goes wrong in it."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.clock import NS_PER_S, Clock
from pipeline.simulated.script import Fault, FaultTime, Script, ScriptedCall, ScriptedTurn
from pipeline.simulated.speech import Piece, pieces
from pipeline.simulated.timing import Latencies, sleep_until
from pipeline.simulated.voice import RATE, Sounds, at_rate, hum
from pipeline.simulated.wire import Wire

TOKENS_PER_S = 25
"""Of sound, either way: what comparisons of prices reckon with."""

CHARS_PER_TOKEN = 4
"""Of English text, about."""

GO_AWAY_S = 2.0
"""So long after it was announced a connection is closed."""

AWAY, SPENT = 1001, 1011
"""Closing codes: the server goes away; the quota is spent."""

QUOTA = "You exceeded your current quota, please check your plan and billing details."


@dataclass(slots=True)
class Memory:
    """What of a conversation outlives a connection.

    Attributes:
        latencies: Of its replies.
        number: Of the next turn, from 0.
        read: Tokens of text so far: instructions, results of tools.
        heard: Tokens of sound so far, of both sides.
        happened: Faults that have been: each happens once.
    """

    latencies: Latencies
    number: int = 0
    read: int = 0
    heard: float = 0.0
    happened: list[Fault] = field(default_factory=list)

    def hear(self, seconds: float) -> None:
        """So much more sound."""
        self.heard += seconds * TOKENS_PER_S


class _Update(Protocol):
    def __call__(self, *, resumable: bool) -> None: ...


@dataclass(slots=True)
class Stage:
    """What both halves of a session work with.

    Attributes:
        script: What to do.
        sounds: All that is said.
        wire: The connection.
        clock: The time.
        tasks: Of this client.
        update: Says whether the client could go on with another connection from here.
        memory: Of the conversation; there once it has begun.
        spoken: The client wants the words of what is said.
        blocking: Tools whose results are waited for.
    """

    script: Script
    sounds: Sounds
    wire: Wire
    clock: Clock
    tasks: asyncio.TaskGroup
    update: _Update
    memory: Memory | None = None
    spoken: bool = True
    blocking: frozenset[str] = frozenset()

    def tell(self, **message: Any) -> None:
        """Send a message."""
        self.wire.send(json.dumps(message))


@dataclass(slots=True)
class _Asked:
    """A turn whose tools are at work.

    Attributes:
        turn: Which.
        calls: Their ids, with whether the model waits for them.
        silent: No result is to be spoken about, so far.
    """

    turn: ScriptedTurn
    calls: dict[str, bool]
    silent: bool = True


class Replies:
    """Answers one thing at a time."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._task: asyncio.Task[None] | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._asked: list[_Asked] = []
        self._calls = 0
        self._made_s = 0.0

    def speaking(self, whether: bool) -> None:
        """The user speaks, or is done."""
        self._quiet.clear() if whether else self._quiet.set()

    async def wait(self, first_ns: int) -> None:
        """Return shortly before a reply is due, or when the one before it is over."""
        await self._free.wait()
        await self._stage.clock.sleep_until(first_ns - NS_PER_S // 100)

    def answer(self, turn: ScriptedTurn, first_ns: int) -> None:
        """Begin the answer to a turn, whose first sound is due at `first_ns`."""
        self._begin(self._answer(turn, first_ns))

    def interrupt(self, *, by_user: bool) -> None:
        """Stop what is being said. The user's words also end calls that are waited for."""
        waiting = False
        if by_user:
            waiting = self._task is None and any(True in one.calls.values() for one in self._asked)
            ids = [id_ for one in self._asked for id_, blocks in one.calls.items() if blocks]
            self._asked = [one for one in self._asked if True not in one.calls.values()]
            if ids:
                self._stage.tell(toolCallCancellation={"ids": ids})
        if self._task is None and not waiting:
            return
        if self._task is not None:
            self._task.cancel()
        self._over()
        self._stage.tell(serverContent={"interrupted": True})
        self._complete()

    def result(self, call_id: str, scheduling: str) -> bool:
        """Take a tool's result; whether there was such a call."""
        asked = next((one for one in self._asked if call_id in one.calls), None)
        if asked is None:
            return False
        blocks = asked.calls.pop(call_id)
        memory = self._stage.memory
        assert memory is not None
        if blocks or scheduling != "SILENT":
            asked.silent = False
        if asked.calls:
            return True
        self._asked.remove(asked)
        if asked.silent:
            return True
        due = self._stage.clock.now_ns() + memory.latencies.draw_ns()
        if blocks:
            self._begin(self._follow_up(asked.turn, due))
        else:
            if scheduling == "INTERRUPT":
                self.interrupt(by_user=False)
            self._stage.tasks.create_task(self._when_idle(asked.turn, due))
        return True

    async def fault(self, turn: ScriptedTurn, at: FaultTime) -> bool:
        """Let go wrong what goes wrong in a turn at that time; whether this is the end of it."""
        fault, memory = turn.fault, self._stage.memory
        assert memory is not None
        if fault is None or fault.at != at or any(fault is one for one in memory.happened):
            return False
        memory.happened.append(fault)
        return _happen(self._stage, fault)

    def _begin(self, work: Any) -> None:
        self._free.clear()
        self._made_s = 0.0
        self._stage.update(resumable=False)
        self._task = self._stage.tasks.create_task(work)

    def _over(self) -> None:
        self._task = None
        self._free.set()

    async def _when_idle(self, turn: ScriptedTurn, due: int) -> None:
        while not (self._free.is_set() and self._quiet.is_set()):
            await self._free.wait()
            await self._quiet.wait()
        self._begin(self._follow_up(turn, due))

    async def _answer(self, turn: ScriptedTurn, first_ns: int) -> None:
        if not turn.calls:
            await self._follow_up(turn, first_ns)
            return
        asked = _Asked(turn, {})
        self._asked.append(asked)
        for call in turn.calls:
            if call.preamble:
                await self._say(self._pieces(call.preamble, None), first_ns)
                first_ns = 0
            await sleep_until(first_ns, self._stage.clock)
            self._call(call, asked)
        if True in asked.calls.values():
            # The model waits, in the middle of its turn.
            self._task = None
            return
        await self._finish()

    def _call(self, call: ScriptedCall, asked: _Asked) -> None:
        call_id = f"call-{id(self):x}-{self._calls}"
        self._calls += 1
        asked.calls[call_id] = call.name in self._stage.blocking
        function = {"id": call_id, "name": call.name, "args": dict(call.arguments)}
        self._stage.tell(toolCall={"functionCalls": [function]})

    async def _follow_up(self, turn: ScriptedTurn, first_ns: int) -> None:
        """Say a turn's reply, with what goes wrong in it."""
        if not await self._reply(turn, first_ns):
            return
        await self._finish()
        await self.fault(turn, "after reply")

    async def _reply(self, turn: ScriptedTurn, first_ns: int) -> bool:
        """Whether the reply is to be ended as whole."""
        fault = turn.fault
        kind = fault.kind if fault is not None else ""
        said = self._pieces(turn.reply, fault)
        middle = max(1, len(said) // 2)
        if not turn.reply:
            await sleep_until(first_ns, self._stage.clock)
            return True
        if kind == "quota":
            assert fault is not None
            if fault.at == "mid reply":
                await self._say(said[:middle], first_ns, _rate(fault))
            self._stage.wire.close(SPENT, fault.message or QUOTA)
            return False
        await self._say(said[:middle], first_ns, _rate(fault))
        if kind == "half":
            return True
        if await self.fault(turn, "mid reply"):
            return False
        await self._say(said[middle:], 0, _rate(fault))
        return True

    async def _say(self, said: list[Piece], first_ns: int, rate: int = RATE) -> None:
        """Send pieces; the first leaves at `first_ns`, or as soon as it may."""
        clock, stage = self._stage.clock, self._stage
        for place, piece in enumerate(said):
            if place == 0 and first_ns:
                due = first_ns
                message = _sounding(piece, rate)
                await sleep_until(due, clock)
            else:
                due = clock.now_ns() + piece.wait_ns if place == 0 else due + piece.wait_ns
                message = _sounding(piece, rate)
                await clock.sleep_until(due)
            stage.wire.send(message)
            self._made_s += len(piece.samples) / rate
            if piece.text and stage.spoken:
                stage.tell(serverContent={"outputTranscription": {"text": piece.text}})

    async def _finish(self) -> None:
        """Everything is made, and the turn complete: nobody waits until it has been heard."""
        self._stage.tell(serverContent={"generationComplete": True})
        self._complete()
        self._over()
        self._stage.update(resumable=True)

    def _complete(self) -> None:
        """Say that the turn is over, and what it cost: all that was said so far is read again."""
        memory = self._stage.memory
        assert memory is not None
        read, heard, made = memory.read, math.ceil(memory.heard), self._made_s * TOKENS_PER_S
        usage = {
            "promptTokenCount": read + heard,
            "responseTokenCount": math.ceil(made),
            "totalTokenCount": read + heard + math.ceil(made),
            "promptTokensDetails": _modalities(read, heard),
            "responseTokensDetails": _modalities(0, math.ceil(made)),
        }
        memory.heard += made
        self._made_s = 0.0
        self._stage.tell(serverContent={"turnComplete": True}, usageMetadata=usage)

    def _pieces(self, text: str, fault: Fault | None) -> list[Piece]:
        sound = self._stage.sounds.get(text)
        if sound is None:
            sound = hum(text)
        rate = _rate(fault)
        return pieces(text, sound if rate == RATE else at_rate(sound, rate))


def _rate(fault: Fault | None) -> int:
    return fault.rate if fault is not None and fault.kind == "rate" else RATE


def _sounding(piece: Piece, rate: int) -> str:
    """The message that holds a piece's sound."""
    data = base64.b64encode(piece.samples.astype("<i2").tobytes()).decode()
    blob = {"mimeType": f"audio/pcm;rate={rate}", "data": data}
    content = {"modelTurn": {"role": "model", "parts": [{"inlineData": blob}]}}
    return json.dumps({"serverContent": content})


def _modalities(text: int, audio: int) -> list[Mapping[str, Any]]:
    counts = {"TEXT": text, "AUDIO": audio}
    return [{"modality": name, "tokenCount": count} for name, count in counts.items() if count]


def _happen(stage: Stage, fault: Fault) -> bool:
    """Do what a fault does; whether nothing comes after it."""
    match fault.kind:
        case "close":
            stage.wire.close(fault.code, fault.message)
        case "drop":
            stage.wire.drop()
        case "silence":
            stage.wire.mute()
        case "quota":
            stage.wire.close(SPENT, fault.message or QUOTA)
        case "malformed":
            stage.wire.send('{"serverContent": {"modelTurn": ')
            return False
        case "unknown":
            stage.tell(dreamt={"of": "sheep"})
            return False
        case "error":
            code = fault.code if 400 <= fault.code < 600 else 500
            message = fault.message or "An internal error has occurred."
            stage.tell(code=code, status="INTERNAL", message=message)
            return False
        case "go away":
            stage.tell(goAway={"timeLeft": f"{GO_AWAY_S:g}s"})
            stage.tasks.create_task(_leave(stage))
            return False
        case _:
            return False
    return True


async def _leave(stage: Stage) -> None:
    await asyncio.sleep(GO_AWAY_S)
    stage.wire.close(AWAY, "The service goes away.")
