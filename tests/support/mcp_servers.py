"""Real MCP servers, started by tests: the SDK's for Python, and the reference one of npm."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which

import pytest

from support.cli_child import ROOT

AWKWARD = [sys.executable, str(ROOT / "tests" / "servers" / "mcp_server.py")]
CLIENTS = ROOT / "tests" / "clients"
EVERYTHING = CLIENTS / "node_modules/@modelcontextprotocol/server-everything"
NODE = ["node", str(EVERYTHING / "dist" / "index.js")]

needs_everything = pytest.mark.skipif(
    which("node") is None or not EVERYTHING.is_dir(),
    reason="needs Node, and `npm ci` in tests/clients",
)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server at a port, until it is left; it may be killed before."""
    child = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert child.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextmanager
def awkward(port: int | None = None, **environment: str) -> Iterator[str]:
    """The SDK's server over Streamable HTTP; gives its URL."""
    port = port or free_port()
    with running([*AWKWARD, str(port)], port, **environment):
        yield f"http://127.0.0.1:{port}/mcp"


def children_of(words: str) -> list[int]:
    """Processes whose command line holds these words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if words in line and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found
