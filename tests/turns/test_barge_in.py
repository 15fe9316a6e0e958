"""What said over a reply asks for the turn, and what only shows that somebody listens."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.engines.whisper import Transcription
from pipeline.session import Inbox
from pipeline.turns.barge_in import (
    APART_S,
    REMEMBERED_S,
    SIGNS,
    SURE,
    SURE_ALONE,
    SURE_DEMAND,
    OneByOne,
    WordCheck,
    interrupts,
)
from pipeline.turns.taker import Suspected


def heard(text: str, log_prob: float = -0.1) -> Transcription:
    return Transcription(text, "en", log_prob, 0.0, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mm-hm.",
        "Mhm",
        "Uh-huh.",
        "Yeah.",
        "Okay, right.",
        "Oh wow!",
        "Hmm…",
        "…",
        "YES",
        "Who?",
        "Who? Who?",
        "Where?",
    ],
)
def test_a_sign_of_listening_does_not_interrupt(text: str) -> None:
    assert not interrupts(heard(text))


@pytest.mark.parametrize("text", ["Stop.", "No.", "Wait a moment.", "Okay, stop"])
def test_a_demand_interrupts_at_once(text: str) -> None:
    assert interrupts(heard(text))
    assert interrupts(heard(text, SURE_DEMAND))  # of one word no recogniser is sure
    assert not interrupts(heard(text, SURE_DEMAND - 0.01))


@pytest.mark.parametrize("text", ["Thank you.", "I'm so sorry.", "Bye bye."])
def test_what_recognisers_invent_of_a_cough_does_not_interrupt(text: str) -> None:
    assert not interrupts(heard(text), text)


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("When does the", "When"),
        ("Who is that", "Who"),
        ("Yeah, tell me", "Yeah?"),
        ("What time is", "what do"),
    ],
)
def test_words_interrupt_once_a_second_look_agrees(text: str, before: str) -> None:
    assert interrupts(heard(text), before)
    assert not interrupts(heard(text))
    assert not interrupts(heard(text), "Emma")
    assert not interrupts(heard(text, SURE - 0.01), before)


def test_a_hum_that_is_taken_for_words_does_not_interrupt() -> None:
    assert not interrupts(heard("Who evening."), "Who")


def test_signs_are_spelt_as_they_are_compared() -> None:
    assert all(sign == "".join(c for c in sign.casefold() if c.isalnum()) for sign in SIGNS)


SECOND = 16_000


def one_by_one(*said: tuple[float, str], log_prob: float = -0.8) -> int | None:
    """When the first of those words began (s) that ask for the turn together."""
    words, since = OneByOne(), None
    for at_s, text in said:
        at = int(at_s * SECOND)
        since = words.add(Suspected(at - 4800, at, 300.0, at + 4800), heard(text, log_prob))
    return None if since is None else since // SECOND


def test_words_said_one_by_one_ask_for_the_turn_from_the_first_one_on() -> None:
    assert one_by_one((1, "Four.")) is None
    assert one_by_one((1, "Four."), (2, "two")) == 1
    assert one_by_one((1, "Four."), (2, "Thank you."), (4, "7")) == 1
    assert one_by_one((1, "Four."), (2, "Mm-hm."), (3, "7")) == 1


def test_what_does_not_ask_for_the_turn_does_not_by_being_said_again() -> None:
    assert one_by_one((1, "Four."), (2, "4"), (3, "four")) is None
    assert one_by_one((1, "Mm-hm."), (2, "Yeah."), (3, "Okay.")) is None
    assert one_by_one((1, "Thank you."), (2, "Bye."), (3, "I'm so sorry.")) is None
    assert one_by_one((1, "Four."), (2, "two"), log_prob=SURE_ALONE - 0.01) is None


def test_a_word_alone_is_forgotten_soon_and_a_part_of_one_is_none() -> None:
    assert one_by_one((1, "Four."), (1 + REMEMBERED_S, "two")) == 1
    assert one_by_one((1, "Four."), (1.1 + REMEMBERED_S, "two")) is None
    assert one_by_one((1, "Sit."), (0.9 + APART_S, "six")) is None


def test_a_longer_look_at_a_word_replaces_a_shorter_one() -> None:
    assert one_by_one((1, "Forward"), (1, "Four."), (2, "four")) is None


def test_looks_at_different_suspicions_have_nothing_to_do_with_each_other() -> None:
    async def scene() -> list[int]:
        found: list[int] = []

        async def hear(suspected: Suspected) -> Transcription:
            return Transcription("tell me more", "en", -0.1, 0.0, 1.0)

        async with Inbox() as inbox:
            check = WordCheck(hear, inbox, lambda suspected, _: found.append(suspected.at))
            for voiced, at in ((0, 1), (100, 2), (100, 3)):  # near each other: not one by one
                check.look(Suspected(0, voiced, 200.0, at))
                while check.running:
                    await asyncio.sleep(0)
        return found

    assert asyncio.run(scene()) == [3]
