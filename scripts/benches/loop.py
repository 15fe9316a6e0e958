"""What the loop costs on this machine: `scripts/bench`.

Everything is measured in one run, with the real engines and the default models
(`CASCADE_STT__MODEL` and `CASCADE_TTS__VOICE` name others). Variants take turns, so that a machine
whose speed drifts does the same to all; figures are medians with their range.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from figures import show, show_machine
from rich.console import Console

from pipeline.audio.files import WavWriter, read_audio
from pipeline.audio.line import Ends
from pipeline.config import Settings, load
from pipeline.conversation.cascade import Cascade
from pipeline.engines.llm import Used
from pipeline.engines.local import LocalEngines
from pipeline.engines.vad import VoiceDetector
from pipeline.events import Event, Samples, Usage
from pipeline.models.catalogue import Catalogue
from pipeline.talk import Driver
from pipeline.terminal import Display
from pipeline.trace import Trace

# isort: split
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "tests/data/recordings"
RATE = 16_000
QUESTIONS = ("dev_11.wav", "dev_14.wav", "dev_02.wav", "dev_29.wav", "dev_08.wav", "dev_20.wav")
SENTENCES = (
    "The train to Madrid leaves at nine in the morning.",
    "A tomato is red, and sometimes yellow or green.",
    "I think it is the most useful thing that people have ever built.",
)


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work()` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def start_up(rounds: int) -> None:
    """Time from the command to "listening", with the files in the page cache and without."""
    print("start-up, from the command to listening")
    cold = Path("/proc/sys/vm/drop_caches")
    with tempfile.TemporaryDirectory() as folder:
        silence = Path(folder) / "silence.wav"
        with WavWriter(silence, RATE) as wav:
            wav.write(np.zeros(RATE // 10, np.int16))
        command = [
            *(sys.executable, "-m", "pipeline", "talk", "--input", str(silence)),
            *("--output", str(Path(folder) / "out.wav")),
        ]
        if os.access(cold, os.W_OK):
            values = []
            for _ in range(rounds):
                os.sync()
                cold.write_text("3")
                values.append(listening_after(command))
            show("cold (page cache dropped)", values, "s")
        else:
            print("  cold: not measured, dropping the page cache needs root")
        show("warm", [listening_after(command) for _ in range(rounds)], "s")


def listening_after(command: list[str]) -> float:
    """Seconds until the command says that it listens."""
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.strip() == "listening":
                took = time.perf_counter() - began
                child.communicate()
                return took
    raise SystemExit(f"bench: {' '.join(command)} did not begin to listen")


def recordings() -> list[Samples]:
    """The development recordings, 16 kHz."""
    with (RECORDINGS / "dev.tsv").open(encoding="utf-8") as table:
        names = [row["file"] for row in csv.DictReader(table, delimiter="\t")]
    return [np.concatenate([*read_audio(RECORDINGS / name, RATE)]) for name in names]


async def engines_alone(engines: LocalEngines, settings: Settings) -> None:
    """Real-time factors of VAD, STT and TTS; the model's first token and rate."""
    print("engines, one at a time")
    audio = recordings()
    detector = VoiceDetector(settings.vad)
    detector.warm()
    factors = [timed(lambda a=a: detector.push(a)) / (len(a) / RATE) * 1e3 for a in audio]
    show("VAD, real-time factor × 1000", factors, "")
    milliseconds, factors = [], []
    for samples in audio:
        heard = samples.astype(np.float32) / np.float32(32768)
        began = time.perf_counter()
        await engines.transcribe(heard, None)
        took = time.perf_counter() - began
        milliseconds.append(took * 1e3)
        factors.append(took / (len(samples) / RATE) * 1e3)
    show("STT, an utterance", milliseconds, "ms")
    show("STT, real-time factor × 1000", factors, "")
    firsts, factors = [], []
    for sentence in SENTENCES * 4:
        began = time.perf_counter()
        first, count = 0.0, 0
        async with contextlib.aclosing(engines.voice.speak(sentence)) as pieces:
            async for piece in pieces:
                first = first or time.perf_counter() - began
                count += len(piece)
        factors.append((time.perf_counter() - began) / (count / engines.voice.rate) * 1e3)
        firsts.append(first * 1e3)
    show("TTS, first audio of a sentence", firsts, "ms")
    show("TTS, real-time factor × 1000", factors, "")
    firsts, rates = [], []
    for number in range(10):
        first, rate, _ = await one_reply(engines, settings, f"What is {number} plus nine?")
        firsts.append(first * 1e3)
        rates.append(rate)
    show("LLM, first token of a new question", firsts, "ms")
    show("LLM, tokens", rates, "per second")


