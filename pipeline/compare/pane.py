"""What is shown of one path of a live comparison: what it hears, says, and how fast it is."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from pipeline import waterfall
from pipeline.clock import NS_PER_MS
from pipeline.compare.record import titled
from pipeline.console import COLOURS, State, latency_line
from pipeline.events import (
    Event,
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipeline.speech_to_speech.brief import STAMP
from pipeline.text.spoken import CHARS_PER_SECOND
from pipeline.timeline import Timeline

YOU_ROWS = 2
REPLY_ROWS = 3
"""So much of what was said last is shown."""

FULL_ROWS = 1 + YOU_ROWS + REPLY_ROWS + 1 + 9
"""Rows of a pane in which everything has its place: state, words, latency, a waterfall."""

Say = Callable[[Text], None]
"""Takes a line that stays."""


class Pane:
    """One path (`Shown`). It keeps what is to be drawn; `Screen` draws it.

    Attributes:
        name: Of the path.
        simulated: Whether one of our own servers is at the other end.
        failed: Why it is over; empty while it goes on.
        marks: Of the last turn that was answered (ns).
        latencies_ms: Voice-to-voice, of every turn that was answered.
    """

    def __init__(self, name: str, say: Say, *, simulated: bool = False) -> None:
        """Show a path.

        Args:
            name: Its name.
            say: Takes the lines that stay: what was said, and what it took.
            simulated: It is known to be simulated already.
        """
        self.name = name
        self.simulated = simulated
        self.failed = ""
        self.marks: Mapping[str, int] = {}
        self.latencies_ms: list[float] = []
        self._say = say
        self._about = ""
        self._state: State = "loading"
        self._you = ""
        self._unsure = False
        self._reply = ""
        self._spoken = 0
        self._total_s = 0.0
        self._whole = False
        self._told = True

    @property
    def title(self) -> str:
        """Its name, with the stamp of a simulation."""
        return titled(self.name, self.simulated)

    def found(self, about: str, simulated: bool) -> None:
        """It is connected; `about` is what was found at the other end."""
        self._about = about
        self.simulated = self.simulated or simulated

    def fail(self, reason: str) -> None:
        """It is over."""
        self.failed = reason

    def state(self, state: State) -> None:
        """What the session does now."""
        self._state = state

    def event(self, event: Event) -> None:
        """Show what an event means, if anything."""
        match event:
            case SpeechStarted():
                self.state("hearing")
            case SpeechStopped():
                self.state("thinking")
            case Transcript():
                self._you, self._unsure = event.text, not event.final
                if event.final:
                    self._line("you", event.text or "(no words)", "green")
            case ReplyStarted():
                self._begin()
            case ReplyText():
                self._reply += event.delta
            case ReplyAudio():
                self._total_s += len(event.frame.samples) / event.frame.rate
                self.state("speaking")
            case ReplyInterrupted():
                self._reply = f"{event.heard_text} — (interrupted)".lstrip()
                self._spoken = len(self._reply)
                self._told = True
                self._line("reply", self._reply, "cyan")
            case ReplyDone():
                self._whole = True
            case Failure(fatal=False):
                message = f"turn {event.turn}: {event.stage}: {event.message}"
                self._line("error", message, "bold red")

    def playing(self, played_s: float) -> None:
        """How much of the reply has been played, be it heard or not."""
        total = self._total_s if self._whole else max(1e-9, len(self._reply) / CHARS_PER_SECOND)
        self._spoken = int(len(self._reply) * min(1.0, played_s / max(total, 1e-9)))

    def heard(self, timeline: Timeline | None) -> None:
        """The reply has been played to its end."""
        if self._reply and not self._told:
            self._line("reply", self._reply.strip(), "cyan")
        self._told = True
        self._spoken = len(self._reply)
        self.state("listening")

    def profile(self, marks: Mapping[str, int]) -> None:
        """Nothing more: `answered` has told."""

    def answered(self, marks: Mapping[str, int]) -> None:
        """A reply begins to be audible; these are the marks of its turn (ns)."""
        timeline = Timeline.from_marks(marks)
        if timeline is None:
            return
        self.marks = dict(marks)
        self.latencies_ms.append(timeline.total_ns / NS_PER_MS)
        self._line("", latency_line(timeline), "dim")

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
        room = width - len(f"{number} ") - len(stamp) - len(state)
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
        if self.failed:
            return _wrapped(console, Text(self.failed, "red"), width)[:rows]
        state = Text(self._state, COLOURS[self._state])
        shown = [*_wrapped(console, state.append(f"  {self._about}", "dim"), width)[:1]]
        you = Text.assemble(("you    ", "bold green"), (self._you, "dim" if self._unsure else ""))
        shown += _wrapped(console, you, width)[-YOU_ROWS:]
        shown += self._reply_rows(console, width)
        timeline = Timeline.from_marks(self.marks)
        if timeline is None:
            return shown[:rows]
        latest = f"{timeline.total_ns / NS_PER_MS:.0f} ms; {self.summary()}"
        shown += _wrapped(console, Text(latest, "bold"), width)[:1]
        ascii_only = console.options.ascii_only
        drawn: Sequence[Text] = waterfall.lines(
            self.marks, width, ascii_only=ascii_only, until_ns=until_ns
        )
        if len(shown) + len(drawn) > rows:
            strip = waterfall.strip(self.marks, width, ascii_only=ascii_only, until_ns=until_ns)
            drawn = [strip, *_wrapped(console, Text(latency_line(timeline), "dim"), width)]
        return [*shown, *drawn][:rows]

    def _reply_rows(self, console: Console, width: int) -> list[Text]:
        """The reply, as much as has its place, around what is being spoken."""
        before = Text("reply  ", "bold cyan")
        spoken = Text(self._reply[: self._spoken])
        reply = before + spoken + Text(self._reply[self._spoken :], "dim")
        wrapped = _wrapped(console, reply, width)
        ends = itertools.accumulate(len(row) + 1 for row in wrapped)
        reached = len(before) + len(spoken)
        last = next((i for i, end in enumerate(ends) if end >= reached), len(wrapped))
        first = max(0, min(last - 1, len(wrapped) - REPLY_ROWS))
        return wrapped[first : first + REPLY_ROWS]

    def _begin(self) -> None:
        self._reply = ""
        self._spoken = 0
        self._total_s = 0.0
        self._whole = False
        self._told = False

    def _line(self, who: str, text: str, style: str) -> None:
        self._say(Text.assemble((f"{self.title}  ", "bold"), (f"{who:>5}  ", style), text))


def _wrapped(console: Console, text: Text, width: int) -> list[Text]:
    return list(text.wrap(console, max(1, width)))
