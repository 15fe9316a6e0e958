"""The latency of one server by voicebench (PyPI) and by Cascade's instrument, side by side.

`cascade serve` is asked a corpus's questions twice: by voicebench, through the adapter below, and
by `cascade compare`. Each makes a recording of both sides, and each recording is measured by both.
The adapter is also what lets voicebench talk to any server of the Realtime protocol:

    PYTHONPATH=scripts/benches voicebench run SCENARIO.yaml -a beside:RealtimeAdapter \
        --url ws://127.0.0.1:8765/v1/realtime
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from support.cli_child import run
from support.serve_child import cascade_serve
from voicebench import audio as sound
from voicebench.adapters import AgentAudio, AgentClear, Transcript
from voicebench.adapters.websocket import WebSocketAdapter
from voicebench.bench import run_benchmark
from voicebench.scenario import parse_scenario
from voicebench.vad import detect_segments

from pipeline.audio.files import read_audio
from pipeline.compare.record import CONVERSATIONS
from pipeline.events import Samples
from pipeline.measure.corpus import Item, gather
from pipeline.measure.instrument import first_reply, stereo
from pipeline.turns.speech_end import end_of_speech

RATE = 24_000
INSTRUCTIONS = "Answer in one short sentence."
TRAIL_S = 0.1  # as `measure.instrument` has it


class RealtimeAdapter(WebSocketAdapter):
    """Talks to a server of OpenAI's Realtime protocol; the scenario's rate must be 24 kHz."""

    name: ClassVar[str] = "realtime"

    async def connect(self) -> None:
        """Connect, and say how the session is to be."""
        await super().connect()
        assert self._ws is not None
        pcm = {"format": {"type": "audio/pcm", "rate": RATE}}
        wanted = {
            "type": "realtime",
            "instructions": INSTRUCTIONS,
            "audio": {"input": pcm, "output": pcm},
        }
        await self._ws.send(json.dumps({"type": "session.update", "session": wanted}))

    def encode_audio(self, pcm: sound.FloatArray) -> Any:
        """A frame of the user's as the protocol has it."""
        told = base64.b64encode(sound.to_pcm16(pcm)).decode()
        return json.dumps({"type": "input_audio_buffer.append", "audio": told})

    def handle_text(self, message: str, now: float) -> None:
        """An event of the server's."""
        match json.loads(message):
            case {"type": "response.output_audio.delta", "delta": delta}:
                self.emit(AgentAudio(sound.from_pcm16(base64.b64decode(delta)), now))
            case {"type": "input_audio_buffer.speech_started"}:
                self.emit(AgentClear(now))
            case {
                "type": "conversation.item.input_audio_transcription.completed",
                "transcript": said,
            }:
                self.emit(Transcript("user", said, now))


def as_float(samples: Samples) -> sound.FloatArray:
    """Sound as voicebench has it."""
    return (samples / 32768).astype(np.float32)


def by_voicebench(user: Samples, reply: Samples, rate: int) -> tuple[float, float] | None:
    """Where speech ends and the reply begins in a turn (ms), as voicebench finds them."""
    spoken, answers = (detect_segments(as_float(side), rate) for side in (user, reply))
    begins = [one.start for one in answers if spoken and one.start > spoken[0].start]
    return (spoken[-1].end * 1000, begins[0] * 1000) if begins else None


def by_cascade(user: Samples, reply: Samples, rate: int) -> tuple[float, float] | None:
    """The same as Cascade finds it."""
    found = end_of_speech(user, rate)
    first = None if found is None else first_reply(reply, rate, found.end)
    return None if found is None or first is None else (found.end * 1e3 / rate, first * 1e3 / rate)