async def one_reply(
    engines: LocalEngines, settings: Settings, question: str
) -> tuple[float, float, int]:
    """Seconds to the first token, tokens per second after it, tokens."""
    messages = [
        {"role": "system", "content": settings.llm.instructions},
        {"role": "user", "content": question},
    ]
    began = time.perf_counter()
    first = last = began
    tokens = 0
    async with contextlib.aclosing(engines.model.stream(messages)) as deltas:
        async for delta in deltas:
            if isinstance(delta, Used):
                tokens = delta.output_tokens
                continue
            last = time.perf_counter()
            first = last if first == began else first
    return first - began, (tokens - 1) / max(last - first, 1e-9), tokens


def voice_to_voice(rounds: int) -> None:
    """The loop in its three modes, same recordings, in turn: `cascade profile` measures it."""
    print("voice-to-voice, from the last voiced sample to the first audible one of the reply")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline", "profile"]
        command += [str(RECORDINGS / name) for name in QUESTIONS]
        command += ["--mode", "speculative,overlapped,sequential", "--repeat", str(rounds)]
        environ = {**os.environ, "CASCADE_LLM__MAX_TOKENS": "60"}
        subprocess.run([*command, "--out", folder], check=True, cwd=ROOT, env=environ)


@dataclass(frozen=True)
class Cost:
    """What a conversation took: CPU of the event loop's thread (s), time (s), tokens written."""

    cpu_s: float
    wall_s: float
    tokens: int


class Counting:
    """A session that passes everything on, and adds up the tokens it sees."""

    def __init__(self, session: Cascade) -> None:
        self.tokens = 0
        self._session = session
        self.send, self.heard = session.send, session.heard
        self.tool_result = session.tool_result

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._session.__aexit__(*exc)

    async def events(self) -> AsyncGenerator[Event, None]:
        """The session's events, counted."""
        async for event in self._session.events():
            if isinstance(event, Usage):
                self.tokens += event.output_tokens
            yield event


async def conversation(
    engines: LocalEngines, settings: Settings, recording: Path, folder: Path
) -> Cost:
    """Hold one turn in this process, as `cascade talk` does, and count what it costs."""
    ends = Ends(settings.audio, [str(recording)], str(folder / "reply.wav"))
    trace = Trace()
    session = Counting(Cascade(engines, settings, trace, ends.clock))
    with Display(Console(file=io.StringIO())) as display:
        await ends.find()
        driver = Driver(session, ends, display, trace, as_json=False)
        async with ends.open(engines.voice.rate, driver.busy):
            cpu, wall = time.thread_time(), time.perf_counter()
            await driver.run()
    return Cost(time.thread_time() - cpu, time.perf_counter() - wall, session.tokens)


async def own_cost(engines: LocalEngines, settings: Settings) -> None:
    """CPU time of the event loop's thread for a turn, beyond what the engines need.

    That thread runs our own code, the voice detector, the file that stands for a sound card, and
    the HTTP client. What detector and card cost is measured on silence of the same length, what the
    client costs on a request alone, token by token; both are taken off. The rest is ours.
    """
    print("CPU time of the loop itself, for a turn: one question and its reply")
    totals, clients, detectors, own = [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        silence = folder / "silence.wav"
        with WavWriter(silence, RATE) as wav:
            wav.write(np.zeros(RATE * 3, np.int16))
        for question in QUESTIONS:
            still = await conversation(engines, settings, silence, folder)
            turn = await conversation(engines, settings, RECORDINGS / question, folder)
            began = time.thread_time()
            _, _, tokens = await one_reply(engines, settings, "Tell me how a car works.")
            client = (time.thread_time() - began) / max(1, tokens) * turn.tokens
            detector = still.cpu_s / still.wall_s * turn.wall_s
            totals.append(turn.cpu_s * 1e3)
            clients.append(client * 1e3)
            detectors.append(detector * 1e3)
            own.append((turn.cpu_s - client - detector) * 1e3)
    show("event loop's thread in all", totals, "ms")
    show("of it HTTP client", clients, "ms")
    show("of it sound card and voice detector", detectors, "ms")
    show("left: the loop itself", own, "ms")


async def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (default 5)")
    rounds = max(1, parser.parse_args().rounds)
    os.chdir(ROOT)
    # Replies that are stopped tell no number of tokens.
    settings = load(None, {"llm.sentences": "0"})
    show_machine()
    start_up(rounds)
    async with LocalEngines(settings, Catalogue.load(settings.models.dir)) as engines:
        await engines_alone(engines, settings)
        await own_cost(engines, settings)
    voice_to_voice(rounds)


asyncio.run(main())
