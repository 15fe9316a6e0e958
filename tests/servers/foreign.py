"""A server with a protocol of its own on a real socket, which does what a test's script says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol


class Visit:
    """One connection, as a script sees it; `got` is all that came, JSON as it was parsed."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.got: list[Any] = []
        self._news = asyncio.Event()

    async def tell(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            plain = message if isinstance(message, bytes) else json.dumps(message)
            await self.socket.send(plain)

    async def until(self, there: Callable[[list[Any]], Any]) -> None:
        """Wait for what came to be enough."""
        while not there(self.got):
            self._news.clear()
            await self._news.wait()

    async def read(self) -> None:
        async for message in self.socket:
            self.got.append(message if isinstance(message, bytes) else json.loads(message))
            self._news.set()


Doing = Callable[[Visit], Awaitable[None]]


async def nothing(visit: Visit) -> None:
    """A script that only listens."""


class ForeignServer:
    """Serves while it is entered; every connection has the same script."""

    def __init__(
        self, script: Doing = nothing, *, subprotocol: str = "", status: int = 101
    ) -> None:
        self.visits: list[Visit] = []
        self.requests: list[Request] = []
        self._script = script
        self._subprotocols = [Subprotocol(subprotocol)] if subprotocol else None
        self._status = status

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=self._subprotocols,
            process_request=self._asked,
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        self.host = f"{host}:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _asked(self, socket: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return None if self._status == 101 else socket.respond(self._status, "no\n")

    async def _serve(self, socket: ServerConnection) -> None:
        visit = Visit(socket)
        self.visits.append(visit)
        async with asyncio.TaskGroup() as tasks:
            script = tasks.create_task(self._run(visit))
            await visit.read()
            script.cancel()

    async def _run(self, visit: Visit) -> None:
        await self._script(visit)
