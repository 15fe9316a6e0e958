"""The script of a simulated server: what it says, when, over what network, and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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

FaultTime = Literal["speech", "before reply", "mid reply", "after reply"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong in a turn."""

    kind: FaultKind
    at: FaultTime = "mid reply"
    code: int = 1011
    message: str = ""
    rate: int = 0


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call; `preamble` is spoken before it, in the same response."""

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
        fault: What goes wrong.
    """

    transcript: str = ""
    reply: str = ""
    ends_s: float | None = None
    calls: tuple[ScriptedCall, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """From the true end of the user's speech to the first audible sample of a reply (ms).

    Attributes:
        distribution: `constant` is `median_ms`; `lognormal` has that median and `p95_ms`;
            `uniform` is between `low_ms` and `high_ms`.
    """

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
