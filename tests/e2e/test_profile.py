"""`cascade profile` as people run it: real engines, in real time; and what it leaves behind."""

from __future__ import annotations

import csv
import json
import signal
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.llm_server import reply
from support.cli_child import (
    CORPUS,
    Child,
    Outcome,
    json_lines,
    limit_files,
    part_of_corpus,
    recording,
    require_models,
    run,
    run_here,
    scripted,
)

from pipeline.audio.audible import onset
from pipeline.audio.files import WavWriter, read_audio
from pipeline.measure.instrument import stereo, true_end
from pipeline.measure.record import RECORDS, Record
from pipeline.trace import PARTS

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and limits")
FILES = (
    "junit.xml",
    "records.jsonl",
    "report.html",
    "summary.json",
    "trace.jsonl",
    "trace.perfetto.json",
    "turns.csv",
    "wav",
)
AGREE_NS = 20_000_000
QUICK = ("--repeat", "1", "--reply-seconds", "0.3")


@dataclass(frozen=True)
class Profiled:
    """A profile that is over."""

    outcome: Outcome
    folder: Path

    @property
    def header(self) -> dict[str, Any]:
        return RECORDS.read(self.folder / RECORDS.name)[0]

    @property
    def records(self) -> list[Record]:
        return RECORDS.read(self.folder / RECORDS.name)[1]

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_text("utf-8"))
        return found


