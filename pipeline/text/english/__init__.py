"""English as it is read aloud: signs, numbers with a form, and abbreviations in words.

Plain numbers are left to the phonemiser (espeak-ng, in Piper). What has a form of its own is put
into words, from the most special form to the least; no rule looks beyond the clause.
"""

from __future__ import annotations

import re

from pipeline.text.english.abbreviations import ABBREVIATIONS
from pipeline.text.english.calendar import DATES, DAYS, YEARS
from pipeline.text.english.capitals import capitals
from pipeline.text.english.mathematics import EQUATIONS, LETTER, LOW, NUMBERS, SIGNS
from pipeline.text.english.numbers import AMOUNTS, DIGITS, NUMERALS
from pipeline.text.english.rules import apply
from pipeline.text.english.units import UNITS, UNITS_ALONE

_EQUATION = re.compile(r"[=√]")
_NUMBER = re.compile(r"\d|[½-¾⅐-⅞]")
_SIGN = re.compile(r"[/<>=^]|[^\x00-\x7f]|bps\b|kWh|mph|^\s*(?:Is|Are)\s")
_NUMERAL = re.compile(r"\w\s(?:[IVXLC]+|[ivx]{2,4})\b|^[XVI]+ ")


def in_english(text: str) -> str:
    """English with what espeak-ng misspeaks put into words."""
    text = apply(ABBREVIATIONS + DAYS, text)
    if _EQUATION.search(text):
        text = apply(EQUATIONS, text)
    if _NUMBER.search(text):
        text = apply(DATES + DIGITS + NUMBERS + AMOUNTS + UNITS + YEARS, text)
    if _SIGN.search(text):
        text = apply(UNITS_ALONE + SIGNS, text)
    if _NUMERAL.search(text):
        text = apply(NUMERALS, text)
    return capitals(LETTER.sub("eh", text)).translate(LOW)
