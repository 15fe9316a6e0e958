"""The history keeps what was said and heard; prompts keep their budget, and calls their results."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scene import check_prompt

from pipeline.conversation.history import (
    CANCELLED,
    RETENTION,
    RUNNING,
    UNSPOKEN,
    History,
    Message,
    ReplyPlace,
)
from pipeline.engines.tokens import CHARS_PER_TOKEN, MESSAGE_TOKENS
from pipeline.engines.tools import Tool, ToolUse, arguments, tool_call, tools_of
from pipeline.tools.toolbox import RESULT_CHARS

SYSTEM = "Be brief."
SYSTEM_COST = len(SYSTEM) / CHARS_PER_TOKEN + MESSAGE_TOKENS

TOOL = Tool("weather", "Tells the weather.")
WEATHER = ToolUse("a", "weather", '{"city": "Rome"}')
TIME = ToolUse("b", "time", "{}")

Prompt = list[dict[str, Any]]


def conversation(budget: int = 1500) -> History:
    return History(SYSTEM, budget_tokens=budget)


def said(prompt: Prompt) -> list[tuple[str, str]]:
    """A prompt's roles and words, without the instructions."""
    assert prompt[0] == {"role": "system", "content": SYSTEM}
    return [(m["role"], m["content"]) for m in prompt[1:]]


def cost(prompt: Prompt) -> float:
    """What a prompt costs, rounded: sums depend on their order in the last digit."""
    called = [call["function"] for m in prompt for call in m.get("tool_calls", ())]
    chars = sum(len(m["content"]) for m in prompt)
    chars += sum(len(f["name"]) + len(f["arguments"]) for f in called)
    return round(chars / CHARS_PER_TOKEN + MESSAGE_TOKENS * len(prompt), 6)


def of_tokens(tokens: int, label: str) -> str:
    """A text that costs so many tokens as a message, give or take one."""
    return f"{label} ".ljust(round((tokens - MESSAGE_TOKENS) * CHARS_PER_TOKEN) - 1, "x") + "."


# --- what a session says, for the properties below ---


@dataclass(frozen=True)
class Turn:
    """One turn: what the user said, what was replied, and how much of the reply was heard."""

    user: str
    reply: str
    heard: float  # 1: to its end; 0: nothing


words = st.text("ab ", min_size=1, max_size=400).filter(str.strip)
turns = st.lists(
    st.builds(Turn, words, words, st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.0])), max_size=25
)
budgets = st.integers(64, 600)


@dataclass
class Session:
    """A conversation led turn by turn, as the cascade leads it; keeps the prompts it asked for."""

    conversation: History
    prompts: list[Prompt] = field(default_factory=list)
    users: list[str] = field(default_factory=list)

    def turn(self, turn: Turn) -> Prompt:
        number = len(self.prompts) + 1
        self.conversation.add("user", turn.user, number)
        self.users.append(turn.user.strip())
        self.prompts.append(self.conversation.prompt())
        self.conversation.settle(number, turn.reply[: round(len(turn.reply) * turn.heard)])
        return self.prompts[-1]


@settings(deadline=None)
@given(turns, budgets)
def test_every_prompt_keeps_to_its_form_and_its_budget(turns: list[Turn], budget: int) -> None:
    """Instructions, user, assistant, …, user: never with an assistant's message first.

    Each prompt goes on from the last one, unless turns were dropped; then enough of them, and what
    is left out stays in the history.
    """
    session = Session(conversation(budget))
    before = ""
    for turn in turns:
        prompt = session.turn(turn)
        messages = said(prompt)
        roles = [role for role, _ in messages]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
        assert roles[-1] == "user"
        assert messages[-1][1].endswith(turn.user.strip())
        newest_only = messages == [("user", turn.user.strip())]
        assert cost(prompt) <= budget or newest_only
        # Joined neighbours are one message longer, so it is the text that goes on.
        text = " ".join(content for _, content in messages)
        if not text.startswith(before):
            kept = SYSTEM_COST + (budget - SYSTEM_COST) * RETENTION
            assert cost(prompt) <= kept + 1e-6 or newest_only
        before = text
    history = session.conversation.history
    assert [m.content for m in history if m.role == "user"] == session.users
    assert [m.turn for m in history] == sorted(m.turn for m in history)


