"""Scripts for simulated servers, from scenarios: what a model that does all right would say. Pure.

Nothing is learnt of any model's wits from such a script: transcripts are what was said, answers are
what was expected. It exercises the way there and back, and the instrument.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pipeline.audio.audible import onset
from pipeline.audio.files import read_audio
from pipeline.compare.scenario import Scenario, Step
from pipeline.measure.wav import CHECK_RATE
from pipeline.serve.script import Script, ScriptedCall, ScriptedTurn

REPLY = "That is a good question, and here is an answer to it."
PREAMBLE = "Let me look that up."


def rehearse(script: Script, scenarios: Iterable[Scenario]) -> Script:
    """The script with a conversation for each scenario that it has none for."""
    onsets: dict[Path, float] = {}
    conversations = {
        scenario.name: tuple(_turn(step, onsets) for step in scenario.steps)
        for scenario in scenarios
    }
    return dataclasses.replace(script, conversations={**conversations, **script.conversations})


def _turn(step: Step, onsets: dict[Path, float]) -> ScriptedTurn:
    wanted = step.expect.tool
    calls: tuple[ScriptedCall, ...] = ()
    if wanted is not None and wanted.name:
        calls = (ScriptedCall(wanted.name, wanted.arguments, PREAMBLE),)
    return ScriptedTurn(
        transcript=step.said,
        reply=_reply(step),
        ends_s=_ends_s(step, onsets),
        calls=calls,
    )


def _reply(step: Step) -> str:
    """Words that meet what is expected, as far as rules tell."""
    expect = step.expect
    words = [one.split("|")[0] for one in expect.contains]
    if expect.number is not None:
        words.append(f"{expect.number:g}")
    return f"The answer is {' and '.join(words)}." if words else REPLY


def _ends_s(step: Step, onsets: dict[Path, float]) -> float | None:
    """Where the speech ends, from its first audible sample (s)."""
    if step.end_of_speech_s is None:
        return None
    if step.path not in onsets:
        sound = np.concatenate([*read_audio(step.path, CHECK_RATE)])
        onsets[step.path] = (onset(sound, CHECK_RATE) or 0) / CHECK_RATE
    ends_s = step.end_of_speech_s - onsets[step.path]
    # A mark from before the first sound tells nothing; then silence does.
    return ends_s if ends_s > 0 else None
