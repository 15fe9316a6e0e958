"""A client of the cascade's Realtime server in virtual time: a microphone, and a link in memory.

All that it receives is checked by the grammar and by the SDK's own types.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import numpy as np

from pipeline.config import Settings
from pipeline.serve.link import Opening
from pipeline.serve.realtime import RealtimeConversation
from support import virtual_time
from support.realtime_grammar import Grammar
from support.scripted import LOUD, Engines

RATE = 24_000
STEP_S = 0.02

Event = dict[str, Any]


class Client:
    """A client and its link. What it says is in the loudness, as `scripted.Engines` hears it.

    Attributes:
        events: What it received.
        times: When (s).
        closed: With which code and reason the server closed the connection.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []
        self.closed: tuple[int, str] | None = None
        self.said = 0
        self._grammar = Grammar()
        self._sent: asyncio.Queue[tuple[int, str | bytes] | None] = asyncio.Queue()
        self._news = asyncio.Event()

    # --- the link ---

    async def messages(self) -> AsyncIterator[tuple[int, str | bytes]]:
        while (message := await self._sent.get()) is not None:
            yield message

    def send(self, message: str) -> None:
        event = json.loads(message)
        assert self._grammar.feed(event) == []
        self.events.append(event)
        self.times.append(asyncio.get_running_loop().time())
        self._news.set()

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason

    # --- the client ---

    def tell(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        now_ns = virtual_time.VirtualClock().now_ns()
        self._sent.put_nowait((now_ns, json.dumps({"type": kind, **fields})))

    def raw(self, message: str | bytes) -> None:
        """Send whatever it is."""
        self._sent.put_nowait((virtual_time.VirtualClock().now_ns(), message))

    def leave(self) -> None:
        self._sent.put_nowait(None)

    def update(self, **fields: Any) -> None:
        self.tell("session.update", session={"type": "realtime", **fields})

    def detect(self, detection: Mapping[str, Any] | None, **more: Any) -> None:
        """Set the turn detection, and transcription on."""
        given = {"turn_detection": detection, "transcription": {"model": "whisper-1"}, **more}
        self.update(audio={"input": given})

    def append(self, samples: np.ndarray) -> None:
        audio = base64.b64encode(samples.astype("<i2").tobytes()).decode()
        self.tell("input_audio_buffer.append", audio=audio)

    async def speak(self, seconds: float, *, loud: bool = True) -> None:
        """Speak, or be silent, in real time."""
        for _ in range(round(seconds / STEP_S)):
            await asyncio.sleep(STEP_S)
            self.append(self.sound(STEP_S, loud=loud))
        self.said += loud

    async def quiet(self, seconds: float) -> None:
        await self.speak(seconds, loud=False)

    def sound(self, seconds: float, *, loud: bool = True) -> np.ndarray:
        return np.full(round(seconds * RATE), LOUD + self.said if loud else 0, np.int16)

    def add(self, **item: Any) -> None:
        self.tell("conversation.item.create", item=item)

    def write(self, text: str, role: str = "user", **more: Any) -> None:
        """Add a message of text."""
        kind = "output_text" if role == "assistant" else "input_text"
        content = [{"type": kind, "text": text}]
        self.tell(
            "conversation.item.create",
            item={"type": "message", "role": role, "content": content},
            **more,
        )

    def respond(self, **options: Any) -> None:
        self.tell("response.create", response=options)

    async def answered(self, **options: Any) -> None:
        """Ask for a response, and wait until it is over."""
        number = len(self.done) + 1
        self.respond(**options)
        await self.until("response.done", number)

    # --- what it received ---

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def done(self) -> list[Event]:
        """The responses that are over."""
        return [event["response"] for event in self.of("response.done")]

    @property
    def ends(self) -> list[tuple[str, str | None]]:
        """How the responses ended: status and reason."""
        return [
            (each["status"], (each["status_details"] or {}).get("reason")) for each in self.done
        ]

    @property
    def said_back(self) -> list[str]:
        """The words of the assistant's messages."""
        return [
            part.get("transcript") or part.get("text")
            for event in self.of("response.output_item.done")
            for part in event["item"].get("content", [])
        ]

    def time(self, kind: str, number: int = 0) -> float:
        return self.times[self.events.index(self.of(kind)[number])]

    async def until(self, kind: str, number: int = 1) -> Event:
        """Wait for so many events of a kind; the last of them."""
        async with asyncio.timeout(60):
            while len(found := self.of(kind)) < number:
                self._news.clear()
                await self._news.wait()
        return found[number - 1]

    def finish(self) -> None:
        assert self._grammar.finish() == []


def hold(
    engines: Engines,
    script: Callable[[Client], Coroutine[Any, Any, None]],
    settings: Settings | None = None,
    opening: Opening | None = None,
    **more: Any,
) -> Client:
    """Hold a conversation in virtual time: `script` is what the client does until it leaves.

    By then nothing may be under way.
    """

    async def talk() -> Client:
        client = Client()
        clock = virtual_time.VirtualClock()
        held = RealtimeConversation(
            engines, settings or Settings(), clock, client, opening or Opening(), **more
        )
        talking = asyncio.create_task(held.run())
        acting = asyncio.create_task(script(client))
        await asyncio.wait([talking, acting], return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            acting.cancel()
            await talking
        await acting
        client.leave()
        await talking
        client.finish()
        return client

    return virtual_time.run(talk())
