"""What it costs to look: `scripts/bench looking`.

The marks measure the time that is spent in them, which is exact on any machine. A difference
between turns with and without them would have to be found in the noise.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import show
from support.cli_child import CORPUS

from pipeline.config import load
from pipeline.engines.local import LocalEngines
from pipeline.measure.corpus import gather
from pipeline.measure.pool import make_ready
from pipeline.measure.record import Record
from pipeline.measure.recording import MemoryTrace
from pipeline.profile.executor import Bounds, measure_turn
from pipeline.trace import Trace


class Timed(MemoryTrace):
    """Adds up what its marks take, of which some are while the user waits.

    Args:
        trace: Takes them too.
    """

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.cpu_ns = 0
        self.waited_ns = 0
        self._trace = trace

    def mark(
        self, turn: int, name: str, t_ns: int, *, generation: int | None = None, **more: Any
    ) -> None:
        """Take a mark, and the time."""
        began, cpu = time.perf_counter_ns(), time.thread_time_ns()
        super().mark(turn, name, t_ns, generation=generation, **more)
        self._trace.mark(turn, name, t_ns, generation=generation, **more)
        self.cpu_ns += time.thread_time_ns() - cpu
        took_ns = time.perf_counter_ns() - began
        marks = self.marks(turn)
        # What is done before that, or after, nobody waits for.
        if "committed" in marks and "heard.first" not in marks:
            self.waited_ns += took_ns


async def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench looking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="times the corpus (default 2)")
    parser.add_argument("--file", action="store_true", help="with a file, as `talk --trace`")
    arguments = parser.parse_args()
    settings, items = load(), gather([CORPUS]).items
    seen: list[tuple[Record, Timed]] = []
    async with LocalEngines(settings) as engines:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with Trace(folder / "trace.jsonl" if arguments.file else None) as trace:
                for item in items * arguments.rounds:
                    tape = Timed(trace)
                    await make_ready(settings, engines)
                    record, _ = await measure_turn(
                        item, settings, engines, folder / "turn.wav", Bounds(1.0), tape=tape
                    )
                    seen.append((record, tape))
    print(f"{len(seen)} turns")
    show("marks in a turn", [len(tape.lines) for _, tape in seen], "")
    show("time in marks while the user waits", [t.waited_ns / 1e6 for _, t in seen], "ms")
    show("CPU in marks, without the file's writer", [tape.cpu_ns / 1e6 for _, tape in seen], "ms")
    show("share of the turn's CPU", [100 * t.cpu_ns / r.cpu_ns for r, t in seen], "%")


if __name__ == "__main__":
    asyncio.run(main())
