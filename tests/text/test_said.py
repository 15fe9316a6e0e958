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
TABLES = Path(__file__).parent / "said"
SPOKEN = sorted(table.stem for table in TABLES.glob("*.tsv"))
"""The languages that have a table."""


def lines(language: str) -> list[tuple[str, str]]:
    """A language's table: written, said."""
    found = []
    for line in (TABLES / f"{language}.tsv").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            written, said = line.split("\t")
            found.append((written.replace("\\n", "\n"), said))
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


@pytest.mark.parametrize("language", SPOKEN)
def test_what_is_written_is_said_as_a_person_reads_it(language: str) -> None:
    wrong = {}
    for written, said in lines(language):
        clauses = spoken(language, written)
        heard = [part for clause in clauses for part in sounds(language, clause)]
        right = [part for sentence in said.split(" | ") for part in sounds(language, sentence)]
        if heard != right:
            wrong[written] = clauses, heard, right
    assert wrong == {}
