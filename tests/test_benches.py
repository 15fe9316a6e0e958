"""The benches say what they can do, and what is wrong with what they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_child import ROOT

BENCHES = ROOT / "scripts" / "benches"


def run(part: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BENCHES / f"{part}.py", *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("part", ["beside", "consent", "hear", "long", "people", "serve", "tools"])
def test_each_tells_what_it_takes(part: str) -> None:
    told = run(part, "--help")
    assert told.returncode == 0, told.stderr
    assert "usage:" in told.stdout


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_recordings_of_requests_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.md").write_text("No sound.")
    told = run("turns", "orders", tmp_path / name)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert f"bench: {tmp_path / name}: " in told.stderr
