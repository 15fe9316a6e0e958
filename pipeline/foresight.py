"""Whether a turn is over, foreseen in a pause: asks all who can tell and adds up the answers."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline.answer import Engines
from pipeline.completeness import completeness
from pipeline.endpoint import Evidence
from pipeline.stages.llm import Messages
from pipeline.stages.stt import Audio, Transcription

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
        self._sound: Callable[[], Audio] | None = None
        self._evidence = Evidence()

    def begin(self, speech_end: int, sound: Callable[[], Audio], *, words: bool) -> None:
        """A pause begins.

        Args:
            speech_end: Its name.
            sound: Gives the utterance up to it.
            words: Whether the words will be `read`: the melody tells less than they do, and is
                asked only where they tell nothing.
        """
        self._pause = speech_end
        self._sound = sound
        self._evidence = Evidence()
        if not words:
            self._start(self._listen(speech_end, sound))

    def end(self) -> None:
        """The pause is over: what comes now comes too late."""
        self._pause = None

    async def read(self, messages: Messages, heard: Transcription) -> None:
        """The words before the pause are known, and the prompt that ends with them."""
        pause, sound = self._pause, self._sound
        if pause is None or sound is None:
            return
        words = completeness(heard.text, heard.language)
        self._add(pause, words=words, sure=math.exp(heard.log_prob))
        judged = await self._engines.judge(messages)
        self._add(pause, judged=judged)
        if words is None and judged is None:
            self._start(self._listen(pause, sound))

    async def _listen(self, pause: int, sound: Callable[[], Audio]) -> None:
        try:
            melody = await self._engines.melody(sound())
        except Exception as error:
            log.debug("the melody: %s", error)  # silence ends the turn all the same
            return
        self._add(pause, melody=melody)

    def _add(self, pause: int, **known: Any) -> None:
        if pause == self._pause:
            self._evidence = dataclasses.replace(self._evidence, **known)
            self._tell(pause, self._evidence)
