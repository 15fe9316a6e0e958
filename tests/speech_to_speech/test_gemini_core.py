from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st
from support.lawful import lawful

from pipeline.errors import CascadeError
from pipeline.events import (
    Event,
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolCancelled,
    Transcript,
    Usage,
)
from pipeline.speech_to_speech.connection import Outbox
from pipeline.speech_to_speech.gemini import (
    LEAD_S,
    GeminiCore,
    RememberingOutbox,
    sample_rate,
)
from pipeline.speech_to_speech.ledger import Parcel

PIECE = 2400


class Told:
    """A core, its marks, and all that it told."""

    def __init__(self, **how: Any) -> None:
        self.marks: list[tuple[int, str]] = []
        self.core = GeminiCore(
            lambda turn, name, _: self.marks.append((turn, name)), **{"blocking": False, **how}
        )
        self.events: list[Event] = []

    def collect(self) -> list[Event]:
        events = self.core.ledger.take()
        self.events += events
        return events

    def take(self, **message: Any) -> list[Event]:
        self.core.message(types.LiveServerMessage.model_validate(message), 7)
        return self.collect()

    def played(self, reply: str, samples: int) -> None:
        self.core.ledger.played(reply, samples)

    def result(self, call_id: str = "c1", output: str = "4") -> list[Event]:
        self.core.result(call_id, output, 7)
        return self.collect()

    def lost(self, why: str = "gone", *, fatal: bool = False) -> list[Event]:
        self.core.lost(why, 9, fatal=fatal)
        return self.collect()

    def content(self, **content: Any) -> list[Event]:
        return self.take(server_content=content)

    def start(self) -> list[Event]:
        return self.take(voice_activity={"voice_activity_type": "ACTIVITY_START"})

    def end(self) -> list[Event]:
        return self.take(voice_activity={"voice_activity_type": "ACTIVITY_END"})

    def heard(self, text: str, **more: Any) -> list[Event]:
        return self.content(input_transcription={"text": text, **more})

    def says(self, text: str, pieces: int = 1, mime: str = "audio/pcm;rate=24000") -> list[Event]:
        blob = {"data": b"\x01\x00" * PIECE, "mime_type": mime}
        part = {"inline_data": blob}
        events = [*self.content(model_turn={"parts": [part] * pieces})]
        return events + (self.content(output_transcription={"text": text}) if text else [])

    def call(self, id_: str = "c1", name: str = "weather") -> list[Event]:
        return self.take(
            tool_call={"function_calls": [{"id": id_, "name": name, "args": {"x": 1}}]}
        )

    def complete(self, **more: Any) -> list[Event]:
        return self.content(turn_complete=True, **more)

    def listen_to_the_end(self) -> None:
        for event in self.events:
            if isinstance(event, ReplyAudio):
                self.played(event.id, event.frame.offset + len(event.frame.samples))

    def turn(self, said: str = "hello", reply: str = "hi") -> None:
        self.start()
        self.heard(said)
        self.end()
        self.says(reply)
        self.complete()
        self.listen_to_the_end()


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def history(told: Told) -> list[tuple[str, str, int]]:
    return [(m.role, m.content, m.turn) for m in told.core.history]


def test_a_turn_with_voice_activity() -> None:
    told = Told()
    assert told.start() == [SpeechStarted(1)]
    assert told.heard("hel") == [Transcript(1, "hel", False)]
    assert told.heard("lo") == [Transcript(1, "hello", False)]
    assert told.end() == [SpeechStopped(1)]
    assert kinds(told.says("hi")) == ["ReplyStarted", "ReplyAudio", "ReplyText"]
    assert told.content(generation_complete=True) == []
    assert told.complete() == [Transcript(1, "hello", True), ReplyDone(1, "reply-1", "completed")]
    assert [name for _, name in told.marks] == [
        *("speech.start", "committed", "model.start", "model.first_audio", "model.first_text"),
        "tts.last_audio",
    ]
    assert history(told) == [("user", "hello", 1), ("assistant", "hi", 1)]
    assert told.core.quiet


