"""A long conversation, and many clients of one server, in virtual time; everything happens.

Nobody plans it: how long users speak and pause, whether they speak over a reply, whether a stage
fails and which, when a client goes, is drawn at random. In the end nothing may be left running, or
have grown.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from random import Random

import numpy as np

from pipeline.config import Settings
from pipeline.conversation.cascade import Cascade
from pipeline.engines.llm import Messages, Piece
from pipeline.errors import StageError
from pipeline.events import (
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    SpeechStarted,
    SpeechStopped,
)
from pipeline.serve.link import Opening
from pipeline.serve.realtime import RealtimeConversation
from pipeline.trace import Trace
from support import virtual_time
from support.scripted import LOUD, RATE, Engines, Model, Speaker

FRAME = RATE // 50
REPLY = "It is nine. The train leaves at ten, from platform four, and it takes three hours. "
TEXTS = ("What time is it?", "When does the train leave?", "Tell me more, please.", "FAIL")
SETTLED_S = 60.0
"""Silence after which nothing is done any more: the longest reply is over long before."""

HEARS_OUT_S = 60.0
"""The patience of a user who lets a reply come to its end."""

WARM_TURNS = 40
"""Memory is compared with what it was after so many: caches have filled, history is cut."""


@dataclass
class Report:
    """What a long conversation left.

    Attributes:
        turns: How many turns the user had.
        counts: Events by type; replies also as `reply_done STATUS`.
        failures: Failures by stage.
        tasks: Tasks beyond those before, after the last turn had come to its end.
        most_tasks: The largest number of tasks at the beginning of a turn.
        threads: Threads beyond those before.
        grown: Bytes allocated beyond those after `WARM_TURNS` turns, less what the user of the
            session keeps.
        unanswered: Turns that were begun and never done: each has to end in a reply, or a failure.
        open: Streams of the engines that were never closed.
        stuck: What took longer than it ever should, or came out of order.
    """

    turns: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    most_tasks: int = 0
    threads: int = 0
    grown: int = 0
    unanswered: list[int] = field(default_factory=list)
    open: int = 0
    stuck: list[str] = field(default_factory=list)


class RandomModel(Model):
    """Writes a reply of random length, or fails: at once, in the middle, or with no words."""

    def __init__(self, random: Random) -> None:
        super().__init__([])
        self._random = random

    def next_script(self) -> str | StageError:
        """What it does when it is asked next."""
        draw = self._random.random()
        if draw < 0.05:
            return StageError("llm", "the server is gone")
        if draw < 0.10:
            return "It is BREAK"
        if draw < 0.13:
            return ""
        if draw < 0.18:
            return "It is FAIL now."
        return REPLY * self._random.randint(1, 4)

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """As `Model`; nothing of it is kept, so that memory tells of the session alone."""
        self.scripts = [self.next_script()]
        async for delta in super().stream(messages):
            yield delta
        self.prompts.clear()


class Conversation:
    """One conversation: `hold` it in virtual time."""

    def __init__(self) -> None:
        self.random = Random(1)
        self.engines = Engines(TEXTS, RandomModel(self.random), voice=Speaker())
        self.clock = virtual_time.VirtualClock()
        self.session = Cascade(self.engines, Settings(), Trace(), self.clock)
        self.report = Report()
        self.offset = 0
        self.begun: set[int] = set()
        self.done: set[int] = set()
        self.playing: tuple[int, str] | None = None
        self.made = self.position = 0

    async def hold(self, turns: int) -> Report:
        """Talk for so many of the user's turns, and see what is left."""
        before = len(asyncio.all_tasks())
        threads = threading.active_count()
        warm, warm_after = 0, min(WARM_TURNS, turns // 2)
        async with self.session:
            helpers = [asyncio.create_task(self._read()), asyncio.create_task(self._play())]
            idle = len(asyncio.all_tasks())
            while len(self.begun) < turns:
                # Whoever traces allocations is four times slower, so not from the beginning.
                if len(self.begun) >= warm_after // 2 and not tracemalloc.is_tracing():
                    tracemalloc.start()
                if not warm and len(self.begun) >= warm_after:
                    warm = _allocated()
                await self._turn()
                tasks = len(asyncio.all_tasks()) - idle
                self.report.most_tasks = max(self.report.most_tasks, tasks)
            await self._sound(SETTLED_S, None)
            self._forget()
            self.report.grown = _allocated() - warm
            self.report.tasks = len(asyncio.all_tasks()) - idle
            if self.session.preparing:
                self.report.stuck.append("it prepares an answer that nobody waits for")
            helpers[1].cancel()
        await helpers[0]
        await asyncio.sleep(0)
        self.report.tasks += max(0, len(asyncio.all_tasks()) - before)
        self.report.threads = threading.active_count() - threads
        self.report.turns = len(self.begun)
        self.report.unanswered = sorted(self.begun - self.done)
        self.report.open = self.engines.model.open + self.engines.voice.open
        return self.report

    async def _turn(self) -> None:
        """Speak, with pauses; then wait for the reply, or speak over it."""
        self._forget()
        said = self.random.choices(range(len(TEXTS)), (10, 10, 10, 3))[0]
        for _ in range(self.random.randint(1, 4)):
            await self._sound(self.random.uniform(0.15, 1.5), said)
            await self._sound(self.random.uniform(0.05, 0.45), None)
        await self._sound(self.random.uniform(0.6, 1.2), None)
        patience_s = self.random.choice([0.3, 1.0, 3.0, HEARS_OUT_S])
        while self.playing is not None and patience_s > 0:
            await self._sound(0.2, None)
            patience_s -= 0.2
            if self.random.random() < 0.06:
                await self._sound(self.random.uniform(0.03, 0.25), said)  # a cough, or a word

    async def _sound(self, seconds: float, said: int | None) -> None:
        """Let the microphone hear someone say `TEXTS[said]`, or silence."""
        level = 0 if said is None else LOUD + said
        samples = np.full(FRAME, level, np.int16)
        for _ in range(max(1, round(seconds * 50))):
            captured = self.clock.now_ns()
            await asyncio.sleep(0.02)
            began = asyncio.get_running_loop().time()
            await self.session.send(Frame(samples, RATE, self.offset, captured))
            if asyncio.get_running_loop().time() - began > 1.0:
                self.report.stuck.append(f"a frame took over a second, at {began:.1f} s")
            self.offset += FRAME

    def _forget(self) -> None:
        """Leave out what engines note for other tests."""
        self.engines.heard.clear()
        self.engines.ahead.clear()
        self.engines.voice.said.clear()

    async def _read(self) -> None:
        async for event in self.session.events():
            self.report.counts[type(event).__name__] += 1
            match event:
                case SpeechStarted():
                    self.begun.add(event.turn)
                case SpeechStopped() if event.turn not in self.begun:
                    self.report.stuck.append(f"turn {event.turn} ended before it began")
                case ReplyAudio():
                    if (event.turn, event.id) != self.playing:
                        self.playing, self.made, self.position = (event.turn, event.id), 0, 0
                    self.made += len(event.frame.samples)
                case ReplyInterrupted() if (event.turn, event.id) == self.playing:
                    self.playing = None
                case Failure():
                    self.report.failures[event.stage] += 1
                case ReplyDone():
                    if event.turn in self.done:
                        self.report.stuck.append(f"turn {event.turn} was done twice")
                    self.report.counts[f"ReplyDone {event.status}"] += 1
                    self.done.add(event.turn)

    async def _play(self) -> None:
        """Play what is made, in real time, and tell how far."""
        while True:
            await asyncio.sleep(0.02)
            if self.playing is not None:
                turn, reply = self.playing
                self.position = min(self.position + 20, self.made)
                if self.position == self.made and turn in self.done:
                    self.playing = None
                await self.session.heard(reply, self.position)


def converse(turns: int) -> Report:
    """Hold a conversation of so many of the user's turns, in virtual time."""
    try:
        return virtual_time.run(Conversation().hold(turns))
    finally:
        tracemalloc.stop()


def _allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


WIRE = 24_000
STEP_S = 0.1


def _message(level: int) -> str:
    sound = np.full(round(STEP_S * WIRE), level, "<i2").tobytes()
    return json.dumps(
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(sound).decode()}
    )


SILENCE = _message(0)
SPEECH = [_message(LOUD + number) for number in range(3)]


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

    def __init__(self) -> None:
        self.random = Random(1)
        self.engines = Engines(TEXTS[:3], RandomModel(self.random), voice=Speaker())
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
            before, self.left.grown = self.left.grown, _blocks()
        self.left.grown -= before
        await asyncio.sleep(1)
        self.left.tasks = len(asyncio.all_tasks()) - tasks
        self.left.threads = threading.active_count() - threads
        self.left.streams = self.engines.model.open + self.engines.voice.open
        return self.left


def crowd(clients: int) -> Left:
    """Let so many clients of one server come and go, five at a time, in virtual time."""
    return virtual_time.run(Crowd().hold(clients, (1.0, 15.0), 5))


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()
