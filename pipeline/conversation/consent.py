"""May a tool be called? What the user is asked, and what the answer means. Pure.

Who waits for an answer gets it from `Question`, which the replies of a session tell what happens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pipeline.clock import NS_PER_S
from pipeline.conversation.phrases import PHRASES, POLITE, Phrases, called_off
from pipeline.engines.whisper import bare
from pipeline.errors import one_line
from pipeline.text.language_names import code_of
from pipeline.turns.barge_in import HUMS

SILENCE_S = 8.0
"""Who says nothing for so long after a question does not want it."""

ASKED_S = 1.0
"""So much of a question has to be heard before what is said is an answer; else it is asked anew."""

VALUE_CHARS = 60
"""Longest argument that is read aloud."""

MOST_VALUES = 3
"""So many arguments are read aloud: nobody keeps more in mind."""


def question(tool: str, arguments: Mapping[str, Any], language: str) -> str:
    """What the user is asked: English, where the voice's language is none that is known here."""
    words = _phrases(language)
    parts = []
    for name, value in list(arguments.items())[:MOST_VALUES]:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        said = one_line(re.sub(r"_+", " ", text), VALUE_CHARS)
        parts.append(f"{_spoken(name)} {said}")
    with_ = words.join + ", ".join(parts) if parts else ""
    return words.ask.format(tool=_spoken(tool), with_=with_)


def again(language: str) -> str:
    """What is said when it is not clear what the answer was."""
    return _phrases(language).unclear


def agreed(answer: str, language: str, asked: str = "") -> bool | None:
    """Whether somebody says yes; None: that is not clear.

    Whoever says no anywhere says no. Yes is what agrees and says nothing else: "Okay, to whom?" and
    "Yes, but only the first" are something else, and so is "Yes?".

    Args:
        answer: What was heard.
        language: Code of what the voice speaks.
        asked: The question, as it was read out: an answer may repeat its words.
    """
    said = " ".join(re.sub(r"[^\w' -]", " ", answer.lower().replace("’", "'")).split())
    known = [_phrases(language), PHRASES["en"]]
    noes = [no for each in known for no in each.no.split("|")]
    if called_off(answer) or _without(noes, said) != said:
        return False
    left = _without([yes for each in known for yes in each.yes.split("|")], said)
    hums = HUMS if code_of(language) == "en" else ()  # "um" is "one" in Portuguese
    more = {*POLITE, *hums, *bare(re.sub(r"[\W_]", " ", asked))}
    agrees = left != said and "?" not in answer and more.issuperset(bare(left))
    return agrees or None


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
    asked = question(tool, arguments, language)
    for line in (asked, again(language)):
        answer = await ask(line)
        if answer is None:
            return False
        if (found := agreed(answer, language, asked)) is not None:
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


def _without(phrases: list[str], said: str) -> str:
    """Words without those of these phrases, the longest first."""
    longest = sorted(phrases, key=len, reverse=True)
    return re.sub(rf"(?<!\S)(?:{'|'.join(map(re.escape, longest))})(?!\S)", "", said)


def _phrases(language: str) -> Phrases:
    return PHRASES.get(code_of(language), PHRASES["en"])


def _spoken(name: str) -> str:
    """A name of a program's as it can be read aloud."""
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", name).split())
