"""A response as it grows, and the events that tell of it in the order that clients rely on."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from pipeline.audio import encoding
from pipeline.events import Samples, Usage
from pipeline.serve.items import Items, KeptItem, PartSound
from pipeline.serve.link import Author
from pipeline.serve.requests import MOST_METADATA, MOST_VALUE
from pipeline.serve.session_object import JsonObject
from pipeline.serve.sound import RATE, SoundOut

ResponseStatus = Literal["completed", "cancelled", "failed", "incomplete"]

PIECE = 12
"""Characters of a call's arguments in one event."""

_SETTINGS = (
    "instructions",
    "output_modalities",
    "tools",
    "tool_choice",
    "max_output_tokens",
    "parallel_tool_calls",
    "reasoning",
    "prompt",
)


def user_tokens(ms: float) -> int:
    """Tokens of so much sound of the user: 1 each 100 ms."""
    return math.ceil(ms / 100)


def assistant_tokens(ms: float) -> int:
    """Tokens of so much sound of the assistant: 1 each 50 ms."""
    return math.ceil(ms / 50)


def text_tokens(text: str) -> int:
    """Tokens of a text: 4 characters each, which is about right for English."""
    return math.ceil(len(text) / 4)


def cost(used: Usage, made_audio: int) -> JsonObject:
    """The usage of a response, as `response.done` has it. Pure.

    The text is what the language model counts; the voice's sound counts as OpenAI's does.

    Args:
        used: By the language model.
        made_audio: Tokens of sound.
    """
    return _usage(
        _kinds(used.input_tokens), _kinds(used.cached_tokens), used.output_tokens, made_audio
    )


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
        for place, part in enumerate(item.about.get("content", [])):
            ms = item.sounds[place].ms if place in item.sounds else 0
            if part["type"] == "input_audio":
                audio += user_tokens(ms)
                continue
            text += text_tokens(part.get("transcript") or part.get("text") or "")
            audio += assistant_tokens(ms)
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
        return _usage(_tokens(read), _tokens(read[:same]), made_text, made_audio)


def _tokens(read: Sequence[ReadPart]) -> dict[str, int]:
    return _kinds(sum(part.text for part in read), sum(part.audio for part in read))


def _kinds(text: int, audio: int = 0) -> dict[str, int]:
    return {"text_tokens": text, "audio_tokens": audio, "image_tokens": 0}


def _usage(
    details: dict[str, int], cached: dict[str, int], made_text: int, made_audio: int
) -> JsonObject:
    """The usage of a response: what was read, what of that was cached, and what was made."""
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


def settings(session: JsonObject, options: JsonObject) -> JsonObject:
    """What holds for a response: the session's settings, but for what its options say.

    Args:
        session: The session as it is now.
        options: The field `response` of a `response.create`, as `parse` gave it.
    """
    found = {name: options.get(name, session[name]) for name in _SETTINGS}
    spoken = session["audio"]["output"] | options.get("audio", {}).get("output", {})
    return {**found, "audio": {"output": spoken}}


