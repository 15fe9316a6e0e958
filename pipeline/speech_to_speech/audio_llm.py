"""The half cascade: the user's sound straight into a chat model that hears, then a Piper voice.

All that the cascade does around the model is the cascade's own: turn-taking, answering before the
turn is surely over, clauses, the voice, barge-in, tools, what the history keeps. Only nobody
recognises words before the model is asked: what it gets is the sound of the utterance, as an
`input_audio` part of the chat completions API, and it answers in text.

So a voice over a reply is not looked at for words, and interrupts after `BARGE_IN_MS` of it;
the end of a turn is foreseen by its melody alone. With `transcript=stt` Whisper listens too, after
the reply has been made, for a comparison's sake: nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from pipeline.clock import NS_PER_MS, Clock
from pipeline.config import Settings, load
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.history import Message
from pipeline.conversation.reply import Engines
from pipeline.engines.servers import OPENAI_URL, ChatServer, chat_server
from pipeline.engines.whisper import MIN_VOICED_MS
from pipeline.errors import BadInput, CascadeError, StageError
from pipeline.events import Event, Frame, ReplyDone, Transcript
from pipeline.speech_to_speech import keys
from pipeline.speech_to_speech.brief import Brief, Facts, Target
from pipeline.speech_to_speech.hearing_model import Ears, HearingModel, Local, VoiceEngines
from pipeline.speech_to_speech.utterances import Utterances
from pipeline.trace import Trace

KEEP = 8
"""How many of the user's newest utterances the model hears again with every request."""

OPTIONS = ("model", "keep", "transcript")
"""What can be said of the path, beside settings by dotted name."""

BARGE_IN_MS = 800
"""Voice that interrupts a reply, at most: nobody finds words in it, and coughs are shorter."""


