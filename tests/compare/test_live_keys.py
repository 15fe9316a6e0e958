"""Keys from a terminal: each is seen at once; the terminal is left as it was found."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compare.keys import MOST, Keys, choose, following

PROGRAM = """
import time
from pipeline.compare.keys import Keys

with Keys() as keys:
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
    with Keys(stream) as keys:
        assert not keys.available
        assert keys.pressed() == ""


def test_a_file_is_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("2q")
    with (tmp_path / "keys").open() as file, Keys(file) as keys:
        assert not keys.available
        assert keys.pressed() == ""


def test_a_closed_stream_is_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("2q")
    file = (tmp_path / "keys").open()
    file.close()
    with Keys(file) as keys:
        assert not keys.available


systems = st.integers(1, MOST)


@pytest.mark.parametrize(
    ("keys", "heard"),
    [
        ("", 0),
        ("2", 1),
        ("b", 1),
        ("B", 1),
        ("21", 0),
        ("\t", 1),
        ("\t\t", 2),
        (" \t ", 0),
        ("3", 2),
        ("4", 0),
        ("0", 0),
        ("z", 0),
        ("2x", 1),
    ],
)
def test_what_keys_choose(keys: str, heard: int) -> None:
    assert choose(keys, 0, [True] * 3) == (heard, False)


@pytest.mark.parametrize("arrow", ["\x1b[A", "\x1b[B", "\x1bOB", "\x1b[1;5B", "\x1b", "\x1b[15~"])
def test_an_arrow_is_no_letter(arrow: str) -> None:
    assert choose(arrow, 0, [True, True]) == (0, False)
    assert choose(f"{arrow}\t", 0, [True, True]) in ((0, False), (1, False))


def test_q_ends_and_what_follows_does_not_count() -> None:
    assert choose("2q1", 0, [True, True]) == (1, True)
    assert choose("Q", 0, [True, True])[1]


def test_nobody_hears_a_path_that_has_failed() -> None:
    assert choose("2", 0, [True, False, True]) == (0, False)
    assert choose("\t", 0, [True, False, True]) == (2, False)
    assert choose("\t", 0, [True, False, False]) == (0, False)


@given(st.text(), st.lists(st.booleans(), min_size=1, max_size=MOST), st.data())
def test_whatever_is_typed_somebody_alive_is_heard(
    keys: str, alive: list[bool], data: st.DataObject
) -> None:
    heard = data.draw(st.sampled_from(range(len(alive))))
    chosen, _ = choose(keys, heard, alive)
    assert chosen == heard or alive[chosen]


@given(systems.flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_next_comes_round(start: tuple[int, int]) -> None:
    heard, n = start
    seen = [heard]
    for _ in range(n):
        seen.append(following(seen[-1], [True] * n))
    assert seen[-1] == heard
    assert set(seen) == set(range(n))
