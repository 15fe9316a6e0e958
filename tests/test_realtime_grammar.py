"""The checker itself: it passes what is right, and names what is wrong."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.realtime_grammar import Grammar, violations

from pipeline.realtime import settings
from pipeline.realtime.conversation import Conversation
from pipeline.realtime.events import Author, Event
from pipeline.realtime.response import Response
from pipeline.realtime.usage import Meter

SOUND = np.arange(4800, dtype=np.int16)


def conversation(*, text: bool = False, out_of_band: bool = False) -> list[Event]:
    """What a server sends for one spoken turn that calls a tool after a preamble."""
    author = Author("t")
    session = settings.defaults("sess_1", "m", 0)
    if text:
        session["output_modalities"] = ["text"]
    items = Conversation(author)
    events = [author.event("session.created", session=session)]
    where = {"item_id": "item_u"}
    kind = "input_audio_buffer"
    events += [
        author.event(f"{kind}.speech_started", **where, audio_start_ms=0),
        author.event(f"{kind}.speech_stopped", **where, audio_end_ms=900),
        author.event(f"{kind}.committed", **where, previous_item_id=None),
    ]
    user = author.user_audio("item_u")
    events += [items.begin(user), items.finish(user)]
    where["content_index"] = 0
    kind = "conversation.item.input_audio_transcription"
    usage = {"type": "duration", "seconds": 0.9}
    events += [
        author.event(f"{kind}.delta", **where, delta="hi"),
        author.event(f"{kind}.completed", **where, transcript="hi", usage=usage),
    ]
    options = {"conversation": "none"} if out_of_band else {}
    response = Response(author, session, options, items)
    events += response.created() + response.open() + response.text("One")
    if not text:
        events += response.audio(SOUND)
    events += response.text(" moment.")
    if not text:
        events += response.audio(SOUND)
    events += response.close() + response.call("f", '{"a": 1}', "call_1")
    usage = Meter().usage(items.entries(), *response.made)
    return events + response.done("completed", usage)


WHOLE = conversation()

FREE = {"response.output_audio.delta", f"{'conversation.item'}.input_audio_transcription.delta"}
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


def _late(events: list[Event], kind: str, after: str) -> list[Event]:
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


def _changed(kind: str, **fields: Any) -> list[Event]:
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
        (_changed("session.created", type="output_audio_buffer.started"), "WebRTC"),
        (_changed("session.created", type="response.cancelled"), "no such event"),
        (_changed("session.created", session=None), "lacks session"),
        (_changed("session.created", event_id=""), "no event_id"),
    ],
)
def test_what_is_wrong_is_named(events: list[Event], word: str) -> None:
    assert any(word in problem for problem in violations(events))


def test_two_responses_of_one_conversation() -> None:
    author, session = Author("t"), settings.defaults("s", "m", 0)
    items = Conversation(author)
    grammar = Grammar()
    grammar.feed(author.event("session.created", session=session))
    first, second, aside = (
        Response(author, session, options, items) for options in ({}, {}, {"conversation": "none"})
    )
    assert grammar.feed(first.created()[0]) == []
    assert grammar.feed(aside.created()[0]) == []
    assert any("is active" in problem for problem in grammar.feed(second.created()[0]))
    assert len(grammar.finish()) == 3


def test_a_cancelled_response_says_why() -> None:
    author, session = Author("t"), settings.defaults("s", "m", 0)
    items = Conversation(author)
    for reason, fine in (("turn_detected", True), ("max_output_tokens", False), (None, False)):
        response = Response(author, session, {}, items)
        events = [author.event("session.created", session=session)]
        events += response.created() + response.open() + response.text("a") + response.audio(SOUND)
        usage = Meter().usage([], *response.made)
        events += response.done("cancelled", usage, reason=reason)
        assert (violations(events) == []) == fine
        assert events[-1]["response"]["output"][0]["status"] == "incomplete"
