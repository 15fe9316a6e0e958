"""What moves sound between a session and the ends of the line, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator

import numpy as np
import pytest
from support import virtual_time
from support.scripted import LOUD, RATE, Engines, Model

from pipeline.audio.playout import Playout
from pipeline.config import Settings, TurnSettings
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.reply import PACE
from pipeline.driver import REPORT_S, Driver
from pipeline.events import Frame
from pipeline.trace import Trace

LONG = "It leaves at nine in the morning, from platform four, and it takes three hours. " * 6
BLOCK_S = 0.01


class StuckMicrophone:
    """A microphone that gives a question and then nothing more, and a loudspeaker that plays on."""

    def __init__(self, clock: virtual_time.VirtualClock) -> None:
        self.playout = Playout(1000)
        self.sounding_s = 0.0
        self._clock = clock

    async def frames(self) -> AsyncGenerator[Frame]:
        for i, level in enumerate([0] * 25 + [LOUD] * 30 + [0] * 40):
            await asyncio.sleep(0.02)
            samples = np.full(RATE // 50, level, np.int16)
            yield Frame(samples, RATE, i * RATE // 50, self._clock.now_ns())
        await asyncio.Event().wait()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(BLOCK_S)
            block = self.playout.read(int(BLOCK_S * self.playout.rate), self._clock.now_ns())
            self.sounding_s += BLOCK_S * bool(block.any())

    def go_on(self, quiet: bool, turns: int) -> bool:
        return True


def test_a_reply_is_heard_to_its_end_though_the_microphone_gives_nothing() -> None:
    engines = Engines(["When?"], Model([LONG]))
    clock = virtual_time.VirtualClock()
    line = StuckMicrophone(clock)

    async def talk() -> None:
        settings = Settings(turns=TurnSettings(predict=False, hold_ms=300))
        trace = Trace()
        session = Cascade(engines, settings, trace, clock)
        driver = Driver(session, line, trace)
        heard = session.heard

        async def count(reply_id: str, samples: int) -> None:
            reports.append(samples)
            await heard(reply_id, samples)

        session.heard = count  # type: ignore[method-assign]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(driver.run(), 120)
        assert "heard.last" in trace.marks(1)
        (_, reply) = session.history
        assert reply.content.strip() == LONG.strip()

    reports: list[int] = []
    virtual_time.run(talk())
    assert len(reports) * REPORT_S == pytest.approx(line.sounding_s, rel=0.1)
    assert line.sounding_s > 2 * PACE.lead_s  # so much is made ahead of what is heard


def test_a_turn_is_kept_before_it_is_told_to_be_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Twice: when its reply is made, which is kept whole, and when that was heard."""
    engines = Engines(["When?"], Model([LONG]))
    clock = virtual_time.VirtualClock()
    kept: list[tuple[str, str, set[str]]] = []
    told = ""

    async def talk() -> None:
        trace = Trace()
        settings = Settings(turns=TurnSettings(predict=False, hold_ms=300))
        session = Cascade(engines, settings, trace, clock)

        async def keep() -> None:
            nonlocal told
            told += capsys.readouterr().out
            assert ("reply_done" in told) == bool(kept)
            heard = session.history[-1].content
            (question, reply) = session.as_saved
            assert (question.content, session.history[-1].content) == ("When?", heard)
            kept.append((reply.content, heard, trace.marks(1).keys() & {"heard.last"}))

        driver = Driver(session, StuckMicrophone(clock), trace, lines=sys.stdout, keep=keep)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(driver.run(), 120)

    virtual_time.run(talk())
    (made, so_far, before), (in_the_end, heard, after) = kept
    assert made == in_the_end == heard == LONG.strip()
    assert len(so_far) < len(heard)
    assert (before, after) == (set(), {"heard.last"})
