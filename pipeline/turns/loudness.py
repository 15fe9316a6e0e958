"""How loud the user is, and which voices are therefore somebody else's. Pure.

A voice detector finds the speech of a television 30 dB below the user as surely as the user's. What
tells the two apart is the level: the user is the loudest voice. Levels are compared with each other
only, so that a gain of the microphone changes nothing.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

WINDOW_MS = 32
"""Length of the windows that all levels are of."""

LINE_DB = 15.0
"""In the user's turn a voice so much quieter than the user's is another's. With 12 dB the soft ends
of people's own words fall below it, with 18 dB the loud words of voices 20 dB down rise above."""

BEGIN_DB = 12.5
"""It takes so much to begin a turn, or to be heard over a reply. Of voices 20 dB down hardly any
does (at 15 dB one stretch of 8 s in twelve), and of people who speak 9 dB more quietly than before
all do."""

FADED_DB = 20.0
"""In a turn sound so much quieter than the turn is no vowel: it may be a consonant, or the fade of
the last word."""

HOLD = 12
"""Windows (384 ms) for which loud ones count: soft syllables, and consonants, lie 20 to 30 dB below
the vowels next to them. With 10 and fewer the ends of people's words are lost."""

RANK, BEGIN_RANK = 2, 3
"""Which of those windows counts, by loudness, in a turn and at its begin: one alone is a click, two
may be a laugh or a knock in the room."""

MEMORY = 312
"""Windows of a turn (10 s of voice) that tell how loud it is."""

SHARE, LEAST, MOST = 10, 4, 8
"""A turn is as loud as the loudest tenth of these windows; no fewer than 4 windows, which are
longer than a click, and no more than 8, a quarter of a second."""

TURNS, FIRM = 5, 3
"""The user's level is the median of so many turns: two that are shouted, or whispered, move little.
From three on it is firm. A voice that is louder by `BEGIN_DB` than fewer is the user, and what was
before was not."""

LEEWAY_DB = 6.0
"""By so much the level may mislead. A turn far above the median counts for so much less: who
shouted 15 dB louder than usual is heard as before, and a voice 20 dB below is not. In a turn that
is quieter than usual the line is so much lower at most: its soft parts are the user's too."""

PATIENCE_S = 20.0
"""Quiet (s) after the user's voice in which its level stays what it was."""

DECAY_DB = 0.5
"""By how much it falls from then on (dB/s): whoever moved away from the microphone is heard again,
20 dB below after 36 s of quiet, 30 dB below after 56 s."""

JOIN_MS = 350
"""Voice (ms) before a much louder one from which on it is somebody else's: the user's own words may
begin softly, and what is not so long is soon within the pre-roll."""

JOINED_MS = 1000
"""Voice (ms) within which a level has to rise for that: a bang does not go on, and whoever speaks
up is slower."""

QUIET_S = 1.0
"""Time without any voice (s) from which on it is quiet: voices that go on pause for less, and do
not make themselves heard by going on."""


