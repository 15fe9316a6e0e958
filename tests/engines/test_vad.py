from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from faster_whisper.vad import get_vad_model
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.audio.files import read_audio
from pipeline.engines import vad
from pipeline.engines.vad import RATE, WINDOW, Voice, VoiceDetector
from pipeline.errors import StageError
from pipeline.events import Samples

RECORDINGS = sorted((Path(__file__).parents[1] / "data" / "recordings").glob("*.wav"))
SPEECH = 0.5

Floats = npt.NDArray[np.float32]


def read(path: Path) -> Samples:
    return np.concatenate([*read_audio(path, RATE)])


def quiet(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE), np.int16)


def scene(path: Path, *, snr_db: float | None = None, gain_db: float = 0.0) -> Samples:
    """A recording in a second of silence on each side, with white noise over all of it."""
    speech = read(path) * 10 ** (gain_db / 20)
    audio = np.concatenate([quiet(1), speech, quiet(1)])
    if snr_db is not None:
        power = np.mean(speech**2) / 10 ** (snr_db / 10)
        audio = audio + np.random.default_rng(len(speech)).normal(0, np.sqrt(power), len(audio))
    return np.clip(np.round(audio), -32768, 32767).astype(np.int16)


def probabilities(voices: list[Voice]) -> Floats:
    return np.array([voice.probability for voice in voices], np.float32)


def ungated(audio: Samples) -> Floats:
    """What Silero says with no gate in front: faster-whisper's own code, all windows at once."""
    whole = len(audio) // WINDOW * WINDOW
    # One more window: that code overwrites the end of the last one.
    padded = np.concatenate([audio[:whole], quiet(1)[:WINDOW]]).astype(np.float32) / 32768
    verdicts: Floats = get_vad_model()(padded)
    return verdicts[:-1]


