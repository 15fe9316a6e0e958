"""A meeting: nobody is spoken to before all are ready, and then all are at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import NS_PER_MS
from pipeline.measure.conduct import AHEAD_NS, Meeting, Seat

FRAME_NS = 20 * NS_PER_MS

READY_NS = st.lists(st.integers(0, 3_000).map(lambda ms: ms * NS_PER_MS), min_size=2, max_size=4)


@given(READY_NS, st.integers(0, 9), st.data())
def test_all_begin_with_the_same_frame_once_the_last_is_ready(
    ready_ns: list[int], late_ms: int, data: st.DataObject
) -> None:
    """Each looks after each of its frames, a few milliseconds late at most."""
    meeting = Meeting()
    seats = [Seat(meeting) for _ in ready_ns]
    began: dict[int, int] = {}
    for frame in range(200):
        order = data.draw(st.permutations(range(len(seats)))) if frame < 3 else range(len(seats))
        for index in order:
            now_ns = frame * FRAME_NS + (late_ms * NS_PER_MS if index else 0)
            if index not in began and seats[index].may(1, now_ns >= ready_ns[index], now_ns):
                began[index] = frame
    assert len(set(began.values())) == 1
    first = began[0] * FRAME_NS
    assert max(ready_ns) < first <= max(ready_ns) + AHEAD_NS + 2 * FRAME_NS


def test_who_is_not_ready_any_more_is_waited_for_and_who_has_left_is_not() -> None:
    meeting = Meeting()
    one, other, third = (Seat(meeting) for _ in range(3))
    assert not one.may(1, True, 0)
    assert not other.may(1, True, 0)
    assert not other.may(1, False, 10)  # it speaks again
    third.leave()
    assert not one.may(1, True, 20)
    assert not one.may(1, True, 20 + 2 * AHEAD_NS)
    assert not other.may(1, True, 30)
    assert not one.may(1, True, 30 + AHEAD_NS - 1)
    assert one.may(1, True, 30 + AHEAD_NS)
    # It was agreed upon.
    assert other.may(1, False, 30 + AHEAD_NS)
    other.leave()
    assert not one.may(2, True, 100)
    assert one.may(2, True, 100 + AHEAD_NS)
