"""Words of a sentence, and the word error rate between sentences."""

import re
from collections.abc import Sequence


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; apostrophes stay (``don't`` is one word)."""
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def edits(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein distance: the fewest insertions, deletions and substitutions between the two."""
    row = list(range(len(hypothesis) + 1))
    for i, wanted in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, heard in enumerate(hypothesis, 1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (wanted != heard)),
            )
    return row[-1]


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Edits per reference word over all sentence pairs together.

    Raises:
        ValueError: the lists differ in length, or the references hold no word at all.
    """
    pairs = [
        (words_of(wanted), words_of(heard))
        for wanted, heard in zip(references, hypotheses, strict=True)
    ]
    total = sum(len(wanted) for wanted, _ in pairs)
    if not total:
        raise ValueError("a word error rate needs at least one reference word")
    return sum(edits(wanted, heard) for wanted, heard in pairs) / total
