"""Where sessions meet microphone and loudspeaker, where the user fell silent, what keys do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli_child import json_lines
from support.metronome import MetronomeSystem
from support.scripted import LOUD, Detector
from support.virtual_time import VirtualClock
from support.virtual_time import run as in_virtual_time

from pipeline.audio.playout import Playout
from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.compare.live import (
    FADE_S,
    MOST,
    MOST_WAITING,
    SILENT_S,
    LiveSystem,
    Mixer,
    SystemTrace,
    UserVoice,
    choose,
    following,
)
from pipeline.compare.panes import Pane
from pipeline.config import VadSettings
from pipeline.events import Frame, Samples
from pipeline.trace import Trace

RATE = 24_000


def frame(number: int) -> Frame:
    return Frame(np.full(320, number, np.int16), 16_000, number * 320, number * 20_000_000)


def system() -> LiveSystem:
    way, pane = MetronomeSystem(0, [], []), Pane("it", lambda text: None)
    clock: Any = VirtualClock()
    return LiveSystem(way, Playout(RATE), pane, clock, lambda line: None)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 700)), max_size=20))
def test_however_it_is_switched_nothing_clicks_and_nothing_is_lost(
    blocks: Sequence[tuple[int, int]],
) -> None:
    told: list[Samples] = []
    mixer = Mixer(3, RATE, lambda samples, t_ns: told.append(samples))
    sounds = [np.full(RATE, level, np.int16) for level in (9000, -9000, 0)]
    for playout, sound in zip(mixer.playouts, sounds, strict=True):
        playout.write("r", sound, RATE)
    out = [mixer.read(480, 0)]
    for heard, n in blocks:
        mixer.heard = heard
        out.append(mixer.read(n, 0))
    mixed = np.concatenate(out).astype(int)
    assert (np.concatenate(told) == mixed).all()
    steps = np.abs(np.diff(mixed))
    assert steps.max(initial=0) <= 18_000 / (FADE_S * RATE) + 1
    assert {playout.position("r") for playout in mixer.playouts} == {min(RATE, len(mixed))}


def test_of_a_session_that_does_not_keep_up_the_oldest_is_lost_and_said_once() -> None:
    async def work() -> None:
        one = system()
        told = [one.offer(frame(number)) for number in range(MOST_WAITING + 10)]
        assert told.count(False) == 1
        assert one.lost == 10
        one.end()
        one.offer(frame(9))
        left = [int(given.samples[0]) async for given in one.frames()]
        assert left == list(range(10, MOST_WAITING + 10))

    in_virtual_time(work())


def test_a_mute_session_is_quiet_after_a_minute() -> None:
    async def work() -> None:
        one, clock = system(), VirtualClock()
        one.stir()
        one.go_on(False, 1)
        assert not one.quiet
        await clock.sleep_until(int((SILENT_S - 1) * 1e9))
        assert not one.quiet
        await clock.sleep_until(int((SILENT_S + 1) * 1e9))
        assert one.quiet
        one.stir()
        assert not one.quiet
        one.go_on(True, 1)
        assert one.quiet
        one.offer(frame(1))
        assert not one.quiet

    in_virtual_time(work())


HEARD_RATE = 16_000
START_NS = 5 * NS_PER_S

CUT_OFF_NS = 60 * NS_PER_MS
"""What is cut off ends more abruptly than a voice, for whose fade there is some allowance."""


def heard(
    *spoken_s: tuple[float, float], seconds: float = 4.0, rate: int = HEARD_RATE
) -> UserVoice:
    """What was heard of somebody who spoke from … to …, after `START_NS`."""
    sound = np.zeros(int(seconds * rate), np.int16)
    for begin, end in spoken_s:
        sound[int(begin * rate) : int(end * rate)] = LOUD
    voice = UserVoice(Detector(), VadSettings())
    size = rate // 50
    for at in range(0, len(sound) - size + 1, size):
        voice.push(Frame(sound[at : at + size], rate, at, START_NS + at * NS_PER_S // rate))
    return voice


def at_s(seconds: float) -> int:
    return START_NS + int(seconds * NS_PER_S)


@given(st.floats(0.1, 1.5), st.floats(0.2, 1.0), st.sampled_from([HEARD_RATE, 48_000]))
def test_the_end_is_found(begin: float, length: float, rate: int) -> None:
    voice = heard((begin, begin + length), rate=rate)
    end = voice.last_before(at_s(3.5))
    assert end is not None
    assert end == pytest.approx(at_s(begin + length), abs=CUT_OFF_NS)


def test_it_is_the_last_before_that_time() -> None:
    voice = heard((0.5, 1.0), (2.0, 3.0))
    assert voice.last_before(at_s(1.8)) == pytest.approx(at_s(1.0), abs=CUT_OFF_NS)
    assert voice.last_before(at_s(3.8)) == pytest.approx(at_s(3.0), abs=CUT_OFF_NS)
    assert voice.last_before(at_s(0.2)) is None


def test_nobody_spoke() -> None:
    assert heard().last_before(at_s(3)) is None


def traced(
    voice: UserVoice, *marks: tuple[str, float], file: Trace | None = None
) -> list[Mapping[str, int]]:
    told: list[Mapping[str, int]] = []
    trace = SystemTrace(file or Trace(), {"path": "direct"}, voice, told.append)
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


systems = st.integers(1, MOST)


@pytest.mark.parametrize(
    ("keys", "heard"),
    [
        ("", 0),
        ("2", 1),
        ("b", 1),
        ("B", 1),
        ("21", 0),
        ("\t", 1),
        ("\t\t", 2),
        (" \t ", 0),
        ("3", 2),
        ("4", 0),
        ("0", 0),
        ("z", 0),
        ("2x", 1),
    ],
)
def test_what_keys_choose(keys: str, heard: int) -> None:
    assert choose(keys, 0, [True] * 3) == (heard, False)


@pytest.mark.parametrize("arrow", ["\x1b[A", "\x1b[B", "\x1bOB", "\x1b[1;5B", "\x1b", "\x1b[15~"])
def test_an_arrow_is_no_letter(arrow: str) -> None:
    assert choose(arrow, 0, [True, True]) == (0, False)
    assert choose(f"{arrow}\t", 0, [True, True]) in ((0, False), (1, False))


def test_q_ends_and_what_follows_does_not_count() -> None:
    assert choose("2q1", 0, [True, True]) == (1, True)
    assert choose("Q", 0, [True, True])[1]


def test_nobody_hears_a_path_that_has_failed() -> None:
    assert choose("2", 0, [True, False, True]) == (0, False)
    assert choose("\t", 0, [True, False, True]) == (2, False)
    assert choose("\t", 0, [True, False, False]) == (0, False)


@given(st.text(), st.lists(st.booleans(), min_size=1, max_size=MOST), st.data())
def test_whatever_is_typed_somebody_alive_is_heard(
    keys: str, alive: list[bool], data: st.DataObject
) -> None:
    heard = data.draw(st.sampled_from(range(len(alive))))
    chosen, _ = choose(keys, heard, alive)
    assert chosen == heard or alive[chosen]


@given(systems.flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_next_comes_round(start: tuple[int, int]) -> None:
    heard, n = start
    seen = [heard]
    for _ in range(n):
        seen.append(following(seen[-1], [True] * n))
    assert seen[-1] == heard
    assert set(seen) == set(range(n))
