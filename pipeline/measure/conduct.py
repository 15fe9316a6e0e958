"""Holds a conversation with a session in real time, so that it can be measured.

Recordings are played when the cues say so; both sides are recorded on one clock; what the session
tells, and when, is noted. Nothing else is done meanwhile: what the sound says is found afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from pipeline.audio.files import WavWriter
from pipeline.audio.line import RATE, Ends
from pipeline.audio.virtual import Playing
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.config import AudioSettings
from pipeline.conversation.history import Message
from pipeline.driver import Driver
from pipeline.errors import BadInput, CascadeError
from pipeline.events import Frame
from pipeline.measure.cues import Cues, Limits, Utterance
from pipeline.measure.instrument import Tracks, measure, stereo, windows
from pipeline.measure.record import Record, Turn
from pipeline.measure.recording import (
    Answering,
    MemoryTrace,
    NotedSession,
    Passing,
    Unwritten,
    no_tools,
)
from pipeline.session import Session
from pipeline.speech_to_speech.brief import SpeechToSpeech

PARTS = 4
"""Of a frame of 20 ms: a reply is heard at most 5 ms after its sound has come."""

UNREACHED = "the conversation ended before it"

AHEAD_NS = 30 * NS_PER_MS
"""So long after the last one is ready all begin. Their frames of 20 ms are on schedules that began
together: midway between two of them, so that all begin with the same one."""

LOOK_NS = 5 * NS_PER_MS
"""How often one looks whether all are connected, or over."""


class ScriptedEnds(Ends):
    """Both ends of a conversation, made of files: recordings begin when the cues say so."""

    def __init__(
        self,
        steps: Sequence[Utterance],
        cues: Cues,
        wav: Path,
        reply: Path,
        audio: AudioSettings,
        parts: int,
        seat: Seat | None = None,
    ) -> None:
        """Prepare to play the steps' recordings.

        Args:
            steps: What is said.
            cues: Say when.
            wav: Stereo WAV of both sides to write.
            reply: WAV of the replies to write.
            audio: What is done to the sound on its way.
            parts: Of a frame, after each of which a reply may begin (see `VirtualCard`).
            seat: Among conversations that are held together; None: it is held alone.

        Raises:
            BadInput: A recording cannot be read.
        """
        recordings = [str(step.path) for step in steps]
        super().__init__(audio, recordings, str(reply), record=wav, parts=parts)
        self._cues = cues
        self._steps = steps
        self._seat = seat

    async def frames(self) -> AsyncGenerator[Frame]:
        """What the user says, from the moment at which all who are spoken to together begin."""
        if self._seat is not None:
            await self._seat.begin(self.clock)
        async for frame in super().frames():
            yield frame

    @property
    def played(self) -> list[Playing]:
        """The recordings that have been played to their end, and when."""
        return self.card.spans if self.card is not None else []

    def go_on(self, quiet: bool, turns: int) -> bool:
        """Begin the next recording when it is time; False when the conversation is over."""
        card, cues = self.card, self._cues
        assert card is not None
        now_ns = self.clock.now_ns()
        if card.begun_ns is not None:
            cues.begins(card.begun_ns)
        if len(card.spans) == len(cues.said):
            cues.over(card.spans[-1].start_ns, card.spans[-1].end_ns)
        cue = cues.look(now_ns, quiet)
        if self._seat is not None and len(cues.said) < len(self._steps):
            step = self._steps[len(cues.said)]
            if step.interrupt_s is None and step.after_call_s is None:
                begins = self._seat.may(len(cues.said), cue == "next", now_ns)
                cue = "next" if begins else "wait"
        if cue == "next":
            cues.next(now_ns)
            card.next()
        return cue != "end"


class Meeting:
    """Says when each utterance begins of conversations whose user says the same at the same moment.

    They begin once all are connected, and each utterance that waits for the reply before it begins
    once all have had theirs. One that cuts into a reply, or follows a call, goes by its own system:
    another moment of the others' replies would be another thing to say. Times are of one clock
    (ns).
    """

    def __init__(self) -> None:
        """Begin with nobody there; each takes a `Seat` before any conversation begins."""
        self.here: set[Seat] = set()
        self._ready: dict[int, set[Seat]] = {}
        self._begins_ns: dict[int, int] = {}

    def at(self, seat: Seat, number: int, ready: bool, now_ns: int) -> int | None:
        """When utterance `number` (from 0) begins; None: that is not known yet.

        Args:
            seat: Who asks.
            number: Of the utterance.
            ready: Whether it could begin now for this one alone.
            now_ns: The time.
        """
        if number not in self._begins_ns:
            waiting = self._ready.setdefault(number, set())
            (waiting.add if ready else waiting.discard)(seat)
            if self.here <= waiting:
                self._begins_ns[number] = now_ns + AHEAD_NS
        return self._begins_ns.get(number)


class Seat:
    """One conversation's place in a meeting."""

    def __init__(self, meeting: Meeting) -> None:
        """Take a place."""
        self._meeting = meeting
        meeting.here.add(self)

    async def begin(self, clock: Clock) -> None:
        """Return at the moment at which all begin."""
        while (at_ns := self._meeting.at(self, 0, True, clock.now_ns())) is None:
            await clock.sleep_until(clock.now_ns() + LOOK_NS)
        await clock.sleep_until(at_ns)

    def may(self, number: int, ready: bool, now_ns: int) -> bool:
        """Whether utterance `number` begins now; see `Meeting.at`."""
        at_ns = self._meeting.at(self, number, ready, now_ns)
        return at_ns is not None and now_ns >= at_ns

    def leave(self) -> None:
        """The conversation is over: nobody waits for it any more."""
        self._meeting.here.discard(self)

    async def all_over(self, clock: Clock) -> None:
        """Leave, and return once all have: work that others' sound would wait for can begin."""
        self.leave()
        while self._meeting.here:
            await clock.sleep_until(clock.now_ns() + LOOK_NS)


