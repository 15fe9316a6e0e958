"""The page with a session behind it that follows a script, on a real socket, in a thread."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.clock import Clock
from pipeline.serve import page
from pipeline.serve.access import Access
from pipeline.serve.link import Link, Opening
from pipeline.serve.script import Script
from pipeline.serve.simulated import ScriptedSession
from pipeline.serve.speech import hum, texts
from support.background import in_background
from support.served import served, sessions_of


@dataclass(frozen=True)
class PageServer:
    """Where it is.

    Attributes:
        url: Of the page.
        port: On this machine.
    """

    url: str
    port: int


@contextlib.contextmanager
def page_server(
    script: Script, token: str = "", sessions: int = 0, port: int = 0
) -> Iterator[PageServer]:
    """Serve while entered, from another thread than the test, which waits for its browser.

    Args:
        script: What the session does; its replies hum.
        token: What clients have to present.
        sessions: How many there may be at a time; 0: any number.
        port: 0 takes one that is free.
    """
    sounds = {text: hum(text) for text in texts(script)}
    numbers = itertools.count()

    async def talk(link: Link, opening: Opening) -> None:
        await ScriptedSession(script, opening, sounds, link, f"{next(numbers)}/0", Clock()).run()

    let_in = sessions_of(talk, sessions or 1000)
    serving = served(let_in, Access(token), public=page.routes(), port=port)
    with in_background(serving) as here:
        yield PageServer(f"{here.http}/", here.port)
