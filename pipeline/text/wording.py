"""What is written short, in signs or in digits, in words: in languages other than English.

espeak-ng reads the numbers of its languages well, but "z.B." as letters with a pause, "−5" as 5 or
with an English word, "m²" as "m two". `in_words` writes such things out before it sees them, and
`abbreviation` tells the chunker which full stops end no sentence. Both go by the tables of
`languages`; a language without one is left as it is written. Units, dates and plural forms are
those of the Unicode CLDR, by Babel.
"""

from __future__ import annotations

import datetime
import functools
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import TYPE_CHECKING

from pipeline.text.english.capitals import unstressed
from pipeline.text.language_names import code_of
from pipeline.text.languages import LANGUAGES, Language, TimeOfDay
from pipeline.text.ordinals import minutes_said

if TYPE_CHECKING:
    from babel import Locale


class FullStop(Enum):
    """What an abbreviation's full stop tells of the sentence."""

    LEADS = auto()
    """It goes on."""
    ENDS = auto()
    """It is over if a capital follows."""
    OPEN = auto()
    """It is over if a word follows with which sentences begin."""


_GAP = "[ \u00a0\u202f]"
_NUMBER = r"\d+(?:[.,]\d+)*"
_UNITS = {
    "km/h": "speed-kilometer-per-hour", "km/u": "speed-kilometer-per-hour",
    "km/t": "speed-kilometer-per-hour", "км/ч": "speed-kilometer-per-hour",
    "км/год": "speed-kilometer-per-hour",
    "m/s": "speed-meter-per-second", "м/с": "speed-meter-per-second",
    "km²": "area-square-kilometer", "m²": "area-square-meter", "cm²": "area-square-centimeter",
    "км²": "area-square-kilometer", "м²": "area-square-meter", "m2": "area-square-meter",
    "qm": "area-square-meter", "m³": "volume-cubic-meter",
    "м³": "volume-cubic-meter", "m3": "volume-cubic-meter", "cm³": "volume-cubic-centimeter",
    "km": "length-kilometer", "m": "length-meter", "cm": "length-centimeter",
    "mm": "length-millimeter", "км": "length-kilometer", "м": "length-meter",
    "см": "length-centimeter", "мм": "length-millimeter", "kg": "mass-kilogram",
    "g": "mass-gram", "mg": "mass-milligram", "кг": "mass-kilogram",
    "l": "volume-liter", "L": "volume-liter", "dl": "volume-deciliter", "cl": "volume-centiliter",
    "ml": "volume-milliliter", "мл": "volume-milliliter", "л": "volume-liter",
    "h": "duration-hour", "Std": "duration-hour", "tim": "duration-hour", "hod": "duration-hour",
    "min": "duration-minute", "Min": "duration-minute", "мин": "duration-minute",
    "хв": "duration-minute", "mn": "duration-minute",
    "sec": "duration-second",
    "sek": "duration-second", "Sek": "duration-second", "seg": "duration-second",
    "сек": "duration-second", "ms": "duration-millisecond", "kWh": "energy-kilowatt-hour",
    "kJ": "energy-kilojoule", "kcal": "energy-foodcalorie", "kW": "power-kilowatt",
    "MW": "power-megawatt", "W": "power-watt", "kB": "digital-kilobyte",
    "KB": "digital-kilobyte", "MB": "digital-megabyte", "GB": "digital-gigabyte",
    "TB": "digital-terabyte", "Go": "digital-gigabyte", "Mo": "digital-megabyte",
    "ГБ": "digital-gigabyte", "Mbit": "digital-megabit", "Gbit": "digital-gigabit",
    "kbit": "digital-kilobit", "kHz": "frequency-kilohertz", "MHz": "frequency-megahertz",
    "V": "electric-volt", "mA": "electric-milliampere",
    "Ω": "electric-ohm", "GW": "power-gigawatt", "nm": "length-nanometer",
    "µm": "length-micrometer", "t": "mass-tonne", "hl": "volume-hectoliter",
    "PS": "power-horsepower", "kPa": "pressure-kilopascal", "GHz": "frequency-gigahertz",
    "Hz": "frequency-hertz", "hPa": "pressure-hectopascal",
    "°C": "temperature-celsius", "ºC": "temperature-celsius",
    "°F": "temperature-fahrenheit", "°": "angle-degree", "%": "concentr-percent",
}  # fmt: skip
"""Signs of units, and their names in the CLDR; not "s" and "ha", which are words after numbers."""

