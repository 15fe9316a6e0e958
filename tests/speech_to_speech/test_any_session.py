"""What every session with an API promises, whatever the protocol; over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.api_server import ApiServer, Call, Script, idle
from support.api_talk import SESSIONS, Talk, only, silence, speech, talking, tone
from support.dialects import DIALECTS, RATE, Dialect, Gemini, Live, Realtime
from support.lawful import lawful

from pipeline.clock import Clock
from pipeline.engines.tools import Tool
from pipeline.errors import CascadeError, StageError
from pipeline.events import (
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
)
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.trace import Trace

KEY = "sk-nobody-may-ever-read-this-0123456789"
TOOLS = Brief("Be kind.", (Tool("weather"),))
HEARD_S = len(speech()) / 16_000 + 1.3
"""So much has come when the user has said a sentence and is silent."""
TALK_S = HEARD_S + 0.2
"""How long `Talk.say` takes."""

every = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.kind)


@pytest.fixture(autouse=True)
def keys(hermetic: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "CASCADE_REALTIME_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, KEY)


async def asks(call: Call, number: int = 1) -> None:
    """The user has said something."""
    await call.heard(HEARD_S + (number - 1) * TALK_S)
    await call.tell(call.say.began(), call.say.understood("What time is it?"), call.say.ended())


def conversation(*replies: str) -> Script:
    """A script that answers so often."""

    async def script(call: Call) -> None:
        for number, words in enumerate(replies, 1):
            await asks(call, number)
            await call.tell(call.say.says(words, 0.9), call.say.completed())

    return script


async def fails(where: ApiServer | SystemSpec, **how: Any) -> StageError:
    """How a session fails to begin."""
    before = asyncio.all_tasks()
    with pytest.raises(StageError) as raised:
        async with talking(where, **how):
            pytest.fail("it began")
    assert raised.value.stage == "direct" and raised.value.fatal
    assert KEY not in str(raised.value) and KEY[:12] not in str(raised.value)
    await only(before)
    return raised.value


@every
async def test_a_conversation(
    dialect: type[Dialect], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script = conversation("It is five.", "Still five.")
    async with (
        ApiServer(dialect, script) as server,
        talking(server, trace=tmp_path / "trace") as talk,
    ):
        for number in (1, 2):
            await talk.say()
            await talk.see(ReplyDone, number)
        facts, history = talk.session.facts, talk.session.history
        marks = [talk.trace.marks(number) for number in (1, 2)]
        shown = repr(talk.session) + repr(vars(talk.session)) + repr(facts) + repr(talk.events)
    assert (facts.model, facts.host, facts.simulated) == ("m", server.host, None)
    assert facts.connect_ms > 0 and facts.duplex == (dialect is Live)
    assert talk.session.reconnects == 0 and talk.over
    lawful(talk.events)
    assert talk.done() == [(1, "completed"), (2, "completed")]
    for kind in (SpeechStarted, SpeechStopped, ReplyStarted):
        assert [event.turn for event in talk.of(kind)] == [1, 2]
    finals = [event for event in talk.of(Transcript) if event.final]
    assert [event.text for event in finals] == ["What time is it?"] * 2
    assert {event.frame.rate for event in talk.of(ReplyAudio)} == {RATE}
    for each in marks:
        order = ["committed", "model.first_audio", "tts.last_audio"]
        assert sorted(order, key=lambda name: each[name]) == order
        assert each["speech.start"] <= each["committed"]
    assert [(m.role, m.content) for m in history] == [
        *(("user", "What time is it?"), ("assistant", "It is five.")),
        *(("user", "What time is it?"), ("assistant", "Still five.")),
    ]
    # The server in this process may log what it is told.
    ours = [r.getMessage() for r in caplog.records if r.name != "websockets.server"]
    assert KEY not in "\n".join([*ours, shown, (tmp_path / "trace").read_text()])


@every
async def test_every_sample_is_sent_at_the_apis_rate_silence_too(dialect: type[Dialect]) -> None:
    async with ApiServer(dialect) as server, talking(server) as talk:
        await talk.say(silence(0.5), tone(0.5))
        await talk.session.send(Frame(tone(0.5, 48_000), 48_000))
        [call] = server.calls
        await call.heard(1.48)
        audio = call.audio.astype(int)
    assert np.abs(audio[: call.say.heard_rate * 4 // 10]).max() == 0
    assert np.abs(audio[call.say.heard_rate // 2 :]).mean() == pytest.approx(5000, rel=0.1)
    assert 1.48 <= len(audio) / call.say.heard_rate <= 1.5


@every
async def test_a_tool(dialect: type[Dialect]) -> None:
    async def script(call: Call) -> None:
        await asks(call)
        await call.tell(call.say.says("Let me see."), call.say.calls("c1", "c2"))
        got.extend([await call.result(1), await call.result(2)])
        await call.tell(call.say.says(" It rains."), call.say.completed())

    got: list[tuple[str, str]] = []
    long = "x" * 1_000_000
    options = {"behavior": "blocking"} if dialect is Gemini else {}
    async with (
        ApiServer(dialect, script) as server,
        talking(server, TOOLS, options=options) as talk,
    ):
        await talk.say()
        second = await talk.see(ToolCall, 2)
        assert (second.turn, second.id, second.name, second.arguments) == (1, "c2", "weather", "{}")
        assert not talk.of(ReplyDone)
        await talk.session.tool_result("c1", "rain")
        await talk.session.tool_result("c2", long)
        await talk.see(ReplyDone)
        for name in ("c1", "another"):
            with pytest.raises(CascadeError, match=f"no tool call '{name}' is open"):
                await talk.session.tool_result(name, "again")
    assert got == [("c1", "rain"), ("c2", long)]
    assert talk.done() == [(1, "completed")]
    assert talk.session.history[-1].content == "Let me see. It rains."


async def breaks(call: Call) -> None:
    """A script whose connection breaks in its second reply."""
    await conversation("It is five.")(call)
    await asks(call, 2)
    await call.tell(call.say.says("It is"))
    call.drop()


@every
async def test_a_connection_that_breaks_in_a_reply_is_made_again(dialect: type[Dialect]) -> None:
    async with (
        ApiServer(dialect, breaks, conversation("Back.")) as server,
        talking(server) as talk,
    ):
        await talk.say()
        await talk.see(ReplyDone)
        await talk.say()
        failure = await talk.see(Failure)
        await talk.say()
        await talk.see(ReplyDone, 3)
        assert "failed" in talk.trace.marks(2)
        assert talk.session.reconnects == 1
    assert (failure.turn, failure.stage, failure.fatal) == (2, "direct", False)
    assert failure.message == f"{server.host}: the connection broke"
    assert talk.done() == [(1, "completed"), (2, "failed"), (3, "completed")]
    said = ["What time is it?", "It is five.", "What time is it?"]
    assert [m.content for m in talk.session.history][:3] == said
    expected = ["a-handle"] if dialect is Gemini else [*said, "It is"]
    assert remembered(server.calls[1]) == expected


def remembered(call: Call) -> list[str]:
    """What a connection was given to go on with: the history as text, or a handle."""
    match call.say:
        case Realtime():
            items = [m["item"] for m in call.of("conversation.item.create")]
        case Live():
            items = call.opening["session"]["input"]
        case _:
            return [call.opening["setup"]["sessionResumption"]["handle"]]
    assert [item["role"] for item in items[:2]] == ["user", "assistant"]
    return [item["content"][0]["text"] for item in items]


@every
async def test_a_connection_that_breaks_again_and_again(dialect: type[Dialect]) -> None:
    async def script(call: Call) -> None:
        await call.heard(0.1)
        await call.tell(call.say.began(), call.say.says("It is"))
        await call.close(1011, f"internal error {KEY}")

    async with ApiServer(dialect, script) as server, talking(server, retries_s=(0.0,)) as talk:
        await talk.until(lambda: talk.over)
        await talk.say(tone())  # nobody minds
    *failures, last = talk.of(Failure)
    assert failures and last.fatal and not any(failure.fatal for failure in failures)
    assert "(1011: internal error [key])" in last.message
    assert "again and again: given up" in last.message
    assert talk.done()[0][1] == "failed"


@every
async def test_a_server_that_closes_after_each_reply(dialect: type[Dialect]) -> None:
    """However often: it has answered."""

    async def script(call: Call) -> None:
        await conversation("It is five.")(call)
        await call.close(1000)

    async with ApiServer(dialect, script) as server, talking(server) as talk:
        for number in range(1, 6):
            await talk.say()
            await talk.see(ReplyDone, number)
            await talk.until(lambda n=number: talk.session.reconnects == n)
    assert talk.done() == [(number, "completed") for number in range(1, 6)]
    assert not talk.of(Failure)


@every
async def test_a_server_that_is_gone_for_good(dialect: type[Dialect]) -> None:
    async def script(call: Call) -> None:
        server.stop()
        await call.tell(call.say.began(), call.say.says("It is"))
        call.drop()

    async with ApiServer(dialect, script) as server, talking(server, retries_s=(0.0,)) as talk:
        await talk.until(lambda: talk.over)
    last = talk.of(Failure)[-1]
    assert last.fatal
    assert "the connection broke; and then: " in last.message
    assert "cannot be reached" in last.message


@every
async def test_a_server_that_decides_against_this_client_is_not_asked_again(
    dialect: type[Dialect],
) -> None:
    code, reason = (1011, "You exceeded your quota") if dialect is Gemini else (4000, "no more")

    async def script(call: Call) -> None:
        await call.tell(call.say.began(), call.say.says("It is"))
        await call.close(code, reason)

    async with ApiServer(dialect, script) as server, talking(server) as talk:
        await talk.until(lambda: talk.over)
        assert talk.session.reconnects == 0
    [failure] = talk.of(Failure)
    assert failure.fatal and reason in failure.message


@every
async def test_a_session_that_has_lasted_too_long_is_renewed(dialect: type[Dialect]) -> None:
    async def script(call: Call) -> None:
        await conversation("It is five.")(call)
        await call.tell(call.say.expires())

    async with (
        ApiServer(dialect, script, conversation("Back.")) as server,
        talking(server) as talk,
    ):
        await talk.say()
        await talk.see(ReplyDone)
        await talk.until(lambda: talk.session.reconnects)
        await talk.say()
        await talk.see(ReplyDone, 2)
        assert talk.session.reconnects == 1
    assert talk.done() == [(1, "completed"), (2, "completed")]
    assert not talk.of(Failure)
    expected = ["a-handle"] if dialect is Gemini else ["What time is it?", "It is five."]
    assert remembered(server.calls[1]) == expected


JUNK = ("{", "[]", "null", '"x"', "[" * 20_000, '{"type": "session.frobnicated", "dreamt": 1}')


@every
async def test_messages_that_nobody_understands_are_survived(
    dialect: type[Dialect], caplog: pytest.LogCaptureFixture
) -> None:
    async def script(call: Call) -> None:
        for text in JUNK * 2:
            await call.raw(text)
        await call.raw(b"\xff\xfe\x00")
        await call.raw("")
        await conversation("It is five.")(call)

    async with ApiServer(dialect, script) as server, talking(server) as talk:
        await talk.say()
        await talk.see(ReplyDone)
        assert talk.session._core.odd.total() >= len(JUNK)
    assert talk.done() == [(1, "completed")]
    assert not any(failure.fatal for failure in talk.of(Failure))
    warnings = [r.getMessage() for r in caplog.records if "is not understood" in r.getMessage()]
    assert warnings and len(warnings) == len(set(warnings))


@every
async def test_an_error_that_ends_nothing(dialect: type[Dialect]) -> None:
    async def script(call: Call) -> None:
        await asks(call)
        await call.tell(call.say.error(f"overloaded {KEY}"))
        await call.tell(call.say.says("It is five."), call.say.completed())

    async with ApiServer(dialect, script) as server, talking(server) as talk:
        await talk.say()
        await talk.see(ReplyDone)
    [failure] = talk.of(Failure)
    assert (failure.turn, failure.fatal) == (1, False)
    assert "overloaded [key] (" in failure.message
    assert talk.done() == [(1, "completed")]


@every
@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        (401, f"Incorrect API key provided: {KEY[:8]}****789.", "refuses the key (401): Inc"),
        (403, "", "refuses the key (403); set {key}"),
        (404, "", "has no model 'm', or no such API (404)"),
        (429, "You exceeded your quota.", "(429): You exceeded your quota.; try again "),
        (503, "", "answers 503"),
    ],
)
async def test_a_server_that_lets_nobody_in(
    dialect: type[Dialect], status: int, said: str, why: str
) -> None:
    body = json.dumps({"error": {"message": said}}) if said else "<html>busy</html>"
    async with ApiServer(dialect, refuse=status, body=body) as server:
        error = await fails(server)
    assert why.format(key=dialect.key) in str(error)


@every
async def test_nobody_is_there(dialect: type[Dialect]) -> None:
    async with ApiServer(dialect) as server:
        pass
    assert f"{server.host} cannot be reached" in str(await fails(server))


def hurried(dialect: type[Dialect]) -> dict[str, float]:
    return {"ready_s": 0.3, **({"grace_s": 0.1} if dialect is Realtime else {})}


@every
async def test_a_server_that_never_begins(dialect: type[Dialect]) -> None:
    async with ApiServer(dialect, greets=False) as server:
        error = await fails(server, **hurried(dialect))
    assert re.search(r"(did not answer within|sends nothing for) 0\.3 s", str(error))


@every
async def test_being_cancelled_while_it_connects(dialect: type[Dialect]) -> None:
    async with ApiServer(dialect, greets=False) as server:
        before = asyncio.all_tasks()
        entering = asyncio.create_task(fails(server))
        while not server.calls or not server.calls[0].of(dialect.opening):
            await asyncio.sleep(0.005)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        await only(before)


@pytest.mark.parametrize("dialect", [Realtime, Gemini])
async def test_a_certificate_that_nobody_trusts(dialect: type[Dialect]) -> None:
    async with ApiServer(dialect, tls=True) as server:
        url = server.spec().url.replace("ws://", "wss://")
        error = await fails(SystemSpec("it", dialect.kind, "m", url))
    assert re.search(r"no secure connection .*certificate", str(error))


@every
async def test_turns_that_the_session_ends(dialect: type[Dialect]) -> None:
    async with ApiServer(dialect) as server, talking(server) as talk:
        with pytest.raises(CascadeError, match=r"turns=manual|decides itself"):
            await talk.session.commit()


@pytest.mark.parametrize("dialect", [Realtime, Gemini])
async def test_turns_that_the_driver_ends(dialect: type[Dialect]) -> None:
    end = {Realtime: "input_audio_buffer.commit", Gemini: "activityEnd"}[dialect]

    async def script(call: Call) -> None:
        for number in (1, 2):
            await call.until(lambda n=number: ends(call) == n)
            await call.tell(call.say.understood("What time is it?"))
            await call.tell(call.say.says("It is five."), call.say.completed())

    def ends(call: Call) -> int:
        return len([m for m in call.messages if end in json.dumps(m)])

    options = {"turns": "manual"}
    async with ApiServer(dialect, script) as server, talking(server, options=options) as talk:
        for number in (1, 2):
            await talk.say(tone(), silence(0.3))
            assert len(talk.of(SpeechStopped)) == number - 1
            await talk.session.commit()
            await talk.see(ReplyDone, number)
    lawful(talk.events)
    assert talk.done() == [(1, "completed"), (2, "completed")]


async def endless(call: Call) -> None:
    """A reply without an end."""
    await asks(call)
    while True:
        await call.tell(call.say.says("and "))
        await asyncio.sleep(0)


async def tooled(call: Call) -> None:
    await asks(call)
    await call.tell(call.say.calls("c1"))


STATES: dict[str, tuple[Script, type | None]] = {
    "at once": (idle, None),
    "mute": (lambda call: asks(call), SpeechStarted),
    "reply": (endless, ReplyAudio),
    "tool": (tooled, ToolCall),
    "done": (conversation("It is five."), ReplyDone),
}
CLOSES_S = 5.0
"""Much longer than it should take, and much less than a client waits for a server by default."""


@every
@pytest.mark.parametrize("state", STATES)
async def test_it_can_be_left_in_any_state_and_leaves_nothing(
    dialect: type[Dialect], state: str
) -> None:
    script, sign = STATES[state]
    async with ApiServer(dialect, script, closes=False) as server:
        async with talking(server, TOOLS) as talk:
            if sign is not None:
                await talk.say()
                await talk.see(sign)
            last = asyncio.create_task(anext(talk.session.events(), None))
            leaving = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - leaving < CLOSES_S
        async with asyncio.timeout(CLOSES_S):
            await last
        assert server.calls[0].of(dialect.closing) or not dialect.closing


@every
async def test_events_that_nobody_reads_do_not_pile_up_and_it_can_be_left(
    dialect: type[Dialect],
) -> None:
    async def script(call: Call) -> None:
        for number in range(50):
            await call.tell(call.say.error(f"number {number}"))

    async with ApiServer(dialect, script) as server, reading_nothing(server) as talk:
        while len(talk.session._events) < 5:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(talk.session._events) == 5
        reading = asyncio.create_task(talk.read())
        while len(talk.of(Failure)) < 50:
            await asyncio.sleep(0.01)
        reading.cancel()
    found = [re.search(r"number (\d+)", failure.message) for failure in talk.of(Failure)]
    assert [int(each[1]) for each in found if each] == list(range(50))
    async with ApiServer(dialect, endless) as server, reading_nothing(server) as talk:
        await talk.say()
        while len(talk.session._events) < 5:
            await asyncio.sleep(0.01)
    await talk.read()
    assert talk.events and talk.over


@contextlib.asynccontextmanager
async def reading_nothing(server: ApiServer) -> AsyncIterator[Talk]:
    """A session that is entered, and whose events wait."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        spec, trace = server.spec(), Trace()
        session = SESSIONS[spec.kind](spec, Brief(), trace, Clock(), ahead=5)
        async with asyncio.timeout(CLOSES_S), session:
            yield Talk(session, trace)


