"""The recogniser and the voice behind the OpenAI API: its SDK, and what other software sends."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import itertools
import json
import re
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, get_args

import httpx2
import numpy as np
import openai
import pytest
from support.background import in_background
from support.http_engines import Scripted, Voice, serving, toys
from support.real_engines import words
from support.served import Served

from pipeline.audio.formats import Format
from pipeline.errors import BadInput, StageError
from pipeline.events import Samples
from pipeline.serve import app, http_api

SENTENCES = ("Turn on the light in the kitchen.", "What time is it?", "My dog is called Alice.")
HANG_GUARD_S = 60


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The API of the toys."""
    with in_background(toys()) as found:
        yield found


@pytest.fixture(scope="module")
def sdk(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def wav(samples: Samples, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def spoken(sdk: openai.OpenAI, text: str, form: str = "pcm", **more: Any) -> bytes:
    with sdk.audio.speech.with_streaming_response.create(
        model="tts-1",
        voice="alloy",
        input=text,
        response_format=form,  # type: ignore[arg-type]
        **more,
    ) as response:
        return b"".join(response.iter_bytes())


def samples(data: bytes) -> Samples:
    return np.frombuffer(data, "<i2").astype(np.int16)


@pytest.fixture(scope="module")
def recording(sdk: openai.OpenAI) -> tuple[bytes, list[tuple[float, float]]]:
    """The sentences with silence between them, and when each begins and ends (s)."""
    parts, places, at = [], [], 0.0
    for sentence in SENTENCES:
        sound = samples(spoken(sdk, sentence))
        places.append((at, at + len(sound) / 24_000))
        parts += [sound, np.zeros(36_000, np.int16)]
        at = sum(map(len, parts)) / 24_000
    return wav(np.concatenate(parts), 24_000), places


@pytest.mark.parametrize("form", get_args(Format))
def test_what_is_spoken_in_any_format_is_heard(sdk: openai.OpenAI, form: str) -> None:
    data = spoken(sdk, SENTENCES[0], form)
    data = wav(samples(data), 24_000) if form == "pcm" else data
    heard = sdk.audio.transcriptions.create(model="whisper-1", file=(f"a.{form}", data))
    assert words(heard.text) == words(SENTENCES[0])
    assert heard.usage is not None
    assert heard.usage.type == "duration"
    assert heard.usage.seconds > 1


def test_a_header_of_a_wav_has_44_bytes(sdk: openai.OpenAI) -> None:
    data = spoken(sdk, SENTENCES[0], "wav")
    assert data[36:40] == b"data"
    with wave.open(io.BytesIO(data)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)
        assert reader.getframerate() == 24_000


def test_twice_the_speed_takes_half_the_time(sdk: openai.OpenAI) -> None:
    plain, fast = (len(spoken(sdk, SENTENCES[0], speed=speed)) for speed in (1.0, 2.0))
    assert 0.4 < fast / plain < 0.65


def test_a_recording_is_told_with_its_times(
    sdk: openai.OpenAI, recording: tuple[bytes, list[tuple[float, float]]]
) -> None:
    data, places = recording
    told = sdk.audio.transcriptions.create(
        model="gpt-4o-transcribe",
        file=("a.wav", data, "audio/wav"),
        response_format="verbose_json",
        timestamp_granularities=["segment"],
        language="en",
        temperature=0.2,
    )
    assert told.language == "en"
    assert told.duration == pytest.approx(places[-1][1] + 1.5, abs=0.1)
    assert told.segments is not None
    assert [words(each.text) for each in told.segments] == [*map(words, SENTENCES)]
    for segment, (start, end) in zip(told.segments, places, strict=True):
        assert segment.start == pytest.approx(start, abs=0.5)
        assert segment.end == pytest.approx(end, abs=0.5)


def test_subtitles(sdk: openai.OpenAI, recording: tuple[bytes, list[tuple[float, float]]]) -> None:
    told = {
        form: sdk.audio.transcriptions.create(
            model="whisper-1",
            file=("a.wav", recording[0]),
            response_format=form,  # type: ignore[call-overload]
        )
        for form in ("text", "srt", "vtt")
    }
    assert words(told["text"]) == words(" ".join(SENTENCES))
    time = r"00:00:\d\d[,.]\d\d\d"
    cues = re.findall(rf"(\d)\n{time} --> {time}\n(.+)\n", told["srt"])
    assert [(number, words(text)) for number, text in cues] == [
        (str(number), words(text)) for number, text in enumerate(SENTENCES, 1)
    ]
    assert told["vtt"].startswith("WEBVTT\n\n00:00:0")
    assert len(re.findall(rf"{time} --> {time}\n.+\n", told["vtt"])) == len(SENTENCES)


def test_a_transcript_is_told_as_it_is_made(
    sdk: openai.OpenAI, recording: tuple[bytes, list[tuple[float, float]]]
) -> None:
    events = list(
        sdk.audio.transcriptions.create(
            model="gpt-4o-mini-transcribe", file=("a.wav", recording[0]), stream=True
        )
    )
    *deltas, done = events
    assert done.type == "transcript.text.done"
    assert [each.type for each in deltas] == ["transcript.text.delta"] * len(SENTENCES)
    assert "".join(each.delta for each in deltas) == done.text  # type: ignore[union-attr]
    assert words(done.text) == words(" ".join(SENTENCES))


def test_nothing_is_made_up_of_silence(sdk: openai.OpenAI) -> None:
    silence = wav(np.zeros(48_000, np.int16), 16_000)
    assert sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", silence)).text == ""
    (done,) = sdk.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", silence), stream=True
    )
    assert done.type == "transcript.text.done"


def test_quiet_speech_is_heard(sdk: openai.OpenAI) -> None:
    quiet = samples(spoken(sdk, SENTENCES[0])) // 40
    heard = sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav(quiet, 24_000)))
    assert words(heard.text) == words(SENTENCES[0])


