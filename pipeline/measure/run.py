"""One run of a command that measures: its folder, its journal, its end.

`cascade profile` and `cascade compare` are front-ends of `Run`. Results come one by one, and each
is on the disk before the next is begun: a crash costs one of them. Whatever ends the run early, all
that can be made of the results until then is written and shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import io
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from rich.console import Console

from pipeline.errors import INTERRUPTED, UNMET, BadInput, StageError
from pipeline.terminal import progress, show_error, stdout
from pipeline.trace import VERSION, MarkLine

WAVS = "wav"
"""Folder of the WAVs, in that of the run."""

TRACE = "trace.jsonl"

REPORT, SUMMARY, TURNS = "report.html", "summary.json", "turns.csv"

TRACED = ("started", "machine", "versions", "models", "settings")
"""What the first line of the trace says, of all that is known of a run."""

Files = Mapping[str, Callable[[], str]]
"""What a run leaves beside its results: what makes the text of each file, by its name."""

T = TypeVar("T")


def new_folder(out: Path | None, kind: str, *, resumable: bool = False) -> Path:
    """Make the folder of the results.

    Args:
        out: What the user named; None: one named after the time, in `runs`.
        kind: Of run: `profile` or `compare`.
        resumable: Whether one can go on with a folder that holds something.

    Raises:
        BadInput: It cannot be made, or holds something.
    """
    folder = out or Path("runs") / time.strftime(f"{kind}-%Y%m%d-%H%M%S")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            hint = f", or go on with --resume {folder}" if resumable else ""
            raise BadInput(f"--out {folder}: is not empty; name a new folder{hint}")
        (folder / WAVS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {folder}: cannot be made: {error.strerror}") from None
    return folder


def digest(file: Path) -> str:
    """The SHA-256 of a file; empty if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


async def sha256(file: Path) -> str:
    """The same, away from the event loop."""
    return await asyncio.to_thread(digest, file)


@dataclass(frozen=True, slots=True)
class Made(Generic[T]):
    """One result of a run, and all lines of its trace."""

    result: T
    lines: Sequence[MarkLine]


