"""Sound that nobody should send: no turn without end, no stuck state, and a trace that tells of it.

Each bad sound is followed by a question, which has to be understood and answered as ever.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from servers.llm_server import reply
from support.cli_child import RECORDINGS, read_trace, run, scripted

from pipeline.audio.files import WavWriter, read_audio
from pipeline.engines.whisper import bare

RATE = 16_000
QUESTION = "dev_08.wav"
WORDS = "When does the train to Madrid leave?"
ANSWER = "It leaves at nine in the morning."
Sound = npt.NDArray[np.float64]


def spoken(name: str) -> Sound:
    return np.concatenate([*read_audio(RECORDINGS / name, RATE)]).astype(float) / 32768


def noise(random: np.random.Generator) -> Sound:
    return random.normal(0, 0.1, 20 * RATE)


def music(random: np.random.Generator) -> Sound:
    """Chords of a plucked instrument, four a second."""
    notes = []
    t = np.arange(RATE // 4) / RATE
    for _ in range(60):
        root = 110 * 2 ** (random.integers(0, 24) / 12)
        chord = sum(
            np.sin(2 * np.pi * root * r * h * t) / h for r in (1, 1.25, 1.5) for h in (1, 2)
        )
        notes.append(0.1 * chord * np.exp(-6 * t))
    return np.concatenate(notes)


def second_voice(random: np.random.Generator) -> Sound:
    one, two = spoken("dev_11.wav"), spoken("dev_14.wav")
    length = max(len(one), len(two))
    return sum(np.pad(v, (0, length - len(v))) for v in (one, 0.7 * two))


def clipping(random: np.random.Generator) -> Sound:
    return np.clip(30 * spoken("dev_11.wav"), -1, 1)


def jumping_level(random: np.random.Generator) -> Sound:
    sound = spoken("dev_14.wav")
    steps = np.repeat(random.choice([0.02, 0.3, 3.0], len(sound) // 4000 + 1), 4000)
    return np.clip(sound * steps[: len(sound)], -1, 1)


def dropped_frames(random: np.random.Generator) -> Sound:
    """Every tenth frame of 20 ms is missing, as from an overloaded driver."""
    sound = spoken("dev_14.wav")
    frames = sound[: len(sound) // 320 * 320].reshape(-1, 320)
    return frames[random.random(len(frames)) > 0.1].reshape(-1)


def clicks(random: np.random.Generator) -> Sound:
    sound = np.zeros(20 * RATE)
    for second in range(20):
        sound[second * RATE : second * RATE + 80] = random.normal(0, 0.5, 80)
    return sound


SOUNDS = [noise, music, second_voice, clipping, jumping_level, dropped_frames, clicks]


def test_bad_sound_does_no_lasting_harm(tmp_path: Path) -> None:
    inputs: list[str | Path] = []
    for sound in SOUNDS:
        bad = tmp_path / f"{sound.__name__}.wav"
        with WavWriter(bad, RATE) as wav:
            samples = np.clip(sound(np.random.default_rng(1)), -1, 1) * 32767
            wav.write(np.concatenate([samples, np.zeros(RATE)]).astype(np.int16))
        inputs += ["--input", bad, "--input", RECORDINGS / QUESTION]
    with scripted(otherwise=reply(ANSWER)) as server:
        outcome = run(
            *("talk", "--fast", "--json", f"--llm={server.url}", f"--trace={tmp_path / 'trace'}"),
            *(*inputs, "--output", tmp_path / "reply.wav"),
        )
    assert outcome.code == 0, outcome.err
    assert not outcome.errors
    # After each the question is understood and answered, at the latest in the sixth turn.
    texts = {event["turn"]: event["text"] for event in outcome.of("transcript") if event["final"]}
    questions = [turn for turn, text in texts.items() if bare(text) == bare(WORDS)]
    assert len(questions) == len(SOUNDS)
    assert questions[-1] == max(texts)
    statuses = {event["turn"]: event["status"] for event in outcome.of("reply_done")}
    for before, turn in pairwise([0, *questions]):
        assert turn - before <= 6, SOUNDS[questions.index(turn)].__name__
        assert statuses[turn] == "completed"
    # What began has ended, and for good.
    started = [event["turn"] for event in outcome.of("speech_started")]
    assert started == [event["turn"] for event in outcome.of("speech_stopped")]
    assert started == sorted(statuses)
    _, turns = read_trace(tmp_path / "trace")
    for turn in started:
        assert {"speech.start", "speech.end", "committed", "stt.final"} <= turns[turn].keys()
