"""The saved conversation: one JSON line a message, as `--save` writes and `--resume` reads it.

    {"role": "user" | "assistant" | "tool", "content": "…", "turn": 1}

A message that called tools also has `"calls": [{"id", "name", "arguments"}]`, and each result after
it a `"call_id"`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline.conversation.history import Message
from pipeline.errors import BadInput, StageError

_MESSAGE = TypeAdapter(Message)


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
    lines = [json.dumps(_entry(message), ensure_ascii=False) for message in messages]
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
            messages.append(_message(json.loads(line)))
        except ValueError:
            raise BadInput(
                f"{file}, line {number}: not a message of a conversation saved with --save"
            ) from None
    return messages


def _entry(message: Message) -> dict[str, Any]:
    """A message as its line has it; what only tools need is there only where they were called."""
    entry = dataclasses.asdict(message)
    del entry["part"]
    return {name: value for name, value in entry.items() if value or name in ("content", "turn")}


def _message(entry: Any) -> Message:
    """The message of a line.

    Raises:
        ValueError: It is none.
    """
    message = _MESSAGE.validate_python(entry)
    calls_in_vain = bool(message.calls) and message.role != "assistant"
    if message.role == "system" or calls_in_vain:
        raise ValueError
    if (message.role == "tool") != bool(message.call_id):
        raise ValueError
    return message


def _beside(file: Path) -> Path:
    """Where it is written before it takes its place: beside it, unless it is a pipe or a device."""
    target = file.resolve()  # a link stays one
    if target.exists() and not target.is_file():
        return file
    return target.with_name(target.name + ".part")
