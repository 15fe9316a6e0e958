"""What every core promises, whatever the protocol: messages in, events and messages out."""

from __future__ import annotations

import contextlib
import copy
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cores import STAGES, GeminiStage, Stage
from support.dialects import RATE, USED, USED_AUDIO
from support.lawful import lawful

from pipeline.clock import NS_PER_S
from pipeline.errors import CascadeError
from pipeline.events import (
    Event,
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolCancelled,
    Transcript,
    Usage,
)


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest) -> Stage:
    return STAGES[request.param]()


@pytest.fixture(params=["realtime", "gemini"])
def taking_turns(request: pytest.FixtureRequest) -> Stage:
    """Where the server decides that the user interrupts."""
    return STAGES[request.param]()


def but_transcripts(events: list[Event]) -> list[Event]:
    """Servers differ in when they tell what the user said."""
    return [event for event in events if not isinstance(event, Transcript)]


def test_a_turn_has_its_events_and_marks_in_order(stage: Stage) -> None:
    stage.user("Hello?")
    stage.reply("Hi there.")
    kinds = [type(event) for event in but_transcripts(stage.events)]
    assert [kinds[0], kinds[1], kinds[-1]] == [SpeechStarted, SpeechStopped, ReplyDone]
    assert kinds.index(ReplyStarted) == 2
    assert {event.turn for event in stage.events} == {1}
    assert [t.text for t in stage.of(Transcript) if t.final] == ["Hello?"]
    assert stage.done() == [(1, "reply-1", "completed")]
    names = ["speech.start", "committed", "model.first_audio", "tts.last_audio"]
    times = [stage.marks[1, name] for name in names]
    assert times == sorted(times)
    assert stage.marks[1, "committed"] <= stage.marks[1, "model.first_text"]
    assert stage.history() == [("user", "Hello?", 1), ("assistant", "Hi there.", 1)]
    assert stage.sent == []


def test_all_that_is_said_until_the_model_is_done_is_one_reply(stage: Stage) -> None:
    stage.user()
    stage.tell(stage.say.says("One.", 0.3), stage.say.says(" Two.", 0.5), stage.say.completed())
    frames = [event.frame for event in stage.of(ReplyAudio)]
    assert [frame.offset for frame in frames] == [
        sum(len(frame.samples) for frame in frames[:at]) for at in range(len(frames))
    ]
    assert len(stage.of(ReplyStarted)) == len(stage.of(ReplyDone)) == 1
    assert "".join(event.delta for event in stage.of(ReplyText)) == "One. Two."
    lawful(stage.events)


def test_a_barge_in_keeps_what_was_heard(stage: Stage) -> None:
    stage.user()
    stage.tell(stage.say.says("one two three four", 2.0))
    stage.heard("reply-1", 1.0)
    stage.began()
    stage.tell(stage.say.cut())
    [cut] = stage.of(ReplyInterrupted)
    assert (cut.turn, cut.id, cut.heard_text) == (1, "reply-1", "one two")
    assert stage.done() == [(1, "reply-1", "interrupted")]
    assert (1, "interrupted") in stage.marks
    # The position that is reported once the driver knows is the last one.
    stage.heard("reply-1", 1.5)
    stage.heard("reply-1", 2.0)
    kept = "one two three four" if stage.core.ledger.whole else "one two three"
    assert stage.history()[-1] == ("assistant", kept, 1)
    stage.ended()
    stage.reply("Yes?")
    assert stage.done()[1:] == [(2, "reply-2", "completed")]


def test_what_is_left_of_a_reply_that_was_interrupted_is_dropped(taking_turns: Stage) -> None:
    stage = taking_turns
    stage.user()
    stage.tell(stage.say.says("A long story"))
    stage.began()
    assert stage.tell(stage.say.says("that goes on")) == []
    assert stage.tell(stage.say.cut()) == []
    stage.ended()
    stage.reply("Yes?")
    assert [text.delta for text in stage.of(ReplyText)] == ["A long story", "Yes?"]


def test_a_whole_reply_that_is_still_played_is_interrupted_but_not_done_twice(
    taking_turns: Stage,
) -> None:
    stage = taking_turns
    stage.user()
    stage.reply("one two three four")
    stage.heard("reply-1", 0.5)
    assert stage.began() == [ReplyInterrupted(1, "reply-1", "one two"), SpeechStarted(2)]
    assert stage.done() == [(1, "reply-1", "completed")]
    stage.ended()
    stage.began()
    assert len(stage.of(ReplyInterrupted)) == 1


