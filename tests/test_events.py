"""The vocabulary: how events look as JSON, and how long a frame lasts."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import events
from pipeline.events import Event, Frame, ReplyAudio, Transcript, to_json

FRAME = Frame(np.zeros(441, np.int16), 22_050, 10, 20)

REPLY = "turn id"
FORMAT = {
    "speech_started": "turn",
    "speech_stopped": "turn",
    "long_silence": "turn",
    "transcript": "turn text final",
    "reply_started": REPLY,
    "reply_text": f"{REPLY} delta",
    "reply_audio": f"{REPLY} filler",
    "reply_ducked": REPLY,
    "reply_swelled": REPLY,
    "reply_interrupted": f"{REPLY} heard_text",
    "reply_done": f"{REPLY} status reason",
    "tool_calling": "turn reply_id name delta",
    "tool_call": "turn id name arguments",
    "tool_cancelled": "turn id",
    "usage": "turn input_tokens cached_tokens output_tokens input_audio_tokens "
    "cached_audio_tokens output_audio_tokens seconds kind",
    "pictures_unseen": "turn message",
    "failure": "turn stage message fatal",
}
"""What `--json` prints of each event, by its type; programs of others read it."""

KINDS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


def test_events_are_printed_as_their_type_and_their_fields_without_audio() -> None:
    printed = {}
    for kind in KINDS:
        values = {field.name: 0 for field in dataclasses.fields(kind)}
        made = kind(**{**values, "frame": FRAME} if "frame" in values else values)
        printed[to_json(made)["type"]] = " ".join([*to_json(made)][1:])
    assert printed == FORMAT


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Transcript(1, "Héllo.", True), {"turn": 1, "text": "Héllo.", "final": True}),
        (ReplyAudio(1, "reply-1", FRAME, True), {"turn": 1, "id": "reply-1", "filler": True}),
    ],
)
def test_values_are_printed_as_they_are(event: Event, expected: dict[str, object]) -> None:
    printed = to_json(event)
    assert json.loads(json.dumps(printed)) == printed == {"type": printed["type"], **expected}


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
