from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.llm_server import (
    DONE,
    PING,
    ROLE,
    Answer,
    End,
    LlmServer,
    delta,
    event,
    finish,
    hang,
    page,
    reply,
    status,
)
from support.llm_client import QUESTION, Pieces, check, client, failure, hermetic, settings, take

from pipeline.engines.chat_stream import Used
from pipeline.engines.client import Unreachable
from pipeline.engines.llm import ChatModel
from pipeline.engines.servers import chat_server
from pipeline.errors import StageError
from pipeline.text.visible import VisibleText

pytestmark = pytest.mark.usefixtures(hermetic.__name__)

KEYS = (
    "choices delta content finish_reason usage prompt_tokens prompt_tokens_details cached_tokens "
    "tool_calls index id function name arguments"
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "stop"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=3)
    ),
    max_leaves=8,
)


class TestRefusals:
    @pytest.mark.parametrize(
        ("answer", "words", "fatal"),
        [
            (status(401, "bad key"), ["refuses the key (401)", "llm.api_key"], True),
            (status(403, "not for you"), ["refuses the key (403)", "llm.api_key"], True),
            (status(404, "no such model"), ["no model 'scripted'", "404: no such model"], True),
            (page(404, "<html><title>Not here</title></html>"), ["404: Not here"], True),
            (status(408, "slow"), ["answers 408: slow"], False),
            (status(429, "quota exceeded"), ["answers 429: quota exceeded", "try again"], False),
            (status(500, "out of memory"), ["answers 500: out of memory", "try again"], False),
            (
                page(502, "<!DOCTYPE html>\n<html><h1>nginx</h1></html>"),
                ["answers 502: a web page"],
                False,
            ),
            (Answer([b'{"detail":"asleep"}'], 503, "application/json"), ["503: asleep"], False),
            (Answer([b'{"error":"loading"}'], 503, "application/json"), ["503: loading"], False),
            (Answer([b"plain words"], 500, "text/plain"), ["500: plain words"], False),
            (Answer([], 500), ["answers 500"], False),
            (status(500, "x" * 5000), ["x…"], False),
            (status(500, "two\nlines\x1b[31m \x07red"), ["two lines [31m red"], False),
        ],
    )
    async def test_status(self, answer: Answer, words: list[str], fatal: bool) -> None:
        pieces, error = await failure(answer)
        assert pieces == []
        assert error.fatal is fatal
        for word in words:
            assert word in str(error)
        assert "Traceback" not in str(error)
        assert "Error code" not in str(error)
        assert not isinstance(error, Unreachable)

    @pytest.mark.parametrize(
        ("message", "words"),
        [
            ({"message": "out of memory", "code": 500}, "out of memory"),
            ("out of memory", "failed"),
        ],
    )
    async def test_error_in_the_stream(self, message: object, words: str) -> None:
        pieces, error = await failure(Answer([delta("Hello "), event({"error": message})]))
        assert pieces == ["Hello "]
        assert words in str(error)
        assert not error.fatal

    async def test_a_reply_after_each_failure(self) -> None:
        answers = [status(500), Answer([End.DROP]), reply("Back.")]
        async with LlmServer(*answers) as server, client(server.url) as model:
            for _ in range(2):
                with pytest.raises(StageError):
                    await take(model)
            assert "Back." in await take(model)


class TestNoApi:
    """Servers that are something else."""

    @pytest.mark.parametrize(
        "answer",
        [
            page(200, "<html><title>Welcome</title></html>"),
            Answer([], 200, "text/plain"),
        ],
    )
    async def test_no_stream(self, answer: Answer) -> None:
        pieces, error = await failure(answer)
        assert pieces == []
        assert error.fatal
        assert answer.content_type in str(error)
        assert "OpenAI-compatible" in str(error)

    @pytest.mark.parametrize("steps", [[], [DONE], [PING], [b"\n"]])
    async def test_empty_stream(self, steps: list[bytes]) -> None:
        pieces, error = await failure(Answer(steps))
        assert pieces == []
        assert not error.fatal
        assert "no reply" in str(error)

    @pytest.mark.parametrize(
        "garbage",
        [
            b"data: {oops\n\n",
            b"data: " + b"[" * 100_000 + b"\n\n",
            b'data: {"\xff\xfe\n\n',
            event([1]),
            event({"choices": 5}),
            event({"choices": [5]}),
            event({"choices": [{"delta": 5}]}),
            event({"choices": [], "usage": 5}),
            event({"choices": [], "usage": {"prompt_tokens_details": 5}}),
        ],
    )
    async def test_garbage_in_the_stream(self, garbage: bytes) -> None:
        pieces, error = await failure(Answer([delta("Hello "), garbage, finish(), DONE]))
        assert pieces == ["Hello "]
        assert "no chat stream" in str(error)

    async def test_an_error_of_our_own_is_not_the_servers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(self: VisibleText, text: str) -> str:
            raise ValueError("ours")

        monkeypatch.setattr(VisibleText, "push", broken)
        with pytest.raises(ValueError, match="ours"):
            await failure(Answer([delta("Hello "), finish(), DONE]))

    def test_any_json(self) -> None:
        with LlmServer().in_thread() as server, asyncio.Runner() as runner:
            chosen = settings(server.url)
            model = ChatModel(chat_server(chosen), chosen)

            @hypothesis.settings(deadline=None)
            @given(ANY_JSON)
            def read(json: object) -> None:
                server.then(Answer([event(json), finish(), DONE]))
                try:
                    pieces = runner.run(take(model))
                except StageError as error:
                    check(error, server.url)
                else:
                    used = [piece for piece in pieces if isinstance(piece, Used)]
                    counts = [count for each in used for count in dataclasses.astuple(each)]
                    assert all(isinstance(count, int) for count in counts)
                    assert all(isinstance(piece, str | Used) for piece in pieces)

            read()
            runner.run(model.close())


