"""A conversation with a server as turns, replies and tool calls. Pure.

Each protocol has a core that translates the server's messages into entries of a `Ledger`. The
ledger knows what every session has to tell, and when: it numbers turns, names replies, tells each
thing once, marks what happens first, keeps how far a reply was played and which words were heard.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.audio.resample import Resampler
from pipeline.conversation.history import Message
from pipeline.errors import CascadeError
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
    ToolCall,
    ToolCancelled,
    Transcript,
)
from pipeline.speech_to_speech.keys import shown
from pipeline.text.heard import CHARS_PER_SECOND, in_proportion

PLAYED_MS = 50
"""With less than this left of it a reply counts as played to its end: the blocks of a device and
its rate round the position."""

ODD_KINDS = 500
"""So many kinds of odd messages are told apart; a server may send any number of them."""

TakeMark = Callable[[int, str, int], None]
"""Takes turn, name and time (ns) of a mark."""

Now = Callable[[], int]
"""Tells the time (ns)."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class ReplyPart:
    """What the model adds to a reply in one item, or in one breath.

    Attributes:
        key: The server's id of the item; empty: it has none.
        index: Which part of the item's content is the sound.
        start: Where its sound begins in the reply (samples).
        samples: How long its sound is so far.
        voiced: Of these, up to the end of the latest sound; silence may follow.
        text: Its words so far.
        filler: Whether it only bridges the time until the answer.
        ahead: Whether its text may have come ahead of its sound, of which more is to come then.
        kept: What the server says that it kept of the text after a cut; None: it has not said.
    """

    key: str = ""
    index: int = 0
    start: int = 0
    samples: int = 0
    voiced: int = 0
    text: str = ""
    filler: bool = False
    ahead: bool = False
    kept: str | None = None

    def heard(self, position: int, rate: int) -> str:
        """The whole words that were heard once the reply was played to `position` (samples).

        Words are placed in proportion to their characters. Where the text is ahead, the sound is
        taken to become as long as a voice needs for it.
        """
        if not rate:
            return self.text
        played, length = position - self.start, self.voiced
        if self.ahead:
            length = max(length, round(len(self.text) / CHARS_PER_SECOND * rate))
        if played >= length and not self.samples and position <= 0:
            # Words without a sound of their own go with the sound before them.
            return ""
        return in_proportion(self.text, max(0, played), length)


@dataclass(slots=True, eq=False)
class ReplyEntry:
    """A reply: all that is said about one turn until `ReplyDone`.

    Attributes:
        id: Our name for it.
        turn: The turn that it answers.
        late: It began when its turn was over already, after a late result of a tool.
        rate: Of its sound (Hz); 0: none has come.
        samples: How much sound came.
        played: How much of it was played, as the driver said last.
        parts: What it consists of, in order.
        last_ns: When the latest of its sound came.
        done: `ReplyDone` was told.
        interrupted: `ReplyInterrupted` was told.
        noticed: The driver has read that: the next position it reports is where it stopped.
        cut: That position was reported; no later one counts.
    """

    id: str
    turn: TurnEntry
    late: bool = False
    rate: int = 0
    samples: int = 0
    played: int = 0
    parts: list[ReplyPart] = field(default_factory=list)
    last_ns: int = 0
    done: bool = False
    interrupted: bool = False
    noticed: bool = False
    cut: bool = False
    resampler: Resampler | None = None

    @property
    def text(self) -> str:
        """All its words."""
        return _joined(part.text for part in self.parts)

    @property
    def playing(self) -> bool:
        """Whether some of its sound is still to be heard."""
        return (self.samples - self.played) * 1000 > PLAYED_MS * self.rate

    @property
    def heard_text(self) -> str:
        """The words that were heard."""
        return _joined(part.heard(self.played, self.rate) for part in self.parts)

    @property
    def remembered(self) -> str:
        """What the model remembers of it, as far as is known: of a cut reply what was heard."""
        if not self.interrupted:
            return self.text
        return _joined(
            part.heard(self.played, self.rate) if part.kept is None else part.kept
            for part in self.parts
        )

    def part(self, key: str, index: int = 0, *, ahead: bool = False) -> ReplyPart:
        """The part of this key, begun if it is new (see `ReplyPart`)."""
        for part in self.parts:
            if part.key == key:
                return part
        return self.new_part(key, index, ahead=ahead)

    def new_part(self, key: str = "", index: int = 0, *, ahead: bool = False) -> ReplyPart:
        """Begin one more part; its first words are not one word with the last ones."""
        self.parts.append(ReplyPart(key, index, self.samples, ahead=ahead))
        return self.parts[-1]


