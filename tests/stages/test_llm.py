from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_server import (
    DONE,
    PING,
    ROLE,
    Answer,
    End,
    LlmServer,
    Script,
    chunk,
    delta,
    event,
    finish,
    hang,
    page,
    reasoning,
    refusing,
    reply,
    status,
    usage,
)

from pipeline.config import Llm
from pipeline.errors import BadInput, StageError
from pipeline.stages.llm import ChatModel, Unreachable, Used, endpoint

HANG_GUARD_S = 60
QUESTION = [{"role": "user", "content": "Hello?"}]

KEYS = "choices delta content finish_reason usage prompt_tokens prompt_tokens_details cached_tokens"
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "stop"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the developer's own settings."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def settings(url: str, **more: Any) -> Llm:
    return Llm(**{"model": url, "name": "scripted", **more})


@contextlib.asynccontextmanager
async def client(url: str, **more: Any) -> AsyncIterator[ChatModel]:
    chosen = settings(url, **more)
    model = ChatModel(endpoint(chosen), chosen)
    try:
        async with asyncio.timeout(HANG_GUARD_S):
            yield model
    finally:
        await model.close()


async def take(model: ChatModel, into: list[str | Used] | None = None) -> list[str | Used]:
    """A whole reply; what came before a failure is in `into`."""
    pieces: list[str | Used] = [] if into is None else into
    async with contextlib.aclosing(model.stream(QUESTION)) as stream:
        async for piece in stream:
            pieces.append(piece)
    return pieces


async def converse(*answers: Script, **more: Any) -> list[str | Used]:
    """The reply of a server with these answers."""
    async with LlmServer(*answers) as server, client(server.url, **more) as model:
        return await take(model)


async def failure(*answers: Script, **more: Any) -> tuple[list[str | Used], StageError]:
    """What came, and the failure after it, from a server with these answers."""
    pieces: list[str | Used] = []
    async with LlmServer(*answers) as server, client(server.url, **more) as model:
        with pytest.raises(StageError) as caught:
            await take(model, pieces)
        check(caught.value, server.url)
    return pieces, caught.value


def check(error: StageError, name: str) -> None:
    """A message for people: who failed, in one or two lines, and no other exceptions shown."""
    message = str(error)
    assert error.stage == "llm"
    assert name in message
    assert len(message.splitlines()) <= 2
    assert len(message) < 400
    assert all(char.isprintable() or char == "\n" for char in message)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


