"""Frames of any rate become 16 kHz sound that knows when it was captured."""

from __future__ import annotations

import numpy as np
import pytest
from support.scripted import LOUD, Detector

from pipeline.audio.speech_end import RATE
from pipeline.events import Frame
from pipeline.turns.listener import LOST_S, Hearing


def feed(hearing: Hearing, rate: int, frames: int, start_ns: int = 0) -> int:
    """Push frames of 20 ms, loud; returns when they are over (ns)."""
    for index in range(frames):
        t_ns = start_ns + index * 20_000_000
        samples = np.full(rate // 50, LOUD, np.int16)
        hearing.push(Frame(samples, rate, index * rate // 50, t_ns))
    return start_ns + frames * 20_000_000


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_sound_knows_when_it_was_captured(rate: int) -> None:
    hearing = Hearing(Detector(), 5.0)
    end_ns = feed(hearing, rate, 50, start_ns=10**9)
    assert abs(hearing.end - RATE) <= RATE // 100
    assert abs(hearing.time_of(hearing.end) - end_ns) <= 12_000_000


def test_what_follows_and_what_does_not() -> None:
    hearing = Hearing(Detector(), 5.0)
    nothing = np.zeros(320, np.int16)
    assert hearing.follows(Frame(nothing, RATE, 0, 10**9))
    end_ns = feed(hearing, RATE, 5, start_ns=10**9)
    most = 5 * 320 + int(LOST_S * RATE)
    assert hearing.follows(Frame(nothing, RATE, most, end_ns))
    assert not hearing.follows(Frame(nothing, RATE, most + 1, end_ns))


def test_a_whole_file_follows_however_late_it_is_read() -> None:
    hearing = Hearing(Detector(), 5.0)
    end_ns = feed(hearing, RATE, 5)
    assert hearing.follows(Frame(np.zeros(320, np.int16), RATE, 5 * 320, end_ns + 60 * 10**9))


def test_an_utterance_is_padded_with_silence_that_has_not_been_heard_yet() -> None:
    hearing = Hearing(Detector(), 5.0)
    feed(hearing, RATE, 10)
    sound = hearing.sound(1000, 2000, until=2500)
    assert sound.dtype == np.float32
    assert len(sound) == 1500
    assert sound[:1000].min() == pytest.approx(LOUD / 32768)
    assert not sound[1000:].any()
    assert len(hearing.sound(1000, 2000, until=1500)) == 1000


def ending_of(level: float, floor: float, late: float = 0.0) -> float:
    """Where a tone of 0.5 s, judged to end `late` (s) after that, fell silent (s)."""
    hearing = Hearing(Detector(), 5.0)
    t = np.arange(RATE) / RATE
    sound = np.where(t < 0.5, level, 0) * np.sin(2 * np.pi * 400 * t)
    sound += floor * np.random.default_rng(1).standard_normal(RATE)
    hearing.push(Frame(sound.astype(np.int16), RATE, 0, 0))
    return hearing.last_sound(int((0.5 + late) * RATE)) / RATE


@pytest.mark.parametrize("late", [-0.03, 0.0, 0.046])
def test_a_voice_ends_where_it_fell_silent_and_not_where_it_is_judged_to(late: float) -> None:
    assert ending_of(10_000, 0, late) == pytest.approx(ending_of(10_000, 0), abs=0.005)
    assert ending_of(10_000, 0, late) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("level", "floor"), [(10_000, 300), (10_000, 1000), (300, 0), (300, 30)])
def test_neither_gain_nor_a_loud_room_moves_it(level: float, floor: float) -> None:
    assert ending_of(level, floor) == pytest.approx(ending_of(10_000, 0), abs=0.01)


def test_before_anything_was_heard_there_is_nothing_to_look_at() -> None:
    assert Hearing(Detector(), 5.0).last_sound(0) == 0