class AudioLlmSession:
    """A `Direct` session with a chat model that takes sound."""

    def __init__(
        self,
        target: Target,
        brief: Brief,
        trace: Trace,
        clock: Clock,
        *,
        settings: Settings | None = None,
        engines: Local | None = None,
    ) -> None:
        """Prepare a session; nothing is loaded, or connected.

        Args:
            target: `audio-llm`, with the options `model=NAME` (else the first that the server
                lists), `keep=N` (utterances that the model hears again), `transcript=stt`, and
                settings by dotted name.
            brief: What the conversation is about.
            trace: Takes the marks.
            clock: The one clock.
            settings: Of the run; None reads them as `cascade talk` does.
            engines: Loaded ones, owned by somebody else; None loads what is needed.

        Raises:
            BadInput: The URL, the key, a setting or an option cannot be, or a model is missing.
        """
        self._keep, self._listens = _options(target)
        base = settings or load(flags=dotted(target))
        self._settings = prepared(base, target, brief)
        self._server = _server(self._settings)
        self._utterances = Utterances(self._keep)
        self._model = HearingModel(self._server, self._settings, self._utterances)
        own = engines is None
        self._own = VoiceEngines(self._settings, words=self._listens) if own else None
        self._local = self._own if engines is None else engines
        self._brief = brief
        self._trace = trace
        self._clock = clock
        self._stack = contextlib.AsyncExitStack()
        self._cascade: Cascade
        self._facts: Facts | None = None
        self._asked: dict[int, str] = {}
        self._listening: set[asyncio.Task[Transcript | None]] = set()

    async def __aenter__(self) -> Self:
        """Load what is missing and reach the server.

        Raises:
            CascadeError: It cannot be made ready.
        """
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._model.close)
            began = self._clock.now_ns()
            try:
                await self._model.reach()
            except StageError as error:
                raise StageError("direct", str(error), fatal=True) from None
            took_ms = (self._clock.now_ns() - began) / NS_PER_MS
            if self._own is not None:
                await stack.enter_async_context(self._own)
            assert self._local is not None
            ears: Engines = Ears(self._local, self._model, self._utterances, MIN_VOICED_MS)
            self._cascade = Cascade(
                ears,
                self._settings,
                self._trace,
                self._clock,
                tools=self._brief.tools,
                partial_ms=0,
            )
            await stack.enter_async_context(self._cascade)
            host = urlsplit(self._server.base_url).netloc.rpartition("@")[2]
            self._facts = Facts(self._model.model, host, took_ms)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all work."""
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        await self._stack.__aexit__(exc_type, exc, traceback)

    @property
    def facts(self) -> Facts | None:
        """What was found at the other end; None before the session is entered."""
        return self._facts

    @property
    def history(self) -> list[Message]:
        """What was said and heard; of the user a transcript, or a note where there is none."""
        return [
            dataclasses.replace(message, content=self._utterances.read(message.content))
            for message in self._cascade.history
        ]

    @property
    def reconnects(self) -> int:
        """None: every request stands for itself."""
        return 0

    @property
    def preparing(self) -> bool:
        """Whether something is computed that nobody waits for yet."""
        return self._cascade.preparing or bool(self._listening)

    async def send(self, frame: Frame) -> None:
        """Take the next of the microphone."""
        await self._cascade.send(frame)

    async def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        await self._cascade.heard(reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        """Answer a `ToolCall`.

        Raises:
            CascadeError: No such call is open.
        """
        await self._cascade.tool_result(call_id, output)

    async def commit(self) -> None:
        """Turns end as they do in the cascade.

        Raises:
            CascadeError: Always.
        """
        raise CascadeError("the half cascade ends turns itself")

    async def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left; a transcript comes after its reply was made."""
        stream = self._cascade.events()
        late: deque[Event] = deque()
        coming = asyncio.ensure_future(anext(stream, None))
        try:
            while True:
                done, _ = await asyncio.wait(
                    {coming, *self._listening}, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done & self._listening:
                    self._listening.discard(task)
                    if not task.cancelled() and (transcript := task.result()):
                        late.append(transcript)
                while late:
                    yield late.popleft()
                if not coming.done():
                    continue
                event = coming.result()
                if event is None:
                    return
                if not isinstance(event, Transcript):
                    yield event
                self._note(event)
                coming = asyncio.ensure_future(anext(stream, None))
        finally:
            coming.cancel()
            await asyncio.wait([coming])
            await stream.aclose()

    def _note(self, event: Event) -> None:
        """Listen to an utterance oneself, once there is time for that."""
        if not self._listens:
            return
        if isinstance(event, Transcript) and event.final:
            self._asked[event.turn] = event.text
        if isinstance(event, ReplyDone) and (text := self._asked.pop(event.turn, "")):
            task = asyncio.ensure_future(self._recognise(event.turn, text))
            self._listening.add(task)

    async def _recognise(self, turn: int, text: str) -> Transcript | None:
        audio = self._utterances.sound(text)
        if audio is None or self._local is None:
            return None
        try:
            heard = await self._local.transcribe(audio)
        except StageError:
            return None  # the model has heard it all the same
        self._utterances.know(text, heard.text)
        return Transcript(turn, heard.text, True)


def dotted(target: Target) -> Mapping[str, str]:
    """The settings among a path's options, by dotted name.

    Raises:
        BadInput: An option is none of `OPTIONS` and no setting either.
    """
    found = {name: value for name, value in target.options.items() if name not in OPTIONS}
    for name in found:
        if name.count(".") != 1 or name.startswith("llm.api_key"):
            raise BadInput(
                f"{target.name}: {name} is no option; allowed: {', '.join(OPTIONS)}, or a setting "
                "by its dotted name, such as turns.hold_ms"
            )
    return found


def prepared(settings: Settings, target: Target, brief: Brief) -> Settings:
    """The settings of a session: those of a run, with the path's server and what it is told.

    Raises:
        BadInput: There is no key for OpenAI's API.
    """
    llm = settings.llm.model_copy(
        update={
            "model": target.url,
            "name": target.model or target.options.get("model", ""),
            "api_key": _key(target),
            "instructions": brief.instructions,
        }
    )
    barge_in_ms = min(settings.turns.barge_in_ms, BARGE_IN_MS)
    turns = settings.turns.model_copy(update={"barge_in_ms": barge_in_ms})
    return settings.model_copy(update={"llm": llm, "turns": turns})


def voice_engines(target: Target, settings: Settings) -> VoiceEngines:
    """Engines that serve many sessions of a path, one after the other; not yet loaded.

    Raises:
        BadInput: A key, an option or a model is missing or cannot be.
    """
    return VoiceEngines(prepared(settings, target, Brief()), words=_options(target)[1])


def _options(target: Target) -> tuple[int, bool]:
    keep = target.options.get("keep", str(KEEP))
    if not keep.isdecimal() or int(keep) < 1:
        raise BadInput(f"{target.name}: keep is {keep!r}; allowed: a number from 1")
    transcript = target.options.get("transcript", "")
    if transcript not in ("", "stt", "none"):
        raise BadInput(f"{target.name}: transcript is {transcript!r}; allowed: stt, none")
    dotted(target)
    return int(keep), transcript == "stt"


def _key(target: Target) -> str:
    """The key for a server: OpenAI's goes to nobody else."""
    if key := os.environ.get(keys.AUDIO_LLM, "").strip():
        return key
    hosts = [OPENAI_URL, os.environ.get("OPENAI_BASE_URL", "").strip()]
    if _place(target.url) not in [_place(url) for url in hosts if url]:
        return ""
    if key := os.environ.get(keys.OPENAI, "").strip():
        return key
    raise BadInput(f"{target.name}: there is no key; set {keys.OPENAI}")


def _place(url: str) -> tuple[str, str]:
    """Scheme, host and port: whoever has these gets the key."""
    try:
        parts = urlsplit(url)
        return parts.scheme, f"{parts.hostname}:{parts.port}"
    except ValueError:
        return "", url


def _server(settings: Settings) -> ChatServer:
    found = chat_server(settings.llm)
    setting = (
        keys.AUDIO_LLM
        if not settings.llm.api_key or os.environ.get(keys.AUDIO_LLM, "").strip()
        else keys.OPENAI
    )
    return dataclasses.replace(
        found, key_setting=setting, remedy="start the server, or check the URL of the path"
    )
