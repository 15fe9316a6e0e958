"""Engines for what is measured: loaded once, and made ready before each turn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncGenerator, Iterable, Mapping

from rich.console import Console

from pipeline.config import Settings
from pipeline.engines.local import LocalEngines, check_models
from pipeline.errors import CascadeError
from pipeline.models.catalogue import Catalogue
from pipeline.models.fetch import provide

NEUTRAL = "Good morning."
"""The model reads this before every turn, so that none finds its own question in the model's cache
from the turn before."""

REST_BEFORE_S = 0.1
"""Rest before a turn: the threads of some engines spin for a while after their work."""


class Pool:
    """Engines that are loaded once for all variants that can share them."""

    def __init__(self, wanted: Iterable[Settings]) -> None:
        """Find the models that engines for these settings need.

        Raises:
            BadInput: One is not there, and is no default.
        """
        self._wanted = [*wanted]
        self._engines: dict[str, LocalEngines] = {}
        for settings in self._wanted:
            check_models(settings, Catalogue.load(settings.models.dir))

    @property
    def models(self) -> Mapping[str, str]:
        """Names of the first settings' models, by kind; empty where nothing is wanted."""
        return next((self.get(settings).names for settings in self._wanted), {})

    def prepare(self, console: Console) -> None:
        """Fetch the default models that are missing.

        Raises:
            CascadeError: One cannot be had.
        """
        for settings in self._wanted:
            provide(settings, console)
        for settings in self._wanted:
            key = self._key(settings)
            if key not in self._engines:
                self._engines[key] = LocalEngines(settings)

    def get(self, settings: Settings) -> LocalEngines:
        """The engines for some of these settings, once they are prepared."""
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
        made_of = settings.model_dump(include={"stt", "llm", "tts", "models"})
        return json.dumps([made_of, settings.turns.predict], sort_keys=True)


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
    await asyncio.sleep(REST_BEFORE_S)
