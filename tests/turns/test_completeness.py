from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.turns.completeness import EVEN, FINISHED, HANGING, LIKELY, UNFINISHED, completeness

OPEN = [
    "I want to book a",
    "Set a timer for",
    "What is the",
    "Turn on",
    "Turn on the",
    "Send an email to",
    "I would like",
    "I'd like",
    "I'd like to",
    "I want",
    "I need",
    "Remind me",
    "Remind me to",
    "Tell me",
    "My name is",
    "It is",
    "What time is",
    "How do you",
    "Can you",
    "Could you please",
    "Where is my",
    "Play some",
    "Is the",
    "Call my",
    "I live in",
    "Add milk and",
    "I think that",
    "If it rains",
    "What is five plus",
    "Divide ten by",
    "um",
    "So um",
    "I want to go to the, uh",
    "And then",
    "because",
    "I am going to",
    "Do you have any",
    "The weather in",
    "Let's",
    "I have a very",
    "Tell me more about",
    "What is the difference between",
    "How far is it from",
    "What is the capital of",
    "Can you tell me how",
]
WHOLE = [
    "Yes.",
    "No.",
    "Stop.",
    "Thank you.",
    "Okay.",
    "Never mind.",
    "Turn on the light.",
    "What time is it?",
    "How are you?",
    "What is the capital of France?",
    "Set a timer for ten minutes.",
    "Set a timer for five minutes, please.",
    "Play some music.",
    "Tell me a joke.",
    "Tell me more.",
    "Yes, I do.",
    "No, I don't.",
    "My dog is called Alice.",
    "I need a new tablet.",
    "Send an email to Kate.",
    "Call my mother.",
    "I am hungry.",
    "Track my order.",
    "I am not happy with my order.",
    "Who are you?",
    "Can you help me?",
    "Thanks a lot.",
    "Are you there?",
    "How does it work?",
    "What do you want?",
    "What can you do?",
    "Wake me up at six.",
    "Set the volume to fifty.",
    "Good morning.",
    "Say that again.",
    "Do you know who he is?",
    "Berlin.",
]
# A word more may follow, or not.
EITHER = [
    "Where are you from?",
    "Did I leave the oven on?",
    "Turn the light off.",
    "I want my money back.",
    "What?",
    "What is this?",
    "Go back.",
    "Hold on.",
    "Do it.",
]
LAST_OF_NOTHING = ["a", "the", "my", "and", "or", "because", "um", "into", "your"]
"""Not "to" or "of", which end questions: "what is it made of"."""

texts = st.lists(st.sampled_from(" ".join(OPEN + WHOLE).split()), min_size=1, max_size=8).map(
    " ".join
)


def score(text: str, language: str = "en") -> float:
    found = completeness(text, language)
    assert found is not None
    return found


@pytest.mark.parametrize("text", OPEN)
def test_open(text: str) -> None:
    assert score(text) <= HANGING


@pytest.mark.parametrize("text", [text for text in OPEN if " " in text])
def test_a_full_stop_closes_nothing(text: str) -> None:
    assert score(text + ".") <= HANGING


@pytest.mark.parametrize("text", WHOLE)
def test_whole(text: str) -> None:
    assert score(text) > EVEN


@pytest.mark.parametrize("text", EITHER)
def test_either(text: str) -> None:
    assert HANGING < score(text) <= EVEN


@pytest.mark.parametrize("text", ["Book a flight...", "Book a flight…", "Book a flight -", "So…"])
def test_a_mark_of_an_open_end_counts_more_than_the_words(text: str) -> None:
    assert score(text) == UNFINISHED


def test_a_comma_leaves_the_sentence_open() -> None:
    assert score("Book a flight,") == HANGING


def test_a_sentence_without_its_mark_is_a_little_less_whole() -> None:
    assert EVEN < score("What time is it") < score("What time is it?")


def test_the_last_sentence_counts() -> None:
    assert score("Stop. Turn on the") == UNFINISHED
    assert score("Turn on the. Stop.") == FINISHED
    assert score("Hello there. What time is it?") == LIKELY


@pytest.mark.parametrize("text", ["", "  ", "...", "?!", "–"])
def test_no_words_say_nothing(text: str) -> None:
    assert completeness(text) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Ich möchte ein", "de"),
        ("Je voudrais une", "fr"),
        ("Quiero ir a la", "es"),
        ("Vorrei un", "it"),
        ("Ik wil een", "nl"),
        ("Eu quero uma", "pt-BR"),
        ("Я хочу...", "ru"),
    ],
)
def test_open_in_other_languages(text: str, language: str) -> None:
    assert score(text, language) == UNFINISHED


@pytest.mark.parametrize(
    ("text", "language"),
    [("Mach das Licht an.", "de"), ("Quelle heure est-il ?", "fr"), ("Который час?", "ru")],
)
def test_nothing_is_said_of_other_sentences_in_other_languages(text: str, language: str) -> None:
    assert completeness(text, language) is None


@given(st.text(), st.sampled_from(["en", "en-US", "de", "xx", ""]))
def test_any_text_has_a_probability_or_none(text: str, language: str) -> None:
    found = completeness(text, language)
    assert found is None or 0 <= found <= 1


@given(texts)
def test_case_and_spaces_do_not_matter(text: str) -> None:
    assert completeness(text) == completeness("  " + text.upper().replace(" ", "   ") + " ")


@given(texts, st.sampled_from(LAST_OF_NOTHING))
def test_a_word_that_needs_another_opens_any_sentence(text: str, last: str) -> None:
    assert score(f"{text} {last}") <= HANGING
    assert score(f"{text} {last}") <= score(text) or score(text) <= HANGING


@given(texts)
def test_an_ellipsis_never_closes(text: str) -> None:
    assert score(text + "…") <= score(text)
