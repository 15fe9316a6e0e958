"""A recording is cut at its pauses, whatever its blocks; nothing that is said is lost or twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scripted import LOUD, Detector

from pipeline.config import VadSettings
from pipeline.engines.vad import RATE
from pipeline.events import Samples
from pipeline.serve.transcripts import LONGEST_S, Cutter, VoicedPiece

S = RATE


def sound(*lengths: float) -> Samples:
    """Voice and silence by turns (s); each second of voice is a little louder than the last."""
    parts = []
    for number, seconds in enumerate(lengths):
        size = int(seconds * S)
        level = 0 if number % 2 else 4 * LOUD + np.arange(size) // S
        parts.append(np.full(size, level).astype(np.int16))
    return np.concatenate(parts)


def cut(samples: Samples, block: int = 1000) -> list[VoicedPiece]:
    blocks = [samples[at : at + block] for at in range(0, len(samples), block)]
    return list(Cutter(Detector(), VadSettings()).cut(blocks))


def test_a_pause_ends_a_piece_sooner_when_it_is_long_enough() -> None:
    pieces = cut(sound(2, 0.6, 2, 1.5, 8, 0.6, 2, 5))
    assert [round(piece.start / S, 1) for piece in pieces] == [0.0, 5.8, 14.4]
    assert [round(piece.end / S, 1) for piece in pieces] == [4.9, 14.4, 17.0]
    assert [piece.voiced_ms for piece in pieces] == pytest.approx([4000, 8000, 2000], abs=70)


def test_who_does_not_pause_is_cut_where_it_is_quietest() -> None:
    samples = sound(40)
    samples[12 * S : 12 * S + 800] = 3 * LOUD
    first, *rest = cut(samples)
    assert first.end == pytest.approx(12 * S, abs=800)
    assert rest[0].start == first.end
    assert rest[-1].end == len(samples)


def test_silence_has_no_pieces() -> None:
    assert cut(np.zeros(60 * S, np.int16)) == []
    assert cut(np.zeros(0, np.int16)) == []


@settings(max_examples=40)
@given(
    st.lists(st.floats(0.1, 18), min_size=1, max_size=5),
    st.sampled_from([160, 1000, 4096, 50_000]),
)
def test_all_voice_is_in_one_piece_each_and_none_is_long(lengths: list[float], block: int) -> None:
    samples = sound(*lengths)
    pieces = cut(samples, block)
    covered = np.zeros(len(samples), np.int8)
    for piece in pieces:
        assert len(piece.samples) <= (LONGEST_S + 0.1) * S
        assert (piece.samples == samples[piece.start : piece.end]).all()
        covered[piece.start : piece.end] += 1
    assert covered.max(initial=0) <= 1
    # The detector judges whole windows: a few samples at the end may be of none.
    voice = samples[: len(samples) - 512] > 0
    assert covered[: len(voice)][voice].all()


def test_no_more_is_held_than_a_piece() -> None:
    taken = 0

    def blocks() -> Iterator[Samples]:
        nonlocal taken
        for _ in range(60):
            block = sound(8, 2)
            taken += len(block)
            yield block

    for piece in Cutter(Detector(), VadSettings()).cut(blocks()):
        assert taken - piece.end < 12 * S
