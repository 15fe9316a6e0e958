"""Other languages: what the tables of `said` leave out: streams, haste, deadlines, every table."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.test_said import SPOKEN, lines

from pipeline.text.boundaries import CLOSERS
from pipeline.text.chunker import Chunker, Clause
from pipeline.text.languages import LANGUAGES
from pipeline.text.speakable import speakable
from pipeline.text.wording import _UNITS, in_words

WRITTEN = {language: [written for written, _ in lines(language)] for language in SPOKEN}
PAUSES = (*",;:…—–", "...")

# (language, what comes before an abbreviation): it does not end a clause, whatever comes
LEADING = [
    ("de", "Das kostet heute ca."),
    ("de", "Es gibt hier z.B."),
    ("de", "Es gibt hier z."),
    ("de", "Es gibt hier z. B."),
    ("de", "Wir gehen heute zu Dr."),
    ("de", "Nimm das Zimmer Nr."),
    ("de", "Das war am schönen 3."),
    ("fr", "Il y a par ici M."),
    ("fr", "Il y a des fruits, p. ex."),
    ("fr", "Voyez donc à la p."),
    ("es", "Aquí está el señor Sr."),
    ("es", "Hay mucha fruta, p. ej."),
    ("it", "Ecco a voi il sig."),
    ("it", "Mangia la frutta, ad es."),
    ("nl", "Neem wat fruit, bijv."),
    ("nl", "Vandaag komt hier dhr."),
    ("pl", "Jedz dużo owoców, np."),
    ("pl", "Mieszka przy długiej ul."),
    ("sv", "Ät mycket frukt, t.ex."),
    ("sv", "Det kostar i dag ca."),
    ("pt", "Coma muita fruta, p. ex."),
    ("pt", "Aqui está o senhor Sr."),
]


def chunk(language: str, text: str, sizes: list[int], *, hurry: bool) -> list[Clause]:
    """All clauses of a text that comes in pieces of these sizes, over and over."""
    chunker = Chunker(language=language)
    clauses, at, turn = [], 0, 0
    while at < len(text):
        size = sizes[turn % len(sizes)]
        clauses += chunker.push(text[at : at + size], hurry=hurry)
        at, turn = at + size, turn + 1
    return clauses + chunker.flush()


@pytest.mark.parametrize("language", SPOKEN)
def test_in_a_hurry_only_pauses_and_sentences_end_a_clause(language: str) -> None:
    for written in WRITTEN[language]:
        calm = {clause.end for clause in chunk(language, written, [len(written)], hurry=False)}
        hurried = chunk(language, written, [1], hurry=True)
        early = [written[clause.start : clause.end] for clause in hurried if clause.end not in calm]
        assert all(text.rstrip("".join(CLOSERS)).endswith(PAUSES) for text in early), early
        assert hurried == chunk(language, written, [len(written)], hurry=True)


@given(
    seed=st.integers(0, 9999),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    hurry=st.booleans(),
)
def test_how_the_text_is_cut_into_deltas_does_not_matter(
    seed: int, sizes: list[int], hurry: bool
) -> None:
    chance = random.Random(seed)
    language = chance.choice(SPOKEN)
    chosen = chance.choices(WRITTEN[language], k=3)
    text = " ".join(word for line in chosen for word in line.split())
    words = text.split()
    chance.shuffle(words)
    for source in (text, " ".join(words)):
        assert chunk(language, source, sizes, hurry=hurry) == chunk(
            language, source, [len(source)], hurry=hurry
        )


@pytest.mark.parametrize(("language", "text"), LEADING)
@pytest.mark.parametrize("more", ["", " "])
def test_a_deadline_does_not_cut_after_an_abbreviation(language: str, text: str, more: str) -> None:
    chunker = Chunker(language=language)
    given_ = chunker.push(text + more) + chunker.force()
    assert all(clause.end < len(text) - 2 for clause in given_), given_


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_a_minus_is_said_in_every_language_and_whichever_sign_is_written(language: str) -> None:
    minus = LANGUAGES[language].minus
    for before in ("", "x ", "(", "x = ", "a: "):
        plain = speakable(f"{before}5", language=language)
        for sign in "-–−":
            said = speakable(f"{before}{sign}5", language=language)
            assert said == plain.replace("5", f"{minus} 5")
    assert speakable("20 − 5", language=language) == f"20 {minus} 5"


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_a_range_keeps_its_numbers_apart_and_a_code_stays(language: str) -> None:
    said = speakable("10–20", language=language)
    assert said in (f"10 {LANGUAGES[language].to} 20", "10, 20")
    for code in ("555-123", "0171-200", "B2-3", "3-1"):
        assert speakable(code, language=language) == code


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_abbreviation_is_put_into_its_words(language: str) -> None:
    table = LANGUAGES[language]
    for kind in (table.leads, table.number, table.ends, table.open):
        for key, words in kind.items():
            before = "7 " if key.startswith("#") else "x" if key.startswith("-") else ""
            after = "5" if kind is table.number else "bb"
            said = in_words(f"a {before}{key.strip('#-?')} {after}", language)
            assert said.lower() == f"a {before}{words} {after}".lower(), key


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Das ist der Preis. Er gilt. Max kam. Die Art. Ich mag so etwas. Ja, am Min."),
        ("fr", "C'est par. Voilà le max. Ils sont au min. Tu vois le vol. Il est parti."),
        ("es", "Vi el mar. No. Dime no. Fue el sol. El cap. La voz."),
        ("it", "Ecco la via. Sono in set. Per me. Sono dei min. Due ore."),
        ("nl", "Dat is zo. Ik zie ma. Zij doet. Ik ga. Het is min. Nee."),
        ("pl", "Ok. Zrobione. Mam to. On ma min. Tak. To jest s. Tak."),
        ("sv", "Den är min. Det är en ny art. Hon är fin. Vi ses."),
        ("pt", "Vi o mar. Sim. Gosto da set. Não. Disse no. Fim."),
    ],
)
def test_words_that_look_like_abbreviations_end_their_sentences(language: str, text: str) -> None:
    clauses = [clause.text for clause in chunk(language, text, [1], hurry=False)]
    assert " ".join(clauses) == text
    assert len(clauses) == text.count(". ") + 1


@given(
    text=st.text(max_size=40) | st.text(alphabet="0123456789.,:-–− €%½hkmºXIV aZ\n", max_size=60),
    language=st.sampled_from(sorted(LANGUAGES)),
)
def test_any_text_is_put_into_words(text: str, language: str) -> None:
    said = speakable(text, language=language)
    assert said == said.strip()
    assert "  " not in said
    assert bool(said) == any(map(str.isalnum, said))


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_unit_has_a_name_in_every_language(language: str) -> None:
    for unit in _UNITS:
        assert speakable(f"5 {unit}", language=language)


def test_what_only_other_languages_need_is_loaded_when_one_is_spoken() -> None:
    program = """
import sys
from pipeline.text.chunker import Chunker
for language in ("en-us", "de"):
    assert not {"pipeline.text.languages", "pipeline.text.ordinals", "babel"} & sys.modules.keys()
    chunker = Chunker(language=language)
    assert chunker.push("J. F. Kennedy paid $5 at 3 p.m. Then he left. So.", hurry=True)
assert "babel" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
