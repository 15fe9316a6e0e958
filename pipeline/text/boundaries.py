"""Where written text may be cut: sentences, clauses, words, and what must stay together.

A place between two words is judged once, when enough of what follows is known. "3." may become
"3.14", "U.S." may or may not end a sentence, and `"Stop!" he said` is not two sentences.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from pipeline.text.english.abbreviations import BEFORE_NUMBER, LATIN, TITLES
from pipeline.text.english.rules import words
from pipeline.text.language_names import code_of
from pipeline.text.speakable import EMOJI


class Cut(Enum):
    """What a place in the text is good for."""

    SENTENCE = auto()
    """A sentence ends: always cut."""
    CLAUSE = auto()
    """A comma, a colon, a dash…: cut if there is enough before it and the voice is in a hurry."""
    GAP = auto()
    """Only a word ends: cut if it must be."""
    GLUE = auto()
    """What follows belongs to it ("Dr. Smith", "1. Salt", "10 000"): not cut but by the limit."""
    HOLD = auto()
    """The next word decides between `SENTENCE` and `GLUE`."""


OPENERS = frozenset("\"'“‘«‹„‚¿¡({*_~「『（《【〈")
CLOSERS = frozenset("\"'”’“‘»«›‹)]}>*_~」』）》】〉")
WIDE_STOPS = frozenset("。！？｡।॥؟۔։።၊။៕")
WIDE_COMMAS = frozenset("，、；：､،؛၍፣")
DASHES = frozenset("—―")
UNSPACED = WIDE_STOPS | WIDE_COMMAS | DASHES | {"…"}
MARKS = UNSPACED | frozenset(".,;:!?")

_MAY_END = words(
    "etc usw a.m p.m ph.d inc ltd co corp bros jr sr st ave blvd rd dept est al vd"
    " min hr hrs ft oz lb lbs tsp tbsp"
)
_DAYS = words("Mon Tue Tues Wed Thu Thurs Fri Sat")
"""Abbreviations in English, with a capital; "Mon" is a word elsewhere."""
_MEASURES = words("in sq cu yd mi")
"""Abbreviations only where a number is before them."""
_SUM_SIGNS = frozenset("+*/×÷=")
_OPERATORS = _SUM_SIGNS | frozenset("<>≈≠≤≥−%°€£$")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.-?)*[^\W\d_]")
_LIST_MARK = re.compile(r"[*_]*(?:[-*+•◦▪‣>]|#{1,6}|\|+|(?:\d{1,3}|[A-Za-z])[.)]|\[[xX]?\])[*_]*")
_ENTITY = re.compile(r"&#?\w+;$")
_ORDINAL_STOP = words("cs da de et fi hr hu is lb lv no pl sk sl sr tr")
"""Languages that write "3. Mai" for the third of May."""
_CAPITAL_NOUNS = words("de lb")
"""Languages in which a capital begins more than names and sentences."""
_ORDINAL = re.compile(r"(?:\d{1,2}\.[-–/])?\d{1,3}|[IVX]+|[0-3]?\d\.[01]?\d")

STARTERS = words(
    "a after all also although an and another are as at because before both but by can could"
    " did do does each even every for from had has have he her here his how however i if in is"
    " it its just let many maybe most my next no not now of on once one or our perhaps please"
    " she should since so some sometimes sorry still sure thank thanks that the their then"
    " there these they this those though today unfortunately was we were what when where which"
    " while who why will with would yes yet you your"
)
"""Words that begin a sentence after "U.S." or "J.", where another capital goes on with a name."""
_FIRST_WORD = re.compile(r"\W*(?![^\W\d_]\.)([^\W\d_]+)")


def _is_listed(language: str) -> bool:
    """Whether `wording` lists the abbreviations of a language; English does without its tables."""
    if code_of(language) == "en":
        return False
    from pipeline.text.wording import knows_abbreviations

    return knows_abbreviations(language)


def starts_sentence(word: str, language: str = "en") -> bool:
    """Whether a `HOLD` before `word` ends a sentence."""
    letters = _FIRST_WORD.match(word)
    known = STARTERS
    if _is_listed(language):
        from pipeline.text.wording import starters

        known = starters(language)
    return letters is not None and letters[1].lower() in known


def judge(
    word: str,
    following: str,
    *,
    before: str = "",
    first: bool = False,
    language: str = "en",
) -> Cut:
    r"""What the place after `word` is good for.

    Args:
        word: Characters without white space in which a place to cut may be sought, as written.
        following: The next visible character that is no opening quote, bracket or emphasis; "\n" at
            the end of a line; "" if it is not known.
        before: What is before the word, without the white space at its end.
        first: Whether the word is the first of its line.
        language: Of the text.
    """
    if first and following != "\n" and _LIST_MARK.fullmatch(word):
        return Cut.GLUE
    if word in _OPERATORS and before[-1:].isdigit():
        return Cut.GLUE
    core = EMOJI.sub("", word).rstrip("".join(CLOSERS))
    if not core:
        return Cut.GAP
    last = core[-1]
    stem = core[:-1].lstrip("".join(OPENERS) + "[")
    quoted = core != word and following.islower()
    if last == "…" or core.endswith(".."):
        return Cut.SENTENCE if following == "\n" else Cut.CLAUSE
    if last == ".":
        if quoted:
            return Cut.CLAUSE
        if _is_listed(language):
            return _judge_listed(f"{before} {stem}.", stem, following, language)
        return _judge_stop(stem, following, before, language)
    if last == "!" and following in _SUM_SIGNS and (stem.isdigit() or len(stem) == 1):
        return Cut.GLUE  # a factorial
    if last in "!?":
        return Cut.CLAUSE if following.islower() else Cut.SENTENCE
    if last in WIDE_STOPS:
        return Cut.SENTENCE
    if last in ",;:" or last in WIDE_COMMAS:
        if stem.endswith(".") and stem[:-1].lower() in LATIN:
            return Cut.GLUE
        if last in WIDE_COMMAS and stem[-1:].isdigit() and following.isdigit():
            return Cut.GLUE
        return Cut.GAP if _ENTITY.search(core) else Cut.CLAUSE
    if last in DASHES or core in ("-", "–") or core.endswith("--"):
        between = (before[-1:] if len(core) == 1 else stem[-1:]).isdigit() and following.isdigit()
        return Cut.GLUE if between else Cut.CLAUSE
    # "5 km", "May 5", "Henry VIII": a number is read by the word beside it.
    named = core[0].isupper() and (following.isdigit() or following in {"I", "V", "X"})
    measured = following.isalnum() or following in _OPERATORS or not following
    return Cut.GLUE if named or (last.isdigit() and measured) else Cut.GAP


def _judge_stop(stem: str, following: str, before: str, language: str) -> Cut:
    """`judge` for a word that ends in a full stop, without the stop."""
    key = stem.lower()
    tail = re.split("[-–]", key)[-1]
    if key in LATIN or (key in TITLES and stem[0].isupper()):
        return Cut.GLUE
    if tail in BEFORE_NUMBER and (following.isdigit() or not following):
        return Cut.GLUE
    if stem.isdigit() and code_of(language) in _ORDINAL_STOP and following != "\n":
        return Cut.GLUE
    if (
        key in _MAY_END
        or (key in _MEASURES and before[-1:].isdigit())
        or (stem in _DAYS and code_of(language) == "en")
        or (_ACRONYM.fullmatch(stem) and not is_cjk(stem[-1]))
    ):
        if following == "\n":
            return Cut.SENTENCE
        return Cut.HOLD if following.isupper() else Cut.GAP if following else Cut.GLUE
    return Cut.SENTENCE


def _judge_listed(text: str, stem: str, following: str, language: str) -> Cut:
    """`_judge_stop` where the abbreviations are listed; `text` is what goes up to the stop."""
    from pipeline.text.ordinals import leads_to_ordinal
    from pipeline.text.wording import FullStop, abbreviation

    stop = abbreviation(text, following, language)
    if stop is FullStop.LEADS:
        return Cut.GLUE
    ordinal = code_of(language) in _ORDINAL_STOP and _ORDINAL.fullmatch(stem)
    letters = _ACRONYM.fullmatch(stem)
    if following == "\n" or not (stop or ordinal or letters or following.islower()):
        return Cut.SENTENCE
    if not following.isupper():
        return Cut.GAP if following and not ordinal else Cut.GLUE
    if stop is FullStop.OPEN:
        return Cut.HOLD
    if stop is FullStop.ENDS:
        return Cut.SENTENCE
    before = text[: -len(stem) - 1]
    if code_of(language) in _CAPITAL_NOUNS:
        return Cut.HOLD if letters or leads_to_ordinal(before) else Cut.SENTENCE
    return Cut.HOLD if letters else Cut.SENTENCE


def is_cjk(char: str) -> bool:
    """Whether it belongs to a script that puts no spaces between words: Chinese, Japanese."""
    return (
        "\u3040" <= char <= "\u30ff"
        or "\u3400" <= char <= "\u9fff"
        or "\uf900" <= char <= "\ufaff"
        or "\U00020000" <= char <= "\U0003ffff"
    )
