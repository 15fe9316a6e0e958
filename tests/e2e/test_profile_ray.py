"""`cascade profile --executor ray` on a Ray cluster of two nodes, both of them this machine.

What is measured is invented (`ray_bench`), save in the last test; the cluster is a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from servers.llm_server import reply
from support import ray_cluster
from support.cli_child import Child, recording, scripted
from support.ray_bench import Bench, of, read

from pipeline.config import Settings
from pipeline.errors import BadInput, StageError
from pipeline.measure import plan
from pipeline.measure.corpus import Item
from pipeline.measure.plan import Job, Variant
from pipeline.measure.ray import RETRIES, RayExecutor
from pipeline.measure.record import Record
from pipeline.measure.run import Made
from pipeline.profile.run import Bounds, make

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'voice-cascade[ray]'")


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A cluster whose head has no processor to offer."""
    with ray_cluster.running() as cluster:
        yield cluster


@pytest.fixture
def nodes(head: Any) -> Iterator[list[Any]]:
    """Two nodes of one processor each; one that an earlier test has killed is replaced."""
    while len(head.worker_nodes) < 2:
        ray_cluster.add_node(head)
    head.wait_for_nodes()
    yield list(head.worker_nodes)
    ray.shutdown()


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """The folder of a profile."""
    (tmp_path / "wav").mkdir()
    return tmp_path


def jobs(folder: Path, *names: str, items: int = 2, repeats: int = 2) -> list[Job]:
    """All turns of variants of these names, in the order of a run."""
    tested = [Variant(name, Settings(), {}) for name in names]
    sounds = []
    for number in range(items):
        path = folder / f"{number}.wav"
        path.write_bytes(f"sound {number}".encode())
        sounds.append(Item(path, path.name))
    return plan.jobs(tested, sounds, repeats, seed=1)


def executor(head: Any, todo: Sequence[Job], folder: Path, **more: Any) -> RayExecutor:
    tested = list({job.variant.name: job.variant for job in todo}.values())
    maker = functools.partial(Bench, folder=folder)
    return RayExecutor(tested, maker, head.address, **more)


async def collect(
    turns: AsyncIterator[Made[Record]],
    each: Callable[[list[Made[Record]]], None] = lambda made: None,
) -> tuple[list[Made[Record]], StageError | None]:
    """All turns, and what ended the run early if anything did."""
    made: list[Made[Record]] = []
    try:
        async for one in turns:
            made.append(one)
            each(made)
    except StageError as error:
        return made, error
    return made, None


def whole(made: Sequence[Made[Record]], todo: Sequence[Job], folder: Path) -> None:
    """Every turn is there, once, with its names, its trace and its WAV."""
    assert Counter(one.result.order for one in made) == Counter(job.order for job in todo)
    by_order = {job.order: job for job in todo}
    for one in made:
        record, job = one.result, by_order[one.result.order]
        assert (record.variant, record.file) == (job.variant.name, job.item.name)
        assert record.repeat == job.repeat
        assert record.reply == job.item.path.read_text()
        assert (folder / record.wav).read_bytes() == b"RIFF" + job.item.path.read_bytes()
        assert one.lines[0]["mark"] == "committed"


def never_two_on_a_node(log: Sequence[dict[str, Any]]) -> None:
    """On each node one bench is closed, or dead, before the next is opened."""
    for node in {one["node"] for one in log}:
        variants = [one["variant"] for one in log if one["node"] == node]
        changes = sum(a != b for a, b in itertools.pairwise(variants))
        assert changes == len(set(variants)) - 1, variants


async def test_each_variant_has_a_node_to_itself(
    head: Any, nodes: list[Any], profile: Path
) -> None:
    todo = jobs(profile, "meets one", "meets two", "three")
    runner = executor(head, todo, profile)
    made, error = await collect(runner.run(todo, profile))
    assert error is None
    whole(made, todo, profile)
    log = read(profile)
    never_two_on_a_node(log)
    where = {one["variant"]: one["node"] for one in of(log, "open")}
    # These two could go on only together, so each had a node.
    assert where["meets one"] != where["meets two"]
    assert len(of(log, "open")) == len(of(log, "close")) == 3
    facts = runner.facts()
    assert sorted(v for node in facts["nodes"].values() for v in node["variants"]) == sorted(where)
    for name in where:
        orders = [one.result.order for one in made if one.result.variant == name]
        assert orders == sorted(orders)
        assert len({one.result.node for one in made if one.result.variant == name}) == 1
    # A reading before each turn and one at the end of each variant.
    assert facts["noise"]["readings"] == len(todo) + 3


