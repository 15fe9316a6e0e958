from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
import pytest
from google import genai
from support.gemini_client import MODEL, Client, script, serve, voice
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.errors import BadInput
from pipeline.events import ReplyAudio, ReplyDone
from pipeline.simulated.gemini_server import GeminiServer
from pipeline.simulated.script import Fault, Network, ScriptedTurn, describe
from pipeline.simulated.voice import hum, speak

PATH = "/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent"
HELLO = ScriptedTurn("hello there", "nice to meet you", 0.4)
AGAIN = ScriptedTurn("and again", "once more", 0.4)
SOUND = np.concatenate([voice(0.4), np.zeros(12_000, np.int16)])


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "a key")


def append(sound: np.ndarray[Any, Any], mime: str = "audio/pcm;rate=16000") -> str:
    data = base64.b64encode(sound.astype("<i2").tobytes()).decode()
    return json.dumps({"realtimeInput": {"audio": {"data": data, "mimeType": mime}}})


@contextlib.asynccontextmanager
async def raw(server: GeminiServer, **setup: Any) -> AsyncGenerator[ClientConnection]:
    """A connection without any client library, set up."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    async with connect(server.url + PATH, ssl=context) as socket:
        if setup:
            await socket.send(json.dumps({"setup": {"model": f"models/{MODEL}", **setup}}))
        yield socket


async def speak_to(socket: ClientConnection) -> None:
    """Speak, and be silent after it, in pieces as a microphone gives them."""
    for start in range(0, len(SOUND), 320):
        await socket.send(append(SOUND[start : start + 320]))


async def until(socket: ClientConnection, key: str) -> list[dict[str, Any]]:
    """All messages up to the first that has `key`, at its top or in its content."""
    found = []
    async with asyncio.timeout(10):
        while True:
            found.append(json.loads(await socket.recv()))
            if key in found[-1] or key in found[-1].get("serverContent", {}):
                return found


async def closing(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(10):
            while True:
                await socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def test_googles_client_alone() -> None:
    script_ = script(HELLO)
    async with serve(script_) as server:
        context = ssl.create_default_context(cafile=str(server.certificate))
        options: Any = {
            "base_url": server.url.replace("wss", "https"),
            "async_client_args": {"ssl": context},
        }
        client = genai.Client(api_key="k", vertexai=False, http_options=options)
        config: Any = {"response_modalities": ["AUDIO"], "output_audio_transcription": {}}
        async with client.aio.live.connect(model=MODEL, config=config) as session:
            stamp, _, told = (session.session_id or "").partition(".")
            assert stamp == "SIMULATED"
            padded = told + "=" * (-len(told) % 4)
            assert json.loads(base64.urlsafe_b64decode(padded)) == describe(script_)
            audio: Any = {"data": SOUND.tobytes(), "mime_type": "audio/pcm;rate=16000"}
            await session.send_realtime_input(audio=audio)
            sound, text = b"", ""
            async for message in session.receive():
                sound += message.data or b""
                content = message.server_content
                if content and content.output_transcription:
                    text += content.output_transcription.text or ""
        assert np.array_equal(np.frombuffer(sound, np.int16), hum(HELLO.reply))
        assert text == HELLO.reply


async def test_without_transcriptions_there_are_none() -> None:
    async with serve(script(HELLO)) as server, raw(server, generationConfig={}) as socket:
        await socket.send(append(SOUND))
        messages = await until(socket, "turnComplete")
    assert not any("Transcription" in json.dumps(message) for message in messages)
    assert not any("sessionResumptionUpdate" in message for message in messages)
    signs = [m["voiceActivity"]["type"] for m in messages if "voiceActivity" in m]
    assert signs == ["ACTIVITY_START", "ACTIVITY_END"]


async def test_signs_of_voice_activity_can_be_left_out() -> None:
    async with (
        serve(script(HELLO), signals=False) as server,
        raw(server, generationConfig={}) as socket,
    ):
        await socket.send(append(SOUND))
        assert not any("voiceActivity" in m for m in await until(socket, "turnComplete"))


async def test_a_slow_network_keeps_the_order() -> None:
    slow = Network(rtt_ms=40, jitter_ms=30, stall_every_s=0.2, stall_ms=50)
    async with serve(script(HELLO, AGAIN, network=slow)) as server, Client.of(server) as client:
        for turn in (1, 2):
            await client.say()
            await client.see(ReplyDone, turn)
            marks = client.trace.marks(turn)
            assert marks["speech.start"] < marks["committed"] < marks["model.first_audio"]
        assert [m.content for m in client.session.history][1::2] == [HELLO.reply, AGAIN.reply]


async def test_going_on_with_a_handle() -> None:
    async with serve(script(HELLO, AGAIN)) as server:
        async with raw(server, sessionResumption={}) as socket:
            first = (await until(socket, "sessionResumptionUpdate"))[-1]
            assert first["sessionResumptionUpdate"]["resumable"]
            await socket.send(append(SOUND))
            busy = (await until(socket, "sessionResumptionUpdate"))[-1]
            assert busy["sessionResumptionUpdate"] == {"resumable": False}
            update = (await until(socket, "sessionResumptionUpdate"))[-1]["sessionResumptionUpdate"]
        handle = {"handle": update["newHandle"]}
        async with raw(server, sessionResumption=handle, outputAudioTranscription={}) as socket:
            await socket.send(append(SOUND))
            said = json.dumps(await until(socket, "turnComplete"))
            assert '"once"' in said
        async with raw(server, outputAudioTranscription={}) as socket:
            await socket.send(append(SOUND))
            assert '"nice"' in json.dumps(await until(socket, "turnComplete"))


async def test_a_handle_that_nobody_knows() -> None:
    async with (
        serve(script(HELLO)) as server,
        raw(server, sessionResumption={"handle": "x"}) as socket,
    ):
        assert await closing(socket) == (1008, "BidiGenerateContent session not found")


async def test_a_conversation_that_the_script_has_not() -> None:
    async with serve(script(HELLO)) as server, raw(server, model="models/m#nothing") as socket:
        code, reason = await closing(socket)
        assert code == 1008 and "models/m#nothing is not found" in reason


@pytest.mark.parametrize(
    "message",
    [
        "no JSON",
        "[]",
        '{"clientContent": {}}',
        '{"realtimeInput": 1}',
        '{"realtimeInput": {"audio": {"data": "AA", "mimeType": "audio/opus"}}}',
        '{"realtimeInput": {"audio": {"data": "?", "mimeType": "audio/pcm;rate=16000"}}}',
        '{"realtimeInput": {"audio": {"data": "AA", "mimeType": "audio/pcm;rate=24000"}}}',
        '{"toolResponse": {"functionResponses": [{"id": "none", "name": "f"}]}}',
    ],
)
async def test_messages_that_make_no_sense(message: str) -> None:
    async with serve(script(HELLO)) as server, raw(server, generationConfig={}) as socket:
        await until(socket, "setupComplete")
        await socket.send(message)
        assert (await closing(socket))[0] == 1007


@pytest.mark.parametrize("message", ['{"realtimeInput": {}}', '{"setup": {}}', '{"setup": []}'])
async def test_a_beginning_that_is_no_setup(message: str) -> None:
    async with serve(script(HELLO)) as server, raw(server) as socket:
        await socket.send(message)
        assert (await closing(socket))[0] == 1007


async def test_it_is_nowhere_else() -> None:
    async with serve(script(HELLO)) as server:
        context = ssl.create_default_context(cafile=str(server.certificate))
        with pytest.raises(InvalidStatus) as refused:
            async with connect(server.url + "/v1/realtime", ssl=context):
                pass
        assert refused.value.response.status_code == 404


async def test_refusals_are_as_googles() -> None:
    async with serve(script(HELLO, refuse=429, retry_after_s=3)) as server:
        context = ssl.create_default_context(cafile=str(server.certificate))
        with pytest.raises(InvalidStatus) as refused:
            async with connect(server.url + PATH, ssl=context):
                pass
        response = refused.value.response
        assert response.headers["Retry-After"] == "3"
        assert json.loads(response.body or b"")["error"]["status"] == "RESOURCE_EXHAUSTED"


async def test_a_server_that_goes_away_says_so_and_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.simulated.gemini_replies.GO_AWAY_S", 0.2)
    turn = ScriptedTurn("hello", "nice", 0.4, fault=Fault("go away"))
    async with serve(script(turn)) as server, raw(server, generationConfig={}) as socket:
        await socket.send(append(SOUND))
        assert (await until(socket, "goAway"))[-1] == {"goAway": {"timeLeft": "0.2s"}}
        await until(socket, "turnComplete")
        assert (await closing(socket))[0] == 1001


async def test_words_over_a_reply_interrupt_it() -> None:
    long = ScriptedTurn("tell me", "once upon a time " * 12, 0.4)
    async with serve(script(long, AGAIN)) as server, raw(server, generationConfig={}) as socket:
        await speak_to(socket)
        await until(socket, "modelTurn")
        await speak_to(socket)
        messages = await until(socket, "interrupted")
        (complete,) = await until(socket, "turnComplete")
        assert not any("generationComplete" in m.get("serverContent", {}) for m in messages)
        assert complete["usageMetadata"]["responseTokenCount"] > 0
        answer = await until(socket, "turnComplete")
        assert any("modelTurn" in m.get("serverContent", {}) for m in answer)


async def test_each_client_has_a_conversation_of_its_own() -> None:
    async with serve(script(HELLO, AGAIN)) as server:
        async with Client.of(server) as one, Client.of(server) as other:
            for client in (one, other):
                await client.say()
                await client.see(ReplyDone)
        for client in (one, other):
            said = [m.content for m in client.session.history]
            assert said == [HELLO.transcript, HELLO.reply]


async def test_the_same_seed_draws_the_same() -> None:
    sums = []
    for _ in range(2):
        async with serve(script(HELLO, seed=3)) as server, Client.of(server) as client:
            await client.say()
            await client.see(ReplyDone)
            sums.append(sum(int(e.frame.samples.sum()) for e in client.all(ReplyAudio)))
    assert sums[0] == sums[1]


async def test_a_client_that_vanishes_is_let_go() -> None:
    long = ScriptedTurn("tell me", "once upon a time " * 12, 0.4)
    async with serve(script(long)) as server:
        before = asyncio.all_tasks()
        async with raw(server, generationConfig={}) as socket:
            await socket.send(append(SOUND))
            await until(socket, "modelTurn")
            socket.transport.abort()
        async with asyncio.timeout(10):
            while asyncio.all_tasks() - before:
                await asyncio.sleep(0.01)


async def test_its_certificate_is_gone_after_it() -> None:
    async with serve(script(HELLO)) as server:
        certificate = server.certificate
        assert certificate.read_text().startswith("-----BEGIN CERTIFICATE-----")
        assert "PRIVATE" not in certificate.read_text()
    assert not certificate.exists() and not certificate.parent.exists()


async def test_a_port_that_is_taken() -> None:
    one = script(HELLO)
    async with serve(one) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(BadInput, match=f":{port}: cannot listen"):
            async with GeminiServer(one, speak(one), port=port):
                pass


async def test_trustme_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(BadInput, match=r"pip install 'voice-cascade\[gemini\]'"):
        async with serve(script(HELLO)):
            pass
