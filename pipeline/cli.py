"""`cascade …`: parse the command line, wire, print. No logic."""

from __future__ import annotations

import asyncio
import contextlib
import json as json_lines
import math
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from pipeline.config import PACES, Settings, document, load
from pipeline.errors import INTERRUPTED, BadInput, CascadeError, one_line
from pipeline.terminal import log_to_stderr, show_error, stderr, stdout

if TYPE_CHECKING:
    from pipeline.measure.plan import Load


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise typer.BadParameter(f"{seconds} is no time")
    return seconds


Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings; default ./cascade.toml")
]
Stt = Annotated[str | None, typer.Option("--stt", metavar="NAME|DIR", help="Speech recogniser")]
Voice = Annotated[str | None, typer.Option("--voice", metavar="NAME|FILE", help="Piper voice")]
Llm = Annotated[
    str | None,
    typer.Option(
        "--llm",
        metavar="MODEL",
        help="embedded, NAME, a .gguf, a URL, ollama:NAME, openai:NAME",
    ),
]
SttUrl = Annotated[
    str | None,
    typer.Option("--stt-url", metavar="URL", help="OpenAI-compatible server that recognises"),
]
TtsUrl = Annotated[
    str | None,
    typer.Option("--tts-url", metavar="URL", help="OpenAI-compatible server that speaks"),
]
Language = Annotated[
    str | None, typer.Option("--language", metavar="CODE", help="Spoken language, such as en")
]
Instructions = Annotated[
    str | None, typer.Option("--instructions", metavar="TEXT", help="System prompt")
]
PromptId = Annotated[
    str | None,
    typer.Option("--prompt", metavar="ID[@VERSION]", help="A prompt of the folder prompts.dir"),
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="A variable of the prompt (repeatable)"),
]
Debug = Annotated[bool, typer.Option("--debug", help="Log everything; show tracebacks")]
Expect = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=LIMIT|FILE.yaml",
        help="A gate, such as p90_ms=900; exit code 3 if it is not met (repeatable)",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable lines on stdout")]

REPEATED_S = 1.0
"""Launchers such as `uv run` pass on the Ctrl-C that the terminal has sent already: of two signals
within this time the second asks for nothing more (s)."""

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

    SIGTERM and SIGHUP count as an interruption. Without arguments the help is shown; nothing was
    asked for, so nothing failed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # Closed by who started this: the next file opened would take its place, and its output.
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
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
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is saved; one more cannot stop it sooner
        code = INTERRUPTED
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
    if code == INTERRUPTED:
        _leave(code)
    sys.exit(code or 0)


