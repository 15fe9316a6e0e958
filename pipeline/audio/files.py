"""Sound files: any format in, one block at a time; 16-bit WAV out, valid whatever happens."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import shlex
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.audio.channels import AHEAD, Mix, Sound
from pipeline.audio.resample import FINE_TAPS, Resampler
from pipeline.errors import BadInput, StageError
from pipeline.events import Samples

log = logging.getLogger(__name__)

BYTES_PER_SAMPLE = 2
HEADER_BYTES = 44
MOST_BYTES = 0xFFFF_FFFF
"""Largest size that a RIFF header can state: 6 hours of stereo at 48 kHz."""

GUESSED = {"mp3", "aac", "ac3", "eac3"}
"""Formats whose length FFmpeg guesses from the first bit rate that it sees."""

BARE = {".pcm", ".raw", ".s16", ".s16le", ".sw"}
"""Names of files that hold samples and nothing that says how many a second or of which kind."""

BLOCKS_PER_S = 10
"""Of a file with several channels: how often it is asked which one has the voice."""

MOST_MIXED = 64
"""Channels that FFmpeg's converter takes at most."""

FULL_SCALE = {"u8": 2**7, "s16": 2**15, "s32": 2**31, "flt": 1, "dbl": 1}
"""What counts as 1 in FFmpeg's packed formats."""

MOST_RATE = 10_000_000
"""Samples a second that no recording has: a header that says more is damaged."""

MOST_CHUNKS = 100
"""Chunks of a WAV among which its format is looked for; it is the first, or behind two or three."""

PCM_SUBFORMAT = bytes.fromhex("0100000000001000800000aa00389b71")
"""What marks integer samples in a `WAVEFORMATEXTENSIBLE` (Microsoft's `ksmedia.h`)."""

NOTICED_S = 0.1
"""Sound missing from a file that is worth a warning (seconds); encoders round less than this."""


def read_audio(path: Path, rate: int, file: BinaryIO | None = None) -> Iterator[Samples]:
    """Read the sound of any file that FFmpeg knows, as it is consumed: mono int16 at `rate`.

    Channels are averaged, unless that loses a voice (see `channels.Mix`): then a warning says so.
    Blocks are as long as the file's own packets, tens of milliseconds, or a tenth of a second where
    there are several channels. Of a damaged file everything that decodes is given, and a warning is
    logged at the end that says how much did not.

    Args:
        path: WAV of any kind, MP3, Ogg, Opus, FLAC, M4A, the sound of a video, …
        rate: Sample rate of the result (Hz).
        file: What is in it, where it is open already: then `path` is only what it is called.

    Raises:
        BadInput: At once where the file is missing, a folder, unreadable, empty, not audio or
            without sound; while iterating where nothing of it can be decoded.
    """
    container, stream = _open(path, file)
    return _decode(path, container, stream, rate)


def check_audio(path: Path) -> None:
    """Raise what `read_audio` would raise at once, if it would; decodes nothing."""
    container, _ = _open(path)
    container.close()


def _stated_s(container: InputContainer, stream: AudioStream) -> float:
    """The length that a file's header states (seconds); 0 where it states none."""
    if container.format.name in GUESSED:
        return 0.0
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _open(path: Path, file: BinaryIO | None = None) -> tuple[InputContainer, AudioStream]:
    if file is None and path.is_dir():
        raise BadInput(f"{path}: is a folder; name a sound file in it")
    try:
        # Opened here and not by FFmpeg, which takes a colon in a name for a protocol.
        file = file or path.open("rb")
        # A pipe tells no length.
        if file.seekable() and file.seek(0, os.SEEK_END) == 0:
            file.close()
            raise BadInput(f"{path}: is empty (0 bytes); record or copy it again")
        if file.seekable():
            file.seek(0)
            file = _in_whole_bytes(file)
        # A playlist would have FFmpeg open others, of this disk or the network.
        container = av.open(file, "r", options={"protocol_whitelist": "none"})
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file; check the name and the folder") from None
    except av.error.FFmpegError:
        raise _unknown(
            path, "is no sound file that can be read; use WAV, FLAC, Ogg, MP3 or M4A"
        ) from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if not container.streams.audio:
        container.close()
        raise _unknown(path, "has no sound in it; use a file with an audio track")
    stream = container.streams.audio[0]
    if stream.rate > MOST_RATE:
        container.close()
        raise BadInput(
            f"{path}: is damaged: it states {stream.rate} samples a second; record or copy it again"
        )
    return container, stream


class _Amended:
    """A file in which a few bytes read as others do. For `av.open`."""

    def __init__(self, file: BinaryIO, at: int, data: bytes) -> None:
        self._file = file
        self._at = at
        self._data = data
        self.seek = file.seek
        self.tell = file.tell

    def read(self, n: int = -1) -> bytes:
        start = self._file.tell()
        data = bytearray(self._file.read(n))
        for place, byte in enumerate(self._data, self._at - start):
            if 0 <= place < len(data):
                data[place] = byte
        return bytes(data)


