"""What is written for people, as text that is kept in `tests/data/pages`.

What a page says is read there, once, and not piece by piece in tests. `KEEP_PAGES=1 pytest
tests/test_pages.py` keeps what is written now: read the difference before you commit it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from rich.console import Console

PAGES = Path(__file__).parent.parent / "data" / "pages"

LINES = {"h2", "h3", "p", "li", "tr", "div", "dd", "figcaption", "figure", "summary"}
"""Elements that begin a line."""

UNREAD = {"script", "style", "svg", "caption", "nav", "pre"}


def check(name: str, text: str) -> None:
    """See that a text is the one that is kept under this name."""
    plain = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    if os.environ.get("KEEP_PAGES"):
        (PAGES / name).write_text(plain, encoding="utf-8")
    assert plain == (PAGES / name).read_text(encoding="utf-8")


def on_terminal(
    show: Callable[[Console, Any], None], found: Any, *, width: int = 80, encoding: str = "utf-8"
) -> str:
    """What `show` prints of it on a terminal of that width."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    show(Console(file=file, width=width, markup=False, highlight=False), found)
    file.flush()
    return raw.getvalue().decode(encoding)


class Read(HTMLParser):
    """The text of a report's sections: a line for each paragraph, item and row of a table."""

    def __init__(self, page: str, *, skip: tuple[str, ...] = ()) -> None:
        """Read a page, but for the sections named in `skip`."""
        super().__init__()
        self._skip = skip
        self._unread = 0
        self._inside = False
        self._lines: list[str] = []
        self.feed(page)

    @property
    def text(self) -> str:
        lines = (" ".join(line.split()) for line in self._lines)
        return "\n".join(line.strip(" |") for line in lines if line.strip(" |"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self._inside = dict(attrs)["data-name"] not in self._skip
        if tag in UNREAD:
            self._unread += 1
        elif tag in LINES:
            self._lines.append("")
        elif self._lines:
            self._lines[-1] += " | " if tag in ("td", "th") else " "

    def handle_endtag(self, tag: str) -> None:
        self._unread -= tag in UNREAD
        self._inside = self._inside and tag != "section"

    def handle_data(self, data: str) -> None:
        if self._inside and not self._unread and self._lines:
            self._lines[-1] += data
