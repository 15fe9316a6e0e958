"""How much of a reply a client has played, as far as a server can know. Pure."""

from __future__ import annotations

NS_PER_S = 1_000_000_000


class Playing:
    """A reply that is played in real time from its first sound on, as that comes.

    What a client really plays begins later, by its line and its device. It may say so itself
    (`conversation.item.truncate`); until then this is what is known.

    Args:
        rate: Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._made = 0
        # So much was played at that time.
        self._played, self._at_ns = 0, 0

    @property
    def made_s(self) -> float:
        """How long it is so far (s)."""
        return self._made / self._rate

    def add(self, samples: int, now_ns: int) -> None:
        """So much more of it was sent just now."""
        self._played, self._at_ns = self.played(now_ns), now_ns
        self._made += samples

    def played(self, now_ns: int) -> int:
        """How many samples of it have been played by now."""
        passed = (now_ns - self._at_ns) * self._rate // NS_PER_S
        return min(self._made, self._played + passed)

    def left_s(self, now_ns: int) -> float:
        """How long what was sent will still be played (s)."""
        return (self._made - self.played(now_ns)) / self._rate
