"""Ordinals, and what is read as one, in the languages whose writing espeak-ng does not read.

"am 3. Mai" has a full stop, and an ending that the word before it asks for; "2e" is read as "two e"
in French, "1.ª" with "point" in Portuguese; hours and days are ordinals in Polish, "Louis XIV" is a
number. Each public function takes a text, and whether it begins a line, and gives the text with
these as they are said.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from babel import Locale

from pipeline.text.english.numbers import roman_value


def _months(language: str) -> list[str]:
    """The names of the months, as dates have them."""
    return [*Locale(language).months["format"]["wide"].values()]


_DIGITS = r"(?:X{0,3}(?:IX|IV|VI{0,3}|I{1,3})|X{1,3})"
_NUMERAL = r"(?:X{0,3}(?:IX|IV|VI{0,3}|I{1,3})|X{2,3})(?!\w)"
_AFTER_NAME = re.compile(rf"(?<![^\W\d_])([^\W\d_])([^\W\d_]+) ({_NUMERAL})(?P<stop>\.?)")
_FEMININE = re.compile(r"\w*(?:a|e|eth|abel)")


def _value(number: str) -> int:
    """What digits, or a Roman numeral below forty, are worth."""
    return int(number) if number.isdigit() else roman_value(number)


def minutes_said(minutes: str | None, joint: str = " ") -> str:
    """The minutes of a time after `joint`, without a leading zero; nothing at the full hour."""
    return joint + str(int(minutes)) if minutes and int(minutes) else ""


_PARTS = (3, 4, 5, 8, 10)
"""What is divided by in everyday fractions; "6/7" is rather a list or a date."""
_FRACTION = re.compile(
    r"(?<![\w/.,])(?<!\b[Ll]e )(?<!\b[Ee]l )(?<!\b[Ii]l )(?<!\b[Dd]u )(?<!\b[Aa]u )(?<!\bdel )"
    rf"(?<!\bdia )(?<!\bden )([1-9])/({'|'.join(map(str, _PARTS))})(?=\s+[^\W\d_])"
)


def _fractions(text: str, part: Callable[[int, int], str]) -> str:
    """2/3 before a word, unless that is a day after an article, in words.

    Args:
        text: Any.
        part: What is said for a numerator and one of `_PARTS`.
    """

    def said(match: re.Match[str]) -> str:
        count, parts = int(match[1]), int(match[2])
        return part(count, parts) if count < parts else match[0]

    return _FRACTION.sub(said, text)


def _listed(count: int, parts: int, one: str, names: str, plural: Callable[[str], str]) -> str:
    """A fraction by the names of its `_PARTS`."""
    name = names.split()[_PARTS.index(parts)]
    return f"{one} {name}" if count == 1 else f"{count} {plural(name)}"


# German

_DE_UNITS = (
    "null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn",
    "elf", "zwölf", "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn",
    "neunzehn",
)  # fmt: skip
_DE_TENS = (
    "", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig",
)  # fmt: skip
_DE_ODD = {1: "erst", 3: "dritt", 7: "siebt", 8: "acht", 100: "hundertst"}
_DE_MONTHS = _months("de")
_DE_ORDINAL = re.compile(
    r"(?<![\w.,:/])(\d{1,2}|100)\.(?=\s+[^\W\d_]|[^\W\d_]{2}|\s+\d{1,2}\.|\s*,\s*\d{1,2}\.|\W*$)"
)
_DE_DAY = re.compile(
    r"(?<![\w.,:/])(0?[1-9]|[12]\d|3[01])\.\s?(0?[1-9]|1[0-2])\.(?=\s+[^\W\d_]|(?P<end>[^\w.]*$))"
)
_DE_RANGE = re.compile(r"(?<=\d\.)\s?[-–]\s?(?=\d{1,2}\.)")
_DE_BEFORE = re.compile(r"(?:\b(\w+)\s+)?\b(\w+)\s+$")
_DE_JOINED = re.compile(
    r"\s*(?:,|und|oder|bis|sowie|beziehungsweise|bis zum|auf den|\w+ (?:und|bis))\s*"
)
_DE_ARTICLE = re.compile(r"am|im|vom|zum|zur|beim|den|dem|des|der|die|das", re.IGNORECASE)
_DE_OTHER_CASES = re.compile(
    r"am|im|vom|zum|zur|beim|ab|bis|seit|nach|vor|den|dem|des|anderen?"
    r"|(?:dies|jed|jen|ein|kein|mein|dein|sein|ihr|unser|eur|euer|welch)e[mns]",
    re.IGNORECASE,
)
_DE_DEFINITE = re.compile(
    r"der|die|das|(?:dies|jed|jen|welch)e[rs]?|(?:k?ein|mein|dein|sein|ihr|unser|eur)e",
    re.IGNORECASE,
)
_DE_PREPOSITION = re.compile(
    r"in|mit|nach|seit|von|bei|aus|zu|an|auf|vor|unter|über|neben|hinter|während|wegen|ab|trotz",
    re.IGNORECASE,
)
_DE_LISTED = re.compile(
    rf"\s(?:{'|'.join(_DE_MONTHS)}|Platz|Stock|Advent|Liga|Weltkrieg|bis|und|oder)\b"
)


_DE_LEADS = re.compile(
    rf"(?:^|[,;:(–-]|\d\.)\s*$|\b(?:{_DE_OTHER_CASES.pattern}|{_DE_DEFINITE.pattern}"
    rf"|{_DE_PREPOSITION.pattern}|und|oder|als|k?ein|mein|dein|sein|ihr|unser|euer|\w+tag|Mittwoch"
    r"|jede|bzw\.|(?:Mo|Di|Mi|Do|Fr|Sa|So)\.)\s+$",
    re.IGNORECASE,
)


def leads_to_ordinal(before: str) -> bool:
    """Whether "3." may be an ordinal after this German text, and not the end of its sentence."""
    return _DE_LEADS.search(before, max(0, len(before) - 40)) is not None


def _german_stem(number: int) -> str:
    """An ordinal up to the hundredth without its ending: "dritt", "einundzwanzigst"."""
    if number < 20 or number == 100:
        return _DE_ODD.get(number) or _DE_UNITS[number] + "t"
    ten, unit = divmod(number, 10)
    units = "" if not unit else "einund" if unit == 1 else _DE_UNITS[unit] + "und"
    return units + _DE_TENS[ten] + "st"


def _german_ending(text: str, at: int) -> str:
    """The ending of an ordinal at a place, by the word before it: "er" where there is none."""
    before = _DE_BEFORE.search(text, max(0, at - 40), at)
    article = before[2] if before else ""
    if _DE_OTHER_CASES.fullmatch(article):
        return "en"
    if not _DE_DEFINITE.fullmatch(article):
        return "er"
    preposition = before[1] if before else None
    oblique = article == "der" and preposition and _DE_PREPOSITION.fullmatch(preposition)
    return "en" if oblique else "e"


def german(text: str, line_start: bool) -> str:
    """Reads "am 3. Mai" and "am 3.5." as "am dritten Mai", "Ludwig XIV." as "… der Vierzehnte"."""
    text = _fractions(text, _german_fraction)
    text = _DE_RANGE.sub(" bis ", text)
    text = _DE_DAY.sub(_german_day, text)
    text = _AFTER_NAME.sub(_german_numeral, text)
    said, done, ending = "", 0, ""
    for match in _DE_ORDINAL.finditer(text):
        at, last = match.start(), not re.search(r"\w", text[match.end() :])
        if not (ending and _DE_JOINED.fullmatch(text, done, at)):
            before = _DE_BEFORE.search(text, max(0, at - 40), at)
            number = last and not (before and _DE_ARTICLE.fullmatch(before[2]))
            item = line_start and not text[:at].strip() and not _DE_LISTED.match(text, match.end())
            if number or item:
                continue
            ending = _german_ending(text, at)
        said += text[done:at] + _german_stem(int(match[1])) + ending + "." * last
        done = match.end()
        said += " " * text[done : done + 1].isalpha()
    return said + text[done:]


def _german_fraction(count: int, parts: int) -> str:
    return f"{'ein' if count == 1 else count} {_german_stem(parts)}el"


def _german_day(match: re.Match[str]) -> str:
    """3.5. as "3. Mai": at the end of a sentence only after an article, since 9.1 is a number."""
    article = _DE_BEFORE.search(match.string, max(0, match.start() - 40), match.start())
    if match["end"] is not None and not (article and _DE_ARTICLE.fullmatch(article[2])):
        return match[0]
    stop = "." * (match["end"] is not None)
    return f"{int(match[1])}. {_DE_MONTHS[int(match[2]) - 1]}{stop}"


def _german_numeral(match: re.Match[str]) -> str:
    """A Roman numeral: with a full stop a ruler's, without one of a chapter or a part."""
    first, rest, numeral, stop = match.groups()
    if stop and (_DE_OTHER_CASES.fullmatch(first + rest) or _DE_DEFINITE.fullmatch(first + rest)):
        return f"{first}{rest} {_value(numeral)}."
    if first.islower() or not stop:
        return match[0] if first.islower() else f"{first}{rest} {_value(numeral)}"
    article = "die" if _FEMININE.fullmatch(first + rest) else "der"
    last = "." if not re.search(r"\w", match.string[match.end() :]) else ""
    return f"{first}{rest} {article} {_german_stem(_value(numeral))}e{last}"


