"""The user's turns by our own detector, for servers that tell of none."""

from __future__ import annotations

from typing import Protocol

from pipeline.config import TurnSettings, VadSettings
from pipeline.engines.vad import VoiceDetector
from pipeline.engines.worker import apart
from pipeline.events import Frame
from pipeline.turns.listener import Hearing
from pipeline.turns.taker import TIMES, Began, Ended, TurnTaker

TURNS = TurnSettings(predict=False, hold_ms=700, barge_in_ms=800)
"""When the user's turn begins and ends for us. Nothing waits for its end, so that the hold may be
long and a pause in a sentence makes no turn of its own."""


class Told(Protocol):
    """Is told of the user's turns: the core of a protocol that has none."""

    def user_began(self, voiced_ns: int) -> None:
        """The user speaks, since `voiced_ns`."""
        ...

    def user_stopped(self) -> None:
        """The user's turn is over."""
        ...


class UserTurns:
    """Finds the user's turns in what the microphone hears. Load it before it is told anything."""

    def __init__(self, told: Told) -> None:
        """Take who is told."""
        self._told = told
        self._turns = TurnTaker(TURNS, VadSettings())
        self._hearing: Hearing

    async def load(self) -> None:
        """Load the detector."""
        detector = await apart(VoiceDetector)
        self._hearing = Hearing(detector, TIMES.max_turn_s)

    def push(self, frame: Frame) -> None:
        """Take the next of the microphone."""
        if frame.begins:
            self._turns.another()
        for verdict in self._hearing.push(frame):
            for decision in self._turns.push(verdict, speaking=False):
                match decision:
                    case Began():
                        self._told.user_began(self._hearing.time_of(decision.voiced))
                    case Ended():
                        self._told.user_stopped()
