"""Distributions, intervals and differences: exact where that is known, honest where little is."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.measure.stats import (
    BLOCK,
    RESAMPLES,
    SMALLEST,
    UNDECIDED,
    Apart,
    SharesApart,
    Spread,
    describe,
    difference,
    in_words,
    mean_interval,
    median_interval,
    rate_difference,
    ratio_interval,
    share,
    share_difference,
)

FEW = 300
"""Resamples enough for what holds whatever is drawn."""

milliseconds = st.floats(-1e4, 1e5, allow_nan=False, width=32)
some = st.lists(milliseconds, min_size=1, max_size=60)
enough = st.lists(milliseconds, min_size=SMALLEST, max_size=60)
pairs_of_ms = st.lists(st.tuples(milliseconds, milliseconds), min_size=1, max_size=40)
booleans = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)
OPPOSITE = {"slower": "faster", "faster": "slower", "more": "fewer", "fewer": "more"}


def described(values: list[float]) -> Spread:
    found = describe(values)
    assert found is not None
    return found


def apart(first: list[float], second: list[float], noise: float | None = None) -> Apart:
    found = difference(first, second, noise)
    assert found is not None
    return found


def shares_apart(
    first: list[bool], second: list[bool], groups: list[int] | None = None
) -> SharesApart:
    found = share_difference(first, second, groups)
    assert found is not None
    return found


def test_of_nothing_nothing_is_said_and_values_without_a_partner_are_refused() -> None:
    assert describe([]) is difference([], []) is share_difference([], []) is None
    assert share([]) == {"n": 0, "met": 0, "share": None, "ci95": None}
    with pytest.raises(ValueError, match="2 and 1 values"):
        difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="do not pair up"):
        share_difference([True], [])


def test_a_distribution_worked_out_by_hand() -> None:
    assert described([30, 10, 20, 40, 100]) == {
        "n": 5,
        "median": 30,
        "p90": pytest.approx(40 + 0.6 * 60),
        "p95": pytest.approx(40 + 0.8 * 60),
        "max": 100,
        "mean": 40,
        "ci95": (10, 100),
    }


@given(some, st.data())
def test_figures_lie_within_the_values_in_whatever_order(
    values: list[float], data: st.DataObject
) -> None:
    found = described(values)
    shuffled = data.draw(st.permutations(values))
    assert describe(shuffled) == found
    assert mean_interval(shuffled, FEW) == mean_interval(values, FEW)
    # Interpolation between equal numbers may be off by a rounding.
    slack = 1e-9 * max(1.0, *map(abs, values))
    rising = (min(values), found["median"], found["p90"], found["p95"], max(values))
    assert all(low <= high + slack for low, high in pairwise(rising))
    assert found["max"] == max(values)
    assert min(values) - slack <= found["mean"] <= max(values) + slack


@given(enough, st.floats(0.01, 100), st.integers(-1000, 1000))
def test_intervals_hold_their_figure_and_move_and_stretch_with_the_values(
    values: list[float], factor: float, shift: int
) -> None:
    found = described(values)
    slack = 1e-9 * max(1.0, *map(abs, values))
    moved = [value * factor + shift for value in values]
    for interval, figure in ((median_interval, "median"), (mean_interval, "mean")):
        plain = interval(values, FEW)
        assert plain is not None
        low, high = plain
        assert low - slack <= found[figure] <= high + slack
        assert min(values) - slack <= low <= high <= max(values) + slack
        expected = [end * factor + shift for end in plain]
        assert interval(moved, FEW) == pytest.approx(expected, rel=1e-6, abs=1e-3)


@given(st.lists(milliseconds, max_size=SMALLEST - 1))
def test_too_few_values_have_no_interval(values: list[float]) -> None:
    assert median_interval(values) is mean_interval(values) is None


@pytest.mark.parametrize("n", [5, 6, 7, 8, 10, 11, 20, 41, 200])
def test_the_median_interval_is_that_of_whole_resamples(n: int) -> None:
    """Order statistics instead of resamples are a short cut, not another method."""
    values = np.arange(n) ** 2.0
    resamples = np.random.default_rng(9).integers(0, n, (RESAMPLES, n))
    whole = np.quantile(np.median(values[resamples], axis=1), [0.025, 0.975])
    # Few values have few possible medians, so the ends are the same ones.
    assert median_interval(values.tolist()) == pytest.approx(whole, rel=0 if n <= 20 else 0.03)


@pytest.mark.parametrize("n", [5, 30, BLOCK // 1000 + 1, 2**16 + 1])
def test_the_mean_interval_has_the_width_that_theory_gives(n: int) -> None:
    values = np.random.default_rng(n).normal(500, 40, n)
    found = mean_interval(values.tolist(), 1000)
    assert found is not None
    expected = 2 * 1.96 * values.std() / math.sqrt(n)
    assert found[1] - found[0] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("n", [5, 12, 40])
def test_95_intervals_in_100_hold_the_true_median(n: int) -> None:
    """Of a skewed distribution, as latencies are; within what 1000 trials can tell."""
    random = np.random.default_rng(n)
    held = 0
    for _ in range(1000):
        interval = median_interval(random.lognormal(0, 0.5, n).tolist(), 1000)
        assert interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert 0.91 <= held / 1000 <= 0.985


def test_the_interval_of_a_ratio() -> None:
    random = np.random.default_rng(3)
    wholes = random.integers(3, 9, 60)
    parts = random.binomial(wholes, 0.2)
    found = ratio_interval(parts.tolist(), wholes.tolist())
    assert found is not None
    assert found[0] < parts.sum() / wholes.sum() < found[1]
    # The width of a binomial share's.
    assert found[1] - found[0] == pytest.approx(4 * math.sqrt(0.2 * 0.8 / wholes.sum()), rel=0.35)
    assert ratio_interval([0.0] * 9, [4.0] * 9) == (0.0, 0.0)
    assert ratio_interval([1.0] * 9, [0.0] * 9) is None
    assert ratio_interval([1.0] * 4, [2.0] * 4) is None


def test_a_constant_difference_is_shown_whatever_the_recordings_differ_by() -> None:
    before = [400.0, 900.0, 1500.0, 700.0, 2500.0, 1100.0]
    assert apart(before, [value + 30 for value in before]) == {
        "n": 6,
        "median": 30,
        "ci95": (30, 30),
        "relative": 30 / 1000,
        "verdict": "slower",
        "within_noise": None,
    }
    # There is no share of nothing.
    of_nothing = apart([0.0] * 5, [10.0] * 5, 0.1)
    assert (of_nothing["relative"], of_nothing["within_noise"]) == (None, None)
    assert of_nothing["verdict"] == "slower"


def agrees(found: Apart | SharesApart, below: str, above: str) -> bool:
    """Whether a verdict is what its interval says."""
    low, high = found["ci95"] or (0, 0)
    return found["verdict"] == (above if low > 0 else below if high < 0 else UNDECIDED)


@given(pairs_of_ms)
def test_a_difference_is_what_its_interval_says_either_way_round(
    pairs: list[tuple[float, float]],
) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = apart(first, second), apart(second, first)
    assert agrees(there, "faster", "slower")
    assert (there["ci95"] is None) == (len(pairs) < SMALLEST)
    assert back["median"] == pytest.approx(-there["median"])
    if there["verdict"] != UNDECIDED:
        assert back["verdict"] != there["verdict"]


@given(booleans)
def test_a_difference_of_shares_is_what_its_interval_says_either_way_round(
    pairs: list[tuple[bool, bool]],
) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found, back = shares_apart(first, second), shares_apart(second, first)
    assert agrees(found, "fewer", "more")
    assert found["difference"] == pytest.approx(found["second"] - found["first"])
    assert back["difference"] == pytest.approx(-found["difference"])
    # The ends are drawn at random: one that all but touches zero may fall on either side.
    if found["ci95"] and back["ci95"] and min(map(abs, found["ci95"])) > 0.05:
        assert back["verdict"] == OPPOSITE.get(found["verdict"], UNDECIDED)


def test_without_a_difference_one_is_seldom_shown() -> None:
    random = np.random.default_rng(3)
    times = shares = 0
    for _ in range(200):
        base = random.normal(1000, 300, 25)
        first, second = base + random.normal(0, 20, 25), base + random.normal(0, 20, 25)
        times += apart(first.tolist(), second.tolist())["verdict"] != UNDECIDED
        one, other = (random.random(12) < 0.6 for _ in range(2))
        shares += shares_apart(one.tolist(), other.tolist())["verdict"] != UNDECIDED
    assert 1 <= times <= 20
    assert shares <= 15


@pytest.mark.parametrize(
    ("noise", "within", "words"),
    [
        (None, None, "slower"),
        (0.02, False, "slower"),
        (0.03, True, "slower, but within the machine's noise"),
    ],
)
def test_what_the_machine_varies_by_anyway_is_noise(
    noise: float | None, within: bool | None, words: str
) -> None:
    found = apart([1000.0] * 6, [1025.0] * 6, noise)
    assert found["within_noise"] is within
    assert in_words(found) == words


def test_no_difference_is_told_from_too_few_pairs() -> None:
    assert in_words(apart([1.0] * 4, [9.0] * 4)) == "too few pairs to tell"
    assert in_words(shares_apart([True] * 4, [False] * 4)) == "too few pairs to tell"
    assert in_words(apart([1.0] * 5, [1.0] * 5, 0.1)) == UNDECIDED == "no difference shown"


@pytest.mark.parametrize(
    ("met", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (15, 148, 0.0624, 0.1605),
    ],
)
def test_wilsons_interval(met: int, n: int, low: float, high: float) -> None:
    """The last is Newcombe's example (1998, Statistics in Medicine 17, 857)."""
    found = share([True] * met + [False] * (n - met))
    assert found == {
        "n": n,
        "met": met,
        "share": met / n,
        "ci95": pytest.approx((low, high), abs=1e-4),
    }


