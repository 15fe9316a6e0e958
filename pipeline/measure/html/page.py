"""A report's page: style, script, data and sound in one file that fetches nothing.

Its content security policy forbids everything that is not inside, so that no transcript can make
it do more than show text. What the data says is drawn by the script; markup comes from here alone.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.errors import StageError

SHARED = __package__


@dataclass(frozen=True, slots=True)
class Kit:
    """What draws one kind of report. Files are named as (package, file).

    Attributes:
        styles: Style sheets, in order.
        scripts: Parts of the script, in order; they share one scope.
    """

    styles: tuple[tuple[str, str], ...]
    scripts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What is on a page.

    Attributes:
        title: Plain text.
        content: What the script draws; anything that `plain` takes.
        main: Markup of the main part before the script ran; the caller has escaped what is in it.
        banner: Markup above everything, likewise.
        sounds: Base64 FLAC by number.
    """

    title: str
    content: Mapping[str, Any]
    main: str = ""
    banner: str = ""
    sounds: Mapping[int, str] = field(default_factory=dict)


def write(path: Path, kit: Kit, page: Page) -> Path:
    """Write a report; gives its path.

    Raises:
        StageError: Of stage `save`: the file cannot be written.
    """
    try:
        path.write_text(text(kit, page), encoding="utf-8")
    except OSError as error:
        raise StageError(
            "save", f"{path}: the report cannot be written: {error.strerror}"
        ) from None
    return path


def text(kit: Kit, page: Page) -> str:
    """The whole file."""
    style = "".join(_resource(*name) for name in kit.styles)
    parts = "\n".join(_resource(*name) for name in kit.scripts)
    script = f'(() => {{\n"use strict";\n{parts}}})();\n'
    values = {
        "title": html.escape(page.title),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "main": page.main,
        "banner": page.banner,
        "data": _json(page.content),
        "sounds": "\n".join(
            f'<script type="text/plain" id="sound-{number}">{flac}</script>'
            for number, flac in sorted(page.sounds.items())
        ),
    }
    # One pass, so that nothing in the data is taken for a place to fill.
    template = _resource(SHARED, "page.html")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: what is no finite number becomes None, what is unknown text."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Sequence):
        return [plain(inner) for inner in value]
    return str(value)


def _json(content: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element it stands in, whatever texts it holds."""
    found = json.dumps(plain(content), allow_nan=False, separators=(",", ":"))
    return found.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(content: str) -> str:
    """What a content security policy knows an inline element by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _resource(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
