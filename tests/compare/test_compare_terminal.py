"""A comparison on a terminal: it can be read anywhere, and simulated figures say that they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import comparison_samples as made
from support.pages import on_terminal

from pipeline.compare.cost import prices
from pipeline.compare.summary import summarise
from pipeline.compare.terminal import BLOCKS, DIGITS, show, sparkline

TABLE = prices()


def summary(paths: tuple[str, ...] = made.PATHS, **asked: Any) -> dict[str, Any]:
    header, conversations = made.comparison(paths=paths, **asked)
    return summarise(header, conversations, TABLE)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits(width: int) -> None:
    header, held = made.in_conditions(*made.comparison(faults=False))
    for found in (summary(), summarise(header, held, TABLE)):
        assert all(len(line) <= width for line in on_terminal(show, found, width=width).split("\n"))


def test_ascii_only() -> None:
    text = on_terminal(show, summary(paths=(made.CASCADE, made.DIRECT)), encoding="ascii")
    assert not set(text) & set(BLOCKS)
    assert "0 0 % to 9 100 %" in text
    assert "SIMULATED" not in text


def test_every_heading_and_row_of_a_simulation_says_so() -> None:
    found = summary()
    text = on_terminal(show, found, width=3000)
    assert text.splitlines()[0].strip().startswith("SIMULATED")
    assert made.SOURCE in text.splitlines()[0]
    assert "seed 1" in text.splitlines()[0]
    assert text.count(made.SIMULATED) == text.count(f"{made.SIMULATED} [SIMULATED]") > 0
    # In a table the name is folded, and the figures stand beside its last line: the stamp.
    rows = [line for line in text.splitlines() if line.startswith(".1 [SIMULATED] ")]
    assert len(rows) == 6  # latency, understanding, three curves, lengths
    for title in ("Voice-to-voice", "Understanding", "Right tool", "What failed", "Recalled"):
        headings = [line for line in text.splitlines() if line.startswith(title)]
        assert headings
        assert all(line.endswith("[SIMULATED]") for line in headings)


def test_missing_figures_are_shown_as_missing() -> None:
    found = summary(paths=("ws://host:1/v1",))
    text = on_terminal(show, found)
    assert "not known" in text
    assert "None" not in text
    empty = on_terminal(show, summarise({}, [], TABLE))
    assert "Nothing was compared." in empty
    never = on_terminal(show, summarise(made.header(), [], TABLE))
    assert "None" not in never
    assert "[SIMULATED]" in never


def test_many_failures_are_counted() -> None:
    header, conversations = made.comparison(paths=(made.CASCADE,), repeats=9)
    found = summarise(header, conversations, TABLE)
    (variant,) = found["variants"].values()
    variant["failures"] = [
        {
            "scenario": f"s{n}",
            "turn": None,
            "turns": 1,
            "repeat": 1,
            "status": "failed",
            "reason": "",
        }
        for n in range(11)
    ]
    text = on_terminal(show, found)
    assert "s7 repeat 1, failed" in text
    assert "s8" not in text
    assert "and 3 more, in summary.json" in text


@given(
    st.dictionaries(st.integers(1, 20), st.floats(0, 1)),
    st.sampled_from([BLOCKS, DIGITS]),
)
def test_a_curve_has_a_mark_for_each_turn(shares: dict[int, float], marks: str) -> None:
    points = [{"turn": turn, "share": share} for turn, share in shares.items()]
    drawn = sparkline(points, marks, 20)
    assert len(drawn) == 20
    for turn, mark in enumerate(drawn, start=1):
        share = shares.get(turn)
        assert (mark == ".") == (share is None)
        if share is not None:
            assert (mark == marks[0]) == (share == 0)
            assert (mark == marks[-1]) == (share == 1)
    ordered = sorted(shares, key=lambda turn: shares[turn])
    levels = [marks.index(drawn[turn - 1]) for turn in ordered]
    assert levels == sorted(levels)
