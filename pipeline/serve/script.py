"""The script of a simulated server: what it says, when, over what network, and what goes wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from pipeline import yaml_file
from pipeline.clock import NS_PER_MS
from pipeline.errors import BadInput

EARLY_S = 0.5
"""Where a server answers too early, if the script does not tell how long the utterance is."""

MODEL_SEPARATOR = "#"
"""In the name of a model that a client asks for: what follows is the name of a conversation."""

FaultKind = Literal[
    "close",  # the connection closes: `code`, `message`
    "drop",  # the connection breaks without a closing handshake
    "malformed",  # a frame that is no JSON
    "unknown",  # an event of a type that nobody knows
    "error",  # an error event, the session goes on: `code`, `message`
    "quota",  # the reply fails for want of quota
    "silence",  # nothing more is sent; the connection stays open
    "half",  # the reply ends in its middle as if it were whole
    "early",  # it answers in the middle of the utterance
    "rate",  # the sound is at another rate than was agreed: `rate`
]

FaultTime = Literal["speech", "before reply", "mid reply", "after reply"]

_Z95 = NormalDist().inv_cdf(0.95)
"""95 % of a normal distribution lie below so many standard deviations."""

NotNegative = Annotated[float, Field(ge=0)]

_CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, config=_CONFIG)
class Fault:
    """Something that goes wrong in a turn."""

    kind: FaultKind
    at: FaultTime = "mid reply"
    code: int = 1011
    message: str = ""
    rate: int = 0

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.kind == "rate" and self.rate <= 0:
            raise ValueError("a fault `rate` needs `rate`: at how many Hz the sound comes")
        known = 1000 <= self.code <= 1014 and self.code not in (1004, 1005, 1006)
        if self.kind == "close" and not known and not 3000 <= self.code <= 4999:
            raise ValueError("`code`, a closing code, is 1000 to 1014 or 3000 to 4999")
        return self


@dataclass(frozen=True, slots=True, config=_CONFIG)
class ScriptedCall:
    """A tool call; `preamble` is spoken before it, in the same response."""

    name: Annotated[str, Field(min_length=1)]
    arguments: Mapping[str, Any]
    preamble: str = ""


@dataclass(frozen=True, slots=True, config=_CONFIG)
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

    transcript: str = ""
    reply: str = ""
    ends_s: Annotated[float, Field(gt=0)] | None = None
    calls: tuple[ScriptedCall, ...] = ()
    fault: Fault | None = None

    @property
    def early_s(self) -> float | None:
        """Where it is answered too early (s, as `ends_s`); None: it is not."""
        if self.fault is None or self.fault.kind != "early":
            return None
        return EARLY_S if self.ends_s is None else self.ends_s / 2


@dataclass(frozen=True, slots=True, config=_CONFIG)
class Latency:
    """From the true end of the user's speech to the first audible sample of a reply (ms).

    A tool is called, or its preamble spoken, after one draw; the reply to its results comes another
    draw after these. Where silence tells the end of a turn, a reply cannot come before that.

    Attributes:
        distribution: `constant` is `median_ms`; `lognormal` has that median and `p95_ms`;
            `uniform` is between `low_ms` and `high_ms`.
    """

    distribution: Literal["constant", "lognormal", "uniform"] = "constant"
    median_ms: Annotated[float, Field(gt=0)] = 500.0
    p95_ms: NotNegative = 0.0
    low_ms: NotNegative = 0.0
    high_ms: NotNegative = 0.0

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.distribution == "uniform" and self.low_ms > self.high_ms:
            raise ValueError("`low_ms` to `high_ms` is no range")
        if self.distribution == "lognormal" and self.p95_ms < self.median_ms:
            raise ValueError("`p95_ms` is `median_ms` at least")
        return self

    def draw_ns(self, draw: random.Random) -> int:
        """One of them (ns), 1 ms at least: a reply follows what it answers."""
        match self.distribution:
            case "constant":
                ms = self.median_ms
            case "uniform":
                ms = draw.uniform(self.low_ms, self.high_ms)
            case "lognormal":
                sigma = math.log(self.p95_ms / self.median_ms) / _Z95
                ms = self.median_ms * math.exp(draw.gauss(0, sigma))
        return max(NS_PER_MS, round(ms * NS_PER_MS))

    def __str__(self) -> str:
        match self.distribution:
            case "constant":
                return f"constant {self.median_ms:g} ms"
            case "uniform":
                return f"uniform {self.low_ms:g} to {self.high_ms:g} ms"
            case "lognormal":
                return f"lognormal, median {self.median_ms:g} ms, p95 {self.p95_ms:g} ms"


@dataclass(frozen=True, slots=True, config=_CONFIG)
class ScriptedNetwork:
    """What lies between client and server, both ways (ms).

    Attributes:
        rtt_ms: Round trip; half of it delays each message.
        jitter_ms: Up to this much more for each message, in order all the same.
        stall_every_s: So often the line stands still; 0: never.
        stall_ms: For so long.
    """

    rtt_ms: NotNegative = 0.0
    jitter_ms: NotNegative = 0.0
    stall_every_s: NotNegative = 0.0
    stall_ms: NotNegative = 0.0

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.stall_every_s and self.stall_ms >= self.stall_every_s * 1000:
            raise ValueError("a stall ends (`stall_ms`) before the next begins")
        return self

    def __str__(self) -> str:
        if self == ScriptedNetwork():
            return "none added"
        said = [f"round trip {self.rtt_ms:g} ms"]
        if self.jitter_ms:
            said.append(f"jitter up to {self.jitter_ms:g} ms")
        if self.stall_every_s and self.stall_ms:
            said.append(f"stalls of {self.stall_ms:g} ms every {self.stall_every_s:g} s")
        return ", ".join(said)


ScriptedTurns = Annotated[tuple[ScriptedTurn, ...], Field(min_length=1)]
"""A conversation; after its last turn it begins again."""


@dataclass(frozen=True, slots=True, config=_CONFIG)
class Script:
    """All that a simulated server does.

    Attributes:
        name: The model that it plays.
        conversations: Turns by the conversation's name; a client asks for one by a model's name
            that ends in `#NAME`, else it gets the first. Turns past the last begin again.
        source: Where its latency was published: who measured, what, when.
        latency: Drawn anew for each reply.
        network: Between it and its clients.
        silence_ms: How long a silence ends a turn of which the script does not tell the end.
        seed: Of all that is drawn.
        refuse: An HTTP status to refuse every connection with; 0: none.
        retry_after_s: For 429.
        voice: `piper` speaks the replies; `tone` hums for as long as they would take.
    """

    name: Annotated[str, Field(min_length=1)]
    conversations: Annotated[Mapping[str, ScriptedTurns], Field(min_length=1)]
    source: str = ""
    latency: Latency = Latency()
    network: ScriptedNetwork = ScriptedNetwork()
    silence_ms: Annotated[float, Field(gt=0)] = 500.0
    seed: int = 1
    refuse: Literal[0, 401, 404, 429] = 0
    retry_after_s: NotNegative = 20.0
    voice: Literal["piper", "tone"] = "piper"

    def conversation(self, model: str) -> tuple[ScriptedTurn, ...]:
        """The turns that a client gets who asks for `model`, which may end in `#NAME`.

        Raises:
            BadInput: The script has no conversation of that name.
        """
        _, _, name = model.partition(MODEL_SEPARATOR)
        if not name:
            return next(iter(self.conversations.values()))
        if name not in self.conversations:
            known = ", ".join(self.conversations)
            raise BadInput(f"script {self.name} has no conversation {name!r}; it has {known}")
        return self.conversations[name]

    def describe(self) -> dict[str, str]:
        """Its parameters in words: what a server stamps on everything that it makes."""
        return {
            "name": self.name,
            "source": self.source or "made up; nothing was published",
            "latency": str(self.latency),
            "network": str(self.network),
            "seed": str(self.seed),
        }


_SCRIPT = TypeAdapter(Script)


def load(path: Path) -> Script:
    """Read a script from a YAML file: the fields of `Script`, by their names.

    Raises:
        BadInput: It cannot be read, or is no script; the message says where and what is allowed.
    """
    data = yaml_file.read(path, "is no script; it needs `name` and `conversations`")
    try:
        return _SCRIPT.validate_python(data)
    except ValidationError as error:
        raise BadInput(f"{path}: {yaml_file.complaint(error)}") from None


def dump(script: Script) -> str:
    """A script as YAML that `load` reads; what is at its default is left out."""
    # PyYAML does not read again every character that `allow_unicode` lets it write.
    data = _SCRIPT.dump_python(script, mode="json", exclude_defaults=True)
    return yaml.safe_dump(data, sort_keys=False)


_AIEWF = (
    "kwindla/aiewf-eval README, read 2026-11-20: voice-to-voice of turns without a tool, median "
    "{median} ms, maximum {maximum} ms"
)
"""They measure in a recording, from the end of the user's speech to the model's first sound; the
servers' own turn detection and the way to them are part of it."""

