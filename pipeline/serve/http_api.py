"""The recogniser and the voice for other people's software, as the OpenAI API serves them.

`POST /v1/audio/transcriptions`, `POST /v1/audio/speech` and `GET /v1/models`, for the OpenAI SDKs
and what is built on them. A file takes its turn: one piece of one file is recognised at a time, so
that whoever talks live waits for no more than that.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import itertools
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from pipeline.audio.encoding import PCM_RATE
from pipeline.audio.files import read_audio
from pipeline.audio.formats import Encoder, Format
from pipeline.audio.resample import Resampler
from pipeline.config import Settings
from pipeline.conversation.reply import Synthesiser
from pipeline.engines.vad import RATE
from pipeline.engines.whisper import Known, Transcription, scaled
from pipeline.engines.worker import Stop, Worker
from pipeline.errors import BadInput, CascadeError, StageError, one_line
from pipeline.serve.app import limited
from pipeline.serve.connection import SEND_S
from pipeline.serve.refused import MOST_SAID, RequestRefused, stage_failed
from pipeline.serve.transcripts import (
    MEDIA_TYPES,
    Cutter,
    Form,
    Segment,
    VoicedPiece,
    text_of,
    told,
)
from pipeline.text.chunker import Chunker, Clause
from pipeline.text.language_names import code_of

if TYPE_CHECKING:
    from pipeline.engines.local import LocalEngines

T = TypeVar("T")

MOST_BYTES = 25 * 1024 * 1024
"""Of an upload, as the OpenAI API has it: 13 minutes of WAV, or an hour of MP3."""

MOST_S = 4 * 3600.0
"""Of a recording (s): what is compressed may be long."""

MOST_CHARS = 4096
"""Of a text to be spoken, as the OpenAI API has it."""

MOST_JSON_BYTES = 64 * 1024
"""Of the request that brings it: each character may be escaped."""

MOST_AT_ONCE = 16
"""Requests for sound or text at a time: each takes a turn, and an upload its place on the disk."""

RETRY_S = 5
"""When one more may be tried (s)."""

OPENAIS = {
    "stt": ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe"),
    "tts": ("tts-1", "tts-1-hd", "gpt-4o-mini-tts"),
}
"""OpenAI's names of models that stand for ours, by kind."""

TALKED_WITH_AS = ("cascade", "gpt-realtime", "gpt-realtime-mini")
"""Names that stand for the whole cascade, OpenAI's among them; it takes any other too."""

VOICES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)
"""OpenAI's names of voices, each of which is ours."""

SOUND_TYPES: dict[Format, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": f"audio/pcm;rate={PCM_RATE};channels=1",
}

log = logging.getLogger(__name__)


def _voice_name(value: object) -> object:
    """A voice may be named, or be an object with an id."""
    match value:
        case {"id": str(name)}:
            return name
    return value


class _Request(BaseModel):
    """What a client may ask for; what else it sends goes unheeded, as with the OpenAI API."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field("", max_length=200, description="One of /v1/models; empty: ours")


class SpeechRequest(_Request):
    """The body of `POST /v1/audio/speech`; `instructions` go unheeded."""

    input: str = Field(min_length=1, max_length=MOST_CHARS, description="What to say")
    voice: Annotated[str, BeforeValidator(_voice_name)] = Field(
        "", max_length=200, description="One of /v1/audio/voices; empty: ours"
    )
    response_format: Format = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4)
    stream_format: Literal["audio", "sse"] = "audio"


class TranscriptionRequest(_Request):
    """The fields of `POST /v1/audio/transcriptions` beside its file.

    The recogniser takes the likeliest words whatever the temperature.
    """

    language: str = Field("", pattern=r"^([A-Za-z]{2,3}([-_][A-Za-z0-9]+)*)?$")
    prompt: str = Field("", max_length=10_000)
    response_format: Form = "json"
    temperature: float = Field(0.0, ge=0, le=1)
    timestamp_granularities: list[Literal["segment"]] = Field(
        [], description="Of verbose_json; where words begin is not known"
    )
    stream: bool = False


Endpoint = Callable[[Request], Awaitable[Response]]


def routes(engines: LocalEngines, settings: Settings) -> list[Route]:
    """The routes of the API.

    Args:
        engines: Loaded, and shared with whoever talks live.
        settings: Of the run.
    """
    api = _Api(engines, settings)
    return [
        Route("/v1/audio/transcriptions", _answering(api.transcription), methods=["POST"]),
        Route("/v1/audio/speech", _answering(api.speech), methods=["POST"]),
        Route("/v1/audio/voices", _answering(api.voices)),
        Route("/v1/audio/models", _answering(api.audio_models)),
        Route("/v1/models", _answering(api.models)),
        Route("/v1/models/{id:path}", _answering(api.model)),
    ]


def _answering(endpoint: Endpoint) -> Endpoint:
    """An endpoint that refuses what cannot be done."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (CascadeError, ValidationError) as error:
            raise _refusal(error) from None

    return answer


