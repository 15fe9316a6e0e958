"""What needs no cluster of the turns that a Ray cluster measures; `test_profile_ray` has one."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import profile as sample

from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.measure.noise import Reading, summarise
from pipeline.measure.plan import Variant
from pipeline.measure.ray import pooled, shifted
from pipeline.measure.run import Made
from pipeline.profile.run import Bounds, make


@given(st.integers(-(10**15), 10**15), st.integers(0, 30))
def test_another_clock_changes_no_latency(by_ns: int, number: int) -> None:
    _, records = sample(repeats=2)
    before = records[number % len(records)]
    line = {"turn": 1, "mark": "committed", "t_ns": 7}
    after = shifted(Made(before, [line]), by_ns)
    assert after.result.timeline == before.timeline
    assert after.lines == [{**line, "t_ns": 7 + by_ns}]
    assert [s.end_ns - s.start_ns for s in after.result.spans] == [
        s.end_ns - s.start_ns for s in before.spans
    ]
    assert shifted(after, -by_ns) == Made(before, [line])


readings = st.builds(Reading, st.integers(10**5, 10**9), st.none(), st.none())


@given(st.lists(st.lists(readings, max_size=5), max_size=4))
def test_machines_together_are_no_steadier_than_each(by_node: list[list[Reading]]) -> None:
    together = pooled(by_node)
    each = [summarise(made) for made in by_node if made]
    assert bool(together) == bool(each)
    if each:
        assert together["relative"] >= max(one["relative"] for one in each)
        assert together["readings"] == sum(one["readings"] for one in each)
        assert abs(together["drift"]) == max(abs(one["drift"]) for one in each)


def test_machines_of_different_speed_are_noisy_together() -> None:
    steady = [[Reading(ms * 10**6, None, None)] * 3 for ms in (9, 11)]
    assert pooled(steady)["relative"] == pytest.approx(0.1)


def test_no_such_executor() -> None:
    with pytest.raises(BadInput, match=r"'slurm'; allowed: local \| ray"):
        make("slurm", None, [Variant("one", Settings(), {})], Bounds())


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r'pip install "voice-cascade\[ray\]"'):
        make("ray", None, [Variant("one", Settings(), {})], Bounds())
