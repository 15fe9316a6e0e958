"""May a tool be called? What the user is asked, and what the answer means. Pure.

Who waits for an answer gets it from `Question`, which the replies of a session tell what happens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from pipeline.clock import NS_PER_S
from pipeline.errors import one_line
from pipeline.text.language_names import code_of

SILENCE_S = 8.0
"""Who says nothing for so long after a question does not want it."""

ASKED_S = 1.0
"""So much of a question has to be heard before what is said is an answer; else it is asked anew."""

MOST_WORDS = 10
"""Who says more than that says something else, and no mere yes."""

VALUE_CHARS = 60
"""Longest argument that is read aloud."""

MOST_VALUES = 3
"""So many arguments are read aloud: nobody keeps more in mind."""


class _Words(NamedTuple):
    """How a language asks, and answers: words and phrases, without accents and signs."""

    ask: str
    join: str
    again: str
    yes: str
    no: str


_LANGUAGES = {
    "en": _Words(
        "May I use {tool}{with_}? Say yes or no.",
        " with ",
        "Please say yes or no.",
        "yes|yeah|yep|yup|sure|ok|okay|go ahead|do it|please do|of course|certainly|absolutely|"
        "you may|go on|fine|alright",
        "no|nope|nah|not|don't|dont|do not|never|stop|cancel|wait|please don't|rather not",
    ),
    "de": _Words(
        "Darf ich {tool} benutzen{with_}? Sag ja oder nein.",
        " mit ",
        "Bitte sag ja oder nein.",
        "ja|jawohl|jo|klar|ok|okay|gerne|mach das|mach es|natürlich|sicher|in ordnung|bitte",
        "nein|nö|ne|nee|nicht|kein|keine|lass|lass das|niemals|stopp|halt|abbrechen",
    ),
    "fr": _Words(
        "Puis-je utiliser {tool}{with_} ? Dites oui ou non.",
        " avec ",
        "Dites oui ou non, s'il vous plaît.",
        "oui|ouais|d'accord|ok|okay|bien sûr|vas-y|allez-y|certainement|volontiers",
        "non|pas|jamais|arrête|arrêtez|annule|annulez|stop",
    ),
    "es": _Words(
        "¿Puedo usar {tool}{with_}? Di sí o no.",
        " con ",
        "Por favor, di sí o no.",
        "sí|si|claro|vale|ok|okay|de acuerdo|adelante|hazlo|por supuesto|desde luego",
        "no|nunca|para|cancela|mejor no|tampoco",
    ),
    "it": _Words(
        "Posso usare {tool}{with_}? Di' sì o no.",
        " con ",
        "Per favore, di' sì o no.",
        "sì|si|certo|va bene|ok|okay|d'accordo|fallo|vai|certamente",
        "no|non|mai|ferma|fermati|annulla",
    ),
    "pt": _Words(
        "Posso usar {tool}{with_}? Diga sim ou não.",
        " com ",
        "Por favor, diga sim ou não.",
        "sim|claro|ok|okay|está bem|tudo bem|pode|com certeza|vai em frente",
        "não|nao|nunca|para|pare|cancela|cancele",
    ),
    "nl": _Words(
        "Mag ik {tool} gebruiken{with_}? Zeg ja of nee.",
        " met ",
        "Zeg alsjeblieft ja of nee.",
        "ja|jawel|jazeker|ok|oké|okay|prima|goed|doe maar|natuurlijk|zeker",
        "nee|neen|niet|geen|nooit|stop|annuleer",
    ),
    "pl": _Words(
        "Czy mogę użyć {tool}{with_}? Powiedz tak lub nie.",
        " z ",
        "Proszę powiedzieć tak lub nie.",
        "tak|jasne|dobrze|ok|okej|oczywiście|proszę|zgoda|pewnie",
        "nie|nigdy|stop|anuluj|przestań",
    ),
    "sv": _Words(
        "Får jag använda {tool}{with_}? Säg ja eller nej.",
        " med ",
        "Säg ja eller nej, tack.",
        "ja|javisst|jo|ok|okej|visst|gör det|absolut|gärna|självklart",
        "nej|nä|inte|aldrig|stopp|avbryt",
    ),
    "cs": _Words(
        "Mohu použít {tool}{with_}? Řekněte ano nebo ne.",
        ", ",
        "Řekněte prosím ano nebo ne.",
        "ano|jo|jasně|dobře|ok|okej|samozřejmě|klidně",
        "ne|nikdy|stop|zruš|zrušit",
    ),
    "ru": _Words(
        "Можно использовать {tool}{with_}? Скажите да или нет.",
        ", ",
        "Скажите, пожалуйста, да или нет.",
        "да|ага|конечно|хорошо|ок|окей|ладно|можно|давай|давайте",
        "нет|не|никогда|стоп|отмена|нельзя",
    ),
    "uk": _Words(
        "Чи можна використати {tool}{with_}? Скажіть так або ні.",
        ", ",
        "Скажіть, будь ласка, так або ні.",
        "так|ага|звичайно|добре|ок|окей|гаразд|можна|давай|давайте",
        "ні|не|ніколи|стоп|скасуй|не можна",
    ),
    "tr": _Words(
        "{tool} kullanabilir miyim{with_}? Evet ya da hayır deyin.",
        ", ",
        "Lütfen evet ya da hayır deyin.",
        "evet|tamam|olur|peki|tabii|elbette|ok|okey|yap",
        "hayır|yok|olmaz|asla|dur|iptal|yapma",
    ),
}


def question(tool: str, arguments: Mapping[str, Any], language: str) -> str:
    """What the user is asked: English, where the voice's language is none that is known here."""
    words = _words(language)
    parts = []
    for name, value in list(arguments.items())[:MOST_VALUES]:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        said = one_line(re.sub(r"_+", " ", text), VALUE_CHARS)
        parts.append(f"{_spoken(name)} {said}")
    with_ = words.join + ", ".join(parts) if parts else ""
    return words.ask.format(tool=_spoken(tool), with_=with_)


