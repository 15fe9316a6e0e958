"""A session with a server that speaks OpenAI's Realtime protocol, through the `openai` SDK.

Written for servers that leave out what they may and add what they like: only the type of an event
is trusted, nothing that it should hold. A lost connection is made again, with the history as text.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed

from pipeline.audio import encoding
from pipeline.clock import NS_PER_S, Clock
from pipeline.errors import BadInput, StageError
from pipeline.events import Samples, Usage
from pipeline.speech_to_speech.brief import STAMP, Brief, Facts, SystemSpec, given, parameters
from pipeline.speech_to_speech.keys import shown
from pipeline.speech_to_speech.ledger import (
    CallEntry,
    Now,
    ProtocolCore,
    ReplyEntry,
    ReplyPart,
    TakeMark,
    TurnEntry,
)
from pipeline.speech_to_speech.openai_server import (
    OpenAiSession,
    as_item,
    functions,
    server_of,
)
from pipeline.speech_to_speech.wire import (
    Denied,
    count,
    error_in,
    listed,
    mapping,
    reason,
    sound_in,
)
from pipeline.speech_to_speech.wire import text_in as text
from pipeline.trace import Trace

TRANSCRIPTION = "gpt-transcribe"
"""Which model is asked to write down what the user says, unless the command line names another."""

OPTIONS: Mapping[str, Sequence[str] | range] = {
    "turns": ("server", "semantic", "manual"),
    "silence_ms": range(1, 10_001),
    "eagerness": ("low", "medium", "high", "auto"),
    "voice": (),
    "effort": ("none", "minimal", "low", "medium", "high", "xhigh"),
    "transcription": (),
}
"""What the command line can say, and the values that are allowed; none listed: any.

`turns`: who ends the user's turn: the server by silence (`silence_ms`), the server by meaning
(`eagerness`), or the driver. `effort`: how much a model that can reason does so.
"""

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

SPOKEN = ("", "output_audio", "output_text", "audio", "text")
"""Types of the parts of a message that are said, also the beta API's; some servers name none."""

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

ASK = "cascade_ask"
"""Key of a response's metadata by which our own requests are known again."""

REMEMBERED = 64
"""So many ended responses are known again when more comes of them."""

CONNECT_S = 10.0
"""For the connection, the secure one, and the handshake together."""

READY_S = 10.0
"""From then on until the server has said something of the session."""

GRACE_S = 3.0
"""From then on until it has taken our settings; a server that does not say so has taken them."""

PATIENCE_S = 60.0
"""A server that sends nothing for so long, while the user waits, has failed in that turn."""

LONGEST_ID = 512
"""Of a message's id (characters)."""

ServerEvent = Mapping[str, Any]

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class ServerResponse:
    """A response that the server makes.

    Attributes:
        id: The server's.
        reply: What it is part of.
        dropped: Nothing of it is wanted any more.
        over: The server has ended it.
        fillers: Items that only bridge the time until the answer.
        unheard: Messages of it that came when nothing of it was wanted any more.
        rests: Half a sample of an item, to be completed by what comes next.
        announced: Calls that came in full, but not yet as complete items: name and arguments by id.
        calls: Those made.
    """

    id: str
    reply: ReplyEntry
    dropped: bool = False
    over: bool = False
    fillers: set[str] = field(default_factory=set)
    unheard: set[str] = field(default_factory=set)
    rests: dict[str, bytes] = field(default_factory=dict)
    announced: dict[str, tuple[str, str]] = field(default_factory=dict)
    calls: list[CallEntry] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class ResponseRequest:
    """A response to be asked for, in a turn."""

    number: int
    turn: TurnEntry


