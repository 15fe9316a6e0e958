"""How a session with the Gemini Live API begins: what is asked for, and what is found."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.errors import BadInput, StageError
from pipeline.speech_to_speech import gemini_words as words
from pipeline.speech_to_speech import secrets
from pipeline.speech_to_speech.brief import Brief, Target
from pipeline.speech_to_speech.gemini_outbox import Parcel

if TYPE_CHECKING:
    from google.genai import types
    from google.genai.live import AsyncSession

MODEL = "gemini-3.8-live"
"""What is asked for unless the path names another."""

NON_BLOCKING = ("gemini-3.8-live",)
"""Models (by how their names begin) whose tools do not hold up the conversation unless asked to."""

RATE = 16_000
"""Of the sound that is sent (Hz)."""

HOST = "generativelanguage.googleapis.com"

URL, CERTIFICATE = "CASCADE_GEMINI_URL", "CASCADE_GEMINI_CERTIFICATE"
"""In the environment: another server, and the certificate that it is to be trusted by."""

READY_S = 15.0
"""From the attempt to connect to a session that is set up."""

CLOSE_S = 0.3
"""How long the closing of a connection may take."""

LARGEST = 2**24
"""Of a message (bytes): a reply's sound may come in one."""

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "turns": ("server", "manual"),
    "voice": (),
    "silence_ms": (),
    "start": ("low", "high"),
    "end": ("low", "high"),
    "behavior": ("blocking", "non_blocking"),
    "scheduling": ("interrupt", "when_idle", "silent"),
    "certificate": (),
}
"""What a path may say, and the values that are allowed; none listed: any."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a path asks for; see `OPTIONS`.

    Attributes:
        model: Which model.
        voice: Its voice; empty: the model's own.
        manual: Turns are ended by `commit`.
        silence_ms: Silence that ends a turn; None: as the server likes.
        start: How readily it takes sound for speech; empty: as it likes.
        end: How readily it takes speech for over; empty: as it likes.
        behavior: Of tools; empty: the model's own.
        scheduling: When a result is spoken about; empty: when the model is idle.
    """

    model: str
    voice: str = ""
    manual: bool = False
    silence_ms: int | None = None
    start: str = ""
    end: str = ""
    behavior: str = ""
    scheduling: str = ""

    @property
    def blocking(self) -> bool:
        """Whether the model waits for its tools."""
        if self.behavior:
            return self.behavior == "blocking"
        return not self.model.startswith(NON_BLOCKING)


def wishes(target: Target) -> Wishes:
    """Read a path's options.

    Raises:
        BadInput: There is no such option, or it cannot have that value.
    """
    for name, value in target.options.items():
        if name not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise BadInput(f"--path {target.name}: {name} is no option of gemini; there is {known}")
        if OPTIONS[name] and value not in OPTIONS[name]:
            allowed = " or ".join(OPTIONS[name])
            raise BadInput(f"--path {target.name}: {name} is {allowed}, not {value!r}")
    options = target.options
    silence = options.get("silence_ms", "")
    if silence and not (silence.isascii() and silence.isdecimal() and 0 < int(silence) <= 10_000):
        raise BadInput(f"--path {target.name}: silence_ms is 1 to 10000, not {silence!r}")
    return Wishes(
        target.model or MODEL,
        options.get("voice", ""),
        options.get("turns") == "manual",
        int(silence) if silence else None,
        *(options.get(name, "") for name in ("start", "end", "behavior", "scheduling")),
    )


def place(target: Target, environ: Mapping[str, str] = os.environ) -> tuple[str, str, str]:
    """Where a path leads: what the client is told, how messages show it, and the key.

    Raises:
        BadInput: There is no key, or it cannot be one, or the URL cannot be used.
    """
    url = target.url or environ.get(URL, "").strip()
    base, host = _address(url, target.name)
    key = secrets.key(environ, *secrets.GEMINI)
    if not key and not url:
        raise BadInput(f"--path {target.name}: there is no key; set {' or '.join(secrets.GEMINI)}")
    # Servers elsewhere may need none, but the client does.
    return base, host, key or "none"


