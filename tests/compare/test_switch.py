"""Keys and fades: every key means what it says, and no change is ever a jump."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compare.switch import MOST, Choice, Crossfade, choose, following

paths = st.integers(1, MOST)


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
    assert choose(keys, 0, [True] * 3) == Choice(heard)


@pytest.mark.parametrize("arrow", ["\x1b[A", "\x1b[B", "\x1bOB", "\x1b[1;5B", "\x1b", "\x1b[15~"])
def test_an_arrow_is_no_letter(arrow: str) -> None:
    assert choose(arrow, 0, [True, True]) == Choice(0)
    assert choose(f"{arrow}\t", 0, [True, True]) in (Choice(0), Choice(1))


def test_q_ends_and_what_follows_does_not_count() -> None:
    assert choose("2q1", 0, [True, True]) == Choice(1, quit=True)
    assert choose("Q", 0, [True, True]).quit


def test_nobody_hears_a_path_that_has_failed() -> None:
    assert choose("2", 0, [True, False, True]) == Choice(0)
    assert choose("\t", 0, [True, False, True]) == Choice(2)
    assert choose("\t", 0, [True, False, False]) == Choice(0)


@given(st.text(), st.lists(st.booleans(), min_size=1, max_size=MOST), st.data())
def test_whatever_is_typed_somebody_alive_is_heard(
    keys: str, alive: list[bool], data: st.DataObject
) -> None:
    heard = data.draw(st.sampled_from(range(len(alive))))
    chosen = choose(keys, heard, alive).heard
    assert chosen == heard or alive[chosen]


@given(paths.flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_next_comes_round(start: tuple[int, int]) -> None:
    heard, n = start
    seen = [heard]
    for _ in range(n):
        seen.append(following(seen[-1], [True] * n))
    assert seen[-1] == heard
    assert set(seen) == set(range(n))


changes = st.lists(st.tuples(st.integers(0, MOST - 1), st.integers(0, 400)), max_size=30)


@given(paths, st.integers(1, 300), changes)
def test_a_fade_has_no_jumps_and_never_clips(
    n: int, fade: int, blocks: list[tuple[int, int]]
) -> None:
    crossfade = Crossfade(n, fade)
    level = np.eye(n)[0]
    for wanted, length in blocks:
        heard = wanted % n
        gains = crossfade.gains(heard, length)
        if isinstance(gains, int):
            assert gains == heard
            assert level == pytest.approx(np.eye(n)[heard])
            continue
        curves = np.array(gains)
        assert curves.shape == (n, length)
        assert np.allclose(curves.sum(axis=0), 1)
        assert curves.min(initial=0) >= 0
        steps = np.abs(np.diff(np.column_stack([level, curves])))
        assert steps.max(initial=0) <= 1 / fade + 1e-9
        if length:
            level = curves[:, -1]


@given(paths, st.integers(1, 300), st.integers(0, MOST - 1))
def test_a_fade_ends(n: int, fade: int, wanted: int) -> None:
    crossfade = Crossfade(n, fade)
    crossfade.gains(wanted % n, fade)
    assert crossfade.gains(wanted % n, 1) == wanted % n


@given(st.integers(1, 300), st.lists(st.integers(0, 50), max_size=30))
def test_how_a_fade_is_cut_into_blocks_does_not_matter(fade: int, lengths: list[int]) -> None:
    def curve(blocks: list[int]) -> list[float]:
        crossfade = Crossfade(2, fade)
        made: list[float] = []
        for n in blocks:
            gains = crossfade.gains(1, n)
            made += [1.0] * n if isinstance(gains, int) else list(gains[1])
        return made

    assert curve(lengths) == pytest.approx(curve([sum(lengths)]))
