"""A response as it grows: each step gives the events to send, in the order of the protocol."""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy as np

from pipeline.events import Samples
from pipeline.realtime.conversation import RATE, Conversation
from pipeline.realtime.events import Author, Event, encoded
from pipeline.realtime.usage import assistant_tokens, text_tokens

Status = Literal["completed", "cancelled", "failed", "incomplete"]


class Response:
    """One response: `created`, then `open`, `text`, `audio`, `close` and `call`, then `done`.

    Args:
        author: Writes the session's events.
        session: The session as it is now.
        options: The field `response` of the client's `response.create`; empty for one that the
            server begins itself.
        conversation: Where its items go; also what it belongs to unless it is `conversation: none`.

    Attributes:
        id: Its id.
        in_band: Its items become part of the conversation.
        output: Its items so far.
        is_done: `done` was called.
    """

    def __init__(
        self, author: Author, session: Event, options: Event, conversation: Conversation
    ) -> None:
        self._author = author
        self._conversation = conversation
        self.id = author.new_id("resp")
        self.in_band = options.get("conversation", "auto") == "auto"
        self.output: list[Event] = []
        self.is_done = False
        audio = session["audio"]["output"] | (options.get("audio") or {}).get("output", {})
        self._about: Event = {
            "object": "realtime.response",
            "id": self.id,
            "conversation_id": conversation.id if self.in_band else None,
            "output_modalities": options.get("output_modalities", session["output_modalities"]),
            "max_output_tokens": options.get("max_output_tokens", session["max_output_tokens"]),
            "audio": {"output": {"format": audio["format"], "voice": audio["voice"]}},
            "metadata": options.get("metadata"),
        }
        self._open: Event | None = None
        self._text = ""
        self._pieces: list[Samples] = []
        self._words: list[tuple[int, int]] = []
        self._heard = 0
        self._made_text = 0
        self._made_audio = 0

    @property
    def speaks(self) -> bool:
        """It answers with sound, not with text."""
        return bool(self._about["output_modalities"] == ["audio"])

    @property
    def made(self) -> tuple[int, int]:
        """Tokens of text and of sound that it made so far."""
        return self._made_text, self._made_audio

    def created(self) -> list[Event]:
        """It begins."""
        return [self._author.event("response.created", response=self._now("in_progress"))]

    def open(self) -> list[Event]:
        """A message begins, still empty."""
        item = self._author.item("message", "in_progress", role="assistant", content=[])
        events = self._begin(item)
        self._open, self._text = item, ""
        self._pieces, self._words, self._heard = [], [], 0
        events.append(
            self._event("response.content_part.added", content_index=0, part=self._part())
        )
        return events

    def text(self, delta: str) -> list[Event]:
        """More of the open message's words."""
        self._text += delta
        kind = "output_audio_transcript" if self.speaks else "output_text"
        return [self._event(f"response.{kind}.delta", content_index=0, delta=delta)]

    def audio(self, samples: Samples) -> list[Event]:
        """More of the open message's sound: int16 at 24 kHz; all words so far are spoken in it."""
        self._pieces.append(samples)
        self._heard += len(samples)
        self._words.append((self._heard, len(self._text)))
        delta = encoded(samples)
        return [self._event("response.output_audio.delta", content_index=0, delta=delta)]

    def close(self, status: Literal["completed", "incomplete"] = "completed") -> list[Event]:
        """The open message is over; nothing if none is open."""
        item = self._open
        if item is None:
            return []
        sound = np.concatenate([*self._pieces, np.zeros(0, np.int16)])
        self._made_text += text_tokens(self._text)
        self._made_audio += assistant_tokens(len(sound) * 1000 / RATE)
        events = []
        if self.speaks:
            self._conversation.keep_sound(item["id"], sound, self._words)
            events.append(self._event("response.output_audio.done", content_index=0))
            kind, field = "response.output_audio_transcript.done", "transcript"
        else:
            kind, field = "response.output_text.done", "text"
        events.append(self._event(kind, content_index=0, **{field: self._text}))
        part = self._part()
        events.append(self._event("response.content_part.done", content_index=0, part=part))
        item["content"] = [{**part, "type": f"output_{part['type']}"}]
        self._open = None
        return events + self._finish(item, status)

    def call(self, name: str, arguments: str, call_id: str) -> list[Event]:
        """A tool call, all of it."""
        item = self._author.item(
            "function_call", "in_progress", name=name, arguments="", call_id=call_id
        )
        events = self._begin(item)
        where = {
            "response_id": self.id,
            "item_id": item["id"],
            "output_index": len(self.output) - 1,
            "call_id": call_id,
        }
        kind = "response.function_call_arguments"
        half = len(arguments) // 2
        for delta in (arguments[:half], arguments[half:]):
            events.append(self._author.event(f"{kind}.delta", **where, delta=delta))
        done = {"name": name, "arguments": arguments}
        events.append(self._author.event(f"{kind}.done", **where, **done))
        item["arguments"] = arguments
        self._made_text += text_tokens(name) + text_tokens(arguments)
        return events + self._finish(item, "completed")

    def done(
        self,
        status: Status,
        usage: Event,
        *,
        reason: str | None = None,
        error: Event | None = None,
    ) -> list[Event]:
        """It is over: what is open is closed as incomplete.

        Args:
            status: How it ended.
            usage: From a `Meter`.
            reason: For `cancelled`: `turn_detected` or `client_cancelled`; for `incomplete`:
                `max_output_tokens` or `content_filter`.
            error: For `failed`: `type`, `code` and `message`.
        """
        events = self.close("incomplete")
        self.is_done = True
        details: Event | None = None
        if status != "completed":
            details = {"type": status, "reason": reason, "error": error}
            details = {key: value for key, value in details.items() if value is not None}
        response = self._now(status) | {"status_details": details, "usage": usage}
        return [*events, self._author.event("response.done", response=response)]

    def _begin(self, item: Event) -> list[Event]:
        self.output.append(item)
        events = [self._output("response.output_item.added", item)]
        if self.in_band:
            events.append(self._conversation.begin(item))
        return events

    def _finish(self, item: Event, status: str) -> list[Event]:
        item["status"] = status
        events = [self._conversation.finish(item)] if self._is_kept(item) else []
        return [*events, self._output("response.output_item.done", item)]

    def _is_kept(self, item: Event) -> bool:
        """The item is in the conversation; a client may have deleted it as it grew."""
        return any(item is each for each in self._conversation.items)

    def _output(self, kind: str, item: Event) -> Event:
        index = len(self.output) - 1
        item = copy.deepcopy(item)
        return self._author.event(kind, response_id=self.id, output_index=index, item=item)

    def _event(self, kind: str, **fields: Any) -> Event:
        item = self._open
        assert item is not None, "no message is open"
        where = {
            "response_id": self.id,
            "item_id": item["id"],
            "output_index": len(self.output) - 1,
        }
        return self._author.event(kind, **where, **fields)

    def _part(self) -> Event:
        if self.speaks:
            return {"type": "audio", "transcript": self._text}
        return {"type": "text", "text": self._text}

    def _now(self, status: str) -> Event:
        output = copy.deepcopy(self.output)
        rest = {"output": output, "status": status, "status_details": None, "usage": None}
        return {**self._about, **rest}
