"""The gate on a stream of sound: what passes, from when to when."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import Samples
from pipeline.speech_to_speech.turnless import FRAME_S, SoundGate, Stretch

RATE = 8000
FRAME = round(RATE * FRAME_S)
HOLD_MS = 300
HOLD = RATE * HOLD_MS // 1000


def sound(ms: int, level: int = 3000) -> Samples:
    """A square wave: every sample is as loud as every other."""
    return np.resize(np.array([level, -level], np.int16), ms * RATE // 1000)


def silence(ms: int) -> Samples:
    return np.zeros(ms * RATE // 1000, np.int16)


def passed(stream: Samples, sizes: list[int], hold_ms: float = HOLD_MS) -> list[Stretch]:
    """All that passes of a stream that comes in pieces of these sizes, again and again."""
    gate = SoundGate(RATE)
    stretches: list[Stretch] = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        stretches += gate.push(stream[at : at + size], hold_ms)
        at, turn = at + size, turn + 1
    return stretches


def spans(stretches: list[Stretch]) -> list[tuple[int, int]]:
    """From where to where sound passed without a gap; the last one may be open."""
    found: list[tuple[int, int]] = []
    for stretch in stretches:
        end = stretch.start + len(stretch.samples)
        if stretch.begins:
            found.append((stretch.start, end))
        else:
            assert found[-1][1] == stretch.start
            found[-1] = (found[-1][0], end)
    return found


def test_silence_does_not_pass() -> None:
    assert passed(silence(2000), [160]) == []


def test_a_click_does_not_pass() -> None:
    stream = silence(500)
    stream[1000:1004] = 20_000
    assert passed(stream, [160]) == []


def test_sound_passes_with_its_pauses_until_the_hold_is_over() -> None:
    stream = np.concatenate([silence(100), sound(200), silence(200), sound(100), silence(1000)])
    [(start, end)] = spans(passed(stream, [FRAME]))
    assert start == RATE // 10
    assert end == 600 * RATE // 1000 + HOLD


def test_a_piece_passes_from_its_start_on_so_that_sound_keeps_its_time() -> None:
    stream = np.concatenate([silence(150), sound(200)])
    [first, *_] = passed(stream, [RATE // 10])
    assert first.begins
    assert first.start == RATE // 10


def test_what_faded_keeps_the_gate_open() -> None:
    stream = np.concatenate([sound(100), sound(1000, level=80), silence(100)])
    [(start, end)] = spans(passed(stream, [160]))
    assert (start, end) == (0, len(stream))
    assert passed(sound(1000, level=80), [160]) == []


def test_a_shorter_hold_closes_earlier() -> None:
    gate = SoundGate(RATE)
    gate.push(np.concatenate([sound(100), silence(200)]), 1000)
    assert gate.open
    [last] = gate.push(silence(10), 200)
    assert last.ends
    assert not gate.open


def test_it_can_be_closed_when_nothing_comes() -> None:
    gate = SoundGate(RATE)
    assert gate.close() is None
    gate.push(sound(105), HOLD_MS)
    last = gate.close()
    assert last is not None
    assert (last.start, len(last.samples), last.ends) == (105 * RATE // 1000, 0, True)
    [again] = gate.push(sound(100), HOLD_MS)
    assert again.begins


streams = st.lists(
    st.tuples(st.sampled_from([0, 40, 80, 3000, 20_000]), st.integers(1, 600)),
    max_size=8,
).map(lambda parts: np.concatenate([silence(0), *(sound(ms, level) for level, ms in parts)]))
# Single samples too, but not only them: thousands of them tell no more.
cuts = st.lists(st.integers(1, 3 * FRAME), max_size=4).map(lambda sizes: [*sizes, 2 * FRAME + 1])


@given(streams, cuts)
def test_what_passes_is_the_stream_in_order(stream: Samples, sizes: list[int]) -> None:
    stretches = passed(stream, sizes)
    for stretch in stretches:
        assert len(stretch.samples)
        assert np.array_equal(
            stretch.samples, stream[stretch.start : stretch.start + len(stretch.samples)]
        )
    for before, after in pairwise(stretches):
        assert before.start + len(before.samples) <= after.start
        assert after.begins == before.ends


@given(streams, cuts)
def test_nothing_loud_is_lost(stream: Samples, sizes: list[int]) -> None:
    through = np.zeros(len(stream), np.bool_)
    for stretch in passed(stream, sizes):
        through[stretch.start : stretch.start + len(stretch.samples)] = True
    whole = len(stream) // FRAME * FRAME
    frames = np.abs(stream[:whole].astype(int)).reshape(-1, FRAME) > 1000
    assert through[:whole].reshape(-1, FRAME)[frames.mean(axis=1) >= 0.5].all()


@given(streams, cuts, cuts)
def test_it_closes_at_the_same_place_however_the_stream_is_cut(
    stream: Samples, one: list[int], other: list[int]
) -> None:
    def ends(sizes: list[int]) -> list[int]:
        return [s.start + len(s.samples) for s in passed(stream, sizes) if s.ends]

    assert ends(one) == ends(other)


@given(streams, cuts)
def test_it_begins_at_most_one_piece_early(stream: Samples, sizes: list[int]) -> None:
    for start, _ in spans(passed(stream, sizes)):
        assert np.abs(stream[start : start + max(sizes) + FRAME].astype(int)).max() > 100


@given(streams, cuts)
def test_a_closed_span_ends_in_a_silence_of_the_hold(stream: Samples, sizes: list[int]) -> None:
    stretches = passed(stream, sizes)
    for stretch in stretches:
        if stretch.ends:
            end = stretch.start + len(stretch.samples)
            tail = np.abs(stream[end - HOLD + FRAME : end].astype(int))
            assert (tail > 60).mean() < 0.125
