"""How turns are taken, on this machine: `scripts/bench turns`.

Everything is measured in one run, with the real engines and the default models
(`CASCADE_STT__MODEL` and `CASCADE_TTS__VOICE` name others). Conversations are held on a private
sound server's devices, and timed there, from outside.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from figures import Aims, run_bench, show_machine
from interruption import interruption
from orders import people
from studio import Studio
from support.cli_child import HUMAN
from voices import voices

from pipeline.config import load

SECTIONS = ("orders", "voices", "interruption")

PEOPLE = HUMAN / "picovoice_orders"
"""Recordings of people, where no folder is named; without it there is no such section."""


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench turns", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything: a first look")
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; orders FOLDER"
    )
    options = parser.parse_intermixed_args()
    folders = [Path(word) for word in options.sections if word not in SECTIONS]
    sections = [word for word in options.sections if word in SECTIONS]
    show_machine()
    aims = Aims()
    for section in sections or SECTIONS:
        began = time.monotonic()
        if section == "interruption":
            with Studio() as studio:
                interruption(studio, aims, quick=options.quick)
        elif section == "orders":
            if not folders and not PEOPLE.is_dir():
                print(f" orders: skipped, there is no folder {PEOPLE}")
                continue
            for folder in folders or [PEOPLE]:
                people(load(), aims, folder, quick=options.quick)
        else:
            voices(load(), quick=options.quick)
        print(f" {section}: {time.monotonic() - began:.0f} s")
    aims.show()


run_bench(main)
