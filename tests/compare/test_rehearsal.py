"""Scripts from scenarios: what a simulated server is to replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.files import WavWriter
from pipeline.compare.scenario import CannedTool, Expect, Scenario, Step, Wanted
from pipeline.compare.scoring import check
from pipeline.compare.systems import PREAMBLE, REPLY, rehearse
from pipeline.serve.script import Latency, Script, ScriptedTurn

OWN = (ScriptedTurn(reply="My own."),)


def recording(path: Path) -> Path:
    sound = np.zeros(32_000, np.int16)
    sound[8_000:24_000] = 9_000
    with WavWriter(path, 16_000) as wav:
        wav.write(sound)
    return path


def test_a_conversation_for_each_scenario(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav")
    steps = (
        Step("How much is it?", path, end_of_speech_s=1.5, expect=Expect(number=12)),
        Step("Look it up.", path, expect=Expect(tool=Wanted("look", {"item": "lamp"}))),
        Step("Which city?", path, expect=Expect(contains=("Paris|Rome", "France"))),
    )
    tools = (CannedTool("look"),)
    scenarios = [
        Scenario("shop", "tools", "", steps, tools),
        Scenario("one", "latency", "", steps[:1]),
    ]
    script = Script("model", {"own": OWN}, latency=Latency("constant", 100))
    made = rehearse(script, scenarios)
    assert made.latency == script.latency
    assert {name: len(turns) for name, turns in made.conversations.items()} == {
        "shop": 3,
        "one": 1,
        "own": 1,
    }
    first, second, third = made.conversations["shop"]
    assert first.transcript == "How much is it?"
    # The sound begins half a second into the recording.
    assert first.ends_s == pytest.approx(1.0, abs=0.001)
    assert (second.ends_s, second.reply) == (None, REPLY)
    assert second.calls[0].name == "look"
    assert second.calls[0].arguments == {"item": "lamp"}
    assert second.calls[0].preamble == PREAMBLE
    assert third.reply == "The answer is Paris and France."


def test_what_it_says_meets_what_is_expected(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav")
    for expect in (Expect(number=42), Expect(contains=("Anna|Ann", "Max")), Expect(number=3.5)):
        step = Step("words", path, expect=expect)
        scenario = Scenario("one", "understanding", "", (step,))
        (turn,) = rehearse(Script("model", {"own": OWN}), [scenario]).conversations["one"]
        assert all(one.met for one in check(step, scenario, turn.reply))


def test_what_the_script_has_stays(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav")
    scenarios = [Scenario("one", "latency", "", (Step("words", path),))]
    script = rehearse(Script("model", {"one": OWN, "two": OWN}), scenarios)
    assert script.conversations == {"one": OWN, "two": OWN}
