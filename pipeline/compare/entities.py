"""Key entities of what was said: the numbers, codes and names that must be understood. Pure.

A word error rate takes "fifteen" for "fifty" as one wrong word in twelve; who booked the table does
not. So entities are looked for by themselves, in a form in which only what they are counts, not how
they are written: "B seven K" is `B7K`, "double seven" is `77`, "the twentieth" is `20th`. English
number words are read by `text2num`.

Letters that a recogniser writes as words ("be seven kay") are not taken for them: nobody who reads
such a transcript has the code.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal

from text_to_num import alpha2digit
from whisper_normalizer.basic import remove_symbols_and_diacritics

from pipeline.errors import one_line
from pipeline.measure.record import Check

Kind = Literal["number", "code", "name"]

TOPIC = "entities"
"""Of the checks that entities are."""

UNKNOWN = "the transcript is not known"

INSTEAD = 60
"""Characters of what was heard instead that are shown at most."""

SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
TIMES = {"double": 2, "triple": 3}
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)

NO_NUMBER = frozenset({"1", "1st", "2nd"})
"""These alone are seldom numbers: "that one", "at first", "a second"."""

NO_LETTER = frozenset({"a", "i"})
"""Words of one letter, which are no part of a code at its ends unless somebody says so."""

SIGN = re.compile(r"(?<![\w.])[-−](?=[$€£]?\.?\d)")
"""A minus sign before a number, and no hyphen between two."""

_BREAK = ","
_TOKEN = re.compile(r"\d+(?:\.\d+)?(?:(?:st|nd|rd|th)\b)?|[^\W\d_]+|[,.;:!?]")
_MIXED = re.compile(r"(?!\d+(?:st|nd|rd|th|am|pm)\b)\b(?:\d+[^\W\d_]|[^\W\d_]+\d)", re.IGNORECASE)
_REWRITTEN = (
    (r"½", " and a half"),
    (r"%|\bper cent\b", " percent "),
    (r"\b([ap])\.m\b\.?", r"\1m"),
    (r"[$€£](\d+)\.(\d\d)\b", r"\1 \2"),
    (r"(?<=\d),(?=\d{3}\b)", ""),
    (r"[’‘ʼ`´]", "'"),
    (r"'s\b|'", ""),
    (SIGN, "minus "),
    (r"[-‐‑–—/_]", " "),
    (r"(?<=\d):(?=\d)", " "),
    (r"(\d) point (?=\d)", r"\1."),
    (r"[+=*×÷<>&@#()\[\]\"“”|]", " , "),
)


def in_digits(text: str) -> str:
    """A text with each English number word in digits; each number stands alone, as in counting."""
    digits: str = alpha2digit(text.encode("utf-8", "replace").decode("utf-8"), "en", 0)
    return digits


def tokens(text: str) -> list[str]:
    """A text as words, numbers and single letters, in the one form that all are compared in."""
    return [token for token in _tokens(text) if token != _BREAK]


def kind_of(entity: str) -> Kind:
    """What an entity is: digits are a number, with letters among them a code, words are a name."""
    found = tokens(entity)
    letters = [token for token in found if len(token) == 1 and token.isalpha()]
    if any(token[0].isdigit() for token in found):
        return "code" if letters or _MIXED.search(entity) else "number"
    return "code" if len(letters) > 1 and len(letters) == len(found) else "name"


def understood(text: str, entity: str) -> bool:
    """Whether a text has an entity, or one of its alternatives, which are parted by `|`."""
    heard = _readings(tokens(text))
    return any(
        next(_places(one, plain), None) is not None
        for alternative in entity.split("|")
        for one in _readings(tokens(alternative))
        for plain in heard
    )


def found_in(text: str) -> list[str]:
    """The numbers and codes of a text, each once, as they are compared.

    They are numbers, and runs of digits and single letters. What may as well be no entity is left
    out: "one", "first" and "second" alone; a run of letters without a digit, such as `U S A`, is
    one only from three letters on. A day of a date has its ordinal as an alternative.
    """
    every = _tokens(text)
    plain = [token for token in every if token != _BREAK]
    days = {*_readings(plain)[-1].split()}
    found = []
    for run in _runs(every):
        while len(run) > 1 and run[0] in NO_LETTER:
            run = run[1:]
        digits = any(token[0].isdigit() for token in run)
        while digits and len(run) > 1 and run[-1] in NO_LETTER:
            run = run[:-1]
        alone = len(run) == len(plain)
        if (alone or not set(run) <= NO_NUMBER) if digits else len(run) > 2:
            entity = " ".join(run)
            day = entity + _ending(int(entity)) if entity.isdigit() else ""
            found.append(f"{entity}|{day}" if day in days else entity)
    return list(dict.fromkeys(found))


def entity_checks(wanted: Sequence[str], said: str, heard: str | None) -> tuple[Check, ...]:
    """Which entities were understood.

    Args:
        wanted: What must be; empty: the numbers and codes of what was said.
        said: The words that were said, if they are known.
        heard: What was understood of them; None: not known.
    """
    checks = []
    for entity in wanted or found_in(said):
        kind = kind_of(entity)
        told = entity if wanted else entity.partition("|")[0].replace(" ", "")
        told = told.upper() if kind == "code" else told
        if heard is None:
            checks.append(Check(kind, told, None, UNKNOWN, TOPIC))
            continue
        met = understood(heard, entity)
        instead = "" if met else one_line(heard_instead(entity, said, heard), INSTEAD)
        checks.append(Check(kind, told, met, instead, TOPIC))
    return tuple(checks)


def heard_instead(entity: str, said: str, heard: str) -> str:
    """What stands in a transcript where an entity was said; all of it where that is not known."""
    before, after = tokens(said), tokens(heard)
    plain = " ".join(before)
    places = (next(_places(tokens(one), plain), None) for one in entity.split("|"))
    place = next((one for one in places if one is not None), None)
    if place is None or not after:
        return " ".join(after) or "nothing"
    first, last = (plain[:at].count(" ") for at in place)
    found = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            found += after[c + max(0, first - a) : max(c, c + min(b, last + 1) - a)]
        elif a <= last and (b > first if a < b else a > first):
            found += after[c:d]
    return " ".join(found) or "nothing"


def _tokens(text: str) -> list[str]:
    """As `tokens`; where a sentence is parted there is a `_BREAK`."""
    plain = re.sub(r"\b(\d{4})-(0[1-9]|1[0-2])-(\d\d)\b", _date, f" {text.casefold()} ")
    for pattern, instead in _REWRITTEN:
        plain = re.sub(pattern, instead, plain)
    plain = re.sub(
        rf"(\d+(?:\.\d+)?) ({'|'.join(SCALES)})\b",
        lambda match: f"{float(match[1]) * SCALES[match[2]]:.12g}",
        plain,
    )
    # As it is spoken, and as "six hundred and two" is read.
    plain = re.sub(
        r"\b(\d+00) and (\d\d?)\b", lambda match: str(int(match[1]) + int(match[2])), plain
    )
    plain = in_digits(remove_symbols_and_diacritics(plain, keep=".,;:!?"))
    raw = [_BREAK if not token[0].isalnum() else token for token in _TOKEN.findall(plain)]
    made: list[str] = []
    for at, token in enumerate(raw):
        before = made[-1] if made else ""
        after = raw[at + 1] if at + 1 < len(raw) else ""
        if token in ("o", "oh") and (_piece(before) or _piece(after)):
            token = "0"
        if before in TIMES and _piece(token) and len(token) == 1:
            made[-1:] = [token] * TIMES[before]
        elif token == "half" and made[-2:] == ["and", "a"] and made[-3:-2] and made[-3].isdigit():
            made[-3:] = [f"{made[-3]}.5"]
        else:
            made.append(token)
    return made


def _date(iso: re.Match[str]) -> str:
    """A date as it is spoken: "march 28, 2023"."""
    return f"{MONTHS[int(iso[2]) - 1]} {int(iso[3])}, {iso[1]}"


def _piece(token: str) -> bool:
    """Whether a token can be a part of a code that is spelled: a number, or a letter."""
    return token[:1].isdigit() or (len(token) == 1 and token.isalpha())


def _runs(every: Iterable[str]) -> Iterator[list[str]]:
    """Stretches of pieces; a break parts them, save between single letters and digits."""
    run: list[str] = []
    broken = False
    for token in [*every, ""]:
        if token == _BREAK:
            broken = True
            continue
        spelled = bool(run) and len(run[-1]) == 1 and len(token) == 1
        if run and (not _piece(token) or (broken and not spelled)):
            yield run
            run = []
        if _piece(token):
            run = [*run, token]
        broken = False


def _readings(found: Sequence[str]) -> list[str]:
    """Tokens as a text; and, if it has a date, with its day as an ordinal: "May 20" is "May 20th".

    As people write dates, and never say them.
    """
    days = [*found]
    for at, token in enumerate(found):
        beside = {*found[max(0, at - 1) : at], *found[at + 1 : at + 2]}
        if token.isdigit() and len(token) < 3 and 0 < int(token) <= 31 and beside & {*MONTHS}:
            days[at] = token + _ending(int(token))
    return list(dict.fromkeys((" ".join(found), " ".join(days))))


def _ending(day: int) -> str:
    return "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _places(entity: str | Sequence[str], plain: str) -> Iterator[tuple[int, int]]:
    """Where an entity is in a text: first and last index of its characters, in order.

    A code may be spelled or written at once. Digits that are spelled are all of a run: "1 5 9" has
    no 15.
    """
    wanted = entity.split() if isinstance(entity, str) else [*entity]
    if not wanted:
        return
    pattern = _pattern(wanted[0])
    for before, token in itertools.pairwise(wanted):
        pattern += (" ?" if _piece(before) or _piece(token) else " ") + _pattern(token)
    digits = all(token[0].isdigit() for token in wanted)
    for match in re.finditer(rf"(?<!\S)(?=({pattern})(?!\S))", plain):
        first, last = match.span(1)
        around = plain[:first].split()[-1:], plain[last:].split()[:1]
        run = any(_piece(token) and token not in NO_LETTER for side in around for token in side)
        if not (digits and " " in match[1] and run):
            yield first, last - 1


def _pattern(token: str) -> str:
    """What a token looks like in a text, written or spelled: `77` and "7 7"; O is said as 0 is."""
    if token[0].isdigit() and not token.isdigit():  # a decimal, an ordinal
        return re.escape(token)
    letters = ["[0o]" if one in "0o" else re.escape(one) for one in token]
    if token.isdigit():
        return " ?".join(letters)
    return "[0o]" if token == "o" else f"(?:{re.escape(token)}|{' '.join(letters)})"
