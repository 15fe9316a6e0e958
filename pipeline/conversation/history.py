"""What was said, and of the replies what was *heard*. Pure.

The history is what the model is reminded of, so it must hold what the user knows: a reply that was
interrupted is cut to the last word heard, one that nobody heard is dropped.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol

from pipeline.engines.tools import Prompt, Tool, ToolUse, tool_call, tools_of
from pipeline.text.language_names import code_of, name_of

Role = Literal["system", "user", "assistant", "tool"]

CHARS_PER_TOKEN = 3.5
"""For the context budget. English text has about 4 characters a token with the usual vocabularies;
3.5 errs towards dropping a turn too early rather than overflowing the server's context."""

RETENTION = 0.5
"""Share of the budget kept when dropping: seldom and much, so that the server's prefix cache
survives."""

TOOL_CHARS = 1500
"""Longest tool result; the rest is cut off."""

MESSAGE_TOKENS = 6
"""What a chat template adds around each message, about."""

IMAGE_TOKENS = 300
"""What an image costs a model that sees, about: from 85 (OpenAI, low detail) to 1,500."""

RUNNING = "The tool is still running; its result comes later."
"""Stands for the result of a call that is not there yet: no chat takes a call without a result."""

NOTHING = "(no output)"

CANCELLED = "The call was cancelled; there is no result."

UNSPOKEN = "(The user spoke before I answered.)"
"""Follows a result in the prompt where no word of the assistant's was heard after it: some chat
templates (Mistral's) take no user's message after a tool's."""

LEAST_RESULT_CHARS = 200
"""A result is not cut shorter than this to make a prompt fit its budget."""


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
        images: URLs of what the user shows, with the words.
        note: How the words were spoken, for the model alone (`engines.prosody`).
        answer_in: English name of the language that these words change the conversation to.
    """

    role: Role
    content: str
    turn: int
    calls: tuple[ToolUse, ...] = ()
    call_id: str = ""
    part: int = field(default=0, compare=False)
    images: tuple[str, ...] = ()
    note: str = field(default="", compare=False)
    answer_in: str = field(default="", compare=False)

    @property
    def told(self) -> str:
        """The words as the model reads them: how they were spoken, in what to answer them.

        That stays where they are, so that all prompts begin the same way.
        """
        note = f" [{self.note}]" if self.note else ""
        change = f" (Answer in {self.answer_in}.)" if self.answer_in else ""
        return f"{self.content}{note}{change}"

    @property
    def tokens(self) -> float:
        """About how many tokens it costs in a prompt."""
        called = sum(len(use.name) + len(use.arguments) for use in self.calls)
        around = 1 + len(self.calls) + (3 if self.calls else 0)
        text = (len(self.told) + called) / CHARS_PER_TOKEN + MESSAGE_TOKENS * around
        return text + IMAGE_TOKENS * len(self.images)

    @property
    def place(self) -> ReplyPlace:
        """Where it stands."""
        return ReplyPlace(self.turn, self.part)


class ReplyPlace(NamedTuple):
    """Where a reply stands in the history: in this turn, after so many others."""

    turn: int
    part: int = 0


class Memory(Protocol):
    """What the model is reminded of: a `History`, or a conversation that somebody else edits."""

    @property
    def history(self) -> list[Message]:
        """Everything said and heard, in order."""
        ...

    @property
    def unanswered(self) -> bool:
        """Whether the user spoke last, or a tool."""
        ...

    def offer(self, tools: Sequence[Tool]) -> None:
        """Offer these tools, and no others, with every prompt from now on."""
        ...

    def add(
        self,
        role: Literal["user", "assistant"],
        content: str,
        turn: int,
        note: str = "",
        language: str = "",
    ) -> None:
        """Append one side's words, how they were spoken, and in what. An empty text is nothing."""
        ...

    def show(self, url: str, turn: int) -> None:
        """The user shows a picture, with the words of this turn."""
        ...

    def settle(self, turn: int, heard: str, *, part: int = 0, cuts: Sequence[int] = ()) -> None:
        """Set the reply at `turn` and `part` to what was heard of it (see `History.settle`)."""
        ...

    def prompt(
        self, *, said: str = "", note: str = "", language: str = "", reserve_tokens: int = 0
    ) -> Prompt:
        """What the model is asked with.

        Args:
            said: What the user says now, and may not have finished: it is not kept.
            note: How that was spoken.
            language: Code of what that is in; empty: not known.
            reserve_tokens: Room to leave for what will be said next.
        """
        ...


