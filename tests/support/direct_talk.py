"""Somebody who talks with a session under test; all that it tells is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

from pipeline.clock import Clock
from pipeline.events import (
    Event,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    Samples,
    ToolCall,
)
from pipeline.speech_to_speech.brief import Brief, SpeechToSpeech, SystemSpec
from pipeline.speech_to_speech.openai_realtime import RealtimeSession
from pipeline.trace import Trace

RATE = 16_000
BLOCK = RATE // 50
WAIT_S = 8.0


def utterance(seconds: float = 0.4) -> Samples:
    """Something loud for so long."""
    t = np.arange(round(seconds * RATE)) / RATE
    return (8000 * np.cos(2 * np.pi * 300 * t)).astype(np.int16)


class Reader:
    """A session, and what it tells.

    Attributes:
        events: All so far.
        news: Set by the next one.
    """

    def __init__(self, session: Any, trace: Trace) -> None:
        self.session = session
        self.trace = trace
        self.events: list[Event] = []
        self.news = asyncio.Event()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @contextlib.asynccontextmanager
    async def entered(self, guard_s: float) -> AsyncIterator[None]:
        """Be in the session, and read it to its end, within a time."""
        async with asyncio.timeout(guard_s):
            async with self.session:
                reading = asyncio.ensure_future(self.read())
                try:
                    yield
                except BaseException:
                    reading.cancel()
                    raise
            await reading

    async def read(self) -> None:
        async for event in self.session.events():
            self.events.append(event)
            self.news.set()
            self.news = asyncio.Event()


class Talk:
    """Drives a session in real time: says what it is told to, plays what comes, answers tools."""

    def __init__(
        self, session: SpeechToSpeech, trace: Trace, tool: Callable[[str], str] | None
    ) -> None:
        self.session = session
        self.trace = trace
        self.events: list[Event] = []
        self.ended = False
        self.played: dict[str, int] = {}
        self._tool = tool
        self._to_say: deque[Samples] = deque()
        self._sounds: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._rate = 24_000

    def say(self, seconds: float = 0.4) -> None:
        self._to_say.append(utterance(seconds))

    def of(self, *kinds: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    async def until(self, there: Callable[[Talk], Any]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not there(self):
                await asyncio.sleep(0.01)

    async def answered(self, count: int = 1) -> None:
        await self.until(lambda talk: len(talk.of(ReplyDone)) >= count)

    async def follow(self) -> None:
        async for event in self.session.events():
            self.events.append(event)
            if isinstance(event, ReplyAudio):
                self._rate = event.frame.rate
                self._began.setdefault(event.id, asyncio.get_running_loop().time())
                self._sounds[event.id] = event.frame.offset + len(event.frame.samples)
            elif isinstance(event, ReplyInterrupted):
                self._stopped.add(event.id)
                await self.session.heard(event.id, self.played.get(event.id, 0))
            elif isinstance(event, ToolCall) and self._tool is not None:
                await self.session.tool_result(event.id, self._tool(event.arguments))
        self.ended = True

    async def speak(self) -> None:
        loop = asyncio.get_running_loop()
        begun, sent = loop.time(), 0
        rest = np.zeros(0, np.int16)
        while True:
            if not len(rest) and self._to_say:
                rest = self._to_say.popleft()
            block = np.zeros(BLOCK, np.int16)
            now, rest = rest[:BLOCK], rest[BLOCK:]
            block[: len(now)] = now
            await self.session.send(Frame(block, RATE, sent))
            sent += BLOCK
            for name, samples in self._sounds.items():
                if name not in self._stopped:
                    passed = round((loop.time() - self._began[name]) * self._rate)
                    self.played[name] = min(samples, passed)
                    await self.session.heard(name, self.played[name])
            await asyncio.sleep(begun + sent / RATE - loop.time())


@contextlib.asynccontextmanager
async def talking(
    target: SystemSpec,
    brief: Brief | None = None,
    *,
    tool: Callable[[str], str] | None = None,
    **more: Any,
) -> AsyncIterator[Talk]:
    """A session that somebody talks with; when it is left nothing of it is left."""
    before = asyncio.all_tasks()
    trace = Trace()
    session = RealtimeSession(target, brief or Brief("Be brief."), trace, Clock(), **more)
    talk = Talk(session, trace, tool)
    async with session:
        tasks = [asyncio.create_task(talk.follow()), asyncio.create_task(talk.speak())]
        try:
            yield talk
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    await only(before)


async def only(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait until no other tasks are left; those of a server in this loop end with its clients."""
    async with asyncio.timeout(WAIT_S):
        while asyncio.all_tasks() - tasks:
            await asyncio.sleep(0.01)
