from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import NS_PER_S
from pipeline.serve.speech import GAP_MS, UtteranceEdge, UtteranceFinder

RATE = 16_000
START_NS = 7 * NS_PER_S


def silence(ms: float) -> np.ndarray:
    return np.zeros(round(ms * RATE / 1000), np.int16)


def voice(ms: float) -> np.ndarray:
    return (8000 * np.cos(np.arange(round(ms * RATE / 1000)) / 8)).astype(np.int16)


def heard(
    finder: UtteranceFinder, *sounds: np.ndarray, size: int = 320, late_ns: Sequence[int] = (0,)
) -> list[UtteranceEdge]:
    """What it finds in sound that is spoken in real time and arrives in pieces."""
    samples, found, latest = np.concatenate(sounds), [], 0
    for number, start in enumerate(range(0, len(samples), size)):
        piece = samples[start : start + size]
        spoken = START_NS + (finder.position + len(piece)) * NS_PER_S // RATE
        latest = max(latest, spoken + late_ns[number % len(late_ns)])
        found += finder.hear(piece, latest)
    return found


def at(ms: float) -> tuple[int, int]:
    """Sample and time of an instant of the stream."""
    sample = round(ms * RATE / 1000)
    return sample, START_NS + sample * NS_PER_S // RATE


def began(sample: int, t_ns: int) -> UtteranceEdge:
    return UtteranceEdge(False, sample, t_ns)


def ended(sample: int, t_ns: int) -> UtteranceEdge:
    return UtteranceEdge(True, sample, t_ns)


@given(size=st.integers(1, 2000), lead=st.integers(0, 400), length=st.integers(20, 900))
def test_the_told_end_is_exact_whatever_the_pieces(size: int, lead: int, length: int) -> None:
    finder = UtteranceFinder(RATE, 500)
    finder.expect(length / 1000)
    found = heard(finder, silence(lead), voice(length), silence(700), size=size)
    assert found == [began(*at(lead)), ended(*at(lead + length))]


@given(st.lists(st.integers(0, 60_000_000), min_size=2, max_size=2))
def test_a_piece_that_is_held_up_moves_no_end(late_ns: list[int]) -> None:
    finder = UtteranceFinder(RATE, 500)
    finder.expect(0.5)
    found = heard(finder, silence(300), voice(500), silence(100), late_ns=[0, 0, 0, 0, *late_ns])
    assert found == [began(*at(300)), ended(*at(800))]


@given(size=st.integers(1, 2000), pause=st.integers(0, 380))
def test_silence_ends_it_where_the_sound_ended(size: int, pause: int) -> None:
    finder = UtteranceFinder(RATE, 400)
    found = heard(finder, voice(100), silence(pause), voice(100), silence(700), size=size)
    (first, over) = found
    assert over.is_end
    assert first == began(*at(0))
    assert over.sample == pytest.approx(at(200 + pause)[0], abs=20)
    assert over.t_ns == pytest.approx(at(200 + pause)[1], abs=2e6)


def test_a_pause_inside_a_told_utterance_is_no_end() -> None:
    finder = UtteranceFinder(RATE, 300)
    finder.expect(1.6)
    found = heard(finder, voice(300), silence(1000), voice(300), silence(500))
    assert found == [began(0, START_NS), ended(*at(1600))]


def test_what_sounds_on_after_the_told_end_is_no_new_utterance() -> None:
    finder = UtteranceFinder(RATE, 300)
    finder.expect(0.2)
    found = heard(finder, voice(500), silence(GAP_MS - 60), voice(50), silence(GAP_MS + 50))
    assert found == [began(0, START_NS), ended(*at(200))]
    finder.expect(0.1)
    start = finder.position * 1000 / RATE
    assert heard(finder, voice(200)) == [began(*at(start)), ended(*at(start + 100))]


def test_an_early_end_and_the_rest_unheard() -> None:
    finder = UtteranceFinder(RATE, 300)
    finder.expect(1.0, early_s=0.5)
    found = heard(finder, voice(400), silence(400), voice(200), silence(400))
    assert found == [began(0, START_NS), ended(*at(500))]
    assert not finder.speaking


def test_the_client_says_that_it_is_over() -> None:
    finder = UtteranceFinder(RATE, 500)
    assert finder.stop() is None
    heard(finder, silence(100), voice(200), silence(40))
    over = finder.stop()
    assert over is not None
    assert over.t_ns == pytest.approx(at(300)[1], abs=2e6)
    assert finder.stop() is None
    assert heard(finder, silence(600)) == []


def test_silence_alone_is_nothing() -> None:
    finder = UtteranceFinder(RATE, 100)
    assert heard(finder, silence(3000)) == []
    assert heard(finder, silence(0)) == []


def test_a_reset_forgets_the_utterance() -> None:
    finder = UtteranceFinder(RATE, 300)
    heard(finder, voice(200))
    finder.reset()
    assert heard(finder, silence(800)) == []
