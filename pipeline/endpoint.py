"""How long to wait in silence before the user's turn is over. Pure.

A graded delay, not a threshold: the surer the end, the shorter the hold.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import Turns


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a pause, each a probability that the turn is over; None: not known.

    Attributes:
        melody: From the sound (`stages.endpoint.SmartTurn`).
        words: From the words so far (`completeness.completeness`).
    """

    melody: float | None = None
    words: float | None = None


def probability(evidence: Evidence) -> float | None:
    """The probability that the turn is over; None if nothing is known."""
    known = [p for p in (evidence.melody, evidence.words) if p is not None]
    return sum(known) / len(known) if known else None


def hold_ms(settings: Turns, p: float | None, hangover_ms: float) -> float:
    """Silence that ends the turn: from `longest_ms` at p = 0 down to `shortest_ms` at p = 1."""
    if p is None:
        return hangover_ms
    return settings.longest_ms + (settings.shortest_ms - settings.longest_ms) * p


class Hangover:
    """The hold where nothing else is known: it follows the pauses that the speaker makes."""

    def __init__(self, settings: Turns) -> None:
        self._settings = settings

    def paused(self, pause_ms: float) -> None:
        """Take a pause after which the user went on."""

    @property
    def ms(self) -> float:
        """The hold (ms)."""
        return float(self._settings.hold_ms)
