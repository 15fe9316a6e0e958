"""Words in capitals: those that are said as words, and those that are spelled.

espeak-ng (in piper-tts 1.8.0) spells a word of two or three capitals that its dictionary does not
have, "YES" as well as "UPS"; but in a clause with more capitals than small letters it spells none
that has a vowel: "By UPS." is "by ups" and "NYC." is "nick".
"""

from __future__ import annotations

import re
from collections.abc import Collection

from pipeline.text.english.rules import words

WORDS = words(
    "add ado age ago aha air ale all an and any arc are art as ask at ate bad bag bar be bed big"
    " bio bit bow box boy bus but buy by bye can car cat con cry cup cut dad day did do dog dry"
    " due eat egg eh end err etc eva ewe eye far few fit fix fly for fun gas get gig go god got"
    " guy had has he heh her hey him his hit hot how huh ian if ill in is its job joy key kid las"
    " law let lie los lot low mad man map max may me meh men mic mix mom mr mrs my new no nor not"
    " now of off oil old on one or our out own pay per put ran raw red rio row run sad san saw say"
    " see set she shy sir sit six ski sky so son sri sun tab tax tea ten the thy tie tip tis to"
    " ton too top toy try two up use vex via war was way we web wet who why win won wow yay yea"
    " yep yes yet you zoo"
    " gif gui lan mac rom wan wii"
)
"""Said as words in capitals too: what is stressed so, and abbreviations that are words."""

EITHER = words("act ad am hi ice ii iii iv iso ix oh sat vi vii xi xii xiv xix xvi xxi")
"""Words as well as abbreviations (5 AM; Columbus, OH), and numerals: as espeak-ng takes them."""

_SHORT = re.compile(r"(?<![\w.'’&-])[^\W\d_]{2,3}(?![\w'’&-]|\.\w)")
_CAPITALS = re.compile(r"(?<![\w.'’&-])(?P<word>[A-Z]{2,3})(?P<many>s?)(?![\w'’&-]|\.\w)")
_CLAUSE = re.compile(r"(?:[^,.;:!?()…]|[,.:](?=\w))+")
_SHOUTED = re.compile(r"\b[A-Z]{4}")
_CALL = re.compile(r"\b(?:OH|HI)(?= [A-Z]{2})")  # "OH MY GOD!", and no state
_OXIDE = re.compile(r"\b([CNS])O(?=[2-4₂-₄]\b)")
_HEALTH = re.compile(r"(?<=\b[Tt]he )WHO\b")


def unstressed(text: str, stressed: Collection[str]) -> str:
    """Text with those words of two or three capitals in small letters that are listed so."""

    def word(match: re.Match[str]) -> str:
        plain = match[0].lower()
        return plain if match[0].isupper() and plain in stressed else match[0]

    return _SHORT.sub(word, text)


def capitals(text: str) -> str:
    """Text of which espeak-ng spells the abbreviations, whatever is around them, and no words.

    What is all in capitals with a long word among them is left as it is: people shout so.
    """
    text = _HEALTH.sub("W.H.O", _OXIDE.sub(r"\1.O ", text))
    text = _CALL.sub(lambda match: match[0].lower(), text)
    return _CLAUSE.sub(_clause, text)


def _clause(match: re.Match[str]) -> str:
    if match[0].isupper() and _SHOUTED.search(match[0]) and match[0].count(" ") > 1:
        return match[0]
    clause = unstressed(match[0], WORDS)
    # With as many of both it spells words, but no plurals.
    heavy = sum(map(str.isupper, clause)) >= sum(map(str.islower, clause))
    return _CAPITALS.sub(_spelled, clause) if heavy else clause


def _spelled(match: re.Match[str]) -> str:
    """An abbreviation as separate letters; behind full stops a plural's s would be one of them."""
    if match["word"].lower() in EITHER:
        return match[0]
    if not match["many"]:
        return ".".join(match["word"])
    return " ".join("eh" if letter == "A" else letter for letter in match["word"]) + "'s"
