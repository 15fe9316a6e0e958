"""One reply: tokens → clauses → audio, overlapped.

The model writes, the chunker cuts, the voice speaks, all at once: the first clause is heard while
the third is being written. Queues between them are bounded, and no more sound is made ahead of what
the user has heard than `reply.lead_s`.

A reply may have passes, with a lull between them: a tool works, and the model goes on when that has
an answer. What was written before the lull is spoken meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from pipeline.audio.audible import onset
from pipeline.clock import Clock
from pipeline.config import Reply as ReplySettings
from pipeline.conversation.history import ReplyPlace
from pipeline.engines.llm import Messages, Used
from pipeline.errors import StageError, first_of
from pipeline.events import Event, Frame, ReplyAudio, ReplyText, Usage
from pipeline.text.alignment import Sound
from pipeline.text.chunker import Chunker, Clause
from pipeline.text.spoken import CHARS_PER_SECOND, Spoken

CLAUSES_AHEAD = 8
"""Clauses that may wait for the voice before the model's stream is left unread."""

STARVING_S = 0.3
"""With less sound than this in hand a word gap is better than a hole: about what a clause takes."""


class Lull:
    """The model writes no more until something else has happened."""


LULL = Lull()


class Model(Protocol):
    """What writes the reply (`rounds.Rounds`)."""

    def stream(self, messages: Messages) -> AsyncGenerator[str | Used | Lull, None]:
        """Yield text as it is written, and what it cost at the end of each pass."""
        ...


class Voice(Protocol):
    """What speaks it (`engines.Speaker`)."""

    @property
    def rate(self) -> int:
        """Samples per second (Hz)."""
        ...

    @property
    def language(self) -> str:
        """Code of what it speaks, such as `en`."""
        ...

    def speak(self, text: str) -> AsyncGenerator[Sound, None]:
        """Yield the sound of a clause as it is made; closing it stops the synthesis."""
        ...


Emit = Callable[[Event], Awaitable[None]]
Mark = Callable[..., None]
"""Takes a mark's name, and what it is about."""


