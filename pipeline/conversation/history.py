"""What was said, and of the replies what was *heard*. Pure.

The history is what the model is reminded of, so it must hold what the user knows: a reply that was
interrupted is cut to the last word heard, one that nobody heard is dropped.

A prompt has room for so many tokens. When that is spent the oldest turns are left out, and then so
many that the prompt begins the same way for a good while: what the model has read of it is not read
again. What a model writes down of them first, its summary, stands behind the instructions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Protocol

from pipeline.engines import tokens
from pipeline.engines.tokens import TokenGauge
from pipeline.engines.tools import Prompt, Tool, ToolUse, tool_call
from pipeline.text.language_names import code_of, name_of
from pipeline.tools.toolbox import RESULT_CHARS, cut

Role = Literal["system", "user", "assistant", "tool"]

RETENTION = 0.5
"""Share of the room beside instructions and tools that is kept when dropping: seldom and much, so
that the server's prefix cache survives."""

LEAST_ROOM = 0.5
"""However long instructions and tools are, this share of the budget is left for what is said."""

SUMMARY_TURNS = 2
"""With room for no more turns like the last a summary is asked for: not in the last moment, for the
user may speak at any time, and then it is not made."""

SUMMARY_TOKENS = 120
"""Longest summary, and no more than a fifth of the room."""

LEAST_SUMMARY_TOKENS = 40
"""Where so much has no room none is written: in less a model is stopped in its first sentence."""

SUMMARISE = (
    "Before we go on: write down what you know about me and what we have said, for yourself, "
    "in at most three short sentences. Keep names, numbers, facts and wishes."
)
"""What a model is asked at the end of a conversation, all of which it has read by then."""

REMEMBERED = "What was said earlier in this conversation, in short: "
"""Begins the summary, behind the instructions."""

RUNNING = "The tool is still running; its result comes later."
"""Stands for the result of a call that is not there yet: no chat takes a call without a result."""

NOTHING = "(no output)"

CANCELLED = "The call was cancelled; there is no result."

UNSPOKEN = "(The user spoke before I answered.)"
"""Follows a result in the prompt where no word of the assistant's was heard after it: some chat
templates (Mistral's) take no user's message after a tool's."""

LEAST_RESULT_CHARS = 200
"""A result is not cut shorter than this to make a prompt fit its budget."""


