"""What is inside a report's file, as a browser finds it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

NAMESPACE = "http://www.w3.org/2000/svg"
"""The only address in a report; nothing is fetched from it."""


class Elements(HTMLParser):
    """Start tags of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def content(page: str) -> dict[str, Any]:
    """The data inside a page, as a browser finds it: up to the first end tag."""
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    loaded: dict[str, Any] = json.loads(found)
    return loaded


def sounds(page: str) -> dict[int, str]:
    found = re.findall(r'<script type="text/plain" id="sound-(\d+)">(.*?)</script>', page)
    return {int(number): text for number, text in found}
