"""The Realtime core alone: events in, events and messages out, no connection, no clock."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cores import RealtimeStage
from support.dialects import pcm
from support.lawful import lawful

from pipeline.engines.tools import Tool
from pipeline.errors import BadInput, CascadeError
from pipeline.events import (
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    Transcript,
    Usage,
)
from pipeline.speech_to_speech.brief import Brief, SystemSpec, parameters
from pipeline.speech_to_speech.openai_realtime import IGNORED, RealtimeCore, options_of, session

SECOND = 24_000


def sound(samples: int, level: int = 1000) -> str:
    return pcm(samples / SECOND, level)


class Line(RealtimeStage):
    """A stage whose server names its items as a test says."""

    def speaks(self, item: str, words: str | None = None) -> None:
        self.server("input_audio_buffer.speech_started", item_id=item, audio_start_ms=0)
        self.server("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=0)
        self.server("input_audio_buffer.committed", item_id=item)
        if words is not None:
            self.transcript(item, words)

    def transcript(self, item: str, words: str) -> None:
        kind = "conversation.item.input_audio_transcription.completed"
        usage = {"type": "duration", "seconds": 2.5}
        self.server(kind, item_id=item, content_index=0, transcript=words, usage=usage)

    def begin(self, response: str, metadata: dict[str, str] | None = None) -> None:
        described = {"id": response, "status": "in_progress", "metadata": metadata}
        self.server("response.created", response=described)

    def item(self, response: str, item: str, words: str, samples: int, **more: Any) -> None:
        described = {"id": item, "type": "message", "role": "assistant", **more}
        at = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self.server("response.output_item.added", response_id=response, item=described)
        self.server("response.output_audio_transcript.delta", delta=words, **at)
        self.server("response.output_audio.delta", delta=sound(samples), **at)

    def end(self, response: str, status: str = "completed", **more: Any) -> None:
        self.server("response.done", response={"id": response, "status": status, **more})

    def answers(self, response: str, item: str, words: str, samples: int = SECOND) -> None:
        self.begin(response)
        self.item(response, item, words, samples)
        at = {"response_id": response, "item_id": item}
        self.server("response.output_audio.done", **at)
        self.end(response)

    def calls(self, response: str, *calls: str, metadata: dict[str, str] | None = None) -> None:
        self.begin(response, metadata)
        for call in calls:
            item = {
                **{"id": f"item-{call}", "type": "function_call", "status": "completed"},
                **{"call_id": call, "name": "sum", "arguments": '{"a": 1}'},
            }
            self.server("response.output_item.done", response_id=response, item=item)
        self.end(response)

    def asked(self) -> dict[str, str]:
        metadata: dict[str, str] = self.sent_of("response.create")[-1]["response"]["metadata"]
        return metadata


def spoken(words: str | None = None) -> Line:
    """The user has said something."""
    line = Line()
    line.speaks("u1", words)
    return line


def answering(words: str | None = None) -> Line:
    """The server has begun to answer that."""
    line = spoken(words)
    line.begin("r1")
    return line


def test_several_items_are_one_reply_and_commentary_is_filler() -> None:
    line = answering()
    line.item("r1", "a1", "Let me think.", 100, phase="commentary")
    line.item("r1", "a2", "It is four.", 200, phase="final_answer")
    line.end("r1")
    first, second = line.of(ReplyAudio)
    assert (first.id, first.filler, first.frame.offset) == (second.id, True, 0)
    assert (second.filler, second.frame.offset, len(second.frame.samples)) == (False, 100, 200)
    assert "".join(text.delta for text in line.of(ReplyText)) == "Let me think. It is four."
    assert len(line.of(ReplyStarted)) == len(line.of(ReplyDone)) == 1


def test_transcripts_come_late_and_out_of_order() -> None:
    line = spoken()
    line.answers("r1", "a1", "One.")
    line.speaks("u2")
    line.transcript("u2", "second")
    line.transcript("u1", "first")
    assert [(t.turn, t.text, t.final) for t in line.of(Transcript)] == [
        (2, "second", True),
        (1, "first", True),
    ]
    assert [u.seconds for u in line.of(Usage)] == [2.5, 2.5]


def test_partial_transcripts_add_up() -> None:
    line = spoken()
    for delta in ("How ", "are you?"):
        kind = "conversation.item.input_audio_transcription.delta"
        line.server(kind, item_id="u1", delta=delta)
    line.transcript("u1", "How are you?")
    assert [t.text for t in line.of(Transcript)] == ["How", "How are you?", "How are you?"]


def test_barge_in_truncates_at_what_was_heard_and_history_holds_that() -> None:
    line = answering("Count.")
    line.item("r1", "a1", "one two three four", SECOND)
    line.server("response.output_audio.done", response_id="r1", item_id="a1")
    line.item("r1", "a2", "five six", SECOND)
    reply = line.of(ReplyStarted)[0].id
    line.heard(reply, 1 / 4)
    assert not line.sent
    line.server("input_audio_buffer.speech_started", item_id="u2")
    interrupted = line.of(ReplyInterrupted)[0]
    assert (interrupted.turn, interrupted.id, interrupted.heard_text) == (1, reply, "one")
    assert line.of(ReplyDone)[0].status == "interrupted"
    assert line.events.index(line.of(SpeechStarted)[1]) > line.events.index(line.of(ReplyDone)[0])
    line.server("response.output_audio.delta", response_id="r1", item_id="a2", delta=sound(50))
    line.end("r1", "cancelled", status_details={"type": "cancelled", "reason": "turn_detected"})
    assert len(line.of(ReplyAudio)) == 2
    line.heard(reply, 1 / 2)
    cuts = [(m["item_id"], m["audio_end_ms"]) for m in line.sent_of("conversation.item.truncate")]
    assert cuts == [("a1", 500), ("a2", 0)]
    assert line.core.history[-1].content == "one two"
    line.heard(reply, 1)
    assert len(line.sent_of("conversation.item.truncate")) == 2
    assert not line.sent_of("response.cancel")
    line.server("conversation.item.truncated", item_id="a1", content_index=0, audio_end_ms=500)
    assert line.sent_of("conversation.item.retrieve")[0]["item_id"] == "a1"
    content = [{"type": "output_audio", "transcript": "one two th"}]
    line.server("conversation.item.retrieved", item={"id": "a1", "content": content})
    assert line.core.history[-1].content == "one two th"
    assert len(line.of(ReplyDone)) == 1
    assert line.marks[1, "interrupted"]


def test_nothing_heard_leaves_nothing() -> None:
    line = answering()
    line.item("r1", "a1", "one two", 4800)
    line.server("input_audio_buffer.speech_started", item_id="u2")
    line.heard("reply-1", 0)
    assert line.sent_of("conversation.item.truncate")[0]["audio_end_ms"] == 0
    assert [m for m in line.core.history if m.role == "assistant"] == []


@pytest.mark.parametrize(
    ("lead", "made", "played", "words", "cut_ms"),
    [
        (0, 0, 0.0, "", None),
        (0, 1, 0.0, "", 0),
        (1, 0, 0.5, "", 0),
        (1, 0, 1.0, "", 0),
        (1, 2, 0.9, "", 0),
        # Of what sounds a part was heard, with the silence before it.
        (1, 2, 2.0, "one two", 2000),
        # The text is ahead of the sound, and a voice needs longer for it than this.
        (0, 0.4, 0.4, "one", 400),
        (0, 2, 2.0, "one two three four", 2000),
    ],
)
def test_before_the_first_sound_nothing_is_heard(
    lead: float, made: float, played: float, words: str, cut_ms: int | None
) -> None:
    line = answering()
    at = {"response_id": "r1", "item_id": "a1", "content_index": 0}
    kind = "response.output_audio_transcript.delta"
    line.server(kind, delta="one two three four", **at)
    for seconds, level in ((lead, 0), (made, 1000)):
        if seconds:
            delta = sound(round(seconds * SECOND), level)
            line.server("response.output_audio.delta", delta=delta, **at)
    line.heard("reply-1", played)
    line.server("input_audio_buffer.speech_started", item_id="u2")
    line.heard("reply-1", played)
    assert [event.heard_text for event in line.of(ReplyInterrupted)] == [words]
    cuts = [m["audio_end_ms"] for m in line.sent_of("conversation.item.truncate")]
    assert cuts == ([] if cut_ms is None else [cut_ms])
    deleted = [m["item_id"] for m in line.sent_of("conversation.item.delete")]
    assert deleted == (["a1"] if cut_ms is None else [])
    # A server that keeps all of the words is not believed.
    line.server("conversation.item.truncated", item_id="a1")
    content = [{"type": "output_audio", "transcript": "one two three four"}]
    line.server("conversation.item.retrieved", item={"id": "a1", "content": content})
    assert bool(line.sent_of("conversation.item.retrieve")) == bool(cut_ms)
    assert [m.content for m in line.core.history if m.role == "assistant"] == [words] * bool(words)


def test_of_a_reply_that_broke_only_what_has_a_sound_was_said() -> None:
    line = Line()
    for number, samples in ((1, SECOND // 2), (2, 0)):
        line.speaks(f"u{number}")
        line.begin(f"r{number}")
        line.item(f"r{number}", f"a{number}", "one two three four five six", samples)
        line.lost()
        line.listen()
    assert [m.content for m in line.core.history if m.role == "assistant"] == ["one two"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=5), st.integers(0, 60))
def test_a_cut_is_never_later_than_what_was_heard(pieces: list[Any], played: int) -> None:
    """Of every item the server is told how much was heard; history and words follow from that."""
    line = answering()
    for number, (tenths, words) in enumerate(pieces):
        at = {"response_id": "r1", "item_id": f"a{number}"}
        kind = "response.output_audio_transcript.delta"
        line.server(kind, delta=f"w{number} " * words, **at)
        delta = sound(tenths * SECOND // 10)
        line.server("response.output_audio.delta", delta=delta, **at)
    line.heard("reply-1", played / 10)
    line.server("input_audio_buffer.speech_started", item_id="u2")
    line.heard("reply-1", played / 10)
    ends = {m["item_id"]: m["audio_end_ms"] for m in line.sent_of("conversation.item.truncate")}
    deleted = {m["item_id"] for m in line.sent_of("conversation.item.delete")}
    said = line.of(ReplyInterrupted)[0].heard_text.split()
    assert said == " ".join(m.content for m in line.core.history).split()
    start = 0
    for number, (tenths, words) in enumerate(pieces):
        heard = max(0, min(played - start, tenths))
        name = f"a{number}"
        assert (name in deleted) == (not tenths)
        assert ends.get(name) == (heard * 100 if tenths else None)
        assert said.count(f"w{number}") <= (words if heard else 0)
        start += tenths


@pytest.mark.parametrize("announced", [True, False])
def test_what_nobody_wants_any_more_is_deleted(announced: bool) -> None:
    """The model would take for said what was not heard: a late response, and a late message."""
    line = answering()
    line.item("r1", "a1", "one two", SECOND)
    line.server("input_audio_buffer.speech_started", item_id="u2")
    line.heard("reply-1", 0.7)
    at = {"response_id": "r1", "item_id": "a2"}
    if announced:
        for kind in ("message", "function_call", "mood"):
            item = {"id": "a2" if kind == "message" else kind, "type": kind}
            line.server("response.output_item.added", response_id="r1", item=item)
    line.server("response.output_audio_transcript.delta", delta="three", **at)
    line.server("response.output_audio.delta", delta=sound(100), **at)
    line.end("r1", "cancelled")
    assert [m["item_id"] for m in line.sent_of("conversation.item.delete")] == ["a2"]
    line.server("error", error={"event_id": "delete-a2", "message": "no such item"})
    assert not line.of(Failure)


def test_ids_that_a_server_counts_anew() -> None:
    """Each response, item and call has the same id: those of another turn are others."""
    line = Line()
    for number in (1, 2):
        line.speaks("u", f"Question {number}?")
        line.calls("r", "c")
        line.result("c", f"{number}")
        line.answers("r", "a", f"Answer {number}.")
        line.listen()
    assert [(call.turn, call.id) for call in line.of(ToolCall)] == [(1, "c"), (2, "c")]
    outputs = [m["item"]["output"] for m in line.sent_of("conversation.item.create")]
    assert outputs == ["1", "2"]
    line.speaks("u")
    line.calls("r", "c", "c")
    line.lost()
    line.speaks("u")
    line.calls("r", "c", "c")
    assert [call.turn for call in line.of(ToolCall)] == [1, 2, 3, 4]
    assert [(t.turn, t.text) for t in line.of(Transcript)] == [
        *((1, "Question 1?"), (2, "Question 2?")),
    ]
    assert line.done()[:2] == [(1, "reply-1", "completed"), (2, "reply-2", "completed")]
    said = [m.content for m in line.core.history]
    assert said == ["Question 1?", "Answer 1.", "Question 2?", "Answer 2."]


def test_parts_of_a_message_that_may_be_no_words_are_not_said() -> None:
    line = answering()
    content = [
        {"type": "reasoning_text", "text": "They want the time."},
        {"type": "output_audio", "transcript": "It is five."},
        {"type": "mood", "transcript": "cheerful"},
        None,
        {"transcript": "Or six."},
    ]
    item = {"id": "a1", "type": "message", "status": "completed", "content": content}
    line.server("response.output_item.done", response_id="r1", item=item)
    line.server("response.output_item.done", response_id="r1", item={**item, "type": "mood"})
    line.end("r1", "cheerful")
    assert [text.delta for text in line.of(ReplyText)] == ["It is five. Or six."]
    assert line.done() == [(1, "reply-1", "completed")]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"error": {"message": "odd", "code": "brand_new"}}, "odd (brand_new)"),
        ({"error": {"message": "odd", "code": 503}}, "odd (503)"),
        ({"error": {"message": None, "code": None, "type": "brand_new"}}, "brand_new"),
        ({"error": "odd"}, "odd"),
        ({"message": "odd", "code": "brand_new"}, "odd (brand_new)"),
        ({"error": None}, "no reason given"),
        ({}, "no reason given"),
    ],
)
def test_errors_that_are_not_known_end_nothing(error: dict[str, Any], said: str) -> None:
    line = spoken()
    line.server("error", **error)
    [failure] = line.of(Failure)
    assert (failure.message, failure.fatal) == (f"the server reports: {said}", False)
    line.answers("r1", "a1", "It is five.")
    assert line.done() == [(1, "reply-1", "completed")]


def test_a_server_that_does_not_cancel_is_told_to() -> None:
    line = Line(interrupts=False)
    line.speaks("u1")
    line.begin("r1")
    line.item("r1", "a1", "one two", 4800)
    line.server("input_audio_buffer.speech_started", item_id="u2")
    assert line.sent_of("response.cancel")[0]["response_id"] == "r1"
    error = {"code": "response_cancel_not_active", "message": "none"}
    line.server("error", error=error)
    assert not line.of(Failure)


def test_a_response_that_comes_when_the_user_has_gone_on_is_not_heard() -> None:
    line = spoken()
    line.server("input_audio_buffer.speech_started", item_id="u2")
    line.begin("r1")
    line.item("r1", "a1", "too late", 100)
    line.end("r1", "cancelled")
    assert not line.of(ReplyStarted, ReplyAudio, ReplyInterrupted)
    line.server("input_audio_buffer.speech_stopped", item_id="u2")
    line.answers("r2", "a2", "In time.")
    assert [a.turn for a in line.of(ReplyAudio)] == [2]


def test_an_answer_in_the_middle_of_the_utterance_is_that_turns() -> None:
    line = Line()
    line.server("input_audio_buffer.speech_started", item_id="u1")
    line.begin("r1")
    line.item("r1", "a1", "Early.", 100)
    line.server("input_audio_buffer.speech_stopped", item_id="u1")
    line.end("r1")
    kinds = [SpeechStarted, SpeechStopped, ReplyStarted, ReplyText, ReplyAudio, ReplyDone]
    assert [type(event) for event in line.events] == kinds


def test_a_result_waits_for_the_end_of_the_response_that_made_the_call() -> None:
    line = answering("One and one?")
    line.item("r1", "a1", "Let me see.", 100)
    item = {"id": "f", "type": "function_call", "call_id": "c1", "name": "sum", "arguments": "{}"}
    line.server("response.output_item.done", response_id="r1", item={**item, "status": "completed"})
    assert [(c.turn, c.id, c.name) for c in line.of(ToolCall)] == [(1, "c1", "sum")]
    line.result("c1", "2")
    assert not line.sent
    line.end("r1")
    assert not line.of(ReplyDone)
    sent, ask = line.sent
    assert sent["item"] == {"type": "function_call_output", "call_id": "c1", "output": "2"}
    assert ask["type"] == "response.create"


def test_a_late_result_is_one_more_reply_of_its_turn() -> None:
    line = spoken("Slow one.")
    line.calls("r1", "c1")
    line.speaks("u2", "And you?")
    assert [(d.turn, d.status) for d in line.of(ReplyDone)] == [(1, "completed")]
    line.begin("r2")
    line.result("c1", "done")
    assert line.sent_of("conversation.item.create")
    assert not line.sent_of("response.create"), "over another response"
    line.item("r2", "a2", "Fine.", 100)
    line.end("r2")
    line.begin("r3", line.asked())
    line.item("r3", "a3", "It is done.", 300)
    line.end("r3")
    first, second, third = line.of(ReplyStarted)
    assert (first.turn, second.turn, third.turn) == (1, 2, 1)
    assert len({first.id, second.id, third.id}) == 3
    assert [(d.turn, d.id) for d in line.of(ReplyDone)][1:] == [(2, second.id), (1, third.id)]
    assert line.of(ReplyAudio)[-1].frame.offset == 0
    assert [m.turn for m in line.core.history] == [1, 2, 2, 1]


def test_a_late_result_waits_until_the_user_was_answered() -> None:
    line = spoken()
    line.calls("r1", "c1")
    line.server("input_audio_buffer.speech_started", item_id="u2")
    line.result("c1")
    assert not line.sent_of("response.create")
    line.server("input_audio_buffer.speech_stopped", item_id="u2")
    assert not line.sent_of("response.create")
    line.answers("r2", "a2", "Yes.")
    assert len(line.sent_of("response.create")) == 1


@pytest.mark.parametrize("echoes", [True, False])
def test_an_answer_to_a_result_that_the_user_speaks_over_comes_again(echoes: bool) -> None:
    line = spoken()
    line.calls("r1", "c1")
    line.result("c1")
    asked = line.asked()
    line.server("input_audio_buffer.speech_started", item_id="u2")
    line.begin("r2", asked if echoes else None)
    line.item("r2", "a2", "It is four.", 100)
    line.end("r2", "cancelled")
    assert not line.of(ReplyAudio)
    line.server("input_audio_buffer.speech_stopped", item_id="u2")
    line.answers("r3", "a3", "What?")
    assert len(line.sent_of("response.create")) == 2
    line.begin("r4", line.asked() if echoes else None)
    line.item("r4", "a4", "It is four.", 100)
    line.end("r4")
    assert [a.turn for a in line.of(ReplyAudio)] == [2, 1]


def test_a_response_asked_for_too_early_is_asked_for_again() -> None:
    line = spoken()
    line.calls("r1", "c1")
    line.result("c1")
    error = {"code": "conversation_already_has_active_response", "message": "wait"}
    line.server("error", error=error)
    assert not line.of(Failure)
    assert len(line.sent_of("response.create")) == 1
    line.end("r0")
    assert len(line.sent_of("response.create")) == 2


def test_calls_that_come_only_as_arguments_or_only_at_the_end() -> None:
    line = spoken()
    fields = {"call_id": "c1", "name": "sum", "arguments": "{}", "item_id": "f"}
    line.server("response.function_call_arguments.done", response_id="r1", **fields)
    assert not line.of(ToolCall)
    output = {"type": "function_call", "call_id": "c2", "name": "sum", "arguments": "{}"}
    line.end("r1", output=[output])
    assert sorted(call.id for call in line.of(ToolCall)) == ["c1", "c2"]


def test_incomplete_calls_are_not_made() -> None:
    line = answering()
    fields = {"call_id": "c1", "name": "sum", "arguments": "{", "item_id": "f"}
    line.server("response.function_call_arguments.done", response_id="r1", **fields)
    item = {"type": "function_call", "status": "incomplete", "call_id": "c1", "name": "sum"}
    line.server("response.output_item.done", response_id="r1", item=item)
    line.end("r1", "cancelled")
    assert not line.of(ToolCall)


@pytest.mark.parametrize(
    ("status", "details", "said"),
    [
        (
            "failed",
            {"error": {"code": "insufficient_quota", "message": "You exceeded your quota."}},
            "the response failed: You exceeded your quota. (insufficient_quota)",
        ),
        ("failed", {}, "the response failed: no reason given"),
        (
            "incomplete",
            {"reason": "max_output_tokens"},
            "the response was cut short: max_output_tokens",
        ),
    ],
)
def test_a_broken_response_is_the_turns_failure(
    status: str, details: dict[str, Any], said: str
) -> None:
    line = answering()
    line.end("r1", status, status_details=details)
    failure = line.of(Failure)[0]
    assert (failure.turn, failure.stage, failure.message) == (1, "direct", said)
    assert not failure.fatal
    assert line.of(ReplyDone)[0].status == "failed"
    assert line.marks[1, "failed"]
    line.speaks("u2")
    line.answers("r2", "a2", "Again.")
    assert line.of(ReplyDone)[1].status == "completed"


def test_a_server_that_says_nothing_fails_in_that_turn() -> None:
    line = spoken()
    line.tick(59.9)
    assert not line.of(Failure)
    line.tick(0.1)
    assert line.of(Failure)[0].message == "the server sent nothing for 60 s"
    assert line.of(ReplyDone)[0].status == "failed"


def test_a_tool_that_takes_long_is_not_the_servers_fault() -> None:
    line = spoken()
    line.calls("r1", "c1")
    line.tick(600)
    assert not line.of(Failure)


def test_manual_turns_are_committed_and_asked_for() -> None:
    line = Line(manual=True)
    line.core.commit()
    line.collect()
    assert [m["type"] for m in line.sent] == ["input_audio_buffer.commit", "response.create"]
    line.server("input_audio_buffer.committed", item_id="u1")
    line.transcript("u1", "Hello.")
    line.begin("r1", line.asked())
    line.item("r1", "a1", "one two three", SECOND)
    line.core.commit()
    line.collect()
    assert [i.turn for i in line.of(ReplyInterrupted)] == [1]
    assert line.sent_of("response.cancel")[0]["response_id"] == "r1"
    assert len(line.sent_of("response.create")) == 1, "over the response that is being cancelled"
    line.end("r1", "cancelled")
    line.begin("r2", line.asked())
    line.item("r2", "a2", "Yes.", 100)
    line.end("r2")
    assert [(d.turn, d.status) for d in line.of(ReplyDone)] == [
        (1, "interrupted"),
        (2, "completed"),
    ]
    assert line.marks[1, "committed"] == 1_000_000


def test_an_empty_commit_fails_that_turn() -> None:
    line = Line(manual=True)
    line.core.commit()
    error = {"code": "input_audio_buffer_commit_empty", "message": "empty", "event_id": "commit-1"}
    line.server("error", error=error)
    assert [(d.turn, d.status) for d in line.of(ReplyDone)] == [(1, "failed")]


def test_a_server_that_names_nothing() -> None:
    """No speech events, no response.created, no ids, no transcripts, beta names."""
    line = Line()
    for _ in range(2):
        line.server("response.audio.delta", delta=sound(240))
        line.server("response.audio_transcript.done", transcript="Hello.")
        line.server("response.done", response={})
    assert [d.turn for d in line.of(ReplyDone)] == [1, 2]
    assert [t.delta for t in line.of(ReplyText)] == ["Hello.", "Hello."]
    assert [type(event) for event in line.events[:3]] == [
        *(SpeechStarted, SpeechStopped, ReplyStarted),
    ]
    assert (1, "committed") in line.marks
    assert (1, "model.start") not in line.marks


def test_a_transcript_may_be_the_first_sign_of_a_turn() -> None:
    line = Line()
    line.transcript("x", "Hello?")
    line.answers("r1", "a1", "Yes.")
    line.transcript("y", "Again?")
    line.answers("r2", "a2", "Yes.")
    assert [(t.turn, t.text) for t in line.of(Transcript)] == [(1, "Hello?"), (2, "Again?")]
    assert [d.turn for d in line.of(ReplyDone)] == [1, 2]


def test_the_text_may_come_whole_only() -> None:
    line = answering()
    at = {"response_id": "r1", "item_id": "a1"}
    line.server("response.output_audio_transcript.delta", delta="One ", **at)
    line.server("response.output_audio_transcript.done", transcript="One two.", **at)
    content = [{"type": "output_audio", "transcript": "One two."}]
    item = {"id": "a1", "type": "message", "content": content, "status": "completed"}
    line.server("response.output_item.done", response_id="r1", item=item)
    line.end("r1", output=[item])
    assert [t.delta for t in line.of(ReplyText)] == ["One ", "two."]


def test_sound_split_in_the_middle_of_a_sample() -> None:
    line = spoken()
    data = np.arange(100, dtype="<i2").tobytes()
    for piece in (data[:33], data[33:34], data[34:]):
        delta = base64.b64encode(piece).decode()
        line.server("response.output_audio.delta", response_id="r", item_id="a", delta=delta)
    whole = np.concatenate([a.frame.samples for a in line.of(ReplyAudio)])
    assert whole.tolist() == list(range(100))


def test_the_rate_is_what_the_session_says() -> None:
    line = Line()
    stated = {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 16000}}}}
    line.server("session.updated", session=stated)
    line.speaks("u1")
    line.answers("r1", "a1", "Hi.", 1600)
    assert [(a.frame.rate, len(a.frame.samples)) for a in line.of(ReplyAudio)] == [(16000, 1600)]
    line.heard("reply-1", 400 / SECOND)
    line.server("input_audio_buffer.speech_started", item_id="u2")
    line.heard("reply-1", 400 / SECOND)
    assert line.sent_of("conversation.item.truncate")[0]["audio_end_ms"] == 25


def test_a_rate_that_changes_within_a_reply_is_converted() -> None:
    line = answering()
    line.item("r1", "a1", "Hi.", 2400)
    stated = {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 48000}}}}
    line.server("session.updated", session=stated)
    line.item("r1", "a1", "", 9600)
    frames = [a.frame for a in line.of(ReplyAudio)]
    assert {frame.rate for frame in frames} == {24000}
    assert frames[1].offset == 2400
    assert 4700 <= len(frames[1].samples) <= 4800


@pytest.mark.parametrize("kind", sorted(IGNORED))
def test_known_events_that_tell_nothing(kind: str) -> None:
    line = Line()
    line.server(kind, item={"type": "message", "role": "user"}, item_id="x")
    assert (line.events, line.sent, line.core.odd) == ([], [], {})


KINDS = sorted(RealtimeCore(lambda *_: None, lambda: 0)._handlers)
IDS = st.sampled_from(["", "a", "b", "c"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**9) | st.floats() | st.text(max_size=5) | IDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
STATUS = st.sampled_from(["completed", "cancelled", "failed", "incomplete", "in_progress", ""])
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "id": IDS,
        "type": st.sampled_from(["message", "function_call", "other"]),
        "call_id": IDS,
        "name": st.sampled_from(["", "sum"]),
        "arguments": st.just("{}"),
        "status": STATUS | ANYTHING,
        "phase": st.sampled_from(["commentary", "final_answer"]) | ANYTHING,
        "content": st.lists(
            st.fixed_dictionaries({"transcript": st.sampled_from(["", "one two"])}) | ANYTHING
        )
        | ANYTHING,
    },
)
EVENT = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS) | st.text(max_size=5)},
    optional={
        "item_id": IDS | ANYTHING,
        "response_id": IDS | ANYTHING,
        "call_id": IDS,
        "name": st.just("sum"),
        "content_index": st.integers(0, 2) | ANYTHING,
        "delta": st.sampled_from([sound(480), sound(7), "one ", "?", "AAA="]) | ANYTHING,
        "transcript": st.sampled_from(["one two", ""]) | ANYTHING,
        "session": ANYTHING,
        "item": ITEM | ANYTHING,
        "usage": ANYTHING,
        "error": st.fixed_dictionaries(
            {},
            optional={
                "code": st.sampled_from(["x", "conversation_already_has_active_response"]),
                "message": ANYTHING,
                "event_id": st.sampled_from(["ask-1", "commit-1", "truncate-x"]) | ANYTHING,
            },
        )
        | ANYTHING,
        "response": st.fixed_dictionaries(
            {},
            optional={
                "id": IDS,
                "status": STATUS,
                "output": st.lists(ITEM | ANYTHING, max_size=2) | ANYTHING,
                "usage": ANYTHING,
                "status_details": ANYTHING,
                "metadata": st.fixed_dictionaries({"cascade_ask": st.sampled_from("1234")})
                | ANYTHING,
            },
        )
        | ANYTHING,
    },
)
STEP = st.one_of(
    EVENT,
    st.tuples(st.just("heard"), st.integers(1, 3), st.integers(0, 2000)),
    st.tuples(st.just("result"), IDS),
    st.tuples(st.just("commit")),
    st.tuples(st.just("tick"), st.integers(0, 100)),
    st.tuples(st.just("lost"), st.booleans()),
)


@given(st.booleans(), st.lists(STEP, max_size=40))
def test_any_server_yields_a_lawful_conversation(manual: bool, steps: list[Any]) -> None:
    line = Line(manual=manual)
    for step in steps:
        if isinstance(step, dict):
            line.core.receive(step)
        elif step[0] == "heard":
            line.heard(f"reply-{step[1]}", step[2] / SECOND)
        elif step[0] == "result":
            # An answer to what was never asked is refused; that is all.
            try:
                line.core.result(step[1], "4")
            except CascadeError as error:
                assert "no tool call" in str(error)
        elif step[0] == "commit" and manual:
            line.core.commit()
        elif step[0] == "tick":
            line.tick(step[1])
        elif step[0] == "lost":
            line.lost(fatal=step[1])
        line.collect()
    lawful(line.events)
    truncated = line.sent_of("conversation.item.truncate")
    assert all(m["audio_end_ms"] >= 0 and m["item_id"] for m in truncated)


def test_what_is_stamped_is_never_taken_for_real() -> None:
    for told in (None, {}, [], "text"):
        assert parameters(told) == {"name": "unknown"}


def test_what_is_asked_for() -> None:
    tool = Tool("sum", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}}})
    options = {"turns": "semantic", "eagerness": "high", "voice": "marin", "effort": "low"}
    brief = Brief("Be brief.", (tool,), "en")
    asked = session(options_of(SystemSpec("x", "openai", options=options)), brief)
    heard = asked["audio"]["input"]
    assert heard["turn_detection"]["type"] == "semantic_vad"
    assert heard["turn_detection"]["eagerness"] == "high"
    assert heard["transcription"] == {"model": "gpt-transcribe", "language": "en"}
    assert asked["audio"]["output"]["voice"] == "marin"
    assert asked["reasoning"] == {"effort": "low"}
    assert asked["tools"][0]["name"] == "sum"
    manual = session(options_of(SystemSpec("x", "openai", options={"turns": "manual"})), Brief())
    assert manual["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"turn": "server"}, "no option 'turn'"),
        ({"turns": "mine"}, "turns is one of server, semantic, manual"),
        ({"silence_ms": "soon"}, "silence_ms is a number"),
        ({"silence_ms": "300", "turns": "manual"}, "silence_ms goes with turns=server"),
        ({"eagerness": "high"}, "eagerness goes with turns=semantic"),
        ({"effort": "huge"}, "effort is one of"),
    ],
)
def test_options_that_cannot_be(options: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        options_of(SystemSpec("x", "openai", options=options))
