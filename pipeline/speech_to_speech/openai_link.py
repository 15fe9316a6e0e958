"""The connection to a Realtime server, through the `openai` SDK: where, what key, set up how."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

import openai
from openai.resources.live.live import AsyncLiveConnection
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed

from pipeline.clock import NS_PER_S
from pipeline.errors import BadInput, StageError
from pipeline.speech_to_speech import keys
from pipeline.speech_to_speech import openai_words as words
from pipeline.speech_to_speech.brief import Brief, Target
from pipeline.speech_to_speech.realtime_core import UPDATE, Core
from pipeline.speech_to_speech.realtime_wishes import Wishes, session

MODELS = {"openai": "gpt-realtime-2.1", "openai-live": "gpt-live-1"}
"""What OpenAI is asked for, by the path's kind, unless the path names another."""

OPENAI_URL = "https://api.openai.com/v1"
"""The OpenAI API, unless OPENAI_BASE_URL says otherwise."""

PLACEHOLDER = "none"
"""The key for a server that wants none; the SDK insists on one."""

CONNECT_S = 10.0
"""For the connection, the secure one, and the handshake together."""

READY_S = 10.0
"""From then on until the server has said something of the session."""

GRACE_S = 3.0
"""From then on until it has taken our settings; a server that does not say so has taken them."""

RECONNECT_S = 60.0
"""A connection that is lost again so soon after it was renewed is not renewed once more."""

RENEWABLE = (1000, 1001, 1005, 1006, 1011, 1012, 1013, 1015)
"""Close codes after which a new connection may be had; others are the server's decision against
this client (RFC 6455, 7.4.1; the SDK's own list, and 1000)."""

CLOSE_S = 0.4
"""For the closing handshake; half as much again for what was still to be sent before it."""

log = logging.getLogger(__name__)


Hear = Callable[[bytes], None]
"""Takes a message of the server's."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Realtime server is, and how to ask it.

    Attributes:
        base: The URL that `/realtime` is added to.
        model: Which model; empty where the server decides.
        key: The key, which nobody is shown.
        key_setting: Where the user sets it.
        own: It is the server that the SDK was made for: organisation and project may be told.
    """

    base: str
    model: str
    key: str = field(repr=False)
    key_setting: str
    own: bool

    @property
    def host(self) -> str:
        """Host and port, without a password."""
        return urlsplit(self.base).netloc.rpartition("@")[2]

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine, where no proxy can reach it."""
        host = urlsplit(self.base).hostname or ""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(host).is_loopback
        return host == "localhost"


class Renewals:
    """Lets a lost connection be made again, once in `RECONNECT_S` at most."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def allowed(self, now_ns: int) -> bool:
        """Whether it may be made again now; if so, it is taken to be."""
        last_ns = self._last_ns
        if last_ns is not None and now_ns - last_ns < RECONNECT_S * NS_PER_S:
            return False
        self._last_ns = now_ns
        return True


def renewable(error: ConnectionClosed) -> bool:
    """Whether a new connection may be had after one that ended like this."""
    return (error.rcvd.code if error.rcvd is not None else 1006) in RENEWABLE


def place(target: Target, environ: Mapping[str, str] = os.environ) -> Place:
    """Where a path leads, and with what key.

    Raises:
        BadInput: There is no key, or it cannot be one, or the URL cannot be used.
    """
    if target.kind in ("openai", "openai-live"):
        base = environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL
        if _split(base) is None:
            raise BadInput("OPENAI_BASE_URL is not a usable URL; write it as https://HOST/v1")
        key = keys.key(environ, keys.OPENAI)
        if not key:
            raise BadInput(f"{target.name}: there is no key; set {keys.OPENAI}")
        return Place(base, target.model or MODELS[target.kind], key, keys.OPENAI, own=True)
    parts = _split(target.url)
    if parts is None:
        raise BadInput(f"{target.name}: not a usable URL; write it as ws://HOST:PORT/v1/realtime")
    # The SDK adds the last part of the path itself.
    path = parts.path.rstrip("/")
    path = path.removesuffix("/realtime") if path.endswith("/realtime") else path or "/v1"
    base = parts._replace(path=path, fragment="").geturl()
    name = keys.OPENAI if _is_openai(parts) and keys.key(environ, keys.OPENAI) else keys.REALTIME
    return Place(base, target.model, keys.key(environ, name) or PLACEHOLDER, name, own=False)


