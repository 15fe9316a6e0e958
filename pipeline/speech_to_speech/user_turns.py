"""The user's turns by our own detector, for servers that tell of none."""

from __future__ import annotations

from abc import abstractmethod

from pipeline.config import TurnSettings, VadSettings
from pipeline.engines.vad import VoiceDetector
from pipeline.engines.worker import apart
from pipeline.events import Frame, ReplyStatus
from pipeline.speech_to_speech.ledger import Now, ProtocolCore, ReplyEntry, TakeMark, TurnEntry
from pipeline.turns.listener import Hearing
from pipeline.turns.taker import TIMES, Began, Ended, TurnTaker

TURNS = TurnSettings(predict=False, hold_ms=700, barge_in_ms=800)
"""When the user's turn begins and ends for us. Nothing waits for its end, so that the hold may be
long and a pause in a sentence makes no turn of its own."""


class TurnlessCore(ProtocolCore):
    """What the messages of a protocol mean that has no turns: `UserTurns` tells of the user's.

    Args:
        mark: Takes the marks.
        now: Tells the time.
    """

    def __init__(self, mark: TakeMark, now: Now) -> None:
        super().__init__(mark, now)
        # What is said now.
        self._reply: ReplyEntry | None = None

    @abstractmethod
    def user_began(self, voiced_ns: int) -> None:
        """The user speaks, since `voiced_ns`: a new turn."""

    @abstractmethod
    def user_stopped(self) -> None:
        """The user's turn is over, by our detector; the system may have seen that long before."""

    def over(self) -> None:
        """The session ends: tell what is known of the last turn."""
        self.ledger.finish_transcript(self._turn)

    @property
    def _turn(self) -> TurnEntry:
        return self.ledger.last or self.ledger.before

    def _end_reply(self, status: ReplyStatus) -> None:
        """What is said now is over."""
        reply, self._reply = self._reply, None
        assert reply is not None
        if reply.turn is self._turn:
            self.ledger.finish_transcript(self._turn)
        self.ledger.end(reply, status)


class UserTurns:
    """Finds the user's turns in what the microphone hears. Load it before it is told anything."""

    def __init__(self, told: TurnlessCore) -> None:
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
