"""`cascade talk` and `cascade doctor` on a microphone and a loudspeaker, heard from outside.

What goes in is speech that is played to the microphone; what comes out is recorded from the
loudspeaker and read back by the recogniser. Replies are scripted in words that it knows.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest
from servers.llm_server import Answer, Request, reply
from support.cli_child import Outcome, recording, run, scripted, without_portaudio
from support.device_talk import ALONE, GAP_S, ROOMY, Talked, talking
from support.pulse import RATE, Pulse
from support.sound import stretches

from pipeline.audio.resample import Resampler
from pipeline.clock import NS_PER_S
from pipeline.config import SttSettings
from pipeline.engines.whisper import Whisper
from pipeline.events import Samples
from pipeline.models.catalogue import Catalogue
from pipeline.trace import Timeline
from pipeline.turns.taker import RATE as STT_RATE

ReadBack = Callable[[Samples, int], str]

QUESTION, OTHER_QUESTION = 34, 8
SPOKEN = {
    QUESTION: "The jacket I bought never arrived.",
    OTHER_QUESTION: "When does the train to Madrid leave?",
}
ANSWERS = ("Wake me up at twelve on Thursday.", "What is the weather like in Tokyo?")
STORY = (
    "How far is it from Toronto to Boston? I need a hotel in Toronto for six nights. "
    "What is the oldest city in the world? Remind me to pay the bills on Tuesday. "
    "What is eighteen plus nine plus ten? The jacket I bought never arrived. "
    "I am not happy with my order. Set the brightness to forty four percent."
)
MARKS = (
    "speech.start",
    "speech.end",
    "vad.stop",
    "provisional",
    "stt.start",
    "stt.final",
    "llm.request",
    "llm.first_token",
    "clause.first",
    "tts.start",
    "tts.first_audio",
    "playout.first",
    "heard.first",
    "heard.last",
    "playout.last",
)
"""Marks of a turn that nobody interrupts, in the order of their times."""


def by_turn(*texts: str) -> Callable[[Request], Answer]:
    """Answers the user's n-th message with the n-th text, however often it is asked to."""

    def answer(request: Request) -> Answer:
        said = sum(message["role"] == "user" for message in request.body["messages"])
        return reply(texts[min(said, len(texts)) - 1])

    return answer