# French

_FR_TENS = ("", "dix-", "vingt-", "trente-", "quarante-", "cinquante-", "soixante-")
_FR_ORDINAL = re.compile(
    rf"(?<![\w.,-])(?:(?P<first>[1I](?:ers?|ères?|ere|res?))|(?P<second>2nde?s?)"
    rf"|(?P<number>\d{{1,3}}|{_DIGITS})(?:i?[eè]mes?|es?))\b"
)
_FR_CENTURY = re.compile(r"(?<=[\dIVX]e) s\.(?P<end>\W*$)?")
_FR_FIRST = re.compile(rf"\b1 (?=(?:{'|'.join(_months('fr'))})\b)")


def french(text: str, line_start: bool) -> str:
    """Reads "2e" and "XIXe" as ordinals, "Louis XIV" as "Louis 14"."""
    text = _AFTER_NAME.sub(_plain_numeral, _fractions(text, _french_fraction))
    text = _FR_CENTURY.sub(lambda s: " siècle" if s["end"] is None else " siècle." + s["end"], text)
    return _FR_FIRST.sub("premier ", _FR_ORDINAL.sub(_french_ordinal, text))


def _plain_numeral(match: re.Match[str]) -> str:
    """A Roman numeral after a name or a title, in digits."""
    first, rest, numeral, stop = match.groups()
    named = len(rest) > 2 or first.isupper()
    return f"{first}{rest} {_value(numeral)}{stop}" if named else match[0]


