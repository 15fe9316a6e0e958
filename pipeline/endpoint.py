"""How long to wait in silence before the user's turn is over. Pure.

A graded delay, not a threshold: the surer the end, the shorter the hold. The words say most, the
language model's opinion of them more than rules, and all of it only as much as the recogniser is
sure of the words.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from pipeline.config import Turns

# Logistic regression on the one half of `scripts/pauses.py`; `scripts/politeness.py --fit` prints
# them. Each kind of evidence counts by how much its log-odds are above its middle.
JUDGED, JUDGED_MIDDLE = 1.0, -2.9
"""The language model's opinion: weight, and log-odds at which it says nothing."""

WORDS, WORDS_MIDDLE = 0.35, 0.3
"""The rules' opinion where the language model has one too."""

WORDS_ALONE = 1.5
"""The rules' opinion where it has none."""

MELODY = 0.1
"""Smart Turn's opinion, where nothing is known of the words. With the words its fitted weight is 0:
on the synthetic voices there it is no better than chance. Its authors report much better of people,
which cannot be measured here."""

PRIOR = 0.2
"""Log-odds of an end at a pause of which nothing is known."""

LEAST = 0.001
"""Probabilities are taken to be at least this far from 0 and 1."""

UNLIKELY, EVEN, SURE = 0.3, 0.6, 0.85
"""Probabilities at which the hold is the longest, the hangover, the shortest.

Chosen on the same half, without noise: a tenth of the turns waits for more than 0.7 s with them.
Values that have these wait for 1.4 s save a quarter of the cut-ins that are left.
"""

REMEMBERED = 24
"""So many pauses of the speaker count, the latest ones."""

TRUSTED = 6
"""After so many pauses they count as much as the setting."""

QUANTILE, MARGIN = 0.9, 1.2
"""The hold is a fifth above the pause that nine of ten pauses are shorter than."""

REACH = 0.5
"""Share of the setting by which the hold may move."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a pause, each a probability that the turn is over; None: not known.

    Attributes:
        melody: From the sound (`stages.endpoint.SmartTurn`).
        words: From the words so far (`completeness.completeness`).
        judged: From the words so far, by the language model (`stages.llm_judge.TextJudge`).
        sure: How sure the recogniser is of the words, 0 to 1: e to the power of
            `Transcription.log_prob`.
    """

    melody: float | None = None
    words: float | None = None
    judged: float | None = None
    sure: float = 1.0


def probability(evidence: Evidence) -> float | None:
    """The probability that the turn is over; None if nothing is known."""
    if evidence.melody is None and evidence.words is None and evidence.judged is None:
        return None
    odds = 0.0
    if evidence.judged is not None:
        odds += JUDGED * (log_odds(evidence.judged) - JUDGED_MIDDLE)
    if evidence.words is not None:
        weight = WORDS_ALONE if evidence.judged is None else WORDS
        odds += weight * (log_odds(evidence.words) - WORDS_MIDDLE)
    odds *= min(max(evidence.sure, 0.0), 1.0) ** 2
    if evidence.judged is None and evidence.words is None and evidence.melody is not None:
        odds = MELODY * log_odds(evidence.melody)
    return 1 / (1 + math.exp(-(odds + PRIOR)))


def log_odds(p: float) -> float:
    """The logarithm of p to 1 - p, for a probability kept `LEAST` away from 0 and 1."""
    p = min(max(p, LEAST), 1 - LEAST)
    return math.log(p / (1 - p))


def hold_ms(settings: Turns, p: float | None, hangover_ms: float) -> float:
    """Silence that ends the turn (ms).

    `longest_ms` up to p = `UNLIKELY`, `hangover_ms` at `EVEN`, `shortest_ms` from `SURE` on;
    between them each step of p changes it by the same factor.

    Args:
        settings: The bounds; where they cross, the longer one counts.
        p: That the turn is over; None: nothing is known.
        hangover_ms: What to wait then; brought within the bounds where something is known.
    """
    if p is None:
        return hangover_ms
    shortest = settings.shortest_ms
    longest = max(shortest, settings.longest_ms)
    middle = min(max(hangover_ms, shortest), longest)
    if p <= EVEN:
        return _between(longest, middle, (p - UNLIKELY) / (EVEN - UNLIKELY))
    return _between(middle, shortest, (p - EVEN) / (SURE - EVEN))


def _between(first: float, last: float, share: float) -> float:
    """From `first` at a share of 0 to `last` at 1, by equal factors; no further."""
    if share <= 0:
        return first
    return last if share >= 1 else first * (last / first) ** share


class Hangover:
    """The hold where nothing else is known: it follows the pauses that the speaker makes.

    Only pauses that the hold outlasted are known, so that it grows by no more than `MARGIN` beyond
    what it saw; predictions, which hold longer after open ends, let it see longer ones.
    """

    def __init__(self, settings: Turns) -> None:
        self._settings = settings
        self._pauses: deque[float] = deque(maxlen=REMEMBERED)

    def paused(self, pause_ms: float) -> None:
        """Take a pause after which the user went on."""
        self._pauses.append(pause_ms)

    @property
    def ms(self) -> float:
        """The hold (ms): `hold_ms` at first, and within half of it always."""
        middle, n = float(self._settings.hold_ms), len(self._pauses)
        if not n or not self._settings.adapt:
            return middle
        wanted = MARGIN * sorted(self._pauses)[min(n - 1, int(QUANTILE * n))]
        moved = (TRUSTED * middle + n * wanted) / (TRUSTED + n)
        return min(max(moved, (1 - REACH) * middle), (1 + REACH) * middle)
