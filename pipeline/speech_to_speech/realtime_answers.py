"""What a Realtime server answers: its responses, and which turn each belongs to. Pure.

A response to nothing that the server said it heard makes a turn of its own, or, where the server
does say what it hears, one more reply of the newest turn.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, Literal

from pipeline.speech_to_speech import realtime_fields as fields
from pipeline.speech_to_speech.encoding import Encoding
from pipeline.speech_to_speech.keys import shown
from pipeline.speech_to_speech.realtime_book import Book, Turn
from pipeline.speech_to_speech.realtime_calls import Calls, Response
from pipeline.speech_to_speech.realtime_replies import Piece, Reply

REMEMBERED = 64
"""So many ended responses are known again when more comes of them."""

Event = Mapping[str, Any]

log = logging.getLogger(__name__)


class Answers:
    """Puts responses into replies.

    Attributes:
        encoding: Of the sound that comes.
        cancels: Whether responses are to be cancelled by us when the user speaks.
        oddities: How many events were malformed, or of a kind that nobody knows.
    """

    def __init__(self, book: Book, calls: Calls) -> None:
        """Begin with no response."""
        self.encoding = Encoding()
        self.cancels = True
        self.oddities: Counter[str] = Counter()
        self._book = book
        self._calls = calls
        self._ended: deque[str] = deque(maxlen=REMEMBERED)
        self.handlers = {
            "response.created": self._created,
            "response.output_item.added": self._item_added,
            "response.output_item.done": self._item_done,
            "response.output_audio.delta": self._audio,
            "response.output_audio.done": self._audio_done,
            "response.output_audio_transcript.delta": self._delta,
            "response.output_audio_transcript.done": self._text,
            "response.output_text.delta": self._delta,
            "response.output_text.done": self._text,
            "response.function_call_arguments.done": self._arguments,
            "response.done": self._done,
        }

    def odd(self, what: Literal["malformed", "unknown"], which: str) -> None:
        """Note what no server should send: the first of each kind aloud."""
        which = shown(which)
        level = logging.DEBUG if self.oddities[f"{what}: {which}"] else logging.WARNING
        self.oddities[f"{what}: {which}"] += 1
        log.log(level, "the server sent what is %s: %s", what, which)

    def stop(self) -> None:
        """The user speaks: what is said ends, and so does the turn that was open."""
        for reply in self._book.open_replies():
            # A reply that was played as far as it came, and only waits for a tool, is not cut.
            making = [r for r in self._calls.active.values() if r.reply is reply and not r.dropped]
            if making or reply.playing:
                self._book.interrupt(reply)
            for response in making:
                self._drop(response)
        turn = self._book.turn
        if turn is not None:
            self._book.close(turn, "completed" if turn.answered else "interrupted")

    def _drop(self, response: Response) -> None:
        response.dropped = True
        if self.cancels:
            which = {"response_id": response.id} if response.id else {}
            self._book.say("response.cancel", event_id=f"cancel-{response.id}"[:512], **which)

    def _created(self, event: Event) -> None:
        made = fields.mapping(event, "response")
        name = fields.text(made, "id")
        if name and (name in self._ended or name in self._calls.active):
            return
        response = self._begin(name, made.get("metadata"))
        if not response.reply.late and not response.dropped:
            self._book.mark(response.reply.turn, "model.start")

    def _begin(self, name: str, metadata: object = None) -> Response:
        """A response begins: find what it answers."""
        # Two at a time cannot be in one conversation: the end of the one before was left out.
        for before in list(self._calls.active.values()):
            self._over(before, "completed")
        self._calls.free()
        turn, wanted = self._place(metadata)
        if wanted:
            turn.answered = True
            response = Response(name, self._book.reply(turn))
        else:
            response = Response(name, Reply("", turn.number, late=True, done=True))
            self._drop(response)
        self._calls.active[name] = response
        return response

    def _place(self, metadata: object) -> tuple[Turn, bool]:
        """The turn that a new response is for, and whether anybody still wants it."""
        turn, calls = self._book.turn, self._calls
        ask = calls.take(metadata)
        if ask is None and turn is not None and self._book.pending:
            mine = calls.asked is not None and calls.asked.turn is turn
            before = self._book.turns[-2] if len(self._book.turns) > 1 else None
            if turn.committed or mine or (calls.asked is None and (not before or before.answered)):
                # If the user still speaks, the server took the turn for over too early.
                self._book.commit(turn)
                if mine:
                    calls.take_any()
                return turn, True
            if calls.asked is None and before is not None:
                before.answered = True
                return before, False
        ask = ask or calls.take_any()
        if ask is not None:
            if self._book.pending and ask.turn is not turn:
                # The user has begun to speak meanwhile: the result is told afterwards.
                calls.ask(ask.turn)
                return ask.turn, False
            return ask.turn, True
        if turn is None or not self._book.hears:
            self.stop()
            turn = self._book.open("", heard=False)
            self._book.commit(turn)
        return turn, True

    def _response(self, event: Event) -> Response | None:
        """What an event belongs to; begun where that was not said. None: that is over."""
        name, active = fields.text(event, "response_id"), self._calls.active
        if name in active:
            return active[name]
        if name and name in self._ended:
            return None
        if active and (not name or "" in active):
            return next(reversed(active.values()))
        return self._begin(name)

    def _wanted(self, event: Event) -> Response | None:
        """What an event belongs to, if anybody still wants to hear of it."""
        response = self._response(event)
        return None if response is None or response.dropped else response

    def _piece(self, response: Response, event: Event) -> Piece:
        item, index = fields.text(event, "item_id"), event.get("content_index")
        piece = response.reply.piece(item, index if isinstance(index, int) else 0)
        piece.filler = item in response.fillers
        return piece

    def _item_added(self, event: Event) -> None:
        response, item = self._response(event), fields.mapping(event, "item")
        if response is not None and item.get("phase") == "commentary":
            response.fillers.add(fields.text(item, "id"))

    def _audio(self, event: Event) -> None:
        response = self._wanted(event)
        if response is None:
            return
        try:
            data = base64.b64decode(fields.text(event, "delta"), validate=True)
        except (binascii.Error, ValueError):
            self.odd("malformed", "sound that is no base64")
            return
        piece = self._piece(response, event)
        data = piece.rest + data
        whole = len(data) // self.encoding.width * self.encoding.width
        piece.rest = data[whole:]
        sound = self.encoding.decode(data[:whole])
        self._book.audio(response.reply, piece, sound, self.encoding.rate)

    def _audio_done(self, event: Event) -> None:
        if response := self._wanted(event):
            self._piece(response, event).complete = True

    def _delta(self, event: Event) -> None:
        if response := self._wanted(event):
            piece = self._piece(response, event)
            self._book.text(response.reply, piece, fields.text(event, "delta"))

    def _text(self, event: Event) -> None:
        if response := self._wanted(event):
            whole = fields.text(event, "transcript") or fields.text(event, "text")
            self._rest(response, event, whole)

    def _rest(self, response: Response, event: Event, whole: str) -> None:
        """The whole text of an item: what of it did not come as deltas comes now."""
        if whole and not response.dropped:
            piece = self._piece(response, event)
            if whole.startswith(piece.text):
                self._book.text(response.reply, piece, whole[len(piece.text) :])

    def _arguments(self, event: Event) -> None:
        response = self._response(event)
        call, name = fields.text(event, "call_id"), fields.text(event, "name")
        if response is not None and call and name:
            response.announced[call] = (name, fields.text(event, "arguments"))

    def _item_done(self, event: Event) -> None:
        response = self._response(event)
        if response is not None:
            self._item(response, fields.mapping(event, "item"))

    def _item(self, response: Response, item: Event) -> None:
        """An item of a response is whole."""
        kind, name, status = item.get("type"), fields.text(item, "id"), item.get("status")
        if kind == "function_call" and status in (None, "", "completed"):
            call = fields.text(item, "call_id") or name
            what = fields.text(item, "name")
            self._calls.made(response, call, what, fields.text(item, "arguments"))
        elif kind == "message" and status != "incomplete":
            self._rest(response, {"item_id": name}, fields.words_of(item))
            for piece in response.reply.pieces:
                piece.complete = piece.complete or piece.item == name

    def _done(self, event: Event) -> None:
        made = fields.mapping(event, "response")
        name, active = fields.text(made, "id"), self._calls.active
        response = active.get(name)
        if response is None and not (name and name in self._ended):
            known = [each for key, each in active.items() if not (key and name)]
            response = known[-1] if known else self._begin(name, made.get("metadata"))
        turn = response.reply.turn if response is not None else self._book.number
        if usage := fields.response_usage(turn, made):
            self._book.out.append(usage)
        if response is None:
            return
        status = fields.text(made, "status") or "completed"
        if status == "completed":
            output = made.get("output")
            for item in output if isinstance(output, list) else []:
                if isinstance(item, dict):
                    self._item(response, item)
            for call, (what, arguments) in response.announced.items():
                self._calls.made(response, call, what, arguments)
        self._over(response, status, fields.mapping(made, "status_details"))

    def _over(self, response: Response, status: str, details: Event | None = None) -> None:
        """A response has ended."""
        reply = response.reply
        response.over = True
        self._calls.active.pop(response.id, None)
        self._calls.free()
        self._ended.append(response.id)
        if not response.dropped:
            if status in ("failed", "incomplete"):
                self._book.fail(reply.turn, fields.broken(status, details or {}))
                self._book.end(reply, "failed")
            elif status == "cancelled":
                self._book.interrupt(reply)
        self._calls.deliver(response)
        if reply.late or not self._calls.open_in(reply.turn):
            self._book.end(reply, "completed")
