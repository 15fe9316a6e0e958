"""A system of known behaviour: what is measured of it tells the instrument's own error.

It understands nothing and knows nothing of turns but loudness, by a rule of its own that shares no
code with what measures it: the user speaks from the first sample that is loud to the last one that
is not followed by another for a while. All it does happens so long after one of these two samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self, TypedDict

import numpy as np

from pipeline.audio import line
from pipeline.audio.files import WavWriter
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.conversation.history import Message
from pipeline.errors import BadInput, CascadeError
from pipeline.events import Event, Frame, ReplyInterrupted, Samples
from pipeline.measure.conduct import hold
from pipeline.measure.cues import Utterance
from pipeline.measure.recording import MemoryTrace
from pipeline.session import EventQueue, Inbox
from pipeline.speech_to_speech.brief import Facts, SystemSpec, given
from pipeline.speech_to_speech.ledger import Ledger, TurnEntry
from pipeline.trace import Trace

RATE = 24_000
"""Of its replies (Hz), as the APIs speak."""

LOUD = 100
"""A sample above this is loud: -50 dBFS, where a voice 30 dB below another still is."""

NOTICE_MS = 40
"""What happens is known this late at worst (ms): a frame is 20 ms, and is taken up soon after."""

VOICE_MS = 400
"""With `coughs=no` a sound is voice once it has lasted so long (ms): a cough is over by then."""

PAUSE_MS = 200
"""A sound that is not yet voice is over after so much silence (ms)."""

CUT_IN_MS = 500
"""So long after the user began it speaks where it cuts in (ms)."""

FADE_MS = 5
"""A reply that is stopped is heard so much longer (ms): the loudspeaker fades it."""

NAME = "reference"
"""What it is called in its facts. It is a part of the instrument: its use costs nothing, and its
replies are a tone, in which no word can be read."""

TEXT = "This is the reference system, which does what it is told to, and understands no word."

SOURCE = "its own options: a system of known behaviour, which tests the instrument"

OPTIONS: Mapping[str, Sequence[str] | range] = {
    "latency": range(100, 60_001),
    "stop": range(NOTICE_MS, 60_001),
    "coughs": ("yes", "no"),
    "cut_in": range(1_001),
    "reply": range(200, 60_001),
}

ERROR_MS = 15.0
"""By so much the instrument may be off; a reply waits up to 5 ms for the next block of sound."""

SPEECH_S = (0.3, 0.302, 0.304)
LEAD_S, TAIL_S = 0.05, 0.05
"""Of what is said, a turn each, of a second: noise, which begins and ends at known samples, between
silences. The ends are spread over a block of sound, as those of people are."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What it does.

    Attributes:
        latency: It answers so long after the last loud sample (ms). So a pause in an utterance that
            is about as long is taken for its end.
        stop: It falls silent so long after the first loud sample of a voice in its reply (ms).
        coughs: Whether any sound is a voice to it, or only one of `VOICE_MS`.
        cut_in: In every so many turns it speaks `CUT_IN_MS` after the user began, and nothing after
            the end; 0: in none. Where not all is voice, it has to have heard that it is.
        reply: It speaks for so long (ms).
    """

    latency: int = 500
    stop: int = 300
    coughs: bool = True
    cut_in: int = 0
    reply: int = 3_000

    @classmethod
    def of(cls, spec: SystemSpec) -> Behaviour:
        """What the command line says of it.

        Raises:
            BadInput: There is no such option, or it cannot have that value.
        """
        said = given(spec, OPTIONS)
        coughs = said.pop("coughs", "yes") == "yes"
        found = cls(coughs=coughs, **{name: int(value) for name, value in said.items()})
        if not coughs and found.stop < VOICE_MS + NOTICE_MS:
            raise BadInput(
                f"{spec.name}: stop is at least {VOICE_MS + NOTICE_MS} with coughs=no: it has to "
                "hear for so long to tell a voice from a cough"
            )
        return found


@dataclass(slots=True)
class _Sound:
    """What the user is heard with: from its first loud sample to one past its last (ns).

    `turn` is the turn that it is; None: it is no voice so far.
    """

    begin_ns: int
    end_ns: int
    turn: TurnEntry | None = None
    cut_in: bool = False


class ReferenceSession:
    """A `Session` that behaves as it is told to, to the millisecond.

    Args:
        behaviour: What it does.
        trace: Takes the marks.
        clock: The one clock; frames have its times.
    """

    def __init__(self, behaviour: Behaviour, trace: Trace, clock: Clock) -> None:
        self._does = behaviour
        self._clock = clock
        self._ledger = Ledger(trace.mark, clock.now_ns, RATE)
        self._inbox = Inbox()
        self._events = EventQueue()
        self._sound: _Sound | None = None

    @property
    def facts(self) -> Facts:
        """What it is, stamped as what is no real system."""
        told = {"name": NAME, **asdict(self._does), "source": SOURCE}
        return Facts(NAME, "", 0.0, simulated=told)

    @property
    def history(self) -> list[Message]:
        """What was said so far; of its replies what was heard."""
        return self._ledger.history

    async def __aenter__(self) -> Self:
        """Listen from now on."""
        await self._inbox.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say no more."""
        await self._inbox.__aexit__(exc_type, exc, traceback)
        self._events.end()

    async def send(self, frame: Frame) -> None:
        """Hear the next piece of the user's sound."""
        self._hear(frame)
        self._tell()

    async def events(self) -> AsyncGenerator[Event, None]:
        """What happens, until the session is left."""
        async for event in self._events.read():
            if isinstance(event, ReplyInterrupted):
                self._ledger.noticed(event.id)
            yield event

    async def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply."""
        self._ledger.played(reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        """Refuse it.

        Raises:
            CascadeError: Always: it calls no tools.
        """
        self._ledger.take_result(call_id, output)

    def _hear(self, frame: Frame) -> None:
        loud = np.flatnonzero(np.abs(frame.samples.astype(np.int32)) > LOUD)
        if len(loud):
            first, last = (
                frame.t_ns + int(index) * NS_PER_S // frame.rate
                for index in (loud[0], loud[-1] + 1)
            )
            self._sound = self._sound or _Sound(first, last)
            self._sound.end_ns = last
        if (sound := self._sound) is None:
            return
        lasted_ms = (sound.end_ns - sound.begin_ns) / NS_PER_MS
        if sound.turn is None and (self._does.coughs or lasted_ms >= VOICE_MS):
            self._begin(sound)
        silent_ms = (frame.t_ns + frame.duration_ns - sound.end_ns) / NS_PER_MS
        hangover_ms = self._does.latency - NOTICE_MS
        if silent_ms >= (hangover_ms if sound.turn else min(PAUSE_MS, hangover_ms)):
            self._sound = None
            if sound.turn is not None:
                self._finish(sound, sound.turn)

    def _begin(self, sound: _Sound) -> None:
        """It is voice: a turn begins, and what is said now will stop."""
        turn = sound.turn = self._ledger.open(began_ns=sound.begin_ns)
        self._later(sound.begin_ns, self._does.stop - FADE_MS, lambda: self._stop(turn))
        every = self._does.cut_in
        if every and turn.number % every == 0:
            sound.cut_in = True
            self._later(sound.begin_ns, CUT_IN_MS, lambda: self._answer(turn))

    def _finish(self, sound: _Sound, turn: TurnEntry) -> None:
        """The user has finished."""
        if not sound.cut_in:
            self._ledger.commit(turn)
            self._later(sound.end_ns, self._does.latency, lambda: self._answer(turn))
        elif turn.reply is not None:
            self._ledger.end(turn.reply, "completed")

    def _answer(self, turn: TurnEntry) -> None:
        ledger = self._ledger
        ledger.commit(turn)
        ledger.understood(turn, "", final=True)
        reply = ledger.reply(turn)
        part = reply.part("")
        ledger.text(reply, part, TEXT)
        ledger.sound(reply, part, _tone(self._does.reply), RATE)
        if self._sound is None or self._sound.turn is not turn:
            ledger.end(reply, "completed")

    def _stop(self, turn: TurnEntry) -> None:
        """Stop what is heard of replies to earlier turns."""
        for reply in self._ledger.replies:
            if reply.turn is not turn and reply.playing:
                self._ledger.interrupt(reply)

    def _later(self, since_ns: int, ms: int, act: Callable[[], None]) -> None:
        """Do something so long after a moment."""

        def due(_: None) -> None:
            act()
            self._tell()

        self._inbox.start(self._clock.sleep_until(since_ns + ms * NS_PER_MS), due)

    def _tell(self) -> None:
        self._events.tell(*self._ledger.take())


def _tone(ms: int) -> Samples:
    """What it speaks: loud from its first sample to its last."""
    at = np.arange(ms * RATE // 1000) / RATE
    tone: Samples = (8_000 * np.cos(2 * np.pi * 220 * at)).astype(np.int16)
    return tone


KNOWN = Behaviour(latency=300, reply=200)
"""What the instrument's own error is measured with."""


