"""Sessions with the simulated Realtime server, over real sockets, through the unmodified SDK."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from support.direct_talk import Talk, only, talking

from pipeline.clock import Clock
from pipeline.engines.tools import Tool
from pipeline.errors import CascadeError, StageError
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
from pipeline.speech_to_speech.openai_realtime import RealtimeSession, RealtimeWaits
from pipeline.trace import Trace

KEY = "sk-very-secret-0123456789"
HI = ScriptedTurn("How are you?", "Fine.")
LONG = ScriptedTurn("Count to ten.", "One two three four five six seven eight nine ten. " * 3)
CALL = ScriptedTurn("Weather?", "Sunny.", calls=(ScriptedCall("weather", {"city": "Bonn"}),))
WEATHER = Brief("Be brief.", (Tool("weather", "Tells the weather."),))


@contextlib.asynccontextmanager
async def serving(*turns: ScriptedTurn, **fields: Any) -> AsyncIterator[SystemSpec]:
    script = Script(
        "fake",
        {"first": turns or (HI,), "other": (ScriptedTurn("Other?", "Another."),)},
        "a test",
        latency=fields.pop("latency", Latency("constant", 60)),
        silence_ms=120,
        voice="tone",
        **fields,
    )
    async with SimulatedServer(script, speak(script)) as server:
        yield SystemSpec("it", "realtime", "gpt-realtime-2.1", server.url)


async def test_a_turn_from_end_to_end() -> None:
    async with serving() as target, talking(target) as talk:
        talk.say()
        await talk.answered()
        kinds = [type(event) for event in talk.events if not isinstance(event, Transcript | Usage)]
        order = [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] is not kind]
        assert [order[0], order[1], order[2], order[-1]] == [
            *(SpeechStarted, SpeechStopped, ReplyStarted, ReplyDone),
        ]
        assert [t.text for t in talk.of(Transcript) if t.final] == ["How are you?"]
        assert "".join(t.delta for t in talk.of(ReplyText)) == "Fine."
        assert {usage.kind for usage in talk.of(Usage)} == {"reply", "transcription"}
        assert talk.of(ReplyAudio)[0].frame.rate == 24_000
        marks = talk.trace.marks(1)
        order = ["speech.start", "committed", "model.start", "model.first_audio", "tts.last_audio"]
        assert sorted(order, key=lambda name: marks[name]) == order
        assert [(m.role, m.content) for m in talk.session.history] == [
            ("user", "How are you?"),
            ("assistant", "Fine."),
        ]
        assert talk.session.reconnects == 0


async def test_what_was_found() -> None:
    async with serving() as target, talking(target) as talk:
        facts = talk.session.facts
        assert facts.model == "simulated:fake"
        assert facts.host in target.url
        assert facts.connect_ms > 0
        assert facts.simulated is not None
        assert facts.simulated["name"] == "fake"
        assert "a test" in facts.simulated["source"]


async def test_the_models_name_is_passed_as_it_is() -> None:
    async with serving() as target:
        other = SystemSpec("it", "realtime", "gpt-realtime-2.1#other", target.url)
        async with talking(other) as talk:
            talk.say()
            await talk.answered()
            assert "".join(t.delta for t in talk.of(ReplyText)) == "Another."


async def test_openai_base_url_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as target:
        monkeypatch.setenv("OPENAI_BASE_URL", target.url.replace("ws://", "http://"))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        async with talking(SystemSpec("it", "openai")) as talk:
            talk.say()
            await talk.answered()
            assert talk.of(ReplyDone)[0].status == "completed"


@pytest.mark.parametrize("options", [{"turns": "semantic"}, {"silence_ms": "200"}])
async def test_turn_detection(options: Mapping[str, str]) -> None:
    async with serving() as target:
        wanted = SystemSpec("it", "realtime", "m", target.url, options)
        async with talking(wanted) as talk:
            talk.say()
            await talk.answered()
            assert talk.of(ReplyDone)[0].status == "completed"


async def test_manual_turns() -> None:
    async with serving(HI, ScriptedTurn("More?", "No.")) as target:
        manual = SystemSpec("it", "realtime", "m", target.url, {"turns": "manual"})
        async with talking(manual) as talk:
            for turn in (1, 2):
                talk.say(0.3)
                await asyncio.sleep(0.6)
                await talk.session.commit()
                await talk.answered(turn)
            assert [(d.turn, d.status) for d in talk.of(ReplyDone)] == [
                (1, "completed"),
                (2, "completed"),
            ]
            finals = [t.text for t in talk.of(Transcript) if t.final]
            assert finals == ["How are you?", "More?"]


async def test_barge_in_truncates_and_history_holds_what_the_server_kept() -> None:
    async with serving(LONG, HI) as target, talking(target) as talk:
        talk.say()
        await talk.until(lambda t: t.played and max(t.played.values()) > 24_000)
        talk.say()
        await talk.answered(2)
        interrupted = talk.of(ReplyInterrupted)[0]
        assert interrupted.heard_text
        assert LONG.reply.startswith(interrupted.heard_text)
        assert [d.status for d in talk.of(ReplyDone)][-1] == "completed"
        kept = talk.session.history[1].content
        assert 0 < len(kept) < len(LONG.reply) / 2
        assert LONG.reply.startswith(kept.rstrip())
        after = talk.events.index(interrupted)
        assert not [
            event
            for event in talk.events[after:]
            if isinstance(event, ReplyAudio) and event.id == interrupted.id
        ]
        assert not talk.of(Failure)
        assert "interrupted" in talk.trace.marks(1)


async def test_a_tool_is_called_and_its_result_spoken() -> None:
    got: list[str] = []

    def tool(arguments: str) -> str:
        got.append(arguments)
        return "sunny"

    async with serving(CALL) as target, talking(target, WEATHER, tool=tool) as talk:
        talk.say()
        await talk.answered()
        assert [call.name for call in talk.of(ToolCall)] == ["weather"]
        assert "Bonn" in got[0]
        assert len(talk.of(ReplyStarted)) == len(talk.of(ReplyDone)) == 1
        assert "".join(t.delta for t in talk.of(ReplyText)).endswith("Sunny.")
        with pytest.raises(CascadeError, match="no tool call"):
            await talk.session.tool_result("nothing", "")


FAULTS: list[tuple[FaultKind, FaultTime, str]] = [
    ("malformed", "mid reply", "completed"),
    ("unknown", "mid reply", "completed"),
    ("error", "before reply", "completed"),
    ("error", "mid reply", "completed"),
    ("quota", "mid reply", "failed"),
    ("half", "mid reply", "completed"),
    ("early", "speech", "completed"),
    ("rate", "mid reply", "completed"),
    ("close", "before reply", "failed"),
    ("close", "mid reply", "failed"),
    ("drop", "before reply", "failed"),
    ("drop", "mid reply", "failed"),
]


@pytest.mark.parametrize(("kind", "at", "status"), FAULTS)
async def test_faults(kind: FaultKind, at: FaultTime, status: str) -> None:
    """Each is that turn's, and the next turn is answered as if nothing had been."""
    fault = Fault(kind, at, rate=16_000)
    bad = ScriptedTurn("Hello there?", "It is going well, thank you.", fault=fault)
    async with serving(bad, HI) as target, talking(target) as talk:
        talk.say(0.8)
        await talk.answered()
        assert talk.of(ReplyDone)[0].status == status
        told = talk.of(Failure)
        assert bool(told) == (status == "failed" or kind == "error")
        assert not any(failure.fatal for failure in told)
        lost = kind in ("close", "drop")
        if lost:
            await talk.until(lambda t: t.session.reconnects == 1 or t.ended)
        count = len(talk.of(ReplyDone))
        await asyncio.sleep(0.5)
        talk.say()
        await talk.until(lambda t: len(t.of(ReplyDone)) > count)
        assert talk.of(ReplyDone)[-1].status == "completed"
        assert talk.session.reconnects == (1 if lost else 0)


