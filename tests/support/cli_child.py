"""The command line as a child process, as people run it: real engines, real files, real signals.

    outcome = run("talk", "--input", "a.wav", "--output", "b.wav", "--fast")
    assert outcome.code == 0

Every child has its own end: whoever is still running after `HANG_S` is killed, and that fails the
test. None sees this user's settings, or the network. What ends before anything begins needs no
process of its own (`run_here`): those are many, and each would import everything again.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from servers.llm_server import LlmServer, Script

from pipeline import cli
from pipeline.config import ENV_PREFIX
from pipeline.events import Samples
from pipeline.models.catalogue import Catalogue, Kind

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests" / "data" / "recordings"
CORPUS = ROOT / "tests" / "data" / "corpus"
QUICK = {"CASCADE_STT__MODEL": "whisper-mini-en", "CASCADE_TTS__VOICE": "en_US-mini"}
"""The embedded models, which take a tenth of the time. `REAL` are the defaults, for people."""

PATIENT = {"CASCADE_TURNS__PROVISIONAL_MS": "128"}
"""With the default the stop inside "time" is a pause, in which a model is asked that has
as many scripted answers as there are turns."""

REAL = {"CASCADE_STT__MODEL": "tiny.en", "CASCADE_TTS__VOICE": "en_US-joe-medium"}

HUMAN = Path(os.environ.get("RECORDINGS_OF_PEOPLE", ROOT.parent / "shared" / "human"))
"""Recordings of people, which are no part of the project."""

needs_people = pytest.mark.skipif(
    not HUMAN.is_dir(),
    reason=f"there are no recordings of people in {HUMAN}; RECORDINGS_OF_PEOPLE names their folder",
)

HANG_S = 120
"""A child that takes longer hangs. Far above what any takes, on a busy machine too."""


@dataclass(frozen=True)
class Outcome:
    """What a child left behind.

    Attributes:
        code: Exit status.
        out: All of stdout.
        err: All of stderr.
        growth: How much memory it took after it had first said something on stdout (bytes); 0
            where the system does not tell.
    """

    code: int
    out: str
    err: str
    growth: int = 0

    @property
    def events(self) -> list[dict[str, Any]]:
        """What `--json` printed: nothing else may be on stdout."""
        return json_lines(self.out)

    @property
    def errors(self) -> list[str]:
        """The lines of stderr that tell of something wrong, and their continuations."""
        lines = self.err.splitlines()
        first = next((i for i, line in enumerate(lines) if line.startswith("error: ")), len(lines))
        return lines[first:]

    @property
    def warnings(self) -> list[str]:
        """What was warned of, but for a busy machine: tests run beside each other."""
        lines = self.err.splitlines()
        return [
            line.removeprefix("warning: ")
            for line in lines
            if line.startswith("warning: ") and "too busy to keep real time" not in line
        ]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of a type."""
        return [event for event in self.events if event["type"] == kind]

    def texts(self) -> list[str]:
        """What was understood, turn by turn."""
        return [event["text"] for event in self.of("transcript") if event["final"]]


