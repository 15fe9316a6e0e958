"""Holds one scenario with one system, in real time, and makes a `Conversation` of it."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from pipeline.clock import NS_PER_S, Clock
from pipeline.compare.conditions import Passage
from pipeline.compare.cost import EnergyMeter
from pipeline.compare.record import Conversation
from pipeline.compare.scenario import CannedTools, Scenario
from pipeline.compare.systems import System
from pipeline.errors import CascadeError
from pipeline.measure import conduct
from pipeline.measure.cues import Limits
from pipeline.measure.recording import MemoryTrace
from pipeline.measure.run import Made
from pipeline.measure.together import Seat


async def hold_scenario(
    system: System,
    scenario: Scenario,
    wav: Path,
    *,
    listen_s: float | None = None,
    seat: Seat | None = None,
    passage: Passage | None = None,
) -> Made[Conversation]:
    """Hold a scenario with a system. What goes wrong there is part of the result.

    Args:
        system: Who it is held with.
        scenario: What is said, with recordings.
        wav: Stereo WAV to write.
        listen_s: So much of the last reply is listened to (s); None: all of it.
        seat: Among conversations that are held together; None: it is held alone.
        passage: What the user's sound goes through; None: nothing.

    Returns:
        The conversation, save what only the run knows: its repeat, its order, where its WAV is.

    Raises:
        Unwritten: The WAV cannot be written.
        BadInput: A recording cannot be read any more.
    """
    made = Conversation(
        path=system.name,
        scenario=scenario.name,
        repeat=0,
        order=0,
        status="ok",
        topic=scenario.topic,
        instruction_chars=len(scenario.instructions),
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        rtt_ms=await system.ready(scenario),
        condition=scenario.condition,
    )
    tape = MemoryTrace()
    try:
        session = system.session(scenario, tape, Clock())
    except CascadeError as error:
        turns = tuple(conduct.unreached(scenario.steps, str(error)))
        broken = dataclasses.replace(made, status="failed", reason=str(error), turns=turns)
        return Made(broken, ())
    meter = EnergyMeter()
    held = await conduct.hold(
        session,
        tape,
        scenario.steps,
        wav,
        system.rate,
        answer=CannedTools(scenario.tools).answer,
        limits=Limits(listen_s),
        manual=system.manual,
        seat=seat,
        passing=None if passage is None else passage.push,
    )
    # What others use meanwhile cannot be told from it.
    cpu_s, joules = (None, None) if seat else (held.cpu_ns / NS_PER_S, meter.joules())
    if seat is not None:
        await seat.all_over(Clock())
    # By the number of the utterance, which the session's turns may differ from.
    numbers = {turn: number for number, said in enumerate(held.cues.said, 1) for turn in said.turns}
    usage = [{**one, "turn": numbers.get(one["turn"], 0)} for one in held.noted.usage]
    turns = tuple(held.turns(cut_ins=True))
    reason = held.reason
    if any(turn.record.status == "timeout" for turn in turns):
        reason = reason or getattr(session, "unheard", "")
    made = dataclasses.replace(
        made,
        status="failed" if reason else "ok",
        reason=reason,
        facts=system.facts(session),
        usage=tuple(usage),
        seconds=held.seconds,
        cpu_s=cpu_s,
        joules=joules,
        reconnects=getattr(session, "reconnects", 0),
        turns=turns,
    )
    return Made(made, tape.lines)
