"""How turns are taken, on this machine: `scripts/bench turns`.

Everything is measured in one run, with the real engines and the default models
(`CASCADE_STT__MODEL` and `CASCADE_TTS__VOICE` name others). Conversations are held on a private
sound server's devices, and timed there, from outside.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from figures import Aims, show_machine
from interruption import interruption
from latency import latency
from people import people
from stability import stability
from studio import ROOT, Studio
from support.cli_child import HUMAN
from voices import voices

from pipeline.config import load

DEVICES = {"latency": latency, "interruption": interruption}
"""What is measured on devices."""

SECTIONS = ("latency", "people", "voices", "interruption", "stability")

PEOPLE = HUMAN / "picovoice_orders"
"""Recordings of people, where no folder is named; without it there is no such section."""


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench turns", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="repetitions (default 1)")
    parser.add_argument("--quick", action="store_true", help="less of everything: a first look")
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; people FOLDER"
    )
    options = parser.parse_intermixed_args()
    folders = [Path(word).resolve() for word in options.sections if word not in SECTIONS]
    if unknown := [str(folder) for folder in folders if not folder.is_dir()]:
        parser.error(f"no such section, or folder: {', '.join(unknown)}")
    sections = [word for word in options.sections if word in SECTIONS]
    os.chdir(ROOT)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    rounds = 1 if options.quick else max(1, options.rounds)
    show_machine()
    aims = Aims()
    for section in sections or SECTIONS:
        began = time.monotonic()
        if section in DEVICES:
            with Studio() as studio:
                DEVICES[section](studio, aims, rounds, quick=options.quick)
        elif section == "people":
            for folder in folders or [PEOPLE]:
                if folder.is_dir():
                    people(load(), aims, folder, quick=options.quick)
                else:
                    print(f" people: skipped, there is no folder {folder}")
        elif section == "voices":
            voices(load(), quick=options.quick)
        else:
            stability(aims, rounds, quick=options.quick)
        print(f" {section}: {time.monotonic() - began:.0f} s")
    aims.show()


if __name__ == "__main__":
    main()
