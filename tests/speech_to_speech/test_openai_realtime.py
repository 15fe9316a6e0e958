"""What is particular to Realtime sessions: servers that leave out much, and the simulated one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from openai.types.realtime import ConversationItemParam
from pydantic import TypeAdapter
from servers.api_server import ApiServer, Call, idle
from support.api_talk import only, silence, talking, tone
from support.dialects import Realtime, pcm

from pipeline.audio.encoding import Encoding
from pipeline.engines.tools import Tool
from pipeline.errors import StageError
from pipeline.events import (
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
    Usage,
)
from pipeline.serve.script import (
    Fault,
    FaultKind,
    FaultTime,
    Latency,
    Script,
    ScriptedCall,
    ScriptedTurn,
)
from pipeline.serve.simulated import SimulatedServer
from pipeline.serve.speech import speak
from pipeline.speech_to_speech.brief import Brief, SystemSpec

HURRIED = {"connect_s": 1.0, "ready_s": 1.0, "grace_s": 0.1}


async def refused(where: ApiServer | SystemSpec) -> str:
    """Why a session cannot begin; nothing of it is left."""
    before = asyncio.all_tasks()
    with pytest.raises(StageError) as raised:
        async with talking(where, **HURRIED):
            pytest.fail("it began")
    await only(before)
    return str(raised.value)


async def greet(call: Call) -> dict[str, Any]:
    """Say that there is a session; gives what the client wants of it."""
    await call.event("session.created", session={"model": "theirs"})
    return await call.received("session.update")


async def test_a_server_that_never_confirms_and_names_nothing() -> None:
    async def script(call: Call) -> None:
        await greet(call)
        await call.heard(0.1)
        await call.event("response.output_audio.delta", delta=pcm(0.1))
        await call.event("response.output_audio_transcript.done", transcript="Hello.")
        await call.event("response.done", response={"status": "completed"})

    async with (
        ApiServer(Realtime, script, greets=False) as server,
        talking(server, **HURRIED) as talk,
    ):
        await talk.see(ReplyDone)
        assert talk.session.facts.model == "theirs"
    assert [t.delta for t in talk.of(ReplyText)] == ["Hello."]
    assert talk.done() == [(1, "completed")]


async def test_a_server_that_refuses_what_it_does_not_know_is_asked_for_less() -> None:
    async def script(call: Call) -> None:
        first = await greet(call)
        error = {"message": "what is transcription?", "event_id": first["event_id"]}
        await call.event("error", error=error)
        second = await call.received("session.update", 2)
        await call.event("session.updated", session=second["session"])

    async with ApiServer(Realtime, script, greets=False) as server, talking(server):
        pass
    [_, wanted] = server.calls[0].of("session.update")
    assert wanted["session"] == {"type": "realtime", "instructions": "Be kind.", "tools": []}


async def test_a_server_that_refuses_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(call: Call) -> None:
        await greet(call)
        await call.event("error", error={"message": "no such voice", "code": "invalid_value"})
        await call.received("session.update", 2)
        await call.event("error", error={"message": "no means no"})

    async with ApiServer(Realtime, script, greets=False) as server:
        assert "refuses the session: no means no" in await refused(server)
        # OpenAI itself is taken at its word.
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://{server.host}/v1")
        assert "no such voice" in await refused(SystemSpec("it", "openai"))


async def test_a_server_that_closes_with_a_reason_instead_of_a_session() -> None:
    async def script(call: Call) -> None:
        said = "Incorrect API key provided: sk-abcdef0123"
        await call.event("error", error={"message": said, "code": "invalid_api_key"})
        await call.close(3000, "invalid_request_error.invalid_api_key")

    async with ApiServer(Realtime, script, greets=False) as server:
        said = await refused(server)
    assert "Incorrect API key" in said and "set CASCADE_REALTIME_KEY" in said
    assert "abcdef" not in said


@pytest.mark.parametrize(("kind", "name"), [("pcmu", "audio/pcmu"), ("pcma", "audio/pcma")])
async def test_g711_both_ways(kind: Any, name: str) -> None:
    encoding = Encoding(kind, 8000)
    wave = (8000 * np.cos(np.arange(800) * 0.3)).astype(np.int16)
    heard = b""

    async def script(call: Call) -> None:
        nonlocal heard
        await greet(call)
        audio = {side: {"format": {"type": name}} for side in ("input", "output")}
        await call.event("session.updated", session={"audio": audio})
        await call.until(lambda: call.audio.nbytes >= 4000)
        heard = call.audio.tobytes()
        sound = base64.b64encode(encoding.encode(wave)).decode()
        await call.event("response.output_audio.delta", delta=sound)
        await call.event("response.done", response={})

    async with ApiServer(Realtime, script, greets=False) as server, talking(server) as talk:
        await talk.say(tone(0.5))
        await talk.see(ReplyDone)
    [frame] = [event.frame for event in talk.of(ReplyAudio)]
    assert (frame.rate, len(frame.samples)) == (8000, 800)
    assert np.corrcoef(frame.samples, wave)[0, 1] > 0.99
    loudness = np.abs(encoding.decode(heard).astype(float))
    assert 4000 < np.mean(loudness[1000:3000]) < 6000


async def test_what_another_server_is_told_of_us(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, f"private-{name}")
    monkeypatch.delenv("CASCADE_REALTIME_KEY", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with ApiServer(Realtime) as server:
        url = server.spec().url
        async with talking(SystemSpec("it", "realtime", url=url)):
            pass
        named = url.replace("ws://", "ws://me:pw@")
        async with talking(SystemSpec("it", "realtime", "m#n", named)) as talk:
            assert "pw" not in repr(talk.session.facts)
    first, second = server.requests
    assert "private" not in f"{first.headers} {second.headers}"
    assert first.headers.get_all("Authorization") == ["Bearer none"]
    assert first.path == "/v1/realtime"
    basic = base64.b64encode(b"me:pw").decode()
    assert second.headers.get_all("Authorization") == [f"Basic {basic}"]
    assert second.path == "/v1/realtime?model=m%23n"


@contextlib.asynccontextmanager
async def tcp(answer: bytes | None) -> AsyncIterator[str]:
    """A server that answers anything with this, or with nothing."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if answer is not None:
            writer.write(answer)
        else:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("scheme", "answer", "said"),
    [
        ("ws", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answers 200"),
        ("ws", b"220 smtp ready\r\n", "does not speak WebSocket"),
        ("ws", b"", "does not speak WebSocket"),
        ("ws", None, "did not answer within 1 s"),
        ("wss", b"HTTP/1.1 200 OK\r\n\r\n", "no secure connection"),
    ],
)
async def test_servers_that_are_none(scheme: str, answer: bytes | None, said: str) -> None:
    async with tcp(answer) as host:
        told = await refused(SystemSpec("it", "realtime", "", f"{scheme}://{host}/v1"))
    assert host in told and said in told


