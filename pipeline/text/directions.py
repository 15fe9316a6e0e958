"""Stage directions: what a speaker is to do, written in brackets of one kind or another.

"<sigh>", "[short pause]", "(laughs)", "*clears throat*" are no words to be said. What only looks
like one keeps its words: "*very* important", "(see below)", "[1]", "She *laughs* a lot."
"""

from __future__ import annotations

import re

_ACTS = (
    "sigh laugh chuckle giggle snicker gasp cough sniff sniffle groan moan yawn pause breathe"
    " inhale exhale sob cry scream whisper hum sing cheer applaud clap gulp snort smirk smile grin"
    " nod wink shrug wave bow blush whistle mumble mutter burp sneeze hiccup swallow wheeze grunt"
    " growl scoff pout frown stutter stammer clear"
)
_SOUNDS = "laughter applause breath ahem tsk uv_break lbreak"
_GESTURES = (
    "takes leans tilts rolls raises looks rubs scratches gestures thinks stretches"
    " adjusts shakes folds crosses sips sits stands steps walks pats beams"
)
_DOUBLED = frozenset(("hum", "clap", "grin", "nod", "sob", "shrug"))


def _third(verb: str) -> str:
    """The form for who does it."""
    if verb == "cry":
        return "cries"
    return f"{verb}es" if verb.endswith(("sh", "ch")) else f"{verb}s"


def _doing(verb: str) -> str:
    """The form in -ing."""
    stem = verb + verb[-1] if verb in _DOUBLED else verb.removesuffix("e")
    return f"{stem}ing"


_BASE = "|".join(_ACTS.split(" "))
_GESTURING = "|".join(_GESTURES.split(" "))  # with a word more: "*looks up*", no "*looks*"
_DOES = "|".join((*map(_third, _ACTS.split(" ")), _GESTURING))
_DOING = "|".join(map(_doing, _ACTS.split(" ")))
_NOUNS = "|".join(_SOUNDS.split(" "))
_HOW = (
    r"(?:[ ,_]+(?:\w+ly|again|in|out|to|at|with|and|then|for|on|up|down|away|along|around|closer"
    r"|back|an?|the|my|his|her|their|your|you|myself|himself|herself|bit|deep|long|short|heavy"
    r"|harder|louder|throat|head|hands?|eyes|arms?|air|breath|voice|moment|effect|sigh|laugh|smile"
    r"|silence)){0,6}"
)
_FIRST = (
    r"(?:(?:\w+ly|short|long|brief|starts|nervous|soft|loud|light|deep|heavy|small|dramatic"
    r"|awkward)\s)?"
)
_MOODS = (
    "excited|sarcastic|curious|happy|sad|angry|surprised|nervous|cheerful|serious|calm|playful"
    r"|mischievous|whispering|strong[ ]\w+[ ]accent"
    "|(?:excited|sarcastic|curious|happi|sad|angri|nervous|cheerful|serious|calm|playful|soft"
    "|quiet|mischievous|warm|gent)ly"
)
_LOW = r"in[ ]an?[ ](?:\w+[ ])?(?:whisper|voice|tone)"

DIRECTION = re.compile(
    rf"""
      (?<!`)\[(?:
        s\d{{1,2}} | {_MOODS} | {_LOW} | speaks\ [\w ,]+ | silence | beat | sounds?\ of\ [\w ]+
      | (?:\w+\ ){{0,2}}music(?:\ (?:play|fad|stop|swell)\w+)?
      | {_FIRST}(?:{_BASE}|{_DOES}|{_DOING}|{_NOUNS}){_HOW}
      )\](?![(\[])
    | \((?:(?:{_DOES}|{_DOING}|{_NOUNS}|{_FIRST}(?:pause|sigh|laugh|silence)){_HOW}|{_LOW})\)
    | (?:^|(?<=[.!?…]\s)|(?<=\n))\((?:{_MOODS}|{_LOW}|beat)\)(?=\s+["“]?(?-i:[A-Z]))
    | </?(?:{_MOODS})> | </?(?:{_BASE}|{_DOES}|{_DOING}|{_NOUNS}){_HOW}\s*/?>
    | (?:^|(?<=[.!?…:,;—"”)*]\s)|(?<=\n)|(?<=\w\s)(?=\*+clears?\s))
      (?P<stars>\*{{1,3}}|_|~)
      (?:(?!(?:{_GESTURING})\*)(?:{_DOES})(?:[ ,][\w' ,-]+)?
        |(?:{_FIRST}(?:pause|silence|sigh|laugh)|cough|gulp|gasp|sniff|yawn|clear|{_DOING}
          |{_NOUNS}){_HOW}|{_LOW})
      [.!…]*(?P=stars)(?!\w|\s(?:is|are|was|can|will|helps?|makes?|out|of)\b)
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""A stage direction. Between stars only where a sentence or a phrase begins."""

_WORDS = tuple(f"{_DOES}|{_DOING}|{_NOUNS}|{_BASE}".split("|"))
_LED = ("long", "short", "brief", "dramatic", "awkward", "in")
_LED_ON = re.compile(rf"(?:{'|'.join(_LED)})(?: [a-z]*){{0,3}}")
_LIMIT = 80


def goes_on(text: str) -> bool | None:
    """Whether a stage direction goes on after `text`, with which it begins.

    Args:
        text: From a star or an opening bracket, round or angular, on.

    Returns:
        None where `text` is none: its last character is not part of it.
    """
    inner = text.lstrip("*(</").lower()
    first = re.match(r"[a-z]*", inner)
    word = first[0] if first else ""
    if text[-1] == "\n" or len(text) > _LIMIT or not text[1:2].strip():
        return None if len(text) > 1 else True
    if inner == word:
        return True if any(known.startswith(word) for known in _WORDS + _LED) else None
    if inner[-1] in "*)>":
        return False
    return True if word in _WORDS or _LED_ON.fullmatch(inner) else None
