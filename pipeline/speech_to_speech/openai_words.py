"""What goes wrong with an OpenAI WebSocket API, in words that a user can act on.

Nothing here repeats a key.
"""

from __future__ import annotations

import json
import re
import ssl

import openai
from websockets import exceptions

from pipeline.errors import StageError
from pipeline.speech_to_speech import keys
from pipeline.speech_to_speech.keys import shown

_CODES = {"api_key|authenti|permission": 401, "model": 404, "quota|rate_limit": 429}
"""The HTTP status that stands for a code in an `error` event."""


def unreachable(
    error: Exception, host: str, model: str, *, wait_s: float, key: str = keys.OPENAI
) -> StageError:
    """Why no connection was made.

    Args:
        error: What the client raised: of websockets, the socket, TLS, or a timeout.
        host: What to call the server.
        model: What it was asked for.
        wait_s: How long was waited for it.
        key: Where the user sets the key.
    """
    match error:
        case exceptions.InvalidStatus():
            response = error.response
            said = body_message(bytes(response.body or b""))
            retry = response.headers.get("Retry-After", "")
            return status(response.status_code, said, host, model, retry_after=retry, key=key)
        case TimeoutError():
            return _failed(f"{host} did not answer within {wait_s:g} s; check the network")
        case ssl.SSLError():
            reason = getattr(error, "verify_message", "") or error.reason or "no reason given"
            return _failed(
                f"{host}: no secure connection ({reason}); check the address and its certificate"
            )
        case exceptions.InvalidHandshake() | exceptions.ProtocolError() | EOFError():
            return _failed(
                f"{host} does not speak WebSocket there ({shown(str(error))}); check the address"
            )
        case exceptions.ConnectionClosed():
            return _failed(f"{host} closed the connection at once: {closed(error)}")
        case OSError() | openai.OpenAIError():
            reason = getattr(error, "strerror", "") or str(error)
            return _failed(f"{host} cannot be reached ({shown(reason)}); check the network")
    return _failed(f"{host}: {type(error).__name__}: {shown(str(error))}")


def status(
    code: int, said: str, host: str, model: str, *, retry_after: str = "", key: str = keys.OPENAI
) -> StageError:
    """What an HTTP status other than 101 means."""
    said = f": {shown(said)}" if said else ""
    if code in (401, 403):
        return _failed(f"{host} refuses the key ({code}){said}; set {key}")
    if code == 404:
        return _failed(f"{host} has no model {model!r}, or no such API (404){said}")
    if code == 429:
        when = f"try again in {retry_after} s" if retry_after.isdecimal() else "try again later"
        return _failed(f"{host} refuses for want of quota or rate (429){said}; {when}")
    hint = "; try again later" if code >= 500 else ""
    return _failed(f"{host} answers {code}{said}{hint}")


def refused(error: object, host: str, model: str) -> StageError:
    """What an `error` event means that comes instead of a session."""
    code, said = _text(error, "code", "type"), _text(error, "message")
    for pattern, number in _CODES.items():
        if re.search(pattern, code):
            return status(number, said, host, model)
    return _failed(f"{host} refuses the session: {reason(error)}")


def reason(error: object) -> str:
    """What an error of the server's says, an object of JSON or of the SDK's.

    That is its message, and its code where that adds something.
    """
    message, code = shown(_text(error, "message")), shown(_text(error, "code", "type"))
    if not message:
        return code or "no reason given"
    return f"{message} ({code})" if code and code not in message else message


def closed(error: exceptions.ConnectionClosed) -> str:
    """How a connection ended."""
    close = error.rcvd
    if close is None:
        return "the connection broke"
    reason = f": {shown(close.reason)}" if close.reason else ""
    return f"the server closed the connection ({close.code}{reason})"


def body_message(body: bytes) -> str:
    """The message in the body of an HTTP error; empty if there is none to be shown."""
    try:
        data = json.loads(body)
    except ValueError:
        return ""
    match data:
        case {"error": {"message": str(text)}} | {"error": str(text)} | {"message": str(text)}:
            return text
    return ""


def _failed(message: str) -> StageError:
    return StageError("direct", message, fatal=True)


def _text(error: object, *names: str) -> str:
    """The first of these fields that is a text."""
    for name in names:
        value = error.get(name) if isinstance(error, dict) else getattr(error, name, None)
        if value and isinstance(value, str):
            return value
    return ""