async def test_a_connection_lost_while_the_user_speaks_fails_that_turn() -> None:
    bad = ScriptedTurn("Hello?", "Fine.", fault=Fault("close", "speech", 1012, "restart"))
    async with serving(bad) as target, talking(target) as talk:
        talk.say(0.5)
        await talk.answered()
        assert not talk.of(Failure)[0].fatal
        assert (talk.of(ReplyDone)[0].turn, talk.of(ReplyDone)[0].status) == (1, "failed")
        assert not talk.of(SpeechStopped)


async def test_a_reply_after_which_the_connection_closes_is_whole() -> None:
    bad = ScriptedTurn("Hello?", "Fine.", fault=Fault("close", "after reply"))
    async with serving(bad, HI) as target, talking(target) as talk:
        talk.say()
        await talk.answered()
        await talk.until(lambda t: t.session.reconnects)
        assert [d.status for d in talk.of(ReplyDone)] == ["completed"]
        assert not talk.of(Failure)
        assert [m.content for m in talk.session.history] == ["Hello?", "Fine."]


async def test_a_server_that_decides_against_this_client_is_not_asked_again() -> None:
    bad = ScriptedTurn("Hello?", "Fine.", fault=Fault("close", "mid reply", 4000, "no more"))
    async with serving(bad) as target, talking(target) as talk:
        talk.say()
        await talk.until(lambda t: t.ended)
        assert [(f.turn, f.fatal) for f in talk.of(Failure)] == [(1, True)]
        assert "(4000: no more)" in talk.of(Failure)[0].message
        assert talk.session.reconnects == 0


