"""Engines that follow a script, for tests in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline import pictures
from pipeline.engines.chat_stream import Used
from pipeline.engines.llm import Incomplete, Messages, Piece, Unsaid
from pipeline.engines.prosody import Prosody, measure
from pipeline.engines.tokens import TokenGauge
from pipeline.engines.tools import ToolUse
from pipeline.engines.vad import Voice
from pipeline.engines.whisper import NOTHING_KNOWN, Audio, Known, Transcription
from pipeline.errors import StageError
from pipeline.events import Samples
from pipeline.pictures import Picture
from pipeline.text.heard import Sound

RATE = 16_000
WINDOW = 512
LOUD = 1000


@dataclass
class Model:
    """Writes one script of words a request, at a fixed pace.

    A word `CALL:name:arguments` (no spaces) calls a tool at the end. `BREAK` fails there, `CUT` is
    where the text is cut off, at `UNSAID` all before turns out to be a thought, `\\n` is a piece of
    nothing but white space.
    """

    scripts: list[str | Exception]
    first_token_s: float = 0.07
    token_s: float = 0.01
    prompts: list[Messages] = field(default_factory=list)
    open: int = 0
    written: int = 0

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        self.prompts.append(messages)
        script = self.scripts.pop(0)
        self.open += 1
        try:
            await asyncio.sleep(self.first_token_s)
            if isinstance(script, Exception):
                raise script
            words = script.split(" ")
            calls = [word.split(":", 2)[1:] for word in words if word.startswith("CALL:")]
            for word in words:
                if word.startswith("CALL:"):
                    continue
                if word == "BREAK":
                    raise StageError("llm", "the server broke off")
                if word == "CUT":
                    yield Incomplete("the server cut it off")
                    break
                if word == "UNSAID":
                    yield Unsaid()
                    continue
                yield "\n" if word == "\\n" else word + " "
                self.written += 1
                await asyncio.sleep(self.token_s)
            yield Used(10, 5, len(script.split()))
            for name, arguments in calls:
                yield ToolUse("", name, arguments)
        finally:
            self.open -= 1


@dataclass
class Speaker:
    """Speaks 1 ms of sound for each character after a while; what it was asked to say is kept."""

    rate: int = 1000
    language: str = "en"
    samples_per_char: int = 60
    delay_s: float = 0.01
    pieces: int = 2
    said: list[str] = field(default_factory=list)
    open: int = 0
    others: dict[str, Speaker] = field(default_factory=dict)

    def in_language(self, language: str) -> Speaker:
        return self.others.get(language, self)

    def named(self, name: str) -> Speaker | None:
        return next((each for each in self.others.values() if each.language == name[:2]), None)

    async def speak(self, text: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        self.said.append(text)
        self.open += 1
        try:
            if "FAIL" in text:
                raise StageError("tts", "the voice failed")
            for _ in range(self.pieces):
                await asyncio.sleep(self.delay_s)
                samples = round(len(text) * self.samples_per_char / speed) // self.pieces
                yield Sound(np.full(samples, LOUD, np.int16))
        finally:
            self.open -= 1


class Detector:
    """Takes loud windows for voice."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.int16)
        self._at = 0

    def push(self, samples: Samples) -> list[Voice]:
        audio = np.concatenate([self._rest, samples])
        verdicts = []
        while len(audio) >= WINDOW:
            peak = int(np.abs(audio[:WINDOW]).max())
            level_db = 20 * math.log10(max(peak, 1) / 32768)
            verdicts.append(Voice(float(peak >= LOUD), self._at, self._at + WINDOW, level_db))
            self._at += WINDOW
            audio = audio[WINDOW:]
        self._rest = audio
        return verdicts


@dataclass
class Engines:
    """All of them. What is said is in the loudness: sound of level `LOUD + i` says `texts[i]`."""

    texts: Sequence[str]
    model: Model
    voice: Speaker = field(default_factory=Speaker)
    recognise_s: float = 0.015
    sure: float = -0.1
    speaks: str = "en"
    languages: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    heard: list[tuple[str, float]] = field(default_factory=list)
    ahead: list[Messages] = field(default_factory=list)
    finished: dict[str, float] = field(default_factory=dict)
    sounds: float | None = None
    behind: bool = False
    tokens: TokenGauge = field(default_factory=TokenGauge)
    spoken: list[Prosody] = field(default_factory=list)

    async def prosody(self, audio: Audio) -> Prosody:
        return self.spoken.pop(0) if self.spoken else measure(audio)

    sees: bool | None = None

    async def look(self, url: str) -> Picture:
        return pictures.of_url(url)

    def new_detector(self) -> Detector:
        return Detector()

    async def read_ahead(self, messages: Messages) -> None:
        self.ahead.append(messages)
        await asyncio.sleep(0.05)

    async def melody(self, audio: npt.NDArray[np.float32]) -> float | None:
        await asyncio.sleep(0.03)
        return self.sounds

    async def judge(self, messages: Messages) -> float | None:
        await asyncio.sleep(0.01)
        return self.finished.get(str(messages[-1]["content"]))

    async def transcribe(
        self, audio: npt.NDArray[np.float32], known: Known = NOTHING_KNOWN
    ) -> Transcription:
        self.languages.append(known.language or known.usual)
        self.hints.append(known.prompt)
        await asyncio.sleep(self.recognise_s)
        levels = np.rint(audio * 32768).astype(int) - LOUD
        loud = np.bincount(levels[levels >= 0])
        # What a resampler rings with is nothing said.
        words = np.flatnonzero((loud > 0) & (loud * 50 >= loud.sum()))
        inorder = sorted(words.tolist(), key=lambda word: int(np.argmax(levels == word)))
        said = [self.texts[i % len(self.texts)] for i in inorder]
        if "FAIL" in said:
            raise StageError("stt", "the recogniser failed")
        text = " ".join(filter(None, said))
        self.heard.append((text, len(audio) / RATE))
        heard = Transcription(text, self.speaks, self.sure, 0.0, 1.0, sure=bool(text))
        return self.understood(heard, known.voiced_ms)

    def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
        """What the recogniser makes of it; for a test to change, or to fail."""
        return heard
