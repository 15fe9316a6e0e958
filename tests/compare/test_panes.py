"""The screen of a live comparison: who is heard, who is simulated, and what fits where."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.known_turns import MS, SPECULATIVE

from pipeline.compare.panes import BESIDE, Pane, Screen
from pipeline.events import (
    Failure,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipeline.speech_to_speech.brief import STAMP

DIRECT = {
    name: at * MS
    for name, at in {
        "speech.end": 1000,
        "committed": 1400,
        "model.first_audio": 1800,
        "playout.first": 1810,
        "heard.first": 1830,
    }.items()
}
REPLY = "The train to Madrid leaves at nine in the morning from the third platform."


def filled(width: int, height: int, name: str = "simulated:gpt-realtime-2.1") -> Screen:
    """A screen on which both paths have answered."""
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    screen = Screen(console, ["cascade", name], [False, True])
    screen.help = "1 2 or Tab: hear another path · q: end"
    for pane, marks in zip(screen.panes, (SPECULATIVE, DIRECT), strict=True):
        for event in (
            SpeechStarted(1),
            SpeechStopped(1),
            Transcript(1, "When does the train to Madrid leave?", True),
            ReplyStarted(1, "r"),
            ReplyText(1, "r", REPLY),
            ReplyDone(1, "r", "completed"),
        ):
            pane.event(event)
        pane.audible(marks)
    return screen


def drawn(screen: Screen, width: int, height: int) -> list[str]:
    """What is on a terminal of that size now."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(screen._render())
    return capture.get().splitlines()


@given(st.integers(40, 260), st.integers(12, 80), st.text(min_size=1, max_size=60))
def test_it_fits_and_the_stamp_is_always_in_sight(width: int, height: int, name: str) -> None:
    name = "".join(c for c in name if c.isprintable()) or "x"
    lines = drawn(filled(width, height, name), width, height)
    assert len(lines) <= height
    assert any(STAMP in line for line in lines)
    assert sum("HEARD" in line for line in lines) == 1
    assert any("q: end" in line for line in lines)


@pytest.mark.parametrize("width", [40, 60, 120, 200])
def test_wide_letters_leave_room_for_the_stamp(width: int) -> None:
    lines = drawn(filled(width, 40, "模拟" * 60), width, 40)
    assert any(f"[{STAMP}] silent" in line for line in lines)


def test_side_by_side_where_there_is_room() -> None:
    wide = drawn(filled(2 * BESIDE, 30), 2 * BESIDE, 30)
    assert any("cascade" in line and STAMP in line for line in wide)
    narrow = drawn(filled(2 * BESIDE - 1, 50), 2 * BESIDE - 1, 50)
    assert not any("cascade HEARD" in line and STAMP in line for line in narrow)


def test_both_waterfalls_have_one_axis() -> None:
    lines = drawn(filled(200, 40), 200, 40)
    (axis,) = [line for line in lines if "ms hidden" in line]
    left, right = axis.split("ms hidden")[1:]
    assert left.split()[:-1] == right.split()[:-1][: len(left.split()) - 1]
    shown = "\n".join(lines)
    for label in ("endpoint", "STT", "first token", "model", "device"):
        assert label in shown
    assert "700 ms; median voice-to-voice 700 ms of 1 turn" in shown
    assert "830 ms; median voice-to-voice 830 ms of 1 turn" in shown


def test_without_room_for_a_waterfall_its_numbers_are_there() -> None:
    shown = "\n".join(drawn(filled(80, 24), 80, 24))
    assert "voice-to-voice 700 ms = endpoint 500 + " in shown


def test_the_other_one_is_heard() -> None:
    screen = filled(200, 40)
    screen.select(1)
    (line,) = [line for line in drawn(screen, 200, 40) if "HEARD" in line]
    assert line.index("cascade silent") < line.index(f"[{STAMP}] HEARD")


def lines_of(pane_events: list[object], *, simulated: bool = False) -> list[str]:
    said: list[str] = []
    pane = Pane("path", lambda text: said.append(text.plain), simulated=simulated)
    for event in pane_events:
        pane.event(event)  # type: ignore[arg-type]
    pane.heard(None)
    return said


def test_the_running_median() -> None:
    pane = Pane("path", lambda text: None)
    assert pane.summary() == "no reply was timed"
    for later in (0, 100, 500):
        pane.audible({**DIRECT, "heard.first": DIRECT["heard.first"] + later * MS})
    assert pane.summary() == "median voice-to-voice 930 ms of 3 turns"
    pane.audible({"heard.first": 5})
    assert len(pane.latencies_ms) == 3


def test_a_turn_without_a_reply_does_not_repeat_the_last_one() -> None:
    said = lines_of(
        [
            ReplyStarted(1, "r"),
            ReplyText(1, "r", "Half of what"),
            ReplyInterrupted(1, "r", "Half of"),
            ReplyDone(1, "r", "interrupted"),
            ReplyDone(2, "", "skipped"),
        ]
    )
    assert said == ["path  reply  Half of — (interrupted)"]


@pytest.mark.parametrize("simulated", [False, True])
def test_every_line_says_whether_it_is_simulated(simulated: bool) -> None:
    said = lines_of(
        [
            Transcript(1, "words", True),
            ReplyStarted(1, "r"),
            ReplyText(1, "r", "An answer."),
            Failure(1, "direct", "tired", False),
        ],
        simulated=simulated,
    )
    assert len(said) == 3
    assert all((STAMP in line) == simulated for line in said)


def test_a_path_that_failed_says_why() -> None:
    screen = filled(200, 40)
    screen.panes[1].failed = "the key is refused (401)"
    assert any("the key is refused (401)" in line for line in drawn(screen, 200, 40))
