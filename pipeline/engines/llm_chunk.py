"""What one chunk of a chat server's stream brings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.engines.tool_calls import Part, parts


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens of one reply: read, of those from the server's cache, and written."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What one chunk of a stream brings."""

    text: str
    finish: str
    used: Used | None
    calls: Sequence[Part]


def read_chunk(chunk: Any) -> Piece:
    """Read a chunk, which the client builds from any JSON without looking.

    Raises:
        ValueError: It has not the shape of one.
    """
    try:
        choices = chunk.choices or ()
        deltas = [choice.delta for choice in choices if choice.delta]
        contents = [delta.content for delta in deltas]
        calls = [part for delta in deltas for part in parts(delta.tool_calls)]
        finish = next((choice.finish_reason for choice in choices if choice.finish_reason), "")
        used = None
        if usage := chunk.usage:
            details = usage.prompt_tokens_details
            cached = details.cached_tokens if details else None
            used = Used(*map(_count, (usage.prompt_tokens, cached, usage.completion_tokens)))
    except (AttributeError, TypeError):
        raise ValueError("not a chunk of a chat completion") from None
    # A content that is no text is some server's way of sending thoughts.
    return Piece("".join(text for text in contents if isinstance(text, str)), finish, used, calls)


def _count(tokens: object) -> int:
    """A number of tokens; 0 where the server gives none."""
    return tokens if isinstance(tokens, int) else 0
