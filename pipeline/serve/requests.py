"""What a client of a Realtime server may send: read, checked, or refused in words. Pure.

The models only check: events stay as they came.

Source of names and fields: the GA protocol of `/v1/realtime` as the `openai` SDK types it.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from pipeline.events import Samples

RATE = 24_000
"""Hz, of all sound, both ways."""

MOST_APPENDED = 15 * 1024 * 1024
"""Bytes of sound in one append, as the protocol allows."""

JsonObject = dict[str, Any]
"""An event, an item or the session, as it goes into JSON."""

INVALID_EVENT = "invalid_event"
INVALID_VALUE = "invalid_value"
MISSING = "missing_required_parameter"
UNKNOWN = "unknown_parameter"


@dataclass(slots=True)
class RequestRefused(Exception):
    """What a client sent cannot be done; the session goes on.

    Attributes:
        code: A code of the protocol, such as `invalid_value`.
        message: What is wrong, for the client's author.
        param: Which field, such as `session.audio.output.voice`.
        event_id: The client's own id of the event, once it is known.
    """

    code: str
    message: str
    param: str | None = None
    event_id: str | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class _Lenient(BaseModel):
    """An object that may have more fields than those that are checked."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Exact(BaseModel):
    """An object that has these fields and no others."""

    model_config = ConfigDict(strict=True, extra="forbid")


class _Pcm(_Exact):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24_000] = 24_000


class _Transcription(_Exact):
    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    prompt: str | None = None
    keywords: list[str] | None = None
    delay: str | None = None


class _NoiseReduction(_Exact):
    type: Literal["near_field", "far_field"] | None = None
    strength: Annotated[float, Field(ge=0, le=10)] | None = None


class _ServerVad(_Exact):
    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(300, ge=0, le=60_000)
    silence_duration_ms: int = Field(500, ge=0, le=60_000)
    idle_timeout_ms: Annotated[int, Field(ge=5000, le=30_000)] | None = None
    create_response: bool = True
    interrupt_response: bool = True


class _SemanticVad(_Exact):
    type: Literal["semantic_vad"] = "semantic_vad"
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


_Detection = Annotated[_ServerVad | _SemanticVad, Field(discriminator="type")]


class _Input(_Exact):
    format: _Pcm = _Pcm()
    transcription: _Transcription | None = None
    noise_reduction: _NoiseReduction | None = None
    turn_detection: _Detection | None = _ServerVad()


class _Output(_Exact):
    format: _Pcm = _Pcm()
    voice: str | dict[str, Any] = "marin"
    speed: float = Field(1.0, ge=0.25, le=1.5)


class _Audio(_Exact):
    input: _Input = _Input()
    output: _Output = _Output()


class _Function(_Lenient):
    type: Literal["function"]
    name: str


class _Options(_Exact):
    """What a session and a single response may both say."""

    instructions: str | None = ""
    output_modalities: list[Literal["audio", "text"]] = Field(["audio"], min_length=1, max_length=1)
    tools: list[_Function] | None = []
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] = "auto"
    max_output_tokens: Literal["inf"] | Annotated[int, Field(ge=1, le=4096)] = "inf"
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


class _Session(_Options):
    """The session object, and what a new one holds."""

    type: Literal["realtime"] = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    id: str
    model: str
    expires_at: int
    tracing: Literal["auto"] | dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | dict[str, Any] = "auto"
    include: list[str] | None = None
    audio: _Audio = _Audio()


class _ResponseAudio(_Exact):
    output: _Output = _Output()


_Name = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=512)]


class _Response(_Options):
    conversation: Literal["auto", "none"] = "auto"
    input: list[Any] | None = None
    metadata: Annotated[dict[_Name, _Value], Field(max_length=16)] | None = None
    audio: _ResponseAudio = _ResponseAudio()


class _Text(_Lenient):
    type: Literal["input_text", "output_text"]
    text: str


class _Sound(_Lenient):
    type: Literal["input_audio"]
    audio: str


class _Image(_Lenient):
    type: Literal["input_image"]


class _Given(_Lenient):
    id: str = ""


class _Message(_Given):
    type: Literal["message"]
    role: Literal["system", "user", "assistant"]
    content: list[Annotated[_Text | _Sound | _Image, Field(discriminator="type")]]

    @field_validator("content")
    @classmethod
    def _of_its_role(cls, content: list[Any], info: ValidationInfo) -> list[Any]:
        role = info.data.get("role")
        kinds = {"user": {"input_text", "input_audio", "input_image"}, "system": {"input_text"}}
        if any(part.type not in kinds.get(str(role), {"output_text"}) for part in content):
            raise ValueError(f"holds what no message of the {role} has")
        return content


class _FunctionCall(_Given):
    type: Literal["function_call"]
    name: str
    arguments: str
    call_id: str


class _FunctionOutput(_Given):
    type: Literal["function_call_output"]
    call_id: str
    output: str


class _Request(_Lenient):
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
    item: Annotated[_Message | _FunctionCall | _FunctionOutput, Field(discriminator="type")]
    previous_item_id: str | None = None


class _OfItem(_Request):
    type: Literal["conversation.item.retrieve", "conversation.item.delete"]
    item_id: str


class _Truncate(_Request):
    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int = Field(ge=0)
    audio_end_ms: int = Field(ge=0)


class _Respond(_Request):
    type: Literal["response.create"]
    response: _Response | None = None


class _Cancel(_Request):
    type: Literal["response.cancel"]
    response_id: str | None = None


