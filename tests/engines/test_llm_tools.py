"""Tools offered to a server and called by it, over real sockets, with the real client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from servers.llm_server import (
    DONE,
    ROLE,
    Answer,
    LlmServer,
    Request,
    Script,
    Step,
    choice,
    chunk,
    delta,
    finish,
    page,
    refusing,
    reply,
    status,
    tool_call,
    usage,
)
from support.llm_client import QUESTION, client, converse, failure, hermetic, settings, take

from pipeline.engines.chat_stream import Used
from pipeline.engines.llm import Calling, ChatModel
from pipeline.engines.servers import chat_server
from pipeline.engines.tools import Prompt, Tool, ToolUse
from pipeline.errors import StageError

pytestmark = pytest.mark.usefixtures(hermetic.__name__)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("weather", "Tells the weather of a city.", SCHEMA)
PROMPT = Prompt([dict(message) for message in QUESTION], [WEATHER])
ROME = '{"city": "Rome"}'
CALL = ToolUse("a", "weather", ROME)
OF_A_MESSAGE = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": ROME}}
WHOLE = tool_call(ROME, index=0, id="a", name="weather")


def calling(*steps: Step, reason: str = "tool_calls") -> Answer:
    return Answer([ROLE, *steps, finish(reason), usage(7, 5, 2), DONE])


async def test_tools_are_offered_in_the_form_of_the_api() -> None:
    async with LlmServer(reply("No.")) as server, client(server.url) as model:
        await take(model, prompt=PROMPT)
        assert server.requests[0].body["tools"] == [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Tells the weather of a city.",
                    "parameters": SCHEMA,
                },
            }
        ]


async def test_words_come_at_once_and_the_whole_call_at_the_end() -> None:
    go_on = asyncio.Event()
    answer = calling(
        delta("Let me "),
        go_on.wait,
        delta("see."),
        tool_call(index=0, id="a", name="weather"),
        tool_call('{"city"', index=0),
        tool_call(': "Rome"}', index=0),
    )
    async with LlmServer(answer) as server, client(server.url) as model:
        stream = model.stream(PROMPT)
        assert await anext(stream) == "Let me "
        go_on.set()
        part = Calling("weather", '{"city"')
        assert [piece async for piece in stream] == ["see.", part, Used(7, 5, 2), CALL]


async def test_a_call_is_passed_on_as_it_is_written() -> None:
    go_on = asyncio.Event()
    answer = calling(
        tool_call(index=0, id="a", name="weather"),
        tool_call('{"city"', index=0),
        go_on.wait,
        tool_call(': "Rome"}', index=0),
    )
    async with LlmServer(answer) as server, client(server.url) as model:
        stream = model.stream(PROMPT)
        assert await anext(stream) == Calling("weather", '{"city"')
        go_on.set()
        assert [piece async for piece in stream] == [Used(7, 5, 2), CALL]


@pytest.mark.parametrize("reason", ["tool_calls", "stop", "function_call"])
@pytest.mark.parametrize(
    "steps",
    [
        [WHOLE],
        [tool_call(ROME, id="a", name="weather")],
        [tool_call(ROME, index=None, id="a", type="function", name="weather")],
        [
            chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "weather"}}]}),
            tool_call(ROME, index=0, id=None, name=None),
        ],
        [chunk({"content": "", "tool_calls": []}), WHOLE],
        [WHOLE, WHOLE],
        [tool_call("null", index=0, id="a", name="weather"), tool_call(ROME, index=0)],
        [tool_call({}, index=0, id="a", name="weather"), tool_call(ROME, index=0)],
        [choice(message={"content": None, "tool_calls": [OF_A_MESSAGE]})],
        [WHOLE, choice(delta={}, message={"tool_calls": [OF_A_MESSAGE]})],
    ],
)
async def test_whole_calls_and_other_ways(steps: list[Step], reason: str) -> None:
    assert await converse(calling(*steps, reason=reason), prompt=PROMPT) == [Used(7, 5, 2), CALL]


@pytest.mark.parametrize("where", ["delta", "message"])
async def test_a_function_call_as_it_was_before_there_were_tools(where: str) -> None:
    first = {"name": "weather", "arguments": '{"city"'}
    steps = [
        choice(**{where: {"content": None, "function_call": first}}),
        choice(**{where: {"function_call": {"arguments": ': "Rome"}'}}}),
    ]
    answer = calling(*steps, reason="function_call")
    assert (await converse(answer, prompt=PROMPT))[-1] == ToolUse("", "weather", ROME)


async def test_parallel_calls_without_ids() -> None:
    oslo = '{"city": "Oslo"}'
    steps = [tool_call(ROME, id="", name="weather"), tool_call(oslo, id="", name="weather")]
    assert (await converse(calling(*steps), prompt=PROMPT))[1:] == [
        ToolUse("", "weather", ROME),
        ToolUse("", "weather", oslo),
    ]


@pytest.mark.parametrize("arguments", ["{city: Rome", {"city": "Rome"}])
async def test_arguments_are_passed_on_as_text(arguments: Any) -> None:
    """Malformed ones too, and those of servers that send the object itself."""
    answer = calling(tool_call(arguments, index=0, id="a", name="weather"))
    text = arguments if isinstance(arguments, str) else ROME
    assert (await converse(answer, prompt=PROMPT))[-1] == ToolUse("a", "weather", text)


async def test_calls_that_nobody_offered_are_not_passed_on() -> None:
    async with LlmServer(calling(delta("Hm."), WHOLE)) as server, client(server.url) as model:
        assert await take(model) == ["Hm.", Used(7, 5, 2)]
        assert "tools" not in server.requests[0].body


async def test_a_stream_that_breaks_off_calls_nothing() -> None:
    pieces, error = await failure(Answer([WHOLE]), prompt=PROMPT)
    assert pieces == []
    assert "broke off" in str(error)


async def test_a_call_that_is_cut_at_the_limit() -> None:
    cut = calling(tool_call('{"city": "Ro', index=0, id="a", name="weather"), reason="length")
    pieces, error = await failure(cut, prompt=PROMPT, max_tokens=9)
    assert pieces == [Calling("weather", '{"city": "Ro'), Used(7, 5, 2)]
    assert "spent all 9 tokens before its tool call was whole; raise llm.max_tokens" in str(error)


async def test_a_whole_call_at_the_limit() -> None:
    assert (await converse(calling(WHOLE, reason="length"), prompt=PROMPT))[-1] == CALL


class TestWritten:
    """Calls in the text, of a server that does not know its model's way to write them."""

    @pytest.mark.parametrize(
        "text",
        [
            f'<tool_call>{{"name": "weather", "arguments": {ROME}}}</tool_call>',
            f'{{"name": "weather", "parameters": {ROME}}}',
            f"[TOOL_CALLS]weather[ARGS]{ROME}</s>",
            "<function=weather><parameter=city>Rome</parameter></function>",
        ],
    )
    async def test_are_calls(self, text: str) -> None:
        steps = [delta("Let me see. "), *(delta(char) for char in text)]
        assert await converse(calling(*steps, reason="stop"), prompt=PROMPT) == [
            "Let me see. ",
            Used(7, 5, 2),
            ToolUse("", "weather", ROME),
        ]

    async def test_several(self) -> None:
        text = "".join(f'<tool_call>{{"name": "{n}", "arguments": {{}}}}</tool_call>' for n in "ab")
        pieces = await converse(calling(delta(text), reason="stop"), prompt=PROMPT)
        assert pieces[1:] == [ToolUse("", "a", "{}"), ToolUse("", "b", "{}")]

    async def test_what_is_called_in_both_ways_is_called_once(self) -> None:
        text = f'<tool_call>{{"name": "weather", "arguments": {ROME}}}</tool_call>'
        assert await converse(calling(delta(text), WHOLE), prompt=PROMPT) == [Used(7, 5, 2), CALL]

    async def test_that_nobody_offered_are_told(self) -> None:
        text = f'<tool_call>{{"name": "weather", "arguments": {ROME}}}</tool_call>'
        pieces, error = await failure(calling(delta("Hm. "), delta(text), reason="stop"))
        assert pieces == ["Hm. ", Used(7, 5, 2)]
        assert "calls weather, which is not on offer" in str(error)
        assert not error.fatal

    async def test_that_nobody_can_read_are_told(self) -> None:
        text = "<tool_call>I would like the weather.</tool_call>"
        pieces, error = await failure(calling(delta(text), reason="stop"), prompt=PROMPT)
        assert pieces == [Used(7, 5, 2)]
        assert "wrote an unreadable call" in str(error)

    @pytest.mark.parametrize(
        "text", ['<tool_call>{"name": "wea', f"[TOOL_CALLS]weather{ROME[:-1]}"]
    )
    async def test_that_are_cut_at_the_limit(self, text: str) -> None:
        cut = calling(delta(text), reason="length")
        pieces, error = await failure(cut, prompt=PROMPT, max_tokens=9)
        assert pieces == [Used(7, 5, 2)]
        assert "spent all 9 tokens before its tool call was whole" in str(error)

    async def test_the_warm_up_minds_none(self) -> None:
        answer = Answer([delta('<tool_call>{"name": "a"}</tool_call>'), finish(), DONE])
        async with LlmServer(answer) as server, client(server.url) as model:
            await model.warm(QUESTION)


