"""Where a model behind a server is: the address, the model's name, the key."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pipeline.config import LlmSettings, SttSettings, TtsSettings
from pipeline.errors import BadInput

if TYPE_CHECKING:
    import httpx2 as httpx2
    import openai as openai


def _lazily(name: str) -> ModuleType:
    """A module that is imported when something in it is first asked for."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# Its thousands of classes take as long to import as all other engines: not before what was asked
# for is known to be right, and then while the other engines load in their threads.
if not TYPE_CHECKING:
    httpx2 = _lazily("httpx2")
    openai = _lazily("openai")

OPENAI_URL = "https://api.openai.com/v1"
"""The OpenAI API, unless OPENAI_BASE_URL says otherwise."""


@dataclass(frozen=True, slots=True)
class ChatServer:
    """A server and the model to ask it for.

    Attributes:
        base_url: Up to and including `/v1`.
        model: Name to ask for; empty takes the first that the server lists.
        api_key: Sent as a bearer token.
        label: What messages call it.
        limit: The name of the parameter that limits the reply's length.
        optional: Parameters that help (such as switching thinking off) but that a server may
            refuse; they are dropped when it does.
        keeps: Whether it may be asked again on the same connection.
        key_setting: Where the user sets the key.
        shows_tools: How to find out whether its model sees the tools of a request: by llama.cpp's
            own `/apply-template`, by counting the prompt's tokens; `yes`: it does, or it refuses.
        tools_in_words: Whether the prompt says them all the same: the model calls better so.
        remedy: What to do when it cannot be reached.
        name_remedy: What to do when the model has to be named.
        sees: Whether the model sees pictures; None: nobody knows yet.
    """

    base_url: str
    model: str
    api_key: str = field(repr=False)
    label: str
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    optional: Mapping[str, Any] = field(default_factory=dict)
    keeps: bool = True
    shows_tools: Literal["template", "count", "yes"] = "count"
    tools_in_words: bool = False
    key_setting: str = "llm.api_key"
    remedy: str = "start the server, or use --llm embedded"
    name_remedy: str = "write URL#NAME"
    sees: bool | None = None

    @property
    def on_loopback(self) -> bool:
        """Whether the server is on this machine, where no proxy can reach it."""
        return is_loopback(urlsplit(self.base_url).hostname or "")


TEMPLATE_OFF = {"chat_template_kwargs": {"enable_thinking": False}}
"""Switches thinking off in llama.cpp, vLLM and SGLang: their chat templates read it."""

EFFORT_OFF = {"reasoning_effort": "none"}
"""Switches thinking off in Ollama and in OpenAI's models that can do without."""


def chat_server(
    settings: LlmSettings, *, option: str = "--llm", embedded: bool = True
) -> ChatServer:
    """The server that `llm.model` names, for all but the embedded model and `.gguf` files.

    A URL may name the model that it is asked for: `http://127.0.0.1:1234#qwen3-4b`.

    Args:
        settings: Name the server.
        option: What named it on the command line, for errors.
        embedded: Whether a model that runs here could be named instead.

    Raises:
        BadInput: It names none, or its key is missing or cannot be one.
    """
    spec = settings.model
    kind, _, name = spec.partition(":")
    if kind in ("ollama", "openai") and not name:
        raise BadInput(f"{option} {spec}: which model? Write {kind}:NAME")
    if kind == "ollama":
        url = _ollama_url(os.environ.get("OLLAMA_HOST", ""))
        key = _key(settings.api_key or "ollama", "llm.api_key")
        return ChatServer(
            f"{url}/v1", name, key, f"Ollama ({url})", optional=EFFORT_OFF, shows_tools="yes"
        )
    if kind == "openai":
        key = _key(settings.api_key or os.environ.get("OPENAI_API_KEY", ""), "OPENAI_API_KEY")
        if not key:
            instead = f", or use {option} embedded" if embedded else ""
            raise BadInput(f"{option} {spec}: there is no key; set OPENAI_API_KEY{instead}")
        url, label = OPENAI_URL, "the OpenAI API"
        if elsewhere := os.environ.get("OPENAI_BASE_URL", "").strip():
            url, shown = _api_url(elsewhere, "OPENAI_BASE_URL=")
            label = f"the OpenAI API at {shown}"
        return ChatServer(
            url,
            name,
            key,
            label,
            limit="max_completion_tokens",
            optional=EFFORT_OFF,
            shows_tools="yes",
            key_setting="OPENAI_API_KEY",
            remedy="check the network, or use --llm embedded",
        )
    if spec.startswith(("http://", "https://")):
        url, label = _api_url(spec, f"{option} ")
        key = _key(settings.api_key or "none", "llm.api_key")
        name = urlsplit(spec).fragment
        return ChatServer(url, name, key, label, optional=TEMPLATE_OFF)
    own = "embedded, a name of `cascade models list`, a .gguf file, " if embedded else ""
    raise BadInput(f"{option} {spec}: not a model; give {own}a URL, ollama:NAME or openai:NAME")


