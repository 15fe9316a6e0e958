"""Drives Gemini sessions in tests: sound in, as fast as it goes, and events out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from servers.gemini_server import GeminiServer

from pipeline.clock import Clock
from pipeline.events import Event, Frame, ReplyAudio, Samples
from pipeline.serve.script import FaultTime, Latency, Script, ScriptedTurn
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.speech_to_speech.gemini import GeminiSession
from pipeline.trace import Trace

RATE = 16_000
FRAME = 320
SPEECH_S = 0.4
PATIENCE_S = 20.0
MODEL = "gemini-3.8-live"


def voice(seconds: float = SPEECH_S, rate: int = RATE) -> Samples:
    """Something audible."""
    wave = 8000 * np.cos(np.arange(round(seconds * rate)) * 2 * np.pi * 200 / rate)
    return wave.astype(np.int16)


def script(*turns: ScriptedTurn, **more: Any) -> Script:
    """A script of one conversation, spoken by a tone, fast."""
    more = {"latency": Latency(median_ms=20), **more}
    return Script(MODEL, {"talk": turns}, "a test", voice="tone", **more)


def serve(script: Script, *, signals: bool = True, leaves: FaultTime | None = None) -> GeminiServer:
    return GeminiServer(script, signals=signals, leaves=leaves)


class Client:
    """A session with somebody who talks to it and notes what it says.

    Attributes:
        events: What has come.
        over: The stream of events has ended.
    """

    def __init__(self, session: GeminiSession, trace: Trace, *, hears: bool = True) -> None:
        self.session = session
        self.trace = trace
        self.events: list[Event] = []
        self.over = False
        self._hears = hears
        self._changed = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    def of(
        cls,
        server: GeminiServer,
        *,
        brief: Brief | None = None,
        hears: bool = True,
        model: str = MODEL,
        **options: str,
    ) -> Self:
        options = {"certificate": str(server.certificate), **options}
        trace = Trace()
        target = SystemSpec("gemini", "gemini", model, server.url, options)
        return cls(
            GeminiSession(target, brief or Brief("Be kind."), trace, Clock()), trace, hears=hears
        )

    async def __aenter__(self) -> Self:
        await self.session.__aenter__()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.session.__aexit__(*exc)
        assert self._reader is not None
        await self._reader

    async def say(self, seconds: float = SPEECH_S, *, silence_s: float = 0.8) -> None:
        """Speak, and be silent after it."""
        sound = np.concatenate([voice(seconds), np.zeros(round(silence_s * RATE), np.int16)])
        await self.send(sound)

    async def send(self, sound: Samples) -> None:
        for start in range(0, len(sound), FRAME):
            await self.session.send(Frame(sound[start : start + FRAME], RATE))
            await asyncio.sleep(0)

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(wanted)

    async def see(self, kind: type[Event], count: int = 1) -> list[Any]:
        """Wait for so many events of a kind; gives all of them."""
        await self.until(lambda: len(self.all(kind)) >= count)
        return self.all(kind)

    async def end(self) -> None:
        """Wait for the end of the stream."""
        await self.until(lambda: self.over)

    def all(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def _read(self) -> None:
        async for event in self.session.events():
            if self._hears and isinstance(event, ReplyAudio):
                frame = event.frame
                await self.session.heard(event.id, frame.offset + len(frame.samples))
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()
        async with self._changed:
            self.over = True
            self._changed.notify_all()
