"""What-if against what is: turns with one language model predict turns with another.

Everything is real and in real time but the model, whose delays are scripted.
"""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from servers.llm_server import (
    DONE,
    ROLE,
    Answer,
    LlmServer,
    Request,
    delta,
    finish,
    pause,
    reply,
    usage,
)
from support.cli_child import CORPUS, HUMAN, json_lines, needs_people, run, scripted
from support.real_time import in_time, shortened

from pipeline.config import Settings, load
from pipeline.engines.local import LocalEngines
from pipeline.measure.corpus import Item, gather
from pipeline.measure.record import RECORDS, Record
from pipeline.profile.executor import Bounds, measure_turn
from pipeline.profile.what_if import predict
from pipeline.trace import description

NUMBERS = (2, 5, 8)
"""The recordings."""

SPOKEN_S = 1.5
"""So much is played of what is said in a recording, the end."""

MODES = ("overlapped", "speculative")
DELAYS = {"quick": (0.25, 0.010), "slow": (0.55, 0.045)}
"""Seconds to the first token, and from one to the next."""

REPLY = "The train leaves at nine and it takes about an hour."
TOLERANCE, TOLERANCE_MS = 0.10, 15.0


def answer(first_s: float, gap_s: float) -> Answer:
    first, *others = [f"{word} " for word in REPLY.split()]
    steps = [ROLE, pause(first_s), delta(first)]
    for word in others:
        steps += [pause(gap_s), delta(word)]
    return Answer([*steps, finish(), usage(7, 5, len(others) + 1), DONE])


class Profile:
    """Takes the same turns with each model and in each mode, one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.delays = DELAYS["quick"]
        self.records: list[Record] = []

    async def make(self) -> None:
        items = [
            shortened(item, self.folder, SPOKEN_S)
            for item in gather([CORPUS]).items
            if int(item.name[:2]) in NUMBERS
        ]
        async with LlmServer(otherwise=self.answer) as server:
            settings = {
                # What-if knows what stages cost, not what the words do to the hold.
                mode: load(
                    None,
                    {"llm.model": server.url, "reply.mode": mode, "turns.predict": False},
                )
                for mode in MODES
            }
            first = settings[MODES[0]]
            async with LocalEngines(first) as engines:
                await self.turn(items[0], "quick", first, engines, repeat=0)
                for item in items:
                    for mode in MODES:
                        for model in DELAYS:
                            await self.turn(item, model, settings[mode], engines)
                header: dict[str, Any] = description(first, engines.names)
        header["variants"] = {
            f"{mode} {model}": {"reply.mode": mode} for mode in MODES for model in DELAYS
        }
        RECORDS.write(self.folder / RECORDS.name, header, self.records)

    def answer(self, request: Request) -> Answer:
        return answer(*self.delays)

    async def turn(
        self, item: Item, model: str, settings: Settings, engines: LocalEngines, repeat: int = 1
    ) -> None:
        self.delays = DELAYS[model]

        async def once() -> Record:
            wav = self.folder / "turn.wav"
            return (await measure_turn(item, settings, engines, wav, Bounds(reply_s=0.2)))[0]

        record = await in_time(once)
        variant = f"{settings.reply.mode} {model}"
        self.records.append(
            replace(
                record,
                variant=variant,
                file=item.name,
                repeat=repeat,
                order=len(self.records),
            )
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    profile = Profile(tmp_path_factory.mktemp("profile"))
    asyncio.run(profile.make())
    return profile.folder


@pytest.mark.alone
@pytest.mark.parametrize("mode", MODES)
def test_one_model_predicts_another(
    mode: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, gap = (1000 * (b - a) for a, b in zip(*DELAYS.values(), strict=True))
    slower = f"llm.first_token=+{more:.0f}ms,llm.tokens=+{gap:.0f}ms"
    quicker = f"llm.first_token=-{more:.0f}ms,llm.tokens=-{gap:.0f}ms"
    specs = [slower, quicker]
    assert predict(folder, specs, Console(file=io.StringIO()), as_json=True) == 0
    as_slow, as_quick = json.loads(capsys.readouterr().out)["predictions"]
    quick = as_slow["variants"][f"{mode} quick"]
    slow = as_quick["variants"][f"{mode} slow"]
    assert quick["n"] == slow["n"] == len(NUMBERS)
    was_quick, was_slow = (one["measured_ms"]["median"] for one in (quick, slow))
    # There is something to predict, though most of it is hidden in the hold.
    assert was_slow > was_quick + 0.25 * more
    for predicted, measured in ((quick, was_slow), (slow, was_quick)):
        median = predicted["predicted_ms"]["median"]
        assert median == pytest.approx(measured, rel=TOLERANCE, abs=TOLERANCE_MS)


@needs_people
def test_short_phrases_of_people_are_not_waited_for_long(tmp_path: Path) -> None:
    phrases = [HUMAN / "google" / f"{name}.wav" for name in ("half_an_hour", "today", "hello")]
    trace = tmp_path / "trace"
    with scripted(otherwise=reply("Fine.")) as server:
        outcome = run(
            *("talk", "--fast", f"--llm={server.url}", f"--trace={trace}"),
            *(f"--input={phrase}" for phrase in phrases),
            f"--output={tmp_path / 'reply.wav'}",
            env={"CASCADE_STT__MODEL": "tiny.en"},
        )
    assert outcome.code == 0, outcome.err
    ended = [mark for mark in json_lines(trace.read_text()) if mark.get("mark") == "committed"]
    assert len(ended) == len(phrases)
    assert all(mark["hold_ms"] < 1000 for mark in ended), ended
