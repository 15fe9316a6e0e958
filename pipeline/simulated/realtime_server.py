"""A Realtime server on a real socket that replays a script."""

from __future__ import annotations

import http
import json
import logging
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from pipeline.clock import Clock
from pipeline.errors import BadInput
from pipeline.simulated.realtime_session import RealtimeSession
from pipeline.simulated.script import Script, conversation
from pipeline.simulated.voice import Sounds
from pipeline.simulated.wire import Wire

log = logging.getLogger(__name__)

PATH = "/v1/realtime"
SUBPROTOCOL = Subprotocol("realtime")

LARGEST = 22 * 1024 * 1024
"""Bytes of a message: 15 MiB of sound in base64, and what is around it."""

CLOSE_S = 1.0
"""How long a client may take to answer that the connection is closed."""

_REFUSALS = {
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
}


class RealtimeServer:
    """Listens while it is entered.

    Args:
        script: What is replayed, to each client from its beginning.
        sounds: All that the script says.
        host: Where to listen.
        port: 0 takes one that is free.
        context: For TLS; None: without.
        clock: The time.

    Raises:
        BadInput: On entering: the port cannot be had, or the script has what only Gemini does.
    """

    def __init__(
        self,
        script: Script,
        sounds: Sounds,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._script = script
        self._sounds = sounds
        self._host = host
        self._port = port
        self._context = context
        self._clock = clock or Clock()
        self._clients = 0
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """What a client gives as its base URL: the path up to `/realtime`."""
        assert self._server is not None, "it does not listen"
        port = next(iter(self._server.sockets)).getsockname()[1]
        scheme = "ws" if self._context is None else "wss"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{port}/v1"

    async def __aenter__(self) -> Self:
        turns = [turn for turns in self._script.conversations.values() for turn in turns]
        if any(turn.fault is not None and turn.fault.kind == "go away" for turn in turns):
            raise BadInput("a Realtime server has no fault `go away`; only Gemini has")
        try:
            self._server = await serve(
                self._talk,
                self._host,
                self._port,
                process_request=self._admit,
                select_subprotocol=_select,
                max_size=LARGEST,
                compression=None,
                close_timeout=CLOSE_S,
                ssl=self._context,
            )
        except OSError as error:
            raise BadInput(f"{self._host}:{self._port}: cannot listen: {error.strerror}") from None
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

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """None for a client that may come in; else why it may not."""
        if self._script.refuse:
            return refusal(connection, self._script.refuse, self._script.retry_after_s)
        if urlsplit(request.path).path != PATH:
            return refusal(connection, 404)
        try:
            conversation(self._script, _model(request))
        except BadInput as error:
            return refusal(connection, 404, message=str(error))
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        seed = f"{self._script.seed}/{self._clients}"
        self._clients += 1
        model = _model(connection.request)
        turns = conversation(self._script, model)
        wire = Wire(connection, self._script.network, seed, self._clock)
        session = RealtimeSession(self._script, turns, model, self._sounds, wire, seed, self._clock)
        await session.run()


def refusal(
    connection: ServerConnection, status: int, retry_after_s: float = 0, message: str = ""
) -> Response:
    """The answer to a client that may not come in: an error in JSON, as OpenAI's servers give."""
    kind, code, text = _REFUSALS[status]
    error = {"message": message or text, "type": kind, "param": None, "code": code}
    response = connection.respond(http.HTTPStatus(status), json.dumps({"error": error}) + "\n")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    if status == 429:
        response.headers["Retry-After"] = f"{retry_after_s:.0f}"
    return response


def _model(request: Request) -> str:
    """The model that a client asks for; empty if it asks for none."""
    return parse_qs(urlsplit(request.path).query).get("model", [""])[0]


def _select(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """`realtime` for clients that offer it; those that offer none get none."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