class History:
    """The history of a session, in order, fitted into a prompt of limited size."""

    def __init__(
        self,
        instructions: str,
        *,
        budget_tokens: int,
        retention: float = RETENTION,
        tools: Sequence[Tool] = (),
        tool_chars: int = TOOL_CHARS,
        language: str = "",
    ) -> None:
        """Start empty.

        Args:
            instructions: The system prompt; never dropped.
            budget_tokens: Prompt size above which the oldest turns are left out.
            retention: Share of the budget that remains after leaving out. Dropping seldom and much
                keeps the start of the prompt the same for many turns, and the server's cache valid.
            tools: Offered with every prompt; they count.
            tool_chars: Longest result of a call; the rest is cut off.
            language: Code of what the conversation is in; where it changes the model is told so.
        """
        self._language = language
        self._system = Message("system", instructions, 0)
        self._budget = budget_tokens
        self._retention = retention
        self._tool_chars = tool_chars
        self._left_out: list[Message] = []
        self._kept: list[Message] = []
        self._running: set[str] = set()
        self.offer(tools)

    @property
    def history(self) -> list[Message]:
        """Everything said and heard, in order, including what prompts leave out."""
        return [*self._left_out, *self._kept]

    def offer(self, tools: Sequence[Tool]) -> None:
        """Offer these tools, and no others, with every prompt from now on."""
        self._tools = tuple(tools)
        self._fixed = self._system.tokens + tool_tokens(tools)

    def restore(self, messages: Sequence[Message]) -> None:
        """Go on with a saved history.

        What no chat takes is put right: a call without a result gets one, a result without its
        call is left out.
        """
        wanted: list[str] = []
        for message in [*messages, Message("user", "", 0)]:
            if message.role == "tool" and message.call_id in wanted:
                wanted.remove(message.call_id)
                content = CANCELLED if message.content == RUNNING else message.content
                self._kept.append(replace(message, content=content))
                continue
            turn = self._kept[-1].turn if self._kept else 0
            self._kept += [Message("tool", CANCELLED, turn, call_id=id) for id in wanted]
            wanted = [use.id for use in message.calls]
            said = message.content.strip() or message.images
            if message.calls or (message.role in ("user", "assistant") and said):
                self._kept.append(replace(message))

    def add(
        self,
        role: Literal["user", "assistant"],
        content: str,
        turn: int,
        note: str = "",
        language: str = "",
    ) -> None:
        """Append one side's words, how they were spoken, and in what. An empty text is nothing."""
        if content.strip():
            answer_in = changed_to(language, self._language)
            said = Message(role, content.strip(), turn, note=note, answer_in=answer_in)
            self._kept.append(said)
            self._language = language or self._language

    def show(self, url: str, turn: int) -> None:
        """The user shows a picture, with the words of `turn`."""
        self._insert(Message("user", "", turn, images=(url,)))

    def settle(self, turn: int, heard: str, *, part: int = 0, cuts: Sequence[int] = ()) -> None:
        """Set the reply of `turn` to what was heard of it; drop it if that is nothing.

        Args:
            turn: Where it stands.
            heard: The words.
            part: 0 for the reply of the turn, counted on for those that came late.
            cuts: Where in its text tools were called: so many characters were written before.
        """
        place = ReplyPlace(turn, part)
        messages = self._around(place)
        messages[:] = [m for m in messages if m.role != "assistant" or m.place != place or m.calls]
        calling = [m for m in messages if m.calls and m.place == place]
        begin = 0
        for message, end in zip(calling, cuts, strict=False):
            message.content = heard[begin:end].strip()
            begin = end
        if heard[begin:].strip():
            self._insert(Message("assistant", heard[begin:].strip(), turn, part=part))

    def call(self, place: ReplyPlace, uses: Sequence[ToolUse]) -> None:
        """The assistant asks for tools, in the reply at `place`; they are running."""
        uses = tuple(
            ToolUse(use.id, clean(use.name), clean(use.arguments)[: self._tool_chars])
            for use in uses
        )
        self._insert(Message("assistant", "", place.turn, uses, part=place.part))
        for use in uses:
            self._running.add(use.id)
            self._insert(Message("tool", RUNNING, place.turn, call_id=use.id, part=place.part))

    def result(self, call_id: str, output: str) -> None:
        """A call has its result."""
        output = clean(output).strip() or NOTHING
        if len(output) > self._tool_chars:
            output = cut(output, self._tool_chars)
        for message in self.history:
            if message.call_id == call_id:
                message.content = output
        self._running.discard(call_id)

    def cancel(self, call_id: str) -> None:
        """A call will have no result."""
        self.result(call_id, CANCELLED)

    def follow_up(self, uses: Sequence[ToolUse], turn: int) -> ReplyPlace:
        """The results of calls are there, late: they are told now, in `turn`.

        The calls move to the end with their results, so that a prompt ends with them; the words
        before them stay where they were said.

        Args:
            uses: All calls of one message.
            turn: The newest turn.

        Returns:
            Where the reply to the results stands.
        """
        ids = {use.id for use in uses}
        moved: list[Message] = []
        part = 1 + max((m.part for m in self.history if m.turn == turn), default=0)
        for messages in (self._left_out, self._kept):
            stay: list[Message] = []
            for m in messages:
                if m.call_id in ids or any(use.id in ids for use in m.calls):
                    content = "" if m.calls else m.content
                    moved.append(replace(m, content=content, turn=turn, part=part))
                    if m.calls and m.content:
                        stay.append(replace(m, calls=()))
                else:
                    stay.append(m)
            messages[:] = stay
        self._kept += moved
        return ReplyPlace(turn, part + 1)

    @property
    def unanswered(self) -> bool:
        """Whether the user spoke last, or a tool: a reply was dropped, or never made.

        Of a tool that is running more will be told anyhow, and a picture asks nothing.
        """
        said = (m for m in reversed(self._kept) if m.content or not m.images)
        last = next(said, None)
        if last is None or last.role == "assistant":
            return False
        return last.role == "user" or last.call_id not in self._running

    def prompt(
        self, *, said: str = "", note: str = "", language: str = "", reserve_tokens: int = 0
    ) -> Prompt:
        """What the model is asked with: instructions, then as much of the history as fits.

        Args:
            said: What the user says now, and may not have finished: it is not kept.
            note: How that was spoken.
            language: Code of what that is in; empty: not known.
            reserve_tokens: Room to leave for what will be said next.
        """
        answer_in = changed_to(language, self._language)
        now = Message("user", said, 0, note=note, answer_in=answer_in)
        self._fit(reserve_tokens + (int(now.tokens) if said else 0))
        messages = joined([*self._kept, now] if said else self._kept)
        messages = shortened(messages, self._fixed + reserve_tokens - self._budget)
        return Prompt(map(wire, (self._system, *messages)), self._tools)

    def _around(self, place: ReplyPlace) -> list[Message]:
        """The messages among which this place is: those that prompts leave out, or the others."""
        # The reply to a question that prompts leave out stays out with it.
        out = self._left_out and self._kept and place < self._kept[0].place
        return self._left_out if out else self._kept

    def _insert(self, message: Message) -> None:
        """Put a message where it stands: behind all before it, and those of the same place."""
        messages = self._around(message.place)
        behind = (i for i, m in enumerate(messages) if m.place > message.place)
        messages.insert(next(behind, len(messages)), message)

    def _fit(self, reserve_tokens: int) -> None:
        """Leave out the oldest turns, down to the retention ratio, once the budget is exceeded."""
        drop = oldest(
            self._kept,
            self._fixed,
            reserve=reserve_tokens,
            budget=self._budget,
            retention=self._retention,
        )
        self._left_out += self._kept[:drop]
        del self._kept[:drop]


