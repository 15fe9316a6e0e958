"""How much of a reply a client has played, as far as a server can know. Pure."""

from __future__ import annotations

from pipeline.clock import NS_PER_S


class Playhead:
    """Where a client is in a reply: it plays in real time from the first sound on, as that comes.

    What a client really plays begins later, by its line and its device. It may say so itself
    (`conversation.item.truncate`); until then this is what is known.

    Args:
        rate: Hz.
        free_ns: When what was sent before it has been played.
    """

    def __init__(self, rate: int, free_ns: int = 0) -> None:
        self.rate = rate
        self._made = 0
        # So much was played at that time.
        self._played, self._at_ns = 0, free_ns

    @property
    def made_s(self) -> float:
        """How long it is so far (s)."""
        return self._made / self.rate

    def add(self, samples: int, now_ns: int) -> None:
        """So much more of it was sent just now."""
        self._played, self._at_ns = self.played(now_ns), max(now_ns, self._at_ns)
        self._made += samples

    def played(self, now_ns: int) -> int:
        """How many samples of it have been played by now."""
        passed = max(0, now_ns - self._at_ns) * self.rate // NS_PER_S
        return min(self._made, self._played + passed)

    @property
    def ends_ns(self) -> int:
        """When all that was sent has been played."""
        left = self._made - self._played
        return self._at_ns + -(-left * NS_PER_S // self.rate)
