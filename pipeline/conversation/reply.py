"""One reply: tokens → clauses → audio, overlapped, and how much of it was heard.

The model writes, the chunker cuts, the voice speaks, all at once: the first clause is heard while
the third is being written. What waits between them is bounded, and no more sound is made ahead of
what the user has heard than `ReplyPace.lead_s`.

The model may call tools. What it wrote before is spoken while they work; then it goes on in the
same reply.

A reply is begun at a short silence, before anybody knows whether the user has finished. All it
tells is held until it is committed; then it is there at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipeline.audio.audible import onset
from pipeline.clock import Clock
from pipeline.config import ReplyMode
from pipeline.conversation.history import ReplyPlace
from pipeline.engines.chat_stream import Used
from pipeline.engines.context import TooLong
from pipeline.engines.llm import Calling, CallLost, Incomplete, Messages, Unsaid, Writer
from pipeline.engines.prosody import Prosody
from pipeline.engines.tokens import TokenGauge
from pipeline.engines.tools import ToolUse
from pipeline.engines.whisper import Audio
from pipeline.errors import StageError, first_of
from pipeline.events import (
    Event,
    Frame,
    ReplyAudio,
    ReplyStarted,
    ReplyStatus,
    ReplyText,
    ToolCalling,
    Usage,
)
from pipeline.pictures import Picture
from pipeline.text.chunker import Chunker, Clause
from pipeline.text.heard import CHARS_PER_SECOND, Sound, Spoken
from pipeline.text.language_names import code_of
from pipeline.turns.listener import Detector, Transcribe

log = logging.getLogger(__name__)

CLAUSES_AHEAD = 8
"""Clauses that may wait for the voice before the model's stream is left unread."""

STARVING_S = 0.3
"""With less sound than this in hand a word gap is better than a hole: about what a clause takes."""


@dataclass(frozen=True, slots=True)
class ReplyPace:
    """How far the stages of a reply run ahead of what is heard.

    Attributes:
        first_words: Words that the first clause needs.
        first_deadline_ms: After the first token: speak what there is, at a word gap.
        max_clause_chars: Longest clause.
        lead_in_ms: Silence kept before a reply's first sound: voices bring 90.
        comfort_s: With more audio than this in hand clauses grow to sentences.
        lead_s: Audio made ahead of what is heard; the rest waits.
        bridge_s: Silence while a tool works, after which a few words fill it.
        again_s: The same where something has been said before; after the second time twice as
            much, and so on.
    """

    first_words: int = 3
    first_deadline_ms: int = 30
    max_clause_chars: int = 240
    lead_in_ms: int = 10
    comfort_s: float = 1.5
    lead_s: float = 4.0
    bridge_s: float = 0.4
    again_s: float = 5.0


PACE = ReplyPace()

BRIDGE_LEAD_S = 0.3
"""Audio of mere filling that is made ahead of what is heard: so much of it follows at most once the
answer is there, where that is urgent."""

CUT_MARK = " …"
"""Stands in the history where the model was cut off."""

TOOL_ROUNDS = 5
"""How often a reply may wait for tools before it fails."""

Tell = Callable[[Event], None]
"""Takes an event."""

Mark = Callable[..., None]
"""Takes a mark's name, and what it is about."""


