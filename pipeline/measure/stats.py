"""How large, how sure: distributions, bootstrap intervals, paired differences. Pure.

Values are of any unit; everything that comes back is in the same one. Intervals say how sure a
figure is *of these recordings on this machine*; about other recordings they say less, for repeats
of one recording resemble each other.

Intervals are percentile intervals of the bootstrap (Efron & Tibshirani 1993, "An Introduction to
the Bootstrap", chapter 13). The corrections of BCa (chapter 14) are not made: they rest on the
jackknife, which fails for the median (chapter 11). The random numbers have a fixed seed: the same
values, in whatever order, have the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Final, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
"""Enough for the ends of a 95 % interval to be steady (Efron & Tibshirani ask for 1000 or more)."""

LEVEL = 0.95
"""How often an interval is to hold the true value."""

Z = 1.959964
"""So many standard deviations of the normal distribution enclose `LEVEL`."""

SMALLEST = 5
"""Fewer values have no interval: even their smallest and largest enclose the true median less often
than 90 times in 100 (1 - 2 / 2^n)."""

SEED = 20_260_101
"""Of the random numbers; any would do."""

BLOCK = 100_000
"""Values drawn at a time, so that they stay in the processor's cache."""

FINE = 10
"""Steps of a part in which the differences of rates are counted by an exact test."""

Interval = tuple[float, float]

UNDECIDED: Final = "no difference shown"
"""The verdict of a difference that might as well be none."""

Verdict = Literal["faster", "slower", "more", "fewer", "no difference shown"]


class Spread(TypedDict):
    """What there is to say of some values, in their own unit.

    Attributes:
        n: How many; at least 1.
        median: Half are below.
        p90: 90 in 100 are below; between two values in proportion, as for `p95`.
        p95: With few values little less than `max`.
        max: The largest.
        mean: Their sum by their number.
        ci95: 95 % interval of the median; None for fewer than `SMALLEST` values.
        mean_ci95: Of the mean, where somebody asked for it (`mean_interval`).
    """

    n: int
    median: float
    p90: float
    p95: float
    max: float
    mean: float
    ci95: Interval | None
    mean_ci95: NotRequired[Interval | None]


class Apart(TypedDict):
    """By how much values differ from others that they pair up with.

    Attributes:
        n: How many pairs.
        median: Of the pairs' differences; above zero where the second is larger.
        ci95: 95 % interval of it; None for fewer than `SMALLEST` pairs.
        relative: `median` as a share of the median of the first; None where that is not positive.
        verdict: `slower` or `faster` if the interval is wholly on that side of zero.
        within_noise: Whether the machine's own speed varied by at least as much; None if unknown.
    """

    n: int
    median: float
    ci95: Interval | None
    relative: float | None
    verdict: Verdict
    within_noise: bool | None


class Met(TypedDict):
    """How many of some things are so.

    Attributes:
        n: How many things.
        met: How many of them are so.
        share: Of them, from 0 to 1; None of no things.
        ci95: 95 % interval of it, Wilson's: also right for few things, and near 0 and 1.
    """

    n: int
    met: int
    share: float | None
    ci95: Interval | None


class SharesApart(TypedDict):
    """By how much two shares differ, of things that pair up.

    Attributes:
        n: How many pairs.
        first: The share of the first.
        second: The share of the second.
        difference: Second less first.
        ci95: 95 % interval of it; None where there are too few pairs for one.
        verdict: `more` or `fewer` if the interval is wholly on that side of zero.
        groups: How many groups the pairs are of, each of which may stand or fall together.
        turn: Of which turn of a conversation they are, where they are of one.
    """

    n: int
    first: float
    second: float
    difference: float
    ci95: Interval | None
    verdict: Verdict
    groups: int
    turn: NotRequired[int]


def in_words(found: Apart | SharesApart) -> str:
    """The verdict of a difference as everybody is told it, with what weakens it."""
    if found["ci95"] is None:
        return "too few pairs to tell"
    if found["verdict"] != UNDECIDED and found.get("within_noise"):
        return f"{found['verdict']}, but within the machine's noise"
    return found["verdict"]


