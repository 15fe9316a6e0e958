"""How turns are taken with people: `scripts/bench turns orders FOLDER`.

Each recording is played to a session (`cascade.Cascade`) in virtual time. The real
engines hear it, and say what they have heard so much later as they take on two cores that nothing
else uses: only waiting takes no time, so that what is measured does not depend on how busy the
machine is. Models and settings are the defaults, or the environment's. The model that replies and
the voice are scripted: nothing here depends on what they say.

The recordings are divided by a hash of their names: the weights of `end_of_turn` were fitted on the
one half (by `scripts/people.py` of commit 2ef0025), and are reported on the other.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
import zlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sounds
from figures import Aims, median, p90
from sounds import RATE, read, sounds_in
from support import virtual_time
from support.scripted import Engines, Model, Speaker

from pipeline.config import Settings
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.history import Message
from pipeline.engines.llama import LocalServer
from pipeline.engines.llm import Messages
from pipeline.engines.llm_judge import TextJudge
from pipeline.engines.smart_turn import SmartTurn
from pipeline.engines.vad import WINDOW, VoiceDetector
from pipeline.engines.whisper import Audio, Transcription, Whisper
from pipeline.events import Event, Frame, ReplyAudio, ReplyInterrupted, Samples, Transcript
from pipeline.measure.recording import MemoryTrace
from pipeline.measure.stats import share
from pipeline.models.catalogue import Catalogue
from pipeline.turns.speech_end import end_of_speech

FRAME = RATE // 50

WORDS_S, JUDGED_S, MELODY_S = 0.12, 0.03, 0.05
"""What the recogniser (tiny.en), the judge of the words and Smart Turn take (s): medians of
`cascade talk` on two cores."""

LEAD_S, REST_S = 0.5, 3.5
"""Quiet before and after each recording (s): longer than any hold."""

QUIET_DBFS = -80.0
"""RMS of it: no digital silence, which no microphone gives."""

QUESTION = "For how long do you need the room?"
"""What the assistant has asked before a short answer."""

PHRASES = ("google", "rhasspy", "mycroft", "speech_commands")
"""Folders of short utterances, beside the one that is measured."""

DEMANDS = ("stop", "no", "wait")
"""Beginnings of the names of recordings that ask for the turn, in `speech_commands`."""

EXCERPT = 5 * RATE
"""So much of a sound is played over a reply (samples)."""

SOFTER_DB = -10.0
"""And at this gain (dB) once more."""

SIGNS_OF_PEOPLE = (
    ("pyannote/dev00.wav", 29.8, 30.0),
    ("pyannote/trn04.wav", 14.2, 14.9),
    ("pyannote/trn04.wav", 15.9, 16.4),
    ("pyannote/trn04.wav", 25.2, 25.65),
    ("pyannote/tst01.wav", 9.75, 10.1),
    ("pyannote/tst01.wav", 29.0, 29.4),
)
"""Where in conversations somebody laughs, or says "okay", "mm-hm", "hm", "yeah", "oh" (s)."""

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
        name = settings.turns.endpoint_model
        self._smart_turn = SmartTurn(catalogue.resolve("endpoint", name).path) if name else None
        self._path = catalogue.resolve("llm", "embedded").path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
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
        return VoiceDetector(self.settings.vad)

    async def transcribe(
        self, audio: Audio, voiced_ms: float | None = None, *, prefix: str = "", language: str = ""
    ) -> Transcription:
        """Recognise, in `WORDS_S`; who asks meanwhile waits."""
        async with self._turn:
            await asyncio.sleep(WORDS_S)
        return self.hear(audio, voiced_ms, prefix=prefix, language=language)

    def hear(
        self, audio: Audio, voiced_ms: float | None = None, *, prefix: str = "", language: str = ""
    ) -> Transcription:
        """Recognise, as soon as the machine can."""

        def recognise() -> Transcription:
            began = time.process_time()
            found = self._whisper.transcribe(
                audio, voiced_ms=voiced_ms, prefix=prefix, language=language
            )
            self.took.append((time.process_time() - began, found.window_s))
            return found

        return self._once(("words", hash(audio.tobytes()), prefix, voiced_ms), recognise)

    async def judge(self, messages: Messages) -> float | None:
        """Judge the words, in `JUDGED_S`."""
        await asyncio.sleep(JUDGED_S)
        said = tuple((message["role"], message["content"]) for message in messages)
        return self._once(("judged", said), lambda: self._really(self._judge.probability(messages)))

    async def melody(self, audio: Audio) -> float | None:
        """Listen to the melody, in `MELODY_S`."""
        if (smart_turn := self._smart_turn) is None:
            return None
        await asyncio.sleep(MELODY_S)
        return self._once(("melody", hash(audio.tobytes())), lambda: smart_turn.probability(audio))

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
            tell(event)

    def tell(event: Event) -> None:
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


@dataclass(frozen=True, slots=True)
class Recording:
    """What somebody says, with quiet around it: 16 kHz.

    Attributes:
        name: Its folder's name and its own.
        samples: The sound.
        end: One past the last sample of speech.
    """

    name: str
    samples: Samples
    end: int

    @property
    def half(self) -> str:
        """Which half it is in: `fit` or `report`."""
        return "fit" if zlib.crc32(self.name.encode()) % 2 else "report"


def recordings(folder: Path) -> list[Recording]:
    """Those in a folder whose end of speech can be told; what is no sound is left out."""
    found = []
    for path, sound in sounds_in(folder):
        samples = surrounded(sound)
        end = end_of_speech(samples, RATE)
        if end is not None and end.measurable:
            found.append(Recording(f"{folder.name}/{path.name}", samples, end.end))
    return found


def surrounded(sound: Samples) -> Samples:
    """A sound with quiet before and after it."""
    draw = np.random.default_rng(1)
    lead, rest = (sounds.quiet(seconds, QUIET_DBFS, draw) for seconds in (LEAD_S, REST_S))
    return np.concatenate([lead, sound, rest])


STORY = "one two three four five six seven eight nine ten " * 8
"""What the assistant is saying when a sound comes over it: half a minute."""

OVER_S = 2.0
"""The sound comes so long after the beginning of the session (s), well within the reply."""


def interrupted(ears: Ears, sound: Samples, settings: Settings) -> float | None:
    """How long after its first sample a sound over a reply stopped that (s); None: it did not."""
    talks = settings.turns.model_copy(update={"idle_s": 0.2, "idle_text": STORY})
    quiet = np.zeros(int((OVER_S - LEAD_S) * RATE), np.int16)
    samples = surrounded(np.concatenate([quiet, sound]))
    found = play(ears, samples, settings.model_copy(update={"turns": talks}))
    if found.replied is None or found.replied > OVER_S:
        raise RuntimeError("no reply was under way")
    return min(found.interrupted) - OVER_S if found.interrupted else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the turn of a recording was ended.

    Attributes:
        recording: Which one.
        cut: What was heard of each turn that was ended before the speech was, and its probability.
        empty: How many turns had no words.
        delay_ms: From the end of the speech to the end of the turn; None: it never ended.
    """

    recording: Recording
    cut: tuple[str, ...]
    empty: int
    delay_ms: float | None

    @classmethod
    def of(cls, recording: Recording, found: Session) -> Outcome:
        """What a session made of a recording."""
        end = recording.end / RATE
        early = [taken for taken in found.turns if taken.ended < end]
        late = [taken.ended - end for taken in found.turns if taken.ended >= end]
        return cls(
            recording,
            tuple(f"{taken.text!r} (p = {taken.probability})" for taken in early if taken.text),
            sum(not taken.text for taken in found.turns),
            1000 * late[0] if late else None,
        )