_PER = {"s": "duration-second", "h": "duration-hour", "min": "duration-minute"}
_UNIT = re.compile(
    rf"(?<![\w.,])(?P<number>{_NUMBER}|\d*\s?½)\s?"
    rf"(?P<unit>{'|'.join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))})"
    r"(?:/(?P<per>s|h|min)(?!\w))?(?:\.(?=\s+\w))?(?![\w²³/'’])"
)
_BARE_UNIT = re.compile(rf"(?<= )(?:{'|'.join(map(re.escape, _UNITS))})(?![\w²³/'’])")
_UNIT_STOP = re.compile(rf"\d\s?(?:{'|'.join(filter(str.isalpha, _UNITS))})\.$")
_MINUS = re.compile(
    r"(?:(?<![\w.,)\]%°€$£/+–−-])|(?<=[\u3040-\u9fff]))[-–−]"
    r"(?=(?:(?:[€$£]|R\$)\s?)?[.,]?\d)|\s*−\s*"
)
_RANGE = re.compile(
    r"(?<![\w.,/–-])(?!0\d)(?P<first>[.,\d]*\d)(?P<unit>\s?(?:[%€]|°C?))?(?P<dash>\s?–\s?|-| − )"
    r"(?=[-−]?(?P<second>\d+)(?![\d/-]|[.,]\d+[.,/-])(?P<counts>[.,]?\d*\s?[^\W\d]|\s?[%°€])?)"
)
_SIGN = re.compile(
    r"(?<=\d)\s?(?P<more>½)|(?<=[\w)])(?P<power>[²³])|(?<![\d:.,])(?P<ratio>\d{1,3}:\d{1,3})(?![\d:])"
    r"|(?P<sign>[±≈×÷≤≥½‰√]|(?<!\S)&(?!\S)|(?<!\S)[<>](?=\s?\d)|(?<=\s)=(?=\s)|(?<=\d)=(?=\d)"
    r"|(?<!\w)[~#§](?=\s?\d))"
)
_HALF = re.compile(r"(?<![\d/.,])1/2(?=\s+[^\W\d_]|\W*$)")
_SLASHED = re.compile(r"\b(24|50)/(7|50)\b")
_THOUSANDS = re.compile(rf"(?<![\d.,])(?<!\d )[1-9]\d{{,2}}(?:{_GAP}\d{{3}})+(?![\d.,]*\d| \d)")
_POINT = re.compile(r"(?<![\d.,:])(\d+)\.(?=\d{1,2}(?![\d.,:]))")
_COMMA = re.compile(r"(?<![\d,])(\d+),(\d+)(?!,?\d)")
_DATE = re.compile(
    r"(?<![\d./-])(?:(?P<day>[0-3]?\d)(?P<sep>[./-])(?P<month>[01]?\d)(?P=sep)(?P<year>[12]\d{3})"
    r"|(?P<Y>[12]\d{3})-(?P<M>[01]\d)-(?P<D>[0-3]\d))(?![\d/-])"
)
_PHONE = re.compile(
    r"(?:(?<![\w.,:/–-])(?<!\d[ \u00a0\u202f])(?:"
    r"(?:\+[1-9]\d{0,2}|\(?0\d{1,5}\)?)(?:[ /-]{1,3}\(?\d{2,}\)?)+|0\d{5,}"
    r"|\d{2,3}(?: \d{3})* \d\d(?: \d{2,3})+|(?:\(\d\d\) ?)?\d{5}-\d{4})"
    r"|(?i:\b(?:tel|n[uú]m|тел|номер)\w*)[.:]?\s\d{2,4}(?:[ /-]\d{2,})+)(?![\w:/]|[ .,]?\d)"
)
_CODE = re.compile(
    r"(?i:\b(?:(?:pin-?)?(?:c[oó]d(?:e|igo|ice)|k[oó]de?|koodi|код)\w{0,2}|pin|tan)"
    r"(?:(?:\s\w+)?\s(?:ist|lautet|est|es|è|é|is|är|er|to|jest|je|on))?:?\s)\d{4,8}(?!\w|[.,]?\d)"
)
_HUNDREDS = re.compile(
    r"(?<![\w.,:/+-])(?<!\d )(1[1-9])(\d\d)(?=er[ns]?\b|-?tal|(?![\w/:]|[ -]\d|[.,]\d))"
)
_SCALE = (
    r"\s(?:[BbMm]ill?[hijoõ]\w*|[Mm]illiard\w*|miljard\w*|mil|mille|mila|mln|mld|tys|Tausend|tusen"
    r"|duizend|тыс|млн|млрд)\b\.?"
)
_INITIAL = re.compile(r"\b([^\W\d_])\.(?=-?\s*([^\W\d_]))")
_NUMERAL = re.compile(r"\s[IVX]+(?!\w)")
_NAME = re.compile(r"(?:^|\W)([^\W\d_])(?:\w{2,}|\.) $")
_LOCALES = {"no": "nb", "sr": "sr_Latn"}