def profile(folder: Path, *args: str | Path, **more: Any) -> Profiled:
    return Profiled(run("profile", *args, "--out", folder, **more), folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Profiled:
    """Two recordings, two modes, nothing scripted."""
    require_models("llm")
    folder = tmp_path_factory.mktemp("small")
    corpus = part_of_corpus(folder / "corpus", 2, 5)
    modes = ("--mode", "sequential,speculative")
    expect = ("--expect", "max_ms=60000", "--expect", "failed=0")
    return profile(folder / "out", corpus, *modes, *QUICK, *expect, "--json")


# ---- what it leaves --------------------------------------------------------------------------


def test_all_files_are_there(small: Profiled) -> None:
    assert small.outcome.code == 0
    assert small.outcome.errors == []
    assert sorted(path.name for path in small.folder.iterdir()) == sorted(FILES)
    header = small.header
    assert header["variants"] == {
        "sequential": {"reply.mode": "sequential"},
        "speculative": {"reply.mode": "speculative"},
    }
    assert header["seed"] == 1
    assert header["interrupted"] is False
    assert header["noise"]["readings"] == len(small.records) + 1
    assert header["left_out"] == []


def test_its_gates_are_judged(small: Profiled) -> None:
    judged = [(one["system"], one["figure"], one["met"]) for one in small.summary["gates"]]
    assert judged == [
        (variant, figure, True)
        for variant in ("sequential", "speculative")
        for figure in ("max_ms", "failed")
    ]
    suites = ET.parse(small.folder / "junit.xml").getroot()
    # Two recordings and two gates each.
    assert [(one.get("tests"), one.get("errors")) for one in suites] == [("4", "0"), ("4", "0")]


def test_it_can_be_verified(small: Profiled) -> None:
    outcome = run_here("verify", str(small.folder), "--json")
    (last,) = outcome.events
    assert (outcome.code, last["wavs"], last["differences"]) == (0, len(small.records), 0)
    assert last["tables"] == ["summary.json", "turns.csv", "report.html", "junit.xml"]
    assert small.header["instrument"]["n"] == 3
    assert small.summary["instrument"] == small.header["instrument"]


def test_every_variant_has_heard_every_recording(small: Profiled) -> None:
    counted = [(r.variant, r.file, r.repeat) for r in small.records if r.repeat > 0]
    files = ["02_what_time_does_the_museum_leave.flac", "05_why_do_people_like_music.flac"]
    assert sorted(counted) == [
        (variant, file, 1) for variant in ("sequential", "speculative") for file in files
    ]
    assert [(r.variant, r.repeat) for r in small.records[:2]] == [
        ("sequential", 0),
        ("speculative", 0),
    ]
    assert [r.order for r in small.records] == [*range(6)]
    assert all(r.status == "ok" and r.transcript == r.expected for r in small.records)


def test_parts_sum_to_the_total_and_the_wav_agrees(small: Profiled) -> None:
    for record in small.records:
        timeline = record.timeline
        assert timeline is not None
        assert sum(timeline.parts.values()) == timeline.total_ns
        assert record.wav_voice_to_voice_ns is not None
        assert abs(record.wav_voice_to_voice_ns - timeline.total_ns) < AGREE_NS
        assert record.end_of_speech == "label"
        left, right, _ = stereo(small.folder / record.wav)
        assert left.any()
        assert right.any()


def test_the_table_and_the_summary_tell_the_same(small: Profiled) -> None:
    with (small.folder / "turns.csv").open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == len(small.records)
    for row in rows:
        parts = [float(row[f"{name}_ms"]) for name in PARTS]
        assert sum(parts) == pytest.approx(float(row["voice_to_voice_ms"]), abs=0.01)
    for name in ("sequential", "speculative"):
        of = small.summary["variants"][name]
        assert (of["n"], of["failed"]) == (2, 0)
        counted = [r for r in rows if r["variant"] == name and r["repeat"] == "1"]
        slowest = max(float(row["wav_voice_to_voice_ms"]) for row in counted)
        assert of["voice_to_voice_ms"]["max"] == pytest.approx(slowest, abs=0.01)


def test_machines_are_told_each_turn_and_the_end(small: Profiled) -> None:
    *turns, last = small.outcome.events
    assert [turn["type"] for turn in turns] == ["turn"] * 6
    assert [turn["order"] for turn in turns] == [*range(6)]
    assert last["type"] == "profile"
    assert last["summary"]["variants"].keys() == {"sequential", "speculative"}


def test_the_trace_has_every_token(small: Profiled) -> None:
    first, *lines = json_lines((small.folder / "trace.jsonl").read_text("utf-8"))
    assert first["trace"] == 1
    assert {line["order"] for line in lines} == {*range(6)}
    for record in small.records:
        marks = [line["mark"] for line in lines if line["order"] == record.order]
        assert marks.count("token") >= 3
        assert "tts.piece" in marks


def test_a_profile_is_no_worse_than_itself(small: Profiled) -> None:
    outcome = run_here("profile", "--compare", small.folder, small.folder)
    assert outcome.code == 0
    assert outcome.errors == []


def test_lines_of_text_are_spoken_and_kept_or_played(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("Why do people like music?\n", "utf-8")
    env = {name: str(tmp_path / "cache") for name in ("XDG_CACHE_HOME", "LOCALAPPDATA")}
    kept = run("profile", "--say", lines, "--keep", tmp_path / "kept", env=env)
    assert kept.code == 0
    assert kept.out.strip() == str(tmp_path / "kept" / "corpus.tsv")
    with scripted(otherwise=reply("Because it is good.")) as server:
        options = ("--say", lines, *QUICK, "--llm", server.url)
        made = profile(tmp_path / "out", *options, env=env)
    assert made.outcome.code == 0
    assert [record.end_of_speech for record in made.records] == ["label"] * 2
    assert made.records[-1].transcript == "Why do people like music?"


# ---- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "names no recordings"),
        (["empty"], "no recording to play"),
        (["nowhere"], "there is no such file"),
        (["corpus", "--mode", "fast"], "reply.mode is 'fast'"),
        (["corpus", "--vary", "turns.hold=1"], "unknown key turns.hold"),
        (["corpus", "--vary", "stt"], "say which setting"),
        (["corpus", "--vary", "stt=nothing-such"], "nothing-such"),
        (["corpus", "--out", "corpus"], "is not empty"),
        (["corpus", "--repeat", "0"], "repeat"),
        (["--say", "nowhere.txt"], "cannot be read"),
        (["corpus", "--keep", "kept"], "goes with --say"),
        (["late"], "end_of_speech_s is 99, and it lasts"),
        (["--compare", "corpus", "empty"], "records.jsonl"),
        (["--what-if", "llm.first_token=0.5x"], "name one folder"),
    ],
)
def test_bad_input_is_told_in_a_line(tmp_path: Path, args: list[str], says: str) -> None:
    part_of_corpus(tmp_path / "corpus", 5)
    (tmp_path / "empty").mkdir()
    late = part_of_corpus(tmp_path / "late", 5) / "corpus.tsv"
    late.write_text(late.read_text("utf-8").replace("2.12122", "99"), "utf-8")
    outcome = run_here("profile", *args, cwd=tmp_path)
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert says in outcome.err
    assert outcome.out == ""
    assert not (tmp_path / "runs").exists()