def _french_fraction(count: int, parts: int) -> str:
    name = {3: "tiers", 4: "quart"}.get(parts, f"{parts}ème")
    return f"{count} {name}"


def _french_ordinal(match: re.Match[str]) -> str:
    """2e as "2ème", which espeak-ng reads, and in words where it reads no word."""
    if first := match["first"]:
        masculine = first[1:] in ("er", "ers")
        return ("premier" if masculine else "première") + "s" * first.endswith("s")
    if second := match["second"]:
        return "seconde" if "e" in second else "second"
    number = _value(match["number"])
    ten, unit = divmod(number, 10)
    word = {4: "quatrième", 8: "huitième", 9: "neuvième"}.get(unit)
    return _FR_TENS[ten] + word if word and ten < len(_FR_TENS) else f"{number}ème"


# Spanish, Portuguese, Italian

_SHORT = re.compile(
    r"\b([13])(?:\.?er\b|\.?º(?=\s+(?!(?:y|e|o|de|del|en|que|por|con|es|a)\b)[a-zñ]))"
)
_POINTED = re.compile(r"(\d)\.(?=[ºª])")
_NUMBERED = frozenset(("siglo", "século", "capítulo", "volumen", "volume", "tomo", "acto", "ato"))
_PT_FIRST = re.compile(rf"\b1 (?=de (?:{'|'.join(_months('pt'))})\b)")
_DEGREE = re.compile(r"\b(\d{1,2})\s?°(?=\s(?:de|piso|lugar|andar|puesto|grado|ano|año|día|dia)\b)")
_IT_DEGREE = re.compile(
    r"\b((?:[Ii]l|al|del|nel|dal|sul|un|lo|primo|È|l['’])\s*\d{1,2})\s?°"
    r"(?=\s+(?!gradi)[a-zàèé]|[,;]|[\s.!?]*$)"
    r"|\b(1)\s?°(?=\s+[a-zàèé])"
)
_IT_FIRST = re.compile(rf"\b1 (?=(?:{'|'.join(_months('it'))})\b)")


