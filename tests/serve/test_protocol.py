"""The server's side of a connection: its items and its sound, and the order of its events."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.realtime_grammar import Grammar

from pipeline.audio.encoding import Encoding
from pipeline.serve.items import Items, KeptItem, PartSound
from pipeline.serve.link import Author, Opening
from pipeline.serve.protocol import ServerSide
from pipeline.serve.refused import RequestRefused
from pipeline.serve.responses import Meter, ReadPart
from pipeline.serve.session_object import JsonObject
from pipeline.serve.sound import RATE, InputBuffer


def _message(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"item": {"type": "message", "role": "user", "content": content, **more}}


PCM = {"input_audio": Encoding(), "output_audio": Encoding()}


class _Written:
    """Items, with the events that were told."""

    def __init__(self) -> None:
        self.events: list[JsonObject] = []
        self.items = Items(Author("t", self.events.append))

    def spoken(self, text: str, seconds: float, words: Any = ()) -> str:
        content = [{"type": "output_audio", "transcript": text}]
        about = {"id": "item_a", "type": "message", "role": "assistant", "content": content}
        about["status"] = "completed"
        sound = PartSound(np.zeros(round(seconds * RATE), np.int16), words)
        self.items.begin(KeptItem(about, {0: sound}))
        return "item_a"

    def part(self, item_id: str) -> Any:
        self.items.retrieve(item_id, PCM)
        return self.events[-1]["item"]["content"][0]


def test_items_go_where_they_are_asked_to() -> None:
    written = _Written()
    items = written.items
    items.create(_message("b", id="b"), PCM)
    items.create(_message("a", id="a") | {"previous_item_id": "root"}, PCM)
    items.create(_message("ab", id="ab") | {"previous_item_id": "a"}, PCM)
    assert [item.id for item in items.kept] == ["a", "ab", "b"]
    added, done = written.events[-2:]
    assert added["type"] == "conversation.item.added"
    assert done["type"] == "conversation.item.done"
    assert added["previous_item_id"] == "a"
    with pytest.raises(RequestRefused, match="previous_item"):
        items.create(_message("c") | {"previous_item_id": "nowhere"}, PCM)
    with pytest.raises(RequestRefused, match="taken"):
        items.create(_message("a", id="a"), PCM)
    items.delete("ab")
    assert [item.id for item in items.kept] == ["a", "b"]


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_a_truncated_reply_keeps_what_was_heard(first_ms: int, second_ms: int) -> None:
    text = "one two three four five six"
    written = _Written()
    items, name = written.items, written.spoken(text, 3)
    items.truncate(name, 0, first_ms)
    part = written.part(name)
    assert text.startswith(part["transcript"]) and not part["transcript"].endswith(" ")
    assert len(base64.b64decode(part["audio"])) == 2 * (first_ms * RATE // 1000)
    if second_ms <= first_ms:
        items.truncate(name, 0, second_ms)
        assert part["transcript"].startswith(written.part(name)["transcript"])
    else:
        with pytest.raises(RequestRefused, match="there are"):
            items.truncate(name, 0, second_ms)


@pytest.mark.parametrize("end_ms", [1000, 1001])
def test_a_client_that_played_all_rounds_it_to_milliseconds(end_ms: int) -> None:
    written = _Written()
    name = written.spoken("one two", 1.0005, [(round(1.0005 * RATE), 7)])
    written.items.truncate(name, 0, end_ms)
    assert written.part(name)["transcript"] == "one two"
    with pytest.raises(RequestRefused, match="there are"):
        written.items.truncate(name, 0, 1002)


def test_known_word_ends_decide_what_was_heard() -> None:
    written = _Written()
    name = written.spoken("Well. Then it rains", 4, [(3 * RATE, len("Well."))])
    written.items.truncate(name, 0, 3000)
    assert written.part(name)["transcript"] == "Well."


@pytest.mark.parametrize(
    ("seconds", "words", "at_ms", "kept"),
    [
        # The words came, and no sound of them.
        (0, (), 0, ""),
        # So did more of them, of which the sound was to come.
        (1, ((RATE, 7),), 1000, "one two"),
        (1, ((RATE, 7),), 0, ""),
        (2, ((RATE, 3), (2 * RATE, 7)), 1500, "one"),
    ],
)
def test_words_without_a_sound_are_not_kept(
    seconds: float, words: Any, at_ms: int, kept: str
) -> None:
    written = _Written()
    name = written.spoken("one two three", seconds, words)
    for _ in range(2):
        written.items.truncate(name, 0, at_ms)
        assert written.part(name)["transcript"] == kept


def test_only_sound_of_the_assistant_is_truncated() -> None:
    items = _Written().items
    items.create(_message("a", id="a"), PCM)
    for name, code in (("a", "invalid_value"), ("b", "item_truncate_invalid_item_id")):
        with pytest.raises(RequestRefused, match=code):
            items.truncate(name, 0, 0)


def test_what_is_cached_is_what_was_read_before() -> None:
    meter = Meter()
    told, first, second = (
        ReadPart("told", text=100),
        ReadPart("a/0", audio=20),
        ReadPart("b/0", 5, 40),
    )
    assert meter.usage([told, first], 5, 40)["input_token_details"]["cached_tokens"] == 0
    usage = meter.usage([told, first, second, ReadPart("c", audio=10)], 0, 0)
    assert usage["input_tokens"] == 100 + 20 + 45 + 10
    assert usage["input_token_details"]["cached_tokens"] == 120
    # What changed is read anew, and all that follows it.
    usage = meter.usage([told, ReadPart("a/1", audio=10), second], 0, 0)
    assert usage["input_token_details"]["cached_tokens_details"] == {
        "text_tokens": 100,
        "audio_tokens": 0,
        "image_tokens": 0,
    }


@pytest.mark.parametrize("asked", ["", "m1"])
def test_a_model_is_named_once(asked: str) -> None:
    events: list[JsonObject] = []
    side = ServerSide(Author("t", events.append), "cascade", 0, Opening(asked))
    for name in ("m1", "m1", "m2"):
        session = {"type": "realtime", "model": name}
        side.receive(json.dumps({"type": "session.update", "session": session}))
    told = [event["type"] for event in events]
    assert told == ["session.updated", "session.updated", "error"]


def test_a_client_with_extensions_is_told_what_the_user_said() -> None:
    """As Hugging Face's speech-to-speech sends them; what it says itself of that counts."""
    side = ServerSide(Author("t", lambda _: None), "m", 0)
    asked: list[JsonObject] = [{}, {"audio": {"input": {"transcription": None}}}]
    for more, heard in zip(asked, (True, False), strict=True):
        session = {"type": "realtime", "extensions": ["speech_to_speech.some"], **more}
        side.receive(json.dumps({"type": "session.update", "session": session}))
        assert (side.session["audio"]["input"]["transcription"] is not None) == heard
        assert "extensions" not in side.session


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


