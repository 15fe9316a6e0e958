"""The engines of the cascade: found, loaded side by side, warmed, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ctypes
import functools
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pipeline import pictures
from pipeline.config import Settings, SttSettings, TtsSettings
from pipeline.engines.brevity import Shortened
from pipeline.engines.client import Unreachable
from pipeline.engines.llama import LocalServer, context_tokens
from pipeline.engines.llm import ChatModel, Messages, Writer
from pipeline.engines.llm_judge import TextJudge
from pipeline.engines.piper import Piper
from pipeline.engines.prosody import Prosody, measure
from pipeline.engines.remote import RemoteRecogniser, RemoteVoice
from pipeline.engines.servers import ChatServer, asked_voice, audio_server, chat_server
from pipeline.engines.smart_turn import SmartTurn
from pipeline.engines.tokens import TokenGauge
from pipeline.engines.vad import VoiceDetector
from pipeline.engines.voices import LocalVoice, Voices, languages_of
from pipeline.engines.whisper import (
    FULL_S,
    NOTHING_KNOWN,
    RATE,
    Audio,
    Known,
    Transcription,
    Whisper,
    check_language,
    joined,
)
from pipeline.engines.worker import Worker, apart
from pipeline.errors import BadInput, StageError
from pipeline.models.catalogue import Catalogue, Found, Kind
from pipeline.pictures import Picture

SWITCH_INTERVAL_S = 0.0005
"""How long a busy Python thread may keep the interpreter from the others; with the default of 5 ms
audio frames were seen to wait 12 ms."""

_ARENAS = -8  # glibc's M_ARENA_MAX

Warmable = TypeVar("Warmable", Whisper, Piper, SmartTurn)
"""What runs once before it is needed."""

log = logging.getLogger(__name__)


BEHIND_S = 0.3
"""Where somebody waits for so long already (s), nothing is begun that may turn out to be for
nothing."""

READING_S = 180.0
"""At the start the embedded model may read its instructions for so long (s): 16,000 characters take
it a minute and a half on two busy cores, and all later prompts begin with what it has read."""

UNSEATED_S = 5.0
"""Where sessions have seats, all else is files, and so is what is longer than a turn: nobody waits
for a piece of one within this (s)."""

DRAFT_S = 0.6
"""A draft is worth so long a wait (s): by then there is more to be heard, and another is asked for.
One that has not been begun by then never is, so that they are the first to go where the machine
cannot keep up."""


def find_language_model(settings: Settings, catalogue: Catalogue) -> Found | ChatServer:
    """What `llm.model` names: a model to run here, or a server.

    Raises:
        BadInput: It names nothing, or what it names is not downloaded.
    """
    name = settings.llm.model
    known = {"embedded", *(model.name for model in catalogue.models if model.kind == "llm")}
    if name in known or name.endswith(".gguf"):
        return catalogue.resolve("llm", name)
    return chat_server(settings.llm)


def check_models(settings: Settings, catalogue: Catalogue) -> None:
    """See that all models can be had, save the defaults, which may be fetched yet.

    Raises:
        BadInput: One is unknown, incomplete, or not downloaded, or does not know the language.
    """
    named: tuple[tuple[Kind, str, SttSettings | TtsSettings], ...] = (
        ("stt", settings.stt.model, settings.stt),
        ("tts", settings.tts.voice, settings.tts),
    )
    for kind, name, stage in named:
        if stage.url:
            audio_server(stage)
            continue
        model = catalogue.missing(kind, name) or catalogue.resolve(kind, name).model
        if kind == "stt" and model is not None:
            check_language(settings.stt.language, model.languages, model.name)
    if not settings.tts.url:
        for name in settings.tts.voices:
            catalogue.resolve("tts", name)
    if settings.llm.model != "embedded":
        find_language_model(settings, catalogue)


def _end_of_turn_model(settings: Settings, catalogue: Catalogue) -> Path | None:
    """The model that hears whether a turn is over; None: it is not wanted, or not there."""
    if not settings.turns.predict:
        return None
    try:
        return catalogue.resolve("endpoint", catalogue.default("endpoint").name).path
    except BadInput:
        return None


async def start_language_model(
    where: Found | ChatServer,
    settings: Settings,
    stack: contextlib.AsyncExitStack,
    *,
    lenient: bool = False,
    sessions: int = 1,
) -> ChatModel:
    """A client that is warm, and the server behind it if that is ours; `stack` stops both.

    Args:
        where: The model.
        settings: Of the run.
        stack: Takes what is to be stopped.
        lenient: Only warn of a server that answers, but not well: it may do better later.
        sessions: How many conversations it has at a time, if it is ours.

    Raises:
        StageError: It cannot be loaded or reached, refuses, or does not answer well.
    """
    if own := isinstance(where, Found):
        server = await stack.enter_async_context(
            LocalServer(
                where.path,
                settings.llm,
                context_tokens=context_tokens(settings, sessions),
                sessions=sessions,
                tools_in_words=where.tools_in_words,
            )
        )
        where = server.address
    # Its library takes long to import.
    model = await apart(lambda: ChatModel(where, settings.llm))
    # Closed before the server stops, or that would wait for the client's open connection.
    stack.push_async_callback(model.close)
    patience_s = max(READING_S, settings.llm.timeout_s) if own else None
    try:
        instructions = [{"role": "system", "content": settings.llm.instructions}]
        await model.warm(instructions, patience_s=patience_s)
    except StageError as error:
        if not lenient or error.fatal or isinstance(error, Unreachable):
            raise
        log.warning("%s; going on", error)
    await model.find_context()
    if settings.conversation.budget_tokens > model.tokens.most:
        log.warning(
            "conversation.budget_tokens is %d, and the model holds %.0f beside a reply: "
            "older turns are left out sooner",
            settings.conversation.budget_tokens,
            model.tokens.most,
        )
    return model


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Leave Python's collector of garbage off: loading makes little, and much for it to look at.

    What has been loaded is not looked at later either, for that stops everything for 40 ms.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def _glibc(name: str) -> Callable[..., object]:
    """A function of glibc's own; of other C libraries one that does nothing."""
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    return getattr(libc, name, lambda *_: None)


