"""`cascade models`: shows the catalogue, fetches with a progress bar, checks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

from pipeline import download
from pipeline.catalogue import Catalogue
from pipeline.config import Settings
from pipeline.console import stderr
from pipeline.model import Found, Model


def catalogue(settings: Settings) -> Catalogue:
    """The catalogue, with downloads where the settings want them."""
    folder = settings.models.dir
    return Catalogue.load(Path(folder) if folder else None)


def show(settings: Settings, as_json: bool) -> int:
    """Print all models: a table for people, or a JSON line each."""
    shelf = catalogue(settings)
    table = Table("name", "kind", "size", "state", "languages", "licence", "what it is", box=None)
    for model in shelf.all():
        state = shelf.state(model)
        languages = " ".join(model.languages)
        if as_json:
            line = {
                "name": model.name,
                "kind": model.kind,
                "size": model.size,
                "state": state,
                "languages": list(model.languages),
                "licence": model.licence,
                "default": model.default,
                "description": model.description,
            }
            print(json.dumps(line))
            continue
        size = f"{model.size / 1e6:,.1f} MB" if model.size else "?"
        name = f"{model.name} *" if model.default else model.name
        shown = languages if len(languages) <= 12 else f"{len(model.languages)} languages"
        table.add_row(name, model.kind, size, state, shown, model.licence, model.description)
    if not as_json:
        console = Console() if sys.stdout.isatty() else Console(width=160)
        console.print(table)
        console.print(
            "* used unless a setting says otherwise. Any Piper voice can be pulled by its name "
            "(en_US-lessac-medium).",
            style="dim",
        )
    return 0


def pull(settings: Settings, names: list[str]) -> int:
    """Fetch models by name."""
    shelf = catalogue(settings)
    console = stderr()
    for model in [shelf.model(name) for name in names]:
        found = fetch_shown(shelf, model, console)
        console.print(f"{model.name}: {found.path}", soft_wrap=True)
    return 0


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


def require_llm(settings: Settings, console: Console) -> None:
    """Fetch the embedded language model, once, if a run needs it and it is not on this disk.

    Raises:
        CascadeError: It cannot be fetched.
    """
    if settings.llm.model != "embedded":
        return
    shelf = catalogue(settings)
    model = shelf.default("llm")
    if shelf.state(model) == "absent":
        console.print(f"fetching {model.name}, once", style="dim")
        fetch_shown(shelf, model, console)


def fetch_shown(shelf: Catalogue, model: Model, console: Console) -> Found:
    """Fetch a model and show how far it is."""
    with _bars(console) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done, total=total)

        return download.pull(shelf, model.name, progress)


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        yield bars
