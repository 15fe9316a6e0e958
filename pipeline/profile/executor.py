"""One recording, played in real time into a fresh session; what became of it as one `Record`."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.clock import Clock
from pipeline.config import Settings
from pipeline.conversation.cascade import Cascade
from pipeline.engines.local import LocalEngines
from pipeline.errors import BadInput
from pipeline.measure.conduct import hold
from pipeline.measure.corpus import Item
from pipeline.measure.cues import Limits, Utterance
from pipeline.measure.noise import Noise
from pipeline.measure.plan import Job, Variant
from pipeline.measure.pool import Pool, make_ready
from pipeline.measure.record import Record
from pipeline.measure.recording import MemoryTrace
from pipeline.measure.run import Made, sha256
from pipeline.talk import PATIENCE_S
from pipeline.trace import MarkLine


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a turn is over.

    Attributes:
        reply_s: So much of a reply is listened to (s).
        timeout_s: How long to wait for a reply after the recording (s).
    """

    reply_s: float = 4.0
    timeout_s: float = 60.0


async def measure_turn(
    item: Item,
    settings: Settings,
    engines: LocalEngines,
    wav: Path,
    bounds: Bounds,
    *,
    tape: MemoryTrace | None = None,
) -> tuple[Record, list[MarkLine]]:
    """Play a recording into a fresh session and measure the reply; call `make_ready` before.

    Args:
        item: The recording.
        settings: Of the variant.
        engines: Loaded and warm.
        wav: Stereo WAV to write.
        bounds: When it is over.
        tape: Takes the marks; None: a new one.

    Returns:
        The record, without the names of variant, file and so on; and all lines of the trace.

    Raises:
        Unwritten: The WAV cannot be written.
        BadInput: The recording cannot be read any more.
    """
    tape = tape or MemoryTrace()
    said = Utterance(
        item.text,
        item.path,
        item.end_of_speech_s,
        seconds=item.seconds,
        patience_s=bounds.timeout_s,
    )
    held = await hold(
        Cascade(engines, settings, tape, Clock()),
        tape,
        [said],
        wav,
        engines.voice.rate,
        limits=Limits(bounds.reply_s, settings.turns.hold_ms / 1000 + PATIENCE_S, longest_s=0.0),
        audio=settings.audio,
        # A reply waits for the next block of 20 ms, as in `talk`: that wait is part of a profile.
        parts=1,
    )
    (turn,) = held.turns()
    # Only what was heard of the reply counts, for it may have been cut off.
    record = dataclasses.replace(turn.record, cpu_ns=held.cpu_ns, reply=turn.kept or "")
    return record, tape.lines


class LocalExecutor:
    """Measures in this process, one turn after another in the order of the jobs."""

    def __init__(
        self, tested: Sequence[Variant], bounds: Bounds, noise: Noise | None = None
    ) -> None:
        """Find the models.

        Args:
            tested: All variants.
            bounds: When a turn is over.
            noise: Takes readings of how steady the machine is; None: a new one.

        Raises:
            BadInput: One is not there, and is no default.
        """
        self._bounds = bounds
        self._pool = Pool(variant.settings for variant in tested)
        self._noise = noise or Noise()

    @property
    def models(self) -> Mapping[str, str]:
        """Names of the first variant's models, by kind."""
        return self._pool.models

    def prepare(self, console: Console) -> None:
        """Fetch the default models that are missing.

        Raises:
            CascadeError: A model cannot be had.
        """
        self._pool.prepare(console)

    async def run(self, jobs: Sequence[Job], folder: Path) -> AsyncGenerator[Made[Record], None]:
        """Measure all jobs.

        Raises:
            CascadeError: The engines cannot be loaded, or a WAV not be written.
        """
        async with self._pool.loaded():
            for job in jobs:
                engines = self._pool.get(job.variant.settings)
                yield await self._measured(job, engines, folder / job.wav)
            self._noise.look()

    def facts(self) -> Mapping[str, Any]:
        """How steady the machine was."""
        return {"noise": self._noise.summary()}

    async def _measured(self, job: Job, engines: LocalEngines, wav: Path) -> Made[Record]:
        """Measure a turn, with its readings of the noise.

        Raises:
            Unwritten: The WAV cannot be written.
        """
        await make_ready(job.variant.settings, engines)
        self._noise.look()
        try:
            record, lines = await measure_turn(
                job.item, job.variant.settings, engines, wav, self._bounds
            )
        except BadInput as error:
            # The recording was there when the run began.
            record = Record("", "", 0, 0, "failed", str(error), expected=job.item.text)
            return Made(job.signed(record), ())
        signed = dataclasses.replace(job.signed(record), wav=job.wav, wav_sha256=await sha256(wav))
        return Made(signed, lines)