def _leave(code: int) -> NoReturn:
    """Exit when all is closed, without waiting for Python.

    It would wait for engines that still load, which nothing can stop, and takes up to a second to
    take the engines' libraries apart.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # it may be closed
            stream.flush()
    os._exit(code)


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
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A picture to show with the first words (repeatable)"),
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
    translate_to: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Say what is said in this language, and answer nothing"),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Files to file: skip the waiting, not the work")
    ] = False,
    echo: Annotated[
        str | None,
        typer.Option(
            metavar="auto|cancel|half-duplex|off", help="What keeps it from hearing itself"
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="After each turn, draw where its time went")
    ] = False,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tools", metavar="FILE.py", help="Python functions the model may call (repeatable)"
        ),
    ] = None,
    mcp: Annotated[
        list[str] | None,
        typer.Option(
            "--mcp",
            metavar="URL|COMMAND",
            help="MCP server whose tools the model may call, when you say yes (repeatable)",
        ),
    ] = None,
    config: Config = None,
    stt: Stt = None,
    voice: Voice = None,
    llm: Llm = None,
    stt_url: SttUrl = None,
    tts_url: TtsUrl = None,
    language: Language = None,
    instructions: Instructions = None,
    prompt: PromptId = None,
    var: Variables = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Hold a conversation: on microphone and speaker, or with recordings."""
    flags = {
        **engines(stt, voice, llm, language, instructions, stt_url, tts_url),
        "reply.mode": mode,
        "audio.echo": echo,
        "tools.files": tools or None,
        **_mcp_servers(mcp or []),
        "conversation.translate_to": translate_to,
        **_pace(turns),
    }
    settings, functions = _prompted(config, flags, prompt, var)
    if functions:
        stderr().print(f"--prompt {prompt}: its definitions are for Realtime clients, not for talk")
    from pipeline.talk import TalkOptions, prepare

    options = TalkOptions(
        inputs=tuple(input or ["mic"]),
        output=output,
        record=record,
        trace=trace,
        save=save,
        resume=resume,
        pictures=tuple(image or ()),
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
    """Say what works, what does not, and what to do: devices, models, language model, versions."""
    settings = load(config, engines(stt, voice, llm))
    from pipeline.doctor import PARTS, examine

    return run_to_end(examine(settings, check or list(PARTS), json))


@app.command("config")
def config_command() -> None:
    """Print every setting at its default, as a commented cascade.toml."""
    print(document())


@app.command("prompts")
def prompts_command(config: Config = None, json: Json = False, debug: Debug = False) -> int:
    """Check the prompts in the folder prompts.dir, and show what each of them needs."""
    folder = Path(load(config).prompts.dir)
    from pipeline.prompts import Prompts

    found = Prompts.read(folder)
    table = Table("id", "version", "variables", "what it is", box=None)
    for prompt in (each for versions in found.all.values() for each in versions.values()):
        if json:
            line = prompt.model_dump(include={"id", "version", "description", "variables"})
            print(json_lines.dumps({**line, "required": prompt.required}))
            continue
        defaults = [f"{name}={value}" for name, value in prompt.variables.items()]
        about = prompt.description or one_line(prompt.instructions, 60)
        table.add_row(prompt.id, prompt.version, "\n".join([*prompt.required, *defaults]), about)
    if not found.all:
        stderr().print(f"{folder}: holds no prompts", soft_wrap=True)
    elif not json:
        (Console() if sys.stdout.isatty() else Console(width=200)).print(table)
    return 0


@models_app.command("list")
def models_list(config: Config = None, json: Json = False, debug: Debug = False) -> int:
    """Show the models that Cascade knows, and those on this disk."""
    from pipeline.models.catalogue import Catalogue

    catalogue = Catalogue.load(load(config).models.dir)
    titles = ("name", "kind", "size", "state", "languages", "licence", "from", "what it is")
    table = Table(*titles, box=None)
    for model in catalogue.all():
        state = catalogue.state(model)
        languages = " ".join(model.languages)
        origins = [source.origin for source in model.sources] or ["comes with Cascade"]
        if json:
            line = {
                "name": model.name,
                "kind": model.kind,
                "size": model.size,
                "state": state,
                "languages": list(model.languages),
                "licence": model.licence,
                "default": model.default,
                "from": origins,
                "description": model.description,
            }
            print(json_lines.dumps(line))
            continue
        size = f"{model.size / 1e6:,.1f} MB" if model.size else "?"
        name = f"{model.name} *" if model.default else model.name
        shown = languages if len(languages) <= 12 else f"{len(model.languages)} languages"
        row = (name, model.kind, size, state, shown, model.licence, "\n".join(origins))
        table.add_row(*row, model.description)
    if not json:
        console = Console() if sys.stdout.isatty() else Console(width=200)
        console.print(table)
        console.print(
            "* used unless a setting says otherwise. Any Piper voice can be pulled by its name "
            "(en_US-lessac-medium).",
            style="dim",
        )
    return 0


@models_app.command("pull")
def models_pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Default: those used by default")
    ] = None,
    config: Config = None,
    debug: Debug = False,
) -> int:
    """Fetch models; goes on where an interrupted fetch stopped."""
    from pipeline.models.catalogue import Catalogue
    from pipeline.models.fetch import Network, pull_and_show, pull_defaults

    catalogue = Catalogue.load(load(config).models.dir)
    console = stderr()
    if not names:
        return 0 if pull_defaults(catalogue, console) else 1
    for model in [catalogue.model(name) for name in names]:
        found = pull_and_show(catalogue, model, console, Network())
        console.print(f"{model.name}: {found.path}", soft_wrap=True)
    return 0


