"""When the next utterance begins: every way that a conversation can go, in virtual time."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pydantic.dataclasses import dataclass as checked

from pipeline.clock import NS_PER_S
from pipeline.events import (
    Event,
    Failure,
    ReplyDone,
    ReplyInterrupted,
    SpeechStarted,
    ToolCall,
    ToolCancelled,
    Usage,
)
from pipeline.measure.cues import (
    FORM,
    IDLE_S,
    LAST_PAUSE_S,
    LONGEST_S,
    Cues,
    Limits,
    Utterance,
)
from pipeline.measure.record import Outcome

S = NS_PER_S


def step(**more: object) -> Utterance:
    return Utterance("words", Path("a.wav"), end_of_speech_s=1.0, seconds=1.5, **more)  # type: ignore[arg-type]


def at(seconds: float) -> int:
    return int(seconds * S)


def said(cues: Cues, turn: int, begun_s: float) -> None:
    """An utterance of 1.5 s, of which a turn is made."""
    cues.event(SpeechStarted(turn), at(begun_s + 0.3))
    cues.over(at(begun_s), at(begun_s + 1.5))


def looked(cues: Cues, *times: tuple[float, bool, str]) -> None:
    """See what the cues say at each time, quiet or not."""
    for seconds, quiet, cue in times:
        assert cues.look(at(seconds), quiet) == cue, seconds


def test_waits_for_the_reply_and_its_pause() -> None:
    cues = Cues([step(), step(pause_s=0.7)], 0)
    looked(cues, (1.0, True, "wait"))
    said(cues, 1, 0)
    looked(cues, (1.6, False, "wait"), (1.7, True, "wait"))  # silence before any answer is no end
    cues.event(ReplyDone(1, "r", "completed"), at(2.0))
    cues.heard(at(2.1))
    looked(cues, (2.5, False, "wait"), (4.0, True, "wait"), (4.6, True, "wait"))
    looked(cues, (4.71, True, "next"))


def test_nobody_has_finished_before_the_recording_has_begun() -> None:
    cues = Cues([step(), step()], 0)
    assert not cues.finished(at(5))  # the session took that long to be ready
    cues.begins(at(5))
    assert not cues.finished(at(5.9))
    assert cues.finished(at(6))
    said(cues, 1, 5)
    cues.next(at(8))
    assert not cues.finished(at(20))


def test_a_turn_that_ended_before_the_speech_did_is_no_answer() -> None:
    cues = Cues([step()], 0)
    cues.event(SpeechStarted(1), at(0.2))
    cues.event(ReplyDone(1, "r", "interrupted"), at(0.8))
    cues.over(0, at(1.5))
    looked(cues, (3, True, "wait"))
    cues.event(SpeechStarted(2), at(0.9))
    cues.event(ReplyDone(2, "s", "completed"), at(3))
    looked(cues, (3.1, True, "wait"), (3.1 + LAST_PAUSE_S, True, "end"))


def test_the_end_of_an_interrupted_reply_is_no_answer_to_what_interrupted_it() -> None:
    cues = Cues([step(), step(interrupt_s=1.0), step()], 0)
    said(cues, 1, 0)
    cues.heard(at(2.0))
    looked(cues, (2.9, False, "wait"), (3.0, False, "next"))
    cues.next(at(3.0))
    said(cues, 2, 3.0)
    cues.event(ReplyInterrupted(1, "r", ""), at(5.0))
    cues.event(ReplyDone(1, "r", "interrupted"), at(5.0))
    looked(cues, (7.0, True, "wait"))


def test_an_interruption_that_comes_too_late_is_said_after_the_reply() -> None:
    cues = Cues([step(), step(interrupt_s=5.0)], 0)
    said(cues, 1, 0)
    cues.heard(at(2.0))
    cues.event(ReplyDone(1, "r", "completed"), at(2.0))
    looked(cues, (3.0, True, "wait"), (3.6, True, "next"))


def test_calls_are_waited_for_unless_they_are_cancelled() -> None:
    for cancelled in (False, True):
        cues = Cues([step(), step()], 0)
        said(cues, 1, 0)
        cues.event(ToolCall(1, "c", "report", "{}"), at(2.0))
        cues.event(ReplyDone(1, "r", "completed"), at(2.1))
        if cancelled:
            cues.event(ToolCancelled(1, "c"), at(2.2))
            looked(cues, (2.3, True, "wait"), (3.0, True, "next"))
            continue
        looked(cues, (5.0, True, "wait"))
        cues.result("c")
        looked(cues, (6.0, True, "wait"))
        cues.event(ReplyDone(1, "r2", "completed"), at(7.0))
        looked(cues, (7.0, True, "wait"), (7.6, True, "next"))


def test_or_spoken_over() -> None:
    cues = Cues([step(), step(after_call_s=2.0)], 0)
    said(cues, 1, 0)
    looked(cues, (3.0, True, "wait"))
    cues.event(ToolCall(1, "c", "report", "{}"), at(3.0))
    looked(cues, (4.9, False, "wait"), (5.0, False, "next"))


def test_patience_ends() -> None:
    cues = Cues([step(patience_s=10), step(patience_s=10)], 0)
    said(cues, 1, 0)
    # An open session is billed: that is no sign of life.
    cues.event(Usage(1, 0, 0, 0, seconds=9, kind="session"), at(10))
    looked(cues, (11.4, False, "wait"), (11.5, False, "next"))
    assert cues.said[0].late
    cues.next(at(11.5))
    said(cues, 2, 11.5)
    looked(cues, (23.1, False, "end"))


def test_patience_is_not_spent_on_our_own_tools() -> None:
    cues = Cues([step(patience_s=10)], 0)
    said(cues, 1, 0)
    cues.event(ToolCall(1, "c", "report", "{}"), at(2.0))
    looked(cues, (31.9, False, "wait"))
    cues.result("c", at(32.0))
    looked(cues, (41.9, False, "wait"), (42.0, False, "end"))


def test_patience_is_for_silence_and_a_reply_that_never_ends_is_left() -> None:
    cues = Cues([step(patience_s=10)], 0)
    said(cues, 1, 0)
    for second in range(2, int(LONGEST_S) + 11):
        cues.heard(at(second))
        looked(cues, (second, False, "wait"))
    cues.heard(at(LONGEST_S + 11.5))
    looked(cues, (LONGEST_S + 11.5, False, "end"))
    assert cues.said[0].late


def test_a_reply_may_begin_in_the_silence_at_the_end_of_a_recording() -> None:
    cues = Cues([step()], 0, Limits(listen_s=1))
    cues.event(SpeechStarted(1), at(0.3))
    cues.begins(0)
    cues.heard(at(0.9), 1)  # before the user has finished it answers something else
    cues.heard(at(1.2), 1)
    looked(cues, (2.3, False, "wait"))
    cues.over(0, at(1.5))
    looked(cues, (2.1, False, "wait"), (2.2, False, "end"))


def test_who_answers_soon_or_never_is_not_waited_for() -> None:
    cues = Cues([step(patience_s=10)], 0, Limits(in_vain_s=0.8))
    cues.over(0, at(1.5))
    looked(cues, (2.2, True, "wait"), (2.4, False, "wait"), (2.4, True, "end"))
    assert not cues.said[0].late


def test_a_limit_counts_from_the_end_of_the_recording_whatever_happens() -> None:
    cues = Cues([step(patience_s=2)], 0, Limits(longest_s=0))
    said(cues, 1, 0)
    cues.event(ToolCall(1, "c", "report", "{}"), at(3.0))
    looked(cues, (3.4, False, "wait"), (3.5, False, "end"))
    assert cues.said[0].late


def test_enough_of_the_last_reply_and_not_of_an_earlier_one() -> None:
    cues = Cues([step(), step(interrupt_s=1.0)], 0, Limits(listen_s=4))
    said(cues, 1, 0)
    cues.heard(at(2.0), 1)
    cues.next(at(3.0))
    said(cues, 2, 3.0)
    cues.heard(at(5.0), 1)
    looked(cues, (9.0, False, "wait"))
    cues.heard(at(9.5), 2)
    looked(cues, (13.4, False, "wait"), (13.5, False, "end"))


def test_a_failure_of_no_turn_is_of_the_utterance_that_is_being_answered() -> None:
    cues = Cues([step(), step(interrupt_s=1.0)], 0)
    said(cues, 1, 0)
    cues.heard(at(2.0))
    cues.next(at(3.0))
    cues.event(SpeechStarted(2), at(3.3))
    cues.event(Failure(1, "direct", "broke off", False), at(3.4))
    assert [one.failed for one in cues.said] == ["", ""]  # the turn is known, and has it
    cues.event(Failure(0, "direct", "gone", True), at(3.5))
    assert [one.failed for one in cues.said] == ["", "direct: gone"]


@checked(frozen=True, slots=True, config=FORM)
class Sound(Utterance):
    """What asks for no answer."""

    asks: Outcome = "ignore"

    @property
    def outcome(self) -> Outcome:
        return self.asks


def sound(asks: Outcome = "ignore", **more: object) -> Utterance:
    return Sound("", Path("a.wav"), end_of_speech_s=1.0, seconds=1.5, asks=asks, **more)  # type: ignore[arg-type]


def test_what_is_ignored_is_waited_for_a_while_and_nothing_is_late() -> None:
    cues = Cues([sound(), step()], 0)
    cues.over(0, at(1.5))
    looked(cues, (1.5, True, "wait"), (1.5 + IDLE_S - 0.1, True, "wait"))
    looked(cues, (1.5 + IDLE_S, True, "next"))
    assert not cues.said[0].late
    # A turn is open that never ends: patience does.
    cues = Cues([sound(patience_s=20), step()], 0)
    cues.event(SpeechStarted(1), at(1))
    cues.over(0, at(1.5))
    looked(cues, (21.4, False, "wait"), (21.5, False, "next"))
    assert not cues.said[0].late


def test_a_reply_to_it_is_listened_to() -> None:
    cues = Cues([sound(), step()], 0)
    said(cues, 1, 0)
    cues.heard(at(3.0), 1)
    cues.event(ReplyDone(1, "r", "completed"), at(4.0))
    looked(cues, (9, False, "wait"), (10, True, "wait"), (10 + IDLE_S, True, "next"))


def test_a_reply_that_goes_on_may_be_spoken_into_once_more() -> None:
    cues = Cues([step(), sound(interrupt_s=1.0), sound("stop", interrupt_s=4.0), step()], 0)
    said(cues, 1, 0)
    cues.heard(at(2.0), 1)
    looked(cues, (3.0, False, "next"))
    cues.next(at(3.0))
    cues.over(at(3.0), at(4.5))
    cues.heard(at(4.6), 1)
    looked(cues, (5.9, False, "wait"), (6.0, False, "next"))
    cues.next(at(6.0))
    cues.over(at(6.0), at(7.5))
    # It is silent, and need say nothing more.
    looked(cues, (7.6, True, "wait"), (7.6 + IDLE_S, True, "next"))


def test_a_reply_is_over_before_the_next_turn_where_none_is_spoken_into_it() -> None:
    cues = Cues([step(), sound(interrupt_s=1.0), step()], 0)
    said(cues, 1, 0)
    cues.heard(at(2.0), 1)
    cues.next(at(3.0))
    cues.over(at(3.0), at(4.5))
    looked(cues, (15, False, "wait"), (16, True, "wait"), (16 + IDLE_S, True, "next"))


EVENTS = st.one_of(
    st.builds(SpeechStarted, st.integers(1, 3)),
    st.builds(ReplyDone, st.integers(1, 3), st.just("r"), st.just("completed")),
    st.builds(ToolCall, st.integers(1, 3), st.sampled_from("ab"), st.just("t"), st.just("{}")),
    st.builds(ToolCancelled, st.integers(1, 3), st.sampled_from("ab")),
    st.builds(Failure, st.integers(1, 3), st.just("llm"), st.just("no"), st.just(False)),
)


@given(st.lists(st.tuples(EVENTS, st.booleans(), st.booleans()), max_size=40))
def test_every_conversation_ends(happens: list[tuple[Event, bool, bool]]) -> None:
    steps = [
        step(patience_s=5),
        sound(patience_s=5, interrupt_s=1),
        step(patience_s=5, interrupt_s=2),
        step(patience_s=5),
        sound(patience_s=5),
    ]
    cues = Cues(steps, 0)
    now = 0.0
    cue = "wait"
    script = iter(happens)
    for _ in range(1000):
        now += 0.5
        event, quiet, heard = next(script, (None, False, False))
        if event is None:
            for call_id in "ab":
                cues.result(call_id)
        if event is not None:
            cues.event(event, at(now))
        if heard:
            cues.heard(at(now))
        cues.over(cues.current.begun_ns, cues.current.begun_ns + at(1.5))
        cue = cues.look(at(now), quiet)
        if cue == "end":
            break
        if cue == "next":
            cues.next(at(now))
    assert cue == "end"
    assert len(cues.said) == len(steps)