def test_without_signs_the_first_output_commits() -> None:
    told = Told()
    assert kinds(told.heard("hello")) == ["SpeechStarted", "Transcript"]
    assert kinds(told.says("hi"))[:2] == ["SpeechStopped", "ReplyStarted"]
    assert told.marks.index((1, "committed")) < told.marks.index((1, "model.first_audio"))
    told.complete()
    assert kinds(told.heard("again"))[0] == "ReplyInterrupted"  # it still plays
    told = Told()
    assert kinds(told.says("hi"))[:3] == ["SpeechStarted", "SpeechStopped", "ReplyStarted"]


def test_a_transcript_that_comes_after_its_reply_belongs_to_its_turn() -> None:
    told = Told()
    told.says("hi")
    told.complete()
    assert told.heard("hello") == [Transcript(1, "hello", True)]
    assert history(told) == [("user", "hello", 1), ("assistant", "hi", 1)]


def test_a_transcript_that_is_finished_is_told_once() -> None:
    told = Told()
    told.start()
    assert told.heard("hello", finished=True) == [Transcript(1, "hello", True)]
    told.end()
    told.says("hi")
    assert kinds(told.complete()) == ["ReplyDone"]


def test_an_interruption_keeps_what_was_heard_by_share_of_the_sound() -> None:
    told = Told()
    told.start()
    told.end()
    told.says("one two three four", pieces=4)
    told.played("reply-1", PIECE)
    events = told.content(interrupted=True)
    assert ReplyInterrupted(1, "reply-1", "one") in events
    assert ReplyDone(1, "reply-1", "interrupted") in events
    assert events[-1] == SpeechStarted(2)
    assert told.complete() == []
    told.played("reply-1", 2 * PIECE)  # reported right after
    assert history(told) == [("assistant", "one two", 1)]
    told.heard("wait")
    told.says("yes")
    assert told.complete()[-1] == ReplyDone(2, "reply-2", "completed")


def test_after_a_barge_in_the_old_sound_is_dropped_until_the_server_has_stopped() -> None:
    told = Told()
    told.start()
    told.end()
    told.says("a long story")
    assert kinds(told.start()) == ["ReplyInterrupted", "ReplyDone", "SpeechStarted"]
    assert told.says("that goes on") == []
    assert told.content(interrupted=True) == []
    assert told.content(output_transcription={"text": "and on"}) == []
    assert told.complete() == []
    told.end()
    assert kinds(told.says("yes")) == ["ReplyStarted", "ReplyAudio", "ReplyText"]


def test_a_turn_complete_that_crosses_the_barge_in_ends_nothing() -> None:
    told = Told()
    told.start()
    told.end()
    told.says("a story")
    told.start()
    assert told.complete() == []
    told.end()
    told.says("yes")
    assert told.complete() == [ReplyDone(2, "reply-2", "completed")]


def test_a_whole_reply_that_is_still_played_is_interrupted_but_not_done_twice() -> None:
    told = Told()
    told.start()
    told.end()
    told.says("one two", pieces=2)
    told.complete()
    told.played("reply-1", PIECE)
    assert told.start() == [ReplyInterrupted(1, "reply-1", "one"), SpeechStarted(2)]


def test_one_that_was_heard_is_not() -> None:
    told = Told()
    told.turn()
    assert told.start() == [SpeechStarted(2)]


def test_words_after_a_pause_end_the_turn_that_was_not_answered() -> None:
    told = Told()
    told.start()
    told.end()
    assert told.start() == [ReplyDone(1, "", "interrupted"), SpeechStarted(2)]


def test_a_tool_that_is_waited_for() -> None:
    told = Told(blocking=True)
    told.start()
    told.end()
    assert kinds(told.call()) == ["ReplyStarted", "ToolCall"]
    assert told.events[-1] == ToolCall(1, "c1", "weather", '{"x": 1}')
    assert not told.core.quiet
    assert told.result() == []
    told.says("sunny")
    assert told.complete() == [ReplyDone(1, "reply-1", "completed")]
    with pytest.raises(CascadeError, match="no tool call 'c1'"):
        told.result()