class TestRefused:
    """The prompt says them then, and goes on saying them."""

    @pytest.mark.parametrize(
        "refusal",
        [
            status(400, "Unrecognized request argument supplied: tools", param="tools"),
            status(400, "registry.ollama.ai/library/gemma:2b does not support tools"),
            status(400, '"auto" tool choice requires --enable-auto-tool-choice to be set'),
            status(422, "tools: extra fields not permitted"),
            status(404, "No endpoints found that support tool use."),
            status(500, "tools param requires --jinja flag"),
            status(501, "function calling is not supported"),
            status(400, "bad request"),
        ],
    )
    async def test_the_prompt_says_them(
        self, refusal: Answer, caplog: pytest.LogCaptureFixture
    ) -> None:
        said = f'<tool_call>{{"name": "weather", "arguments": {ROME}}}</tool_call>'

        def picky(request: Request) -> Answer:
            return refusal if "tools" in request.body else reply(said)

        async with LlmServer(otherwise=picky) as server, client(server.url) as model:
            for _ in range(2):
                assert (await take(model, prompt=PROMPT))[-1] == ToolUse("", "weather", ROME)
            tried = [request for request in server.requests if "tools" in request.body]
            system = server.requests[-1].body["messages"][0]
        assert [r.body["messages"] for r in tried] == [QUESTION] * len(tried)
        assert server.requests[-2:] == [r for r in server.requests[-2:] if "tools" not in r.body]
        assert json.dumps(SCHEMA) in system["content"]
        assert caplog.text.count("refuses the tools") == 1

    async def test_calls_and_results_before_it_are_said_too(self) -> None:
        past: Sequence[dict[str, Any]] = [
            {"role": "assistant", "content": "", "tool_calls": [OF_A_MESSAGE]},
            {"role": "tool", "content": "sunny", "tool_call_id": "a"},
        ]
        picky = refusing("tools", otherwise=reply("Sunny."))
        async with LlmServer(otherwise=picky) as server, client(server.url) as model:
            assert "Sunny." in await take(model, prompt=Prompt([*PROMPT, *past], [WEATHER]))
            read = server.requests[-1].body["messages"]
        assert [message["role"] for message in read] == ["system", "user", "assistant", "user"]
        assert read[-1]["content"] == "<tool_response>sunny</tool_response>"
        assert "Rome" in read[-2]["content"]

    @pytest.mark.parametrize(
        "answer",
        [
            status(400, "the prompt is too long"),
            status(500, "Failed to parse the tool call"),
            status(429, "quota exceeded"),
            status(404, "no such model"),
            page(502, "<html>bad gateway</html>"),
        ],
    )
    async def test_what_is_no_refusal_of_tools(self, answer: Answer) -> None:
        async with LlmServer(otherwise=answer) as server, client(server.url) as model:
            for _ in range(2):
                before = len(server.requests)
                with pytest.raises(StageError):
                    await take(model, prompt=PROMPT)
                assert "tools" in server.requests[before].body

    async def test_messages_of_tools_that_are_refused(self) -> None:
        past: Sequence[dict[str, object]] = [
            {"role": "tool", "content": "sunny", "tool_call_id": "a"}
        ]
        answer = status(400, "messages with role 'tool' must follow tool calls")
        async with LlmServer(otherwise=answer) as server, client(server.url) as model:
            with pytest.raises(StageError):
                await take(model, prompt=Prompt([*PROMPT, *past], [WEATHER]))


