"""A client's WebSocket behind a network: messages arrive late, in order, or not at all."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.serve.script import ScriptedNetwork

MOST_WAITING = 4096
"""Messages of a client that are on the way; it must wait to send more."""

_SPIN_NS = 2 * NS_PER_MS
"""asyncio's own timers are up to 1 ms late (epoll counts in whole ones); the rest is spun away."""


async def sleep_until(t_ns: int, clock: Clock) -> None:
    """Return when `clock` shows `t_ns`, within some 0.1 ms where the machine is idle.

    It sleeps until shortly before and then yields in a tight loop, so that it also takes turns with
    everything else that runs.
    """
    while (left := t_ns - clock.now_ns()) > 0:
        await asyncio.sleep((left - _SPIN_NS) / NS_PER_S if left > _SPIN_NS else 0)


class Delay:
    """One direction of a connection. Pure: it says when a message arrives, and waits for nothing.

    Messages arrive in the order in which they were sent, as over TCP: one that is held up holds up
    all that follow it. `stall_ms` of every `stall_every_s` nothing arrives.

    Args:
        network: Its delays.
        seed: Of the jitter, such as `"1/0/up"`.
        opened_ns: When the connection was made; stalls are counted from here.
    """

    def __init__(self, network: ScriptedNetwork, seed: str, opened_ns: int) -> None:
        self._network = network
        self._random = random.Random(f"network/{seed}")
        self._opened_ns = self._latest_ns = opened_ns

    def arrival_ns(self, sent_ns: int) -> int:
        """When a message that is sent now arrives (ns, on the clock of `sent_ns`)."""
        network = self._network
        ms = network.rtt_ms / 2 + self._random.random() * network.jitter_ms
        due = max(sent_ns + round(ms * NS_PER_MS), self._latest_ns)
        if every := round(network.stall_every_s * NS_PER_S):
            stalls, within = divmod(due - self._opened_ns, every)
            stall = round(network.stall_ms * NS_PER_MS)
            if stalls > 0 and within < stall:
                due += stall - within
        self._latest_ns = due
        return due


class Wire:
    """Sends and receives with the delays of a `ScriptedNetwork`.

    `run` has to run all the while: it moves the messages.

    Args:
        socket: The connection.
        network: What lies between.
        seed: Of what is drawn, such as `"1/0"`.
        clock: The time.
    """

    def __init__(
        self, socket: ServerConnection, network: ScriptedNetwork, seed: str, clock: Clock
    ) -> None:
        self._socket = socket
        self._clock = clock
        opened = clock.now_ns()
        self._up = Delay(network, f"{seed}/up", opened)
        self._down = Delay(network, f"{seed}/down", opened)
        self._received: asyncio.Queue[tuple[int, str | bytes] | None] = asyncio.Queue(MOST_WAITING)
        self._to_send: asyncio.Queue[tuple[int, Callable[[], Awaitable[None]]]] = asyncio.Queue()
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
            await self._clock.sleep_until(message[0])
            yield message

    def send(self, message: str) -> None:
        """Send, after all that was sent before it; leaves now, and arrives later."""
        self._put(lambda: self._socket.send(message))

    def close(self, code: int, reason: str) -> None:
        """Close the connection after what was sent, with a closing code."""
        self._put(lambda: self._socket.close(code, reason))
        self.mute()

    def drop(self) -> None:
        """Break the connection after what was sent, without a word."""

        async def abort() -> None:
            self._socket.transport.abort()

        self._put(abort)
        self.mute()

    def mute(self) -> None:
        """From now on nothing is sent; the connection stays open."""
        self._is_mute = True

    def _put(self, act: Callable[[], Awaitable[None]]) -> None:
        if not self._is_mute:
            self._to_send.put_nowait((self._down.arrival_ns(self._clock.now_ns()), act))

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
                arrival_ns, act = await self._to_send.get()
                await sleep_until(arrival_ns, self._clock)
                await act()
