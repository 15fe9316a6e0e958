"""Numbers that are not read as they stand: by digits, with signs or money, or Roman."""

from __future__ import annotations

import re

from pipeline.text.english.calendar import ORDINALS, ordinal
from pipeline.text.english.rules import DASH, NUMBER, Rules, words

# Digit by digit: telephone numbers, codes, addresses


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


# Amounts: ranges, signs, scores and money

_RANGE = re.compile(
    rf"(?<![\w.,/–-])(?<!Boeing )(?P<first>[-−]?{NUMBER})(?P<unit>[%°]?)(?P<dash> ?[–—] ?| ?- ?|-)"
    rf"(?=(?P<sign>-)?[$€£]?(?P<second>{NUMBER})(?![\w/-]|[.,]\d)(?P<is>\s?=)?)"
)
_RANGE_UNIT = re.compile(rf"(?<![\w.,/–-])({NUMBER})(?:-| ?– ?)(?={NUMBER}(?:[A-Za-z°%]|-[a-z]))")
_MINUS = re.compile(
    rf"(?P<before>^|[\s(\[{{=≈<>≤≥±×+*/:|,\"'“]|\bto |(?<=\s){DASH}\s){DASH}(?=[$€£¥]?\.?\d)"
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
    rf"(?<![A-Za-z])(?P<minus>{DASH})?(?P<land>{'|'.join(_LANDS)})?(?P<coin>[{_SIGNS}])\s?"
    rf"(?P<inner>{DASH}(?=\d))?"
    r"(?P<whole>\d+(?:,\d{3})*)?(?:\.(?P<part>\d+)|,(?P<cents>\d\d)(?![\d,]))?"
    rf"(?:(?:k|m|bn)?(?:-|\s?[–—]\s?)(?P=coin)?(?P<to>{NUMBER})(?![\d-]|\s?=))?"
    r"(?:(?:\s|(?P<joined>-))?(?P<scale>hundred|thousand|million|billion|trillion)\b"
    r"|\s?(?P<short>bn|mn|[kmbt])\b)?",
    re.IGNORECASE,
)
_MONEY_AFTER = re.compile(
    rf"(?<![\w.,])(?P<amount>\d+(?:,\d{{3}})*(?:\.\d(?!\d))?)(?:[.,](?P<part>\d\d))?\s?"
    rf"(?P<coin>[{_SIGNS}]|(?:{'|'.join(_ISO)})\b)"
    rf"|\b(?P<iso>{'|'.join(_ISO)})\s(?P<value>{NUMBER})"
)
_BILL = re.compile(
    r"\s(?:bill|note|coin|prize|gift|fee|fine|ticket|tip|deposit|discount|budget|deal|value|coupon"
    r"|price|investment|loan|bonus|donation|book|item|menu|meal|lunch|option|plan|subscription|home|house|car|salary"
    r"|grant|award|mortgage|contract|fund)\b"
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


AMOUNTS: Rules = (
    (re.compile(r"(?<=\d)[\u00a0\u202f](?=\d{3}\b)"), ""),  # 10 000
    (re.compile(r"(?<![\w./])\.(?=\d)"), "0."),
    (re.compile(r"(?<=[A-Za-z])~(\d+)~"), r"\1"),  # H~2~O
    (re.compile(r"(?<!\w)~\s?(?=[$€£]?\d)"), "about "),
    (_MONEY, _money),
    (_MONEY_AFTER, _money_after),
    (_RANGE_UNIT, r"\1 to "),
    (_RANGE, _range),
    (re.compile(rf"(?<![\w.,])({NUMBER})\s?¢"), r"\1 cents"),
    (_MINUS, r"\g<before>minus "),
    (re.compile(r"(?<=\d)k\b"), " thousand"),
    (re.compile(r"(?<=\d)M\b"), " million"),
    (re.compile(r"(?<=\d)bn\b"), " billion"),
    (re.compile(r"\s?‰"), " per mille"),
)


# Roman numerals: of rulers, of wars, of chapters

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
_SURELY = ("World War", "Phase", "Type")
_NAMED = re.compile(r"[a-z,] (?:[A-Z][\w']+\s)+$")
# What follows a numeral I, and no speaker: names of things, and verbs in the third person.
_REIGN_VERB = re.compile(
    r"\s*(?:$|[,.;:!?)]|['’]s|(?:of|was|is|and|had|ruled|reigned|died|became|in|on|to|or|ended|began"
    r"|broke|veterans?|era|memorial|diabetes|errors?|trials?"
    r"|(?!always|perhaps|sometimes)[a-z]+[a-rt-z]s)\b)"
)


def roman_value(numeral: str) -> int:
    """What a Roman numeral below 400 is worth."""
    values = [_VALUES[char] for char in numeral]
    return sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )


def _numeral(match: re.Match[str]) -> str:
    """Henry VIII as "the 8th", Chapter IV as "4"; "I" may be who speaks."""
    if match["century"]:
        return ordinal(roman_value(match["century"]))
    if match["king"]:
        nth = match["nth"]
        rest = match.string[match.end() :]
        named = re.match(_RULER, match["king"])
        initial = len(nth) == 1 and (nth in "CL" or re.match(r"\.?\s+[A-Z]", rest))
        if initial or (nth == "I" and not (named or _REIGN_VERB.match(rest))):
            return match.group()
        number = roman_value(nth)
        whose = rest[:1] in "'’" and rest[1:2] == "s" and number < len(ORDINALS)
        return f"{match['king']} the {ORDINALS[number] if whose else ordinal(number)}"
    if match["counted"]:
        counted, rest = match["counted"], match.string[match.end() :]
        sure = counted in _SURELY or (counted[0].isupper() and _REIGN_VERB.match(rest))
        if match["number"] in "CL" or (match["number"] == "I" and not sure):
            return match.group()
        return f"{match['counted']} {roman_value(match['number'])}"
    if _NAMED.search(match.string[: match.start()]):
        return str(roman_value(match["more"]))
    return match.group()


NUMERALS: Rules = (
    (
        re.compile(r"\b(Act|Scene|Chapter|Section|Part) (i{2,3}|iv|vi{1,3}|ix)\b"),
        lambda match: f"{match[1]} {match[2].upper()}",
    ),
    (_NUMERAL, _numeral),
)
