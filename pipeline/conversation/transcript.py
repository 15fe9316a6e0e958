"""The saved conversation: one JSON line a message, as `--save` writes and `--resume` reads it.

    {"role": "user" | "assistant" | "tool" | "system", "content": "…", "turn": 1}

A message that called tools also has `"calls": [{"id", "name", "arguments"}]`, and each result after
it a `"call_id"`. A summary, by the role `system`, stands behind all that it tells.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pydantic import TypeAdapter

from pipeline.conversation.history import Message
from pipeline.errors import BadInput

CLOSE_S = 10.0
"""How long the end of a conversation waits for a disk that does not respond."""

BEGINS = b'{"role": "'
"""How every line begins that was written here."""

_MESSAGE = TypeAdapter(Message)

log = logging.getLogger(__name__)


class ConversationFile:
    """Keeps a conversation in a file, whatever becomes of this process.

    What is new is appended. Where earlier lines have changed, because a reply was cut to what was
    heard, and before the first line, all is written beside the file and takes its place. So the
    file is whole at every moment, save for a last line that a kill has cut off. A killed process
    loses nothing that was written; to outlive a power cut too, what takes the place of the file is
    on the disk before it does, and what is appended comes there when the system sees fit.

    All of that is done in a thread of its own. What the disk does not take is told once, and tried
    again with the next turn. A pipe or a device takes nothing back: it gets the conversation when
    that is over. Where another program writes to the same file, the conversation of the one that
    wrote last is there, and the other's beside it.

    Attributes:
        failed: The file does not have all that it was given last.
    """

    def __init__(self, path: Path) -> None:
        """Prepare; nothing is written before something was said."""
        self.failed = False
        self._path = path
        self._target = path.resolve()  # a link stays one
        self._once = not replaceable(path)
        self._over = False
        self._told = False
        self._shared = False
        self._messages: Sequence[Message] = ()
        self._written: Sequence[Message] = ()
        self._size = 0
        self._inode = 0
        self._asked: SimpleQueue[Future[None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="save", daemon=True).start()

    def save(self, messages: Sequence[Message]) -> Future[None]:
        """Have a conversation written, all of it so far.

        Args:
            messages: Nobody changes them any more.

        Returns:
            Done when it is in the file, or the disk has refused it.
        """
        self._messages = messages
        done: Future[None] = Future()
        if self._once and not self._over:
            done.set_result(None)
        else:
            self._asked.put(done)
        return done

    def close(self, messages: Sequence[Message]) -> None:
        """Write a conversation that is over, and wait for that."""
        self._over = True
        try:
            self.save(messages).result(CLOSE_S)
        except TimeoutError:
            self._fail("the disk does not respond")
        self._asked.put(None)

    def _work(self) -> None:
        while (done := self._asked.get()) is not None:
            self._write()
            done.set_result(None)

    def _write(self) -> None:
        messages = self._messages  # the newest, if the disk was too slow for those before
        if not messages:
            return
        try:
            if self._once:
                with self._path.open("ab") as file:
                    file.write(_lines(messages))
            elif not self._untouched():
                self._set_aside()
                self._rewrite(_lines(messages))
            elif (more := added(self._written, messages)) is None:
                self._rewrite(_lines(messages))
            elif more:
                self._append(_lines(more))
        except OSError as error:
            self._fail(error.strerror)
        else:
            self._written = messages
            self.failed = False

    def _fail(self, reason: str | None) -> None:
        self.failed = True
        if not self._told:
            self._told = True
            log.error(
                "%s: the conversation is not saved: %s; make room, or save it elsewhere",
                self._path,
                reason,
            )

    def _untouched(self) -> bool:
        """Whether the file is as it was left here, and not deleted or written by others."""
        if not self._target.is_file():
            return False
        now = self._target.stat()
        return (now.st_ino, now.st_size) == (self._inode, self._size)

    def _set_aside(self) -> None:
        """Keep what others have written to the file since it was written here, before it goes."""
        if not self._written or not self._target.is_file():
            return
        other = self._target.with_name(self._target.name + ".other")
        shutil.copyfile(self._target, other)
        if not self._shared:
            self._shared = True
            log.warning(
                "%s: another program writes to it too; what that wrote is kept in %s",
                self._path,
                other,
            )

    def _append(self, lines: bytes) -> None:
        try:
            with self._target.open("ab") as file:
                file.write(lines)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self._target, self._size)
            raise
        self._size += len(lines)

    def _rewrite(self, lines: bytes) -> None:
        part = beside(self._target)
        try:
            with part.open("wb") as file:
                with contextlib.suppress(OSError):  # there is none yet, or modes are not kept here
                    shutil.copymode(self._target, part)
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
                self._inode = os.fstat(file.fileno()).st_ino
            part.replace(self._target)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self._size = len(lines)


def added(written: Sequence[Message], wanted: Sequence[Message]) -> Sequence[Message] | None:
    """What is missing at the end of a file; None where it has to be written anew.

    Args:
        written: The messages that it has; empty: nobody knows.
        wanted: Those that it is to have.
    """
    if not written or wanted[: len(written)] != written:
        return None
    return wanted[len(written) :]


def replaceable(path: Path) -> bool:
    """Whether another file can take this one's place, or it is a pipe, a device, our own output."""
    if not path.exists():
        return True
    for ours in (1, 2):
        with contextlib.suppress(OSError):  # it is closed
            if os.path.samestat(path.stat(), os.fstat(ours)):
                return False
    return path.is_file()


def beside(file: Path) -> Path:
    """Where a file is written before it takes its place."""
    target = file.resolve()
    return target.with_name(target.name + ".part")


def load(file: Path) -> list[Message]:
    """Read a saved conversation.

    A last line that a crash has cut off is left out, with a warning.

    Raises:
        BadInput: It is missing or damaged; the message names the line.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise BadInput(f"{file}: cannot be resumed: {error.strerror}") from None
    messages = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            if number == len(lines) and _cut_off(line):
                log.warning("%s: its last line is cut off; it is left out", file)
                break
            raise _damaged(file, number) from None
        try:
            messages.append(_message(entry))
        except ValueError:
            raise _damaged(file, number) from None
    return messages


def _cut_off(line: bytes) -> bool:
    """Whether a text that is no line is the beginning of one, as far as it came to the disk.

    After a power cut, zeros may stand for what did not.
    """
    came = line.rstrip(b"\0")
    return came.startswith(BEGINS) or BEGINS.startswith(came)


def _damaged(file: Path, number: int) -> BadInput:
    return BadInput(f"{file}, line {number}: not a message of a conversation saved with --save")


def _lines(messages: Sequence[Message]) -> bytes:
    return b"".join(map(_line, messages))


def _line(message: Message) -> bytes:
    """A message as its line has it; what only tools need is there only where they were called."""
    entry = dataclasses.asdict(message)
    del entry["part"], entry["note"]
    kept = {name: value for name, value in entry.items() if value or name in ("content", "turn")}
    return json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _message(entry: Any) -> Message:
    """The message of a line.

    Raises:
        ValueError: It is none.
    """
    message = _MESSAGE.validate_python(entry)
    if message.calls and message.role != "assistant":
        raise ValueError
    if message.role == "system" and not message.content:
        raise ValueError
    if (message.role == "tool") != bool(message.call_id):
        raise ValueError
    return message
