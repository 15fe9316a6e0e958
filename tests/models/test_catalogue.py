"""What the catalogue knows, finds and refuses; on the embedded models and on small made-up ones."""

from __future__ import annotations

import json
import random
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from support.local_hub import COMMIT, known

from pipeline.errors import BadInput, CascadeError
from pipeline.models import catalogue as catalogue_module
from pipeline.models.catalogue import (
    KINDS,
    PIPER_VOICE,
    Catalogue,
    File,
    Hub,
    Kind,
    ModelEntry,
    Wheel,
    download_dir,
    piper_voice,
    write_fetched,
)

GGUF = b"GGUF" + random.Random(1).randbytes(5000)
WHISPER = b"\x06\0\0\0\x0c\0WhisperSpec\0" + random.Random(2).randbytes(3000)


def toy(name: str = "toy", kind: Kind = "llm", **fields: object) -> ModelEntry:
    files = (known("toy.gguf", GGUF),)
    given = {"files": files, "licence": "MIT", "languages": ("en",), "description": "a toy"}
    return ModelEntry(name=name, kind=kind, **{**given, **fields})  # type: ignore[arg-type]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty disk: no downloads of this user's, nothing in the hub's cache or the environment."""
    real = metadata.distribution

    def distribution(name: str) -> metadata.Distribution:
        if name.startswith("toy"):
            return real(name)
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        catalogue_module, "download_dir", lambda models_dir=None: models_dir or tmp_path / "default"
    )
    return tmp_path


def toys(disk: Path, *models: ModelEntry) -> Catalogue:
    return Catalogue(models or (toy(),), disk / "home", disk / "models")


