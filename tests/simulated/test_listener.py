from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import NS_PER_S
from pipeline.simulated.listener import GAP_MS, Began, Ended, Listener

RATE = 16_000
START_NS = 7 * NS_PER_S


def silence(ms: float) -> np.ndarray:
    return np.zeros(round(ms * RATE / 1000), np.int16)


def voice(ms: float) -> np.ndarray:
    return (8000 * np.cos(np.arange(round(ms * RATE / 1000)) / 8)).astype(np.int16)


def heard(
    listener: Listener, *sounds: np.ndarray, size: int = 320, late_ns: Sequence[int] = (0,)
) -> list[Began | Ended]:
    """What it finds in sound that is spoken in real time and arrives in pieces."""
    samples, found, latest = np.concatenate(sounds), [], 0
    for number, start in enumerate(range(0, len(samples), size)):
        piece = samples[start : start + size]
        spoken = START_NS + (listener.position + len(piece)) * NS_PER_S // RATE
        latest = max(latest, spoken + late_ns[number % len(late_ns)])
        found += listener.hear(piece, latest)
    return found


def at(ms: float) -> tuple[int, int]:
    """Sample and time of an instant of the stream."""
    sample = round(ms * RATE / 1000)
    return sample, START_NS + sample * NS_PER_S // RATE


@given(size=st.integers(1, 2000), lead=st.integers(0, 400), length=st.integers(20, 900))
def test_the_told_end_is_exact_whatever_the_pieces(size: int, lead: int, length: int) -> None:
    listener = Listener(RATE, 500)
    listener.expect(length / 1000)
    found = heard(listener, silence(lead), voice(length), silence(700), size=size)
    assert found == [Began(*at(lead)), Ended(*at(lead + length))]


@given(st.lists(st.integers(0, 60_000_000), min_size=2, max_size=2))
def test_a_piece_that_is_held_up_moves_no_end(late_ns: list[int]) -> None:
    listener = Listener(RATE, 500)
    listener.expect(0.5)
    found = heard(listener, silence(300), voice(500), silence(100), late_ns=[0, 0, 0, 0, *late_ns])
    assert found == [Began(*at(300)), Ended(*at(800))]


@given(size=st.integers(1, 2000), pause=st.integers(0, 380))
def test_silence_ends_it_where_the_sound_ended(size: int, pause: int) -> None:
    listener = Listener(RATE, 400)
    found = heard(listener, voice(100), silence(pause), voice(100), silence(700), size=size)
    (began, ended) = found
    assert isinstance(ended, Ended)
    assert began == Began(*at(0))
    assert ended.sample == pytest.approx(at(200 + pause)[0], abs=20)
    assert ended.t_ns == pytest.approx(at(200 + pause)[1], abs=2e6)


def test_a_pause_inside_a_told_utterance_is_no_end() -> None:
    listener = Listener(RATE, 300)
    listener.expect(1.6)
    found = heard(listener, voice(300), silence(1000), voice(300), silence(500))
    assert found == [Began(0, START_NS), Ended(*at(1600))]


def test_what_sounds_on_after_the_told_end_is_no_new_utterance() -> None:
    listener = Listener(RATE, 300)
    listener.expect(0.2)
    found = heard(listener, voice(500), silence(GAP_MS - 60), voice(50), silence(GAP_MS + 50))
    assert found == [Began(0, START_NS), Ended(*at(200))]
    listener.expect(0.1)
    start = listener.position * 1000 / RATE
    assert heard(listener, voice(200)) == [Began(*at(start)), Ended(*at(start + 100))]


def test_an_early_end_and_the_rest_unheard() -> None:
    listener = Listener(RATE, 300)
    listener.expect(1.0, early_s=0.5)
    found = heard(listener, voice(400), silence(400), voice(200), silence(400))
    assert found == [Began(0, START_NS), Ended(*at(500))]
    assert not listener.speaking


def test_the_client_says_that_it_is_over() -> None:
    listener = Listener(RATE, 500)
    assert listener.stop() is None
    heard(listener, silence(100), voice(200), silence(40))
    ended = listener.stop()
    assert ended is not None
    assert ended.t_ns == pytest.approx(at(300)[1], abs=2e6)
    assert listener.stop() is None
    assert heard(listener, silence(600)) == []


def test_silence_alone_is_nothing() -> None:
    listener = Listener(RATE, 100)
    assert heard(listener, silence(3000)) == []
    assert heard(listener, silence(0)) == []


def test_a_reset_forgets_the_utterance() -> None:
    listener = Listener(RATE, 300)
    heard(listener, voice(200))
    listener.reset()
    assert heard(listener, silence(800)) == []
