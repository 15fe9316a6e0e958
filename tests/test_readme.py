"""What README.md and pipeline/docs say: links lead somewhere, commands and settings exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.cli_child import ROOT, run

from pipeline.config import Settings

PAGES = (ROOT / "README.md", *sorted((ROOT / "pipeline" / "docs").glob("*.md")))

LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^cascade +(\w+)(.*)$", re.MULTILINE)
SETTING = re.compile(
    r"`((?:audio|vad|turns|stt|llm|reply|tts|conversation)\.(?!csv|jsonl|py|wav)\w+)"
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


def test_every_command_and_option_exists() -> None:
    used: dict[str, set[str]] = {}
    for page in PAGES:
        for command, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
            used.setdefault(command, set()).update(re.findall(r"--[a-z-]+", rest.split(" #")[0]))
    assert {"talk", "profile", "compare", "models"} <= used.keys()
    for command, options in used.items():
        told = run(command, "--help").out
        assert not {option for option in options if option not in told}, command
