"""The tool calls of a session that have no result yet, and the results that come late."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.conversation.history import History, ReplyPlace
from pipeline.engines.tools import Told, Tool, ToolUse, arguments
from pipeline.errors import CascadeError
from pipeline.events import ToolCancelled
from pipeline.tools.toolbox import CANCEL

STILL_RUNNING = "It is running already, and not done yet; its result comes by itself. Say so."
"""The result of a call that is made once more while it runs: small models do that when they are
asked how far it is."""

NOTHING_RUNS = "Nothing is running."


@dataclass(slots=True, eq=False)
class CallGroup:
    """The calls of one pass of the model, which goes on when all of them have results.

    Attributes:
        turn: Of the reply that asked.
        uses: The calls, by ids that are unlike all others of the session.
        asked: How often tools were called in this turn, this time included.
        told: When the user hears of the results, if they come late.
        open: Calls without a result.
        complete: Set when all results are there.
        left: Whether the reply waits no more.
    """

    turn: int
    uses: tuple[ToolUse, ...]
    asked: int
    told: Told = "idle"
    open: set[str] = field(init=False)
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    left: bool = False

    def __post_init__(self) -> None:
        self.open = {use.id for use in self.uses}


class OpenCalls:
    """The tool calls of a session: which are open, and which results nobody waits for any more.

    A reply waits for its group. If the user goes on meanwhile, the reply leaves; what comes then is
    told in one more reply, when nobody is speaking, unless it is to be told to the model alone.

    Args:
        history: Is told what becomes of them; their ids are unlike those that it has.
        tools: On offer.
    """

    def __init__(self, history: History, tools: Sequence[Tool] = ()) -> None:
        self._history = history
        self._told: dict[str, Told] = {tool.name: tool.told for tool in tools}
        self._ids = {use.id for message in history.history for use in message.calls}
        self._named = 0
        self._groups: dict[str, CallGroup] = {}
        self._cancelled: set[str] = set()
        self._late: deque[CallGroup] = deque()

    def offer(self, tools: Sequence[Tool]) -> None:
        """Other tools may be called from now on."""
        self._history.offer(tools)
        self._told = {tool.name: tool.told for tool in tools}

    def add(self, turn: int, uses: Sequence[ToolUse], asked: int) -> CallGroup:
        """The model calls tools: their ids are made unlike all others, if they are not."""
        wishes = {self._told.get(use.name, "idle") for use in uses}
        told: Told = next(told for told in _SOONEST if told in wishes)
        group = CallGroup(turn, tuple(map(self._unlike, uses)), asked, told)
        self._groups |= {use.id: group for use in group.uses}
        return group

    def call(self, place: ReplyPlace, group: CallGroup) -> None:
        """The history has the calls, in the reply at `place`."""
        self._history.call(place, group.uses)

    def own(self, use: ToolUse, group: CallGroup) -> str | None:
        """The result of a call that nobody has to run; None: somebody has to."""
        others = [each for each in self._open() if each not in group.uses]
        if use.name == CANCEL.name:
            names = ", ".join(each.name for each in others)
            return f"Cancelled: {names}." if names else NOTHING_RUNS
        return STILL_RUNNING if any(_alike(use, each) for each in others) else None

    def answer(self, call_id: str, output: str) -> None:
        """A call has its result, which is not wanted any more once all were cancelled.

        Raises:
            CascadeError: No such call is open.
        """
        if call_id in self._cancelled:
            return
        group = self._groups.pop(call_id, None)
        if group is None:
            raise CascadeError(
                f"no tool call {call_id!r} is open; answer each ToolCall once, by its id"
            )
        group.open.remove(call_id)
        if not group.open:
            group.complete.set()
            self._see_late(group)
        self._history.result(call_id, output)

    def leave(self, group: CallGroup) -> None:
        """Nobody waits for a group any more; it may be complete all the same."""
        group.left = True
        self._see_late(group)

    def next_late(self, turn: int, *, idle: bool) -> tuple[CallGroup, ReplyPlace] | None:
        """A group that is complete, and was left: it is told now, in `turn`, at this place.

        Args:
            turn: The newest.
            idle: Whether nobody has spoken for a while.
        """
        ready = (group for group in self._late if idle or group.told == "now")
        group = next(ready, None)
        if group is None:
            return None
        self._late.remove(group)
        return group, self._history.follow_up(group.uses, turn)

    def cancel(self, but: CallGroup | None = None) -> list[ToolCancelled]:
        """No result is wanted any more, but those of one group.

        Gives what is to be told of the open calls.
        """
        given_up = {id: group for id, group in self._groups.items() if group is not but}
        for call_id in given_up:
            self._history.cancel(call_id)
            del self._groups[call_id]
        self._cancelled |= given_up.keys()
        self._late.clear()
        return [ToolCancelled(group.turn, call_id) for call_id, group in given_up.items()]

    @property
    def running(self) -> bool:
        """Whether any call is open."""
        return bool(self._groups)

    def _open(self) -> list[ToolUse]:
        groups = dict.fromkeys(self._groups.values())
        return [use for group in groups for use in group.uses if use.id in group.open]

    def _see_late(self, group: CallGroup) -> None:
        if group.left and not group.open and group.told != "silent":
            self._late.append(group)

    def _unlike(self, use: ToolUse) -> ToolUse:
        name = use.id
        while not name or name in self._ids:
            # Nine letters and digits: Mistral's templates take no other.
            self._named += 1
            name = f"call{self._named:05}"
        self._ids.add(name)
        return replace(use, id=name)


_SOONEST: tuple[Told, ...] = ("now", "idle", "silent")


def _alike(use: ToolUse, other: ToolUse) -> bool:
    """Whether two calls ask for the same."""
    return use.name == other.name and _given(use) == _given(other)


def _given(use: ToolUse) -> Any:
    return json.loads(arguments(use.arguments))
