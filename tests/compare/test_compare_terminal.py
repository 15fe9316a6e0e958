"""A comparison on a terminal: it can be read anywhere, and simulated figures say that they are."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support import comparison_samples as made

from pipeline.compare.cost import prices
from pipeline.compare.summary import summarise
from pipeline.compare.terminal import BLOCKS, DIGITS, show, sparkline

TABLE = prices()


def summary(paths: tuple[str, ...] = made.PATHS, **asked: Any) -> dict[str, Any]:
    header, conversations = made.comparison(paths=paths, **asked)
    return summarise(header, conversations, TABLE)


def shown(found: dict[str, Any], *, width: int = 80, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show(Console(file=file, width=width, markup=False, highlight=False), found)
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(encoding)


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits(width: int) -> None:
    assert all(len(line) <= width for line in shown(summary(), width=width).splitlines())


def test_all_of_it_is_there() -> None:
    found = summary()
    text = flat(shown(found, width=400))
    for sentence in found["verdict"]:
        assert sentence in text
    for variant in found["variants"].values():
        whole = variant["voice_to_voice_ms"]
        assert f"{whole['median']:.0f}" in text
        assert f"{whole['p95']:.0f}" in text
        assert "{:.0f} to {:.0f}".format(*whole["ci95"]) in text
        for one in variant["failures"]:
            assert one["reason"] in text
    for warning in found["warnings"]:
        assert warning in text
    assert f"${found['variants'][made.DIRECT]['cost']['per_minute_usd']:.3g}" in text
    for title in ("Right tool, by turn", "Recalled", "Instructions followed", "by length"):
        assert title in text


def test_ascii_only() -> None:
    text = shown(summary(paths=(made.CASCADE, made.DIRECT)), encoding="ascii")
    assert not set(text) & set(BLOCKS)
    assert "0 0 % to 9 100 %" in text


def test_every_heading_and_row_of_a_simulation_says_so() -> None:
    found = summary()
    text = shown(found, width=3000)
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


def test_what_is_measured_has_no_stamp() -> None:
    assert "SIMULATED" not in shown(summary(paths=(made.CASCADE, made.DIRECT)))


def test_missing_figures_are_shown_as_missing() -> None:
    found = summary(paths=("ws://host:1/v1",))
    text = shown(found)
    assert "not known" in text
    assert "None" not in text
    empty = shown(summarise({}, [], TABLE))
    assert "Nothing was compared." in empty
    never = shown(summarise(made.header(), [], TABLE))
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
    text = shown(found)
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
