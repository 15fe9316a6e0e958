"""A corpus from text: lines that a Piper voice speaks, kept so that each is spoken only once.

Where such a line ends is known to the sample, for there is nothing but silence after it.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np
import platformdirs

from pipeline.audio.audible import ending
from pipeline.audio.files import read_audio
from pipeline.config import Tts
from pipeline.engines.piper import Piper
from pipeline.engines.worker import Stop
from pipeline.errors import BadInput, StageError
from pipeline.events import Samples
from pipeline.measure.corpus import END, Item
from pipeline.models.catalogue import Found

LEAD_S = 0.4
"""Silence before a line: the turn-taker keeps 300 ms from before the first voice."""

TAIL_S = 0.3
"""Silence after it; when it is over, the virtual microphone goes on with more."""

FORMAT = 1
"""Part of a cached line's name: changes when the same text would be spoken otherwise."""

MANIFEST = "corpus.tsv"


def read_lines(path: Path) -> list[str]:
    """The lines to speak: one each, empty ones and those that begin with # left out.

    Raises:
        BadInput: It cannot be read, or has none.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise BadInput(f"--say {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"--say {path}: is no text in UTF-8") from None
    kept = [line for line in lines if line and not line.startswith("#")]
    if not kept:
        raise BadInput(f"--say {path}: has no line to speak; write one sentence a line")
    return kept


def say(
    lines: Sequence[str], voice: Found, settings: Tts, folder: Path | None = None
) -> list[Item]:
    """Speak lines with a Piper voice, or take what was spoken before.

    Args:
        lines: A sentence or two each.
        voice: Who speaks.
        settings: How: speed and volume.
        folder: Where spoken lines are kept; None takes the user's cache.

    Raises:
        BadInput: The voice cannot be loaded, or a line has no sound in it.
        StageError: The voice failed, or the disk does not take the sound.
    """
    folder = folder or platformdirs.user_cache_path("cascade", appauthor=False) / "say"
    who = _fingerprint(voice.path)
    piper: Piper | None = None
    items = []
    for number, line in enumerate(lines, start=1):
        path = folder / f"{_key(line, who, settings)}.flac"
        if not path.is_file():
            if piper is None:
                piper = Piper(voice.path, settings)
                piper.warm()
            _keep(path, _speak(piper, line), piper.rate)
        sound, rate = _sound(path)
        end = ending(sound, rate)
        assert end is not None
        name = f"{number:02}_{_slug(line)}.flac"
        items.append(Item(path, name, line, end / rate, len(sound) / rate))
    return items


def keep(items: Iterable[Item], folder: Path) -> Path:
    """Copy spoken lines into a folder of their own, with a manifest; gives the manifest.

    Raises:
        BadInput: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / MANIFEST).open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n")
            table.writerow(["file", "text", END])
            for item in items:
                shutil.copyfile(item.path, folder / item.name)
                table.writerow([item.name, item.text, f"{item.end_of_speech_s:.5f}"])
    except OSError as error:
        raise BadInput(f"--keep {folder}: cannot be written: {error.strerror}") from None
    return folder / MANIFEST


def _speak(piper: Piper, line: str) -> Samples:
    """A line between two silences."""
    pieces = [sound.samples for sound in piper.synthesize(line, Stop())]
    spoken = np.concatenate([*pieces, np.zeros(0, np.int16)])
    end = ending(spoken, piper.rate)
    if end is None:
        raise BadInput(f"--say: {line!r} has no sound in this voice; leave it out")
    lead, tail = (np.zeros(int(s * piper.rate), np.int16) for s in (LEAD_S, TAIL_S))
    # The voice's own silence hisses; nothing is to be heard after the end.
    return np.concatenate([lead, spoken[:end], tail])


def _keep(path: Path, samples: Samples, rate: int) -> None:
    """Write a FLAC file, all of it or nothing."""
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".flac", dir=path.parent)
        os.close(handle)
        part = Path(name)
        with av.open(name, "w", format="flac") as container:
            stream = container.add_stream("flac", rate=rate, layout="mono", format="s16")
            frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
            frame.rate = rate
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
        part.replace(path)
    except OSError as error:
        raise StageError("save", f"{path}: cannot be written: {error.strerror}") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _sound(path: Path) -> tuple[Samples, int]:
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
    return np.concatenate([*read_audio(path, rate)]), rate


def _fingerprint(voice: Path) -> str:
    """What a voice is, whatever its name: the sha256 of its two files."""
    config = voice.with_name(voice.name + ".json")
    digest = hashlib.sha256(voice.read_bytes())
    digest.update(config.read_bytes())
    return digest.hexdigest()


def _key(line: str, who: str, settings: Tts) -> str:
    what = [FORMAT, who, settings.speed, settings.volume, LEAD_S, TAIL_S, line]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def _slug(line: str) -> str:
    """A file's name from the first words of a line."""
    return re.sub(r"[^a-z0-9]+", "_", line.lower()).strip("_")[:40] or "line"
