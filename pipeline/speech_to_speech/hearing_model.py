"""A chat model that takes sound, and the engines around it that make a cascade of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

import openai

from pipeline.config import Settings
from pipeline.conversation.reply import Synthesiser
from pipeline.engines.llm import ChatModel, Messages, Used
from pipeline.engines.local import LocalEngines
from pipeline.engines.servers import ChatServer
from pipeline.engines.tools import ToolUse
from pipeline.engines.whisper import Audio, Transcription
from pipeline.errors import StageError
from pipeline.models.catalogue import Catalogue
from pipeline.speech_to_speech.keys import shown
from pipeline.speech_to_speech.utterances import Utterances
from pipeline.turns.listener import Detector

_NOT_LISTED = (400, 404, 405, 501)


class Local(Protocol):
    """What computes here: the engines of a cascade, of which the language model is not used."""

    def new_detector(self) -> Detector:
        """A judge of voice for one session."""
        ...

    @property
    def voice(self) -> Synthesiser:
        """Speaks the replies."""
        ...

    async def transcribe(
        self,
        audio: Audio,
        voiced_ms: float | None = None,
        *,
        prefix: str = "",
        language: str = "",
    ) -> Transcription:
        """Recognise an utterance; used with `transcript=stt` only."""
        ...

    async def melody(self, audio: Audio) -> float | None:
        """Whether the speaker sounds finished."""
        ...


class VoiceEngines(LocalEngines):
    """The engines that a half cascade needs, for a session that is given none.

    Args:
        settings: As `prepared` makes them.
        words: Whether to load Whisper.
    """

    def __init__(self, settings: Settings, *, words: bool) -> None:
        super().__init__(settings, Catalogue.load(settings.models.dir))
        self._words = words

    async def _load_stt(self) -> None:
        if self._words:
            await super()._load_stt()

    async def _load_llm(self, stack: contextlib.AsyncExitStack) -> None:
        pass


class HearingModel(ChatModel):
    """The chat model at the other end, which is asked with sound."""

    def __init__(self, server: ChatServer, settings: Settings, utterances: Utterances) -> None:
        super().__init__(server, settings.llm)
        self._utterances = utterances

    async def reach(self) -> None:
        """Find the server and the model, and leave the connection open.

        Nothing is asked of the model: text alone many of these refuse, and sound is the user's.

        Raises:
            StageError: The server cannot be used.
        """
        with self._explained():
            if not self._model:
                self._model = await self._first_model()
                return
            try:
                async with asyncio.timeout(self._settings.first_token_timeout_s):
                    await self._client.get("/models", cast_to=object)
            except ValueError:
                pass
            except openai.APIStatusError as error:
                # Not every server lists its models.
                if error.status_code not in _NOT_LISTED:
                    raise

    async def stream(
        self, messages: Messages, *, max_tokens: int | None = None
    ) -> AsyncGenerator[str | Used | ToolUse, None]:
        """Yield the reply, as `ChatModel.stream`; placeholders in the messages become sound."""
        pieces = super().stream(self._utterances.spoken(messages), max_tokens=max_tokens)
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                yield piece

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors in words that fit a path of a comparison."""
        try:
            with super()._explained():
                yield
        except StageError as error:
            text = str(error).replace("set llm.name", "add ,model=NAME to the path")
            cause = error.__context__
            if isinstance(cause, openai.APIStatusError):
                wait = cause.response.headers.get("retry-after", "")
                if wait.isdecimal():
                    text = text.replace("try again later", f"try again in {wait} s")
            error.args = (shown(text),)
            raise


class Ears:
    """The engines of a cascade that hears without words.

    Args:
        local: What computes here.
        model: What answers.
        utterances: Keeps what was said.
        least_ms: Less voice than this is none.
    """

    def __init__(
        self, local: Local, model: HearingModel, utterances: Utterances, least_ms: float
    ) -> None:
        self._local = local
        self._utterances = utterances
        self._least_ms = least_ms
        self.model = model
        self.voice = local.voice

    def new_detector(self) -> Detector:
        """A judge of voice for one session."""
        return self._local.new_detector()

    async def read_ahead(self, messages: Messages) -> None:
        """Nothing: servers keep their own caches."""

    async def transcribe(
        self,
        audio: Audio,
        voiced_ms: float | None = None,
        *,
        prefix: str = "",
        language: str = "",
    ) -> Transcription:
        """Take the utterance, at once, and give its placeholder for its words."""
        if voiced_ms is not None and voiced_ms < self._least_ms:
            return Transcription("", "", 0.0, 0.0, 0.0, "short")
        return Transcription(self._utterances.take(audio), "", 0.0, 0.0, 0.0)

    async def melody(self, audio: Audio) -> float | None:
        """Whether the speaker sounds finished."""
        return await self._local.melody(audio)

    async def judge(self, messages: Messages) -> float | None:
        """Nothing: there are no words to be judged."""
        return None
