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
import base64
import contextlib
import dataclasses
import os
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urldefrag, urlsplit

import numpy as np

from pipeline.clock import NS_PER_MS, Clock
from pipeline.config import Settings, is_secret, load
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.history import Message
from pipeline.conversation.reply import Engines, Synthesiser
from pipeline.engines.llm import ChatModel, Messages, Piece
from pipeline.engines.local import LocalEngines
from pipeline.engines.prosody import Prosody
from pipeline.engines.remote import wav
from pipeline.engines.servers import OPENAI_URL, ChatServer, chat_server
from pipeline.engines.tokens import TokenGauge
from pipeline.engines.tools import Prompt
from pipeline.engines.whisper import NOTHING_KNOWN, Audio, Known, Transcription
from pipeline.errors import BadInput, CascadeError, StageError
from pipeline.events import Event, Frame, ReplyDone, Transcript
from pipeline.models.catalogue import Catalogue
from pipeline.pictures import Picture
from pipeline.session import EventQueue
from pipeline.speech_to_speech import keys
from pipeline.speech_to_speech.brief import Brief, Facts, SystemSpec, given
from pipeline.speech_to_speech.keys import shown
from pipeline.trace import Trace
from pipeline.turns.listener import Detector

KEEP = 8
"""How many of the user's newest utterances the model hears again with every request."""

OPTIONS: Mapping[str, Sequence[str] | range] = {
    "model": (),
    "keep": range(1, 10_001),
    "transcript": ("stt", "none"),
}
"""What the command line can say, beside settings by dotted name, and the values that are allowed;
none listed: any."""

BARGE_IN_MS = 800
"""Voice that interrupts a reply, at most: nobody finds words in it, and coughs are shorter."""


SPOKEN = "(The user said something here; its sound is not kept.)"
"""Stands for an utterance whose sound is not kept, and that nobody has transcribed."""

UNUSED = 64
"""Utterances that are kept though no prompt has had them."""

# Of Unicode's private use area: no text of a user or a model has them, and they are no letters, so
# that nobody takes a placeholder for words.
_OPEN, _CLOSE, _ZERO = "\ue000", "\ue001", 0xE010
_PLACEHOLDER = re.compile(f"{_OPEN}([{chr(_ZERO)}-{chr(_ZERO + 9)}]+){_CLOSE}")


class Utterances:
    """The utterances of a conversation.

    Args:
        keep: How many of the newest the model hears; of older ones it gets a transcript or a note.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._next = 1
        self._sounds: dict[int, Audio] = {}
        self._texts: dict[int, str] = {}
        self._used: set[int] = set()

    def take(self, audio: Audio) -> str:
        """Keep an utterance (16 kHz, ±1); gives its placeholder."""
        number, self._next = self._next, self._next + 1
        self._sounds[number] = audio
        unused = [n for n in self._sounds if n not in self._used]
        for old in unused[:-UNUSED]:
            del self._sounds[old]
        digits = "".join(chr(_ZERO + int(digit)) for digit in str(number))
        return f"{_OPEN}{digits}{_CLOSE}"

    def sound(self, text: str) -> Audio | None:
        """The sound of all utterances in a text, one after the other; None if it is not kept."""
        sounds = [self._sounds[n] for n in numbers(text) if n in self._sounds]
        return np.concatenate(sounds) if sounds else None

    def know(self, text: str, transcript: str) -> None:
        """The utterances in `text` have been transcribed."""
        for i, number in enumerate(numbers(text)):
            self._texts[number] = transcript if i == 0 else ""

    def read(self, text: str) -> str:
        """A text for people: its utterances as transcripts, or notes."""
        return _PLACEHOLDER.sub(lambda m: self._text(_number(m)), text).strip()

    def spoken(self, messages: Messages) -> Messages:
        """Messages as the model gets them: the newest utterances as sound.

        What no prompt has any more is forgotten.
        """
        found = [n for m in messages for n in numbers(m.get("content"))]
        kept = set(found[-self._keep :] if self._keep else [])
        newest = max(found, default=0)
        self._sounds = {n: a for n, a in self._sounds.items() if n in kept or n > newest}
        self._used = kept
        changed = [self._message(message, kept) for message in messages]
        return Prompt(changed, messages.tools if isinstance(messages, Prompt) else ())

    def _message(self, message: Mapping[str, Any], kept: set[int]) -> dict[str, Any]:
        content = message.get("content")
        if not isinstance(content, str) or not numbers(content):
            return dict(message)
        parts: list[dict[str, Any]] = []
        at = 0
        for found in _PLACEHOLDER.finditer(content):
            _add(parts, content[at : found.start()])
            audio = self._sounds.get(_number(found)) if _number(found) in kept else None
            if audio is None:
                _add(parts, self._text(_number(found)))
            else:
                parts.append(_part(audio))
            at = found.end()
        _add(parts, content[at:])
        if all(part["type"] == "text" for part in parts):
            # Not every server takes parts where text will do.
            return {**message, "content": " ".join(part["text"] for part in parts)}
        return {**message, "content": parts}

    def _text(self, number: int) -> str:
        return self._texts.get(number, SPOKEN)


def numbers(text: object) -> list[int]:
    """The numbers of the utterances in a message's content."""
    return [_number(m) for m in _PLACEHOLDER.finditer(text)] if isinstance(text, str) else []


