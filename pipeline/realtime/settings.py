"""The session object: its defaults, and what `session.update` makes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.realtime.events import FIXED_VOICE, INVALID_VALUE, MISSING, UNKNOWN, Event, Refused

PCM = {"type": "audio/pcm", "rate": 24_000}

SESSION_S = 3600
"""A session lasts an hour, says the guide."""

SERVER_VAD: Mapping[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD: Mapping[str, Any] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_DETECTIONS = {"server_vad": SERVER_VAD, "semantic_vad": SEMANTIC_VAD}

_Check = Callable[[Any], bool]


def defaults(session_id: str, model: str, expires_at: int) -> Event:
    """A session as it is before any update.

    Args:
        session_id: Its id.
        model: The model that answers; never changes.
        expires_at: Unix time when it ends (s).
    """
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "include": None,
        "audio": {
            "input": {
                "format": dict(PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(SERVER_VAD),
            },
            "output": {"format": dict(PCM), "voice": "marin", "speed": 1.0},
        },
    }


def merged(session: Event, update: Event, *, voice_fixed: bool = False) -> Event:
    """The session after a client's `session.update`; the one given is left as it is.

    What an update does not name stays as it is; null, an empty text or an empty list clears.

    Args:
        session: The session as it is.
        update: The field `session` of the event.
        voice_fixed: The model has spoken, so that its voice cannot change any more.

    Raises:
        Refused: The update cannot be; nothing of it is done.
    """
    if "type" not in update:
        raise Refused(MISSING, "Missing required parameter: 'session.type'.", "session.type")
    if update["type"] != "realtime":
        raise _invalid("session.type", "is not 'realtime'")
    result = copy.deepcopy(session)
    for name, value in update.items():
        if name == "audio":
            _audio(result, value, voice_fixed)
        elif name == "model":
            if value != session["model"]:
                raise _invalid("session.model", "cannot be changed")
        elif name == "tracing":
            _tracing(result, value)
        elif name in ("id", "object", "expires_at", "type"):
            continue
        elif name not in _TOP:
            raise _unknown(f"session.{name}")
        else:
            value = _checked(value, _TOP[name], f"session.{name}")
            result[name] = _CLEARED.get(name) if value is None else value
    return result


def _audio(session: Event, update: Any, voice_fixed: bool) -> None:
    for side, fields in _object(update, "session.audio").items():
        where = f"session.audio.{side}"
        if side == "input":
            for name, value in _object(fields, where).items():
                _input(session["audio"]["input"], name, value, f"{where}.{name}")
        elif side == "output":
            for name, value in _object(fields, where).items():
                _output(session["audio"]["output"], name, value, f"{where}.{name}", voice_fixed)
        else:
            raise _unknown(where)


def _input(now: Event, name: str, value: Any, where: str) -> None:
    match name:
        case "format":
            now[name] = _checked(value, _FORMAT, where)
        case "transcription":
            now[name] = _overlaid(now[name], value, _TRANSCRIPTION, where)
        case "noise_reduction":
            now[name] = _overlaid(now[name], value, _NOISE, where)
        case "turn_detection":
            now[name] = _detection(now[name], value, where)
        case _:
            raise _unknown(where)


def _output(now: Event, name: str, value: Any, where: str, voice_fixed: bool) -> None:
    if name not in _OUTPUT:
        raise _unknown(where)
    if name == "voice" and voice_fixed and value != now["voice"]:
        raise Refused(FIXED_VOICE, "The voice cannot change once the assistant has spoken.", where)
    now[name] = _checked(value, _OUTPUT[name], where)


def _detection(now: Event | None, value: Any, where: str) -> Event | None:
    if value is None:
        return None
    kind = _object(value, where).get("type")
    if kind is None:
        raise Refused(MISSING, f"Missing required parameter: '{where}.type'.", f"{where}.type")
    if not isinstance(kind, str) or kind not in _DETECTIONS:
        raise _invalid(f"{where}.type", f"is one of {', '.join(_DETECTIONS)}")
    base = now if now is not None and now["type"] == kind else _DETECTIONS[kind]
    return _overlaid(dict(base), value, _VAD[kind], where)


def _overlaid(
    now: Event | None, value: Any, checks: Mapping[str, tuple[_Check, str]], where: str
) -> Event | None:
    """An object whose named fields change; null is null."""
    if value is None:
        return None
    result = dict(now or {})
    for name, field in _object(value, where).items():
        if name not in checks:
            raise _unknown(f"{where}.{name}")
        result[name] = _checked(field, checks[name], f"{where}.{name}")
    return result


def _tracing(session: Event, value: Any) -> None:
    if value is not None and value != "auto" and not isinstance(value, dict):
        raise _invalid("session.tracing", "is null, 'auto' or an object")
    if session["tracing"] not in (None, value):
        raise _invalid("session.tracing", "cannot be changed once it is set")
    session["tracing"] = copy.deepcopy(value)


def _object(value: Any, where: str) -> Event:
    if not isinstance(value, dict):
        raise _invalid(where, "is no object")
    return value


def _checked(value: Any, check: tuple[_Check, str], where: str) -> Any:
    is_good, wanted = check
    if not is_good(value):
        raise _invalid(where, f"is not {wanted}")
    return copy.deepcopy(value)


def _invalid(param: str, what: str) -> Refused:
    return Refused(INVALID_VALUE, f"Invalid value: '{param}' {what}.", param)


def _unknown(param: str) -> Refused:
    return Refused(UNKNOWN, f"Unknown parameter: '{param}'.", param)


def _number(low: float, high: float) -> tuple[_Check, str]:
    def is_good(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and low <= value <= high

    return is_good, f"a number from {low:g} to {high:g}"


def _choice(*values: str) -> tuple[_Check, str]:
    return lambda value: isinstance(value, str) and value in values, f"one of {', '.join(values)}"


def _or_null(check: tuple[_Check, str]) -> tuple[_Check, str]:
    return lambda value: value is None or check[0](value), f"{check[1]}, or null"


def _is_format(value: Any) -> bool:
    return value == PCM or value in ({"type": "audio/pcmu"}, {"type": "audio/pcma"})


def _is_tools(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    return all(
        isinstance(tool, dict)
        and (
            (tool.get("type") == "function" and isinstance(tool.get("name"), str))
            or (tool.get("type") == "mcp" and isinstance(tool.get("server_label"), str))
        )
        for tool in value
    )


def _is_tool_choice(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("type") in ("function", "mcp")
    return value in ("auto", "none", "required")


def _is_tokens(value: Any) -> bool:
    return value == "inf" or (type(value) is int and 1 <= value <= 4096)


def _is_voice(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("id"), str))


_TEXT: tuple[_Check, str] = (lambda value: isinstance(value, str), "a text")
_FLAG: tuple[_Check, str] = (lambda value: isinstance(value, bool), "true or false")
_LIST: tuple[_Check, str] = (
    lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    "a list of texts",
)
_ANY_OBJECT: tuple[_Check, str] = (lambda value: isinstance(value, dict), "an object")
_FORMAT: tuple[_Check, str] = (_is_format, "audio/pcm at 24000 Hz, audio/pcmu or audio/pcma")

_TOP: Mapping[str, tuple[_Check, str]] = {
    "instructions": _or_null(_TEXT),
    "output_modalities": (lambda value: value in (["audio"], ["text"]), '["audio"] or ["text"]'),
    "tools": _or_null((_is_tools, "a list of function or mcp tools")),
    "tool_choice": (_is_tool_choice, "auto, none, required, or an object that names a tool"),
    "max_output_tokens": (_is_tokens, '1 to 4096, or "inf"'),
    "truncation": (
        lambda value: value in ("auto", "disabled") or isinstance(value, dict),
        "auto, disabled or an object",
    ),
    "prompt": _or_null(_ANY_OBJECT),
    "include": _or_null(_LIST),
    "reasoning": _or_null(_ANY_OBJECT),
    "parallel_tool_calls": _or_null(_FLAG),
}

_CLEARED: Mapping[str, Any] = {"instructions": "", "tools": []}
"""What null makes of a field, where that is not null."""

_TRANSCRIPTION: Mapping[str, tuple[_Check, str]] = {
    "model": _or_null(_TEXT),
    "language": _or_null(_TEXT),
    "languages": _or_null(_LIST),
    "prompt": _or_null(_TEXT),
    "keywords": _or_null(_LIST),
    "delay": _or_null(_TEXT),
}

_NOISE: Mapping[str, tuple[_Check, str]] = {
    "type": _choice("near_field", "far_field"),
    "strength": _or_null(_number(0, 10)),
}

_VAD: Mapping[str, Mapping[str, tuple[_Check, str]]] = {
    "server_vad": {
        "type": _choice("server_vad"),
        "threshold": _number(0, 1),
        "prefix_padding_ms": _number(0, 60_000),
        "silence_duration_ms": _number(0, 60_000),
        "idle_timeout_ms": _or_null(_number(5000, 30_000)),
        "create_response": _FLAG,
        "interrupt_response": _FLAG,
    },
    "semantic_vad": {
        "type": _choice("semantic_vad"),
        "eagerness": _choice("low", "medium", "high", "auto"),
        "create_response": _FLAG,
        "interrupt_response": _FLAG,
    },
}

_OUTPUT: Mapping[str, tuple[_Check, str]] = {
    "format": _FORMAT,
    "voice": (_is_voice, "a voice's name, or an object with its id"),
    "speed": _number(0.25, 1.5),
}

RESPONSE: Mapping[str, tuple[_Check, str]] = {
    **{name: _TOP[name] for name in ("instructions", "output_modalities", "tools", "tool_choice")},
    **{name: _TOP[name] for name in ("max_output_tokens", "prompt", "reasoning")},
    "parallel_tool_calls": _TOP["parallel_tool_calls"],
    "conversation": _choice("auto", "none"),
    "input": _or_null((lambda value: isinstance(value, list), "a list of items")),
    "metadata": _or_null(
        (
            lambda value: (
                isinstance(value, dict)
                and len(value) <= 16
                and all(
                    isinstance(v, str) and len(k) <= 64 and len(v) <= 512 for k, v in value.items()
                )
            ),
            "16 texts at most, of 512 characters at most",
        )
    ),
    "audio": _ANY_OBJECT,
}
"""What `response.create` may say about its response."""


def check_response(update: Event) -> None:
    """Check the field `response` of `response.create`.

    Raises:
        Refused: A field is unknown, or not what it may be.
    """
    for name, value in update.items():
        if name not in RESPONSE:
            raise _unknown(f"response.{name}")
        _checked(value, RESPONSE[name], f"response.{name}")