class TestReply:
    async def test_text_as_it_is_written(self) -> None:
        go_on = asyncio.Event()
        held = Answer([ROLE, delta("Hello "), go_on.wait, delta("there."), finish(), DONE])
        async with LlmServer(held) as server, client(server.url) as model:
            stream = model.stream(QUESTION)
            assert await anext(stream) == "Hello "
            go_on.set()
            assert [piece async for piece in stream] == ["there."]

    async def test_request(self) -> None:
        async with (
            LlmServer(reply("Hello.")) as server,
            client(server.url, api_key="key-1", temperature=0.7, max_tokens=9) as model,
        ):
            await take(model)
        (request,) = server.requests
        assert request.key == "key-1"
        assert request.body == {
            "model": "scripted",
            "messages": QUESTION,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 9,
            "temperature": 0.7,
            "chat_template_kwargs": {"enable_thinking": False},
        }

    async def test_used_comes_last(self) -> None:
        pieces = await converse(reply("Hello ", "there."))
        assert pieces == ["Hello ", "there.", Used(7, 5, 2)]

    @pytest.mark.parametrize(
        ("counts", "used"),
        [
            ([usage(30, None, 4)], [Used(30, 0, 4)]),
            ([event({"choices": [], "usage": {}})], [Used(0, 0, 0)]),
            ([event({"choices": [], "usage": {"prompt_tokens": 3}})], [Used(3, 0, 0)]),
            ([], []),
        ],
    )
    async def test_counts_that_servers_leave_out(
        self, counts: list[bytes], used: list[Used]
    ) -> None:
        pieces = await converse(Answer([delta("Hello."), finish(), *counts, DONE]))
        assert pieces == ["Hello.", *used]

    async def test_counts_in_every_chunk_are_told_once(self) -> None:
        def counted(text: str, written: int) -> bytes:
            counts = {"prompt_tokens": 3, "completion_tokens": written, "total_tokens": 3 + written}
            return chunk({"content": text}, usage=counts)

        answer = Answer([counted("One ", 1), counted("two.", 2), finish(), DONE])
        assert await converse(answer) == ["One ", "two.", Used(3, 0, 2)]

    @pytest.mark.parametrize(
        "odd",
        [
            PING,
            b": keep-alive\r\n\r\n",
            b"event: ping\ndata: {}\n\n",
            event({"choices": None}),
            event({"choices": [{}]}),
            event({"choices": [{"delta": None}]}),
            chunk({"content": None}),
            chunk({"role": "assistant"}),
            chunk({"content": "", "tool_calls": []}),
        ],
    )
    async def test_chunks_without_text_do_no_harm(self, odd: bytes) -> None:
        answer = Answer([odd, delta("Hello "), odd, delta("there."), odd, finish(), odd, DONE])
        assert await converse(answer) == ["Hello ", "there."]

    async def test_no_done_at_the_end(self) -> None:
        assert await converse(Answer([delta("Hello."), finish()])) == ["Hello."]

    async def test_one_connection_for_all_replies(self) -> None:
        answers = [reply("One."), reply("Two."), reply("Three.")]
        async with LlmServer(*answers) as server, client(server.url) as model:
            for _ in answers:
                await take(model)
            assert server.connections == 1
            await model.close()
            await server.left()

    async def test_nothing_to_say_is_a_reply(self) -> None:
        assert await converse(reply()) == [Used(7, 5, 0)]

    async def test_cut_at_the_limit(self) -> None:
        assert await converse(Answer([delta("Hello "), finish("length"), DONE])) == ["Hello "]


class TestThinking:
    @pytest.mark.parametrize(
        "pieces",
        [
            ["<think>secret</think>", "Hello."],
            ["<thi", "nk>sec", "ret</th", "ink>Hel", "lo."],
            ["<", "think", ">", "secret", "<", "/", "think", ">", "\n\n", "Hello", "."],
            ["<THINK>secret</THINK>Hello."],
        ],
    )
    async def test_tags_in_the_text(self, pieces: list[str]) -> None:
        said = await converse(reply(*pieces))
        assert "".join(piece for piece in said if isinstance(piece, str)) == "Hello."

    async def test_text_that_only_looks_like_a_tag_is_kept(self) -> None:
        assert await converse(Answer([delta("1 "), delta("<th"), finish(), DONE])) == ["1 ", "<th"]

    async def test_reasoning_apart(self) -> None:
        answer = Answer([ROLE, reasoning("secret"), reasoning("more"), delta("Hello."), finish()])
        assert await converse(answer) == ["Hello."]

    async def test_thoughts_as_structured_content(self) -> None:
        thought = {"content": [{"type": "thinking", "thinking": "secret"}]}
        assert await converse(Answer([chunk(thought), delta("Hello."), finish()])) == ["Hello."]

    @pytest.mark.parametrize("thought", [delta("<think>secret"), reasoning("secret")])
    async def test_nothing_but_thoughts(self, thought: bytes) -> None:
        pieces, error = await failure(
            Answer([thought, finish("length"), usage(5, 0, 50), DONE]), max_tokens=50
        )
        assert pieces == [Used(5, 0, 50)]
        assert "spent all 50 tokens on thinking" in str(error)
        assert "llm.max_tokens" in str(error)


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
            Answer([b'{"choices": [{"message": {"content": "Hi"}}]}'], 200, "application/json"),
            Answer([b'{"choices'], 200, "application/json"),
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
            b"data: \xff\xfe\n\n",
            b'data: {"id": "\xff"}\n\n',
            event(5),
            event("text"),
            event(None),
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

    def test_any_json(self) -> None:
        with LlmServer().in_thread() as server, asyncio.Runner() as runner:
            chosen = settings(server.url)
            model = ChatModel(endpoint(chosen), chosen)

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

    @pytest.mark.parametrize("end", [[], [DONE]])
    async def test_ends_without_a_finish_reason(self, end: list[bytes]) -> None:
        pieces, error = await failure(Answer([delta("Hello "), *end]))
        assert pieces == ["Hello "]
        assert "broke off in the middle" in str(error)

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
        ("steps", "limits", "came", "words"),
        [
            # Time enough for the request and the head of its answer on a busy machine.
            ([hang], {"first_token_timeout_s": 1}, [], "did not answer within 1 s"),
            ([PING, hang], {"first_token_timeout_s": 1}, [], "sent nothing for 1 s"),
            ([ROLE, hang], {"first_token_timeout_s": 1}, [], "sent nothing for 1 s"),
            (
                [delta("Hello "), hang],
                {"token_timeout_s": 0.1},
                ["Hello "],
                "sent nothing for 0.1 s",
            ),
        ],
    )
    async def test_hang(
        self, steps: list[Any], limits: dict[str, float], came: list[str], words: str
    ) -> None:
        async with LlmServer(Answer(steps)) as server, client(server.url, **limits) as model:
            pieces: list[str | Used] = []
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
            Answer([delta("Hello "), *endless, delta("too late"), finish()]), token_timeout_s=0.1
        )
        assert pieces == ["Hello "]
        assert "sent nothing for 0.1 s" in str(error)

    async def test_a_slow_reader_is_not_a_slow_server(self) -> None:
        async with (
            LlmServer(reply("One ", "two.")) as server,
            client(server.url, token_timeout_s=0.3) as model,
            contextlib.aclosing(model.stream(QUESTION)) as stream,
        ):
            assert await anext(stream) == "One "
            await asyncio.sleep(0.4)
            assert [piece async for piece in stream] == ["two.", Used(7, 5, 2)]