@models_app.command("verify")
def models_verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help="Default: all on this disk")
    ] = None,
    config: Config = None,
    debug: Debug = False,
) -> int:
    """Check every byte of models on this disk."""
    from pipeline.models.catalogue import Catalogue

    catalogue = Catalogue.load(load(config).models.dir)
    present = names or [m.name for m in catalogue.all() if catalogue.folder(m) is not None]
    results = {name: catalogue.verify(catalogue.model(name)) for name in present}
    for name, problems in results.items():
        print(f"{name}: {'; '.join(problems) or 'whole'}")
    return 1 if any(results.values()) else 0


@app.command()
def profile(
    corpus: Annotated[
        list[Path] | None,
        typer.Argument(metavar="CORPUS…", help="Recordings: folders, manifests, sound files"),
    ] = None,
    say: Annotated[
        Path | None,
        typer.Option(metavar="FILE.txt", help="Play these lines, spoken by a Piper voice"),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Only write the spoken lines, with a manifest"),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(metavar="MODE,…", help="Of sequential, overlapped, speculative; side by side"),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2…",
            help="stt, llm, voice, or a setting such as turns.hold_ms (repeatable: a grid)",
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often each recording is played")] = 3,
    seed: Annotated[int, typer.Option(help="Of the order in which variants are played")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Results; default runs/profile-TIME")
    ] = None,
    expect: Expect = None,
    reply_seconds: Annotated[
        float, typer.Option(min=0.1, callback=_finite, help="Listen to so much of each reply")
    ] = 4.0,
    timeout: Annotated[
        float,
        typer.Option(min=1, callback=_finite, help="Seconds to wait for a reply after a recording"),
    ] = 60.0,
    executor: Annotated[
        str,
        typer.Option(metavar="local|ray", help="Measure here, or a variant on each node of Ray's"),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The Ray cluster; default: RAY_ADDRESS, or here"),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="OLD NEW", help="Compare two results; exit code 3 if NEW is worse"),
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="SPEC",
            help="Predict from the results in CORPUS: llm.first_token=200ms,stt=0.5x; "
            "variants: its own, beside what was measured",
        ),
    ] = None,
    config: Config = None,
    stt: Stt = None,
    voice: Voice = None,
    llm: Llm = None,
    stt_url: SttUrl = None,
    tts_url: TtsUrl = None,
    language: Language = None,
    instructions: Instructions = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Measure where the time between your last word and the reply goes."""
    sources = tuple(corpus or ())
    if expect and (compare is not None or what_if or keep is not None):
        raise BadInput("--expect: goes with a run, not with --compare, --what-if or --keep")
    if compare is not None:
        from pipeline.profile import regression

        return regression.compare(*compare, stdout(), json)
    if what_if:
        from pipeline.profile import what_if as prediction

        if len(sources) != 1:
            raise BadInput("--what-if: name one folder that `cascade profile` made")
        return prediction.predict(sources[0], what_if, stdout(), as_json=json)
    flags = engines(stt, voice, llm, language, instructions, stt_url, tts_url)
    from pipeline.profile import run
    from pipeline.profile.run import Bounds

    options = run.ProfileOptions(
        sources=sources,
        say=say,
        keep=keep,
        modes=mode,
        vary=tuple(vary or ()),
        repeat=repeat,
        seed=seed,
        out=out,
        expect=tuple(expect or ()),
        bounds=Bounds(reply_s=reply_seconds, timeout_s=timeout),
        json=json,
        executor=executor,
        ray_address=ray_address,
    )
    if keep is not None:
        return run.keep_spoken(load(config, flags), options)
    return run_to_end(run.prepare(_varied(config, flags), options))


@app.command()
def compare(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CORPUS…",
            help="Scenarios (YAML files, or names of those that come along), folders of "
            "recordings, manifests, sound files",
        ),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            "--path",
            metavar="SPEC",
            help="cascade, openai:MODEL, gemini:MODEL, openai-live:MODEL, ws://…, audio-llm:URL, "
            "map:FILE,url=ws://…, simulated:NAME, reference:…; options follow commas (repeatable)",
        ),
    ] = None,
    say: Annotated[
        Path | None,
        typer.Option(metavar="FILE.txt", help="Also say these lines, spoken by a Piper voice"),
    ] = None,
    speaker: Annotated[
        str, typer.Option(metavar="VOICE", help="Piper voice of the user; default: --voice")
    ] = "",
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="Lay this over the user's sound: clean, codec=g711u, noise=FILE,snr=10, "
            "room=FILE, band=narrow, gain=-20, loss=3 (repeatable)",
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often each scenario is held")] = 3,
    seed: Annotated[int, typer.Option(help="Of the order, and of chance in conditions")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Results; default runs/compare-TIME")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with a run that was interrupted")
    ] = None,
    judge: Annotated[
        str, typer.Option(metavar="MODEL", help="Judges answers; named as for --llm")
    ] = "",
    fidelity: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Recogniser that reads the replies' sound against their text; default: --stt's",
        ),
    ] = "",
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="What things cost; default: ours")
    ] = None,
    expect: Expect = None,
    together: Annotated[
        bool, typer.Option("--together", help="Say the words to all paths at the same moment")
    ] = False,
    reply_seconds: Annotated[
        float, typer.Option(min=0.1, callback=_finite, help="Listen to so much of each last reply")
    ] = 4.0,
    timeout: Annotated[
        float, typer.Option(min=1, callback=_finite, help="Seconds to wait for a reply")
    ] = 60.0,
    live: Annotated[
        bool, typer.Option("--live", help="Talk to all paths at once; keys choose who is heard")
    ] = False,
    input: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="mic|FILE", help="With --live: as in `talk`"),
    ] = None,
    output: Annotated[
        str, typer.Option("--output", metavar="speaker|FILE.wav", help="With --live: as in `talk`")
    ] = "speaker",
    record: Annotated[
        Path | None, typer.Option(metavar="FILE.wav", help="With --live: you, and what was heard")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="With --live: the marks of all paths")
    ] = None,
    config: Config = None,
    stt: Stt = None,
    voice: Voice = None,
    llm: Llm = None,
    language: Language = None,
    instructions: Instructions = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Say the same words to the cascade and to speech-to-speech models, and compare."""
    flags = engines(stt, voice, llm, language, instructions)
    paths = tuple(path or ["cascade"])
    varied = _varied(config, flags)
    if live:
        measured = {"--expect": expect, "--together": together, "--condition": condition}
        for option, given in (measured | {"--fidelity": fidelity}).items():
            if given:
                raise BadInput(f"{option}: is for a measured run; leave it out with --live")
        from pipeline.compare.live import prepare as prepare_live
        from pipeline.talk import TalkOptions

        files = TalkOptions(tuple(input or ["mic"]), output, record, trace, json=json)
        return run_to_end(prepare_live(varied, paths, files))
    if input or record or trace or output != "speaker":
        raise BadInput("compare: --input, --output, --record and --trace go with --live")
    from pipeline.compare import run

    options = run.CompareOptions(
        sources=tuple(corpus or ()),
        say=say,
        paths=paths,
        repeat=repeat,
        seed=seed,
        out=out,
        resume=resume,
        judge=judge,
        fidelity=fidelity,
        prices=prices,
        expect=tuple(expect or ()),
        together=together,
        speaker=speaker,
        conditions=tuple(condition or ()),
        listen_s=reply_seconds,
        patience_s=timeout,
        json=json,
    )
    return run_to_end(run.prepare(varied, options))


@app.command()
def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder that `compare` or `profile` made")
    ],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Derive the figures of a run from its WAVs again, and say what differs."""
    from pipeline.verify import run

    return run(folder, as_json=json)


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Where to listen; default: this machine")
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="0: one that is free")] = None,
    tls: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="CERT KEY", help="Files, for https and wss without a proxy"),
    ] = None,
    config: Config = None,
    stt: Stt = None,
    voice: Voice = None,
    llm: Llm = None,
    stt_url: SttUrl = None,
    tts_url: TtsUrl = None,
    language: Language = None,
    instructions: Instructions = None,
    prompt: PromptId = None,
    var: Variables = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Serve the Realtime protocol, and a page to talk to, until Ctrl-C."""
    flags = engines(stt, voice, llm, language, instructions, stt_url, tts_url)
    flags |= {"serve.host": host, "serve.port": port}
    settings, tools = _prompted(config, flags, prompt, var)
    from pipeline.serve import serving

    _leave(run_to_end(serving.prepare(settings, tls=tls, as_json=json, tools=tools)))


