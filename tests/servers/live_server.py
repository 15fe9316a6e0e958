"""A server of OpenAI's Live protocol on a real socket, which does what a test's script says.

    async def script(call: Call) -> None:
        await call.heard(1.0)
        await call.sound(500)

    async with LiveServer(script) as server:
        ...  # OPENAI_BASE_URL = server.url

A script is the server's side of one connection, after the session has started; the next connection
takes the next script. When it returns, the server waits for the client to close the session.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import numpy as np
from openai.types.live import SessionConfigParam
from pydantic import TypeAdapter
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pipeline.events import Samples

RATE = 24_000
KNOWN = frozenset(SessionConfigParam.__annotations__)


class Call:
    """One connection, as a script sees it.

    Attributes:
        config: What `session.start` said.
        messages: All that came but sound, in order.
    """

    def __init__(self, socket: ServerConnection, session_id: str) -> None:
        self.config: Mapping[str, Any] = {}
        self.messages: list[dict[str, Any]] = []
        self.socket = socket
        self.session_id = session_id
        self._pieces: list[bytes] = []
        self._samples = 0
        self._news = asyncio.Event()
        self._events = 0
        self._sent_ms = 0
        self.gone = False

    @property
    def audio(self) -> Samples:
        """All the sound that came."""
        return np.frombuffer(b"".join(self._pieces), "<i2").astype(np.int16)

    async def event(self, kind: str, **more: Any) -> None:
        """Send an event."""
        self._events += 1
        await self.raw(json.dumps({"type": kind, "event_id": f"event_{self._events}", **more}))

    async def raw(self, text: str) -> None:
        """Send anything."""
        await self.socket.send(text)

    async def sound(self, ms: int, level: int = 5000) -> None:
        """Send sound, in pieces of 100 ms; level 0 is silence."""
        for at in range(0, ms, 100):
            length = min(100, ms - at) * RATE // 1000
            samples = np.resize(np.array([level, -level], "<i2"), length)
            delta = base64.b64encode(samples.tobytes()).decode()
            # Sound has no event_id and, on the primary connection, no times.
            await self.raw(json.dumps({"type": "session.output_audio.delta", "delta": delta}))
            self._sent_ms += 100

    async def silence(self, ms: int = 1200) -> None:
        """Send silence: by default enough to end a reply."""
        await self.sound(ms, level=0)

    async def said(self, *words: str) -> None:
        """Tell what the model says."""
        for word in words:
            times = {"start_ms": self._sent_ms, "end_ms": self._sent_ms + 200}
            await self.event("session.output_transcript.delta", delta=word, **times)

    async def understood(self, *words: str) -> None:
        """Tell what the user said."""
        for word in words:
            await self.event("session.input_transcript.delta", delta=word, start_ms=0, end_ms=200)

    async def backend(self, delegation: str, event: Mapping[str, Any]) -> None:
        """Tell what the text model does."""
        await self.event("response.event", delegation_id=delegation, event=event)

    async def usage(self, seconds: float) -> None:
        """Tell the session's usage so far."""
        await self.event("session.usage.updated", usage={"seconds": seconds})

    async def heard(self, seconds: float) -> None:
        """Wait until so much sound has come since the session began."""
        await self._until(lambda: self._samples >= seconds * RATE)

    async def received(self, kind: str, number: int = 1) -> dict[str, Any]:
        """Wait for the so-manieth message of a type."""
        await self._until(lambda: len(self.of(kind)) >= number)
        return self.of(kind)[number - 1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The messages of a type so far."""
        return [message for message in self.messages if message["type"] == kind]

    async def read(self) -> None:
        """Take what comes, until the client is gone."""
        try:
            async for text in self.socket:
                message = json.loads(text)
                if message["type"] == "session.input_audio.append":
                    self._pieces.append(base64.b64decode(message["audio"], validate=True))
                    self._samples += len(self._pieces[-1]) // 2
                else:
                    self.messages.append(message)
                self._tell()
        except ConnectionClosed:
            pass
        self.gone = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self.gone:
                raise ConnectionAbortedError("the client left")
            await self._news.wait()


Script = Callable[[Call], Awaitable[None]]


async def idle(call: Call) -> None:
    """A script that does nothing."""


class LiveServer:
    """The server. An async context manager, on a loopback port of its own.

    Attributes:
        calls: One for each connection that was made.
        keys: The bearer token of every attempt.
        paths: What was asked for.
        failure: What went wrong in a script.
    """

    def __init__(
        self,
        *scripts: Script,
        refuse: int = 0,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        starts: bool = True,
        closes: bool = True,
        session_id: str = "live_1",
        seconds: float = 0.0,
    ) -> None:
        """Prepare a server.

        Args:
            scripts: One for each connection.
            refuse: An HTTP status to refuse connections with.
            body: Of that answer.
            headers: Of that answer.
            starts: Whether it answers `session.start`; else the script has to.
            closes: Whether it answers `session.close`.
            session_id: What it calls its sessions.
            seconds: The usage that it tells at the end.
        """
        self.calls: list[Call] = []
        self.keys: list[str] = []
        self.paths: list[str] = []
        self.failure: BaseException | None = None
        self._scripts = list(scripts)
        self._refuse = refuse
        self._body = body
        self._headers = dict(headers or {})
        self._starts = starts
        self._closes = closes
        self._session_id = session_id
        self._seconds = seconds
        self._server: Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL takes."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._handle, "127.0.0.1", 0, process_request=self._look_at, close_timeout=0.2
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        if self.failure is not None and exc is None:
            raise self.failure

    def _look_at(self, connection: ServerConnection, request: Request) -> Response | None:
        self.keys.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        self.paths.append(request.path)
        if not self._refuse:
            return None
        body = self._body.encode()
        headers = Headers({"Content-Length": str(len(body)), **self._headers})
        return Response(self._refuse, HTTPStatus(self._refuse).phrase, headers, body)

    async def _handle(self, socket: ServerConnection) -> None:
        call = Call(socket, self._session_id)
        self.calls.append(call)
        script = self._scripts.pop(0) if self._scripts else idle
        reading = asyncio.ensure_future(call.read())
        try:
            start = await call.received("session.start")
            call.config = checked(start["session"])
            if self._starts:
                await call.event("session.started", session=self._session(call))
            await script(call)
            if self._closes:
                await call.received("session.close")
                usage = {"seconds": self._seconds}
                about = {"reason": "close_requested", "session": self._session(call)}
                await call.event("session.closed", **about, usage=usage)
            await reading
        except (ConnectionClosed, ConnectionAbortedError):
            pass
        except Exception as error:
            self.failure = error
            raise
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _session(self, call: Call) -> dict[str, Any]:
        about = {"id": self._session_id, "expires_at": 1, "status": "active"}
        return {**about, **call.config}


def checked(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A session's configuration that the API would take: no field that it does not know."""
    unknown = set(config) - KNOWN
    assert not unknown, f"unknown fields: {unknown}"
    TypeAdapter(SessionConfigParam).validate_python(config)
    return config
