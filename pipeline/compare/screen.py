"""The screen of a live comparison: all paths beside each other, and which of them is heard.

All of it goes to stderr. On a terminal the panes are alive, and what was said stays above them;
elsewhere there are plain lines.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Self

from rich.box import HEAVY, ROUNDED
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.compare.pane import FULL_ROWS, Pane
from pipeline.terminal import show_error
from pipeline.trace import Timeline

BESIDE = 54
"""Cells that a pane needs so that panes may stand side by side."""

FRAME = 4
"""Cells, of a pane's width, that its frame takes."""

FEWEST_ROWS = 3
REFRESH_PER_S = 12


class Screen:
    """Panes of all paths. A context manager, so that the terminal is left as it was.

    Attributes:
        panes: In the order of the paths.
        heard: Index of the path that is heard.
        help: What the keys do.
    """

    def __init__(self, console: Console, names: Sequence[str], simulated: Sequence[bool]) -> None:
        """Show on `console`.

        Args:
            console: For people.
            names: Of the paths.
            simulated: Which of them are known to be simulated.
        """
        self._console = console
        self.heard = 0
        self.help = ""
        self.panes = [
            Pane(name, self._print, simulated=stamp)
            for name, stamp in zip(names, simulated, strict=True)
        ]
        self._live = (
            Live(
                console=console,
                refresh_per_second=REFRESH_PER_S,
                transient=True,
                get_renderable=self._render,
                redirect_stdout=sys.stdout.isatty(),
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.stop()
        for pane in self.panes:
            if pane.latencies_ms:
                self._print(Text(f"{pane.title}: {pane.summary()}", "bold"))

    def note(self, message: str) -> None:
        """Something the person should know."""
        self._print(Text(message, "dim"))

    def warn(self, message: str) -> None:
        """Something that went wrong, and is survived."""
        show_error(self._console, message)

    def keys(self, text: str) -> None:
        """What the keys do: always in sight on a terminal, else said once."""
        self.help = text
        if self._live is None:
            self.note(text)

    def select(self, heard: int) -> None:
        """Another path is heard now."""
        self.heard = heard
        self.note(f"now heard: {self.panes[heard].title}")

    def _print(self, text: Text) -> None:
        # Wrapped by the terminal, not by us: a log keeps one line a message.
        self._console.print(text, soft_wrap=True)

    def _render(self) -> RenderableType:
        width, height = self._console.size
        panes = self._framed(width, height)
        bottom = Text(self.help, "dim", no_wrap=True, overflow="ellipsis")
        return Group(*panes, bottom)

    def _framed(self, width: int, height: int) -> list[RenderableType]:
        """The panes: side by side where there is room, else one above the other."""
        count = len(self.panes)
        timelines = [Timeline.from_marks(pane.marks) for pane in self.panes]
        until_ns = max((one.total_ns for one in timelines if one is not None), default=0)
        # One row for the keys, one that stays free, and two of each frame.
        if width // count >= BESIDE:
            rows = max(FEWEST_ROWS, min(FULL_ROWS, height - 4))
            grid = Table.grid(expand=True)
            for _ in self.panes:
                grid.add_column(ratio=1)
            grid.add_row(*(self._pane(i, width // count, rows, until_ns) for i in range(count)))
            return [grid]
        rows = max(FEWEST_ROWS, min(FULL_ROWS, (height - 2) // count - 2))
        return [self._pane(i, width, rows, until_ns) for i in range(count)]

    def _pane(self, index: int, width: int, rows: int, until_ns: int) -> Panel:
        pane, heard = self.panes[index], index == self.heard
        inside = max(1, width - FRAME)
        style = "red" if pane.failed else "bold cyan" if heard else "dim"
        return Panel(
            Group(*pane.rows(self._console, inside, rows, until_ns)),
            title=pane.heading(index + 1, heard, inside - 2),
            title_align="left",
            box=HEAVY if heard else ROUNDED,
            border_style=style,
            width=width,
            height=rows + 2,
        )
