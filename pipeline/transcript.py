"""The saved conversation: one JSON line a message, as `--save` writes and `--resume` reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.conversation import Message
from pipeline.errors import BadInput, StageError


def check(file: Path) -> None:
    """See, without touching it, that a conversation could be saved to a file.

    Raises:
        BadInput: It could not.
    """
    beside = _beside(file)
    try:
        if beside != file:
            beside.touch()
            beside.unlink()
    except OSError as error:
        raise BadInput(f"{file}: cannot be written: {error.strerror}") from None


def save(file: Path, messages: Sequence[Message]) -> None:
    """Write the conversation, whole: a crash leaves the old file or the new one.

    Raises:
        StageError: It cannot be written.
    """
    lines = [
        json.dumps({"role": m.role, "content": m.content, "turn": m.turn}, ensure_ascii=False)
        for m in messages
    ]
    beside = _beside(file)
    try:
        beside.write_text(
            "".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace"
        )
        if beside != file:
            beside.replace(file.resolve())
    except OSError as error:
        if beside != file:
            beside.unlink(missing_ok=True)
        raise StageError(
            "save", f"{file}: the conversation is not saved: {error.strerror}"
        ) from None


def load(file: Path) -> list[Message]:
    """Read a saved conversation.

    Raises:
        BadInput: It is missing or damaged; the message names the line.
    """
    try:
        # Not `splitlines`, which takes more characters for line ends than JSON escapes.
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise BadInput(f"{file}: cannot be resumed: {reason}") from None
    messages = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            entry = json.loads(line)
            role, content, turn = entry["role"], entry["content"], entry["turn"]
            if role not in ("user", "assistant") or not isinstance(content, str):
                raise ValueError
            messages.append(Message(role, content, int(turn)))
        except (ValueError, TypeError, KeyError):
            raise BadInput(
                f"{file}, line {number}: not a message of a conversation saved with --save"
            ) from None
    return messages


def _beside(file: Path) -> Path:
    """Where it is written before it takes its place: beside it, unless it is a pipe or a device."""
    target = file.resolve()  # a link stays one
    if target.exists() and not target.is_file():
        return file
    return target.with_name(target.name + ".part")
