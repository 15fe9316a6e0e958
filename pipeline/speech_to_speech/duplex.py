"""Turns for a model that has none: who speaks when, in a full-duplex conversation. Pure.

It is told what the user's voice does, what the model sends, and what time it is; it gives events.
A turn is the user's, by our own detector. What the model says until the user speaks again is the
reply to it. The model is not told to stop when the user speaks: it listens, and decides. Where its
sound ends while the user speaks over it, it gave way, which is an interruption. A reply that
happened to be over just then looks the same, and counts as one too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.clock import NS_PER_MS
from pipeline.conversation.history import Message
from pipeline.events import (
    Event,
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyStatus,
    ReplyText,
    Samples,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipeline.speech_to_speech.gate import SoundGate, Stretch
from pipeline.text.alignment import spoken

PAUSE_MS = 1000.0
"""Silence that ends a reply: longer than the pauses between sentences."""

YIELD_MS = 300.0
"""The same once the user has spoken on: a pause that may be the one before the next answer."""

STALL_MS = 500.0
"""A stream that stops altogether is silence after this much more time: networks stall."""

LATE_MS = 1500.0
"""How much later than its sound a reply's text may come."""

OWED_MS = 4000.0
"""How long a reply waits, in silence, for what the model makes of a finished task, or for the
sound of a text that came first."""

Mark = Callable[[int, str, int], None]
"""Takes turn, name and time (ns) of a mark."""


@dataclass(slots=True)
class _Reply:
    """All that the model says in one turn.

    Attributes:
        samples: Passed on.
        voiced: Of these, up to the end of the latest sound.
        played: Heard, as the driver says.
        last_ns: When the latest of its sound came.
        owed_ns: Until when more is expected of it though it is silent; 0: not.
        filler: Its sound bridges the time until a task is done.
        cut: The user spoke over it, and it ended.
    """

    turn: int
    id: str
    text: str = ""
    samples: int = 0
    voiced: int = 0
    played: int = 0
    last_ns: int = 0
    owed_ns: int = 0
    filler: bool = False
    cut: bool = False

    def heard_text(self) -> str:
        """The words heard, in proportion to the sound."""
        return spoken(self.text.strip(), self.played, self.voiced)


