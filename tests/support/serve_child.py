"""`cascade serve` in a process of its own, as people start it."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from support.cli_child import ROOT, Child

PAGE = ROOT / "pipeline" / "docs" / "serve.md"
"""What people are told of it."""


@dataclass(frozen=True)
class ServeChild:
    """A server that listens.

    Attributes:
        child: Its process.
        http: Its base URL.
        realtime: Where clients of the protocol connect.
    """

    child: Child
    http: str
    realtime: str

    @property
    def port(self) -> int:
        """Where it listens, on this machine."""
        port = urlsplit(self.http).port
        assert port is not None
        return port


@contextlib.contextmanager
def cascade_serve(*options: str, env: Mapping[str, str] | None = None) -> Iterator[ServeChild]:
    """Run it while entered, at a port that is free."""
    child = Child("serve", "--port", "0", "--json", *options, env=env)
    try:
        child.wait_for("\n", "out")
        said = json.loads(child.said("out").splitlines()[0])
        yield ServeChild(child, said["url"], said["realtime"])
    finally:
        if not child.over:
            child.signal(signal.SIGTERM)
        outcome = child.finish()
    assert outcome.code == 0, outcome.err


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
