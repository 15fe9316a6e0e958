"""How a session with OpenAI's Live API begins: what is asked for, and what is found."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import openai
from openai.resources.live.live import AsyncLiveConnection

from pipeline.conversation.history import Message
from pipeline.errors import BadInput, StageError
from pipeline.speech_to_speech import openai_words as words
from pipeline.speech_to_speech.brief import Brief, Target
from pipeline.speech_to_speech.encoding import Encoding, asked
from pipeline.speech_to_speech.openai_link import Place, native, shut
from pipeline.speech_to_speech.realtime_book import as_item
from pipeline.speech_to_speech.realtime_wishes import functions

OPTIONS = ("voice", "delegation", "backend")
"""Names of the options."""

BACKEND = "gpt-5.5"
"""Which text model works on what is delegated, unless the path names another."""

READY_S = 15.0
"""From the attempt to connect to a session that has started."""

HISTORY = 128
"""Messages that a new session can be given."""


def delegation(target: Target, brief: Brief) -> str:
    """Who works on what the model gives away: `responses` or `client`.

    Raises:
        BadInput: The path asks for something else, or has an option that there is not.
    """
    for name in target.options:
        if name not in OPTIONS:
            allowed = ", ".join(OPTIONS)
            raise BadInput(f"{target.name}: no option {name!r}; there are {allowed}")
    chosen = target.options.get("delegation", "responses" if brief.tools else "client")
    if chosen not in ("responses", "client"):
        raise BadInput(f"{target.name}: delegation is responses or client, not {chosen!r}")
    return chosen


def configuration(
    target: Target, model: str, brief: Brief, history: Sequence[Message]
) -> dict[str, Any]:
    """What `session.start` says; nothing more, for the API refuses fields that it does not know.

    Args:
        target: Names voice and backend.
        model: Which model.
        brief: Instructions and tools.
        history: What to go on with; of more messages than the API takes, the last.
    """
    audio: dict[str, Any] = {"format": asked(Encoding())}
    if voice := target.options.get("voice"):
        audio["output"] = {"voice": voice}
    instructions = {"instructions": brief.instructions} if brief.instructions else {}
    config: dict[str, Any] = {"model": model, "audio": audio, **instructions}
    if delegation(target, brief) == "responses":
        name = target.options.get("backend", BACKEND)
        backend = {"model": name, **instructions, "tools": functions(brief)}
        config["delegation"] = {"type": "responses", "responses": backend}
    if history:
        config["input"] = [as_item(message) for message in history[-HISTORY:]]
    return config


async def start(
    client: openai.AsyncOpenAI, where: Place, config: Mapping[str, Any]
) -> tuple[AsyncLiveConnection, Any]:
    """Connect, start a session, and wait until it has started.

    Returns:
        The connection, and the session as the server describes it.

    Raises:
        StageError: It cannot be had; the message says why.
    """
    connection: AsyncLiveConnection | None = None
    wanted: Any = config
    options: Any = native(where, READY_S)
    try:
        async with asyncio.timeout(READY_S):
            manager = client.live.connect(websocket_connection_options=options)
            connection = await manager.enter()
            await connection.session.start(session=wanted)
            return connection, await _started(connection, where.host, where.model)
    except BaseException as error:
        if connection is not None:
            await shut(connection)
        if isinstance(error, StageError) or not isinstance(error, Exception):
            raise
        raise words.unreachable(error, where.host, where.model, wait_s=READY_S) from None


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
