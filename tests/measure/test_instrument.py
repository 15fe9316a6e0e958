"""What the stereo WAV of a turn says: when the user stopped, and when the reply was heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.files import WavWriter
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.measure.instrument import begin_of, contradicted, first_reply, stereo, true_end

RATE = 22_050
MS = 1_000_000


def tone(*spans: tuple[float, float], seconds: float = 4.0, rate: int = RATE) -> Samples:
    """A loud tone during these spans (s), silence otherwise."""
    samples = np.zeros(int(seconds * rate), np.int16)
    for begin, end in spans:
        t = np.arange(int(end * rate) - int(begin * rate))
        # 1000 Hz is there within a sample or two of either edge.
        samples[int(begin * rate) : int(end * rate)] = 9000 * np.cos(2 * np.pi * 1000 * t / rate)
    return samples


SAID = tone((0.7, 1.7))


CLEAN = tone((0.5, 1.5), seconds=2.0, rate=16_000)
"""Half a second of silence, a second of sound, half a second of silence."""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    with WavWriter(tmp_path / "said.wav", 16_000) as wav:
        wav.write(CLEAN)
    return tmp_path / "said.wav"


def hiss(level: float) -> Samples:
    made = np.random.default_rng(1).standard_normal(int(4.0 * RATE)) * level
    return made.astype(np.int16)


def test_the_end_is_found_in_the_sound_and_noise_15_db_down_does_not_move_it(
    recording: Path,
) -> None:
    found, quiet = true_end(SAID, RATE, recording, None)
    assert found is not None
    assert found.measurable
    # A tone that is cut off ends more abruptly than any voice.
    assert quiet / RATE == pytest.approx(1.7, abs=0.06)
    found, noisy = true_end(SAID + hiss(900), RATE, recording, None)
    assert found is not None
    assert found.measurable
    assert noisy / RATE == pytest.approx(quiet / RATE, abs=0.02)
    assert found.snr_db == pytest.approx(17, abs=3)


def test_a_label_counts_from_the_beginning_of_the_recording(recording: Path) -> None:
    # Played 0.2 s after the WAV begins; the label is 0.1 s before the sound ends.
    assert true_end(SAID, RATE, recording, 1.4)[1] / RATE == pytest.approx(1.6, abs=0.001)


def test_noise_can_hide_the_end(recording: Path) -> None:
    found, _ = true_end(SAID + hiss(3000), RATE, recording, None)
    assert found is not None
    assert not found.measurable


def test_silence_has_no_end(recording: Path) -> None:
    assert true_end(tone(), RATE, recording, 1.4) == (None, len(tone()))


def test_a_recording_is_found_in_what_was_played_of_it() -> None:
    left = SAID + hiss(900)
    assert begin_of(CLEAN, left, RATE) / RATE == pytest.approx(0.2, abs=0.002)
    # The first frames may be missing.
    late = left[int(0.3 * RATE) :]
    assert begin_of(CLEAN, late, RATE) / RATE == pytest.approx(-0.1, abs=0.002)


@pytest.mark.parametrize(
    ("reply", "begins"),
    [
        ([(2.3, 3.5)], 2.3),
        ([(0.9, 1.2), (2.3, 3.5)], 2.3),  # half a sentence was answered, and then the whole
        ([(1.2, 3.5)], 1.2),  # it began before the user had finished
        ([], None),
    ],
)
def test_where_a_reply_begins(reply: list[tuple[float, float]], begins: float | None) -> None:
    first = first_reply(tone(*reply), RATE, int(1.7 * RATE))
    assert (
        first is None if begins is None else first == pytest.approx(begins * RATE, abs=RATE / 1e3)
    )


def test_a_latency_below_zero_is_no_number_if_the_trace_says_otherwise() -> None:
    marks = {"speech.end": 0, "committed": 300 * MS, "heard.first": 400 * MS}
    assert contradicted(-2646 * MS, marks)
    assert not contradicted(400 * MS, marks)
    assert not contradicted(-100 * MS, marks | {"heard.first": -90 * MS})
    assert not contradicted(-100 * MS, {})


def test_what_is_no_stereo_wav_is_refused(tmp_path: Path, recording: Path) -> None:
    with pytest.raises(BadInput, match="is no 16-bit stereo WAV"):
        stereo(recording)
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(BadInput, match="cannot be read"):
        stereo(tmp_path / "x.wav")
