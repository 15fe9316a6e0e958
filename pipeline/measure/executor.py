"""Who measures the turns of a profile: this process, or the nodes of a cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from pipeline.config import Settings
from pipeline.engines.local import LocalEngines, check_models
from pipeline.errors import BadInput
from pipeline.measure.corpus import Item
from pipeline.measure.lanes import Line
from pipeline.measure.noise import Noise
from pipeline.measure.plan import Variant
from pipeline.measure.record import Record
from pipeline.measure.results import WAVS
from pipeline.models.catalogue import Catalogue
from pipeline.models.fetch import provide
from pipeline.profile.instrument import Bounds, Unwritten, make_ready, measure


@dataclass(frozen=True, slots=True)
class Job:
    """One turn to measure.

    Attributes:
        order: Its position in the run, from 0.
        variant: With which settings.
        item: Which recording.
        repeat: From 1; 0 is the warm-up.
    """

    order: int
    variant: Variant
    item: Item
    repeat: int

    @property
    def wav(self) -> str:
        """Where its WAV goes, relative to the profile's folder."""
        return f"{WAVS}/{self.order:04}.wav"

    def signed(self, record: Record) -> Record:
        """A record of this turn, with the names that only the run knows."""
        return dataclasses.replace(
            record,
            variant=self.variant.name,
            file=self.item.name,
            repeat=self.repeat,
            order=self.order,
        )

    def failed(self, reason: str) -> Made:
        """What becomes of it if it cannot be played."""
        record = Record("", "", 0, 0, "failed", reason=reason, expected=self.item.text)
        return Made(self.signed(record), ())


@dataclass(frozen=True, slots=True)
class Made:
    """A turn that was measured, and all lines of its trace."""

    record: Record
    lines: Sequence[Line]

    def shifted(self, by_ns: int) -> Made:
        """The same turn on a clock that is `by_ns` ahead."""
        record = self.record
        spans = tuple(
            dataclasses.replace(span, start_ns=span.start_ns + by_ns, end_ns=span.end_ns + by_ns)
            for span in record.spans
        )
        marks = {name: t_ns + by_ns for name, t_ns in record.marks.items()}
        moved = dataclasses.replace(
            record, marks=marks, spans=spans, wav_start_ns=record.wav_start_ns + by_ns
        )
        return Made(moved, [{**line, "t_ns": line["t_ns"] + by_ns} for line in self.lines])


class Executor(Protocol):
    """Measures turns, and yields each as soon as it is made."""

    @property
    def models(self) -> Mapping[str, str]:
        """Names of the first variant's models, by kind."""
        ...

    def prepare(self, console: Console) -> None:
        """Do what takes long, before an event loop runs: fetch what is missing.

        Raises:
            CascadeError: It cannot be had.
        """
        ...

    def run(self, jobs: Sequence[Job], folder: Path) -> AsyncGenerator[Made, None]:
        """Measure all jobs; closing it stops whatever still works.

        Args:
            jobs: What to measure; warm-ups first.
            folder: Of the profile; WAVs are written into it.

        Raises:
            CascadeError: No more can be measured; what was yielded counts.
        """
        ...

    def facts(self) -> Mapping[str, Any]:
        """For the profile's header, once the run is over: `noise` (see `noise.summarise`)."""
        ...


class LocalExecutor:
    """Measures in this process, one turn after another in the order of the jobs."""

    def __init__(self, tested: Sequence[Variant], bounds: Bounds) -> None:
        """Find the models.

        Args:
            tested: All variants.
            bounds: When a turn is over.

        Raises:
            BadInput: One is not there, and is no default.
        """
        self._tested = tested
        self._bounds = bounds
        self._pool = Pool()
        self._noise = Noise()
        for variant in tested:
            check_models(variant.settings, Catalogue.load(variant.settings.models.dir))

    @property
    def models(self) -> Mapping[str, str]:
        """Names of the first variant's models, by kind."""
        return self._pool.get(self._tested[0].settings).names

    def prepare(self, console: Console) -> None:
        """Fetch the default models that are missing.

        Raises:
            CascadeError: A model cannot be had.
        """
        for variant in self._tested:
            provide(variant.settings, console)
        for variant in self._tested:
            self._pool.need(variant.settings)

    async def run(self, jobs: Sequence[Job], folder: Path) -> AsyncGenerator[Made, None]:
        """Measure all jobs.

        Raises:
            CascadeError: The engines cannot be loaded, or a WAV not be written.
        """
        async with self._pool.loaded():
            for job in jobs:
                engines = self._pool.get(job.variant.settings)
                yield await measured(job, engines, folder / job.wav, self._bounds, self._noise)
            self._noise.look()

    def facts(self) -> Mapping[str, Any]:
        """How steady the machine was."""
        return {"noise": self._noise.summary()}


class Pool:
    """Engines that are loaded once for all variants that can share them."""

    def __init__(self) -> None:
        self._engines: dict[str, LocalEngines] = {}

    def need(self, settings: Settings) -> None:
        """Say that engines for these settings will be wanted.

        Raises:
            BadInput: A model is not there.
        """
        key = self._key(settings)
        if key not in self._engines:
            self._engines[key] = LocalEngines(settings, Catalogue.load(settings.models.dir))

    def get(self, settings: Settings) -> LocalEngines:
        """The engines for settings that were needed before."""
        return self._engines[self._key(settings)]

    @contextlib.asynccontextmanager
    async def loaded(self) -> AsyncGenerator[None]:
        """Load all of them, one after another; stop them in the end.

        Raises:
            CascadeError: One cannot be used.
        """
        async with contextlib.AsyncExitStack() as stack:
            for engines in self._engines.values():
                await stack.enter_async_context(engines)
            yield

    def _key(self, settings: Settings) -> str:
        """What engines are made of; turn-taking and replies need no others."""
        made_of = settings.model_dump(include={"stt", "llm", "tts", "vad", "models"})
        turns = settings.turns
        return json.dumps([made_of, turns.endpoint_model, turns.predict], sort_keys=True)


async def measured(
    job: Job, engines: LocalEngines, wav: Path, bounds: Bounds, noise: Noise
) -> Made:
    """Measure a turn here.

    Args:
        job: Which.
        engines: Loaded and warm.
        wav: Stereo WAV to write.
        bounds: When it is over.
        noise: Takes a reading before it.

    Raises:
        Unwritten: The WAV cannot be written.
    """
    await make_ready(job.variant.settings, engines)
    noise.look()
    try:
        record, lines = await measure(job.item, job.variant.settings, engines, wav, bounds)
    except Unwritten:
        raise
    except BadInput as error:
        # The recording was there when the run began.
        return job.failed(str(error))
    return Made(dataclasses.replace(job.signed(record), wav=job.wav), lines)
