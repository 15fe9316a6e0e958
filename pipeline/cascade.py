"""The session that is the cascade: turn-taking, recognition, and one reply a turn."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator, Coroutine, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from pipeline.audio.audible import ending
from pipeline.audio.resample import Resampler
from pipeline.audio.tape import Tape
from pipeline.clock import Clock
from pipeline.config import Settings
from pipeline.conversation import Conversation, Message
from pipeline.errors import CascadeError, StageError
from pipeline.events import (
    Event,
    Failure,
    Frame,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyStatus,
    Samples,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipeline.reply import Model, Reply, Voice
from pipeline.stages.llm import Messages
from pipeline.stages.stt import Transcription
from pipeline.stages.vad import WINDOW
from pipeline.stages.vad import Voice as Verdict
from pipeline.trace import Trace
from pipeline.turns import RATE, Began, Decision, Ended, Paused, Resumed, TurnTaker

EVENTS_AHEAD = 256
"""Events that may wait for the driver before the session waits for it."""

RESERVE_TOKENS = 100
"""Room for what the user says next, when the prompt is fitted while a reply plays."""

TAPE_SLACK_S = 5.0
"""Audio kept beyond the longest turn: pre-roll, and what arrives while a decision is made."""

JUDGE_LAG = 2 * WINDOW
"""How much silence (samples) what is judged voiced may end with: measured, up to 46 ms."""

MUTE_TAIL = int(0.4 * RATE)
"""How long (samples) the microphone stays muted after a reply where `turns.barge_in` is off: the
buffers of both devices, and the room. Wireless loudspeakers take up to 0.3 s."""

PARTIAL_BUDGET = 0.25
"""Share of the time between two partial transcripts that making one may take; with a slow model
they come less often. A final transcript may have to wait behind a partial one."""

log = logging.getLogger(__name__)


class Detector(Protocol):
    """Judges voice (`stages.vad.VoiceDetector`)."""

    def push(self, samples: Samples) -> list[Verdict]:
        """Take 16 kHz audio, give the verdicts on its 32 ms windows."""
        ...


class Engines(Protocol):
    """What computes (`engines.LocalEngines`): loaded, warm, and owned by somebody else."""

    def new_detector(self) -> Detector:
        """A judge of voice for one session: it remembers what it has heard."""
        ...

    @property
    def model(self) -> Model:
        """Writes replies."""
        ...

    @property
    def voice(self) -> Voice:
        """Speaks them."""
        ...

    async def read_ahead(self, messages: Messages) -> None:
        """Let the model read a prompt before it is asked to go on from it, where that helps."""
        ...

    async def transcribe(
        self, audio: npt.NDArray[np.float32], voiced_ms: float | None
    ) -> Transcription:
        """Recognise an utterance (16 kHz, -1 to 1) with this much voice in it (None: unknown)."""
        ...


class Cascade:
    """A `Session`: microphone frames in; speech, transcripts and replies out.

    The user speaks, is silent for `turns.hold_ms`, is recognised, and hears a reply that is spoken
    while it is being written. Speaking over the reply ends it, and the conversation keeps of it
    what was heard.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Settings,
        trace: Trace,
        clock: Clock,
        history: Sequence[Message] = (),
    ) -> None:
        """Prepare a session.

        Args:
            engines: Ready to compute.
            settings: Of the run.
            trace: Takes the marks.
            clock: The one clock.
            history: A conversation to go on with.
        """
        self._engines = engines
        self._detector = engines.new_detector()
        self._settings = settings
        self._trace = trace
        self._clock = clock
        self._conversation = Conversation(
            settings.llm.instructions,
            budget_tokens=settings.conversation.budget_tokens,
            retention=settings.conversation.retention,
        )
        for message in history:
            if message.role != "system":
                self._conversation.add(message.role, message.content, message.turn)
        self._turns = TurnTaker(settings.turns, settings.vad)
        self._tape = Tape(RATE, settings.turns.max_turn_s + TAPE_SLACK_S)
        self._resampler: Resampler | None = None
        self._lag_ns = 0
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(EVENTS_AHEAD)
        self._tasks = asyncio.TaskGroup()
        self._turn = max((m.turn for m in history), default=0)
        self._work: set[asyncio.Task[None]] = set()
        self._answering: asyncio.Task[None] | None = None
        self._reply: Reply | None = None
        self._listening_partly: asyncio.Task[None] | None = None
        self._reading_ahead: asyncio.Task[None] | None = None
        self._utterance: Began | None = None
        self._paused: Paused | None = None
        # What was said before the user spoke on is answered with what came after, be it a cough.
        self._unanswered = False
        self._muted_until = 0
        self._partial_from = 0
        self._partial_cost_s = 0.0

    async def __aenter__(self) -> Self:
        """Begin to listen; a conversation that goes on is read by the model first."""
        await self._tasks.__aenter__()
        if self._conversation.history:
            await self._read_ahead(self._conversation.prompt(reserve_tokens=RESERVE_TOKENS))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all work; the history keeps of a running reply what was heard."""
        for task in self._work:
            task.cancel()
        await self._tasks.__aexit__(exc_type, exc, traceback)
        self._settle()
        # Whoever still reads gets the end, even if nobody has read for long.
        while self._events.full():
            self._events.get_nowait()
        self._events.put_nowait(None)

    async def send(self, frame: Frame) -> None:
        """Take the next 20 ms or so of the microphone, at any rate."""
        if self._resampler is None or self._resampler.rate_in != frame.rate:
            self._resampler = Resampler(frame.rate, RATE)
            self._lag_ns = 0
        samples = self._resampler.push(frame.samples)
        # The resampler holds samples back: the first to come out went in that much earlier.
        self._tape.append(samples, frame.t_ns - self._lag_ns)
        self._lag_ns += frame.duration_ns - len(samples) * 1_000_000_000 // RATE
        for verdict in self._detector.push(samples):
            speaking = self._reply is not None and self._reply.audible
            if not self._settings.turns.barge_in:
                verdict = self._muted(verdict, speaking)
            for decision in self._turns.push(verdict, speaking=speaking):
                await self._decide(decision)
        self._transcribe_partly()

    def _muted(self, verdict: Verdict, speaking: bool) -> Verdict:
        """Silence instead of a reply's echo, which arrives a little after it was played."""
        if speaking:
            self._muted_until = verdict.end + MUTE_TAIL
        if verdict.start >= self._muted_until or self._turns.in_speech:
            return verdict
        return dataclasses.replace(verdict, probability=0.0)

    async def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left."""
        while (event := await self._events.get()) is not None:
            yield event

    async def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        if self._reply is not None and self._reply.id == reply_id:
            self._reply.played(samples)
            if self._answering is None:
                self._settle()

    async def tool_result(self, call_id: str, output: str) -> None:
        """The cascade offers its model no tools, so no call is ever open."""
        raise CascadeError(f"no tool call {call_id!r} is open; this session offers no tools")

    @property
    def history(self) -> list[Message]:
        """What was said and heard so far, in order."""
        self._settle()
        return self._conversation.history

    @property
    def preparing(self) -> bool:
        """Whether something is computed that nobody waits for: a partial transcript, a prompt.

        It takes time all the same, from whatever comes next.
        """
        return any(map(_running, (self._listening_partly, self._reading_ahead)))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that ends with the session."""
        task = self._tasks.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _decide(self, decision: Decision) -> None:
        match decision:
            case Began():
                await self._interrupt()
                self._turn += 1
                self._utterance = decision
                self._partial_from = decision.start
                self._mark("speech.start", self._tape.time_of(decision.voiced))
                await self._events.put(SpeechStarted(self._turn))
            case Paused():
                self._paused = decision
            case Resumed():
                self._paused = None
            case Ended():
                self._end_of_turn(decision)
                await self._events.put(SpeechStopped(self._turn))
                self._answering = self._begin(self._answer(self._turn, decision))

    def _end_of_turn(self, ended: Ended) -> None:
        provisional = self._paused.at if self._paused is not None else ended.at
        self._mark("speech.end", self._tape.time_of(self._last_sound(ended.speech_end)))
        self._mark("vad.stop", self._tape.time_of(ended.silence_from))
        self._mark("provisional", self._tape.time_of(provisional))
        self._mark("committed", self._clock.now_ns(), reason=ended.reason)
        self._utterance = self._paused = None

    def _last_sound(self, judged: int) -> int:
        """Where the user's sound ended: the judge knows it to the window, and is a little late."""
        heard = self._tape.cut(judged - JUDGE_LAG, judged)
        end = ending(heard, RATE)
        return judged if end is None else judged - len(heard) + end

    async def _answer(self, turn: int, ended: Ended) -> None:
        """One turn, from utterance to the end of the reply's making.

        If the user speaks on during the recognition, the words are kept and the reply is left to
        the next turn, which has them all.
        """
        status: ReplyStatus = "failed"
        try:
            text = await self._recognise(turn, ended)
            self._conversation.add("user", text, turn)
            asked = bool(text) or self._unanswered
            self._unanswered = asked and turn != self._turn
            if asked and not self._unanswered:
                await self._respond(turn)
            status = "interrupted" if self._unanswered else "completed" if asked else "skipped"
        except StageError as error:
            self._mark("failed", self._clock.now_ns(), turn=turn, stage=error.stage)
            await self._events.put(Failure(turn, error.stage, str(error), error.fatal))
        except Exception as error:
            log.exception("turn %d", turn)
            self._mark("failed", self._clock.now_ns(), turn=turn, stage="cascade")
            message = f"{type(error).__name__}: {error}"
            await self._events.put(Failure(turn, "cascade", message, False))
        if self._answering is asyncio.current_task():
            self._answering = None
        self._settle()
        reply_id = self._reply.id if self._reply is not None and self._reply.turn == turn else ""
        await self._events.put(ReplyDone(turn, reply_id, status))

    async def _recognise(self, turn: int, ended: Ended) -> str:
        self._mark("stt.start", self._clock.now_ns(), turn=turn)
        audio = _float(self._tape.cut(ended.start, ended.end))
        heard = await self._engines.transcribe(audio, ended.voiced_ms)
        self._mark("stt.final", self._clock.now_ns(), turn=turn, dropped=heard.dropped)
        await self._events.put(Transcript(turn, heard.text, True))
        return heard.text

    async def _respond(self, turn: int) -> None:
        self._reply = Reply(
            turn,
            f"reply-{turn}",
            model=self._engines.model,
            voice=self._engines.voice,
            settings=self._settings.reply,
            clock=self._clock,
            emit=self._events.put,
            mark=lambda name: self._mark(name, self._clock.now_ns(), turn=turn),
        )
        await self._events.put(ReplyStarted(turn, self._reply.id))
        if self._reading_ahead is not None:
            self._reading_ahead.cancel()
        await self._reply.run(self._conversation.prompt())
        if not self._reply.text.strip():
            raise StageError("llm", "the model had nothing to say; ask again, or take another one")
        self._conversation.settle(turn, self._reply.text)
        ahead = self._conversation.prompt(reserve_tokens=RESERVE_TOKENS)
        self._reading_ahead = self._begin(self._read_ahead(ahead))

    async def _read_ahead(self, messages: Messages) -> None:
        """While the reply plays: what the model will be reminded of in the next turn.

        Mostly it knows it already; after old turns were left out it has to read all of the rest,
        which would take seconds if it began when the user waits.
        """
        try:
            await self._engines.read_ahead(messages)
        except Exception as error:
            log.debug("reading ahead: %s", error)  # if it matters, the next turn will tell

    async def _interrupt(self) -> None:
        """The user speaks: stop the reply, and keep of it what was heard.

        A recognition goes on: what was said is not lost.
        """
        task, reply = self._answering, self._reply
        self._answering = None
        if reply is None or reply.over:
            return
        reply.stopped = True
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._settle()
        self._mark("interrupted", self._clock.now_ns(), turn=reply.turn)
        await self._events.put(ReplyInterrupted(reply.turn, reply.id, reply.heard_text()))
        if task is not None:
            await self._events.put(ReplyDone(reply.turn, reply.id, "interrupted"))

    def _settle(self) -> None:
        """The history's last reply is what was heard of it."""
        if self._reply is not None:
            self._conversation.settle(self._reply.turn, self._reply.heard_text())

    def _transcribe_partly(self) -> None:
        """While the user speaks, now and then recognise what there is, for the eye."""
        every = self._settings.stt.partial_ms / 1000
        begun = self._utterance
        if not every or begun is None or self._paused or _running(self._listening_partly):
            return
        wait = max(every, self._partial_cost_s / PARTIAL_BUDGET)
        if self._tape.end - self._partial_from < wait * RATE:
            return
        self._partial_from = self._tape.end
        audio = _float(self._tape.cut(begun.start, self._tape.end))
        self._listening_partly = self._begin(self._partial(self._turn, audio))

    async def _partial(self, turn: int, audio: npt.NDArray[np.float32]) -> None:
        began = self._clock.now_ns()
        try:
            heard = await self._engines.transcribe(audio, None)
        except Exception as error:
            log.debug("partial transcript: %s", error)  # the final one will tell
            return
        self._partial_cost_s = (self._clock.now_ns() - began) / 1e9
        if heard.text and self._utterance is not None and turn == self._turn:
            await self._events.put(Transcript(turn, heard.text, False))

    def _mark(self, name: str, t_ns: int, *, turn: int | None = None, **more: Any) -> None:
        self._trace.mark(self._turn if turn is None else turn, name, t_ns, **more)


def _running(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done()


def _float(samples: Samples) -> npt.NDArray[np.float32]:
    return samples.astype(np.float32) / np.float32(32768)
