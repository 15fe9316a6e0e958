"""The screen of a live comparison: all systems beside each other, and which of them is heard.

All of it goes to stderr. On a terminal the panes are alive, and what was said stays above them;
elsewhere there are plain lines.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence

from rich.box import HEAVY, ROUNDED
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.clock import NS_PER_MS
from pipeline.compare.record import titled
from pipeline.events import Event
from pipeline.speech_to_speech.brief import STAMP
from pipeline.terminal import (
    STATE_COLOURS,
    Lines,
    Shown,
    latency_line,
    waterfall,
    waterfall_strip,
)
from pipeline.trace import Timeline

YOU_ROWS = 2
REPLY_ROWS = 3
"""So much of what was said last is shown."""

FULL_ROWS = 1 + YOU_ROWS + REPLY_ROWS + 1 + 9
"""Rows of a pane in which everything has its place: state, words, latency, a waterfall."""

FEWEST_ROWS = 3

BESIDE = 54
"""Cells that a pane needs so that panes may stand side by side."""

FRAME = 4
"""Cells, of a pane's width, that its frame takes."""


class Pane(Shown):
    """One system (`Shown`). It keeps what is to be drawn; `Screen` draws it.

    Attributes:
        name: Of the system.
        simulated: Whether one of our own servers is at the other end.
        failed: Why it is over; empty while it goes on.
        marks: Of the last turn that was answered (ns).
        latencies_ms: Voice-to-voice, of every turn that was answered.
        listener: Is given every event first.
    """

    def __init__(self, name: str, put: Callable[[Text], None], *, simulated: bool = False) -> None:
        """Show a system.

        Args:
            name: Its name.
            put: Takes the lines that stay: what was said, and what it took.
            simulated: It is known to be simulated already.
        """
        super().__init__()
        self.name = name
        self.simulated = simulated
        self.failed = ""
        self.marks: Mapping[str, int] = {}
        self.latencies_ms: list[float] = []
        self.listener: Callable[[Event], None] = lambda event: None
        self._put = put
        self._about = ""

    @property
    def title(self) -> str:
        """Its name, with the stamp of a simulation."""
        return titled(self.name, self.simulated)

    def found(self, about: str, simulated: bool) -> None:
        """It is connected; `about` is what was found at the other end."""
        self._about = about
        self.simulated = self.simulated or simulated

    def event(self, event: Event) -> None:
        """Follow an event."""
        self.listener(event)
        super().event(event)

    def say(self, who: str, text: str, colour: str) -> None:
        """Put what was said above the panes, with the system's name."""
        name = (f"{self.title}  ", "bold")
        self._put(Text.assemble(name, (f"{who:>5}  ", colour), text))

    def survived(self, message: str) -> None:
        """Put there what went wrong with a turn."""
        self.say("error", message, "bold red")

    def audible(self, marks: Mapping[str, int]) -> None:
        """A reply begins to be audible; these are the marks of its turn (ns)."""
        timeline = Timeline.from_marks(marks)
        if timeline is None:
            return
        self.marks = dict(marks)
        self.latencies_ms.append(timeline.total_ns / NS_PER_MS)
        self.say("", latency_line(timeline), "dim")

    def summary(self) -> str:
        """What it took so far, in a line."""
        latencies = self.latencies_ms
        if not latencies:
            return "no reply was timed"
        turns = f"{len(latencies)} turn{'s' if len(latencies) > 1 else ''}"
        return f"median voice-to-voice {statistics.median(latencies):.0f} ms of {turns}"

    def heading(self, number: int, heard: bool, width: int) -> Text:
        """Its title in at most `width` cells: the stamp stays, whatever has to go."""
        stamp = f" [{STAMP}]" if self.simulated else ""
        state = " HEARD" if heard else " silent"
        room = width - len(f"{number} {stamp}{state}")
        name = self.name
        if cell_len(name) > room:
            name = f"{set_cell_size(name, room - 1)}…" if room > 0 else ""
        return Text.assemble(
            (f"{number} {name}", "bold" if heard else "default"),
            (stamp, "bold yellow"),
            (state, "bold reverse" if heard else "dim"),
        )

    def rows(self, console: Console, width: int, rows: int, until_ns: int) -> list[Text]:
        """What is to be seen now.

        Args:
            console: Measures text.
            width: Cells that a row may have.
            rows: How many there may be.
            until_ns: Length of the time axis at least (ns), so that panes may be compared.
        """

        def wrapped(*parts: str | Text | tuple[str, str]) -> list[Text]:
            return list(Text.assemble(*parts).wrap(console, max(1, width)))

        if self.failed:
            return wrapped((self.failed, "red"))[:rows]
        shown = wrapped((self.doing, STATE_COLOURS[self.doing]), (f"  {self._about}", "dim"))[:1]
        you = Text(self.you, "" if self.final else "dim")
        shown += wrapped(("you    ", "bold green"), you)[-YOU_ROWS:]
        label, spoken = "reply  ", self.reply[: self.spoken]
        reply = wrapped((label, "bold cyan"), spoken, (self.reply[self.spoken :], "dim"))
        # So much of the reply as has its place, around what is being spoken.
        ends = itertools.accumulate(len(row) + 1 for row in reply)
        reached = (i for i, end in enumerate(ends) if end >= len(label + spoken))
        first = max(0, min(next(reached, len(reply)) - 1, len(reply) - REPLY_ROWS))
        shown += reply[first : first + REPLY_ROWS]
        timeline = Timeline.from_marks(self.marks)
        if timeline is None:
            return shown[:rows]
        latest = f"{timeline.total_ns / NS_PER_MS:.0f} ms; {self.summary()}"
        shown += wrapped((latest, "bold"))[:1]
        ascii_only = console.options.ascii_only
        drawn = list(waterfall(self.marks, width, ascii_only=ascii_only, until_ns=until_ns))
        if len(shown) + len(drawn) > rows:
            strip = waterfall_strip(self.marks, width, ascii_only=ascii_only, until_ns=until_ns)
            drawn = [strip, *wrapped((latency_line(timeline), "dim"))]
        return [*shown, *drawn][:rows]


