"""What clients may send, meant well or not: strategies for hypothesis.

Ids are places, `<3>` or `<newest>`, and sound is `<sound>`; `with_ids` puts in what there is.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import strategies as st

from pipeline.serve.session_object import JsonObject

WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
SOUND = st.integers(0, 9601).map(lambda n: base64.b64encode(bytes(n)).decode())
FORMATS = st.sampled_from(
    [
        {"type": "audio/pcm", "rate": 24_000},
        {"type": "audio/pcm", "rate": 16_000},
        {"type": "audio/pcm", "rate": 48_000},
        {"type": "audio/pcmu"},
        {"type": "audio/pcma"},
    ]
)
# Ids are places: the test puts in those that there are.
IDS = st.integers(0, 12).map(lambda place: f"<{place}>") | WORDS
TOOLS = st.just([]) | st.just([{"type": "function", "name": "f", "parameters": {}}])
CHOICE = st.sampled_from(["auto", "none", "required", {"type": "function", "name": "f"}])
MODALITIES = st.sampled_from([["audio"], ["text"]])
DETECTION = st.sampled_from(
    [None, {"type": "server_vad", "idle_timeout_ms": 5000}, {"type": "semantic_vad"}]
)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[JsonObject]:
    return st.fixed_dictionaries({}, optional=fields)


def _event(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[JsonObject]:
    told = {"type": st.just(kind), **fields}
    return st.fixed_dictionaries(told, optional={"event_id": WORDS})


MESSAGES = st.builds(
    lambda role, part, more: {"type": "message", "role": role, "content": [part], **more},
    st.sampled_from(["user", "system", "assistant"]),
    st.builds(lambda kind, text: {"type": kind, "text": text}, WORDS, WORDS)
    | st.builds(lambda text: {"type": "input_text", "text": text}, WORDS)
    | st.builds(lambda text: {"type": "output_text", "text": text}, WORDS)
    | st.builds(lambda text: {"type": "output_audio", "transcript": text}, WORDS)
    | st.builds(lambda audio: {"type": "input_audio", "audio": audio}, SOUND)
    | st.just({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}),
    _some(id=IDS),
)
ITEMS = (
    MESSAGES
    | st.builds(
        lambda kind, call: {"type": kind, "call_id": call, "output": "1", "name": "f"} | {},
        st.sampled_from(["function_call_output", "function_call", "mcp_call"]),
        WORDS,
    )
    | st.builds(lambda name: {"type": "item_reference", "id": name}, IDS)
)
HEARING = _some(
    format=FORMATS,
    turn_detection=DETECTION,
    transcription=st.sampled_from([None, {"model": "m"}]),
)
SPEAKING = _some(
    format=FORMATS, voice=st.sampled_from(["cedar", {"id": "v"}]), speed=st.sampled_from([1, 1.2])
)
SESSIONS = _some(
    instructions=WORDS,
    tools=TOOLS,
    tool_choice=CHOICE,
    output_modalities=MODALITIES,
    tracing=st.sampled_from([None, "auto", {"workflow_name": "w"}]),
    audio=_some(input=HEARING, output=SPEAKING),
).map(lambda fields: {"type": "realtime", **fields})
RESPONSES = _some(
    conversation=st.sampled_from(["auto", "none"]),
    input=st.lists(ITEMS, max_size=2),
    metadata=st.dictionaries(WORDS, WORDS, max_size=2),
    output_modalities=MODALITIES,
    tools=TOOLS,
    tool_choice=CHOICE,
    audio=_some(output=_some(format=FORMATS, voice=st.just({"id": "v"}))),
)
MEANT = st.one_of(
    _event("session.update", session=SESSIONS),
    _event("input_audio_buffer.append", audio=SOUND),
    _event("input_audio_buffer.commit"),
    _event("input_audio_buffer.clear"),
    _event("conversation.item.create", item=ITEMS),
    _event("conversation.item.create", item=ITEMS, previous_item_id=IDS),
    _event("conversation.item.retrieve", item_id=IDS),
    _event("conversation.item.delete", item_id=IDS),
    _event(
        "conversation.item.truncate",
        item_id=IDS,
        content_index=st.integers(0, 1),
        audio_end_ms=st.integers(0, 300),
    ),
    _event("response.create", response=RESPONSES),
    _event("response.create"),
    _event("response.cancel"),
    _event("response.cancel", response_id=IDS),
    _event("output_audio_buffer.clear"),
)


APPEND = {"type": "input_audio_buffer.append", "audio": "<sound>"}
COMMIT = {"type": "input_audio_buffer.commit"}
CREATE = {"type": "response.create"}
HEARD = {"input": {"transcription": {"model": "m"}}}
HEAR = {"type": "session.update", "session": {"type": "realtime", "audio": HEARD}}
NEWEST = {"item_id": "<newest>"}
TRUNCATE = {"type": "conversation.item.truncate", "content_index": 0, "audio_end_ms": 20, **NEWEST}
RETRIEVE = {"type": "conversation.item.retrieve", **NEWEST}
DELETE = {"type": "conversation.item.delete", **NEWEST}
REFER = {
    "type": "response.create",
    "response": {"conversation": "none", "input": [{"type": "item_reference", "id": "<newest>"}]},
}
WRITE = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
ASIDE = {"type": "response.create", "response": {"conversation": "none"}}


@st.composite
def spoilt(draw: st.DrawFn) -> JsonObject:
    """An event with nonsense somewhere in it."""
    event = draw(MEANT)
    at: Any = event
    while isinstance(at, dict) and at:
        name = draw(st.sampled_from(sorted(at)))
        if not isinstance(at[name], dict) or draw(st.booleans()):
            at[name] = draw(ANY_JSON)
            break
        at = at[name]
    return event


def with_ids(event: JsonObject, told: list[JsonObject]) -> str:
    """The event with the ids of things that there are."""
    text = json.dumps(event)
    added = [each["item"]["id"] for each in told if each["type"] == "conversation.item.added"]
    if added:
        text = text.replace("<newest>", added[-1])
    known = added + [each["response"]["id"] for each in told if each["type"] == "response.created"]
    text = text.replace("<sound>", base64.b64encode(bytes(9600)).decode())
    for place in range(13):
        if known:
            text = text.replace(f"<{place}>", known[place % len(known)])
    return text