class TestRefusedParameters:
    async def test_dropped_and_remembered(self) -> None:
        picky = refusing("chat_template_kwargs", otherwise=reply("Hello."))
        async with (
            LlmServer(otherwise=picky) as server,
            client(server.url, temperature=0.5) as model,
        ):
            for _ in range(2):
                assert "Hello." in await take(model)
        bodies = [request.body for request in server.requests]
        assert ["chat_template_kwargs" in body for body in bodies] == [True, False, False]
        assert all(body["temperature"] == 0.5 and body["max_tokens"] == 200 for body in bodies)
        assert all(body["stream_options"] == {"include_usage": True} for body in bodies)

    async def test_one_after_the_other(self) -> None:
        names = ("chat_template_kwargs", "temperature", "stream_options")
        picky = refusing(*names, otherwise=Answer([delta("Hello."), finish()]))
        async with LlmServer(otherwise=picky) as server, client(server.url) as model:
            assert await take(model) == ["Hello."]
        last = server.requests[-1].body
        assert not set(names) & set(last)
        assert (last["model"], last["max_tokens"], last["stream"]) == ("scripted", 200, True)

    @pytest.mark.parametrize("code", [400, 422])
    async def test_all_dropped_if_none_is_named(self, code: int) -> None:
        async with (
            LlmServer(status(code, "extra fields"), reply("Hello.")) as server,
            client(server.url) as model,
        ):
            assert "Hello." in await take(model)
        assert set(server.requests[1].body) == {"model", "messages", "stream", "max_tokens"}

    async def test_kept_if_the_request_is_bad_anyway(self) -> None:
        too_long = status(400, "the prompt is too long")
        async with (
            LlmServer(too_long, too_long, reply("Hello.")) as server,
            client(server.url) as model,
        ):
            with pytest.raises(StageError, match="answers 400: the prompt is too long") as caught:
                await take(model)
            check(caught.value, server.url)
            assert not caught.value.fatal
            await take(model)
        assert server.requests[2].body == server.requests[0].body


