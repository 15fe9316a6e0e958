"""Which of several paths is heard: what the keys mean, and how one fades into another. Pure."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.audio.playout import Gains

FADE_S = 0.010
"""One path fades into another over this long: shorter clicks, longer is heard as two voices."""

QUIT = "q"
NEXT = "\t "
"""Tab and space go on to the next path."""

MOST = 9
"""Paths that can be chosen between: each has a digit."""

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|O.?|.)?", re.DOTALL)
"""What arrows and function keys send; their letters are nobody's choice."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What keys have led to.

    Attributes:
        heard: Index of the path that is heard.
        quit: It is to end.
    """

    heard: int
    quit: bool = False


def choose(keys: str, heard: int, alive: Sequence[bool]) -> Choice:
    """What comes of keys that were pressed one after another.

    1 or a chooses the first path, 2 or b the second, and so on; a tab or a space the next one; q
    ends. What means nothing changes nothing, and nobody can choose a path that has failed.

    Args:
        keys: As the terminal sent them.
        heard: Index of the path that is heard now.
        alive: Of each path, whether it can be heard.
    """
    for key in _ESCAPE.sub("", keys).lower():
        if key == QUIT:
            return Choice(heard, quit=True)
        if key in NEXT:
            heard = following(heard, alive)
            continue
        chosen = -1
        if "1" <= key <= str(MOST):
            chosen = int(key) - 1
        elif key in string.ascii_lowercase[:MOST]:
            chosen = ord(key) - ord("a")
        if 0 <= chosen < len(alive) and alive[chosen]:
            heard = chosen
    return Choice(heard)


def following(heard: int, alive: Sequence[bool]) -> int:
    """The next path that can be heard; `heard` itself if there is no other."""
    for step in range(1, len(alive)):
        index = (heard + step) % len(alive)
        if alive[index]:
            return index
    return heard


class Crossfade:
    """How loud each path is, sample by sample. Together they are always 1, so nothing clips.

    Args:
        paths: How many there are; the first is heard.
        fade: How long a change takes (samples).
    """

    def __init__(self, paths: int, fade: int) -> None:
        self._fade = max(1, fade)
        self._heard = 0
        self._from = _only(0, paths)
        self._to = self._from
        self._done = self._fade

    def gains(self, heard: int, n: int) -> Sequence[Gains] | int:
        """Of the next `n` samples, in which path `heard` is to be heard.

        Returns:
            What each path's samples are multiplied by, in order; or, where nothing fades, which
            path alone is heard.
        """
        if heard != self._heard:
            self._from = self._now(self._done)
            self._to = _only(heard, len(self._to))
            self._heard = heard
            self._done = 0
        if self._done == self._fade:
            return heard
        along = np.minimum(np.arange(1, n + 1) + self._done, self._fade)
        self._done = min(self._fade, self._done + n)
        return [
            begin + (end - begin) * (along / self._fade)
            for begin, end in zip(self._from, self._to, strict=True)
        ]

    def _now(self, done: int) -> list[float]:
        share = done / self._fade
        return [a + (b - a) * share for a, b in zip(self._from, self._to, strict=True)]


def _only(index: int, paths: int) -> list[float]:
    return [float(path == index) for path in range(paths)]
