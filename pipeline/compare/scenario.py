"""Scenarios: what is said to every path, and what is expected of it. Plain data; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.engines.tools import Tool

TOPICS = (
    *("latency", "understanding", "tools", "instructions", "recall", "interruption"),
    "heavy tools",
)
"""What a scenario is about: where the report shows it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tool is to be called in a turn, and how.

    Attributes:
        name: Which; empty: none may be called.
        arguments: Each of these must be among the call's, equal but for case and surrounding
            space; a number may be written as text.
        within_s: From the end of the user's speech to the call (s); None: whenever.
    """

    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    within_s: float | None = None


@dataclass(frozen=True, slots=True)
class Expect:
    """What a turn's reply is to be like. Every part that is given must hold.

    Attributes:
        contains: Texts of which each is in the reply; each may list alternatives parted by `|`.
        lacks: Texts of which none is.
        regex: A pattern that is found in the reply, case ignored.
        number: A number that the reply names, in digits or words.
        judge: A question about the reply that a language model answers with yes or no.
        tool: What tool is to be called; None: no matter.
        history: Texts that the model's history of this turn's reply holds at the end.
        history_lacks: Texts that it does not: what was never heard.
        topic: What it is about, if not what the scenario is.
    """

    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    regex: str = ""
    number: float | None = None
    judge: str = ""
    tool: Wanted | None = None
    history: tuple[str, ...] = ()
    history_lacks: tuple[str, ...] = ()
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One utterance of the user's.

    Attributes:
        said: The words; empty if only the recording is there and nobody wrote them down.
        path: The recording.
        end_of_speech_s: Where the speech ends in it (s), as labelled; None: to be detected.
        audible_s: Where the speech ends in it by its sound; where noise hides that, its length (s).
        seconds: How long it is (s).
        expect: Of the reply.
        interrupt_s: It begins so long after the reply before it is first heard (s); None: once that
            is over.
        after_call_s: It begins so long after the turn before it called a tool (s), whose result may
            still be pending; None: calls are waited for.
        pause_s: Silence after the reply before it, at least (s).
        patience_s: How long to wait for the reply to it (s).
    """

    said: str
    path: Path
    end_of_speech_s: float | None = None
    audible_s: float = 0.0
    seconds: float = 0.0
    expect: Expect = Expect()
    interrupt_s: float | None = None
    after_call_s: float | None = None
    pause_s: float = 0.5
    patience_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Response:
    """What a tool gives.

    Attributes:
        give: The result: text as it is, anything else as JSON.
        when: Arguments for which it is this one; empty: any.
        delay_s: How long the tool takes (s).
        size: Bytes to fill the result up to with filler; 0: as it is.
    """

    give: Any = ""
    when: Mapping[str, Any] = field(default_factory=dict)
    delay_s: float = 0.0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Instrumented:
    """A tool with what it answers: the first response whose `when` fits, each but the last once.

    Attributes:
        tool: As the model is told of it.
        responses: In order; a call that none fits is answered with an error.
    """

    tool: Tool
    responses: tuple[Response, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A conversation to be held with every path.

    Attributes:
        name: What reports call it.
        topic: What it is about: one of `TOPICS`.
        instructions: The system prompt.
        tools: What may be called.
        steps: What is said, in order.
        length: Which length of the instructions this is (`short`, `4k`, …); empty: does not vary.
    """

    name: str
    topic: str
    instructions: str
    steps: tuple[Step, ...]
    tools: tuple[Instrumented, ...] = ()
    length: str = ""
