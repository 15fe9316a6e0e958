"""A scripted OpenAI-compatible server on a real socket, for all tests that need a language model,
or a recogniser or a voice that is elsewhere.

    async with LlmServer(reply("Hello ", "there."), status(500, "boom")) as server:
        ...  # --llm server.url
        assert server.requests[0].body["stream"]

Each request for a chat, a transcript or speech takes the next answer. An answer is a list of steps:
bytes to send (`delta`, `finish`… make them) and things to wait for, so that a test can hold a reply
in the middle with the `wait` of its own event, rather than with a sleep.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from support.background import in_background

EVENTS = "text/event-stream"


class End(Enum):
    """Ways to end an answer other than properly; steps after one are not taken."""

    DROP = "close the connection; without an answer, if nothing was sent before"
    RESET = "reset the connection; the client may lose what it has not read yet"


Step = bytes | Callable[[], Awaitable[object]] | End
"""Bytes to send, something to wait for, or an `End`."""


@dataclass(frozen=True)
class Answer:
    """What the server does about one request."""

    steps: Sequence[Step]
    status: int = 200
    content_type: str = EVENTS
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """A request that arrived.

    Attributes:
        headers: Names in lower case.
        body: The JSON object; empty if there was none.
        connection: Number of the connection that it came over, from 0.
        raw: The body as it came.
        fate: Done when nothing more is sent: "complete", "ended" by an `End` step, or "abandoned"
            because the client closed the connection. Usable from any thread.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    connection: int
    raw: bytes
    fate: Future[str] = field(default_factory=Future)

    @property
    def key(self) -> str:
        """The bearer token."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


Script = Answer | Callable[[Request], Answer]


def event(data: object) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(data)}\n\n".encode()


def chunk(delta: Mapping[str, Any], *, finish: str | None = None, **more: Any) -> bytes:
    """A chunk with one choice."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({**_HEAD, "choices": [choice], **more})


def choice(**fields: Any) -> bytes:
    """A chunk whose one choice has these fields, and no others."""
    return event({**_HEAD, "choices": [fields]})


def delta(text: str) -> bytes:
    """A piece of the reply."""
    return chunk({"content": text})


def reasoning(text: str) -> bytes:
    """A piece of thinking, as servers send it that tell it apart."""
    return chunk({"content": None, "reasoning_content": text})


def tool_call(arguments: str = "", **more: Any) -> bytes:
    """A piece of a tool call; `index`, `id` and `name` where they are given."""
    function = {"arguments": arguments, **{k: v for k, v in more.items() if k == "name"}}
    call = {k: v for k, v in more.items() if k != "name"}
    return chunk({"tool_calls": [{**call, "function": function}]})


def finish(reason: str = "stop") -> bytes:
    """The last chunk with a choice."""
    return chunk({}, finish=reason)


def usage(read: int, cached: int | None, written: int) -> bytes:
    """The chunk that counts tokens; `cached` None leaves the details out, as many servers do."""
    counts: dict[str, Any] = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }
    if cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": cached}
    return event({**_HEAD, "choices": [], "usage": counts})


