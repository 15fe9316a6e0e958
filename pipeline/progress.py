"""How far a long run is, for a person who waits for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show how far it is and how long it will take: a live bar, or a line each turn in a log."""
    if not console.is_terminal:

        def tell(done: int, what: str) -> None:
            console.print(f"{done:>4}/{total} {what}", soft_wrap=True)

        yield tell
        return
    columns = (MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}", markup=False)
    # stdout is redirected only where it is this screen: what machines read goes where it should.
    stdout = sys.stdout.isatty()
    with Progress(
        *columns,
        text,
        console=console,
        redirect_stdout=stdout,
        transient=True,
        # Nothing is drawn while a turn is timed.
        auto_refresh=False,
    ) as bars:
        task = bars.add_task("", total=total)
        yield lambda done, what: bars.update(task, completed=done, description=what, refresh=True)
