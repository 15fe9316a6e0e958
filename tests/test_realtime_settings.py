from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeSessionCreateRequest

from pipeline.realtime import settings
from pipeline.realtime.events import Refused

SESSION = settings.defaults("sess_1", "gpt-realtime-2.1", 1_800_000_000)

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
    before = settings.merged(SESSION, first)
    kept = copy.deepcopy(before)
    after = settings.merged(before, second)
    assert before == kept
    assert settings.merged(after, second) == after
    assert settings.merged(after, {"type": "realtime"}) == after
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
    RealtimeSessionCreateRequest.model_validate(settings.merged(SESSION, update))


def test_a_detection_keeps_its_other_fields_while_its_type_stays() -> None:
    def detect(session: dict[str, Any], **vad: Any) -> dict[str, Any]:
        audio = {"input": {"turn_detection": vad}}
        return settings.merged(session, {"type": "realtime", "audio": audio})

    path = "audio.input.turn_detection"
    once = detect(SESSION, type="server_vad", silence_duration_ms=200)
    twice = detect(once, type="server_vad", threshold=0.7)
    assert _at(twice, f"{path}.silence_duration_ms") == 200
    other = detect(twice, type="semantic_vad")
    assert _at(other, path) == settings.SEMANTIC_VAD
    assert _at(detect(other, type="server_vad"), path) == settings.SERVER_VAD


def test_null_clears() -> None:
    update = {"type": "realtime", "instructions": "x", "tools": [{"type": "function", "name": "f"}]}
    told = settings.merged(SESSION, update)
    cleared = settings.merged(told, {"type": "realtime", "instructions": None, "tools": None})
    assert (cleared["instructions"], cleared["tools"]) == ("", [])


@pytest.mark.parametrize(
    ("update", "code", "param"),
    [
        ({}, "missing_required_parameter", "session.type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"type": "realtime", "model": "other"}, "invalid_value", "session.model"),
        ({"type": "realtime", "temperature": 1}, "unknown_parameter", "session.temperature"),
        (
            {"type": "realtime", "output_modalities": ["audio", "text"]},
            "invalid_value",
            "session.output_modalities",
        ),
        ({"type": "realtime", "max_output_tokens": 5000}, "invalid_value", None),
        ({"type": "realtime", "max_output_tokens": True}, "invalid_value", None),
        ({"type": "realtime", "tools": [{"type": "function"}]}, "invalid_value", "session.tools"),
        ({"type": "realtime", "audio": []}, "invalid_value", "session.audio"),
        (
            {
                "type": "realtime",
                "audio": {"input": {"format": {"type": "audio/pcm", "rate": 8000}}},
            },
            "invalid_value",
            "session.audio.input.format",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "client_vad"}}}},
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        (
            {"type": "realtime", "audio": {"output": {"speed": 3}}},
            "invalid_value",
            "session.audio.output.speed",
        ),
    ],
)
def test_what_cannot_be_is_refused(update: dict[str, Any], code: str, param: str | None) -> None:
    before = copy.deepcopy(SESSION)
    with pytest.raises(Refused) as refused:
        settings.merged(SESSION, update)
    assert refused.value.code == code
    assert param in (None, refused.value.param)
    assert before == SESSION


def test_the_voice_and_the_tracing_are_fixed_at_some_time() -> None:
    change = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    assert _at(settings.merged(SESSION, change), "audio.output.voice") == "cedar"
    with pytest.raises(Refused, match="cannot_update_voice"):
        settings.merged(SESSION, change, voice_fixed=True)
    same = {"type": "realtime", "audio": {"output": {"voice": "marin"}}}
    settings.merged(SESSION, same, voice_fixed=True)
    traced = settings.merged(SESSION, {"type": "realtime", "tracing": "auto"})
    settings.merged(traced, {"type": "realtime", "tracing": "auto"})
    with pytest.raises(Refused, match="tracing"):
        settings.merged(traced, {"type": "realtime", "tracing": None})


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
        after = settings.merged(SESSION, update)
    except Refused as refused:
        assert refused.message and refused.code
    else:
        assert after["model"] == SESSION["model"]