class Runs:
    """Counts how often the judge is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = 0
        ask = vad._Silero.probability

        def probability(judge: vad._Silero, audio: Floats) -> float:
            self.n += 1
            return ask(judge, audio)

        monkeypatch.setattr(vad._Silero, "probability", probability)


@pytest.fixture(scope="module")
def talk() -> Samples:
    """Two short sentences with pauses long enough for the gate to close."""
    return np.concatenate([quiet(0.8), read(RECORDINGS[0]), quiet(1.2), read(RECORDINGS[2])])


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_verdicts_do_not_depend_on_how_the_audio_is_cut(talk: Samples, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(talk)), max_size=40)))
    detector = VoiceDetector()
    pieces = np.split(talk, cuts)
    voices = [voice for piece in pieces for voice in detector.push(piece)]
    assert voices == VoiceDetector().push(talk)


def test_a_window_is_judged_with_its_last_sample() -> None:
    detector = VoiceDetector()
    audio = read(RECORDINGS[0])
    for i in range(0, 5 * WINDOW, WINDOW):
        assert detector.push(audio[i : i + WINDOW - 1]) == []
        (voice,) = detector.push(audio[i + WINDOW - 1 : i + WINDOW])
        assert (voice.start, voice.end) == (i, i + WINDOW), "they follow each other"
    assert detector.push(audio[:0]) == []


def test_the_judge_streams_as_faster_whisper_runs_it_in_one_go(talk: Samples) -> None:
    judge = vad._Silero()
    audio = np.concatenate([np.zeros(64, np.float32), talk.astype(np.float32) / 32768])
    starts = range(0, len(talk) - WINDOW + 1, WINDOW)
    streamed = [judge.probability(audio[i : i + 64 + WINDOW]) for i in starts]
    np.testing.assert_allclose(streamed, ungated(talk), atol=1e-4)


@pytest.mark.parametrize(
    ("snr_db", "gain_db"), [(None, 0.0), (20.0, 0.0), (10.0, 0.0), (None, -20.0)]
)
def test_the_gate_costs_no_speech(snr_db: float | None, gain_db: float) -> None:
    """Measured: at most 0.3 % of the speech windows, and 5 windows of one soft onset at -20 dB.

    The 300 ms that a turn keeps from before its first voiced window make up for 9 windows.
    """
    missed = speech = differ = total = 0
    late = []
    for path in RECORDINGS[::2]:
        audio = scene(path, snr_db=snr_db, gain_db=gain_db)
        gated, reference = probabilities(VoiceDetector().push(audio)), ungated(audio)
        spoken = reference >= SPEECH
        missed += int(np.sum(spoken & (gated == 0)))
        speech += int(np.sum(spoken))
        differ += int(np.sum(spoken != (gated >= SPEECH)))
        total += len(gated)
        late.append(int(np.argmax(gated >= SPEECH)) - int(np.argmax(spoken)))
    assert speech > 500
    assert missed <= 0.01 * speech
    assert differ <= 0.02 * total
    assert max(late) <= 6
    assert np.mean(late) <= 1


def test_the_onset_is_as_probable_as_without_a_gate() -> None:
    errors = []
    for path in RECORDINGS[::4]:
        audio = scene(path)
        gated, reference = probabilities(VoiceDetector().push(audio)), ungated(audio)
        onset = int(np.argmax(gated > 0))
        errors.append(np.abs(gated - reference)[onset : onset + 6])
    assert np.mean(errors) < 0.05
    assert np.max(errors) < 0.25


@pytest.mark.parametrize("path", RECORDINGS[:6], ids=lambda path: path.stem)
def test_speech_is_heard_where_it_is(path: Path) -> None:
    audio = scene(path)
    spoken = probabilities(VoiceDetector().push(audio)) >= SPEECH
    first, last = np.flatnonzero(spoken)[[0, -1]] * WINDOW / RATE
    assert 0.9 < first < 1.5
    assert last < len(audio) / RATE - 0.8
    assert spoken[int(first * RATE / WINDOW) : int(last * RATE / WINDOW)].mean() > 0.7


def test_silence_is_nothing_and_the_judge_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
    voices = VoiceDetector().push(quiet(10))
    assert probabilities(voices).max() == 0.0
    assert runs.n == 0


def test_the_gate_closes_after_its_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
    detector = VoiceDetector()
    detector.push(read(RECORDINGS[0]))
    assert runs.n > 20
    closing = probabilities(detector.push(quiet(0.9)))
    assert closing.max() < 0.9
    assert closing[-1] == 0.0
    before = runs.n
    assert probabilities(detector.push(quiet(2))).max() == 0.0
    assert runs.n == before


def test_noise_is_not_speech() -> None:
    noise = np.random.default_rng(0).normal(0, 300, 10 * RATE).astype(np.int16)
    verdicts = probabilities(VoiceDetector().push(noise))
    assert np.mean(verdicts >= SPEECH) < 0.02


def test_reset_forgets(talk: Samples) -> None:
    detector = VoiceDetector()
    first = detector.push(talk)
    detector.push(talk[:1000])
    detector.reset()
    assert detector.push(talk) == first


def test_streams_of_one_model_do_not_hear_each_other(talk: Samples) -> None:
    first = VoiceDetector()
    noise = np.random.default_rng(0).normal(0, 3000, len(talk)).astype(np.int16)
    first.push(talk[:20_000])
    second = first.another()
    heard = [
        voice
        for i in range(0, len(talk), 1000)
        for voice in (second.push(talk[i : i + 1000]), first.push(noise[i : i + 1000]))[0]
    ]
    assert heard == VoiceDetector().push(talk)


@pytest.mark.parametrize("at", [0, 30_000])
def test_warming_changes_no_verdict(at: int, talk: Samples) -> None:
    detector = VoiceDetector()
    voices = detector.push(talk[:at])
    detector.warm()
    voices += detector.push(talk[at:])
    assert voices == VoiceDetector().push(talk)


@given(
    samples=arrays.arrays(
        np.int16,
        st.integers(0, 4000),
        elements=st.sampled_from([-32768, -1, 0, 1, 12_000, 32767]),
    ),
)
@settings(max_examples=25, deadline=None)
def test_any_samples_give_probabilities(samples: Samples) -> None:
    detector = VoiceDetector()
    verdicts = probabilities(detector.push(samples))
    assert len(verdicts) == len(samples) // WINDOW
    assert ((verdicts >= 0) & (verdicts <= 1)).all()


@pytest.mark.parametrize("fault", ["clipped", "offset"])
def test_bad_microphones_are_heard_all_the_same(fault: str) -> None:
    for path in RECORDINGS[:5]:
        clean = scene(path)
        heard = clean * 8.0 if fault == "clipped" else clean * 0.5 + 4000
        audio = np.clip(heard, -32768, 32767).astype(np.int16)
        spoken = ungated(clean) >= SPEECH
        verdicts = probabilities(VoiceDetector().push(audio)) >= SPEECH
        assert np.mean(verdicts[spoken]) > 0.8
        assert np.mean(verdicts[~spoken]) < 0.2


@pytest.mark.parametrize(
    "samples", [np.zeros(512, np.float32), np.zeros((2, 512), np.int16), np.zeros(512, np.int32)]
)
def test_only_mono_16_bit_audio_is_taken(samples: Samples) -> None:
    with pytest.raises(ValueError, match="not int16 of shape"):
        VoiceDetector().push(samples)


def test_a_missing_model_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "_MODEL", "nowhere.onnx")
    with pytest.raises(StageError, match=r"nowhere\.onnx: cannot be loaded") as caught:
        VoiceDetector()
    assert caught.value.fatal
    assert "Reinstall faster-whisper" in str(caught.value)


@pytest.mark.parametrize("gain_db", [0.0, -20.0, -40.0])
def test_a_window_has_its_level(gain_db: float) -> None:
    tone = 10 ** (gain_db / 20) * 16384 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    audio = np.concatenate([quiet(0.32), tone.astype(np.int16)])
    voices = VoiceDetector().push(audio)
    assert voices[0].level_db == pytest.approx(-100)
    assert voices[-1].level_db == pytest.approx(min(-12, gain_db - 9), abs=0.2)
