"""The replay of a turn: exact with no change, monotone, and as worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.config import Reply, Turns
from pipeline.measure.record import Record, Span
from pipeline.profile.change import COSTS, WAITS, Change, Cost, Mode
from pipeline.profile.graph import WHOLE, Setup, lacking, replay
from pipeline.timeline import MARKS, PARTS, Timeline

MS = 1_000_000
NEEDED = ("speech.end", "committed", "heard.first")
MODES: tuple[Mode, ...] = get_args(Mode)
WORDS = ("The ", "train ", "leaves ", "at ", "nine, ", "and ", "it ", "takes ", "an ", "hour.")


def record(marks: Mapping[str, int], **more: Any) -> Record:
    return Record("v", "f.wav", 1, 0, "ok", marks=marks, **more)


def setup(mode: Mode, **turns: Any) -> Setup:
    return Setup(Turns(**turns), Reply(mode=mode))


def in_ms(marks: Mapping[str, int]) -> dict[str, float]:
    return {name: at / MS for name, at in marks.items()}


def said(first_ms: float, gap_ms: float, words: tuple[str, ...] = WORDS) -> tuple[Span, ...]:
    """Tokens, one every so often, each from the one before it to its arrival."""
    times = [round((first_ms + i * gap_ms) * MS) for i in range(len(words))]
    begun = [times[0] - 100 * MS, *times]
    return tuple(Span("llm", *token) for token in zip(words, begun, times, strict=False))


def marks_of(**ms: float) -> dict[str, int]:
    """Marks given in milliseconds, with `__` for the dot in their names."""
    return {name.replace("__", "."): round(at * MS) for name, at in ms.items()}


# ---- a turn in order, with any times ----------------------------------------------------------

CHAIN = (
    *("stt.start", "stt.final", "llm.request", "llm.first_token", "clause.first"),
    *("tts.start", "tts.first_audio"),
)
gaps = st.integers(0, 400 * MS)


@st.composite
def real(draw: st.DrawFn, mode: Mode | None = None) -> tuple[Record, Setup]:
    """A turn whose marks are in the order in which the loop makes them."""
    mode = mode or draw(st.sampled_from(MODES))
    turns = Turns(
        predict=draw(st.booleans()),
        hold_ms=draw(st.sampled_from([128, 300, 500, 1000])),
        provisional_ms=draw(st.sampled_from([64, 128, 400])),
    )
    end = 10**12
    marks = {"speech.start": end - 10**9, "speech.end": end, "vad.stop": end + 40 * MS}
    heard = end + 8 * MS
    silence = min(turns.provisional_ms, turns.hold_ms)
    marks["provisional"] = heard + -(-silence // 32) * 32 * MS
    held = draw(st.sampled_from([turns.hold_ms, turns.shortest_ms, turns.longest_ms, 700]))
    late = draw(st.integers(0, 40 * MS))
    marks["committed"] = max(heard + -(-held // 32) * 32 * MS, marks["provisional"]) + late
    at = marks["provisional" if mode == "speculative" else "committed"]
    for name in CHAIN:
        at += draw(gaps)
        marks[name] = at
    first, clause = marks["llm.first_token"], marks["clause.first"]
    spans: tuple[Span, ...] = ()
    if draw(st.booleans()):
        spans = said(first / MS, draw(st.integers(1, 200)))
    marks["llm.last_token"] = max(clause, *(span.end_ns for span in spans), clause + 1)
    marks["tts.last_audio"] = marks["tts.first_audio"] + draw(gaps)
    if mode == "sequential":
        wait = marks["llm.last_token"] - clause
        for name in ("clause.first", "tts.start", "tts.first_audio", "tts.last_audio"):
            marks[name] += wait
    last = "tts.last_audio" if mode == "sequential" else "tts.first_audio"
    marks["playout.first"] = max(marks[last], marks["committed"]) + draw(gaps)
    marks["heard.first"] = marks["playout.first"] + draw(gaps)
    for name in draw(st.sets(st.sampled_from([*CHAIN, "vad.stop", "provisional"]), max_size=3)):
        del marks[name]
    wav = draw(st.none() | st.integers(0, 10**10))
    hold = draw(st.none() | st.just(float(held)))
    words = draw(st.sampled_from(["", "What time does the museum leave?", "I want to"]))
    more = {"spans": spans, "wav_voice_to_voice_ns": wav, "hold_ms": hold, "transcript": words}
    return record(marks, **more), Setup(turns, Reply(mode=mode))


anything = st.fixed_dictionaries(
    dict.fromkeys(NEEDED, st.integers(0, 10**12)),
    optional={
        name: st.integers(0, 10**12)
        for name in MARKS
        # What a speech-to-speech model does is not replayed.
        if name not in NEEDED and not name.startswith("model.")
    },
)
costs = st.one_of(
    st.builds(Cost, st.just("set"), st.integers(0, 10**9)),
    st.builds(Cost, st.just("scale"), st.floats(0, 5)),
    st.builds(Cost, st.just("shift"), st.integers(-(10**9), 10**9)),
)
changes = st.builds(
    Change,
    st.dictionaries(st.sampled_from([*COSTS, *WAITS]), costs, max_size=4),
    st.none() | st.sampled_from(MODES),
)


@given(anything, st.sampled_from(MODES), st.none() | st.integers(-(10**9), 10**10))
def test_no_change_gives_what_was_measured_whatever_the_marks(
    marks: dict[str, int], mode: Mode, wav: int | None
) -> None:
    turn = record(marks, wav_voice_to_voice_ns=wav, underrun_ns=7)
    same = replay(turn, setup(mode), Change())
    assert same.marks == marks
    assert same.timeline == turn.timeline
    expected = marks["heard.first"] - marks["speech.end"] if wav is None else wav
    assert same.voice_to_voice_ns == expected
    assert same.underrun_ns == turn.underrun_ns


@given(real())
def test_no_change_gives_what_was_measured_of_a_turn_in_order(turn: tuple[Record, Setup]) -> None:
    same = replay(*turn, Change())
    assert same.marks == turn[0].marks
    assert same.underrun_ns == turn[0].underrun_ns
    times_one = Change({name: Cost("scale", 1.0) for name in (*COSTS, *WAITS)}, turn[1].reply.mode)
    assert replay(*turn, times_one).marks == turn[0].marks


@given(anything, st.sampled_from(MODES), changes)
def test_parts_sum_to_the_latency_whatever_the_marks_and_the_change(
    marks: dict[str, int], mode: Mode, change: Change
) -> None:
    turn = record(marks)
    predicted = replay(turn, setup(mode), change)
    assert predicted.marks.keys() == marks.keys()
    assert tuple(predicted.timeline.parts) == PARTS
    assert sum(predicted.timeline.parts.values()) == predicted.timeline.total_ns
    assert predicted.timeline == Timeline.from_marks(predicted.marks)
    assert predicted.voice_to_voice_ns == predicted.timeline.total_ns


@given(
    real(),
    st.sampled_from([*COSTS, "turns.provisional_ms"]),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    changes,
)
def test_a_slower_stage_never_makes_the_reply_earlier(
    turn: tuple[Record, Setup], name: str, slow: int, more: int, others: Change
) -> None:
    def at(cost: Cost) -> int:
        return replay(*turn, Change({**others.costs, name: cost}, others.mode)).voice_to_voice_ns

    assert at(Cost("shift", slow)) <= at(Cost("shift", slow + more))
    assert at(Cost("set", slow)) <= at(Cost("set", slow + more))
    if name in COSTS:
        unchanged = Change({k: v for k, v in others.costs.items() if k != name}, others.mode)
        assert replay(*turn, unchanged).voice_to_voice_ns <= at(Cost("scale", 1.5))


@given(real("speculative"), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_longer_hold_never_makes_the_reply_earlier(
    turn: tuple[Record, Setup], less: int, more: int
) -> None:
    before, after = (
        replay(*turn, Change({"turns.hold_ms": Cost("set", ns)})) for ns in (less, less + more)
    )
    assert before.voice_to_voice_ns <= after.voice_to_voice_ns


@given(real("speculative"), st.floats(0, 1))
def test_a_faster_recogniser_buys_nothing_where_all_was_hidden(
    turn: tuple[Record, Setup], factor: float
) -> None:
    one, of = turn
    assume({"stt.start", "provisional", "tts.first_audio", "clause.first"} <= one.marks.keys())
    assume(one.marks["tts.first_audio"] <= one.marks["committed"])
    faster = replay(one, of, Change({"stt": Cost("scale", factor)}))
    assert one.timeline is not None
    assert faster.timeline.total_ns == one.timeline.total_ns


# ---- worked out by hand -----------------------------------------------------------------------

SPECULATIVE = marks_of(
    speech__end=1000,
    vad__stop=1032,
    provisional=1128,
    stt__start=1135,
    stt__final=1165,
    llm__request=1170,
    llm__first_token=1270,
    clause__first=1300,
    tts__start=1301,
    tts__first_audio=1341,
    committed=1520,
    playout__first=1540,
    heard__first=1550,
)
OVERLAPPED = marks_of(
    speech__end=1000,
    vad__stop=1032,
    provisional=1128,
    committed=1520,
    stt__start=1521,
    stt__final=1551,
    llm__request=1552,
    llm__first_token=1652,
    clause__first=1692,
    tts__start=1693,
    tts__first_audio=1733,
    playout__first=1743,
    heard__first=1753,
    llm__last_token=1832,
)


def test_what_comes_to_light_is_what_the_hold_no_longer_hides() -> None:
    slow = Change({"llm.first_token": Cost("shift", 300 * MS)})
    predicted = replay(record(SPECULATIVE), setup("speculative"), slow)
    assert in_ms(predicted.marks)["llm.first_token"] == 1570
    # First sound at 1641, 121 ms after the commit; 20 to the loudspeaker, 10 to the ear.
    assert predicted.voice_to_voice_ns == (1641 + 20 + 10 - 1000) * MS
    parts = in_ms(predicted.timeline.parts)
    assert parts["endpoint"] == 520
    assert parts["llm_first_token"] == 50
    assert parts["stt"] == 0


def test_speculation_hides_the_work_in_the_hold() -> None:
    predicted = replay(record(OVERLAPPED), setup("overlapped"), Change(mode="speculative"))
    marks = in_ms(predicted.marks)
    # The commit came 8 ms after its window; so does the beginning after its own.
    assert marks["stt.start"] == 1128 + 8
    assert marks["committed"] == 1520
    assert marks["playout.first"] == 1520 + 10
    assert predicted.timeline.hidden["stt"] == 30 * MS
    assert predicted.voice_to_voice_ns == 540 * MS


def test_without_speculation_all_of_it_is_waited_for() -> None:
    predicted = replay(record(SPECULATIVE), setup("speculative"), Change(mode="overlapped"))
    marks = in_ms(predicted.marks)
    assert marks["stt.start"] == marks["committed"] == 1520
    assert marks["llm.request"] == marks["stt.final"] == 1550
    assert marks["tts.first_audio"] == 1550 + 100 + 30 + 1 + 40
    assert predicted.voice_to_voice_ns == (1721 + 20 + 10 - 1000) * MS


def test_the_first_clause_waits_for_its_words_or_for_the_deadline() -> None:
    """Words come every 8 ms and a comma after the fifth; at 60 ms what there is is cut."""
    turn = record(OVERLAPPED, spans=said(1652, 8))
    of = Setup(Turns(), Reply(mode="overlapped", first_words=3, first_deadline_ms=60))

    def clause(cost: Cost) -> float:
        return in_ms(replay(turn, of, Change({"llm.tokens": cost})).marks)["clause.first"]

    # The sixth token, 40 ms after the first, shows that the comma was one.
    assert clause(Cost("scale", 1.0)) == 1652 + 40
    assert clause(Cost("scale", 0.5)) == 1652 + 20
    assert clause(Cost("set", 2 * MS)) == 1652 + 10
    assert clause(Cost("shift", -10 * MS)) == 1652
    # Three times as slow: the deadline, 60 ms after the first token, finds two words.
    assert clause(Cost("scale", 3.0)) == 1652 + 60
    # So slow that the second word comes after it.
    assert clause(Cost("set", 100 * MS)) == 1652 + 100


def test_a_model_slower_than_the_voice_leaves_gaps() -> None:
    """Ten words, each four characters and 400 ms of sound."""
    words = tuple("abc " for _ in range(10))
    turn = record(
        {**OVERLAPPED, "heard.last": 1753 * MS + 4000 * MS},
        spans=said(1652, 10, words),
        underrun_ns=5 * MS,
    )
    of = setup("overlapped")

    def gaps(gap_ms: float) -> float:
        slow = Change({"llm.tokens": Cost("set", gap_ms * MS)})
        return replay(turn, of, slow).underrun_ns / MS

    assert gaps(10) == 5
    assert gaps(300) == 5
    # The last word comes 9 x 600 ms after the first. When it is heard, 9 words of 400 ms have been,
    # which began with the second word.
    assert gaps(600) == pytest.approx(9 * 600 - 600 - 9 * 400, abs=50)
    assert replay(turn, of, Change(mode="sequential")).underrun_ns == 0


def test_the_textbook_cascade_waits_for_every_stage() -> None:
    marks = {**OVERLAPPED, "tts.last_audio": 2100 * MS}
    predicted = replay(record(marks), setup("overlapped"), Change(mode="sequential"))
    after = in_ms(predicted.marks)
    assert after["clause.first"] == 1832
    assert after["tts.first_audio"] == 1832 + 1 + 40
    assert after["tts.last_audio"] == 1873 + 2100 - 1733
    assert after["playout.first"] == after["tts.last_audio"] + 10


def test_the_textbook_cascades_voice_does_not_wait_for_words() -> None:
    """Of the 367 ms after its first sound the voice works 60, on a second clause."""
    marks = {**OVERLAPPED, "tts.last_audio": 2100 * MS}
    spans = (
        Span("tts", "dropped: No.", 1200 * MS, 1500 * MS),
        Span("tts", "The train leaves at nine,", 1693 * MS, 1733 * MS),
        Span("tts", "and it takes an hour.", 2040 * MS, 2100 * MS),
    )
    turn = record(marks, spans=spans)
    after = in_ms(replay(turn, setup("overlapped"), Change(mode="sequential")).marks)
    assert after["tts.last_audio"] == 1873 + 60
    twice = Change({"tts": Cost("scale", 2.0)}, "sequential")
    after = in_ms(replay(turn, setup("overlapped"), twice).marks)
    assert after["tts.last_audio"] == 1832 + 1 + 2 * 40 + 2 * 60


def test_a_shorter_hold_moves_the_commit_by_whole_windows() -> None:
    shorter = Change({"turns.hold_ms": Cost("set", 300 * MS)})
    predicted = replay(record(OVERLAPPED), setup("overlapped"), shorter)
    # 500 ms are over in the 16th window, 300 in the 10th.
    assert in_ms(predicted.marks)["committed"] == 1520 - 6 * 32
    assert predicted.voice_to_voice_ns == (753 - 192) * MS


def test_a_hold_that_the_words_made_shortest_stays() -> None:
    marks = {**SPECULATIVE, "committed": 1328 * MS}
    other = Change({"turns.hold_ms": Cost("set", 1000 * MS)})
    predicted = replay(record(marks, hold_ms=320.0), setup("speculative"), other)
    assert predicted.marks == marks


def test_a_recogniser_too_slow_to_tell_in_time_costs_the_shorter_hold() -> None:
    """Surely over: the shortest hold would do. But the words come when the usual hold is over."""
    marks = {**SPECULATIVE, "committed": 1264 * MS}
    slow = Change({"stt": Cost("shift", 200 * MS)})
    predicted = replay(record(marks, hold_ms=256.0), setup("speculative"), slow)
    assert in_ms(predicted.marks)["llm.request"] == 1370
    assert in_ms(predicted.marks)["committed"] == 1370
    slower = Change({"stt": Cost("shift", 2000 * MS)})
    predicted = replay(record(marks, hold_ms=256.0), setup("speculative"), slower)
    assert in_ms(predicted.marks)["committed"] == 1264 + 8 * 32


def test_words_known_in_time_shorten_the_hold() -> None:
    """They came after the usual hold; a quicker recogniser is ready 30 ms after the pause began."""
    late = {**SPECULATIVE, "committed": 1520 * MS, "playout.first": 1890 * MS}
    for name in ("stt.final", "llm.request", "llm.first_token", "clause.first"):
        late[name] += 500 * MS
    for name in ("tts.start", "tts.first_audio"):
        late[name] += 500 * MS
    late["heard.first"] = 1900 * MS
    turn = record(late, hold_ms=500.0, transcript="What time does the museum leave?")
    quick = Change({"stt": Cost("set", 30 * MS)})
    marks = in_ms(replay(turn, setup("speculative"), quick).marks)
    # Between 256 and 500 ms, in whole windows.
    assert marks["committed"] in [1520 - 32 * n for n in range(1, 9)]
    unread = setup("speculative", predict=False)
    assert in_ms(replay(turn, unread, quick).marks)["committed"] == 1520


def test_what_a_record_does_not_say_is_told() -> None:
    bare = record({name: OVERLAPPED[name] for name in NEEDED})
    assert lacking(bare, Change({"stt": Cost("set", 0), "tts": Cost("set", 0)})) == {"stt", "tts"}
    untold = record(OVERLAPPED)
    assert lacking(untold, Change({"llm.tokens": Cost("set", 0)})) == {"llm.tokens"}
    assert lacking(untold, Change({"llm.tokens": Cost("scale", 2)})) == set()
    assert lacking(untold, Change(mode="sequential")) == {WHOLE}
    told = record(OVERLAPPED, spans=said(1652, 10))
    assert lacking(told, Change({"llm.tokens": Cost("set", 0)})) == set()


def test_a_turn_without_a_reply_is_refused() -> None:
    with pytest.raises(ValueError, match="no latency"):
        replay(record({"speech.end": 0}), setup("overlapped"), Change())


def test_the_setup_is_the_variants_where_it_differs() -> None:
    settings = {"turns": {"hold_ms": 700, "new": 1}, "tts": {"voice": "de_DE-x"}, "stt": {}}
    of = Setup.of(settings, {"reply.mode": "sequential", "stt.model": "base.en"})
    assert (of.turns.hold_ms, of.reply.mode, of.language) == (700, "sequential", "de")
