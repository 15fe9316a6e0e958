"""What-if: the changes that can be asked for, and how they are written. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.errors import BadInput

Mode = Literal["speculative", "overlapped", "sequential"]

COSTS = {
    "stt": ("stt.start", "stt.final"),
    "llm.first_token": ("llm.request", "llm.first_token"),
    "llm.tokens": ("llm.first_token", "clause.first"),
    "tts": ("tts.start", "tts.first_audio"),
    "device": ("playout.first", "heard.first"),
}
"""What can be made to cost something else, and the marks around it. `llm.tokens` is the time from
one token to the next, which moves the first clause."""

WAITS = ("turns.hold_ms", "turns.provisional_ms")
"""Settings of time that can be changed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A changed cost: set to `value`, multiplied by it, or moved by it (ns)."""

    kind: Literal["set", "scale", "shift"]
    value: float

    def of(self, ns: int) -> int:
        """What took `ns` takes this now: never less than nothing."""
        if self.kind == "scale":
            changed = round(ns * self.value)
        else:
            changed = round(self.value) + (ns if self.kind == "shift" else 0)
        return max(changed, min(ns, 0))


@dataclass(frozen=True, slots=True)
class Change:
    """What is different.

    Attributes:
        costs: By name: those of `COSTS`, and of `WAITS`.
        mode: How the stages overlap; None: as recorded.
    """

    costs: Mapping[str, Cost] = field(default_factory=dict)
    mode: Mode | None = None


MODE = "reply.mode"
"""The setting of how stages overlap."""

LONGEST_S = 3600
LARGEST = 1000
"""A change beyond these is a slip of the hand."""

_COST = re.compile(r"(?P<sign>[+-]?)(?P<number>\d+(?:\.\d*)?|\.\d+)(?P<unit>ms|s|x|)", re.ASCII)
_HOW = "=200ms (set), =0.5x (multiply), =+300ms and =-50ms (move)"


def parse(spec: str) -> Change:
    """Read changes such as `llm.first_token=200ms,stt=0.5x,reply.mode=speculative`.

    Raises:
        BadInput: There is no such cost or setting, or it cannot be changed like that.
    """
    costs: dict[str, Cost] = {}
    mode: Mode | None = None
    seen: set[str] = set()
    for part in spec.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in (*COSTS, *WAITS, MODE):
            raise BadInput(_unknown(part.strip(), name))
        if not equals or not value:
            raise BadInput(f"--what-if {name}: says not what; {_allowed(name)}")
        if name in seen:
            raise BadInput(f"--what-if {spec}: changes {name} twice; once is enough")
        seen.add(name)
        if name == MODE:
            mode = _mode(value)
        else:
            costs[name] = _cost(name, value)
    return Change(costs, mode)


def _mode(value: str) -> Mode:
    for mode in get_args(Mode):
        if value == mode:
            known: Mode = mode
            return known
    raise BadInput(f"--what-if {MODE}={value}: {_allowed(MODE)}")


def _cost(name: str, value: str) -> Cost:
    match = _COST.fullmatch(value)
    # Only settings have a unit of their own.
    if match is None or (not match["unit"] and name not in WAITS):
        raise BadInput(f"--what-if {name}={value}: {_allowed(name)}")
    number = float(match["number"])
    if match["unit"] == "x":
        if match["sign"] or number > LARGEST:
            raise BadInput(f"--what-if {name}={value}: a factor is between 0 and {LARGEST}")
        return Cost("scale", number)
    ns = number * (NS_PER_S if match["unit"] == "s" else NS_PER_MS)
    if ns > LONGEST_S * NS_PER_S:
        raise BadInput(f"--what-if {name}={value}: is more than an hour")
    if not match["sign"]:
        return Cost("set", ns)
    return Cost("shift", -ns if match["sign"] == "-" else ns)


def _allowed(name: str) -> str:
    if name == MODE:
        return f"allowed: {' | '.join(get_args(Mode))}"
    return "allowed: " + f"{name}{_HOW}".replace(" =", f" {name}=")


def _unknown(part: str, name: str) -> str:
    names = (*COSTS, *WAITS, MODE)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return (
        f"--what-if {part!r}: there is no such thing to change{hint} "
        f"There are {', '.join(names)}; {_HOW}"
    )
