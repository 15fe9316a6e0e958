from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.real_engines import fetched

from pipeline.config import LlmSettings
from pipeline.engines.chat_stream import Used
from pipeline.engines.llama import LocalServer
from pipeline.engines.llm import ChatModel, Messages
from pipeline.engines.llm_judge import TextJudge, share_of_ends
from pipeline.engines.servers import ChatServer

HANG_GUARD_S = 120
SETTINGS = LlmSettings(temperature=0, timeout_s=300.0)

tokens = st.sampled_from(["", ".", "?", " !", "\n", ",", " the", " France", "istic", "。"])
candidates = st.lists(
    st.fixed_dictionaries({"token": tokens, "logprob": st.floats(-30, 0)}), max_size=40
)


@pytest.fixture(scope="module")
def gguf() -> Path:
    return fetched("llm", "embedded")


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[TextJudge]:
    async with asyncio.timeout(HANG_GUARD_S), LocalServer(path, SETTINGS) as server:
        # A test machine may stand still for seconds.
        judge = TextJudge(server.address, timeout_s=100.0)
        try:
            yield judge
        finally:
            await judge.close()


def prompt(text: str) -> Messages:
    return [
        {"role": "system", "content": "You are a helpful voice assistant."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": text},
    ]


def candidate(token: str, p: float) -> dict[str, object]:
    return {"token": token, "logprob": math.log(p)}


def test_marks_and_the_end_of_the_message_end_it() -> None:
    found = [candidate("?", 0.5), candidate(" of", 0.2), candidate("", 0.1), candidate(".\n", 0.1)]
    assert share_of_ends(found) == pytest.approx(0.7)


def test_a_comma_does_not_end_it() -> None:
    assert share_of_ends([candidate(",", 0.9), candidate(" and", 0.1)]) == 0


@given(candidates)
def test_the_share_is_a_probability(found: list[dict[str, object]]) -> None:
    assert 0 <= share_of_ends(found) <= 1


@given(candidates, candidates)
def test_more_candidates_never_make_it_less(
    some: list[dict[str, object]], more: list[dict[str, object]]
) -> None:
    assert share_of_ends(some) <= share_of_ends(some + more)


async def test_whole_questions_are_likelier_to_be_over_than_their_beginnings(gguf: Path) -> None:
    async with running(gguf) as judge:
        for text, cut in [
            ("What is the capital of France?", 3),
            ("I want to book a flight to Paris on Friday.", 5),
            ("Remind me to call my mother tomorrow.", 3),
        ]:
            begun = " ".join(text.split()[:cut])
            whole = await judge.probability(prompt(text))
            open_end = await judge.probability(prompt(begun))
            assert whole is not None and open_end is not None
            assert open_end < 0.1 < whole <= 1
            # The recogniser's full stop is no sign of anything.
            assert await judge.probability(prompt(begun + ".")) == pytest.approx(open_end, abs=0.01)
        assert await judge.probability(prompt(" … ")) is None


async def test_the_reply_finds_what_the_judge_read(gguf: Path) -> None:
    text = "What is the capital of France?"
    async with asyncio.timeout(HANG_GUARD_S), LocalServer(gguf, SETTINGS) as server:
        judge, model = TextJudge(server.address), ChatModel(server.address, SETTINGS)
        try:
            while await judge.probability(prompt(text)) is None:
                pass
            async with contextlib.aclosing(model.stream(prompt(text), max_tokens=2)) as deltas:
                used = [delta async for delta in deltas if isinstance(delta, Used)]
        finally:
            await judge.close()
            await model.close()
    # What is left is the question mark and the template's own end of the message.
    assert used[0].input_tokens - used[0].cached_tokens <= 10


async def test_a_server_that_is_gone_says_nothing() -> None:
    nobody = ChatServer("http://127.0.0.1:9/v1", "none", "key", "nobody")
    judge = TextJudge(nobody)
    try:
        async with asyncio.timeout(HANG_GUARD_S):
            assert await judge.probability(prompt("Hello there.")) is None
    finally:
        await judge.close()