def split_model(url: str) -> tuple[str, str]:
    """A URL without its `model`, and that model, with whatever `#name` follows it."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    model = next((value for name, value in query if name == "model"), "")
    if model and parts.fragment:
        model = f"{model}#{parts.fragment}"
    rest = urlencode([(name, value) for name, value in query if name != "model"])
    return parts._replace(query=rest, fragment="").geturl(), model


def client(where: Place) -> openai.AsyncOpenAI:
    """The SDK's client, to be closed by the caller."""
    headers: dict[str, Any] = {}
    if not where.own:
        # What the environment tells of an account at OpenAI is nobody else's business.
        headers = {"OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit}
        if "@" in urlsplit(where.base).netloc:
            # The URL's own name and password are what this server is told.
            headers["Authorization"] = openai.omit
    return openai.AsyncOpenAI(
        api_key=where.key,
        base_url=where.base,
        websocket_base_url=where.base,
        max_retries=0,
        default_headers=headers,
        # No request is ever made with it: the environment's proxies need not be understood.
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    )


def native(where: Place, open_s: float) -> dict[str, Any]:
    """What the WebSocket client is told, beside what the SDK tells it."""
    options = {"open_timeout": open_s, "close_timeout": CLOSE_S, "logger": keys.QUIET}
    return {**options, "proxy": None} if where.loopback else options


async def connect(sdk: openai.AsyncOpenAI, where: Place) -> AsyncRealtimeConnection:
    """Open a connection.

    Raises:
        StageError: It cannot be had; the message says why.
    """
    options: Any = native(where, CONNECT_S)
    try:
        async with asyncio.timeout(CONNECT_S):
            return await sdk.realtime.connect(
                model=where.model or openai.omit, websocket_connection_options=options
            ).enter()
    except Exception as error:
        raise words.unreachable(
            error, where.host, where.model, wait_s=CONNECT_S, key=where.key_setting
        ) from None


async def configure(
    connection: AsyncRealtimeConnection,
    core: Core,
    hear: Hear,
    where: Place,
    wishes: Wishes,
    brief: Brief,
) -> None:
    """Say what the session is to be, and wait until the server has taken it.

    A server that is not OpenAI's, and refuses, is asked once more for the least only.

    Raises:
        StageError: It refuses, or says nothing, or closes the connection.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_S
    bare = created = False
    try:
        await _update(connection, session(wishes, brief))
        while not core.configured:
            if core.created and not created:
                created, deadline = True, min(deadline, loop.time() + GRACE_S)
            async with asyncio.timeout_at(deadline):
                hear(await connection.recv_bytes())
            if core.refusal and not core.configured:
                if where.own or bare or _hopeless(core.refusal):
                    raise _refused(core.refusal, where)
                bare, core.refusal = True, ""
                await _update(connection, session(wishes, brief, bare=True))
    except TimeoutError:
        if not core.created:
            raise StageError(
                "direct",
                f"{where.host} takes the connection but sends nothing for {READY_S:g} s; "
                "check that it is a Realtime server",
            ) from None
        core.configured = True
    except ConnectionClosed as error:
        # What it said before is there still.
        with contextlib.suppress(ConnectionClosed):
            while True:
                hear(await connection.recv_bytes())
        raise _refused(core.refusal, where, words.closed(error)) from None
    except OSError as error:
        raise words.unreachable(error, where.host, where.model, wait_s=CONNECT_S) from None


async def shut(connection: AsyncRealtimeConnection | AsyncLiveConnection) -> None:
    """Close a connection, whatever state it is in; never raises but when cancelled."""
    try:
        async with asyncio.timeout(1.5 * CLOSE_S):
            await connection.close()
    except Exception as error:
        log.debug("closing: %s", error)
    finally:
        # A server that reads nothing keeps the closing from being sent. The SDK has no word for
        # letting go all the same.
        transport = getattr(getattr(connection, "_connection", None), "transport", None)
        if transport is not None:
            transport.abort()


async def _update(connection: AsyncRealtimeConnection, wanted: Mapping[str, Any]) -> None:
    message = {"type": "session.update", "event_id": UPDATE, "session": wanted}
    await connection.send_raw(json.dumps(message))


def _hopeless(refusal: str) -> bool:
    """Whether asking for less will not help."""
    return any(part in refusal for part in ("api_key", "quota", "rate_limit", "model_not_found"))


def _refused(reason: str, where: Place, closed: str = "") -> StageError:
    """A server that speaks the protocol, but not with us."""
    hint = f"; set {where.key_setting}" if "api_key" in reason + closed else ""
    if not reason:
        return StageError("direct", f"{where.host}: {closed}{hint}", fatal=bool(hint))
    return StageError("direct", f"{where.host} refuses the session: {reason}{hint}", fatal=True)


def _split(url: str) -> SplitResult | None:
    """The parts of a URL that names a host; None for any other text."""
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0 and not any(char.isspace() for char in url)
    except ValueError:
        return None
    return parts if usable and parts.scheme in ("ws", "wss", "http", "https") else None


def _is_openai(parts: SplitResult) -> bool:
    """Whether a host is OpenAI's, and the connection to it is secure."""
    host = parts.hostname or ""
    return parts.scheme == "wss" and (host == "openai.com" or host.endswith(".openai.com"))
