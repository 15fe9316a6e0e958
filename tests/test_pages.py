"""What terminals and reports say of a run, word for word (`support.pages` says how it is kept)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support import comparison_samples as made
from support import pages, samples

from pipeline.compare import cost
from pipeline.compare import report as compare_report
from pipeline.compare import summary as compare_summary
from pipeline.compare import terminal as compare_terminal
from pipeline.compare.scenario import COMPARED
from pipeline.measure import gates
from pipeline.measure import summary as profile_summary
from pipeline.profile import report as profile_report
from pipeline.profile import terminal as profile_terminal

KINDS: dict[str, tuple[Any, Any]] = {
    "profile": (profile_terminal, profile_report),
    "comparison": (compare_terminal, compare_report),
    "conditions": (compare_terminal, compare_report),
}


@cache
def run(kind: str) -> tuple[Any, Any, Any]:
    """Header, results and summary of a synthetic run in which things go wrong."""
    if kind == "profile":
        header, records = samples.profile()
        summary: Any = profile_summary.summarise(header, records)
        limits, known = {"p90_ms": 900}, gates.TURNS
    else:
        header, held = made.comparison(repeats=2)
        header["together"] = True
        if kind == "conditions":
            header, held = made.comparison(paths=(made.CASCADE, made.DIRECT), faults=False)
            header, held = made.in_conditions(header, [*map(made.selective, held)])
        records = held
        summary = compare_summary.summarise(header, held, cost.prices())
        limits, known = {"p90_ms": 900, "tools": 0.9, "cost_per_minute": 0.1}, COMPARED
    wanted = gates.parse(limits, known, (), "")
    summary["gates"] = gates.judge(wanted, known, summary["variants"])
    return header, records, summary


@pytest.mark.parametrize("kind", KINDS)
def test_a_terminal_says_what_is_kept(kind: str) -> None:
    terminal, _ = KINDS[kind]
    pages.check(f"{kind}.terminal.txt", pages.on_terminal(terminal.show, run(kind)[2], width=100))


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_says_what_is_kept(kind: str, tmp_path: Path) -> None:
    _, report = KINDS[kind]
    page = report.rendered(tmp_path, *run(kind))
    # What it says of single turns in conditions is what it says of any.
    single = ("history", "failures") if kind == "conditions" else ()
    text = pages.Read(page, skip=("turns", "warmup", "utterances", *single)).text
    pages.check(f"{kind}.report.txt", text)
