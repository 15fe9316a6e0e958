"""A session that answers every utterance exactly so long after its true end: nothing is faster or
slower than it says, so what an instrument measures of it is the instrument's own error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from pipeline.audio.audible import onset
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.compare.scenario import Scenario
from pipeline.conversation.history import Message
from pipeline.errors import StageError
from pipeline.events import (
    Event,
    Failure,
    Frame,
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
from pipeline.session import Session
from pipeline.trace import Trace
from support.noise import SPEECH_S
from support.sound import hum

RATE = 24_000


@dataclass(frozen=True)
class Answer:
    """What it does about an utterance.

    Attributes:
        text: What it says.
        seconds: For how long.
        tool: It calls this first, after `filler_s` of sound.
        fails: It breaks down instead.
        mute: It says nothing, for ever.
        late_s: It answers so much later than it should.
    """

    text: str = "Here you are."
    seconds: float = 1.0
    tool: str = ""
    arguments: str = "{}"
    filler_s: float = 0.0
    fails: str = ""
    mute: bool = False
    late_s: float = 0.0


@dataclass
class Metronome:
    """See above; `ends_s` is where each utterance ends, from its first audible sample."""

    trace: Trace
    clock: Clock
    latency_ms: float
    ends_s: Sequence[float]
    answers: Sequence[Answer]
    history: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._turn = 0
        self._onset_ns: int | None = None
        self._since_ns = 0
        self._answering: asyncio.Task[None] | None = None
        self._results: dict[str, asyncio.Future[str]] = {}
        self._heard = 0
        self._speaking = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._answering is not None:
            self._answering.cancel()
        self._events.put_nowait(None)

    async def events(self) -> AsyncGenerator[Event, None]:
        while (event := await self._events.get()) is not None:
            yield event

    async def heard(self, reply_id: str, samples: int) -> None:
        self._heard = samples

    async def tool_result(self, call_id: str, output: str) -> None:
        if self._results[call_id].done():
            raise StageError("direct", "the result comes too late")
        self._results[call_id].set_result(output)

    async def send(self, frame: Frame) -> None:
        if self._onset_ns is None:
            first = onset(frame.samples, frame.rate) if frame.t_ns >= self._since_ns else None
            if first is None or self._turn == len(self.ends_s):
                return
            self._onset_ns = frame.t_ns + first * NS_PER_S // frame.rate
            await self._interrupt()
            self._turn += 1
            self._tell(SpeechStarted(self._turn))
            return
        end_ns = self._onset_ns + int(self.ends_s[self._turn - 1] * NS_PER_S)
        if frame.t_ns + frame.duration_ns >= end_ns:
            self._onset_ns = None
            # What fades of the utterance is no other one.
            self._since_ns = end_ns + 300 * NS_PER_MS
            self._answering = asyncio.create_task(self._answer(self._turn, end_ns))

    async def _interrupt(self) -> None:
        if not self._speaking or self._answering is None:
            return
        self._answering.cancel()
        self._speaking = False
        self._tell(ReplyInterrupted(self._turn, f"r{self._turn}", "Here"))
        self._tell(ReplyDone(self._turn, f"r{self._turn}", "interrupted"))
        self.history.append(Message("assistant", "Here", self._turn))

    async def _answer(self, turn: int, end_ns: int) -> None:
        answer = self.answers[turn - 1]
        self._tell(SpeechStopped(turn))
        self._tell(Transcript(turn, "what was said", True))
        self._mark(turn, "committed")
        if answer.mute:
            return
        if answer.fails:
            self._tell(Failure(turn, "direct", answer.fails, False))
            self._tell(ReplyDone(turn, "", "failed"))
            return
        wait_ns = int(self.latency_ms * NS_PER_MS + answer.late_s * NS_PER_S)
        await self.clock.sleep_until(end_ns + wait_ns)
        self._mark(turn, "model.first_audio")
        # With a call alone it says nothing yet that could be interrupted.
        self._speaking = not answer.tool or answer.filler_s > 0
        self._tell(ReplyStarted(turn, f"r{turn}"))
        if answer.tool:
            if answer.filler_s:
                self._say(turn, answer.filler_s)
            self._results["c"] = asyncio.get_running_loop().create_future()
            self._tell(ToolCall(turn, "c", answer.tool, answer.arguments))
            self._tell(ReplyText(turn, f"r{turn}", f"[{await self._results['c']}] "))
            self._speaking = True
        self._tell(ReplyText(turn, f"r{turn}", answer.text))
        self._say(turn, answer.seconds)
        # It goes on as long as it is heard, so that it can be interrupted.
        await asyncio.sleep(answer.filler_s + answer.seconds)
        self._speaking = False
        self.history.append(Message("assistant", answer.text, turn))
        self._tell(ReplyDone(turn, f"r{turn}", "completed"))

    def _say(self, turn: int, seconds: float) -> None:
        frame = Frame(hum(RATE, seconds, 220), RATE, 0, self.clock.now_ns())
        self._tell(ReplyAudio(turn, f"r{turn}", frame))

    def _mark(self, turn: int, name: str) -> None:
        self.trace.mark(turn, name, self.clock.now_ns())

    def _tell(self, event: Event) -> None:
        self._events.put_nowait(event)


@dataclass
class MetronomeSystem:
    """It, as a system. `refuses`: it cannot be had at all."""

    latency_ms: float = 500.0
    ends_s: Sequence[float] = ()
    answers: Sequence[Answer] = ()
    refuses: str = ""
    wrap: Callable[[Session], Session] = lambda session: session
    name: str = "metronome"
    rate: int = RATE
    manual: bool = False

    async def ready(self, scenario: Scenario) -> tuple[float, ...]:
        return (1.0,)

    def session(self, scenario: Scenario, trace: Trace, clock: Clock) -> Session:
        if self.refuses:
            raise StageError("direct", self.refuses)
        ends = self.ends_s or [SPEECH_S] * len(scenario.steps)
        answers = self.answers or [Answer()] * len(scenario.steps)
        return self.wrap(Metronome(trace, clock, self.latency_ms, ends, answers))

    def facts(self, session: Session) -> Mapping[str, Any]:
        return {"model": "metronome"}


def cut_in(reply: str) -> Callable[[Any], Any]:
    """Wraps a session whose line is cut once 200 ms of a reply (`r1`, …) have been heard."""

    def wrap(session: Any) -> Any:
        heard = session.heard

        async def until_cut(reply_id: str, samples: int) -> None:
            await heard(reply_id, samples)
            if reply_id == reply and samples > 0.2 * RATE:
                raise StageError("direct", "the line is cut")

        session.heard = until_cut
        return session

    return wrap
