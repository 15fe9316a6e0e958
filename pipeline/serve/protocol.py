"""The server's side of the Realtime protocol, without I/O: what it keeps, and what it tells.

A `ServerSide` does what is the protocol's own (the session's settings, the items of the
conversation, the sound that is no item yet), and says what is left to do: to hear and to answer. A
`RealtimeResponse` is an answer as it grows. Both write the events to send, in the order that
clients rely on.
"""

from __future__ import annotations

import base64
import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from pipeline.events import Samples
from pipeline.serve.requests import (
    RATE,
    JsonObject,
    RequestRefused,
    invalid,
    new_session,
    parse,
    sound_of,
    updated,
)
from pipeline.text.heard import whole_words

LEAST_COMMIT_MS = 100
"""A commit by the client needs so much sound."""

ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete"]


class Author:
    """Writes a connection's events, each with an id of its own.

    Args:
        tag: Part of every id, so that those of two connections differ.
        send: Is given each event.
    """

    def __init__(self, tag: str, send: Callable[[JsonObject], None]) -> None:
        self._tag = tag
        self._send = send
        self._count = 0

    def new_id(self, kind: str) -> str:
        """An id that nothing else has, such as `item_tag0001`; `kind` is its beginning."""
        self._count += 1
        return f"{kind}_{self._tag}{self._count:04}"

    def tell(self, kind: str, **fields: Any) -> None:
        """Send an event of type `kind`."""
        self._send({"type": kind, "event_id": self.new_id("event"), **fields})

    def refuse(self, refused: RequestRefused, kind: str = "invalid_request_error") -> None:
        """Send an error event; one of kind `server_error` is no fault of the client's."""
        about = {"type": kind, "code": refused.code, "message": refused.message}
        self.tell("error", error={**about, "param": refused.param, "event_id": refused.event_id})


def encoded(samples: Samples) -> str:
    """Sound as events carry it: 16-bit little-endian PCM in base64."""
    return base64.b64encode(samples.astype("<i2").tobytes()).decode("ascii")


class InputBuffer:
    """The sound that a client sent and that is no item yet, by its place in the whole stream.

    Attributes:
        start: Place of the oldest sample that is kept (samples from the start of the stream).
    """

    def __init__(self) -> None:
        self.start = 0
        self._pieces: list[Samples] = []
        self._held = 0

    @property
    def end(self) -> int:
        """One past the newest sample: how many were ever pushed."""
        return self.start + self._held

    def __len__(self) -> int:
        return self._held

    def push(self, samples: Samples) -> None:
        """Keep the next piece, int16 (n,)."""
        self._pieces.append(samples)
        self._held += len(samples)

    def between(self, start: int, end: int) -> Samples:
        """A copy of what is kept of that stretch."""
        whole = np.concatenate([*self._pieces, np.zeros(0, np.int16)])
        return whole[max(0, start - self.start) : max(0, end - self.start)].copy()

    def forget(self, before: int) -> None:
        """Let go of what lies before that place, in whole pieces."""
        while self._pieces and self.start + len(self._pieces[0]) <= before:
            oldest = len(self._pieces.pop(0))
            self.start += oldest
            self._held -= oldest

    def clear(self) -> None:
        """Let go of everything."""
        self.start, self._held = self.end, 0
        self._pieces.clear()


@dataclass(slots=True)
class KeptItem:
    """An item of the conversation and what is not told with it.

    Attributes:
        about: The item as it goes into JSON, without sound; it may still grow.
        sound: int16 at 24 kHz; None: it has none.
        words: How many characters of its transcript are spoken by some of the samples, both
            growing; between them, and where there is none, speech is taken to be even.
        cuts: How often it was truncated.
    """

    about: JsonObject
    sound: Samples | None = None
    words: Sequence[tuple[int, int]] = ()
    cuts: int = 0

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.about["id"])

    @property
    def ms(self) -> float:
        """How long its sound is."""
        return 0 if self.sound is None else len(self.sound) * 1000 / RATE


