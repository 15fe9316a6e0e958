"""How well languages are told apart: `scripts/bench languages FOLDER…`.

A folder's name begins with the code of what is spoken in it (`fr_CA_f_June`, as Asterisk's prompts
lie in /usr/share/asterisk/sounds after `apt-get install asterisk-core-sounds-fr-wav`), or it has a
`manifest.tsv` and is English. Each recording is heard alone, in a conversation that is in its
language already, and in one that is not; once where any language may be spoken, and once where only
those of the folders are.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import random
import statistics
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from figures import run_bench, show_machine
from sounds import listed

from pipeline.audio.files import read_audio
from pipeline.config import SttSettings
from pipeline.engines.whisper import RATE, Audio, Whisper, scaled, spoken_language, voiced_s
from pipeline.errors import BadInput
from pipeline.models.catalogue import Catalogue
from pipeline.text.language_names import code_of

BINS = (0.0, 0.75, 1.5, 3.0, 6.0)
"""Voice (s) from which on a line of the table counts."""

LEAST_S = 0.3
"""With less voice a prompt is a beep, or a click."""


def recordings(folder: Path) -> tuple[str, list[Path]]:
    """What is spoken in a folder, and its files."""
    if (folder / "manifest.tsv").is_file():
        return "en", [one.path for one in listed(folder) if one.said]
    return code_of(folder.name), sorted(folder.rglob("*.wav"))


def sounding(path: Path) -> Audio:
    """A recording as the recogniser takes it; nothing of one that is raw or has no sound."""
    try:
        return scaled(np.concatenate([*read_audio(path, RATE)]))
    except BadInput:
        return np.zeros(0, np.float32)


def main() -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--stt", default="base", help="a multilingual Whisper")
    parser.add_argument("--each", type=int, default=80, help="recordings of each folder")
    options = parser.parse_args()
    show_machine()
    found = Catalogue.load().resolve("stt", options.stt)
    whisper = Whisper(found.path, SttSettings(), short_windows=found.short_windows)
    whisper.warm()
    heard = []
    costs = []
    for folder in options.folders:
        language, paths = recordings(folder)
        random.Random(1).shuffle(paths)
        taken = 0
        for path in paths:
            audio = sounding(path)[: 30 * RATE]
            voice_s = voiced_s(audio) if len(audio) else 0.0
            if voice_s < LEAST_S or np.abs(audio).max() < 0.01 or taken == options.each:
                continue
            taken += 1
            encoded = whisper.encoded(audio)
            began = time.process_time()
            chances = whisper.chances(encoded)
            costs.append(time.process_time() - began)
            heard.append((language, voice_s, chances))
    among = sorted({language for language, _, _ in heard})
    print(f"{len(heard)} recordings; detection took {1000 * statistics.median(costs):.0f} ms each")
    print(
        "voice s   any, alone   stays   comes   of " + " ".join(among) + ", alone   stays   comes"
    )
    right: dict[float, list[list[bool]]] = defaultdict(list)
    wrong: dict[str, int] = defaultdict(int)
    for language, voice_s, chances in heard:
        other = next(code for code in (*among, "en", "de") if code != language)
        line = [
            spoken_language(chances, usual, voice_s, kept)[0] == language
            for kept in ((), among)
            for usual in ("", language, other)
        ]
        right[max(each for each in BINS if voice_s >= each)].append(line)
        wrong[language] += not line[0]
    for least in sorted(right):
        lines = right[least]
        counts = "   ".join(f"{sum(column):4d}" for column in zip(*lines, strict=True))
        print(f"from {least:4.2f}  {counts}   of {len(lines)}")
    print("any, alone, wrong: " + ", ".join(f"{code} {n}" for code, n in wrong.items()))


run_bench(main)
