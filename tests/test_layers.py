"""Imports flow downward: no module imports one of a higher layer, and there is no cycle."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pipeline"

LAYERS = (
    "errors clock events",
    "config trace session toml_file yaml_file",
    "prompts pictures keyboard",
    "audio text",
    "terminal",
    "driver",
    "models",
    "engines",
    "tools",
    "turns",
    "conversation",
    "speech_to_speech",
    "measure",
    "serve",
    "doctor talk",
    "profile",
    "compare",
    "verify",
    "cli __main__ __init__",
)
"""From the bottom up; what stands in one line may import each other, if that makes no cycle."""

HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names.split()}


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """The modules of the package that each module imports, wherever in it."""
    paths = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, path in paths.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                whole = f"{node.module}."
                for alias in node.names:
                    inside = (whole + alias.name).removeprefix("pipeline.")
                    outside = whole.removeprefix("pipeline.").removesuffix(".")
                    if whole.startswith("pipeline."):
                        found[name].add(inside if inside in paths else outside)
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("pipeline") for alias in node.names), path
    return found


def height(name: str) -> int:
    """How high the layer of a module is."""
    return HEIGHT[name.split(".")[0]]


def test_nothing_imports_from_a_higher_layer(imports: dict[str, set[str]]) -> None:
    higher = {
        f"{name} imports {other}"
        for name, others in imports.items()
        for other in others
        if height(other) > height(name)
    }
    assert higher == set()


def test_there_is_no_cycle(imports: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
