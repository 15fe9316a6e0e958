"""What the user said, as sound, in a conversation that is made of text. Pure.

The cascade keeps a conversation of words. Where nobody recognises them, each utterance gets a
placeholder, which goes through the conversation as its text, and becomes sound again in the request
to the model.
"""

from __future__ import annotations

import base64
import io
import re
import wave
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.engines.llm import Messages
from pipeline.engines.tools import Prompt
from pipeline.engines.whisper import RATE, Audio

SPOKEN = "(The user said something here; its sound is not kept.)"
"""Stands for an utterance whose sound is not kept, and that nobody has transcribed."""

UNUSED = 64
"""Utterances that are kept though no prompt has had them."""

# Of Unicode's private use area: no text of a user or a model has them, and they are no letters, so
# that nobody takes a placeholder for words.
_OPEN, _CLOSE, _ZERO = "\ue000", "\ue001", 0xE010
_PLACEHOLDER = re.compile(f"{_OPEN}([{chr(_ZERO)}-{chr(_ZERO + 9)}]+){_CLOSE}")


class Utterances:
    """The utterances of a conversation.

    Args:
        keep: How many of the newest the model hears; of older ones it gets a transcript or a note.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._next = 1
        self._sounds: dict[int, Audio] = {}
        self._texts: dict[int, str] = {}
        self._used: set[int] = set()

    def take(self, audio: Audio) -> str:
        """Keep an utterance (16 kHz, ±1); gives its placeholder."""
        number, self._next = self._next, self._next + 1
        self._sounds[number] = audio
        unused = [n for n in self._sounds if n not in self._used]
        for old in unused[:-UNUSED]:
            del self._sounds[old]
        digits = "".join(chr(_ZERO + int(digit)) for digit in str(number))
        return f"{_OPEN}{digits}{_CLOSE}"

    def sound(self, text: str) -> Audio | None:
        """The sound of all utterances in a text, one after the other; None if it is not kept."""
        sounds = [self._sounds[n] for n in numbers(text) if n in self._sounds]
        return np.concatenate(sounds) if sounds else None

    def know(self, text: str, transcript: str) -> None:
        """The utterances in `text` have been transcribed."""
        for i, number in enumerate(numbers(text)):
            self._texts[number] = transcript if i == 0 else ""

    def read(self, text: str) -> str:
        """A text for people: its utterances as transcripts, or notes."""
        return _PLACEHOLDER.sub(lambda m: self._text(_number(m)), text).strip()

    def spoken(self, messages: Messages) -> Messages:
        """Messages as the model gets them: the newest utterances as sound.

        What no prompt has any more is forgotten.
        """
        found = [n for m in messages for n in numbers(m.get("content"))]
        kept = set(found[-self._keep :] if self._keep else [])
        newest = max(found, default=0)
        self._sounds = {n: a for n, a in self._sounds.items() if n in kept or n > newest}
        self._used = kept
        changed = [self._message(message, kept) for message in messages]
        return Prompt(changed, messages.tools if isinstance(messages, Prompt) else ())

    def _message(self, message: Mapping[str, Any], kept: set[int]) -> dict[str, Any]:
        content = message.get("content")
        if not isinstance(content, str) or not numbers(content):
            return dict(message)
        parts: list[dict[str, Any]] = []
        at = 0
        for found in _PLACEHOLDER.finditer(content):
            _add(parts, content[at : found.start()])
            audio = self._sounds.get(_number(found)) if _number(found) in kept else None
            if audio is None:
                _add(parts, self._text(_number(found)))
            else:
                parts.append(_part(audio))
            at = found.end()
        _add(parts, content[at:])
        if all(part["type"] == "text" for part in parts):
            # Not every server takes parts where text will do.
            return {**message, "content": " ".join(part["text"] for part in parts)}
        return {**message, "content": parts}

    def _text(self, number: int) -> str:
        return self._texts.get(number, SPOKEN)


def numbers(text: object) -> list[int]:
    """The numbers of the utterances in a message's content."""
    return [_number(m) for m in _PLACEHOLDER.finditer(text)] if isinstance(text, str) else []


def wav(audio: Audio) -> bytes:
    """16 kHz sound in ±1 as a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(np.rint(np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _part(audio: Audio) -> dict[str, Any]:
    data = base64.b64encode(wav(audio)).decode()
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def _add(parts: list[dict[str, Any]], text: str) -> None:
    """Add words to a message's parts, if there are any."""
    if text.strip():
        parts.append({"type": "text", "text": text.strip()})


def _number(found: re.Match[str]) -> int:
    return int("".join(str(ord(char) - _ZERO) for char in found[1]))
