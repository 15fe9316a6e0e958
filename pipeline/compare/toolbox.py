"""The tools of a scenario: calls in, canned or scripted results out. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.compare.scenario import Instrumented, Response

FILLER = "All quiet on the shelf; nothing of interest in this line of the result. "
"""What a result is filled up with."""


class Toolbox:
    """Answers calls, each tool by its own list of responses."""

    def __init__(self, tools: Sequence[Instrumented]) -> None:
        """Begin a conversation, with every response still to be given."""
        self._left = {one.tool.name: list(one.responses) for one in tools}

    def answer(self, name: str, arguments: str) -> tuple[str, float]:
        """The result of a call, and how long the tool takes (s).

        A response is used up, save the last one that fits. What cannot be answered gets an error
        as its result, as a real tool would give.
        """
        if name not in self._left:
            return json.dumps({"error": f"there is no tool {name!r}"}), 0.0
        try:
            given = json.loads(arguments or "{}")
        except ValueError:
            given = None
        if not isinstance(given, dict):
            return json.dumps({"error": "the arguments are no JSON object"}), 0.0
        responses = self._left[name]
        fitting = [one for one in responses if agrees(one.when, given)]
        if not fitting:
            return json.dumps({"error": "nothing is known about that"}), 0.0
        if len(fitting) > 1:
            responses.remove(fitting[0])
        return text(fitting[0]), fitting[0].delay_s


def agrees(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether each wanted argument is given, equal but for case, space, and how a number is told.

    A text also agrees if all of its words are in the one that is given: "Paris" in "Paris, France".
    """
    return all(name in given and _equal(value, given[name]) for name, value in wanted.items())


def text(response: Response) -> str:
    """A response as a model reads it, filled up to its size."""
    given = response.give
    plain = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    missing = response.size - len(plain.encode())
    if missing <= 0:
        return plain
    filler = FILLER * (missing // len(FILLER) + 1)
    return f"{plain}\n{filler[: max(0, missing - 1)]}"


def _equal(wanted: Any, given: Any) -> bool:
    if isinstance(wanted, str) or isinstance(given, str):
        one, other = (" ".join(str(value).casefold().split()) for value in (wanted, given))
        try:
            return float(one) == float(other)
        except ValueError:
            words = set(other.replace(",", " ").split())
            return one == other or (bool(one) and set(one.replace(",", " ").split()) <= words)
    return bool(wanted == given)
