"""Sessions with the Live API, through the unmodified SDK, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.live_server import RATE, Call, LiveServer, Script, idle
from support.cli_child import read_wav, recording
from support.direct_talk import Reader

from pipeline.clock import Clock
from pipeline.engines.tools import Tool
from pipeline.errors import CascadeError, StageError
from pipeline.events import (
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyStarted,
    ReplyText,
    Samples,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
    Usage,
)
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.speech_to_speech.openai_live import (
    READY_S,
    LiveSession,
)
from pipeline.trace import Trace

KEY = "sk-test-0123456789-secret"
GUARD_S = 60
FRAME = 320

WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {}}})
BRIEF = Brief("Be short.")
WITH_TOOLS = Brief("Be short.", (WEATHER,))


@pytest.fixture(autouse=True)
def hermetic(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def spoken(number: int = 1) -> Samples:
    """Somebody says something; 16 kHz."""
    sound, rate = read_wav(recording(number))
    assert rate == 16_000
    return sound[:, 0]


class Talk(Reader):
    """A session, what it tells, and somebody who speaks to it faster than time goes by."""

    def __init__(self, session: LiveSession, trace: Trace) -> None:
        super().__init__(session, trace)
        self._samples = 0

    async def say(self, *parts: Samples) -> None:
        """Speak: 16 kHz, in frames of 20 ms."""
        sound = np.concatenate(parts)
        for at in range(0, len(sound), FRAME):
            piece = sound[at : at + FRAME]
            now = self.session._clock.now_ns()
            await self.session.send(Frame(piece, 16_000, self._samples, now))
            self._samples += len(piece)
            await asyncio.sleep(0)

    async def quiet(self, ms: int = 1000) -> None:
        await self.say(np.zeros(ms * 16, np.int16))

    async def until(self, kind: type[Any], number: int = 1) -> Any:
        """The so-manieth event of a kind; silence is heard meanwhile, as in a real session."""
        while len(found := self.of(kind)) < number:
            await self.quiet(20)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), 0.02)
        return found[number - 1]


def target(**options: str) -> SystemSpec:
    return SystemSpec("openai-live:gpt-live-1", "openai-live", "gpt-live-1", options=options)


@contextlib.asynccontextmanager
async def talk(
    server: LiveServer,
    brief: Brief = BRIEF,
    *,
    trace: Path | None = None,
    ready_s: float = READY_S,
    **options: str,
) -> AsyncIterator[Talk]:
    """Talk to a server; afterwards nothing that was begun is left."""
    before = asyncio.all_tasks()
    with pytest.MonkeyPatch.context() as patch, Trace(trace) as marks:
        patch.setenv("OPENAI_BASE_URL", server.url)
        session = LiveSession(target(**options), brief, marks, Clock(), ready_s=ready_s)
        talking = Talk(session, marks)
        async with talking.entered(GUARD_S):
            yield talking
    ours = {task for task in asyncio.all_tasks() - before if "LiveSession" in task.get_name()}
    assert not ours
    assert_no_key(talking)


def assert_no_key(talking: Talk) -> None:
    assert KEY not in repr(talking.events)
    assert KEY not in repr(talking.session)


async def refusal(server: LiveServer, **how: Any) -> StageError:
    """How a session fails to begin."""
    with pytest.raises(StageError) as raised:
        async with talk(server, **how):
            pytest.fail("it began")
    assert raised.value.stage == "direct"
    assert raised.value.fatal
    assert KEY not in str(raised.value)
    assert KEY[:12] not in str(raised.value)
    return raised.value


def answering(*words: str, after_s: float = 1.0) -> Script:
    """A script that hears so much and then answers."""

    async def script(call: Call) -> None:
        await call.heard(after_s)
        await call.understood("What is", " the time?")
        await call.heard(after_s + 1.5)
        await call.said(*words)
        await call.sound(900)
        await call.silence()

    return script


async def test_a_conversation(tmp_path: Path) -> None:
    async with (
        LiveServer(answering("It is", " five.")) as server,
        talk(server, trace=tmp_path / "trace") as talking,
    ):
        await talking.say(spoken())
        done = await talking.until(ReplyDone)
        assert talking.session.facts.duplex
        assert talking.session.facts.model == "gpt-live-1"
        assert talking.session.facts.host == f"127.0.0.1:{server.port}"
        assert talking.session.facts.simulated is None
        marks = talking.trace.marks(1)
    assert done == ReplyDone(1, "reply-1", "completed")
    kinds = [type(event) for event in talking.events if not isinstance(event, ReplyText)]
    kinds = [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind]
    assert kinds.index(SpeechStarted) == 0
    assert kinds[-2:] == [Transcript, ReplyDone]
    assert kinds.index(SpeechStopped) < kinds.index(ReplyDone)
    assert kinds.index(ReplyStarted) < kinds.index(ReplyAudio)
    assert talking.of(Transcript)[-1] == Transcript(1, "What is the time?", True)
    assert [event.final for event in talking.of(Transcript)].count(True) == 1
    assert "".join(event.delta for event in talking.of(ReplyText)) == "It is five."
    frames = [event.frame for event in talking.of(ReplyAudio)]
    assert sum(len(frame.samples) for frame in frames) >= 0.9 * RATE
    for before, after in pairwise(frames):
        assert after.offset == before.offset + len(before.samples)
    assert {frame.rate for frame in frames} == {RATE}
    assert [(m.role, m.content) for m in talking.session.history] == [
        ("user", "What is the time?"),
        ("assistant", "It is five."),
    ]
    assert {"speech.start", "committed", "model.first_text", "model.first_audio"} <= marks.keys()
    assert marks["committed"] <= marks["model.first_audio"] <= marks["tts.last_audio"]
    assert server.keys == [KEY]
    assert server.paths == ["/v1/live/sessions"]
    assert KEY not in (tmp_path / "trace").read_text()


async def test_every_sample_is_sent_at_24_khz_silence_too() -> None:
    async with LiveServer(idle) as server, talk(server) as talking:
        await talking.quiet(500)
        await talking.say(spoken())
        await server.calls[0].heard(0.5 + len(spoken()) / 16_000 - 0.01)
        audio = server.calls[0].audio
    expected = (8000 + len(spoken())) * RATE // 16_000
    assert 0 <= expected - len(audio) <= 0.01 * RATE
    assert np.abs(audio[: RATE // 2 - 100]).max() == 0
    assert np.abs(audio).max() > 1000


async def test_what_the_session_is_started_with() -> None:
    async with LiveServer(idle) as server, talk(server, WITH_TOOLS, voice="cedar", backend="b-1"):
        pass
    config = server.calls[0].config
    assert config["model"] == "gpt-live-1"
    assert config["instructions"] == "Be short."
    assert config["audio"] == {
        "format": {"type": "audio/pcm", "rate": RATE},
        "output": {"voice": "cedar"},
    }
    backend = config["delegation"]["responses"]
    assert backend["model"] == "b-1"
    assert backend["instructions"] == "Be short."
    [tool] = backend["tools"]
    assert (tool["type"], tool["name"], tool["parameters"]) == (
        "function",
        "weather",
        dict(WEATHER.parameters),
    )


async def test_without_tools_nothing_is_delegated_to_a_backend() -> None:
    async with LiveServer(idle) as server, talk(server):
        pass
    assert "delegation" not in server.calls[0].config


CALL = {"type": "function_call", "status": "completed", "name": "weather"}
USED = {"input_tokens": 90, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 64}}


async def calling(call: Call, *ids: str) -> None:
    """The backend calls a tool so often, in one response."""
    await call.event(
        "session.delegation.created",
        delegation={"id": "d1", "target": "responses", "type": "delegation"},
        offset_ms=100,
    )
    await call.backend("d1", {"type": "response.created", "response": {"id": "r1"}})
    for name in ids:
        item = {**CALL, "call_id": name, "arguments": '{"city": "Rome"}'}
        await call.backend("d1", {"type": "response.output_item.done", "item": item})
    completed = {"type": "response.completed", "response": {"id": "r1", "usage": USED}}
    await call.backend("d1", completed)


async def answered(call: Call, *words: str) -> None:
    """The backend is done, and the model speaks."""
    await call.backend("d1", {"type": "response.created", "response": {"id": "r2"}})
    message = {"type": "message", "role": "assistant", "content": []}
    await call.backend("d1", {"type": "response.output_item.done", "item": message})
    await call.backend("d1", {"type": "response.completed", "response": {"id": "r2"}})
    await call.said(*words)
    await call.sound(700)
    await call.silence()


async def test_a_tool_is_called_and_the_turn_stays_open_until_the_answer() -> None:
    async def script(call: Call) -> None:
        await call.heard(2.0)
        await calling(call, "c1", "c2")
        await call.said("Let me see.")
        await call.sound(600)
        await call.silence()
        await call.received("response.create")
        await answered(call, " It rains.")

    async with LiveServer(script) as server, talk(server, WITH_TOOLS) as talking:
        await talking.say(spoken())
        first, second = await talking.until(ToolCall), await talking.until(ToolCall, 2)
        assert first == ToolCall(1, "c1", "weather", '{"city": "Rome"}')
        await talking.until(ReplyAudio)
        await talking.quiet(3000)
        assert not talking.of(ReplyDone)
        call = server.calls[0]
        await talking.session.tool_result(first.id, "rain")
        await call.received("response.item.create")
        assert not call.of("response.create")
        await talking.session.tool_result(second.id, "sun")
        done = await talking.until(ReplyDone)
        with pytest.raises(CascadeError, match="no tool call 'c1' is open"):
            await talking.session.tool_result("c1", "again")
    assert done == ReplyDone(1, "reply-1", "completed")
    items = [message["item"] for message in call.of("response.item.create")]
    assert items == [
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "function_call_output", "call_id": "c2", "output": "sun"},
    ]
    assert len(call.of("response.create")) == 1
    assert talking.of(Usage)[0] == Usage(1, 90, 64, 7)
    sounds = [event.filler for event in talking.of(ReplyAudio)]
    assert sounds[0]
    assert not sounds[-1]
    assert [m.content for m in talking.session.history if m.role == "assistant"] == [
        "Let me see. It rains."
    ]


async def test_the_last_of_the_usage_is_told_at_the_end() -> None:
    async with (
        LiveServer(lambda call: call.usage(15.0), seconds=31.25) as server,
        talk(server) as talking,
    ):
        await talking.until(Usage)
    assert [(u.kind, u.seconds) for u in talking.of(Usage)] == [
        *(("session", 15.0), ("session", 16.25)),
    ]
    assert server.calls[0].of("session.close")


async def test_a_turn_cannot_be_committed() -> None:
    async with LiveServer(idle) as server, talk(server) as talking:
        with pytest.raises(CascadeError, match="decides itself"):
            await talking.session.commit()


def body(message: str, code: str = "") -> str:
    return json.dumps({"error": {"message": message, "code": code}})


@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        (401, f"Incorrect API key provided: {KEY[:8]}****cret.", "refuses the key (401)"),
        (403, "", "refuses the key (403); set OPENAI_API_KEY"),
        (429, "You exceeded your quota.", "(429): You exceeded your quota.; try again in 17 s"),
        (404, "", "has no model 'gpt-live-1', or no such API (404)"),
        (503, "", "answers 503; try again later"),
    ],
)
async def test_a_server_that_lets_nobody_in(status: int, said: str, why: str) -> None:
    body = json.dumps({"error": {"message": said}}) if said else "<html>busy</html>"
    async with LiveServer(refuse=status, body=body, headers={"Retry-After": "17"}) as server:
        error = await refusal(server)
    assert why in str(error)


@pytest.mark.parametrize(
    ("code", "said", "why"),
    [
        ("model_not_found", "Gone.", r"has no model 'gpt-live-1'.*Gone\."),
        ("invalid_value", "Too long.", r"refuses the session: Too long\. \(invalid_value\)"),
        ("", "", r"closed the connection at once \(1011: no room\)"),
    ],
)
async def test_a_session_that_is_refused(code: str, said: str, why: str) -> None:
    async def script(call: Call) -> None:
        if code:
            error = {"type": "invalid_request_error", "code": code, "message": said}
            await call.event("error", error=error)
        else:
            await call.socket.close(1011, "no room")

    async with LiveServer(script, starts=False) as server:
        error = await refusal(server)
    assert re.search(why, str(error))


async def test_a_server_that_never_starts_the_session() -> None:
    async with LiveServer(idle, starts=False) as server:
        error = await refusal(server, ready_s=0.3)
    assert "did not answer within 0.3 s" in str(error)


async def test_nobody_there() -> None:
    server = LiveServer()
    async with server:
        pass
    error = await refusal(server)
    assert "cannot be reached" in str(error)


async def test_a_server_that_closes_in_the_middle_of_a_reply_and_does_so_again() -> None:
    async def script(call: Call) -> None:
        await call.heard(1.0)
        await call.said("It is")
        await call.sound(500)
        await call.socket.close(1011, f"internal error {KEY}")

    async with LiveServer(script, script) as server, talk(server) as talking:
        await talking.say(spoken())
        failure = await talking.until(Failure)
        last = await talking.until(Failure, 2)
        await talking.quiet(200)
        assert talking.session.reconnects == 1
    assert (failure.fatal, last.fatal) == (False, True)
    assert (failure.turn, failure.stage) == (1, "direct")
    for each in (failure, last):
        assert "closed the connection (1011: internal error [key])" in each.message
    assert ReplyDone(1, "reply-1", "failed") in talking.events
    assert isinstance(talking.events[-1], ReplyDone) and talking.events[-1].status == "failed"
    assert "failed" in talking.trace.marks(1)


async def test_a_connection_that_the_server_denies_is_not_made_again() -> None:
    async def script(call: Call) -> None:
        await call.socket.close(1008, "not for you")

    async with LiveServer(script, idle) as server, talk(server) as talking:
        failure = await talking.until(Failure)
        assert talking.session.reconnects == 0
    assert failure.fatal
    assert "(1008: not for you)" in failure.message


async def test_a_lost_connection_is_made_again_with_the_history_as_text() -> None:

    async def breaking(call: Call) -> None:
        await answering("It is", " five.")(call)
        call.socket.transport.abort()

    async def script(call: Call) -> None:
        await call.usage(3.0)
        await call.said("Still here.")
        await call.sound(500)
        await call.silence()

    async with LiveServer(breaking, script) as server, talk(server) as talking:
        await talking.say(spoken())
        failure = await talking.until(Failure)
        done = await talking.until(ReplyDone, 2)
        assert talking.session.reconnects == 1
    assert not failure.fatal
    assert "the connection broke" in failure.message
    assert done.status == "completed"
    assert server.calls[1].config["input"] == [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "What is the time?"}],
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "It is five."}],
        },
    ]
    assert [u.seconds for u in talking.of(Usage)] == [3.0]


@pytest.mark.parametrize(("reason", "again"), [("expired", True), ("content", False)])
async def test_a_session_that_the_server_ends(reason: str, again: bool) -> None:

    async def script(call: Call) -> None:
        session = {"id": "live_1"}
        await call.event("session.closed", reason=reason, session=session, usage={"seconds": 9})

    async with LiveServer(script, idle) as server, talk(server) as talking:
        failure = await talking.until(Failure)
        while talking.session.reconnects < int(again):
            await talking.quiet(20)
    assert talking.session.reconnects == int(again)
    assert f"the session ended ({reason})" in failure.message
    assert failure.fatal is not again
    assert talking.of(Usage)[0].seconds == 9


async def test_messages_that_nobody_can_read_are_survived(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(call: Call) -> None:
        for text in ("{", "[]", "[" * 20_000, '{"type": "session.frobnicated"}'):
            await call.raw(text)
        await answering("It is five.")(call)

    async with LiveServer(script) as server, talk(server) as talking:
        await talking.say(spoken())
        await talking.until(ReplyDone)
    assert talking.session._core.odd.total() == 4
    assert KEY not in caplog.text


async def test_a_server_that_says_nothing_at_all_can_be_left() -> None:
    async with LiveServer(idle, closes=False) as server, talk(server) as talking:
        await talking.say(spoken())
        await talking.quiet(2000)
    assert {type(event) for event in talking.events} == {SpeechStarted, SpeechStopped}
    assert server.calls[0].of("session.close")


async def test_leaving_in_the_middle_of_a_reply() -> None:
    async def script(call: Call) -> None:
        while True:
            await call.said("and ")
            await call.sound(500)
            await asyncio.sleep(0.01)

    async with LiveServer(script) as server, talk(server) as talking:
        await talking.until(ReplyAudio, 3)
    assert server.calls[0].of("session.close")


async def test_leaving_though_nobody_reads_its_events() -> None:
    async def script(call: Call) -> None:
        while True:
            await call.said("and ")
            await asyncio.sleep(0)

    async with LiveServer(script) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_BASE_URL", server.url)
            session = LiveSession(target(), BRIEF, Trace(), Clock())
            async with asyncio.timeout(GUARD_S), session:
                while len(session._events) < 100:
                    await asyncio.sleep(0.01)
            last = [event async for event in session.events()]
    assert last


async def test_being_cancelled_while_it_connects() -> None:
    async with LiveServer(idle, starts=False) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_BASE_URL", server.url)
            session = LiveSession(target(), BRIEF, Trace(), Clock())
            entering = asyncio.ensure_future(session.__aenter__())
            while not server.calls or not server.calls[0].of("session.start"):
                await asyncio.sleep(0.005)
            entering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await entering
            while not server.calls[0].gone:
                await asyncio.sleep(0.005)


async def test_the_client_never_logs_the_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with LiveServer(answering("It is five.")) as server, talk(server) as talking:
            await talking.say(spoken())
            await talking.until(ReplyDone)
        async with LiveServer(refuse=401, body=f'{{"error": "Incorrect API key {KEY}"}}') as server:
            await refusal(server)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("pipeline")]
    assert KEY not in "\n".join(ours)
