"""Whether the latency stays true in a room, from end to end: `scripts/bench room`.

One sentence, whose end is known, is mixed with noise at several signal-to-noise ratios and turned
down, and played to `talk` (with and without --fast), `profile` and `compare`. Each cell is the
latency that is told and, behind it, by how much that is wrong: the truth is when the reply begins
in the WAV, less where the sentence ends in the recording. The endpoint is a fixed hold of 500 ms,
so that what is left to vary is the detector's doubt, which is true, and the instrument's error.

`--cascade` measures another checkout, such as the one before a change.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from figures import run_bench, show_machine
from sounds import RATE, amplified, read
from support.cli_child import CORPUS, HUMAN, ROOT, cascade
from support.noise import Floats, level, noise

from pipeline.audio.audible import onset
from pipeline.audio.files import WavWriter
from pipeline.compare.record import CONVERSATIONS
from pipeline.measure.corpus import Item, gather
from pipeline.measure.instrument import stereo, true_end
from pipeline.measure.record import RECORDS

SENTENCE = "03_how_far_is_it_from_toronto_to_boston.flac"
REAL = HUMAN / "noise/sb_noise3.wav"
TAIL_S = 1.5
"""How long the noise goes on after the sentence (s)."""

CELLS = (
    ("clean", None, 0),
    *(("white", snr, 0) for snr in (40, 30, 20, 15, 5)),
    *(("pink", snr, 0) for snr in (20, 15)),
    *(("real", snr, 0) for snr in (20, 15)),
    *(("white", 30, gain) for gain in (-10, -20, -30)),
    ("white", 15, -30),
)
"""Noise, signal-to-noise ratio (dB), gain (dB)."""

ENVIRONMENT = {
    "CASCADE_TURNS__PREDICT": "false",
    "CASCADE_TURNS__HOLD_MS": "500",
    "CASCADE_LLM__MAX_TOKENS": "12",
}


Told = tuple[str, float | None]
"""What was told of a recording: latency and by how much it is wrong (ms), or why there is none; and
that error alone, where the truth is known."""


def mixtures(folder: Path) -> list[Item]:
    """The sentence in all cells; those with real noise only where there is some."""
    [item] = [item for item in gather([CORPUS]).items if item.name == SENTENCE]
    assert item.end_of_speech_s is not None
    voice = read(item.path).astype(np.float64)
    sentence = np.pad(voice / np.abs(voice).max() * 16_384, (0, int(TAIL_S * RATE)))
    loud = level(sentence[: int(item.end_of_speech_s * RATE)])
    made: list[Item] = []
    for kind, snr, gain in CELLS:
        if kind == "real" and not REAL.exists():
            continue
        mixed = sentence
        if snr is not None:
            mixed = sentence + _noise(kind, len(sentence)) * loud / 10 ** (snr / 20)
        name = f"{kind}{'' if snr is None else f' {snr} dB'}{f', {gain} dB' if gain else ''}"
        path = folder / f"{len(made):02}.wav"
        with WavWriter(path, RATE) as wav:
            wav.write(amplified(mixed, gain))
        made.append(Item(path, name, end_of_speech_s=item.end_of_speech_s))
    return made


def _noise(kind: str, length: int) -> Floats:
    """Noise of power 1."""
    if kind != "real":
        return noise(kind, length)
    sound = np.resize(read(REAL), length).astype(np.float64)
    return np.asarray(sound / np.sqrt(np.mean(sound**2)))


def talk(tree: Path, recordings: Sequence[Item], folder: Path, *, fast: bool) -> list[Told]:
    """One conversation a recording, each timed by the line under its turn."""
    told = []
    for one in recordings:
        wav = folder / f"talk-{one.path.stem}-{fast}.wav"
        arguments = ["talk", "--input", str(one.path), "--output", str(folder / "reply.wav")]
        arguments += ["--record", str(wav), *(["--fast"] if fast else [])]
        lines = re.findall(r"voice-to-voice (-?\d+) ms", _run(tree, arguments))
        ms = float(lines[0]) if len(lines) == 1 else None
        told.append(_told(ms, one, wav, f"{len(lines)} turns"))
    return told


def batch(tree: Path, recordings: Sequence[Item], folder: Path, *, compare: bool) -> list[Told]:
    """All recordings in one profile, or in one comparison with nobody."""
    out = folder / ("compare" if compare else "profile")
    arguments = [out.name, *(str(one.path) for one in recordings), "--repeat", "1"]
    arguments += ["--path", "cascade"] if compare else []
    _run(tree, [*arguments, "--reply-seconds", "0.5", "--out", str(out)])
    if compare:
        held = CONVERSATIONS.read(out / CONVERSATIONS.name)[1]
        found = {one.scenario: one.turns[0].record for one in held if one.repeat}
    else:
        found = {one.file: one for one in RECORDS.read(out / RECORDS.name)[1] if one.repeat}
    told = []
    for one in recordings:
        record = found[one.path.name]
        ns = record.wav_voice_to_voice_ns
        ms = None if ns is None else ns / 1e6
        told.append(_told(ms, one, out / record.wav, record.status))
    return told


def _told(ms: float | None, one: Item, wav: Path, why: str) -> Told:
    """With the truth beside it, where the WAV has one reply after the known end."""
    if ms is None:
        return why, None
    left, right, rate = stereo(wav)
    _, end = true_end(left, rate, one.path, one.end_of_speech_s)
    first = onset(right, rate)
    if first is None or first < end:
        return f"{ms:.0f}", None
    off = ms - (first - end) * 1000 / rate
    return f"{ms:.0f} ({off:+.0f})", off


def _run(tree: Path, arguments: Sequence[str]) -> str:
    """What the command says on stderr; a warning of ours if it fails."""
    done = subprocess.run(
        cascade(*arguments),
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **os.environ, "PYTHONPATH": str(tree)},
        cwd=CORPUS,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"bench: {arguments[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stderr


def spread(told: Sequence[Told]) -> str:
    """The smallest and the largest error."""
    wrong = [off for _, off in told if off is not None]
    return f"{min(wrong):+.0f} to {max(wrong):+.0f}" if wrong else "-"


def main() -> None:
    """Parse, play, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench room", description=__doc__)
    parser.add_argument("--cascade", type=Path, default=ROOT, help="another checkout")
    parser.add_argument("--cells", default="", help="only those whose name has this in it")
    options = parser.parse_args()
    tree = options.cascade.absolute()
    show_machine()
    ways: dict[str, Callable[[Path, Sequence[Item], Path], list[Told]]] = {
        "talk --fast": partial(talk, fast=True),
        "talk": partial(talk, fast=False),
        "profile": partial(batch, compare=False),
        "compare": partial(batch, compare=True),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = [one for one in mixtures(folder) if options.cells in one.name]
        told = {way: run(tree, recordings, folder) for way, run in ways.items()}
    print("latency in ms (and by how much that is more than the true one)")
    print(f"{'':<20}" + "".join(f"{way:>20}" for way in ways))
    for number, one in enumerate(recordings):
        print(f"{one.name:<20}" + "".join(f"{told[way][number][0]:>20}" for way in ways))
    print(f"{'error':<20}" + "".join(f"{spread(told[way]):>20}" for way in ways))


run_bench(main)