def people(settings: Settings, aims: Aims, folder: Path, *, quick: bool) -> None:
    """Measure and print.

    Args:
        settings: Of the sessions.
        aims: Takes what was aimed at.
        folder: Recordings of people, one request each. Beside it may be `PHRASES` and `noise`.
        quick: Only every fourth.
    """
    few = slice(None, None, 4 if quick else 1)
    with Ears(settings) as ears:
        orders(ears, recordings(folder)[few], settings, aims)
        beside = [folder.parent / name for name in PHRASES if (folder.parent / name).is_dir()]
        short = [one for path in beside for one in recordings(path)][few]
        if short:
            short_answers(ears, short, settings, aims)
        interruptions(ears, folder.parent, settings, aims, few)


def orders(ears: Ears, found: Sequence[Recording], settings: Settings, aims: Aims) -> None:
    """Cut-ins, turns without words and the delay, of each half."""
    outcomes = [Outcome.of(one, play(ears, one.samples, settings)) for one in found]
    print("people: one request a recording, default settings")
    for name in ("fit", "report", "all"):
        tell(name, [one for one in outcomes if name in (one.recording.half, "all")])
    for one in outcomes:
        if one.cut:
            print(f"    cut into: {one.recording.name}: {'; '.join(one.cut)}")
        if one.empty:
            print(f"    a turn without words: {one.recording.name}")
        if one.delay_ms is None:
            print(f"    never ended: {one.recording.name}")
    aims.most("people cut into", 100 * sum(bool(o.cut) for o in outcomes) / len(outcomes), 3, "%")
    aims.most("people, endpoint, median", median(o.delay_ms for o in outcomes), 400, "ms")
    aims.most("turns without words", sum(one.empty for one in outcomes), 0)


