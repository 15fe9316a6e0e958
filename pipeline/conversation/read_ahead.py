"""What the model reads before it is asked to go on from it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from pipeline.engines.llm import Messages
from pipeline.errors import StageError

READ_WORDS = 2
"""So many more stable words are worth a request that lets the model read them."""

log = logging.getLogger(__name__)


class ReadAhead:
    """Lets the model read a prompt.

    Mostly it knows the beginning already; after old turns were left out it has to read all of the
    rest, which would take seconds if it began when the user waits.

    Args:
        read: Lets the model read.
        start: Starts a task that ends with the session.
    """

    def __init__(
        self,
        read: Callable[[Messages], Awaitable[None]],
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._read = read
        self._start = start
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
        self._task = self._start(self.read(messages))

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
            await self._read(messages)
        except StageError as error:
            log.debug("reading ahead: %s", error)
