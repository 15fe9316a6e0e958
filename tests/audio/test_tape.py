"""The tape finds audio again by offset and by time, checked against keeping all of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audio.tape import Tape
from pipeline.events import Samples

RATE = 1000  # a sample a millisecond: times are read off
MS = 1_000_000

blocks = st.lists(st.integers(0, 60), max_size=40)


def count_up(lengths: list[int], seconds: float) -> tuple[Tape, Samples]:
    """A tape on which each sample is its own offset, and all that went on it."""
    tape = Tape(RATE, seconds)
    everything = np.arange(sum(lengths), dtype=np.int16)
    for length in lengths:
        tape.append(everything[tape.end : tape.end + length], tape.end * MS)
    return tape, everything


@settings(deadline=None)
@given(blocks, st.floats(0, 1), st.data())
def test_a_cut_is_what_went_in_as_far_as_it_is_kept(
    lengths: list[int], seconds: float, data: st.DataObject
) -> None:
    """At least the last `seconds` are there; what is gone is missing at the start only."""
    tape, everything = count_up(lengths, seconds)
    assert tape.end == len(everything)
    start = data.draw(st.integers(-10, tape.end + 10))
    end = data.draw(st.integers(-10, tape.end + 10))
    cut = tape.cut(start, end)
    assert cut.dtype == np.int16
    wanted = everything[max(0, start) : max(0, end)]
    surely = everything[max(0, start, tape.end - int(seconds * RATE)) : max(0, end)]
    assert len(surely) <= len(cut) <= len(wanted)
    assert np.array_equal(cut, wanted[len(wanted) - len(cut) :])


@settings(deadline=None)
@given(blocks, st.floats(0, 0.5))
def test_the_tape_keeps_little_more_than_it_was_asked_to(
    lengths: list[int], seconds: float
) -> None:
    """No more than one block, of at most 60 samples here."""
    tape, _ = count_up(lengths, seconds)
    kept = tape.cut(0, tape.end)
    assert len(kept) <= int(seconds * RATE) + 60


@settings(deadline=None)
@given(blocks, st.floats(0, 1), st.integers(-100, 3000))
def test_of_a_steady_clock_the_time_of_every_offset_is_known_kept_or_not(
    lengths: list[int], seconds: float, offset: int
) -> None:
    tape, _ = count_up(lengths, seconds)
    if tape.end:
        assert tape.time_of(offset) == offset * MS


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5 * MS)), min_size=1, max_size=30))
def test_each_block_has_its_own_time_so_a_drifting_clock_does_no_harm(
    late: list[tuple[int, int]],
) -> None:
    tape = Tape(RATE, 60)
    captured = []
    drift = 0
    for length, more in late:
        drift += more
        captured += [(tape.end + i) * MS + drift for i in range(length)]
        tape.append(np.zeros(length, np.int16), tape.end * MS + drift)
    times = [tape.time_of(offset) for offset in range(tape.end)]
    assert times == captured
    assert tape.time_of(tape.end + 9) == times[-1] + 10 * MS


def test_times_are_whole_nanoseconds_at_any_rate() -> None:
    tape = Tape(44_100, 1)
    tape.append(np.zeros(100, np.int16), 5)
    assert tape.time_of(0) == 5
    assert tape.time_of(1) == 5 + 22_675
    assert tape.time_of(44_100) == 5 + 1_000_000_000
    assert isinstance(tape.time_of(3), int)


def test_an_empty_tape_gives_no_audio() -> None:
    tape = Tape(RATE, 1)
    tape.append(np.zeros(0, np.int16), 77)
    assert tape.end == 0
    assert len(tape.cut(0, 100)) == 0
    assert tape.cut(0, 100).dtype == np.int16
    assert tape.time_of(5) == 0


@pytest.mark.parametrize("start", [0, 5, 15])
def test_a_cut_is_a_copy(start: int) -> None:
    tape, _ = count_up([10, 10], 1)
    tape.cut(start, 20)[:] = -1
    assert tape.cut(0, 20).tolist() == list(range(20))


def test_the_end_counts_samples_that_are_long_gone() -> None:
    tape, _ = count_up([50] * 100, 0.1)
    assert tape.end == 5000
    assert len(tape.cut(0, 4000)) == 0
    assert tape.cut(4990, 5000).tolist() == list(range(4990, 5000))
