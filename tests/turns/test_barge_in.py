"""What said over a reply asks for the turn, and what only shows that somebody listens."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support import virtual_time

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
    is_hum,
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


def test_hums_are_told_from_words_and_from_other_languages() -> None:
    assert is_hum(heard("Oh."))
    assert is_hum(replace(heard("Mm-hm. Uh-huh…"), language="en"))
    assert not is_hum(replace(heard("Um."), language="pt"))
    assert not is_hum(heard("Oh", SURE_ALONE - 0.01))
    assert not any(is_hum(heard(text)) for text in ("", "…", "Oh, yes.", "Okay.", "Huh?", "Yes."))


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


def test_a_longer_look_that_finds_no_words_does_not_replace_a_shorter_one() -> None:
    assert one_by_one((1, "Three."), (1, ""), (2, "two")) == 1
    assert one_by_one((1, "Three."), (2, "two"), (2, "Mm-hm.")) == 1
    assert one_by_one((1, ""), (1, "Mm-hm."), (2, "two"), (2, "")) is None


def looked_at(
    looks: dict[int, str], *asked: tuple[float, Suspected, bool], takes_s: float = 0.0
) -> tuple[list[Suspected], list[tuple[int, float]]]:
    """What is looked at, and which words are found when (s).

    Args:
        looks: What is heard, by where the audio starts.
        asked: After how long (s) there is a voice to look at, and whether it is over.
        takes_s: How long a look takes (s).
    """
    taken: list[Suspected] = []
    found: list[tuple[int, float]] = []

    async def hear(suspected: Suspected) -> Transcription:
        taken.append(suspected)
        await asyncio.sleep(takes_s)
        return heard(looks[suspected.start])

    async def scene() -> None:
        time = asyncio.get_running_loop().time
        async with Inbox() as inbox:
            check = WordCheck(hear, inbox, lambda since: found.append((since, time())))
            for after_s, suspected, over in asked:
                await asyncio.sleep(after_s)
                (check.over if over else check.look)(suspected)
            while check.running:
                await asyncio.sleep(0.01)

    virtual_time.run(scene())
    return taken, found


def test_looks_at_different_suspicions_have_nothing_to_do_with_each_other() -> None:
    near = [(0.1, Suspected(0, voiced, 200.0, at), False) for voiced, at in ((0, 1), (100, 2))]
    again = (0.1, Suspected(0, 100, 200.0, 3), False)
    taken, found = looked_at({0: "tell me more"}, *near)
    assert (len(taken), found) == (2, [])
    taken, found = looked_at({0: "tell me more"}, *near, again)  # near: not one by one
    assert (len(taken), [since for since, _ in found]) == (3, [100])


def voice(start: int, voiced: int, at: int) -> Suspected:
    return Suspected(start, voiced, (at - voiced) / 16, at)


FIRST = voice(200, 5000, 8584), False
WHOLE = voice(200, 5000, 30_000), True
AGAIN = 2600
"""Where the second look at it starts."""


@pytest.mark.parametrize(
    ("again", "found"), [("Tell me more.", [5000]), ("tell her", [5000]), ("Emma", [])]
)
def test_a_voice_that_was_over_too_soon_is_looked_at_once_more_at_another_cut(
    again: str, found: list[int]
) -> None:
    looks = {200: "Tell me more", AGAIN: again}
    taken, told = looked_at({**looks, 200: "Tell me"}, (0.0, *FIRST), (1.0, *WHOLE), takes_s=2.0)
    assert [look.start for look in taken] == [200, 200]  # they agree: that is enough
    other = voice(100, 4000, 4800), False
    looks[100] = "Emma"
    taken, told = looked_at(looks, (0.0, *other), (1.0, *WHOLE), takes_s=2.0)
    assert [look.start for look in taken] == [100, 200, AGAIN]
    assert [since for since, _ in told] == found


@pytest.mark.parametrize("text", ["", "Mm-hm.", "Emma", "Thank you very much."])
def test_what_would_not_interrupt_with_a_second_look_gets_none(text: str) -> None:
    taken, told = looked_at({200: text}, (0.0, *FIRST), (1.0, *WHOLE), takes_s=2.0)
    assert (len(taken), told) == (2, [])


@pytest.mark.parametrize(
    ("text", "again", "starts", "found"),
    [
        ("Emma", "Tell me", [200], []),
        ("Tell me", "Tell me more.", [200, AGAIN], [5000]),
        ("Tell me", "Emma", [200, AGAIN], []),
    ],
)
def test_who_hears_in_time_looks_once_more_only_for_want_of_a_second_look(
    text: str, again: str, starts: list[int], found: list[int]
) -> None:
    looks = {200: text, AGAIN: again}
    taken, told = looked_at(looks, (0.0, *FIRST), (1.0, *WHOLE), takes_s=0.5)
    assert [look.start for look in taken] == starts
    assert [since for since, _ in told] == found


def test_voices_that_are_over_before_there_is_a_look_are_looked_at_together() -> None:
    later = voice(40_000, 44_800, 60_000), True
    looks = {200: "Tell", AGAIN: "Tell me more"}
    taken, told = looked_at(looks, (0.0, *FIRST), (1.0, *WHOLE), (1.0, *later), takes_s=3.0)
    assert taken[1] == replace(later[0], start=200, voiced=5000)
    assert told == []
