"""The instrument's own error is measured, told, and doubted where it is too large."""

from __future__ import annotations

import re

import pytest
from support.virtual_time import in_virtual_time

from pipeline.measure.reference import ERROR_MS, OwnError, calibrate, doubts, told

FINE = OwnError(known_ms=300.0, turns=3, n=3, median_ms=2.4, worst_ms=-4.0, reason="")


@in_virtual_time
async def test_the_instrument_is_right() -> None:
    found = await calibrate()
    assert (found["n"], found["reason"], doubts(found)) == (3, "", [])
    assert found["worst_ms"] is not None
    assert abs(found["worst_ms"]) <= ERROR_MS


def test_it_is_told_in_a_sentence() -> None:
    assert told(FINE) == ["the instrument's own error in this run: +2 ms (worst -4 ms, of 3 turns)"]
    assert (told(None), doubts(None), doubts(FINE)) == ([], [], [])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"worst_ms": -23.0}, "off by up to 23 ms"),
        ({"n": 1, "reason": "no reply within 2 s"}, "measured 1 of 3 turns .* no reply within 2 s"),
        ({"n": 0, "worst_ms": None, "median_ms": None, "reason": "no disk"}, "measured 0 of 3"),
    ],
)
def test_what_is_wrong_is_told(changed: dict[str, object], says: str) -> None:
    (doubt,) = doubts({**FINE, **changed})
    assert re.search(says, doubt)