@pytest.mark.parametrize("early", [True, False])
def test_a_tool_that_is_not_waited_for(early: bool) -> None:
    told = Told()
    told.start()
    told.end()
    told.says("Let me see")
    told.call()
    if early:
        told.result()
    told.says("wait")
    assert told.complete() == []
    if not early:
        told.result()
    assert kinds(told.says("sunny")) == ["ReplyAudio", "ReplyText"]
    assert told.complete() == [ReplyDone(1, "reply-1", "completed")]
    # What comes after a call, or in another breath, is a sentence of its own.
    assert history(told) == [("assistant", "Let me see wait sunny", 1)]


def test_a_silent_result_ends_the_turn() -> None:
    told = Told(scheduling="silent")
    told.start()
    told.end()
    told.says("noted")
    told.call()
    assert told.complete() == []
    assert told.result() == [ReplyDone(1, "reply-1", "completed")]


def test_a_late_result_is_one_more_reply_of_the_turn_of_its_call() -> None:
    told = Told()
    told.start()
    told.end()
    told.says("Let me see")
    told.call()
    told.complete()
    told.listen_to_the_end()
    assert told.start() == [ReplyDone(1, "reply-1", "completed"), SpeechStarted(2)]
    told.end()
    told.says("of course")
    assert told.complete() == [ReplyDone(2, "reply-2", "completed")]
    told.listen_to_the_end()
    assert not told.core.quiet
    told.result()
    assert told.says("sunny")[0] == ReplyStarted(1, "reply-1-2")
    assert told.complete() == [ReplyDone(1, "reply-1-2", "completed")]
    assert [turn for _, _, turn in history(told)] == [1, 2, 1]
    assert told.core.quiet


def test_a_result_that_interrupts_is_no_word_of_the_users() -> None:
    told = Told(scheduling="interrupt")
    told.start()
    told.end()
    told.says("Let me see")
    told.call()
    told.complete()
    told.listen_to_the_end()
    told.start()
    told.end()
    told.says("one two", pieces=2)
    told.result()
    events = told.content(interrupted=True)
    assert kinds(events) == ["ReplyInterrupted", "ReplyDone"]
    assert told.complete() == []
    assert told.says("sunny")[0] == ReplyStarted(1, "reply-1-2")
    assert told.core.ledger.number == 2


def test_a_result_that_interrupts_its_own_filler() -> None:
    told = Told(scheduling="interrupt")
    told.start()
    told.end()
    told.call()
    told.says("Let me see")
    told.result()
    assert told.content(interrupted=True) == told.complete() == []
    assert kinds(told.says("sunny")) == ["ReplyAudio", "ReplyText"]
    assert told.complete() == [ReplyDone(1, "reply-1", "completed")]


def test_cancelled_calls_are_dropped() -> None:
    told = Told(blocking=True)
    told.start()
    told.end()
    told.call()
    told.start()
    assert told.take(tool_call_cancellation={"ids": ["c1", "nobody's"]}) == [ToolCancelled(1, "c1")]
    assert told.result() == told.core.take() == []
    told.content(interrupted=True)
    told.complete()
    told.end()
    told.says("yes")
    assert told.complete() == [ReplyDone(2, "reply-2", "completed")]


def test_an_interrupted_wait_without_a_word_of_the_server_loses_no_reply() -> None:
    told = Told(blocking=True)
    told.start()
    told.end()
    told.call()
    told.start()
    told.end()
    assert kinds(told.says("yes"))[0] == "ReplyStarted"


