"""A private PulseAudio with a microphone and a loudspeaker made of nothing, for tests with devices.

It shares nothing with a sound server that may be running: its own socket, its own home. Two null
sinks stand for the hardware: what is played into `cascade_mic` is what the default microphone
hears, and what the default loudspeaker plays can be recorded from `cascade_speaker`.

PortAudio looks for devices once per process, so whoever uses them is a child process: `Pulse.run`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clock import NS_PER_S
from pipeline.events import Samples
from support.sound import stretches

RATE = 48000
PROGRAMS = ("pulseaudio", "pactl", "pacat", "paplay", "parec")
PACKAGES = "pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"
RAW = ["--raw", "--format=s16le", "--channels=1", f"--rate={RATE}", "--latency-msec=10"]
ASOUNDRC = "pcm.!default { type pulse }\nctl.!default { type pulse }\n"
CHECK = """
    import json, sounddevice
    print(json.dumps([device["name"] for device in sounddevice.query_devices()]))
"""


class Unavailable(Exception):
    """These tests cannot run on this machine, and why."""


@dataclass(frozen=True)
class Heard:
    """What a sink played: int16 mono at `RATE`, and when its first sample was heard (ns)."""

    samples: Samples
    start_ns: int

    def at(self, sample: int) -> int:
        """When a sample of it was heard (ns)."""
        return self.start_ns + sample * NS_PER_S // RATE

    def index(self, t_ns: int) -> int:
        """Which sample was heard at that time; the nearest end where none was."""
        return min(max(0, (t_ns - self.start_ns) * RATE // NS_PER_S), len(self.samples))

    def between(self, start_ns: int, end_ns: int) -> Heard:
        """What was heard between two times."""
        first, last = self.index(start_ns), self.index(end_ns)
        return Heard(self.samples[first:last], self.at(first))

    def stretches(self, gap_s: float) -> list[tuple[int, int]]:
        """Beginnings and ends of sound in it (ns), where silences of `gap_s` part them."""
        return [
            (self.at(one.start), self.at(one.stop - 1))
            for one in stretches(self.samples, RATE, gap_s)
        ]


class Pulse:
    """The sound server. `close` ends it.

    Attributes:
        devices: The variables that make its devices the system's.

    Raises:
        Unavailable: A program or a library is missing.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise Unavailable("a private PulseAudio runs on Linux only")
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise Unavailable(f"{', '.join(missing)} missing: sudo apt-get install {PACKAGES}")
        self._home = Path(tempfile.mkdtemp(prefix="cascade-pulse-"))
        (self._home / ".asoundrc").write_text(ASOUNDRC)
        socket = self._home / "native"
        self.devices = {
            "HOME": str(self._home),
            "XDG_RUNTIME_DIR": str(self._home),
            "XDG_CONFIG_HOME": str(self._home),
            "PULSE_SERVER": f"unix:{socket}",
        }
        self.env = os.environ | self.devices | {"PYTHONPATH": str(Path(__file__).parents[2])}
        self.env.pop("PULSE_LATENCY_MSEC", None)
        self._children: list[subprocess.Popen[bytes]] = []
        self.server = self._start(
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--exit-idle-time=-1",
            "--use-pid-file=no",
            "--realtime=no",
            "--high-priority=no",
            "--disable-shm=yes",
            "--log-level=error",
            f"--load=module-native-protocol-unix socket={socket} auth-anonymous=1",
            f"--load=module-null-sink sink_name=cascade_speaker rate={RATE}",
            f"--load=module-null-sink sink_name=cascade_mic rate={RATE}",
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            command, env=self.env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._children.append(child)
        return child

    def _wait(self) -> None:
        for _ in range(100):
            if self._control("info") == 0:
                break
            time.sleep(0.1)
        else:
            raise Unavailable("pulseaudio does not start; run it by hand to see why")
        self._control("set-default-sink", "cascade_speaker")
        self._control("set-default-source", "cascade_mic.monitor")
        for sink in ("cascade_mic", "cascade_speaker"):
            # A null sink that nobody plays to falls into steps of 2 s; hardware does not.
            self._start("pacat", f"--device={sink}", *RAW, "/dev/zero")
        if "default" not in self.run(CHECK):
            raise Unavailable(f"PortAudio sees no PulseAudio: sudo apt-get install {PACKAGES}")

    def _control(self, *words: str) -> int:
        return subprocess.run(
            ["pactl", *words], env=self.env, capture_output=True, check=False
        ).returncode

    def close(self) -> None:
        """End the server and whatever was started with it."""
        for child in reversed(self._children):
            child.kill()
            child.wait()
        shutil.rmtree(self._home, ignore_errors=True)

    def start_child(self, code: str, *args: str) -> subprocess.Popen[str]:
        """Run Python code in a process of its own, with these devices as the system's."""
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *args],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *args: str) -> Any:
        """As `start_child`, and wait; returns the last line that it prints, read as JSON."""
        return result(self.start_child(code, *args))

    def play_into_mic(self, wav: Path) -> None:
        """Let the microphone hear a file; returns when it has."""
        # A buffer that a busy machine does not tear; `pacat` above keeps the sink in small steps.
        command = ["paplay", "--device=cascade_mic", "--latency-msec=250", str(wav)]
        subprocess.run(command, env=self.env, check=True)

    def make_echo(self, latency_ms: int, volume_db: float) -> None:
        """From now on the microphone hears the loudspeaker too, some time later."""
        ends = ("source=cascade_speaker.monitor", "sink=cascade_mic", "source_dont_move=true")
        name = "sink_input_properties=media.name=room"
        loaded = self._control(
            "load-module", "module-loopback", *ends, name, f"latency_msec={latency_ms}"
        )
        listed = subprocess.run(
            ["pactl", "--format=json", "list", "sink-inputs"],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        inputs = json.loads(listed.stdout)
        [room] = [i["index"] for i in inputs if i["properties"].get("media.name") == "room"]
        if loaded or self._control("set-sink-input-volume", str(room), f"{volume_db}dB"):
            raise AssertionError("PulseAudio makes no echo")

    @contextmanager
    def record(self, sink: str = "cascade_speaker") -> Iterator[list[Heard]]:
        """Record what a sink plays while the context lasts; the list then has it."""
        child = subprocess.Popen(
            ["parec", f"--device={sink}.monitor", *RAW], env=self.env, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        pipe = child.stdout.fileno()
        pieces: list[tuple[int, bytes]] = []

        def read() -> None:
            while data := os.read(pipe, 1 << 16):
                pieces.append((time.monotonic_ns(), data))

        reader = threading.Thread(target=read)
        reader.start()
        heard: list[Heard] = []
        try:
            while not pieces:
                time.sleep(0.01)
            yield heard
            time.sleep(0.3)  # what is on its way
        finally:
            child.kill()
            reader.join()
            child.stdout.close()
            child.wait()
        total, starts = 0, []
        for t_ns, data in pieces:
            total += len(data) // 2
            starts.append(t_ns - total * NS_PER_S // RATE)
        # The piece that was under way for the shortest time tells best when the first one began.
        data = b"".join(data for _, data in pieces)
        heard.append(Heard(np.frombuffer(data[: len(data) // 2 * 2], np.int16), min(starts)))


def result(child: subprocess.Popen[str]) -> Any:
    """Wait for a child and return the last line that it printed, read as JSON."""
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return json.loads(out.strip().splitlines()[-1])