class OwnError(TypedDict):
    """By how much the instrument was off: measured less known, in `n` of so many `turns`.

    `worst_ms` is the one farthest from none. Both are None where no turn could be measured, and
    `reason` is why one was not.
    """

    known_ms: float
    turns: int
    n: int
    median_ms: float | None
    worst_ms: float | None
    reason: str


async def calibrate() -> OwnError:
    """Measure the instrument's own error, in some three seconds."""
    errors: list[float] = []
    reason = ""
    with tempfile.TemporaryDirectory() as folder:
        said = [_noise(Path(folder) / f"{seconds}.wav", seconds) for seconds in SPEECH_S]
        tape = MemoryTrace()
        session = ReferenceSession(KNOWN, tape, Clock())
        both = Path(folder) / "both.wav"
        try:
            held = await hold(session, tape, said, both, RATE)
            for turn in held.turns():
                measured_ns = turn.record.wav_voice_to_voice_ns
                if measured_ns is None:
                    reason = turn.record.reason
                else:
                    errors.append(measured_ns / NS_PER_MS - KNOWN.latency)
        except (CascadeError, OSError) as error:
            reason = str(error)
    worst: float = max(errors, key=abs, default=0.0)
    return {
        "known_ms": float(KNOWN.latency),
        "turns": len(SPEECH_S),
        "n": len(errors),
        "median_ms": round(median(errors), 3) if errors else None,
        "worst_ms": round(worst, 3) if errors else None,
        "reason": reason,
    }


