"""Mathematics that is written without the delimiters of a formula."""

from __future__ import annotations

import re

from pipeline.text.english.rules import Rules
from pipeline.text.formulas import FUNCTIONS, SYMBOLS

_HIGH = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
LOW = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_POWER = re.compile(
    r"(?P<base>\b(?:sine|cosine|tangent)|\b[A-Za-z]{1,2}|\d|\))"
    r"(?:\^[({]?(?P<low>[-−+]?\w+)[)}]?|(?P<high>[⁻⁺]?[⁰¹²³⁴-⁹ⁿ]+))"
)
_COMPARED = {
    "<": "less than", ">": "greater than", "<=": "less than or equal to",
    "≤": "less than or equal to", ">=": "greater than or equal to",
    "≥": "greater than or equal to", "!=": "not equal to", "≠": "not equal to",
    "≈": "approximately",
}  # fmt: skip
_COMPARISON = re.compile(
    r"(?P<left>(?<![\w.])[A-Za-zα-ωΑ-Ω\ue000-\uf8ff]|[\d)\]%°²³|]|[a-z](?= ))?(?P<before>\s?)"
    r"(?<![-=<>])(?P<sign>[<>]=|!=|[≤≥≠≈<>])(?!>)(?P<after>\s?)"
    r"(?=(?P<number>[-−]?[$€£]?\.?\d)|(?P<term>[A-Za-zα-ωΑ-Ω\ue000-\uf8ff](?![\w<>]))|)"
)


def _root(match: re.Match[str]) -> str:
    """√16 as "the square root of 16"."""
    name = "square" if match[1] == "√" else "cube"
    return f"the {name} root of {match[2] or ''}"


LETTER = re.compile(
    r"(?<![\w'’.])a(?=\s(?:is (?:less|greater|not|approx)|equals\b|squared|cubed|over [b-z]\b))"
)


def _power(match: re.Match[str]) -> str:
    """x² as "x squared", 10⁻³ as "10 to the power of minus 3"."""
    base, exponent = match["base"], match["low"] or match["high"].translate(_HIGH)
    if len(base) == 2 and base.isalpha():
        base = " ".join(base)
    apart = " " if match.string[match.end() :][:1].isalpha() else ""
    if exponent in ("2", "3"):
        return f"{base} {'squared' if exponent == '2' else 'cubed'}{apart}"
    exponent = re.sub(r"^[-−]", "minus ", exponent)
    return f"{base} to the power of {exponent}{apart}"


def _comparison(match: re.Match[str]) -> str:
    """X >= 5 as "x is greater than or equal to 5"; with no term before it, "less than 5"."""
    sign, left, before = match["sign"], match["left"] or "", match["before"]
    word = re.search(r"[\w'’][a-z]$", match.string[: match.end("left")]) if left else None
    number, term = match["number"], match["term"]
    if sign in "<>":
        spaced = before and (match["after"] or number)
        joined = left and not before and not match["after"] and (number or term)
        started = not left and not match.string[: match.start()].strip() and number
        if not (number or (left and not word)) or not (spaced or joined or started):
            return match.group()
    said = _COMPARED[sign]
    if not left or word:
        return f"{left} {'more than' if sign == '>' else said} "
    return f"{'eh' if left == 'a' else left} is {said} "


_GREEK_ALONE = re.compile(rf"(?<![\u0370-\u03ff])[{''.join(SYMBOLS)}](?![\u0370-\u03ff])")


def _symbol(match: re.Match[str]) -> str:
    """A sign in words, apart from what it is written next to."""
    text = match.string
    before, after = text[: match.start()][-1:].isalnum(), text[match.end() :][:1].isalnum()
    return f"{' ' if before else ''}{SYMBOLS[match[0]]}{' ' if after else ''}"


EQUATIONS: Rules = (
    (
        re.compile(r"(?<=[\w)\]²³])(?<![A-Za-z]{2})\s[-–]\s(?=[\d(√$€£]|[^\W\d_](?!\w))"),
        " minus ",
    ),
    (re.compile(r"(?<![\w/])([A-Za-z])/([A-Za-z])(?![\w/])"), r"\1 over \2"),
    (re.compile(r"\b(\d+|[a-z])!(?=\s?[-+−*/×÷=(])"), r"\1 factorial"),
)
"""Where there is an equals sign or a root: there, letters are numbers."""


NUMBERS: Rules = (
    (re.compile(r"\b(\d(?:\.\d+)?)[eE]([+-]?\d+)\b"), r"\1 times 10^\2"),
    (re.compile(r"(?<=[\d)])\*\*(?=\d)"), "^"),
    (re.compile(r"\bf/(?=\d)"), "f "),
    (re.compile(r"(?<=\d/\d)\s?[-–]\s?(?=\d/\d)"), " to "),
    (re.compile(r"(?<=[\d)])[-−–](?=\()"), " minus "),
    (re.compile(r"(?<=[\d)])\s/\s(?=[\d(])"), " divided by "),
    (re.compile(r"(?<=\d)\s?x\s?(?=\d+\s?=)"), " × "),
    (re.compile(r"\b(\d+)\s?x\s?(?=\d+\b)"), r"\1 by "),
    (
        re.compile(r"(?<![\w.,])(?<![-+−=*/]\s)(\d+(?:\.\d+)?)x\b(?!\s?[-+−=*/^<>≤≥²³)])"),
        r"\1 times",
    ),
    (re.compile(r"(?<=[=(])(\s?)[-−–](?=[a-z]\b)"), r"\1minus "),
    (re.compile(r"(?<=\()([a-z])-(?=\d+\))"), r"\1 minus "),
    (re.compile(r"(?<=\d)\s\*\s(?=\d)|(?<=\d)\*(?=\d)"), " × "),
    (re.compile(r"\+/[-−]|±\s?"), "plus or minus "),
)


SIGNS: Rules = (
    (
        re.compile(r"(?<![^\s(\[\"'“])([A-Za-z]{2,})/([A-Za-z]{2,})(?=[\s,;:!?)\]\"'”]|\.?$|\.\s)"),
        r"\1 \2",
    ),
    (
        re.compile(r"(?<![\w.])(sin|cos|tan)(?=[(²³^\dα-ω]|\s[(\dα-ω])"),
        lambda match: FUNCTIONS[match[1]],
    ),
    (re.compile(r"(?<=\b[a-z])\s?→\s?(?=[-+−]?[\d∞])"), " goes to "),
    (_POWER, _power),
    (re.compile(r"([√∛])(?:\s?\(([^()]+)\)|\s?(?=\w))"), _root),
    (re.compile(r"\bI <3(?= \w)"), "I love"),
    (re.compile(r"\s&&\s"), " and "),
    (_COMPARISON, _comparison),
    (re.compile(r"(?<=[\w)]) ?== ?(?=[\w(-])"), " equals "),
    (
        re.compile(r"((?:^\s*|\bor\s)(?:[Ii]s|[Aa]re)\s+\S+) is (?=less|greater|not equal|approx)"),
        r"\1 ",
    ),
    (_GREEK_ALONE, _symbol),
)
