"""A turn's stereo recording, small enough to live inside the report.

FLAC, because it is exact to the sample, keeps the channels apart (lossy stereo coding may leak one
into the other), shrinks silence to nothing, and plays in every browser.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt

RATE = 16_000
"""Sample rate of the embedded sound (Hz): enough for speech, and what the stages work at."""

PEAK_MS = 10
"""Length of sound (ms) for which the drawn waveform holds one height."""

_BLOCK = 4096


Stereo = npt.NDArray[np.int16]
"""Samples at `RATE`, a row each: user, reply."""


def read(path: Path) -> Stereo | None:
    """The recording at `path`, mono sound on both channels; None if there is none to be read."""
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
    blocks = []
    try:
        with path.open("rb") as file, av.open(file, "r") as container:
            for frame in container.decode(container.streams.audio[0]):
                blocks += resampler.resample(frame)
            blocks += resampler.resample(None)
    except (OSError, av.error.FFmpegError, IndexError):
        return None
    samples = [block.to_ndarray().reshape(-1, 2) for block in blocks]
    return np.concatenate(samples) if samples else None


def flac(stereo: Stereo) -> str:
    """Base64 of the recording as a FLAC file."""
    return _text(_encoded(stereo))


def peaks(stereo: Stereo) -> tuple[str, str]:
    """The drawn waveform of user and reply: base64 of one byte per `PEAK_MS`.

    It is the root of the largest amplitude, so that quiet sound is seen too; 255 is full scale.
    """
    return _peaks(stereo[:, 0]), _peaks(stereo[:, 1])


def _encoded(stereo: Stereo) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE, layout="stereo", format="s16")
        for start in range(0, len(stereo), _BLOCK):
            block = np.ascontiguousarray(stereo[start : start + _BLOCK]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="stereo")
            frame.sample_rate = RATE
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _peaks(channel: npt.NDArray[np.int16]) -> str:
    step = RATE * PEAK_MS // 1000
    padded = np.pad(channel.astype(np.int32), (0, -len(channel) % step))
    loudest = np.abs(padded).reshape(-1, step).max(axis=1)
    heights = np.sqrt(np.minimum(loudest / 32767, 1.0)) * 255
    return _text(heights.astype(np.uint8).tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
