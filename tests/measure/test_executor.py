"""Who measures: what is asked for wrongly, and how shares are dealt to nodes that come and go.

The nodes here are invented, and no Ray is needed; `test_profile_ray` has a cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import profile as sample

from pipeline.config import Settings
from pipeline.errors import BadInput, StageError
from pipeline.measure import ray_executor
from pipeline.measure.corpus import Item
from pipeline.measure.executor import Job, Made
from pipeline.measure.noise import Reading, summarise
from pipeline.measure.plan import Variant, order
from pipeline.measure.ray_cluster import Node
from pipeline.measure.ray_executor import RETRIES, RayExecutor, pooled
from pipeline.measure.ray_node import Greeting, Refusal, Sent, version
from pipeline.measure.record import Record
from pipeline.profile import summary
from pipeline.profile.instrument import Bounds
from pipeline.profile.run import make

FOR_EVER = 1_000_000
BEHIND_NS = 10**15
"""By how much the nodes' clocks are behind this machine's."""


class RayError(Exception):
    """The process or its node is gone."""


class RayTaskError(RayError):
    """The process raised something."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


@dataclass
class Process:
    """A process on an invented node; `lives` turns are measured before it is lost."""

    cluster: FakeCluster
    node: Node
    variant: str
    lives: int

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return SimpleNamespace(remote=lambda *args: self.call(name, *args))

    async def call(self, name: str, *args: Any) -> Any:
        await asyncio.sleep(0)
        if name == "hello":
            while self.cluster.owners.get(self.node.id) is not None:
                await asyncio.sleep(0)
            if self.node.id not in self.cluster.alive:
                raise RayError("the node is dead")
            self.cluster.owners[self.node.id] = self
            return Greeting(self.cluster.version, self.node.name, {"cores": 1})
        assert self.cluster.owners.get(self.node.id) is self, "two processes on one node"
        if name == "clock_ns":
            return time.monotonic_ns() - BEHIND_NS
        if name == "open":
            self.cluster.opened.append(self.variant)
            return Refusal("no such model") if "refuses" in self.variant else None
        if name == "close":
            return [Reading(2_000_000, None, None)]
        _, sound = args
        if self.lives == 0:
            self.cluster.alive.discard(self.node.id)
            raise RayError("lost")
        self.lives -= 1
        if "raises" in self.variant:
            raise RayTaskError(ValueError("a defect"))
        now_ns = time.monotonic_ns() - BEHIND_NS
        record = Record("", "", 0, 0, "ok", marks={"committed": now_ns})
        return Sent(Made(record, ({"t_ns": now_ns},)), sound, [Reading(1_000_000, None, None)])


@dataclass
class FakeCluster:
    """Nodes, each with how many turns its first processes live; afterwards they live on."""

    lives: dict[str, list[int]]
    version: str = field(default_factory=version)
    alive: set[str] = field(default_factory=set)
    owners: dict[str, Process | None] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    left: bool = False
    revives: bool = False
    errors = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __post_init__(self) -> None:
        self.alive = set(self.lives)

    def nodes(self) -> list[Node]:
        if self.revives:
            self.alive = set(self.lives)
        return [Node(name, name, 1, 0) for name in sorted(self.alive)]

    def start(self, node: Node, kind: type, maker: Any, variant: Variant, *_: Any) -> Process:
        left = self.lives[node.id]
        return Process(self, node, variant.name, left.pop(0) if left else FOR_EVER)

    async def answer(self, reference: Any) -> Any:
        return await reference

    def stop(self, process: Process) -> None:
        if self.owners.get(process.node.id) is process:
            self.owners[process.node.id] = None

    def leave(self) -> None:
        self.left = True


def jobs(folder: Path, names: Sequence[str], items: int, repeats: int) -> list[Job]:
    tested = [Variant(name, Settings(), {}) for name in names]
    sounds = []
    for number in range(items):
        path = folder / f"{number}.wav"
        path.write_bytes(f"sound {number}".encode())
        sounds.append(Item(path, path.name))
    trials = order(len(tested), items, repeats, seed=1)
    return [Job(n, tested[t.variant], sounds[t.item], t.repeat) for n, t in enumerate(trials)]


