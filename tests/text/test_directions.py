"""Stage directions are not said; what only looks like one keeps its words."""

from __future__ import annotations

import pytest

from pipeline.text.chunker import Chunker
from pipeline.text.speakable import speakable

DIRECTIONS = [
    "<sigh>", "<laugh>", "</laugh>", "<giggle/>", "<clears throat>", "<clears_throat>", "<LAUGHS>",
    "[pause]", "[short pause]", "[sighs deeply]", "[laughs nervously]", "[laughing]", "[S1]",
    "[clears throat]", "[starts laughing]", "[strong French accent]", "[whispering softly]",
    "[applause]", "[breath]", "[excited]", "[upbeat music]", "[Music fades]", "[sound of rain]",
    "[in a whisper]", "[warmly]", "<happy>", "(dramatic pause)", "(in a deep voice)", "_sighs_",
    "[speaks fast, louder than before, in a higher voice than before, with long pauses]",
    "[speaks in a whisper]",
    "***laughs***", "~giggles~", "*long pause*", "*adjusts glasses*", "*in a low voice*",
    "(laughs)", "(clears throat)", "(sighs heavily)", "(pause)", "(laughing)", "(smiles)",
    "*sighs*", "*clears throat*", "*clears her throat*", "*laughs softly*",
    "*Takes a deep breath.*",
       "*smiles and waves at you*", "*nods, then smiles*", "**sighs**", "*sigh*",
]  # fmt: skip


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_direction_is_not_said(direction: str, language: str) -> None:
    assert speakable(f"{direction} So be it.", language=language) == "So be it."
    assert speakable(f"So be it. {direction}", language=language) == "So be it."
    assert speakable(direction, language=language) == ""


@pytest.mark.parametrize("hurry", [True, False])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_cut_falls_within_a_direction(direction: str, hurry: bool) -> None:
    chunker = Chunker(first_words=1, first_chars=1)
    out = []
    for char in f"Well, here we are. {direction} So, then, be it.":
        out += chunker.push(char, hurry=hurry)
        out += chunker.force()
    words = " ".join(clause.text for clause in out + chunker.flush())
    assert words == "Well, here we are. So, then, be it."


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("This is *very* important.", "This is very important."),
        ("She *laughs* a lot.", "She laughs a lot."),
        ("*Smile* is the word.", "Smile is the word."),
        ("*See* you *soon*, she said.", "See you soon, she said."),
        ("It is so (see below).", "It is so (see below)."),
        ("He came (and sighed).", "He came (and sighed)."),
        ("A pause (a long one) is good.", "A pause (a long one) is good."),
        ("See [1] and [very] much [sic].", "See [1] and [very] much [sic]."),
        ("The [laughs](https://x.org) page.", "The laughs page."),
        ("`[pause]` is a tag.", "[pause] is a tag."),
        ("Use List<String> or Map<K, V>.", "Use List<String> or Map<K, V>."),
        ("If ab<cd and ef>gh, stop.", "If ab<cd and ef>gh, stop."),
        ("<title> is no sound.", "<title> is no sound."),
    ],
)
def test_other_brackets_and_stars_keep_their_words(written: str, said: str) -> None:
    assert speakable(written) == said
    chunker = Chunker()
    clauses = [c.text for char in written for c in chunker.push(char, hurry=False)]
    assert " ".join(clauses + [c.text for c in chunker.flush()]) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('Wait <break time="500ms"/> here.', "Wait here."),
        ('<speak><prosody rate="slow">Yes.</prosody></speak>', "Yes."),
        ('<say-as interpret-as="date">May</say-as>', "May"),
        ('<emphasis level="strong">No</emphasis>!', "No!"),
        ("If a<b and c>d, stop.", "If eh is less than b and c is greater than d, stop."),
    ],
)
def test_ssml_is_markup_and_comparisons_are_not(written: str, said: str) -> None:
    assert speakable(written) == said
