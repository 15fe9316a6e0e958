from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.files import WavWriter
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.profile.witness import listen, stereo

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
    assert heard.end_ns == pytest.approx(1700 * MS, abs=MS)
    assert heard.reply_ns == pytest.approx(2300 * MS, abs=MS)


def test_a_label_counts_from_the_beginning_of_the_recording(
    tmp_path: Path, recording: Path
) -> None:
    # Played 0.2 s after the WAV begins; the label is 0.1 s before the sound ends.
    heard = listen(record(tmp_path, tone((0.7, 1.7)), tone((2.3, 3.5))), recording, 1.4)
    assert heard is not None
    assert heard.end_ns == pytest.approx(1600 * MS, abs=MS)


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
