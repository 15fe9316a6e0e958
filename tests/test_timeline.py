"""The parts of a turn's latency: exact, non-negative, and as worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.trace import DIRECT_PARTS, DIRECT_STAGES, MARKS, PARTS, STAGES, Timeline

NEEDED = ("speech.end", "committed", "heard.first")
CHAIN = tuple(dict.fromkeys(mark for _, first, last in STAGES for mark in (first, last)))

times = st.integers(0, 10**13)
some_marks = st.fixed_dictionaries(
    dict.fromkeys(NEEDED, times),
    optional={mark: times for mark in MARKS if mark not in NEEDED},
)


def ms(**marks: int) -> dict[str, int]:
    """Marks given in milliseconds, with `__` for the dot in their names."""
    return {name.replace("__", "."): at * 1_000_000 for name, at in marks.items()}


def parts_of(marks: dict[str, int]) -> tuple[str, ...]:
    """A cascade's, or those of a speech-to-speech model."""
    return DIRECT_PARTS if "model.first_audio" in marks else PARTS


def stages_of(marks: dict[str, int]) -> tuple[tuple[str, str, str], ...]:
    return DIRECT_STAGES if "model.first_audio" in marks else STAGES


def in_ms(parts: object) -> dict[str, float]:
    assert isinstance(parts, dict)
    return {name: ns / 1e6 for name, ns in parts.items()}


OVERLAPPED = ms(
    speech__start=100,
    speech__end=1000,
    vad__stop=1032,
    provisional=1200,
    committed=1500,
    stt__start=1502,
    stt__final=1700,
    llm__request=1705,
    llm__first_token=1800,
    clause__first=1900,
    tts__start=1903,
    tts__first_audio=1980,
    playout__first=1990,
    heard__first=2020,
    llm__last_token=2400,
    tts__last_audio=2600,
    playout__last=5000,
    heard__last=5030,
)
SPECULATIVE = ms(
    speech__start=100,
    speech__end=1000,
    vad__stop=1032,
    provisional=1200,
    stt__start=1205,
    stt__final=1290,
    llm__request=1292,
    llm__first_token=1350,
    clause__first=1400,
    tts__start=1401,
    tts__first_audio=1450,
    committed=1500,
    playout__first=1503,
    heard__first=1533,
    heard__last=4000,
)


def test_an_overlapped_turn_worked_out_by_hand() -> None:
    timeline = Timeline.from_marks(OVERLAPPED)
    assert timeline is not None
    assert timeline.total_ns == 1_020_000_000
    assert in_ms(timeline.parts) == {
        "endpoint": 500,
        "stt": 198,
        "llm_first_token": 95,
        "first_clause": 100,
        "tts_first_audio": 77,
        "device": 30,
        "own": 2 + 5 + 0 + 3 + 10,
    }
    assert not any(timeline.hidden.values())


def test_a_turn_of_a_speech_to_speech_model_worked_out_by_hand() -> None:
    marks = ms(
        speech__end=1000,
        committed=1500,
        model__start=1520,
        model__first_text=1700,
        model__first_audio=1750,
        playout__first=1752,
        heard__first=1790,
    )
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    assert in_ms(timeline.parts) == {"endpoint": 500, "model": 250, "device": 38, "own": 2}


def test_a_speculative_turn_worked_out_by_hand() -> None:
    """Committed after the first audio was made: all the work is hidden in the endpoint's wait."""
    timeline = Timeline.from_marks(SPECULATIVE)
    assert timeline is not None
    assert timeline.total_ns == 533_000_000
    assert in_ms(timeline.parts) == {
        "endpoint": 500,
        "stt": 0,
        "llm_first_token": 0,
        "first_clause": 0,
        "tts_first_audio": 0,
        "device": 30,
        "own": 3,
    }
    assert in_ms(timeline.hidden) == {
        "stt": 85,
        "llm_first_token": 58,
        "first_clause": 50,
        "tts_first_audio": 49,
        "device": 0,
    }


def test_a_stage_that_runs_across_the_commit_is_part_hidden_part_waited_for() -> None:
    marks = SPECULATIVE | ms(committed=1320)
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    assert timeline.hidden["llm_first_token"] == 28_000_000
    assert in_ms(timeline.parts) == {
        "endpoint": 320,
        "stt": 0,
        "llm_first_token": 30,
        "first_clause": 50,
        "tts_first_audio": 49,
        "device": 30,
        "own": 1 + (1503 - 1450),
    }


def test_time_of_a_stage_without_marks_is_nobodys() -> None:
    marks = {k: v for k, v in OVERLAPPED.items() if k not in ("tts.start", "llm.first_token")}
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    assert set(timeline.hidden) == {"stt", "device"}
    assert in_ms(timeline.parts) == {
        "endpoint": 500,
        "stt": 198,
        "llm_first_token": 0,
        "first_clause": 0,
        "tts_first_audio": 0,
        "device": 30,
        "own": 1020 - 500 - 198 - 30,
    }


