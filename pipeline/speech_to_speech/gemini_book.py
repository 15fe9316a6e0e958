"""What is known of a Gemini Live conversation: turns, replies, open calls, first times. Pure.

Every method gives the events to be told of what it wrote down, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pipeline.conversation.history import Message
from pipeline.events import (
    Event,
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
    ToolCall,
    ToolCancelled,
    Transcript,
)
from pipeline.text.alignment import spoken

RATE = 24_000
"""Of the model's sound (Hz)."""

PLAYED_MS = 50
"""With less than this left of it a reply counts as played."""

Mark = Callable[[int, str, int], None]
"""Takes turn, name and time (ns) of a mark."""


@dataclass(slots=True)
class Reply:
    """All that the model says in one go about a turn.

    Attributes:
        turn: The turn's number.
        id: Its name.
        text: What it says.
        parted: What it says next is a sentence of its own.
        samples: Of its sound, so far.
        played: Of these, heard by the user.
        last_ns: When the latest of its sound came.
        cut: The user, or a tool's result, stopped it.
        done: `ReplyDone` was given for it.
    """

    turn: int
    id: str
    text: str = ""
    parted: bool = False
    samples: int = 0
    played: int = 0
    last_ns: int = 0
    cut: bool = False
    done: bool = False

    @property
    def playing(self) -> bool:
        """Whether there is sound of it that was not heard yet."""
        return self.samples - self.played > RATE * PLAYED_MS // 1000

    def kept_text(self) -> str:
        """What the user knows of it: of one that was cut the words heard, by share of its sound."""
        text = self.text.strip()
        return spoken(text, self.played, self.samples) if self.cut else text


@dataclass(slots=True)
class Turn:
    """One turn of the user's.

    Attributes:
        number: From 1.
        said: What the server understood.
        told: That was passed on as final.
        stopped: It is committed.
        reply: The latest one to it.
        calls: Names of its tools that have no result yet, by the calls' ids.
        called: It has called a tool.
        owed: A result was given that the model has not spoken about yet.
        done: `ReplyDone` was given for it.
    """

    number: int
    said: str = ""
    told: bool = False
    stopped: bool = False
    reply: Reply | None = None
    calls: dict[str, str] = field(default_factory=dict)
    called: bool = False
    owed: bool = False
    done: bool = False


