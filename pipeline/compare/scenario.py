"""Scenarios: what is said to every system, what is expected of it, and what its tools answer.

A scenario is a YAML file, each type of which is declared here once, or one of its `conversations`;
or a recording of a corpus, of which every one is a conversation of one turn.
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator
from pydantic import ValidationError as Invalid
from pydantic.dataclasses import dataclass

from pipeline import yaml_file
from pipeline.audio.files import check_audio, read_audio
from pipeline.audio.line import RATE
from pipeline.compare import conditions
from pipeline.compare.conditions import CLEAN, Condition
from pipeline.compare.entities import tokens
from pipeline.compare.selectivity import RATES
from pipeline.engines.tools import Tool
from pipeline.errors import BadInput
from pipeline.measure.corpus import Item, at_level, checked, gather, silence
from pipeline.measure.cues import FORM, UNSPOKEN, Utterance
from pipeline.measure.gates import TURNS, Figure, Gate, parse
from pipeline.measure.record import Outcome
from pipeline.measure.recording import no_tools
from pipeline.turns.speech_end import end_of_speech

Topic = Literal[
    "latency",
    "understanding",
    "tools",
    "instructions",
    "recall",
    "interruption",
    "selectivity",
    "heavy tools",
]

TOPICS: tuple[str, ...] = get_args(Topic)
"""What a scenario is about: where the report shows it."""

LENGTHS = {"short": 0, "4k": 4_000, "16k": 16_000, "64k": 64_000}
"""Characters of the instructions, by the name of a length; `short` leaves them as they are."""

PLACES = ("Norway", "Portugal", "Austria", "Ireland", "Estonia", "Chile", "Canada", "Japan")
GOODS = ("lamps", "chairs", "kettles", "blankets", "bicycles", "clocks", "tents", "mirrors")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")

SHORTEST_SILENCE_S = 0.02
"""Of one turn (s): a frame of the microphone."""

LONGEST_SILENCE_S = 600.0
"""Of one turn (s): a conversation with an API costs by the minute."""

NEEDS = "needs one of `say` (words), `file` (a recording) and `silence` (seconds)"

REFERENCE = "\n\nReference, to be used only when a question is about orders:\n"

FILLER = "All quiet on the shelf; nothing of interest in this line of the result. "
"""What a tool's result is filled up with."""


COMPARED = {
    **TURNS,
    "answer_ms": Figure("answering.ms.median", "no turn has an answer", "answering.ms.ci95"),
    "stop_ms": Figure(
        "interruption.silence_ms.median",
        "no reply stopped for an interruption",
        "interruption.silence_ms.ci95",
    ),
    "wer": Figure("wer.rate", "no transcript of words that are known", "wer.ci95", share=True),
    "spoken": Figure(
        "spoken_words.rate", "no reply was read (--fidelity)", "spoken_words.ci95", share=True
    ),
    "entities": Figure(
        "entities.overall.share",
        "no numbers, codes or names were said, or no transcript is known",
        "entities.overall.ci95",
        True,
        True,
    ),
    "broken": Figure("conversations.failed"),
    "reconnects": Figure("conversations.reconnects"),
    "cost_per_minute": Figure("cost.per_minute_usd", "cost.note", "cost.per_minute_ci95"),
    "cost_per_turn": Figure("cost.per_turn_usd", "cost.note"),
    "cpu_s_per_minute": Figure("cost.cpu_s_per_minute", "cost.note", "cost.cpu_s_per_minute_ci95"),
    **{
        name: Figure(f"{place}.share", f"no turn expects {what}", f"{place}.ci95", True, True)
        for name, place, what in (
            ("expectations", "expectations", "anything that could be decided"),
            ("tools", "tools.overall", "anything of tools"),
            ("recall", "checks.recall", "anything to be recalled"),
            ("instructions", "checks.instructions", "instructions to be followed"),
            ("history", "interruption.history", "anything of the model's history"),
        )
    },
    **{
        name: Figure(
            f"selectivity.{name}.share",
            f"there was {rate.among}",
            f"selectivity.{name}.ci95",
            rate.good,
            True,
        )
        for name, rate in RATES.items()
    },
}
"""The figures of a comparison that a gate can be about, by their names."""


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


