"""Engines behind the HTTP API: the real toys on a server of their own, and scripted ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import Settings, load
from pipeline.engines.local import LocalEngines
from pipeline.engines.whisper import NOTHING_KNOWN, Known, Transcription
from pipeline.errors import StageError
from pipeline.serve.http_api import routes
from pipeline.serve.link import Link, Opening
from pipeline.text.heard import Sound
from support.scripted import Detector
from support.served import Served, served

TOYS = {"stt.model": "whisper-mini-en", "tts.voice": "en_US-mini", "turns.predict": "false"}


async def _talk(link: Link, opening: Opening) -> None:
    """No conversation."""


@contextlib.asynccontextmanager
async def serving(engines: Any, settings: Settings | None = None) -> AsyncIterator[Served]:
    """The HTTP API on a socket."""
    async with served(_talk, routes=routes(engines, settings or Settings())) as server:
        yield server


@contextlib.asynccontextmanager
async def toys() -> AsyncIterator[str]:
    """The API of the toy recogniser and voice; gives its base URL."""
    settings = load(None, TOYS)
    async with LocalEngines(settings, writes=False) as engines, serving(engines) as server:
        yield f"{server.http}/v1"


@dataclass
class Voice:
    """Says so many pieces of 10,000 samples for each clause; waits where a test holds it."""

    rate: int = 24_000
    language: str = "en"
    samples: int = 10_000
    pieces: int = 1
    said: list[str] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    open: int = 0
    held: asyncio.Event | None = None
    others: dict[str, Voice] = field(default_factory=dict)

    def in_language(self, language: str) -> Voice:
        return self

    def named(self, name: str) -> Voice | None:
        return self.others.get(name)

    async def speak(self, text: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        """Fails at `FAIL`; at `HOLD` it waits after its pieces."""
        self.said.append(text)
        self.speeds.append(speed)
        self.open += 1
        try:
            if "FAIL" in text:
                raise StageError("tts", "the voice failed")
            for _ in range(self.pieces):
                yield Sound(np.full(self.samples, 1000, np.int16))
            if "HOLD" in text:
                assert self.held is not None
                await self.held.wait()
        finally:
            self.open -= 1


@dataclass
class Scripted:
    """Hears in every piece how many seconds it has; waits where a test holds it."""

    voice: Voice = field(default_factory=Voice)
    names: dict[str, str] = field(
        default_factory=lambda: {"stt": "ears", "tts": "mouth", "llm": "head"}
    )
    asked: list[Known] = field(default_factory=list)
    order: list[float] = field(default_factory=list)
    files: int = 0
    open: int = 0
    most: int = 0
    takes_s: float = 0.0
    held: asyncio.Event | None = None
    failure: Exception | None = None

    def new_detector(self) -> Detector:
        self.files += 1
        return Detector()

    async def transcribe(
        self, audio: npt.NDArray[np.float32], known: Known = NOTHING_KNOWN
    ) -> Transcription:
        self.asked.append(known)
        # How loud it is tells whose it is.
        self.order.append(round(float(np.abs(audio).max()), 2))
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(self.takes_s)
            if self.held is not None:
                await self.held.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self.open -= 1
        return Transcription(f"{len(audio) / 16000:.1f}", "en", -0.1, 0.0, 1.0, sure=True)
