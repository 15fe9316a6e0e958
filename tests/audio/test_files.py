import errno
import io
import logging
import os
import struct
import subprocess
import sys
import textwrap
import tracemalloc
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from support.cli_child import recording
from support.sound import tone

from pipeline.audio.files import WavWriter, check_audio, read_audio
from pipeline.errors import BadInput, StageError
from pipeline.events import Samples


def wave_of(rate: int, seconds: float = 1.0) -> np.ndarray:
    """A sine of 440 Hz, half of full scale."""
    return tone(rate, seconds, level=16384) / 32768


def read(path: Path, rate: int) -> Samples:
    return np.concatenate([*read_audio(path, rate)])


def encode(path: Path, codec: str, sound: np.ndarray, rate: int) -> Path:
    """Write float sound, shape (channels, n), with any encoder of FFmpeg."""
    layout = "mono" if len(sound) == 1 else "stereo"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        converter = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound, dtype=np.float32), format="fltp", layout=layout
        )
        frame.sample_rate = rate
        fifo = av.AudioFifo()
        for piece in converter.resample(frame):
            fifo.write(piece)
        while fifo.samples:
            out.mux(stream.encode(fifo.read(960, partial=True)))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("8bit.wav", "pcm_u8"),
        ("24bit.wav", "pcm_s24le"),
        ("float.wav", "pcm_f32le"),
        ("double.wav", "pcm_f64le"),
        ("a.flac", "flac"),
        ("a.mp3", "libmp3lame"),
        ("a.ogg", "libopus"),
        ("a.m4a", "aac"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 22050])
def test_reads_any_format(tmp_path: Path, name: str, codec: str, channels: int, rate: int) -> None:
    sound = np.tile(wave_of(48000), (channels, 1))
    path = encode(tmp_path / name, codec, sound, 48000)
    heard = read(path, rate).astype(float) / 32768
    assert abs(len(heard) / rate - 1) < 0.05  # lossy formats pad their ends
    middle = heard[rate // 4 : -rate // 4]
    assert 0.32 < np.sqrt(np.mean(middle**2)) < 0.38  # 0.5 / sqrt(2)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(np.argmax(spectrum) * rate / len(middle) - 440) < 5


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "a.wav", "pcm_s16le", np.stack([wave_of(48000), np.zeros(48000)]), 48000
    )
    assert abs(np.abs(read(path, 48000).astype(int)).max() - 0.25 * 32768) < 100


