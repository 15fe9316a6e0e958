"""The script of a simulated server: what it says, when, over what network, and what goes wrong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pipeline import yaml_file
from pipeline.errors import BadInput

_STRICT = ConfigDict(extra="forbid")

FaultKind = Literal[
    "close",  # the connection closes: `code`, `reason`
    "drop",  # the connection breaks without a closing handshake
    "malformed",  # a frame that is no JSON
    "unknown",  # an event of a type that nobody knows
    "error",  # an error event, the session goes on: `code`, `message`
    "quota",  # the reply fails for want of quota
    "silence",  # nothing more is sent; the connection stays open
    "half",  # the reply ends in its middle as if it were whole
    "early",  # it answers in the middle of the utterance
    "rate",  # the sound is at another rate than was agreed: `rate`
    "go away",  # the server asks the client to come back (Gemini)
]

EARLY_S = 0.5
"""Where a server answers too early, if the script does not tell how long the utterance is."""

FaultTime = Literal["speech", "before reply", "mid reply", "after reply"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong in a turn."""

    __pydantic_config__ = _STRICT

    kind: FaultKind
    at: FaultTime = "mid reply"
    code: int = 1011
    message: str = ""
    rate: int = 0


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call; `preamble` is spoken before it, in the same response."""

    __pydantic_config__ = _STRICT

    name: str
    arguments: Mapping[str, Any]
    preamble: str = ""


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """What the server does about one utterance.

    Attributes:
        transcript: What it says it understood.
        reply: What it answers; after the results of its calls, if it makes any.
        ends_s: Where the utterance ends, from its first audible sample (s). The reply is timed from
            there. None: where `silence_ms` of silence begins.
        calls: Tools that it calls.
        fault: What goes wrong; in a turn with calls, around the reply that follows their results.
    """

    __pydantic_config__ = _STRICT

    transcript: str = ""
    reply: str = ""
    ends_s: float | None = None
    calls: tuple[ScriptedCall, ...] = ()
    fault: Fault | None = None

    @property
    def early_s(self) -> float | None:
        """Where it is answered too early (s, as `ends_s`); None: it is not."""
        if self.fault is None or self.fault.kind != "early":
            return None
        return EARLY_S if self.ends_s is None else self.ends_s / 2


@dataclass(frozen=True, slots=True)
class Latency:
    """From the true end of the user's speech to the first audible sample of a reply (ms).

    A tool is called, or its preamble spoken, after one draw; the reply to its results comes another
    draw after these. Where silence tells the end of a turn, a reply cannot come before that.

    Attributes:
        distribution: `constant` is `median_ms`; `lognormal` has that median and `p95_ms`;
            `uniform` is between `low_ms` and `high_ms`.
    """

    __pydantic_config__ = _STRICT

    distribution: Literal["constant", "lognormal", "uniform"] = "constant"
    median_ms: float = 500.0
    p95_ms: float = 0.0
    low_ms: float = 0.0
    high_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Network:
    """What lies between client and server, both ways (ms).

    Attributes:
        rtt_ms: Round trip; half of it delays each message.
        jitter_ms: Up to this much more for each message, in order all the same.
        stall_every_s: So often the line stands still; 0: never.
        stall_ms: For so long.
    """

    __pydantic_config__ = _STRICT

    rtt_ms: float = 0.0
    jitter_ms: float = 0.0
    stall_every_s: float = 0.0
    stall_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Script:
    """All that a simulated server does.

    Attributes:
        name: The model that it plays.
        source: Where its latency was published: who measured, what, when.
        conversations: Turns by the conversation's name; a client asks for one by a model's name
            that ends in `#NAME`, else it gets the first. Turns past the last begin again.
        latency: Drawn anew for each reply.
        network: Between it and its clients.
        silence_ms: How long a silence ends a turn of which the script does not tell the end.
        seed: Of all that is drawn.
        refuse: An HTTP status to refuse every connection with: 401, 404, 429; 0: none.
        retry_after_s: For 429.
        voice: `piper` speaks the replies; `tone` hums for as long as they would take.
    """

    __pydantic_config__ = _STRICT

    name: str
    source: str = ""
    conversations: Mapping[str, tuple[ScriptedTurn, ...]] = field(default_factory=dict)
    latency: Latency = Latency()
    network: Network = Network()
    silence_ms: float = 500.0
    seed: int = 1
    refuse: int = 0
    retry_after_s: float = 20.0
    voice: Literal["piper", "tone"] = "piper"


MODEL_SEPARATOR = "#"
"""In the name of a model that a client asks for: what follows is the name of a conversation."""


def conversation(script: Script, model: str) -> tuple[ScriptedTurn, ...]:
    """The turns that a client gets who asks for `model`, which may end in `#NAME`.

    Raises:
        BadInput: The script has no conversation of that name.
    """
    _, _, name = model.partition(MODEL_SEPARATOR)
    if not name:
        return next(iter(script.conversations.values()))
    if name not in script.conversations:
        known = ", ".join(script.conversations)
        raise BadInput(f"script {script.name} has no conversation {name!r}; it has {known}")
    return script.conversations[name]


def turn_of(turns: tuple[ScriptedTurn, ...], number: int) -> ScriptedTurn:
    """The turn of that number, counted from 0; past the last they begin again."""
    return turns[number % len(turns)]


def describe(script: Script) -> dict[str, str]:
    """The parameters of a script in words: what a server stamps on everything that it makes."""
    return {
        "name": script.name,
        "source": script.source or "made up; nothing was published",
        "latency": _latency(script.latency),
        "network": _network(script.network),
        "seed": str(script.seed),
    }


def load(path: Path) -> Script:
    """Read a script from a YAML file: the fields of `Script`, by their names.

    Raises:
        BadInput: It cannot be read, or is no script; the message says where and what is allowed.
    """
    data = yaml_file.read(path, "is no script; it needs `name` and `conversations`")
    try:
        script = _ADAPTER.validate_python(data)
    except ValidationError as error:
        raise BadInput(f"{path}: {_first(error)}") from None
    for problem in problems(script):
        raise BadInput(f"{path}: {problem}")
    return script


def dump(script: Script) -> str:
    """A script as YAML that `load` reads; what is at its default is left out."""
    # PyYAML does not read again every character that `allow_unicode` lets it write.
    return yaml.safe_dump(_sparse(script), sort_keys=False)


def problems(script: Script) -> Iterator[str]:
    """What is wrong with a script, each in words: where, and what is allowed."""
    if not script.name:
        yield "name: is empty"
    if not script.conversations:
        yield "conversations: there is none; a script needs at least one"
    for name, turns in script.conversations.items():
        if not turns:
            yield f"conversations.{name}: has no turn"
        for number, turn in enumerate(turns):
            for problem in _turn_problems(turn):
                yield f"conversations.{name}.{number}.{problem}"
    yield from _latency_problems(script.latency)
    for key, value in dataclasses.asdict(script.network).items():
        if value < 0:
            yield f"network.{key}: is {value:g}; it is 0 or more"
    network = script.network
    if network.stall_every_s and network.stall_ms >= network.stall_every_s * 1000:
        yield f"network.stall_ms: is {network.stall_ms:g}; a stall ends before the next begins"
    if script.silence_ms <= 0:
        yield f"silence_ms: is {script.silence_ms:g}; it is more than 0"
    if script.refuse not in (0, 401, 404, 429):
        yield f"refuse: is {script.refuse}; it is 401, 404, 429, or 0 for not at all"


def _turn_problems(turn: ScriptedTurn) -> Iterator[str]:
    if turn.ends_s is not None and turn.ends_s <= 0:
        yield f"ends_s: is {turn.ends_s:g}; it is more than 0"
    for number, call in enumerate(turn.calls):
        if not call.name:
            yield f"calls.{number}.name: is empty"
    fault = turn.fault
    if fault is None:
        return
    if fault.kind == "rate" and fault.rate <= 0:
        yield f"fault.rate: is {fault.rate}; say at how many Hz the sound comes"
    known = 1000 <= fault.code <= 1014 and fault.code not in (1004, 1005, 1006)
    if fault.kind == "close" and not known and not 3000 <= fault.code <= 4999:
        yield f"fault.code: is {fault.code}; a closing code is 1000 to 1014 or 3000 to 4999"


def _latency_problems(latency: Latency) -> Iterator[str]:
    if latency.distribution == "uniform":
        if not 0 <= latency.low_ms <= latency.high_ms:
            yield f"latency: low_ms {latency.low_ms:g} to high_ms {latency.high_ms:g} is no range"
    elif latency.median_ms <= 0:
        yield f"latency.median_ms: is {latency.median_ms:g}; it is more than 0"
    elif latency.distribution == "lognormal" and latency.p95_ms < latency.median_ms:
        yield f"latency.p95_ms: is {latency.p95_ms:g}; it is median_ms at least"


def _latency(latency: Latency) -> str:
    match latency.distribution:
        case "constant":
            return f"constant {latency.median_ms:g} ms"
        case "uniform":
            return f"uniform {latency.low_ms:g} to {latency.high_ms:g} ms"
        case "lognormal":
            return f"lognormal, median {latency.median_ms:g} ms, p95 {latency.p95_ms:g} ms"


def _network(network: Network) -> str:
    said = [f"round trip {network.rtt_ms:g} ms"]
    if network.jitter_ms:
        said.append(f"jitter up to {network.jitter_ms:g} ms")
    if network.stall_every_s and network.stall_ms:
        said.append(f"stalls of {network.stall_ms:g} ms every {network.stall_every_s:g} s")
    return ", ".join(said) if network != Network() else "none added"


def _sparse(value: Any) -> Any:
    """A dataclass as plain data, without what is at its default."""
    if dataclasses.is_dataclass(value):
        kept = {}
        for each in dataclasses.fields(value):
            mine = getattr(value, each.name)
            if each.default is dataclasses.MISSING or mine != each.default:
                kept[each.name] = _sparse(mine)
        return kept
    if isinstance(value, Mapping):
        return {key: _sparse(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_sparse(each) for each in value]
    return value


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, where it is, and what it was."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "unexpected_keyword_argument":
        return f"{where}: there is no such field"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{where}: is missing"
    given = json.dumps(problem["input"], default=str)[:80]
    return f"{where}: is {given}; {problem['msg'][0].lower()}{problem['msg'][1:]}"


_ADAPTER = TypeAdapter(Script)