class TestConnection:
    async def test_refused(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        async with client(url) as model:
            with pytest.raises(Unreachable) as caught:
                await model.warm(QUESTION)
        check(caught.value, url)
        assert "cannot be reached" in str(caught.value)
        assert "start the server, or use --llm embedded" in str(caught.value)

    async def test_connect_timeout(self) -> None:
        # Connecting is over when TLS is agreed on, and this server never says a word.
        async with LlmServer(reply("Hello.")) as server:
            url = server.url.replace("http:", "https:")
            async with client(url, connect_timeout_s=0.1) as model:
                with pytest.raises(Unreachable) as caught:
                    await take(model)
        check(caught.value, url)
        assert "within 0.1 s" in str(caught.value)

    async def test_closed_without_an_answer(self) -> None:
        async with LlmServer(Answer([End.DROP])) as server, client(server.url) as model:
            with pytest.raises(Unreachable) as caught:
                await take(model)
            assert len(server.requests) == 1
        check(caught.value, server.url)

    @pytest.mark.parametrize("end", [End.DROP, End.RESET])
    async def test_broken_off(self, end: End) -> None:
        go_on = asyncio.Event()
        broken = Answer([ROLE, delta("Hello "), delta("the"), go_on.wait, end])
        async with LlmServer(broken) as server, client(server.url) as model:
            stream = model.stream(QUESTION)
            assert [await anext(stream), await anext(stream)] == ["Hello ", "the"]
            go_on.set()
            with pytest.raises(StageError, match="broke off in the middle") as caught:
                await anext(stream)
        check(caught.value, server.url)
        assert not isinstance(caught.value, Unreachable)
        assert not caught.value.fatal
        assert len(server.requests) == 1, "half a reply must not be asked for again"

    async def test_connection_gone_stale(self) -> None:
        answers = [reply("One."), Answer([End.DROP]), reply("Two.")]
        async with LlmServer(*answers) as server, client(server.url) as model:
            assert "One." in await take(model)
            assert "Two." in await take(model)
            assert server.connections == 2

    async def test_asked_again_only_once(self) -> None:
        answers = [reply("One."), Answer([End.DROP]), Answer([End.DROP]), reply("Two.")]
        async with LlmServer(*answers) as server, client(server.url) as model:
            await take(model)
            with pytest.raises(Unreachable):
                await take(model)
            assert len(server.requests) == 3


class TestSilence:
    @pytest.mark.parametrize(
        ("steps", "came", "words"),
        [
            # Time enough for the request and the head of its answer on a busy machine.
            ([hang], [], "did not answer within 1.5 s"),
            ([PING, hang], [], "sent nothing for 1.5 s"),
            ([ROLE, hang], [], "sent nothing for 1.5 s"),
            ([delta("Hello "), hang], ["Hello "], "sent nothing for 0.5 s"),
        ],
    )
    async def test_hang(self, steps: list[Any], came: list[str], words: str) -> None:
        async with LlmServer(Answer(steps)) as server, client(server.url, timeout_s=1.5) as model:
            pieces: Pieces = []
            with pytest.raises(StageError) as caught:
                await take(model, pieces)
            check(caught.value, server.url)
            assert pieces == came
            assert words in str(caught.value)
            assert not caught.value.fatal
            request = await server.arrival()
            assert await asyncio.wrap_future(request.fate) == "abandoned"

    async def test_pings_are_no_tokens(self) -> None:
        async def tick() -> None:
            await asyncio.sleep(0.02)

        endless = [step for _ in range(5000) for step in (tick, PING)]
        pieces, error = await failure(
            Answer([delta("Hello "), *endless, delta("too late"), finish()]), timeout_s=1.5
        )
        assert pieces == ["Hello "]
        assert "sent nothing for 0.5 s" in str(error)

    async def test_a_slow_reader_is_not_a_slow_server(self) -> None:
        async with (
            LlmServer(reply("One ", "two.")) as server,
            client(server.url, timeout_s=1.5) as model,
            contextlib.aclosing(model.stream(QUESTION)) as stream,
        ):
            assert await anext(stream) == "One "
            await asyncio.sleep(0.6)
            assert [piece async for piece in stream] == ["two.", Used(7, 5, 2)]
