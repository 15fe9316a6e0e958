"""Conversations on devices made of nothing, heard from outside.

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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
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
        heard = self.mic.between(play.start_ns, play.end_ns + NS_PER_S // 2)
        first, last = onset(heard.samples, RATE), ending(heard.samples, RATE)
        return None if first is None or last is None else (heard.at(first), heard.at(last))

    def reply_after(self, t_ns: int, until_ns: int) -> int | None:
        """When the loudspeaker's first audible sample came between these times (ns)."""
        heard = self.speaker.between(t_ns, until_ns)
        first = onset(heard.samples, RATE)
        return None if first is None else heard.at(first)


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


class JsonLines:
    """A file of JSON lines that grows: each is read once.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._lines: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """All of its lines so far."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._at += whole
        self._lines += map(json.loads, data[:whole].splitlines())
        return self._lines


class Studio:
    """The devices: `pulse`, a sound server. A context manager."""

    def __init__(self) -> None:
        self.pulse = Pulse()
        self._folder = tempfile.TemporaryDirectory(prefix="cascade-bench-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.pulse.close()
        self._folder.cleanup()

    def folder(self) -> Path:
        """A new folder, that goes when the studio does."""
        return Path(tempfile.mkdtemp(dir=self._folder.name))

    @contextmanager
    def recording(self) -> Iterator[list[Outside]]:
        """Record both devices while the context lasts; the list then has it."""
        outside: list[Outside] = []
        with self.pulse.record("cascade_mic") as mic, self.pulse.record() as speaker:
            yield outside
        outside.append(Outside(mic[0], speaker[0]))

    def silent(self, seconds: float) -> bool:
        """Whether the loudspeaker plays nothing for so long, from now on."""
        with self.pulse.record() as speaker:
            time.sleep(seconds)
        return onset(speaker[0].samples, RATE) is None

    def play(self, name: str, samples: Samples) -> Play:
        """Let the microphone hear a sound, 16 kHz; returns when it has."""
        path = Path(self._folder.name) / "sound.wav"
        with WavWriter(path, 16_000) as wav:
            wav.write(samples)
        start = time.monotonic_ns()
        self.pulse.play_into_mic(path)
        return Play(name, start, time.monotonic_ns())


class Program:
    """A program on a studio's default devices. A context manager; leaving it ends it, by Ctrl-C.

    Attributes:
        studio: Where it runs.
        folder: Where it runs too, and what it writes to stdout and stderr is.
        pid: Of its process.
        listening_s: From the command to "listening" on stderr (s).
    """

    def __init__(self, studio: Studio, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start it, in this environment and on the devices."""
        self.studio = studio
        self.folder = studio.folder()
        self.listening_s = 0.0
        self._name = " ".join(command)
        self._began = time.monotonic()
        with (self.folder / "events").open("wb") as out, (self.folder / "errors").open("wb") as err:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**env, **studio.pulse.devices},
                cwd=self.folder,
            )
        self.pid = self._child.pid

    def __enter__(self) -> Self:
        try:
            self.wait(lambda: b"listening" in (self.folder / "errors").read_bytes(), "listens")
        except BaseException:
            self.__exit__()
            raise
        self.listening_s = time.monotonic() - self._began
        return self

    def __exit__(self, *exc: object) -> None:
        self._child.send_signal(signal.SIGINT)
        try:
            self._child.wait(HANG_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def wait(self, done: Callable[[], object], what: str, seconds: float = HANG_S) -> None:
        """Return once `done()` is true.

        Raises:
            SystemExit: It never is, or the child has ended.
        """
        until = time.monotonic() + seconds
        while not done():
            if time.monotonic() > until or self._child.poll() is not None:
                said = (self.folder / "errors").read_text("utf-8")[-2000:]
                raise SystemExit(f"bench: {self._name} never {what}; it said:\n{said}")
            time.sleep(0.01)


class Talk(Program):
    """A running `cascade talk`; its folder has its trace, its conversation, its replies' sound."""

    def __init__(
        self,
        studio: Studio,
        *words: str,
        env: Mapping[str, str] | None = None,
        tree: Path = ROOT,
    ) -> None:
        """Start it, with the code of a tree."""
        command = [sys.executable, str(tree / "scripts/benches/overheard.py"), ".", "talk"]
        command += ["--json", "--echo", "off", *words, "--trace=trace", "--save=said"]
        more = {**models(), "PYTHONPATH": str(tree), **(env or {})}
        super().__init__(studio, command, environment(more))
        self._events, self._trace = (JsonLines(self.folder / name) for name in ("events", "trace"))

    def ask(self, name: str, samples: Samples, patience_s: float | None = None) -> Play:
        """Let it hear a question, and its reply to the end.

        Args:
            name: Of the question.
            samples: Its sound, 16 kHz.
            patience_s: When the answer has not ended after so long (s), go on without it. None: an
                answer there must be.
        """
        play = self.studio.play(name, samples)
        until = None if patience_s is None else time.monotonic() + patience_s
        self.wait(
            lambda: self.answered(play.start_ns) or (until and time.monotonic() > until),
            f"answered {name}",
        )
        time.sleep(PAUSE_S)
        return play

    def answered(self, since_ns: int) -> bool:
        """Whether the newest turn was ended after that time, and its reply was heard."""
        turns = self.turns()
        if not turns or (newest := turns[max(turns)]).get("committed", 0) < since_ns:
            return False
        done = [e for e in self.events() if e["type"] == "reply_done" and e["turn"] == max(turns)]
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
        turns: dict[int, dict[str, int]] = {}
        for line in self.trace():
            marks = turns.setdefault(line["turn"], {})
            marks[line["mark"]] = line["t_ns"]
            if line["mark"] == "discarded":
                for made in WORK:
                    marks.pop(made, None)
        return turns

    def events(self) -> list[dict[str, Any]]:
        """What `--json` printed so far."""
        return self._events.read()

    def trace(self) -> list[dict[str, Any]]:
        """The lines of the trace so far, without the first."""
        return self._trace.read()[1:]

    def loop_ms(self) -> npt.NDArray[np.float64] | None:
        """CPU time of the event loop's thread so far: all, the voice detector's, being woken (ms).

        None: an older build, which does not tell.
        """
        path = self.folder / "loop"
        return np.fromfile(path, np.int64) / 1e6 if path.exists() else None

    def said(self) -> list[dict[str, Any]]:
        """The conversation that it saved; only after its end."""
        return JsonLines(self.folder / "said").read()

    def sound_of(self, turn: int) -> tuple[Samples, int]:
        """What the voice made for a turn's reply, and its rate (Hz)."""
        [path] = self.folder.glob(f"reply-{turn}.*.raw")
        return np.fromfile(path, np.int16), int(path.name.split(".")[1])
