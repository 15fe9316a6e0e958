"""What is laid over the user's sound: what was asked for, at its place, and the same twice."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import noise as made
from support.cli_child import HUMAN, needs_people, read_wav, recording

from pipeline.audio.files import read_audio
from pipeline.compare.conditions import (
    BAND_HZ,
    FRAME,
    Condition,
    Disturbance,
    Filter,
    Passage,
    minimum_phase,
    parse,
    read,
)
from pipeline.errors import BadInput
from pipeline.events import Samples

RATE = 16_000
CAFE = Path("cafe.wav")


def through(passage: Passage, sound: Samples, begins: tuple[int, ...] = (0,)) -> Samples:
    """A whole sound, frame by frame; utterances begin in the frames `begins`."""
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    return np.concatenate([passage.push(one, n in begins) for n, one in enumerate(frames)])


def tone(hz: float, seconds: float = 1.0, size: float = 0.25) -> Samples:
    return np.rint(
        size * 32767 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)
    ).astype(np.int16)


def hiss(seconds: float, dbfs: float, seed: int = 1) -> Samples:
    sound = made.noise("pink", int(seconds * RATE), seed) * 32768 * 10 ** (dbfs / 20)
    return np.rint(sound).clip(-32768, 32767).astype(np.int16)


def dbfs(sound: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(sound / 32768)) + 1e-12))


def place(played: Samples, heard: Samples) -> int:
    """By how many samples `heard` is later: where the two agree best."""
    size = 2 * len(played)
    spectra = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(played, size))
    lag = int(np.argmax(np.fft.irfft(spectra, size)))
    return lag if lag < len(played) else lag - size


@pytest.fixture
def speech() -> Samples:
    sound, rate = read_wav(recording(1))
    assert rate == RATE
    return sound[:, 0]


# What people write


def test_what_a_scenario_says(tmp_path: Path) -> None:
    every = {
        **{"room": "hall.wav", "noise": "cafe.wav", "snr": 10, "gain": -3, "band": "narrow"},
        **{"codec": "g711a", "loss": 2.5},
    }
    found = read(every, tmp_path)
    assert found.noise == tmp_path / "cafe.wav"
    assert found.name == "room hall, cafe 10 dB, gain -3, narrow, g711a, loss 2.5"
    assert read("clean", tmp_path) == parse("clean") == Condition()
    assert Condition().name == "clean"
    line = parse("noise=a b/cafe.wav, snr=-5,loss=0")
    assert line == Condition(noise=Path("a b/cafe.wav"), snr_db=-5, loss=0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("loud", "write what is to be done, once each, as in noise=cafe.wav,snr=10"),
        ("gain=1,gain=2", "once each"),
        ("codec=opus", "codec: input should be 'g711u' or 'g711a' (it is \"opus\")"),
        ("loss=101", "loss: input should be less than or equal to 100"),
        ("loss=-1", "loss: input should be greater than or equal to 0"),
        ("loss=some", "loss: input should be a valid number"),
        ("gain=nan", "gain: input should be a finite number"),
        ("noise=cafe.wav", "noise and snr go together"),
        ("snr=10", "noise and snr go together"),
        ("reverb=2", "reverb: is not known here"),
        ("=", "write what is to be done"),
    ],
)
def test_what_is_no_condition(text: str, complaint: str) -> None:
    with pytest.raises(BadInput) as told:
        parse(text)
    assert str(told.value).startswith(f"--condition {text}: ")
    assert complaint in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("plain", [None, 3, [], {}, "dirty", True])
def test_what_a_scenario_cannot_say(plain: object) -> None:
    with pytest.raises(BadInput, match="write clean, or what is to be done"):
        read(plain, Path())


# What becomes of the sound


def test_nothing_is_done_where_nothing_is_named(speech: Samples) -> None:
    heard = through(Disturbance(Condition()).begin("a"), speech)
    assert np.array_equal(heard, speech[: len(heard)])


@pytest.mark.parametrize("snr", [-3.0, 10.0, 25.0])
def test_the_noise_is_as_far_below_the_speech_as_was_asked_for(snr: float) -> None:
    """Beside speech whose level is known, in speech and pauses alike, and loops without a click."""
    condition = Condition(noise=CAFE, snr_db=snr)
    ready = Disturbance(condition, hiss(5, -40), level_dbfs=-20, longest_s=3)
    silence = np.zeros(14 * RATE, np.int16)
    heard = through(ready.begin("a"), silence)
    assert dbfs(heard) == pytest.approx(-20 - snr, abs=0.3)
    seconds = [dbfs(one) for one in heard.reshape(-1, RATE)]
    assert max(seconds) - min(seconds) < 4
    steps = np.abs(np.diff(heard.astype(float)))
    assert steps.max() < 8 * steps.std()
    said = tone(1000, 14)
    over = through(ready.begin("a"), said) - said.astype(float)
    assert np.abs(over - heard).max() <= 1


@given(seed=st.integers(0, 50), loss=st.sampled_from([1.0, 3.0, 20.0]))
@settings(max_examples=20, deadline=None)
def test_so_many_packets_are_lost(seed: int, loss: float) -> None:
    said = np.full(5000 * FRAME, 1000, np.int16)
    heard = through(Disturbance(Condition(loss=loss)).begin(str(seed)), said).reshape(-1, FRAME)
    lost = np.mean(heard[:, -1] == 0) * 100
    # Four standard deviations of a binomial share.
    assert abs(lost - loss) < 4 * np.sqrt(loss * (100 - loss) / 5000)
    # The first of some lost ones fades; those after it are silent.
    for packet in heard[heard[:, -1] == 0]:
        assert packet[0] in (0, 1000)
        assert (np.diff(packet.astype(int)) <= 0).all()


@pytest.mark.parametrize(("loss", "left"), [(0.0, True), (100.0, False)])
def test_all_packets_and_none(loss: float, left: bool, speech: Samples) -> None:
    heard = through(Disturbance(Condition(loss=loss)).begin("a"), speech)
    assert heard.any() == left
    if left:
        assert np.array_equal(heard, speech[: len(heard)])


@pytest.mark.parametrize(
    ("hz", "least", "most"),
    [
        (100, -99, -30),
        (200, -99, -20),
        (330, -1, 1),
        (1000, -1, 1),
        (3300, -1, 1),
        (4100, -99, -45),
    ],
)
def test_a_narrow_band(hz: float, least: float, most: float) -> None:
    said = tone(hz)
    heard = through(Disturbance(Condition(band="narrow")).begin("a"), said)
    change = dbfs(heard[RATE // 2 :]) - dbfs(said[RATE // 2 :])
    assert least <= change <= most


def test_the_band_delays_nothing() -> None:
    taps = minimum_phase(*BAND_HZ)
    spectrum = np.fft.rfft(taps, 1 << 14)
    hz = np.fft.rfftfreq(1 << 14, 1 / RATE)
    delay_s = -np.diff(np.unwrap(np.angle(spectrum))) / np.diff(2 * np.pi * hz)
    assert delay_s[(hz[1:] > 500) & (hz[1:] < 3000)].max() < 0.001


@pytest.mark.parametrize("codec", ["g711u", "g711a"])
def test_a_telephones_codec(codec: str, speech: Samples) -> None:
    """Nothing above 4 kHz; noise as far below a tone as ITU-T G.712 asks for (33 dB), no less."""
    ready = Disturbance(Condition(codec=codec))  # type: ignore[arg-type]
    for size in (0.5, 0.05):
        said = tone(1020, size=size)
        heard = through(ready.begin("a"), said)[RATE // 2 :].astype(float)
        spectrum = np.abs(np.fft.rfft(heard)) ** 2
        own = slice(508, 513)
        signal, rest = spectrum[own].sum(), spectrum.sum() - spectrum[own].sum()
        assert 33 < 10 * np.log10(signal / rest) < 45
        assert dbfs(heard.astype(np.int16)) == pytest.approx(dbfs(said), abs=0.2)
    heard = through(ready.begin("a"), speech)
    spectrum = np.abs(np.fft.rfft(heard)) ** 2
    assert spectrum[len(spectrum) * 5 // 8 :].sum() < 1e-4 * spectrum.sum()
    assert abs(place(speech[: len(heard)], heard)) <= 0.001 * RATE


def test_a_gain_cuts_off_what_is_too_loud(speech: Samples) -> None:
    quiet = through(Disturbance(Condition(gain_db=-20)).begin("a"), speech)
    assert dbfs(quiet) == pytest.approx(dbfs(speech) - 20, abs=0.2)
    loud = through(Disturbance(Condition(gain_db=30)).begin("a"), speech)
    assert np.abs(loud.astype(int)).max() >= 32767
    assert np.mean(np.abs(loud.astype(int)) >= 32767) > 0.02


@given(length=st.integers(1, 3 * FRAME + 5), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_filter_is_a_convolution(length: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    response, sound = draw.standard_normal(length), draw.standard_normal(7 * FRAME)
    mine = Filter(response)
    found = np.concatenate([mine.push(one) for one in sound.reshape(-1, FRAME)])
    assert np.allclose(found, np.convolve(sound, response)[: len(sound)])


def test_a_room_keeps_the_level_and_the_place(speech: Samples) -> None:
    """The impulse response begins with 100 ms of quiet, as one that was measured does."""
    draw = np.random.default_rng(3)
    tail = draw.standard_normal(RATE // 2) * 10 ** (-3 * np.arange(RATE // 2) / (RATE // 2))
    room = np.concatenate([draw.standard_normal(1600) * 30, [20_000], tail * 3000])
    ready = Disturbance(Condition(room=Path("hall.wav")), room=np.rint(room).astype(np.int16))
    heard = through(ready.begin("a"), speech)
    assert dbfs(heard) == pytest.approx(dbfs(speech), abs=2)
    assert abs(place(speech[: len(heard)], heard)) <= 1


@needs_people
@pytest.mark.parametrize("name", ["rir1", "rir2", "rir3"])
def test_real_rooms_move_no_voice(name: str, speech: Samples) -> None:
    path = HUMAN / "rir" / f"{name}.wav"
    room = np.concatenate([*read_audio(path, RATE)])
    heard = through(Disturbance(Condition(room=path), room=room).begin("a"), speech)
    assert abs(place(speech[: len(heard)], heard)) <= 0.001 * RATE


# Chance


def test_the_same_key_gives_the_same(speech: Samples) -> None:
    condition = Condition(noise=CAFE, snr_db=10, loss=10)
    ready = Disturbance(condition, hiss(9, -40), level_dbfs=-20, longest_s=5)
    first, second, other = (through(ready.begin(key), speech) for key in ("a", "a", "b"))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_however_long_the_replies_are_an_utterance_is_disturbed_alike(speech: Samples) -> None:
    """From 20 ms after it begins: in these the noise fades over."""
    condition = Condition(noise=CAFE, snr_db=10, loss=10)
    ready = Disturbance(condition, hiss(9, -40), level_dbfs=-20, longest_s=5)
    frames = len(speech) // FRAME
    said = speech[: frames * FRAME]
    heard = []
    for pause in (7, 50):
        sound = np.concatenate([said, np.zeros(pause * FRAME, np.int16), said])
        whole = through(ready.begin("a"), sound, (0, frames + pause))
        heard.append((whole[: len(said)], whole[-len(said) :]))
    (one, two), (other_one, other_two) = heard
    assert np.array_equal(one, other_one)
    assert np.array_equal(two[FRAME:], other_two[FRAME:])
    assert not np.array_equal(one, two)


def test_many_scenarios_share_a_noise() -> None:
    noise = hiss(20, -40)
    tracemalloc.start()
    try:
        condition = Condition(noise=CAFE, snr_db=10)
        ready = [Disturbance(condition, noise, level_dbfs=-20 - n / 10) for n in range(10)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ready) == 10
    assert held < noise.nbytes


# What cannot be had


@pytest.mark.parametrize(
    ("noise", "snr", "level", "complaint"),
    [
        (np.zeros(9 * RATE, np.int16), 10, -20, "cafe.wav: is silent, so that no snr can be met"),
        (hiss(2, -40), 10, -20, "is shorter than the speech: 1.9 s of noise, a recording of 3.0 s"),
        (hiss(9, -40), -30, -20, "snr -30 cannot be met: beside speech of -20 dBFS"),
    ],
)
def test_a_noise_that_cannot_be_had(
    noise: Samples, snr: float, level: float, complaint: str
) -> None:
    with pytest.raises(BadInput) as told:
        Disturbance(Condition(noise=CAFE, snr_db=snr), noise, level_dbfs=level, longest_s=3)
    assert complaint in str(told.value)


def test_a_microphone_turned_down_takes_more_noise() -> None:
    condition = Condition(noise=CAFE, snr_db=-30, gain_db=-20)
    Disturbance(condition, hiss(9, -40), level_dbfs=-20, longest_s=3)
    condition = Condition(noise=CAFE, snr_db=-30, gain_db=-3)
    with pytest.raises(BadInput, match=r"snr -30 cannot be met.* or a lower gain"):
        Disturbance(condition, hiss(9, -40), level_dbfs=-20, longest_s=3)


@pytest.mark.parametrize(
    ("room", "complaint"),
    [
        (np.zeros(RATE, np.int16), "hall.wav: is silent"),
        (hiss(11, -40), "is no impulse response of a room, which lasts 10 s at most"),
    ],
)
def test_a_room_that_is_none(room: Samples, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        Disturbance(Condition(room=Path("hall.wav")), room=room)
