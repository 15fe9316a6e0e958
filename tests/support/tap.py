"""Between a client of the Realtime protocol and its server: passes everything on, and keeps it.

What the server tells is checked by the grammar and by the SDK's own types, whoever the client is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from support.realtime_grammar import Grammar


@dataclass
class Tapped:
    """A connection.

    Attributes:
        asked: What the client sent, but for its sound.
        told: What the server sent.
        wrong: What the checkers say of that.
    """

    asked: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def items(self, of: str) -> list[str]:
        """Ids of the items that events of a kind are about, in order, whoever sent them."""
        return [
            str(event.get("item_id") or event["item"]["id"])
            for event in (*self.asked, *self.told)
            if event["type"] == of
        ]


class Tap:
    """Where it listens, and all connections so far."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.connections: list[Tapped] = []
        self._server = f"ws://127.0.0.1:{server_port}"

    async def pass_on(self, client: ServerConnection) -> None:
        """Move messages both ways until one side is gone."""
        assert client.request is not None
        url = self._server + client.request.path
        async with connect(url, max_size=None, compression=None) as server:
            self.connections.append(tapped := Tapped())
            ways = [
                asyncio.create_task(_up(client, server, tapped)),
                asyncio.create_task(_down(server, client, tapped)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _up(client: ServerConnection, server: ClientConnection, tapped: Tapped) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in client:
            event = json.loads(message)
            if event["type"] != "input_audio_buffer.append":
                tapped.asked.append(event)
            await server.send(message)


async def _down(server: ClientConnection, client: ServerConnection, tapped: Tapped) -> None:
    grammar = Grammar()
    with contextlib.suppress(ConnectionClosed):
        async for message in server:
            event = json.loads(message)
            tapped.told.append(event)
            tapped.wrong += grammar.feed(event)
            await client.send(message)


@contextlib.asynccontextmanager
async def tapping(server_port: int) -> AsyncIterator[Tap]:
    """Listen, in front of the server at that port of this machine."""
    tap = Tap(server_port)

    def chosen(_: ServerConnection, offered: Any) -> Any:
        return "realtime" if "realtime" in offered else None

    async with serve(
        tap.pass_on,
        "127.0.0.1",
        0,
        select_subprotocol=chosen,
        max_size=None,
        compression=None,
    ) as listening:
        tap.port = listening.sockets[0].getsockname()[1]
        yield tap
