"""The system of known behaviour does what it says, as the instrument measures it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.noise import LEAD_S, SPEECH_S
from support.said import latency_ms, words
from support.virtual_time import VirtualLoop, in_virtual_time

from pipeline.compare.record import Conversation
from pipeline.compare.scenario import Scenario, Step
from pipeline.compare.systems import ReferenceSystem, hold_scenario, parse
from pipeline.errors import BadInput
from pipeline.measure.reference import Behaviour

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
