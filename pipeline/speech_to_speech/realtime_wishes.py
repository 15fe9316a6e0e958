"""What a Realtime session is asked to be: a path's options as `session.update` says them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.errors import BadInput
from pipeline.speech_to_speech.brief import Brief, Target
from pipeline.speech_to_speech.encoding import Encoding, asked

TURNS = ("server", "semantic", "manual")
"""Who ends the user's turn: the server by silence, the server by meaning, or the driver."""

EAGERNESS = ("low", "medium", "high", "auto")
"""How soon semantic detection takes a turn for over."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
"""How much a model that can reason does so."""

TRANSCRIPTION = "gpt-transcribe"
"""Which model is asked to write down what the user says, unless the path names another."""

OPTIONS = ("turns", "silence_ms", "eagerness", "voice", "effort", "transcription")
"""Names of the options."""

SILENCE_MS = (1, 10_000)
"""Limits of `silence_ms`."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """A path's options; empty, or None, where the server decides.

    Attributes:
        turns: One of `TURNS`.
        silence_ms: Silence that ends a turn; with `turns=server`.
        eagerness: One of `EAGERNESS`; with `turns=semantic`.
        voice: Name of the voice.
        effort: One of `EFFORTS`.
        transcription: Model that writes down what the user says.
    """

    turns: str = "server"
    silence_ms: int | None = None
    eagerness: str = ""
    voice: str = ""
    effort: str = ""
    transcription: str = TRANSCRIPTION


def read(target: Target) -> Wishes:
    """The wishes in a path's options.

    Raises:
        BadInput: There is no such option, or it cannot be that.
    """
    given = dict(target.options)
    for name in given:
        if name not in OPTIONS:
            raise BadInput(f"{target.name}: no option {name!r}; there are {', '.join(OPTIONS)}")
    turns = _one_of(target, "turns", TURNS) or "server"
    silence_ms = None
    if text := given.get("silence_ms", ""):
        low, high = SILENCE_MS
        if not (text.isdecimal() and low <= int(text) <= high):
            raise BadInput(f"{target.name}: silence_ms is a number from {low} to {high}")
        silence_ms = int(text)
    eagerness = _one_of(target, "eagerness", EAGERNESS)
    for option, needed in (("silence_ms", "server"), ("eagerness", "semantic")):
        if given.get(option) and turns != needed:
            raise BadInput(f"{target.name}: {option} goes with turns={needed} only")
    return Wishes(
        turns,
        silence_ms,
        eagerness,
        given.get("voice", ""),
        _one_of(target, "effort", EFFORTS),
        given.get("transcription", "") or TRANSCRIPTION,
    )


def session(wishes: Wishes, brief: Brief, *, bare: bool = False) -> dict[str, Any]:
    """The session to ask for: what goes into `session.update`.

    Args:
        wishes: The path's.
        brief: The comparison's.
        bare: Only what no conversation can be without, for a server that refuses more.
    """
    if bare:
        return {"type": "realtime", "instructions": brief.instructions, "tools": functions(brief)}
    transcription: dict[str, Any] = {"model": wishes.transcription}
    if brief.language:
        transcription["language"] = brief.language
    heard = {
        "format": asked(Encoding()),
        "transcription": transcription,
        "turn_detection": _detection(wishes),
    }
    spoken: dict[str, Any] = {"format": asked(Encoding())}
    if wishes.voice:
        spoken["voice"] = wishes.voice
    asked_for: dict[str, Any] = {
        "type": "realtime",
        "instructions": brief.instructions,
        "output_modalities": ["audio"],
        "audio": {"input": heard, "output": spoken},
        "tools": functions(brief),
    }
    if brief.tools:
        asked_for["tool_choice"] = "auto"
    if wishes.effort:
        asked_for["reasoning"] = {"effort": wishes.effort}
    return asked_for


def functions(brief: Brief) -> list[dict[str, Any]]:
    """The tools, as OpenAI's APIs take them."""
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        }
        for tool in brief.tools
    ]


def _detection(wishes: Wishes) -> dict[str, Any] | None:
    if wishes.turns == "manual":
        return None
    detection: dict[str, Any] = {"create_response": True, "interrupt_response": True}
    if wishes.turns == "semantic":
        detection["type"] = "semantic_vad"
        if wishes.eagerness:
            detection["eagerness"] = wishes.eagerness
    else:
        detection["type"] = "server_vad"
        if wishes.silence_ms is not None:
            detection["silence_duration_ms"] = wishes.silence_ms
    return detection


def _one_of(target: Target, option: str, allowed: tuple[str, ...]) -> str:
    value = target.options.get(option, "")
    if value and value not in allowed:
        raise BadInput(f"{target.name}: {option} is one of {', '.join(allowed)}, not {value!r}")
    return value
