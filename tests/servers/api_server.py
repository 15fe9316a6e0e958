"""A server of one of the three protocols on a real socket, which does what a test's script says.

    async def script(call: Call) -> None:
        await call.heard(1.0)
        await call.tell(call.say.says("Hello."))

    async with ApiServer(Realtime, script) as server:
        ...  # server.spec() is how to get there

A script is the server's side of one connection, after the session was configured; the next
connection takes the next script, and the last one serves all that follow. When it returns, the
server waits for the client to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import trustme
from support.dialects import Dialect, Message
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pipeline.events import Samples
from pipeline.speech_to_speech.brief import SystemSpec


class Call:
    """One connection, as a script sees it.

    Attributes:
        say: Makes messages.
        opening: What configured the session.
        messages: All that came but sound, in order.
        gone: The client has left.
    """

    def __init__(self, socket: ServerConnection, say: Any) -> None:
        self.socket = socket
        self.say = say
        self.opening: Message = {}
        self.messages: list[Message] = []
        self.gone = False
        self._pieces: list[Samples] = []
        self._news = asyncio.Event()

    @property
    def audio(self) -> Samples:
        """All the sound that came."""
        return np.concatenate([np.zeros(0, np.int16), *self._pieces])

    async def tell(self, *parts: list[Message]) -> None:
        """Send messages."""
        for part in parts:
            for message in part:
                await self.raw(json.dumps(message))

    async def event(self, kind: str, **fields: Any) -> None:
        """Send an event of a protocol whose messages have a type."""
        await self.tell([{"type": kind, **fields}])

    async def raw(self, text: str | bytes) -> None:
        """Send anything."""
        await self.socket.send(text)

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection."""
        await self.socket.close(code, reason)

    def drop(self) -> None:
        """Break the connection."""
        self.socket.transport.abort()

    async def heard(self, seconds: float) -> None:
        """Wait until so much sound has come over this connection."""
        await self.until(lambda: sum(map(len, self._pieces)) >= seconds * self.say.heard_rate)

    async def received(self, kind: str, number: int = 1) -> Message:
        """Wait for the so-manieth message of a kind."""
        await self.until(lambda: len(self.of(kind)) >= number)
        return self.of(kind)[number - 1]

    async def result(self, number: int = 1) -> tuple[str, str]:
        """Wait for the so-manieth result of a tool: its call, and what it is."""
        await self.until(lambda: len(self.results()) >= number)
        return self.results()[number - 1]

    def of(self, kind: str) -> list[Message]:
        """The messages of a kind so far."""
        return [each for each in self.messages if self.say.kind_of(each) == kind]

    def results(self) -> list[tuple[str, str]]:
        """The results of tools so far."""
        return [found for each in self.messages if (found := self.say.result_of(each))]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the client does."""
        while not condition():
            if self.gone:
                raise ConnectionAbortedError("the client left")
            await self._news.wait()

    async def read(self) -> None:
        """Take what comes, until the client is gone."""
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                message = json.loads(text)
                sound = self.say.sound_of(message)
                if sound is None:
                    self.messages.append(message)
                else:
                    self._pieces.append(sound)
                self._tell()
        self.gone = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


Script = Callable[[Call], Awaitable[None]]


async def idle(call: Call) -> None:
    """A script that does nothing."""


class ApiServer:
    """The server. An async context manager, on a loopback port of its own.

    Attributes:
        calls: One for each connection that was made.
        requests: Every attempt.
        certificate: What to trust it by; empty: it speaks without TLS.
    """

    def __init__(
        self,
        dialect: Callable[[], Dialect],
        *scripts: Script,
        refuse: int = 0,
        body: str = "",
        greets: bool = True,
        closes: bool = True,
        tls: bool = False,
    ) -> None:
        """Prepare a server.

        Args:
            dialect: What it speaks.
            scripts: One for each connection.
            refuse: An HTTP status to refuse connections with.
            body: Of that answer.
            greets: Whether it sets the session up; else the script has to.
            closes: Whether it answers a client that takes leave.
            tls: Whether it speaks TLS though the protocol needs none.
        """
        self.calls: list[Call] = []
        self.requests: list[Request] = []
        self.certificate = ""
        self._dialect = dialect
        self._scripts = scripts or (idle,)
        self._refuse = refuse
        self._body = body
        self._greets = greets
        self._closes = closes
        self._tls = tls or dialect().tls
        self._stack = contextlib.AsyncExitStack()
        self._failure: BaseException | None = None
        self.host = ""

    def spec(self, **options: str) -> SystemSpec:
        """How the command line describes this server."""
        return self._dialect().spec(self.host, self.certificate, options)

    @property
    def environment(self) -> dict[str, str]:
        """What of the environment leads to it."""
        return self._dialect().environment(self.host)

    async def __aenter__(self) -> Self:
        context: ssl.SSLContext | None = None
        if self._tls:
            authority = trustme.CA()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            folder = self._stack.enter_context(tempfile.TemporaryDirectory())
            self.certificate = str(Path(folder) / "ca.pem")
            authority.cert_pem.write_to_path(self.certificate)
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            0,
            process_request=self._look_at,
            close_timeout=0.2,
            max_size=None,
            compression=None,
            ssl=context,
        )
        self.host = f"127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        self.certificate = ""
        self._server.close()
        await self._server.wait_closed()
        if self._failure is not None and exc is None:
            raise self._failure

    def stop(self) -> None:
        """Take no more connections; those that there are go on."""
        self._server.close(close_connections=False)

    def _look_at(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if not self._refuse:
            return None
        body = self._body.encode()
        headers: Mapping[str, str] = {"Content-Length": str(len(body)), "Retry-After": "17"}
        phrase = HTTPStatus(self._refuse).phrase
        return Response(self._refuse, phrase, Headers(headers), body)

    async def _handle(self, socket: ServerConnection) -> None:
        call = Call(socket, self._dialect())
        self.calls.append(call)
        script = self._scripts[min(len(self.calls), len(self._scripts)) - 1]
        reading = asyncio.ensure_future(call.read())
        try:
            if self._greets:
                await call.tell(call.say.hello())
                call.opening = await call.received(call.say.opening)
                await call.tell(call.say.greeting(call.opening))
            await script(call)
            if call.say.closing and self._closes:
                await call.received(call.say.closing)
                await call.tell(call.say.goodbye())
            await reading
        except (ConnectionClosed, ConnectionAbortedError):
            pass
        except Exception as error:
            self._failure = error
            raise
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
