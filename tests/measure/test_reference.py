"""The system of known behaviour does what it says, and the instrument's own error is told by it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from support.noise import LEAD_S, SPEECH_S
from support.said import latency_ms, words
from support.virtual_time import VirtualLoop, in_virtual_time

from pipeline.compare.record import Conversation
from pipeline.compare.scenario import Scenario, Step
from pipeline.compare.systems import ReferenceSystem, hold_scenario, parse
from pipeline.errors import BadInput
from pipeline.measure.reference import Behaviour, OwnError, calibrate, doubts, told

ERROR_MS = 15.0
"""What the project allows its instrument."""


async def held(folder: Path, options: str, *steps: Step) -> Conversation:
    (spec,) = parse([f"reference:{options}"])
    scenario = Scenario("words", "latency", "", steps)
    return (await hold_scenario(ReferenceSystem(spec), scenario, folder / "both.wav")).result


@in_virtual_time
@pytest.mark.parametrize("latency", [300, 500, 1500])
async def test_it_answers_so_long_after_the_end(tmp_path: Path, latency: int) -> None:
    """A pause inside the words is no end of them where it is shorter than the latency."""
    options = f"latency={latency},reply=600"
    conversation = await held(tmp_path, options, words(tmp_path), words(tmp_path))
    assert (conversation.status, conversation.simulated) == ("ok", True)
    for turn in conversation.turns:
        assert (turn.record.status, turn.record.transcript) == ("ok", "")
        assert latency_ms(turn) == pytest.approx(latency, abs=ERROR_MS)


@in_virtual_time
async def test_a_machine_that_sleeps_in_the_middle_of_words_has_no_latency_of_them(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.call_later(LEAD_S + SPEECH_S / 2, loop.sleep_through, 1.2)
    first, second = (await held(tmp_path, "reply=600", words(tmp_path), words(tmp_path))).turns
    assert first.record.status == "unmeasurable"
    assert "ms of silence fell into what the user says" in first.record.reason
    assert latency_ms(second) == pytest.approx(500, abs=ERROR_MS)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ("latency=50", "latency is a number from 100"),
        ("stop=300,coughs=no", "stop is at least 440 with coughs=no"),
        ("speed=3", "no option 'speed'"),
        ("coughs=maybe", "coughs is one of yes, no"),
    ],
)
def test_what_it_cannot_do_is_told(options: str, wrong: str) -> None:
    (spec,) = parse([f"reference:{options}"])
    with pytest.raises(BadInput, match=wrong):
        Behaviour.of(spec)


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
