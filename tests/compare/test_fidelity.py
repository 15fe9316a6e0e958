"""Speech fidelity: by tables, and by the sound of a real voice of which a number was cut out."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from rich.console import Console
from support.real_engines import MINI, fetched

from pipeline.audio.files import WavWriter
from pipeline.compare.fidelity import (
    NO_SOUND,
    NO_TEXT,
    SAME,
    UNFINISHED,
    ReplyReader,
    against_text,
    recogniser,
    sound_of,
    unfinished,
)
from pipeline.compare.record import Conversation
from pipeline.compare.scenario import Scenario, Step
from pipeline.config import Settings, SttSettings, TtsSettings
from pipeline.engines.piper import Piper
from pipeline.engines.worker import Stop
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.measure import reference
from pipeline.measure.record import Fidelity, Record, Turn
from pipeline.models.catalogue import Found

MS = 1_000_000
RATE = 16_000
TEXT = "Your table is booked for fifteen people. The number of the order is forty-two."
MINI_WHISPER = Found("stt", "whisper-mini-en", MINI, None)


@pytest.mark.parametrize(
    ("text", "read", "cut", "errors", "words", "missed"),
    [
        ("It is **Paris**!", "it is Paris", False, 0, 3, []),
        ("It is (Paris).", "it is Paris", False, 0, 3, []),
        ("That is 23 dollars.", "That is twenty-three dollars.", False, 0, 3, []),
        ("Twenty-eight, twenty-nine.", "28, 29", False, 0, 2, []),
        ("In 1999.", "In nineteen ninety-nine.", False, 0, 2, []),
        ("A table for fifteen people", "A table for people", False, 1, 5, ["15"]),
        ("A table for fifteen people", "A table for fifty people", False, 1, 5, ["15"]),
        ("Good evening.", "", False, 2, 2, []),
        ("once there was a fox and it", "once there was a fox", True, 0, 5, []),
        ("once there was a fox", "once there was a fox and i", True, 0, 5, []),
        ("once there was a fox", "once there was a focus", True, 0, 4, []),
        ("once there was a fox", "once there was a fox", True, 0, 5, []),
        ("once there was a fox that had two keys", "once there was", True, 6, 9, ["2"]),
        ("there were 7 foxes and 12", "there were 7 foxes", True, 0, 4, []),
    ],
)
def test_a_reading_against_its_text(
    text: str, read: str, cut: bool, errors: int, words: int, missed: list[str]
) -> None:
    found = against_text(text, read, cut=cut)
    assert (found.errors, found.words) == (errors, words)
    assert [check.wanted for check in found.entities if not check.met] == missed


def tone(seconds: float) -> Samples:
    return (8000 * np.sin(np.arange(int(seconds * RATE)) * 0.2)).astype(np.int16)


def quiet(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE), np.int16)


def turn(
    reply: str = "Good evening.",
    *spoken: tuple[int, int],
    end: int = 60_000,
    number: int = 1,
) -> Turn:
    """A turn whose reply is in the WAV where `spoken` says, in ms."""
    record = Record("p", "s#1", 1, 0, "ok", reply=reply)
    spans = tuple((first * MS, last * MS) for first, last in spoken)
    return Turn(record, number, end_ns=end * MS, spoken=spans)


def test_the_sound_of_a_reply_is_where_it_was_played_and_has_no_long_silence() -> None:
    other, mine = tone(1.0), tone(2.0)
    reply = np.concatenate([other, mine, quiet(5), mine, quiet(1)])
    found = sound_of(turn("", (1000, 10_000)), reply, RATE)
    assert 4.0 < len(found) / RATE < 5.6
    assert np.count_nonzero(found) == 2 * np.count_nonzero(mine)
    parted = sound_of(turn("", (1000, 3000), (8000, 10_000)), reply, RATE)
    assert np.count_nonzero(parted) == 2 * np.count_nonzero(mine)
    assert len(sound_of(turn("", (3100, 7900)), reply, RATE)) == 0
    assert len(sound_of(turn(), reply, RATE)) == 0


def test_a_reply_that_goes_on_after_the_recording_is_unfinished() -> None:
    reply = np.concatenate([quiet(1), tone(2)])
    assert unfinished(turn("", (1000, 3000)), reply, RATE)
    assert not unfinished(turn(end=3000), reply, RATE)
    assert not unfinished(turn("", (1000, 2000)), reply, RATE)
    assert not unfinished(turn("", (1000, 3000)), np.append(reply, quiet(0.3)), RATE)


def held(folder: Path, reply: Samples, rate: int, *turns: Turn, path: str = "p") -> Conversation:
    """A conversation whose WAV has these replies on its right."""
    name = f"{path}.wav"
    writer = WavWriter(folder / name, rate, 2)
    writer.write(np.stack([np.zeros_like(reply), reply], axis=1))
    writer.close()
    return Conversation(path, "s", 1, 0, "ok", wav=name, turns=turns)


async def reading(
    found: Found,
    folder: Path,
    *conversations: Conversation,
    scenarios: tuple[Scenario, ...] = (),
    earlier: Mapping[str, Any] | None = None,
) -> tuple[list[list[Fidelity | None]], dict[str, Any], str]:
    """What was read in every turn, what is said of it, and what was told."""
    console = Console(file=io.StringIO(), width=200)
    made = ReplyReader(found, Settings(), earlier or {})
    results = [*conversations]
    await made.read(results, scenarios, folder, console)
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    return [[t.fidelity for t in one.turns] for one in results], made.about, told


async def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    """Each for its own reason; the others are read."""
    sound = np.concatenate([quiet(1), tone(1), quiet(1), tone(1)])
    turns = (turn("", (1000, 2000)), turn("Hello.", (2100, 2900)), turn("Hello.", (3000, 4000)))
    whole = held(tmp_path, sound, RATE, *turns)
    gone = Conversation("q", "s", 1, 1, "ok", wav="gone.wav", turns=(turn(),))
    warm_up = Conversation("q", "s", 0, 2, "ok", wav="gone.wav", turns=(turn(),))
    wordless = dataclasses.replace(whole, path="r", facts={"model": reference.NAME})
    found, about, told = await reading(MINI_WHISPER, tmp_path, whole, gone, warm_up, wordless)
    assert found[3] == [None] * 3
    assert [one.reason for of in found[:2] for one in of if one][:3] == [
        NO_TEXT,
        NO_SOUND,
        UNFINISHED,
    ]
    (missing,) = found[1]
    assert missing is not None and "gone.wav: cannot be read" in missing.reason
    assert found[2] == [None]
    assert about == {"model": "whisper-mini-en", "floor": None}
    assert "4/4" in told


async def test_a_recogniser_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    damaged = Found("stt", "damaged", tmp_path, None)
    before = turn("Hello.", (0, 1000))
    one = held(tmp_path, np.append(tone(1), quiet(1)), RATE, before)
    found, _, told = await reading(damaged, tmp_path, one)
    assert found == [[None]]
    assert f"--fidelity: {tmp_path}: cannot be loaded" in told
    assert told.count("--fidelity") == 1
    # What another recogniser has read stands, as its own.
    before = dataclasses.replace(before, fidelity=Fidelity("Hello.", 0, 1))
    one = dataclasses.replace(one, turns=(before,))
    found, about, _ = await reading(
        damaged, tmp_path, one, earlier={"model": "tiny", "floor": None}
    )
    assert found == [[before.fidelity]]
    assert about["model"] == "tiny"


def test_a_recogniser_that_is_not_there_is_known_before_anything_is_held() -> None:
    with pytest.raises(BadInput, match="--fidelity tiny\\.enn: unknown speech recogniser"):
        recogniser(Settings(), "tiny.enn", Console(file=io.StringIO()))
    remote = Settings(stt=SttSettings(url="http://localhost:1/v1"))
    with pytest.raises(BadInput, match=r"stt\.url names a server"):
        recogniser(remote, SAME, Console(file=io.StringIO()))


async def test_who_stops_it_keeps_what_was_read_and_goes_on_there(tmp_path: Path) -> None:
    sound = np.concatenate([quiet(1), *[tone(5), quiet(1)] * 12])
    turns = [turn("Hello.", (1000 + 6000 * n, 6000 + 6000 * n), number=n + 1) for n in range(12)]
    results = [held(tmp_path, sound, RATE, *turns)]
    console = Console(file=io.StringIO())
    task = asyncio.create_task(
        ReplyReader(MINI_WHISPER, Settings(), {}).read(results, (), tmp_path, console)
    )
    while results[0].turns[1].fidelity is None:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    done = [one.fidelity for one in results[0].turns if one.fidelity is not None]
    assert 2 <= len(done) < 12
    found, _, told = await reading(
        MINI_WHISPER, tmp_path, *results, earlier={"model": "whisper-mini-en", "floor": None}
    )
    assert f"{12 - len(done)}/{12 - len(done)}" in told
    assert None not in found[0]
    assert found[0][: len(done)] == done
    # Another recogniser reads all of it.
    _, about, told = await reading(MINI_WHISPER, tmp_path, *results, earlier={"model": "other"})
    assert "12/12" in told
    assert about["model"] == "whisper-mini-en"


@pytest.fixture
def drawn() -> Iterator[None]:
    """A voice's noise is the same each time: a voice that happens to mumble is no matter here."""
    onnxruntime.set_seed(1)
    yield
    onnxruntime.set_seed(random.getrandbits(31))


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
async def test_a_number_that_a_voice_swallows_shows(tmp_path: Path) -> None:
    """A Piper voice speaks a reply; of the same sound the number is cut out for a second system."""
    voice = Piper(fetched("tts", "en_US-joe-medium"), TtsSettings())
    pieces, ends, at = [], {}, 0
    for piece in voice.synthesize(TEXT, Stop()):
        ends |= {word.char: at + word.sample for word in piece.words or ()}
        pieces.append(piece.samples)
        at += len(piece)
    whole = np.concatenate(pieces)
    swallowed = whole.copy()
    first, last = (ends[TEXT.index(word) + len(word)] for word in ("for", "fifteen"))
    swallowed[first:last] = 0
    spoken = turn(TEXT, (0, len(whole) * 1000 // voice.rate))
    pause = np.zeros(voice.rate, np.int16)
    both = [
        held(tmp_path, np.append(sound, pause), voice.rate, spoken, path=path)
        for path, sound in (("well", whole), ("badly", swallowed))
    ]
    writer = WavWriter(tmp_path / "user.wav", voice.rate, 1)
    writer.write(whole)
    writer.close()
    known = Scenario("s", steps=(Step(TEXT, tmp_path / "user.wav"),))
    found = Found("stt", "tiny.en", fetched("stt", "tiny.en"), None)
    ((well,), (badly,)), about, _ = await reading(found, tmp_path, *both, scenarios=(known,))
    assert well is not None and badly is not None
    # The voice draws its noise anew each time: now and then "order is" is read as "orders".
    assert (well.errors or 0) <= 2 and well.words == 14, well.read
    assert [(check.wanted, check.met) for check in well.entities] == [("15", True), ("42", True)]
    assert badly.errors in (1, 2, 3, 4), badly.read
    assert [(check.wanted, check.met) for check in badly.entities] == [("15", False), ("42", True)]
    assert about["floor"]["recordings"] == 1
    assert about["floor"]["rate"] <= 2 / 14  # no pause follows here, and a last word may suffer