def spanish(text: str, line_start: bool) -> str:
    """1.º as "1º", which espeak-ng reads; before a noun "primer" and "tercer"."""
    text = _SHORT.sub(lambda short: "primer" if short[1] == "1" else "tercer", text)
    return _iberian(_fractions(text, _spanish_fraction))


def _spanish_fraction(count: int, parts: int) -> str:
    names = "tercio cuarto quinto octavo décimo"
    return _listed(count, parts, "un", names, lambda name: name + "s")


def portuguese(text: str, line_start: bool) -> str:
    """1.º and 1 de maio as "1º", which espeak-ng reads."""
    return _PT_FIRST.sub("1º ", _iberian(_fractions(text, _portuguese_fraction)))


def _portuguese_fraction(count: int, parts: int) -> str:
    names = "terço quarto quinto oitavo décimo"
    return _listed(count, parts, "um", names, lambda name: name + "s")


def _iberian(text: str) -> str:
    """Without the point in ordinals; Roman numerals as ordinals up to the tenth."""
    return _AFTER_NAME.sub(_iberian_numeral, _POINTED.sub(r"\1", _DEGREE.sub(r"\1º", text)))


def _iberian_numeral(match: re.Match[str]) -> str:
    first, rest, numeral, stop = match.groups()
    if first.islower() and first + rest not in _NUMBERED:
        return match[0]
    number = _value(numeral)
    if number > 10:
        return f"{first}{rest} {number}{stop}"
    return f"{first}{rest} {number}{'ª' if rest.endswith(('a', 'abel')) else 'º'}{stop}"


def italian(text: str, line_start: bool) -> str:
    """1° as "1º": espeak-ng reads a degree sign."""
    text = _fractions(text, _italian_fraction)
    return _IT_FIRST.sub("1º ", _IT_DEGREE.sub(lambda degree: (degree[1] or degree[2]) + "º", text))


def _italian_fraction(count: int, parts: int) -> str:
    names = "terzo quarto quinto ottavo decimo"
    return _listed(count, parts, "un", names, lambda name: name[:-1] + "i")


# Dutch

_NL_UNITS = (
    "nul", "een", "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen", "tien", "elf",
    "twaalf", "dertien", "veertien", "vijftien", "zestien", "zeventien", "achttien", "negentien",
)  # fmt: skip
_NL_TENS = (
    "", "", "twintig", "dertig", "veertig", "vijftig", "zestig", "zeventig", "tachtig", "negentig",
)  # fmt: skip
_NL_ODD = {1: "eerste", 3: "derde", 8: "achtste"}
_NL_ORDINAL = re.compile(r"(?<![\w.,-])(\d{1,2})(?:e|ste|de)\b")


def dutch(text: str, line_start: bool) -> str:
    """2e, 2de as "tweede": espeak-ng reads both the ordinal and the letter."""
    text = _AFTER_NAME.sub(_dutch_numeral, _fractions(text, _dutch_fraction))
    return _NL_ORDINAL.sub(lambda ordinal: _dutch_ordinal(int(ordinal[1])), text)


def _dutch_ordinal(number: int) -> str:
    """An ordinal below the hundredth."""
    if number < 20:
        return _NL_ODD.get(number) or _NL_UNITS[number] + "de"
    ten, unit = divmod(number, 10)
    units = _NL_UNITS[unit] + ("ën" if unit in (2, 3) else "en") if unit else ""
    return units + _NL_TENS[ten] + "ste"


def _dutch_fraction(count: int, parts: int) -> str:
    return f"{count} {'kwart' if parts == 4 else _dutch_ordinal(parts)}"


def _dutch_numeral(match: re.Match[str]) -> str:
    first, rest, numeral, stop = match.groups()
    if first.islower():
        return match[0]
    if first + rest in ("Deel", "Hoofdstuk", "Wereldoorlog", "Band", "Fase", "Type"):
        return f"{first}{rest} {_value(numeral)}{stop}"
    return f"{first}{rest} de {_dutch_ordinal(_value(numeral))}{stop}"


# Swedish

_SV_DAY = re.compile(rf"\b([12]?\d|3[01])\.? (?=(?:{'|'.join(_months('sv'))})\b)")


