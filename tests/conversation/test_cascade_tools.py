"""Tools in the whole session, in virtual time: calls, early and late results, interruptions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.llm_server import DONE, Answer, LlmServer, delta, finish, reply, tool_call
from support import virtual_time
from support.llm_client import HANG_GUARD_S, client, hermetic
from support.scene import BLUNT, LONG, Scene, check_prompt, run
from support.scripted import Engines, Model

from pipeline.config import ConversationSettings, Settings
from pipeline.conversation.history import CANCELLED, RUNNING, UNSPOKEN, History, Message
from pipeline.conversation.open_calls import NOTHING_RUNS, STILL_RUNNING, OpenCalls
from pipeline.conversation.reply import TOOL_ROUNDS
from pipeline.engines.tools import Prompt, Told, Tool, ToolUse
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
    ToolCancelled,
    Usage,
)
from pipeline.tools.toolbox import CANCEL

WEATHER = Tool("weather", "Tells the weather of a city.")
ROME = 'CALL:weather:{"city":"Rome"}'
OSLO = 'CALL:weather:{"city":"Oslo"}'
STOP = f"CALL:{CANCEL.name}:{{}}"
SCRIPTS = [ROME, f"{ROME} {OSLO}", f"Let me see. {OSLO}", "Yes.", LONG, "", "It BREAK now.", STOP]
OURS = (STILL_RUNNING, NOTHING_RUNS, "Cancelled: ")
"""What calls give that nobody had to run."""

QUESTION = ((0.5, False), (0.8, True))


def with_tools(
    engines: Engines,
    results: Sequence[tuple[float, str]] = ((0.5, "sunny"),) * 9,
    options: Settings | None = None,
    tools: Sequence[Tool] = (WEATHER,),
    **more: Any,
) -> Scene:
    """A scene with a tool that takes its time."""
    return Scene(engines, options=options, tools=tools, results=results, **more)


def test_a_tool_is_called_and_what_it_gives_is_told_in_the_same_reply() -> None:
    model = Model([f"Let me check. {ROME}", "It is sunny in Rome."])
    scene = run(with_tools(Engines(["Weather?"], model)), *QUESTION, (8.0, False))
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
    scene = run(with_tools(Engines(["Weather?"], model), [(5, "sunny")]), *QUESTION, (12.0, False))
    [call] = scene.of(ToolCall)
    marks = scene.trace.marks(1)
    assert marks["committed"] / 1e9 <= scene.time(call) < marks["heard.first"] / 1e9 + 1
    assert marks["heard.first"] / 1e9 < scene.time(call) + 1
    assert min(scene.sounding) < scene.time(call) + 0.5
    assert marks["llm.first_token"] < marks["committed"] < marks["llm.last_token"]
    [answer] = [e for e in scene.of(ReplyText) if "sunny" in e.delta]
    assert scene.time(answer) >= scene.time(call) + 5


@pytest.mark.parametrize("mode", ["speculative", "overlapped", "sequential"])
def test_what_sounds_after_the_call_and_was_said_before_it_is_a_filler(mode: str) -> None:
    options = Settings.model_validate({"reply": {"mode": mode}})
    words = "Well, let me see what I can find out about that for you right now."
    engines = Engines(["Weather?"], Model([f"{words} {ROME}", "It is sunny."]))
    engines.voice.delay_s = 0.5
    scene = with_tools(engines, [(9, "sunny")], options)
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
    scene = with_tools(engines)
    run(scene, (0.5, False), (0.6, True), (0.4, False), (0.6, True), (8.0, False))
    assert [call.arguments for call in scene.of(ToolCall)] == ['{"city":"Oslo"}']
    assert scene.events.index(SpeechStopped(1)) < scene.events.index(scene.of(ToolCall)[0])
    assert [m.role for m in scene.session.history] == ["user", "assistant", "tool", "assistant"]


def test_all_calls_of_a_pass_are_answered_before_the_model_goes_on() -> None:
    model = Model([f"{ROME} {OSLO}", "Sunny and cold."])
    scene = with_tools(Engines(["Weather?"], model), [(3, "sunny"), (1, "cold")])
    run(scene, *QUESTION, (9.0, False))
    assert [m["content"] for m in model.prompts[1][-2:]] == ["sunny", "cold"]
    assert len(scene.of(ToolCall)) == 2
    check_prompt(model.prompts[1])


def test_tools_after_tools_and_then_enough() -> None:
    model = Model([ROME, OSLO, ROME, OSLO, ROME, f"Once more. {ROME}"])
    scene = run(with_tools(Engines(["Weather?"], model)), *QUESTION, (20.0, False))
    assert len(scene.of(ToolCall)) == TOOL_ROUNDS
    [failed] = scene.of(Failure)
    assert "called tools 5 times" in failed.message
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "failed")]
    assert scene.engines.voice.said == ["One moment, I'm checking.", "Once more."]


def test_the_user_goes_on_while_a_tool_works_and_hears_of_it_later() -> None:
    model = Model([f"Let me check. {ROME}", "Nine.", "It is sunny in Rome."])
    engines = Engines(["Weather?", "What time is it?"], model)
    scene = with_tools(engines, [(10, "sunny")])
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
    scene = with_tools(Engines(["Weather?", "When is that?"], model), [(2.5, "sunny")])
    run(scene, *QUESTION, (1.5, False), (2.0, True), (30.0, False))
    heard = [t for t in scene.sounding if t < scene.time(ReplyStarted(1, "reply-1b"))]
    assert len(heard) * 0.02 > len(LONG) * 60 / 1000 * 0.9
    assert scene.of(ReplyDone)[-1] == ReplyDone(1, "reply-1b", "completed")


def test_a_late_reply_leaves_the_marks_of_the_turn_alone() -> None:
    def marks(seconds: float) -> dict[str, int]:
        model = Model([f"Let me check. {ROME}", "Nine.", "It is sunny in Rome."])
        scene = with_tools(Engines(["Weather?", "What time is it?"], model), [(6, "sunny")])
        run(scene, *QUESTION, (4.0, False), (0.8, True), (seconds, False))
        assert (ReplyDone(1, "reply-1b", "completed") in scene.events) == (seconds > 5)
        return {**scene.trace.marks(1), "heard.first": 0}  # which is the scene's own

    assert marks(10.0) == marks(1.0)


def test_speaking_over_the_words_before_the_call_keeps_what_was_heard() -> None:
    model = Model([f"{LONG} {ROME}", "Fine.", "It is sunny."])
    scene = with_tools(Engines(["Weather?", "Stop that."], model), [(7, "sunny")])
    run(scene, *QUESTION, (4.0, False), (1.0, True), (12.0, False))
    [interrupted] = scene.of(ReplyInterrupted)
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


def test_speaking_over_the_words_after_the_call_keeps_all_that_was_heard() -> None:
    before = "Let me see what I can find out for you."
    model = Model([f"{before} {ROME}", LONG, "Fine."])
    scene = with_tools(Engines(["Weather?", "Stop that."], model))
    run(scene, *QUESTION, (9.0, False), (1.0, True), (5.0, False))
    [interrupted] = scene.of(ReplyInterrupted)
    played = scene.position["reply-1"] / scene.engines.voice.samples_per_char
    assert interrupted.heard_text.startswith(f"{before} The train leaves")
    assert len(interrupted.heard_text) == pytest.approx(played, abs=15)
    assert scene.kept()[1] == ("assistant", before)
    assert f"{before} {scene.kept()[3][1]}".startswith(interrupted.heard_text)


def test_a_late_reply_can_be_interrupted_too_and_calls_again() -> None:
    model = Model([ROME, "Nine.", f"Sunny. {OSLO}", "Ten.", "It is cold in Oslo."])
    engines = Engines(["Weather?", "What time is it?", "And now?"], model)
    scene = with_tools(engines, [(5, "sunny"), (6, "cold")])
    run(scene, *QUESTION, (3.5, False), (0.8, True), (6.0, False), (0.8, True), (12.0, False))
    assert [(e.id, e.status) for e in scene.of(ReplyDone)] == [
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
    scene = with_tools(engines, [(4, "sunny")])
    run(scene, *QUESTION, (2.0, False), (0.2, True), (9.0, False))
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]


def test_leaving_the_session_cancels_what_is_open() -> None:
    scene = with_tools(Engines(["Weather?"], Model([f"{ROME} {OSLO}"])), [(1, "sunny")])

    async def script() -> None:
        await scene.script(*QUESTION, (4.0, False))
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
    scene = with_tools(Engines(["Weather?"], model), [(1, "sunny " * 180_000)], options)
    run(scene, *QUESTION, (9.0, False))
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    result = model.prompts[1][-1]["content"]
    assert result.startswith("sunny sunny")
    assert result.endswith("[cut off here: 1079999 characters in all]")
    assert len(result) <= max(200, min(1500, budget * 3.5))


def test_a_voice_that_fails_before_the_result_is_there_does_not_lose_it() -> None:
    model = Model([f"This will FAIL now. {ROME}", "It is sunny."])
    scene = with_tools(Engines(["Weather?"], model), [(3, "sunny")])
    scene.engines.voice.delay_s = 0.3
    run(scene, *QUESTION, (9.0, False))
    done = [(e.id, e.status) for e in scene.of(ReplyDone)]
    assert done[0] == ("reply-1", "failed")
    assert done[1:] in ([], [("reply-1b", "completed")])
    assert len(done[1:]) == len(scene.of(ToolCall))


def test_a_result_that_is_there_before_the_model_fails_is_kept() -> None:
    model = Model([ROME, StageError("llm", "gone"), "It is sunny."])
    scene = with_tools(Engines(["Weather?", "Well?"], model))
    run(scene, *QUESTION, (4.0, False), (0.8, True), (5.0, False))
    assert [e.status for e in scene.of(ReplyDone)] == ["failed", "completed"]
    assert [m["content"] for m in model.prompts[2][2:]] == ["", "sunny", UNSPOKEN, "Well?"]
    check_prompt(model.prompts[2])


def test_a_conversation_with_calls_is_resumed_and_ids_stay_apart() -> None:
    scene = with_tools(Engines(["Weather?"], Model([ROME, "Sunny."])))
    run(scene, *QUESTION, (5.0, False))
    again = with_tools(
        Engines(["And?"], Model([ROME, "Sunny still."])), history=scene.session.history
    )
    run(again, *QUESTION, (5.0, False))
    assert [call.id for call in again.of(ToolCall)] == ["call00002"]
    assert again.events[-1] == ReplyDone(2, "reply-2", "completed")
    check_prompt(again.engines.model.prompts[-1])


def test_tools_are_read_ahead_before_the_first_turn() -> None:
    scene = run(with_tools(Engines(["When?"], Model(["Nine."]))), *QUESTION, (3.0, False))
    first = scene.engines.ahead[0]
    assert isinstance(first, Prompt)
    assert first.tools == (WEATHER,)
    assert first[0]["role"] == "system"


def test_ids_that_servers_leave_out_or_repeat_are_made() -> None:
    uses = [ToolUse("", "tool", "{}"), ToolUse("x", "tool", "{}"), ToolUse("x", "tool", "{}")]
    history = History("", budget_tokens=100)
    history.restore([Message("assistant", "", 1, (ToolUse("call00001", "tool", "{}"),))])
    group = OpenCalls(history).add(1, uses, 1)
    assert [use.id for use in group.uses] == ["call00002", "x", "call00003"]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.02, 2.5), st.booleans()), max_size=12),
    st.lists(st.tuples(st.floats(0, 4), st.just("sunny")), max_size=12),
    st.lists(st.sampled_from(["When?", "", "FAIL"]), min_size=20, max_size=20),
    st.lists(st.sampled_from(SCRIPTS), min_size=60, max_size=60),
    st.sampled_from(["speculative", "speculative", "overlapped", "sequential"]),
    st.sampled_from(get_args(Told)),
)
def test_any_dialogue_leaves_a_sane_state(
    parts: list[tuple[float, bool]],
    results: list[tuple[float, str]],
    texts: list[str],
    scripts: list[str],
    mode: str,
    told: Told,
) -> None:
    model = Model(list(scripts))
    options = Settings.model_validate({"reply": {"mode": mode}})
    tools = [replace(WEATHER, told=told), CANCEL]
    scene = with_tools(Engines(texts, model), results, options, tools)
    run(scene, (0.3, False), (0.6, True), *parts, (5.0, False))
    for prompt in (*model.prompts, *scene.engines.ahead):
        check_prompt(prompt)
    assert model.open == scene.engines.voice.open == 0
    assert not [failure for failure in scene.of(Failure) if failure.stage == "cascade"]
    # Each turn begins, ends, and is done with, once and in order.
    started = [e.turn for e in scene.of(SpeechStarted)]
    assert started == [e.turn for e in scene.of(SpeechStopped)] == [*range(1, len(started) + 1)]
    own = [e.turn for e in scene.of(ReplyDone) if e.id in ("", f"reply-{e.turn}")]
    assert len(own) == len(set(own))
    for kind in (ReplyStarted, ReplyDone, ToolCall):
        ids = [e.id for e in scene.of(kind) if e.id]
        assert len(ids) == len(set(ids))
    # Nothing is told of a reply before its turn is over, or after it was interrupted.
    stopped, ended = set[int](), set[str]()
    made = dict[str, int]()
    for event in scene.events:
        match event:
            case SpeechStopped():
                stopped.add(event.turn)
            case ReplyInterrupted():
                ended.add(event.id)
                assert scene.text(event.id).startswith(event.heard_text)
            case ReplyStarted() | ReplyText() | ReplyAudio() | ToolCall() | Failure():
                assert event.turn in stopped
        if isinstance(event, ReplyText | ReplyAudio):
            assert event.id not in ended
        if isinstance(event, ReplyAudio):
            assert event.frame.offset == made.get(event.id, 0), "sound is missing, or comes twice"
            made[event.id] = event.frame.offset + len(event.frame.samples)
    # Each call has what became of it.
    kept = {m.call_id: m.content for m in scene.session.history if m.call_id}
    ours = {id for id, text in kept.items() if text.startswith(OURS)}
    assert set(kept) - ours == {call.id for call in scene.of(ToolCall)}
    assert RUNNING not in kept.values()
    cancelled = {e.id for e in scene.of(ToolCancelled)}
    assert {id for id, content in kept.items() if content == CANCELLED} == cancelled


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
        engines = Engines(["Weather?", "When is that?"], model)  # type: ignore[arg-type]
        scene = with_tools(engines, [], BLUNT)
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
