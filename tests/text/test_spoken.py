"""Which words of a reply were heard, given how much of its sound was played."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.text import alignment
from pipeline.text.alignment import WordEnd
from pipeline.text.chunker import Chunker, Clause
from pipeline.text.spoken import CHARS_PER_SECOND, Spoken


@dataclass(frozen=True)
class Sound:
    """A clause and the pieces of sound that it came in."""

    clause: Clause
    pieces: list[int]


@st.composite
def replies(draw: st.DrawFn) -> tuple[str, list[Sound]]:
    """A reply, and the sound of the clauses that the chunker cuts it into."""
    text = draw(st.text("ab .,!—\n*`1$&é你", min_size=1, max_size=120))
    chunker = Chunker(first_words=1, max_chars=40)
    pieces = st.lists(st.integers(1, 400), min_size=1, max_size=4)
    clauses = [*chunker.push(text), *chunker.flush()]
    assume(clauses)
    return text, [Sound(clause, draw(pieces)) for clause in clauses]


def speak(sounds: list[Sound], rate: int = 100) -> Spoken:
    """All of the sound, all clauses complete."""
    spoken = Spoken(rate)
    for sound in sounds:
        spoken.begin(sound.clause)
        for piece in sound.pieces:
            spoken.extend(piece)
        spoken.end()
    return spoken


def check(text: str, sounds: list[Sound], spoken: Spoken) -> None:
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
@given(replies())
def test_heard_text_grows_with_the_playing_by_whole_words(
    reply: tuple[str, list[Sound]],
) -> None:
    text, sounds = reply
    spoken = speak(sounds)
    assert spoken.heard(text, 0) == ""
    check(text, sounds, spoken)


@settings(deadline=None)
@given(replies())
def test_a_clause_that_was_played_to_its_end_was_heard_to_its_end(
    reply: tuple[str, list[Sound]],
) -> None:
    text, sounds = reply
    spoken = speak(sounds)
    played = 0
    for sound in sounds:
        played += sum(sound.pieces)
        assert spoken.heard(text, played) == text[: sound.clause.end].rstrip()


@settings(deadline=None)
@given(replies(), st.data())
def test_a_reply_still_being_made_is_heard_no_further_than_it_is_made(
    reply: tuple[str, list[Sound]], data: st.DataObject
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


@settings(deadline=None)
@given(replies(), st.data())
def test_words_by_their_ends_are_heard_whole_and_in_order(
    reply: tuple[str, list[Sound]], data: st.DataObject
) -> None:
    text, sounds = reply
    spoken = Spoken(1000)
    for sound in sounds:
        chars = [word.end for word in alignment.words(sound.clause.text)]
        spoken.begin(sound.clause)
        for i, samples in enumerate(sound.pieces):
            last = i + 1 == len(sound.pieces)
            here = chars if last else chars[: data.draw(st.integers(0, len(chars)))]
            chars = chars[len(here) :]
            at = st.lists(st.integers(0, samples), min_size=len(here), max_size=len(here))
            spoken.extend(samples, list(map(WordEnd, here, sorted(data.draw(at)))))
        spoken.end()
    check(text, sounds, spoken)
    played = 0
    for sound in sounds:
        played += sum(sound.pieces)
        assert spoken.heard(text, played) == text[: sound.clause.end].rstrip()


def test_markup_before_a_clause_is_not_heard_before_its_first_word() -> None:
    text = "Hello. **World** again."
    spoken = speak(
        [Sound(Clause("Hello.", 0, 6), [60]), Sound(Clause("World again.", 9, 23), [120])]
    )
    assert spoken.heard(text, 60) == "Hello."
    assert spoken.heard(text, 61) == "Hello."
    assert spoken.heard(text, 180) == text


def test_a_reply_without_sound_was_not_heard() -> None:
    assert Spoken(16_000).heard("Hello.", 100) == ""
