"""Tools in the whole session, in virtual time: calls, early and late results, interruptions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.llm_server import DONE, Answer, LlmServer, delta, finish, reply, tool_call
from support import virtual_time
from support.llm_client import HANG_GUARD_S, client, hermetic
from support.scripted import Engines, Model
from test_cascade import LONG, Scene, run

from pipeline.config import ConversationSettings, Settings, TurnSettings
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.history import CANCELLED, RUNNING, UNSPOKEN, Message
from pipeline.engines.llm import ToolsRefused
from pipeline.engines.tools import Prompt, Tool
from pipeline.errors import CascadeError, StageError
from pipeline.events import (
    Event,
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    SpeechStopped,
    ToolCall,
    ToolCancelled,
    Transcript,
    Usage,
)

WEATHER = Tool("weather", "Tells the weather of a city.")
ROME = 'CALL:weather:{"city":"Rome"}'
OSLO = 'CALL:weather:{"city":"Oslo"}'
SCRIPTS = [ROME, f"{ROME} {OSLO}", f"Let me see. {OSLO}", "Yes.", LONG, "", "It BREAK now."]
QUESTION = ((0.5, False), (0.8, True))


class ToolScene(Scene):
    """A scene with tools, each of which takes its time."""

    def __init__(
        self,
        engines: Engines,
        results: Sequence[tuple[float, str]] = ((0.5, "sunny"),) * 9,
        options: Settings | None = None,
        history: Sequence[Message] = (),
        **fixed: Any,
    ) -> None:
        super().__init__(engines, history, options)
        self.session = Cascade(
            engines, options or Settings(), self.trace, self.clock, history, [WEATHER], **fixed
        )
        self.results = list(results)
        self.tasks: list[asyncio.Task[None]] = []
        self.times: list[tuple[float, Event]] = []

    def told(self, event: Event) -> None:
        self.times.append((asyncio.get_running_loop().time(), event))
        if isinstance(event, ToolCall) and self.results:
            self.tasks.append(asyncio.create_task(self.work(event, *self.results.pop(0))))

    async def read(self) -> None:
        await super().read()
        for task in self.tasks:
            task.cancel()

    async def work(self, call: ToolCall, seconds: float, output: str) -> None:
        await asyncio.sleep(seconds)
        await self.session.tool_result(call.id, output)

    def kept(self) -> list[tuple[str, str]]:
        return [(m.role, m.content) for m in self.session.history]

    def time(self, event: Event) -> float:
        return next(t for t, e in self.times if e == event)

    def text(self, reply_id: str) -> str:
        return "".join(
            e.delta for e in self.events if isinstance(e, ReplyText) and e.id == reply_id
        )


def check_prompt(prompt: Sequence[Any]) -> None:
    """What every chat server and template takes: each call is followed by its results, in order."""
    wanted: list[str] = []
    ids: list[str] = []
    last = ""
    for message in prompt:
        role = message["role"]
        if wanted:
            assert role == "tool", "a call without a result"
        if role == "tool":
            assert message["tool_call_id"] == wanted.pop(0)
        else:
            assert role != last
            assert (last, role) != ("tool", "user")
        for call in message.get("tool_calls", ()):
            assert role == "assistant"
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            wanted.append(call["id"])
            ids.append(call["id"])
        assert message["content"] or message.get("tool_calls")
        last = role
    assert not wanted
    assert len(ids) == len(set(ids))


def test_a_tool_is_called_and_what_it_gives_is_told_in_the_same_reply() -> None:
    model = Model([f"Let me check. {ROME}", "It is sunny in Rome."])
    scene = run(ToolScene(Engines(["Weather?"], model)), *QUESTION, (8.0, False))
    assert scene.of(ToolCall) == [ToolCall(1, "call00001", "weather", '{"city":"Rome"}')]
    assert scene.of(ReplyStarted) == [ReplyStarted(1, "reply-1")]
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    assert scene.of(Usage) == [Usage(1, 10, 5, 4), Usage(1, 10, 5, 5)]
    assert scene.engines.voice.said[0] == "Let me check."
    assert " ".join(scene.engines.voice.said) == "Let me check. It is sunny in Rome."
    assert scene.kept() == [
        ("user", "Weather?"),
        ("assistant", "Let me check."),
        ("tool", "sunny"),
        ("assistant", "It is sunny in Rome."),
    ]
    first, second = model.prompts
    assert isinstance(first, Prompt)
    assert first.tools == (WEATHER,)
    assert second[2:] == [
        {
            "role": "assistant",
            "content": "Let me check.",
            "tool_calls": [
                {
                    "id": "call00001",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                }
            ],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "call00001"},
    ]


def test_words_before_the_call_are_heard_while_the_tool_works() -> None:
    model = Model([f"Let me check. {ROME}", "It is sunny."])
    scene = run(ToolScene(Engines(["Weather?"], model), [(5, "sunny")]), *QUESTION, (12.0, False))
    [call] = scene.of(ToolCall)
    marks = scene.trace.marks(1)
    assert marks["committed"] / 1e9 <= scene.time(call) < marks["heard.first"] / 1e9 + 1
    assert marks["heard.first"] / 1e9 < scene.time(call) + 1
    assert min(scene.sounding) < scene.time(call) + 0.5
    assert marks["llm.first_token"] < marks["committed"] < marks["llm.last_token"]
    answer = [t for t, e in scene.times if isinstance(e, ReplyText) and "sunny" in e.delta]
    assert answer[0] >= scene.time(call) + 5


@pytest.mark.parametrize("mode", ["speculative", "overlapped", "sequential"])
def test_what_sounds_after_the_call_and_was_said_before_it_is_a_filler(mode: str) -> None:
    options = Settings.model_validate({"reply": {"mode": mode}})
    words = "Well, let me see what I can find out about that for you right now."
    engines = Engines(["Weather?"], Model([f"{words} {ROME}", "It is sunny."]))
    engines.voice.delay_s = 0.5
    scene = ToolScene(engines, [(9, "sunny")], options)
    run(scene, *QUESTION, (20.0, False))
    [call] = scene.of(ToolCall)
    at = scene.events.index(call)
    audio = [(i, e) for i, e in enumerate(scene.events) if isinstance(e, ReplyAudio)]
    answer = scene.time(call) + 9
    late = [e for i, e in audio if i > at and scene.time(e) < answer]
    assert late or mode == "sequential"
    assert all(e.filler for e in late)
    assert not any(e.filler for i, e in audio if scene.time(e) >= answer)
    assert [e for _, e in audio if scene.time(e) >= answer]
    assert scene.text("reply-1") == f"{words} It is sunny. "
    assert scene.session.history[-1].content == "It is sunny."


def test_a_speculation_that_is_dropped_calls_nothing() -> None:
    engines = Engines(["Weather", "in Oslo?"], Model([ROME, OSLO, "It is cold."]))
    scene = ToolScene(engines)
    run(scene, (0.5, False), (0.6, True), (0.4, False), (0.6, True), (8.0, False))
    assert [call.arguments for call in scene.of(ToolCall)] == ['{"city":"Oslo"}']  # type: ignore[attr-defined]
    assert scene.events.index(SpeechStopped(1)) < scene.events.index(scene.of(ToolCall)[0])
    assert [m.role for m in scene.session.history] == ["user", "assistant", "tool", "assistant"]


def test_all_calls_of_a_pass_are_answered_before_the_model_goes_on() -> None:
    model = Model([f"{ROME} {OSLO}", "Sunny and cold."])
    scene = ToolScene(Engines(["Weather?"], model), [(3, "sunny"), (1, "cold")])
    run(scene, *QUESTION, (9.0, False))
    assert [m["content"] for m in model.prompts[1][-2:]] == ["sunny", "cold"]
    assert len(scene.of(ToolCall)) == 2
    check_prompt(model.prompts[1])


def test_tools_after_tools_and_then_enough() -> None:
    model = Model([ROME, OSLO, f"Once more. {ROME}"])
    scene = run(ToolScene(Engines(["Weather?"], model), tool_rounds=2), *QUESTION, (9.0, False))
    assert len(scene.of(ToolCall)) == 2
    [failed] = scene.of(Failure)
    assert isinstance(failed, Failure)
    assert "called tools 2 times" in failed.message
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "failed")]
    assert scene.engines.voice.said == ["Once more."]


def test_the_user_goes_on_while_a_tool_works_and_hears_of_it_later() -> None:
    model = Model([f"Let me check. {ROME}", "Nine.", "It is sunny in Rome."])
    engines = Engines(["Weather?", "What time is it?"], model)
    scene = ToolScene(engines, [(10, "sunny")])
    run(scene, *QUESTION, (4.0, False), (0.8, True), (14.0, False))
    assert scene.of(ReplyDone) == [
        ReplyDone(1, "reply-1", "completed"),
        ReplyDone(2, "reply-2", "completed"),
        ReplyDone(1, "reply-1b", "completed"),
    ]
    assert not scene.of(ReplyInterrupted)
    assert scene.of(ReplyStarted)[-1] == ReplyStarted(1, "reply-1b")
    _, meanwhile, late = model.prompts
    check_prompt(meanwhile)
    check_prompt(late)
    assert [m["content"] for m in meanwhile[2:]] == [
        "Let me check.",
        RUNNING,
        UNSPOKEN,
        "What time is it?",
    ]
    assert late[-2]["content"] == "Nine."
    assert late[-1]["content"] == "sunny"
    assert scene.kept() == [
        ("user", "Weather?"),
        ("assistant", "Let me check."),
        ("user", "What time is it?"),
        ("assistant", "Nine."),
        ("assistant", ""),
        ("tool", "sunny"),
        ("assistant", "It is sunny in Rome."),
    ]


def test_a_late_result_waits_until_nobody_speaks_and_nothing_is_answered() -> None:
    model = Model([ROME, LONG, "It is sunny."])
    scene = ToolScene(Engines(["Weather?", "When is that?"], model), [(2.5, "sunny")])
    run(scene, *QUESTION, (1.5, False), (2.0, True), (30.0, False))
    heard = [t for t in scene.sounding if t < scene.time(ReplyStarted(1, "reply-1b"))]
    assert len(heard) * 0.02 > len(LONG) * 60 / 1000 * 0.9
    assert scene.of(ReplyDone)[-1] == ReplyDone(1, "reply-1b", "completed")


def test_a_late_reply_leaves_the_marks_of_the_turn_alone() -> None:
    model = Model([f"Let me check. {ROME}", "Nine.", "It is sunny in Rome."])
    scene = ToolScene(Engines(["Weather?", "What time is it?"], model), [(6, "sunny")])
    seen: list[dict[str, int]] = []

    async def script() -> None:
        async with scene.session:
            reader = asyncio.create_task(scene.read())
            player = asyncio.create_task(scene.play())
            for seconds, loud in [*QUESTION, (4.0, False), (0.8, True), (1.0, False)]:
                await scene.speak(seconds, loud=loud)
            seen.append(scene.trace.marks(1))
            await scene.speak(9.0, loud=False)
            player.cancel()
        await reader

    virtual_time.run(script())
    assert ReplyDone(1, "reply-1b", "completed") in scene.events
    after = scene.trace.marks(1)
    for name in set(after) - {"heard.first"}:  # which is the scene's own
        assert after[name] == seen[0][name], name


def test_speaking_over_the_words_before_the_call_keeps_what_was_heard() -> None:
    model = Model([f"{LONG} {ROME}", "Fine.", "It is sunny."])
    scene = ToolScene(Engines(["Weather?", "Stop that."], model), [(7, "sunny")])
    run(scene, *QUESTION, (4.0, False), (1.0, True), (12.0, False))
    [interrupted] = scene.of(ReplyInterrupted)
    assert isinstance(interrupted, ReplyInterrupted)
    assert ReplyDone(1, "reply-1", "interrupted") in scene.events
    heard = interrupted.heard_text
    assert 3 < len(heard.split()) < len(LONG.split())
    said = scene.kept()
    assert said[1][0] == "assistant"
    assert said[1][1].startswith(heard)
    assert len(said[1][1]) < len(LONG) / 2
    assert scene.of(ToolCall)
    assert scene.of(ReplyDone)[-1] == ReplyDone(1, "reply-1b", "completed")
    assert said[-2:] == [("tool", "sunny"), ("assistant", "It is sunny.")]


def test_a_late_reply_can_be_interrupted_too_and_calls_again() -> None:
    model = Model([ROME, "Nine.", f"Sunny. {OSLO}", "Ten.", "It is cold in Oslo."])
    engines = Engines(["Weather?", "What time is it?", "And now?"], model)
    scene = ToolScene(engines, [(5, "sunny"), (6, "cold")])
    run(scene, *QUESTION, (2.0, False), (0.8, True), (6.0, False), (0.8, True), (12.0, False))
    assert [(e.id, e.status) for e in scene.events if isinstance(e, ReplyDone)] == [
        ("reply-1", "completed"),
        ("reply-2", "completed"),
        ("reply-1b", "completed"),
        ("reply-3", "completed"),
        ("reply-1c", "completed"),
    ]
    for prompt in model.prompts:
        check_prompt(prompt)
    assert [m.content for m in scene.session.history if m.content] == [
        *("Weather?", "What time is it?", "Nine.", "sunny", "Sunny."),
        *("And now?", "Ten.", "cold", "It is cold in Oslo."),
    ]


def test_a_cough_while_a_tool_works_changes_nothing() -> None:
    engines = Engines(["Weather?", ""], Model([ROME, "It is sunny."]))
    scene = ToolScene(engines, [(4, "sunny")])
    run(scene, *QUESTION, (2.0, False), (0.2, True), (9.0, False))
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]


def test_leaving_the_session_cancels_what_is_open() -> None:
    scene = ToolScene(Engines(["Weather?"], Model([f"{ROME} {OSLO}"])), [(1, "sunny")])

    async def script() -> None:
        async with scene.session:
            reader = asyncio.create_task(scene.read())
            for seconds, loud in [*QUESTION, (4.0, False)]:
                await scene.speak(seconds, loud=loud)
        await reader
        assert scene.of(ToolCancelled) == [ToolCancelled(1, "call00002")]
        await scene.session.tool_result("call00002", "cold")
        with pytest.raises(CascadeError, match="'call00001' is open"):
            await scene.session.tool_result("call00001", "again")
        with pytest.raises(CascadeError, match="'other' is open"):
            await scene.session.tool_result("other", "cold")

    virtual_time.run(script())
    assert scene.kept() == [
        ("user", "Weather?"),
        ("assistant", ""),
        ("tool", "sunny"),
        ("tool", CANCELLED),
    ]


@pytest.mark.parametrize("budget", [64, 300, 100_000])
def test_a_megabyte_is_cut_to_what_the_prompt_has_room_for(budget: int) -> None:
    options = Settings(conversation=ConversationSettings(budget_tokens=budget))
    model = Model([ROME, "That is a lot."])
    scene = ToolScene(Engines(["Weather?"], model), [(1, "sunny " * 180_000)], options)
    run(scene, *QUESTION, (9.0, False))
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    result = model.prompts[1][-1]["content"]
    assert result.startswith("sunny sunny")
    assert result.endswith("[cut off here: 1079999 characters in all]")
    assert len(result) <= max(200, min(1500, budget * 3.5))


def test_a_server_that_refuses_tools_is_told_of_once() -> None:
    refusal = ToolsRefused("llm", "it refuses the tools")
    model = Model([refusal, "Nine.", "Ten."])
    scene = ToolScene(Engines(["When?"], model))
    run(scene, *[*QUESTION, (4.0, False)] * 3)
    assert scene.of(Failure) == [Failure(1, "llm", "it refuses the tools", False)]
    assert [e.status for e in scene.events if isinstance(e, ReplyDone)] == [
        "failed",
        "completed",
        "completed",
    ]
    assert [prompt.tools for prompt in model.prompts if isinstance(prompt, Prompt)] == [
        (WEATHER,),
        (),
        (),
    ]


def test_a_refusal_that_nobody_learns_of_does_not_count() -> None:
    refusal = ToolsRefused("llm", "it refuses the tools")
    scene = ToolScene(Engines(["Weather", "in Oslo?"], Model([refusal, refusal])))
    run(scene, (0.5, False), (0.6, True), (0.4, False), (0.6, True), (8.0, False))
    assert scene.of(Failure) == [Failure(1, "llm", "it refuses the tools", False)]


def test_a_voice_that_fails_before_the_result_is_there_does_not_lose_it() -> None:
    model = Model([f"This will FAIL now. {ROME}", "It is sunny."])
    scene = ToolScene(Engines(["Weather?"], model), [(3, "sunny")])
    scene.engines.voice.delay_s = 0.3
    run(scene, *QUESTION, (9.0, False))
    done = [(e.id, e.status) for e in scene.events if isinstance(e, ReplyDone)]
    assert done[0] == ("reply-1", "failed")
    assert done[1:] in ([], [("reply-1b", "completed")])
    assert len(done[1:]) == len(scene.of(ToolCall))


def test_a_result_that_is_there_before_the_model_fails_is_kept() -> None:
    model = Model([ROME, StageError("llm", "gone"), "It is sunny."])
    scene = ToolScene(Engines(["Weather?", "Well?"], model))
    run(scene, *QUESTION, (4.0, False), (0.8, True), (5.0, False))
    assert [e.status for e in scene.events if isinstance(e, ReplyDone)] == ["failed", "completed"]
    assert [m["content"] for m in model.prompts[2][2:]] == ["", "sunny", UNSPOKEN, "Well?"]
    check_prompt(model.prompts[2])


def test_a_conversation_with_calls_is_resumed_and_ids_stay_apart() -> None:
    scene = ToolScene(Engines(["Weather?"], Model([ROME, "Sunny."])))
    run(scene, *QUESTION, (5.0, False))
    again = ToolScene(
        Engines(["And?"], Model([ROME, "Sunny still."])), history=scene.session.history
    )
    run(again, *QUESTION, (5.0, False))
    assert [call.id for call in again.of(ToolCall)] == ["call00002"]  # type: ignore[attr-defined]
    assert again.events[-1] == ReplyDone(2, "reply-2", "completed")
    check_prompt(again.engines.model.prompts[-1])


def test_tools_are_read_ahead_before_the_first_turn() -> None:
    scene = run(ToolScene(Engines(["When?"], Model(["Nine."]))), *QUESTION, (3.0, False))
    first = scene.engines.ahead[0]
    assert isinstance(first, Prompt)
    assert first.tools == (WEATHER,)
    assert first[0]["role"] == "system"


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0.02, 2.5), st.booleans()), max_size=12),
    st.lists(st.tuples(st.floats(0, 4), st.just("sunny")), max_size=12),
    st.lists(st.sampled_from(["When?", "", "FAIL"]), min_size=20, max_size=20),
    st.lists(st.sampled_from(SCRIPTS), min_size=60, max_size=60),
)
def test_any_dialogue_with_tools_leaves_a_sane_state(
    parts: list[tuple[float, bool]],
    results: list[tuple[float, str]],
    texts: list[str],
    scripts: list[str],
) -> None:
    model = Model(list(scripts))
    scene = ToolScene(Engines(texts, model), results)
    run(scene, (0.3, False), (0.6, True), *parts, (5.0, False))
    for prompt in (*model.prompts, *scene.engines.ahead):
        check_prompt(prompt)
    stopped = [e.turn for e in scene.of(SpeechStopped)]
    done = [e.id for e in scene.events if isinstance(e, ReplyDone) and e.id]
    assert len(done) == len(set(done))
    own = [
        e.turn for e in scene.events if isinstance(e, ReplyDone) and e.id in ("", f"reply-{e.turn}")
    ]
    assert len(own) == len(set(own))
    started = [e.id for e in scene.events if isinstance(e, ReplyStarted)]
    assert len(started) == len(set(started))
    calls = [e for e in scene.events if isinstance(e, ToolCall)]
    assert len({call.id for call in calls}) == len(calls)
    for call in calls:
        assert call.turn in stopped
        assert scene.events.index(SpeechStopped(call.turn)) < scene.events.index(call)
    kept = {m.call_id: m.content for m in scene.session.history if m.call_id}
    assert set(kept) == {call.id for call in calls}
    assert RUNNING not in kept.values()
    cancelled = {e.id for e in scene.events if isinstance(e, ToolCancelled)}
    assert {id for id, content in kept.items() if content == CANCELLED} == cancelled
    assert model.open == scene.engines.voice.open == 0
    assert not [e for e in scene.of(Failure) if "cascade" in str(e)]
    assert len([e for e in scene.of(Transcript) if e.turn == 0]) == 0


@pytest.mark.usefixtures(hermetic.__name__)
async def test_over_real_sockets_a_tool_works_while_the_user_goes_on() -> None:
    """With the real client and clock: the late result is the last thing that the server is sent."""
    called = [
        delta("Let me check."),
        tool_call('{"city":', index=0, id="c9", name="weather"),
        tool_call('"Rome"}', index=0),
        finish("tool_calls"),
        DONE,
    ]
    answers = [Answer(called), reply("Nine."), reply("Sunny.")]
    server = LlmServer(*answers, otherwise=Answer(called))
    async with server, client(server.url) as model:
        options = Settings(turns=TurnSettings(predict=False))
        scene = ToolScene(Engines(["Weather?", "When is that?"], model), [], options)  # type: ignore[arg-type]
        async with scene.session, asyncio.timeout(HANG_GUARD_S):
            reader = asyncio.create_task(scene.read())
            player = asyncio.create_task(scene.play())
            await scene.speak(0.8, loud=True)
            while not scene.of(ToolCall):
                await scene.speak(0.1, loud=False)
            await scene.speak(1.5, loud=True)
            while ReplyDone(2, "reply-2", "completed") not in scene.events:
                await scene.speak(0.1, loud=False)
            await scene.session.tool_result("c9", "25 degrees")
            while scene.kept()[-1] != ("assistant", "Sunny."):
                await scene.speak(0.1, loud=False)
            player.cancel()
        await reader
        bodies = [request.body for request in server.requests]
    assert [body["tools"][0]["function"]["name"] for body in bodies] == ["weather"] * len(bodies)
    assert [m["content"] for m in bodies[1]["messages"]][3:5] == [RUNNING, UNSPOKEN]
    assert bodies[-1]["messages"][-1] == {
        "role": "tool",
        "content": "25 degrees",
        "tool_call_id": "c9",
    }
    assert ReplyDone(1, "reply-1b", "completed") in scene.events
