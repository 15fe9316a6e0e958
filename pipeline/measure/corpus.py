"""What a profile plays: recordings from folders and manifests, and text that a Piper voice speaks.

Every recording is decoded once before anything is timed. One that cannot be used is left out and
told of; the others are played. What a voice has spoken is kept, so that each line is spoken once;
where such a line ends is known to the sample, for there is nothing but silence after it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np
import platformdirs

from pipeline.audio.audible import ending, is_audible
from pipeline.audio.files import check_audio, read_audio
from pipeline.audio.line import RATE
from pipeline.config import TtsSettings
from pipeline.engines.piper import Piper
from pipeline.engines.worker import Stop
from pipeline.errors import BadInput, StageError
from pipeline.events import Samples
from pipeline.models.catalogue import Found

MANIFESTS = {".csv": ",", ".tsv": "\t"}
"""Suffixes of manifests, and what parts their columns."""

SOUND = {
    *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka"),
    *(".mp2", ".mp3", ".oga", ".ogg", ".opus", ".spx", ".w64", ".wav", ".weba", ".wma", ".wv"),
}
"""Suffixes of files in a folder that are meant to be sound: one that cannot be read is told of. Of
any other file, such as a video, the sound is taken if there is some."""

LEAD_S = 0.4
"""Silence before a line: the turn-taker keeps 300 ms from before the first voice."""

TAIL_S = 0.3
"""Silence after it; when it is over, the virtual microphone goes on with more."""

FORMAT = 1
"""Part of a cached line's name: changes when the same text would be spoken otherwise."""

MANIFEST = "corpus.tsv"

BLOCK = 4096
"""Samples that are encoded at a time."""

TEXTS = ("text", "transcript")
END = "end_of_speech_s"


@dataclass(frozen=True, slots=True)
class Item:
    """One recording.

    Attributes:
        path: The sound file.
        name: What reports call it: its path relative to the corpus.
        text: What is said in it; empty if the corpus does not tell.
        end_of_speech_s: Where the speech ends in it (s), as labelled; None: to be detected.
        seconds: How long it is (s).
    """

    path: Path
    name: str
    text: str = ""
    end_of_speech_s: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Corpus:
    """Recordings that can be played, and what is wrong with those that cannot."""

    items: tuple[Item, ...]
    problems: tuple[str, ...] = field(default=())


def gather(sources: Sequence[Path], more: Iterable[Item] = ()) -> Corpus:
    """Find and check all recordings.

    Args:
        sources: Folders, manifests and sound files. A folder with manifests in it is what these
            name; any other is all sound in it and in its folders.
        more: Items that come from elsewhere.

    Raises:
        BadInput: A source is missing, a manifest is none, or nothing can be played.
    """
    listed = [*more]
    problems: list[str] = []
    for source in sources:
        for found in _listed(source):
            listed += [found] if isinstance(found, Item) else []
            problems += [found] if isinstance(found, str) else []
    items: list[Item] = []
    for item in listed:
        try:
            items.append(checked(item))
        except BadInput as error:
            problems.append(str(error))
    if not items:
        where = ", ".join(map(str, sources)) or "the corpus"
        detail = f": {problems[0]}" if problems else ""
        count = f" ({len(problems)} cannot be used)" if len(problems) > 1 else ""
        raise BadInput(f"{where}: no recording to play{count}{detail}")
    return Corpus(tuple(_named_apart(items)), tuple(problems))


def checked(item: Item) -> Item:
    """The item with its length.

    Raises:
        BadInput: It cannot be decoded, is silent throughout, or its label is outside of it.
    """
    samples = np.concatenate([*read_audio(item.path, RATE), np.zeros(0, np.int16)])
    seconds = len(samples) / RATE
    if not samples.any():
        raise BadInput(f"{item.path}: nothing is audible in it; record it louder")
    label = item.end_of_speech_s
    if label is not None and not 0 < label <= seconds:
        raise BadInput(
            f"{item.path}: {END} is {label:g}, and it lasts {seconds:.2f} s; correct the manifest"
        )
    return replace(item, seconds=seconds)


def _listed(source: Path) -> Iterator[Item | str]:
    """What a source names, not yet decoded; a text is a problem."""
    if source.is_dir():
        manifests = [p for p in sorted(source.iterdir()) if p.suffix.lower() in MANIFESTS]
        if manifests:
            for manifest in manifests:
                yield from _from_manifest(manifest)
            return
        for path in _sounds(source):
            yield Item(path, path.relative_to(source).as_posix())
    elif source.suffix.lower() in MANIFESTS:
        yield from _from_manifest(source)
    else:
        check_audio(source)
        yield Item(source, source.name)


