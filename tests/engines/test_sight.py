"""Pictures and models: what a server is sent, and what a model is told that does not see."""

from __future__ import annotations

import base64
import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.llm_server import Answer, LlmServer, Request, refusing, reply, status
from support.cli_child import require_models
from support.llm_client import client, take
from support.pictures import drawn
from support.projector import projector_of_noise

from pipeline.config import LlmSettings
from pipeline.engines.chat_stream import Used
from pipeline.engines.llama import LocalServer, projector
from pipeline.engines.llm import ChatModel, Piece
from pipeline.engines.sight import NOTE, refuses_pictures, without_pictures
from pipeline.engines.tools import Prompt, Tool
from pipeline.errors import StageError
from pipeline.models.catalogue import Catalogue

PNG = drawn(np.random.default_rng(1).integers(0, 255, (60, 80, 3), np.uint8))
URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
SHOWN = {
    "role": "user",
    "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": URL}},
    ],
}
SAID = {"role": "user", "content": f"What is this? {NOTE}"}
ANSWER = ["A square."]


def words(pieces: list[Piece]) -> list[Piece]:
    return [piece for piece in pieces if isinstance(piece, str)]


async def test_a_model_that_sees_gets_the_very_bytes() -> None:
    def look(request: Request) -> Answer:
        [_, shown] = request.body["messages"][0]["content"]
        data = base64.b64decode(shown["image_url"]["url"].partition(",")[2])
        return reply(*ANSWER) if data == PNG else status(400, "another picture")

    async with LlmServer(look) as server, client(server.url) as model:
        assert words(await take(model, prompt=[SHOWN])) == ANSWER
        assert model.sees is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (500, "image input is not supported - hint: if this is unexpected, you may need to "
              "provide the mmproj"),
        (400, "smol is not a multimodal model"),
        (400, "At most 0 image(s) may be provided in one prompt."),
        (400, "Invalid content type. image_url is only supported by certain models."),
        (404, "No endpoints found that support image input"),
        (500, "this model is missing data required for image input"),
        (422, "unknown variant `image_url`, expected `text`"),
        (400, "messages[0].content must be a string"),
        (400, "Bad request"),
    ],
)  # fmt: skip
async def test_one_that_does_not_see_answers_all_the_same(code: int, said: str) -> None:
    def answer(request: Request) -> Answer:
        has_picture = isinstance(request.body["messages"][0]["content"], list)
        return status(code, said) if has_picture else reply(*ANSWER)

    async with LlmServer(otherwise=answer) as server, client(server.url) as model:
        assert words(await take(model, prompt=[SHOWN])) == ANSWER
        assert model.sees is False
        assert server.requests[-1].body["messages"] == [SAID]
        # From now on it is not asked in vain.
        asked = len(server.requests)
        assert words(await take(model.at(1), prompt=[SHOWN])) == ANSWER
        assert len(server.requests) == asked + 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (400, "the request exceeds the available context size"),
        (400, "At most 1 image(s) may be provided in one prompt."),
        (400, "Failed to load image or audio file"),
        (400, "Invalid image format: webp is not supported"),
        (413, "image too large"),
        (503, "busy"),
    ],
)
async def test_what_is_refused_for_another_reason_fails(code: int, said: str) -> None:
    def answer(request: Request) -> Answer:
        has_picture = isinstance(request.body["messages"][0]["content"], list)
        return status(code, said) if has_picture else reply(*ANSWER)

    async with LlmServer(otherwise=answer) as server, client(server.url) as model:
        with pytest.raises(StageError, match=re.escape(said[:20])):
            await take(model, prompt=[SHOWN])
        assert model.sees is None


async def test_tools_that_are_refused_are_not_the_pictures_fault() -> None:
    refused = refusing("tools", otherwise=reply(*ANSWER))
    prompt = Prompt([SHOWN], [Tool("look")])
    async with LlmServer(otherwise=refused) as server, client(server.url) as model:
        assert words(await take(model, prompt=prompt)) == ANSWER
        assert model.sees is None
        # They are told in words, beside the picture.
        told = server.requests[-1].body
        assert "tools" not in told and told["messages"][-1] == SHOWN


def test_a_prompt_keeps_what_it_brings() -> None:
    prompt = Prompt([{"role": "system", "content": "x"}, SHOWN], [Tool("f")], choice="required")
    blind: Any = without_pictures(prompt)
    assert list(blind) == [{"role": "system", "content": "x"}, SAID]
    assert (blind.tools, blind.choice, blind.limit) == (prompt.tools, "required", None)
    assert prompt[1] is SHOWN and without_pictures(blind) is blind
    assert not refuses_pictures("I cannot draw that image")


@pytest.mark.parametrize(
    ("model", "beside", "found"),
    [
        ("SmolVLM-500M-Q8_0.gguf", ["mmproj-SmolVLM-500M-f16.gguf", "o.gguf"], "mmproj-SmolVLM"),
        ("model-q4_k_m.gguf", ["mmproj-F16.gguf"], "mmproj-F16"),
        ("a.gguf", ["b.gguf", "mmproj-b.gguf"], None),
        ("gemma-3-4b-it-UD-Q4_K_XL.gguf", ["x.gguf", "gemma-3-4b-it.mmproj-f16.gguf"], "gemma-3"),
        ("a.gguf", [], None),
    ],
)
def test_a_projector_is_found_beside_its_model(
    tmp_path: Path, model: str, beside: list[str], found: str | None
) -> None:
    for name in [model, *beside]:
        (tmp_path / name).write_bytes(b"")
    path = projector(tmp_path / model)
    assert (path and path.name.startswith(found or "?")) == (found and True)


def used(pieces: list[Piece]) -> int:
    return next(piece.input_tokens for piece in pieces if isinstance(piece, Used))


async def test_the_embedded_model_says_that_it_does_not_see() -> None:
    require_models("llm")
    settings = LlmSettings(max_tokens=8)
    path = Catalogue.load().resolve("llm", "embedded").path
    async with LocalServer(path, settings) as server:
        assert server.address.sees is False
        # As one that nobody knows, llama.cpp says so itself.
        model = ChatModel(dataclasses.replace(server.address, sees=None), settings)
        try:
            pieces = await take(model, prompt=[SHOWN])
            assert words(pieces) and model.sees is False
        finally:
            await model.close()


async def test_a_model_with_its_projector_beside_it_sees(tmp_path: Path) -> None:
    """The projector is noise: what is seen means nothing, but the model reads 16 tokens of it."""
    require_models("llm")
    settings = LlmSettings(max_tokens=8)
    path = tmp_path / "model.gguf"
    path.symlink_to(Catalogue.load().resolve("llm", "embedded").path.resolve())
    projector_of_noise(tmp_path / "mmproj.gguf", width=576)
    async with LocalServer(path, settings, sessions=2) as server:
        assert server.address.sees is True
        model = ChatModel(server.address, settings)
        try:
            seen = await take(model, prompt=[SHOWN])
            said = await take(model, prompt=[{"role": "user", "content": "What is this?"}])
            assert words(seen) and model.sees is True
            assert used(seen) - used(said) >= 16
        finally:
            await model.close()
