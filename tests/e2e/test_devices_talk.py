"""`cascade talk` and `cascade doctor` on microphone and loudspeaker: PulseAudio, heard from outside.

What goes in is speech that is played to the microphone; what comes out is recorded from the
loudspeaker and read back by the recogniser. Replies are scripted in words that it knows.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest
from cli_child import (
    HANG_S,
    ROOT,
    Child,
    Outcome,
    embedded_llm,
    read_conversation,
    read_trace,
    read_wav,
    recording,
    run,
    scripted,
)
from llm_server import LlmServer, reply
from pulse import RATE, Pulse

from pipeline.audio.audible import AUDIBLE_DBFS
from pipeline.audio.resample import Resampler
from pipeline.catalogue import Catalogue
from pipeline.clock import NS_PER_S
from pipeline.config import Stt
from pipeline.events import Samples
from pipeline.stages.stt import Whisper
from pipeline.timeline import Timeline
from pipeline.turns import RATE as STT_RATE

ReadBack = Callable[[Samples, int], str]

QUESTION, OTHER_QUESTION = 34, 18
SPOKEN = {
    QUESTION: "The jacket I bought never arrived.",
    OTHER_QUESTION: "Remind me to check the oven at six ten tomorrow.",
}
ANSWERS = ("Wake me up at twelve on Thursday.", "What is the weather like in Tokyo?")
STORY = (
    "How far is it from Toronto to Boston? I need a hotel in Toronto for six nights. "
    "What is the oldest city in the world? Remind me to pay the bills on Tuesday. "
    "What is eighteen plus nine plus ten? The jacket I bought never arrived. "
    "I am not happy with my order. Set the brightness to forty four percent."
)
ROOMY = {"CASCADE_AUDIO__LATENCY_MS": "80"}
"""A buffer into which a busy machine tears no holes, where every word counts."""

MARKS = (
    "speech.start",
    "speech.end",
    "vad.stop",
    "provisional",
    "committed",
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


class Talk(Child):
    """A conversation on the devices of a sound server.

    It traces to `trace`, records to `both.wav` and saves to `said` in its folder.
    """

    def __init__(self, pulse: Pulse, folder: Path, llm: str, env: dict[str, str]) -> None:
        self.folder = folder
        files = ("--trace=trace", "--record=both.wav", "--save=said")
        env = {**devices(pulse), **env}
        super().__init__("talk", "--json", f"--llm={llm}", *files, env=env, cwd=folder)

    def wait_event(self, kind: str, turn: int) -> None:
        """Return once this has happened in that turn."""
        self.wait_for(json.dumps({"type": kind, "turn": turn})[:-1], "out")

    def wait_mark(self, turn: int, mark: str) -> None:
        """Return once a turn has this mark."""
        wanted = re.compile(rf'"turn": {turn},.* "mark": "{mark}"')
        until = time.monotonic() + HANG_S
        while not wanted.search((self.folder / "trace").read_text("utf-8")):
            if time.monotonic() > until:
                raise AssertionError(f"no {mark} in turn {turn}: {self.finish(kill=True)}")
            time.sleep(0.02)

    def interrupt(self) -> Outcome:
        """Ctrl-C."""
        self.signal(signal.SIGINT)
        return self.finish()


@contextmanager
def talking(pulse: Pulse, folder: Path, llm: str, **env: str) -> Iterator[Talk]:
    """A conversation that has begun to listen, and does not outlive the test."""
    talk = Talk(pulse, folder, llm, env)
    try:
        talk.wait_for("listening")
        yield talk
    finally:
        talk.finish(kill=True)


def devices(pulse: Pulse) -> dict[str, str]:
    """The variables that make a sound server's devices the system's."""
    return {name: value for name, value in pulse.env.items() if os.environ.get(name) != value}


@pytest.fixture(scope="module")
def read_back() -> ReadBack:
    """The recogniser: sound and its rate (Hz) in, words out."""
    path = Catalogue.load().resolve("stt", "whisper-mini-en").path
    whisper = Whisper(path, Stt(), short_windows=True)

    def read(sound: Samples, rate: int) -> str:
        quiet = np.zeros(rate * 3 // 10, np.int16)
        resampler = Resampler(rate, STT_RATE)
        framed = resampler.push(np.concatenate([quiet, sound, quiet]))
        framed = np.concatenate([framed, resampler.flush()])
        return whisper.transcribe(framed.astype(np.float32) / 32768).text

    return read


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def mistakes(said: list[str], heard: list[str]) -> int:
    """How many words were left out, added, or taken for others."""
    if not said or not heard:
        return len(said) + len(heard)
    compared = jiwer.process_words(" ".join(said), " ".join(heard))
    return compared.substitutions + compared.deletions + compared.insertions


def stretches(samples: Samples, rate: int) -> list[slice]:
    """Where there is sound, parted by silences longer than any inside a reply."""
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 32768 * 10 ** (AUDIBLE_DBFS / 20))
    breaks = np.flatnonzero(np.diff(loud) > 0.6 * rate)
    begins = loud[np.concatenate([[0], breaks + 1])] if len(loud) else []
    ends = loud[np.concatenate([breaks, [-1]])] if len(loud) else []
    return [slice(int(begin), int(end) + 1) for begin, end in zip(begins, ends, strict=True)]


@pytest.mark.device
def test_a_conversation_of_two_turns(pulse: Pulse, tmp_path: Path, read_back: ReadBack) -> None:
    with (
        scripted(reply("ready"), *map(reply, ANSWERS)) as llm,
        pulse.record() as outside,
        talking(pulse, tmp_path, llm.url, **ROOMY) as talk,
    ):
        for turn, question in enumerate(SPOKEN, 1):
            pulse.play_into_mic(recording(question))
            talk.wait_mark(turn, "playout.last")
        outcome = talk.interrupt()
    assert outcome.code == 130
    assert outcome.errors == []
    assert outcome.texts() == [*SPOKEN.values()]
    assert [event["status"] for event in outcome.of("reply_done")] == ["completed"] * 2
    said = [text for turn in zip(SPOKEN.values(), ANSWERS, strict=True) for text in turn]
    roles = ["user", "assistant"] * 2
    assert read_conversation(tmp_path / "said") == [*zip(roles, said, strict=True)]

    _, turns = read_trace(tmp_path / "trace")
    for marks in turns.values():
        times = [marks[name] for name in MARKS]
        assert times == sorted(times)
    assert turns[1]["playout.last"] < turns[2]["speech.start"]

    # What was heard outside, and what was recorded of both sides, has the words.
    sound = outside[0].samples
    heard = [words(read_back(sound[where], RATE)) for where in stretches(sound, RATE)]
    assert [mistakes(words(a), b) <= 1 for a, b in zip(ANSWERS, heard, strict=True)] == [True] * 2
    both, rate = read_wav(tmp_path / "both.wav")
    sides = [[(where, side[where]) for where in stretches(side, rate)] for side in both.T]
    recorded = [stretch for turn in zip(*sides, strict=True) for stretch in turn]
    assert len(recorded) == len(said)
    for text, (_, stretch) in zip(said, recorded, strict=True):
        assert mistakes(words(text), words(read_back(stretch, rate))) <= 1

    # The recording bears the trace out, and the person is told what the trace has.
    edges = [(question.stop, answer.start) for (question, _), (answer, _) in zip(*sides)]
    for marks, (end, begin) in zip(turns.values(), edges, strict=True):
        timeline = Timeline.from_marks(marks)
        assert timeline is not None
        assert f"voice-to-voice {timeline.total_ns / 1e6:.0f} ms" in outcome.err
        assert timeline.total_ns / NS_PER_S == pytest.approx((begin - end) / rate, abs=0.25)
    assert [a.stop < b.start for (a, _), (b, _) in pairwise(recorded)] == [True] * 3


@pytest.mark.device
def test_speaking_over_a_reply(pulse: Pulse, tmp_path: Path, read_back: ReadBack) -> None:
    with (
        scripted(reply("ready"), reply(STORY), reply(ANSWERS[0])) as llm,
        pulse.record() as outside,
        talking(pulse, tmp_path, llm.url, **ROOMY) as talk,
    ):
        pulse.play_into_mic(recording(QUESTION))
        talk.wait_mark(1, "heard.first")
        time.sleep(1.5)  # of a reply that takes a quarter of a minute
        pulse.play_into_mic(recording(OTHER_QUESTION))
        talk.wait_mark(2, "playout.last")
        outcome = talk.interrupt()
        reminded = [message["content"] for message in llm.requests[-1].body["messages"]]
    assert outcome.code == 130
    assert outcome.texts() == [*SPOKEN.values()]
    statuses = [(event["turn"], event["status"]) for event in outcome.of("reply_done")]
    assert statuses == [(1, "interrupted"), (2, "completed")]
    [interrupted] = outcome.of("reply_interrupted")
    kept = interrupted["heard_text"]
    assert STORY.startswith(kept)
    assert reminded[1:] == [SPOKEN[QUESTION], kept, SPOKEN[OTHER_QUESTION]]
    assert [text for _, text in read_conversation(tmp_path / "said")] == [*reminded[1:], ANSWERS[0]]
    _, turns = read_trace(tmp_path / "trace")
    assert turns[1]["heard.first"] < turns[2]["speech.start"] < turns[1]["interrupted"]

    # Outside, the reply breaks off where the history says, and then there is silence.
    sound = outside[0].samples
    first, second = stretches(sound, RATE)
    heard, story = words(read_back(sound[first], RATE)), words(STORY)
    reached = min(range(len(story)), key=lambda n: mistakes(story[:n], heard))
    assert abs(reached - len(words(kept))) <= 2
    assert mistakes(words(ANSWERS[0]), words(read_back(sound[second], RATE))) <= 1
    # It breaks off while the user goes on speaking.
    both, rate = read_wav(tmp_path / "both.wav")
    (_, over), (broken, _) = (stretches(side, rate) for side in both.T)
    assert over.start < broken.stop < over.stop


@pytest.mark.device
def test_the_sound_server_dies(start_pulse: Callable[[], Pulse], tmp_path: Path) -> None:
    pulse = start_pulse()
    with (
        scripted(reply("ready"), reply(STORY)) as llm,
        talking(pulse, tmp_path, llm.url) as talk,
    ):
        pulse.play_into_mic(recording(QUESTION))
        talk.wait_mark(1, "heard.first")
        time.sleep(1)  # for some words of the reply
        pulse.server.kill()
        outcome = talk.finish()
    assert outcome.code == 1
    [error] = outcome.errors
    assert re.match(
        r"error: (microphone|loudspeaker) default: is gone: it was unplugged, or", error
    )
    (who, asked), (whose, kept) = read_conversation(tmp_path / "said")
    assert (who, asked, whose) == ("user", SPOKEN[QUESTION], "assistant")
    assert STORY.startswith(kept)
    assert read_trace(tmp_path / "trace")[1].keys() == {1}
    both, rate = read_wav(tmp_path / "both.wav")
    assert [len(stretches(side, rate)) for side in both.T] == [1, 1]


@pytest.mark.device
def test_a_reply_of_the_embedded_model_is_heard(pulse: Pulse, tmp_path: Path) -> None:
    if embedded_llm() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("the embedded language model is not here; scripts/setup fetches it")
        pytest.skip("the embedded language model has not been fetched")
    with pulse.record() as outside, talking(pulse, tmp_path, "embedded") as talk:
        pulse.play_into_mic(recording(QUESTION))
        talk.wait_mark(1, "heard.first")
        time.sleep(0.5)
        outcome = talk.interrupt()
    assert outcome.code == 130
    assert outcome.texts() == [SPOKEN[QUESTION]]
    assert outcome.of("reply_text")
    assert stretches(outside[0].samples, RATE)


@pytest.mark.device
def test_doctor_hears_and_is_heard(pulse: Pulse) -> None:
    over = threading.Event()

    def speak() -> None:
        while not over.is_set():
            pulse.play_into_mic(recording(OTHER_QUESTION))

    speaking = threading.Thread(target=speak)
    speaking.start()
    try:
        with pulse.record() as outside:
            outcome = run("doctor", "--check=devices", "--json", env=devices(pulse))
    finally:
        over.set()
        speaking.join()
    assert outcome.code == 0
    assert {finding["state"] for finding in outcome.events} == {"ok"}
    detail = {finding["name"]: finding["detail"] for finding in outcome.events}
    assert "loudest" in detail["microphone"]
    assert "a soft tone was played" in detail["speaker"]
    [tone] = stretches(outside[0].samples, RATE)
    assert tone.stop - tone.start < RATE


@pytest.mark.device
def test_a_machine_without_sound(pulse: Pulse) -> None:
    env = {**devices(pulse), "PULSE_SERVER": "unix:/nowhere"}
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


@pytest.fixture
def without_portaudio(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine where sounddevice does not find its library."""
    folder = tmp_path / "stub"
    folder.mkdir()
    (folder / "sounddevice.py").write_text('raise OSError("PortAudio library not found")\n')
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


@pytest.mark.parametrize("command", [("talk",), ("doctor", "--check=devices")])
def test_a_machine_without_portaudio(
    command: tuple[str, ...], without_portaudio: dict[str, str]
) -> None:
    outcome = run(*command, env=without_portaudio)
    assert outcome.code == 1
    assert "The PortAudio library is missing" in outcome.err
    assert re.search(r"^Install it: .*(portaudio|sounddevice)", outcome.err, re.MULTILINE)


def test_files_need_no_portaudio(tmp_path: Path, without_portaudio: dict[str, str]) -> None:
    files = (f"--input={recording(QUESTION)}", f"--output={tmp_path / 'out.wav'}", "--fast")
    with scripted(reply("ready"), reply(ANSWERS[0])) as llm:
        outcome = run("talk", "--json", f"--llm={llm.url}", *files, env=without_portaudio)
    assert outcome.code == 0
    assert outcome.texts() == [SPOKEN[QUESTION]]
    sound, rate = read_wav(tmp_path / "out.wav")
    assert len(stretches(sound[:, 0], rate)) == 1
