"""The folder that a run leaves behind: made, written to as the run goes, and read again."""

from __future__ import annotations

import contextlib
import csv
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from pipeline.errors import BadInput, CascadeError, StageError

WAVS = "wav"
"""Folder of the WAVs, in that of the run."""

TRACE = "trace.jsonl"

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of every program."""

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


class LineFiles:
    """Files of JSON lines that grow as the run goes: a crash costs no more than its last line."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """Prepare; `open` opens the files.

        Args:
            folder: Of the run.
            names: Of the files.
        """
        self._folder = folder
        self._names = names
        self._files: dict[str, IO[str]] = {}

    def open(self) -> None:
        """Open the files to append to."""
        for name in self._names:
            self._files[name] = (self._folder / name).open("a", encoding="utf-8")

    def append(self, name: str, lines: Iterable[str]) -> None:
        """Append lines to a file; `flush` lets them reach the disk."""
        self._files[name].writelines(lines)

    def flush(self) -> None:
        """Let all that was appended reach the disk."""
        for file in self._files.values():
            file.flush()

    def rewrite(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file anew, all of it or nothing.

        Args:
            name: Of the file.
            write: Writes it to the path that it is given.
        """
        part = self._folder / f"{name}.part"
        try:
            write(part)
            part.replace(self._folder / name)
        finally:
            part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            with contextlib.suppress(OSError):  # what did not fit has been told
                file.close()
        self._files.clear()

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """What the disk does not take is told as a failure of stage `save`."""
        try:
            yield
        except OSError as error:
            raise StageError(
                "save", f"{self._folder}: cannot be written: {error.strerror}; make room"
            ) from None


def read_lines(
    path: Path, kind: str, version: int, parse: Callable[[dict[str, Any]], T], *, made_by: str
) -> tuple[dict[str, Any], list[T]]:
    """The header of a file of JSON lines, and what its other lines hold.

    A last line that was cut off by a crash or a full disk is left out.

    Args:
        path: The file.
        kind: What it is of, and the header's key that holds its version.
        version: Which one can be read.
        parse: Makes something of a line, or raises an error of Python's if it cannot.
        made_by: The command that makes such a file.

    Raises:
        BadInput: It is missing, damaged, or of another version.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; name a folder that `{made_by}` made") from None
    try:
        header = json.loads(lines[0])
        found = header.pop(kind)
    except (IndexError, ValueError, KeyError, AttributeError):
        raise BadInput(f"{path}: is no {kind}'s records") from None
    if found != version:
        raise BadInput(f"{path}: version {found} of the format; this Cascade reads {version}")
    parsed = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            parsed.append(parse(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError):
            if number == len(lines):
                break
            raise BadInput(f"{path}: line {number} is damaged") from None
    return header, parsed


def write_figures(
    folder: Path,
    summary: Mapping[str, Any],
    columns: Sequence[str],
    rows: Iterable[Mapping[str, str]],
) -> None:
    """Write `summary.json` and `turns.csv`.

    Raises:
        StageError: Of stage `save`: they cannot be written.
    """
    try:
        text = json.dumps(summary, indent=2, ensure_ascii=False)
        (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
        with (folder / "turns.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
    except OSError as error:
        raise StageError(
            "save", f"{folder}: the summary cannot be written: {error.strerror}"
        ) from None


def write_all(
    folder: Path, writes: Iterable[Callable[[], object]], complain: Callable[[str], None]
) -> bool:
    """Write all that can be written, whether or not some of it fails; whether none did.

    Args:
        folder: Of the run.
        writes: Each writes a part of the results.
        complain: Is told of each failure.
    """
    whole = True
    for write in writes:
        try:
            write()
        except CascadeError as error:
            complain(str(error))
            whole = False
        except OSError as error:
            complain(f"{folder}: {error.strerror}; make room")
            whole = False
    return whole
