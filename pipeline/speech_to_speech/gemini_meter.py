"""What Gemini Live counts: samples per second, tokens. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.events import Usage
from pipeline.speech_to_speech.gemini_book import RATE

if TYPE_CHECKING:
    from google.genai import types


def sample_rate(mime_type: str) -> int | None:
    """Samples per second of a type such as `audio/pcm;rate=24000`; None if it is none of those."""
    kind, *parameters = (part.strip() for part in mime_type.lower().split(";"))
    if kind != "audio/pcm":
        return None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "rate":
            usable = value.isascii() and value.isdecimal() and 1000 <= int(value) <= 192_000
            return int(value) if usable else None
    return RATE


def usage(usage: types.UsageMetadata, turn: int) -> Usage:
    """What a turn has cost, sound apart from the rest; results of tools count as read."""
    return Usage(
        turn,
        (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        usage.cached_content_token_count or 0,
        (usage.response_token_count or 0) + (usage.thoughts_token_count or 0),
        input_audio_tokens=_sounding(usage.prompt_tokens_details),
        cached_audio_tokens=_sounding(usage.cache_tokens_details),
        output_audio_tokens=_sounding(usage.response_tokens_details),
    )


def _sounding(details: list[types.ModalityTokenCount] | None) -> int:
    """The tokens that are sound."""
    return sum(
        one.token_count or 0
        for one in details or []
        if one.modality is not None and one.modality.value == "AUDIO"
    )
