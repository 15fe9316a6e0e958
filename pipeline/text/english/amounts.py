"""Amounts: ranges, signs, scores and money."""

from __future__ import annotations

import re

from pipeline.text.english.rules import DASH, NUMBER, Rules

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
