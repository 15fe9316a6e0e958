"""Systems as the command line names them: read, checked, connected to, and how far away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pipeline.clock import NS_PER_MS
from pipeline.config import without_password
from pipeline.engines.servers import split_url
from pipeline.errors import BadInput
from pipeline.speech_to_speech.brief import SystemSpec, given

if TYPE_CHECKING:
    from pipeline.clock import Clock
    from pipeline.speech_to_speech.brief import Brief, SpeechToSpeech
    from pipeline.trace import Trace

FORMS = (
    "cascade, openai:MODEL, openai-live:MODEL, gemini:MODEL, ws://HOST…, wss://HOST…, "
    "map:FILE,url=ws://HOST…, audio-llm:URL, simulated:NAME, reference:latency=MS,stop=MS…"
)
"""What a system can be, before its options `,key=value…`."""

MODELS = ("openai", "openai-live", "gemini")
"""Kinds that are followed by a model, or by nothing."""

SECRET = re.compile(r"key|token(?!s)|secret|passw|auth|signature|credential", re.I)
"""Names of what is not shown."""

PATIENCE_S = 2.0
"""A connection that takes longer is not counted, and no more are tried."""

PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
"""The port of a URL that names none."""

_NAMED = re.compile(r"([^,=:/?#]*)=(.*)", re.S)
_NEXT_OPTION = re.compile(r",(?=[A-Za-z_][\w.-]*=)")


def parse(text: str) -> SystemSpec:
    """Read a system: `[NAME=]KIND[:WHICH][,key=value…]`, or a URL in the place of the kind.

    Raises:
        BadInput: It is none; the message says what is allowed.
    """

    def wrong(why: str) -> BadInput:
        return BadInput(f"--path {shown(text)}: {why}")

    name, spec = "", text.strip()
    if named := _NAMED.fullmatch(spec):
        name, spec = named[1].strip(), named[2].strip()
        if not name:
            raise wrong("the name before `=` is empty")
    which, *pairs = _NEXT_OPTION.split(spec)
    if which.startswith("reference:"):
        which, first = which.split(":", 1)
        pairs = [first, *pairs]
    options: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key in options:
            raise wrong(f"{key} is given twice")
        options[key] = value.strip()
    name = name or shown(spec)
    kind, colon, rest = which.partition(":")
    rest = rest.strip()
    if kind in ("ws", "wss"):
        from pipeline.speech_to_speech.openai_server import split_model

        if split_url(which) is None:
            raise wrong("not a usable URL; write it as ws://HOST:PORT/v1/realtime")
        url, model = split_model(which)
        return SystemSpec(name, "realtime", options.pop("model", "") or model, url, options)
    if "," in rest or "," in kind:
        raise wrong("write options as key=value, with commas between")
    if kind in ("cascade", "reference") and not colon:
        return SystemSpec(name, kind, options=options)
    if kind == "audio-llm":
        if split_url(rest, ("http", "https")) is None:
            raise wrong("write it as audio-llm:http://HOST:PORT/v1")
        return SystemSpec(name, kind, options.get("model", ""), rest, options)
    if kind == "map" and rest:
        return SystemSpec(name, kind, rest, options.pop("url", ""), options)
    if kind in (*MODELS, "simulated", "map"):
        if not rest and (colon or kind not in MODELS):
            raise wrong(f"which one? Write {kind}:NAME")
        return SystemSpec(name, kind, rest, options=options)
    raise wrong(f"not a path; give {FORMS}")


def check(spec: SystemSpec, environ: Mapping[str, str]) -> None:
    """See that nothing is missing that a session will need; nothing is connected.

    Args:
        spec: The system.
        environ: Where keys are.

    Raises:
        BadInput: A key is missing, an extra is not installed, or an option cannot be.
    """
    match spec.kind:
        case "openai" | "realtime" | "openai-live":
            from pipeline.speech_to_speech import openai_live, openai_realtime
            from pipeline.speech_to_speech.openai_server import server_of

            server_of(spec, environ)
            if spec.kind == "openai-live":
                given(spec, openai_live.OPTIONS)
            else:
                openai_realtime.options_of(spec)
        case "gemini":
            from pipeline.speech_to_speech import gemini

            given(spec, gemini.OPTIONS)
            gemini.place(spec, environ)
        case "simulated":
            rest = {name: value for name, value in spec.options.items() if name != "protocol"}
            check(replace(spec, kind="realtime", url="ws://localhost", options=rest), environ)
        case "map":
            from pipeline.speech_to_speech.mapped import map_of

            map_of(spec, environ)
        case "audio-llm":
            from pipeline.speech_to_speech.audio_llm import dotted

            dotted(spec)
        case "cascade" | "reference":
            pass
        case kind:
            raise BadInput(f"{spec.name}: there is no kind {kind!r} of path")


def connect(spec: SystemSpec, brief: Brief, trace: Trace, clock: Clock) -> SpeechToSpeech:
    """A session with a system; entering it connects.

    Not for `cascade` and `audio-llm`, which need engines, nor for `brief.SCRIPTED`.

    Raises:
        BadInput: There is no key, or an option cannot be.
    """
    match spec.kind:
        case "openai" | "realtime":
            from pipeline.speech_to_speech.openai_realtime import RealtimeSession

            return RealtimeSession(spec, brief, trace, clock)
        case "openai-live":
            from pipeline.speech_to_speech.openai_live import LiveSession

            return LiveSession(spec, brief, trace, clock)
        case "gemini":
            from pipeline.speech_to_speech.gemini import GeminiSession

            return GeminiSession(spec, brief, trace, clock)
        case "map":
            from pipeline.speech_to_speech.mapped import MappedSession

            return MappedSession(spec, brief, trace, clock)
    raise ValueError(f"a system of kind {spec.kind} is not connected to")


def address(spec: SystemSpec, environ: Mapping[str, str] = os.environ) -> str:
    """The URL of a system's server, to measure the way to it; empty where there is none."""
    if spec.url:
        return spec.url
    match spec.kind:
        case "openai" | "openai-live":
            from pipeline.engines.servers import OPENAI_URL

            return environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL
        case "gemini":
            from pipeline.speech_to_speech.gemini import HOST, URL

            return environ.get(URL, "").strip() or f"https://{HOST}"
        case "map":
            from pipeline.speech_to_speech import wire_map

            with contextlib.suppress(BadInput):  # since it was checked
                return wire_map.load(spec.model).url
    return ""


