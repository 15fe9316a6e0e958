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

DEMANDS = frozenset(
    {"stop", "wait", "no", "hey", "hello", "pause", "cancel", "quiet", "enough", "listen", "please"}
    | {"sorry", "skip", "help", "excuse", "but", "what", "when", "where", "why", "how"}
)
"""Words that ask for the turn all by themselves."""

SURE = -0.7
"""Mean log-probability per token below which a recogniser only guesses. It keeps out coughs; a hum
may be "Who?" to a recogniser, and a sure one."""


def interrupts(heard: Transcription) -> bool:
    """Whether what was said over a reply asks for the turn.

    One word does not, unless it is a demand: a hum, a laugh or a sigh is often taken for a word,
    seldom for two different ones. `scripts/bench turns` counts what gets through.
    """
    words = [word for word in bare(heard.text) if word not in SIGNS]
    if not words or heard.log_prob < SURE:
        return False
    return words[0] in DEMANDS or len(set(words)) > 1
