"""`cascade models`: shows the catalogue, fetches with a progress bar, checks."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from pipeline.config import Settings
from pipeline.console import stderr
from pipeline.errors import CascadeError
from pipeline.models import download
from pipeline.models.catalogue import Catalogue
from pipeline.models.model import KINDS, Found, Kind, Model
from pipeline.models.sources import Reach, origin

log = logging.getLogger(__name__)


def catalogue(settings: Settings) -> Catalogue:
    """The catalogue, with downloads where the settings want them."""
    folder = settings.models.dir
    return Catalogue.load(Path(folder) if folder else None)


def show(settings: Settings, as_json: bool) -> int:
    """Print all models: a table for people, or a JSON line each."""
    shelf = catalogue(settings)
    titles = ("name", "kind", "size", "state", "languages", "licence", "from", "what it is")
    table = Table(*titles, box=None)
    for model in shelf.all():
        state = shelf.state(model)
        languages = " ".join(model.languages)
        origins = [origin(source) for source in model.sources] or ["comes with Cascade"]
        if as_json:
            line = {
                "name": model.name,
                "kind": model.kind,
                "size": model.size,
                "state": state,
                "languages": list(model.languages),
                "licence": model.licence,
                "default": model.default,
                "from": origins,
                "description": model.description,
            }
            print(json.dumps(line))
            continue
        size = f"{model.size / 1e6:,.1f} MB" if model.size else "?"
        name = f"{model.name} *" if model.default else model.name
        shown = languages if len(languages) <= 12 else f"{len(model.languages)} languages"
        row = (name, model.kind, size, state, shown, model.licence, "\n".join(origins))
        table.add_row(*row, model.description)
    if not as_json:
        console = Console() if sys.stdout.isatty() else Console(width=200)
        console.print(table)
        console.print(
            "* used unless a setting says otherwise. Any Piper voice can be pulled by its name "
            "(en_US-lessac-medium).",
            style="dim",
        )
    return 0


def pull(settings: Settings, names: list[str]) -> int:
    """Fetch models by name; without names the defaults, and 1 if one of these cannot be had."""
    shelf = catalogue(settings)
    console = stderr()
    if names:
        for model in [shelf.model(name) for name in names]:
            found = _fetch(shelf, model, console, Reach())
            console.print(f"{model.name}: {found.path}", soft_wrap=True)
        return 0
    failed: dict[str, CascadeError] = {}
    network = Reach()
    for model in map(shelf.default, KINDS):
        try:
            _fetch(shelf, model, console, network)
        except CascadeError as error:
            failed[model.name] = error
    if failed:
        first, why = next(iter(failed.items()))
        reason = _reason(why, shelf.model(first))
        console.print(f"error: cannot fetch {', '.join(failed)}: {reason}", soft_wrap=True)
    return 1 if failed else 0


def verify(settings: Settings, names: list[str]) -> int:
    """Check models by name, or all on this disk; 1 if one is not whole."""
    shelf = catalogue(settings)
    if names:
        results = {name: shelf.verify(shelf.model(name)) for name in names}
    else:
        results = shelf.verify_all()
    for name, problems in results.items():
        print(f"{name}: {'; '.join(problems) or 'whole'}")
    return 1 if any(results.values()) else 0


def provide(settings: Settings, console: Console, *, instead: bool = False) -> Settings:
    """Fetch the default models that a run needs and this disk lacks, once.

    Args:
        settings: Of the run.
        console: Shows how far it is, and what is not to be had.
        instead: Let the models that come with Cascade take the place of a recogniser or a voice
            that cannot be had; one line says so. Without, that is an error: whoever measures
            wants what was named.

    Returns:
        The settings, with what takes the place of others.

    Raises:
        CascadeError: A model cannot be had, and nothing takes its place.
    """
    shelf = catalogue(settings)
    network = Reach()
    named: tuple[tuple[Kind, str, str], ...] = (
        ("llm", "llm.model", settings.llm.model),
        ("stt", "stt.model", settings.stt.model),
        ("tts", "tts.voice", settings.tts.voice),
        ("endpoint", "turns.endpoint_model", settings.turns.endpoint_model),
    )
    taken: dict[str, str] = {}
    reason = ""
    for kind, key, name in named:
        model = shelf.missing(kind, name)
        if model is None or (kind == "endpoint" and not settings.turns.predict):
            continue
        try:
            _fetch(shelf, model, console, network)
        except CascadeError as error:
            embedded = shelf.embedded(kind)
            if kind == "endpoint":
                log.debug("%s", error)  # turns end without it too
            elif embedded is None or not instead:
                raise
            else:
                log.debug("%s", error)
                reason = reason or _reason(error, model)
                taken[model.name] = embedded.name
                settings = _with(settings, key, embedded.name)
    if taken:
        console.print(
            f"{' and '.join(taken)} could not be fetched ({reason}): {' and '.join(taken.values())}"
            ", toys that come with Cascade, take their place; `cascade models pull` tries again",
            soft_wrap=True,
        )
    return settings


def _reason(error: CascadeError, model: Model) -> str:
    """Why a model could not be fetched, without its name and what works instead."""
    return str(error).removeprefix(f"cannot fetch {model.name}: ").rpartition("; ")[0]


def _with(settings: Settings, key: str, value: str) -> Settings:
    """The settings with another value for a key such as `stt.model`."""
    section, name = key.split(".")
    changed = getattr(settings, section).model_copy(update={name: value})
    return settings.model_copy(update={section: changed})


def _fetch(shelf: Catalogue, model: Model, console: Console, network: Reach) -> Found:
    """Fetch a model and show how far it is; of one that is here already nothing is shown."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    bars = Progress(*columns, TimeRemainingColumn(), console=console)
    tasks: dict[str, TaskID] = {}

    def progress(file: str, done: int, total: int | None) -> None:
        if file not in tasks:
            tasks[file] = bars.add_task(file, total=total)
            bars.start()
        bars.update(tasks[file], completed=done, total=total)

    try:
        return download.pull(shelf, model.name, progress, network=network)
    finally:
        if tasks:
            bars.stop()