def test_usage_with_its_modalities() -> None:
    told = Told()
    told.turn()
    usage = {
        "prompt_token_count": 100,
        "tool_use_prompt_token_count": 5,
        "cached_content_token_count": 30,
        "response_token_count": 40,
        "thoughts_token_count": 2,
        "prompt_tokens_details": [
            {"modality": "AUDIO", "token_count": 70},
            {"modality": "TEXT", "token_count": 30},
        ],
        "cache_tokens_details": [{"modality": "AUDIO", "token_count": 20}],
        "response_tokens_details": [{"modality": "AUDIO", "token_count": 38}],
    }
    assert told.take(usage_metadata=usage) == [Usage(1, 105, 30, 42, 70, 20, 38)]


def test_sound_at_another_rate_is_converted_and_told_once() -> None:
    told = Told()
    told.start()
    told.end()
    events = told.says("", pieces=4, mime="audio/pcm;rate=16000")
    failures = [e for e in events if isinstance(e, Failure)]
    assert len(failures) == 1
    assert "16000 Hz" in failures[0].message and not failures[0].fatal
    frames = [e.frame for e in events if isinstance(e, ReplyAudio)]
    assert {frame.rate for frame in frames} == {24_000}
    assert sum(len(frame.samples) for frame in frames) == pytest.approx(4 * PIECE * 1.5, abs=100)


def test_what_means_nothing_is_counted() -> None:
    told = Told()
    told.says("", mime="video/mp4")
    told.take(voice_activity={})
    told.take(tool_call={"function_calls": [{"name": "no id"}]})
    told.content(model_turn={"parts": [{"executable_code": {"code": "x", "language": "PYTHON"}}]})
    assert told.events == []
    assert sum(told.core.odd.values()) == 4


def test_nothing_to_say() -> None:
    told = Told()
    told.start()
    told.heard("hm")
    told.end()
    assert told.complete() == [Transcript(1, "hm", True), ReplyDone(1, "", "skipped")]


def test_a_turn_that_was_refused_has_failed() -> None:
    told = Told()
    told.start()
    told.end()
    events = told.complete(turn_complete_reason="RESPONSE_REJECTED")
    assert kinds(events) == ["Failure", "ReplyDone"]
    assert "response rejected" in events[0].message
    assert events[1] == ReplyDone(1, "", "failed")


def test_a_filler_of_a_thinking_model_does_not_end_the_turn() -> None:
    told = Told()
    told.start()
    told.end()
    told.says("hm")
    assert told.complete(interaction_status="IN_PROGRESS") == []
    told.says("yes")
    assert told.complete(interaction_status="IDLE") == [ReplyDone(1, "reply-1", "completed")]


def test_by_hand_the_servers_signs_count_for_nothing() -> None:
    told = Told(manual=True)
    told.core.user_began(1)
    told.core.user_stopped(2)
    assert kinds(told.collect()) == ["SpeechStarted", "SpeechStopped"]
    assert told.start() == told.end() == []
    told.says("yes")
    assert told.complete() == [ReplyDone(1, "reply-1", "completed")]


def test_a_connection_lost_in_a_reply() -> None:
    told = Told()
    told.start()
    told.end()
    told.says("one")
    told.call()
    events = told.lost()
    assert events == [
        Failure(1, "direct", "gone", False),
        ToolCancelled(1, "c1"),
        ReplyDone(1, "reply-1", "failed"),
    ]
    assert told.core.quiet


def test_a_connection_lost_before_the_reply_loses_nothing() -> None:
    told = Told()
    told.start()
    told.heard("hello")
    told.end()
    assert told.lost() == []
    told.core.resumed()
    assert told.start() == told.end() == []
    told.heard("hello")
    told.says("hi")
    assert told.complete() == [Transcript(1, "hello", True), ReplyDone(1, "reply-1", "completed")]


def test_a_connection_lost_for_good_ends_the_turn() -> None:
    told = Told()
    told.start()
    events = told.lost(fatal=True)
    assert events == [Failure(1, "direct", "gone", True), ReplyDone(1, "", "failed")]


@pytest.mark.parametrize(
    ("mime", "rate"),
    [
        ("audio/pcm", 24_000),
        ("audio/pcm;rate=24000", 24_000),
        ("Audio/PCM; Rate=8000", 8000),
        ("audio/pcm;rate=x", None),
        ("audio/pcm;rate=0", None),
        ("audio/opus", None),
        ("", None),
    ],
)
def test_sample_rates(mime: str, rate: int | None) -> None:
    assert sample_rate(mime) == rate