async def test_a_host_that_is_not_there() -> None:
    told = await refused(SystemSpec("it", "realtime", "", "ws://no.such.invalid/v1"))
    assert "no.such.invalid" in told and "cannot be reached" in told


@pytest.mark.parametrize("calls", [0, 20])
async def test_leaving_a_server_that_neither_reads_nor_closes(calls: int) -> None:
    left = asyncio.Event()

    async def script(call: Call) -> None:
        if calls:
            await call.tell(call.say.calls(*(f"c{number}" for number in range(calls))))
        call.socket.transport.pause_reading()
        await left.wait()
        call.drop()

    async with ApiServer(Realtime, script) as server, talking(server) as talk:
        line = talk.session._connection._connection.transport.get_extra_info("socket")
        if calls:
            await talk.see(ToolCall, calls)
        for number in range(calls):
            # More than any buffer on the way takes.
            await talk.session.tool_result(f"c{number}", "x" * 1_000_000)
        asyncio.get_running_loop().call_later(2.0, left.set)
    # The socket is let go of, though nobody closed its other end then.
    assert line.fileno() == -1


HI = ScriptedTurn("How are you?", "Fine.", 0.4)
LONG = ScriptedTurn("Count to ten.", "One two three four five six seven eight. " * 4, 0.4)
CALL = ScriptedTurn("Weather?", "Sunny.", 0.4, calls=(ScriptedCall("weather", {"city": "Bonn"}),))


