"""The language model: messages in, text and tool calls out. Any OpenAI-compatible server.

One code path for the embedded model, Ollama, vLLM, llama.cpp and the OpenAI API: the `openai`
client. Closing a stream closes its connection, which makes those servers stop generating.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import openai

from pipeline.config import Llm
from pipeline.engines.llm_chunk import Piece, Used, read_chunk
from pipeline.engines.prompt import tools_of
from pipeline.engines.servers import TEMPLATE_OFF, Endpoint, endpoint
from pipeline.engines.tool_calls import Assembly
from pipeline.engines.tools import ToolUse
from pipeline.errors import BadInput, StageError
from pipeline.text.speakable import ThinkFilter

__all__ = [
    "TEMPLATE_OFF",
    "ChatModel",
    "Endpoint",
    "Messages",
    "ToolsRefused",
    "Unreachable",
    "Used",
    "Writer",
    "endpoint",
]

Messages = Sequence[Mapping[str, Any]]
"""As the chat API takes them; a `prompt.Prompt` brings the tools too."""


class Unreachable(StageError):
    """There is no server where one should be."""


class ToolsRefused(StageError):
    """The server, or the model behind it, takes no tools; without them it may answer."""


class Writer(Protocol):
    """What writes, and may call tools: a `ChatModel`, or what stands between it and the reply."""

    def stream(self, messages: Messages) -> AsyncGenerator[str | Used | ToolUse, None]:
        """Yield text as it is written, what it cost, and at the end the tools that it calls."""
        ...


class ChatModel:
    """A model behind an endpoint, as an async client.

    Raises:
        BadInput: The URL, or the proxy that the environment names for it, cannot be used.
    """

    def __init__(self, endpoint: Endpoint, settings: Llm) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._model = endpoint.model
        # OpenAI's reasoning models take no temperature, and some servers count no tokens.
        self._optional: dict[str, Any] = {
            "temperature": settings.temperature,
            "stream_options": {"include_usage": True},
            **endpoint.optional,
        }
        self._answered = False
        try:
            self._client = openai.AsyncOpenAI(
                base_url=endpoint.base_url,
                api_key=endpoint.api_key,
                # A voice cannot wait for a second try; the user repeats the question sooner.
                max_retries=0,
                # All other waiting is timed here.
                timeout=openai.Timeout(None, connect=settings.connect_timeout_s),
                # The environment's proxy cannot reach this machine's own loopback.
                http_client=openai.DefaultAsyncHttpxClient(trust_env=not endpoint.on_loopback),
            )
        except Exception as error:
            # The HTTP client has no common class for a URL, or a proxy, that it cannot use.
            raise BadInput(
                f"{endpoint.label} cannot be used: {error}; check the URL and the proxy settings"
            ) from None

    @property
    def model(self) -> str:
        """The model's name; known once `warm` has asked a server that was given none."""
        return self._model or self._endpoint.label

    @property
    def endpoint(self) -> Endpoint:
        """Where it is."""
        return self._endpoint

    async def warm(self, messages: Messages) -> None:
        """Find the model, open the connection, and let the server read the system prompt.

        Raises:
            StageError: The server cannot be used; `fatal` where trying again cannot help.
        """
        async with contextlib.aclosing(self.stream(messages, max_tokens=1)) as deltas:
            async for _ in deltas:
                pass

    async def stream(
        self, messages: Messages, *, max_tokens: int | None = None
    ) -> AsyncGenerator[str | Used | ToolUse, None]:
        """Yield the reply's text as it is written, thinking left out; then `Used`.

        Last come the tools that the model asks for, if the prompt brings any; their ids may be
        empty, or alike.

        Close it (`contextlib.aclosing`) to make the server stop.

        Args:
            messages: The prompt, as the chat API takes it.
            max_tokens: Limit on the reply; None takes `llm.max_tokens`.

        Raises:
            ToolsRefused: The prompt brings tools, and without them it would be answered.
            StageError: The server cannot be reached, refuses, is silent for too long, or ends the
                stream in the middle; what was yielded before stands.
        """
        thinking = ThinkFilter()
        calls = Assembly()
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
                    if text := thinking.push(piece.text):
                        said = True
                        yield text
        if text := thinking.flush():
            said = True
            yield text
        if used:
            yield used
        label = self._endpoint.label
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
            if calls.uses and not calls.whole:
                raise StageError("llm", f"{spent}before its tool call was whole; {_MORE}")
            if not said and not calls.uses:
                raise StageError(
                    "llm", f"{spent}on thinking; {_MORE}, or take a model that does not think"
                )
        for use in calls.uses if tools_of(messages) else ():
            yield use

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _first_model(self) -> str:
        """The first model that the server lists."""
        label = self._endpoint.label
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
                    "llm", f"{label} lists no model; load one there, or set llm.name", fatal=True
                )
        raise StageError(
            "llm",
            f"{label} does not list its models; set llm.name, and check that the URL is an "
            "OpenAI-compatible API",
            fatal=True,
        )

    async def _open(self, messages: Messages, max_tokens: int) -> openai.AsyncStream[Any]:
        """Send the request; again without the optional parameters that the server refuses.

        Tools are no such parameter. What refuses a request for no reason that is told is asked
        without them too, only to know that they are the reason.
        """
        # The client's overloads describe message types that a plain mapping cannot prove to be.
        create: Any = self._client.chat.completions.create
        optional = self._optional
        tools = tools_of(messages)
        offered = {"tools": tools} if tools else {}
        # A server may close a kept connection in the very moment of its reuse.
        may_be_stale = self._answered
        async with asyncio.timeout(self._settings.first_token_timeout_s):
            while True:
                try:
                    with self._readable():
                        stream: openai.AsyncStream[Any] = await create(
                            model=self._model,
                            messages=list(messages),
                            stream=True,
                            extra_body={self._endpoint.limit: max_tokens, **optional, **offered},
                        )
                except openai.APIStatusError as error:
                    if offered and _names_tools(error, messages):
                        raise self._refused(error) from None
                    if not isinstance(error, _BAD_REQUEST) or not (optional or offered):
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
            f"{self._endpoint.label} refuses the tools ({error.status_code}: {_message(error)}); "
            "going on without them; take a model that can call tools",
        )

    async def _next(self, stream: openai.AsyncStream[Any], limit_s: float) -> Piece | None:
        """The stream's next piece, within this time; None at its end."""
        label = self._endpoint.label
        try:
            async with asyncio.timeout(limit_s):
                with self._readable():
                    return read_chunk(await anext(stream))
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
                f"{self._endpoint.label} sends what is no chat stream; "
                "check that it is an OpenAI-compatible API",
            ) from None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the client's errors into words."""
        label = self._endpoint.label
        try:
            yield
        except openai.APITimeoutError:
            wait = self._settings.connect_timeout_s
            raise Unreachable(
                "llm",
                f"{label} cannot be reached within {wait:g} s; {self._endpoint.remedy}",
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
                f"{label} cannot be reached ({error.__cause__ or error}); {self._endpoint.remedy}",
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise StageError(
                "llm",
                f"{label} refuses the key ({error.status_code}); set {self._endpoint.key_setting}",
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
            hint = "; try again later" if error.status_code >= 429 else ""
            raise StageError(
                "llm", f"{label} answers {error.status_code}: {_message(error)}{hint}"
            ) from None
        except openai.APIError as error:
            raise StageError("llm", f"{label} failed: {_message(error)}") from None


_MORE = "raise llm.max_tokens"

_BAD_REQUEST = (openai.BadRequestError, openai.UnprocessableEntityError)


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
    return isinstance(error, _BAD_REQUEST) or bool(re.search("support|require", text, re.I))


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