async def test_a_server_that_falls_silent() -> None:
    waits = RealtimeWaits(patience_s=0.3)
    bad = ScriptedTurn("Hello?", "Fine.", fault=Fault("silence", "before reply"))
    async with serving(bad) as target, talking(target, waits=waits) as talk:
        talk.say()
        await talk.answered()
        assert talk.of(Failure)[0].message == "the server sent nothing for 0.3 s"
        assert talk.of(ReplyDone)[0].status == "failed"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the key (401)"),
        (404, "has no model 'gpt-realtime-2.1'"),
        (429, "try again in 20 s"),
    ],
)
@pytest.mark.parametrize("kind", ["openai", "realtime"])
async def test_refusals(monkeypatch: pytest.MonkeyPatch, kind: str, status: int, said: str) -> None:
    async with serving(refuse=status) as target:
        monkeypatch.setenv("OPENAI_BASE_URL", target.url.replace("ws://", "http://"))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        session = RealtimeSession(
            SystemSpec("it", kind, target.model, target.url), Brief(), Trace(), Clock()
        )
        with pytest.raises(StageError) as caught:
            await session.__aenter__()
        assert caught.value.stage == "direct"
        assert session.facts is None
        assert session.history == []
        assert said in str(caught.value)
        if status == 401:
            name = "OPENAI_API_KEY" if kind == "openai" else "CASCADE_REALTIME_KEY"
            assert f"set {name}" in str(caught.value)
        assert KEY not in str(caught.value)


async def leave_at_once(talk: Talk) -> None:
    """Before anything was said."""


async def leave_while_speaking(talk: Talk) -> None:
    talk.say(2)
    await talk.until(lambda t: t.of(SpeechStarted))


async def leave_before_the_reply(talk: Talk) -> None:
    talk.say()
    await talk.until(lambda t: t.of(SpeechStopped))


async def leave_in_the_reply(talk: Talk) -> None:
    talk.say()
    await talk.until(lambda t: t.of(ReplyAudio))


async def leave_with_a_call_open(talk: Talk) -> None:
    talk.say()
    await talk.until(lambda t: t.of(ReplyDone))
    talk.say()
    await talk.until(lambda t: t.of(ToolCall))


@pytest.mark.parametrize(
    "leave",
    [
        leave_at_once,
        leave_while_speaking,
        leave_before_the_reply,
        leave_in_the_reply,
        leave_with_a_call_open,
    ],
)
async def test_leaving_in_any_state_leaves_nothing(leave: Any) -> None:
    async with serving(HI, CALL) as target:
        async with talking(target, WEATHER) as talk:
            await leave(talk)
            reader = asyncio.create_task(anext(talk.session.events(), None))
        # Whoever reads gets the end; `talking` has seen that no task is left.
        async with asyncio.timeout(5):
            await reader


async def test_being_cancelled_leaves_nothing() -> None:
    async with serving() as target:
        before = asyncio.all_tasks()
        inside = asyncio.Event()

        async def hold() -> None:
            async with RealtimeSession(target, Brief(), Trace(), Clock()):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await only(before)


async def test_the_key_is_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("CASCADE_REALTIME_KEY", f"{KEY}-too")
    with caplog.at_level(logging.DEBUG):
        async with serving() as target:
            monkeypatch.setenv("OPENAI_BASE_URL", target.url.replace("ws://", "http://"))
            for kind in ("openai", "realtime"):
                async with talking(SystemSpec("it", kind, "m", target.url)) as talk:
                    talk.say()
                    await talk.answered()
                    session = talk.session
                    assert KEY not in repr(session) + repr(vars(session)) + repr(talk.events)
                    assert KEY not in repr(session.facts)
    # The server in this process may log what it is told.
    ours = [record for record in caplog.records if record.name != "websockets.server"]
    assert ours
    assert not [record for record in ours if KEY in record.getMessage()]
