"""Pictures that the user shows: checked, and made small enough for a model.

FFmpeg's decoders (PyAV) read them. Models that see scale what they get to about a megapixel at
most, and a small local one reads each part of a picture as hundreds of tokens: more than that would
only cost time.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadInput

MOST_SIDE = 1024
"""Pixels of the longer side that a model is shown."""

MOST_PIXELS = 1 << 27
"""Of a picture that is read at all: what a phone takes has half of that. A few bytes may stand for
billions, and fill the memory."""

MOST_BYTES = 64 << 20
"""Of a file."""

QUALITY = 4
"""Of a scaled picture, as FFmpeg's `-q:v`: 2 is the best; at 4 small print is still read."""

_CODECS = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "mjpeg"), (b"BM", "bmp"))

_AS_THEY_ARE = {"png": "image/png", "mjpeg": "image/jpeg"}
"""What every server takes."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a model can be shown.

    Attributes:
        url: Its data, as PNG or JPEG, in a `data:` URL.
        width: Pixels.
        height: Pixels.
    """

    url: str
    width: int
    height: int


class NoPicture(ValueError):
    """The data is no picture that can be read; the message says why, as the rest of a sentence."""


def picture(data: bytes) -> Picture:
    """A picture from a file's bytes (PNG, JPEG, WebP or BMP).

    It is scaled to `MOST_SIDE` where it is larger, and turned as the camera was held. That takes
    some milliseconds, of a large one a tenth of a second: not for an event loop.

    Raises:
        NoPicture: It is none, or is damaged.
    """
    codec = _codec(data)
    frame = _decoded(data, codec)
    turned = round(frame.rotation / 90) % 4
    small = max(frame.width, frame.height) <= MOST_SIDE
    if small and not turned and codec in _AS_THEY_ARE:
        return Picture(_url(data, _AS_THEY_ARE[codec]), frame.width, frame.height)
    return _scaled(frame, turned)


def of_pixels(pixels: npt.NDArray[np.uint8]) -> Picture:
    """A picture from RGB pixels, shape (height, width, 3)."""
    import av

    return _scaled(av.VideoFrame.from_ndarray(pixels, format="rgb24"), 0)


def of_url(url: str) -> Picture:
    """A picture from a `data:` URL in base64, as `picture` gives it.

    Raises:
        NoPicture: It is none.
    """
    head, comma, data = url.partition(",")
    if not comma or not re.fullmatch(r"data:image/[\w.+-]+;base64", head):
        raise NoPicture("is no picture in base64")
    try:
        return picture(base64.b64decode(data, validate=True))
    except binascii.Error:
        raise NoPicture("is no picture in base64") from None


def of_file(path: Path) -> Picture:
    """A picture from a file.

    Raises:
        BadInput: It cannot be read, or is none.
    """
    try:
        if not path.is_file():
            raise BadInput(f"{path}: there is no such file")
        with path.open("rb") as file:
            return picture(file.read(MOST_BYTES))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except NoPicture as error:
        raise BadInput(f"{path}: {error}; give a PNG, JPEG, WebP or BMP") from None


def _codec(data: bytes) -> str:
    """Which decoder reads the data."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    for magic, codec in _CODECS:
        if data.startswith(magic):
            return codec
    raise NoPicture("is no picture that can be read")


def _decoded(data: bytes, codec: str) -> Any:
    """The picture as a frame."""
    import av  # its library takes a while to load

    decoder: Any = av.CodecContext.create(codec, "r")
    decoder.options = {"max_pixels": str(MOST_PIXELS)}
    decoder.thread_count = 1
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except (av.FFmpegError, MemoryError):
        frames = []
    if not frames:
        raise NoPicture("is damaged, or larger than can be read")
    return frames[0]


def _scaled(frame: Any, turned: int) -> Picture:
    """A frame as a JPEG of at most `MOST_SIDE`, turned left so many times."""
    scale = min(1.0, MOST_SIDE / max(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    scaled = frame.reformat(width, height, "rgba", interpolation="AREA")
    pixels = np.rot90(_on_white(scaled), turned)
    return Picture(_url(_jpeg(pixels), "image/jpeg"), pixels.shape[1], pixels.shape[0])


def _on_white(frame: Any) -> Any:
    """RGB of a frame whose transparent parts are as on paper, shape (height, width, 3)."""
    pixels = frame.to_ndarray(format="rgba").astype(np.uint16)
    alpha = pixels[:, :, 3:]
    return ((pixels[:, :, :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)


def _jpeg(pixels: Any) -> bytes:
    """RGB pixels as a JPEG."""
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt, encoder.color_range = "yuvj420p", 2
    encoder.time_base = Fraction(1)
    encoder.options = {"flags": "+qscale", "global_quality": str(QUALITY * 118)}
    frame = frame.reformat(format="yuvj420p", dst_color_range="JPEG")
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)


def _url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