class Items:
    """What was said and done so far, in order.

    Args:
        author: Writes the connection's events.

    Attributes:
        id: Of the conversation.
        kept: Oldest first.
    """

    def __init__(self, author: Author) -> None:
        self._author = author
        self.id = author.new_id("conv")
        self.kept: list[KeptItem] = []

    @property
    def last_id(self) -> str | None:
        """The id of the newest item."""
        return self.kept[-1].id if self.kept else None

    def create(self, event: JsonObject) -> None:
        """Do a client's `conversation.item.create`, as `parse` gave it.

        Raises:
            RequestRefused: Its id is taken, or there is no such place for it.
        """
        item = {"id": self._author.new_id("item"), **copy.deepcopy(event["item"])}
        item |= {"object": "realtime.item", "status": "completed"}
        if any(each.id == item["id"] for each in self.kept):
            raise invalid("item.id", "is taken by another item")
        for part in item.get("content", []):
            if part["type"] == "input_audio":
                del part["audio"]
                part.setdefault("transcript", None)
        kept = KeptItem(item)
        self.begin(kept, event.get("previous_item_id"))
        self.finish(kept)

    def begin(self, item: KeptItem, after: str | None = None) -> None:
        """Add an item that may still grow.

        Args:
            item: As it is now.
            after: The id of the item before it, or `root`; None: at the end.

        Raises:
            RequestRefused: There is no item `after`.
        """
        place = len(self.kept)
        if after is not None:
            place = 0 if after == "root" else 1 + self.kept.index(self._find(after, "create"))
        self.kept.insert(place, item)
        self._announce("added", item)

    def finish(self, item: KeptItem) -> None:
        """Say that an item has all that it gets; not of one that was deleted as it grew."""
        if item in self.kept:
            self._announce("done", item)

    def retrieve(self, item_id: str) -> None:
        """Tell an item with its sound.

        Raises:
            RequestRefused: There is none of that id.
        """
        kept = self._find(item_id, "retrieve")
        item = copy.deepcopy(kept.about)
        for part in item.get("content", []):
            if kept.sound is not None and part["type"] in ("input_audio", "output_audio"):
                part["audio"] = encoded(kept.sound)
        self._author.tell("conversation.item.retrieved", item=item)

    def delete(self, item_id: str) -> None:
        """Forget an item.

        Raises:
            RequestRefused: There is none of that id.
        """
        self.kept.remove(self._find(item_id, "delete"))
        self._author.tell("conversation.item.deleted", item_id=item_id)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Forget what was not heard of a reply; its words keep what had been spoken by then.

        Raises:
            RequestRefused: There is no such reply, or it is shorter than that.
        """
        kept = self._find(item_id, "truncate")
        content = kept.about.get("content", [])
        if kept.about.get("role") != "assistant" or content_index >= len(content):
            raise invalid("item_id", "is no message of the assistant with such a part")
        part, sound = content[content_index], kept.sound
        if part["type"] != "output_audio" or sound is None:
            raise invalid("content_index", "is no part with sound")
        if audio_end_ms > kept.ms:
            raise invalid("audio_end_ms", f"is {audio_end_ms}; there are {kept.ms:.0f} ms")
        end, text = audio_end_ms * RATE // 1000, part["transcript"]
        points = [(0, 0), *(point for point in kept.words if point[0] <= len(sound))]
        if points[-1][0] < len(sound):
            points.append((len(sound), len(text)))
        # Words after the last point have no sound: they were to be spoken next.
        places, chars = zip(*points, strict=True)
        part["transcript"] = whole_words(text, int(np.interp(end, places, chars)))
        kept.sound = sound[:end].copy()
        kept.cuts += 1
        where = {"item_id": item_id, "content_index": content_index}
        self._author.tell("conversation.item.truncated", **where, audio_end_ms=audio_end_ms)

    def _announce(self, what: Literal["added", "done"], item: KeptItem) -> None:
        place = self.kept.index(item)
        before = self.kept[place - 1].id if place else None
        # The item may go on growing after this event was written.
        about = copy.deepcopy(item.about)
        self._author.tell(f"conversation.item.{what}", item=about, previous_item_id=before)

    def _find(self, item_id: str, doing: str) -> KeptItem:
        found = next((item for item in self.kept if item.id == item_id), None)
        if found is None:
            param = "previous_item_id" if doing == "create" else "item_id"
            message = f"Item with {param} {json.dumps(item_id)} does not exist."
            raise RequestRefused(f"item_{doing}_invalid_{param}", message, param)
        return found


class RealtimeResponse:
    """One response: `begin`, then `open`, `text`, `audio`, `close` and `call`.

    Args:
        author: Writes the connection's events.
        session: The session as it is now.
        options: The field `response` of the client's `response.create`; empty for one that the
            server begins itself.
        items: Where its items go; also what it belongs to unless it is `conversation: none`.

    Attributes:
        id: Its id.
        in_band: Its items become part of the conversation.
        speaks: It answers with sound, not with text.
        output: Its items so far.
        made_text: Tokens of text that it made so far.
        made_audio: Tokens of sound that it made so far.
    """

    def __init__(
        self, author: Author, session: JsonObject, options: JsonObject, items: Items
    ) -> None:
        self._author = author
        self._items = items
        self.id = author.new_id("resp")
        self.in_band = options.get("conversation", "auto") == "auto"
        self.output: list[KeptItem] = []
        self.made_text = self.made_audio = 0
        audio = session["audio"]["output"] | options.get("audio", {}).get("output", {})
        self._about: JsonObject = {
            "object": "realtime.response",
            "id": self.id,
            "conversation_id": items.id if self.in_band else None,
            "output_modalities": options.get("output_modalities", session["output_modalities"]),
            "max_output_tokens": options.get("max_output_tokens", session["max_output_tokens"]),
            "audio": {"output": {"format": audio["format"], "voice": audio["voice"]}},
            "metadata": options.get("metadata"),
            "usage": None,
        }
        self.speaks = self._about["output_modalities"] == ["audio"]
        self._open: KeptItem | None = None
        self._text = ""
        self._pieces: list[Samples] = []
        self._words: list[tuple[int, int]] = []

    def begin(self) -> None:
        """Say that it begins."""
        self._author.tell("response.created", response=self.now("in_progress"))

    def open(self) -> None:
        """Begin a message, still empty."""
        self._open = self._add("message", role="assistant", content=[])
        self._text, self._pieces, self._words = "", [], []
        self._tell("content_part.added", part=self._part())

    def text(self, delta: str) -> None:
        """Send more of the open message's words."""
        self._text += delta
        kind = "output_audio_transcript" if self.speaks else "output_text"
        self._tell(f"{kind}.delta", delta=delta)

    def audio(self, samples: Samples) -> None:
        """Send more of the open message's sound, int16; all words so far are spoken in it."""
        self._pieces.append(samples)
        self._words.append((sum(map(len, self._pieces)), len(self._text)))
        self._tell("output_audio.delta", delta=encoded(samples))

    def close(self, status: Literal["completed", "incomplete"] = "completed") -> None:
        """End the open message; nothing happens if none is open."""
        item = self._open
        if item is None:
            return
        part = self._part()
        if self.speaks:
            item.sound = np.concatenate([*self._pieces, np.zeros(0, np.int16)])
            item.words = self._words
            self._tell("output_audio.done")
            self._tell("output_audio_transcript.done", transcript=self._text)
        else:
            self._tell("output_text.done", text=self._text)
        self._tell("content_part.done", part=part)
        item.about["content"] = [{**part, "type": f"output_{part['type']}"}]
        self.made_text += text_tokens(self._text)
        self.made_audio += assistant_tokens(item.ms)
        self._open = None
        self._finish(item, status)

    def call(self, name: str, arguments: str, call_id: str) -> None:
        """Send a tool call, all of it; `arguments` is JSON."""
        item = self._add("function_call", name=name, arguments="", call_id=call_id)
        where = {
            "response_id": self.id,
            "item_id": item.id,
            "output_index": len(self.output) - 1,
            "call_id": call_id,
        }
        kind = "response.function_call_arguments"
        half = len(arguments) // 2
        for delta in (arguments[:half], arguments[half:]):
            self._author.tell(f"{kind}.delta", **where, delta=delta)
        self._author.tell(f"{kind}.done", **where, name=name, arguments=arguments)
        item.about["arguments"] = arguments
        self.made_text += text_tokens(name) + text_tokens(arguments)
        self._finish(item, "completed")

    def now(self, status: ResponseStatus | Literal["in_progress"]) -> JsonObject:
        """What it is now."""
        output = [copy.deepcopy(item.about) for item in self.output]
        return {**self._about, "output": output, "status": status, "status_details": None}

    def _add(self, kind: str, **fields: Any) -> KeptItem:
        about = {"id": self._author.new_id("item"), "object": "realtime.item"}
        item = KeptItem({**about, "type": kind, "status": "in_progress", **fields})
        self.output.append(item)
        self._output("added", item)
        if self.in_band:
            self._items.begin(item)
        return item

    def _finish(self, item: KeptItem, status: str) -> None:
        item.about["status"] = status
        self._items.finish(item)
        self._output("done", item)

    def _output(self, what: str, item: KeptItem) -> None:
        where = {"response_id": self.id, "output_index": len(self.output) - 1}
        about = copy.deepcopy(item.about)
        self._author.tell(f"response.output_item.{what}", **where, item=about)

    def _tell(self, kind: str, **fields: Any) -> None:
        assert self._open is not None, "no message is open"
        where = {"response_id": self.id, "item_id": self._open.id, "content_index": 0}
        where["output_index"] = len(self.output) - 1
        self._author.tell(f"response.{kind}", **where, **fields)

    def _part(self) -> JsonObject:
        if self.speaks:
            return {"type": "audio", "transcript": self._text}
        return {"type": "text", "text": self._text}


