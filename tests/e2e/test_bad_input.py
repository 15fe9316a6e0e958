"""What people get wrong, and what breaks: a clear line, the right exit code, no traceback, no hang.

The engines are the real ones; the language model is the scripted server.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from servers.llm_server import (
    DONE,
    ROLE,
    Answer,
    End,
    delta,
    finish,
    hang,
    reply,
    status,
)
from support.cli_child import (
    HANG_S,
    QUICK,
    ROOT,
    cascade,
    environment,
    json_lines,
    limit_files,
    read_conversation,
    read_trace,
    read_wav,
    recording,
    run,
    run_here,
    scripted,
)

from pipeline.audio.files import WavWriter
from pipeline.models.catalogue import File, sha256, write_fetched

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits and devices")
QUESTION = recording(5)
NOWHERE = "http://127.0.0.1:9/v1"
"""The discard port: nobody listens there."""

# ---- what ends a run before it begins --------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A command line that cannot work; `{here}` in it is the folder of bad things.

    Attributes:
        code: Exit status: 2 where the input is bad, 1 where something else fails.
        says: Words of the error.
    """

    args: str
    code: int
    says: str
    env: dict[str, str] = field(default_factory=dict)
    folder: str = "."

    @property
    def loads(self) -> bool:
        """Whether it is found out only once libraries load a model."""
        return self.code == 1 and self.args.startswith("talk")


def talk(options: str, code: int, says: str, **more: str) -> Case:
    """A conversation that does not begin."""
    files = "" if "--input" in options else f"--input {QUESTION} "
    files += "" if "--output" in options else "--output {here}/out.wav "
    return Case(f"talk --fast --json {files}{options}", code, says, env=more)


NOT_WRITTEN = {
    f"no file can be made: {flag}": talk(
        f"{flag} /proc/file.wav", 2, f"{flag} /proc/file.wav: cannot be written"
    )
    for flag in ("--output", "--record", "--trace", "--save")
}
"""Not even a superuser makes a file in Linux's `/proc`."""

