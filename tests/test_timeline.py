"""The parts of a turn's latency: exact, non-negative, and as worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.known_turns import NEEDED, marks_at

from pipeline.trace import DIRECT_PARTS, DIRECT_STAGES, MARKS, PARTS, STAGES, Timeline

CHAIN = tuple(dict.fromkeys(mark for _, first, last in STAGES for mark in (first, last)))

times = st.integers(0, 10**13)
some_marks = marks_at(times)


def ms(**marks: int) -> dict[str, int]:
    """Marks given in milliseconds, with `__` for the dot in their names."""
    return {name.replace("__", "."): at * 1_000_000 for name, at in marks.items()}


def parts_of(marks: dict[str, int]) -> tuple[str, ...]:
    """A cascade's, or those of a speech-to-speech model."""
    return DIRECT_PARTS if "model.first_audio" in marks else PARTS


def stages_of(marks: dict[str, int]) -> tuple[tuple[str, str, str], ...]:
    return DIRECT_STAGES if "model.first_audio" in marks else STAGES


def in_ns(parts: Sequence[int | None]) -> list[int | None]:
    return [None if part is None else part * 1_000_000 for part in parts]


CASCADE = ms(
    speech__end=1000,
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
)
SPECULATIVE = ms(
    speech__end=1000,
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
)
DIRECT = ms(
    speech__end=1000,
    committed=1500,
    model__start=1520,
    model__first_text=1700,
    model__first_audio=1750,
    playout__first=1752,
    heard__first=1790,
)
WITH_GAPS = {k: v for k, v in CASCADE.items() if k not in ("tts.start", "llm.first_token")}


@pytest.mark.parametrize(
    ("marks", "parts", "hidden"),
    [
        (CASCADE, (500, 198, 95, 100, 77, 30, 2 + 5 + 0 + 3 + 10), (0, 0, 0, 0, 0)),
        # Committed after the first audio was made: all the work is hidden in the endpoint's wait.
        (SPECULATIVE, (500, 0, 0, 0, 0, 30, 3), (85, 58, 50, 49, 0)),
        # Committed in the middle of a stage: part of it is hidden, part waited for.
        (
            SPECULATIVE | ms(committed=1320),
            (320, 0, 30, 50, 49, 30, 1 + 1503 - 1450),
            (85, 28, 0, 0, 0),
        ),
        # The time of a stage that has not both its marks is nobody's.
        (WITH_GAPS, (500, 198, 0, 0, 0, 30, 1020 - 500 - 198 - 30), (0, None, None, None, 0)),
        (DIRECT, (500, 250, 38, 2), (0, 0)),
    ],
    ids=["cascade", "speculative", "half hidden", "gaps", "direct"],
)
def test_turns_worked_out_by_hand(
    marks: dict[str, int], parts: tuple[int, ...], hidden: tuple[int | None, ...]
) -> None:
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    assert timeline.total_ns == sum(parts) * 1_000_000
    assert timeline.parts == dict(zip(parts_of(marks), in_ns(parts), strict=True))
    names = [name for name, _, _ in stages_of(marks)]
    known = {name: ns for name, ns in zip(names, in_ns(hidden), strict=True) if ns is not None}
    assert timeline.hidden == known


@settings(deadline=None)
@given(some_marks, st.integers(-(10**12), 10**12))
def test_for_marks_in_any_order(marks: dict[str, int], shift: int) -> None:
    """Parts sum to the total, none is negative, and only what bounds them matters."""
    assume(marks["heard.first"] >= marks["speech.end"])
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    assert timeline.total_ns == marks["heard.first"] - marks["speech.end"]
    assert sum(timeline.parts.values()) == timeline.total_ns
    assert min(timeline.parts.values()) >= 0
    assert all(ns >= 0 for ns in timeline.hidden.values())
    assert tuple(timeline.parts) == parts_of(marks)
    sums = dict.fromkeys(timeline.parts, 0)
    ends = [0]
    for name, begin, end in timeline.stretches:
        assert begin == ends[-1], "there is a gap between two parts"
        sums[name] += end - begin
        ends.append(end)
    assert ends[-1] == timeline.total_ns
    assert sums == timeline.parts
    bounds = set(NEEDED)
    for name, first, last in stages_of(marks):
        bounds |= {first, last}
        if name in timeline.hidden:
            # A stage's time is waited for or hidden, and never both.
            took = max(0, marks[last] - marks[first])
            assert timeline.hidden[name] + timeline.parts[name] <= took
    bare = {name: at + shift for name, at in marks.items() if name in bounds}
    assert Timeline.from_marks(bare) == timeline


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
    assert timeline.stretches == (("endpoint", 0, -early),)
    assert all(ns >= 0 for ns in timeline.hidden.values())


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


@pytest.mark.parametrize("missing", NEEDED)
def test_no_timeline_if_nothing_was_heard_or_the_turn_did_not_end(missing: str) -> None:
    for marks in (CASCADE, SPECULATIVE, DIRECT, dict.fromkeys(NEEDED, 1)):
        assert Timeline.from_marks({k: v for k, v in marks.items() if k != missing}) is None


def test_stages_are_bounded_by_known_marks_and_all_parts_have_names_of_their_own() -> None:
    assert set(CHAIN) <= set(MARKS)
    assert len(set(MARKS)) == len(MARKS)
    assert len(set(PARTS)) == len(PARTS)
