"""A bench for nodes of a Ray cluster that measures nothing, and writes down what it was asked.

The nodes of the test's cluster import it by this name. All of them are this machine, so they write
into one folder: `log.jsonl`, a line for each thing done, on one clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.errors import BadInput
from pipeline.measure.noise import Noise, Reading
from pipeline.measure.plan import Job, Variant
from pipeline.measure.record import Record
from pipeline.measure.run import Made

WAIT_S = 50.0
"""Whoever waits longer for another hangs."""


class Bench:
    """Answers every recording with its bytes: what measures in place of `LocalExecutor`.

    A variant's name tells what else it does, in words:
        meets: its first turn goes on once that of another one that meets has begun as well.
        clings: from its third turn on it stops until another bench has opened the same variant.
        dies: its process ends at its second turn.
        refuses: it cannot be opened.
        stumbles: its second turn is a defect.
    """

    def __init__(self, variant: Variant, noise: Noise, *, folder: Path) -> None:
        self.name = variant.name
        self.words = variant.name.split()
        self.folder = folder
        self.noise = noise
        self.models: Mapping[str, str] = {}

    def prepare(self, console: Console) -> None:
        if "refuses" in self.words:
            raise BadInput("no such model here")

    async def run(self, jobs: Sequence[Job], folder: Path) -> AsyncGenerator[Made[Record], None]:
        self.note("open")
        for number, job in enumerate(jobs, start=1):
            yield await self.measure(number, job, folder)
        self.noise.readings.append(Reading(3_000_000, 0.5, None))
        self.note("close")

    async def measure(self, number: int, job: Job, folder: Path) -> Made[Record]:
        begun_ns = time.monotonic_ns()
        self.note("turn", order=job.order)
        if "meets" in self.words:
            await self.until(lambda log: len(meeting(log)) > 1)
        if "clings" in self.words and number > 2 and self.times("open") == 1:
            await self.until(lambda log: self.times("open") > 1)
        if "dies" in self.words and number == 2:
            os._exit(1)
        if "stumbles" in self.words and number == 2:
            raise ValueError("a defect")
        sound = job.item.path.read_bytes()
        (folder / job.wav).write_bytes(b"RIFF" + sound)
        record = Record("", "", 0, 0, "ok", reply=sound.decode(), wav=job.wav)
        self.noise.readings.append(Reading(2_000_000, 0.5, None))
        return Made(record, [{"turn": 1, "mark": "committed", "t_ns": begun_ns}])

    def facts(self) -> Mapping[str, Any]:
        return {}

    def times(self, what: str) -> int:
        return sum(one["variant"] == self.name for one in of(read(self.folder), what))

    def note(self, what: str, **more: Any) -> None:
        import ray

        node = ray.get_runtime_context().get_node_id()
        entry = {"what": what, "variant": self.name, "node": node, "t_ns": time.monotonic_ns()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({**entry, **more}) + "\n")

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition(read(self.folder)):
                await asyncio.sleep(0.02)


def read(folder: Path) -> list[dict[str, Any]]:
    """What all benches have written down."""
    file = folder / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def meeting(log: Sequence[dict[str, Any]]) -> set[str]:
    """The variants that meet and have begun."""
    return {one["variant"] for one in of(log, "turn") if "meets" in one["variant"].split()}


def of(log: Sequence[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """The entries of a kind."""
    return [one for one in log if one["what"] == what]
