"""What a person sees of a conversation: state, words, and where the time of each turn went.

All of it goes to stderr; stdout belongs to machines. On a terminal one line is alive (the state,
and the words as they form); elsewhere there are plain lines. `waterfall` draws a turn:

                ms hidden  0         100        200       300        400
    endpoint   300         ├──────────── hold ────────────┤ commit
         STT     0     85           ░░░░░░░░              │
 first token    31     24                   ░░            ▇▇▇

Every line has the same axis, in milliseconds from the last voiced sample. Each part of the latency
has a line, with what it added; work that nobody waited for is drawn lighter.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Self, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from pipeline.clock import NS_PER_MS
from pipeline.errors import one_line
from pipeline.events import (
    Event,
    Failure,
    PicturesUnseen,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
)
from pipeline.pictures import Picture
from pipeline.text.heard import CHARS_PER_SECOND
from pipeline.trace import Timeline, stages_of

State = Literal["loading", "listening", "hearing", "thinking", "speaking"]

STATE_COLOURS: Mapping[State, str] = {
    "loading": "dim",
    "listening": "green",
    "hearing": "bold green",
    "thinking": "yellow",
    "speaking": "bold cyan",
}

LABELS = {
    "endpoint": "endpoint",
    "stt": "STT",
    "llm_first_token": "first token",
    "first_clause": "first clause",
    "tts_first_audio": "first audio",
    "model": "model",
    "device": "device",
    "own": "own",
}
"""The parts of a turn, in the words of the latency line."""


class Shown:
    """Follows a conversation for whoever shows it: `Display`, and the panes of `compare --live`.

    By itself it shows nothing.

    Attributes:
        doing: What the session does now.
        you: What the user says, or said last, as far as it is recognised.
        final: Whether that is all of it.
        reply: The words of the reply, as far as they are known.
        spoken: How many of its characters have been played.
        told: Whether the reply is over and `say` was given it.
    """

    reply: str
    spoken: int
    _total_s: float
    _whole: bool

    def __init__(self) -> None:
        """Follow a conversation that has not begun."""
        self.doing: State = "loading"
        self.you = ""
        self.final = True
        self.told = True
        self._begin()

    def state(self, state: State) -> None:
        """Take note of what the session does now."""
        self.doing = state

    def event(self, event: Event) -> None:
        """Follow an event."""
        match event:
            case SpeechStarted():
                self.state("hearing")
            case SpeechStopped():
                self.state("thinking")
            case Transcript():
                self.you, self.final = event.text, event.final
                if event.final:
                    self.say("you", event.text or "(no words)", "green")
            case ReplyStarted() if self.told:
                self._begin()
                self.told = False
            case ReplyText():
                self.reply += event.delta
            case ReplyAudio():
                self._total_s += len(event.frame.samples) / event.frame.rate
                self.state("speaking")
            case ToolCall():
                self.say("tool", f"{event.name} {one_line(event.arguments, 100)}", "magenta")
            case ReplyInterrupted():
                self.reply = f"{event.heard_text} — (interrupted)".lstrip()
                self._over()
            case ReplyDone(status="completed" | "failed"):
                self._whole = True
            case ReplyDone(status="incomplete"):
                self._whole = True
                self.reply = f"{self.reply.rstrip()} — (cut off)"
                self.survived(f"turn {event.turn}: llm: {event.reason}")
            case PicturesUnseen():
                self.survived(event.message)
            case Failure(fatal=False):
                # A fatal one ends the run, which says why.
                self.survived(f"turn {event.turn}: {event.stage}: {event.message}")

    def playing(self, played_s: float) -> None:
        """Take note of how much of the reply has been played: so far its words are spoken."""
        total = self._total_s if self._whole else max(1e-9, len(self.reply) / CHARS_PER_SECOND)
        self.spoken = int(len(self.reply) * min(1.0, played_s / max(total, 1e-9)))

    def heard(self, timeline: Timeline | None) -> None:
        """The reply has been played to its end; `timeline` is where its latency went."""
        self._over()
        self.state("listening")

    def profile(self, marks: Mapping[str, int]) -> None:
        """A reply is over, with these marks of its turn (ns)."""

    def say(self, who: Literal["you", "reply", "tool"], text: str, colour: str) -> None:
        """Show what one of the two has said, or which tool was called, for good."""

    def survived(self, message: str) -> None:
        """Show what went wrong with a turn."""

    def _begin(self) -> None:
        self.reply = ""
        self.spoken = 0
        self._total_s = 0.0
        self._whole = False

    def _over(self) -> None:
        if self.reply and not self.told:
            self.say("reply", self.reply.strip(), "cyan")
        self.told = True
        self.spoken = len(self.reply)


def latency_line(timeline: Timeline) -> str:
    """A turn's voice-to-voice latency and its parts, in whole milliseconds."""
    parts = [f"{LABELS[name]} {ns / 1e6:.0f}" for name, ns in timeline.parts.items()]
    return f"voice-to-voice {timeline.total_ns / 1e6:.0f} ms = {' + '.join(parts)}"


