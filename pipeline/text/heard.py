"""Which words of a text were heard, given how much of its sound was played. Pure.

What a voice says is not what was written (`speakable`), so a word is found in three steps: where it
ends in the sound (`places`), which words are over by then (`Spoken`), and how far that is in the
text as it was written (`reached`).

A voice tells how long each phoneme lasts; the phonemiser does not tell which word a phoneme is of:
it runs words together ("of the"), writes numbers out ("23") and drops punctuation. So each word is
put into phonemes alone too, and the two sequences are aligned by their edit distance. Of a voice
that tells nothing, words are placed in proportion to their characters.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.events import Samples
from pipeline.text.chunker import Clause

CHARS_PER_SECOND = 15.0
"""How fast a voice reads, about; used only for a clause whose sound is not complete."""

LARGEST = 8_000_000
"""Pairs of phonemes that are compared (32 MB); a longer text, of some ten times the longest clause
a reply is cut into by default, has its words placed in proportion."""

_GAP, _SPACE_GAP, _OTHER_KIND, _NEVER = 2, 1, 3, 1000
"""Costs. A phoneme for another of its kind costs as much as a missing one, a vowel for a consonant
more. A gap between words may be missing, but is no phoneme."""

_BLANK = ord(" ")
_VOWELS = frozenset("aeiouyæøœɐɑɒɔəɘɚɛɜɝɞɨɪɤɯɵɶʉʊʌʏᵻ")
_STRESS, _LENGTHS = frozenset("ˈˌ"), frozenset("ːˑ")
_WORD = re.compile(r"\S+")

_Costs = npt.NDArray[np.int32]


class WordEnd(NamedTuple):
    """Where a word is complete.

    Attributes:
        char: In the text that was spoken: its end, exclusive.
        sample: In the piece of sound: samples of it after which the word is complete.
    """

    char: int
    sample: int


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A piece of the sound of a text.

    Attributes:
        samples: int16, shape (n,).
        words: The ends of the words that end in this piece, in order; None if the voice does not
            tell.
    """

    samples: Samples
    words: tuple[WordEnd, ...] | None = None

    def __len__(self) -> int:
        """Samples."""
        return len(self.samples)

    def without_first(self, samples: int) -> Sound:
        """The piece without so many of its first samples."""
        words = self.words
        if words is not None:
            words = tuple(WordEnd(w.char, max(0, w.sample - samples)) for w in words)
        return Sound(self.samples[samples:], words)


class Spoken:
    """Which words of a reply have been heard, given how many samples were played.

    The reply's sound is the sound of its clauses, one after the other; each clause knows the span
    of the reply's text that it came from.
    """

    def __init__(self, rate: int) -> None:
        """Start a reply whose sound has `rate` samples a second."""
        self._rate = rate
        self._clauses: list[_Sounding] = []
        self.samples = 0

    def begin(self, clause: Clause) -> None:
        """The next samples belong to `clause`."""
        self._clauses.append(_Sounding(clause, self.samples))

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
                part = self._in_proportion(text, sound, played)
            else:
                char = max((end for end, sample in sound.words if sample <= played), default=0)
                part = reached(clause.text, text[clause.start : clause.end], char)
            end = clause.start + part if part else end
            break
        return text[:end].rstrip()

    def _in_proportion(self, text: str, sound: _Sounding, played: int) -> int:
        """How much of a clause was heard of which nobody knows where its words end."""
        clause = sound.clause
        expected = len(clause.text) / CHARS_PER_SECOND * self._rate
        length = sound.samples if sound.complete else max(sound.samples, expected)
        part = int((clause.end - clause.start) * played / length)
        return len(whole_words(text[clause.start :], part))


@dataclass(slots=True)
class _Sounding:
    """A clause, the sound that it has so far, and where its words end in that."""

    clause: Clause
    start: int
    samples: int = 0
    words: list[tuple[int, int]] | None = None
    complete: bool = False


