from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from support.gemini_client import MODEL, PATIENCE_S, RATE, Client, script, serve, voice
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen

from pipeline.clock import Clock
from pipeline.engines.tools import Tool
from pipeline.errors import BadInput, CascadeError, StageError
from pipeline.events import (
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
    Usage,
)
from pipeline.serve.script import (
    Fault,
    FaultTime,
    Latency,
    ScriptedCall,
    ScriptedNetwork,
    ScriptedTurn,
)
from pipeline.speech_to_speech import gemini
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.speech_to_speech.gemini import GeminiSession
from pipeline.trace import Trace

KEY = "AIzaSyNobodyMayEverReadThis-0123456789"
ENDS_S = 0.4
HELLO = ScriptedTurn("hello there", "nice to meet you", ENDS_S)
AGAIN = ScriptedTurn("and again", "once more", ENDS_S)
WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {}})
TOOLS = Brief("Be kind.", (WEATHER,))
ASKS = ScriptedTurn(
    "is it sunny",
    "it is",
    ENDS_S,
    calls=(ScriptedCall("weather", {"where": "here"}, "let me see"),),
)
LONG = ScriptedTurn("tell me a story", "once upon a time " * 12, ENDS_S)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    for name in ("GOOGLE_API_KEY", "CASCADE_GEMINI_URL", "CASCADE_GEMINI_CERTIFICATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text


@pytest.fixture(autouse=True)
async def _no_task_is_left() -> AsyncGenerator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


def faulty(fault: Fault, turn: ScriptedTurn = HELLO) -> ScriptedTurn:
    return ScriptedTurn(turn.transcript, turn.reply, turn.ends_s, turn.calls, fault)


async def enter(spec: SystemSpec, **more: Any) -> None:
    """A session that cannot begin."""
    async with GeminiSession(spec, Brief(), Trace(), Clock(), **more):
        pytest.fail("it began")


def dones(client: Client) -> list[tuple[int, str]]:
    return [(event.turn, event.status) for event in client.all(ReplyDone)]


async def test_a_conversation() -> None:
    async with serve(script(HELLO, AGAIN)) as server, Client.of(server) as client:
        facts = client.session.facts
        assert (facts.model, facts.simulated) == (MODEL, None)
        assert facts.connect_ms > 0 and facts.host in server.url
        for turn in (1, 2):
            await client.say()
            await client.see(ReplyDone, turn)
        assert dones(client) == [(1, "completed"), (2, "completed")]
        finals = [event for event in client.all(Transcript) if event.final]
        assert [event.text for event in finals] == ["hello there", "and again"]
        frames = [event.frame for event in client.all(ReplyAudio) if event.turn == 1]
        assert {frame.rate for frame in frames} == {24_000}
        assert [f.offset for f in frames] == [
            *np.cumsum([0, *(len(f.samples) for f in frames[:-1])])
        ]
        usage = client.all(Usage)[0]
        assert 0 < usage.output_audio_tokens == usage.output_tokens
        assert 0 < usage.input_audio_tokens < usage.input_tokens
        assert client.session.reconnects == 0
        marks = client.trace.marks(1)
        order = ["speech.start", "committed", "model.start", "model.first_audio", "tts.last_audio"]
        assert sorted(order, key=lambda name: marks[name]) == order
    assert [(m.role, m.content) for m in client.session.history] == [
        *(("user", "hello there"), ("assistant", "nice to meet you")),
        *(("user", "and again"), ("assistant", "once more")),
    ]
    assert client.over


async def test_a_slow_network_keeps_the_order() -> None:
    slow = ScriptedNetwork(rtt_ms=40, jitter_ms=30, stall_every_s=0.2, stall_ms=50)
    async with serve(script(HELLO, AGAIN, network=slow)) as server, Client.of(server) as client:
        for turn in (1, 2):
            await client.say()
            await client.see(ReplyDone, turn)
            marks = client.trace.marks(turn)
            assert marks["speech.start"] < marks["committed"] < marks["model.first_audio"]
        assert [m.content for m in client.session.history][1::2] == [HELLO.reply, AGAIN.reply]


async def test_without_signs_of_voice_activity() -> None:
    async with serve(script(HELLO, AGAIN), signals=False) as server, Client.of(server) as client:
        for turn in (1, 2):
            await client.say()
            await client.see(ReplyDone, turn)
        marks = client.trace.marks(2)
        assert marks["committed"] == marks["model.start"] == marks["model.first_audio"]
    assert len(client.session.history) == 4


async def test_other_rates_are_converted() -> None:
    async with serve(script(HELLO)) as server, Client.of(server) as client:
        await client.session.send(Frame(voice(0.4, 48_000), 48_000))
        await client.session.send(Frame(np.zeros(8000, np.int16), RATE))
        await client.see(ReplyDone)


@pytest.mark.parametrize(
    ("refuse", "said"),
    [(401, "refuses the key.*GEMINI_API_KEY"), (404, "no model"), (429, "quota.* in 7 s")],
)
async def test_a_server_that_lets_nobody_in(refuse: int, said: str) -> None:
    async with serve(script(HELLO, refuse=refuse, retry_after_s=7)) as server:
        with pytest.raises(StageError, match=said) as raised:
            async with Client.of(server):
                pass
    assert raised.value.fatal and KEY not in str(raised.value)


async def test_a_model_that_is_gone() -> None:
    async with serve(script(HELLO)) as server:
        with pytest.raises(StageError, match=r"has no model 'gemini-3\.8-live#nothing'"):
            async with Client.of(server, model=f"{MODEL}#nothing"):
                pass


async def test_nobody_is_there(unused_tcp_port: int) -> None:
    target = SystemSpec("gemini", "gemini", url=f"wss://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(StageError, match=r"127\.0\.0\.1.* cannot be reached"):
        await enter(target)


async def test_a_certificate_that_nobody_trusts() -> None:
    async with serve(script(HELLO)) as server:
        with pytest.raises(StageError, match=r"no secure connection .*certificate"):
            await enter(SystemSpec("gemini", "gemini", url=server.url))


async def test_server_and_certificate_from_the_environment(monkeypatch: Any) -> None:
    async with serve(script(HELLO)) as server:
        monkeypatch.setenv("CASCADE_GEMINI_URL", server.url)
        monkeypatch.setenv("CASCADE_GEMINI_CERTIFICATE", str(server.certificate))
        async with GeminiSession(SystemSpec("g", "gemini"), Brief(), Trace(), Clock()) as session:
            assert session.facts.host in server.url


Handler = Callable[[ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def stub(handler: Handler, folder: Path) -> AsyncGenerator[SystemSpec]:
    """A server of our own making, with TLS."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    certificate = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(certificate))
    async with listen(handler, "127.0.0.1", 0, ssl=context) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        options = {"certificate": str(certificate)}
        yield SystemSpec("g", "gemini", url=f"wss://127.0.0.1:{port}", options=options)


@pytest.mark.parametrize("answer", ["no JSON", '{"hello": 1}', "[]"])
async def test_a_server_of_another_kind(answer: str, tmp_path: Path) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.send(answer)
        await socket.wait_closed()

    async with stub(handler, tmp_path) as target:
        with pytest.raises(StageError, match="does not speak Gemini Live"):
            await enter(target)


async def test_no_answer_to_the_setup(tmp_path: Path) -> None:
    async with stub(lambda socket: socket.wait_closed(), tmp_path) as target:
        with pytest.raises(StageError, match=r"did not answer within 0\.2 s"):
            await enter(target, ready_s=0.2)


async def test_entering_can_be_cancelled(tmp_path: Path) -> None:
    async with stub(lambda socket: socket.wait_closed(), tmp_path) as target:
        session = GeminiSession(target, Brief(), Trace(), Clock())
        entering = asyncio.create_task(session.__aenter__())
        await asyncio.sleep(0.1)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import google

    monkeypatch.delattr(google, "genai", raising=False)
    monkeypatch.setitem(sys.modules, "google.genai", None)
    with pytest.raises(BadInput, match=r"pip install 'voice-cascade\[gemini\]'"):
        GeminiSession(SystemSpec("gemini", "gemini"), Brief(), Trace(), Clock())


def test_everything_can_be_imported_without_the_extra() -> None:
    code = """
import sys
sys.modules["google.genai"] = None
import pipeline.speech_to_speech.gemini
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_certificate_that_is_not_there() -> None:
    spec = SystemSpec("g", "gemini", options={"certificate": "/nowhere.pem"})
    with pytest.raises(BadInput, match=r"/nowhere\.pem: cannot be read"):
        GeminiSession(spec, Brief(), Trace(), Clock())


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "http://host", "wss://", "wss://host:x"])
def test_wrong_addresses(url: str) -> None:
    with pytest.raises(BadInput, match="not a usable URL"):
        GeminiSession(SystemSpec("g", "gemini", url=url), Brief(), Trace(), Clock())


def test_what_is_asked_for() -> None:
    options = {"voice": "Kore", "silence_ms": "300", "start": "low", "end": "high"}
    options |= {"behavior": "blocking"}
    config = gemini.configuration("m", options, TOOLS, "handle-7")
    asked = config.model_dump(mode="json", exclude_none=True)
    assert asked["response_modalities"] == ["AUDIO"]
    assert asked["system_instruction"] == "Be kind."
    assert asked["input_audio_transcription"] == asked["output_audio_transcription"] == {}
    detection = asked["realtime_input_config"]["automatic_activity_detection"]
    assert detection == {
        "start_of_speech_sensitivity": "START_SENSITIVITY_LOW",
        "end_of_speech_sensitivity": "END_SENSITIVITY_HIGH",
        "silence_duration_ms": 300,
    }
    assert asked["context_window_compression"] == {"sliding_window": {}}
    assert asked["session_resumption"] == {"handle": "handle-7"}
    voice = asked["speech_config"]["voice_config"]["prebuilt_voice_config"]
    assert voice == {"voice_name": "Kore"}
    (function,) = asked["tools"][0]["function_declarations"]
    assert function["behavior"] == "BLOCKING" and function["name"] == "weather"


@pytest.mark.parametrize("kind", ["close", "drop"])
async def test_a_connection_that_ends_in_a_reply(kind: Any) -> None:
    async with serve(script(faulty(Fault(kind)), AGAIN)) as server, Client.of(server) as client:
        await client.say()
        await client.see(ReplyDone)
        assert dones(client) == [(1, "failed")]
        (failure,) = client.all(Failure)
        assert not failure.fatal and failure.turn == 1
        assert "failed" in client.trace.marks(1)
        await client.say()
        await client.see(ReplyDone, 2)
        assert dones(client)[1] == (2, "completed")
        assert client.session.reconnects == 1


@pytest.mark.parametrize("at", ["speech", "before reply"])
@pytest.mark.parametrize("signals", [True, False])
async def test_a_connection_that_ends_before_it_loses_nothing(at: FaultTime, signals: bool) -> None:
    turns = script(faulty(Fault("drop", at)), AGAIN, latency=Latency(median_ms=100))
    async with serve(turns, signals=signals) as server, Client.of(server) as client:
        for turn in (1, 2):
            await client.say()
            await client.see(ReplyDone, turn)
        assert dones(client) == [(1, "completed"), (2, "completed")]
        assert client.all(Failure) == []
        assert client.session.reconnects == 1
    said = [m.content for m in client.session.history]
    assert said == ["hello there", "nice to meet you", "and again", "once more"]


@pytest.mark.parametrize("at", ["after reply", "speech"])
async def test_a_server_that_goes_away_is_left_when_nothing_is_under_way(at: FaultTime) -> None:
    async with (
        serve(script(HELLO, AGAIN), leaves=at) as server,
        Client.of(server) as client,
    ):
        await client.say()
        await client.see(ReplyDone)
        async with asyncio.timeout(PATIENCE_S):
            while not client.session.reconnects:
                await client.send(np.zeros(320, np.int16))
                await asyncio.sleep(0.02)
        await client.say()
        await client.see(ReplyDone, 2)
        assert dones(client) == [(1, "completed"), (2, "completed")]
        assert client.all(Failure) == []


async def test_without_a_handle_a_connection_is_lost_for_good(tmp_path: Path) -> None:
    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(json.dumps({"setupComplete": {}}))
        await socket.recv()
        await socket.close(1011, "Internal error")

    async with stub(handler, tmp_path) as target:
        client = Client(GeminiSession(target, Brief(), trace := Trace(), Clock()), trace)
        async with client:
            await client.say()
            await client.end()
            (failure,) = client.all(Failure)
            assert failure.fatal and "Internal error" in failure.message
            await client.say()  # nobody minds


@pytest.mark.parametrize("kind", ["malformed", "unknown"])
async def test_messages_that_nobody_understands(kind: Any, caplog: Any) -> None:
    async with serve(script(faulty(Fault(kind)))) as server, Client.of(server) as client:
        await client.say()
        await client.see(ReplyDone)
        assert dones(client) == [(1, "completed")]
        assert sum(client.session._core.odd.values()) == 1
    levels = [r.levelname for r in caplog.records if "is not understood" in r.message]
    assert levels == ["WARNING"]


async def test_an_error_that_ends_nothing() -> None:
    fault = Fault("error", code=503, message=f"overloaded {KEY}")
    async with serve(script(faulty(fault))) as server, Client.of(server) as client:
        await client.say()
        await client.see(ReplyDone)
        (failure,) = client.all(Failure)
        assert not failure.fatal and failure.message == "overloaded [key] (503)"
        assert dones(client) == [(1, "completed")]


@pytest.mark.parametrize("at", ["before reply", "mid reply"])
async def test_a_quota_that_is_spent(at: FaultTime) -> None:
    async with serve(script(faulty(Fault("quota", at)))) as server, Client.of(server) as client:
        await client.say()
        await client.end()
        (failure,) = client.all(Failure)
        assert failure.fatal and "quota" in failure.message
        assert dones(client) == [(1, "failed")]
        assert client.session.reconnects == 0


async def test_a_barge_in() -> None:
    async with serve(script(LONG, AGAIN)) as server, Client.of(server, hears=False) as client:
        session = client.session
        await client.say()
        await client.see(ReplyText, 3)
        await session.heard("reply-1", 1)
        await client.say()
        (cut,) = await client.see(ReplyInterrupted)
        assert (cut.turn, cut.id, cut.heard_text) == (1, "reply-1", "")
        made = sum(len(e.frame.samples) for e in client.all(ReplyAudio))
        await session.heard("reply-1", made // 2)
        await client.see(ReplyDone, 2)
        assert dones(client) == [(1, "interrupted"), (2, "completed")]
        after = client.events[client.events.index(cut) :]
        assert not [e for e in after if isinstance(e, ReplyAudio) and e.id == "reply-1"]
    kept = session.history[1]
    assert (kept.role, kept.turn) == ("assistant", 1)
    assert kept.content and LONG.reply.startswith(kept.content)
    assert len(kept.content) < len("".join(e.delta for e in client.all(ReplyText) if e.turn == 1))


@pytest.mark.parametrize("options", [{"behavior": "blocking"}, {}, {"scheduling": "interrupt"}])
async def test_a_tool(options: dict[str, str]) -> None:
    async with serve(script(ASKS)) as server, Client.of(server, brief=TOOLS, **options) as client:
        await client.say()
        (call,) = await client.see(ToolCall)
        assert (call.turn, call.name, json.loads(call.arguments)) == (
            *(1, "weather"),
            {"where": "here"},
        )
        with pytest.raises(CascadeError, match="no tool call"):
            await client.session.tool_result("another", "1")
        await client.session.tool_result(call.id, "x" * 1_000_000)
        await client.see(ReplyDone)
        assert [(e.id, e.status) for e in client.all(ReplyDone)] == [("reply-1", "completed")]
    assert client.session.history[-1].content == "let me see it is"


async def test_a_result_that_comes_after_the_user_has_gone_on() -> None:
    turns = script(ASKS, LONG)
    async with (
        serve(turns) as server,
        Client.of(server, brief=TOOLS, scheduling="interrupt") as client,
    ):
        await client.say()
        (call,) = await client.see(ToolCall)
        await client.see(Usage)
        await client.say()
        await client.until(lambda: any(e.turn == 2 for e in client.all(ReplyText)))
        await client.session.tool_result(call.id, "sunny")
        await client.see(ReplyDone, 3)
        assert dones(client) == [(1, "completed"), (2, "interrupted"), (1, "completed")]
        assert len(client.all(SpeechStarted)) == 2


async def test_turns_by_hand() -> None:
    turns = script(HELLO, AGAIN)
    async with serve(turns) as server, Client.of(server, turns="manual") as client:
        await client.session.commit()  # nothing was said
        for turn in (1, 2):
            await client.say(silence_s=0.3)
            assert len(client.all(SpeechStarted)) == turn
            assert len(client.all(SpeechStopped)) == turn - 1
            await client.session.commit()
            await client.see(ReplyDone, turn)
        assert dones(client) == [(1, "completed"), (2, "completed")]


async def test_turns_that_the_server_ends() -> None:
    async with serve(script(HELLO)) as server, Client.of(server) as client:
        with pytest.raises(CascadeError, match="turns=manual"):
            await client.session.commit()


CLOSES_S = 5.0
"""Much longer than it should take, and much less than a client waits for a server by default."""

STATES: dict[str, tuple[ScriptedTurn, type]] = {
    "speech": (HELLO, SpeechStarted),
    "reply": (LONG, ReplyAudio),
    "tool": (ASKS, ToolCall),
    "mute": (faulty(Fault("silence")), ReplyAudio),
    "done": (HELLO, ReplyDone),
}


@pytest.mark.parametrize("state", STATES)
async def test_it_closes_in_every_state(state: str) -> None:
    turn, sign = STATES[state]
    async with serve(script(turn)) as server:
        client = Client.of(server, brief=TOOLS)
        await client.__aenter__()
        await client.say()
        await client.see(sign)
        async with asyncio.timeout(CLOSES_S):
            await client.__aexit__(None, None, None)
        assert client.over


def test_keys_are_not_shown() -> None:
    session = GeminiSession(SystemSpec("g", "gemini"), Brief(), Trace(), Clock())
    assert KEY not in repr(vars(session))
