"""A turn's stereo recording, small enough to live inside the report.

FLAC, because it is exact to the sample, keeps the channels apart (lossy stereo coding may leak one
into the other), shrinks silence to nothing, and plays in every browser.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt

RATE = 16_000
"""Sample rate of the embedded sound (Hz): enough for speech, and what the stages work at."""

PEAK_MS = 10
"""Length of sound (ms) for which the drawn waveform holds one height."""

MOST_BYTES = 25_000_000
"""Most sound (as base64 text) inside a report: a page of this size still opens at once. The
recordings beyond it are linked in the folder."""

_BLOCK = 4096


Stereo = npt.NDArray[np.int16]
"""Samples at `RATE`, a row each: user, reply."""


class Room:
    """The sound inside a report, until there is no more room.

    Attributes:
        inside: Base64 FLAC by number of turn.
    """

    def __init__(self, most: int) -> None:
        """Room for `most` bytes of base64."""
        self.inside: dict[int, str] = {}
        self._left = most

    def take(self, number: int, stereo: Stereo | None) -> dict[str, Any]:
        """Embed the sound of a turn if there is room; gives what the page is to know of it.

        `sound` is `inside`, `linked`, or `none` where there is no recording; the first turn for
        which there is no room ends it for those that follow.
        """
        if stereo is None:
            return {"sound": "none", "wav": ""}
        about = {"sound": "linked", "peaks": peaks(stereo), "seconds": len(stereo) / RATE}
        if self._left >= 0:
            encoded = flac(stereo)
            self._left -= len(encoded)
            if self._left >= 0:
                self.inside[number] = encoded
                about["sound"] = "inside"
        return about


def recording(folder: Path, name: str) -> Path | None:
    """Where a record says that its WAV is, unless that is outside the run's folder."""
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError):
        return None
    return path if name and path.is_relative_to(folder.resolve()) else None


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