class RealtimeCore(ProtocolCore):
    """One conversation, over as many server sessions as it takes.

    A response to nothing that the server said it heard makes a turn of its own, or, where the
    server does say what it hears, one more reply of the newest turn. A tool's result goes to the
    server once the response that made the call is over; the next response is asked for when all
    calls of that one are answered, nothing else is being said, and the user is silent.

    Args:
        mark: Takes the marks.
        now: Tells the time.
        manual: The driver ends the user's turns.
        patience_s: See `PATIENCE_S`.

    Attributes:
        session: What the server says the session is.
        created: The server has said something of the session.
        configured: The server has taken `session.update`.
        refusal: Code and reason why it did not; empty: it has not said so.
        expired: The server says that the session is over.
        input: How the server wants the sound.
    """

    def __init__(
        self, mark: TakeMark, now: Now, *, manual: bool = False, patience_s: float = PATIENCE_S
    ) -> None:
        super().__init__(mark, now)
        self.session: Mapping[str, Any] = {}
        self.created = False
        self.configured = False
        self.refusal = ("", "")
        self.expired = False
        self.input = encoding.Encoding()
        self._output = encoding.Encoding()
        self._manual = manual
        self._patience_s = patience_s
        self._last_ns = 0
        # Somebody tells when the user speaks: the server or the driver.
        self._hears = manual
        # Responses are to be cancelled by us when the user speaks.
        self._cancels = True
        self._active: dict[str, ServerResponse] = {}
        self._ended: deque[str] = deque(maxlen=REMEMBERED)
        self._made_by: dict[str, ServerResponse] = {}
        self._requests: deque[ResponseRequest] = deque()
        self._numbers = itertools.count(1)
        self._asked: ResponseRequest | None = None
        # A request was refused, for a response is under way that we did not know of.
        self._busy = False
        self._handlers: dict[str, Callable[[ServerEvent], None]] = {
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
            "response.created": self._response_created,
            "response.output_item.added": self._item_added,
            "response.output_item.done": self._item_done,
            "response.output_audio.delta": self._audio,
            "response.output_audio.done": self._audio_done,
            "response.output_audio_transcript.delta": self._text_delta,
            "response.output_audio_transcript.done": self._text_done,
            "response.output_text.delta": self._text_delta,
            "response.output_text.done": self._text_done,
            "response.function_call_arguments.done": self._arguments_done,
            "response.done": self._response_done,
            "error": self._error,
        }

    def receive(self, event: object) -> None:
        """Take an event of the server's: JSON as it was parsed, whatever that is."""
        self._last_ns = self.ledger.now_ns
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(event, dict) or not isinstance(kind, str):
            self.strange("an event without a type")
            return
        kind = ALIASES.get(kind, kind)
        if handler := self._handlers.get(kind):
            handler(event)
        elif kind not in IGNORED:
            self.strange(kind)
        self._ask_next()

    def result(self, call_id: str, output: str) -> None:
        """Take a tool's result.

        Raises:
            CascadeError: No such call is open.
        """
        # From now on it is the server that is waited for.
        self._last_ns = self.ledger.now_ns
        if self.ledger.take_result(call_id, output) is not None:
            response = self._made_by[call_id]
            if response.over:
                self._deliver(response)
        self._ask_next()

    def commit(self) -> None:
        """The driver says that the user's turn is over."""
        self._last_ns = self.ledger.now_ns
        self._stop()
        turn = self.ledger.open()
        self._tell("input_audio_buffer.commit", f"commit-{turn.number}")
        self.ledger.commit(turn)
        self._requests.appendleft(ResponseRequest(next(self._numbers), turn))
        self._ask_next()

    def tick(self) -> None:
        """Time passes: a server that has sent nothing for long has failed in this turn."""
        turn = self.ledger.last
        if turn is None or turn.done or not turn.committed or self.ledger.open_calls(turn):
            return
        if self.ledger.now_ns - self._last_ns >= self._patience_s * NS_PER_S:
            self.ledger.fail(turn, f"the server sent nothing for {self._patience_s:g} s")
            self.ledger.close(turn, "failed")
            self._asked = None
            self._ask_next()

    def lost(self, why: str, *, fatal: bool) -> None:
        """The connection is gone: what was under way has failed."""
        under_way = [turn for turn in self.ledger.turns if not turn.done]
        late = [reply for reply in self.ledger.replies if reply.late and not reply.done]
        if under_way or late or fatal:
            self.ledger.fail(under_way[-1] if under_way else self.ledger.last, why, fatal=fatal)
        self.ledger.cancel(self.ledger.calls.values())
        self._requests.clear()
        self._asked = None
        self._active.clear()
        self._ended.clear()
        self._busy = False
        for turn in under_way:
            turn.taken_up = True
            self.ledger.close(turn, "failed")
        for reply in late:
            self.ledger.end(reply, "failed")
        # The server's ids mean nothing any more: it is another server session.
        for turn in self.ledger.turns:
            turn.item = ""
        for reply in self.ledger.replies:
            for part in reply.parts:
                part.key = ""
        self.created = self.configured = self.expired = False
        self.refusal = ("", "")

    def cut(self, reply: ReplyEntry) -> None:
        """Tell the server where an interrupted reply was stopped."""
        for part in reply.parts:
            played = reply.played - part.start
            if not part.key or (part.samples and played >= part.samples and not part.ahead):
                continue
            # More than came cannot have been heard, and a longer item cannot be asked for. The
            # silence before the first sound is nothing that was heard.
            heard = min(played, part.samples) if played > part.lead else 0
            if not heard:
                part.kept = ""
            if not part.samples:
                self._delete(part.key)
                continue
            self._tell(
                "conversation.item.truncate",
                f"truncate-{reply.id}",
                item_id=part.key,
                content_index=part.index,
                audio_end_ms=heard * 1000 // reply.rate,
            )

    def _delete(self, item: str) -> None:
        """Nothing of an item was heard: the model is not to remember that it said it."""
        self._tell("conversation.item.delete", f"delete-{item}", item_id=item)

    def _tell(self, kind: str, event_id: str, **fields: Any) -> None:
        """Send the server a message."""
        self._say({"type": kind, "event_id": event_id[:LONGEST_ID], **fields})

    def _session(self, event: ServerEvent) -> None:
        if event["type"] == "session.created" and self.configured:
            named, before = text(mapping(event, "session"), "id"), text(self.session, "id")
            if named and before and named != before:
                self.lost("the server began another session", fatal=False)
        self.created = True
        self.configured = self.configured or event["type"] == "session.updated"
        self.session = {**self.session, **mapping(event, "session")}
        audio = mapping(event, "session").get("audio")
        self.input = encoding.read(audio, "input", self.input)
        self._output = encoding.read(audio, "output", self._output)
        if detection := mapping(mapping(audio, "input"), "turn_detection"):
            # Where the server says that it cancels responses itself, it is left to do so.
            self._cancels = detection.get("interrupt_response") is not True

    # What the user says.

    def _speech_started(self, event: ServerEvent) -> None:
        self._hears = True
        turn, item = self.ledger.last, text(event, "item_id")
        if turn is not None and not turn.committed and not turn.done:
            turn.item = item or turn.item
            return
        self._stop()
        self.ledger.open(item, began_ns=self.ledger.now_ns)

    def _speech_stopped(self, event: ServerEvent) -> None:
        self._hears = True
        turn, item = self.ledger.last, text(event, "item_id")
        if turn is None or (turn.committed and item and turn.item and item != turn.item):
            # Nobody said that it began.
            turn = self._open(item)
        self._over(turn, item)

    def _committed(self, event: ServerEvent) -> None:
        turn, item = self.ledger.last, text(event, "item_id")
        if turn is None or (turn.item and turn.item != item and not self._hears):
            turn = self._open(item)
        elif turn.item and turn.item != item:
            return
        self._over(turn, item)

    def _open(self, item: str = "") -> TurnEntry:
        """Begin a turn of which nobody said when it began."""
        self._stop()
        return self.ledger.open(item)

    def _over(self, turn: TurnEntry, item: str) -> None:
        """The user's turn is over."""
        turn.item = turn.item or item
        if not turn.done:
            self.ledger.commit(turn)

    def _stop(self) -> None:
        """The user speaks: what is said ends, and so does the turn that was open."""
        for reply in self.ledger.replies:
            if reply.done and not reply.playing:
                continue
            # A reply that was played as far as it came, and only waits for a tool, is not cut.
            making = [r for r in self._active.values() if r.reply is reply and not r.dropped]
            if making or reply.playing:
                self.ledger.interrupt(reply)
            for response in making:
                self._drop(response)
        if (turn := self.ledger.last) is not None:
            self.ledger.close(turn, "completed" if turn.taken_up else "interrupted")

    def _said(self, event: ServerEvent) -> TurnEntry | None:
        """The turn that a transcript belongs to; begun where it is the first sign of one."""
        item, turns = text(event, "item_id"), self.ledger.turns
        for turn in reversed(turns):
            if item and turn.item == item:
                return turn
        for turn in turns:
            if not turn.item and not turn.told:
                turn.item = item
                return turn
        if self._hears:
            # Its id may be another one than that of the speech.
            return next((turn for turn in turns if not turn.told), None)
        return self._open(item)

    def _transcribing(self, event: ServerEvent) -> None:
        turn, delta = self._said(event), text(event, "delta")
        if turn is not None and delta and not turn.told:
            self.ledger.understood(turn, turn.said + delta)

    def _transcribed(self, event: ServerEvent) -> None:
        turn = self._said(event)
        if turn is None:
            self.strange("a transcript of nothing that was said")
        elif not turn.told:
            self.ledger.understood(turn, text(event, "transcript").strip(), final=True)
            if not self._hears and not turn.done:
                self.ledger.commit(turn)
        number = turn.number if turn is not None else self.ledger.number
        if usage := mapping(event, "usage"):
            self.ledger.add(transcription_usage(number, usage))

    def _not_transcribed(self, event: ServerEvent) -> None:
        log.warning("the server could not transcribe: %s", reason(error_in(event)))

    def _truncated(self, event: ServerEvent) -> None:
        item = text(event, "item_id")
        if self._cut_part(item) is not None:
            self._tell("conversation.item.retrieve", f"retrieve-{item}", item_id=item)

    def _retrieved(self, event: ServerEvent) -> None:
        item = mapping(event, "item")
        part = self._cut_part(text(item, "id"))
        # Some servers drop the text of what they cut altogether, though its sound is kept; others
        # keep all of it.
        if part is not None and (kept := words_of(item)) not in ("", part.text.strip()):
            part.kept = kept

    def _cut_part(self, item: str) -> ReplyPart | None:
        """What was heard of an item of a reply that was stopped, as the server was told."""
        for reply in reversed(self.ledger.replies):
            for part in reply.parts if reply.cut and item else []:
                if part.key == item and part.kept != "":
                    return part
        return None

    # What the model says.

    def _response_created(self, event: ServerEvent) -> None:
        made = mapping(event, "response")
        name = text(made, "id")
        if name and name in self._active:
            return
        if name in self._ended:
            # Some servers count anew, or call every response the same.
            self._ended.remove(name)
        response = self._begin(name, made.get("metadata"))
        if not response.reply.late and not response.dropped:
            self.ledger.mark(response.reply.turn, "model.start")

    def _begin(self, name: str, metadata: object = None) -> ServerResponse:
        """A response begins: find what it answers."""
        # Two at a time cannot be in one conversation: the end of the one before was left out.
        for before in list(self._active.values()):
            self._end(before, "completed")
        self._busy = False
        turn, wanted = self._addressee(metadata)
        if wanted:
            response = ServerResponse(name, self.ledger.reply(turn))
        else:
            response = ServerResponse(name, ReplyEntry("", turn, late=True, done=True))
            self._drop(response)
        self._active[name] = response
        return response

    def _addressee(self, metadata: object) -> tuple[TurnEntry, bool]:
        """The turn that a new response is for, and whether anybody still wants it."""
        turns, turn, asked = self.ledger.turns, self.ledger.last, self._asked
        named = metadata.get(ASK) if isinstance(metadata, dict) else None
        echoed = asked is not None and named == str(asked.number)
        if not echoed and turn is not None and self._pending:
            mine = asked is not None and asked.turn is turn
            before = turns[-2] if len(turns) > 1 else None
            if turn.committed or mine or (asked is None and (not before or before.taken_up)):
                # If the user still speaks, the server took the turn for over too early.
                self.ledger.commit(turn)
                if mine:
                    self._asked = None
                return turn, True
            if asked is None and before is not None:
                before.taken_up = True
                return before, False
        if asked is not None:
            self._asked = None
            if self._pending and asked.turn is not turn:
                # The user has begun to speak meanwhile: the result is told afterwards.
                self._request(asked.turn)
                return asked.turn, False
            return asked.turn, True
        if turn is None or not self._hears:
            turn = self._open()
            self.ledger.commit(turn)
        return turn, True

    @property
    def _pending(self) -> bool:
        """Whether the user speaks, or waits for the response to what was said."""
        turn = self.ledger.last
        return turn is not None and not (turn.done or turn.taken_up)

    def _response(self, event: ServerEvent) -> ServerResponse | None:
        """What an event belongs to; begun where that was not said. None: that is over."""
        name = text(event, "response_id")
        if name in self._active:
            return self._active[name]
        if name and name in self._ended:
            return None
        if self._active and (not name or "" in self._active):
            return next(reversed(self._active.values()))
        return self._begin(name)

    def _wanted(self, event: ServerEvent) -> ServerResponse | None:
        """What an event belongs to, if anybody still wants to hear of it."""
        response = self._response(event)
        if response is not None and response.dropped:
            self._unheard(response, text(event, "item_id"))
            return None
        return response

    def _unheard(self, response: ServerResponse, item: str) -> None:
        """A message of a response that nobody wants; what it began before has a part."""
        if item and all(part.key != item for part in response.reply.parts):
            response.unheard.add(item)

    def _part(self, response: ServerResponse, event: ServerEvent) -> ReplyPart:
        item, index = text(event, "item_id"), event.get("content_index")
        index = index if isinstance(index, int) else 0
        part = response.reply.part(item, index, ahead=True)
        part.filler = item in response.fillers
        return part

    def _drop(self, response: ServerResponse) -> None:
        """Nobody wants to hear a response any more."""
        response.dropped = True
        if self._cancels:
            which = {"response_id": response.id} if response.id else {}
            self._tell("response.cancel", f"cancel-{response.id}", **which)

    def _item_added(self, event: ServerEvent) -> None:
        response, item = self._response(event), mapping(event, "item")
        if response is None or item.get("type", "message") != "message":
            return
        if response.dropped:
            self._unheard(response, text(item, "id"))
        elif item.get("phase") == "commentary":
            response.fillers.add(text(item, "id"))

    def _audio(self, event: ServerEvent) -> None:
        response = self._wanted(event)
        if response is None:
            return
        data = sound_in(event.get("delta"))
        if data is None:
            self.strange("sound that is no base64")
            return
        part = self._part(response, event)
        data = response.rests.pop(part.key, b"") + data
        whole = len(data) // self._output.width * self._output.width
        response.rests[part.key] = data[whole:]
        sound = self._output.decode(data[:whole])
        self.ledger.sound(response.reply, part, sound, self._output.rate)

    def _audio_done(self, event: ServerEvent) -> None:
        if response := self._wanted(event):
            self._part(response, event).ahead = False

    def _text_delta(self, event: ServerEvent) -> None:
        if response := self._wanted(event):
            part = self._part(response, event)
            self.ledger.text(response.reply, part, text(event, "delta"))

    def _text_done(self, event: ServerEvent) -> None:
        if response := self._wanted(event):
            self._rest(response, event, text(event, "transcript", "text"))

    def _rest(self, response: ServerResponse, event: ServerEvent, whole: str) -> None:
        """The whole text of an item: what of it did not come as deltas comes now."""
        if whole and not response.dropped:
            part = self._part(response, event)
            if whole.startswith(part.text):
                self.ledger.text(response.reply, part, whole[len(part.text) :])

    def _arguments_done(self, event: ServerEvent) -> None:
        response = self._response(event)
        call, name = text(event, "call_id"), text(event, "name")
        if response is not None and call and name:
            response.announced[call] = (name, text(event, "arguments"))

    def _item_done(self, event: ServerEvent) -> None:
        response = self._response(event)
        if response is not None:
            self._item(response, mapping(event, "item"))

    def _item(self, response: ServerResponse, item: ServerEvent) -> None:
        """An item of a response is whole."""
        kind, name, status = item.get("type"), text(item, "id"), item.get("status")
        if kind == "function_call" and status in (None, "", "completed"):
            call = text(item, "call_id") or name
            self._called(response, call, text(item, "name"), text(item, "arguments"))
        elif kind == "message" and response.dropped:
            self._unheard(response, name)
        elif kind == "message" and status != "incomplete":
            self._rest(response, {"item_id": name}, words_of(item))
            for part in response.reply.parts:
                part.ahead = part.ahead and part.key != name

    def _response_done(self, event: ServerEvent) -> None:
        made = mapping(event, "response")
        name = text(made, "id")
        response = self._active.get(name)
        if response is None and not (name and name in self._ended):
            known = [each for key, each in self._active.items() if not (key and name)]
            response = known[-1] if known else self._begin(name, made.get("metadata"))
        turn = response.reply.turn.number if response is not None else self.ledger.number
        if usage := mapping(made, "usage"):
            self.ledger.add(response_usage(turn, usage))
        if response is None:
            return
        status = text(made, "status") or "completed"
        if status == "completed":
            for item in listed(made, "output"):
                if isinstance(item, dict):
                    self._item(response, item)
            for call, (what, arguments) in response.announced.items():
                self._called(response, call, what, arguments)
        self._end(response, status, mapping(made, "status_details"))

    def _end(
        self, response: ServerResponse, status: str, details: ServerEvent | None = None
    ) -> None:
        """A response has ended."""
        reply = response.reply
        response.over = True
        self._active.pop(response.id, None)
        self._busy = False
        self._ended.append(response.id)
        for item in sorted(response.unheard):
            self._delete(item)
        if not response.dropped:
            if status in ("failed", "incomplete"):
                self.ledger.fail(reply.turn, broken(status, details or {}))
                self.ledger.end(reply, "failed")
            elif status == "cancelled":
                self.ledger.interrupt(reply)
        self._deliver(response)
        if reply.late or not self._awaits_more(reply.turn):
            self.ledger.end(reply, "completed")

    # Tools, and the responses to their results.

    def _called(self, response: ServerResponse, call_id: str, name: str, arguments: str) -> None:
        call = self.ledger.called(response.reply.turn, call_id, name, arguments)
        if call is not None:
            response.calls.append(call)
            self._made_by[call_id] = response

    def _deliver(self, response: ServerResponse) -> None:
        """Send what results there are of an ended response's calls."""
        for call in response.calls:
            if call.output is None or call.sent or call.cancelled:
                continue
            call.sent = True
            item = {"type": "function_call_output", "call_id": call.id, "output": call.output}
            self._tell("conversation.item.create", f"result-{call.id}", item=item)
            if all(each.sent for each in response.calls):
                self._request(call.turn)

    def _awaits_more(self, turn: TurnEntry) -> bool:
        """Whether calls of this turn await their result, or its response is still to come."""
        calls = self.ledger.calls.values()
        waiting = any(c.turn is turn and not c.sent and not c.cancelled for c in calls)
        return waiting or any(
            request.turn is turn for request in [self._asked, *self._requests] if request
        )

    def _request(self, turn: TurnEntry) -> None:
        """Ask for a response in this turn as soon as that can be."""
        self._requests.append(ResponseRequest(next(self._numbers), turn))

    def _ask_next(self) -> None:
        """Ask for the next response, if nothing is in the way."""
        if self._asked or self._active or self._busy or not self._requests:
            return
        request = self._requests[0]
        # Neither over the user's words, nor before the response that the server makes to them.
        if self._pending and request.turn is not self.ledger.last:
            return
        self._asked = self._requests.popleft()
        metadata = {ASK: str(request.number)}
        self._tell("response.create", f"ask-{request.number}", response={"metadata": metadata})

    def _error(self, event: ServerEvent) -> None:
        error = error_in(event)
        code, about, why = text(error, "code"), text(error, "event_id"), reason(error)
        asked, turn = self._asked, self.ledger.last
        if code == EXPIRED:
            self.expired = True
        elif not self.configured and about in ("", UPDATE):
            self.refusal = self.refusal if self.refusal[1] else (code, why)
        elif code == NOT_ACTIVE or about.startswith(HARMLESS):
            log.info("the server would not: %s", why)
        elif code == BUSY and asked is not None:
            # Ask again when a response is over.
            self._requests.appendleft(asked)
            self._asked, self._busy = None, True
        else:
            self.ledger.fail(asked.turn if asked else turn, f"the server reports: {why}")
            if asked is not None and about == f"ask-{asked.number}":
                self._asked = None
                self.ledger.close(asked.turn, "failed")
            elif turn is not None and about == f"commit-{turn.number}":
                self._asked = None
                self.ledger.close(turn, "failed")


