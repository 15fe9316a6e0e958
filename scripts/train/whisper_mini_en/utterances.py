"""Synthesised utterances on disk.

A folder with ``audio.i16`` (all utterances one after another, 16 kHz, mono, int16) and
``meta.tsv`` (offset, samples, voice, text).
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SR = 16000  # Hz
RECORDINGS = ("file", "transcript", "voice")  # columns of a list of recordings


class Utterance(NamedTuple):
    """One utterance.

    Attributes:
        audio: samples at `SR`, -1 to 1.
        text: what is said.
        voice: ``engine:voice``.
    """

    audio: Samples
    text: str
    voice: str


class Corpus:
    """A folder of utterances, read from disk as they are asked for.

    Args:
        folder: as `Writer` makes it.
    """

    def __init__(self, folder: Path) -> None:
        self.samples = np.memmap(folder / "audio.i16", dtype=np.int16, mode="r")
        lines = (folder / "meta.tsv").read_text(encoding="utf-8").splitlines()
        self.items = [line.split("\t") for line in lines]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Utterance:
        offset, count, voice, text = self.items[i]
        audio = self.samples[int(offset) : int(offset) + int(count)]
        return Utterance(audio.astype(np.float32) / 32768.0, text, voice)

    def __iter__(self) -> Iterator[Utterance]:
        return (self[i] for i in range(len(self)))


class Writer:
    """Writes a folder of utterances; a context manager.  What was in the folder is replaced."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.audio = (folder / "audio.i16").open("wb")
        self.meta = (folder / "meta.tsv").open("w", encoding="utf-8")
        self.offset = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.audio.close()
        self.meta.close()

    def write(self, utterance: Utterance) -> None:
        """Add an utterance."""
        audio, text, voice = utterance
        self.audio.write((audio * 32767).astype(np.int16).tobytes())
        self.meta.write(f"{self.offset}\t{len(audio)}\t{voice}\t{text}\n")
        self.offset += len(audio)


def read_recordings(path: Path) -> list[Utterance]:
    """The recordings that a TSV file lists, with the columns `RECORDINGS`.

    Raises:
        ValueError: a recording is not at `SR`.
    """
    found = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        name, text, voice = line.split("\t")
        audio, rate = sf.read(path.parent / name, dtype="float32")
        if rate != SR:
            raise ValueError(f"{path.parent / name} has a rate of {rate} Hz; it must be {SR}")
        found.append(Utterance(audio, text, voice))
    return found
