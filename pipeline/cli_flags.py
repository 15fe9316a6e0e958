"""What the commands share: their common flags, the settings that these stand for, how they run."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config import Settings

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings; default ./cascade.toml")
]
Stt = Annotated[str | None, typer.Option("--stt", metavar="NAME|DIR", help="Speech recogniser")]
Voice = Annotated[str | None, typer.Option("--voice", metavar="NAME|FILE", help="Piper voice")]
Llm = Annotated[
    str | None,
    typer.Option(
        "--llm", metavar="MODEL", help="embedded, a .gguf, a URL, ollama:NAME or openai:NAME"
    ),
]
Judge = Annotated[str | None, typer.Option("--vad", metavar="silero|webrtc", help="Voice detector")]
Language = Annotated[
    str | None, typer.Option("--language", metavar="CODE", help="Spoken language, such as en")
]
Instructions = Annotated[
    str | None, typer.Option("--instructions", metavar="TEXT", help="System prompt")
]
Debug = Annotated[bool, typer.Option("--debug", help="Log everything; show tracebacks")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable lines on stdout")]


def engines(
    stt: Stt,
    voice: Voice,
    llm: Llm,
    vad: Judge = None,
    language: Language = None,
    instructions: Instructions = None,
) -> dict[str, Any]:
    """The settings that the flags about engines stand for."""
    return {
        "stt.model": stt,
        "tts.voice": voice,
        "llm.model": llm,
        "vad.judge": vad,
        "stt.language": language,
        "llm.instructions": instructions,
    }


def settings_of(config: Path | None, flags: dict[str, Any]) -> Settings:
    """The settings of a run; a flag of None is one that was not given.

    Raises:
        BadInput: One is wrong, or the file is.
    """
    from pipeline.config_file import load

    return load(config, flags)


def run_to_end(work: Coroutine[Any, Any, int]) -> int:
    """Run to the end; SIGTERM stops as cleanly as Ctrl-C does."""

    async def interruptible() -> int:
        task = asyncio.current_task()
        if sys.platform != "win32" and task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    return asyncio.run(interruptible())
