"""Dates, years and times of day; and ratios, which look like times."""

from __future__ import annotations

import re

from pipeline.text.english.rules import DASH, Rules, words

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_MONTH_NAMES = "|".join((*_MONTHS, *(month[:3] for month in _MONTHS)))
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)}|(?:{'|'.join(m[:3] for m in _MONTHS)}|Sept)(?=\s\d))"
_DAYS = "(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TENS = (
    "", "tens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties",
    "nineties",
)  # fmt: skip
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
ORDINALS = (
    "zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth",
    "seventeenth", "eighteenth", "nineteenth", "twentieth",
)  # fmt: skip


def ordinal(number: int) -> str:
    """3 as "3rd"."""
    ending = "th" if number % 100 in (11, 12, 13) else _ENDINGS.get(number % 10, "th")
    return f"{number}{ending}"


def _year_said(year: str) -> str:
    """1908 as "19 oh 8", 2026 as "20 26", 2008 as it is."""
    century, rest = year[:2], year[2:]
    if rest == "00":
        return year if century.endswith("0") else f"{century} hundred"
    if rest[0] == "0":
        return year if century.endswith("0") else f"{century} oh {rest[1]}"
    return f"{century} {rest}"


def _date_said(year: str, month: int, day: int) -> str:
    if len(year) == 2:
        year = ("20" if int(year) < 70 else "19") + year
    return f"{_MONTHS[month - 1]} {ordinal(day)}, {_year_said(year)}"


def _date(match: re.Match[str]) -> str:
    """2026-11-28 as "November 28th, 20 26"; 3/4/25 is the fourth of March, if it can be."""
    a, b, year = match["a"], match["b"], match["year"]
    if match["iso"]:
        month, day = int(match["m"]), int(match["d"])
        year = match["iso"]
    else:
        month, day = (int(b), int(a)) if match["sep"] == "." or int(a) > 12 else (int(a), int(b))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match.group()
    return _date_said(year, month, day)


def _day(match: re.Match[str]) -> str:
    """May 5–7 as "May 5th to 7th"."""
    to = f" to {ordinal(int(match['to']))}" if match["to"] else ""
    return f"{_month(match['month'])} {ordinal(int(match['day']))}{to}"


def _day_first(match: re.Match[str]) -> str:
    """3 November as "November 3rd"."""
    return f"{_month(match['month'])} {ordinal(int(match['day']))}"


def _days(match: re.Match[str]) -> str:
    """Mon–Fri as "Monday to Friday"."""
    return " to ".join(n for day in match.groups() for n in _DAY_NAMES if n[:3] == day[:3])


def _day_name(match: re.Match[str]) -> str:
    """Tue as "Tuesday"."""
    return next(name for name in _DAY_NAMES if name[:3] == match[0][:3])


def _month(name: str) -> str:
    """The full name of a month."""
    return next(full for full in _MONTHS if full.startswith(name[:3]))


def _months(match: re.Match[str]) -> str:
    """Jan–Feb as "January to February"."""
    return " to ".join(map(_month, match.groups()))


def _year_and_more(match: re.Match[str]) -> str:
    """2024-25 as "20 24 to 25", 2026-11 as "November 20 26"."""
    year, following = match["year"], int(match["next"])
    if following == (int(year) + 1) % 100:
        return f"{_year_said(year)} to {following}"
    if 1 <= following <= 12:
        return f"{_MONTHS[following - 1]} {_year_said(year)}"
    return match.group()


_NO_NOUN = words(
    "was is has as its this plus versus thus perhaps does across towards always us yes various"
    " sometimes besides afterwards process access yours ours theirs whereas unless previous"
)


def _year(match: re.Match[str]) -> str:
    """A number that may be a year, as one; before a plural it counts."""
    year, noun = match["year"], match["noun"] or ""
    counts = (noun.endswith("s") and noun not in _NO_NOUN) or noun in (
        "people", "men", "women", "children",
    )  # fmt: skip
    if counts:
        return f"{year[0]},{year[1:]}"
    if year.endswith("00") and not year.startswith("20"):
        return year if match.string[: match.start()].isspace() else _year_said(year)
    return _year_said(year)


def _decade(match: re.Match[str]) -> str:
    """1990s as "19 nineties", 1900s as "19 hundreds", 2000s as "2 thousands"."""
    if short := match["short"] or match["age"]:
        return _TENS[int(short)]
    century, ten = match["century"], int(match["ten"])
    if ten:
        return f"{century} {_TENS[ten]}"
    return f"{century[0]} thousands" if century[1] == "0" else f"{century} hundreds"


