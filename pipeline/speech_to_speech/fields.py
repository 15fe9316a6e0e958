"""What JSON of a server's holds. Pure; nothing in it is trusted to be there, or to be what it is.

Servers leave out what they may, send null for it, and add what is not known yet: a field that is
not what it should be counts as none.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any


def text_in(data: object, *names: str) -> str:
    """The first of these fields that is a text and not empty; empty if there is none."""
    for name in names:
        value = data.get(name) if isinstance(data, Mapping) else None
        if value and isinstance(value, str):
            return value
    return ""


def mapping(data: object, name: str) -> Mapping[str, Any]:
    """An object in an object; empty where there is none."""
    value = data.get(name) if isinstance(data, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def listed(data: object, name: str) -> list[Any]:
    """A list in an object; empty where there is none."""
    value = data.get(name) if isinstance(data, Mapping) else None
    return value if isinstance(value, list) else []


def count(data: object, *names: str) -> int:
    """A number in an object, or in objects in it; 0 where there is none."""
    for name in names:
        data = data.get(name) if isinstance(data, Mapping) else None
    return data if isinstance(data, int) else 0


def sound_in(data: object) -> bytes | None:
    """The bytes of a sound in base64, of either alphabet; None if it is none."""
    try:
        text = data.translate(_STANDARD) if isinstance(data, str) else None
        return None if text is None else base64.b64decode(text, validate=True)
    except ValueError:
        return None


_STANDARD = str.maketrans("-_", "+/")
