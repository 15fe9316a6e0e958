"""Conversations on devices made of nothing, heard from outside: for `turns.py`.

What the microphone hears and what the loudspeaker plays is recorded at the sound server, on the
clock that `cascade`'s trace uses too, so that what it says of itself can be compared. The sound
server is the tests' (`tests` is on the path: see `scripts/bench`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from support.cli_child import REAL, environment
from support.pulse import RATE, Heard, Pulse

from pipeline.audio.audible import ending, onset
from pipeline.audio.files import WavWriter
from pipeline.clock import NS_PER_S
from pipeline.events import Samples
from pipeline.trace import WORK

ROOT = Path(__file__).resolve().parents[2]
HANG_S = 60
"""A conversation in which so long nothing happens that has to is given up."""

PAUSE_S = 0.4
"""Silence between the end of a reply and what is played next."""


@dataclass(frozen=True, slots=True)
class Play:
    """Something that was played into the microphone: what, and between which times (ns)."""

    name: str
    start_ns: int
    end_ns: int


@dataclass
class Outside:
    """What was heard at the sound server: microphone and loudspeaker."""

    mic: Heard
    speaker: Heard

    def sound_of(self, play: Play) -> tuple[int, int] | None:
        """When the first and the last audible sample of it reached the microphone (ns)."""
        start, end = play.start_ns, play.end_ns + NS_PER_S // 2
        heard = cut(self.mic, start, end)
        first, last = onset(heard, RATE), ending(heard, RATE)
        if first is None or last is None:
            return None
        at = self.mic.start_ns + index(self.mic, start) * NS_PER_S // RATE
        return at + first * NS_PER_S // RATE, at + last * NS_PER_S // RATE

    def reply_after(self, t_ns: int, until_ns: int) -> int | None:
        """When the loudspeaker's first audible sample came between these times (ns)."""
        first = onset(cut(self.speaker, t_ns, until_ns), RATE)
        if first is None:
            return None
        at = index(self.speaker, t_ns)
        return self.speaker.start_ns + (at + first) * NS_PER_S // RATE


def models() -> dict[str, str]:
    """The variables that name the models: this process's own, else those that are the defaults."""
    return {name: os.environ.get(name, default) for name, default in REAL.items()}


def cpu_s(pid: int) -> tuple[float, float]:
    """CPU time that a process has taken so far, and of it the thread of its event loop (s)."""
    times = []
    for stat in (f"/proc/{pid}/stat", f"/proc/{pid}/task/{pid}/stat"):
        fields = Path(stat).read_text("utf-8").rpartition(")")[2].split()
        times.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return times[0], times[1]


