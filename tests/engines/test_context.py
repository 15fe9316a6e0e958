"""What servers tell of how much their model holds, and how they refuse what is longer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers.llm_server import Answer, LlmServer, delta, event, reply, status
from support.llm_client import QUESTION, client, hermetic, take

from pipeline.engines.context import TooLong, contexts
from pipeline.engines.tools import Prompt, Tool
from pipeline.errors import StageError

pytestmark = pytest.mark.usefixtures(hermetic.__name__)

LONG = [{"role": "user", "content": "When does the train leave? " * 300}]

LLAMA = {
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 3001,
    "n_ctx": 2048,
}
REFUSALS: list[tuple[int, str, dict[str, Any], int | None, int | None]] = [
    (400, "request (3001 tokens) exceeds the available context size", LLAMA, 2048, 3001),
    (
        400,
        "This model's maximum context length is 4096 tokens. However, your messages resulted in "
        "5012 tokens (4900 in the messages, 112 in the functions). Please reduce the length of "
        "the messages or functions.",
        {"code": "context_length_exceeded"},
        4096,
        5012,
    ),
    (
        400,
        "'max_tokens' or 'max_completion_tokens' is too large: 200. This model's maximum context "
        "length is 4096 tokens and your request has 4000 input tokens",
        {},
        4096,
        None,
    ),
    (400, "prompt is too long: 208310 tokens > 200000 maximum", {}, 200_000, 208_310),
    (
        400,
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        {},
        1_048_576,
        1_200_000,
    ),
    (
        422,
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000",
        {},
        4096,
        None,
    ),
    (
        400,
        "The number of tokens to keep from the initial prompt is greater than the context length "
        "(n_keep: 13055>= n_ctx: 4096). Try to load the model with a larger context length",
        {},
        4096,
        13_055,
    ),
    (400, "Please reduce the length of the messages or completion.", {}, None, None),
]


@pytest.mark.parametrize(("code", "message", "more", "context", "counted"), REFUSALS)
async def test_a_prompt_that_is_too_long_is_told_from_other_refusals(
    code: int, message: str, more: dict[str, Any], context: int | None, counted: int | None
) -> None:
    """It is not asked again without its optional parameters, nor taken for one of the tools."""
    body = json.dumps({"error": {"message": message, **more}}).encode()
    refusal = Answer([body], code, "application/json")
    async with LlmServer(refusal) as server, client(server.url) as model:
        with pytest.raises(TooLong, match="larger context, or shorten") as caught:
            await take(model, prompt=Prompt(LONG, [Tool("weather")]))
        assert len(server.requests) == 1
        assert (caught.value.context, caught.value.counted) == (context, counted)
        assert model.tokens.prompt(Prompt(LONG, [Tool("weather")])) > model.tokens.most


async def test_lm_studio_refuses_in_the_middle_of_an_answer() -> None:
    message = "Trying to keep the first 5490 tokens when context the overflows. However, the model "
    message += "is loaded with context length of only 4096 tokens, which is not enough."
    answer = Answer([event({"error": {"message": message}})])
    async with LlmServer(answer) as server, client(server.url) as model:
        with pytest.raises(TooLong) as caught:
            await take(model, prompt=LONG)
    assert (caught.value.context, caught.value.counted) == (4096, 5490)


@pytest.mark.parametrize(
    "answer",
    [
        status(400, "max_tokens is too large: 9000. This model supports at most 4096 tokens"),
        status(429, "Rate limit reached on tokens per minute: context length"),
        status(400, "messages: at least one message is required"),
        Answer([delta("Hello"), event({"error": {"message": "out of memory"}})]),
    ],
)
async def test_other_failures_are_what_they_were(answer: Answer) -> None:
    async with LlmServer(otherwise=answer) as server, client(server.url) as model:
        with pytest.raises(StageError) as caught:
            await take(model)
        assert not isinstance(caught.value, TooLong)


async def test_it_learns_from_every_reply() -> None:
    async with LlmServer(reply("Hello.")) as server, client(server.url) as model:
        before = model.tokens.prompt(QUESTION)
        await take(model)
        assert before != 7
        assert model.tokens.prompt(QUESTION) == pytest.approx(7)
        slot = model.at(1)
        slot.tokens.learn(QUESTION, 20)
        assert model.tokens.prompt(QUESTION) == pytest.approx(7), "each slot learns by itself"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"data": [{"id": "m", "max_model_len": 4096}]}, [4096]),
        ({"data": [{"id": "other", "max_model_len": 4096}]}, []),
        ({"data": [{"id": "m", "context_length": 8192}]}, [8192]),
        ({"data": [{"id": "m", "meta": {"n_ctx_train": 2048}}]}, [2048]),
        ({"default_generation_settings": {"n_ctx": 1700}}, [1700]),
        ({"models": [{"name": "m", "context_length": 4096}]}, [4096]),
        (
            {"data": [{"id": "m", "max_context_length": 32_768, "loaded_context_length": 4096}]},
            [4096],
        ),
        ({"data": [{"id": "m", "context_length": None}, 5, {"id": "m", "meta": 5}]}, []),
        ({"data": 5, "default_generation_settings": 5}, []),
        ([], []),
        (None, []),
    ],
)
def test_what_servers_tell_of_their_context(answer: Any, found: list[int]) -> None:
    """vLLM, OpenRouter, llama.cpp, Ollama, LM Studio."""
    assert contexts(answer, "m") == found


async def test_the_context_is_looked_up() -> None:
    listed = {"data": [{"id": "scripted", "max_model_len": 1000}]}
    models = Answer([json.dumps(listed).encode()], content_type="application/json")
    async with LlmServer(models=models) as server, client(server.url) as model:
        await model.find_context()
        assert model.tokens.most == 800
    async with LlmServer() as server, client(server.url) as model:
        await model.find_context()
        assert model.tokens.most == float("inf")