def user_tokens(ms: float) -> int:
    """Tokens of so much sound of the user: 1 each 100 ms."""
    return math.ceil(ms / 100)


def assistant_tokens(ms: float) -> int:
    """Tokens of so much sound of the assistant: 1 each 50 ms."""
    return math.ceil(ms / 50)


def text_tokens(text: str) -> int:
    """Tokens of a text: 4 characters each, which is about right for English."""
    return math.ceil(len(text) / 4)


class ReadPart(NamedTuple):
    """A part of what a model reads: its instructions, its tools, an item.

    Attributes:
        key: Another one if it changes.
        text: Tokens of text.
        audio: Tokens of sound.
    """

    key: str
    text: int = 0
    audio: int = 0

    @classmethod
    def of(cls, item: KeptItem) -> ReadPart:
        """What a model reads of an item."""
        text = audio = 0
        for part in item.about.get("content", []):
            text += text_tokens(part.get("transcript") or part.get("text") or "")
            if part["type"] == "input_audio":
                text, audio = 0, audio + user_tokens(item.ms)
            elif part["type"] == "output_audio":
                audio += assistant_tokens(item.ms)
        text += sum(text_tokens(item.about.get(k) or "") for k in ("name", "arguments", "output"))
        return cls(f"{item.id}/{item.cuts}", text, audio)


