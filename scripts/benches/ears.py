"""What a session makes of a sound, in virtual time.

The real engines hear it, and say what they have heard so much later as they take on two cores that
nothing else uses: only waiting takes no time, so that what is measured does not depend on how busy
the machine is. The model that replies and the voice are scripted: nothing here depends on what they
say.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sounds import RATE
from support import virtual_time
from support.scripted import Engines, Model, Speaker

from pipeline.config import Settings
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.history import Message
from pipeline.engines.llama import LocalServer
from pipeline.engines.llm import Messages
from pipeline.engines.llm_judge import TextJudge
from pipeline.engines.smart_turn import SmartTurn
from pipeline.engines.vad import VoiceDetector
from pipeline.engines.whisper import NOTHING_KNOWN, Audio, Known, Transcription, Whisper
from pipeline.events import Frame, ReplyAudio, ReplyInterrupted, Samples, Transcript
from pipeline.measure.recording import MemoryTrace
from pipeline.models.catalogue import Catalogue

FRAME = RATE // 50

WORDS_S, JUDGED_S, MELODY_S = 0.12, 0.03, 0.05
"""What the recogniser (tiny.en), the judge of the words and Smart Turn take (s): medians of
`cascade talk` on two cores."""

T = TypeVar("T")


class Ears(Engines):
    """The real recogniser, judge, Smart Turn and voice detector, at the speed of an idle machine.

    The same sound is recognised once, whoever asks. As a context manager it has a judge.

    Attributes:
        settings: Of sessions.
        known: What was computed so far.
        took: CPU time of each recognition, and the window that it took (s).
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__([], Model([]), Speaker(rate=1000))
        self.settings = settings
        self.known: dict[Any, Any] = {}
        self.took: list[tuple[float, float]] = []
        catalogue = Catalogue.load()
        found = catalogue.resolve("stt", settings.stt.model)
        self._whisper = Whisper(found.path, settings.stt, short_windows=found.short_windows)
        model = catalogue.resolve("endpoint", catalogue.default("endpoint").name)
        self._smart_turn = SmartTurn(model.path)
        self._path = catalogue.resolve("llm", "embedded").path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._turn = asyncio.Lock()  # the recogniser hears one thing after the other

    def __enter__(self) -> Ears:
        """Start the language model, in a loop that runs in real time."""
        self._thread.start()
        self._server = LocalServer(self._path, self.settings.llm)
        self._really(self._server.__aenter__())
        # How busy the machine is must not matter.
        self._judge = TextJudge(self._server.address, timeout_s=60.0)
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop it."""
        self._really(self._judge.close())
        self._really(self._server.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def begin(self) -> None:
        """A new session begins, in an event loop of its own."""
        self._turn = asyncio.Lock()
        self.model = Model(["Yes."] * 1000)
        self.voice = Speaker(rate=1000)

    def new_detector(self) -> VoiceDetector:  # type: ignore[override]
        """The real one."""
        return VoiceDetector()

    async def transcribe(self, audio: Audio, known: Known = NOTHING_KNOWN) -> Transcription:
        """Recognise, in `WORDS_S`; who asks meanwhile waits."""
        async with self._turn:
            await asyncio.sleep(WORDS_S)
        return self.hear(audio, known)

    def hear(self, audio: Audio, known: Known = NOTHING_KNOWN) -> Transcription:
        """Recognise, as soon as the machine can."""

        def recognise() -> Transcription:
            began = time.process_time()
            found = self._whisper.transcribe(audio, known)
            self.took.append((time.process_time() - began, found.window_s))
            return found

        return self._once(("words", hash(audio.tobytes()), known), recognise)

    async def judge(self, messages: Messages) -> float | None:
        """Judge the words, in `JUDGED_S`."""
        await asyncio.sleep(JUDGED_S)
        said = tuple((message["role"], message["content"]) for message in messages)
        return self._once(("judged", said), lambda: self._really(self._judge.probability(messages)))

    async def melody(self, audio: Audio) -> float | None:
        """Listen to the melody, in `MELODY_S`."""
        await asyncio.sleep(MELODY_S)
        return self._once(
            ("melody", hash(audio.tobytes())), lambda: self._smart_turn.probability(audio)
        )

    def _once(self, key: Any, work: Callable[[], T]) -> T:
        if key not in self.known:
            self.known[key] = work()
        return self.known[key]  # type: ignore[no-any-return]

    def _really(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@dataclass(frozen=True, slots=True)
class Taken:
    """One turn of a session.

    Attributes:
        ended: When it was over, from the beginning of what the session was played (s).
        text: What was recognised.
        probability: That it was over.
    """

    ended: float
    text: str
    probability: float | None


@dataclass(slots=True)
class Session:
    """What a session did with a sound: its turns, and when it was interrupted and replied (s)."""

    turns: list[Taken] = field(default_factory=list)
    interrupted: list[float] = field(default_factory=list)
    replied: float | None = None


def play(
    ears: Ears, samples: Samples, settings: Settings, history: Sequence[Message] = ()
) -> Session:
    """Let a session hear a sound, 16 kHz, in virtual time."""
    return virtual_time.run(_play(ears, samples, settings, history))


async def _play(
    ears: Ears, samples: Samples, settings: Settings, history: Sequence[Message]
) -> Session:
    ears.begin()
    clock, marks, found = virtual_time.VirtualClock(), MemoryTrace(), Session()
    started = clock.now_ns()
    made: dict[str, int] = {}
    texts: dict[int, str] = {}

    def now() -> float:
        return (clock.now_ns() - started) / 1e9

    async def read() -> None:
        async for event in session.events():
            match event:
                case ReplyAudio():
                    found.replied = now() if found.replied is None else found.replied
                    made[event.id] = made.get(event.id, 0) + len(event.frame.samples)
                case ReplyInterrupted():
                    found.interrupted.append(now())
                case Transcript(final=True):
                    texts[event.turn] = event.text

    async def listen() -> None:
        played = 0
        while True:
            await asyncio.sleep(0.02)
            for reply in list(made)[-1:]:
                played = min(played + 20, made[reply])
                await session.heard(reply, played)

    session = Cascade(ears, settings, marks, clock, history)
    async with session:
        reader = asyncio.create_task(read())
        player = asyncio.create_task(listen())
        for at in range(0, len(samples) - FRAME, FRAME):
            captured = clock.now_ns()
            await asyncio.sleep(FRAME / RATE)
            await session.send(Frame(samples[at : at + FRAME], RATE, at, captured))
        player.cancel()
    await reader
    for line in marks.lines:
        if line["mark"] == "committed":
            ended = (line["t_ns"] - started) / 1e9
            text = texts.get(line["turn"], "")
            found.turns.append(Taken(ended, text, line["probability"]))
    return found
