"""What the order of a server's events must be: a checker for tests, servers and their drivers.

The rules are those of the guide on conversations and of the SDKs' clients: what a client relies on,
not every order that a server of OpenAI happens to keep. The fields of each event are checked by
`realtime_fields`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from pipeline.serve.protocol import ServerSide
from pipeline.serve.session_object import JsonObject
from support.realtime_fields import strictly

_BEGUN = {"conversation.item.added", "response.output_item.added"}
_SOUND = {
    "response.content_part.added",
    "response.output_audio.delta",
    "response.output_audio_transcript.delta",
}
_TEXT = {"response.content_part.added", "response.output_text.delta"}
_CALL = _BEGUN | {"response.function_call_arguments.delta"}
_REMOTE = _BEGUN | {"response.mcp_call_arguments.delta"}
_MADE = {"response.content_part.done", "response.function_call_arguments.done"}
_UTTERANCE = "input_audio_buffer.speech_started"

NEW = "nothing"

FOLLOWS = {
    "input_audio_buffer.speech_started": {NEW},
    "input_audio_buffer.speech_stopped": {"input_audio_buffer.speech_started"},
    "input_audio_buffer.timeout_triggered": {NEW},
    "input_audio_buffer.committed": {
        NEW,
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.timeout_triggered",
    },
    "conversation.item.added": {NEW, "input_audio_buffer.committed", "response.output_item.added"},
    "conversation.item.done": {
        "conversation.item.added",
        *_MADE,
        "mcp_list_tools.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
    },
    "conversation.item.deleted": {
        "conversation.item.done",
        "response.output_item.done",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
    },
    "mcp_list_tools.in_progress": {"conversation.item.added"},
    "mcp_list_tools.completed": {"conversation.item.done"},
    "mcp_list_tools.failed": {"mcp_list_tools.in_progress"},
    "response.mcp_call_arguments.delta": _REMOTE,
    "response.mcp_call_arguments.done": _REMOTE,
    "response.mcp_call.in_progress": {"response.output_item.done"},
    "response.mcp_call.completed": {"response.mcp_call.in_progress"},
    "response.mcp_call.failed": {"response.mcp_call.in_progress", "response.output_item.done"},
    "response.output_item.added": {NEW},
    "response.content_part.added": _BEGUN,
    "response.output_audio.delta": _SOUND,
    "response.output_audio_transcript.delta": _SOUND,
    "response.output_audio.done": _SOUND,
    "response.output_audio_transcript.done": {"response.output_audio.done"},
    "response.output_text.delta": _TEXT,
    "response.output_text.done": _TEXT,
    "response.content_part.done": {
        "response.output_audio_transcript.done",
        "response.output_text.done",
    },
    "response.function_call_arguments.delta": _CALL,
    "response.function_call_arguments.done": _CALL,
    "response.output_item.done": {
        "conversation.item.done",
        "response.mcp_call_arguments.done",
        *_MADE,
    },
}
"""In the life of an item: what each event may come right after.

A call that is not completed has no `function_call_arguments.done`: what acts on a call acts then.
"""

_CUT_SHORT = _BEGUN | {"response.function_call_arguments.delta"}

_LOOKED_AT = ("conversation.item.retrieved", "conversation.item.truncated")
"""These may come at any time in the life of an item."""

_TOLD = {"transcript", "text", "arguments"}
"""Fields that repeat what the deltas were."""

_REASONS = {
    "completed": (None,),
    "cancelled": ("turn_detected", "client_cancelled"),
    "failed": (None,),
    "incomplete": ("max_output_tokens", "content_filter"),
}


@dataclass(slots=True)
class _Life:
    """What was told of an item so far; `text` is what the deltas make up."""

    kinds: list[str] = field(default_factory=lambda: [NEW])
    text: str = ""


@dataclass(slots=True)
class _Open:
    """A response that is being made."""

    in_band: bool
    items: list[str] = field(default_factory=list)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Check what every server's side tells meanwhile; gives what is wrong, also later on."""
    wrong: list[str] = []
    begin = ServerSide.begin

    def watch(side: ServerSide) -> None:
        grammar, send = Grammar(), side.author.send

        def check(event: JsonObject) -> None:
            wrong.extend(grammar.feed(json.loads(json.dumps(event))))
            send(event)

        side.author.send = check
        begin(side)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServerSide, "begin", watch)
        yield wrong


