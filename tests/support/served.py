"""An application of the server on a real socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from starlette.routing import BaseRoute

from pipeline.serve.access import Access
from pipeline.serve.admission import Admission
from pipeline.serve.app import Sessions, application
from pipeline.serve.listening import bound, listening, secured
from pipeline.serve.metrics import Metrics


@pytest.fixture
def nothing_breaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a client does is no failure of the server's: it logs no error."""
    yield
    assert [r.getMessage() for r in caplog.get_records("call") if r.levelno >= 40] == []


class Served:
    """Where it is, and how to come there without a library that behaves well."""

    def __init__(
        self, sessions: Sessions, on: socket.socket, trusted: ssl.SSLContext | None
    ) -> None:
        self.sessions = sessions
        self.trusted = trusted
        self.port: int = on.getsockname()[1]
        secure = "" if trusted is None else "s"
        self.http = f"http{secure}://127.0.0.1:{self.port}"
        self.url = f"ws{secure}://127.0.0.1:{self.port}/v1/realtime"

    async def raw(self, *lines: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client that has asked for the upgrade, and does no more by itself."""
        # It reads ahead no more than this, so that who does not read soon takes no more.
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, limit=1024, ssl=self.trusted
        )
        head = (
            "GET /v1/realtime HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
        writer.write("\r\n".join([*head, *lines, "", ""]).encode())
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer


def certified(folder: Path) -> tuple[tuple[Path, Path], ssl.SSLContext]:
    """The files of a certificate for this machine and of its key, and what trusts it."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    files = folder / "cert.pem", folder / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    return files, trusted


def sessions_of(
    talk: Any, most: int = 1000, *, metrics: Metrics | None = None, each: int = 0
) -> Sessions:
    """Sessions of which so many are let in."""
    admission = Admission(most, 1, time.monotonic, time.process_time)
    return Sessions(talk, admission, metrics or Metrics(), each=each)


@asynccontextmanager
async def served(
    talk: Any,
    access: Access | None = None,
    *,
    routes: Sequence[BaseRoute] = (),
    public: Sequence[BaseRoute] = (),
    tls: tuple[tuple[Path, Path], ssl.SSLContext] | None = None,
    port: int = 0,
    instructions: str = "",
) -> AsyncIterator[Served]:
    """Serve what talks, or sessions, while entered."""
    sessions = talk if isinstance(talk, Sessions) else sessions_of(talk)
    app = application(
        sessions,
        access or Access(),
        routes=routes,
        public=public,
        begins={"instructions": instructions},
    )
    on = bound("127.0.0.1", port)
    files, trusted = tls or (None, None)
    async with listening(app, sessions, on, files and secured(*files)):
        yield Served(sessions, on, trusted)