class TestAgain:
    """Where a call cannot be right, the model is told so, once; nobody hears of it."""

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('<tool_call>{"name": "weather", "arguments": {}}</tool_call>', "lack city"),
            (
                '<tool_call>{"name": "weather", "arguments": {"city": 3}}</tool_call>',
                "has to be of type string",
            ),
            ("<tool_call>the weather, please</tool_call>", "cannot be read"),
        ],
    )
    async def test_the_right_one_counts(self, text: str, problem: str) -> None:
        """It has chosen to call: it can write nothing else then."""
        right = f'{{"name": "weather", "arguments": {ROME}}}'
        answers = reply("Let me see. ", text), reply(right)
        async with LlmServer(*answers) as server, client(server.url) as model:
            pieces = await take(model, prompt=PROMPT)
            again = server.requests[1].body
        assert pieces == [
            "Let me see. ",
            Used(7, 5, 2),
            Used(7, 5, 1),
            ToolUse("", "weather", ROME),
        ]
        assert [m["role"] for m in again["messages"]] == ["user", "assistant", "user"]
        assert problem in again["messages"][-1]["content"]
        assert again["tools"]
        schema = again["response_format"]["json_schema"]["schema"]
        assert schema["properties"] == {"name": {"const": "weather"}, "arguments": SCHEMA}

    @pytest.mark.parametrize(
        ("second", "expected"),
        [
            (reply("Hello! "), ["Hello! "]),
            (calling(WHOLE), [CALL]),
            (reply('<tool_call>{"name": "news"}</tool_call>'), [ToolUse("", "news", "{}")]),
        ],
    )
    async def test_a_tool_that_there_is_not(self, second: Answer, expected: list[Any]) -> None:
        """Perhaps none is wanted: the model may answer in words."""
        first = reply('<tool_call>{"name": "news", "arguments": {}}</tool_call>')
        async with LlmServer(first, second) as server, client(server.url) as model:
            pieces = await take(model, prompt=PROMPT)
            assert "response_format" not in server.requests[1].body
        assert [piece for piece in pieces if not isinstance(piece, Used)] == expected

    async def test_of_several_calls_the_right_ones_stay(self) -> None:
        steps = [
            tool_call(ROME, index=0, id="a", name="weather"),
            tool_call('{"town": "Oslo"}', index=1, id="b", name="weather"),
        ]
        oslo = '{"name": "weather", "arguments": {"city": "Oslo"}}'
        pieces = await converse(calling(*steps), reply(oslo), prompt=PROMPT)
        assert pieces[-2:] == [CALL, ToolUse("", "weather", '{"city": "Oslo"}')]

    async def test_a_call_of_the_api_s_is_looked_at_too(self) -> None:
        wrong = calling(tool_call('{"town": "Rome"}', index=0, id="a", name="weather"))
        async with LlmServer(wrong, calling(WHOLE)) as server, client(server.url) as model:
            assert (await take(model, prompt=PROMPT))[-1] == CALL
            assert "town" in server.requests[1].body["messages"][-2]["content"]

    @pytest.mark.parametrize(
        "second",
        [
            reply("I would rather not."),
            reply('{"name": "weather", "arguments": {}}'),
            status(500, "no"),
        ],
    )
    async def test_once_only_and_without_a_word(self, second: Answer) -> None:
        """What was called at first is called then: who runs it says what is wrong."""
        text = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
        async with LlmServer(reply(text), second) as server, client(server.url) as model:
            pieces = await take(model, prompt=PROMPT)
            assert pieces[0] == Used(7, 5, 1)
            assert pieces[-1] == ToolUse("", "weather", "{}")
            assert not [piece for piece in pieces if isinstance(piece, str)]
            assert len(server.requests) == 2

    async def test_a_server_that_knows_no_formats(self) -> None:
        text = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
        right = reply(f'<tool_call>{{"name": "weather", "arguments": {ROME}}}</tool_call>')
        picky = refusing("response_format", otherwise=right)
        async with LlmServer(reply(text), otherwise=picky) as server, client(server.url) as model:
            assert (await take(model, prompt=PROMPT))[-1] == ToolUse("", "weather", ROME)

    async def test_a_call_that_has_to_be_and_is_not(self) -> None:
        prompt = Prompt(PROMPT, [WEATHER], choice="required")
        right = f'{{"name": "weather", "arguments": {ROME}}}'
        async with LlmServer(reply("Sunny."), reply(right)) as server, client(server.url) as model:
            assert (await take(model, prompt=prompt))[-1] == ToolUse("", "weather", ROME)
            assert server.requests[0].body["tool_choice"] == "required"
            schema = server.requests[1].body["response_format"]["json_schema"]["schema"]
            assert schema["properties"]["name"] == {"const": "weather"}

    async def test_the_one_that_has_to_be(self) -> None:
        choice: dict[str, Any] = {"type": "function", "function": {"name": "weather"}}
        prompt = Prompt(PROMPT, [WEATHER, Tool("news")], choice=choice)
        right = reply(f'{{"name": "weather", "arguments": {ROME}}}')
        wrong = calling(tool_call("{}", index=0, id="a", name="news"))
        async with LlmServer(wrong, right) as server, client(server.url) as model:
            assert (await take(model, prompt=prompt))[-1] == ToolUse("", "weather", ROME)
            assert len(server.requests[1].body["tools"]) == 2


