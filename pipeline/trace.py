"""The trace: every mark of every turn, as JSON lines, and where the time of a turn went.

The first line describes the run (machine, versions, models, settings); each later line is one mark,
`{"session", "turn", "generation", "mark", "t_ns", …}`, on the monotonic clock. All latencies come
from the marks alone.

Voice-to-voice latency runs from the last voiced sample of the user's speech (`speech.end`, as
captured) to the first audible sample of the reply at the device (`heard.first`). A `Timeline` cuts
it into parts that follow each other and sum to it exactly, in nanoseconds.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, Self

from pipeline.config import Settings, is_secret, without_password
from pipeline.errors import BadInput

VERSION = 1
"""Version of the format; a reader refuses a larger one."""

MARKS = (
    "speech.start",
    "speech.end",
    "vad.stop",
    "provisional",
    "stt.start",
    "stt.final",
    "llm.request",
    "llm.first_token",
    "clause.first",
    "tts.start",
    "tts.first_audio",
    "committed",
    "model.start",
    "model.first_text",
    "model.first_audio",
    "playout.first",
    "heard.first",
    "llm.last_token",
    "tts.last_audio",
    "playout.last",
    "heard.last",
    "discarded",
    "interrupted",
    "failed",
)
"""Every mark a turn can have. Which come before which depends on the mode: without speculation
`committed` precedes `stt.start`."""

DETAILS = ("token", "clause", "tts.clause", "tts.piece", "tool.call", "tool.result")
"""What a turn may have many of, for the eye only: a piece of text from the model, a clause cut from
it, a clause that the voice begins, a piece of its sound, a call of a tool, and all that it gave."""

WORK = (
    *MARKS[MARKS.index("stt.start") : MARKS.index("committed")],
    *("llm.last_token", "tts.last_audio"),
)
"""The marks of one attempt at a reply; all others are the turn's."""

STAGES = (
    ("stt", "stt.start", "stt.final"),
    ("llm_first_token", "llm.request", "llm.first_token"),
    ("first_clause", "llm.first_token", "clause.first"),
    ("tts_first_audio", "tts.start", "tts.first_audio"),
    ("device", "playout.first", "heard.first"),
)
"""The parts that a stage owns: name, first mark, last mark, in the order in which they happen.

A stage begins when it is asked for, and not when it gets to compute: who waits for a recogniser
that is busy with a partial transcript, or for a model that reads ahead, judges whether the user has
finished, or has yet to let go of an answer that was thrown away, waits for that stage."""

PARTS = ("endpoint", *(name for name, _, _ in STAGES), "own")
"""All parts, in order. `endpoint` is the wait for the end of the turn; `own` is what no stage owns:
our code, and gaps between two stages."""

DIRECT_STAGES = (
    ("model", "committed", "model.first_audio"),
    ("device", "playout.first", "heard.first"),
)
"""The stages of a speech-to-speech model, of which nothing more is known from outside."""

DIRECT_PARTS = ("endpoint", *(name for name, _, _ in DIRECT_STAGES), "own")
"""All parts of such a turn."""


def stages_of(marks: Collection[str]) -> tuple[tuple[str, str, str], ...]:
    """The stages of a turn with these marks: a cascade's, or a speech-to-speech model's."""
    return DIRECT_STAGES if "model.first_audio" in marks else STAGES


MarkLine = Mapping[str, Any]
"""A mark as a line of the trace has it: `turn`, `generation`, `mark`, `t_ns`, and more."""

