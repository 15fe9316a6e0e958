"""What is noted of a session while it is measured: all of its marks, and what happened in it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pipeline.audio.line import Ends
from pipeline.audio.playout import Played
from pipeline.clock import NS_PER_S
from pipeline.errors import CascadeError, StageError
from pipeline.events import (
    Event,
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyDucked,
    ReplyInterrupted,
    ReplySwelled,
    ReplyText,
    Samples,
    ToolCall,
    ToolCancelled,
    Transcript,
    Usage,
)
from pipeline.measure.cues import Cues
from pipeline.session import Session
from pipeline.trace import MarkLine, Trace

Answering = Callable[[str, str], tuple[str, float]]
"""From a tool's name and its arguments to its result, and how long it takes (s)."""

Passing = Callable[[Samples, bool], Samples]
"""From a frame of the microphone, and whether an utterance begins in it, to what is heard of it."""


class Unwritten(StageError):
    """The stereo WAV could not be written to its end: nothing can be measured without it."""

    def __init__(self, wav: Path, reason: str = "the disk did not take all of it") -> None:
        super().__init__("audio", f"{wav}: {reason}; make room, or name another --out")


def no_tools(name: str, arguments: str) -> tuple[str, float]:
    """Answers every call as a model is answered that asks for a tool that is not there."""
    return json.dumps({"error": f"there is no tool {name!r}"}), 0.0


class MemoryTrace(Trace):
    """A trace that keeps all in memory, for nobody waits for a disk while a turn is timed."""

    kept_turns = math.inf

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[MarkLine] = []

    def _write(self, line: MarkLine) -> None:
        self.lines.append(line)


@dataclass(slots=True)
class NotedReply:
    """A reply that has sound.

    Attributes:
        id: Its name.
        turn: What it answers.
        rate: Of its sound (Hz).
        made: How many samples have come.
        positions: When (ns) how many of them had been played.
        gaps: Silences inside it: from and to (ns).
    """

    id: str
    turn: int
    rate: int
    made: int = 0
    positions: list[tuple[int, int]] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class NotedTurn:
    """What happened in a turn.

    Attributes:
        said: What was understood.
        reply: The text of the replies.
        heard: What was heard of a reply that was cut short; None: none was.
        replies: Those that had sound, in order.
        filler: Of which reply so many samples were only to bridge the time; None: nothing was.
        failed: What failed.
        status: How it ended; empty until then.
        cut: Why its reply is incomplete, if it is.
    """

    said: str = ""
    reply: str = ""
    heard: str | None = None
    replies: list[NotedReply] = field(default_factory=list)
    filler: tuple[NotedReply, int] | None = None
    failed: str = ""
    status: str = ""
    cut: str = ""


@dataclass(slots=True)
class NotedCall:
    """A call as it went; times of the monotonic clock (ns)."""

    turn: int
    id: str
    name: str
    arguments: str
    asked_ns: int
    answered_ns: int | None = None
    cancelled: bool = False
    result_bytes: int = 0


