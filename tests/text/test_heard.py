"""Which words were heard: found in the sound, in what is said, and in what was written."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from piper.phonemize_espeak import EspeakPhonemizer

from pipeline.text.chunker import Chunker, Clause
from pipeline.text.heard import (
    CHARS_PER_SECOND,
    PhonemePlace,
    Sound,
    Spoken,
    WordEnd,
    in_proportion,
    places,
    reached,
    words,
)
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
    @example([["a"], [" ", "a"]], [["a", " "], []])  # a space belongs to no word
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
def test_words_in_proportion_are_whole_and_grow(text: str, heard: int, total: int) -> None:
    said = in_proportion(text, heard, total)
    assert text.startswith(said)
    assert said.split() == text.split()[: len(said.split())]
    assert in_proportion(text, heard + 1, total).startswith(said)


@dataclass(frozen=True)
class Made:
    """A clause and the pieces of sound that it came in."""

    clause: Clause
    pieces: list[int]


@st.composite
def replies(draw: st.DrawFn) -> tuple[str, list[Made]]:
    """A reply, and the sound of the clauses that the chunker cuts it into."""
    text = draw(st.text("ab .,!—\n*`1$&é你", min_size=1, max_size=120))
    chunker = Chunker(first_words=1, max_chars=40)
    pieces = st.lists(st.integers(1, 400), min_size=1, max_size=4)
    clauses = [*chunker.push(text), *chunker.flush()]
    assume(clauses)
    return text, [Made(clause, draw(pieces)) for clause in clauses]


def speak(sounds: list[Made], rate: int = 100, *, told: st.DataObject | None = None) -> Spoken:
    """All of the sound, all clauses complete; where words end is drawn, or nobody knows."""
    spoken = Spoken(rate)
    for sound in sounds:
        chars = [word.end for word in words(sound.clause.text)]
        spoken.begin(sound.clause)
        for i, samples in enumerate(sound.pieces):
            ends = None
            if told is not None:
                last = i + 1 == len(sound.pieces)
                here = chars if last else chars[: told.draw(st.integers(0, len(chars)))]
                chars = chars[len(here) :]
                at = st.lists(st.integers(0, samples), min_size=len(here), max_size=len(here))
                ends = list(map(WordEnd, here, sorted(told.draw(at))))
            spoken.extend(samples, ends)
        spoken.end()
    return spoken


def check(text: str, sounds: list[Made], spoken: Spoken) -> None:
    """What holds of the heard text at each moment of the playing."""
    step = max(1, spoken.samples // 100)
    last = ""
    clause_ends = {len(text[: s.clause.end].rstrip()) for s in sounds}
    for played in [*range(0, spoken.samples, step), spoken.samples, spoken.samples + 10_000]:
        heard = spoken.heard(text, played)
        assert text.startswith(heard)
        assert heard.startswith(last), "it shrank"
        last = heard
        rest = text[len(heard) :]
        whole = not heard or not rest or rest[0].isspace() or len(heard) in clause_ends
        assert whole, f"cut inside a word: {heard!r} | {rest!r}"


@settings(deadline=None)
@given(replies(), st.booleans(), st.data())
def test_what_is_heard_grows_by_whole_words_and_to_the_end_of_a_clause_with_its_sound(
    reply: tuple[str, list[Made]], told: bool, data: st.DataObject
) -> None:
    text, sounds = reply
    spoken = speak(sounds, told=data if told else None)
    assert spoken.heard(text, 0) == "" or told
    check(text, sounds, spoken)
    played = 0
    for sound in sounds:
        played += sum(sound.pieces)
        assert spoken.heard(text, played) == text[: sound.clause.end].rstrip()


@settings(deadline=None)
@given(replies(), st.data())
def test_a_reply_still_being_made_is_heard_no_further_than_it_is_made(
    reply: tuple[str, list[Made]], data: st.DataObject
) -> None:
    """The current clause has an end of its sound only when it is complete."""
    text, sounds = reply
    count = data.draw(st.integers(1, len(sounds)))
    spoken = speak(sounds[: count - 1])
    current = sounds[count - 1]
    spoken.begin(current.clause)
    for piece in current.pieces[: data.draw(st.integers(0, len(current.pieces)))]:
        spoken.extend(piece)
    check(text, sounds[:count], spoken)
    assert len(spoken.heard(text, 10**9)) <= current.clause.end


@pytest.mark.parametrize(
    ("played", "heard"),
    [
        (0, ""),
        (299, ""),
        (300, "one"),
        (699, "one"),
        (700, "one two"),
        (1299, "one two"),
        (1300, "one two three"),
    ],
)
def test_words_are_placed_in_proportion_to_their_characters(played: int, heard: str) -> None:
    """Thirteen characters in 1300 samples."""
    spoken = Spoken(16_000)
    spoken.begin(Clause("one two three", 0, 13))
    spoken.extend(1000)
    spoken.extend(300)
    spoken.end()
    assert spoken.heard("one two three and more", played) == heard


def test_until_a_clause_is_complete_its_length_is_guessed_from_its_characters() -> None:
    """Else the little that is made would pass for all of it."""
    rate = round(CHARS_PER_SECOND) * 10  # ten samples a character
    spoken = Spoken(rate)
    spoken.begin(Clause("one two three", 0, 13))
    spoken.extend(75)
    assert spoken.heard("one two three", 75) == "one two"
    spoken.end()
    assert spoken.heard("one two three", 75) == "one two three"


def aligned(clause: Clause, pieces: list[tuple[int, list[tuple[str, int]]]]) -> Spoken:
    """A complete clause in pieces: samples, and for each word that ends there up to which."""
    spoken = Spoken(16_000)
    spoken.begin(clause)
    for samples, ends in pieces:
        spoken.extend(
            samples, [WordEnd(clause.text.index(w) + len(w), sample) for w, sample in ends]
        )
    spoken.end()
    return spoken


@pytest.mark.parametrize(
    ("played", "heard"),
    [
        (0, ""),
        (799, ""),
        (800, "One"),
        (849, "One"),
        (850, "One two"),
        (1049, "One two"),
        (1050, "One two three."),
        (1400, "One two three."),
    ],
)
def test_a_word_is_heard_when_its_sound_is_over(played: int, heard: str) -> None:
    """Whatever its length in characters; the silence after the last is not waited for."""
    pieces = [(900, [("One", 800), ("two", 850)]), (500, [("three.", 150)])]
    spoken = aligned(Clause("One two three.", 0, 14), pieces)
    assert spoken.heard("One two three. Four.", played) == heard


def test_a_word_whose_end_is_not_made_yet_was_not_heard() -> None:
    """It makes a difference whether no word ends in a piece, or nobody knows."""
    told, untold = Spoken(100), Spoken(100)
    for spoken in (told, untold):
        spoken.begin(Clause("one two three", 0, 13))
    told.extend(75, ())
    untold.extend(75)
    assert told.heard("one two three", 75) == ""
    assert untold.heard("one two three", 75) == "one two"
    told.extend(30, [WordEnd(3, 10)])
    assert told.heard("one two three", 105) == "one"


def test_words_that_were_heard_are_found_in_the_text_as_it_was_written() -> None:
    text = "Hello. It is **about** $5, Dr. Who!"
    spoken = aligned(
        Clause("It is about 5 dollars, Dr Who!", 7, 35),
        [(700, [(w, 100 * (i + 1)) for i, w in enumerate(("It", "is", "about", "5", "dollars,"))])],
    )
    heard = [spoken.heard(text, played) for played in (100, 300, 400, 500, 600)]
    about, dollars = "Hello. It is **about**", "Hello. It is **about** $5,"
    assert heard == ["Hello. It", about, about, dollars, dollars]


def test_markup_before_a_clause_is_not_heard_before_its_first_word() -> None:
    text = "Hello. **World** again."
    spoken = speak([Made(Clause("Hello.", 0, 6), [60]), Made(Clause("World again.", 9, 23), [120])])
    assert spoken.heard(text, 60) == "Hello."
    assert spoken.heard(text, 61) == "Hello."
    assert spoken.heard(text, 180) == text


def test_a_reply_without_sound_was_not_heard() -> None:
    assert Spoken(16_000).heard("Hello.", 100) == ""
