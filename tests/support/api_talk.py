"""Somebody who talks with a session under test; all that it tells is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.api_server import ApiServer

from pipeline.clock import Clock
from pipeline.events import Event, Frame, ReplyAudio, ReplyDone, Samples
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.speech_to_speech.gemini import GeminiSession
from pipeline.speech_to_speech.mapped import MappedSession
from pipeline.speech_to_speech.openai_live import LiveSession
from pipeline.speech_to_speech.openai_realtime import RealtimeSession
from pipeline.trace import Trace
from support import sound
from support.cli_child import read_wav, recording

RATE = 16_000
KIND = Brief("Be kind.")
BLOCK = RATE // 50
WAIT_S = 10.0
SESSIONS: dict[str, Any] = {
    "openai": RealtimeSession,
    "realtime": RealtimeSession,
    "openai-live": LiveSession,
    "gemini": GeminiSession,
    "map": MappedSession,
}


def tone(seconds: float = 0.4, rate: int = RATE) -> Samples:
    """Something loud for so long."""
    return sound.hum(rate, seconds)


def silence(seconds: float) -> Samples:
    return sound.silence(RATE, seconds)


def speech() -> Samples:
    """Somebody says something."""
    said, rate = read_wav(recording(1))
    assert rate == RATE
    return said[:, 0]


class Talk:
    """A session that somebody speaks to faster than time goes by.

    Attributes:
        events: All that it told.
        over: It tells nothing more.
    """

    def __init__(self, session: Any, trace: Trace, *, hears: bool = True) -> None:
        """Prepare; `hears`: all sound counts as heard as soon as it is told."""
        self.session = session
        self.trace = trace
        self.events: list[Event] = []
        self.over = False
        self._hears = hears
        self._sent = 0
        self._news = asyncio.Event()

    def of(self, *kinds: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    def done(self) -> list[tuple[int, str]]:
        """Turns that were over, and how."""
        return [(event.turn, event.status) for event in self.of(ReplyDone)]

    async def say(self, *parts: Samples) -> None:
        """Speak (16 kHz); without sound given: a sentence, and the silence after it."""
        sound = np.concatenate(parts or (speech(), silence(1.5)))
        for at in range(0, len(sound), BLOCK):
            piece = sound[at : at + BLOCK]
            await self.session.send(Frame(piece, RATE, self._sent, Clock().now_ns()))
            self._sent += len(piece)
            await asyncio.sleep(0)

    async def until(self, there: Callable[[], Any]) -> None:
        """Wait; silence is heard meanwhile, as in a real session."""
        async with asyncio.timeout(WAIT_S):
            while not there():
                await self.say(silence(0.02))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._news.wait()

    async def see(self, kind: type[Event], number: int = 1) -> Any:
        """The so-manieth event of a kind."""
        await self.until(lambda: len(self.of(kind)) >= number)
        return self.of(kind)[number - 1]

    async def read(self) -> None:
        """Take what the session tells, to its end."""
        async for event in self.session.events():
            if self._hears and isinstance(event, ReplyAudio):
                frame = event.frame
                await self.session.heard(event.id, frame.offset + len(frame.samples))
            self.events.append(event)
            self._news.set()
            self._news = asyncio.Event()
        self.over = True
        self._news.set()

    @contextlib.asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Be in the session, and read it to its end; what it began is over then."""
        before = asyncio.all_tasks()
        async with asyncio.timeout(3 * WAIT_S):
            async with self.session:
                reading = asyncio.ensure_future(self.read())
                try:
                    yield
                except BaseException:
                    reading.cancel()
                    raise
            await reading
        await only(before)


@contextlib.asynccontextmanager
async def talking(
    where: ApiServer | SystemSpec,
    brief: Brief = KIND,
    *,
    hears: bool = True,
    trace: Path | None = None,
    options: dict[str, str] | None = None,
    **more: Any,
) -> AsyncIterator[Talk]:
    """Talk to a server; afterwards nothing that was begun is left."""
    with pytest.MonkeyPatch.context() as patch, Trace(trace) as marks:
        spec = where
        if isinstance(where, ApiServer):
            spec = where.spec(**(options or {}))
            for name, value in where.environment.items():
                patch.setenv(name, value)
        session = SESSIONS[spec.kind](spec, brief, marks, Clock(), **more)
        talk = Talk(session, marks, hears=hears)
        async with talk.entered():
            yield talk


async def only(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait until no other tasks are left; those of a server in this loop end with its clients."""
    async with asyncio.timeout(WAIT_S):
        while asyncio.all_tasks() - tasks:
            await asyncio.sleep(0.01)
