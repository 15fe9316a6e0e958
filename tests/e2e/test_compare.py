"""`cascade compare` as people run it: real engines, simulated servers, real sockets, real time."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from servers.llm_server import DONE, ROLE, Answer, Request, delta, finish, reply, tool_call
from support.cli_child import (
    CORPUS,
    Child,
    Outcome,
    part_of_corpus,
    require_models,
    run,
    run_here,
    scripted,
)
from support.noise import LEAD_S, SPEECH_S, utterance

from pipeline.audio.files import WavWriter, read_audio
from pipeline.clock import NS_PER_MS
from pipeline.compare.record import CONVERSATIONS, Conversation
from pipeline.measure.instrument import begin_of, stereo
from pipeline.measure.record import Record
from pipeline.speech_to_speech import specs

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
QUESTIONS = sorted(CORPUS.glob("*.flac"))[:3]
STAMP = "SIMULATED"
FILES = (
    *(
        "conversations.jsonl",
        "junit.xml",
        "report.html",
        "summary.json",
        "trace.jsonl",
        "turns.csv",
    ),
    "wav",
)
QUICK = ("--repeat", "1", "--reply-seconds", "0.3", "--timeout", "10")
INSTRUMENT_MS = 15.0
SIDE_BY_SIDE = ("--path", "cascade", "--path", "cascade,mode=sequential")
FROM_FILE = ("--input", str(QUESTIONS[0]))
KEYLESS = {"OPENAI_API_KEY": "", "GEMINI_API_KEY": "", "GOOGLE_API_KEY": ""}


@dataclass(frozen=True)
class Compared:
    """A comparison that is over."""

    outcome: Outcome
    folder: Path

    @property
    def conversations(self) -> list[Conversation]:
        return [
            one for one in CONVERSATIONS.read(self.folder / CONVERSATIONS.name)[1] if one.repeat > 0
        ]

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text("utf-8"))
        return found

    def of(self, path: str) -> list[Conversation]:
        return [one for one in self.conversations if one.path == path]


def compare(folder: Path, *args: str | Path, **more: Any) -> Compared:
    return Compared(run("compare", *args, "--out", folder, **more), folder)


def script(folder: Path, name: str = "script", **more: Any) -> str:
    """A path to a simulated server with a script of this content."""
    file = folder / f"{name}.yaml"
    latency = {"distribution": "constant", "median_ms": 500.0}
    plain = {
        "name": name,
        "source": "nobody",
        "voice": "tone",
        "latency": latency,
        "conversations": {"any": [{"reply": "Fine."}]},
        **more,
    }
    file.write_text(yaml.safe_dump(plain), "utf-8")
    return f"{name}=simulated:{file}"


def scenario(folder: Path, *turns: dict[str, Any], name: str) -> Path:
    """A scenario whose utterances are short noises, which a server takes for speech.

    They are cut off at a known place: in the sound their end is told 50 ms too late.
    """
    noise = utterance(folder / "noise.wav")
    ends = {"file": noise.name, "text": "a noise", "end_of_speech_s": LEAD_S + SPEECH_S}
    known = [{**ends, "patience": 2, **turn} for turn in turns]
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"name": name, "turns": known}), "utf-8")
    return file


def late_ms(record: Record) -> float:
    """What a busy machine may have added, at both ends, as the record tells."""
    return 2 * record.late_ns / NS_PER_MS


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """The cascade beside a simulation, two questions each."""
    require_models("llm")
    folder = tmp_path_factory.mktemp("compare")
    paths = ("--path", "cascade", "--path", script(folder, "model"))
    made = compare(folder / "results", part_of_corpus(folder / "corpus", 1, 2), *paths, *QUICK)
    assert made.outcome.code == 0, made.outcome.err
    return made


def test_a_folder_of_results(small: Compared) -> None:
    assert sorted(path.name for path in small.folder.iterdir()) == sorted(FILES)
    assert len(small.of("cascade")) == len(small.of("model")) == 2
    for one in small.conversations:
        assert one.status == "ok"
        assert (small.folder / one.wav).is_file()
        (turn,) = one.turns
        assert turn.record.status == "ok"
        assert turn.record.timeline is not None
        assert turn.word_errors is not None
    variants = small.summary["variants"]
    latencies = [one["voice_to_voice_ms"]["median"] for one in variants.values()]
    assert len(latencies) == 2
    assert all(latency > 0 for latency in latencies)


def test_it_can_be_verified(small: Compared) -> None:
    outcome = run_here("verify", str(small.folder), "--json")
    note, last = outcome.events
    assert (outcome.code, last["differences"]) == (0, 0)
    assert last["wavs"] == len(list((small.folder / "wav").iterdir()))
    assert last["figures"] >= 4 * len(small.conversations)
    assert STAMP in note["text"]
    assert "the instrument's own error" in small.outcome.out
    header, _ = CONVERSATIONS.read(small.folder / CONVERSATIONS.name)
    for about in header["scenarios"].values():
        assert all(len(step["sha256"]) == 64 for step in about["steps"])


def test_all_that_a_simulation_has_a_part_in_says_so(small: Compared) -> None:
    """Whoever reads one line, row, page or screen of it can take it for nothing else."""
    for word in (small.outcome.out, small.folder.joinpath("report.html").read_text("utf-8")):
        assert STAMP in word
    shown = small.outcome.out
    assert "nobody" in shown  # the source of its latency
    for line in shown.splitlines():
        # The line of a table or of the failures in which the path's figures stand.
        if line.strip().startswith("model "):
            assert STAMP in line
    assert small.summary["simulated"] is True
    for name, variant in small.summary["variants"].items():
        assert (STAMP in name) == ("model" in name) == bool(variant.get("simulated"))
    with (small.folder / "turns.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {STAMP in row["variant"] for row in rows} == {True, False}
    for row in rows:
        assert (STAMP in row["variant"]) == (row["simulated"] == STAMP)
        assert row["variant"].startswith("model") == (row["simulated"] == STAMP)
    for name in ("conversations.jsonl", "trace.jsonl"):
        lines = [json.loads(line) for line in (small.folder / name).read_text().splitlines()[1:]]
        assert lines
        for line in lines:
            assert bool(line.get("simulated")) == (line["path"] == "model")


def test_paths_of_known_latency_are_measured_as_such(tmp_path: Path) -> None:
    """The instrument's own error, over real sockets, with a real recording."""
    paths: list[str] = []
    for known_ms in (100, 500, 1500):
        latency = {"distribution": "constant", "median_ms": known_ms}
        paths += ["--path", script(tmp_path, f"after-{known_ms}", latency=latency)]
    corpus = part_of_corpus(tmp_path / "corpus", 1)
    made = compare(tmp_path / "results", corpus, *paths, *QUICK)
    assert made.outcome.code == 0, made.outcome.err
    assert len(made.conversations) == 3
    for one in made.conversations:
        record = one.turns[0].record
        assert record.wav_voice_to_voice_ns is not None
        known_ms = int(one.path.removeprefix("after-"))
        off_ms = record.wav_voice_to_voice_ns / NS_PER_MS - known_ms
        assert abs(off_ms) <= INSTRUMENT_MS + late_ms(record)


