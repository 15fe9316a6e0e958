"""Language models that run on this machine already: in Ollama, LM Studio, llama.cpp or vLLM.

The embedded model is the smallest that chats. Whoever has a better one running need not know how
it is named here: the servers' usual ports are asked what they have, and the one flag that uses it
is told. Only loopback is asked, without proxies, for nothing but the list of models.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pipeline.config import LlmSettings
from pipeline.engines.servers import chat_server
from pipeline.engines.worker import apart
from pipeline.errors import BadInput

DEADLINE_S = 0.3
"""A server that has not told its models by then is not waited for: one that works takes 5 ms."""

MOST_BYTES = 2_000_000
"""A longer answer is no list of models: Ollama's has 500 bytes for each."""

ANSWERS_SOON = 6e9
"""A larger model file (bytes) answers too late for a conversation on most machines: 8 billion
parameters in 4 bits are 5 GB, 14 billion 9 GB."""

OF_MEMORY = 0.5
"""Share of the machine's memory that a model may take: the rest is for its context, and others."""

BETTER = 2e8
"""A smaller file (bytes) is no better than the embedded model, which has 98 MB."""

BYTES_PER_PARAMETER = 0.6
"""Of a file in 4 bits, which is what is mostly downloaded: for servers that do not tell sizes."""

OWNERS = {"llamacpp": "llama.cpp", "vllm": "vLLM", "organization_owner": "LM Studio"}
"""What `owned_by` says in `/v1/models` of llama.cpp (b9992), vLLM (0.11) and LM Studio (0.3):
whatever else answers at their ports, a recogniser or a gateway, is not known to chat."""

URLS = ("http://127.0.0.1:1234", "http://127.0.0.1:8080", "http://127.0.0.1:8000")
"""Where LM Studio, llama.cpp and vLLM listen, unless they are told otherwise."""

_NO_CHAT = re.compile(
    r"embed|rerank|guard|safeguard|whisper|parakeet|kokoro|piper|tts|ocr|minilm|sentence-"
    r"|(?:^|[/_-])(?:bge|gte|e5|clip|nllb|reader)-|(?:[-:_]base|-code|[-:]text)(?:[-:.]|$)",
    re.IGNORECASE,
)
"""Names of models that are for something else: search, safety, sound, documents, or that were not
taught to chat."""

_THINKS = re.compile(r"deepseek-r1|qwq|think|reason|magistral|gpt-oss", re.IGNORECASE)
"""Names of models that think before they speak whether they are asked to or not."""

