"""What said over a reply asks for the turn, and what only shows that somebody listens."""

from __future__ import annotations

import pytest

from pipeline.backchannel import SIGNS, SURE, interrupts
from pipeline.stages.stt import Transcription


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


@pytest.mark.parametrize(
    "text",
    ["Stop.", "Wait a moment.", "No.", "Yeah, but", "Okay, stop", "Tell me", "What time"],
)
def test_words_interrupt(text: str) -> None:
    assert interrupts(heard(text))
    assert not interrupts(heard(text, SURE - 0.01))


def test_signs_are_spelt_as_they_are_compared() -> None:
    assert all(sign == "".join(c for c in sign.casefold() if c.isalnum()) for sign in SIGNS)
