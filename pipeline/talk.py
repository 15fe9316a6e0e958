"""`cascade talk`: one session between microphone and speaker, or between files.

The driver moves frames from the microphone to the session and from the session to the speaker,
tells the session what was heard, and shows, records, traces and saves what happens. It knows only
the `Session` protocol's events; the conversation itself is kept by the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipeline.audio.line import MICROPHONE, SPEAKER, Ends, Line
from pipeline.config import Settings
from pipeline.conversation import transcript
from pipeline.conversation.history import Message
from pipeline.errors import BadInput, StageError, first_of
from pipeline.events import (
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyDucked,
    ReplyInterrupted,
    ReplySwelled,
    SpeechStarted,
    SpeechStopped,
    Usage,
    to_json,
)
from pipeline.measure import otel
from pipeline.models.catalogue import Catalogue
from pipeline.models.fetch import provide
from pipeline.session import Session
from pipeline.terminal import Display, Shown, stderr
from pipeline.trace import Timeline, Trace, description

if TYPE_CHECKING:
    from pipeline.engines.local import LocalEngines

PATIENCE_S = 0.3
"""Beyond the hold: silence after a recording that shows that nothing more will be answered."""

PLAYING = ("playout.first", "heard.first", "playout.last", "heard.last")
"""The marks that the driver gives a turn."""

COMFORT_NS = 500_000_000
"""With this much of a reply still to be heard nobody waits for the stages that make the rest."""


@dataclass(frozen=True, slots=True)
class TalkOptions:
    """What one run of `cascade talk` was asked to do.

    Attributes:
        inputs: `mic`, or recordings to play in turn.
        output: `speaker`, or a WAV file.
        record: Stereo WAV of both sides.
        trace: File for the marks.
        save: File for the conversation.
        resume: Saved conversation to go on with.
        fast: Skip the waiting between files.
        json: Print events on stdout.
        profile: After each turn, draw where its time went.
    """

    inputs: tuple[str, ...] = ("mic",)
    output: str = "speaker"
    record: Path | None = None
    trace: Path | None = None
    save: Path | None = None
    resume: Path | None = None
    fast: bool = False
    json: bool = False
    profile: bool = False


def prepare(settings: Settings, options: TalkOptions) -> Coroutine[Any, Any, int]:
    """Check all that can be checked, and fetch the default models that are missing.

    Not for an event loop: that would take notice of Ctrl-C only when the fetch is over.

    Returns:
        The conversation, to be run. It gives the exit code: 1 if a turn failed, or if something
        could not be written that was asked for, which does not end it.

    Raises:
        CascadeError: It cannot begin.
    """
    console = stderr()
    check_files(options)
    history = transcript.load(options.resume) if options.resume else []
    if options.save is not None:
        transcript.check(options.save)
    ends = Ends(
        settings.audio,
        options.inputs,
        options.output,
        record=options.record,
        fast=options.fast,
        patience_s=settings.turns.hold_ms / 1000 + PATIENCE_S,
    )
    # Their libraries take a second to import: what is wrong with the files is told before.
    from pipeline.engines.local import LocalEngines, check_models

    check_models(settings, Catalogue.load(settings.models.dir))
    asyncio.run(ends.find())
    settings = provide(settings, console, instead=True)
    engines = LocalEngines(settings)
    return _hold(settings, options, history, ends, engines, console)


async def _hold(
    settings: Settings,
    options: TalkOptions,
    history: list[Message],
    ends: Ends,
    engines: LocalEngines,
    console: Console,
) -> int:
    """Hold the conversation; whatever ends it, what was said is saved.

    Raises:
        CascadeError: The engines cannot be loaded, a device is gone, or a stage failed for good.
    """
    from pipeline.conversation.cascade import Cascade  # as slow to import

    saved = True
    async with contextlib.AsyncExitStack() as stack:
        trace = stack.enter_context(Trace(options.trace, description(settings, engines.names)))
        display = stack.enter_context(Display(console, drawn=options.profile))
        display.note(f"loading {', '.join(engines.names.values())}")
        spans = await stack.enter_async_context(
            otel.exported(trace.session, settings.llm, engines.names, ends.clock)
        )
        await stack.enter_async_context(engines)
        session = Cascade(engines, settings, trace, ends.clock, history)
        driver = Driver(session, ends, trace, display, as_json=options.json, spans=spans)

        def busy() -> bool:
            return session.preparing or driver.busy()

        await stack.enter_async_context(ends.open(engines.voice.rate, busy))
        if ends.echo_note:
            display.note(ends.echo_note)
        try:
            await driver.run()
        finally:
            if options.save is not None:
                saved = _save(options.save, session.history, display)
    return 1 if driver.failed or ends.failed or trace.failed or not saved else 0


def _save(file: Path, history: list[Message], display: Display) -> bool:
    """Save the conversation; whether that worked. Why it ended is worth telling all the same."""
    try:
        transcript.save(file, history)
    except StageError as error:
        display.warn(str(error))
        return False
    return True


def check_files(options: TalkOptions) -> None:
    """See that no file that is written is also used otherwise, and that each has a folder.

    A conversation may be saved to where it was resumed from.

    Raises:
        BadInput: One is, or has none.
    """
    read = [("--input", Path(name)) for name in options.inputs if name != MICROPHONE]
    output = None if options.output == SPEAKER else Path(options.output)
    named = [
        ("--output", output),
        ("--record", options.record),
        ("--trace", options.trace),
        ("--save", options.save),
    ]
    written = [(flag, path) for flag, path in named if path is not None]
    if options.resume is not None:
        read.append(("--resume", options.resume))
    for i, (flag, path) in enumerate(written):
        if path.is_dir():
            raise BadInput(f"{flag} {path}: is a folder; name a file in it")
        if not path.parent.is_dir():
            raise BadInput(f"{flag} {path}: there is no folder {path.parent}; create it first")
        for other, used in [*read, *written[:i]]:
            if (flag, other) == ("--save", "--resume"):
                continue
            # What is no file, such as /dev/null, may be anything.
            if used.resolve() == path.resolve() and (path.is_file() or not path.exists()):
                raise BadInput(f"{flag} {path}: is the file of {other} too; give it another name")


@dataclass(slots=True)
class _Playing:
    """The reply that is being heard."""

    turn: int
    id: str
    marked: set[str] = field(default_factory=set)


class Driver:
    """Moves sound and events between a session and the ends of the line."""

    def __init__(
        self,
        session: Session,
        ends: Line,
        trace: Trace,
        display: Shown | None = None,
        *,
        as_json: bool = False,
        spans: otel.TurnSpans | None = None,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            session: Who is talked to.
            ends: Where sound comes from and goes to.
            trace: Takes the marks of the playing; the session gives it all others.
            display: What the person sees, if there is one.
            as_json: Print every event on stdout.
            spans: Takes the marks of every turn that is over, if anybody wants them.
        """
        self.failed = False
        self._session = session
        self._ends = ends
        self._display = display or Shown()
        self._trace = trace
        self._as_json = as_json
        self._spans = spans
        self._usage: dict[int, Usage] = {}
        self._turns = 0
        self._open: set[int] = set()
        self._helpers: set[asyncio.Task[None]] = set()
        self._thinking: set[int] = set()
        self._playing: _Playing | None = None
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Talk until the input is over, or for ever with a microphone.

        Raises:
            StageError: A device is gone, or a stage failed for good.
        """
        try:
            async with self._session, self._tasks:
                self._helpers = {
                    self._tasks.create_task(self._follow()),
                    self._tasks.create_task(self._ends.watch()),
                }
                self._display.state("listening")
                await self._listen()
                for task in self._helpers:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    def busy(self) -> bool:
        """Whether a stage computes that somebody may soon wait for."""
        return bool(self._thinking) and self._ends.playout.pending_ns < COMFORT_NS

    async def _listen(self) -> None:
        """Microphone → session, until the recordings are over and answered."""
        async with contextlib.aclosing(self._ends.frames()) as frames:
            async for frame in frames:
                await self._session.send(frame)
                quiet = not self._open and self._playing is None
                if not self._ends.go_on(quiet, self._turns):
                    return

    async def _follow(self) -> None:
        """Session → speaker, screen and stdout."""
        playout = self._ends.playout
        async for event in self._session.events():
            if self._as_json and not isinstance(event, ReplyAudio):
                print(json.dumps(to_json(event)), flush=True)
            self._display.event(event)
            match event:
                case SpeechStarted():
                    self._turns += 1
                    self._open.add(event.turn)
                case SpeechStopped():
                    self._thinking.add(event.turn)
                case ReplyAudio():
                    if self._playing is None or self._playing.id != event.id:
                        self._playing = self._begin(event)
                    playout.write(event.id, event.frame.samples, event.frame.rate)
                case ReplyDucked():
                    playout.duck()
                case ReplySwelled():
                    playout.swell()
                case ReplyInterrupted():
                    playout.stop()
                    await self._session.heard(event.id, playout.position(event.id))
                case Usage():
                    self._usage[event.turn] = event
                case ReplyDone():
                    self._thinking.discard(event.turn)
                    self._open.discard(event.turn)
                    playout.finish(event.id)
                    if playout.played(event.id) is None:
                        self._over(event.turn)
                        if event.status != "interrupted":
                            self._display.heard(None)
                case Failure():
                    self.failed = True
                    if event.fatal:
                        self._over(event.turn)
                        raise StageError(event.stage, event.message, fatal=True)

    def _begin(self, event: ReplyAudio) -> _Playing:
        """A reply has sound. A turn's marks are its first reply's: a later one is a late answer."""
        late = "playout.first" in self._trace.marks(event.turn)
        playing = _Playing(event.turn, event.id, set(PLAYING) if late else set())
        task = self._tasks.create_task(self._report_on(playing))
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        return playing

    async def _report_on(self, playing: _Playing) -> None:
        """Tell session, screen and trace what is heard, with every block that the device takes."""
        while True:
            await self._ends.playout.moved()
            played = self._ends.playout.played(playing.id)
            if played is None:
                continue
            await self._session.heard(playing.id, played.position)
            self._display.playing(played.position / played.rate)
            self._mark(playing, "playout.first", played.first_ns)
            self._mark(playing, "heard.first", played.audible_ns)
            if played.done:
                break
        self._mark(playing, "playout.last", played.last_ns)
        self._mark(playing, "heard.last", played.last_audible_ns)
        if self._playing is playing:
            self._playing = None
        if not played.stopped:
            self._display.heard(Timeline.from_marks(self._trace.marks(playing.turn)))
        self._display.profile(self._trace.marks(playing.turn))
        self._over(playing.turn)

    def _over(self, turn: int) -> None:
        """Nothing more happens in a turn."""
        usage = self._usage.pop(turn, None)
        if self._spans is not None:
            self._spans.turn(turn, self._trace.marks(turn), usage)

    def _mark(self, playing: _Playing, name: str, t_ns: int | None) -> None:
        if t_ns is not None and name not in playing.marked:
            playing.marked.add(name)
            self._trace.mark(playing.turn, name, t_ns)
