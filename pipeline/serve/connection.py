"""A client's WebSocket as a session knows it (`Link`): no client can hold up anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from pipeline.clock import Clock
from pipeline.errors import first_of
from pipeline.serve.link import LARGEST

SEND_S = 10.0
"""How long a client may take to make room for a message, or to take all that came before a close;
one on a slow line takes some of its messages in that time."""

CLOSE_S = 1.0
"""How long the transport of a connection that is over may take to be gone."""

MOST_UNSENT = 8 * 1024 * 1024
"""Characters that wait to be sent: two minutes of sound. A client so far behind is cut off."""

MOST_UNREAD = LARGEST
"""Characters that wait to be read, and one message more: the client waits to send another."""

FAILED = 1011, "The server had an error while it served this session."

OVERHEAD = 100
"""What a message counts beyond its length, so that empty ones are not for nothing."""

log = logging.getLogger(__name__)


class Connection:
    """A `Link` over a WebSocket that has been accepted.

    All sending is done by one task, and each message has `send_s` to go; after that the transport
    is aborted, for a close would wait behind what the client does not take. Receiving goes on
    whatever the session does, so that a client that leaves is missed at once.

    Args:
        socket: The WebSocket. Its server puts the transport into `state.transport`; without one,
            a client that takes nothing is left to the server.
        clock: Tells when messages arrive.
        send_s: See above (s).
    """

    def __init__(self, socket: WebSocket, clock: Clock, send_s: float = SEND_S) -> None:
        self._socket = socket
        self._clock = clock
        self._send_s = send_s
        self._transport: asyncio.Transport | None = getattr(socket.state, "transport", None)
        self._unread: asyncio.Queue[tuple[int, str | bytes]] = asyncio.Queue()
        self._unread_size = 0
        self._was_read = asyncio.Event()
        self._unsent: asyncio.Queue[str | tuple[int, str]] = asyncio.Queue()
        self._unsent_size = 0
        self._closing = False
        loop = asyncio.get_running_loop()
        self._aborted: asyncio.Future[None] = loop.create_future()
        self._deadline: asyncio.TimerHandle | None = None

    async def run(self, talk: Coroutine[Any, Any, None]) -> None:
        """Serve the client: run its session until it is over, the client is gone, or cancelled.

        A session that ends or fails closes the connection. All of it is gone when this returns,
        save the transport, which has `CLOSE_S` to follow.
        """
        loop = asyncio.get_running_loop()
        talking = loop.create_task(talk)
        moving = [loop.create_task(work) for work in (self._receive(), self._send_all())]
        ends = [self._aborted, *moving]
        try:
            await asyncio.wait([talking, *ends], return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                failed = not talking.cancelled() and talking.exception()
                self.close(*(FAILED if failed else (1000, "")))
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._closing = True
            if self._deadline is not None:
                self._deadline.cancel()
            for task in (talking, *moving):
                task.cancel()
            await asyncio.gather(talking, *moving, return_exceptions=True)
            if self._transport is not None:
                # A transport that is closed waits for the client to take what was sent.
                loop.call_later(CLOSE_S, self._transport.abort)
        for task in (talking, *moving):
            if not task.cancelled() and (error := task.exception()) is not None:
                if isinstance(error, BaseExceptionGroup):
                    error = first_of(error)
                log.error("a session failed: %s: %s", type(error).__name__, error, exc_info=error)

    async def messages(self) -> AsyncIterator[tuple[int, str | bytes]]:
        """What arrives from the client, with the time of its arrival (ns).

        When the client is gone, `run` cancels the session that waits here.
        """
        while True:
            message = await self._unread.get()
            self._unread_size -= len(message[1]) + OVERHEAD
            self._was_read.set()
            yield message
            if not self._unread.empty():
                # A client that sends much at once takes turns with all others.
                await asyncio.sleep(0)

    def send(self, message: str) -> None:
        """Send, after all that was sent before it; of what is closed nothing is sent."""
        if self._closing:
            return
        self._unsent_size += len(message) + OVERHEAD
        if self._unsent_size > MOST_UNSENT:
            self.abort()
        else:
            self._unsent.put_nowait(message)

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what was sent, with a closing code."""
        if not self._closing:
            self._closing = True
            self._unsent.put_nowait((code, reason))
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._send_s, self.abort)

    def abort(self) -> None:
        """End the connection without a word, at once."""
        self._closing = True
        if not self._aborted.done():
            self._aborted.set_result(None)
        if self._transport is not None:
            self._transport.abort()

    async def _receive(self) -> None:
        """Take what arrives, until the client is gone."""
        while (message := await self._socket.receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            data = message["bytes"] if text is None else text
            self._unread.put_nowait((self._clock.now_ns(), data))
            self._unread_size += len(data) + OVERHEAD
            while self._unread_size > MOST_UNREAD:
                self._was_read.clear()
                await self._was_read.wait()

    async def _send_all(self) -> None:
        """Send what there is to send, until the connection is closed."""
        with contextlib.suppress(WebSocketDisconnect, WebSocketDisconnected):
            while True:
                message = await self._unsent.get()
                try:
                    async with asyncio.timeout(self._send_s):
                        if isinstance(message, str):
                            await self._socket.send_text(message)
                        else:
                            await self._socket.close(*message)
                            return
                except TimeoutError:
                    self.abort()
                    return
                self._unsent_size -= len(message) + OVERHEAD
