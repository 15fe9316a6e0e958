"""How many are answered in time at once, and what that costs: `scripts/bench serve FOLDER`.

Clients of a running `cascade serve` hold conversations with recordings of people in real time, over
its WebSocket and with the default models: 1, 2, 3, 4 at a time. What they hear is measured at the
client: from the end of the speech, which is known from its file, to the first audible sample of the
answer. `cascade talk` answers the same recordings in the same run.

Then the protocol alone, with engines that follow a script: what 1 to 200 sessions take.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gc
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from figures import Aims, run_bench, show, show_machine
from orders import QUIET_DBFS, Recording, recordings
from sounds import RATE, quiet
from studio import JsonLines, cpu_s, models
from support.cli_child import Child, environment, memory
from support.scripted import LOUD, WINDOW, Detector, Engines, Model, Speaker
from support.serve_child import cascade_serve
from support.served import served
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.audio.audible import onset
from pipeline.audio.files import WavWriter
from pipeline.audio.resample import resampled
from pipeline.clock import Clock
from pipeline.config import Settings
from pipeline.engines.llm import Messages, Piece
from pipeline.engines.vad import Voice
from pipeline.engines.whisper import Audio, Transcription
from pipeline.events import Samples
from pipeline.serve.link import Link, Opening
from pipeline.serve.realtime import LATENCY, RealtimeConversation
from pipeline.trace import Timeline

WIRE = 24_000
"""Of the sound on the wire (Hz)."""

STEP_S = 0.02
"""A client's microphone gives so much at a time (s)."""

AFTER_S, LEAD_S = 0.2, 0.3
"""What is kept of a recording after its speech, and what is silent before (s)."""

REST_S = 0.5
"""So long after a reply the next recording begins (s)."""

PATIENCE_S = 15.0
"""A reply that has not begun so long after the speech is none (s)."""

APART_S = 2.3
"""Clients begin so long after each other (s), so that their turns do not always meet."""

CHUNK_S = 0.04
"""A client of the protocol alone sends so much at a time (s)."""

REPLY = "It is nine. The train leaves at ten, from platform four, and it takes three hours. "


@dataclass(frozen=True, slots=True)
class Answer:
    """How a recording was answered.

    Attributes:
        total_ms: Voice-to-voice at the client; None: it got no answer, or was cut into.
        told_ms: What the server says of it.
    """

    total_ms: float | None
    told_ms: float | None


@dataclass(slots=True)
class Level:
    """Some sessions at a time.

    Attributes:
        answers: All of them.
        refused: How many sessions were not let in.
        cpu: Cores that the server took.
        memory_mb: What it took beyond what it took before (MB).
    """

    answers: list[Answer] = field(default_factory=list)
    refused: int = 0
    cpu: float = 0.0
    memory_mb: float = 0.0


# --- conversations ---


