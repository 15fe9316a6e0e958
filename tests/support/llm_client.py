"""What the tests of the language model's client share: a client of a scripted server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from servers.llm_server import LlmServer, Script

from pipeline.config import LlmSettings
from pipeline.engines.llm import ChatModel, Messages, Piece
from pipeline.engines.servers import chat_server
from pipeline.errors import StageError

HANG_GUARD_S = 120
QUESTION = [{"role": "user", "content": "Hello?"}]
Pieces = list[Piece]


@pytest.fixture
def hermetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the developer's own settings."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def settings(url: str, *, name: str = "scripted", **more: Any) -> LlmSettings:
    """Settings of a test: patient, as a test machine may stand still for seconds."""
    named = f"{url}#{name}" if name and url.startswith("http") else url
    return LlmSettings(**{"model": named, "timeout_s": 300, **more})


@contextlib.asynccontextmanager
async def client(url: str, connect_timeout_s: float = 100, **more: Any) -> AsyncIterator[ChatModel]:
    chosen = settings(url, **more)
    model = ChatModel(chat_server(chosen), chosen, connect_timeout_s=connect_timeout_s)
    try:
        async with asyncio.timeout(HANG_GUARD_S):
            yield model
    finally:
        await model.close()


async def take(model: ChatModel, into: Pieces | None = None, prompt: Messages = QUESTION) -> Pieces:
    """A whole reply; what came before a failure is in `into`."""
    pieces: Pieces = [] if into is None else into
    async with contextlib.aclosing(model.stream(prompt)) as stream:
        async for piece in stream:
            pieces.append(piece)
    return pieces


async def converse(*answers: Script, prompt: Messages = QUESTION, **more: Any) -> Pieces:
    """The reply of a server with these answers."""
    async with LlmServer(*answers) as server, client(server.url, **more) as model:
        return await take(model, prompt=prompt)


async def failure(
    *answers: Script, prompt: Messages = QUESTION, **more: Any
) -> tuple[Pieces, StageError]:
    """What came, and the failure after it, from a server with these answers."""
    pieces: Pieces = []
    async with LlmServer(*answers) as server, client(server.url, **more) as model:
        with pytest.raises(StageError) as caught:
            await take(model, pieces, prompt)
        check(caught.value, server.url)
    return pieces, caught.value


def check(error: StageError, name: str) -> None:
    """A message for people: who failed, in one or two lines, and no other exceptions shown."""
    message = str(error)
    assert error.stage == "llm"
    assert name in message
    assert len(message.splitlines()) <= 2
    assert len(message) < 400
    assert all(char.isprintable() or char == "\n" for char in message)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