def tell(name: str, outcomes: Sequence[Outcome]) -> None:
    """A line about some recordings: how many were cut into, turns without words, the delay."""
    delays = [one.delay_ms for one in outcomes]
    cut, empty = sum(bool(one.cut) for one in outcomes), sum(one.empty for one in outcomes)
    print(f"  {name:<18} n = {len(outcomes):<4} cut into {cut}, without words {empty}, ", end="")
    print(f"delay {median(delays) or 0:.0f} ms, p90 {p90(delays) or 0:.0f} ms")


def short_answers(ears: Ears, found: Sequence[Recording], settings: Settings, aims: Aims) -> None:
    """The delay after short phrases: after a question of the assistant's, and elsewhere."""
    asked = (Message("user", "Book a room.", 1), Message("assistant", QUESTION, 1))
    print(f"short phrases ({', '.join(PHRASES)}), n = {len(found)}")
    for name, history, aim in (("after a question", asked, 700), ("elsewhere", (), 1000)):
        outcomes = [Outcome.of(one, play(ears, one.samples, settings, history)) for one in found]
        tell(name, outcomes)
        slow = sorted(outcomes, key=lambda one: -(one.delay_ms or 9999))[:5]
        shown = (f"{one.recording.name} {one.delay_ms or 0:.0f}" for one in slow)
        print(f"    slowest: {', '.join(shown)}")
        late = median(one.delay_ms for one in outcomes)
        aims.most(f"short phrases, {name}, median", late, aim, "ms")


def interruptions(ears: Ears, beside: Path, settings: Settings, aims: Aims, few: slice) -> None:
    """What ends a reply: sounds that ask for nothing must not, demands must, and soon."""
    kinds = {kind: found[few] for kind, found in _asking_nothing(beside).items()}
    print(f"sounds over a reply that ask for nothing, at their level and {-SOFTER_DB:.0f} dB below")
    ended: list[bool] = []
    for kind, found in kinds.items():
        over = [
            (name, gain_db, interrupted(ears, sounds.amplified(sound, gain_db), settings))
            for name, sound in found
            for gain_db in (0.0, SOFTER_DB)
        ]
        mine = [f"{name} {db:+.0f} dB after {s:.1f} s" for name, db, s in over if s is not None]
        print(f"  {kind:<34} {len(mine):>3} of {len(over):>3} ended it", *mine, sep="\n    ")
        ended += [s is not None for _, _, s in over]
    of = share(ended)
    if of["ci95"] is not None and of["share"] is not None:
        told = f"{of['met']} of {of['n']} ended the reply: at most {100 * of['ci95'][1]:.1f} %"
        print(f"  {told}, with 95 % confidence")
        aims.most("replies ended by what asks for nothing", 100 * of["share"], 2, "%")
    if not (digits := beside / "fsdd_digits_8k").is_dir():
        return
    words_one_by_one(ears, digits, settings, aims)
    demands(ears, beside / "speech_commands", settings, aims)


