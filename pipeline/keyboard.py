"""Single keys from the terminal, without waiting for them and without its echo.

`readchar` cannot do this: it waits for a key, and throws away what was pressed between two calls.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Self, TextIO

if sys.platform == "win32":
    import msvcrt
else:
    import select
    import termios
    import tty

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|O.?|.)?", re.DOTALL)
"""What arrows and function keys send; their letters are nobody's choice."""


def letters(keys: str) -> str:
    """What was pressed, without arrows and function keys."""
    return _ESCAPE.sub("", keys)


class Keyboard:
    """Gives keys as they are pressed. A context manager: it leaves the terminal as it was.

    Ctrl-C goes on to be an interruption.

    Attributes:
        available: Whether there is a terminal to press keys on; known inside the context.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        """Read `stream`; None: what is stdin."""
        self.available = False
        self._stream = stream if stream is not None else sys.stdin

    if sys.platform == "win32":

        def __enter__(self) -> Self:
            self.available = self._stream is not None and self._stream.isatty()
            return self

        def __exit__(self, *exc: object) -> None:
            self.available = False

        def pressed(self) -> str:
            """What was pressed since the last look."""
            keys = ""
            while self.available and msvcrt.kbhit():
                key = msvcrt.getwch()
                if key in ("\x00", "\xe0"):
                    # An arrow or a function key: the second half says which.
                    msvcrt.getwch()
                    continue
                keys += key
            return keys

    else:

        def __enter__(self) -> Self:
            try:
                self._terminal = self._stream.fileno()
                # Whoever is in the background may not touch the terminal, and is given no keys.
                if os.tcgetpgrp(self._terminal) != os.getpgrp():
                    return self
                self._before = termios.tcgetattr(self._terminal)
                tty.setcbreak(self._terminal, termios.TCSANOW)
            except (AttributeError, OSError, ValueError, termios.error):
                # No stdin, a closed one, or one that is no terminal.
                return self
            self.available = True
            return self

        def __exit__(self, *exc: object) -> None:
            if not self.available:
                return
            self.available = False
            try:
                termios.tcsetattr(self._terminal, termios.TCSANOW, self._before)
            except (OSError, termios.error):
                # The terminal is gone, and its settings with it.
                return

        def pressed(self) -> str:
            """What was pressed since the last look."""
            if not self.available:
                return ""
            try:
                ready, _, _ = select.select([self._terminal], [], [], 0)
                data = os.read(self._terminal, 256) if ready else b""
            except OSError:
                return ""
            return data.decode(errors="ignore")