def stderr() -> Console:
    """For people. What it is given is shown as it is: paths may hold brackets and colons."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def stdout() -> Console:
    """For results that were asked for; as `stderr`."""
    return Console(markup=False, emoji=False, highlight=False)


@contextlib.contextmanager
def stdout_alone() -> Generator[TextIO, None, None]:
    """Keep stdout for machine-readable lines, and give what they are written to.

    What else is printed meanwhile, by tools, their libraries and what they start, goes to stderr.
    """
    ours: TextIO = sys.stdout
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if ours is not sys.__stdout__:
            yield ours  # somebody has redirected it
            return
        ours.flush()
        place = ours.fileno()
        kept = os.dup(place)
        lines = os.fdopen(kept, "w", encoding=ours.encoding, errors=ours.errors)
        stack.enter_context(lines)
        os.dup2(2, place)
        stack.callback(os.dup2, kept, place)
        yield lines


def show_error(console: Console, message: str) -> None:
    """Say what went wrong."""
    console.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)


def log_to_stderr(debug: bool) -> None:
    """Show what is logged: our warnings and everybody's errors, as messages for people.

    Args:
        debug: Show everything, with its logger's name and with tracebacks.
    """
    handler = _Stderr()
    if not debug:
        handler.setFormatter(_Plain())
    form = "%(name)s: %(message)s"
    level = logging.DEBUG if debug else logging.ERROR
    logging.basicConfig(level=level, format=form, handlers=[handler])
    if debug:
        # Tells the whole URL of each server and request, and so the secrets that may be in one.
        for name in ("mcp.client", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
    else:
        logging.getLogger(__package__).setLevel(logging.WARNING)
        for name in ("mcp", "client"):
            # The MCP SDK's, which logs with a traceback whatever a server writes amiss.
            logging.getLogger(name).setLevel(logging.CRITICAL)


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


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever is stderr now: with a live line on it, what is written goes above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Plain(logging.Formatter):
    """`warning: …` or `error: …`, and no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


class _Live(Live):
    """Draws what has changed: the same line twelve times a second is 0.4 s of CPU a minute."""

    _drawn: RenderableType | None = None

    def refresh(self) -> None:
        with self._lock:
            shown = self.get_renderable()
            if shown != self._drawn:
                self._drawn = shown
                super().refresh()


