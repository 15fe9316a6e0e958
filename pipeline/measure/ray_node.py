"""What a node of a Ray cluster runs: one variant, in a process that has the node to itself."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.metadata
import platform
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.console import stderr
from pipeline.engines.local import LocalEngines, check_models
from pipeline.errors import CascadeError
from pipeline.measure.executor import Job, Made, measured
from pipeline.measure.noise import Noise, Reading
from pipeline.measure.plan import Variant
from pipeline.models.catalogue import Catalogue
from pipeline.models.fetch import provide
from pipeline.profile.instrument import Bounds
from pipeline.trace import machine

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a node says of itself.

    Attributes:
        version: Of Cascade there.
        host: The machine's name.
        machine: As in a trace's first line.
    """

    version: str
    host: str
    machine: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """A turn that a node has measured.

    Attributes:
        made: The record and the lines of its trace.
        wav: The stereo WAV; empty if there is none.
        readings: Of the node's noise, since the turn before.
    """

    made: Made
    wav: bytes = b""
    readings: Sequence[Reading] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node cannot do what it was asked to; for people."""

    reason: str


class Bench(Protocol):
    """What measures turns of one variant on a node. Made, used and left in one event loop."""

    async def open(self) -> None:
        """Make ready.

        Raises:
            CascadeError: It cannot be.
        """
        ...

    async def measure(self, job: Job, sound: bytes) -> Sent:
        """Play a recording, given as its file's bytes, and measure the reply.

        Raises:
            CascadeError: Nothing can be measured here.
        """
        ...

    async def close(self) -> Sequence[Reading]:
        """Stop everything; gives the last readings of the noise."""
        ...


Maker = Callable[[Variant, Bounds], Bench]
"""Makes a bench on the node; named by its module there, so it must be importable."""


class CascadeBench:
    """The real one: the engines of this project."""

    def __init__(self, variant: Variant, bounds: Bounds) -> None:
        """Prepare; nothing is loaded yet."""
        self._settings = variant.settings
        self._bounds = bounds
        self._noise = Noise()
        self._stack = contextlib.AsyncExitStack()
        self._engines: LocalEngines

    async def open(self) -> None:
        """Load the engines; default models that are missing are fetched.

        Raises:
            CascadeError: One cannot be used here.
        """
        shelf = Catalogue.load(self._settings.models.dir)
        check_models(self._settings, shelf)
        await asyncio.to_thread(provide, self._settings, stderr())
        self._engines = await self._stack.enter_async_context(LocalEngines(self._settings, shelf))

    async def measure(self, job: Job, sound: bytes) -> Sent:
        """Measure a turn.

        Raises:
            CascadeError: The node's disk does not take the WAV.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            recording = folder / f"recording{job.item.path.suffix}"
            recording.write_bytes(sound)
            wav = folder / "turn.wav"
            here = dataclasses.replace(job, item=dataclasses.replace(job.item, path=recording))
            made = await measured(here, self._engines, wav, self._bounds, self._noise)
            return Sent(made, wav.read_bytes() if made.record.wav else b"", self._readings())

    async def close(self) -> Sequence[Reading]:
        """Stop the engines."""
        self._noise.look()
        await self._stack.aclose()
        return self._readings()

    def _readings(self) -> list[Reading]:
        readings, self._noise.readings = self._noise.readings, []
        return readings


class Slot:
    """The Ray actor: a bench in a process of its own, asked one thing at a time.

    What a user should know comes back as a `Refusal`, for Ray would wrap an exception in its own.
    """

    def __init__(self, maker: Maker, variant: Variant, bounds: Bounds) -> None:
        """Prepare; `open` does the work, for here an exception would look like a lost node."""
        self._arguments = (maker, variant, bounds)
        self._runner = asyncio.Runner()
        self._bench: Bench

    def hello(self) -> Greeting:
        """Say what this node is; by then the node is this slot's alone."""
        return Greeting(version(), platform.node(), machine())

    def clock_ns(self) -> int:
        """The time on the node's monotonic clock, which is no other's (ns)."""
        return time.monotonic_ns()

    def open(self) -> Refusal | None:
        """Make the bench ready."""
        maker, variant, bounds = self._arguments
        self._bench = maker(variant, bounds)
        return self._run(self._bench.open())

    def measure(self, job: Job, sound: bytes) -> Sent | Refusal:
        """Measure a turn."""
        return self._run(self._bench.measure(job, sound))

    def close(self) -> Sequence[Reading] | Refusal:
        """Stop the bench."""
        return self._run(self._bench.close())

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T | Refusal:
        try:
            return self._runner.run(work)
        except (CascadeError, OSError) as error:
            return Refusal(str(error))


def version() -> str:
    """Of Cascade as installed here; empty where it runs from its source."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("voice-cascade")
    return ""
