"""Holds one scenario with one system, in real time, and makes a `Conversation` of it."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pipeline.audio.line import Ends
from pipeline.audio.virtual import Playing
from pipeline.clock import NS_PER_S
from pipeline.compare.cost import EnergyMeter
from pipeline.compare.cues import Cues, Observed
from pipeline.compare.instrument import Tracks, measure, windows
from pipeline.compare.record import Conversation, Turn
from pipeline.compare.scenario import Scenario, Step, Toolbox
from pipeline.compare.systems import System
from pipeline.config import AudioSettings
from pipeline.conversation.history import Message
from pipeline.errors import BadInput, CascadeError
from pipeline.measure.record import Record
from pipeline.measure.recording import MemoryTrace, opened
from pipeline.measure.run import Made
from pipeline.measure.wav import stereo
from pipeline.speech_to_speech.brief import SpeechToSpeech
from pipeline.talk import Driver

PARTS = 4
"""Of a frame of 20 ms: a reply is heard at most 5 ms after its sound has come."""


class ScriptedEnds(Ends):
    """Both ends of a conversation, made of files: recordings begin when the cues say so."""

    def __init__(self, steps: Sequence[Step], cues: Cues, wav: Path, reply: Path) -> None:
        """Prepare to play the steps' recordings.

        Args:
            steps: What is said.
            cues: Say when.
            wav: Stereo WAV of both sides to write.
            reply: WAV of the replies to write.

        Raises:
            BadInput: A recording cannot be read.
        """
        recordings = [str(step.path) for step in steps]
        super().__init__(AudioSettings(), recordings, str(reply), record=wav, parts=PARTS)
        self._cues = cues

    @property
    def played(self) -> list[Playing]:
        """The recordings that have been played to their end, and when."""
        return self.card.spans if self.card is not None else []

    def go_on(self, quiet: bool, turns: int) -> bool:
        """Begin the next recording when it is time; False when the conversation is over."""
        card, cues = self.card, self._cues
        assert card is not None
        now_ns = self.clock.now_ns()
        if card.begun_ns is not None:
            cues.begins(card.begun_ns)
        if len(card.spans) == len(cues.said):
            cues.over(card.spans[-1].start_ns, card.spans[-1].end_ns)
        cue = cues.look(now_ns, quiet)
        if cue == "next":
            cues.next(now_ns)
            card.next()
        return cue != "end"


async def hold(
    system: System, scenario: Scenario, wav: Path, *, listen_s: float | None = None
) -> Made[Conversation]:
    """Hold a scenario with a system. What goes wrong there is part of the result.

    Args:
        system: Who it is held with.
        scenario: What is said, with recordings.
        wav: Stereo WAV to write.
        listen_s: So much of the last reply is listened to (s); None: all of it.

    Returns:
        The conversation, save what only the run knows: its repeat, its order, where its WAV is.

    Raises:
        Unwritten: The WAV cannot be written.
        BadInput: A recording cannot be read any more.
    """
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    tape = MemoryTrace()
    with tempfile.TemporaryDirectory() as folder:
        cues = Cues(scenario.steps, time.monotonic_ns(), listen_s)
        ends = ScriptedEnds(scenario.steps, cues, wav, Path(folder) / "reply.wav")
        held = Conversation(
            path=system.name,
            scenario=scenario.name,
            repeat=0,
            order=0,
            status="ok",
            topic=scenario.topic,
            instruction_chars=len(scenario.instructions),
            rtt_ms=await system.ready(scenario),
            started=started,
        )
        try:
            session = system.session(scenario, tape, ends.clock)
        except CascadeError as error:
            turns = tuple(_unreached(scenario, 0, str(error)))
            broken = dataclasses.replace(held, status="failed", reason=str(error), turns=turns)
            return Made(broken, ())
        commit = cast(SpeechToSpeech, session).commit if system.manual else None
        observed = Observed(session, ends, cues, Toolbox(scenario.tools), commit)
        began_ns, cpu_s, meter = ends.clock.now_ns(), time.process_time(), EnergyMeter()
        async with opened(ends, system.rate, wav):
            reason = await _converse(ends, observed, tape)
        held = dataclasses.replace(
            held,
            status="failed" if reason else "ok",
            reason=reason,
            facts=system.facts(session),
            usage=tuple(_numbered(observed.usage, cues)),
            seconds=(ends.clock.now_ns() - began_ns) / NS_PER_S,
            cpu_s=time.process_time() - cpu_s,
            joules=meter.joules(),
            reconnects=getattr(session, "reconnects", 0),
        )
    found = _turns(scenario, cues, ends, observed, tape, wav, reason)
    kept = _kept(found, cues, getattr(session, "history", None))
    return Made(dataclasses.replace(held, turns=tuple(kept)), tape.lines)


def _numbered(usage: Sequence[Mapping[str, Any]], cues: Cues) -> list[dict[str, Any]]:
    """Usage by the number of the utterance, which the session's turns may differ from."""
    numbers = {turn: number for number, said in enumerate(cues.said, 1) for turn in said.turns}
    return [{**one, "turn": numbers.get(one["turn"], 0)} for one in usage]


async def _converse(ends: ScriptedEnds, session: Observed, tape: MemoryTrace) -> str:
    """Hold the conversation to its end; gives why it ended before that, or nothing."""
    try:
        await Driver(session, ends, tape).run()
    except BadInput:
        raise
    except CascadeError as error:
        return str(error)
    return ""


def _turns(
    scenario: Scenario,
    cues: Cues,
    ends: ScriptedEnds,
    session: Observed,
    tape: MemoryTrace,
    wav: Path,
    reason: str,
) -> list[Turn]:
    """All turns: those that were held as they were, those never reached as failed."""
    played = ends.played
    turns: list[Turn] = []
    if played:
        user, reply, rate = stereo(wav)
        tracks = Tracks(user, reply, rate, ends.recorded_from_ns or played[0].start_ns)
        found = windows(tracks, cues.said, played)
        for number, (said, window) in enumerate(zip(cues.said, found, strict=False), start=1):
            turn = measure(number, said, window, tracks, session, tape)
            record = dataclasses.replace(turn.record, late_ns=ends.late_ns)
            turns.append(dataclasses.replace(turn, record=record))
    return [*turns, *_unreached(scenario, len(turns), reason or "the conversation ended before it")]


def _unreached(scenario: Scenario, held: int, reason: str) -> list[Turn]:
    return [
        Turn(Record("", "", 0, 0, "failed", reason, expected=step.said), number)
        for number, step in enumerate(scenario.steps[held:], start=held + 1)
    ]


def _kept(turns: Sequence[Turn], cues: Cues, history: Sequence[Message] | None) -> list[Turn]:
    """The turns with what the model remembers of their replies."""
    if history is None:
        return [*turns]
    kept: dict[int, str] = {}
    for message in history:
        if message.role == "assistant":
            kept[message.turn] = f"{kept.get(message.turn, '')} {message.content}".strip()
    found = []
    for turn, said in itertools.zip_longest(turns, cues.said):
        mine = said.turns if said is not None else []
        words = " ".join(kept[number] for number in mine if number in kept)
        found.append(dataclasses.replace(turn, kept=words if mine else None))
    return found
