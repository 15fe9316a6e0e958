"""What the user has said so far: partial transcripts while they speak, and which words are sure.

Two transcripts in a row that agree on a word make it stable. Stable words need not be recognised
again, and the language model can read them before the user has finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pipeline.clock import Clock
from pipeline.engines.whisper import Audio, Transcription, bare

RATE = 16_000
"""Samples per second (Hz)."""

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

Transcribe = Callable[[Audio, str], Awaitable[Transcription | None]]
"""Gets 16 kHz audio, and the words that it surely begins with; gives None when it fails."""


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

    Args:
        transcribe: The recogniser. Where it fails, the final transcript will tell.
        every_ms: Time between two transcripts; 0 makes none.
        clock: Measures what they cost.
        start: Starts a task that ends with the session.
        tell: Gets each transcript, and its stable words.
    """

    def __init__(
        self,
        transcribe: Transcribe,
        *,
        every_ms: int,
        clock: Clock,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        tell: Callable[[int, str, str], Awaitable[None]],
    ) -> None:
        self.stable = ""
        self._transcribe = transcribe
        self._every_s = every_ms / 1000
        self._clock = clock
        self._start = start
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
        self._task = self._start(self._make(self._turn, audio))

    async def _make(self, turn: int, audio: Audio) -> None:
        began = self._clock.now_ns()
        heard = await self._transcribe(audio, self.stable)
        self._cost_s = (self._clock.now_ns() - began) / 1e9
        if turn == self._turn and heard is not None and heard.text:
            self.stable = self._agreement.push(heard.text)
            await self._tell(turn, heard.text, self.stable)