def describe(values: Sequence[float]) -> Spread | None:
    """Describe values, in any order; None if there are none."""
    if not len(values):
        return None
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    median, p90, p95 = np.quantile(ordered, [0.5, 0.9, 0.95])
    return {
        "n": len(ordered),
        "median": float(median),
        "p90": float(p90),
        "p95": float(p95),
        "max": float(ordered[-1]),
        "mean": float(ordered.mean()),
        "ci95": median_interval(values),
    }


def median_interval(values: Sequence[float], resamples: int = RESAMPLES) -> Interval | None:
    """The 95 % interval of the median; None for fewer than `SMALLEST` values.

    A resample is `n` uniform positions among the sorted values, and its median needs only the
    middle one or two of them. These are drawn as what they are, order statistics: the k-th of `n`
    uniform numbers is Beta(k, n + 1 - k), and the next one is the least of the `n - k` beyond it.
    """
    n = len(values)
    if n < SMALLEST:
        return None
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    random = np.random.default_rng(SEED)
    k = (n + 1) // 2
    position = random.beta(k, n + 1 - k, resamples)
    medians = _at(ordered, position)
    if n % 2 == 0:
        beyond = 1 - (1 - position) * random.random(resamples) ** (1 / (n - k))
        medians = (medians + _at(ordered, beyond)) / 2
    return _percentiles(medians)


def mean_interval(values: Sequence[float], resamples: int = RESAMPLES) -> Interval | None:
    """The 95 % interval of the mean; None for fewer than `SMALLEST` values.

    Some 10 ms of work for every 100 values, so it is no part of `describe`.
    """
    return ratio_interval(values, [1.0] * len(values), resamples)


