"""English as it is read aloud: signs, numbers with a form, and abbreviations in words.

Plain numbers are left to the phonemiser (espeak-ng, in Piper). What has a form of its own is put
into words: money, dates, times, phone numbers, codes, ranges, scores, fractions, units, Roman
numerals, comparisons. The rules go from the most special form to the least; none looks beyond the
clause.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pipeline.text.formulas import PARTS, SYMBOLS, parts


def words(text: str) -> frozenset[str]:
    """A set of words, for tables."""
    return frozenset(text.split())


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

_Say = Callable[[re.Match[str]], str] | str
_N = r"\d+(?:,\d{3})*(?:\.\d+)?"
_DASH = r"[-–−—]"

# --- abbreviations -------------------------------------------------------------------------------

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


# --- dates, years and times ----------------------------------------------------------------------

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
_ORDINALS = (
    "zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth",
    "seventeenth", "eighteenth", "nineteenth", "twentieth",
)  # fmt: skip


def _ordinal(number: int) -> str:
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
    return f"{_MONTHS[month - 1]} {_ordinal(day)}, {_year_said(year)}"


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
    to = f" to {_ordinal(int(match['to']))}" if match["to"] else ""
    return f"{_month(match['month'])} {_ordinal(int(match['day']))}{to}"


def _day_first(match: re.Match[str]) -> str:
    """3 November as "November 3rd"."""
    return f"{_month(match['month'])} {_ordinal(int(match['day']))}"


def _days(match: re.Match[str]) -> str:
    """Mon–Fri as "Monday to Friday"."""
    return " to ".join(n for day in match.groups() for n in _DAY_NAMES if n[:3] == day[:3])


def _month(name: str) -> str:
    """The full name of a month."""
    return next(full for full in _MONTHS if full.startswith(name[:3]))


def _months(match: re.Match[str]) -> str:
    """Jan–Feb as "January to February"."""
    return " to ".join(map(_month, match.groups()))


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
    rf"(?<![\d:.,/])(?P<h>[01]?\d|2[0-4]):(?P<m>[0-5]\d)(?P<half>{_HALF}\.?)?"
    rf"(?:\s?{_DASH}\s?(?P<h2>[01]?\d|2[0-4]):(?P<m2>[0-5]\d)(?=(?P<half2>{_HALF})?))?(?![\d:])"
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
    joint = " " if _VERSES.search(match.string[: match.start()]) else " to "
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


# --- digits one by one ---------------------------------------------------------------------------


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
      | \d{10,}
      | 00+[1-9]\d* | 0\d{3,}
      )(?![\w-]|[.,]\d)
    """,
    re.VERBOSE,
)
_CALLED = re.compile(
    r"\b(?P<verb>call(?:ing|ed)?|dial(?:ing|led|ed)?|phone|tel(?:ephone)?|fax|text|number"
    r"|reach (?:me|us) at)(?P<mid>(?:\s(?:is|me|us|at|on|him|her|them)|[:.])*\s)"
    r"(?P<number>911|112|999|988|411|311|211|\d{3}[- ]\d{4})(?![\d-]|[.,]\d)",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"\b(?P<what>(?:(?:zip|postal|pin|area|access|security|verification|error|status|promo|dial(?:ing)?"
    r"|country|entry|door|gate|discount|confirmation|tracking|order|account|serial|reference|booking"
    r"|ticket|model|case)\s)?(?:code|number)|zip|pin|postcode|passcode|password|otp|extension|ext\.?"
    r"|room|suite|apartment|apt\.?|flight|id|ending in|ends in)"
    r"(?P<mid>\s?:|\s(?:is|was|will be|would be|number|no\.?)|\s?[#=])?\s?"
    r"(?P<air>[A-Z]{2}\s?)?(?P<code>\d{2,}(?:[ -]\d{2,})*)(?![\w-]|[.,:/]\d|%)"
    r"(?!\s(?:lines|characters|words|files|bytes|pages|people|times|of)\b)",
    re.IGNORECASE,
)
_SMALL = words("room suite apartment apt apt. flight id code number ext ext. extension password")


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


# --- Roman numerals ------------------------------------------------------------------------------

