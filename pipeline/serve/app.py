"""The server's HTTP application: its WebSocket, its keys, its health, and the door to all of it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from pipeline.clock import Clock
from pipeline.errors import one_line
from pipeline.prompts import Prompts
from pipeline.serve import phone
from pipeline.serve.access import Access, Pass
from pipeline.serve.admission import Admission
from pipeline.serve.connection import Connection
from pipeline.serve.link import PATH, SUBPROTOCOL, Link, Opening
from pipeline.serve.metrics import Metrics
from pipeline.serve.refused import MOST_SAID, RequestRefused
from pipeline.serve.session_object import (
    MCP_SECRETS,
    Exact,
    JsonObject,
    new_session,
    prompted,
    updated,
)

Talk = Callable[[Link, Opening], Coroutine[Any, Any, None]]
"""Holds the conversation of a session with its client; cancelled when the client is gone."""

SESSIONS_A_KEY = 4
"""Sessions that one ephemeral key may have at a time: it is for one browser."""

MOST_ASKED = 64 * 1024
"""Bytes of a request for an ephemeral key."""

SILENT_S = 20.0
"""How long a client may send nothing of a request that it has begun (s): it keeps others out."""

MOST_RINGING = 32
"""Telephone calls at a time that have not said yet who they are."""

DRAIN_S = 0.5
"""How long clients may take to close when the server stops."""

_HTTP_ERRORS = {
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This is asked for with another method."),
}

log = logging.getLogger(__name__)


class Sessions:
    """The sessions of a server: begun, counted, and ended with it.

    Args:
        talk: Holds each conversation.
        admission: Says whether one more can be served.
        metrics: Count sessions and refusals.
        each: Sessions that one address may have at a time; 0: any number.

    Attributes:
        state: Sessions begin only while it is `ready`.
        metrics: As given.
    """

    def __init__(
        self,
        talk: Talk,
        admission: Admission,
        metrics: Metrics,
        *,
        each: int = 0,
    ) -> None:
        self.state: Literal["loading", "ready", "draining"] = "ready"
        self._talk = talk
        self._admission = admission
        self.metrics = metrics
        self._clock = Clock()
        self._open: dict[Connection, asyncio.Task[Any]] = {}
        # By ephemeral key, or where there is none by address.
        self._clients: collections.Counter[str] = collections.Counter()
        self._each = each
        self._ringing = 0

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def check(self) -> None:
        """See that there is somebody to serve a request.

        Raises:
            RequestRefused: There is nobody yet, or nobody any more.
        """
        if self.state == "loading":
            raise RequestRefused(
                "loading", "The models are being loaded.", retry_after_s=1, status=503
            )
        if self.state == "draining":
            raise RequestRefused(
                "draining", "The server is about to stop.", retry_after_s=5, status=503
            )

    def refusal(self) -> RequestRefused | None:
        """Why a session that began now would be refused, if it would be."""
        refused = self._admission.enter()
        if refused is None:
            self._admission.leave()
        return refused

    async def connect(self, socket: WebSocket) -> None:
        """Serve a client of the Realtime protocol.

        Raises:
            RequestRefused: It is not served; it has not been upgraded.
        """
        admitted: Pass = socket.state.admitted
        opening = _opening(socket.query_params, admitted)
        with self._counted(admitted.key, _address(socket)):
            offers = SUBPROTOCOL in socket.scope["subprotocols"]
            await self._run(
                socket,
                lambda connection: self._talk(connection, opening),
                SUBPROTOCOL if offers else None,
            )

    async def call(self, access: Access, socket: WebSocket) -> None:
        """Serve a telephone call (`serve/phone`).

        Twilio presents no key when it connects: its first message has it. So a call is let in once
        it has said who it is, and for that it has `phone.START_S`.

        Args:
            access: Says who may come in.
            socket: Not accepted yet.
        """
        await self._run(socket, functools.partial(self._answer, socket, access))

    async def _answer(self, socket: WebSocket, access: Access, connection: Connection) -> None:
        """Hold a call, once it may be."""
        messages = connection.messages()
        try:
            admitted, caller = await self._let_in(socket, access, messages)
            opening = _opening(socket.query_params, admitted)
            with self._counted(admitted.key, _address(socket)):
                await self._talk(phone.Phone(connection, messages, caller), opening)
        except RequestRefused as refused:
            self.metrics.refused(refused.code)
            log.warning("a telephone call was refused: %s", refused)
            phone.hang_up(connection, refused)

    async def _let_in(
        self, socket: WebSocket, access: Access, messages: AsyncIterator[tuple[int, str | bytes]]
    ) -> tuple[Pass, phone.Caller]:
        """Who calls.

        Raises:
            RequestRefused: The call may not come in, or does not say.
        """
        self._ringing += 1
        try:
            self.check()
            if self._ringing > MOST_RINGING:
                message = "Too many calls have not said yet who they are."
                raise RequestRefused("too_many_sessions", message, status=429)
            async with asyncio.timeout(phone.START_S):
                caller = await phone.caller(messages)
        except TimeoutError:
            raise RequestRefused("request_timeout", "No start came.", status=408) from None
        finally:
            self._ringing -= 1
        headers = {**socket.headers, "authorization": f"Bearer {caller.key}"}
        return access.check(headers, socket.query_params, time.time(), ephemeral=True), caller

    async def _run(
        self,
        socket: WebSocket,
        hold: Callable[[Connection], Coroutine[Any, Any, None]],
        subprotocol: str | None = None,
    ) -> None:
        """Accept a client, and hold its conversation until it is over."""
        try:
            await socket.accept(subprotocol)
        except OSError:
            return  # the client is gone already
        connection = Connection(socket, self._clock)
        task = asyncio.current_task()
        assert task is not None
        self._open[connection] = task
        try:
            await connection.run(hold(connection))
        finally:
            del self._open[connection]

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
        await asyncio.wait(tasks, timeout=DRAIN_S)

    @contextlib.contextmanager
    def _counted(self, key: str, address: str) -> Iterator[None]:
        """A session is under way.

        Args:
            key: The ephemeral key that opened it, if one did.
            address: Of its client.

        Raises:
            RequestRefused: It is one too many.
        """
        client, most = (key, SESSIONS_A_KEY) if key else (address, self._each)
        if most and self._clients[client] >= most:
            what = "key" if key else "address"
            message = f"This {what} has {most} sessions, which is as many as it may have at a time."
            raise RequestRefused("too_many_sessions", message, retry_after_s=5, status=429)
        if refused := self._admission.enter():
            raise refused
        self._clients[client] += 1
        try:
            with self.metrics.session():
                yield
        finally:
            self._admission.leave()
            self._clients[client] -= 1
            self._clients += collections.Counter()  # leaves out those with none


def application(
    sessions: Sessions,
    access: Access,
    prompts: Prompts | None = None,
    *,
    routes: Sequence[BaseRoute] = (),
    public: Sequence[BaseRoute] = (),
    begins: JsonObject | None = None,
) -> Starlette:
    """The application.

    Args:
        sessions: Hold the conversations.
        access: Says who may come in.
        prompts: That a session may name.
        routes: More that is served to those who may come in.
        public: More that is served to everybody, such as a page.
        begins: Fields of a conversation that is given none.
    """

    def alive(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    def ready(_: Request) -> Response:
        try:
            sessions.check()
        except RequestRefused as refused:
            return refused.response()
        return JSONResponse({"status": "ready"})

    def plainly(_: Request) -> Response:
        """What a WebSocket would be told here: to their pages browsers do not show that."""
        upgrade = RequestRefused(
            "upgrade_required", "This is asked for as a WebSocket.", status=426
        )
        return (sessions.refusal() or upgrade).response()

    secrets = functools.partial(_client_secrets, access, prompts or Prompts(), begins or {})
    inner = Router(
        [
            WebSocketRoute(PATH, sessions.connect),
            Route(PATH, plainly),
            Route(f"{PATH}/client_secrets", secrets, methods=["POST"]),
            *routes,
            WebSocketRoute("/{path:path}", _nowhere),
        ]
    )
    app = Starlette(
        routes=[
            Route("/healthz", alive),
            Route("/readyz", ready),
            # Its key comes later than the guard looks for one.
            WebSocketRoute(phone.PATH, functools.partial(sessions.call, access)),
            *public,
        ],
        exception_handlers={HTTPException: _on_http, Exception: _on_failure},
    )
    # Not a route for all paths: that would take what is public and asked for by a wrong method.
    app.router.default = _Guard(inner, access, sessions)
    app.router.redirect_slashes = False
    return app


def _address(socket: WebSocket) -> str:
    """Of the client; empty: it has none."""
    return socket.client.host if socket.client else ""


def limited(request: Request, most: int) -> Request:
    """The request, of which no more than so many bytes are read.

    Raises:
        RequestRefused: It is, or says that it is, larger, or does not go on.
    """
    too_large = RequestRefused(
        "request_too_large", f"The request is larger than {most} bytes.", status=413
    )
    if int(request.headers.get("content-length", "0")) > most:
        raise too_large
    left = most

    async def receive() -> Message:
        nonlocal left
        try:
            async with asyncio.timeout(SILENT_S):
                message = await request.receive()
        except TimeoutError:
            why = f"Nothing more of the request came in {SILENT_S:g} s."
            raise RequestRefused("request_timeout", why, status=408) from None
        left -= len(message.get("body", b""))
        if left < 0:
            raise too_large
        return message

    return Request(request.scope, receive)


class _Guard:
    """Lets requests through to an application that `Access` admits, while somebody can serve.

    What is refused, here or there, is answered here.
    """

    def __init__(self, app: ASGIApp, access: Access, sessions: Sessions) -> None:
        self._app = app
        self._access = access
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = HTTPConnection(scope)
        is_socket = scope["type"] == "websocket"
        try:
            self._sessions.check()
            asked.state.admitted = self._access.check(
                asked.headers,
                asked.query_params,
                time.time(),
                scope.get("subprotocols", ()),
                ephemeral=is_socket,
            )
            await self._app(scope, receive, send)
        except RequestRefused as refused:
            self._sessions.metrics.refused(refused.code)
            if is_socket and "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1008, "reason": refused.message})
            else:
                await refused.response()(scope, receive, send)
        except ClientDisconnect:
            pass
        except HTTPException:
            raise  # a client's mistake; `_on_http` answers it
        except Exception as error:
            # What is cut off when the server stops has not failed.
            if self._sessions.state != "draining":
                log.error("a request failed: %s: %s", type(error).__name__, error, exc_info=error)
            raise


def _opening(query: Mapping[str, str], admitted: Pass) -> Opening:
    """What a client asks for.

    Raises:
        RequestRefused: There is no such intent, or no such call.
    """
    if "call_id" in query:
        message = "There are no calls here: a session is opened over its own WebSocket."
        raise RequestRefused("invalid_value", message)
    session = dict(admitted.session)
    model = session.pop("model", "") or query.get("model", "")
    match session.get("type") or query.get("intent", "realtime"):
        case "realtime" | "conversation":
            return Opening(model, "realtime", session)
        case "transcription":
            return Opening(model, "transcription", session)
    raise RequestRefused("invalid_value", "The intent is realtime or transcription.")


async def _nowhere(_: WebSocket) -> None:
    raise RequestRefused("not_found", f"There is no WebSocket here; it is at {PATH}.", status=404)


class _Expiry(Exact):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class _SessionWanted(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["realtime", "transcription"] = "realtime"
    model: str = ""


class _KeyWanted(Exact):
    expires_after: _Expiry = _Expiry()
    session: _SessionWanted = _SessionWanted()


async def _client_secrets(
    access: Access, prompts: Prompts, begins: JsonObject, request: Request
) -> Response:
    """Make an ephemeral key, as OpenAI's `POST /v1/realtime/client_secrets` does."""
    body = await limited(request, MOST_ASKED).body()
    try:
        wanted = _KeyWanted.model_validate_json(body or b"{}")
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        message = one_line(f"{where or 'body'}: {wrong['msg']}", MOST_SAID)
        raise RequestRefused("invalid_value", message, where or None) from None
    expires_at = int(time.time()) + wanted.expires_after.seconds
    asked = wanted.session.model_dump()
    rest = {name: value for name, value in asked.items() if name != "model"}
    new = new_session("sess_of_a_key", asked["model"], expires_at, asked["type"], begins=begins)
    session = updated(new, prompted(rest, prompts, "session."))
    if any(name in tool for tool in session.get("tools", ()) for name in MCP_SECRETS):
        message = "Whoever has the key can read it: headers and authorization do not go into it."
        raise RequestRefused("invalid_value", message, "session.tools")
    key = access.sealed(asked, expires_at)
    return JSONResponse({"value": key, "expires_at": expires_at, "session": session})


def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _HTTP_ERRORS.get(error.status_code, ("invalid_request", error.detail))
    response = RequestRefused(code, message, status=error.status_code).response()
    # Such as which methods there are.
    response.headers.update(error.headers or {})
    return response


def _on_failure(_: Request, __: Exception) -> Response:
    message = "The server had an error while it processed the request."
    return RequestRefused("server_error", message, status=500).response()
