"""A model that calls tools, over real sockets: asked, answered, and asked again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from servers.llm_server import DONE, Answer, LlmServer, delta, finish, reply, tool_call, usage
from support.llm_client import HANG_GUARD_S, client, hermetic

from pipeline.conversation.history import CANCELLED, RUNNING, History, ReplyPlace
from pipeline.conversation.pending import Pending
from pipeline.conversation.reply import LULL
from pipeline.conversation.rounds import Rounds
from pipeline.engines.llm import Used, Writer
from pipeline.engines.tools import Tool
from pipeline.errors import StageError
from pipeline.events import Event, ToolCall

pytestmark = pytest.mark.usefixtures(hermetic.__name__)

ROME, BAD = '{"city": "Rome"}', "{city: Rome"


def calling(*arguments: str, words: str = "") -> Answer:
    """Some words, and a call for each of these arguments."""
    calls = [
        tool_call(text, index=i, id=f"id{i}", name="weather") for i, text in enumerate(arguments)
    ]
    return Answer([delta(words), *calls, finish("tool_calls"), usage(7, 5, 2), DONE])


class Talk:
    """One reply, and a driver that runs tools at once."""

    def __init__(self, model: Writer, outputs: list[str], *, rounds: int = 5) -> None:
        self.conversation = History(
            "Be brief.", budget_tokens=1000, retention=0.5, tools=[Tool("weather")]
        )
        self.conversation.add("user", "Weather?", 1)
        self.pending = Pending(rounds=rounds)
        self.committed = asyncio.Event()
        self.outputs = outputs
        self.calls: list[ToolCall] = []
        self.called = asyncio.Event()
        self.pieces: list[Any] = []
        self.rounds = Rounds(
            model,
            1,
            ReplyPlace(1),
            conversation=self.conversation,
            pending=self.pending,
            emit=self.emit,
            committed=self.committed,
        )

    async def emit(self, event: Event) -> None:
        assert isinstance(event, ToolCall)
        self.calls.append(event)
        self.called.set()
        if self.outputs:
            self.answer(event.id, self.outputs.pop(0))

    def answer(self, call_id: str, output: str) -> None:
        self.conversation.result(call_id, output)
        self.pending.answered(call_id)

    async def run(self) -> None:
        async for piece in self.rounds.stream(self.conversation.prompt()):
            self.pieces.append(piece)


async def test_asked_again_with_the_call_and_its_result() -> None:
    answers = [calling(ROME, words="Let me see."), reply("Sunny.")]
    async with LlmServer(*answers) as server, client(server.url) as model:
        talk = Talk(model, ["25 degrees"])
        talk.committed.set()
        await talk.run()
        first, second = (request.body for request in server.requests)
        assert server.connections == 1
    assert talk.pieces == [
        *("Let me see.", Used(7, 5, 2), LULL),
        *(" Sunny.", Used(7, 5, 1)),
    ]
    assert talk.calls == [ToolCall(1, "id0", "weather", ROME)]
    assert first["tools"] == second["tools"]
    assert second["messages"] == [
        *first["messages"],
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "id0",
                    "type": "function",
                    "function": {"name": "weather", "arguments": ROME},
                }
            ],
        },
        {"role": "tool", "content": "25 degrees", "tool_call_id": "id0"},
    ]


async def test_nothing_is_called_before_the_commit() -> None:
    async with LlmServer(calling(ROME), reply("Sunny.")) as server, client(server.url) as model:
        talk = Talk(model, ["25 degrees"])
        task = asyncio.create_task(talk.run())
        async with asyncio.timeout(HANG_GUARD_S):
            while not talk.rounds.waiting:
                await asyncio.sleep(0.005)
            assert not talk.calls
            assert len(talk.conversation.history) == 1
            talk.committed.set()
            await task
        assert talk.calls
        assert not talk.rounds.waiting


async def test_ids_that_come_again_and_malformed_arguments() -> None:
    answers = [calling(ROME, BAD), calling(ROME), reply("Sunny.")]
    async with LlmServer(*answers) as server, client(server.url) as model:
        talk = Talk(model, ["one", "two", "three"])
        talk.committed.set()
        await talk.run()
        messages = server.requests[2].body["messages"]
    assert [(call.id, call.arguments) for call in talk.calls] == [
        ("id0", ROME),
        ("id1", BAD),
        ("call00001", ROME),
    ]
    sent = [c for m in messages for c in m.get("tool_calls", ())]
    assert [c["id"] for c in sent] == ["id0", "id1", "call00001"]
    assert sent[1]["function"]["arguments"] == '{"unreadable": "{city: Rome"}'
    assert [m["content"] for m in messages if m["role"] == "tool"] == ["one", "two", "three"]


async def test_no_more_rounds_than_allowed() -> None:
    server = LlmServer(otherwise=calling(ROME, words="Again. "))
    async with server, client(server.url) as model:
        talk = Talk(model, ["sunny"] * 9, rounds=2)
        talk.committed.set()
        with pytest.raises(StageError, match=r"called tools 2 times.*conversation\.tool_rounds"):
            await talk.run()
        assert len(server.requests) == 3
    assert len(talk.calls) == 2


async def test_whoever_is_cancelled_leaves_the_call_to_others() -> None:
    async with LlmServer(calling(ROME)) as server, client(server.url) as model:
        talk = Talk(model, [])
        talk.committed.set()
        task = asyncio.create_task(talk.run())
        async with asyncio.timeout(HANG_GUARD_S):
            await talk.called.wait()
        task.cancel()
        await asyncio.wait([task])
    assert talk.conversation.history[-1].content == RUNNING
    assert talk.pending.next_late() is None
    talk.answer("id0", "sunny")
    late = talk.pending.next_late()
    assert late is not None
    assert (late.turn, late.rounds) == (1, 1)
    talk.conversation.cancel("id0")
    assert talk.conversation.history[-1].content == CANCELLED


@pytest.mark.parametrize("told", [0, 1])
async def test_what_nobody_was_told_to_run_is_cancelled(told: int) -> None:
    """The driver takes no more events when the user goes on."""
    stuck = asyncio.Event()

    class Slow(Talk):
        async def emit(self, event: Event) -> None:
            if len(self.calls) == told:
                stuck.set()
                await asyncio.Event().wait()
            await super().emit(event)

    async with LlmServer(calling(ROME, ROME)) as server, client(server.url) as model:
        talk = Slow(model, [])
        talk.committed.set()
        task = asyncio.create_task(talk.run())
        async with asyncio.timeout(HANG_GUARD_S):
            await stuck.wait()
        task.cancel()
        await asyncio.wait([task])
    results = [m.content for m in talk.conversation.history if m.call_id]
    assert results == [RUNNING] * told + [CANCELLED] * (2 - told)
    assert talk.pending.next_late() is None
    if told:
        talk.answer("id0", "sunny")
        assert talk.pending.next_late() is not None
