"""`cascade talk` from files to files: what it prints, writes and remembers, and how it is stopped.

The engines are real. Where it matters what the language model says it is the scripted server.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.llm_server import ROLE, Answer, delta, hang, reply, status
from support.cli_child import (
    HUMAN,
    REAL,
    Child,
    Files,
    Outcome,
    json_lines,
    needs_people,
    read_trace,
    recording,
    require_models,
    run,
    run_here,
    scripted,
    with_endless_loading,
    without_portaudio,
)
from support.sound import in_a_row, stretches

from pipeline.audio.files import read_audio
from pipeline.clock import NS_PER_S
from pipeline.config import Settings, SttSettings
from pipeline.engines.whisper import Whisper, bare
from pipeline.events import Samples
from pipeline.models.catalogue import Catalogue
from pipeline.terminal import waterfall
from pipeline.trace import MARKS, Timeline
from pipeline.turns.loudness import WINDOW_MS
from pipeline.turns.taker import RATE

SPOKEN = {
    5: "What time does the museum leave?",
    2: "How far is it from Toronto to Boston?",
    10: "What is the weather like in Tokyo?",
}
ANSWER = "What is the oldest city in the world?"
LONG = "The train leaves at nine in the morning, from platform four, and it takes three hours. " * 2
FIELDS = {
    "speech_started": {"turn"},
    "speech_stopped": {"turn"},
    "transcript": {"turn", "text", "final"},
    "reply_started": {"turn", "id"},
    "reply_text": {"turn", "id", "delta"},
    "reply_interrupted": {"turn", "id", "heard_text"},
    "usage": {
        *("turn", "kind", "seconds", "input_tokens", "cached_tokens", "output_tokens"),
        *("input_audio_tokens", "cached_audio_tokens", "output_audio_tokens"),
    },
    "reply_done": {"turn", "id", "status", "reason"},
}
ORDER = (
    "speech_started",
    "partial",
    "speech_stopped",
    "final",
    "reply_started",
    "reply_text",
    "usage",
    "reply_done",
)


@dataclass(frozen=True)
class Talked:
    """A conversation that is over."""

    outcome: Outcome
    files: Files


def talk(folder: Path, *options: str | Path, **env: str) -> Talked:
    """Hold a conversation between files, at full speed."""
    files = Files(folder)
    return Talked(run("talk", "--fast", "--json", *files.options, *options, env=env), files)


def inputs(*numbers: int) -> list[str]:
    return [f"--input={recording(number)}" for number in numbers]


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Talked:
    """Two turns with the default models, nothing scripted."""
    require_models("stt", "llm", "tts")
    return talk(tmp_path_factory.mktemp("offline"), *inputs(10, 2), **REAL)


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Talked:
    """Three turns, drawn, where there is no PortAudio; the model takes its time over the first."""
    folder = tmp_path_factory.mktemp("fast")
    slow = reply(*(f"{word} " for word in LONG.split()[:17]), after_s=0.05)
    with scripted(reply("ready"), slow, otherwise=reply(ANSWER)) as server:
        options = ("--llm", server.url, "--profile")
        return talk(folder, *inputs(*SPOKEN), *options, **without_portaudio(folder))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Talked:
    """One turn in real time."""
    files = Files(tmp_path_factory.mktemp("live"))
    with scripted(otherwise=reply(ANSWER)) as server:
        outcome = run("talk", "--json", *files.options, *inputs(5), "--llm", server.url)
    return Talked(outcome, files)


# ---- what a conversation leaves --------------------------------------------------------------


def test_offline_with_nothing_scripted(offline: Talked) -> None:
    assert offline.outcome.code == 0
    assert offline.outcome.errors == []
    assert [bare(text) for text in offline.outcome.texts()] == [bare(SPOKEN[10]), bare(SPOKEN[2])]
    assert [who for who, _ in offline.files.said] == ["user", "assistant"] * 2
    assert all(event["output_tokens"] > 3 for event in offline.outcome.of("usage"))
    first, _ = read_trace(offline.files.folder / "trace")
    assert (first["models"]["stt"], first["models"]["tts"]) == ("tiny.en", "en_US-joe-medium")


def test_the_replies_can_be_understood(offline: Talked) -> None:
    voice = np.concatenate([*read_audio(offline.files.folder / "out.wav", RATE)])
    whisper = Whisper(Catalogue.load().resolve("stt", "tiny.en").path, SttSettings())
    heard = set(bare(whisper.transcribe(voice / np.float32(32768)).text))
    said = set(bare(" ".join(text for who, text in offline.files.said if who == "assistant")))
    assert len(heard & said) > 0.7 * len(said)


def test_events_have_their_shape_and_order(offline: Talked) -> None:
    events = offline.outcome.events
    for event in events:
        assert event.keys() == {"type"} | FIELDS[event["type"]]
    assert [event["turn"] for event in events] == sorted(event["turn"] for event in events)
    for turn in (1, 2):
        own = [event for event in events if event["turn"] == turn]
        order = [ORDER.index(kind(event)) for event in own]
        assert order == sorted(order)
        assert {ORDER[i] for i in order} >= set(ORDER) - {"partial"}
        assert {event["id"] for event in own if "id" in event} == {f"reply-{turn}"}
        written = "".join(event["delta"] for event in own if kind(event) == "reply_text")
        assert ("assistant", written.strip()) == offline.files.said[2 * turn - 1]


def kind(event: dict[str, Any]) -> str:
    if event["type"] != "transcript":
        return str(event["type"])
    return "final" if event["final"] else "partial"


def test_the_trace_has_all_marks_in_order_and_parts_that_sum(fast: Talked) -> None:
    for marks in fast.files.turns.values():
        assert_in_order(
            marks,
            *("speech.start", "speech.end", "vad.stop", "provisional"),
            *("stt.start", "stt.final", "llm.request", "llm.first_token", "clause.first"),
            *("tts.start", "tts.first_audio", "playout.first", "heard.first"),
        )
        assert_in_order(marks, "provisional", "committed", "playout.first")
        assert_in_order(marks, "llm.first_token", "llm.last_token", "tts.last_audio")
        assert_in_order(marks, "heard.first", "heard.last", "playout.last")
        assert_in_order(marks, "tts.last_audio", "playout.last")
        timeline = Timeline.from_marks(marks)
        assert timeline is not None
        assert sum(timeline.parts.values()) == timeline.total_ns
        assert min(timeline.parts.values()) >= 0
        # The hold is waited for on the clock that `--fast` puts forward. It begins at a window in
        # which the voice fades, and may end.
        least_ms = Settings().turns.shortest_ms - WINDOW_MS
        assert timeline.parts["endpoint"] >= least_ms * 1e6
        # What was done in it is done when it is over.
        assert timeline.hidden["stt"] > 0
        assert timeline.parts["stt"] == 0


def assert_in_order(marks: dict[str, int], *names: str) -> None:
    assert marks.keys() >= set(names)
    assert sorted(names, key=lambda name: marks[name]) == list(names), marks


def test_the_first_line_of_a_trace_tells_of_the_run(fast: Talked) -> None:
    first, _ = read_trace(fast.files.folder / "trace")
    assert first["trace"] == 1
    assert first["models"]["stt"] == "whisper-mini-en"
    assert first["machine"]["cores"] == os.cpu_count()
    assert first["versions"].keys() >= {"faster-whisper", "piper-tts"}
    assert "api_key" not in json.dumps(first)


def test_the_recording_bears_the_trace_out(fast: Talked, live: Talked) -> None:
    for talked in (fast, live):
        left, right, rate = talked.files.both
        user, replies = stretches_s(left, rate), stretches_s(right, rate)
        turns = list(talked.files.turns.values())
        assert len(replies) == len(turns)
        # The file's clock is the trace's, save for where it begins.
        begin_ns = turns[0]["heard.first"] - replies[0][0] * NS_PER_S
        for marks, (first_s, last_s) in zip(turns, replies, strict=True):
            assert abs(marks["heard.first"] - begin_ns - first_s * NS_PER_S) < 5e6
            assert abs(marks["heard.last"] - begin_ns - last_s * NS_PER_S) < 5e6
            # Voice ends where the judge's last window of 32 ms does, and the judge lingers.
            end_s = max(end for _, end in user if end < first_s)
            by_trace = marks["heard.first"] - marks["speech.end"]
            assert abs(by_trace - (first_s - end_s) * NS_PER_S) <= 60e6


def test_what_the_loudspeaker_played_is_the_right_channel(fast: Talked) -> None:
    out, rate = fast.files.out
    _, right, same = fast.files.both
    assert rate == same
    n = min(len(out), len(right))
    assert abs(len(out) - len(right)) < rate
    assert np.array_equal(out[:n], right[:n])


def stretches_s(samples: Samples, rate: int) -> list[tuple[float, float]]:
    """Beginnings and ends of sound (s)."""
    return [(one.start / rate, (one.stop - 1) / rate) for one in stretches(samples, rate, 0.4)]


def test_each_turn_is_drawn_from_its_marks(fast: Talked) -> None:
    assert "voice-to-voice " in fast.outcome.err
    assert " ms = endpoint" not in fast.outcome.err
    for marks in fast.files.turns.values():
        drawn = waterfall({name: marks[name] for name in MARKS if name in marks})
        assert "\n".join(line.plain for line in drawn) in fast.outcome.err


# ---- at full speed, one stage after the other, again -----------------------------------------


def test_full_speed_hears_what_real_time_hears(fast: Talked, live: Talked) -> None:
    assert fast.outcome.code == live.outcome.code == 0
    assert fast.outcome.texts() == list(SPOKEN.values())
    assert live.outcome.texts() == [SPOKEN[5]]
    for talked in (fast, live):
        for marks in talked.files.turns.values():
            timeline = Timeline.from_marks(marks)
            assert timeline is not None
            # Generous: the machine may be busy. A skip of nothing or of too much is further off.
            assert 0.2e9 < timeline.total_ns < 10e9


@pytest.fixture(scope="module")
def resumed(live: Talked, tmp_path_factory: pytest.TempPathFactory) -> tuple[Talked, list[str]]:
    """The conversation goes on, one stage after the other; and what the model was asked at last."""
    slow = reply("At ", "nine.", after_s=0.05)
    with scripted(reply("ready"), slow) as server:
        options = (
            "--llm",
            server.url,
            "--mode=sequential",
            f"--resume={live.files.folder / 'said'}",
        )
        talked = talk(tmp_path_factory.mktemp("resumed"), *inputs(10), *options)
        asked = [message["content"] for message in server.requests[-1].body["messages"]]
    return talked, asked


def test_stages_overlap_unless_told_otherwise(
    fast: Talked, resumed: tuple[Talked, list[str]]
) -> None:
    assert_in_order(fast.files.turns[1], "tts.start", "heard.first", "llm.last_token")
    assert_in_order(
        resumed[0].files.turns[2],
        *("stt.final", "llm.request", "llm.first_token", "llm.last_token"),
        *("tts.start", "tts.first_audio", "tts.last_audio", "playout.first", "heard.first"),
    )


def test_a_conversation_goes_on_where_it_was_saved(
    live: Talked, resumed: tuple[Talked, list[str]]
) -> None:
    talked, asked = resumed
    assert talked.outcome.code == 0
    assert asked[1:] == [SPOKEN[5], ANSWER, SPOKEN[10]]
    assert talked.files.said == [
        *live.files.said,
        ("user", SPOKEN[10]),
        ("assistant", "At nine."),
    ]
    assert {event["turn"] for event in talked.outcome.events} == {2}


def test_speaking_over_a_reply_ends_it(tmp_path: Path) -> None:
    spoken = in_a_row(tmp_path / "spoken.wav", recording(5), recording(10), pause_s=2.5)
    with scripted(reply("ready"), reply(LONG), reply(ANSWER)) as server:
        talked = talk(tmp_path, f"--input={spoken}", "--llm", server.url)
        reminded = [message["content"] for message in server.requests[-1].body["messages"]]
    assert talked.outcome.code == 0
    assert talked.outcome.texts() == [SPOKEN[5], SPOKEN[10]]
    [interrupted] = talked.outcome.of("reply_interrupted")
    assert interrupted["turn"] == 1
    _, (_, heard), *later = talked.files.said
    assert LONG.startswith(heard)
    assert 2 < len(heard.split()) < 17
    # What was played until the driver took notice is counted in.
    assert heard.startswith(interrupted["heard_text"])
    assert later == [("user", SPOKEN[10]), ("assistant", ANSWER)]
    assert reminded[1:] == [SPOKEN[5], heard, SPOKEN[10]]
    one, two = talked.files.turns[1], talked.files.turns[2]
    assert_in_order(one, "heard.first", "interrupted")
    # Not a block of it is heard after that, but for what fades out.
    assert one["heard.last"] < one["interrupted"] + 0.05e9
    _, right, rate = talked.files.both
    replies = stretches_s(right, rate)
    assert len(replies) == 2
    played_s = (one["heard.last"] - one["heard.first"]) / NS_PER_S
    assert abs(replies[0][1] - replies[0][0] - played_s) < 0.005
    assert two["speech.start"] < one["interrupted"]


@needs_people
def test_short_phrases_of_people_are_not_waited_for_long(tmp_path: Path) -> None:
    phrases = [HUMAN / "google" / f"{name}.wav" for name in ("half_an_hour", "today", "hello")]
    trace = tmp_path / "trace"
    with scripted(otherwise=reply("Fine.")) as server:
        outcome = run(
            *("talk", "--fast", f"--llm={server.url}", f"--trace={trace}"),
            *(f"--input={phrase}" for phrase in phrases),
            f"--output={tmp_path / 'reply.wav'}",
            env={"CASCADE_STT__MODEL": "tiny.en"},
        )
    assert outcome.code == 0, outcome.err
    ended = [mark for mark in json_lines(trace.read_text()) if mark.get("mark") == "committed"]
    assert len(ended) == len(phrases)
    assert all(mark["hold_ms"] < 1000 for mark in ended), ended


# ---- stopped in the middle -------------------------------------------------------------------


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a child cannot be sent signals")


@POSIX
def test_ctrl_c_in_the_middle_of_a_reply(tmp_path: Path) -> None:
    files = Files(tmp_path)
    text = LONG[:110]
    with scripted(reply("ready"), reply(text)) as server:
        child = Child("talk", "--json", *files.options, *inputs(5), "--llm", server.url)
        # No more than `ReplyPace.lead_s` is made ahead, and this reply is longer than that.
        child.wait_for("reply_done", "out")
        child.interrupt_twice()
        outcome = child.finish()
    assert outcome.code == 130
    assert outcome.errors == []
    [user, (who, heard)] = files.said
    assert user == ("user", SPOKEN[5])
    assert who == "assistant"
    assert text.startswith(heard)
    assert 0 < len(heard.split()) < len(text.split())
    out, rate = files.out
    left, right, _ = files.both
    assert abs(len(out) - len(right)) < rate
    assert len(stretches(left, rate, 0.4)) == len(stretches(right, rate, 1.0)) == 1
    assert "heard.first" in files.turns[1]


@POSIX
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_sigterm_or_a_closed_terminal_while_the_model_writes(tmp_path: Path, name: str) -> None:
    files = Files(tmp_path)
    begun = Answer([ROLE, delta("The train leaves at nine in the morning. "), delta("It"), hang])
    with scripted(reply("ready"), begun) as server:
        child = Child("talk", "--fast", "--json", *files.options, *inputs(5), "--llm", server.url)
        child.wait_for("reply_text", "out")
        child.signal(signal.Signals[name])
        outcome = child.finish()
        assert server.requests[-1].fate.result(timeout=30) == "abandoned"
    assert outcome.code == 130
    assert outcome.errors == []
    assert outcome.events[-1]["type"] == "reply_text"
    assert files.said[0] == ("user", SPOKEN[5])
    assert len(files.out[0]) > 0
    assert len(files.both[0]) > 0
    assert "llm.first_token" in files.turns[1]


@POSIX
@pytest.mark.parametrize(
    ("at", "answer", "endless"),
    [
        ("loading", Answer([hang]), False),
        ("loading", reply("ready"), True),
        ("listening", reply("ready"), False),
    ],
)
def test_ctrl_c_before_anything_is_said(
    tmp_path: Path, at: str, answer: Answer, endless: bool
) -> None:
    """What was said in another conversation stays; what never stops loading is not waited for."""
    files = Files(tmp_path)
    (tmp_path / "said").write_text('{"role": "user", "content": "Hello.", "turn": 1}\n')
    with scripted(answer) as server:
        env = with_endless_loading(tmp_path) if endless else {}
        child = Child("talk", *files.options, *inputs(5), "--llm", server.url, env=env)
        child.wait_for(at)
        child.signal(signal.SIGINT)
        outcome = child.finish()
    assert outcome.code == 130
    assert outcome.errors == []
    assert files.said == [("user", "Hello.")]


# ---- the other commands ----------------------------------------------------------------------


def test_the_settings_that_are_printed_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "cascade.toml").write_text(run_here("config").out, encoding="utf-8")
    outcome = run_here("models", "list", "--json", cwd=tmp_path)
    assert outcome.code == 0
    models = {model["name"]: model for model in outcome.events}
    assert models["whisper-mini-en"]["state"] == models["en_US-mini"]["state"] == "embedded"


def test_models_can_be_checked() -> None:
    outcome = run_here("models", "verify", "whisper-mini-en", "en_US-mini")
    assert outcome.code == 0
    assert outcome.out == "whisper-mini-en: whole\nen_US-mini: whole\n"


def test_doctor_finds_everything_well(offline: Talked) -> None:
    parts = ("models", "llm", "versions")
    outcome = run("doctor", "--json", *(f"--check={part}" for part in parts))
    assert outcome.code == 0
    assert outcome.err == ""
    assert all(finding["state"] == "ok" for finding in outcome.events)
    assert {finding["part"] for finding in outcome.events} == set(parts)
    assert sum(finding["part"] == "models" for finding in outcome.events) == 4


def test_doctor_finds_what_is_broken(tmp_path: Path) -> None:
    with scripted(status(500, "overloaded")) as server:
        outcome = run_here(
            *("doctor", "--json", "--check=models", "--check=llm"),
            *("--voice", tmp_path / "no.onnx", "--llm", server.url),
        )
    assert outcome.code == 1
    states = [(finding["part"], finding["state"]) for finding in outcome.events]
    assert states == [*[("models", s) for s in ("ok", "problem", "ok")], ("llm", "problem")]
    assert "no.onnx is missing" in outcome.events[1]["detail"]
    assert "answers 500: overloaded" in outcome.events[3]["detail"]