@dataclass(frozen=True, slots=True)
class Held:
    """A conversation that is over.

    Attributes:
        steps: What was to be said.
        session: With whom it was held.
        noted: What happened in it.
        cues: When what was said.
        ends: Where it was held.
        tape: Its marks.
        wav: Both sides of it.
        reason: Why it ended before its last turn was over; empty: it did not.
        seconds: How long it lasted (s).
        cpu_ns: Processor time of the whole process meanwhile.
    """

    steps: Sequence[Utterance]
    session: Session
    noted: NotedSession
    cues: Cues
    ends: ScriptedEnds
    tape: MemoryTrace
    wav: Path
    reason: str
    seconds: float
    cpu_ns: int

    def turns(self, *, cut_ins: bool = False) -> list[Turn]:
        """All turns: those that were held as they were, those never reached as failed.

        Args:
            cut_ins: As `instrument.measure` takes it.

        Raises:
            BadInput: A recording cannot be read any more.
        """
        turns: list[Turn] = []
        if played := self.ends.played:
            user, reply, rate = stereo(self.wav)
            start_ns = self.ends.recorded_from_ns or played[0].start_ns
            tracks = Tracks(user, reply, rate, start_ns)
            said = self.cues.said
            for number, window in enumerate(windows(tracks, said, played), start=1):
                one = said[number - 1]
                turn = measure(number, one, window, tracks, self.noted, self.tape, cut_ins=cut_ins)
                record = dataclasses.replace(turn.record, late_ns=self.ends.late_ns)
                turns.append(dataclasses.replace(turn, record=record, kept=self._kept(one.turns)))
        return [*turns, *unreached(self.steps, self.reason or UNREACHED, len(turns))]

    def _kept(self, turns: Sequence[int]) -> str | None:
        """What the model remembers of its replies in these turns; None: nobody can tell."""
        history: Sequence[Message] | None = getattr(self.session, "history", None)
        if history is None or not turns:
            return None
        mine = [one for one in history if one.role == "assistant" and one.turn in turns]
        mine.sort(key=lambda one: turns.index(one.turn))
        return " ".join(one.content for one in mine if one.content)