def put(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


# ---- catalogue.toml --------------------------------------------------------------------------


def test_the_catalogue_is_consistent() -> None:
    models = Catalogue.load().models
    names = [model.name for model in models]
    assert len(set(names)) == len(names)
    for kind in KINDS:
        assert sum(model.default for model in models if model.kind == kind) == 1
    for model in models:
        assert model.licence and model.languages and model.description
        assert model.embedded != bool(model.sources)
        # Under a voice's own name there is that voice: its files are Piper's.
        if PIPER_VOICE.fullmatch(model.name):
            assert {f.path for f in piper_voice(model.name).files} < {f.path for f in model.files}
        model.entry(Path())
        for file in model.files:
            assert file.size and file.size > 0
            assert file.sha256 and re.fullmatch("[0-9a-f]{64}", file.sha256)
        for source in model.sources:
            if isinstance(source, Hub):
                assert source.revision and re.fullmatch("[0-9a-f]{40}", source.revision)


def test_the_defaults_can_be_had_without_the_hub() -> None:
    for model in map(Catalogue.load().default, KINDS):
        assert [type(source) for source in model.sources] == [Hub, Wheel]


def test_the_whisper_models_come_from_where_faster_whisper_gets_them() -> None:
    from faster_whisper.utils import _MODELS

    catalogue = Catalogue.load()
    names = [
        "tiny.en",
        "base.en",
        "small.en",
        "tiny",
        "base",
        "small",
        "distil-large-v3",
        "large-v3-turbo",
    ]
    for name in names:
        model = catalogue.model(name, "stt")
        first = model.sources[0]
        assert isinstance(first, Hub) and first.repo == _MODELS[name]
        assert {"model.bin", "config.json", "tokenizer.json"} < {file.path for file in model.files}
        assert model.languages == (("en",) if ".en" in name or "distil" in name else ("*",))
        assert not model.short_windows
    assert {m.name for m in catalogue.models if m.kind == "stt"} == {*names, "whisper-mini-en"}


def test_a_model_of_code_is_told_of_tools_in_words() -> None:
    assert [m.name for m in Catalogue.load().models if m.tools_in_words] == ["qwen2.5-coder-1.5b"]


def test_only_the_embedded_recogniser_takes_short_windows() -> None:
    assert [m.name for m in Catalogue.load().models if m.short_windows] == ["whisper-mini-en"]


def test_defaults() -> None:
    catalogue = Catalogue.load()
    assert [catalogue.default(kind).name for kind in KINDS] == [
        "tiny.en",
        "en_US-joe-medium",
        "smollm2-135m-instruct",
        "smart-turn-v3.2",
    ]
    assert [getattr(catalogue.embedded(kind), "name", None) for kind in KINDS] == [
        "whisper-mini-en",
        "en_US-mini",
        None,
        None,
    ]


def test_size_is_known_only_if_that_of_every_file_is() -> None:
    assert toy().size == len(GGUF)
    assert toy(files=(File("a", 1), File("b"))).size is None


# ---- the embedded models ---------------------------------------------------------------------


def test_the_embedded_models_are_whole_and_found(disk: Path) -> None:
    catalogue = Catalogue.load(disk)
    assert [catalogue.verify(m) for m in catalogue.models if m.embedded] == [[], []]
    stt = catalogue.resolve("stt", "whisper-mini-en")
    assert (stt.path / "model.bin").is_file()
    assert stt.model is not None and stt.model.short_windows
    tts = catalogue.resolve("tts", "en_US-mini")
    assert tts.path.name == "en_US-mini.onnx"
    assert catalogue.resolve("stt", "embedded") == stt
    assert catalogue.resolve("tts", "embedded") == tts
    assert catalogue.state(stt.model) == "embedded"


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_embedded_model_is_noticed(disk: Path, harm: str) -> None:
    real = Catalogue.load(disk)
    folder = shutil.copytree(
        real.resolve("stt", "whisper-mini-en").path, disk / "home" / "whisper-mini-en"
    )
    catalogue = Catalogue(real.models, disk / "home", disk / "models")
    model = catalogue.model("whisper-mini-en")
    assert catalogue.verify(model) == []
    weights = folder / "model.bin"
    data = bytearray(weights.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        weights.write_bytes(data)
    elif harm == "remove":
        weights.unlink()
    else:
        weights.write_bytes(data[: -1 if harm == "truncate" else 0])
    (problem,) = catalogue.verify(model)
    assert problem.startswith("model.bin ")
    if harm == "flip":  # a byte inside is for `verify` alone: reading all of it would take too long
        assert "sha256" in problem and catalogue.state(model) == "embedded"
    else:
        assert catalogue.state(model) == "damaged"
        with pytest.raises(BadInput, match=r"model\.bin .*install Cascade again"):
            catalogue.resolve("stt", "whisper-mini-en")


# ---- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("stt", "base.em", "unknown speech recogniser 'base.em': did you mean 'base.en'?"),
        ("stt", "turbo", "did you mean 'large-v3-turbo'?"),
        ("stt", "", "unknown speech recogniser ''"),
        ("llm", "smollm2", "did you mean 'smollm2-135m-instruct'?"),
        ("tts", "qqqqqq", "unknown voice 'qqqqqq': `cascade models list`"),
        ("stt", "en_US-mini", "'en_US-mini' is a voice, not a speech recogniser"),
        ("stt", "base.en", "base.en is not downloaded: run `cascade models pull base.en` (148 MB)"),
        ("tts", "en_US-amy-low", "not downloaded: run `cascade models pull en_US-amy-low`"),
        ("llm", "embedded", "run `cascade models pull smollm2-135m-instruct` (98 MB)"),
    ],
)
def test_names_that_cannot_be_used_say_what_to_do(
    disk: Path, kind: Kind, name: str, says: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(says)) as raised:
        Catalogue.load(disk / "models").resolve(kind, name)
    assert "\n" not in str(raised.value)


