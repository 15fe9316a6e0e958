"""Pictures that the user shows, also of the screen: checked, and made small enough for a model.

FFmpeg's decoders (PyAV) read them. Models that see scale what they get to about a megapixel at
most, and a small local one reads each part of a picture as hundreds of tokens: more than that would
only cost time.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadInput, CascadeError

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


# Of the screen, and those in the clipboard, by what the system has for that

Source = Literal["screen", "clipboard"]

TAKES_S = 10.0
"""Longer than that nobody waits for a picture; some tools ask the user whether they may."""

FILE = "{file}"
"""Stands for a file to be written; a command without it writes to its standard output."""

_POWERSHELL = ("powershell", "-NoProfile", "-STA", "-Command")
_DRAWING = "Add-Type -AssemblyName System.Windows.Forms,System.Drawing;"

_COMMANDS: Mapping[tuple[str, Source], Sequence[Sequence[str]]] = {
    ("wayland", "screen"): (
        ("grim", FILE),
        ("gnome-screenshot", "-f", FILE),
        ("spectacle", "-b", "-n", "-o", FILE),
    ),
    ("wayland", "clipboard"): (("wl-paste", "--type", "image/png"),),
    ("x11", "clipboard"): (("xclip", "-selection", "clipboard", "-t", "image/png", "-o"),),
    ("macos", "screen"): (("screencapture", "-x", FILE),),
    ("macos", "clipboard"): (
        (
            *(
                "osascript",
                "-e",
                f'set f to open for access POSIX file "{FILE}" with write permission',
            ),
            *("-e", "write (the clipboard as «class PNGf») to f", "-e", "close access f"),
        ),
    ),
    ("windows", "screen"): (
        (
            *_POWERSHELL,
            f"{_DRAWING}$s=[Windows.Forms.SystemInformation]::VirtualScreen;"
            "$b=New-Object Drawing.Bitmap $s.Width,$s.Height;"
            "[Drawing.Graphics]::FromImage($b).CopyFromScreen($s.Location,[Drawing.Point]::Empty,"
            f"$s.Size);$b.Save('{FILE}')",
        ),
    ),
    ("windows", "clipboard"): (
        (
            *_POWERSHELL,
            f"{_DRAWING}$i=[Windows.Forms.Clipboard]::GetImage();"
            f"if($i){{$i.Save('{FILE}')}}else{{exit 1}}",
        ),
    ),
}
"""What takes a picture, on each desktop; the first that is installed is asked."""

_NEEDED: Mapping[tuple[str, Source], str] = {
    ("wayland", "screen"): "grim, gnome-screenshot or spectacle",
    ("wayland", "clipboard"): "wl-clipboard",
    ("x11", "clipboard"): "xclip",
}


class NothingTaken(CascadeError):
    """No picture could be taken; the message says why."""


def take(source: Source) -> Picture:
    """A picture of the whole screen, or the one in the clipboard. Not for an event loop.

    Raises:
        NothingTaken: There is none, or nothing that takes one.
    """
    desktop = _desktop()
    if not desktop:
        raise NothingTaken(f"there is no {source}: this is no desktop")
    try:
        if (desktop, source) == ("x11", "screen"):
            return _x11(os.environ["DISPLAY"])
        return picture(_run(desktop, source))
    except NoPicture as error:
        raise NothingTaken(f"what is in the {source} {error}") from None


def _desktop() -> str:
    """What draws the screen; empty: nothing does."""
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, "")
    if system:
        return system
    if os.environ.get("WAYLAND_DISPLAY"):
        return "wayland"  # an X server beside it sees its own windows alone
    return "x11" if os.environ.get("DISPLAY") else ""


def _run(desktop: str, source: Source) -> bytes:
    """What the first tool that is installed gives."""
    commands = _COMMANDS[desktop, source]
    found = next((each for each in commands if shutil.which(each[0])), None)
    if found is None:
        needed = _NEEDED.get((desktop, source), commands[0][0])
        raise NothingTaken(f"the {source} cannot be read: install {needed}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        command = [part.replace(FILE, str(file)) for part in found]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=TAKES_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            raise NothingTaken(f"{found[0]} gave no picture of the {source}") from None
        data = file.read_bytes() if file.is_file() else done.stdout
    if done.returncode or not data:
        why = "there is no picture in it" if source == "clipboard" else f"{found[0]} failed"
        raise NothingTaken(f"the {source} gives no picture: {why}")
    return data


def _x11(display: str) -> Picture:
    """The screen of an X server, as FFmpeg grabs it."""
    import av

    try:
        with av.open(display, format="x11grab", timeout=TAKES_S) as grabbed:
            frame: Any = next(grabbed.decode(video=0))
    except (av.FFmpegError, StopIteration, ValueError) as error:
        raise NothingTaken(
            f"the X server {display} gives no picture of its screen: {error}"
        ) from None
    return of_pixels(frame.to_ndarray(format="rgb24"))