class Caller:
    """A client with a microphone, which hears what recordings say, and a loudspeaker."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ahead: Samples = np.zeros(0, np.int16)
        self._sent_s = time.monotonic()
        self._quiet = resampled(quiet(2.0, QUIET_DBFS, np.random.default_rng(1)), RATE, WIRE)
        # Of the newest reply: when its sound began to arrive, and that sound.
        self._begun_s: float | None = None
        self._sound: list[Samples] = []
        self._open = 0
        self._told: list[float] = []
        self._news = asyncio.Event()

    async def hold(self, asked: Sequence[Recording]) -> list[Answer]:
        """Ask everything, each after the answer to the one before."""
        detection = {"type": "semantic_vad"}
        session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        await self._socket.send(json.dumps({"type": "session.update", "session": session}))
        helpers = [asyncio.create_task(self._speak()), asyncio.create_task(self._listen())]
        try:
            return [await self._ask(one) for one in asked]
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _ask(self, one: Recording) -> Answer:
        sound = said(one)
        self._begun_s, self._sound, self._told = None, [], []
        begins_s, self._ahead = self._sent_s, resampled(sound, RATE, WIRE)
        ends_s = begins_s + (len(sound) / RATE - AFTER_S)
        await self._until(lambda: self._heard_s is not None, ends_s + PATIENCE_S)
        await self._until(lambda: not self._open and time.monotonic() > self._over_s, ends_s + 60)
        await asyncio.sleep(REST_S)
        heard_s = self._heard_s
        total = None if heard_s is None or heard_s < ends_s else 1000 * (heard_s - ends_s)
        return Answer(total, self._told[-1] if self._told else None)

    @property
    def _heard_s(self) -> float | None:
        """When the first audible sample of the newest reply was heard (s)."""
        first = onset(np.concatenate(self._sound), WIRE) if self._sound else None
        return None if first is None or self._begun_s is None else self._begun_s + first / WIRE

    @property
    def _over_s(self) -> float:
        """When all of it is heard that has arrived (s)."""
        return (self._begun_s or 0.0) + sum(map(len, self._sound)) / WIRE

    async def _until(self, is_so: Any, until_s: float) -> None:
        while not is_so() and (left_s := until_s - time.monotonic()) > 0:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), min(0.1, left_s))

    async def _speak(self) -> None:
        """The microphone, in real time: what is sent at a time was spoken until then."""
        size = round(STEP_S * WIRE)
        begun = time.monotonic()
        for number in itertools.count(1):
            self._sent_s = begun + number * STEP_S
            await asyncio.sleep(self._sent_s - time.monotonic())
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
            rest = self._quiet[number * size % (len(self._quiet) - size) :][: size - len(piece)]
            audio = base64.b64encode(np.concatenate([piece, rest]).tobytes()).decode()
            event = {"type": "input_audio_buffer.append", "audio": audio}
            await self._socket.send(json.dumps(event))

    async def _listen(self) -> None:
        async for message in self._socket:
            event = json.loads(message)
            match event["type"]:
                case "response.created":
                    self._open += 1
                    self._begun_s, self._sound = None, []
                case "response.output_audio.delta":
                    now_s = time.monotonic()
                    self._begun_s = now_s if self._begun_s is None else self._begun_s
                    self._sound.append(np.frombuffer(base64.b64decode(event["delta"]), "<i2"))
                case "response.done":
                    self._open -= 1
                    told = (event["response"]["metadata"] or {}).get(LATENCY)
                    if told is not None:
                        self._told.append(json.loads(told)["total"])
            self._news.set()


def said(one: Recording) -> Samples:
    """What is said in a recording, with little around it."""
    return one.samples[int((0.5 - LEAD_S) * RATE) : one.end + int(AFTER_S * RATE)]


async def level(sessions: int, asked: Sequence[Recording], turns: int) -> Level:
    """So many sessions at a time, of a server of their own, each with other recordings."""
    found = Level()
    with cascade_serve(env=models()) as there:
        pid, url = there.child.pid, there.realtime
        before, begun = memory(pid), time.monotonic()
        cpu_before, _ = cpu_s(pid)
        peak = 0

        async def one(number: int) -> None:
            nonlocal peak
            await asyncio.sleep(number * APART_S)
            mine = [asked[(number * turns + n) % len(asked)] for n in range(turns)]
            try:
                async with connect(url, max_size=None, compression=None) as socket:
                    found.answers += await Caller(socket).hold(mine)
                    peak = max(peak, memory(pid))
            except InvalidStatus as error:
                assert error.response.status_code == 503, error
                assert int(error.response.headers["Retry-After"]) > 0
                found.refused += 1

        await asyncio.gather(*map(one, range(sessions)))
        found.cpu = (cpu_s(pid)[0] - cpu_before) / (time.monotonic() - begun)
        found.memory_mb = (peak - before) / 1e6
    return found


def talk(asked: Sequence[Recording]) -> tuple[list[float], float]:
    """The same with `cascade talk`: voice-to-voice (ms), and cores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options: list[str | Path] = []
        for number, one in enumerate(asked):
            path = folder / f"{number}.wav"
            with WavWriter(path, RATE) as wav:
                wav.write(said(one))
            options += ["--input", path]
        trace = folder / "trace"
        options += ["--output", folder / "out.wav", "--trace", trace]
        child = Child("talk", *options, env=models())
        child.wait_for("listening")
        before, begun = cpu_s(child.pid)[0], time.monotonic()
        taken = before
        while not child.over:
            with contextlib.suppress(OSError, IndexError):
                taken = cpu_s(child.pid)[0]
            lasted = time.monotonic() - begun
            time.sleep(0.2)
        child.finish()
        turns: dict[int, dict[str, int]] = {}
        for line in JsonLines(trace).read()[1:]:
            turns.setdefault(line["turn"], {})[line["mark"]] = line["t_ns"]
    timelines = [Timeline.from_marks(marks) for marks in turns.values()]
    return [each.total_ns / 1e6 for each in timelines if each], (taken - before) / lasted


