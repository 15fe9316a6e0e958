"""Whether a text reads as finished: rules on its last words. Pure.

Sure of one thing only: nobody stops for good after "I want to book a". That a text could stop where
it does says less, for most could also go on. The numbers here only put the cases in order; what
they are worth as evidence, `end_of_turn.probability` knows.
"""

from __future__ import annotations

import re
from typing import Final

from pipeline.text.language_names import code_of

UNFINISHED: Final = 0.03
"""After a word that needs another one: an article, a preposition, a conjunction."""

HANGING: Final = 0.15
"""After a word that mostly needs another one: "I want", "it is"."""

EVEN: Final = 0.5
"""A text that may well be all, and may well go on: "what", "turn the light on"."""

LIKELY: Final = 0.75
"""A sentence with all that it needs."""

FINISHED: Final = 0.95
"""A text that little can follow: "yes", "…, please"."""

_UNMARKED = 0.85  # factor: Whisper ends a finished sentence with a mark, save in whisper-mini
_NUMBER = 0.8  # factor: "twenty" may be on its way to "twenty five"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words after which no speaker of the language stops, save to think. Particles that can end a
# sentence ("mach das Licht an") are not among them.
_NEVER_LAST = {
    "en": _set(
        "a an the my your our their and or but because if unless although whether of to from into "
        "onto at than per via between among during plus minus times every um uh uhm umm er erm hmm "
        "mr mrs dr i we they he she i'm i'd i'll i've you're we're they're he's she's it's there's "
        "that's who's what's where's how's let's called named divided multiplied very whose"
    ),
    "de": _set(
        "der die das den dem des ein eine einen einem einer eines mein meine meinen meinem meiner "
        "dein deine ihr ihre sein seine unser unsere und oder aber weil wenn dass ob von zum zur "
        "im am beim vom für ohne gegen äh ähm ich wir sehr"
    ),
    "fr": _set(
        "le la les l un une des du de d à au aux mon ma mes ton ta tes son sa ses notre nos votre "
        "vos leur leurs et ou mais parce que qui si pour avec sans dans sur chez par je j très euh"
    ),
    "es": _set(
        "el la los las un una unos unas de del al a mi mis tu tus su sus nuestro nuestra y e o u "
        "pero porque que si para por con sin en sobre desde hasta muy eh"
    ),
    "it": _set(
        "il lo la i gli le l un uno una di del della dei delle da dal al alla nel nella con su per "
        "e o ma perché che se mio mia tuo tua suo sua molto ehm"
    ),
    "nl": _set("de het een mijn jouw zijn haar ons onze en of maar omdat als dat van voor met eh"),
    "pt": _set(
        "o a os as um uma de do da dos das em no na nos nas ao à meu minha seu sua e ou mas porque "
        "que se para por com sem muito hum"
    ),
}

# They end a sentence only if something before them calls for it: "where are you from".
_STRANDED = _set("for with about to from like")
_PARTICLES = _set("on off up down in out over back around through by away along")
_PARTICLE_VERBS = _set("turn switch put pick take set get come go log sign hang shut")
_AUXILIARIES = _set(
    "is are was were am be been do does did have has had can could will would should shall may "
    "might must isn't aren't wasn't don't doesn't didn't can't couldn't won't wouldn't shouldn't"
)
_NEED_MORE = _set(
    "want need wants needs wanted needed tell tells told remind let make give send put set add "
    "show find bring buy book order call play turn switch translate convert write read some any no "
    "another other many much more most few several next last this these those which "
    "really so too as not her his its with for about nearest biggest good new old "
    "between like going trying gonna wanna also until before after while since"
)
_NOUNS_TOO = _set("order book call play show set find buy need like switch")
_DETERMINERS = _set("a an the my your our their his her its this that any some no")
_MODALS = _set("do does did don't doesn't didn't can can't could will would should shall may might")
_MAY_END = _set("more much so too as not this those these her his its like no some")
_OPENS_A_CLAUSE = _set("if because although though unless while since whenever")
_STRANDS = _set("what who whom where which what's who's where's")
_SUBJECTS = _set("i you he she it we they that this there")
_QUESTION = _set("what who whom whose which when where why how what's who's where's how's when's")
_ASKING = _QUESTION | _AUXILIARIES
_KNOWING = _set("know tell wonder understand see remember explain guess think hope say ask sure")
_NUMBERS = _set(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
    "hundred thousand million half quarter"
)
_LAST = _set("please thanks thank goodbye bye tonight again now here there instead anyway maybe")
_WHOLE = _set(
    "yes no yeah yep nope okay ok sure stop thanks hello hi hey goodbye bye cancel continue help "
    "right exactly perfect great good wait next louder repeat pause really maybe never"
)
_OPENERS = _set("so well okay ok and but now then also actually")

_ALPHABET = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_TRAILING = re.compile(r"(?:\.\.+|…|[-–—,:;])[\"'”’)\s]*$")
_MARKED = re.compile(r"[.?!。？！][\"'”’)\s]*$")


