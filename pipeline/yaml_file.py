"""YAML that people write by hand: read and checked, or told what is wrong and where."""

from __future__ import annotations

import json
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.errors import BadInput

SUFFIXES = (".yaml", ".yml")
"""How the names of such files end."""


class _Loader(yaml.SafeLoader):
    """Leaves dates as they are written: a tool's arguments and results are JSON, which has none."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def shelf(package: str, folder: str) -> dict[str, Traversable]:
    """The files that come with Cascade in a package's folder, by their names without the suffix."""
    files = resources.files(package).joinpath(folder).iterdir()
    return {Path(one.name).stem: one for one in files if Path(one.name).suffix in SUFFIXES}


def read(path: Path, otherwise: str) -> dict[Any, Any]:
    """The mapping that a file holds.

    Args:
        path: The file.
        otherwise: What to say of a file that holds something else.

    Raises:
        BadInput: It cannot be read, is no YAML, or holds no mapping.
    """
    try:
        plain = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is no text in UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or "cannot be parsed"
        # PyYAML ends an unquoted text within {…} at a question mark.
        why += "; quote a text with a question mark within {…}" if why.endswith("'?'") else ""
        raise BadInput(f"{path}{where}: is no YAML: {why}") from None
    if not isinstance(plain, dict):
        raise BadInput(f"{path}: {otherwise}")
    return plain


def complaint(error: ValidationError) -> str:
    """The first thing that is wrong, with its place: `turns.2.expect.tool: …`."""
    problem = error.errors(include_url=False)[0]
    # Counted from 1, as a reader counts.
    place = ".".join(str(p + 1) if isinstance(p, int) else p for p in problem["loc"])
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        # What is left of a text such as {say: Stop, please}.
        hint = "; quote a text with a comma within {…}" if problem["input"] is None else ""
        return f"{place}: is not known here{hint}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{place}: is missing"
    why = problem["msg"].removeprefix("Value error, ")
    if not place:  # of the whole; the message names the part
        return why
    given = json.dumps(problem["input"], default=str)[:80]
    return f"{place}: {why[0].lower()}{why[1:]} (it is {given})"