def told(found: Mapping[str, Any] | None) -> list[str]:
    """The instrument's own error in a sentence; none where it is not known."""
    if not found or found["median_ms"] is None:
        return []
    return [
        f"the instrument's own error in this run: {found['median_ms']:+.0f} ms "
        f"(worst {found['worst_ms']:+.0f} ms, of {found['n']} turns)"
    ]


def doubts(found: Mapping[str, Any] | None) -> list[str]:
    """What a reader should know of it, a sentence each."""
    if not found:
        return []
    doubted = []
    if found["n"] < found["turns"]:
        doubted.append(
            f"the instrument measured {found['n']} of {found['turns']} turns of a system of known "
            f"latency: {found['reason']}"
        )
    if found["worst_ms"] is not None and abs(found["worst_ms"]) > ERROR_MS:
        doubted.append(
            f"the instrument was off by up to {abs(found['worst_ms']):.0f} ms with a system of "
            "known latency: the machine was too busy to measure well; close other programs, run "
            "again"
        )
    return doubted


def _noise(path: Path, seconds: float) -> Utterance:
    noise = np.random.default_rng(1).integers(-9_000, 9_000, round(seconds * line.RATE))
    around = int(LEAD_S * line.RATE), int(TAIL_S * line.RATE)
    with WavWriter(path, line.RATE) as wav:
        wav.write(np.pad(noise.astype(np.int16), around))
    return Utterance(
        path=path,
        end_of_speech_s=LEAD_S + seconds,
        seconds=LEAD_S + seconds + TAIL_S,
        pause_s=0.1,
        patience_s=2.0,
    )