def ratio_interval(
    parts: Sequence[float], wholes: Sequence[float], resamples: int = RESAMPLES
) -> Interval | None:
    """The 95 % interval of the sum of parts by the sum of wholes; they are drawn in pairs.

    None for fewer than `SMALLEST` pairs with a whole above zero. Some 10 ms of work for every 100.
    """
    pairs = sorted((part, whole) for part, whole in zip(parts, wholes, strict=True) if whole > 0)
    n = len(pairs)
    if n < SMALLEST:
        return None
    part, whole = np.asarray(pairs, dtype=np.float64).T
    random = np.random.default_rng(SEED)
    kind = np.uint16 if n <= 2**16 else np.uint32
    ratios = np.empty(resamples)
    rows = max(1, BLOCK // n)
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        chosen = random.integers(0, n, (count, n), dtype=kind)
        sums = (one.take(chosen, mode="clip").sum(axis=1) for one in (part, whole))
        ratios[first : first + count] = next(sums) / next(sums)
    return _percentiles(ratios)


def share(met: Sequence[bool]) -> Met:
    """Describe how many of some things are so.

    The interval is that of E. B. Wilson, "Probable Inference" (JASA 22, 1927).
    """
    n = len(met)
    if not n:
        return {"n": 0, "met": 0, "share": None, "ci95": None}
    found = sum(met)
    p, z2 = found / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    interval = max(0.0, middle - reach), min(1.0, middle + reach)
    return {"n": n, "met": found, "share": p, "ci95": interval}


def share_difference(
    first: Sequence[bool], second: Sequence[bool], groups: Sequence[Hashable] | None = None
) -> SharesApart | None:
    """Compare two lists of what is so and what is not, paired by position; None if they are empty.

    What is of one group, such as the turns of one conversation, may stand or fall together: whole
    groups are drawn (Cameron & Miller 2015, "A practitioner's guide to cluster-robust inference").
    The bootstrap gets one more pair that differs each way, as Bonett & Price (2012, "Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data") advise:
    else pairs that are all alike would have an interval of no width. And an interval off
    zero stands only if an exact test agrees, since that of few is too narrow.

    Args:
        first: What is compared with.
        second: What is compared; as many.
        groups: Of which group each pair is; None: each pair is its own.

    Raises:
        ValueError: The lists differ in length.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values do not pair up")
    if not len(first):
        return None
    n = len(first)
    sums: dict[Hashable, int] = {}
    sizes: dict[Hashable, int] = {}
    keys = range(n) if groups is None else groups
    for key, a, b in zip(keys, first, second, strict=True):
        sums[key] = sums.get(key, 0) + int(b) - int(a)
        sizes[key] = sizes.get(key, 0) + 1
    apart = [*sums.values()]
    interval = None
    if len(apart) >= SMALLEST:
        interval = ratio_interval([*apart, 1.0, -1.0], [*sizes.values(), 1, 1])
    return _shares_apart(n, sum(first) / n, sum(second) / n, interval, apart)


def rate_difference(
    first: Sequence[tuple[float, float]],
    second: Sequence[tuple[float, float]],
    groups: Sequence[Hashable],
) -> SharesApart | None:
    """Compare two rates, each the sum of parts by the sum of wholes; None if there are none.

    The pairs of a group are drawn together, as in `share_difference`, and an interval off zero
    stands only if the same test agrees: of as many parts as the wholes of both would share out.

    Args:
        first: Part and whole (above 0) of each thing, of what is compared with.
        second: The same things of what is compared.
        groups: Of which group each is.

    Raises:
        ValueError: The lists differ in length.
    """
    sums: dict[Hashable, list[float]] = {}
    for key, before, after in zip(groups, first, second, strict=True):
        mine = sums.setdefault(key, [0.0] * 4)
        for place, value in enumerate((*before, *after)):
            mine[place] += value
    if not sums:
        return None
    every = np.asarray(sorted(sums.values()))
    n = len(every)
    part, whole, other, others = every.sum(axis=0)
    interval: Interval | None = None
    if n >= SMALLEST:
        random = np.random.default_rng(SEED)
        rows = [BLOCK // n + 1] * (RESAMPLES // (BLOCK // n + 1) + 1)
        drawn = [random.multinomial(n, [1 / n] * n, count) @ every for count in rows]
        a, b, c, d = np.concatenate(drawn)[:RESAMPLES].T
        interval = _percentiles(c / d - a / b)
    typical = (whole + others) / (2 * n)
    apart = (every[:, 2] / every[:, 3] - every[:, 0] / every[:, 1]) * typical
    parts = np.rint(apart * FINE).astype(int).tolist()
    return _shares_apart(len(first), float(part / whole), float(other / others), interval, parts)


def _shares_apart(
    n: int, first: float, second: float, interval: Interval | None, apart: Sequence[int]
) -> SharesApart:
    """How two shares of `n` things differ, of which `apart` is what each group says."""
    verdict: Verdict = UNDECIDED
    if interval is not None and not interval[0] <= 0 <= interval[1]:
        if _differ(apart):
            verdict = "more" if interval[0] > 0 else "fewer"
        else:
            interval = None
    return {
        "n": n,
        "first": first,
        "second": second,
        "difference": second - first,
        "ci95": interval,
        "verdict": verdict,
        "groups": len(apart),
    }


def _differ(apart: Sequence[int]) -> bool:
    """Whether groups favour one side more than chance would: Fisher's randomisation test (1935).

    Each group's difference could as well have been the other way round. Of groups of one pair this
    is McNemar's exact test (1947).
    """
    sizes = [abs(one) for one in apart if one]
    reach = sum(sizes)
    # Chance of each sum from -reach to reach.
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for size in sizes:
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(sum(apart))
    return bool(chances[far].sum() < 1 - LEVEL)


def difference(
    first: Sequence[float], second: Sequence[float], noise: float | None = None
) -> Apart | None:
    """Compare two lists whose values pair up, position by position; None if they are empty.

    Args:
        first: What is compared with.
        second: What is compared; as many values.
        noise: By what share the machine's own speed varied; None: unknown.

    Raises:
        ValueError: The lists differ in length.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values do not pair up")
    if not len(first):
        return None
    before = np.asarray(first, dtype=np.float64)
    apart = np.asarray(second, dtype=np.float64) - before
    median, base = float(np.median(apart)), float(np.median(before))
    interval = median_interval(apart.tolist())
    relative = median / base if base > 0 else None
    within = None if noise is None or relative is None else abs(relative) <= noise
    return {
        "n": len(apart),
        "median": median,
        "ci95": interval,
        "relative": relative,
        "verdict": _verdict(interval),
        "within_noise": within,
    }


def _verdict(interval: Interval | None) -> Verdict:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return UNDECIDED
    return "slower" if interval[0] > 0 else "faster"


def _at(ordered: NDArray[np.float64], position: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values at positions in [0, 1]; rounding may give 1, which is the last one's."""
    n = len(ordered)
    return ordered[np.minimum((position * n).astype(np.intp), n - 1)]


def _percentiles(resampled: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
