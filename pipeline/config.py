"""Every setting: its default, unit, bounds and reason; and where the settings of a run come from.

First wins: a command-line flag, the environment (`CASCADE_STT__MODEL`), `cascade.toml`
(`[stt] model = …`), the default below. `cascade config` prints them all as a commented
`cascade.toml`. What is wrong is an error that names where it was set, the key, and what is allowed.

What is no matter of taste is no setting: it is a constant, with its reason, where it is used.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from pipeline import toml_file
from pipeline.errors import BadInput

DEFAULT_FILE = "cascade.toml"
ENV_PREFIX = "CASCADE_"

TOGETHER = "together"
"""The type of an error of values that are right each by itself, and do not go together."""

LABEL = "[a-zA-Z0-9_-]{1,32}"
"""What an MCP server may be called: it may be the beginning of a function's name."""

INSTRUCTIONS = "You are a helpful voice assistant. Answer in one short sentence."
"""Short, because small models follow little, and because it is read before the first turn."""


def _listed(value: Any) -> Any:
    """A list that is written as text, as variables are."""
    if not isinstance(value, str):
        return value
    return [each.strip() for each in value.split(",") if each.strip()]


Texts = Annotated[list[str], BeforeValidator(_listed)]
"""A setting that is a list of texts; in a variable or a flag with commas between them."""

WindowKind = Literal["auto", "own", "padded", "full"]
"""How much of Whisper's 30 s its encoder gets."""

ReplyMode = Literal["speculative", "overlapped", "sequential"]
"""How the stages of a reply overlap."""