def audio_server(settings: SttSettings | TtsSettings) -> ChatServer:
    """The server that `stt.url` or `tts.url` names, and the model to ask it for.

    The URL may name it: `http://127.0.0.1:8880/v1#kokoro`.

    Raises:
        BadInput: The URL is none, or the key cannot be one.
    """
    hears = isinstance(settings, SttSettings)
    stage = "stt" if hears else "tts"
    option = f"--{stage}-url "
    if not settings.url.startswith(("http://", "https://")):
        raise BadInput(f"{option}{settings.url}: not a URL; write it as http://HOST:PORT/v1")
    url, label = _api_url(settings.url, option)
    openais = urlsplit(url)[:2] == urlsplit(OPENAI_URL)[:2]
    setting = "OPENAI_API_KEY" if openais and not settings.api_key else f"{stage}.api_key"
    found = settings.api_key or (os.environ.get("OPENAI_API_KEY", "") if openais else "none")
    key = _key(found, setting)
    if not key:
        raise BadInput(f"{option}{label}: there is no key; set OPENAI_API_KEY")
    usual = "tts-1"
    if isinstance(settings, SttSettings):
        usual = "whisper-1" if settings.model == SttSettings().model else settings.model
    return ChatServer(
        url,
        urlsplit(settings.url).fragment or usual,
        key,
        label,
        key_setting=setting,
        remedy=f"start the server, or leave --{stage}-url out",
        name_remedy="name another with --stt" if hears else "write URL#MODEL, or set --voice",
    )


def asked_voice(settings: TtsSettings) -> str:
    """The voice that a server is asked for: the named one, or the usual where none was named."""
    return "alloy" if settings.voice == TtsSettings().voice else settings.voice


def _key(key: str, setting: str) -> str:
    """A key without the white space around it, which files and copying add."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"{setting} holds characters that cannot be in a key; set it again")
    return key


def _api_url(text: str, origin: str) -> tuple[str, str]:
    """An API's base URL from what the user gave, and how messages show it: without a password.

    `/v1` is added where no version is in the path (some services have `/v1beta/openai`).
    """
    parts = split_url(text)
    if parts is None:
        raise BadInput(f"{origin}{text!r}: not a usable URL; write it as http://HOST:PORT/v1")
    path = parts.path.rstrip("/")
    for endpoint in ("/chat/completions", "/audio/transcriptions", "/audio/speech"):
        path = path.removesuffix(endpoint)
    path = path if re.search(r"/v\d", path) else f"{path}/v1"
    parts = parts._replace(path=path, fragment="")
    return parts.geturl(), parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def split_url(url: str, schemes: Collection[str] = ()) -> SplitResult | None:
    """The parts of a URL that names a host; None for any other text, and for other schemes."""
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0 and not any(char.isspace() for char in url)
    except ValueError:
        return None
    return parts if usable and (not schemes or parts.scheme in schemes) else None


def _ollama_url(host: str) -> str:
    """The address in OLLAMA_HOST, read as Ollama itself reads it (`envconfig.Host`).

    It may lack scheme, host or port. A server told to listen everywhere is asked on loopback.
    """
    scheme, _, place = host.strip().strip("\"'").rpartition("://")
    place, slash, path = place.partition("/")
    name, port = place.strip("[]"), ""
    if not _ip(name):
        name, _, port = place.rpartition(":") if ":" in place else (place, "", "")
        name = name.strip("[]")
    address = _ip(name)
    if not name or (address and address.is_unspecified):
        name = "::1" if address and address.version == 6 else "127.0.0.1"
    name = f"[{name}]" if ":" in name else name
    port = port or {"http": "80", "https": "443"}.get(scheme, "11434")
    url = f"{scheme or 'http'}://{name}:{port}{slash}{path}".rstrip("/")
    _api_url(url, "OLLAMA_HOST=")
    return url


def is_loopback(host: str) -> bool:
    """Whether a host, without a port, is this machine by its name or address."""
    address = _ip(host)
    return address.is_loopback if address else host == "localhost"


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