class TestRepeated:
    """A model that runs here calls what it has the result of: it is asked to answer with that."""

    @staticmethod
    async def answered(here: bool, *answers: Answer) -> tuple[list[Any], list[Request]]:
        past: Sequence[dict[str, Any]] = [
            {"role": "assistant", "content": "", "tool_calls": [OF_A_MESSAGE]},
            {"role": "tool", "content": "sunny", "tool_call_id": "a"},
        ]
        async with LlmServer(*answers) as server:
            chosen = settings(server.url)
            where = replace(chat_server(chosen), shows_tools="template" if here else "count")
            model = ChatModel(where, chosen)
            try:
                pieces = await take(model, prompt=Prompt([*PROMPT, *past], [WEATHER]))
            finally:
                await model.close()
            return pieces, server.requests

    async def test_its_answer_is_the_reply(self) -> None:
        pieces, asked = await self.answered(True, calling(WHOLE), reply("It is sunny."))
        assert [piece for piece in pieces if isinstance(piece, str | ToolUse)] == ["It is sunny."]
        assert "tools" not in asked[1].body
        assert [m["role"] for m in asked[1].body["messages"]] == [
            *("user", "assistant", "user", "assistant", "user")
        ]

    async def test_other_arguments_are_another_call(self) -> None:
        oslo = '{"city": "Oslo"}'
        pieces, _ = await self.answered(True, calling(tool_call(oslo, id="b", name="weather")))
        assert pieces[-1] == ToolUse("b", "weather", oslo)

    async def test_elsewhere_there_may_be_a_reason(self) -> None:
        pieces, _ = await self.answered(False, calling(WHOLE))
        assert pieces[-1] == CALL


