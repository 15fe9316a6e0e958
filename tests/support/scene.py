"""A conversation in virtual time: a user who speaks by a script, a loudspeaker, and tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.config import Settings, TurnSettings
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.history import Message
from pipeline.engines.tools import Tool
from pipeline.events import Event, Frame, ReplyAudio, ReplyInterrupted, ReplyText, ToolCall
from pipeline.trace import Timeline, Trace
from support import virtual_time
from support.scripted import LOUD, RATE, Engines

Kind = TypeVar("Kind", bound=Event)

FRAME = RATE // 50
LONG = "The train leaves at nine in the morning, from platform four, and it takes three hours. " * 4
ASKS = ((0.5, False), (0.6, True))
"""What the user does, as seconds and whether they speak: a question after half a second."""

BLUNT = Settings(turns=TurnSettings(predict=False))
"""The end of a turn is silence of one length, whatever was said."""


class Scene:
    """What the user does, what they hear, and what the session tells.

    Attributes:
        events: What the session told.
        times: When it told each (s).
        position: How much of each reply was played (samples).
        sounding: When something was played (s).

    Args:
        engines: Follow a script.
        history: Said before.
        options: Of the run.
        tools: Offered; each call takes its time, and gives its result.
        results: So many calls are answered: after how long (s), with what.
        file: Of the trace.
        fixed: More arguments of the session.
    """

    def __init__(
        self,
        engines: Engines,
        history: Sequence[Message] = (),
        options: Settings | None = None,
        *,
        tools: Sequence[Tool] = (),
        results: Sequence[tuple[float, str]] = (),
        file: Path | None = None,
        **fixed: Any,
    ) -> None:
        self.engines = engines
        self.trace = Trace(file)
        self.clock = virtual_time.VirtualClock()
        self.session = Cascade(
            engines, options or Settings(), self.trace, self.clock, history, tools, **fixed
        )
        self.events: list[Event] = []
        self.times: list[float] = []
        self.position: dict[str, int] = {}
        self.sounding: list[float] = []
        self._results = list(results)
        self._tasks: list[asyncio.Task[None]] = []
        self._made: dict[str, int] = {}
        self._playing = ""
        self.offset = 0
        self.said = 0

    async def speak(self, seconds: float, *, loud: bool) -> None:
        """Speak, or be silent, in frames of 20 ms."""
        for _ in range(round(seconds * 50)):
            samples = np.full(FRAME, LOUD + self.said if loud else 0, np.int16)
            captured = self.clock.now_ns()
            await asyncio.sleep(0.02)
            await self.session.send(Frame(samples, RATE, self.offset, captured))
            self.offset += FRAME
        self.said += loud

    async def script(self, *parts: tuple[float, bool]) -> None:
        """Speak part after part in a session, from its beginning to its end."""
        with self.trace:
            async with self.session:
                reader = asyncio.create_task(self.read())
                player = asyncio.create_task(self.play())
                for seconds, loud in parts:
                    await self.speak(seconds, loud=loud)
                player.cancel()
            await reader

    async def read(self) -> None:
        """Take the events; tools begin to work when they are called."""
        async for event in self.session.events():
            self.events.append(event)
            self.times.append(asyncio.get_running_loop().time())
            match event:
                case ReplyAudio():
                    if event.id not in self._made:
                        self._made[event.id] = self.position[event.id] = 0
                        self._playing = event.id
                    self._made[event.id] += len(event.frame.samples)
                case ReplyInterrupted():
                    self._playing = ""
                case ToolCall() if self._results:
                    work = self._work(event, *self._results.pop(0))
                    self._tasks.append(asyncio.create_task(work))
        for task in self._tasks:
            task.cancel()

    async def _work(self, call: ToolCall, seconds: float, output: str) -> None:
        await asyncio.sleep(seconds)
        await self.session.tool_result(call.id, output)

    async def play(self) -> None:
        """Play the newest reply in real time: a sample is a millisecond."""
        while True:
            await asyncio.sleep(0.02)
            if reply := self._playing:
                at = self.position[reply]
                if at == 0:
                    self.trace.mark(self.events[-1].turn, "heard.first", self.clock.now_ns())
                self.position[reply] = min(at + 20, self._made[reply])
                if self.position[reply] > at:
                    self.sounding.append(asyncio.get_running_loop().time())
                await self.session.heard(reply, self.position[reply])

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def time(self, event: Event) -> float:
        """When the session told an event (s)."""
        return self.times[self.events.index(event)]

    def text(self, reply_id: str) -> str:
        """What a reply said."""
        return "".join(event.delta for event in self.of(ReplyText) if event.id == reply_id)

    def kept(self) -> list[tuple[str, str]]:
        """The history: who, and what."""
        return [(message.role, message.content) for message in self.session.history]

    def timeline(self) -> Timeline:
        """Of the first turn."""
        timeline = Timeline.from_marks(self.trace.marks(1))
        assert timeline is not None
        return timeline


def run(scene: Scene, *parts: tuple[float, bool]) -> Scene:
    """Play a scene."""
    virtual_time.run(scene.script(*parts))
    return scene


def check_prompt(prompt: Sequence[Any]) -> None:
    """What chat servers and templates take: each call is followed by its results, in order."""
    wanted: list[str] = []
    ids: list[str] = []
    last = ""
    for message in prompt:
        role = message["role"]
        assert (role == "tool") == bool(wanted), "a result follows a call, and nothing else does"
        if role == "tool":
            assert message["tool_call_id"] == wanted.pop(0)
        else:
            assert role != last
            assert (last, role) != ("tool", "user")
        for call in message.get("tool_calls", ()):
            assert role == "assistant"
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            wanted.append(call["id"])
            ids.append(call["id"])
        assert message["content"] or message.get("tool_calls")
        last = role
    assert not wanted
    assert len(ids) == len(set(ids))
    json.dumps(prompt, ensure_ascii=False).encode()