_REQUEST: TypeAdapter[_Request] = TypeAdapter(
    Annotated[
        _Update | _Append | _Plain | _Create | _OfItem | _Truncate | _Respond | _Cancel,
        Field(discriminator="type"),
    ]
)


def parse(message: str | bytes) -> JsonObject:
    """Read a client's event: its type is known, its fields are there and of their types.

    Raises:
        RequestRefused: It is none; `event_id` is the client's own where it could be read.
    """
    if isinstance(message, bytes):
        raise RequestRefused(INVALID_EVENT, "Events are sent as text, not as binary messages.")
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        raise RequestRefused(INVALID_EVENT, "The message is no JSON.") from None
    if not isinstance(event, dict):
        raise RequestRefused(INVALID_EVENT, "The message is no JSON object.")
    try:
        _REQUEST.validate_python(event)
    except ValidationError as error:
        refused = _refused(error, event)
        if refused.param == "type":
            refused.code = INVALID_EVENT
        given = event.get("event_id")
        refused.event_id = given if isinstance(given, str) and len(given) <= 512 else None
        raise refused from None
    return event


def sound_of(event: JsonObject) -> Samples:
    """The sound of `input_audio_buffer.append`: int16, as it was sent.

    Raises:
        RequestRefused: It is no base64, no whole number of samples, or more than 15 MiB.
    """
    try:
        data = base64.b64decode(event["audio"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid("audio", "is no base64") from None
    if len(data) > MOST_APPENDED:
        raise invalid("audio", "is more than 15 MiB")
    if len(data) % 2:
        raise invalid("audio", "ends in the middle of a 16-bit sample")
    return np.frombuffer(data, "<i2").astype(np.int16)


def new_session(session_id: str, model: str, expires_at: int) -> JsonObject:
    """A session as it is before any update.

    Args:
        session_id: Its id.
        model: The model that answers; never changes.
        expires_at: Unix time when it ends (s).
    """
    session = _Session(id=session_id, model=model, expires_at=expires_at)
    return session.model_dump(exclude={"reasoning", "parallel_tool_calls"})


def updated(session: JsonObject, update: JsonObject, *, voice_fixed: bool = False) -> JsonObject:
    """The session after a client's `session.update`; the one given is left as it is.

    What an update does not name stays as it is; null, an empty text or an empty list clears.

    Args:
        session: The session as it is.
        update: The field `session` of the event.
        voice_fixed: The model has spoken, so that its voice cannot change any more.

    Raises:
        RequestRefused: The update cannot be; nothing of it is done.
    """
    if "type" not in update:
        raise RequestRefused(MISSING, "Missing required parameter: 'session.type'.", "session.type")
    fixed = {name: session[name] for name in ("id", "object", "expires_at")}
    audio = _overlaid(session["audio"], update.get("audio", {}))
    result = session | update | fixed | {"audio": audio}
    for name, empty in (("instructions", ""), ("tools", [])):
        result[name] = empty if result[name] is None else result[name]
    try:
        _Session.model_validate(result)
    except ValidationError as error:
        raise _refused(error, result, "session.") from None
    if result["model"] != session["model"]:
        raise invalid("session.model", "cannot be changed")
    if session["tracing"] not in (None, result["tracing"]):
        raise invalid("session.tracing", "cannot be changed once it is set")
    if voice_fixed and result["audio"]["output"]["voice"] != session["audio"]["output"]["voice"]:
        message = "The voice cannot change once the assistant has spoken."
        raise RequestRefused("cannot_update_voice", message, "session.audio.output.voice")
    return result


_DETECTIONS = {"server_vad": _ServerVad(), "semantic_vad": _SemanticVad()}


def _overlaid(now: Any, update: Any) -> Any:
    """An object with the fields of another, which are laid over its own in turn.

    A turn detection of another type begins from that type's defaults.
    """
    if not isinstance(update, dict):
        return update
    own = now if isinstance(now, dict) else {}
    kind = update.get("type")
    if isinstance(kind, str) and kind in _DETECTIONS and own.get("type") != kind:
        own = _DETECTIONS[kind].model_dump()
    return own | {name: _overlaid(own.get(name), value) for name, value in update.items()}


def _refused(error: ValidationError, data: Any, prefix: str = "") -> RequestRefused:
    """The first thing that is wrong with `data`, as the protocol says it."""
    problem = error.errors(include_url=False)[0]
    kind, path = problem["type"], ""
    for part in problem["loc"]:
        # What is no place in the data is the name of a type in a union, or what is missing there.
        if isinstance(part, int):
            path, data = f"{path}[{part}]", data[part]
        elif isinstance(data, dict) and part in data:
            path, data = f"{path}.{part}", data[part]
        elif kind == "missing" and part is problem["loc"][-1]:
            path = f"{path}.{part}"
    if kind.startswith("union_tag"):
        path += f".{problem['ctx']['discriminator'].strip(chr(39))}"
    param = prefix + path.removeprefix(".")
    if kind in ("missing", "union_tag_not_found"):
        return RequestRefused(MISSING, f"Missing required parameter: '{param}'.", param)
    if kind == "extra_forbidden":
        return RequestRefused(UNKNOWN, f"Unknown parameter: '{param}'.", param)
    what = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return invalid(param, what[0].lower() + what[1:])


def invalid(param: str, what: str) -> RequestRefused:
    """A field is not what it may be; `what` says why, as the rest of a sentence."""
    return RequestRefused(INVALID_VALUE, f"Invalid value: '{param}' {what}.", param)
