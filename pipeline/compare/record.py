"""What a comparison measures: one `Conversation` of one path, and the turns in it.

The folder of a comparison holds `conversations.jsonl`, one `Conversation` a line, in the order in
which they were held; everything else in it can be computed from that file, the scenarios in its
header, and the WAVs. Within a turn, `Record` is what a profile measures of it: its `variant` is the
system's name and its `file` is `scenario#turn`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.measure.record import Turn
from pipeline.speech_to_speech.brief import STAMP

VERSION = 1
"""Version of the format; a reader refuses another one."""

UNSTATED = "no published source"
"""Where the script of a simulated server names none."""


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