@dataclass(frozen=True, slots=True)
class _Patterns:
    """A language's table as regular expressions.

    Attributes:
        short: Any of its abbreviations, or the beginning of one with several stops.
        found: The attributes of `Language` and the words of each, by how it is written, without
            white space.
        begun: Letters that go on with a beginning.
        counted: What is counted, with its number before or after it.
        locale: Of the CLDR; None if it does not know the language.
    """

    short: re.Pattern[str] | None
    found: dict[str, dict[str, str]]
    begun: dict[str, str]
    counted: re.Pattern[str] | None
    locale: Locale | None


def knows_abbreviations(language: str) -> bool:
    """Whether the abbreviations of a language are listed."""
    table = LANGUAGES.get(code_of(language))
    return table is not None and bool(table.leads)


@functools.cache
def starters(language: str) -> frozenset[str]:
    """The listed words that begin a sentence in a language."""
    return frozenset(LANGUAGES[code_of(language)].starters.split())


def _written(key: str) -> tuple[str, str]:
    """A key of a table as regular expressions: what stands before it, and itself."""
    plain = key.lstrip("#-").removesuffix("?")
    body = re.escape(plain).replace(r"\ ", _GAP + "+")
    body = re.sub(r"\\\.(?=[^\W\d_])", rf"\\.{_GAP}?", body)
    if plain[0].islower():
        body = f"[{plain[0]}{plain[0].upper()}]" + body[1:]
    if key.endswith("?"):
        body = rf"(?:{body}|{body[:-2]}(?![\w.]))"
    elif plain[-1] == ".":
        body += r"(?![^\W\d_])"  # not of "max.meier@web.de"
    elif plain[-1].isalpha() and plain[-1] not in "ºª":
        body += r"(?!\w)"
    number = rf"(?:(?<=\d)|(?<=\d{_GAP}))"
    return {"-": r"(?<=\w)", "#": number}.get(key[0], r"(?<![\w.–-])"), body