class Synthesiser(Protocol):
    """What speaks a reply."""

    @property
    def rate(self) -> int:
        """Samples per second (Hz)."""
        ...

    @property
    def language(self) -> str:
        """Code of what it speaks, such as `en`."""
        ...

    def speak(self, text: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        """Yield the sound of a clause as it is made; closing it stops the synthesis.

        Args:
            text: The clause.
            speed: 1.2 speaks a fifth faster than the settings say.
        """
        ...

    def in_language(self, language: str) -> Synthesiser:
        """What speaks a language, of this code: this, where nothing else does. Takes no time."""
        ...

    def named(self, name: str) -> Synthesiser | None:
        """What is called so; None: nothing. Takes no time."""
        ...


class AtSpeed:
    """A voice that speaks faster or slower.

    Args:
        voice: The voice.
        speed: 1.2 is a fifth faster.
    """

    def __init__(self, voice: Synthesiser, speed: float) -> None:
        self._voice = voice
        self._speed = speed

    @property
    def rate(self) -> int:
        """Samples per second (Hz)."""
        return self._voice.rate

    @property
    def language(self) -> str:
        """Code of what it speaks, such as `en`."""
        return self._voice.language

    def speak(self, text: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        """Yield the sound of a clause as it is made (see `Synthesiser.speak`)."""
        return self._voice.speak(text, speed * self._speed)

    def in_language(self, language: str) -> Synthesiser:
        """What speaks a language, as fast."""
        return AtSpeed(self._voice.in_language(language), self._speed)

    def named(self, name: str) -> Synthesiser | None:
        """What is called so, as fast; None: nothing."""
        voice = self._voice.named(name)
        return voice and AtSpeed(voice, self._speed)


class Engines(Protocol):
    """What computes (`engines.local.LocalEngines`): loaded, warm, and owned by somebody else."""

    def new_detector(self) -> Detector:
        """A judge of voice for one session: it remembers what it has heard."""
        ...

    @property
    def behind(self) -> bool:
        """Whether they have more to do than they can: what may be for nothing is not begun."""
        ...

    @property
    def model(self) -> Writer:
        """Writes replies, and calls tools."""
        ...

    @property
    def tokens(self) -> TokenGauge:
        """How many tokens prompts have, and may have."""
        ...

    @property
    def voice(self) -> Synthesiser:
        """Speaks them."""
        ...

    async def read_ahead(self, messages: Messages) -> None:
        """Let the model read a prompt before it is asked to go on from it, where that helps."""
        ...

    @property
    def transcribe(self) -> Transcribe:
        """Recognises an utterance."""
        ...

    async def prosody(self, audio: Audio) -> Prosody:
        """How an utterance is said."""
        ...

    @property
    def sees(self) -> bool | None:
        """Whether the model sees pictures; None: that is not known yet."""
        ...

    async def look(self, url: str) -> Picture:
        """Check a picture, which comes as data in a URL, and make it small enough.

        Raises:
            NoPicture: It is none that can be read.
        """
        ...

    async def melody(self, audio: Audio) -> float | None:
        """Whether the speaker sounds finished, as a probability; None if nobody can tell."""
        ...

    async def judge(self, messages: Messages) -> float | None:
        """Whether the last message of a prompt reads finished, as a probability; None likewise."""
        ...


class ReplyState(enum.Enum):
    """How far a reply is."""

    LISTENING = enum.auto()
    """What the user said is being recognised; there is nothing of the reply yet."""

    SPEAKING = enum.auto()
    """The model writes, and the voice speaks."""

    WAITING_FOR_TOOL = enum.auto()
    """The model goes on when the tools that it has called have answered."""

    MADE = enum.auto()
    """All of it is made, and not all heard."""

    HEARD = enum.auto()
    """It is over: it was heard to its end, or there was nothing to say."""

    STOPPED = enum.auto()
    """It is over: the user spoke."""

    FAILED = enum.auto()
    """It is over: a stage failed, and what had been made before was heard."""


CallTools = Callable[["Reply", Sequence[ToolUse]], Awaitable[Messages | None]]
"""Waits for the commit, calls tools, waits for their results, and gives the prompt that goes on
from them; None where nothing more is to be said."""


class Reply:
    """One reply: its text, its sound, and how far it is.

    Attributes:
        turn: Its turn.
        place: Where it stands in the history; None: nowhere.
        id: Its name in events, once it has begun.
        words: What the user said, once that is known.
        language: Code of what they said it in; empty: not known.
        sound: That; None: how it is said does not matter.
        prosody: How it was said, where that matters, once that is known.
        note: What of that is notable.
        text: What the model has written so far, thinking left out.
        cuts: Where tools were called in its text: so many characters were written before each.
        asked: How often tools were called.
        state: How far it is.
        held: Whether what it tells is held, since the turn may go on.
        answers: Whether there will be an answer.
        status: How the making of it ended, once it has.
        error: What failed.
        cut: Why the model was cut off, if it was.
        calls: What it asks of tools that this reply does not wait for.
        kept: What the history has of it.
        urgent: Whether what fills the time until it goes on is broken off then.
        shown: The pictures that the model was asked with.
        task: The work on it.
        mark: Takes its marks in the trace.
    """

    def __init__(
        self,
        turn: int,
        *,
        model: Writer,
        voice: Synthesiser | None,
        mode: ReplyMode,
        clock: Clock,
        tell: Tell,
        mark: Mark,
        tools: CallTools | None,
        pace: ReplyPace,
        asked: int,
        place: ReplyPlace | None,
        held: bool,
        answers: bool = True,
    ) -> None:
        """Prepare a reply.

        Args:
            turn: Its turn.
            model: Writes it.
            voice: Speaks it; None: it is only read, as it is written.
            mode: How stages overlap.
            clock: The session's.
            tell: Takes the events, once it is committed.
            mark: Takes the trace's marks, each once, and its details.
            tools: See `CallTools`. None: the reply ends where the model calls tools.
            pace: See `ReplyPace`.
            asked: How often they have been, in a reply before this one that it completes.
            place: Where it stands in the history; None: it is none of the conversation.
            held: Whether the turn may go on: nothing is told before `commit`, and the first clause
                waits for `hurry`.
            answers: Whether there will be an answer, or only what the user said is recognised.
        """
        self.turn = turn
        self.place = place
        self.id = ""
        self.words: str | None = None
        self.language = ""
        self.sound: Audio | None = None
        self.prosody: Prosody | None = None
        self.note = ""
        self.text = ""
        self.cuts: list[int] = []
        self.asked = asked
        self.state = ReplyState.LISTENING
        self.held = held
        self.answers = answers
        self.status: ReplyStatus | None = None
        self.error: Exception | None = None
        self.cut: Incomplete | None = None
        self.calls: Sequence[ToolUse] = ()
        self.kept: str | None = None
        self.urgent = False
        self.shown: Sequence[str] = ()
        self.task: asyncio.Task[None] | None = None
        self.mark = mark
        self._model = model
        self._voice = voice
        self._rate = voice.rate if voice is not None else 1
        self._pace = pace
        self._sequential = mode == "sequential"
        self._lead = math.inf if self._sequential else pace.lead_s * self._rate
        self._clock = clock
        self._tell = tell
        self._tools = tools
        self._kept: deque[Event] = deque()
        self._marked: set[str] = set()
        self._changed = asyncio.Event()
        # This pass of the model: where its text begins, and whether its first clause is late.
        self._passed = 0
        self._chunker = self._new_chunker()
        self._overdue = False
        self._hurried = not held
        # What is written; the first of the clauses is being spoken.
        self._clauses: deque[Clause] = deque()
        self._bridge: Clause | None = None
        self._sounding = 0
        self._written = False
        self._unsent: list[Event] = []
        self._spoken = Spoken(self._rate)
        self._played = 0

    # --- its state ---

    @property
    def speaking(self) -> bool:
        """Whether it is under way, heard or about to be."""
        return self.making or self.state is ReplyState.MADE

    @property
    def making(self) -> bool:
        """Whether it is being written and spoken."""
        return self.state in (ReplyState.SPEAKING, ReplyState.WAITING_FOR_TOOL)

    @property
    def over(self) -> bool:
        """Whether nothing more will be heard of it."""
        return self.state in (ReplyState.HEARD, ReplyState.STOPPED, ReplyState.FAILED)

    @property
    def preparing(self) -> bool:
        """Whether it is computed ahead of the commit, and nobody has to wait for it yet."""
        working = self.state in (ReplyState.LISTENING, ReplyState.SPEAKING)
        return self.held and working and self.made_s < self._pace.comfort_s

    @property
    def lulled(self) -> bool:
        """Whether it waits for tools, and all that was written before has been heard."""
        waiting = self.state is ReplyState.WAITING_FOR_TOOL
        return waiting and not self._clauses and self._played >= self._spoken.samples

    @property
    def made_s(self) -> float:
        """How much sound was made so far (s)."""
        return self._spoken.samples / self._rate

    @property
    def unheard_s(self) -> float:
        """How much of its sound is made and not heard yet (s)."""
        return 0.0 if self.over else (self._spoken.samples - self._played) / self._rate

    @property
    def speaks(self) -> str:
        """Code of the language of its voice; it has one."""
        assert self._voice is not None
        return self._voice.language

    def speak_in(self, language: str) -> None:
        """It will be in this language (code; empty: not known); nothing of it is written yet."""
        if self._voice is not None and language and code_of(language) != self._voice.language:
            self._voice = self._voice.in_language(language)
            self._chunker = self._new_chunker()

    def dictate(self, model: Writer) -> None:
        """This writes it; nothing of it is written yet."""
        self._model = model

    def begin(self, id: str) -> None:
        """There will be a reply, by this name."""
        self.id = id
        self.state = ReplyState.SPEAKING
        self.tell(ReplyStarted(self.turn, id))

    def ask(self) -> None:
        """From now on the model is waited for, be it for its opinion of the user's words first."""
        self._once("llm.request")

    def tell(self, event: Event) -> None:
        """Tell an event, or hold it; of what was stopped nothing more is told."""
        if self.held:
            self._kept.append(event)
        elif self.state is not ReplyState.STOPPED:
            self._tell(event)

    def hurry(self) -> None:
        """The turn is nearly over: the first clause waits for no better place any more."""
        self._hurried = True
        self.wake()

    def commit(self) -> None:
        """The turn is over: tell what was held, and from now on everything at once."""
        self.held = False
        while self._kept:
            self._tell(self._kept.popleft())
        self.hurry()

    def made(self, status: ReplyStatus, error: Exception | None) -> None:
        """The work on it is over: how that ended, and what failed."""
        self.status, self.error = status, error
        if self.state is not ReplyState.STOPPED:
            self.state = ReplyState.MADE
            self._see_end()

    def bridge(self, words: str) -> None:
        """Fill the time until the tools have answered: the words are no part of the text."""
        if words and self.lulled and self._voice is not None:
            self._bridge = Clause(words, len(self.text), len(self.text))
            self._clauses.append(self._bridge)
            self._once("clause.first")
            self.wake()

    def played(self, samples: int) -> None:
        """Take the playout position: how many samples of it have been heard."""
        self._played = max(self._played, min(samples, self._spoken.samples))
        self._see_end()
        self.wake()

    def stop(self) -> None:
        """Nobody wants more of it: stop all work on it."""
        self.state = ReplyState.STOPPED
        if self.task is not None:
            self.task.cancel()

    def heard_text(self) -> str:
        """What the user has heard of it so far, in whole words, as the history keeps it."""
        if self._voice is None or (self.state is ReplyState.HEARD and self._spoken.samples):
            return self.marked(self.text)
        return self.marked(self._spoken.heard(self.text, self._played))

    def heard_by(self, seconds: float) -> str:
        """What of its text is over when so much of its sound has been heard (s)."""
        return self._spoken.heard(self.text, int(min(seconds, self.made_s) * self._rate))

    def marked(self, heard: str) -> str:
        """So much of its text, with a mark if that is all of it and the model was cut off."""
        text = heard.rstrip()
        whole = self.cut is None or not text or text != self.text.rstrip()
        return heard if whole else text + CUT_MARK

    def made_text(self) -> str:
        """What the user will have heard of it once all that is made is heard."""
        if self.error is None and self._spoken.samples:
            return self.text
        return self._spoken.heard(self.text, self._spoken.samples)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until something is so that changes with `wake`."""
        while not ready():
            self._changed.clear()
            await self._changed.wait()

    def wake(self) -> None:
        """Something has changed that the work may wait for."""
        self._changed.set()

    def _see_end(self) -> None:
        if self.state is ReplyState.MADE and self._played >= self._spoken.samples:
            self.state = ReplyState.HEARD if self.error is None else ReplyState.FAILED

    # --- the work on it ---

    async def make(self, messages: Messages, again: Callable[[], Messages]) -> None:
        """Write and speak the reply to `messages`, and tell it. Cancelling this stops all of it.

        Args:
            messages: The prompt.
            again: Gives the prompt anew where one was too long for the model.

        Raises:
            StageError: A stage failed. Where it was the model, what it had written before has been
                spoken all the same.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._voice is not None:
                    tasks.create_task(self._speak(self._voice))
                failure = await self._write(messages, again, tasks)
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        if failure is not None:
            raise failure

    async def _write(
        self, messages: Messages, again: Callable[[], Messages], tasks: asyncio.TaskGroup
    ) -> StageError | None:
        """Model → clauses, pass after pass as long as it calls tools. Gives what went wrong."""
        failure: StageError | None = None
        try:
            while uses := await self._fitting_pass(messages, again, tasks):
                if self._tools is None:
                    self.calls = uses
                    self._lead = math.inf  # the calls are told once all before them is
                    break
                more = await self._call(self._tools, uses)
                if more is None:
                    break
                messages = more
            self._once("llm.last_token")
        except StageError as error:
            # What was written is still spoken; the failure is told after it.
            failure = error
            self.cut = None if isinstance(error, CallLost) else Incomplete(str(error))
        self._cut_rest()
        self._written = True
        self.wake()
        return failure

    async def _fitting_pass(
        self, messages: Messages, again: Callable[[], Messages], tasks: asyncio.TaskGroup
    ) -> list[ToolUse]:
        """Ask the model once, or, where the prompt was too long for it, with a shorter one too."""
        try:
            return await self._pass(messages, tasks)
        except TooLong as error:
            shorter = again()
            if len(shorter) >= len(messages) or len(self.text) > self._passed:
                raise
            log.warning("%s; going on without the oldest turns", error)
            return await self._pass(shorter, tasks)

    async def _pass(self, messages: Messages, tasks: asyncio.TaskGroup) -> list[ToolUse]:
        """Ask the model once: its text is cut as it comes. Gives the tools that it calls.

        White space that it begins with is none of the reply, and no first token.
        """
        self._passed = len(self.text)
        self._chunker = self._new_chunker()
        self._overdue = False
        uses: list[ToolUse] = []
        deadline: asyncio.Task[None] | None = None
        try:
            async with contextlib.aclosing(self._model.stream(messages)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, ToolUse):
                        uses.append(piece)
                    elif isinstance(piece, Calling):
                        # After words it is told when they are spoken, and then it is whole.
                        if self._tools is None and not self.text:
                            self.tell(ToolCalling(self.turn, self.id, piece.name, piece.delta))
                    elif isinstance(piece, Unsaid):
                        self._unsay()
                    elif isinstance(piece, Used):
                        counts = piece.input_tokens, piece.cached_tokens, piece.output_tokens
                        self.tell(Usage(self.turn, *counts, reply_id=self.id))
                    elif isinstance(piece, Incomplete):
                        self.cut = piece
                    elif piece.strip() or len(self.text) > self._passed:
                        deadline = deadline or tasks.create_task(self._deadline())
                        self._take(piece)
                        await self.until(lambda: len(self._clauses) <= CLAUSES_AHEAD)
        finally:
            if deadline is not None:
                deadline.cancel()
        return uses

    def _take(self, delta: str) -> None:
        """More text of this pass."""
        if len(self.text) == self._passed:
            # The first words after a call stand apart from those before it.
            apart = " " if self.text and not self.text[-1].isspace() else ""
            delta = apart + delta.lstrip()
        self._once("llm.first_token")
        self._note("token", text=delta)
        self.text += delta
        self.tell(ReplyText(self.turn, self.id, delta))
        if self._sequential or self._voice is None:
            return
        self._cut(self._chunker.push(delta, hurry=self._in_hand_s() < self._pace.comfort_s))
        if self._in_hand_s() < STARVING_S if self._chunker.begun else self._overdue:
            self._cut(self._chunker.force())

    def _unsay(self) -> None:
        """What this pass wrote was a thought: nothing more of it is spoken, and nothing kept."""
        self._clauses.clear()
        self._sounding = 0
        self._chunker = self._new_chunker()
        if self.held:
            # Nobody has learnt of it.
            told = (ReplyText, ReplyAudio)
            self._kept = deque(event for event in self._kept if not isinstance(event, told))
            self._spoken = Spoken(self._rate)
            self.text = ""
        else:
            # What was heard of it keeps its place.
            self.text = self.text[: self._passed].ljust(len(self.text))
            self._passed = len(self.text)
        self.wake()

    async def _deadline(self) -> None:
        """Cut the pass's first clause at a word gap if the text gives no better place in time."""
        await asyncio.sleep(self._pace.first_deadline_ms / 1000)
        await self.until(lambda: self._hurried)
        if self._voice is not None and not self._chunker.begun:
            self._overdue = True
            self._cut(self._chunker.force())

    async def _call(self, tools: CallTools, uses: Sequence[ToolUse]) -> Messages | None:
        """The model calls tools: what it wrote is spoken meanwhile. Gives the next prompt, if any.

        Raises:
            StageError: It calls them again and again.
        """
        if self.asked >= TOOL_ROUNDS:
            raise StageError(
                "llm",
                f"the model called tools {self.asked} times and wants more; ask for less at once",
            )
        self._once("llm.first_token")  # a call is an answer
        self.asked += 1
        self.cuts.append(len(self.text))
        self._cut_rest()
        self.state = ReplyState.WAITING_FOR_TOOL
        messages = await tools(self, uses)
        self.state = ReplyState.SPEAKING
        return messages

    def _cut_rest(self) -> None:
        """All of the pass is written."""
        if self._voice is None:
            return
        if self._sequential:
            self._cut(self._chunker.push(self.text[self._passed :], hurry=False))
        self._cut(self._chunker.flush())

    def _cut(self, clauses: list[Clause]) -> None:
        """Hand clauses to the voice, with their spans in the text of the whole reply."""
        if clauses and self.urgent and self._bridge is not None and self._wanted(self._bridge):
            self._clauses.popleft()
            self._sounding = 0
        for clause in clauses:
            self._once("clause.first")
            self._note("clause", text=clause.text)
            start, end = clause.start + self._passed, clause.end + self._passed
            self._clauses.append(replace(clause, start=start, end=end))
        self.wake()

    def _new_chunker(self) -> Chunker:
        return Chunker(
            first_words=self._pace.first_words,
            max_chars=self._pace.max_clause_chars,
            language=self._voice.language if self._voice is not None else "en",
        )

    async def _speak(self, voice: Synthesiser) -> None:
        """Clauses → audio."""
        while True:
            await self.until(lambda: bool(self._clauses) or self._written)
            if not self._clauses:
                break
            clause = self._clauses[0]
            await self._say(voice, clause)
            if self._wanted(clause):
                self._clauses.popleft()
                self._sounding = 0
            if not self._clauses:
                self._play_all()
            self.wake()
        self._once("tts.last_audio")

    async def _say(self, voice: Synthesiser, clause: Clause) -> None:
        """Make a clause's sound, no more of it ahead of the playing than the lead."""
        self._once("tts.start")
        self._note("tts.clause", text=clause.text)
        spoken = self._spoken
        spoken.begin(clause)
        async with contextlib.aclosing(voice.speak(clause.text)) as pieces:
            async for piece in pieces:
                self._once("tts.first_audio")
                self._note("tts.piece", samples=len(piece))
                self._sounding = len(clause.text)
                await self.until(lambda: not self._wanted(clause) or self._leads_little(clause))
                if not self._wanted(clause):
                    break
                self._send(piece, clause)
        spoken.end()

    def _leads_little(self, clause: Clause) -> bool:
        """Whether so little is made ahead of what is heard that more of this clause may follow."""
        fills = clause is self._bridge and self.urgent and not self._sequential
        lead = min(self._lead, BRIDGE_LEAD_S * self._rate) if fills else self._lead
        return self._spoken.samples - self._played < lead

    def _wanted(self, clause: Clause) -> bool:
        """Whether this is still the clause to be spoken."""
        return bool(self._clauses) and self._clauses[0] is clause

    def _send(self, piece: Sound, clause: Clause) -> None:
        if self._spoken.samples == 0:
            piece = self._without_silence(piece)
            if not len(piece):
                return
        offset = self._spoken.samples
        self._spoken.extend(len(piece), piece.words)
        frame = Frame(piece.samples, self._rate, offset, self._clock.now_ns())
        # Once the model has called tools, what it said before is known to be no answer.
        filler = bool(self.cuts) and clause.end <= self.cuts[-1]
        audio = ReplyAudio(self.turn, self.id, frame, filler)
        if self._sequential:
            self._unsent.append(audio)
        else:
            self.tell(audio)

    def _play_all(self) -> None:
        """The textbook cascade: all of the text, then all of its sound, then the playing."""
        if self._written:
            self._once("tts.last_audio")
        for audio in self._unsent:
            self.tell(audio)
        self._unsent.clear()

    def _without_silence(self, piece: Sound) -> Sound:
        """The reply's first sound: voices begin with silence, which the user would wait for."""
        first = onset(piece.samples, self._rate)
        if first is None:
            return piece.without_first(len(piece))
        lead_in = self._pace.lead_in_ms * self._rate // 1000
        return piece.without_first(max(0, first - lead_in))

    def _in_hand_s(self) -> float:
        """Seconds of sound that is made, or will be from clauses already cut, and not yet heard."""
        made = (self._spoken.samples - self._played) / self._rate
        waiting = sum(len(clause.text) for clause in self._clauses) - self._sounding
        return made + waiting / CHARS_PER_SECOND

    def _once(self, name: str) -> None:
        if name not in self._marked:
            self._marked.add(name)
            self._note(name)

    def _note(self, name: str, **more: Any) -> None:
        # Parts of the work may take one more step when it is stopped.
        if self.state is not ReplyState.STOPPED:
            self.mark(name, **more)
