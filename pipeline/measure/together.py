"""Conversations whose user says the same words at the same moment: who waits for whom.

They begin once all are connected, and each utterance that waits for the reply before it begins once
all have had theirs. One that cuts into a reply, or follows a call, goes by its own system: another
moment of the others' replies would be another thing to say.
"""

from __future__ import annotations

from pipeline.clock import NS_PER_MS, Clock

AHEAD_NS = 30 * NS_PER_MS
"""So long after the last one is ready all begin. Their frames of 20 ms are on schedules that began
together: midway between two of them, so that all begin with the same one."""

LOOK_NS = 5 * NS_PER_MS
"""How often one looks whether all are connected, or over."""


class Meeting:
    """Says when each utterance begins. Facts in, decisions out. Times are of one clock (ns)."""

    def __init__(self) -> None:
        """Begin with nobody there; each takes a `Seat` before any conversation begins."""
        self.here: set[Seat] = set()
        self._ready: dict[int, set[Seat]] = {}
        self._begins_ns: dict[int, int] = {}

    def at(self, seat: Seat, number: int, ready: bool, now_ns: int) -> int | None:
        """When utterance `number` (from 0) begins; None: that is not known yet.

        Args:
            seat: Who asks.
            number: Of the utterance.
            ready: Whether it could begin now for this one alone.
            now_ns: The time.
        """
        if number not in self._begins_ns:
            waiting = self._ready.setdefault(number, set())
            (waiting.add if ready else waiting.discard)(seat)
            if self.here <= waiting:
                self._begins_ns[number] = now_ns + AHEAD_NS
        return self._begins_ns.get(number)


class Seat:
    """One conversation's place in a meeting."""

    def __init__(self, meeting: Meeting) -> None:
        """Take a place."""
        self._meeting = meeting
        meeting.here.add(self)

    async def begin(self, clock: Clock) -> None:
        """Return at the moment at which all begin."""
        while (at_ns := self._meeting.at(self, 0, True, clock.now_ns())) is None:
            await clock.sleep_until(clock.now_ns() + LOOK_NS)
        await clock.sleep_until(at_ns)

    def may(self, number: int, ready: bool, now_ns: int) -> bool:
        """Whether utterance `number` begins now; see `Meeting.at`."""
        at_ns = self._meeting.at(self, number, ready, now_ns)
        return at_ns is not None and now_ns >= at_ns

    def leave(self) -> None:
        """The conversation is over: nobody waits for it any more."""
        self._meeting.here.discard(self)

    async def all_over(self, clock: Clock) -> None:
        """Leave, and return once all have: work that others' sound would wait for can begin."""
        self.leave()
        while self._meeting.here:
            await clock.sleep_until(clock.now_ns() + LOOK_NS)
