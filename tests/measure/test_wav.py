from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.files import WavWriter
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.measure.wav import begin_of, contradicted, listen, stereo

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


def record(folder: Path, user: Samples, reply: Samples) -> Path:
    with WavWriter(folder / "both.wav", RATE, 2) as wav:
        wav.write(np.column_stack([user, reply]))
    return folder / "both.wav"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Half a second of silence, a second of sound, half a second of silence."""
    with WavWriter(tmp_path / "said.wav", 16_000) as wav:
        wav.write(tone((0.5, 1.5), seconds=2.0, rate=16_000))
    return tmp_path / "said.wav"


def test_the_times_are_found_in_the_sound(tmp_path: Path, recording: Path) -> None:
    wav = record(tmp_path, tone((0.7, 1.7)), tone((2.3, 3.5)))
    heard = listen(wav, recording, None)
    assert heard is not None
    # A tone that is cut off ends more abruptly than any voice.
    assert heard.end_ns == pytest.approx(1700 * MS, abs=60 * MS)
    assert heard.measurable
    assert heard.reply_ns == pytest.approx(2300 * MS, abs=MS)


def test_a_label_counts_from_the_beginning_of_the_recording(
    tmp_path: Path, recording: Path
) -> None:
    # Played 0.2 s after the WAV begins; the label is 0.1 s before the sound ends.
    heard = listen(record(tmp_path, tone((0.7, 1.7)), tone((2.3, 3.5))), recording, 1.4)
    assert heard is not None
    assert heard.end_ns == pytest.approx(1600 * MS, abs=MS)


def hiss(level: float) -> Samples:
    made = np.random.default_rng(1).standard_normal(int(4.0 * RATE)) * level
    return made.astype(np.int16)


def test_noise_from_15_db_down_does_not_move_it(tmp_path: Path, recording: Path) -> None:
    quiet = listen(record(tmp_path, tone((0.7, 1.7)), tone((2.3, 3.5))), recording, None)
    noisy = record(tmp_path, tone((0.7, 1.7)) + hiss(900), tone((2.3, 3.5)))
    heard = listen(noisy, recording, None)
    assert heard is not None
    assert quiet is not None
    assert heard.measurable
    assert heard.end_ns == pytest.approx(quiet.end_ns, abs=20 * MS)
    assert heard.snr_db == pytest.approx(17, abs=3)


def test_what_noise_hides_only_a_label_tells(tmp_path: Path) -> None:
    user = tone((0.7, 1.7)) + hiss(3000)
    with WavWriter(tmp_path / "said.wav", 16_000) as wav:
        wav.write(user[:: RATE // 16_000][: 2 * RATE])
    wav = record(tmp_path, user, tone((2.3, 3.5)))
    unknown = listen(wav, tmp_path / "said.wav", None)
    assert unknown is not None
    assert not unknown.measurable
    known = listen(wav, tmp_path / "said.wav", 1.7)
    assert known is not None
    assert known.measurable


def test_a_recording_is_found_in_what_was_played_of_it(tmp_path: Path, recording: Path) -> None:
    left = tone((0.7, 1.7)) + hiss(900)
    assert begin_of(recording, left, RATE) / RATE == pytest.approx(0.2, abs=0.002)
    # The first frames may be missing.
    assert begin_of(recording, left[int(0.3 * RATE) :], RATE) / RATE == pytest.approx(
        -0.1, abs=0.002
    )


def test_a_latency_below_zero_is_no_number_if_the_trace_says_otherwise() -> None:
    marks = {"speech.end": 0, "committed": 300 * MS, "heard.first": 400 * MS}
    assert contradicted(-2646 * MS, marks)
    assert not contradicted(400 * MS, marks)
    assert not contradicted(-100 * MS, marks | {"heard.first": -90 * MS})
    assert not contradicted(-100 * MS, {})


def test_a_reply_to_half_a_sentence_is_not_the_reply(tmp_path: Path, recording: Path) -> None:
    heard = listen(
        record(tmp_path, tone((0.7, 1.7)), tone((0.9, 1.2), (2.3, 3.5))), recording, None
    )
    assert heard is not None
    assert heard.reply_ns == pytest.approx(2300 * MS, abs=MS)


def test_a_reply_that_begins_too_early_has_a_negative_latency(
    tmp_path: Path, recording: Path
) -> None:
    heard = listen(record(tmp_path, tone((0.7, 1.7)), tone((1.2, 3.5))), recording, None)
    assert heard is not None
    assert heard.reply_ns == pytest.approx(1200 * MS, abs=MS)


def test_without_a_reply_there_is_none(tmp_path: Path, recording: Path) -> None:
    heard = listen(record(tmp_path, tone((0.7, 1.7)), tone()), recording, None)
    assert heard is not None
    assert heard.reply_ns is None
    assert listen(record(tmp_path, tone(), tone()), recording, None) is None


def test_what_is_no_stereo_wav_is_refused(tmp_path: Path, recording: Path) -> None:
    with pytest.raises(BadInput, match="is no 16-bit stereo WAV"):
        stereo(recording)
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(BadInput, match="cannot be read"):
        stereo(tmp_path / "x.wav")