def tool_tokens(tools: Sequence[Tool]) -> float:
    """About how many tokens it costs to offer tools."""
    return sum(len(json.dumps(t)) for t in tools_of(Prompt([], tools))) / CHARS_PER_TOKEN


def oldest(
    messages: Sequence[Message], fixed: float, *, reserve: int, budget: float, retention: float
) -> int:
    """How many of the oldest messages a prompt leaves out: none as long as all fit.

    The user's newest words always stay, with what was shown for them, and all after them. What is
    left begins with words of the user's: a reply goes with its question, and a call with its
    result.

    Args:
        messages: All that may be in it.
        fixed: Tokens of what is in it besides.
        reserve: Tokens to leave for what will be said next.
        budget: Tokens above which messages are left out.
        retention: Share of the budget that remains then.
    """
    total = fixed + sum(m.tokens for m in messages)
    if total + reserve <= budget:
        return 0
    newest = max((i for i, m in enumerate(messages) if m.role == "user"), default=0)
    while newest and messages[newest - 1].images and not messages[newest - 1].content:
        newest -= 1
    drop = 0
    while drop < newest and (total > budget * retention or messages[drop].role != "user"):
        total -= messages[drop].tokens
        drop += 1
    return drop


def joined(messages: Sequence[Message]) -> list[Message]:
    """The messages as chats take them.

    Neighbours of one role are joined, since many chat templates insist on alternation: they arise
    when a reply was dropped, or when the user went on after a pause. Between a result and the
    user's next words stands `UNSPOKEN`.
    """
    found: list[Message] = []
    for message in messages:
        last = found[-1] if found else None
        if last is not None and last.role == message.role != "tool" and not last.calls:
            words = " ".join(filter(None, (last.told, message.content)))
            images = last.images + message.images
            found[-1] = Message(
                last.role,
                words,
                message.turn,
                message.calls,
                images=images,
                note=message.note,
                answer_in=message.answer_in,
            )
            continue
        if last is not None and last.role == "tool" and message.role == "user":
            found.append(Message("assistant", UNSPOKEN, last.turn))
        found.append(message)
    return found


