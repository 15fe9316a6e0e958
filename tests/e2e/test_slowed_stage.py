"""A stage that is made slower on purpose shows up as that stage, and as no other.

Everything is real and in real time but the model, whose delay is scripted. Nothing is hidden: the
mode is overlapped, the hold is fixed, and nothing is recognised while the user speaks.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from servers.llm_server import DONE, ROLE, Answer, LlmServer, Request, delta, finish, pause, usage
from support.cli_child import CORPUS
from support.real_time import in_time, shortened

from pipeline.config import Settings, TtsSettings, load
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.reply import ReplyPace
from pipeline.engines import local
from pipeline.engines.local import LocalEngines
from pipeline.engines.piper import Piper
from pipeline.engines.whisper import Audio, Transcription, Whisper
from pipeline.engines.worker import Stop
from pipeline.measure.corpus import Item, gather
from pipeline.measure.pool import make_ready
from pipeline.measure.record import Record
from pipeline.measure.summary import summarise
from pipeline.profile import executor
from pipeline.profile.executor import Bounds, measure_turn
from pipeline.text.heard import Sound
from pipeline.trace import PARTS, description

pytestmark = pytest.mark.alone

NUMBERS = (7, 10, 7, 10, 7)
"""The recordings, by repeat; with five pairs differences have an interval, without which the
summary names no part."""

SPOKEN_S = 1.1
"""So much is played of what is said in a recording, the end: that is what a turn's latency is
counted from, and these turns are played in real time."""

SLOWED = {"stt": "stt", "llm": "llm_first_token", "tts": "tts_first_audio"}
"""What is made slower in each variant, and the part that is to show it."""

FIRST_S = 0.05
"""Time to the model's first token."""

STT_MORE_S, LLM_MORE_S, TTS_TIMES = 0.2, 0.3, 3
"""How a slowed stage differs: so much longer, or so many times its own time."""

REPLY = (
    "The first train leaves at nine in the morning and it takes about an hour to get to the town "
    "where the museum is so that you can be there long before it opens and have a cup of coffee."
)
"""One clause, and long: the voice of the tree needs 20 ms for 3 s of speech."""

TOLERANCE = 0.10
NOISE_MS = 10.0
"""What a stage takes more in one turn than in another though nothing was changed."""

BLOCK_MS = 20.0
"""A reply waits for the next block of its device: `own` and the whole vary by as much."""


class Brake:
    """Makes a stage slow, and keeps account of the current turn.

    Attributes:
        stage: What is slow now; empty: nothing.
        took_ms: How long each stage took to its first result, by its own clock.
    """

    def __init__(self) -> None:
        self.set("")

    def set(self, stage: str) -> None:
        """Begin a turn."""
        self.stage = stage
        self.took_ms: dict[str, float] = {}

    def press(self, stage: str, began: float, more_s: float) -> None:
        """Note work that `began` then (s, monotonic); the slow stage sleeps first."""
        if self.stage == stage:
            time.sleep(more_s)
        self.took_ms.setdefault(stage, 1000 * (time.monotonic() - began))


BRAKE = Brake()


class SlowWhisper(Whisper):
    """The real one; slowed, it takes `STT_MORE_S` longer."""

    def transcribe(self, audio: Audio, **more: Any) -> Transcription:
        began = time.monotonic()
        heard = super().transcribe(audio, **more)
        BRAKE.press("stt", began, STT_MORE_S)
        return heard


class SlowPiper(Piper):
    """The real one; slowed, every piece of sound takes `TTS_TIMES` its time.

    Its first sound is the whole reply: enough work to see it by.
    """

    def __init__(self, path: Path, settings: TtsSettings) -> None:
        super().__init__(path, settings, stream=False)

    def synthesize(self, text: str, stop: Stop, speed: float = 1.0) -> Iterator[Sound]:
        pieces = super().synthesize(text, stop, speed)
        while True:
            began = time.monotonic()
            piece = next(pieces, None)
            if piece is None:
                return
            BRAKE.press("tts", began, (TTS_TIMES - 1) * (time.monotonic() - began))
            yield piece


