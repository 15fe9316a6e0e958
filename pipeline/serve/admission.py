"""Who is let in: as many as are answered in time. Pure: sessions and turns in, decisions out.

A session costs next to nothing while it is silent, and all that it can cost as soon as somebody
speaks. So it is not asked what the sessions cost just now, but what they would if in all of them
somebody spoke or was answered all the time; and where turns come late all the same, because the
machine is busy with something else, nobody is let in until they do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.events import Usage
from pipeline.serve.refused import RequestRefused
from pipeline.trace import Timeline

LOAD = 0.6
"""Share of the cores that sessions may take: with more, what is waited for waits for the rest."""

RETURN = 0.9
"""Once somebody was refused, so much of `LOAD` has to do, that the door does not swing."""

CORES, CORES_S = 0.25, 60.0
"""What a conversation takes (cores), with the default models on a laptop: so it is until more is
known, and what was measured of so many seconds of conversation counts as much."""

LATE_S = 0.6
"""What a turn may take from its end to the first sound of its answer (s). With some 0.4 s until
people's turns are known to be over, that is a second of voice-to-voice."""

SLOWER = 1.5
"""Of a model that is slower by itself no more can be asked: so many times what its fastest turns
take is late."""

LATE_TURNS = 2
"""So many late turns are no accident."""

WINDOW_S = 120.0
"""So long a turn counts (s)."""

TURNS = 100
"""So many turns count at most."""

RETRY_S = 10.0
"""When a client may try again (s) where that depends on others who leave."""


MOST_EXPECTED = 16
"""For more conversations at a time no memory is set aside."""


def expected(most: int, cores: int) -> int:
    """For how many sessions to set memory aside.

    Args:
        most: Sessions at a time; 0: as many as are answered in time.
        cores: How many processors there are.
    """
    return most or min(max(1, int(LOAD * cores / CORES)), MOST_EXPECTED)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn that is over.

    Attributes:
        at: When (s).
        lasted: From the first word to the last of its answer (s).
        cpu: What was computed since the turn before it (s).
        took: From its end to the first sound of its answer (s).
    """

    at: float
    lasted: float
    cpu: float
    took: float


class Admission:
    """Says whether one more session can be served.

    Args:
        most: Sessions at a time; 0: as many as are answered in time.
        cores: How many processors there are.
        now: The time (s).
        spent: The CPU time that the process has taken so far (s).
    """

    def __init__(
        self, most: int, cores: int, now: Callable[[], float], spent: Callable[[], float]
    ) -> None:
        self._most = most
        self._cores = cores
        self._now = now
        self._spent = spent
        self._open = 0
        self._turns: deque[_Turn] = deque(maxlen=TURNS)
        self._spent_before = 0.0
        self._full = self._behind = False

    def enter(self) -> RequestRefused | None:
        """Count a session that begins; or say why it may not."""
        refused = self._refusal()
        if refused is None:
            if not self._open:
                self._spent_before = self._spent()
            self._open += 1
        return refused

    def leave(self) -> None:
        """A session is over."""
        self._open -= 1

    def over(self, turn: int, marks: Mapping[str, int], usage: Usage | None) -> None:
        """Take a turn of one of the sessions that is over (`pipeline.driver.Over`)."""
        timeline = Timeline.from_marks(marks)
        if timeline is None:
            return
        spent = self._spent()
        took_ns = timeline.total_ns - timeline.parts["endpoint"]
        lasted_ns = max(marks.values()) - marks.get("speech.start", marks["speech.end"])
        self._turns.append(
            _Turn(self._now(), lasted_ns / 1e9, spent - self._spent_before, took_ns / 1e9)
        )
        self._spent_before = spent

    @property
    def cores(self) -> float:
        """What one conversation takes (cores)."""
        known = self._recent()
        cpu, lasted = sum(turn.cpu for turn in known), sum(turn.lasted for turn in known)
        return (CORES * CORES_S + cpu) / (CORES_S + lasted)

    def _refusal(self) -> RequestRefused | None:
        """Why one more cannot be served; None: it can."""
        if self._most:  # how many that are is then somebody else's to know
            if self._open < self._most:
                return None
            return _refused("The server has as many sessions as it may have.", RETRY_S)
        if not self._open:
            self._full = self._behind = False
            return None
        late = self._late()
        self._behind = bool(late) if self._behind else len(late) >= LATE_TURNS
        if self._behind:
            after_s = max(1.0, late[-1].at + WINDOW_S - self._now())
            return _refused("The server is late with its answers.", after_s)
        load = (self._open + 1) * self.cores / (LOAD * self._cores)
        self._full = load > (RETURN if self._full else 1)
        if self._full:
            return _refused("The server has as many sessions as it can answer in time.", RETRY_S)
        return None

    def _recent(self) -> list[_Turn]:
        since = self._now() - WINDOW_S
        return [turn for turn in self._turns if turn.at > since]

    def _late(self) -> list[_Turn]:
        """The turns that came late, oldest first."""
        known = self._recent()
        took = sorted(turn.took for turn in self._turns)
        limit = max(LATE_S, SLOWER * took[len(took) // 10]) if took else LATE_S
        return [turn for turn in known if turn.took > limit]


def _refused(message: str, after_s: float) -> RequestRefused:
    return RequestRefused(
        "server_overloaded", f"{message} Try again later.", retry_after_s=after_s, status=503
    )
