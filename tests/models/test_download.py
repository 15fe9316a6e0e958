"""Fetching, for real: from a small hub on this machine, onto disks that are not always well."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from filelock import FileLock
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

from pipeline.errors import BadInput, CascadeError
from pipeline.models import download, sources
from pipeline.models.catalogue import Catalogue
from pipeline.models.download import pull
from pipeline.models.model import File, Hub


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


@pytest.fixture
def shelf(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    isolate(monkeypatch, tmp_path, server)
    return Shelf(tmp_path)


# ---- which source ----------------------------------------------------------------------------


def test_a_model_is_there_whole_or_not_at_all(server: Server, shelf: Shelf) -> None:
    server.hub("notes.txt", NOTES)
    server.hub("toy.gguf", GGUF[:-1] + b"?")
    catalogue = shelf(known("notes.txt", NOTES), known("toy.gguf", GGUF))
    with pytest.raises(CascadeError, match="sent a damaged file"):
        pull(catalogue, "toy")
    assert on_disk(catalogue) == {}
    assert catalogue.state(catalogue.model("toy")) == "absent"


# ---- the hub ---------------------------------------------------------------------------------


def test_from_the_hub(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF)
    server.hub("notes.txt", NOTES)
    catalogue = shelf()
    seen: list[tuple[str, int, int | None]] = []
    found = pull(catalogue, "toy", lambda *args: seen.append(args))
    assert found.path.read_bytes() == GGUF
    assert found == catalogue.resolve("llm", "toy")
    assert on_disk(catalogue) == WHOLE
    assert seen[-1] == ("toy.gguf", len(GGUF), len(GGUF))
    done = [bytes_ for file, bytes_, _ in seen if file == "toy.gguf"]
    assert len(done) > 3 and done == sorted(done)
    record = json.loads((catalogue.downloads / "toy" / "fetched.json").read_text())
    assert record["revision"] == COMMIT and record["source"] == "some/repo on the hub"
    assert record["files"]["toy.gguf"] == {
        "size": len(GGUF),
        "sha256": sha256(GGUF).hexdigest(),
    }
    assert not (catalogue.downloads / ".cache" / "toy").exists()


def test_a_whole_model_is_not_fetched_again(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF)
    server.hub("notes.txt", NOTES)
    catalogue = shelf()
    pull(catalogue, "toy")
    asked = len(server.asked)
    assert pull(catalogue, "toy") == catalogue.resolve("llm", "toy")
    assert len(server.asked) == asked


def test_only_what_is_damaged_is_fetched_again(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF)
    server.hub("notes.txt", NOTES)
    catalogue = shelf()
    pull(catalogue, "toy")
    server.asked.clear()
    (catalogue.downloads / "toy" / "notes.txt").write_bytes(b"some motes")
    assert "notes.txt" in catalogue.verify(catalogue.model("toy"))[0]
    pull(catalogue, "toy")
    assert on_disk(catalogue) == WHOLE
    assert all(path.endswith("notes.txt") for _, path, _ in server.asked)


def test_a_lost_connection_is_taken_up_again(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF)
    server.cut = [1_000_000, 500_000]
    catalogue = shelf(known("toy.gguf", GGUF))
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}
    first, *others = server.gets()
    assert first is None and len(others) == 2
    starts = [int(re.fullmatch(r"bytes=(\d+)-", str(wanted))[1]) for wanted in others]  # type: ignore[index]
    assert 0 < starts[0] <= 1_000_000 and starts[0] < starts[1] <= 1_500_000


def test_a_large_file_that_the_hub_keeps_elsewhere(server: Server, shelf: Shelf) -> None:
    server.linked[f"/some/repo/resolve/{COMMIT}/toy.gguf"] = "/elsewhere"
    server.files["/elsewhere"] = GGUF
    server.cut = [1_000_000]
    catalogue = shelf(File("toy.gguf"))  # size and checksum come from the hub
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}
    first, second = [wanted for _, path, wanted in server.asked if path == "/elsewhere"]
    assert first is None and second is not None


def test_a_token_of_the_hub_is_shown_to_the_hub_alone(
    server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    path = f"/some/repo/resolve/{COMMIT}/toy.gguf"
    server.linked[path] = "/elsewhere"
    server.files["/elsewhere"] = GGUF
    pull(shelf(known("toy.gguf", GGUF)), "toy")
    assert server.tokens == {path}


def test_a_server_that_cannot_go_on_in_the_middle_begins_again(
    server: Server, shelf: Shelf
) -> None:
    server.hub("toy.gguf", GGUF)
    server.cut, server.ranges = [1_000_000], False
    catalogue = shelf(known("toy.gguf", GGUF))
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}


def test_an_interrupted_pull_leaves_no_file_and_is_taken_up_by_the_next(
    server: Server, shelf: Shelf
) -> None:
    server.hub("toy.gguf", GGUF)
    catalogue = shelf(known("toy.gguf", GGUF))

    def interrupt(file: str, done: int, total: int | None) -> None:
        if done > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(catalogue, "toy", interrupt)
    assert on_disk(catalogue) == {}
    assert catalogue.state(catalogue.model("toy")) == "absent"
    seen: list[int] = []
    pull(catalogue, "toy", lambda file, done, total: seen.append(done))
    assert on_disk(catalogue) == {"toy.gguf": GGUF}
    assert seen[0] > 1_000_000 and server.gets()[-1] == f"bytes={seen[0]}-"


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF)
    catalogue = shelf(known("toy.gguf", GGUF))
    staging = catalogue.downloads / ".cache" / "toy"
    staging.mkdir(parents=True)
    (staging / f"toy.gguf.{sha256(GGUF).hexdigest()[:16]}.part").write_bytes(GGUF + b"?")
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}


def test_a_damaged_body_is_refused(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF[:-1] + bytes([GGUF[-1] ^ 1]))
    catalogue = shelf(known("toy.gguf", GGUF))
    with pytest.raises(CascadeError, match=r"some/repo on the hub sent a damaged file .*sha256"):
        pull(catalogue, "toy")
    assert on_disk(catalogue) == {}
    server.hub("toy.gguf", GGUF)
    pull(catalogue, "toy")
    assert on_disk(catalogue) == {"toy.gguf": GGUF}


def test_a_body_damaged_on_its_way_is_refused_by_the_hub_s_own_checksum(
    server: Server, shelf: Shelf
) -> None:
    server.hub("toy.gguf", GGUF)
    server.headers = {"X-Linked-Etag": '"' + "0" * 64 + '"'}
    catalogue = shelf(File("toy.gguf"))
    with pytest.raises(CascadeError, match="damaged"):
        pull(catalogue, "toy")
    assert on_disk(catalogue) == {}


def test_a_file_of_another_size_is_not_even_fetched(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF + b"?")
    with pytest.raises(CascadeError, match=r"another toy\.gguf \(3,000,005 bytes instead of"):
        pull(shelf(known("toy.gguf", GGUF)), "toy")
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


def test_errors_of_the_server_are_tried_again(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF)
    server.broken = [503, 500]
    pull(shelf(known("toy.gguf", GGUF)), "toy")
    assert len(server.gets()) == 3


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ([503] * sources.ATTEMPTS, r"fails \(HTTP 503\)"),
        ([403], r"refuses \(HTTP 403\)"),
        ([401], r"wants a token \(HTTP 401\)"),
    ],
)
def test_a_server_that_will_not(server: Server, shelf: Shelf, faults: list[int], says: str) -> None:
    server.hub("toy.gguf", GGUF)
    server.broken = faults
    with pytest.raises(CascadeError, match=says):
        pull(shelf(known("toy.gguf", GGUF)), "toy")
    assert server.broken == []


def test_a_file_that_the_hub_does_not_have(shelf: Shelf) -> None:
    with pytest.raises(CascadeError, match=r"some/repo on the hub does not have it \(HTTP 404\)"):
        pull(shelf(), "toy")


def test_connections_that_bring_nothing_are_given_up(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF)
    server.cut = [0] * sources.ATTEMPTS
    with pytest.raises(CascadeError, match="cannot be reached"):
        pull(shelf(known("toy.gguf", GGUF)), "toy")
    assert server.cut == []


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
    monkeypatch.setattr("piper.download_voices.URL_FORMAT", NOWHERE + "/{voice_name}{extension}")
    with pytest.raises(CascadeError, match=f"^cannot fetch {re.escape(name)}: ") as raised:
        pull(shelf(), name)
    assert works in str(raised.value)
    assert "cannot be reached" in str(raised.value) and "\n" not in str(raised.value)
    assert raised.value.exit_code == 1


def test_offline_mode_is_respected(
    server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import close_session

    server.hub("toy.gguf", GGUF)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    close_session()
    try:
        with pytest.raises(CascadeError, match="cannot be reached"):
            pull(shelf(), "toy")
    finally:
        close_session()
    assert server.asked == []


# ---- the disk --------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_written(server: Server, shelf: Shelf, tmp_path: Path) -> None:
    server.hub("toy.gguf", GGUF)
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(CascadeError, match=r"cannot store toy in .*models: .*; make room"):
        pull(shelf(known("toy.gguf", GGUF)), "toy")


def test_a_disk_without_room(server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    server.hub("toy.gguf", GGUF)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_000_000))
    with pytest.raises(CascadeError, match="2 MB are free and 3 needed"):
        pull(shelf(known("toy.gguf", GGUF)), "toy")
    assert server.asked == []


def test_a_disk_that_fills_up_on_the_way(server: Server, shelf: Shelf) -> None:
    server.hub("toy.gguf", GGUF)
    catalogue = shelf(known("toy.gguf", GGUF))

    def full(file: str, done: int, total: int | None) -> None:
        if done:
            raise OSError(28, "No space left on device")

    with pytest.raises(CascadeError, match=r"cannot store toy .*No space left on device"):
        pull(catalogue, "toy", full)
    assert on_disk(catalogue) == {}


def test_of_two_at_once_the_second_uses_what_the_first_fetched(
    server: Server, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.hub("toy.gguf", GGUF)
    catalogue = shelf(known("toy.gguf", GGUF))
    (catalogue.downloads / ".cache").mkdir(parents=True)
    lock = FileLock(catalogue.downloads / ".cache" / "toy.lock")
    with lock, monkeypatch.context() as patch:
        patch.setattr(download, "PATIENCE_S", 0.1)
        with pytest.raises(CascadeError, match=r"another process .* for 0\.1 s"):
            pull(catalogue, "toy")
    lock.acquire()
    with ThreadPoolExecutor() as pool:
        second = pool.submit(pull, catalogue, "toy")
        folder = catalogue.downloads / "toy"
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
