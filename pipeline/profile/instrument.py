"""One recording, played in real time into a fresh session; what became of it as one `Record`."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.audio.line import Ends
from pipeline.clock import NS_PER_S
from pipeline.config import Settings
from pipeline.conversation.cascade import Cascade
from pipeline.engines.local import LocalEngines, check_models
from pipeline.errors import BadInput, CascadeError
from pipeline.events import Frame
from pipeline.measure.corpus import Item
from pipeline.measure.noise import Noise
from pipeline.measure.plan import Job, Variant
from pipeline.measure.pool import Pool, make_ready
from pipeline.measure.record import Record, Span, Status, lanes, wasted
from pipeline.measure.recording import MemoryTrace, RecordedSession, opened
from pipeline.measure.run import Made
from pipeline.measure.wav import listen, measurable
from pipeline.models.catalogue import Catalogue
from pipeline.models.fetch import provide
from pipeline.session import Session
from pipeline.talk import PATIENCE_S, Driver
from pipeline.trace import MarkLine

QUIET_DBFS = -55.0
"""Speech this quiet may be lost on the detectors: their gate is made for telephones."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a turn is over.

    Attributes:
        reply_s: So much of a reply is listened to (s).
        timeout_s: How long to wait for a reply after the recording (s).
    """

    reply_s: float = 4.0
    timeout_s: float = 60.0


class Timed(RecordedSession):
    """A recorded session to which one recording is played.

    Attributes:
        enough: Set once the recording is over and enough of its reply was heard.
    """

    def __init__(
        self, session: Session, trace: MemoryTrace, ends: Ends, length_ns: int, reply_ns: int
    ) -> None:
        """Record `session`, to which `length_ns` of a recording are played."""
        super().__init__(session, ends)
        self.enough = asyncio.Event()
        self._trace = trace
        self._length_ns = length_ns
        self._reply_ns = reply_ns
        self._begun_ns: int | None = None

    async def send(self, frame: Frame) -> None:
        """Pass a frame on, and see whether there is anything left to wait for."""
        if self._begun_ns is None:
            self._begun_ns = frame.t_ns
        await super().send(frame)
        now_ns = frame.t_ns + frame.duration_ns
        if now_ns < self._begun_ns + self._length_ns:
            return
        marks = self._trace.marks(self.turn)
        first_ns = marks.get("heard.first")
        if first_ns is not None and ("heard.last" in marks or now_ns - first_ns >= self._reply_ns):
            self.enough.set()


@dataclass(slots=True)
class _Run:
    """What is left of a conversation that is over."""

    tape: MemoryTrace
    session: Timed
    ends: Ends
    heard_text: str = ""
    error: str = ""
    timed_out: bool = False
    cpu_ns: int = 0
    over_ns: int = 0


async def measure(
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
    with tempfile.TemporaryDirectory() as folder:
        ends = Ends(
            settings.audio,
            [str(item.path)],
            str(Path(folder) / "reply.wav"),
            record=wav,
            patience_s=settings.turns.hold_ms / 1000 + PATIENCE_S,
        )
        async with opened(ends, engines.voice.rate, wav):
            run = await _converse(item, settings, engines, ends, bounds, tape or MemoryTrace())
    return _record(item, run, wav, bounds), run.tape.lines


async def _converse(
    item: Item,
    settings: Settings,
    engines: LocalEngines,
    ends: Ends,
    bounds: Bounds,
    tape: MemoryTrace,
) -> _Run:
    """Hold the conversation until its reply was heard, or there will be none."""
    cascade = Cascade(engines, settings, tape, ends.clock)
    length_ns, reply_ns = (int(s * NS_PER_S) for s in (item.seconds, bounds.reply_s))
    session = Timed(cascade, tape, ends, length_ns, reply_ns)
    run = _Run(tape, session, ends)
    driver = Driver(session, ends, tape)
    cpu_ns = time.process_time_ns()
    work = asyncio.create_task(driver.run())
    enough = asyncio.create_task(session.enough.wait())
    try:
        limit_s = item.seconds + bounds.timeout_s
        done, _ = await asyncio.wait(
            {work, enough}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        run.timed_out = not done
        run.over_ns = ends.clock.now_ns()
        run.cpu_ns = time.process_time_ns() - cpu_ns
    finally:
        enough.cancel()
        work.cancel()
        await asyncio.wait({work})
    if not work.cancelled() and (error := work.exception()) is not None:
        if not isinstance(error, CascadeError):
            raise error
        run.error = str(error)
    last = cascade.history[-1:]
    run.heard_text = last[0].content if last and last[0].role == "assistant" else ""
    return run


def _record(item: Item, run: _Run, wav: Path, bounds: Bounds) -> Record:
    session, tape = run.session, run.tape
    replied = [turn for turn in session.turns if "heard.first" in tape.marks(turn)]
    turn = replied[-1] if replied else session.turn
    status, reason = _status(run, turn, bounds)
    marks = dict(tape.marks(turn))
    latency_ns: int | None = None
    heard = None
    if status in ("ok", "no reply"):
        heard = listen(wav, item.path, item.end_of_speech_s)
    if status == "ok":
        if heard is not None and heard.reply_ns is not None:
            latency_ns = heard.reply_ns - heard.end_ns
        known = heard is not None and heard.measurable
        status, reason = measurable(latency_ns, known, marks, len(replied))
    if status != "ok":
        latency_ns = None
    elif item.end_of_speech_s is not None and run.ends.recorded_from_ns is not None:
        assert heard is not None
        # Who wrote the label knows better than the detector: the parts count from there.
        marks["speech.end"] = run.ends.recorded_from_ns + heard.end_ns
    if heard is not None and status == "no reply" and heard.level_dbfs < QUIET_DBFS:
        reason += f"; its level is {heard.level_dbfs:.0f} dBFS: record it louder"
    gaps = session.gaps.get(session.reply_ids.get(turn, ""), [])
    return Record(
        variant="",
        file=item.name,
        repeat=0,
        order=0,
        status=status,
        reason=reason,
        marks=marks,
        wav_voice_to_voice_ns=latency_ns,
        end_of_speech="detector" if item.end_of_speech_s is None else "label",
        spans=(
            *lanes(tape.lines, turn, until_ns=run.over_ns),
            *(Span("gap", "gap", begin, end) for begin, end in gaps),
        ),
        wav_start_ns=run.ends.recorded_from_ns or run.over_ns,
        transcript=session.said.get(turn, ""),
        expected=item.text,
        reply=run.heard_text,
        underrun_ns=sum(end - begin for begin, end in gaps),
        wasted=wasted(tape.lines),
        cpu_ns=run.cpu_ns,
        late_ns=run.ends.late_ns,
        hold_ms=_hold_ms(tape.lines, turn),
        level_dbfs=None if heard is None else heard.level_dbfs,
        # Where nobody spoke there is only noise.
        snr_db=None if heard is None or not session.turns else heard.snr_db,
    )


def _status(run: _Run, turn: int, bounds: Bounds) -> tuple[Status, str]:
    session = run.session
    if run.error:
        return "failed", run.error
    if turn in session.failures:
        return "failed", session.failures[turn]
    if "heard.first" in run.tape.marks(turn):
        return "ok", ""
    if run.timed_out:
        return "timeout", f"no reply within {bounds.timeout_s:g} s after the recording"
    return session.silent(turn)


def _hold_ms(lines: Sequence[MarkLine], turn: int) -> float | None:
    found = [line for line in lines if line["turn"] == turn and line["mark"] == "committed"]
    return found[-1].get("hold_ms") if found else None


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
        self._tested = tested
        self._bounds = bounds
        self._pool = Pool()
        self._noise = noise or Noise()
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
            record, lines = await measure(
                job.item, job.variant.settings, engines, wav, self._bounds
            )
        except BadInput as error:
            # The recording was there when the run began.
            return job.failed(str(error))
        return Made(dataclasses.replace(job.signed(record), wav=job.wav), lines)