class Meter:
    """Counts the tokens of a connection's responses, one after the other.

    The whole conversation is read every time, says OpenAI's guide on costs of the Realtime API;
    what the response before it read too, up to the first change, is cached.
    """

    def __init__(self) -> None:
        self._read: list[ReadPart] = []

    def usage(self, read: Sequence[ReadPart], made_text: int, made_audio: int) -> JsonObject:
        """The usage of a response, as `response.done` has it.

        Args:
            read: What the model read.
            made_text: Tokens of text that it made: transcripts and arguments.
            made_audio: Tokens of sound that it made.
        """
        same = 0
        for old, new in zip(self._read, read, strict=False):
            if old.key != new.key:
                break
            same += 1
        self._read = list(read)
        details, cached = _tokens(read), _tokens(read[:same])
        made = {"text_tokens": made_text, "audio_tokens": made_audio}
        return {
            "total_tokens": sum(details.values()) + sum(made.values()),
            "input_tokens": sum(details.values()),
            "output_tokens": sum(made.values()),
            "input_token_details": {
                **details,
                "cached_tokens": sum(cached.values()),
                "cached_tokens_details": cached,
            },
            "output_token_details": made,
        }


def _tokens(read: Sequence[ReadPart]) -> dict[str, int]:
    text, audio = sum(part.text for part in read), sum(part.audio for part in read)
    return {"text_tokens": text, "audio_tokens": audio, "image_tokens": 0}


