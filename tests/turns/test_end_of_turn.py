from __future__ import annotations

import asyncio
import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.config import TurnSettings
from pipeline.engines.llm import Messages
from pipeline.engines.whisper import Audio, Transcription
from pipeline.session import Inbox
from pipeline.turns.completeness import completeness
from pipeline.turns.end_of_turn import Evidence, Foresight, Hangover, hold_ms, probability

SETTINGS = TurnSettings()
HOLD = float(SETTINGS.hold_ms)

probabilities = st.floats(0, 1)
evidence = st.builds(
    Evidence,
    melody=st.none() | probabilities,
    words=st.none() | probabilities,
    judged=st.none() | probabilities,
    sure=probabilities,
    asked=st.booleans(),
    fragment=st.booleans(),
)
milliseconds = st.floats(0, 10_000)
kinds = st.sampled_from(["melody", "words", "judged"])
sections = st.builds(
    lambda holds, longest: TurnSettings(
        shortest_ms=min(holds), hold_ms=max(holds), longest_ms=longest
    ),
    st.tuples(st.integers(64, 5000), st.integers(64, 5000)),
    st.integers(64, 10_000),
)


def said(text: str, judged: float | None = None) -> float:
    p = probability(Evidence(words=completeness(text), judged=judged))
    return hold_ms(SETTINGS, p, HOLD)


def test_nothing_known_leaves_the_hangover() -> None:
    assert probability(Evidence()) is None
    assert hold_ms(SETTINGS, None, 432.0) == 432.0


@given(evidence)
def test_a_probability_is_one(known: Evidence) -> None:
    p = probability(known)
    assert (p is None) == (known.melody is None and known.words is None and known.judged is None)
    assert p is None or 0 <= p <= 1


