"""MCP servers as tools: over Streamable HTTP or stdio, connected again when they were lost.

Each connection is held by a task of its own, for the SDK takes down the task that holds one with
it. Whoever calls waits for the answer, or for the end of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shlex
import threading
from collections import deque
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TextIO, TypeVar

from pipeline.config import McpSettings, Settings, without_password
from pipeline.engines.tools import NAME_CHARS, Tool
from pipeline.errors import BadInput, CascadeError, first_line, first_of, one_line
from pipeline.tools.toolbox import CANCEL, ToolFailed

if TYPE_CHECKING:
    import httpx2
    from mcp import Client
    from mcp.client import Transport
    from mcp.client._transport import TransportStreams
    from mcp.shared._stream_protocols import ReadStream
    from mcp_types import CallToolResult

log = logging.getLogger(__name__)

Got = TypeVar("Got")

EXTRA = "pip install 'voice-cascade[mcp]'"

CONNECT_S = 60.0
"""Longest wait for a connection and its list of tools (s): npx and uvx fetch a server's package
when it is started for the first time."""

LET_GO_S = 1.0
"""How long a cancelled call may take to tell the server so (s)."""

MOST_PAGES = 100
"""Pages of a list of tools: one that never ends must not."""

MOST_TOOLS = 1000
"""Tools of a server; no model reads so many."""

KEPT_LINES = 20
"""Lines of what a server writes on stderr that are kept, to say why it did not start."""

LAST_WORDS_S = 0.1
"""So long the last of them are waited for when a server has gone (s). A program that it has started
may hold the pipe open for longer."""

LOST = -32000
"""The code of JSON-RPC that the SDK gives a call whose connection is gone."""

FailedBy = Literal["tool_execution_error", "protocol_error", "http_error"]
"""What failed, as the Realtime API names it."""


class McpFailed(ToolFailed):
    """A call of an MCP server failed.

    Attributes:
        by: What failed: the tool, the protocol, or HTTP.
        code: Of the protocol or of HTTP; 0: there is none.
    """

    def __init__(self, message: str, by: FailedBy = "tool_execution_error", code: int = 0) -> None:
        super().__init__(message)
        self.by: FailedBy = by
        self.code = code


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool as its server lists it.

    Attributes:
        name: The server's own name for it.
        description: When to call it.
        parameters: JSON Schema of its arguments.
        annotations: What the server says of it besides, such as `readOnlyHint`.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    annotations: Mapping[str, Any] = field(default_factory=dict)


def check_installed() -> None:
    """See that the SDK is there.

    Raises:
        BadInput: It is not.
    """
    try:
        import mcp  # noqa: F401
    except ModuleNotFoundError as error:
        raise BadInput(f"MCP servers need the package {error.name}: {EXTRA} brings it") from None


class McpServer:
    """One MCP server, which is connected to when it is needed, and again when it was lost.

    An async context manager: leaving it ends the connection, and a server that was started for it.

    Args:
        label: What it is called.
        settings: Where it is, and what may be done with it.

    Attributes:
        label: As given.
        settings: As given.
        tools: What it listed last and the settings allow; empty before the first connection.
        changed: Are told that its tools are others than before.
    """

    def __init__(self, label: str, settings: McpSettings) -> None:
        self.label = label
        self.settings = settings
        self.tools: tuple[McpTool, ...] = ()
        self.changed: set[Callable[[], None]] = set()
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Begin; nothing is connected yet."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def connect(self) -> Sequence[McpTool]:
        """Be connected, and give its tools.

        Raises:
            McpFailed: It cannot be reached or started, or lists no tools.
        """
        await self._connected()
        return self.tools

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run a tool, and give its whole result as text.

        When it is cancelled, the server is told so.

        Args:
            name: The server's own name of it.
            arguments: Of the call.

        Raises:
            McpFailed: It has no result.
        """
        for tried in range(2):
            connection = await self._connected()
            token = _seen.set(seen := _Answers(maxlen=MOST_ANSWERS))
            try:
                work = connection.client.call_tool(name, dict(arguments))
                result = await connection.see_through(work)
            except Exception as error:
                if not tried and any(each.expired for each in seen):
                    # The server has forgotten this session, and so has run nothing.
                    await connection.close()
                    continue
                self._fail(error, seen, connection, name)
            finally:
                _seen.reset(token)
            text = in_words(result)
            if result.is_error:
                raise McpFailed(text or f"{name} failed, and did not say why.")
            return text
        raise AssertionError("the second try returns or raises")

    async def _connected(self) -> _Connection:
        async with self._opening:
            if self._connection is None or self._connection.is_over:
                if self._connection is not None:
                    await self._connection.close()
                connection = _Connection(self.label, self.settings, self._list)
                try:
                    await connection.open()
                except CascadeError as error:
                    raise McpFailed(str(error), "protocol_error", LOST) from None
                self._connection = connection
            return self._connection

    def _list(self, tools: Iterable[McpTool]) -> None:
        allowed = self.settings.allowed
        found = tuple(tool for tool in tools if not allowed or tool.name in allowed)
        before, self.tools = self.tools, found
        if before and before != found:
            for tell in tuple(self.changed):
                tell()

    def _fail(
        self, error: Exception, seen: _Answers, connection: _Connection, name: str
    ) -> NoReturn:
        """Say why a call has no result."""
        from mcp import MCPError

        log.debug("%s of %s", name, self.label, exc_info=error)
        code = error.code if isinstance(error, MCPError) else LOST
        if seen and not seen[-1].answers:
            status = seen[-1].status
            raise McpFailed(_refused(self.label, status), "http_error", status) from None
        if connection.is_over or code == LOST:
            again = "started" if self.settings.command else "connected to"
            message = (
                f"{self.label} went away while it ran {name}; it is {again} again when needed."
            )
            raise McpFailed(message, "protocol_error", LOST) from None
        said = one_line(first_line(error))
        if not isinstance(error, MCPError):
            message = f"{self.label} gave no valid result of {name}: {said}"
            raise McpFailed(message, "protocol_error", LOST) from None
        raise McpFailed(f"{self.label}: {said}", "protocol_error", code) from None