class Duplex:
    """The state of a conversation. Every method gives the events to be told, in order.

    Args:
        rate: Of the model's sound (Hz).
        mark: Takes the marks.

    Attributes:
        turn: The user's latest, from 1; 0 before the first.
        speaking: Whether the user speaks.
    """

    def __init__(self, rate: int, mark: Mark) -> None:
        self.turn = 0
        self.speaking = False
        self._rate = rate
        self._mark = mark
        self._gate = SoundGate(rate)
        self._came_ns = 0
        self._said: dict[int, str] = {}
        self._told: set[int] = set()
        self._reply: _Reply | None = None
        self._replies: list[_Reply] = []
        self._tasks: set[str] = set()
        self._marked: set[tuple[int, str]] = set()

    @property
    def history(self) -> list[Message]:
        """What was said, in order. A model that cannot be truncated remembers all of its own."""
        messages = [Message("user", text.strip(), turn) for turn, text in self._said.items()]
        messages += [Message("assistant", r.text.strip(), r.turn) for r in self._replies]
        said = [message for message in messages if message.content]
        return sorted(said, key=lambda message: (message.turn, message.role == "assistant"))

    def user_began(self, voiced_ns: int) -> list[Event]:
        """The user speaks, since `voiced_ns`: a new turn."""
        events = self._transcribed()
        if self._reply is not None and not self._gate.open:
            events += self._done("completed")
        self.turn += 1
        self.speaking = True
        # What was understood before our detector noticed is this turn's.
        if early := self._said.pop(0, ""):
            self._said[self.turn] = early
        self._mark(self.turn, "speech.start", voiced_ns)
        return [*events, SpeechStarted(self.turn)]

    def user_stopped(self, now_ns: int) -> list[Event]:
        """The user's turn is over, by our detector; the model may have seen that long before."""
        self.speaking = False
        if not self._gate.open:
            if self._reply is not None:
                self._owe(self._reply, now_ns)
            # What was said into the user's speech was not the answer.
            self._marked = {mark for mark in self._marked if mark[0] != self.turn}
        return [SpeechStopped(self.turn)]

    def understood(self, delta: str) -> list[Event]:
        """More of what the model understood the user to say. It comes without turns."""
        text = self._said[self.turn] = self._said.get(self.turn, "") + delta
        if not self.turn or self.turn in self._told:
            return []
        return [Transcript(self.turn, text.strip(), False)]

    def said(self, delta: str, now_ns: int) -> list[Event]:
        """More of what the model says."""
        if (late := self._late(now_ns)) is not None:
            late.text += delta
            return [ReplyText(late.turn, late.id, delta)]
        events = self._take_floor(now_ns)
        reply = self._reply
        assert reply is not None
        if not reply.samples:
            self._owe(reply, now_ns)
        self._once(reply.turn, "model.first_text", now_ns)
        reply.text += delta
        return [*events, ReplyText(reply.turn, reply.id, delta)]

    def sounded(self, samples: Samples, now_ns: int) -> list[Event]:
        """More of the model's sound, silence included; int16 (n,)."""
        self._came_ns = now_ns
        events: list[Event] = []
        for stretch in self._gate.push(samples, self._hold_ms):
            events += self._pass_on(stretch, now_ns)
        return events

    def tick(self, now_ns: int) -> list[Event]:
        """Time goes by: end what only silence can end."""
        events: list[Event] = []
        silent_ms = (now_ns - self._came_ns) / NS_PER_MS
        if silent_ms > self._hold_ms + STALL_MS and (last := self._gate.close()):
            events += self._pass_on(last, now_ns)
        reply = self._reply
        if reply is None or self._gate.open or self.speaking or self._tasks:
            return events
        return [*events, *self._done("completed")] if now_ns >= reply.owed_ns else events

    def delegated(self, task: str, now_ns: int) -> tuple[int, list[Event]]:
        """The model gives work away, and will speak of it later. Also tells of which turn."""
        events = self._take_floor(now_ns)
        self._tasks.add(task)
        assert self._reply is not None
        return self._reply.turn, events

    def settled(self, task: str, now_ns: int) -> None:
        """The work is done: the model will say what came of it."""
        if task in self._tasks:
            self._tasks.discard(task)
            if self._reply is not None:
                self._owe(self._reply, now_ns)

    def played(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        for reply in reversed(self._replies):
            if reply.id == reply_id:
                reply.played = max(reply.played, min(samples, reply.samples))
                return

    def lost(self, message: str, now_ns: int, *, fatal: bool) -> list[Event]:
        """The connection is gone: what was under way is over."""
        reply, turn = self._reply, self.turn
        self._gate.close()
        self._tasks.clear()
        self._mark(reply.turn if reply else turn, "failed", now_ns)
        failure = Failure(reply.turn if reply else turn, "direct", message, fatal)
        return [failure, *(self._done("failed") if reply else [])]

    def over(self) -> list[Event]:
        """The session ends: what is known of the last turn."""
        return self._transcribed()

    @property
    def _hold_ms(self) -> float:
        reply = self._reply
        return YIELD_MS if reply is not None and reply.turn < self.turn else PAUSE_MS

    def _pass_on(self, stretch: Stretch, now_ns: int) -> list[Event]:
        events: list[Event] = []
        if stretch.begins:
            events = self._take_floor(now_ns)
            assert self._reply is not None
            self._reply.owed_ns = 0
            self._reply.filler = bool(self._tasks)
            self._once(self._reply.turn, "model.first_audio", now_ns)
        reply = self._reply
        if reply is None:
            return events
        if len(stretch.samples):
            reply.last_ns = now_ns
            frame = Frame(stretch.samples, self._rate, reply.samples, now_ns)
            reply.samples += len(stretch.samples)
            quiet = stretch.start + len(stretch.samples) - self._gate.sounded
            reply.voiced = min(reply.samples, reply.samples - quiet)
            events.append(ReplyAudio(reply.turn, reply.id, frame, reply.filler))
        if stretch.ends:
            events += self._fell_silent(now_ns)
        return events

    def _fell_silent(self, now_ns: int) -> list[Event]:
        """The gate has closed behind the reply."""
        reply = self._reply
        assert reply is not None
        if reply.turn < self.turn:
            return self._gave_way(reply, now_ns) if self.speaking else self._done("completed")
        # A word into the user's speech, or before work that is given away, is not all there is.
        if self.speaking or self._tasks or now_ns < reply.owed_ns:
            return []
        return self._done("completed")

    def _gave_way(self, reply: _Reply, now_ns: int) -> list[Event]:
        reply.cut = True
        self._mark(reply.turn, "interrupted", now_ns)
        return [
            ReplyInterrupted(reply.turn, reply.id, reply.heard_text()),
            *self._done("interrupted"),
        ]

    def _done(self, status: ReplyStatus) -> list[Event]:
        reply, self._reply = self._reply, None
        assert reply is not None
        if reply.samples:
            self._mark(reply.turn, "tts.last_audio", reply.last_ns)
        told = self._transcribed() if reply.turn == self.turn else []
        return [*told, ReplyDone(reply.turn, reply.id, status)]

    def _take_floor(self, now_ns: int) -> list[Event]:
        """A sign of a reply: it is under way, or begins."""
        events: list[Event] = []
        old = self._reply is not None and self._reply.turn < self.turn and not self.speaking
        if old and (not self._gate.open or self._gate.quiet_ms >= YIELD_MS / 2):
            # The user has spoken since and is done: this is what the model says to that.
            self._gate.close()
            events = self._done("completed")
        if self._reply is None:
            number = sum(r.turn == self.turn for r in self._replies)
            name = f"reply-{self.turn}" + (f"-{number + 1}" if number else "")
            self._reply = _Reply(self.turn, name)
            self._replies.append(self._reply)
            events.append(ReplyStarted(self.turn, name))
        if self._reply.turn:
            self._once(self._reply.turn, "committed", now_ns)
        return events

    def _late(self, now_ns: int) -> _Reply | None:
        """The reply that is over and that a text still belongs to; None: it is a new one's."""
        if self._reply is not None or not self._replies:
            return None
        last = self._replies[-1]
        late = now_ns - last.last_ns <= LATE_MS * NS_PER_MS
        return last if late and not last.cut else None

    @staticmethod
    def _owe(reply: _Reply, now_ns: int) -> None:
        """More is expected of a reply, soon."""
        reply.owed_ns = now_ns + round(OWED_MS * NS_PER_MS)

    def _transcribed(self) -> list[Event]:
        """What the user said in this turn, once for all."""
        text = self._said.get(self.turn, "").strip()
        if not text or self.turn in self._told or not self.turn:
            return []
        self._told.add(self.turn)
        return [Transcript(self.turn, text, True)]

    def _once(self, turn: int, name: str, now_ns: int) -> None:
        if (turn, name) not in self._marked:
            self._marked.add((turn, name))
            self._mark(turn, name, now_ns)