_ROMAN = r"(?=[IVXLC]+\b)(?:C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_REIGN = (
    "Adrian|Albert|Alexander|Alfonso|Amenhotep|Benedict|Boniface|Carl|Carlos|Catherine|Celestine"
    "|Charles|Christian|Clement|Cleopatra|Constantine|Cyrus|Darius|Edward|Elizabeth|Emmanuel|Eugene"
    "|Felipe|Ferdinand|Francis|Franz|Frederick|Friedrich|George|Gregory|Gustav|Haakon|Hadrian|Harald"
    "|Henry|Innocent|Isabella|Ivan|James|John|Juan|Julius|Justinian|Karl|Leo|Leopold|Louis|Ludwig"
    "|Margrethe|Mary|Maximilian|Mehmed|Murad|Napoleon|Nicholas|Olaf|Otto|Paul|Pedro|Peter|Philip"
    "|Pius|Ptolemy|Rameses|Ramesses|Ramses|Richard|Robert|Rudolf|Selim|Sigismund|Sixtus|Stephen"
    "|Suleiman|Theodosius|Thutmose|Umberto|Urban|Victor|Wilhelm|William|Xerxes"
)
_RULER = r"(?:King|Queen|Pope|Emperor|Empress|Tsar|Czar|Kaiser|Prince|Sultan|Pharaoh)"
_COUNTED = (
    "World War|Chapter|Part|Volume|Vol|Book|Act|Scene|Section|Article|Title|Phase|Stage|Type|Class"
    "|Level|Grade|Category|Appendix|Episode|Season|Round|Figure|Table|Step|Unit|Mark|Super Bowl"
    "|Final Fantasy|Rocky|Rambo|Saturn|Apollo|Gemini|Civilization|Diablo|Olympiad|Division|Group"
    "|Vatican|Quarter|Theft Auto|WrestleMania|Halo|Schedule|Tier|Option|Lesson|Canto|Psalm|Verse"
)
_NUMERAL = re.compile(
    rf"\b(?:(?P<king>(?:{_RULER}\s(?:[A-Z][a-z]+\s)*[A-Z][a-z]+|{_REIGN}))\s(?P<nth>{_ROMAN})\b"
    rf"|(?P<counted>(?i:{_COUNTED}))\s(?P<number>{_ROMAN})\b"
    rf"|(?P<century>{_ROMAN})(?=(?:\sand\s{_ROMAN})?\s(?:[Cc]entur|Olympi))"
    r"|\b(?P<more>II|III|VI|VII|VIII|IX|XI{1,3})\b)"
)
_NAMED = re.compile(r"[a-z,] (?:[A-Z][\w']+\s)+$")
_REIGN_VERB = re.compile(
    r"\s*(?:$|[,.;:!?)]|['’]s|(?:of|was|is|and|had|ruled|reigned|died|became|in|on|to|or|ended|began"
    r"|broke|veterans?|era|memorial|diabetes|errors?|trials?)\b)"
)


def _roman(numeral: str) -> int:
    values = [_VALUES[char] for char in numeral]
    return sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )


def _numeral(match: re.Match[str]) -> str:
    """Henry VIII as "the 8th", Chapter IV as "4"; "I" may be who speaks."""
    if match["century"]:
        return _ordinal(_roman(match["century"]))
    if match["king"]:
        nth = match["nth"]
        rest = match.string[match.end() :]
        named = re.match(_RULER, match["king"])
        initial = len(nth) == 1 and (nth in "CL" or re.match(r"\.?\s+[A-Z]", rest))
        if initial or (nth == "I" and not (named or _REIGN_VERB.match(rest))):
            return match.group()
        number = _roman(nth)
        whose = rest[:1] in "'’" and rest[1:2] == "s" and number < len(_ORDINALS)
        return f"{match['king']} the {_ORDINALS[number] if whose else _ordinal(number)}"
    if match["counted"]:
        counted, rest = match["counted"], match.string[match.end() :]
        if match["number"] == "I" and not (counted[0].isupper() and _REIGN_VERB.match(rest)):
            return match.group()
        return f"{match['counted']} {_roman(match['number'])}"
    if _NAMED.search(match.string[: match.start()]):
        return str(_roman(match["more"]))
    return match.group()


# --- ranges, signs, scores -----------------------------------------------------------------------

