"""Pronunciations: which entries are for a voice, and whose phonemes they replace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli_child import ROOT

from pipeline.config import TtsSettings
from pipeline.engines.piper import Piper
from pipeline.engines.worker import Stop
from pipeline.errors import BadInput
from pipeline.text import heard, lexicon
from pipeline.text.heard import PhonemePlace, Word

SYMBOLS = frozenset("abcdefgŋwˈiənɡʤ") | {"\u0327"}
MINI = ROOT / "models" / "en_US-mini" / "en_US-mini.onnx"


def read(tmp_path: Path, text: str, language: str = "en") -> lexicon.Lexicon:
    path = tmp_path / "words.toml"
    path.write_text(text, encoding="utf-8")
    return lexicon.read(path, language, SYMBOLS)


def test_entries_are_for_all_voices_or_for_those_of_a_language(tmp_path: Path) -> None:
    text = 'Nguyen = "ŋwˈiən"\n"O\'Brien" = "a"\n[de]\nGIF = "ɡiˈf"\n[fr]\nGIF = "aç"'
    said = {"nguyen": [*"ŋwˈiən"], "o'brien": ["a"]}
    assert read(tmp_path, text) == said
    assert read(tmp_path, text, "de") == said | {"gif": [*"ɡiˈf"]}
    assert read(tmp_path, text, "fr")["gif"] == ["a", "c", "\u0327"], "a diacritic is apart"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('GIF = "ʒif"', r"GIF has 'ʒ', which is no phoneme of the voice's; these are: a b c .* ŋ"),
        ("GIF = 3", "GIF needs its phonemes in quotation marks"),
        ('GIF = ""', "GIF needs its phonemes"),
        ('"New York" = "a"', "'New York' is not one word"),
        ("GIF = a", "words.toml: .*line 1"),
        ('Über = "a"', 'a word with other letters than a to z needs quotation marks, as "Über"'),
        ('[german]\nGIF = "a"', r"\[german\] is no code of a language, such as de"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read(tmp_path, text)


def test_a_byte_order_mark_of_windows_editors_is_none_of_the_entries(tmp_path: Path) -> None:
    assert read(tmp_path, '\ufeffGIF = "ɡiˈf"') == {"gif": [*"ɡiˈf"]}


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"nowhere\.toml: cannot be read: No such file"):
        lexicon.read(Path("nowhere.toml"), "en", SYMBOLS)


def test_the_phonemes_of_a_word_are_replaced_and_places_move() -> None:
    words = heard.words("A gif, a GIF!")
    sentences = [[*"ə ɡˈɪf, ə ɡˈɪf!"]]
    places = [PhonemePlace(0, n) for n in (1, 6, 9, 14)]
    made, moved = lexicon.pronounced({"gif": [*"dʒˈɪf"]}, sentences, words, places)
    assert "".join(made[0]) == "ə dʒˈɪf, ə dʒˈɪf!"
    assert [place.phonemes for place in moved] == [1, 7, 10, 16]


@given(st.lists(st.sampled_from(["ab", "cd", "gif", "—"]), min_size=1, max_size=8))
def test_what_is_in_no_lexicon_stays_as_it_is(words: list[str]) -> None:
    """Where each word is a letter for a phoneme, all but the entry is as written."""
    text = " ".join(words)
    sounding = [[] if word == "—" else [*word] for word in words]
    places = heard.places([[*text]], sounding)
    made, moved = lexicon.pronounced({"gif": ["ŋ"]}, [[*text]], heard.words(text), places)
    assert "".join(made[0]) == text.replace("gif", "ŋ")
    assert lexicon.pronounced({}, [[*text]], heard.words(text), places)[0] == [[*text]]
    assert all(0 <= place.phonemes <= len(made[0]) for place in moved)
    assert lexicon.pronounced({"a": ["b"]}, [], [Word("a", 1)], [PhonemePlace(0, 0)])[0] == []


def test_a_real_voice_says_the_word_so_and_the_rest_as_before(tmp_path: Path) -> None:
    """Other words have the very same phonemes; the words that are heard are those written."""
    path = tmp_path / "words.toml"
    path.write_text('nguyen = "wˈɪn"\nGIF = "dʒˈɪf"', encoding="utf-8")
    plain = Piper(MINI, TtsSettings())
    taught = Piper(MINI, TtsSettings(lexicon=str(path)))
    for text in (
        "Mister Nguyen sent a GIF. Is it a gif, Nguyen?",
        "The end of the gif is near.",
        "Nguyen",
        "What gifts did Nguyen's mother give?",
        "I met (Nguyen), one of the best; a GIF: nice. Hello. Nguyen is here.",
    ):
        sentences = plain._phonemes(text)
        made, words = taught._worded(text, sentences)
        for was, now in zip(sentences, made, strict=True):
            expected = re.sub("nˈuːjɛn(?!z)", "wˈɪn", re.sub("ɡˈɪf(?!t)", "dʒˈɪf", "".join(was)))
            assert "".join(now) == expected
        ends = [char for sentence in words if sentence for char, _ in sentence]
        assert ends == [word.end for word in heard.words(text)]
        spoken = [*taught.synthesize(text, Stop())]
        assert [w.char for piece in spoken for w in piece.words or ()] == ends
