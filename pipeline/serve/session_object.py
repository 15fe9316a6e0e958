"""The session of a client: its settings, with their defaults, and how an update changes them. Pure.

Source of names, fields and ranges: the GA protocol of `/v1/realtime` as the `openai` SDK types it.
Beyond it, PCM may also have 16 or 48 kHz.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from pipeline.config import LABEL
from pipeline.prompts import PromptRefused, Prompts, StoredPrompt
from pipeline.serve.refused import (
    INVALID_VALUE,
    MISSING,
    TOO_LONG,
    UNKNOWN,
    RequestRefused,
    invalid,
    refusal,
)
from pipeline.text.language_names import code_of

JsonObject = dict[str, Any]
"""An event, an item or the session, as it goes into JSON."""

MOST_SETTINGS = 3 << 18
"""Characters of a session as JSON: it is told whole, in a message of less than 1 MiB."""

DATA_IMAGE = r"^data:image/(png|jpeg);base64,"
"""How an image comes: nothing is fetched from elsewhere."""

EAGERNESS = {"patient": "low", "balanced": "medium", "eager": "high"}
"""How soon silence ends a turn: our words for it, and the API's."""

MCP_SECRETS = ("authorization", "headers")
"""Fields of an MCP server that are told to nobody."""


class Loose(BaseModel):
    """An object of which only these fields matter."""

    model_config = ConfigDict(strict=True, extra="ignore")


class Image(Loose):
    """A picture, as a part of an item or a value of a prompt's variable."""

    type: Literal["input_image"]
    image_url: Annotated[str, Field(pattern=DATA_IMAGE)]


class _Function(BaseModel):
    """A tool of the client's, which may have more fields than those that are checked."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> JsonObject:
        """What was given, without the defaults of what was not."""
        return {name: told for name, told in handler(self).items() if name in self.model_fields_set}


class Exact(BaseModel):
    """An object that has these fields and no others; null is the default, where it is no value."""

    model_config = ConfigDict(strict=True, extra="forbid")
    may_be_null: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields
        return {
            name: value
            for name, value in data.items()
            if value is not None
            or name in cls.may_be_null
            or name not in fields
            or fields[name].is_required()
        }


class Pcm(Exact):
    """16-bit little-endian PCM."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24_000, 16_000, 48_000] = 24_000


class _Pcmu(Exact):
    type: Literal["audio/pcmu"] = "audio/pcmu"


class _Pcma(Exact):
    type: Literal["audio/pcma"] = "audio/pcma"


Format = Annotated[Pcm | _Pcmu | _Pcma, Field(discriminator="type")]


class _Given(Exact):
    """An object that is told as it was given: pipecat 1.14 breaks at fields it does not know."""

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> JsonObject:
        return {name: told for name, told in handler(self).items() if told is not None}


class _Transcription(_Given):
    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    prompt: str | None = None
    keywords: list[str] | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class _NoiseReduction(Exact):
    type: Literal["near_field", "far_field"] | None = None
    strength: Annotated[float, Field(ge=0, le=10)] | None = None


class _ServerVad(Exact):
    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(300, ge=0, le=60_000)
    silence_duration_ms: int = Field(500, ge=0, le=60_000)
    idle_timeout_ms: Annotated[int, Field(ge=5000, le=30_000)] | None = None
    create_response: bool = True
    interrupt_response: bool = True


class _SemanticVad(Exact):
    type: Literal["semantic_vad"] = "semantic_vad"
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class _Input(Exact):
    may_be_null = frozenset({"turn_detection"})

    format: Format = Pcm()
    transcription: _Transcription | None = None
    noise_reduction: _NoiseReduction | None = None
    turn_detection: Annotated[_ServerVad | _SemanticVad, Field(discriminator="type")] | None = (
        _ServerVad()
    )


class _VoiceId(Exact):
    id: str


class SpokenOutput(Exact):
    """How what is said is sent."""

    format: Format = Pcm()
    voice: str | _VoiceId = "marin"