def _share_memory() -> None:
    """Have all threads that begin from now on take memory from one place, and give it back there.

    With one for each thread, as is glibc's way, what the recogniser has let go of is of no use to
    the voice: some 50 MB more. Engines ask for it rarely, and then for much, so that none waits.
    """
    _glibc("mallopt")(_ARENAS, 1)


def _trim() -> None:
    """Give back to the system what loading has let go of: glibc would keep some 45 MB of it."""
    _glibc("malloc_trim")(0)


async def _warmed(worker: Worker, load: Callable[[], Warmable]) -> Warmable:
    """An engine that is loaded and warmed in the thread in which it will compute."""

    def work() -> Warmable:
        engine = load()
        engine.warm()
        return engine

    return await worker.run(work)


async def _warmed_there(remote: RemoteRecogniser | RemoteVoice) -> None:
    """Let a server get ready; one that answers, but not well, may do better later.

    Raises:
        StageError: It cannot be reached, or refuses for good.
    """
    try:
        await remote.warm()
    except StageError as error:
        if error.fatal or isinstance(error, Unreachable):
            raise
        log.warning("%s; going on", error)


class LocalEngines:
    """Everything that computes, each in its own thread. An async context manager.

    Inside it all engines are loaded and warm; leaving it stops them. They serve one conversation as
    they are, and many if each takes a `seat`.
    """

    model: Writer
    voice: LocalVoice | RemoteVoice
    writes: bool
    """Whether there is a language model."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue | None = None,
        *,
        recognises: bool = True,
        writes: bool = True,
        sessions: int = 1,
    ) -> None:
        """Find the models; nothing is loaded yet.

        Args:
            settings: Of the run.
            catalogue: Where the models are; None: where the settings say.
            recognises: Whether the recogniser is needed.
            writes: Whether the language model is needed.
            sessions: For how many conversations at a time the embedded model has memory. More than
                these share it, and read again what others have pushed out.

        Raises:
            BadInput: A model is unknown, incomplete, or not downloaded.
        """
        catalogue = self._catalogue = catalogue or Catalogue.load(settings.models.dir)
        self._settings = settings
        self._recognises, self.writes = recognises, writes
        self._sessions = sessions
        self._within_s = UNSEATED_S
        stt, tts = settings.stt, settings.tts
        self._stt = audio_server(stt) if stt.url else catalogue.resolve("stt", stt.model)
        self._tts = audio_server(tts) if tts.url else catalogue.resolve("tts", tts.voice)
        self._among = [] if tts.url else languages_of(tts, catalogue)
        self._llm = find_language_model(settings, catalogue)
        # Those of the embedded model that are free.
        self._slots = list(range(sessions)) if isinstance(self._llm, Found) else []
        self._stack = contextlib.AsyncExitStack()
        self._end_of_turn = _end_of_turn_model(settings, catalogue)
        self._recognising = Worker("stt")
        self._speaking = Worker("tts")
        self._foreseeing = Worker("endpoint")
        self._whisper: Whisper
        self._remote: RemoteRecogniser | None = None
        self._chat: ChatModel
        self._detector: VoiceDetector
        self._smart_turn: SmartTurn | None = None
        self._judge: TextJudge | None = None

    @property
    def names(self) -> dict[str, str]:
        """The models in use, by kind."""
        llm = self._llm.path.stem if isinstance(self._llm, Found) else self._llm.label
        stt = self._stt.model if isinstance(self._stt, ChatServer) else self._stt.name
        remote = asked_voice(self._settings.tts)
        tts = remote if isinstance(self._tts, ChatServer) else self._tts.name
        return {"stt": stt, "llm": llm, "tts": tts}

    @property
    def languages(self) -> list[str]:
        """Codes of what the recogniser takes speech for; empty: another server's is not known."""
        return [] if self._remote is not None else self._whisper.languages

    async def __aenter__(self) -> Self:
        """Load all engines at once and warm each.

        Raises:
            CascadeError: One of them cannot be used.
        """
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(sys.setswitchinterval, sys.getswitchinterval())
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            stack.callback(self._recognising.close)
            stack.callback(self._speaking.close)
            stack.callback(self._foreseeing.close)
            stack.callback(gc.unfreeze)
            _share_memory()
            # Gathered to the end even if one fails, so that what did load is stopped again.
            with _uncollected():
                results = await asyncio.gather(
                    self._load_tts(stack),
                    self._load_vad(),
                    self._load_end_of_turn(),
                    *([self._load_stt(stack)] if self._recognises else []),
                    *([self._load_llm(stack)] if self.writes else []),
                    return_exceptions=True,
                )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            _trim()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all engines."""
        await self._stack.aclose()

    @contextlib.contextmanager
    def seat(self) -> Iterator[Self]:
        """The same engines as one of many sessions uses them.

        What it asks for takes its turn among what others ask for, and the embedded model remembers
        its conversation apart from theirs.
        """
        seat = copy.copy(self)
        seat._within_s = 0.0
        seat.voice = self.voice.another()
        taken = [self._slots.pop(0)] if self._slots else []
        if self.writes:
            for slot in taken:
                # It learns from this conversation alone.
                seat._write_with(self._chat.at(slot))
                seat._judge = self._judge and self._judge.at(slot)
        try:
            yield seat
        finally:
            self._slots += taken

    @property
    def tokens(self) -> TokenGauge:
        """How many tokens prompts have."""
        return self._chat.tokens

    @property
    def behind(self) -> bool:
        """Whether the machine has more to do than it can."""
        return max(self._recognising.late_s, self._speaking.late_s) > BEHIND_S

    def new_detector(self) -> VoiceDetector:
        """A judge of voice for one session."""
        return self._detector.another()

    async def transcribe(self, audio: Audio, known: Known = NOTHING_KNOWN) -> Transcription:
        """Recognise an utterance (16 kHz, -1 to 1), of which so much is known.

        Raises:
            BadInput: The recogniser does not know the language.
            StageError: It failed.
        """
        if not known.draft:
            # Soon somebody answers, or is interrupted.
            self.voice.begin()
        if self._remote is not None:
            return await self._remote.transcribe(audio, known)
        within_s = self._within_s + (DRAFT_S if known.draft else 0.0)
        if len(audio) > FULL_S * RATE:
            windows = self._whisper.windows(audio, known)
            heard = []
            # No turn is so long. Each window takes its turn: others are not held up by all of it.
            while found := await self._recognising.run(
                functools.partial(next, windows, None), within_s=UNSEATED_S
            ):
                heard.append(found)
            return joined(heard)
        late = time.monotonic() + DRAFT_S

        def work() -> Transcription:
            if known.draft and time.monotonic() > late:
                return Transcription("", known.language, 0.0, 1.0, 0.0, "too late")
            return self._whisper.transcribe(audio, known)

        return await self._recognising.run(work, within_s=within_s)

    async def prosody(self, audio: Audio) -> Prosody:
        """How an utterance is said."""
        return await self._foreseeing.run(lambda: measure(audio))

    async def melody(self, audio: Audio) -> float | None:
        """Whether the speaker sounds finished, as a probability; None if nobody can tell."""
        turn = self._smart_turn
        if turn is None:
            return None
        return await self._foreseeing.run(lambda: turn.probability(audio))

    async def judge(self, messages: Messages) -> float | None:
        """Whether the last message of a prompt reads finished: the embedded model's opinion."""
        if self._judge is None:
            return None
        return await self._judge.probability(self._chat.as_read(messages))

    @property
    def sees(self) -> bool | None:
        """Whether the language model sees pictures; None: that is not known yet."""
        return self._chat.sees if self.writes else False

    async def look(self, url: str) -> Picture:
        """Check a picture, and make it small enough.

        Args:
            url: Of its data.

        Raises:
            NoPicture: It is none that can be read.
        """
        return await apart(lambda: pictures.of_url(url))

    async def read_ahead(self, messages: Messages) -> None:
        """Let the embedded model read a prompt before it is asked; others keep their own caches.

        Of those it is found out whether their model sees tools.
        """
        if not self.writes:
            return
        if not isinstance(self._llm, Found):
            await self._chat.learn(messages)
            return
        async with contextlib.aclosing(self._chat.stream(messages, max_tokens=1)) as deltas:
            async for _ in deltas:
                pass

    async def _load_stt(self, stack: contextlib.AsyncExitStack) -> None:
        found = self._stt
        if isinstance(found, ChatServer):
            remote = await apart(lambda: RemoteRecogniser(found, self._settings.stt))
            stack.push_async_callback(remote.aclose)
            await _warmed_there(remote)
            self._remote = remote
            return
        self._whisper = await _warmed(
            self._recognising,
            lambda: Whisper(
                found.path,
                self._settings.stt,
                short_windows=found.short_windows,
                among=self._among,
                english=self._settings.conversation.translate_to == "en",
            ),
        )

    async def _load_tts(self, stack: contextlib.AsyncExitStack) -> None:
        found = self._tts
        if isinstance(found, ChatServer):
            voice = await apart(lambda: RemoteVoice(found, self._settings))
            stack.push_async_callback(voice.aclose)
            await _warmed_there(voice)
            self.voice = voice
            return
        piper = await _warmed(self._speaking, lambda: Piper(found.path, self._settings.tts))
        voices = Voices(found.name, piper, self._settings.tts, self._catalogue)
        stack.callback(voices.close)
        await voices.load_named()
        self.voice = LocalVoice(voices, self._speaking, UNSEATED_S)

    async def _load_llm(self, stack: contextlib.AsyncExitStack) -> None:
        model = await start_language_model(
            self._llm, self._settings, stack, lenient=True, sessions=self._sessions
        )
        if isinstance(self._llm, Found) and self._settings.turns.predict:
            self._judge = TextJudge(model.server)
            stack.push_async_callback(self._judge.close)
        self._write_with(model)

    def _write_with(self, model: ChatModel) -> None:
        settings = self._settings.llm
        self.model = self._chat = model
        if settings.model == "embedded" and settings.sentences:
            self.model = Shortened(model, settings.sentences)

    async def _load_end_of_turn(self) -> None:
        if (path := self._end_of_turn) is not None:
            self._smart_turn = await _warmed(self._foreseeing, lambda: SmartTurn(path))

    async def _load_vad(self) -> None:
        self._detector = await apart(VoiceDetector.ready)