MOVES = (
    "start",
    "end",
    "heard",
    "says",
    "call",
    "complete",
    "interrupt",
    "cancel",
    "answer",
    "lost",
)


@given(
    st.lists(st.sampled_from(MOVES), max_size=40),
    st.booleans(),
    st.sampled_from(["", "silent", "interrupt"]),
)
def test_whatever_comes_turns_and_replies_are_in_order(
    moves: list[str], blocking: bool, scheduling: str
) -> None:
    told, calls = Told(blocking=blocking, scheduling=scheduling), 0
    for move in moves:
        match move:
            case "start":
                told.start()
            case "end":
                told.end()
            case "heard":
                told.heard("word ")
            case "says":
                told.says("more ")
            case "call":
                calls += 1
                told.call(f"c{calls}")
            case "complete":
                told.complete()
            case "interrupt":
                told.content(interrupted=True)
            case "cancel":
                told.take(tool_call_cancellation={"ids": [f"c{calls}"]})
            case "answer":
                with contextlib.suppress(CascadeError):
                    told.result(f"c{calls}")
            case "lost":
                told.lost()
                told.core.resumed()
    told.lost("over", fatal=True)
    seen = lawful(told.events)
    assert seen.ended == set(range(1, seen.turns + 1))
    assert seen.begun.keys() == seen.done
    assert len(told.marks) == len(set(told.marks))


def sound(value: int, seconds: float = 0.02) -> Parcel:
    samples = np.full(round(seconds * 16_000), value, np.int16)
    return Parcel(samples.tobytes(), seconds, lasting=True)


def silent(parcel: Parcel) -> bool:
    return not np.frombuffer(parcel.message, np.int16).any()


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 60))
def test_nothing_that_was_said_is_lost_by_a_new_connection(loud: list[bool], sent: int) -> None:
    box = RememberingOutbox(lambda: True)
    parcels = [sound(9000 + place if each else 0) for place, each in enumerate(loud)]
    for parcel in parcels:
        box.put(parcel)
    for _ in range(min(sent, len(parcels))):
        box.sent()
    box.broken()
    box.again()
    left = []
    while box.first is not None:
        left.append(box.sent())
    assert left == parcels[len(parcels) - len(left) :]
    assert [p for p in left if not silent(p)] == [p for p in parcels if not silent(p)]


def test_silence_is_not_sent_again_but_for_what_leads_to_speech() -> None:
    box = RememberingOutbox(lambda: False)
    for parcel in [sound(0, 3.0), sound(0, LEAD_S), sound(9000), sound(0)]:
        box.put(parcel)
        box.sent()
    box.again()
    assert box.first == sound(0, LEAD_S)


def test_results_are_not_given_to_another_connection_if_the_first_broke() -> None:
    box = RememberingOutbox(lambda: True)
    box.put(Parcel({"id": "c1"}))
    box.again()
    assert box.first is not None
    box.broken()
    assert box.first is None


def test_sound_that_nobody_takes_does_not_pile_up() -> None:
    box = Outbox(ahead_s=3.0)
    for _ in range(9):
        box.put(sound(0, 1.0))
    box.put(Parcel("a message"))
    left = []
    while box.first is not None:
        left.append(box.sent())
    assert [parcel.seconds for parcel in left] == [1.0, 1.0, 1.0, 0.0]


def test_results_of_tools() -> None:
    for text in ('{"a": 1}', "4", "[1]", "no JSON", "[" * 100_000):
        told = Told(scheduling="silent")
        told.start()
        told.call()
        told.result("c1", text)
        (parcel,) = told.core.take()
        response = {"a": 1} if text.startswith("{") else {"output": text}
        assert parcel.message == {
            **{"id": "c1", "name": "weather", "response": response, "scheduling": "SILENT"}
        }