def shortened(messages: list[Message], excess: float) -> list[Message]:
    """The messages with results cut, the longest first, where all together are too much.

    Args:
        messages: Of a prompt that has no older turns to leave out.
        excess: How much more than their budget all but these are (tokens); mostly negative.
    """
    over = excess + sum(m.tokens for m in messages)
    results = (i for i, m in enumerate(messages) if m.role == "tool")
    for i in sorted(results, key=lambda i: -len(messages[i].content)):
        text = messages[i].content
        if over <= 0 or len(text) <= LEAST_RESULT_CHARS:
            break
        room = max(LEAST_RESULT_CHARS, len(text) - math.ceil(over * CHARS_PER_TOKEN))
        shorter = replace(messages[i], content=cut(text, room))
        over -= messages[i].tokens - shorter.tokens
        messages[i] = shorter
    return messages


def changed_to(language: str, before: str) -> str:
    """The English name of a language that is not the one before; empty if it is, or is not known.

    Args:
        language: Code of what is said.
        before: Code of what was said before.
    """
    changes = language and before and code_of(language) != code_of(before)
    return name_of(language) if changes else ""


def wire(message: Message) -> dict[str, Any]:
    """A message as the chat API takes it."""
    wire: dict[str, Any] = {"role": message.role, "content": message.told}
    if message.images:
        shown = [{"type": "image_url", "image_url": {"url": url}} for url in message.images]
        said = [{"type": "text", "text": message.told}] if message.content else []
        wire["content"] = [*said, *shown]
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