def _in_whole_bytes(file: BinaryIO) -> BinaryIO:
    """The same file; if it is a WAV, as many bits of its samples count as they have.

    24 bits in four bytes, as Windows has them of 24-bit sound cards, FFmpeg takes for floats, and
    20 bits for samples of three bytes, which makes noise of both. What does not count is 0 or noise
    below all that does, so that a sample is right as a whole.
    """
    amended = _amendment(file)
    file.seek(0)
    return cast(BinaryIO, _Amended(file, *amended)) if amended else file


def _amendment(file: BinaryIO) -> tuple[int, bytes] | None:
    """Where a WAV says that only some bits of its samples count, and what it is to say there."""
    kind, _, form = struct.unpack("<4sI4s", file.read(12).ljust(12))
    if kind not in (b"RIFF", b"RF64") or form != b"WAVE":
        return None
    for _ in range(MOST_CHUNKS):
        name, size = struct.unpack("<4sI", file.read(8).ljust(8))
        if name != b"fmt ":
            file.seek(size + size % 2, os.SEEK_CUR)
            continue
        start = file.tell()
        stated = file.read(40)
        if size < 40 or len(stated) < 40 or stated[24:] != PCM_SUBFORMAT:
            return None
        bits, _, valid = struct.unpack("<HHH", stated[14:20])
        return None if valid == bits else (start + 18, struct.pack("<H", bits))
    return None


def _unknown(path: Path, what: str) -> BadInput:
    """What to say of a file that FFmpeg makes no sound of; bare samples it takes for anything."""
    if path.suffix.lower() in BARE:
        what = (
            "holds bare samples, without their rate; make a WAV of it, if they are 16-bit mono at "
            f"16 kHz with: ffmpeg -f s16le -ar 16000 -ac 1 -i {shlex.quote(str(path))} "
            f"{shlex.quote(str(path.with_suffix('.wav')))}"
        )
    return BadInput(f"{path}: {what}")


def _decode(
    path: Path, container: InputContainer, stream: AudioStream, rate: int
) -> Iterator[Samples]:
    stated_s = _stated_s(container, stream)
    given_s = 0.0
    damage: list[Exception] = []
    if (tracks := len(container.streams.audio)) > 1:
        log.warning("%s: the first of its %d audio tracks is heard", path, tracks)
    with container:
        # The format may change in the middle of a file.
        for (_, _, own_rate), frames in itertools.groupby(
            _frames(container, stream, damage),
            lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate),
        ):
            resampler = Resampler(own_rate, rate, taps=FINE_TAPS)
            for mono in _mono(path, frames, own_rate):
                given_s += len(mono) / own_rate
                yield resampler.push(mono)
            yield resampler.flush()
    if given_s == 0:
        why = "is damaged: nothing in it can be decoded" if damage else "has no sound in it"
        raise BadInput(f"{path}: {why}; record or copy it again")
    missing_s = stated_s - given_s
    if damage or missing_s > NOTICED_S:
        missing = f", {missing_s:.1f} s are missing" if missing_s > NOTICED_S else ""
        log.warning("%s: is damaged or cut short: %.1f s could be read%s", path, given_s, missing)


