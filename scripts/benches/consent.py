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
import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sounds
from ears import FRAME, Ears
from figures import show_machine
from support import virtual_time

from pipeline.config import load
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.consent import allowed
from pipeline.engines.tools import Tool
from pipeline.errors import CascadeError
from pipeline.events import Frame, ReplyAudio, Samples, Transcript
from pipeline.measure.recording import MemoryTrace

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
    """What is said, the file, and its sound; what cannot be read is told and left out."""
    manifest = folder / "manifest.tsv"
    if manifest.exists():
        with manifest.open(encoding="utf-8", newline="") as file:
            found = [
                ("(a noise)" if row["kind"] == "noise" else row["transcript"], row["path"])
                for row in csv.DictReader(file, delimiter="\t")
                if not row["path"].startswith("rir")  # rooms, not sounds
            ]
    else:
        found = [(p.parent.name, str(p.relative_to(folder))) for p in folder.glob("*/*.wav")]
    for said, path in sorted(found):
        try:
            yield said.lower().rstrip("."), path, sounds.read(folder / path)
        except (CascadeError, OSError, ValueError) as error:
            print(f"  not read: {error}".splitlines()[0])


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
    ears.begin()
    clock = virtual_time.VirtualClock()
    session = Cascade(ears, ears.settings, MemoryTrace(), clock, (), [TOOL])
    lines: list[str] = []
    heard: list[str] = []
    made: dict[str, int] = {}

    async def ask(line: str) -> str | None:
        lines.append(line)
        return await session.ask(line)

    async def read() -> None:
        async for event in session.events():
            match event:
                case ReplyAudio():
                    made[event.id] = made.get(event.id, 0) + len(event.frame.samples)
                case Transcript(final=True) if event.text:
                    heard.append(event.text)

    async def listen() -> None:
        played: Counter[str] = Counter()
        while True:
            await asyncio.sleep(0.02)
            for reply in list(made)[-1:]:
                played[reply] = min(played[reply] + 20, made[reply])
                await session.heard(reply, played[reply])

    draw = np.random.default_rng(0)
    thought = np.zeros(int(THOUGHT_S * sounds.RATE), np.int16)
    said, answers, at = np.zeros(0, np.int16), 0, 0
    async with session:
        tasks = [asyncio.create_task(each) for each in (read(), listen())]
        asking = asyncio.create_task(allowed(ask, TOOL.name, ARGUMENTS, "en"))
        while not asking.done():
            if session.asks and answers < len(lines):
                answers, said = len(lines), np.concatenate([thought, sound])
            frame = sounds.quiet(FRAME / sounds.RATE, ROOM_DBFS, draw)
            frame[: min(len(said), FRAME)] += said[:FRAME]
            said = said[FRAME:]
            captured = clock.now_ns()
            await asyncio.sleep(FRAME / sounds.RATE)
            await session.send(Frame(frame, sounds.RATE, at, captured))
            at += FRAME
        for task in tasks:
            task.cancel()
    return Answer(asking.result(), len(lines), tuple(heard))


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


if __name__ == "__main__":
    main()