def conversations(
    asked: Sequence[Recording], counts: Sequence[int], turns: int, aims: Aims
) -> None:
    """So many at a time, and `cascade talk` for comparison."""
    print(f"conversations in real time, {turns} turns each, default models")
    alone_ms, alone_cores = talk(asked[:turns])
    show("cascade talk, voice-to-voice", alone_ms, "ms", every=True)
    print(f"    {alone_cores:.2f} cores")
    in_time = 0
    first_mb = 0.0
    for count in counts:
        found = asyncio.run(level(count, asked, turns))
        let_in = count - found.refused
        totals = [answer.total_ms for answer in found.answers]
        show(f"{count} sessions, voice-to-voice", totals, "ms", every=True)
        lost = sum(total is None for total in totals)
        print(f"    refused {found.refused} sessions, without an answer {lost} of {len(totals)}")
        print(f"    {found.cpu:.2f} cores, {found.cpu / max(1, let_in):.2f} a session; ", end="")
        print(f"{found.memory_mb:.0f} MB more, {found.memory_mb / max(1, let_in):.0f} a session")
        known = sorted(total for total in totals if total is not None)
        if known and percentile(known, 95) < 1000 and not lost:
            in_time = max(in_time, let_in)
        if count == counts[0]:
            first_mb = found.memory_mb
            beyond = [
                answer.total_ms - answer.told_ms
                for answer in found.answers
                if answer.total_ms is not None and answer.told_ms is not None
            ]
            show("  at the client, beyond what the server says", beyond, "ms")
            overhead = statistics.median(known) - statistics.median(alone_ms) if known else None
            aims.most("voice-to-voice beyond cascade talk's, median", overhead, 15, "ms")
            more = 100 * (found.cpu / alone_cores - 1) if alone_cores else None
            aims.most("CPU beyond cascade talk's", more, 10, "%")
        elif let_in > counts[0]:
            more = (found.memory_mb - first_mb) / (let_in - counts[0])
            aims.most(f"{count} sessions, memory of each further one", more, 40, "MB")
    print(f"  at p95 voice-to-voice under 1 s: {in_time} sessions")
    aims.most("sessions that are late of three", max(0, 3 - in_time), 0)