_DERIVED = (
    "; the p95 is derived: a lognormal through that median whose expected quantile "
    "{turns}/({turns} + 1), of {turns} turns, is that maximum"
)

_CAPPED = (
    "; that maximum looks like a time limit, which says nothing of the spread, so the p95 "
    "is as far above the median as that of gemini-3.1-flash-live"
)

_PUBLISHED = {
    "gpt-realtime-2.1": (1504, 4288, 2676, _DERIVED.format(turns=720)),
    "gpt-realtime-1.5": (1152, 2304, 1774, _DERIVED.format(turns=240)),
    "gpt-realtime": (1536, 4672, 3072, _DERIVED.format(turns=240)),
    "gemini-3.1-flash-live": (1632, 5664, 3544, _DERIVED.format(turns=240)),
    "gemini-2.5-live": (2624, 30_000, 5698, _CAPPED),
}
"""Median, maximum and 95th percentile (ms), and where the last is from. Turns without a tool were
24 of the 30 of a conversation, and 30 conversations of the first model, 10 of each other one."""

PRESETS = tuple(_PUBLISHED)
"""Names of the scripts that come with Cascade."""


def preset(name: str, written: str = "--preset ") -> Script:
    """A script by its name: the published latency of a model, and three replies to try it.

    Args:
        name: Of the model.
        written: What the user wrote before the name, for errors.

    Raises:
        BadInput: There is none of that name.
    """
    if name not in _PUBLISHED:
        known = ", ".join(PRESETS)
        raise BadInput(f"{written}{name}: there is none of that name; there are {known}")
    median, maximum, p95, derived = _PUBLISHED[name]
    source = _AIEWF.format(median=median, maximum=maximum) + derived
    conversation = (
        ScriptedTurn(reply="Hello. I am a simulated model, and I only say what my script holds."),
        ScriptedTurn(reply="That is a good question, and I have no answer to it."),
        ScriptedTurn(reply="Let us leave it at that. Goodbye."),
    )
    latency = Latency("lognormal", median_ms=median, p95_ms=p95)
    return Script(name, {"hello": conversation}, source, latency)
