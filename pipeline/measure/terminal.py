"""What a profile and a comparison show alike on a terminal: progress, tables, differences in words.

Everything reads in 80 columns, without colour, and where only ASCII can be written.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline.terminal import LABELS

NAME_WIDTH = 24
"""A longer name of a variant is wrapped in tables, and has a line of its own above its bars."""

MOST = 20
"""Recordings whose sound is shown one by one: the noisiest."""

NONE = "-"
"""Stands where there is no figure."""


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


def table(*columns: str) -> Table:
    """An open table: the first column is text and wraps, all others are numbers and do not."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    first, *others = columns
    made.add_column(first, overflow="fold", max_width=NAME_WIDTH, vertical="bottom")
    for name in others:
        made.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    return made


def recordings(sound: Mapping[str, Any]) -> Table | None:
    """Level and signal-to-noise ratio, a row a recording, the noisiest first; None without any."""
    if not sound:
        return None
    noisiest = sorted(sound.items(), key=lambda item: float(item[1]["snr_db"] or 0.0))
    made = table("recording", "dBFS", "SNR, dB", "end of speech by")
    for name, one in noisiest[:MOST]:
        level, snr = (ms(one[key]) for key in ("level_dbfs", "snr_db"))
        made.add_row(Text(name), level, snr, one["end_of_speech"])
    if left := noisiest[MOST:]:
        made.add_row(Text(f"{len(left)} more"), "", f"{ms(left[0][1]['snr_db'])} or more", "")
    return made


def change(compared: Mapping[str, Any]) -> str:
    """A difference's size, such as `-312 ms (95 %: -335 to -290; -31%)`."""
    inside = []
    if compared["ci95"] is not None:
        inside.append("95 %: {:+.0f} to {:+.0f}".format(*compared["ci95"]))
    if compared["relative"] is not None:
        inside.append(f"{compared['relative']:+.0%}")
    return f"{compared['median']:+.0f} ms" + (f" ({'; '.join(inside)})" if inside else "")


def moved(against: Mapping[str, Any]) -> str:
    """The parts that moved, such as `STT -100, first token -50`."""
    parts = against["parts_ms"]
    return ", ".join(f"{LABELS[name]} {parts[name]['median']:+.0f}" for name in against["moved"])


def colour(whole: Mapping[str, Any]) -> str:
    """What a verdict is shown in; plain where it may be the machine's noise."""
    if whole["within_noise"]:
        return ""
    return {"faster": "green", "slower": "red"}.get(whole["verdict"], "")


def count(number: int, noun: str) -> str:
    """Such as `1 turn` or `12 turns`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def interval(found: Mapping[str, Any]) -> str:
    """The interval of a distribution, such as `310 to 350`; `NONE` where nothing was measured."""
    if not found:
        return NONE
    return "{:.0f} to {:.0f}".format(*found["ci95"]) if found["ci95"] else "too few"


def ms(value: float | None) -> str:
    """Whole milliseconds, or `NONE`."""
    return NONE if value is None else f"{value:.0f}"