async def test_a_model_that_calls_better_so_is_told_of_tools_in_words() -> None:
    async with LlmServer(reply("No.")) as server:
        chosen = settings(server.url)
        where = replace(chat_server(chosen), shows_tools="template", tools_in_words=True)
        model = ChatModel(where, chosen)
        try:
            await model.learn(Prompt(PROMPT, [WEATHER]))
            await take(model, prompt=Prompt(PROMPT, [WEATHER]))
        finally:
            await model.close()
    (asked,) = server.requests
    assert "tools" not in asked.body
    assert "# Tools" in asked.body["messages"][0]["content"]


async def test_whether_the_user_is_done_is_asked_of_the_words_alone() -> None:
    """What calls the tools to mind stands behind them when a reply is asked for, not before."""
    turns = [
        *QUESTION,
        {"role": "assistant", "content": "I do not know."},
        {"role": "user", "content": "And of"},
    ]
    prompt = Prompt(turns, [WEATHER])
    async with LlmServer(reply("No.")) as server:
        chosen = settings(server.url)
        where = replace(chat_server(chosen), shows_tools="template", tools_in_words=True)
        model = ChatModel(where, chosen)
        try:
            judged = [*model.as_read(prompt)]
            await take(model, prompt=prompt)
        finally:
            await model.close()
    asked = server.requests[0].body["messages"]
    assert judged[:-1] == asked[:-1]
    assert judged[-1]["content"] == "And of"
    assert asked[-1]["content"].startswith("And of\n(If a tool fits")


