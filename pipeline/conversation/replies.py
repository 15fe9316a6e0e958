"""The replies of a session: begun, held, dropped, spoken, interrupted, told late.

Here is written what the history keeps of them, and nowhere else. How turns are found is the
cascade's business, which tells what the user does.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import string
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from pipeline.clock import NS_PER_S, Clock
from pipeline.config import Settings
from pipeline.conversation.consent import Question
from pipeline.conversation.history import History, Memory, Message, ReplyPlace, wire
from pipeline.conversation.open_calls import CallGroup, OpenCalls
from pipeline.conversation.phrases import bridge, called_off
from pipeline.conversation.reply import (
    Engines,
    Reply,
    ReplyPace,
    ReplyState,
    Synthesiser,
    Tell,
)
from pipeline.engines.llm import Incomplete, Messages, Piece, Unanswered, Unsaid, Writer
from pipeline.engines.prosody import Prosody, SpeakingHabits
from pipeline.engines.sight import BLIND, pictures
from pipeline.engines.tools import IDLE_S, Tool, ToolUse
from pipeline.engines.whisper import Audio, Transcription
from pipeline.errors import StageError
from pipeline.events import (
    Failure,
    PicturesUnseen,
    ReplyDone,
    ReplyDucked,
    ReplyInterrupted,
    ReplyStatus,
    ReplySwelled,
    ToolCall,
    ToolCancelled,
    Transcript,
)
from pipeline.session import Found, Inbox
from pipeline.text.language_names import code_of
from pipeline.tools.toolbox import CANCEL
from pipeline.trace import DETAILS, Trace
from pipeline.turns.barge_in import is_hum
from pipeline.turns.end_of_turn import QUESTION_MARKS, Foresight
from pipeline.turns.listener import Recognise

log = logging.getLogger(__name__)

RESERVE_TOKENS = 100
"""Room for what the user says next, when a prompt is read ahead."""

READ_WORDS = 2
"""So many more words are worth a request that lets the model read them."""


class Dictated:
    """A model that writes what it was told to."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """Yield the text."""
        yield self._text


class Replies:
    """The reply that is held, the one that is under way, and the calls that are open.

    All methods are acts of the session's inbox.

    The model reads what it will be asked with before it is asked. Mostly it knows the beginning
    already; after old turns were left out it has to read all of the rest, which would take seconds
    if it began when the user waits.

    Attributes:
        turn: The newest turn, counted from 1 (0: none yet).
        attempts: How often a reply to it was begun.
        held: The reply that is made while the turn may go on; None: none is.
        voice: Speaks the replies that are begun from now on; None: they are only read.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Settings,
        *,
        memory: Memory,
        calls: OpenCalls | None,
        summarises: History | None,
        trace: Trace,
        clock: Clock,
        tell: Tell,
        inbox: Inbox,
        foresight: Foresight,
        speaker: SpeakingHabits | None,
        pace: ReplyPace,
    ) -> None:
        """Prepare.

        Args:
            engines: Recognise, write and speak.
            settings: Of the run.
            memory: What the model is reminded of.
            calls: The tool calls that replies wait for; None: a reply ends where it calls tools.
            summarises: Keeps summaries of what it leaves out; None: nobody does.
            trace: Takes the marks.
            clock: The session's.
            tell: Takes the events.
            inbox: The session's.
            foresight: Gets the words of a pause, and is waited for before the model is asked.
            speaker: Learns how the user speaks; None: how something is said does not matter.
            pace: See `ReplyPace`.
        """
        self.turn = max((m.turn for m in memory.history), default=0)
        self.attempts = 0
        self.held: Reply | None = None
        self.voice: Synthesiser | None = engines.voice
        self._language = ""
        self._memory = memory
        self._engines = engines
        self._mode = settings.reply.mode
        self._pace = pace
        self._calls = calls
        self._summarises = summarises
        self._trace = trace
        self._clock = clock
        self._tell = tell
        self._inbox = inbox
        self._foresight = foresight
        self._speaker = speaker
        self._reading: asyncio.Task[None] | None = None
        self._summing: asyncio.Task[None] | None = None
        self._read_words = 0
        self._current: Reply | None = None
        self._apart: dict[str, Reply] = {}
        # What is being recognised, and answered only if somebody asks for that.
        self._listening: set[asyncio.Task[None]] = set()
        # The marks of what was said outside of turns: to be answered, and answered last.
        self._spoken: dict[str, int] = {}
        self._answering: dict[str, int] = {}
        # The last turn that was answered, and how many replies were asked for within one.
        self._answered = self._parts = 0
        self._ducked: Reply | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._late: dict[int, int] = {}
        # When somebody spoke last (ns), and how often time was filled.
        self._busy_ns = 0
        self._bridges = 0
        # The pictures that the user knows are not seen.
        self._unseen: set[str] = set()
        # What the user is asked, and the turns that are answers to that.
        self._question: Question | None = None
        self._asking = asyncio.Lock()
        self._consents: set[int] = set()

    @property
    def speaking(self) -> bool:
        """Whether a reply is under way, heard or about to be."""
        return self._current is not None and self._current.speaking

    @property
    def making(self) -> bool:
        """Whether a reply to the conversation is being made, be it only that it was asked for."""
        reply = self._current
        return reply is not None and (reply.making or reply.state is ReplyState.LISTENING)

    @property
    def engaged(self) -> bool:
        """Whether a reply is being made, so that the turn that is going on will have none."""
        return self.making

    @property
    def preparing(self) -> bool:
        """Whether a reply is made that nobody waits for yet, or a prompt is read."""
        busy = self._is_reading or not _over(self._summing)
        return busy or (self.held is not None and self.held.preparing)

    @property
    def history(self) -> list[Message]:
        """What was said and heard so far, in order."""
        self.settle()
        return self._memory.history

    @property
    def as_saved(self) -> list[Message]:
        """The history as it is saved while the conversation goes on.

        A reply that is made counts as heard, which mostly it will be; where it is not, what is
        saved next says so.
        """
        self.settle()
        reply = self._current
        if reply is not None and reply.state is ReplyState.MADE:
            self._settle(reply, reply.made_text())
        kept = self._memory.history
        self.settle()
        return kept

    def new_turn(self, *, interrupts: bool = True) -> None:
        """The user begins to speak; whether that ends the reply."""
        if self._summing is not None:
            self._summing.cancel()
        if interrupts:
            self._interrupt()
        self.turn += 1
        self.attempts = 0
        self._read_words = 0
        question = self._question
        if question is not None and question.begun(self.turn, self._clock.now_ns()):
            self._consents.add(self.turn)
        self._busy_ns = self._clock.now_ns()

    def expect(self, language: str) -> None:
        """The user is speaking a language: what speaks it gets ready."""
        if self.voice is not None and language and code_of(language) != self.voice.language:
            self.voice.in_language(language)

    def begin(
        self, recognise: Recognise, *, sound: Audio | None = None, answer: bool = True
    ) -> None:
        """Begin a reply to the turn, which is held; or only to recognise what is said in it.

        Args:
            recognise: Gives the words.
            sound: Theirs, to be looked at for how they are said; None: that does not matter.
            answer: Whether there will be a reply.
        """
        self.attempts += 1
        self.held = self._new(self.turn, voice=self._next_voice(), held=True, answers=answer)
        self.held.sound = sound
        self._start(self.held, functools.partial(self._answer, self.held, recognise))

    def _listen_to(self, task: asyncio.Task[None]) -> None:
        self._listening.add(task)
        task.add_done_callback(self._listening.discard)

    def hurry(self) -> None:
        """The turn is nearly over: what is held shall have its first sound by then."""
        if self.held is not None:
            self.held.hurry()

    def _next_voice(self) -> Synthesiser | None:
        """What speaks the reply to the turn that is going on."""
        return self.voice

    def commit(self) -> None:
        """The turn is over: what was made ahead is told."""
        reply, self.held = self.held, None
        assert reply is not None
        self._commit(reply)

    def _commit(self, reply: Reply) -> None:
        if reply.answers:
            self._current, self._answered = reply, reply.turn
        elif reply.task is not None and reply.status is None:
            self._listen_to(reply.task)
        reply.commit()
        self._keep_words(reply)
        if reply.status is not None:
            self._tell_end(reply)

    def say(self, line: str) -> None:
        """Begin a turn of the assistant's own accord: speak a line."""
        self.turn += 1
        self.attempts = 1
        self._answered = self.turn
        self._current = self._new(self.turn, voice=self.voice, model=Dictated(line))
        self._current.begin(f"reply-{self.turn}")
        self._start(self._current, functools.partial(self._respond, self._current, list))

    def tell_late(self) -> None:
        """No turn is going on: if nothing is to be answered, tell what tools gave too late."""
        if self._calls is None:
            return
        now_ns = self._clock.now_ns()
        if self._question is not None:
            self._see_to(self._question, now_ns)
            return
        if self._current is not None and not self._current.over:
            self._busy_ns = now_ns
            return
        idle = now_ns - self._busy_ns >= IDLE_S * NS_PER_S
        late = self._calls.next_late(self.turn, idle=idle)
        if late is None:
            return
        group, place = late
        self._current = self._new(group.turn, voice=self.voice, place=place, asked=group.asked)
        self._current.speak_in(self._language)
        self._current.begin(self._late_id(group.turn))
        self._start(
            self._current, functools.partial(self._respond, self._current, self._memory.prompt)
        )

    def offer(self, tools: Sequence[Tool]) -> None:
        """Other tools may be called from now on, where replies wait for tools."""
        if self._calls is not None:
            self._calls.offer(tools)
            self.changed()

    async def ask(self, line: str) -> str | None:
        """Speak a line when nobody speaks, and give what the user says to it; None: nothing.

        What is said then is no part of the conversation. One question is asked at a time.
        """
        async with self._asking:
            answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

            def answered(words: str | None) -> None:
                if not answer.done():
                    answer.set_result(words)

            self._question = Question(line, answered)
            try:
                return await answer
            finally:
                self._question = None

    @property
    def asks(self) -> bool:
        """Whether the user has heard a question, and has not answered it."""
        return self._question is not None and self._question.heard and not self._question.turn

    def _see_to(self, question: Question, now_ns: int) -> None:
        """No turn is going on, and there is a question."""
        reply = self._current
        if reply is not None and not (reply.over or reply.lulled):
            question.busy(now_ns)
        elif question.told:
            question.quiet(now_ns)
        else:
            question.tell(now_ns)
            if reply is not None and reply.lulled:
                reply.bridge(question.line)
            else:
                self.say(question.line)

    def understand(
        self,
        recognise: Recognise,
        sound: Audio,
        then: Callable[[Transcription | StageError], None],
    ) -> None:
        """Recognise what was said outside of all turns; the act `then` is told.

        Replies that are asked for wait for that.
        """
        at = self._clock.now_ns()
        marks = self._spoken = {"speech.end": at, "committed": at, "stt.start": at}

        async def work() -> tuple[Transcription | StageError, Prosody | None]:
            try:
                return await self._hear(recognise, sound)
            except StageError as error:
                return error, None

        def understood(found: tuple[Transcription | StageError, Prosody | None]) -> None:
            heard, said_so = found
            if not isinstance(heard, StageError):
                self._language = self._language_of(heard)
            marks["stt.final"] = self._clock.now_ns()
            if marks is self._answering:
                self._trace.mark(self._answered, "stt.final", marks["stt.final"])
            then(heard)
            if self._speaker is not None and said_so is not None:
                assert isinstance(heard, Transcription), "what failed has no prosody"
                note = self._speaker.note(said_so, heard.text)
                self._memory.add("user", heard.text, self.turn, note)
                self._speaker.learn(said_so, heard.text)

        self._listen_to(self._inbox.start(work(), understood))

    def respond(
        self,
        id: str,
        prompt: Callable[[], Messages],
        voice: Synthesiser | None,
        *,
        apart: bool = False,
        in_speech: bool = False,
    ) -> None:
        """Begin a reply because somebody asks for it, and not because a turn is over.

        Args:
            id: Its name.
            prompt: Gives what the model is asked with, once all that was said is recognised.
            voice: Speaks it; None: it is only read.
            apart: It is none of the conversation: nothing interrupts it, and any number may be
                made at a time.
            in_speech: The user's turn is going on, and is no turn of this reply's.
        """
        waits = set(self._listening)
        if apart:
            reply = self._apart[id] = self._new(self.turn, voice=voice, apart=True)
        else:
            if self._current is not None and self._current.state is ReplyState.LISTENING:
                assert self._current.task is not None
                waits.add(self._current.task)  # which keeps the words, and answers them no more
            reply = self._current = self._asked_for(voice, in_speech=in_speech)
            self._leave_model()
        reply.begin(id)

        async def work() -> ReplyStatus:
            if waits:
                await asyncio.wait(waits)
            reply.speak_in(self._language)
            return await self._respond(reply, prompt)

        self._start(reply, work)

    def _asked_for(self, voice: Synthesiser | None, *, in_speech: bool) -> Reply:
        """A reply in a turn of its own, unless the turn has none yet, or the user is speaking."""
        if in_speech:
            self.drop("a reply was asked for")
            self._parts += 1
            return self._new(self.turn, voice=voice, place=ReplyPlace(self.turn, self._parts))
        if self.turn in (0, self._answered):
            self.turn += 1
            self.attempts = 1
        self._answered = self.turn
        reply = self._new(self.turn, voice=voice)
        self._answering, self._spoken = self._spoken, {}
        for name, t_ns in ({"committed": self._clock.now_ns()} | self._answering).items():
            self._trace.mark(self.turn, name, t_ns)
        return reply

    def cancel(self, id: str) -> None:
        """Nobody wants a reply any more; nothing happens if it is over."""
        reply = self._apart.pop(id, None)
        if reply is not None:
            reply.stop()
            self._tell(ReplyDone(reply.turn, reply.id, "interrupted"))
        elif self._current is not None and self._current.id == id:
            self._interrupt()

    def words_of(self, reply_id: str) -> Callable[[float], str]:
        """Which words of a reply are over after so many seconds of its sound."""
        reply = self._apart.get(reply_id, self._current)
        if reply is None or reply.id != reply_id:
            return lambda _: ""
        return reply.heard_by

    def changed(self) -> None:
        """The conversation was changed: what is held was made for another one.

        The model reads the new one at once, unless it writes.
        """
        self.drop("the conversation was changed")
        reads = not self.making and not self._is_reading
        if reads or self._engines.sees is False:
            prompt = self._memory.prompt(reserve_tokens=RESERVE_TOKENS)
            self._tell_unseen(pictures(prompt))
            if reads:
                self._begin_to_read(prompt)

    def show(self, url: str, *, in_speech: bool) -> None:
        """The user shows a picture, with what is being said or will be."""
        self._memory.show(url, self.turn if in_speech else self.turn + 1)
        self.changed()

    def prepare(self, work: Coroutine[Any, Any, Found], then: Callable[[Found], None]) -> None:
        """Do work that replies which are asked for wait for; the act `then` is told."""
        self._listen_to(self._inbox.start(work, then))

    def _tell_unseen(self, shown: Sequence[str]) -> None:
        """Tell of each picture once that the model does not see it."""
        if self._engines.sees is False and not self._unseen.issuperset(shown):
            self._unseen.update(shown)
            self._tell(PicturesUnseen(self.turn, BLIND))

    def drop(self, reason: str) -> None:
        """Throw away the reply that is held: nobody has learnt of it."""
        reply, self.held = self.held, None
        if reply is None:
            return
        self._stop(reply)
        reply.mark(
            "discarded",
            reason=reason,
            transcribed=reply.words is not None,
            characters=len(reply.text),
            speech_ms=round(reply.made_s * 1000),
        )

    def duck(self) -> None:
        """There is voice over the reply: play it quietly."""
        if self._current is not None:
            self._ducked = self._current
            self._tell(ReplyDucked(self._current.turn, self._current.id))

    def swell(self) -> None:
        """The voice meant nothing."""
        reply, self._ducked = self._ducked, None
        if reply is not None:
            self._tell(ReplySwelled(reply.turn, reply.id))

    def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        reply = self._current
        if reply is not None and reply.id == reply_id:
            reply.played(samples)
            # What is not made whole is settled when it is, or when it is interrupted.
            if not reply.making:
                self.settle()

    def settle(self) -> None:
        """The history's last reply is what was heard of it."""
        reply = self._current
        if reply is not None and (heard := reply.heard_text()) != reply.kept:
            self._settle(reply, heard)

    def tool_result(self, call_id: str, output: str) -> None:
        """Take a tool's result; what is not wanted any more is dropped.

        Raises:
            CascadeError: No such call is open.
        """
        assert self._calls is not None, "no reply waits for tools"
        self._calls.answer(call_id, output)

    def close(self) -> list[ToolCancelled]:
        """All work has stopped: settle the history. Gives what is to be told of open calls."""
        self.settle()
        return [] if self._calls is None else self._calls.cancel()

    def _new(
        self,
        turn: int,
        *,
        voice: Synthesiser | None,
        model: Writer | None = None,
        place: ReplyPlace | None = None,
        asked: int = 0,
        held: bool = False,
        answers: bool = True,
        apart: bool = False,
    ) -> Reply:
        generation = self.attempts

        def mark(name: str, **more: Any) -> None:
            # The marks of a turn are those of its first reply.
            if (place is None and not apart) or name in DETAILS:
                self._trace.mark(turn, name, self._clock.now_ns(), generation=generation, **more)

        return Reply(
            turn,
            model=model or self._writer(),
            voice=voice,
            mode=self._mode,
            # How much of it is played nobody tells.
            pace=replace(self._pace, lead_s=math.inf) if apart else self._pace,
            clock=self._clock,
            tell=self._tell,
            mark=mark,
            tools=None if self._calls is None else functools.partial(self._use, self._calls),
            asked=asked,
            place=None if apart else place or ReplyPlace(turn),
            held=held,
            answers=answers,
        )

    def _writer(self) -> Writer:
        """What writes the replies."""
        return self._engines.model

    def _late_id(self, turn: int) -> str:
        """A name for one more reply in a turn: reply-3b, reply-3c, and so on."""
        number = self._late[turn] = self._late.get(turn, 0) + 1
        letters = string.ascii_lowercase
        return f"reply-{turn}{letters[number] if number < len(letters) else f'-{number}'}"

    # --- what the model reads before it is asked ---

    async def read_history(self) -> None:
        """Read the conversation that is gone on with, and tools, if there are any."""
        prompt = self._memory.prompt(reserve_tokens=RESERVE_TOKENS)
        self._tell_unseen(pictures(prompt))
        if self._memory.history or prompt.tools:
            await self._read(prompt)

    def follow(self, text: str) -> None:
        """The user has said so much by now: read that if it is enough, and nothing else is.

        What turns out to have been other words is read again from there on.

        Args:
            text: The words; the last may not be whole.
        """
        words = text.split()[:-1]
        if self.held is None and len(words) >= self._read_words + READ_WORDS:
            self._read_words = len(words)
            if not self._is_reading:
                self._begin_to_read(self._memory.prompt(said=" ".join(words)))

    @property
    def _is_reading(self) -> bool:
        return not _over(self._reading)

    def _begin_to_read(
        self, messages: Messages, then: Callable[[None], None] = lambda _: None
    ) -> None:
        self._reading = self._inbox.start(self._read(messages), then)

    def _leave_model(self) -> None:
        """The model is asked at once, and not for anything else."""
        for task in (self._reading, self._summing):
            if task is not None:
                task.cancel()

    def _rest(self, turn: int, _: None) -> None:
        """All of a turn is read: the model has time to write a summary, if nobody has spoken."""
        history = self._summarises
        if history is None or self.turn != turn or self.making or self.held is not None:
            return
        asked = self._as_if_heard(lambda: history.to_summarise(RESERVE_TOKENS))
        if asked is not None:
            self._summing = self._inbox.start(self._summarise(asked), self._summarised)

    async def _summarise(self, asked: Messages) -> str:
        """What the model writes down; nothing where it fails, for the next turn will tell."""
        text = ""
        try:
            async with contextlib.aclosing(self._engines.model.stream(asked)) as pieces:
                async for piece in pieces:
                    text = "" if isinstance(piece, Unsaid) else text
                    text += piece if isinstance(piece, str) else ""
        except StageError as error:
            log.debug("summary: %s", error)
            return ""
        return text

    def _summarised(self, text: str) -> None:
        """The conversation goes on from its summary: that is read while nobody waits."""
        assert self._summarises is not None
        history = self._summarises

        def shorter() -> Messages:
            history.summarised(text)
            return history.prompt(reserve_tokens=RESERVE_TOKENS)

        self._begin_to_read(self._as_if_heard(shorter))

    def _as_if_heard(self, found: Callable[[], Found]) -> Found:
        """What is found while the reply counts as heard to its end, which mostly it will be."""
        reply = self._current
        if reply is None or reply.state is not ReplyState.MADE or reply.place is None:
            return found()
        self._settle(reply, reply.marked(reply.text))
        try:
            return found()
        finally:
            self._settle(reply, reply.heard_text())

    async def _read(self, messages: Messages) -> None:
        """Read. It may fail: if that matters, the next turn will tell."""
        try:
            await self._engines.read_ahead(messages)
        except StageError as error:
            log.debug("reading ahead: %s", error)

    # --- the work on a reply ---

    def _start(self, reply: Reply, work: Callable[[], Awaitable[ReplyStatus]]) -> None:
        reply.task = self._inbox.start(self._see_through(reply, work), self._made)

    async def _see_through(
        self, reply: Reply, work: Callable[[], Awaitable[ReplyStatus]]
    ) -> tuple[Reply, ReplyStatus, Exception | None]:
        """Work on a reply to the end of its making: how that ended, and what failed."""
        try:
            return reply, await work(), None
        except StageError as error:
            return reply, "failed", error
        except Exception as error:
            log.exception("turn %d", reply.turn)
            return reply, "failed", error

    async def _answer(self, reply: Reply, recognise: Recognise) -> ReplyStatus:
        """Recognise what was said, and respond to it."""
        reply.mark("stt.start")
        heard, reply.prosody = await self._hear(recognise, reply.sound)
        if self._speaker is not None and reply.prosody is not None:
            reply.note = self._speaker.note(reply.prosody, heard.text)
        if self._asks_nothing(heard, reply):
            heard = replace(heard, text="", dropped="a sign of listening")
        self._inbox.put(self._understood, reply, heard)
        alone = [wire(Message("user", heard.text, reply.turn))]
        if reply.turn in self._consents:
            await self._foresee(alone, heard)
            await reply.until(lambda: not reply.held)
            if (question := self._question) is not None and question.turn == reply.turn:
                self._inbox.put(question.answer, heard.text)
            return "skipped"
        # What was said before and got no reply is answered with this, be this but a cough.
        if not heard.text and not (self._memory.unanswered and reply.answers):
            await self._foresee(alone, heard)
            return "skipped"
        if self._calls is not None and self._calls.running and called_off(heard.text):
            # The model is asked once that is done: with the end of the turn.
            await reply.until(lambda: not reply.held)
        language = self._language_of(heard)
        if not self._answers_to(heard, language, reply):
            await self._foresee(alone, heard)
            return "skipped"
        prompt = functools.partial(self._reminded, reply, language)
        messages = words = prompt(noted=False)
        if reply.note:
            # Whether the words are whole is judged by them alone.
            messages = prompt()
        if not reply.answers:
            await self._foresee(words, heard)
            return "skipped"
        if self._wanted(reply):
            reply.ask()
            await self._foresee(words, heard)
        if not self._wanted(reply):
            return "interrupted"
        reply.begin(f"reply-{reply.turn}")
        return await self._respond(reply, prompt, messages)

    def _asks_nothing(self, heard: Transcription, reply: Reply) -> bool:
        """Whether it is a hum to what was said, which had no question: "uh-huh" may answer one."""
        if not (reply.answers and is_hum(heard)) or reply.turn in self._consents:
            return False
        last = next((m for m in reversed(self._memory.history) if m.role == "assistant"), None)
        return last is None or not any(mark in last.content for mark in QUESTION_MARKS)

    def _answers_to(self, heard: Transcription, language: str, reply: Reply) -> bool:
        """Prepare the reply for what was said in a language; whether there is to be one."""
        reply.speak_in(language)
        return True

    def _reminded(self, reply: Reply, language: str, *, noted: bool = True) -> Messages:
        """What the model is asked with for a reply, whose turn may be over."""
        said = (reply.words or "") if reply.held else ""
        note = reply.note if noted else ""
        return self._memory.prompt(said=said, note=note, language=language)

    async def _hear(
        self, recognise: Recognise, sound: Audio | None
    ) -> tuple[Transcription, Prosody | None]:
        """What was said, and where that matters, how: which takes a tenth of the time."""
        if self._speaker is None or sound is None:
            return await recognise(), None
        return await asyncio.gather(recognise(), self._engines.prosody(sound))

    async def _foresee(self, messages: Messages, heard: Transcription) -> None:
        """The words are known: the model is asked at once, and not for anything else."""
        self._leave_model()
        await self._foresight.read(messages, heard)

    async def _respond(
        self, reply: Reply, prompt: Callable[[], Messages], messages: Messages | None = None
    ) -> ReplyStatus:
        """Make a reply.

        Args:
            reply: Which.
            prompt: Gives what the model is asked with.
            messages: What it gave just now.
        """
        self._leave_model()
        messages = prompt() if messages is None else messages
        reply.ask()
        reply.shown = pictures(messages)
        if self._stopping is not None and not self._stopping.done():
            # The one before has to let go of the model and the voice.
            await asyncio.wait([self._stopping])
        await reply.make(messages, prompt)
        # The user may have learnt of a late result from another reply meanwhile.
        late = reply.place is not None and reply.place.part
        if not reply.text.strip() and not reply.calls and not late:
            message = "the model had nothing to say; ask again, or take another one"
            raise Unanswered(message, "model")
        return "completed" if reply.cut is None else "incomplete"

    async def _use(
        self, calls: OpenCalls, reply: Reply, uses: Sequence[ToolUse]
    ) -> Messages | None:
        """Call tools once the turn is over, and wait for their results.

        What the user is not to hear is not waited for, unless there is no other answer.
        """
        await reply.until(lambda: not reply.held)
        group = calls.add(reply.turn, uses, reply.asked)
        self._inbox.put(self._call, calls, reply, group)
        if group.told == "silent" and reply.text.strip():
            self._inbox.put(calls.leave, group)
            return None
        bridging = asyncio.create_task(self._fill(reply))
        try:
            await group.complete.wait()
        except asyncio.CancelledError:
            self._inbox.put(calls.leave, group)
            raise
        finally:
            bridging.cancel()
        self._inbox.put(self._settle, reply, reply.text)
        return self._memory.prompt()

    async def _fill(self, reply: Reply) -> None:
        """As long as tools work and nothing is heard, say that they do, less and less often."""
        if self.voice is None:
            return
        said = int(bool(reply.text.strip()) or reply.made_s > 0)
        while True:
            await reply.until(lambda: reply.lulled)
            await asyncio.sleep(self._pace.again_s * said if said else self._pace.bridge_s)
            # There may be voice by now, of which nobody knows what it means.
            if reply.lulled and self._ducked is not reply and self._question is None:
                words = bridge(reply.speaks, self._bridges, again=said > 0)
                self._bridges += 1
                said += 1
                self._inbox.put(reply.bridge, words)

    def _wanted(self, reply: Reply) -> bool:
        """Whether the user has not gone on since."""
        return reply is self.held or reply is self._current

    # --- what becomes of it ---

    def _understood(self, reply: Reply, heard: Transcription) -> None:
        """What the user said is known."""
        noted = {"note": reply.note} if reply.note else {}
        reply.mark("stt.final", dropped=heard.dropped, **noted)
        reply.words, reply.language = heard.text, self._language_of(heard)
        reply.tell(Transcript(reply.turn, heard.text, True, language=reply.language))
        if not reply.held:
            self._keep_words(reply)

    def _language_of(self, heard: Transcription) -> str:
        """Code of what was said; in doubt it is what was said before."""
        return heard.language if heard.sure else self._language

    def _keep_words(self, reply: Reply) -> None:
        """Once the turn is over and the words are known, they are part of the conversation."""
        if reply.words is None or reply.turn in self._consents:
            return
        if self._calls is not None and self._calls.running and called_off(reply.words):
            self._cancel_calls(self._calls)
        self._language = reply.language
        self._memory.add("user", reply.words, reply.turn, reply.note, reply.language)
        if self._speaker is not None and reply.prosody is not None and reply.words:
            self._speaker.learn(reply.prosody, reply.words)

    def _cancel_calls(self, calls: OpenCalls, but: CallGroup | None = None) -> None:
        for cancelled in calls.cancel(but):
            self._tell(cancelled)

    def _call(self, calls: OpenCalls, reply: Reply, group: CallGroup) -> None:
        """The model calls tools: the history has the words before, and the calls."""
        assert reply.place is not None
        calls.call(reply.place, group)
        self._settle(reply, reply.text)
        reply.urgent = group.told == "now"
        for use in group.uses:
            result = calls.own(use, group)
            if result is None:
                self._tell_calls(reply, [use])
                continue
            if use.name == CANCEL.name:
                self._cancel_calls(calls, group)
            calls.answer(use.id, result)

    def _tell_calls(self, reply: Reply, uses: Sequence[ToolUse]) -> None:
        for use in uses:
            self._tell(ToolCall(reply.turn, use.id, use.name, use.arguments, reply_id=reply.id))

    def _made(self, outcome: tuple[Reply, ReplyStatus, Exception | None]) -> None:
        """A reply is made, or failed; nothing is told before the commit."""
        reply, status, error = outcome
        reply.made(status, error)
        if not reply.held:
            self._tell_end(reply)

    def _tell_end(self, reply: Reply) -> None:
        """Tell how a reply went that is made, and whose turn is over."""
        assert reply.status is not None
        if reply.state is ReplyState.STOPPED:
            return  # which was told already
        error = reply.error
        self._tell_unseen(reply.shown)
        self._tell_calls(reply, reply.calls)
        if error is not None:
            failure = _failure(reply.turn, error)
            reply.mark("failed", stage=failure.stage)
            self._tell(failure)
        cut = Incomplete("") if reply.cut is None or error is not None else reply.cut
        self._tell(ReplyDone(reply.turn, reply.id, reply.status, cut.reason, cut.filtered))
        self._apart.pop(reply.id, None)
        if not reply.id or reply.place is None:
            return
        if error is None:
            self._settle(reply, reply.marked(reply.text))
        if reply.place.turn == self.turn:
            # As if all of it were heard, which mostly it will be.
            prompt = self._memory.prompt(reserve_tokens=RESERVE_TOKENS)
            self._begin_to_read(prompt, functools.partial(self._rest, self.turn))
        self._settle(reply, reply.heard_text())

    def _interrupt(self) -> None:
        """The user speaks: stop the reply, and keep of it what was heard.

        A recognition goes on: what was said is not lost. So do tools.
        """
        reply = self._current
        if reply is None or not reply.speaking:
            if reply is not None and reply.state is ReplyState.LISTENING:
                self._current = None  # its words are answered with the next ones
            self.swell()
            return
        # All there is of it was heard, and the rest waits for tools: nothing is cut short.
        between, making = reply.lulled, reply.making
        self._stop(reply)
        self.settle()
        if between:
            self.swell()
            self._tell(ReplyDone(reply.turn, reply.id, "completed"))
            return
        self._ducked = None
        reply.mark("interrupted")
        self._tell(ReplyInterrupted(reply.turn, reply.id, reply.heard_text().strip()))
        if making:
            self._tell(ReplyDone(reply.turn, reply.id, "interrupted"))

    def _stop(self, reply: Reply) -> None:
        reply.stop()
        self._stopping = reply.task

    def _settle(self, reply: Reply, heard: str) -> None:
        """The history has these words of a reply."""
        assert reply.place is not None
        reply.kept = heard
        turn, part = reply.place
        self._memory.settle(turn, heard, part=part, cuts=reply.cuts)


def _over(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()


def _failure(turn: int, error: Exception) -> Failure:
    if isinstance(error, StageError):
        why = error.why if isinstance(error, Unanswered) else ""
        return Failure(turn, error.stage, str(error), error.fatal, why)
    return Failure(turn, "cascade", f"{type(error).__name__}: {error}", False)
