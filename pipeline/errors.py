"""Errors that a person is meant to read.

Every message says in one or two lines what happened, where, and what to do next. The command line
prints it and exits with `exit_code`; a traceback appears only with `--debug`.
"""

from __future__ import annotations

INTERRUPTED = 130
"""The exit code of what Ctrl-C or SIGTERM has stopped, as shells have it for Ctrl-C."""


UNMET = 3
"""The exit code of a run that is not good enough: a gate is not met, or it is worse than before."""


class CascadeError(Exception):
    """Something failed that the user should know about, in words the user can act on."""

    exit_code = 1


class BadInput(CascadeError):
    """The user gave something that cannot work: a missing file, a wrong setting, a bad name."""

    exit_code = 2


class StageError(CascadeError):
    """A stage failed while it worked on a turn; the turn is lost, the conversation goes on.

    Attributes:
        stage: Which one: `vad`, `stt`, `llm`, `tts`, `audio`, `save`.
        fatal: True if no later turn can succeed either (a device is gone, a key is refused).
    """

    def __init__(self, stage: str, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.stage = stage
        self.fatal = fatal


def first_line(error: Exception) -> str:
    """The first line of what an error of a library says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def one_line(text: str, most: int = 200) -> str:
    """A text from outside on one line, of a readable length: at most so many characters."""
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in a task group's error: what went wrong before the rest was cancelled."""
    error = group.exceptions[0]
    return first_of(error) if isinstance(error, BaseExceptionGroup) else error