_RANGE = re.compile(
    rf"(?<![\w.,/–-])(?<!Boeing )(?P<first>[-−]?{_N})(?P<unit>[%°]?)(?P<dash> ?[–—] ?| ?- ?|-)"
    rf"(?=(?P<sign>-)?[$€£]?(?P<second>{_N})(?![\w/-]|[.,]\d)(?P<is>\s?=)?)"
)
_RANGE_UNIT = re.compile(rf"(?<![\w.,/–-])({_N})-(?={_N}(?:[A-Za-z°%]|-[a-z]))")
_MINUS = re.compile(
    rf"(?P<before>^|[\s(\[{{=≈<>≤≥±×+*/:\"'“]|\bto |(?<=\s){_DASH}\s){_DASH}(?=[$€£¥]?\.?\d)"
)


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def _range(match: re.Match[str]) -> str:
    """10–20 as "10 to 20", 10-4 before "=" as "10 minus 4"; years and codes as they are."""
    first, dash, second, unit = match["first"], match["dash"], match["second"], match["unit"]
    if match["sign"]:
        return f"{first}{unit} to " if "–" in dash else match.group()
    rises = _value(first) < _value(second)
    if match["is"] or (" " in dash and not ("–" in dash and rises)):
        return f"{first}{unit} minus "
    if _value(first) == _value(second):
        return f"{first} "
    if "–" in dash or "—" in dash:
        return f"{first}{unit} to "
    if "," in first or "." in first or unit:
        return f"{first}{unit} to "
    if first[0] == "0" or (second[0] == "0" and len(second) > 1):
        return match.group()
    alike = len(second) - len(first) <= (2 if rises else 1) and (len(second) < 4 or len(first) > 2)
    near = len(first) < 5 if rises else len(first) - len(second) <= 1 and _value(first) < 200
    return f"{first} to " if alike and near else match.group()


# --- money ---------------------------------------------------------------------------------------

_COINS = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "", ""),
    "₩": ("won", "won", "", ""),
    "₽": ("ruble", "rubles", "", ""),
    "₺": ("lira", "lira", "", ""),
    "₿": ("bitcoin", "bitcoins", "", ""),
}
_LANDS = {
    "US": "US", "A": "Australian", "AU": "Australian", "C": "Canadian", "CA": "Canadian",
    "NZ": "New Zealand", "HK": "Hong Kong", "S": "Singapore",
}  # fmt: skip
_SIGNS = "".join(_COINS)
_ISO = {
    "USD": ("US dollar", "US dollars"), "EUR": ("euro", "euros"), "GBP": ("pound", "pounds"),
    "JPY": ("yen", "yen"), "CHF": ("Swiss franc", "Swiss francs"),
    "CAD": ("Canadian dollar", "Canadian dollars"),
    "AUD": ("Australian dollar", "Australian dollars"), "CNY": ("yuan", "yuan"),
    "INR": ("rupee", "rupees"),
}  # fmt: skip
_SCALES = {"k": "thousand", "m": "million", "b": "billion", "bn": "billion", "t": "trillion",
           "mn": "million"}  # fmt: skip
_MONEY = re.compile(
    rf"(?<![A-Za-z])(?P<minus>{_DASH})?(?P<land>{'|'.join(_LANDS)})?(?P<coin>[{_SIGNS}])\s?"
    rf"(?P<inner>{_DASH}(?=\d))?"
    r"(?P<whole>\d+(?:,\d{3})*)?(?:\.(?P<part>\d+)|,(?P<cents>\d\d)(?![\d,]))?"
    rf"(?:(?:k|m|bn)?(?:-|\s?[–—]\s?)(?P=coin)?(?P<to>{_N})(?![\d-]|\s?=))?"
    r"(?:(?:\s|(?P<joined>-))?(?P<scale>hundred|thousand|million|billion|trillion)\b"
    r"|\s?(?P<short>bn|mn|[kmbt])\b)?",
    re.IGNORECASE,
)
_MONEY_AFTER = re.compile(
    rf"(?<![\w.,])(?P<amount>\d+(?:,\d{{3}})*(?:\.\d(?!\d))?)(?:[.,](?P<part>\d\d))?\s?"
    rf"(?P<coin>[{_SIGNS}]|(?:{'|'.join(_ISO)})\b)"
    rf"|\b(?P<iso>{'|'.join(_ISO)})\s(?P<value>{_N})"
)
_BILL = re.compile(
    r"\s(?:bill|note|coin|prize|gift|fee|fine|ticket|tip|deposit|discount|budget|deal|value|coupon"
    r"|price|investment|loan|bonus|donation|book|item|menu|meal|lunch|option|plan|subscription)\b"
)


