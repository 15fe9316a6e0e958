"""Turns made of what a carrier sees: sound that comes and is played, in made-up time."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cores import Stage
from support.lawful import lawful

from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.events import (
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyText,
    Samples,
    SpeechStopped,
    Transcript,
)
from pipeline.speech_to_speech import mapped
from pipeline.speech_to_speech.mapped import APART_MS, DOUBT_S, PAUSE_MS, MappedCore, Outgoing
from pipeline.speech_to_speech.turnless import LATE_MS, OWED_MS
from pipeline.speech_to_speech.wire_map import Answer, Inbound, Selector, Sign, WireMap

RATE = 8_000
STEP_MS = 20
EVENTS = Inbound(
    audio=Selector("audio", {"type": "audio"}),
    text=Selector("text", {"type": "text"}),
    transcript=Selector("text", {"type": "heard"}),
    clear=Sign({"type": "clear"}),
    error=Selector("why", {"type": "error"}),
)
MAP = WireMap(
    name="mine",
    rate=RATE,
    receive=EVENTS,
    answers=(
        Answer({"type": "mark"}, {"mark": "{message.name}"}, played=True),
        Answer({"type": "ping"}, {"pong": "{message.id}"}),
    ),
)


def loud(ms: float, level: int = 5000) -> Samples:
    return np.resize(np.array([level, -level], np.int16), round(ms * RATE / 1000))


def silent(ms: float) -> Samples:
    return loud(ms, 0)


class Carrier(Stage):
    """A conversation by `MAP`, of which the driver plays what is told.

    Attributes:
        heard_ms: When (ms) something loud was heard, in steps of a millisecond.
    """

    def __init__(self, described: WireMap = MAP) -> None:
        super().__init__(MappedCore(self._mark, self._now, described), None)
        self.heard_ms: list[int] = []
        self._free_ns = 0

    def collect(self) -> list[Any]:
        for parcel in self.core.take():
            message = parcel.message
            assert isinstance(message, Outgoing)
            self.sent.append({**message.template, **message.values})
        events = self.core.ledger.take()
        for event in events:
            if isinstance(event, ReplyInterrupted):
                self._free_ns = self.now
                self.core.ledger.noticed(event.id)
            if isinstance(event, ReplyAudio):
                self._play(event.frame.samples)
        self.events += events
        return events

    def sends(self, kind: str, **fields: Any) -> None:
        self.core.receive(json.dumps({"type": kind, **fields}))
        self.collect()

    def sounds(self, *samples: Samples) -> None:
        """The system sends all this at once, in a message."""
        data = np.concatenate(samples).astype("<i2").tobytes()
        self.sends("audio", audio=base64.b64encode(data).decode())

    def wait(self, ms: float) -> None:
        for _ in range(round(ms / STEP_MS)):
            self.now += STEP_MS * NS_PER_MS
            self._report()
            self.core.tick()
            self.collect()

    def streams(self, ms: float, level: int = 5000) -> None:
        """The system sends sound as it is played."""
        for _ in range(round(ms / STEP_MS)):
            self.sounds(loud(STEP_MS, level))
            self.wait(STEP_MS)

    def begins(self) -> None:
        self.core.user_began(self.now)
        self.collect()

    def stops(self) -> None:
        self.core.user_stopped()
        self.collect()

    def user(self, ms: float = 800) -> None:
        """The user says something, meanwhile the system is silent."""
        self.begins()
        self.wait(ms)
        self.stops()

    def _play(self, samples: Samples) -> None:
        begin_ns = max(self.now, self._free_ns)
        self._free_ns = begin_ns + len(samples) * NS_PER_S // RATE
        at = begin_ns / NS_PER_MS + np.flatnonzero(samples) * 1000 / RATE
        self.heard_ms += sorted(set(at.astype(int)))

    def _report(self) -> None:
        """How far the last reply was played."""
        if replies := self.core.ledger.replies:
            left = max(0, self._free_ns - self.now) * RATE // NS_PER_S
            self.core.ledger.played(replies[-1].id, replies[-1].samples - left)


def asked() -> Carrier:
    """The user has said something."""
    line = Carrier()
    line.user()
    return line


def test_a_reply_is_over_when_all_was_heard_and_nothing_more_comes() -> None:
    line = asked()
    line.wait(200)
    line.sounds(loud(3000))  # at once: it is played for three seconds
    line.wait(3000 + PAUSE_MS - 2 * STEP_MS)
    assert not line.of(ReplyDone)
    line.wait(4 * STEP_MS)
    assert line.done() == [(1, "reply-1", "completed")]
    assert line.marks[1, "committed"] == line.marks[1, "model.first_audio"] == 1000 * NS_PER_MS
    assert line.of(SpeechStopped) == [SpeechStopped(1)]
    lawful(line.events)


def test_the_same_where_sound_comes_in_real_time_and_silence_never_ends() -> None:
    line = Carrier()
    line.streams(400, 0)
    line.begins()
    line.streams(800, 0)
    line.stops()
    line.streams(600, 0)
    line.streams(1000)
    line.streams(PAUSE_MS + 3 * STEP_MS, 0)
    assert line.done() == [(1, "reply-1", "completed")]
    told = len(line.of(ReplyAudio))
    line.streams(3000, 0)
    assert len(line.of(ReplyAudio)) == told and len(line.done()) == 1
    assert (line.heard_ms[0], line.heard_ms[-1]) == (1800, 2799)
    lawful(line.events)


PIECES = st.lists(
    st.tuples(
        st.integers(0, 120).map(lambda n: n * STEP_MS),
        st.integers(1, 120).map(lambda n: n * STEP_MS),
        st.booleans(),
    ),
    max_size=12,
)


@given(PIECES)
def test_whatever_comes_is_heard_when_a_telephone_would_play_it(
    pieces: list[tuple[int, int, bool]],
) -> None:
    """Pieces: how long after the one before they come, how long they are, and whether loud."""
    line, free_ms, wanted = Carrier(), 0, set()
    line.user(200)
    for gap_ms, ms, is_loud in pieces:
        line.wait(gap_ms)
        now_ms = line.now // NS_PER_MS
        begin_ms = max(now_ms, free_ms)
        free_ms = begin_ms + ms
        if is_loud:
            wanted |= set(range(begin_ms, free_ms))
        line.sounds(loud(ms, 5000 if is_loud else 0))
    # Less than a frame of the gate may wait for the next piece, and what waits is not lost.
    assert len(line.heard_ms) == len(set(line.heard_ms))
    assert set(line.heard_ms) == wanted
    line.wait(free_ms + PAUSE_MS + OWED_MS)
    assert [status for _, _, status in line.done()] == ["completed"] * len(line.core.ledger.replies)
    lawful(line.events)


def test_what_is_cleared_is_not_heard() -> None:
    line = asked()
    line.sends("text", text="A long story.")
    line.sounds(loud(5000))
    line.wait(1000)
    line.begins()
    line.wait(300)
    line.sends("clear")
    [interrupted] = line.of(ReplyInterrupted)
    assert (interrupted.turn, interrupted.id) == (1, "reply-1")
    line.wait(500)
    line.stops()
    line.wait(300)
    line.sounds(loud(1000))
    assert line.heard_ms[-1] == line.now // NS_PER_MS + 999
    line.wait(1000 + PAUSE_MS)
    assert line.done() == [(1, "reply-1", "interrupted"), (2, "reply-2", "completed")]
    lawful(line.events)


def test_a_clear_when_all_was_heard_changes_nothing() -> None:
    line = asked()
    line.sounds(loud(1000))
    line.wait(1200)
    line.sends("clear")
    assert line.done() == [(1, "reply-1", "completed")] and not line.of(ReplyInterrupted)


def test_marks_come_back_when_they_are_heard_or_cleared() -> None:
    line = asked()
    line.sends("mark", name="before")
    assert [one["message.name"] for one in line.sent] == ["before"]
    line.sounds(loud(1000))
    line.sends("mark", name="one")
    line.sounds(loud(1000))
    line.sends("mark", name="two")
    line.wait(900)
    assert len(line.sent) == 1
    line.wait(200)
    assert [one["message.name"] for one in line.sent] == ["before", "one"]
    line.sends("clear")
    line.sends("mark", name="three")
    assert [one["message.name"] for one in line.sent] == ["before", "one", "two", "three"]


def test_a_flood_of_marks_is_answered_before_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "MOST_ANSWERS", 3)
    line = asked()
    line.sounds(loud(1000))
    for name in range(5):
        line.sends("mark", name=name)
    assert [one["message.name"] for one in line.sent] == [0, 1]
    line.wait(1100)
    assert [one["message.name"] for one in line.sent] == [0, 1, 2, 3, 4]


def test_a_ping_is_answered_at_once() -> None:
    line = Carrier()
    line.sounds(loud(1000))
    line.sends("ping", id=7)
    assert line.sent == [{"pong": "{message.id}", "message.id": 7}]


def test_a_system_that_ignores_the_user_goes_on_with_its_reply() -> None:
    line = asked()
    line.streams(1000)
    line.begins()
    line.streams(800)
    line.stops()
    line.streams(600)
    line.streams(APART_MS + STEP_MS, 0)
    line.streams(500)
    line.wait(PAUSE_MS + STEP_MS)
    assert line.done() == [(1, "reply-1", "completed"), (2, "reply-2", "completed")]
    assert [turn for turn, name in line.marks if name == "model.first_audio"] == [1, 2]
    lawful(line.events)


def test_what_is_said_in_pieces_after_the_user_has_begun_is_one_reply() -> None:
    line = asked()
    line.sounds(loud(2000))
    line.wait(1500)
    line.begins()
    line.sounds(loud(2000))  # the system does not know yet, and sends the next sentence
    line.wait(300)
    line.sends("clear")
    assert [reply.id for reply in line.core.ledger.replies] == ["reply-1"]


def test_a_pause_in_what_the_user_says_is_no_turn_to_be_answered() -> None:
    line = Carrier()
    line.user(400)
    line.wait(200)
    line.user(400)
    line.sounds(loud(500))
    line.wait(500 + PAUSE_MS)
    assert line.done() == [(1, "", "skipped"), (2, "reply-2", "completed")]
    lawful(line.events)


def test_words_of_both_sides() -> None:
    line = Carrier()
    line.begins()
    line.wait(400)
    line.sends("heard", text="How much")
    line.wait(400)
    line.stops()
    line.sends("heard", text="is a lamp?")
    line.sends("text", text="Let me see.")
    line.wait(OWED_MS - 3 * STEP_MS)
    assert not line.of(ReplyDone)
    line.sounds(loud(500))
    assert line.of(Transcript)[-1] == Transcript(1, "How much is a lamp?", True)
    line.sends("text", text="Twelve.")
    line.wait(500 + PAUSE_MS)
    line.sends("text", text="Euros." if PAUSE_MS < LATE_MS else "")
    assert "".join(one.delta for one in line.of(ReplyText)).startswith("Let me see. Twelve.")
    assert line.done() == [(1, "reply-1", "completed")]


def test_a_text_that_never_has_a_sound_is_not_waited_for_for_ever() -> None:
    line = asked()
    line.sends("text", text="Nobody hears this.")
    line.wait(OWED_MS + STEP_MS)
    assert line.done() == [(1, "reply-1", "completed")]


def test_pieces_of_words() -> None:
    deltas = Inbound(
        text=Selector("text", {"type": "text"}, delta=True),
        transcript=Selector("text", {"type": "heard"}, delta=True),
    )
    line = Carrier(WireMap(rate=RATE, receive=deltas))
    line.begins()
    for piece in ("Hel", "lo."):
        line.sends("heard", text=piece)
    line.stops()
    for piece in ("Good", " mor", "ning."):
        line.sends("text", text=piece)
    line.core.over()
    line.collect()
    assert line.of(Transcript)[-1] == Transcript(1, "Hello.", True)
    assert "".join(one.delta for one in line.of(ReplyText)) == "Good morning."


def test_a_system_that_says_when_it_is_done_may_be_silent_meanwhile() -> None:
    done = Inbound(done=Sign({"type": "done"}), text=Selector("text", {"type": "text"}))
    line = Carrier(WireMap(rate=RATE, receive=done))
    line.user()
    line.core.receive(loud(500).tobytes())
    line.wait(6000)
    assert not line.done()
    line.core.receive(loud(500).tobytes())
    line.sends("done")
    assert line.done() == [(1, "reply-1", "completed")]
    assert line.heard_ms[-1] == line.now // NS_PER_MS + 499


def test_half_a_sample_is_completed_by_the_next_message() -> None:
    line = Carrier(WireMap(rate=RATE))
    line.user()
    data = loud(500).tobytes()
    for piece in (data[:1001], data[1001:1002], data[1002:]):
        line.core.receive(piece)
    line.collect()
    told = np.concatenate([one.frame.samples for one in line.of(ReplyAudio)])
    assert np.array_equal(told, loud(500))


def test_errors_are_told_and_end_nothing() -> None:
    line = asked()
    line.sends("error", why="no model\n today")
    assert line.of(Failure) == [Failure(1, "direct", "no model today", False)]


def test_a_system_that_never_sounds_is_told_by_what_came(caplog: pytest.LogCaptureFixture) -> None:
    line = Carrier()
    assert line.core.complaint == ""
    line.sends("hello")
    line.core.receive(b"\0\0")
    line.core.receive("{")
    line.core.receive("[1]")
    line.sends("audio", audio="§")
    line.sends("audio", audio="AAAA")
    line.user()
    told = (
        "no sound came that the map mine finds; what came: audio (2), hello (1), "
        "binary messages (1), text that is no JSON (1), {list} (1), sound that is no base64 (1)"
    )
    assert line.core.complaint == told
    line.wait(DOUBT_S * 1000 - STEP_MS)
    assert not caplog.messages
    line.wait(5 * STEP_MS)
    assert caplog.messages == [told]
    line.sounds(loud(500))
    assert line.core.complaint == ""


def test_a_greeting_is_heard_by_nobody() -> None:
    line = Carrier()
    line.core.greeting = True
    line.sends("text", text="Welcome.")
    line.sounds(loud(1000))
    line.wait(1000)
    assert not line.core.greeted and not line.events
    line.wait(PAUSE_MS)
    assert line.core.greeted
    line.core.begin()
    line.user()
    line.sounds(loud(500))
    assert [reply.turn.number for reply in line.core.ledger.replies] == [1]