async def voicebenched(url: str, items: list[Item], folder: Path) -> Iterator[tuple[Any, ...]]:
    """The questions asked by voicebench: of each turn its own two figures, and the sound."""
    turns: list[dict[str, Any]] = []
    for number, item in enumerate(items):
        clip = np.concatenate([*read_audio(item.path, RATE)])
        sound.write_wav(folder / f"{number}.wav", as_float(clip), RATE)
        start = {"after": "agent_speech_end", "delay_ms": 800} if number else {}
        turns.append({"id": item.name, "audio": {"file": f"{number}.wav"}, "start": start})
    scenario = parse_scenario(
        {"name": "beside", "sample_rate": RATE, "max_duration_ms": 1e6, "turns": turns}, folder
    )
    options = {"url": url}
    made = await run_benchmark(scenario, "beside:RealtimeAdapter", options)
    [record], [session] = made.records, made.sessions

    def pieces() -> Iterator[tuple[Any, ...]]:
        tracks = [
            np.frombuffer(sound.to_pcm16(track), "<i2").astype(np.int16)
            for track in (record.user_track, record.agent_track)
        ]
        begins = [*(window.start for window in record.windows[1:]), record.duration]
        for window, found, end in zip(record.windows, session.turns, begins, strict=True):
            a, b = round(window.start * RATE), round(end * RATE)
            over = round((window.end + TRAIL_S) * RATE)
            yield found.response_latency_ms, found.ttfa_ms, tracks[0][a:over], tracks[1][a:b]

    return pieces()


def compared(url: str, sources: list[str], folder: Path) -> Iterator[tuple[Any, ...]]:
    """The questions asked by `cascade compare`: of each its latency, first sound, and the sound."""
    flags = ("--repeat", "1", "--out", folder)
    told = {"CASCADE_LLM__INSTRUCTIONS": INSTRUCTIONS}
    outcome = run("compare", *sources, "--path", f"server={url}", *flags, env=told)
    if outcome.code:
        sys.exit(outcome.err)
    for one in CONVERSATIONS.read(folder / CONVERSATIONS.name)[1]:
        user, reply, rate = stereo(folder / one.wav)
        [turn] = one.turns
        ns, begin = turn.record.wav_voice_to_voice_ns, turn.start_ns * rate // 10**9
        latency = None if ns is None else ns / 1e6
        yield latency, turn.server_ms.get("first_audio"), user[begin:], reply[begin:], rate


def main() -> None:
    """Ask, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sources", nargs="*", default=["tests/data/corpus"])
    sources = [str(Path(one).resolve()) for one in parser.parse_args().sources]
    items = list(gather([Path(one) for one in sources]).items)
    print(f"voicebench {version('voicebench')}, {len(items)} questions; ms, medians (range), turns")
    with tempfile.TemporaryDirectory() as folder, cascade_serve() as server:
        own = asyncio.run(voicebenched(server.realtime, items, Path(folder)))
        show("recorded by voicebench", [(*one, RATE) for one in own])
        show("recorded by compare", [*compared(server.realtime, sources, Path(folder) / "out")])


def show(what: str, turns: list[tuple[Any, ...]]) -> None:
    """A line for each way of measuring."""
    print(f"{what}, {len(turns)} turns")
    columns: dict[str, list[float]] = {}
    for told, first, user, reply, rate in turns:
        found = {"as told": told, "first sound received": first}
        vad, ours = by_voicebench(user, reply, rate), by_cascade(user, reply, rate)
        if vad is not None and ours is not None:
            found |= {
                "voicebench's VAD": vad[1] - vad[0],
                "Cascade's instrument": ours[1] - ours[0],
                "VAD - instrument": vad[1] - vad[0] - ours[1] + ours[0],
                "  end of speech": vad[0] - ours[0],
                "  reply begins": vad[1] - ours[1],
            }
        for name, value in found.items():
            columns.setdefault(name, []).extend([] if value is None else [value])
    for name, values in columns.items():
        low, high = min(values, default=0), max(values, default=0)
        median = statistics.median(values) if values else float("nan")
        print(f"  {name:22} {median:6.0f} ({low:.0f} to {high:.0f}), {len(values)}")


if __name__ == "__main__":
    main()