class TestStopping:
    async def test_closing_the_stream_closes_the_connection(self) -> None:
        endless = Answer([ROLE, delta("On "), delta("and "), hang])
        async with LlmServer(endless, reply("Next.")) as server, client(server.url) as model:
            async with contextlib.aclosing(model.stream(QUESTION)) as stream:
                assert await anext(stream) == "On "
            request = await server.arrival()
            assert await asyncio.wrap_future(request.fate) == "abandoned"
            assert "Next." in await take(model)

    @pytest.mark.parametrize("steps", [[hang], [PING, hang], [delta("On "), hang]])
    async def test_cancelling_the_task_closes_the_connection(self, steps: list[Any]) -> None:
        async with (
            LlmServer(Answer(steps), reply("Next.")) as server,
            client(server.url) as model,
        ):
            pieces: list[str | Used] = []
            task = asyncio.create_task(take(model, pieces))
            request = await server.arrival()
            while len(steps) == 2 and steps[0] != PING and not pieces:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.wrap_future(request.fate) == "abandoned"
            assert "Next." in await take(model)

    async def test_cancelling_while_text_pours_in(self) -> None:
        pouring = Answer([delta("word ")] * 100_000)
        async with LlmServer(pouring) as server, client(server.url) as model:
            pieces: list[str | Used] = []
            task = asyncio.create_task(take(model, pieces))
            request = await server.arrival()
            while not pieces:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.wrap_future(request.fate) == "abandoned"

    async def test_closing_the_client_ends_a_stream(self) -> None:
        async with LlmServer(Answer([delta("On "), hang])) as server, client(server.url) as model:
            stream = model.stream(QUESTION)
            await anext(stream)
            await model.close()
            request = await server.arrival()
            assert await asyncio.wrap_future(request.fate) == "abandoned"
            with pytest.raises(StageError):
                await anext(stream)


class TestWarm:
    async def test_reads_the_prompt_and_writes_one_token(self) -> None:
        async with LlmServer(reply("I")) as server, client(server.url) as model:
            await model.warm(QUESTION)
        (request,) = server.requests
        assert request.body["messages"] == QUESTION
        assert request.body["max_tokens"] == 1
        assert not server.lookups, "a named model need not be looked up"

    async def test_a_thought_is_no_failure(self) -> None:
        answer = Answer([reasoning("hm"), finish("length"), DONE])
        async with LlmServer(answer) as server, client(server.url) as model:
            await model.warm(QUESTION)

    async def test_takes_the_first_model(self) -> None:
        async with (
            LlmServer(reply("I"), reply("Hello."), models=["first", "second"]) as server,
            client(server.url, name="") as model,
        ):
            assert model.model == server.url
            await model.warm(QUESTION)
            assert model.model == "first"
            await take(model)
        assert [request.body["model"] for request in server.requests] == ["first", "first"]
        assert [request.path for request in server.lookups] == ["/v1/models"]

    @pytest.mark.parametrize(
        ("models", "words"),
        [
            ([], "lists no model"),
            (Answer([b'{"data": null}'], 200, "application/json"), "lists no model"),
            (status(404, "no such path"), "does not list its models"),
            (page(200, "<html></html>"), "does not list its models"),
            (Answer([b"{oops"], 200, "application/json"), "does not list its models"),
            (Answer([b"\xff\xfe"], 200, "application/json"), "does not list its models"),
            (Answer([b"[1]"], 200, "application/json"), "does not list its models"),
            (Answer([b'{"data": [{"id": 5}]}'], 200, "application/json"), "does not list"),
            (Answer([], 200, "application/json"), "does not list its models"),
        ],
    )
    async def test_no_model_to_take(self, models: list[str] | Answer, words: str) -> None:
        async with LlmServer(models=models) as server, client(server.url, name="") as model:
            with pytest.raises(StageError) as caught:
                await model.warm(QUESTION)
            check(caught.value, server.url)
            assert words in str(caught.value)
            assert "set llm.name" in str(caught.value)
            assert caught.value.fatal
            assert not server.requests

    async def test_a_server_that_is_not_ready_may_be_later(self) -> None:
        async with (
            LlmServer(reply("Hello."), models=status(503, "loading")) as server,
            client(server.url, name="") as model,
        ):
            with pytest.raises(StageError, match="503: loading") as caught:
                await model.warm(QUESTION)
            assert not caught.value.fatal
            server.models = ["late"]
            assert "Hello." in await take(model)
            assert server.requests[0].body["model"] == "late"

    async def test_a_list_that_hangs(self) -> None:
        async with (
            LlmServer(models=Answer([hang])) as server,
            client(server.url, name="", first_token_timeout_s=0.1) as model,
        ):
            with pytest.raises(StageError, match=r"did not answer within 0\.1 s") as caught:
                await model.warm(QUESTION)
            check(caught.value, server.url)