def test_a_name_wins_over_a_folder_of_the_same_spelling(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(disk)
    put(disk / "base.en", model__bin=WHISPER, tokenizer__json=b"{}")
    put(disk / "mine", model__bin=WHISPER, tokenizer__json=b"{}")
    catalogue = Catalogue.load(disk / "models")
    with pytest.raises(BadInput, match="not downloaded"):
        catalogue.resolve("stt", "base.en")
    assert catalogue.resolve("stt", "./base.en").name == "base.en"
    found = catalogue.resolve("stt", "mine")
    assert (found.name, found.path, found.model) == ("mine", Path("mine"), None)


def test_a_piper_voice_is_found_by_its_own_name(disk: Path) -> None:
    catalogue = Catalogue.load(disk / "models")
    source = catalogue.resolve("tts", "en_US-mini").path
    folder = put(disk / "models" / "pt_PT-tugão-medium")
    voice = Path(shutil.copy(source, folder / "pt_PT-tugão-medium.onnx"))
    shutil.copy(f"{source}.json", f"{voice}.json")
    found = catalogue.resolve("tts", "pt_PT-tugão-medium")
    assert found.path == voice
    assert found.model is not None and found.model.languages == ("pt",)
    assert found.model in catalogue.all()
    assert catalogue.verify(found.model) == []
    voice.write_bytes(b"")
    assert catalogue.verify(found.model) == ["pt_PT-tugão-medium.onnx is empty"]


@pytest.mark.parametrize(
    "name", ["en_US-a-../../b", "en_US-a-b/c", "en_US-lessac-medium.onnx", "x"]
)
def test_what_is_no_name_of_piper_s(name: str) -> None:
    assert not PIPER_VOICE.fullmatch(name)


# ---- where models lie ------------------------------------------------------------------------


def test_where_downloads_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert download_dir(tmp_path) == tmp_path
    assert download_dir() == Path(catalogue_module.__file__).resolve().parents[2] / "models"
    monkeypatch.setattr(catalogue_module, "_checkout", lambda: tmp_path / "no-checkout")
    monkeypatch.setattr(
        "platformdirs.user_data_path", lambda app, appauthor: tmp_path / f"user/{app}"
    )
    assert download_dir() == tmp_path / "user" / "cascade" / "models"


def test_an_installation_without_catalogue_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_module, "_checkout", lambda: tmp_path)
    with pytest.raises(CascadeError, match=r"catalogue\.toml is missing"):
        Catalogue.load()


def test_downloads_are_looked_for_here_then_in_the_usual_place(disk: Path) -> None:
    catalogue = toys(disk)
    model = catalogue.model("toy")
    assert catalogue.folder(model) is None and catalogue.state(model) == "absent"
    assert "cascade models pull toy" in catalogue.verify(model)[0]
    usual = put(disk / "default" / "toy", toy__gguf=GGUF)
    assert catalogue.folder(model) == usual and catalogue.state(model) == "on disk"
    here = put(disk / "models" / "toy", toy__gguf=GGUF)
    assert catalogue.resolve("llm", "toy").path == here / "toy.gguf"


def test_what_faster_whisper_left_in_the_hub_s_cache_is_used(disk: Path) -> None:
    model = toy(sources=(Hub("some/repo", COMMIT),))
    snapshot = disk / "hub" / "models--some--repo" / "snapshots" / COMMIT
    put(snapshot, toy__gguf=GGUF)
    assert toys(disk, model).resolve("llm", "toy").path == snapshot / "toy.gguf"
    other = toy(sources=(Hub("some/repo", COMMIT[::-1]),))
    assert toys(disk, other).folder(other) is None


