from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeSessionCreateRequest

from pipeline.serve.refused import (
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
