"""When the next utterance of a measured conversation begins: facts in, decisions out. Pure.

An utterance begins once the reply to the one before it is over and a pause has passed; or in the
middle of that reply, or while a tool works, if the user is to speak then; or when nothing has come
for so long that nothing will, which is sooner where nothing ought to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from pipeline.clock import NS_PER_S
from pipeline.events import (
    Event,
    Failure,
    ReplyDone,
    SpeechStarted,
    ToolCall,
    ToolCancelled,
    Usage,
)
from pipeline.measure.record import Outcome

Cue = Literal["wait", "next", "end"]

LONGEST_S = 300.0
"""A reply that goes on for longer, patience aside, is not listened to any more."""

IDLE_S = 5.0
"""So long after what asks for no answer, a reply that comes all the same has begun, or the turn is
open that it comes in (s): of published systems the medians are from 0.8 to 4.3 s."""

LAST_PAUSE_S = 0.3
"""Silence after the last reply, so that its end is in the recording."""

UNSPOKEN = Path()
"""In place of a recording, until a voice has spoken the words."""

FORM = ConfigDict(
    extra="forbid", validate_by_name=True, validate_by_alias=True, allow_inf_nan=False
)
"""How what a user writes of an utterance is read."""


@checked(frozen=True, slots=True, config=FORM)
class Utterance:
    """What the user says at once, and when.

    Attributes:
        said: The words; empty if only the recording is there and nobody wrote them down.
        path: The recording; `UNSPOKEN` until there is one.
        end_of_speech_s: Where the speech ends in it (s), as labelled; None: to be detected.
        audible_s: Where the speech ends in it by its sound; where noise hides that, its length (s).
        seconds: How long it is (s).
        interrupt_s: It begins so long after the reply before it is first heard (s), whatever was to
            be ignored in between; None: once that is over.
        after_call_s: It begins so long after the turn before it called a tool (s), whose result may
            still be pending; None: calls are waited for.
        pause_s: Silence after the reply before it, at least (s).
        patience_s: How long to wait for the reply to it (s).
    """

    said: str = ""
    path: Path = UNSPOKEN
    end_of_speech_s: float | None = Field(default=None, gt=0, validation_alias="end_of_speech")
    audible_s: float = 0.0
    seconds: float = 0.0
    interrupt_s: float | None = Field(default=None, ge=0, validation_alias="interrupt")
    after_call_s: float | None = Field(default=None, ge=0, validation_alias="after_call")
    pause_s: float = Field(default=0.5, ge=0, validation_alias="pause")
    patience_s: float = Field(default=60.0, gt=0, validation_alias="patience")

    @property
    def outcome(self) -> Outcome:
        """What it asks for."""
        return "respond"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a conversation is over, beside the patience of each utterance.

    Attributes:
        listen_s: So much of the last reply is listened to (s); None: all of it.
        in_vain_s: After so much silence nothing more will be answered (s); None: it may.
        longest_s: A reply that goes on for longer, patience aside, is not listened to any more (s).
    """

    listen_s: float | None = None
    in_vain_s: float | None = None
    longest_s: float = LONGEST_S


@dataclass(slots=True)
class Said:
    """One utterance, as it went.

    Attributes:
        step: What was to be said.
        begun_ns: When its recording began; until that is known, when it was asked to.
        begun: Whether that is known.
        over_ns: When that was over; None: not yet.
        turns: The session's turns that began since.
        done_ns: When each of them was last said to be over.
        called_ns: When a tool was last called.
        heard_ns: When its reply was first heard.
        late: Nothing came within its patience.
        failed: What failed meanwhile, if that was in no turn.
    """

    step: Utterance
    begun_ns: int
    begun: bool = False
    over_ns: int | None = None
    turns: list[int] = field(default_factory=list)
    done_ns: dict[int, int] = field(default_factory=dict)
    called_ns: int | None = None
    heard_ns: int | None = None
    late: bool = False
    failed: str = ""

    @property
    def end_ns(self) -> int:
        """When the user has finished."""
        step = self.step
        end_s = step.end_of_speech_s or step.audible_s or step.seconds
        return self.begun_ns + int(end_s * NS_PER_S)

    @property
    def done(self) -> bool:
        """Whether a turn was over after the user had finished."""
        # What ends sooner was taken for a turn by mistake: the rest is yet to be answered.
        return any(t_ns >= self.end_ns for t_ns in self.done_ns.values())


