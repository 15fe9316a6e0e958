"""How turns are taken, on this machine: `scripts/bench turns`.

Everything is measured in one run, with the real engines and the default models
(`CASCADE_STT__MODEL` and `CASCADE_TTS__VOICE` name others). Conversations are held on a private
sound server's devices, and timed there, from outside.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from figures import Aims, show_machine
from interruption import interruption
from orders import people
from studio import Studio
from support import endurance
from support.cli_child import HUMAN
from voices import voices

from pipeline.config import load

SECTIONS = ("orders", "voices", "interruption", "stability")

PEOPLE = HUMAN / "picovoice_orders"
"""Recordings of people, where no folder is named; without it there is no such section."""


def stability(aims: Aims, *, quick: bool) -> None:
    """A thousand turns of one session, in virtual time: hold it and print what it left.

    Args:
        aims: Takes what was aimed at.
        quick: A fifth of the turns.
    """
    print("one session for a thousand turns, in virtual time: pauses, interruptions, failures")
    report = endurance.hold(200 if quick else 1000)
    print(f"  {report}")
    aims.most("tasks and threads left after a long session", report.tasks + report.threads, 0)
    aims.most("turns without an end", len(report.unanswered), 0)
    aims.most("stuck states", len(report.stuck), 0)
    aims.most("memory grown", report.grown / 1000, 500, "kB")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench turns", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: a first look")
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; orders FOLDER"
    )
    options = parser.parse_intermixed_args()
    folders = [Path(word) for word in options.sections if word not in SECTIONS]
    if unknown := [str(folder) for folder in folders if not folder.is_dir()]:
        parser.error(f"no such section, or folder: {', '.join(unknown)}")
    sections = [word for word in options.sections if word in SECTIONS]
    show_machine()
    aims = Aims()
    for section in sections or SECTIONS:
        began = time.monotonic()
        if section == "interruption":
            with Studio() as studio:
                interruption(studio, aims, quick=options.quick)
        elif section == "orders":
            for folder in folders or [PEOPLE]:
                if folder.is_dir():
                    people(load(), aims, folder, quick=options.quick)
                else:
                    print(f" orders: skipped, there is no folder {folder}")
        elif section == "voices":
            voices(load(), quick=options.quick)
        else:
            stability(aims, quick=options.quick)
        print(f" {section}: {time.monotonic() - began:.0f} s")
    aims.show()


if __name__ == "__main__":
    main()
