"""`cascade …`: parses the command line, wires, prints. No logic."""

from __future__ import annotations

import asyncio
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from pipeline import cli_measure
from pipeline.cli_flags import (
    Config,
    Debug,
    Instructions,
    Json,
    Judge,
    Language,
    Llm,
    Stt,
    Voice,
    engines,
    run_to_end,
    settings_of,
)
from pipeline.config import PACES, Turns
from pipeline.console import log_to_stderr, show_error, stderr
from pipeline.errors import BadInput, CascadeError

app = typer.Typer(
    name="cascade",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(name="models", help="List, fetch and check models.")
app.add_typer(models_app)


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad input, 130 interrupted.

    SIGTERM counts as an interruption. Without arguments the help is shown; nothing was asked for,
    so nothing failed.
    """
    debug = "--debug" in sys.argv
    log_to_stderr(debug)
    console = stderr()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except typer.TyperException as error:
        show_error(console, f"{error.format_message().rstrip('.')}; --help shows what there is")
        code = 2
    except CascadeError as error:
        if debug:
            raise
        show_error(console, str(error))
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort, asyncio.CancelledError):
        code = 130
    except OSError as error:
        if debug:
            raise
        # What can be foreseen has been put into words; this is such as a full disk behind stdout.
        show_error(console, str(error))
        code = 1
    except Exception as error:
        if debug:
            raise
        show_error(
            console,
            f"{type(error).__name__}: {error}. This is a defect in Cascade; "
            "run again with --debug for the traceback.",
        )
        code = 1
    sys.exit(code or 0)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"cascade {metadata.version('voice-cascade')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit"
        ),
    ] = False,
) -> None:
    """A voice conversation, offline: microphone, VAD, Whisper, LLM, Piper, speaker."""


@app.command()
def talk(
    input: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="mic|FILE",
            help="Microphone, or recordings (repeatable): each waits for the reply to the last",
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", metavar="speaker|FILE.wav", help="Where the reply goes")
    ] = "speaker",
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE.wav", help="Both sides as stereo: user left, reply right"),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write the marks of every turn")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Write the conversation")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Go on with a saved conversation")
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="speculative|overlapped|sequential", help="How the stages of a reply overlap"
        ),
    ] = None,
    turns: Annotated[
        str | None,
        typer.Option(metavar="|".join(PACES), help="How soon silence ends your turn"),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Files to file: skip the waiting, not the work")
    ] = False,
    echo: Annotated[
        str | None,
        typer.Option(
            metavar="cancel|half-duplex|off", help="What keeps it from hearing itself; default auto"
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="After each turn, draw where its time went")
    ] = False,
    config: Config = None,
    stt: Stt = None,
    voice: Voice = None,
    llm: Llm = None,
    vad: Judge = None,
    language: Language = None,
    instructions: Instructions = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Hold a conversation: on microphone and speaker, or with recordings."""
    settings = settings_of(
        config,
        {
            **engines(stt, voice, llm, vad, language, instructions),
            "reply.mode": mode,
            "audio.echo": echo,
            **_pace(turns),
        },
    )
    from pipeline.talk import TalkOptions, prepare

    options = TalkOptions(
        inputs=tuple(input or ["mic"]),
        output=output,
        record=record,
        trace=trace,
        save=save,
        resume=resume,
        fast=fast,
        json=json,
        profile=profile,
    )
    return run_to_end(prepare(settings, options))


@app.command()
def doctor(
    check: Annotated[
        list[str] | None,
        typer.Option(metavar="devices|models|llm", help="Only this part (repeatable)"),
    ] = None,
    config: Config = None,
    stt: Stt = None,
    voice: Voice = None,
    llm: Llm = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Say what works, what does not, and what to do: devices, models, LLM endpoint, versions."""
    settings = settings_of(config, engines(stt, voice, llm))
    from pipeline.doctor import PARTS, examine

    return run_to_end(examine(settings, check or list(PARTS), json))


@app.command("config")
def config_command() -> None:
    """Print every setting at its default, as a commented cascade.toml."""
    from pipeline.config_file import document

    print(document())


@models_app.command("list")
def models_list(config: Config = None, json: Json = False, debug: Debug = False) -> int:
    """Show the models that Cascade knows, and those on this disk."""
    from pipeline.models.shelf import show

    return show(settings_of(config, {}), json)


@models_app.command("pull")
def models_pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Default: those used by default")
    ] = None,
    config: Config = None,
    debug: Debug = False,
) -> int:
    """Fetch models; goes on where an interrupted fetch stopped."""
    from pipeline.models.shelf import pull

    return pull(settings_of(config, {}), names or [])


@models_app.command("verify")
def models_verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Default: all on this disk")
    ] = None,
    config: Config = None,
    debug: Debug = False,
) -> int:
    """Check every byte of models on this disk."""
    from pipeline.models.shelf import verify

    return verify(settings_of(config, {}), names or [])


for measuring in (cli_measure.profile, cli_measure.compare, cli_measure.simulate):
    app.command()(measuring)


def _pace(name: str | None) -> dict[str, int]:
    """The settings that a pace stands for."""
    if name is None:
        return {}
    if name not in PACES:
        raise BadInput(f"--turns is {name!r}; allowed: {' | '.join(PACES)}")
    pace = {**{key: Turns.model_fields[key].default for key in PACES["eager"]}, **PACES[name]}
    return {f"turns.{key}": value for key, value in pace.items()}