@dataclass(frozen=True, slots=True)
class Message:
    """One side's words in one turn, or what it asked of tools, or a tool's result.

    Attributes:
        role: Whose; `tool` for a result, `system` for a summary of all before.
        content: The words; those of a call may be empty.
        turn: In which turn they were said. What is said of a result that came late belongs to the
            turn in which that was.
        calls: What the assistant asked for at the end of these words; the results follow at once.
        call_id: Which call it is the result of.
        part: 0 for the reply of the turn, counted on for those that came late.
        pictures: URLs of what the user shows, with the words.
        note: How the words were spoken, for the model alone (`engines.prosody`).
        answer_in: English name of the language that these words change the conversation to.
    """

    role: Role
    content: str
    turn: int
    calls: tuple[ToolUse, ...] = ()
    call_id: str = ""
    part: int = field(default=0, compare=False)
    pictures: tuple[str, ...] = ()
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
        tools: Sequence[Tool] = (),
        language: str = "",
        gauge: TokenGauge | None = None,
    ) -> None:
        """Start empty.

        Args:
            instructions: The system prompt; never dropped.
            budget_tokens: Prompt size above which the oldest turns are left out.
            tools: Offered with every prompt; they count.
            language: Code of what the conversation is in; where it changes the model is told so.
            gauge: Tells how many tokens there are, and how many the model takes; None: it is
                guessed.
        """
        self._language = language
        self._instructions = instructions
        self._budget_tokens = budget_tokens
        self._gauge = gauge or TokenGauge()
        self._left_out: list[Message] = []
        self._kept: list[Message] = []
        self._running: set[str] = set()
        self._summaries: list[Message] = []
        # The one in prompts: it changes when turns are left out, and with it all that is read.
        self._summary = ""
        self.offer(tools)

    @property
    def history(self) -> list[Message]:
        """Everything said and heard, in order, including what prompts leave out.

        A summary stands behind all that it tells.
        """
        said = [*self._left_out, *self._kept]
        return sorted([*said, *self._summaries], key=_turn) if self._summaries else said

    def offer(self, tools: Sequence[Tool]) -> None:
        """Offer these tools, and no others, with every prompt from now on."""
        self._tools = tuple(tools)
        self._offered_chars = tokens.tool_chars(tools)

    def restore(self, messages: Sequence[Message]) -> None:
        """Go on with a saved history.

        What no chat takes is put right: a call without a result gets one, a result without its
        call is left out.
        """
        self._summaries = [message for message in messages if message.role == "system"]
        wanted: list[str] = []
        for message in [*messages, Message("user", "", 0)]:
            if message.role == "system":
                continue
            if message.role == "tool" and message.call_id in wanted:
                wanted.remove(message.call_id)
                content = CANCELLED if message.content == RUNNING else message.content
                self._kept.append(replace(message, content=content))
                continue
            turn = self._kept[-1].turn if self._kept else 0
            self._kept += [Message("tool", CANCELLED, turn, call_id=id) for id in wanted]
            wanted = [use.id for use in message.calls]
            said = message.content.strip() or message.pictures
            if message.calls or (message.role in ("user", "assistant") and said):
                self._kept.append(message)

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
        self._insert(Message("user", "", turn, pictures=(url,)))

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
        begin, ends = 0, iter(cuts)
        settled: list[Message] = []
        for m in messages:
            if m.role == "assistant" and m.place == place:
                if not m.calls:
                    continue
                if (end := next(ends, None)) is not None:
                    m, begin = replace(m, content=heard[begin:end].strip()), end
            settled.append(m)
        messages[:] = settled
        if heard[begin:].strip():
            self._insert(Message("assistant", heard[begin:].strip(), turn, part=part))

    def call(self, place: ReplyPlace, uses: Sequence[ToolUse]) -> None:
        """The assistant asks for tools, in the reply at `place`; they are running."""
        uses = tuple(
            ToolUse(use.id, clean(use.name), clean(use.arguments)[:RESULT_CHARS]) for use in uses
        )
        self._insert(Message("assistant", "", place.turn, uses, part=place.part))
        for use in uses:
            self._running.add(use.id)
            self._insert(Message("tool", RUNNING, place.turn, call_id=use.id, part=place.part))

    def result(self, call_id: str, output: str) -> None:
        """A call has its result."""
        self._running.discard(call_id)
        output = clean(output).strip() or NOTHING
        if len(output) > RESULT_CHARS:
            output = cut(output, RESULT_CHARS)
        for messages in (self._kept, self._left_out):
            for at in reversed(range(len(messages))):
                if messages[at].call_id == call_id:
                    messages[at] = replace(messages[at], content=output)
                    return

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
        said = [*self._left_out, *self._kept]
        part = 1 + max((m.part for m in said if m.turn == turn), default=0)
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
        said = (m for m in reversed(self._kept) if m.content or not m.pictures)
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
        now = [Message("user", said, 0, note=note, answer_in=answer_in)] if said else []
        self._fit(reserve_tokens + sum(map(self._cost, now)))
        return self._asked([*self._kept, *now], reserve_tokens)

    def to_summarise(self, reserve_tokens: int = 0) -> Prompt | None:
        """Asks the model for a summary, if some turns will soon be left out; else None.

        It goes on from what the model has read, so that nothing is read again for it. Nobody waits
        for the answer, which `summarised` takes.

        Args:
            reserve_tokens: As prompts have it that are read ahead.
        """
        last = self._kept[-1] if self._kept else None
        if last is None or last.role != "assistant" or self._running:
            return None
        if self._summaries and self._summaries[-1].turn >= last.turn:
            return None
        room, costs = self._room, [self._cost(message) for message in self._kept]
        newest = max((i for i, m in enumerate(self._kept) if m.role == "user"), default=0)
        if sum(costs) + reserve_tokens + SUMMARY_TURNS * sum(costs[newest:]) <= room:
            return None
        if (limit := int(min(SUMMARY_TOKENS, room / 5))) < LEAST_SUMMARY_TOKENS:
            return None
        asked = self._asked([*self._kept, Message("user", SUMMARISE, last.turn)], 0)
        asked.limit = limit
        return asked

    def summarised(self, text: str) -> None:
        """The model has answered `to_summarise`: the oldest turns are left out now.

        Once in a long while all is read anew, and this is the time for it.
        """
        text = " ".join(clean(text).split())
        if not text or not self._kept:
            return
        self._summaries.append(Message("system", text, self._kept[-1].turn))
        self._fit(math.inf)

    @property
    def _system(self) -> Message:
        """The instructions, and what is known of the turns that are left out."""
        told = f"{REMEMBERED}{self._summary}" if self._summary else ""
        return Message("system", "\n\n".join(filter(None, (self._instructions, told))), 0)

    @property
    def _room(self) -> float:
        """Tokens that what is said may have."""
        fixed = self._cost(self._system) + self._gauge.tools(self._offered_chars)
        return room(self._budget_tokens, fixed, self._gauge)

    def _cost(self, message: Message) -> float:
        return self._gauge.message(wire(message))

    def _asked(self, messages: Sequence[Message], reserve_tokens: int) -> Prompt:
        messages = shortened(joined(messages), self._room - reserve_tokens, self._gauge)
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

    def _fit(self, reserve: float) -> None:
        """Leave out the oldest turns where there is no room; what is known of them is told then."""
        costs = [self._cost(message) for message in self._kept]
        room = self._room
        if drop := oldest(self._kept, costs, room=room, reserve=reserve, retention=RETENTION):
            self._left_out += self._kept[:drop]
            del self._kept[:drop]
            self._summary = self._summaries[-1].content if self._summaries else ""


