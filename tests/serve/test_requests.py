from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeSessionCreateRequest

from pipeline.serve.requests import (
    INVALID_VALUE,
    MISSING,
    UNKNOWN,
    RequestRefused,
    new_session,
    parse,
    updated,
)

SESSION = new_session("sess_1", "gpt-realtime-2.1", 1_800_000_000)

VADS = (
    st.none()
    | st.fixed_dictionaries(
        {"type": st.just("server_vad")},
        optional={
            "threshold": st.floats(0, 1),
            "silence_duration_ms": st.integers(0, 5000),
            "idle_timeout_ms": st.none() | st.integers(5000, 30_000),
            "create_response": st.booleans(),
        },
    )
    | st.fixed_dictionaries(
        {"type": st.just("semantic_vad")},
        optional={
            "eagerness": st.sampled_from(["low", "medium", "high", "auto"]),
            "interrupt_response": st.booleans(),
        },
    )
)

UPDATES = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={
        "instructions": st.text(max_size=20),
        "output_modalities": st.sampled_from([["audio"], ["text"]]),
        "tools": st.lists(
            st.fixed_dictionaries({"type": st.just("function"), "name": st.text(max_size=5)}),
            max_size=2,
        ),
        "max_output_tokens": st.just("inf") | st.integers(1, 4096),
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries(
                    {},
                    optional={
                        "turn_detection": VADS,
                        "transcription": st.none() | st.just({"model": "whisper-1"}),
                    },
                ),
                "output": st.fixed_dictionaries(
                    {},
                    optional={"voice": st.sampled_from(["marin", "cedar"]), "speed": st.just(1.2)},
                ),
            },
        ),
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


@given(UPDATES)
def test_every_session_is_one_for_the_sdk(update: dict[str, Any]) -> None:
    RealtimeSessionCreateRequest.model_validate(updated(SESSION, update))


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
        ({}, MISSING, "session.type"),
        ({"type": "transcription"}, INVALID_VALUE, "session.type"),
        ({"type": "realtime", "model": "other"}, INVALID_VALUE, "session.model"),
        ({"type": "realtime", "temperature": 1}, UNKNOWN, "session.temperature"),
        (
            {"type": "realtime", "output_modalities": ["audio", "text"]},
            INVALID_VALUE,
            "session.output_modalities",
        ),
        ({"type": "realtime", "max_output_tokens": 5000}, INVALID_VALUE, None),
        ({"type": "realtime", "max_output_tokens": True}, INVALID_VALUE, None),
        ({"type": "realtime", "tools": [{"type": "function"}]}, MISSING, "session.tools[0].name"),
        ({"type": "realtime", "audio": []}, INVALID_VALUE, "session.audio"),
        (
            {
                "type": "realtime",
                "audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}},
            },
            INVALID_VALUE,
            "session.audio.input.format.rate",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "client_vad"}}}},
            INVALID_VALUE,
            "session.audio.input.turn_detection.type",
        ),
        (
            {"type": "realtime", "audio": {"output": {"speed": 3}}},
            INVALID_VALUE,
            "session.audio.output.speed",
        ),
    ],
)
def test_what_cannot_be_is_refused(update: dict[str, Any], code: str, param: str | None) -> None:
    before = copy.deepcopy(SESSION)
    with pytest.raises(RequestRefused) as refused:
        updated(SESSION, update)
    assert refused.value.code == code
    assert param in (None, refused.value.param)
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
        ({"type": "conversation.item.delete"}, MISSING, "item_id"),
        ({"type": "conversation.item.delete", "item_id": 3}, INVALID_VALUE, "item_id"),
        (
            {
                "type": "conversation.item.truncate",
                "item_id": "a",
                "content_index": 0,
                "audio_end_ms": -1,
            },
            INVALID_VALUE,
            "audio_end_ms",
        ),
        ({"type": "response.create", "response": []}, INVALID_VALUE, "response"),
        ({"type": "input_audio_buffer.commit", "event_id": "x" * 600}, INVALID_VALUE, "event_id"),
    ],
)
def test_fields_are_checked(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(json.dumps(fields))
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
    with pytest.raises(RequestRefused):
        parse(json.dumps({"type": "conversation.item.create", "item": item}))