def completeness(text: str, language: str = "en") -> float | None:
    """How much a text reads as a finished turn, from 0 (plainly not) to 1 (plainly).

    Punctuation counts only where it tells of an open end ("I want to…", a comma) or is missing:
    recognisers put a full stop after almost anything.

    Args:
        text: What was said so far, as a recogniser writes it.
        language: Its code. Of other languages than English only plainly open ends are known, of
            some not even those.

    Returns:
        None where the rules say nothing: no words, or a language that they do not know.
    """
    words = [word.replace("’", "'") for word in _ALPHABET.findall(text.lower())]
    if not words:
        return None
    language = code_of(language)
    if _TRAILING.search(text):
        return UNFINISHED if not text.rstrip().endswith(",") else HANGING
    if language != "en":
        return UNFINISHED if words[-1] in _NEVER_LAST.get(language, ()) else None
    found = _english(_sentence(text, words))
    return found if found <= HANGING or _MARKED.search(text) else found * _UNMARKED


def _sentence(text: str, words: list[str]) -> list[str]:
    """The words of the last sentence; those of all if it has fewer than two."""
    parts = re.split(r"[.?!]\s+", text.lower().strip())
    last = [word.replace("’", "'") for word in _ALPHABET.findall(parts[-1])]
    return last if last else words


def _english(words: list[str]) -> float:
    while len(words) > 1 and words[0] in _OPENERS:
        words = words[1:]
    last, first = words[-1], words[0]
    before = words[-2] if len(words) > 1 else ""
    if len(words) == 1:
        return _single(last)
    if last in _STRANDED and first in _STRANDS and len(words) > 3 and _has_verb(words):
        return EVEN
    if last in _NEVER_LAST["en"]:
        return UNFINISHED
    if last in _NOUNS_TOO and before in _DETERMINERS:
        return _plain(words)
    if last in _SUBJECTS and before in _MODALS and words != ["do", last]:
        return UNFINISHED
    if _hangs(words):
        return HANGING
    if last in _PARTICLES:
        return _particle(words)
    if last in _AUXILIARIES:
        return _auxiliary(words)
    if last == "like" and before in ("would", "i'd", "we'd", "looks", "feels", "sounds"):
        return UNFINISHED
    if last in _NEED_MORE:
        return _wanting(words)
    if last in _LAST:
        return FINISHED
    if last in _NUMBERS:
        return LIKELY * _NUMBER
    return _plain(words)


def _hangs(words: list[str]) -> bool:
    """Two words that want a third, or half a sentence: "tell me", "if it rains"."""
    first, before, last = words[0], words[-2], words[-1]
    if last == "that":
        return before in _KNOWING
    if last == "please":
        return len(words) < 4 and first in _MODALS
    if last in ("me", "you") and before in ("tell", "remind", "give", "send", "show", "ask"):
        return True
    return last in _QUESTION or (first in _OPENS_A_CLAUSE and len(words) < 5)


def _single(word: str) -> float:
    if word in _WHOLE:
        return FINISHED
    if word in _NEVER_LAST["en"]:
        return UNFINISHED
    if word in _QUESTION:
        return EVEN
    if word in _AUXILIARIES or word in _NEED_MORE or word in _OPENERS:
        return HANGING
    return (EVEN + LIKELY) / 2  # an answer: "Berlin"


def _particle(words: list[str]) -> float:
    """May be all: "turn the light on"; not: "turn on", "I live in"."""
    if words[0] in _PARTICLE_VERBS and len(words) > 2:
        return EVEN
    if words[0] in _QUESTION and len(words) > 3:
        return EVEN
    # "Is the light on", "go back", "hold on": short, and the particle belongs to the verb.
    if words[0] in _AUXILIARIES and len(words) > 3:
        return EVEN
    if words[-2] in ("go", "hold", "come", "shut", "it", "them", "wake"):
        return EVEN
    return EVEN if words[-1] in ("back", "away", "around", "out") else UNFINISHED


def _auxiliary(words: list[str]) -> float:
    """Whole: "yes, I do", "tell me who he is"; not: "what time is", "it is"."""
    if words[-2] in _SUBJECTS:
        if words[0] in ("yes", "no", "yeah", "so"):
            return LIKELY
        if any(word in _KNOWING for word in words[:-2]) or words[0] in _QUESTION:
            return LIKELY * _NUMBER
        return HANGING
    return UNFINISHED


def _wanting(words: list[str]) -> float:
    """May be all: "tell me more", "what is this"; not: "I want", "set the next"."""
    last, before = words[-1], words[-2]
    if last in ("more", "much") and before in ("me", "very", "once", "any", "how", "too", "so"):
        return LIKELY
    if last in _MAY_END and (words[0] in _ASKING or len(words) > 3):
        return EVEN if before not in _NEVER_LAST["en"] else HANGING
    if words[0] in _QUESTION and last in ("want", "need", "call", "play", "order", "say", "find"):
        return LIKELY  # what do you want
    return HANGING


def _plain(words: list[str]) -> float:
    """A last word that can be one: the more there is before it, the likelier it is."""
    first, n = words[0], len(words)
    if tuple(words[-2:]) in (("thank", "you"), ("a", "lot"), ("of", "course"), ("never", "mind")):
        return FINISHED
    if first in _ASKING:
        return LIKELY if n > 3 or (n == 3 and _has_verb(words)) else EVEN * (1.0 if n > 2 else 0.7)
    if first in _SUBJECTS or "'" in first:
        return LIKELY if n > 2 else EVEN
    return LIKELY if n > 2 else (EVEN + LIKELY) / 2


def _has_verb(words: list[str]) -> bool:
    return any(word in _AUXILIARIES or word.endswith(("'s", "'re")) for word in words)
