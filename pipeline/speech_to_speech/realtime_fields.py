"""What is read from a Realtime server's events, of which nothing is certain. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.events import Usage
from pipeline.speech_to_speech.keys import shown
from pipeline.speech_to_speech.openai_words import reason


def broken(status: str, details: Mapping[str, Any]) -> str:
    """Why a response is not whole."""
    error = details.get("error")
    if isinstance(error, dict):
        return f"the response failed: {reason(error)}"
    why = shown(text(details, "reason")) or "no reason given"
    what = "failed" if status == "failed" else "was cut short"
    return f"the response {what}: {why}"


def response_usage(turn: int, response: Mapping[str, Any]) -> Usage | None:
    """What a response is billed."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    read, written = mapping(usage, "input_token_details"), mapping(usage, "output_token_details")
    return Usage(
        turn,
        count(usage, "input_tokens"),
        count(read, "cached_tokens"),
        count(usage, "output_tokens"),
        count(read, "audio_tokens"),
        count(mapping(read, "cached_tokens_details"), "audio_tokens"),
        count(written, "audio_tokens"),
    )


def transcription_usage(turn: int, usage: object) -> Usage | None:
    """What a transcription is billed."""
    if not isinstance(usage, dict):
        return None
    seconds = usage.get("seconds")
    return Usage(
        turn,
        count(usage, "input_tokens"),
        0,
        count(usage, "output_tokens"),
        count(mapping(usage, "input_token_details"), "audio_tokens"),
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        kind="transcription",
    )


def words_of(item: Mapping[str, Any]) -> str:
    """The words in an item's content, in order."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    texts = (text(part, "transcript") or text(part, "text") for part in parts)
    return " ".join(found.strip() for found in texts if found.strip())


def text(data: object, key: str) -> str:
    """A text in an object; empty where there is none."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def mapping(data: object, key: str) -> Mapping[str, Any]:
    """An object in an object; empty where there is none."""
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def count(data: Mapping[str, Any], key: str) -> int:
    """A number in an object; 0 where there is none."""
    value = data.get(key)
    return value if isinstance(value, int) else 0
