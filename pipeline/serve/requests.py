"""What a client of a Realtime server may send: read, checked, or refused in words. Pure.

Source of names and fields: the GA protocol of `/v1/realtime` as the `openai` SDK types it.
"""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from pipeline.serve.refused import INVALID_EVENT, TOO_LONG, RequestRefused, refusal
from pipeline.serve.session_object import (
    Exact,
    Image,
    JsonObject,
    Loose,
    Options,
    SpokenOutput,
)

MOST_TEXT = 1 << 19
"""Characters of an item as JSON, without its sound and its images: it is told in one message."""

MOST_METADATA = 16
"""Pairs in the metadata of a response, as the protocol allows."""

MOST_VALUE = 512
"""Characters of a value in it."""

MOST_COMMAS = 100_000
"""More of them than any sense has. A message full of small objects takes a hundred times its size,
and keeps all other sessions waiting while it is read."""

MOST_NESTED = 64
"""Objects and lists in each other."""

_NOT_HERE = {
    "output_audio_buffer.clear": "is for WebRTC and SIP; here the client stops its own playback",
    "transcription_session.update": "is of the beta protocol; send session.update",
}
"""Events that exist, elsewhere."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _no_number(text)
    return number


_JSON = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)


class _ResponseAudio(Exact):
    output: SpokenOutput = SpokenOutput()


_Name = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=MOST_VALUE)]
_Id = Annotated[str, Field(min_length=1, max_length=256)]


class _Text(Loose):
    type: Literal["input_text", "output_text"]
    text: str


class _Sound(Loose):
    type: Literal["input_audio"]
    audio: str
    transcript: str | None = None


def _no_sound(value: Any) -> Any:
    if value:
        raise ValueError("is given, but nobody puts words into the assistant's mouth: leave it out")
    return value


class _Said(Loose):
    type: Literal["output_audio"]
    transcript: str
    audio: Annotated[Any, AfterValidator(_no_sound)] = None


class _Image(Image):
    detail: Literal["auto", "low", "high"] = "auto"


_Part = Annotated[_Text | _Sound | _Said | _Image, Field(discriminator="type")]

_PARTS = {
    "user": {"input_text", "input_audio", "input_image"},
    "system": {"input_text"},
    "assistant": {"output_text", "output_audio"},
}


class _Given(Loose):
    id: _Id | None = None


class _Message(_Given):
    type: Literal["message"]
    role: Literal["system", "user", "assistant"]
    content: Annotated[list[_Part], FailFast()]

    @field_validator("content")
    @classmethod
    def _of_its_role(cls, content: list[Any], info: ValidationInfo) -> list[Any]:
        role = info.data.get("role")
        if any(part.type not in _PARTS.get(str(role), {part.type}) for part in content):
            raise ValueError(f"holds what no message of the {role} has")
        return content


class _FunctionCall(_Given):
    type: Literal["function_call"]
    name: str
    arguments: str
    call_id: _Id


class _FunctionOutput(_Given):
    type: Literal["function_call_output"]
    call_id: _Id
    output: str


class _Approval(_Given):
    type: Literal["mcp_approval_response"]
    approval_request_id: _Id
    approve: bool
    reason: str | None = None


class _Reference(Loose):
    type: Literal["item_reference"]
    id: _Id


_Item = Annotated[
    _Message | _FunctionCall | _FunctionOutput | _Approval, Field(discriminator="type")
]
_Read = Annotated[
    _Message | _FunctionCall | _FunctionOutput | _Reference, Field(discriminator="type")
]


class _Response(Options):
    may_be_null = frozenset({"metadata"})

    conversation: Literal["auto", "none"] = "auto"
    input: Annotated[list[_Read], FailFast()] = Field([])
    metadata: Annotated[dict[_Name, _Value], Field(max_length=MOST_METADATA)] | None = None
    audio: _ResponseAudio = _ResponseAudio()


class _Request(Loose):
    event_id: Annotated[str, Field(max_length=512)] | None = None


class _Update(_Request):
    type: Literal["session.update"]
    session: dict[str, Any]


class _Append(_Request):
    type: Literal["input_audio_buffer.append"]
    audio: str


class _Plain(_Request):
    type: Literal["input_audio_buffer.commit", "input_audio_buffer.clear"]


class _Create(_Request):
    type: Literal["conversation.item.create"]
    item: _Item
    previous_item_id: _Id | None = None


class _OfItem(_Request):
    type: Literal["conversation.item.retrieve", "conversation.item.delete"]
    item_id: _Id


class _Truncate(_Request):
    type: Literal["conversation.item.truncate"]
    item_id: _Id
    content_index: int = Field(ge=0)
    audio_end_ms: int = Field(ge=0)


class _Respond(_Request):
    type: Literal["response.create"]
    response: _Response | None = None


class _Cancel(_Request):
    type: Literal["response.cancel"]
    response_id: _Id | None = None


_REQUEST: TypeAdapter[_Request] = TypeAdapter(
    Annotated[
        _Update | _Append | _Plain | _Create | _OfItem | _Truncate | _Respond | _Cancel,
        Field(discriminator="type"),
    ]
)


def parse(message: str | bytes) -> JsonObject:
    """Read a client's event: its type is known, its fields are there and of their types.

    An event stays as it came, but for its items, which have the fields that they may have, and for
    `response` of a `response.create`: it has only what differs from the session's settings, and is
    there in any case.

    Raises:
        RequestRefused: It is none; `event_id` is the client's own where it could be read.
    """
    event = _read(message)
    given = event.get("event_id")
    event_id = given if isinstance(given, str) and len(given) <= 512 else None
    try:
        _check(event)
    except RequestRefused as refused:
        refused.event_id = event_id
        raise
    return event


def _read(message: str | bytes) -> JsonObject:
    """The JSON object that a message is."""
    if isinstance(message, bytes):
        raise RequestRefused(INVALID_EVENT, "Events are sent as text, not as binary messages.")
    if message.count(",") > MOST_COMMAS:
        raise RequestRefused(INVALID_EVENT, f"The message has more than {MOST_COMMAS} commas.")
    try:
        event = _JSON.decode(message)
        # Half a character cannot be written down anywhere.
        if _SURROGATE.search(message):
            json.dumps(event, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise RequestRefused(INVALID_EVENT, "The message is no JSON.") from None
    if not isinstance(event, dict):
        raise RequestRefused(INVALID_EVENT, "The message is no JSON object.")
    return event


def _check(event: JsonObject) -> None:
    """See that an event may be as it is."""
    match event:
        case {"type": "input_audio_buffer.append", "audio": str()} if len(event) == 2:
            return  # as it mostly is, fifty times a second
    if isinstance(kind := event.get("type"), str) and kind in _NOT_HERE:
        raise RequestRefused(INVALID_EVENT, f"'{kind}' {_NOT_HERE[kind]}.", "type")
    if _is_deep(event):
        message = f"The message holds more than {MOST_NESTED} objects in each other."
        raise RequestRefused(INVALID_EVENT, message)
    try:
        request = _REQUEST.validate_python(event)
    except ValidationError as error:
        refused = refusal(error, event)
        if refused.param == "type":
            refused.code = INVALID_EVENT
        raise refused from None
    if isinstance(request, _Respond):
        event["response"] = _options(request.response or _Response())
    elif isinstance(request, _Create):
        event["item"] = request.item.model_dump(exclude_unset=True)
        _check_length(event["item"], "item")


def _options(response: _Response) -> JsonObject:
    """What a `response.create` says, without what it leaves to the session."""
    options = response.model_dump(exclude_unset=True)
    output = response.audio.output
    if "format" in output.model_fields_set:
        options["audio"]["output"]["format"] = output.format.model_dump()
    for place, item in enumerate(options.get("input", ())):
        _check_length(item, f"response.input[{place}]")
    return options


def _check_length(item: JsonObject, param: str) -> None:
    """See that an item can be told in one message; `param` is where it stands."""
    heavy = {"audio", "image_url"}
    light = [
        {name: value for name, value in part.items() if name not in heavy}
        for part in item.get("content", ())
    ]
    if len(json.dumps(item | {"content": light})) > MOST_TEXT:
        message = f"Invalid '{param}': its text is longer than {MOST_TEXT} characters."
        raise RequestRefused(TOO_LONG, message, param)


def _is_deep(value: Any) -> bool:
    """Whether there are more than `MOST_NESTED` objects in each other."""
    level = [value]
    for _ in range(MOST_NESTED):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