class _Output(SpokenOutput):
    speed: float = Field(1.0, ge=0.25, le=1.5)


class _Audio(Exact):
    input: _Input = _Input()
    output: _Output = _Output()


class _ToolFilter(_Given):
    tool_names: list[str] | None = None
    read_only: bool | None = None


class _ApprovalFilter(_Given):
    always: _ToolFilter | None = None
    never: _ToolFilter | None = None


class _Mcp(_Given):
    type: Literal["mcp"]
    server_label: Annotated[str, Field(pattern=f"^{LABEL}$")]
    server_url: str | None = None
    server_description: str | None = None
    authorization: str | None = None
    headers: dict[str, str] | None = None
    allowed_tools: list[str] | _ToolFilter | None = None
    require_approval: Literal["always", "never"] | _ApprovalFilter | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None


def _choice(value: Any) -> Any:
    match value:
        case "auto" | "none" | "required" | {"type": "function", "name": str()}:
            return value
        case {"type": "mcp", "server_label": str()} if isinstance(value.get("name", ""), str):
            return value
    raise ValueError("is neither auto, none or required, nor does it name a function or a server")


class _TextValue(Loose):
    type: Literal["input_text"]
    text: str


_VALUE: TypeAdapter[_TextValue | Image] = TypeAdapter(
    Annotated[_TextValue | Image, Field(discriminator="type")]
)


class _Prompt(Exact):
    """A prompt that is stored here, and values for its variables."""

    id: str
    version: str | None = None
    variables: dict[str, Any] | None = None


class _Reasoning(Exact):
    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class Options(Exact):
    """What a session and a single response may both say."""

    instructions: str = ""
    output_modalities: list[Literal["audio", "text"]] = Field(["audio"], min_length=1, max_length=1)
    tools: Annotated[
        list[Annotated[_Function | _Mcp, Field(discriminator="type")]], FailFast()
    ] = []
    tool_choice: Annotated[Any, AfterValidator(_choice)] = "auto"
    max_output_tokens: Literal["inf"] | Annotated[int, Field(ge=1, le=4096)] = "inf"
    parallel_tool_calls: bool = True
    reasoning: _Reasoning | None = None
    prompt: _Prompt | None = None


class _Tracing(Exact):
    workflow_name: str | None = None
    group_id: str | None = None
    metadata: dict[str, Any] | None = None


class _TokenLimits(Exact):
    post_instructions: Annotated[int, Field(ge=0)] | None = None


class _Retention(Exact):
    type: Literal["retention_ratio"]
    retention_ratio: float = Field(ge=0, le=1)
    token_limits: _TokenLimits | None = None


_Include = list[Literal["item.input_audio_transcription.logprobs"]]


class _Session(Options):
    """A conversation's session, and what a new one holds."""

    type: Literal["realtime"] = "realtime"
    object: Literal["realtime.session"] = "realtime.session"
    id: str
    model: str
    expires_at: int
    tracing: Literal["auto"] | _Tracing | None = None
    truncation: Literal["auto", "disabled"] | _Retention = "auto"
    include: _Include | None = None
    audio: _Audio = _Audio()


class _TranscriptionInput(_Input):
    # What such a session is for is not switched off.
    transcription: _Transcription = _Transcription()


class _TranscriptionAudio(Exact):
    input: _TranscriptionInput = _TranscriptionInput()


class _TranscriptionSession(Exact):
    """A session in which nothing is answered, and what a new one holds."""

    type: Literal["transcription"] = "transcription"
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    id: str
    expires_at: int
    include: _Include | None = None
    audio: _TranscriptionAudio = _TranscriptionAudio()


_SESSIONS: dict[str, type[_Session | _TranscriptionSession]] = {
    "realtime": _Session,
    "transcription": _TranscriptionSession,
}


