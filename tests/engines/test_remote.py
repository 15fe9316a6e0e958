"""The recogniser and the voice of another server: our own, and one that does as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from servers.llm_server import Answer, End, LlmServer, Request, Script, Step, hang, page, status
from support.background import in_background
from support.http_engines import TOYS, toys
from support.llm_client import hermetic
from support.real_engines import as_audio, words

from pipeline import doctor
from pipeline.audio.resample import resampled
from pipeline.config import Settings, SttSettings, TtsSettings, load
from pipeline.engines import remote
from pipeline.engines.client import Unreachable
from pipeline.engines.local import LocalEngines, check_models
from pipeline.engines.remote import RemoteRecogniser, RemoteVoice
from pipeline.engines.servers import audio_server
from pipeline.engines.whisper import Audio, Known
from pipeline.errors import BadInput, StageError
from pipeline.events import Samples
from pipeline.models import fetch
from pipeline.models.catalogue import Catalogue
from pipeline.trace import description

pytestmark = pytest.mark.usefixtures(hermetic.__name__)

SPEECH: Audio = np.full(16_000, 0.1, np.float32)
TONE = np.arange(24_000, dtype=np.int16)
SECRET = "sk-nobody-may-know"


def told(**fields: Any) -> Answer:
    return Answer([json.dumps(fields).encode()], content_type="application/json")


def wav(rate: int, sound: Samples = TONE) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(sound.tobytes())
    return file.getvalue()


def sound(*steps: Step, kind: str = "audio/pcm") -> Answer:
    return Answer(steps, content_type=kind)


def form(request: Request) -> dict[str, str]:
    """The fields of a form, without its file."""
    found = re.findall(rb'form-data; name="(\w+)"\r\n\r\n(.*?)\r\n--', request.raw, re.S)
    return {name.decode(): value.decode() for name, value in found}


@contextlib.asynccontextmanager
async def ears(server: LlmServer, **more: Any) -> AsyncIterator[RemoteRecogniser]:
    settings = SttSettings(url=server.url, **more)
    recogniser = RemoteRecogniser(audio_server(settings), settings)
    try:
        yield recogniser
    finally:
        await recogniser.aclose()


@contextlib.asynccontextmanager
async def mouth(server: LlmServer, **more: Any) -> AsyncIterator[RemoteVoice]:
    settings = Settings(tts=TtsSettings(**{"url": server.url, **more}))
    voice = RemoteVoice(audio_server(settings.tts), settings)
    try:
        yield voice
    finally:
        await voice.aclose()


async def said(voice: RemoteVoice, into: list[Samples] | None = None, speed: float = 1) -> Samples:
    pieces = [] if into is None else into
    async with contextlib.aclosing(voice.speak("Hello there.", speed)) as sounds:
        async for each in sounds:
            pieces.append(each.samples)
    return np.concatenate(pieces)


def check(error: StageError, stage: str, name: str) -> str:
    message = str(error)
    assert error.stage == stage
    assert name in message
    assert len(message.splitlines()) <= 2
    assert SECRET not in message
    assert error.__cause__ is None
    return message


# --- our own server ---


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with in_background(toys()) as found:
        yield found


async def test_our_own_server_recognises_and_speaks(url: str) -> None:
    settings = load(None, {**TOYS, "stt.url": url, "tts.url": url})
    async with LocalEngines(settings, writes=False) as engines:
        assert engines.names["stt"] == "whisper-mini-en"
        assert engines.names["tts"] == "en_US-mini"
        with engines.seat() as seat:
            async with contextlib.aclosing(seat.voice.speak("What time is it?")) as sounds:
                made = np.concatenate([piece.samples async for piece in sounds])
            heard = await seat.transcribe(
                as_audio(resampled(made, seat.voice.rate, 16_000)), Known(900.0)
            )
        assert words(heard.text) == "what time is it"
        assert heard.language == "en"
        assert heard.log_prob < 0, "our own server tells how sure it is"


async def test_the_doctor_asks_the_servers(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load(None, {**TOYS, "stt.url": url, "tts.url": "http://127.0.0.1:1/v1"})
    assert await doctor.examine(settings, ["models"], True) == 1
    found = {
        finding["name"]: finding
        for finding in map(json.loads, capsys.readouterr().out.splitlines())
    }
    assert found["stt.url"]["state"] == "ok"
    assert found["tts.url"]["state"] == "problem"
    assert "cannot be reached" in found["tts.url"]["detail"]


# --- what is asked, and of whom ---


def test_no_model_is_needed_here_where_a_server_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = {"stt.url": "http://box/v1", "tts.url": "http://box/v1", "models.dir": str(tmp_path)}
    settings = load(
        None,
        {**there, "stt.model": "none-here", "tts.voice": "af_heart", "turns.predict": False},
    )
    catalogue = Catalogue.load(settings.models.dir)
    check_models(settings, catalogue)
    pulled: list[str] = []
    monkeypatch.setattr(fetch, "pull_and_show", lambda _, model, *__: pulled.append(model.kind))
    default = settings.model_copy(
        update={
            "stt": SttSettings(url="http://box/v1"),
            "tts": TtsSettings(url="http://box/v1"),
        }
    )
    fetch.provide(default, Console(quiet=True), catalogue=catalogue)
    assert {*pulled} <= {"llm"}


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://box:8000", "http://box:8000/v1"),
        ("http://box:8000/v1/", "http://box:8000/v1"),
        ("https://box/v1/audio/speech", "https://box/v1"),
        ("https://box/v1/audio/transcriptions", "https://box/v1"),
    ],
)
def test_where_a_server_is(url: str, base: str) -> None:
    found = audio_server(TtsSettings(url=url))
    assert (found.base_url, found.api_key, found.model) == (base, "none", "tts-1")
    for settings in (SttSettings(url=f"{url}#own"), TtsSettings(url=f"{url}#own")):
        named = audio_server(settings)
        assert (named.base_url, named.model, named.label) == (base, "own", base)


@pytest.mark.parametrize("url", ["box:8000", "ollama:whisper", "http://", "http://a b/v1"])
@pytest.mark.parametrize("settings", [SttSettings, TtsSettings])
def test_what_is_no_url_is_told(url: str, settings: type[SttSettings] | type[TtsSettings]) -> None:
    option = "--stt-url" if settings is SttSettings else "--tts-url"
    with pytest.raises(BadInput, match=f"^{option} .*http://HOST:PORT/v1"):
        check_models(load(None, {f"{option[2:5]}.url": url}), Catalogue.load())


def test_the_key_of_openai_goes_to_openai_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    openais = SttSettings(url="https://api.openai.com/v1")
    with pytest.raises(BadInput, match="set OPENAI_API_KEY"):
        audio_server(openais)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert audio_server(openais).api_key == SECRET
    in_the_clear = SttSettings(url="http://api.openai.com/v1")
    assert audio_server(in_the_clear).api_key == "none"
    assert audio_server(SttSettings(url="http://box/v1")).api_key == "none"
    assert audio_server(SttSettings(url="http://box/v1", api_key="own")).api_key == "own"


def test_no_key_and_no_password_is_told_of_a_run() -> None:
    there = f"http://me:{SECRET}@box/v1"
    settings = Settings(
        stt=SttSettings(url=there, api_key=SECRET), tts=TtsSettings(url=there, api_key=SECRET)
    )
    text = json.dumps(description(settings, {}))
    assert SECRET not in text
    assert "http://box/v1" in text


# --- the recogniser ---


async def test_what_a_recogniser_is_asked() -> None:
    async with LlmServer(told(text=" Hello. ", language="english"), told(text="Ja.")) as server:
        async with ears(server, api_key=SECRET) as recogniser:
            heard = await recogniser.transcribe(SPEECH, Known(900.0, prefix="Hel", draft=True))
            assert (heard.text, heard.language, heard.sure) == ("Hello.", "en", True)
            await recogniser.transcribe(SPEECH, Known(language="de", prompt="Namen"))
        async with ears(server, model="large", language="nl") as other:
            server.then(told(text="Ja."))
            assert (await other.transcribe(SPEECH, Known(language="de"))).language == "nl"
    first, second, third = server.requests
    assert first.key == SECRET
    assert form(first) == {"model": "whisper-1", "response_format": "verbose_json"}
    assert form(second) == {**form(first), "language": "de", "prompt": "Namen"}
    assert form(third) == {**form(first), "model": "large", "language": "nl"}
    data = first.raw[first.raw.index(b"RIFF") :]
    with wave.open(io.BytesIO(data)) as reader:
        assert (reader.getframerate(), reader.getnchannels()) == (16_000, 1)
        samples = np.frombuffer(reader.readframes(16_000), "<i2")
    assert (samples == 3277).all()


async def test_what_is_no_speech_is_dropped() -> None:
    unlikely = {"avg_logprob": -1.4, "no_speech_prob": 0.9, "text": " You know."}
    answer = told(text="You know.", segments=[unlikely])
    async with LlmServer(answer) as server, ears(server) as recogniser:
        heard = await recogniser.transcribe(SPEECH)
        assert (heard.text, heard.dropped, heard.raw) == ("", "no speech", "You know.")
        nothing = await recogniser.transcribe(SPEECH, Known(50.0))
        assert (nothing.text, nothing.dropped) == ("", "too little voice")
    assert len(server.requests) == 1


async def test_a_server_without_the_long_form_is_asked_for_the_short_one() -> None:
    refusal = status(400, "response_format 'verbose_json' is not compatible with model")
    answers = [refusal, told(text="One."), told(text="Two.")]
    async with LlmServer(*answers) as server, ears(server) as recogniser:
        assert (await recogniser.transcribe(SPEECH)).text == "One."
        assert (await recogniser.transcribe(SPEECH)).text == "Two."
    forms = [form(request)["response_format"] for request in server.requests]
    assert forms == ["verbose_json", "json", "json"]


FAILURES: list[tuple[Script, bool, str]] = [
    (status(401, f"Incorrect API key: {SECRET}"), True, "refuses the key (401); set stt.api_key"),
    (status(404, "no model"), True, "has no model 'whisper-1' or no transcription API there"),
    (status(404, "no model"), True, "(404: no model); name another with --stt"),
    (page(404, "<html><title>Lost</title></html>"), True, "Lost"),
    (status(429, "too much"), False, "too much; try again later"),
    (status(500, f"crashed with {SECRET}"), False, "crashed with [key]"),
    (told(words="none"), False, "answers with no transcript"),
    (page(200, "<html></html>"), False, "answers with no transcript"),
]


@pytest.mark.parametrize(("answer", "fatal", "words_"), FAILURES)
async def test_a_recogniser_that_fails(answer: Script, fatal: bool, words_: str) -> None:
    async with LlmServer(otherwise=answer) as server, ears(server, api_key=SECRET) as recogniser:
        with pytest.raises(StageError) as caught:
            await recogniser.transcribe(SPEECH)
        assert words_ in check(caught.value, "stt", server.url)
    assert caught.value.fatal is fatal


async def test_a_refusal_for_another_reason_keeps_the_long_form() -> None:
    bad = status(400, "audio is too short")
    async with LlmServer(bad, bad, told(text="One.")) as server, ears(server) as recogniser:
        with pytest.raises(StageError, match="audio is too short"):
            await recogniser.transcribe(SPEECH)
        assert (await recogniser.transcribe(SPEECH)).text == "One."
    assert form(server.requests[2])["response_format"] == "verbose_json"


async def test_nobody_there() -> None:
    server = LlmServer()
    server.port = 1
    async with ears(server) as recogniser, mouth(server) as voice:
        with pytest.raises(Unreachable) as caught:
            await recogniser.transcribe(SPEECH)
        assert "leave --stt-url out" in check(caught.value, "stt", server.url)
        with pytest.raises(Unreachable) as caught:
            await voice.warm()
        assert "leave --tts-url out" in check(caught.value, "tts", server.url)
    with pytest.raises(Unreachable):
        async with LocalEngines(load(None, {**TOYS, "stt.url": server.url}), writes=False):
            pass


async def test_a_recogniser_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 0.2)
    async with LlmServer(Answer([hang])) as server, ears(server) as recogniser:
        with pytest.raises(StageError) as caught:
            await recogniser.transcribe(SPEECH)
        assert "did not answer within 0.2 s" in check(caught.value, "stt", server.url)


async def test_a_transcript_that_nobody_waits_for_is_not_made() -> None:
    async with LlmServer(Answer([hang])) as server, ears(server) as recogniser:
        asking = asyncio.create_task(recogniser.transcribe(SPEECH))
        request = await server.arrival()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await asyncio.wrap_future(request.fate) == "abandoned"


async def test_a_connection_that_is_closed_as_it_is_used_again() -> None:
    answers = [told(text="One."), Answer([End.DROP]), told(text="Two.")]
    async with LlmServer(*answers) as server, ears(server) as recogniser:
        await recogniser.transcribe(SPEECH)
        assert (await recogniser.transcribe(SPEECH)).text == "Two."


# --- the voice ---


async def test_what_a_voice_is_asked() -> None:
    async with (
        LlmServer(
            sound(wav(22_050), kind="audio/wav"), sound(TONE.tobytes()), sound(TONE.tobytes())
        ) as server,
        mouth(
            server, url=f"{server.url}#kokoro", api_key=SECRET, speed=1.5, voice="heart"
        ) as voice,
    ):
        await voice.warm()
        assert voice.rate == 22_050
        # A server has one rate, and bare samples do not tell it.
        assert (await said(voice) == TONE).all()
        await said(voice, speed=1.2)
    warm, first, second = server.requests
    assert warm.key == SECRET
    assert warm.body["response_format"] == "wav"
    assert first.body == {
        "model": "kokoro",
        "voice": "heart",
        "input": "Hello there.",
        "response_format": "pcm",
        "speed": 1.5,
    }
    assert second.body["speed"] == pytest.approx(1.8)


async def test_a_voice_that_has_no_wav() -> None:
    answers = [status(400, "wav is not supported"), sound(TONE.tobytes()), sound(TONE.tobytes())]
    async with LlmServer(*answers) as server, mouth(server) as voice:
        await voice.warm()
        assert voice.rate == 24_000
        assert (await said(voice) == TONE).all()
    assert [each.body["response_format"] for each in server.requests] == ["wav", "pcm", "pcm"]
    assert {each.body["voice"] for each in server.requests} == {"alloy"}


@pytest.mark.parametrize(
    "other",
    [
        sound(TONE.tobytes(), kind="audio/pcm;rate=48000"),
        sound(wav(48_000), kind="audio/wav"),
    ],
)
async def test_a_rate_that_differs_is_converted(other: Answer) -> None:
    async with LlmServer(sound(wav(16_000)), other) as server, mouth(server) as voice:
        await voice.warm()
        assert voice.rate == 16_000
        assert len(await said(voice)) == len(TONE) // 3


async def test_sound_comes_as_it_is_made_and_may_be_cut_anywhere() -> None:
    go_on = asyncio.Event()
    data = TONE.tobytes()
    steps: list[Step] = [data[:10_001], go_on.wait, data[10_001:10_002], data[10_002:]]
    async with (
        LlmServer(sound(*steps)) as server,
        mouth(server) as voice,
        contextlib.aclosing(voice.speak("Hello.")) as sounds,
    ):
        first = await anext(sounds)
        assert len(first) == 5000
        go_on.set()
        rest = [piece.samples async for piece in sounds]
    assert (np.concatenate([first.samples, *rest]) == TONE).all()


async def test_a_clause_that_nobody_hears_is_not_made() -> None:
    async with LlmServer(sound(TONE.tobytes(), hang)) as server, mouth(server) as voice:
        async with contextlib.aclosing(voice.speak("Hello.")) as sounds:
            await anext(sounds)
        assert await asyncio.wrap_future(server.requests[0].fate) == "abandoned"


BROKEN: list[tuple[Answer, bool, bool, str]] = [
    (sound(TONE.tobytes(), End.DROP), True, False, "broke off in the middle of a clause"),
    (sound(TONE.tobytes(), End.RESET), True, False, "broke off in the middle of a clause"),
    (sound(TONE.tobytes(), hang), True, False, "sent nothing for 0.3 s"),
    (Answer([hang]), False, False, "did not answer within 0.5 s"),
    (sound(b"ID3\x04nothing"), False, True, "sends MP3 where 16-bit PCM was asked for"),
    (told(error="none"), False, True, "sends application/json where"),
    (sound(b""), False, False, "answers without sound"),
    (status(404, "no voice"), False, True, "has no model 'tts-1' or no speech API there"),
    (status(403), False, True, "refuses the key (403); set tts.api_key"),
    (status(503, "overloaded"), False, False, "answers 503: overloaded; try again later"),
]


@pytest.mark.parametrize(("answer", "heard", "fatal", "words_"), BROKEN)
async def test_a_voice_that_fails(
    answer: Answer, heard: bool, fatal: bool, words_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 0.5)
    monkeypatch.setattr(remote, "PIECE_S", 0.3)
    async with LlmServer(otherwise=answer) as server, mouth(server) as voice:
        pieces: list[Samples] = []
        with pytest.raises(StageError) as caught:
            await said(voice, pieces)
        assert words_ in check(caught.value, "tts", server.url)
    assert bool(pieces) is heard
    assert caught.value.fatal is fatal


async def test_a_server_that_does_badly_at_first_may_do_better(
    caplog: pytest.LogCaptureFixture,
) -> None:
    busy = status(503, "loading")
    async with LlmServer(busy, told(text="Hello.")) as server:
        settings = load(None, {**TOYS, "stt.url": server.url})
        async with LocalEngines(settings, writes=False) as engines:
            assert (await engines.transcribe(SPEECH)).text == "Hello."
    assert "answers 503: loading; try again later; going on" in caplog.text