SOUND = np.arange(4800, dtype=np.int16)


def _conversation(*, text: bool = False, aside: bool = False, **ended: Any) -> list[JsonObject]:
    """What a server sends for one spoken turn that calls a tool after a preamble."""
    events: list[JsonObject] = []
    side = ServerSide(Author("t", events.append), "m", 0)
    side.begin()
    heard = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    session = {"type": "realtime", "output_modalities": ["text" if text else "audio"], **heard}
    side.receive(json.dumps({"type": "session.update", "session": session}))
    side.buffer.push(SOUND)
    side.speech_started(0)
    side.transcribed(side.speech_stopped(), "hi")
    response = side.respond({"conversation": "none"} if aside else {})
    response.begin()
    response.open()
    for words in ("One", " moment."):
        response.text(words)
        if not text:
            response.audio(SOUND)
    if not ended:
        response.close()
        response.call("f", '{"a": 1}', "call_1")
    side.end(response, **(ended or {"status": "completed"}))
    return events


WHOLE = _conversation()

FREE = {
    "response.output_audio.delta",
    "conversation.item.input_audio_transcription.delta",
    "conversation.created",
    "rate_limits.updated",
    "session.updated",
}
"""What may be missing, or come twice, without anybody noticing."""


def _wrong(events: list[JsonObject]) -> list[str]:
    grammar = Grammar()
    return [problem for event in events for problem in grammar.feed(event)] + grammar.finish()


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("aside", [False, True])
def test_events_come_in_the_order_that_clients_rely_on(text: bool, aside: bool) -> None:
    assert _wrong(_conversation(text=text, aside=aside)) == []


