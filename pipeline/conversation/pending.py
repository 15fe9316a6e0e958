"""Which tool calls are open, and which results nobody waits for any more. Pure.

The calls of one pass of the model are a group: the model goes on when all of them have results. A
reply waits for its group. If the user goes on meanwhile, the reply leaves; what comes then is told
in one more reply, when nobody is speaking.
"""

from __future__ import annotations

import string
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.engines.tools import ToolUse


@dataclass(slots=True, eq=False)
class Group:
    """The calls of one pass.

    Attributes:
        turn: Of the reply that asked.
        uses: The calls, by ids that are unlike all others of the session.
        rounds: How often tools were called in this turn, this time included.
        wake: Told when all results are there.
        open: Calls without a result.
        left: Whether nobody waits any more.
    """

    turn: int
    uses: tuple[ToolUse, ...]
    rounds: int
    wake: Callable[[], None]
    open: set[str] = field(init=False)
    left: bool = False

    def __post_init__(self) -> None:
        self.open = {use.id for use in self.uses}


class Pending:
    """The calls of a session."""

    def __init__(self, *, rounds: int = 5, used: Iterable[str] = ()) -> None:
        """Start with none.

        Args:
            rounds: How often tools may be called in one turn.
            used: Ids that a resumed conversation has used up.
        """
        self.rounds = rounds
        self._ids = set(used)
        self._made = 0
        self._groups: dict[str, Group] = {}
        self._cancelled: set[str] = set()
        self._late: deque[Group] = deque()
        self._spoken: dict[int, int] = {}

    def begin(
        self, turn: int, uses: Sequence[ToolUse], rounds: int, wake: Callable[[], None]
    ) -> Group:
        """The model has called tools: their ids are made unlike all others, if they are not."""
        group = Group(turn, tuple(map(self._named, uses)), rounds, wake)
        self._groups |= dict.fromkeys(group.open, group)
        return group

    def __contains__(self, call_id: str) -> bool:
        """Whether a call is open."""
        return call_id in self._groups

    def answered(self, call_id: str) -> None:
        """A call has its result. What was cancelled may have one too.

        Raises:
            KeyError: No such call is open.
        """
        if call_id in self._cancelled:
            return
        group = self._groups.pop(call_id)
        group.open.remove(call_id)
        if not group.open:
            if group.left:
                self._late.append(group)
            else:
                group.wake()

    def leave(self, group: Group) -> None:
        """Nobody waits for a group any more; it may be complete all the same."""
        group.left = True
        if not group.open:
            self._late.append(group)

    def next_late(self) -> Group | None:
        """A group that is complete, and was left: it is to be told now."""
        return self._late.popleft() if self._late else None

    def reply_id(self, turn: int) -> str:
        """A name for one more reply in a turn: reply-3b, reply-3c, and so on."""
        number = self._spoken[turn] = self._spoken.get(turn, 0) + 1
        letters = string.ascii_lowercase
        return f"reply-{turn}{letters[number] if number < len(letters) else f'-{number}'}"

    def cancel(self) -> list[tuple[int, str]]:
        """No result is wanted any more: the open calls, as turn and id."""
        calls = [(group.turn, call_id) for call_id, group in self._groups.items()]
        self._cancelled |= self._groups.keys()
        self._groups.clear()
        self._late.clear()
        return calls

    def _named(self, use: ToolUse) -> ToolUse:
        name = use.id
        while not name or name in self._ids:
            # Nine letters and digits: Mistral's templates take no other.
            self._made += 1
            name = f"call{self._made:05}"
        self._ids.add(name)
        return replace(use, id=name)