def _mono(path: Path, frames: Iterator[av.AudioFrame], rate: int) -> Iterator[Samples]:
    """One channel of frames that are all alike, of one channel or several."""
    first = next(frames)
    channels = first.layout.nb_channels
    sounds = _sounds(path, itertools.chain([first], frames), channels)
    if channels == 1:
        for sound in sounds:
            yield sound[:, 0]
        return
    mix = Mix(str(path), rate, channels, ahead=AHEAD)
    for block in _blocks(sounds, max(1, rate // BLOCKS_PER_S)):
        # Of what is no number, or beyond full scale, FFmpeg makes full scale too.
        yield mix.push(np.nan_to_num(block).clip(-1, 1) * np.float32(32768))
    yield mix.flush()


def _sounds(
    path: Path, frames: Iterator[av.AudioFrame], channels: int
) -> Iterator[npt.NDArray[Any]]:
    """The samples of frames, shape (n, channels): of one channel int16, else float, 1 full scale.

    Raises:
        BadInput: So many channels cannot be read of this format.
    """
    if channels > MOST_MIXED:
        for frame in frames:
            # PyAV does not find the planes of so many channels.
            if (full := FULL_SCALE.get(frame.format.name)) is None:
                raise BadInput(
                    f"{path}: has {channels} channels; of this format {MOST_MIXED} can be read at "
                    "most, of WAV any number"
                )
            samples = frame.to_ndarray().reshape(-1, channels).astype(np.float32) / full
            yield samples - 1 if frame.format.name == "u8" else samples
        return
    # To a packed format, and no more: FFmpeg does not mix channels whose places it does not know,
    # and PyAV reads beyond the planes of a frame that has eight or more.
    converter = av.AudioResampler(format="s16" if channels == 1 else "flt")
    for frame in frames:
        for piece in converter.resample(frame):
            yield piece.to_ndarray().reshape(-1, channels)


def _blocks(sounds: Iterator[Sound], n: int) -> Iterator[Sound]:
    """The same sound in blocks of `n` samples; the last may be shorter."""
    rest: list[Sound] = []
    for sound in sounds:
        rest.append(sound)
        if sum(map(len, rest)) >= n:
            joined = np.concatenate(rest)
            whole = len(joined) - len(joined) % n
            yield from np.split(joined[:whole], whole // n)
            rest = [joined[whole:]]
    if rest:
        yield np.concatenate(rest)


def _frames(
    container: InputContainer, stream: AudioStream, damage: list[Exception]
) -> Iterator[av.AudioFrame]:
    """All frames that decode, without their times; what does not is noted in `damage`."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError) as error:
            damage.append(error)
            return
        if packet is None:
            return
        try:
            for frame in packet.decode():
                frame.pts = None  # by which gaps would be filled, and overlaps cut
                yield frame
        except av.error.FFmpegError as error:
            damage.append(error)


class WavWriter:
    """Writes a 16-bit WAV file bit by bit; what is on disk is always a valid file.

    The header is brought up to date with every piece of sound, which takes 2 µs: a crash costs
    nothing that was written. When the disk is full, or fails otherwise, what was written is kept
    and closed properly, `write` raises once, and whatever is written later is ignored: a recording
    that cannot go on must not end the conversation. Sound beyond the 4 GiB that WAV can hold counts
    as a full disk.

    Args:
        path: The file; replaced if it exists.
        rate: Hz.
        channels: 1 or more, interleaved.
        most_bytes: Of the file, at most what its header can state.

    Raises:
        BadInput: The file cannot be created there.
        StageError: Of stage `audio`: the disk is full already.
    """

    def __init__(
        self, path: Path, rate: int, channels: int = 1, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self.path = path
        self.rate = rate
        self.channels = channels
        self._frame_bytes = channels * BYTES_PER_SAMPLE
        self._most_bytes = most_bytes
        self._data_bytes = 0
        self._file: BinaryIO | None = None
        try:
            # Unbuffered, so that every byte that was accepted outlives this process.
            self._file = path.open("wb", buffering=0)
        except FileNotFoundError:
            raise BadInput(f"{path}: there is no folder {path.parent}; create it first") from None
        except IsADirectoryError:
            raise BadInput(f"{path}: is a folder; name a file in it") from None
        except OSError as error:
            raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
        try:
            self._write_all(self._header())
        except OSError as error:
            raise self._give_up(error) from None

    @property
    def frames(self) -> int:
        """How many samples per channel are in the file."""
        return self._data_bytes // self._frame_bytes

    def write(self, samples: npt.NDArray[np.int16]) -> None:
        """Append sound: int16, shape (n,) for one channel, else (n, channels).

        Raises:
            StageError: The first time that the disk does not take it all.
            ValueError: The shape is not that of the file's channels.
        """
        expected = samples.ndim == 2 and samples.shape[1] == self.channels
        if not expected and not (samples.ndim == 1 and self.channels == 1):
            raise ValueError(f"{samples.shape} is not sound with {self.channels} channels")
        if self._file is None:
            return
        data = np.ascontiguousarray(samples, dtype="<i2").tobytes()
        room = self._most_bytes - HEADER_BYTES - self._data_bytes
        try:
            fitting = data[: room // self._frame_bytes * self._frame_bytes]
            self._write_all(fitting)
            self._data_bytes += len(fitting)
            self._state_length()
            if len(fitting) < len(data):
                raise OSError(errno.EFBIG, "a WAV file holds no more than 4 GiB")
        except OSError as error:
            raise self._give_up(error) from None

    def close(self) -> None:
        """Finish the file. Safe to call more than once."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _write_all(self, data: bytes) -> None:
        assert self._file is not None
        done = 0
        while done < len(data):
            done += self._file.write(data[done:]) or 0

    def _state_length(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        self._file.write(self._header())
        self._file.seek(0, os.SEEK_END)

    def _header(self) -> bytes:
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF",
            HEADER_BYTES - 8 + self._data_bytes,
            b"WAVE",
            b"fmt ",
            16,
            1,
            self.channels,
            self.rate,
            self.rate * self._frame_bytes,
            self._frame_bytes,
            8 * BYTES_PER_SAMPLE,
            b"data",
            self._data_bytes,
        )

    def _give_up(self, error: OSError) -> StageError:
        """Close with the whole samples that were written, and say why."""
        assert self._file is not None
        try:
            written = self._file.seek(0, os.SEEK_END) - HEADER_BYTES
            self._data_bytes = max(0, written - written % self._frame_bytes)
            self._file.truncate(HEADER_BYTES + self._data_bytes)
            self._state_length()
        except OSError:
            log.debug("%s: its header could not be completed", self.path)
        self._file.close()
        self._file = None
        seconds = self.frames / self.rate
        return StageError(
            "audio",
            f"{self.path}: recording ended: {error.strerror}; the first {seconds:.1f} s are kept. "
            "Make room or choose another disk.",
        )
