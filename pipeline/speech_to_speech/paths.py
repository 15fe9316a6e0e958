"""The paths of a comparison: what the command line says of them, and the sessions that they are."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pipeline.errors import BadInput
from pipeline.speech_to_speech.brief import Brief, Direct, Target, given

if TYPE_CHECKING:
    from pipeline.clock import Clock
    from pipeline.trace import Trace

FORMS = (
    "cascade, openai:MODEL, openai-live:MODEL, gemini:MODEL, ws://HOST…, wss://HOST…, "
    "audio-llm:URL, simulated:NAME"
)
"""What a path can be, before its options `,key=value…`."""

MODELS = ("openai", "openai-live", "gemini")
"""Kinds that are followed by a model, or by nothing."""

SECRET = re.compile(r"key|token(?!s)|secret|passw|auth|signature|credential", re.I)
"""Names of what is not shown."""

_NAMED = re.compile(r"([^,=:/?#]*)=(.*)", re.S)
_NEXT_OPTION = re.compile(r",(?=[A-Za-z_][\w.-]*=)")


def parse(text: str) -> Target:
    """Read a path: `[NAME=]KIND[:WHICH][,key=value…]`, or a URL in the place of the kind.

    Raises:
        BadInput: It is none; the message says what is allowed.
    """
    name, spec = "", text.strip()
    if named := _NAMED.fullmatch(spec):
        name, spec = named[1].strip(), named[2].strip()
        if not name:
            raise BadInput(f"--path {shown(text)}: the name before `=` is empty")
    which, *pairs = _NEXT_OPTION.split(spec)
    options: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key in options:
            raise BadInput(f"--path {shown(text)}: {key} is given twice")
        options[key] = value.strip()
    kind, colon, rest = which.partition(":")
    rest = rest.strip()
    if kind in ("ws", "wss"):
        return _realtime(name or shown(spec), which, options)
    if "," in rest or "," in kind:
        raise BadInput(f"--path {shown(text)}: write options as key=value, with commas between")
    name = name or shown(spec)
    if kind == "cascade" and not colon:
        return Target(name, kind, options=options)
    if kind in MODELS and bool(rest) == bool(colon):
        return Target(name, kind, rest, options=options)
    if kind == "simulated" and rest:
        return Target(name, kind, rest, options=options)
    if kind == "audio-llm":
        if not _is_url(rest, ("http", "https")):
            raise BadInput(f"--path {shown(text)}: write it as audio-llm:http://HOST:PORT/v1")
        return Target(name, kind, options.get("model", ""), rest, options)
    if kind in (*MODELS, "simulated"):
        raise BadInput(f"--path {shown(text)}: which one? Write {kind}:NAME")
    raise BadInput(f"--path {shown(text)}: not a path; give {FORMS}")


def check(target: Target, environ: Mapping[str, str]) -> None:
    """See that nothing is missing that a session will need; nothing is connected.

    Args:
        target: The path, as parsed.
        environ: Where keys are.

    Raises:
        BadInput: A key is missing, an extra is not installed, or an option cannot be.
    """
    match target.kind:
        case "openai" | "realtime":
            _check_realtime(target, environ)
        case "openai-live":
            _check_live(target, environ)
        case "gemini":
            _check_gemini(target, environ)
        case "simulated":
            rest = {k: v for k, v in target.options.items() if k != "protocol"}
            _check_options(Target(target.name, "realtime", url="ws://localhost", options=rest))
        case "audio-llm":
            from pipeline.speech_to_speech.audio_llm import dotted

            dotted(target)
        case "cascade":
            pass
        case kind:
            raise BadInput(f"{target.name}: there is no kind {kind!r} of path")


def connect(target: Target, brief: Brief, trace: Trace, clock: Clock) -> Direct:
    """The session that a path is; entering it connects.

    Not for `cascade`, `simulated` and `audio-llm`, which need engines, or a server to be started.

    Raises:
        BadInput: There is no key, or an option cannot be.
    """
    match target.kind:
        case "openai" | "realtime":
            from pipeline.speech_to_speech.openai_realtime import RealtimeSession

            return RealtimeSession(target, brief, trace, clock)
        case "openai-live":
            from pipeline.speech_to_speech.openai_live import LiveSession

            return LiveSession(target, brief, trace, clock)
        case "gemini":
            _need_genai(target)
            from pipeline.speech_to_speech.gemini import GeminiSession

            return GeminiSession(target, brief, trace, clock)
    raise ValueError(f"a path of kind {target.kind} is not connected to")


def address(target: Target, environ: Mapping[str, str] = os.environ) -> str:
    """The URL of a path's server, to measure the way to it; empty where there is none."""
    if target.url:
        return target.url
    match target.kind:
        case "openai" | "openai-live":
            from pipeline.speech_to_speech.openai_server import OPENAI_URL

            return environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL
        case "gemini":
            from pipeline.speech_to_speech.gemini import HOST, URL

            return environ.get(URL, "").strip() or f"https://{HOST}"
    return ""


def shown(text: str) -> str:
    """A path's text without passwords and keys, be they in its URL or among its options."""
    which, *pairs = _NEXT_OPTION.split(text)
    kept = [pair for pair in pairs if not SECRET.search(pair.partition("=")[0])]
    return ",".join(map(_shown_part, [which, *kept]))


def _shown_part(text: str) -> str:
    at = re.search(r"(?:wss?|https?)://", text)
    return text if at is None else text[: at.start()] + _shown_url(text[at.start() :])


def _shown_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"//[^/@]*@", "//", url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if not SECRET.search(name)]
    query_text = parts.query if len(kept) == len(query) else urlencode(kept, quote_via=quote)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query_text).geturl()


def _realtime(name: str, url: str, options: dict[str, str]) -> Target:
    from pipeline.speech_to_speech.openai_server import split_model

    if not _is_url(url, ("ws", "wss")):
        raise BadInput(
            f"--path {shown(url)}: not a usable URL; write it as ws://HOST:PORT/v1/realtime"
        )
    url, model = split_model(url)
    model = options.pop("model", "") or model
    return Target(name, "realtime", model, url, options)


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and parts.scheme in schemes and not any(char.isspace() for char in text)


def _check_realtime(target: Target, environ: Mapping[str, str]) -> None:
    from pipeline.speech_to_speech.openai_server import server_of

    server_of(target, environ)
    _check_options(target)


def _check_options(target: Target) -> None:
    from pipeline.speech_to_speech.openai_realtime import options_of

    options_of(target)


def _check_live(target: Target, environ: Mapping[str, str]) -> None:
    from pipeline.speech_to_speech.openai_live import OPTIONS
    from pipeline.speech_to_speech.openai_server import server_of

    server_of(target, environ)
    given(target, OPTIONS)


def _check_gemini(target: Target, environ: Mapping[str, str]) -> None:
    from pipeline.speech_to_speech.gemini import OPTIONS, place

    _need_genai(target)
    given(target, OPTIONS)
    place(target, environ)


def _need_genai(target: Target) -> None:
    try:
        found = importlib.util.find_spec("google.genai")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise BadInput(
            f"{target.name}: google-genai is not installed; "
            "install it with `pip install 'voice-cascade[gemini]'`"
        )
