"""The server's side of the Realtime protocol, without I/O: what it keeps, and what it tells.

A `ServerSide` does what is the protocol's own (the session's settings, the items of the
conversation, the sound that is no item yet), and says what is left to do: to hear and to answer.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, Protocol

from pipeline.audio import encoding
from pipeline.events import Samples
from pipeline.prompts import Prompts
from pipeline.serve.items import Encodings, Items, KeptItem, PartSound
from pipeline.serve.link import Author, Opening
from pipeline.serve.refused import INVALID_EVENT, RequestRefused, invalid
from pipeline.serve.requests import parse
from pipeline.serve.responses import (
    Meter,
    ReadPart,
    RealtimeResponse,
    ResponseStatus,
    settings,
    text_tokens,
)
from pipeline.serve.session_object import (
    JsonObject,
    check_choice,
    check_language,
    new_session,
    overlaid,
    prompted,
    updated,
)
from pipeline.serve.sound import (
    MOST_BUFFERED_S,
    RATE,
    InputBuffer,
    SoundIn,
    seconds,
    unpacked,
)

LEAST_COMMIT_MS = 100
"""A commit by the client needs so much sound."""

PADDING_MS = 300
"""So much from before an utterance belongs to its item, where the session does not say."""

PIECE_BYTES = 1 << 16
"""So much of a client's sound is taken at once: a few milliseconds of work."""

MOST_RESPONSES = 16
"""Responses of a session under way at the same time, most of them out of band."""

_OF_CONVERSATION = ("response.", "conversation.item.create", "conversation.item.truncate")
"""What these events ask for is no business of a transcription session."""


NO_MCP = "is mcp, and this server connects to no MCP server: give its tools as functions"


class Remote(Protocol):
    """What connects to MCP servers."""

    def admit(self, tool: JsonObject, param: str) -> JsonObject:
        """See that a server may be connected to; gives what is told of it, without secrets.

        Raises:
            RequestRefused: It may not; `param` is where it stands.
        """
        ...

    def waits_for(self, approval_request_id: str) -> bool:
        """Whether that is a call that the client has still to approve."""
        ...


