"""Which paths of a comparison were simulated, and how everything says so. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.compare.record import Conversation
from pipeline.speech_to_speech.brief import STAMP

UNSTATED = "no published source"
"""Where the script of a simulated server names none."""


def titled(path: str, simulated: bool) -> str:
    """What a path is called wherever a person or a program reads of it."""
    return f"{path} [{STAMP}]" if simulated else path


def simulations(
    header: Mapping[str, Any], conversations: Iterable[Conversation]
) -> dict[str, dict[str, str]]:
    """The simulated paths, with the parameters that their servers told of themselves.

    A path is simulated if it was asked to be, or if the other end of any conversation was. The
    parameters are empty where no conversation came to be.
    """
    found: dict[str, dict[str, str]] = {
        path: {}
        for path, about in (header.get("variants") or {}).items()
        if isinstance(about, Mapping) and about.get("kind") == "simulated"
    }
    for one in conversations:
        if one.simulated or one.path.startswith("simulated:"):
            told = one.facts.get("simulated")
            plain = {k: str(v) for k, v in told.items()} if isinstance(told, Mapping) else {}
            found[one.path] = found.get(one.path) or plain
    return found


def source_of(simulation: Mapping[str, str]) -> str:
    """Where the latency of a simulated server was published."""
    return simulation.get("source") or UNSTATED