class Screen(Lines):
    """Panes of all systems.

    Attributes:
        panes: In the order of the systems.
        heard: Index of the system that is heard.
        help: What the keys do.
    """

    def __init__(self, console: Console, names: Sequence[str], simulated: Sequence[bool]) -> None:
        """Show on `console`, which is for people.

        Args:
            console: Where.
            names: Of the systems.
            simulated: Which of them are known to be simulated.
        """
        self.heard = 0
        self.help = ""
        self.panes = [
            Pane(name, self.put, simulated=stamp)
            for name, stamp in zip(names, simulated, strict=True)
        ]
        super().__init__(console, self._render)

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        for pane in self.panes:
            if pane.latencies_ms:
                self.put(Text(f"{pane.title}: {pane.summary()}", "bold"))

    def keys(self, text: str) -> None:
        """Say what the keys do: always in sight on a terminal, else said once."""
        self.help = text
        if not self.console.is_terminal:
            self.note(text)

    def select(self, heard: int) -> None:
        """Show that another system is heard now."""
        self.heard = heard
        self.note(f"now heard: {self.panes[heard].title}")

    def _render(self) -> RenderableType:
        """The panes, side by side where there is room, else one above the other; and the keys."""
        width, height = self.console.size
        count = len(self.panes)
        timelines = [Timeline.from_marks(pane.marks) for pane in self.panes]
        until_ns = max((one.total_ns for one in timelines if one is not None), default=0)
        beside = width // count >= BESIDE
        # One row for the keys, one that stays free, and two of each frame.
        room = height - 4 if beside else (height - 2) // count - 2
        rows = max(FEWEST_ROWS, min(FULL_ROWS, room))
        each = width // count if beside else width
        panels = [self._panel(index, each, rows, until_ns) for index in range(count)]
        grid = Table.grid(expand=True)
        if beside:
            for _ in panels:
                grid.add_column(ratio=1)
            grid.add_row(*panels)
        bottom = Text(self.help, "dim", no_wrap=True, overflow="ellipsis")
        return Group(*([grid] if beside else panels), bottom)

    def _panel(self, index: int, width: int, rows: int, until_ns: int) -> Panel:
        pane, heard = self.panes[index], index == self.heard
        inside = max(1, width - FRAME)
        return Panel(
            Group(*pane.rows(self.console, inside, rows, until_ns)),
            title=pane.heading(index + 1, heard, inside - 2),
            title_align="left",
            box=HEAVY if heard else ROUNDED,
            border_style="red" if pane.failed else "bold cyan" if heard else "dim",
            width=width,
            height=rows + 2,
        )
