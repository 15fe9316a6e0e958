"""Frames of any rate become 16 kHz sound that knows when it was captured."""

from __future__ import annotations

import numpy as np
import pytest
from scripted import LOUD, Detector

from pipeline.events import Frame
from pipeline.hearing import LOST_NS, RATE, Hearing


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
    frame = Frame(np.zeros(320, np.int16), RATE, 0, 10**9)
    assert hearing.follows(frame)
    end_ns = feed(hearing, RATE, 5, start_ns=10**9)
    assert hearing.follows(Frame(np.zeros(320, np.int16), RATE, 0, end_ns + LOST_NS))
    assert not hearing.follows(Frame(np.zeros(320, np.int16), RATE, 0, end_ns + LOST_NS + 1))


def test_an_utterance_is_padded_with_silence_that_has_not_been_heard_yet() -> None:
    hearing = Hearing(Detector(), 5.0)
    feed(hearing, RATE, 10)
    sound = hearing.sound(1000, 2000, until=2500)
    assert sound.dtype == np.float32
    assert len(sound) == 1500
    assert sound[:1000].min() == pytest.approx(LOUD / 32768)
    assert not sound[1000:].any()
    assert len(hearing.sound(1000, 2000, until=1500)) == 1000


def ending_of(fade: float, floor: int) -> float:
    """Where a voice that is judged to end at 0.5 s, and fades for a while, fell silent (s)."""
    hearing = Hearing(Detector(), 5.0)
    t = np.arange(RATE) / RATE
    level = np.where(t < 0.5, 10_000, np.where(t < 0.5 + fade, 500, 0))
    sound = level * np.sin(2 * np.pi * 200 * t) + floor * np.sin(2 * np.pi * 1000 * t)
    hearing.push(Frame(sound.astype(np.int16), RATE, 0, 0))
    return hearing.last_sound(RATE // 2) / RATE


@pytest.mark.parametrize("fade", [0.0, 0.03, 0.08])
def test_a_voice_ends_where_it_has_faded_out(fade: float) -> None:
    assert ending_of(fade, floor=0) == pytest.approx(0.5 + fade, abs=0.005)


def test_in_a_loud_room_the_judge_is_believed() -> None:
    assert ending_of(0.03, floor=300) == pytest.approx(0.5, abs=0.005)
