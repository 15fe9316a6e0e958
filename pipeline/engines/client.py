"""A client of an OpenAI-compatible server, and its errors in words."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

from pipeline.engines.chat_stream import error_words
from pipeline.engines.servers import ChatServer, httpx2, openai
from pipeline.errors import BadInput, StageError, one_line

T = TypeVar("T")

_LOADING = threading.Lock()
"""The library is loaded with the first client, and a lazy module must not be loaded twice at once
(Python up to 3.12)."""

CONNECT_TIMEOUT_S = 5.0
"""To reach the server."""


class Unreachable(StageError):
    """There is no server where one should be."""


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
    with _LOADING:
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


async def twice(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, and once more if the connection failed: it may have been closed as it was used again.

    Only for what may be asked twice, and not of a server that does not answer in time.
    """
    try:
        return await ask()
    except openai.APITimeoutError:
        raise
    except openai.APIConnectionError:
        return await ask()


async def posted(client: openai.AsyncOpenAI, path: str, body: Mapping[str, Any]) -> httpx2.Response:
    """Send a request; its answer is to be read as it comes, and to be closed."""
    response: object = await client.post(
        path,
        cast_to=httpx2.Response,
        body=body,
        stream=True,
        stream_cls=openai.AsyncStream[object],  # not used, but to be named
    )
    assert isinstance(response, httpx2.Response)
    return response


async def following(
    coming: AsyncIterator[T], end: T, limit_s: float, stage: str, label: str, whole: str
) -> T:
    """What comes next of an answer.

    Args:
        coming: The answer.
        end: Stands for its end.
        limit_s: How long it may take.
        stage: Which stage waits.
        label: What messages call the server.
        whole: What messages call the answer.

    Raises:
        StageError: The server is silent for too long, or breaks off.
    """
    try:
        async with asyncio.timeout(limit_s):
            return await anext(coming, end)
    except TimeoutError:
        raise StageError(stage, f"{label} sent nothing for {limit_s:g} s") from None
    except Exception as error:
        # The HTTP client has no common class for all that a connection can end with.
        why = str(error) or type(error).__name__
        raise StageError(stage, f"{label} broke off in the middle of {whole} ({why})") from None


@contextlib.contextmanager
def explained(
    stage: str,
    server: ChatServer,
    model: str,
    *,
    answer_s: float,
    slow: str,
    connect_s: float = CONNECT_TIMEOUT_S,
) -> Iterator[None]:
    """Turn a client's errors into words.

    Args:
        stage: Which stage asks.
        server: Who is asked.
        model: What for.
        answer_s: How long an answer was waited for.
        slow: What may be wrong where that was not enough.
        connect_s: How long a connection was waited for.

    Raises:
        Unreachable: There is no server.
        StageError: It refuses, or fails; `fatal` where trying again cannot help.
    """
    label = server.label

    def words(error: openai.APIError) -> str:
        said = message_of(error)
        # Some servers repeat it.
        return said.replace(server.api_key, "***") if len(server.api_key) >= _KEY else said

    try:
        yield
    except openai.APITimeoutError:
        raise Unreachable(
            stage, f"{label} cannot be reached within {connect_s:g} s; {server.remedy}"
        ) from None
    except TimeoutError:
        raise StageError(stage, f"{label} did not answer within {answer_s:g} s; {slow}") from None
    except openai.APIConnectionError as error:
        raise Unreachable(
            stage, f"{label} cannot be reached ({error.__cause__ or error}); {server.remedy}"
        ) from None
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise StageError(
            stage,
            f"{label} refuses the key ({error.status_code}); set {server.key_setting}",
            fatal=True,
        ) from None
    except openai.NotFoundError as error:
        hint = "" if stage == "llm" else f"; {server.name_remedy}"
        raise StageError(
            stage,
            f"{label} has no model {model!r} or no {_APIS[stage]} there "
            f"(404: {words(error)}){hint}",
            fatal=True,
        ) from None
    except openai.APIStatusError as error:
        after = error.response.headers.get("retry-after", "")
        when = f"in {after} s" if after.isdecimal() else "later"
        hint = f"; try again {when}" if error.status_code >= 429 else ""
        raise StageError(
            stage, f"{label} answers {error.status_code}: {words(error)}{hint}"
        ) from None
    except openai.APIError as error:
        raise StageError(stage, f"{label} failed: {words(error)}") from None


_APIS = {"llm": "chat API", "stt": "transcription API", "tts": "speech API"}

_KEY = 8
"""What is shorter is a word that says there is no key."""


def message_of(error: openai.APIError) -> str:
    """The server's own words, on one line and of a readable length."""
    words = error_words(error.body)
    text = error.message if words is None else words
    if page := re.search(r"<(?:!doctype|html)(?:.*?<title[^>]*>(.*?)</title>)?", text, re.I | re.S):
        text = page[1] or "a web page"
    return one_line(text) or "no reason given"