@settings(deadline=None)
@given(some_marks)
def test_parts_sum_to_the_total_and_none_is_negative_for_marks_in_any_order(
    marks: dict[str, int],
) -> None:
    assume(marks["heard.first"] >= marks["speech.end"])
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    assert timeline.total_ns == marks["heard.first"] - marks["speech.end"]
    assert sum(timeline.parts.values()) == timeline.total_ns
    assert min(timeline.parts.values()) >= 0
    assert all(ns >= 0 for ns in timeline.hidden.values())
    assert tuple(timeline.parts) == parts_of(marks)
    # What held it up is one thing after another.
    held = dict.fromkeys(timeline.parts, 0)
    for name, begin, end in timeline.stretches:
        held[name] += end - begin
    assert held == timeline.parts
    edges = [0, *(end for _, _, end in timeline.stretches)]
    assert [begin for _, begin, _ in timeline.stretches] == edges[:-1]
    assert edges[-1] == timeline.total_ns


@settings(deadline=None)
@given(some_marks, st.integers(1, 10**12))
def test_a_reply_heard_before_the_end_of_speech_is_the_endpoints_doing(
    marks: dict[str, int], early: int
) -> None:
    """The latency is negative, and the one part that took the turn for over has all of it."""
    marks["heard.first"] = marks["speech.end"] - early
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    assert timeline.total_ns == -early
    assert timeline.parts == dict.fromkeys(parts_of(marks), 0) | {"endpoint": -early}
    assert all(ns >= 0 for ns in timeline.hidden.values())


@settings(deadline=None)
@given(some_marks)
def test_a_stages_time_is_waited_for_or_hidden_and_never_both(marks: dict[str, int]) -> None:
    assume(marks["heard.first"] >= marks["speech.end"])
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    for name, first, last in stages_of(marks):
        if name in timeline.hidden:
            took = max(0, marks[last] - marks[first])
            assert timeline.hidden[name] + timeline.parts[name] <= took


@settings(deadline=None)
@given(
    st.lists(times, min_size=len(CHAIN), max_size=len(CHAIN)).map(sorted), st.data(), st.booleans()
)
def test_of_work_in_sequence_every_nanosecond_is_hidden_or_waited_for(
    at: list[int], data: st.DataObject, speculative: bool
) -> None:
    """Wherever the commit falls: `own` is then the gaps between stages that come after it."""
    marks = dict(zip(CHAIN, at, strict=True))
    end = marks["heard.first"]
    marks["speech.end"] = data.draw(st.integers(0, at[0]))
    marks["committed"] = (
        data.draw(st.integers(marks["speech.end"], end)) if speculative else marks["speech.end"]
    )
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    for name, first, last in STAGES:
        assert timeline.hidden[name] + timeline.parts[name] == marks[last] - marks[first]
    committed = marks["committed"]
    assert timeline.parts["endpoint"] == committed - marks["speech.end"]
    ends = [marks["speech.end"], *(marks[last] for _, _, last in STAGES)]
    gaps = [(end, marks[first]) for end, (_, first, _) in zip(ends, STAGES, strict=False)]
    assert timeline.parts["own"] == sum(max(0, b - max(a, committed)) for a, b in gaps)


@settings(deadline=None)
@given(some_marks, st.integers(-(10**12), 10**12))
def test_only_differences_between_marks_matter(marks: dict[str, int], shift: int) -> None:
    moved = {name: at + shift for name, at in marks.items()}
    assert Timeline.from_marks(moved) == Timeline.from_marks(marks)


@settings(deadline=None)
@given(some_marks)
def test_marks_that_bound_no_part_change_nothing(marks: dict[str, int]) -> None:
    bounds = {mark for _, first, last in stages_of(marks) for mark in (first, last)}
    bare = {name: at for name, at in marks.items() if name in {*NEEDED, *bounds}}
    assert Timeline.from_marks(bare) == Timeline.from_marks(marks)


@pytest.mark.parametrize("missing", NEEDED)
@settings(deadline=None)
@given(marks=some_marks)
def test_no_timeline_if_nothing_was_heard_or_the_turn_did_not_end(
    missing: str, marks: dict[str, int]
) -> None:
    del marks[missing]
    assert Timeline.from_marks(marks) is None


def test_no_timeline_without_marks() -> None:
    assert Timeline.from_marks({}) is None


def test_stages_are_bounded_by_known_marks_and_all_parts_have_names_of_their_own() -> None:
    assert set(CHAIN) <= set(MARKS)
    assert len(set(MARKS)) == len(MARKS)
    assert len(set(PARTS)) == len(PARTS)
