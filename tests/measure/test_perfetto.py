"""`trace.perfetto.json` keeps the rules of the Trace Event Format."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import samples

from pipeline.measure import perfetto
from pipeline.measure.record import Record, Span
from pipeline.trace import PARTS

FEW = tuple(samples.SAID)[:4]

lanes = st.sampled_from(["stt", "llm", "tts", "gap", "something else"])
times = st.integers(0, 400)
spans = st.lists(
    st.builds(
        lambda lane, name, a, b: Span(lane, name, min(a, b), max(a, b)),
        lanes,
        st.text(),
        times,
        times,
    )
)


@pytest.fixture(scope="module")
def profile() -> tuple[dict[str, Any], list[Record]]:
    return samples.profile(files=FEW)


@pytest.fixture(scope="module")
def document(profile: tuple[dict[str, Any], list[Record]]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(perfetto.rendered(*profile))
    return loaded


def of(events: list[dict[str, Any]], phase: str) -> list[dict[str, Any]]:
    return [event for event in events if event["ph"] == phase]


def check(events: list[dict[str, Any]]) -> None:
    """Every event has what its kind needs; threads are named; times rise; slices nest."""
    named = {(e["pid"], e["tid"]) for e in of(events, "M") if e["name"] == "thread_name"}
    processes = {e["pid"] for e in of(events, "M") if e["name"] == "process_name"}
    last = 0.0
    ends: dict[tuple[int, int], float] = defaultdict(float)
    for event in events:
        assert {"ph", "name", "pid", "tid", "ts", "args"} <= event.keys()
        assert event["ph"] in {"M", "X", "i"}
        assert event["name"]
        assert type(event["pid"]) is int and type(event["tid"]) is int
        assert event["pid"] in processes
        if event["ph"] == "M":
            continue
        where = event["pid"], event["tid"]
        assert where in named
        assert event["ts"] >= last >= 0
        last = event["ts"]
        if event["ph"] == "i":
            assert event["s"] == "t"
        else:
            assert event["dur"] > 0
            assert event["ts"] >= ends[where] - 1e-6, "slices of a thread overlap"
            ends[where] = event["ts"] + event["dur"]


def test_it_keeps_the_rules_of_the_format(document: dict[str, Any]) -> None:
    assert document["displayTimeUnit"] in {"ms", "ns"}
    check(document["traceEvents"])


def test_each_variant_is_a_process_and_each_lane_a_thread(
    document: dict[str, Any], profile: tuple[dict[str, Any], list[Record]]
) -> None:
    names = of(document["traceEvents"], "M")
    processes = {e["args"]["name"]: e["pid"] for e in names if e["name"] == "process_name"}
    assert list(processes) == list(profile[0]["variants"])
    for variant, pid in processes.items():
        threads = {
            e["args"]["name"] for e in names if e["name"] == "thread_name" and e["pid"] == pid
        }
        used = {s.lane for record in profile[1] if record.variant == variant for s in record.spans}
        assert {"turn", "marks"} | used <= threads


def test_each_turn_mark_and_span_is_there_once(
    document: dict[str, Any], profile: tuple[dict[str, Any], list[Record]]
) -> None:
    events, records = document["traceEvents"], profile[1]
    slices = of(events, "X")
    turns = [event for event in slices if event["cat"] == "turn"]
    assert [turn["args"]["turn"] for turn in turns] == list(range(len(records)))
    assert len(slices) - len(turns) == sum(len(record.spans) for record in records)
    assert len(of(events, "i")) == sum(len(record.marks) for record in records)
    for turn, record in zip(turns, records, strict=True):
        about = turn["args"]
        assert (about["status"], about["reason"]) == (record.status, record.reason)
        if record.timeline is not None:
            total = sum(about[f"{part}_ms"] for part in PARTS)
            assert total == pytest.approx(about["voice_to_voice_ms"])


def test_times_are_those_of_the_marks(
    document: dict[str, Any], profile: tuple[dict[str, Any], list[Record]]
) -> None:
    marks = of(document["traceEvents"], "i")
    found = {(e["args"]["turn"], e["name"]): e["ts"] for e in marks}
    commit, heard = found[(5, "committed")], found[(5, "heard.first")]
    record = profile[1][5]
    expected = record.marks["heard.first"] - record.marks["committed"]
    assert (heard - commit) * 1000 == pytest.approx(expected, abs=1)


@given(st.lists(spans, max_size=4), st.integers(0, 500))
def test_slices_of_a_thread_never_overlap(turns: list[list[Span]], apart: int) -> None:
    def later(span: Span, ns: int) -> Span:
        return Span(span.lane, span.name, span.start_ns + ns, span.end_ns + ns)

    records = [
        Record("v", "f", 1, order, "failed", spans=tuple(later(one, order * apart) for one in some))
        for order, some in enumerate(turns)
    ]
    check(perfetto.events({}, records))


def test_a_profile_of_nothing_is_a_valid_trace() -> None:
    assert json.loads(perfetto.rendered({"seed": float("nan")}, []))["traceEvents"] == []