class Link:
    """Makes connections to one server, again and again if need be.

    Args:
        target: Which model, where, with what options.
        brief: What it is told.

    Attributes:
        wishes: What is asked for.
        host: Where (host and port).

    Raises:
        BadInput: The client library is missing, there is no key, or the path asks for what cannot
            be had.
    """

    def __init__(self, target: Target, brief: Brief) -> None:
        self.wishes = wishes(target)
        self._base, self.host, key = place(target)
        self._brief = brief
        certificate = target.options.get("certificate") or os.environ.get(CERTIFICATE, "").strip()
        try:
            from google import genai
        except ImportError:
            raise BadInput(words.EXTRA) from None
        arguments: dict[str, Any] = {
            "close_timeout": CLOSE_S,
            "compression": None,
            "max_size": LARGEST,
            "logger": secrets.QUIET,
        }
        if certificate:
            arguments["ssl"] = _trusting(certificate)
        self._client = genai.Client(
            vertexai=False,
            api_key=key,
            http_options={"base_url": self._base, "async_client_args": arguments},
        )

    def config(self, handle: str) -> types.LiveConnectConfig:
        """What is asked of the server; with a handle, to go on with the session it stands for."""
        from google.genai import types

        brief, wishes = self._brief, self.wishes
        detection = types.AutomaticActivityDetection(disabled=True) if wishes.manual else None
        if not wishes.manual and (wishes.silence_ms or wishes.start or wishes.end):
            detection = types.AutomaticActivityDetection(silence_duration_ms=wishes.silence_ms)
            if wishes.start:
                start = types.StartSensitivity(f"START_SENSITIVITY_{wishes.start.upper()}")
                detection.start_of_speech_sensitivity = start
            if wishes.end:
                end = types.EndSensitivity(f"END_SENSITIVITY_{wishes.end.upper()}")
                detection.end_of_speech_sensitivity = end
        return types.LiveConnectConfig(
            response_modalities=[types.Modality.AUDIO],
            system_instruction=brief.instructions or None,
            tools=[types.Tool(function_declarations=self._functions())] if brief.tools else None,
            speech_config=_speech(wishes.voice) if wishes.voice else None,
            input_audio_transcription=types.AudioTranscriptionConfig(),
            output_audio_transcription=types.AudioTranscriptionConfig(),
            realtime_input_config=types.RealtimeInputConfig(
                automatic_activity_detection=detection,
                activity_handling=types.ActivityHandling.START_OF_ACTIVITY_INTERRUPTS,
            ),
            context_window_compression=types.ContextWindowCompressionConfig(
                sliding_window=types.SlidingWindow()
            ),
            session_resumption=types.SessionResumptionConfig(handle=handle or None),
        )

    @contextlib.asynccontextmanager
    async def connect(self, handle: str = "") -> AsyncGenerator[AsyncSession]:
        """A session that is set up; closed at the end within `CLOSE_S`.

        Raises:
            StageError: There is none to be had.
        """
        async with contextlib.AsyncExitStack() as stack:
            opened = self._client.aio.live.connect(
                model=self.wishes.model, config=self.config(handle)
            )
            try:
                async with asyncio.timeout(READY_S):
                    session = await stack.enter_async_context(opened)
            except Exception as error:
                raise words.unreachable(
                    error, self.host, self.wishes.model, wait_s=READY_S
                ) from None
            if session.setup_complete is None:
                raise StageError(
                    "direct", f"{self.host} does not speak Gemini Live; check the address"
                )
            yield session

    async def close(self) -> None:
        """Let go of what the client library keeps."""
        with contextlib.suppress(Exception):
            await self._client.aio.aclose()
            self._client.close()

    def _functions(self) -> list[types.FunctionDeclaration]:
        from google.genai import types

        behavior = self.wishes.behavior.upper()
        return [
            types.FunctionDeclaration(
                name=tool.name,
                description=tool.description,
                parameters_json_schema=dict(tool.parameters),
                behavior=types.Behavior(behavior) if behavior else None,
            )
            for tool in self._brief.tools
        ]


async def deliver(session: AsyncSession, parcel: Parcel) -> None:
    """Send something.

    Raises:
        websockets.exceptions.ConnectionClosed: The connection is gone.
    """
    from google.genai import types

    match parcel.kind:
        case "sound":
            blob = types.Blob(data=parcel.sound, mime_type=f"audio/pcm;rate={RATE}")
            await session.send_realtime_input(audio=blob)
        case "start":
            await session.send_realtime_input(activity_start=types.ActivityStart())
        case "end":
            await session.send_realtime_input(activity_end=types.ActivityEnd())
        case "result":
            response = types.FunctionResponse.model_validate(parcel.result)
            await session.send_tool_response(function_responses=response)


def _address(url: str, name: str) -> tuple[str, str]:
    """Where the client is to connect to, and how messages show it."""
    try:
        parts = urlsplit(url or f"https://{HOST}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("https", "wss"):
        raise BadInput(f"--path {name}: not a usable URL; write it as wss://HOST:PORT")
    shown = f"[{host}]" if ":" in host else host
    place = f"{shown}:{port}" if port else shown
    return f"https://{place}{parts.path.rstrip('/')}", place


def _trusting(certificate: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=certificate)
    except ssl.SSLError:
        raise BadInput(f"{certificate}: is no certificate in PEM form") from None
    except OSError as error:
        raise BadInput(f"{certificate}: cannot be read: {error.strerror}") from None


def _speech(voice: str) -> types.SpeechConfig:
    from google.genai import types

    prebuilt = types.PrebuiltVoiceConfig(voice_name=voice)
    return types.SpeechConfig(voice_config=types.VoiceConfig(prebuilt_voice_config=prebuilt))
