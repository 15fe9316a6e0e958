"""What said over a reply asks for the turn, and what only shows that somebody listens."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.backchannel import SIGNS, SURE, SURE_DEMAND, WordCheck, interrupts
from pipeline.stages.stt import Transcription
from pipeline.turns import Suspected


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


def test_looks_at_different_suspicions_have_nothing_to_do_with_each_other() -> None:
    async def scene() -> list[int]:
        found: list[int] = []

        async def hear(suspected: Suspected) -> Transcription:
            return heard("tell me more")

        check = WordCheck(hear, asyncio.create_task, lambda suspected: found.append(suspected.at))
        for voiced, at in ((0, 1), (100, 2), (100, 3)):
            check.look(Suspected(0, voiced, 200.0, at))
            while check.running:
                await asyncio.sleep(0)
        return found

    assert asyncio.run(scene()) == [3]
