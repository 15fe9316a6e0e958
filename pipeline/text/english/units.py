"""Units, temperatures and fractions."""

from __future__ import annotations

import re

from pipeline.text.english.rules import NUMBER, Rules
from pipeline.text.formulas import PARTS, parts


def _units(table: str) -> dict[str, tuple[str, str]]:
    """Of each symbol: what is said for one, and for many."""
    found = {}
    for entry in table.split(";"):
        symbol, names = entry.split(maxsplit=1)
        one, _, many = names.partition("|")
        found[symbol] = one, many or f"{one}s"
    return found


_UNITS = _units(
    """
    km kilometer; m meter; dm decimeter; cm centimeter; mm millimeter; µm micrometer;
    μm micrometer; nm nanometer; mi mile; ft foot|feet; yd yard; yds yard; nmi nautical mile;
    kg kilogram; g gram; mg milligram; µg microgram; μg microgram; mcg microgram; lb pound;
    lbs pound; oz ounce; l liter; L liter; dl deciliter; dL deciliter; cl centiliter;
    µl microliter; μl microliter; µL microliter; μL microliter;
    ml milliliter; mL milliliter; gal gallon; qt quart; pt pint; tsp teaspoon; tbsp tablespoon;
    h hour; hr hour; hrs hour; yr year; yrs year; mo month; wk week; wks week; min minute;
    mins minute; sec second; secs second; s second; ms millisecond; µs microsecond;
    μs microsecond; ns nanosecond; Hz hertz|hertz; kHz kilohertz|kilohertz;
    MHz megahertz|megahertz; GHz gigahertz|gigahertz; THz terahertz|terahertz; W watt;
    kW kilowatt; MW megawatt; GW gigawatt; mW milliwatt; Wh watt hour; kWh kilowatt hour;
    MWh megawatt hour; GWh gigawatt hour; TWh terawatt hour; mAh milliamp hour; Ah amp hour;
    mA milliamp; V volt; kV kilovolt; mV millivolt; J joule; kJ kilojoule; MJ megajoule;
    cal calorie; kcal kilocalorie; N newton; kN kilonewton; Nm newton meter; N·m newton meter;
    Pa pascal; hPa hectopascal; kPa kilopascal; MPa megapascal;
    mmHg millimeters of mercury|millimeters of mercury; psi P S I|P S I; dB decibel; Ω ohm;
    kΩ kilohm; MΩ megohm; lm lumen; lx lux|lux; mol mole; ha hectare; atm atmosphere;
    hp horsepower|horsepower; kn knot; kts knot; kB kilobyte; KB kilobyte; MB megabyte;
    GB gigabyte; TB terabyte; PB petabyte; KiB kibibyte; MiB mebibyte; GiB gibibyte; TiB tebibyte;
    bit bit; kbit kilobit; Kbit kilobit; Mbit megabit; Gbit gigabit; Mb megabit; Gb gigabit;
    kb kilobit; px pixel; bps bit per second|bits per second;
    kbps kilobit per second|kilobits per second; Kbps kilobit per second|kilobits per second;
    Mbps megabit per second|megabits per second; Gbps gigabit per second|gigabits per second;
    mph mile per hour|miles per hour; kph kilometer per hour|kilometers per hour;
    kmh kilometer per hour|kilometers per hour; mpg mile per gallon|miles per gallon;
    fps frame per second|frames per second; rpm rotation per minute|rotations per minute;
    bpm beat per minute|beats per minute; ppm part per million|parts per million;
    dpi dot per inch|dots per inch
    """
)
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))
_POWERS = {"²": "square", "^2": "square", "2": "square", "³": "cubic", "^3": "cubic", "3": "cubic"}
_PER_WORD = (
    "second|minute|hour|day|night|week|month|year|person|piece|item|user|mile|gallon|acre|pound"
    "|ounce|kilo|liter|page|word|token"
)
_FRACTION_N = rf"(?:\d+\s)?\d+/\d+|\d*\s?[½¼¾⅓⅔⅛⅜⅝⅞⅕⅖⅗⅘]|{NUMBER}"
_MEASURE = re.compile(
    rf"(?<![\w.,/])(?P<n>{_FRACTION_N})(?P<gap>[\s\u00a0\u202f-]?)(?P<unit>{_UNIT})"
    rf"(?P<power>²|³|\^[23]|(?<=m)[23](?!\d))?(?:/(?P<per>{_UNIT}|{_PER_WORD})(?P<squared>²|³|\^[23])?)?"
    rf"\b(?![\w/^²³'’]|-\d)(?:\.(?=[,;)]|\s+[a-z(]))?"
)
_BARE_UNIT = re.compile(
    r"\b(?P<unit>km|m|MB|GB|Mbit|Gbit|kbit|kWh|mi)/(?P<per>h|s|min|kg)(?P<squared>²|\^2)?(?![\w/])"
    r"|\b(?<!/)(?P<whole>kWh|mph|Mbps|Gbps|kbps)\b"
)
_PER = re.compile(
    rf"(?<=[A-Za-z\d%])\s?/\s?(?:(?P<word>{_PER_WORD})"
    r"|(?P<unit>kg|g|lb|oz|gal|ft²|ft|cm²|mi|h|hr|min|mo|yr|wk|sqft|kWh|GB|MB|km²|km|m²|m³|ml|mL|l|L))"
    r"(?![\w/]|\.\w)"
)
_POWERED = {
    "m²": "square meter", "km²": "square kilometer", "m³": "cubic meter",
    "ft²": "square foot", "cm²": "square centimeter", "sqft": "square foot",
}  # fmt: skip
_DEGREES = {"C": "Celsius", "F": "Fahrenheit"}
_TEMPERATURE = re.compile(
    rf"(?P<n>{NUMBER})?\s?(?:°\s?(?P<scale>[CF])\b|(?P<sign>[℃℉])|°(?=\s?[NSEW]\b))"
)
_COMPASS = re.compile(r"(?<=degrees) ([NSEW])\b")
_COMPASS_NAMES = {"N": "north", "S": "south", "E": "east", "W": "west"}
_VULGAR = {
    "½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5),
    "⅗": (3, 5), "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8),
    "⅞": (7, 8),
}  # fmt: skip
_OUT_OF = re.compile(r"(?<![\w.,/])(\d+\.\d+)/(5|10|100)(?![\w/]|[.,]\d)")
_PLACE = re.compile(r"\b(?:step|part|page|slide|lap|episode)\s$", re.IGNORECASE)
_FRACTION = re.compile(
    rf"(?<![\w/.,:])(?:(?P<whole>\d+)[\s-])?(?P<a>\d+)/(?P<b>\d+)(?![\w/]|[.,]\d)"
    rf"|(?:(?P<left>\d+)\s?)?(?P<vulgar>[{''.join(_VULGAR)}])"
)