class Grammar:
    """Follows what a server sends over one connection.

    `feed` takes events one by one and gives what is wrong with each, in words: its fields, else
    its place. After something wrong it goes on as well as it can.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._lives: dict[str, _Life] = {}
        self._transcribed: set[str] = set()
        self._responses: dict[str, _Open] = {}
        self._over: set[str] = set()
        self._utterance = ""
        self._last = ""

    def feed(self, event: JsonObject) -> list[str]:
        """The next event; what is wrong with it, nothing as a rule."""
        if wrong := strictly(event):
            return wrong
        problems = [f"{event['type']}: {problem}" for problem in self._check(event)]
        self._last = event["type"]
        return problems

    def finish(self) -> list[str]:
        """The connection was closed in peace: what should have ended, and has not."""
        return self._unheard() + [f"{response}: never done" for response in self._responses]

    def _unheard(self) -> list[str]:
        """What the user said that is no whole item of the conversation yet."""
        unfinished = {
            f"input_audio_buffer.{what}"
            for what in ("speech_stopped", "timeout_triggered", "committed")
        }
        return [
            f"{item}: comes after {life.kinds[-1]}, before its item is done"
            for item, life in self._lives.items()
            if life.kinds[-1] in unfinished
            or life.kinds[-2:] == ["input_audio_buffer.committed", "conversation.item.added"]
        ]

    def _check(self, event: JsonObject) -> Iterator[str]:
        kind = str(event.get("type"))
        if not isinstance(event_id := event.get("event_id"), str) or not event_id:
            yield "has no event_id"
        elif event_id in self._ids:
            yield f"event_id {event_id} was used before"
        if (kind == "session.created") == bool(self._ids):
            yield "comes twice" if self._ids else "comes before session.created"
        self._ids.add(str(event_id))
        if kind == "rate_limits.updated" and self._last != "response.done":
            yield f"comes after {self._last}"
        elif kind == "input_audio_buffer.cleared":
            if self._kinds(self._utterance)[-1:] == [_UTTERANCE]:
                del self._lives[self._utterance]
        elif kind == "response.created":
            yield from self._created(event["response"])
        elif kind.startswith("response.mcp_call."):
            # What comes of a call of the server's own is told when its response is over.
            if any(event["item_id"] in open.items for open in self._responses.values()):
                yield f"{event['item_id']}: its response is not over"
        elif kind.startswith("response."):
            yield from self._of_response(kind, event)
        item = str(event["item"].get("id") if "item" in event else event.get("item_id"))
        if "input_audio_transcription" in kind:
            yield from self._transcription(kind, item)
        elif kind in _LOOKED_AT:
            if "conversation.item.added" not in self._kinds(item):
                yield f"there is no item {item}"
        elif kind in FOLLOWS:
            yield from self._of_item(kind, event, item)

    def _kinds(self, item: str) -> list[str]:
        """What was told of an item since it was there."""
        return self._lives.get(item, _Life()).kinds

    def _of_item(self, kind: str, event: JsonObject, item: str) -> Iterator[str]:
        life = self._lives.setdefault(item, _Life())
        cut = event.get("item", {})
        is_cut_call = (cut.get("type"), cut.get("status")) == ("function_call", "incomplete")
        may_follow = FOLLOWS[kind] | (_CUT_SHORT if is_cut_call else set())
        if life.kinds[-1] not in may_follow:
            yield f"{item}: comes after {life.kinds[-1]}"
        if kind == "conversation.item.deleted":
            # Another may get its id.
            del self._lives[item]
            self._transcribed.discard(item)
        if kind == _UTTERANCE:
            if self._kinds(self._utterance)[-1:] == [_UTTERANCE]:
                yield f"{item}: {self._utterance} is not over"
            self._utterance = item
        parts = life.kinds.count("response.content_part.done")
        if kind.startswith("response.") and event.get("content_index", parts) != parts:
            yield f"content_index is {event['content_index']}, not {parts}"
        life.kinds.append(kind)
        about = event.get("item", event.get("part", event))
        if kind == "conversation.item.added" and "response.output_item.added" in life.kinds:
            is_remote = about["type"] == "mcp_call" and about["output"] is None
            status = "in_progress" if is_remote else about.get("status")
            if (status, about.get("content", [])) != ("in_progress", []):
                yield f"{item} is not in progress and empty"
        elif kind == "response.content_part.added":
            life.text = ""
        elif kind.endswith(".delta") and kind != "response.output_audio.delta":
            life.text += event["delta"]
        elif kind.startswith("response.") and kind.endswith(".done"):
            for told in _TOLD & set(about):
                if about[told] != life.text:
                    yield f"{about[told]!r} is not what the deltas were: {life.text!r}"
        if kind == "response.output_item.done" and about["type"] != "mcp_call":
            over = about["status"] in ("completed", "incomplete")
            yield from [] if over else [f"{item} is {about['status']}"]

    def _transcription(self, kind: str, item: str) -> Iterator[str]:
        known = set(self._kinds(item))
        # Words come as they are spoken, before there is an item.
        early = {_UTTERANCE} if kind.endswith(".delta") else set()
        if not known & {"conversation.item.added", *early}:
            yield f"there is no item {item}"
        if item in self._transcribed:
            yield f"{item} is transcribed already"
        if not kind.endswith(".delta"):
            self._transcribed.add(item)

    def _created(self, response: JsonObject) -> Iterator[str]:
        name = response["id"]
        if name in self._responses or name in self._over:
            yield f"{name} is no new id"
        if response.get("status") != "in_progress":
            yield f"status is {response.get('status')}, not in_progress"
        in_band = response.get("conversation_id") is not None
        if in_band and any(other.in_band for other in self._responses.values()):
            yield "another response of the conversation is active"
        if in_band:
            yield from self._unheard()
        self._responses[name] = _Open(in_band)

    def _of_response(self, kind: str, event: JsonObject) -> Iterator[str]:
        """An event of a response: the response is open, and the item is the one that grows."""
        is_done, is_new = kind == "response.done", kind == "response.output_item.added"
        name = event["response"].get("id") if is_done else event.get("response_id")
        response = self._responses.get(str(name))
        if response is None:
            yield f"response {name} is {'over' if name in self._over else 'not created'}"
            return
        last = self._lives[response.items[-1]].kinds if response.items else []
        if (is_done or is_new) and last and last[-1] != "response.output_item.done":
            yield f"{response.items[-1]} is not done"
        if is_done:
            yield from self._done(response, event["response"])
            del self._responses[str(name)]
            self._over.add(str(name))
            return
        if is_new:
            response.items.append(str(event["item"].get("id")))
        item = event["item"].get("id") if "item" in event else event["item_id"]
        if not response.items or item != response.items[-1]:
            yield f"{item} is not the item that grows"
        elif not is_new and ("conversation.item.added" in last) != response.in_band:
            yield f"{item}: only what is in the conversation is added to it"
        elif (
            kind == "response.output_item.done"
            and response.in_band
            and event["item"]["type"] != "mcp_call"
            and last[-1] != "conversation.item.done"
        ):
            yield f"{item} is not done in the conversation"
        if event["output_index"] != len(response.items) - 1:
            yield f"output_index is {event['output_index']}, not {len(response.items) - 1}"

    def _done(self, response: _Open, about: JsonObject) -> Iterator[str]:
        status, details = about.get("status"), about.get("status_details") or {}
        if details.get("reason") not in _REASONS.get(str(status), ()):
            yield f"{status} for the reason {details.get('reason')}"
        if status == "failed" and not details.get("error"):
            yield "failed without an error"
        output = [item.get("id") for item in about.get("output") or []]
        if output != response.items:
            yield f"output is {output}, not {response.items}"
