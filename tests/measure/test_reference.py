"""The system of known behaviour does what it says, as the instrument measures it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from support.noise import LEAD_S, SPEECH_S, TAIL_S, utterance
from support.sound import hum
from support.virtual_time import VirtualLoop, in_virtual_time

from pipeline.audio.files import WavWriter
from pipeline.clock import NS_PER_MS
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


def words(folder: Path, **more: float) -> Step:
    seconds = LEAD_S + SPEECH_S + TAIL_S
    path = utterance(folder / "words.wav")
    known = {"end_of_speech_s": LEAD_S + SPEECH_S, "seconds": seconds, "pause_s": 0.2}
    return Step("words", path, **{"patience_s": 4.0, **known, **more})  # type: ignore[arg-type]


def cough(folder: Path, **more: float) -> Step:
    path = folder / "cough.wav"
    with WavWriter(path, 16_000) as wav:
        wav.write(np.pad(hum(16_000, 0.3), 1600))
    known = {"end_of_speech_s": 0.4, "seconds": 0.5, "patience_s": 2.5}
    return Step("", path, **{**known, **more})  # type: ignore[arg-type]


def near(ns: int | None, ms: float) -> None:
    assert ns is not None
    assert ns / NS_PER_MS == pytest.approx(ms, abs=ERROR_MS)


@in_virtual_time
@pytest.mark.parametrize("latency", [300, 500, 1500])
async def test_it_answers_so_long_after_the_end(tmp_path: Path, latency: int) -> None:
    """A pause inside the words is no end of them where it is shorter than the latency."""
    options = f"latency={latency},reply=600"
    conversation = await held(tmp_path, options, words(tmp_path), words(tmp_path))
    assert (conversation.status, conversation.simulated) == ("ok", True)
    for turn in conversation.turns:
        assert (turn.record.status, turn.record.transcript) == ("ok", "")
        near(turn.record.wav_voice_to_voice_ns, latency)


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
    near(second.record.wav_voice_to_voice_ns, 500)


@in_virtual_time
@pytest.mark.parametrize(
    ("options", "stop"), [("stop=300,coughs=yes", 300), ("stop=700,coughs=no", 700)]
)
async def test_it_stops_so_long_after_a_voice_begins(
    tmp_path: Path, options: str, stop: int
) -> None:
    said = [words(tmp_path), words(tmp_path, interrupt_s=0.5)]
    first, second = (await held(tmp_path, f"{options},reply=3000", *said)).turns
    near(second.silence_ns, stop)
    near(second.record.wav_voice_to_voice_ns, 500)
    assert first.kept is not None
    assert 0 < len(first.kept) < len(first.record.expected) + 80


@in_virtual_time
@pytest.mark.parametrize(("coughs", "stop"), [("yes", 450), ("no", None)])
async def test_a_cough_stops_it_or_does_not(tmp_path: Path, coughs: str, stop: int | None) -> None:
    said = [words(tmp_path), cough(tmp_path, interrupt_s=0.5)]
    options = f"stop=450,coughs={coughs},reply=2000"
    first, second = (await held(tmp_path, options, *said)).turns
    assert first.record.status == "ok"
    if stop is None:
        assert second.record.status == "timeout"
        assert second.record.marks.keys() == {"speech.end"}
        assert first.record.reply.endswith("no word.")
    else:
        near(second.silence_ns, stop)
        near(second.record.wav_voice_to_voice_ns, 500)


@in_virtual_time
async def test_in_every_second_turn_it_speaks_too_soon(tmp_path: Path) -> None:
    said = [words(tmp_path)] * 4
    turns = (await held(tmp_path, "cut_in=2,reply=1200", *said)).turns
    for turn, latency in zip(turns, [500, 500 - 800, 500, 500 - 800], strict=True):
        assert turn.record.status == "ok", turn.record.reason
        near(turn.record.wav_voice_to_voice_ns, latency)


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
