"""The folder of a comparison: `conversations.jsonl`, written as it goes, and read again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from pipeline.compare.record import VERSION, Call, Check, Conversation, Turn
from pipeline.direct.brief import STAMP
from pipeline.errors import BadInput, StageError
from pipeline.profile.lanes import Line
from pipeline.profile.record import Record, Span

CONVERSATIONS = "conversations.jsonl"
TRACE = "trace.jsonl"
WAVS = "wav"
"""Folder of the conversations' WAVs, in that of the comparison."""


class Store:
    """The files that grow with each conversation: a crash costs no more than the current one."""

    def __init__(self, folder: Path) -> None:
        """Prepare; `begin` or `resume` opens the files."""
        self._folder = folder
        self._files: dict[str, IO[str]] = {}

    def begin(self, header: Mapping[str, Any], conversations: Sequence[Conversation] = ()) -> None:
        """Begin the files, with what an earlier run has left.

        Raises:
            StageError: They cannot be written.
        """
        with self._told():
            # As long as nobody has ended it properly, it counts as interrupted.
            self._rewrite({**header, "interrupted": True}, conversations)
            trace = self._folder / TRACE
            if not trace.exists():
                trace.write_text(json.dumps({"trace": 1, **_described(header)}) + "\n", "utf-8")
            for name in (CONVERSATIONS, TRACE):
                self._files[name] = (self._folder / name).open("a", encoding="utf-8")

    def add(self, conversation: Conversation, lines: Sequence[Line]) -> None:
        """Append a conversation and its trace.

        Raises:
            StageError: The disk does not take it.
        """
        marks = {"order": conversation.order, "path": conversation.path}
        stamp = {"simulated": True} if conversation.simulated else {}
        with self._told():
            self._files[TRACE].writelines(
                json.dumps({**line, **marks, **stamp}) + "\n" for line in lines
            )
            self._files[CONVERSATIONS].write(_line(conversation))
            for file in self._files.values():
                file.flush()

    def end(self, header: Mapping[str, Any], conversations: Sequence[Conversation]) -> None:
        """Write the conversations again, with what is known of the run now.

        Raises:
            StageError: The disk does not take it; then they are there as they were.
        """
        self.close()
        with self._told():
            self._rewrite(header, conversations)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            with contextlib.suppress(OSError):  # what did not fit has been told
                file.close()
        self._files.clear()

    def _rewrite(self, header: Mapping[str, Any], conversations: Sequence[Conversation]) -> None:
        part = self._folder / f"{CONVERSATIONS}.part"
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(json.dumps({"comparison": VERSION, **header}) + "\n")
                file.writelines(_line(one) for one in conversations)
            part.replace(self._folder / CONVERSATIONS)
        finally:
            part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StageError(
                "save", f"{self._folder}: cannot be written: {error.strerror}; make room"
            ) from None


def read(folder: Path) -> tuple[dict[str, Any], list[Conversation]]:
    """What describes a comparison, and its conversations.

    A last line that was cut off by a crash or a full disk is left out.

    Raises:
        BadInput: There is no comparison in the folder, it is damaged, or of another version.
    """
    path = folder / CONVERSATIONS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; name a folder that `compare` made") from None
    try:
        header = json.loads(lines[0])
        version = header.pop("comparison")
    except (IndexError, ValueError, KeyError, AttributeError):
        raise BadInput(f"{path}: is no comparison's records") from None
    if version != VERSION:
        raise BadInput(f"{path}: version {version} of the format; this Cascade reads {VERSION}")
    found = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            found.append(_conversation(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError):
            if number == len(lines):
                break
            raise BadInput(f"{path}: line {number} is damaged") from None
    return header, found


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
