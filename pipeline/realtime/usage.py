"""Tokens of a response, counted by OpenAI's rule: the whole conversation is read every time.

Source: the guide on costs of the Realtime API. A user's sound is 1 token each 100 ms, the
assistant's 1 each 50 ms. Text is taken as 4 characters a token, which is about right for English.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.realtime.events import Event

CHARS_PER_TOKEN = 4


def user_tokens(ms: float) -> int:
    """Tokens of so much sound of the user."""
    return math.ceil(ms / 100)


def assistant_tokens(ms: float) -> int:
    """Tokens of so much sound of the assistant."""
    return math.ceil(ms / 50)


def text_tokens(text: str) -> int:
    """Tokens of a text, about."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Entry:
    """A part of what a model reads: its instructions, a tool, an item.

    Attributes:
        key: Another one if it changes.
        text: Tokens of text.
        audio: Tokens of sound.
    """

    key: str
    text: int = 0
    audio: int = 0


class Meter:
    """Counts the tokens of a session's responses, one after the other."""

    def __init__(self) -> None:
        self._read: list[Entry] = []

    def usage(self, context: Sequence[Entry], text: int, audio: int) -> Event:
        """The usage of a response, as `response.done` has it.

        What the response before it read too, up to the first change, is cached.

        Args:
            context: What the model read.
            text: Tokens of text that it made: transcripts and arguments.
            audio: Tokens of sound that it made.
        """
        same = 0
        for old, new in zip(self._read, context, strict=False):
            if old.key != new.key:
                break
            same += 1
        self._read = list(context)
        read_text, read_audio = _sums(context)
        cached_text, cached_audio = _sums(context[:same])
        return {
            "total_tokens": read_text + read_audio + text + audio,
            "input_tokens": read_text + read_audio,
            "output_tokens": text + audio,
            "input_token_details": {
                "text_tokens": read_text,
                "audio_tokens": read_audio,
                "image_tokens": 0,
                "cached_tokens": cached_text + cached_audio,
                "cached_tokens_details": {
                    "text_tokens": cached_text,
                    "audio_tokens": cached_audio,
                    "image_tokens": 0,
                },
            },
            "output_token_details": {"text_tokens": text, "audio_tokens": audio},
        }


def _sums(entries: Sequence[Entry]) -> tuple[int, int]:
    return sum(entry.text for entry in entries), sum(entry.audio for entry in entries)
