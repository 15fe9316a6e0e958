"""Who may use the server, and for how long. Pure: requests in, decisions out.

Without a token the server is for programs of its own machine, so a web page must not reach it
through a browser there: what a page of another origin sends is refused, and so is a request for
another host, which comes from a name that was pointed at this machine (DNS rebinding). With a token
whoever presents it may come from anywhere. Ephemeral keys are for browsers: signed by the server,
they carry how long they hold and which session they open, and the server keeps nothing of them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pipeline.engines.servers import is_loopback
from pipeline.errors import BadInput
from pipeline.serve.refused import RequestRefused

SUBPROTOCOL_KEY = "openai-insecure-api-key."
"""A browser cannot set headers; its key comes in an offered subprotocol, after this."""

EPHEMERAL = "ek_"
"""How ephemeral keys begin."""

LONGEST_KEY = 6144
"""Characters of an ephemeral key; it must fit into a header line, and those have 8 KiB."""

SHORTEST_TOKEN = 16
"""Characters: nobody guesses so many."""

_IN_URLS = {"access_token", "api-key", "api_key", "apikey", "authorization", "key", "token"}
"""Names under which keys are put into URLs, from where they get into logs and histories."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What lets a request in.

    Attributes:
        key: The ephemeral key, if it was one.
        session: Fields of the session that the key was made for.
    """

    key: str = field(default="", repr=False)
    session: Mapping[str, Any] = field(default_factory=dict)


class Access:
    """Decides who may come in.

    Args:
        token: What clients have to present; empty: nothing, which is for a server that only its
            own machine can reach.

    Raises:
        BadInput: The token is too short, or has characters that no subprotocol may have.
    """

    def __init__(self, token: str = "") -> None:
        if token and not re.fullmatch(rf"(?!{EPHEMERAL})[\w.~-]{{{SHORTEST_TOKEN},}}", token, re.A):
            raise BadInput(
                f"serve.token: needs {SHORTEST_TOKEN} letters, digits or -._~ at least, and must "
                f"not begin with {EPHEMERAL}; `openssl rand -hex 32` makes one"
            )
        self._token = token.encode()
        # Servers with one token take each other's keys; without one, keys end with the server.
        self._secret = hashlib.sha256(self._token).digest() if token else secrets.token_bytes(32)

    def check(
        self,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        now_s: float,
        offered: Sequence[str] = (),
        *,
        ephemeral: bool = False,
    ) -> Pass:
        """Let a request in.

        Args:
            headers: Of the request, by names in lower case.
            query: Of its URL.
            now_s: Unix time (s).
            offered: The subprotocols that the client offers.
            ephemeral: An ephemeral key opens this too.

        Raises:
            RequestRefused: It may not come in.
        """
        if _IN_URLS & {name.lower() for name in query}:
            message = "A key belongs in the header Authorization, never in a URL."
            raise RequestRefused("invalid_api_key", message, status=401)
        host = headers.get("host", "")
        if not self._token and not is_local(host):
            raise RequestRefused(
                "forbidden_host", "This server is only for its own machine.", status=403
            )
        key = _presented(headers, offered)
        if key.startswith(EPHEMERAL):
            if not ephemeral:
                raise RequestRefused(
                    "invalid_api_key", "An ephemeral key does not open this.", status=401
                )
            return Pass(key, self.opened(key, now_s))
        if self._token:
            if not hmac.compare_digest(_bytes(key), self._token):
                raise RequestRefused("invalid_api_key", "Incorrect API key provided.", status=401)
        elif (origin := headers.get("origin")) is not None and not _same(origin, host):
            message = "This web page may not use this server; give it an ephemeral key."
            raise RequestRefused("forbidden_origin", message, status=403)
        return Pass()

    def sealed(self, session: Mapping[str, Any], expires_at: int) -> str:
        """An ephemeral key.

        Args:
            session: Fields of the session that it opens; whoever has the key can read them.
            expires_at: Unix time (s) until which it opens one.

        Raises:
            RequestRefused: The session is too large for a key.
        """
        # Two keys that say the same are still two.
        said = json.dumps([expires_at, secrets.token_hex(8), session], separators=(",", ":"))
        told = _text(zlib.compress(said.encode(), 9))
        key = f"{EPHEMERAL}{told}.{self._signature(told)}"
        if len(key) > LONGEST_KEY:
            message = "The session is too large for a key; send the rest of it by session.update."
            raise RequestRefused("invalid_value", message)
        return key

    def opened(self, key: str, now_s: float) -> Mapping[str, Any]:
        """Fields of the session that an ephemeral key opens.

        Raises:
            RequestRefused: It opens none: it is not of this server, or has expired.
        """
        told, _, signature = key.removeprefix(EPHEMERAL).partition(".")
        signed = self._signature(told).encode()
        if hmac.compare_digest(_bytes(signature), signed):
            said = zlib.decompress(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)))
            expires_at, _, session = json.loads(said)
            if now_s < expires_at:
                found: Mapping[str, Any] = session
                return found
        raise RequestRefused(
            "invalid_api_key", "The ephemeral key is not valid, or has expired.", status=401
        )

    def _signature(self, told: str) -> str:
        return _text(hmac.digest(self._secret, _bytes(told), "sha256"))


def is_local(host: str) -> bool:
    """Whether a `host[:port]` names the machine itself."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _presented(headers: Mapping[str, str], offered: Sequence[str]) -> str:
    """The key that a request presents; empty: none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    found = (name for name in offered if name.startswith(SUBPROTOCOL_KEY))
    return next(found, "").removeprefix(SUBPROTOCOL_KEY)


def _same(origin: str, host: str) -> bool:
    """Whether an `Origin` is that of a page of this server, which was asked for as `host`."""
    scheme, _, place = origin.lower().partition("://")
    port = {"http": ":80", "https": ":443"}.get(scheme)
    return port is not None and place.removesuffix(port) == host.lower().removesuffix(port)


def _bytes(presented: str) -> bytes:
    """Whatever stands there: a header's text may be of odd bytes, a call's of any characters."""
    return presented.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
