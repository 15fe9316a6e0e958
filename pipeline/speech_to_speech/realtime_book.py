"""The turns of a Realtime session and what was said in them: one reply per turn. Pure.

What is to be done comes out as a list: events for the driver, messages for the server, marks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.audio.resample import Resampler
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
from pipeline.speech_to_speech.realtime_replies import Piece, Reply


@dataclass(frozen=True, slots=True)
class Say:
    """A message for the server."""

    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark for the trace."""

    turn: int
    name: str
    t_ns: int


Output = Event | Say | Mark
"""What comes out, in order."""


@dataclass(slots=True)
class Turn:
    """A turn of the user's.

    Attributes:
        number: From 1.
        item: The server's id of what was said; empty: not known.
        committed: It is over.
        answered: The server has begun a response to it.
        closed: `ReplyDone` was sent.
        reply: What is said in it.
        said: The final transcript; None: it has not come.
        partial: The transcript so far.
        marked: Names of its marks.
    """

    number: int
    item: str = ""
    committed: bool = False
    answered: bool = False
    closed: bool = False
    reply: Reply | None = None
    said: str | None = None
    partial: str = ""
    marked: set[str] = field(default_factory=set)


class Book:
    """Keeps turns and replies.

    Attributes:
        now_ns: The time of what happens now.
        hears: It is told when the user speaks, be it by the server or by the driver.
        out: What was decided, for the owner to take.
    """

    def __init__(self) -> None:
        """Begin with no turn."""
        self.now_ns = 0
        self.hears = False
        self.out: list[Output] = []
        self.turns: list[Turn] = []
        self._replies: list[Reply] = []
        self._order: list[Turn | Reply] = []
        self._ids = itertools.count(1)

    @property
    def turn(self) -> Turn | None:
        """The newest turn."""
        return self.turns[-1] if self.turns else None

    @property
    def number(self) -> int:
        """The newest turn's number; 0: there is none."""
        return len(self.turns)

    @property
    def pending(self) -> bool:
        """Whether the user speaks, or waits for the response to what was said."""
        return bool(self.turns) and not (self.turns[-1].closed or self.turns[-1].answered)

    @property
    def history(self) -> list[Message]:
        """What was said and, of replies, what the model remembers; in order."""
        messages = []
        for entry in self._order:
            if isinstance(entry, Turn):
                message = Message("user", (entry.said or "").strip(), entry.number)
            else:
                message = Message("assistant", entry.remembered(), entry.turn)
            if message.content:
                messages.append(message)
        return messages

    def say(self, kind: str, **fields: Any) -> None:
        """Send the server a message."""
        self.out.append(Say({"type": kind, **fields}))

    def mark(self, turn: int, name: str, t_ns: int | None = None) -> None:
        """Mark what happens in a turn for the first time, unless the turn was over before."""
        if turn and name not in self.turns[turn - 1].marked:
            self.turns[turn - 1].marked.add(name)
            self.out.append(Mark(turn, name, self.now_ns if t_ns is None else t_ns))

    def open(self, item: str, *, heard: bool) -> Turn:
        """The user begins a turn.

        Args:
            item: The server's id for it, or empty.
            heard: The server said so just now; else nobody knows when it began.
        """
        turn = Turn(self.number + 1, item)
        self.turns.append(turn)
        self._order.append(turn)
        self.out.append(SpeechStarted(turn.number))
        if heard:
            self.mark(turn.number, "speech.start")
        return turn

    def commit(self, turn: Turn) -> None:
        """The user's turn is over, if it was not already."""
        if not turn.committed:
            turn.committed = True
            self.mark(turn.number, "committed")
            self.out.append(SpeechStopped(turn.number))

    def understood(self, turn: Turn, text: str, *, final: bool) -> None:
        """The server says what the user said in a turn; all of it so far."""
        if turn.said is not None:
            return
        if final:
            turn.said = text
        turn.partial = text
        self.out.append(Transcript(turn.number, text, final))

    def reply(self, turn: Turn) -> Reply:
        """The reply of a turn, begun if need be; one more reply where the turn is over."""
        if turn.reply is not None and not turn.closed:
            return turn.reply
        reply = Reply(f"reply-{next(self._ids)}", turn.number, late=turn.closed)
        if not turn.closed:
            turn.reply = reply
        self._replies.append(reply)
        self._order.append(reply)
        self.out.append(ReplyStarted(turn.number, reply.id))
        return reply

    def text(self, reply: Reply, piece: Piece, delta: str) -> None:
        """More of a reply's text."""
        if not delta:
            return
        if not reply.late:
            self.mark(reply.turn, "model.first_text")
        # The words of two items are not one word.
        apart = not piece.text and reply.text and not delta[0].isspace()
        piece.text += delta
        self.out.append(ReplyText(reply.turn, reply.id, f" {delta}" if apart else delta))

    def audio(self, reply: Reply, piece: Piece, samples: Samples, rate: int) -> None:
        """More of a reply's sound. One reply has one rate: the rate that it began with."""
        reply.rate = reply.rate or rate
        if rate != reply.rate:
            if reply.resampler is None or reply.resampler.rate_in != rate:
                reply.resampler = Resampler(rate, reply.rate)
            samples = reply.resampler.push(np.ascontiguousarray(samples))
        if not len(samples):
            return
        if not reply.late:
            self.mark(reply.turn, "model.first_audio")
        frame = Frame(samples, reply.rate, reply.samples, self.now_ns)
        reply.samples += len(samples)
        piece.samples += len(samples)
        reply.last_ns = self.now_ns
        self.out.append(ReplyAudio(reply.turn, reply.id, frame, piece.filler))

    def end(self, reply: Reply, status: ReplyStatus) -> None:
        """Nothing more comes for a reply, nor for its turn."""
        if reply.done:
            return
        reply.done = True
        if reply.last_ns and not reply.late:
            self.mark(reply.turn, "tts.last_audio", reply.last_ns)
        for piece in reply.pieces:
            piece.complete = piece.complete or status == "completed"
        if not reply.late:
            self.turns[reply.turn - 1].closed = True
        self.out.append(ReplyDone(reply.turn, reply.id, status))

    def close(self, turn: Turn, status: ReplyStatus) -> None:
        """Nothing more comes for a turn."""
        if turn.closed:
            return
        if turn.reply is not None:
            self.end(turn.reply, status)
        else:
            turn.closed = True
            self.out.append(ReplyDone(turn.number, "", status))

    def fail(self, turn: int, message: str, *, fatal: bool = False) -> None:
        """Something went wrong in a turn (0: in none)."""
        if turn:
            self.mark(turn, "failed")
        self.out.append(Failure(turn, "direct", message, fatal))

    def interrupt(self, reply: Reply) -> None:
        """The user speaks over a reply."""
        if reply.interrupted:
            return
        reply.interrupted = True
        if not reply.late:
            self.mark(reply.turn, "interrupted")
        self.out.append(ReplyInterrupted(reply.turn, reply.id, reply.heard_text()))
        self.end(reply, "interrupted")

    def open_replies(self) -> list[Reply]:
        """Those that are under way, or still being played."""
        return [r for r in self._replies if not r.interrupted and (r.playing or not r.done)]

    def told(self, reply_id: str) -> None:
        """The driver reads that a reply was interrupted: the next position is where it stopped."""
        if reply := self._named(reply_id):
            reply.told = True

    def heard(self, reply_id: str, samples: int) -> None:
        """The driver has played so much of a reply; where it stopped, the server is told."""
        reply = self._named(reply_id)
        if reply is None or reply.settled:
            return
        reply.played = max(reply.played, min(samples, reply.samples))
        if not (reply.interrupted and reply.told):
            return
        reply.settled = True
        for piece, heard_ms in reply.cuts():
            if not piece.item:
                continue
            if heard_ms is None:
                self.say(
                    "conversation.item.delete", event_id=f"delete-{reply.id}", item_id=piece.item
                )
                continue
            self.say(
                "conversation.item.truncate",
                event_id=f"truncate-{reply.id}",
                item_id=piece.item,
                content_index=piece.index,
                audio_end_ms=heard_ms,
            )

    def cut_piece(self, item: str) -> Piece | None:
        """What an item added to an interrupted reply that was settled."""
        for reply in reversed(self._replies):
            if reply.settled:
                for piece in reply.pieces:
                    if item and piece.item == item:
                        return piece
        return None

    def forget_items(self) -> None:
        """The server's ids mean nothing any more: it is another server session."""
        for turn in self.turns:
            turn.item = ""
        for reply in self._replies:
            for piece in reply.pieces:
                piece.item = ""

    def _named(self, reply_id: str) -> Reply | None:
        return next((r for r in reversed(self._replies) if r.id == reply_id), None)


def as_item(message: Message) -> dict[str, Any]:
    """A message of the history as an item of a new session's."""
    kind = "input_text" if message.role == "user" else "output_text"
    return {
        "type": "message",
        "role": message.role,
        "content": [{"type": kind, "text": message.content}],
    }
