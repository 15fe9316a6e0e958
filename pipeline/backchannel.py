"""What a listener says without wanting the turn: "mm-hm", "yeah", "okay". Pure."""

from __future__ import annotations

from pipeline.partial import bare
from pipeline.stages.stt import Transcription

SIGNS = frozenset(
    {"ah", "aha", "ahem", "er", "erm", "ha", "haha", "hm", "hmm", "hmmm", "huh", "mhm", "mm"}
    | {"mmhm", "mmhmm", "mmm", "mmmm", "oh", "ok", "okay", "right", "sure", "uh", "uhhuh", "uhuh"}
    | {"um", "umm", "wow", "yeah", "yep", "yes", "yup"}
)
"""Signs of listening, as recognisers spell them, without punctuation. Yngve 1970, "On getting a
word in edgewise", calls them the back channel."""

SURE = -0.7
"""Mean log-probability per token below which a recogniser only guesses: it makes a word of any
cough."""


def interrupts(heard: Transcription) -> bool:
    """Whether what was said over a reply asks for the turn: surely words, and no mere sign."""
    words = bare(heard.text)
    return heard.log_prob >= SURE and any(word not in SIGNS for word in words)
