"""Speculation over real sockets with the real engines: what is dropped stops, and nobody knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from servers.llm_server import Answer, Request, reply
from support.cli_child import RECORDINGS, read_conversation, run, scripted

from pipeline.audio.files import WavWriter, read_audio
from pipeline.engines.whisper import bare

RATE = 16_000
FIRST, SECOND = "dev_05.wav", "dev_08.wav"
WORDS = "When does the train to Madrid leave?"
LONG = [f"word{number} " for number in range(200)]
ANSWER = "It leaves at nine."


@pytest.fixture
def paused(tmp_path: Path) -> Path:
    """Two sentences with a pause between them that is shorter than the hold."""
    sounds = [np.concatenate([*read_audio(RECORDINGS / name, RATE)]) for name in (FIRST, SECOND)]
    first, second = (sound[_voiced(sound)] for sound in sounds)
    path = tmp_path / "paused.wav"
    with WavWriter(path, RATE) as wav:
        for sound in (first, np.zeros(int(0.45 * RATE), np.int16), second):
            wav.write(sound)
    return path


def _voiced(sound: np.ndarray) -> slice:
    loud = np.flatnonzero(np.abs(sound) > 500)
    return slice(loud[0], loud[-1])


def test_an_answer_that_is_dropped_stops_at_the_server_and_is_told_nowhere(
    paused: Path, tmp_path: Path
) -> None:
    def answer(request: Request) -> Answer:
        said = [m["content"] for m in request.body["messages"] if m["role"] == "user"]
        whole = bare(said[-1])[-7:] == bare(WORDS) if said else True
        return reply(ANSWER) if whole else reply(*LONG, after_s=0.05)

    with scripted(otherwise=answer) as server:
        outcome = run(
            *("talk", "--fast", "--json", f"--llm={server.url}", "--input", paused),
            *(f"--output={tmp_path / 'reply.wav'}", f"--save={tmp_path / 'said'}"),
            f"--trace={tmp_path / 'trace'}",
            env={"CASCADE_TURNS__PREDICT": "false", "CASCADE_TURNS__HOLD_MS": "800"},
        )
        fates = [
            r.fate.result(timeout=30)
            for r in server.requests
            if r.path.endswith("/chat/completions")
        ]
    assert outcome.code == 0, outcome.err
    assert fates[0] == fates[-1] == "complete"  # the warm-up, and the answer
    assert set(fates[1:-1]) == {"abandoned"}
    assert [text[-len(WORDS) :] for text in outcome.texts()] == [WORDS]
    assert "word" not in outcome.out
    (_, said), (_, answered) = read_conversation(tmp_path / "said")
    assert said == outcome.texts()[0]
    assert answered == ANSWER
    marks = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()[1:]]
    dropped = [mark for mark in marks if mark["mark"] == "discarded"]
    assert len(dropped) == len(fates) - 2
    assert all(mark["transcribed"] for mark in dropped)
