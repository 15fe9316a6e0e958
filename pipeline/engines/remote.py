"""The recogniser and the voice of an OpenAI-compatible server, in the place of ours.

Leaving a request, or the sound of a clause, closes its connection, which makes such servers stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import io
import wave
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import numpy as np

from pipeline.audio.encoding import PCM_RATE
from pipeline.audio.pcm import NoSamples, PcmReader
from pipeline.audio.resample import Resampler
from pipeline.config import Settings, SttSettings
from pipeline.engines.client import explained, following, open_client, posted, twice
from pipeline.engines.servers import ChatServer, asked_voice, httpx2, openai
from pipeline.engines.whisper import NOTHING_KNOWN, RATE, Audio, Known, Transcription, guard
from pipeline.errors import StageError
from pipeline.events import Samples
from pipeline.text.heard import Sound
from pipeline.text.language_names import names

ANSWER_S = 30.0
"""How long a server may take until it answers (s); it may have to load its model."""

PIECE_S = 10.0
"""How long it may take from one piece of sound to the next (s)."""

REFUSED = (400, 415, 422)
"""What a server answers that has not what was asked for."""

_SLOW = "it may still be loading its model; try again"
_WORD = "Hello."


class RemoteRecogniser:
    """A recogniser behind a server, as `LocalEngines` wants it.

    Args:
        server: Where it is, and which model is asked for.
        settings: The language.

    Raises:
        BadInput: The URL, or the proxy that the environment names for it, cannot be used.
    """

    def __init__(self, server: ChatServer, settings: SttSettings) -> None:
        self._server = server
        self._language = settings.language
        self._words = ", ".join(settings.words)
        self._client = open_client(server)
        # It tells how sure the model is; some servers have only `json`.
        self._form = "verbose_json"

    async def warm(self) -> None:
        """Send it a second of silence: it loads its model, and what is wrong is known.

        Raises:
            StageError: It cannot be used; `fatal` where trying again cannot help.
        """
        await self.transcribe(np.zeros(RATE, np.float32))

    async def transcribe(self, audio: Audio, known: Known = NOTHING_KNOWN) -> Transcription:
        """Recognise an utterance, see `LocalEngines.transcribe`; all of it, the prefix included.

        Raises:
            StageError: The server cannot be reached, refuses, or does not answer well.
        """
        language = self._language or known.language
        if len(audio) == 0 or known.too_short:
            return Transcription("", language, 0.0, 1.0, 0.0, "too little voice")
        given = {"language": language, "prompt": f"{self._words} {known.prompt}".strip()}
        more = {key: value for key, value in given.items() if value}
        file = ("speech.wav", wav(audio), "audio/wav")
        with self._explained():
            async with asyncio.timeout(ANSWER_S):
                answer = await self._ask(file, more)
        match answer:
            case {"text": str(text)}:
                return _understood(text.strip(), answer, language)
        raise StageError(
            "stt",
            f"{self._server.label} answers with no transcript; "
            "check that it is an OpenAI-compatible API",
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _ask(self, file: tuple[str, bytes, str], more: dict[str, str]) -> Any:
        """The server's answer, of the form that it has; None: it is no JSON."""

        async def ask() -> httpx2.Response:
            raw = await self._client.audio.transcriptions.with_raw_response.create(
                file=file,
                model=self._server.model,
                response_format=self._form,  # type: ignore[call-overload]
                **more,
            )
            response: httpx2.Response = raw.http_response
            return response

        try:
            response = await twice(ask)
        except openai.APIStatusError as error:
            if error.status_code not in REFUSED or self._form == "json":
                raise
            self._form = "json"
            try:
                response = await twice(ask)
            except openai.APIStatusError:
                # The form was not the reason.
                self._form = "verbose_json"
                raise
        try:
            return response.json()
        except ValueError:
            return None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        with explained("stt", self._server, self._server.model, answer_s=ANSWER_S, slow=_SLOW):
            yield


