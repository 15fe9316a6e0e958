"""A Gemini Live server on a real socket, with TLS, that replays a script.

Google's client connects with TLS only, so the server makes a certificate of its own, which lies in
a temporary folder while it listens.
"""

from __future__ import annotations

import http
import json
import re
import ssl
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from pipeline.clock import Clock
from pipeline.errors import BadInput
from pipeline.simulated.gemini_session import GeminiTalk, Saved
from pipeline.simulated.script import Script
from pipeline.simulated.voice import Sounds
from pipeline.simulated.wire import Wire

PATH = re.compile(
    r"/ws/google\.ai\.generativelanguage\.v\w+\.GenerativeService\.BidiGenerateContent"
)

LARGEST = 22 * 1024 * 1024
"""Bytes of a message."""

_REFUSALS = {
    401: ("UNAUTHENTICATED", "API key not valid. Please pass a valid API key."),
    404: ("NOT_FOUND", "The model does not exist."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota."),
}


class GeminiServer:
    """Listens while it is entered.

    Args:
        script: What is replayed, to each client from its beginning, or from where it was.
        sounds: All that the script says.
        host: Where to listen.
        port: 0 takes one that is free.
        clock: The time.
        signals: Tell clients of voice activity, which the real servers do not promise.

    Raises:
        BadInput: On entering: `trustme` is not installed, or the port cannot be had.
    """

    def __init__(
        self,
        script: Script,
        sounds: Sounds,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        *,
        signals: bool = True,
    ) -> None:
        self._script = script
        self._sounds = sounds
        self._host = host
        self._port = port
        self._clock = clock or Clock()
        self._signals = signals
        self._clients = 0
        self._saved: Saved = {}
        self._server: Server | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        """Where it listens, as a client is told."""
        assert self._server is not None, "it does not listen"
        port = next(iter(self._server.sockets)).getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"wss://{host}:{port}"

    @property
    def certificate(self) -> Path:
        """What clients trust it by: a file in PEM form, there while it listens."""
        assert self._folder is not None, "it does not listen"
        return Path(self._folder.name) / "certificate.pem"

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="cascade-")
        try:
            context = _certified(self._host, self.certificate)
            self._server = await serve(
                self._talk,
                self._host,
                self._port,
                process_request=self._admit,
                max_size=LARGEST,
                compression=None,
                ssl=context,
            )
        except OSError as error:
            self._folder.cleanup()
            raise BadInput(f"{self._host}:{self._port}: cannot listen: {error.strerror}") from None
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None and self._folder is not None
        try:
            self._server.close()
            await self._server.wait_closed()
        finally:
            self._folder.cleanup()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """None for a client that may come in; else why it may not."""
        script = self._script
        if script.refuse:
            return _refusal(connection, script.refuse, script.retry_after_s)
        if PATH.fullmatch(urlsplit(request.path).path) is None:
            return _refusal(connection, 404)
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        seed = f"{self._script.seed}/{self._clients}"
        self._clients += 1
        wire = Wire(connection, self._script.network, seed, self._clock)
        await GeminiTalk(
            self._script, self._sounds, wire, seed, self._clock, self._saved, signals=self._signals
        ).run()


def _refusal(connection: ServerConnection, code: int, retry_after_s: float = 0) -> Response:
    """The answer to a client that may not come in: an error in JSON, as Google's servers give."""
    status, message = _REFUSALS[code]
    error = {"code": code, "message": message, "status": status}
    response = connection.respond(http.HTTPStatus(code), json.dumps({"error": error}) + "\n")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    if code == 429:
        response.headers["Retry-After"] = f"{retry_after_s:.0f}"
    return response


def _certified(host: str, certificate: Path) -> ssl.SSLContext:
    """A new authority and a certificate of its making for `host`; the authority's is written."""
    try:
        import trustme
    except ImportError:
        raise BadInput(
            "simulate gemini: needs an optional package: pip install 'voice-cascade[gemini]'"
        ) from None
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(certificate))
    return context
