"""The folder of a comparison: `conversations.jsonl`, written as it goes, and read again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.compare.record import VERSION, Call, Check, Conversation, Turn
from pipeline.measure.lanes import Line
from pipeline.measure.record import Record, Span
from pipeline.measure.results import TRACE, LineFiles, read_lines
from pipeline.speech_to_speech.brief import STAMP
from pipeline.trace import VERSION as TRACE_VERSION

CONVERSATIONS = "conversations.jsonl"


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
    calls = tuple(Call(**call) for call in fields.pop("calls"))
    checks = tuple(Check(**check) for check in fields.pop("checks"))
    return Turn(Record(**record, spans=spans), **fields, calls=calls, checks=checks)


def _described(header: Mapping[str, Any]) -> dict[str, Any]:
    names = ("started", "machine", "versions", "models", "settings", "paths")
    return {name: header[name] for name in names if name in header}
