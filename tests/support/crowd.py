"""Many clients of one server in virtual time: they come, talk, and go in the middle of anything.

For tests and the benchmark. In the end nothing may be left running, or have grown.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from random import Random

import numpy as np

from pipeline.config import Settings
from pipeline.serve.link import Opening
from pipeline.serve.realtime import RealtimeConversation
from support import virtual_time
from support.endurance import RandomModel
from support.scripted import LOUD, Engines, Speaker

RATE = 24_000
STEP_S = 0.1
TEXTS = ("What time is it?", "When does the train leave?", "Tell me more, please.")


def _message(level: int) -> str:
    sound = np.full(round(STEP_S * RATE), level, "<i2").tobytes()
    return json.dumps(
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()}
    )


SILENCE = _message(0)
SPEECH = [_message(LOUD + number) for number in range(len(TEXTS))]


@dataclass
class Left:
    """What a crowd left behind.

    Attributes:
        sessions: How many clients came.
        most: How many there were at a time, at most.
        counts: What they received, by type.
        tasks: Tasks beyond those before.
        threads: Threads beyond those before.
        streams: Streams of the engines that were never closed.
        grown: Blocks of memory beyond those when two thirds of the clients had come and gone.
        slow: Sessions that were not over at once when their client had gone.
    """

    sessions: int = 0
    most: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    threads: int = 0
    streams: int = 0
    grown: int = 0
    slow: int = 0


class Visitor:
    """A client and its link: it counts what it receives, and keeps nothing."""

    def __init__(self, random: Random, counts: Counter[str]) -> None:
        self._random = random
        self._counts = counts

    async def messages(self) -> AsyncIterator[tuple[int, str | bytes]]:
        """Speak and be silent by turns, for ever."""
        clock = virtual_time.VirtualClock()
        while True:
            said = self._random.choice(SPEECH)
            for message, seconds in ((said, (0.3, 3.0)), (SILENCE, (0.5, 12.0))):
                for _ in range(round(self._random.uniform(*seconds) / STEP_S)):
                    await asyncio.sleep(STEP_S)
                    yield clock.now_ns(), message

    def send(self, message: str) -> None:
        """Take an event."""
        self._counts[json.loads(message)["type"]] += 1

    def close(self, code: int, reason: str) -> None:
        """The server ends a session that has failed."""
        self._counts[f"closed {code}"] += 1


class Crowd:
    """Clients that come and go."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.engines = Engines(TEXTS, RandomModel(self.random), voice=Speaker())
        self.clock = virtual_time.VirtualClock()
        self.left = Left()
        self._here = 0

    async def come(self, seconds: float) -> None:
        """A client comes, talks for so long, and is gone."""
        self._here += 1
        self.left.sessions += 1
        self.left.most = max(self.left.most, self._here)
        visitor = Visitor(self.random, self.left.counts)
        held = RealtimeConversation(self.engines, Settings(), self.clock, visitor, Opening())
        talking = asyncio.create_task(held.run())
        await asyncio.wait([talking], timeout=seconds)
        gone = asyncio.get_running_loop().time()
        talking.cancel()
        await asyncio.wait([talking])
        self.left.slow += asyncio.get_running_loop().time() - gone > 0.1
        self._here -= 1
        # What engines note for other tests.
        self.engines.heard.clear()
        self.engines.ahead.clear()
        self.engines.languages.clear()
        self.engines.voice.said.clear()

    async def hold(self, clients: int, seconds: tuple[float, float], places: int) -> Left:
        """So many clients come, no more at a time than there are places, each for a while."""
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        waiting: Iterator[int] = iter(())

        async def place() -> None:
            for _ in waiting:
                await self.come(self.random.uniform(*seconds))

        before = 0
        for _ in range(3):
            waiting = iter(range(clients // 3))
            await asyncio.gather(*(place() for _ in range(places)))
            before, self.left.grown = self.left.grown, _allocated()
        self.left.grown -= before
        await asyncio.sleep(1)
        self.left.tasks = len(asyncio.all_tasks()) - tasks
        self.left.threads = threading.active_count() - threads
        self.left.streams = self.engines.model.open + self.engines.voice.open
        return self.left


def hold(
    clients: int, seconds: tuple[float, float] = (1.0, 15.0), places: int = 5, seed: int = 1
) -> Left:
    """Let a crowd come and go, in virtual time."""
    return virtual_time.run(Crowd(seed).hold(clients, seconds, places))


def _allocated() -> int:
    gc.collect()
    return sys.getallocatedblocks()