def index(heard: Heard, t_ns: int) -> int:
    """Which sample of a recording was heard at that time."""
    return min(max(0, (t_ns - heard.start_ns) * RATE // NS_PER_S), len(heard.samples))


def cut(heard: Heard, start_ns: int, end_ns: int) -> Samples:
    """What was heard between two times."""
    return heard.samples[index(heard, start_ns) : index(heard, end_ns)]


class Studio:
    """The devices. A context manager."""

    def __init__(self) -> None:
        self._pulse = Pulse()
        self._folder = tempfile.TemporaryDirectory(prefix="cascade-bench-")
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pulse.close()
        self._folder.cleanup()

    @property
    def devices(self) -> dict[str, str]:
        """The variables that make these devices the system's."""
        own = self._pulse.env.items()
        return {name: value for name, value in own if os.environ.get(name) != value}

    def folder(self) -> Path:
        """A new folder, that goes when the studio does."""
        self._number += 1
        folder = Path(self._folder.name) / str(self._number)
        folder.mkdir()
        return folder

    @contextmanager
    def recording(self) -> Iterator[list[Outside]]:
        """Record both devices while the context lasts; the list then has it."""
        outside: list[Outside] = []
        with self._pulse.record("cascade_mic") as mic, self._pulse.record() as speaker:
            yield outside
        outside.append(Outside(mic[0], speaker[0]))

    def silent(self, seconds: float) -> bool:
        """Whether the loudspeaker plays nothing for so long, from now on."""
        with self._pulse.record() as speaker:
            time.sleep(seconds)
        return onset(speaker[0].samples, RATE) is None

    def play(self, name: str, samples: Samples, rate: int = 16_000) -> Play:
        """Let the microphone hear a sound; returns when it has."""
        path = Path(self._folder.name) / "sound.wav"
        with WavWriter(path, rate) as wav:
            wav.write(samples)
        start = time.monotonic_ns()
        self._pulse.play_into_mic(path)
        return Play(name, start, time.monotonic_ns())


class Talk:
    """A running `cascade talk` on a studio's devices. A context manager; leaving it ends it.

    Attributes:
        events: What `--json` printed so far, save transcripts that are not final.
        folder: Where its trace, its conversation and its replies' sound are.
        pid: Of its process.
        listening_s: From the command to "listening" (s).
    """

    def __init__(
        self,
        studio: Studio,
        *words: str,
        env: Mapping[str, str] | None = None,
        tree: Path = ROOT,
    ) -> None:
        """Start it, with the code of a tree."""
        self.studio = studio
        self.events: list[dict[str, Any]] = []
        self.folder = studio.folder()
        files = (f"--trace={self.folder / 'trace'}", f"--save={self.folder / 'said'}")
        command = [
            sys.executable,
            str(tree / "scripts/benches/overheard.py"),
            str(self.folder),
            "talk",
        ]
        self._errors = (self.folder / "errors").open("wb")
        self.listening_s = 0.0
        self._began = time.monotonic()
        self._child = subprocess.Popen(
            [*command, "--json", "--echo", "off", *files, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment({**models(), **studio.devices, "PYTHONPATH": str(tree), **(env or {})}),
            cwd=self.folder,
        )
        self.pid = self._child.pid
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._lines: list[dict[str, Any]] = []
        self._trace_at = 0

    def __enter__(self) -> Self:
        try:
            self.wait(lambda: b"listening" in (self.folder / "errors").read_bytes(), "listens")
        except BaseException:
            self.__exit__()
            raise
        self.listening_s = time.monotonic() - self._began
        return self

    def __exit__(self, *exc: object) -> None:
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGINT)
        try:
            self._child.wait(HANG_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join()
        self._errors.close()

    def wait(self, done: Callable[[], object], what: str, seconds: float = HANG_S) -> None:
        """Return once `done()` is true.

        Raises:
            SystemExit: It never is, or the child has ended.
        """
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until or self._child.poll() is not None:
                said = (self.folder / "errors").read_text("utf-8")[-2000:]
                raise SystemExit(f"bench: cascade talk never {what}; it said:\n{said}")
            time.sleep(0.01)

    def play(self, name: str, samples: Samples, rate: int = 16_000) -> Play:
        """Let it hear a sound."""
        return self.studio.play(name, samples, rate)

    def ask(self, name: str, samples: Samples) -> Play:
        """Let it hear a question, and its reply to the end."""
        play = self.play(name, samples)
        self.wait(lambda: self.answered(play.start_ns), f"answered {name}")
        time.sleep(PAUSE_S)
        return play

    def answered(self, since_ns: int) -> bool:
        """Whether the newest turn was ended after that time, and its reply was heard."""
        turns = self.turns()
        if not turns or (newest := turns[max(turns)]).get("committed", 0) < since_ns:
            return False
        done = [e for e in self.events if e["type"] == "reply_done" and e["turn"] == max(turns)]
        return bool(done) and (done[0]["status"] == "skipped" or "playout.last" in newest)

    def speaking(self) -> int | None:
        """The turn whose reply is being heard now."""
        turns = self.turns()
        for turn in sorted(turns, reverse=True):
            marks = turns[turn]
            if "heard.first" in marks:
                over = marks.keys() & {"playout.last", "interrupted"}
                return None if over else turn
        return None

    def turns(self) -> dict[int, dict[str, int]]:
        """The marks of each turn so far (ns); what was thrown away is left out."""
        return marks_of(self.trace())

    def trace(self) -> list[dict[str, Any]]:
        """The lines of the trace so far, without the first."""
        path = self.folder / "trace"
        with path.open("rb") as file:
            file.seek(self._trace_at)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._trace_at += whole
        lines = [json.loads(line) for line in data[:whole].splitlines()]
        self._lines += [line for line in lines if "mark" in line]
        return self._lines

    def said(self) -> list[dict[str, Any]]:
        """The conversation that it saved; only after its end."""
        text = (self.folder / "said").read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def sound_of(self, turn: int) -> tuple[Samples, int]:
        """What the voice made for a turn's reply, and its rate (Hz)."""
        [path] = self.folder.glob(f"reply-{turn}.*.raw")
        return np.fromfile(path, np.int16), int(path.name.split(".")[1])

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            event = json.loads(line)
            if event["type"] != "transcript" or event["final"]:
                self.events.append(event)


def marks_of(lines: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, int]]:
    """The marks of each turn (ns), without those of attempts that were thrown away."""
    turns: dict[int, dict[str, int]] = {}
    for line in lines:
        marks = turns.setdefault(line["turn"], {})
        marks[line["mark"]] = line["t_ns"]
        if line["mark"] == "discarded":
            for made in WORK:
                marks.pop(made, None)
    return turns