@given(evidence, kinds, probabilities, probabilities)
def test_more_evidence_of_an_end_never_makes_it_less_likely(
    known: Evidence, kind: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    weaker = probability(dataclasses.replace(known, **{kind: low}))
    stronger = probability(dataclasses.replace(known, **{kind: high}))
    assert weaker is not None and stronger is not None
    assert weaker <= stronger


@given(sections, probabilities, probabilities, milliseconds)
def test_the_surer_the_end_the_shorter_the_hold(
    settings: TurnSettings, one: float, other: float, hangover: float
) -> None:
    low, high = sorted((one, other))
    assert hold_ms(settings, high, hangover) <= hold_ms(settings, low, hangover)


@given(sections, probabilities, milliseconds, milliseconds)
def test_a_longer_hangover_never_shortens_the_hold(
    settings: TurnSettings, p: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert hold_ms(settings, p, low) <= hold_ms(settings, p, high)


@given(sections, probabilities, milliseconds)
def test_the_hold_is_within_its_bounds(settings: TurnSettings, p: float, hangover: float) -> None:
    assume(settings.shortest_ms <= settings.longest_ms)
    assert settings.shortest_ms <= hold_ms(settings, p, hangover) <= settings.longest_ms


@given(sections, st.none() | probabilities, milliseconds, st.floats(0, 60), st.floats(0, 60))
def test_the_longer_somebody_speaks_the_longer_they_are_waited_for(
    settings: TurnSettings, p: float | None, hangover: float, one: float, other: float
) -> None:
    short, long = sorted((one, other))
    holds = [hold_ms(settings, p, hangover, spoken_s=spoken) for spoken in (short, long)]
    assert holds[0] <= holds[1]


def test_an_order_is_answered_soon_and_a_story_waited_for() -> None:
    assert hold_ms(SETTINGS, 0.95, HOLD, spoken_s=4.0) == SETTINGS.shortest_ms
    assert hold_ms(SETTINGS, 0.95, HOLD, spoken_s=15.0) > 900  # nine of ten pauses are shorter


@pytest.mark.parametrize(
    "text", ["I want to book a", "What is the capital of", "Um…", "Turn on the"]
)
def test_a_plainly_unfinished_text_waits_long(text: str) -> None:
    assert said(text) > 1.5 * HOLD
    assert said(text, judged=0.001) >= said(text) - 1e-9


@pytest.mark.parametrize(
    ("text", "judged"),
    [("What is the capital of France?", 0.94), ("Yes, please.", 0.8), ("Stop.", 0.9)],
)
def test_a_plainly_finished_text_waits_short(text: str, judged: float) -> None:
    assert said(text, judged) <= 1.25 * SETTINGS.shortest_ms


def test_the_language_model_can_overrule_a_text_that_only_looks_whole() -> None:
    whole = said("I want to book a flight.", judged=0.6)
    assert said("I want to book a flight.", judged=0.005) > 1.5 * whole


def test_words_that_the_recogniser_doubts_say_less() -> None:
    heard = [probability(Evidence(words=0.03, judged=0.001, sure=sure)) for sure in (1, 0.5, 0)]
    assert heard == sorted(heard, key=float)
    unknown = probability(Evidence(words=0.5, sure=0.0))
    assert heard[-1] == unknown


def test_the_melody_tells_before_and_beside_the_words() -> None:
    sounds_over = probability(Evidence(melody=0.97))
    sounds_open = probability(Evidence(melody=0.02))
    assert sounds_over is not None and sounds_open is not None
    assert sounds_open < 0.25 and sounds_over > 0.85
    whole = Evidence(words=completeness("I want a medium roast."), judged=0.2)
    [over, unfinished] = (
        probability(dataclasses.replace(whole, melody=melody)) for melody in (0.97, 0.02)
    )
    assert over is not None and unfinished is not None
    assert over > 0.85 > 0.5 > unfinished


def fragment(text: str, melody: float, *, asked: bool) -> float:
    known = Evidence(melody=melody, words=completeness(text), sure=0.7, asked=asked, fragment=True)
    return hold_ms(SETTINGS, probability(known), HOLD)


@pytest.mark.parametrize("text", ["Half an hour.", "Today", "Six.", "Book a room"])
@pytest.mark.parametrize("melody", [0.04, 0.5, 0.97])
def test_a_fragment_answers_a_question_and_is_not_waited_for_long_elsewhere(
    text: str, melody: float
) -> None:
    assert fragment(text, melody, asked=True) < 450
    assert fragment(text, melody, asked=False) < 900


def test_a_fragment_that_is_plainly_open_is_waited_for_whatever_was_asked() -> None:
    assert fragment("For the", 0.04, asked=True) > 2 * HOLD


def taught(pauses: list[float], settings: TurnSettings = SETTINGS) -> float:
    hangover = Hangover(settings)
    for pause in pauses:
        hangover.paused(pause)
    return hangover.ms


@pytest.mark.parametrize(
    ("pauses", "least", "most"),
    [
        ([], HOLD, HOLD),
        ([600.0] * 6, 600, 1.5 * HOLD),  # who makes long pauses is waited for
        ([150.0] * 12, 0.5 * HOLD, 0.75 * HOLD),
        ([700.0], HOLD, 1.25 * HOLD),  # one does not count for much
    ],
)
def test_the_hangover_follows_the_speakers_pauses(
    pauses: list[float], least: float, most: float
) -> None:
    assert least <= taught(pauses) <= most
    assert taught(pauses, TurnSettings(predict=False)) == HOLD


def test_old_pauses_are_forgotten() -> None:
    assert taught([1000.0] * 30 + [150.0] * 60) == taught([150.0] * 60)


@given(st.lists(milliseconds, max_size=60), sections)
def test_the_hangover_keeps_within_half_of_its_setting(
    pauses: list[float], settings: TurnSettings
) -> None:
    assert 0.5 * settings.hold_ms <= taught(pauses, settings) <= 1.5 * settings.hold_ms


@given(st.lists(st.tuples(milliseconds, milliseconds), max_size=60))
def test_longer_pauses_never_shorten_the_hangover(pairs: list[tuple[float, float]]) -> None:
    assert taught([min(pair) for pair in pairs]) <= taught([max(pair) for pair in pairs])


def test_the_melody_alone_holds_no_longer_than_a_sentence_that_may_go_on() -> None:
    def hold(melody: float, words: float | None = None) -> float:
        return hold_ms(TurnSettings(), probability(Evidence(melody=melody, words=words)), 500)

    assert hold(0.001) == hold(0.05) < 1300
    assert hold(0.05) > hold(0.3) > hold(0.9)
    assert hold(0.001, words=0.03) == 2000


def foreseen(
    text: str, before: str = "", *, melodies: tuple[float, ...] = (0.9,)
) -> tuple[list[Evidence], int, int]:
    """All that a pause told, how often the melody was asked, and how often the judge."""
    told: list[Evidence] = []
    heard, judged = iter(melodies), []

    async def melody(audio: Audio) -> float | None:
        return next(heard)

    async def judge(messages: Messages) -> float | None:
        judged.append(messages)
        return 0.6

    async def scene() -> None:
        async with Inbox() as inbox:
            foresight = Foresight(melody, judge, inbox, lambda _, known: told.append(known))
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


def test_the_language_model_is_not_asked_of_what_is_surely_over() -> None:
    _, _, judged = foreseen("I want a medium roast.", melodies=(0.99,))
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
