"""`cascade profile`: plays a corpus to all variants, in turns, and leaves a folder of results."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.config import Settings
from pipeline.console import show_error, stderr, stdout
from pipeline.errors import BadInput, StageError
from pipeline.measure import perfetto, record, spoken
from pipeline.measure.corpus import Corpus, gather
from pipeline.measure.executor import Executor, Job, LocalExecutor
from pipeline.measure.lanes import Line
from pipeline.measure.plan import Load, Variant, order, variants
from pipeline.measure.record import RECORDS, Record
from pipeline.measure.results import INTERRUPTED, TRACE, LineFiles, new_folder, write_all
from pipeline.models.catalogue import Catalogue
from pipeline.profile import report, summary
from pipeline.profile.instrument import Bounds
from pipeline.progress import progress
from pipeline.trace import VERSION as TRACE_VERSION
from pipeline.trace import description

EXECUTORS = ("local", "ray")
"""What `--executor` allows."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
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
    bounds: Bounds = field(default_factory=Bounds)
    json: bool = False
    executor: str = "local"
    ray_address: str | None = None


def prepare(load: Load, options: Options) -> Coroutine[Any, Any, int]:
    """Check all that can be checked, and fetch the language model if it is missing.

    Args:
        load: Gives the settings of a variant.
        options: What to do.

    Returns:
        The run, which gives the exit code: 0, or 1 if no turn has a latency or the results could
        not be written whole, or 130 if it was interrupted.

    Raises:
        CascadeError: It cannot begin.
    """
    console = stderr()
    if not options.sources and options.say is None:
        raise BadInput("profile: names no recordings; name a folder, a manifest, or --say FILE.txt")
    base = load({})
    tested = variants(load, options.modes, options.vary)
    corpus = _corpus(base, options)
    for problem in corpus.problems:
        show_error(console, f"left out: {problem}")
    executor = make(options.executor, options.ray_address, tested, options.bounds)
    folder = new_folder(options.out, "profile")
    executor.prepare(console)
    return Profile(base, tested, corpus, options, folder, executor, console).run()


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
    from pipeline.measure.ray_executor import RayExecutor

    return RayExecutor(tested, bounds, address)


def keep_spoken(settings: Settings, options: Options) -> int:
    """Speak the lines of `--say` and copy them, with a manifest, into the folder of `--keep`.

    Raises:
        CascadeError: There is nothing to speak, or it cannot be spoken or written.
    """
    if options.say is None or options.keep is None:
        raise BadInput("--keep FOLDER goes with --say FILE.txt, whose lines it keeps as recordings")
    print(spoken.keep(_spoken(settings, options.say), options.keep))
    return 0


def _spoken(settings: Settings, file: Path) -> list[Any]:
    voice = Catalogue.load(settings.models.dir).resolve("tts", settings.tts.voice)
    return spoken.say(spoken.read_lines(file), voice, settings.tts)


def _corpus(settings: Settings, options: Options) -> Corpus:
    more = [] if options.say is None else _spoken(settings, options.say)
    return gather(options.sources, more)