class RealtimeResponse:
    """One response, which is begun, and then has messages and tool calls, one after the other.

    A message is `open`, `text` and `audio`, a call is `open_call` and `arguments`; `close` ends it.

    Args:
        author: Writes the connection's events.
        session: The session as it is now.
        options: The field `response` of the client's `response.create`; empty for one that the
            server begins itself.
        items: Where its items go; also what it belongs to unless it is `conversation: none`.
        given: What it is to read instead of the conversation; None: the conversation.

    Attributes:
        id: Its id.
        in_band: Its items become part of the conversation.
        speaks: It answers with sound, not with text.
        given: As given.
        settings: What holds for it: instructions, tools, `audio.output` and so on.
        output: Its items so far.
        made_text: Tokens of text that it made so far.
        made_audio: Tokens of sound that it made so far.
    """

    def __init__(
        self,
        author: Author,
        session: JsonObject,
        options: JsonObject,
        items: Items,
        given: Sequence[KeptItem] | None = None,
    ) -> None:
        self._author = author
        self._items = items
        self.given = given
        self.id = author.new_id("resp")
        self.in_band = options.get("conversation", "auto") == "auto"
        self.settings = settings(session, options)
        self.output: list[KeptItem] = []
        self.made_text = self.made_audio = 0
        spoken = self.settings["audio"]["output"]
        voice = spoken["voice"]
        # A response's voice is a name in the clients' types, never an object.
        name = voice if isinstance(voice, str) else voice["id"]
        self._about: JsonObject = {
            "object": "realtime.response",
            "id": self.id,
            "conversation_id": items.id if self.in_band else None,
            "output_modalities": self.settings["output_modalities"],
            "max_output_tokens": self.settings["max_output_tokens"],
            "audio": {"output": {"format": spoken["format"], "voice": name}},
            "metadata": options.get("metadata"),
            "usage": None,
        }
        self.speaks = self._about["output_modalities"] == ["audio"]
        self._encoding = encoding.read(self._about["audio"], "output", encoding.Encoding())
        self._has_begun = False
        self._open: KeptItem | None = None
        self._text = ""
        self._out = SoundOut(self._encoding)
        self._samples = 0

    @property
    def read(self) -> list[KeptItem]:
        """What it reads: what it was given, or the conversation, without what it says itself."""
        kept = self._items.kept if self.given is None else self.given
        return [item for item in kept if item not in self.output]

    def begin(self) -> None:
        """Say that it begins; nothing happens if that was said."""
        if self._has_begun:
            return
        self._has_begun = True
        self._author.tell("response.created", response=self.now("in_progress"))

    def open(self) -> None:
        """Begin a message, still empty; what is open is closed first."""
        self._begin("message", role="assistant", content=[])
        assert self._open is not None
        part = self._part()
        self._open.about["content"] = [{**part, "type": f"output_{part['type']}"}]
        if self.speaks:
            self._open.sounds[0] = PartSound(np.zeros(0, np.int16))
        self._out, self._samples = SoundOut(self._encoding), 0
        self._tell("content_part.added", content_index=0, part=part)

    def text(self, delta: str) -> None:
        """Send more of the open message's words."""
        self._grow(delta, "transcript" if self.speaks else "text")
        kind = "output_audio_transcript" if self.speaks else "output_text"
        self._tell(f"{kind}.delta", content_index=0, delta=delta)

    def audio(self, samples: Samples) -> None:
        """Send more of the open message's sound, int16 at 24 kHz; all words so far are in it."""
        assert self._open is not None, "no message is open"
        self._samples += len(samples)
        # What was truncated while it grew has its end.
        if not self._open.cuts:
            self._open.sounds[0].add(samples, len(self._text))
        self._sound(self._out.push(samples))

    def open_call(self, name: str, call_id: str) -> None:
        """Begin a tool call, without arguments; what is open is closed first."""
        self._begin("function_call", name=name, arguments="", call_id=call_id)

    def arguments(self, delta: str) -> None:
        """Send more of the open call's arguments, which are JSON when all are there."""
        assert self._open is not None, "no call is open"
        self._text += delta
        self._open.about["arguments"] = self._text
        call_id = self._open.about["call_id"]
        self._tell("function_call_arguments.delta", call_id=call_id, delta=delta)

    def call(self, name: str, arguments: str, call_id: str) -> None:
        """Send a whole tool call; `arguments` is JSON."""
        self.open_call(name, call_id)
        self.arguments(arguments)
        self.close()

    def remote_call(self, label: str, name: str, arguments: str) -> tuple[KeptItem, int]:
        """Send a whole call that the server makes itself, of an MCP server; its result comes later.

        Returns:
            Its item, and its place in the output.
        """
        about = {"server_label": label, "name": name, "arguments": ""}
        self._begin("mcp_call", **about, output=None, error=None, approval_request_id=None)
        item = self._open
        assert item is not None
        for start in range(0, len(arguments), PIECE):
            # JavaScript's client ignores a delta without `obfuscation`.
            delta = {"delta": arguments[start : start + PIECE], "obfuscation": ""}
            self._tell("mcp_call_arguments.delta", **delta)
        item.about["arguments"] = arguments
        self._tell("mcp_call_arguments.done", arguments=arguments)
        self.made_text += text_tokens(name + arguments)
        self._open = None
        self._output("done", item)
        return item, len(self.output) - 1

    def close(self, status: Literal["completed", "incomplete"] = "completed") -> None:
        """End the open message or call; nothing happens if none is open."""
        item = self._open
        if item is None:
            return
        self.made_text += text_tokens(self._text)
        if item.about["type"] == "function_call":
            self._close_call(item, status)
        else:
            self._close_message()
        self._open = None
        item.about["status"] = status
        if self.in_band:
            self._items.finish(item)
        self._output("done", item)

    def stamp(self, values: Mapping[str, str]) -> None:
        """Put values into the metadata of `response.done`; the client's own go first.

        What the protocol has no room for is left out: more than 16 pairs.
        """
        own = self._about["metadata"] or {}
        room = MOST_METADATA - len(own)
        new = [(name, value) for name, value in values.items() if name not in own][:room]
        self._about["metadata"] = own | {name: value[:MOST_VALUE] for name, value in new}

    def now(self, status: ResponseStatus | Literal["in_progress"]) -> JsonObject:
        """What it is now."""
        output = [item.told() for item in self.output]
        about = copy.deepcopy(self._about)
        return {**about, "output": output, "status": status, "status_details": None}

    def _begin(self, kind: str, **fields: Any) -> None:
        """Begin an item."""
        self.close()
        about = {"id": self._items.new_id(), "object": "realtime.item"}
        item = KeptItem({**about, "type": kind, "status": "in_progress", **fields})
        self.output.append(item)
        self._output("added", item)
        if self.in_band:
            self._items.begin(item)
        self._open, self._text = item, ""

    def _grow(self, delta: str, field: str) -> None:
        assert self._open is not None, "no message is open"
        self._text += delta
        if not self._open.cuts:
            self._open.about["content"][0][field] = self._text

    def _sound(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            self._tell("output_audio.delta", content_index=0, delta=piece)

    def _close_message(self) -> None:
        part = self._part()
        if self.speaks:
            self._sound(self._out.flush())
            self._tell("output_audio.done", content_index=0)
            self._tell("output_audio_transcript.done", content_index=0, transcript=self._text)
        else:
            self._tell("output_text.done", content_index=0, text=self._text)
        self._tell("content_part.done", content_index=0, part=part)
        self.made_audio += assistant_tokens(self._samples * 1000 / RATE)

    def _close_call(self, item: KeptItem, status: str) -> None:
        name, call_id = item.about["name"], item.about["call_id"]
        self.made_text += text_tokens(name)
        # Clients take this event for a call that is to be done.
        if status == "completed":
            told = {"name": name, "arguments": self._text}
            self._tell("function_call_arguments.done", call_id=call_id, **told)

    def _output(self, what: str, item: KeptItem) -> None:
        where = {"response_id": self.id, "output_index": len(self.output) - 1}
        self._author.tell(f"response.output_item.{what}", **where, item=item.told())

    def _tell(self, kind: str, **fields: Any) -> None:
        assert self._open is not None, "nothing is open"
        where: JsonObject = {"response_id": self.id, "item_id": self._open.id}
        where["output_index"] = len(self.output) - 1
        self._author.tell(f"response.{kind}", **where, **fields)

    def _part(self) -> JsonObject:
        if self.speaks:
            return {"type": "audio", "transcript": self._text}
        return {"type": "text", "text": self._text}
