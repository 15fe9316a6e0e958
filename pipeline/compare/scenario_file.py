"""Scenarios from plain YAML, from a corpus of recordings, and those that come with Cascade."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline import yaml_file
from pipeline.audio.files import read_audio
from pipeline.audio.line import RATE
from pipeline.compare.reference import LENGTHS, lengthened
from pipeline.compare.scenario import (
    TOPICS,
    Expect,
    Instrumented,
    Response,
    Scenario,
    Step,
    Wanted,
)
from pipeline.engines.tools import Tool
from pipeline.errors import BadInput
from pipeline.measure.corpus import Item, checked, gather
from pipeline.turns.speech_end import end_of_speech

SUFFIXES = (".yaml", ".yml")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Wanted(_Part):
    name: str
    arguments: dict[str, Any] = {}
    within: float | None = Field(None, gt=0)


Words = Annotated[str, Field(min_length=1)]


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


class _Expect(_Part):
    contains: list[Words] = []
    lacks: list[Words] = []
    regex: Annotated[str, AfterValidator(_pattern)] = ""
    number: float | None = None
    judge: str = ""
    tool: _Wanted | Literal["none"] | None = None
    history: list[Words] = []
    history_lacks: list[Words] = []
    topic: Literal["", "answer", "instructions", "recall"] = ""


class _Turn(_Part):
    say: str = ""
    file: str = ""
    text: str = ""
    end_of_speech: float | None = Field(None, gt=0)
    expect: _Expect = _Expect()
    interrupt: float | None = Field(None, ge=0)
    after_call: float | None = Field(None, ge=0)
    pause: float = Field(0.5, ge=0)
    patience: float | None = Field(None, gt=0)


class _Response(_Part):
    give: Any = ""
    when: dict[str, Any] = {}
    delay: float = Field(0.0, ge=0)
    size: int = Field(0, ge=0, le=20_000_000)


class _Tool(_Part):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    responses: list[_Response] = []


class _Scenario(_Part):
    name: str = ""
    topic: str = "understanding"
    instructions: str = ""
    lengths: list[str] = []
    tools: list[_Tool] = []
    turns: list[_Turn] = Field(min_length=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Gathered:
    """What is to be said.

    Attributes:
        scenarios: In order. A turn that is to be spoken by a voice has no recording yet: its
            `path` is empty.
        problems: Recordings that cannot be played, each in a line.
    """

    scenarios: tuple[Scenario, ...]
    problems: tuple[str, ...] = ()


UNSPOKEN = Path()
"""In place of a recording, until a voice has spoken the words."""


def builtin() -> list[str]:
    """Names of the scenarios that come with Cascade."""
    return sorted(Path(file.name).stem for file in _shelf())


def gather_scenarios(
    sources: Sequence[str], *, instructions: str, patience_s: float, more: Iterable[Item] = ()
) -> Gathered:
    """Read scenarios and recordings.

    Args:
        sources: Scenario files, folders of such, names from `builtin`; and whatever
            `profile.corpus.gather` takes, of which every recording is a conversation of one turn.
        instructions: For conversations that have none of their own.
        patience_s: How long to wait for a reply where a turn does not say (s).
        more: Recordings that come from elsewhere.

    Raises:
        BadInput: A source is missing or damaged, or nothing is left to play.
    """
    found: list[Scenario] = []
    recordings: list[Path] = []
    for source in sources:
        path = Path(source)
        files = _files(path)
        if files:
            for file in files:
                found += _read(file, file.parent, instructions, patience_s)
        elif not path.exists() and source in builtin():
            (shelved,) = (f for f in _shelf() if Path(f.name).stem == source)
            with resources.as_file(shelved) as file:
                found += _read(file, file.parent, instructions, patience_s)
        elif not path.exists():
            raise BadInput(
                f"{source}: there is no such file, folder or scenario; scenarios that come with "
                f"Cascade: {', '.join(builtin())}"
            )
        else:
            recordings.append(path)
    problems: tuple[str, ...] = ()
    more = list(more)
    if recordings or more:
        corpus = gather(recordings, more)
        problems = corpus.problems
        for item in corpus.items:
            step = _step(item, Expect(), patience_s)
            found.append(Scenario(item.name, "latency", instructions, (step,)))
    names = [scenario.name for scenario in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"two scenarios are called {twice[0]!r}; give one another `name`")
    return Gathered(tuple(found), problems)


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
            step = dataclasses.replace(
                step,
                path=item.path,
                end_of_speech_s=item.end_of_speech_s,
                seconds=item.seconds,
            )
        steps.append(step)
    return dataclasses.replace(scenario, steps=tuple(steps))


def _shelf() -> list[Any]:
    folder = resources.files("pipeline.compare").joinpath("scenarios")
    return [file for file in folder.iterdir() if Path(file.name).suffix in SUFFIXES]


def _files(path: Path) -> list[Path]:
    """The scenario files that a path stands for."""
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    return [path] if path.suffix.lower() in SUFFIXES and path.exists() else []


def _read(file: Path, folder: Path, instructions: str, patience_s: float) -> Iterator[Scenario]:
    needed = "is no scenario; it needs at least `turns:`, a list with `say:`"
    plain = yaml_file.read(file, needed)
    try:
        read = _Scenario.model_validate(plain)
    except ValidationError as error:
        raise BadInput(f"{file}: {_first(error)}") from None
    try:
        yield from _scenarios(read, file, folder, instructions, patience_s)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None


def _scenarios(
    read: _Scenario, file: Path, folder: Path, instructions: str, patience_s: float
) -> Iterator[Scenario]:
    if read.topic not in TOPICS:
        raise BadInput(f"topic is {read.topic!r}; allowed: {', '.join(TOPICS)}")
    tools = tuple(_tool(tool) for tool in read.tools)
    names = {one.tool.name for one in tools}
    steps = tuple(
        _turn(number, turn, folder, names, patience_s)
        for number, turn in enumerate(read.turns, start=1)
    )
    name = read.name or file.stem
    own = read.instructions.strip() or instructions
    for length in read.lengths or [""]:
        text = lengthened(own, length) if length else own
        called = f"{name} {length}" if length else name
        yield Scenario(called, read.topic, text, steps, tools, length)


def _turn(number: int, turn: _Turn, folder: Path, tools: set[str], patience_s: float) -> Step:
    if bool(turn.say) == bool(turn.file):
        raise BadInput(f"turn {number}: needs either `say` (words) or `file` (a recording)")
    if number == 1 and (turn.interrupt is not None or turn.after_call is not None):
        raise BadInput("turn 1: there is nothing before it that it could interrupt")
    expect = _expected(turn.expect)
    if expect.tool is not None and expect.tool.name and expect.tool.name not in tools:
        raise BadInput(
            f"turn {number}: expects the tool {expect.tool.name!r}, which `tools` does not have"
        )
    patience_s = turn.patience or patience_s
    timing: dict[str, Any] = {
        "interrupt_s": turn.interrupt,
        "after_call_s": turn.after_call,
        "pause_s": turn.pause,
    }
    if turn.say:
        spoken = Step(" ".join(turn.say.split()), UNSPOKEN, expect=expect, patience_s=patience_s)
        return dataclasses.replace(spoken, **timing)
    path = folder / turn.file
    if not path.is_file():
        raise BadInput(f"turn {number}: there is no file {path}")
    item = checked(Item(path, turn.file, turn.text.strip(), turn.end_of_speech))
    return dataclasses.replace(_step(item, expect, patience_s), **timing)


def _step(item: Item, expect: Expect, patience_s: float) -> Step:
    sound = np.concatenate([*read_audio(item.path, RATE)])
    found = end_of_speech(sound, RATE)
    audible_s = (len(sound) if found is None or not found.measurable else found.end) / RATE
    return Step(
        item.text,
        item.path,
        end_of_speech_s=item.end_of_speech_s,
        audible_s=audible_s,
        seconds=item.seconds,
        expect=expect,
        patience_s=patience_s,
    )


def _expected(expect: _Expect) -> Expect:
    wanted: Wanted | None = None
    if expect.tool == "none":
        wanted = Wanted()
    elif isinstance(expect.tool, _Wanted):
        tool = expect.tool
        wanted = Wanted(tool.name, tool.arguments, tool.within)
    return Expect(
        contains=tuple(expect.contains),
        lacks=tuple(expect.lacks),
        regex=expect.regex,
        number=expect.number,
        judge=expect.judge,
        tool=wanted,
        history=tuple(expect.history),
        history_lacks=tuple(expect.history_lacks),
        topic=expect.topic,
    )


def _tool(tool: _Tool) -> Instrumented:
    responses = tuple(
        Response(one.give, one.when, one.delay, one.size) for one in tool.responses or [_Response()]
    )
    return Instrumented(Tool(tool.name, tool.description, tool.parameters), responses)


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, with its place: `turns.2.expect.tool: …`."""
    first = error.errors(include_url=False)[0]
    # Counted from 1, as a reader counts.
    place = ".".join(str(p + 1) if isinstance(p, int) else p for p in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    return f"{place}: {said[0].lower()}{said[1:]}"


__all__ = [
    "LENGTHS",
    "UNSPOKEN",
    "Gathered",
    "builtin",
    "gather_scenarios",
    "unspoken",
    "with_recordings",
]
