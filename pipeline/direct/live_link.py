"""How a session with OpenAI's Live API begins: what is asked for, and what is found."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.resources.live.live import AsyncLiveConnection

from pipeline.conversation import Message
from pipeline.direct import openai_words as words
from pipeline.direct.brief import STAMP, Brief, Target
from pipeline.direct.quiet import QUIET
from pipeline.errors import BadInput, StageError

RATE = 24_000
"""Of the sound both ways (Hz)."""

MODEL = "gpt-live-1"
"""What is asked for unless the path names another."""

BACKEND = "gpt-5.5"
"""Which text model works on what is delegated, unless the path names another."""

READY_S = 15.0
"""From the attempt to connect to a session that has started."""

CLOSE_S = 0.3
"""How long the closing of a connection may take."""

HISTORY = 128
"""Messages that a new session can be given."""


def delegation(target: Target, brief: Brief) -> str:
    """Who works on what the model gives away: `responses` or `client`.

    Raises:
        BadInput: The path asks for something else.
    """
    chosen = target.options.get("delegation", "responses" if brief.tools else "client")
    if chosen not in ("responses", "client"):
        raise BadInput(f"{target.name}: delegation is responses or client, not {chosen!r}")
    return chosen


def configuration(target: Target, brief: Brief, history: Sequence[Message]) -> dict[str, Any]:
    """What `session.start` says; nothing more, for the API refuses fields that it does not know.

    Args:
        target: Names model, voice, backend.
        brief: Instructions and tools.
        history: What to go on with; of more messages than the API takes, the last.
    """
    audio: dict[str, Any] = {"format": {"type": "audio/pcm", "rate": RATE}}
    if voice := target.options.get("voice"):
        audio["output"] = {"voice": voice}
    instructions = {"instructions": brief.instructions} if brief.instructions else {}
    config: dict[str, Any] = {"model": target.model or MODEL, "audio": audio, **instructions}
    if delegation(target, brief) == "responses":
        tools = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            }
            for tool in brief.tools
        ]
        backend = {"model": target.options.get("backend", BACKEND), **instructions, "tools": tools}
        config["delegation"] = {"type": "responses", "responses": backend}
    if history:
        config["input"] = [_item(message) for message in history[-HISTORY:]]
    return config


async def start(
    client: openai.AsyncOpenAI, config: Mapping[str, Any]
) -> tuple[AsyncLiveConnection, Any]:
    """Connect, start a session, and wait until it has started.

    Returns:
        The connection, and the session as the server describes it.

    Raises:
        StageError: It cannot be had; the message says why.
    """
    options: dict[str, Any] = {
        "open_timeout": READY_S,
        "close_timeout": CLOSE_S,
        "logger": QUIET,
    }
    if urlsplit(str(client.base_url)).hostname in ("localhost", "127.0.0.1", "::1"):
        # The environment's proxy cannot reach this machine's own loopback.
        options["proxy"] = None
    connection: AsyncLiveConnection | None = None
    name, model = host(client), str(config["model"])
    wanted: Any = config
    native: Any = options
    try:
        async with asyncio.timeout(READY_S):
            manager = client.live.connect(websocket_connection_options=native)
            connection = await manager.enter()
            await connection.session.start(session=wanted)
            return connection, await _started(connection, name, model)
    except BaseException as error:
        if connection is not None:
            await connection.close()
        if isinstance(error, StageError) or not isinstance(error, Exception):
            raise
        raise words.unreachable(error, name, model, wait_s=READY_S) from None


def host(client: openai.AsyncOpenAI) -> str:
    """Where a client connects to: host and port, without a password."""
    return urlsplit(str(client.base_url)).netloc.rpartition("@")[2]


def stamp(session_id: str) -> Mapping[str, Any] | None:
    """The parameters of a simulated server, from the id that it gives its sessions."""
    mark, _, data = session_id.partition(".")
    if mark != STAMP:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)))
    except (ValueError, binascii.Error):
        found = {}
    return found if isinstance(found, dict) else {}


async def _started(connection: AsyncLiveConnection, name: str, model: str) -> Any:
    while True:
        try:
            event: Any = await connection.recv()
        except ValueError:
            continue
        match getattr(event, "type", None):
            case "session.started":
                return getattr(event, "session", None)
            case "error":
                raise words.refused(getattr(event, "error", None), name, model)


def _item(message: Message) -> dict[str, Any]:
    kind = "output_text" if message.role == "assistant" else "input_text"
    content = [{"type": kind, "text": message.content}]
    return {"type": "message", "role": message.role, "content": content}
