"""Which words of an unfinished utterance are sure, and when it is worth looking."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import virtual_time

from pipeline.conversation.partial import BUDGET, RATE, Agreement, Partials
from pipeline.engines.whisper import Audio, Transcription, bare
from pipeline.errors import StageError

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


class Recogniser:
    """Takes its time, and knows how often it was asked."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self.prefixes: list[str] = []
        self.told: list[tuple[str, str]] = []

    async def transcribe(self, audio: Audio, prefix: str) -> Transcription:
        self.prefixes.append(prefix)
        await asyncio.sleep(self.takes_s)
        if len(audio) == 0:
            raise StageError("stt", "nothing")
        words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
        return Transcription(" ".join(words[: len(audio) // RATE]), "en", 0.0, 0.0, 1.0)

    async def tell(self, turn: int, text: str, stable: str) -> None:
        self.told.append((text, stable))


async def _listen(recogniser: Recogniser, seconds: float, *, behind_s: float = 0.0) -> Partials:
    clock = virtual_time.VirtualClock()
    tasks: list[asyncio.Task[None]] = []

    def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    partials = Partials(
        recogniser.transcribe, every_ms=600, clock=clock, start=start, tell=recogniser.tell
    )
    partials.begin(1, 0)
    for frame in range(round(seconds * 50)):
        end = frame * RATE // 50
        if partials.due(end, clock.now_ns() - int(behind_s * 1e9)):
            partials.make(np.zeros(end, np.float32), end)
        await asyncio.sleep(0.02)
    await asyncio.gather(*tasks)
    return partials


def test_each_partial_goes_on_from_the_words_that_were_sure() -> None:
    recogniser = Recogniser(0.01)
    partials = virtual_time.run(_listen(recogniser, 6.0))
    assert len(recogniser.prefixes) == 9
    assert recogniser.prefixes[0] == ""
    assert recogniser.prefixes[-1].startswith("one two three")
    assert partials.stable == recogniser.told[-1][1]


@pytest.mark.parametrize("takes_s", [0.3, 1.0])
def test_a_slow_recogniser_is_asked_less_often(takes_s: float) -> None:
    recogniser = Recogniser(takes_s)
    virtual_time.run(_listen(recogniser, 30.0))
    assert len(recogniser.prefixes) * takes_s <= 30 * BUDGET + takes_s
    assert len(recogniser.prefixes) >= 5


def test_a_machine_that_is_behind_makes_none() -> None:
    recogniser = Recogniser(0.01)
    virtual_time.run(_listen(recogniser, 6.0, behind_s=0.5))
    assert recogniser.prefixes == []