@pytest.mark.parametrize("dialect", [Realtime, Gemini])
async def test_a_barge_in(dialect: type[Dialect]) -> None:
    async def script(call: Call) -> None:
        await asks(call)
        await call.tell(call.say.says("one two three four five", 1.0))
        await call.heard(HEARD_S + TALK_S)
        await call.tell(call.say.began(), call.say.cut(), call.say.ended())
        await call.tell(call.say.says("Yes?"), call.say.completed())

    async with ApiServer(dialect, script) as server, talking(server, hears=False) as talk:
        await talk.say()
        await talk.see(ReplyText)
        await talk.session.heard("reply-1", RATE // 2)
        await talk.say()
        cut = await talk.see(ReplyInterrupted)
        await talk.session.heard("reply-1", round(RATE * 0.6))
        await talk.see(ReplyDone, 2)
        assert "interrupted" in talk.trace.marks(1)
    assert (cut.turn, cut.id, cut.heard_text) == (1, "reply-1", "one two")
    assert talk.done() == [(1, "interrupted"), (2, "completed")]
    assert talk.session.history[1].content == "one two three"
    after = talk.events[talk.events.index(cut) :]
    assert not [e for e in after if isinstance(e, ReplyAudio) and e.id == "reply-1"]
    if dialect is Realtime:
        [truncate] = server.calls[0].of("conversation.item.truncate")
        assert (truncate["item_id"], truncate["audio_end_ms"]) == ("a1", 600)