def percentile(known: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed, of values in order of size."""
    return known[min(len(known) - 1, int(len(known) * percent / 100))]


# --- the protocol alone ---


class Tireless(Model):
    """Writes the same reply whenever it is asked."""

    async def stream(self, messages: Messages) -> AsyncGenerator[Piece, None]:
        """As `Model`; nothing of it is kept."""
        self.scripts = [REPLY]
        async for piece in super().stream(messages):
            yield piece
        self.prompts.clear()


class Cheap(Engines):
    """Engines that take next to nothing: voice is what is loud, and says what it is told to."""

    def new_detector(self) -> Detector:
        """As `Engines`; of a window it looks at one sample."""
        return Glance()

    async def transcribe(self, audio: Audio, *_: Any, **__: Any) -> Transcription:
        """The same words, whatever is said."""
        await asyncio.sleep(self.recognise_s)
        return Transcription(self.texts[0], "en", -0.1, 0.0, 1.0, sure=True)


class Glance(Detector):
    """A detector for sound that is as loud from beginning to end."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = 0

    def push(self, samples: Samples) -> list[Voice]:
        """As `Detector`."""
        self._heard += len(samples)
        voiced = bool(len(samples)) and samples[0] >= LOUD - 1
        verdicts = []
        while self._at + WINDOW <= self._heard:
            verdicts.append(Voice(float(voiced), self._at, self._at + WINDOW, -30.0))
            self._at += WINDOW
        return verdicts


class Counted:
    """A link that counts what arrives, of all clients."""

    messages_read = 0

    def __init__(self, link: Link) -> None:
        self.send = link.send
        self.close = link.close
        self._link = link

    async def messages(self) -> AsyncIterator[tuple[int, str | bytes]]:
        """What arrives."""
        async for message in self._link.messages():
            yield message
            Counted.messages_read += 1


async def serve_scripted() -> None:
    """Serve engines that follow a script, until stdin ends; a line there asks for the count."""
    voice = Speaker(rate=22_050, samples_per_char=22_050 // 15, pieces=8)
    engines = Cheap(("What time is it?",), Tireless([]), voice)
    gc.collect()
    gc.freeze()  # as engines that are loaded do

    async def talk(link: Link, opening: Opening) -> None:
        held = RealtimeConversation(engines, Settings(), Clock(), Counted(link), opening)
        await held.run()

    async with served(talk) as here:
        print(here.url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(Counted.messages_read, flush=True)


def chunk(level: int) -> str:
    """A message of sound of one level."""
    sound = np.full(round(CHUNK_S * WIRE), level, "<i2").tobytes()
    audio = base64.b64encode(sound).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


async def guest(url: str, number: int, late: list[float]) -> None:
    """A client that asks for two seconds of each fourteen, and takes what it gets."""
    silence, speech = chunk(0), chunk(LOUD)

    async def listen(socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for _ in socket:
                pass

    async with connect(url, max_size=None, compression=None) as socket:
        listening = asyncio.create_task(listen(socket))
        begun = time.monotonic()
        for step in itertools.count(1):
            due = begun + step * CHUNK_S
            await asyncio.sleep(due - time.monotonic())
            late.append(time.monotonic() - due)
            phase = (step * CHUNK_S + number * 0.7) % 14
            await socket.send(speech if phase < 2 else silence)
    listening.cancel()


async def progress(child: subprocess.Popen[bytes]) -> tuple[int, float]:
    """How many messages a server has read by now, and the CPU time that it took (s)."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"\n")
    child.stdin.flush()
    return int(await asyncio.to_thread(child.stdout.readline)), cpu_s(child.pid)[0]


async def protocol_alone(counts: Sequence[int], seconds: float, aims: Aims) -> None:
    """What sessions take whose engines take nothing."""
    print(f"the protocol alone, scripted engines, {1000 * CHUNK_S:.0f} ms of sound a message")
    for count in counts:
        with subprocess.Popen(
            [sys.executable, __file__, "--scripted"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment({}) | {"PYTHONPATH": ":".join(sys.path)},
        ) as child:
            assert child.stdout is not None
            url = child.stdout.readline().decode().strip()
            before_mb = memory(child.pid) / 1e6
            late: list[float] = []
            guests = [asyncio.create_task(guest(url, n, late)) for n in range(count)]
            await asyncio.sleep(3 + count / 100)
            # A second of what it has read: on a busy machine that is less than was said.
            read, cpu = await progress(child)
            late.clear()
            await asyncio.sleep(seconds)
            read_after, cpu_after = await progress(child)
            each = (cpu_after - cpu) / max(1, read_after - read) / CHUNK_S
            each_mb = (memory(child.pid) / 1e6 - before_mb) / count
            lost = sum(one.done() for one in guests)
            for one in guests:
                one.cancel()
            await asyncio.gather(*guests, return_exceptions=True)
            child.communicate()
        print(f"  {count:>4} sessions  {count * each:5.2f} cores, ", end="")
        print(f"{1000 * each:.1f} ms of CPU a second of a session, {each_mb:.1f} MB each; ", end="")
        print(f"clients late by {1000 * percentile(sorted(late), 95):.0f} ms (p95), {lost} lost")
    aims.most(f"{counts[-1]} sessions of protocol alone", counts[-1] * each, 1.0, "cores")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench serve", description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="recordings of people, one request each"
    )
    parser.add_argument("--turns", type=int, default=3, help="of each session (default 3)")
    parser.add_argument("--sessions", default="1,2,3,4", help="at a time (default 1,2,3,4)")
    parser.add_argument("--quick", action="store_true", help="less of everything: a minute")
    parser.add_argument("--scripted", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.scripted:
        asyncio.run(serve_scripted())
        return
    show_machine()
    aims = Aims()
    quick = given.quick
    if given.folder is not None:
        counts = [int(count) for count in given.sessions.split(",")]
        asked = recordings(given.folder)
        conversations(asked, [1, 3] if quick else counts, 1 if quick else given.turns, aims)
    few = [1, 50] if quick else [1, 50, 100, 200]
    asyncio.run(protocol_alone(few, 3.0 if quick else 8.0, aims))
    aims.show()


run_bench(main)
