"""What was said, and of the replies what was *heard*. Pure.

The history is what the model is reminded of, so it must hold what the user knows: a reply that was
interrupted is cut to the last word heard, one that nobody heard is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline import alignment
from pipeline.alignment import WordEnd
from pipeline.clauses import Clause

Role = Literal["system", "user", "assistant"]

CHARS_PER_TOKEN = 3.5
"""For the context budget. English text has about 4 characters a token with the usual vocabularies;
3.5 errs towards dropping a turn too early rather than overflowing the server's context."""

MESSAGE_TOKENS = 6
"""What a chat template adds around each message, about."""

CHARS_PER_SECOND = 15.0
"""How fast a voice reads, about; used only for a clause whose sound is not complete."""


@dataclass(slots=True)
class Message:
    """One side's words in one turn."""

    role: Role
    content: str
    turn: int

    @property
    def tokens(self) -> float:
        """About how many tokens it costs in a prompt."""
        return len(self.content) / CHARS_PER_TOKEN + MESSAGE_TOKENS


class Conversation:
    """The history of a session, in order, fitted into a prompt of limited size."""

    def __init__(self, instructions: str, *, budget_tokens: int, retention: float) -> None:
        """Start empty.

        Args:
            instructions: The system prompt; never dropped.
            budget_tokens: Prompt size above which the oldest turns are left out.
            retention: Share of the budget that remains after leaving out. Dropping seldom and much
                keeps the start of the prompt the same for many turns, and the server's cache valid.
        """
        self._system = Message("system", instructions, 0)
        self._budget = budget_tokens
        self._retention = retention
        self._left_out: list[Message] = []
        self._kept: list[Message] = []

    @property
    def history(self) -> list[Message]:
        """Everything said and heard, in order, including what prompts leave out."""
        return [*self._left_out, *self._kept]

    def add(self, role: Literal["user", "assistant"], content: str, turn: int) -> None:
        """Append one side's words. An empty text is nothing said."""
        if content.strip():
            self._kept.append(Message(role, content.strip(), turn))

    def settle(self, turn: int, heard: str) -> None:
        """Set the reply of `turn` to what was heard of it; drop it if that is nothing."""
        for part in (self._left_out, self._kept):
            part[:] = [m for m in part if not (m.role == "assistant" and m.turn == turn)]
        if not heard.strip():
            return
        # The reply to a question that prompts leave out stays out with it.
        out = self._left_out and self._kept and turn < self._kept[0].turn
        part = self._left_out if out else self._kept
        at = next((i for i, m in enumerate(part) if m.turn > turn), len(part))
        part.insert(at, Message("assistant", heard.strip(), turn))

    @property
    def unanswered(self) -> bool:
        """Whether the user spoke last: a reply was dropped, or never made."""
        return bool(self._kept) and self._kept[-1].role == "user"

    def prompt(self, *, said: str = "", reserve_tokens: int = 0) -> list[dict[str, str]]:
        """The messages for the model: instructions, then as much of the history as fits.

        Neighbours of one role are joined, since many chat templates insist on alternation: they
        arise when a reply was dropped, or when the user went on after a pause.

        Args:
            said: What the user says now, and may not have finished: it is not kept.
            reserve_tokens: Room to leave for what will be said next.
        """
        now = Message("user", said, 0)
        self._fit(reserve_tokens + (int(now.tokens) if said else 0))
        joined: list[Message] = []
        for message in [*self._kept, now] if said else self._kept:
            if joined and joined[-1].role == message.role:
                last = joined[-1]
                joined[-1] = Message(last.role, f"{last.content} {message.content}", message.turn)
            else:
                joined.append(message)
        return [{"role": m.role, "content": m.content} for m in (self._system, *joined)]

    def _fit(self, reserve_tokens: int) -> None:
        """Leave out the oldest turns, down to the retention ratio, once the budget is exceeded.

        The user's newest words always stay. What is left begins with words of the user's: a reply
        goes with its question.
        """
        total = self._system.tokens + sum(m.tokens for m in self._kept)
        if total + reserve_tokens <= self._budget:
            return
        goal = self._budget * self._retention
        newest = max((i for i, m in enumerate(self._kept) if m.role == "user"), default=0)
        drop = 0
        while drop < newest and (total > goal or self._kept[drop].role == "assistant"):
            total -= self._kept[drop].tokens
            drop += 1
        self._left_out += self._kept[:drop]
        del self._kept[:drop]


class Spoken:
    """Which words of a reply have been heard, given how many samples were played.

    The reply's sound is the sound of its clauses, one after the other; each clause knows the span
    of the reply's text that it came from.
    """

    def __init__(self, rate: int) -> None:
        """Start a reply whose sound has `rate` samples a second."""
        self._rate = rate
        self._clauses: list[_Sound] = []
        self.samples = 0

    def begin(self, clause: Clause) -> None:
        """The next samples belong to `clause`."""
        self._clauses.append(_Sound(clause, self.samples))

    def extend(self, samples: int, words: Sequence[WordEnd] | None = None) -> None:
        """The current clause has this many more samples, and these words of it end in them.

        Without words, or with None, see `heard`: it makes a difference whether no word ends there,
        or nobody knows.
        """
        sound = self._clauses[-1]
        if words is not None:
            before = sound.words or []
            sound.words = [*before, *((w.char, sound.samples + w.sample) for w in words)]
        self.samples += samples
        sound.samples += samples

    def end(self) -> None:
        """The current clause's sound is complete."""
        self._clauses[-1].complete = True

    def heard(self, text: str, samples: int) -> str:
        """The part of the reply's `text` that was heard once `samples` samples had been played.

        Whole words only: a word that was cut off counts as not heard. Within a clause whose
        words' ends are not known, words are placed in proportion to their characters.
        Samples that were not made count as not played.
        """
        samples = min(samples, self.samples)
        end = 0
        for sound in self._clauses:
            played = samples - sound.start
            if played <= 0:
                break
            clause = sound.clause
            if sound.complete and played >= sound.samples:
                end = clause.end
                continue
            if sound.words is None:
                reached = self._in_proportion(text, sound, played)
            else:
                reached = self._by_words(text, sound, played)
            end = max(end, reached)
            break
        return text[:end].rstrip()

    def _in_proportion(self, text: str, sound: _Sound, played: int) -> int:
        clause = sound.clause
        expected = len(clause.text) / CHARS_PER_SECOND * self._rate
        length = sound.samples if sound.complete else max(sound.samples, expected)
        reached = clause.start + int((clause.end - clause.start) * played / length)
        return _word_end(text, clause.start, reached)

    def _by_words(self, text: str, sound: _Sound, played: int) -> int:
        clause = sound.clause
        char = max((end for end, sample in sound.words or [] if sample <= played), default=0)
        reached = alignment.reached(clause.text, text[clause.start : clause.end], char)
        return clause.start + reached if reached else 0


@dataclass(slots=True)
class _Sound:
    clause: Clause
    start: int
    samples: int = 0
    words: list[tuple[int, int]] | None = None
    complete: bool = False


def _word_end(text: str, start: int, reached: int) -> int:
    """The end of the last word of `text[start:]` that ends at or before `reached`; else 0."""
    ends = [m.end() for m in re.finditer(r"\S+", text[start:reached])]
    if not ends:
        return 0
    if reached >= len(text) or text[reached].isspace() or start + ends[-1] < reached:
        return start + ends[-1]
    return start + ends[-2] if len(ends) > 1 else 0
