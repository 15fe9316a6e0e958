"""Maps of other people's protocols: how sound goes in, and which message means what.

A map is a YAML file, each part of which is declared here once. It has selectors, which find a value
in a message that comes, and templates, of which the messages that are sent are made:

    encoding: mulaw
    rate: 8000
    send:
      start: [{event: start, id: "{call}"}]
      audio: {event: media, payload: "{audio}"}
    receive:
      audio: {when: {event: media}, at: media.payload}
      clear: {when: {event: clear}}

Where `send.audio` or `receive.audio` is left out, the sound is in binary messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, model_validator
from pydantic import ValidationError as Invalid
from pydantic.dataclasses import dataclass

from pipeline import yaml_file
from pipeline.audio.encoding import G711_RATE, RATES, Encoding
from pipeline.errors import BadInput
from pipeline.speech_to_speech.keys import holds_key, key

FORM = ConfigDict(extra="forbid")

KINDS: Mapping[str, Literal["pcm", "pcmu", "pcma"]] = {
    "pcm16": "pcm",
    "mulaw": "pcmu",
    "alaw": "pcma",
}
"""Encodings by the names that voice services give them."""

PCM_RATE = 16_000
"""The rate of PCM where a map names none (Hz): what speech recognisers hear."""

ANYWHERE = ("call", "sequence", "instructions", "language")
"""What any template may have in braces: an id of the connection (32 hexadecimal digits), the number
of the message among those that have one, from 1, and what the scenario says."""

OF_SOUND = ("audio", "chunk", "ms")
"""What the template for sound may have beside that: the sound in base64, which piece it is, from 1,
and where it begins (ms)."""

MESSAGE = "message."
"""How a place begins that stands for a value of the message that is answered."""

NAMES = ("type", "event", "kind", "action")
"""Fields by whose value a message is called, where no condition of the map names one."""

_PLACE = re.compile(r"\{(\w+(?:\.[\w-]+)*)\}")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*")

Template = dict[str, Any]


def _checked_path(text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError("is no path; write names of fields with points between: media.payload")
    return text


def _with_places(*allowed: str) -> AfterValidator:
    def checked(template: Template) -> Template:
        found = set(places(template))
        for name in sorted(found):
            if name not in allowed and not (MESSAGE in allowed and name.startswith(MESSAGE)):
                known = " ".join(f"{{{one}}}" for one in allowed).replace(MESSAGE, f"{MESSAGE}…")
                raise ValueError(f"{{{name}}} stands for nothing here; there are {known}")
        if "audio" in allowed and "audio" not in found:
            raise ValueError("has no {audio} in it: no sound would be sent")
        return template

    return AfterValidator(checked)


def _checked_variables(texts: dict[str, str]) -> dict[str, str]:
    for text in texts.values():
        for name in _VARIABLE.findall(text):
            if not holds_key(name):
                raise ValueError(
                    f"${{{name}}}: call the variable …_KEY, …_TOKEN, …_SECRET or …_PASSWORD: "
                    "the values of such are kept out of all that is shown and written"
                )
    return texts


FieldPath = Annotated[str, AfterValidator(_checked_path)]
Conditions = dict[FieldPath, str | int | float | bool | None]
Opening = Annotated[Template, _with_places(*ANYWHERE)]
SoundMessage = Annotated[Template, _with_places(*ANYWHERE, *OF_SOUND)]
AnswerMessage = Annotated[Template, _with_places(*ANYWHERE, MESSAGE)]
Texts = Annotated[dict[str, str], AfterValidator(_checked_variables)]
Rate = Annotated[int, Field(ge=RATES[0], le=RATES[1])]
EncodingName = Literal["pcm16", "mulaw", "alaw"]


@dataclass(frozen=True, slots=True, config=FORM)
class Sign:
    """A message that tells something by coming: every field in `when` has the value given there."""

    when: Annotated[Conditions, Field(min_length=1)]

    def fits(self, message: Any) -> bool:
        """Whether a message, JSON as it was parsed, is one of these."""
        return all(value_at(message, path) == value for path, value in self.when.items())


@dataclass(frozen=True, slots=True, config=FORM)
class Selector:
    """A value at a path in messages that fit.

    Attributes:
        at: Names of fields, and numbers from 0 for lists, with points between.
        when: Fields of the message that must have these values; empty: whatever has the path.
        delta: Of text: each is a piece that follows the last one as it is, and no text of its own.
    """

    at: FieldPath
    when: Conditions = Field(default_factory=dict)
    delta: bool = False

    def find(self, message: Any) -> str | None:
        """The text there, in a message, JSON as it was parsed; None: it tells none."""
        if any(value_at(message, path) != value for path, value in self.when.items()):
            return None
        found = value_at(message, self.at)
        return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True, config=FORM)
class Answer(Sign):
    """A message that is answered.

    Attributes:
        send: With what.
        played: Only once all sound that came before has been played, or was cleared.
    """

    send: AnswerMessage
    played: bool = False


@dataclass(frozen=True, slots=True, config=FORM)
class Outbound:
    """What is sent.

    Attributes:
        start: As soon as there is a connection.
        audio: For each piece of sound; None: the sound itself, as a binary message.
        end: When the conversation is over.
    """

    start: tuple[Opening, ...] = ()
    audio: SoundMessage | None = None
    end: tuple[Opening, ...] = ()


@dataclass(frozen=True, slots=True, config=FORM)
class Inbound:
    """What is understood of what comes.

    Attributes:
        audio: Sound in base64; None: binary messages are the sound.
        encoding: Of the sound, if not as it is sent.
        rate: Of the sound, if not as it is sent (Hz).
        text: What the system says.
        transcript: What it understood the user to say.
        clear: What has not been played yet is not to be played.
        done: The reply has been sent whole; None: nothing tells, so that silence must.
        error: Something went wrong.
    """

    audio: Selector | None = None
    encoding: EncodingName | None = None
    rate: Rate | None = None
    text: Selector | None = None
    transcript: Selector | None = None
    clear: Sign | None = None
    done: Sign | None = None
    error: Selector | None = None


@dataclass(frozen=True, slots=True, config=FORM)
class WireMap:
    """How a system is talked to.

    Attributes:
        name: What it is called.
        url: Where it is; empty: the command line says so.
        query: What is added to the URL. `${NAME}` stands for a variable of the environment.
        headers: Of the request. The same stands for the same.
        subprotocol: Which is asked for; empty: none.
        greets: The system speaks first; the user waits until it has.
        encoding: Of the sound.
        rate: Of the sound (Hz); None: 8000 for G.711, 16000 for PCM.
        chunk_ms: How much sound a message has (ms); to fill one takes time, as on the phone.
        send: What is sent.
        receive: What is understood.
        answers: What is answered.
    """

    name: str = ""
    url: str = ""
    query: Texts = Field(default_factory=dict)
    headers: Texts = Field(default_factory=dict)
    subprotocol: str = ""
    greets: bool = False
    encoding: EncodingName = "pcm16"
    rate: Rate | None = None
    chunk_ms: int = Field(default=20, ge=1, le=1000)
    send: Outbound = Field(default_factory=Outbound)
    receive: Inbound = Field(default_factory=Inbound)
    answers: tuple[Answer, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        chunk = self.chunk_ms * self.sent.rate
        if chunk % 1000:
            raise ValueError(f"chunk_ms: {self.chunk_ms} ms are no whole samples at this rate")
        return self

    @property
    def sent(self) -> Encoding:
        """How sound is sent."""
        return _encoding(self.encoding, self.rate)

    @property
    def received(self) -> Encoding:
        """How sound comes."""
        own = self.receive
        return _encoding(own.encoding or self.encoding, own.rate or self.rate)

    @property
    def variables(self) -> list[str]:
        """Variables of the environment that must be set."""
        texts = [*self.query.values(), *self.headers.values()]
        return sorted({name for text in texts for name in _VARIABLE.findall(text)})

    def about(self) -> dict[str, Any]:
        """The map as a result tells of it: without where it is and what it sends to be let in."""
        plain = asdict(self)
        return {name: plain[name] for name in plain if name not in ("url", "query", "headers")}

    @property
    def naming(self) -> tuple[str, ...]:
        """Where a message has the name of its kind, the likeliest place first (see `kind_of`)."""
        paths = [path for one in self.answers for path in one.when]
        for part in ("audio", "text", "transcript", "clear", "done", "error"):
            paths += getattr(getattr(self.receive, part), "when", ())
        return tuple(dict.fromkeys((*paths, *NAMES)))


def _encoding(name: str, rate: int | None) -> Encoding:
    kind = KINDS[name]
    return Encoding(kind, rate or (PCM_RATE if kind == "pcm" else G711_RATE))


_READER = TypeAdapter(WireMap)


def builtin() -> list[str]:
    """Names of the maps that come with Cascade."""
    return sorted(_shelf())


def load(name: str) -> WireMap:
    """A map that comes with Cascade, by its name, or a file.

    Raises:
        BadInput: There is none, or it is no map; the message says where.
    """
    if entry := _shelf().get(name):
        with resources.as_file(entry) as file:
            return _read(file)
    file = Path(name)
    if not file.is_file():
        raise BadInput(
            f"{name}: there is no such file or map; maps that come with Cascade: "
            f"{', '.join(builtin())}"
        )
    return _read(file)


def _shelf() -> dict[str, Traversable]:
    """The maps that come with Cascade, by name."""
    return yaml_file.shelf("pipeline.speech_to_speech", "maps")


def _read(file: Path) -> WireMap:
    plain = yaml_file.read(file, "is no map; it needs `send` and `receive`")
    try:
        return _READER.validate_python({"name": file.stem, **plain})
    except Invalid as error:
        raise BadInput(f"{file}: {yaml_file.complaint(error)}") from None


def kind_of(message: Any, naming: Iterable[str]) -> str:
    """What to call a message, JSON as it was parsed, by the first text at one of these paths."""
    for path in naming:
        if isinstance(value := value_at(message, path), str):
            return value
    fields = ", ".join(message) if isinstance(message, Mapping) else type(message).__name__
    return f"{{{fields}}}"


def value_at(message: Any, path: str) -> Any:
    """The value at a path in JSON as it was parsed; None where there is none."""
    for name in path.split("."):
        match message:
            case Mapping():
                message = message.get(name)
            case list() if name.isdecimal() and int(name) < len(message):
                message = message[int(name)]
            case _:
                return None
    return message


def filled(template: Any, value: Callable[[str], Any]) -> Any:
    """A template with its places filled.

    Args:
        template: JSON as it was parsed.
        value: Gives what stands for a place. A text that is nothing but a place becomes that value,
            as it is; in any other text it is written.
    """
    match template:
        case dict():
            return {name: filled(part, value) for name, part in template.items()}
        case list():
            return [filled(part, value) for part in template]
        case str():
            if whole := _PLACE.fullmatch(template):
                return value(whole[1])
            return _PLACE.sub(lambda found: str(value(found[1])), template)
    return template


def with_variables(text: str, environ: Mapping[str, str]) -> str:
    """A text with the values of the environment's variables that it names; empty where not set.

    Raises:
        BadInput: One cannot be a key.
    """
    return _VARIABLE.sub(lambda found: key(environ, found[1]), text)


def with_query(url: str, query: Mapping[str, str]) -> str:
    """A URL with this added to its query."""
    parts = urlsplit(url)
    pairs = [*parse_qsl(parts.query, keep_blank_values=True), *query.items()]
    return parts._replace(query=urlencode(pairs)).geturl() if query else url


def places(template: Any) -> Iterator[str]:
    """The names of the places in a template."""
    match template:
        case dict():
            for part in template.values():
                yield from places(part)
        case list():
            for part in template:
                yield from places(part)
        case str():
            yield from _PLACE.findall(template)
