"""Sounds: read, made louder, and made from nothing: "mm-hm", a cough, a door that slams.

What is made is no word, different by its seed and the same for the same one. int16, mono, 16 kHz,
with no silence around it. Pitch, formants and lengths are those of the literature on people's
sounds, drawn from a range; they stand in for recordings, which would need a licence and be in other
rooms.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.audio.files import read_audio
from pipeline.errors import BadInput, CascadeError
from pipeline.events import Samples
from pipeline.measure.corpus import gather

RATE = 16_000
"""Samples per second (Hz) of everything here."""

Floats = npt.NDArray[np.float64]

LEVEL_DB = -23.0
"""RMS of a hum (dB re full scale): that of the development recordings, within 3 dB."""


def read(path: Path) -> Samples:
    """The sound of a file, 16 kHz; bare samples are taken to be that.

    Raises:
        BadInput: It is none.
    """
    if path.suffix in (".raw", ".pcm"):
        return np.fromfile(path, np.int16)
    return np.concatenate([*read_audio(path, RATE)])


def sounds_in(folder: Path) -> Iterator[tuple[Path, Samples]]:
    """The sounds of a folder, 16 kHz; what is none is left out."""
    for path in sorted(folder.iterdir()):
        try:
            sound = read(path)
        except BadInput:
            continue
        yield path, sound


@dataclass(frozen=True, slots=True)
class Listed:
    """A recording of a folder, not yet read.

    Attributes:
        path: Its file.
        name: Its path in the folder.
        said: What is said in it; empty where nobody tells, or nobody speaks.
        noise: Whether nobody speaks.
    """

    path: Path
    name: str
    said: str
    noise: bool = False


def listed(folder: Path) -> Iterator[Listed]:
    """The recordings of a folder: of its `manifest.tsv` (path, transcript, and maybe kind).

    Where it has none, they are those that `cascade profile` finds in it.

    Raises:
        BadInput: There is none.
    """
    manifest = folder / "manifest.tsv"
    if not manifest.is_file():
        for item in gather([folder]).items:
            yield Listed(item.path, item.name, item.text)
        return
    with manifest.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            name, noise = row["path"], row.get("kind") == "noise"
            if not name.startswith("rir"):  # rooms, not sounds
                yield Listed(folder / name, name, "" if noise else row["transcript"], noise)


def readable(recordings: Iterable[Listed]) -> Iterator[tuple[Listed, Samples]]:
    """Recordings with their sound; what cannot be read is told and left out."""
    for one in recordings:
        try:
            yield one, read(one.path)
        except (CascadeError, OSError, ValueError) as error:
            print(f"  not read: {error}".splitlines()[0])


def quiet(seconds: float, dbfs: float, draw: np.random.Generator) -> Samples:
    """Room noise: no digital silence, which no microphone gives."""
    noise = draw.normal(0, 32768 * 10 ** (dbfs / 20), int(seconds * RATE))
    return noise.round().astype(np.int16)


def hum(seed: int) -> Samples:
    """Two nasal syllables, the second one higher, with a breath between them: mm-hm.

    Nasal murmurs have a strong first formant near 250 Hz and weak ones near 1000 and 2200 Hz, with
    wide bands (Fujimura 1962, "Analysis of nasal consonants"); 400 to 500 ms in all.
    """
    draw = np.random.default_rng(seed)
    length = draw.uniform(0.40, 0.50)
    n = int(length * RATE)
    at = np.linspace(0, 1, n)
    base = draw.choice([draw.uniform(95, 140), draw.uniform(170, 230)])
    rise = draw.uniform(1.15, 1.45)
    pitch = base * np.interp(at, [0, 0.3, 0.45, 0.6, 0.8, 1], [1, 0.95, 0.95, rise, rise, 0.95])
    loudness = np.interp(
        at, [0, 0.1, 0.35, 0.43, 0.5, 0.6, 0.85, 1], [0, 0.8, 0.7, 0.12, 0.12, 1, 0.8, 0]
    )
    breath = np.interp(at, [0, 0.38, 0.43, 0.5, 0.56, 1], [0.01, 0.02, 0.25, 0.25, 0.02, 0.01])
    phase = np.cumsum(pitch * draw.normal(1, 0.008, n)) / RATE
    pulses = _glottis(phase % 1.0)
    source = pulses * loudness + breath * loudness.max() * draw.normal(0, 0.3, n)
    size, bright = draw.uniform(0.92, 1.12), draw.uniform(0.5, 3.0)
    formants = ((250, 60, 1.0), (1000, 150, 0.12 * bright), (2200, 250, 0.05 * bright))
    nasal = sum(gain * _resonate(source, f * size, width) for f, width, gain in formants)
    return to_level(np.asarray(nasal), LEVEL_DB)


def cough(seed: int) -> Samples:
    """A cough, or two: a burst of air, a noisy middle, and mostly a short voiced end.

    The three phases and their lengths: Korpáš et al. 1996, "Analysis of the cough sound".
    """
    draw = np.random.default_rng(seed)
    coughs = [_one_cough(draw)]
    if draw.random() < 0.4:
        coughs += [np.zeros(int(draw.uniform(0.12, 0.25) * RATE)), 0.8 * _one_cough(draw)]
    return to_level(np.concatenate(coughs), LEVEL_DB + 3)


def door(seed: int) -> Samples:
    """A door that slams: a click, a thump that dies away, and the rattle of what stands near."""
    draw = np.random.default_rng(seed)
    n = int(draw.uniform(0.35, 0.6) * RATE)
    t = np.arange(n) / RATE
    thump = sum(
        draw.uniform(0.5, 1) * np.sin(2 * np.pi * frequency * t) * np.exp(-t / decay)
        for frequency, decay in (
            (draw.uniform(45, 80), draw.uniform(0.06, 0.12)),
            (draw.uniform(90, 160), draw.uniform(0.04, 0.08)),
            (draw.uniform(200, 400), draw.uniform(0.015, 0.03)),
        )
    )
    rattle = _resonate(draw.normal(0, 1, n), draw.uniform(800, 1500), 600) * np.exp(-t / 0.03)
    sound = np.asarray(thump) + draw.uniform(0.2, 0.6) * rattle / np.abs(rattle).max()
    return to_level(sound, LEVEL_DB + 5)


def _one_cough(draw: np.random.Generator) -> Floats:
    """Burst, middle, voiced end."""
    burst, middle = draw.uniform(0.03, 0.06), draw.uniform(0.10, 0.20)
    voice = draw.uniform(0.05, 0.12) * (draw.random() < 0.7)
    n = int((burst + middle + voice) * RATE)
    t = np.arange(n) / RATE
    ends = [0, 0.004, burst, burst + 0.03, burst + middle, burst + middle + max(voice, 0.01)]
    loudness = np.interp(t, ends, [0, 1, 0.7, 0.3, 0.2, 0])
    phase = np.cumsum(draw.uniform(180, 320) * draw.normal(1, 0.03, n)) / RATE
    voicing = np.interp(t, ends, [0, 0, 0, 0.05, 0.5, 0.5])
    air = draw.normal(0, 1, n)
    source = loudness * air + voicing * _glottis(phase % 1.0)
    formants = ((650, 200, 1.0), (1400, 300, 0.6), (2700, 500, 0.35), (4200, 900, 0.2))
    size = draw.uniform(0.9, 1.15)
    throat = sum(gain * _resonate(source, f * size, width) for f, width, gain in formants)
    return np.asarray(throat) + 0.15 * loudness * air


def _glottis(phase: Floats) -> Floats:
    """The flow's slope at these phases (0 to 1): Rosenberg's pulse, open for six tenths."""
    opening, closing = 0.4, 0.2
    up = np.sin(np.pi * phase / opening) * (phase < opening)
    since = (phase - opening) / closing
    down = -2.0 * np.sin(np.pi * since / 2) * ((since >= 0) & (since < 1))
    return np.asarray(up + down)


def _resonate(source: Floats, frequency: float, width: float) -> Floats:
    """One formant (Hz): a resonator with two poles, with gain 1 at its peak, roughly."""
    radius = np.exp(-np.pi * width / RATE)
    a1, a2 = 2 * radius * np.cos(2 * np.pi * frequency / RATE), -(radius**2)
    # Its impulse response is a damped sine, so that no loop over samples is needed.
    n = int(RATE * 0.03 * max(1.0, 100 / width))
    k = np.arange(n)
    angle = 2 * np.pi * frequency / RATE
    response = radius**k * np.sin((k + 1) * angle) / np.sin(angle)
    gain = np.abs(1 - a1 * np.exp(-1j * angle) - a2 * np.exp(-2j * angle))
    return np.asarray(np.convolve(source, response)[: len(source)] * gain)


def to_level(sound: npt.NDArray[Any], db: float = LEVEL_DB) -> Samples:
    """A sound at an RMS of `db` (dBFS)."""
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=float))))
    return amplified(sound, db - 20 * np.log10(rms / 32768))


def amplified(sound: npt.NDArray[Any], gain_db: float) -> Samples:
    """A sound at another level; it clips where it becomes too loud."""
    louder = np.rint(sound * 10 ** (gain_db / 20))
    return np.clip(louder, -32768, 32767).astype(np.int16)