@pytest.fixture(scope="module")
def read_back() -> ReadBack:
    """The recogniser: sound and its rate (Hz) in, words out."""
    path = Catalogue.load().resolve("stt", "whisper-mini-en").path
    whisper = Whisper(path, SttSettings(), short_windows=True)

    def read(sound: Samples, rate: int) -> str:
        quiet = np.zeros(rate * 3 // 10, np.int16)
        resampler = Resampler(rate, STT_RATE)
        framed = resampler.push(np.concatenate([quiet, sound, quiet]))
        framed = np.concatenate([framed, resampler.flush()])
        return whisper.transcribe(framed.astype(np.float32) / np.float32(32768)).text

    return read


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def mistakes(said: str, heard: str) -> int:
    """How many words were left out, added, or taken for others."""
    if not words(said) or not words(heard):
        return len(words(said)) + len(words(heard))
    compared = jiwer.process_words(" ".join(words(said)), " ".join(words(heard)))
    return compared.substitutions + compared.deletions + compared.insertions


def understood(outcome: Outcome, *questions: int) -> list[str]:
    """The transcripts; a busy machine may cost each a word."""
    texts = outcome.texts()
    pairs = zip((SPOKEN[question] for question in questions), texts, strict=True)
    assert all(mistakes(*pair) <= 1 for pair in pairs), texts
    return texts


@dataclass(frozen=True)
class Heard(Talked):
    """A conversation that is over, and the loudspeaker as it was heard from outside."""

    outside: Samples


@pytest.fixture(scope="module")
def whole(pulse: Pulse, tmp_path_factory: pytest.TempPathFactory) -> Heard:
    """Two turns that are heard to their ends, and then Ctrl-C."""
    folder = tmp_path_factory.mktemp("whole")
    with (
        scripted(otherwise=by_turn(*ANSWERS)) as llm,
        pulse.record() as outside,
        talking(pulse, folder, llm.url, **ROOMY, **ALONE) as talk,
    ):
        for turn, question in enumerate(SPOKEN, 1):
            pulse.play_into_mic(recording(question))
            talk.wait_turn(turn, "playout.last")
        outcome = talk.interrupt()
    return Heard(folder, outcome, outside[0].samples)


@pytest.fixture(scope="module")
def interrupted(pulse: Pulse, tmp_path_factory: pytest.TempPathFactory) -> Heard:
    """The second question falls into the middle of the first one's reply."""
    folder = tmp_path_factory.mktemp("interrupted")
    with (
        scripted(otherwise=by_turn(STORY, ANSWERS[0])) as llm,
        pulse.record() as outside,
        talking(pulse, folder, llm.url, **ROOMY, **ALONE) as talk,
    ):
        pulse.play_into_mic(recording(QUESTION))
        talk.wait_turn(1, "heard.first")
        time.sleep(1.5)  # of a reply that takes a quarter of a minute
        pulse.play_into_mic(recording(OTHER_QUESTION))
        talk.wait_turn(2, "playout.last")
        outcome = talk.interrupt()
    return Heard(folder, outcome, outside[0].samples)


@pytest.mark.device
def test_two_turns_are_understood_and_answered(whole: Heard) -> None:
    assert whole.outcome.code == 130
    assert whole.outcome.errors == []
    texts = understood(whole.outcome, *SPOKEN)
    assert whole.statuses == ["completed"] * 2
    pairs = zip(texts, ANSWERS, strict=True)
    assert whole.said == [m for q, a in pairs for m in (("user", q), ("assistant", a))]


@pytest.mark.device
def test_the_trace_has_all_marks_in_order(whole: Heard) -> None:
    for marks in whole.turns.values():
        times = [marks[name] for name in MARKS]
        assert times == sorted(times)
    assert whole.turns[1]["playout.last"] < whole.turns[2]["speech.start"]


@pytest.mark.device
def test_the_replies_are_heard_word_for_word(whole: Heard, read_back: ReadBack) -> None:
    heard = [
        read_back(whole.outside[where], RATE) for where in stretches(whole.outside, RATE, GAP_S)
    ]
    assert len(heard) == len(ANSWERS)
    assert [mistakes(*said) <= 1 for said in zip(ANSWERS, heard, strict=True)] == [True] * 2, heard


@pytest.mark.device
def test_the_recording_has_both_sides(whole: Heard, read_back: ReadBack) -> None:
    *both, rate = whole.both
    for sound, side, texts in zip(both, whole.sides, (SPOKEN.values(), ANSWERS), strict=True):
        for where, text in zip(side, texts, strict=True):
            assert mistakes(text, read_back(sound[where], rate)) <= 1
    in_turn = [where for turn in zip(*whole.sides, strict=True) for where in turn]
    assert all(one.stop < other.start for one, other in pairwise(in_turn))


@pytest.mark.device
def test_trace_recording_and_screen_agree(whole: Heard) -> None:
    *_, rate = whole.both
    for marks, user, answer in zip(whole.turns.values(), *whole.sides, strict=True):
        timeline = Timeline.from_marks(marks)
        assert timeline is not None
        assert f"voice-to-voice {timeline.total_ns / 1e6:.0f} ms" in whole.outcome.err
        measured = (answer.start - user.stop) / rate
        # Measured: within 25 ms. An overloaded sound server says what it likes.
        assert timeline.total_ns / NS_PER_S == pytest.approx(measured, abs=0.25)


@pytest.mark.device
def test_speaking_over_a_reply_ends_it(interrupted: Heard, read_back: ReadBack) -> None:
    assert interrupted.outcome.code == 130
    turns = interrupted.turns
    assert turns[1]["heard.first"] < turns[2]["speech.start"] < turns[1]["interrupted"]
    assert interrupted.statuses == ["interrupted", "completed"]
    # The reply breaks off while the user goes on, and then nothing is heard but the next one.
    (_, over), (broken, _) = interrupted.sides
    assert over.start < broken.stop < over.stop
    _, answer = stretches(interrupted.outside, RATE, GAP_S)
    assert mistakes(ANSWERS[0], read_back(interrupted.outside[answer], RATE)) <= 1


@pytest.mark.device
def test_of_a_broken_reply_is_kept_what_was_heard(interrupted: Heard, read_back: ReadBack) -> None:
    first, second = understood(interrupted.outcome, *SPOKEN)
    [event] = interrupted.outcome.of("reply_interrupted")
    kept = event["heard_text"]
    assert STORY.startswith(kept)
    _, (_, saved), *_ = interrupted.said
    assert [text for _, text in interrupted.said] == [first, saved, second, ANSWERS[0]]
    # The reply plays on until the driver takes notice: a word more, at the most two.
    assert STORY.startswith(saved)
    assert 0 <= len(saved.split()) - len(kept.split()) <= 2
    broken, _ = stretches(interrupted.outside, RATE, GAP_S)
    heard = read_back(interrupted.outside[broken], RATE)
    beginnings = [" ".join(STORY.split()[:n]) for n in range(len(STORY.split()))]
    closest = min(beginnings, key=lambda beginning: mistakes(beginning, heard))
    assert abs(len(words(closest)) - len(words(kept))) <= 2, (kept, heard)


@pytest.mark.device
def test_the_sound_server_dies(start_pulse: Callable[[], Pulse], tmp_path: Path) -> None:
    pulse = start_pulse()
    with (
        scripted(otherwise=by_turn(STORY)) as llm,
        talking(pulse, tmp_path, llm.url, **ALONE) as talk,
    ):
        pulse.play_into_mic(recording(QUESTION))
        talk.wait_turn(1, "heard.first")
        time.sleep(1)  # for some words of the reply
        pulse.server.kill()
        outcome = talk.finish()
    assert outcome.code == 1
    [error] = outcome.errors
    assert re.match(
        r"error: (microphone|loudspeaker) default: is gone: it was unplugged, or", error
    )
    [asked] = understood(outcome, QUESTION)
    talked = Talked(tmp_path, outcome)
    question, (who, kept) = talked.said
    assert (question, who) == (("user", asked), "assistant")
    assert STORY.startswith(kept)
    assert talked.turns.keys() == {1}
    assert [len(side) for side in talked.sides] == [1, 1]


@pytest.mark.device
def test_doctor_hears_and_is_heard(pulse: Pulse) -> None:
    over = threading.Event()

    def speak() -> None:
        while not over.is_set():
            pulse.play_into_mic(recording(QUESTION))

    speaking = threading.Thread(target=speak)
    speaking.start()
    try:
        with pulse.record() as outside:
            outcome = run("doctor", "--check=devices", "--json", env=pulse.devices)
    finally:
        over.set()
        speaking.join()
    assert outcome.code == 0
    assert {finding["state"] for finding in outcome.events} == {"ok"}
    detail = {finding["name"]: finding["detail"] for finding in outcome.events}
    assert "loudest" in detail["microphone"]
    assert "a soft tone was played" in detail["speaker"]
    [tone] = stretches(outside[0].samples, RATE, GAP_S)
    assert tone.stop - tone.start < RATE


@pytest.mark.device
def test_devices_do_not_choose_the_code(pulse: Pulse, tmp_path: Path) -> None:
    """Else a bench that compares builds runs the same one twice."""
    package = tmp_path / "pipeline"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("print('another build')")
    outcome = run(env={"PYTHONPATH": str(tmp_path), **pulse.devices})
    assert outcome.out == "another build\n"


@pytest.mark.device
def test_a_machine_without_sound(pulse: Pulse) -> None:
    env = {**pulse.devices, "PULSE_SERVER": "unix:/nowhere"}
    examined = run("doctor", "--check=devices", "--json", env=env)
    if any(finding["name"] == "found" for finding in examined.events):
        pytest.skip("this machine has a sound card")
    assert examined.code == 1
    detail = {finding["name"]: finding["detail"] for finding in examined.events}
    assert {finding["state"] for finding in examined.events} == {"problem"}
    assert "use a file: cascade talk --input FILE.wav" in detail["microphone"]
    assert "use a file: cascade talk --output FILE.wav" in detail["speaker"]
    talked = run("talk", env=env)
    assert talked.code == 1
    assert talked.errors == [f"error: {detail['microphone']}"]


@pytest.mark.parametrize("command", [("talk",), ("doctor", "--check=devices")])
def test_a_machine_without_portaudio(command: tuple[str, ...], tmp_path: Path) -> None:
    outcome = run(*command, env=without_portaudio(tmp_path))
    assert outcome.code == 1
    assert "The PortAudio library is missing" in outcome.err
    assert re.search(r"^Install it: .*(portaudio|sounddevice)", outcome.err, re.MULTILINE)