def _clock(hour: str, minute: str, *, half: bool, bare: bool = False) -> str:
    """A time of day.

    Args:
        hour: As written.
        minute: As written.
        half: Whether a.m. or p.m. follows.
        bare: Whether a full hour needs no "o'clock".
    """
    h, m = int(hour), int(minute)
    if m:
        return f"{h} oh {m}" if m < 10 else f"{h}:{m}"
    if half or (bare and 0 < h <= 12):
        return str(h)
    if h in (0, 24):
        return "midnight"
    return f"{h} o'clock" if h <= 12 else f"{h} hundred"


_HALF = r"\s?[aApP]\.?[mM]\b"
_TIME = re.compile(
    rf"(?<![\d:.,/+−-])(?P<h>[01]?\d|2[0-4]):(?P<m>[0-5]\d)(?P<half>{_HALF}\.?)?"
    rf"(?:\s?{DASH}\s?(?P<h2>[01]?\d|2[0-4]):(?P<m2>[0-5]\d)(?=(?P<half2>{_HALF})?))?(?![\d:])"
)
_RATIO_WORD = re.compile(r"\b(?:ratio|odds|scale|proportions?|mix(?:ed|ture)?|diluted?)\b", re.I)
_VERSES = re.compile(
    r"(?:Genesis|Exodus|Psalms?|Proverbs|Isaiah|Matthew|Mark|Luke|John|Acts|Romans|Corinthians"
    r"|Hebrews|James|Peter|Revelation|Surah|Quran|[Vv]erses?) $"
)
_RATIO = re.compile(
    r"(?<![\w:.-])(?P<first>\d+(?:\.\d+)?)(?:\s:\s|:)(?P<second>\d+(?:\.\d+)?)(?![\w:]|\.\d)"
)


def _is_ratio(match: re.Match[str]) -> bool:
    """Whether the words around speak of a ratio."""
    around = match.string[max(0, match.start() - 40) : match.end() + 12]
    return _RATIO_WORD.search(around) is not None


def _ratio(match: re.Match[str]) -> str:
    """3:1 as "3 to 1"; 10:30 is left, unless a ratio is spoken of."""
    if _TIME.fullmatch(match.group()) and not _is_ratio(match):
        return match.group()
    lap = re.fullmatch(r"[0-5]\d\.\d+", match["second"])
    joint = " " if lap or _VERSES.search(match.string[: match.start()]) else " to "
    return match["first"] + joint + match["second"]


def _time(match: re.Match[str]) -> str:
    """9:00-17:00 as "9 o'clock to 17 hundred"; a ratio is none."""
    if _is_ratio(match):
        return match.group()
    half = match["half"] or ""
    first = _clock(match["h"], match["m"], half=bool(half), bare=bool(match["half2"]))
    if not match["h2"]:
        return first + half
    second = _clock(match["h2"], match["m2"], half=bool(match["half2"]))
    return f"{first}{half} to {second}"