class Cues:
    """Gives the cues of one conversation. Times are of the monotonic clock (ns)."""

    def __init__(
        self, steps: Sequence[Utterance], begun_ns: int, limits: Limits | None = None
    ) -> None:
        """Begin with the first utterance.

        Args:
            steps: What is to be said.
            begun_ns: When the first recording begins.
            limits: When it is over; None: once all is said and answered.
        """
        self.said = [Said(steps[0], begun_ns)]
        self._steps = steps
        self._limits = limits or Limits()
        self._asked: dict[str, int] = {}
        self._owed: set[int] = set()
        self._quiet_ns: int | None = None
        self._active_ns = begun_ns

    @property
    def current(self) -> Said:
        """The utterance that is being said, or answered."""
        return self.said[-1]

    def event(self, event: Event, now_ns: int) -> None:
        """Take what the session tells."""
        said = self.current
        match event:
            case SpeechStarted():
                said.turns.append(event.turn)
            case ToolCall():
                said.called_ns = now_ns
                self._asked[event.id] = event.turn
                self._owed.add(event.turn)
            case ToolCancelled():
                self.result(event.id)
                self._owed.discard(event.turn)
            case ReplyDone():
                if event.turn in said.turns:
                    said.done_ns[event.turn] = now_ns
                if event.turn not in self._asked.values():
                    self._owed.discard(event.turn)
            case Failure():
                # What fails between two turns takes nothing from the one that was answered.
                if not said.done and not any(event.turn in one.turns for one in self.said):
                    said.failed = f"{event.stage}: {event.message}"
        # An open session is billed again and again, be it ever so silent.
        if not isinstance(event, Usage):
            self._active_ns = max(self._active_ns, now_ns)

    def result(self, call_id: str, now_ns: int = 0) -> None:
        """Take that a tool has answered."""
        self._asked.pop(call_id, None)
        self._active_ns = max(self._active_ns, now_ns)

    def heard(self, now_ns: int, turn: int | None = None) -> None:
        """Take that a reply is being heard; of which turn, if that is known."""
        said = self.current
        # What goes on of an earlier reply, or comes late, answers nothing of this.
        mine = turn is None or turn in said.turns
        if mine and said.heard_ns is None and self.finished(now_ns):
            said.heard_ns = now_ns
        self._active_ns = max(self._active_ns, now_ns)

    def begins(self, begun_ns: int) -> None:
        """Take when the current recording began exactly."""
        self.current.begun_ns, self.current.begun = begun_ns, True

    def finished(self, now_ns: int) -> bool:
        """Whether the user has finished what is being said."""
        return self.current.begun and now_ns >= self.current.end_ns

    def over(self, begun_ns: int, t_ns: int) -> None:
        """Take that the current recording was over at `t_ns`, and when it began exactly."""
        if self.current.over_ns is None:
            self.begins(begun_ns)
            self.current.over_ns = t_ns
            self._active_ns = max(self._active_ns, t_ns)

    def next(self, begun_ns: int) -> None:
        """Take that the next recording begins."""
        self.said.append(Said(self._steps[len(self.said)], begun_ns))
        self._quiet_ns = None
        self._active_ns = max(self._active_ns, begun_ns)

    def look(self, now_ns: int, quiet: bool) -> Cue:
        """What to do now.

        Args:
            now_ns: The time.
            quiet: No turn is open, and nothing is played.
        """
        said = self.current
        if said.over_ns is None:
            return "wait"
        asks = said.step.outcome == "respond"
        last = len(self.said) == len(self._steps)
        go_on: Cue = "end" if last else "next"
        if last:
            if self._enough(said, now_ns):
                return "end"
        elif self._cut_in(said, self._steps[len(self.said)], now_ns):
            return "next"
        if not (quiet and (said.done or not asks) and not self._owed):
            self._quiet_ns = None
        elif self._quiet_ns is None:
            self._quiet_ns = now_ns
        pause_s = LAST_PAUSE_S if last else self._steps[len(self.said)].pause_s
        pause_s = pause_s if asks else max(pause_s, IDLE_S)
        if self._quiet_ns is not None and now_ns - self._quiet_ns >= pause_s * NS_PER_S:
            return go_on
        if quiet and self._in_vain(now_ns):
            return go_on
        if self._impatient(said, now_ns):
            said.late = asks
            self._owed.clear()
            return go_on
        return "wait"

    def _in_vain(self, now_ns: int) -> bool:
        """Whether nothing has happened for so long that nothing will."""
        in_vain_s = self._limits.in_vain_s
        return in_vain_s is not None and now_ns - self._active_ns >= in_vain_s * NS_PER_S

    def _impatient(self, said: Said, now_ns: int) -> bool:
        """Whether nothing has come for too long, or too much."""
        patience_ns = int(said.step.patience_s * NS_PER_S)
        over_ns = said.over_ns or now_ns
        if now_ns - over_ns >= patience_ns + self._limits.longest_s * NS_PER_S:
            return True
        # While one of our own tools works, the other side is not waited for.
        return not self._asked and now_ns - self._active_ns >= patience_ns

    def _enough(self, said: Said, now_ns: int) -> bool:
        """Whether enough of the last reply was heard."""
        listen_s = self._limits.listen_s
        if listen_s is None or said.heard_ns is None:
            return False
        return now_ns - said.heard_ns >= listen_s * NS_PER_S

    def _reply_heard_ns(self) -> int | None:
        """When the reply was first heard that goes on, whatever was said into it to be ignored."""
        for one in reversed(self.said):
            if one.heard_ns is not None or one.step.outcome != "ignore":
                return one.heard_ns
        return None

    def _cut_in(self, said: Said, step: Utterance, now_ns: int) -> bool:
        """Whether the next utterance begins in the middle of things."""
        for after_s, since_ns in (
            (step.interrupt_s, self._reply_heard_ns()),
            (step.after_call_s, said.called_ns),
        ):
            if after_s is not None and since_ns is not None:
                return now_ns - since_ns >= after_s * NS_PER_S
        return False
