"""What is computed while the user speaks: which words are sure, and when it is worth looking."""

from __future__ import annotations

import asyncio

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import virtual_time
from support.scripted import Engines, Model

from pipeline.conversation.ahead import BUDGET, Agreement, Foresight, Partials, WordCheck
from pipeline.engines.llm import Messages
from pipeline.engines.whisper import Audio, Transcription, bare
from pipeline.session import Inbox
from pipeline.turns.end_of_turn import Evidence
from pipeline.turns.taker import RATE, Suspected

texts = st.lists(st.sampled_from(["a", "A,", "train", "Madrid?", "leaves", "-"]), max_size=8).map(
    " ".join
)


@pytest.mark.parametrize(
    ("heard", "stable"),
    [
        (["When"], ""),
        (["When does", "When does the train"], "When"),
        (["when does", "When, does the", "When does the train to"], "When does"),
        (["When does the train", "Then does the train"], ""),
        (["When does the train", "When does the", "When is the"], ""),
        (["Set a timer for ten", "Set a timer for ten min", "Set a timer for."], "Set a timer for"),
        (["How many sessions are.", "How many. Sessions are in"], "How many Sessions"),
        (["How many. Sessions.", "How many sessions are in"], "How many"),
        (["How many.", "How many. Are there", "How many. Are there in"], "How many. Are"),
        (["Yes. I do", "Yes. I do think", "Yes. I do think so"], "Yes. I do"),
    ],
)
def test_words_are_sure_once_two_transcripts_agree(heard: list[str], stable: str) -> None:
    agreement = Agreement()
    assert [agreement.push(text) for text in heard][-1] == stable


@given(st.lists(texts, max_size=10))
def test_what_is_stable_begins_the_last_transcript_and_the_one_before(heard: list[str]) -> None:
    agreement = Agreement()
    before = ""
    for text in heard:
        stable = agreement.push(text)
        assert bare(text)[: len(bare(stable))] == bare(stable)
        assert bare(before)[: len(bare(stable))] == bare(stable)
        before = text


@given(texts)
def test_a_transcript_that_stays_the_same_is_sure_but_for_its_last_word(text: str) -> None:
    agreement = Agreement()
    agreement.push(text)
    assert agreement.push(text).split() == text.split()[:-1]


def test_words_are_compared_without_case_and_marks() -> None:
    assert bare("When, does THE train – leave?") == ["when", "does", "the", "train", "leave"]


class Slow:
    """A recogniser that takes its time, and knows how often it was asked."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.prefixes: list[str] = []
        self.told: list[tuple[str, str]] = []

    async def transcribe(self, audio: Audio, voiced_ms: float | None, prefix: str) -> Transcription:
        self.prefixes.append(prefix)
        await asyncio.sleep(self.takes_s)
        words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
        return Transcription(" ".join(words[: len(audio) // RATE]), "en", 0.0, 0.0, 1.0)

    def tell(self, turn: int, text: str, stable: str) -> None:
        self.told.append((text, stable))


async def _listen(recogniser: Slow, seconds: float, *, behind_s: float = 0.0) -> Partials:
    clock = virtual_time.VirtualClock()
    async with Inbox() as inbox:
        partials = Partials(
            recogniser.transcribe, every_ms=600, clock=clock, inbox=inbox, tell=recogniser.tell
        )
        partials.begin(1, 0)
        for frame in range(round(seconds * 50)):
            end = frame * RATE // 50
            if partials.due(end, clock.now_ns() - int(behind_s * 1e9)):
                partials.make(np.zeros(end, np.float32), end)
            await asyncio.sleep(0.02)
        while partials.running:
            await asyncio.sleep(0.02)
    return partials


def test_each_partial_goes_on_from_the_words_that_were_sure() -> None:
    recogniser = Slow(0.01)
    partials = virtual_time.run(_listen(recogniser, 6.0))
    assert len(recogniser.prefixes) == 9
    assert recogniser.prefixes[0] == ""
    assert recogniser.prefixes[-1].startswith("one two three")
    assert partials.stable == recogniser.told[-1][1]


@pytest.mark.parametrize("takes_s", [0.3, 1.0])
def test_a_slow_recogniser_is_asked_less_often(takes_s: float) -> None:
    recogniser = Slow(takes_s)
    virtual_time.run(_listen(recogniser, 30.0))
    assert len(recogniser.prefixes) * takes_s <= 30 * BUDGET + takes_s
    assert len(recogniser.prefixes) >= 5


def test_a_machine_that_is_behind_makes_none() -> None:
    recogniser = Slow(0.01)
    virtual_time.run(_listen(recogniser, 6.0, behind_s=0.5))
    assert recogniser.prefixes == []


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


def foreseen(
    text: str, before: str = "", *, melodies: tuple[float, ...] = (0.9,)
) -> tuple[list[Evidence], int, int]:
    """All that a pause told, how often the melody was asked, and how often the judge."""
    told: list[Evidence] = []
    engines = Engines([], Model([]), finished={text: 0.6})
    heard, judged = iter(melodies), []

    async def melody(audio: npt.NDArray[np.float32]) -> float | None:
        return next(heard)

    async def judge(messages: Messages) -> float | None:
        judged.append(messages)
        return 0.6

    async def scene() -> None:
        engines.melody, engines.judge = melody, judge  # type: ignore[method-assign]
        async with Inbox() as inbox:
            foresight = Foresight(engines, inbox, lambda pause, known: told.append(known))
            foresight.begin(1000, np.zeros(1000, np.float32))
            while not told:
                await asyncio.sleep(0)
            said = [{"role": "assistant", "content": before}] if before else []
            prompt = [*said, {"role": "user", "content": text}]
            await foresight.read(prompt, Transcription(text, "en", -0.2, 0.0, 1.0))

    asyncio.run(scene())
    return told, len(melodies) - len(list(heard)), len(judged)


def test_the_melody_is_asked_once_and_before_the_words_are_known() -> None:
    told, asked, judged = foreseen("I want a medium roast.", melodies=(0.1, 0.9))
    assert (told[0].melody, told[0].words) == (0.1, None)
    assert told[-1].melody == 0.1  # no later answer takes its place
    assert told[-1].words is not None and told[-1].judged == 0.6
    assert (asked, judged) == (1, 1)


def test_the_language_model_is_not_asked_of_a_fragment() -> None:
    told, _, judged = foreseen("Half an hour.")
    assert told[-1].fragment and not told[-1].asked
    assert judged == 0


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        ("For how long do you need the room?", True),
        ("Sure. “How long?” ", True),
        ("多久？", True),
        ("The room is booked.", False),
        ("How long? Let me see.", False),
        ("", False),
    ],
)
def test_an_answer_follows_a_question(before: str, asked: bool) -> None:
    told, _, _ = foreseen("Half an hour.", before)
    assert told[-1].asked is asked
