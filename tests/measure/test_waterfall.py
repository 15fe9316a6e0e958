"""What a report draws of a turn: contiguous parts, times from the end of speech, its sound."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from support import samples

from pipeline.measure import waterfall


def test_a_turn_is_drawn_as_it_was_measured() -> None:
    _, records = samples.profile(repeats=2)
    for number, record in enumerate(records):
        turn = waterfall.turn(number, record)
        assert (turn["id"], turn["file"], turn["shown"]) == (number, record.file, record.status)
        if record.timeline is None:
            assert turn["parts"] is None
            continue
        assert sum(turn["parts"].values()) == pytest.approx(turn["trace_ms"], abs=0.01)
        assert turn["difference_ms"] == pytest.approx(turn["trace_ms"] - turn["wav_ms"], abs=0.002)
        assert dict(turn["marks"])["speech.end"] == 0
        assert turn["wav_start_ms"] < 0


def test_the_drawn_waveform_shows_each_side_where_it_sounds() -> None:
    stereo = np.zeros((waterfall.RATE // 10 + 1, 2), np.int16)
    stereo[160:320, 0] = -32768
    stereo[480, 1] = 8192
    left, right = (list(base64.b64decode(text)) for text in waterfall.peaks(stereo))
    assert left == [0, 255] + [0] * 9
    assert right == [0, 0, 0, 127] + [0] * 7
