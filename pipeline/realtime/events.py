"""What a Realtime server sends: every event of a voice server, and errors.

Source of names and fields: the GA protocol of `/v1/realtime` as the `openai` SDK types it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.events import Samples

Event = dict[str, Any]
"""An event, an item or the session, as it goes into JSON."""

_ITEM = ("item", "previous_item_id")
_PART = ("response_id", "item_id", "output_index", "content_index")
_CALL = ("response_id", "item_id", "output_index", "call_id")
_TRANSCRIPTION = "conversation.item.input_audio_transcription"

FIELDS: Mapping[str, tuple[str, ...]] = {
    "session.created": ("session",),
    "session.updated": ("session",),
    "conversation.created": ("conversation",),
    "conversation.item.added": _ITEM,
    "conversation.item.done": _ITEM,
    "conversation.item.retrieved": ("item",),
    "conversation.item.deleted": ("item_id",),
    "conversation.item.truncated": ("item_id", "content_index", "audio_end_ms"),
    f"{_TRANSCRIPTION}.delta": ("item_id", "content_index", "delta"),
    f"{_TRANSCRIPTION}.completed": ("item_id", "content_index", "transcript", "usage"),
    f"{_TRANSCRIPTION}.failed": ("item_id", "content_index", "error"),
    "input_audio_buffer.committed": ("item_id", "previous_item_id"),
    "input_audio_buffer.cleared": (),
    "input_audio_buffer.speech_started": ("item_id", "audio_start_ms"),
    "input_audio_buffer.speech_stopped": ("item_id", "audio_end_ms"),
    "input_audio_buffer.timeout_triggered": ("item_id", "audio_start_ms", "audio_end_ms"),
    "response.created": ("response",),
    "response.done": ("response",),
    "response.output_item.added": ("response_id", "output_index", "item"),
    "response.output_item.done": ("response_id", "output_index", "item"),
    "response.content_part.added": (*_PART, "part"),
    "response.content_part.done": (*_PART, "part"),
    "response.output_audio.delta": (*_PART, "delta"),
    "response.output_audio.done": _PART,
    "response.output_audio_transcript.delta": (*_PART, "delta"),
    "response.output_audio_transcript.done": (*_PART, "transcript"),
    "response.output_text.delta": (*_PART, "delta"),
    "response.output_text.done": (*_PART, "text"),
    "response.function_call_arguments.delta": (*_CALL, "delta"),
    "response.function_call_arguments.done": (*_CALL, "name", "arguments"),
    "rate_limits.updated": ("rate_limits",),
    "error": ("error",),
}
"""The fields of each event besides `type` and `event_id`; all are required here, some nullable."""

NULLABLE = frozenset({"previous_item_id"})
"""Fields that may be null, and that other servers may leave out."""

UNCHECKED = frozenset(
    {
        "conversation.item.created",
        f"{_TRANSCRIPTION}.segment",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
    }
)
"""Events of the protocol that no server of ours sends."""

NOT_ON_WEBSOCKET = frozenset(
    {
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.cleared",
        "input_audio_buffer.dtmf_event_received",
    }
)
"""Events of WebRTC and SIP."""

INVALID_EVENT = "invalid_event"
INVALID_VALUE = "invalid_value"
MISSING = "missing_required_parameter"
UNKNOWN = "unknown_parameter"
BUSY = "conversation_already_has_active_response"
NOT_ACTIVE = "response_cancel_not_active"
EMPTY_COMMIT = "input_audio_buffer_commit_empty"
NO_ITEM = {
    "retrieve": "item_retrieve_invalid_item_id",
    "delete": "item_delete_invalid_item_id",
    "truncate": "item_truncate_invalid_item_id",
    "create": "item_create_invalid_previous_item_id",
}
FIXED_VOICE = "cannot_update_voice"


@dataclass(slots=True)
class Refused(Exception):
    """What a client sent cannot be done; the session goes on.

    Attributes:
        code: One of the codes above.
        message: What is wrong, for the client's author.
        param: Which field, such as `session.audio.output.voice`.
        event_id: The client's own id of the event, once it is known.
        kind: `invalid_request_error`, or `server_error`.
    """

    code: str
    message: str
    param: str | None = None
    event_id: str | None = None
    kind: str = "invalid_request_error"

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Author:
    """Writes a session's events, each with an id of its own.

    Args:
        tag: Part of every id, so that those of two sessions differ.
    """

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._count = 0

    def new_id(self, kind: str) -> str:
        """An id that nothing else has, such as `item_tag0001`; `kind` is its beginning."""
        self._count += 1
        return f"{kind}_{self._tag}{self._count:04}"

    def event(self, kind: str, **fields: Any) -> Event:
        """An event of type `kind` with all its fields.

        Raises:
            ValueError: There is no such event, or a field is missing or too many.
        """
        if kind not in FIELDS or set(fields) != set(FIELDS[kind]):
            raise ValueError(f"{kind} has the fields {FIELDS.get(kind)}, not {tuple(fields)}")
        return {"type": kind, "event_id": self.new_id("event"), **fields}

    def error(self, refused: Refused) -> Event:
        """The error event for what a client sent."""
        return self.event(
            "error",
            error={
                "type": refused.kind,
                "code": refused.code,
                "message": refused.message,
                "param": refused.param,
                "event_id": refused.event_id,
            },
        )

    def item(self, kind: str, status: str, **fields: Any) -> Event:
        """An item with an id of its own."""
        about = {"id": self.new_id("item"), "object": "realtime.item"}
        return {**about, "type": kind, "status": status, **fields}

    def user_audio(self, item_id: str) -> Event:
        """The item of an utterance, before its transcript is known."""
        # Clients need `transcript` to be there, if only as null.
        return {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }


def encoded(samples: Samples) -> str:
    """Sound as events carry it: 16-bit little-endian PCM in base64."""
    return base64.b64encode(samples.astype("<i2").tobytes()).decode("ascii")