@contextlib.asynccontextmanager
async def simulated(*turns: ScriptedTurn, **fields: Any) -> AsyncIterator[SystemSpec]:
    script = Script(
        *("fake", {"first": turns}, "a test"),
        latency=Latency("constant", 60),
        silence_ms=120,
        voice="tone",
        **fields,
    )
    async with SimulatedServer(script, speak(script)) as server:
        yield SystemSpec("it", "realtime", "gpt-realtime-2.1", server.url)


async def test_a_turn_with_the_simulated_server() -> None:
    async with simulated(HI) as spec, talking(spec) as talk:
        facts = talk.session.facts
        await talk.say(tone(), silence(0.8))
        await talk.see(ReplyDone)
        await talk.see(Usage, 2)
        marks = talk.trace.marks(1)
    assert (facts.model, facts.simulated["name"]) == ("simulated:fake", "fake")
    assert "a test" in facts.simulated["source"]
    kinds = [type(event) for event in talk.events if not isinstance(event, Transcript | Usage)]
    order = [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] is not kind]
    assert [*order[:3], order[-1]] == [SpeechStarted, SpeechStopped, ReplyStarted, ReplyDone]
    assert [t.text for t in talk.of(Transcript) if t.final] == ["How are you?"]
    assert "".join(t.delta for t in talk.of(ReplyText)) == "Fine."
    assert {usage.kind for usage in talk.of(Usage)} == {"reply", "transcription"}
    order = ["speech.start", "committed", "model.start", "model.first_audio", "tts.last_audio"]
    assert sorted(order, key=lambda name: marks[name]) == order


async def test_barge_in_truncates_and_history_holds_what_the_server_kept() -> None:
    async with simulated(LONG, HI) as spec, talking(spec, hears=False) as talk:
        await talk.say(tone(), silence(0.8))
        await talk.see(ReplyText, 8)
        await talk.session.heard("reply-1", 24_000)
        await talk.say(tone(), silence(0.8))
        cut = await talk.see(ReplyInterrupted)
        await talk.session.heard("reply-1", 30_000)
        await talk.see(ReplyDone, 2)
        await asyncio.sleep(0.2)
    assert talk.done() == [(1, "interrupted"), (2, "completed")]
    assert cut.heard_text and LONG.reply.startswith(cut.heard_text)
    kept = talk.session.history[1].content
    assert len(cut.heard_text) <= len(kept) < len(LONG.reply) / 2
    assert LONG.reply.startswith(kept.rstrip())
    assert not talk.of(Failure)


FAULTS: list[tuple[FaultKind, FaultTime, str]] = [
    ("malformed", "mid reply", "completed"),
    ("unknown", "mid reply", "completed"),
    ("error", "before reply", "completed"),
    ("error", "mid reply", "completed"),
    ("quota", "mid reply", "failed"),
    ("half", "mid reply", "completed"),
    ("rate", "mid reply", "completed"),
    ("close", "before reply", "failed"),
    ("close", "mid reply", "failed"),
    ("close", "after reply", "completed"),
    ("drop", "before reply", "failed"),
    ("drop", "mid reply", "failed"),
]


