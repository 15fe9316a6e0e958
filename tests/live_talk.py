"""`cascade talk` as a child process, followed from outside while it runs.

Its events come from `--json` as they are printed, so that a test waits for what it needs instead of
sleeping.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HANG_GUARD_S = 60.0
"""What has not happened by then never will."""

LOOK_S = 0.02

Line = dict[str, Any]


@dataclass
class LiveTalk:
    """A conversation that is going on.

    Attributes:
        folder: Where it runs. It traces to `trace.jsonl`, records to `both.wav` and saves to
            `said.jsonl` there.
        events: What it printed so far.
        told: Its lines for people so far.
    """

    process: subprocess.Popen[str]
    folder: Path
    events: list[Line] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    _readers: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        for read in (self._read_events, self._read_told):
            self._readers.append(threading.Thread(target=read, daemon=True))
            self._readers[-1].start()

    def wait(self, kind: str, number: int = 1, **fields: Any) -> Line:
        """The event of this type and with these fields, as soon as there are `number` of them."""

        def found() -> list[Line]:
            wanted = {"type": kind, **fields}.items()
            return [event for event in list(self.events) if wanted <= event.items()]

        self._until(lambda: len(found()) >= number, f"{kind} {fields}")
        return found()[number - 1]

    def wait_mark(self, turn: int, name: str) -> int:
        """The time of a mark (ns), as soon as it is made."""
        self._until(lambda: name in self.marks(turn), f"{name} in turn {turn}")
        return self.marks(turn)[name]

    def wait_told(self, words: str) -> str:
        """The line for people that has these words."""
        self._until(lambda: any(words in line for line in list(self.told)), words)
        return next(line for line in self.told if words in line)

    def end(self, signal: int | None = None) -> int:
        """Wait for the end, after sending a signal if there is one; returns the exit code."""
        if signal is not None:
            self.process.send_signal(signal)
        code = self.process.wait(HANG_GUARD_S)
        for reader in self._readers:
            reader.join(HANG_GUARD_S)
        return code

    def marks(self, turn: int) -> dict[str, int]:
        """The marks of a turn so far, by name (ns)."""
        lines = read_lines(self.folder / "trace.jsonl")[1:]
        return {line["mark"]: line["t_ns"] for line in lines if line["turn"] == turn}

    def written(self, turn: int) -> str:
        """What the model has written in a turn so far."""
        lines = [e for e in list(self.events) if e["type"] == "reply_text" and e["turn"] == turn]
        return "".join(line["delta"] for line in lines)

    @property
    def saved(self) -> list[tuple[str, str]]:
        """The saved conversation: roles and words."""
        return [(m["role"], m["content"]) for m in read_lines(self.folder / "said.jsonl")]

    def _until(self, true: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + HANG_GUARD_S
        while not true():
            over = not any(reader.is_alive() for reader in self._readers)
            if (over and not true()) or time.monotonic() > until:
                raise AssertionError(
                    f"no {what}\n" + "\n".join([*self.told, *map(str, self.events)])
                )
            time.sleep(LOOK_S)

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def _read_told(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.told.append(line.rstrip())


@contextmanager
def talking(env: Mapping[str, str], folder: Path, *options: str) -> Iterator[LiveTalk]:
    """A conversation with these options; it is killed if it has not ended by the end."""
    files = ["--trace=trace.jsonl", "--record=both.wav", "--save=said.jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "talk", "--json", *files, *options],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        yield LiveTalk(process, folder)
    finally:
        process.kill()
        process.wait()


def read_lines(file: Path) -> list[Line]:
    """The whole lines of a file of JSON lines; none if it does not exist yet."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
