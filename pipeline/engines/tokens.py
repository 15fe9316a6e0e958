"""How many tokens a prompt has for the model that reads it: guessed, then learnt. Pure.

What a text has depends on the model's vocabulary and on the language: English has a token for each
4 characters, Japanese may have two for each character. No tokenizer is needed: servers tell how
many tokens each prompt had, and prompts of one conversation are much alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.engines.tools import Prompt, Tool, tools_of

CHARS_PER_TOKEN = 3.5
"""Of English text; the usual vocabularies have about 4. Until more is known this errs towards
leaving out a turn too early, rather than too late."""

TOKENS_PER_BYTE = 0.5
"""For each byte of UTF-8 beyond one a character: 0.8 tokens for a Cyrillic letter and 1.3 for a
Chinese one, which is between what small English vocabularies need and large ones."""

MESSAGE_TOKENS = 6
"""What a chat template adds around each message, about."""

PICTURE_TOKENS = 300
"""What a picture costs a model that sees, about: from 85 (OpenAI, low detail) to 1,500."""

MOST_UNLIKE = 8.0
"""A part of a prompt costs at most so many times what was guessed."""

LEAST_COUNT = 0.25
"""A count of less than this share of what the words alone should have is none of the prompt: some
servers count only what they had not read before."""

REPLY_SHARE = 0.5
"""A reply is left no more than this of the model's context."""

Costs = tuple[float, float, float, float, float]
"""Guessed tokens of a prompt by kind: characters, bytes beyond one a character, what stands around
messages, pictures, tools."""


class TokenGauge:
    """Tells how many tokens prompts have, and learns from what the server counts.

    Each kind of cost has a factor, and begins with 1. After a count the factors move so that this
    prompt would have been guessed exactly, and by as little as possible (Kaczmarz's method, which
    adaptive filters know as NLMS with a step of 1): those change most that had most part in it. So
    a conversation in English leaves the guess for Chinese as it was.

    Attributes:
        most: Tokens that a prompt may have: what the model's context leaves beside a reply.
    """

    def __init__(self) -> None:
        self.most = math.inf
        self._factors: Costs = (1.0, 1.0, 1.0, 1.0, 1.0)

    def message(self, message: Mapping[str, Any]) -> float:
        """Tokens of a message, as the chat API takes it."""
        return self._sum(costs(message))

    def tools(self, chars: int) -> float:
        """Tokens of tools that have so many characters (see `tool_chars`)."""
        return self._sum((0.0, 0.0, 0.0, 0.0, chars / CHARS_PER_TOKEN))

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> float:
        """Tokens of a whole prompt, tools included."""
        return self._sum(_whole(messages))

    def learn(self, messages: Sequence[Mapping[str, Any]], tokens: int) -> None:
        """The server has counted so many tokens in a prompt."""
        whole = _whole(messages)
        norm = sum(cost * cost for cost in whole)
        if not norm or tokens < LEAST_COUNT * (whole[0] + whole[1]):
            return
        step = (tokens - self._sum(whole)) / norm
        a, b, c, d, e = (
            min(max(factor + step * cost, 0.0), MOST_UNLIKE)
            for factor, cost in zip(self._factors, whole, strict=True)
        )
        self._factors = (a, b, c, d, e)

    def fits(self, context: int, reply: int) -> None:
        """The model's context holds so many tokens; a reply may have so many of them."""
        self.most = min(self.most, context - min(reply, context * REPLY_SHARE))

    def refused(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        context: int | None,
        counted: int | None,
        reply: int,
    ) -> None:
        """The server takes no prompt of that length: those to come will be shorter.

        Args:
            messages: The prompt.
            context: What it can hold; None: it did not say.
            counted: How many tokens the prompt had, likewise.
            reply: Tokens that the reply might have had.
        """
        if counted is not None:
            self.learn(messages, counted)
        if context is not None:
            self.fits(context, reply)
        if self.prompt(messages) <= self.most < math.inf:
            self.learn(messages, math.ceil(self.most * 1.1))
        if (guess := self.prompt(messages)) <= self.most:
            self.most = guess * 0.75  # nothing is known but that this is too long

    def _sum(self, parts: Costs) -> float:
        # Written out: it is done for every message of every prompt.
        a, b, c, d, e = self._factors
        chars, more, around, pictures, tools = parts
        return a * chars + b * more + c * around + d * pictures + e * tools


def costs(message: Mapping[str, Any]) -> Costs:
    """What a message costs, by kind, before anything is known of the model."""
    content = message.get("content") or ""
    parts = [content] if isinstance(content, str) else content
    calls = [call["function"] for call in message.get("tool_calls", ())]
    texts = [part if isinstance(part, str) else part.get("text", "") for part in parts]
    texts += [called["name"] + called["arguments"] for called in calls]
    # Halves of characters have no UTF-8.
    more = sum(
        len(text.encode("utf-8", "surrogatepass")) - len(text)
        for text in texts
        if not text.isascii()
    )
    pictures = sum(isinstance(part, Mapping) and "image_url" in part for part in parts)
    around = 1 + len(calls) + (3 if calls else 0)
    return (
        sum(map(len, texts)) / CHARS_PER_TOKEN,
        more * TOKENS_PER_BYTE,
        float(around * MESSAGE_TOKENS),
        float(pictures * PICTURE_TOKENS),
        0.0,
    )


def tool_chars(tools: Sequence[Tool]) -> int:
    """How many characters tools have as they are offered."""
    return sum(len(json.dumps(tool)) for tool in tools_of(Prompt([], tools)))


def _whole(messages: Sequence[Mapping[str, Any]]) -> Costs:
    found = [costs(message) for message in messages]
    tools = messages.tools if isinstance(messages, Prompt) else ()
    found.append((0.0, 0.0, 0.0, 0.0, tool_chars(tools) / CHARS_PER_TOKEN))
    chars, more, around, pictures, offered = map(sum, zip(*found, strict=True))
    return chars, more, around, pictures, offered
