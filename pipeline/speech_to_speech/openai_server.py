"""Servers that speak one of OpenAI's WebSocket protocols, reached through the `openai` SDK."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import openai
from openai.resources.live.live import AsyncLiveConnection
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from pipeline.clock import Clock
from pipeline.conversation.history import Message
from pipeline.engines.servers import OPENAI_URL, is_loopback, split_url
from pipeline.errors import BadInput
from pipeline.speech_to_speech import keys
from pipeline.speech_to_speech.brief import Brief, SystemSpec
from pipeline.speech_to_speech.connection import ApiSession
from pipeline.speech_to_speech.ledger import Parcel, ProtocolCore
from pipeline.speech_to_speech.wire import WireErrors

MODELS = {"openai": "gpt-realtime-2.1", "openai-live": "gpt-live-1"}
"""What OpenAI is asked for, by the kind of system, unless the command line names another."""

SCHEMES = ("ws", "wss", "http", "https")
"""Of the URLs that a server is reached by."""

PLACEHOLDER = "none"
"""The key for a server that wants none; the SDK insists on one."""

CLOSE_S = 0.4
"""For the closing handshake; half as much again for what was still to be sent before it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Where a server is, and how to ask it.

    Attributes:
        base: The URL that the SDK adds the last part of the path to.
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

    def client(self) -> openai.AsyncOpenAI:
        """The SDK's client, to be closed by the caller."""
        headers: dict[str, Any] = {}
        if not self.own:
            # What the environment tells of an account at OpenAI is nobody else's business.
            headers = {"OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit}
            if "@" in urlsplit(self.base).netloc:
                # The URL's own name and password are what this server is told.
                headers["Authorization"] = openai.omit
        return openai.AsyncOpenAI(
            api_key=self.key,
            base_url=self.base,
            websocket_base_url=self.base,
            max_retries=0,
            default_headers=headers,
            # No request is ever made with it: the environment's proxies need not be understood.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        )

    def websocket_options(self, open_s: float) -> Any:
        """What the WebSocket client is told, beside what the SDK tells it."""
        options = {"open_timeout": open_s, "close_timeout": CLOSE_S, "logger": keys.QUIET}
        # No proxy can reach this machine.
        return {**options, "proxy": None} if self._loopback else options

    @property
    def _loopback(self) -> bool:
        return is_loopback(urlsplit(self.base).hostname or "")


def server_of(spec: SystemSpec, environ: Mapping[str, str] = os.environ) -> ApiServer:
    """The server of a system, and the key for it.

    Raises:
        BadInput: There is no key, or it cannot be one, or the URL cannot be used.
    """
    if spec.kind in MODELS:
        base = environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL
        if split_url(base, SCHEMES) is None:
            raise BadInput("OPENAI_BASE_URL is not a usable URL; write it as https://HOST/v1")
        key = keys.key(environ, keys.OPENAI)
        if not key:
            raise BadInput(f"{spec.name}: there is no key; set {keys.OPENAI}")
        return ApiServer(base, spec.model or MODELS[spec.kind], key, keys.OPENAI, own=True)
    parts = split_url(spec.url, SCHEMES)
    if parts is None:
        raise BadInput(f"{spec.name}: not a usable URL; write it as ws://HOST:PORT/v1/realtime")
    # The SDK adds the last part of the path itself.
    path = parts.path.rstrip("/")
    path = path.removesuffix("/realtime") if path.endswith("/realtime") else path or "/v1"
    base = parts._replace(path=path, fragment="").geturl()
    host = parts.hostname or ""
    openais = parts.scheme == "wss" and (host == "openai.com" or host.endswith(".openai.com"))
    name = keys.OPENAI if openais and keys.key(environ, keys.OPENAI) else keys.REALTIME
    return ApiServer(base, spec.model, keys.key(environ, name) or PLACEHOLDER, name, own=False)


def split_model(url: str) -> tuple[str, str]:
    """A URL without its `model`, and that model, with whatever `#name` follows it."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    model = next((value for name, value in query if name == "model"), "")
    if model and parts.fragment:
        model = f"{model}#{parts.fragment}"
    rest = urlencode([(name, value) for name, value in query if name != "model"])
    return parts._replace(query=rest, fragment="").geturl(), model


def functions(brief: Brief) -> list[dict[str, Any]]:
    """The tools, as OpenAI's APIs take them."""
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        }
        for tool in brief.tools
    ]


def as_item(message: Message) -> dict[str, Any]:
    """A message of the history as an item of a new session's."""
    kind = "input_text" if message.role == "user" else "output_text"
    content = [{"type": kind, "text": message.content}]
    return {"type": "message", "role": message.role, "content": content}


OpenAiConnection = TypeVar("OpenAiConnection", AsyncRealtimeConnection, AsyncLiveConnection)
"""A connection, as the SDK has it."""


class OpenAiSession(ApiSession[OpenAiConnection]):
    """What sessions over the SDK's connections have in common.

    Args:
        core: Takes what comes, and decides.
        server: Where to.
        clock: The one clock.
        connect_s: How long a connection may take (s).
        more: See `ApiSession`.
    """

    def __init__(
        self, core: ProtocolCore, server: ApiServer, clock: Clock, *, connect_s: float, **more: Any
    ) -> None:
        self._server = server
        self._sdk = server.client()
        self._connect_s = connect_s
        errors = WireErrors(server.host, server.model, server.key_setting, "WebSocket there")
        super().__init__(core, errors, clock, **more)

    @abstractmethod
    async def _open(self, options: Any) -> OpenAiConnection:
        """Connect; `options` are the WebSocket client's."""

    @abstractmethod
    async def _set_up(self, connection: OpenAiConnection) -> None:
        """Say what the session is to be, and wait until the server has taken it.

        Raises:
            Exception: It does not, or is none; an error of this session's says why.
        """

    async def _connect(self) -> OpenAiConnection:
        connection: OpenAiConnection | None = None
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await self._open(self._server.websocket_options(self._connect_s))
            await self._set_up(connection)
        except BaseException as error:
            if connection is not None:
                await self._shut(connection)
            if isinstance(error, Exception):
                raise self._errors.unreachable(error, self._connect_s) from None
            raise
        return connection

    async def _read(self, connection: OpenAiConnection) -> bytes:
        return await connection.recv_bytes()

    async def _deliver(self, connection: OpenAiConnection, parcel: Parcel) -> None:
        await connection.send_raw(json.dumps(parcel.message))

    async def _shut(self, connection: OpenAiConnection) -> None:
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

    async def _release(self) -> None:
        await self._sdk.close()
