"""When a reply's first clause is cut, as its tokens come. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import Reply
from pipeline.measure.record import DROPPED, WAITING, Record
from pipeline.profile.change import Cost
from pipeline.text.chunker import Chunker

FORCED_SHARE = 2 / 3
"""Where no tokens were traced: how much of the time to the first clause it takes until a deadline
finds enough to cut. It wants two words, and a clause has three."""


@dataclass(frozen=True, slots=True)
class Writing:
    """The beginning of a reply as it was written: arrivals (ns) from the first token on.

    Attributes:
        whole: To the token that makes the first clause whole.
        forced: To the token that makes it long enough to be cut when it is overdue.
    """

    whole: Sequence[int]
    forced: Sequence[int]

    @classmethod
    def of(cls, record: Record, reply: Reply, language: str) -> Writing:
        """As recorded, with the marks of the first token and the first clause.

        Args:
            record: The turn.
            reply: How large a clause is.
            language: Code of what the voice speaks.
        """
        first, clause = record.marks["llm.first_token"], record.marks["clause.first"]
        written = tokens(record)
        if not written:
            return cls([first, clause], [first, first + round((clause - first) * FORCED_SHARE)])
        times = [first, *(max(first, at) for _, at in written[1:])]
        whole, forced = _needed([text for text, _ in written], reply, language)
        return cls(times[: whole + 1], times[: forced + 1])

    def at(self, first: int, cost: Cost | None) -> Writing:
        """The same with the first token at `first`, and a changed time between tokens."""
        return Writing(arrivals(self.whole, first, cost), arrivals(self.forced, first, cost))

    def cut(self, committed: int, deadline_ns: int) -> int:
        """When the first clause is cut: it is whole, or the deadline finds enough of it (ns).

        Args:
            committed: When the turn was over: before that nothing is overdue.
            deadline_ns: How long after the first token it is.
        """
        deadline = max(self.whole[0] + deadline_ns, committed)
        return min(self.whole[-1], max(deadline, self.forced[-1]))


def tokens(record: Record) -> list[tuple[str, int]]:
    """The tokens that were traced, and when each arrived (ns), in order."""
    first = record.marks.get("llm.first_token")
    if first is None:
        return []
    found = [
        (span.name, span.end_ns)
        for span in record.spans
        if span.lane == "llm"
        and span.end_ns >= first
        and span.name != WAITING
        and not span.name.startswith(DROPPED)
    ]
    return sorted(found, key=lambda token: token[1])


def arrivals(was: Sequence[int], first: int, cost: Cost | None) -> list[int]:
    """When tokens arrive now that arrived at `was` (ns), the first of them at `first`."""
    gaps = (b - a for a, b in itertools.pairwise(was))
    changed = gaps if cost is None else map(cost.of, gaps)
    return list(itertools.accumulate(changed, initial=first))


def _needed(texts: Sequence[str], reply: Reply, language: str) -> tuple[int, int]:
    """Which token makes the first clause whole, and which makes it long enough to be cut."""

    def chunker() -> Chunker:
        return Chunker(
            first_words=reply.first_words, max_chars=reply.max_clause_chars, language=language
        )

    whole, forced = chunker(), None
    for i, text in enumerate(texts):
        if whole.push(text, hurry=True):
            return i, i if forced is None else forced
        if forced is None:
            probe = chunker()
            probe.push("".join(texts[: i + 1]))
            forced = i if probe.force() else None
    last = len(texts) - 1
    return last, last if forced is None else forced
