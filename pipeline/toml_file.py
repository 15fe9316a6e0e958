"""TOML that people write by hand: read, or told what is wrong and where."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput


def read(path: Path, origin: str = "", hint: str = "") -> dict[str, Any]:
    """The tables that a file holds.

    Args:
        path: The file.
        origin: What named it, for errors: `--prices`; empty: that is plain.
        hint: What its writers often do not know of TOML, for errors.

    Raises:
        BadInput: It cannot be read, or is no TOML.
    """
    name = f"{origin} {path}".strip()
    try:
        # Windows editors begin a file with a byte order mark, which is not TOML.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{name}: is no text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{name}: is no TOML: {error}{hint and f'; {hint}'}") from None
