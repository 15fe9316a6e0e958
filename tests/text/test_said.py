"""What is written and how a person reads it aloud, by the phonemes that espeak-ng makes of both.

`said/LANGUAGE.tsv` holds lines `written<TAB>said`: what a model writes, and the same in plain words
with sentences apart by " | ". "\\n" stands for a line's end; "#" begins a comment. A line is right
when the whole way of a reply, the chunker's cuts and then espeak-ng's, gives the same sounds in the
same sentences. Stress, pauses and gaps between words are left out: writers differ in them. So are
shades that espeak-ng gives a number in figures and not the same in words.
"""

from __future__ import annotations

import functools
import unicodedata
from pathlib import Path

import pytest
from piper.phonemize_espeak import EspeakPhonemizer

from pipeline.text.chunker import Chunker

SHADES = {"ᵻ": "ɪ", "ɾ": "t"}
TABLES = sorted((Path(__file__).parent / "said").glob("*.tsv"))


def lines() -> list[tuple[str, str, str]]:
    """Language, written, said."""
    found = []
    for table in TABLES:
        for line in table.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                written, said = line.split("\t")
                found.append((table.stem, written.replace("\\n", "\n"), said))
    return found


@functools.cache
def sounds(language: str, text: str) -> tuple[str, ...]:
    """The sounds of a text, sentence by sentence."""
    sentences = EspeakPhonemizer().phonemize(language, text)
    bare = (
        "".join(SHADES.get(s, s) for s in sentence if unicodedata.category(s) in ("Ll", "Lo"))
        for sentence in sentences
    )
    return tuple(filter(None, bare))


def spoken(language: str, written: str) -> list[str]:
    """The clauses that a reply is spoken in."""
    chunker = Chunker(language=language)
    clauses = chunker.push(written, hurry=False) + chunker.flush()
    return [clause.text for clause in clauses]


@pytest.mark.parametrize(("language", "written", "said"), lines())
def test_what_is_written_is_said_as_a_person_reads_it(
    language: str, written: str, said: str
) -> None:
    clauses = spoken(language, written)
    heard = [part for clause in clauses for part in sounds(language, clause)]
    right = [part for sentence in said.split(" | ") for part in sounds(language, sentence)]
    assert heard == right, clauses