def test_length_is_exact_after_resampling(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", "pcm_s16le", wave_of(44100, 1.2345)[np.newaxis], 44100)
    assert len(read(path, 16000)) == round(int(44100 * 1.2345) * 16000 / 44100)


def test_reads_a_recording() -> None:
    with wave.open(str(recording(1))) as file:
        rate, frames = file.getframerate(), file.getnframes()
        expected = np.frombuffer(file.readframes(frames), np.int16)
    np.testing.assert_array_equal(read(recording(1), rate), expected)


def test_does_not_load_a_long_file_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    minute = np.zeros(8000 * 60, np.int16)
    with WavWriter(path, 8000) as writer:
        for _ in range(5):
            writer.write(minute)
    tracemalloc.start()
    total = sum(len(block) for block in read_audio(path, 8000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 5 * len(minute)
    assert peak < 500_000  # the file has 4.8 MB


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path) -> None:
    path = tmp_path / "take1:2.wav"
    path.write_bytes(recording(1).read_bytes())
    assert len(read(path, 16000)) > 0


def bad_files(folder: Path) -> Iterator[tuple[Path, str]]:
    yield folder / "missing.wav", "no such file"
    yield folder, "is a folder"
    (folder / "empty.wav").touch()
    yield folder / "empty.wav", "empty"
    (folder / "text.wav").write_text("Turn on the television.\n" * 100)
    yield folder / "text.wav", "no sound file"
    (folder / "noise.mp3").write_bytes(np.random.default_rng(1).bytes(64))
    yield folder / "noise.mp3", "no sound file"
    with av.open(str(folder / "picture.png"), "w") as out:
        stream = out.add_stream("png", rate=1)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        out.mux(stream.encode(None))
    yield folder / "picture.png", "no sound in it"
    with WavWriter(folder / "nothing.wav", 16000):
        pass
    yield folder / "nothing.wav", "no sound in it"
    (folder / "bare.pcm").write_bytes(wave_of(16000).tobytes())
    yield folder / "bare.pcm", "bare samples"
    whole = encode(folder / "a.flac", "flac", wave_of(16000)[np.newaxis], 16000).read_bytes()
    first_frame = whole.index(b"\xff\xf8")
    (folder / "damaged.flac").write_bytes(whole[:first_frame] + bytes(5000))
    yield folder / "damaged.flac", "damaged|no sound"
    with WavWriter(folder / "rate.wav", 16000) as wav:
        wav.write(wave_of(16000))
    with (folder / "rate.wav").open("r+b") as torn:
        torn.seek(24)
        torn.write(b"\xff\xff\xff\x7f")
    yield folder / "rate.wav", "2147483647 samples a second"


@pytest.mark.parametrize("index", range(10))
def test_says_what_is_wrong_with_a_file(tmp_path: Path, index: int) -> None:
    """At once, where nothing has to be decoded to see it."""
    path, words = list(bad_files(tmp_path))[index]
    with pytest.raises(BadInput, match=words) as caught:
        if path.name in ("nothing.wav", "damaged.flac"):
            read(path, 16000)
        else:
            check_audio(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(recording(1).read_bytes())
    path.chmod(0)
    with pytest.raises(BadInput, match="cannot be read"):
        read_audio(path, 16000)


def test_gives_what_decodes_of_a_damaged_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = encode(tmp_path / "a.flac", "flac", wave_of(16000, 4)[np.newaxis], 16000)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    damaged = tmp_path / "damaged.flac"
    damaged.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        heard = read(damaged, 16000)
    assert 16000 < len(heard) < 4 * 16000
    assert "damaged" in caplog.text
    assert str(damaged) in caplog.text


@pytest.mark.parametrize("codec", ["flac", "pcm_s16le"])
def test_gives_what_there_is_of_a_file_that_is_cut_short(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, codec: str
) -> None:
    """As a recording is whose program crashed."""
    name = "a.flac" if codec == "flac" else "a.wav"
    path = encode(tmp_path / name, codec, wave_of(16000, 4)[np.newaxis], 16000)
    os.truncate(path, path.stat().st_size // 2)
    with caplog.at_level(logging.WARNING):
        assert 16000 < len(read(path, 16000)) < 3 * 16000
    # Of a WAV FFmpeg takes what is there for its length.
    assert ("cut short" in caplog.text) == (codec == "flac")


def test_writes_what_it_is_given(tmp_path: Path) -> None:
    stereo = np.random.default_rng(1).integers(-32768, 32768, (5000, 2)).astype(np.int16)
    with WavWriter(tmp_path / "a.wav", 24000, 2) as writer:
        for i in range(0, 5000, 700):
            writer.write(stereo[i : i + 700])
        assert writer.frames == 5000
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24000, 2, 2)
        assert file.readframes(9999) == stereo.tobytes()


def test_refuses_the_wrong_shape(tmp_path: Path) -> None:
    with WavWriter(tmp_path / "a.wav", 16000, 2) as writer:
        with pytest.raises(ValueError, match="2 channels"):
            writer.write(np.zeros(10, np.int16))
        with pytest.raises(ValueError, match="2 channels"):
            writer.write(np.zeros((10, 3), np.int16))


def test_is_valid_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    script = """
        import os, sys
        import numpy as np
        from pathlib import Path
        from pipeline.audio.files import WavWriter
        writer = WavWriter(Path(sys.argv[1]), 16000)
        for _ in range(175):
            writer.write(np.full(320, 7, np.int16))
        os.kill(os.getpid(), 9)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    assert subprocess.run(command, check=False).returncode != 0
    with wave.open(str(path)) as file:
        assert file.getnframes() == 175 * 320  # nothing that was accepted is lost
        assert set(file.readframes(99999)[::2]) == {7}
    assert path.stat().st_size == 44 + 175 * 640


def test_keeps_what_fits_on_a_disk(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="no limit on file size on this system")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "a.wav"
    writer = WavWriter(path, 16000, 2)
    block = np.full((1601, 2), 0x0707, np.int16)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_001, limits[1]))
    try:
        with pytest.raises(StageError) as caught:
            for _ in range(1000):
                writer.write(block)
        writer.write(block)  # ignored
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (caught.value.stage, caught.value.fatal) == ("audio", False)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert str(path) in str(caught.value)
    with wave.open(str(path)) as file:
        assert file.getnframes() == writer.frames > 16000
        assert set(file.readframes(10**9)) == {7}
    assert path.stat().st_size == 44 + 4 * writer.frames


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_from_the_start() -> None:
    with pytest.raises(StageError, match=os.strerror(errno.ENOSPC)):
        WavWriter(Path("/dev/full"), 16000)


def test_ends_where_the_format_ends(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 16000, most_bytes=44 + 1001)
    writer.write(np.zeros(400, np.int16))
    with pytest.raises(StageError, match="4 GiB"):
        writer.write(np.zeros(400, np.int16))
    assert (tmp_path / "a.wav").stat().st_size == 44 + 1000
    riff, data = struct.unpack("<4xI32xI", (tmp_path / "a.wav").read_bytes()[:44])
    assert (riff, data) == (36 + 1000, 1000)


def test_says_why_a_file_cannot_be_created(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no folder"):
        WavWriter(tmp_path / "none" / "a.wav", 16000)
    with pytest.raises(BadInput, match="is a folder"):
        WavWriter(tmp_path, 16000)


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile other.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nother.wav\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    ],
)
def test_a_playlist_opens_nothing(
    playlist: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with WavWriter(tmp_path / "other.wav", 16_000) as other:
        other.write(np.arange(16_000, dtype=np.int16))
    for file in (None, io.BytesIO(playlist.encode())):
        Path("list.wav").write_text(playlist)
        with pytest.raises(BadInput, match="is no sound file"):
            list(read_audio(Path("list.wav"), 16_000, file))


def test_what_is_open_already_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with WavWriter(path, 16_000) as writer:
        writer.write(np.arange(1000, dtype=np.int16))
    with path.open("rb") as file:
        file.seek(100)
        found = np.concatenate([*read_audio(Path("called/otherwise"), 16_000, file)])
    assert (found == np.arange(1000)).all()
    with pytest.raises(BadInput, match=r"^called/otherwise: is empty"):
        read_audio(Path("called/otherwise"), 16_000, io.BytesIO())


def extensible(samples: Samples, bits: int, valid: int) -> bytes:
    """A WAV of samples of so many bits, of which so many count: the uppermost."""
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16_000, 2000 * bits, bits // 8, bits, 22, valid, 4)
    form += bytes.fromhex("0100000000001000800000aa00389b71")
    data = (samples.astype(np.int32) << 16).astype("<i4").view(np.uint8).reshape(-1, 4)
    data = data[:, 4 - bits // 8 :].tobytes()
    chunks = b"JUNK" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("bits", "valid"), [(32, 32), (32, 24), (32, 20), (24, 20), (24, 16), (16, 12), (16, 8)]
)
def test_bits_that_do_not_count_change_no_sample(tmp_path: Path, bits: int, valid: int) -> None:
    # Windows has 24 bits in four bytes of 24-bit sound cards. FFmpeg 8.1 reads them as floats.
    sound = np.tile(np.arange(-32_768, 32_768, 256, dtype=np.int16), 50)
    path = tmp_path / "a.wav"
    path.write_bytes(extensible(sound, bits, valid))
    for file in (None, io.BytesIO(path.read_bytes())):
        found = np.concatenate([*read_audio(path, 16_000, file)])
        np.testing.assert_array_equal(found, sound)