DATES: Rules = (
    (
        re.compile(
            r"(?<![\w.,/-])(?:(?P<iso>\d{4})(?P<stroke>[-/])(?P<m>\d\d)(?P=stroke)(?P<d>\d\d)"
            r"|(?P<a>\d{1,2})(?P<sep>[./])(?P<b>\d{1,2})(?P=sep)"
            r"(?P<year>\d{4}|(?<=/)\d\d))(?![\w/-]|[.,]\d)"
        ),
        _date,
    ),
    (
        re.compile(
            rf"\b{_MONTH}\s(?P<day>[12]?\d|3[01])(?:st|nd|rd|th)?"
            r"(?:\s?[-–]\s?(?P<to>[12]?\d|3[01])(?:st|nd|rd|th)?)?(?![\w:%]|[.,]\d|-\d|\speople)"
        ),
        _day,
    ),
    (
        re.compile(
            r"(?<![\w.,/-])(?P<day>[12]?\d|3[01])\s(?P<month>"
            + "|".join((*_MONTHS, *(f"{month[:3]}(?!\\w)" for month in _MONTHS)))
            + r")\b\.?(?=\W|$)"
        ),
        _day_first,
    ),
    (
        re.compile(
            rf"(?<=\d(?:st|nd|rd|th)) ?[-–] ?(?=(?:{'|'.join(_MONTHS)}) \d|\d+(?:st|nd|rd|th)\b)"
        ),
        " to ",
    ),
    (
        re.compile(r"(?<![\w./-])((?:19|20)\d\d)/(\d\d|\d{4})(?![\w/-])"),
        lambda match: f"{_year_said(match[1])} {match[2]}",
    ),
    (
        re.compile(
            r"(?:(?<=\b[Oo]n )|(?<=[nsr]day )|(?<=[nsr]day, )|(?<=Friday )|(?<=Friday, ))(?!9/11)"
            r"(?P<m>1[0-2]|0?[1-9])/(?P<d>[12]\d|3[01]|0?[1-9])(?![\w/]|[.,]\d)(?!\s(?:an?|the|of|acres?|cups?|scale)\b)"
        ),
        lambda match: f"{_MONTHS[int(match['m']) - 1]} {ordinal(int(match['d']))}",
    ),
    (re.compile(r"(\d+\s?h(?:rs?)?\s?)(\d+)\s?m\b"), r"\1\2 min"),
    (re.compile(r"\b(\d+)h([0-5]\d)\b"), r"\1 h \2 min"),
    (re.compile(r"\b(\d+):00(?=\sminutes?\b)"), r"\1"),
    (_TIME, _time),
    (re.compile(r"(?<=\d)(\s?[ap]\.?m\.?)\s?[-–]\s?(?=\d)", re.IGNORECASE), r"\1 to "),
    (_RATIO, _ratio),
    (
        re.compile(
            r"\b(?P<century>[12]\d)(?P<ten>\d)0['’]?s\b|(?<!\w)['’](?P<short>[1-9])0s\b"
            r"|(?<=\b(?:his|her|the|our|mid|low) )(?P<age>[2-9])0s\b"
        ),
        _decade,
    ),
    (
        re.compile(r"(?<![\w.,/-])(?P<year>(?:19|20)\d\d)-(?P<next>\d\d)(?![\w/-]|[.,]\d)"),
        _year_and_more,
    ),
    (
        re.compile(r"(?<![\w.,/-])(?P<next>0[1-9]|1[0-2])/(?P<year>20\d\d)(?![\w/-]|[.,]\d)"),
        _year_and_more,
    ),
    (re.compile(r"(?<=ties)[-–](?=\d\d \w+ties)"), " to "),
)


YEARS: Rules = (
    (
        re.compile(
            r"(?<![\w.,:/$€£¥#=^+−-])(?<!= )(?<!equals )(?<!minus )(?<!\d by )"
            r"(?P<year>1[1-9]\d\d|20[1-4]\d|2000"
            r"|(?<=\b(?i:in|by|of) )(?:10|20)\d\d|(?<=\b(?i:year|from) )(?:10|20)\d\d"
            r"|(?<=\b(?i:since|until|after) )(?:10|20)\d\d)"
            r"(?![\w%°/:^²³-]|[.,]\d|\s(?:million|billion|thousand|to the power|by \d+)\b)"
            r"(?=(?:\s(?P<noun>[a-z]+)\b)?)"
        ),
        _year,
    ),
)
"""For what is left when all other numbers have been read."""


_DAY = re.compile(rf"{_DAYS}\b\.?")
_DAY_LIST = re.compile(
    rf"\b{_DAYS}\b\.?(?:(?:\s?[,&/]\s?|\s)(?:(?:and|or|&)\s)?{_DAYS}\b\.?)+"
    rf"|\b{_DAYS}(?=:\s)|\b{_DAYS}\b\.?(?=,?\s(?:(?:{_MONTH_NAMES})\.?\s\d"
    rf"|\d{{1,2}}(?:[:/–-]\d|\s?[ap]\.?m|\s(?:{_MONTH_NAMES}))))"
    rf"|(?:^|\|)\s*{_DAYS}(?=\s*\|)|\|\s*{_DAYS}(?=\s*$)"
    rf"|(?<=\b[Oo]n\s){_DAYS}\b\.?(?=[,.;!?]|\s[a-z]|$)"
)


DAYS: Rules = (
    (_DAY_LIST, lambda match: _DAY.sub(_day_name, match[0])),
    (re.compile(rf"\b({_DAYS})\.?\s?[-–]\s?({_DAYS})\b"), _days),
    (re.compile(rf"\b({_MONTH_NAMES})\.?\s?[-–]\s?({_MONTH_NAMES})\b"), _months),
)
"""Days and months without a number."""