class Section(BaseModel):
    """A table of `cascade.toml`; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AudioSettings(Section):
    """Microphone and speaker."""

    input_device: str = Field("", description="Input device by name or number; empty: the system's")
    output_device: str = Field("", description="Output device by name or number; empty: as above")
    latency_ms: float = Field(
        20.0,
        ge=5,
        le=500,
        description="Device buffer to ask for; below 20 ms cheap sound cards start to crackle",
    )
    echo: Literal["auto", "cancel", "half-duplex", "off"] = Field(
        "auto",
        description="Against hearing itself: cancel (needs voice-cascade[echo]), half-duplex (deaf "
        "while it speaks), off (headphones); auto: the first that can be had, none with files",
    )


class VadSettings(Section):
    """Voice activity: which 32 ms windows hold speech."""

    threshold: float = Field(0.5, gt=0, lt=1, description="Probability above which speech begins")

    @property
    def release(self) -> float:
        """Probability below which speech ends: lower, so that it holds (by 0.15, as Silero's)."""
        return max(self.threshold - 0.15, self.threshold / 2)


class TurnSettings(Section):
    """When the user's turn begins and ends, and what interrupts a reply."""

    provisional_ms: int = Field(
        32,
        ge=32,
        le=2000,
        description="Silence after which the melody is heard and the answer begun, to be thrown "
        "away if speech resumes; longer silence changes the words of 1 utterance in 50",
    )
    shortest_ms: int = Field(
        256, ge=64, le=5000, description="Silence that ends a turn which surely is finished"
    )
    hold_ms: int = Field(
        500,
        ge=64,
        le=5000,
        description="Silence that ends a turn of which nothing is known; most pauses are shorter",
    )
    longest_ms: int = Field(
        2000, ge=64, le=10_000, description="Silence that ends a turn which plainly is unfinished"
    )
    predict: bool = Field(
        True,
        description="Whether words and melody move the hold between shortest_ms and longest_ms, "
        "and the speaker's own pauses move hold_ms; else silence of hold_ms alone ends a turn",
    )
    barge_in_ms: int = Field(
        2000,
        ge=32,
        le=5000,
        description="Voiced time that interrupts a reply without a known word; "
        "coughs, mm-hm and most laughter are shorter",
    )
    idle_s: float = Field(
        0.0, ge=0, le=3600, description="Silence after which the assistant speaks first; 0: never"
    )
    idle_text: str = Field("Are you still there?", description="What it says then")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.provisional_ms > self.hold_ms:
            raise PydanticCustomError(
                TOGETHER,
                "turns.hold_ms is {hold_ms}, shorter than turns.provisional_ms ({provisional_ms}); "
                "allowed: at least that",
                {"hold_ms": self.hold_ms, "provisional_ms": self.provisional_ms},
            )
        if self.predict and self.shortest_ms > self.hold_ms:
            raise PydanticCustomError(
                TOGETHER,
                "turns.shortest_ms is {shortest_ms}, longer than turns.hold_ms ({hold_ms}); "
                "allowed: at most that",
                {"shortest_ms": self.shortest_ms, "hold_ms": self.hold_ms},
            )
        return self


PACES: dict[str, dict[str, int]] = {
    "eager": {"shortest_ms": 224, "hold_ms": 350, "longest_ms": 1000},
    "balanced": TurnSettings().model_dump(include={"shortest_ms", "hold_ms", "longest_ms"}),
    "patient": {"shortest_ms": 500, "hold_ms": 900, "longest_ms": 3000},
}
"""What `--turns` sets in `[turns]`: how soon silence ends a turn. Balanced are the defaults."""


class SttSettings(Section):
    """Speech to text: faster-whisper."""

    model: str = Field(
        "tiny.en", description="Name in the catalogue or path of a CTranslate2 folder"
    )
    language: str = Field(
        "", description="Code such as en; empty: the model's, or detected in each utterance"
    )
    words: Texts = Field([], description="Names and jargon to expect: Kubernetes, Nguyen")
    threads: int = Field(
        1, ge=1, le=64, description="More do not help short windows and starve the other stages"
    )
    window: WindowKind = Field(
        "auto",
        description="Encoder input: the utterance's own length, padded to 8 s, or 30 s; "
        "auto: own where the model was trained for it, else padded",
    )
    url: str = Field(
        "",
        description="OpenAI-compatible server that recognises instead; it is asked for the model "
        "of URL#MODEL, else stt.model, or whisper-1 where that is the default",
    )
    api_key: str = Field(
        "", repr=False, description="Its key; empty: OPENAI_API_KEY for OpenAI's, else none"
    )


class LlmSettings(Section):
    """The language model, behind any OpenAI-compatible server."""

    model: str = Field(
        "embedded",
        description="embedded | name or path of a .gguf | ollama:NAME | openai:NAME | http(s) URL, "
        "or URL#NAME; without a name its first model",
    )
    api_key: str = Field(
        "",
        repr=False,
        description="Key for a URL; empty: OPENAI_API_KEY for openai:NAME, none otherwise",
    )
    instructions: str = Field(INSTRUCTIONS, description="The system prompt")
    temperature: float = Field(
        0.0, ge=0, le=2, description="0: the likeliest words; small models ramble above it"
    )
    max_tokens: int = Field(200, ge=1, le=8192, description="About 75 s of speech")
    sentences: int = Field(
        3,
        ge=0,
        le=1000,
        description="The embedded model is stopped after so many, for it rambles; 0: never",
    )
    threads: int = Field(
        0, ge=0, le=256, description="Embedded; 0: one on two cores, else all but two"
    )
    timeout_s: float = Field(
        30.0,
        gt=0,
        le=1800,
        description="From request to first token; from one token to the next, a third of it",
    )

    @property
    def runs_here(self) -> bool:
        """Whether the model is run in this process, and is not behind a server."""
        return not self.model.startswith(("ollama:", "openai:", "http://", "https://"))


class TtsSettings(Section):
    """Text to speech: Piper."""

    voice: str = Field("en_US-joe-medium", description="Name of a Piper voice or path of its .onnx")
    voices: Texts = Field(
        [],
        description="Voices of other languages, loaded at the start, and then no other language is "
        "heard; empty: any that is downloaded, loaded when it is needed",
    )
    speaker: str = Field(
        "", description="Of tts.voice, if several speak in it: a name or a number; empty: its first"
    )
    speed: float = Field(1.0, ge=0.25, le=4, description="1.2 speaks a fifth faster")
    lexicon: str = Field(
        "", description="TOML file of pronunciations, in the voice's phonemes: Nguyen = 'ŋwˈiən'"
    )
    url: str = Field(
        "",
        description="OpenAI-compatible server that speaks instead; URL#MODEL asks it for another "
        "model than tts-1. Its voice is tts.voice, or alloy where that is the default",
    )
    api_key: str = Field(
        "", repr=False, description="Its key; empty: OPENAI_API_KEY for OpenAI's, else none"
    )


class ReplySettings(Section):
    """How stages overlap within one reply."""

    mode: ReplyMode = Field(
        "speculative",
        description="speculative begins before the turn is surely over; overlapped after it; "
        "sequential waits for each stage to finish: the textbook cascade",
    )


class ConversationSettings(Section):
    """What the model is reminded of."""

    budget_tokens: int = Field(
        1000, ge=64, le=1_000_000, description="Prompt size above which old turns are dropped"
    )
    summary: bool = Field(
        False,
        description="Whether the model writes down in short what is dropped, when nobody waits; "
        "one of less than about a billion weights does that badly",
    )
    prosody: bool = Field(
        False,
        description="Whether the model is told how something was said, where that is unlike the "
        "speaker's turns before: [speaks fast, louder than before]",
    )
    translate_to: str = Field(
        "", description="In talk: instead of an answer, what was said, in this language (as de)"
    )


class ToolSettings(Section):
    """What the model may call in `cascade talk`."""

    files: Texts = Field([], description="Python files whose functions are tools")


class PromptSettings(Section):
    """Reusable prompts."""

    dir: str = Field("prompts", description="Folder of their files, from where Cascade is started")


class ServeSettings(Section):
    """The server, `cascade serve`."""

    host: str = Field(
        "127.0.0.1",
        description="Where to listen; an address that other machines reach needs a token",
    )
    port: int = Field(8765, ge=0, le=65_535, description="0: one that is free")
    token: str = Field(
        "",
        repr=False,
        description="What clients present as their API key, better kept in CASCADE_SERVE__TOKEN; "
        "empty: nothing, for this machine alone",
    )
    sessions: int = Field(0, ge=0, description="At a time; 0: as many as are served in time")
    sessions_each: int = Field(
        0, ge=0, description="Of one address, be that a proxy's; 0: as many as there are"
    )
    minutes: float = Field(60.0, gt=0, le=1440, description="How long a session may last")
    mcp_urls: Texts = Field(
        [],
        description="URLs of MCP servers that clients may name besides those of [mcp.NAME]; one "
        "that ends in / allows all below it",
    )


class McpSettings(Section):
    """An MCP server, whose tools the model may call; NAME is what it is called."""

    url: str = Field("", description="Of a server over Streamable HTTP")
    command: str = Field("", description="Or what starts one that speaks over stdio")
    args: list[str] = Field([], description="Of the command")
    env: dict[str, str] = Field({}, repr=False, description="Its environment; ${NAME}: of ours")
    headers: dict[str, str] = Field(
        {},
        repr=False,
        description="Sent to the URL, such as Authorization; ${NAME} is a variable's value",
    )
    allowed: list[str] = Field([], description="Tools that may be called; none named: all")
    approval: Literal["always", "never"] | list[str] = Field(
        "always",
        description="Whether the user is asked before a call; a list: before calls of these tools",
    )
    timeout_s: float = Field(30.0, gt=0, le=3600, description="How long a call may take")
    offered: bool = Field(
        False, description="cascade serve: to every session, not only to those that name it"
    )

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if bool(self.url) == bool(self.command):
            raise PydanticCustomError("place", "needs either url or command")
        if self.url and not re.match(r"(?i)https?://[^/]", self.url):
            raise PydanticCustomError("place", "has a url that begins neither http:// nor https://")
        return self

    def expanded(self, values: Mapping[str, str]) -> dict[str, str]:
        """Headers or an environment with the values of the variables that they name.

        Raises:
            BadInput: A variable is not set.
        """

        def value(found: re.Match[str]) -> str:
            if (known := os.environ.get(found[1])) is None:
                raise BadInput(f"the variable {found[1]}, which its settings name, is not set")
            return known

        return {key: re.sub(r"\$\{(\w+)\}", value, text) for key, text in values.items()}


class ModelSettings(Section):
    """Where models live."""

    dir: str = Field("", description="Folder for downloads; empty: the checkout's, or the user's")


class Settings(Section):
    """All settings of a run, checked and frozen."""

    audio: AudioSettings = AudioSettings()
    vad: VadSettings = VadSettings()
    turns: TurnSettings = TurnSettings()
    stt: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    tts: TtsSettings = TtsSettings()
    reply: ReplySettings = ReplySettings()
    conversation: ConversationSettings = ConversationSettings()
    tools: ToolSettings = ToolSettings()
    prompts: PromptSettings = PromptSettings()
    models: ModelSettings = ModelSettings()
    serve: ServeSettings = ServeSettings()
    mcp: dict[Annotated[str, Field(pattern=f"^{LABEL}$")], McpSettings] = {}


NAMED = {"mcp"}
"""What is no table but a table of tables, each with a name of its own."""

OTHERS = {"CASCADE_REALTIME_KEY", "CASCADE_GEMINI_URL", "CASCADE_GEMINI_CERTIFICATE"}
"""Variables with the prefix that are no settings: keys and addresses of other servers."""

REMOVED = {
    "vad.engine": "it is Silero, behind webrtcvad as its gate",
    "vad.judge": "it is Silero, behind webrtcvad as its gate",
    "vad.release": "it is 0.15 below vad.threshold",
    "vad.gate_mode": "it is fixed at 1",
    "vad.webrtc_mode": "webrtcvad is the gate alone",
    "vad.gate_hold_ms": "it is fixed at 600 ms",
    "turns.start_ms": "it is fixed at 160 ms",
    "turns.preroll_ms": "it is fixed at 300 ms",
    "turns.endpoint_model": "it is Smart Turn; turns.predict = false does without",
    "turns.adapt": "turns.predict = false switches that off too",
    "turns.attempts": 'it is fixed at 8; reply.mode = "overlapped" begins none',
    "turns.tail_ms": "it is fixed at 400 ms",
    "turns.max_turn_s": "it is fixed at 30 s, Whisper's window",
    "turns.duck_ms": "it is fixed at 32 ms",
    "turns.word_ms": "it is fixed at 224 ms",
    "turns.swell_ms": "it is fixed at 300 ms",
    "turns.idle_times": "it is fixed at 2",
    "stt.compute_type": "it is fixed at int8",
    "stt.beam_size": "it is fixed at 1; a larger stt.model makes fewer errors",
    "stt.window_s": "it is fixed at 8 s; stt.window chooses among three",
    "stt.max_compression": "it is fixed at 2.4",
    "stt.partial_ms": "it is fixed at 600 ms",
    "stt.min_voiced_ms": "it is fixed at 100 ms",
    "stt.no_speech": "it is fixed at 0.55",
    "stt.log_prob": "it is fixed at -1.0",
    "llm.name": "write llm.model as URL#NAME",
    "llm.first_token_timeout_s": "write llm.timeout_s instead",
    "llm.token_timeout_s": "it is a third of llm.timeout_s",
    "llm.context_tokens": "it follows conversation.budget_tokens and llm.max_tokens",
    "llm.repeat_penalty": "it is fixed at 1.1",
    "llm.batch": "it is fixed at 64",
    "llm.connect_timeout_s": "it is fixed at 5 s",
    "tts.intonation": "it varies as the voice was trained to",
    "tts.rhythm": "it varies as the voice was trained to",
    "tts.model": "write tts.url as URL#MODEL",
    "tts.threads": "it is fixed at 1",
    "tts.volume": "all voices are equally loud; turn the loudspeaker up or down",
    "tts.stream": "voices that can be split are",
    "tts.stream_frames": "it is fixed at 20",
    "tts.context_frames": "it is fixed at 10",
    "reply.first_words": "it is fixed at 3",
    "reply.first_deadline_ms": "it is fixed at 30 ms",
    "reply.max_clause_chars": "it is fixed at 240",
    "reply.lead_in_ms": "it is fixed at 10 ms",
    "reply.comfort_s": "it is fixed at 1.5 s",
    "reply.lead_s": "it is fixed at 4 s",
    "conversation.retention": "it is fixed at 0.5",
    "conversation.tool_rounds": "it is fixed at 5",
    "conversation.tool_chars": "it is fixed at 1500",
}
"""What was a setting once, and what is in its place."""

Values = dict[str, Any]

Where = Callable[[str], str]
"""Tells of a setting, by its dotted name, where it was set, as the user wrote it."""


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    options: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings of a run.

    Args:
        file: The configuration file; None takes `cascade.toml` in the current folder, if any.
        flags: What the command line set, by dotted name (`{"stt.model": "base.en"}`); None as a
            value means that the flag was not given.
        options: The option that set one of them, likewise (`{"stt.model": "--vary stt"}`), for
            errors; any other is told to come from the command line.

    Raises:
        BadInput: A file that is missing or not TOML, an unknown key, a wrong type, a value out of
            range; the message names where it was set, the key and what is allowed.
    """
    path = file or (Path(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else None)
    merged: Values = {}
    origins: dict[str, str] = {}

    def take(values: Values, where: Where, *, strict: bool = False) -> None:
        _check(values, where, strict=strict)
        for name, table in values.items():
            merged[name] = {**merged.get(name, {}), **table}
            origins.update({key: where(key) for key in (f"{name}.{part}" for part in table)})

    if path is not None:
        if not path.exists():
            raise BadInput(f"{path}: there is no such file; `cascade config` prints one")
        take(toml_file.read(path), lambda _: str(path), strict=True)
    variables = _environment()
    take(
        _nested({name: os.environ[variable] for name, variable in variables.items()}),
        variables.__getitem__,
    )
    take(_nested(flags or {}), lambda name: (options or {}).get(name, "command line"))
    try:
        return Settings(**merged)
    except ValidationError as error:  # each source is right, and together they are not
        wrong = error.errors()[0]
        names = [f"{_dotted(wrong)}.{key}" for key in wrong["ctx"]]
        where = _all_of(origins[name] for name in names if name in origins)
        raise BadInput(f"{where}: {wrong['msg']}") from None


def is_secret(name: str) -> bool:
    """Whether a setting, by its dotted name, is told to nobody."""
    return name.rpartition(".")[2] in ("api_key", "token", "headers", "env")


def without_password(value: str) -> str:
    """A setting's value without the password that a URL may hold."""
    return re.sub(r"//[^/@]*@", "//", value)


def document() -> str:
    """All settings at their defaults as a commented `cascade.toml`."""
    lines = ["# Cascade's settings and their defaults. Keep what you change.", ""]
    for name in Settings.model_fields:
        # There may be any number of such tables, and by default there is none.
        mark, title = ("# ", f"{name}.NAME") if name in NAMED else ("", name)
        lines += [f"# {(_section(name).__doc__ or '').strip()}", f"{mark}[{title}]"]
        for key, field in _fields(name).items():
            lines.append(f"# {field.description} ({_allowed(field)})")
            lines.append(f"{mark}{key} = {_toml(field.get_default(call_default_factory=True))}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if value == {}:
        return "{}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _environment() -> dict[str, str]:
    """The `CASCADE_*` variables, by dotted name; one that names no setting is an error."""
    sections = [name for name in Settings.model_fields if name not in NAMED]
    here = [f"{name}.{key}" for name in sections for key in _fields(name)]
    names = {_variable(name): name for name in [*here, *REMOVED]}
    found = {}
    for variable in os.environ:
        upper = variable.upper()
        if not upper.startswith(ENV_PREFIX) or upper in OTHERS:
            continue
        if upper not in names:
            close = difflib.get_close_matches(upper, map(_variable, here), n=1)
            hint = f"did you mean {close[0]}?" if close else "`cascade config` lists them"
            raise BadInput(f"environment: {variable} names no setting; {hint}")
        found[names[upper]] = variable
    return found


def _variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{ENV_PREFIX}{name.replace('.', '__')}".upper()


def _nested(values: Mapping[str, Any]) -> Values:
    """Values by dotted name as tables; None is a value that was not given."""
    nested: Values = {}
    for name, value in values.items():
        if value is not None:
            section, key = name.split(".")
            nested.setdefault(section, {})[key] = value
    return nested


def _check(values: Values, where: Where, *, strict: bool = False) -> None:
    """See that the values of one source are right; `strict` takes no text for a number.

    Raises:
        BadInput: One is not.
    """
    try:
        Settings.model_validate(values, strict=strict)
    except ValidationError as error:
        # What only does not go together may yet be put right by another source.
        wrong = [details for details in error.errors() if details["type"] != TOGETHER]
        if gone := [name for name in map(_dotted, wrong) if name in REMOVED]:
            raise BadInput(f"{_all_of(map(where, gone))}: {_gone(gone)}") from None
        if wrong:
            raise BadInput(f"{where(_dotted(wrong[0]))}: {_complaint(wrong[0])}") from None


def _complaint(wrong: ErrorDetails) -> str:
    """What is wrong with a value, and what is allowed there."""
    name, *inner = map(str, wrong["loc"])
    if name not in Settings.model_fields:
        return f"unknown key {name}; {_nearest(name, Settings.model_fields)}"
    fields = _fields(name)
    if name in NAMED and inner:
        label, *inner = inner
        if inner[:1] == ["[key]"]:
            return f"{name}.{label}: a name has letters, digits, _ and -, 32 at most"
        name = f"{name}.{label}"
        if not inner and wrong["type"] == "place":
            return f"{name} {wrong['msg']}"
    if not inner:
        title = f"{name}.NAME" if name in NAMED else name
        return f"{name} is a table, [{title}]; allowed in it: {', '.join(fields)}"
    key = inner[0]
    if key not in fields:
        return f"unknown key {name}.{key}; {_nearest(key, fields)}"
    shown = "hidden" if is_secret(f"{name}.{key}") else repr(wrong["input"])
    return f"{name}.{key} is {shown}; allowed: {_allowed(fields[key])}"


def _dotted(wrong: ErrorDetails) -> str:
    return ".".join(map(str, wrong["loc"]))


def _all_of(origins: Iterable[str]) -> str:
    """Where settings were set, each place once."""
    return ", ".join(dict.fromkeys(origins))


def _gone(names: Sequence[str]) -> str:
    """What to do about settings that are none any more: all at once."""
    why = {
        name: REMOVED[name] + ("" if REMOVED[name].startswith("write ") else "; leave it out")
        for name in names
    }
    if len(names) == 1:
        return f"{names[0]} is no setting any more: {why[names[0]]}"
    told = ", ".join(f"{name} ({reason})" for name, reason in why.items())
    return f"{len(names)} keys are no settings any more: {told}"


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, names := list(names), n=1)
    return f"did you mean {close[0]}?" if close else f"allowed: {', '.join(names)}"


def _section(name: str) -> type[Section]:
    section = Settings.model_fields[name].annotation
    if name in NAMED:
        section = get_args(section)[1]
    assert isinstance(section, type)
    assert issubclass(section, Section)
    return section


def _fields(name: str) -> dict[str, FieldInfo]:
    return _section(name).model_fields


KINDS: dict[Any, str] = {
    bool: "true | false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list[str]: "a list of texts",
    dict[str, str]: "a table of texts",
}
"""What a field may hold, for people."""


def _allowed(field: FieldInfo) -> str:
    """What a field may hold, for people: its choices, or its type and bounds."""
    if get_origin(field.annotation) is Literal:
        return " | ".join(map(str, get_args(field.annotation)))
    if get_origin(field.annotation) in (Union, UnionType):
        literal, texts = get_args(field.annotation)
        return " | ".join([*map(str, get_args(literal)), KINDS[texts]])
    kind = KINDS[field.annotation]
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [
        f"{word} {getattr(constraint, name)}"
        for constraint in field.metadata
        for name, word in words.items()
        if getattr(constraint, name, None) is not None
    ]
    return " ".join([kind, " and ".join(bounds)]).strip()