def again(language: str) -> str:
    """What is said when it is not clear what the answer was."""
    return _words(language).again


def agreed(answer: str, language: str) -> bool | None:
    """Whether somebody says yes; None: that is not clear. Whoever says no anywhere says no."""
    words = re.sub(r"[^\w' -]", " ", answer.lower().replace("’", "'")).split()
    said = f" {' '.join(words)} "
    if not words:
        return None
    known = [_words(language), _LANGUAGES["en"]]
    if any(f" {no} " in said for each in known for no in each.no.split("|")):
        return False
    if len(words) > MOST_WORDS:
        return None
    return any(f" {yes} " in said for each in known for yes in each.yes.split("|")) or None


async def allowed(
    ask: Callable[[str], Awaitable[str | None]],
    tool: str,
    arguments: Mapping[str, Any],
    language: str,
) -> bool:
    """Ask whether a tool may be called, once more if that is not clear, and then take it for no.

    Args:
        ask: Speaks a line and gives what is said to it; None: nothing is.
        tool: Its name.
        arguments: Of the call.
        language: Code of what the voice speaks.
    """
    for line in (question(tool, arguments, language), again(language)):
        answer = await ask(line)
        if answer is None:
            return False
        if (found := agreed(answer, language)) is not None:
            return found
    return False


class Question:
    """A question that is asked aloud: told, heard, and answered by the next words, or by nothing.

    Args:
        line: What is asked.
        answered: Gets the answer; None: there is none.

    Attributes:
        line: As given.
        told: Whether it is being spoken, or was.
        heard: Whether all of it was.
        turn: The user's turn that answers it; 0: there is none yet.
    """

    def __init__(self, line: str, answered: Callable[[str | None], None]) -> None:
        self.line = line
        self.told = self.heard = False
        self.turn = 0
        self._answered = answered
        self._told_ns = self._quiet_ns = 0

    def tell(self, now_ns: int) -> None:
        """It is spoken from now on."""
        self.told, self._told_ns = True, now_ns

    def begun(self, turn: int, now_ns: int) -> bool:
        """The user speaks; whether that is an answer, and not something that was said before."""
        if self.told and now_ns - self._told_ns >= ASKED_S * NS_PER_S:
            self.turn = turn
            return True
        self.told = self.heard = False
        return False

    def quiet(self, now_ns: int) -> None:
        """Nobody speaks: the question was heard, and no answer is coming yet."""
        if not self.heard:
            self.heard, self._quiet_ns = True, now_ns
        elif now_ns - self._quiet_ns >= SILENCE_S * NS_PER_S:
            self._answered(None)

    def busy(self, now_ns: int) -> None:
        """Somebody speaks, or what was said is being recognised."""
        self._quiet_ns = now_ns

    def answer(self, words: str) -> None:
        """What was said in the turn that answers it; a turn without words is none."""
        self.turn = 0
        if words.strip():
            self._answered(words)


def _words(language: str) -> _Words:
    return _LANGUAGES.get(code_of(language), _LANGUAGES["en"])


def _spoken(name: str) -> str:
    """A name of a program's as it can be read aloud."""
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", name).split())
