"""A hub and a package index on this machine, and a small model to fetch from them."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.models import catalogue as catalogue_module
from pipeline.models.catalogue import Catalogue, File, Hub, ModelEntry, Source

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GGUF = b"GGUF" + random.Random(1).randbytes(3_000_000)
NOTES = b"some notes"
WHOLE = {"notes.txt": NOTES, "toy.gguf": GGUF}
NOWHERE = "http://127.0.0.1:9"
"""The discard port: nobody listens there."""


@dataclass
class Server:
    """A hub and a package index in one; each fault below is for tests to set.

    Attributes:
        files: What it serves, by path.
        cut: Bytes after which the connection breaks, one number for each GET to come.
        broken: Status codes, one for each GET to come.
        linked: Where the content of a path lies instead, as it is for the hub's large files.
        ranges: Whether it can go on in the middle of a file.
        headers: Added to every answer.
        asked: The method, path and Range header of each request.
        tokens: The paths that were asked for with a token.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    linked: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    url: str = ""

    def hub(self, path: str, data: bytes, repo: str = "some/repo", revision: str = COMMIT) -> None:
        self.files[f"/{repo}/resolve/{revision}/{path}"] = data

    def gets(self) -> list[str | None]:
        """The Range headers of the GETs so far."""
        return [ranges for method, _, ranges in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behind: Server

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path, wanted = self.path.split("?")[0], self.headers.get("Range")
        self.behind.asked.append((self.command, path, wanted))
        if self.headers.get("Authorization"):
            self.behind.tokens.add(path)
        if path in self.behind.linked:
            self.link(self.behind.linked[path])
            return
        data = self.behind.files.get(path)
        get = self.command == "GET"
        status = 404 if data is None else 200
        if get and self.behind.broken:
            status, data = self.behind.broken.pop(0), None
        body = data or b""
        total = len(body)
        start = int(wanted.split("=")[1].rstrip("-")) if wanted and self.behind.ranges else 0
        if status == 200 and start:
            status, body = 206, body[start:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("ETag", f'"{sha256(data or b"").hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in self.behind.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if get and self.behind.cut:
            self.wfile.write(body[: self.behind.cut.pop(0)])
            self.close_connection = True
        elif get:
            self.wfile.write(body)

    def link(self, path: str) -> None:
        data = self.behind.files[path]
        self.send_response(302)
        self.send_header("Location", self.behind.url.replace("127.0.0.1", "localhost") + path)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Linked-Etag", f'"{sha256(data).hexdigest()}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


@contextmanager
def serve() -> Iterator[Server]:
    """Run a server for as long as the context lasts."""
    behind = Server()
    http = QuietServer(("127.0.0.1", 0), type("Bound", (Handler,), {"behind": behind}))
    behind.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield behind
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path, server: Server) -> None:
    """No network but the server, no settings and no downloads of this user's."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(
        catalogue_module, "download_dir", lambda models_dir=None: models_dir or folder / "default"
    )


def known(path: str, data: bytes) -> File:
    """A file as a catalogue describes it that knows all about it."""
    return File(path, len(data), sha256(data).hexdigest())


class Shelf:
    """Makes catalogues with the real models and a toy, and with nothing downloaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, *files: File, source: Source | None = None, more: Source | None = None
    ) -> Catalogue:
        """A catalogue whose toy has these files and sources; one repository of the hub if none."""
        given = [source or Hub("some/repo", COMMIT), more]
        toy = ModelEntry(
            name="toy",
            kind="llm",
            files=files or tuple(known(path, data) for path, data in WHOLE.items()),
            licence="MIT",
            languages=("en",),
            description="a toy",
            sources=tuple(source for source in given if source),
        )
        models = (*Catalogue.load().models, toy)
        return Catalogue(models, self.folder / "home", self.folder / "models")


def on_disk(catalogue: Catalogue) -> dict[str, bytes]:
    """Everything in the toy's folder but the record of what was fetched."""
    folder = catalogue.downloads / "toy"
    paths = sorted(folder.rglob("*")) if folder.is_dir() else []
    return {path.name: path.read_bytes() for path in paths if path.name != "fetched.json"}