class RemoteVoice:
    """A voice behind a server, as the reply wants it (`reply.Synthesiser`).

    Args:
        server: Where it is, and which model is asked for.
        settings: The voice, its speed, and the language of the conversation.

    Attributes:
        rate: Samples per second (Hz); known once it is warm.
        language: Code of what it speaks: the language that is set, else `en`.

    Raises:
        BadInput: The URL, or the proxy that the environment names for it, cannot be used.
    """

    def __init__(self, server: ChatServer, settings: Settings) -> None:
        self.rate = PCM_RATE
        self.language = settings.stt.language or "en"
        self._server = server
        self._voice = asked_voice(settings.tts)
        self._speed = settings.tts.speed
        self._client = open_client(server)

    async def warm(self) -> None:
        """Let it say a word unheard: it loads its model, and what is wrong is known.

        The word is asked for as a WAV, which tells the rate that bare samples have there.

        Raises:
            StageError: It cannot be used; `fatal` where trying again cannot help.
        """
        async with contextlib.aclosing(self._stream(_WORD, "wav", 1.0)) as pieces:
            async for reader, _ in pieces:
                self.rate = reader.rate

    def begin(self) -> None:
        """What is spoken from now on is another reply, which is no matter to a server."""

    def another(self) -> RemoteVoice:
        """The same voice for another session: the server sees to its turn."""
        return self

    def in_language(self, language: str) -> RemoteVoice:
        """The same voice, given text in a language: whether it can speak that is the server's."""
        if language == self.language:
            return self
        other = copy.copy(self)
        other.language = language
        return other

    def named(self, name: str) -> None:
        """No other voice: who is asked for which is the settings' to say."""

    async def speak(self, text: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        """Yield the sound of a clause as it comes; closing it closes the connection.

        Args:
            text: The clause.
            speed: 1.2 speaks a fifth faster than the settings say.

        Raises:
            StageError: The server cannot be reached, refuses, sends something else than samples,
                is silent for too long, or breaks off; what was yielded before stands.
        """
        resampler: Resampler | None = None
        async with contextlib.aclosing(self._stream(text, "pcm", speed)) as pieces:
            async for reader, samples in pieces:
                resampler = resampler or Resampler(reader.rate, self.rate)
                if len(ready := resampler.push(samples)):
                    yield Sound(ready)
        if resampler is not None and len(rest := resampler.flush()):
            yield Sound(rest)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _stream(
        self, text: str, form: str, speed: float
    ) -> AsyncGenerator[tuple[PcmReader, Samples], None]:
        """The samples of a clause as they come, and their reader, which knows the rate."""
        label = self._server.label
        came = False
        with self._explained():
            async with asyncio.timeout(ANSWER_S):
                response = await self._open(text, form, speed)
            async with contextlib.aclosing(response):
                reader = PcmReader(self.rate, response.headers.get("content-type", ""))
                blocks = response.aiter_bytes()
                limit_s = ANSWER_S
                while data := await following(blocks, b"", limit_s, "tts", label, "a clause"):
                    try:
                        samples = reader.push(data)
                    except NoSamples as error:
                        raise StageError(
                            "tts",
                            f"{label} sends {error} where 16-bit PCM was asked for; "
                            "use a server that can give pcm",
                            fatal=True,
                        ) from None
                    if len(samples):
                        came, limit_s = True, PIECE_S
                        yield reader, samples
        if not came:
            raise StageError("tts", f"{label} answers without sound; check its voice and model")

    async def _open(self, text: str, form: str, speed: float) -> httpx2.Response:
        """Ask for a clause; for bare samples where the server has no WAV."""

        def asked(form: str) -> Callable[[], Awaitable[httpx2.Response]]:
            body = {
                "model": self._server.model,
                "voice": self._voice,
                "input": text,
                "response_format": form,
                "speed": self._speed * speed,
            }
            return lambda: posted(self._client, "/audio/speech", body)

        try:
            return await twice(asked(form))
        except openai.APIStatusError as error:
            if form != "wav" or error.status_code not in REFUSED:
                raise
            return await twice(asked("pcm"))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        with explained("tts", self._server, self._server.model, answer_s=ANSWER_S, slow=_SLOW):
            yield


def _understood(text: str, answer: Mapping[str, Any], language: str) -> Transcription:
    """A transcript with what the server tells of it, which may be nothing."""
    segments = answer.get("segments")
    told = [each for each in segments if isinstance(each, dict)] if segments else []
    log_probs = _numbers(told, "avg_logprob")
    log_prob = sum(log_probs) / len(log_probs) if log_probs else 0.0
    no_speech = min(_numbers(told, "no_speech_prob"), default=0.0)
    dropped = guard(text, no_speech=no_speech, log_prob=log_prob, endless=False)
    spoken = str(answer.get("language") or "").lower()
    return Transcription(
        text="" if dropped else text,
        language=language or _codes().get(spoken, spoken),
        log_prob=log_prob,
        no_speech=no_speech,
        window_s=0.0,
        dropped=dropped,
        raw=text,
        sure=bool(text) and not dropped,
    )


def _numbers(segments: list[dict[str, Any]], key: str) -> list[float]:
    return [float(found) for each in segments if isinstance(found := each.get(key), int | float)]


@functools.cache
def _codes() -> dict[str, str]:
    """Codes of languages by their English names, of which OpenAI's servers tell one."""
    return {name.lower(): code for code, name in names().items()}


def wav(audio: Audio) -> bytes:
    """16 kHz sound in ±1 as a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(np.rint(audio * 32767).clip(-32768, 32767).astype("<i2").tobytes())
    return file.getvalue()