def _part(audio: Audio) -> dict[str, Any]:
    data = base64.b64encode(wav(audio)).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def _add(parts: list[dict[str, Any]], text: str) -> None:
    """Add words to a message's parts, if there are any."""
    if text.strip():
        parts.append({"type": "text", "text": text.strip()})


def _number(found: re.Match[str]) -> int:
    return int("".join(str(ord(char) - _ZERO) for char in found[1]))


class SoundWriter:
    """Asks a chat model with sound: placeholders of utterances in a prompt become what was said.

    Args:
        chat: The model.
        utterances: Keeps what was said.
    """

    def __init__(self, chat: ChatModel, utterances: Utterances) -> None:
        self._chat = chat
        self._utterances = utterances

    async def find(self) -> None:
        """Find the server and the model, and leave the connection open.

        Nothing is asked of the model: text alone many of these refuse, and sound is the user's.

        Raises:
            StageError: The server cannot be used.
        """
        with _without_keys():
            await self._chat.find()

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """Yield the reply, as `ChatModel.stream`."""
        with _without_keys():
            pieces = self._chat.stream(self._utterances.spoken(messages))
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    yield piece


class Ears:
    """The engines of a cascade that hears without words.

    Args:
        local: What computes here; its language model is not used.
        model: What answers.
        utterances: Keeps what was said.
    """

    def __init__(self, local: Engines, model: SoundWriter, utterances: Utterances) -> None:
        self.model = model
        # Of placeholders nobody knows how many tokens their sound has.
        self.tokens = TokenGauge()
        self._local = local
        self._utterances = utterances

    @property
    def voice(self) -> Synthesiser:
        """Speaks the replies."""
        return self._local.voice

    @property
    def behind(self) -> bool:
        """Whether they have more to do than they can."""
        return self._local.behind

    def new_detector(self) -> Detector:
        """A judge of voice for one session."""
        return self._local.new_detector()

    async def prosody(self, audio: Audio) -> Prosody:
        """Nothing of how an utterance is said: the model hears that itself."""
        return Prosody()

    async def melody(self, audio: Audio) -> float | None:
        """Whether the speaker sounds finished."""
        return await self._local.melody(audio)

    async def transcribe(self, audio: Audio, known: Known = NOTHING_KNOWN) -> Transcription:
        """Take the utterance, at once, and give its placeholder for its words."""
        if known.too_short:
            return Transcription("", "", 0.0, 0.0, 0.0, "short")
        return Transcription(self._utterances.take(audio), "", 0.0, 0.0, 0.0)

    async def read_ahead(self, messages: Messages) -> None:
        """Do nothing: servers keep their own caches."""

    @property
    def sees(self) -> bool | None:
        """Nothing is shown."""
        return None

    async def look(self, url: str) -> Picture:
        """Check a picture."""
        return await self._local.look(url)

    async def judge(self, messages: Messages) -> float | None:
        """Give None: there are no words to be judged."""
        return None


class AudioLlmSession:
    """A `SpeechToSpeech` session with a chat model that takes sound."""

    def __init__(
        self,
        spec: SystemSpec,
        brief: Brief,
        trace: Trace,
        clock: Clock,
        *,
        settings: Settings | None = None,
        engines: Engines | None = None,
    ) -> None:
        """Prepare a session; nothing is loaded, or connected.

        Args:
            spec: `audio-llm`, with the options `model=NAME` (else the first that the server
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
        keep, self._listens = _options(spec)
        base = settings or load(flags=dotted(spec))
        self._settings = prepared(base, spec, brief)
        where = _server(self._settings)
        self._host = urlsplit(where.base_url).netloc.rpartition("@")[2]
        self._utterances = Utterances(keep)
        self._chat = ChatModel(where, self._settings.llm)
        self._own = voice_engines(spec, base) if engines is None else None
        self._local = engines
        self._brief = brief
        self._trace = trace
        self._clock = clock
        self._stack = contextlib.AsyncExitStack()
        self._cascade: Cascade
        self._facts: Facts | None = None
        self._events = EventQueue()
        self._asked: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Load what is missing and reach the server.

        Raises:
            CascadeError: It cannot be made ready.
        """
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._chat.close)
            writer = SoundWriter(self._chat, self._utterances)
            began_ns = self._clock.now_ns()
            try:
                await writer.find()
            except StageError as error:
                raise StageError("direct", str(error), fatal=True) from None
            took_ms = (self._clock.now_ns() - began_ns) / NS_PER_MS
            if self._own is not None:
                self._local = await stack.enter_async_context(self._own)
            assert self._local is not None
            ears = Ears(self._local, writer, self._utterances)
            self._cascade = Cascade(
                ears,
                self._settings,
                self._trace,
                self._clock,
                tools=self._brief.tools,
                partial_ms=0,
            )
            await stack.enter_async_context(self._cascade)
            self._facts = Facts(self._chat.model, self._host, took_ms)
            self._stack = stack.pop_all()
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all work; whoever still reads gets the end."""
        # Nobody waits for a transcript.
        self._listens = False
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._stack.__aexit__(exc_type, exc, traceback)
            await self._following
        finally:
            self._following.cancel()
            self._events.end()

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
        return self._cascade.preparing or bool(self._tasks)

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

    def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left; a transcript comes after its reply was made."""
        return self._events.read()

    async def _follow(self) -> None:
        """Pass the cascade's events on, without the placeholders that are its transcripts."""
        async for event in self._cascade.events():
            if not isinstance(event, Transcript):
                self._events.tell(event)
            elif event.final and self._listens:
                self._asked[event.turn] = event.text
            text = self._asked.pop(event.turn, "") if isinstance(event, ReplyDone) else ""
            if text and self._listens:
                # Now there is time to listen to the utterance oneself.
                task = asyncio.create_task(self._recognise(event.turn, text))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _recognise(self, turn: int, text: str) -> None:
        audio = self._utterances.sound(text)
        if audio is None or self._local is None:
            return
        # The model has heard it all the same.
        with contextlib.suppress(StageError):
            heard = await self._local.transcribe(audio)
            self._utterances.know(text, heard.text)
            self._events.tell(Transcript(turn, heard.text, True))