@app.command()
def simulate(
    protocol: Annotated[str, typer.Argument(metavar="realtime", help="What it speaks")],
    script: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="What it says, when, and what fails")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A model's latency as it was published"),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free")] = 0,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
    config: Config = None,
    voice: Voice = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Serve a simulated speech-to-speech model that replays a script, until Ctrl-C."""
    settings = load(config, engines(None, voice, None))
    from pipeline.serve import simulated

    return run_to_end(
        simulated.simulate(
            settings, protocol, script, preset, host, port, as_json=json, child=child
        )
    )


def engines(
    stt: Stt,
    voice: Voice,
    llm: Llm,
    language: Language = None,
    instructions: Instructions = None,
    stt_url: SttUrl = None,
    tts_url: TtsUrl = None,
) -> dict[str, Any]:
    """The settings that the flags about engines stand for."""
    return {
        "stt.model": stt,
        "tts.voice": voice,
        "llm.model": llm,
        "stt.language": language,
        "llm.instructions": instructions,
        "stt.url": stt_url,
        "tts.url": tts_url,
    }


def run_to_end(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end; SIGTERM, or a terminal that is closed, stops as cleanly as Ctrl-C does.

    A second signal within `REPEATED_S` is the same wish; later, Ctrl-C ends what does not stop.
    """

    async def interruptible() -> int:
        task = asyncio.current_task()
        assert task is not None
        loop, asked_s = asyncio.get_running_loop(), -1.0
        taken: list[signal.Signals] = []

        def stop(number: int, _: object = None) -> None:
            nonlocal asked_s
            if asked_s < 0:
                asked_s = loop.time()
                task.cancel()
            elif number == signal.SIGINT and loop.time() - asked_s > REPEATED_S:
                raise KeyboardInterrupt

        if sys.platform != "win32":
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    loop.add_signal_handler(number, stop, number)
                    taken.append(number)
        try:
            return await work
        finally:
            # A loop that closes takes no signal, and complains of one.
            for number in reversed(taken):
                loop.remove_signal_handler(number)
            if signal.SIGINT in taken and asked_s >= 0:
                signal.signal(signal.SIGINT, stop)

    return asyncio.run(interruptible())


