"""What a Gemini Live server's messages mean: messages in, events out. Pure.

The protocol has turns of the model's, but hardly any of the user's: nothing promises a sign that
the user began or stopped. A turn therefore begins with the first of: the server's voice activity, a
piece of what it understood, an interruption, the model's first output. It is committed with the
first of: the end of that activity (or our own `activity_end`), the model's first output. Where only
the latter comes, the wait for the end of the turn and the model's own time cannot be told apart.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from pipeline.audio.resample import Resampler
from pipeline.conversation.history import Message
from pipeline.errors import CascadeError
from pipeline.events import Event, Failure, Samples
from pipeline.speech_to_speech.gemini_book import RATE, Book, Mark, Reply, Turn
from pipeline.speech_to_speech.gemini_meter import sample_rate, usage

if TYPE_CHECKING:
    from google.genai import types

FINE = ("TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT")
"""Reasons for the end of the model's turn that say nothing bad."""

log = logging.getLogger(__name__)


class GeminiCore:
    """The state of a conversation. Every method gives the events to be told, in order.

    Args:
        mark: Takes the marks.
        blocking: The model waits for the results of its tools, and goes on in the same breath;
            else it finishes what it says, and speaks of a result in another one.
        manual: We say when the user begins and stops; what the server says of it is no news.

    Attributes:
        speaking: Whether the user speaks, as far as anybody has said so.
        generating: The model has begun to answer and has not said that it is done.
        odd: What came that means nothing to us, counted by kind.
    """

    def __init__(self, mark: Mark, *, blocking: bool, manual: bool = False) -> None:
        self.speaking = False
        self.generating = False
        self.odd: Counter[str] = Counter()
        self._book = Book(mark)
        self._blocking = blocking
        self._manual = manual
        self._active: Turn | None = None
        self._resamplers: dict[int, Resampler] = {}
        # The server tells of voice activity: nothing else need be taken for a sign of it.
        self._signals = False
        # What the user has spoken over may still come, until the server says that it has ended.
        self._stale = False
        # After `interrupted` a `turn_complete` follows that ends nothing new.
        self._ending = False
        # What was not answered is said again to another connection: it is the same turn.
        self._repeated = False
        # A result of ours interrupts the model: that it stops is not the user's doing.
        self._forced = False

    @property
    def turn(self) -> int:
        """The number of the user's latest turn; 0 before the first."""
        return len(self._book.turns)

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way: nobody speaks, nothing is owed, no tool works."""
        last = self._book.last
        busy = self.speaking or self.generating or self._book.late or self._book.open_calls
        return not busy and (last is None or last.done)

    @property
    def unanswered(self) -> bool:
        """Whether the user has said something that the model has not begun to answer."""
        last = self._book.last
        return last is not None and not last.done and last.reply is None

    @property
    def history(self) -> list[Message]:
        """What was said, in order; of an interrupted reply what was heard."""
        return self._book.history

    def message(self, message: types.LiveServerMessage, now_ns: int) -> list[Event]:
        """Take a message of the server's that arrived at `now_ns`."""
        events: list[Event] = []
        content = message.server_content
        if message.voice_activity is not None:
            kind = message.voice_activity.voice_activity_type
            events += self._activity(kind.value if kind is not None else "", now_ns)
        if content is not None:
            events += self._content(content, now_ns)
        if message.tool_call is not None:
            for call in message.tool_call.function_calls or []:
                events += self._call(call, now_ns)
        if message.tool_call_cancellation is not None:
            events += self._cancel(message.tool_call_cancellation.ids or [])
        if message.usage_metadata is not None:
            newest = self._book.newest
            turn = newest.turn if newest is not None else self.turn
            events.append(usage(message.usage_metadata, turn))
        if content is not None and content.turn_complete:
            events += self._complete(content, now_ns)
        return events

    def user_began(self, now_ns: int) -> list[Event]:
        """The user speaks: a new turn, and the end of what the model was saying."""
        if self.speaking:
            return []
        if self._repeated and self.unanswered:
            self._repeated, self.speaking = False, True
            return []
        waits = self._blocking and self._active is not None and self._active.calls
        self._stale = self.generating and not waits
        events = self._cut_short(now_ns)
        self.generating = self._ending = False
        self.speaking = True
        return [*events, *self._book.open(now_ns)]

    def user_stopped(self, now_ns: int) -> list[Event]:
        """The user's turn is over."""
        last = self._book.last
        if not self.speaking or last is None:
            return []
        self.speaking = False
        return self._book.commit(last, now_ns)

    def answered(
        self, call_id: str, *, silent: bool = False, interrupting: bool = False
    ) -> tuple[str, list[Event]]:
        """Take that a result is given; tells the tool's name, empty if the call was cancelled.

        Args:
            call_id: Of the call.
            silent: The model will not speak of it.
            interrupting: It stops what it is saying in order to.

        Raises:
            CascadeError: No such call is open.
        """
        if self._book.was_cancelled(call_id):
            return "", []
        found = self._book.answered(call_id)
        if found is None:
            raise CascadeError(f"no tool call {call_id!r} is open; it was answered, or never made")
        turn, name = found
        if silent:
            return name, self._finish(turn)
        self._forced = interrupting and self.generating
        self._book.owe(turn)
        return name, []

    def played(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        self._book.played(reply_id, samples)

    def failed(self, why: str, now_ns: int, *, fatal: bool = False) -> list[Event]:
        """Something went wrong that ends nothing, or (`fatal`) everything."""
        self._book.mark(self.turn, "failed", now_ns)
        return [Failure(self.turn, "direct", why, fatal)]

    def lost(self, why: str, now_ns: int, *, fatal: bool) -> list[Event]:
        """The connection is gone.

        Unless for good, what the user has said is said again to the next one, so that only a reply
        that had begun is lost, and the tools that were at work.
        """
        broken = [
            turn
            for turn in self._book.turns
            if (turn is self._active and self.generating)
            or turn.owed
            or (not turn.done and (fatal or turn.calls))
        ]
        events = self.failed(why, now_ns, fatal=fatal) if fatal or broken else []
        events += self._book.cancel(self._book.open_calls)
        for turn in broken:
            turn.owed = False
            events += self._book.done(turn, "failed")
        self._book.late.clear()
        self._active = None
        self.generating = self._stale = self._ending = self._forced = False
        return events

    def resumed(self) -> None:
        """The conversation goes on over a new connection, where what was not answered is repeated.

        The server will tell of it, and understand it, once more.
        """
        last = self._book.last
        self._repeated = self.unanswered and not self.speaking
        if last is not None and self.unanswered and not last.told:
            last.said = ""

    def strange(self, kind: str) -> None:
        """Note something that means nothing to us; the first of its kind is worth a warning."""
        if not self.odd[kind]:
            log.warning("the server sends what is not understood: %s", kind)
        self.odd[kind] += 1

    def _activity(self, kind: str, now_ns: int) -> list[Event]:
        if kind not in ("ACTIVITY_START", "ACTIVITY_END"):
            self.strange(f"voice activity {kind or 'of no kind'}")
            return []
        self._signals = True
        if self._manual:
            return []
        return self.user_began(now_ns) if kind.endswith("START") else self.user_stopped(now_ns)

    def _content(self, content: types.LiveServerContent, now_ns: int) -> list[Event]:
        events: list[Event] = []
        if content.interrupted:
            events += self._interrupted(now_ns)
        if (heard := content.input_transcription) is not None:
            events += self._understood(heard.text or "", bool(heard.finished), now_ns)
        if content.model_turn is not None:
            for part in content.model_turn.parts or []:
                events += self._part(part, now_ns)
        if (spoken := content.output_transcription) is not None and spoken.text:
            events += self._text(spoken.text, now_ns)
        return events

    def _part(self, part: types.Part, now_ns: int) -> list[Event]:
        blob = part.inline_data
        if blob is not None and blob.data:
            return self._sound(blob.data, blob.mime_type or "", now_ns)
        # Text of an audio model's turn is what it thinks; what it says comes as a transcription.
        if not part.text:
            self.strange("a part that is neither sound nor text")
        return []

    def _sound(self, data: bytes, mime_type: str, now_ns: int) -> list[Event]:
        if self._stale:
            return []
        rate = sample_rate(mime_type)
        if rate is None:
            self.strange(f"sound of type {mime_type[:40]!r}")
            return []
        begun, _, reply = self._output(now_ns)
        if rate != RATE and rate not in self._resamplers:
            why = f"the server sends sound at {rate} Hz instead of {RATE} Hz; it was converted"
            begun += self.failed(why, now_ns)
        samples = self._at_rate(np.frombuffer(data[: len(data) // 2 * 2], "<i2"), rate)
        return [*begun, *self._book.sounded(reply, samples, now_ns)]

    def _at_rate(self, samples: Samples, rate: int) -> Samples:
        if rate == RATE:
            return samples.astype(np.int16, copy=False)
        return self._resamplers.setdefault(rate, Resampler(rate, RATE)).push(samples)

    def _text(self, delta: str, now_ns: int) -> list[Event]:
        # Between an interruption and the end of that turn only its own text can still come.
        if self._stale or self._ending:
            return []
        events, _, reply = self._output(now_ns)
        return [*events, *self._book.wrote(reply, delta, now_ns)]

    def _call(self, call: types.FunctionCall, now_ns: int) -> list[Event]:
        if self._stale:
            return []
        if not call.id or not call.name:
            self.strange("a tool call without id or name")
            return []
        events, turn, _ = self._output(now_ns)
        arguments = json.dumps(call.args or {}, ensure_ascii=False)
        return [*events, *self._book.called(turn, call.id, call.name, arguments)]

    def _cancel(self, ids: list[str]) -> list[Event]:
        events = self._book.cancel(ids)
        for turn in {event.turn: self._book.turns[event.turn - 1] for event in events}.values():
            events += self._finish(turn)
        return events

    def _output(self, now_ns: int) -> tuple[list[Event], Turn, Reply]:
        """The model says something: in which reply to which turn, with the events of its begin."""
        self._ending = False
        active = self._active
        if not self.generating or active is None:
            events, active = self._addressee(now_ns)
            self._active, self.generating, active.owed = active, True, False
            begun, reply = self._book.reply(active, now_ns)
            reply.parted = True
            return [*events, *begun], active, reply
        if self._blocking:
            active.owed = False
        begun, reply = self._book.reply(active, now_ns)
        return begun, active, reply

    def _addressee(self, now_ns: int) -> tuple[list[Event], Turn]:
        """The turn that the model begins to answer; committed or opened where nobody said so."""
        last, late = self._book.last, self._book.late
        if last is not None and not last.done and not (late and self.speaking):
            self.speaking = False
            return self._book.commit(last, now_ns), last
        if late:
            return [], late.pop(0)
        if last is not None and last.called and last.done and not self.speaking:
            # Each of several results may bring a reply of its own.
            return [], last
        events = self._book.open(now_ns)
        self.speaking = False
        last = self._book.turns[-1]
        return [*events, *self._book.commit(last, now_ns)], last

    def _interrupted(self, now_ns: int) -> list[Event]:
        """The server says that it stopped generating."""
        was_stale, forced = self._stale, self._forced
        self._stale = self._forced = False
        events: list[Event] = []
        if not (was_stale or self.speaking or forced):
            events = self.user_began(now_ns)
            self._stale = False
        elif forced and not was_stale and self._active is not None and self._book.late:
            events = self._book.cut(self._active, now_ns)
        self.generating, self._ending = False, True
        return events

    def _understood(self, text: str, finished: bool, now_ns: int) -> list[Event]:
        """More of what the server understood the user to say."""
        events: list[Event] = []
        last = self._book.last
        if last is None or (last.done and last.said.strip() and not self._signals):
            if not text.strip():
                return []
            events = self.user_began(now_ns)
            last = self._book.turns[-1]
        return [*events, *self._book.understood(last, text, final=finished or last.done)]

    def _complete(self, content: types.LiveServerContent, now_ns: int) -> list[Event]:
        """The model has said all that it has to say for now."""
        if self._stale or self._ending:
            self._stale = self._ending = False
            self._active = None
            return []
        self.generating = self._forced = False
        status = content.interaction_status
        if status is not None and status.value == "IN_PROGRESS":
            return []
        active, self._active = self._active, None
        if active is None:
            active = self._book.last
            if active is None or active.done or not active.stopped:
                return []
        reason = content.turn_complete_reason
        if reason is not None and reason.value not in FINE:
            words = reason.value.lower().replace("_", " ")
            events = self.failed(f"the model gave no answer: {words}", now_ns)
            return [*events, *self._book.done(active, "failed")]
        return self._book.done(active, "skipped") if active.reply is None else self._finish(active)

    def _finish(self, turn: Turn) -> list[Event]:
        """End a turn of which nothing more is to come."""
        waiting = turn.calls or turn.owed or (self.generating and self._active is turn)
        return [] if waiting or turn.reply is None else self._book.done(turn, "completed")

    def _cut_short(self, now_ns: int) -> list[Event]:
        """The user speaks: end what is being said, or played, or awaited."""
        events: list[Event] = []
        for turn in self._book.turns:
            reply = turn.reply
            waits = turn.calls and self._blocking
            made = self.generating and self._active is turn and not waits
            heard = reply is not None and reply is self._book.newest and reply.playing
            if reply is None:
                events += self._book.done(turn, "interrupted")
            elif (made or heard) and not reply.cut:
                events += self._book.cut(turn, now_ns)
            else:
                events += self._book.done(turn, "completed")
        return events
