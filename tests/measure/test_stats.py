"""Distributions, intervals and differences: exact where that is known, honest where little is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.measure.stats import (
    BLOCK,
    RESAMPLES,
    SMALLEST,
    Distribution,
    describe,
    difference,
    mean_interval,
    median_interval,
    ratio_interval,
    share,
    share_difference,
)

milliseconds = st.floats(-1e4, 1e5, allow_nan=False, width=32)
some = st.lists(milliseconds, min_size=1, max_size=60)
enough = st.lists(milliseconds, min_size=SMALLEST, max_size=60)


def described(values: list[float]) -> Distribution:
    found = describe(values)
    assert found is not None
    return found


def test_nothing_has_no_distribution() -> None:
    assert describe([]) is None
    assert difference([], []) is None


def test_a_distribution_worked_out_by_hand() -> None:
    found = described([30, 10, 20, 40, 100])
    assert (found.n, found.median, found.max, found.mean) == (5, 30, 100, 40)
    assert found.p90 == pytest.approx(40 + 0.6 * 60)
    assert found.p95 == pytest.approx(40 + 0.8 * 60)
    assert found.ci95 == (10, 100)


@given(some, st.data())
def test_the_order_of_the_values_does_not_matter(values: list[float], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(values))
    assert describe(shuffled) == describe(values)
    assert mean_interval(shuffled) == mean_interval(values)


@given(some)
def test_figures_lie_within_the_values_and_in_order(values: list[float]) -> None:
    found = described(values)
    # Interpolation between equal numbers may be off by a rounding.
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= found.median <= found.p90 + slack
    assert found.p90 <= found.p95 + slack <= found.max + 2 * slack
    assert found.max == max(values)
    assert min(values) - slack <= found.mean <= max(values) + slack


@given(enough)
def test_intervals_hold_their_figure_and_lie_within_the_values(values: list[float]) -> None:
    found = described(values)
    of_mean = mean_interval(values)
    assert found.ci95 is not None
    assert of_mean is not None
    slack = 1e-9 * max(1.0, *map(abs, values))
    for (low, high), figure in ((found.ci95, found.median), (of_mean, found.mean)):
        assert low - slack <= figure <= high + slack
        assert min(values) - slack <= low <= high <= max(values) + slack


@given(enough, st.floats(0.01, 100), st.integers(-1000, 1000))
def test_intervals_move_and_stretch_with_the_values(
    values: list[float], factor: float, shift: int
) -> None:
    moved = [value * factor + shift for value in values]
    for interval in (median_interval, mean_interval):
        plain, after = interval(values), interval(moved)
        assert plain is not None
        expected = [end * factor + shift for end in plain]
        assert after == pytest.approx(expected, rel=1e-6, abs=1e-3)


@given(st.lists(milliseconds, max_size=SMALLEST - 1))
def test_too_few_values_have_no_interval(values: list[float]) -> None:
    assert median_interval(values) is None
    assert mean_interval(values) is None


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
    found = mean_interval(values.tolist())
    assert found is not None
    expected = 2 * 1.96 * values.std() / math.sqrt(n)
    assert found[1] - found[0] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("n", [5, 12, 40])
def test_95_intervals_in_100_hold_the_true_median(n: int) -> None:
    """Of a skewed distribution, as latencies are; within what 1000 trials can tell."""
    random = np.random.default_rng(n)
    held = 0
    for _ in range(1000):
        interval = median_interval(random.lognormal(0, 0.5, n).tolist())
        assert interval is not None
        held += interval[0] <= 1.0 <= interval[1]
    assert 0.91 <= held / 1000 <= 0.985


def test_a_constant_difference_is_shown_whatever_the_recordings_differ_by() -> None:
    before = [400.0, 900.0, 1500.0, 700.0, 2500.0, 1100.0]
    found = difference(before, [value + 30 for value in before])
    assert found is not None
    assert (found.n, found.median, found.ci95, found.verdict) == (6, 30, (30, 30), "slower")
    assert found.relative == 30 / 1000
    assert found.within_noise is None


@given(st.lists(st.tuples(milliseconds, milliseconds), min_size=1, max_size=40))
def test_the_other_way_round_everything_is_reversed(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = difference(first, second), difference(second, first)
    assert there is not None
    assert back is not None
    assert back.median == pytest.approx(-there.median)
    if there.verdict != "no difference shown":
        assert back.verdict != there.verdict


@given(st.lists(st.tuples(milliseconds, milliseconds), min_size=1, max_size=40))
def test_the_verdict_is_what_the_interval_says(pairs: list[tuple[float, float]]) -> None:
    found = difference([a for a, _ in pairs], [b for _, b in pairs])
    assert found is not None
    if found.ci95 is None:
        assert found.n < SMALLEST
        assert found.verdict == "no difference shown"
    elif found.ci95[0] > 0:
        assert found.verdict == "slower"
    elif found.ci95[1] < 0:
        assert found.verdict == "faster"
    else:
        assert found.verdict == "no difference shown"


def test_without_a_difference_one_is_seldom_shown() -> None:
    random = np.random.default_rng(3)
    shown = 0
    for _ in range(1000):
        base = random.normal(1000, 300, 25)
        first, second = base + random.normal(0, 20, 25), base + random.normal(0, 20, 25)
        found = difference(first.tolist(), second.tolist())
        assert found is not None
        shown += found.verdict != "no difference shown"
    assert 10 <= shown <= 90


@pytest.mark.parametrize(("noise", "within"), [(None, None), (0.02, False), (0.03, True)])
def test_what_the_machine_varies_by_anyway_is_noise(
    noise: float | None, within: bool | None
) -> None:
    found = difference([1000.0] * 6, [1025.0] * 6, noise)
    assert found is not None
    assert found.within_noise is within


def test_there_is_no_share_of_nothing() -> None:
    found = difference([0.0] * 5, [10.0] * 5, 0.1)
    assert found is not None
    assert found.relative is None
    assert found.within_noise is None
    assert found.verdict == "slower"


def test_values_without_a_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 values"):
        difference([1.0, 2.0], [1.0])


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
    assert found is not None
    assert (found.n, found.met, found.share) == (n, met, met / n)
    assert found.ci95 == pytest.approx((low, high), abs=1e-4)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_share_lies_within_its_interval_and_mirrors(met: list[bool]) -> None:
    found, other = share(met), share([not one for one in met])
    assert found is not None
    assert other is not None
    low, high = found.ci95
    assert 0 <= low <= found.share + 1e-12
    assert found.share <= high + 1e-12 <= 1 + 1e-9
    assert other.ci95 == pytest.approx((1 - high, 1 - low))


booleans = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(booleans)
def test_shares_the_other_way_round(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found, back = share_difference(first, second), share_difference(second, first)
    assert found is not None
    assert back is not None
    assert found.difference == pytest.approx(found.second - found.first)
    assert back.difference == pytest.approx(-found.difference)
    opposite = {"more": "fewer", "fewer": "more", "no difference shown": "no difference shown"}
    # The ends are drawn at random: one that all but touches zero may fall on either side.
    if found.ci95 and back.ci95 and min(map(abs, found.ci95)) > 0.05:
        assert back.verdict == opposite[found.verdict]


@given(booleans)
def test_the_verdict_on_shares_is_what_the_interval_says(pairs: list[tuple[bool, bool]]) -> None:
    found = share_difference([a for a, _ in pairs], [b for _, b in pairs])
    assert found is not None
    if found.ci95 is None or found.ci95[0] <= 0 <= found.ci95[1]:
        assert found.verdict == "no difference shown"
    else:
        assert found.verdict == ("more" if found.ci95[0] > 0 else "fewer")


def test_few_pairs_show_no_difference_of_shares() -> None:
    """Five pairs that all differ come about by chance in one run of sixteen."""
    for n in range(1, 6):
        found = share_difference([False] * n, [True] * n)
        assert found is not None
        assert (found.verdict, found.ci95, found.difference) == ("no difference shown", None, 1)
    many = share_difference([False] * 10, [True] * 10)
    assert many is not None
    assert many.verdict == "more"


def test_pairs_that_are_alike_do_not_prove_that_there_is_no_difference() -> None:
    found = share_difference([True] * 10, [True] * 10)
    assert found is not None
    assert found.ci95 is not None
    low, high = found.ci95
    assert low < -0.1
    assert high > 0.1


def test_without_a_difference_of_shares_one_is_seldom_shown() -> None:
    random = np.random.default_rng(5)
    shown = 0
    for _ in range(200):
        first, second = (random.random(12) < 0.6 for _ in range(2))
        found = share_difference(first.tolist(), second.tolist())
        assert found is not None
        shown += found.verdict != "no difference shown"
    assert shown <= 15


def test_what_stands_or_falls_together_is_one_thing() -> None:
    """Nine turns that one conversation lost say no more than that conversation."""
    first, second = [True] * 100, [True] * 91 + [False] * 9
    alone = share_difference(first, second)
    assert alone is not None
    assert alone.verdict == "fewer"
    found = share_difference(first, second, [number // 10 for number in range(100)])
    assert found is not None
    assert (found.n, found.groups) == (100, 10)
    assert found.difference == alone.difference
    assert found.verdict == "no difference shown"
    # Of as many that lost some in every one of them, it does.
    second = [number % 10 > 1 for number in range(100)]
    found = share_difference(first, second, [number // 10 for number in range(100)])
    assert found is not None
    assert found.verdict == "fewer"


def test_there_are_no_shares_of_nothing() -> None:
    assert share([]) is None
    assert share_difference([], []) is None
    with pytest.raises(ValueError, match="do not pair up"):
        share_difference([True], [])


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
