"""Pictures of the screen and the clipboard, by tools that are found on the PATH."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.pictures import drawn

from pipeline import pictures
from pipeline.pictures import NothingTaken, take

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tools here are Linux's")


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Wayland desktop with a picture, and a folder for its tools, which has none yet."""
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-1")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "picture.png").write_bytes(drawn(np.zeros((30, 40, 3), np.uint8)))
    return tmp_path


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_first_tool_that_is_installed_takes_the_screen(desktop: Path) -> None:
    with pytest.raises(NothingTaken, match="install grim, gnome-screenshot or spectacle"):
        take("screen")
    tool(desktop, "gnome-screenshot", f'[ "$1" = -f ] && /bin/cp {desktop}/picture.png "$2"')
    assert (take("screen").width, take("screen").height) == (40, 30)
    tool(desktop, "grim", "exit 1")
    with pytest.raises(NothingTaken, match="grim failed"):
        take("screen")


def test_the_clipboard_may_hold_no_picture(desktop: Path) -> None:
    tool(desktop, "wl-paste", f'[ "$2" = image/png ] && /bin/cat {desktop}/picture.png')
    assert take("clipboard").width == 40
    tool(desktop, "wl-paste", "exit 1")
    with pytest.raises(NothingTaken, match="there is no picture in it"):
        take("clipboard")
    tool(desktop, "wl-paste", "echo hello")
    with pytest.raises(NothingTaken, match="what is in the clipboard is no picture"):
        take("clipboard")


def test_a_tool_that_hangs_is_not_waited_for(
    desktop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "TAKES_S", 0.2)
    tool(desktop, "grim", "exec /bin/sleep 60")
    with pytest.raises(NothingTaken, match="grim gave no picture"):
        take("screen")


def test_without_a_desktop_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(NothingTaken, match="this is no desktop"):
        take("screen")


def test_an_x_server_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(NothingTaken, match="the X server :4711 gives no picture"):
        take("screen")


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb")
def test_the_screen_of_an_x_server_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":4712")
    server = subprocess.Popen(
        ["Xvfb", ":4712", "-screen", "0", "1280x640x24"], stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 20
        while True:
            try:
                found = take("screen")
            except NothingTaken:
                assert time.monotonic() < until
                time.sleep(0.1)
            else:
                break
        assert (found.width, found.height) == (1024, 512)
    finally:
        server.terminate()
        server.wait(20)
