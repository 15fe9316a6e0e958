"""Gaps in a reply: none where it is written in time, all that is missing where it is not."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.measure.record import Record
from pipeline.profile.starvation import missing_ns, pace_ns
from pipeline.text.spoken import CHARS_PER_SECOND

MS = 1_000_000
MARKS = {
    "committed": 0,
    "clause.first": 100 * MS,
    "tts.first_audio": 150 * MS,
    "heard.first": 170 * MS,
}
words = st.lists(st.tuples(st.text(max_size=8), st.integers(0, 10**9)), min_size=1, max_size=30)


def test_what_is_there_in_time_leaves_no_gap() -> None:
    assert missing_ns(MARKS, ["one ", "two "], [50 * MS, 100 * MS], 100 * MS) == 0


def test_what_comes_late_is_waited_for() -> None:
    # "one " is heard until 570; "two " came at 700, and is heard 70 later.
    assert missing_ns(MARKS, ["one ", "two "], [50 * MS, 700 * MS], 100 * MS) == 200 * MS


@given(words, st.floats(0, 1e9))
def test_no_more_is_missing_than_it_took_to_write(
    tokens: list[tuple[str, int]], pace: float
) -> None:
    texts = [text for text, _ in tokens]
    times = list(itertools.accumulate(gap for _, gap in tokens))
    missing = missing_ns(MARKS, texts, times, pace)
    assert 0 <= missing <= times[-1] + 1
    later = [at + 5 * MS for at in times]
    assert missing <= missing_ns(MARKS, texts, later, pace)


def test_the_pace_is_measured_where_all_was_heard() -> None:
    marks = {**MARKS, "llm.last_token": 0, "heard.last": 1170 * MS}
    whole = Record("v", "f", 1, 0, "ok", marks=marks, underrun_ns=200 * MS)
    assert pace_ns(whole, ["one ", "two "]) == 100 * MS
    cut = Record("v", "f", 1, 0, "ok", marks={**marks, "interrupted": 1})
    assert pace_ns(cut, ["one ", "two "]) == 1e9 / CHARS_PER_SECOND
