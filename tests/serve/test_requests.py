from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeSessionCreateRequest

from pipeline.serve.refused import (
    INVALID_EVENT,
    INVALID_VALUE,
    MISSING,
    UNKNOWN,
    RequestRefused,
)
from pipeline.serve.requests import parse
from pipeline.serve.session_object import new_session, updated

SESSION = new_session("sess_1", "gpt-realtime-2.1", 1_800_000_000)

VADS = st.sampled_from(
    [
        None,
        {"type": "server_vad"},
        {"type": "server_vad", "threshold": 0.7, "idle_timeout_ms": 5000},
        {"type": "server_vad", "silence_duration_ms": 200, "idle_timeout_ms": None},
        {"type": "semantic_vad", "eagerness": "low"},
    ]
)
HEARING = st.fixed_dictionaries(
    {}, optional={"turn_detection": VADS, "transcription": st.sampled_from([None, {"model": "m"}])}
)
SPEAKING = st.fixed_dictionaries(
    {}, optional={"voice": st.sampled_from(["marin", "cedar"]), "speed": st.just(1.2)}
)

UPDATES = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={
        "instructions": st.text(max_size=20),
        "output_modalities": st.sampled_from([["audio"], ["text"]]),
        "tools": st.just([]) | st.just([{"type": "function", "name": "f"}]),
        "max_output_tokens": st.just("inf") | st.integers(1, 4096),
        "audio": st.fixed_dictionaries({}, optional={"input": HEARING, "output": SPEAKING}),
    },
)


def _at(session: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        session = session[name]
    return session


@given(UPDATES, UPDATES)
def test_updates_change_what_they_name_and_nothing_else(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    before = updated(SESSION, first)
    kept = copy.deepcopy(before)
    after = updated(before, second)
    assert before == kept
    RealtimeSessionCreateRequest.model_validate(after)
    assert updated(after, second) == after
    assert updated(after, {"type": "realtime"}) == after
    for name in set(SESSION) - {"audio"}:
        assert after[name] == second.get(name, before[name])
    for side in ("input", "output"):
        told = second.get("audio", {}).get(side, {})
        for name in SESSION["audio"][side]:
            if name not in told:
                assert after["audio"][side][name] == before["audio"][side][name]
            elif isinstance(told[name], dict):
                assert told[name].items() <= after["audio"][side][name].items()
            else:
                assert after["audio"][side][name] == told[name]


def test_settings_of_transcription_are_told_as_they_were_given() -> None:
    """Pipecat 1.14 breaks where there are others, such as `languages`."""
    audio = {"input": {"transcription": {"model": "m", "language": "en"}}}
    after = updated(SESSION, {"type": "realtime", "audio": audio})
    assert after["audio"]["input"]["transcription"] == {"model": "m", "language": "en"}


def test_a_detection_keeps_its_other_fields_while_its_type_stays() -> None:
    def detect(session: dict[str, Any], **vad: Any) -> dict[str, Any]:
        audio = {"input": {"turn_detection": vad}}
        return updated(session, {"type": "realtime", "audio": audio})

    path = "audio.input.turn_detection"
    once = detect(SESSION, type="server_vad", silence_duration_ms=200)
    twice = detect(once, type="server_vad", threshold=0.7)
    assert _at(twice, f"{path}.silence_duration_ms") == 200
    other = detect(twice, type="semantic_vad")
    assert _at(other, path)["eagerness"] == "auto"
    assert _at(detect(other, type="server_vad"), path) == _at(SESSION, path)


def test_null_clears() -> None:
    update = {"type": "realtime", "instructions": "x", "tools": [{"type": "function", "name": "f"}]}
    told = updated(SESSION, update)
    cleared = updated(told, {"type": "realtime", "instructions": None, "tools": None})
    assert (cleared["instructions"], cleared["tools"]) == ("", [])


@pytest.mark.parametrize(
    ("update", "code", "param"),
    [
        ({"type": "transcription"}, INVALID_VALUE, "type"),
        ({"model": "other"}, INVALID_VALUE, "model"),
        ({"temperature": 1}, UNKNOWN, "temperature"),
        ({"output_modalities": ["audio", "text"]}, INVALID_VALUE, "output_modalities"),
        ({"max_output_tokens": 5000}, INVALID_VALUE, "max_output_tokens"),
        ({"max_output_tokens": True}, INVALID_VALUE, "max_output_tokens"),
        ({"tools": [{"type": "function"}]}, MISSING, "tools[0].name"),
        ({"audio": []}, INVALID_VALUE, "audio"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}}},
            INVALID_VALUE,
            "audio.input.format.rate",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "client_vad"}}}},
            INVALID_VALUE,
            "audio.input.turn_detection.type",
        ),
        ({"audio": {"output": {"speed": 3}}}, INVALID_VALUE, "audio.output.speed"),
    ],
)
def test_a_session_that_cannot_be_is_refused(update: dict[str, Any], code: str, param: str) -> None:
    before = copy.deepcopy(SESSION)
    with pytest.raises(RequestRefused) as refused:
        updated(SESSION, {"type": "realtime", **update})
    assert (refused.value.code, refused.value.param) == (code, f"session.{param}")
    assert before == SESSION


def test_the_voice_and_the_tracing_are_fixed_at_some_time() -> None:
    change = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    assert _at(updated(SESSION, change), "audio.output.voice") == "cedar"
    with pytest.raises(RequestRefused, match="cannot_update_voice"):
        updated(SESSION, change, voice_fixed=True)
    same = {"type": "realtime", "audio": {"output": {"voice": "marin"}}}
    updated(SESSION, same, voice_fixed=True)
    traced = updated(SESSION, {"type": "realtime", "tracing": "auto"})
    updated(traced, {"type": "realtime", "tracing": "auto"})
    with pytest.raises(RequestRefused, match="tracing"):
        updated(traced, {"type": "realtime", "tracing": None})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "audio", "input", "output", "turn_detection", "voice", "x"]
                ),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_nonsense_is_refused_in_words(value: Any) -> None:
    update = {"type": "realtime", **value} if isinstance(value, dict) else {"audio": value}
    try:
        after = updated(SESSION, update)
    except RequestRefused as refused:
        assert refused.message and refused.code
    else:
        assert after["model"] == SESSION["model"]


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_no_message_breaks_the_reader(message: bytes | str) -> None:
    try:
        event = parse(message)
    except RequestRefused as refused:
        assert refused.code == "invalid_event"
    else:
        assert event["type"]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"type": "session.dream"}, INVALID_EVENT, "type"),
        ({}, INVALID_EVENT, "type"),
        ({"type": "conversation.item.delete"}, MISSING, "item_id"),
        ({"type": "conversation.item.delete", "item_id": 3}, INVALID_VALUE, "item_id"),
        ({"type": "response.create", "response": []}, INVALID_VALUE, "response"),
        ({"type": "input_audio_buffer.commit", "event_id": "x" * 600}, INVALID_VALUE, "event_id"),
    ],
)
def test_fields_are_checked(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(json.dumps(fields))
    assert (refused.value.code, refused.value.param) == (code, param)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "message", "role": "robot", "content": []}, "role"),
        (
            {"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]},
            "content",
        ),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_audio"}]},
            "content[0].transcript",
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
            "content[0].text",
        ),
        ({"type": "message", "role": "user"}, "content"),
        ({"type": "function_call_output", "output": "x"}, "call_id"),
        ({"type": "mcp_call"}, "type"),
        ({}, "type"),
    ],
)
def test_items_are_checked(item: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(json.dumps({"type": "conversation.item.create", "item": item}))
    assert refused.value.param == f"item.{param}"
