"""One thread per engine: order, lookahead, stopping, errors; and no thread is left behind.

Nothing here waits for a length of time. What must happen is waited for, under a limit that only a
hang reaches; what must not happen is looked for once it could no longer happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from pipeline.engines.worker import Stop, Worker, onnx_session

HANG_S = 60.0


@pytest.fixture
async def worker(request: pytest.FixtureRequest) -> AsyncIterator[Worker]:
    """A worker whose thread must have ended once the test is over and it was closed."""
    name = f"test-{request.node.name}"
    worker = Worker(name)
    loop = asyncio.get_running_loop()
    hung = asyncio.Event()

    def give_up() -> None:
        hung.set()
        for task in asyncio.all_tasks(loop):
            task.cancel()

    limit = loop.call_later(HANG_S, give_up)
    yield worker
    limit.cancel()
    assert not hung.is_set()
    worker.close()
    for thread in _threads(name):
        await asyncio.to_thread(thread.join, HANG_S)
    assert _threads(name) == []


@pytest.fixture
async def complaints() -> AsyncIterator[list[dict[str, Any]]]:
    """What asyncio would log: exceptions that nobody saw, callbacks that failed."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    yield found
    asyncio.get_running_loop().set_exception_handler(None)


def _threads(name: str) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(name)]


async def wait(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, HANG_S)


async def turns_of_the_loop() -> None:
    """Let other tasks run until they wait for a thread."""
    for _ in range(20):
        await asyncio.sleep(0)


class Endless:
    """Work that counts up until it is stopped, and says what happens to it."""

    def __init__(self, blocks_at: int | None = None) -> None:
        self.made = 0
        self.blocks_at = blocks_at
        self.blocked = threading.Event()
        self.told_to_stop = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()
        self.ended = threading.Event()

    def __call__(self, stop: Stop) -> Iterator[int]:
        stop.on_set(self.told_to_stop.set)
        try:
            for number in itertools.count():
                if number == self.blocks_at:
                    # As an engine's step does: it runs until `Stop` ends it.
                    self.blocked.set()
                    self.told_to_stop.wait(HANG_S)
                    return
                self.made += 1
                yield number
        finally:
            self.may_end.wait(HANG_S)
            self.ended.set()


# --- Stop ---


def test_what_was_registered_is_called_once_in_order_when_it_is_set() -> None:
    stop, calls = Stop(), list[str]()
    stop.on_set(lambda: calls.append("first"))
    stop.on_set(lambda: calls.append("second"))
    assert (stop.is_set, calls) == (False, [])
    stop.set()
    stop.set()
    assert (stop.is_set, calls) == (True, ["first", "second"])


def test_a_callback_may_set_it_and_what_it_registers_is_called_at_once() -> None:
    stop, seen = Stop(), list[bool]()

    def callback() -> None:
        stop.set()
        stop.on_set(lambda: seen.append(stop.is_set))

    stop.on_set(callback)
    stop.set()
    assert seen == [True]
    stop.set()
    assert seen == [True]


def test_no_registration_is_lost_or_doubled_while_another_thread_sets_it() -> None:
    for _ in range(50):
        stop = Stop()
        calls: list[int] = []
        start = threading.Barrier(3)

        def register(first: int, stop: Stop, calls: list[int], start: threading.Barrier) -> None:
            start.wait()
            for i in range(first, first + 20):
                stop.on_set(partial(calls.append, i))

        threads = [
            threading.Thread(target=register, args=(first, stop, calls, start)) for first in (0, 20)
        ]
        for thread in threads:
            thread.start()
        start.wait()
        stop.set()
        for thread in threads:
            thread.join()
        assert sorted(calls) == list(range(40))


# --- run ---


async def test_run_gives_the_result_or_the_error_from_outside_the_event_loops_thread(
    worker: Worker,
) -> None:
    assert await worker.run(lambda: 6 * 7) == 42
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(threading.get_ident) != threading.get_ident()


async def test_work_is_done_in_order_of_arrival_one_at_a_time_in_one_thread(
    worker: Worker,
) -> None:
    log: list[tuple[str, int]] = []
    idents = set()

    def work(number: int) -> int:
        log.append(("begin", number))
        idents.add(threading.get_ident())
        log.append(("end", number))
        return number

    results = await asyncio.gather(*(worker.run(partial(work, n)) for n in range(20)))
    assert results == list(range(20))
    assert log == [(what, n) for n in range(20) for what in ("begin", "end")]
    assert len(idents) == 1