def swedish(text: str, line_start: bool) -> str:
    """3 maj as "3:e maj", which espeak-ng reads, and "Karl XVI" as "Karl den 16:e"."""

    def day(match: re.Match[str]) -> str:
        number = match[1]
        return number + (":a " if number[-1] in "12" and number not in ("11", "12") else ":e ")

    text = _fractions(text, _swedish_fraction)
    return _SV_DAY.sub(day, _AFTER_NAME.sub(_swedish_numeral, text))


def _swedish_fraction(count: int, parts: int) -> str:
    names = "tredjedel fjärdedel femtedel åttondel tiondel"
    return _listed(count, parts, "en", names, lambda name: name + "ar")


def _swedish_numeral(match: re.Match[str]) -> str:
    first, rest, numeral, stop = match.groups()
    return match[0] if first.islower() else f"{first}{rest} den {_value(numeral)}:e{stop}"


# Polish

_PL_STEMS = (
    "zerow", "pierwsz", "drug", "trzeci", "czwart", "piąt", "szóst", "siódm", "ósm", "dziewiąt",
    "dziesiąt", "jedenast", "dwunast", "trzynast", "czternast", "piętnast", "szesnast",
    "siedemnast", "osiemnast", "dziewiętnast",
)  # fmt: skip
_PL_TENS = (
    "", "", "dwudziest", "trzydziest", "czterdziest", "pięćdziesiąt", "sześćdziesiąt",
    "siedemdziesiąt", "osiemdziesiąt", "dziewięćdziesiąt",
)  # fmt: skip
_PL_QUEENS = frozenset(("Elżbieta", "Katarzyna", "Maria", "Małgorzata", "Joanna", "Anna"))
_PL_DATE = re.compile(rf"\b([12]?\d|3[01]) ({'|'.join(_months('pl'))})\b(?: ([12]\d)(\d\d)\b)?")
_PL_YEAR = re.compile(r"(?P<in>\b(?:we?|po|o) )?\b([12]\d)(\d\d)(?= roku\b)", re.IGNORECASE)
_PL_HOUR = r"(?<![\d:.,])([01]?\d|2[0-4])(?:[:.]([0-5]\d)(?![\d:]|[.,]\d))?"
_PL_TIME = re.compile(
    r"(?P<at>\b(?:[Oo]|[Ww](?= godzinach)|[Pp]o|[Dd]o|[Oo]d|[Pp]rzed|[Oo]koło)\s+)?"
    r"(?P<word>\bgodzin(?:y|ach)\s)?"
    rf"{_PL_HOUR}(?:\s?[-–]\s?{_PL_HOUR})?(?!\w|\s?(?:zł|%|€|\$|km|m|kg|proc|pkt|punkt\w*)(?!\w))"
)
_PL_SAINT = re.compile(r"\bświęty(?= \w*(\w)\b)")
_PL_CENTURY = re.compile(rf"(?P<in>\b[Ww]e? )?\b({_NUMERAL})(?= wiek(?P<u>u?)\b)")
_PL_NOUN = re.compile(r"(?<![\w.,:/])([1-9]\d?)\. (?=[a-ząćęłńóśźż]\w*(\w)\b)")
_PL_DECADE = re.compile(r"\b([Ll]at(?:a|ach|(?= \d+\. [^\W\d_]))) ([2-9]0)\.(?!\d)")
_PL_WAR = re.compile(r"\b(I{1,3}) (?=wojn(a|y|ę|ie)\b)")


def polish(text: str, line_start: bool) -> str:
    """Reads hours, days and centuries as ordinals: "o czternastej 30", "trzeciego maja"."""
    text = _PL_SAINT.sub(_polish_saint, _PL_TIME.sub(_polish_time, text))
    text = _AFTER_NAME.sub(_polish_numeral, _PL_CENTURY.sub(_polish_century, text))
    text = _PL_WAR.sub(_polish_war, text)
    text = _PL_DECADE.sub(_polish_decade, _fractions(text, _polish_fraction))
    item = line_start and _PL_NOUN.match(text)
    text = _PL_NOUN.sub(_polish_before_noun, text) if not item else text
    return _PL_YEAR.sub(_polish_year, _PL_DATE.sub(_polish_date, text))


