"""Abbreviations of English, in full."""

from __future__ import annotations

import re

from pipeline.text.english.rules import Rules, words

TITLES = words(
    "dr mr mrs ms mx prof rev hon gen col capt cmdr lt sgt maj gov sen rep pres mt messrs"
    " mme mlle hr sra srta"
)
"""Abbreviations that, with a capital, lead on to a name: never the end of a sentence."""

LATIN = words("e.g i.e eg ie cf vs viz approx bzw d.h z.b u.a p.ex")
"""Abbreviations in any case that always lead on to more."""

BEFORE_NUMBER = words(
    "no nos nr p pp vol fig figs ch sec art eq ver par op ca ext apt"
    " jan feb mar apr jun jul aug sep sept oct nov dec"
)
"""Abbreviations only where a number follows: "No. 5", but "No. I would not." """

_FULL = {
    "mt": "mount", "vs": "versus", "approx": "approximately", "no": "number", "nos": "numbers",
    "fig": "figure", "figs": "figures", "vol": "volume", "ch": "chapter", "sec": "section",
    "eq": "equation", "p": "page", "pp": "pages", "jan": "January", "feb": "February",
    "mar": "March", "apr": "April", "jun": "June", "jul": "July", "aug": "August",
    "sep": "September", "sept": "September", "oct": "October", "nov": "November",
    "dec": "December", "prof": "professor", "rev": "reverend", "hon": "honorable",
    "gen": "general", "col": "colonel", "capt": "captain", "cmdr": "commander",
    "lt": "lieutenant", "sgt": "sergeant", "maj": "major", "gov": "governor", "sen": "senator",
    "rep": "representative", "pres": "president", "jr": "junior", "sr": "senior", "st": "saint",
    "ave": "avenue", "blvd": "boulevard", "rd": "road", "dept": "department",
    "ltd": "limited", "co": "company", "corp": "corporation",
    "bros": "brothers", "ext": "extension", "apt": "apartment",
}  # fmt: skip
_STOPPED = TITLES | words("vs approx st inc ltd co corp bros jr sr ave blvd rd dept")
_LAST = "|".join(words("jr sr ave blvd rd dept inc ltd corp bros"))
_ABBREVIATION = re.compile(
    rf"\b(?:(?P<numbered>{'|'.join(sorted(BEFORE_NUMBER))})\.(?=\s?\d)"
    rf"|(?P<word>{'|'.join(sorted(_STOPPED))})\.(?=,?\s+\w)|(?P<last>{_LAST})(?=\.\W*$))",
    re.IGNORECASE,
)


def _abbreviation(match: re.Match[str]) -> str:
    """An abbreviation in full without its stop, which espeak-ng takes for a sentence's end."""
    word: str = match["numbered"] or match["word"] or match["last"]
    full = _FULL.get(word.lower(), word)
    text, end = match.string, match.end()
    if word == "St" and re.search(r"[A-Z0-9]\w*\s$", text[: match.start()]):
        after = text[end:].lstrip()[:1]
        full = full if after.isupper() else "street"
    space = "" if match["last"] or text[end : end + 1] in (",", "") or text[end].isspace() else " "
    return (full[0].upper() + full[1:] if word[0].isupper() else full) + space


ABBREVIATIONS: Rules = (
    (_ABBREVIATION, _abbreviation),
    *(
        (re.compile(pattern), said)
        for pattern, said in (
            (r"^\s*([A-Z])\.(?=\s+[A-Z]\.)", r"\1"),  # J. K. Rowling: initials end no sentence, but
            (r"(?<=[\w.][.\s])([A-Z])\.(?=\s+[A-Z])", r"\1"),  # "A. Paris" is a choice
            (r"\b[eE]\.g\.", "for example"),
            (r"\b[iI]\.e\.", "that is"),
            (r"\bPh\.D\b\.?", "PhD"),
            (r"\bw/o\b", "without"),
            (r"\bw/\s?(?=\w)", "with "),
            (r"\b(?:ZIP|PIN|RAM|SIM)\b", lambda match: match[0].lower()),
            (r"\bWWI\b", "World War 1"),
            (r"\bWWII\b", "World War 2"),
            (r"\bm\.p\.h\b\.?", "mph"),
            (r"\b([CF])#", r"\1 sharp"),
            (r"(?<!\S)#(?=[A-Za-z])", "hashtag "),
            (
                r"\bIV(?=\s(?:drips?|fluids?|lines?|bags?|pump|antibiotics?|therapy|infusions?)\b)",
                "I V",
            ),
        )
    ),
)
