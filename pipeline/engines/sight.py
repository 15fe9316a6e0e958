"""Whether a model sees: what it is told where it does not, and how a server says so. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

NOTE = "(The user shows a picture, which you cannot see. Say so.)"
"""Stands in the prompt of a model that does not see for each picture."""

BLIND = (
    "the language model does not see pictures: the conversation goes on without; "
    "take a model that sees (--llm)"
)
"""What the user is told then."""

_PICTURES = re.compile(r"image|vision|visual|multi-?modal|mmproj", re.I)

_CANNOT = re.compile(
    r"support|enabled|missing|mmproj|at most 0\b|unknown variant|\bonly\b"
    r"|not (a |have |a vision|multi-?modal|accept|able)",
    re.I,
)

_OTHERWISE = re.compile(
    r"at most [1-9]|too (large|big|many|small)|exceed|decod|failed to load|download|fetch"
    r"|unsupported (image|format|mime|media)|image (format|type)",
    re.I,
)
"""A picture is refused, and not all of them."""

_TEXT_ONLY = re.compile(r"content\W.*\b(must|should|valid|expected)\b.*\bstring", re.I | re.S)

_TOO_LONG = re.compile(r"context|token|length|too (long|large|big)|exceed", re.I)


def pictures(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The URLs of all pictures in a prompt, in order."""
    return [
        part["image_url"]["url"]
        for message in messages
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]


def without_pictures(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The prompt for a model that does not see: `NOTE` where pictures were.

    It is the same one if it has none.
    """
    if not pictures(messages):
        return messages
    # What a prompt brings besides its messages stays.
    blind: Any = copy.copy(messages) if isinstance(messages, list) else list(messages)
    blind[:] = [{**message, "content": _described(message["content"])} for message in messages]
    return blind  # type: ignore[no-any-return]


def refuses_pictures(words: str) -> bool:
    """Whether a server's refusal says that the model takes no pictures at all.

    llama.cpp answers 500 ("image input is not supported - hint: …"), vLLM 400 ("… is not a
    multimodal model", "At most 0 image(s) …"), OpenAI 400 ("image_url is only supported by certain
    models"), OpenRouter 404 ("No endpoints found that support image input"), Ollama 500 ("missing
    data required for image input"), others that the content has to be a string.
    """
    if _OTHERWISE.search(words):
        return False
    if _TEXT_ONLY.search(words):
        return True
    return bool(_PICTURES.search(words) and _CANNOT.search(words))


def may_mean_pictures(words: str) -> bool:
    """Whether a refusal that names no reason may be for the pictures, and not for the length."""
    return not (_TOO_LONG.search(words) or _OTHERWISE.search(words))


def _described(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return " ".join(NOTE if part["type"] == "image_url" else part["text"] for part in content)