def measure(
    cluster: FakeCluster, names: Sequence[str], *, items: int = 2, repeats: int = 1
) -> tuple[list[Job], list[Made], str, RayExecutor]:
    """All jobs, what came of them, what it ended with, and who did it."""
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        (folder / "wav").mkdir()
        todo = jobs(folder, names, items, repeats)
        tested = list({job.variant.name: job.variant for job in todo}.values())
        patch.setattr(ray_executor, "Cluster", lambda address: cluster)
        patch.setattr(ray_executor, "TICK_S", 0.001)
        runner = RayExecutor(tested, Bounds(), "nowhere", patience_s=0.005)
        made: list[Made] = []

        async def run() -> str:
            try:
                async for one in runner.run(todo, folder):
                    made.append(one)
            except StageError as error:
                return str(error)
            return ""

        ended = asyncio.run(run())
        for one in made:
            assert (folder / one.record.wav).read_bytes() == (folder / one.record.file).read_bytes()
    return todo, made, ended, runner


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=2), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(1, 2),
    st.booleans(),
)
def test_nothing_is_doubled_and_nothing_is_missing_unless_it_is_told(
    lives: list[list[int]], variants: int, repeats: int, revives: bool
) -> None:
    nodes = {f"n{number}": list(each) for number, each in enumerate(lives)}
    cluster = FakeCluster(nodes, revives=revives)
    names = [f"v{number}" for number in range(variants)]
    todo, made, ended, _ = measure(cluster, names, repeats=repeats)
    counted = Counter(one.record.order for one in made)
    assert set(counted.values()) <= {1}
    assert set(counted) <= {job.order for job in todo}
    by_order = {job.order: job for job in todo}
    for one in made:
        job = by_order[one.record.order]
        assert (one.record.variant, one.record.repeat) == (job.variant.name, job.repeat)
        assert one.record.node in nodes
    missing = {by_order[number].variant.name for number in by_order.keys() - counted.keys()}
    assert bool(missing) == bool(ended)
    assert all(name in ended for name in missing)
    assert max(Counter(cluster.opened).values(), default=0) <= RETRIES + 1
    assert cluster.left


def test_all_turns_are_on_this_machines_clock() -> None:
    begun_ns = time.monotonic_ns()
    _, made, _, _ = measure(FakeCluster({"a": [], "b": []}), ["one", "two"])
    for one in made:
        assert begun_ns <= one.record.marks["committed"] < begun_ns + BEHIND_NS // 2
        assert one.lines[0]["t_ns"] == one.record.marks["committed"]


def test_what_is_left_of_a_lost_node_is_measured_on_another() -> None:
    cluster = FakeCluster({"a": [2], "b": []})
    todo, made, ended, runner = measure(cluster, ["one", "two"], items=3)
    assert not ended
    assert len(made) == len(todo)
    where = {
        name: {m.record.node for m in made if m.record.variant == name} for name in cluster.opened
    }
    assert where == {"one": {"a", "b"}, "two": {"b"}}
    assert sorted(cluster.opened) == ["one", "one", "two"]
    assert runner.facts()["nodes"]["b"]["variants"] == ["one", "two"]


def test_a_process_that_is_lost_each_time_is_given_up() -> None:
    cluster = FakeCluster({"a": [1] * 9}, revives=True)
    _, made, ended, _ = measure(cluster, ["one"])
    assert len(cluster.opened) == RETRIES + 1
    assert f"lost {RETRIES + 1} times" in ended
    assert "1 of 3 turns measured" in ended
    assert len(made) == 1


@pytest.mark.parametrize(
    ("name", "reason"), [("refuses", "no such model"), ("raises", "ValueError: a defect")]
)
def test_one_variant_that_cannot_be_measured_does_not_stop_the_others(
    name: str, reason: str
) -> None:
    _, made, ended, _ = measure(FakeCluster({"a": []}), [name, "sound"])
    assert reason in ended
    assert Counter(one.record.variant for one in made) == {"sound": 3}