@dataclass(frozen=True)
class Form(Generic[T]):
    """A file of results as JSON lines: the first describes the run, each other is one result.

    Attributes:
        name: Of the file.
        kind: The key of the first line that holds the version.
        version: Of the format; a reader refuses another one.
        made_by: The command that makes such a file.
        plain: What the line of a result says.
        parse: Makes a result of that, or raises an error of Python's if it cannot.
        stamp: What each line of the trace says of the result that it belongs to.
    """

    name: str
    kind: str
    version: int
    made_by: str
    plain: Callable[[T], dict[str, Any]]
    parse: Callable[[dict[str, Any]], T]
    stamp: Callable[[T], dict[str, Any]]

    def line(self, result: T) -> str:
        """The line of a result."""
        return json.dumps(self.plain(result)) + "\n"

    def write(self, path: Path, header: Mapping[str, Any], results: Iterable[T]) -> None:
        """Write a whole file."""
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps({self.kind: self.version, **header}) + "\n")
            file.writelines(map(self.line, results))

    def read(self, path: Path) -> tuple[dict[str, Any], list[T]]:
        """Read a file: what describes the run, and its results.

        A last line that was cut off by a crash or a full disk is left out.

        Raises:
            BadInput: It is missing, damaged, or of another version.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise BadInput(
                f"{path}: {error.strerror}; name a folder that `{self.made_by}` made"
            ) from None
        try:
            header = json.loads(lines[0])
            found = header.pop(self.kind)
        except (IndexError, ValueError, KeyError, AttributeError):
            raise BadInput(f"{path}: is no {self.kind}'s records") from None
        if found != self.version:
            raise BadInput(
                f"{path}: version {found} of the format; this Cascade reads {self.version}"
            )
        results = []
        for number, line in enumerate(lines[1:], start=2):
            try:
                results.append(self.parse(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError):
                if number == len(lines):
                    break
                raise BadInput(f"{path}: line {number} is damaged") from None
        return header, results


class Journal(Generic[T]):
    """The files that grow with each result: the results, and their traces."""

    def __init__(self, folder: Path, form: Form[T]) -> None:
        """Prepare; `begin` opens the files.

        Args:
            folder: Of the run.
            form: Of its results.
        """
        self._folder = folder
        self._form = form
        self._files: list[IO[str]] = []

    def begin(self, header: Mapping[str, Any], results: Sequence[T] = ()) -> None:
        """Begin the files, with what an earlier run has left.

        Raises:
            StageError: They cannot be written.
        """
        trace = self._folder / TRACE
        with self._told():
            # As long as nobody has ended it properly, it counts as interrupted.
            self._rewrite({**header, "interrupted": True}, results)
            trace.touch()
            cut_torn(trace)
            if not trace.stat().st_size:
                first = {key: header[key] for key in TRACED if key in header}
                trace.write_text(json.dumps({"trace": VERSION, **first}) + "\n", "utf-8")
            for path in (trace, self._folder / self._form.name):
                self._files.append(path.open("a", encoding="utf-8"))

    def add(self, made: Made[T]) -> None:
        """Append a result and its trace.

        Raises:
            StageError: The disk does not take it.
        """
        stamp = self._form.stamp(made.result)
        trace, results = self._files
        with self._told():
            trace.writelines(json.dumps({**line, **stamp}) + "\n" for line in made.lines)
            results.write(self._form.line(made.result))
            for file in self._files:
                file.flush()

    def end(self, header: Mapping[str, Any], results: Iterable[T]) -> None:
        """Write the results again, with what is known of the run now.

        Raises:
            StageError: The disk does not take it; then they are there as they were.
        """
        self.close()
        with self._told():
            self._rewrite(header, results)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            with contextlib.suppress(OSError):  # what did not fit has been told
                file.close()
        self._files.clear()

    def _rewrite(self, header: Mapping[str, Any], results: Iterable[T]) -> None:
        """Write the file of results anew, all of it or nothing."""
        part = self._folder / f"{self._form.name}.part"
        try:
            self._form.write(part, header, results)
            part.replace(self._folder / self._form.name)
        finally:
            part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the disk does not take is told as a failure of stage `save`."""
        try:
            yield
        except OSError as error:
            raise StageError(
                "save", f"{self._folder}: cannot be written: {error.strerror}; make room"
            ) from None


def cut_torn(file: Path) -> None:
    """Take off a last line that has no end, as a crash leaves it: what follows is no part of it."""
    with file.open("rb+") as lines:
        lines.truncate(lines.read().rfind(b"\n") + 1)


