"""Moves sound and events between a session and the ends of the line.

The driver moves frames from the microphone to the session and from the session to the speaker,
tells the session what was heard, and shows and traces what happens. It knows only the `Session`
protocol's events; the conversation itself is kept by the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TextIO

from pipeline.audio.line import Line
from pipeline.errors import CascadeError, StageError, first_of
from pipeline.events import (
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyDucked,
    ReplyInterrupted,
    ReplyStarted,
    ReplySwelled,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolCancelled,
    Usage,
    to_json,
)
from pipeline.session import Session
from pipeline.terminal import Shown
from pipeline.trace import Timeline, Trace

Over = Callable[[int, Mapping[str, int], Usage | None], None]
"""Is told that a turn is over: its number, its marks (ns), and what its reply cost, if known."""

Keep = Callable[[], Awaitable[None]]
"""Brings to the disk what there is by now; waited for before it is told that a turn is over."""

RunTool = Callable[[ToolCall], Awaitable[str]]
"""Runs what the model calls, and gives the result for it (`tools.toolbox.Toolbox.answer`)."""

PLAYING = ("playout.first", "heard.first", "playout.last", "heard.last")
"""The marks that the driver gives a turn."""

COMFORT_NS = 500_000_000
"""With this much of a reply still to be heard nobody waits for the stages that make the rest."""


REPORT_S = 0.1
"""How often it is told what is heard of a reply (s). Each time wakes the loop, which takes 0.15 ms,
and nobody has a use for every block of the device (10 ms)."""


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
        lines: TextIO | None = None,
        over: Over | None = None,
        keep: Keep | None = None,
        tools: RunTool | None = None,
        asks: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            session: Who is talked to.
            ends: Where sound comes from and goes to.
            trace: Takes the marks of the playing; the session gives it all others.
            display: What the person sees, if there is one.
            lines: Where every event is written as a line of JSON; None: nowhere.
            over: Is told of every turn that is over, if anybody wants to know.
            keep: Keeps what a crash must not cost, if anything is kept.
            tools: Runs what the model calls; None: somebody else does.
            asks: Whether the user was asked something, and is to answer.
        """
        self.failed = False
        self._session = session
        self._ends = ends
        self._display = display or Shown()
        self._trace = trace
        self._lines = lines
        self._tell_over = over
        self._keep = keep
        self._run_tool = tools
        self._asks = asks
        self._all_said = False
        self._calls: dict[str, asyncio.Task[None]] = {}
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
                for task in (*self._helpers, *self._calls.values()):
                    task.cancel()
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    def busy(self) -> bool:
        """Whether a stage computes that somebody may soon wait for, or a tool works."""
        thinking = bool(self._thinking) and self._ends.playout.pending_ns < COMFORT_NS
        return thinking or bool(self._calls)

    async def _listen(self) -> None:
        """Microphone → session, until the recordings are over and answered."""
        async with contextlib.aclosing(self._ends.frames()) as frames:
            async for frame in frames:
                await self._session.send(frame)
                quiet = not (self._open or self._calls) and self._playing is None
                quiet = quiet or (self._asks() and not self._all_said)
                if not self._ends.go_on(quiet, self._turns):
                    if not self._asks():
                        return
                    self._all_said = True  # which answers the question too, in a while

    async def _follow(self) -> None:
        """Session → speaker, screen and lines of JSON."""
        playout = self._ends.playout
        async for event in self._session.events():
            if isinstance(event, ReplyDone) and self._keep is not None:
                await self._keep()
            if self._lines is not None and not isinstance(event, ReplyAudio):
                print(json.dumps(to_json(event)), file=self._lines, flush=True)
            self._display.event(event)
            match event:
                case SpeechStarted():
                    self._turns += 1
                    self._open.add(event.turn)
                case SpeechStopped():
                    self._thinking.add(event.turn)
                case ReplyStarted():  # of which no turn may have told
                    self._open.add(event.turn)
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
                case ToolCall() if self._run_tool is not None:
                    work = self._work(event, self._run_tool)
                    self._calls[event.id] = self._tasks.create_task(work)
                case ToolCancelled():
                    if task := self._calls.pop(event.id, None):
                        task.cancel()
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

    async def _work(self, call: ToolCall, run: RunTool) -> None:
        """Run a tool, while the conversation goes on."""
        result = await run(call)
        self._calls.pop(call.id, None)
        with contextlib.suppress(CascadeError):  # the session is over
            await self._session.tool_result(call.id, result)

    def _begin(self, event: ReplyAudio) -> _Playing:
        """A reply has sound. A turn's marks are its first reply's: a later one is a late answer."""
        late = "playout.first" in self._trace.marks(event.turn)
        playing = _Playing(event.turn, event.id, set(PLAYING) if late else set())
        task = self._tasks.create_task(self._report_on(playing))
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        return playing

    async def _report_on(self, playing: _Playing) -> None:
        """Tell session, screen and trace what is heard, as the device takes it."""
        wait_s = 0.0
        while True:
            await self._ends.playout.moved(wait_s)
            wait_s = REPORT_S
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
        if self._keep is not None:
            await self._keep()
        if self._playing is playing:
            self._playing = None
        if not played.stopped:
            self._display.heard(Timeline.from_marks(self._trace.marks(playing.turn)))
        self._display.profile(self._trace.marks(playing.turn))
        self._over(playing.turn)

    def _over(self, turn: int) -> None:
        """Nothing more happens in a turn."""
        usage = self._usage.pop(turn, None)
        if self._tell_over is not None:
            self._tell_over(turn, self._trace.marks(turn), usage)

    def _mark(self, playing: _Playing, name: str, t_ns: int | None) -> None:
        if t_ns is not None and name not in playing.marked:
            playing.marked.add(name)
            self._trace.mark(playing.turn, name, t_ns)
