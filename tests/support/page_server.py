"""The page with a session behind it that follows a script, on a real socket, in a thread."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Self

from pipeline.clock import Clock
from pipeline.serve import page
from pipeline.serve.access import Access
from pipeline.serve.app import Limit, Sessions, application
from pipeline.serve.link import Link, Opening
from pipeline.serve.listening import bound, listening
from pipeline.serve.script import Script
from pipeline.serve.simulated import Session
from pipeline.serve.speech import hum, texts


class PageServer:
    """Serves while it is entered.

    Args:
        script: What the session does; its replies hum.
        token: What clients have to present.
        sessions: How many there may be at a time; 0: any number.
        port: 0 takes one that is free.
    """

    def __init__(self, script: Script, token: str = "", sessions: int = 0, port: int = 0) -> None:
        self._script = script
        self._access = Access(token)
        self._limit = Limit(sessions)
        self._listener = bound("127.0.0.1", port)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self) -> None:
        sessions = Sessions(self._talk, self._limit)
        app = application(sessions, self._access, public=page.routes())
        async with listening(app, sessions, self._listener):
            self._ready.set()
            await self._stop.wait()

    async def _talk(self, link: Link, opening: Opening) -> None:
        sounds = {text: hum(text) for text in texts(self._script)}
        seed = f"{self.port}/{next(self._numbers)}"
        await Session(self._script, opening, sounds, link, seed, Clock()).run()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