def words_of(item: Mapping[str, Any]) -> str:
    """The words in an item's content, in order; not of parts that may be something else."""
    parts = (part for part in listed(item, "content") if text(part, "type") in SPOKEN)
    texts = (text(part, "transcript", "text") for part in parts)
    return " ".join(found.strip() for found in texts if found.strip())


def broken(status: str, details: Mapping[str, Any]) -> str:
    """Why a response is not whole."""
    error = details.get("error")
    if error:
        return f"the response failed: {reason(error_in(details))}"
    why = shown(text(details, "reason")) or "no reason given"
    what = "failed" if status == "failed" else "was cut short"
    return f"the response {what}: {why}"


def response_usage(turn: int, usage: Mapping[str, Any]) -> Usage:
    """What a response is billed."""
    read = "input_token_details"
    return Usage(
        turn,
        count(usage, "input_tokens"),
        count(usage, read, "cached_tokens"),
        count(usage, "output_tokens"),
        count(usage, read, "audio_tokens"),
        count(usage, read, "cached_tokens_details", "audio_tokens"),
        count(usage, "output_token_details", "audio_tokens"),
    )


def transcription_usage(turn: int, usage: Mapping[str, Any]) -> Usage:
    """What a transcription is billed."""
    seconds = usage.get("seconds")
    return Usage(
        turn,
        count(usage, "input_tokens"),
        0,
        count(usage, "output_tokens"),
        count(usage, "input_token_details", "audio_tokens"),
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        kind="transcription",
    )


