"""The commands that measure: `cascade profile`, `cascade compare`, `cascade simulate`. No logic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

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
from pipeline.config import Settings
from pipeline.console import stdout
from pipeline.errors import BadInput


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
    reply_seconds: Annotated[
        float, typer.Option(min=0.1, help="Listen to so much of each reply")
    ] = 4.0,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for a reply after a recording")
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
            help="Predict from the results in CORPUS: llm.first_token=200ms,stt=0.5x",
        ),
    ] = None,
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
    """Measure where the time between your last word and the reply goes."""
    sources = tuple(corpus or ())
    if compare is not None:
        from pipeline.profile import regression

        return regression.compare(*compare, stdout(), json)
    if what_if:
        from pipeline.profile import what_if as prediction

        if len(sources) != 1:
            raise BadInput("--what-if: name one folder that `cascade profile` made")
        return prediction.predict(sources[0], what_if, stdout(), as_json=json)
    flags = engines(stt, voice, llm, vad, language, instructions)
    from pipeline.profile import run
    from pipeline.profile.instrument import Bounds

    options = run.ProfileOptions(
        sources=sources,
        say=say,
        keep=keep,
        modes=mode,
        vary=tuple(vary or ()),
        repeat=repeat,
        seed=seed,
        out=out,
        bounds=Bounds(reply_s=reply_seconds, timeout_s=timeout),
        json=json,
        executor=executor,
        ray_address=ray_address,
    )
    if keep is not None:
        return run.keep_spoken(settings_of(config, flags), options)
    return run_to_end(run.prepare(lambda more: settings_of(config, {**flags, **more}), options))


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
            "simulated:NAME; options follow commas (repeatable)",
        ),
    ] = None,
    say: Annotated[
        Path | None,
        typer.Option(metavar="FILE.txt", help="Also say these lines, spoken by a Piper voice"),
    ] = None,
    speaker: Annotated[
        str, typer.Option(metavar="VOICE", help="Piper voice of the user; default: --voice")
    ] = "",
    repeat: Annotated[int, typer.Option(min=1, help="How often each scenario is held")] = 3,
    seed: Annotated[int, typer.Option(help="Of the order in which paths are tried")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Results; default runs/compare-TIME")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with a run that was interrupted")
    ] = None,
    judge: Annotated[
        str, typer.Option(metavar="MODEL", help="Judges answers; named as for --llm")
    ] = "",
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="What things cost; default: ours")
    ] = None,
    reply_seconds: Annotated[
        float, typer.Option(min=0.1, help="Listen to so much of each last reply")
    ] = 4.0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for a reply")] = 60.0,
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
    vad: Judge = None,
    language: Language = None,
    instructions: Instructions = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Say the same words to the cascade and to speech-to-speech models, and compare."""
    flags = engines(stt, voice, llm, vad, language, instructions)
    paths = tuple(path or ["cascade"])

    def load(more: Mapping[str, Any]) -> Settings:
        return settings_of(config, {**flags, **more})

    if live:
        from pipeline.compare.live import LiveOptions
        from pipeline.compare.live import prepare as prepare_live

        inputs = tuple(input or ["mic"])
        return run_to_end(
            prepare_live(load, LiveOptions(paths, inputs, output, record, trace, json))
        )
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
        prices=prices,
        speaker=speaker,
        listen_s=reply_seconds,
        patience_s=timeout,
        json=json,
    )
    return run_to_end(run.prepare(load, options))


def simulate(
    protocol: Annotated[str, typer.Argument(metavar="realtime|gemini", help="What it speaks")],
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
    settings = settings_of(config, engines(None, voice, None))
    from pipeline.simulated import command

    return run_to_end(
        command.simulate(
            settings, command.Options(protocol, script, preset, host, port, json, child)
        )
    )