def _mcp_servers(places: list[str]) -> dict[str, dict[str, Any]]:
    """The settings of MCP servers that are given by a URL or a command line."""
    if not places:
        return {}
    from pipeline.tools.mcp import from_flags  # only where it is needed

    return from_flags(places)


def _prompted(
    config: Path | None, flags: Mapping[str, Any], named: str | None, given: list[str] | None
) -> tuple[Settings, list[dict[str, Any]]]:
    """The settings of a run, and the functions that its prompt defines.

    A flag wins over the prompt, and the prompt over the environment and the file.
    """
    settings = load(config, flags)
    if named is None:
        if given:
            raise BadInput("--var: goes with --prompt")
        return settings, []
    from pipeline.prompts import PromptRefused, Prompts, variables

    folder = Path(settings.prompts.dir)
    id, _, version = named.partition("@")
    prompts = Prompts.read(folder)
    try:
        prompt = prompts.find(id, version)
        found = prompt.settings(variables(given or ()))
    except PromptRefused as refused:
        known = (
            "" if refused.field != "id" else f"; {folder} has {', '.join(prompts.all) or 'none'}"
        )
        raise BadInput(f"--prompt {named}: {refused}{known}") from None
    won = {name: value for name, value in flags.items() if value is not None}
    of_prompt = dict.fromkeys(found.keys() - won.keys(), f"--prompt {named}")
    return load(config, {**found, **won}, of_prompt), prompt.functions


def _varied(config: Path | None, flags: Mapping[str, Any]) -> Load:
    """Gives the settings that the user wants, with some of them set otherwise."""
    return lambda changes, options=None: load(config, {**flags, **changes}, options)


def _pace(name: str | None) -> dict[str, int]:
    """The settings that a pace stands for."""
    if name is None:
        return {}
    if name not in PACES:
        raise BadInput(f"--turns is {name!r}; allowed: {' | '.join(PACES)}")
    return {f"turns.{key}": value for key, value in PACES[name].items()}
