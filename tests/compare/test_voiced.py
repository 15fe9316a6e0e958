"""Where the user fell silent, for sessions that do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli_child import json_lines
from support.scripted import LOUD, Detector

from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.compare.voiced import PathTrace, Voiced
from pipeline.config import VadSettings
from pipeline.events import Frame
from pipeline.trace import Trace

RATE = 16_000
T0 = 5 * NS_PER_S

CUT_OFF_NS = 60 * NS_PER_MS
"""What is cut off ends more abruptly than a voice, for whose fade there is some allowance."""


def heard(*spoken_s: tuple[float, float], seconds: float = 4.0, rate: int = RATE) -> Voiced:
    """What was heard of somebody who spoke from … to …, after `T0`."""
    sound = np.zeros(int(seconds * rate), np.int16)
    for begin, end in spoken_s:
        sound[int(begin * rate) : int(end * rate)] = LOUD
    voiced = Voiced(Detector(), VadSettings())
    size = rate // 50
    for at in range(0, len(sound) - size + 1, size):
        voiced.push(Frame(sound[at : at + size], rate, at, T0 + at * NS_PER_S // rate))
    return voiced


def at_s(seconds: float) -> int:
    return T0 + int(seconds * NS_PER_S)


@given(st.floats(0.1, 1.5), st.floats(0.2, 1.0), st.sampled_from([16_000, 48_000]))
def test_the_end_is_found(begin: float, length: float, rate: int) -> None:
    voiced = heard((begin, begin + length), rate=rate)
    end = voiced.last_before(at_s(3.5))
    assert end is not None
    assert end == pytest.approx(at_s(begin + length), abs=CUT_OFF_NS)


def test_it_is_the_last_before_that_time() -> None:
    voiced = heard((0.5, 1.0), (2.0, 3.0))
    assert voiced.last_before(at_s(1.8)) == pytest.approx(at_s(1.0), abs=CUT_OFF_NS)
    assert voiced.last_before(at_s(3.8)) == pytest.approx(at_s(3.0), abs=CUT_OFF_NS)
    assert voiced.last_before(at_s(0.2)) is None


def test_nobody_spoke() -> None:
    assert heard().last_before(at_s(3)) is None


def traced(
    voiced: Voiced, *marks: tuple[str, float], file: Trace | None = None
) -> list[Mapping[str, int]]:
    told: list[Mapping[str, int]] = []
    trace = PathTrace(file or Trace(), {"path": "direct"}, voiced, told.append)
    for name, seconds in marks:
        trace.mark(1, name, at_s(seconds))
    return told


def test_a_turn_is_timed_from_there() -> None:
    marks = (("committed", 1.5), ("model.first_audio", 1.9), ("heard.first", 2.0))
    (told,) = traced(heard((0.5, 1.0)), *marks)
    assert told["speech.end"] == pytest.approx(at_s(1.0), abs=CUT_OFF_NS)
    assert told["heard.first"] == at_s(2.0)


def test_whoever_knows_better_is_believed() -> None:
    marks = (("speech.end", 0.9), ("committed", 1.5), ("heard.first", 2.0))
    (told,) = traced(heard((0.5, 1.0)), *marks)
    assert told["speech.end"] == at_s(0.9)


def test_nothing_is_told_of_a_turn_that_is_not_heard() -> None:
    assert traced(heard((0.5, 1.0)), ("committed", 1.5)) == []
    (told,) = traced(heard((0.5, 1.0)), ("heard.first", 2.0))
    assert "speech.end" not in told


def test_all_marks_go_to_one_file_with_their_path(tmp_path: Path) -> None:
    with Trace(tmp_path / "trace") as file:
        traced(heard((0.5, 1.0)), ("committed", 1.5), ("heard.first", 2.0), file=file)
    _, *lines = json_lines((tmp_path / "trace").read_text("utf-8"))
    assert [line["mark"] for line in lines] == ["committed", "heard.first", "speech.end"]
    assert {line["path"] for line in lines} == {"direct"}
