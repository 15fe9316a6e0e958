"""A client's WebSocket with a network between: messages arrive late, in order, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from pipeline.clock import Clock
from pipeline.simulated.network import Line
from pipeline.simulated.script import Network
from pipeline.simulated.timing import sleep_until

MOST_WAITING = 4096
"""Messages of a client that are on the way; it must wait to send more."""


@dataclass(frozen=True, slots=True)
class _Close:
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Drop:
    pass


class Wire:
    """Sends and receives with the delays of a `Network`.

    `run` has to run all the while: it moves the messages.

    Args:
        socket: The connection.
        network: What lies between.
        seed: Of what is drawn, such as `"1/0"`.
        clock: The time.
    """

    def __init__(self, socket: ServerConnection, network: Network, seed: str, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock
        opened = clock.now_ns()
        self._up = Line(network, f"{seed}/up", opened)
        self._down = Line(network, f"{seed}/down", opened)
        self._received: asyncio.Queue[tuple[int, str | bytes] | None] = asyncio.Queue(MOST_WAITING)
        self._sent: asyncio.Queue[tuple[int, str | _Close | _Drop]] = asyncio.Queue()
        self._is_mute = False

    async def run(self) -> None:
        """Move messages both ways; returns when the connection is gone."""
        sending = asyncio.create_task(self._send_all())
        try:
            await self._receive_all()
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def messages(self) -> AsyncIterator[tuple[int, str | bytes]]:
        """What arrives from the client, with the time of its arrival (ns); ends with the line."""
        while (message := await self._received.get()) is not None:
            arrival_ns, data = message
            while (left := arrival_ns - self._clock.now_ns()) > 0:
                await asyncio.sleep(left / 1e9)
            yield arrival_ns, data

    def send(self, message: str) -> None:
        """Send, after all that was sent before it; leaves now, and arrives later."""
        self._put(message)

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what was sent, with a closing code."""
        self._put(_Close(code, reason))

    def drop(self) -> None:
        """Break the connection after what was sent, without a word."""
        self._put(_Drop())

    def mute(self) -> None:
        """From now on nothing is sent; the connection stays open."""
        self._is_mute = True

    def _put(self, message: str | _Close | _Drop) -> None:
        if not self._is_mute:
            self._sent.put_nowait((self._down.arrival_ns(self._clock.now_ns()), message))

    async def _receive_all(self) -> None:
        try:
            async for message in self._socket:
                arrival_ns = self._up.arrival_ns(self._clock.now_ns())
                await self._received.put((arrival_ns, message))
        except ConnectionClosed:
            pass
        finally:
            # The reader may be gone, with the queue full.
            if self._received.full():
                self._received.get_nowait()
            self._received.put_nowait(None)

    async def _send_all(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                arrival_ns, message = await self._sent.get()
                await sleep_until(arrival_ns, self._clock)
                match message:
                    case _Close(code, reason):
                        await self._socket.close(code, reason)
                        return
                    case _Drop():
                        self._socket.transport.abort()
                        return
                    case text:
                        await self._socket.send(text)