class Run(ABC, Generic[T]):
    """One run: all results one by one, then everything that is made of them.

    Attributes:
        folder: Where everything is written.
        header: What describes the run.
        results: What was measured so far, in the order in which it was made.
        console: For people who wait.
        interrupted: Somebody has stopped it.
    """

    form: Form[T]
    """Of the file of results."""

    noun = "turns were measured"
    """What a message says of the results, after their number."""

    resumable = False
    """Whether a run that was stopped can be gone on with: `--resume FOLDER`."""

    def __init__(
        self,
        folder: Path,
        header: Mapping[str, Any],
        console: Console,
        *,
        as_json: bool,
        results: Iterable[T] = (),
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            folder: Where everything is written; it is there.
            header: What describes the run.
            console: For people.
            as_json: Print a line of JSON for each result, and the summary, on stdout.
            results: What an earlier run has left.
        """
        self.folder = folder
        self.header = dict(header)
        self.console = console
        self.results = [*results]
        self._as_json = as_json
        self._failure = ""
        self.interrupted = False

    @property
    @abstractmethod
    def total(self) -> int:
        """How many results there will be, without those of an earlier run."""

    @abstractmethod
    def measure(self) -> AsyncGenerator[Made[T], None]:
        """Measure, and yield each result as soon as it is made.

        Raises:
            CascadeError: No more can be measured; what was yielded counts.
        """

    @abstractmethod
    def line(self, result: T) -> str:
        """A result in a few words."""

    @abstractmethod
    def figures(self, result: T) -> dict[str, Any]:
        """A result as a line of JSON for machines."""

    async def complete(self) -> None:
        """Do what is left to do once everything is measured, before the results are written."""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What the header says once the run is over."""

    @abstractmethod
    def summarise(self) -> Mapping[str, Any]:
        """What `summary.json` holds; `gates` is what became of those that were asked for."""

    @abstractmethod
    def files(self, summary: Any) -> Files:
        """What is left beside the results."""

    @abstractmethod
    def show(self, console: Console, summary: Any) -> None:
        """Show the summary to a person."""

    @abstractmethod
    def shortfall(self) -> int:
        """The exit code where there is too little to show for it; 0: there is enough."""

    async def run(self) -> int:
        """Measure, then write and show; gives the exit code.

        Returns:
            0; 3 if a gate is not met; what `shortfall` says if there is nothing to show for it; 1
            if the results could not be written whole; 130 if it was interrupted.

        Raises:
            CascadeError: It cannot begin.
        """
        journal = Journal(self.folder, self.form)
        with contextlib.closing(journal), progress(self.console, self.total) as tell:
            journal.begin(self.header, self.results)
            try:
                tell(0, "loading")
                async with contextlib.aclosing(self.measure()) as measured:
                    number = 0
                    async for made in measured:
                        number += 1
                        self.results.append(made.result)
                        journal.add(made)
                        if self._as_json:
                            print(json.dumps(self.figures(made.result)), flush=True)
                        tell(number, self.line(made.result))
            except asyncio.CancelledError:
                self._stop()
                if not self.results:
                    raise
            except (StageError, BadInput) as error:
                if not self.results:
                    raise
                self._failure = str(error)
        try:
            await self.complete()
        except asyncio.CancelledError:
            self._stop()
            if not self.results:
                raise
        return self._finish(journal)

    def _stop(self) -> None:
        """Somebody does not want to wait any longer; what there is by now is kept."""
        if self.resumable:
            self._hint(f"stopped; go on with --resume {self.folder}")
        elif not self.results:
            self._hint(f"stopped before anything was measured; delete {self.folder}")
        self.interrupted = True
        if self.results and (task := asyncio.current_task()) is not None:
            task.uncancel()

    def _finish(self, journal: Journal[T]) -> int:
        """Write and show all that can be made of the results."""
        self.header |= {
            **self.facts(),
            "interrupted": self.interrupted or bool(self._failure),
        }
        if self._failure:
            self._complain(f"{self._failure}; {len(self.results)} {self.noun}")
        summary = self.summarise()
        whole = not self._failure
        try:
            journal.end(self.header, self.results)
        except StageError as error:
            self._complain(str(error))
            whole = False
        for name, made in self.files(summary).items():
            try:
                write(self.folder / name, made())
            except OSError as error:
                self._complain(f"{self.folder / name}: {error.strerror}; make room")
                whole = False
        if self._as_json:
            last = {"type": self.form.kind, "folder": str(self.folder), "summary": summary}
            print(json.dumps(last), flush=True)
        else:
            out = stdout()
            self.show(out, summary)
            out.print(f"\n{self.folder / REPORT}", soft_wrap=True)
        judged = summary.get("gates") or []
        for one in judged:
            if one["met"] is False:
                self._hint(f"gate not met: {one['system']}: {one['told']}")
        if any(one["met"] is None for one in judged):
            self._hint(f"gates were not judged: {judged[0]['reason']}")
        if self.interrupted:
            return INTERRUPTED
        if whole and any(one["met"] is False for one in judged):
            return UNMET
        return self.shortfall() if whole else 1

    def _hint(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def _complain(self, text: str) -> None:
        show_error(self.console, text)


def write(path: Path, text: str) -> Path:
    """Write a file that a run leaves; gives its path."""
    # Half of a surrogate pair, which a model may well write, has no place in UTF-8.
    path.write_text(text, encoding="utf-8", errors="xmlcharrefreplace", newline="\n")
    return path


def as_json(summary: Mapping[str, object]) -> str:
    """The text of `summary.json`."""
    return json.dumps(summary, indent=2, ensure_ascii=False) + "\n"


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    """The text of `turns.csv`."""
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return file.getvalue()