def _money(match: re.Match[str]) -> str:
    """$5.50 as "5 dollars 50", $0.99 as "99 cents", $2 million as "2 million dollars"."""
    whole, part, to = match["whole"] or "0", match["part"] or match["cents"] or "", match["to"]
    if not match["whole"] and not part:
        return match.group()
    one, many, cent, cents = _COINS[match["coin"]]
    land = _LANDS.get((match["land"] or "").upper(), "")
    scale = match["scale"] or _SCALES.get((match["short"] or "").lower(), "")
    minus = "minus " if match["minus"] or match["inner"] else ""
    after = ""
    if len(part) == 2 and cent and not scale and not to:
        if whole == "0" and int(part):
            return f"{minus}{int(part)} {cent if part == '01' else cents}"
        few = f"and {int(part)} {cent if part == '01' else cents}" if part[0] == "0" else part
        part, after = "", few if int(part) else ""
    bill = _BILL.match(match.string[match.end() :]) and match["joined"] is None
    before = match.string[: match.start()]
    article = re.search(r"\b(?:an?|the|this|each|one)\s$", before, re.IGNORECASE)
    single = whole == "1" and not part and not scale and not to
    unit = one if single or (bill and article and not after) or match["joined"] else many
    amount = f"{whole}.{part}" if part else whole
    if to:
        amount = f"{amount} to {to}"
    return minus + " ".join(filter(None, (amount, scale, land, unit, after)))


def _money_after(match: re.Match[str]) -> str:
    """5€ as "5 euros"."""
    coin, amount = match["coin"] or match["iso"], match["amount"] or match["value"]
    one, many = _ISO[coin] if coin in _ISO else _COINS[coin][:2]
    return f"{amount} {one if amount == '1' else many} {match['part'] or ''}".rstrip()


# --- units and fractions -------------------------------------------------------------------------

_UNIT_NAMES = """
km kilometer|m meter|dm decimeter|cm centimeter|mm millimeter|µm micrometer|μm micrometer
nm nanometer|mi mile|ft foot feet|yd yard|yds yard|nmi nautical mile|kg kilogram|g gram|mg milligram
µg microgram|μg microgram|mcg microgram|lb pound|lbs pound|oz ounce|l liter|L liter|dl deciliter
dL deciliter|cl centiliter|ml milliliter|mL milliliter|gal gallon|qt quart|pt pint|tsp teaspoon
tbsp tablespoon|h hour|hr hour|hrs hour|min minute|mins minute|sec second|secs second|s second
ms millisecond|µs microsecond|μs microsecond|ns nanosecond|Hz hertz hertz|kHz kilohertz kilohertz
MHz megahertz megahertz|GHz gigahertz gigahertz|THz terahertz terahertz|W watt|kW kilowatt
MW megawatt|GW gigawatt|mW milliwatt|Wh watt hour|kWh kilowatt hour|MWh megawatt hour
GWh gigawatt hour|TWh terawatt hour|mAh milliamp hour|Ah amp hour|mA milliamp|V volt|kV kilovolt
mV millivolt|J joule|kJ kilojoule|MJ megajoule|cal calorie|kcal kilocalorie|N newton|kN kilonewton
Nm newton meter|Pa pascal|hPa hectopascal|kPa kilopascal|MPa megapascal|psi p s i p s i
bar bar|dB decibel|Ω ohm|kΩ kilohm|MΩ megohm|lm lumen|lx lux lux|mol mole|ha hectare
B byte|kB kilobyte|KB kilobyte|MB megabyte|GB gigabyte|TB terabyte|PB petabyte|KiB kibibyte
MiB mebibyte|GiB gibibyte|TiB tebibyte|bit bit|kbit kilobit|Kbit kilobit|Mbit megabit|Gbit gigabit
Mb megabit|Gb gigabit|kb kilobit|px pixel|atm atmosphere|hp horsepower horsepower
mph mile per hour miles per hour|kph kilometer per hour
kmh kilometer per hour|mpg mile per gallon miles per gallon
fps frame per second frames per second|rpm rotation per minute rotations per minute
bpm beat per minute beats per minute|bps bit per second|kbps kilobit per second
Kbps kilobit per second|Mbps megabit per second|Gbps gigabit per second|kn knot|kt knot|kts knot
ppm part per million parts per million|dpi dot per inch dots per inch
"""