@functools.cache
def _patterns(code: str) -> _Patterns:
    """The patterns of a listed language, compiled at its first clause."""
    from babel import Locale, UnknownLocaleError  # 20 ms and 5 MB that English does not need

    table = LANGUAGES[code]
    found: dict[str, dict[str, str]] = {}
    begun: dict[str, str] = {}
    written: dict[str, dict[str, int]] = {}  # by what stands before them: bodies and lengths
    for kind in ("number", "leads", "ends", "open"):
        for key, said in getattr(table, kind).items():
            before, body = _written(key)
            written.setdefault(before, {})[body] = len(key)
            plain = key.strip("-?").replace(" ", "")
            for form in {plain, plain[0].upper() + plain[1:]}:
                for end in {form, form.removesuffix(".")} if key[-1] == "?" else {form}:
                    found.setdefault(end, {}).setdefault(kind, said)
                for stop in re.finditer(r"\.(?=[^\W\d_])", form):
                    begun[form[: stop.end()]] = begun.get(form[: stop.end()], "") + form[stop.end()]
    for start in begun.keys() - found.keys():
        before, body = _written(start)
        written.setdefault(before, {})[body] = len(start)
    grouped = (
        f"{before}(?:{'|'.join(sorted(bodies, key=lambda body: -bodies[body]))})"
        for before, bodies in written.items()
    )
    short = re.compile("|".join(grouped)) if written else None
    signs = sorted(table.counted, key=len, reverse=True)
    sign = "|".join(re.escape(sign) + r"(?!\w)" * sign[-1].isalpha() for sign in signs)
    counted = re.compile(
        rf"(?:(?<![\w.,])(?:(?P<coin>{sign})\s?(?P<amount>{_NUMBER}(?:\s?[–-]\s?{_NUMBER})?)"
        rf"(?:,[-–—]{{1,2}}|(?P<scale>{_SCALE}))?"
        rf"|(?P<number>{_NUMBER})(?:,[-–—]{{1,2}})?(?P<many>{_SCALE})?\s?(?P<sign>{sign}))"
        r"|(?<=[^\W\d_][ '’])(?P<alone>[€$£¥₽₴₺])(?!\s?\d))"
        r"(?:/(?P<each>[^\W\d_]+[²³]?))?(?:\.(?=\s+\w))?"
    )
    try:
        locale = Locale.parse(_LOCALES.get(code, code))
    except (UnknownLocaleError, ValueError):
        locale = None
    return _Patterns(short, found, begun, counted if signs else None, locale)


def abbreviation(text: str, following: str, language: str) -> FullStop | None:
    r"""What the full stop that ends `text` tells, if it is one of an abbreviation.

    Args:
        text: Up to the stop, with enough before it for an abbreviation of several words.
        following: The next visible character; "\n" at the end of a line; "" if it is not known.
        language: One whose abbreviations are listed.
    """
    code = code_of(language)
    table, patterns = LANGUAGES[code], _patterns(code)
    if _UNIT_STOP.search(text, max(0, len(text) - 8)):
        return FullStop.OPEN if table.open else FullStop.ENDS
    for match in patterns.short.finditer(text, max(0, len(text) - 30)) if patterns.short else ():
        if match.end() == len(text):
            form = _form(patterns, match)
            begun = patterns.begun.get(form, "")
            if (begun and (following in begun or not following)) or _is_initial(match, following):
                return FullStop.LEADS
            kinds = patterns.found.get(form, {})
            if kinds.keys() == {"number"} and following in ("I", "V", "X"):
                return FullStop.OPEN  # "cap. IV", "cap. Il"
            kind = _kind(kinds, form, following)
            if kind is None:
                return None
            return {"ends": FullStop.ENDS, "open": FullStop.OPEN}.get(kind, FullStop.LEADS)
    number, _, sign = text[:-1].rpartition(" ")
    counted = sign.isalpha() and sign in table.counted and number[-1:].isdigit()
    return FullStop.ENDS if counted else None


def _form(patterns: _Patterns, match: re.Match[str]) -> str:
    """An abbreviation as it is found in `patterns`: "#" tells of a number before it."""
    form = re.sub(_GAP, "", match[0])
    counted = match.string[max(0, match.start() - 2) : match.start()].rstrip()[-1:].isdigit()
    return "#" + form if counted and "#" + form in patterns.found else form


def _kind(kinds: dict[str, str], form: str, following: str) -> str | None:
    """Which of its kinds an abbreviation is, before `following`."""
    small = following.islower() and len(form) > 2 and len(kinds) == 1
    paused = form[-1] == "." and following in (",", ";")
    if "number" in kinds and (following.isdigit() or small or paused or not following):
        return "number"
    return next((kind for kind in ("leads", "ends", "open") if kind in kinds), None)


