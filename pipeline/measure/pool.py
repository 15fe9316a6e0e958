"""Engines for what is measured: loaded once, and made ready before each turn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncGenerator

from pipeline.config import Settings
from pipeline.engines.local import LocalEngines
from pipeline.errors import CascadeError

NEUTRAL = "Good morning."
"""The model reads this before every turn, so that none finds its own question in the model's cache
from the turn before."""

SETTLE_S = 0.1
"""Rest before a turn: the threads of some engines spin for a while after their work."""


class Pool:
    """Engines that are loaded once for all variants that can share them."""

    def __init__(self) -> None:
        self._engines: dict[str, LocalEngines] = {}

    def need(self, settings: Settings) -> None:
        """Say that engines for these settings will be wanted.

        Raises:
            BadInput: A model is not there.
        """
        key = self._key(settings)
        if key not in self._engines:
            self._engines[key] = LocalEngines(settings)

    def get(self, settings: Settings) -> LocalEngines:
        """The engines for settings that were needed before."""
        return self._engines[self._key(settings)]

    @contextlib.asynccontextmanager
    async def loaded(self) -> AsyncGenerator[None]:
        """Load all of them, one after another; stop them in the end.

        Raises:
            CascadeError: One cannot be used.
        """
        async with contextlib.AsyncExitStack() as stack:
            for engines in self._engines.values():
                await stack.enter_async_context(engines)
            yield

    def _key(self, settings: Settings) -> str:
        """What engines are made of; turn-taking and replies need no others."""
        made_of = settings.model_dump(include={"stt", "llm", "tts", "vad", "models"})
        turns = settings.turns
        return json.dumps([made_of, turns.endpoint_model, turns.predict], sort_keys=True)


async def make_ready(settings: Settings, engines: LocalEngines) -> None:
    """Undo what earlier turns did to the process: all begin alike.

    The model reads something else, as before the first turn of a conversation. That also waits for
    a reply that was broken off. Garbage is cleared away now and not in the middle of a turn.
    """
    messages = [
        {"role": "system", "content": settings.llm.instructions},
        {"role": "user", "content": NEUTRAL},
    ]
    with contextlib.suppress(CascadeError):  # the turn itself will tell
        await engines.read_ahead(messages)
    gc.collect()
    await asyncio.sleep(SETTLE_S)
