"""What the tests of engines share: models on this disk, and people and voices to be recognised."""

from __future__ import annotations

import csv
import functools
import os
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.files import read_audio
from pipeline.audio.resample import resampled
from pipeline.config import SttSettings, WindowKind
from pipeline.engines.whisper import RATE, Audio, Whisper
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.models.catalogue import Catalogue, Kind
from support.cli_child import RECORDINGS, ROOT

MINI = ROOT / "models" / "whisper-mini-en"


def fetched(kind: Kind, name: str) -> Path:
    """A model that is not in the repository: `cascade models pull` fetches it."""
    try:
        return Catalogue.load().resolve(kind, name).path
    except BadInput as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@functools.cache
def mini_whisper(window: WindowKind = "auto") -> Whisper:
    """The embedded recogniser, loaded once for all tests of a process."""
    return Whisper(MINI, SttSettings(window=window), short_windows=True)


def as_audio(samples: Samples) -> Audio:
    """Samples as the recogniser takes them."""
    return samples.astype(np.float32) / np.float32(32768)


def sound(path: Path) -> Audio:
    """A recording at 16 kHz."""
    return as_audio(np.concatenate([*read_audio(path, RATE)]))


def development() -> list[tuple[Audio, str]]:
    """The development recordings, and what is said in them."""
    with (RECORDINGS / "dev.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [(sound(RECORDINGS / row["file"]), row["transcript"]) for row in rows]


def words(text: str) -> str:
    """A text in small letters, without punctuation: for comparing what was said and heard."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


def recognised(samples: Samples, rate: int, *, cut: bool = False) -> str:
    """What the embedded recogniser hears in a voice's sound, as `words`.

    Args:
        samples: The sound, without silence around it.
        rate: Its rate (Hz).
        cut: It ends in the middle of a word: the recogniser gets its 30 s, at ten times the work.
    """
    quiet = np.zeros(0 if cut else RATE // 2, np.float32)
    audio = np.concatenate([quiet, as_audio(resampled(samples, rate, RATE)), quiet])
    return words(mini_whisper("full" if cut else "auto").transcribe(audio).text)