def _refusal(error: CascadeError | ValidationError | RequestRefused) -> RequestRefused:
    """What a client is told of an error."""
    match error:
        case RequestRefused():
            return error
        case ValidationError():
            wrong = error.errors()[0]
            param = str(wrong["loc"][0])
            return _invalid(param, f"{param}: {wrong['msg']}")
        case StageError():
            return stage_failed(error.stage, str(error))
    return _invalid("file", str(error))


def _invalid(param: str | None, message: str) -> RequestRefused:
    return RequestRefused("invalid_value", one_line(message, MOST_SAID), param)


class _Api:
    """What the routes do."""

    def __init__(self, engines: LocalEngines, settings: Settings) -> None:
        self._engines = engines
        self._settings = settings
        self._recognising = asyncio.Lock()
        self._open = 0

    # --- what there is ---

    def _names(self, kind: Literal["stt", "tts"]) -> list[str]:
        """What a kind of model is called: its own name, and OpenAI's."""
        return list(dict.fromkeys([self._engines.names[kind], *OPENAIS[kind]]))

    def _voices(self) -> list[str]:
        """What the voice is called."""
        return list(dict.fromkeys([self._engines.names["tts"], *VOICES]))

    def _all(self) -> list[str]:
        """What may be asked for; the language model by itself may not."""
        return list(dict.fromkeys([*self._names("stt"), *self._names("tts"), *TALKED_WITH_AS]))

    def _described(self, name: str) -> dict[str, Any]:
        own = name in self._engines.names.values()
        owner = "voice-cascade" if own else "openai"
        return {"id": name, "object": "model", "created": 0, "owned_by": owner}

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        listed = [self._described(name) for name in self._all()]
        return JSONResponse({"object": "list", "data": listed})

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{id}`."""
        name = request.path_params["id"]
        _check("model", name, self._all())
        return JSONResponse(self._described(name))

    async def audio_models(self, request: Request) -> Response:
        """`GET /v1/audio/models`, which Open WebUI asks for: what speaks."""
        return JSONResponse({"models": [{"id": name} for name in self._names("tts")]})

    async def voices(self, request: Request) -> Response:
        """`GET /v1/audio/voices`, likewise."""
        voices = [{"id": name, "name": name} for name in self._voices()]
        return JSONResponse({"voices": voices})

    @contextlib.contextmanager
    def _admitted(self) -> Iterator[None]:
        """Do one of the requests that are done at a time.

        Raises:
            RequestRefused: There are as many as may be.
        """
        if self._open >= MOST_AT_ONCE:
            message = f"{MOST_AT_ONCE} files are worked on; try again later"
            raise RequestRefused("rate_limit_exceeded", message, retry_after_s=RETRY_S, status=429)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    # --- speech to text ---

    async def transcription(self, request: Request) -> Response:
        """`POST /v1/audio/transcriptions`."""
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._admitted())
            form = await stack.enter_async_context(
                limited(request, MOST_BYTES).form(max_files=1, max_fields=50)
            )
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise _invalid("file", "there is no file; send it as multipart/form-data")
            wanted = TranscriptionRequest.model_validate(_fields(form))
            _check("model", wanted.model, self._names("stt"))
            detector = await asyncio.to_thread(self._engines.new_detector)
            cutter = Cutter(detector, self._settings.vad)
            segments = self._recognised(cutter, file.file, wanted)
            await stack.enter_async_context(contextlib.aclosing(segments))
            if not wanted.stream:
                found = await _attended(request, _all_of(segments))
                answer = told(wanted.response_format, found, cutter.seconds)
                if isinstance(answer, str):
                    return Response(answer, media_type=MEDIA_TYPES[wanted.response_format])
                return JSONResponse(answer)
            first = await _attended(request, anext(segments, None))
            # What is open stays open until the answer is over.
            return _Streamed(_told(_transcript(first, segments)), stack.pop_all())

    async def _recognised(
        self, cutter: Cutter, file: BinaryIO, wanted: TranscriptionRequest
    ) -> AsyncGenerator[Segment, None]:
        """What is said in a file, as it is recognised.

        Raises:
            BadInput: It is no sound file.
            RequestRefused: It is too long, or the recogniser does not know the language.
            StageError: The recogniser failed.
        """
        # What its client calls it would be logged with what is odd about it.
        name = Path("file")

        def pieces(stop: Stop) -> Iterator[VoicedPiece]:
            blocks = read_audio(name, RATE, file)
            return cutter.cut(itertools.takewhile(lambda _: go_on(stop), blocks))

        def go_on(stop: Stop) -> bool:
            if cutter.seconds > MOST_S:
                most = f"{MOST_S / 3600:g} hours"
                raise _invalid("file", f"{name}: is longer than {most}; cut it")
            return not stop.is_set

        language = code_of(wanted.language)
        worker = Worker("file")
        try:
            async with contextlib.aclosing(worker.stream(pieces, depth=1)) as found:
                async for piece in found:
                    heard = await self._understood(piece, language, wanted.prompt)
                    language = heard.language if heard.sure else language
                    if heard.text:
                        yield Segment.of(piece, heard)
        finally:
            worker.close()

    async def _understood(self, piece: VoicedPiece, language: str, prompt: str) -> Transcription:
        """What is said in a piece, when its turn comes."""
        audio = scaled(piece.samples)
        async with self._recognising:
            try:
                known = Known(piece.voiced_ms, language=language, prompt=prompt)
                return await self._engines.transcribe(audio, known)
            except BadInput as error:
                raise _invalid("language", str(error)) from None

    # --- text to speech ---

    async def speech(self, request: Request) -> Response:
        """`POST /v1/audio/speech`."""
        try:
            body = await limited(request, MOST_JSON_BYTES).json()
        except ValueError:
            raise _invalid(None, "the body is no JSON") from None
        if not isinstance(body, dict):
            raise _invalid(None, "the body is no JSON object")
        wanted = SpeechRequest.model_validate({k: v for k, v in body.items() if v is not None})
        _check("model", wanted.model, self._names("tts"))
        voice: Synthesiser | None = self._engines.voice.named(wanted.voice)
        if voice is None:
            _check("voice", wanted.voice, self._voices())
            voice = self._engines.voice
        if next(_clauses(wanted.input, voice.language), None) is None:
            raise _invalid("input", "input: there is nothing in it that can be said")
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._admitted())
            data = self._encoded(wanted, voice)
            await stack.enter_async_context(contextlib.aclosing(data))
            # What fails before there is any sound has a status of its own.
            first = await _attended(request, anext(data, b""))
            if wanted.stream_format == "sse":
                return _Streamed(_told(_sound_events(first, data)), stack.pop_all())
            media = SOUND_TYPES[wanted.response_format]
            return _Streamed(_chained(first, data), stack.pop_all(), media)

    async def _encoded(
        self, wanted: SpeechRequest, voice: Synthesiser
    ) -> AsyncGenerator[bytes, None]:
        """The sound of a text, as it is made.

        Raises:
            StageError: The voice failed.
        """
        resampler = Resampler(voice.rate, PCM_RATE)
        encoder = Encoder(wanted.response_format, PCM_RATE)
        for clause in _clauses(wanted.input, voice.language):
            speaking = voice.speak(clause.text, wanted.speed)
            async with contextlib.aclosing(speaking) as pieces:
                async for piece in pieces:
                    samples = resampler.push(piece.samples)
                    if data := await asyncio.to_thread(encoder.push, samples):
                        yield data
        yield encoder.push(resampler.flush()) + encoder.finish()


def _check(param: str, name: str, known: list[str]) -> None:
    """See that a model or a voice is one that there is; empty: none was named.

    Raises:
        RequestRefused: There is none of that name.
    """
    if name and name not in known:
        message = f"there is no {param} {one_line(name)!r} here; use one of: {', '.join(known)}"
        if param == "model":
            raise RequestRefused("model_not_found", message, param, status=404)
        raise _invalid(param, message)


def _fields(form: FormData) -> dict[str, Any]:
    """The fields of a form; what may have several values is sent as `name[]`."""
    values: dict[str, Any] = {}
    for key, value in form.multi_items():
        if key.endswith("[]") or key == "timestamp_granularities":
            values.setdefault(key.removesuffix("[]"), []).append(value)
        elif key != "file":
            values[key] = value
    return values


def _clauses(text: str, language: str) -> Iterator[Clause]:
    """What is said of a text: the first clause is short, and the rest in sentences."""
    chunker = Chunker(language=language)
    for char in text:
        yield from chunker.push(char, hurry=not chunker.begun)
    yield from chunker.flush()


async def _attended(request: Request, work: Awaitable[T]) -> T:
    """What work gives; it is cancelled when the client goes.

    Raises:
        ClientDisconnect: The client is gone.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _all_of(segments: AsyncIterator[Segment]) -> list[Segment]:
    return [segment async for segment in segments]


class _Streamed(StreamingResponse):
    """An answer that is made while it is sent.

    Args:
        content: Its parts.
        stack: Closed when it is over, or the client has gone.
        media: Its type.
    """

    def __init__(
        self,
        content: AsyncIterator[bytes],
        stack: contextlib.AsyncExitStack,
        media: str = "text/event-stream",
    ) -> None:
        super().__init__(content, headers={"Cache-Control": "no-cache"}, media_type=media)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, unless the client goes."""
        async with self._stack:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send it; what fails in the middle is cut off there, without the end that is expected.

        So is a client that takes nothing for `SEND_S`.
        """

        async def sent(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_S):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        try:
            await super().stream_response(sent)
        except (CascadeError, RequestRefused) as error:
            log.warning("an answer breaks off: %s", error)


def _event(kind: str, **fields: Any) -> bytes:
    return f"data: {json.dumps({'type': kind, **fields})}\n\n".encode()


async def _transcript(
    first: Segment | None, rest: AsyncIterator[Segment]
) -> AsyncGenerator[bytes, None]:
    """The events of a transcript that is made while it is read."""
    found: list[Segment] = []
    async for segment in _chained(first, rest):
        text = f" {segment.heard.text}" if found else segment.heard.text
        found.append(segment)
        yield _event("transcript.text.delta", delta=text)
    yield _event("transcript.text.done", text=text_of(found))


async def _sound_events(first: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The events of a sound that is made while it is heard."""
    async for data in _chained(first, rest):
        yield _event("speech.audio.delta", audio=base64.b64encode(data).decode())
    # Nothing is charged, and the voice knows no tokens.
    usage = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), 0)
    yield _event("speech.audio.done", usage=usage)


async def _told(events: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Events, the last of which tells of the error that ends them, if one does."""
    try:
        async for event in events:
            yield event
    except (CascadeError, RequestRefused) as error:
        yield f"event: error\ndata: {json.dumps({'error': _refusal(error).error})}\n\n".encode()


async def _chained(first: T | None, rest: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    if first is not None:
        yield first
    async for each in rest:
        yield each
