"""Gates: what can be one, what becomes of them, and how tools for integration read it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import comparison_samples, samples

from pipeline.compare import cost
from pipeline.compare import summary as compare_summary
from pipeline.compare.scenario import COMPARED
from pipeline.errors import BadInput
from pipeline.measure import gates, junit
from pipeline.measure import summary as profile_summary
from pipeline.measure.gates import TURNS, Gate, judge, read
from pipeline.measure.summary import of

SYSTEMS = ("cascade", "openai:gpt-realtime-2.1")


@cache
def variants(kind: str) -> dict[str, Any]:
    if kind == "profile":
        header, records = samples.profile()
        return dict(profile_summary.summarise(header, records)["variants"])
    header, held = comparison_samples.comparison(repeats=5)
    held = [comparison_samples.selective(one) for one in held]
    return dict(compare_summary.summarise(header, held, cost.prices())["variants"])


@pytest.mark.parametrize(("kind", "known"), [("profile", TURNS), ("comparison", COMPARED)])
def test_the_summary_has_every_figure_and_its_interval(
    kind: str, known: dict[str, gates.Figure]
) -> None:
    for name, figure in known.items():
        values = [of(one, figure.value) for one in variants(kind).values()]
        assert any(isinstance(value, int | float) for value in values), name
        if figure.ci:
            assert any(of(one, figure.ci) for one in variants(kind).values()), name
        if figure.share:
            assert all(value is None or 0 <= value <= 1 for value in values), name


def test_a_file_and_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text("p90_ms: 900\ntools: 0.95\ncascade:\n  p90_ms: 1200.5\n", "utf-8")
    found = read([str(file), "tools=1", "failed=0"], COMPARED, SYSTEMS)
    assert found == (
        Gate("p90_ms", 900),
        Gate("tools", 1),
        Gate("p90_ms", 1200.5, "cascade"),
        Gate("failed", 0),
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            "p99_ms=900",
            "--expect p99_ms=900: there is no figure 'p99_ms'; there are median_ms, p90",
        ),
        ("p90_ms", "write NAME=LIMIT"),
        ("p90_ms=soon", "p90_ms is 'soon'; its limit is a number"),
        ("p90_ms=nan", "is a number"),
        ("p90_ms=-1", "0 or more"),
        ("tools=95", "its limit is a share, such as 0.95"),
        ("nowhere.yaml", "nowhere.yaml: cannot be read"),
        ("- p90_ms", "needs figures with limits"),
        ("gemini:\n  p90_ms: 1", "'gemini' is no system of this run; there are cascade, openai"),
        ("cascade:\n  p90: 1", "there is no figure 'p90'"),
        ("p90_ms: true", "p90_ms is True; its limit is a number"),
        (f"p90_ms: {10**400}", "its limit is a number"),
        ("tools: [1]", "tools is [1]; its limit is a number"),
    ],
)
def test_what_is_no_gate(tmp_path: Path, given: str, why: str) -> None:
    if ":" in given or given.startswith("-"):
        (tmp_path / "gates.yml").write_text(given, "utf-8")
        given = str(tmp_path / "gates.yml")
    with pytest.raises(BadInput) as told:
        read([given], COMPARED, SYSTEMS)
    assert why in str(told.value)
    assert "\n" not in str(told.value)


def test_what_a_profile_does_not_measure_is_no_gate_of_it() -> None:
    with pytest.raises(BadInput, match=r"no figure 'tools'; there are .*disagreement_ms"):
        read(["tools=0.9"], TURNS, ["speculative"])


@given(st.floats(0, 1), st.sampled_from(["tools", "wer"]))
def test_less_or_more_is_better(limit: float, name: str) -> None:
    (one, *_) = judge([Gate(name, limit)], COMPARED, variants("comparison"))
    assert one["value"] is not None
    better = one["value"] >= limit if name == "tools" else one["value"] <= limit
    assert one["met"] == better
    assert one["bound"] == ("at least" if name == "tools" else "at most")


def test_a_systems_own_limit_takes_the_place_of_the_one_for_each() -> None:
    found = judge(
        [Gate("median_ms", 1e6), Gate("median_ms", 1, "simulated:gpt-realtime-2.1")],
        COMPARED,
        variants("comparison"),
    )
    met = {one["system"]: one["met"] for one in found}
    assert met == {
        "cascade": True,
        "openai:gpt-realtime-2.1": True,
        "simulated:gpt-realtime-2.1 [SIMULATED]": False,
    }


MUTE = {
    **dict.fromkeys(COMPARED),
    "statuses": {"ok": 0, "failed": 2},
    "failed": 2,
    "tools": None,
    "cost": {"per_minute_usd": None, "note": "no price is known for x; add one with --prices FILE"},
}
"""A system that answered nothing."""


@pytest.mark.parametrize(
    ("name", "one", "reason"),
    [
        ("p90_ms", MUTE, "no turn has a latency"),
        ("tools", MUTE, "no turn expects anything of tools"),
        ("cost_per_minute", MUTE, "no price is known for x; add one with --prices FILE"),
        ("failed", {"statuses": {"ok": 0}, "failed": 0}, "no turn was held"),
    ],
)
def test_what_was_not_measured_does_not_meet_a_gate(
    name: str, one: dict[str, Any], reason: str
) -> None:
    (judged,) = judge([Gate(name, 1)], COMPARED, {"x": one})
    assert (judged["met"], judged["value"], judged["reason"]) == (False, None, reason)
    assert f"{name} is not known ({reason})" in judged["told"]


def test_nothing_is_judged_of_a_run_that_was_interrupted() -> None:
    found = judge([Gate("failed", 0)], TURNS, variants("profile"), unjudged=gates.INTERRUPTED)
    assert {one["met"] for one in found} == {None}
    assert {gates.shown(one)["verdict"] for one in found} == {"not judged"}


def test_junit() -> None:
    """Suites, cases and their counts; what a server says can be no markup and break no reader."""
    odd = "</testcase>\x00\x1b[31m & \ud800 \ufffe " + "long " * 1000
    judged = [
        *judge([Gate("failed", 0)], TURNS, {"a": {"statuses": {"ok": 3}, "failed": 0}}),
        *judge([Gate("p90_ms", 900)], TURNS, {"a": MUTE}),
        *judge([Gate("failed", 0)], TURNS, {"b [SIMULATED]": MUTE}, unjudged="it was interrupted"),
    ]
    cases = [
        junit.Case("a", "tools repeat 1", 12.5),
        junit.Case("a", odd, 1.0, error=odd),
        junit.Case("b [SIMULATED]", "noise repeat 1", skipped="noise hides the end of speech"),
    ]
    header = {"started": "2026-11-30T15:00:00+0000"}
    figures = {"variants": dict.fromkeys(["a", "b [SIMULATED]", "c"]), "gates": judged}
    root = ET.fromstring(junit.rendered("compare", header, figures, cases).encode())
    assert root.tag == "testsuites"
    counts = ("name", "tests", "failures", "errors", "skipped", "time")
    assert [[suite.get(name) for name in counts] for suite in (root, *root)] == [
        ["cascade compare", "6", "1", "1", "2", "13.500"],
        ["a", "4", "1", "1", "0", "13.500"],
        ["b [SIMULATED]", "2", "0", "0", "2", "0.000"],
        ["c", "0", "0", "0", "0", "0.000"],
    ]
    assert root[0].get("timestamp") == "2026-11-30T15:00:00"
    (failure,) = root.iter("failure")
    assert failure.get("message") == (
        "p90_ms is not known (no turn has a latency); wanted: at most 900"
    )
    (error,) = root.iter("error")
    assert (error.get("message") or "").startswith("</testcase>")
