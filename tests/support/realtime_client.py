"""A client of a Realtime server: the unmodified SDK, and a checker of all that it receives."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed

from pipeline.serve.script import Latency, Script, ScriptedTurn
from pipeline.serve.simulated import SimulatedServer
from pipeline.serve.speech import speak
from support import sound
from support.realtime_fields import strictly as strictly
from support.realtime_grammar import Grammar

RATE = 24_000
SOON_S = 20.0


def scripted(*turns: ScriptedTurn, latency_ms: float = 20, **more: Any) -> Script:
    """A script that hums."""
    latency = Latency(median_ms=latency_ms)
    return Script("test", {"only": turns}, latency=latency, voice="tone", **more)


def voice(seconds: float) -> np.ndarray:
    """What the user says: audible from its first sample to its last."""
    return sound.hum(RATE, seconds)


def silence(seconds: float) -> np.ndarray:
    return sound.silence(RATE, seconds)


class Client:
    """A connection of the SDK; keeps and checks what it receives."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.sdk = connection
        self.events: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self.wrong: list[str] = []
        self.grammar = Grammar()
        self.closed: ConnectionClosed | None = None
        self._news = asyncio.Event()

    async def listen(self) -> None:
        while True:
            try:
                data = await self.sdk.recv_bytes()
            except ConnectionClosed as closed:
                self.closed = closed
                self._news.set()
                return
            self.raw.append(data.decode())
            try:
                event = json.loads(data)
            except ValueError:
                self.wrong.append(f"no JSON: {data!r}")
            else:
                self.wrong += self.grammar.feed(event)
                self.events.append(event)
            self._news.set()

    async def until(self, is_there: Callable[[], Any]) -> Any:
        """Wait until something came true by what was received."""
        async with asyncio.timeout(SOON_S):
            while not (there := is_there()):
                self._news.clear()
                await self._news.wait()
        return there

    async def event(self, kind: str, count: int = 1, **wanted: Any) -> dict[str, Any]:
        """The `count`th event of a type, with such fields."""
        found = await self.until(lambda: self.of(kind, **wanted)[count - 1 :])
        return found[0]

    async def end(self) -> ConnectionClosed:
        return await self.until(lambda: self.closed)

    def of(self, kind: str, **wanted: Any) -> list[dict[str, Any]]:
        return [
            event
            for event in self.events
            if event["type"] == kind and all(event.get(k) == v for k, v in wanted.items())
        ]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def setup(self, turn_detection: Any = ..., **more: Any) -> dict[str, Any]:
        """Configure the session; gives what the server made of it."""
        sound: dict[str, Any] = {"transcription": {"model": "whisper-1"}}
        if turn_detection is not ...:
            sound["turn_detection"] = turn_detection
        count = len(self.of("session.updated")) + 1
        await self.sdk.session.update(
            session={"type": "realtime", "audio": {"input": sound}, **more}
        )
        return (await self.event("session.updated", count))["session"]

    async def hear(self, *sounds: np.ndarray) -> None:
        """Send sound, faster than it was spoken."""
        samples = np.concatenate(sounds)
        for start in range(0, len(samples), 480):
            data = samples[start : start + 480].astype("<i2").tobytes()
            await self.sdk.input_audio_buffer.append(audio=base64.b64encode(data).decode())

    def heard(self, response: str | None = None) -> np.ndarray:
        """The sound of a response, or all of it."""
        deltas = [
            event["delta"]
            for event in self.of("response.output_audio.delta")
            if response in (None, event["response_id"])
        ]
        return np.frombuffer(b"".join(map(base64.b64decode, deltas)), "<i2")


@asynccontextmanager
async def connected(
    server: SimulatedServer, model: str = "gpt-realtime-2.1", **query: str
) -> AsyncIterator[Client]:
    """A client of a server that listens; what it receives is kept, and is right to the end."""
    sdk = AsyncOpenAI(api_key="none", base_url=server.url.replace("ws", "http"))
    async with sdk.realtime.connect(model=model, extra_query=query) as connection:
        client = Client(connection)
        listening = asyncio.create_task(client.listen())
        await client.event("session.created")
        try:
            yield client
        finally:
            listening.cancel()
    await sdk.close()
    assert client.wrong == [], client.wrong


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(script, speak(script)) as server:
        yield server


@asynccontextmanager
async def talking(script: Script, model: str = "gpt-realtime-2.1") -> AsyncIterator[Client]:
    """A client of a server of its own."""
    async with serving(script) as server, connected(server, model) as client:
        yield client