class Lines:
    """Lines that stay, and on a terminal something that is alive below them.

    Used as a context manager, so that the terminal is left as it was.
    """

    def __init__(self, console: Console, render: Callable[[], RenderableType]) -> None:
        """Write on `console`, which is for people.

        Args:
            console: Where.
            render: Gives what is alive; it is asked at once.
        """
        self.console = console
        self._live = _Live(
            console=console,
            refresh_per_second=12,
            transient=True,
            get_renderable=render,
            # Machine-readable lines go where stdout goes, unless that is this screen.
            redirect_stdout=sys.stdout.isatty(),
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def note(self, message: str) -> None:
        """Say something that the person should know."""
        self.put(Text(message, "dim"))

    def warn(self, message: str) -> None:
        """Say what went wrong, and is survived."""
        show_error(self.console, message)

    def put(self, text: Text) -> None:
        """Write a line that stays."""
        # Wrapped by the terminal, not by us: a log keeps one line a message.
        self.console.print(text, soft_wrap=True)


class Display(Lines, Shown):
    """Shows a conversation: what was said stays, and the words are alive as they form."""

    def __init__(self, console: Console, *, drawn: bool = False) -> None:
        """Show on `console`.

        Args:
            console: For people.
            drawn: Draw where each turn's time went; else a line of latencies tells it.
        """
        Shown.__init__(self)
        self._drawn = drawn
        Lines.__init__(self, console, self._line)

    def survived(self, message: str) -> None:
        """Show what went wrong with a turn."""
        self.warn(message)

    def state(self, state: State) -> None:
        """What the session does now."""
        if state == "listening" != self.doing and not self.console.is_terminal:
            self.put(Text("listening"))
        super().state(state)

    def say(self, who: Literal["you", "reply", "tool"], text: str, colour: str) -> None:
        """Show what one of the two has said, or which tool was called, for good."""
        name = "cascade" if who == "reply" else who
        self.put(Text.assemble((f"{name:>9}  ", f"bold {colour}"), text))

    def shows(self, name: str, picture: Picture) -> None:
        """The user shows a picture."""
        self.say("you", f"(shows {name}, {picture.width} × {picture.height})", "green")

    def heard(self, timeline: Timeline | None) -> None:
        """The reply has been heard to its end; `timeline` is where its latency went."""
        self._over()
        if timeline is not None and not self._drawn:
            self.put(Text(f"{'':11}{latency_line(timeline)}", "dim"))
        self.state("listening")

    def profile(self, marks: Mapping[str, int]) -> None:
        """A reply is over; draw its turn, if that is wanted."""
        if self._drawn:
            options = self.console.options
            lines = waterfall(marks, options.max_width, ascii_only=options.ascii_only)
            if lines:
                self.put(Text("\n").join(lines))

    def _line(self) -> Text:
        """The live line: the state, and the words as they form."""
        line = Text(f"{self.doing:>9}  ", style=STATE_COLOURS[self.doing])
        if self.reply and not self.told:
            line.append(self.reply[: self.spoken], "default")
            line.append(self.reply[self.spoken :], "dim")
        elif not self.final:
            line.append(self.you, "dim green")
        return line


# ---- the waterfall of one turn: marks in, lines out ---------------------------------------------

WIDEST = 120
"""A wider terminal gains nothing (cells)."""

NARROWEST = 16
"""With less room than this for the axis (cells) only the numbers are shown."""

STEPS_MS = (1, 2, 5)
"""The axis has a tick at every multiple of one of these, times a power of ten (ms)."""

TICK_ROOM = 10
"""Cells from one tick to the next, at least: its label and space."""

PART_COLOURS = {"endpoint": "blue", "device": "bright_blue", "own": "red"}
STAGE_COLOUR = "green"

COMMIT = " commit"
"""Behind the end of the hold."""

_LABEL = max(map(len, LABELS.values()))
_GUTTER = " " * (_LABEL + len(" 00000 000000  "))


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What bars are drawn with.

    Attributes:
        waited: Work that somebody waited for.
        hidden: Work that nobody waited for.
        short: Less than half a cell of either.
        begin, line, end: A span of time.
        commit: Where the turn was taken for over.
    """

    waited: str
    hidden: str
    short: str
    begin: str
    line: str
    end: str
    commit: str


BLOCKS = Glyphs("▇", "░", "·", "├", "─", "┤", "│")
ASCII = Glyphs("#", ":", ".", "|", "-", "|", "|")


def waterfall(
    marks: Mapping[str, int], width: int = 80, *, ascii_only: bool = False, until_ns: int = 0
) -> list[Text]:
    """Draw a turn.

    Args:
        marks: Of the turn, by name (ns).
        width: Cells that a line may have.
        ascii_only: Where nothing else can be written.
        until_ns: The axis is so long at least (ns), that turns may be compared.

    Returns:
        Lines no wider than `width`; none if no reply was heard.
    """
    timeline = Timeline.from_marks(marks)
    if timeline is None:
        return []
    width = max(0, min(width, WIDEST))
    room = width - len(_GUTTER)
    drawn = timeline.total_ns > 0 and room >= NARROWEST
    axis = _Axis(timeline, room, ASCII if ascii_only else BLOCKS, until_ns) if drawn else None
    waited, hidden = whole_ms(timeline.parts), whole_ms(timeline.hidden)
    made = [_row("", "ms", "hidden", axis.scale() if axis else Text(), style="dim")]
    busy = dict(_busy(marks))
    for name in timeline.parts:
        picture = axis.bar(name, timeline, busy.get(name)) if axis else Text()
        made.append(_row(LABELS[name], str(waited[name]), str(hidden.get(name) or ""), picture))
    span = axis.span("voice-to-voice", timeline.total_ns) if axis else Text()
    total, ahead = sum(waited.values()), sum(hidden.values())
    made.append(_row("total", str(total), str(ahead or ""), span, style="bold"))
    for line in made:
        line.rstrip()
        line.truncate(width)
    return made


def waterfall_strip(
    marks: Mapping[str, int], width: int, *, ascii_only: bool, until_ns: int = 0
) -> Text:
    """A turn in one line, where there is no room for more: its parts, one after another.

    Args and axis are those of `waterfall`; the line is empty if no reply was heard.
    """
    timeline = Timeline.from_marks(marks)
    drawn = Text()
    if timeline is None or timeline.total_ns <= 0:
        return drawn
    glyphs = ASCII if ascii_only else BLOCKS
    axis_ns = max(timeline.total_ns, until_ns)
    passed_ns = 0
    for name, ns in timeline.parts.items():
        passed_ns += ns
        cells = round(passed_ns * width / axis_ns) - len(drawn)
        glyph = {"endpoint": glyphs.line, "own": glyphs.short}.get(name, glyphs.waited)
        drawn.append(glyph * cells, PART_COLOURS.get(name, STAGE_COLOUR))
    return drawn


def whole_ms(parts_ns: Mapping[str, int]) -> dict[str, int]:
    """Parts (ns) in whole milliseconds, which sum to the rounded sum.

    All are rounded down, and those that lost most get the rest, a millisecond each.
    """
    shown = {name: ns // NS_PER_MS for name, ns in parts_ns.items()}
    missing = round(sum(parts_ns.values()) / NS_PER_MS) - sum(shown.values())
    by_loss = sorted(parts_ns, key=lambda name: -(parts_ns[name] % NS_PER_MS))
    for name in by_loss[:missing]:
        shown[name] += 1
    return shown


def _busy(marks: Mapping[str, int]) -> Iterator[tuple[str, tuple[int, int]]]:
    """When each stage worked, from its beginning to its end (ns after the end of speech)."""
    start = marks["speech.end"]
    for name, first, last in stages_of(marks):
        if first in marks and last in marks:
            begin = marks[first] - start
            yield name, (begin, max(begin, marks[last] - start))


class _Axis:
    """The time from the last voiced sample to the first audible one at least, in cells."""

    def __init__(self, timeline: Timeline, room: int, glyphs: Glyphs, until_ns: int) -> None:
        self._heard_ns = timeline.total_ns
        self._total_ns = max(timeline.total_ns, until_ns)
        self._room = room
        self._glyphs = glyphs
        self._commit = self._cell(timeline.parts["endpoint"])

    def scale(self) -> Text:
        """The labels of the ticks, each beginning where its tick is."""
        step_ns = self._step_ns()
        line = ""
        for at_ns in range(0, self._total_ns + 1, step_ns):
            label = f"{at_ns // NS_PER_MS}"
            cell = self._cell(at_ns)
            if cell + len(label) <= self._room:
                line = line.ljust(cell) + label
        return Text(line)

    def bar(self, name: str, timeline: Timeline, busy: tuple[int, int] | None) -> Text:
        """The line of a part, whose stage was busy then."""
        colour = PART_COLOURS.get(name, STAGE_COLOUR)
        if name == "endpoint":
            hold = self.span("hold", timeline.parts[name], colour)
            fits = len(hold) + len(COMMIT) <= self._room
            return hold.append(COMMIT, "dim") if fits else hold
        cells = [(" ", "")] * self._room
        cells[self._commit] = (self._glyphs.commit, "dim")
        if busy is not None:
            self._fill(cells, busy, (self._glyphs.hidden, f"dim {colour}"))
        for part, begin, end in timeline.stretches:
            if part == name:
                self._fill(cells, (begin, end), (self._glyphs.waited, colour))
        return Text.assemble(*cells)

    def span(self, name: str, until_ns: int, style: str = "") -> Text:
        """A line from the last voiced sample to `until_ns`, with its name in it if that fits."""
        length = self._cell(until_ns) + 1
        if length < 2:
            return Text(self._glyphs.end, style)
        inside = length - 2
        name = f" {name} " if len(name) + 4 <= inside else ""
        drawn = name.center(inside, self._glyphs.line) if name else self._glyphs.line * inside
        return Text(self._glyphs.begin + drawn + self._glyphs.end, style)

    def _fill(
        self, cells: list[tuple[str, str]], time: tuple[int, int], cell: tuple[str, str]
    ) -> None:
        """Draw a stretch of time; its ends are rounded, not its length."""
        begin, end = (min(max(0, at), self._heard_ns) for at in time)
        if begin == end:
            return
        first, after = self._edge(begin), self._edge(end)
        if first == after:
            place = min(first, self._room - 1)
            if cells[place][0] in (" ", self._glyphs.hidden, self._glyphs.commit):
                cells[place] = (self._glyphs.short, cell[1])
            return
        cells[first:after] = [cell] * (after - first)

    def _edge(self, at_ns: int) -> int:
        """Which edge between two cells is nearest, from 0 to `room`."""
        return round(at_ns * self._room / self._total_ns)

    def _cell(self, at_ns: int) -> int:
        """Which cell a moment lies in."""
        return min(self._room - 1, max(0, self._edge(at_ns)))

    def _step_ns(self) -> int:
        """From tick to tick."""
        least = self._total_ns * TICK_ROOM / self._room
        scale = NS_PER_MS
        while True:
            for step in STEPS_MS:
                if step * scale >= least:
                    return step * scale
            scale *= 10


def _row(label: str, ms: str, hidden: str, picture: Text, style: str = "") -> Text:
    """A line: name, milliseconds waited for, milliseconds hidden, bar."""
    line = Text(f"{label:>{_LABEL}} {ms:>5} {hidden:>6}  ", style)
    return line.append_text(picture)
