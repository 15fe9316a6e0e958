"""What a server on the other end of a WebSocket says, and what goes wrong with it.

Nothing in its JSON is trusted to be there, or to be what it is: servers leave out what they may,
send null for it, and add what is not known yet. A field that is not what it should be counts as
none. Errors are words that a user can act on; nothing here repeats a key.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Container, Mapping
from typing import Any

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    ProtocolError,
)

from pipeline.errors import StageError
from pipeline.speech_to_speech.keys import shown

RENEWABLE = (1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015)
"""Close codes after which a new connection may be had; others are the server's decision against
this client (RFC 6455, 7.4.1; the OpenAI SDK's own list, 1000, and IANA's 1014: a bad gateway)."""

BROKEN = 1006
"""Stands for the end of a connection without any word of its end (RFC 6455, 7.1.5)."""

_SIGNS = {
    401: r"api[_ ]key|authenti|unauthenticated|permission|credential|unregistered callers",
    429: r"quota|resource.exhausted|rate[_ ]limit|billing|credits",
    404: r"model_not_found|model\b.*(?:not found|not supported|unknown)|not found for api version",
}
"""The HTTP status that a code of an error, or a reason for closing, stands for: many reasons share
one close code."""


def text_in(data: object, *names: str) -> str:
    """The first of these fields that is a text and not empty; empty if there is none."""
    for name in names:
        value = data.get(name) if isinstance(data, Mapping) else None
        if value and isinstance(value, str):
            return value
    return ""


def mapping(data: object, name: str) -> Mapping[str, Any]:
    """An object in an object; empty where there is none."""
    value = data.get(name) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def listed(data: object, name: str) -> list[Any]:
    """A list in an object; empty where there is none."""
    value = data.get(name) if isinstance(data, Mapping) else None
    return value if isinstance(value, list) else []


def count(data: object, *names: str) -> int:
    """A number in an object, or in objects in it; 0 where there is none."""
    for name in names:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data if isinstance(data, int) else 0


def sound_in(data: object) -> bytes | None:
    """The bytes of a sound in base64, of either alphabet; None if it is none."""
    try:
        text = data.translate(_STANDARD) if isinstance(data, str) else None
        return None if text is None else base64.b64decode(text, validate=True)
    except ValueError:
        return None


_STANDARD = str.maketrans("-_", "+/")


class Denied(StageError):
    """The server says no, and will say so again: to the key, the model, the quota."""


class WireErrors:
    """The errors of one server.

    Args:
        host: What to call the server.
        model: What it is asked for.
        key_setting: Where the user sets the key.
        speaks: What the server should speak.
        renewable: Close codes after which a new connection may be had; None: any.
    """

    def __init__(
        self,
        host: str,
        model: str,
        key_setting: str,
        speaks: str,
        renewable: Container[int] | None = RENEWABLE,
    ) -> None:
        self.host = host
        self.model = model
        self._key_setting = key_setting
        self._speaks = speaks
        self._renewable = renewable

    def unreachable(self, error: BaseException, wait_s: float) -> StageError:
        """Why no session was had.

        Args:
            error: What the client raised: its own, of websockets, the socket, TLS, or a timeout.
            wait_s: How long was waited for it.
        """
        host = self.host
        match error:
            case StageError():
                return error
            case InvalidStatus(response=response):
                retry = response.headers.get("Retry-After", "")
                return self.status(response.status_code, _body_message(response.body), retry)
            case ConnectionClosed():
                closed = self.closed(error, "closed the connection at once")
                closed.fatal = True
                return closed
            case TimeoutError():
                return _failed(f"{host} did not answer within {wait_s:g} s; check the network")
            case ssl.SSLError():
                reason = getattr(error, "verify_message", "") or error.reason or "no reason given"
                why = f"no secure connection ({reason})"
                return _failed(f"{host}: {why}; check the address and its certificate")
            case InvalidHandshake() | ProtocolError() | EOFError():
                why = shown(str(error))
                return _failed(f"{host} does not speak {self._speaks} ({why}); check the address")
            case ValueError() | TypeError() | AttributeError():
                # A client library stumbles over what it cannot read.
                return _failed(f"{host} does not speak {self._speaks}; check the address")
            case OSError():
                reason = error.strerror or str(error)
                return _failed(f"{host} cannot be reached ({shown(reason)}); check the network")
        return _failed(f"{host}: {type(error).__name__}: {shown(str(error))}")

    def status(self, code: int, said: str, retry_after: str = "") -> StageError:
        """What an HTTP status other than 101 means."""
        host, said = self.host, f": {shown(said)}" if said else ""
        if code in (401, 403) or (code == 400 and re.search(_SIGNS[401], said, re.IGNORECASE)):
            return _denied(f"{host} refuses the key ({code}){said}; set {self._key_setting}")
        if code == 404:
            return _denied(f"{host} has no model {self.model!r}, or no such API (404){said}")
        if code == 429:
            when = f"try again in {retry_after} s" if retry_after.isdecimal() else "try again later"
            return _denied(f"{host} refuses for want of quota or rate (429){said}; {when}")
        hint = "; try again later" if code >= 500 else ""
        return _failed(f"{host} answers {code}{said}{hint}")

    def refused(self, code: str, said: str) -> StageError:
        """What an error means that comes instead of a session."""
        for status, pattern in _SIGNS.items():
            if re.search(pattern, code, re.IGNORECASE):
                return self.status(status, said)
        return _failed(f"{self.host} refuses the session: {said}")

    def closed(self, error: ConnectionClosed, how: str = "closed the connection") -> StageError:
        """What it means that a connection ends; `fatal` where a new one would end as well."""
        close = error.rcvd
        return self.closed_with(*((close.code, close.reason) if close else (BROKEN, "")), how)

    def closed_with(self, code: int, reason: str, how: str = "closed the connection") -> StageError:
        """The same, of a connection that the server closed with a code and a reason."""
        if code == BROKEN:
            return StageError("direct", f"{self.host}: the connection broke")
        # Where codes tell nothing, the reason may tell that the server has decided.
        fatal = self._renewable is not None and code not in self._renewable
        telling = fatal or self._renewable is None
        for status, pattern in _SIGNS.items():
            if telling and re.search(pattern, reason, re.IGNORECASE):
                return self.status(status, reason)
        why = f": {shown(reason)}" if reason else ""
        return StageError("direct", f"{self.host} {how} ({code}{why})", fatal=fatal)


def error_in(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The error that an event of a server's tells of, wherever in it that stands."""
    match event.get("error"):
        case Mapping() as error:
            return error
        case str(said):
            return {"message": said}
    return {name: value for name, value in event.items() if name != "type"}


def reason(error: Mapping[str, Any]) -> str:
    """What an error of the server's says: its message, and its code where that adds something."""
    number = count(error, "code")
    code = shown(text_in(error, "code", "type", "status")) or (str(number) if number else "")
    message = shown(text_in(error, "message"))
    if not message:
        return code or "no reason given"
    return f"{message} ({code})" if code and code not in message else message


def _body_message(body: bytes | bytearray | None) -> str:
    """The message in the body of an HTTP error; empty if there is none to be shown."""
    text = bytes(body or b"").decode(errors="replace")
    try:
        data: Any = json.loads(text)
    except ValueError:
        # Some servers cut the body.
        found = re.search(r'"message"\s*:\s*"((?:[^"\\]|\\.)*)"', text)
        return found[1] if found else ""
    match data:
        case {"error": {"message": str(said)}} | {"error": str(said)} | {"message": str(said)}:
            return said
    return ""


def _failed(message: str) -> StageError:
    return StageError("direct", message, fatal=True)


def _denied(message: str) -> StageError:
    return Denied("direct", message, fatal=True)