class Child:
    """A running `cascade`. `finish` waits for its end; meanwhile its output can be watched."""

    def __init__(
        self,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        """Start it.

        Args:
            args: The command line.
            env: Variables that are added to the environment.
            cwd: Folder to run in; the default holds no `cascade.toml`.
            before: Run in the child before it becomes Python (POSIX).
        """
        self._process = subprocess.Popen(
            cascade(*args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env or {}),
            cwd=cwd or RECORDINGS,
            preexec_fn=before,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._said = {"out": b"", "err": b""}
        self._memory: list[int] = []
        self._more = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe))
            for name, pipe in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def wait_for(self, text: str, stream: str = "err") -> None:
        """Return once the child has said `text` on `out` or `err`."""
        with self._more:
            found = self._more.wait_for(
                lambda: text.encode() in self._said[stream] or self.over, HANG_S
            )
        if not found or text.encode() not in self._said[stream]:
            self.finish(kill=True)
            raise AssertionError(f"never said {text!r}: {self._said}")

    def said(self, stream: str = "err") -> str:
        """What the child has said so far on `out` or `err`."""
        with self._more:
            return self._said[stream].decode()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def interrupt_twice(self) -> None:
        """Ctrl-C, with a launcher between that passes it on."""
        for _ in range(2):
            self.signal(signal.SIGINT)
            time.sleep(0.01)

    def finish(self, *, kill: bool = False) -> Outcome:
        """Wait for its end and tell what it left.

        Raises:
            AssertionError: It hangs, or has shown a traceback.
        """
        if kill:
            self._process.kill()
        try:
            code = self._process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = None
        for reader in self._readers:
            reader.join()
        out, err = (self._said[name].decode() for name in ("out", "err"))
        assert code is not None, f"it hangs; so far:\n{out}\n{err}"
        assert "Traceback" not in err, err
        growth = self._memory[-1] - self._memory[0] if self._memory else 0
        return Outcome(code, out, err, growth)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return not any(reader.is_alive() for reader in self._readers)

    def _read(self, name: str, pipe: IO[bytes]) -> None:
        while piece := os.read(pipe.fileno(), 65536):
            with self._more:
                self._said[name] += piece
                if name == "out":
                    self._memory += [size] if (size := memory(self.pid)) else []
                self._more.notify_all()
        pipe.close()
        with self._more:
            self._more.notify_all()


def cascade(*args: str | Path) -> list[str]:
    """The command line of a child."""
    return [sys.executable, "-m", "pipeline", *map(str, args)]


def run(
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
) -> Outcome:
    """Run `cascade` with these arguments to its end."""
    return Child(*args, env=env, cwd=cwd, before=before).finish()


