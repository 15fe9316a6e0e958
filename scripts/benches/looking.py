"""What it costs to look, `scripts/bench looking`: turns with the trace against turns without.

The time spent in marks, which they measure themselves, is exact on any machine. The difference
between turns with and without them has to be found in the noise, so it needs many turns; both are
printed.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import show

from pipeline.config import load
from pipeline.engines.local import LocalEngines
from pipeline.measure.corpus import gather
from pipeline.measure.pool import make_ready
from pipeline.measure.record import Record
from pipeline.measure.recording import MemoryTrace
from pipeline.profile.executor import Bounds, measure_turn
from pipeline.trace import DETAILS, Trace

ROOT = Path(__file__).resolve().parents[2]


class Timed(MemoryTrace):
    """Adds up what its marks take, of which some are while the user waits.

    Args:
        file: Where they go too, as with `talk --trace`; None: memory, as in a profile.
    """

    def __init__(self, file: Path | None) -> None:
        super().__init__()
        self.cpu_ns = 0
        self.waited_ns = 0
        self._to_file = None if file is None else Trace(file)

    def mark(
        self, turn: int, name: str, t_ns: int, *, generation: int | None = None, **more: Any
    ) -> None:
        """Take a mark, and the time."""
        began, cpu = time.perf_counter_ns(), time.thread_time_ns()
        super().mark(turn, name, t_ns, generation=generation, **more)
        if self._to_file is not None:
            self._to_file.mark(turn, name, t_ns, generation=generation, **more)
        self.cpu_ns += time.thread_time_ns() - cpu
        took_ns = time.perf_counter_ns() - began
        marks = self.marks(turn)
        # What is done before that, or after, nobody waits for.
        if "committed" in marks and "heard.first" not in marks:
            self.waited_ns += took_ns


class Blind(MemoryTrace):
    """Only what the turn itself needs: the marks in memory, nothing of the details."""

    def mark(
        self, turn: int, name: str, t_ns: int, *, generation: int | None = None, **more: Any
    ) -> None:
        """Take a mark unless it is a detail."""
        if name not in DETAILS:
            super().mark(turn, name, t_ns, generation=generation)

    def _write(self, line: Any) -> None:
        pass


async def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench looking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="times the corpus (default 2)")
    parser.add_argument("--mode", default="speculative", help="default speculative")
    parser.add_argument("--file", action="store_true", help="with a file, as `talk --trace`")
    arguments = parser.parse_args()
    settings = load(None, {"reply.mode": arguments.mode})
    items = gather([ROOT / "tests/data/corpus"]).items
    seen: list[tuple[Record, Timed]] = []
    unseen: list[Record] = []
    async with LocalEngines(settings) as engines:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for number, item in enumerate(items * arguments.rounds):
                file = folder / "trace.jsonl" if arguments.file else None
                pair: list[MemoryTrace] = [Timed(file), Blind()]
                for tape in pair if number % 2 else reversed(pair):
                    await make_ready(settings, engines)
                    record, _ = await measure_turn(
                        item, settings, engines, folder / "turn.wav", Bounds(1.0), tape=tape
                    )
                    if isinstance(tape, Timed):
                        seen.append((record, tape))
                    else:
                        unseen.append(record)
    print(f"{len(seen)} turns with the trace, {len(unseen)} without, {arguments.mode}")
    show("marks in a turn", [len(tape.lines) for _, tape in seen], "")
    show("time in marks while the user waits", [t.waited_ns / 1e6 for _, t in seen], "ms")
    show("CPU in marks", [tape.cpu_ns / 1e6 for _, tape in seen], "ms")
    show("share of the turn's CPU", [100 * t.cpu_ns / r.cpu_ns for r, t in seen], "%")
    pairs = [(a, b) for (a, _), b in zip(seen, unseen, strict=True)]
    cpu = [100 * (a.cpu_ns / b.cpu_ns - 1) for a, b in pairs]
    show("CPU of the turn, with against without", cpu, "%")
    latencies = [(a.wav_voice_to_voice_ns, b.wav_voice_to_voice_ns) for a, b in pairs]
    more = [(a - b) / 1e6 for a, b in latencies if a is not None and b is not None]
    show("voice-to-voice, with minus without", more, "ms")


if __name__ == "__main__":
    asyncio.run(main())
