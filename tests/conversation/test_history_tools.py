"""Calls and results in the history: never apart, whatever is cut, left out, late or interrupted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.conversation.history import (
    CANCELLED,
    CHARS_PER_TOKEN,
    MESSAGE_TOKENS,
    RUNNING,
    UNSPOKEN,
    History,
    Message,
    ReplyPlace,
)
from pipeline.engines.tools import Prompt, Tool, ToolUse, arguments, tool_call, tools_of

TOOL = Tool("weather", "Tells the weather.")
WEATHER = ToolUse("a", "weather", '{"city": "Rome"}')
TIME = ToolUse("b", "time", "{}")


def conversation(budget: int = 1500, retention: float = 0.6, chars: int = 1500) -> History:
    return History("Be brief.", budget_tokens=budget, retention=retention, tool_chars=chars)


def check(prompt: Prompt) -> None:
    """What chat servers and templates take."""
    wanted: list[str] = []
    last = ""
    for message in prompt:
        role = message["role"]
        assert (role == "tool") == bool(wanted), "a result follows a call, and nothing else does"
        if role == "tool":
            assert message["tool_call_id"] == wanted.pop(0)
        else:
            assert role != last
            assert (last, role) != ("tool", "user")
        for call in message.get("tool_calls", ()):
            assert role == "assistant"
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            wanted.append(call["id"])
        assert message["content"] or message.get("tool_calls")
        last = role
    assert not wanted
    json.dumps(prompt, ensure_ascii=False).encode()


def cost(prompt: Prompt) -> float:
    called = [call["function"] for m in prompt for call in m.get("tool_calls", ())]
    chars = sum(len(m["content"]) for m in prompt)
    chars += sum(len(f["name"]) + len(f["arguments"]) for f in called)
    return chars / CHARS_PER_TOKEN + MESSAGE_TOKENS * len(prompt)


def ask(talk: History, turn: int = 1) -> None:
    talk.add("user", "Weather?", turn)


# --- any conversation ---

steps = st.lists(
    st.sampled_from(["user", "call", "calls", "result", "late", "settle", "unheard", "prompt"]),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(steps, st.integers(64, 400), st.floats(0.1, 1), st.data())
def test_no_call_is_ever_without_its_result(
    steps: list[str], budget: int, retention: float, data: st.DataObject
) -> None:
    talk = conversation(budget, retention)
    turn = calls = 0
    open_calls: list[ToolUse] = []
    answered: list[tuple[ToolUse, ...]] = []
    groups: list[tuple[ToolUse, ...]] = []
    cuts: list[int] = []
    texts = ["", "Yes.", "It is quite sunny in Rome today. " * 5]
    text = ""
    for step in steps:
        if step == "user":
            turn, text, cuts = turn + 1, "", []
            talk.add("user", f"u{turn} " + data.draw(st.sampled_from(["?", "x" * 200])), turn)
        elif not turn:
            continue
        elif step in ("call", "calls"):
            uses = []
            for _ in range(1 + (step == "calls")):
                calls += 1
                uses.append(ToolUse(f"c{calls}", "weather", '{"city": "Rome"}'))
            text += data.draw(st.sampled_from(texts))
            cuts.append(len(text))
            talk.call(ReplyPlace(turn), uses)
            talk.settle(turn, text, cuts=cuts)
            open_calls += uses
            groups.append(tuple(uses))
        elif step == "result" and open_calls:
            use = open_calls.pop(data.draw(st.integers(0, len(open_calls) - 1)))
            talk.result(use.id, data.draw(st.sampled_from(["", "sunny", "\ud800", "y" * 5000])))
        elif step == "late":
            whole = [g for g in groups if not set(g) & set(open_calls) and g not in answered]
            if whole:
                answered.append(whole[0])
                place = talk.follow_up(whole[0], turn)
                prompt = talk.prompt()
                assert prompt[-1]["role"] == "tool"
                assert prompt[-1]["tool_call_id"] == whole[0][-1].id
                talk.settle(*place[:1], data.draw(st.sampled_from(texts)), part=place.part)
                text, cuts = "", []
        elif step == "settle":
            talk.settle(turn, text + " Done.", cuts=cuts)
        elif step == "unheard":
            talk.settle(turn, text[:7], cuts=cuts)
        prompt = talk.prompt(said=data.draw(st.sampled_from(["", "And now?"])))
        check(prompt)
        check(talk.prompt(reserve_tokens=50))
        newest = [m["content"] for m in prompt if m["role"] == "user"]
        assert any(f"u{turn} " in content for content in newest)
    history = talk.history
    assert [m.turn for m in history] == sorted(m.turn for m in history)
    ids = [m.call_id for m in history if m.call_id]
    assert sorted(ids) == sorted(f"c{n}" for n in range(1, calls + 1))
    running = {m.call_id for m in history if m.content == RUNNING}
    assert running == {use.id for use in open_calls}


@settings(deadline=None)
@given(st.integers(120, 800), st.lists(st.integers(1, 100_000), min_size=1, max_size=4))
def test_results_are_cut_to_what_the_budget_allows(budget: int, sizes: list[int]) -> None:
    talk = conversation(budget, chars=50_000)
    ask(talk)
    uses = [ToolUse(f"c{i}", "weather", "{}") for i in range(len(sizes))]
    talk.call(ReplyPlace(1), uses)
    for use, size in zip(uses, sizes, strict=True):
        talk.result(use.id, "z" * size)
    prompt = talk.prompt()
    check(prompt)
    least = 60 + len(sizes) * (200 / CHARS_PER_TOKEN + 20)
    assert cost(prompt) <= max(budget, least)
    for message, size in zip(prompt[3:], sizes, strict=True):
        if len(message["content"]) < size:
            assert message["content"].endswith(f"[cut off here: {size} characters in all]")
    assert [len(m.content) for m in talk.history if m.call_id] == [min(s, 50_000) for s in sizes]


# --- by hand ---


def test_words_are_shared_out_at_the_cuts() -> None:
    talk = conversation()
    ask(talk)
    text = "One moment. Still looking. Sunny."
    talk.call(ReplyPlace(1), [WEATHER])
    talk.settle(1, text[:11], cuts=[11])
    talk.result("a", "sunny")
    talk.settle(1, text[:26], cuts=[11])
    talk.call(ReplyPlace(1), [TIME])
    for heard, words in [
        (text, ["One moment.", "Still looking.", "Sunny."]),
        (text[:17], ["One moment.", "Still", None]),
        (text[:5], ["One m", "", None]),
        ("", ["", "", None]),
    ]:
        talk.settle(1, heard, cuts=[11, 26])
        assert [m.content for m in talk.history if m.role == "assistant"] == [
            w for w in words if w is not None
        ]
        assert [m.role for m in talk.history[:5]] == [
            *("user", "assistant", "tool", "assistant", "tool")
        ]
        check(talk.prompt())


def test_a_late_result_moves_to_the_end_and_the_words_before_it_stay() -> None:
    talk = conversation()
    ask(talk)
    talk.call(ReplyPlace(1), [WEATHER])
    talk.settle(1, "One moment.", cuts=[11])
    talk.add("user", "What time is it?", 2)
    talk.settle(2, "Nine.")
    assert [m["content"] for m in talk.prompt()[2:]] == [
        *("One moment.", RUNNING, UNSPOKEN, "What time is it?", "Nine.")
    ]
    talk.result("a", "sunny")
    assert talk.prompt()[3]["content"] == "sunny"
    place = talk.follow_up([WEATHER], 2)
    prompt = talk.prompt()
    assert prompt[2:] == [
        {"role": "assistant", "content": "One moment."},
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "Nine.", "tool_calls": [tool_call(WEATHER)]},
        {"role": "tool", "content": "sunny", "tool_call_id": "a"},
    ]
    talk.settle(place.turn, "It is sunny.", part=place.part)
    talk.add("user", "Thanks.", 3)
    talk.settle(place.turn, "It is", part=place.part)
    assert [m["content"] for m in talk.prompt()[-2:]] == ["It is", "Thanks."]
    check(talk.prompt())


def test_a_call_that_prompts_left_out_comes_back_with_its_late_result() -> None:
    talk = conversation(100, 0.5)
    ask(talk)
    talk.call(ReplyPlace(1), [WEATHER])
    for turn in range(2, 9):
        talk.add("user", "word " * 15, turn)
        talk.settle(turn, "word " * 5)
        talk.prompt()
    assert not any("tool_calls" in m for m in talk.prompt())
    talk.result("a", "sunny")
    talk.follow_up([WEATHER], 8)
    assert talk.prompt()[-1]["content"] == "sunny"
    check(talk.prompt())


def test_who_is_to_be_answered() -> None:
    talk = conversation()
    assert not talk.unanswered
    ask(talk)
    assert talk.unanswered
    talk.call(ReplyPlace(1), [WEATHER])
    assert not talk.unanswered, "more comes when the tool is done"
    talk.result("a", "sunny")
    assert talk.unanswered
    talk.settle(1, "It is sunny.", cuts=[0])
    assert not talk.unanswered


def test_a_saved_history_is_put_right() -> None:
    talk = conversation()
    calls = (WEATHER, TIME)
    talk.restore(
        [
            Message("system", "Old.", 0),
            Message("user", "Hi.", 1),
            Message("assistant", "", 1, calls),
            Message("tool", "sunny", 1, call_id="a"),
            Message("tool", "whose?", 1, call_id="x"),
            Message("assistant", "Sunny.", 1),
            Message("assistant", "", 2, (WEATHER,)),
            Message("tool", RUNNING, 2, call_id="a"),
            Message("assistant", "", 2, (TIME,)),
        ]
    )
    assert [m.content for m in talk.history if m.role == "tool"] == [
        "sunny",
        *[CANCELLED] * 3,
    ]
    check(talk.prompt())


def test_tools_come_with_every_prompt_and_count() -> None:
    talk = History("Be brief.", budget_tokens=300, retention=0.5, tools=[TOOL])
    plain = conversation(300, 0.5)
    for turn in range(1, 12):
        for each in (talk, plain):
            each.add("user", "word " * 10, turn)
            each.settle(turn, "Yes.")
    assert len(talk.prompt()) < len(plain.prompt())
    [offered] = tools_of(talk.prompt())
    assert offered["function"]["name"] == "weather"
    talk.offer(())
    assert tools_of(talk.prompt()) == tools_of([{"role": "user", "content": ""}]) == []


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ("  ", {}),
        ("{oops", {"unreadable": "{oops"}),
        ("[1]", {"unreadable": "[1]"}),
        ("[" * 100_000, {"unreadable": "[" * 100_000}),
    ],
)
def test_malformed_arguments_do_not_spoil_later_requests(text: str, sent: Any) -> None:
    assert json.loads(arguments(text)) == sent


def test_odd_names_do_not_either() -> None:
    function = tool_call(ToolUse("a", "what is it? " * 9, "{}"))["function"]
    assert function["name"].startswith("what_is_it__what")
    assert len(function["name"]) == 64
