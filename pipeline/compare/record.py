"""What a comparison measures: one `Conversation` of one path, and the turns in it.

The folder of a comparison holds `conversations.jsonl`, one `Conversation` a line, in the order in
which they were held; everything else in it can be computed from that file, the scenarios in its
header, and the WAVs. Within a turn, `Record` is what a profile measures of it: its `variant` is the
system's name and its `file` is `scenario#turn`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal

from pipeline.measure.record import Record
from pipeline.speech_to_speech.brief import STAMP

VERSION = 1
"""Version of the format; a reader refuses another one."""

UNSTATED = "no published source"
"""Where the script of a simulated server names none."""


@dataclass(frozen=True, slots=True)
class MeasuredCall:
    """A tool that was called.

    Attributes:
        name: Which.
        arguments: As the model gave them: JSON text, or what was meant to be.
        asked_ns: From the true end of the user's speech in its turn to the call (ns).
        answered_ns: To its result, likewise; None: no result was given.
        cancelled: The model did not want the result any more.
        result_bytes: Size of the result.
    """

    name: str
    arguments: str
    asked_ns: int
    answered_ns: int | None = None
    cancelled: bool = False
    result_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation of a scenario, and whether it was met.

    Attributes:
        kind: `contains`, `lacks`, `regex`, `number`, `judge`, `tool`, `no tool`, `on time`,
            `history`, `history lacks`.
        wanted: What was expected, in words for a person.
        met: Whether; None where nobody could tell (the judge failed).
        found: What was there instead, shortened.
        topic: What it is about: `answer`, `tools`, `instructions`, `recall`, `interruption`.
    """

    kind: str
    wanted: str
    met: bool | None
    found: str = ""
    topic: str = "answer"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation.

    Attributes:
        record: Latency, parts, lanes, transcript, reply, status: as in a profile. Its latency is to
            the first audible sample of anything; `wav` is the whole conversation's.
        number: Within the conversation, from 1.
        answering_ns: As the latency, to the first audible sample that is no filler; None: none.
        server_ms: Figures of the other side's making, by name (see `instrument.FIGURES`): they
            leave out parts of what a user waits for.
        calls: Tools, in order.
        checks: Expectations, in order; those that the judge decides are added after the run.
        word_errors: Substitutions, deletions and insertions against what was said; None: the system
            gave no transcript, or the words are not known.
        words: Words that were said.
        interrupts: Whether it is said into the reply before it.
        silence_ns: From its first voiced sample to the last audible one of the reply that it
            interrupts; None: it interrupts nothing, or that never fell silent.
        kept: What the model's history holds of the reply of this turn at the end of the
            conversation; None: not known.
        start_ns: Where it begins in the WAV (ns).
        end_ns: Where it ends in the WAV (ns): where the next one begins.
    """

    record: Record
    number: int
    answering_ns: int | None = None
    server_ms: Mapping[str, float] = field(default_factory=dict)
    calls: tuple[MeasuredCall, ...] = ()
    checks: tuple[Check, ...] = ()
    word_errors: int | None = None
    words: int = 0
    interrupts: bool = False
    silence_ns: int | None = None
    kept: str | None = None
    start_ns: int = 0
    end_ns: int = 0


ConversationStatus = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One scenario held with one path, once.

    Attributes:
        path: Name of the system, as `--path` gave it.
        scenario: The scenario's name, with its length of instructions if that varies.
        repeat: From 1; 0 is the warm-up, which no statistic counts.
        order: Position in the run, from 0, over all paths.
        status: `failed` where it ended before its last turn was over.
        reason: Why, in words that say what to do.
        facts: `direct.brief.Facts` as a dictionary; empty for the cascade.
        topic: What the scenario is about: `latency`, `understanding`, `tools`, `instructions`,
            `recall`, `interruption`, `heavy tools`.
        instruction_chars: Length of its instructions.
        rtt_ms: Round trips to the server, measured beside the conversation.
        usage: `events.Usage` as dictionaries, in order, with the `turn` of each.
        seconds: How long it lasted (s).
        cpu_s: Processor time of this process, and for the cascade so of its engines (s).
        joules: Energy of the processor, where the machine tells; None: it does not.
        wav: Stereo WAV, user left, reply right, relative to the folder.
        reconnects: How often the connection was lost and made again.
        started: Wall-clock time, ISO 8601, for a person.
        turns: In order; those never reached are there, as `failed`.
    """

    path: str
    scenario: str
    repeat: int
    order: int
    status: ConversationStatus
    reason: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    topic: str = "latency"
    instruction_chars: int = 0
    rtt_ms: tuple[float, ...] = ()
    usage: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    cpu_s: float = 0.0
    joules: float | None = None
    wav: str = ""
    reconnects: int = 0
    started: str = ""
    turns: tuple[Turn, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the other end was a server that replays a script."""
        return bool(self.facts.get("simulated"))


SYSTEM = attrgetter("path")
"""Which system a conversation is held with."""


def titled(path: str, simulated: bool) -> str:
    """What a system is called wherever a person or a program reads of it."""
    return f"{path} [{STAMP}]" if simulated else path


def simulations(
    header: Mapping[str, Any], conversations: Iterable[Conversation]
) -> dict[str, dict[str, str]]:
    """The simulated systems, with the parameters that their servers told of themselves.

    A system is simulated if it was asked to be, or if the other end of any conversation was. The
    parameters are empty where no conversation came to be.
    """
    found: dict[str, dict[str, str]] = {
        path: {}
        for path, about in (header.get("variants") or {}).items()
        if isinstance(about, Mapping) and about.get("kind") == "simulated"
    }
    for one in conversations:
        if one.simulated or one.path.startswith("simulated:"):
            told = one.facts.get("simulated")
            plain = {k: str(v) for k, v in told.items()} if isinstance(told, Mapping) else {}
            found[one.path] = found.get(one.path) or plain
    return found


def source_of(simulation: Mapping[str, str]) -> str:
    """Where the latency of a simulated server was published."""
    return simulation.get("source") or UNSTATED