class ServerSide:
    """The server's side of one connection.

    Args:
        author: Writes its events.
        model: The model that answers.
        expires_at: Unix time when the session ends (s).
        asked: The model that the client asked for; it may say so again.
        tracing: What the session says of itself there, for good.

    Attributes:
        author: As given.
        session: The session object as it is now.
        items: What was said and done so far.
        buffer: Sound that is no item yet.
        active: The response to the conversation that is under way.
        spoke: Whether the client has heard the voice; set by who speaks.
        speech: Id of the item of the utterance that is under way; None: there is none.
    """

    def __init__(
        self,
        author: Author,
        model: str,
        expires_at: int,
        asked: str = "",
        tracing: Mapping[str, Any] | None = None,
    ) -> None:
        self.author = author
        self.session = new_session(author.new_id("sess"), model, expires_at)
        self.session["tracing"] = tracing
        self.items = Items(author)
        self.buffer = InputBuffer()
        self.active: RealtimeResponse | None = None
        self.spoke = False
        self.speech: str | None = None
        self._asked = asked
        self._began = 0
        self._meter = Meter()

    @property
    def detection(self) -> JsonObject | None:
        """The settings of turn detection; None: the client says itself when a turn is over."""
        found: JsonObject | None = self.session["audio"]["input"]["turn_detection"]
        return found

    def begin(self) -> None:
        """Greet the client."""
        self.author.tell("session.created", session=self.session)
        about = {"id": self.items.id, "object": "realtime.conversation"}
        self.author.tell("conversation.created", conversation=about)

    def receive(self, message: str | bytes) -> JsonObject | None:
        """Do what a client asks for, as far as that is the protocol's own.

        Returns:
            The client's event, for whoever hears and answers: the sound of
            `input_audio_buffer.append` (int16 in its field `audio`) is in the buffer,
            `input_audio_buffer.commit`, `response.create` and `response.cancel` can be done and are
            still to be done, everything else is done. None if it was refused, which was said.
        """
        event_id = None
        try:
            event = parse(message)
            event_id = event.get("event_id")
            self._do(event)
        except RequestRefused as refused:
            refused.event_id = refused.event_id or event_id
            self.author.refuse(refused)
            return None
        return event

    def speech_started(self, sample: int) -> None:
        """Say that the user began to speak, at that place in the stream."""
        self._began = sample
        self.speech = self.author.new_id("item")
        padding_ms = (self.detection or {}).get("prefix_padding_ms", 0)
        start_ms = max(0, sample * 1000 // RATE - padding_ms)
        kind = "input_audio_buffer.speech_started"
        self.author.tell(kind, item_id=self.speech, audio_start_ms=start_ms)

    def speech_stopped(self) -> KeptItem:
        """Say that the utterance under way is over, and commit it: all that was received."""
        assert self.speech is not None, "nobody speaks"
        kind, end_ms = "input_audio_buffer.speech_stopped", self.buffer.end * 1000 // RATE
        self.author.tell(kind, item_id=self.speech, audio_end_ms=end_ms)
        return self.commit()

    def commit(self) -> KeptItem:
        """Make an item of the utterance under way, or of all the sound that is no item yet."""
        item_id, start = self.speech, self._began
        if item_id is None:
            item_id, start = self.author.new_id("item"), self.buffer.start
        kind = "input_audio_buffer.committed"
        self.author.tell(kind, item_id=item_id, previous_item_id=self.items.last_id)
        padding_ms = (self.detection or {}).get("prefix_padding_ms", 0)
        about = {"id": item_id, "object": "realtime.item", "type": "message", "role": "user"}
        # Clients need `transcript` to be there, if only as null.
        content = [{"type": "input_audio", "transcript": None}]
        sound = self.buffer.between(start - padding_ms * RATE // 1000, self.buffer.end)
        item = KeptItem({**about, "status": "completed", "content": content}, sound)
        self.speech = None
        self.buffer.clear()
        self.items.begin(item)
        self.items.finish(item)
        return item

    def transcribed(self, item: KeptItem, text: str) -> None:
        """Say what an utterance was understood as, if the client wants that."""
        if self.session["audio"]["input"]["transcription"] is None:
            return
        item.about["content"][0]["transcript"] = text
        where: dict[str, Any] = {"item_id": item.id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        for place, word in enumerate(text.split(" ") if text else []):
            self.author.tell(f"{kind}.delta", **where, delta=f" {word}" if place else word)
        usage = {"type": "duration", "seconds": item.ms / 1000}
        self.author.tell(f"{kind}.completed", **where, transcript=text, usage=usage)

    def respond(self, options: JsonObject | None = None) -> RealtimeResponse:
        """A response, which is to be begun; `options` are those of `response.create`."""
        response = RealtimeResponse(self.author, self.session, options or {}, self.items)
        if response.in_band:
            self.active = response
        return response

    def end(self, response: RealtimeResponse, status: ResponseStatus, **details: Any) -> None:
        """End a response and say what it cost.

        Args:
            response: Which; an open message of it ends as incomplete.
            status: How it ended.
            details: `reason` for `cancelled` (`turn_detected`, `client_cancelled`) and
                `incomplete` (`max_output_tokens`, `content_filter`); `error` for `failed` (`type`,
                `code` and `message`).
        """
        response.close("incomplete")
        session = self.session
        told = [session["instructions"], json.dumps(session["tools"]) if session["tools"] else ""]
        read = [ReadPart(text, text_tokens(text)) for text in told]
        # A model does not read what it says itself.
        read += [ReadPart.of(item) for item in self.items.kept if item not in response.output]
        usage = self._meter.usage(read, response.made_text, response.made_audio)
        more = None if status == "completed" else {"type": status, **details}
        done = response.now(status) | {"status_details": more, "usage": usage}
        self.author.tell("response.done", response=done)
        if response is self.active:
            self.active = None

    def _do(self, event: JsonObject) -> None:
        match event["type"]:
            case "session.update":
                self._update(event["session"])
            case "input_audio_buffer.append":
                event["audio"] = sound_of(event)
                self.buffer.push(event["audio"])
            case "input_audio_buffer.commit" if len(self.buffer) * 1000 < LEAST_COMMIT_MS * RATE:
                has = len(self.buffer) * 1000 / RATE
                message = f"Error committing input audio buffer: it has only {has:.2f}ms of audio."
                message = f"{message} Expected at least {LEAST_COMMIT_MS}ms."
                raise RequestRefused("input_audio_buffer_commit_empty", message)
            case "input_audio_buffer.clear":
                self.buffer.clear()
                self.speech = None
                self.author.tell("input_audio_buffer.cleared")
            case "conversation.item.create":
                self.items.create(event)
            case "conversation.item.retrieve":
                self.items.retrieve(event["item_id"])
            case "conversation.item.delete":
                self.items.delete(event["item_id"])
            case "conversation.item.truncate":
                where = event["content_index"], event["audio_end_ms"]
                self.items.truncate(event["item_id"], *where)
            case "response.create" if self.active is not None:
                options = event.get("response") or {}
                if options.get("conversation", "auto") == "auto":
                    message = "Conversation already has an active response in progress."
                    message = f"{message} Wait until it is done, or cancel it."
                    raise RequestRefused("conversation_already_has_active_response", message)
            case "response.cancel":
                wanted = event.get("response_id")
                if self.active is None or wanted not in (None, self.active.id):
                    message = "Cancellation failed: no active response found."
                    raise RequestRefused("response_cancel_not_active", message)

    def _update(self, update: JsonObject) -> None:
        update = dict(update)
        if update.get("model") == self._asked:
            del update["model"]
        if self.session["tracing"] is not None:
            update.pop("tracing", None)
        self.session = updated(self.session, update, voice_fixed=self.spoke)
        self.author.tell("session.updated", session=self.session)