def answer(request: Request) -> Answer:
    """The model's reply: after its first token, the rest comes at once."""
    first_s = FIRST_S + LLM_MORE_S * (BRAKE.stage == "llm")
    BRAKE.took_ms.setdefault("llm", 1000 * first_s)
    words = [delta(f"{word} ") for word in REPLY.split()]
    return Answer([ROLE, pause(first_s), *words, finish(), usage(7, 5, len(words)), DONE])


class Profile:
    """Takes the same turns with each stage slowed and with none, one after another.

    Attributes:
        took_ms: How long each stage took in each turn, by the stage that was slow.
        summary: What `cascade profile` says of the turns.
    """

    def __init__(self, folder: Path) -> None:
        self.took_ms: dict[str, list[dict[str, float]]] = {stage: [] for stage in ("", *SLOWED)}
        self.summary: dict[str, Any] = {}
        self._folder = folder
        self._records: list[Record] = []

    async def make(self) -> None:
        items = {
            int(item.name[:2]): shortened(item, self._folder, SPOKEN_S)
            for item in gather([CORPUS]).items
            if int(item.name[:2]) in NUMBERS
        }
        async with LlmServer(otherwise=answer) as server:
            settings = load(
                None,
                {
                    "llm.model": server.url,
                    "reply.mode": "overlapped",
                    "turns.predict": "false",
                    "turns.hold_ms": "200",
                },
            )
            async with LocalEngines(settings) as loaded:
                await self._turn("", items[NUMBERS[0]], 0, settings, loaded)
                for repeat, number in enumerate(NUMBERS, start=1):
                    for stage in ("", *SLOWED):
                        await self._turn(stage, items[number], repeat, settings, loaded)
                header = description(settings, loaded.names)
        header["variants"] = {stage: {} for stage in ("", *SLOWED)}
        self.summary = summarise(header, self._records)

    async def _turn(
        self, stage: str, item: Item, repeat: int, settings: Settings, loaded: LocalEngines
    ) -> None:
        async def once() -> Record:
            await make_ready(settings, loaded)
            BRAKE.set(stage)
            wav = self._folder / "turn.wav"
            return (await measure_turn(item, settings, loaded, wav, Bounds(reply_s=0.1)))[0]

        record = await in_time(once)
        if repeat:
            self.took_ms[stage].append(BRAKE.took_ms)
        self._records.append(
            replace(record, variant=stage, file=item.name, repeat=repeat, order=len(self._records))
        )


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    made = Profile(tmp_path_factory.mktemp("profile"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "Whisper", SlowWhisper)
        patch.setattr(local, "Piper", SlowPiper)
        pace = ReplyPace(first_words=len(REPLY.split()))
        patch.setattr(executor, "Cascade", partial(Cascade, pace=pace, partial_ms=0))
        asyncio.run(made.make())
    return made


@pytest.mark.parametrize(("stage", "part"), SLOWED.items())
def test_a_slowed_stage_shows_as_that_part_and_no_other(
    stage: str, part: str, profile: Profile
) -> None:
    of = profile.summary["variants"][stage]["against_first"]
    assert of["n"] == len(NUMBERS)
    change = {name: of["parts_ms"][name]["median"] for name in PARTS}
    whole = of["voice_to_voice_ms"]["median"]
    pairs = list(zip(profile.took_ms[""], profile.took_ms[stage], strict=True))
    own = {
        SLOWED[each]: statistics.median(slow[each] - usual[each] for usual, slow in pairs)
        for each in SLOWED
    }
    longer = own[part]
    in_all = statistics.median(sum(slow.values()) - sum(usual.values()) for usual, slow in pairs)
    # There is something to see.
    assert longer > 2 * BLOCK_MS
    # The part grew by what the stage took longer, and the latency in the WAV by as much.
    assert change[part] == pytest.approx(longer, rel=TOLERANCE)
    assert abs(whole - in_all) < BLOCK_MS + TOLERANCE * longer
    # No other moved by more than noise and what its stage differed by (a voice takes 30 ms more or
    # less). Such a one may be named, for the summary knows of 1 ms, but not before it.
    assert of["moved"][0] == part
    noise = dict.fromkeys(PARTS, NOISE_MS) | {"own": BLOCK_MS}
    for name in set(PARTS) - {part}:
        assert abs(change[name] - own.get(name, 0.0)) < noise[name] + TOLERANCE * longer, name