def test_who_does_not_take_the_sound_does_not_keep_the_voice(sdk: openai.OpenAI) -> None:
    much = "This is said to somebody who does not listen. " * 80
    with sdk.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=much, response_format="pcm"
    ) as deaf:
        assert deaf.status_code == 200
        assert len(spoken(sdk, SENTENCES[0])) > 24_000


def test_the_models(sdk: openai.OpenAI) -> None:
    listed = [model.id for model in sdk.models.list()]
    assert {"whisper-mini-en", "whisper-1", "en_US-mini", "tts-1", "gpt-realtime"} <= {*listed}
    assert len(listed) == len({*listed})
    assert sdk.models.retrieve("whisper-mini-en").owned_by == "voice-cascade"
    assert sdk.models.retrieve("tts-1").id == "tts-1"
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.models.retrieve("gpt-2/../whisper-1")
    assert caught.value.code == "model_not_found"


async def test_what_home_assistant_sends(url: str) -> None:
    """As its integration `openai_conversation` does (2026): `tts.py` and `stt.py` there."""
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        data = bytearray()
        async with client.audio.speech.with_streaming_response.create(
            model="gpt-4o-mini-tts",
            voice="marin",
            input=SENTENCES[1],
            instructions="None",
            speed=1.0,
            response_format="mp3",
        ) as response:
            async for chunk in response.iter_bytes():
                data.extend(chunk)
        heard = await client.audio.transcriptions.create(
            model="gpt-4o-mini-transcribe",
            file=("a.ogg", bytes(data)),
            response_format="json",
            language="en",
            prompt="The following conversation is a smart home user talking to Home Assistant.",
        )
    assert words(heard.text) == words(SENTENCES[1])


def test_what_open_webui_sends(url: str) -> None:
    """As its `routers/audio.py` does: no format, a name of a file and no type."""
    headers = {"Authorization": "Bearer sk-none"}
    with httpx2.Client(headers=headers, trust_env=False) as client:
        voices = client.get(f"{url}/audio/voices").json()["voices"]
        assert {"id": "alloy", "name": "alloy"} in voices
        assert {"id": "tts-1"} in client.get(f"{url}/audio/models").json()["models"]
        payload = {"input": SENTENCES[1], "voice": voices[0]["id"], "model": "tts-1"}
        sound = client.post(f"{url}/audio/speech", json=payload)
        assert sound.headers["content-type"] == "audio/mpeg"
        heard = client.post(
            f"{url}/audio/transcriptions",
            files={"file": ("speech.mp3", sound.content)},
            data={"model": "whisper-1"},
        )
    assert words(heard.json()["text"]) == words(SENTENCES[1])