def _units() -> dict[str, tuple[str, str]]:
    found = {}
    for entry in _UNIT_NAMES.strip().replace("\n", "|").split("|"):
        symbol, name = entry.split(" ", 1)
        one, _, more = name.partition(" per ")
        names = name.split()
        if len(names) == 2 and symbol[-2:] in ("ft", "Hz", "lx", "hp"):
            one, many = names
        elif more and " per " in more:
            one, many = f"{one} per {more.split(' ')[0]}", " ".join(names[len(names) // 2 :])
        elif more:
            one, many = name, f"{one}s per {more}"
        elif symbol == "psi":
            one = many = "P S I"
        else:
            many = f"{name}s"
        found[symbol] = one, many
    return found


_UNITS = _units()
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_POWERS = {"²": "square", "^2": "square", "2": "square", "³": "cubic", "^3": "cubic", "3": "cubic"}
_PER_WORD = (
    "second|minute|hour|day|night|week|month|year|person|piece|item|user|mile|gallon|acre|pound"
    "|ounce|kilo|liter|page|word|token"
)
_FRACTION_N = rf"(?:\d+\s)?\d+/\d+|\d*\s?[½¼¾⅓⅔⅛⅜⅝⅞⅕⅖⅗⅘]|{_N}"
_MEASURE = re.compile(
    rf"(?<![\w.,/])(?P<n>{_FRACTION_N})(?P<gap>[\s\u00a0\u202f-]?)(?P<unit>{_UNIT})"
    rf"(?P<power>²|³|\^[23]|(?<=m)[23](?!\d))?(?:/(?P<per>{_UNIT}|{_PER_WORD})(?P<squared>²|³|\^[23])?)?"
    rf"\b(?![\w/^²³'’]|-\d)(?:\.(?=\s+[a-z(]))?"
)
_BARE_UNIT = re.compile(
    r"\b(?P<unit>km|m|MB|GB|Mbit|Gbit|kbit|kWh|mi)/(?P<per>h|s|min|kg)(?P<squared>²|\^2)?(?![\w/])"
    r"|\b(?P<whole>kWh|mph|Mbps|Gbps|kbps)\b"
)
_PER = re.compile(rf"(?<=[A-Za-z\d%])\s?/\s?(?:(?P<word>{_PER_WORD})|(?P<unit>kg|g|lb|h|hr|min|sqft"
                  rf"|kWh|GB|MB|km|m²|l|L))(?![\w/]|\.\w)")  # fmt: skip
_DEGREES = {"C": "Celsius", "F": "Fahrenheit"}
_TEMPERATURE = re.compile(
    rf"(?P<n>{_N})?\s?(?:°\s?(?P<scale>[CF])\b|(?P<sign>[℃℉])|°(?=\s?[NSEW]\b))"
)
_COMPASS = re.compile(r"(?<=degrees) ([NSEW])\b")
_COMPASS_NAMES = {"N": "north", "S": "south", "E": "east", "W": "west"}
_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5),
    "⅗": (3, 5), "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8),
    "⅞": (7, 8),
}  # fmt: skip
_FRACTION = re.compile(
    rf"(?<![\w/.,:])(?:(?P<whole>\d+)[\s-])?(?P<a>\d+)/(?P<b>\d+)(?![\w/]|[.,]\d)"
    rf"|(?:(?P<left>\d+)\s?)?(?P<vulgar>[{''.join(_VULGAR)}])"
)


def _measure(match: re.Match[str]) -> str:
    """120 km/h as "120 kilometers per hour", 20 m² as "20 square meters"."""
    number, symbol, gap = match["n"], match["unit"], match["gap"]
    if symbol == "s" and not gap and "." not in number:
        return match.group()
    if symbol in ("B", "pt", "kt", "bar") and match["per"] is None:
        return match.group()
    before = match.string[: match.start()]
    article = re.search(r"\ban?\s(?:\S+ to )?$", before, re.IGNORECASE) and re.match(
        r"\s(?!of\b)[a-z]", match.string[match.end() :]
    )
    part = ("/" in number and " " not in number) or number in _VULGAR
    one = number == "1" or gap == "-" or bool(article) or part
    name = _UNITS[symbol][0 if one else 1]
    if match["power"]:
        name = f"{_POWERS[match['power']]} {name}"
    return f"{number} {name}{_per(match['per'], match['squared'])}"


def _per(per: str | None, squared: str | None) -> str:
    """What is after the stroke: " per second squared", " per cubic meter"."""
    if per is None:
        return ""
    name = _UNITS[per][0] if per in _UNITS else per
    if squared is None:
        return f" per {name}"
    if name == "second":
        return f" per second {'squared' if '2' in squared or squared == '²' else 'cubed'}"
    return f" per {_POWERS[squared]} {name}"


