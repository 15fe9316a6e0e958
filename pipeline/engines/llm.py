"""The language model: messages in, text and tool calls out. Any OpenAI-compatible server.

One code path for the embedded model, Ollama, vLLM, llama.cpp and the OpenAI API: the `openai`
client. Closing a stream closes its connection, which makes those servers stop generating.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.config import LlmSettings
from pipeline.engines.servers import ChatServer, openai
from pipeline.engines.tools import ToolUse, tools_of
from pipeline.errors import BadInput, StageError
from pipeline.text.visible import VisibleText

Messages = Sequence[Mapping[str, Any]]
"""As the chat API takes them; a `tools.Prompt` brings the tools too."""

CONNECT_TIMEOUT_S = 5.0
"""To reach the server."""


class Unreachable(StageError):
    """There is no server where one should be."""


class ToolsRefused(StageError):
    """The server, or the model behind it, takes no tools; without them it may answer."""


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens of one reply: read, of those from the server's cache, and written."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Unsaid:
    """All text before was a thought, and no part of the reply: only its end was marked."""


Piece = str | Used | ToolUse | Unsaid
"""What comes of a reply while it is written."""


class Writer(Protocol):
    """What writes, and may call tools: a `ChatModel`, or what stands between it and the reply."""

    def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """Yield text as it is written, what it cost, and at the end the tools that it calls."""
        ...


def open_client(
    server: ChatServer,
    *,
    timeout_s: float | None = None,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> openai.AsyncOpenAI:
    """A client of a server; it is not asked for anything yet.

    Args:
        server: Its address and key.
        timeout_s: Silence after which a request has failed; None: the caller sees to it.
        connect_timeout_s: See `CONNECT_TIMEOUT_S`.

    Raises:
        BadInput: The URL, or the proxy that the environment names for it, cannot be used.
    """
    # Certificates take 30 ms to read: not for what stays on this machine, in the clear.
    certified = not (server.on_loopback and server.base_url.startswith("http://"))
    try:
        return openai.AsyncOpenAI(
            base_url=server.base_url,
            api_key=server.api_key,
            # A voice cannot wait for a second try; the user repeats the question sooner.
            max_retries=0,
            timeout=openai.Timeout(timeout_s, connect=connect_timeout_s),
            # The environment's proxy cannot reach this machine's own loopback.
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=not server.on_loopback, verify=certified
            ),
            default_headers={} if server.keeps else {"Connection": "close"},
        )
    except Exception as error:
        # The HTTP client has no common class for a URL, or a proxy, that it cannot use.
        raise BadInput(
            f"{server.label} cannot be used: {error}; check the URL and the proxy settings"
        ) from None


class ChatModel:
    """A model behind a server, as an async client.

    Raises:
        BadInput: The URL, or the proxy that the environment names for it, cannot be used.
    """

    def __init__(
        self,
        server: ChatServer,
        settings: LlmSettings,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._server = server
        self._settings = settings
        self._connect_timeout_s = connect_timeout_s
        self._model = server.model
        # OpenAI's reasoning models take no temperature, and some servers count no tokens.
        self._optional: dict[str, Any] = {
            "temperature": settings.temperature,
            "stream_options": {"include_usage": True},
            **server.optional,
        }
        self._answered = False
        # Whether its replies begin within a thought that only ends in the text.
        self._begins_inside = False
        # All waiting but for the connection is timed here.
        self._client = open_client(server, connect_timeout_s=connect_timeout_s)

    @property
    def model(self) -> str:
        """The model's name; known once `warm` has asked a server that was given none."""
        return self._model or self._server.label

    @property
    def server(self) -> ChatServer:
        """Where it is."""
        return self._server

    async def warm(self, messages: Messages) -> None:
        """Find the model, open the connection, and let the server read the system prompt.

        Where a model that is known to think first begins with anything but a thought's opening
        mark, that mark is taken to be in the prompt.

        Raises:
            StageError: The server cannot be used; `fatal` where trying again cannot help.
        """
        said = False
        async with contextlib.aclosing(self.stream(messages, max_tokens=1)) as deltas:
            async for piece in deltas:
                said = said or isinstance(piece, str)
        if said and _THINKERS.search(self.model) and "reasoning_effort" not in self._optional:
            self._begins_inside = True

    async def find(self) -> None:
        """Find the server and the model, and leave the connection open; nothing is asked of it.

        Raises:
            StageError: The server cannot be used.
        """
        with self._explained():
            if not self._model:
                self._model = await self._first_model()
                return
            try:
                async with asyncio.timeout(self._settings.first_token_timeout_s):
                    await self._client.get("/models", cast_to=object)
            except ValueError:
                pass
            except openai.APIStatusError as error:
                if error.status_code not in _NOT_LISTED:
                    raise

    async def stream(
        self, messages: Messages, *, max_tokens: int | None = None
    ) -> AsyncGenerator[Piece, None]:
        """Yield the reply's text as it is written, without what is not for the user; then `Used`.

        Last come the tools that the model asks for, if the prompt brings any; their ids may be
        empty, or alike. They may have been written into the text.

        Close it (`contextlib.aclosing`) to make the server stop.

        Args:
            messages: The prompt, as the chat API takes it.
            max_tokens: Limit on the reply; None takes `llm.max_tokens`.

        Raises:
            ToolsRefused: The prompt brings tools, and without them it would be answered.
            StageError: The server cannot be reached, refuses, is silent for too long, or ends the
                stream in the middle, or the model wrote a call that cannot be passed on; what was
                yielded before stands.
        """
        functions = [tool["function"] for tool in tools_of(messages)]
        offered = {function["name"]: function["parameters"] for function in functions}
        visible = VisibleText(offered, begins_inside=self._begins_inside)
        calls = ToolCalls()
        used: Used | None = None
        finish = ""
        came = said = False
        patience_s = self._settings.first_token_timeout_s
        with self._explained():
            if not self._model:
                self._model = await self._first_model()
            limit = max_tokens or self._settings.max_tokens
            async with await self._open(messages, limit) as stream:
                while piece := await self._next(stream, patience_s):
                    came = True
                    used = piece.used or used
                    finish = piece.finish or finish
                    for part in piece.calls:
                        calls.push(part)
                    if piece.text or piece.calls:
                        patience_s = self._settings.token_timeout_s
                    for news in self._news(visible, visible.push(piece.text)):
                        said = isinstance(news, str)
                        yield news
                    if visible.over:
                        finish = "stop"
                        break
        for news in self._news(visible, visible.flush(whole=finish != "length")):
            said = isinstance(news, str)
            yield news
        if not calls.uses:
            for index, call in enumerate(visible.calls):
                calls.push(CallPart(index, "", call.name, call.arguments))
        if used:
            yield used
        label = self._server.label
        if not came:
            kind = stream.response.headers.get("content-type", "nothing")
            raise StageError(
                "llm",
                f"{label} answers with no reply ({kind}); "
                "check that it is an OpenAI-compatible API",
                fatal="event-stream" not in kind,
            )
        if not finish:
            raise StageError("llm", f"{label} broke off in the middle of the reply")
        if finish == "length" and max_tokens is None:
            spent = f"{label} spent all {self._settings.max_tokens} tokens "
            if visible.written if not calls.uses else not calls.whole:
                raise StageError("llm", f"{spent}before its tool call was whole; {_MORE}")
            if not said and not calls.uses:
                raise StageError(
                    "llm", f"{spent}on thinking; {_MORE}, or take a model that does not think"
                )
        if visible.written and max_tokens is None and not (offered and calls.uses):
            names = ", ".join(use.name for use in calls.uses)
            what = (
                f"calls {names}, and no tool is on offer" if names else "wrote an unreadable call"
            )
            raise StageError(
                "llm", f"the model of {label} {what}; ask again, or take another model"
            )
        for use in calls.uses if offered else ():
            yield use

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def _news(self, visible: VisibleText, text: str) -> Iterator[str | Unsaid]:
        """What is new in a reply, and whether that makes a thought of all before."""
        learnt = visible.begins_inside and not self._begins_inside
        self._begins_inside = visible.begins_inside
        if learnt:
            yield Unsaid()
        if text:
            yield text

    async def _first_model(self) -> str:
        """The first model that the server lists."""
        label, remedy = self._server.label, self._server.name_remedy
        listed: object = None
        try:
            async with asyncio.timeout(self._settings.first_token_timeout_s):
                listed = await self._client.get("/models", cast_to=object)
        except (openai.NotFoundError, ValueError):
            pass
        match listed:
            case {"data": [{"id": str(name)}, *_]} if name:
                return name
            case {"data": [] | None}:
                raise StageError(
                    "llm", f"{label} lists no model; load one there, or {remedy}", fatal=True
                )
        raise StageError(
            "llm",
            f"{label} does not list its models; {remedy}, and check that the URL is an "
            "OpenAI-compatible API",
            fatal=True,
        )

    async def _open(self, messages: Messages, max_tokens: int) -> openai.AsyncStream[object]:
        """Send the request; again without the optional parameters that the server refuses.

        Tools are no such parameter. What refuses a request for no reason that is told is asked
        without them too, only to know that they are the reason.
        """
        optional = self._optional
        tools = tools_of(messages)
        offered = {"tools": tools} if tools else {}
        # A server may close a kept connection in the very moment of its reuse.
        may_be_stale = self._answered
        async with asyncio.timeout(self._settings.first_token_timeout_s):
            while True:
                try:
                    with self._readable():
                        # As plain objects: the client's own take 0.2 ms each to make, these 0.02.
                        stream = await self._client.post(
                            "/chat/completions",
                            cast_to=object,
                            body={
                                "model": self._model,
                                "messages": list(messages),
                                "stream": True,
                                self._server.limit: max_tokens,
                                **optional,
                                **offered,
                            },
                            stream=True,
                            stream_cls=openai.AsyncStream[object],
                        )
                except openai.APIStatusError as error:
                    if offered and _names_tools(error, messages):
                        raise self._refused(error) from None
                    if error.status_code not in _BAD_REQUEST or not (optional or offered):
                        raise
                    refusal = error
                    if optional:
                        optional = _without_refused(optional, str(error))
                    else:
                        offered = {}
                except openai.APITimeoutError:
                    raise
                except openai.APIConnectionError:
                    if not may_be_stale:
                        raise
                    may_be_stale = False
                else:
                    if tools and not offered:
                        await stream.close()
                        raise self._refused(refusal)
                    # Kept only now that it worked: the request may be bad for another reason.
                    self._optional = optional
                    self._answered = True
                    return stream

    def _refused(self, error: openai.APIStatusError) -> ToolsRefused:
        return ToolsRefused(
            "llm",
            f"{self._server.label} refuses the tools ({error.status_code}: {_message(error)}); "
            "going on without them; take a model that can call tools",
        )

    async def _next(self, stream: openai.AsyncStream[object], limit_s: float) -> _Chunk | None:
        """The stream's next piece, within this time; None at its end."""
        label = self._server.label
        try:
            async with asyncio.timeout(limit_s):
                with self._readable():
                    return _read_chunk(await anext(stream))
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise StageError("llm", f"{label} sent nothing for {limit_s:g} s") from None
        except openai.APIConnectionError as error:
            raise StageError(
                "llm",
                f"{label} broke off in the middle of the reply ({error.__cause__ or error})",
            ) from None

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Say so where the server sends bad JSON, bad UTF-8, or JSON of another shape."""
        try:
            yield
        except ValueError:
            raise StageError(
                "llm",
                f"{self._server.label} sends what is no chat stream; "
                "check that it is an OpenAI-compatible API",
            ) from None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the client's errors into words."""
        label = self._server.label
        try:
            yield
        except openai.APITimeoutError:
            wait = self._connect_timeout_s
            raise Unreachable(
                "llm",
                f"{label} cannot be reached within {wait:g} s; {self._server.remedy}",
            ) from None
        except TimeoutError:
            wait = self._settings.first_token_timeout_s
            raise StageError(
                "llm",
                f"{label} did not answer within {wait:g} s; "
                "it may still be loading, or raise llm.first_token_timeout_s",
            ) from None
        except openai.APIConnectionError as error:
            raise Unreachable(
                "llm",
                f"{label} cannot be reached ({error.__cause__ or error}); {self._server.remedy}",
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise StageError(
                "llm",
                f"{label} refuses the key ({error.status_code}); set {self._server.key_setting}",
                fatal=True,
            ) from None
        except openai.NotFoundError as error:
            raise StageError(
                "llm",
                f"{label} has no model {self._model!r} or no chat API there "
                f"(404: {_message(error)})",
                fatal=True,
            ) from None
        except openai.APIStatusError as error:
            after = error.response.headers.get("retry-after", "")
            when = f"in {after} s" if after.isdecimal() else "later"
            hint = f"; try again {when}" if error.status_code >= 429 else ""
            raise StageError(
                "llm", f"{label} answers {error.status_code}: {_message(error)}{hint}"
            ) from None
        except openai.APIError as error:
            raise StageError("llm", f"{label} failed: {_message(error)}") from None


_MORE = "raise llm.max_tokens"

_THINKERS = re.compile(r"(?<![a-z\d])r1(?!\d)|qwq|qvq|think|reason|minimax-m", re.I)
"""Names of models that think first and cannot be told not to (DeepSeek-R1, QwQ, Qwen3-Thinking,
MiniMax-M2): the chat templates of most open the thought for them. Ollama, which is asked by
`reasoning_effort`, tells thoughts apart itself."""

_NOT_LISTED = (400, 404, 405, 501)
"""What a server answers that does not list its models."""

_BAD_REQUEST = (400, 422)


def _names_tools(error: openai.APIStatusError, messages: Messages) -> bool:
    """Whether a refusal is about the tools, and not about what came of them.

    Ollama answers 400 ("… does not support tools"), vLLM 400 ("tool choice requires …"), llama.cpp
    without its templates 500 ("tools param requires …"), OpenRouter 404 ("no endpoints … support
    tool use").
    """
    if any(message["role"] == "tool" for message in messages):
        return False
    text = _message(error)
    if not re.search(r"\b(tools?|tool_choice|functions?|function.calling)\b", text, re.I):
        return False
    return error.status_code in _BAD_REQUEST or bool(re.search("support|require", text, re.I))


def _without_refused(parameters: Mapping[str, Any], refusal: str) -> dict[str, Any]:
    """The parameters without those that a refusal names; without any if it names none of them."""
    kept = {name: value for name, value in parameters.items() if name not in refusal}
    return kept if len(kept) < len(parameters) else {}


def _message(error: openai.APIError) -> str:
    """The server's own words, on one line and of a readable length."""
    match error.body:
        case {"message": str(text)} | {"detail": str(text)} | {"error": str(text)} | str(text):
            pass
        case _:
            text = error.message
    if page := re.search(r"<(?:!doctype|html)(?:.*?<title[^>]*>(.*?)</title>)?", text, re.I | re.S):
        text = page[1] or "a web page"
    text = "".join(char if char.isprintable() else " " for char in text)
    text = " ".join(text.split()) or "no reason given"
    return text if len(text) <= 200 else text[:199] + "…"


# ---- what the chunks of a stream bring ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What one chunk of a stream brings."""

    text: str
    finish: str
    used: Used | None
    calls: Sequence[CallPart]


def _read_chunk(chunk: Any) -> _Chunk:
    """Read a chunk, which is whatever JSON the server sent.

    Raises:
        ValueError: It has not the shape of one.
    """
    try:
        choices = chunk.get("choices") or ()
        deltas = [delta for choice in choices if (delta := choice.get("delta"))]
        contents = [delta.get("content") for delta in deltas]
        calls = [part for delta in deltas for part in call_parts(delta.get("tool_calls"))]
        finish = next((reason for choice in choices if (reason := choice.get("finish_reason"))), "")
        used = None
        if (usage := chunk.get("usage")) is not None:
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
            written = usage.get("completion_tokens")
            used = Used(*map(_count, (usage.get("prompt_tokens"), cached, written)))
    except (AttributeError, TypeError):
        raise ValueError("not a chunk of a chat completion") from None
    # A content that is no text is some server's way of sending thoughts.
    return _Chunk("".join(text for text in contents if isinstance(text, str)), finish, used, calls)


def _count(tokens: object) -> int:
    """A number of tokens; 0 where the server gives none."""
    return tokens if isinstance(tokens, int) else 0


@dataclass(frozen=True, slots=True)
class CallPart:
    """What one entry of a chunk's `tool_calls` brings; empty where it brings nothing.

    Attributes:
        index: Of the call among those of the reply; None: not told.
        id: Of the call.
        name: Of the tool.
        arguments: More of their text.
    """

    index: int | None
    id: str
    name: str
    arguments: str


def call_parts(entries: Any) -> list[CallPart]:
    """Read a chunk's `tool_calls`, which are whatever JSON the server sent.

    Raises:
        AttributeError, TypeError: They have not the shape of that.
    """
    return [_part(entry) for entry in entries or ()]


class ToolCalls:
    """The tool calls of one reply, put together as a server streams them; `push` parts in order.

    The OpenAI API sends the id and the name of a call first, then its arguments in pieces, all
    under the call's index. Others send whole calls in one piece, leave out index or id, use one
    index for all, repeat id and name with every piece, or make up a new id for each.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int | None, _Call] = {}

    def push(self, part: CallPart) -> None:
        """Take the next part."""
        call = self._at.get(part.index) if part.index is not None else self._last()
        if call is None or _begins(part, call):
            call = _Call(part.id, part.name)
            self._calls.append(call)
        else:
            call.id = call.id or part.id
            # A name in pieces is told apart from one that is repeated.
            if part.name and part.name != call.name:
                call.name += part.name
        call.arguments += part.arguments
        self._at[part.index] = call

    @property
    def uses(self) -> tuple[ToolUse, ...]:
        """The calls so far, in order. Without a name there is none. Ids may be empty, or alike."""
        return tuple(ToolUse(c.id, c.name, c.arguments) for c in self._calls if c.name)

    @property
    def whole(self) -> bool:
        """Whether the last call's arguments are no beginning of something longer."""
        return not self._calls or _complete(self._calls[-1].arguments)

    def _last(self) -> _Call | None:
        return self._calls[-1] if self._calls else None


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: str = ""


def _begins(part: CallPart, call: _Call) -> bool:
    """Whether a part begins a new call, and does not go on with this one of the same index.

    What brings no name never does, whatever its id. A name under another id does; under no id, if
    the call before it is complete, or could be, since nothing told its index.
    """
    if not part.name or not call.name:
        return False
    if part.id and call.id:
        return part.id != call.id
    return _complete(call.arguments) or (part.index is None and not call.arguments)


def _complete(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True


def _part(entry: Any) -> CallPart:
    function = entry.get("function") or {}
    index = entry.get("index")
    return CallPart(
        index if isinstance(index, int) else None,
        _text(entry.get("id")),
        _text(function.get("name")),
        _arguments(function.get("arguments")),
    )


def _arguments(given: object) -> str:
    """The text of arguments; some servers send the object itself."""
    return json.dumps(given) if isinstance(given, dict) else _text(given)


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""
