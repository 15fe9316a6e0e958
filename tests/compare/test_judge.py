"""The judge, against a scripted server on a real socket."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from servers import llm_server as server

from pipeline.compare.judge import PROMPT, answer, judge, server_of
from pipeline.compare.record import Conversation
from pipeline.compare.scenario import Expect, Scenario, Step
from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.measure.record import Check, Record, Status, Turn

ASKED = "Does it speak like a pirate?"


def load(overrides: Mapping[str, str], options: Mapping[str, str] | None = None) -> Settings:
    assert not overrides
    return Settings()


def step(said: str = "Hello.", asked: str = ASKED) -> Step:
    return Step(said, Path("a.wav"), expect=Expect(judge=asked))


SCENARIO = Scenario("pirate", "instructions", "", (step(), step("Bye.")))


def held(*replies: str, status: Status = "ok", checks: tuple[Check, ...] = ()) -> Conversation:
    turns = tuple(
        Turn(Record("secret-path", f"pirate#{n}", 1, 0, status, reply=reply), n, checks=checks)
        for n, reply in enumerate(replies, start=1)
    )
    return Conversation("secret-path", "pirate", 1, 0, "ok", turns=turns)


async def judged(
    spec: str, *conversations: Conversation, scenario: Scenario = SCENARIO
) -> tuple[list[list[Check]], str]:
    """The checks of all turns, and what was told."""
    console = Console(file=io.StringIO(), width=200)
    found = await judge(conversations, [scenario], server_of(load, spec), console)
    assert isinstance(console.file, io.StringIO)
    return [[*turn.checks] for one in found for turn in one.turns], console.file.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", True),
        ("No.", False),
        ("**Yes**, it does.", True),
        ("The answer is: no", False),
        ("Answer: yes, because it says arr.", True),
        ('{"answer": "no", "why": "plain words"}', False),
        ("It speaks like a pirate: yes.", True),
        ("", None),
        ("Perhaps", None),
        ("Yes and no", None),
        ("There is no pirate", None),
        ("nobody knows", None),
    ],
)
def test_yes_or_no(text: str, expected: bool | None) -> None:
    assert answer(text) is expected


@given(st.text())
def test_any_text_is_an_answer_or_none(text: str) -> None:
    assert answer(text) in (True, False, None)


async def test_the_judge_decides() -> None:
    async with server.LlmServer(server.reply("Yes"), server.reply("no", ".")) as llm:
        checks, told = await judged(llm.url, held("Ahoy, matey!", "Good bye."))
    assert [[(c.kind, c.met, c.topic) for c in of] for of in checks] == [
        [("judge", True, "instructions")],
        [("judge", False, "instructions")],
    ]
    assert checks[1][0].found == "Good bye."
    assert told == ""
    first, second = (request.body for request in llm.requests)
    assert first["temperature"] == 0
    assert first["messages"][0] == {"role": "system", "content": PROMPT}
    material = json.loads(second["messages"][1]["content"])
    assert material == {
        "conversation": [{"user": "Hello.", "assistant": "Ahoy, matey!"}],
        "user": "Bye.",
        "reply": "Good bye.",
        "question": ASKED,
    }
    assert "secret-path" not in json.dumps([first, second])


async def test_the_same_question_is_asked_once_and_what_was_decided_stands() -> None:
    decided = (Check("judge", ASKED, False),)
    async with server.LlmServer(server.reply("yes")) as llm:
        checks, _ = await judged(llm.url, held("Ahoy!"), held("Ahoy!"), held("Hm", checks=decided))
    assert [of[0].met for of in checks] == [True, True, False]
    assert len(llm.requests) == 1


async def test_an_undecided_check_is_asked_again() -> None:
    before = (Check("contains", "a", True), Check("judge", ASKED, None, "the judge failed"))
    async with server.LlmServer(server.reply("yes")) as llm:
        checks, _ = await judged(llm.url, held("Ahoy!", checks=before))
    assert [(c.kind, c.met) for c in checks[0]] == [("contains", True), ("judge", True)]


async def test_no_reply_needs_no_judge() -> None:
    async with server.LlmServer() as llm:
        checks, _ = await judged(llm.url, held("", status="failed"), held(""))
    assert [(of[0].met, of[0].found) for of in checks] == [
        (False, "no reply"),
        (None, "the words of the reply are not known"),
    ]
    assert not llm.requests


async def test_a_failure_is_told_once_and_the_rest_is_judged() -> None:
    async with server.LlmServer(
        server.status(500, "boom"), server.reply("Hard to say"), server.reply("no")
    ) as llm:
        checks, told = await judged(llm.url, held("a", "b"), held("c"))
    assert [of[0].met for of in checks] == [None, None, False]
    assert "boom" in checks[0][0].found
    assert "neither yes nor no: Hard to say" in checks[1][0].found
    assert told.count("error:") == 1


async def test_a_judge_that_refuses_is_not_asked_again() -> None:
    async with server.LlmServer(server.status(401, "bad key")) as llm:
        checks, told = await judged(llm.url, held("a", "b"), held("c"))
    assert [of[0].met for of in checks] == [None, None, None]
    assert len(llm.requests) == 1
    assert "refuses the key" in told


async def test_no_server_at_all() -> None:
    async with server.LlmServer() as llm:
        url = llm.url
    checks, told = await judged(url, held("a"))
    assert checks[0][0].met is None
    assert "name another --judge" in told


async def test_what_is_not_to_be_judged_stays_as_it_is() -> None:
    other = Scenario("pirate", "recall", "", (Step("Hi.", Path("a.wav")),))
    async with server.LlmServer() as llm:
        checks, _ = await judged(llm.url, held("a"), scenario=other)
        unknown, _ = await judged(llm.url, held("a"), scenario=Scenario("x", "recall", "", ()))
    assert checks == unknown == [[]]
    assert not llm.requests


@pytest.mark.parametrize("spec", ["embedded", "model.gguf", "openai:", "ollama:", "nonsense"])
def test_what_is_no_judge(spec: str) -> None:
    with pytest.raises(BadInput, match="--judge") as error:
        server_of(load, spec)
    assert "--llm" not in str(error.value)
    assert "embedded," not in str(error.value)


def test_a_judge_needs_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(
        BadInput, match=r"--judge openai:gpt-5: there is no key; set OPENAI_API_KEY$"
    ):
        server_of(load, "openai:gpt-5")
