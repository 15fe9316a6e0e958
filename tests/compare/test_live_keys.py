"""What keys choose while several systems are talked to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compare.live import MOST, choose, following

systems = st.integers(1, MOST)


@pytest.mark.parametrize(
    ("keys", "heard"),
    [
        ("", 0),
        ("2", 1),
        ("b", 1),
        ("B", 1),
        ("21", 0),
        ("\t", 1),
        ("\t\t", 2),
        (" \t ", 0),
        ("3", 2),
        ("4", 0),
        ("0", 0),
        ("z", 0),
        ("2x", 1),
    ],
)
def test_what_keys_choose(keys: str, heard: int) -> None:
    assert choose(keys, 0, [True] * 3) == (heard, False)


@pytest.mark.parametrize("arrow", ["\x1b[A", "\x1b[B", "\x1bOB", "\x1b[1;5B", "\x1b", "\x1b[15~"])
def test_an_arrow_is_no_letter(arrow: str) -> None:
    assert choose(arrow, 0, [True, True]) == (0, False)
    assert choose(f"{arrow}\t", 0, [True, True]) in ((0, False), (1, False))


def test_q_ends_and_what_follows_does_not_count() -> None:
    assert choose("2q1", 0, [True, True]) == (1, True)
    assert choose("Q", 0, [True, True])[1]


def test_nobody_hears_a_path_that_has_failed() -> None:
    assert choose("2", 0, [True, False, True]) == (0, False)
    assert choose("\t", 0, [True, False, True]) == (2, False)
    assert choose("\t", 0, [True, False, False]) == (0, False)


@given(st.text(), st.lists(st.booleans(), min_size=1, max_size=MOST), st.data())
def test_whatever_is_typed_somebody_alive_is_heard(
    keys: str, alive: list[bool], data: st.DataObject
) -> None:
    heard = data.draw(st.sampled_from(range(len(alive))))
    chosen, _ = choose(keys, heard, alive)
    assert chosen == heard or alive[chosen]


@given(systems.flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_next_comes_round(start: tuple[int, int]) -> None:
    heard, n = start
    seen = [heard]
    for _ in range(n):
        seen.append(following(seen[-1], [True] * n))
    assert seen[-1] == heard
    assert set(seen) == set(range(n))
