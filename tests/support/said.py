"""What measured users say, of which everything is known to the sample: words, and a cough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audio.files import WavWriter
from pipeline.clock import NS_PER_MS
from pipeline.compare.scenario import Step
from pipeline.measure.record import Turn
from support.noise import LEAD_S, RATE, SPEECH_S, TAIL_S, utterance
from support.sound import hum

COUGH_S = 0.3


def words(folder: Path, **more: Any) -> Step:
    """An utterance with a pause inside, which takes `SPEECH_S`."""
    known = {
        "path": utterance(folder / "words.wav"),
        "end_of_speech_s": LEAD_S + SPEECH_S,
        "seconds": LEAD_S + SPEECH_S + TAIL_S,
        "pause_s": 0.2,
        "patience_s": 8.0,
    }
    return Step("words", **{**known, **more})


def cough(folder: Path, **more: Any) -> Step:
    """A sound that is to be ignored."""
    path = folder / "cough.wav"
    with WavWriter(path, RATE) as wav:
        wav.write(np.pad(hum(RATE, COUGH_S), 1600))
    known = {"end_of_speech_s": 0.1 + COUGH_S, "seconds": 0.2 + COUGH_S}
    return Step("", path, **{**known, "expect": {"outcome": "ignore"}, **more})  # type: ignore[arg-type]


def latency_ms(turn: Turn) -> float:
    """Of a turn that has one."""
    assert turn.record.wav_voice_to_voice_ns is not None, turn.record.reason
    return turn.record.wav_voice_to_voice_ns / NS_PER_MS
