"""Whether a turn is over, foreseen in a pause: asks all who can tell and adds up the answers."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline.conversation.answer import Engines
from pipeline.engines.llm import Messages
from pipeline.engines.whisper import Audio, Transcription
from pipeline.errors import StageError
from pipeline.turns.completeness import completeness
from pipeline.turns.end_of_turn import FRAGMENT_WORDS, Evidence

log = logging.getLogger(__name__)


class Foresight:
    """The evidence for one pause after the other.

    Args:
        engines: Hear the melody, and judge the words.
        start: Starts a task that ends with the session.
        tell: Gets the pause (its `speech_end`) and all that is known of it, whenever more is.
    """

    def __init__(
        self,
        engines: Engines,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        tell: Callable[[int, Evidence], None],
    ) -> None:
        self._engines = engines
        self._start = start
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
            self._start(self._listen(speech_end, sound))

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
            self._add(pause, words=0.0)
            return
        fragment = len(heard.text.split()) <= FRAGMENT_WORDS
        self._add(
            pause,
            words=completeness(heard.text, heard.language),
            sure=math.exp(heard.log_prob),
            asked=asks(messages),
            fragment=fragment,
        )
        if not fragment:
            self._add(pause, judged=await self._engines.judge(messages))

    async def _listen(self, pause: int, sound: Audio) -> None:
        try:
            melody = await self._engines.melody(sound)
        except StageError as error:
            self._deaf = True
            log.warning("turns are ended by words and silence alone from now on: %s", error)
            return
        self._add(pause, melody=melody)

    def _add(self, pause: int, **known: Any) -> None:
        if pause == self._pause:
            self._evidence = dataclasses.replace(self._evidence, **known)
            self._tell(pause, self._evidence)


def asks(messages: Messages) -> bool:
    """Whether the last of the messages answers a question: what the assistant said before it."""
    before = messages[-2] if len(messages) > 1 else {}
    said = str(before.get("content") or "") if before.get("role") == "assistant" else ""
    return said.rstrip(" \n\"'”’)").endswith(("?", "？"))
