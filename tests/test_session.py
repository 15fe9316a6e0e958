"""What sessions are built with: acts that are done in order, and work that brings them in."""

from __future__ import annotations

import asyncio

import pytest
from support import virtual_time

from pipeline.session import Inbox


def test_acts_are_done_one_after_the_other_whoever_brings_them() -> None:
    inbox, done = Inbox(), []

    def act(name: str) -> None:
        done.append(f"{name} begins")
        if name == "a":
            inbox.put(act, "b")
            inbox.put(act, "c")
        done.append(f"{name} ends")

    inbox.put(act, "a")
    assert done == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


def test_an_act_that_fails_tells_whoever_brought_it_and_the_next_ones_are_done() -> None:
    inbox, done = Inbox(), []

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        inbox.put(fail)
    inbox.put(done.append, 1)
    assert done == [1]


def test_what_work_has_found_comes_in_when_it_is_found_and_not_once_it_is_cancelled() -> None:
    found: list[str] = []

    async def work(name: str, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return name

    async def scene() -> None:
        async with Inbox() as inbox:
            inbox.start(work("slow", 2), found.append)
            inbox.start(work("fast", 1), found.append)
            inbox.start(work("cancelled", 1), found.append).cancel()
            inbox.start(work("too late", 9), found.append)
            await asyncio.sleep(3)

    virtual_time.run(scene())
    assert found == ["fast", "slow"]


def test_work_that_fails_ends_the_session() -> None:
    async def fail() -> None:
        raise ValueError("ours")

    async def scene() -> None:
        async with Inbox() as inbox:
            inbox.start(fail(), lambda _: None)
            await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup) as caught:
        virtual_time.run(scene())
    assert caught.group_contains(ValueError, match="ours")
