"""What a person sees of a conversation: state, transcript, reply, and a line of latencies a turn.

All of it goes to stderr; stdout belongs to machines. On a terminal one line is alive (the state,
and the words as they form); elsewhere there are plain lines.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Literal, Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.events import (
    Event,
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipeline.text.spoken import CHARS_PER_SECOND
from pipeline.timeline import Timeline

State = Literal["loading", "listening", "hearing", "thinking", "speaking"]

COLOURS: Mapping[State, str] = {
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


class Draw(Protocol):
    """Draws the waterfall of a turn."""

    def __call__(self, marks: Mapping[str, int], width: int, *, ascii_only: bool) -> Iterable[Text]:
        """Lines of at most `width` cells, from a turn's marks (ns)."""
        ...


class Shown(Protocol):
    """What a driver shows: `Display`, or one pane of a screen that shows several sessions."""

    def state(self, state: State) -> None:
        """What the session does now."""
        ...

    def event(self, event: Event) -> None:
        """Show what an event means, if anything."""
        ...

    def playing(self, played_s: float) -> None:
        """How much of the reply has been heard."""
        ...

    def heard(self, timeline: Timeline | None) -> None:
        """The reply has been heard to its end; `timeline` is where its latency went."""
        ...

    def profile(self, marks: Mapping[str, int]) -> None:
        """A reply is over, with these marks of its turn (ns)."""
        ...


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
    if not debug:
        logging.getLogger(__package__).setLevel(logging.WARNING)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever is stderr now: with a live line on it, what is written goes above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _Plain(logging.Formatter):
    """`warning: …` or `error: …`, and no traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


class Display:
    """Shows a conversation. Used as a context manager, so that the terminal is left as it was."""

    def __init__(self, console: Console, draw: Draw | None = None) -> None:
        """Show on `console`; its live line appears only on a terminal.

        Args:
            console: For people.
            draw: Draws where a turn's time went; None: a line of latencies tells it.
        """
        self._console = console
        self._draw = draw
        self._state: State = "loading"
        self._partial = ""
        self._reply = ""
        self._spoken = 0
        self._total_s = 0.0
        self._whole = False
        self._live = (
            Live(
                console=console,
                refresh_per_second=12,
                transient=True,
                get_renderable=self._line,
                # Machine-readable lines go where stdout goes, unless that is this screen.
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

    def note(self, message: str) -> None:
        """Something the person should know."""
        self._print(message, "dim")

    def warn(self, message: str) -> None:
        """Something that went wrong, and is survived."""
        show_error(self._console, message)

    def state(self, state: State) -> None:
        """What the session does now."""
        if state == self._state:
            return
        self._state = state
        if self._live is None and state == "listening":
            self._print("listening")

    def event(self, event: Event) -> None:
        """Show what an event means, if anything."""
        match event:
            case SpeechStarted():
                self.state("hearing")
            case SpeechStopped():
                self.state("thinking")
            case Transcript(final=False):
                self._partial = event.text
            case Transcript():
                self._partial = ""
                self._said("you", event.text or "(no words)", "green")
            case ReplyText():
                self._reply += event.delta
            case ReplyAudio():
                self._total_s += len(event.frame.samples) / event.frame.rate
                self.state("speaking")
            case ReplyInterrupted():
                self._said("cascade", f"{event.heard_text} — (interrupted)".lstrip(" "), "cyan")
                self._forget()
            case ReplyDone(status="completed" | "failed"):
                self._whole = True
            case Failure(fatal=False):
                # A fatal one ends the run, which says why.
                self.warn(f"turn {event.turn}: {event.stage}: {event.message}")

    def playing(self, played_s: float) -> None:
        """How much of the reply has been heard, so that its words light up as they are spoken."""
        total = self._total_s if self._whole else max(1e-9, len(self._reply) / CHARS_PER_SECOND)
        self._spoken = int(len(self._reply) * min(1.0, played_s / max(total, 1e-9)))

    def heard(self, timeline: Timeline | None) -> None:
        """The reply has been heard to its end; `timeline` is where its latency went."""
        if self._reply:
            self._said("cascade", self._reply.strip(), "cyan")
        self._forget()
        if timeline is not None and self._draw is None:
            self._print(f"{'':11}{latency_line(timeline)}", "dim")
        self.state("listening")

    def profile(self, marks: Mapping[str, int]) -> None:
        """A reply is over; draw its turn, if that is wanted."""
        if self._draw is not None:
            options = self._console.options
            drawn = self._draw(marks, options.max_width, ascii_only=options.ascii_only)
            if lines := list(drawn):
                self._console.print(Text("\n").join(lines), soft_wrap=True)

    def _said(self, who: str, text: str, colour: str) -> None:
        self._print(Text.assemble((f"{who:>9}  ", f"bold {colour}"), text))

    def _print(self, what: str | Text, style: str = "default") -> None:
        text = Text(what, style) if isinstance(what, str) else what
        # Wrapped by the terminal, not by us: a log keeps one line a message.
        self._console.print(text, soft_wrap=True)

    def _forget(self) -> None:
        self._reply = ""
        self._spoken = 0
        self._total_s = 0.0
        self._whole = False

    def _line(self) -> Text:
        """The live line: the state, and the words as they form."""
        line = Text(f"{self._state:>9}  ", style=COLOURS[self._state])
        if self._reply:
            line.append(self._reply[: self._spoken], "default")
            line.append(self._reply[self._spoken :], "dim")
        elif self._partial:
            line.append(self._partial, "dim green")
        return line
