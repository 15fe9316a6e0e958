"""Clients of the Realtime protocol that others wrote, unmodified, in applications of a few lines.

Whatever a client calls the things that it shows, an `App` shows them in one form, so that one
conversation can be held with all of them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from pipeline.audio.files import read_audio
from support.cli_child import ROOT
from support.serve_child import PAGE
from support.weather import RESULT, TOOL, TOOLS

if TYPE_CHECKING:
    from agents.realtime import RealtimeSession

RATE = 24_000
PIECE_S = 0.02
"""How much sound a microphone gives at once."""

WAIT_S = 60.0
"""Far above what anything takes, on a busy machine too."""

INSTRUCTIONS = "Be brief."

NODE = ROOT / "tests" / "clients"
"""Where the application for Node is, and what it needs of npm's registry."""


def printed(beginning: str, port: int) -> str:
    """How a client is told where the server is, as the page has it; with another port."""
    [found] = re.findall(f"`({beginning}[^`]*:8765/[^`]*)`", PAGE.read_text("utf-8"))
    return str(found).replace(":8765/", f":{port}/")


class App(ABC):
    """An application that talks with a server through somebody else's client, while it is entered.

    Attributes:
        items: The conversation as the client shows it, oldest first.
        sound: Bytes of sound that the client gave so far, to be played as it comes.
        errors: What it complained of.
    """

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._sound, self._silent_at = 0, 0.0
        self._speech = np.zeros(0, np.int16)
        self._all_said = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(work) for work in (self._microphone(), self.work())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @abstractmethod
    async def hear(self, sound: bytes) -> None:
        """Give the client what the microphone heard, int16 at `RATE`."""

    @abstractmethod
    async def write(self, text: str) -> None:
        """Give the client what the user typed, to be answered."""

    @abstractmethod
    async def work(self) -> None:
        """Take note of what the client tells, and do what it leaves to the application."""

    @property
    def sound(self) -> int:
        return self._sound

    @sound.setter
    def sound(self, now: int) -> None:
        came_s = (now - self._sound) / (2 * RATE)
        self._sound, self._silent_at = now, max(self._silent_at, time.monotonic()) + came_s

    @property
    def quiet(self) -> bool:
        """Whether all the sound has been played, if none of it was stopped."""
        return time.monotonic() > self._silent_at

    @property
    def history(self) -> list[tuple[str, str]]:
        """Who said what; of a tool its name, arguments and result. Nothing without words."""
        return [line for line in map(_line, self.items) if line[1]]

    async def say(self, recording: Path) -> None:
        """Speak into the microphone, in real time; returns when all is said."""
        self._speech = np.concatenate([*read_audio(recording, RATE)])
        self._all_said.clear()
        await self.until(self._all_said.is_set)

    async def until(self, is_so: Callable[[], Any]) -> None:
        """Wait until something is so; fails with all that the client has shown."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while not is_so() and not any(task.done() for task in self._tasks):
                    await asyncio.sleep(0.01)
        broken = [task.exception() or "it ended" for task in self._tasks if task.done()]
        assert is_so() and not broken, f"{broken}, {self.errors}; it has shown {self.history}"

    async def _microphone(self) -> None:
        """Hear all the time, in real time: what is said, else silence."""
        due, n = time.monotonic(), round(RATE * PIECE_S)
        while True:
            piece, self._speech = self._speech[:n], self._speech[n:]
            if not len(self._speech):
                self._all_said.set()
            await self.hear(np.pad(piece, (0, n - len(piece))).astype("<i2").tobytes())
            due += PIECE_S
            await asyncio.sleep(due - time.monotonic())


def _line(item: dict[str, Any]) -> tuple[str, str]:
    """What an item says, as any of the clients shows it."""
    if item["type"] == "function_call":
        return item["name"], f"{item['arguments']} {item['output']}"
    parts: Iterable[dict[str, Any]] = item["content"]
    return item["role"], "".join(p.get("transcript") or p.get("text") or "" for p in parts)


class SdkApp(App):
    """On the plain connection of OpenAI's SDK: the application does all itself."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        super().__init__()
        self._sdk = connection
        self._playing, self._since, self._bytes = "", 0.0, 0

    async def hear(self, sound: bytes) -> None:
        await self._sdk.input_audio_buffer.append(audio=base64.b64encode(sound).decode())

    async def write(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item: Any = {"type": "message", "role": "user", "content": content}
        await self._sdk.conversation.item.create(item=item)
        await self._sdk.response.create()

    async def work(self) -> None:
        async for event in self._sdk:
            match event.type:
                case "error":
                    self.errors.append(str(event.error))
                case "conversation.item.added":
                    self._keep(event.item, event.previous_item_id)
                case "conversation.item.done" | "conversation.item.retrieved":
                    self._keep(event.item)
                case (
                    "conversation.item.input_audio_transcription.completed"
                    | "conversation.item.truncated"
                ):
                    await self._sdk.conversation.item.retrieve(item_id=event.item_id)
                case "response.output_audio.delta":
                    self._play(event.item_id, base64.b64decode(event.delta))
                case "input_audio_buffer.speech_started":
                    await self._stop()
                case "response.done":
                    await self._call(event.response.output or [])

    def _keep(self, item: Any, after: str | None = None) -> None:
        about = {"output": None, **item.model_dump()}
        places = [each["id"] for each in self.items]
        if about["type"] == "function_call_output":
            [call] = [each for each in self.items if each.get("call_id") == about["call_id"]]
            call["output"] = about["output"]
        elif about["id"] in places:
            self.items[places.index(about["id"])] |= {k: v for k, v in about.items() if v}
        else:
            self.items.insert(places.index(after) + 1 if after in places else len(places), about)

    def _play(self, item_id: str, sound: bytes) -> None:
        if item_id != self._playing:
            self._playing, self._since, self._bytes = item_id, time.monotonic(), 0
        self._bytes += len(sound)
        self.sound += len(sound)

    async def _stop(self) -> None:
        """The user speaks: what is still to be played of the reply is not."""
        played_ms = int(1000 * (time.monotonic() - self._since))
        if self._playing and played_ms < self._bytes * 1000 // (2 * RATE):
            await self._sdk.conversation.item.truncate(
                item_id=self._playing, content_index=0, audio_end_ms=played_ms
            )
        self._playing = ""

    async def _call(self, output: Iterable[Any]) -> None:
        calls = [item for item in output if item.type == "function_call"]
        for call in calls:
            item: Any = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
            await self._sdk.conversation.item.create(item=item)
        if calls:
            await self._sdk.response.create()


@contextlib.asynccontextmanager
async def openai_sdk(port: int) -> AsyncIterator[App]:
    """`AsyncOpenAI().realtime.connect`; server VAD."""
    heard = {"transcription": {"model": "whisper-1"}, "turn_detection": {"type": "server_vad"}}
    session: Any = {"instructions": INSTRUCTIONS, "tools": TOOLS, "audio": {"input": heard}}
    async with (
        eval(printed("AsyncOpenAI", port), {"AsyncOpenAI": AsyncOpenAI}) as client,
        client.realtime.connect(model="gpt-realtime-2.1") as connection,
    ):
        await connection.session.update(session={"type": "realtime", **session})
        async with SdkApp(connection) as app:
            yield app


class AgentsApp(App):
    """On the session of the Agents SDK for Python, which calls tools and stops its own sound."""

    def __init__(self, session: RealtimeSession) -> None:
        super().__init__()
        self._session = session

    async def hear(self, sound: bytes) -> None:
        await self._session.send_audio(sound)

    async def write(self, text: str) -> None:
        await self._session.send_message(text)

    async def work(self) -> None:
        async for event in self._session:
            match event.type:
                case "error":
                    self.errors.append(str(event.error))
                case "history_updated":
                    self.items = [item.model_dump() for item in event.history]
                case "history_added":
                    self.items.append(event.item.model_dump())
                case "audio":
                    self.sound += len(event.audio.data)


@contextlib.asynccontextmanager
async def agents_python(port: int) -> AsyncIterator[App]:
    """`RealtimeRunner` of openai-agents, with its defaults."""
    # A second of work, which not every process that collects tests has to do.
    from agents import FunctionTool
    from agents.realtime import RealtimeAgent, RealtimeRunner

    async def invoke(*_: Any) -> str:
        return RESULT

    tool = FunctionTool(TOOL["name"], TOOL["description"], TOOL["parameters"], invoke)
    agent: Any = RealtimeAgent(name="assistant", instructions=INSTRUCTIONS, tools=[tool])
    known = {"RealtimeRunner": RealtimeRunner, "agent": agent}
    async with (
        await eval(printed("RealtimeRunner", port), known) as session,
        AgentsApp(session) as app,
    ):
        yield app


class NodeApp(App):
    """On the session of the Agents SDK for JavaScript, in a process of Node's (`agents.mjs`)."""

    def __init__(self, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader) -> None:
        super().__init__()
        self._stdin, self._stdout = stdin, stdout

    async def hear(self, sound: bytes) -> None:
        await self._do({"sound": base64.b64encode(sound).decode()})

    async def write(self, text: str) -> None:
        await self._do({"text": text})

    async def work(self) -> None:
        async for line in self._stdout:
            seen = json.loads(line)
            self.items, self.sound, self.errors = seen["history"], seen["sound"], seen["errors"]

    async def _do(self, what: dict[str, str]) -> None:
        self._stdin.write(json.dumps(what).encode() + b"\n")
        await self._stdin.drain()


@contextlib.asynccontextmanager
async def agents_node(port: int) -> AsyncIterator[App]:
    """`RealtimeSession` of @openai/agents-realtime, with its defaults."""
    about = json.dumps({**TOOL, "result": RESULT})
    child = await asyncio.create_subprocess_exec(
        *("node", "agents.mjs", printed("session.connect", port), INSTRUCTIONS, about),
        cwd=NODE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        async with NodeApp(child.stdin, child.stdout) as app:
            yield app
        child.stdin.close()
        async with asyncio.timeout(WAIT_S):
            assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