def from_flags(places: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings of servers that are given by a URL or a command line, under names made from that.

    Raises:
        BadInput: One is empty, or has a quote that does not end.
    """
    found: dict[str, dict[str, Any]] = {}
    values: dict[str, Any]
    for place in places:
        if re.match(r"https?://", place):
            label, values = place.split("/")[2].rpartition("@")[2], {"url": place}
        else:
            try:
                command, *args = shlex.split(place)
            except ValueError:  # or there is no word in it
                raise BadInput(f"--mcp {place!r}: give a URL or a command line") from None
            # Of `npx -y @scope/server-files@1 stdio` that is the package, and of `./files` itself.
            words = [arg for arg in args if not arg.startswith("-")]
            named = words[0] if words and Path(command).stem in RUNNERS else command
            label = re.sub(r"(?<=.)@.*|\.\w+$", "", named.rpartition("/")[2])
            values = {"command": command, "args": args}
        label = re.sub(r"[^a-zA-Z0-9_-]+", "_", label).strip("_")[:24] or "mcp"
        number = 1
        while (key := f"mcp.{label}{'' if number == 1 else f'_{number}'}") in found:
            number += 1
        found[key] = values
    return found


RUNNERS = ("npx", "uvx", "uv", "bunx", "node", "python", "python3", "docker", "deno")
"""Commands that only start what the next word names."""


def servers_of(settings: Settings) -> dict[str, McpServer]:
    """The servers of the settings, by their labels; none is connected to yet."""
    return {label: McpServer(label, each) for label, each in settings.mcp.items()}


@contextlib.asynccontextmanager
async def closing(servers: Mapping[str, McpServer]) -> AsyncGenerator[None, None]:
    """Close servers in the end, all at the same time."""
    try:
        yield
    finally:
        await asyncio.gather(*(each.__aexit__(None, None, None) for each in servers.values()))


async def in_time(server: McpServer, name: str, arguments: Mapping[str, Any]) -> str:
    """Run a tool within the time that its server's settings give it.

    Raises:
        McpFailed: It has no result, or none in time.
    """
    await server.connect()  # which may take longer
    try:
        async with asyncio.timeout(server.settings.timeout_s):
            return await server.call(name, arguments)
    except TimeoutError:
        lasts = f"{server.settings.timeout_s:g} s"
        raise McpFailed(f"{name} of {server.label} gave no result in {lasts}.") from None


class McpServers:
    """All MCP servers of a run, as one source of tools.

    Args:
        settings: Of the run.
        taken: Names that other tools have.
    """

    def __init__(self, settings: Settings, taken: Collection[str] = ()) -> None:
        self._servers = servers_of(settings)
        self._taken = frozenset(taken) | {CANCEL.name}

    async def __aenter__(self) -> Self:
        """Connect to all of them.

        Raises:
            CascadeError: One cannot be reached or started; the message says why.
        """
        opening = [asyncio.ensure_future(each.connect()) for each in self._servers.values()]
        try:
            await asyncio.gather(*opening)
        except BaseException:
            for each in opening:
                each.cancel()
            await asyncio.gather(*opening, return_exceptions=True)
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all connections, and the servers that were started for them."""
        async with closing(self._servers):
            pass

    def watch(self, tell: Callable[[], None]) -> None:
        """Tell when other tools may be called."""
        for server in self._servers.values():
            server.changed.add(tell)

    @property
    def tools(self) -> Sequence[Tool]:
        """What may be called just now, under names that the OpenAI API takes."""
        found = {
            (server.label, each.name): (server.settings, each)
            for server in self._servers.values()
            for each in server.tools
        }
        return [
            as_tool(name, *found[place], approved=not needs_approval(*found[place]))
            for name, place in named(found, self._taken).items()
        ]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Run a tool, and give its whole result as text.

        Raises:
            McpFailed: It has no result.
        """
        places = [(s.label, each.name) for s in self._servers.values() for each in s.tools]
        place = named(places, self._taken).get(name)
        if place is None:
            raise McpFailed(f"There is no tool {name} any more.")
        return await self._servers[place[0]].call(place[1], arguments)


def needs_approval(settings: McpSettings, tool: McpTool) -> bool:
    """Whether the user is asked before a tool is run."""
    asked = settings.approval
    return asked == "always" or (isinstance(asked, list) and tool.name in asked)


def as_tool(name: str, settings: McpSettings, tool: McpTool, *, approved: bool) -> Tool:
    """A server's tool as a model is offered it, under another name."""
    return Tool(
        name,
        tool.description,
        tool.parameters,
        timeout_s=settings.timeout_s,
        approved=approved,
    )


def named(
    places: Iterable[tuple[str, str]], taken: Collection[str] = ()
) -> dict[str, tuple[str, str]]:
    """Names for tools that the OpenAI API takes and that differ. Pure.

    Args:
        places: The label of each tool's server, and the server's own name of the tool.
        taken: Names that none of them may have.

    Returns:
        The places by their names. What a name alone does not tell apart has its server's label in
        front; characters that may not be are `_`; what is still the same gets a number.
    """
    places = list(places)
    plain = [_valid(name) for _, name in places]
    found: dict[str, tuple[str, str]] = {}
    for (label, name), short in zip(places, plain, strict=True):
        clashes = short in taken or plain.count(short) > 1
        base = wanted = _valid(f"{label}_{name}") if clashes else short
        number = 1
        while wanted in found or wanted in taken:
            number += 1
            wanted = f"{base[: NAME_CHARS - 4]}_{number}"
        found[wanted] = label, name
    return found


def _valid(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:NAME_CHARS] or "_"


def in_words(result: CallToolResult) -> str:
    """A result of any kinds of content as text."""
    parts = [part for each in result.content if (part := _part(each.model_dump(mode="json")))]
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(parts)


def _part(content: Mapping[str, Any]) -> str:
    """One content of a result: its text, or what it is where no text can stand for it."""
    match content:
        case {"type": "text", "text": text}:
            return str(text)
        case {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": "resource", "resource": {"uri": uri, "blob": blob, **more}}:
            return f"({more.get('mime_type') or 'a file'}, {_size(blob)}: {uri})"
        case {"type": "resource_link", "uri": uri, **more}:
            said = more.get("description") or more.get("title") or more.get("name") or ""
            return f"({one_line(str(said))}: {uri})"
        case {"type": "image" | "audio" as kind, "data": data, "mime_type": mime}:
            return f"({'an image' if kind == 'image' else 'a sound'}, {mime}, {_size(data)})"
    return f"({content.get('type', 'something')} that cannot be put into words)"


def _size(data: str) -> str:
    """How large base64 is, for people."""
    return f"{max(1, len(data) * 3 // 4000)} kB"


def _refused(label: str, status: int) -> str:
    """What HTTP's refusal means, and what to do."""
    if status in (401, 403):
        return f"{label} refuses access (HTTP {status}); its headers or authorization say who asks."
    return f"{label} answered with HTTP {status}."


@dataclass(frozen=True, slots=True)
class _Seen:
    """An answer over HTTP to a call that was none as it should be.

    Attributes:
        status: Of HTTP.
        expired: Whether it can mean that the server knows the session no more.
        answers: Whether there is JSON in it that says more.
    """

    status: int
    expired: bool
    answers: bool


_Answers = deque[_Seen]

MOST_ANSWERS = 8
"""So many bad answers to one call are kept."""

_seen: ContextVar[_Answers | None] = ContextVar("_seen", default=None)
"""The bad answers over HTTP to the call of this context, which the SDK's tasks inherit: its own
errors do not tell the status."""


async def _look(response: httpx2.Response) -> None:
    seen = _seen.get()
    if seen is not None and response.request.method == "POST" and response.status_code >= 300:
        status = response.status_code
        has_session = "mcp-session-id" in response.request.headers
        kind = response.headers.get("content-type", "")
        # By the specification 404; the SDK for TypeScript has 400 in its examples.
        seen.append(_Seen(status, has_session and status in (400, 404), "json" in kind))


class _Watched:
    """What comes from a server, which tells when nothing more does."""

    def __init__(self, stream: ReadStream[Any], ended: Callable[[], None]) -> None:
        self._stream = stream
        self._tell_ended = ended

    @property
    def last_context(self) -> Any:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        return await self._stream.receive()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await self._stream.__anext__()

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        self._tell_ended()
        return await self._stream.__aexit__(*error)


class _Connection:
    """A connection, and the task that holds it.

    Args:
        label: Of the server.
        settings: Where it is.
        listed: Is told its tools, at the beginning and whenever they are others.
    """

    def __init__(
        self, label: str, settings: McpSettings, listed: Callable[[Iterable[McpTool]], None]
    ) -> None:
        self._label = label
        self._settings = settings
        self._listed = listed
        self._news = asyncio.Event()
        self._leaving = False
        self._said: deque[str] = deque(maxlen=KEPT_LINES)
        self._answers = _Answers(maxlen=MOST_ANSWERS)
        self._ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    @property
    def client(self) -> Client:
        """The SDK's."""
        return self._ready.result()

    @property
    def is_over(self) -> bool:
        """Whether it is gone."""
        return self._leaving or self._task is None or self._task.done()

    async def open(self) -> None:
        """Connect, and list the tools.

        Raises:
            CascadeError: That cannot be; the message says why.
        """
        self._task = asyncio.create_task(self._hold())
        try:
            async with asyncio.timeout(CONNECT_S):
                both: set[asyncio.Future[Any]] = {self._ready, self._task}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            await self._end()
            raise CascadeError(f"{self._where}: did not answer in {CONNECT_S:.0f} s") from None
        except asyncio.CancelledError:
            await self._end()
            raise
        if not self._ready.done() or self._ready.exception() is not None:
            await self._end()
            error = self._ready.exception() if self._ready.done() else None
            raise CascadeError(self._why(error)) from None

    async def close(self) -> None:
        """End it: a server that was started is told to, and killed if it does not."""
        self._ended()
        if self._task is not None:
            # Whoever is cancelled here has been so before: what was started must end all the same.
            await asyncio.shield(self._task)

    async def see_through(self, work: Coroutine[Any, Any, Got]) -> Got:
        """Wait for an answer, or for the end of the connection.

        Raises:
            ConnectionError: The connection ended first.
        """
        assert self._task is not None
        asking = asyncio.ensure_future(work)
        try:
            await asyncio.wait({asking, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise ConnectionError("the connection is gone")
        finally:
            if not asking.done():
                asking.cancel()
                await asyncio.wait({asking}, timeout=LET_GO_S)
        return await asking

    async def _end(self) -> None:
        """Give up before it was ready: there is nobody to be told."""
        assert self._task is not None
        self._leaving = True
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _hold(self) -> None:
        _seen.set(self._answers)
        try:
            async with contextlib.AsyncExitStack() as stack:
                client = await self._open(stack)
                await self._list(client)
                self._ready.set_result(client)
                while not self._leaving:
                    await self._news.wait()
                    self._news.clear()
                    if not self._leaving:
                        await self._list(client)
        except Exception as error:
            if not self._ready.done():
                self._ready.set_exception(error)
                self._ready.exception()  # it is looked at, or nobody waits any more
            else:
                log.debug("the connection to %s", self._label, exc_info=error)

    async def _open(self, stack: contextlib.AsyncExitStack) -> Client:
        from mcp import Client, StdioServerParameters, stdio_client
        from mcp.client.streamable_http import streamable_http_client
        from mcp_types import Implementation, ToolListChangedNotification

        async def notice(message: object) -> None:
            if isinstance(message, ToolListChangedNotification):
                self._news.set()

        settings = self._settings
        if settings.command:
            parameters = StdioServerParameters(
                command=settings.command,
                args=settings.args,
                env=settings.expanded(settings.env),
                # What is no JSON is passed over; what is no text must not end the connection.
                encoding_error_handler="replace",
            )
            errors = await stack.enter_async_context(self._listening())
            transport = stdio_client(parameters, errlog=errors)
        else:
            http = await stack.enter_async_context(self._http())
            transport = streamable_http_client(settings.url, http_client=http)
        client = Client(
            self._watched(transport),
            message_handler=notice,
            client_info=Implementation(name="cascade", version="0"),
        )
        await stack.enter_async_context(client)
        with contextlib.suppress(Exception):
            # Before the protocol of 2026-07-28 servers tell it unasked.
            await stack.enter_async_context(client.listen(tools_list_changed=True))
        return client

    @contextlib.asynccontextmanager
    async def _watched(self, transport: Transport) -> AsyncGenerator[TransportStreams, None]:
        """A transport whose end is the end of the connection, whether somebody calls or not."""
        async with transport as (read, write):
            yield _Watched(read, self._ended), write

    def _ended(self) -> None:
        self._leaving = True
        self._news.set()

    def _http(self) -> httpx2.AsyncClient:
        import httpx2

        headers = self._settings.expanded(self._settings.headers)
        for name, value in headers.items():
            # HTTP's own complaint holds the whole value, which is a secret.
            if not re.fullmatch(r"[!-~]([ -~\t]*[!-~])?|", value):
                raise BadInput(
                    f"the value of its header {one_line(name, 64)} has a line break, a space at an "
                    "end, or another sign that no header may have"
                )
        return httpx2.AsyncClient(
            headers=headers,
            # An answer may be long in coming: a call has a time-out of its own.
            timeout=httpx2.Timeout(CONNECT_S / 2, read=None),
            event_hooks={"response": [_look]},
        )

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncGenerator[TextIO, None]:
        """What a server writes on stderr is kept, and is not on the terminal."""
        out, into = os.pipe()

        def keep() -> None:
            with os.fdopen(out, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    log.debug("%s: %s", self._label, line.rstrip())
                    self._said.append(line)

        reader = threading.Thread(target=keep, name=f"mcp-{self._label}", daemon=True)
        reader.start()
        errors: TextIO = os.fdopen(into, "w")
        try:
            with errors:
                yield errors
        finally:
            # Its last words say why it went. Nobody writes any more, but for what it has started.
            await asyncio.to_thread(reader.join, LAST_WORDS_S)

    async def _list(self, client: Client) -> None:
        """List the tools, page by page."""
        found: list[McpTool] = []
        cursor = None
        for _ in range(MOST_PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="refresh")
            found += [
                McpTool(
                    each.name,
                    each.description or each.title or "",
                    each.input_schema,
                    each.annotations.model_dump(by_alias=True, exclude_none=True)
                    if each.annotations
                    else {},
                )
                for each in page.tools
            ]
            cursor = page.next_cursor
            if cursor is None or len(found) > MOST_TOOLS:
                break
        self._listed(found[:MOST_TOOLS])

    @property
    def _where(self) -> str:
        """The server, for people, without anything secret."""
        settings = self._settings
        place = settings.command or without_password(settings.url).partition("?")[0]
        return f"MCP server {self._label} ({place})"

    def _why(self, error: BaseException | None) -> str:
        """Why it cannot be connected to, and what to do."""
        while isinstance(error, BaseExceptionGroup):
            error = first_of(error)
        if isinstance(error, CascadeError):
            return f"{self._where}: {error}"
        if isinstance(error, FileNotFoundError | PermissionError):
            return f"{self._where}: cannot be started: {error.strerror}; is it installed?"
        if self._answers and not self._answers[-1].answers:
            return f"{self._where}: {_refused('it', self._answers[-1].status)}"
        said = one_line(first_line(error)) if isinstance(error, Exception) else "went away"
        if self._settings.command:
            last = [line.strip() for line in self._said if line.strip()]
            said = f"ended before it was ready: {one_line(last[-1])}" if last else said
            return f"{self._where}: {said}"
        return f"{self._where}: cannot be reached: {said}"
