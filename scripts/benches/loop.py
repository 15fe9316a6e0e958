"""What starting up and each engine cost on this machine: `scripts/bench`.

Everything is measured in one run, with the real engines and the default models
(`CASCADE_STT__MODEL` and `CASCADE_TTS__VOICE` name others). Variants take turns, so that a machine
whose speed drifts does the same to all; figures are medians with their range.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import run_bench, show, show_machine
from sounds import RATE, read
from studio import models
from support.cli_child import RECORDINGS, Child
from support.real_engines import as_audio

from pipeline.audio.files import WavWriter
from pipeline.config import Settings, load
from pipeline.engines.chat_stream import Used
from pipeline.engines.local import LocalEngines
from pipeline.engines.vad import VoiceDetector

SENTENCES = (
    "The train to Madrid leaves at nine in the morning.",
    "A tomato is red, and sometimes yellow or green.",
    "I think it is the most useful thing that people have ever built.",
)


def start_up(rounds: int) -> None:
    """Time from the command to "listening", with the files in the page cache and without."""
    print("start-up, from the command to listening")
    cold = Path("/proc/sys/vm/drop_caches")
    with tempfile.TemporaryDirectory() as folder:
        silence = Path(folder) / "silence.wav"
        with WavWriter(silence, RATE) as wav:
            wav.write(np.zeros(RATE // 10, np.int16))
        options = ("--input", silence, "--output", Path(folder) / "out.wav")
        if os.access(cold, os.W_OK):
            values = []
            for _ in range(rounds):
                os.sync()
                cold.write_text("3")
                values.append(listening_after(*options))
            show("cold (page cache dropped)", values, "s")
        else:
            print("  cold: not measured, dropping the page cache needs root")
        show("warm", [listening_after(*options) for _ in range(rounds)], "s")


def listening_after(*options: str | Path) -> float:
    """Seconds until `cascade talk` says that it listens."""
    began = time.perf_counter()
    child = Child("talk", *options, env=models())
    child.wait_for("listening")
    took = time.perf_counter() - began
    child.finish()
    return took


async def engines_alone(engines: LocalEngines, settings: Settings) -> None:
    """Real-time factors of VAD, STT and TTS; the model's first token and rate."""
    print("engines, one at a time")
    audio = [read(path) for path in sorted(RECORDINGS.glob("dev_*.wav"))]
    detector = VoiceDetector()
    detector.warm()
    factors = []
    for samples in audio:
        began = time.perf_counter()
        detector.push(samples)
        factors.append((time.perf_counter() - began) / (len(samples) / RATE) * 1e3)
    show("VAD, real-time factor × 1000", factors, "")
    milliseconds, factors = [], []
    for samples in audio:
        heard = as_audio(samples)
        began = time.perf_counter()
        await engines.transcribe(heard)
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
        first, rate = await one_reply(engines, settings, f"What is {number} plus nine?")
        firsts.append(first * 1e3)
        rates.append(rate)
    show("LLM, first token of a new question", firsts, "ms")
    show("LLM, tokens", rates, "per second")


async def one_reply(
    engines: LocalEngines, settings: Settings, question: str
) -> tuple[float, float]:
    """Seconds to the first token, tokens per second after it."""
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
    return first - began, (tokens - 1) / max(last - first, 1e-9)


async def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (default 5)")
    rounds = max(1, parser.parse_args().rounds)
    # Replies that are stopped tell no number of tokens.
    settings = load(None, {"llm.sentences": "0"})
    show_machine()
    start_up(rounds)
    async with LocalEngines(settings) as engines:
        await engines_alone(engines, settings)


run_bench(main)
