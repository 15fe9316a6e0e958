"""What goes wrong with the Gemini Live API, in words that a user can act on.

Most of it comes as the reason of a closed connection: a wrong key as 1007, an unknown model as
1008, a spent quota as 1011. Nothing here repeats a key.
"""

from __future__ import annotations

import re
import ssl
from typing import Any

from websockets import exceptions

from pipeline.errors import StageError
from pipeline.speech_to_speech import secrets
from pipeline.speech_to_speech.secrets import shown

EXTRA = "gemini: needs an optional package: pip install 'voice-cascade[gemini]'"
"""Said where the client library is not installed."""

_DEFINITE = {"key": 401, "model": 404, "quota": 429}

_SIGNS = {
    "key": r"api[ _]key|unauthenticated|permission.denied|credential|unregistered callers",
    "quota": r"quota|resource.exhausted|rate limit|billing|credits",
    "model": r"model\b.*(?:not found|not supported|unknown)|not found for api version",
}
"""What reasons for closing say; the codes alone are shared by many."""


class Refused(StageError):
    """The server says no, and will say so again: to the key, the model, the quota."""


def unreachable(error: BaseException, host: str, model: str, *, wait_s: float) -> StageError:
    """Why no session was had.

    Args:
        error: What the client raised: its own, of websockets, the socket, TLS, or a timeout.
        host: What to call the server.
        model: What it was asked for.
        wait_s: How long was waited for it.
    """
    match error:
        case StageError():
            return error
        case exceptions.InvalidStatus():
            response = error.response
            said = bytes(response.body or b"").decode("utf-8", errors="replace")
            retry = response.headers.get("Retry-After", "")
            return _status(response.status_code, _message(said), host, model, retry)
        case exceptions.ConnectionClosed():
            return closed(error.rcvd.reason if error.rcvd else "", host, model)
        case TimeoutError():
            return _failed(f"{host} did not answer within {wait_s:g} s; check the network")
        case ssl.SSLError():
            reason = getattr(error, "verify_message", "") or error.reason or "no reason given"
            return _failed(
                f"{host}: no secure connection ({reason}); check the address and its certificate"
            )
        case exceptions.InvalidHandshake() | exceptions.ProtocolError() | EOFError():
            return _failed(
                f"{host} does not speak Gemini Live ({shown(str(error))}); check the address"
            )
        case OSError():
            reason = error.strerror or str(error)
            return _failed(f"{host} cannot be reached ({shown(reason)}); check the network")
        case ValueError() | TypeError() | AttributeError():
            return _failed(f"{host} does not speak Gemini Live; check the address")
    code, said = getattr(error, "code", None), _details(error)
    if isinstance(code, int) and 400 <= code < 600:
        return _status(code, said, host, model, "")
    return closed(said, host, model)


def closed(reason: str, host: str, model: str) -> StageError:
    """What it means that the server closes the connection; `fatal` where it always will."""
    for sign, pattern in _SIGNS.items():
        if re.search(pattern, reason, re.IGNORECASE):
            return _status(_DEFINITE[sign], reason, host, model, "")
    if "abnormal closure" in reason.lower():
        return StageError("direct", f"the connection to {host} broke", fatal=False)
    why = f": {shown(reason)}" if reason else ""
    return StageError("direct", f"{host} closed the connection{why}", fatal=False)


def error(error: BaseException) -> str:
    """What an error message says that came within a conversation."""
    code, said = getattr(error, "code", None), shown(_details(error))
    return f"{said} ({code})" if code else said


def _status(code: int, said: str, host: str, model: str, retry_after: str) -> StageError:
    said = f": {shown(said)}" if said else ""
    if code in (401, 403) or (code == 400 and re.search(_SIGNS["key"], said, re.IGNORECASE)):
        return _refused(f"{host} refuses the key{said}; set {secrets.GEMINI[0]}")
    if code == 404:
        return _refused(f"{host} has no model {model!r}, or no such API{said}")
    if code == 429:
        when = f"try again in {retry_after} s" if retry_after.isdecimal() else "try again later"
        return _refused(f"{host} refuses for want of quota or rate (429){said}; {when}")
    hint = "; try again later" if code >= 500 else ""
    return _failed(f"{host} answers {code}{said}{hint}")


def _message(body: str) -> str:
    """The message in the body of an HTTP error, where one can be found."""
    found = re.search(r'"message"\s*:\s*"((?:[^"\\]|\\.)*)"', body)
    return found[1] if found else ""


def _details(error: BaseException) -> str:
    """What an error of the client's tells of the server's reason."""
    details: Any = getattr(error, "details", None)
    if isinstance(details, dict):
        inner = details.get("error", details)
        return str(inner.get("message", "") if isinstance(inner, dict) else inner)
    return str(details if details is not None else error)


def _failed(message: str) -> StageError:
    return StageError("direct", message, fatal=True)


def _refused(message: str) -> StageError:
    return Refused("direct", message, fatal=True)
