from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import NS_PER_MS
from pipeline.serve.script import ScriptedNetwork
from pipeline.serve.wire import Delay

NETWORKS = st.builds(
    ScriptedNetwork,
    rtt_ms=st.floats(0, 500),
    jitter_ms=st.floats(0, 200),
    stall_every_s=st.sampled_from([0.0, 0.3, 2.0]),
    stall_ms=st.floats(0, 250),
)
GAPS = st.lists(st.integers(0, 400 * NS_PER_MS), max_size=60)
OPENED = 5_000_000_000


def _sent(gaps: list[int]) -> list[int]:
    times, now = [], OPENED
    for gap in gaps:
        now += gap
        times.append(now)
    return times


@given(NETWORKS, GAPS, st.integers())
def test_all_arrives_in_order_late_and_never_in_a_stall(
    network: ScriptedNetwork, gaps: list[int], seed: int
) -> None:
    line, sent = Delay(network, str(seed), OPENED), _sent(gaps)
    arrivals = [line.arrival_ns(t) for t in sent]
    assert arrivals == sorted(arrivals)
    for left, arrived in zip(sent, arrivals, strict=True):
        assert arrived >= left + int(network.rtt_ms / 2 * NS_PER_MS)
        if network.stall_every_s:
            stalls, within = divmod(arrived - OPENED, int(network.stall_every_s * 1e9))
            assert stalls == 0 or within >= int(network.stall_ms * NS_PER_MS)


@given(GAPS)
def test_without_jitter_and_stalls_it_is_half_the_round_trip(gaps: list[int]) -> None:
    line = Delay(ScriptedNetwork(rtt_ms=80), "1", OPENED)
    for left in _sent(gaps):
        assert line.arrival_ns(left) == left + 40 * NS_PER_MS


def test_the_same_seed_jitters_in_the_same_way() -> None:
    network, sent = ScriptedNetwork(rtt_ms=20, jitter_ms=50), _sent([10 * NS_PER_MS] * 50)
    first, again, other = (
        [line.arrival_ns(t) for t in sent]
        for line in (Delay(network, seed, OPENED) for seed in ("1/up", "1/up", "1/down"))
    )
    assert first == again != other
