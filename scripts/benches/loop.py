"""What the loop costs on this machine: `scripts/bench`.

Everything is measured in one run, with the real engines and the default models
(`CASCADE_STT__MODEL` and `CASCADE_TTS__VOICE` name others). Variants take turns, so that a machine
whose speed drifts does the same to all; figures are medians with their range.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from figures import show, show_machine
from sounds import read

from pipeline.audio.files import WavWriter
from pipeline.config import Settings, load
from pipeline.engines.llm import Used
from pipeline.engines.local import LocalEngines
from pipeline.engines.vad import VoiceDetector

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


async def engines_alone(engines: LocalEngines, settings: Settings) -> None:
    """Real-time factors of VAD, STT and TTS; the model's first token and rate."""
    print("engines, one at a time")
    audio = [read(path) for path in sorted(RECORDINGS.glob("dev_*.wav"))]
    detector = VoiceDetector(settings.vad)
    detector.warm()
    factors = [timed(partial(detector.push, a)) / (len(a) / RATE) * 1e3 for a in audio]
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
    """The loop in its three modes, by `cascade profile`, which measures its CPU time too."""
    print("voice-to-voice, from the last voiced sample to the first audible one of the reply")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline", "profile"]
        command += [str(RECORDINGS / name) for name in QUESTIONS]
        command += ["--mode", "speculative,overlapped,sequential", "--repeat", str(rounds)]
        environ = {**os.environ, "CASCADE_LLM__MAX_TOKENS": "60"}
        subprocess.run([*command, "--out", folder], check=True, cwd=ROOT, env=environ)


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
    async with LocalEngines(settings) as engines:
        await engines_alone(engines, settings)
    voice_to_voice(rounds)


asyncio.run(main())
