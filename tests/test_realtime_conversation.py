from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.realtime import commands
from pipeline.realtime.buffer import InputBuffer
from pipeline.realtime.conversation import RATE, Conversation
from pipeline.realtime.events import FIELDS, Author, Refused
from pipeline.realtime.usage import Entry, Meter


def _message(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"item": {"type": "message", "role": "user", "content": content, **more}}


def _spoken_item(conversation: Conversation, text: str, seconds: float, words: Any = ()) -> str:
    content = [{"type": "output_audio", "transcript": text}]
    item = Author("a").item("message", "completed", role="assistant", content=content)
    conversation.begin(item)
    conversation.keep_sound(item["id"], np.zeros(round(seconds * RATE), np.int16), words)
    return str(item["id"])


def test_items_go_where_they_are_asked_to() -> None:
    items = Conversation(Author("t"))
    items.create(_message("b", id="b"))
    items.create(_message("a", id="a") | {"previous_item_id": "root"})
    events = items.create(_message("ab", id="ab") | {"previous_item_id": "a"})
    assert [item["id"] for item in items.items] == ["a", "ab", "b"]
    assert [event["type"] for event in events] == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert events[0]["previous_item_id"] == "a"
    with pytest.raises(Refused, match="previous_item"):
        items.create(_message("c") | {"previous_item_id": "nowhere"})
    with pytest.raises(Refused, match="taken"):
        items.create(_message("a", id="a"))
    items.delete("ab")
    assert [item["id"] for item in items.items] == ["a", "b"]


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_a_truncated_reply_keeps_what_was_heard(first_ms: int, second_ms: int) -> None:
    text = "one two three four five six"
    items = Conversation(Author("t"))
    name = _spoken_item(items, text, 3)
    items.truncate(name, 0, first_ms)
    part = items.retrieve(name)["item"]["content"][0]
    assert text.startswith(part["transcript"]) and not part["transcript"].endswith(" ")
    assert len(base64.b64decode(part["audio"])) == 2 * (first_ms * RATE // 1000)
    if second_ms <= first_ms:
        items.truncate(name, 0, second_ms)
        again = items.retrieve(name)["item"]["content"][0]["transcript"]
        assert part["transcript"].startswith(again)
    else:
        with pytest.raises(Refused, match="there are"):
            items.truncate(name, 0, second_ms)


def test_known_word_ends_decide_what_was_heard() -> None:
    items = Conversation(Author("t"))
    name = _spoken_item(items, "Well. Then it rains", 4, [(3 * RATE, len("Well."))])
    items.truncate(name, 0, 3000)
    assert items.retrieve(name)["item"]["content"][0]["transcript"] == "Well."


def test_only_sound_of_the_assistant_is_truncated() -> None:
    items = Conversation(Author("t"))
    items.create(_message("a", id="a"))
    for name, code in (("a", "invalid_value"), ("b", "item_truncate_invalid_item_id")):
        with pytest.raises(Refused, match=code):
            items.truncate(name, 0, 0)


def test_what_is_cached_is_what_was_read_before() -> None:
    meter = Meter()
    told, first, second = Entry("told", text=100), Entry("a/0", audio=20), Entry("b/0", 5, 40)
    assert meter.usage([told, first], 5, 40)["input_token_details"]["cached_tokens"] == 0
    usage = meter.usage([told, first, second, Entry("c", audio=10)], 0, 0)
    assert usage["input_tokens"] == 100 + 20 + 45 + 10
    assert usage["input_token_details"]["cached_tokens"] == 120
    # What changed is read anew, and all that follows it.
    usage = meter.usage([told, Entry("a/1", audio=10), second], 0, 0)
    assert usage["input_token_details"]["cached_tokens_details"] == {
        "text_tokens": 100,
        "audio_tokens": 0,
        "image_tokens": 0,
    }


@given(st.lists(st.integers(0, 50), max_size=20), st.data())
def test_the_buffer_keeps_every_sample_in_its_place(sizes: list[int], data: st.DataObject) -> None:
    buffer, whole = InputBuffer(), np.arange(sum(sizes), dtype=np.int16)
    done = kept = 0
    for size in sizes:
        buffer.push(whole[done : done + size])
        done += size
        if data.draw(st.booleans()):
            kept = data.draw(st.integers(kept, done))
            buffer.forget(kept)
    start = data.draw(st.integers(0, done))
    end = data.draw(st.integers(start, done))
    assert buffer.end == done and buffer.start <= kept
    np.testing.assert_array_equal(buffer.between(start, end), whole[max(start, buffer.start) : end])
    buffer.clear()
    assert len(buffer) == 0 and buffer.end == done


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_no_message_breaks_the_reader(message: bytes | str) -> None:
    try:
        event = commands.parse(message)
    except Refused as refused:
        assert refused.code == "invalid_event"
    else:
        assert event["type"] in commands.COMMANDS


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"type": "conversation.item.delete"}, "missing_required_parameter", "item_id"),
        ({"type": "conversation.item.delete", "item_id": 3}, "invalid_value", "item_id"),
        (
            {
                "type": "conversation.item.truncate",
                "item_id": "a",
                "content_index": 0,
                "audio_end_ms": -1,
            },
            "invalid_value",
            "audio_end_ms",
        ),
        ({"type": "response.create", "response": []}, "invalid_value", "response"),
        ({"type": "input_audio_buffer.commit", "event_id": "x" * 600}, "invalid_value", "event_id"),
    ],
)
def test_fields_are_checked(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(Refused) as refused:
        commands.parse(json.dumps(fields))
    assert (refused.value.code, refused.value.param) == (code, param)


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "robot", "content": []},
        {"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_audio"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
        {"type": "message", "role": "user"},
        {"type": "function_call_output", "output": "x"},
        {"type": "mcp_call"},
        {},
    ],
)
def test_items_are_checked(item: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        commands.check_item(item)


def test_the_author_knows_every_field() -> None:
    author = Author("t")
    with pytest.raises(ValueError, match="fields"):
        author.event("conversation.item.deleted")
    with pytest.raises(ValueError, match="fields"):
        author.event("session.dreamt", session={})
    assert len({author.new_id("item") for _ in FIELDS}) == len(FIELDS)
