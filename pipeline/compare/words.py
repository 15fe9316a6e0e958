"""Words as a comparison sees them: without case and punctuation, numbers in digits. Pure.

The normalisation, so that a figure can be repeated elsewhere: Unicode NFKC, lower case, accents off
Latin letters; contractions written out (`don't` is `do not`), other apostrophes dropped; `%`, `&`
and a minus sign as words, a currency sign as a word after its number; English number words as
digits (`twenty-three` is `23`, `third` is `3rd`, `1.5 million` is `1500000`), no commas in
thousands; all other punctuation is a space between words. Other languages keep their number words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = """first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth
    thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"""
_IS = "it that this what who where how there here he she when why everything nothing one"

UNITS = {name: value for value, name in enumerate(_UNITS.split())}
TENS = {name: 10 * value for value, name in enumerate(_TENS.split(), start=2)}
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
ORDINALS = {
    **{name: value for value, name in enumerate(_ORDINALS.split(), start=1)},
    **{f"{name[:-1]}ieth": value for name, value in TENS.items()},
}

EXACT = 15
"""More digits than these a float does not keep; such a number is no part of a longer one."""

CONTRACTIONS = {
    "can't": "can not",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "ain't": "is not",
    "let's": "let us",
    "y'all": "you all",
    "o'clock": "oclock",
    "gonna": "going to",
    "gotta": "got to",
    "wanna": "want to",
    "okay": "ok",
}
ENDINGS = {
    "n't": " not",
    "'re": " are",
    "'ve": " have",
    "'ll": " will",
    "'m": " am",
    "'d": " would",
}
IS = frozenset(_IS.split())
"""After these `'s` is `is`; after any other word it is mostly a possessive."""

SIGNS = {"%": " percent ", "&": " and "}
CURRENCIES = {"$": "dollars", "€": "euros", "£": "pounds"}

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d+(?:\.\d+)?"
_TOKEN = re.compile(rf"{_NUMBER}|[^\W\d_]+(?:'[^\W\d_]+)*", re.UNICODE)
_DIGITS = re.compile(rf"(?:{_NUMBER})\Z")
_CURRENCY = re.compile(rf"([$€£])\s?({_NUMBER})(\s(?:thousand|million|billion|trillion)\b)?")


def words(text: str) -> list[str]:
    """The normalised words of a text."""
    return _numbered([part for token in _tokens(text) for part in _expanded(token)])


def numbers(text: str) -> list[float]:
    """All numbers that a text names, in digits or English words, in order.

    Two numbers of two digits in a row are also read as one of four, as years are spoken.
    """
    plain = words(text)
    found: list[float] = []
    for index, word in enumerate(plain):
        if not _DIGITS.match(word):
            continue
        value = float(word)
        before = plain[index - 1] if index else ""
        if before in ("minus", "negative") and not (index > 1 and _DIGITS.match(plain[index - 2])):
            value = -value
        found.append(value)
        if re.fullmatch(r"[1-9]\d", before) and re.fullmatch(r"\d\d", word):
            found.append(float(before + word))
    return found


def holds(haystack: Sequence[str], needle: Sequence[str]) -> bool:
    """Whether these words are in those, one after the other."""
    size = len(needle)
    wanted = list(needle)
    return any(list(haystack[i : i + size]) == wanted for i in range(len(haystack) - size + 1))


def _tokens(text: str) -> Iterator[str]:
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(map(_without_accent, unicodedata.normalize("NFC", text)))
    text = re.sub(r"[’‘ʼ`´]", "'", text)
    text = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", text)
    text = _CURRENCY.sub(lambda m: f"{m[2]}{m[3] or ''} {CURRENCIES[m[1]]}", text)
    text = re.sub(r"(?<![\w.])[-−](?=\d)", " minus ", text)
    for sign, word in SIGNS.items():
        text = text.replace(sign, word)
    text = text.replace("per cent", "percent")
    # An ordinal in digits stays one word: 3rd, 21st.
    yield from re.findall(rf"\d+(?:st|nd|rd|th)\b|{_TOKEN.pattern}", text)


def _without_accent(char: str) -> str:
    base = unicodedata.normalize("NFD", char)[0]
    return base if base.isascii() and base.isalpha() else char


def _expanded(token: str) -> list[str]:
    """A token without its contraction, as words."""
    if token in CONTRACTIONS:
        return CONTRACTIONS[token].split()
    for ending, written in ENDINGS.items():
        if token.endswith(ending) and len(token) > len(ending):
            return (token.removesuffix(ending) + written).replace("'", "").split()
    if token.endswith("'s") and token[:-2] in IS:
        return [token[:-2], "is"]
    return [token.replace("'", "")]


def _numbered(tokens: Sequence[str]) -> list[str]:
    """Tokens with every run of number words as one in digits."""
    found: list[str] = []
    index = 0
    while index < len(tokens):
        length, value, ordinal = _run(tokens, index)
        if _DIGITS.match(tokens[index]) and length <= 1:
            # As it is written: a long one would lose digits, another its leading zeros.
            plain = tokens[index].replace(",", "")
            found.append(plain.rstrip("0").rstrip(".") if "." in plain else plain)
        elif length:
            found.append(_digits(value) + (_suffix(int(value)) if ordinal else ""))
        else:
            found.append(tokens[index])
        index += max(1, length)
    return found


def _run(tokens: Sequence[str], start: int) -> tuple[int, float, bool]:
    """A number that begins at `start`: how many tokens it has (0: none), its value, if ordinal."""
    at, total, group, ordinal = start, 0.0, None, False
    ceiling = float("inf")  # Scales come in falling order, else another number begins.
    while at < len(tokens) and not ordinal:
        length, value, ordinal = _below_thousand(tokens, at)
        if not length and tokens[at] == "and" and at > start and total and not group:
            length, value, ordinal = _after_and(tokens, at, ("hundred", *SCALES))
        if not length:
            break
        at, group = at + length, value
        scale = SCALES.get(tokens[at]) if at < len(tokens) and not ordinal else None
        if scale is None:
            break
        if scale >= ceiling:
            break
        total, group, ceiling = total + value * scale, None, scale
        at += 1
    if at == start:
        return 0, 0.0, False
    value = total + (group or 0.0)
    if not ordinal and at + 1 < len(tokens) and tokens[at] == "point" and not total:
        return _with_point(tokens, start, at, value)
    return at - start, value, ordinal


def _after_and(
    tokens: Sequence[str], at: int, unless: Sequence[str] = ("hundred",)
) -> tuple[int, float, bool]:
    """`and five`; not where one of these words shows that another number begins there."""
    length, value, ordinal = _below_hundred(tokens, at + 1)
    end = at + 1 + length
    follows = tokens[end] if end < len(tokens) else ""
    if not length or follows in unless:
        return 0, 0.0, False
    return length + 1, value, ordinal


def _below_thousand(tokens: Sequence[str], at: int) -> tuple[int, float, bool]:
    """Such as `two hundred and five`, `a hundred`, `forty`, `1.5`."""
    follows = tokens[at + 1] if at + 1 < len(tokens) else ""
    if tokens[at] == "a" and (follows == "hundred" or follows in SCALES):
        length, value, ordinal = 1, 1.0, False
    else:
        length, value, ordinal = _below_hundred(tokens, at)
    if not length or ordinal:
        return length, value, ordinal
    if at + length >= len(tokens) or tokens[at + length] != "hundred" or value >= 100:
        return length, value, False
    length, value = length + 1, value * 100
    more, rest, ordinal = 0, 0.0, False
    if at + length < len(tokens):
        if tokens[at + length] == "and":
            more, rest, ordinal = _after_and(tokens, at + length)
        else:
            more, rest, ordinal = _below_hundred(tokens, at + length)
            if more and _DIGITS.match(tokens[at + length]):
                more, rest, ordinal = 0, 0.0, False
    return length + more, value + rest, ordinal


def _below_hundred(tokens: Sequence[str], at: int) -> tuple[int, float, bool]:
    """Such as `seven`, `twenty three`, `twenty third`, or a number in digits."""
    token = tokens[at] if at < len(tokens) else ""
    if _DIGITS.match(token) and len(token) <= EXACT:
        return 1, float(token.replace(",", "")), False
    if token in UNITS:
        return 1, float(UNITS[token]), False
    if token in ORDINALS:
        return 1, float(ORDINALS[token]), True
    if token not in TENS:
        return 0, 0.0, False
    follows = tokens[at + 1] if at + 1 < len(tokens) else ""
    if 0 < UNITS.get(follows, 0) < 10:
        return 2, float(TENS[token] + UNITS[follows]), False
    if 0 < ORDINALS.get(follows, 0) < 10:
        return 2, float(TENS[token] + ORDINALS[follows]), True
    return 1, float(TENS[token]), False


def _with_point(
    tokens: Sequence[str], start: int, at: int, whole: float
) -> tuple[int, float, bool]:
    """`three point one four`, and then perhaps `million`."""
    digits = ""
    end = at + 1
    while end < len(tokens) and UNITS.get(tokens[end], 10) < 10:
        digits += str(UNITS[tokens[end]])
        end += 1
    if not digits and tokens[end].isascii() and tokens[end].isdigit():
        digits, end = tokens[end], end + 1
    if not digits or whole != int(whole):
        return at - start, whole, False
    value = float(f"{int(whole)}.{digits}")
    if end < len(tokens) and tokens[end] in SCALES:
        value, end = value * SCALES[tokens[end]], end + 1
    return end - start, value, False


def _digits(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.12g}"


def _suffix(value: int) -> str:
    if value % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