def _is_initial(match: re.Match[str], following: str) -> bool:
    """Whether a "S." or "D." is rather an initial, between two names: "Johann S. Bach"."""
    if match[0] not in ("S.", "D.") or not following.isupper():
        return False
    before = _NAME.search(match.string, max(0, match.start() - 30), match.start())
    return before is not None and before[1].isupper()


def in_words(text: str, language: str, *, line_start: bool = True) -> str:
    """A clause with its abbreviations, signs and special numbers as they are read aloud.

    Args:
        text: No sentence ends within it: of its abbreviations only the last keeps its full stop.
        language: Of the voice, as "de" or "pt-br". One that is not listed leaves the text alone.
        line_start: Whether `text` begins a line, so that a leading "1." is a list's.
    """
    code = code_of(language)
    table = LANGUAGES.get(code)
    if table is None:
        return text
    patterns = _patterns(code)
    text = _CODE.sub(lambda code: _by_digits(code[0]), text)
    if patterns.locale:
        text = _DATE.sub(functools.partial(_date, locale=patterns.locale), text)
    text = _PHONE.sub(_phone, text)
    text = _THOUSANDS.sub(lambda number: re.sub(_GAP, "", number[0]), text)
    if table.clock:
        text = _times(text, table.clock)
    if patterns.short:
        text = patterns.short.sub(functools.partial(_abbreviated, patterns), text)
        text = _INITIAL.sub(_initial, text)
    if table.ordinals:
        text = table.ordinals(text, line_start)
    if table.signs:
        text = _SLASHED.sub(r"\1 \2", _HALF.sub("½", text))
    if table.mute_point:
        text = _POINT.sub(r"\1,", text)
    text = _RANGE.sub(functools.partial(_range, to=table.to), text)
    if patterns.counted:
        text = patterns.counted.sub(functools.partial(_counted, table, patterns.locale), text)
    if patterns.locale:
        text = _UNIT.sub(functools.partial(_unit, table, patterns.locale), text)
        text = _BARE_UNIT.sub(functools.partial(_each, table.per, patterns.locale), text)
    if table.signs:
        text = _SIGN.sub(functools.partial(_sign, table), text)
    text = _MINUS.sub(f" {table.minus} ", text)
    if table.hundred:
        text = _HUNDREDS.sub(functools.partial(_hundreds, table.hundred), text)
    if table.stressed:
        text = unstressed(text, table.stressed.split())
    return _COMMA.sub(rf"\1{table.comma}\2", text) if table.comma else text


def _abbreviated(patterns: _Patterns, match: re.Match[str]) -> str:
    """An abbreviation's words, with a full stop only where that ends the clause."""
    after = match.string[match.end() :]
    form = _form(patterns, match)
    following = "4" if _NUMERAL.match(after) else after.lstrip()[:1] or "\n"
    kind = _kind(patterns.found.get(form, {}), form, following)
    unit = _UNIT_STOP.search(match.string, max(0, match.start() - 2), match.end())
    if kind is None or unit or _is_initial(match, following):
        return match[0]
    said = patterns.found[form][kind]
    if form.endswith(".") and not re.search(r"[\w,;:.!?…]", after):
        return said + "."
    return said + " " * after[:1].isalnum()


def _initial(match: re.Match[str]) -> str:
    """A capital before another without its full stop, which espeak-ng takes for an end."""
    return match[1] if match[1].isupper() and match[2].isupper() else match[0]


def _value(number: str) -> Decimal:
    """A number as written with a decimal comma, or with a point that groups no thousands."""
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?", number):
        number = number.replace(".", "")
    whole, *rest = re.split(r"\s?[.,]", number)
    return Decimal(whole + "." + "".join(rest) if rest else whole)


def _with_number(number: str, words: str, table: Language) -> str:
    """A number before what it counts: "1 Euro" as "ein Euro"."""
    feminine = re.match(r"\w+(?:a|e|on|rä)\b", words) is not None
    return f"{(number == '1' and table.one[feminine]) or number} {words}"