def test_a_node_with_another_cascade_is_left_out() -> None:
    _, made, ended, _ = measure(FakeCluster({"a": []}, version="0.0.0"), ["one"])
    assert made == []
    assert "a: has Cascade 0.0.0" in ended
    assert "install the same version" in ended


def test_a_recording_that_has_gone_is_a_failed_turn(tmp_path: Path) -> None:
    cluster = FakeCluster({"a": []})
    (tmp_path / "wav").mkdir()
    todo = jobs(tmp_path, ["one"], 1, 1)
    (tmp_path / "0.wav").unlink()

    async def run() -> list[Made]:
        runner = RayExecutor([todo[0].variant], Bounds(), "nowhere")
        return [one async for one in runner.run(todo, tmp_path)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_executor, "Cluster", lambda address: cluster)
        made = asyncio.run(run())
    assert [one.record.status for one in made] == ["failed", "failed"]
    assert "0.wav" in made[0].record.reason
    assert made[0].record.wav == ""


def test_closing_it_stops_all_processes(tmp_path: Path) -> None:
    cluster = FakeCluster({"a": [], "b": []})
    (tmp_path / "wav").mkdir()
    todo = jobs(tmp_path, ["one", "two"], 4, 4)

    async def run() -> list[Made]:
        tested = list({job.variant.name: job.variant for job in todo}.values())
        runner = RayExecutor(tested, Bounds(), "nowhere")
        made = []
        async with contextlib.aclosing(runner.run(todo, tmp_path)) as turns:
            async for one in turns:
                made.append(one)
                if len(made) == 3:
                    break
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_executor, "Cluster", lambda address: cluster)
        assert len(asyncio.run(run())) == 3
    assert cluster.left
    assert not any(cluster.owners.values())


@given(st.integers(-(10**15), 10**15), st.integers(0, 30))
def test_another_clock_changes_no_latency(by_ns: int, number: int) -> None:
    _, records = sample(repeats=2)
    before = records[number % len(records)]
    line = {"turn": 1, "mark": "committed", "t_ns": 7}
    after = Made(before, [line]).shifted(by_ns)
    assert after.record.timeline == before.timeline
    assert after.lines == [{**line, "t_ns": 7 + by_ns}]
    assert [s.end_ns - s.start_ns for s in after.record.spans] == [
        s.end_ns - s.start_ns for s in before.spans
    ]
    assert Made(after.record, after.lines).shifted(-by_ns) == Made(before, [line])


readings = st.builds(Reading, st.integers(10**5, 10**9), st.none(), st.none())


@given(st.dictionaries(st.text(max_size=3), st.lists(readings, max_size=5), max_size=4))
def test_machines_together_are_no_steadier_than_each(by_node: dict[str, list[Reading]]) -> None:
    together = pooled(by_node)
    each = [summarise(made) for made in by_node.values() if made]
    assert bool(together) == bool(each)
    if each:
        assert together["relative"] >= max(one["relative"] for one in each)
        assert together["readings"] == sum(one["readings"] for one in each)
        assert abs(together["drift"]) == max(abs(one["drift"]) for one in each)


def test_machines_of_different_speed_are_noisy_together() -> None:
    steady = {name: [Reading(ms * 10**6, None, None)] * 3 for name, ms in (("a", 9), ("b", 11))}
    assert pooled(steady)["relative"] == pytest.approx(0.1)


def test_the_summary_warns_of_variants_on_different_machines() -> None:
    header, records = sample()
    warned: Callable[[list[Record]], bool] = lambda records: any(  # noqa: E731
        "not all was measured on one machine" in note
        for note in summary.summarise(header, records)["warnings"]
    )
    assert not warned(records)
    here = [dataclasses.replace(one, node="a") for one in records]
    assert not warned(here)
    apart = [dataclasses.replace(one, node=one.variant) for one in records]
    assert warned(apart)


def test_no_such_executor() -> None:
    with pytest.raises(BadInput, match=r"'slurm'; allowed: local \| ray"):
        make("slurm", None, [Variant("one", Settings(), {})], Bounds())


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match=r'pip install "voice-cascade\[ray\]"'):
        make("ray", None, [Variant("one", Settings(), {})], Bounds())