def unreached(steps: Sequence[Utterance], reason: str, held: int = 0) -> list[Turn]:
    """The turns of a conversation that were never held: all but the first `held`."""
    return [
        Turn(Record("", "", 0, 0, "failed", reason, expected=step.said), number)
        for number, step in enumerate(steps[held:], start=held + 1)
    ]


async def hold(
    session: Session,
    tape: MemoryTrace,
    steps: Sequence[Utterance],
    wav: Path,
    rate: int,
    *,
    answer: Answering = no_tools,
    limits: Limits | None = None,
    manual: bool = False,
    audio: AudioSettings | None = None,
    parts: int = PARTS,
    seat: Seat | None = None,
    passing: Passing | None = None,
) -> Held:
    """Hold a conversation. What goes wrong there is part of the result.

    Args:
        session: With whom; it is entered here.
        tape: Where its marks go.
        steps: What is said.
        wav: Stereo WAV to write.
        rate: Of the replies (Hz).
        answer: Answers its calls.
        limits: When it is over.
        manual: The session is told when the user has finished.
        audio: What is done to the sound on its way; None: nothing unusual.
        parts: Of a frame, after each of which a reply may begin (see `VirtualCard`).
        seat: Among conversations that are held together; None: it is held alone.
        passing: What the user's sound goes through before the session hears it; that is written
            beside the WAV, where `heard_wav` says. None: nothing.

    Raises:
        Unwritten: The WAV cannot be written.
        BadInput: A recording cannot be read any more.
    """
    with tempfile.TemporaryDirectory() as folder:
        cues = Cues(steps, time.monotonic_ns(), limits)
        reply = Path(folder) / "reply.wav"
        ends = ScriptedEnds(steps, cues, wav, reply, audio or AudioSettings(), parts, seat)
        commit = cast(SpeechToSpeech, session).commit if manual else None
        noted = NotedSession(session, ends, cues, answer, commit, passing)
        began_ns, cpu_ns, reason = ends.clock.now_ns(), time.process_time_ns(), ""
        async with _opened(ends, rate, wav):
            try:
                await Driver(noted, ends, tape).run()
            except BadInput:
                raise
            except CascadeError as error:
                reason = str(error)
                if not cues.current.done:
                    cues.current.failed = reason
        seconds = (ends.clock.now_ns() - began_ns) / NS_PER_S
        cpu_ns = time.process_time_ns() - cpu_ns
    if noted.passed:
        await asyncio.to_thread(_write_heard, heard_wav(wav), noted.passed, ends.recorded_from_ns)
    return Held(steps, session, noted, cues, ends, tape, wav, reason, seconds, cpu_ns)


def heard_wav(wav: Path) -> Path:
    """Beside a stereo WAV, of what the session heard where that was not the user's own sound."""
    return wav.with_name(f"{wav.stem}-heard.wav")


def _write_heard(path: Path, frames: Sequence[Frame], from_ns: int | None) -> None:
    """Write the frames to a WAV that begins when the stereo WAV does."""
    first_ns = frames[0].t_ns
    begin = max(0, (from_ns or first_ns) - first_ns) * RATE // NS_PER_S
    try:
        with WavWriter(path, RATE) as wav:
            wav.write(np.concatenate([frame.samples for frame in frames])[begin:])
    except CascadeError as error:
        raise Unwritten(path, str(error)) from None


@contextlib.asynccontextmanager
async def _opened(ends: Ends, rate: int, wav: Path) -> AsyncGenerator[None]:
    """Both ends, open, with the WAV that they write.

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
