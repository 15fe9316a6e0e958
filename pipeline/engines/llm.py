"""The language model: messages in, text and tool calls out. Any OpenAI-compatible server.

One code path for the embedded model, Ollama, vLLM, llama.cpp and the OpenAI API: the `openai`
client. Closing a stream closes its connection, which makes those servers stop generating.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

from pipeline.config import LlmSettings
from pipeline.engines.chat_stream import (
    DONE,
    FAILED,
    CallPart,
    Chunks,
    ToolCalls,
    Used,
    cut_off,
    events,
)
from pipeline.engines.client import (
    CONNECT_TIMEOUT_S,
    explained,
    following,
    message_of,
    open_client,
    posted,
)
from pipeline.engines.context import TooLong, find_context, too_long
from pipeline.engines.servers import ChatServer, httpx2, openai
from pipeline.engines.sight import (
    may_mean_pictures,
    pictures,
    refuses_pictures,
    without_pictures,
)
from pipeline.engines.tokens import TokenGauge
from pipeline.engines.tools import Prompt, ToolUse, tools_of
from pipeline.errors import StageError
from pipeline.text.visible import VisibleText

Messages = Sequence[Mapping[str, Any]]
"""As the chat API takes them; a `tools.Prompt` brings the tools too."""

REST_S = 0.3
"""After the end of a reply: so long its count of tokens is waited for, and the end of the answer,
without which the connection cannot be used again."""


class ToolsRefused(StageError):
    """The server, or the model behind it, takes no tools; without them it may answer."""


class CallLost(StageError):
    """The model wrote a call that cannot be passed on; its words are all there."""


class Unanswered(StageError):
    """The reply was over before there was anything in it to say, or a whole call.

    Attributes:
        why: What ended it: the limit of its tokens, a filter of its content, or the model itself.
    """

    def __init__(self, message: str, why: Literal["limit", "filter", "model"]) -> None:
        super().__init__("llm", message)
        self.why = why


@dataclass(frozen=True, slots=True)
class Unsaid:
    """All text before was a thought, and no part of the reply: only its end was marked."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The text ended before its own end: the server cut it off.

    Attributes:
        reason: A line for people.
        filtered: A filter of its content did.
    """

    reason: str
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class Calling:
    """More of the first call that the model writes, which is no call yet: `ToolUse` has all of it.

    Attributes:
        name: Of the tool.
        delta: Of its arguments, JSON text.
    """

    name: str
    delta: str


Piece = str | Unsaid | Incomplete | Used | Calling | ToolUse
"""What comes of a reply."""


class Writer(Protocol):
    """What writes, and may call tools: a `ChatModel`, or what stands between it and the reply."""

    def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """Yield text as it is written, whether that was cut off, what it cost, and tool calls."""
        ...


class ChatModel:
    """A model behind a server, as an async client.

    Attributes:
        tokens: How many tokens prompts have for it; it learns with every reply.

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
        self.tokens = TokenGauge()
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
        # Shared by all that write in slots of the same server.
        self._sight = {"sees": server.sees}
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

    @property
    def sees(self) -> bool | None:
        """Whether it sees pictures; None: that is not known yet. One that does not is told so."""
        return self._sight["sees"]

    def at(self, slot: int) -> Self:
        """The same model, which reads and writes in this slot of llama.cpp's server."""
        other = copy.copy(self)
        other.tokens = copy.copy(self.tokens)
        other._optional = self._optional | {"id_slot": slot}
        return other

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

    async def find_context(self) -> None:
        """Learn how much the model can hold, if its server tells; it has been asked before."""
        context = await find_context(self._client, self._server, self._model)
        if context is not None:
            self.tokens.fits(context, self._settings.max_tokens)

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

        So is the first call of a tool (`Calling`), where the server sends it in parts.

        Between the two comes `Incomplete` if the server cut the text off. Last come the tools that
        the model asks for, if the prompt brings any; their ids may be empty, or alike. They may
        have been written into the text.

        Close it (`contextlib.aclosing`) to make the server stop.

        Args:
            messages: The prompt, as the chat API takes it.
            max_tokens: Limit on the reply; None takes the prompt's, and no more than
                `llm.max_tokens`.

        Raises:
            ToolsRefused: The prompt brings tools, and without them it would be answered.
            CallLost: A call is written into the text that cannot be read, or was not offered.
            Unanswered: A limit or a filter cut it off before there was anything to say or to call.
            TooLong: The prompt is too long for the model's context.
            StageError: The server cannot be reached, refuses, is silent for too long, or ends the
                stream in the middle; what was yielded before stands.
        """
        if self.sees is False:
            messages = without_pictures(messages)
        functions = [tool["function"] for tool in tools_of(messages)]
        offered = {function["name"]: function["parameters"] for function in functions}
        visible = VisibleText(offered, begins_inside=self._begins_inside)
        calls = ToolCalls()
        chunks = Chunks()
        used: Used | None = None
        end = ""
        came = said = False
        patience_s = self._settings.first_token_timeout_s
        with self._explained():
            if not self._model:
                self._model = await self._first_model()
            limit = max_tokens or self._limit(messages)
            async with (
                contextlib.aclosing(await self._open(messages, limit)) as response,
                contextlib.aclosing(events(response)) as coming,
            ):
                while not end and (data := await self._next(coming, patience_s)):
                    with self._readable():
                        piece = chunks.read(data)
                    if piece.error:
                        error = openai.APIError("", response.request, body=piece.error)
                        raise self._too_long(error, messages) or error
                    came = came or not data.startswith(DONE)
                    end = piece.end
                    used = piece.used or used
                    for part in piece.calls:
                        calls.push(part)
                    if piece.text.strip() or piece.calls:
                        patience_s = self._settings.token_timeout_s
                    for news in self._news(visible, visible.push(piece.text)):
                        said = isinstance(news, str) and (said or bool(news.strip()))
                        yield news
                    name, delta = calls.more()
                    if offered and delta:
                        yield Calling(name, delta)
                    if visible.over:
                        break
                if end:
                    used = await self._cost(coming, chunks) or used
        for news in self._news(visible, visible.flush(whole=end != "length")):
            said = isinstance(news, str) and (said or bool(news.strip()))
            yield news
        if visible.over:
            end = "stop"
        if not calls.uses:
            for index, call in enumerate(visible.calls):
                calls.push(CallPart(index, "", call.name, call.arguments))
        called = bool(calls.uses) or visible.written
        label = self._server.label
        cut = cut_off(end, self._limit(messages), said=said, called=called)
        if cut and said and not called and end != FAILED:
            yield Incomplete(f"{label} {cut}", filtered=end == "content_filter")
        if used:
            if used.input_tokens:
                self.tokens.learn(messages, used.input_tokens)
            yield used
        if not came:
            kind = response.headers.get("content-type", "nothing")
            raise StageError(
                "llm",
                f"{label} answers with no reply ({kind}); "
                "check that it is an OpenAI-compatible API",
                fatal="event-stream" not in kind,
            )
        if not end:
            raise StageError("llm", f"{label} broke off in the middle of the reply")
        usable = bool(calls.uses) and calls.whole if called else said
        if end == FAILED or (cut and not usable and max_tokens is None):
            if end in ("length", "content_filter"):
                raise Unanswered(f"{label} {cut}", "limit" if end == "length" else "filter")
            raise StageError("llm", f"{label} {cut}")
        if visible.written and max_tokens is None and not (offered and calls.uses):
            names = ", ".join(use.name for use in calls.uses)
            what = f"calls {names}, which is not on offer" if names else "wrote an unreadable call"
            raise CallLost("llm", f"the model of {label} {what}; ask again, or take another model")
        for use in calls.uses if offered else ():
            yield use

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def _limit(self, messages: Messages) -> int:
        """How many tokens the reply to these messages may have."""
        asked = messages.limit if isinstance(messages, Prompt) else None
        return min(asked or self._settings.max_tokens, self._settings.max_tokens)

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

    async def _open(self, messages: Messages, max_tokens: int) -> httpx2.Response:
        """Send the request; again without the optional parameters that the server refuses.

        What comes is read here: the client fails at events without data, and at the end does not
        tell whether the server said so or was cut off.

        Tools are no such parameter. What refuses a request for no reason that is told is asked
        without them too, only to know that they are the reason. Pictures are left out for good of
        what goes to a model that does not see.
        """
        shown = bool(pictures(messages))
        optional = self._optional
        tools = tools_of(messages)
        offered: dict[str, Any] = {"tools": tools} if tools else {}
        if offered and isinstance(messages, Prompt) and messages.choice != "auto":
            offered["tool_choice"] = messages.choice
        # A server may close a kept connection in the very moment of its reuse.
        may_be_stale = self._answered
        async with asyncio.timeout(self._settings.first_token_timeout_s):
            while True:
                try:
                    body = {
                        "model": self._model,
                        "messages": list(messages if shown else without_pictures(messages)),
                        "stream": True,
                        self._server.limit: max_tokens,
                        **optional,
                        **offered,
                    }
                    response = await posted(self._client, "/chat/completions", body)
                except openai.APIStatusError as error:
                    words = message_of(error)
                    if shown and refuses_pictures(words):
                        shown, self._sight["sees"] = False, False
                        continue
                    if (refused := self._too_long(error, messages)) is not None:
                        raise refused from None
                    if offered and _names_tools(error, messages):
                        raise self._refused(error) from None
                    guess = shown and may_mean_pictures(words)
                    if error.status_code not in _BAD_REQUEST or not (optional or offered or guess):
                        raise
                    refusal = error
                    if optional:
                        optional = _without_refused(optional, str(error))
                    elif guess:
                        shown = False
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
                        await response.aclose()
                        raise self._refused(refusal)
                    if not shown and pictures(messages):
                        self._sight["sees"] = False
                    # Kept only now that it worked: the request may be bad for another reason.
                    self._optional = optional
                    self._answered = True
                    return response

    def _too_long(self, error: openai.APIError, messages: Messages) -> TooLong | None:
        """What an error says if it is that the prompt is too long, which is remembered."""
        found = too_long(error, self._server.label)
        if found is not None:
            self.tokens.refused(
                messages,
                context=found.context,
                counted=found.counted,
                reply=self._limit(messages),
            )
        return found

    def _refused(self, error: openai.APIStatusError) -> ToolsRefused:
        return ToolsRefused(
            "llm",
            f"{self._server.label} refuses the tools ({error.status_code}: {message_of(error)}); "
            "going on without them; take a model that can call tools",
        )

    async def _next(self, events: AsyncGenerator[str, None], limit_s: float) -> str:
        """The data of the stream's next event, within this time; empty at its end."""
        label = self._server.label
        return await following(events, "", limit_s, "llm", label, "the reply")

    async def _cost(self, events: AsyncGenerator[str, None], chunks: Chunks) -> Used | None:
        """What a reply cost that is over, if that is told: nothing else that comes is wanted."""
        used = None
        with contextlib.suppress(StageError, TimeoutError):
            async with asyncio.timeout(REST_S):
                while data := await self._next(events, REST_S):
                    with self._readable():
                        used = chunks.read(data).used or used
        return used

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
        with explained(
            "llm",
            self._server,
            self._model,
            connect_s=self._connect_timeout_s,
            answer_s=self._settings.first_token_timeout_s,
            slow="it may still be loading, or raise llm.first_token_timeout_s",
        ):
            yield


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
    text = message_of(error)
    if not re.search(r"\b(tools?|tool_choice|functions?|function.calling)\b", text, re.I):
        return False
    return error.status_code in _BAD_REQUEST or bool(re.search("support|require", text, re.I))


def _without_refused(parameters: Mapping[str, Any], refusal: str) -> dict[str, Any]:
    """The parameters without those that a refusal names; without any if it names none of them."""
    kept = {name: value for name, value in parameters.items() if name not in refusal}
    return kept if len(kept) < len(parameters) else {}
