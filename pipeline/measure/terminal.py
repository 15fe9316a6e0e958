"""What a profile and a comparison show alike on a terminal: tables, differences in words.

Everything reads in 80 columns, without colour, and where only ASCII can be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.measure.summary import TurnFigures, of
from pipeline.terminal import LABELS

NAME_WIDTH = 24
"""A longer name of a variant is wrapped in tables, and has a line of its own above its bars."""

MOST = 20
"""Recordings whose sound is shown one by one: the noisiest."""

NONE = "-"
"""Stands where there is no figure."""


def table(*columns: str) -> Table:
    """An open table: the first column is text and wraps, all others are numbers and do not."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    first, *others = columns
    made.add_column(first, overflow="fold", max_width=NAME_WIDTH, vertical="bottom")
    for name in others:
        made.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    return made


def latencies(what: str, variants: Mapping[str, TurnFigures], **more: str) -> Table:
    """How many turns there were, and their latency: a row a variant.

    Args:
        what: Variants are called here.
        variants: By name.
        more: Further columns by their head: the dotted name of the milliseconds in a variant.
    """
    hidden = ["unmeasurable"] if any(one["unmeasurable"] for one in variants.values()) else []
    made = table(what, "n", *hidden, "failed", "median", "95 % interval", *more)
    for name, one in variants.items():
        whole = one["voice_to_voice_ms"]
        interval = whole and whole["ci95"]
        made.add_row(
            Text(name),
            str(one["n"]),
            *(Text(str(one["unmeasurable"]), "yellow") for _ in hidden),
            Text(str(one["failed"]), "bold red" if one["failed"] else ""),
            Text(ms(whole and whole["median"]), "bold"),
            "{:.0f} to {:.0f}".format(*interval) if interval else "too few" if whole else NONE,
            *(ms(of(one, name)) for name in more.values()),
        )
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


def tell(console: Console, notes: Iterable[str], warnings: Iterable[str]) -> None:
    """Tell, below everything else, what a reader of the figures should know."""
    told = [Text("note: ", "dim") + Text(one) for one in notes]
    told += [Text("warning: ", "yellow") + Text(one) for one in warnings]
    if told:
        console.print()
    for line in told:
        console.print(line)


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


def ms(value: float | None) -> str:
    """Whole milliseconds, or `NONE`."""
    return NONE if value is None else f"{value:.0f}"