def in_proportion(text: str, heard: int, total: int) -> str:
    """The words of `text` that are over when `heard` of `total` samples have been heard.

    Nothing more is known of where they are: they are placed in proportion to their characters.
    """
    return text if heard >= total else whole_words(text, len(text) * heard // total)


def whole_words(text: str, end: int) -> str:
    """The words of `text` that end within its first `end` characters."""
    return text[: max((word.end for word in words(text) if word.end <= end), default=0)]


def reached(said: str, source: str, char: int) -> int:
    """How far in a written text one has come who has heard part of how it is said.

    Args:
        said: What the voice says for `source` (`speakable.speakable`): without markup, with
            symbols and abbreviations in words.
        source: The text as it was written.
        char: End of the last word of `said` that was heard.

    Returns:
        The end of the last word of `source` all of which was heard; 0 if there is none.
    """
    spoken, written = words(said), words(source)
    heard = sum(word.end <= char for word in spoken)
    if heard == len(spoken):
        return len(source)
    ends = _origins(said, source)
    for i in reversed(range(heard)):
        here = _past_marks(source, ends[i])
        # Else the next word has nothing of its own in the source ("$5" is said "5 dollars"), and
        # what is written is not all heard without it.
        if ends[i + 1] > here:
            return max((word.end for word in written if word.end <= here), default=0)
    return 0


@functools.lru_cache(16)
def _origins(said: str, source: str) -> tuple[int, ...]:
    """The places in `source` that the ends of the words of `said` come from.

    Kept, for it is asked for with each position of the loudspeaker.
    """
    matcher = SequenceMatcher(None, said, source, autojunk=False)
    origin: list[int | None] = [None] * len(said)
    for block in matcher.get_matching_blocks():
        origin[block.a : block.a + block.size] = range(block.b, block.b + block.size)
    places, place, done = [], 0, 0
    for end in (word.end for word in words(said)):
        for at in origin[done:end]:
            place = place if at is None else at + 1
        done = end
        # Where the space that follows is known, markup before it belongs to the word.
        following = origin[end] if end < len(said) else len(source)
        places.append(place if following is None else following)
    return tuple(places)


def _past_marks(text: str, place: int) -> int:
    """The end of the word around `place` if only marks of it are left, else `place`."""
    rest = _WORD.match(text, place)
    if rest is None or any(map(str.isalnum, rest.group())):
        return place
    return rest.end()


class PhonemePlace(NamedTuple):
    """Where a word ends in phonemes: after so many of those of a sentence."""

    sentence: int
    phonemes: int


class Word(NamedTuple):
    """A word of a text, with what punctuation is written next to it."""

    text: str
    end: int


def words(text: str) -> list[Word]:
    """The words of a text: what white space separates."""
    return [Word(m.group(), m.end()) for m in _WORD.finditer(text)]


def places(
    sentences: Sequence[Sequence[str]],
    alone: Sequence[Sequence[str]],
    *,
    largest: int = LARGEST,
) -> list[PhonemePlace]:
    """Where words end in the phonemes of the sentences that they make up.

    Args:
        sentences: Phonemes of the text, by sentence, with spaces and punctuation.
        alone: Phonemes of each word as if it were all of the text; [] for one without sound,
            which then ends with the word before it.
        largest: Pairs of phonemes that are compared.

    Returns:
        One place for each word, in order. The last is after all that sounds.
    """
    expected: list[str] = []
    ends = []
    for phonemes in alone:
        begin = len(expected)
        expected += filter(_is_compared, phonemes)
        while begin < len(expected) and expected[-1] == " ":
            expected.pop()
        ends.append(len(expected))
        expected.append(" ")
    # How far the sounding phonemes go, after each symbol that is compared.
    spoken, sounding = list[str](), [PhonemePlace(0, 0)]
    for s, sentence in enumerate(sentences):
        for i, phoneme in enumerate([*sentence, " "]):
            if _is_compared(phoneme):
                spoken.append(phoneme)
                sounding.append(sounding[-1] if phoneme == " " else PhonemePlace(s, i + 1))
            elif _prolongs(phoneme) and spoken and spoken[-1] != " ":
                sounding[-1] = PhonemePlace(s, i + 1)
    aligned = _aligned(expected, spoken, largest)
    found = [sounding[aligned[end]] for end in ends]
    begin = 0
    for i, end in enumerate(ends):
        if begin == end:
            found[i] = found[i - 1] if i else sounding[0]
        elif end == _sounding_end(expected):
            found[i] = sounding[-1]
        begin = end + 1
    return found


def _is_compared(phoneme: str) -> bool:
    """Whether it is a letter, a digit or a space.

    Diacritics, length and stress only get in the way of the comparison; punctuation is no sound.
    """
    return phoneme == " " or (phoneme.isalnum() and phoneme not in _STRESS | _LENGTHS)


def _prolongs(phoneme: str) -> bool:
    """Whether it belongs to the letter before it."""
    return phoneme in _LENGTHS or unicodedata.combining(phoneme[0]) > 0


def _sounding_end(phonemes: Sequence[str]) -> int:
    """How many there are but for spaces at the end."""
    return next((i + 1 for i in reversed(range(len(phonemes))) if phonemes[i] != " "), 0)


def _aligned(left: Sequence[str], right: Sequence[str], largest: int) -> list[int]:
    """For each symbol of `left`, and for its end: how many of `right` come before it."""
    rows, columns = len(left), len(right)
    if rows * columns > largest:
        return [i * columns // rows for i in range(rows + 1)]
    costs, total = _costs(left, right)
    aligned = [columns] * (rows + 1)
    i, j = rows, columns
    while i:
        if j and total[i][j] == total[i - 1][j - 1] + costs[i - 1][j - 1]:
            i, j = i - 1, j - 1
        elif total[i][j] == total[i - 1][j] + _gap(left[i - 1]):
            i -= 1
        else:
            j -= 1
            continue
        aligned[i] = j
    return aligned


def _costs(left: Sequence[str], right: Sequence[str]) -> tuple[_Costs, _Costs]:
    """What each pair costs, and the least that any two beginnings cost."""
    a, b = (np.array([ord(symbol[0]) for symbol in side], np.int32) for side in (left, right))
    vowel, vowel_b = (np.array([s in _VOWELS for s in side], bool) for side in (left, right))
    costs = np.where(vowel[:, None] == vowel_b, _GAP, _OTHER_KIND).astype(np.int32)
    costs[(a == _BLANK)[:, None] != (b == _BLANK)] = _NEVER
    costs[a[:, None] == b] = 0
    skipped = np.zeros(len(right) + 1, np.int32)
    skipped[1:] = np.cumsum(np.where(b == _BLANK, _SPACE_GAP, _GAP))
    total = np.empty((len(left) + 1, len(right) + 1), np.int32)
    total[0] = skipped
    for i, symbol in enumerate(left):
        row = total[i] + _gap(symbol)
        np.minimum(row[1:], total[i, :-1] + costs[i], out=row[1:])
        # What is skipped on the right costs the same from wherever it began.
        total[i + 1] = np.minimum.accumulate(row - skipped) + skipped
    return costs, total


def _gap(symbol: str) -> int:
    return _SPACE_GAP if symbol == " " else _GAP