REFUSALS: list[tuple[Callable[[openai.OpenAI], Any], int, str, str | None]] = [
    (lambda sdk: spoken(sdk, ""), 400, "invalid_value", "input"),
    (lambda sdk: spoken(sdk, "a" * 4097), 400, "invalid_value", "input"),
    (lambda sdk: spoken(sdk, "a", "ogg"), 400, "invalid_value", "response_format"),
    (lambda sdk: spoken(sdk, "a", speed=9), 400, "invalid_value", "speed"),
    (
        lambda sdk: sdk.audio.speech.create(model="tts-1", voice="bob", input="a"),
        400,
        "invalid_value",
        "voice",
    ),
    (
        lambda sdk: sdk.audio.speech.create(model="whisper-1", voice="alloy", input="a"),
        404,
        "model_not_found",
        "model",
    ),
    (lambda sdk: spoken(sdk, "   "), 400, "invalid_value", "input"),
    (lambda sdk: spoken(sdk, "😀 ***"), 400, "invalid_value", "input"),
    (lambda sdk: heard(sdk, b"no sound"), 400, "invalid_value", "file"),
    (lambda sdk: heard(sdk, b""), 400, "invalid_value", "file"),
    (lambda sdk: heard(sdk, b"x", model="tts-1"), 404, "model_not_found", "model"),
    (
        lambda sdk: heard(sdk, b"x", response_format="diarized_json"),
        400,
        "invalid_value",
        "response_format",
    ),
    (lambda sdk: heard(sdk, b"x", language="klingon!"), 400, "invalid_value", "language"),
    (lambda sdk: heard(sdk, b"x", temperature=3), 400, "invalid_value", "temperature"),
    (
        lambda sdk: heard(sdk, b"x", timestamp_granularities=["word"]),
        400,
        "invalid_value",
        "timestamp_granularities",
    ),
]


def heard(sdk: openai.OpenAI, data: bytes, model: str = "whisper-1", **more: Any) -> Any:
    return sdk.audio.transcriptions.create(model=model, file=("a.wav", data), **more)


@pytest.mark.parametrize(("ask", "status", "code", "param"), REFUSALS)
def test_what_cannot_be_is_refused_by_name(
    sdk: openai.OpenAI, ask: Callable[[openai.OpenAI], Any], status: int, code: str, param: str
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(sdk)
    error = caught.value
    assert (error.status_code, error.code, error.param) == (status, code, param)
    assert error.body is not None
    assert "\n" not in error.message


def test_what_a_client_calls_its_file_is_not_logged(
    sdk: openai.OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    sound = samples(spoken(sdk, SENTENCES[0]))[::3].astype(np.int16) // 2
    opposite = np.stack([sound, -sound], axis=1)  # the average loses the voice
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, 8000, 0, "NONE", ""))
        writer.writeframes(opposite.astype("<i2").tobytes())
    sdk.audio.transcriptions.create(model="whisper-1", file=("secret.wav", file.getvalue()))
    assert "loses the voice" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "request_", [{"content": b"{"}, {"content": b"[]"}, {"json": {"input": 3}}, {"json": {}}]
)
def test_a_body_that_is_none_is_refused(url: str, request_: dict[str, Any]) -> None:
    answer = httpx2.post(f"{url}/audio/speech", trust_env=False, **request_)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "request_",
    [
        {"data": {"model": "whisper-1"}},
        {"data": {"file": "a"}, "files": {"other": b"x"}},
        {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}},
        {"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}},
        {"files": [("file", b"x"), ("file", b"y")]},
        {"json": {"file": "a"}},
    ],
)
def test_a_form_that_is_none_is_refused(url: str, request_: dict[str, Any]) -> None:
    answer = httpx2.post(f"{url}/audio/transcriptions", trust_env=False, **request_)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


# --- with scripted engines ---


@pytest.fixture
def engines() -> Scripted:
    return Scripted()


@pytest.fixture
async def server(engines: Scripted) -> AsyncIterator[Served]:
    async with serving(engines) as found:
        yield found


@contextlib.asynccontextmanager
async def client(server: Served) -> AsyncIterator[httpx2.AsyncClient]:
    base = f"{server.http}/v1/"
    async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=HANG_GUARD_S) as found:
        yield found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_GUARD_S):
        while not condition():
            await asyncio.sleep(0.005)


def noise(*levels: int) -> bytes:
    """A recording with a second of sound for each level, and silence around it."""
    quiet = np.zeros(24_000, np.int16)
    parts = [part for level in levels for part in (np.full(16_000, level, np.int16), quiet)]
    return wav(np.concatenate(parts), 16_000)