class ServerSide:
    """The server's side of one connection.

    Args:
        author: Writes its events.
        model: The model that answers.
        expires_at: Unix time when the session ends (s).
        opening: What the client asked for when it connected.
        tracing: What the session says of itself there, for good.
        begins: Fields of a conversation that hold until the client says something else.
        ears: Hz, of the sound that is given to who hears.
        prompts: That the client may name.
        languages: Codes of what speech may be transcribed from; empty: of any.

    Attributes:
        author: As given.
        session: The session object as it is now.
        items: What was said and done so far.
        buffer: Sound that is no item yet.
        responses: Those under way, by id.
        active: The response to the conversation that is under way.
        spoke: Whether the client has heard the voice; set by who speaks.
        speech: Id of the item of the utterance that is under way; None: there is none.
        remote: Connects to MCP servers; None: nothing does.
    """

    def __init__(
        self,
        author: Author,
        model: str,
        expires_at: int,
        opening: Opening | None = None,
        *,
        tracing: JsonObject | None = None,
        begins: JsonObject | None = None,
        ears: int = RATE,
        prompts: Prompts | None = None,
        languages: Collection[str] = (),
    ) -> None:
        opening = opening or Opening()
        self.author = author
        session_id = author.new_id("sess")
        self.session = new_session(session_id, model, expires_at, opening.intent, tracing, begins)
        self.items = Items(author)
        self.buffer = InputBuffer()
        self.responses: dict[str, RealtimeResponse] = {}
        self.active: RealtimeResponse | None = None
        self.spoke = False
        self.speech: str | None = None
        self.remote: Remote | None = None
        self._asked = opening.model
        self._given = opening.session
        self._began = 0
        self._meter = Meter()
        self._ears = ears
        self._prompts = prompts or Prompts()
        self._languages = languages
        self._in = self._ear()
        self._transcripts: dict[str, str] = {}

    @property
    def answers(self) -> bool:
        """Whether this is a conversation; else what is said is written down, no more."""
        return bool(self.session["type"] == "realtime")

    @property
    def detection(self) -> JsonObject | None:
        """The settings of turn detection; None: the client says itself when a turn is over."""
        found: JsonObject | None = self.session["audio"]["input"]["turn_detection"]
        return found

    @property
    def transcription(self) -> JsonObject | None:
        """The settings of transcription; None: the client wants none."""
        found: JsonObject | None = self.session["audio"]["input"]["transcription"]
        return found

    def begin(self) -> None:
        """Greet the client; the session is as its key was made, or it says why it is not."""
        refused = None
        if self._given:
            try:
                self.session = self._updated({"type": self.session["type"], **self._given})
            except RequestRefused as problem:
                refused = problem
            self._in = self._ear()
        self.author.tell("session.created", session=self.session)
        about = {"id": self.items.id, "object": "realtime.conversation"}
        self.author.tell("conversation.created", conversation=about)
        if refused is not None:
            self.author.refuse(refused)

    def receive(self, message: str | bytes) -> JsonObject | None:
        """Do what a client asks for, as far as that is the protocol's own.

        Returns:
            The client's event, for whoever hears and answers; None if it was refused, which was
            said. What is still to be done:

            - `input_audio_buffer.append`: to hear `audio`, pieces of int16 at the rate of the ears,
              each with the seconds that follow it. A piece is taken when it is asked for, so that
              others have their turn in between: a message may hold minutes.
            - `input_audio_buffer.commit`: to hear `audio`, int16; and then to make an item of what
              is in the buffer (`commit`, or `speech_stopped` if there is an utterance).
            - `conversation.item.create`: nothing; the item has `id` in any case.
            - `response.create`: to `respond` with `response`, at once, and to make the response.
            - `response.cancel`: to `end` the response of `response_id`, which is under way.

            Everything else is done.
        """
        event_id = None
        try:
            event = parse(message)
            event_id = event.get("event_id")
            self._do(event)
        except RequestRefused as refused:
            if refused.event_id is None:
                refused.event_id = event_id
            self.author.refuse(refused)
            return None
        return event

    def speech_started(self, sample: int) -> None:
        """Say that the user began to speak, at that place in the stream (samples at 24 kHz)."""
        self._began = sample
        self.speech = self.items.new_id()
        start_ms = max(0, sample * 1000 // RATE - self._padding_ms)
        kind = "input_audio_buffer.speech_started"
        self.author.tell(kind, item_id=self.speech, audio_start_ms=start_ms)

    def speech_stopped(self, end: int | None = None) -> KeptItem:
        """Say that the utterance under way is over, and commit it.

        Args:
            end: Place in the stream (samples at 24 kHz) up to which it was heard; None: all that
                was received.
        """
        assert self.speech is not None, "nobody speaks"
        end = self.buffer.end if end is None else end
        kind = "input_audio_buffer.speech_stopped"
        self.author.tell(kind, item_id=self.speech, audio_end_ms=end * 1000 // RATE)
        return self.commit(end)

    def timed_out(self, since: int) -> KeptItem:
        """Say that nobody spoke for `idle_timeout_ms`, and commit that silence.

        Args:
            since: Place in the stream (samples at 24 kHz) when the last reply had been played.
        """
        assert self.speech is None, "somebody speaks"
        self.speech, self._began = self.items.new_id(), since
        self.author.tell(
            "input_audio_buffer.timeout_triggered",
            item_id=self.speech,
            audio_start_ms=since * 1000 // RATE,
            audio_end_ms=self.buffer.end * 1000 // RATE,
        )
        return self.commit()

    def commit(self, end: int | None = None) -> KeptItem:
        """Make an item of the utterance under way, or of all the sound that is no item yet.

        Args:
            end: Place in the stream after which sound is of no item yet; None: all that was
                received is of this one.
        """
        end = self.buffer.end if end is None else end
        item_id, start = self.speech, self._began
        if item_id is None:
            item_id, start = self.items.new_id(), self.buffer.start
        kind = "input_audio_buffer.committed"
        self.author.tell(kind, item_id=item_id, previous_item_id=self.items.last_id)
        about: JsonObject = {"id": item_id, "object": "realtime.item", "type": "message"}
        # Clients need `transcript` to be there, if only as null.
        content = [{"type": "input_audio", "transcript": None}]
        sound = self.buffer.between(start - self._padding_ms * RATE // 1000, end)
        about |= {"role": "user", "status": "completed", "content": content}
        item = KeptItem(about, {0: PartSound(sound)})
        self.speech = None
        self.buffer.forget(end)
        self.items.begin(item)
        self.items.finish(item)
        return item

    def transcribing(self, item_id: str, delta: str) -> None:
        """Send more of what an utterance is understood as, if the client wants that.

        Args:
            item_id: Of the utterance that is under way, or of its item.
            delta: What follows what was told; it is not taken back.
        """
        if self.transcription is not None and delta:
            self._transcripts[item_id] = self._transcripts.get(item_id, "") + delta
            self._transcription("delta", item_id, delta=delta)

    def transcribed(self, item: KeptItem, text: str, part: int = 0) -> None:
        """Say what an utterance was understood as, if the client wants that.

        Args:
            item: It; nothing is said of one that was deleted.
            text: All that was said.
            part: Which of the item's parts.
        """
        told = self._transcripts.get(item.id, "")
        if self.transcription is None or item not in self.items.kept:
            self._transcripts.pop(item.id, None)
            return
        if text.startswith(told):
            self.transcribing(item.id, text[len(told) :])
        self._transcripts.pop(item.id, None)
        item.about["content"][part]["transcript"] = text
        usage = {"type": "duration", "seconds": item.ms / 1000}
        self._transcription("completed", item.id, part, transcript=text, usage=usage)

    def transcription_failed(self, item: KeptItem, message: str, part: int = 0) -> None:
        """Say that it is not known what an utterance says, and why."""
        self._transcripts.pop(item.id, None)
        if self.transcription is not None and item in self.items.kept:
            error = {"type": "server_error", "code": "transcription_failed", "message": message}
            self._transcription("failed", item.id, part, error=error)

    def respond(self, options: JsonObject | None = None) -> RealtimeResponse:
        """A response, which is to be begun; `options` are those of `response.create`."""
        options = options or {}
        response = RealtimeResponse(
            self.author, self.session, options, self.items, options.get("input")
        )
        self.responses[response.id] = response
        if response.in_band:
            self.active = response
        return response

    def end(
        self,
        response: RealtimeResponse,
        status: ResponseStatus,
        *,
        usage: JsonObject | None = None,
        **details: Any,
    ) -> None:
        """End a response and say what it cost.

        Args:
            response: Which; an open message or call of it ends as incomplete.
            status: How it ended.
            usage: What it cost; None: as OpenAI counts.
            details: `reason` for `cancelled` (`turn_detected`, `client_cancelled`) and
                `incomplete` (`max_output_tokens`, `content_filter`); `error` for `failed` (`type`,
                `code` and `message`).
        """
        response.begin()
        response.close("incomplete")
        more = None if status == "completed" else {"type": status, **details}
        done = response.now(status)
        done |= {"status_details": more, "usage": usage or self._counted(response)}
        self.author.tell("response.done", response=done)
        self.responses.pop(response.id, None)
        if response is self.active:
            self.active = None
        left = MOST_RESPONSES - len(self.responses)
        # It comes back when a response is done, and not after a time.
        limit = {"name": "requests", "limit": MOST_RESPONSES, "remaining": left, "reset_seconds": 0}
        self.author.tell("rate_limits.updated", rate_limits=[limit])

    def _counted(self, response: RealtimeResponse) -> JsonObject:
        """What a response cost, as OpenAI counts."""
        told = [response.settings["instructions"]]
        told += [json.dumps(tools) if (tools := response.settings["tools"]) else ""]
        read = [ReadPart(text, text_tokens(text)) for text in told]
        read += [ReadPart.of(item) for item in response.read]
        return self._meter.usage(read, response.made_text, response.made_audio)

    def expire(self) -> None:
        """Say that the session is over, because it is `expires_at`; the connection is to close."""
        message = "Your session hit its maximum duration: connect again to go on."
        self.author.refuse(RequestRefused("session_expired", message))

    @property
    def _padding_ms(self) -> int:
        return int((self.detection or {}).get("prefix_padding_ms", PADDING_MS))

    @property
    def _encodings(self) -> Encodings:
        audio, pcm = self.session["audio"], encoding.Encoding()
        return {f"{side}_audio": encoding.read(audio, side, pcm) for side in ("input", "output")}

    def _ear(self) -> SoundIn:
        return SoundIn(self._encodings["input_audio"], RATE, self._ears)

    def _do(self, event: JsonObject) -> None:
        kind = event["type"]
        if not self.answers and kind.startswith(_OF_CONVERSATION):
            message = f"'{kind}' is no event of a transcription session: nothing is answered there."
            raise RequestRefused(INVALID_EVENT, message, "type")
        match kind:
            case "session.update":
                self._update(event["session"])
            case "input_audio_buffer.append":
                event["audio"] = self._append(unpacked(event["audio"]))
            case "input_audio_buffer.commit":
                self._check_commit()
                event["audio"] = self._end_stream()
            case "input_audio_buffer.clear":
                self._in = self._ear()
                self.buffer.clear()
                self._transcripts.pop(self.speech or "", None)
                self.speech = None
                self.author.tell("input_audio_buffer.cleared")
            case "conversation.item.create":
                if self.speech is not None and event["item"].get("id") == self.speech:
                    raise invalid("item.id", "is taken by what is being said")
                if event["item"]["type"] == "mcp_approval_response":
                    self._check_approval(event["item"]["approval_request_id"])
                event["item"]["id"] = self.items.create(event, self._encodings).id
            case "conversation.item.retrieve":
                self.items.retrieve(event["item_id"], self._encodings)
            case "conversation.item.delete":
                self.items.delete(event["item_id"])
            case "conversation.item.truncate":
                where = event["content_index"], event["audio_end_ms"]
                self.items.truncate(event["item_id"], *where)
            case "response.create":
                self._check_response(event["response"])
            case "response.cancel":
                event["response_id"] = self._to_cancel(event.get("response_id"))

    def _check_approval(self, request_id: str) -> None:
        if self.remote is None or not self.remote.waits_for(request_id):
            raise invalid("item.approval_request_id", "is of no call that waits for approval")

    def _updated(self, update: JsonObject) -> JsonObject:
        update = dict(update)
        if self.answers:
            # Clients name it again, and those that have connected without one name it here.
            if isinstance(model := update.get("model"), str) and self._asked in ("", model):
                self._asked = update.pop("model")
            if self.session["tracing"] is not None:
                update.pop("tracing", None)
            if update.pop("extensions", None):
                # So says the client of Hugging Face's speech-to-speech, whose server tells unasked
                # what the user said. None of its extensions is known here.
                heard: JsonObject = {"input": {"transcription": {}}}
                update["audio"] = overlaid(heard, update.get("audio", {}))
            update = prompted(update, self._prompts, "session.")
        fixed = {"voice_fixed": self.spoke, "speed_fixed": self.active is not None}
        session = updated(self.session, update, **fixed)
        check_language(session, self._languages)
        if self.answers:
            session["tools"] = self._admitted(session["tools"], "session.")
        return session

    def _admitted(self, tools: list[JsonObject], prefix: str) -> list[JsonObject]:
        """Tools, of which those of MCP servers may be used, without what is secret of them."""
        found, labels = [], set[str]()
        for place, tool in enumerate(tools):
            param = f"{prefix}tools[{place}]"
            if tool["type"] == "mcp":
                if self.remote is None:
                    raise invalid(f"{param}.type", NO_MCP)
                if tool["server_label"] in labels:
                    raise invalid(f"{param}.server_label", "is there twice")
                labels.add(tool["server_label"])
                tool = self.remote.admit(tool, param)
            found.append(tool)
        return found

    def _update(self, update: JsonObject) -> None:
        self.session = self._updated(update)
        if self._encodings["input_audio"] != self._in.encoding:
            self._end_stream()
            self._in = self._ear()
        self.author.tell("session.updated", session=self.session)

    def _append(self, data: bytes) -> Iterator[tuple[Samples, float]]:
        """Take more of the client's sound; gives it for the ears."""
        new_s, held_s = seconds(data, self._in.encoding), len(self.buffer) / RATE
        # Where turns are found, it is the oldest that goes: it must not become deaf.
        if new_s + (held_s if self.detection is None else 0) > MOST_BUFFERED_S:
            message = f"The input audio buffer holds at most {MOST_BUFFERED_S} seconds of audio."
            message = f"{message} Commit or clear it, or send less at a time."
            raise RequestRefused("input_audio_buffer_full", message, "audio")
        return self._taken(data)

    def _taken(self, data: bytes) -> Iterator[tuple[Samples, float]]:
        encoding = self._in.encoding
        for end in range(PIECE_BYTES, len(data) + PIECE_BYTES, PIECE_BYTES):
            sound = self._in.push(data[end - PIECE_BYTES : end])
            self.buffer.push(sound[RATE])
            self.buffer.forget(self.buffer.end - MOST_BUFFERED_S * RATE)
            yield sound[self._ears], max(0, len(data) - end) / encoding.width / encoding.rate

    def _check_commit(self) -> None:
        """See that there is something to commit."""
        has_ms = len(self.buffer) * 1000 / RATE
        if has_ms < LEAST_COMMIT_MS:
            message = f"Error committing input audio buffer: it has only {has_ms:.2f}ms of audio."
            message = f"{message} Expected at least {LEAST_COMMIT_MS}ms."
            raise RequestRefused("input_audio_buffer_commit_empty", message)

    def _end_stream(self) -> Samples:
        """End a stream of sound: what was held back of it, for the ears."""
        rest = self._in.flush()
        self.buffer.push(rest[RATE])
        return rest[self._ears]

    def _check_response(self, options: JsonObject) -> None:
        """See that a response can be begun; what it is to read becomes items."""
        if options.get("conversation", "auto") == "auto" and self.active is not None:
            message = "Conversation already has an active response in progress."
            message = f"{message} Wait until it is done, or cancel it."
            raise RequestRefused("conversation_already_has_active_response", message)
        options.update(prompted(options, self._prompts, "response."))
        if len(self.responses) >= MOST_RESPONSES:
            message = f"{MOST_RESPONSES} responses are in progress: wait until one is done."
            raise RequestRefused("rate_limit_exceeded", message)
        check_choice(settings(self.session, options), "response.")
        if "tools" in options:
            options["tools"] = self._admitted(options["tools"], "response.")
        if (given := options.get("input")) is not None:
            read = [self._read(item, f"response.input[{i}]") for i, item in enumerate(given)]
            options["input"] = read

    def _read(self, item: JsonObject, param: str) -> KeptItem:
        """An item that a response is to read."""
        if item["type"] != "item_reference":
            return KeptItem.given(item, self.items.new_id(), self._encodings, param)
        found = self.items.get(item["id"])
        if found is None:
            raise invalid(f"{param}.id", "is of no item of the conversation")
        return found

    def _to_cancel(self, wanted: str | None) -> str:
        """The id of the response that is to be cancelled: the one wanted, or the active one."""
        found = self.active if wanted is None else self.responses.get(wanted)
        if found is None:
            message = "Cancellation failed: no active response found."
            raise RequestRefused("response_cancel_not_active", message)
        return found.id

    def _transcription(self, what: str, item_id: str, part: int = 0, **fields: Any) -> None:
        kind = f"conversation.item.input_audio_transcription.{what}"
        self.author.tell(kind, item_id=item_id, content_index=part, **fields)