def in_noise(folder: Path, *rows: tuple[str, float, float, str]) -> Path:
    """A corpus of one sentence in white noise.

    Args:
        folder: To make it in.
        rows: Name, level of the noise below a full-scale sine (dB), gain (dB), and label.
    """
    folder.mkdir()
    voice = np.concatenate([*read_audio(next(CORPUS.glob("03_*")), 16_000)]).astype(float)
    voice = np.pad(voice, (0, 24_000))
    noise = np.random.default_rng(1).standard_normal(len(voice)) * 23_170
    lines = ["file\ttext\tend_of_speech_s"]
    for name, below_db, gain_db, label in rows:
        mixed = (voice + noise / 10 ** (below_db / 20)) * 10 ** (gain_db / 20)
        with WavWriter(folder / name, 16_000) as wav:
            wav.write(np.rint(mixed).clip(-32768, 32767).astype(np.int16))
        lines.append(f"{name}\t\t{label}")
    (folder / "corpus.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def error_ms(made: Profiled, record: Record) -> float:
    """By how much a latency is wrong: the sentence's end is known, and the reply's begin heard."""
    left, right, rate = stereo(made.folder / record.wav)
    path = made.folder.parent / "corpus" / record.file
    _, end = true_end(left, rate, path, 3.03401)
    first = onset(right, rate)
    assert first is not None
    assert record.wav_voice_to_voice_ns is not None
    return record.wav_voice_to_voice_ns / 1e6 - (first - end) * 1000 / rate


def test_neither_noise_nor_gain_moves_the_latency(tmp_path: Path) -> None:
    corpus = in_noise(
        tmp_path / "corpus",
        ("clean.wav", 120, 0, ""),
        ("room-50.wav", 47, 0, ""),
        ("quiet.wav", 47, -30, ""),
        ("loud.wav", 22, 0, ""),
        ("labelled.wav", 22, 0, "3.03401"),
    )
    with scripted(otherwise=reply("It is five hundred miles.")) as server:
        made = profile(tmp_path / "out", corpus, *QUICK, "--llm", server.url)
    assert made.outcome.code == 0
    turns = {record.file: record for record in made.records if record.repeat}
    assert {name: one.status for name, one in turns.items()} == {
        **dict.fromkeys(("clean.wav", "room-50.wav", "quiet.wav", "labelled.wav"), "ok"),
        "loud.wav": "unmeasurable",
    }
    off_ms = {name: error_ms(made, one) for name, one in turns.items() if one.status == "ok"}
    for name in ("room-50.wav", "quiet.wav"):
        assert abs(off_ms[name] - off_ms["clean.wav"]) < 20
    assert abs(off_ms["clean.wav"]) < 50
    assert abs(off_ms["labelled.wav"]) < 2
    levels = {name: one["level_dbfs"] for name, one in made.summary["sound"].items()}
    assert levels["room-50.wav"] - levels["quiet.wav"] == pytest.approx(30, abs=1)
    (variant,) = made.summary["variants"].values()
    assert (variant["n"], variant["failed"], variant["unmeasurable"]) == (4, 0, 1)
    assert "noise after the speech; give end_of_speech_s" in " ".join(made.outcome.out.split())


def test_if_nothing_can_be_measured_that_is_told(tmp_path: Path) -> None:
    corpus = in_noise(tmp_path / "corpus", ("loud.wav", 22, 0, ""))
    with scripted(otherwise=reply("It is five hundred miles.")) as server:
        made = profile(tmp_path / "out", corpus, *QUICK, "--llm", server.url)
    assert made.outcome.code == 1
    assert "no turn was measured" in made.outcome.out


@POSIX
def test_an_interrupted_profile_reports_what_was_measured(tmp_path: Path) -> None:
    corpus = part_of_corpus(tmp_path / "corpus", 2, 5)
    with (corpus / "corpus.tsv").open("a") as manifest:
        manifest.write("missing.wav\tNothing.\t\nbroken.wav\t\t\n")
    (corpus / "broken.wav").write_bytes(b"RIFF")
    with scripted(otherwise=reply("It leaves at nine.")) as server:
        options = ("--llm", server.url, "--repeat", "50", "--out")
        child = Child("profile", corpus, *options, tmp_path / "none")
        child.wait_for("loading")
        child.signal(signal.SIGINT)
        none = child.finish()
        child = Child("profile", corpus, *options, tmp_path / "out", "--reply-seconds", "0.3")
        child.wait_for("3/101 ")
        child.signal(signal.SIGINT)
        outcome = child.finish()
    made = Profiled(outcome, tmp_path / "out")
    assert outcome.code == 130
    assert sorted(path.name for path in made.folder.iterdir()) == sorted(FILES)
    assert made.header["interrupted"] is True
    assert len(made.records) >= 3
    assert {record.status for record in made.records} == {"ok"}
    assert "interrupted" in outcome.out
    assert none.code == 130
    assert f"before anything was measured; delete {tmp_path / 'none'}" in none.err
    # Recordings that cannot be played have not kept it from those that can.
    told = [line for line in outcome.err.splitlines() if line.startswith("error: left out: ")]
    assert ["missing.wav" in told[0], "broken.wav" in told[1]] == [True, True]
    assert len(made.header["left_out"]) == 2


@POSIX
def test_a_full_disk_is_told_and_what_was_measured_is_kept(tmp_path: Path) -> None:
    corpus = part_of_corpus(tmp_path / "corpus", 5)
    spoken = np.concatenate([*read_audio(recording(40), 16_000)])
    with WavWriter(corpus / "long.wav", 16_000) as wav:
        wav.write(np.concatenate([spoken, np.zeros(5 * 16_000, np.int16)]))
    with (corpus / "corpus.tsv").open("a") as manifest:
        manifest.write("long.wav\t\t\n")
    with scripted(otherwise=reply("Because it is good, and because they like it.")) as server:
        made = profile(
            *(tmp_path / "out", corpus, "--llm", server.url, "--repeat", "1"),
            *("--reply-seconds", "0.1", "--json"),
            before=partial(limit_files, 400_000),
        )
    assert made.outcome.code == 1
    assert "make room" in made.outcome.err
    assert made.records[0].status == "ok"
    assert made.header["interrupted"] is True
    assert made.summary["variants"].keys() == {"speculative"}
