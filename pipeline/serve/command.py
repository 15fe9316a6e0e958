"""The simulated server as a command, `cascade simulate`, and in a child process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.config import Settings
from pipeline.engines.worker import apart
from pipeline.errors import BadInput, StageError
from pipeline.serve.script import PRESETS, Script, dump, load, preset
from pipeline.serve.simulated import SimulatedServer
from pipeline.serve.speech import speak
from pipeline.speech_to_speech.brief import SystemSpec

START_S = 60.0
"""How long a child may take until it listens: it speaks its replies first."""

STOP_S = 3.0
"""How long it may take to stop before it is made to."""


async def simulate(
    settings: Settings,
    protocol: str,
    script: Path | None = None,
    published: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    as_json: bool = False,
    child: bool = False,
) -> int:
    """Serve until cancelled, and return 0 then; prints one line of JSON on stdout once it listens.

    Args:
        settings: Say which voice speaks the replies.
        protocol: `realtime`.
        script: A script in YAML.
        published: The name of a preset; with `script`, only its latency is taken.
        host: Where to listen.
        port: 0 takes one that is free.
        as_json: Say everything about it, not only where it is.
        child: End when stdin does: whoever started it is gone.

    Raises:
        BadInput: There is no such protocol or preset, the script is none, or the port is taken.
        StageError: The voice of the replies failed.
    """
    check_protocol(protocol)
    played = _script(script, published)
    sounds = await apart(lambda: speak(played, settings))
    async with SimulatedServer(played, sounds, host, port) as server:
        said: dict[str, Any] = {"url": server.url}
        if as_json:
            about = {"script": played.describe(), "conversations": list(played.conversations)}
            said |= {"protocol": protocol, **about}
        print(json.dumps(said), flush=True)
        # To be told to stop is how a server ends; nothing was interrupted.
        with contextlib.suppress(asyncio.CancelledError):
            await (_orphaned() if child else asyncio.Event().wait())
    return 0


def check_protocol(protocol: str) -> None:
    """See that a simulated server can speak it.

    Raises:
        BadInput: It cannot.
    """
    if protocol == "gemini":
        raise BadInput(
            "gemini is no protocol of a simulated server any more: write realtime, which replays "
            "the same scripts and presets with the same latency"
        )
    if protocol != "realtime":
        raise BadInput(f"{protocol} is no protocol of a simulated server: write realtime")


@contextlib.asynccontextmanager
async def serving(script: Script, options: Mapping[str, str]) -> AsyncGenerator[SystemSpec]:
    """Run a server for the script in a process of its own; gives where it is, to connect to.

    Its work does not slow down what measures it.

    Args:
        script: What it replays.
        options: Of the session; `protocol` is left out.

    Raises:
        StageError: It does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.yaml"
        await asyncio.to_thread(file.write_text, dump(script), "utf-8")
        # A file, for nobody reads what it says while it works.
        said = Path(folder) / "said.txt"
        with said.open("wb") as errors:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pipeline", "simulate", "realtime", "--script", str(file)),
                "--child",
                # It ends when this pipe does, and so never outlives this process.
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        try:
            url = await _url(child, said)
            rest = {key: value for key, value in options.items() if key != "protocol"}
            yield SystemSpec(script.name, "realtime", script.name, url, rest)
        finally:
            await _stop(child)


async def _url(child: asyncio.subprocess.Process, said: Path) -> str:
    """What the server says once it listens; `said` is what it complains of."""
    assert child.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            return str(json.loads(await child.stdout.readline())["url"])
    except (TimeoutError, ValueError):
        lines = said.read_text("utf-8", errors="replace").split("\n")
        why = next((line for line in lines if line), f"it said nothing within {START_S:g} s")
        raise StageError("direct", f"the simulated server did not start: {why}") from None


async def _stop(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        # Windows knows no SIGINT for a child.
        child.terminate() if sys.platform == "win32" else child.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(STOP_S):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _orphaned() -> None:
    """Return when stdin ends; in a thread of its own, for on Windows it cannot be waited for."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        sys.stdin.buffer.read()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(gone.set)

    threading.Thread(target=watch, name="stdin", daemon=True).start()
    await gone.wait()


def _script(file: Path | None, published: str | None) -> Script:
    if file is None and published is None:
        raise BadInput(f"simulate: give --script FILE.yaml or --preset {'|'.join(PRESETS)}")
    base = None if published is None else preset(published)
    if file is None:
        assert base is not None
        return base
    script = load(file)
    if base is None:
        return script
    return replace(script, name=base.name, source=base.source, latency=base.latency)
