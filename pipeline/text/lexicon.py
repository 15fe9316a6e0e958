"""Words that a voice would misspeak, in phonemes. Reading the file is all that is not pure.

A lexicon is TOML: `Nguyen = "ŋwˈiən"`. An entry counts for every voice, one in a table that is
named by a language (`[de]`) for that language's. It stands for a whole word, in any case. The
phonemes are those of the voice: mostly IPA, as espeak-ng writes it, with ˈ before the vowel that is
stressed.

Piper's own way to give phonemes, `[[ŋwˈiən]]` in the text, is not used: what is before and behind
them is phonemised apart then, so that the sentence falls to pieces. Here the whole sentence is
phonemised as it is written, and the phonemes that are the word's are replaced.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import toml_file
from pipeline.errors import BadInput
from pipeline.text.heard import PhonemePlace, Word
from pipeline.text.language_names import code_of, is_code

Lexicon = Mapping[str, Sequence[str]]
"""The phonemes of words, by the word as `_key` has it."""


def read(path: Path, language: str, symbols: Collection[str]) -> Lexicon:
    """The entries of a file that are for a voice.

    Args:
        path: The file.
        language: Code of what the voice speaks.
        symbols: Its phonemes.

    Raises:
        BadInput: The file cannot be read, or an entry is of a kind that no voice, or a symbol that
            not this voice has.
    """
    hint = 'a word with other letters than a to z needs quotation marks, as "Über" = "yːbɐ"'
    table = toml_file.read(path, "tts.lexicon", hint)
    if strange := [code for code, is_in in table.items() if _is_no_language(code, is_in)]:
        raise BadInput(
            f"tts.lexicon {path}: [{strange[0]}] is no code of a language, such as de, fr or en"
        )
    own = [entries for code, entries in table.items() if _is_for(code, entries, language)]
    words = {word: said for word, said in table.items() if not isinstance(said, dict)}
    for entries in own:
        words |= entries
    return {_key(word): _phonemes(path, word, said, symbols) for word, said in words.items()}


def pronounced(
    lexicon: Lexicon,
    sentences: Sequence[Sequence[str]],
    words: Sequence[Word],
    places: Sequence[PhonemePlace],
) -> tuple[list[list[str]], list[PhonemePlace]]:
    """Sentences in which words have the phonemes of the lexicon, and where the words end then.

    Args:
        lexicon: The words.
        sentences: Phonemes of a text, by sentence.
        words: Of that text.
        places: Where they end in the phonemes (`heard.places`).
    """
    made = [list[str]() for _ in sentences]
    done = [0] * len(sentences)
    moved = []
    for word, (number, end) in zip(words, places, strict=True):
        if not sentences:
            moved.append(PhonemePlace(number, end))
            continue
        span = sentences[number][done[number] : end]
        said = lexicon.get(_key(word.text))
        begins = next((i for i, phoneme in enumerate(span) if _begins(phoneme)), None)
        if said is not None and begins is not None:
            span = [*span[:begins], *said]
        made[number] += span
        done[number] = max(done[number], end)
        moved.append(PhonemePlace(number, len(made[number])))
    for number, sentence in enumerate(sentences):
        made[number] += sentence[done[number] :]
    return made, moved


def _is_for(code: str, entries: Any, language: str) -> bool:
    return isinstance(entries, dict) and code_of(code) == language


def _is_no_language(code: str, entries: Any) -> bool:
    return isinstance(entries, dict) and not is_code(code_of(code))


def _key(word: str) -> str:
    """A word without case, and without the marks around it."""
    word = word.casefold()
    inside = [i for i, char in enumerate(word) if char.isalnum()]
    return word[inside[0] : inside[-1] + 1] if inside else word


def _begins(phoneme: str) -> bool:
    """Whether it is a letter, or the stress before one; not a space, nor a mark."""
    return phoneme.isalnum() or phoneme in ("ˈ", "ˌ")


def _phonemes(path: Path, word: str, said: Any, symbols: Collection[str]) -> list[str]:
    if not isinstance(said, str) or not said.strip():
        raise BadInput(f"tts.lexicon {path}: {word} needs its phonemes in quotation marks")
    if len(word.split()) != 1:
        raise BadInput(f"tts.lexicon {path}: {word!r} is not one word; give each word its own line")
    found: list[str] = []
    for char in said.strip():
        # espeak-ng's phonemes come with their diacritics apart.
        parts = [char] if char in symbols else [*unicodedata.normalize("NFD", char)]
        unknown = [part for part in parts if part not in symbols]
        if unknown:
            shown = " ".join(sorted(symbol for symbol in symbols if symbol.strip()))
            raise BadInput(
                f"tts.lexicon {path}: {word} has {unknown[0]!r}, which is no phoneme of the "
                f"voice's; these are: {shown}"
            )
        found += parts
    return found
