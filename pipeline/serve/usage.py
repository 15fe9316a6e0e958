"""What responses cost, in tokens as OpenAI counts them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.events import Usage
from pipeline.serve.items import KeptItem
from pipeline.serve.session_object import JsonObject


def user_tokens(ms: float) -> int:
    """Tokens of so much sound of the user: 1 each 100 ms."""
    return math.ceil(ms / 100)


def assistant_tokens(ms: float) -> int:
    """Tokens of so much sound of the assistant: 1 each 50 ms."""
    return math.ceil(ms / 50)


def text_tokens(text: str) -> int:
    """Tokens of a text: 4 characters each, which is about right for English."""
    return math.ceil(len(text) / 4)


def cost(used: Usage, made_audio: int) -> JsonObject:
    """The usage of a response, as `response.done` has it. Pure.

    The text is what the language model counts; the voice's sound counts as OpenAI's does.

    Args:
        used: By the language model.
        made_audio: Tokens of sound.
    """
    return _usage(
        _kinds(used.input_tokens), _kinds(used.cached_tokens), used.output_tokens, made_audio
    )


class ReadPart(NamedTuple):
    """A part of what a model reads: its instructions, its tools, an item.

    Attributes:
        key: Another one if it changes.
        text: Tokens of text.
        audio: Tokens of sound.
    """

    key: str
    text: int = 0
    audio: int = 0

    @classmethod
    def of(cls, item: KeptItem) -> ReadPart:
        """What a model reads of an item."""
        text = audio = 0
        for place, part in enumerate(item.about.get("content", [])):
            ms = item.sounds[place].ms if place in item.sounds else 0
            if part["type"] == "input_audio":
                audio += user_tokens(ms)
                continue
            text += text_tokens(part.get("transcript") or part.get("text") or "")
            audio += assistant_tokens(ms)
        text += sum(text_tokens(item.about.get(k) or "") for k in ("name", "arguments", "output"))
        return cls(f"{item.id}/{item.cuts}", text, audio)


class Meter:
    """Counts the tokens of a connection's responses, one after the other.

    The whole conversation is read every time, says OpenAI's guide on costs of the Realtime API;
    what the response before it read too, up to the first change, is cached.
    """

    def __init__(self) -> None:
        self._read: list[ReadPart] = []

    def usage(self, read: Sequence[ReadPart], made_text: int, made_audio: int) -> JsonObject:
        """The usage of a response, as `response.done` has it.

        Args:
            read: What the model read.
            made_text: Tokens of text that it made: transcripts and arguments.
            made_audio: Tokens of sound that it made.
        """
        same = 0
        for old, new in zip(self._read, read, strict=False):
            if old.key != new.key:
                break
            same += 1
        self._read = list(read)
        return _usage(_tokens(read), _tokens(read[:same]), made_text, made_audio)


def _tokens(read: Sequence[ReadPart]) -> dict[str, int]:
    return _kinds(sum(part.text for part in read), sum(part.audio for part in read))


def _kinds(text: int, audio: int = 0) -> dict[str, int]:
    return {"text_tokens": text, "audio_tokens": audio, "image_tokens": 0}


def _usage(
    details: dict[str, int], cached: dict[str, int], made_text: int, made_audio: int
) -> JsonObject:
    """The usage of a response: what was read, what of that was cached, and what was made."""
    made = {"text_tokens": made_text, "audio_tokens": made_audio}
    return {
        "total_tokens": sum(details.values()) + sum(made.values()),
        "input_tokens": sum(details.values()),
        "output_tokens": sum(made.values()),
        "input_token_details": {
            **details,
            "cached_tokens": sum(cached.values()),
            "cached_tokens_details": cached,
        },
        "output_token_details": made,
    }
