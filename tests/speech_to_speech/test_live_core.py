"""Turns made for a model that has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.cores import LiveStage
from support.dialects import RATE

from pipeline.clock import NS_PER_MS
from pipeline.events import (
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    ToolCall,
    Transcript,
    Usage,
)
from pipeline.speech_to_speech.openai_live import (
    NO_BACKEND,
    PAUSE_MS,
    PIECE_CHARS,
    PIECES,
    STALL_MS,
    YIELD_MS,
    LiveCore,
)
from pipeline.speech_to_speech.turnless import LATE_MS, OWED_MS

STEP = 20


class Line(LiveStage):
    """The model's sound comes in pieces of 20 ms, and as loud as is said."""

    def model(self, ms: int, level: int = 3000) -> None:
        """The model speaks, or by level 0 is silent."""
        for _ in range(ms // STEP):
            self.now += STEP * NS_PER_MS
            piece = np.resize(np.array([level, -level], np.int16), STEP * RATE // 1000)
            self.core.sounded(piece)
            self.tick(0)

    def silence(self, ms: int) -> None:
        self.model(ms, level=0)

    def nothing(self, ms: int) -> None:
        """The model sends nothing at all."""
        for _ in range(ms // STEP):
            self.tick(STEP / 1000)

    def text(self, words: str) -> None:
        self.core.said(words)
        self.collect()

    def speaks(self, ms: int, words: str = "") -> None:
        """The user speaks while the model is silent."""
        self.began()
        self.silence(ms)
        if words:
            self.tell(self.say.understood(words))
        self.ended()

    def delegate(self) -> None:
        """The model gives work to the text model."""
        self.server("session.delegation.created", delegation={"id": "d0", "target": "responses"})

    def settle(self) -> None:
        """The text model has done it."""
        self.tell([self.say.backend("response.completed", response={})])


def asked(words: str = "") -> Line:
    """The user has said something."""
    line = Line()
    line.speaks(500, words)
    return line


def delegated() -> Line:
    """The model has given what was asked for to the text model."""
    line = asked()
    line.delegate()
    return line


def test_a_reply_is_over_after_a_pause() -> None:
    line = Line()
    line.speaks(800, "Hello?")
    line.silence(200)
    line.model(1000)
    line.silence(int(PAUSE_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.silence(4 * STEP)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    assert line.events.index(Transcript(1, "Hello?", True)) < len(line.events) - 1
    assert (1, "speech.start") in line.marks and (1, "committed") in line.marks
    assert line.marks[1, "model.first_audio"] == 1021 * NS_PER_MS
    assert line.marks[1, "tts.last_audio"] >= 2000 * NS_PER_MS


def test_pauses_between_sentences_are_part_of_the_reply() -> None:
    line = asked()
    for _ in range(3):
        line.model(400)
        line.silence(600)
    line.silence(1000)
    assert len(line.of(ReplyStarted)) == len(line.of(ReplyDone)) == 1
    assert sum(len(e.frame.samples) for e in line.of(ReplyAudio)) >= 2.4 * RATE


def test_a_stream_that_stops_altogether_is_silence() -> None:
    line = asked()
    line.model(400)
    line.nothing(int(PAUSE_MS + STALL_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.nothing(4 * STEP)
    assert line.of(ReplyDone)


def test_sound_that_ends_while_the_user_speaks_was_interrupted() -> None:
    line = asked()
    line.text("One two three four.")
    line.model(1000)
    line.began()
    line.model(200)
    line.core.ledger.played("reply-1", round(0.6 * RATE))
    line.silence(int(YIELD_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.silence(4 * STEP)
    assert line.events[-2:] == [
        ReplyInterrupted(1, "reply-1", "One two"),
        ReplyDone(1, "reply-1", "interrupted"),
    ]
    assert (1, "interrupted") in line.marks


def test_a_model_that_speaks_on_is_not_interrupted() -> None:
    line = asked()
    line.model(1000)
    line.began()
    line.model(300)
    line.ended()
    line.model(1000)
    line.silence(500)
    assert not line.of(ReplyInterrupted)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    line.model(500)
    assert line.of(ReplyStarted)[-1] == ReplyStarted(2, "reply-2")


def test_an_answer_that_comes_soon_after_an_interruption_is_the_next_turn_s() -> None:
    line = asked()
    line.text("Once upon a time")
    line.model(1000)
    line.began()
    line.model(100)
    line.silence(400)
    # Our detector still waits for the end of the user's silence.
    line.text("Yes?")
    line.model(300)
    line.ended()
    line.silence(1500)
    assert line.of(ReplyDone)[1:] == [ReplyDone(2, "reply-2", "completed")]
    assert [m.content for m in line.core.history] == ["Once upon a time", "Yes?"]
    assert line.marks[2, "committed"] == line.marks[2, "model.first_text"]


def test_a_word_into_the_user_s_speech_is_neither_the_answer_nor_an_interruption() -> None:
    line = Line()
    line.began()
    line.silence(500)
    line.model(200)
    line.silence(1500)
    early = line.marks[1, "model.first_audio"]
    line.ended()
    line.silence(500)
    assert not line.of(ReplyDone)
    line.model(500)
    line.silence(1500)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    assert not line.of(ReplyInterrupted)
    assert line.marks[1, "model.first_audio"] > early + 2000 * NS_PER_MS


def test_a_word_into_the_user_s_speech_without_any_answer_ends_in_the_end() -> None:
    line = Line()
    line.began()
    line.model(200)
    line.silence(1500)
    line.ended()
    line.silence(int(OWED_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.silence(4 * STEP)
    assert line.of(ReplyDone)


def test_a_turn_stays_open_while_work_is_given_away() -> None:
    line = delegated()
    line.text("Let me see.")
    line.model(400)
    line.silence(20_000)
    assert not line.of(ReplyDone)
    line.settle()
    line.silence(1000)
    line.model(400)
    line.silence(1100)
    assert len(line.of(ReplyStarted)) == 1
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    fillers = [event.filler for event in line.of(ReplyAudio)]
    assert fillers[0]
    assert not fillers[-1]


def test_a_turn_is_over_if_nothing_comes_of_the_work() -> None:
    line = delegated()
    line.settle()
    line.silence(int(OWED_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.silence(4 * STEP)
    assert line.of(ReplyDone)


def test_the_user_goes_on_while_work_is_done() -> None:
    line = delegated()
    line.speaks(500)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    line.settle()
    line.model(400)
    line.silence(1100)
    assert line.of(ReplyDone)[1:] == [ReplyDone(2, "reply-2", "completed")]


def test_late_text_belongs_to_the_reply_that_was_heard() -> None:
    line = asked()
    line.text("It is ")
    line.model(400)
    line.silence(1100)
    line.text("five.")
    assert line.of(ReplyText)[-1] == ReplyText(1, "reply-1", "five.")
    line.silence(int(LATE_MS))
    line.text("Are you there?")
    assert line.of(ReplyStarted)[-1] == ReplyStarted(1, "reply-1-2")
    assert [m.content for m in line.core.history] == ["It is five.", "Are you there?"]


def test_what_was_understood_before_the_detector_is_the_turn_s() -> None:
    line = Line()
    line.tell(line.say.understood("Hel"))
    line.began()
    line.tell(line.say.understood("lo."))
    line.ended()
    assert line.of(Transcript) == [Transcript(1, "Hello.", False)]
    line.began()
    assert line.of(Transcript)[-1] == Transcript(1, "Hello.", True)
    line.tell(line.say.understood("Bye."))
    line.core.over()
    line.collect()
    assert line.of(Transcript)[-1] == Transcript(2, "Bye.", True)


def test_a_model_may_speak_first() -> None:
    line = Line()
    line.text("Hi.")
    line.model(400)
    line.silence(1200)
    assert line.of(ReplyDone) == [ReplyDone(0, "reply-0", "completed")]


def test_the_text_model_goes_on_once_it_has_finished_asking() -> None:
    line = asked()
    [*asking, completed] = line.say.calls("c1")[:4]
    line.tell(asking)
    line.result("c1", "x" * 900_000)
    [result] = line.sent
    assert len(result["item"]["output"]) == 900_000
    line.tell([completed])
    assert line.sent[1:] == [{"type": "response.create"}]
    assert not line.of(ReplyDone)


def test_a_text_model_that_fails_is_told_and_the_turn_goes_on() -> None:
    line = delegated()
    error = {"error": {"message": "boom sk-123"}}
    line.tell([line.say.backend("response.failed", response=error)])
    assert line.of(Failure) == [Failure(1, "direct", ": the text model failed: boom [key]", False)]
    line.model(400)
    line.silence(1100)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]


@pytest.mark.parametrize("length", [10, PIECE_CHARS + 10, 1_000_000])
def test_a_delegation_to_us_is_a_call_of_a_tool_that_holds_what_was_understood(
    length: int,
) -> None:
    line = asked("Is it raining?")
    line.server("session.delegation.created", delegation={"id": "d7", "target": "client"})
    assert line.of(ToolCall) == [ToolCall(1, "d7", "delegation", '{"heard": "Is it raining?"}')]
    line.result("d7", "x" * length)
    sent = line.sent
    assert {(message["type"], message["delegation_id"]) for message in sent} == {
        ("session.commentary.append", "d7")
    }
    assert sum(len(m["content"]) for m in sent) == min(length, PIECES * PIECE_CHARS)
    assert max(len(m["content"]) for m in sent) <= PIECE_CHARS
    line.silence(int(OWED_MS) + STEP)
    assert line.of(ReplyDone)


def test_a_model_that_delegates_though_nobody_works_is_told_so_silently() -> None:
    core = LiveCore(lambda *_: None, lambda: 0)
    created = {"id": "d7", "target": "client"}
    core.receive({"type": "session.delegation.created", "delegation": created})
    [parcel] = core.take()
    assert parcel.message["content"] == NO_BACKEND
    assert core.ledger.take() == []


def test_usage_is_told_in_parts() -> None:
    line = Line()
    for seconds in (15.0, 30.5, 30.5):
        line.server("session.usage.updated", usage={"seconds": seconds})
    line.server("session.closed", reason="expired", usage={"seconds": 31})
    assert [u.seconds for u in line.of(Usage)] == [15.0, 15.5, 0.5]
    assert line.core.ended == "expired"


def test_standby_is_told_apart() -> None:
    line = Line()
    for seconds, paused in ((15, 0), (45, 20), (60, 34)):
        usage = {"seconds": seconds, "active_seconds": seconds - paused, "paused_seconds": paused}
        line.server("session.paused")
        line.server("session.usage.updated", usage=usage)
        line.server("session.resumed")
    line.server("session.closed", reason="expired", usage={"seconds": 61, "paused_seconds": None})
    assert line.core.odd.total() == 0
    told = [(u.kind, u.seconds) for u in line.of(Usage)]
    assert told == [
        ("session", 15.0),
        ("session", 10.0),
        ("standby", 20.0),
        ("session", 1.0),
        ("standby", 14.0),
        ("session", 1.0),
    ]


ODD: list[Any] = [
    [],
    "text",
    {"no": "type"},
    {"type": 5},
    {"type": "session.frobnicated"},
    {"type": "session.output_audio.delta", "delta": "%%%"},
    {"type": "session.output_audio.delta"},
    {"type": "session.output_transcript.delta", "delta": 7},
    {"type": "session.delegation.created"},
    {"type": "session.usage.updated", "usage": {"seconds": "many"}},
    {"type": "response.event", "event": []},
    {
        "type": "response.event",
        "event": {"type": "response.output_item.done", "item": {"type": "function_call"}},
    },
]


def test_what_means_nothing_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    line = Line()
    for message in ODD * 2:
        line.core.receive(message)
    assert line.core.odd.total() == 2 * len(ODD)
    assert line.collect() == line.sent == []
    assert len([r for r in caplog.records if "frobnicated" in r.message]) == 1
