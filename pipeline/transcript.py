"""The saved conversation: one JSON line a message, as `--save` writes and `--resume` reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.conversation import Message
from pipeline.errors import BadInput, StageError


def save(file: Path, messages: Sequence[Message]) -> None:
    """Write the conversation, whole: a crash leaves the old file or the new one.

    Raises:
        StageError: It cannot be written.
    """
    lines = [
        json.dumps({"role": m.role, "content": m.content, "turn": m.turn}, ensure_ascii=False)
        for m in messages
    ]
    beside = file.with_name(file.name + ".part")
    try:
        beside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise StageError("save", f"{file}: not saved: {error.strerror}") from None


def load(file: Path) -> list[Message]:
    """Read a saved conversation.

    Raises:
        BadInput: It is missing or damaged; the message names the line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise BadInput(f"{file}: cannot be resumed: {reason}") from None
    messages = []
    for number, line in enumerate(lines, 1):
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
