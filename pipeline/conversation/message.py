"""A message of a conversation: what was said, what was asked of tools, and their results. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pipeline.engines.tools import ToolUse, tool_call

Role = Literal["system", "user", "assistant", "tool"]

CHARS_PER_TOKEN = 3.5
"""For the context budget. English text has about 4 characters a token with the usual vocabularies;
3.5 errs towards dropping a turn too early rather than overflowing the server's context."""

MESSAGE_TOKENS = 6
"""What a chat template adds around each message, about."""


@dataclass(slots=True)
class Message:
    """One side's words in one turn, or what it asked of tools, or a tool's result.

    Attributes:
        role: Whose; `tool` for a result.
        content: The words; those of a call may be empty.
        turn: In which turn they were said. What is said of a result that came late belongs to the
            turn in which that was.
        calls: What the assistant asked for at the end of these words; the results follow at once.
        call_id: Which call it is the result of.
        part: 0 for the reply of the turn, counted on for those that came late.
    """

    role: Role
    content: str
    turn: int
    calls: tuple[ToolUse, ...] = ()
    call_id: str = ""
    part: int = field(default=0, compare=False)

    @property
    def tokens(self) -> float:
        """About how many tokens it costs in a prompt."""
        called = sum(len(use.name) + len(use.arguments) for use in self.calls)
        around = 1 + len(self.calls) + (3 if self.calls else 0)
        return (len(self.content) + called) / CHARS_PER_TOKEN + MESSAGE_TOKENS * around

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.turn, self.part)


class Place(NamedTuple):
    """Where a reply stands in the history: in this turn, after so many others."""

    turn: int
    part: int = 0


def wire(message: Message) -> dict[str, Any]:
    """A message as the chat API takes it."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        wire["tool_calls"] = [tool_call(use) for use in message.calls]
    if message.role == "tool":
        wire["tool_call_id"] = message.call_id
    return wire


def cut(text: str, chars: int) -> str:
    """The beginning of a text, with a note that the rest was cut off; so many characters in all.

    A text that has the note already keeps its count of what there was.
    """
    had = re.search(r"\n\[cut off here: (\d+) characters in all\]$", text)
    whole = had[1] if had else len(text)
    note = f"\n[cut off here: {whole} characters in all]"
    return text[: max(0, chars - len(note))] + note


def clean(text: str) -> str:
    """A text that can be sent: halves of characters cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