CASES = {
    "missing": talk("--input {here}/nothing.wav", 2, "nothing.wav: there is no such file"),
    "empty": talk("--input {here}/empty.wav", 2, "empty.wav: is empty"),
    "not audio": talk(
        f"--input {QUESTION} --input {{here}}/text.wav", 2, "text.wav: is no sound file"
    ),
    "no samples": talk("--input {here}/header.wav", 2, "header.wav: has no sound in it"),
    "no folder": talk("--output {here}/no/out.wav", 2, "no folder"),
    "not a WAV file": talk("--output {here}/out.mp3", 2, "ends in .wav"),
    "not a WAV to record": talk("--record {here}/both.mp3", 2, "ends in .wav"),
    **(NOT_WRITTEN if sys.platform == "linux" else {}),
    "its own input": talk("--input {here}/a.wav --output {here}/a.wav", 2, "file of --input too"),
    "no file to resume": talk("--resume {here}/nothing.jsonl", 2, "cannot be resumed"),
    "not a conversation": talk("--resume {here}/text.wav", 2, "text.wav, line 1"),
    "no model.bin": talk("--stt {here}/whisper", 2, "model.bin is missing"),
    "half a recogniser": talk("--stt {here}/half", 1, "half: cannot be loaded"),
    "half a language model": talk("--llm {here}/half.gguf", 1, "llama.cpp cannot load it"),
    "half a download": talk(
        "--voice en_US-half-low", 2, "models pull en_US-half-low", CASCADE_MODELS__DIR="{here}"
    ),
    "half a download, looked at": Case(
        "models verify en_US-half-low", 1, "", {"CASCADE_MODELS__DIR": "{here}"}
    ),
    "a language that no model knows": talk("--language de", 2, "'de'; whisper-mini-en knows: en"),
    "not downloaded": talk("--stt tiny", 2, "models pull tiny", CASCADE_MODELS__DIR="{here}"),
    "not a model": talk("--llm Alice", 2, "--llm Alice: not a model"),
    "config: unknown key": Case("talk", 2, "did you mean hold_ms?", folder="typo"),
    "config: wrong value": Case("talk", 2, "turns.hold_ms is -5", folder="value"),
    "config: not TOML": Case("models list --config {here}/text.wav", 2, "is no TOML"),
    "config: missing": Case("doctor --config {here}/none.toml", 2, "there is no such file"),
    "config: environment": Case("talk", 2, "CASCADE_STT__MODEL?", {"CASCADE_STT__MODLE": "x"}),
    "flag: mode": Case("talk --mode parallel", 2, "overlapped | sequential"),
    "flag: unknown": Case("talk --outptu x.wav", 2, "No such option: --outptu"),
    "flag: no value": Case("talk --record", 2, "requires an argument"),
    "flag: part": Case("doctor --check lamp", 2, "--check lamp: allowed: devices"),
    "no file of tools": talk("--tools {here}/nothing.py", 2, "nothing.py: there is no such file"),
    "no tools in it": talk("--tools {here}/text.wav", 2, "text.wav: is no Python file"),
    "no hint": talk("--tools {here}/tools.py", 2, "parameter x has no type hint"),
    "fast with devices": Case("talk --fast", 2, "--fast needs recordings"),
    "microphone and file": Case(f"talk --input mic --input {QUESTION}", 2, "not both"),
    "unknown command": Case("listen", 2, "No such command 'listen'"),
    "half a command": Case("models", 2, "Missing command"),
    "unknown model": Case("models pull Alice", 2, "unknown model 'Alice'"),
    "LLM refuses the connection": talk(f"--llm {NOWHERE}", 1, "cannot be reached"),
    "LLM refuses the key": talk("--llm {llm}", 1, "(401)"),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bad things."""
    folder = tmp_path_factory.mktemp("bad")
    sound = QUESTION.read_bytes()
    (folder / "a.wav").write_bytes(sound)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "header.wav").write_bytes(sound[:44])
    (folder / "text.wav").write_text("This is no sound at all.\n" * 40)
    (folder / "tools.py").write_text('def f(x):\n    "Doc."\n')
    (folder / "typo").mkdir()
    (folder / "typo" / "cascade.toml").write_text("[turns]\nhold = 400\n")
    (folder / "value").mkdir()
    (folder / "value" / "cascade.toml").write_text("[turns]\nhold_ms = -5\n")
    models = ROOT / "models"
    for name in ("whisper", "half"):
        shutil.copytree(models / "whisper-mini-en", folder / name)
    halve(folder / "half" / "model.bin")
    (folder / "whisper" / "model.bin").unlink()
    (folder / "half.gguf").write_bytes(b"GGUF" + np.random.default_rng(1).bytes(50_000))
    voice = folder / "en_US-half-low"
    voice.mkdir()
    for name in (".onnx", ".onnx.json"):
        shutil.copy(models / "en_US-mini" / f"en_US-mini{name}", voice / f"{voice.name}{name}")
    files = [File(p.name, p.stat().st_size, sha256(p)) for p in voice.iterdir()]
    write_fetched(voice, "a test", None, files)
    halve(voice / f"{voice.name}.onnx")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_work_is_told_in_a_line_or_two(name: str, here: Path) -> None:
    case = CASES[name]
    with scripted(otherwise=status(401, "no")) as server:
        names = {"here": here, "llm": server.url}
        outcome = (run if case.loads else run_here)(
            *(arg.format_map(names) for arg in case.args.split()),
            env={name: value.format_map(names) for name, value in case.env.items()},
            cwd=here / case.folder,
        )
    assert outcome.code == case.code, outcome
    assert ("listening" if case.loads else "loading") not in outcome.err
    if case.says:
        assert case.says in " ".join(outcome.errors)
        assert len(outcome.errors) <= 2
        assert outcome.out == ""
    else:
        assert "en_US-half-low.onnx has" in outcome.out


def test_it_tells_its_version() -> None:
    told = run("--version")
    assert (told.code, told.out) == (0, f"cascade {metadata.version('voice-cascade')}\n")


def test_no_arguments_show_the_help() -> None:
    outcome = run_here()
    assert outcome.code == 0
    assert "talk" in outcome.out
    assert "doctor" in outcome.out
    assert outcome.err == ""


# ---- recordings that are odd, and fine -------------------------------------------------------


def test_any_recording_that_has_speech_is_heard(tmp_path: Path) -> None:
    speech, rate = read_wav(QUESTION)
    mono = speech[:, 0]
    silence = np.zeros(10 * rate, np.int16)
    files = [write_sound(tmp_path / "silent.wav", silence, rate)]
    files.append(write_sound(tmp_path / "8bit.wav", mono, rate, codec="pcm_u8", kind="u8"))
    # 30 dB quieter than the one before: another microphone, and not another's voice.
    quiet = np.rint(mono / 31.6).astype(np.int16)
    files.append(write_sound(tmp_path / "quiet.wav", quiet, rate))
    wide = np.repeat(np.repeat(mono, 3), 2).reshape(-1, 2)
    files.append(write_sound(tmp_path / "48k-stereo.wav", wide, 3 * rate))
    # Two hours take 30 s, and the same memory.
    files.append(tmp_path / "long.flac")
    long = np.concatenate([np.tile(silence, 119), mono, silence])
    write_sound(files[-1], long, rate, codec="flac")
    cut = write_sound(tmp_path / "cut.flac", np.append(mono, silence), rate, codec="flac")
    cut.write_bytes(cut.read_bytes()[:-100])
    inputs = [arg for path in [*files, cut] for arg in ("--input", str(path))]
    with scripted(otherwise=reply("Yes.")) as server:
        outcome = run(
            *("talk", *inputs, "--output", tmp_path / "out.wav", "--fast", "--json"),
            *("--llm", server.url),
        )
    assert outcome.code == 0
    asked = "What time does the museum leave?"
    assert outcome.texts() == [asked] * 5
    assert f"{files[0]}: no speech was heard in it" in outcome.warnings
    assert any(f"{cut}: is damaged or cut short" in line for line in outcome.warnings)
    assert sum("no speech" in line for line in outcome.warnings) == 1
    # The sound that went in is 40 MB, and as much came out. What engines take with their first work
    # (Smart Turn 8 MB) counts too.
    assert outcome.growth < 35e6


def with_channels(folder: Path) -> dict[Path, bool]:
    """Recordings of several channels, and whether their average loses the question."""
    speech, rate = read_wav(QUESTION)
    voice = np.concatenate([speech[:, 0], np.zeros(rate // 2, np.int16)])
    none, late = np.zeros_like(voice), np.zeros(8 * rate, np.int16)
    random = np.random.default_rng(1)
    hiss = random.normal(0, 2500, len(voice)).astype(np.int16)
    hum = (9000 * np.sin(2 * np.pi * 50 * np.arange(len(voice)) / rate)).astype(np.int16)
    silent = np.zeros(len(late) + len(voice), np.int16)
    made = {
        "thirty-three": ([*[none] * 20, voice, *[none] * 12], True),
        "two hundred": ([*[none] * 150, voice, *[none] * 49], True),
        "opposite": ([voice, -voice], True),
        "fourth of six": ([*[none] * 3, voice, *[none] * 2], True),
        "hiss": ([hiss, voice], True),
        "hum": ([voice, hum], True),
        "late": ([*[silent] * 4, np.append(late, voice)], True),
        "alike": ([voice] * 5, False),
        "ordinary": ([voice, voice // 2], False),
    }
    found = {}
    for name, (channels, lost) in made.items():
        path = folder / f"{name}.wav"
        with WavWriter(path, rate, len(channels)) as wav:
            wav.write(np.stack(channels, axis=1))
        found[path] = lost
    return found


def test_a_question_is_heard_on_whichever_channels_it_is(tmp_path: Path) -> None:
    files = with_channels(tmp_path)
    inputs = [arg for path in files for arg in ("--input", str(path))]
    with scripted(otherwise=reply("Yes.")) as server:
        outcome = run(
            *("talk", *inputs, "--output", tmp_path / "out.wav", "--fast", "--json"),
            *("--llm", server.url),
        )
    assert outcome.code == 0
    assert outcome.texts() == ["What time does the museum leave?"] * len(files)
    told = [line.split(": ")[0] for line in outcome.warnings]
    assert told == [str(path) for path, lost in files.items() if lost]


def test_a_profile_tells_once_how_the_channels_of_a_recording_are_mixed(tmp_path: Path) -> None:
    path = next(path for path in with_channels(tmp_path) if path.stem == "opposite")
    with scripted(otherwise=reply("Yes.")) as server:
        outcome = run(
            *("profile", path, "--repeat", "2", "--out", tmp_path / "out", "--llm", server.url)
        )
    assert outcome.code == 0
    assert sum(f"{path}: the average of its 2 channels" in line for line in outcome.warnings) == 1
    _, *records = json_lines((tmp_path / "out" / "records.jsonl").read_text())
    assert {record["status"] for record in records} == {"ok"}


@POSIX
def test_nobody_has_to_listen(tmp_path: Path) -> None:
    """As a service manager starts it: what would go to a closed stdout or stderr goes nowhere."""
    reply_wav, said = tmp_path / "out.wav", tmp_path / "said"
    with scripted(otherwise=reply("Yes.")) as server:
        command = cascade(
            *("talk", "--input", QUESTION, "--output", reply_wav, "--save", said),
            *("--fast", "--json", "--llm", server.url),
        )
        closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
        child = subprocess.run(closing, env=environment(QUICK), cwd=ROOT, timeout=HANG_S)
    assert child.returncode == 0
    assert [role for role, _ in read_conversation(said)] == ["user", "assistant"]
    assert len(read_wav(reply_wav)[0]) > 0


# ---- a language model that fails in the middle of a conversation -----------------------------


def test_a_turn_that_fails_is_told_and_the_next_one_works(tmp_path: Path) -> None:
    begun = [ROLE, delta("It leaves at nine in the morning, from platform four, and "), delta("it")]
    faults = [
        (status(500, "overloaded"), "answers 500: overloaded"),
        (Answer([ROLE, hang]), "sent nothing for 2.1 s"),
        (Answer([hang]), "did not answer within 2.1 s"),
        (Answer([*begun, End.DROP]), "broke off in the middle"),
        (Answer([*begun, End.RESET]), "broke off in the middle"),
        (Answer([*begun, hang]), "sent nothing for 0.7 s"),
        (Answer([]), "no reply"),
        (Answer([ROLE, finish(), DONE]), "had nothing to say"),
    ]
    answers = [reply("ready"), *(answer for answer, _ in faults), reply("At nine.")]
    inputs = ["--input", str(QUESTION)] * (len(faults) + 1)
    with scripted(*answers) as server:
        outcome = run(
            *("talk", *inputs, "--output", tmp_path / "out.wav", "--save", tmp_path / "said.jsonl"),
            *("--llm", server.url, "--fast", "--json"),
            env={
                "CASCADE_REPLY__MODE": "overlapped",  # one request a turn
                "CASCADE_LLM__TIMEOUT_S": "2.1",
            },
        )
    assert outcome.code == 1
    failures = outcome.of("failure")
    assert [event["turn"] for event in failures] == list(range(1, len(faults) + 1))
    assert not any(event["fatal"] for event in failures)
    for (_, says), event in zip(faults, failures, strict=True):
        assert says in event["message"]
        assert f"error: turn {event['turn']}: llm: {event['message']}" in outcome.err.splitlines()
    done = [event["status"] for event in outcome.of("reply_done")]
    assert done == ["failed"] * len(faults) + ["completed"]
    said = read_conversation(tmp_path / "said.jsonl")
    assert said[-1] == ("assistant", "At nine.")
    # What was written before the fault was spoken, and so is remembered, with a mark of the cut.
    assert [text for who, text in said if who == "assistant"][:-1] == [
        "It leaves at nine in the morning, from platform four, and it …"
    ] * 3


def test_a_key_that_is_refused_later_ends_the_conversation(tmp_path: Path) -> None:
    with scripted(reply("ready"), status(401, "expired")) as server:
        outcome = run(
            *("talk", "--input", QUESTION, "--input", QUESTION, "--output", tmp_path / "out.wav"),
            *("--llm", server.url, "--fast", "--save", tmp_path / "said.jsonl"),
            env={"CASCADE_REPLY__MODE": "overlapped"},  # one request a turn
        )
    assert outcome.code == 1
    assert outcome.err.count("refuses the key (401)") == 1
    assert len(outcome.errors) == 1
    assert [who for who, _ in read_conversation(tmp_path / "said.jsonl")] == ["user"]


def test_a_port_where_nobody_answers_does_not_hold_up_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        outcome = run(
            *("talk", "--input", QUESTION, "--output", tmp_path / "out.wav", "--fast"),
            *("--llm", url),
            env={"CASCADE_LLM__TIMEOUT_S": "0.5"},
        )
    assert outcome.code == 1
    (warning, *_) = outcome.warnings
    assert "did not answer within 0.5 s" in warning
    assert "error: turn 1: llm: " in outcome.err


# ---- a disk that fills up --------------------------------------------------------------------


@POSIX
def test_a_disk_that_fills_up_does_not_end_the_conversation(tmp_path: Path) -> None:
    names = {"--output": "out.wav", "--record": "both.wav", "--trace": "t", "--save": "said"}
    files = {flag: tmp_path / name for flag, name in names.items()}
    options = [arg for flag, path in files.items() for arg in (flag, str(path))]
    inputs = ["--input", str(QUESTION)] * 2
    with scripted(otherwise=reply("It leaves at nine in the morning.")) as server:
        outcome = run(
            *("talk", *inputs, *options, "--llm", server.url, "--fast", "--json"),
            before=partial(limit_files, 100_000),
        )
    assert outcome.code == 1
    assert [event["status"] for event in outcome.of("reply_done")] == ["completed"] * 2
    told = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(told) == 2
    for flag, channels in (("--output", 1), ("--record", 2)):
        assert any(str(files[flag]) in line and "are kept" in line for line in told)
        kept, rate = read_wav(files[flag])
        assert kept.shape[1] == channels
        assert len(kept) > 0.9 * rate
    assert len(read_conversation(files["--save"])) == 4
    assert "heard.last" in read_trace(files["--trace"])[1][2]


@POSIX
def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("out.wav", "trace", "said")}
    files["said"].write_text('{"role": "user", "content": "Hello.", "turn": 1}\n')
    with scripted(otherwise=reply("It leaves at nine.")) as server:
        outcome = run(
            *("talk", "--input", QUESTION, "--output", files["out.wav"], "--json"),
            *("--trace", files["trace"], "--save", files["said"], "--llm", server.url, "--fast"),
            before=partial(limit_files, 60),
        )
    assert outcome.code == 1
    assert [event["status"] for event in outcome.of("reply_done")] == ["completed"]
    told = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    for line, says in zip(told, ("the trace ends here", "kept", "not saved"), strict=True):
        assert says in line
    # The old conversation is still there, and nothing half written.
    assert read_conversation(files["said"]) == [("user", "Hello.")]
    assert sorted(tmp_path.iterdir()) == sorted(files.values())


# ---- tools -----------------------------------------------------------------------------------


def halve(path: Path) -> None:
    """Keep the first half of a file: a download that was cut off."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def write_sound(
    path: Path,
    samples: npt.NDArray[np.int16],
    rate: int,
    *,
    codec: str = "pcm_s16le",
    kind: str = "s16",
) -> Path:
    """Write int16 sound, shape (n,) or (n, 2), as FFmpeg's `codec` in sample format `kind`."""
    packed = samples.reshape(1, -1)
    if kind == "u8":
        packed = ((packed >> 8) + 128).astype(np.uint8)
    layout = "stereo" if samples.ndim == 2 else "mono"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        channels = samples.ndim
        for start in range(0, packed.shape[1], rate * channels):
            piece = np.ascontiguousarray(packed[:, start : start + rate * channels])
            frame = av.AudioFrame.from_ndarray(piece, format=kind, layout=layout)
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