def _plural(forms: str, number: str, locale: Locale | None) -> str:
    """The form of a counted word that goes with a number: of "złoty złote złotych"."""
    each = forms.split()
    rule = locale.plural_form(_value(number)) if locale and len(each) > 1 else "other"
    order = ("one", "few", "many") if len(each) > 2 else ("one",)
    return each[order.index(rule)] if rule in order else each[-1]


def _counted(table: Language, locale: Locale | None, match: re.Match[str]) -> str:
    """€ 20 as "20 euros", 19,95 € as "19 euros 95", 3 millions €/mois as "3 … d'euros par mois"."""
    said = _amount(table, locale, match)
    return f"{said} {table.per} {match['each']}" if match["each"] else said


def _amount(table: Language, locale: Locale | None, match: re.Match[str]) -> str:
    """What is counted, with its number."""
    if match["alone"]:
        return table.counted.get(match["alone"], match["alone"]).split()[-1]
    number, sign = match["amount"] or match["number"], match["coin"] or match["sign"]
    scale = (match["scale"] or match["many"] or "").strip(" .")
    forms = table.counted[sign]
    if scale:
        many = _plural(table.counted.get(scale, scale), number, locale)
        word = forms.split()[:3][-1]
        of = table.of[word[0] in "aeiou"] if scale[1:3] == "il" and len(scale) > 5 else " "
        return f"{number} {many}{of}{word}"
    price = re.fullmatch(r"(.*\d)[.,](\d\d)", number)
    if price and price[1] == "0" and table.cent:
        return f"{int(price[2])} {table.cent}"
    if price and len(sign) < 4:
        said = _with_number(price[1], _plural(forms, price[1], locale), table)
        return f"{said}{table.cents}{int(price[2])}" if int(price[2]) else said
    last = re.split(r"\s?[–-]\s?", number)[-1]
    return _with_number(number, _plural(forms, last, locale), table)


def _range(match: re.Match[str], to: str) -> str:
    """10–20 as "10 to 20"; with a hyphen only if the numbers rise, so that codes stay."""
    first, second = match["first"], match["second"]
    whole = re.split(r"[.,]", first)[0] or "0"
    alike = len(second) - len(whole) <= 1 and (len(second) < 4 or len(whole) == 4)
    rises = alike and int(whole) < int(second)
    if "–" in match["dash"] or (rises and (match["dash"] == "-" or match["counts"])):
        return f"{first}{match['unit'] or ''}" + (f" {to} " if to else ", ")
    return match[0]


def _unit(table: Language, locale: Locale, match: re.Match[str]) -> str:
    """5 km/h as "5 kilometres per hour"."""
    number, per = match["number"], match["per"]
    one = number == "½" and "few" not in locale.plural_form.tags
    value = Decimal(1) if one else _value(number.replace("½", ".5"))
    words = _unit_words(value, _UNITS[match["unit"]], per and _PER[per], locale)
    return _with_number(number, words, table) if words else match[0]


def _each(per: str, locale: Locale, match: re.Match[str]) -> str:
    """A unit that stands alone after "per"."""
    if not per or not match.string.endswith(f" {per} ", 0, match.start()):
        return match[0]
    return _unit_words(Decimal(1), _UNITS[match[0]], None, locale) or match[0]


def _unit_words(value: Decimal, unit: str, per: str | None, locale: Locale) -> str:
    """A unit's name in the form that goes with a value; "" if the CLDR has none."""
    from babel.units import format_compound_unit, format_unit

    said = (
        format_compound_unit(value, unit, denominator_unit=per, length="long", locale=locale)
        if per
        else format_unit(value, unit, "long", locale=locale)
    )
    return re.sub(r"[\d.,\s]*\d\s?", "", said or "", count=1)


def _by_digits(text: str) -> str:
    """Numbers of more than three digits one by one."""
    return re.sub(r"\d{4,}", lambda number: " ".join(number[0]), text)


