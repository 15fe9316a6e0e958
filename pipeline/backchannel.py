"""What is said over a reply: a mere sign of listening ("mm-hm", "okay"), or a wish for the turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pipeline.stages.stt import INVENTED, Transcription, bare
from pipeline.turns import Suspected

SIGNS = frozenset(
    {"ah", "aha", "ahem", "er", "erm", "ha", "haha", "hm", "hmm", "hmmm", "huh", "mhm", "mm"}
    | {"mmhm", "mmhmm", "mmm", "mmmm", "oh", "ok", "okay", "right", "sure", "uh", "uhhuh", "uhuh"}
    | {"um", "umm", "wow", "yeah", "yep", "yes", "yup"}
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


def interrupts(heard: Transcription, before: str = "") -> bool:
    """Whether what was said over a reply asks for the turn.

    A demand does. Other words do if there are two different ones, and the look before began with
    the same: a hum, a laugh or a sigh is often taken for a word, but seldom twice for the same
    words. `scripts/bench turns people` counts what gets through.

    Args:
        heard: What has been said so far.
        before: What was made of it at the look before, if there was one.
    """
    if heard.log_prob < SURE_DEMAND:
        return False
    # A guard drops most single words when half of them is heard; a demand is believed all the same.
    if DEMANDS.intersection(_asking(bare(heard.raw or heard.text))[:1]):
        return True
    said = bare(heard.text)
    if heard.log_prob < SURE or " ".join(said) in INVENTED:
        return False
    return len(set(_asking(said))) > 1 and said[:1] == bare(before)[:1]


def _asking(said: list[str]) -> list[str]:
    """The words that are no signs of listening."""
    return [word for word in said if word not in SIGNS]


class WordCheck:
    """Looks for words in the voice over a reply, one look after the other.

    Args:
        hear: Recognises what a suspicion has heard so far; gives None when that fails, for long
            voice interrupts all the same.
        start: Starts a task that ends with the session.
        found: Told of a suspicion with words that ask for the turn.
    """

    def __init__(
        self,
        hear: Callable[[Suspected], Awaitable[Transcription | None]],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        found: Callable[[Suspected], None],
    ) -> None:
        self._hear = hear
        self._start = start
        self._found = found
        self._next: Suspected | None = None
        self._before: tuple[int, str] = (-1, "")
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether something is being recognised."""
        return self._task is not None and not self._task.done()

    def look(self, suspected: Suspected) -> None:
        """Look for words; of those that come while it looks the last one is looked at next."""
        self._next = suspected
        if not self.running:
            self._task = self._start(self._look())

    async def _look(self) -> None:
        while (suspected := self._next) is not None:
            self._next = None
            heard = await self._hear(suspected)
            if heard is None:
                return
            voiced, before = self._before
            self._before = (suspected.voiced, heard.text)
            if interrupts(heard, before if voiced == suspected.voiced else ""):
                self._found(suspected)
