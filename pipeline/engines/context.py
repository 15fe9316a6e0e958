"""How much a model can hold: what its server tells of that, and how it refuses what is longer."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from typing import Any

from pipeline.engines.client import message_of
from pipeline.engines.servers import ChatServer, openai
from pipeline.errors import StageError

ASK_S = 1.0
"""A server that does not tell within this what it can hold is asked without knowing (s)."""

_IN_LIST = (
    "max_model_len",  # vLLM, SGLang
    "context_length",  # OpenRouter, Together
    "context_window",  # Groq
    "max_context_length",  # Mistral
)
"""Under which name an entry of `/v1/models` tells it."""


class TooLong(StageError):
    """The model's context cannot hold the prompt; a shorter one may be answered.

    Attributes:
        context: Tokens that it holds; None: the server did not say.
        counted: Tokens that the prompt has, likewise.
    """

    def __init__(self, message: str, context: int | None, counted: int | None) -> None:
        super().__init__("llm", message)
        self.context = context
        self.counted = counted


def too_long(error: openai.APIError, label: str) -> TooLong | None:
    """What a server's error says if it is that the prompt is too long; else None.

    Args:
        error: Of a request, or in the middle of an answer: LM Studio tells it there.
        label: What messages call the server.
    """
    if getattr(error, "status_code", 400) not in _STATUSES:
        return None
    body = error.body if isinstance(error.body, Mapping) else {}
    found = body.get("error", body)
    found = found if isinstance(found, Mapping) else {}
    words = message_of(error)
    named = {found.get("code"), found.get("type")} & _NAMES
    if not named and not _TOO_LONG.search(words):
        return None
    status = getattr(error, "status_code", None)
    how = f"answers {status}" if status else "failed"
    return TooLong(
        f"{label} {how}: {words}; give the model a larger context, or shorten llm.instructions",
        _number(found.get("n_ctx")) or _first(_LIMITS, words),
        _number(found.get("n_prompt_tokens")) or _first(_COUNTS, words),
    )


_STATUSES = (400, 413, 422, 500)

_NAMES = {"context_length_exceeded", "exceed_context_size_error"}

_TOO_LONG = re.compile(
    r"context (length|size|window)|prompt is too long|input token count|reduce the length"
    r"|max_new_tokens. must be <=|truncate prompt",
    re.I,
)
"""In the words of OpenAI, vLLM, llama.cpp, LM Studio; Anthropic; Gemini; Groq; Text Generation
Inference; LM Studio's llama.cpp."""

_LIMITS = (
    r"n_ctx\W{1,3}(\d+)",
    r"context (?:length|size|window)\D{0,40}(\d{3,})",
    r"(?:allowed|must be <=)\D{0,5}(\d{3,})",
    r"> (\d{3,})",
)

_COUNTS = (
    r"n_keep\W{1,3}(\d+)",
    r"(?:resulted in |token count \(|prompt is too long: |request \(|keep the first )(\d{3,})",
)


def _first(patterns: tuple[str, ...], words: str) -> int | None:
    """The number that the first of these patterns finds."""
    found = filter(None, (re.search(pattern, words, re.I) for pattern in patterns))
    return next((int(match[1]) for match in found), None)


async def find_context(client: openai.AsyncOpenAI, server: ChatServer, model: str) -> int | None:
    """How many tokens the model can hold, if its server tells; it is loaded.

    The API has no place for that. Many servers tell it in their list of models, or have an API of
    their own for it, which is asked where the address is none of a provider's.

    Args:
        client: Of the server.
        server: Where it is.
        model: Its name there.
    """
    root = re.sub(r"/v\d+\w*$", "", server.base_url.rstrip("/"))
    paths = [f"{server.base_url.rstrip('/')}/models"]
    if server.base_url.startswith("http:"):
        paths += [f"{root}{path}" for path in ("/props", "/api/ps", "/api/v0/models")]
    told = await asyncio.gather(*(_asked(client, path) for path in paths))
    found = [context for answer in told for context in contexts(answer, model)]
    return min(found, default=None)


def contexts(answer: Any, model: str) -> list[int]:
    """What a server's answer tells of how much a model can hold.

    Args:
        answer: Of `/v1/models`, of llama.cpp's `/props`, Ollama's `/api/ps` or LM Studio's
            `/api/v0/models`.
        model: Its name there.
    """
    if not isinstance(answer, Mapping):
        return []
    props = answer.get("default_generation_settings")
    found = [props.get("n_ctx")] if isinstance(props, Mapping) else []
    listed = answer.get("data") or answer.get("models") or ()
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, Mapping) or model not in (entry.get("id"), entry.get("name")):
            continue
        meta = entry.get("meta")
        # A model that is loaded with less holds less.
        loaded = entry.get("loaded_context_length")
        found += [loaded] if loaded else [entry.get(name) for name in _IN_LIST]
        found.append(meta.get("n_ctx_train") if isinstance(meta, Mapping) else None)
    return [number for number in map(_number, found) if number is not None]


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


async def _asked(client: openai.AsyncOpenAI, url: str) -> object:
    """What a server answers; None where that is nothing of use."""
    with contextlib.suppress(openai.APIError, ValueError, TimeoutError):
        async with asyncio.timeout(ASK_S):
            return await client.get(url, cast_to=object)
    return None