class Book:
    """The conversation so far.

    Args:
        mark: Takes the marks; of each kind the first in a turn.

    Attributes:
        turns: All, in order.
        newest: The reply that began last.
        late: Closed turns of which a tool's result is still to be spoken about, in order.
    """

    def __init__(self, mark: Mark) -> None:
        self.turns: list[Turn] = []
        self.newest: Reply | None = None
        self.late: list[Turn] = []
        self._take_mark = mark
        self._said: list[Turn | Reply] = []
        self._replies: dict[str, Reply] = {}
        self._cancelled: set[str] = set()
        self._marked: set[tuple[int, str]] = set()

    @property
    def last(self) -> Turn | None:
        """The user's latest turn."""
        return self.turns[-1] if self.turns else None

    @property
    def open_calls(self) -> list[str]:
        """Tools without a result, by the calls' ids."""
        return [call for turn in self.turns for call in turn.calls]

    @property
    def history(self) -> list[Message]:
        """What was said, in order; of a reply that was cut what was heard."""
        messages = [
            Message("user", said.said.strip(), said.number)
            if isinstance(said, Turn)
            else Message("assistant", said.kept_text(), said.turn)
            for said in self._said
        ]
        return [message for message in messages if message.content]

    def open(self, now_ns: int) -> list[Event]:
        """The user began a turn."""
        turn = Turn(len(self.turns) + 1)
        self.turns.append(turn)
        self._said.append(turn)
        self.mark(turn.number, "speech.start", now_ns)
        return [SpeechStarted(turn.number)]

    def commit(self, turn: Turn, now_ns: int) -> list[Event]:
        """The turn is over."""
        if turn.stopped:
            return []
        turn.stopped = True
        self.mark(turn.number, "committed", now_ns)
        return [SpeechStopped(turn.number)]

    def understood(self, turn: Turn, text: str, *, final: bool) -> list[Event]:
        """More of what the user said; of a transcript that was told as final history alone."""
        turn.said += text
        if final:
            return self.tell(turn)
        if turn.told or not text:
            return []
        return [Transcript(turn.number, turn.said.strip(), False)]

    def tell(self, turn: Turn) -> list[Event]:
        """What the user said, once for all."""
        if turn.told or not turn.said.strip():
            return []
        turn.told = True
        return [Transcript(turn.number, turn.said.strip(), True)]

    def reply(self, turn: Turn, now_ns: int) -> tuple[list[Event], Reply]:
        """The reply to a turn that is under way, or a new one."""
        if turn.reply is not None and not turn.reply.done:
            return [], turn.reply
        number = sum(reply.turn == turn.number for reply in self._replies.values())
        name = f"reply-{turn.number}" + (f"-{number + 1}" if number else "")
        turn.reply = self.newest = self._replies[name] = Reply(turn.number, name)
        self._said.append(turn.reply)
        self.mark(turn.number, "model.start", now_ns)
        return [ReplyStarted(turn.number, name)], turn.reply

    def sounded(self, reply: Reply, samples: Samples, now_ns: int) -> list[Event]:
        """More of a reply's sound; int16 (n,) at `RATE`."""
        self.mark(reply.turn, "model.first_audio", now_ns)
        frame = Frame(samples, RATE, reply.samples, now_ns)
        reply.samples += len(samples)
        reply.last_ns = now_ns
        return [ReplyAudio(reply.turn, reply.id, frame)]

    def wrote(self, reply: Reply, delta: str, now_ns: int) -> list[Event]:
        """More of a reply's text."""
        self.mark(reply.turn, "model.first_text", now_ns)
        if reply.parted and reply.text and not (reply.text + delta[:1])[-2:].count(" "):
            delta = f" {delta}"
        reply.parted = False
        reply.text += delta
        return [ReplyText(reply.turn, reply.id, delta)]

    def called(self, turn: Turn, call_id: str, name: str, arguments: str) -> list[Event]:
        """A tool was called."""
        turn.calls[call_id] = name
        turn.called = True
        if turn.reply is not None:
            turn.reply.parted = True
        return [ToolCall(turn.number, call_id, name, arguments)]

    def answered(self, call_id: str) -> tuple[Turn, str] | None:
        """A call has its result; gives whose it was, and the tool. None: it is not open."""
        for turn in self.turns:
            if call_id in turn.calls:
                return turn, turn.calls.pop(call_id)
        return None

    def cancel(self, ids: Iterable[str]) -> list[Event]:
        """Results that are not wanted any more."""
        events: list[Event] = []
        for call_id in ids:
            if (found := self.answered(call_id)) is not None:
                self._cancelled.add(call_id)
                events.append(ToolCancelled(found[0].number, call_id))
        return events

    def was_cancelled(self, call_id: str) -> bool:
        """Whether a call was cancelled; its result is dropped, once."""
        if call_id not in self._cancelled:
            return False
        self._cancelled.discard(call_id)
        return True

    def owe(self, turn: Turn) -> None:
        """The model will speak of a result; of a closed turn's in a reply of its own."""
        turn.owed = True
        if turn.done and turn not in self.late:
            self.late.append(turn)

    def played(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        if reply := self._replies.get(reply_id):
            reply.played = max(reply.played, min(samples, reply.samples))

    def cut(self, turn: Turn, now_ns: int) -> list[Event]:
        """The latest reply to a turn is stopped where it is."""
        reply = turn.reply
        assert reply is not None
        reply.cut = True
        self.mark(turn.number, "interrupted", now_ns)
        return [
            ReplyInterrupted(turn.number, reply.id, reply.kept_text()),
            *self.done(turn, "interrupted"),
        ]

    def done(self, turn: Turn, status: ReplyStatus) -> list[Event]:
        """Nothing more comes for a turn, for now. Said once for each of its replies."""
        reply = turn.reply
        if turn.done and (reply is None or reply.done):
            return []
        events = self.tell(turn)
        turn.done = True
        if reply is not None:
            reply.done = True
            if reply.samples:
                self.mark(turn.number, "tts.last_audio", reply.last_ns)
        if turn.owed:
            self.owe(turn)
        return [*events, ReplyDone(turn.number, reply.id if reply is not None else "", status)]

    def mark(self, turn: int, name: str, now_ns: int) -> None:
        """Mark what happens first in a turn; what a later reply of the same turn does is not."""
        if turn and (turn, name) not in self._marked:
            self._marked.add((turn, name))
            self._take_mark(turn, name, now_ns)