class UserLevel:
    """The user's level, learnt from the windows of the user's turns.

    Until there are any, every voice is the user's: people's own recordings are from -12 to -39 dB
    re full scale, half of them below -18, so that no level tells a first voice in the background
    from a quiet user. The first louder voice puts that right.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=HOLD)
        self._unvoiced_s = 0.0
        self.forget()

    def forget(self) -> None:
        """Another recording begins: nothing is known."""
        self._turns: deque[float] = deque(maxlen=TURNS)
        self._turn: _Turn | None = None
        self._quiet_s = 0.0

    def own(self, level_db: float, *, voiced: bool, in_turn: bool) -> bool:
        """Take the next window of all, and tell whether it is voice of the user's.

        Args:
            level_db: Its level, to any reference.
            voiced: Whether it holds voice.
            in_turn: Whether the user's turn is going on.
        """
        if self._turn is not None and not in_turn:
            self._settle(self._turn)
        self._recent.append(level_db if voiced else -math.inf)
        if not voiced:
            self._unvoiced_s += WINDOW_MS / 1000
            if self._unvoiced_s > QUIET_S:
                self._quiet_s += WINDOW_MS / 1000
            return False
        self._unvoiced_s = 0.0
        rank = RANK if in_turn else BEGIN_RANK
        held = sorted(self._recent)[-min(rank, len(self._recent))]
        if in_turn:
            return self.loud(max(level_db, held))
        return held >= self._usual_db - self._drop_db - BEGIN_DB

    def loud(self, level_db: float) -> bool:
        """Whether a window of a turn is by itself loud enough to be the user's."""
        now = -math.inf if self._turn is None else self._turn.level_db
        return level_db >= max(now, self._usual_db - self._drop_db - LEEWAY_DB) - LINE_DB

    def faded(self, level_db: float) -> bool:
        """Whether a window is so much quieter than the turn that its voice may be over."""
        return self._turn is not None and level_db < self._turn.level_db - FADED_DB

    def learn(self, level_db: float, start: int) -> int | None:
        """Take a window of the user's turn, one that is `own`.

        Args:
            level_db: Its level.
            start: What names it.

        Returns:
            The name of the window with which a voice began that is much louder than all before it
            in the turn, once it is known to go on: that is the user, and it was not before.
        """
        if self._turn is None:
            self._turn = _Turn()
            for before_db in [*self._recent][:-1]:
                if before_db > -math.inf:
                    self._turn.learn(before_db, start, math.inf)
        rise_db = BEGIN_DB if len(self._turns) < FIRM else BEGIN_DB + LEEWAY_DB
        return self._turn.learn(level_db, start, rise_db)

    def _settle(self, turn: _Turn) -> None:
        """A turn is over: who was heard only because it had been quiet is the user now."""
        new = turn.level_db > self._usual_db + BEGIN_DB and len(self._turns) < FIRM
        if new or (self._drop_db and turn.level_db < self._usual_db - BEGIN_DB):
            self._turns.clear()
        self._turns.append(turn.level_db)
        self._turn = None
        self._quiet_s = 0.0

    @property
    def _usual_db(self) -> float:
        if not self._turns:
            return -math.inf
        return max(statistics.median_low(self._turns), max(self._turns) - LEEWAY_DB)

    @property
    def _drop_db(self) -> float:
        return max(0.0, self._quiet_s - PATIENCE_S) * DECAY_DB


class _Turn:
    """How loud a turn is, and where it rose to that.

    Attributes:
        level_db: What its loudest windows reach.
    """

    def __init__(self) -> None:
        self.level_db = -math.inf
        self._windows: deque[_Window] = deque(maxlen=MEMORY)

    def learn(self, level_db: float, start: int, rise_db: float) -> int | None:
        """Take a window; gives the one with which a voice joined that is louder by `rise_db`."""
        levels = sorted([level_db, *(window.level_db for window in self._windows)])
        self.level_db = levels[-min(max(len(levels) // SHARE, LEAST), MOST, len(levels))]
        self._windows.append(_Window(start, level_db, self.level_db))
        lead = max(JOIN_MS // WINDOW_MS, len(self._windows) - JOINED_MS // WINDOW_MS)
        if lead >= len(self._windows) or self.level_db < self._windows[lead].so_far_db + rise_db:
            return None
        windows = [*self._windows]
        first = n = len(windows) - 1
        while n >= 0 and first - n <= HOLD:
            if windows[n].level_db >= windows[lead].so_far_db + rise_db / 2:
                first = n
            n -= 1
        self._windows.clear()
        for window in windows[first:]:
            self.learn(window.level_db, window.start, math.inf)
        return windows[first].start


@dataclass(frozen=True, slots=True)
class _Window:
    """A window of a turn: what names it, its level, that of the turn up to it."""

    start: int
    level_db: float
    so_far_db: float
