"""What a run is provided with: the default models, or those that come with Cascade."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.local_hub import COMMIT, GGUF, Server, isolate, known, serve

from pipeline.config import Llm, Settings, Stt, Tts, Turns
from pipeline.errors import CascadeError
from pipeline.models import shelf
from pipeline.models.catalogue import Catalogue
from pipeline.models.model import Hub, Model

DEFAULTS = Settings(stt=Stt(), tts=Tts(), llm=Llm(), turns=Turns())


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as running:
        yield running


@pytest.fixture
def known_models(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Model]:
    """The real catalogue on an empty disk, its defaults replaced by toys of a small hub."""
    isolate(monkeypatch, tmp_path, server)
    real = Catalogue.load()
    toys = {}
    for name in ("tiny.en", "en_US-joe-medium", "smollm2-135m-instruct", "smart-turn-v3.2"):
        model = real.model(name)
        suffix = {"stt": "bin", "tts": "onnx", "llm": "gguf", "endpoint": "onnx"}[model.kind]
        file = known(f"{name}.{suffix}", b"WhisperSpec" + GGUF if model.kind == "stt" else GGUF)
        toys[name] = replace(model, files=(file,), sources=(Hub(f"some/{name}", COMMIT),))
    models = tuple(toys.get(model.name, model) for model in real.models)
    catalogue = Catalogue(models, real._home, tmp_path / "models")
    monkeypatch.setattr(shelf, "catalogue", lambda settings: catalogue)
    # What the checks of a model's first bytes want is another matter.
    monkeypatch.setattr("pipeline.models.catalogue.check", lambda kind, path: None)
    return toys


def offer(server: Server, model: Model) -> None:
    [file] = model.files
    data = b"WhisperSpec" + GGUF if model.kind == "stt" else GGUF
    server.hub(file.path, data, f"some/{model.name}")


def test_all_that_is_missing_is_fetched_once(
    server: Server, known_models: dict[str, Model]
) -> None:
    for model in known_models.values():
        offer(server, model)
    console = Console(file=io.StringIO())
    assert shelf.provide(DEFAULTS, console) == DEFAULTS
    asked = len(server.asked)
    assert asked
    assert shelf.provide(DEFAULTS, console) == DEFAULTS
    assert len(server.asked) == asked


def test_what_cannot_be_had_is_replaced_and_one_line_says_so(
    server: Server, known_models: dict[str, Model]
) -> None:
    offer(server, known_models["smollm2-135m-instruct"])
    said = io.StringIO()
    provided = shelf.provide(DEFAULTS, Console(file=said, width=300), instead=True)
    assert (provided.stt.model, provided.tts.voice) == ("whisper-mini-en", "en_US-mini")
    assert provided.turns == DEFAULTS.turns  # turns end without Smart Turn too
    [line] = [line for line in said.getvalue().splitlines() if "toys" in line]
    assert "tiny.en and en_US-joe-medium could not be fetched (some/tiny.en on the hub do" in line
    assert ": whisper-mini-en and en_US-mini, toys" in line


def test_who_measures_gets_what_was_named_or_an_error(
    server: Server, known_models: dict[str, Model]
) -> None:
    offer(server, known_models["smollm2-135m-instruct"])
    with pytest.raises(CascadeError, match=r"cannot fetch tiny\.en.*`--stt whisper-mini-en` works"):
        shelf.provide(DEFAULTS, Console(file=io.StringIO()))


def test_nothing_takes_the_place_of_the_language_model(known_models: dict[str, Model]) -> None:
    with pytest.raises(CascadeError, match="cannot fetch smollm2-135m-instruct"):
        shelf.provide(DEFAULTS, Console(file=io.StringIO()), instead=True)


def test_what_was_named_and_is_no_default_is_left_alone(
    server: Server, known_models: dict[str, Model]
) -> None:
    settings = Settings(
        stt=Stt(model="whisper-mini-en"),
        tts=Tts(voice="en_US-mini"),
        llm=Llm(model="http://127.0.0.1:9"),
        turns=Turns(predict=False),
    )
    assert shelf.provide(settings, Console(file=io.StringIO())) == settings
    assert not server.asked


def test_pulling_the_defaults_says_in_one_line_what_is_missing(
    server: Server, known_models: dict[str, Model], capfd: pytest.CaptureFixture[str]
) -> None:
    offer(server, known_models["tiny.en"])
    assert shelf.pull(DEFAULTS, []) == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert all(name in errors[0] for name in known_models if name != "tiny.en")
    for model in known_models.values():
        offer(server, model)
    assert shelf.pull(DEFAULTS, []) == 0
