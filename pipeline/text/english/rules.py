"""What the rules of a text are: patterns, and what is said for them."""

from __future__ import annotations

import re
from collections.abc import Callable

Rules = tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str] | str], ...]

NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
DASH = r"[-–−—]"


def words(text: str) -> frozenset[str]:
    """A set of words, for tables."""
    return frozenset(text.split())


def apply(rules: Rules, text: str) -> str:
    """The text with all rules applied, one after the other."""
    for pattern, said in rules:
        text = pattern.sub(said, text)
    return text
