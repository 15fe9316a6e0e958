"""What is computed while the user speaks, before anybody waits for it.

Partial transcripts, and which words of them are sure; the prompt, read by the model before it is
asked; whether a pause ends the turn; whether there are words in the voice over a reply. The turn
can do without any of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline.clock import Clock
from pipeline.conversation.reply import Engines
from pipeline.engines.llm import Messages
from pipeline.engines.whisper import Audio, Transcription, bare
from pipeline.errors import StageError
from pipeline.session import Inbox
from pipeline.turns.barge_in import OneByOne, interrupts
from pipeline.turns.completeness import completeness
from pipeline.turns.end_of_turn import FRAGMENT_WORDS, Evidence
from pipeline.turns.taker import RATE, Suspected

BUDGET = 0.25
"""Share of the time between two partial transcripts that making one may take; with a slow model
they come less often. A final transcript may have to wait behind a partial one."""

MARGIN_WORDS = 1
"""Words at the end of an agreement that are not trusted: the next sound may still change them."""

MARKS = '.,?!;:…-–—"”'
"""What may follow a word, and is no part of it."""

BEHIND_S = 0.15
"""Audio that is judged later than this shows that the machine cannot keep up: nothing optional is
computed then."""

READ_WORDS = 2
"""So many more stable words are worth a request that lets the model read them."""

Aside = Callable[[Audio, float | None, str], Coroutine[Any, Any, Transcription | None]]
"""Recognises 16 kHz audio with so much voice in it (ms; None: unknown), and the words that it
surely begins with; gives None where that fails."""

log = logging.getLogger(__name__)


class Recogniser:
    """The recogniser of a session: it keeps to one language, once that is beyond doubt."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._language = ""
        self._failed = False

    async def transcribe(
        self, audio: Audio, voiced_ms: float | None, prefix: str = ""
    ) -> Transcription:
        """Recognise an utterance (see `Engines.transcribe`).

        Raises:
            StageError: That fails.
        """
        heard = await self._engines.transcribe(
            audio, voiced_ms, prefix=prefix, language=self._language
        )
        if heard.sure:
            self._language = heard.language
        return heard

    async def aside(
        self, audio: Audio, voiced_ms: float | None = None, prefix: str = ""
    ) -> Transcription | None:
        """Recognise what the turn can do without; None if that fails, and the first time a line."""
        try:
            return await self.transcribe(audio, voiced_ms, prefix)
        except StageError as error:
            level = logging.DEBUG if self._failed else logging.WARNING
            self._failed = True
            log.log(level, "what is said cannot be recognised while it is said: %s", error)
            return None


class Agreement:
    """Which words consecutive transcripts of a growing utterance agree on. Pure.

    Local agreement of two: Liu et al. 2020 (arXiv:2005.11185), for Whisper Macháček et al. 2023
    (arXiv:2307.14743).
    """

    def __init__(self) -> None:
        self._last: list[str] = []
        self._stable = 0

    def push(self, text: str) -> str:
        """Take the next transcript; gives its stable words: all that were, unless it takes back.

        A mark after a word is among them only where both transcripts have it, with a word after it:
        audio that stops in the middle of a sentence gets a full stop all the same, and a model that
        is told to go on from there begins a new sentence, or the same one again.
        """
        words = text.split()
        agreed = 0
        for old, new in zip(self._last, words, strict=False):
            if bare(old) != bare(new):
                break
            agreed += 1
        # Of a transcript that takes back what was sure, nothing is trusted but what it confirms.
        kept = self._stable if agreed >= self._stable else 0
        self._stable = max(kept, agreed - MARGIN_WORDS)
        inner = self._last[:-1]
        self._last = words
        sure = (
            word if i < len(inner) and inner[i] == word else word.rstrip(MARKS)
            for i, word in enumerate(words[: self._stable])
        )
        return " ".join(word for word in sure if word)


