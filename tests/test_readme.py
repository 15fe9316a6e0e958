"""What README.md and pipeline/docs say: links lead somewhere, commands and settings exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support.cli_child import HANG_S, QUICK, ROOT, run_here

import pipeline
from pipeline import cli
from pipeline.config import Settings
from pipeline.trace import PARTS

PAGES = (ROOT / "README.md", *sorted((ROOT / "pipeline" / "docs").glob("*.md")))

LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^cascade +(\w+)(.*)$", re.MULTILINE)
SETTING = re.compile(
    r"`((?:audio|vad|turns|stt|llm|reply|tts|conversation|serve)\.(?!csv|jsonl|md|py|wav)\w+)"
)
COSTS = {"first_token", "tokens"}
"""Of `--what-if`: no settings, but written like them."""


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_exists(page: Path) -> None:
    for key in SETTING.findall(page.read_text(encoding="utf-8")):
        section, name = key.split(".")
        assert name in COSTS | type(getattr(Settings(), section)).model_fields.keys(), key


def test_what_the_features_are_shown_by_exists() -> None:
    page = (ROOT / "pipeline" / "docs" / "features.md").read_text(encoding="utf-8")
    for line in page.splitlines():
        for name in re.findall(r"`((?:\w+/)*test_\w+\.py)`", line.partition("TODO")[0]):
            assert (ROOT / "tests" / name).exists(), name


def test_the_list_of_commands_is_whole() -> None:
    blocks = re.findall(r"```\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    (listed,) = [block for block in blocks if "cascade doctor" in block]
    there = typer.main.get_command(cli.app).commands
    assert {command for command, _ in COMMAND.findall(listed)} == there.keys()


def test_every_command_and_option_exists() -> None:
    used: dict[str, set[str]] = {}
    for page in PAGES:
        for command, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
            used.setdefault(command, set()).update(re.findall(r"--[a-z-]+", rest.split(" #")[0]))
    assert {"talk", "profile", "compare", "models"} <= used.keys()
    for command, options in used.items():
        told = run_here(command, "--help").out
        assert not {option for option in options if option not in told}, command


@pytest.mark.slow
def test_the_example_holds_a_conversation_as_it_is_printed(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGES[0].read_text(encoding="utf-8"), re.DOTALL)
    assert len(example.splitlines()) <= 20
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={**os.environ, **QUICK, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said, answered, *parts = done.stdout.splitlines()
    assert said == "user: What time does the museum leave?"
    assert answered.startswith("assistant: ")
    assert [line.split()[0] for line in parts[-7:]] == list(PARTS)
    assert (tmp_path / "reply.wav").stat().st_size > 10_000


def test_all_that_the_package_exports_is_there() -> None:
    for name in pipeline.__all__:
        assert getattr(pipeline, name) is not None
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = pipeline.nothing_such
