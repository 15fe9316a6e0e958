"""Sound of several channels: their average, or where that loses the voice, the one that has it."""

from __future__ import annotations

import logging
import tracemalloc
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from support.cli_child import recording

from pipeline.audio.channels import Mix
from pipeline.audio.files import WavWriter, read_audio
from pipeline.events import Samples

RATE = 16_000
Sound = npt.NDArray[np.float64]


def spoken(number: int) -> Sound:
    """A question, and a second of silence."""
    voice = np.concatenate([*read_audio(recording(number), RATE)]).astype(float)
    return np.concatenate([np.zeros(RATE // 4), voice, np.zeros(RATE)])


VOICE, OTHER = spoken(5), spoken(10)
QUIET, OTHER_QUIET = np.zeros(len(VOICE)), np.zeros(len(OTHER))
TIME = np.arange(len(VOICE)) / RATE


def noise(dbfs: float, n: int = len(VOICE), seed: int = 1) -> Sound:
    return np.random.default_rng(seed).normal(0, 32768 * 10 ** (dbfs / 20), n)


def hum(hz: float, dbfs: float) -> Sound:
    """A mains hum with some of its harmonics."""
    waves = sum(np.sin(2 * np.pi * hz * k * TIME + k) / k for k in (1, 2, 3, 5))
    return np.asarray(32768 * 10 ** (dbfs / 20) * waves)


def one_of(channels: int, at: int, voice: Sound = VOICE, others: float | None = None) -> Sound:
    """A voice on one of many channels; noise (dBFS) on all, or silence."""
    sound = np.zeros((len(voice), channels))
    if others is not None:
        sound += np.stack([noise(others, len(voice), seed) for seed in range(channels)], axis=1)
    sound[:, at] += voice
    return sound


def side_by_side(*channels: Sound) -> Sound:
    return np.stack(channels, axis=1)


def write(path: Path, sound: Sound, rate: int = RATE) -> npt.NDArray[np.int16]:
    """Write a WAV; gives its samples, shape (n, channels)."""
    samples = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
    with WavWriter(path, rate, samples.shape[1]) as wav:
        wav.write(samples)
    return samples


def read(path: Path, rate: int = RATE) -> Samples:
    return np.concatenate([*read_audio(path, rate)])


@dataclass
class Told:
    """What was warned of."""

    caplog: pytest.LogCaptureFixture

    @property
    def lines(self) -> list[str]:
        return [r.getMessage() for r in self.caplog.records if r.levelno >= logging.WARNING]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


# ---- where the average loses the voice -------------------------------------------------------


@pytest.mark.parametrize("channels", [*range(3, 11), 16, 17, 24, 33, 64])
@pytest.mark.parametrize("others", [None, -60.0])
def test_a_voice_on_one_of_many_is_heard_as_it_is(
    tmp_path: Path, told: Told, channels: int, others: float | None
) -> None:
    at = channels * 5 // 7
    samples = write(tmp_path / "a.wav", one_of(channels, at, others=others))
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), samples[:, at])
    assert told.lines == [
        f"{tmp_path / 'a.wav'}: the average of its {channels} channels loses the voice: "
        f"the one that has it is heard, first channel {at + 1}"
    ]


LOST: dict[str, tuple[Sound, int]] = {
    "opposite signs": (side_by_side(VOICE, -VOICE), 0),
    "opposite signs, one quieter": (side_by_side(0.8 * VOICE, -VOICE) + noise(-70)[:, None], 1),
    "two and two of opposite signs": (side_by_side(VOICE, -VOICE, VOICE, -VOICE), 0),
    "quiet, one of nine": (one_of(9, 4, 0.03 * VOICE), 4),
    "trimmed, the fourth of six": (one_of(6, 3, VOICE[RATE // 4 : -RATE]), 3),
    **{
        f"{name} on the other, {dbfs} dBFS": (side_by_side(other, VOICE + noise(-65)), 1)
        for dbfs in (-12, -20, -30)
        for name, other in (
            ("noise", noise(dbfs)),
            ("hum of 50 Hz", hum(50, dbfs)),
            ("hum of 60 Hz", hum(60, dbfs)),
        )
    },
    "clicks on all others": (
        side_by_side(VOICE, *[20_000.0 * (np.arange(len(VOICE)) % 8000 == 0)] * 5),
        0,
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_the_channel_that_has_the_voice_is_heard(tmp_path: Path, told: Told, name: str) -> None:
    sound, at = LOST[name]
    samples = write(tmp_path / "a.wav", sound)
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), samples[:, at])
    assert len(told.lines) == 1


@pytest.mark.parametrize("others", [None, -60.0])
def test_a_voice_that_comes_late_is_heard_from_its_beginning(
    tmp_path: Path, told: Told, others: float | None
) -> None:
    late = np.concatenate([np.zeros(10 * RATE), VOICE])
    samples = write(tmp_path / "a.wav", one_of(6, 3, late, others))
    begin = 10 * RATE
    np.testing.assert_array_equal(read(tmp_path / "a.wav")[begin:], samples[begin:, 3])
    assert len(told.lines) == 1


def test_a_rumble_that_comes_and_goes_covers_no_voice(tmp_path: Path) -> None:
    """Though it is the loudest of all, as a film's is."""
    rumble = hum(40, -10) * (TIME % 1 < 0.5)
    samples = write(tmp_path / "a.wav", side_by_side(QUIET, QUIET, VOICE, rumble, QUIET, QUIET))
    loud = np.abs(VOICE) > 1000
    np.testing.assert_array_equal(read(tmp_path / "a.wav")[loud], samples[loud, 2])


def test_two_voices_on_channels_of_their_own_are_both_heard(tmp_path: Path, told: Told) -> None:
    """Whoever speaks; also where one of them sits in noise."""
    one = np.concatenate([VOICE, OTHER_QUIET, VOICE])
    two = np.concatenate([QUIET, OTHER, QUIET])
    bed = noise(-40, len(one))
    for path, sound, own in (
        (tmp_path / "a.wav", one_of(6, 1, one) + one_of(6, 4, two), 4),
        (tmp_path / "b.wav", side_by_side(one, two + bed), 1),
    ):
        samples = write(path, sound).astype(float)
        heard = read(path).astype(float)
        for voice, at in ((one, 0 if own == 1 else 1), (two, own)):
            loud = np.abs(voice) > 1000
            assert np.mean(heard[loud] == samples[loud, at]) > 0.97
    assert len(told.lines) == 2


# ---- where it does not -----------------------------------------------------------------------

CALL = [np.concatenate([VOICE, OTHER_QUIET]), np.concatenate([QUIET, OTHER])]
MUSIC = (
    sum(np.sin(2 * np.pi * f * TIME) for f in (220, 277, 330)) * 3000 * np.exp(-3 * (TIME % 0.4))
)

ORDINARY: dict[str, Sound] = {
    "the same on both": side_by_side(VOICE, VOICE),
    "to one side": side_by_side(0.9 * VOICE, 0.3 * VOICE) + noise(-60)[:, None],
    "one side only": side_by_side(VOICE, QUIET),
    "one side only, as rooms are": one_of(2, 0, others=-60),
    "a call": side_by_side(*CALL),
    "a call, as lines are": side_by_side(*CALL)
    + side_by_side(noise(-55, len(CALL[0]), 1), noise(-60, len(CALL[0]), 2)),
    "both at once": side_by_side(VOICE, np.resize(OTHER, len(VOICE))),
    "music around it": side_by_side(VOICE + MUSIC, VOICE + 0.6 * MUSIC),
    "nobody": side_by_side(noise(-40, seed=1), noise(-60, seed=2)),
    "nothing": side_by_side(QUIET, QUIET),
    "loud": side_by_side(4 * VOICE, 4 * VOICE),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_stereo_is_averaged_as_ffmpeg_does_it(
    tmp_path: Path, told: Told, name: str
) -> None:
    samples = write(tmp_path / "a.wav", ORDINARY[name])
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate = RATE
    mixer = av.AudioResampler(format="s16", layout="mono")
    expected = [piece.to_ndarray()[0] for piece in mixer.resample(frame)]
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), np.concatenate(expected))
    assert told.lines == []


def test_the_same_on_many_channels_is_no_louder_and_no_quieter(tmp_path: Path, told: Told) -> None:
    samples = write(tmp_path / "a.wav", side_by_side(*[VOICE] * 8))
    np.testing.assert_allclose(read(tmp_path / "a.wav"), samples[:, 0], atol=1)
    assert told.lines == []


# ---- any file --------------------------------------------------------------------------------

CONTAINERS = {
    # Without the places of its channels in the header, and with them.
    "places.wav": ("pcm_s16le", "7.1"),
    "many.wav": ("pcm_s24le", "24 channels"),
    "float.wav": ("pcm_f32le", "5.1"),
    "nine.aiff": ("pcm_s16be", "9 channels"),
    "a.w64": ("pcm_s16le", "33 channels"),
    "a.au": ("pcm_s16be", "10 channels"),
    "a.mka": ("pcm_s16le", "17 channels"),
    "a.caf": ("pcm_s16le", "12 channels"),
    "six.flac": ("flac", "5.1"),
    "eight.flac": ("flac", "7.1"),
    "wide.caf": ("alac", "7.1(wide)"),
    "sixteen.wv": ("wavpack", "hexadecagonal"),
    "six.ogg": ("libopus", "5.1"),
    "eight.opus": ("libopus", "7.1"),
    "discrete.opus": ("libopus", "octagonal"),
    "six.m4a": ("aac", "5.1"),
    "eight.m4a": ("aac", "7.1"),
    "odd.mka": ("pcm_s16le", "3.0(back)"),
    "bass.mka": ("pcm_s16le", "2.1"),
    "height.mka": ("pcm_s16le", "ambisonic 1"),
}


def encode(path: Path, codec: str, layout: str, sound: Sound) -> None:
    """Write sound, shape (n, channels), at 48 kHz with any encoder of FFmpeg."""
    options = {"mapping_family": "255"} if path.name == "discrete.opus" else {}
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=48_000, layout=layout, options=options)
        size = 0 if codec.startswith("pcm") else 960
        converter = av.AudioResampler(format=stream.format.name, layout=layout, frame_size=size)
        packed = (sound / 32768).astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = 48_000
        for piece in [*converter.resample(frame), *converter.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))


@pytest.mark.parametrize("name", CONTAINERS)
def test_any_container_and_any_layout(tmp_path: Path, told: Told, name: str) -> None:
    codec, layout = CONTAINERS[name]
    channels = av.AudioLayout(layout).nb_channels
    voice = np.repeat(VOICE, 3)
    path = tmp_path / name
    encode(path, codec, layout, one_of(channels, channels - 1, voice))
    heard = read(path, 48_000).astype(float)
    assert abs(len(heard) - len(voice)) < 4800  # lossy formats pad their ends
    level = np.sqrt(np.mean(heard**2) / np.mean(voice**2))
    assert 0.85 < level < 1.1
    assert [f"of its {channels} channels loses" in line for line in told.lines] == [True]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_more_channels_than_ffmpeg_converts(tmp_path: Path, told: Told, width: int) -> None:
    values = one_of(200, 199).T.reshape(-1, order="F") * 2.0 ** (8 * width - 16)
    values = values + 128 if width == 1 else values
    lowest_bytes = np.rint(values).astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    with wave.open(str(tmp_path / "a.wav"), "wb") as wav:
        wav.setparams((200, width, RATE, 0, "NONE", ""))
        wav.writeframes(lowest_bytes.tobytes())
    np.testing.assert_allclose(read(tmp_path / "a.wav"), VOICE, atol=129 if width == 1 else 1)
    assert ["of its 200 channels loses" in line for line in told.lines] == [True]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_a_sample_that_is_no_sound_is_one_click(tmp_path: Path, told: Told, value: float) -> None:
    sound = side_by_side(VOICE, QUIET)
    sound[RATE // 8, 1] = value
    encode(tmp_path / "a.wav", "pcm_f32le", "stereo", sound)
    heard = read(tmp_path / "a.wav", 48_000).astype(float)
    assert np.count_nonzero(np.abs(heard - VOICE / 2) > 1) <= 1
    assert told.lines == []


def test_of_several_tracks_the_first_is_heard(tmp_path: Path, told: Told) -> None:
    with av.open(str(tmp_path / "a.mka"), "w") as out:
        streams = [out.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2)]
        for stream, level in zip(streams, (900, 300), strict=True):
            block = np.full((1, RATE), level, np.int16)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate = RATE
            out.mux([*stream.encode(frame), *stream.encode(None)])
    assert set(read(tmp_path / "a.mka")) == {900}
    assert told.lines == [f"{tmp_path / 'a.mka'}: the first of its 2 audio tracks is heard"]


@pytest.mark.parametrize("layout", ["mono", "FL+LFE", "LFE", "downmix", "stereo", "FC+LFE"])
def test_one_or_two_channels_of_any_place(tmp_path: Path, told: Told, layout: str) -> None:
    channels = av.AudioLayout(layout).nb_channels
    encode(tmp_path / "a.mka", "pcm_s16le", layout, one_of(channels, channels - 1, VOICE))
    heard = read(tmp_path / "a.mka", 48_000).astype(float)
    np.testing.assert_allclose(heard, VOICE / channels, atol=1)
    assert told.lines == []


@pytest.mark.parametrize("rate", [20, 100, 7_999, 22_050, 44_100, 192_000])
def test_any_rate(tmp_path: Path, rate: int) -> None:
    sound = np.tile(VOICE[: rate * 2], (9, 1)).T
    write(tmp_path / "a.wav", sound, rate)
    assert len(read(tmp_path / "a.wav", rate)) == len(sound)


@pytest.mark.parametrize("n", [1, 2, 100, 319, 320, 1601])
def test_files_that_are_shorter_than_a_window(tmp_path: Path, n: int) -> None:
    write(tmp_path / "a.wav", np.full((n, 9), 900.0))
    np.testing.assert_allclose(read(tmp_path / "a.wav"), 900, atol=1)


def test_a_long_file_takes_little_memory(tmp_path: Path) -> None:
    second = one_of(9, 4, VOICE[:RATE]).astype(np.int16)
    with WavWriter(tmp_path / "a.wav", RATE, 9) as wav:
        for _ in range(120):
            wav.write(second)
    tracemalloc.start()
    total = sum(len(block) for block in read_audio(tmp_path / "a.wav", RATE))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 120 * RATE
    assert peak < 5e6  # the file has 35 MB


@pytest.mark.parametrize("cut", [lambda n: 320, lambda n: 4096, lambda n: n])
def test_no_sample_is_lost_however_the_sound_comes(cut: Callable[[int], int]) -> None:
    sound = one_of(4, 2).astype(np.float32)
    for ahead in (0, 100):
        mix, step = Mix("here", RATE, 4, ahead=ahead), cut(len(sound))
        pieces = [mix.push(sound[i : i + step]) for i in range(0, len(sound), step)]
        assert len(np.concatenate([*pieces, mix.flush()])) == len(sound)
        assert mix.chosen == 2