_HEAD = {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
ROLE = chunk({"role": "assistant", "content": ""})
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"


def pause(seconds: float) -> Step:
    """A step that takes a while."""
    return partial(asyncio.sleep, seconds)


async def hang() -> None:
    """A step that never ends; only the client's leaving ends it."""
    await asyncio.Event().wait()


def reply(*texts: str, after_s: float = 0.0) -> Answer:
    """A well-behaved reply: a delta for each text, `after_s` before each."""
    steps: list[Step] = [ROLE]
    for text in texts:
        steps += [pause(after_s), delta(text)] if after_s else [delta(text)]
    return Answer([*steps, finish(), usage(7, 5, len(texts)), DONE])


def status(code: int, message: str = "", **details: Any) -> Answer:
    """An error, told as the OpenAI API tells it."""
    error = {"message": message, "type": "error", "param": None, "code": None, **details}
    return Answer([json.dumps({"error": error}).encode()], code, "application/json")


def page(code: int, html: str) -> Answer:
    """A web page, as a proxy or the wrong server sends it."""
    return Answer([html.encode()], code, "text/html; charset=utf-8")


def refusing(*parameters: str, otherwise: Answer) -> Callable[[Request], Answer]:
    """An answer that is a 400 if the request has one of these parameters, and else another."""

    def answer(request: Request) -> Answer:
        for name in parameters:
            if name in request.body:
                return status(400, f"Unrecognized request argument supplied: {name}", param=name)
        return otherwise

    return answer


class LlmServer:
    """The server. An async context manager, on a loopback port of its own.

    Attributes:
        requests: All chat requests so far, in order of arrival.
        lookups: All other requests.
        models: What `/v1/models` lists, or the answer that it gives.
        counts: Whether it answers chat requests that are not streamed by itself, with how long
            their prompt is.
        connections: How many connections were made.
        port: Where it listens, once it does.
    """

    def __init__(
        self,
        *answers: Script,
        models: Sequence[str] | Answer = ("scripted",),
        otherwise: Script | None = None,
    ) -> None:
        """Prepare a server.

        Args:
            answers: One for each chat request, in order.
            models: What `/v1/models` lists, or the answer that it gives.
            otherwise: For the chat requests after these; None is status 500, so that a request too
                many shows.
        """
        self.requests: list[Request] = []
        self.lookups: list[Request] = []
        self.connections = 0
        self.port = 0
        self._answers = list(answers)
        self._otherwise = otherwise or status(500, "the script has no more answers")
        self.models = models
        self.counts = False
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What `--llm` takes."""
        return f"http://127.0.0.1:{self.port}/v1"

    def then(self, *answers: Script) -> None:
        """Add answers for the requests to come."""
        self._answers += answers

    async def arrival(self, number: int = 0) -> Request:
        """The chat request of that number, once it has arrived."""
        while len(self.requests) <= number:
            await asyncio.sleep(0.005)
        return self.requests[number]

    async def left(self) -> None:
        """Wait until the clients have closed all their connections."""
        while self._handlers:
            await asyncio.sleep(0.005)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    def in_thread(self) -> AbstractContextManager[LlmServer]:
        """Run it in a thread with an event loop of its own, for tests without one."""
        entered: AbstractAsyncContextManager[LlmServer] = self
        return in_background(entered)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, self.connections = self.connections, self.connections + 1
        task = asyncio.ensure_future(self._handle(reader, writer, connection))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _handle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        """Answer the requests of a connection one after the other."""
        try:
            while (request := await _read(reader, connection)) is not None:
                if not await self._answer(request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer until that is done or the client leaves; whether the connection can go on."""
        answer = self._choose(request)
        sending = asyncio.ensure_future(_send(answer, writer))
        # A client that waits for an answer sends nothing, so anything to read is its leaving.
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            fate = "abandoned"
            if sending.done() and sending.exception() is None:
                fate = "complete" if sending.result() else "ended"
            request.fate.set_result(fate)
            return fate == "complete" and not leaving.done()
        finally:
            if not request.fate.done():
                request.fate.set_result("server stopped")
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    def _choose(self, request: Request) -> Answer:
        path = request.path.partition("?")[0]
        if self.counts and path == _SCRIPTED[0] and not request.body.get("stream"):
            self.lookups.append(request)
            counted = {"usage": {"prompt_tokens": len(request.raw)}, "choices": []}
            return Answer([json.dumps(counted).encode()], content_type="application/json")
        if request.method == "POST" and path in _SCRIPTED:
            self.requests.append(request)
            script = self._answers.pop(0) if self._answers else self._otherwise
            return script if isinstance(script, Answer) else script(request)
        self.lookups.append(request)
        if (request.method, path) != ("GET", "/v1/models"):
            return status(404, f"{path}: not found")
        if isinstance(self.models, Answer):
            return self.models
        listed = [{"id": name, "object": "model"} for name in self.models]
        body = json.dumps({"object": "list", "data": listed}).encode()
        return Answer([body], content_type="application/json")


_SCRIPTED = ("/v1/chat/completions", "/v1/audio/transcriptions", "/v1/audio/speech")


async def _read(reader: asyncio.StreamReader, connection: int) -> Request | None:
    """The next request of a connection; None if the client has closed it."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    fields = (line.partition(":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    told = json.loads(body) if "json" in headers.get("content-type", "") else {}
    return Request(method, path, headers, told, connection, body)


async def _send(answer: Answer, writer: asyncio.StreamWriter) -> bool:
    """Take the steps; whether they were all taken."""
    started = False
    for step in answer.steps:
        if isinstance(step, End):
            if step is End.RESET:
                writer.transport.abort()
            return False
        if not isinstance(step, bytes):
            await step()
            continue
        if not started:
            _begin(answer, writer)
            started = True
        if step:  # An empty chunk would end the body.
            writer.write(b"%x\r\n%b\r\n" % (len(step), step))
        await writer.drain()
    if not started:
        _begin(answer, writer)
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


def _begin(answer: Answer, writer: asyncio.StreamWriter) -> None:
    """Send the head of the response."""
    headers = {
        "Content-Type": answer.content_type,
        "Transfer-Encoding": "chunked",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