class Partials:
    """Transcribes the running utterance now and then.

    Attributes:
        stable: The words that it surely begins with. They need not be recognised again, and the
            language model can read them before the user has finished.

    Args:
        transcribe: The recogniser. Where it fails, the final transcript will tell.
        every_ms: Time between two transcripts; 0 makes none.
        clock: Measures what they cost.
        inbox: The session's.
        tell: An act that gets the turn, each transcript, and its stable words.
    """

    def __init__(
        self,
        transcribe: Aside,
        *,
        every_ms: int,
        clock: Clock,
        inbox: Inbox,
        tell: Callable[[int, str, str], None],
    ) -> None:
        self.stable = ""
        self._transcribe = transcribe
        self._every_s = every_ms / 1000
        self._clock = clock
        self._inbox = inbox
        self._tell = tell
        self._turn = 0
        self._from = 0
        self._agreement = Agreement()
        self._task: asyncio.Task[None] | None = None
        self._cost_s = 0.0

    @property
    def running(self) -> bool:
        """Whether a transcript is being made."""
        return self._task is not None and not self._task.done()

    def begin(self, turn: int, start: int) -> None:
        """An utterance begins at this sample offset."""
        self._turn = turn
        self._from = start
        self._agreement = Agreement()
        self.stable = ""

    def due(self, end: int, captured_ns: int) -> bool:
        """Whether to `make` one now, of audio up to sample `end`, captured at `captured_ns`."""
        if not self._every_s or self.running:
            return False
        if self._clock.now_ns() - captured_ns > BEHIND_S * 1e9:
            return False
        wait_s = max(self._every_s, self._cost_s / BUDGET)
        return end - self._from >= wait_s * RATE

    def make(self, audio: Audio, end: int) -> None:
        """Begin to transcribe the utterance so far, which ends at sample `end`."""
        self._from = end
        turn, began = self._turn, self._clock.now_ns()

        def heard(found: Transcription | None) -> None:
            self._cost_s = (self._clock.now_ns() - began) / 1e9
            if turn == self._turn and found is not None and found.text:
                self.stable = self._agreement.push(found.text)
                self._tell(turn, found.text, self.stable)

        self._task = self._inbox.start(self._transcribe(audio, None, self.stable), heard)


class ReadAhead:
    """Lets the model read a prompt.

    Mostly it knows the beginning already; after old turns were left out it has to read all of the
    rest, which would take seconds if it began when the user waits.
    """

    def __init__(self, engines: Engines, inbox: Inbox) -> None:
        self._engines = engines
        self._inbox = inbox
        self._task: asyncio.Task[None] | None = None
        self._words = 0

    @property
    def running(self) -> bool:
        """Whether the model is reading."""
        return self._task is not None and not self._task.done()

    def new_turn(self) -> None:
        """The user begins to speak."""
        self._words = 0

    def begin(self, messages: Messages) -> None:
        """Read in the background."""
        self._task = self._inbox.start(self.read(messages), lambda _: None)

    def follow(self, stable: str, messages: Callable[[], Messages]) -> None:
        """The user has surely said so much by now: read that if it is enough, and nothing else is.

        Args:
            stable: The words.
            messages: Gives the prompt with them.
        """
        words = len(stable.split())
        if words >= self._words + READ_WORDS:
            self._words = words
            if not self.running:
                self.begin(messages())

    def stop(self) -> None:
        """The model is asked now, and not for anything else."""
        if self._task is not None:
            self._task.cancel()

    async def read(self, messages: Messages) -> None:
        """Read. It may fail: if that matters, the next turn will tell."""
        try:
            await self._engines.read_ahead(messages)
        except StageError as error:
            log.debug("reading ahead: %s", error)


