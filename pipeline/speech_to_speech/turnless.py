"""Turns for servers that tell of none: by our own detector, and by a gate on the model's sound.

A full-duplex model sends sound all the time. Energy decides when it speaks: the gate opens at the
first sound, and closes after a silence, with a lower threshold for staying open.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.audio.audible import AUDIBLE_DBFS
from pipeline.clock import NS_PER_MS
from pipeline.config import TurnSettings, VadSettings
from pipeline.engines.vad import VoiceDetector
from pipeline.engines.worker import apart
from pipeline.events import Frame, ReplyStatus, Samples
from pipeline.speech_to_speech.ledger import Now, ProtocolCore, ReplyEntry, TakeMark, TurnEntry
from pipeline.turns.listener import Hearing
from pipeline.turns.taker import TIMES, Began, Ended, TurnTaker

TURNS = TurnSettings(predict=False, hold_ms=700, barge_in_ms=800)
"""When the user's turn begins and ends for us. Nothing waits for its end, so that the hold may be
long and a pause in a sentence makes no turn of its own."""

LATE_MS = 1500.0
"""How much later than its sound a reply's text may come."""

OWED_MS = 4000.0
"""How long a reply waits, in silence, for the sound of a text that came first."""


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

        # When the latest of the model's sound came, silence included.
        self._came_ns = 0

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

    def _begin_turn(self, voiced_ns: int) -> None:
        """A new turn; what was understood before our detector noticed is of it."""
        before, turn = self.ledger.before, self.ledger.open(began_ns=voiced_ns)
        turn.said, before.said = before.said, ""

    def _understood(self, text: str) -> None:
        """What the user said in this turn, all of it so far; may come before there is one."""
        if self._turn.number:
            self.ledger.understood(self._turn, text)
        else:
            self._turn.said = text

    def _late(self) -> ReplyEntry | None:
        """The reply that is over and that a text still belongs to; None: it is a new one's."""
        if self._reply is not None or not self.ledger.replies:
            return None
        last = self.ledger.replies[-1]
        late = self.ledger.now_ns - last.last_ns <= LATE_MS * NS_PER_MS
        return last if late and not last.interrupted else None

    def _take_floor(self) -> ReplyEntry:
        """A sign of a reply: it is under way, or begins."""
        if self._reply is None:
            self._reply = self.ledger.reply(self._turn)
        self.ledger.mark(self._reply.turn, "committed")
        return self._reply

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


FRAME_S = 0.01
"""What is judged at a time (s)."""

SHARE = 0.125
"""Share of a frame's samples above the threshold that makes it loud: half of what
`audible.onset` wants of half the time, so that no onset of sound is missed. A click has less."""

RELEASE_DB = 6.0
"""So much quieter than what opens the gate may be what keeps it open."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Samples to be passed on, which follow the stretch before unless it `begins` anew.

    Attributes:
        start: Offset of the first one in the stream.
        samples: int16 (n,); none where the gate is closed without more coming.
        begins: The gate opened for it.
        ends: The gate closed behind it.
    """

    start: int
    samples: Samples
    begins: bool
    ends: bool


class SoundGate:
    """Lets sound through, whole, and silence not.

    What it lets through keeps the time at which a loudspeaker that plays everything would play it:
    the piece in which sound begins passes from the piece's start on, and pauses pass too.

    Args:
        rate: Hz.
        open_dbfs: Peak level above which samples count as sound.

    Attributes:
        open: Whether there is sound, or was a moment ago.
        sounded: Offset in the stream at which the latest sound ended.
    """

    def __init__(self, rate: int, open_dbfs: float = AUDIBLE_DBFS) -> None:
        self.open = False
        self.sounded = 0
        self._rate = rate
        self._frame = max(1, round(rate * FRAME_S))
        self._opens = 32768 * 10 ** (open_dbfs / 20)
        self._keeps = 32768 * 10 ** ((open_dbfs - RELEASE_DB) / 20)
        self._rest: Samples = np.zeros(0, np.int16)
        self._at = 0

    @property
    def quiet_ms(self) -> float:
        """How long there has been no sound, as far as was judged (ms)."""
        return (self._at - self.sounded) * 1000 / self._rate

    def push(self, samples: Samples, hold_ms: float) -> list[Stretch]:
        """Take the next piece of the stream.

        Args:
            samples: int16 (n,), any n.
            hold_ms: Silence that closes the gate, as of now.

        Returns:
            What passes of it, and, where sound begins across its start, of the piece before.
        """
        hold = round(hold_ms * self._rate / 1000)
        sound = np.concatenate([self._rest, samples])
        base, piece = self._at, self._at + len(self._rest)
        whole = len(sound) // self._frame
        opens, keeps = self._loud(sound, whole, self._opens), self._loud(sound, whole, self._keeps)
        passed: list[Stretch] = []
        begin, begins = piece, False
        for i in range(whole):
            start = base + i * self._frame
            end = start + self._frame
            if keeps[i] if self.open else opens[i]:
                if not self.open:
                    self.open = begins = True
                    begin = passed[-1].start + len(passed[-1].samples) if passed else piece
                    begin = min(begin, start)
                self.sounded = end
            elif self.open and end - self.sounded >= hold:
                self.open = False
                passed.append(Stretch(begin, sound[begin - base : end - base], begins, True))
                begins = False
        self._at = base + whole * self._frame
        self._rest = sound[whole * self._frame :].copy()
        if self.open and begin < base + len(sound):
            passed.append(Stretch(begin, sound[begin - base :], begins, False))
        return passed

    def close(self) -> Stretch | None:
        """Nothing more comes for now: close the gate if it is open."""
        if not self.open:
            return None
        self.open = False
        end = self._at + len(self._rest)
        return Stretch(end, self._rest[:0], False, True)

    def _loud(self, sound: Samples, whole: int, threshold: float) -> npt.NDArray[np.bool_]:
        """Which of the whole frames have enough samples above the threshold."""
        frames = np.abs(sound[: whole * self._frame].astype(np.int32)).reshape(whole, self._frame)
        loud: npt.NDArray[np.bool_] = (frames > threshold).mean(axis=1) >= SHARE
        return loud
