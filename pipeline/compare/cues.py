"""What happens in a conversation: when the next utterance begins, and what came of each.

An utterance begins once the reply to the one before it is over and a pause has passed; or in the
middle of that reply, or while a tool works, if the scenario says so; or when nothing has come for
so long that nothing will. `Cues` decides that, facts in and decisions out; `Observed` watches the
session, tells the cues, and answers its tools.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pipeline.audio.line import Ends
from pipeline.clock import NS_PER_S
from pipeline.compare.scenario import Step, Toolbox
from pipeline.errors import CascadeError
from pipeline.events import (
    Event,
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    SpeechStarted,
    ToolCall,
    ToolCancelled,
    Usage,
)
from pipeline.measure.recording import RecordedSession
from pipeline.session import Session

Cue = Literal["wait", "next", "end"]

LONGEST_S = 300.0
"""A reply that goes on for longer, patience aside, is not listened to any more."""

LAST_PAUSE_S = 0.3
"""Silence after the last reply, so that its end is in the recording."""


@dataclass(slots=True)
class Said:
    """One utterance, as it went.

    Attributes:
        step: What was to be said.
        begun_ns: When its recording began; until that is known, when it was asked to.
        begun: Whether that is known.
        over_ns: When that was over; None: not yet.
        turns: The session's turns that began since.
        done_ns: When each of them was last said to be over.
        called_ns: When a tool was last called.
        heard_ns: When its reply was first heard.
        late: Nothing came within the scenario's patience.
        failed: What failed in it.
    """

    step: Step
    begun_ns: int
    begun: bool = False
    over_ns: int | None = None
    turns: list[int] = field(default_factory=list)
    done_ns: dict[int, int] = field(default_factory=dict)
    called_ns: int | None = None
    heard_ns: int | None = None
    late: bool = False
    failed: str = ""

    @property
    def end_ns(self) -> int:
        """When the user has finished."""
        step = self.step
        end_s = step.end_of_speech_s or step.audible_s or step.seconds
        return self.begun_ns + int(end_s * NS_PER_S)

    @property
    def answered(self) -> bool:
        """Whether a turn was over after the user had finished."""
        # What ends sooner was taken for a turn by mistake: the rest is yet to be answered.
        return any(t_ns >= self.end_ns for t_ns in self.done_ns.values())


class Cues:
    """Gives the cues of one conversation. Times are of the monotonic clock (ns)."""

    def __init__(self, steps: Sequence[Step], begun_ns: int, listen_s: float | None = None) -> None:
        """Begin with the first utterance.

        Args:
            steps: What is to be said.
            begun_ns: When the first recording begins.
            listen_s: So much of the last reply is listened to (s); None: all of it.
        """
        self.said = [Said(steps[0], begun_ns)]
        self._steps = steps
        self._listen_s = listen_s
        self._asked: dict[str, int] = {}
        self._owed: set[int] = set()
        self._quiet_ns: int | None = None
        self._active_ns = begun_ns

    @property
    def current(self) -> Said:
        """The utterance that is being said, or answered."""
        return self.said[-1]

    def event(self, event: Event, now_ns: int) -> None:
        """Take what the session tells."""
        said = self.current
        match event:
            case SpeechStarted():
                said.turns.append(event.turn)
            case ToolCall():
                said.called_ns = now_ns
                self._asked[event.id] = event.turn
                self._owed.add(event.turn)
            case ToolCancelled():
                self.result(event.id)
                self._owed.discard(event.turn)
            case ReplyDone():
                if event.turn in said.turns:
                    said.done_ns[event.turn] = now_ns
                if event.turn not in self._asked.values():
                    self._owed.discard(event.turn)
            case Failure():
                mine = (one for one in self.said if event.turn in one.turns)
                next(mine, said).failed = f"{event.stage}: {event.message}"
        # An open session is billed again and again, be it ever so silent.
        if not isinstance(event, Usage):
            self._active_ns = max(self._active_ns, now_ns)

    def result(self, call_id: str, now_ns: int = 0) -> None:
        """Take that a tool has answered."""
        self._asked.pop(call_id, None)
        self._active_ns = max(self._active_ns, now_ns)

    def heard(self, now_ns: int, turn: int | None = None) -> None:
        """Take that a reply is being heard; of which turn, if that is known."""
        said = self.current
        # What goes on of an earlier reply, or comes late, answers nothing of this.
        mine = turn is None or turn in said.turns
        if mine and said.heard_ns is None and said.over_ns is not None:
            said.heard_ns = now_ns
        self._active_ns = max(self._active_ns, now_ns)

    def begins(self, begun_ns: int) -> None:
        """Take when the current recording began exactly."""
        self.current.begun_ns, self.current.begun = begun_ns, True

    def finished(self, now_ns: int) -> bool:
        """Whether the user has finished what is being said."""
        return self.current.begun and now_ns >= self.current.end_ns

    def over(self, begun_ns: int, t_ns: int) -> None:
        """Take that the current recording was over at `t_ns`, and when it began exactly."""
        if self.current.over_ns is None:
            self.begins(begun_ns)
            self.current.over_ns = t_ns
            self._active_ns = max(self._active_ns, t_ns)

    def next(self, begun_ns: int) -> None:
        """Take that the next recording begins."""
        self.said.append(Said(self._steps[len(self.said)], begun_ns))
        self._quiet_ns = None
        self._active_ns = max(self._active_ns, begun_ns)

    def look(self, now_ns: int, quiet: bool) -> Cue:
        """What to do now.

        Args:
            now_ns: The time.
            quiet: No turn is open, and nothing is played.
        """
        said = self.current
        if said.over_ns is None:
            return "wait"
        last = len(self.said) == len(self._steps)
        go_on: Cue = "end" if last else "next"
        if last:
            if self._enough(said, now_ns):
                return "end"
        elif self._cut_in(said, self._steps[len(self.said)], now_ns):
            return "next"
        if not (quiet and said.answered and not self._owed):
            self._quiet_ns = None
        elif self._quiet_ns is None:
            self._quiet_ns = now_ns
        pause_s = LAST_PAUSE_S if last else self._steps[len(self.said)].pause_s
        if self._quiet_ns is not None and now_ns - self._quiet_ns >= pause_s * NS_PER_S:
            return go_on
        if self._impatient(said, now_ns):
            said.late = True
            self._owed.clear()
            return go_on
        return "wait"

    def _impatient(self, said: Said, now_ns: int) -> bool:
        """Whether nothing has come for too long, or too much."""
        patience_ns = int(said.step.patience_s * NS_PER_S)
        over_ns = said.over_ns or now_ns
        if now_ns - over_ns >= patience_ns + LONGEST_S * NS_PER_S:
            return True
        # While one of our own tools works, the other side is not waited for.
        return not self._asked and now_ns - self._active_ns >= patience_ns

    def _enough(self, said: Said, now_ns: int) -> bool:
        """Whether enough of the last reply was heard."""
        if self._listen_s is None or said.heard_ns is None:
            return False
        return now_ns - said.heard_ns >= self._listen_s * NS_PER_S

    def _cut_in(self, said: Said, step: Step, now_ns: int) -> bool:
        """Whether the next utterance begins in the middle of things."""
        for after_s, since_ns in (
            (step.interrupt_s, said.heard_ns),
            (step.after_call_s, said.called_ns),
        ):
            if after_s is not None and since_ns is not None:
                return now_ns - since_ns >= after_s * NS_PER_S
        return False


@dataclass(slots=True)
class Asked:
    """A call as it went; times of the monotonic clock (ns)."""

    turn: int
    id: str
    name: str
    arguments: str
    asked_ns: int
    answered_ns: int | None = None
    cancelled: bool = False
    result_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Filler:
    """What of a turn was only to bridge the time: `samples` of reply `reply_id`."""

    reply_id: str
    samples: int


class Observed(RecordedSession):
    """A session that passes everything on, notes it, and gives tools' results.

    Attributes:
        calls: Tools that were called, in order.
        usage: What was used, with the turn, in order.
        fillers: What of each turn was filler, by turn.
        positions: Of each reply, when how many of its samples had been played.
        rates: Of each reply (Hz).
        order: The replies of each turn, in order.
        interrupted: What was heard of replies that were cut short, by turn.
    """

    def __init__(
        self,
        session: Session,
        ends: Ends,
        cues: Cues,
        toolbox: Toolbox,
        commit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Observe `session`.

        Args:
            session: Who is talked to.
            ends: Where its replies are heard.
            cues: Are told what happens.
            toolbox: Answers its calls.
            commit: Says to the session that the user has finished; None: it finds that out.
        """
        super().__init__(session, ends)
        self.calls: list[Asked] = []
        self.usage: list[dict[str, Any]] = []
        self.fillers: dict[int, Filler] = {}
        self.positions: dict[str, list[tuple[int, int]]] = {}
        self.rates: dict[str, int] = {}
        self.order: dict[int, list[str]] = {}
        self.interrupted: dict[int, str] = {}
        self._clock = ends.clock
        self._cues = cues
        self._toolbox = toolbox
        self._commit = commit
        self._committed = 0
        self._made: dict[str, int] = {}
        self._tools = asyncio.TaskGroup()
        self._working: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self._tools.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        for task in self._working:
            task.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._tools.__aexit__(None, None, None)
        finally:
            await super().__aexit__(*exc)

    async def send(self, frame: Frame) -> None:
        """Pass a frame on; where nobody else finds the end of a turn, say so at its true end."""
        await super().send(frame)
        if self._commit is None or self._committed == len(self._cues.said):
            return
        if self._cues.finished(frame.t_ns + frame.duration_ns):
            self._committed = len(self._cues.said)
            await self._commit()

    async def heard(self, reply_id: str, samples: int) -> None:
        """Pass the playout position on, and note it."""
        now_ns = self._clock.now_ns()
        positions = self.positions.setdefault(reply_id, [])
        if samples > (positions[-1][1] if positions else 0):
            positions.append((now_ns, samples))
            played = self._ends.playout.played(reply_id)
            # The silence that a reply begins with is not heard.
            if played is not None and played.audible_ns is not None:
                turn = next((one for one, ids in self.order.items() if reply_id in ids), None)
                self._cues.heard(now_ns, turn)
        await super().heard(reply_id, samples)

    async def events(self) -> AsyncGenerator[Event, None]:
        """The session's events, noted; calls are answered."""
        async for event in super().events():
            now_ns = self._clock.now_ns()
            self._observe(event, now_ns)
            self._cues.event(event, now_ns)
            yield event

    def _observe(self, event: Event, now_ns: int) -> None:
        match event:
            case ReplyAudio():
                made = self._made.get(event.id, 0) + len(event.frame.samples)
                self._made[event.id] = made
                self.rates[event.id] = event.frame.rate
                replies = self.order.setdefault(event.turn, [])
                if event.id not in replies:
                    replies.append(event.id)
                if event.filler:
                    self.fillers[event.turn] = Filler(event.id, made)
            case ToolCall():
                self._call(event, now_ns)
            case ToolCancelled():
                for call in self.calls:
                    if call.id == event.id and call.answered_ns is None:
                        call.cancelled = True
            case ReplyInterrupted():
                self.interrupted[event.turn] = event.heard_text
            case Usage():
                plain = dataclasses.asdict(event)
                self.usage.append(plain)

    def _call(self, event: ToolCall, now_ns: int) -> None:
        call = Asked(event.turn, event.id, event.name, event.arguments, now_ns)
        self.calls.append(call)
        replies = self.order.get(event.turn)
        if replies:
            self.fillers[event.turn] = Filler(replies[-1], self._made[replies[-1]])
        task = self._tools.create_task(self._work(call))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, call: Asked) -> None:
        output, delay_s = self._toolbox.answer(call.name, call.arguments)
        if delay_s:
            await asyncio.sleep(delay_s)
        if call.cancelled:
            return
        call.answered_ns = self._clock.now_ns()
        call.result_bytes = len(output.encode())
        self._cues.result(call.id, call.answered_ns)
        try:
            await self.tool_result(call.id, output)
        except CascadeError:
            # The session has ended, or does not want it any more; what follows will tell.
            call.cancelled = True