class Foresight:
    """Whether a turn is over, foreseen in a pause: asks all who can tell and adds up the answers.

    Args:
        engines: Hear the melody, and judge the words.
        inbox: The session's.
        tell: An act that gets the pause (its `speech_end`) and all that is known of it, whenever
            more is.
    """

    def __init__(
        self, engines: Engines, inbox: Inbox, tell: Callable[[int, Evidence], None]
    ) -> None:
        self._engines = engines
        self._inbox = inbox
        self._tell = tell
        self._pause: int | None = None
        self._evidence = Evidence()
        self._deaf = False

    def begin(self, speech_end: int, sound: Audio) -> None:
        """A pause begins.

        The melody is asked now and not again: of people it tells most right after the last word,
        and nothing after half a second of silence.

        Args:
            speech_end: Its name.
            sound: The utterance up to now.
        """
        self._pause = speech_end
        self._evidence = Evidence()
        if not self._deaf:
            self._inbox.start(
                self._listen(sound), lambda melody: self._add(speech_end, melody=melody)
            )

    def end(self) -> None:
        """The pause is over: what comes now comes too late."""
        self._pause = None

    async def read(self, messages: Messages, heard: Transcription) -> None:
        """The words before the pause are known, and the prompt that ends with them."""
        pause = self._pause
        if pause is None:
            return
        if not heard.text:
            # A noise: the turn is yet to come, and what follows soon belongs to it.
            self._know(pause, words=0.0)
            return
        fragment = len(heard.text.split()) <= FRAGMENT_WORDS
        self._know(
            pause,
            words=completeness(heard.text, heard.language),
            sure=math.exp(heard.log_prob),
            asked=asks(messages),
            fragment=fragment,
        )
        if not fragment:
            self._know(pause, judged=await self._engines.judge(messages))

    async def _listen(self, sound: Audio) -> float | None:
        try:
            return await self._engines.melody(sound)
        except StageError as error:
            self._deaf = True
            log.warning("turns are ended by words and silence alone from now on: %s", error)
            return None

    def _know(self, pause: int, **known: Any) -> None:
        self._inbox.put(lambda: self._add(pause, **known))

    def _add(self, pause: int, **known: Any) -> None:
        if pause == self._pause:
            self._evidence = dataclasses.replace(self._evidence, **known)
            self._tell(pause, self._evidence)


def asks(messages: Messages) -> bool:
    """Whether the last of the messages answers a question: what the assistant said before it."""
    before = messages[-2] if len(messages) > 1 else {}
    said = str(before.get("content") or "") if before.get("role") == "assistant" else ""
    return said.rstrip(" \n\"'”’)").endswith(("?", "？"))


class WordCheck:
    """Looks for words in the voice over a reply, one look after the other.

    Args:
        hear: Recognises what a suspicion has heard so far; gives None when that fails, for long
            voice interrupts all the same.
        inbox: The session's.
        found: An act that is told of a suspicion with words that ask for the turn, and where they
            began.
    """

    def __init__(
        self,
        hear: Callable[[Suspected], Coroutine[Any, Any, Transcription | None]],
        inbox: Inbox,
        found: Callable[[Suspected, int], None],
    ) -> None:
        self._hear = hear
        self._inbox = inbox
        self._found = found
        self._next: Suspected | None = None
        self._before: tuple[int, str] = (-1, "")
        self._one_by_one = OneByOne()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether something is being recognised."""
        return self._task is not None and not self._task.done()

    def forget(self) -> None:
        """A turn begins: what was said before it asks for nothing any more."""
        self._next = None
        self._before = (-1, "")
        self._one_by_one = OneByOne()

    def look(self, suspected: Suspected) -> None:
        """Look for words; of those that come while it looks the last one is looked at next."""
        if self.running:
            self._next = suspected
        else:
            self._begin(suspected)

    def _begin(self, suspected: Suspected) -> None:
        words = self._one_by_one

        def heard(found: Transcription | None) -> None:
            if found is None:
                self._next = None
                return
            if words is self._one_by_one:  # not forgotten meanwhile
                self._weigh(suspected, found)
            if self._next is not None:
                following, self._next = self._next, None
                self._begin(following)

        self._task = self._inbox.start(self._hear(suspected), heard)

    def _weigh(self, suspected: Suspected, heard: Transcription) -> None:
        voiced, before = self._before
        self._before = (suspected.voiced, heard.text)
        since = self._one_by_one.add(suspected, heard)
        if interrupts(heard, before if voiced == suspected.voiced else ""):
            since = suspected.voiced if since is None else since
        if since is not None:
            self._found(suspected, since)