@settings(deadline=None)
@given(turns)
def test_nothing_is_dropped_within_the_budget(turns: list[Turn]) -> None:
    session = Session(conversation(1_000_000))
    for turn in turns:
        session.turn(turn)
    last = " ".join(content for _, content in said(session.conversation.prompt()))
    expected = []
    for turn in turns:
        heard = turn.reply[: round(len(turn.reply) * turn.heard)]
        expected += [turn.user.strip(), heard.strip()]
    assert last == " ".join(t for t in expected if t)


changes = st.one_of(
    st.tuples(st.just("user"), st.integers(1, 400)),
    st.tuples(st.just("settle"), st.integers(0, 12)),
    st.tuples(st.just("unsettle"), st.integers(0, 12)),
    st.tuples(st.just("prompt"), st.just(0)),
)


@settings(deadline=None)
@given(st.lists(changes, max_size=60), st.integers(64, 300))
def test_settling_any_turn_at_any_time_leaves_a_sane_prompt(
    changes: list[tuple[str, int]], budget: int
) -> None:
    """In order of turns, no turn twice, the newest user's words kept, nothing dropped revived."""
    talk = conversation(budget)
    turn, dropped, asked = 0, 0, False
    for what, value in changes:
        if what == "user":
            turn += 1
            talk.add("user", f"u{turn} " + "x" * value, turn)
        elif turn and what in ("settle", "unsettle"):
            which = 1 + value % turn
            talk.settle(which, f"a{which} heard" if what == "settle" else "")
        elif turn:
            asked = True
            prompt = said(talk.prompt())
            assert prompt[0][0] == "user"
            starts = [w for _, c in prompt for w in c.split() if w[0] in "ua" and w[1:].isdigit()]
            numbers = [int(w[1:]) for w in starts]
            assert numbers == sorted(numbers)
            assert len(set(starts)) == len(starts)
            assert f"u{turn}" in starts
            users = [int(w[1:]) for w in starts if w[0] == "u"]
            # What is kept is one stretch up to now, and its start only moves on.
            assert users == list(range(users[0], turn + 1))
            assert users[0] >= dropped
            dropped = users[0]
            assert numbers[0] == users[0]
            replies = {m.turn for m in talk.history if m.role == "assistant" and m.turn >= dropped}
            assert {int(w[1:]) for w in starts if w[0] == "a"} == replies
    assert len([m for m in talk.history if m.role == "user"]) == turn
    assert asked or dropped == 0