def runs_here(spec: SystemSpec, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a system works on this machine's processor: in Cascade, or behind its own address.

    Only an address of this machine can be bound to. A name that is not found is somewhere else.
    """
    url = address(spec, environ)
    if not url or spec.kind == "audio-llm":  # whose voice is made here
        return True
    with contextlib.suppress(OSError, ValueError):
        places = socket.getaddrinfo(urlsplit(url).hostname, 0, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, where in places:
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as line:
                line.bind(where)
                return True
    return False


async def round_trips(url: str, count: int = 5) -> tuple[float, ...]:
    """Round trips to the host of a URL (ms): a TCP handshake takes just one.

    The name is looked up beforehand. Behind a proxy that nothing can bypass there is nothing to be
    measured.

    Args:
        url: Where.
        count: How many, one after the other.

    Returns:
        One figure for each connection that was made; empty if the host cannot be reached.
    """
    found: list[float] = []
    with contextlib.suppress(OSError, ValueError, TimeoutError):
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        if not parts.hostname or not port:
            return ()
        async with asyncio.timeout(PATIENCE_S):
            places = await asyncio.get_running_loop().getaddrinfo(
                parts.hostname, port, type=socket.SOCK_STREAM
            )
        taken = places[0]
        for taken in places:
            # The first that answers, as a client would take it.
            with contextlib.suppress(OSError, TimeoutError):
                await _round_trip(taken)
                break
        for _ in range(count):
            found.append(await _round_trip(taken))
    return tuple(found)


async def _round_trip(place: Any) -> float:
    """How long a connection to what `getaddrinfo` found takes (ms)."""
    family, kind, protocol, _, where = place
    with socket.socket(family, kind, protocol) as line:
        line.setblocking(False)
        began_ns = time.monotonic_ns()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_connect(line, where)
        return (time.monotonic_ns() - began_ns) / NS_PER_MS


def shown(text: str) -> str:
    """A system's text without passwords and keys, be they in its URL or among its options."""
    which, *pairs = _NEXT_OPTION.split(text)
    kept = [pair for pair in pairs if not SECRET.search(pair.partition("=")[0])]
    return ",".join(map(_shown_part, [which, *kept]))


def _shown_part(text: str) -> str:
    at = re.search(r"(?:wss?|https?)://", text)
    if at is None:
        return text
    before, url = text[: at.start()], text[at.start() :]
    try:
        parts = urlsplit(url)
    except ValueError:
        return before + without_password(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if not SECRET.search(name)]
    query_text = parts.query if len(kept) == len(query) else urlencode(kept, quote_via=quote)
    netloc = parts.netloc.rpartition("@")[2]
    return before + parts._replace(netloc=netloc, query=query_text).geturl()