def new_session(
    session_id: str,
    model: str,
    expires_at: int,
    kind: Literal["realtime", "transcription"] = "realtime",
    tracing: JsonObject | None = None,
    begins: JsonObject | None = None,
) -> JsonObject:
    """A session as it is before any update.

    Args:
        session_id: Its id.
        model: The model that answers, or that writes down; never changes.
        expires_at: Unix time when it ends (s).
        kind: Whether anything is answered.
        tracing: What a session of a conversation says of itself.
        begins: Fields of a conversation whose defaults are others.
    """
    about = {"id": session_id, "expires_at": expires_at}
    if kind == "realtime":
        more = {"model": model, "tracing": tracing, **(begins or {})}
        return _Session.model_validate(about | more).model_dump()
    session = _TranscriptionSession.model_validate(about).model_dump()
    session["audio"]["input"]["transcription"]["model"] = model
    return session


def updated(
    session: JsonObject,
    update: JsonObject,
    *,
    voice_fixed: bool = False,
    speed_fixed: bool = False,
) -> JsonObject:
    """The session after a client's `session.update`; the one given is left as it is.

    What an update does not name stays as it is; null, an empty text or an empty list clears, and
    null where there is no such value means the default.

    Args:
        session: The session as it is.
        update: The field `session` of the event.
        voice_fixed: The model has spoken, so that its voice cannot change any more.
        speed_fixed: The model speaks, so that its speed cannot change just then.

    Raises:
        RequestRefused: The update cannot be; nothing of it is done.
    """
    if "type" not in update:
        raise RequestRefused(MISSING, "Missing required parameter: 'session.type'.", "session.type")
    if update["type"] != session["type"]:
        raise invalid("session.type", f"cannot be changed: this is a {session['type']} session")
    fixed = {name: session[name] for name in ("id", "object", "expires_at")}
    given = update.get("audio")
    audio = overlaid(session["audio"], {} if given is None else given)
    told = session | update | fixed | {"audio": audio}
    try:
        result = _SESSIONS[session["type"]].model_validate(told).model_dump()
    except ValidationError as error:
        raise refusal(error, told, "session.") from None
    if len(json.dumps(result)) > MOST_SETTINGS:
        raise RequestRefused(TOO_LONG, f"The session is longer than {MOST_SETTINGS} characters.")
    if session["type"] == "realtime":
        _check_change(session, result, voice_fixed, speed_fixed)
    return result


def prompted(given: JsonObject, prompts: Prompts, prefix: str) -> JsonObject:
    """What a session's update or a response says, with what its prompt says for it.

    The fields that are given win over the prompt's.

    Args:
        given: The fields; `prompt` names it, if it is there.
        prompts: Those that are known.
        prefix: Of the fields' names.

    Raises:
        RequestRefused: The prompt is not known, or cannot be used so.
    """
    if given.get("prompt") is None:
        return given
    try:
        asked = _Prompt.model_validate(given["prompt"])
    except ValidationError as error:
        raise refusal(error, given["prompt"], f"{prefix}prompt.") from None
    where = f"{prefix}prompt.variables."
    given_values = (asked.variables or {}).items()
    values = {name: _words(name, value, f"{where}{name}") for name, value in given_values}
    try:
        prompt = prompts.find(asked.id, asked.version or "")
        instructions = prompt.filled(values)
    except PromptRefused as refused:
        codes = {"unknown": UNKNOWN, "missing": MISSING, "value": INVALID_VALUE}
        code = codes[refused.kind] if refused.field.startswith("variables") else "prompt_not_found"
        message = f"{str(refused)[0].upper()}{str(refused)[1:]}."
        raise RequestRefused(code, message, f"{prefix}prompt.{refused.field}") from None
    told = {**given["prompt"], "version": prompt.version}
    if asked.variables is not None:
        # Clients need `detail` to be there.
        told["variables"] = {
            name: {"detail": "auto", **value} if _is_image(value) else value
            for name, value in asked.variables.items()
        }
    fields = _fields(prompt, instructions)
    if prefix == "response.":
        # How turns are taken, and the speed, are the session's alone.
        del fields["audio"]["input"]
        fields["audio"]["output"].pop("speed", None)
    own = {name: value for name, value in given.items() if name != "type"}
    return given | overlaid(fields, {**own, "prompt": told})  # type: ignore[no-any-return]


