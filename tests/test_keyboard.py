"""Keys from a terminal: each is seen at once; the terminal is left as it was found."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from pipeline.keyboard import Keyboard

PROGRAM = """
import time
from pipeline.keyboard import Keyboard

with Keyboard() as keys:
    print("available", keys.available, flush=True)
    while True:
        if pressed := keys.pressed():
            print("pressed", repr(pressed), flush=True)
        if "q" in pressed:
            break
        if "x" in pressed:
            raise OSError("everything breaks")
        time.sleep(0.01)
"""


def test_a_key_is_seen_without_enter_and_without_echo() -> None:
    pytest.importorskip("termios", reason="needs a pseudo-terminal")
    from support.terminal_child import in_terminal

    with in_terminal([sys.executable, "-c", PROGRAM]) as terminal:
        terminal.wait_for("available True")
        for key in ("2", "\t", "q"):
            terminal.press(key)
            terminal.wait_for(f"pressed {key!r}\n")
        assert terminal.finish() == 0
    said = terminal.text.splitlines()
    assert said[1:-4] == ["available True", "pressed '2'", r"pressed '\t'", "pressed 'q'"]


@pytest.mark.parametrize(("key", "sign"), [("x", "everything"), ("\x03", "KeyboardInterrupt")])
def test_the_terminal_is_as_it_was_whatever_happens(key: str, sign: str) -> None:
    pytest.importorskip("termios", reason="needs a pseudo-terminal")
    from support.terminal_child import in_terminal

    with in_terminal([sys.executable, "-c", PROGRAM]) as terminal:
        terminal.wait_for("available True")
        terminal.press(key)
        assert terminal.finish() != 0
        assert sign in terminal.text


@pytest.mark.parametrize("stream", [io.StringIO("2"), None])
def test_no_terminal_no_keys(stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with Keyboard(stream) as keys:
        assert not keys.available
        assert keys.pressed() == ""


def test_a_file_is_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("2q")
    with (tmp_path / "keys").open() as file, Keyboard(file) as keys:
        assert not keys.available
        assert keys.pressed() == ""


def test_a_closed_stream_is_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("2q")
    file = (tmp_path / "keys").open()
    file.close()
    with Keyboard(file) as keys:
        assert not keys.available