class TestEndpoint:
    @pytest.mark.parametrize(
        ("host", "url"),
        [
            (None, "http://127.0.0.1:11434"),
            ("", "http://127.0.0.1:11434"),
            ("  'box:8000' ", "http://box:8000"),
            ("box", "http://box:11434"),
            ("box:8000", "http://box:8000"),
            (":8000", "http://127.0.0.1:8000"),
            ("http://box", "http://box:80"),
            ("http://", "http://127.0.0.1:80"),
            ("http://box:8000/", "http://box:8000"),
            ("https://box", "https://box:443"),
            ("https://box/ollama/", "https://box:443/ollama"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8000", "http://127.0.0.1:8000"),
            ("http://0.0.0.0:8000", "http://127.0.0.1:8000"),
            ("::", "http://[::1]:11434"),
            ("[::]:8000", "http://[::1]:8000"),
            ("::1", "http://[::1]:11434"),
            ("[fe80::1]:8000", "http://[fe80::1]:8000"),
        ],
    )
    def test_ollama(self, monkeypatch: pytest.MonkeyPatch, host: str | None, url: str) -> None:
        if host is not None:
            monkeypatch.setenv("OLLAMA_HOST", host)
        found = endpoint(Llm(model="ollama:qwen3:4b"))
        assert found.base_url == f"{url}/v1"
        assert found.model == "qwen3:4b"
        assert found.label == f"Ollama ({url})"
        assert found.optional == {"reasoning_effort": "none"}

    @pytest.mark.parametrize("host", ["box:port", "box:99999", "a b", "http://a:b:c"])
    def test_ollama_host_that_is_none(self, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        monkeypatch.setenv("OLLAMA_HOST", host)
        with pytest.raises(BadInput, match="OLLAMA_HOST"):
            endpoint(Llm(model="ollama:m"))

    def test_openai(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", " key-1\n")
        found = endpoint(Llm(model="openai:gpt-x"))
        assert found.base_url == "https://api.openai.com/v1"
        assert (found.model, found.api_key) == ("gpt-x", "key-1")
        assert found.limit == "max_completion_tokens"
        assert endpoint(Llm(model="openai:gpt-x", api_key="key-2")).api_key == "key-2"

    @pytest.mark.parametrize("key", ["", " ", "\n"])
    def test_openai_without_a_key(self, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(BadInput, match="there is no key; set OPENAI_API_KEY"):
            endpoint(Llm(model="openai:gpt-x"))

    @pytest.mark.parametrize("key", ["schlüssel", "two\nlines", "a\x00b"])
    @pytest.mark.parametrize("model", ["openai:gpt-x", "http://127.0.0.1:1", "ollama:m"])
    def test_a_key_that_cannot_be_sent(self, model: str, key: str) -> None:
        with pytest.raises(BadInput, match="cannot be in a key") as caught:
            endpoint(Llm(model=model, api_key=key))
        assert key not in str(caught.value)

    async def test_what_openai_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "key-1")
        picky = refusing("reasoning_effort", otherwise=reply("Hello."))
        async with LlmServer(otherwise=picky) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            async with client("openai:gpt-x", temperature=0.4) as model:
                assert "Hello." in await take(model)
        first, second = (dict(request.body) for request in server.requests)
        assert server.requests[0].key == "key-1"
        assert first.pop("reasoning_effort") == "none"
        assert first == second
        assert first == {
            "model": "gpt-x",
            "messages": QUESTION,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens": 200,
            "temperature": 0.4,
        }

    async def test_openai_names_its_own_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "key-1")
        async with LlmServer(status(401, "Incorrect API key: key-1")) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            async with client("openai:gpt-x") as model:
                with pytest.raises(StageError, match="set OPENAI_API_KEY") as caught:
                    await take(model)
        check(caught.value, f"the OpenAI API at {server.url}")
        assert "key-1" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "base_url"),
        [
            ("http://box", "http://box/v1"),
            ("http://box:8000/", "http://box:8000/v1"),
            ("http://box:8000/v1", "http://box:8000/v1"),
            ("http://box:8000/v1/", "http://box:8000/v1"),
            ("http://box:8000/v1/chat/completions", "http://box:8000/v1"),
            ("https://box/proxy", "https://box/proxy/v1"),
            ("https://box/openai/v1", "https://box/openai/v1"),
            ("https://box/v1beta/openai/", "https://box/v1beta/openai"),
            ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ],
    )
    def test_url(self, url: str, base_url: str) -> None:
        found = endpoint(Llm(model=url, name="m", api_key="k"))
        assert (found.base_url, found.label) == (base_url, base_url)
        assert (found.model, found.api_key) == ("m", "k")

    @pytest.mark.parametrize("suffix", ["", "/"])
    @pytest.mark.parametrize("path", ["", "/v1"])
    async def test_url_however_it_is_written(self, path: str, suffix: str) -> None:
        async with LlmServer(reply("Hello.")) as server:
            async with client(f"http://127.0.0.1:{server.port}{path}{suffix}") as model:
                assert "Hello." in await take(model)
            assert server.requests[0].path == "/v1/chat/completions"

    def test_password_in_a_url_is_not_shown(self) -> None:
        found = endpoint(Llm(model="http://me:secret@box:8000/v1"))
        assert found.base_url == "http://me:secret@box:8000/v1"
        assert found.label == "http://box:8000/v1"

    @pytest.mark.parametrize(
        "spec",
        [
            "",
            "nonsense",
            "ftp://box/v1",
            "http:/box",
            "http://",
            "http:///v1",
            "http://:8000",
            "http://[::1",
            "http://box:port",
            "http://box:99999",
            "http://box:0",
            "http://a b/v1",
            "http://box/\n",
            "ollama:",
            "openai:",
            "ollama",
            "embeded",
        ],
    )
    def test_nonsense(self, spec: str) -> None:
        with pytest.raises(BadInput) as caught:
            endpoint(Llm(model=spec, api_key="k"))
        assert spec.strip() in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 2

    def test_a_url_that_only_the_client_refuses(self) -> None:
        chosen = settings("http://exa\x01mple/v1")
        with pytest.raises(BadInput, match="cannot be used"):
            ChatModel(endpoint(chosen), chosen)


