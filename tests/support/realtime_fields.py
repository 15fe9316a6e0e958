"""What the fields of a server's events must be, for every client that is in use.

Python's clients check against the SDK's types; here they are strict, and know no field that the SDK
does not. `@openai/agents-realtime` checks against schemas of its own and ignores an event that does
not match, so that what depends on it never happens.
"""

from __future__ import annotations

import copy
import json
import typing
from collections.abc import Iterator
from typing import Any

from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import BaseModel, ValidationError

from pipeline.serve.session_object import JsonObject

MOST_SENT = 1 << 20
"""Bytes of a message that Python's `websockets` takes by default."""

NULLABLE = (
    "previous_item_id",
    "session.",
    "error.",
    *(f"response.{name}" for name in ("conversation_id", "metadata", "status_details", "usage")),
    *(f"{item}.content.transcript" for item in ("item", "response.output")),
    *(
        f"{item}.{name}"
        for item in ("item", "response.output")
        for name in ("output", "error", "approval_request_id")
    ),
)
"""Where JavaScript's client takes null for a value; elsewhere it would ignore the event."""

OWN = {"session": {"id", "object", "expires_at"}}
"""Fields that the server sends, says the SDK elsewhere, but has left out of the event's type."""


def _models() -> dict[str, type[BaseModel]]:
    union = typing.get_args(RealtimeServerEvent)[0]
    models = {}
    for model in typing.get_args(union):
        (name,) = typing.get_args(model.model_fields["type"].annotation)
        models[name] = model
    return models


MODELS = _models()


def strictly(event: JsonObject) -> list[str]:
    """What is wrong with an event's fields, in words."""
    model = MODELS.get(str(event.get("type")))
    if model is None:
        return [f"the SDK knows no event {event.get('type')!r}"]
    written = json.dumps(_as_the_sdk_has_it(event))
    try:
        read = model.model_validate_json(written, strict=True)
    except ValidationError as error:
        return [str(error)]
    wrong = [f"{event['type']} has no field {path}" for path in _surplus(read)]
    wrong += [f"{event['type']}: {path} is null" for path in _nulls(event)]
    wrong += [f"{event['type']}: {problem}" for problem in _traps(event)]
    if len(written) >= MOST_SENT:
        wrong.append(f"{event['type']} has {len(written)} bytes")
    return wrong


def _as_the_sdk_has_it(event: JsonObject) -> JsonObject:
    """An event whose PCM has the one rate that the SDK knows: only who asks gets another."""
    event = copy.deepcopy(event)
    for about in (event.get("session"), event.get("response")):
        for side in ((about or {}).get("audio") or {}).values():
            if (side.get("format") or {}).get("rate") in (16_000, 48_000):
                side["format"]["rate"] = 24_000
    return event


def _surplus(model: BaseModel, path: str = "") -> Iterator[str]:
    """Fields that the SDK's types do not have."""
    for name in model.model_extra or {}:
        if name not in OWN.get(path, ()):
            yield f"{path}.{name}".lstrip(".")
    for name in type(model).model_fields:
        values = getattr(model, name)
        for value in values if isinstance(values, list) else [values]:
            # What is told of a tool is the client's.
            if isinstance(value, BaseModel) and name != "tools":
                yield from _surplus(value, f"{path}.{name}".lstrip("."))


def _nulls(value: Any, path: str = "") -> Iterator[str]:
    """Where there is null and may be none; a list's values are all at the list's place."""
    match value:
        case None:
            if not f"{path}.".startswith(tuple(f"{name.rstrip('.')}." for name in NULLABLE)):
                yield path
        case dict():
            for name, inner in value.items():
                yield from _nulls(inner, f"{path}.{name}".lstrip("."))
        case list():
            for inner in value:
                yield from _nulls(inner, path)


def _traps(event: JsonObject) -> Iterator[str]:
    """What no schema says, and a client breaks at."""
    item = event.get("item") or {}
    for part in item.get("content", ()):
        if part.get("type") == "input_audio" and "transcript" not in part:
            yield "a part with sound has no transcript, not even null"
    usage = event.get("usage") or {}
    if usage.get("type") == "tokens" and "input_token_details" not in usage:
        yield "usage in tokens has no details"
    voice = (((event.get("response") or {}).get("audio") or {}).get("output") or {}).get("voice")
    if not isinstance(voice, str | None):
        yield "the voice of a response is no name"
    if event.get("type") == "response.done":
        calls = [each for each in event["response"]["output"] if each["type"] == "function_call"]
        if any(call["status"] == "completed" and not _is_json(call["arguments"]) for call in calls):
            yield "a call's arguments are no JSON"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