def test_what_an_installed_package_holds_is_used(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = put(disk / "site" / "toy_package-1.2.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.2\n")
    put(disk / "site" / "toy_package", toy__gguf=GGUF)
    monkeypatch.syspath_prepend(str(disk / "site"))
    assert metadata.version("toy-package") == "1.2"
    model = toy(sources=(Wheel("toy-package", "1.2", "toy_package"),))
    assert toys(disk, model).state(model) == "on disk"
    newer = toy(sources=(Wheel("toy-package", "1.3", "toy_package"),))
    assert toys(disk, newer).state(newer) == "absent"


def test_a_default_that_is_not_here_is_one_that_may_be_fetched(disk: Path) -> None:
    catalogue = toys(disk, toy(default=True), toy("other"), toy("small", "tts", embedded=True))
    assert (
        catalogue.missing("llm", "toy") == catalogue.missing("llm", "embedded") == toy(default=True)
    )
    assert catalogue.missing("llm", "other") is None
    put(disk / "models" / "toy", toy__gguf=GGUF[:-1])  # half of one is none
    assert catalogue.missing("llm", "toy") == toy(default=True)
    put(disk / "models" / "toy", toy__gguf=GGUF)
    assert catalogue.missing("llm", "toy") is None


def test_half_a_model_is_not_taken_for_a_whole_one(disk: Path) -> None:
    model = toy(files=(known("toy.gguf", GGUF), known("more", b"more")))
    catalogue = toys(disk, model)
    put(disk / "models" / "toy", toy__gguf=GGUF)
    assert catalogue.state(model) == "damaged"
    with pytest.raises(BadInput, match="more is missing; run `cascade models pull toy`"):
        catalogue.resolve("llm", "toy")
    whole = put(disk / "default" / "toy", toy__gguf=GGUF, more=b"more")
    assert catalogue.folder(model) == whole


def test_what_the_first_fetch_recorded_is_held_against_the_files(disk: Path) -> None:
    model = toy(files=(File("toy.gguf"),))
    catalogue = toys(disk, model)
    folder = put(disk / "models" / "toy", toy__gguf=GGUF)
    assert catalogue.verify(model) == []  # nothing is known of it but that it is there
    write_fetched(folder, "somewhere", COMMIT, [known("toy.gguf", GGUF)])
    assert catalogue.verify(model) == []
    assert json.loads((folder / "fetched.json").read_text())["revision"] == COMMIT
    put(folder, toy__gguf=GGUF[:-1] + b"?" if GGUF[-1:] != b"?" else GGUF[:-1] + b"!")
    assert "sha256" in catalogue.verify(model)[0]
    put(folder, toy__gguf=GGUF[:-1])
    assert catalogue.verify(model) == ["toy.gguf has 5,003 bytes instead of 5,004"]
    (folder / "fetched.json").write_text("not json")
    assert catalogue.verify(model) == []


# ---- paths -----------------------------------------------------------------------------------


def resolve_path(kind: Kind, path: Path) -> str:
    """The complaint about a path."""
    with pytest.raises(BadInput) as raised:
        Catalogue.load().resolve(kind, str(path))
    assert "\n" not in str(raised.value) and raised.value.exit_code == 2
    return str(raised.value)


def test_whisper_folders(tmp_path: Path) -> None:
    folder = put(tmp_path / "w", config__json=b"{}", tokenizer__json=b"{}")
    assert "w: model.bin is missing" in resolve_path("stt", folder)
    put(folder, model__bin=b"")
    assert "model.bin is empty" in resolve_path("stt", folder)
    put(folder, model__bin=b"\x06\0\0\0\x10\0TransformerSpec\0" + bytes(100))
    assert "no Whisper model" in resolve_path("stt", folder)
    assert "is no folder" in resolve_path("stt", folder / "model.bin")
    assert "is no folder" in resolve_path("stt", tmp_path / "absent")
    put(folder, model__bin=WHISPER)
    found = Catalogue.load().resolve("stt", str(folder))
    assert (found.kind, found.name, found.path, found.model) == ("stt", "w", folder, None)
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in resolve_path("stt", folder)


def test_voices(tmp_path: Path) -> None:
    voice = put(tmp_path, v__onnx=b"onnx") / "v.onnx"
    assert "v.onnx.json is missing" in resolve_path("tts", voice)
    for config, complaint in ((b"{", "cannot be read"), (b"[]", "no configuration")):
        put(tmp_path, v__onnx__json=config)
        assert complaint in resolve_path("tts", voice)
    put(tmp_path, v__onnx__json=b'{"phoneme_id_map": {}}')
    assert Catalogue.load().resolve("tts", str(voice)).name == "v"
    put(tmp_path, v__onnx=b"")
    assert "v.onnx is empty" in resolve_path("tts", voice)
    assert "absent.onnx is missing" in resolve_path("tts", tmp_path / "absent.onnx")
    assert "is a folder; give the .onnx in it" in resolve_path("tts", tmp_path)


def test_gguf_files_and_endpoint_models(tmp_path: Path) -> None:
    put(tmp_path, good__gguf=GGUF, bad__gguf=b"<!DOCTYPE html>", turn__onnx=b"x")
    assert Catalogue.load().resolve("llm", str(tmp_path / "good.gguf")).name == "good"
    assert "letters GGUF" in resolve_path("llm", tmp_path / "bad.gguf")
    assert "give the .gguf in it" in resolve_path("llm", tmp_path)
    assert Catalogue.load().resolve("endpoint", str(tmp_path / "turn.onnx")).name == "turn"


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    put(tmp_path, good__gguf=GGUF)
    assert Catalogue.load().resolve("llm", "~/good.gguf").path == tmp_path / "good.gguf"
    assert Catalogue.load(Path("~/models")).downloads == tmp_path / "models"