@pytest.mark.parametrize(("kind", "at", "status"), FAULTS)
async def test_faults(kind: FaultKind, at: FaultTime, status: str) -> None:
    """Each is that turn's, and the next turn is answered as if nothing had been."""
    fault = Fault(kind, at, code=1012, rate=16_000)
    bad = ScriptedTurn("Hello there?", "It is going well, thank you.", 0.4, fault=fault)
    async with simulated(bad, HI) as spec, talking(spec) as talk:
        await talk.say(tone(), silence(0.8))
        await talk.see(ReplyDone)
        lost = kind in ("close", "drop")
        await talk.until(lambda: talk.session.reconnects == int(lost))
        await talk.until(lambda: talk.trace.marks(1))
        await talk.say(silence(0.5), tone(), silence(0.8))
        await talk.see(ReplyDone, 2)
        assert talk.session.reconnects == int(lost)
    assert talk.done()[0] == (1, status)
    assert talk.done()[-1][1] == "completed"
    told = talk.of(Failure)
    assert bool(told) == (status == "failed" or kind == "error")
    assert not any(failure.fatal for failure in told)


async def test_a_server_that_falls_silent() -> None:
    bad = ScriptedTurn("Hello?", "Fine.", 0.4, fault=Fault("silence", "before reply"))
    async with simulated(bad) as spec, talking(spec, patience_s=0.3) as talk:
        await talk.say(tone(), silence(0.8))
        await talk.see(ReplyDone)
    assert talk.of(Failure)[0].message == "the server sent nothing for 0.3 s"
    assert talk.done() == [(1, "failed")]


async def test_a_server_that_begins_another_session_is_told_everything_again() -> None:
    """As one does that stands between, and has connected again."""

    async def script(call: Call) -> None:
        await call.heard(0.1)
        await call.tell(call.say.began(), call.say.understood("Hello?"), call.say.ended())
        await call.tell(call.say.says("Hi."), call.say.completed())
        for name in ("s1", "s1", "s2"):
            await call.event("session.created", session={"id": name})
            await call.event("session.updated", session={"id": name})
        second = await call.received("session.update", 2)
        await call.event("session.updated", session=second["session"])
        await call.received("conversation.item.create", 2)
        await call.tell(call.say.began(), call.say.ended(), call.say.says("Still here."))
        await call.tell(call.say.completed())

    async with ApiServer(Realtime, script) as server, talking(server) as talk:
        await talk.say(tone(0.4), silence(0.8))
        await talk.see(ReplyDone, 2)
        assert talk.session.reconnects == 0
    [call] = server.calls
    first, second = call.of("session.update")
    assert first == second
    items = [m["item"]["content"][0]["text"] for m in call.of("conversation.item.create")]
    assert items == ["Hello?", "Hi."]
    assert talk.done() == [(1, "completed"), (2, "completed")]
    assert not talk.of(Failure)


async def test_a_new_connection_is_told_what_tools_were_called_and_what_came_of_it() -> None:
    async def script(call: Call) -> None:
        await call.heard(0.1)
        await call.tell(call.say.began(), call.say.understood("Weather?"), call.say.ended())
        await call.tell(call.say.calls("c1"))
        await call.result()
        await call.tell(call.say.says("Sunny."), call.say.completed())
        await call.close(1000)

    brief = Brief("Be kind.", (Tool("weather"),))
    async with ApiServer(Realtime, script, idle) as server, talking(server, brief) as talk:
        await talk.say(tone(0.4))
        call = await talk.see(ToolCall)
        await talk.session.tool_result(call.id, "sun")
        await talk.until(lambda: talk.session.reconnects)
        await server.calls[1].received("conversation.item.create", 4)
    items = [m["item"] for m in server.calls[1].of("conversation.item.create")]
    assert [item.get("content", [{}])[0].get("text") for item in items] == [
        *("Weather?", None, None, "Sunny."),
    ]
    assert items[1:3] == [
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sun"},
    ]
    checked = TypeAdapter(ConversationItemParam)
    for item in items:
        checked.validate_python(item)