class TestProxy:
    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_not_for_loopback(
        self, monkeypatch: pytest.MonkeyPatch, name: str, host: str
    ) -> None:
        async with LlmServer() as proxy, LlmServer(reply("Hello.")) as server:
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            async with client(f"http://{host}:{server.port}") as model:
                assert "Hello." in await take(model)
            assert proxy.connections == 0

    async def test_for_other_hosts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with LlmServer() as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
            async with client("http://model.example:8000") as model:
                with pytest.raises(StageError, match=r"model\.example"):
                    await take(model)
            (request,) = proxy.lookups
            assert request.path == "http://model.example:8000/v1/chat/completions"

    async def test_one_that_cannot_be_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ALL_PROXY", "nonsense://127.0.0.1:1")
        async with LlmServer(reply("Hello.")) as server, client(server.url) as model:
            assert "Hello." in await take(model)
        chosen = settings("http://model.example:8000")
        with pytest.raises(BadInput, match="proxy") as caught:
            ChatModel(endpoint(chosen), chosen)
        assert "http://model.example:8000" in str(caught.value)


class TestServer:
    """The scripted server itself, where the tests above do not show it."""

    def test_in_a_thread(self) -> None:
        async def run(url: str) -> list[str | Used]:
            async with client(url) as model:
                return await take(model)

        with LlmServer(reply("Hello ", "there.", after_s=0.01)).in_thread() as server:
            assert asyncio.run(run(server.url))[:2] == ["Hello ", "there."]
            assert server.requests[0].fate.result(HANG_GUARD_S) == "complete"

    async def test_a_request_too_many_shows(self) -> None:
        async with LlmServer(reply("One.")) as server, client(server.url) as model:
            await take(model)
            server.then(reply("Two."))
            assert "Two." in await take(model)
            with pytest.raises(StageError, match="no more answers"):
                await take(model)