_BILLIONS = re.compile(r"(?<![\da-z.])(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)
"""The parameters in a name: `qwen3-4b`, `Llama-3.2-1B-Instruct`."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a server lists.

    Attributes:
        name: What the server is asked for.
        size: Of its file (bytes); 0: not known.
        tools: Whether it calls tools; None: not known.
        loaded: Whether it is in memory already, so that it surely fits.
        chats: Whether it is not known to be for something else.
    """

    name: str
    size: float = 0.0
    tools: bool | None = None
    loaded: bool = False
    chats: bool = True


@dataclass(frozen=True, slots=True)
class Beside:
    """A server that runs beside us, and its best model.

    Attributes:
        server: What the product is called.
        model: The model.
        flag: What uses it, as it is written on the command line.
    """

    server: str
    model: str
    flag: str

    def __str__(self) -> str:
        """For people: what there is, and what to write."""
        name = self.model.rpartition("/")[2]  # some name a file, some its author
        return f"{self.server} runs here and has {name}, which answers better: {self.flag}"


async def look(urls: Sequence[str] = URLS) -> list[Beside]:
    """Ask the servers that run here for their models; takes `DEADLINE_S` at most, and never fails.

    A port that nobody listens at costs nothing.

    Args:
        urls: Where to look for others than Ollama, which is where OLLAMA_HOST says.
    """
    asks: list[Callable[[], Beside | None]] = [
        _ollama,
        *(functools.partial(_openai, url) for url in urls),
    ]
    found = await asyncio.gather(*map(apart, asks))
    return [beside for beside in found if beside is not None]


def best(models: Iterable[Model], memory: float) -> Model | None:
    """The model to talk to: the largest that chats, fits, and answers soon.

    One that is known to call tools is preferred to one that is known not to, and one that speaks at
    once to one that thinks. Of what is loaded nobody has to ask whether it fits.

    Args:
        models: What a server has, in its order: of equals the first is taken.
        memory: The machine's (bytes); 0: not known.
    """
    most = min(ANSWERS_SOON, OF_MEMORY * memory) if memory else ANSWERS_SOON
    fit = [
        model
        for model in models
        if model.chats
        and not _NO_CHAT.search(model.name)
        and (model.loaded or not model.size or BETTER <= model.size <= most)
    ]
    return max(
        fit,
        key=lambda m: (not _THINKS.search(m.name), m.tools is not False, m.loaded, m.size),
        default=None,
    )


def of_ollama(answer: Mapping[str, Any]) -> list[Model]:
    """The models in Ollama's `/api/tags`; few versions tell there what a model can do.

    Those that Ollama only passes on to its cloud are left out.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: It is something else.
    """
    found = []
    for entry in answer["models"]:
        name = str(entry["name"])
        if entry.get("remote_host") or re.search(r"[:-]cloud$", name):
            continue
        details, can = entry.get("details") or {}, entry.get("capabilities")
        found.append(
            Model(
                name,
                float(entry.get("size") or 0),
                None if can is None else "tools" in can,
                chats="bert" not in str(details.get("family")) and (not can or "completion" in can),
            )
        )
    return found


def of_openai(answer: Mapping[str, Any]) -> tuple[str, list[Model]]:
    """The product behind a `/v1/models`, and its models.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: It is something else.
    """
    entries = answer["data"]
    product = OWNERS[entries[0]["owned_by"]]
    # llama.cpp tells in a list of its own what a model can do, in the same order.
    can = [entry.get("capabilities") for entry in answer.get("models") or []]
    found = []
    for place, entry in enumerate(entries):
        name, about = str(entry["id"]), can[place] if place < len(can) else None
        billions = _BILLIONS.search(name)
        size = (entry.get("meta") or {}).get("size")
        state = (entry.get("status") or {}).get("value", "loaded")
        found.append(
            Model(
                name,
                float(size or (float(billions[1]) * 1e9 * BYTES_PER_PARAMETER if billions else 0)),
                # LM Studio lists what it could load; the others serve what they list.
                loaded=product != "LM Studio" and state == "loaded",
                chats=not about or "completion" in about,
            )
        )
    return product, found


def _ollama() -> Beside | None:
    try:
        server = chat_server(LlmSettings(model="ollama:any"))
    except BadInput:
        return None  # of OLLAMA_HOST, which is told to whoever asks for Ollama
    try:
        if not server.on_loopback:
            return None
        answer = _get(server.base_url.removesuffix("/v1"), "/api/tags")
        model = best(of_ollama(answer), _memory())
    except _NOTHING:
        return None
    return None if model is None else Beside("Ollama", model.name, f"--llm ollama:{model.name}")


def _openai(url: str) -> Beside | None:
    try:
        product, models = of_openai(_get(url, "/v1/models"))
    except _NOTHING:
        return None
    model = best(models, _memory())
    if model is None:
        return None
    # Without a name the first is asked for.
    name = "" if model == models[0] else f"#{model.name}"
    return Beside(product, model.name, f"--llm {url}{name}")


_NOTHING = (
    *(OSError, LookupError, TypeError, ValueError, AttributeError),
    *(OverflowError, RecursionError),
)
"""What comes of a port where nobody listens, or somebody who is no such server."""


def _get(url: str, path: str) -> Mapping[str, Any]:
    """What a server answers to one GET, within the deadline.

    What has come by then is read even if this thread had to wait, as it does while models load.

    Raises:
        OSError: Nobody listens there, or the answer is not there in time.
        ValueError: It is no JSON, or no success.
    """
    place = urlsplit(url)
    if place.scheme != "http":
        raise ValueError("nobody has a certificate for loopback")
    request = f"GET {place.path}{path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
    until = time.monotonic() + DEADLINE_S
    with socket.create_connection((place.hostname, place.port or 80), DEADLINE_S) as there:
        there.sendall(f"{request}Accept: application/json\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while len(answer) < MOST_BYTES:
            there.settimeout(max(until - time.monotonic(), 0.001))
            if not (more := there.recv(65_536)):
                break
            answer += more
    body: Mapping[str, Any] = json.loads(_body(answer))
    return body


def _body(answer: bytes) -> bytes:
    """The body of a whole HTTP answer, be it sent in chunks.

    Raises:
        ValueError: It is none, or no success.
    """
    from http.client import HTTPException, HTTPResponse  # only where somebody answers

    class Received:
        """As much of a socket as is needed to read what has come."""

        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(answer)

    try:
        response = HTTPResponse(Received())  # type: ignore[arg-type]
        response.begin()
        if response.status != 200:
            raise ValueError(response.status)
        return response.read()
    except HTTPException as error:
        raise ValueError(str(error)) from None


def _memory() -> float:
    """The machine's memory (bytes); 0 where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return 0.0
