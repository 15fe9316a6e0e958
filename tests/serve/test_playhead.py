"""How much of a reply has been played, as far as a server knows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import NS_PER_S
from pipeline.serve.playhead import Playhead

PIECES = st.lists(st.tuples(st.integers(0, 3 * NS_PER_S), st.integers(1, 40_000)), max_size=9)


@given(PIECES, st.lists(st.integers(0, 5 * NS_PER_S), max_size=9), st.integers(0, 9 * NS_PER_S))
def test_no_more_is_played_than_was_sent_and_there_was_time_for(
    pieces: list[tuple[int, int]], looks: list[int], free_ns: int
) -> None:
    playing, now, sent, before = Playhead(24_000, free_ns), 0, 0, 0
    first = pieces[0][0] if pieces else 0
    for wait, samples in pieces:
        now += wait
        playing.add(samples, now)
        sent += samples
        assert before <= (before := playing.played(now)) <= sent
    for look in sorted(looks):
        played = playing.played(now + look)
        assert before <= played <= sent
        passed = max(0, now + look - max(first, free_ns))
        assert played <= passed * 24_000 // NS_PER_S
        before = played
    assert playing.played(playing.ends_ns) == sent
    if sent:
        assert playing.played(playing.ends_ns - 10**6) < sent


def test_a_reply_that_ran_dry_goes_on_where_it_stopped() -> None:
    playing = Playhead(1000)
    playing.add(1000, 0)
    assert playing.played(5 * NS_PER_S) == 1000
    playing.add(1000, 5 * NS_PER_S)
    assert playing.played(5 * NS_PER_S + NS_PER_S // 2) == 1500
    assert playing.ends_ns == 6 * NS_PER_S
    assert playing.made_s == 2
