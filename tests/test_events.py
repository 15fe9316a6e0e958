"""The vocabulary: how events look as JSON, and how long a frame lasts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import events
from pipeline.events import (
    Event,
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyDucked,
    ReplyInterrupted,
    ReplyStarted,
    ReplySwelled,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolCancelled,
    Transcript,
    Usage,
    to_json,
)

FRAME = Frame(np.zeros(441, np.int16), 22_050, 10, 20)

AS_JSON = [
    (SpeechStarted(1), {"type": "speech_started", "turn": 1}),
    (SpeechStopped(2), {"type": "speech_stopped", "turn": 2}),
    (
        Transcript(1, "Héllo.", True),
        {"type": "transcript", "turn": 1, "text": "Héllo.", "final": True},
    ),
    (ReplyStarted(1, "reply-1"), {"type": "reply_started", "turn": 1, "id": "reply-1"}),
    (
        ReplyText(1, "reply-1", " you"),
        {"type": "reply_text", "turn": 1, "id": "reply-1", "delta": " you"},
    ),
    (
        ReplyAudio(1, "reply-1", FRAME, filler=True),
        {"type": "reply_audio", "turn": 1, "id": "reply-1", "filler": True},
    ),
    (ReplyDucked(1, "reply-1"), {"type": "reply_ducked", "turn": 1, "id": "reply-1"}),
    (ReplySwelled(1, "reply-1"), {"type": "reply_swelled", "turn": 1, "id": "reply-1"}),
    (
        ReplyInterrupted(1, "reply-1", "Once"),
        {"type": "reply_interrupted", "turn": 1, "id": "reply-1", "heard_text": "Once"},
    ),
    (
        ReplyDone(1, "reply-1", "completed"),
        {"type": "reply_done", "turn": 1, "id": "reply-1", "status": "completed"},
    ),
    (
        ToolCall(1, "call-1", "clock", "{}"),
        {"type": "tool_call", "turn": 1, "id": "call-1", "name": "clock", "arguments": "{}"},
    ),
    (ToolCancelled(1, "call-1"), {"type": "tool_cancelled", "turn": 1, "id": "call-1"}),
    (
        Usage(1, 30, 20, 10),
        {
            "type": "usage",
            "turn": 1,
            "input_tokens": 30,
            "cached_tokens": 20,
            "output_tokens": 10,
            "input_audio_tokens": 0,
            "cached_audio_tokens": 0,
            "output_audio_tokens": 0,
            "seconds": 0.0,
            "kind": "reply",
        },
    ),
    (
        Failure(0, "llm", "No server.", False),
        {"type": "failure", "turn": 0, "stage": "llm", "message": "No server.", "fatal": False},
    ),
]


@pytest.mark.parametrize(("event", "expected"), AS_JSON, ids=lambda x: type(x).__name__)
def test_an_event_as_json_is_its_type_in_snake_case_and_its_fields_without_audio(
    event: Event, expected: dict[str, object]
) -> None:
    assert to_json(event) == expected
    assert next(iter(to_json(event))) == "type"
    assert json.loads(json.dumps(to_json(event))) == expected


def test_every_event_has_its_json_checked_here() -> None:
    known = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    }
    assert known == {type(event) for event, _ in AS_JSON}


@given(st.integers(0, 100_000), st.sampled_from([8000, 16_000, 22_050, 44_100, 48_000]))
def test_a_frame_lasts_as_long_as_its_samples_to_the_nanosecond(count: int, rate: int) -> None:
    duration = Frame(np.zeros(count, np.int16), rate).duration_ns
    assert isinstance(duration, int)
    assert 0 <= count * 1_000_000_000 - duration * rate < rate


def test_frames_are_told_apart_by_identity() -> None:
    """Arrays have no truth value, so comparing them by value would raise."""
    twin = Frame(FRAME.samples, FRAME.rate, FRAME.offset, FRAME.t_ns)
    assert twin != FRAME
    assert len({FRAME, twin}) == 2
