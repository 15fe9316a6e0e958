"""How well a language model calls tools: `scripts/bench tools [SCENARIO…] --llm …`.

The scenarios are those of `cascade compare`; here they are typed, not spoken, so that nothing but
the model is measured. What it reads is what it would read in a conversation: the history, fitted
into its budget, with the tools. A reply that calls goes on with the tools' results, as in one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from figures import run_bench, show, show_machine

from pipeline.compare.scenario import CannedTools, Scenario, Step, gather_scenarios, lengthened
from pipeline.compare.scoring import check
from pipeline.config import Settings, load
from pipeline.conversation.history import History, ReplyPlace
from pipeline.conversation.reply import TOOL_ROUNDS
from pipeline.engines.brevity import Shortened
from pipeline.engines.chat_stream import Used
from pipeline.engines.llm import ChatModel, Writer
from pipeline.engines.local import find_language_model, start_language_model
from pipeline.engines.tokens import CHARS_PER_TOKEN
from pipeline.engines.tools import ToolUse
from pipeline.errors import StageError
from pipeline.measure.record import Check, MeasuredCall
from pipeline.measure.stats import share
from pipeline.models.catalogue import Catalogue

ROOM_TOKENS = 2500
"""For tools and turns, beside the instructions: nothing is left out of a prompt."""

SCENARIOS = ("tools", "tools-by-turn")


@dataclass
class Result:
    """What became of a turn.

    Attributes:
        scenario: Which it is of.
        turn: Counted from 1.
        length: Of the instructions.
        wanted: The tool to be called; empty: none; None: no matter.
        checks: Expectations, and whether they are met.
        calls: What was called.
        reply: What was said in the end.
        first_s: To the first word, where no tool was called (s).
        call_s: To the first call (s).
        used: Tokens, of each request.
        problem: What failed.
    """

    scenario: str
    turn: int
    length: str
    wanted: str | None
    checks: tuple[Check, ...] = ()
    calls: list[MeasuredCall] = field(default_factory=list)
    reply: str = ""
    first_s: float | None = None
    call_s: float | None = None
    used: list[Used] = field(default_factory=list)
    problem: str = ""

    def met(self, *kinds: str) -> bool | None:
        """Whether all checks of these kinds are met; None: there is none."""
        found = [c.met for c in self.checks if c.kind in kinds]
        return all(found) if found else None

    @property
    def outcome(self) -> str:
        """What became of the call."""
        names = [call.name for call in self.calls]
        if self.problem:
            return "failed"
        if self.met("tool", "no tool") is not False:
            return "right"
        if not self.wanted:
            return "a call where none was wanted" if names else "no answer"
        if not names:
            return "no call"
        if self.wanted not in names:
            return "another tool"
        return "wrong arguments" if self.met("tool") is False else "one call too many"


async def hold(
    model: Writer, scenario: Scenario, settings: Settings, *, forced: bool
) -> list[Result]:
    """Hold a conversation; `forced`: where a tool is wanted, some tool has to be called."""
    history = History(
        scenario.instructions,
        budget_tokens=settings.conversation.budget_tokens,
        tools=[one.tool for one in scenario.tools],
    )
    box = CannedTools(scenario.tools)
    results = []
    for turn, step in enumerate(scenario.steps, 1):
        wanted = step.expect.tool.name if step.expect.tool else None
        result = Result(scenario.name, turn, scenario.length or "short", wanted)
        history.add("user", step.said, turn)
        try:
            await answer(model, history, box, result, forced=forced and bool(wanted))
        except StageError as error:
            result.problem = str(error)
        result.checks = check(untimed(step), scenario, result.reply, result.calls)
        results.append(result)
    return results


def untimed(step: Step) -> Step:
    """The step without times to the call: there is no speech that they would count from."""
    wanted = step.expect.tool and dataclasses.replace(step.expect.tool, within_s=None)
    return dataclasses.replace(step, expect=dataclasses.replace(step.expect, tool=wanted))


async def answer(
    model: Writer, history: History, box: CannedTools, result: Result, *, forced: bool
) -> None:
    """Let the model answer, and call tools as often as it may."""
    begun = time.monotonic()
    text = ""
    cuts: list[int] = []
    for _ in range(TOOL_ROUNDS + 1):
        uses: list[ToolUse] = []
        prompt = history.prompt()
        prompt.choice = "required" if forced and not cuts else "auto"
        try:
            async with contextlib.aclosing(model.stream(prompt)) as pieces:
                async for piece in pieces:
                    now = time.monotonic() - begun
                    if isinstance(piece, str):
                        if piece.strip() and result.first_s is None and not cuts:
                            result.first_s = now
                        text += piece
                    elif isinstance(piece, ToolUse):
                        result.call_s = result.call_s or now
                        uses.append(piece)
                    elif isinstance(piece, Used):
                        result.used.append(piece)
        finally:
            result.reply = text
            history.settle(result.turn, text, cuts=cuts)
        if not uses:
            return
        cuts.append(len(text))
        calls = [
            dataclasses.replace(use, id=f"call{result.turn:03}{len(result.calls) + i:02}")
            for i, use in enumerate(uses)
        ]
        history.call(ReplyPlace(result.turn), calls)
        for use in calls:
            output, _ = box.answer(use.name, use.arguments)
            history.result(use.id, output)
            asked_ns = int((time.monotonic() - begun) * 1e9)
            result.calls.append(MeasuredCall(use.name, use.arguments, asked_ns))
    raise StageError("llm", "it calls tools again and again")


def table(
    title: str, results: Iterable[Result], key: Callable[[Result], Hashable], *, order: bool = True
) -> None:
    """Shares of what was met, a line for each group."""
    groups: dict[Hashable, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    print(f"\n{title:<14}{'right call':>22}{'rightly none':>22}{'result told':>22}")
    for name, group in sorted(groups.items(), key=str) if order else groups.items():
        cells = [
            [one.outcome == "right" for one in group if one.wanted],
            [one.outcome == "right" for one in group if one.wanted == ""],
            [
                told
                for one in group
                if one.wanted and (told := one.met("contains", "number")) is not None
            ],
        ]
        print(f"{name!s:<14}" + "".join(f"{cell(met):>22}" for met in cells))


def cell(met: list[bool]) -> str:
    """A share with its interval."""
    found = share(met)
    if found["ci95"] is None:
        return "-"
    low, high = (round(100 * end) for end in found["ci95"])
    return f"{found['met']}/{found['n']} ({low}-{high} %)"


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", default=SCENARIOS, help="as of `cascade compare`")
    parser.add_argument("--llm", default="embedded", help="as of `cascade talk`")
    parser.add_argument(
        "--lengths", default="short,4k", help="of the instructions: short,4k,16k,64k"
    )
    parser.add_argument("--limit", type=int, help="so many conversations of each length")
    parser.add_argument("--forced", action="store_true", help="calls are demanded where wanted")
    parser.add_argument("--in-words", action="store_true", help="whatever the template does")
    parser.add_argument("--out", type=Path, help="writes every turn, as JSON lines")
    parser.add_argument("--show", action="store_true", help="prints every turn")
    given = parser.parse_args()
    lengths = given.lengths.split(",")
    found = gather_scenarios(given.scenarios, instructions="", patience_s=60).scenarios
    plain = [one for one in found if one.length in ("", "short")]
    scenarios = [
        dataclasses.replace(
            one,
            name=f"{one.name.removesuffix(' short')} {length}",
            instructions=lengthened(one.instructions, length),
            length=length,
        )
        for length in lengths
        for one in plain[: given.limit]
    ]
    longest = max(len(one.instructions) for one in scenarios)
    settings = load(
        flags={
            "llm.model": given.llm,
            "llm.timeout_s": 1800,
            "conversation.budget_tokens": int(longest / CHARS_PER_TOKEN) + ROOM_TOKENS,
        }
    )
    show_machine()
    async with contextlib.AsyncExitStack() as stack:
        where = find_language_model(settings, Catalogue.load(settings.models.dir))
        chat: ChatModel = await start_language_model(where, settings, stack)
        model: Writer = chat
        if settings.llm.model == "embedded" and settings.llm.sentences:
            model = Shortened(chat, settings.llm.sentences)
        first = scenarios[0]
        history = History(
            first.instructions, budget_tokens=9999, tools=[t.tool for t in first.tools]
        )
        history.add("user", first.steps[0].said, 1)
        await chat.learn(history.prompt())
        if given.in_words:
            chat._learnt.shows_tools = False
        shown = chat.as_read(history.prompt()) == history.prompt()
        print(f"{chat.model}: its template {'shows' if shown else 'does not show'} tools to it")
        results: list[Result] = []
        for scenario in scenarios:
            for result in await hold(model, scenario, settings, forced=given.forced):
                results.append(result)
                if given.show or result.problem:
                    said = " | ".join(f"{c.name}({c.arguments})" for c in result.calls)
                    print(
                        f"{result.scenario} {result.turn}: {result.outcome}: {said} "
                        f"{result.reply!r} {result.problem}",
                        flush=True,
                    )
    if given.out:
        lines = [json.dumps(dataclasses.asdict(result)) for result in results]
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\n{len(scenarios)} conversations, {len(results)} turns")
    table("length", results, lambda one: one.length, order=False)
    table("turn", results, lambda one: one.turn)
    for length in lengths:
        print(f"\nwhat became of calls, {length}:")
        for outcome, n in Counter(o.outcome for o in results if o.length == length).most_common():
            print(f"  {n:4} {outcome}")
    print()
    show("to the call, where one came (s)", [one.call_s for one in results], "s")
    plain_s = [one.first_s for one in results if not one.calls]
    show("to the first word, where none came (s)", plain_s, "s")
    all_used = [used for one in results for used in one.used]
    show("tokens read anew a request", [u.input_tokens - u.cached_tokens for u in all_used], "")
    show("requests a turn", [len(one.used) for one in results], "")


run_bench(main)