def dotted(spec: SystemSpec) -> Mapping[str, str]:
    """The settings among a system's options, by dotted name.

    Raises:
        BadInput: An option is none of `OPTIONS` and no setting either.
    """
    found = {name: value for name, value in spec.options.items() if name not in OPTIONS}
    for name in found:
        if name.count(".") != 1 or is_secret(name):
            raise BadInput(
                f"{spec.name}: {name} is no option; allowed: {', '.join(OPTIONS)}, or a setting "
                "by its dotted name, such as turns.hold_ms"
            )
    return found


def prepared(settings: Settings, spec: SystemSpec, brief: Brief) -> Settings:
    """The settings of a session: those of a run, with the system's server and what it is told.

    Raises:
        BadInput: There is no key for OpenAI's API.
    """
    name = spec.model or spec.options.get("model", "")
    llm = settings.llm.model_copy(
        update={
            "model": f"{urldefrag(spec.url).url}#{name}" if name else spec.url,
            "api_key": _key(spec),
            "instructions": brief.instructions,
        }
    )
    barge_in_ms = min(settings.turns.barge_in_ms, BARGE_IN_MS)
    turns = settings.turns.model_copy(update={"barge_in_ms": barge_in_ms})
    return settings.model_copy(update={"llm": llm, "turns": turns})


def voice_engines(spec: SystemSpec, settings: Settings) -> LocalEngines:
    """Engines that serve many sessions of a system, one after the other; not yet loaded.

    Raises:
        BadInput: A key, an option or a model is missing or cannot be.
    """
    wanted = prepared(settings, spec, Brief())
    _, listens = _options(spec)
    catalogue = Catalogue.load(wanted.models.dir)
    return LocalEngines(wanted, catalogue, recognises=listens, writes=False)


@contextlib.contextmanager
def _without_keys() -> Iterator[None]:
    """Show no key that a server repeats in an error."""
    try:
        yield
    except StageError as error:
        error.args = (shown(str(error)),)
        raise


def _options(spec: SystemSpec) -> tuple[int, bool]:
    """How many utterances are kept, and whether Whisper listens."""
    settings = dotted(spec)
    ours = {name: value for name, value in spec.options.items() if name not in settings}
    options = given(dataclasses.replace(spec, options=ours), OPTIONS)
    return int(options.get("keep", KEEP)), options.get("transcript") == "stt"


def _key(spec: SystemSpec) -> str:
    """The key for a server: OpenAI's goes to nobody else."""
    if key := keys.key(os.environ, keys.AUDIO_LLM):
        return key
    hosts = [OPENAI_URL, os.environ.get("OPENAI_BASE_URL", "").strip()]
    if _place(spec.url) not in [_place(url) for url in hosts if url]:
        return ""
    if key := keys.key(os.environ, keys.OPENAI):
        return key
    raise BadInput(f"{spec.name}: there is no key; set {keys.OPENAI}")


def _place(url: str) -> tuple[str, str]:
    """Scheme, host and port: whoever has these gets the key."""
    try:
        parts = urlsplit(url)
        return parts.scheme, f"{parts.hostname}:{parts.port}"
    except ValueError:
        return "", url


def _server(settings: Settings) -> ChatServer:
    """The server, with what the user is told to do when something is wrong with it."""
    openais = settings.llm.api_key and not os.environ.get(keys.AUDIO_LLM, "").strip()
    return dataclasses.replace(
        chat_server(settings.llm),
        key_setting=keys.OPENAI if openais else keys.AUDIO_LLM,
        remedy="start the server, or check the URL of the path",
        name_remedy="add ,model=NAME to the path",
    )
