"""A Realtime conversation without a connection: the server's events in, ours and messages out.

Pure. Written for servers that leave out what they may and add what they like: only the type of an
event is trusted, nothing that it should hold.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.clock import NS_PER_S
from pipeline.conversation.history import Message
from pipeline.errors import StageError
from pipeline.speech_to_speech import encoding
from pipeline.speech_to_speech import openai_words as words
from pipeline.speech_to_speech import realtime_fields as fields
from pipeline.speech_to_speech.realtime_answers import Answers
from pipeline.speech_to_speech.realtime_book import Book, Output, Turn, as_item
from pipeline.speech_to_speech.realtime_calls import Calls

PATIENCE_S = 60.0
"""A server that sends nothing for so long, while the user waits, has failed in that turn."""

ALIASES = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
}
"""Names of the beta API, which some servers still use."""

IGNORED = frozenset(
    {
        "conversation.created",
        "conversation.item.added",
        "conversation.item.created",
        "conversation.item.done",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.cleared",
        "input_audio_buffer.timeout_triggered",
        "rate_limits.updated",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
    }
)
"""Events that are known and tell nothing that others do not."""

HARMLESS = ("truncate-", "delete-", "retrieve-", "cancel-")
"""How the ids of messages begin whose refusal is no failure: a server need not be able to do that,
or what was asked for had just happened by itself."""

NOT_ACTIVE = "response_cancel_not_active"
"""The code for the latter."""

BUSY = "conversation_already_has_active_response"
"""The code for a response that was asked for too early."""

EXPIRED = "session_expired"
"""The code for a session that has lasted too long."""

UPDATE = "update"
"""The id of the message that configures a session."""

Event = Mapping[str, Any]

log = logging.getLogger(__name__)


class Core:
    """One conversation, over as many server sessions as it takes.

    Attributes:
        session: What the server says the session is.
        created: The server has said something of the session.
        configured: The server has taken `session.update`.
        refusal: Why it did not; empty: it has not said so.
        expired: The server says that the session is over.
        input: How the server wants the sound.
    """

    def __init__(self, *, manual: bool = False, patience_s: float = PATIENCE_S) -> None:
        """Begin with nothing said.

        Args:
            manual: The driver ends the user's turns.
            patience_s: See `PATIENCE_S`.
        """
        self.session: Mapping[str, Any] = {}
        self.created = False
        self.configured = False
        self.refusal = ""
        self.expired = False
        self.input = encoding.Encoding()
        self._manual = manual
        self._patience_ns = round(patience_s * NS_PER_S)
        self._last_ns = 0
        self._book = Book()
        self._book.hears = manual
        self._calls = Calls(self._book)
        self._answers = Answers(self._book, self._calls)
        self._handlers: dict[str, Callable[[Event], None]] = {
            "session.created": self._session,
            "session.updated": self._session,
            "input_audio_buffer.speech_started": self._speech_started,
            "input_audio_buffer.speech_stopped": self._speech_stopped,
            "input_audio_buffer.committed": self._committed,
            "conversation.item.input_audio_transcription.delta": self._transcribing,
            "conversation.item.input_audio_transcription.completed": self._transcribed,
            "conversation.item.input_audio_transcription.failed": self._not_transcribed,
            "conversation.item.truncated": self._truncated,
            "conversation.item.retrieved": self._retrieved,
            "error": self._error,
            **self._answers.handlers,
        }

    @property
    def history(self) -> list[Message]:
        """What the model remembers, as far as is known."""
        return self._book.history

    @property
    def oddities(self) -> Counter[str]:
        """How many events were malformed, or of a kind that nobody knows, by kind."""
        return self._answers.oddities

    def take(self) -> list[Output]:
        """What is to be done, in order; each is given once."""
        out, self._book.out = self._book.out, []
        return out

    def receive(self, event: object, now_ns: int) -> None:
        """Take an event of the server's: JSON as it was parsed, whatever that is."""
        self._book.now_ns = self._last_ns = now_ns
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(event, dict) or not isinstance(kind, str):
            self._answers.odd("malformed", "an event without a type")
            return
        kind = ALIASES.get(kind, kind)
        if handler := self._handlers.get(kind):
            handler(event)
        elif kind not in IGNORED:
            self._answers.odd("unknown", kind)
        self._calls.go_on()

    def garbled(self) -> None:
        """The server sent what is no JSON."""
        self._answers.odd("malformed", "a message that is no JSON")

    def told(self, reply_id: str) -> None:
        """The driver reads of an interruption."""
        self._book.told(reply_id)

    def heard(self, reply_id: str, samples: int) -> None:
        """The driver has played so much of a reply."""
        self._book.heard(reply_id, samples)

    def result(self, call_id: str, output: str, now_ns: int) -> None:
        """The driver has a tool's result.

        Raises:
            CascadeError: No such call is open.
        """
        # From now on it is the server that is waited for.
        self._book.now_ns = self._last_ns = now_ns
        self._calls.result(call_id, output)
        self._calls.go_on()

    def commit(self, now_ns: int) -> None:
        """The driver says that the user's turn is over.

        Raises:
            StageError: The server ends turns itself.
        """
        if not self._manual:
            raise StageError("direct", "this session ends turns itself; use turns=manual")
        self._book.now_ns = self._last_ns = now_ns
        self._answers.stop()
        turn = self._book.open("", heard=False)
        self._book.say("input_audio_buffer.commit", event_id=f"commit-{turn.number}")
        self._book.commit(turn)
        self._calls.ask(turn, first=True)
        self._calls.go_on()

    def tick(self, now_ns: int) -> None:
        """Time passes: a server that has sent nothing for long has failed in this turn."""
        self._book.now_ns = now_ns
        turn = self._book.turn
        if turn is None or turn.closed or not turn.committed:
            return
        if self._calls.waits_for_driver(turn.number):
            return
        if now_ns - self._last_ns >= self._patience_ns:
            seconds = self._patience_ns / NS_PER_S
            self._book.fail(turn.number, f"the server sent nothing for {seconds:g} s")
            self._book.close(turn, "failed")
            self._calls.take_any()
            self._calls.go_on()

    def lost(self, why: str, now_ns: int, *, fatal: bool) -> None:
        """The connection is gone: what was under way has failed."""
        self._book.now_ns = now_ns
        under_way = [turn for turn in self._book.turns if not turn.closed]
        late = [reply for reply in self._book.open_replies() if not reply.done and reply.late]
        if under_way or late or fatal:
            number = under_way[-1].number if under_way else self._book.number
            self._book.fail(number, why, fatal=fatal)
        self._calls.forget()
        for turn in under_way:
            turn.answered = True
            self._book.close(turn, "failed")
        for reply in late:
            self._book.end(reply, "failed")
        self._book.forget_items()
        self.created = self.configured = self.expired = False
        self.refusal = ""

    def replay(self) -> list[dict[str, Any]]:
        """Messages that tell a new server session what was said."""
        return [
            {"type": "conversation.item.create", "item": as_item(message)}
            for message in self.history
        ]

    def _session(self, event: Event) -> None:
        self.created = True
        self.configured = self.configured or event["type"] == "session.updated"
        session = event.get("session")
        if not isinstance(session, dict):
            return
        self.session = {**self.session, **session}
        audio = session.get("audio")
        self.input = encoding.read(audio, "input", self.input)
        self._answers.encoding = encoding.read(audio, "output", self._answers.encoding)
        detection = fields.mapping(fields.mapping(audio, "input"), "turn_detection")
        if detection:
            # Where the server says that it cancels responses itself, it is left to do so.
            self._answers.cancels = detection.get("interrupt_response") is not True

    def _speech_started(self, event: Event) -> None:
        self._book.hears = True
        turn, item = self._book.turn, fields.text(event, "item_id")
        if turn is not None and not turn.committed and not turn.closed:
            turn.item = item or turn.item
            return
        self._answers.stop()
        self._book.open(item, heard=True)

    def _speech_stopped(self, event: Event) -> None:
        self._book.hears = True
        turn, item = self._book.turn, fields.text(event, "item_id")
        if turn is None or (turn.committed and item and turn.item and item != turn.item):
            # Nobody said that it began.
            self._answers.stop()
            turn = self._book.open(item, heard=False)
        turn.item = turn.item or item
        if not turn.closed:
            self._book.commit(turn)

    def _committed(self, event: Event) -> None:
        turn, item = self._book.turn, fields.text(event, "item_id")
        if turn is None or (turn.item and turn.item != item and not self._book.hears):
            self._answers.stop()
            turn = self._book.open(item, heard=False)
        elif turn.item and turn.item != item:
            return
        turn.item = turn.item or item
        if not turn.closed:
            self._book.commit(turn)

    def _said(self, event: Event) -> Turn | None:
        """The turn that a transcript belongs to; begun where it is the first sign of one."""
        item, turns = fields.text(event, "item_id"), self._book.turns
        for turn in turns:
            if item and turn.item == item:
                return turn
        for turn in turns:
            if not turn.item and turn.said is None:
                turn.item = item
                return turn
        if self._book.hears:
            # Its id may be another one than that of the speech.
            return next((turn for turn in turns if turn.said is None), None)
        self._answers.stop()
        return self._book.open(item, heard=False)

    def _transcribing(self, event: Event) -> None:
        turn, delta = self._said(event), fields.text(event, "delta")
        if turn is not None and delta:
            self._book.understood(turn, turn.partial + delta, final=False)

    def _transcribed(self, event: Event) -> None:
        turn = self._said(event)
        if turn is None:
            self._answers.odd("unknown", "a transcript of nothing that was said")
        else:
            self._book.understood(turn, fields.text(event, "transcript").strip(), final=True)
            if not self._book.hears and not turn.closed:
                self._book.commit(turn)
        number = turn.number if turn is not None else self._book.number
        if usage := fields.transcription_usage(number, event.get("usage")):
            self._book.out.append(usage)

    def _not_transcribed(self, event: Event) -> None:
        log.warning("the server could not transcribe: %s", words.reason(event.get("error")))

    def _truncated(self, event: Event) -> None:
        item = fields.text(event, "item_id")
        if self._book.cut_piece(item) is not None:
            self._book.say(
                "conversation.item.retrieve", event_id=f"retrieve-{item}"[:512], item_id=item
            )

    def _retrieved(self, event: Event) -> None:
        item = fields.mapping(event, "item")
        piece = self._book.cut_piece(fields.text(item, "id"))
        # Some servers drop the text of what they cut altogether, though its sound is kept.
        if piece is not None and (kept := fields.words_of(item)):
            piece.kept = kept

    def _error(self, event: Event) -> None:
        error = fields.mapping(event, "error")
        code, about = fields.text(error, "code"), fields.text(error, "event_id")
        why = words.reason(error)
        asked, turn = self._calls.asked, self._book.turn
        if code == EXPIRED:
            self.expired = True
        elif not self.configured and about in ("", UPDATE):
            self.refusal = self.refusal or why
        elif code == NOT_ACTIVE or about.startswith(HARMLESS):
            log.info("the server would not: %s", why)
        elif code == BUSY and asked is not None:
            self._calls.refused()
        else:
            number = asked.turn.number if asked else self._book.number
            self._book.fail(number, f"the server reports: {why}")
            if asked is not None and about == f"ask-{asked.number}":
                self._calls.take_any()
                self._book.close(asked.turn, "failed")
            elif turn is not None and about == f"commit-{turn.number}":
                self._calls.take_any()
                self._book.close(turn, "failed")
