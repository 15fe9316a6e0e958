"""Abbreviations of English, in full."""

from __future__ import annotations

import re

from pipeline.text.english.rules import Rules, words

TITLES = words(
    "dr mr mrs ms mx prof rev hon gen col capt cmdr lt sgt maj gov sen rep pres mt messrs"
    " mme mlle hr sra srta"
)
"""Abbreviations that, with a capital, lead on to a name: never the end of a sentence."""

LATIN = words("e.g i.e eg ie cf vs viz approx incl excl a.k.a bzw d.h z.b u.a p.ex")
"""Abbreviations in any case that always lead on to more."""

BEFORE_NUMBER = words(
    "no nos nr p pp vol fig figs ch sec art eq ver par op ca ext apt max tel rm ste fl hwy"
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
    "bros": "brothers", "ext": "extension", "apt": "apartment", "ca": "circa", "max": "maximum",
    "tel": "telephone", "rm": "room", "ste": "suite", "fl": "floor", "hwy": "highway",
    "incl": "including", "excl": "excluding",
}  # fmt: skip
_STOPPED = TITLES | words("vs approx incl excl st inc ltd co corp bros jr sr ave blvd rd dept")
_LAST = "|".join(words("jr sr ave blvd rd dept inc ltd corp bros"))
_ABBREVIATION = re.compile(
    rf"\b(?:(?P<numbered>{'|'.join(sorted(BEFORE_NUMBER))})\.(?=\s?\d)"
    rf"|(?P<word>{'|'.join(sorted(_STOPPED))})\.(?=,?\s+[\w&])|(?P<last>{_LAST})(?=\.\W*$))",
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


_STREETS = {
    "St": "Street", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Dr": "Drive", "Ln": "Lane",
    "Ct": "Court", "Pl": "Place", "Sq": "Square", "Pkwy": "Parkway", "Hwy": "Highway",
}  # fmt: skip
_POINTS = {"N": "North", "S": "South", "E": "East", "W": "West"}
_STREET = re.compile(
    r"(?P<where>\b(?:\d+[A-Z]?|on|onto|at|to|down|along|from|of|and|near|off|in)\s)"
    r"(?:(?P<point>[NSEW])\.?\s)?(?P<name>(?:(?:[A-Z][\w']+\.?|\d+(?:st|nd|rd|th))\s){1,3})"
    rf"(?P<kind>{'|'.join(_STREETS)})\b(?:\.(?!\W*$))?(?!\.?\s[A-Z][a-z])"
)
_WIND = re.compile(
    r"(?P<before>\b[Ww]inds?\b[^.;]{0,30}?\s)?\b(?P<ns>[NS])(?P<ew>[EW])\b(?P<of>\sof\b)?"
)


def _street(match: re.Match[str]) -> str:
    """42 W 5th St as "42 West 5th Street"."""
    point = f"{_POINTS[match['point']]} " if match["point"] else ""
    return f"{match['where']}{point}{match['name']}{_STREETS[match['kind']]}"


def _wind(match: re.Match[str]) -> str:
    """Winds NW as "winds northwest", NE of as "northeast of"."""
    before, of = match["before"] or "", match["of"] or ""
    if not before and not of:
        return match.group()
    return f"{before}{_POINTS[match['ns']].lower()}{_POINTS[match['ew']].lower()}{of}"


def _mail(match: re.Match[str]) -> str:
    """An e-mail address with the signs in it that espeak-ng passes over."""
    return match[0].replace("_", " underscore ").replace("-", " dash ")


ABBREVIATIONS: Rules = (
    (_STREET, _street),
    (_WIND, _wind),
    (re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), _mail),
    (re.compile(r"\b(?:Apt|Ste|Hwy|Rm)(?=\s\d)"), lambda match: _FULL[match[0].lower()]),
    (re.compile(r"\bMs\b\.?(?= [A-Z])"), "Miz"),  # which is spelled else
    (_ABBREVIATION, _abbreviation),
    *(
        (re.compile(pattern), said)
        for pattern, said in (
            (r"^\s*([A-Z])\.(?=\s+[A-Z]\.)", r"\1"),  # J. K. Rowling: initials end no sentence, but
            (r"(?<=[\w.][.\s])([A-Z])\.(?=\s+[A-Z])", r"\1"),  # "A. Paris" is a choice
            # A hum without a vowel is spelled (piper-tts 1.8.0): "em em aitch em".
            (r"\b[Mm]+[- ]?h+m+\b", "um-hum"),
            (r"\b[Mm]m{2,}\b|\bMm(?=[,.…!?])", "hmm"),
            (r"\b[eE]\.g\.", "for example"),
            (r"\b[iI]\.e\.", "that is"),
            (r"\bPh\.D\b\.?", "PhD"),
            (r"\ba\.?k\.?a\.(?=\s)", "also known as"),
            (r"(?<=\d(?:st|nd|rd|th) )c\.(?=\s|$)", "century"),
            (r"\bc\.\s?(?=\d{3})", "circa "),
            (r"\bb\.\s?(?=\d{4}\b)", "born "),
            (r"\bd\.\s?(?=\d{4}\b)", "died "),
            (r"\best\.\s?(?=\d{4}\b)", "established "),
            (r"(?<=\d )AD\b|\bAD(?= \d)", "eh D"),
            (r"(?<=\d )CE\b", "C E"),
            (r"\bYoY\b", "year over year"),
            (r"\bvs(?= [\w'])", "versus"),
            (r"\bb/c\b", "because"),
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