def _entity(value: object) -> object:
    """An entity as a text: YAML reads 15 as a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and not all(map(tokens, value.split("|"))):
        raise ValueError("entities: has neither letter nor digit")
    return value


def _wanted(value: object) -> object:
    if isinstance(value, dict) and not value.get("name"):
        raise ValueError("needs a `name`; write `tool: none` where no tool may be called")
    return Wanted() if value == "none" else value


def _expected(value: object) -> object:
    return {"outcome": value} if isinstance(value, str) else value


Words = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True, config=FORM)
class Wanted:
    """Which tool is to be called in a turn, and how.

    Attributes:
        name: Which; empty: none may be called.
        arguments: Each of these must be among the call's, as `agrees` compares them.
        within_s: From the end of the user's speech to the call (s); None: whenever.
    """

    name: str = ""
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    within_s: float | None = Field(default=None, gt=0, validation_alias="within")


@dataclass(frozen=True, slots=True, config=FORM)
class Expect:
    """What a turn's reply is to be like. Every part that is given must hold.

    Attributes:
        outcome: Whether there is to be one at all. Of what is to stop a reply, or to be ignored,
            nothing else can be expected.
        contains: Texts of which each is in the reply; each may list alternatives parted by `|`.
        lacks: Texts of which none is.
        regex: A pattern that is found in the reply, case ignored.
        number: A number that the reply names, in digits or words.
        entities: What of the user's own words must have been understood, each with alternatives
            parted by `|`; empty: the numbers and codes of these words.
        judge: A question about the reply that a language model answers with yes or no.
        tool: What tool is to be called; None: no matter.
        history: Texts that the model's history of this turn's reply holds at the end.
        history_lacks: Texts that it does not: what was never heard.
        topic: What it is about, if not what the scenario is.
    """

    outcome: Outcome = "respond"
    contains: tuple[Words, ...] = ()
    lacks: tuple[Words, ...] = ()
    regex: Annotated[str, AfterValidator(_pattern)] = ""
    number: float | None = None
    entities: tuple[Annotated[Words, BeforeValidator(_entity)], ...] = ()
    judge: str = ""
    tool: Annotated[Wanted | None, BeforeValidator(_wanted)] = None
    history: tuple[Words, ...] = ()
    history_lacks: tuple[Words, ...] = ()
    topic: Literal["", "answer", "instructions", "recall"] = ""

    @model_validator(mode="after")
    def _asks_for_one(self) -> Self:
        more = [name for name in self.__slots__ if name != "outcome" and getattr(self, name)]
        if self.number is not None and "number" not in more:
            more.append("number")
        if self.outcome != "respond" and more:
            raise ValueError(
                f"`{self.outcome}` asks for no answer, of which `{more[0]}` could be expected; "
                "leave one of them out"
            )
        return self


@dataclass(frozen=True, slots=True, config=FORM)
class Step(Utterance):
    """One utterance of the user's.

    Attributes:
        expect: What is expected of the reply; or the outcome alone.
        level_db: By how much it is louder than its recording (dB); below zero: softer.
    """

    expect: Annotated[Expect, BeforeValidator(_expected)] = Expect()
    level_db: float = Field(default=0.0, ge=-60, le=40, validation_alias="level")

    @property
    def outcome(self) -> Outcome:
        """What it asks for."""
        return self.expect.outcome


@dataclass(frozen=True, slots=True, config=FORM)
class Canned:
    """What a tool gives.

    Attributes:
        give: The result: text as it is, anything else as JSON.
        when: Arguments for which it is this one; empty: any.
        delay_s: How long the tool takes (s).
        size: Bytes to fill the result up to with filler; 0: as it is.
    """

    give: Any = ""
    when: Mapping[str, Any] = Field(default_factory=dict)
    delay_s: float = Field(default=0.0, ge=0, validation_alias="delay")
    size: int = Field(default=0, ge=0, le=20_000_000)

    @property
    def text(self) -> str:
        """The result as a model reads it, filled up to its size."""
        given = self.give
        plain = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        missing = self.size - len(plain.encode())
        if missing <= 0:
            return plain
        filler = FILLER * (missing // len(FILLER) + 1)
        return f"{plain}\n{filler[: max(0, missing - 1)]}"


@dataclass(frozen=True, slots=True, config=FORM)
class CannedTool:
    """A tool with what it answers: the first response whose `when` fits, each but the last once.

    Attributes:
        name: What the model calls it.
        description: When to call it, in words for the model.
        parameters: JSON Schema of its arguments, an object.
        responses: In order; a call that none fits is answered with an error.
    """

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = ""
    parameters: Mapping[str, Any] = Field(default_factory=lambda: Tool("").parameters)
    responses: tuple[Canned, ...] = ()

    @property
    def tool(self) -> Tool:
        """What the model is told of it."""
        return Tool(self.name, self.description, self.parameters)


@dataclass(frozen=True, slots=True, config=FORM)
class Scenario:
    """A conversation to be held with every system.

    Attributes:
        name: What reports call it.
        topic: What it is about.
        instructions: The system prompt.
        steps: What is said, in order.
        tools: What may be called.
        length: Which length of the instructions this is (`short`, `4k`, …); empty: does not vary.
        condition: Name of what the user's sound goes through; empty: it is clean.
        through: The same; None: it is clean.
    """

    name: str = ""
    topic: Topic = "understanding"
    instructions: str = ""
    steps: tuple[Step, ...] = Field(default=(), validation_alias="turns")
    tools: tuple[CannedTool, ...] = ()
    length: str = ""
    condition: str = ""
    through: Condition | None = None


class FileGates(NamedTuple):
    """The gates of a scenario file (`expect:` beside its `turns`), which its own turns decide."""

    file: str
    scenarios: tuple[str, ...]
    gates: tuple[Gate, ...]

    def plain(self) -> dict[str, Any]:
        """As the header has it, of which `compare.summary` judges."""
        limits = {gate.figure: gate.limit for gate in self.gates}
        return {"file": self.file, "scenarios": self.scenarios, "limits": limits}


class Gathered(NamedTuple):
    """What there is to say.

    Attributes:
        scenarios: In order; the turns that a voice has yet to speak are `UNSPOKEN`.
        problems: Recordings that cannot be played, each in a line.
        expected: The gates of those files that have any.
    """

    scenarios: list[Scenario]
    problems: tuple[str, ...]
    expected: list[FileGates]


_READER = TypeAdapter(Scenario)


class CannedTools:
    """Answers calls, each tool by its own list of responses."""

    def __init__(self, tools: Sequence[CannedTool]) -> None:
        """Begin a conversation, with every response still to be given."""
        self._left = {one.name: [*one.responses] or [Canned()] for one in tools}

    def answer(self, name: str, arguments: str) -> tuple[str, float]:
        """The result of a call, and how long the tool takes (s).

        A response is used up, save the last one that fits. What cannot be answered gets an error
        as its result, as a real tool would give.
        """
        if name not in self._left:
            return no_tools(name, arguments)
        try:
            given = json.loads(arguments or "{}")
        except ValueError:
            given = None
        if not isinstance(given, dict):
            return json.dumps({"error": "the arguments are no JSON object"}), 0.0
        responses = self._left[name]
        fitting = [one for one in responses if agrees(one.when, given)]
        if not fitting:
            return json.dumps({"error": "nothing is known about that"}), 0.0
        if len(fitting) > 1:
            responses.remove(fitting[0])
        return fitting[0].text, fitting[0].delay_s


def asks_of_reply(expect: Expect) -> bool:
    """Whether anything is expected of the reply: entities are of the user's own words."""
    return dataclasses.replace(expect, entities=()) != Expect()