def prompt_pictures(options: JsonObject) -> list[tuple[str, str]]:
    """The pictures that stand for variables of a prompt: names, and URLs of data."""
    variables = (options.get("prompt") or {}).get("variables") or {}
    return [(name, value["image_url"]) for name, value in variables.items() if _is_image(value)]


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "input_image"


def _words(name: str, value: Any, param: str) -> str:
    """What stands in the instructions for the value of a variable.

    Raises:
        RequestRefused: It is neither text nor an image.
    """
    if isinstance(value, str):
        return value
    try:
        found = _VALUE.validate_python(value)
    except ValidationError as error:
        raise refusal(error, value, f"{param}." if isinstance(value, dict) else param) from None
    return found.text if isinstance(found, _TextValue) else f"(the picture {name})"


def _fields(prompt: StoredPrompt, instructions: str) -> JsonObject:
    """What a prompt says of a session."""
    heard: JsonObject = {}
    if prompt.language is not None:
        heard["transcription"] = {"language": prompt.language}
    if prompt.turns is not None:
        heard["turn_detection"] = {"type": "semantic_vad", "eagerness": EAGERNESS[prompt.turns]}
    said = {"voice": prompt.voice, "speed": prompt.speed}
    output = {name: value for name, value in said.items() if value is not None}
    tools = {"tools": prompt.functions} if prompt.functions else {}
    return {"instructions": instructions, **tools, "audio": {"input": heard, "output": output}}


def check_language(session: JsonObject, known: Collection[str]) -> None:
    """See that what is to be transcribed is in a language that the recogniser knows.

    Raises:
        RequestRefused: It is not; `known` are the codes, empty if nobody knows.
    """
    language = (session["audio"]["input"]["transcription"] or {}).get("language") or ""
    if language and known and code_of(language) not in known:
        what = f"is {language}; the recogniser knows {', '.join(known)}"
        raise invalid("session.audio.input.transcription.language", what)


def check_choice(options: JsonObject, prefix: str) -> None:
    """See that what is to be called is one of the tools.

    Raises:
        RequestRefused: It is none; `prefix` is of the fields' names.
    """
    choice = options["tool_choice"]
    if isinstance(choice, dict):
        key = "name" if choice["type"] == "function" else "server_label"
        if choice[key] not in [tool[key] for tool in options["tools"] if key in tool]:
            raise invalid(f"{prefix}tool_choice.{key}", "is none of the tools")


def _check_change(
    before: JsonObject, after: JsonObject, voice_fixed: bool, speed_fixed: bool
) -> None:
    """See that nothing changes that cannot change then."""
    if after["model"] != before["model"]:
        raise invalid("session.model", "cannot be changed")
    if before["tracing"] not in (None, after["tracing"]):
        raise invalid("session.tracing", "cannot be changed once it is set")
    said, says = before["audio"]["output"], after["audio"]["output"]
    if voice_fixed and says["voice"] != said["voice"]:
        message = "The voice cannot change once the assistant has spoken."
        raise RequestRefused("cannot_update_voice", message, "session.audio.output.voice")
    if speed_fixed and says["speed"] != said["speed"]:
        raise invalid("session.audio.output.speed", "cannot change while a response is in progress")
    check_choice(after, "session.")


def overlaid(now: Any, update: Any) -> Any:
    """An object with the fields of another, which are laid over its own in turn.

    One of another type, such as another turn detection, begins from that type's defaults.
    """
    if not isinstance(update, dict):
        return update
    own = now if isinstance(now, dict) else {}
    if update.get("type", own.get("type")) != own.get("type"):
        own = {}
    return own | {name: overlaid(own.get(name), value) for name, value in update.items()}