class RealtimeSession(OpenAiSession[AsyncRealtimeConnection]):
    """A `SpeechToSpeech` session with a Realtime server."""

    def __init__(
        self,
        spec: SystemSpec,
        brief: Brief,
        trace: Trace,
        clock: Clock,
        *,
        connect_s: float = CONNECT_S,
        ready_s: float = READY_S,
        grace_s: float = GRACE_S,
        patience_s: float = PATIENCE_S,
        **more: Any,
    ) -> None:
        """Prepare a session; nothing is connected.

        Args:
            spec: `openai` or `realtime`, with the options in `OPTIONS`.
            brief: What the conversation is about.
            trace: Takes the marks.
            clock: The one clock.
            connect_s: See `CONNECT_S`.
            ready_s: See `READY_S`.
            grace_s: See `GRACE_S`.
            patience_s: See `PATIENCE_S`.
            more: See `ApiSession`.

        Raises:
            BadInput: There is no key, or an option or the URL cannot be.
        """
        self._options = options_of(spec)
        self._brief = brief
        self._ready_s, self._grace_s = ready_s, grace_s
        self._manual = self._options.get("turns") == "manual"
        self._realtime = RealtimeCore(
            trace.mark, clock.now_ns, manual=self._manual, patience_s=patience_s
        )
        server, rate = server_of(spec), self._realtime.input.rate
        super().__init__(self._realtime, server, clock, connect_s=connect_s, rate=rate, **more)

    async def commit(self) -> None:
        """End the user's turn."""
        if not self._manual:
            await super().commit()
        self._realtime.commit()
        self._carry_out()

    def _pack(self, samples: Samples) -> dict[str, str]:
        sound = base64.b64encode(self._realtime.input.encode(samples)).decode()
        return {"type": "input_audio_buffer.append", "audio": sound}

    async def _open(self, options: Any) -> AsyncRealtimeConnection:
        model: Any = {"model": self._server.model} if self._server.model else {}
        return await self._sdk.realtime.connect(
            **model, websocket_connection_options=options
        ).enter()

    async def _set_up(self, connection: AsyncRealtimeConnection) -> None:
        await self._configure(connection)
        for item in self._remembered:
            message = {"type": "conversation.item.create", "item": item}
            await connection.send_raw(json.dumps(message))

    @property
    def _remembered(self) -> list[dict[str, Any]]:
        """The history as items; what was called in a turn stands before what was said of it."""
        items: list[dict[str, Any]] = []
        untold = [call for call in self._realtime.ledger.calls.values() if call.sent]
        for message in self._core.history:
            mine = [call for call in untold if call.turn.number == message.turn]
            untold = [call for call in untold if call not in mine]
            calls = [item for call in mine for item in called(call)]
            said = as_item(message)
            items += [said, *calls] if message.role == "user" else [*calls, said]
        return items

    async def _configure(self, connection: AsyncRealtimeConnection) -> None:
        """Say what the session is to be, and wait until the server has taken it.

        A server that is not OpenAI's, and refuses, is asked once more for the least only.

        Raises:
            StageError: It refuses, or says nothing.
            ConnectionClosed: It closes the connection.
        """
        core, loop = self._realtime, asyncio.get_running_loop()
        deadline = loop.time() + self._ready_s
        bare = created = False
        try:
            await self._update(connection, session(self._options, self._brief))
            while not core.configured:
                if core.created and not created:
                    created, deadline = True, min(deadline, loop.time() + self._grace_s)
                async with asyncio.timeout_at(deadline):
                    await self._hear(connection)
                if core.refusal[1] and not core.configured:
                    refusal = self._errors.refused(*core.refusal)
                    if self._server.own or bare or isinstance(refusal, Denied):
                        raise refusal
                    bare, core.refusal = True, ("", "")
                    await self._update(connection, bare_session(self._brief))
        except TimeoutError:
            if not core.created:
                what = f"sends nothing for {self._ready_s:g} s"
                raise StageError(
                    "direct",
                    f"{self._server.host} takes the connection but {what}; "
                    "check that it is a Realtime server",
                    fatal=True,
                ) from None
            core.configured = True
        except ConnectionClosed:
            # What it said before is there still.
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self._hear(connection)
            if core.refusal[1]:
                raise self._errors.refused(*core.refusal) from None
            raise

    async def _update(self, connection: AsyncRealtimeConnection, wanted: Mapping[str, Any]) -> None:
        message = {"type": "session.update", "event_id": UPDATE, "session": wanted}
        await connection.send_raw(json.dumps(message))

    async def _listen(self, connection: AsyncRealtimeConnection) -> None:
        while not self._realtime.expired:
            await self._hear(connection)
            if not self._realtime.configured:
                # The server began another session over the same connection: it knows nothing.
                await self._set_up(connection)
            await self._took()
        why = f"{self._server.host}: the session had lasted as long as it may"
        raise StageError("direct", why)

    async def _hear(self, connection: AsyncRealtimeConnection) -> None:
        """Take the next message of the server's."""
        self._realtime.receive(await self._receive(connection))
        self._rate = self._realtime.input.rate

    def _found(self, connection: AsyncRealtimeConnection, connect_ms: float) -> Facts:
        said = self._realtime.session
        tracing, simulated = mapping(said, "tracing"), None
        if tracing.get("workflow_name") == STAMP:
            simulated = parameters(tracing.get("metadata"))
        model = text(said, "model") or self._server.model
        return Facts(model, self._server.host, connect_ms, simulated)