def _polish_ordinal(number: int, ending: str) -> str:
    """An ordinal below the hundredth with an ending: "czternasta", "dwudziestego pierwszego"."""
    if number >= 20:
        ten, unit = divmod(number, 10)
        stem = _PL_TENS[ten]
        return f"{stem}{ending} {_polish_ordinal(unit, ending)}" if unit else stem + ending
    stem = _PL_STEMS[number]
    if stem == "drug" and ending[0] in "ye":
        stem += "i"
    return stem + ending.removeprefix("y" if stem[-1] == "i" else "")


def _polish_fraction(count: int, parts: int) -> str:
    said = {1: "jedna", 2: "dwie"}.get(count, str(count))
    ending = "a" if count == 1 else "e" if count < 5 else "ych"
    return f"{said} {_polish_ordinal(parts, ending)}"


def _polish_decade(match: re.Match[str]) -> str:
    """Reads "lata 90.", with the full stop only at the end."""
    ending = "e" if match[1].endswith("a") else "ych"
    last = "." if not re.search(r"\w", match.string[match.end() :]) else ""
    return f"{match[1]} {_polish_ordinal(int(match[2]), ending)}{last}"


def _polish_before_noun(match: re.Match[str]) -> str:
    """The ending by that of the noun: "trzecie miejsce", "pierwszą nagrodę", "w drugim dniu"."""
    endings = {"a": "a", "ę": "ą", "o": "e", "e": "e", "u": "ym"}
    return _polish_ordinal(int(match[1]), endings.get(match[2], "y")) + " "


def _polish_date(match: re.Match[str]) -> str:
    """3 maja 1791 with the day and the year in the genitive."""
    day, month, century, year = match.groups()
    said = f"{_polish_ordinal(int(day), 'ego')} {month}"
    return f"{said} {_year_said(century, year, 'ego')}" if year else said


def _polish_year(match: re.Match[str]) -> str:
    """The case by what stands before it: "w … siedemdziesiątym roku", "od … siedemdziesiątego"."""
    place = match["in"] or ""
    return place + _year_said(match[2], match[3], "ym" if place else "ego")


def _year_said(century: str, year: str, ending: str) -> str:
    """1970 as "1900 siedemdziesiąty": only what follows the hundreds is an ordinal."""
    tail = f"00 {_polish_ordinal(int(year), ending)}" if int(year) else year
    return century + tail


def _polish_century(match: re.Match[str]) -> str:
    """The case by what stands around it: "w dwudziestym wieku", "dwudziesty wiek"."""
    place = match["in"] or ""
    ending = "ym" if place else "y" if match["u"] == "" else "ego"
    return place + _polish_ordinal(_value(match[2]), ending)


def _polish_war(match: re.Match[str]) -> str:
    """The ending by that of the word after it: "druga wojna", "drugiej wojny"."""
    ending = {"a": "a", "ę": "ą"}.get(match[2], "ej")
    return _polish_ordinal(_value(match[1]), ending) + " "


def _polish_numeral(match: re.Match[str]) -> str:
    """A ruler's number, by the ending of the name: "Paweł drugi", "Pawła drugiego"."""
    first, rest, numeral, stop = match.groups()
    if first.islower():
        return match[0]
    ending = "y" if rest[-1] != "a" else "a" if first + rest in _PL_QUEENS else "ego"
    return f"{first}{rest} {_polish_ordinal(_value(numeral), ending)}{stop}"


def _polish_saint(match: re.Match[str]) -> str:
    """The ending by that of the name: "świętego Jana", "świętej Anny", "święty Jan"."""
    return "święt" + {"a": "ego", "y": "ej", "i": "ej"}.get(match[1], "y")


def _polish_time(match: re.Match[str]) -> str:
    """The hour as an ordinal, its case by what stands before it."""
    at, word, hour, minutes, last_hour, last_minutes = match.groups()
    first = (at or "").strip().lower()
    written = word or (minutes and (":" in match[0] or first in ("o", "po", "do", "od", "przed")))
    if not written or (word and first == "w" and not last_hour):
        return match[0]
    said = at or ""
    if word:
        alone = "godziny " if last_hour else "godzina "
        said += {"o": "godzinie ", "w": "godzinach ", "": alone}.get(first, "godziny ")
    if last_hour and first not in ("od", "do"):
        said += "od "
    case = "ej" if at or last_hour else "a"
    said += _polish_ordinal(int(hour), case) + minutes_said(minutes)
    if last_hour:
        said += f" do {_polish_ordinal(int(last_hour), case)}{minutes_said(last_minutes)}"
    return said
