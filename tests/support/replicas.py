"""What tests of several servers share, whoever stands in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable

from servers.llm_server import LlmServer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from support.serve_child import PAGE

TOKEN = "everybody-knows-this-one"
KEY = {"Authorization": f"Bearer {TOKEN}"}
WAIT_S = 60.0


def blocks(language: str) -> list[str]:
    """The documentation's blocks of that language."""
    block = rf"^```{language}\n(.*?)^```$"
    return re.findall(block, PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


async def told(connection: ClientConnection, kind: str = "session.created") -> None:
    """Read until the server has told that."""
    async with asyncio.timeout(WAIT_S):
        while json.loads(await connection.recv())["type"] != kind:
            pass


async def room(session: Callable[[], connect]) -> ClientConnection:
    """A session, once there is room for it."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(InvalidStatus):
                return await session()
            await asyncio.sleep(0.05)


def asked(llm: LlmServer) -> list[tuple[str, str]]:
    """Who said what, as the language model was told at last."""
    return [(one["role"], one["content"]) for one in llm.requests[-1].body["messages"]]
