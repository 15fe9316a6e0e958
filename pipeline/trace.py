"""The trace: every mark of every turn, as JSON lines. All latencies come from it alone.

The first line describes the run (machine, versions, models, settings); each later line is one mark,
`{"session", "turn", "generation", "mark", "t_ns", …}`, on the monotonic clock.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import platform
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.timeline import DETAILS, MARKS, WORK

VERSION = 1
"""Version of the format; a reader refuses a larger one."""

PACKAGES = (
    "voice-cascade",
    "faster-whisper",
    "ctranslate2",
    "onnxruntime",
    "openai",
    "piper-tts",
    "xllamacpp",
    "webrtcvad-wheels",
    "sounddevice",
    "numpy",
)

_KEPT_TURNS = 4

log = logging.getLogger(__name__)


class Trace:
    """Takes the marks of a session; keeps the last turns', writes all to a file if wanted.

    Attributes:
        session: A name for the run, unlike any other's.
        failed: The file could not be written to its end; the rest of the marks is kept nowhere.
    """

    def __init__(self, file: Path | None = None, describe: Mapping[str, Any] | None = None) -> None:
        """Open the trace.

        Args:
            file: Where to write; None keeps the marks of the last turns in memory only.
            describe: What the first line says (see `description`).

        Raises:
            BadInput: The file cannot be written.
        """
        self.session = uuid.uuid4().hex[:12]
        self.failed = False
        self._turns: dict[int, dict[str, int]] = {}
        self._generations: dict[int, int] = {}
        self._file: IO[str] | None = None
        self._pending = ""
        if file is not None:
            try:
                # Line-buffered, so that a crash loses no mark.
                self._file = file.open("w", encoding="utf-8", buffering=1)
            except OSError as error:
                raise BadInput(f"{file}: the trace cannot be written: {error.strerror}") from None
            self._write({"trace": VERSION, "session": self.session, **(describe or {})})

    def mark(
        self, turn: int, name: str, t_ns: int, *, generation: int | None = None, **more: Any
    ) -> None:
        """Note that `name` (one of `timeline.MARKS`) happened in a turn at `t_ns`.

        One of `timeline.DETAILS` goes to the file alone.

        Args:
            turn: Counted from 1.
            name: The mark.
            t_ns: Monotonic time (ns).
            generation: Which attempt at a reply within the turn, counted from 1; None: the newest.
                `discarded` takes back what that attempt has marked, from memory only.
            more: Further fields for the file.
        """
        if name not in MARKS and name not in DETAILS:
            raise ValueError(f"no such mark: {name}")
        generation = generation or self._generations.get(turn, 1)
        self._generations[turn] = generation
        marks = self._turns.setdefault(turn, {})
        if name in MARKS:
            marks[name] = t_ns
        if name == "discarded":
            for made in WORK:
                marks.pop(made, None)
        for old in [t for t in self._turns if t <= turn - _KEPT_TURNS]:
            del self._turns[old]
            self._generations.pop(old, None)
        self._write(
            {
                "session": self.session,
                "turn": turn,
                "generation": generation,
                "mark": name,
                "t_ns": t_ns,
                **more,
            }
        )

    def marks(self, turn: int) -> dict[str, int]:
        """The marks of a recent turn, by name (ns)."""
        return dict(self._turns.get(turn, {}))

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        self._pending += json.dumps(line) + "\n"
        # Details are many, and go with the next mark: what costs is to write, not how much.
        if line.get("mark") not in DETAILS:
            self._write_pending()

    def _write_pending(self) -> None:
        if self._file is None or not self._pending:
            return
        pending, self._pending = self._pending, ""
        try:
            self._file.write(pending)
        except OSError as error:
            log.error("%s: the trace ends here: %s", self._file.name, error.strerror)
            self.failed = True
            self._close()

    def _close(self) -> None:
        self._write_pending()
        if self._file is not None:
            # What a full disk did not take is tried again here, and has been told.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()


def description(settings: Settings, models: Mapping[str, str]) -> dict[str, Any]:
    """What the first line of a trace says of a run: machine, versions, models, settings.

    Args:
        settings: The run's; keys and passwords are left out.
        models: Names by kind, such as `{"stt": "whisper-mini-en"}`.
    """
    values = settings.model_dump()
    values["llm"].pop("api_key")
    # A URL may hold a password; its name among the models does not.
    values["llm"]["model"] = models.get("llm", "")
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": machine(),
        "versions": versions(),
        "models": dict(models),
        "settings": values,
    }


def machine() -> dict[str, Any]:
    """What this computer is: its system, processor, cores, Python."""
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The installed versions of the packages that a run's behaviour depends on."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
