"""Where speech ends: the same place at every gain, and in every room 15 dB below the voice."""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli_child import HUMAN, ROOT, needs_people
from support.noise import Floats, level, noise

from pipeline.audio.files import read_audio
from pipeline.events import Samples
from pipeline.turns.speech_end import RATE, SpeechEnd, end_of_speech, speech_end

CORPUS = ROOT / "tests/data/corpus"
ORDERS = HUMAN / "picovoice_orders"
NEAR = RATE // 50
"""20 ms."""


@cache
def corpus() -> list[tuple[Floats, int]]:
    """Sentences of a synthesiser with 1.5 s of silence after them, and their ends (samples)."""
    with (CORPUS / "corpus.tsv").open(encoding="utf-8") as table:
        rows = [*csv.DictReader(table, delimiter="\t")]
    found = []
    for row in rows:
        sound = np.concatenate([*read_audio(CORPUS / row["file"], RATE)]).astype(np.float64)
        sound = np.pad(sound / np.abs(sound).max() * 20_000, (0, RATE * 3 // 2))
        found.append((sound, round(float(row["end_of_speech_s"]) * RATE)))
    return found


def in_noise(number: int, kind: str, snr_db: float, seed: int = 1) -> Samples:
    voice, _ = corpus()[number]
    room = noise(kind, len(voice), seed) * level(voice) / 10 ** (snr_db / 20)
    return np.rint(voice + room).astype(np.int16)


def clean(number: int) -> Samples:
    return np.rint(corpus()[number][0]).astype(np.int16)


def found(samples: Samples) -> SpeechEnd:
    ended = end_of_speech(samples, RATE)
    assert ended is not None
    return ended


@cache
def undisturbed(number: int) -> SpeechEnd:
    """Where a sentence ends with nothing but silence around it."""
    return found(clean(number))


def test_it_is_near_the_known_end() -> None:
    """An unbiased guess: right in the median; single words fade for up to a tenth of a second."""
    off_ms = [(undisturbed(n).end - end) / 16 for n, (_, end) in enumerate(corpus())]
    assert abs(np.median(off_ms)) < 20
    assert np.abs(off_ms).max() < 90


@settings(max_examples=15, deadline=None)
@given(number=st.integers(0, 9), gain_db=st.floats(-30, 0))
def test_gain_does_not_move_it(number: int, gain_db: float) -> None:
    quiet = np.rint(corpus()[number][0] * 10 ** (gain_db / 20)).astype(np.int16)
    loud, still = undisturbed(number), found(quiet)
    assert still.measurable
    assert abs(still.end - loud.end) <= NEAR
    assert still.level_dbfs - loud.level_dbfs == pytest.approx(gain_db, abs=0.5)


@pytest.mark.parametrize("kind", ["white", "pink"])
@pytest.mark.parametrize(("snr_db", "all_of"), [(40, 10), (30, 10), (20, 9), (15, 9)])
def test_noise_does_not_move_it(kind: str, snr_db: float, all_of: int) -> None:
    near = 0
    for number in range(10):
        noisy = found(in_noise(number, kind, snr_db))
        assert noisy.measurable
        assert noisy.snr_db == pytest.approx(snr_db + 3, abs=4)
        near += abs(noisy.end - undisturbed(number).end) <= NEAR
    assert near >= all_of


@pytest.mark.parametrize("snr_db", [8, 5, 0])
def test_below_that_it_is_not_told(snr_db: float) -> None:
    assert not any(found(in_noise(n, "white", snr_db)).measurable for n in range(10))


def test_noise_that_comes_and_goes_is_seen() -> None:
    samples = clean(2).astype(np.float64)
    bursts = noise("pink", len(samples)) * level(samples) * 0.5
    bursts[(np.arange(len(samples)) // (RATE // 10)) % 3 > 0] = 0
    assert not found(np.rint(samples + bursts).astype(np.int16)).measurable


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_who_hears_only_what_was_said_so_far_says_the_same(kind: str) -> None:
    """The trace looks when the hold is over: a quarter of a second after the voice was judged."""
    for number in range(10):
        samples = in_noise(number, kind, 25)
        judged = corpus()[number][1] + RATE // 40
        soon = speech_end(samples[: judged + RATE // 4], judged)
        assert abs(soon.end - found(samples).end) <= NEAR


def test_a_click_after_the_speech_is_not_of_it() -> None:
    samples = clean(4)
    expected = undisturbed(4).end
    samples[expected + RATE // 3 :][:40] = 20_000
    assert found(samples).end == expected


def test_another_voice_far_below_is_not_the_speakers() -> None:
    samples = clean(4).astype(np.float64)
    expected = undisturbed(4).end
    other, _ = corpus()[7]
    later = np.concatenate([samples, np.zeros(RATE // 2), other / 30])
    assert abs(found(np.rint(later).astype(np.int16)).end - expected) <= NEAR


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_other_rates(rate: int) -> None:
    path = CORPUS / "03_how_far_is_it_from_toronto_to_boston.flac"
    ended = end_of_speech(np.concatenate([*read_audio(path, rate)]), rate)
    expected = end_of_speech(np.concatenate([*read_audio(path, RATE)]), RATE)
    assert ended is not None
    assert expected is not None
    assert ended.end / rate == pytest.approx(expected.end / RATE, abs=0.02)


def test_clipping_does_not_move_it() -> None:
    clipped = np.clip(corpus()[0][0] * 4, -32768, 32767).astype(np.int16)
    assert abs(found(clipped).end - undisturbed(0).end) <= 2 * NEAR


@needs_people
def test_peoples_voices_end_where_they_did_in_noise_and_when_turned_down() -> None:
    near, tries = 0, 0
    for path in sorted(ORDERS.glob("*.wav"))[::5]:
        voice = np.concatenate([*read_audio(path, RATE)]).astype(np.float64)
        alone = found(np.rint(voice).astype(np.int16))
        if not alone.measurable or alone.snr_db < 30:
            continue
        room = noise("white", len(voice)) * level(voice) / 10
        for changed in (voice + room, voice / 10, (voice + room) / 10):
            still = found(np.rint(changed).clip(-32768, 32767).astype(np.int16))
            tries += 1
            near += abs(still.end - alone.end) <= NEAR
    assert tries >= 15
    assert near / tries >= 0.9


def test_silence_has_no_end() -> None:
    assert end_of_speech(np.zeros(RATE, np.int16), RATE) is None
    assert end_of_speech(np.zeros(0, np.int16), RATE) is None


def test_noise_alone_is_not_measurable() -> None:
    assert not found(np.rint(noise("white", 3 * RATE) * 300).astype(np.int16)).measurable


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 3000), st.integers(0, 2**32 - 1))
def test_any_sound_is_survived(length: int, judged: int, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-32768, 32768, length).astype(np.int16)
    assert 0 <= speech_end(samples, min(judged, length)).end <= length
