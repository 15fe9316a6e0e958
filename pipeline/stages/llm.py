"""The language model: messages in, text as it is written. Any OpenAI-compatible server.

One code path for the embedded model, Ollama, vLLM, llama.cpp and the OpenAI API: the `openai`
client. Closing a stream closes its connection, which makes those servers stop generating.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from pipeline.clauses import ThinkFilter
from pipeline.config import Llm
from pipeline.errors import BadInput, StageError
from pipeline.stages.llm_endpoint import TEMPLATE_OFF, Endpoint, endpoint

__all__ = ["TEMPLATE_OFF", "ChatModel", "Endpoint", "Messages", "Unreachable", "Used", "endpoint"]

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens of one reply: read, of those from the server's cache, and written."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int


class Unreachable(StageError):
    """There is no server where one should be."""


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
    ) -> AsyncGenerator[str | Used, None]:
        """Yield the reply's text as it is written, thinking left out; `Used` comes last.

        Close it (`contextlib.aclosing`) to make the server stop.

        Args:
            messages: The prompt, as the chat API takes it.
            max_tokens: Limit on the reply; None takes `llm.max_tokens`.

        Raises:
            StageError: The server cannot be reached, refuses, is silent for too long, or ends the
                stream in the middle; what was yielded before stands.
        """
        thinking = ThinkFilter()
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
                    if piece.text:
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
        if finish == "length" and not said and max_tokens is None:
            raise StageError(
                "llm",
                f"{label} spent all {self._settings.max_tokens} tokens on thinking; "
                "raise llm.max_tokens, or take a model that does not think",
            )

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
        """Send the request; again without the optional parameters that the server refuses."""
        # The client's overloads describe message types that a plain mapping cannot prove to be.
        create: Any = self._client.chat.completions.create
        optional = self._optional
        # A server may close a kept connection in the very moment of its reuse.
        may_be_stale = self._answered
        async with asyncio.timeout(self._settings.first_token_timeout_s):
            while True:
                try:
                    stream: openai.AsyncStream[Any] = await create(
                        model=self._model,
                        messages=list(messages),
                        stream=True,
                        extra_body={self._endpoint.limit: max_tokens, **optional},
                    )
                except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                    if not optional:
                        raise
                    optional = _without_refused(optional, str(error))
                except openai.APITimeoutError:
                    raise
                except openai.APIConnectionError:
                    if not may_be_stale:
                        raise
                    may_be_stale = False
                else:
                    # Kept only now that it worked: the request may be bad for another reason.
                    self._optional = optional
                    self._answered = True
                    return stream

    async def _next(self, stream: openai.AsyncStream[Any], limit_s: float) -> _Piece | None:
        """The stream's next piece, within this time; None at its end."""
        label = self._endpoint.label
        try:
            async with asyncio.timeout(limit_s):
                return _piece(await anext(stream))
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
        except ValueError:
            # Bad JSON, bad UTF-8, or JSON of another shape.
            raise StageError(
                "llm",
                f"{label} sends what is no chat stream; check that it is an OpenAI-compatible API",
            ) from None


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one chunk of a stream brings."""

    text: str
    finish: str
    used: Used | None


def _piece(chunk: Any) -> _Piece:
    """Read a chunk, which the client builds from any JSON without looking.

    Raises:
        ValueError: It has not the shape of one.
    """
    try:
        choices = chunk.choices or ()
        contents = [choice.delta.content for choice in choices if choice.delta]
        finish = next((choice.finish_reason for choice in choices if choice.finish_reason), "")
        used = None
        if usage := chunk.usage:
            details = usage.prompt_tokens_details
            cached = details.cached_tokens if details else None
            used = Used(*map(_count, (usage.prompt_tokens, cached, usage.completion_tokens)))
    except (AttributeError, TypeError):
        raise ValueError("not a chunk of a chat completion") from None
    # A content that is no text is some server's way of sending thoughts.
    return _Piece("".join(text for text in contents if isinstance(text, str)), finish, used)


def _count(tokens: object) -> int:
    """A number of tokens; 0 where the server gives none."""
    return tokens if isinstance(tokens, int) else 0


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
