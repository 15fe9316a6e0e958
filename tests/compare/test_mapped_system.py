"""A system that a map describes, whose latency is known, held in real time."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import numpy as np
import pytest
from servers.foreign import Doing, ForeignServer, Visit
from support.cli_child import read_wav, recording

from pipeline.clock import NS_PER_MS
from pipeline.compare.record import Conversation
from pipeline.compare.scenario import Scenario, Step
from pipeline.compare.systems import System, hold_scenario
from pipeline.speech_to_speech.brief import SystemSpec
from pipeline.turns.speech_end import end_of_speech

pytestmark = pytest.mark.slow

LATENCY_S = 0.5
ERROR_MS = 15.0
RATE = 16_000
SAID, _ = read_wav(recording(1))
FOUND = end_of_speech(SAID[:, 0], RATE)
assert FOUND is not None
END_S = FOUND.end / RATE


def loud(seconds: float) -> bytes:
    return np.resize(np.array([5000, -5000], "<i2"), round(seconds * RATE)).tobytes()


def sound_of(message: object) -> bytes:
    match message:
        case bytes():
            return message
        case {"audio": str(data)}:
            return base64.b64decode(data)
    return b""


def answering(*parts: bytes, as_json: bool = False) -> Doing:
    """Answers the first utterance, so long after its end by the sound that has come."""

    async def script(visit: Visit) -> None:
        due = round((END_S + LATENCY_S) * RATE) * 2
        await visit.until(lambda got: sum(len(sound_of(one)) for one in got) >= due)
        for part in parts:
            data = {"type": "audio", "audio": base64.b64encode(part).decode()}
            await visit.tell(data if as_json else part)

    return script


async def held(script: Doing, which: str, folder: Path, *more: dict[str, float]) -> Conversation:
    known = {"path": recording(1), "end_of_speech_s": END_S, "seconds": len(SAID) / RATE}
    steps = [Step("words", **{**known, "patience_s": 3.0, **one}) for one in more]  # type: ignore[arg-type]
    scenario = Scenario("one", "latency", "", tuple(steps))
    async with ForeignServer(script) as server:
        spec = SystemSpec("mine", "map", which, f"ws://{server.host}")
        return (await hold_scenario(System(spec, "en"), scenario, folder / "both.wav")).result


def check_latency(conversation: Conversation, ms: float) -> None:
    """It is due within a frame of 20 ms, which comes when it is whole; a busy machine is late."""
    (turn,) = conversation.turns
    record = turn.record
    assert record.status == "ok", record.reason
    assert record.wav_voice_to_voice_ns is not None
    late_ms = 2 * record.late_ns / NS_PER_MS
    off_ms = record.wav_voice_to_voice_ns / NS_PER_MS - ms
    assert -ERROR_MS <= off_ms <= 20 + ERROR_MS + late_ms


@pytest.mark.parametrize(("which", "as_json"), [("pcm", False), ("json", True)])
async def test_a_known_latency_is_measured(tmp_path: Path, which: str, as_json: bool) -> None:
    script = answering(loud(0.8), as_json=as_json)
    conversation = await held(script, which, tmp_path, {})
    check_latency(conversation, 500)
    # It never said that the user has stopped.
    assert conversation.turns[0].server_ms.keys() == {"first_audio", "leading_silence"}


async def test_the_silence_that_sound_begins_with_is_waited_for(tmp_path: Path) -> None:
    """One comes with it in a message; the other has it sent before, as the silence it is."""
    for parts in ((bytes(9600) + loud(0.8),), (bytes(9600), loud(0.8))):
        conversation = await held(answering(*parts), "pcm", tmp_path, {})
        check_latency(conversation, 800)


async def test_a_map_that_finds_no_sound_has_failed_with_what_came(tmp_path: Path) -> None:
    script = answering(loud(0.8), as_json=True)
    conversation = await held(script, "twilio", tmp_path, {"patience_s": 1.5}, {"patience_s": 1.5})
    assert conversation.status == "failed"
    assert (
        "no sound came that the map twilio finds; what came: nothing at all" in conversation.reason
    )
    assert [turn.record.status for turn in conversation.turns] == ["timeout", "timeout"]


async def test_a_system_that_hangs_up_keeps_the_turns_before(tmp_path: Path) -> None:
    answer = answering(loud(0.8))

    async def script(visit: Visit) -> None:
        await answer(visit)
        await asyncio.sleep(4.0)  # by then it was heard, and the pause after it has begun
        await visit.socket.close(1000, "goodbye")

    conversation = await held(script, "pcm", tmp_path, {}, {"pause_s": 9.0})
    assert conversation.status == "failed"
    assert conversation.reason.endswith("closed the connection (1000: goodbye)")
    assert [turn.record.status for turn in conversation.turns] == ["ok", "failed"]
