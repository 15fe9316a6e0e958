"""Tools beside the conversation, in virtual time: what fills the wait, when results are told, what
is cancelled or asked for twice."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scene import BLUNT, LONG, Scene, check_prompt, run
from support.scripted import Engines, Model

from pipeline.conversation.history import CANCELLED, RUNNING
from pipeline.conversation.open_calls import NOTHING_RUNS, STILL_RUNNING
from pipeline.conversation.phrases import PHRASES, bridge, called_off
from pipeline.conversation.reply import PACE
from pipeline.engines.llm import Messages, Piece
from pipeline.engines.tools import IDLE_S, Told, Tool, ToolUse
from pipeline.events import (
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ToolCall,
    ToolCancelled,
    Transcript,
)
from pipeline.tools.toolbox import CANCEL

ROME = 'CALL:weather:{"city":"Rome"}'
STOP = f"CALL:{CANCEL.name}:{{}}"
QUESTION = ((0.5, False), (0.8, True))
FIRST, AGAIN, *_ = PHRASES["en"]


def scene(
    *scripts: str,
    results: tuple[tuple[float, str], ...] = ((3.0, "sunny"),),
    told: Told = "idle",
    texts: tuple[str, ...] = ("Weather?", "What time is it?", "And now?"),
    **more: Any,
) -> Scene:
    """The model writes these scripts; a tool is answered after so many seconds."""
    engines = Engines(texts, Model(list(scripts)))
    engines.voice.pieces = 10
    tools = [Tool("weather", told=told), CANCEL]
    return Scene(engines, tools=tools, results=results * 9, **more)


def test_a_wait_is_filled_with_a_few_words_that_are_no_part_of_the_reply() -> None:
    one = run(scene(ROME, "It is sunny."), *QUESTION, (8.0, False))
    [call] = one.of(ToolCall)
    first = one.of(ReplyAudio)[0]
    assert PACE.bridge_s <= one.time(first) - one.time(call) <= PACE.bridge_s + 0.1
    assert one.engines.voice.said == [FIRST[0], "It is sunny."]
    before = [e for e in one.of(ReplyAudio) if one.time(e) < one.time(call) + 3]
    assert before and all(e.filler for e in before)
    assert not one.of(ReplyAudio)[-1].filler
    assert one.text("reply-1").strip() == "It is sunny."
    assert one.kept() == [
        ("user", "Weather?"),
        ("assistant", ""),
        ("tool", "sunny"),
        ("assistant", "It is sunny."),
    ]
    marks = one.trace.marks(1)
    parts = one.timeline().parts
    assert marks["llm.first_token"] / 1e9 <= one.time(call)
    assert parts["first_clause"] / 1e9 == pytest.approx(PACE.bridge_s, abs=0.05)
    assert parts["llm_first_token"] < 0.1e9, "the model is not to blame for the tool"
    assert "moment" not in json.dumps(one.engines.model.prompts[-1])
    assert one.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]


@pytest.mark.parametrize(
    ("script", "seconds", "said"),
    [
        (ROME, 0.35, []),
        (ROME, 3, [FIRST[0]]),
        (ROME, 20, [FIRST[0], AGAIN[1], AGAIN[2]]),
        (f"Let me check. {ROME}", 3, ["Let me check."]),
        (f"Let me check. {ROME}", 9, ["Let me check.", AGAIN[0]]),
    ],
)
def test_when_something_is_said(script: str, seconds: float, said: list[str]) -> None:
    one = scene(script, "It is sunny.", results=((seconds, "sunny"),))
    run(one, *QUESTION, (seconds + 4, False))
    assert one.engines.voice.said == [*said, "It is sunny."]
    assert one.kept()[-1] == ("assistant", "It is sunny.")


def test_each_call_is_bridged_in_other_words_and_only_in_the_voices_language() -> None:
    one = scene(ROME, "Sunny.", ROME, "Sunny.", results=((2.0, "sunny"),))
    run(one, *QUESTION, (6.0, False), (0.8, True), (6.0, False))
    assert one.engines.voice.said == [FIRST[0], "Sunny.", FIRST[1], "Sunny."]
    other = scene(ROME, "Sunny.")
    other.engines.voice.language = "xx"
    run(other, *QUESTION, (8.0, False))
    assert other.engines.voice.said == ["Sunny."]
    for language, known in PHRASES.items():
        assert len(set(known.wait)) == len(set(known.still)) == 3
        assert bridge(f"{language}-XX", 4, again=True) == known.still[1]


def test_the_user_speaks_over_what_fills_the_wait() -> None:
    one = scene(ROME, "Nine.", "It is sunny.", results=((6.0, "sunny"),))
    run(one, *QUESTION, (1.0, False), (1.2, True), (10.0, False))
    [interrupted] = one.of(ReplyInterrupted)
    assert interrupted.heard_text == ""
    assert [(e.id, e.status) for e in one.of(ReplyDone)] == [
        ("reply-1", "interrupted"),
        ("reply-2", "completed"),
        ("reply-1b", "completed"),
    ]
    assert [text for _, text in one.kept()] == [
        *("Weather?", "What time is it?", "Nine.", "", "sunny", "It is sunny.")
    ]


@pytest.mark.parametrize("mode", ["speculative", "overlapped", "sequential"])
@pytest.mark.parametrize("told", ["now", "idle"])
def test_an_urgent_answer_breaks_off_what_fills_the_wait(told: Told, mode: str) -> None:
    options = BLUNT.model_copy(update={"reply": BLUNT.reply.model_copy(update={"mode": mode})})
    one = scene(ROME, "It is sunny.", results=((0.7, "sunny"),), told=told, options=options)
    run(one, *QUESTION, (6.0, False))
    made = sum(len(e.frame.samples) for e in one.of(ReplyAudio) if e.filler)
    whole = len(FIRST[0]) * one.engines.voice.samples_per_char
    if told == "now" and mode != "sequential":
        assert 0 < made < whole * 0.7
    else:
        assert made == pytest.approx(whole, abs=60)
    assert one.kept()[-1] == ("assistant", "It is sunny.")
    assert one.position["reply-1"] > made, "the answer is heard too"


def test_when_a_late_result_is_told() -> None:
    def gap(told: Told) -> float | None:
        """From the end of the reply meanwhile to the late one (s)."""
        one = scene(f"Let me see. {ROME}", LONG, "It is sunny.", told=told)
        run(one, *QUESTION, (2.5, False), (0.8, True), (40.0, False))
        assert [m.content for m in one.session.history if m.role == "tool"] == ["sunny"]
        for prompt in one.engines.model.prompts:
            check_prompt(prompt)
        late = [e for e in one.of(ReplyStarted) if e.id == "reply-1b"]
        if not late:
            return None
        at = one.time(late[0])
        return at - max(t for t in one.sounding if t < at)

    now, idle = gap("now"), gap("idle")
    assert now is not None and idle is not None
    assert now < 0.1
    assert idle == pytest.approx(IDLE_S, abs=0.05)
    assert gap("silent") is None


def test_a_silent_tool_holds_up_no_reply_that_has_words() -> None:
    one = scene(f"I note it. {ROME}", "Nine.", told="silent")
    run(one, *QUESTION, (6.0, False), (0.8, True), (4.0, False))
    assert one.engines.voice.said == ["I note it.", "Nine."]
    assert one.time(ReplyDone(1, "reply-1", "completed")) < one.time(one.of(ToolCall)[0]) + 0.5
    assert "sunny" in [m["content"] for m in one.engines.model.prompts[1]]
    alone = run(scene(ROME, "Noted.", told="silent"), *QUESTION, (6.0, False))
    assert alone.engines.voice.said[-1] == "Noted."


def test_what_runs_is_cancelled_on_request_and_its_result_never_told() -> None:
    one = scene(f"Let me see. {ROME}", STOP, "It is cancelled.", results=((9.0, "sunny"),))
    run(one, *QUESTION, (3.0, False), (0.8, True), (12.0, False))
    [call] = one.of(ToolCall)
    assert one.of(ToolCancelled) == [ToolCancelled(1, call.id)]
    assert one.engines.voice.said == ["Let me see.", "It is cancelled."]
    assert [m.content for m in one.session.history if m.role == "tool"] == [
        CANCELLED,
        "Cancelled: weather.",
    ]
    assert RUNNING in [m["content"] for m in one.engines.model.prompts[1]]
    for prompt in one.engines.model.prompts:
        check_prompt(prompt)
    idle = run(scene(STOP, "Nothing to stop."), *QUESTION, (4.0, False))
    assert ("tool", NOTHING_RUNS) in idle.kept()
    assert not idle.of(ToolCall)


@pytest.mark.parametrize("mode", ["speculative", "overlapped"])
def test_what_runs_is_called_off_in_so_many_words(mode: str) -> None:
    """Whatever the model makes of it: it is asked when that is done."""
    options = BLUNT.model_copy(update={"reply": BLUNT.reply.model_copy(update={"mode": mode})})
    texts = ("Weather?", "No, cancel that, please.")
    one = scene(f"Let me see. {ROME}", "All right.", texts=texts, options=options)
    run(one, *QUESTION, (2.0, False), (0.8, True), (9.0, False))
    [call] = one.of(ToolCall)
    assert one.of(ToolCancelled) == [ToolCancelled(1, call.id)]
    assert one.engines.voice.said == ["Let me see.", "All right."]
    assert one.engines.model.prompts[-1][-3]["content"] == CANCELLED
    assert one.engines.model.prompts[-1][-1]["content"] == texts[1]


@pytest.mark.parametrize(
    ("text", "off"),
    [
        ("Never mind.", True),
        ("Oh, forget it!", True),
        ("Vergiss es, danke.", True),
        ("Non, laisse tomber.", True),
        ("Não, deixa para lá.", True),
        ("Cancel my appointment at five.", False),
        ("No.", False),
        ("Stop.", False),
        ("", False),
    ],
)
def test_what_calls_a_tool_off(text: str, off: bool) -> None:
    assert called_off(text) == off


def test_the_same_call_is_not_made_twice_at_a_time() -> None:
    same = 'CALL:weather:{"city":\t"Rome"}'
    one = scene(f"Let me see. {ROME}", same, "Not yet.", "Sunny.", results=((9.0, "sunny"),))
    run(one, *QUESTION, (3.0, False), (0.8, True), (14.0, False))
    assert len(one.of(ToolCall)) == 1
    assert ("tool", STILL_RUNNING) in one.kept()
    assert one.engines.voice.said == ["Let me see.", "Not yet.", "Sunny."]
    twice = scene(f"{ROME} {ROME}", "Sunny.")
    run(twice, *QUESTION, (6.0, False))
    assert len(twice.of(ToolCall)) == 2, "side by side it is meant"


class Repeats(Model):
    """Calls a tool with what the user has said last, and answers its result."""

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        self.prompts.append(messages)
        last = messages[-1]
        if last["role"] == "tool":
            yield f"You said {last['content']}. "
        else:
            yield ToolUse("", "weather", json.dumps({"said": last["content"]}))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 1.5), st.floats(0.2, 1.5)), min_size=1, max_size=8),
    st.lists(st.floats(0, 4), min_size=1, max_size=8),
)
def test_no_tool_runs_for_a_turn_that_was_not_committed(
    parts: list[tuple[float, float]], delays: list[float]
) -> None:
    """Each part of what the user says is another word: what is called with tells how far it was."""
    model = Repeats([])
    engines = Engines([f"word{i}" for i in range(40)], model)
    results = tuple((delay, "x") for delay in delays)
    one = Scene(engines, tools=[Tool("weather")], results=results * 9)
    spoken = [step for pause, loud in parts for step in ((pause, False), (loud, True))]
    run(one, *spoken, (6.0, False))
    said = {e.turn: e.text for e in one.of(Transcript) if e.final}
    assert one.of(ToolCall)
    for call in one.of(ToolCall):
        # What was said before and has no answer yet is asked with it.
        assert json.loads(call.arguments)["said"].endswith(said[call.turn])
        assert one.events.index(call) > one.events.index(
            Transcript(call.turn, said[call.turn], True)
        )