def _phone(match: re.Match[str]) -> str:
    """A telephone number, its groups apart and long ones by digits; not a month and its year."""
    if sum(map(str.isdigit, match[0])) < 8:
        return match[0]
    return _by_digits(re.sub(r"(?<=\d)[ -](?=\d)", ", ", match[0]))


def _hundreds(hundred: str, match: re.Match[str]) -> str:
    """1945 as "19 hundred 45", 1805 as "18 hundred 5"."""
    rest = int(match[2])
    return match[1] + (f"{hundred}{rest}" if rest else f" {hundred.split()[0]}")


def _sign(table: Language, match: re.Match[str]) -> str:
    """A sign's word, if it has one."""
    signs = table.signs
    if ratio := match["ratio"]:
        return ratio.replace(":", f" {signs[':']} ") if ":" in signs else ratio
    word = signs.get("+½" if match["more"] else match[0])
    if match[0] == "½" and table.half[0]:
        noun = re.match(r"\s*(\w+)", match.string[match.end() :])
        word = table.half[0] if noun and noun[1].endswith(table.half[1]) else word
    return f" {word} " if word else match[0]


def _date(match: re.Match[str], locale: Locale) -> str:
    """03.05.2024 or 2024-05-03 with the month in words."""
    from babel.dates import format_date

    day, month, year = (
        int(match[a] or match[b]) for a, b in zip(("day", "month", "year"), "DMY", strict=True)
    )
    try:
        return format_date(datetime.date(year, month, day), "long", locale=locale)
    except ValueError:
        return match[0]


def _times(text: str, clock: TimeOfDay) -> str:
    """14.30, 14h30 and 14:30 as they are said, also from one to another."""
    hour, minute = r"(?<![\d:.,])([01]?\d|2[0-4])", r"([0-5]\d)(?![\d:%]|[.,]\d)"
    text = re.sub(rf"{hour}\.{minute}(?=\s?[-–]\s?\d\d?\.[0-5]\d(?!\d|[.,]\d))", _with_colon, text)
    if clock.letter:
        whole = r"|(?!\w)" if clock.hour[0] else ""
        text = re.sub(rf"{hour}\s?{clock.letter}(?:\s?{minute}{whole})", _with_colon, text)
    if clock.after:
        end = rf"(?=(?:\s?(?:[-–]|{clock.to})\s?\d\d?[.:]\d\d)?\s?(?:{clock.after})(?!\w))"
        text = re.sub(rf"{hour}\.{minute}{end}", _with_colon, text)
    if clock.before:
        before = rf"(?<!\w)(?P<before>(?:{clock.before})\s?)"
        text = re.sub(rf"{before}{hour}\.{minute}", r"\g<before>\2:\3", text)
    after = rf"\s?(?:{clock.after})(?!\w)(?:\.(?=\s+\w))?" if clock.after else "(?!)"
    times = rf"{hour}:{minute}(?:\s?[-–]\s?([01]?\d|2[0-4])[:.]{minute})?({after})?"
    return re.sub(times, functools.partial(_time, clock), text)


def _with_colon(match: re.Match[str]) -> str:
    return f"{match[1]}:{match[2] or '00'}"


def _time(clock: TimeOfDay, match: re.Match[str]) -> str:
    """A time, or two of a range; "9 bis 17 Uhr" names the hours once."""
    bare = bool(match[5])
    if not match[3]:
        return _at(clock, match[1], match[2], bare=bare)
    first = _at(clock, match[1], match[2], named=not clock.after)
    return f"{first} {clock.to} {_at(clock, match[3], match[4], bare=bare)}"


def _at(
    clock: TimeOfDay, hour: str, minutes: str, *, bare: bool = False, named: bool = True
) -> str:
    """One time of the day.

    Args:
        clock: Of the language.
        hour: In digits.
        minutes: In digits.
        bare: Whether whole hours are named that otherwise are not.
        named: Whether whole hours are named that otherwise are.
    """
    said = minutes_said(minutes, clock.joint)
    word = clock.hour[int(hour) > 1] if said or named else ""
    return hour + (word or clock.bare_hours * (bare and not said)) + said
