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
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from figures import show_machine
from support.cli_child import HUMAN

from pipeline.audio.audible import onset
from pipeline.audio.files import WavWriter, read_audio
from pipeline.measure.wav import begin_of, stereo
from pipeline.turns.speech_end import end_of_speech

# isort: split
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RATE = 16_000
END = "end_of_speech_s"
CORPUS = ROOT / "tests/data/corpus"
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

WAYS = ("fast", "talk", "profile", "compare")


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of a recording: latency (ms), how wrong it is (ms), or why there is none."""

    ms: float | None
    off_ms: float | None = None
    why: str = ""

    def __str__(self) -> str:
        """As a cell of the table."""
        if self.ms is None:
            return self.why
        off = "" if self.off_ms is None else f" ({self.off_ms:+.0f})"
        return f"{self.ms:.0f}{off}"


@dataclass(frozen=True, slots=True)
class Recording:
    """One that is played; `end_s` is where its speech ends; None: as this checkout hears it."""

    name: str
    path: Path
    end_s: float | None


def mixtures(folder: Path) -> list[Recording]:
    """The sentence in all cells; those with real noise only where there is some."""
    with (CORPUS / "corpus.tsv").open(encoding="utf-8") as table:
        ends = {row["file"]: float(row[END]) for row in csv.DictReader(table, delimiter="\t")}
    voice = np.concatenate([*read_audio(CORPUS / SENTENCE, RATE)]).astype(np.float64)
    sentence = np.pad(voice / np.abs(voice).max() * 16_384, (0, int(TAIL_S * RATE)))
    spoken = sentence[: int(ends[SENTENCE] * RATE)]
    frames = np.square(spoken[: len(spoken) // 320 * 320]).reshape(-1, 320).mean(axis=1)
    level = np.sqrt(frames[frames > frames.max() / 1000].mean())
    made: list[Recording] = []
    for kind, snr, gain in CELLS:
        if kind == "real" and not REAL.exists():
            continue
        mixed = sentence
        if snr is not None:
            noise = _noise(kind, len(sentence))
            mixed = sentence + noise / np.sqrt(np.square(noise).mean()) * level / 10 ** (snr / 20)
        name = f"{kind}{'' if snr is None else f' {snr} dB'}{f', {gain} dB' if gain else ''}"
        path = folder / f"{len(made):02}.wav"
        samples = np.rint(mixed * 10 ** (gain / 20)).clip(-32768, 32767).astype(np.int16)
        with WavWriter(path, RATE) as wav:
            wav.write(samples)
        made.append(Recording(name, path, ends[SENTENCE]))
    return made


def _noise(kind: str, length: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if kind == "real":
        sound = np.concatenate([*read_audio(REAL, RATE)]).astype(np.float64)
        return np.resize(sound, length)
    white = np.random.default_rng(1).standard_normal(length)
    if kind == "white":
        return white
    hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20)
    return np.fft.irfft(np.fft.rfft(white) / np.sqrt(hertz), length)


def talk(cascade: Path, recordings: Sequence[Recording], folder: Path, *, fast: bool) -> list[Told]:
    """One conversation a recording, each timed by the line under its turn."""
    told = []
    for one in recordings:
        wav = folder / f"talk-{one.path.stem}-{fast}.wav"
        arguments = ["talk", "--input", str(one.path), "--output", str(folder / "reply.wav")]
        arguments += ["--record", str(wav), *(["--fast"] if fast else [])]
        lines = re.findall(r"voice-to-voice (-?\d+) ms", _run(cascade, arguments))
        if len(lines) > 1:
            told.append(Told(None, None, f"{len(lines)} turns"))
        else:
            told.append(_told(float(lines[0]) if lines else None, one, wav, "no reply"))
    return told


def batch(
    cascade: Path, recordings: Sequence[Recording], folder: Path, *, compare: bool
) -> list[Told]:
    """All recordings in one profile, or in one comparison with nobody."""
    out = folder / ("compare" if compare else "profile")
    key, lines = ("scenario", "conversations.jsonl") if compare else ("file", "records.jsonl")
    arguments = [out.name, *(str(one.path) for one in recordings), "--repeat", "1"]
    arguments += ["--path", "cascade"] if compare else []
    _run(cascade, [*arguments, "--reply-seconds", "0.5", "--out", str(out)])
    with (out / "turns.csv").open(encoding="utf-8", newline="") as file:
        rows = {row[key]: row for row in csv.DictReader(file) if row["repeat"] == "1"}
    records = map(json.loads, (out / lines).read_text("utf-8").splitlines()[1:])
    wavs = {record[key]: out / record["wav"] for record in records if record["repeat"] == 1}
    told = []
    for one in recordings:
        row = rows[one.path.name]
        latency = row["wav_voice_to_voice_ms"]
        ms = float(latency) if latency else None
        told.append(_told(ms, one, wavs[one.path.name], row["status"]))
    return told


def _told(ms: float | None, one: Recording, wav: Path, why: str) -> Told:
    """With the truth beside it, where the WAV has one reply after the known end."""
    if ms is None:
        return Told(None, None, why)
    left, right, rate = stereo(wav)
    if one.end_s is None:
        found = end_of_speech(left, rate)
        if found is None or not found.measurable:
            return Told(ms)
        end = found.end
    else:
        end = begin_of(one.path, left, rate) + round(one.end_s * rate)
    first: int | None = onset(right, rate)
    if first is None or first < end:
        return Told(ms, None)
    return Told(ms, ms - (first - end) * 1000 / rate)


def _run(cascade: Path, arguments: Sequence[str]) -> str:
    """What the command says on stderr; a warning of ours if it fails."""
    done = subprocess.run(
        [str(cascade), *arguments],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **os.environ},
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"bench: {arguments[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stderr


def spread(told: Sequence[Told]) -> str:
    """How far the errors lie apart, and how many cells there are."""
    wrong = [one.off_ms for one in told if one.off_ms is not None]
    if not wrong:
        numbers = [one.ms for one in told if one.ms is not None]
        return f"{max(numbers) - min(numbers):.0f}" if numbers else "-"
    return f"{min(wrong):+.0f} to {max(wrong):+.0f}"


def main() -> None:
    """Parse, play, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench room", description=__doc__)
    parser.add_argument("--cascade", type=Path, default=ROOT / ".venv/bin/cascade")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join(WAYS)}")
    parser.add_argument("--cells", default="", help="only those whose name has this in it")
    parser.add_argument("recordings", nargs="*", type=Path, help="instead of the mixtures")
    options = parser.parse_args()
    cascade = options.cascade.absolute()
    if cascade.is_dir():
        cascade = cascade / ".venv/bin/cascade"
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    show_machine()
    run: dict[str, Callable[[Path, Sequence[Recording], Path], list[Told]]] = {
        "fast": partial(talk, fast=True),
        "talk": partial(talk, fast=False),
        "profile": partial(batch, compare=False),
        "compare": partial(batch, compare=True),
    }
    ways = [way for way in WAYS if way in options.ways.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = [Recording(path.name, path.absolute(), None) for path in options.recordings]
        recordings = recordings or mixtures(folder)
        recordings = [one for one in recordings if options.cells in one.name]
        told = {way: run[way](cascade, recordings, folder) for way in ways}
    print("latency in ms (and by how much that is more than the true one)")
    heads = {"fast": "talk --fast"}
    print(f"{'':<20}" + "".join(f"{heads.get(way, way):>20}" for way in ways))
    for number, one in enumerate(recordings):
        print(f"{one.name:<20}" + "".join(f"{told[way][number]!s:>20}" for way in ways))
    print(f"{'error, or spread':<20}" + "".join(f"{spread(told[way]):>20}" for way in ways))


if __name__ == "__main__":
    main()