@dataclass(slots=True, eq=False)
class TurnEntry:
    """A turn of the user's.

    Attributes:
        number: From 1.
        item: The server's id of what was said; empty: not known.
        said: The transcript so far.
        told: It was told as final.
        committed: The turn is over.
        taken_up: The model has begun to answer it.
        called: A tool was called in it.
        done: `ReplyDone` was told for it.
        reply: The latest reply to it.
        marked: Names of its marks.
    """

    number: int
    item: str = ""
    said: str = ""
    told: bool = False
    committed: bool = False
    taken_up: bool = False
    called: bool = False
    done: bool = False
    reply: ReplyEntry | None = None
    marked: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class CallEntry:
    """A call of a tool.

    Attributes:
        id: The server's.
        name: The tool's.
        turn: In which turn.
        output: Its result; None: there is none yet.
        sent: The server has the result.
        cancelled: Nobody wants the result any more.
    """

    id: str
    name: str
    turn: TurnEntry
    output: str | None = None
    sent: bool = False
    cancelled: bool = False

    @property
    def open(self) -> bool:
        """Whether its result is awaited."""
        return self.output is None and not self.cancelled


class Ledger:
    """The conversation so far. What is entered becomes events, which the owner takes.

    Args:
        mark: Takes the marks; of each name the first in a turn. Late replies are not marked.
        now: Tells the time.
        rate: Of all replies (Hz); 0: each keeps the rate that it begins with.

    Attributes:
        turns: All, in order.
        before: Stands for the turn of what is said before the user's first one.
        replies: All, in order of their beginning.
        calls: All, by id.
        whole: The model remembers its replies whole, also those that were cut.
    """

    def __init__(self, mark: TakeMark, now: Now, rate: int = 0) -> None:
        self.turns: list[TurnEntry] = []
        self.before = TurnEntry(0)
        self.replies: list[ReplyEntry] = []
        self.calls: dict[str, CallEntry] = {}
        self.whole = False
        self._take_mark = mark
        self._now = now
        self._rate = rate
        self._order: list[TurnEntry | ReplyEntry] = [self.before]
        self._events: list[Event] = []

    @property
    def now_ns(self) -> int:
        """The time of what is entered now."""
        return self._now()

    @property
    def last(self) -> TurnEntry | None:
        """The user's latest turn."""
        return self.turns[-1] if self.turns else None

    @property
    def number(self) -> int:
        """The number of the user's latest turn; 0 before the first."""
        return len(self.turns)

    @property
    def history(self) -> list[Message]:
        """What was said, in order; of a reply what the model remembers."""
        messages = [
            Message("user", entry.said.strip(), entry.number)
            if isinstance(entry, TurnEntry)
            else Message(
                "assistant", entry.text if self.whole else entry.remembered, entry.turn.number
            )
            for entry in self._order
        ]
        return [message for message in messages if message.content]

    def take(self) -> list[Event]:
        """The events to be told, in order; each is given once."""
        events, self._events = self._events, []
        return events

    def add(self, event: Event) -> None:
        """Tell an event that changes nothing here."""
        self._events.append(event)

    def mark(self, turn: TurnEntry, name: str, t_ns: int | None = None) -> None:
        """Mark what happens first in a turn; now, unless a time is given."""
        if turn.number and name not in turn.marked:
            turn.marked.add(name)
            self._take_mark(turn.number, name, self.now_ns if t_ns is None else t_ns)

    def open(self, item: str = "", *, began_ns: int | None = None) -> TurnEntry:
        """Begin a turn of the user's.

        Args:
            item: The server's id of what is said; empty: not known.
            began_ns: When the user began to speak; None: nobody knows.
        """
        turn = TurnEntry(len(self.turns) + 1, item)
        self.turns.append(turn)
        self._order.append(turn)
        if began_ns is not None:
            self.mark(turn, "speech.start", began_ns)
        self.add(SpeechStarted(turn.number))
        return turn

    def commit(self, turn: TurnEntry, *, marked: bool = True) -> None:
        """End the user's turn, if it is not over; `marked`: just now, as far as anybody knows."""
        if turn.committed:
            return
        turn.committed = True
        if marked:
            self.mark(turn, "committed")
        self.add(SpeechStopped(turn.number))

    def understood(self, turn: TurnEntry, text: str, *, final: bool = False) -> None:
        """Note what the user said in a turn: all of it so far.

        Once it was told as final, only the history learns of more.
        """
        turn.said = text
        if turn.told or not (text.strip() or final):
            return
        turn.told = final
        self.add(Transcript(turn.number, text.strip(), final))

    def finish_transcript(self, turn: TurnEntry) -> None:
        """Tell what the user said in a turn as final, if anything and if that was not told."""
        if turn.number and turn.said.strip():
            self.understood(turn, turn.said, final=True)

    def reply(self, turn: TurnEntry) -> ReplyEntry:
        """The reply to a turn that is under way, or a new one."""
        if turn.reply is not None and not turn.reply.done:
            return turn.reply
        number = sum(reply.turn is turn for reply in self.replies)
        name = f"reply-{turn.number}" + (f"-{number + 1}" if number else "")
        turn.reply = ReplyEntry(name, turn, late=turn.done)
        turn.taken_up = True
        self.replies.append(turn.reply)
        self._order.append(turn.reply)
        self.add(ReplyStarted(turn.number, name))
        return turn.reply

    def text(self, reply: ReplyEntry, part: ReplyPart, delta: str) -> None:
        """Add to a reply's text."""
        if not delta:
            return
        if delta.strip():
            self._mark_reply(reply, "model.first_text")
        before = next((each.text for each in reversed(reply.parts) if each.text), "")
        apart = not part.text and before and not (before[-1] + delta[0]).count(" ")
        part.text += delta
        self.add(ReplyText(reply.turn.number, reply.id, f" {delta}" if apart else delta))

    def sound(
        self, reply: ReplyEntry, part: ReplyPart, samples: Samples, rate: int, silent: int = 0
    ) -> None:
        """Add to a reply's sound, at the one rate that a reply has.

        Args:
            reply: The reply.
            part: Which part of it.
            samples: int16 (n,).
            rate: Of these (Hz).
            silent: How much silence the reply ends with now (samples).
        """
        reply.rate = reply.rate or self._rate or rate
        if rate != reply.rate:
            if reply.resampler is None or reply.resampler.rate_in != rate:
                reply.resampler = Resampler(rate, reply.rate)
            samples = reply.resampler.push(np.ascontiguousarray(samples))
        if not len(samples):
            return
        self._mark_reply(reply, "model.first_audio")
        reply.last_ns = self.now_ns
        frame = Frame(samples, reply.rate, reply.samples, reply.last_ns)
        reply.samples += len(samples)
        part.samples += len(samples)
        part.voiced = max(part.voiced, part.samples - silent)
        self.add(ReplyAudio(reply.turn.number, reply.id, frame, part.filler))

    def interrupt(self, reply: ReplyEntry) -> None:
        """Stop a reply where it is, once."""
        if reply.interrupted:
            return
        reply.interrupted = True
        self._mark_reply(reply, "interrupted")
        self.add(ReplyInterrupted(reply.turn.number, reply.id, reply.heard_text))
        self.end(reply, "interrupted")

    def end(self, reply: ReplyEntry, status: ReplyStatus) -> None:
        """Nothing more comes for a reply, nor for its turn, for now."""
        if reply.done:
            return
        reply.done = reply.turn.done = True
        if reply.samples:
            self._mark_reply(reply, "tts.last_audio", reply.last_ns)
        for part in reply.parts:
            part.ahead = part.ahead and status != "completed"
        self.add(ReplyDone(reply.turn.number, reply.id, status))

    def close(self, turn: TurnEntry, status: ReplyStatus) -> None:
        """Nothing more comes for a turn, whether there was a reply or not."""
        if turn.reply is not None:
            self.end(turn.reply, status)
        elif not turn.done:
            turn.done = True
            self.add(ReplyDone(turn.number, "", status))

    def fail(self, turn: TurnEntry | None, message: str, *, fatal: bool = False) -> None:
        """Something went wrong in a turn (None: in none)."""
        if turn is not None:
            self.mark(turn, "failed")
        self.add(Failure(turn.number if turn is not None else 0, "direct", message, fatal))

    def called(self, turn: TurnEntry, call_id: str, name: str, arguments: str) -> CallEntry | None:
        """A tool is called; gives the call, or None where it was told before."""
        if not call_id or call_id in self.calls:
            return None
        call = self.calls[call_id] = CallEntry(call_id, name, turn)
        turn.called = True
        self.add(ToolCall(turn.number, call_id, name, arguments))
        return call

    def take_result(self, call_id: str, output: str) -> CallEntry | None:
        """Take the result of a call; gives the call, or None where nobody wants that any more.

        Raises:
            CascadeError: No such call is open.
        """
        call = self.calls.get(call_id)
        if call is None or call.output is not None:
            raise CascadeError(f"no tool call {call_id!r} is open; it was answered, or never made")
        call.output = output
        return None if call.cancelled else call

    def cancel(self, calls: Iterable[CallEntry]) -> None:
        """Nobody wants the results of these calls any more, unless they were given."""
        for call in calls:
            if not call.sent and not call.cancelled:
                call.cancelled = True
                self.add(ToolCancelled(call.turn.number, call.id))

    def open_calls(self, turn: TurnEntry | None = None) -> list[CallEntry]:
        """Calls that await their results; of one turn, if one is given."""
        return [call for call in self.calls.values() if call.open and turn in (None, call.turn)]

    def noticed(self, reply_id: str) -> None:
        """The driver reads that a reply was interrupted."""
        if (reply := self._named(reply_id)) is not None:
            reply.noticed = True

    def played(self, reply_id: str, samples: int) -> ReplyEntry | None:
        """Take the playout position of a reply; gives the reply where this is its last one."""
        reply = self._named(reply_id)
        if reply is None or reply.cut:
            return None
        reply.played = max(reply.played, min(samples, reply.samples))
        reply.cut = reply.interrupted and reply.noticed
        return reply if reply.cut else None

    def _named(self, reply_id: str) -> ReplyEntry | None:
        return next((reply for reply in reversed(self.replies) if reply.id == reply_id), None)

    def _mark_reply(self, reply: ReplyEntry, name: str, t_ns: int | None = None) -> None:
        if not reply.late:
            self.mark(reply.turn, name, t_ns)


