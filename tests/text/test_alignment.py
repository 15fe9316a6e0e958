"""Words are found in the phonemes of what is said, and in the text that it was said for."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from piper.phonemize_espeak import EspeakPhonemizer

from pipeline.text.alignment import (
    PhonemePlace,
    Sound,
    WordEnd,
    places,
    reached,
    spoken,
    whole_words,
    words,
)
from pipeline.text.chunker import Chunker
from pipeline.text.speakable import speakable

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
ESPEAK = EspeakPhonemizer()


def phonemes(text: str) -> list[list[str]]:
    return ESPEAK.phonemize("en-us", text)


def split(text: str) -> list[str]:
    """What each word of a text sounds like in it, without stress and punctuation."""
    sentences = phonemes(text)
    alone = [[p for part in phonemes(word.text) for p in part] for word in words(text)]
    parts, before = [], PhonemePlace(0, 0)
    for place in places(sentences, alone):
        part = [
            phoneme
            for s in range(before.sentence, place.sentence + 1)
            for phoneme in sentences[s][
                before.phonemes if s == before.sentence else 0 : place.phonemes
                if s == place.sentence
                else None
            ]
        ]
        parts.append("".join(part).translate(dict.fromkeys(map(ord, "ˈˌ .,;:?!"))))
        before = place
    return parts


class TestPlaces:
    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("Hello.", "həloʊ"),
            ("One, two, three.", "wʌn tuː θɹiː"),
            # Two words that espeak runs together.
            ("of the man", "ʌv ðə mæn"),
            ("I have been in the room", "aɪ hɐv bɪn ɪn ðə ɹuːm"),
            ("a lot of fun for all of us", "ɐ lɑːt ʌv fʌn fɔːɹ ɔːl ʌv ʌs"),
            # One that it says as several.
            ("the 23 things", "ðə twɛntiθɹiː θɪŋz"),
            ("in 1999, not 2019.", "ɪn naɪntiːnhʌndɹɪdnaɪntinaɪn nɑːt tuːθaʊzəndnaɪntiːn"),
            ("about 3.5 km", "ɐbaʊt θɹiːpɔɪntfaɪv keɪɛm"),
            ("A U.S. citizen read it!", "ɐ juːɛs sɪɾɪzən ɹiːd ɪt"),
            # A stop that ends a sentence for espeak only.
            ("Ask Dr. Smith about it.", "æsk dɑːktɚ smɪθ ɐbaʊt ɪt"),
            ("Stop! Who goes there? A friend.", "stɑːp huː ɡoʊz ðɛɹ ɐ fɹɛnd"),
        ],
    )
    def test_table(self, text: str, parts: str) -> None:
        assert split(text) == parts.split()

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("— Hello — you —", ["", "həloʊ", "", "juː", ""]),
            ("... Well", ["", "wɛl"]),
        ],
    )
    def test_a_word_without_sound_ends_with_the_one_before(
        self, text: str, parts: list[str]
    ) -> None:
        assert split(text) == parts

    def test_a_hundred_sentences_of_words_that_begin_and_end_as_they_do_alone(self) -> None:
        """Where no function word is reduced, each word has the phonemes it has alone."""
        with (RECORDINGS / "dev.tsv").open(encoding="utf-8", newline="") as file:
            said = [row["transcript"] for row in csv.DictReader(file, delimiter="\t")]
        said = [*said, *(f"{a} {b}" for a, b in pairwise(said))]
        said += [f"Well, {text} Then {text}" for text in said[:40]]
        alike = total = 0
        for text in said:
            for word, part in zip(words(text), split(text), strict=True):
                [alone] = split(word.text)
                alike += part[:1] == alone[:1] and part[-1:] == alone[-1:]
                total += 1
        assert len(said) > 100
        # Others are reduced: "a" begins with another vowel, "to" ends with one.
        assert alike / total > 0.85

    @given(
        st.lists(st.sampled_from(["wʌn", "tuː", "ʌv", "ðə", "ɐ", "kæt", "naɪnti naɪn", "ænd"])),
        st.data(),
    )
    def test_words_that_are_run_together_are_told_apart(
        self, said: list[str], data: st.DataObject
    ) -> None:
        sentences, expected = [list[str]()], []
        for word in said:
            sentences[-1] += word
            expected.append(PhonemePlace(len(sentences) - 1, len(sentences[-1])))
            sentences[-1] += data.draw(st.sampled_from(["", " ", ", "]))
            if data.draw(st.integers(0, 5)) == 0:
                sentences.append([])
        assert places(sentences, [list(word) for word in said]) == expected

    @given(
        st.lists(st.lists(st.sampled_from("abə ˈː.,"), max_size=30), min_size=1, max_size=3),
        st.lists(st.lists(st.sampled_from("abuə ˈː."), max_size=8), max_size=12),
    )
    def test_any_phonemes_give_places_in_order(
        self, sentences: list[list[str]], alone: list[list[str]]
    ) -> None:
        found = places(sentences, alone)
        assert len(found) == len(alone)
        assert found == sorted(found)
        for place in found:
            assert place.phonemes <= len(sentences[place.sentence])
        sounding = [
            i for i, word in enumerate(alone) if any(p.isalpha() for p in word if p in "abuə")
        ]
        last = [
            PhonemePlace(s, i + 1)
            for s, sentence in enumerate(sentences)
            for i, phoneme in enumerate(sentence)
            if phoneme in "abə"
        ]
        if sounding and last:
            assert found[sounding[-1]] >= last[-1]

    def test_a_text_too_long_to_compare_is_placed_in_proportion(self) -> None:
        found = places([list("kæt kæt kæt kæt")], [list("kæt")] * 4, largest=10)
        assert found == [
            PhonemePlace(0, 3),
            PhonemePlace(0, 7),
            PhonemePlace(0, 11),
            PhonemePlace(0, 15),
        ]


class TestReached:
    @pytest.mark.parametrize(
        ("source", "heard"),
        [
            ("It is so.", ["It", "It is", "It is so."]),
            ("- **Be** _very_ quiet", ["- **Be**", "- **Be** _very_", "- **Be** _very_ quiet"]),
            ("a `b c` d", ["a", "a `b", "a `b c`", "a `b c` d"]),
            ("I'm 👋 here", ["I'm 👋", "I'm 👋 here"]),
            # Said "about 5 dollars for", and only then is "$5" all heard.
            ("about $5 for", ["about", "about", "about $5", "about $5 for"]),
            ("at $5.50 each", ["at", "at", "at", "at $5.50", "at $5.50 each"]),
            ("e.g. this", ["", "e.g.", "e.g. this"]),
            ("from 10–20 on", ["from", "from", "from", "from 10–20", "from 10–20 on"]),
            ("in C# now", ["in", "in", "in C#", "in C# now"]),
            ("see [the docs](https://a.io/b) now", ["see", "see [the",
             "see [the docs](https://a.io/b)", "see [the docs](https://a.io/b) now"]),
            ("at https://www.a.com/b?c=d you", ["at", "at https://www.a.com/b?c=d",
             "at https://www.a.com/b?c=d you"]),
            ("yes — no", ["yes —", "yes — no"]),
            ("Ask Dr. Who", ["Ask", "Ask Dr.", "Ask Dr. Who"]),
            ("what? <b>no</b>", ["what?", "what? <b>no</b>"]),
        ],
    )  # fmt: skip
    def test_table(self, source: str, heard: list[str]) -> None:
        said = speakable(source)
        found = [source[: reached(said, source, word.end)].rstrip() for word in words(said)]
        assert found == heard

    @given(st.text("ab1 .,!—\n*`$#&[](<>/:5é你👋", max_size=120))
    def test_it_grows_by_whole_words_to_the_end(self, text: str) -> None:
        chunker = Chunker(first_words=1, max_chars=40)
        for clause in [*chunker.push(text), *chunker.flush()]:
            source = text[clause.start : clause.end]
            ends = {0, len(source), *(word.end for word in words(source))}
            found = [reached(clause.text, source, char) for char in range(len(clause.text) + 1)]
            assert found == sorted(found)
            assert set(found) <= ends
            assert found[-1] == len(source)

    @given(st.text("ab c", max_size=30), st.text("ab c1$", max_size=30))
    def test_any_two_texts(self, said: str, source: str) -> None:
        found = [reached(said, source, char) for char in range(len(said) + 1)]
        assert found == sorted(found)
        assert set(found) <= {0, len(source), *(word.end for word in words(source))}

    @given(st.text("ab ,.", max_size=60))
    def test_what_is_said_as_written_is_heard_as_said(self, text: str) -> None:
        ends = [word.end for word in words(text)]
        for end in ends[:-1]:
            assert reached(text, text, end) == end


def test_a_piece_without_its_first_samples_keeps_its_words() -> None:
    sound = Sound(np.arange(100, dtype=np.int16), (WordEnd(3, 10), WordEnd(7, 80)))
    rest = sound.without_first(30)
    assert rest.samples[0] == 30
    assert len(rest) == 70
    assert rest.words == (WordEnd(3, 0), WordEnd(7, 50))
    assert Sound(sound.samples).without_first(30).words is None


@given(st.text("ab ", max_size=30), st.integers(0, 100), st.integers(1, 100))
def test_spoken_words_are_whole_and_grow(text: str, heard: int, total: int) -> None:
    said = spoken(text, heard, total)
    assert text.startswith(said)
    assert said.split() == text.split()[: len(said.split())]
    assert spoken(text, heard + 1, total).startswith(said)


@given(st.text(alphabet="ab \n", max_size=30), st.floats(0, 1))
def test_whole_words(text: str, share: float) -> None:
    kept = whole_words(text, int(len(text) * share))
    assert text.startswith(kept)
    assert kept.split() == text.split()[: len(kept.split())]
    assert whole_words(text, len(text)).split() == text.split()
