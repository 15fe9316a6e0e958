"""The history keeps what was said and heard, and prompts stay inside their budget."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.conversation.history import CHARS_PER_TOKEN, MESSAGE_TOKENS, History

SYSTEM = "Be brief."
SYSTEM_COST = len(SYSTEM) / CHARS_PER_TOKEN + MESSAGE_TOKENS

Prompt = list[dict[str, str]]


def conversation(budget: int = 1500, retention: float = 0.6) -> History:
    return History(SYSTEM, budget_tokens=budget, retention=retention)


def said(prompt: Prompt) -> list[tuple[str, str]]:
    """A prompt's roles and words, without the instructions."""
    assert prompt[0] == {"role": "system", "content": SYSTEM}
    return [(m["role"], m["content"]) for m in prompt[1:]]


def cost(prompt: Prompt) -> float:
    """What a prompt costs, rounded: sums depend on their order in the last digit."""
    return round(sum(len(m["content"]) / CHARS_PER_TOKEN + MESSAGE_TOKENS for m in prompt), 6)


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
retentions = st.floats(0.05, 1)


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
@given(turns, budgets, retentions)
def test_every_prompt_keeps_to_its_form_and_its_budget(
    turns: list[Turn], budget: int, retention: float
) -> None:
    """Instructions, user, assistant, …, user: never with an assistant's message first.

    Each prompt goes on from the last one, unless turns were dropped; then enough of them, and what
    is left out stays in the history.
    """
    session = Session(conversation(budget, retention))
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
            assert cost(prompt) <= budget * retention + 1e-6 or newest_only
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
@given(st.lists(changes, max_size=60), st.integers(64, 300), retentions)
def test_settling_any_turn_at_any_time_leaves_a_sane_prompt(
    changes: list[tuple[str, int]], budget: int, retention: float
) -> None:
    """In order of turns, no turn twice, the newest user's words kept, nothing dropped revived."""
    talk = conversation(budget, retention)
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


# --- by hand ---


def test_turns_are_dropped_seldom_and_down_to_the_share_of_the_budget() -> None:
    """Ten turns of 20 tokens in a budget of 100, kept at a half: worked out by hand."""
    talk = conversation(round(SYSTEM_COST) + 100, 0.5)
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


def test_a_reply_is_dropped_with_its_question() -> None:
    talk = conversation(200, 0.9)
    talk.add("user", of_tokens(150, "long"), 1)
    talk.settle(1, "Short.")
    talk.add("user", of_tokens(60, "next"), 2)
    [(role, content)] = said(talk.prompt())
    assert role == "user"
    assert content.startswith("next")


def test_the_newest_words_are_kept_even_where_a_reply_follows_them_and_all_is_too_much() -> None:
    talk = conversation(64, 0.5)
    talk.add("user", of_tokens(100, "u1"), 1)
    talk.add("assistant", of_tokens(100, "a1"), 1)
    assert [role for role, _ in said(talk.prompt())] == ["user", "assistant"]


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


def test_a_reply_settled_after_the_user_went_on_comes_before_the_users_next_words() -> None:
    talk = conversation()
    talk.add("user", "First.", 1)
    talk.add("user", "Second.", 2)
    talk.settle(1, "One.")
    talk.settle(2, "Two.")
    assert [content for _, content in said(talk.prompt())] == ["First.", "One.", "Second.", "Two."]


@pytest.mark.parametrize("heard", ["", "Yes", "Yes indeed, a great deal more than before."])
def test_settling_a_turn_that_prompts_leave_out_does_not_change_them(heard: str) -> None:
    talk = conversation(round(SYSTEM_COST) + 100, 0.5)
    for turn in range(1, 7):
        talk.add("user", of_tokens(10, f"u{turn}"), turn)
        before = talk.prompt()
        talk.settle(turn, of_tokens(10, f"a{turn}"))
    talk.add("user", "u7", 7)
    before = talk.prompt()
    assert said(before)[0][1].split()[0] not in ("u1", "u2"), "turns 1 and 2 were to be dropped"
    talk.settle(1, heard)
    assert talk.prompt() == before
    talk.settle(1, "Again.")
    assert talk.prompt() == before
    talk.settle(2, heard)
    assert talk.prompt() == before
    replies = {m.turn: m.content for m in talk.history if m.role == "assistant"}
    assert replies[1] == "Again."
    assert replies.get(2, "") == heard
    assert len([m for m in talk.history if m.role == "assistant"]) == len(replies)
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
