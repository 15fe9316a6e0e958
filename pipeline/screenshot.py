"""Pictures of the screen, and those in the clipboard, by what the system has for that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import CascadeError
from pipeline.pictures import NoPicture, Picture, of_pixels, picture

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
