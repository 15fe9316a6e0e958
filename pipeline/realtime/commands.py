"""What a Realtime client sends: reading and checking."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping

import numpy as np

from pipeline.events import Samples
from pipeline.realtime.events import INVALID_EVENT, INVALID_VALUE, MISSING, Event, Refused

MOST_APPENDED = 15 * 1024 * 1024
"""Bytes of sound in one append, as the protocol allows."""

LONGEST_ID = 512

COMMANDS: Mapping[str, Mapping[str, type]] = {
    "session.update": {"session": dict},
    "input_audio_buffer.append": {"audio": str},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "conversation.item.create": {"item": dict},
    "conversation.item.retrieve": {"item_id": str},
    "conversation.item.delete": {"item_id": str},
    "conversation.item.truncate": {"item_id": str, "content_index": int, "audio_end_ms": int},
    "response.create": {},
    "response.cancel": {},
}
"""The events of a client on a WebSocket, and their required fields."""

OPTIONAL: Mapping[str, Mapping[str, type]] = {
    "conversation.item.create": {"previous_item_id": str},
    "response.create": {"response": dict},
    "response.cancel": {"response_id": str},
}

_NAMES = {dict: "an object", str: "a string", int: "an integer"}

_PARTS = {
    "system": {"input_text"},
    "user": {"input_text", "input_audio", "input_image"},
    "assistant": {"output_text", "output_audio"},
}


def parse(message: str | bytes) -> Event:
    """Read a client's event: its type is known, its required fields are there and of their types.

    Raises:
        Refused: It is none; `event_id` is the client's own where it could be read.
    """
    if isinstance(message, bytes):
        raise Refused(INVALID_EVENT, "Events are sent as text, not as binary messages.")
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        raise Refused(INVALID_EVENT, "The message is no JSON.") from None
    if not isinstance(event, dict):
        raise Refused(INVALID_EVENT, "The message is no JSON object.")
    try:
        _check(event)
    except Refused as refused:
        refused.event_id = own_id(event)
        raise
    return event


def own_id(event: Event) -> str | None:
    """The id that a client gave its event, if it is one."""
    given = event.get("event_id")
    return given if isinstance(given, str) and len(given) <= LONGEST_ID else None


def sound(event: Event) -> Samples:
    """The sound of `input_audio_buffer.append`: int16, as it was sent.

    Raises:
        Refused: It is no base64, no whole number of samples, or more than 15 MiB.
    """
    try:
        data = base64.b64decode(event["audio"], validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("audio", "is no base64") from None
    if len(data) > MOST_APPENDED:
        raise _invalid("audio", "is more than 15 MiB")
    if len(data) % 2:
        raise _invalid("audio", "ends in the middle of a 16-bit sample")
    return np.frombuffer(data, "<i2").astype(np.int16)


def check_item(item: Event) -> None:
    """Check an item that a client adds to the conversation.

    Raises:
        Refused: A client cannot add this.
    """
    match item.get("type"):
        case "message":
            _check_message(item)
        case "function_call":
            _fields(item, {"name": str, "arguments": str, "call_id": str}, "item.")
        case "function_call_output":
            _fields(item, {"call_id": str, "output": str}, "item.")
        case kind:
            raise _invalid("item.type", f"{kind!r} cannot be added here")
    if not isinstance(item.get("id", ""), str):
        raise _invalid("item.id", "is no string")


def _check(event: Event) -> None:
    given = event.get("event_id")
    if given is not None and own_id(event) is None:
        raise _invalid("event_id", f"is no string of at most {LONGEST_ID} characters")
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in COMMANDS:
        raise Refused(INVALID_EVENT, f"There is no event of type {kind!r} here.", "type")
    _fields(event, COMMANDS[kind])
    optional = OPTIONAL.get(kind, {})
    present = {name: optional[name] for name in optional if event.get(name) is not None}
    _fields(event, present)


def _fields(event: Event, wanted: Mapping[str, type], prefix: str = "") -> None:
    for name, kind in wanted.items():
        if name not in event:
            raise Refused(MISSING, f"Missing required parameter: '{prefix}{name}'.", prefix + name)
        value = event[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _invalid(prefix + name, f"is not {_NAMES[kind]}")
        if isinstance(value, int) and value < 0:
            raise _invalid(prefix + name, "is less than 0")


def _check_message(item: Event) -> None:
    role, content = item.get("role"), item.get("content")
    if role not in _PARTS:
        raise _invalid("item.role", f"is one of {', '.join(_PARTS)}")
    if not isinstance(content, list):
        raise _invalid("item.content", "is no list")
    for number, part in enumerate(content):
        where = f"item.content[{number}]"
        if not isinstance(part, dict) or part.get("type") not in _PARTS[role]:
            raise _invalid(where, f"is none of {', '.join(sorted(_PARTS[role]))}")
        if part["type"].endswith("_text"):
            _fields(part, {"text": str}, f"{where}.")
        if part["type"] == "output_audio":
            raise _invalid(where, "is sound of the assistant, which cannot be added")
        if part["type"] == "input_audio":
            _fields(part, {"audio": str}, f"{where}.")


def _invalid(param: str, what: str) -> Refused:
    return Refused(INVALID_VALUE, f"Invalid value: '{param}' {what}.", param)