def _measure(match: re.Match[str]) -> str:
    """120 km/h as "120 kilometers per hour", 20 m² as "20 square meters"."""
    number, symbol, gap = match["n"], match["unit"], match["gap"]
    if symbol == "s" and not gap and "." not in number:
        return match.group()
    if symbol == "pt" and match["per"] is None:
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
    return f" per {_POWERED[unit] if unit in _POWERED else _UNITS[unit][0]}"


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
    if not whole and _PLACE.search(match.string[: match.start()]):
        return f"{a} of {b}"
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


UNITS: Rules = (
    (re.compile(r"(?<!\w)(\d)['′’]\s?(\d{1,2})(?:[\"″”]|'')"), r"\1 foot \2"),
    (re.compile(r"(?<!\w)(\d+)['′](?=\s(?:tall|high|long|wide|deep|by|x)\b)"), r"\1 feet"),
    (
        re.compile(
            r"(?<!\w)(\d+)[\"″](?=\s(?:tall|high|long|wide|deep|thick|screen|display|monitor|pizza"
            r"|pipe|by|x)\b)"
        ),
        r"\1 inch",
    ),
    (re.compile(r"(?<!\w)(\d+/\d+)[\"″](?=\s[a-z])"), r"\1 inch"),
    (re.compile(r"(?<!\w)(\d*\.\d+)[\"″](?=\s[a-z])"), r"\1 inches"),
    (re.compile(r"(?<=°)\s?(\d+)['′](?!\w)"), r" \1 minutes"),
    (re.compile(r"(?<!\w)(\d+)″"), r"\1 inches"),
    (re.compile(r"(?<!\w)(\d+)′"), r"\1 feet"),
    (
        re.compile(
            r"(?<=\d) in(?:\.(?=\s+[a-z])|(?=\.$)|(?=\s(?:deep|wide|long|tall|high|thick|by"
            r"|of (?:rain|snow))\b))"
        ),
        " inches",
    ),
    (
        re.compile(r"(?<=\d) ?in([²³])"),
        lambda match: f" {_POWERS[match[1]]} inches",
    ),
    (re.compile(r"(\b[Aa]n? \d+)°(?=\s[a-z])"), r"\1 degree"),
    (re.compile(r"(?<=\d)\s?sq\.?\s(?=(?:ft|m|km|mi|yd)\b)"), " square "),
    (re.compile(r"(?<=\d)\s?cu\.?\s(?=(?:ft|m|yd)\b)"), " cubic "),
    (re.compile(r"(?<=\d)\s?fl\.?\s?oz\b"), " fluid ounces"),
    (
        re.compile(r"(?:(?<=square )|(?<=cubic ))(ft|m|km|mi|yd)\b(?:\.(?=[,;)]|\s+[a-z(]))?"),
        lambda match: _UNITS[match[1]][1],
    ),
    (re.compile(r"(?<=\d)(\s?ft\s?\d+)\s?in\b"), r"\1 inches"),
    (re.compile(r"(?<=\d)\s?[lL]/100\s?km\b"), " liters per 100 kilometers"),
    (_TEMPERATURE, _temperature),
    (_COMPASS, lambda match: " " + _COMPASS_NAMES[match[1]]),
    (_MEASURE, _measure),
    (_OUT_OF, r"\1 out of \2"),
    (_FRACTION, _fraction),
)


UNITS_ALONE: Rules = (
    (_BARE_UNIT, _bare_unit),
    (_PER, _slash_unit),
    (re.compile(r"\breq/s\b"), "requests per second"),
    (re.compile(r"(?<=\ws)/s\b"), " per second"),
)
"""Units without a number."""
