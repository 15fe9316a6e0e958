"""A program in a terminal of its own, as people run it: keys in, the screen out (POSIX)."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.cli_child import HANG_S, environment

SHELL = 'trap : INT; stty -g; "$@"; code=$?; echo; echo "code $code"; stty -g; echo "over"; cat'
"""Before and after the program the shell says what the terminal is like.

It stays until it is killed: when the leader of a session ends, the terminal is hung up, and what
was written last may be lost.
"""

ROWS, COLUMNS = 40, 130

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
PARTIAL = re.compile(r"(?:\x1b(?:\[[0-9;?]*)?|\r)\Z")


class Terminal:
    """Runs a command; what it writes is `text`, without colours and the like."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self.text = ""
        self._fd, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

        def own() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self._child = subprocess.Popen(
            ["sh", "-c", SHELL, "sh", *command],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            preexec_fn=own,
            env={**environment({"TERM": "xterm"}), **(env or {})},
            cwd=cwd,
        )
        os.close(inside)
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, text: str) -> None:
        """Return once this has been on the screen."""
        with self._more:
            assert self._more.wait_for(lambda: text in self.text, HANG_S), self.text

    def press(self, keys: str) -> None:
        """Press keys; \\x03 is Ctrl-C."""
        os.write(self._fd, keys.encode())

    def finish(self) -> int:
        """Wait for the program's end; gives its exit code.

        Raises:
            AssertionError: It hangs, or the terminal is not as it was before.
        """
        self.wait_for("\nover\n")
        lines = self.text.strip().splitlines()
        assert lines[0].count(":") > 3, lines[0]
        assert lines[0] == lines[-2], "the terminal is not as it was"
        return int(lines[-3].removeprefix("code "))

    def close(self) -> None:
        """End it, whatever it does."""
        # All of it: who is started with SIGHUP ignored does not end with the terminal's leader.
        os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._reader.join()
        os.close(self._fd)

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                return
            if not data:
                return
            rest += decoder.decode(data)
            whole = PARTIAL.sub("", rest)
            with self._more:
                self.text += ESCAPE.sub("", whole).replace("\r\n", "\n")
                self._more.notify_all()
            rest = rest[len(whole) :]


@contextmanager
def in_terminal(
    command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Terminal]:
    """A command in a terminal, which does not outlive the test."""
    made = Terminal(command, env, cwd)
    try:
        yield made
    finally:
        made.close()
