"""Roman numerals: of rulers, of wars, of chapters."""

from __future__ import annotations

import re

from pipeline.text.english.calendar import ORDINALS, ordinal
from pipeline.text.english.rules import Rules

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
