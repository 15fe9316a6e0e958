"""The teacher: Festival with the HTS voice cmu_us_slt_arctic_hts.

It reads a corpus into a folder: ``NNNNN.wav`` (32 kHz) and ``NNNNN.lab`` (when each phone ends)
for line NNNNN of the corpus.
"""

import argparse
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf
from scipy.signal import resample_poly

from en_us_mini.features import SR, Array

VOICE = "cmu_us_slt_arctic_hts"
RATE = 32000  # Hz; what the voice gives
GAIN = 1.9  # the teacher's peaks are near 0.4
LEAD, TAIL = 0.08, 0.16  # silence kept around the speech, in seconds

SAY = f"""(voice_{VOICE})
(define (say file text)
  (set! utt (eval (list 'Utterance 'Text text)))
  (utt.synth utt)
  (utt.save.wave utt (string-append file ".wav"))
  (utt.save.segs utt (string-append file ".lab")))
"""


class Phone(NamedTuple):
    """One of the teacher's phones ("pau" is silence), with its times in seconds."""

    name: str
    start: float
    end: float


class Utterance(NamedTuple):
    """What the teacher said, without the silence beyond `LEAD` and `TAIL`.

    Attributes:
        audio: samples at `features.SR`, float64, at the student's level.
        phones: the phones without the outer silences; their times count from the recording's
            start.
        begin: where in the recording `audio` begins, in seconds.
        end: where it ends.
    """

    audio: Array
    phones: list[Phone]
    begin: float
    end: float


def say(corpus: Path, folder: Path) -> int:
    """Let the teacher read every line of a corpus; returns how many utterances there are.

    Raises:
        OSError: Festival is not installed.
        subprocess.CalledProcessError: Festival failed, for instance for want of the voice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.wav"), *folder.glob("*.lab")):  # perhaps of another corpus
        old.unlink()
    commands = [SAY]
    for i, line in enumerate(corpus.read_text(encoding="utf-8").splitlines()):
        text = line.strip().replace("\\", " ").replace('"', " ")
        # a sentence that Festival fails at is left out
        commands.append(f'(unwind-protect (say "{folder.resolve()}/{i:05d}" "{text}") nil)')
    script = folder / "say.scm"
    script.write_text("\n".join(commands) + "\n", encoding="utf-8")
    subprocess.run(["festival", "-b", str(script)], check=True)
    return len(list(folder.glob("*.wav")))


def recording(folder: Path, number: int) -> Array:
    """A whole utterance at `features.SR`.

    Raises:
        ValueError: the file's rate is not the voice's.
    """
    path = folder / f"{number:05d}.wav"
    x, rate = sf.read(path)
    if rate != RATE:
        raise ValueError(f"{path} has a rate of {rate} Hz, not {RATE}: not the voice {VOICE}")
    divisor = np.gcd(SR, RATE)
    return resample_poly(x, SR // divisor, RATE // divisor) * GAIN


def phones(folder: Path, number: int) -> list[Phone]:
    """All phones of an utterance, silences included."""
    found, start = [], 0.0
    for line in (folder / f"{number:05d}.lab").read_text().splitlines():
        fields = line.split()
        if len(fields) == 3:
            found.append(Phone(fields[2], start, float(fields[0])))
            start = found[-1].end
    return found


def utterance(folder: Path, number: int) -> Utterance | None:
    """An utterance with its phones; None if it does not begin and end with silence."""
    every = phones(folder, number)
    if len(every) < 3 or every[0].name != "pau" or every[-1].name != "pau":
        return None
    spoken = every[1:-1]
    audio = recording(folder, number)
    begin = max(0.0, spoken[0].start - LEAD)
    end = min(len(audio) / SR, spoken[-1].end + TAIL)
    cut = np.ascontiguousarray(audio[int(begin * SR) : int(end * SR)])
    return Utterance(cut, spoken, begin, end)


def main() -> None:
    """Read a corpus."""
    ap = argparse.ArgumentParser(description="Let the teacher read a corpus.")
    ap.add_argument("--corpus", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True, help="folder for the utterances")
    args = ap.parse_args()
    print(say(args.corpus, args.out), "utterances")


if __name__ == "__main__":
    main()
