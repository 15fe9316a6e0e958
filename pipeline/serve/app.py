"""The server's HTTP application: its WebSocket, its keys, its health, and the door to all of it."""

from __future__ import annotations

import asyncio
import collections
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from pipeline.clock import Clock
from pipeline.serve.access import Access, Pass, Refused
from pipeline.serve.connection import Connection
from pipeline.serve.link import Link, Opening
from pipeline.serve.requests import RequestRefused, new_session, updated

Talk = Callable[[Link, Opening], Awaitable[None]]
"""Holds the conversation of a session with its client; cancelled when the client is gone."""

REALTIME = "/v1/realtime"
SUBPROTOCOL = "realtime"

SESSIONS_A_KEY = 4
"""Sessions that one ephemeral key may have at a time: it is for one browser."""

MOST_ASKED = 64 * 1024
"""Bytes of a request for an ephemeral key."""

DRAIN_S = 0.7
"""How long clients may take to close when the server stops."""

_KINDS = {404: ("not_found", "There is nothing here."), 405: ("method_not_allowed", "Not so.")}


class Admission(Protocol):
    """Knows how many sessions can be served."""

    def enter(self) -> Refused | None:
        """Count a session that begins; or say why it may not."""
        ...

    def leave(self) -> None:
        """A session is over."""
        ...


class Limit:
    """Admits so many sessions at a time; 0: any number."""

    def __init__(self, sessions: int = 0) -> None:
        self._most = sessions
        self._here = 0

    def enter(self) -> Refused | None:
        """Count a session that begins; or say why it may not."""
        if self._most and self._here >= self._most:
            message = "The server has as many sessions as it can serve in time; try again later."
            return Refused(503, "server_overloaded", message, 5, "server_error")
        self._here += 1
        return None

    def leave(self) -> None:
        """A session is over."""
        self._here -= 1


class Sessions:
    """The sessions of a server: begun, limited, and ended with it.

    Args:
        talk: Holds each conversation.
        admission: Says whether one more can be served.
        minutes: How long a session may last.
        clock: The time.

    Attributes:
        state: Sessions begin only while it is `ready`.
    """

    def __init__(
        self,
        talk: Talk,
        admission: Admission | None = None,
        minutes: float = 60,
        clock: Clock | None = None,
    ) -> None:
        self.state: Literal["loading", "ready", "draining"] = "ready"
        self._talk = talk
        self._admission = admission or Limit()
        self._minutes = minutes
        self._clock = clock or Clock()
        self._open: dict[Connection, asyncio.Task[Any]] = {}
        self._keys: collections.Counter[str] = collections.Counter()

    def check(self) -> None:
        """See that there is somebody to serve a request.

        Raises:
            Refused: There is nobody yet, or nobody any more.
        """
        if self.state == "loading":
            raise Refused(503, "loading", "The models are being loaded.", 1, "server_error")
        if self.state == "draining":
            raise Refused(503, "draining", "The server is about to stop.", 5, "server_error")

    async def connect(self, socket: WebSocket) -> None:
        """Serve a client of the Realtime protocol, or say why not before the upgrade."""
        try:
            admitted: Pass = socket.state.admitted
            opening = _opening(socket.query_params, admitted)
            if admitted.key and self._keys[admitted.key] >= SESSIONS_A_KEY:
                message = "This key has as many sessions as it may have."
                raise Refused(429, "too_many_sessions", message, 5, "rate_limit_error")
            if refused := self._admission.enter():
                raise refused
        except Refused as refused:
            await _deny(socket, refused)
            return
        self._keys[admitted.key] += 1
        try:
            offers = SUBPROTOCOL in socket.scope["subprotocols"]
            await socket.accept(SUBPROTOCOL if offers else None)
            connection = Connection(socket, self._clock)
            task = asyncio.current_task()
            assert task is not None
            self._open[connection] = task
            try:
                await connection.run(self._hold(connection, opening))
            finally:
                del self._open[connection]
        finally:
            self._admission.leave()
            self._keys -= collections.Counter([admitted.key])

    async def drain(self) -> None:
        """Begin no more sessions, and close those that are open: within `DRAIN_S`."""
        self.state = "draining"
        if not self._open:
            return
        for connection in self._open:
            connection.close(1001, "The server stops.")
        tasks = list(self._open.values())
        await asyncio.wait(tasks, timeout=DRAIN_S)
        for connection in list(self._open):
            connection.abort()
        await asyncio.wait(tasks)

    async def _hold(self, connection: Connection, opening: Opening) -> None:
        """Hold a conversation, for as long as a session may last."""
        try:
            async with asyncio.timeout(self._minutes * 60) as limit:
                await self._talk(connection, opening)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"Your session hit the maximum duration of {self._minutes:g} minutes."
            error = {"type": "invalid_request_error", "code": "session_expired", "message": message}
            error |= {"param": None, "event_id": None}  # type: ignore[dict-item]
            event = {"type": "error", "event_id": "event_session_expired", "error": error}
            connection.send(json.dumps(event))
            connection.close(1001, "session_expired")