PACKAGES = (
    "voice-cascade",
    "faster-whisper",
    "ctranslate2",
    "onnxruntime",
    "httpx2",
    "openai",
    "piper-tts",
    "xllamacpp",
    "webrtcvad-wheels",
    "sounddevice",
    "numpy",
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timeline:
    """A turn's latency in parts.

    Attributes:
        total_ns: Voice-to-voice latency.
        parts: Nanoseconds by part, in the order of `PARTS`, or of `DIRECT_PARTS` where the marks
            are a speech-to-speech model's; they sum to `total_ns` exactly. None is negative, save
            where the reply was heard before the user had finished: then `total_ns` is negative,
            and all of it is `endpoint`'s, which took the turn for over too early.
        hidden: Nanoseconds of each stage's work done before the commit, so that nobody waited.
        stretches: Which part held the turn up, and when: part, from, to (ns from the end of
            speech), one after the other. Only `own` has more than one.
    """

    total_ns: int
    parts: Mapping[str, int]
    hidden: Mapping[str, int]
    stretches: tuple[tuple[str, int, int], ...]

    @classmethod
    def from_marks(cls, marks: Mapping[str, int]) -> Timeline | None:
        """The timeline of a turn with these marks (ns), or None if no reply was heard in it."""
        if not {"speech.end", "committed", "heard.first"} <= marks.keys():
            return None
        start, end = marks["speech.end"], marks["heard.first"]
        cursor = committed = min(max(marks["committed"], start), end)
        found = [("endpoint", start, committed)]
        hidden: dict[str, int] = {}
        for name, first, last in stages_of(marks):
            if first not in marks or last not in marks:
                continue
            hidden[name] = max(0, min(marks[last], committed) - marks[first])
            begin = min(max(marks[first], cursor), end)
            finish = min(max(marks[last], begin), end)
            found += [("own", cursor, begin), (name, begin, finish)]
            cursor = finish
        found.append(("own", cursor, end))
        parts = dict.fromkeys(DIRECT_PARTS if stages_of(marks) is DIRECT_STAGES else PARTS, 0)
        for name, begin, finish in found:
            parts[name] += finish - begin
        stretches = ((name, a - start, b - start) for name, a, b in found if a != b)
        return cls(end - start, parts, hidden, tuple(stretches))


class Trace:
    """Takes the marks of a session; keeps the last turns', writes all to a file if wanted.

    Attributes:
        session: A name for the run, unlike any other's.
        failed: The file could not be written to its end; the rest of the marks is kept nowhere.
    """

    kept_turns: float = 4
    """Turns whose marks are kept in memory."""

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
        self._lines: SimpleQueue[MarkLine | Future[None] | None] = SimpleQueue()
        self._writer: threading.Thread | None = None
        if file is not None:
            try:
                # By lines: a crash leaves whole ones.
                opened = file.open("w", encoding="utf-8", buffering=1)
            except OSError as error:
                raise BadInput(f"{file}: the trace cannot be written: {error.strerror}") from None
            self._writer = threading.Thread(
                target=self._write_to, args=(opened,), name="trace", daemon=True
            )
            self._writer.start()
            self._write({"trace": VERSION, "session": self.session, **(describe or {})})

    def mark(
        self, turn: int, name: str, t_ns: int, *, generation: int | None = None, **more: Any
    ) -> None:
        """Note that `name` (one of `MARKS`) happened in a turn at `t_ns`.

        One of `DETAILS` goes to the file alone.

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
        for old in [t for t in self._turns if t <= turn - self.kept_turns]:
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

    def written(self) -> Future[None]:
        """Done when all marks so far are in the file, or the disk has refused them."""
        done: Future[None] = Future()
        if self._writer is not None:
            self._lines.put(done)
        else:
            done.set_result(None)
        return done

    def _write(self, line: MarkLine) -> None:
        if self._writer is not None:
            self._lines.put(line)

    def _write_to(self, file: IO[str]) -> None:
        """Write the lines, in a thread of its own: the loop that marks never waits for a disk.

        What was marked is written as soon as the thread gets to run: see `written`.
        """
        item: MarkLine | Future[None] | None = {}
        try:
            with contextlib.closing(file):
                while (item := self._lines.get()) is not None:
                    if isinstance(item, Future):
                        item.set_result(None)
                    else:
                        file.write(json.dumps(item) + "\n")
        except OSError as error:
            log.error("%s: the trace ends here: %s", file.name, error.strerror)
            self.failed = True
            while item is not None:
                item = self._lines.get()
                if isinstance(item, Future):
                    item.set_result(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._lines.put(None)
            self._writer.join()
            self._writer = None


def description(settings: Settings, models: Mapping[str, str]) -> dict[str, Any]:
    """What the first line of a trace says of a run: machine, versions, models, settings.

    Args:
        settings: The run's; keys and passwords are left out.
        models: Names by kind, such as `{"stt": "whisper-mini-en"}`.
    """
    dumped = settings.model_dump(exclude={"mcp"})
    values = {
        name: {
            key: without_password(value) if key == "url" else value
            for key, value in section.items()
            if not is_secret(f"{name}.{key}")
        }
        for name, section in dumped.items()
    }
    # A URL may hold a password; its name among the models does not.
    values["llm"]["model"] = models.get("llm", "")
    values["mcp"] = {label: {} for label in settings.mcp}  # which there are; the rest may be secret
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