async def test_the_first_bytes_leave_when_the_first_clause_is_made(
    server: Served, engines: Scripted
) -> None:
    engines.voice.held = asyncio.Event()
    body = {"input": "Well, this is it. Now HOLD on.", "voice": "mouth", "response_format": "pcm"}
    async with client(server) as http, http.stream("POST", "audio/speech", json=body) as answer:
        blocks = answer.aiter_bytes()
        first = await anext(blocks)
        assert len(first) > 1000
        await until(lambda: len(engines.voice.said) == 2)
        engines.voice.held.set()
        rest = b"".join([block async for block in blocks])
    assert len(first) + len(rest) == 2 * 2 * engines.voice.samples
    assert engines.voice.said == ["Well, this is it.", "Now HOLD on."]


async def test_a_voice_that_is_here_is_asked_for_by_its_name(
    server: Served, engines: Scripted
) -> None:
    other = engines.voice.others["de_DE-toy-medium"] = Voice(language="de", rate=16_000)
    body = {"input": "Das ist z. B. gut.", "voice": "de_DE-toy-medium", "response_format": "pcm"}
    async with httpx2.AsyncClient() as client:
        answer = await client.post(f"{server.http}/v1/audio/speech", json=body)
    assert answer.status_code == 200
    assert (other.said, engines.voice.said) == (["Das ist zum Beispiel gut."], [])
    assert len(answer.content) == 2 * other.samples * 24_000 // other.rate


async def test_a_client_that_goes_stops_the_voice(server: Served, engines: Scripted) -> None:
    engines.voice.held = asyncio.Event()
    body = {"input": "Now HOLD on. And more.", "response_format": "mp3"}
    async with client(server) as http, http.stream("POST", "audio/speech", json=body) as answer:
        await anext(answer.aiter_bytes())
        assert engines.voice.open == 1
    await until(lambda: engines.voice.open == 0)
    assert len(engines.voice.said) == 1


async def test_a_client_that_takes_nothing_is_cut_off(
    server: Served, engines: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_api, "SEND_S", 0.3)
    engines.voice.pieces = 10_000
    body = b'{"input": "It has no end.", "response_format": "pcm"}'
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(head.encode() + b"\r\n\r\n" + body)
    await until(lambda: engines.voice.open == 1)
    await until(lambda: engines.voice.open == 0)
    writer.close()


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_a_client_that_goes_stops_the_recogniser(
    server: Served, engines: Scripted, stream: str
) -> None:
    engines.held = asyncio.Event()
    async with client(server) as http:
        asking = asyncio.create_task(
            http.post(
                "audio/transcriptions",
                files={"file": ("a.wav", noise(2000, 2000))},
                data={"stream": stream},
            )
        )
        await until(lambda: engines.open == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: engines.open == 0)
    engines.held = None
    async with client(server) as http:
        again = await http.post("audio/transcriptions", files={"file": ("a.wav", noise(2000))})
    assert again.json()["text"] == "1.3"
    assert len(engines.asked) == 2


async def test_a_client_that_goes_before_there_is_sound_stops_the_voice(
    server: Served, engines: Scripted
) -> None:
    engines.voice.held = asyncio.Event()
    engines.voice.pieces = 0
    async with client(server) as http:
        asking = asyncio.create_task(http.post("audio/speech", json={"input": "HOLD on."}))
        await until(lambda: engines.voice.open == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: engines.voice.open == 0)


async def test_files_take_turns_piece_by_piece(server: Served, engines: Scripted) -> None:
    engines.held = asyncio.Event()
    engines.takes_s = 0.05
    async with client(server) as http, asyncio.TaskGroup() as tasks:
        for number, level in enumerate((3276, 6553), 1):
            files = {"file": ("a.wav", noise(*[level] * 8))}
            tasks.create_task(http.post("audio/transcriptions", files=files))
            await until(lambda number=number: engines.files == number and engines.open == 1)
        engines.held.set()
    assert engines.most == 1
    assert sorted(engines.order) == [0.1] * 8 + [0.2] * 8
    # The second came while the first was heard, and from then on they alternate.
    assert engines.order[-16:].index(0.2) < 8
    assert sum(a != b for a, b in itertools.pairwise(engines.order)) > 8


async def test_language_and_prompt_reach_the_recogniser(server: Served, engines: Scripted) -> None:
    async with client(server) as http:
        await http.post(
            "audio/transcriptions",
            files={"file": ("a.wav", noise(2000))},
            data={"language": "de-DE", "prompt": "Grüße", "model": "ears"},
        )
    assert engines.asked[0].language == "de"
    assert engines.asked[0].prompt == "Grüße"
    assert engines.asked[0].voiced_ms == pytest.approx(1000, abs=64)


