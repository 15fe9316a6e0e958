"""One recording, played in real time into real recognition and a real voice; the model is scripted.

Nothing here depends on how long anything takes: WAV and trace are two views of the same run.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.llm_server import (
    ROLE,
    Answer,
    LlmServer,
    Script,
    delta,
    finish,
    hang,
    pause,
    reply,
)
from servers.llm_server import status as http_status
from support.cli_child import ROOT

from pipeline.audio.files import WavWriter, read_audio
from pipeline.clock import NS_PER_S
from pipeline.config import load
from pipeline.engines.local import LocalEngines
from pipeline.measure.corpus import Item, checked, gather
from pipeline.measure.instrument import stereo
from pipeline.measure.pool import make_ready
from pipeline.measure.record import Record
from pipeline.measure.recording import Unwritten
from pipeline.profile.run import Bounds, measure_turn
from pipeline.trace import MarkLine

LINE = "It leaves at nine in the morning, and then again at ten. "
AGREE_NS = 20_000_000

pytestmark = pytest.mark.slow


def question() -> Item:
    corpus = gather([ROOT / "tests" / "data" / "corpus"])
    return next(item for item in corpus.items if "museum" in item.name)


class Studio:
    """Loaded engines, and a scripted model that any test can tell what to say."""

    def __init__(self, server: LlmServer, engines: LocalEngines, folder: Path) -> None:
        self.wav = folder / "turn.wav"
        self._server = server
        self._engines = engines

    async def play(
        self,
        item: Item,
        *answers: Script,
        mode: str = "overlapped",
        more: Mapping[str, Any] | None = None,
        **bounds: float,
    ) -> tuple[Record, list[MarkLine]]:
        self._server.then(*answers)
        base = {"llm.model": self._server.url, "reply.mode": mode}
        settings = load(None, {**base, **(more or {})})
        await make_ready(settings, self._engines)
        limits = replace(Bounds(reply_s=0.5, timeout_s=20), **bounds)
        return await measure_turn(item, settings, self._engines, self.wav, limits)


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Studio]:
    async with LlmServer(reply("ready")) as server:
        settings = load(None, {"llm.model": server.url})
        async with LocalEngines(settings) as engines:
            yield Studio(server, engines, folder)


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncGenerator[Studio]:
    async with opened(tmp_path) as ready:
        yield ready


async def test_engines_leave_the_interpreter_as_it_was(tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    async with opened(tmp_path):
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize(
    ("mode", "end"),
    [
        ("sequential", "label"),
        ("overlapped", "label"),
        ("speculative", "label"),
        ("overlapped", "detector"),
    ],
)
async def test_wav_and_trace_tell_the_same(studio: Studio, mode: str, end: str) -> None:
    item = question() if end == "label" else replace(question(), end_of_speech_s=None)
    made, lines = await studio.play(item, reply(*LINE.split(" "), *LINE.split(" ")), mode=mode)
    assert (made.status, made.reason) == ("ok", "")
    assert made.end_of_speech == end
    assert made.transcript == made.expected == item.text
    timeline = made.timeline
    assert timeline is not None
    assert made.wav_voice_to_voice_ns is not None
    assert abs(made.wav_voice_to_voice_ns - timeline.total_ns) < AGREE_NS
    assert sum(timeline.parts.values()) == timeline.total_ns
    assert made.cpu_ns > 0
    # A word is a token here, and each has its place in the lanes.
    tokens = [span for span in made.spans if span.lane == "llm"]
    assert len(tokens) == len([line for line in lines if line["mark"] == "token"]) > 5
    assert {"user", "endpoint", "stt", "llm", "tts", "speaker"} <= {s.lane for s in made.spans}
    assert all(span.start_ns <= span.end_ns for span in made.spans)
    assert made.hold_ms is not None


async def test_a_reply_is_cut_off_and_what_was_heard_of_it_kept(studio: Studio) -> None:
    long = reply(*(f"{word} " for word in (LINE * 5).split()))
    made, _ = await studio.play(question(), long, reply_s=1.0)
    assert made.status == "ok"
    assert 0 < len(made.reply) < len(LINE) * 2
    assert "heard.last" not in made.marks
    _, right, rate = stereo(studio.wav)
    heard_s = np.count_nonzero(right) / rate
    assert 0.5 < heard_s < 5


async def test_a_gap_in_the_reply_is_told(studio: Studio) -> None:
    halting = Answer(
        [ROLE, delta("It leaves at nine. "), pause(3.0), delta("And at ten."), finish()]
    )
    made, _ = await studio.play(question(), halting, reply_s=6.0)
    assert made.status == "ok"
    gaps = [span for span in made.spans if span.lane == "gap"]
    assert gaps
    assert sum(span.end_ns - span.start_ns for span in gaps) == made.underrun_ns > 0
    _, right, rate = stereo(studio.wav)
    for span in gaps:
        begin, end = (
            (t - made.wav_start_ns) * rate // NS_PER_S for t in (span.start_ns, span.end_ns)
        )
        # As far as a sample more or less goes.
        assert right[:begin].any()
        assert not right[begin + 2 : end - 2].any()
        assert right[end:].any()


@pytest.mark.parametrize(
    ("answers", "status", "reason"),
    [
        ([Answer([ROLE, hang])], "timeout", "no reply within 2 s"),
        ([http_status(503, "overloaded")] * 3, "failed", "llm: "),
    ],
)
async def test_a_turn_without_a_reply_says_why(
    studio: Studio, answers: list[Answer], status: str, reason: str
) -> None:
    made, _ = await studio.play(question(), *answers, timeout_s=2.0)
    assert made.status == status
    assert made.reason.startswith(reason)
    assert made.wav_voice_to_voice_ns is None
    assert made.timeline is None
    assert "llm.request" in made.marks
    assert made.spans[-1].lane == "llm"


async def test_a_recording_without_speech_has_no_reply(studio: Studio, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    with WavWriter(path, 16_000) as wav:
        wav.write((300 * np.sin(np.arange(16_000) / 3)).astype(np.int16))
    made, _ = await studio.play(checked(Item(path, "tone.wav")))
    assert (made.status, made.reason) == ("no reply", "no speech was heard in it")
    assert set(made.marks) == {"speech.end"}  # where the sound ended


async def test_a_wav_that_cannot_be_written_is_an_error(studio: Studio, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    studio.wav = tmp_path / "full.wav"
    studio.wav.symlink_to("/dev/full")
    with pytest.raises(Unwritten, match=r"full\.wav"):
        await studio.play(question(), reply("Good morning."))


async def test_of_two_answers_the_one_to_the_end_counts(studio: Studio, tmp_path: Path) -> None:
    item = question()
    samples = np.concatenate([*read_audio(item.path, 16_000)])
    path = tmp_path / "two.wav"
    with WavWriter(path, 16_000) as wav:
        wav.write(np.concatenate([samples, np.zeros(3 * 16_000, np.int16), samples]))
    made, lines = await studio.play(
        checked(Item(path, "two.wav")), *[reply("It leaves at nine.")] * 2
    )
    assert made.status == "ok"
    assert made.reason == "answered 2 times: pauses were taken for the end"
    assert {line["turn"] for line in lines} == {1, 2}
    timeline = made.timeline
    assert timeline is not None
    assert made.wav_voice_to_voice_ns is not None
    assert made.wav_voice_to_voice_ns > 0
    assert abs(made.wav_voice_to_voice_ns - timeline.total_ns) < AGREE_NS
