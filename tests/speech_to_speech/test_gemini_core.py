"""What is particular to Gemini: turns without signs, its tools, its second connections."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cores import GeminiStage
from support.dialects import pcm

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
)
from pipeline.speech_to_speech.connection import Outbox
from pipeline.speech_to_speech.gemini import LEAD_S, RememberingOutbox, sample_rate
from pipeline.speech_to_speech.ledger import Parcel


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def asked(**how: object) -> GeminiStage:
    """The user has said something, of which there is no transcript."""
    stage = GeminiStage(**how)
    stage.began()
    stage.ended()
    return stage


def test_without_signs_the_first_output_commits() -> None:
    stage = GeminiStage(signals=False)
    assert kinds(stage.tell(stage.say.understood("hello"))) == ["SpeechStarted", "Transcript"]
    assert kinds(stage.tell(stage.say.says("hi")))[:2] == ["SpeechStopped", "ReplyStarted"]
    assert stage.marks[1, "committed"] <= stage.marks[1, "model.first_audio"]
    stage.tell(stage.say.completed())
    again = stage.tell(stage.say.understood("again"))
    assert kinds(again)[0] == "ReplyInterrupted", "it still plays"
    stage = GeminiStage()
    assert kinds(stage.tell(stage.say.says("hi")))[:3] == [
        *("SpeechStarted", "SpeechStopped", "ReplyStarted"),
    ]


def test_an_interruption_may_be_the_first_sign_of_a_turn() -> None:
    stage = asked()
    stage.tell(stage.say.says("one two three four"))
    assert kinds(stage.content(interrupted=True)) == [
        *("ReplyInterrupted", "ReplyDone", "SpeechStarted"),
    ]
    assert stage.content(turnComplete=True) == []


def test_a_transcript_that_comes_after_its_reply_belongs_to_its_turn() -> None:
    stage = GeminiStage()
    stage.reply("hi")
    assert stage.tell(stage.say.understood("hello")) == [Transcript(1, "hello", True)]
    assert stage.history() == [("user", "hello", 1), ("assistant", "hi", 1)]


def test_transcripts_add_up_and_one_that_is_finished_is_told_once() -> None:
    stage = GeminiStage()
    stage.began()
    assert stage.tell(stage.say.understood("hel")) == [Transcript(1, "hel", False)]
    finished = {"text": "lo", "finished": True}
    assert stage.content(inputTranscription=finished) == [Transcript(1, "hello", True)]
    stage.ended()
    stage.tell(stage.say.says("hi"))
    assert kinds(stage.tell(stage.say.completed())) == ["ReplyDone"]


def test_a_turn_complete_that_crosses_the_barge_in_ends_nothing() -> None:
    stage = asked()
    stage.tell(stage.say.says("a story"))
    stage.began()
    assert stage.tell(stage.say.completed()) == []
    stage.ended()
    stage.reply("yes")
    assert stage.done()[1:] == [(2, "reply-2", "completed")]


def test_after_an_interruption_only_text_of_the_old_reply_can_come() -> None:
    stage = asked()
    stage.tell(stage.say.says("a long story"))
    stage.began()
    assert stage.content(interrupted=True) == []
    assert stage.content(outputTranscription={"text": "and on"}) == []


@pytest.mark.parametrize("early", [True, False])
def test_a_tool_that_is_not_waited_for(early: bool) -> None:
    stage = asked(blocking=False)
    stage.tell(stage.say.says("Let me see"), stage.say.calls("c1"))
    if early:
        stage.result()
    stage.tell(stage.say.says("wait"))
    assert stage.tell(stage.say.completed()) == []
    if not early:
        stage.result()
    assert kinds(stage.tell(stage.say.says("sunny"))) == ["ReplyAudio", "ReplyText"]
    stage.tell(stage.say.completed())
    assert stage.done() == [(1, "reply-1", "completed")]
    # What comes after a call, or in another breath, is a sentence of its own.
    assert stage.history() == [("assistant", "Let me see wait sunny", 1)]


def test_a_tool_that_is_waited_for_is_under_way() -> None:
    stage = asked()
    assert kinds(stage.tell(stage.say.calls("c1"))) == ["ReplyStarted", "ToolCall"]
    assert not stage.core.quiet
    stage.result()
    stage.reply()
    assert stage.core.quiet


def test_a_silent_result_ends_the_turn() -> None:
    stage = asked(blocking=False, scheduling="silent")
    stage.tell(stage.say.says("noted"), stage.say.calls("c1"))
    assert stage.tell(stage.say.completed()) == []
    assert stage.result() == [ReplyDone(1, "reply-1", "completed")]


def test_a_result_that_interrupts_is_no_word_of_the_users() -> None:
    stage = asked(blocking=False, scheduling="interrupt")
    stage.tell(stage.say.says("Let me see"), stage.say.calls("c1"), stage.say.completed())
    stage.listen()
    stage.began()
    stage.ended()
    stage.tell(stage.say.says("one two"))
    stage.result()
    assert kinds(stage.tell(stage.say.cut())) == ["ReplyInterrupted", "ReplyDone"]
    assert stage.tell(stage.say.says("sunny"))[0] == ReplyStarted(1, "reply-1-2")
    assert stage.core.ledger.number == 2


def test_a_result_that_interrupts_its_own_filler() -> None:
    stage = asked(blocking=False, scheduling="interrupt")
    stage.tell(stage.say.calls("c1"), stage.say.says("Let me see"))
    stage.result()
    assert stage.tell(stage.say.cut()) == []
    assert kinds(stage.tell(stage.say.says("sunny"))) == ["ReplyAudio", "ReplyText"]
    assert stage.tell(stage.say.completed()) == [ReplyDone(1, "reply-1", "completed")]


def test_calls_that_the_server_cancels_are_dropped() -> None:
    stage = asked()
    stage.tell(stage.say.calls("c1"))
    stage.began()
    cancellation = {"toolCallCancellation": {"ids": ["c1", "nobody's"]}}
    assert stage.tell([cancellation]) == [ToolCancelled(1, "c1")]
    assert stage.result() == stage.sent == []
    stage.tell(stage.say.cut())
    stage.ended()
    stage.reply("yes")
    assert stage.done()[-1] == (2, "reply-2", "completed")


def test_an_interrupted_wait_without_a_word_of_the_server_loses_no_reply() -> None:
    stage = asked()
    stage.tell(stage.say.calls("c1"))
    stage.began()
    stage.ended()
    assert kinds(stage.tell(stage.say.says("yes")))[0] == "ReplyStarted"


def test_sound_at_another_rate_is_converted_and_told_once() -> None:
    stage = asked()
    piece = stage.say.sound(pcm(0.1), "audio/pcm;rate=16000")
    stage.tell([piece] * 4)
    [failure] = stage.of(Failure)
    assert "16000 Hz" in failure.message and not failure.fatal
    frames = [event.frame for event in stage.of(ReplyAudio)]
    assert {frame.rate for frame in frames} == {24_000}
    assert sum(len(frame.samples) for frame in frames) == pytest.approx(4 * 3600, abs=100)


def test_what_means_nothing_is_counted() -> None:
    stage = GeminiStage()
    stage.tell([stage.say.sound(pcm(0.1), "video/mp4"), {"voiceActivity": {}}])
    stage.tell([{"toolCall": {"functionCalls": [{"name": "no id"}]}}])
    stage.content(modelTurn={"parts": [{"executableCode": {"code": "x", "language": "PYTHON"}}]})
    assert stage.events == []
    assert stage.core.odd.total() == 4


def test_nothing_to_say() -> None:
    stage = GeminiStage()
    stage.user("hm")
    assert stage.tell(stage.say.completed()) == [
        *(Transcript(1, "hm", True), ReplyDone(1, "", "skipped")),
    ]


def test_a_turn_that_was_refused_has_failed() -> None:
    stage = asked()
    failure, done = stage.tell(stage.say.completed(turnCompleteReason="RESPONSE_REJECTED"))
    assert failure.message == "the model gave no answer: response rejected"
    assert done == ReplyDone(1, "", "failed")


def test_a_filler_of_a_thinking_model_does_not_end_the_turn() -> None:
    stage = asked()
    stage.tell(stage.say.says("hm"))
    assert stage.tell(stage.say.completed(interactionStatus="IN_PROGRESS")) == []
    stage.tell(stage.say.says("yes"))
    assert stage.tell(stage.say.completed(interactionStatus="IDLE")) == [
        ReplyDone(1, "reply-1", "completed"),
    ]


def test_by_hand_the_servers_signs_count_for_nothing() -> None:
    stage = GeminiStage(manual=True)
    stage.core.user_began()
    stage.core.user_stopped()
    assert stage.collect() == [SpeechStarted(1), SpeechStopped(1)]
    assert stage.began() == stage.ended() == []
    stage.reply("yes")
    assert stage.done() == [(1, "reply-1", "completed")]


@pytest.mark.parametrize("signals", [True, False])
def test_a_connection_lost_before_the_reply_loses_nothing(signals: bool) -> None:
    stage = GeminiStage(signals=signals)
    stage.user("hello")
    assert stage.lost() == []
    stage.resumed()
    assert stage.began() == stage.ended() == []
    stage.tell(stage.say.understood("hello"), stage.say.says("hi"))
    assert stage.tell(stage.say.completed()) == [
        *(Transcript(1, "hello", True), ReplyDone(1, "reply-1", "completed")),
    ]


def test_a_connection_that_will_be_closed_is_left_when_nothing_is_under_way() -> None:
    stage = GeminiStage()
    stage.tell(stage.say.greeting({}))
    stage.user()
    stage.tell(stage.say.says("one"), stage.say.expires())
    stage.tick(0.1)
    assert not stage.core.leave
    stage.tick(1.5)
    assert not stage.core.leave, "the reply may be whole before the server goes"
    stage.tell(stage.say.completed())
    stage.tick(0.01)
    assert stage.core.leave
    stage.resumed()
    assert not stage.core.leave


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


@pytest.mark.parametrize("text", ['{"a": 1}', "4", "[1]", "no JSON", "[" * 100_000])
def test_results_of_tools(text: str) -> None:
    stage = asked(scheduling="silent")
    [_, call] = stage.tell(stage.say.calls("c1"))
    assert call == ToolCall(1, "c1", "weather", "{}")
    stage.result("c1", text)
    response = {"a": 1} if text.startswith("{") else {"output": text}
    scheduled = {"response": response, "scheduling": "SILENT"}
    assert stage.sent == [{"id": "c1", "name": "weather", **scheduled}]


def sound(value: int, seconds: float = 0.02) -> Parcel:
    samples = np.full(round(seconds * 16_000), value, np.int16)
    return Parcel(samples.tobytes(), seconds, lasting=True)


def silent(parcel: Parcel) -> bool:
    return not np.frombuffer(parcel.message, np.int16).any()


def sent_all(box: Outbox) -> list[Parcel]:
    left = []
    while box.first is not None:
        left.append(box.sent())
    return left


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
    left = sent_all(box)
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
    assert [parcel.seconds for parcel in sent_all(box)] == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("reason", "answered", "status"),
    [
        (None, True, "completed"),
        ("NEED_MORE_INPUT", True, "completed"),
        ("BRAND_NEW", True, "completed"),
        # A value without a name comes as its number.
        (99, True, "completed"),
        (99, False, "failed"),
        ("BRAND_NEW", False, "failed"),
        ("RESPONSE_REJECTED", True, "failed"),
        ("GENERATED_AUDIO_SAFETY", False, "failed"),
    ],
)
def test_why_the_model_is_done(reason: object, answered: bool, status: str) -> None:
    stage = asked()
    if answered:
        stage.tell(stage.say.says("Hi."))
    stage.content(turnComplete=True, turnCompleteReason=reason)
    assert stage.done() == [(1, "reply-1" if answered else "", status)]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}, "busy (UNAVAIL"),
        ({"code": 503, "message": "busy"}, "busy (503)"),
        ({"code": 99, "brand new": 1}, "99"),
        ({"error": "busy", "serverContent": {"turnComplete": False}}, "busy"),
    ],
)
def test_errors_that_are_not_known_end_nothing(error: dict[str, object], said: str) -> None:
    stage = asked()
    [failure] = stage.tell([error])
    assert isinstance(failure, Failure) and not failure.fatal
    assert failure.message.startswith(f"the server reports: {said}")
    stage.reply()
    assert stage.done() == [(1, "reply-1", "completed")]


def test_a_field_that_is_new_hides_none_that_is_known(caplog: pytest.LogCaptureFixture) -> None:
    stage = asked()
    sound = {"data": pcm(0.1).replace("+", "-").replace("/", "_"), "brand": "new"}
    part = {"inlineData": sound, "brand": "new"}
    content = {"modelTurn": {"parts": [part], "brand": "new"}, "outputTranscription": None}
    stage.tell([{"serverContent": content, "brandNew": {}}, {"brandNew": 1}])
    assert [len(event.frame.samples) for event in stage.of(ReplyAudio)] == [2400]
    assert [record.args for record in caplog.records] == [("brandNew",)]


def test_before_the_first_sound_nothing_is_heard() -> None:
    stage = asked()
    stage.content(outputTranscription={"text": "A long story"})
    stage.began()
    [cut] = stage.of(ReplyInterrupted)
    assert cut.heard_text == ""
    assert stage.history() == []


def test_a_text_that_comes_after_its_reply_begins_no_other() -> None:
    stage = asked()
    stage.reply("It is")
    [late] = stage.content(outputTranscription={"text": " five."})
    assert isinstance(late, ReplyText) and late.id == "reply-1"
    assert stage.history() == [("assistant", "It is five.", 1)]
    stage.listen()
    stage.user()
    stage.reply("Yes.")
    assert stage.done() == [(1, "reply-1", "completed"), (2, "reply-2", "completed")]


def test_a_server_that_goes_away_without_a_handle_is_left_too() -> None:
    stage = asked()
    stage.tell(stage.say.expires())
    stage.tick(0.01)
    assert not stage.core.leave, "the user waits for an answer"
    stage.reply()
    stage.tick(0.01)
    assert stage.core.leave


@pytest.mark.parametrize("how", ["cut", "lost"])
def test_a_late_reply_into_the_users_speech_is_ended_too(how: str) -> None:
    stage = asked(blocking=False, scheduling="interrupt")
    stage.tell(stage.say.calls("c1"))
    stage.began()
    stage.tell(stage.say.completed())
    stage.result()
    stage.tell(stage.say.says("It rains."))
    if how == "cut":
        stage.tell(stage.say.cut())
    else:
        stage.lost(fatal=True)
    assert "reply-1-2" in [reply for _, reply, _ in stage.done()]
