"""What is said over a reply: a mere sign of listening ("mm-hm", "okay"), or a wish for the turn.

`WordCheck` looks for words in the voice, and `TurnTaker` hears of those that ask for the turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from pipeline.engines.whisper import INVENTED, Transcription, bare
from pipeline.session import Inbox
from pipeline.turns.taker import RATE, Suspected

HUMS = frozenset(
    {"ah", "aha", "er", "erm", "hm", "hmm", "hmmm", "mhm", "mm", "mmhm", "mmhmm", "mmm", "mmmm"}
    | {"oh", "uh", "uhhuh", "uhuh", "um", "umm"}
)
"""Those that say nothing where nobody has asked: "yes" and "okay" may take up what was offered."""

SIGNS = HUMS | frozenset(
    {"ahem", "ha", "haha", "huh", "ok", "okay", "right", "sure", "wow", "yeah", "yep", "yes", "yup"}
    | {"who", "where"}
)
"""Signs of listening, as recognisers spell them, without punctuation, and the words that they make
of a hum. Yngve 1970, "On getting a word in edgewise", calls them the back channel."""

DEMANDS = frozenset(
    {"stop", "wait", "no", "pause", "cancel", "quiet", "enough", "listen", "please"}
    | {"sorry", "skip", "help", "excuse", "but"}
)
"""Words that ask for the turn all by themselves. Question words are not among them: a hum is often
taken for one ("Who?", "Where?")."""

SURE = -0.7
"""Mean log-probability per token below which a recogniser only guesses. It keeps out coughs and
laughter, but no hums, of which recognisers are sure."""

SURE_DEMAND = -1.3
"""The same for a demand. Of one short word no recogniser is sure ("stop", of people: -0.8 to -1.1),
and nothing else that was tried (coughs, laughter, hums, music) is taken for a demand."""

SURE_ALONE = -0.9
"""The same for a word that is said alone, and followed by another one: of single digits, of people,
-0.5 to -0.9. Two of them have to be different. Of what was tried (see `interrupts`) one "yes", said
three times and misheard, gave two such words within `REMEMBERED_S`."""

REMEMBERED_S = 4.0
"""Who says word by word pauses for less than this (s)."""

APART_S = 0.5
"""Words that begin within this (s) are one word, in two pieces."""

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

NUMBERS = {str(number): word for number, word in enumerate(_DIGITS)}
"""Recognisers write a spoken number either way."""


def is_hum(heard: Transcription) -> bool:
    """Whether what was said is surely nothing but hums; other languages have words spelt alike.

    Of people a "hm" has a log-probability of -0.8, and a "four" that is taken for "oh" one of -1.9.
    """
    words, sure = bare(heard.text), heard.log_prob >= SURE_ALONE
    return bool(words) and sure and heard.language in ("", "en") and HUMS.issuperset(words)


def interrupts(heard: Transcription, before: str = "") -> bool:
    """Whether what was said over a reply asks for the turn.

    A demand does. Other words do if there are two different ones, and the look before began with
    the same: a hum, a laugh or a sigh is often taken for a word, but seldom twice for the same
    words. `scripts/bench turns orders` counts what gets through.

    Args:
        heard: What has been said so far.
        before: What was made of it at the look before, if there was one.
    """
    if heard.log_prob < SURE_DEMAND:
        return False
    # A guard drops most single words when half of them is heard; a demand is believed all the same.
    if DEMANDS.intersection(_asking(heard.raw or heard.text)[:1]):
        return True
    if not _believed(heard, SURE) or len(set(_asking(heard.text))) < 2:
        return False
    return bare(heard.text)[:1] == bare(before)[:1]


def _believed(heard: Transcription, sure: float) -> bool:
    """Whether the words are neither guessed nor such as recognisers invent."""
    return heard.log_prob >= sure and " ".join(bare(heard.text)) not in INVENTED


def _asking(text: str) -> list[str]:
    """The words that are no signs of listening."""
    return [NUMBERS.get(word, word) for word in bare(text) if word not in SIGNS]


class OneByOne:
    """Words said one by one over a reply. Each alone is none; different ones ask for the turn."""

    def __init__(self) -> None:
        self._said: dict[int, list[str]] = {}

    def add(self, suspected: Suspected, heard: Transcription) -> int | None:
        """Take the newest look at a suspicion; it replaces those before it, if it has words.

        The whole of a short word is now and then taken for a loop, where its beginning was not.

        Args:
            suspected: The suspicion.
            heard: What it holds so far.

        Returns:
            Where the first voice began of those that ask for the turn together; None: none do.
        """
        oldest, newest = suspected.voiced - REMEMBERED_S * RATE, suspected.voiced
        self._said = {at: words for at, words in self._said.items() if oldest <= at <= newest}
        said = _asking(heard.text) if _believed(heard, SURE_ALONE) else []
        if said:
            self._said[newest] = said
        said = self._said.get(newest, [])
        earlier = [
            at
            for at, words in self._said.items()
            if newest - at >= APART_S * RATE and set(said) - set(words)
        ]
        return min(earlier, default=None)


class WordCheck:
    """Looks for words in the voice over a reply, one look after the other.

    A slow recogniser is still at the beginning of a voice that is over. Then the whole of that is
    looked at next. Words that ask for the turn for want of no more than a second look get one when
    the voice is over, at another cut. Nobody speaks in vain because the machine is busy.

    Args:
        hear: Recognises what a suspicion has heard so far; gives None when that fails, for long
            voice interrupts all the same.
        inbox: The session's.
        found: An act that is told where words began that ask for the turn.
    """

    def __init__(
        self,
        hear: Callable[[Suspected], Coroutine[Any, Any, Transcription | None]],
        inbox: Inbox,
        found: Callable[[int], None],
    ) -> None:
        self._hear = hear
        self._inbox = inbox
        self._found = found
        self._next: Suspected | None = None
        self._whole: Suspected | None = None
        self._before: tuple[int, str] = (-1, "")
        # The voice whose words, at the newest look, lack but a second look.
        self._nearly: Suspected | None = None
        self._one_by_one = OneByOne()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether something is being recognised."""
        return self._task is not None and not self._task.done()

    @property
    def undecided(self) -> int | None:
        """Where a voice began whose words lack but a second look; None: there is none."""
        return None if self._nearly is None else self._nearly.start

    def forget(self) -> None:
        """A turn begins: what was said before it asks for nothing any more."""
        self._next = self._whole = None
        self._before = (-1, "")
        self._nearly = None
        self._one_by_one = OneByOne()

    def look(self, suspected: Suspected) -> None:
        """Look for words; of those that come while it looks the last one is looked at next."""
        if self.running:
            self._next = suspected
        else:
            self._begin(suspected)

    def over(self, whole: Suspected) -> None:
        """The voice is over: what was not looked at of it, and of those before, is next."""
        if self.running:
            first = self._whole or whole
            self._next, self._whole = None, replace(whole, start=first.start, voiced=first.voiced)
        elif self._nearly is not None and self._nearly.voiced == whole.voiced:
            self._begin(_cut(whole))

    def _begin(self, suspected: Suspected, *, whole: bool = False) -> None:
        words = self._one_by_one

        def heard(found: Transcription | None) -> None:
            if found is None:
                self._next = self._whole = None
                return
            known = words is not self._one_by_one or self._weigh(suspected, found)
            nearly = not known and interrupts(found, found.text)
            self._nearly = suspected if nearly else None
            if nearly and whole:
                self._begin(_cut(suspected))
            elif self._whole is not None:
                following, self._whole = self._whole, None
                self._begin(following, whole=True)
            elif self._next is not None:
                following, self._next = self._next, None
                self._begin(following)

        self._task = self._inbox.start(self._hear(suspected), heard)

    def _weigh(self, suspected: Suspected, heard: Transcription) -> bool:
        """Whether words ask for the turn; if so, that is told."""
        voiced, before = self._before
        self._before = (suspected.voiced, heard.text)
        since = self._one_by_one.add(suspected, heard)
        if interrupts(heard, before if voiced == suspected.voiced else ""):
            since = suspected.voiced if since is None else since
        if since is not None:
            self._found(since)
        return since is not None


def _cut(suspected: Suspected) -> Suspected:
    """The same voice from another place on, for a second look."""
    return replace(suspected, start=(suspected.start + suspected.voiced) // 2)