@pytest.mark.parametrize("reason", ["turn_detected", "client_cancelled", "boredom", None])
def test_a_cancelled_response_is_incomplete_and_says_why(
    reason: str | None, lawless: list[str]
) -> None:
    events = _conversation(status="cancelled", reason=reason)
    assert (_wrong(events) == []) == (reason in ("turn_detected", "client_cancelled"))
    lawless.clear()
    (done,) = [event for event in events if event["type"] == "response.done"]
    assert done["response"]["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize("place", [i for i, event in enumerate(WHOLE) if event["type"] not in FREE])
def test_the_checker_misses_any_event_and_sees_it_twice(place: int) -> None:
    again = {**WHOLE[place], "event_id": "other"}
    assert _wrong([*WHOLE[: place + 1], again, *WHOLE[place + 1 :]]) != []
    # Transcription is a separate process; it may never end.
    if not again["type"].endswith("transcription.completed"):
        assert _wrong(WHOLE[:place] + WHOLE[place + 1 :]) != []


CALL = {"type": "function_call", "name": "f", "arguments": "", "call_id": "c"}
UNHEARD = {"type": "message", "role": "user", "content": [{"type": "input_audio"}]}
VOICE = {"id": "voice_1"}


@pytest.mark.parametrize(
    ("kind", "fields", "word"),
    [
        ("response.output_audio_transcript.done", {"transcript": "Two."}, "deltas"),
        ("response.function_call_arguments.done", {"arguments": "{}"}, "deltas"),
        ("response.output_item.added", {"output_index": 3}, "output_index"),
        ("response.output_audio.delta", {"response_id": "resp_x"}, "not created"),
        ("input_audio_buffer.committed", {"item_id": "item_x"}, "speech_stopped"),
        ("session.created", {"event_id": ""}, "no event_id"),
        ("session.updated", {"event_id": WHOLE[0]["event_id"]}, "was used before"),
        ("rate_limits.updated", {"type": "input_audio_buffer.dreamt"}, "knows no event"),
        ("response.done", {"response": {"status": "over"}}, "validation error"),
        ("response.output_audio.delta", {"mood": "merry"}, "has no field mood"),
        ("response.output_audio.delta", {"delta": None}, "validation error"),
        ("response.output_audio.delta", {"delta": "A" * (1 << 20)}, "bytes"),
        ("response.output_item.added", {"item": CALL | {"status": None}}, "item.status is null"),
        ("conversation.item.added", {"item": UNHEARD}, "no transcript"),
        ("response.created", {"response": {"audio": {"output": {"voice": VOICE}}}}, "voice"),
        (
            "conversation.item.input_audio_transcription.completed",
            {"usage": {"type": "tokens", "input_tokens": 1, "output_tokens": 1, "total_tokens": 2}},
            "no details",
        ),
    ],
)
def test_the_checker_names_what_is_wrong(kind: str, fields: dict[str, Any], word: str) -> None:
    events = copy.deepcopy(WHOLE)
    next(event for event in events if event["type"] == kind).update(fields)
    assert any(word in problem for problem in _wrong(events))


@given(st.permutations(WHOLE))
def test_the_checker_survives_any_order(events: list[JsonObject]) -> None:
    assert (events[0] is WHOLE[0]) or any("before session.created" in p for p in _wrong(events))