def options_of(spec: SystemSpec) -> dict[str, str]:
    """What the command line says of the session.

    Raises:
        BadInput: There is no such option, or it cannot be that, or not with the others.
    """
    options = given(spec, OPTIONS)
    turns = options.setdefault("turns", "server")
    for name, needed in (("silence_ms", "server"), ("eagerness", "semantic")):
        if name in options and turns != needed:
            raise BadInput(f"{spec.name}: {name} goes with turns={needed} only")
    return options


def called(call: CallEntry) -> list[dict[str, Any]]:
    """A call that has its result, and that result, as items of a conversation."""
    about = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
    return [
        {"type": "function_call", **about},
        {"type": "function_call_output", "call_id": call.id, "output": call.output},
    ]


def bare_session(brief: Brief) -> dict[str, Any]:
    """What no conversation can be without, for a server that refuses more."""
    return {"type": "realtime", "instructions": brief.instructions, "tools": functions(brief)}


def session(options: Mapping[str, str], brief: Brief) -> dict[str, Any]:
    """The session to ask for: what goes into `session.update`."""
    detection: dict[str, Any] | None = {
        "type": "semantic_vad" if options["turns"] == "semantic" else "server_vad",
        "create_response": True,
        "interrupt_response": True,
    }
    if detection and "silence_ms" in options:
        detection["silence_duration_ms"] = int(options["silence_ms"])
    if detection and "eagerness" in options:
        detection["eagerness"] = options["eagerness"]
    if options["turns"] == "manual":
        detection = None
    transcription = {"model": options.get("transcription", TRANSCRIPTION)}
    if brief.language:
        transcription["language"] = brief.language
    heard = {
        "format": encoding.PCM,
        "transcription": transcription,
        "turn_detection": detection,
    }
    spoken: dict[str, Any] = {"format": encoding.PCM}
    if "voice" in options:
        spoken["voice"] = options["voice"]
    wanted = {
        **bare_session(brief),
        "output_modalities": ["audio"],
        "audio": {"input": heard, "output": spoken},
    }
    if brief.tools:
        wanted["tool_choice"] = "auto"
    if "effort" in options:
        wanted["reasoning"] = {"effort": options["effort"]}
    return wanted