async def test_what_came_back_from_a_lost_node_comes_no_second_time(
    head: Any, nodes: list[Any], profile: Path
) -> None:
    todo = jobs(profile, "clings", "other", items=3)
    runner = executor(head, todo, profile)

    def kill(made: list[Made[Record]]) -> None:
        mine = [one for one in made if one.result.variant == "clings"]
        if made[-1].result.variant == "clings" and len(mine) == 2:
            doomed = next(one["node"] for one in read(profile) if one["variant"] == "clings")
            node = next(node for node in nodes if node.node_id == doomed)
            head.remove_node(node, allow_graceful=False)

    made, error = await collect(runner.run(todo, profile), kill)
    assert error is None
    whole(made, todo, profile)
    log = read(profile)
    never_two_on_a_node(log)
    opened = [one for one in of(log, "open") if one["variant"] == "clings"]
    assert len(opened) == 2
    assert opened[0]["node"] != opened[1]["node"]
    clings = [one.result for one in made if one.result.variant == "clings"]
    assert len({record.node for record in clings[:2]}) == 1
    assert {record.node for record in clings[2:]}.isdisjoint({clings[0].node})


async def test_a_variant_that_kills_its_process_is_given_up_and_the_others_are_not(
    head: Any, nodes: list[Any], profile: Path
) -> None:
    todo = jobs(profile, "dies", "refuses", "stumbles", "sound")
    made, error = await collect(executor(head, todo, profile).run(todo, profile))
    assert error is not None
    assert f"was lost {RETRIES + 1} times" in str(error)
    assert "no such model here" in str(error)
    assert "stumbles (1 of 5 turns measured): ValueError: a defect" in str(error)
    measured = Counter(one.result.variant for one in made)
    # The warm-up came back once.
    assert measured == {"dies": 1, "stumbles": 1, "sound": 5}
    assert (
        len([one for one in of(read(profile), "open") if one["variant"] == "dies"]) == RETRIES + 1
    )


async def test_a_cluster_that_is_busy_says_so(head: Any, nodes: list[Any], profile: Path) -> None:
    todo = jobs(profile, "one")
    runner = executor(head, todo, profile, patience_s=3.0)

    @ray.remote(num_cpus=1)
    class Other:
        def there(self) -> bool:
            return True

    others = [Other.remote() for _ in nodes]
    ray.get([other.there.remote() for other in others])
    made, error = await collect(runner.run(todo, profile))
    assert made == []
    assert "no node of the cluster is free" in str(error)
    assert "busy with other work" in str(error)


async def test_closing_it_stops_the_work_and_keeps_what_came_back(
    head: Any, nodes: list[Any], profile: Path
) -> None:
    todo = jobs(profile, "clings")
    turns = executor(head, todo, profile).run(todo, profile)
    task = asyncio.create_task(take(turns, made := []))
    while len(made) < 2:
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [one.result.order for one in made] == [0, 1]
    assert not ray.is_initialized()
    # The nodes are free again.
    again = executor(head, todo := jobs(profile, "next"), profile)
    whole((await collect(again.run(todo, profile)))[0], todo, profile)


async def take(turns: Any, made: list[Made[Record]]) -> None:
    async with contextlib.aclosing(turns) as all_turns:
        async for one in all_turns:
            made.append(one)


def test_without_a_cluster_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = f"127.0.0.1:{server.getsockname()[1]}"
    tested = [Variant("one", Settings(), {})]
    for address in (free, "nonsense", "ray://127.0.0.1:10001"):
        with pytest.raises(BadInput, match="HOST:PORT"):
            make("ray", address, tested, Bounds())
    monkeypatch.setenv("RAY_ADDRESS", free)
    with pytest.raises(BadInput, match=free):
        make("ray", None, tested, Bounds())


async def test_the_command_measures_on_the_nodes_until_it_is_interrupted(
    head: Any, nodes: list[Any], profile: Path
) -> None:
    out, modes = profile / "out", {"overlapped", "sequential"}
    with scripted(otherwise=reply("It is open until nine.")) as llm:
        child = Child(
            *("profile", recording(5), "--mode", ",".join(modes), "--repeat", "50", "--json"),
            *("--llm", llm.url, "--reply-seconds", "0.5", "--out", out),
            *("--executor", "ray", "--ray-address", head.address),
        )
        for mode in modes:
            child.wait_for(f'"variant": "{mode}"', "out")
        child.signal(signal.SIGINT)
        done = child.finish()
    assert done.code == 130, done.err
    header, *records = map(json.loads, (out / "records.jsonl").open())
    assert header["interrupted"]
    assert len(header["nodes"]) == 2
    assert {one["variant"] for one in records} == modes
    assert len(records) < 2 * 51
    for one in records:
        # What a busy machine did to a turn's sound is told, and is no failure of the nodes.
        assert one["status"] == "ok" or "the machine was too busy" in one["reason"], one
        assert (out / one["wav"]).read_bytes()[:4] == b"RIFF"
    assert (out / "report.html").exists()
    # The nodes are free again.
    again = executor(head, todo := jobs(profile, "meets one", "meets two"), profile)
    whole((await collect(again.run(todo, profile)))[0], todo, profile)