class TestNotShown:
    """A model that does not see its tools, as the length of its prompt tells."""

    @staticmethod
    def counting(with_tools: int, without: int, otherwise: Answer) -> Script:
        def answer(request: Request) -> Answer:
            if request.body.get("stream"):
                return otherwise
            read = with_tools if "tools" in request.body else without
            counts = {"usage": {"prompt_tokens": read}, "choices": []}
            return Answer([json.dumps(counts).encode()], 200, "application/json")

        return answer

    @pytest.mark.parametrize(("read", "shown"), [(30, False), (90, True)])
    async def test_it_is_found_out_once(self, read: int, shown: bool) -> None:
        script = self.counting(read, 30, reply("No."))
        async with LlmServer(otherwise=script) as server, client(server.url) as model:
            await model.learn(QUESTION)
            assert not server.requests
            for _ in range(2):
                await model.learn(PROMPT)
            assert len(server.requests) == 2
            await take(model, prompt=PROMPT)
            body = server.requests[-1].body
        assert ("tools" in body) == shown
        assert (body["messages"][0]["role"] == "system") != shown

    async def test_a_server_that_counts_nothing_is_believed(self) -> None:
        async with LlmServer(otherwise=reply("No.")) as server, client(server.url) as model:
            for _ in range(2):
                await model.learn(PROMPT)
            assert len(server.requests) == 1, "it is asked once"
            await take(model, prompt=PROMPT)
            assert "tools" in server.requests[-1].body

    async def test_a_call_that_has_to_be(self) -> None:
        script = self.counting(30, 30, reply(f'{{"name": "weather", "arguments": {ROME}}}'))
        prompt = Prompt(PROMPT, [WEATHER], choice="required")
        async with LlmServer(otherwise=script) as server, client(server.url) as model:
            await model.learn(prompt)
            assert (await take(model, prompt=prompt))[-1] == ToolUse("", "weather", ROME)
            assert "response_format" in server.requests[-1].body
            assert "tool_choice" not in server.requests[-1].body
