"""The folder of a comparison: `conversations.jsonl`, written as it goes, read again, gone on with.

No password and no key is kept of what a run was asked: a path that had one has to be given again.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.compare.record import VERSION, Check, Conversation, MeasuredCall, Turn
from pipeline.errors import BadInput
from pipeline.measure.lanes import Line
from pipeline.measure.record import Record, Span
from pipeline.measure.results import TRACE, LineFiles, read_lines
from pipeline.speech_to_speech.brief import STAMP
from pipeline.speech_to_speech.paths import shown
from pipeline.trace import VERSION as TRACE_VERSION

CONVERSATIONS = "conversations.jsonl"

ASKED = ("sources", "say", "paths", "repeat", "seed", "speaker", "listen_s", "patience_s")
"""Options of a run that it is resumed with."""

ALIKE = ("variants", "scenarios", "models", "settings")
"""What in the header must not have changed since: else two runs would be taken for one."""

SPOKEN = ("end_of_speech_s", "audible_s", "seconds")
"""Of a step, what may have: its words are spoken anew where the recording is lost."""


class Store:
    """The files that grow with each conversation."""

    def __init__(self, folder: Path) -> None:
        """Prepare; `begin` opens the files."""
        self._folder = folder
        self._files = LineFiles(folder, (CONVERSATIONS, TRACE))

    def begin(self, header: Mapping[str, Any], conversations: Sequence[Conversation] = ()) -> None:
        """Begin the files, with what an earlier run has left.

        Raises:
            StageError: They cannot be written.
        """
        with self._files.told():
            # As long as nobody has ended it properly, it counts as interrupted.
            self._rewrite({**header, "interrupted": True}, conversations)
            trace = self._folder / TRACE
            if not trace.exists():
                first = {"trace": TRACE_VERSION, **_described(header)}
                trace.write_text(json.dumps(first) + "\n", "utf-8")
            self._files.open()

    def add(self, conversation: Conversation, lines: Sequence[Line]) -> None:
        """Append a conversation and its trace.

        Raises:
            StageError: The disk does not take it.
        """
        marks = {"order": conversation.order, "path": conversation.path}
        stamp = {"simulated": True} if conversation.simulated else {}
        trace = [json.dumps({**line, **marks, **stamp}) + "\n" for line in lines]
        with self._files.told():
            self._files.append(TRACE, trace)
            self._files.append(CONVERSATIONS, [_line(conversation)])
            self._files.flush()

    def end(self, header: Mapping[str, Any], conversations: Sequence[Conversation]) -> None:
        """Write the conversations again, with what is known of the run now.

        Raises:
            StageError: The disk does not take it; then they are there as they were.
        """
        self.close()
        with self._files.told():
            self._rewrite(header, conversations)

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _rewrite(self, header: Mapping[str, Any], conversations: Sequence[Conversation]) -> None:
        first = json.dumps({"comparison": VERSION, **header}) + "\n"

        def write(path: Path) -> None:
            with path.open("w", encoding="utf-8") as file:
                file.write(first)
                file.writelines(_line(one) for one in conversations)

        self._files.rewrite(CONVERSATIONS, write)


def read(folder: Path) -> tuple[dict[str, Any], list[Conversation]]:
    """What describes a comparison, and its conversations.

    A last line that was cut off by a crash or a full disk is left out.

    Raises:
        BadInput: There is no comparison in the folder, it is damaged, or of another version.
    """
    return read_lines(
        folder / CONVERSATIONS, "comparison", VERSION, _conversation, made_by="compare"
    )


def _line(conversation: Conversation) -> str:
    stamp = {"simulated": STAMP} if conversation.simulated else {}
    return json.dumps({**stamp, **dataclasses.asdict(conversation)}) + "\n"


def _conversation(fields: dict[str, Any]) -> Conversation:
    fields.pop("simulated", None)
    turns = tuple(_turn(turn) for turn in fields.pop("turns"))
    for name in ("rtt_ms", "usage"):
        fields[name] = tuple(fields[name])
    return Conversation(**fields, turns=turns)


def _turn(fields: dict[str, Any]) -> Turn:
    record = fields.pop("record")
    spans = tuple(Span(**span) for span in record.pop("spans"))
    calls = tuple(MeasuredCall(**call) for call in fields.pop("calls"))
    checks = tuple(Check(**check) for check in fields.pop("checks"))
    return Turn(Record(**record, spans=spans), **fields, calls=calls, checks=checks)


def _described(header: Mapping[str, Any]) -> dict[str, Any]:
    names = ("started", "machine", "versions", "models", "settings", "paths")
    return {name: header[name] for name in names if name in header}


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


def asked_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the header keeps of a run's options, by `ASKED`; `withheld` if a secret is missing."""
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
    header, conversations = read(folder)
    asked = header.get("asked")
    if not isinstance(asked, dict) or not set(ASKED) <= asked.keys():
        raise BadInput(f"--resume {folder}: does not tell what was asked; begin a new run")
    given = {name: asked[name] for name in ASKED}
    given["sources"] = tuple(given["sources"])
    given["say"] = Path(given["say"]) if given["say"] else None
    if [shown(path) for path in paths] == given["paths"]:
        given["paths"] = tuple(paths)
    elif asked.get("withheld"):
        raise BadInput(
            f"--resume {folder}: a password or key in its paths was not kept; give each --path "
            "again as it was"
        )
    given["paths"] = tuple(given["paths"])
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
