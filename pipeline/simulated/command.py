"""What `cascade simulate` runs: a server that replays a script, until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.simulated.presets import NAMES, preset
from pipeline.simulated.realtime_server import RealtimeServer
from pipeline.simulated.script import Script, describe, load
from pipeline.simulated.voice import Sounds, speak

PROTOCOLS = ("realtime", "gemini")


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line.

    Attributes:
        protocol: `realtime` or `gemini`.
        script: A script in YAML.
        preset: The name of one that comes with Cascade; with `script`, only its latency is taken.
        host: Where to listen.
        port: 0 takes one that is free.
        json: Say everything about it, not only where it is.
        child: End when stdin does: whoever started it is gone.
    """

    protocol: str
    script: Path | None = None
    preset: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    json: bool = False
    child: bool = False


class _Listening(Protocol):
    @property
    def url(self) -> str: ...


async def simulate(settings: Settings, options: Options) -> int:
    """Serve until cancelled, and return 0 then; prints one line of JSON on stdout once it listens.

    Raises:
        BadInput: There is no such protocol or preset, the script is none, or the port is taken.
        StageError: The voice of the replies failed.
    """
    if options.protocol not in PROTOCOLS:
        known = " or ".join(PROTOCOLS)
        raise BadInput(f"simulate {options.protocol}: a protocol is {known}")
    script = _script(options)
    sounds = await asyncio.to_thread(speak, script, settings)
    async with _server(options, script, sounds) as server:
        said: dict[str, Any] = {"url": server.url}
        if certificate := getattr(server, "certificate", None):
            said["certificate"] = str(certificate)
        if options.json:
            said |= {"protocol": options.protocol, **_facts(script)}
        print(json.dumps(said), flush=True)
        # To be told to stop is how a server ends; nothing was interrupted.
        with suppress(asyncio.CancelledError):
            await (_orphaned() if options.child else asyncio.Event().wait())
    return 0


async def _orphaned() -> None:
    """Return when stdin ends; in a thread of its own, for on Windows it cannot be waited for."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch() -> None:
        sys.stdin.buffer.read()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(gone.set)

    threading.Thread(target=watch, name="stdin", daemon=True).start()
    await gone.wait()


def _script(options: Options) -> Script:
    if options.script is None and options.preset is None:
        raise BadInput(f"simulate: give --script FILE.yaml or --preset {'|'.join(NAMES)}")
    published = None if options.preset is None else preset(options.preset)
    if options.script is None:
        assert published is not None
        return published
    script = load(options.script)
    if published is None:
        return script
    return replace(script, name=published.name, source=published.source, latency=published.latency)


def _server(
    options: Options, script: Script, sounds: Sounds
) -> AbstractAsyncContextManager[_Listening]:
    if options.protocol == "realtime":
        return RealtimeServer(script, sounds, options.host, options.port)
    from pipeline.simulated.gemini_server import GeminiServer

    return GeminiServer(script, sounds, options.host, options.port)


def _facts(script: Script) -> Mapping[str, Any]:
    return {"script": describe(script), "conversations": list(script.conversations)}
