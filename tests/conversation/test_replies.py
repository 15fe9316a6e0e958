"""A session's replies: what is held gets out with the commit only, and calls get their results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from servers.llm_server import DONE, Answer, LlmServer, delta, finish, reply, tool_call, usage
from support import virtual_time
from support.llm_client import HANG_GUARD_S, client, hermetic
from support.scripted import Engines, Model

from pipeline.clock import Clock
from pipeline.config import Settings
from pipeline.conversation.history import History
from pipeline.conversation.replies import CallGroup, OpenCalls, Replies
from pipeline.conversation.reply import Reply, ReplyPace
from pipeline.engines.llm import Messages, Writer
from pipeline.engines.tools import Tool, ToolUse
from pipeline.engines.whisper import Transcription
from pipeline.errors import CascadeError, StageError
from pipeline.events import (
    Event,
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyStarted,
    ToolCall,
    Transcript,
    Usage,
)
from pipeline.session import Inbox
from pipeline.trace import Trace

TEXT = "It leaves at nine in the morning, from platform four."


class Attempt:
    """One turn and what was told of it, with times (s); tools answer at once."""

    def __init__(
        self,
        model: Writer,
        recognised: str = "When?",
        *,
        outputs: Sequence[str] = (),
        clock: Clock | None = None,
    ) -> None:
        self.engines = Engines([recognised], model)  # type: ignore[arg-type]
        self.history = History("Be brief.", budget_tokens=1000, retention=0.5, tools=[Tool("w")])
        self.told: list[tuple[float, Event]] = []
        self.read: list[Messages] = []
        self.recognised = recognised
        self.outputs = list(outputs)
        self.inbox = Inbox()
        self.replies = Replies(
            self.engines,
            Settings(),
            history=self.history,
            trace=Trace(),
            clock=clock or virtual_time.VirtualClock(),
            tell=self.tell,
            inbox=self.inbox,
            judge=self.judge,
            read_on=lambda: self.read.append(self.history.prompt()),
            pace=ReplyPace(lead_s=30),
        )

    def tell(self, event: Event) -> None:
        self.told.append((asyncio.get_running_loop().time(), event))
        if isinstance(event, ToolCall):
            self.inbox.put(self.replies.tool_result, event.id, self.outputs.pop(0))

    async def judge(self, messages: Messages, heard: Transcription) -> None:
        await asyncio.sleep(0.01)

    async def recognise(self) -> Transcription:
        await asyncio.sleep(0.05)
        if self.recognised == "FAIL":
            raise StageError("stt", "failed")
        return Transcription(self.recognised, "en", -0.1, 0.0, 1.0)

    async def run(self, commit_s: float | None, total_s: float = 30.0) -> Reply:
        async with self.inbox:
            self.replies.new_turn()
            self.replies.begin(self.recognise)
            held = self.replies.held
            assert held is not None
            if commit_s is None:
                await asyncio.sleep(total_s)
                self.replies.drop("the user went on")
                return held
            await asyncio.sleep(commit_s)
            self.replies.commit()
            while held.status is None:
                await asyncio.sleep(0.01)
        return held

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.told]


def test_a_reply_that_is_never_committed_leaves_no_trace() -> None:
    attempt = Attempt(Model([TEXT]))
    held = virtual_time.run(attempt.run(None))
    assert attempt.told == []
    assert attempt.history.history == []
    assert not attempt.replies.speaking
    assert len(held.text) == len(TEXT) + 1
    assert held.made_s > 1


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 3))
def test_whenever_it_is_committed_the_same_is_told_in_the_same_order(commit_s: float) -> None:
    attempt = Attempt(Model([TEXT]))
    virtual_time.run(attempt.run(commit_s))
    assert all(t >= commit_s - 1e-6 for t, _ in attempt.told)
    first, second, *_ = attempt.events
    assert first == Transcript(1, "When?", True)
    assert second == ReplyStarted(1, "reply-1")
    assert attempt.events[-1] == ReplyDone(1, "reply-1", "completed")
    audio = [t for t, event in attempt.told if isinstance(event, ReplyAudio)]
    assert audio[0] - commit_s <= 0.25
    # It is read ahead whole, and kept as it was heard.
    assert [m["content"] for m in attempt.read[0][1:]] == ["When?", TEXT]
    assert [m.content for m in attempt.history.history] == ["When?"]
    attempt.replies.heard("reply-1", 10**9)
    assert [m.content for m in attempt.history.history] == ["When?", TEXT]
    assert not attempt.replies.speaking


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1), st.sampled_from(["llm", "stt"]))
def test_a_failure_is_told_after_the_commit_only(commit_s: float, stage: str) -> None:
    attempt = Attempt(Model([StageError("llm", "failed")]), "FAIL" if stage == "stt" else "When?")
    virtual_time.run(attempt.run(commit_s))
    assert all(t >= commit_s - 1e-6 for t, _ in attempt.told)
    assert Failure(1, stage, "failed", False) in attempt.events
    assert isinstance(attempt.events[-1], ReplyDone)
    assert attempt.events[-1].turn == 1


# --- with a server, over real sockets ---

ROME, BAD = '{"city": "Rome"}', "{city: Rome"


def calling(*arguments: str, words: str = "") -> Answer:
    """Some words, and a call for each of these arguments."""
    calls = [
        tool_call(text, index=i, id=f"id{i}", name="weather") for i, text in enumerate(arguments)
    ]
    return Answer([delta(words), *calls, finish("tool_calls"), usage(7, 5, 2), DONE])


@pytest.mark.usefixtures(hermetic.__name__)
async def test_a_server_is_asked_again_with_the_call_and_its_result() -> None:
    answers = [calling(ROME, words="Let me see."), reply("Sunny.")]
    async with LlmServer(*answers) as server, client(server.url) as model:
        attempt = Attempt(model, outputs=["25 degrees"], clock=Clock())
        async with asyncio.timeout(HANG_GUARD_S):
            made = await attempt.run(0.1)
        first, second = (request.body for request in server.requests)
        assert server.connections == 1
    assert made.text == "Let me see. Sunny."
    assert made.cuts == [len("Let me see.")]
    assert [e for e in attempt.events if isinstance(e, Usage)] == [
        Usage(1, 7, 5, 2),
        Usage(1, 7, 5, 1),
    ]
    assert ToolCall(1, "id0", "weather", ROME) in attempt.events
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


@pytest.mark.usefixtures(hermetic.__name__)
async def test_ids_that_come_again_and_malformed_arguments() -> None:
    answers = [calling(ROME, BAD), calling(ROME), reply("Sunny.")]
    async with LlmServer(*answers) as server, client(server.url) as model:
        attempt = Attempt(model, outputs=["one", "two", "three"], clock=Clock())
        async with asyncio.timeout(HANG_GUARD_S):
            await attempt.run(0.1)
        messages = server.requests[2].body["messages"]
    assert [(e.id, e.arguments) for e in attempt.events if isinstance(e, ToolCall)] == [
        ("id0", ROME),
        ("id1", BAD),
        ("call00001", ROME),
    ]
    sent = [c for m in messages for c in m.get("tool_calls", ())]
    assert [c["id"] for c in sent] == ["id0", "id1", "call00001"]
    assert sent[1]["function"]["arguments"] == '{"unreadable": "{city: Rome"}'
    assert [m["content"] for m in messages if m["role"] == "tool"] == ["one", "two", "three"]


# --- open calls: every result reaches whoever waits, or is told late, once ---

IDS = st.sampled_from(["", "a", "b", "call00001", "call00002"])


class Calls(RuleBasedStateMachine):
    """Any order of calls, results, leaving and telling."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = OpenCalls(used=["call00003"])
        self.ids = ["call00003"]
        self.groups: list[CallGroup] = []
        self.told: list[CallGroup] = []
        self.cancelled: set[str] = set()

    @property
    def open(self) -> list[str]:
        return [id for group in self.groups for id in group.open if id not in self.cancelled]

    @rule(ids=st.lists(IDS, min_size=1, max_size=3))
    def begin(self, ids: list[str]) -> None:
        group = self.calls.add(1, [ToolUse(id, "tool", "{}") for id in ids], 1)
        self.ids += [use.id for use in group.uses]
        self.groups.append(group)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        call_id = data.draw(st.sampled_from(sorted(self.open)))
        assert self.calls.answer(call_id)
        with pytest.raises(CascadeError, match="is open"):
            self.calls.answer(call_id)

    @precondition(lambda self: any(not group.left for group in self.groups))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiting = [i for i, group in enumerate(self.groups) if not group.left]
        self.calls.leave(self.groups[data.draw(st.sampled_from(waiting))])

    @rule()
    def tell(self) -> None:
        if (group := self.calls.next_late()) is not None:
            self.told.append(group)

    @rule()
    def cancel(self) -> None:
        self.tell_rest()
        calls = self.calls.cancel()
        assert sorted(id for _, id in calls) == sorted(self.open)
        self.cancelled |= {id for _, id in calls}
        assert not any(self.calls.answer(call_id) for _, call_id in calls)

    @invariant()
    def sane(self) -> None:
        assert len(self.ids) == len(set(self.ids))
        assert all(self.ids)
        assert len(self.told) == len(set(map(id, self.told)))
        assert all(group.left and not group.open for group in self.told)
        assert all(group.answered.is_set() == (not group.open) for group in self.groups)

    def teardown(self) -> None:
        """In the end every complete group was told of, once, to whoever waited or as late."""
        self.tell_rest()
        for group in self.groups:
            assert (group in self.told) == (group.left and not group.open)

    def tell_rest(self) -> None:
        while (group := self.calls.next_late()) is not None:
            self.told.append(group)


TestCalls = Calls.TestCase


def test_ids_that_servers_leave_out_are_made() -> None:
    uses = [ToolUse("", "tool", "{}"), ToolUse("x", "tool", "{}"), ToolUse("x", "tool", "{}")]
    group = OpenCalls().add(1, uses, 1)
    assert [use.id for use in group.uses] == ["call00001", "x", "call00002"]
