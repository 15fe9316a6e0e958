"""Turns made for a model that has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lawful import lawful

from pipeline.clock import NS_PER_MS
from pipeline.errors import CascadeError
from pipeline.events import (
    Event,
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    ToolCall,
    ToolCancelled,
    Transcript,
    Usage,
)
from pipeline.speech_to_speech.openai_live import (
    LATE_MS,
    NO_BACKEND,
    OWED_MS,
    PAUSE_MS,
    PIECE_CHARS,
    PIECES,
    STALL_MS,
    YIELD_MS,
    LiveCore,
)

RATE = 8000
STEP = 20


class Line:
    """A conversation in made-up time: the model's sound comes in pieces of 20 ms."""

    def __init__(self) -> None:
        self.marks: dict[int, dict[str, int]] = {}
        self.core = LiveCore(self._mark, tools=True, rate=RATE)
        self.ms = 0
        self._told: list[Event] = []

    @property
    def now(self) -> int:
        return self.ms * NS_PER_MS

    @property
    def events(self) -> list[Event]:
        self._told += self.core.ledger.take()
        return self._told

    def model(self, ms: int, level: int = 3000) -> None:
        """The model speaks, or by level 0 is silent."""
        for _ in range(ms // STEP):
            self.ms += STEP
            piece = np.resize(np.array([level, -level], np.int16), STEP * RATE // 1000)
            self.core.sounded(piece, self.now)
            self.core.tick(self.now)

    def silence(self, ms: int) -> None:
        self.model(ms, level=0)

    def nothing(self, ms: int) -> None:
        """The model sends nothing at all."""
        for _ in range(ms // STEP):
            self.ms += STEP
            self.core.tick(self.now)

    def text(self, words: str) -> None:
        self.core.said(words, self.now)

    def user(self, ms: int, words: str = "") -> None:
        """The user speaks while the model is silent."""
        self.begin()
        self.silence(ms)
        if words:
            self.core.understood(words)
        self.stop()

    def begin(self) -> None:
        self.core.user_began(self.now)

    def stop(self) -> None:
        self.core.user_stopped(self.now)

    def delegate(self, name: str = "d1") -> None:
        self.server("session.delegation.created", delegation={"id": name, "target": "responses"})

    def settle(self, name: str = "d1") -> None:
        self.backend("response.completed", name, response={})

    def backend(self, kind: str, name: str = "d1", **fields: Any) -> None:
        """The text model does something."""
        self.server("response.event", delegation_id=name, event={"type": kind, **fields})

    def calls(self, *ids: str) -> None:
        """The text model calls a tool so often, in one response."""
        self.backend("response.created")
        for name in ids:
            item = {"type": "function_call", "call_id": name, "name": "sum", "arguments": "{}"}
            self.backend("response.output_item.done", item=item)

    def server(self, kind: str, **fields: Any) -> None:
        self.core.receive({"type": kind, **fields}, self.now)

    def result(self, call_id: str, output: str = "4") -> list[Any]:
        """A tool has answered; gives what the server is sent then."""
        self.core.result(call_id, output, self.now)
        return self.sent()

    def sent(self) -> list[Any]:
        return [parcel.message for parcel in self.core.take()]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def _mark(self, turn: int, name: str, t_ns: int) -> None:
        self.marks.setdefault(turn, {})[name] = t_ns


def test_a_reply_is_over_after_a_pause() -> None:
    line = Line()
    line.user(800, "Hello?")
    line.silence(200)
    line.model(1000)
    line.silence(int(PAUSE_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.silence(4 * STEP)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    assert line.events.index(Transcript(1, "Hello?", True)) < len(line.events) - 1
    assert set(line.marks[1]) >= {"speech.start", "committed", "model.first_audio"}
    assert line.marks[1]["model.first_audio"] == 1020 * NS_PER_MS
    assert line.marks[1]["tts.last_audio"] >= 2000 * NS_PER_MS


def test_pauses_between_sentences_are_part_of_the_reply() -> None:
    line = Line()
    line.user(500)
    for _ in range(3):
        line.model(400)
        line.silence(600)
    line.silence(1000)
    assert len(line.of(ReplyStarted)) == len(line.of(ReplyDone)) == 1
    assert sum(len(e.frame.samples) for e in line.of(ReplyAudio)) >= 2.4 * RATE


def test_a_stream_that_stops_altogether_is_silence() -> None:
    line = Line()
    line.user(500)
    line.model(400)
    line.nothing(int(PAUSE_MS + STALL_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.nothing(4 * STEP)
    assert line.of(ReplyDone)


def test_sound_that_ends_while_the_user_speaks_was_interrupted() -> None:
    line = Line()
    line.user(500)
    line.text("One two three four.")
    line.model(1000)
    line.begin()
    line.model(200)
    line.core.ledger.played("reply-1", round(0.6 * RATE))
    line.silence(int(YIELD_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.silence(4 * STEP)
    assert line.events[-2:] == [
        ReplyInterrupted(1, "reply-1", "One two"),
        ReplyDone(1, "reply-1", "interrupted"),
    ]
    assert "interrupted" in line.marks[1]


def test_a_model_that_speaks_on_is_not_interrupted() -> None:
    line = Line()
    line.user(500)
    line.model(1000)
    line.begin()
    line.model(300)
    line.stop()
    line.model(1000)
    line.silence(500)
    assert not line.of(ReplyInterrupted)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    line.model(500)
    assert line.of(ReplyStarted)[-1] == ReplyStarted(2, "reply-2")


def test_an_answer_that_comes_soon_after_an_interruption_is_the_next_turn_s() -> None:
    line = Line()
    line.user(500)
    line.text("Once upon a time")
    line.model(1000)
    line.begin()
    line.model(100)
    line.silence(400)
    # Our detector still waits for the end of the user's silence.
    line.text("Yes?")
    line.model(300)
    line.stop()
    line.silence(1500)
    assert line.of(ReplyDone)[1:] == [ReplyDone(2, "reply-2", "completed")]
    assert [m.content for m in line.core.history] == ["Once upon a time", "Yes?"]
    assert line.marks[2]["committed"] == line.marks[2]["model.first_text"]


def test_a_word_into_the_user_s_speech_is_neither_the_answer_nor_an_interruption() -> None:
    line = Line()
    line.begin()
    line.silence(500)
    line.model(200)
    line.silence(1500)
    early = line.marks[1]["model.first_audio"]
    line.stop()
    line.silence(500)
    assert not line.of(ReplyDone)
    line.model(500)
    line.silence(1500)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    assert not line.of(ReplyInterrupted)
    assert line.marks[1]["model.first_audio"] > early + 2000 * NS_PER_MS


def test_a_word_into_the_user_s_speech_without_any_answer_ends_in_the_end() -> None:
    line = Line()
    line.begin()
    line.model(200)
    line.silence(1500)
    line.stop()
    line.silence(int(OWED_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.silence(4 * STEP)
    assert line.of(ReplyDone)


def test_a_turn_stays_open_while_work_is_given_away() -> None:
    line = Line()
    line.user(500)
    line.delegate()
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
    line = Line()
    line.user(500)
    line.delegate()
    line.settle()
    line.silence(int(OWED_MS) - 2 * STEP)
    assert not line.of(ReplyDone)
    line.silence(4 * STEP)
    assert line.of(ReplyDone)


def test_the_user_goes_on_while_work_is_done() -> None:
    line = Line()
    line.user(500)
    line.delegate()
    line.user(500)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    line.settle()
    line.model(400)
    line.silence(1100)
    assert line.of(ReplyDone)[1:] == [ReplyDone(2, "reply-2", "completed")]


def test_late_text_belongs_to_the_reply_that_was_heard() -> None:
    line = Line()
    line.user(500)
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
    line.core.understood("Hel")
    line.begin()
    line.core.understood("lo.")
    line.stop()
    assert line.of(Transcript) == [Transcript(1, "Hello.", False)]
    line.begin()
    assert line.of(Transcript)[-1] == Transcript(1, "Hello.", True)
    line.core.understood("Bye.")
    line.core.over()
    assert line.of(Transcript)[-1] == Transcript(2, "Bye.", True)


def test_a_lost_connection_ends_the_reply() -> None:
    line = Line()
    line.user(500)
    line.model(400)
    line.core.lost("gone", line.now, fatal=False)
    assert line.events[-2:] == [
        Failure(1, "direct", "gone", False),
        ReplyDone(1, "reply-1", "failed"),
    ]
    line.silence(3000)
    assert len(line.of(ReplyDone)) == 1
    line.user(500)
    line.model(300)
    assert line.of(ReplyStarted)[-1] == ReplyStarted(2, "reply-2")


def test_a_model_may_speak_first() -> None:
    line = Line()
    line.text("Hi.")
    line.model(400)
    line.silence(1200)
    assert line.of(ReplyDone) == [ReplyDone(0, "reply-0", "completed")]


USED = {"input_tokens": 90, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 64}}


def test_the_text_model_goes_on_once_it_has_the_results_of_all_its_calls() -> None:
    line = Line()
    line.user(500)
    line.calls("c1", "c2")
    assert [(call.turn, call.id) for call in line.of(ToolCall)] == [(1, "c1"), (1, "c2")]
    [first] = line.result("c1")
    assert first["item"] == {"type": "function_call_output", "call_id": "c1", "output": "4"}
    # Its response is not complete.
    [second] = line.result("c2", "x" * 900_000)
    assert len(second["item"]["output"]) == 900_000
    line.backend("response.completed", response={"usage": USED})
    assert line.sent() == [{"type": "response.create"}]
    assert line.of(Usage) == [Usage(1, 90, 64, 7)]
    with pytest.raises(CascadeError, match="no tool call 'c1' is open"):
        line.result("c1")
    assert not line.of(ReplyDone)


def test_a_text_model_that_fails_is_told_and_the_turn_goes_on() -> None:
    line = Line()
    line.user(500)
    line.calls()
    line.backend("response.failed", response={"error": {"message": "boom sk-123"}})
    assert line.of(Failure) == [Failure(1, "direct", ": the text model failed: boom [key]", False)]
    line.model(400)
    line.silence(1100)
    assert line.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]


@pytest.mark.parametrize("length", [10, PIECE_CHARS + 10, 1_000_000])
def test_a_delegation_to_us_is_a_call_of_a_tool_that_holds_what_was_understood(
    length: int,
) -> None:
    line = Line()
    line.user(500, "Is it raining?")
    line.server("session.delegation.created", delegation={"id": "d7", "target": "client"})
    assert line.of(ToolCall) == [ToolCall(1, "d7", "delegation", '{"heard": "Is it raining?"}')]
    sent = line.result("d7", "x" * length)
    assert {(message["type"], message["delegation_id"]) for message in sent} == {
        ("session.commentary.append", "d7")
    }
    assert sum(len(m["content"]) for m in sent) == min(length, PIECES * PIECE_CHARS)
    assert max(len(m["content"]) for m in sent) <= PIECE_CHARS
    line.silence(int(OWED_MS) + STEP)
    assert line.of(ReplyDone)


def test_a_model_that_delegates_though_nobody_works_is_told_so_silently() -> None:
    core = LiveCore(lambda *_: None)
    created = {"id": "d7", "target": "client"}
    core.receive({"type": "session.delegation.created", "delegation": created}, 0)
    [parcel] = core.take()
    assert parcel.message["content"] == NO_BACKEND
    assert core.ledger.take() == []


def test_a_call_that_is_open_when_the_connection_is_lost_is_cancelled() -> None:
    line = Line()
    line.user(500)
    line.calls("c1")
    line.core.lost("gone", line.now, fatal=False)
    assert line.of(ToolCancelled) == [ToolCancelled(1, "c1")]
    assert line.result("c1") == []


def test_an_error_that_ends_nothing_is_told_without_a_key() -> None:
    line = Line()
    error = {"type": "server_error", "code": "oops", "message": "Sorry about sk-1234."}
    line.server("error", error=error)
    assert line.of(Failure) == [Failure(0, "direct", ": Sorry about [key] (oops)", False)]


def test_usage_is_told_in_parts() -> None:
    line = Line()
    for seconds in (15.0, 30.5, 30.5):
        line.server("session.usage.updated", usage={"seconds": seconds})
    line.server("session.closed", reason="expired", usage={"seconds": 31})
    assert [u.seconds for u in line.of(Usage)] == [15.0, 15.5, 0.5]
    assert line.core.ended == "expired"


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
    for _ in range(2):
        for message in ODD:
            line.core.receive(message, 0)
    assert line.core.odd.total() == 2 * len(ODD)
    assert line.events == line.sent() == []
    assert len([r for r in caplog.records if "frobnicated" in r.message]) == 1


moves = st.lists(
    st.tuples(
        st.sampled_from(
            ["model", "silence", "nothing", "text", "begin", "stop", "heard", "delegate", "settle"]
        ),
        st.integers(1, 60),
    ),
    max_size=40,
)


@given(moves)
def test_whatever_happens_replies_begin_and_end_once_and_in_order(
    script: list[tuple[str, int]],
) -> None:
    line = Line()
    for move, n in script:
        match move:
            case "model" | "silence" | "nothing":
                getattr(line, move)(n * 40)
            case "text":
                line.text(f"{n} ")
            case "begin" if not line.core.speaking:
                line.begin()
            case "stop" if line.core.speaking:
                line.stop()
            case "heard":
                line.core.understood(f"{n} ")
            case "delegate":
                line.delegate(f"d{n % 3}")
            case "settle":
                line.settle(f"d{n % 3}")
    line.core.over()

    lawful(line.events, late_text=True)
    texts = "".join(event.delta for event in line.of(ReplyText))
    said = [m.content for m in line.core.history if m.role == "assistant"]
    assert texts.split() == " ".join(said).split()
