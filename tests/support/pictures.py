"""Pictures that tests draw."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt


def drawn(pixels: npt.NDArray[np.uint8], codec: str = "png") -> bytes:
    """Pixels, RGB or RGBA, shape (height, width, 3 or 4), as a file."""
    kind = {3: "rgb24", 4: "rgba"}[pixels.shape[2]]
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = pixels.shape[:2]
    encoder.pix_fmt = {"png": kind, "bmp": "bgr24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    encoder.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray(pixels, format=kind).reformat(format=encoder.pix_fmt)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def pixels_of(data: bytes, codec: str) -> Any:
    """The RGB pixels of a file, shape (height, width, 3)."""
    decoder: Any = av.CodecContext.create(codec, "r")
    [frame] = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    return frame.to_ndarray(format="rgb24")
