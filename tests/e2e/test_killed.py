"""Killed in the middle of a conversation: what was over is on the disk, and it goes on from there.

The moments are random, by their seed: a process that is killed chooses none. `KILLS=50` tries so
many of them.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from servers.llm_server import reply
from support.cli_child import (
    Child,
    Files,
    Outcome,
    json_lines,
    read_conversation,
    recording,
    run,
    scripted,
)
from support.sound import in_a_row, stretches

from pipeline.conversation import transcript

KILLS = int(os.environ.get("KILLS", "4"))
LONG = "The train leaves at nine in the morning, from platform four, and it takes three hours."
TURNS = 4
LONGEST_S = {"--fast": 6.0, "--json": 30.0}
"""How long the conversation takes after its loading, about; a kill after its end is none."""

FINISHED = {"committed", "stt.final", "llm.request", "llm.last_token", "tts.last_audio"}
"""Marks of a turn that have been made when its end is told."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="a child cannot be sent signals"),
]


def killed(folder: Path, seed: int) -> Outcome:
    """Talk, once over a reply, until the seed's moment."""
    moment = random.Random(seed)
    pace = moment.choice(["--fast", "--json"])
    spoken = in_a_row(folder / "spoken.wav", recording(5), recording(10), pause_s=2.5)
    inputs = [f"--input={path}" for path in (spoken, recording(2), recording(5))]
    with scripted(otherwise=reply(*(f"{word} " for word in LONG.split()))) as server:
        child = Child("talk", "--json", pace, *Files(folder).options, *inputs, "--llm", server.url)
        child.wait_for("listening")
        if moment.random() < 0.5:
            time.sleep(moment.uniform(0, LONGEST_S[pace]))
        else:  # as soon as a turn is told to be over
            child.wait_for(f'"id": "reply-{moment.randint(1, TURNS)}", "status"', "out")
        return child.finish(kill=True)


def whole_lines(path: Path) -> str:
    """A file without what a kill has left of its last line."""
    text = path.read_text("utf-8")
    return text[: text.rfind("\n") + 1]


def sound(path: Path) -> tuple[np.ndarray, int]:
    """All of a WAV file, shape (n, channels), and its rate; its header tells all that is in it."""
    with wave.open(str(path)) as file:
        data = file.readframes(file.getnframes())
        channels, rate = file.getnchannels(), file.getframerate()
    assert 0 <= path.stat().st_size - 44 - len(data) <= 0.02 * rate * 2 * channels
    return np.frombuffer(data, np.int16).reshape(-1, channels), rate


@pytest.mark.parametrize("seed", range(KILLS))
def test_what_was_over_is_kept_and_the_conversation_goes_on(tmp_path: Path, seed: int) -> None:
    (tmp_path / "said").write_text('{"role": "user", "content": "Hello.", "turn": 1}\n')
    outcome = killed(tmp_path, seed)
    assert outcome.code in (-signal.SIGKILL, 0)
    # Of the last line on stdout only the end may be missing.
    outcome = replace(outcome, out=outcome.out.rstrip("\n") + "\n" * bool(outcome.out))
    over = {event["turn"]: event["status"] for event in outcome.of("reply_done")}
    heard = outcome.err.count("voice-to-voice")

    # The conversation: every turn that was told to be over; or the one that was there before.
    said = transcript.load(tmp_path / "said")
    if not over:
        assert [message.content for message in said] == ["Hello."]
    asked = {event["turn"]: event["text"] for event in outcome.of("transcript") if event["final"]}
    cut = {event["turn"] for event in outcome.of("reply_interrupted")}
    for turn in over:
        question, *answer = [message for message in said if message.turn == turn]
        assert (question.role, question.content) == ("user", asked[turn])
        assert [message.role for message in answer] == ["assistant"] * len(answer)
        kept = " ".join(message.content for message in answer)
        # Of what was cut before its first word nothing is kept.
        assert kept == LONG or (turn in cut and LONG.startswith(kept))

    # The trace: whole lines, and in them all that had happened.
    _, *marks = json_lines(whole_lines(tmp_path / "trace"))
    made: dict[int, set[str]] = {}
    for line in marks:
        made.setdefault(line["turn"], set()).add(line["mark"])
    for turn, status in over.items():
        assert made[turn] >= (FINISHED if status == "completed" else {"committed", "stt.final"})
    assert sum("heard.last" in names for names in made.values()) >= heard

    # The recordings hold every reply that was heard.
    for name in ("out.wav", "both.wav"):
        samples, rate = sound(tmp_path / name)
        assert len(stretches(samples[:, -1], rate, 0.4)) >= heard

    # And it goes on, in the same file.
    with scripted(reply("ready"), otherwise=reply("At nine.")) as server:
        resumed = run(
            *("talk", "--fast", "--json", f"--input={recording(10)}", "--llm", server.url),
            *(f"--output={tmp_path / 'more.wav'}", f"--save={tmp_path / 'said'}"),
            f"--resume={tmp_path / 'said'}",
        )
    assert resumed.code == 0
    before = [(message.role, message.content) for message in said]
    assert read_conversation(tmp_path / "said")[:-2] == before
    assert read_conversation(tmp_path / "said")[-1] == ("assistant", "At nine.")