def test_few_pairs_show_no_difference_of_shares() -> None:
    """Five pairs that all differ come about by chance in one run of sixteen."""
    for n in range(1, 6):
        found = shares_apart([False] * n, [True] * n)
        assert (found["verdict"], found["ci95"], found["difference"]) == (UNDECIDED, None, 1)
    assert shares_apart([False] * 10, [True] * 10)["verdict"] == "more"


def test_pairs_that_are_alike_do_not_prove_that_there_is_no_difference() -> None:
    low, high = shares_apart([True] * 10, [True] * 10)["ci95"] or (0, 0)
    assert low < -0.1
    assert high > 0.1


def test_what_stands_or_falls_together_is_one_thing() -> None:
    """Nine turns that one conversation lost say no more than that conversation."""
    first, second = [True] * 100, [True] * 91 + [False] * 9
    groups = [number // 10 for number in range(100)]
    alone, found = shares_apart(first, second), shares_apart(first, second, groups)
    assert alone["verdict"] == "fewer"
    assert (found["n"], found["groups"], found["verdict"]) == (100, 10, UNDECIDED)
    assert found["difference"] == alone["difference"]
    # Of as many that lost some in every one of them, it does.
    second = [number % 10 > 1 for number in range(100)]
    assert shares_apart(first, second, groups)["verdict"] == "fewer"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 20)), min_size=1, max_size=12))
