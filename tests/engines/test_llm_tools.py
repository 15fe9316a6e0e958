"""Tools offered to a server and called by it, over real sockets, with the real client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from support.llm_client import QUESTION, check, client, converse, failure, hermetic, take

from pipeline.engines.chat_stream import Used
from pipeline.engines.llm import Calling, ToolsRefused
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
    """Told in words, and never silently left out."""

    @pytest.mark.parametrize(
        "refusal",
        [
            refusing("tools", otherwise=reply("Hello.")),
            status(400, "registry.ollama.ai/library/gemma:2b does not support tools"),
            status(400, '"auto" tool choice requires --enable-auto-tool-choice to be set'),
            status(422, "tools: extra fields not permitted"),
            status(404, "No endpoints found that support tool use."),
            status(500, "tools param requires --jinja flag"),
            status(501, "function calling is not supported"),
        ],
    )
    async def test_by_name(self, refusal: Script) -> None:
        pieces, error = await failure(refusal, prompt=PROMPT)
        assert pieces == []
        assert isinstance(error, ToolsRefused)
        assert "refuses the tools" in str(error)
        assert not error.fatal

    async def test_by_no_name(self) -> None:
        def picky(request: Request) -> Answer:
            return status(400, "bad request") if "tools" in request.body else reply("Hello.")

        async with LlmServer(otherwise=picky) as server, client(server.url) as model:
            with pytest.raises(ToolsRefused, match="400: bad request") as caught:
                await take(model, prompt=PROMPT)
            check(caught.value, server.url)
            assert "tools" not in server.requests[-1].body
            assert "Hello." in await take(model)

    async def test_every_time(self) -> None:
        """Who learns of it decides what to do: an answer that was dropped told nobody."""
        picky = refusing("tools", otherwise=reply("Hello."))
        async with LlmServer(otherwise=picky) as server, client(server.url) as model:
            for _ in range(2):
                with pytest.raises(ToolsRefused):
                    await take(model, prompt=PROMPT)

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
            with pytest.raises(StageError) as caught:
                await take(model, prompt=PROMPT)
            assert not isinstance(caught.value, ToolsRefused)

    async def test_messages_of_tools_that_are_refused(self) -> None:
        past: Sequence[dict[str, object]] = [
            {"role": "tool", "content": "sunny", "tool_call_id": "a"}
        ]
        answer = status(400, "messages with role 'tool' must follow tool calls")
        async with LlmServer(otherwise=answer) as server, client(server.url) as model:
            with pytest.raises(StageError) as caught:
                await take(model, prompt=Prompt([*PROMPT, *past], [WEATHER]))
            assert not isinstance(caught.value, ToolsRefused)
