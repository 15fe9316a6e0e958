"""`cascade profile`: plays a corpus to all variants, in turns, and leaves a folder of results."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.clock import Clock
from pipeline.config import Settings
from pipeline.conversation.cascade import Cascade
from pipeline.engines.local import LocalEngines
from pipeline.errors import BadInput
from pipeline.measure import corpus, gates, summary
from pipeline.measure.conduct import hold
from pipeline.measure.corpus import Corpus, Item, gather
from pipeline.measure.cues import Limits, Utterance
from pipeline.measure.gates import Gate
from pipeline.measure.noise import Noise
from pipeline.measure.plan import Executor, Job, Load, Variant, jobs, variants
from pipeline.measure.pool import Pool, make_ready
from pipeline.measure.record import RECORDS, Record
from pipeline.measure.recording import MemoryTrace
from pipeline.measure.reference import calibrate
from pipeline.measure.run import Files, Made, Run, new_folder, sha256
from pipeline.measure.summary import ProfileSummary
from pipeline.models.catalogue import Catalogue
from pipeline.profile import report, terminal
from pipeline.talk import PATIENCE_S
from pipeline.terminal import show_error, stderr
from pipeline.trace import MarkLine, description

EXECUTORS = ("local", "ray")
"""What `--executor` allows."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a turn is over.

    Attributes:
        reply_s: So much of a reply is listened to (s).
        timeout_s: How long to wait for a reply after the recording (s).
    """

    reply_s: float = 4.0
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """What one run of `cascade profile` was asked to do.

    Attributes:
        sources: Folders, manifests and sound files.
        say: Text file, each line of which is spoken.
        keep: Folder to copy the spoken lines into, instead of playing them.
        modes: Modes, parted by commas; None: the settings' own.
        vary: What else is varied.
        repeat: How often each recording is played to each variant.
        seed: Of the order.
        out: Folder of the results; None: one named after the time, in `runs`.
        expect: Gates: `NAME=LIMIT` each, or a YAML file of such.
        bounds: When a turn is over.
        json: Print a line of JSON for each turn, and the summary, on stdout.
        executor: Who measures: one of `EXECUTORS`.
        ray_address: Of the Ray cluster; None: the one that runs on this machine.
    """

    sources: tuple[Path, ...] = ()
    say: Path | None = None
    keep: Path | None = None
    modes: str | None = None
    vary: tuple[str, ...] = ()
    repeat: int = 3
    seed: int = 1
    out: Path | None = None
    expect: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    json: bool = False
    executor: str = "local"
    ray_address: str | None = None


def prepare(load: Load, options: ProfileOptions) -> Coroutine[Any, Any, int]:
    """Check all that can be checked, and fetch the language model if it is missing.

    Args:
        load: Gives the settings of a variant.
        options: What to do.

    Returns:
        The run, which gives the exit code: 0, or 3 if a gate is not met, or 1 if no turn has a
        latency or the results could not be written whole, or 130 if it was interrupted.

    Raises:
        CascadeError: It cannot begin.
    """
    console = stderr()
    if not options.sources and options.say is None:
        raise BadInput("profile: names no recordings; name a folder, a manifest, or --say FILE.txt")
    base = load({})
    tested = variants(load, options.modes, options.vary)
    limits = gates.read(options.expect, gates.TURNS, [variant.name for variant in tested])
    more = [] if options.say is None else _spoken(base, options.say)
    recordings = gather(options.sources, more)
    for problem in recordings.problems:
        show_error(console, f"left out: {problem}")
    executor = make(options.executor, options.ray_address, tested, options.bounds)
    folder = new_folder(options.out, "profile")
    executor.prepare(console)
    return Profile(base, tested, recordings, options, folder, executor, console, limits).run()


def make(name: str, address: str | None, tested: Sequence[Variant], bounds: Bounds) -> Executor:
    """The executor of that name.

    Args:
        name: One of `EXECUTORS`.
        address: Of the Ray cluster; None: the one that runs on this machine.
        tested: All variants.
        bounds: When a turn is over.

    Raises:
        BadInput: There is no such executor, what it needs is missing, or a model is.
    """
    if name == "local":
        return LocalExecutor(tested, bounds)
    if name != "ray":
        raise BadInput(f"--executor is {name!r}; allowed: {' | '.join(EXECUTORS)}")
    from pipeline.measure.ray import RayExecutor

    return RayExecutor(tested, partial(on_node, bounds), address)


def on_node(bounds: Bounds, variant: Variant, noise: Noise) -> Executor:
    """What measures a variant on a node of a Ray cluster: the same as here."""
    return LocalExecutor([variant], bounds, noise)


def keep_spoken(settings: Settings, options: ProfileOptions) -> int:
    """Speak the lines of `--say` and copy them, with a manifest, into the folder of `--keep`.

    Raises:
        CascadeError: There is nothing to speak, or it cannot be spoken or written.
    """
    if options.say is None or options.keep is None:
        raise BadInput("--keep FOLDER goes with --say FILE.txt, whose lines it keeps as recordings")
    print(corpus.keep(_spoken(settings, options.say), options.keep))
    return 0


def _spoken(settings: Settings, file: Path) -> list[Item]:
    voice = Catalogue.load(settings.models.dir).resolve("tts", settings.tts.voice)
    return corpus.say(corpus.read_lines(file), voice, settings.tts)


async def measure_turn(
    item: Item,
    settings: Settings,
    engines: LocalEngines,
    wav: Path,
    bounds: Bounds,
) -> tuple[Record, list[MarkLine]]:
    """Play a recording into a fresh session and measure the reply; call `make_ready` before.

    Args:
        item: The recording.
        settings: Of the variant.
        engines: Loaded and warm.
        wav: Stereo WAV to write.
        bounds: When it is over.

    Returns:
        The record, without the names of variant, file and so on; and all lines of the trace.

    Raises:
        Unwritten: The WAV cannot be written.
        BadInput: The recording cannot be read any more.
    """
    tape = MemoryTrace()
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
                settings, wav = job.variant.settings, folder / job.wav
                engines = self._pool.get(settings)
                await make_ready(settings, engines)
                self._noise.look()
                try:
                    record, lines = await measure_turn(
                        job.item, settings, engines, wav, self._bounds
                    )
                    record = dataclasses.replace(record, wav=job.wav, wav_sha256=await sha256(wav))
                except BadInput as error:
                    # The recording was there when the run began.
                    record = Record("", "", 0, 0, "failed", str(error), expected=job.item.text)
                    lines = []
                yield Made(job.signed(record), lines)
            self._noise.look()

    def facts(self) -> Mapping[str, Any]:
        """How steady the machine was."""
        return {"noise": self._noise.summary()}


class Profile(Run[Record]):
    """One run: all trials, then all results."""

    form = RECORDS

    def __init__(
        self,
        base: Settings,
        tested: Sequence[Variant],
        recordings: Corpus,
        options: ProfileOptions,
        folder: Path,
        executor: Executor,
        console: Console,
        limits: Sequence[Gate] = (),
    ) -> None:
        """Prepare; `run` does the work."""
        header = {
            **description(base, executor.models),
            "variants": {variant.name: dict(variant.changes) for variant in tested},
            "seed": options.seed,
            "repeat": options.repeat,
            "recordings": len(recordings.items),
            "left_out": list(recordings.problems),
            "bounds": dataclasses.asdict(options.bounds),
        }
        super().__init__(folder, header, console, as_json=options.json)
        self._executor = executor
        self._gates = limits
        self._here = options.executor == "local"
        self._jobs = jobs(tested, recordings.items, options.repeat, options.seed)

    @property
    def total(self) -> int:
        """How many turns there will be."""
        return len(self._jobs)

    async def measure(self) -> AsyncGenerator[Made[Record], None]:
        """Measure all turns.

        Raises:
            CascadeError: The engines cannot be loaded, or no more can be measured.
        """
        if self._here:
            self.header["instrument"] = await calibrate()
        async with contextlib.aclosing(self._executor.run(self._jobs, self.folder)) as measured:
            async for made in measured:
                yield made

    def line(self, result: Record) -> str:
        """A turn in a few words."""
        latency = result.wav_voice_to_voice_ns
        told = f"{latency / 1e6:.0f} ms" if latency is not None else result.status
        warm_up = ", warm-up" if result.repeat == 0 else ""
        return f"{result.variant}, {result.file}: {told}{warm_up}"

    def figures(self, result: Record) -> dict[str, Any]:
        """A record without its lanes, in milliseconds."""
        wav_ns, timeline = result.wav_voice_to_voice_ns, result.timeline
        parts = {} if timeline is None else timeline.parts
        names = ("variant", "file", "repeat", "order", "status")
        return {
            "type": "turn",
            **{name: getattr(result, name) for name in names},
            **{name: getattr(result, name) for name in ("reason", "transcript", "reply", "wav")},
            "wav_voice_to_voice_ms": None if wav_ns is None else wav_ns / 1e6,
            "voice_to_voice_ms": None if timeline is None else timeline.total_ns / 1e6,
            "parts_ms": {name: ns / 1e6 for name, ns in parts.items()},
        }

    def facts(self) -> Mapping[str, Any]:
        """What the header says once the run is over: how steady the machine was."""
        return self._executor.facts()

    def summarise(self) -> ProfileSummary:
        """What `summary.json` holds."""
        found = summary.summarise(self.header, self.results)
        unjudged = gates.INTERRUPTED if self.header["interrupted"] else ""
        if judged := gates.judge(self._gates, gates.TURNS, found["variants"], unjudged=unjudged):
            found["gates"] = judged
        return found

    def files(self, summary: ProfileSummary) -> Files:
        """Its tables, the trace for Perfetto, the report, `junit.xml`."""
        return report.files(self.folder, self.header, self.results, summary)

    def show(self, console: Console, summary: ProfileSummary) -> None:
        """Show the summary to a person."""
        terminal.show(console, summary)

    def shortfall(self) -> int:
        """1 if no turn has a latency."""
        return 0 if any(made.status == "ok" for made in self.results) else 1