def run_here(
    *args: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Outcome:
    """As `run`, in this process: for what is refused before anything begins."""
    ours, own = logging.getLogger("pipeline"), environment(env or {})
    level = ours.level
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        for name in os.environ.keys() - own.keys():
            patch.delenv(name)
        for name, value in own.items():
            patch.setenv(name, value)
        patch.chdir(cwd or RECORDINGS)
        patch.setattr(sys, "argv", ["cascade", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    ours.setLevel(level)
    assert isinstance(end.value.code, int)
    return Outcome(end.value.code, out.getvalue(), err.getvalue())


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with the quick models, and with none but our own code.

    Of Cascade's settings it has only those that the tests run with (`QUICK`, `PATIENT`), where
    `more` names no recogniser.
    """
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(ENV_PREFIX)}
    quiet = {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
    }
    own = {} if QUICK.keys() & more.keys() else {**QUICK, **PATIENT}
    return {**kept, **quiet, **own, **more}


def without_portaudio(folder: Path) -> dict[str, str]:
    """Variables of a machine where sounddevice does not find its library."""
    return with_stub(folder, "sounddevice", 'raise OSError("PortAudio library not found")\n')


def with_endless_loading(folder: Path) -> dict[str, str]:
    """Variables of a machine on which onnxruntime never comes to the end of loading a model."""
    session = "lambda *_, **__: time.sleep(1e6)"
    text = f"import onnxruntime, time\nonnxruntime.InferenceSession = {session}\n"
    return with_stub(folder, "sitecustomize", text)


def with_stub(folder: Path, module: str, text: str) -> dict[str, str]:
    """Variables with which a child finds a module of this text before any other of its name."""
    stub = folder / "stub"
    stub.mkdir()
    (stub / f"{module}.py").write_text(text)
    return {"PYTHONPATH": os.pathsep.join([str(stub), str(ROOT)])}


def limit_files(size: int) -> None:
    """Let no file grow above `size` bytes: in a child, what a full disk is (POSIX)."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def memory(pid: int, kind: str = "VmRSS") -> int:
    """How much memory a process has now, or another kind (bytes); 0: the system does not tell."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) * 1024
    return 0


def recording(number: int) -> Path:
    """The development recording of that number."""
    return RECORDINGS / f"dev_{number:02}.wav"


def part_of_corpus(folder: Path, *numbers: int) -> Path:
    """A corpus of some of the starter corpus's recordings."""
    folder.mkdir(exist_ok=True)
    head, *rows = (CORPUS / "corpus.tsv").read_text("utf-8").splitlines()
    kept = [rows[number - 1] for number in numbers]
    for row in kept:
        name = row.split("\t")[0]
        shutil.copyfile(CORPUS / name, folder / name)
    (folder / "corpus.tsv").write_text("\n".join([head, *kept]) + "\n", "utf-8")
    return folder


def require_models(*kinds: Kind) -> None:
    """Skip a test where the default models of these kinds were not fetched; in CI they were."""
    shelf = Catalogue.load()
    absent = [m.name for m in map(shelf.default, kinds) if shelf.state(m) != "on disk"]
    if absent and os.environ.get("CI") == "true":
        pytest.fail(f"not here: {', '.join(absent)}; scripts/setup fetches them")
    if absent:
        pytest.skip(f"not fetched: {', '.join(absent)}; scripts/setup does")


def read_wav(path: Path) -> tuple[npt.NDArray[np.int16], int]:
    """A WAV file's samples, shape (n, channels), and its rate (Hz); it must be whole."""
    data = path.read_bytes()
    assert data[:4] == b"RIFF"
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert int.from_bytes(data[40:44], "little") == len(data) - 44
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        blocks = [frame.to_ndarray() for frame in container.decode(stream)]
        channels = stream.channels
        rate = stream.rate
    samples = np.concatenate(blocks, axis=1) if blocks else np.zeros((1, 0), np.int16)
    return samples.astype(np.int16, copy=False).reshape(-1, channels), rate


def json_lines(text: str) -> list[dict[str, Any]]:
    """The objects of a text that has one a line, and ends with a line's end."""
    assert text.endswith("\n") or not text
    return [json.loads(line) for line in text.split("\n")[:-1]]


def read_trace(path: Path) -> tuple[dict[str, Any], dict[int, dict[str, int]]]:
    """A trace: its first line, and the marks (ns) of each turn."""
    first, *rest = json_lines(path.read_text("utf-8"))
    turns: dict[int, dict[str, int]] = {}
    for line in rest:
        turns.setdefault(line["turn"], {})[line["mark"]] = line["t_ns"]
    return first, turns


def read_conversation(path: Path) -> list[tuple[str, str]]:
    """A saved conversation: who, and what."""
    lines = json_lines(path.read_text("utf-8"))
    return [(line["role"], line["content"]) for line in lines]


@dataclass(frozen=True)
class Files:
    """What a conversation writes, in a folder of its own."""

    folder: Path

    @property
    def options(self) -> list[str]:
        """The options that have it written."""
        names = {"output": "out.wav", "record": "both.wav", "trace": "trace", "save": "said"}
        return [f"--{flag}={self.folder / name}" for flag, name in names.items()]

    @property
    def said(self) -> list[tuple[str, str]]:
        """Who said what."""
        return read_conversation(self.folder / "said")

    @property
    def turns(self) -> dict[int, dict[str, int]]:
        """The marks of each turn."""
        return read_trace(self.folder / "trace")[1]

    @property
    def out(self) -> tuple[Samples, int]:
        """The loudspeaker's sound and its rate (Hz)."""
        samples, rate = read_wav(self.folder / "out.wav")
        return samples[:, 0], rate

    @property
    def both(self) -> tuple[Samples, Samples, int]:
        """The recording: the user's side, the replies', and their rate (Hz)."""
        both, rate = read_wav(self.folder / "both.wav")
        return both[:, 0], both[:, 1], rate


def scripted(
    *answers: Script, otherwise: Script | None = None
) -> AbstractContextManager[LlmServer]:
    """The scripted language model, running. The first answer is to the warm-up.

    It shows its model the tools of a request.
    """
    server = LlmServer(*answers, otherwise=otherwise)
    server.counts = True
    return server.in_thread()
