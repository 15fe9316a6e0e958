"""The session that is the cascade: turn-taking, recognition, and one reply a turn."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipeline.clock import Clock
from pipeline.config import Settings
from pipeline.conversation.answer import Answer, Engines, Recognise
from pipeline.conversation.answering import Answering
from pipeline.conversation.history import History, Message
from pipeline.conversation.partial import Partials
from pipeline.conversation.read_ahead import ReadAhead
from pipeline.engines.llm import Messages
from pipeline.engines.tools import Tool
from pipeline.engines.whisper import Audio, Transcription, bare
from pipeline.errors import StageError
from pipeline.events import (
    Event,
    Frame,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipeline.session import EventQueue
from pipeline.trace import Trace
from pipeline.turns.barge_in import WordCheck
from pipeline.turns.foresight import Foresight
from pipeline.turns.listener import Hearing
from pipeline.turns.taker import (
    RATE,
    Began,
    Decision,
    Ducked,
    Ended,
    Idle,
    Joined,
    Paused,
    Resumed,
    Settled,
    Suspected,
    Swelled,
    TurnTaker,
)

RESERVE_TOKENS = 100
"""Room for what the user says next, when the prompt is fitted while a reply plays."""

TAPE_SLACK_S = 5.0
"""Audio kept beyond the longest turn: pre-roll, and what arrives while a decision is made."""

LEAD_S = 0.3
"""Silence (s) put before what is said over a reply. Of three people's "Stop", half heard and whole,
cut at 45 places, tiny.en understood 39; 24 without it, 35 with 0.2 s, 33 with 0.4 s."""

log = logging.getLogger(__name__)


class Cascade:
    """A `Session`: microphone frames in; speech, transcripts and replies out.

    At a short silence an answer is begun, and held until the turn is over; if the user goes on, it
    is thrown away. Voice over a reply makes it quieter, words end it, and the conversation keeps of
    it what was heard.

    A reply may wait for tools. If the user goes on meanwhile, the reply is over, and what the tools
    give is told in a reply of its own as soon as nobody speaks and nothing is to be answered.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Settings,
        trace: Trace,
        clock: Clock,
        history: Sequence[Message] = (),
        tools: Sequence[Tool] = (),
    ) -> None:
        """Prepare a session.

        Args:
            engines: Ready to compute.
            settings: Of the run.
            trace: Takes the marks.
            clock: The one clock.
            history: A conversation to go on with.
            tools: The model may call them; whoever reads the events runs them.
        """
        self._engines = engines
        self._settings = settings
        self._trace = trace
        self._clock = clock
        self._conversation = History(
            settings.llm.instructions,
            budget_tokens=settings.conversation.budget_tokens,
            retention=settings.conversation.retention,
            tools=tools,
            tool_chars=settings.conversation.tool_chars,
        )
        self._conversation.restore(history)
        self._turns = TurnTaker(settings.turns, settings.vad)
        self._tail = settings.turns.tail_ms * RATE // 1000
        self._hearing = Hearing(engines.new_detector(), settings.turns.max_turn_s + TAPE_SLACK_S)
        self._events = EventQueue()
        self._tasks = asyncio.TaskGroup()
        self._work: set[asyncio.Task[None]] = set()
        # What tasks have found out; acted upon between frames, so that decisions keep their order.
        self._found: deque[Callable[[], Awaitable[None]]] = deque()
        self._answering = Answering(
            engines,
            settings,
            conversation=self._conversation,
            trace=trace,
            clock=clock,
            emit=self._tell,
            start=self._begin,
            made=self._read_on,
        )
        self._foresight = Foresight(engines, self._begin, self._turns.predicted)
        self._check = WordCheck(self._words_over, self._begin, self._interrupts)
        self._utterance: Began | Joined | None = None
        self._language = ""
        self._fails_aside = False
        self._read_ahead = ReadAhead(engines.read_ahead, self._begin)
        self._partials = Partials(
            lambda audio, prefix: self._transcribe_aside(audio, prefix=prefix),
            every_ms=settings.stt.partial_ms,
            clock=clock,
            start=self._begin,
            tell=self._said_so_far,
        )

    async def __aenter__(self) -> Self:
        """Begin to listen; a conversation that goes on, and tools, are read by the model first."""
        prompt = self._conversation.prompt(reserve_tokens=RESERVE_TOKENS)
        if self._conversation.history or prompt.tools:
            await self._read_ahead.read(prompt)
        await self._tasks.__aenter__()
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
        try:
            await self._tasks.__aexit__(exc_type, exc, traceback)
        finally:
            self._events.end(*self._answering.close())

    async def send(self, frame: Frame) -> None:
        """Take the next 20 ms or so of the microphone, at any rate."""
        while self._found:
            await self._found.popleft()()
        if not self._hearing.follows(frame):
            self._check.forget()
            await self._decide(self._turns.lost())
        if frame.begins:
            self._turns.another()
        for verdict in self._hearing.push(frame):
            speaking = self._answering.speaking
            await self._decide(self._turns.push(verdict, speaking=speaking))
        self._transcribe_partly()
        if not self._turns.in_speech:
            await self._answering.tell_late()

    def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left."""
        return self._events.read()

    async def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        self._answering.heard(reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        """Answer a `ToolCall`; what is not wanted any more is dropped.

        Raises:
            CascadeError: No such call is open.
        """
        self._answering.tool_result(call_id, output)

    @property
    def history(self) -> list[Message]:
        """What was said and heard so far, in order."""
        self._answering.settle()
        return self._conversation.history

    @property
    def preparing(self) -> bool:
        """Whether something is computed that nobody waits for yet.

        An answer that is held, a partial transcript, a prompt: it takes time all the same, from
        whatever comes next.
        """
        running = self._partials.running or self._check.running or self._read_ahead.running
        return running or self._answering.preparing

    async def _tell(self, event: Event) -> None:
        self._events.tell(event)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that ends with the session."""
        task = self._tasks.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def _decide(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Began():
                    await self._begin_turn(decision)
                case Joined():
                    self._begin_utterance(decision)
                case Paused():
                    self._speculate(decision)
                case Settled():
                    self._look_again(decision)
                case Resumed():
                    self._foresight.end()
                    await self._answering.drop("the user went on")
                case Ended():
                    await self._end_turn(decision)
                case Ducked():
                    await self._answering.duck()
                case Suspected():
                    self._check.look(decision)
                case Swelled():
                    await self._answering.swell()
                case Idle():
                    await self._answering.say(self._settings.turns.idle_text)

    async def _begin_turn(self, began: Began) -> None:
        await self._answering.new_turn()
        self._read_ahead.new_turn()
        self._check.forget()
        self._begin_utterance(began)
        self._events.tell(SpeechStarted(self._turn))

    def _begin_utterance(self, began: Began | Joined) -> None:
        """What the user says in this turn begins here."""
        self._utterance = began
        self._partials.begin(self._turn, began.start)
        self._mark("speech.start", self._hearing.time_of(began.voiced))

    async def _end_turn(self, ended: Ended) -> None:
        """The endpoint: what was made ahead is told; what was not is begun."""
        self._mark("speech.end", self._hearing.time_of(self._hearing.last_sound(ended.speech_end)))
        self._mark("vad.stop", self._hearing.time_of(ended.silence_from))
        self._mark("provisional", self._hearing.time_of(ended.paused_at))
        self._mark(
            "committed",
            self._clock.now_ns(),
            reason=ended.reason,
            hold_ms=round(ended.hold_ms),
            probability=ended.probability,
        )
        if ended.reason == "length":
            log.warning(
                "somebody has spoken for %.0f s without an end: it is answered at the next pause, "
                "or after as long again",
                (ended.end - ended.start) / RATE,
            )
        self._foresight.end()
        self._utterance = None
        self._events.tell(SpeechStopped(self._turn))
        if self._answering.answer is None:
            audio = self._hearing.sound(ended.start, ended.end)
            self._try(functools.partial(self._transcribe, audio, ended.voiced_ms))
        await self._answering.commit()

    def _speculate(self, paused: Paused) -> None:
        """The turn may be over: begin to answer it, and see how likely it is."""
        turns = self._settings.turns
        begin = self._speculates and self._answering.attempts < turns.attempts
        if turns.predict:
            self._foresight.begin(paused.speech_end, self._hearing.sound(paused.start, paused.at))
        if not begin:
            return
        # Another's voice may have gone on for longer than the tail before the pause was known.
        tail_end = paused.speech_end + self._tail
        audio = self._hearing.sound(paused.start, min(paused.at, tail_end), until=tail_end)
        self._try(
            functools.partial(
                self._transcribe, audio, paused.voiced_ms, prefix=self._partials.stable
            )
        )

    def _try(self, recognise: Recognise) -> None:
        """Begin an answer to the turn, be it over or paused."""
        self._answering.begin(recognise, self._judge)

    def _read_on(self) -> None:
        """A reply is made: read it as if all of it were heard, which mostly it will be."""
        self._read_ahead.begin(self._conversation.prompt(reserve_tokens=RESERVE_TOKENS))

    async def _judge(self, messages: Messages, heard: Transcription) -> None:
        """The words are known: the model is asked at once, and not for anything else."""
        self._read_ahead.stop()
        await self._foresight.read(messages, heard)

    def _look_again(self, settled: Settled) -> None:
        """The pause goes on: see whether a soft last syllable makes other words of it."""
        answer = self._answering.answer
        if answer is None or answer.text is None:
            return
        audio = self._hearing.sound(settled.start, settled.end)
        self._begin(self._compare(answer, audio))

    async def _compare(self, answer: Answer, audio: Audio) -> None:
        heard = await self._transcribe_aside(audio)
        if heard is not None and bare(heard.text) != bare(answer.text or ""):
            self._found.append(functools.partial(self._redo, answer, heard))

    async def _redo(self, answer: Answer, heard: Transcription) -> None:
        """Answer other words than before; too late if the turn is over, or went on."""
        if answer is not self._answering.answer or answer.committed:
            return
        await self._answering.drop("other words")

        async def known() -> Transcription:
            return heard

        if self._answering.attempts < self._settings.turns.attempts:
            self._try(known)

    async def _words_over(self, suspected: Suspected) -> Transcription | None:
        """What is said over a reply, so far."""
        until = suspected.at + self._tail
        audio = self._hearing.sound(suspected.start, suspected.at, until=until)
        audio = np.pad(audio, (int(LEAD_S * RATE), 0))
        return await self._transcribe_aside(audio, suspected.voiced_ms)

    async def _transcribe(
        self, audio: Audio, voiced_ms: float | None = None, *, prefix: str = ""
    ) -> Transcription:
        """Recognise, in the language of this session once one is beyond doubt."""
        heard = await self._engines.transcribe(
            audio, voiced_ms, prefix=prefix, language=self._language
        )
        if heard.sure:
            self._language = heard.language
        return heard

    async def _transcribe_aside(
        self, audio: Audio, voiced_ms: float | None = None, *, prefix: str = ""
    ) -> Transcription | None:
        """Recognise what the turn can do without; None if that fails, and the first time a line."""
        try:
            return await self._transcribe(audio, voiced_ms, prefix=prefix)
        except StageError as error:
            level = logging.DEBUG if self._fails_aside else logging.WARNING
            self._fails_aside = True
            log.log(level, "what is said cannot be recognised while it is said: %s", error)
            return None

    def _interrupts(self, suspected: Suspected, since: int) -> None:
        """There are words in the voice over a reply."""

        async def confirm() -> None:
            await self._decide(self._turns.recognised(suspected.voiced, since))

        self._found.append(confirm)

    def _transcribe_partly(self) -> None:
        """While the user speaks, now and then recognise what there is."""
        begun, end = self._utterance, self._hearing.end
        if begun is None or self._answering.answer is not None:
            return
        if self._partials.due(end, self._hearing.time_of(end)):
            self._partials.make(self._hearing.sound(begun.start, end), end)

    async def _said_so_far(self, turn: int, text: str, stable: str) -> None:
        """A partial transcript: for the eye, and its stable words for the model to read."""
        if self._utterance is None or turn != self._turn:
            return
        self._events.tell(Transcript(turn, text, False))
        if self._speculates and self._answering.answer is None:
            self._read_ahead.follow(stable, lambda: self._conversation.prompt(said=stable))

    @property
    def _turn(self) -> int:
        return self._answering.turn

    @property
    def _speculates(self) -> bool:
        return self._settings.reply.mode == "speculative"

    def _mark(self, name: str, t_ns: int, **more: Any) -> None:
        self._trace.mark(self._turn, name, t_ns, **more)
