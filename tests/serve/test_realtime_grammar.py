"""The checker itself: it passes what is right, and names what is wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.realtime_grammar import Grammar, violations

from pipeline.serve.protocol import Author, ServerSide
from pipeline.serve.requests import JsonObject

SOUND = np.arange(4800, dtype=np.int16)


def begun(**update: Any) -> tuple[ServerSide, list[JsonObject]]:
    """A connection that has begun, and the events of it."""
    events: list[JsonObject] = []
    side = ServerSide(Author("t", events.append), "m", 0)
    side.begin()
    if update:
        session = {"type": "realtime", **update}
        side.receive(json.dumps({"type": "session.update", "session": session}))
    return side, events


def conversation(*, text: bool = False, out_of_band: bool = False) -> list[JsonObject]:
    """What a server sends for one spoken turn that calls a tool after a preamble."""
    heard = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    side, events = begun(output_modalities=["text" if text else "audio"], **heard)
    side.buffer.push(SOUND)
    side.speech_started(0)
    side.transcribed(side.speech_stopped(), "hi")
    response = side.respond({"conversation": "none"} if out_of_band else {})
    response.begin()
    response.open()
    for words in ("One", " moment."):
        response.text(words)
        if not text:
            response.audio(SOUND)
    response.close()
    response.call("f", '{"a": 1}', "call_1")
    side.end(response, "completed")
    return events


WHOLE = conversation()

FREE = {
    "response.output_audio.delta",
    "conversation.item.input_audio_transcription.delta",
    "conversation.created",
    "session.updated",
}
"""What may be missing, or come twice, without anybody noticing."""


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("out_of_band", [False, True])
def test_what_is_right_passes(text: bool, out_of_band: bool) -> None:
    assert violations(conversation(text=text, out_of_band=out_of_band)) == []


@pytest.mark.parametrize("place", [i for i, event in enumerate(WHOLE) if event["type"] not in FREE])
def test_no_event_can_be_missing(place: int) -> None:
    events = WHOLE[:place] + WHOLE[place + 1 :]
    if WHOLE[place]["type"].endswith("transcription.completed"):
        # Transcription is a separate process; it may never end.
        assert violations(events) == []
    else:
        assert violations(events) != []


@given(place=st.integers(0, len(WHOLE) - 1))
def test_no_event_comes_twice(place: int) -> None:
    again = {**WHOLE[place], "event_id": "other"}
    if again["type"] in FREE:
        return
    assert violations([*WHOLE[: place + 1], again, *WHOLE[place + 1 :]]) != []


@given(place=st.integers(0, len(WHOLE) - 1))
def test_event_ids_are_unique(place: int) -> None:
    events = copy.deepcopy(WHOLE)
    events[place]["event_id"] = "same"
    events[(place + 1) % len(WHOLE)]["event_id"] = "same"
    assert any("was used before" in problem for problem in violations(events))


@given(st.permutations(range(len(WHOLE))))
def test_any_order_is_survived(order: list[int]) -> None:
    problems = violations([WHOLE[i] for i in order])
    kinds = [WHOLE[i]["type"] for i in order]
    if kinds[0] != "session.created":
        assert any("before session.created" in problem for problem in problems)


def _late(events: list[JsonObject], kind: str, after: str) -> list[JsonObject]:
    """The same with the first event of a type moved after the first of another."""
    moved = next(event for event in events if event["type"] == kind)
    rest = [event for event in events if event is not moved]
    place = next(i for i, event in enumerate(rest) if event["type"] == after)
    return [*rest[: place + 1], moved, *rest[place + 1 :]]


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"),
        ("input_audio_buffer.speech_stopped", "input_audio_buffer.committed"),
        ("conversation.item.done", "response.created"),
        ("response.created", "response.output_item.added"),
        ("response.content_part.added", "response.output_audio_transcript.delta"),
        ("response.output_audio.done", "response.content_part.done"),
        ("response.output_item.done", "response.done"),
        ("response.function_call_arguments.done", "response.done"),
    ],
)
def test_what_comes_too_late(kind: str, after: str) -> None:
    assert violations(WHOLE) == []
    assert violations(_late(WHOLE, kind, after)) != []


def _changed(kind: str, **fields: Any) -> list[JsonObject]:
    events = copy.deepcopy(WHOLE)
    next(event for event in events if event["type"] == kind).update(fields)
    return events


@pytest.mark.parametrize(
    ("events", "word"),
    [
        (_changed("response.output_audio_transcript.done", transcript="Two."), "deltas"),
        (_changed("response.function_call_arguments.done", arguments="{}"), "deltas"),
        (_changed("response.output_item.added", output_index=3), "output_index"),
        (_changed("response.output_audio.delta", response_id="resp_x"), "not created"),
        (_changed("input_audio_buffer.committed", item_id="item_x"), "speech stopped for"),
        (_changed("session.created", event_id=""), "no event_id"),
    ],
)
def test_what_is_wrong_is_named(events: list[JsonObject], word: str) -> None:
    assert any(word in problem for problem in violations(events))


def test_two_responses_of_one_conversation() -> None:
    side, events = begun()
    grammar = Grammar()
    for options in ({}, {"conversation": "none"}):
        side.respond(options).begin()
        side.active = None
    assert [problem for event in events for problem in grammar.feed(event)] == []
    side.respond().begin()
    assert any("is active" in problem for problem in grammar.feed(events[-1]))
    assert len(grammar.finish()) == 3


@pytest.mark.parametrize(
    ("reason", "fine"), [("turn_detected", True), ("max_output_tokens", False), (None, False)]
)
def test_a_cancelled_response_says_why(reason: str | None, fine: bool) -> None:
    side, events = begun()
    response = side.respond()
    response.begin()
    response.open()
    response.text("a")
    response.audio(SOUND)
    side.end(response, "cancelled", reason=reason)
    assert (violations(events) == []) == fine
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"
