"""What every session does with its connections, whatever the protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from pipeline.clock import Clock
from pipeline.errors import StageError
from pipeline.events import Event, Failure, Frame, Samples
from pipeline.speech_to_speech.brief import Facts
from pipeline.speech_to_speech.connection import ApiSession
from pipeline.speech_to_speech.ledger import Parcel, ProtocolCore
from pipeline.speech_to_speech.wire import RENEWABLE, Denied, WireErrors

GUARD_S = 60

KEY = "AIzaSyNobodyMayEverReadThis-0123456789"


class Core(ProtocolCore):
    """Says what it is told to; a lost connection is a failure."""

    def result(self, call_id: str, output: str) -> None:
        self._say({"result": output})

    def lost(self, why: str, *, fatal: bool) -> None:
        self.ledger.fail(None, why, fatal=fatal)


class Wire:
    """A connection whose server takes what it is sent, or not, until it is said to end."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.got: list[Any] = []
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False


class Session(ApiSession[Wire]):
    """A session over these connections, one after the other; an error is one that fails."""

    def __init__(self, *wires: Wire | Exception, **more: Any) -> None:
        errors = WireErrors("host", "m", "A_KEY", "this")
        super().__init__(Core(lambda *_: None, lambda: 0), errors, Clock(), rate=16_000, **more)
        self.wires = list(wires)
        self.released = False

    async def _connect(self) -> Wire:
        wire = self.wires.pop(0)
        if isinstance(wire, Exception):
            raise wire
        return wire

    async def _deliver(self, connection: Wire, parcel: Parcel) -> None:
        if not connection.takes:
            await asyncio.Event().wait()
        connection.got.append(parcel.message)

    async def _read(self, connection: Wire) -> str:
        raise NotImplementedError

    async def _listen(self, connection: Wire) -> None:
        await asyncio.shield(connection.end)

    async def _shut(self, connection: Wire) -> None:
        connection.closed = True

    async def _release(self) -> None:
        self.released = True

    def _found(self, connection: Wire, connect_ms: float) -> Facts:
        return Facts("m", "host", connect_ms)

    def _pack(self, samples: Samples) -> int:
        return len(samples)


def frame() -> Frame:
    return Frame(np.zeros(320, np.int16), 16_000)


def lost(why: str = "gone", *, fatal: bool = False) -> StageError:
    return StageError("direct", why, fatal=fatal)


async def failures(session: Session) -> list[tuple[str, bool]]:
    """Its failures, to the end of its events."""
    events: list[Event] = []
    async with asyncio.timeout(GUARD_S):
        async for event in session.events():
            events.append(event)
    return [(event.message, event.fatal) for event in events if isinstance(event, Failure)]


async def test_sound_that_was_not_sent_goes_over_the_next_connection_and_results_do_not() -> None:
    first, second = Wire(takes=False), Wire()
    async with Session(first, second) as session:
        await session.send(frame())
        await session.tool_result("c1", "4")
        await asyncio.sleep(0)
        first.end.set_exception(lost())
        async with asyncio.timeout(GUARD_S):
            while not second.got:
                await asyncio.sleep(0.01)
        assert session.reconnects == 1
        await session.tool_result("c2", "5")
        while len(second.got) < 2:
            await asyncio.sleep(0.01)
    assert second.got == [320, {"result": "5"}]
    assert first.closed and second.closed and session.released


async def test_a_server_that_takes_nothing_is_left() -> None:
    first, second = Wire(takes=False), Wire()
    async with Session(first, second, stall_s=0.05) as session:
        await session.send(frame())
        async with asyncio.timeout(GUARD_S):
            while not second.got:
                await asyncio.sleep(0.01)
    assert await failures(session) == [("host takes nothing for 0.05 s", False)]


async def test_connections_that_break_again_and_again() -> None:
    wires = [Wire() for _ in range(3)]
    for wire in wires:
        wire.end.set_exception(lost())
    async with Session(*wires, losses=2) as session:
        told = await failures(session)
    assert told == [
        *(("gone", False), ("gone", False)),
        ("gone; again and again: given up", True),
    ]
    assert session.reconnects == 2


@pytest.mark.parametrize(
    ("refusals", "said"),
    [
        ([lost("busy")] * 2, "gone; and then: busy"),
        ([Denied("direct", "no")], "gone; and then: no"),
    ],
)
async def test_a_server_that_lets_nobody_in_again(refusals: list[Exception], said: str) -> None:
    wire = Wire()
    wire.end.set_exception(lost())
    async with Session(wire, *refusals, retries_s=(0.0, 0.01)) as session:
        assert await failures(session) == [("gone", False), (said, True)]
        assert wire.closed
        await session.send(frame())  # nobody minds


async def test_a_mistake_of_ours_ends_the_session_and_is_told() -> None:
    wire = Wire()
    wire.end.set_exception(ZeroDivisionError("by zero"))
    async with Session(wire) as session:
        assert await failures(session) == [("ZeroDivisionError: by zero", True)]


async def test_a_session_that_cannot_begin_keeps_nothing() -> None:
    session = Session(lost("no"))
    with pytest.raises(StageError, match="no"):
        await session.__aenter__()
    assert session.released and session.facts is None


async def test_a_session_can_be_left_while_it_connects_again() -> None:
    wire = Wire()
    wire.end.set_exception(lost())
    async with asyncio.timeout(GUARD_S), Session(wire, Wire(), retries_s=(GUARD_S,)) as session:
        while not wire.closed:
            await asyncio.sleep(0.01)
    assert session.released and session.reconnects == 0


@pytest.mark.parametrize(
    ("renewable", "code", "reason", "said", "definite"),
    [
        (None, 1007, f"API key {KEY} not valid. Pass a valid one.", "refuses the key", True),
        (None, 1011, "You exceeded your current quota, please check your plan", "quota", True),
        (None, 1008, "models/x is not found for API version v1", "no model 'm'", True),
        (None, 1008, "Internal error.", r"closed the connection \(1008: Internal", False),
        (None, 1000, "", r"closed the connection \(1000\)$", False),
        (RENEWABLE, 1011, "You exceeded your quota", "closed the connection .*quota", False),
        (RENEWABLE, 3000, "invalid_api_key", "refuses the key .*set A_KEY", True),
        (RENEWABLE, 4000, "no more", r"closed the connection \(4000: no more\)", True),
        (None, 1006, "Abnormal closure.", "the connection broke", False),
    ],
)
def test_reasons_for_closing(
    renewable: tuple[int, ...] | None, code: int, reason: str, said: str, definite: bool
) -> None:
    errors = WireErrors("host", "m", "A_KEY", "this", renewable)
    error = errors.closed_with(code, reason)
    assert error.fatal is definite
    assert KEY not in str(error)
    with pytest.raises(StageError, match=said):
        raise error
