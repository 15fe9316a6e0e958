"""How many tokens prompts have is learnt from what the server counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.tokens import CHARS_PER_TOKEN, MESSAGE_TOKENS, PICTURE_TOKENS, TokenGauge
from pipeline.engines.tools import Prompt, Tool, ToolUse, tool_call

ENGLISH = ["When does the train to Madrid leave?", "It leaves at nine, from platform four."]
JAPANESE = ["マドリード行きの電車は何時に出ますか。", "朝九時に四番線から出発します。"]


def said(texts: list[str], turns: int) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": texts[n % 2] * (1 + n % 3)} for n in range(turns)]


def server(messages: list[dict[str, Any]], per_char: float, per_wide: float, around: int) -> int:
    """What a server counts whose model has a vocabulary of its own."""
    return round(
        sum(
            around + sum(per_char if char.isascii() else per_wide for char in m["content"])
            for m in messages
        )
    )


def test_before_anything_is_known_it_is_guessed() -> None:
    gauge = TokenGauge()
    assert gauge.message({"role": "user", "content": "x" * 35}) == 10 + MESSAGE_TOKENS
    assert gauge.message({"role": "user", "content": "京"}) == pytest.approx(7.3, abs=0.1)
    shown = [{"type": "text", "text": "x" * 7}, {"type": "image_url", "image_url": {"url": "u"}}]
    assert gauge.message({"role": "user", "content": shown}) == 2 + MESSAGE_TOKENS + PICTURE_TOKENS
    called = {"role": "assistant", "content": "", "tool_calls": [tool_call(ToolUse("a", "b", ""))]}
    assert gauge.message(called) > 4 * MESSAGE_TOKENS


@pytest.mark.parametrize("texts", [ENGLISH, JAPANESE])
@pytest.mark.parametrize(("per_char", "per_wide"), [(0.22, 0.7), (0.25, 2.1), (0.33, 1.2)])
def test_the_next_prompt_is_known_within_a_twentieth(
    texts: list[str], per_char: float, per_wide: float
) -> None:
    """Of a conversation, from its third prompt on; at first the guess may be off by three times."""
    gauge = TokenGauge()
    for turns in range(1, 30, 2):
        prompt = said(texts, turns)
        counted = server(prompt, per_char, per_wide, 4)
        if turns > 5:
            assert gauge.prompt(prompt) == pytest.approx(counted, rel=0.05)
        gauge.learn(prompt, counted)
        assert gauge.prompt(prompt) == pytest.approx(counted, rel=0.01)


def test_one_language_does_not_change_the_guess_for_another() -> None:
    gauge = TokenGauge()
    before = gauge.prompt(said(JAPANESE, 9))
    for turns in range(1, 20):
        gauge.learn(said(ENGLISH, turns), server(said(ENGLISH, turns), 0.22, 0.7, 6))
    assert gauge.prompt(said(JAPANESE, 9)) == pytest.approx(before, rel=0.1)


def test_tools_that_the_server_drops_cost_nothing_in_the_end() -> None:
    """A template that knows no tools leaves them out without a word."""
    gauge = TokenGauge()
    tools = [Tool(f"tool_{n}", "Does something that is useful. " * 5) for n in range(8)]
    for turns in range(1, 40):
        messages = said(ENGLISH, turns)
        gauge.learn(Prompt(messages, tools), server(messages, 0.25, 1.0, 5))
    messages = said(ENGLISH, 41)
    counted = server(messages, 0.25, 1.0, 5)
    assert gauge.prompt(Prompt(messages, tools)) == pytest.approx(counted, rel=0.05)


@given(st.lists(st.tuples(st.text(max_size=200), st.integers(-5, 3000)), max_size=12))
def test_whatever_is_counted_guesses_stay_sane(counts: list[tuple[str, int]]) -> None:
    gauge = TokenGauge()
    for text, tokens in counts:
        gauge.learn([{"role": "user", "content": text}], tokens)
        for length in (0, 10, 100_000):
            guess = gauge.message({"role": "user", "content": "a" * length})
            assert 0 <= guess <= 8 * (length / CHARS_PER_TOKEN + MESSAGE_TOKENS) + 1e-6


def test_a_count_of_what_is_new_is_no_count_of_the_prompt() -> None:
    gauge = TokenGauge()
    before = gauge.prompt(said(ENGLISH, 20))
    gauge.learn(said(ENGLISH, 20), 12)
    gauge.learn(said(ENGLISH, 20), 0)
    assert gauge.prompt(said(ENGLISH, 20)) == before


def test_a_prompt_leaves_room_for_the_reply() -> None:
    gauge = TokenGauge()
    gauge.fits(4096, 200)
    assert gauge.most == 3896
    gauge.fits(8192, 200)
    assert gauge.most == 3896, "the least of what is told counts"
    small = TokenGauge()
    small.fits(512, 8192)
    assert small.most == 256


@pytest.mark.parametrize("context", [None, 300, 2000])
@pytest.mark.parametrize("counted", [None, 900])
def test_after_a_refusal_the_same_prompt_is_known_to_be_too_long(
    context: int | None, counted: int | None
) -> None:
    gauge = TokenGauge()
    prompt = said(ENGLISH, 40)
    gauge.refused(prompt, context=context, counted=counted, reply=50)
    assert gauge.prompt(prompt) > gauge.most