def application(
    talk: Talk | Sessions,
    access: Access,
    *,
    routes: Sequence[BaseRoute] = (),
    public: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application.

    Args:
        talk: Holds the conversations, or the sessions in which they are held.
        access: Says who may come in.
        routes: More that is served to those who may come in.
        public: More that is served to everybody, such as a page.
    """
    sessions = talk if isinstance(talk, Sessions) else Sessions(talk)

    async def client_secrets(request: Request) -> Response:
        return await _client_secrets(request, access)

    def alive(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    def ready(_: Request) -> Response:
        try:
            sessions.check()
        except Refused as refused:
            return answer(refused)
        return JSONResponse({"status": "ready"})

    inner = Router(
        [
            WebSocketRoute(REALTIME, sessions.connect),
            Route(f"{REALTIME}/client_secrets", client_secrets, methods=["POST"]),
            *routes,
            WebSocketRoute("/{path:path}", _nowhere),
        ]
    )
    return Starlette(
        routes=[
            Route("/healthz", alive),
            Route("/readyz", ready),
            *public,
            Mount("/", _Guard(inner, access, sessions)),
        ],
        exception_handlers={
            Refused: _on_refused,
            HTTPException: _on_http,
            Exception: _on_failure,
        },
    )


def answer(refused: Refused) -> JSONResponse:
    """The answer to a request that is not served: an error in JSON, as OpenAI's servers give."""
    headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
    if refused.retry_after_s:
        headers["Retry-After"] = f"{refused.retry_after_s:.0f}"
    return JSONResponse({"error": refused.error}, refused.status, headers)


class _Guard:
    """Lets requests through to an application that `Access` admits, while somebody can serve."""

    def __init__(self, app: ASGIApp, access: Access, sessions: Sessions) -> None:
        self._app = app
        self._access = access
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = HTTPConnection(scope)
        try:
            asked.state.admitted = self._access.check(
                asked.headers,
                asked.query_params,
                time.time(),
                scope.get("subprotocols", ()),
                ephemeral=scope["type"] == "websocket",
            )
            self._sessions.check()
        except Refused as refused:
            if scope["type"] == "websocket":
                await _deny(WebSocket(scope, receive, send), refused)
            else:
                await answer(refused)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _opening(query: Mapping[str, str], admitted: Pass) -> Opening:
    """What a client asks for.

    Raises:
        Refused: There is no such intent.
    """
    session = dict(admitted.session)
    model = query.get("model") or session.pop("model", None) or ""
    kind = session.get("type", "realtime")
    match query.get("intent", kind):
        case "realtime" | "conversation":
            return Opening(model, "realtime", session)
        case "transcription":
            return Opening(model, "transcription", session)
    raise Refused(400, "invalid_value", "The intent is realtime or transcription.")


async def _deny(socket: WebSocket, refused: Refused) -> None:
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(answer(refused))
    else:
        await socket.close(1008, refused.message)


async def _nowhere(socket: WebSocket) -> None:
    message = f"There is no WebSocket here; it is at {REALTIME}."
    await _deny(socket, Refused(404, "not_found", message))


class _Expiry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class _KeyWanted(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    expires_after: _Expiry = _Expiry()
    session: dict[str, Any] = Field(default_factory=dict)


async def _client_secrets(request: Request, access: Access) -> Response:
    """Make an ephemeral key, as OpenAI's `POST /v1/realtime/client_secrets` does."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_ASKED:
            raise Refused(413, "request_too_large", "The request is too large.")
    try:
        wanted = _KeyWanted.model_validate_json(bytes(body) or b"{}")
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "body"
        raise Refused(400, "invalid_value", f"Invalid value: {where}.") from None
    expires_at = int(time.time()) + wanted.expires_after.seconds
    asked = {"type": "realtime", **wanted.session}
    model = asked.pop("model", "")
    session = new_session("sess_key", str(model), expires_at)
    try:
        session = updated(session, asked)
    except RequestRefused as refused:
        raise Refused(400, refused.code, refused.message) from None
    if model:
        asked["model"] = model
    key = access.sealed(asked, expires_at)
    return JSONResponse({"value": key, "expires_at": expires_at, "session": session})


def _on_refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return answer(error)


def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _KINDS.get(error.status_code, ("invalid_request", error.detail))
    return answer(Refused(error.status_code, code, message))


def _on_failure(_: Request, __: Exception) -> Response:
    message = "The server had an error while it processed the request."
    return answer(Refused(500, "server_error", message, kind="server_error"))