def test_a_rate_does_not_differ_from_itself(counts: list[tuple[int, int]]) -> None:
    found = rate_difference(counts, counts, [*range(len(counts))])
    assert found is not None
    assert found["difference"] == 0
    assert found["verdict"] == UNDECIDED
    assert (found["ci95"] is None) == (len(counts) < 5)
    assert rate_difference([], [], []) is None


def test_two_rates_that_differ() -> None:
    """In whole groups: ten turns of one conversation are one witness, not ten."""
    worse, better = [(2.0, 10.0)] * 20, [(0.0, 9.0)] * 20
    found = rate_difference(worse, better, [*range(20)])
    assert found is not None
    assert (found["first"], found["second"], found["verdict"]) == (0.2, 0.0, "fewer")
    assert found["ci95"] is not None
    assert found["ci95"][0] <= -0.2 <= found["ci95"][1]
    grouped = rate_difference(worse, better, [n // 10 for n in range(20)])
    assert grouped is not None
    assert (grouped["groups"], grouped["ci95"], grouped["verdict"]) == (2, None, UNDECIDED)
    # Five groups all on one side may be chance: 1 in 16.
    few = rate_difference(worse[:5], better[:5], [*range(5)])
    assert few is not None
    assert (few["ci95"], few["verdict"]) == (None, UNDECIDED)


def test_parts_of_an_error_count_in_rates_that_differ() -> None:
    """Four groups of ten have an error more, all one way: that may be chance (1 in 8)."""
    first = [(0.0, 40.0)] * 4 + [(0.0, 5.0)] * 6
    second = [(1.0, 40.0)] * 4 + [(0.0, 5.0)] * 6
    found = rate_difference(first, second, [*range(10)])
    assert found is not None
    assert (found["ci95"], found["verdict"]) == (None, UNDECIDED)
