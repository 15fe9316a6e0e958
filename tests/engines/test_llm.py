from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from servers.llm_server import (
    DONE,
    PING,
    ROLE,
    Answer,
    LlmServer,
    chunk,
    delta,
    event,
    finish,
    hang,
    page,
    pause,
    reasoning,
    refusing,
    reply,
    status,
    usage,
)
from support.llm_client import (
    QUESTION,
    Pieces,
    check,
    client,
    converse,
    failure,
    hermetic,
    settings,
    take,
)

from pipeline.engines.chat_stream import Used
from pipeline.engines.llm import ChatModel, Unanswered, Unsaid
from pipeline.engines.servers import ChatServer
from pipeline.errors import StageError

pytestmark = pytest.mark.usefixtures(hermetic.__name__)


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

    @pytest.mark.parametrize(
        ("counts", "used"),
        [
            ([usage(7, 5, 2)], [Used(7, 5, 2)]),
            ([usage(30, None, 4)], [Used(30, 0, 4)]),
            ([event({"choices": [], "usage": {}})], [Used(0, 0, 0)]),
            ([event({"choices": [], "usage": {"prompt_tokens": 3}})], [Used(3, 0, 0)]),
            ([], []),
        ],
    )
    async def test_counts_come_last_and_may_be_left_out(
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

    async def test_one_connection_for_all_replies(self) -> None:
        answers = [reply("One."), reply("Two."), reply("Three.")]
        async with LlmServer(*answers) as server, client(server.url) as model:
            for _ in answers:
                await take(model)
            assert server.connections == 1
            await model.close()
            await server.left()

    async def test_a_connection_for_each_reply_of_a_server_that_keeps_none(self) -> None:
        answers = [reply("One."), reply("Two."), reply("Three.")]
        async with LlmServer(*answers) as server:
            where = ChatServer(server.url, "scripted", "key", "the server", keeps=False)
            model = ChatModel(where, settings(server.url))
            for number, _ in enumerate(answers, 1):
                await take(model)
                assert server.connections == number
            await model.close()

    async def test_nothing_to_say_is_a_reply(self) -> None:
        assert await converse(reply()) == [Used(7, 5, 0)]


class TestThinking:
    async def test_tags_in_the_text(self) -> None:
        said = await converse(reply("<thi", "nk>sec", "ret</th", "ink>Hel", "lo."))
        assert "".join(piece for piece in said if isinstance(piece, str)) == "Hello."

    async def test_text_that_only_looks_like_a_tag_is_kept(self) -> None:
        assert await converse(Answer([delta("1 "), delta("<th"), finish(), DONE])) == ["1 ", "<th"]

    @pytest.mark.parametrize(
        "thought",
        [reasoning("secret"), chunk({"content": [{"type": "thinking", "thinking": "secret"}]})],
        ids=["apart", "structured content"],
    )
    async def test_thoughts_that_are_told_as_such(self, thought: bytes) -> None:
        answer = Answer([ROLE, thought, thought, delta("Hello."), finish()])  # without DONE
        assert await converse(answer) == ["Hello."]

    async def test_who_speaks_for_the_user_is_stopped(self) -> None:
        mine = delta("Hello.<|im_end|>\n<|im_start|>user\nAnd ")
        async with LlmServer(Answer([mine, hang])) as server, client(server.url) as model:
            assert "".join(map(str, await take(model))).strip() == "Hello."
            request = await server.arrival()
            assert await asyncio.wrap_future(request.fate) == "abandoned"

    async def test_a_thought_without_an_opener_is_unsaid_and_expected_from_then_on(self) -> None:
        late = Answer([delta("Se"), delta("cret</thi"), delta("nk>Hel"), delta("lo."), finish()])
        brief = Answer([delta("Hel"), delta("lo."), finish()])
        async with (
            LlmServer(late, late, brief, brief, otherwise=late) as server,
            client(server.url) as model,
        ):
            assert await take(model) == ["Se", "cret", Unsaid(), "Hel", "lo."]
            assert await take(model) == ["Hel", "lo."]
            # It thinks no more: that costs the wait of one reply.
            assert await take(model) == ["Hello."]
            assert await take(model) == ["Hel", "lo."]
            assert Unsaid() in await take(model)

    async def test_the_warm_up_may_tell_it(self) -> None:
        late = Answer([delta("Secret</think>Hello."), finish()])
        async with LlmServer(otherwise=late) as server, client(server.url) as model:
            await model.warm(QUESTION)
            assert await take(model) == ["Hello."]

    @pytest.mark.parametrize(
        ("name", "begun", "expected"),
        [
            ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", delta("Okay"), True),
            ("QwQ-32B", delta("\n"), True),
            ("Qwen3-4B-Thinking-2507", delta("The"), True),
            # The server tells thoughts apart, or the model opens its own.
            ("QwQ-32B", reasoning("Okay"), False),
            ("Qwen3-4B-Thinking-2507", delta("<think>"), False),
            ("Qwen3-4B-Instruct-2507", delta("Okay"), False),
            ("mirror1", delta("Okay"), False),
        ],
    )
    async def test_the_warm_up_of_a_model_that_thinks_first(
        self, name: str, begun: bytes, expected: bool
    ) -> None:
        late = Answer([delta("Se"), delta("cret</think>Hel"), delta("lo."), finish()])
        async with (
            LlmServer(Answer([begun, finish("length")]), otherwise=late) as server,
            client(server.url, name=name) as model,
        ):
            await model.warm(QUESTION)
            pieces = await take(model)
        assert pieces == ["Hel", "lo."] if expected else ["Se", Unsaid(), "Hel", "lo."]

    async def test_the_warm_up_may_have_more_patience_than_the_turns_after_it(self) -> None:
        slow = Answer([ROLE, pause(0.6), delta("Yes."), finish(), DONE])
        async with (
            LlmServer(otherwise=slow) as server,
            client(server.url, timeout_s=0.3) as model,
        ):
            await model.warm(QUESTION, patience_s=60.0)
            with pytest.raises(StageError, match=r"sent nothing for 0\.3 s"):
                await take(model)
            with pytest.raises(StageError, match=r"sent nothing for 0\.3 s"):
                await model.warm(QUESTION)

    async def test_a_thought_without_an_opener_that_is_cut_at_the_limit(self) -> None:
        late = Answer([delta("Secret</think>Hello."), finish()])
        cut = Answer([delta("Secret"), finish("length")])
        async with LlmServer(late, cut, late) as server, client(server.url) as model:
            await take(model)
            pieces: Pieces = []
            with pytest.raises(StageError, match="a model that thinks less"):
                await take(model, pieces)
            assert pieces == []
            assert await take(model) == ["Hello."]

    @pytest.mark.parametrize("thought", [delta("<think>secret"), reasoning("secret")])
    async def test_nothing_but_thoughts(self, thought: bytes) -> None:
        pieces, error = await failure(
            Answer([thought, finish("length"), usage(5, 0, 50), DONE]), max_tokens=50
        )
        assert pieces == [Used(5, 0, 50)]
        assert "spent all 50 tokens before it said a word; raise llm.max_tokens" in str(error)
        assert "a model that thinks less" in str(error)
        assert isinstance(error, Unanswered) and error.why == "limit"


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
        bad = status(400, "the messages are none")
        async with (
            LlmServer(bad, bad, reply("Hello.")) as server,
            client(server.url) as model,
        ):
            with pytest.raises(StageError, match="answers 400: the messages are none") as caught:
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

    @pytest.mark.parametrize(
        "steps", [[hang], [PING, hang], [delta("On "), hang], [delta("word ")] * 100_000]
    )
    async def test_cancelling_the_task_closes_the_connection(self, steps: list[Any]) -> None:
        """Before an answer, before a token, after one, and while text pours in."""
        async with (
            LlmServer(Answer(steps), reply("Next.")) as server,
            client(server.url) as model,
        ):
            pieces: Pieces = []
            task = asyncio.create_task(take(model, pieces))
            request = await server.arrival()
            while steps[0] not in (hang, PING) and not pieces:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.wrap_future(request.fate) == "abandoned"
            assert "Next." in await take(model)

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
            assert "write URL#NAME" in str(caught.value)
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
            client(server.url, name="", timeout_s=0.1) as model,
        ):
            with pytest.raises(StageError, match=r"did not answer within 0\.1 s") as caught:
                await model.warm(QUESTION)
            check(caught.value, server.url)