def agrees(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether each wanted argument is given, equal but for case, space, and how a number is told.

    A text also agrees if all of its words are in the one that is given: "Paris" in "Paris, France".
    """
    return all(name in given and _equal(value, given[name]) for name, value in wanted.items())


def _equal(wanted: Any, given: Any) -> bool:
    if isinstance(wanted, str) or isinstance(given, str):
        one, other = (" ".join(str(value).casefold().split()) for value in (wanted, given))
        try:
            return float(one) == float(other)
        except ValueError:
            words = set(other.replace(",", " ").split())
            return one == other or (bool(one) and set(one.replace(",", " ").split()) <= words)
    return bool(wanted == given)


def builtin() -> list[str]:
    """Names of the scenarios that come with Cascade."""
    return sorted(_shelf())


def gather_scenarios(
    sources: Sequence[str],
    *,
    instructions: str,
    patience_s: float,
    more: Iterable[Item] = (),
    axis: Sequence[Condition] = (),
) -> Gathered:
    """Read scenarios and recordings.

    Args:
        sources: Scenario files, folders of such, names from `builtin`; and whatever
            `measure.corpus.gather` takes, of which every recording is a conversation of one turn.
        instructions: For conversations that have none of their own.
        patience_s: How long to wait for a reply where a turn does not say (s).
        more: Recordings that come from elsewhere.
        axis: In which conditions all of them are held, instead of those that a file names.

    Raises:
        BadInput: A source is missing or damaged, or nothing is left to play.
    """
    found: list[Scenario] = []
    expected: list[FileGates] = []

    def take(file: Path) -> None:
        scenarios, limits = _read(file, instructions, patience_s, axis)
        found.extend(scenarios)
        if limits:
            names = tuple(one.name for one in scenarios)
            expected.append(FileGates(file.name, names, limits))

    recordings: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.exists():
            files = _files(path)
            recordings += [] if files else [path]
            for file in files:
                take(file)
        elif source in (shelf := _shelf()):
            with resources.as_file(shelf[source]) as file:
                take(file)
        else:
            raise BadInput(
                f"{source}: there is no such file, folder or scenario; scenarios that come with "
                f"Cascade: {', '.join(builtin())}"
            )
    problems: tuple[str, ...] = ()
    _check_axis(axis)
    more = list(more)
    if recordings or more:
        corpus = gather(recordings, more)
        problems = corpus.problems
        for item in corpus.items:
            step = _recorded(Step(patience_s=patience_s), item)
            found += _in_conditions(Scenario(item.name, "latency", instructions, (step,)), axis)
    names = [scenario.name for scenario in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"two scenarios are called {twice[0]!r}; give one another `name`")
    return Gathered(found, problems, expected)


def unspoken(scenarios: Iterable[Scenario]) -> list[str]:
    """All words that a voice has yet to speak, each once."""
    lines = [s.said for one in scenarios for s in one.steps if s.path == UNSPOKEN]
    return list(dict.fromkeys(lines))


def with_recordings(scenario: Scenario, spoken: Mapping[str, Item]) -> Scenario:
    """The scenario with recordings for the words that had none."""
    steps = []
    for step in scenario.steps:
        if step.path == UNSPOKEN:
            item = spoken[step.said]
            path = at_level(item.path, step.level_db)
            step = dataclasses.replace(
                step, path=path, end_of_speech_s=item.end_of_speech_s, seconds=item.seconds
            )
        steps.append(step)
    return dataclasses.replace(scenario, steps=tuple(steps))


def lengthened(instructions: str, length: str) -> str:
    """Instructions of so many characters: the user's own, then an imaginary shop's rules.

    What decays with the length of the instructions is what a long prompt of a real service does:
    many lines of policy that have nothing to do with the question. The lines are the same every
    time.

    Raises:
        BadInput: There is no such length.
    """
    if length not in LENGTHS:
        raise BadInput(f"lengths: {length!r} is none; allowed: {', '.join(LENGTHS)}")
    room = LENGTHS[length] - len(instructions) - len(REFERENCE)
    if room <= 0:
        return instructions
    draw = random.Random(7)
    rules = ""
    number = 0
    while len(rules) < room:
        number += 1
        rules += (
            f"Rule {number}. Orders of {draw.choice(GOODS)} to {draw.choice(PLACES)} that "
            f"are placed before {draw.choice(DAYS)} leave within {draw.randint(2, 9)} days and "
            f"cost {draw.randint(3, 40)} euros of postage.\n"
        )
    return instructions + REFERENCE + rules[:room].rstrip()


def _shelf() -> dict[str, Traversable]:
    """The scenarios that come with Cascade, by name."""
    return yaml_file.shelf("pipeline.compare", "scenarios")


def _files(path: Path) -> list[Path]:
    """The scenario files that a path stands for."""
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix.lower() in yaml_file.SUFFIXES)
    return [path] if path.suffix.lower() in yaml_file.SUFFIXES else []


def _read(
    file: Path, instructions: str, patience_s: float, axis: Sequence[Condition]
) -> tuple[list[Scenario], tuple[Gate, ...]]:
    """The scenarios of a file: of several `conversations`, or one; each along its axes.

    With them the gates of the file.
    """
    plain = yaml_file.read(file, "is no scenario; it needs at least `turns:`, a list with `say:`")
    conversations = plain.pop("conversations", None) or [{}]
    found: list[Scenario] = []
    try:
        limits = parse(plain.pop("expect", None) or {}, COMPARED, (), "expect: ")
        if not isinstance(conversations, list) or not all(
            isinstance(c, dict) for c in conversations
        ):
            raise BadInput("conversations: needs a list, each with at least `turns`")
        for one in conversations:
            found += _along_axes({**plain, **one}, file, instructions, patience_s, axis)
    except Invalid as error:
        raise BadInput(f"{file}: {yaml_file.complaint(error)}") from None
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    return found, limits


def _along_axes(
    plain: dict[Any, Any],
    file: Path,
    instructions: str,
    patience_s: float,
    axis: Sequence[Condition],
) -> Iterator[Scenario]:
    """A scenario, once for each length of its instructions and each condition."""
    lengths = plain.pop("lengths", None) or [""]
    named = plain.pop("conditions", None) or []
    listed = named if isinstance(named, list) else [named]
    own_axis = [conditions.read(one, file.parent) for one in listed]
    _check_axis(own_axis)
    if singular := {"condition", "through", "length"} & plain.keys():
        raise BadInput(f"{min(singular)}: is not known here; axes are `lengths` and `conditions`")
    turns = _turns(plain.get("turns"), file.parent, patience_s)
    read = _READER.validate_python({**plain, "turns": turns})
    _check_tools(read)
    _check_outcomes(read)
    steps = tuple(map(_with_sound, read.steps))
    name = read.name or file.stem
    own = read.instructions.strip() or instructions
    for length in lengths if isinstance(lengths, list) else [lengths]:
        made = dataclasses.replace(
            read,
            name=f"{name} {length}" if length else name,
            instructions=lengthened(own, length) if length else own,
            steps=steps,
            length=length,
        )
        yield from _in_conditions(made, axis or own_axis)


def _check_axis(axis: Sequence[Condition]) -> None:
    """See that no condition is there twice, and that their sounds can be read."""
    names = [one.name for one in axis]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"conditions: two are called {twice[0]!r}; name each once, and files apart")
    for one in axis:
        for path in (one.room, one.noise):
            if path is not None:
                check_audio(path)


def _in_conditions(scenario: Scenario, axis: Sequence[Condition]) -> list[Scenario]:
    """A scenario, once for each condition; as it is where there are none."""
    return [
        dataclasses.replace(
            scenario,
            name=f"{scenario.name} {one.name}",
            condition="" if one.name == CLEAN else one.name,
            through=None if one.name == CLEAN else one,
        )
        for one in axis
    ] or [scenario]


def _turns(turns: Any, folder: Path, patience_s: float) -> list[Any]:
    """The turns as `Step` reads them: words that are said, a recording with its words, silence."""
    if not isinstance(turns, list) or not turns:
        raise BadInput("turns: needs a list of at least one turn")
    found = []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict):
            raise BadInput(f"turn {number}: {NEEDS}")
        rest = dict(turn)
        say, name, text, quiet = (rest.pop(key, "") for key in ("say", "file", "text", "silence"))
        words = say.strip() if isinstance(say, str) else say
        if [bool(words), bool(name), quiet != ""].count(True) != 1:
            raise BadInput(f"turn {number}: {NEEDS}")
        if unknown := [key for key in ("seconds", "audible_s") if key in rest]:
            raise BadInput(f"turn {number}: {unknown[0]} is not known here")
        if quiet != "":
            name = _silence(number, quiet, rest)
        if number == 1 and rest.get("after_call") is not None:
            raise BadInput("turn 1: there is nothing before it that it could interrupt")
        if name and not (folder / str(name)).is_file():
            raise BadInput(f"turn {number}: there is no file {folder / str(name)}")
        said = say or text
        found.append(
            {
                "patience": patience_s,
                **rest,
                "said": " ".join(said.split()) if isinstance(said, str) else said,
                "path": folder / str(name) if name else UNSPOKEN,
            }
        )
    return found


def _silence(number: int, seconds: Any, rest: dict[str, Any]) -> Path:
    """The recording of a turn in which nothing is said, which can only be ignored."""
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, (int, float))
        or not (SHORTEST_SILENCE_S <= seconds <= LONGEST_SILENCE_S)
    ):
        raise BadInput(
            f"turn {number}: silence: {seconds!r} is none; it is seconds, from "
            f"{SHORTEST_SILENCE_S:g} to {LONGEST_SILENCE_S:g}"
        )
    if rest.get("level") is not None:
        raise BadInput(f"turn {number}: `level` needs a sound, and this turn is silence")
    rest.setdefault("expect", "ignore")
    if rest["expect"] not in ("ignore", {"outcome": "ignore"}):
        raise BadInput(f"turn {number}: silence can only be ignored; write `expect: ignore`")
    rest |= {"seconds": seconds, "audible_s": seconds}
    return silence(seconds)


def _check_outcomes(scenario: Scenario) -> None:
    """See that what is said into a reply has one before it."""
    replied = False
    for number, step in enumerate(scenario.steps, start=1):
        into = step.interrupt_s is not None
        if not replied and (into or step.outcome == "stop"):
            does = "stop" if step.outcome == "stop" else "interrupt"
            raise BadInput(f"turn {number}: there is no reply before it that it could {does}")
        if step.outcome == "stop" and not into:
            raise BadInput(
                f"turn {number}: to `stop` a reply it is said into one; write how long into it "
                "(s), as in `interrupt: 1.5`"
            )
        replied = step.outcome == "respond" or (replied and into and step.outcome == "ignore")


def _check_tools(scenario: Scenario) -> None:
    names = {one.name for one in scenario.tools}
    for number, step in enumerate(scenario.steps, start=1):
        wanted = step.expect.tool
        if wanted is not None and wanted.name and wanted.name not in names:
            raise BadInput(
                f"turn {number}: expects the tool {wanted.name!r}, which `tools` does not have"
            )


def _with_sound(step: Step) -> Step:
    """The step with what its recording tells, if it has one."""
    if step.path == UNSPOKEN or step.seconds:
        return step
    path = at_level(step.path, step.level_db)
    item = Item(path, step.path.name, step.said, step.end_of_speech_s)
    return _recorded(step, checked(item))


def _recorded(step: Step, item: Item) -> Step:
    sound = np.concatenate([*read_audio(item.path, RATE)])
    found = end_of_speech(sound, RATE)
    return dataclasses.replace(
        step,
        said=item.text,
        path=item.path,
        end_of_speech_s=item.end_of_speech_s,
        audible_s=(len(sound) if found is None or not found.measurable else found.end) / RATE,
        seconds=item.seconds,
    )
