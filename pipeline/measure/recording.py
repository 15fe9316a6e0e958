"""What is noted of a session while it is measured: what happened, by turn, and all of its marks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Self

from pipeline.audio.line import Ends
from pipeline.errors import CascadeError, StageError
from pipeline.events import (
    Event,
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    SpeechStarted,
    Transcript,
)
from pipeline.measure.record import Status
from pipeline.session import Session
from pipeline.trace import MarkLine, Trace


class Unwritten(StageError):
    """The stereo WAV could not be written to its end: nothing can be measured without it."""

    def __init__(self, wav: Path, reason: str = "the disk did not take all of it") -> None:
        super().__init__("audio", f"{wav}: {reason}; make room, or name another --out")


@contextlib.asynccontextmanager
async def opened(ends: Ends, rate: int, wav: Path) -> AsyncGenerator[None]:
    """Both ends of a measured conversation, open, with the WAV that they write.

    Args:
        ends: Made of files.
        rate: Of the replies (Hz).
        wav: Where the ends record both sides.

    Raises:
        Unwritten: The WAV cannot be written; told at the latest when all of it should be there.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(ends.open(rate))
        except CascadeError as error:
            raise Unwritten(wav, str(error)) from None
        yield
    if ends.failed:
        raise Unwritten(wav)


class MemoryTrace(Trace):
    """A trace that keeps all in memory, for nobody waits for a disk while a turn is timed."""

    kept_turns = math.inf

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[MarkLine] = []

    def _write(self, line: MarkLine) -> None:
        self.lines.append(line)


class RecordedSession:
    """A session that passes everything on, and notes what a record needs of it.

    Attributes:
        turns: Turns that have begun, in order.
        failures: What failed, by turn.
        done: How turns ended, by turn.
        said: What was understood, by turn.
        answered: The text of the replies, by turn.
        reply_ids: The replies that had sound, by turn.
        gaps: Silences inside replies, by reply: from and to (ns).
    """

    def __init__(self, session: Session, ends: Ends) -> None:
        """Watch `session`, whose replies are heard at `ends`."""
        self.turns: list[int] = []
        self.failures: dict[int, str] = {}
        self.done: dict[int, str] = {}
        self.said: dict[int, str] = {}
        self.answered: dict[int, str] = {}
        self.reply_ids: dict[int, str] = {}
        self.gaps: dict[str, list[tuple[int, int]]] = {}
        self._ends = ends
        self._session = session

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._session.__aexit__(*exc)

    async def send(self, frame: Frame) -> None:
        """Pass a frame on."""
        await self._session.send(frame)
        self._listen(frame.t_ns + frame.duration_ns)

    async def heard(self, reply_id: str, samples: int) -> None:
        """Pass the playout position on."""
        await self._session.heard(reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        """Pass a result on."""
        await self._session.tool_result(call_id, output)

    async def events(self) -> AsyncGenerator[Event, None]:
        """The session's events, noted."""
        async for event in self._session.events():
            self._note(event)
            yield event

    @property
    def turn(self) -> int:
        """The newest turn that has or may have a reply; the newest of all if none has."""
        open_turns = [turn for turn in self.turns if self.done.get(turn) != "skipped"]
        return (open_turns or self.turns or [0])[-1]

    def silent(self, turn: int) -> tuple[Status, str]:
        """How a turn without a reply went, if nothing failed and nobody gave up; and why.

        Args:
            turn: Its number; 0: none has begun.
        """
        if not turn:
            return "no reply", "no speech was heard in it"
        if self.done.get(turn) == "skipped":
            return "no reply", "no words were understood"
        return "no reply", "the reply had no sound"

    def _listen(self, now_ns: int) -> None:
        """Note where a reply fell silent: its sound went on with the block heard from now on."""
        for reply_id in list(self.reply_ids.values())[-1:]:
            played = self._ends.playout.played(reply_id)
            gaps = self.gaps.setdefault(reply_id, [])
            known_ns = sum(end - begin for begin, end in gaps)
            if played is not None and played.underrun_ns > known_ns:
                gaps.append((now_ns - (played.underrun_ns - known_ns), now_ns))

    def _note(self, event: Event) -> None:
        match event:
            case SpeechStarted():
                self.turns.append(event.turn)
            case Transcript(final=True):
                self.said[event.turn] = event.text
            case ReplyText():
                self.answered[event.turn] = self.answered.get(event.turn, "") + event.delta
            case ReplyAudio():
                self.reply_ids[event.turn] = event.id
            case Failure():
                self.failures[event.turn] = f"{event.stage}: {event.message}"
            case ReplyDone():
                self.done[event.turn] = event.status
