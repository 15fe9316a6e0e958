"""`cascade doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from rich.console import Console
from rich.status import Status
from rich.text import Text

from pipeline.audio import devices
from pipeline.audio.playout import Playout
from pipeline.audio.portaudio import find_device, list_devices
from pipeline.config import LlmSettings, Settings, SttSettings, TtsSettings
from pipeline.engines.beside import look
from pipeline.engines.local import find_language_model, start_language_model
from pipeline.engines.remote import RemoteRecogniser, RemoteVoice
from pipeline.engines.servers import ChatServer, audio_server
from pipeline.errors import BadInput, CascadeError
from pipeline.models.catalogue import Catalogue, Kind
from pipeline.terminal import stderr
from pipeline.trace import versions

METER_S = 2.0
"""How long the microphone is listened to."""

METER_RANGE_DB = 60
METER_WIDTH = 30
"""What the meter shows, and how wide it is (characters)."""

TONE_S = 0.5
"""Length of the tone that tests a loudspeaker."""

SILENT_DBFS = -80.0
"""A microphone never louder than this gives digital silence: muted, or not connected."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: One of `PARTS`.
        name: What was looked at.
        state: It works; it works but look; it does not.
        detail: What was found, and what to do.
    """

    part: str
    name: str
    state: Literal["ok", "warning", "problem"]
    detail: str


async def examine(settings: Settings, parts: Sequence[str], as_json: bool) -> int:
    """Look at the parts and print what was found; 1 if something does not work.

    Raises:
        BadInput: A part that does not exist.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise BadInput(f"--check {unknown[0]}: allowed: {' | '.join(PARTS)}")
    console = stderr()
    broken = False
    for part in parts:
        async for finding in PARTS[part](settings, console):
            broken = broken or finding.state == "problem"
            if as_json:
                print(json.dumps(asdict(finding)), flush=True)
            else:
                _print(console, finding)
    return 1 if broken else 0


def _print(console: Console, finding: Finding) -> None:
    colour = {"ok": "green", "warning": "yellow", "problem": "bold red"}[finding.state]
    text = f"  {finding.name}: {finding.detail}"
    console.print(Text.assemble((f"{finding.state:>8}", colour), text), soft_wrap=True)


async def _devices(settings: Settings, console: Console) -> AsyncIterator[Finding]:
    try:
        for device in await asyncio.to_thread(list_devices):
            yield Finding("devices", "found", "ok", str(device))
    except CascadeError as error:
        yield Finding("devices", "PortAudio", "problem", str(error))
        return
    for name, ask in (("microphone", _microphone), ("speaker", _speaker)):
        try:
            yield await ask(settings, console)
        except CascadeError as error:
            yield Finding("devices", name, "problem", str(error))


async def _microphone(settings: Settings, console: Console) -> Finding:
    """Listen for a moment, with a meter on the screen."""
    wanted = settings.audio.input_device
    device = await asyncio.to_thread(find_device, "input", wanted)
    loudest = devices.FLOOR_DBFS
    with Status(f"listening to {device.name}: say something", console=console) as status:
        async for peak_dbfs in devices.meter(device, METER_S, settings.audio.latency_ms):
            loudest = max(loudest, peak_dbfs)
            bar = "█" * max(0, int(METER_WIDTH * (1 + peak_dbfs / METER_RANGE_DB)))
            status.update(f"{device.name} {bar:<{METER_WIDTH}} {peak_dbfs:4.0f} dBFS")
    if loudest <= SILENT_DBFS:
        hint = "digital silence; is it muted, or is another one meant (audio.input_device)?"
        return Finding("devices", "microphone", "warning", f"{device.name}: {hint}")
    heard = f"{device.name}: loudest {loudest:.0f} dBFS in {METER_S:g} s"
    return Finding("devices", "microphone", "ok", heard)