async def test_cancelling_a_caller_does_not_stop_what_is_being_computed(worker: Worker) -> None:
    began, go_on, finished = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(HANG_S)
        finished.set()

    caller = asyncio.create_task(worker.run(work))
    await wait(began)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not finished.is_set()
    go_on.set()
    assert await worker.run(finished.is_set), "the next work comes after it"


# --- stream ---


@pytest.mark.parametrize("depth", [1, 4, 100])
@pytest.mark.parametrize("count", [0, 1, 50])
async def test_items_arrive_in_order_and_complete(worker: Worker, count: int, depth: int) -> None:
    stops: list[Stop] = []

    def work(stop: Stop) -> Iterator[int]:
        stops.append(stop)
        assert not stop.is_set
        yield from range(count)

    assert [item async for item in worker.stream(work, depth=depth)] == list(range(count))
    assert stops[0].is_set, "nothing that waits for it waits for ever"


async def test_any_item_can_be_streamed(worker: Worker) -> None:
    """None does not mean the end."""
    given = [None, 0, (), "", None]
    assert [item async for item in worker.stream(lambda stop: iter(given), depth=1)] == given


@pytest.mark.parametrize("depth", [1, 3, 8])
async def test_the_work_is_at_most_depth_items_ahead_of_the_reader(
    worker: Worker, depth: int
) -> None:
    """And it does go that far ahead: it computes while the reader is busy."""
    work = Endless()
    far = threading.Event()
    read = 0

    def watched(stop: Stop) -> Iterator[int]:
        for item in work(stop):
            if work.made == 5 + depth:
                far.set()
            yield item

    async with contextlib.aclosing(worker.stream(watched, depth=depth)) as stream:
        async for item in stream:
            read += 1
            assert item == read - 1
            assert work.made <= read + depth
            if read == 5:
                await wait(far)
                break
    assert work.made == 5 + depth


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("blocks_at", [1, None], ids=["computes", "waits for the reader"])
async def test_closing_stops_the_work(worker: Worker, blocks_at: int | None, depth: int) -> None:
    work = Endless(blocks_at)
    stream = worker.stream(work, depth=depth)
    assert await anext(stream) == 0
    if blocks_at is not None:
        await wait(work.blocked)
        assert not work.told_to_stop.is_set()
    await stream.aclose()
    assert work.ended.is_set()
    assert work.made <= 1 + depth
    assert await worker.run(lambda: "free") == "free"


async def test_closing_returns_only_when_the_thread_has_let_go(worker: Worker) -> None:
    work = Endless(blocks_at=1)
    work.may_end.clear()
    stream = worker.stream(work)
    await anext(stream)
    closing = asyncio.create_task(stream.aclose())
    await wait(work.told_to_stop)
    await turns_of_the_loop()
    assert not closing.done()
    work.may_end.set()
    await closing
    assert work.ended.is_set()


async def test_cancelling_the_reader_stops_the_work_and_waits_for_it(worker: Worker) -> None:
    work = Endless(blocks_at=2)
    read: list[int] = []

    async def reader() -> None:
        async with contextlib.aclosing(worker.stream(work)) as stream:
            async for item in stream:
                read.append(item)

    task = asyncio.create_task(reader())
    await wait(work.blocked)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended.is_set()
    assert read == [0, 1][: len(read)]


@pytest.mark.parametrize("items", [0, 2])
async def test_an_error_in_the_work_reaches_the_reader_after_the_items_before_it(
    worker: Worker, complaints: list[dict[str, Any]], items: int
) -> None:
    def work(stop: Stop) -> Iterator[int]:
        yield from range(items)
        raise LookupError("no such voice")

    read = []
    with pytest.raises(LookupError, match="no such voice"):
        async for item in worker.stream(work, depth=1):
            read.append(item)
    assert read == [*range(items)]
    assert await worker.run(lambda: "well") == "well"
    gc.collect()
    assert complaints == []


async def test_a_computation_that_fails_because_it_was_stopped_is_no_error(
    worker: Worker, complaints: list[dict[str, Any]]
) -> None:
    """onnxruntime raises when it is terminated; nobody waits for that any more."""
    began, failed = threading.Event(), threading.Event()

    def work(stop: Stop) -> Iterator[int]:
        stopped = threading.Event()
        stop.on_set(stopped.set)
        yield 0
        began.set()
        stopped.wait(HANG_S)
        failed.set()
        raise RuntimeError("Exiting due to terminate flag being set to true.")

    stream = worker.stream(work)
    await anext(stream)
    await wait(began)
    await stream.aclose()
    assert failed.is_set()
    del stream
    gc.collect()
    assert await worker.run(lambda: "well") == "well"
    assert complaints == []


