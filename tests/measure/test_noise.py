from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.measure.noise import Noise, Reading, loop_ns, summarise

MS = 1_000_000
READINGS = st.builds(
    Reading,
    loop_ns=st.integers(1, 10**12),
    load=st.none() | st.floats(0, 100),
    mhz=st.none() | st.floats(1, 10_000),
)


def test_a_steady_machine_has_no_noise() -> None:
    found = summarise([Reading(5 * MS, 0.5, 2000.0)] * 4)
    assert found["relative"] == 0
    assert found["drift"] == 0
    assert found["readings"] == 4
    assert found["loop_ms"] == {"before": 5, "after": 5, "min": 5, "max": 5, "median": 5}
    assert found["load"] == {"before": 0.5, "after": 0.5, "min": 0.5, "max": 0.5}


def test_a_machine_that_gets_slower_is_told() -> None:
    found = summarise([Reading((100 + step) * MS, None, None) for step in range(21)])
    assert found["drift"] == 0.2
    assert abs(found["relative"] - 8 / 110) < 1e-5
    assert (found["loop_ms"]["before"], found["loop_ms"]["after"]) == (100, 120)
    assert found["load"] is None
    assert found["mhz"] is None


def test_one_slow_moment_is_not_the_machine() -> None:
    steady = [Reading(100 * MS, None, None)] * 30
    found = summarise([*steady, Reading(900 * MS, None, None), *steady])
    assert found["relative"] == 0
    assert found["loop_ms"]["max"] == 900


def test_without_readings_nothing_is_said() -> None:
    assert summarise([]) == {}


@given(st.lists(READINGS, min_size=1))
def test_the_summary_lies_within_the_readings(readings: list[Reading]) -> None:
    found = summarise(readings)
    loops = found["loop_ms"]
    assert loops["min"] <= loops["median"] <= loops["max"]
    assert found["relative"] >= 0
    assert found["readings"] == len(readings)


def test_the_work_takes_time_and_is_read() -> None:
    assert loop_ns() > 0
    noise = Noise()
    noise.look()
    noise.look()
    assert noise.summary()["readings"] == 2
