"""What is read digit by digit: phone numbers, codes, addresses."""

from __future__ import annotations

import re

from pipeline.text.english.rules import Rules, words


def _digits(text: str) -> str:
    """Digits one by one, with a pause between groups."""
    groups = re.findall(r"\d+", text)
    return ", ".join(" ".join(group) for group in groups)


_PHONE = re.compile(
    r"""
      (?<![\w.,-])(?:
        (?P<plus>\+)\d{1,3}(?:[ .\u00a0-]?\(?\d{1,4}\)?){2,5}
      | (?:1[ .-])?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}
      | 555-\d{4}
      | \d{3}-\d{3}[1-9]
      | \(?0\d{2,4}\)?(?:[ /-]\d{3,9})+
      | (?:\d{4}\ ){3,}\d{1,4}
      | \d{3}-\d{2}-\d{4}
      | \d{1,4}(?:-\d{1,7}){3,}
      | \d{10,}
      | 00+[1-9]\d* | 0\d{3,}
      )(?![\w-]|[.,]\d)
    """,
    re.VERBOSE,
)
_CALLED = re.compile(
    r"\b(?P<verb>call(?:ing|ed)?|dial(?:ing|led|ed)?|phone|tel(?:ephone)?|fax|text|number"
    r"|reach (?:me|us) at)(?P<mid>(?:\s(?:is|me|us|at|on|him|her|them)|[:.])*\s)"
    r"(?P<number>911|112|999|988|411|311|211|\d{3}[- ]?\d{4})(?![\d-]|[.,]\d)",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"\b(?P<what>(?:(?:zip|postal|pin|area|access|security|verification|error|status|promo|dial(?:ing)?"
    r"|country|entry|door|gate|discount|confirmation|tracking|order|account|serial|reference|booking|invoice"
    r"|ticket|model|case)\s)?(?:code|number)|zip|pin|postcode|passcode|password|otp|extension|ext\.?"
    r"|room|error|suite|apartment|apt\.?|flight|id|ending in|ends in)"
    r"(?P<mid>\s?:|['’]s|\s(?:is|was|will be|would be|number|no\.?)|\s?[#=])?\s?"
    r"(?P<air>[A-Z]{2}\s?)?(?P<code>\d{2,}(?:[ -]\d{2,})*)(?![\w-]|[.,:/]\d|%)"
    r"(?!\s(?:lines|characters|words|files|bytes|pages|people|times|of)\b)",
    re.IGNORECASE,
)
_SMALL = words(
    "room error suite apartment apt apt. flight id code number ext ext. extension password"
)


def _phone(match: re.Match[str]) -> str:
    plus = match["plus"]
    if plus and sum(map(str.isdigit, match.group())) < 8:
        return match.group()
    return ("plus " if plus else "") + _digits(match.group())


def _called(match: re.Match[str]) -> str:
    return f"{match['verb']}{match['mid']}{_digits(match['number'])}"


def _code(match: re.Match[str]) -> str:
    """A code by its digits; a number of one or two digits is read as one."""
    what, code = match["what"], match["code"]
    if what.lower().split()[-1] in _SMALL and len(code) < 3:
        return match.group()
    if what.lower() == "number" and code[0] != "0":
        return match.group()
    head = match.group()[: match.start("code") - match.start()]
    return head + (" " if head[-1].isalpha() else "") + _digits(code)


def _address(match: re.Match[str]) -> str:
    """192.168.0.1 by its digits."""
    return " dot ".join(" ".join(part) for part in match.group().split("."))


_SERIAL = re.compile(r"\b(?=[A-Z\d]*\d{3})(?:(?:[A-Z]+\d+){2,}[A-Z]*|(?:\d+[A-Z]+)+\d+[A-Z]*)\b")


def _serial(match: re.Match[str]) -> str:
    """7ABC123 as "7 ABC 1 2 3"."""
    return " ".join(re.findall(r"[A-Z]+|\d", match.group()))


DIGITS: Rules = (
    (
        re.compile(
            r"\b\d{3,8}(?=\s(?:as|is)\s(?:the|your|my)\s(?:\w+\s)?(?:pin|code|passcode|password)\b)"
        ),
        lambda match: _digits(match[0]),
    ),
    (_SERIAL, _serial),
    (
        re.compile(r"\b([Tt]ext\s\S+\sto\s)(\d{5,6})\b"),
        lambda match: match[1] + _digits(match[2]),
    ),
    (re.compile(r"#(?=\d+\b)"), "number "),
    (_CALLED, _called),
    (re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)"), _address),
    (re.compile(r"(?<![\w.-])(?:v(?=\d+(?:\.\d+)*\b)|V(?=\d+\.\d))"), "version "),
    (_CODE, _code),
    (_PHONE, _phone),
    (
        re.compile(r"(?<![\d.])(\d+)\.(?!\d{3}\.\d{3}\b)(\d+)\.(\d+)(?!\.?\d)"),
        r"\1 point \2 point \3",
    ),
    (
        re.compile(
            r"\b(Python|Java|PHP|Ruby|Rust|Go|Node|iOS|macOS|Android|Ubuntu|[Vv]ersion) (\d+)\."
            r"([1-9]\d)(?!\.?\d)"
        ),
        r"\1 \2 point \3",
    ),
    (re.compile(r"(?<=, [A-Z]{2} )\d{5}(?:-\d{4})?\b"), lambda match: _digits(match[0])),
)
