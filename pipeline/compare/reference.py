"""Instructions of a stated length: the user's own, and a reference text that fills them up.

What decays with the length of the instructions is what a long prompt of a real service does: many
lines of policy that have nothing to do with the question. Such lines are made here, the same ones
every time, so that two runs of a comparison read the same. Pure.
"""

from __future__ import annotations

import random

from pipeline.errors import BadInput

LENGTHS = {"short": 0, "4k": 4_000, "16k": 16_000, "64k": 64_000}
"""Characters of the instructions, by the name of a length; `short` leaves them as they are."""

SEED = 7

PLACES = ("Norway", "Portugal", "Austria", "Ireland", "Estonia", "Chile", "Canada", "Japan")
GOODS = ("lamps", "chairs", "kettles", "blankets", "bicycles", "clocks", "tents", "mirrors")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")

HEADING = "\n\nReference, to be used only when a question is about orders:\n"


def lengthened(instructions: str, length: str) -> str:
    """Instructions of so many characters, the reference after the user's own.

    Raises:
        BadInput: There is no such length.
    """
    if length not in LENGTHS:
        raise BadInput(f"lengths: {length!r} is none; allowed: {', '.join(LENGTHS)}")
    room = LENGTHS[length] - len(instructions) - len(HEADING)
    return instructions if room <= 0 else instructions + HEADING + reference(room)


def reference(characters: int) -> str:
    """This many characters of an imaginary shop's rules."""
    draw = random.Random(SEED)
    lines: list[str] = []
    size = 0
    while size < characters:
        line = (
            f"Rule {len(lines) + 1}. Orders of {draw.choice(GOODS)} to {draw.choice(PLACES)} that "
            f"are placed before {draw.choice(DAYS)} leave within {draw.randint(2, 9)} days and "
            f"cost {draw.randint(3, 40)} euros of postage.\n"
        )
        lines.append(line)
        size += len(line)
    return "".join(lines)[:characters].rstrip()
