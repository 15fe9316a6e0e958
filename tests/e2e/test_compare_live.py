"""`cascade compare --live` with real engines, servers, files, terminals and sound cards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.llm_server import reply
from support.cli_child import HANG_S, Outcome, cascade, json_lines, read_wav, recording, run
from support.cli_child import scripted as llm_server
from support.pulse import RATE, Pulse

from pipeline.audio.audible import AUDIBLE_DBFS, ending, onset
from pipeline.events import Samples
from pipeline.speech_to_speech.brief import STAMP
from pipeline.trace import Timeline

QUESTION = 8
SPOKEN = "When does the train to Madrid leave?"
ANSWER = ("The train ", "to Madrid ", "leaves at nine ", "in the morning.")
PATHS = ("cascade", "cascade,mode=sequential")
SIMULATED = "simulated:gpt-realtime-2.1"


def command(*paths: str, llm: str, **options: str | Path) -> list[str]:
    """The words of a command line."""
    return [
        *("compare", "--live", "--llm", llm),
        *(f"--path={path}" for path in paths),
        *(f"--{name}={value}" for name, value in options.items()),
    ]


def live(folder: Path, *paths: str, **options: Path) -> Outcome:
    """Run it on a recording, to its end."""
    files = {"input": recording(QUESTION), "output": folder / "out.wav", **options}
    with llm_server(otherwise=reply(*ANSWER)) as llm:
        return run(*command(*paths, llm=llm.url, **files), "--json")


def of_path(outcome: Outcome, path: str) -> list[dict[str, Any]]:
    return [event for event in outcome.events if event["path"] == path]


def audible(samples: Samples) -> int:
    """How many samples are above the threshold."""
    least = 32768 * 10 ** (AUDIBLE_DBFS / 20)
    return int(np.count_nonzero(np.abs(samples.astype(int)) > least))


def marks(trace: Path, path: str) -> dict[str, int]:
    _, *lines = json_lines(trace.read_text("utf-8"))
    return {line["mark"]: line["t_ns"] for line in lines if line["path"] == path}


def test_two_cascades_hear_one_recording(tmp_path: Path) -> None:
    files = {"record": tmp_path / "both.wav", "trace": tmp_path / "trace"}
    outcome = live(tmp_path, *PATHS, **files)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("no key switches: cascade is heard") == 1
    for path in PATHS:
        events = of_path(outcome, path)
        said = [e["text"] for e in events if e["type"] == "transcript" and e["final"]]
        assert said == [SPOKEN]
        written = "".join(e["delta"] for e in events if e["type"] == "reply_text")
        assert written == "".join(ANSWER)
        assert events[-1]["type"] == "reply_done"
        timeline = Timeline.from_marks(marks(files["trace"], path))
        assert timeline is not None
        assert f"{path}: median voice-to-voice {timeline.total_ns / 1e6:.0f} ms" in outcome.err
    both, rate = read_wav(files["record"])
    user, replied = both.T
    spoken, answered = ending(user, rate), onset(replied, rate)
    assert spoken is not None
    assert answered is not None
    heard = marks(files["trace"], PATHS[0])
    measured_s = (answered - spoken) / rate
    assert measured_s == pytest.approx((heard["heard.first"] - heard["speech.end"]) / 1e9, abs=0.05)
    # Only one of them: the file is as long as that one's reply is.
    length_s = (heard["heard.last"] - heard["heard.first"]) / 1e9
    out, rate = read_wav(tmp_path / "out.wav")
    begin, end = onset(out[:, 0], rate), ending(out[:, 0], rate)
    assert begin is not None
    assert end is not None
    assert (end - begin) / rate == pytest.approx(length_s, abs=0.05)


def test_beside_a_simulation_and_a_server_that_is_not_there(tmp_path: Path) -> None:
    nobody = "ws://127.0.0.1:9/v1/realtime"
    outcome = live(tmp_path, nobody, "cascade", SIMULATED, trace=tmp_path / "trace")
    assert outcome.code == 1
    assert any(line.startswith(f"error: {nobody}: ") for line in outcome.errors)
    assert of_path(outcome, "cascade")[-1]["status"] == "completed"
    out, _ = read_wav(tmp_path / "out.wav")
    assert out.any()
    # The simulation is called one everywhere.
    told = of_path(outcome, SIMULATED)
    assert {"speech_started", "reply_text", "reply_done"} <= {event["type"] for event in told}
    assert all(event["simulated"] is True for event in told)
    assert not any("simulated" in event for event in of_path(outcome, "cascade"))
    lines = [line for line in outcome.err.splitlines() if SIMULATED in line]
    assert len(lines) >= 4
    assert all(f"{SIMULATED} [{STAMP}]" in line for line in lines)
    _, *traced = json_lines((tmp_path / "trace").read_text("utf-8"))
    assert all(line["simulated"] for line in traced if line["path"] == SIMULATED)
    timeline = Timeline.from_marks(marks(tmp_path / "trace", SIMULATED))
    assert timeline is not None
    assert set(timeline.parts) == {"endpoint", "model", "device", "own"}


def test_in_a_terminal(tmp_path: Path) -> None:
    pytest.importorskip("termios", reason="needs a pseudo-terminal")
    from support.terminal_child import in_terminal

    inputs = [f"--input={recording(QUESTION)}"] * 20
    with llm_server(otherwise=reply(*ANSWER)) as llm:
        words = [*command(*PATHS, llm=llm.url, output=tmp_path / "out.wav"), *inputs]
        with in_terminal(cascade(*words), cwd=tmp_path) as terminal:
            terminal.wait_for("listening\n")
            terminal.wait_for("1 cascade HEARD")
            terminal.wait_for("2 cascade,mode=sequential silent")
            terminal.press("2")
            terminal.wait_for("now heard: cascade,mode=sequential")
            terminal.wait_for("2 cascade,mode=sequential HEARD")
            terminal.press("\t")
            terminal.wait_for("now heard: cascade\n")
            terminal.wait_for("first clause")
            terminal.press("\x03")
            assert terminal.finish() == 130, terminal.text


@pytest.mark.device
def test_on_a_microphone_and_a_loudspeaker(pulse: Pulse, tmp_path: Path) -> None:
    env = {**pulse.env, "CASCADE_AUDIO__ECHO": "off"}
    pytest.importorskip("termios", reason="needs a pseudo-terminal")
    from support.terminal_child import in_terminal

    files = {"trace": tmp_path / "trace", "record": tmp_path / "both.wav"}
    with llm_server(otherwise=reply(*ANSWER)) as llm, pulse.record() as outside:
        words = [*command(*PATHS, llm=llm.url, **files), "--json"]
        with in_terminal(cascade(*words), env, tmp_path) as terminal:
            terminal.wait_for("listening\n")
            pulse.play_into_mic(recording(QUESTION))
            until = time.monotonic() + HANG_S
            while not all("heard.last" in marks(tmp_path / "trace", path) for path in PATHS):
                assert time.monotonic() < until, terminal.text
                time.sleep(0.1)
            terminal.press("q")
            assert terminal.finish() == 0, terminal.text
    # All that was played is heard, once: a machine that is too busy tears holes into it, and the
    # recording has them too.
    both, rate = read_wav(files["record"])
    played_s = audible(both[:, 1]) / rate
    assert played_s > 1
    assert audible(outside[0].samples) / RATE == pytest.approx(played_s, rel=0.05)
    for path in PATHS:
        assert Timeline.from_marks(marks(tmp_path / "trace", path)) is not None