async def _speaker(settings: Settings, console: Console) -> Finding:
    """Play a soft tone."""
    wanted = settings.audio.output_device
    device = await asyncio.to_thread(find_device, "output", wanted)
    playout = Playout(device.rate)
    time_s = np.arange(int(TONE_S * device.rate)) / device.rate
    # A raised cosine, so that it neither clicks nor startles.
    envelope = 0.5 - 0.5 * np.cos(2 * np.pi * time_s / TONE_S)
    tone = 0.1 * envelope * np.sin(2 * np.pi * 440 * time_s)
    async with devices.Speaker(playout, device, settings.audio.latency_ms) as speaker:
        playout.write("tone", (tone * 32767).astype(np.int16), device.rate)
        playout.finish("tone")
        await asyncio.sleep(TONE_S + settings.audio.latency_ms / 1000)
        played = playout.played("tone")
        whole = played is not None and played.done
    detail = f"{device.name}: a soft tone was played, {speaker.underflows} gaps"
    if not whole:
        return Finding("devices", "speaker", "problem", f"{device.name} takes no sound")
    return Finding("devices", "speaker", "ok", detail)


async def _models(settings: Settings, console: Console) -> AsyncIterator[Finding]:
    catalogue = Catalogue.load(settings.models.dir)
    wanted: list[tuple[Kind, str]] = []
    if settings.stt.url:
        yield await _server(settings.stt, lambda there: RemoteRecogniser(there, settings.stt))
    else:
        wanted.append(("stt", settings.stt.model))
    if settings.tts.url:
        yield await _server(settings.tts, lambda there: RemoteVoice(there, settings))
    else:
        wanted.append(("tts", settings.tts.voice))
    if settings.llm.runs_here:
        wanted.append(("llm", settings.llm.model))
    if settings.turns.predict:
        wanted.append(("endpoint", catalogue.default("endpoint").name))
    for kind, name in wanted:
        if (model := catalogue.missing(kind, name)) is not None:
            hint = f"not here yet: `cascade models pull {model.name}` or the first talk fetches it"
            yield Finding("models", f"{kind} {model.name}", "warning", hint)
            continue
        try:
            found = catalogue.resolve(kind, name)
        except CascadeError as error:
            yield Finding("models", f"{kind} {name}", "problem", str(error))
            continue
        problems = catalogue.verify(found.model) if found.model is not None else []
        state: Literal["ok", "problem"] = "problem" if problems else "ok"
        yield Finding(
            "models", f"{kind} {found.name}", state, "; ".join(problems) or str(found.path)
        )


async def _server(
    stage: SttSettings | TtsSettings,
    remote: Callable[[ChatServer], RemoteRecogniser | RemoteVoice],
) -> Finding:
    """Ask the server of a stage for a little."""
    name = "stt.url" if isinstance(stage, SttSettings) else "tts.url"
    try:
        where = audio_server(stage)
        async with contextlib.aclosing(remote(where)) as there:
            await there.warm()
    except CascadeError as error:
        return Finding("models", name, "problem", str(error))
    return Finding("models", name, "ok", f"{where.label} answers")


async def _llm(settings: Settings, console: Console) -> AsyncIterator[Finding]:
    began = time.monotonic()
    try:
        async with contextlib.AsyncExitStack() as stack:
            where = find_language_model(settings, Catalogue.load(settings.models.dir))
            model = await start_language_model(where, settings, stack)
            took = time.monotonic() - began
            yield Finding("llm", settings.llm.model, "ok", f"{model.model} answers ({took:.1f} s)")
    except CascadeError as error:
        yield Finding("llm", settings.llm.model, "problem", str(error))
    if settings.llm.model == LlmSettings().model:
        for beside in await look():
            yield Finding("llm", beside.server, "ok", str(beside))


async def _versions(settings: Settings, console: Console) -> AsyncIterator[Finding]:
    for name, version in versions().items():
        yield Finding("versions", name, "ok", version)


PARTS: dict[str, Callable[[Settings, Console], AsyncIterator[Finding]]] = {
    "devices": _devices,
    "models": _models,
    "llm": _llm,
    "versions": _versions,
}
"""What can be examined, and what examines it."""
