"""What is asynchronous, in a thread with an event loop of its own, for tests that have none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def in_background(what: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter it there, and leave it in the end; what fails at its beginning fails here."""
    begun: Future[tuple[T, Callable[[], Any]]] = Future()

    async def run() -> None:
        over = asyncio.Event()
        try:
            async with what as entered:
                loop = asyncio.get_running_loop()
                begun.set_result((entered, partial(loop.call_soon_threadsafe, over.set)))
                await over.wait()
        except Exception as error:
            if begun.done():
                raise
            begun.set_exception(error)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    entered, leave = begun.result()
    try:
        yield entered
    finally:
        leave()
        thread.join()