class Journal:
    """The files that grow with each turn."""

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Begin them.

        Raises:
            StageError: They cannot be written.
        """
        self._files = LineFiles(folder, (RECORDS, TRACE))
        with self._files.told():
            # As long as nobody has ended it properly, it counts as interrupted.
            record.write(folder / RECORDS, {**header, "interrupted": True}, [])
            described = {key: header[key] for key in ("started", "machine", "versions", "models")}
            first = {"trace": TRACE_VERSION, **described, "settings": header["settings"]}
            (folder / TRACE).write_text(json.dumps(first) + "\n", encoding="utf-8")
            self._files.open()

    def add(self, made: Record, lines: Sequence[Line]) -> None:
        """Append a turn.

        Raises:
            StageError: The disk does not take it.
        """
        trace = [json.dumps({**line, "order": made.order}) + "\n" for line in lines]
        with self._files.told():
            self._files.append(TRACE, trace)
            self._files.append(RECORDS, [json.dumps(dataclasses.asdict(made)) + "\n"])
            self._files.flush()

    def end(self, header: Mapping[str, Any], records: Sequence[Record]) -> None:
        """Write the records again, with what is known of the run now.

        Raises:
            StageError: The disk does not take it; then the records are there as they were.
        """
        self.close()
        with self._files.told():
            self._files.rewrite(RECORDS, lambda part: record.write(part, header, records))

    def close(self) -> None:
        """Close the files."""
        self._files.close()


class Profile:
    """One run: all trials, then all results."""

    def __init__(
        self,
        base: Settings,
        tested: Sequence[Variant],
        corpus: Corpus,
        options: Options,
        folder: Path,
        executor: Executor,
        console: Console,
    ) -> None:
        """Prepare; `run` does the work."""
        self._tested = tested
        self._corpus = corpus
        self._options = options
        self._folder = folder
        self._executor = executor
        self._console = console
        self._records: list[Record] = []
        self._failure = ""
        self._interrupted = False
        self._header = {
            **description(base, executor.models),
            "variants": {variant.name: dict(variant.changes) for variant in tested},
            "seed": options.seed,
            "repeat": options.repeat,
            "recordings": len(corpus.items),
            "left_out": list(corpus.problems),
            "bounds": dataclasses.asdict(options.bounds),
        }

    async def run(self) -> int:
        """Measure, then report; gives the exit code.

        Raises:
            CascadeError: The engines cannot be loaded.
        """
        trials = order(
            len(self._tested), len(self._corpus.items), self._options.repeat, self._options.seed
        )
        jobs = [
            Job(number, self._tested[t.variant], self._corpus.items[t.item], t.repeat)
            for number, t in enumerate(trials)
        ]
        journal = Journal(self._folder, self._header)
        with contextlib.closing(journal), progress(self._console, len(jobs)) as show:
            try:
                show(0, "loading")
                async with contextlib.aclosing(self._executor.run(jobs, self._folder)) as turns:
                    async for made in turns:
                        self._records.append(made.record)
                        journal.add(made.record, made.lines)
                        self._tell(made.record)
                        show(len(self._records), _line(made.record))
            except asyncio.CancelledError:
                if not self._records:
                    raise
                self._interrupted = True
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()
            except StageError as error:
                if not self._records:
                    raise
                self._failure = str(error)
        return self._finish(journal)

    def _tell(self, made: Record) -> None:
        if self._options.json:
            print(json.dumps({"type": "turn", **_figures(made)}), flush=True)

    def _complain(self, text: str) -> None:
        show_error(self._console, text)

    def _finish(self, journal: Journal) -> int:
        """Write and show all that can be made of the records."""
        self._header |= {
            **self._executor.facts(),
            "interrupted": self._interrupted or bool(self._failure),
        }
        header, records, folder = self._header, self._records, self._folder
        if self._failure:
            show_error(self._console, f"{self._failure}; {len(records)} turns were measured")
        writes = (
            lambda: journal.end(header, records),
            lambda: summary.write(folder, header, records),
            lambda: perfetto.write(folder / perfetto.NAME, header, records),
            lambda: report.write(folder, header, records),
        )
        whole = write_all(folder, writes, self._complain) and not self._failure
        if self._options.json:
            last = {"type": "profile", "folder": str(folder)}
            print(json.dumps({**last, "summary": summary.summarise(header, records)}), flush=True)
        else:
            out = stdout()
            summary.show(out, header, records)
            out.print(f"\n{folder / 'report.html'}", soft_wrap=True)
        if self._interrupted:
            return INTERRUPTED
        return 0 if whole and any(made.status == "ok" for made in records) else 1


def _figures(made: Record) -> dict[str, Any]:
    """A record without its lanes, in milliseconds."""
    timeline = made.timeline
    figures: dict[str, Any] = {
        **{name: getattr(made, name) for name in ("variant", "file", "repeat", "order", "status")},
        **{name: getattr(made, name) for name in ("reason", "transcript", "reply", "wav")},
        "wav_voice_to_voice_ms": None,
        "voice_to_voice_ms": None,
        "parts_ms": {},
    }
    if made.wav_voice_to_voice_ns is not None:
        figures["wav_voice_to_voice_ms"] = made.wav_voice_to_voice_ns / 1e6
    if timeline is not None:
        figures["voice_to_voice_ms"] = timeline.total_ns / 1e6
        figures["parts_ms"] = {name: ns / 1e6 for name, ns in timeline.parts.items()}
    return figures


def _line(made: Record) -> str:
    """A turn in a few words."""
    latency = made.wav_voice_to_voice_ns
    result = f"{latency / 1e6:.0f} ms" if latency is not None else made.status
    warm_up = ", warm-up" if made.repeat == 0 else ""
    return f"{made.variant}, {made.file}: {result}{warm_up}"
