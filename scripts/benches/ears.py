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
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

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
from pipeline.engines.tools import Tool
from pipeline.engines.vad import VoiceDetector
from pipeline.engines.whisper import NOTHING_KNOWN, Audio, Known, Transcription, Whisper
from pipeline.events import (
    Frame,
    ReplyAudio,
    ReplyDucked,
    ReplyInterrupted,
    Samples,
    Transcript,
)
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
        reply: What the model says, whatever it is asked.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__([], Model([]), Speaker(rate=1000))
        self.settings = settings
        self.known: dict[Any, Any] = {}
        self.took: list[tuple[float, float]] = []
        self.reply = "Yes."
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
        self.model = Model([self.reply] * 1000)
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
    """One turn of a session; times are from the beginning of what the session was played (s).

    Attributes:
        begun: When it began.
        ended: When it was over.
        text: What was recognised.
        probability: That it was over.
    """

    begun: float
    ended: float
    text: str
    probability: float | None


@dataclass(slots=True)
class Session:
    """What a session did with a sound. Times are as of `Taken` (s).

    Attributes:
        turns: Those that it took for over.
        begun: When turns began, of which the last may not be over.
        ducked: How often a reply was made quiet.
        interrupted: When a reply was.
        replied: When the first sound of a reply was made; None: there was none.
    """

    turns: list[Taken] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    ducked: int = 0
    interrupted: list[float] = field(default_factory=list)
    replied: float | None = None


class Conversation:
    """A session in virtual time that is let hear, piece by piece, and whose replies are heard.

    An async context manager.

    Attributes:
        session: It.
        found: What it did; whole after the context.
    """

    def __init__(
        self,
        ears: Ears,
        settings: Settings,
        history: Sequence[Message] = (),
        tools: Sequence[Tool] = (),
    ) -> None:
        ears.begin()
        self.found = Session()
        self._clock, self._marks = virtual_time.VirtualClock(), MemoryTrace()
        self._started, self._at = self._clock.now_ns(), 0
        self.session = Cascade(ears, settings, self._marks, self._clock, history, tools)
        self._made: Counter[str] = Counter()
        self._texts: dict[int, str] = {}

    async def __aenter__(self) -> Self:
        await self.session.__aenter__()
        self._reader = asyncio.create_task(self._read())
        self._player = asyncio.create_task(self._play())
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._player.cancel()
        await self.session.__aexit__(*exc)
        await self._reader
        begun: dict[int, float] = {}
        for line in self._marks.lines:
            if line["mark"] == "speech.start":
                begun[line["turn"]] = self._s(line["t_ns"])
            elif line["mark"] == "committed":
                turn, ended = line["turn"], self._s(line["t_ns"])
                text = self._texts.get(turn, "")
                self.found.turns.append(Taken(begun[turn], ended, text, line["probability"]))
        self.found.begun = [*begun.values()]

    async def hear(self, samples: Samples) -> None:
        """Let it hear a piece of sound, 16 kHz, which takes as long as that lasts."""
        captured = self._clock.now_ns()
        await asyncio.sleep(len(samples) / RATE)
        await self.session.send(Frame(samples, RATE, self._at, captured))
        self._at += len(samples)

    def _s(self, t_ns: int) -> float:
        return (t_ns - self._started) / 1e9

    async def _read(self) -> None:
        async for event in self.session.events():
            now = self._s(self._clock.now_ns())
            match event:
                case ReplyAudio():
                    self.found.replied = now if self.found.replied is None else self.found.replied
                    self._made[event.id] += len(event.frame.samples)
                case ReplyDucked():
                    self.found.ducked += 1
                case ReplyInterrupted():
                    self.found.interrupted.append(now)
                case Transcript(final=True):
                    self._texts[event.turn] = event.text

    async def _play(self) -> None:
        played: Counter[str] = Counter()
        while True:
            await asyncio.sleep(0.02)
            for reply in [*self._made][-1:]:
                played[reply] = min(played[reply] + 20, self._made[reply])
                await self.session.heard(reply, played[reply])


def play(
    ears: Ears, samples: Samples, settings: Settings, history: Sequence[Message] = ()
) -> Session:
    """Let a session hear a sound, 16 kHz, in virtual time."""

    async def hear() -> Session:
        async with Conversation(ears, settings, history) as talk:
            for at in range(0, len(samples) - FRAME, FRAME):
                await talk.hear(samples[at : at + FRAME])
        return talk.found

    return virtual_time.run(hear())