def _bare_unit(match: re.Match[str]) -> str:
    """km/h without a number."""
    if match["whole"]:
        return _UNITS[match["whole"]][1]
    return _UNITS[match["unit"]][1] + _per(match["per"], match["squared"])


def _slash_unit(match: re.Match[str]) -> str:
    if match["word"]:
        return f" per {match['word']}"
    unit = match["unit"]
    areas = {"m²": "square meter", "sqft": "square foot"}
    return f" per {areas[unit] if unit in areas else _UNITS[unit][0]}"


def _temperature(match: re.Match[str]) -> str:
    """20 °C as "20 degrees Celsius"."""
    number = match["n"] or ""
    scale = match["scale"] or {"℃": "C", "℉": "F"}.get(match["sign"] or "", "")
    degrees = "degree" if number == "1" else "degrees"
    return f"{number} {degrees} {_DEGREES.get(scale, '')}".rstrip()


def _fraction(match: re.Match[str]) -> str:
    """3/8 as "3 eighths", 2 1/2 as "2 and a half", 8/10 as "8 out of 10", 50/50 as "50 50"."""
    if match["vulgar"]:
        a, b = _VULGAR[match["vulgar"]]
        return _mixed(match["left"], a, b)
    a, b, whole = int(match["a"]), int(match["b"]), match["whole"]
    rest = match.string[match.end() :]
    lead = f"{whole} " if whole else ""
    if whole and a < b and b in PARTS:
        return _mixed(whole, a, b)
    if (a, b) in ((24, 7), (9, 11), (20, 20)) or a + b == 100:
        return f"{lead}{a} {b}"
    stars = re.match(r"\s(?:stars?|points)\b", rest)
    tenths = re.match(r"\s(?:of\b|inch|mile|cup)", rest)
    if stars or a == b or (b in (10, 100) and 1 < a < b and not tenths):
        return f"{lead}{a} out of {b}"
    if (a, b) == (1, 2) and re.match(r"\s(?:an?|the|of)\b", rest):
        return f"{lead}half"
    if 0 < a < b and b in PARTS:
        return f"{lead}{parts(a, b)}"
    return f"{lead}{a} over {b}"


def _mixed(whole: str | None, a: int, b: int) -> str:
    """A whole number and a fraction."""
    if not whole:
        return parts(a, b)
    return f"{whole} and a {PARTS[b]}" if a == 1 else f"{whole} and {parts(a, b)}"


# --- mathematics without delimiters --------------------------------------------------------------

