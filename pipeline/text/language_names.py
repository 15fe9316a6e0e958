"""Languages by their codes: one code for each, however it is written, and its English name."""

from __future__ import annotations

import functools

_SPELT = {"nb": "no", "nn": "no", "cmn": "zh", "in": "id", "iw": "he"}


def code_of(language: str) -> str:
    """The code that Whisper has for a language, however a client, or Piper, writes it.

    Args:
        language: As "de", "pt-BR", "es_MX", or espeak-ng's "cmn" and "nb".
    """
    code = language.strip().replace("_", "-").partition("-")[0].lower()
    return _SPELT.get(code, code)


def is_code(text: str) -> bool:
    """Whether it is the code of a language, as `code_of` gives it."""
    return text in names() and text == code_of(text)


def name_of(language: str) -> str:
    """The English name of a language; its code where none is known."""
    return names().get(code_of(language), language)


@functools.cache
def names() -> dict[str, str]:
    """The English names of languages in the Unicode CLDR, by their codes."""
    from babel import Locale  # 30 ms that most runs do not need

    found = {str(code): name for code, name in Locale("en").languages.items()}
    return found | {"jw": found["jv"]}  # as Whisper has it
