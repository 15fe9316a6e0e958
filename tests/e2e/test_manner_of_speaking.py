"""`cascade talk` tells the model how something was said, and nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from servers.llm_server import reply
from support.cli_child import read_wav, recording, run, scripted

from pipeline.audio.files import WavWriter, read_audio
from pipeline.engines.prosody import EXPLAINED

RATE = 16_000
NOTE = "speaks louder than before"


@pytest.mark.slow
@pytest.mark.parametrize("on", [True, False])
def test_who_speaks_up_is_told_of_to_the_model_alone(tmp_path: Path, on: bool) -> None:
    question = np.concatenate([*read_audio(recording(2), RATE)])
    for name, gain in (("quiet", 0.25), ("loud", 1.0)):
        with WavWriter(tmp_path / f"{name}.wav", RATE) as file:
            file.write((question * gain).astype(np.int16))
    said = [tmp_path / f"{name}.wav" for name in ("quiet", "quiet", "loud", "quiet")]
    files = ("--save", tmp_path / "saved.jsonl", "--trace", tmp_path / "trace.jsonl")
    with scripted(reply("Ready."), otherwise=reply("Forty ", "minutes.")) as server:
        outcome = run(
            *("talk", "--json", "--fast", "--llm", server.url, *files),
            *(part for path in said for part in ("--input", path)),
            *("--output", tmp_path / "reply.wav"),
            env={"CASCADE_CONVERSATION__PROSODY": "true"} if on else {},
        )
    assert outcome.code == 0, outcome.err
    prompts = [request.body["messages"] for request in server.requests]
    users = [m["content"] for m in prompts[-1] if m["role"] == "user"]
    assert [NOTE in words for words in users] == [False, False, on, False]
    assert prompts[-1][0]["content"].endswith(EXPLAINED) == on
    assert NOTE not in outcome.out + outcome.err + (tmp_path / "saved.jsonl").read_text()
    trace = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    # Each attempt at the turn has it; how many there are depends on the machine.
    assert {line["turn"] for line in trace if line.get("note")} == ({3} if on else set())
    assert read_wav(tmp_path / "reply.wav")[0].any()
