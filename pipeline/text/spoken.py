"""Which words of a reply were heard. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.text import alignment
from pipeline.text.alignment import WordEnd
from pipeline.text.chunker import Clause

CHARS_PER_SECOND = 15.0
"""How fast a voice reads, about; used only for a clause whose sound is not complete."""


class Spoken:
    """Which words of a reply have been heard, given how many samples were played.

    The reply's sound is the sound of its clauses, one after the other; each clause knows the span
    of the reply's text that it came from.
    """

    def __init__(self, rate: int) -> None:
        """Start a reply whose sound has `rate` samples a second."""
        self._rate = rate
        self._clauses: list[_Sound] = []
        self.samples = 0

    def begin(self, clause: Clause) -> None:
        """The next samples belong to `clause`."""
        self._clauses.append(_Sound(clause, self.samples))

    def extend(self, samples: int, words: Sequence[WordEnd] | None = None) -> None:
        """The current clause has this many more samples, and these words of it end in them.

        Without words, or with None, see `heard`: it makes a difference whether no word ends there,
        or nobody knows.
        """
        sound = self._clauses[-1]
        if words is not None:
            before = sound.words or []
            sound.words = [*before, *((w.char, sound.samples + w.sample) for w in words)]
        self.samples += samples
        sound.samples += samples

    def end(self) -> None:
        """The current clause's sound is complete."""
        self._clauses[-1].complete = True

    def heard(self, text: str, samples: int) -> str:
        """The part of the reply's `text` that was heard once `samples` samples had been played.

        Whole words only: a word that was cut off counts as not heard. Within a clause whose
        words' ends are not known, words are placed in proportion to their characters.
        Samples that were not made count as not played.
        """
        samples = min(samples, self.samples)
        end = 0
        for sound in self._clauses:
            played = samples - sound.start
            if played <= 0:
                break
            clause = sound.clause
            if sound.complete and played >= sound.samples:
                end = clause.end
                continue
            if sound.words is None:
                reached = self._in_proportion(text, sound, played)
            else:
                reached = self._by_words(text, sound, played)
            end = max(end, reached)
            break
        return text[:end].rstrip()

    def _in_proportion(self, text: str, sound: _Sound, played: int) -> int:
        clause = sound.clause
        expected = len(clause.text) / CHARS_PER_SECOND * self._rate
        length = sound.samples if sound.complete else max(sound.samples, expected)
        reached = clause.start + int((clause.end - clause.start) * played / length)
        kept = alignment.whole_words(text[clause.start :], reached - clause.start)
        return clause.start + len(kept) if kept else 0

    def _by_words(self, text: str, sound: _Sound, played: int) -> int:
        clause = sound.clause
        char = max((end for end, sample in sound.words or [] if sample <= played), default=0)
        reached = alignment.reached(clause.text, text[clause.start : clause.end], char)
        return clause.start + reached if reached else 0


@dataclass(slots=True)
class _Sound:
    clause: Clause
    start: int
    samples: int = 0
    words: list[tuple[int, int]] | None = None
    complete: bool = False