def _sounds(folder: Path) -> Iterator[Path]:
    """The sound files in a folder and its folders, readable or not; hidden ones left out."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.is_dir() or any(part.startswith(".") for part in inside):
            continue
        if path.suffix.lower() not in SOUND:
            try:
                check_audio(path)
            except BadInput:
                continue
        yield path


def _from_manifest(manifest: Path) -> Iterator[Item | str]:
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, delimiter=MANIFESTS[manifest.suffix.lower()])
            columns = table.fieldnames or []
            if "file" not in columns:
                raise BadInput(
                    f"{manifest}: has no column `file`; a manifest has the columns file, text, "
                    f"{END}, of which the last two may be missing"
                )
            rows = [(table.line_num, row) for row in table]
    except OSError as error:
        raise BadInput(f"{manifest}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{manifest}: is no table in UTF-8: {error}") from None
    for number, row in rows:
        yield _row(manifest, number, row)


def _row(manifest: Path, number: int, row: Mapping[str, str | None]) -> Item | str:
    """The item of one line, or what is wrong with it."""
    where = f"{manifest}, line {number}"
    name = (row["file"] or "").strip()
    if not name:
        return f"{where}: names no file"
    path = manifest.parent / name
    if not path.is_file():
        return f"{where}: there is no file {path}"
    text = next((row[column] for column in TEXTS if row.get(column)), None) or ""
    stated = (row.get(END) or "").strip()
    try:
        label = float(stated) if stated else None
    except ValueError:
        label = math.nan
    if label is not None and not math.isfinite(label):
        return f"{where}: {END} is {stated!r}; it is seconds from the beginning of the file"
    return Item(path, name, text.strip(), label)


def _named_apart(items: Sequence[Item]) -> Iterator[Item]:
    """The items, each with a name of its own: its folder's before it, or a number behind it."""
    taken: set[str] = set()
    for item in items:
        name = item.name
        if name in taken:
            name = f"{item.path.resolve().parent.name}/{re.sub('^.*/', '', name)}"
        name = apart(name, taken)
        taken.add(name)
        yield replace(item, name=name)


def apart(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it if it is taken."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in taken)


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


def say(lines: Sequence[str], voice: Found, settings: TtsSettings) -> list[Item]:
    """Speak lines with a Piper voice, or take what was spoken before.

    Args:
        lines: A sentence or two each.
        voice: Who speaks.
        settings: How: at which speed.

    Raises:
        BadInput: The voice cannot be loaded, or a line has no sound in it.
        StageError: The voice failed, or the disk does not take the sound.
    """
    folder = _shelf()
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


def at_level(path: Path, level_db: float) -> Path:
    """A recording made louder or softer by so many dB; kept as spoken lines are.

    Raises:
        BadInput: It cannot be read, would be clipped, or would not be audible any more.
        StageError: The disk does not take the sound.
    """
    if not level_db:
        return path
    sound, rate = _sound(path)
    digest = hashlib.sha256(sound.tobytes()).hexdigest()[:16]
    made = _shelf() / f"{path.stem}_{level_db:+g}dB_{digest}.flac"
    if not made.is_file():
        scaled = np.rint(sound * 10 ** (level_db / 20))
        peak = float(np.abs(scaled).max(initial=0))
        if peak > 32767:
            raise BadInput(f"{path}: {level_db:+g} dB louder it would be clipped; lower `level`")
        if not is_audible(scaled.astype(np.int16)):
            raise BadInput(f"{path}: nothing is audible in it at {level_db:+g} dB; raise `level`")
        _keep(made, scaled.astype(np.int16), rate)
    return made


def silence(seconds: float) -> Path:
    """A recording of nothing, kept as spoken lines are.

    Raises:
        StageError: The disk does not take it.
    """
    made = _shelf() / f"silence_{seconds:g}s.flac"
    if not made.is_file():
        _keep(made, np.zeros(round(seconds * RATE), np.int16), RATE)
    return made


def is_own(recording: Path) -> bool:
    """Whether a recording is the user's own: none that was made here."""
    return recording.parent != _shelf()


def _shelf() -> Path:
    """Where sound is kept that was made here: in the user's cache."""
    return platformdirs.user_cache_path("cascade", appauthor=False) / "say"


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
        part = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(flac(samples[:, np.newaxis], rate))
        part.replace(path)
    except OSError as error:
        raise StageError("save", f"{path}: cannot be written: {error.strerror}") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def flac(samples: Samples, rate: int) -> bytes:
    """Sound, a row for each sample of one or two channels, as a FLAC file."""
    file, layout = io.BytesIO(), "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate, layout=layout, format="s16")
        for start in range(0, len(samples), BLOCK):
            block = np.ascontiguousarray(samples[start : start + BLOCK]).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
            frame.sample_rate = rate
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _sound(path: Path) -> tuple[Samples, int]:
    check_audio(path)
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
    return np.concatenate([*read_audio(path, rate)]), rate


def _fingerprint(voice: Path) -> str:
    """What a voice is, whatever its name: the sha256 of its two files."""
    config = voice.with_name(voice.name + ".json")
    digest = hashlib.sha256(voice.read_bytes())
    digest.update(config.read_bytes())
    return digest.hexdigest()


def _key(line: str, who: str, settings: TtsSettings) -> str:
    what = [FORMAT, who, settings.speed, LEAD_S, TAIL_S, line]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def _slug(line: str) -> str:
    """A file's name from the first words of a line."""
    return re.sub(r"[^a-z0-9]+", "_", line.lower()).strip("_")[:40] or "line"
