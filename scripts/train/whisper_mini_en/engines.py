"""The free speech synthesisers that speak the training sentences, and their voices.

Debian packages: espeak-ng; flite; festival with festvox-us-slt-hts and festvox-kdlpc16k; and,
from Debian's non-free section, libttspico-utils (pico2wave).
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import soundfile as sf
from scipy.signal import resample_poly

from whisper_mini_en.utterances import SR, Samples

ESPEAK_LANGUAGES = [
    *["en-us"] * 5,
    *["en-gb"] * 3,
    *("en-gb-scotland", "en-029", "en-gb-x-rp", "en-us-nyc", "en-gb-x-gbcwmd"),
]
ESPEAK_VARIANTS = [
    *["m1", "m2", "m3", "m4", "m5", "m6", "m8", "f1", "f2", "f3", "f5", ""] * 3,
    *("klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "adam", "Alex", "Andrea"),
    *("Andy", "Annie", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david"),
    *("Denis", "Diogo", "ed", "edward", "edward2", "Gene", "Gene2", "gustave", "Henrique"),
    *("iven", "iven2", "iven3", "iven4", "Jacky", "john", "Lee", "marcelo", "Marco", "Mario"),
    *("max", "Michael", "michel", "miguel", "Mike", "Nguyen", "pablo", "paul", "pedro"),
    *("quincy", "rob", "robert", "steph", "steph2", "steph3", "travis", "victor", "anika"),
    *("grandpa", "grandma", "norbert", "sandro", "shelby"),
]
PROGRAM = {
    "espeak": "espeak-ng",
    "flite": "flite",
    "festival": "festival",
    "pico": "pico2wave",
}


class Voice(NamedTuple):
    """A voice of an engine.

    Attributes:
        engine: a key of `PROGRAM`.
        name: the engine's name for it; "" for any of eSpeak's languages and variants.
        weight: how often it is drawn, relative to the others.
    """

    engine: str
    name: str
    weight: int


SEEN = [
    Voice("espeak", "", 45),
    Voice("flite", "rms", 11),
    Voice("flite", "slt", 11),
    Voice("flite", "awb", 9),
    Voice("flite", "kal16", 4),
    Voice("festival", "cmu_us_slt_arctic_hts", 8),
    Voice("pico", "en-US", 12),
]
"""The voices of the training set."""
UNSEEN = [
    Voice("espeak", "en-us+f4", 1),
    Voice("espeak", "en-us+Alicia", 1),
    Voice("espeak", "en-gb+Hugo", 1),
    Voice("espeak", "en-us+linda", 1),
    Voice("espeak", "en-gb-x-rp+zac", 1),
    Voice("espeak", "en-gb-x-gbclan+m7", 1),
    Voice("festival", "ked_diphone", 3),
    Voice("pico", "en-GB", 3),
]
"""Voices that are never trained with."""


def installed(engine: str) -> bool:
    """Whether an engine's program is on the path."""
    return shutil.which(PROGRAM[engine]) is not None


def read(path: Path, factor: float) -> Samples:
    """An engine's WAV file at `SR`, as if recorded `factor` times too slow.

    Pitch and formants rise by the factor, and the utterance gets that much shorter.
    """
    x, rate = sf.read(path, dtype="float32", always_2d=True)
    up, down = SR, round(rate * factor / 50.0) * 50
    divisor = np.gcd(up, down)
    return resample_poly(x[:, 0], up // divisor, down // divisor).astype(np.float32)


def vary(r: Random, share: float = 0.6, low: float = 0.87, high: float = 1.15) -> float:
    """A factor for `read`: between the bounds for a share of the utterances, otherwise 1."""
    return r.uniform(low, high) if r.random() < share else 1.0


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=30)


def say_espeak(r: Random, text: str, voice: str, path: Path) -> tuple[str, Samples]:
    """Speak with eSpeak NG: random speed, pitch and gap, and a random voice if none is named."""
    if not voice:
        voice, variant = r.choice(ESPEAK_LANGUAGES), r.choice(ESPEAK_VARIANTS)
        voice += f"+{variant}" if variant else ""
    speed, pitch = str(r.randint(125, 205)), str(r.randint(20, 80))
    gap = ["-g", str(r.randint(1, 4))] if r.random() < 0.1 else []
    _run("espeak-ng", "-v", voice, "-s", speed, "-p", pitch, "-w", str(path), *gap, text)
    return voice, read(path, vary(r, 0.4, 0.9, 1.12))


def say_flite(r: Random, text: str, voice: str, path: Path) -> tuple[str, Samples]:
    """Speak with Flite: random speed, and random pitch where the voice has that setting."""
    factor = vary(r)
    settings = ["--setf", f"duration_stretch={r.uniform(0.8, 1.25) * factor:.2f}"]
    if voice == "kal16":
        settings += ["--setf", f"int_f0_target_mean={r.randint(80, 140)}"]
    _run("flite", "-voice", voice, *settings, "-t", text, "-o", str(path))
    return voice, read(path, factor)


def say_pico(r: Random, text: str, voice: str, path: Path) -> tuple[str, Samples]:
    """Speak with SVOX Pico: random speed and pitch."""
    speed, pitch = r.randint(75, 125), r.randint(75, 130)
    marked = f"<speed level='{speed}'><pitch level='{pitch}'>{text}</pitch></speed>"
    _run("pico2wave", "-l", voice, "-w", str(path), marked)
    return voice, read(path, vary(r, 0.5, 0.85, 1.12))


def say_festival(r: Random, texts: Sequence[str], voice: str, folder: Path) -> list[Samples]:
    """Speak with Festival, which starts slowly and so gets its sentences in one go.

    A sentence that it fails at gives no samples.
    """
    script = [f"(voice_{voice})"]
    for i, text in enumerate(texts):
        if voice.endswith("diphone"):
            script.append(f"(Parameter.set 'Duration_Stretch {r.uniform(0.85, 1.2):.2f})")
        spoken = f'(utt.synth (Utterance Text "{text}"))'
        script.append(f'(utt.save.wave {spoken} "{folder}/f{i}.wav" \'riff)')
    path = folder / "batch.scm"
    path.write_text("\n".join(script), encoding="utf-8")
    subprocess.run(["festival", "-b", str(path)], capture_output=True, timeout=300)
    out = []
    for i in range(len(texts)):
        wave = folder / f"f{i}.wav"
        if wave.exists():
            out.append(read(wave, vary(r)))
            wave.unlink()
        else:
            out.append(np.zeros(0, np.float32))
    return out


SAY = {"espeak": say_espeak, "flite": say_flite, "pico": say_pico}
"""The engines that speak one sentence at a time: -> name of the voice, samples."""