class Reply:
    """The work on one reply. `run` it in a task; cancelling the task stops all of it.

    Attributes:
        turn: Its turn.
        id: Its name in events.
        text: What the model has written so far, thinking left out.
        place: Where it stands in the history.
        cuts: Where lulls are in its text: so many characters were written before each.
        stopped: Set by the owner when the playing was cut short.
    """

    def __init__(
        self,
        turn: int,
        id: str,
        *,
        model: Model,
        voice: Voice,
        settings: ReplySettings,
        clock: Clock,
        emit: Emit,
        mark: Mark,
        committed: asyncio.Event | None = None,
        place: ReplyPlace | None = None,
    ) -> None:
        """Prepare a reply.

        Args:
            turn: Its turn.
            id: Its name in events.
            model: Writes it.
            voice: Speaks it.
            settings: How stages overlap.
            clock: The session's.
            emit: Takes the events: `ReplyText`, `ReplyAudio`, `Usage`.
            mark: Takes the trace's marks, each once, and its details.
            committed: Set once it may be heard; None: at once. Before that nothing hurries.
            place: Where it stands in the history; None: it is the reply of its turn.
        """
        self.turn = turn
        self.id = id
        self.text = ""
        self.place = place or ReplyPlace(turn)
        self.cuts: list[int] = []
        self.stopped = False
        self._model = model
        self._voice = voice
        self._settings = settings
        self._clock = clock
        self._emit = emit
        self._mark = mark
        self._committed = committed
        self._chunker = self._new_chunker()
        self._clauses: asyncio.Queue[Clause | None] = asyncio.Queue(CLAUSES_AHEAD)
        self._spoken = Spoken(voice.rate)
        self._played = 0
        self._waiting_chars = 0
        self._waiting_clauses = 0
        self._room = asyncio.Event()
        self._first_token = asyncio.Event()
        self._lull = asyncio.Event()
        self._begun = False
        self._overdue = False
        self._marked: set[str] = set()
        self._failure: StageError | None = None
        self._whole = False

    async def run(self, messages: Messages) -> None:
        """Make the reply to `messages` and emit it.

        Raises:
            StageError: A stage failed. Where it was the model, what it had written before has been
                spoken all the same.
        """
        try:
            if self._settings.mode == "sequential":
                await self._one_after_another(messages)
            else:
                await self._overlapped(messages)
        except StageError as error:
            self._failure = self._failure or error
        except Exception:
            self._whole = True
            raise
        # Only a cancelled reply has an end that is still to be told.
        self._whole = True
        if self._failure is not None:
            raise self._failure

    async def _overlapped(self, messages: Messages) -> None:
        """All stages at once."""
        try:
            async with asyncio.TaskGroup() as tasks:
                deadline = tasks.create_task(self._deadline())
                tasks.create_task(self._speak())
                await self._write(messages)
                deadline.cancel()
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    def played(self, samples: int) -> None:
        """Take the playout position: how many samples of this reply have been heard."""
        self._played = max(self._played, min(samples, self._spoken.samples))
        self._room.set()

    def heard_text(self) -> str:
        """What the user has heard of it so far, in whole words."""
        if self.over and not self.stopped and self._failure is None and self._spoken.samples:
            return self.text
        return self._spoken.heard(self.text, self._played)

    @property
    def ahead(self) -> bool:
        """Whether so much of it is made that nobody waits for the rest."""
        return self._whole or self.made_s >= self._settings.comfort_s

    @property
    def made_s(self) -> float:
        """How much sound was made so far (s)."""
        return self._spoken.samples / self._voice.rate

    @property
    def lulled(self) -> bool:
        """Whether the model is in a lull, and all that was written before has been heard."""
        lull = bool(self.cuts) and self.cuts[-1] == len(self.text) and not self._whole
        return lull and not self._waiting_clauses and self._played >= self._spoken.samples

    @property
    def over(self) -> bool:
        """Whether nothing more will be heard of it: it was stopped, or heard to its end."""
        return self.stopped or (self._whole and self._played >= self._spoken.samples)

    async def _write(self, messages: Messages) -> None:
        """Model → clauses."""
        try:
            async with contextlib.aclosing(self._deltas(messages)) as deltas:
                async for delta in deltas:
                    if isinstance(delta, Lull):
                        await self._pause()
                        continue
                    hurry = self._in_hand_s() < self._settings.comfort_s
                    await self._cut(self._chunker.push(delta, hurry=hurry))
                    if self._overdue or (self._begun and self._starving()):
                        await self._cut(self._chunker.force())
        except StageError as error:
            # What was written is still spoken; the failure is told after it.
            self._failure = error
        await self._cut(self._chunker.flush())
        await self._clauses.put(None)

    async def _pause(self) -> None:
        """A lull: what was written is spoken, and the next pass begins as a reply does."""
        await self._cut(self._chunker.flush())
        self._chunker = self._new_chunker()
        self._begun = self._overdue = False
        self._first_token.clear()
        self._lull.set()

    async def _deltas(self, messages: Messages) -> AsyncGenerator[str | Lull, None]:
        """The model's text, noted and told as it comes."""
        self._once("llm.request")
        async with contextlib.aclosing(self._model.stream(messages)) as deltas:
            async for delta in deltas:
                if isinstance(delta, Used):
                    await self._emit(
                        Usage(
                            self.turn, delta.input_tokens, delta.cached_tokens, delta.output_tokens
                        )
                    )
                    continue
                if isinstance(delta, Lull):
                    self.cuts.append(len(self.text))
                    yield delta
                    continue
                self._once("llm.first_token")
                self._mark("token", text=delta)
                self._first_token.set()
                self.text += delta
                await self._emit(ReplyText(self.turn, self.id, delta))
                yield delta
        self._once("llm.last_token")

    async def _deadline(self) -> None:
        """Cut each pass's first clause at a word gap if the text gives no better place in time."""
        while True:
            await self._first_token.wait()
            self._lull.clear()
            await asyncio.sleep(self._settings.first_deadline_ms / 1000)
            if self._committed is not None:
                await self._committed.wait()
            if self._lull.is_set():
                continue
            if not self._begun:
                self._overdue = True
                await self._cut(self._chunker.force())
            await self._lull.wait()

    async def _cut(self, clauses: list[Clause]) -> None:
        """Hand clauses to the voice; waits while too many are in its queue."""
        for clause in self._placed(clauses):
            self._once("clause.first")
            self._mark("clause", text=clause.text)
            self._begun = True
            self._overdue = False
            self._waiting_chars += len(clause.text)
            self._waiting_clauses += 1
            await self._clauses.put(clause)

    def _placed(self, clauses: list[Clause]) -> list[Clause]:
        """The clauses of this pass, with their spans in the text of the whole reply."""
        before = self._passed
        return [replace(c, start=c.start + before, end=c.end + before) for c in clauses]

    def _new_chunker(self) -> Chunker:
        """Cuts the text of the next pass."""
        self._passed = len(self.text)
        return Chunker(
            first_words=self._settings.first_words,
            max_chars=self._settings.max_clause_chars,
            language=self._voice.language,
        )

    async def _speak(self) -> None:
        """Clauses → audio."""
        while (clause := await self._clauses.get()) is not None:
            async with contextlib.aclosing(self._pieces(clause)) as pieces:
                self._spoken.begin(clause)
                waiting = len(clause.text)
                async for piece in pieces:
                    self._waiting_chars -= waiting
                    waiting = 0
                    await self._make_room()
                    await self._send(piece, clause)
                self._waiting_chars -= waiting
                self._waiting_clauses -= 1
                self._spoken.end()
        self._once("tts.last_audio")

    async def _one_after_another(self, messages: Messages) -> None:
        """The textbook cascade: all of the text, then all of its sound, then the playing."""
        try:
            async with contextlib.aclosing(self._deltas(messages)) as deltas:
                async for delta in deltas:
                    if isinstance(delta, Lull):
                        await self._say_all()
                        self._chunker = self._new_chunker()
        except StageError as error:
            self._failure = error
        await self._say_all(last=True)

    async def _say_all(self, *, last: bool = False) -> None:
        """Make the sound of what was written in this pass, and only then play it."""
        written = self.text[self._passed :]
        clauses = [*self._chunker.push(written, hurry=False), *self._chunker.flush()]
        sounds: list[tuple[Clause, list[Sound]]] = []
        for clause in self._placed(clauses):
            self._once("clause.first")
            self._mark("clause", text=clause.text)
            sounds.append((clause, [piece async for piece in self._pieces(clause)]))
        if last:
            self._once("tts.last_audio")
        for clause, sound in sounds:
            self._spoken.begin(clause)
            for piece in sound:
                await self._send(piece, clause)
            self._spoken.end()

    async def _pieces(self, clause: Clause) -> AsyncGenerator[Sound, None]:
        """A clause's sound, with the marks of its making."""
        self._once("tts.start")
        self._mark("tts.clause", text=clause.text)
        async with contextlib.aclosing(self._voice.speak(clause.text)) as pieces:
            async for piece in pieces:
                self._once("tts.first_audio")
                self._mark("tts.piece", samples=len(piece))
                yield piece

    async def _send(self, piece: Sound, clause: Clause) -> None:
        if self._spoken.samples == 0:
            piece = self._without_silence(piece)
            if not len(piece):
                return
        offset = self._spoken.samples
        self._spoken.extend(len(piece), piece.words)
        frame = Frame(piece.samples, self._voice.rate, offset, self._clock.now_ns())
        # Once the model has called tools, what it said before is known to be no answer.
        filler = bool(self.cuts) and clause.end <= self.cuts[-1]
        await self._emit(ReplyAudio(self.turn, self.id, frame, filler))

    def _without_silence(self, piece: Sound) -> Sound:
        """The reply's first sound: voices begin with silence, which the user would wait for."""
        first = onset(piece.samples, self._voice.rate)
        if first is None:
            return piece.without_first(len(piece))
        lead_in = self._settings.lead_in_ms * self._voice.rate // 1000
        return piece.without_first(max(0, first - lead_in))

    async def _make_room(self) -> None:
        """Wait until less than `lead_s` of sound is ahead of what was heard."""
        lead = self._settings.lead_s * self._voice.rate
        while self._spoken.samples - self._played >= lead:
            self._room.clear()
            await self._room.wait()

    def _in_hand_s(self) -> float:
        """Seconds of sound that is made, or will be from clauses already cut, and not yet heard."""
        made = (self._spoken.samples - self._played) / self._voice.rate
        return made + self._waiting_chars / CHARS_PER_SECOND

    def _starving(self) -> bool:
        return self._in_hand_s() < STARVING_S

    def _once(self, mark: str) -> None:
        if mark not in self._marked:
            self._marked.add(mark)
            self._mark(mark)
