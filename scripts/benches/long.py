"""Conversations of hours: `scripts/bench long`. What does the last turn cost, what is remembered?

Three parts. `virtual`: two hours between scripted engines in virtual time, where the model is a
server with a prefix cache that reads as fast as the embedded one. `real`: hundreds of turns with
the embedded model (or `--llm`), which gets text; nobody waits for sound. `recall`: are facts of
long ago still known?
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from figures import curve, median, run_bench, show, show_machine
from support import virtual_time
from support.cli_child import memory
from support.scripted import LOUD, RATE, Engines, Model, Speaker

from pipeline.clock import Clock
from pipeline.config import Settings, load
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.history import History, Message
from pipeline.engines.chat_stream import Used
from pipeline.engines.llm import Messages, Piece, Writer
from pipeline.engines.local import find_language_model, start_language_model
from pipeline.engines.tokens import TokenGauge
from pipeline.events import Frame, ReplyAudio, ReplyDone
from pipeline.models.catalogue import Catalogue
from pipeline.trace import Trace

FRAME = RATE // 50

READ_S = 1 / 500
"""What the scripted model takes to read a token: the embedded one on a core."""

ANSWER = "That is a good question, and I like it. The answer is not so short."

ABOUT = (
    *("the weather in March", "a train to Madrid", "how bread is made", "the moons of Jupiter"),
    *("a good book", "my garden", "cooking rice", "the price of milk", "old bridges", "the sea"),
    *("learning the piano", "a cold", "the city of Rome", "bicycles", "how clocks work", "bees"),
)
FORMS = (
    "Tell me something about {}.",
    "And what do you think of {}?",
    "Why do so many people care about {}?",
    "I was wondering about {} the other day.",
    "What should I know about {} before tomorrow?",
)


def lines(count: int) -> list[str]:
    """So many things to say, of which none is like the one before."""
    return [FORMS[n % len(FORMS)].format(ABOUT[n % len(ABOUT)]) for n in range(count)]


@dataclass
class Turn:
    """What a turn cost.

    Attributes:
        read: Tokens that the model read when the reply was asked for.
        ahead: Tokens that it had read before, while nobody waited.
        ahead_s: How long that took.
        first_s: From the request to the first token.
        prompt: Tokens of the prompt.
        playing_s: How long the reply is heard.
        cpu_s: CPU of this process; the embedded model computes in it.
        rss: Memory of this process (bytes).
    """

    read: int = 0
    ahead: int = 0
    ahead_s: float = 0.0
    first_s: float | None = None
    prompt: int = 0
    playing_s: float = 0.0
    cpu_s: float = 0.0
    rss: int = 0


@dataclass
class Watched:
    """A model that is watched.

    Attributes:
        turn: What is added to.
    """

    model: Writer
    now: Callable[[], float]
    turn: Turn = field(default_factory=Turn)

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """The reply; of one that is asked for anew the last counts."""
        began, first = self.now(), None
        async with contextlib.aclosing(self.model.stream(messages)) as pieces:
            async for piece in pieces:
                if first is None and isinstance(piece, str) and piece.strip():
                    first = self.turn.first_s = self.now() - began
                if isinstance(piece, Used):
                    self.turn.read = piece.input_tokens - piece.cached_tokens
                    self.turn.prompt = piece.input_tokens
                yield piece

    async def read(self, messages: Messages) -> None:
        """Read ahead."""
        began = self.now()
        async with contextlib.aclosing(self.model.stream(messages)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Used):
                    self.turn.ahead += piece.input_tokens - piece.cached_tokens
        self.turn.ahead_s += self.now() - began


class PrefixCache(Model):
    """A scripted server, which reads only what it has not read at the same place before."""

    def __init__(self) -> None:
        super().__init__([])
        self.tokens = TokenGauge()
        self._read: list[str] = []

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """Yield a reply of two sentences."""
        asked = [f"{m['role']} {m['content']}" for m in messages]
        same = 0
        for old, new in zip(self._read, asked, strict=False):
            if old != new:
                break
            same += 1
        known = round(self.tokens.prompt(messages[:same]))
        whole = round(self.tokens.prompt(messages))
        await asyncio.sleep((whole - known) * READ_S)
        self._read = asked
        said = ""
        for word in ANSWER.split():
            await asyncio.sleep(0.02)
            said += f"{word} "
            yield f"{word} "
        self._read = [*asked, f"assistant {said.strip()}"]
        yield Used(whole, known, 16)


class Talk(Engines):
    """Engines that hear text, and speak in no time; only the model is real, or like one."""

    def __init__(self, said: Sequence[str], model: Watched, gauge: TokenGauge) -> None:
        super().__init__(said, model, Speaker())  # type: ignore[arg-type]
        self.tokens = gauge

    async def read_ahead(self, messages: Messages) -> None:
        """Read a prompt."""
        assert isinstance(self.model, Watched)
        await self.model.read(messages)


class Conversation:
    """One user, who says line after line."""

    def __init__(
        self, said: Sequence[str], watched: Watched, gauge: TokenGauge, settings: Settings
    ) -> None:
        self.turns: list[Turn] = []
        self._engines = Talk(said, watched, gauge)
        self._watched = watched
        self._settings = settings
        self._said = said
        self._samples: dict[str, int] = {}
        self._done = asyncio.Event()
        self._offset = 0

    async def hold(self, clock: Clock, pace_s: float, *, plays: bool) -> None:
        """Say all there is to say.

        Args:
            clock: The time.
            pace_s: What 20 ms of sound take.
            plays: Whether replies are heard in as long as their sound lasts, or at once.
        """
        session = Cascade(self._engines, self._settings, Trace(), clock)
        async with session:
            reader = asyncio.create_task(self._read(session))
            for number in range(len(self._said)):
                await self._turn(session, number, pace_s, plays=plays)
        await reader

    async def _turn(self, session: Cascade, number: int, pace_s: float, *, plays: bool) -> None:
        turn = self._watched.turn = Turn()
        cpu = time.process_time()
        self._done.clear()
        await self._sound(session, LOUD + number, 1.2, pace_s)
        while not self._done.is_set():
            await self._sound(session, 0, 0.02, pace_s)
        turn.playing_s = sum(self._samples.values()) / self._engines.voice.rate
        if plays:
            await self._sound(session, 0, turn.playing_s, pace_s)
        while not plays and session.preparing:
            await asyncio.sleep(0.005)
        # As `talk --save` does.
        kept = session.as_saved
        assert len(kept) >= number
        self._engines.heard.clear()
        self._engines.voice.said.clear()
        self._samples.clear()
        turn.cpu_s = time.process_time() - cpu
        turn.rss = memory(os.getpid())
        self.turns.append(turn)

    async def _sound(self, session: Cascade, level: int, seconds: float, pace_s: float) -> None:
        samples = np.full(FRAME, level, np.int16)
        for _ in range(max(1, round(seconds * 50))):
            await asyncio.sleep(pace_s)
            await session.send(Frame(samples, RATE, self._offset, 0))
            self._offset += FRAME

    async def _read(self, session: Cascade) -> None:
        async for event in session.events():
            match event:
                case ReplyAudio():
                    self._samples.setdefault(event.id, 0)
                    self._samples[event.id] += len(event.frame.samples)
                    # Heard at once: more than some seconds ahead of that nothing is made.
                    await session.heard(event.id, self._samples[event.id])
                case ReplyDone():
                    self._done.set()


def told(turns: Sequence[Turn], *, embedded: bool) -> None:
    """Print what turns cost, in the order in which they came."""
    curve("first token, from the request", [each(t.first_s, 1e3) for t in turns], "ms")
    curve("tokens read, of a reply", [float(t.read) for t in turns], "tokens")
    curve("tokens of the prompt", [float(t.prompt) for t in turns], "tokens")
    what = "CPU of a turn, the model's too" if embedded else "CPU of a turn"
    curve(what, [t.cpu_s * 1e3 for t in turns], "ms")
    curve("memory", [t.rss / 2**20 for t in turns], "MiB")
    show("tokens read while somebody waits", [t.read for t in turns], "")
    big = [t for t in turns if t.ahead > 3 * (median(t.ahead for t in turns) or 0)]
    show("tokens read ahead, in other turns", [t.ahead for t in turns if t not in big], "")
    show("tokens read ahead, when turns were left out", [t.ahead for t in big], "")
    show("  that took", [t.ahead_s * 1e3 for t in big], "ms")
    show("  of the reply's sound", [100 * t.ahead_s / t.playing_s for t in big], "%")
    tenth, last = turns[5:15], turns[-10:]
    for name, of in (("first token", "first_s"), ("CPU", "cpu_s")):
        ratio = (median(getattr(t, of) for t in last) or 0) / (
            median(getattr(t, of) for t in tenth) or 1
        )
        print(f"  {name}, the last ten turns against turns 6 to 15: {ratio:.2f}")


def each(value: float | None, scale: float) -> float | None:
    """A value in another unit."""
    return None if value is None else value * scale


def virtual(hours: float) -> None:
    """Two hours in virtual time."""
    print(f"{hours:g} hours in virtual time, the embedded model's speed of reading")
    model = PrefixCache()
    turn_s = 5.0

    async def hold() -> list[Turn]:
        loop = asyncio.get_running_loop()
        watched = Watched(model, loop.time)
        talk = Conversation(lines(int(hours * 3600 / turn_s)), watched, model.tokens, load())
        await talk.hold(virtual_time.VirtualClock(), 0.02, plays=True)
        print(f"  {len(talk.turns)} turns, {loop.time() / 60:.0f} minutes")
        return talk.turns

    told(virtual_time.run(hold()), embedded=False)


async def real(settings: Settings, count: int) -> list[Turn]:
    """A conversation with a real model."""
    async with contextlib.AsyncExitStack() as stack:
        where = find_language_model(settings, Catalogue.load())
        model = await start_language_model(where, settings, stack)
        watched = Watched(model, time.perf_counter)
        talk = Conversation(lines(count), watched, model.tokens, settings)
        await talk.hold(Clock(), 0.0005, plays=False)
    return talk.turns


FACTS = (
    ("My dog is called Bruno.", "What is my dog called?", "bruno"),
    ("I live in Lisbon.", "Where do I live?", "lisbon"),
    ("My sister Clara is a nurse.", "What is my sister's name?", "clara"),
    ("My favourite colour is green.", "What is my favourite colour?", "green"),
    ("I have a meeting on Friday.", "On which day is my meeting?", "friday"),
    ("My car is a red Fiat.", "What car do I have?", "fiat"),
)


async def recall(settings: Settings, rounds: int) -> None:
    """Ask for facts after the turn in which they were told was left out."""
    async with contextlib.AsyncExitStack() as stack:
        where = find_language_model(settings, Catalogue.load())
        model = await start_language_model(where, settings, stack)

        async def answer(prompt: Messages) -> str:
            text = ""
            async with contextlib.aclosing(model.stream(prompt)) as pieces:
                async for piece in pieces:
                    text += piece if isinstance(piece, str) else ""
            return text

        for name, budget, keeps, inside in (
            ("nothing left out", 1500, False, False),
            ("left out", 300, False, False),
            ("left out, with summaries", 300, True, False),
            ("left out, told in the instructions", 300, False, True),
        ):
            right = asked = 0
            wrong: list[str] = []
            for number in range(rounds):
                facts = FACTS[number % 2 * 3 :][:3]
                known = " ".join(fact for fact, _, _ in facts)
                instructions = settings.llm.instructions + (
                    f" The user has told you: {known}" if inside else ""
                )
                talk = History(instructions, budget_tokens=budget, gauge=model.tokens)
                first = [] if inside else [f"{fact} Remember that." for fact, _, _ in facts]
                said = [*first, *lines(9 + number)[number:]]
                for turn, line in enumerate(said, 1):
                    talk.add("user", line, turn)
                    talk.settle(turn, (await answer(talk.prompt())).strip())
                    talk.prompt(reserve_tokens=100)
                    if keeps and (prompt := talk.to_summarise()) is not None:
                        talk.summarised(await answer(prompt))
                summaries = [m for m in talk.history if m.role == "system"]
                for _, question, word in facts:
                    reply = await answer(talk.prompt(said=question))
                    asked += 1
                    right += word in reply.lower()
                    if word not in reply.lower():
                        wrong.append(f"{question} {reply.strip()[:80]}")
            print(f"  {name:<40} {right} of {asked}")
            print(f"      e.g. {wrong[0] if wrong else 'all right'}")
            if keeps:
                print(f"      the last summary: {_short(summaries)}")


def _short(summaries: Sequence[Message]) -> str:
    return summaries[-1].content[:300] if summaries else "none was made"


PARTS = ("virtual", "real", "recall")


def run() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench long", description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; may be repeated")
    parser.add_argument("--hours", type=float, default=2.0, help="of virtual time (default 2)")
    parser.add_argument("--turns", type=int, default=300, help="with a real model (default 300)")
    parser.add_argument("--rounds", type=int, default=6, help="of three facts each (default 6)")
    parser.add_argument("--llm", default="embedded", help="as of cascade talk")
    options = parser.parse_args()
    wanted = options.part or PARTS
    show_machine()
    # Replies that are stopped tell no number of tokens.
    flags = {"llm.sentences": "0", "llm.max_tokens": "32", "llm.model": options.llm}
    settings = load(None, flags)
    if "virtual" in wanted:
        virtual(options.hours)
    if "real" in wanted:
        print(f"{options.turns} turns with {options.llm}")
        told(asyncio.run(real(settings, options.turns)), embedded=True)
    if "recall" in wanted:
        print("facts that were told at the beginning, asked for in the end")
        asyncio.run(recall(load(None, {**flags, "llm.max_tokens": "32"}), options.rounds))


run_bench(run)