async def test_a_language_that_the_recogniser_does_not_know(
    server: Served, engines: Scripted
) -> None:
    engines.failure = BadInput("stt.language is 'xx'; ears knows: en\nName one")
    async with client(server) as http:
        answer = await http.post("audio/transcriptions", files={"file": ("a.wav", noise(2000))})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "language"
    assert answer.json()["error"]["message"] == "stt.language is 'xx'; ears knows: en Name one"


async def test_a_stage_that_fails_before_there_is_an_answer(
    server: Served, engines: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    engines.failure = StageError("stt", "the recogniser failed")
    async with client(server) as http:
        for stream in ("false", "true"):
            answer = await http.post(
                "audio/transcriptions",
                files={"file": ("a.wav", noise(2000))},
                data={"stream": stream},
            )
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "stt_failed"
        answer = await http.post("audio/speech", json={"input": "FAIL now."})
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "tts_failed"
    assert "the voice failed" in caplog.text


async def test_a_voice_that_fails_in_the_middle_breaks_off(server: Served) -> None:
    body = {"input": "It begins. Then FAIL.", "response_format": "pcm"}
    async with client(server) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.post("audio/speech", json=body)
        answer = await http.post("audio/speech", json={**body, "stream_format": "sse"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *sound, failure = answer.text.strip().split("\n\n")
    told = [json.loads(event.removeprefix("data: ")) for event in sound]
    assert {each["type"] for each in told} == {"speech.audio.delta"}
    assert len(b"".join(base64.b64decode(each["audio"]) for each in told)) == 20_000
    assert failure.startswith("event: error\ndata: ")
    assert json.loads(failure.split("data: ")[1])["error"]["code"] == "tts_failed"


async def test_the_sdk_hears_of_a_recogniser_that_fails_in_the_middle(
    server: Served, engines: Scripted
) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.http}/v1", api_key="none") as sdk:
        stream = await sdk.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", noise(2000, 2000)), stream=True
        )
        assert (await anext(stream)).type == "transcript.text.delta"
        engines.failure = StageError("stt", "the recogniser failed")
        with pytest.raises(openai.APIError, match="The recogniser failed"):
            await anext(stream)


async def test_the_events_of_speech(server: Served, engines: Scripted) -> None:
    body = {"input": "Well.", "response_format": "pcm", "stream_format": "sse"}
    async with client(server) as http:
        answer = await http.post("audio/speech", json=body)
    *sound, done = (json.loads(line[6:]) for line in answer.text.split("\n\n") if line)
    assert done["type"] == "speech.audio.done"
    data = b"".join(base64.b64decode(each["audio"]) for each in sound)
    assert len(data) == 2 * engines.voice.samples


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upload_has_a_limit(
    server: Served, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr(http_api, "MOST_BYTES", 10_000)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    data = head + noise(2000) + b"\r\n--x--\r\n"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    async with client(server) as http:
        answer = await http.post(
            "audio/transcriptions",
            content=pieces() if chunked else data,
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


async def test_an_upload_that_stops_is_given_up(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "SILENT_S", 0.05)
    for path in ("transcriptions", "speech"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /v1/audio/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        writer.write(f"{head}--x".encode())
        async with asyncio.timeout(HANG_GUARD_S):
            assert b" 408 " in await reader.readline()
        writer.close()


async def test_a_text_has_a_limit(server: Served) -> None:
    async with client(server) as http:
        answer = await http.post("audio/speech", content=b'{"input": "' + b"a" * 100_000)
    assert answer.status_code == 413


async def test_a_recording_has_a_limit(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_api, "MOST_S", 3)
    async with client(server) as http:
        files = {"file": ("a.wav", noise(*[2000] * 4))}
        answer = await http.post("audio/transcriptions", files=files)
    assert answer.status_code == 400
    assert "is longer than" in answer.json()["error"]["message"]


async def test_so_many_requests_at_a_time(
    server: Served, engines: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_api, "MOST_AT_ONCE", 2)
    engines.voice.held = asyncio.Event()
    asking: list[Awaitable[httpx2.Response]] = []
    async with client(server) as http:
        asking = [
            asyncio.ensure_future(http.post("audio/speech", json={"input": "HOLD on."}))
            for _ in range(2)
        ]
        await until(lambda: engines.voice.open == 2)
        refused = await http.post("audio/speech", json={"input": "No."})
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "5"
        engines.voice.held.set()
        for answer in await asyncio.gather(*asking):
            assert answer.status_code == 200
        assert (await http.post("audio/speech", json={"input": "Yes."})).status_code == 200
