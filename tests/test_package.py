"""The wheel built from this tree works where the tree is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, laid out as installing it does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `cascade` from the wheel, in an empty folder and home."""
    elsewhere = installed.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    environ = {"PATH": os.environ["PATH"], "HOME": str(elsewhere), "PYTHONPATH": str(installed)}
    if "SYSTEMROOT" in os.environ:
        environ["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        cwd=elsewhere,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_embedded_models_travel_in_it(installed: Path) -> None:
    done = run(installed, "models", "verify", "whisper-mini-en", "en_US-mini")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["whisper-mini-en: whole", "en_US-mini: whole"]


def test_it_is_the_wheel_that_answers(installed: Path) -> None:
    done = run(installed, "doctor", "--check", "models", "--json", "--llm", "http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "the first talk fetches it" in done.stdout  # its own disk is empty
    words = ("doctor", "--check", "models", "--json", "--llm", "http://127.0.0.1:9")
    done = run(installed, *words, "--stt", "whisper-mini-en", "--voice", "en_US-mini")
    assert done.returncode == 0, done.stderr
    assert str(installed / "pipeline" / "models" / "en_US-mini") in done.stdout


def test_it_holds_the_licence_and_the_command(installed: Path) -> None:
    [info] = installed.glob("*.dist-info")
    assert (info / "licenses" / "LICENSE").is_file()
    assert "cascade = pipeline.__main__:main" in (info / "entry_points.txt").read_text()


def test_every_dependency_is_pinned_with_hashes_and_without_addresses() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = (ROOT / "scripts/requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.M))
    wanted = {re.split(r"[\[<>=]", d)[0] for d in project["project"]["dependencies"]}
    assert wanted <= pinned
    for path in ROOT.glob("scripts/*.lock"):
        text = path.read_text()
        assert "://" not in text
        pins = re.findall(r"^[a-z0-9-]+==\S+.*?(?=^[a-z0-9-]+==|\Z)", text, re.M | re.S)
        assert pins
        assert all("--hash=sha256:" in pin for pin in pins)


def test_the_page_travels_in_it(installed: Path) -> None:
    own, built = (root / "pipeline" / "serve" / "page" for root in (ROOT, installed))
    names = sorted(path.name for path in own.iterdir())
    assert {"index.html", "main.js", "page.css"} <= set(names)
    assert sorted(path.name for path in built.iterdir()) == names


def test_so_is_every_package_of_the_javascript_client() -> None:
    lock = json.loads((ROOT / "tests/clients/package-lock.json").read_text())
    packages = [about for name, about in lock["packages"].items() if name]
    assert len(packages) > 10
    assert all(about["integrity"].startswith("sha512-") for about in packages)
    assert not [about for about in packages if "resolved" in about]


def test_the_page_on_serve_names_the_clients_that_are_tried() -> None:
    page = (ROOT / "pipeline/docs/serve.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\S+)` (?:for|of) .*?\| ([\d.]+) \|", page, re.M)
    script = json.loads((ROOT / "tests/clients/package-lock.json").read_text())["packages"]
    tried = {n.removeprefix("node_modules/"): about.get("version") for n, about in script.items()}
    pins = "".join(path.read_text() for path in ROOT.glob("scripts/*.lock"))
    tried |= dict(re.findall(r"^([a-z0-9-]+)==(\S+)", pins, re.M))
    assert len(rows) == 4
    assert [tried[name] for name, _ in rows] == [version for _, version in rows]
