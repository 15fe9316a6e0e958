"""The session that is the cascade: turn-taking, recognition, and one reply a turn."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np

from pipeline.audio.resample import resampled
from pipeline.clock import Clock
from pipeline.config import Settings, TurnSettings, VadSettings
from pipeline.conversation import interpreter
from pipeline.conversation.history import History, Memory, Message
from pipeline.conversation.open_calls import OpenCalls
from pipeline.conversation.replies import Replies
from pipeline.conversation.reply import (
    PACE,
    Engines,
    Reply,
    ReplyPace,
    Synthesiser,
    Tell,
)
from pipeline.engines.llm import Messages
from pipeline.engines.prosody import EXPLAINED, SpeakingHabits
from pipeline.engines.tools import Tool
from pipeline.engines.whisper import Audio, Transcription, bare, same_words, scaled
from pipeline.errors import StageError
from pipeline.events import (
    Event,
    Frame,
    LongSilence,
    Samples,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipeline.session import EventQueue, Found, Inbox
from pipeline.trace import Trace
from pipeline.turns.barge_in import WordCheck
from pipeline.turns.end_of_turn import Foresight
from pipeline.turns.listener import Hearing, Recogniser
from pipeline.turns.taker import (
    RATE,
    TIMES,
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
    TurnTimes,
)

TAPE_SLACK_S = 5.0
"""Audio kept beyond the longest turn: pre-roll, and what arrives while a decision is made."""

LEAD_S = 0.3
"""Silence (s) put before what is said over a reply. Of three people's "Stop", half heard and whole,
cut at 45 places, tiny.en understood 39; 24 without it, 35 with 0.2 s, 33 with 0.4 s."""

ATTEMPTS, ATTEMPTS_A_SECOND = 8, 1.0
"""Answers begun at the pauses of one turn, before its end is certain; and so many more for each
second of it. Who reads aloud pauses for 32 ms and more once in 0.8 to 1.3 s."""

PARTIAL_MS = 600
"""Time between transcripts while the user speaks; 0: none."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a session takes turns and answers.

    Attributes:
        turns: When turns begin and end.
        vad: What is voice.
        voice: Speaks the replies; None: they are only read.
        preroll_ms: See `TurnTimes`.
        listens: Whether voice begins turns, and silence ends them; else nobody's voice does.
        answers: Whether a turn that is over is answered, unless another reply is being made.
        interrupts: Whether the user's turn ends the reply that is under way.
        language: Code of what the user speaks; empty: as it turns out.
        about: What they will say, or how it is to be written (see `Transcribe`).
    """

    turns: TurnSettings
    vad: VadSettings
    voice: Synthesiser | None
    preroll_ms: int = TIMES.preroll_ms
    listens: bool = True
    answers: bool = True
    interrupts: bool = True
    language: str = ""
    about: str = ""


class Cascade:
    """A `Session`: microphone frames in; speech, transcripts and replies out.

    At a short silence a reply is begun, and held until the turn is over; if the user goes on, it
    is thrown away. Voice over a reply makes it quieter, words end it, and the history keeps of it
    what was heard.

    A reply may wait for tools, and says now and then that it does. If the user goes on meanwhile,
    the reply is over, and what the tools give is told in a reply of its own, when nobody speaks and
    nothing is to be answered (see `Tool.told`).

    All that happens goes through one `Inbox`: frames, playout positions and results of tools, and
    what the work in the background has found.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Settings,
        trace: Trace,
        clock: Clock,
        history: Sequence[Message] = (),
        tools: Sequence[Tool] = (),
        *,
        memory: Memory | None = None,
        tell: Tell | None = None,
        times: TurnTimes = TIMES,
        pace: ReplyPace = PACE,
        partial_ms: int = PARTIAL_MS,
    ) -> None:
        """Prepare a session.

        Args:
            engines: Ready to compute.
            settings: Of the run.
            trace: Takes the marks.
            clock: The one clock.
            history: A conversation to go on with.
            tools: The model may call them; whoever reads the events runs them, but for
                `toolbox.CANCEL`, which is done here.
            memory: A conversation that somebody else edits, instead of `history` and `tools`: then
                a reply ends where it calls tools, and somebody asks for the next one.
            tell: Takes each event as it happens; None: they are read from `events`.
            times: See `TurnTimes`.
            pace: See `ReplyPace`.
            partial_ms: See `PARTIAL_MS`.
        """
        self._engines = engines
        self._settings = settings
        self._manner = Manner(settings.turns, settings.vad, engines.voice)
        # Who edits the conversation decides what is answered in it.
        translates = memory is None and bool(settings.conversation.translate_to)
        if translates:
            self._manner = replace(
                self._manner, turns=interpreter.turns(settings.turns), interrupts=False
            )
            times, pace = interpreter.times(times), interpreter.pace(pace)
        self._times = times
        self._trace = trace
        self._clock = clock
        self._turns = TurnTaker(self._manner.turns, settings.vad, times)
        self._tail = times.tail_ms * RATE // 1000
        self._hearing = Hearing(engines.new_detector(), times.max_turn_s + TAPE_SLACK_S)
        self._events = EventQueue()
        self._tell = tell or self._events.tell
        self._inbox = Inbox()
        self._recogniser = Recogniser(
            engines.transcribe,
            every_ms=partial_ms,
            clock=clock,
            inbox=self._inbox,
            tell=self._said_so_far,
        )
        self._check = WordCheck(self._words_over, self._inbox, self._words_found)
        self._foresight = Foresight(
            engines.melody, engines.judge, self._inbox, self._turns.predicted
        )
        calls = summarises = None
        if translates:
            memory = said = interpreter.Interpreter(
                settings.conversation.translate_to,
                budget_tokens=settings.conversation.budget_tokens,
            )
            said.restore(history)
        elif memory is None:
            explained = f" {EXPLAINED}" if settings.conversation.prosody else ""
            memory = own = History(
                f"{settings.llm.instructions}{explained}",
                budget_tokens=settings.conversation.budget_tokens,
                tools=tools,
                language=engines.voice.language,
                gauge=engines.tokens,
            )
            own.restore(history)
            calls = OpenCalls(own, tools)
            summarises = own if settings.conversation.summary else None
        replies = interpreter.Translations if translates else Replies
        self._replies = replies(
            engines,
            settings,
            memory=memory,
            calls=calls,
            summarises=summarises,
            trace=trace,
            clock=clock,
            tell=self._tell,
            inbox=self._inbox,
            foresight=self._foresight,
            speaker=SpeakingHabits() if settings.conversation.prosody else None,
            pace=pace,
        )

    async def __aenter__(self) -> Self:
        """Begin to listen; a conversation that goes on, and tools, are read by the model first."""
        await self._replies.read_history()
        await self._inbox.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all work; the history keeps of a running reply what was heard."""
        try:
            await self._inbox.__aexit__(exc_type, exc, traceback)
        finally:
            self._events.end(*self._replies.close())

    async def send(self, frame: Frame) -> None:
        """Take the next piece of the microphone, of any length, at any rate."""
        self._inbox.put(self._hear, frame)

    def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left."""
        return self._events.read()

    async def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        self._inbox.put(self._replies.heard, reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        """Answer a `ToolCall`; what is not wanted any more is dropped.

        Raises:
            CascadeError: No such call is open.
        """
        self._inbox.put(self._replies.tool_result, call_id, output)

    async def ask(self, line: str) -> str | None:
        """Speak a line, and give what the user says to it (see `Replies.ask`)."""
        return await self._replies.ask(line)

    def offer(self, tools: Sequence[Tool]) -> None:
        """Other tools may be called from now on."""
        self._inbox.put(self._replies.offer, tools)

    @property
    def asks(self) -> bool:
        """Whether the user has heard a question, and has not answered it."""
        return self._replies.asks

    # --- what its owner does, besides ---

    def behave(self, manner: Manner) -> None:
        """Take turns and answer in this way from now on."""
        self._inbox.put(self._behave, manner)

    def finish_turn(self) -> None:
        """The user's turn is over because somebody says so, and is not answered.

        Nothing happens if there is none.
        """
        self._inbox.put(lambda: self._decide(self._turns.finish()))

    def forget_turn(self) -> None:
        """What the user is saying is not said."""
        self._inbox.put(self._forget_turn)

    def understand(
        self, sound: Samples, rate: int, then: Callable[[Transcription | StageError], None]
    ) -> None:
        """Recognise a sound that is no turn; the act `then` is told what was said, or what failed.

        Args:
            sound: int16, shape (n,), of any length.
            rate: Hz.
            then: An act.
        """
        audio = scaled(resampled(sound, rate, RATE))
        recognise = functools.partial(self._recogniser.transcribe, audio, None)
        self._inbox.put(self._replies.understand, recognise, audio, then)

    def show(self, url: str) -> None:
        """The user shows a picture, which the model sees with the words to come.

        Args:
            url: Of its data, small enough for a model (`pictures.picture`).
        """
        self._inbox.put(lambda: self._replies.show(url, in_speech=self._turns.in_speech))

    def prepare(self, work: Coroutine[Any, Any, Found], then: Callable[[Found], None]) -> None:
        """Do work that replies which are asked for wait for; the act `then` is told."""
        self._inbox.put(self._replies.prepare, work, then)

    def respond(
        self,
        id: str,
        prompt: Callable[[], Messages],
        voice: Synthesiser | None,
        *,
        apart: bool = False,
    ) -> None:
        """Begin a reply (see `Replies.respond`); none is under way, or it is `apart`."""
        self._inbox.put(
            lambda: self._replies.respond(
                id, prompt, voice, apart=apart, in_speech=self._turns.in_speech
            )
        )

    def cancel(self, id: str) -> None:
        """Stop a reply; nothing happens if it is over."""
        self._inbox.put(self._replies.cancel, id)

    def changed(self) -> None:
        """Somebody has changed the conversation, or what the model is told of it."""
        self._inbox.put(self._replies.changed)

    def words_of(self, reply_id: str) -> Callable[[float], str]:
        """Which words of a reply are over after so many seconds of its sound; none of another's."""
        return self._replies.words_of(reply_id)

    @property
    def in_speech(self) -> bool:
        """Whether the user's turn is going on."""
        return self._turns.in_speech

    @property
    def answering(self) -> bool:
        """Whether a reply to the conversation is being made."""
        return self._replies.making

    @property
    def history(self) -> list[Message]:
        """What was said and heard so far, in order."""
        return self._replies.history

    @property
    def as_saved(self) -> list[Message]:
        """The history as it is saved while the conversation goes on (see `Replies.as_saved`)."""
        return self._replies.as_saved

    @property
    def preparing(self) -> bool:
        """Whether something is computed that nobody waits for yet.

        A reply that is held, a partial transcript, a prompt: it takes time all the same, from
        whatever comes next.
        """
        return self._recogniser.running or self._check.running or self._replies.preparing

    # --- what the user does ---

    def _hear(self, frame: Frame) -> None:
        if not self._hearing.follows(frame):
            self._decide(self._turns.lost())
            self._check.forget()
        if frame.begins:
            self._turns.another()
        for verdict in self._hearing.push(frame):
            if self._manner.listens:
                speaking = self._replies.speaking and self._manner.interrupts
                # Nothing is heard of a reply that waits for an answer: "yes" is one.
                speaking = speaking and not self._replies.asks
                self._decide(self._turns.push(verdict, speaking=speaking))
        if self._turns.closing:
            self._replies.hurry()
        if self._replies.held is None:
            self._recogniser.partly(self._hearing)
        if not self._turns.in_speech:
            self._replies.tell_late()

    def _decide(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Began():
                    self._begin_turn(decision)
                case Joined():
                    self._begin_utterance(decision)
                case Paused():
                    self._speculate(decision)
                case Settled():
                    self._look_again(decision)
                case Resumed():
                    self._foresight.end()
                    self._recogniser.resumed(decision.pause_ms)
                    self._replies.drop("the user went on")
                case Ended():
                    self._end_turn(decision)
                case Ducked():
                    self._replies.duck()
                case Suspected():
                    self._check.look(decision)
                case Swelled():
                    self._replies.swell()
                    if decision.whole is not None:
                        self._check.over(decision.whole)
                case Idle() if self._manner.turns.idle_text:
                    self._replies.say(self._manner.turns.idle_text)
                case Idle():
                    self._tell(LongSilence(self._turn))

    def _behave(self, manner: Manner) -> None:
        before, self._manner = self._manner, manner
        self._turns.configure(
            manner.turns, manner.vad, replace(self._times, preroll_ms=manner.preroll_ms)
        )
        self._replies.voice = manner.voice
        self._recogniser.expect(manner.language, manner.about)
        if before.listens and not manner.listens:
            self._forget_turn()

    def _forget_turn(self) -> None:
        self._check.forget()
        self._foresight.end()
        self._recogniser.end()
        self._turns.forget()
        self._replies.drop("the turn was forgotten")
        self._replies.swell()

    def _begin_turn(self, began: Began) -> None:
        self._replies.new_turn(interrupts=self._manner.interrupts)
        # Words over a reply that was over before it was known whether they ask for the turn are its
        # first.
        start = self._check.undecided
        self._check.forget()
        self._begin_utterance(began if start is None else replace(began, start=start))
        self._tell(SpeechStarted(self._turn, began.voiced / RATE))

    def _begin_utterance(self, began: Began | Joined) -> None:
        """What the user says in this turn begins here."""
        self._recogniser.begin(self._turn, began.start)
        self._mark("speech.start", self._hearing.time_of(began.voiced))

    def _end_turn(self, ended: Ended) -> None:
        """The turn is over: what was made ahead is told; what was not is begun."""
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
        if ended.reason == "length" and self._times.most_cuts:
            log.warning(
                "somebody has spoken for %.0f s without an end: it is answered at the next pause, "
                "or after as long again",
                (ended.end - ended.start) / RATE,
            )
        self._foresight.end()
        self._recogniser.end()
        self._tell(SpeechStopped(self._turn))
        answer = self._answers and ended.reason != "hand"
        if self._replies.held is None or self._replies.held.answers != answer:
            self._replies.drop("another reply was asked for")
            self._replies.begin(
                self._recogniser.utterance(self._hearing, ended.end, ended.voiced_ms),
                sound=self._spoken(ended.start, ended.speech_end),
                answer=answer,
            )
        self._replies.commit()

    def _speculate(self, paused: Paused) -> None:
        """The turn may be over: begin to answer it, and see how likely it is."""
        spoken_s = (paused.speech_end - paused.start) / RATE
        allowed = ATTEMPTS + ATTEMPTS_A_SECOND * spoken_s
        begin = self._speculates and self._replies.attempts < allowed
        if self._manner.turns.predict:
            self._foresight.begin(paused.speech_end, self._hearing.sound(paused.start, paused.at))
        if not begin:
            return
        # Another's voice may have gone on for longer than the tail before the pause was known.
        tail_end = paused.speech_end + self._tail
        words = self._recogniser.utterance(
            self._hearing,
            min(paused.at, tail_end),
            paused.voiced_ms,
            until=tail_end,
            stable=True,
            pause=paused.speech_end,
        )
        sound = self._spoken(paused.start, paused.speech_end)
        self._replies.begin(words, sound=sound, answer=self._answers)

    def _spoken(self, start: int, end: int) -> Audio | None:
        """What was said, where it matters how."""
        return self._hearing.sound(start, end) if self._settings.conversation.prosody else None

    def _look_again(self, settled: Settled) -> None:
        """The pause goes on: see whether a soft last syllable makes other words of it."""
        reply = self._replies.held
        if reply is not None and reply.words is not None:
            words = self._recogniser.utterance(self._hearing, settled.end)
            self._inbox.start(
                self._recogniser.aside(words), functools.partial(self._compare, reply)
            )

    # --- what is found out ---

    def _said_so_far(self, text: str) -> None:
        """A partial transcript: for the eye, and for the model to read."""
        language = self._recogniser.language
        self._tell(Transcript(self._turn, text, False, self._recogniser.stable, language))
        self._replies.expect(language)
        if self._speculates:
            self._replies.follow(text)

    def _compare(self, reply: Reply, heard: Transcription | None) -> None:
        """Answer other words than before; too late if the turn is over, or went on."""
        if heard is None or reply is not self._replies.held:
            return
        if same_words(heard.text, reply.words or ""):
            return
        said, before = bare(heard.text), bare(reply.words or "")
        begins = bool(said) and said == before[: len(said)]
        if begins and not self._recogniser.may_be_whole(heard.text):
            return
        self._replies.drop("other words")

        async def known() -> Transcription:
            return heard

        self._replies.begin(known, sound=reply.sound, answer=reply.answers)

    async def _words_over(self, suspected: Suspected) -> Transcription | None:
        """What is said over a reply, so far."""
        until = suspected.at + self._tail
        audio = self._hearing.sound(suspected.start, suspected.at, until=until)
        audio = np.pad(audio, (int(LEAD_S * RATE), 0))
        return await self._recogniser.aside(
            functools.partial(self._recogniser.transcribe, audio, suspected.voiced_ms)
        )

    def _words_found(self, since: int) -> None:
        """There are words in the voice over a reply, from this sample on."""
        self._decide(self._turns.recognised(since))

    @property
    def _turn(self) -> int:
        return self._replies.turn

    @property
    def _answers(self) -> bool:
        """Whether the turn that is going on is answered when it is over."""
        return self._manner.answers and not self._replies.engaged

    @property
    def _speculates(self) -> bool:
        return self._settings.reply.mode == "speculative" and not self._engines.behind

    def _mark(self, name: str, t_ns: int, **more: Any) -> None:
        self._trace.mark(self._turn, name, t_ns, **more)
