"""An application on a socket: uvicorn, told what this server needs of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import ssl
from asyncio.transports import BaseTransport
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request

from pipeline.errors import BadInput
from pipeline.serve import phone
from pipeline.serve.app import Sessions
from pipeline.serve.link import LARGEST

MOST_FRAGMENTS = 10_000
"""Of a message: its client cannot have so little room that each is shorter than 2 KiB."""

HEAD_S = 10.0
"""How long the head of a request may take to be there; so long a connection may be for nothing."""

SMALL, MOST_QUEUED = 16 * 1024, 8
"""So many messages of a client may wait that have no more bytes, and the next is read all the same:
a piece of sound, or the little that is asked for."""

PING_S = 20.0
"""How often a client is asked whether it is there, and how long it may take to answer."""

STOP_S = 0.8
"""After so long nothing is left of any connection."""


class _HttpProtocol(H11Protocol):
    """uvicorn's, which would wait for ever for the rest of a request's head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._in_time()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._in_time()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self._too_late)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
        self.transport.close()


class _WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, of which an application gets the transport, as `state.transport`.

    Whoever has it can end a connection whose client takes nothing. A close, which is all that
    uvicorn knows, waits for that client.
    """

    # Bytes of a message that is not whole yet, and how many those of a telephone call may be.
    _begun = 0
    _most = math.inf

    def connection_made(self, transport: BaseTransport) -> None:
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if getattr(self, "scope", {}).get("path") == phone.PATH:
            self._most = phone.LARGEST

    def data_received(self, data: bytes) -> None:
        self._begun += len(data)
        super().data_received(data)
        if self._begun > self._most:
            self.transport.abort()
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # Such as a header of more than 8 KiB; uvicorn 0.54 would never answer it.
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            self.transport.close()

    def send_receive_event_to_app(self) -> None:
        self._begun = 0
        # After each message uvicorn reads no more until that is taken: two calls of the system, a
        # fifth of what a piece of sound costs.
        few = self.queue.qsize() < MOST_QUEUED and sum(map(len, self.frames)) <= SMALL
        paused, self.read_paused = self.read_paused, self.read_paused or few
        super().send_receive_event_to_app()
        if few:
            self.read_paused = paused

    def handle_cont(self, event: Frame) -> None:
        # Their sizes add up to that of a message, but empty ones come for ever.
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        else:
            self.transport.abort()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            # That is an end too; uvicorn 0.54 logs it as an application that forgot its client.
            self.handshake_complete = True

    def shutdown(self) -> None:
        """Leave it to the application, which says a better farewell."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to whoever runs the server."""
        yield


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        BadInput: There is no such host, or the port is taken.
    """
    try:
        [family, *_, address] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # `::` is every address of the machine, those of IPv4 too.
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        listener = socket.create_server(
            cast(tuple[str, int], address[:2]), family=family, dualstack_ipv6=both
        )
        # For all its connections: asyncio does so only for sockets that it made itself. Without it
        # the second of two events that follow each other closely waits 40 ms for a client's ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except socket.gaierror as error:
        raise BadInput(f"{host}: there is no such host: {error.strerror}") from None
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise BadInput(
            f"{host}:{port}: {why}: name another with --port, or --port 0 for one that is free"
        ) from None


def secured(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's side of TLS.

    Args:
        certificate: File with the certificate, and with those that lead to it.
        key: File with its key.

    Raises:
        BadInput: They cannot be read, or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password OpenSSL would ask for one, on a terminal that may not be there.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        why = error.strerror or str(error)
        if isinstance(error, ssl.SSLError):
            why = f"name a certificate in PEM, and then its key, without a password ({why})"
        raise BadInput(f"--tls {certificate} {key}: cannot be used: {why}") from None
    return context


@contextlib.asynccontextmanager
async def listening(
    app: ASGIApp,
    sessions: Sessions,
    on: socket.socket,
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[asyncio.Task[None]]:
    """Serve an application while entered; leaving it closes every session, within 2 s in all.

    Args:
        app: What is served.
        sessions: Its sessions.
        on: Where; closed at the end.
        tls: As `secured` gives it; None: no TLS.

    Yields:
        The task that serves; it ends only if it fails.
    """
    # What uvicorn logs has clients' URLs and headers in it, and so their secrets. What fails in
    # the application is logged there.
    config = uvicorn.Config(
        app,
        http=_HttpProtocol,
        ws=_WebSocketProtocol,
        ws_max_size=LARGEST,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[on]))
    try:
        yield serving
    finally:

        def abort() -> None:
            for connection in server.server_state.connections:
                connection.transport.abort()

        last = asyncio.get_running_loop().call_later(STOP_S, abort)
        await sessions.drain()
        server.should_exit = True
        await serving
        last.cancel()