async def test_work_that_is_dropped_before_its_turn_comes_is_never_begun(worker: Worker) -> None:
    first, second = Endless(blocks_at=1), Endless()
    reading = worker.stream(first)
    await anext(reading)
    waiting = asyncio.create_task(anext(worker.stream(second)))
    await turns_of_the_loop()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not first.ended.is_set(), "it does not wait for what others compute"
    await reading.aclose()
    assert second.made == 0
    assert await worker.run(lambda: second.made) == 0


async def test_a_stream_that_is_never_read_costs_nothing(worker: Worker) -> None:
    work = Endless()
    stream = worker.stream(work)
    await stream.aclose()
    assert await worker.run(lambda: work.made) == 0


async def test_streams_follow_each_other_in_the_one_thread(worker: Worker) -> None:
    async def read(base: int) -> list[int]:
        work = range(base, base + 10)
        return [item async for item in worker.stream(lambda stop: iter(work), depth=2)]

    assert await asyncio.gather(*(read(base) for base in (0, 100, 200))) == [
        list(range(base, base + 10)) for base in (0, 100, 200)
    ]


# --- who comes first ---


async def test_what_nobody_waits_for_yet_comes_after_what_is_waited_for(worker: Worker) -> None:
    began, go_on, log = threading.Event(), threading.Event(), list[str]()

    def hold() -> None:
        began.set()
        go_on.wait(HANG_S)

    held = asyncio.create_task(worker.run(hold))
    await wait(began)
    asked = [("a draft", 1000.0), ("a file", 5000.0), ("words", 0.0), ("more words", 0.0)]
    waiting = [
        asyncio.create_task(worker.run(partial(log.append, name), within_s=within_s))
        for name, within_s in asked
    ]
    await turns_of_the_loop()
    go_on.set()
    await asyncio.gather(held, *waiting)
    assert log == ["words", "more words", "a draft", "a file"]


async def test_who_does_not_read_holds_up_nobody(worker: Worker) -> None:
    """A voice may be far ahead of what is heard: then its reader takes nothing for seconds."""
    async with contextlib.aclosing(worker.stream(Endless(), depth=2)) as unread:
        assert await anext(unread) == 0
        assert await worker.run(lambda: "free") == "free"
        work = range(10)
        async with contextlib.aclosing(worker.stream(lambda stop: iter(work))) as other:
            assert [item async for item in other] == list(work)
        assert await anext(unread) == 1


async def test_streams_take_turns_by_when_their_next_item_is_wanted(worker: Worker) -> None:
    """Whose sound runs out first is served first, whoever began first."""
    began, go_on = threading.Event(), threading.Event()
    log: list[str] = []
    lasts = {"first": 2.5, "second": 0.0}

    def speak(name: str, stop: Stop) -> Iterator[str]:
        for _ in range(4):
            log.append(name)
            lasts[name] += 1
            yield name

    def hold() -> None:
        began.set()
        go_on.wait(HANG_S)

    async def read(name: str) -> None:
        async for _ in worker.stream(partial(speak, name), due=lambda: lasts[name]):
            pass

    held = asyncio.create_task(worker.run(hold))
    await wait(began)
    reading = [asyncio.create_task(read(name)) for name in lasts]
    await turns_of_the_loop()
    go_on.set()
    await asyncio.gather(held, *reading)
    assert log == ["second"] * 3 + ["first", "second"] + ["first"] * 3


# --- close ---


async def test_closing_the_worker_lets_current_work_finish_and_takes_no_more(
    worker: Worker,
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def work() -> str:
        began.set()
        go_on.wait(HANG_S)
        return "done"

    current = asyncio.create_task(worker.run(work))
    await wait(began)
    worker.close()
    assert not current.done()
    with pytest.raises(RuntimeError):
        await worker.run(lambda: None)
    go_on.set()
    assert await current == "done"


async def test_a_stream_whose_turn_never_comes_ends_with_the_worker(
    worker: Worker, complaints: list[dict[str, Any]]
) -> None:
    """Its reader is told: it does not wait for ever."""
    current = Endless(blocks_at=1)
    reading = worker.stream(current)
    await anext(reading)
    queued = asyncio.create_task(anext(worker.stream(Endless())))
    await turns_of_the_loop()
    worker.close()
    with pytest.raises(asyncio.CancelledError):
        await queued
    await reading.aclose()
    assert complaints == []


def test_a_session_keeps_nothing_of_what_it_was_made_from() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value], [other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    data = model.SerializeToString()
    kept = sys.getrefcount(data)
    session = onnx_session(data)
    assert session.run(None, {"x": np.ones(1, np.float32)})[0] == -1
    assert sys.getrefcount(data) == kept
