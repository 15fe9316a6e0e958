"""Many turns, many sessions: nothing is left running, nothing grows, nobody waits for ever."""

from __future__ import annotations

import pytest
from support.endurance import Left, Report, converse, crowd

pytestmark = pytest.mark.slow

TURNS = 120
"""So many, that everything happens; memory is compared with what it was after half of them."""


@pytest.fixture(scope="module")
def report() -> Report:
    return converse(TURNS)


def test_everything_happened(report: Report) -> None:
    assert report.turns >= TURNS
    assert {"stt", "llm", "tts"} <= report.failures.keys()
    statuses = {f"ReplyDone {s}" for s in ("completed", "interrupted", "failed")}
    assert statuses <= report.counts.keys()
    assert {"ReplyDucked", "ReplySwelled", "ReplyInterrupted"} <= report.counts.keys()


def test_every_turn_comes_to_its_end(report: Report) -> None:
    assert report.unanswered == []
    assert report.stuck == []


def test_nothing_is_left_running(report: Report) -> None:
    assert (report.tasks, report.threads, report.open) == (0, 0, 0)
    assert report.most_tasks < 12


def test_memory_does_not_grow(report: Report) -> None:
    assert report.grown < 5_000 * TURNS / 2


CLIENTS = 24
"""So many come and go; memory is compared with what it was after two thirds."""


@pytest.fixture(scope="module")
def left() -> Left:
    return crowd(CLIENTS)


def test_clients_were_served_side_by_side_and_went_at_any_time(left: Left) -> None:
    assert (left.sessions, left.most) == (CLIENTS, 5)
    assert left.counts["response.done"] > CLIENTS / 2
    assert left.counts["response.created"] > left.counts["response.done"], "some in the middle"
    assert not left.counts["closed 1011"]


def test_of_clients_that_are_gone_nothing_is_left(left: Left) -> None:
    assert (left.tasks, left.threads, left.streams, left.slow) == (0, 0, 0, 0)
    assert left.grown < 50 * CLIENTS / 3
