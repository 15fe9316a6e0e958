"""How loud the user is, and which voices are therefore somebody else's. Pure.

A voice detector finds the speech of a television 30 dB below the user as surely as the user's. What
tells the two apart is the level: the user is the loudest voice. Levels are compared with each other
only, so that a gain of the microphone changes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

WINDOW_MS = 32
"""Length of the windows that all levels are of."""

LINE_DB = 15.0
"""In the user's turn a voice so much quieter than the user's is another's. With 12 dB the soft ends
of people's own words fall below it, with 18 dB the loud words of voices 20 dB down rise above."""

BEGIN_DB = 12.0
"""It takes so much to begin a turn, or to be heard over a reply. Of voices 20 dB down hardly any
does (none of 700 stretches of 8 s; at 15 dB one in twelve), and of people who speak 9 dB more
quietly than before 51 of 53 do within half a second."""

HOLD = 12
"""Windows (384 ms) for which loud ones count: soft syllables, and consonants, lie 20 to 30 dB below
the vowels next to them. With 10 and fewer the ends of people's words are lost."""

RANK, BEGIN_RANK = 2, 3
"""Which of those windows counts, by loudness, in a turn and at its begin: one alone is a click, two
may be a laugh or a knock in the room."""

MEMORY = 312
"""Windows of the user's voice (10 s) that tell how loud it is."""

SHARE, LEAST, MOST = 10, 4, 8
"""The user's level is what the loudest tenth of these windows reach; no fewer than 4 windows, which
are longer than a click, and no more than 8, so that a quarter of a second of a much louder voice
sets the level anew."""

PATIENCE_S = 20.0
"""Quiet (s) after the user's voice in which its level stays what it was."""

DECAY_DB = 0.5
"""By how much it falls from then on (dB/s): whoever moved away from the microphone is heard again,
20 dB below after 36 s of quiet, 30 dB below after 56 s."""

JOIN_MS = 500
"""Voice (ms) before a much louder one from which on it is somebody else's: the user's own words may
begin softly, and what is not so long is soon within the pre-roll."""

JOINED_MS = 1000
"""Voice (ms) within which a louder one has to show that it goes on: a bang does not."""

QUIET_S = 1.0
"""Time without any voice (s) from which on it is quiet: voices that go on pause for less, and do
not make themselves heard by going on."""


class UserLevel:
    """The user's level, learnt from the windows of the user's turns.

    Until there are any, every voice is the user's.
    """

    def __init__(self) -> None:
        self._user: deque[float] = deque(maxlen=MEMORY)
        self._recent: deque[float] = deque(maxlen=HOLD)
        self._reference: float | None = None
        self._unvoiced_s = 0.0
        self._quiet_s = 0.0
        self._louder: _Louder | None = None

    def own(self, level_db: float, *, voiced: bool, in_turn: bool) -> bool:
        """Take the next window of all, and tell whether it is voice of the user's.

        Args:
            level_db: Its level, to any reference.
            voiced: Whether it holds voice.
            in_turn: Whether the user's turn is going on.
        """
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
        return self._above(held, BEGIN_DB)

    def loud(self, level_db: float) -> bool:
        """Whether a window of a turn is by itself loud enough to be the user's."""
        return self._above(level_db, LINE_DB)

    def _above(self, level_db: float, line_db: float) -> bool:
        return self._reference is None or level_db >= self._reference - self._drop_db - line_db

    def learn(self, level_db: float, start: int) -> int | None:
        """Take a window of the user's turn, one that is `own`.

        Args:
            level_db: Its level.
            start: What names it.

        Returns:
            The name of the window with which a voice began that is louder by `LINE_DB` than all
            before it, once it is known to go on: that is the user, and it was not the user before.
        """
        self._settle()
        before, enough = self._reference, len(self._user) * WINDOW_MS >= JOIN_MS
        self._user.append(level_db)
        rank = min(max(len(self._user) // SHARE, LEAST), MOST, len(self._user))
        self._reference = sorted(self._user)[-rank]
        if self._louder is None:
            if before is not None and enough and level_db - before >= LINE_DB:
                self._louder = _Louder(start, before + LINE_DB)
            return None
        self._louder.windows += 1
        if self._reference >= self._louder.level_db:
            joined, self._louder = self._louder.start, None
            return joined
        if self._louder.windows * WINDOW_MS >= JOINED_MS:
            self._louder = None
        return None

    def _settle(self) -> None:
        """The user is heard: after so much quiet that the level has fallen, it is learnt anew.

        Held against a fallen level, the user's own voice would be a louder one that joins.
        """
        if self._drop_db:
            self._user.clear()
            self._reference = None
        self._quiet_s = 0.0

    @property
    def _drop_db(self) -> float:
        return max(0.0, self._quiet_s - PATIENCE_S) * DECAY_DB


@dataclass(slots=True)
class _Louder:
    """A voice that may turn out to be the user's: its first window, the level it has to keep."""

    start: int
    level_db: float
    windows: int = 0