def test_a_reply_that_was_heard_is_not_interrupted(stage: Stage) -> None:
    stage.user()
    stage.reply("one two")
    # Within the blocks of a device.
    stage.heard("reply-1", 1 - 100 / RATE)
    assert stage.began() == [SpeechStarted(2)]
    assert stage.sent == []


def test_a_turn_without_an_answer_is_closed_when_the_user_goes_on(taking_turns: Stage) -> None:
    taking_turns.user()
    done = [ReplyDone(1, "", "interrupted"), SpeechStarted(2)]
    assert but_transcripts(taking_turns.began()) == done
    taking_turns.ended()
    taking_turns.reply()
    assert taking_turns.done()[1:] == [(2, "reply-2", "completed")]


def test_tools_keep_the_turn_open_until_the_model_has_spoken_of_them(stage: Stage) -> None:
    stage.user()
    stage.tell(stage.say.says("Let me see."), stage.say.calls("c1", "c2"))
    assert [(c.turn, c.id, c.name) for c in stage.of(ToolCall)] == [
        *((1, "c1", "weather"), (1, "c2", "weather")),
    ]
    stage.result("c2", "sun")
    stage.result("c1", "rain")
    results = [found for message in stage.sent if (found := result_of(stage, message))]
    assert results == [("c2", "sun"), ("c1", "rain")]
    assert len([m for m in stage.sent if m.get("type") == "response.create"]) == (
        not isinstance(stage, GeminiStage)
    )
    assert not stage.done()
    for call in ("c1", "another"):
        with pytest.raises(CascadeError, match=f"no tool call '{call}' is open"):
            stage.result(call)
    stage.reply(" It rains.")
    assert stage.done() == [(1, "reply-1", "completed")]
    assert stage.history()[-1] == ("assistant", "Let me see. It rains.", 1)


def test_a_call_is_told_once(stage: Stage) -> None:
    stage.user()
    stage.tell(stage.say.calls("c1", "c1"))
    assert [call.id for call in stage.of(ToolCall)] == ["c1"]


def result_of(stage: Stage, message: Any) -> Any:
    """The result in a message to the server."""
    if isinstance(stage, GeminiStage):
        return message["id"], message["response"]["output"]
    return stage.say.result_of(message)


def test_a_result_that_comes_late_is_one_more_reply_of_its_turn(taking_turns: Stage) -> None:
    stage = taking_turns
    if isinstance(stage, GeminiStage):
        stage = GeminiStage(blocking=False)
    stage.user("Slow one.")
    stage.tell(stage.say.says("Let me see"), stage.say.calls("c1"))
    if isinstance(stage, GeminiStage):
        stage.tell(stage.say.completed())
    stage.listen()
    done = [ReplyDone(1, "reply-1", "completed"), SpeechStarted(2)]
    assert but_transcripts(stage.began()) == done
    stage.tell(stage.say.understood("And you?"))
    stage.ended()
    stage.reply("Fine.")
    stage.listen()
    stage.result()
    stage.reply("It is done.")
    assert stage.done()[1:] == [(2, "reply-2", "completed"), (1, "reply-1-2", "completed")]
    assert [turn for _, _, turn in stage.history()] == [1, 1, 2, 2, 1]
    last = [event.frame for event in stage.of(ReplyAudio) if event.id == "reply-1-2"]
    assert last[0].offset == 0
    lawful(stage.events)


def test_usage_is_what_the_bill_says(stage: Stage) -> None:
    stage.user()
    stage.tell(stage.say.says("Hi."), stage.say.billed())
    [used] = stage.of(Usage)
    audio = (used.input_audio_tokens, used.cached_audio_tokens, used.output_audio_tokens)
    tokens = (used.input_tokens, used.cached_tokens, used.output_tokens)
    assert (used.turn, used.kind, tokens) == (1, "reply", tuple(USED.values()))
    # The text model of Live hears nothing.
    assert audio == (tuple(USED_AUDIO.values()) if stage.say.kind != "openai-live" else (0, 0, 0))


def test_a_connection_that_is_lost_in_a_reply_ends_it_and_its_tools(stage: Stage) -> None:
    stage.user("Hello?")
    stage.reply("Hi there.")
    stage.listen()
    stage.user("More?")
    stage.tell(stage.say.says("Let me see."), stage.say.calls("c1"))
    told = but_transcripts(stage.lost())
    assert len(told) == 3 and told[-1] == ReplyDone(2, "reply-2", "failed")
    assert Failure(2, "direct", "gone", False) in told and ToolCancelled(2, "c1") in told
    assert (2, "failed") in stage.marks
    sent = len(stage.sent)
    assert stage.result() == [] and len(stage.sent) == sent, "nobody wants it any more"
    stage.resumed()
    stage.listen()
    stage.user("Again?")
    stage.reply("Back.")
    assert stage.done()[2:] == [(3, "reply-3", "completed")]
    assert stage.history()[:2] == [("user", "Hello?", 1), ("assistant", "Hi there.", 1)]


