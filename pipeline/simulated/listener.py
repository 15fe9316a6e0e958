"""Where the user's utterances begin and end, in the sound that a simulated server receives.

It does not guess as a voice detector does: sound is what is audible, and a script may tell to the
sample where an utterance ends. Time is counted in samples received. A sample's time on the clock is
when the piece that holds it arrived, less what follows it in that piece; if that piece is later
than those just before it, it is when it would have arrived had it been as prompt as they were.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pipeline.audio.audible import Ear
from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.events import Samples

GAP_MS = 200
"""After the end that a script tells, so much silence makes what follows a new utterance."""

PROMPT_NS = 200 * NS_PER_MS
"""A piece that a busy machine or a jittery line holds up for less than this moves no end: a pace of
real time is known from the pieces before it."""


@dataclass(frozen=True, slots=True)
class Began:
    """An utterance began.

    Attributes:
        sample: Its first audible sample, counted from the first one received.
        t_ns: When that was spoken, on the clock of the arrivals.
    """

    sample: int
    t_ns: int


@dataclass(frozen=True, slots=True)
class Ended:
    """An utterance is over.

    Attributes:
        sample: Where it truly ended: as the script tells, else one past its last audible sample.
        t_ns: When that was; where silence told, as long ago as the silence is.
    """

    sample: int
    t_ns: int


class Listener:
    """Finds utterances in a stream. Pure: it knows only the samples and times that it is given.

    Args:
        rate: Hz, of what it hears.
        silence_ms: So much silence ends an utterance of which the script does not tell the end.

    Attributes:
        position: How many samples have been received.
        silence_ms: May be set at any time.
    """

    def __init__(self, rate: int, silence_ms: float) -> None:
        self.rate = rate
        self.silence_ms = silence_ms
        self.position = 0
        self._ends_s: float | None = None
        self._early_s: float | None = None
        self._arrivals: deque[tuple[int, int]] = deque()
        self._ear = Ear(rate)
        self._began: int | None = None
        self._busy_until: int | None = None

    @property
    def speaking(self) -> bool:
        """Whether an utterance is under way."""
        return self._began is not None and self._busy_until is None

    def expect(self, ends_s: float | None, early_s: float | None = None) -> None:
        """Say where the next utterance ends; also changes the one that is under way.

        Args:
            ends_s: From its first audible sample (s); None: where silence begins.
            early_s: Call it over here already, and do not hear the rest as a new one.
        """
        self._ends_s = ends_s
        self._early_s = early_s

    def hear(self, samples: Samples, arrived_ns: int) -> list[Began | Ended]:
        """The next piece of int16 sound; what it shows, in order.

        Args:
            samples: Any number of them.
            arrived_ns: When all of them were there.
        """
        found: list[Began | Ended] = []
        start, self.position = self.position, self.position + len(samples)
        self._arrivals.append((arrived_ns, arrived_ns - self.position * NS_PER_S // self.rate))
        while self._arrivals[0][0] < arrived_ns - PROMPT_NS:
            self._arrivals.popleft()
        self._ear.hear(samples, start * NS_PER_S // self.rate)
        if self._busy_until is not None:
            self._wait_for_silence()
        if self._began is None and (first := self._ear.audible_ns) is not None:
            self._began = self._sample(first)
            found.append(Began(self._began, self._when(self._began)))
        if self.speaking and (end := self._end()) is not None:
            found.append(Ended(end, self._when(end)))
        return found

    def stop(self) -> Ended | None:
        """End the utterance here, because the client says so; None if there was none.

        What is left of it is not heard as a new one.
        """
        last = self._ear.last_audible_ns
        if not self.speaking or last is None:
            return None
        end = self._told() if self._ends_s is not None else self._sample(last) + 1
        self._busy_until = max(self.position, end)
        end = min(end, self.position)
        return Ended(end, self._when(end))

    def reset(self) -> None:
        """Forget the utterance that is under way; what follows may be a new one."""
        self._forget()

    def _told(self) -> int:
        """Where the utterance ends, as the script tells."""
        assert self._began is not None and self._ends_s is not None
        return self._began + round(self._ends_s * self.rate)

    def _when(self, sample: int) -> int:
        zero_ns = min(zero_ns for _, zero_ns in self._arrivals)
        return zero_ns + sample * NS_PER_S // self.rate

    def _sample(self, t_ns: int) -> int:
        return round(t_ns * self.rate / NS_PER_S)

    def _end(self) -> int | None:
        assert self._began is not None
        if self._early_s is not None:
            end = self._began + round(self._early_s * self.rate)
            if self.position >= end:
                self._busy_until = end if self._ends_s is None else max(end, self._told())
                return end
            return None
        if self._ends_s is not None:
            end = self._told()
            if self.position < end:
                return None
            self._busy_until = end
            return end
        last = self._ear.last_audible_ns
        assert last is not None
        end = self._sample(last) + 1
        if self.position - end < self.silence_ms * self.rate * NS_PER_MS / NS_PER_S:
            return None
        self._forget()
        return end

    def _wait_for_silence(self) -> None:
        """After a told end: be ready for the next utterance once there is silence."""
        assert self._busy_until is not None
        last = self._ear.last_audible_ns
        quiet_from = max(self._busy_until, 0 if last is None else self._sample(last) + 1)
        if self.position - quiet_from >= GAP_MS * self.rate // 1000:
            self._forget()

    def _forget(self) -> None:
        self._began = self._busy_until = None
        self._ear = Ear(self.rate)