_HIGH = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_LOW = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_POWER = re.compile(
    r"(?P<base>\b[A-Za-z]{1,2}|\d|\))(?:\^[({]?(?P<low>[-−+]?\w+)[)}]?|(?P<high>[⁻⁺]?[⁰¹²³⁴-⁹ⁿ]+))"
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


_LETTER = re.compile(
    r"(?<![\w'’.])a(?=\s(?:is (?:less|greater|not|approx)|equals\b|squared|cubed|over [b-z]\b))"
)


def _power(match: re.Match[str]) -> str:
    """x² as "x squared", 10⁻³ as "10 to the power of minus 3"."""
    base, exponent = match["base"], match["low"] or match["high"].translate(_HIGH)
    if len(base) == 2 and base.isalpha():
        base = " ".join(base)
    if exponent in ("2", "3"):
        return f"{base} {'squared' if exponent == '2' else 'cubed'}"
    exponent = re.sub(r"^[-−]", "minus ", exponent)
    return f"{base} to the power of {exponent}"


def _comparison(match: re.Match[str]) -> str:
    """X >= 5 as "x is greater than or equal to 5"; with no term before it, "less than 5"."""
    sign, left, before = match["sign"], match["left"] or "", match["before"]
    word = re.search(r"\w[a-z]$", match.string[: match.end("left")]) if left else None
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


# --- all of it -----------------------------------------------------------------------------------

_GREEK_ALONE = re.compile(rf"(?<![\u0370-\u03ff])[{''.join(SYMBOLS)}](?![\u0370-\u03ff])")


def _symbol(match: re.Match[str]) -> str:
    """A sign in words, apart from what it is written next to."""
    text = match.string
    before, after = text[: match.start()][-1:].isalnum(), text[match.end() :][:1].isalnum()
    return f"{' ' if before else ''}{SYMBOLS[match[0]]}{' ' if after else ''}"


_EQUATION_RULES: tuple[tuple[re.Pattern[str], _Say], ...] = (
    (
        re.compile(r"(?<=[\w)\]²³])(?<![A-Za-z]{2})\s[-–]\s(?=[\d(√$€£]|[^\W\d_](?!\w))"),
        " minus ",
    ),
    (re.compile(r"(?<![\w/])([A-Za-z])/([A-Za-z])(?![\w/])"), r"\1 over \2"),
)
"""Where there is an equals sign or a root: there, letters are numbers."""
_WORD_RULES: tuple[tuple[re.Pattern[str], _Say], ...] = tuple(
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
        (rf"\b({_DAYS})\.?\s?[-–]\s?({_DAYS})\b", _days),
        (rf"\b({_MONTH_NAMES})\.?\s?[-–]\s?({_MONTH_NAMES})\b", _months),
        (r"\bm\.p\.h\b\.?", "mph"),
        (r"\b([CF])#", r"\1 sharp"),
        (
            r"\bIV(?=\s(?:drips?|fluids?|lines?|bags?|pump|antibiotics?|therapy|infusions?)\b)",
            "I V",
        ),
    )
)
_NUMBER_RULES: tuple[tuple[re.Pattern[str], _Say], ...] = (
    (re.compile(r"(?<=\d)[\u00a0\u202f](?=\d{3}\b)"), ""),  # 10 000
    (re.compile(r"#(?=\d+\b)"), "number "),
    (re.compile(r"(?<![\w./])\.(?=\d)"), "0."),
    (re.compile(r"~\s?(?=[$€£]?\d)"), "about "),
    (re.compile(r"\+/[-−]|±\s?"), "plus or minus "),
    (_CALLED, _called),
    (re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)"), _address),
    (
        re.compile(
            r"(?<![\w.,/-])(?:(?P<iso>\d{4})(?P<stroke>[-/])(?P<m>\d\d)(?P=stroke)(?P<d>\d\d)"
            r"|(?P<a>\d{1,2})(?P<sep>[./])(?P<b>\d{1,2})(?P=sep)"
            r"(?P<year>\d{4}|(?<=/)\d\d))(?![\w/-]|[.,]\d)"
        ),
        _date,
    ),
    (re.compile(r"(?<![\w.-])[vV](?=\d+(?:\.\d+)*\b)"), "version "),
    (_CODE, _code),
    (_PHONE, _phone),
    (
        re.compile(r"(?<![\d.])(\d+)\.(?!\d{3}\.\d{3}\b)(\d+)\.(\d+)(?!\.?\d)"),
        r"\1 point \2 point \3",
    ),
    (re.compile(r"(?<=, [A-Z]{2} )\d{5}(?:-\d{4})?\b"), lambda match: _digits(match[0])),
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
    (re.compile(rf"(?<=\d(?:st|nd|rd|th)) ?[-–] ?(?=(?:{'|'.join(_MONTHS)}) \d)"), " to "),
    (
        re.compile(r"(?<![\w./-])((?:19|20)\d\d)/(\d\d|\d{4})(?![\w/-])"),
        lambda match: f"{_year_said(match[1])} {match[2]}",
    ),
    (re.compile(r"(\d+\s?h(?:rs?)?\s?)(\d+)\s?m\b"), r"\1\2 min"),
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
    (re.compile(r"(?<=\d)\s\*\s(?=\d)|(?<=\d)\*(?=\d)"), " × "),
    (re.compile(r"\b(\d(?:\.\d+)?)[eE]([+-]?\d+)\b"), r"\1 times 10^\2"),
    (re.compile(r"(?<=[\d)])\s/\s(?=[\d(])"), " divided by "),
    (re.compile(r"\b(\d+)\s?x\s?(?=\d+\b)"), r"\1 by "),
    (
        re.compile(r"(?<![\w.,])(?<![-+−=*/]\s)(\d+(?:\.\d+)?)x\b(?!\s?[-+−=*/^<>≤≥²³)])"),
        r"\1 times",
    ),
    (re.compile(r"(?<=[=(])(\s?)[-−–](?=[a-z]\b)"), r"\1minus "),
    (re.compile(r"(?<=\()([a-z])-(?=\d+\))"), r"\1 minus "),
    (re.compile(r"(?<!\w)(\d)['′’]\s?(\d{1,2})(?:[\"″”]|'')"), r"\1 foot \2"),
    (re.compile(r"(?<!\w)(\d+)['′](?=\s(?:tall|high|long|wide|deep|by|x)\b)"), r"\1 feet"),
    (
        re.compile(
            r"(?<!\w)(\d+)[\"″](?=\s(?:tall|high|long|wide|deep|thick|screen|display|monitor|pizza"
            r"|pipe|by|x)\b)"
        ),
        r"\1 inch",
    ),
    (_MONEY, _money),
    (_MONEY_AFTER, _money_after),
    (re.compile(r"(?<=\d)\s?sq\.?\s(?=(?:ft|m|km|mi)\b)"), " square "),
    (re.compile(r"(?<=square )(ft|m|km|mi)\b"), lambda match: _UNITS[match[1]][1]),
    (re.compile(r"(?<=\d)(\s?ft\s?\d+)\s?in\b"), r"\1 inches"),
    (re.compile(r"(?<=\d)\s?[lL]/100\s?km\b"), " liters per 100 kilometers"),
    (re.compile(r"(?<![\w.,/-])((?:19|20)\d\d)-(?=\d\d(?![\w/-]|[.,]\d))"), r"\1 to "),
    (_RANGE_UNIT, r"\1 to "),
    (_RANGE, _range),
    (re.compile(rf"(?<![\w.,])({_N})\s?¢"), r"\1 cents"),
    (_MINUS, r"\g<before>minus "),
    (_TEMPERATURE, _temperature),
    (_COMPASS, lambda match: " " + _COMPASS_NAMES[match[1]]),
    (_MEASURE, _measure),
    (_FRACTION, _fraction),
    (re.compile(r"(?<=\d)k\b"), " thousand"),
    (re.compile(r"(?<=\d)M\b"), " million"),
    (re.compile(r"(?<=\d)bn\b"), " billion"),
    (re.compile(r"\s?‰"), " per mille"),
    (
        re.compile(
            r"(?<![\w.,:/$€£¥#=^+−-])(?<!= )(?<!equals )(?<!minus )(?<!\d by )"
            r"(?P<year>1[1-9]\d\d|20[1-4]\d|2000"
            r"|(?<=\b(?i:in|by|of) )(?:10|20)\d\d|(?<=\b(?i:year) )(?:10|20)\d\d)"
            r"(?![\w%°/:^²³-]|[.,]\d|\s(?:million|billion|thousand|to the power|by \d+)\b)"
            r"(?=(?:\s(?P<noun>[a-z]+)\b)?)"
        ),
        _year,
    ),
)
_SIGN_RULES: tuple[tuple[re.Pattern[str], _Say], ...] = (
    (_BARE_UNIT, _bare_unit),
    (_PER, _slash_unit),
    (
        re.compile(r"(?<![^\s(\[\"'“])([A-Za-z]{2,})/([A-Za-z]{2,})(?=[\s,;:!?)\]\"'”]|\.?$|\.\s)"),
        r"\1 \2",
    ),
    (_POWER, _power),
    (re.compile(r"([√∛])(?:\s?\(([^()]+)\)|\s?(?=\w))"), _root),
    (_COMPARISON, _comparison),
    (re.compile(r"(?<=[\w)]) ?== ?(?=[\w(-])"), " equals "),
    (re.compile(r"^(\s*(?:Is|Are)\s+\S+) is (?=less|greater|not equal|approx)"), r"\1 "),
    (_GREEK_ALONE, _symbol),
)


_SIGNS_WITHIN = re.compile(r"[/<>=^]|[^\x00-\x7f]|bps\b|kWh|mph|^\s*(?:Is|Are)\s")


def in_english(text: str) -> str:
    """English with what espeak-ng misspeaks put into words."""
    text = _ABBREVIATION.sub(_abbreviation, text)
    for pattern, said in _WORD_RULES:
        text = pattern.sub(said, text)
    if re.search(r"[=√]", text):
        for pattern, said in _EQUATION_RULES:
            text = pattern.sub(said, text)
    if re.search(r"\d|[½-¾⅐-⅞]", text):
        for pattern, said in _NUMBER_RULES:
            text = pattern.sub(said, text)
    if _SIGNS_WITHIN.search(text):
        for pattern, said in _SIGN_RULES:
            text = pattern.sub(said, text)
    if re.search(r"\w\s[IVXLC]+\b|^[XVI]+ ", text):
        text = _NUMERAL.sub(_numeral, text)
    return _LETTER.sub("eh", text).translate(_LOW)
