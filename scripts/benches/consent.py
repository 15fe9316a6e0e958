"""What people's answers to "May I use…?" lead to: `scripts/bench consent [FOLDER…]`.

The real engines hear each recording as the answer, in virtual time, and hear it once more where the
question is asked again. A folder has a `manifest.tsv` (path, transcript, and maybe kind), or, as
Speech Commands has it, a folder for each word; without one, sounds that are made here are heard.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sounds
from ears import FRAME, Conversation, Ears
from figures import run_bench, show_machine
from support import virtual_time

from pipeline.config import load
from pipeline.conversation.consent import allowed
from pipeline.engines.tools import Tool
from pipeline.events import Samples

TOOL = Tool("send_mail", "Sends a mail.", approved=False)
ARGUMENTS = {"to": "Anna"}

THOUGHT_S = 0.6
"""Who was asked answers so much later."""

ROOM_DBFS = -65.0
"""RMS of the room around an answer."""

LONGEST_S = 5.0
"""So much of a long recording is the answer."""

MADE = 30
"""So many hums, coughs and doors are made."""

YES, NO = ("yes",), ("no", "stop")
"""What is said in recordings whose meaning is known; of all others it is neither."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer led to.

    Attributes:
        may: Whether the call was allowed.
        asked: How often it was asked.
        heard: What was understood each time.
    """

    may: bool
    asked: int
    heard: tuple[str, ...]


def clips(folder: Path) -> Iterator[tuple[str, str, Samples]]:
    """What is said, the file, and its sound."""
    told = (folder / "manifest.tsv").is_file()
    for one, sound in sounds.readable(sounds.listed(folder)):
        said = "(a noise)" if one.noise else one.said if told else one.path.parent.name
        yield said.lower().rstrip("."), one.name, sound


def made() -> Iterator[tuple[str, str, Samples]]:
    """Sounds that are no words."""
    for make in (sounds.hum, sounds.cough, sounds.door):
        for seed in range(MADE):
            yield "(a noise)", f"{make.__name__} {seed}", make(seed)


def kind(said: str) -> str:
    """The line of the table that a recording counts in."""
    if said in (*YES, *NO, "(a noise)"):
        return said
    return {0: "(not transcribed)", 1: "another word"}.get(len(said.split()), "a sentence")


async def _ask(ears: Ears, sound: Samples) -> Answer:
    lines: list[str] = []
    heard: list[str] = []

    async def ask(line: str) -> str | None:
        lines.append(line)
        answer = await talk.session.ask(line)
        heard.append(answer or "")
        return answer

    draw = np.random.default_rng(0)
    thought = np.zeros(int(THOUGHT_S * sounds.RATE), np.int16)
    said, answers = np.zeros(0, np.int16), 0
    async with Conversation(ears, ears.settings, tools=[TOOL]) as talk:
        asking = asyncio.create_task(allowed(ask, TOOL.name, ARGUMENTS, "en"))
        while not asking.done():
            if talk.session.asks and answers < len(lines):
                answers, said = len(lines), np.concatenate([thought, sound])
            frame = sounds.quiet(FRAME / sounds.RATE, ROOM_DBFS, draw)
            frame[: min(len(said), FRAME)] += said[:FRAME]
            said = said[FRAME:]
            await talk.hear(frame)
    return Answer(asking.result(), len(lines), tuple(filter(None, heard)))


def show(found: Sequence[tuple[str, str, Answer]]) -> None:
    """The table, and what was wrongly taken."""
    print(f"\n{'said':<20}{'n':>5}{'allowed at once':>17}{'asked again':>13}{'not allowed':>13}")
    for name in (*YES, *NO, "another word", "a sentence", "(not transcribed)", "(a noise)"):
        group = [answer for said, _, answer in found if kind(said) == name]
        once = sum(one.may and one.asked == 1 for one in group)
        again = sum(one.may and one.asked > 1 for one in group)
        print(f"{name:<20}{len(group):>5}{once:>17}{again:>13}{len(group) - once - again:>13}")
    print("\nallowed, though nobody said yes; not allowed, though somebody did:")
    for said, path, answer in found:
        if answer.may != (said in YES):
            print(f"  {path} ({said}): {' / '.join(answer.heard) or 'nothing heard'}")


def main() -> None:
    """Ask, and print."""
    parser = argparse.ArgumentParser(prog="scripts/bench consent", description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="recordings")
    parser.add_argument("--all", action="store_true", help="prints every answer")
    options = parser.parse_args()
    show_machine()
    found = []
    with Ears(load()) as ears:
        heard = [clip for folder in options.folders for clip in clips(folder)] or [*made()]
        for said, path, sound in heard:
            short = sound[: int(LONGEST_S * sounds.RATE)]
            answer = virtual_time.run(_ask(ears, short))
            found.append((said, path, answer))
            if options.all:
                print(f"{path} ({said}): {answer}", flush=True)
    show(found)


run_bench(main)
