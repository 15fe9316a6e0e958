"""How far away a server is: round trips on the network, measured by opening connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from urllib.parse import urlsplit

from pipeline.clock import NS_PER_MS

PATIENCE_S = 2.0
"""A connection that takes longer is not counted, and no more are tried."""

PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
"""The port of a URL that names none."""


async def rtt(url: str, count: int = 5) -> tuple[float, ...]:
    """Round trips to the host of a URL (ms): a TCP handshake takes just one.

    The name is looked up beforehand. Behind a proxy that nothing can bypass there is nothing to be
    measured.

    Args:
        url: Where.
        count: How many, one after the other.

    Returns:
        One figure for each connection that was made; empty if the host cannot be reached.
    """
    found: list[float] = []
    with contextlib.suppress(OSError, ValueError, TimeoutError):
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        if not parts.hostname or not port:
            return ()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            places = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = places[0]
        for place in places:
            # The first that answers, as a client would take it.
            with contextlib.suppress(OSError, TimeoutError):
                await _once(place[0], place[1], place[2], place[4])
                family, kind, protocol, _, address = place
                break
        for _ in range(count):
            found.append(await _once(family, kind, protocol, address))
    return tuple(found)


async def _once(family: int, kind: int, protocol: int, address: object) -> float:
    """How long a connection takes (ms)."""
    loop = asyncio.get_running_loop()
    with socket.socket(family, kind, protocol) as line:
        line.setblocking(False)
        begin = time.monotonic_ns()
        async with asyncio.timeout(PATIENCE_S):
            await loop.sock_connect(line, address)  # type: ignore[arg-type]
        return (time.monotonic_ns() - begin) / NS_PER_MS