_turn: Callable[[Message], int] = attrgetter("turn")


def room(budget: int, fixed: float, gauge: TokenGauge) -> float:
    """Tokens that what is said may have in a prompt.

    Args:
        budget: Of the prompt.
        fixed: Tokens of instructions and tools.
        gauge: Tells how many the model takes.
    """
    return min(max(budget - fixed, budget * LEAST_ROOM), gauge.most - fixed)


def oldest(
    messages: Sequence[Message],
    costs: Sequence[float],
    *,
    room: float,
    reserve: float,
    retention: float,
) -> int:
    """How many of the oldest messages a prompt leaves out: none as long as all fit.

    The user's newest words always stay, with what was shown for them, and all after them. What is
    left begins with words of the user's: a reply goes with its question, and a call with its
    result.

    Args:
        messages: All that may be in it.
        costs: Tokens of each.
        room: Tokens above which messages are left out.
        reserve: Tokens to leave for what will be said next.
        retention: Share of the room that remains filled then.
    """
    total = sum(costs)
    if total + reserve <= room:
        return 0
    newest = max((i for i, m in enumerate(messages) if m.role == "user"), default=0)
    while newest and messages[newest - 1].pictures and not messages[newest - 1].content:
        newest -= 1
    drop = 0
    while drop < newest and (total > room * retention or messages[drop].role != "user"):
        total -= costs[drop]
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
            pictures = last.pictures + message.pictures
            found[-1] = Message(
                last.role,
                words,
                message.turn,
                message.calls,
                pictures=pictures,
                note=message.note,
                answer_in=message.answer_in,
            )
            continue
        if last is not None and last.role == "tool" and message.role == "user":
            found.append(Message("assistant", UNSPOKEN, last.turn))
        found.append(message)
    return found


def shortened(messages: list[Message], room: float, gauge: TokenGauge) -> list[Message]:
    """The messages with results cut, the longest first, where all together are too much.

    Args:
        messages: Of a prompt that has no older turns to leave out.
        room: How many tokens they may have.
        gauge: Tells how many they have.
    """
    results = [i for i, m in enumerate(messages) if m.role == "tool"]
    if not results:
        return messages
    over = sum(gauge.message(wire(m)) for m in messages) - room
    for i in sorted(results, key=lambda i: -len(messages[i].content)):
        text = messages[i].content
        if over <= 0 or len(text) <= LEAST_RESULT_CHARS:
            break
        whole, empty = (gauge.message({"content": t}) for t in (text, ""))
        excess = math.ceil(over * len(text) / max(whole - empty, 1))
        shorter = replace(
            messages[i], content=cut(text, max(LEAST_RESULT_CHARS, len(text) - excess))
        )
        over -= gauge.message(wire(messages[i])) - gauge.message(wire(shorter))
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
    if message.pictures:
        shown = [{"type": "image_url", "image_url": {"url": url}} for url in message.pictures]
        said = [{"type": "text", "text": message.told}] if message.content else []
        wire["content"] = [*said, *shown]
    if message.calls:
        wire["tool_calls"] = [tool_call(use) for use in message.calls]
    if message.role == "tool":
        wire["tool_call_id"] = message.call_id
    return wire


def clean(text: str) -> str:
    """A text that can be sent: halves of characters cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
