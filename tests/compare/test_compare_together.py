"""`--together`: the same words at the same moment, and each system measured as if it were alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.metronome import Answer, MetronomeSystem, cut_in
from support.noise import LEAD_S, SPEECH_S
from support.said import latency_ms, words
from support.virtual_time import in_virtual_time

from pipeline.clock import NS_PER_MS
from pipeline.compare import cost, systems
from pipeline.compare.record import CONVERSATIONS, Conversation
from pipeline.compare.run import CompareOptions, Comparison
from pipeline.compare.scenario import Gathered, Scenario
from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.measure import conduct
from pipeline.measure.pool import Pool
from pipeline.measure.record import Turn
from pipeline.speech_to_speech import specs
from pipeline.terminal import stderr

SAME_MS = 5.0
"""Within this the words are said at the same moment: a quarter of a frame."""

ERROR_MS = 5.01
"""A reply is heard with the next part of a frame; in virtual time there is no other error."""


class Metronomes:
    """Systems that are there already."""

    pool = Pool([])

    def __init__(self, found: Sequence[MetronomeSystem]) -> None:
        self.found = found

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncGenerator[list[Any]]:
        yield [*self.found]


def scenario(folder: Path, *steps: dict[str, Any]) -> Scenario:
    return Scenario("noise", steps=tuple(words(folder, patience_s=3.0, **more) for more in steps))


async def held(folder: Path, said: Scenario, *found: MetronomeSystem) -> dict[str, Conversation]:
    results = folder / "results"
    (results / "wav").mkdir(parents=True)
    options = CompareOptions(together=True, repeat=1, listen_s=0.3, json=True)
    targets = [specs.parse(f"{one.name}=openai") for one in found]
    gathered = Gathered([said], (), [])
    compared: Any = Metronomes(found)
    table = cost.prices()
    run = Comparison(
        *(Settings(), targets, compared, gathered, options, results, stderr()),
        judging=None,
        table=table,
    )
    await run.run()
    header, made = CONVERSATIONS.read(results / CONVERSATIONS.name)
    assert header["together"] is True
    return {one.path: one for one in made}


def said_ns(conversation: Conversation, number: int) -> int:
    """When the user had said it in a turn (ns), by the WAV."""
    return conversation.turns[number - 1].record.marks["speech.end"]


@in_virtual_time
async def test_each_turn_begins_for_all_once_all_have_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_ns: list[int] = []
    measure = conduct.Held.turns

    def noted(self: conduct.Held, *, cut_ins: bool = False) -> list[Turn]:
        measured_ns.append(time.monotonic_ns())
        return measure(self, cut_ins=cut_ins)

    monkeypatch.setattr(conduct.Held, "turns", noted)
    made = await held(
        tmp_path,
        scenario(tmp_path, {}, {}, {"interrupt_s": 0.3}, {}),
        MetronomeSystem(200, name="fast", answers=[Answer(seconds=s) for s in (0.5, 5, 1, 1)]),
        MetronomeSystem(900, name="slow", answers=[Answer(seconds=s) for s in (2, 5, 0.5, 1)]),
    )
    # What the sound says is not found out while others speak: they would stutter. The first is the
    # instrument's own error, before anybody speaks.
    assert min(measured_ns[1:]) > made["slow"].turns[-1].record.marks["heard.first"]
    for name, known_ms in (("fast", 200), ("slow", 900)):
        for turn in made[name].turns:
            assert latency_ms(turn) == pytest.approx(known_ms, abs=ERROR_MS)
        assert made[name].cpu_s is made[name].joules is None
    apart_ms = [
        (said_ns(made["slow"], number) - said_ns(made["fast"], number)) / NS_PER_MS
        for number in (1, 2, 3, 4)
    ]
    for together in (apart_ms[0], apart_ms[1], apart_ms[3]):
        assert abs(together) < SAME_MS
    # Each is interrupted so long into its own reply.
    assert apart_ms[2] == pytest.approx(700, abs=40)


@in_virtual_time
async def test_nobody_waits_for_a_system_that_is_gone(tmp_path: Path) -> None:
    made = await held(
        tmp_path,
        scenario(tmp_path, {}, {}),
        MetronomeSystem(name="refused", refuses="the key is refused (401)"),
        MetronomeSystem(200, name="cut", wrap=cut_in("r1")),
        MetronomeSystem(300, name="well", answers=[Answer(seconds=0.5)] * 2),
    )
    assert {name: one.status for name, one in made.items()} == {
        "refused": "failed",
        "cut": "failed",
        "well": "ok",
    }
    first, second = made["well"].turns
    assert latency_ms(first) == pytest.approx(300, abs=ERROR_MS)
    # Half a second of reply, the pause, and no more than the time for all to agree.
    began_ms = (said_ns(made["well"], 2) - said_ns(made["well"], 1)) / NS_PER_MS
    assert began_ms == pytest.approx(1000 * (SPEECH_S + 0.3 + 0.5 + 0.2 + LEAD_S), abs=150)
    assert latency_ms(second) == pytest.approx(300, abs=ERROR_MS)


@in_virtual_time
async def test_a_run_that_is_stopped_leaves_every_session(tmp_path: Path) -> None:
    entered: list[str] = []

    def counted(name: str) -> Any:
        def wrap(session: Any) -> Any:
            leave = session.__class__.__aexit__

            class Counted(session.__class__):  # type: ignore[misc]
                async def __aexit__(self, *exc: Any) -> None:
                    await leave(self, *exc)
                    entered.remove(name)

            entered.append(name)
            session.__class__ = Counted
            return session

        return wrap

    systems = [MetronomeSystem(name=name, wrap=counted(name)) for name in ("one", "other")]
    task = asyncio.create_task(held(tmp_path, scenario(tmp_path, {}, {}), *systems))
    async with asyncio.timeout(10):
        while len(entered) < 2:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert entered == []


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["cascade"], "there is one system only"),
        (["cascade", "sequential=cascade,mode=sequential"], "cascade and sequential share"),
        (["cascade", "ws://localhost:1"], "share this machine's processor"),
        (["ws://127.0.0.1:1", "ws://[::1]:1"], "share"),
        (["simulated:gpt-realtime-2.1", "ws://0.0.0.0:1"], "share"),
        (["cascade", "audio-llm:http://example.org/v1"], "share"),
        (["cascade", "openai"], ""),
        (["ws://localhost:1", "wss://192.0.2.77/v1", "gemini"], ""),
    ],
)
def test_who_can_be_spoken_to_together(
    paths: list[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    targets = [specs.parse(path) for path in paths]
    if not why:
        systems.check_together(targets)
        return
    with pytest.raises(BadInput) as told:
        systems.check_together(targets)
    assert why in str(told.value)


def test_an_api_whose_address_is_here_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    assert specs.runs_here(specs.parse("openai"))
    assert json.dumps(specs.runs_here(specs.parse("gemini"))) == "false"
