"""Conversations that are longer than what the model can be reminded of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from support import virtual_time
from support.scene import BLUNT, Scene, check_prompt, run
from support.scripted import Engines, Model

from pipeline.config import ConversationSettings, Settings, TurnSettings
from pipeline.conversation.history import (
    LEAST_SUMMARY_TOKENS,
    REMEMBERED,
    SUMMARISE,
    History,
    Message,
)
from pipeline.engines.context import TooLong
from pipeline.engines.llm import Messages, Piece
from pipeline.engines.tokens import TokenGauge
from pipeline.engines.tools import Tool
from pipeline.errors import StageError
from pipeline.events import ReplyDone, ToolCall
from pipeline.trace import Trace

WORDS = "It leaves at nine in the morning from platform four and takes three hours. " * 2
FACTS = "The user goes to Rome."


def talk(turns: int, gauge: TokenGauge | None = None, budget: int = 1000) -> History:
    """A conversation of so many turns, of some 100 tokens each, that is read as it goes on."""
    history = History("Be brief.", budget_tokens=budget, gauge=gauge)
    for turn in range(1, turns + 1):
        history.add("user", f"Question {turn}: {WORDS}", turn)
        history.prompt()
        history.settle(turn, f"Answer {turn}: {WORDS}")
    return history


def first(prompt: Messages) -> str:
    return " ".join(str(prompt[1]["content"]).split()[:2])


def test_the_budget_is_counted_in_the_models_own_tokens() -> None:
    """Of a vocabulary that needs twice as many tokens half as many turns are kept."""
    gauge = TokenGauge()
    kept = talk(3, gauge).prompt()
    for _ in range(3):
        gauge.learn(kept, round(gauge.prompt(kept) * 2))
    few, many = talk(40, gauge).prompt(), talk(40).prompt()
    assert len(few) < 0.7 * len(many)
    assert gauge.prompt(few) <= 1000


def test_however_large_the_budget_the_model_can_hold_the_prompt() -> None:
    gauge = TokenGauge()
    gauge.fits(600, 100)
    history = talk(40, gauge, budget=100_000)
    for reserve in (0, 100):
        prompt = history.prompt(said="And now?", reserve_tokens=reserve)
        check_prompt(prompt)
        assert gauge.prompt(prompt) + reserve <= 500


def test_long_instructions_and_tools_leave_room_for_what_is_said() -> None:
    tools = [Tool(f"tool_{n}", "Does something. " * 20) for n in range(10)]
    history = History("Be brief. " * 500, budget_tokens=1000, tools=tools)
    for turn in range(1, 30):
        history.add("user", WORDS, turn)
        history.settle(turn, WORDS)
    prompt = history.prompt()
    assert len(prompt) >= 5
    assert prompt[0]["content"] == "Be brief. " * 500
    assert len(prompt.tools) == 10


def test_a_summary_goes_on_from_what_was_read_and_stands_behind_the_instructions() -> None:
    history = talk(2)
    assert history.to_summarise() is None, "there is room for more"
    turn = 2
    while (asked := history.to_summarise()) is None:
        turn += 1
        history.add("user", WORDS, turn)
        history.settle(turn, WORDS)
    before = history.prompt()
    assert len(history.prompt()) == 2 * turn + 1, "nothing is left out yet"
    assert asked[:-1] == before
    assert asked[-1]["content"] == SUMMARISE
    check_prompt(asked)
    history.summarised(f"  {FACTS}\n")
    after = history.prompt()
    assert after[0]["content"] == f"Be brief.\n\n{REMEMBERED}{FACTS}"
    assert len(after) < len(before) * 0.7
    assert history.to_summarise() is None, "all of it is in the summary"
    # It is part of what is saved, where it was made; and the words are all there.
    assert history.history[-1] == Message("system", FACTS, turn)
    assert len(history.history) == 2 * turn + 1
    history.add("user", "And now?", turn + 1)
    assert [m.role for m in history.history[-2:]] == ["system", "user"]


def test_a_summary_is_in_prompts_from_the_next_time_on_that_turns_are_left_out() -> None:
    history = talk(40)
    roomy = talk(2, budget=100_000)
    for conversation, told in ((history, True), (roomy, False)):
        saved = [*conversation.history, Message("system", FACTS, 3)]
        resumed = History("Be brief.", budget_tokens=1000)
        resumed.restore(saved)
        prompt = resumed.prompt()
        check_prompt(prompt)
        assert (FACTS in prompt[0]["content"]) == told
        assert resumed.history[: len(saved)] == sorted(saved, key=lambda m: m.turn)


def test_where_no_sentence_has_room_no_summary_is_asked_for() -> None:
    for turns in range(1, 20):
        assert talk(turns, budget=150).to_summarise() is None
    asked = [talk(turns, budget=600).to_summarise() for turns in range(1, 20)]
    assert {prompt.limit >= LEAST_SUMMARY_TOKENS for prompt in asked if prompt} == {True}


@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_model_that_writes_no_summary_changes_nothing(text: str) -> None:
    history = talk(4)
    before = history.prompt()
    history.summarised(text)
    assert history.prompt() == before


def test_nothing_is_summarised_in_the_middle_of_a_turn() -> None:
    history = talk(8)
    assert history.to_summarise() is not None
    history.add("user", "Weather?", 9)
    assert history.to_summarise() is None


# --- in a session ---


class Recorder(Model):
    """Answers at length, and writes summaries; notes when it was left."""

    def __init__(self, summary: str = FACTS) -> None:
        super().__init__([])
        self.summary = summary
        self.summaries = self.left = 0

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        summing = messages[-1]["content"] == SUMMARISE
        self.scripts = [self.summary if summing else WORDS.strip()]
        self.summaries += summing
        try:
            async for piece in super().stream(messages):
                yield piece
        except (GeneratorExit, asyncio.CancelledError):
            self.left += summing
            raise


def long_talk(model: Model, pause_s: float, *, summary: bool, turns: int = 12) -> Scene:
    options = Settings(
        turns=TurnSettings(predict=False),
        conversation=ConversationSettings(budget_tokens=700, summary=summary),
    )
    scene = Scene(Engines(["When does the train leave?"], model), options=options)
    return run(scene, *[(1.0, True), (pause_s, False)] * turns)


def test_a_summary_is_made_while_nobody_waits_and_what_follows_is_read_ahead() -> None:
    model = Recorder()
    scene = long_talk(model, 20.0, summary=True)
    assert model.summaries >= 1
    assert [d.status for d in scene.of(ReplyDone)] == ["completed"] * 12
    system = f"{BLUNT.llm.instructions}\n\n{REMEMBERED}{FACTS}"
    assert any(prompt[0]["content"] == system for prompt in scene.engines.ahead)
    # No reply is asked for with another beginning than was read before.
    replies = [p for p in model.prompts if p[-1]["content"] != SUMMARISE]
    assert any(prompt[0]["content"] == system for prompt in replies)
    read = [list(prompt) for prompt in scene.engines.ahead]
    for prompt in replies[1:]:
        assert any(prompt[: len(known)] == known for known in read)


def test_no_summary_unless_it_is_wanted() -> None:
    model = Recorder()
    long_talk(model, 20.0, summary=False)
    assert model.summaries == 0
    assert model.prompts[-1][0]["content"] == BLUNT.llm.instructions


def test_the_user_does_not_wait_for_a_summary() -> None:
    """One that would take minutes is left as soon as they speak; nothing is lost by that."""
    model = Recorder("word " * 10_000)
    scene = long_talk(model, 20.0, summary=True)
    assert model.left == model.summaries >= 1
    assert model.open == 0
    assert [d.status for d in scene.of(ReplyDone)] == ["completed"] * 12
    assert all(REMEMBERED not in prompt[0]["content"] for prompt in model.prompts)


def test_a_summary_that_fails_costs_nothing() -> None:
    model = Recorder("BREAK")
    scene = long_talk(model, 20.0, summary=True)
    assert model.summaries >= 1
    assert [d.status for d in scene.of(ReplyDone)] == ["completed"] * 12
    assert not scene.session.preparing


class Narrow(Model):
    """Takes no prompt of more than so many messages."""

    def __init__(self, most: int, scripts: Sequence[str | Exception], gauge: TokenGauge) -> None:
        super().__init__(list(scripts))
        self.most = most
        self.gauge = gauge

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        if len(messages) > self.most:
            self.gauge.refused(messages, context=None, counted=None, reply=0)
            raise TooLong("the server answers 400: too long", None, None)
        async for piece in super().stream(messages):
            yield piece


def narrow(most: int, *scripts: str, before: int = 6, **more: Any) -> Scene:
    gauge = TokenGauge()
    model = Narrow(most, scripts, gauge)
    engines = Engines(["And now?"], model)
    engines.tokens = gauge
    said: list[Message] = []
    for turn in range(1, before + 1):
        said += [Message("user", WORDS, turn), Message("assistant", WORDS, turn)]
    scene = Scene(engines, history=said, options=BLUNT, **more)
    return run(scene, (0.5, False), (1.0, True), (12.0, False))


def test_what_is_too_long_is_asked_again_without_the_oldest_turns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = narrow(12, "Nine.")
    assert [d.status for d in scene.of(ReplyDone)] == ["completed"]
    [prompt] = scene.engines.model.prompts
    assert prompt[-1]["content"] == "And now?"
    assert len(prompt) <= 12
    assert scene.session.history[-1].content == "Nine."
    told = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert told == ["the server answers 400: too long; going on without the oldest turns"]


def test_what_cannot_be_shortened_fails_once() -> None:
    scene = narrow(0, "Nine.", before=0)
    assert [d.status for d in scene.of(ReplyDone)] == ["failed"]


def test_results_of_tools_that_make_it_too_long_leave_out_old_turns_too() -> None:
    scene = narrow(
        14,
        "CALL:weather:{}",
        "It is sunny.",
        tools=[Tool("weather")],
        results=[(0.1, "sunny")],
    )
    assert len(scene.of(ToolCall)) == 1
    assert [d.status for d in scene.of(ReplyDone)] == ["completed"]
    for prompt in scene.engines.model.prompts:
        check_prompt(prompt)
        assert prompt[-1]["content"] in ("And now?", "sunny")


def test_a_failure_that_is_none_of_length_is_told_at_once() -> None:
    gauge = TokenGauge()
    engines = Engines(["And now?"], Narrow(99, [StageError("llm", "the server is gone")], gauge))
    scene = run(Scene(engines, options=BLUNT), (0.5, False), (1.0, True), (5.0, False))
    assert [d.status for d in scene.of(ReplyDone)] == ["failed"]


@pytest.mark.slow
def test_the_last_of_four_hundred_turns_costs_what_the_tenth_did() -> None:
    """Our own CPU, saving included, in turns that are all alike."""

    class Endless(Model):
        async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
            self.scripts = [WORDS.strip()]
            async for piece in super().stream(messages):
                yield piece
            self.prompts.clear()

    async def turn(scene: Scene) -> float:
        began = time.process_time()
        await scene.speak(0.6, loud=True)
        scene.said = 0
        await scene.speak(3.0, loud=False)
        assert scene.session.as_saved
        cost = time.process_time() - began
        scene.engines.heard.clear()
        scene.engines.ahead.clear()
        scene.engines.voice.said.clear()
        scene.events.clear()
        scene.times.clear()
        scene.sounding.clear()
        return cost

    costs: list[tuple[float, float]] = []

    async def hold() -> None:
        # Turn about at the end, for a processor that others use is not always as fast.
        young, old = (
            Scene(Engines(["When does it leave?"], Endless([])), options=BLUNT) for _ in range(2)
        )
        with Trace():
            async with young.session, old.session:
                readers = [asyncio.create_task(scene.read()) for scene in (young, old)]
                players = [asyncio.create_task(scene.play()) for scene in (young, old)]
                for _ in range(355):
                    await turn(old)
                costs.extend([(await turn(young), await turn(old)) for _ in range(45)])
                for player in players:
                    player.cancel()
            await asyncio.gather(*readers)

    virtual_time.run(hold())
    early, late = (sorted(side)[10] for side in zip(*costs[5:], strict=True))
    assert late < 1.3 * early, f"{early * 1e3:.1f} ms, {late * 1e3:.1f} ms"
