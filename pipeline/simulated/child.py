"""A simulated server in a process of its own: its work does not slow down what measures it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from pipeline.errors import StageError
from pipeline.simulated.script import Script, dump
from pipeline.speech_to_speech.brief import Target

START_S = 60.0
"""How long it may take until it listens: it speaks its replies first."""

STOP_S = 3.0
"""How long it may take to stop before it is made to."""


@contextlib.asynccontextmanager
async def serving(script: Script, options: Mapping[str, str]) -> AsyncGenerator[Target]:
    """Run a server for the script; gives where it is, as a path that can be connected to.

    Args:
        script: What it replays.
        options: `protocol` is `realtime` (the default) or `gemini`; all others are the session's.

    Raises:
        StageError: It does not start.
    """
    protocol = options.get("protocol", "realtime")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.yaml"
        await asyncio.to_thread(file.write_text, dump(script), "utf-8")
        # A file, for nobody reads what it says while it works.
        said = Path(folder) / "said.txt"
        with said.open("wb") as errors:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pipeline", "simulate", protocol, "--script", str(file)),
                "--child",
                # It ends when this pipe does, and so never outlives this process.
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        try:
            yield _target(protocol, script, options, await _address(child, said))
        finally:
            await _stop(child)


async def _address(child: asyncio.subprocess.Process, said: Path) -> Mapping[str, str]:
    """What the server says once it listens; `said` is what it complains of."""
    assert child.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            line = await child.stdout.readline()
        found = json.loads(line)
    except (TimeoutError, ValueError):
        lines = said.read_text("utf-8", errors="replace").split("\n")
        why = next((line for line in lines if line), f"it said nothing within {START_S:g} s")
        raise StageError("direct", f"the simulated server did not start: {why}") from None
    return {str(key): str(value) for key, value in found.items() if value}


def _target(
    protocol: str, script: Script, options: Mapping[str, str], address: Mapping[str, str]
) -> Target:
    rest = {key: value for key, value in options.items() if key != "protocol"}
    target = Target(script.name, "realtime", script.name, address["url"], rest)
    if protocol == "gemini":
        more = {**rest, "certificate": address["certificate"]}
        return dataclasses.replace(target, kind="gemini", options=more)
    return target


async def _stop(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
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