@dataclass(frozen=True, slots=True)
class Parcel:
    """Something to be sent to the server.

    Attributes:
        message: As the protocol's session sends it.
        seconds: How much sound it is; 0: it is none.
        lasting: Another connection has a use for it as well, when this one breaks.
    """

    message: Any
    seconds: float = 0.0
    lasting: bool = False


class ProtocolCore(ABC):
    """What a protocol's messages mean: messages in; events, marks and messages out.

    Attributes:
        ledger: The conversation, which holds the events to be told.
        odd: What came that means nothing to us, counted by kind.
        leave: Whether the connection is to be left for a new one, though it is not broken.
    """

    def __init__(self, mark: TakeMark, now: Now, rate: int = 0) -> None:
        """Begin with nothing said (see `Ledger`)."""
        self.ledger = Ledger(mark, now, rate)
        self.odd: Counter[str] = Counter()
        self.leave = False
        self._out: list[Parcel] = []

    @property
    def history(self) -> list[Message]:
        """What the model remembers so far, as far as is known."""
        return self.ledger.history

    def take(self) -> list[Parcel]:
        """What is to be sent, in order; each is given once."""
        out, self._out = self._out, []
        return out

    @abstractmethod
    def result(self, call_id: str, output: str) -> None:
        """Take a tool's result.

        Raises:
            CascadeError: No such call is open.
        """

    @abstractmethod
    def lost(self, why: str, *, fatal: bool) -> None:
        """The connection is gone, for good if `fatal`: what was under way has failed."""

    def cut(self, reply: ReplyEntry) -> None:  # noqa: B027 - most need not care
        """It is known where an interrupted reply was stopped."""

    def tick(self) -> None:  # noqa: B027 - most need not care
        """Time goes by."""

    def over(self) -> None:  # noqa: B027 - most need not care
        """The session ends."""

    def strange(self, kind: str) -> None:
        """Count what means nothing to us; the first of each kind is worth a warning."""
        kind = shown(kind)
        if kind not in self.odd:
            if len(self.odd) < ODD_KINDS:
                log.warning("the server sends what is not understood: %s", kind)
            else:
                kind = "others"
        self.odd[kind] += 1

    def _say(self, message: Mapping[str, Any]) -> None:
        """Send the server of this connection a message."""
        self._out.append(Parcel(message))


def _joined(texts: Iterable[str]) -> str:
    return " ".join(stripped for text in texts if (stripped := text.strip()))
