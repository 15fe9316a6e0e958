"""`cascade compare --live`: one microphone, several sessions; a key chooses which is heard."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline import talk
from pipeline.audio.line import Ends
from pipeline.compare.audition import Audition, ends_rate
from pipeline.compare.conduct import PARTS
from pipeline.compare.keys import Keys
from pipeline.compare.scenario import Scenario, Step
from pipeline.compare.screen import Screen
from pipeline.compare.switch import MOST
from pipeline.compare.systems import Systems, parse
from pipeline.compare.voiced import Voiced
from pipeline.config import Settings
from pipeline.console import stderr
from pipeline.engines.vad import VoiceDetector
from pipeline.errors import BadInput
from pipeline.measure.plan import Load
from pipeline.speech_to_speech import paths
from pipeline.speech_to_speech.brief import Target
from pipeline.trace import Trace, description

PATIENCE_S = 2.0
"""Silence after a recording that shows that no path will answer any more: longer than any server
takes to notice that somebody spoke."""

ANYTHING = Step(said="(a simulation understands nothing)", path=Path())
"""All that is known of what the user will say: the script of a simulated server is made of it."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What one run of `cascade compare --live` was asked to do.

    Attributes:
        paths: As given on the command line, two or more; the first is heard first.
        inputs: `mic`, or recordings to play in turn.
        output: `speaker`, or a WAV file.
        record: Stereo WAV of the user and of what was heard.
        trace: File for the marks of all paths.
        json: Print events on stdout.
    """

    paths: tuple[str, ...]
    inputs: tuple[str, ...] = ("mic",)
    output: str = "speaker"
    record: Path | None = None
    trace: Path | None = None
    json: bool = False


def prepare(load: Load, options: LiveOptions) -> Coroutine[Any, Any, int]:
    """Check all that can be checked, and fetch a language model that is missing.

    Not for an event loop: that would take notice of Ctrl-C only when the fetch is over.

    Args:
        load: Gives the settings of a cascade.
        options: What to do.

    Returns:
        The conversation, to be run. It gives the exit code: 1 if a path or a turn failed, or if
        something could not be written that was asked for, which does not end it.

    Raises:
        CascadeError: It cannot begin.
    """
    console = stderr()
    if not 2 <= len(options.paths) <= MOST:
        raise BadInput(f"--live: needs 2 to {MOST} paths; give each as --path")
    targets = parse(options.paths)
    for target in targets:
        paths.check(target, os.environ)
        if target.options.get("turns") == "manual":
            raise BadInput(f"--path {target.name}: turns=manual is for recordings; leave it out")
    asked = talk.TalkOptions(
        inputs=options.inputs, output=options.output, record=options.record, trace=options.trace
    )
    talk.check_files(asked)
    base = load({})
    ends = Ends(
        base.audio,
        options.inputs,
        options.output,
        record=options.record,
        patience_s=PATIENCE_S,
        parts=PARTS,
    )
    scenario = Scenario("live", "latency", base.llm.instructions, (ANYTHING,))
    ways = Systems(targets, load, [scenario])
    asyncio.run(ends.find())
    ways.prepare(console)
    return _hold(base, targets, ways, scenario, options, ends, console)


async def _hold(
    base: Settings,
    targets: Sequence[Target],
    ways: Systems,
    scenario: Scenario,
    options: LiveOptions,
    ends: Ends,
    console: Console,
) -> int:
    """Open everything, and listen.

    Raises:
        CascadeError: The engines cannot be loaded, a file cannot be written, or a device is gone.
    """
    async with contextlib.AsyncExitStack() as stack:
        names = [target.name for target in targets]
        simulated = [target.kind == "simulated" for target in targets]
        about = {**description(base, ways.models), "paths": names, "simulated": any(simulated)}
        trace = stack.enter_context(Trace(options.trace, about))
        keys = stack.enter_context(Keys())
        screen = stack.enter_context(Screen(console, names, simulated))
        screen.note(f"loading {', '.join(pane.title for pane in screen.panes)}")
        opened = await stack.enter_async_context(ways.open())
        detector = await asyncio.to_thread(VoiceDetector, base.vad)
        detector.warm()
        voiced = Voiced(detector, base.vad)
        audition = Audition(opened, scenario, ends, screen, trace, voiced, as_json=options.json)
        line = ends.open(ends_rate(opened), lambda: False, mixed=audition.mixed)
        await stack.enter_async_context(line)
        if ends.echo_note:
            screen.note(ends.echo_note)
        code = await audition.run(keys)
    return 1 if code or trace.failed or ends.failed else 0
