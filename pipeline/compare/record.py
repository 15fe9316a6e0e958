"""What a comparison measures: one `Conversation` of one path, and the folder of all of them.

The folder holds `conversations.jsonl`, one `Conversation` a line, in the order in which they were
held; everything else in it can be computed from that file, the scenarios in its header, and the
WAVs. Within a turn, `Record` is what a profile measures of it: its `variant` is the system's name
and its `file` is `scenario#turn`. The file is written as it goes, read again, and gone on with.

No password and no key is kept of what a run was asked: a path that had one has to be given again.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from pipeline.errors import BadInput
from pipeline.measure.record import Turn
from pipeline.measure.run import Form
from pipeline.speech_to_speech.brief import SCRIPTED, STAMP
from pipeline.speech_to_speech.specs import shown

ASKED = {
    "sources": "what is said",
    "say": "--say",
    "paths": "--path",
    "repeat": "--repeat",
    "seed": "--seed",
    "speaker": "--speaker",
    "listen_s": "--reply-seconds",
    "patience_s": "--timeout",
    "expect": "",
    "together": "--together",
    "conditions": "--condition",
}
"""Options of a run that it is resumed with, each as a user gives it; empty: it may be another then.
"""

ALIKE = ("variants", "scenarios", "models", "settings")
"""What in the header must not have changed since: else two runs would be taken for one."""

SPOKEN = ("end_of_speech_s", "audible_s", "seconds", "sha256", "own")
"""Of a step, what may have: its words are spoken anew where the recording is lost."""

RECORDED = ("sha256", "end_of_speech_s")
"""Of these, what may not where the recording is the user's own."""

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
        facts: `speech_to_speech.brief.Facts` as a dictionary; empty for the cascade.
        topic: What the scenario is about: `latency`, `understanding`, `tools`, `instructions`,
            `recall`, `interruption`, `selectivity`, `heavy tools`.
        instruction_chars: Length of its instructions.
        rtt_ms: Round trips to the server, measured beside the conversation.
        usage: `events.Usage` as dictionaries, in order, with the `turn` of each.
        seconds: How long it lasted (s).
        cpu_s: Processor time of this process, and for the cascade so of its engines (s); None:
            other conversations were held meanwhile.
        joules: Energy of the processor, where the machine tells; None: it does not.
        wav: Stereo WAV, user left, reply right, relative to the folder.
        condition: What the user's sound went through before the system heard it; empty: it was
            clean.
        heard: WAV of what the system heard then, likewise; empty: it heard the user's own sound.
        wav_sha256: Of the first of these files; empty: an earlier Cascade made it.
        heard_sha256: Of the second, likewise.
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
    cpu_s: float | None = 0.0
    joules: float | None = None
    wav: str = ""
    reconnects: int = 0
    started: str = ""
    turns: tuple[Turn, ...] = ()
    condition: str = ""
    heard: str = ""
    wav_sha256: str = ""
    heard_sha256: str = ""

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
        if isinstance(about, Mapping) and about.get("kind") in SCRIPTED
    }
    for one in conversations:
        if one.simulated or one.path.partition(":")[0] in SCRIPTED:
            told = one.facts.get("simulated")
            plain = {k: str(v) for k, v in told.items()} if isinstance(told, Mapping) else {}
            found[one.path] = found.get(one.path) or plain
    return found


def source_of(simulation: Mapping[str, str]) -> str:
    """Where the latency of a simulated server was published."""
    return simulation.get("source") or UNSTATED


def _plain(conversation: Conversation) -> dict[str, Any]:
    stamp = {"simulated": STAMP} if conversation.simulated else {}
    return {**stamp, **dataclasses.asdict(conversation)}


def _stamp(conversation: Conversation) -> dict[str, Any]:
    """What the lines of its trace say of it."""
    stamp = {"simulated": True} if conversation.simulated else {}
    return {"order": conversation.order, "path": conversation.path, **stamp}


CONVERSATIONS = Form[Conversation](
    "conversations.jsonl",
    "comparison",
    1,
    made_by="compare",
    plain=_plain,
    parse=TypeAdapter(Conversation).validate_python,
    stamp=_stamp,
)
"""All conversations of a comparison, in its folder."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier run left.

    Attributes:
        folder: Where it is.
        asked: What it was asked, by `ASKED`.
        header: What described it.
        kept: Its conversations that stand; those that failed are held again.
        retried: How many these are, by path, with those that an earlier resumption held again.
    """

    folder: Path
    asked: Mapping[str, Any]
    header: Mapping[str, Any]
    kept: Sequence[Conversation]
    retried: Mapping[str, int]

    def check(self, header: Mapping[str, Any]) -> None:
        """See that a run with this header is the same one.

        Raises:
            BadInput: It is another.
        """
        was, now = _compared(self.header), _compared(header)
        if changed := [name for name in ALIKE if was[name] is not None and was[name] != now[name]]:
            raise BadInput(
                f"--resume {self.folder}: since then its {' and '.join(changed)} have changed; "
                "give the same flags and files as then, or begin a new run"
            )
        for name, about in (self.header.get("scenarios") or {}).items():
            for then, step in zip(about["steps"], header["scenarios"][name]["steps"], strict=True):
                changed = [key for key in RECORDED if then.get(key) != step.get(key)]
                if step.get("own") and changed:
                    raise BadInput(
                        f"--resume {self.folder}: since then the recording {step['path']} of "
                        f"{name}, or its label, has changed; put it back, or begin a new run"
                    )


def asked_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the header keeps of a run's options; `withheld` if a secret is missing."""
    asked = {name: options[name] for name in ASKED}
    asked["say"] = str(asked["say"] or "")
    asked["paths"] = [shown(path) for path in options["paths"]]
    return {**asked, "withheld": asked["paths"] != [*options["paths"]]}


def resumed(folder: Path, paths: Sequence[str]) -> Earlier:
    """What an earlier run left in its folder.

    Args:
        folder: Of the earlier run.
        paths: As given now; they count where they are those of the earlier run.

    Raises:
        BadInput: There is none, it does not tell what was asked, or its paths had secrets.
    """
    header, conversations = CONVERSATIONS.read(folder / CONVERSATIONS.name)
    asked = header.get("asked")
    if not isinstance(asked, dict) or not ASKED.keys() <= asked.keys():
        raise BadInput(f"--resume {folder}: does not tell what was asked; begin a new run")
    given = {name: asked[name] for name in ASKED}
    given["say"] = Path(given["say"]) if given["say"] else None
    if [shown(path) for path in paths] == given["paths"]:
        given["paths"] = paths
    elif asked.get("withheld"):
        raise BadInput(
            f"--resume {folder}: a password or key in its paths was not kept; give each --path "
            "again as it was"
        )
    for name in ("sources", "paths", "expect", "conditions"):
        given[name] = tuple(given[name])
    retried = Counter(header.get("retried") or {})
    retried.update(one.path for one in conversations if one.status != "ok" and one.repeat > 0)
    kept = [one for one in conversations if one.status == "ok"]
    return Earlier(folder, given, header, kept, dict(retried))


def _compared(header: Mapping[str, Any]) -> dict[str, Any]:
    # As it is read again: JSON has lists only.
    plain: dict[str, Any] = json.loads(json.dumps({name: header.get(name) for name in ALIKE}))
    for scenario in (plain["scenarios"] or {}).values():
        for step in scenario["steps"]:
            for name in SPOKEN:
                step.pop(name, None)
    return plain