class NotedSession:
    """A session that passes everything on, notes it, tells the cues, and answers its calls.

    Attributes:
        calls: Tools that were called, in order.
        usage: What was used, with the turn, in order.
        cuts: When it was told that a reply is interrupted (ns), in order.
        ducks: From when to when one was to be played more softly (ns); the last may still be.
        passed: Frames that the session heard instead of the user's own; empty: it heard those.
    """

    def __init__(
        self,
        session: Session,
        ends: Ends,
        cues: Cues,
        answer: Answering,
        commit: Callable[[], Awaitable[None]] | None = None,
        passing: Passing | None = None,
    ) -> None:
        """Note what happens in `session`.

        Args:
            session: Who is talked to.
            ends: Where its replies are heard.
            cues: Are told what happens.
            answer: Answers its calls.
            commit: Says to the session that the user has finished; None: it finds that out.
            passing: What the user's sound goes through before the session hears it, if anything.
        """
        self.calls: list[NotedCall] = []
        self.usage: list[dict[str, Any]] = []
        self.cuts: list[int] = []
        self.ducks: list[tuple[int, int | None]] = []
        self.passed: list[Frame] = []
        self._session = session
        self._ends = ends
        self._cues = cues
        self._answer = answer
        self._commit = commit
        self._passing = passing
        self._committed = 0
        self._turns: dict[int, NotedTurn] = {}
        self._replies: dict[str, NotedReply] = {}
        self._tools = asyncio.TaskGroup()
        self._working: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        await self._tools.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        for task in self._working:
            task.cancel()
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._tools.__aexit__(None, None, None)
        finally:
            await self._session.__aexit__(*exc)

    def turn(self, number: int) -> NotedTurn:
        """What happened in a turn so far."""
        return self._turns.setdefault(number, NotedTurn())

    async def send(self, frame: Frame) -> None:
        """Pass a frame on; where nobody else finds the end of a turn, say so at its true end.

        Who says so themselves does not for a sound that is to be ignored.
        """
        if self._passing is not None:
            frame = dataclasses.replace(frame, samples=self._passing(frame.samples, frame.begins))
            self.passed.append(frame)
        # A conversation has one user, at one microphone, which tells of no recordings.
        await self._session.send(dataclasses.replace(frame, begins=False))
        if self._commit is None or self._committed == len(self._cues.said):
            return
        if self._cues.finished(frame.t_ns + frame.duration_ns):
            self._committed = len(self._cues.said)
            if self._cues.current.step.outcome != "ignore":
                await self._commit()

    async def heard(self, reply_id: str, samples: int) -> None:
        """Pass the playout position on, and note it."""
        reply, played = self._replies.get(reply_id), self._ends.playout.played(reply_id)
        if reply is not None and played is not None:
            self._play(reply, played, self._ends.clock.now_ns())
        await self._session.heard(reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        """Pass a result on."""
        await self._session.tool_result(call_id, output)

    async def events(self) -> AsyncGenerator[Event, None]:
        """The session's events, noted; calls are answered."""
        async for event in self._session.events():
            now_ns = self._ends.clock.now_ns()
            self._note(event, now_ns)
            self._cues.event(event, now_ns)
            yield event

    def _play(self, reply: NotedReply, played: Played, now_ns: int) -> None:
        """Note how far a reply has been played, and where it fell silent on the way."""
        before = reply.positions[-1][1] if reply.positions else 0
        if played.position <= before:
            return
        reply.positions.append((now_ns, played.position))
        silent_ns = played.underrun_ns - sum(end - begin for begin, end in reply.gaps)
        if silent_ns > 0 and played.last_ns is not None:
            # All that has been played since then was played at a stretch.
            end_ns = played.last_ns - (played.position - before) * NS_PER_S // played.rate
            reply.gaps.append((end_ns - silent_ns, end_ns))
        # The silence that a reply begins with is not heard.
        if played.audible_ns is not None:
            self._cues.heard(now_ns, reply.turn)

    def _note(self, event: Event, now_ns: int) -> None:
        match event:
            case Transcript(final=True):
                self.turn(event.turn).said = event.text
            case ReplyText():
                self.turn(event.turn).reply += event.delta
            case ReplyAudio():
                self._sound(event)
            case ReplyInterrupted():
                self.turn(event.turn).heard = event.heard_text
                self.cuts.append(now_ns)
                self._swell(now_ns)
            case ReplyDucked():
                self._swell(now_ns)
                self.ducks.append((now_ns, None))
            case ReplySwelled():
                self._swell(now_ns)
            case ReplyDone():
                self.turn(event.turn).status = event.status
                self.turn(event.turn).cut = event.reason
            case Failure():
                self.turn(event.turn).failed = f"{event.stage}: {event.message}"
            case ToolCall():
                self._call(event, now_ns)
            case ToolCancelled():
                for call in self.calls:
                    if call.id == event.id and call.answered_ns is None:
                        call.cancelled = True
            case Usage():
                self.usage.append(dataclasses.asdict(event))

    def _swell(self, now_ns: int) -> None:
        if self.ducks and self.ducks[-1][1] is None:
            self.ducks[-1] = self.ducks[-1][0], now_ns

    def _sound(self, event: ReplyAudio) -> None:
        turn = self.turn(event.turn)
        reply = self._replies.get(event.id)
        if reply is None:
            reply = NotedReply(event.id, event.turn, event.frame.rate)
            self._replies[event.id] = reply
            turn.replies.append(reply)
        reply.made += len(event.frame.samples)
        if event.filler:
            turn.filler = (reply, reply.made)

    def _call(self, event: ToolCall, now_ns: int) -> None:
        call = NotedCall(event.turn, event.id, event.name, event.arguments, now_ns)
        self.calls.append(call)
        turn = self.turn(event.turn)
        if turn.replies:
            turn.filler = (turn.replies[-1], turn.replies[-1].made)
        task = self._tools.create_task(self._work(call))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self, call: NotedCall) -> None:
        output, delay_s = self._answer(call.name, call.arguments)
        if delay_s:
            await asyncio.sleep(delay_s)
        if call.cancelled:
            return
        call.answered_ns = self._ends.clock.now_ns()
        call.result_bytes = len(output.encode())
        self._cues.result(call.id, call.answered_ns)
        try:
            await self.tool_result(call.id, output)
        except CascadeError:
            # The session has ended, or does not want it any more; what follows will tell.
            call.cancelled = True
