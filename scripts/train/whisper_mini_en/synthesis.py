"""Synthesise the sentences of the grammar with free speech synthesisers.

From the folder above:

    python -m whisper_mini_en.synthesis OUT_DIR 28000 --split train --seed 1
    python -m whisper_mini_en.synthesis OUT_DIR 300 --split heldout --voices unseen --seed 2

The folder gets what `utterances` describes, silence trimmed.  An engine that is not installed
is left out, with a note.
"""

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import soundfile as sf

from whisper_mini_en.engines import PROGRAM, SAY, SEEN, UNSEEN, Voice, installed, say_festival
from whisper_mini_en.grammar import SPLITS, sentence
from whisper_mini_en.utterances import SR, Samples, Utterance, Writer

AT_ONCE = 400  # sentences, for the sake of engines that start slowly
SHORTEST, LONGEST = 0.15, 12.0  # seconds; what is outside went wrong
PEAK = 0.6


def trim(x: Samples, keep: float = 0.03) -> Samples:
    """Cut leading and trailing silence, leave `keep` seconds of it."""
    if len(x) == 0:
        return x
    level = np.abs(x)
    (loud,) = np.nonzero(level > 0.01 * level.max())
    if len(loud) == 0:
        return x[:0]
    margin = int(keep * SR)
    return x[max(0, loud[0] - margin) : loud[-1] + margin]


class Sentences:
    """Draws sentences of one split, each at most so often.

    Otherwise the few fixed sentences would crowd out the rest.
    """

    def __init__(self, r: Random, split: str, p_random: float) -> None:
        self.r, self.split, self.p_random = r, split, p_random
        self.most = 60 if split == "train" else 1
        self.drawn: Counter[str] = Counter()

    def draw(self) -> str:
        """The next sentence."""
        while True:
            text = sentence(self.r, self.split, self.p_random)
            if self.drawn[text] < self.most:
                self.drawn[text] += 1
                return text


def speak(r: Random, jobs: list[tuple[str, Voice]], folder: Path) -> Iterator[Utterance]:
    """Speak every sentence with its voice; what fails is left out, with a note.

    Args:
        r: the generator of speeds and pitches.
        jobs: sentences with their voices.
        folder: for files in between.
    """
    slow = dict.fromkeys(voice for _, voice in jobs if voice.engine == "festival")
    batches = {
        voice: iter(say_festival(r, [text for text, v in jobs if v == voice], voice.name, folder))
        for voice in slow
    }
    for text, voice in jobs:
        try:
            if voice in batches:
                name, audio = voice.name, next(batches[voice])
            else:
                name, audio = SAY[voice.engine](r, text, voice.name, folder / "u.wav")
        except (OSError, subprocess.SubprocessError, sf.SoundFileError) as problem:
            print(f"left out: {voice.engine} {voice.name}: {text}: {problem}", file=sys.stderr)
            continue
        audio = trim(audio)
        if SHORTEST * SR < len(audio) < LONGEST * SR:
            audio = audio * (PEAK / max(1e-6, np.abs(audio).max()))
            yield Utterance(audio, text, f"{voice.engine}:{name}")


def main() -> None:
    """Write utterances."""
    ap = argparse.ArgumentParser(description="Synthesise sentences of the grammar.")
    ap.add_argument("out", type=Path)
    ap.add_argument("n", type=int)
    ap.add_argument("--split", default="train", choices=SPLITS)
    ap.add_argument("--voices", default="seen", choices=["seen", "unseen"])
    ap.add_argument("--random", type=float, default=0.2, help="share of random word sequences")
    ap.add_argument("--seed", type=int, default=0)
    args = ap.parse_args()
    r = Random(args.seed)
    every = SEEN if args.voices == "seen" else UNSEEN
    voices = [voice for voice in every if installed(voice.engine)]
    for engine in dict.fromkeys(voice.engine for voice in every if voice not in voices):
        print(f"note: no {PROGRAM[engine]}, its voices are left out", file=sys.stderr)
    weights = [voice.weight for voice in voices]
    sentences = Sentences(r, args.split, args.random)
    done = 0
    with TemporaryDirectory() as folder, Writer(args.out) as writer:
        while done < args.n:
            jobs = [
                (sentences.draw(), r.choices(voices, weights)[0])
                for _ in range(min(AT_ONCE, args.n - done))
            ]
            for utterance in speak(r, jobs, Path(folder)):
                writer.write(utterance)
            done += len(jobs)
            print(f"{args.split} {done}/{args.n}", flush=True)


if __name__ == "__main__":
    main()