def test_every_system_hears_the_same_disturbance(tmp_path: Path) -> None:
    """However long the replies to the words before were; and the WAV's left side stays clean."""
    paths = []
    for name, words in (("short", "Yes."), ("long", "That takes a little longer to say to you.")):
        latency = {"distribution": "constant", "median_ms": 300 if name == "short" else 900}
        turns = {"any": [{"reply": words}, {"reply": words}]}
        paths += ["--path", script(tmp_path, name, latency=latency, conversations=turns)]
    hiss = np.random.default_rng(3).integers(-2000, 2000, 5 * 16_000).astype(np.int16)
    with WavWriter(tmp_path / "hiss.wav", 16_000) as wav:
        wav.write(hiss)
    line = {"noise": "hiss.wav", "snr": 50, "codec": "g711u", "loss": 4}
    said = [{"file": str(question)} for question in QUESTIONS[:2]]
    file = tmp_path / "line.yaml"
    file.write_text(yaml.safe_dump({"turns": said, "conditions": ["clean", line]}), "utf-8")
    made = compare(tmp_path / "results", file, *paths, *QUICK)
    assert made.outcome.code == 0, made.outcome.err
    assert made.summary["conditions"] == ["clean", "hiss 50 dB, g711u, loss 4"]
    sounds: dict[str, list[Any]] = {}
    for one in made.conversations:
        left, _, rate = stereo(made.folder / one.wav)
        assert bool(one.heard) == bool(one.condition)
        for turn, question in zip(one.turns, QUESTIONS, strict=False):
            assert turn.record.status == "ok", turn.record.reason
            clean = np.concatenate([*read_audio(question, 16_000)])
            begin_s = begin_of(clean, left, rate) / rate
            first = round((begin_s + 0.5) * rate)
            own = np.concatenate([*read_audio(question, rate)])[rate // 2 : rate]
            assert np.corrcoef(left[first : first + rate // 2], own)[0, 1] > 0.99
            if one.heard:
                heard = np.concatenate([*read_audio(made.folder / one.heard, 16_000)])
                first = round((begin_s + 0.1) * 16_000)
                sounds.setdefault(question.name, []).append(heard[first : first + 20_000])
    assert len(sounds) == 2
    for one_heard, other_heard in sounds.values():
        # The place in the WAV is known to a few samples.
        at = [k for k in range(-9, 10) if _agree(one_heard, np.roll(other_heard, k))]
        assert len(at) == 1


def _agree(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one[20:-20], other[20:-20]))


BREAKING = {
    "close": {"kind": "close", "at": "mid reply", "code": 1011, "message": "out of order"},
    "drop": {"kind": "drop", "at": "before reply"},
    "silence": {"kind": "silence", "at": "before reply"},
}
"""Faults that a conversation does not survive."""

SURVIVED = {
    "quota": {"kind": "quota", "at": "before reply"},
    "error": {"kind": "error", "at": "before reply", "message": "the model is gone"},
    "malformed": {"kind": "malformed", "at": "before reply"},
    "unknown": {"kind": "unknown", "at": "before reply"},
}

WHY = {
    "close": "out of order",
    "drop": "the connection broke",
    "silence": "no reply within 2 s",
    "quota": "quota",
    "error": "the model is gone",
}
"""What the user is told; the other faults cost nothing."""


def faulty(fault: dict[str, Any]) -> dict[str, Any]:
    """A turn of a script in which something goes wrong."""
    return {"reply": "This takes a little while.", "fault": fault}


REFUSED = {401: "key", 404: "model", 429: "20 s"}
"""Why a server refuses a connection, by the status of its answer."""


def test_a_path_that_breaks_or_refuses_leaves_the_other_as_it_is(tmp_path: Path) -> None:
    scripts = {kind: [faulty(fault), {"reply": "Fine."}] for kind, fault in BREAKING.items()}
    files = [scenario(tmp_path, {}, {}, name=kind) for kind in BREAKING]
    paths = ["--path", script(tmp_path, "bad", conversations=scripts)]
    paths += ["--path", script(tmp_path, "good")]
    for status in REFUSED:
        paths += ["--path", script(tmp_path, f"bad-{status}", refuse=status)]
    key = {"OPENAI_API_KEY": "sk-secret-secret"}
    made = compare(tmp_path / "results", *files, *paths, *QUICK, env=key)
    # Some paths have nothing to show.
    assert made.outcome.code == 1, made.outcome.err
    for one in made.of("bad"):
        first = one.turns[0].record
        assert first.status == ("timeout" if one.scenario == "silence" else "failed")
        assert WHY[one.scenario] in first.reason
        assert one.scenario in made.outcome.out
    for one in made.of("good"):
        assert [turn.record.status for turn in one.turns] == ["ok", "ok"]
    for status, why in REFUSED.items():
        refused = made.of(f"bad-{status}")
        assert len(refused) == len(BREAKING)
        for one in refused:
            assert one.status == "failed"
            assert why in one.reason
            assert one.simulated  # though it never got there
    for file in (made.folder / name for name in FILES if name != "wav"):
        assert "sk-secret" not in file.read_text("utf-8")
    assert "sk-secret" not in made.outcome.out + made.outcome.err


def test_one_turn_that_goes_wrong_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    turns = [*map(faulty, SURVIVED.values()), {"reply": "Fine."}]
    file = scenario(tmp_path, *({} for _ in turns), name="noise")
    # Its answer does not come with the word that the user has stopped.
    latency = {"distribution": "constant", "median_ms": 700.0}
    faults = script(tmp_path, "faults", conversations={"noise": turns}, latency=latency)
    told = script(tmp_path, "told") + ",turns=manual"
    made = compare(tmp_path / "results", file, "--path", faults, "--path", told, *QUICK)
    assert made.outcome.code == 0, made.outcome.err
    (one,) = made.of("faults")
    for kind, turn in zip([*SURVIVED, "none"], one.turns, strict=True):
        assert turn.record.status == ("failed" if kind in WHY else "ok"), (kind, turn.record.reason)
        assert WHY.get(kind, "") in turn.record.reason
    # A server that finds the end of a turn itself waits 500 ms; one that is told does not.
    assert one.turns[-1].server_ms["endpointing"] >= 300
    (one,) = made.of("told")
    for turn in one.turns:
        assert turn.record.status == "ok"
        assert turn.server_ms["endpointing"] < 300
    assert "told when the user had finished" in " ".join(made.outcome.out.split())


@POSIX
def test_an_interrupted_run_is_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    child = Child(
        *("compare", *QUESTIONS, "--path", script(tmp_path), "--out", folder, *QUICK, "--json")
    )
    child.wait_for('"type": "conversation"', "out")
    child.interrupt_twice()
    outcome = child.finish()
    assert outcome.code == 130
    assert f"go on with --resume {folder}" in outcome.err
    header, before = CONVERSATIONS.read(folder / CONVERSATIONS.name)
    assert header["interrupted"]
    assert 1 <= len(before) < 3
    began = header["started"]
    resumed = run("compare", "--resume", folder)
    assert resumed.code == 0, resumed.err
    header, after = CONVERSATIONS.read(folder / CONVERSATIONS.name)
    assert not header["interrupted"]
    assert header["started"] == began
    assert len(after) == 3
    assert {one.started for one in before} <= {one.started for one in after}
    # What it cannot do any more is not passed over.
    for other in (("--condition", "loss=3"), ("--seed", "4"), (str(QUESTIONS[0]),)):
        refused = run("compare", "--resume", folder, *other)
        assert refused.code == 2, refused.err
        assert "leave it out, or begin a new run" in " ".join(refused.err.split())
    # Of a run that is over nothing is measured again, nor what the machine was like.
    again = run("compare", "--resume", folder, "--seed", "1")
    assert again.code == 0, again.err
    last, results = CONVERSATIONS.read(folder / CONVERSATIONS.name)
    assert results == after
    assert last["noise"] == header["noise"]


def test_gates_decide_and_an_old_run_is_judged_again(tmp_path: Path) -> None:
    """Those of the command line by all turns, those of a scenario file by its own."""
    file = scenario(tmp_path, {}, name="noise")
    plain = yaml.safe_load(file.read_text("utf-8"))
    strict = tmp_path / "strict.yaml"
    strict.write_text(
        yaml.safe_dump({**plain, "name": "strict", "expect": {"max_ms": 90}}), "utf-8"
    )
    paths = ("--path", script(tmp_path, "slow"), "--path", script(tmp_path, "quick"))
    gates = tmp_path / "gates.yaml"
    gates.write_text("p90_ms: 2000\nquick: {p90_ms: 100}\n", "utf-8")
    expect = ("--expect", str(gates), "--expect", "tools=0.9")
    made = compare(tmp_path / "results", file, strict, *paths, *expect, *QUICK)
    assert made.outcome.code == 3, made.outcome.err

    def judged() -> dict[tuple[str, str, str], tuple[bool, str]]:
        return {
            (one["system"].split()[0], one["figure"], one.get("on", "")): (
                one["met"],
                one["reason"],
            )
            for one in made.summary["gates"]
        }

    nothing = (False, "no turn expects anything of tools")
    both = {("slow", "tools", ""): nothing, ("quick", "tools", ""): nothing}
    of_file = {(name, "max_ms", "strict.yaml"): (False, "") for name in ("slow", "quick")}
    limits = {("slow", "p90_ms", ""): (True, ""), ("quick", "p90_ms", ""): (False, "")}
    assert judged() == {**both, **of_file, **limits}
    unmet = [line for line in made.outcome.err.splitlines() if line.startswith("gate not met: ")]
    assert len(unmet) == 5
    suites = ET.parse(made.folder / "junit.xml").getroot()
    assert [(one.get("name"), one.get("tests"), one.get("failures")) for one in suites] == [
        ("slow [SIMULATED]", "5", "2"),
        ("quick [SIMULATED]", "5", "3"),
    ]
    page = (made.folder / "report.html").read_text("utf-8")
    assert "max_ms at most 90 in strict.yaml" in page
    strict.write_text(yaml.safe_dump({**plain, "name": "strict"}), "utf-8")
    before = (made.folder / "conversations.jsonl").read_text("utf-8").splitlines()[1:]
    again = run("compare", "--resume", made.folder, "--expect", "p90_ms=2000")
    assert again.code == 0, again.err
    assert judged() == {(name, "p90_ms", ""): (True, "") for name in ("slow", "quick")}
    assert (made.folder / "conversations.jsonl").read_text("utf-8").splitlines()[1:] == before
    # They are the run's from then on.
    assert run("compare", "--resume", made.folder).code == 0
    assert len(judged()) == 2


def test_servers_elsewhere_are_spoken_to_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over real sockets; the servers are here, which the run is not told."""
    monkeypatch.setattr(specs, "runs_here", lambda spec: False)
    file = scenario(tmp_path, {}, {"pause": 0.2}, name="noise")
    paths: list[str] = []
    with contextlib.ExitStack() as stack:
        for name, known_ms in (("quick", 700), ("slow", 1500)):
            latency = {"distribution": "constant", "median_ms": float(known_ms)}
            written = script(tmp_path, name, latency=latency).partition("simulated:")[2]
            server = Child("simulate", "realtime", "--script", written, "--json")
            stack.callback(server.finish, kill=True)
            server.wait_for("\n", "out")
            paths += ["--path", f"{name}={json.loads(server.said('out'))['url']}"]
        arguments = ("compare", file, *paths, "--together", *QUICK, "--out", tmp_path / "results")
        outcome = run_here(*arguments)
    assert outcome.code == 0, outcome.err
    made = Compared(outcome, tmp_path / "results")
    assert made.summary["together"] is True
    assert "at the same moment" in " ".join(outcome.out.split())
    (quick,), (slow,) = made.of("quick"), made.of("slow")
    for one, known_ms in ((quick, 700), (slow, 1500)):
        for turn in one.turns:
            assert turn.record.wav_voice_to_voice_ns is not None
            off_ms = turn.record.wav_voice_to_voice_ns / NS_PER_MS - known_ms
            # How late a server of another process is, nobody tells: not by the other's 800 ms.
            assert -INSTRUMENT_MS - late_ms(turn.record) <= off_ms < 400
    for first, second in zip(quick.turns, slow.turns, strict=True):
        apart_ns = first.record.marks["speech.end"] - second.record.marks["speech.end"]
        late = late_ms(first.record) + late_ms(second.record)
        assert abs(apart_ns) / NS_PER_MS < 5 + late


def test_replies_of_a_run_that_is_over_are_read_later(tmp_path: Path) -> None:
    corpus = part_of_corpus(tmp_path / "corpus", 1)
    folder = tmp_path / "results"
    with scripted(otherwise=lambda request: reply("There are fifteen of them.")) as server:
        env = {"CASCADE_LLM__MODEL": server.url}
        made = compare(folder, corpus, "--repeat", "1", "--reply-seconds", "30", env=env)
        assert made.outcome.code == 0, made.outcome.err
        assert made.summary["variants"]["cascade"]["spoken_words"] is None
        (before,) = made.conversations
        resume = ("compare", "--resume", folder)
        later = Compared(run(*resume, "--fidelity", "default", env=env), folder)
        assert later.outcome.code == 0, later.outcome.err
        assert later.summary["fidelity"]["model"] == "whisper-mini-en"
        assert later.summary["fidelity"]["floor"]["recordings"] == 1
        spoken = later.summary["variants"]["cascade"]["spoken_words"]
        assert (spoken["turns"], spoken["words"]) == (1, 5)
        assert spoken["errors"] < 5
        assert spoken["entities"]["n"] == 1
        (row,) = [x for x in later.outcome.out.splitlines() if x.startswith("cascade, its ")]
        assert "as whisper-mini-en reads them" in row
        assert "words of the replies" in (folder / "report.html").read_text("utf-8")
        (after,) = later.conversations
        (turn,) = after.turns
        assert turn.fidelity is not None
        unread = dataclasses.replace(turn, fidelity=None)
        assert dataclasses.replace(after, turns=(unread,)) == before
        # It stands, whoever looks at the run again.
        again = Compared(run(*resume, env=env), folder)
        assert again.outcome.code == 0, again.outcome.err
        assert again.conversations == [after]
        assert again.summary["fidelity"] == later.summary["fidelity"]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ((), "names nothing to say"),
        (("recall", "--expect", "p99_ms=900"), "no figure 'p99_ms'; there are median_ms"),
        (("recall", "--together", *SIDE_BY_SIDE), "share this machine's processor"),
        (("--live", *SIDE_BY_SIDE, "--together"), "--together: is for a measured run"),
        (("recall", "--fidelity", "nothing"), "--fidelity nothing: unknown speech recogniser"),
        (("nowhere",), "no such file, folder or scenario"),
        (("recall", "--path", "openai:gpt-realtime-2.1"), "OPENAI_API_KEY"),
        (("recall", "--path", "gemini:gemini-3.8-live"), "GEMINI_API_KEY"),
        (("recall", "--path", "openai-live:gpt-live-1"), "OPENAI_API_KEY"),
        (("recall", "--path", "telepathy"), "not a path; give cascade"),
        (("recall", "--path", "ws://"), "ws://HOST:PORT"),
        (("recall", "--path", "cascade", "--path", "cascade"), "given twice"),
        (("recall", "--path", "cascade,stt=nothing"), "nothing"),
        (("recall", "--path", "cascade,colour=red"), "colour is no setting"),
        (("recall", "--path", "simulated:nothing"), "--path simulated:nothing: there is none"),
        (("recall", "--path", "a=cascade,turns.hold_ms=1"), "--path a: turns.hold_ms is '1'"),
        (("recall", "--path", "a=cascade,stt.language=de"), "whisper-mini-en knows: en"),
        (("recall", "--path", "simulated:gpt-realtime-2.1,protocol=gemini"), "write realtime"),
        (("recall", "--path", "ws://127.0.0.1:1,turns=never"), "turns"),
        (("--resume", "nowhere"), "name a folder that `compare` made"),
        (("recall", "--judge", "telepathy"), "telepathy"),
        (("recall", "--timeout", "inf"), "inf is no time"),
        (("recall", "--prices", "nowhere.toml"), "nowhere.toml"),
        (("recall", "--speaker", "nobody"), "nobody"),
        (("--live",), "needs 2 to 9 paths"),
        (
            ("--live", "--path", "cascade", "--path", "ws://127.0.0.1:1,turns=manual"),
            "turns=manual is for recordings",
        ),
        (("--live", *SIDE_BY_SIDE, "--path", "nonsense:x"), "nonsense"),
        (
            ("--live", *SIDE_BY_SIDE, *FROM_FILE, "--output", "o.wav", "--record", "o.wav"),
            "is the file of --output too",
        ),
        (("recall", "--record", "both.wav"), "go with --live"),
        (("recall", "--condition", "codec=opus"), "codec: input should be 'g711u' or 'g711a'"),
        (("recall", "--condition", "loss=120"), "loss: input should be less than or equal to 100"),
        (("recall", "--condition", "noise=no.wav,snr=3"), "no.wav: there is no such file"),
        (("recall", "--condition", "clean", "--condition", "clean"), "two are called 'clean'"),
        (
            (str(QUESTIONS[1]), "--condition", f"noise={QUESTIONS[0]},snr=-30"),
            "snr -30 cannot be met",
        ),
        (
            (str(QUESTIONS[0]), "--condition", f"noise={QUESTIONS[1]},snr=9"),
            "is shorter than the speech",
        ),
        (("--live", *SIDE_BY_SIDE, "--condition", "clean"), "leave it out with --live"),
    ],
)
def test_bad_input_is_told_before_anything_begins(
    tmp_path: Path, args: tuple[str, ...], why: str
) -> None:
    outcome = run_here("compare", *args, env=KEYLESS, cwd=tmp_path)
    assert outcome.code == 2, outcome.err
    assert why in " ".join(outcome.errors)
    assert len(outcome.errors) <= 3
    assert not (tmp_path / "runs").exists()


def test_a_simulation_is_not_set_beside_an_api(tmp_path: Path) -> None:
    outcome = run_here(
        *("compare", "recall", "--path", "simulated:gpt-realtime-2.1"),
        *("--path", "openai:gpt-realtime-2.1"),
        env={"OPENAI_API_KEY": "sk-secret"},
        cwd=tmp_path,
    )
    assert outcome.code == 2
    assert "compare them in two runs" in outcome.err


CALLS = {
    "told": tool_call('{"city": "Tokyo"}', index=0, id="call-1", name="get_weather"),
    "in fragments": tool_call("{}", index=0, id="call-1", name="get_weather")
    + tool_call('{"city": ', index=0)
    + tool_call('"Tokyo"}', index=0)
    + tool_call('{"city": "Tokyo"}', index=0, id="call-1", name="get_weather"),
    "written": delta(
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Tokyo"}}</tool_call>'
    ),
}
"""How a language model calls a tool, by what its instructions say."""


def shopkeeper(request: Request) -> Answer:
    """A language model that looks the weather up, and tells what it has found."""
    messages = request.body["messages"]
    system, last = messages[0], messages[-1]
    if last["role"] == "tool":
        return reply("It is ", last["content"], " there today.")
    if not request.body.get("tools"):
        return reply("Fine.")
    (call,) = [call for how, call in CALLS.items() if how in system["content"]]
    return Answer([ROLE, delta("One moment please. "), call, finish("tool_calls"), DONE])


def test_the_cascade_calls_tools_too(tmp_path: Path) -> None:
    sound = CORPUS / "06_what_is_the_weather_like_in_tokyo.flac"
    (tmp_path / sound.name).write_bytes(sound.read_bytes())
    tool = {"name": "get_weather", "responses": [{"give": "sunny", "delay": 1}]}
    wanted = {"name": "get_weather", "arguments": {"city": "tokyo"}, "within": 5}
    turn = {
        "file": sound.name,
        "text": "What is the weather like in Tokyo?",
        "expect": {"contains": ["sunny"], "tool": wanted},
    }
    files = [tmp_path / f"{how}.yaml" for how in CALLS]
    for how, file in zip(CALLS, files, strict=True):
        weather = {"topic": "tools", "tools": [tool], "turns": [turn], "instructions": how}
        file.write_text(yaml.safe_dump(weather), "utf-8")
    with scripted(otherwise=shopkeeper) as server:
        env = {"CASCADE_LLM__MODEL": server.url}
        made = compare(tmp_path / "results", *files, *QUICK, env=env)
    assert made.outcome.code == 0, made.outcome.err
    assert sorted(one.scenario for one in made.conversations) == sorted(CALLS)
    for one in made.conversations:
        (turn_held,) = one.turns
        assert [call.name for call in turn_held.calls] == ["get_weather"], one.scenario
        assert all(check.met for check in turn_held.checks), turn_held.checks
        first_ns, answer_ns = turn_held.record.wav_voice_to_voice_ns, turn_held.answering_ns
        assert first_ns is not None
        assert answer_ns is not None
        # "One moment please" is no answer: that takes as long as the tool, at least.
        assert answer_ns - first_ns > 0.8e9


@pytest.mark.slow
def test_right_tools_are_counted_by_turn_and_by_length_of_the_instructions(tmp_path: Path) -> None:
    """Said aloud: a model that calls in any turn is right in the one that wants it alone."""
    names = ("06_what_is_the_weather_like_in_tokyo.flac", "05_why_do_people_like_music.flac")
    for name in names:
        (tmp_path / name).write_bytes((CORPUS / name).read_bytes())
    turns = [
        {"file": names[0], "text": "What is the weather like in Tokyo?"},
        {"file": names[1], "text": "Why do people like music?"},
    ]
    turns[0]["expect"] = {"tool": {"name": "get_weather", "arguments": {"city": "tokyo"}}}
    turns[1]["expect"] = {"tool": "none"}
    file = tmp_path / "weather.yaml"
    tool = {"name": "get_weather", "responses": [{"give": "sunny"}]}
    weather = {"topic": "tools", "tools": [tool], "turns": turns, "instructions": "told"}
    file.write_text(yaml.safe_dump({**weather, "lengths": ["short", "4k"]}), "utf-8")
    with scripted(otherwise=shopkeeper) as server:
        env = {"CASCADE_LLM__MODEL": server.url}
        made = compare(tmp_path / "results", file, *QUICK, env=env)
    assert made.outcome.code == 0, made.outcome.err
    (system,) = made.summary["variants"].values()
    found = system["tools"]
    assert [(p["turn"], p["met"], p["n"]) for p in found["by_turn"]] == [(1, 2, 2), (2, 0, 2)]
    assert [(p["length"], p["met"], p["n"]) for p in found["by_length"]] == [
        *(("short", 1, 2), ("4k", 1, 2))
    ]
    for one in made.conversations:
        assert [len(turn.calls) for turn in one.turns] == [1, 1]
        assert all("sunny" in turn.record.reply for turn in one.turns)