def test_a_connection_that_is_lost_between_turns_is_no_failure(taking_turns: Stage) -> None:
    taking_turns.user()
    taking_turns.reply()
    assert taking_turns.lost() == []


def test_a_connection_that_is_lost_for_good_ends_the_turn(taking_turns: Stage) -> None:
    taking_turns.began()
    ends = [Failure(1, "direct", "gone", True), ReplyDone(1, "", "failed")]
    assert taking_turns.lost(fatal=True) == ends


def test_oddities_are_counted_and_told_once(stage: Stage, caplog: Any) -> None:
    """Any server may send anything: only so many kinds are told apart."""
    with caplog.at_level(logging.WARNING):
        for number in (*range(600), 0):
            stage.core.strange(f"kind {number}")
    assert stage.core.odd.total() == 601
    assert len(caplog.records) == 500 and len(stage.core.odd) == 501
    assert stage.core.odd["kind 0"] == 2


MOVES = st.sampled_from(
    [
        *("began", "ended", "understood", "says", "calls", "completed", "cut", "billed"),
        *("heard", "result", "lost", "tick"),
    ]
)


@given(
    st.sampled_from([*STAGES.values(), lambda: GeminiStage(blocking=False)])
    | st.sampled_from(["silent", "interrupt"]).map(
        lambda how: lambda: GeminiStage(blocking=False, scheduling=how)
    ),
    st.lists(st.tuples(MOVES, st.integers(1, 30)), max_size=40),
)
def test_whatever_comes_turns_and_replies_are_in_order(make: Any, moves: list[Any]) -> None:
    stage, calls = make(), 0
    for move, number in moves:
        match move:
            case "began" | "ended":
                getattr(stage, move)()
            case "understood" | "says":
                stage.tell(getattr(stage.say, move)(f"{number} "))
            case "completed" | "cut" | "billed":
                stage.tell(getattr(stage.say, move)())
            case "calls":
                calls += 1
                stage.tell(stage.say.calls(f"c{calls}"))
            case "heard":
                for reply in stage.core.ledger.replies[-2:]:
                    stage.heard(reply.id, number / 20)
            case "result":
                with contextlib.suppress(CascadeError):
                    stage.result(f"c{calls}")
            case "lost":
                stage.lost()
                stage.resumed()
            case "tick":
                stage.tick(number / 3)
    stage.lost(fatal=True)
    stage.core.over()
    stage.collect()
    live = stage.say.kind == "openai-live"
    seen = lawful(stage.events, late_text=live)
    assert seen.begun.keys() == seen.done
    if not live:
        assert seen.ended == set(range(1, seen.turns + 1))
    texts = "".join(event.delta for event in stage.of(ReplyText))
    said = [reply.text for reply in stage.core.ledger.replies]
    assert texts.split() == " ".join(said).split() or not live


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text("ab= ", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    ),
    max_leaves=4,
)
SAYINGS = ("began", "ended", "understood", "says", "calls", "completed", "cut", "billed", "error")


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every field of a message, and in its fields: what holds it, and its name there."""
    inner = data.items() if isinstance(data, dict) else enumerate(data)
    return [
        found
        for name, value in list(inner)
        for found in [
            *(places(value) if isinstance(value, dict | list) else []),
            (data, name),
        ]
    ]


@given(st.sampled_from(list(STAGES.values())), st.lists(st.sampled_from(SAYINGS)), st.data())
def test_no_message_that_is_not_as_it_should_be_is_an_end(
    make: type[Stage], said: list[str], data: Any
) -> None:
    """Fields are missing, null, of another kind, or new; then the conversation goes on."""
    stage = make()
    for number, what in enumerate(said):
        words = (f"word {number}",) if what in ("understood", "says", "calls", "error") else ()
        for message in copy.deepcopy(getattr(stage.say, what)(*words)):
            if data.draw(st.booleans()):
                inside, name = data.draw(st.sampled_from(places(message)))
                inside[name] = data.draw(JSON)
                if isinstance(inside, dict) and data.draw(st.booleans()):
                    inside["brand new"] = inside.pop(name)
            stage.tell([message])
    stage.now += NS_PER_S
    stage.core.receive(data.draw(JSON))
    stage.lost()
    stage.resumed()
    stage.listen()
    stage.user()
    stage.reply()
    lawful(stage.events, late_text=stage.say.kind != "realtime")
    assert stage.done()[-1][2] == "completed"
