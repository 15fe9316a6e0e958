"""`cascade talk`: one session between microphone and speaker, or between files.

What a user asked for is checked, then the models are loaded, then the `Driver` talks. When a turn
is over, all of it that was asked for is on the disk, whatever ends the conversation after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shlex
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rich.console import Console

from pipeline import pictures
from pipeline.audio.line import MICROPHONE, SPEAKER, Ends
from pipeline.config import LlmSettings, Settings
from pipeline.conversation import transcript
from pipeline.conversation.history import Message
from pipeline.conversation.transcript import ConversationFile
from pipeline.driver import Driver
from pipeline.engines.beside import look
from pipeline.engines.tools import IDLE_S, Tool
from pipeline.engines.worker import apart
from pipeline.errors import BadInput, CascadeError
from pipeline.events import ToolCall
from pipeline.keyboard import Keyboard, letters
from pipeline.measure import otel
from pipeline.models.catalogue import Catalogue
from pipeline.models.fetch import provide
from pipeline.pictures import Picture
from pipeline.terminal import Display, stderr, stdout_alone
from pipeline.trace import Trace, description

if TYPE_CHECKING:
    from pipeline.conversation.cascade import Cascade
    from pipeline.engines.local import LocalEngines
    from pipeline.tools.toolbox import ToolSource

PATIENCE_S = 0.3
"""Beyond the hold: silence after a recording that shows that nothing more will be answered."""

LOOK_S = 0.1
"""How often keys are looked for (s)."""

SHOWING = "s: show the screen · v: show the picture in the clipboard · or drop a picture here"
"""What is said at the start of the keys that show something."""

DISK_S = 0.5
"""How long the end of a turn waits for the disk: mostly a millisecond, and a disk that does not
respond must not hold up a conversation."""


@dataclass(frozen=True, slots=True)
class TalkOptions:
    """What one run of `cascade talk` was asked to do.

    Attributes:
        inputs: `mic`, or recordings to play in turn.
        output: `speaker`, or a WAV file.
        record: Stereo WAV of both sides.
        trace: File for the marks.
        save: File for the conversation.
        resume: Saved conversation to go on with.
        pictures: Files of pictures that are shown with the first words.
        fast: Skip the waiting between files.
        json: Print events on stdout.
        profile: After each turn, draw where its time went.
    """

    inputs: tuple[str, ...] = ("mic",)
    output: str = "speaker"
    record: Path | None = None
    trace: Path | None = None
    save: Path | None = None
    resume: Path | None = None
    pictures: tuple[Path, ...] = ()
    fast: bool = False
    json: bool = False
    profile: bool = False


def prepare(settings: Settings, options: TalkOptions) -> Coroutine[Any, Any, int]:
    """Check all that can be checked, and fetch the default models that are missing.

    Not for an event loop: that would take notice of Ctrl-C only when the fetch is over.

    Returns:
        The conversation, to be run. It gives the exit code: 1 if a turn failed, or if something
        could not be written that was asked for, which does not end it.

    Raises:
        CascadeError: It cannot begin.
    """
    console = stderr()
    check_files(options)
    history = transcript.load(options.resume) if options.resume else []
    sources = tool_sources(settings)
    shown = [(path.name, pictures.of_file(path)) for path in options.pictures]
    ends = Ends(
        settings.audio,
        options.inputs,
        options.output,
        record=options.record,
        fast=options.fast,
        patience_s=settings.turns.hold_ms / 1000 + PATIENCE_S + (IDLE_S if sources else 0),
    )
    # Their libraries take a second to import: what is wrong with the files is told before.
    from pipeline.engines.local import LocalEngines, check_models

    catalogue = Catalogue.load(settings.models.dir)
    by_ear = False
    if settings.conversation.translate_to:
        from pipeline.conversation import interpreter

        settings, by_ear = interpreter.prepared(settings, catalogue), interpreter.by_ear(settings)
    check_models(settings, catalogue)
    asyncio.run(ends.find())
    settings = provide(settings, console, instead=True)
    engines = LocalEngines(settings, writes=not by_ear)
    return _hold(settings, options, history, shown, sources, ends, engines, console)


def tool_sources(settings: Settings) -> list[ToolSource]:
    """Where the tools of a conversation are; nothing is entered yet.

    There are none where what is said is translated: nothing is answered, so that nothing is called.

    Raises:
        BadInput: A file cannot be used, or a package is missing.
    """
    sources: list[ToolSource] = []
    if settings.conversation.translate_to:
        return sources
    if settings.tools.files:
        from pipeline.tools.functions import FunctionTools  # only where it is needed

        sources.append(FunctionTools([Path(file) for file in settings.tools.files]))
    if settings.mcp:
        from pipeline.tools.mcp import McpServers, check_installed

        check_installed()
        sources.append(McpServers(settings, [tool.name for each in sources for tool in each.tools]))
    return sources


async def _hold(
    settings: Settings,
    options: TalkOptions,
    history: list[Message],
    shown: Sequence[tuple[str, Picture]],
    sources: list[ToolSource],
    ends: Ends,
    engines: LocalEngines,
    console: Console,
) -> int:
    """Hold the conversation, and keep it.

    Raises:
        CascadeError: The engines cannot be loaded, a device is gone, or a stage failed for good.
    """
    from pipeline.conversation.cascade import Cascade  # as slow to import
    from pipeline.conversation.consent import allowed
    from pipeline.tools.toolbox import CANCEL, Toolbox

    saved = ConversationFile(options.save) if options.save else None
    async with contextlib.AsyncExitStack() as stack:
        trace = stack.enter_context(Trace(options.trace, description(settings, engines.names)))
        display = stack.enter_context(Display(console, drawn=options.profile))
        loads = [name for kind, name in engines.names.items() if kind != "llm" or engines.writes]
        display.note(f"loading {', '.join(loads)}")
        if engines.writes and settings.llm.model == LlmSettings().model:
            looking = asyncio.create_task(_tell_of_better(display))
            stack.callback(looking.cancel)
        spans = await stack.enter_async_context(
            otel.exported(trace.session, settings.llm, engines.names, ends.clock)
        )
        await stack.enter_async_context(engines)

        async def approve(tool: Tool, arguments: Mapping[str, Any]) -> bool:
            """Ask the user aloud, and on the screen."""

            async def ask(line: str) -> str | None:
                display.note(line)
                return await session.ask(line)

            return await allowed(ask, tool.name, arguments, engines.voice.language)

        lines = sys.stdout if options.json else None
        if options.json and sources:
            lines = stack.enter_context(stdout_alone())
        if sources and settings.mcp:
            display.note(f"connecting to {', '.join(settings.mcp)}")
        toolbox = await stack.enter_async_context(Toolbox(sources, approve))
        tools = [*toolbox.tools, CANCEL] if sources else []
        turn = history[-1].turn if history else 0
        for name, picture in shown:
            history.append(Message("user", "", turn, pictures=(picture.url,)))
            display.shows(name, picture)
        session = Cascade(engines, settings, trace, ends.clock, history, tools)
        toolbox.watch(lambda: session.offer([*toolbox.tools, CANCEL]))
        over = None if spans is None else spans.turn

        async def keep() -> None:
            waits = [trace.written(), *ends.written()]
            if saved is not None:
                waits.append(saved.save(session.as_saved))
            await asyncio.wait([asyncio.wrap_future(each) for each in waits], timeout=DISK_S)

        async def call(event: ToolCall) -> str:
            """Run a tool; the whole of its result is kept in the trace."""
            about: dict[str, Any] = {"id": event.id, "tool": event.name}
            now_ns = ends.clock.now_ns
            trace.mark(event.turn, "tool.call", now_ns(), **about, arguments=event.arguments)
            result = await toolbox.call(event.name, event.arguments)
            trace.mark(event.turn, "tool.result", now_ns(), **about, output=result.whole)
            return result.text

        driver = Driver(
            session,
            ends,
            trace,
            display,
            lines=lines,
            over=over,
            keep=keep,
            tools=call if sources else None,
            asks=lambda: session.asks,
        )

        def busy() -> bool:
            return session.preparing or driver.busy()

        await stack.enter_async_context(ends.open(engines.voice.rate, busy))
        if ends.echo_note:
            display.note(ends.echo_note)
        keyboard = stack.enter_context(Keyboard()) if engines.sees is not False else None
        if keyboard is not None and keyboard.available:
            display.note(SHOWING)
            showing = asyncio.create_task(_show(keyboard, session, display))
            stack.push_async_callback(_ended, showing)
        try:
            await driver.run()
        finally:
            if saved is not None:
                saved.close(session.history)
    unsaved = saved is not None and saved.failed
    return 1 if driver.failed or ends.failed or trace.failed or unsaved else 0


async def _tell_of_better(display: Display) -> None:
    """Tell of the language models that run on this machine, while those of the run are loaded."""
    for beside in await look():
        display.note(str(beside))


async def _show(keyboard: Keyboard, session: Cascade, display: Display) -> None:
    """Show the model what the user shows by keys, and files that are dropped on the terminal."""
    while True:
        await asyncio.sleep(LOOK_S)
        pressed = keyboard.pressed()
        for source in wanted(pressed) if pressed else ():
            try:
                picture = await apart(functools.partial(_taken, source))
            except CascadeError as error:
                display.warn(str(error))
                continue
            session.show(picture.url)
            display.shows(source if isinstance(source, str) else source.name, picture)


def wanted(pressed: str) -> list[pictures.Source | Path]:
    """What is to be shown after keys were pressed: `s` the screen, `v` what is in the clipboard.

    A terminal writes the path of a file that is dropped on it, in quotes where that is needed.
    """
    text = letters(pressed).strip()
    if len(text) > 2 and any(sign in text for sign in "/\\"):
        with contextlib.suppress(ValueError):
            names = shlex.split(text, posix=os.name == "posix")
            return [Path(unquote(name.removeprefix("file://").strip("'\""))) for name in names]
    sources: dict[str, pictures.Source] = {"s": "screen", "v": "clipboard"}
    return [sources[key] for key in text.lower() if key in sources]


def _taken(source: pictures.Source | Path) -> Picture:
    return pictures.of_file(source) if isinstance(source, Path) else pictures.take(source)


async def _ended(task: asyncio.Task[None]) -> None:
    """Stop a task."""
    task.cancel()
    await asyncio.wait([task])


def check_files(options: TalkOptions) -> None:
    """See that each file that is written can be, and that none of them is also used otherwise.

    A conversation may be saved to where it was resumed from.

    Raises:
        BadInput: One cannot, or is.
    """
    read = [("--input", Path(name)) for name in options.inputs if name != MICROPHONE]
    output = None if options.output == SPEAKER else Path(options.output)
    named = [
        ("--output", output),
        ("--record", options.record),
        ("--trace", options.trace),
        ("--save", options.save),
    ]
    written = [(flag, path) for flag, path in named if path is not None]
    if options.save is not None and transcript.replaceable(options.save):
        written.append(("--save", transcript.beside(options.save)))
    if options.resume is not None:
        read.append(("--resume", options.resume))
    for i, (flag, path) in enumerate(written):
        if path.is_dir():
            raise BadInput(f"{flag} {path}: is a folder; name a file in it")
        if not path.parent.is_dir():
            raise BadInput(f"{flag} {path}: there is no folder {path.parent}; create it first")
        for other, used in [*read, *written[:i]]:
            if (flag, other) == ("--save", "--resume"):
                continue
            # What is no file, such as /dev/null, may be anything.
            if used.resolve() == path.resolve() and (path.is_file() or not path.exists()):
                raise BadInput(f"{flag} {path}: is the file of {other} too; give it another name")
    for flag, path in written:
        try:
            # What is there stays as it is, and what is no file, such as a pipe, is let alone.
            if path.is_file():
                path.open("ab").close()
            elif not path.exists():
                target = path.resolve()  # a link stays one
                target.touch()
                target.unlink()
        except OSError as error:
            raise BadInput(f"{flag} {path}: cannot be written: {error.strerror}") from None