def words_one_by_one(ears: Ears, digits: Path, settings: Settings, aims: Aims) -> None:
    """Three digits over a reply, each by itself: they must end it."""
    paths = sorted(digits.iterdir())
    missed, after_s, n = [], [], 0
    for pause_s in (0.5, 1.0):
        quiet = np.zeros(int(pause_s * RATE), np.int16)
        for first in range(0, len(paths), 2):
            three = [paths[(5 * first + 4 * k) % len(paths)] for k in range(3)]
            sound = np.concatenate([part for path in three for part in (read(path), quiet)])
            after = interrupted(ears, sound, settings)
            n += 1
            if after is None:
                missed.append(" ".join(path.stem.split("_")[0] for path in three))
            else:
                after_s.append(after)
    print(f"three digits over a reply, with pauses of 0.5 s and 1 s, n = {n}")
    print(f"  ended it after {median(after_s) or 0:.1f} s (median)", end="")
    print(f"; not: {', '.join(missed) or 'none'}")
    aims.most("three digits that did not end a reply", 100 * len(missed) / n, 10, "%")


def demands(ears: Ears, folder: Path, settings: Settings, aims: Aims) -> None:
    """How soon "Stop" ends a reply: each recording at several places of the detector's windows."""
    paths = [p for word in DEMANDS for p in sorted(folder.glob(f"{word}_*"))]
    after_ms = []
    for path in paths:
        sound = read(path)
        verdicts = VoiceDetector(settings.vad).push(surrounded(sound))
        first = next((v.start for v in verdicts if v.probability >= settings.vad.threshold), None)
        if first is None:
            continue
        for shift in range(0, WINDOW, WINDOW // 4):
            shifted = np.concatenate([np.zeros(shift, np.int16), sound])
            after = interrupted(ears, shifted, settings)
            begin = (first + shift) / RATE - LEAD_S
            after_ms.append(math.inf if after is None else 1000 * (after - begin))
    if not after_ms:
        return
    print(f"demands over a reply ({', '.join(DEMANDS)}), {len(paths)} at 4 places each")
    print(f"  end it after {' '.join(f'{ms:.0f}' for ms in sorted(after_ms))} ms")
    aims.most("demands end a reply, median", median(after_ms), 500, "ms")


def _asking_nothing(beside: Path) -> dict[str, list[tuple[str, Samples]]]:
    """Sounds that ask for nothing, by their kind."""
    pause = np.zeros(int(1.5 * RATE), np.int16)
    people_s = [
        (f"{name} {begin} s", sounds.to_level(read(path)[int(begin * RATE) : int(end * RATE)]))
        for name, begin, end in SIGNS_OF_PEOPLE
        if (path := beside / name).is_file()
    ]
    people_s += [(path.name, read(path)) for path in sorted(beside.glob("speech_commands/yes_*"))]
    made = (sounds.cough, sounds.hum)
    return {
        "noise, music, a baby's cry": _excerpts(beside / "noise"),
        'laughter, "mm-hm", "yes" of people': people_s,
        "made coughs": [(f"cough {n}", sounds.cough(n)) for n in range(10)],
        'made "mm-hm"': [(f"mm-hm {n}", sounds.hum(n)) for n in range(10)],
        "three of the same, with pauses": [
            (
                f"{make.__name__} {n} to {n + 2}",
                np.concatenate([part for k in range(3) for part in (make(n + k), pause)]),
            )
            for make in made
            for n in range(20, 32, 3)
        ]
        + [(name, np.concatenate([sound, pause] * 3)) for name, sound in people_s],
    }


def _excerpts(folder: Path) -> list[tuple[str, Samples]]:
    """Five seconds at most of each sound in a folder, all stretches of long ones."""
    found = []
    for path, sound in sounds_in(folder) if folder.is_dir() else ():
        starts = range(0, max(1, len(sound) - RATE), EXCERPT)
        found += [(f"{path.name} {at // RATE} s", sound[at : at + EXCERPT]) for at in starts]
    return found
