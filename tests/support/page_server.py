"""The page with a session behind it that follows a script, on a real socket, in a thread."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import Self

from pipeline.clock import Clock
from pipeline.serve import page
from pipeline.serve.access import Access
from pipeline.serve.admission import Admission
from pipeline.serve.app import Sessions
from pipeline.serve.link import Link, Opening
from pipeline.serve.script import Script
from pipeline.serve.simulated import Session
from pipeline.serve.speech import hum, texts
from support.served import served

CORES = 1000
"""For a script there is always time."""


class PageServer:
    """Serves while it is entered, from another thread than the test, which waits for its browser.

    Args:
        script: What the session does; its replies hum.
        token: What clients have to present.
        sessions: How many there may be at a time; 0: any number.
        port: 0 takes one that is free.

    Attributes:
        url: Of the page.
        port: As given, or the one that was free.
    """

    def __init__(self, script: Script, token: str = "", sessions: int = 0, port: int = 0) -> None:
        self.port = port
        self.url = ""
        self._script = script
        self._sounds = {text: hum(text) for text in texts(script)}
        self._access = Access(token)
        self._admission = Admission(sessions, CORES, time.monotonic, time.process_time)
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self) -> None:
        sessions = Sessions(self._talk, self._admission)
        public = page.routes()
        async with served(sessions, self._access, public=public, port=self.port) as server:
            self.port, self.url = server.port, f"{server.http}/"
            self._ready.set()
            await self._stop.wait()

    async def _talk(self, link: Link, opening: Opening) -> None:
        seed = f"{self.port}/{next(self._numbers)}"
        await Session(self._script, opening, self._sounds, link, seed, Clock()).run()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