steps = st.lists(
    st.sampled_from(["user", "call", "calls", "result", "late", "settle", "unheard", "prompt"]),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(steps, st.integers(64, 400), st.data())
def test_no_call_is_ever_without_its_result(
    steps: list[str], budget: int, data: st.DataObject
) -> None:
    talk = conversation(budget)
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
        check_prompt(prompt)
        check_prompt(talk.prompt(reserve_tokens=50))
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
    talk = conversation(budget)
    talk.add("user", "Weather?", 1)
    uses = [ToolUse(f"c{i}", "weather", "{}") for i in range(len(sizes))]
    talk.call(ReplyPlace(1), uses)
    for use, size in zip(uses, sizes, strict=True):
        talk.result(use.id, "z" * size)
    prompt = talk.prompt()
    check_prompt(prompt)
    least = 60 + len(sizes) * (200 / CHARS_PER_TOKEN + 20)
    assert cost(prompt) <= max(budget, least)
    for message, size in zip(prompt[3:], sizes, strict=True):
        if len(message["content"]) < size:
            assert message["content"].endswith(f"[cut off here: {size} characters in all]")
    assert [len(m.content) for m in talk.history if m.call_id] == [
        min(s, RESULT_CHARS) for s in sizes
    ]


# --- by hand ---


def test_turns_are_dropped_seldom_and_down_to_the_share_of_the_budget() -> None:
    """Ten turns of 20 tokens in a budget of 100, kept at a half: worked out by hand."""
    talk = conversation(round(SYSTEM_COST) + 100)
    first = []
    for turn in range(1, 11):
        talk.add("user", of_tokens(10, f"u{turn}"), turn)
        first.append(said(talk.prompt())[0][1].split()[0])
        talk.settle(turn, of_tokens(10, f"a{turn}"))
    assert len(set(first)) == 3, first
    assert first == sorted(first, key=lambda label: int(label[1:]))
    stays = [first.count(label) for label in dict.fromkeys(first)]
    assert stays[0] == 5
    assert min(stays[:-1]) >= 3


def test_neighbours_of_one_role_are_joined_in_the_prompt_only() -> None:
    talk = conversation()
    talk.add("user", "I would like", 1)
    talk.add("user", "two tickets.", 2)
    talk.add("assistant", "Where", 2)
    talk.add("assistant", "to?", 2)
    talk.add("user", "Rome.", 3)
    assert said(talk.prompt()) == [
        ("user", "I would like two tickets."),
        ("assistant", "Where to?"),
        ("user", "Rome."),
    ]
    assert [m.content for m in talk.history] == [
        "I would like",
        "two tickets.",
        "Where",
        "to?",
        "Rome.",
    ]
    assert said(talk.prompt()) == said(talk.prompt())


@pytest.mark.parametrize("heard", ["Good", "Good morning to you.", "", "  \n"])
def test_settling_a_reply_replaces_what_was_settled_by_what_was_heard(heard: str) -> None:
    talk = conversation()
    talk.add("user", "Hi.", 1)
    for before in ("Good morning", "Good", heard):
        talk.settle(1, before)
    expected = [("assistant", heard)] if heard.strip() else []
    assert said(talk.prompt()) == [("user", "Hi."), *expected]


def test_settling_a_turn_that_prompts_leave_out_does_not_change_them() -> None:
    talk = conversation(round(SYSTEM_COST) + 100)
    for turn in range(1, 8):
        talk.add("user", of_tokens(10, f"u{turn}"), turn)
        before = talk.prompt()
        if turn < 7:
            talk.settle(turn, of_tokens(10, f"a{turn}"))
    assert said(before)[0][1].split()[0] not in ("u1", "u2"), "turns 1 and 2 were to be dropped"
    for heard in ("", "Yes", "Yes indeed, a great deal more than before."):
        talk.settle(1, heard)
        talk.settle(2, heard)
        assert talk.prompt() == before
    assert [m.turn for m in talk.history] == sorted(m.turn for m in talk.history)


def test_silence_is_nothing_said() -> None:
    talk = conversation()
    talk.add("user", "  ", 1)
    talk.add("assistant", "", 1)
    assert talk.history == []
    assert said(talk.prompt()) == []


def test_the_history_that_is_given_out_is_a_copy() -> None:
    talk = conversation()
    talk.add("user", "Hi.", 1)
    talk.history.clear()
    assert said(talk.prompt()) == [("user", "Hi.")]


def test_words_are_shared_out_at_the_cuts() -> None:
    talk = conversation()
    talk.add("user", "Weather?", 1)
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
        check_prompt(talk.prompt())


def test_a_late_result_moves_to_the_end_and_the_words_before_it_stay() -> None:
    talk = conversation()
    talk.add("user", "Weather?", 1)
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
    check_prompt(talk.prompt())


def test_a_call_that_prompts_left_out_comes_back_with_its_late_result() -> None:
    talk = conversation(100)
    talk.add("user", "Weather?", 1)
    talk.call(ReplyPlace(1), [WEATHER])
    for turn in range(2, 9):
        talk.add("user", "word " * 15, turn)
        talk.settle(turn, "word " * 5)
        talk.prompt()
    assert not any("tool_calls" in m for m in talk.prompt())
    talk.result("a", "sunny")
    talk.follow_up([WEATHER], 8)
    assert talk.prompt()[-1]["content"] == "sunny"
    check_prompt(talk.prompt())


def test_who_is_to_be_answered() -> None:
    talk = conversation()
    assert not talk.unanswered
    talk.add("user", "Weather?", 1)
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
            Message("assistant", "", 2, (replace(WEATHER, id="c"),)),
            Message("tool", RUNNING, 2, call_id="c"),
            Message("assistant", "", 2, (replace(TIME, id="d"),)),
        ]
    )
    assert [m.content for m in talk.history if m.role == "tool"] == [
        "sunny",
        *[CANCELLED] * 3,
    ]
    check_prompt(talk.prompt())


def test_tools_come_with_every_prompt_and_count() -> None:
    talk = History("Be brief.", budget_tokens=300, tools=[TOOL])
    plain = conversation(300)
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
