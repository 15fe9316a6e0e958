"""A model that calls tools, as one that writes a reply: it asks, gets the results, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from pipeline.conversation.history import History, ReplyPlace
from pipeline.conversation.pending import Pending
from pipeline.conversation.reply import LULL, Emit, Lull
from pipeline.engines.llm import Messages, Used, Writer
from pipeline.engines.tools import ToolUse
from pipeline.errors import StageError
from pipeline.events import ToolCall


class Rounds:
    """A `reply.Model` for one reply.

    Attributes:
        waiting: It wants tools, and the turn is not committed, or a result is not there yet.
    """

    def __init__(
        self,
        model: Writer,
        turn: int,
        place: ReplyPlace,
        *,
        conversation: History,
        pending: Pending,
        emit: Emit,
        committed: asyncio.Event,
        asked: int = 0,
    ) -> None:
        """Prepare.

        Args:
            model: Writes, and calls.
            turn: Of the reply's events.
            place: Of the reply in the history.
            conversation: Gets the calls.
            pending: Keeps the calls until they are answered.
            emit: Takes `ToolCall`.
            committed: No tool is called before it is set.
            asked: How often tools were called in this turn before.
        """
        self.waiting = False
        self._model = model
        self._turn = turn
        self._place = place
        self._conversation = conversation
        self._pending = pending
        self._emit = emit
        self._committed = committed
        self._asked = asked
        self._text = ""
        self._cuts: list[int] = []

    async def stream(self, messages: Messages) -> AsyncGenerator[str | Used | Lull, None]:
        """Yield the text of one pass after the other, and a `Lull` between them.

        Raises:
            StageError: The model fails, or calls tools again and again.
        """
        while True:
            uses: list[ToolUse] = []
            async with contextlib.aclosing(self._model.stream(messages)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, ToolUse):
                        uses.append(piece)
                    elif isinstance(piece, str):
                        yield self._written(piece)
                    else:
                        yield piece
            if not uses:
                return
            if self._asked >= self._pending.rounds:
                raise StageError(
                    "llm",
                    f"the model called tools {self._asked} times and wants more; "
                    "ask for less at once, or raise conversation.tool_rounds",
                )
            self._asked += 1
            yield LULL
            self.waiting = True
            await self._committed.wait()
            await self._call(uses)
            self.waiting = False
            messages = self._conversation.prompt()

    def _written(self, text: str) -> str:
        """A piece of text, apart from the words of the pass before."""
        first = self._cuts[-1:] == [len(self._text)]
        if first and self._text and not (self._text[-1].isspace() or text[:1].isspace()):
            text = f" {text}"
        self._text += text
        return text

    async def _call(self, uses: Sequence[ToolUse]) -> None:
        """Call tools and wait for the results.

        If this is cancelled, the results are told late; what nobody has been told to run has none.
        """
        answered = asyncio.Event()
        group = self._pending.begin(self._turn, uses, self._asked, answered.set)
        self._cuts.append(len(self._text))
        self._conversation.call(self._place, group.uses)
        turn, part = self._place
        self._conversation.settle(turn, self._text, part=part, cuts=self._cuts)
        told = 0
        try:
            for use in group.uses:
                await self._emit(ToolCall(self._turn, use.id, use.name, use.arguments))
                told += 1
            await answered.wait()
        except asyncio.CancelledError:
            for use in group.uses[told:]:
                self._conversation.cancel(use.id)
                self._pending.answered(use.id)
            if told:
                self._pending.leave(group)
            raise
