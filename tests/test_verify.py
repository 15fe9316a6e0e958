"""What was changed in a run's folder is found, and only that; what cannot be looked at is told."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.cli_child import run, run_here
from support.noise import LEAD_S, SPEECH_S, utterance

from pipeline.audio.files import WavWriter
from pipeline.clock import Clock
from pipeline.compare.record import CONVERSATIONS
from pipeline.errors import UNMET, BadInput
from pipeline.events import Samples
from pipeline.measure import summary
from pipeline.measure.conduct import hold
from pipeline.measure.cues import Utterance
from pipeline.measure.instrument import stereo
from pipeline.measure.record import RECORDS
from pipeline.measure.recording import MemoryTrace
from pipeline.measure.reference import RATE, Behaviour, ReferenceSession
from pipeline.measure.run import digest, write
from pipeline.profile import report
from pipeline.trace import versions
from pipeline.verify import DERIVED, Findings, verified

VOICE, OVER, LATENCY, ANSWERING, STOP, *TAKING = DERIVED
CUT_IN, ENDED = "cut in, ms", "ended, ms"
RESULTS = CONVERSATIONS.name
TABLES = ["summary.json", "turns.csv", "report.html", "junit.xml"]
SHIFT_MS = 50


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real comparison of a system with itself: a label, a detected end, and an interruption."""
    folder = tmp_path_factory.mktemp("verify")
    noise = utterance(folder / "noise.wav").name
    turns = [
        {"file": noise, "end_of_speech": LEAD_S + SPEECH_S},
        {"file": noise, "interrupt": 0.4},
        {"file": noise},
    ]
    talk = {"name": "talk", "turns": turns, "expect": {"cut_in": 0.2}}
    (folder / "talk.yaml").write_text(yaml.safe_dump(talk), "utf-8")
    path = "reference:latency=400,reply=1500,cut_in=3"
    out = folder / "run"
    asked = ("--path", path, "--repeat", "1", "--expect", "median_ms=300")
    done = run("compare", folder / "talk.yaml", *asked, "--out", out)
    assert done.code == UNMET, done.err
    return out


@pytest.fixture
def copied(held: Path, tmp_path: Path) -> Path:
    return shutil.copytree(held, tmp_path / "run")


async def profiled(folder: Path) -> Path:
    """A profile's folder, as `profile` leaves it, of a system that needs no engines."""
    (folder / "wav").mkdir()
    said = Utterance("", utterance(folder.parent / "noise.wav"), LEAD_S + SPEECH_S, seconds=1.2)
    tape, wav = MemoryTrace(), folder / "wav/0000.wav"
    session = ReferenceSession(Behaviour(latency=300, reply=300), tape, Clock())
    turns = (await hold(session, tape, [said], wav, RATE)).turns()
    names = {"variant": "v", "file": "noise.wav", "repeat": 1, "order": 0, "wav": "wav/0000.wav"}
    plain = {**RECORDS.plain(turns[0].record), **names, "wav_sha256": digest(wav)}
    plain["marks"] = {name: ns for name, ns in plain["marks"].items() if "model." not in name}
    records = [RECORDS.parse(plain)]
    header = {"variants": {"v": {}}, "versions": versions(), "interrupted": False}
    made = summary.summarise(header, records)
    RECORDS.write(folder / RECORDS.name, header, records)
    for name, text in report.files(folder, header, records, made).items():
        write(folder / name, text())
    return folder


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change each line of the results, the header included."""
    lines = [json.loads(line) for line in (folder / RESULTS).read_text("utf-8").splitlines()]
    for line in lines:
        change(line)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / RESULTS).write_text(text, "utf-8")


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(line: dict[str, Any]) -> None:
        for name in names:
            line.pop(name, None)
            for turn in line.get("turns", ()):
                turn["record"].pop(name, None)

    return change


def shifted(wav: Path, *sides: int) -> None:
    """Move sides of a WAV to later, without its getting longer."""

    def later(samples: Samples, rate: int) -> Samples:
        return np.concatenate([np.zeros(by := SHIFT_MS * rate // 1000, np.int16), samples[:-by]])

    *both, rate = stereo(wav)
    both = [later(one, rate) if side in sides else one for side, one in enumerate(both)]
    with WavWriter(wav, rate, channels=2) as file:
        file.write(np.stack(both, axis=1))


def figures(found: Findings) -> dict[str, list[float]]:
    """By how much figures of turns differ, by name (ms)."""
    by: dict[str, list[float]] = {}
    for one in found.differences:
        if one.figure in DERIVED and (one.figure not in TAKING or one.figure in (CUT_IN, ENDED)):
            by.setdefault(one.figure, []).append(round(one.now - one.then))
    return by


def others(found: Findings) -> list[tuple[str, str]]:
    return [(one.file, one.figure) for one in found.differences if one.figure not in DERIVED]


def test_an_untouched_run_agrees(held: Path) -> None:
    found = verified(held)
    assert found.differences == []
    assert (found.wavs, found.tables) == (1, TABLES)
    # Of three turns: two places, a latency, an answer, whether one spoke into the other, whether
    # that stopped, for how long both spoke; one of them stops a reply, and one is cut into.
    assert found.figures == 3 * 7 + 2 + 1
    assert found.notes == ["SIMULATED: systems in it replayed a script"]
    outcome = run_here("verify", str(held))
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].endswith(
        "all agree: 1 WAV, 24 figures from them, summary.json, turns.csv, report.html, junit.xml"
    )


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize(
    ("sides", "differ"),
    [
        ([1], {LATENCY: [50] * 3, ANSWERING: [50] * 3, STOP: [50], CUT_IN: [-50], ENDED: [50]}),
        (
            [0],
            {
                VOICE: [50] * 3,
                OVER: [50] * 3,
                LATENCY: [-50] * 3,
                ANSWERING: [-50] * 3,
                STOP: [-50],
                CUT_IN: [50],
                ENDED: [-50],
            },
        ),
        ([0, 1], {VOICE: [50] * 3, OVER: [50] * 3}),
    ],
)
def test_a_shifted_wav_is_found(
    copied: Path, hashed: bool, sides: list[int], differ: dict[str, list[float]]
) -> None:
    (wav,) = (copied / "wav").iterdir()
    shifted(wav, *sides)
    if not hashed:
        rewritten(copied, without("wav_sha256"))
    found = verified(copied)
    assert figures(found) == differ
    assert ((f"wav/{wav.name}", "SHA-256") in others(found)) == hashed
    assert any("no SHA-256 of 1 WAV" in note for note in found.notes) != hashed


def test_what_the_system_heard_is_known_by_its_hash(copied: Path) -> None:
    (wav,) = (copied / "wav").iterdir()
    heard = shutil.copy(wav, wav.with_name("heard.wav"))

    def through(line: dict[str, Any]) -> None:
        if "turns" in line:
            line.update(heard="wav/heard.wav", heard_sha256=line["wav_sha256"])

    rewritten(copied, through)
    assert ("wav/heard.wav", "SHA-256") not in others(verified(copied))
    shifted(heard, 0)
    assert ("wav/heard.wav", "SHA-256") in others(verified(copied))
    heard.unlink()
    assert ("wav/heard.wav", "SHA-256") in others(verified(copied))


def test_an_edited_summary_is_found(copied: Path) -> None:
    file = copied / "summary.json"
    plain = json.loads(file.read_text("utf-8"))
    (variant,) = plain["variants"].values()
    variant["voice_to_voice_ms"]["median"] -= 5
    file.write_text(json.dumps(plain), "utf-8")
    (one,) = verified(copied).differences
    assert (one.file, one.now - one.then) == ("summary.json", pytest.approx(5))
    assert one.figure.endswith("voice_to_voice_ms / median")
    outcome = run_here("verify", str(copied), "--json")
    assert outcome.code == UNMET
    told, _, last = outcome.events
    assert (told["type"], told["figure"], told["now"]) == ("difference", one.figure, one.now)
    assert last["differences"] == 1


def of_run(gates: list[dict[str, Any]]) -> None:
    gates[0]["met"] = True


def of_a_file(gates: list[dict[str, Any]]) -> None:
    assert (gates[1]["on"], gates[1]["met"]) == ("talk.yaml", False)
    gates[1]["limit"], gates[1]["met"] = 0.5, True


@pytest.mark.parametrize(
    ("edit", "differ"),
    [
        (of_run, {("gates / 1 / met", True, False)}),
        (of_a_file, {("gates / 2 / limit", 0.5, 0.2), ("gates / 2 / met", True, False)}),
        (lambda gates: gates.pop(), {("gates", 1, 2)}),
        (lambda gates: gates.append(5), {("gates", 3, 2)}),
    ],
)
def test_an_edited_gate_is_found(
    copied: Path,
    edit: Callable[[list[dict[str, Any]]], object],
    differ: set[tuple[str, Any, Any]],
) -> None:
    file = copied / "summary.json"
    plain = json.loads(file.read_text("utf-8"))
    edit(plain["gates"])
    file.write_text(json.dumps(plain), "utf-8")
    found = verified(copied).differences
    sizes = [tuple(len(x) if isinstance(x, list) else x for x in (d.then, d.now)) for d in found]
    assert {(one.figure, *size) for one, size in zip(found, sizes, strict=True)} == differ


def test_gates_of_files_that_an_earlier_run_does_not_keep_are_told(copied: Path) -> None:
    rewritten(copied, without("file_gates"))
    found = verified(copied)
    assert found.differences == []
    assert any("gates of single files" in note for note in found.notes)


def test_an_edited_junit_is_found(copied: Path) -> None:
    file = copied / "junit.xml"
    file.write_text(re.sub("<failure.*?</failure>", "", file.read_text("utf-8"), flags=re.S))
    (one,) = verified(copied).differences
    assert (one.file, one.figure) == ("junit.xml", "line 6")


def test_an_edited_table_is_found(copied: Path) -> None:
    file = copied / "turns.csv"
    rows = [*csv.reader(file.read_text("utf-8").splitlines())]
    column = rows[0].index("wav_voice_to_voice_ms")
    was, rows[2][column] = rows[2][column], "123.000"
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened, lineterminator="\n").writerows(rows)
    (one,) = verified(copied).differences
    assert (one.file, one.figure, one.then, one.now) == (
        "turns.csv",
        "wav_voice_to_voice_ms",
        "123.000",
        was,
    )
    assert "talk#2" in one.where


def test_an_edited_figure_of_a_conversation_is_found(copied: Path) -> None:
    def faster(line: dict[str, Any]) -> None:
        if "turns" in line:
            line["turns"][1]["record"]["wav_voice_to_voice_ns"] -= 100_000_000

    rewritten(copied, faster)
    found = verified(copied)
    assert figures(found) == {LATENCY: [100]}
    assert {file for file, _ in others(found)} == {*TABLES}


def test_an_edited_report_is_found(copied: Path) -> None:
    file = copied / "report.html"
    page = file.read_text("utf-8")
    file.write_text(page.replace("&rsquo;s own error", "&rsquo;s merit"), "utf-8")
    (one,) = verified(copied).differences
    assert one.file == "report.html"
    assert "merit" in one.then


@pytest.mark.parametrize("broken", ["missing", "cut", "no sound"])
def test_a_wav_that_is_not_whole_leaves_the_others(copied: Path, broken: str) -> None:
    (wav,) = (copied / "wav").iterdir()
    other = wav.with_name("0099.wav")
    shutil.copy(wav, other)
    lines = (copied / RESULTS).read_text("utf-8").splitlines()
    again = {**json.loads(lines[1]), "wav": f"wav/{other.name}", "order": 99}
    (copied / RESULTS).write_text("\n".join([*lines, json.dumps(again)]) + "\n", "utf-8")
    if broken == "missing":
        wav.unlink()
    else:
        data = wav.read_bytes()
        wav.write_bytes(data[: len(data) // 2 - 1] if broken == "cut" else b"RIFF")
    found = verified(copied)
    mine = [one for one in found.differences if one.file == f"wav/{wav.name}"]
    assert mine[-1].figure == "the file"
    says = {"missing": "No such file", "cut": "is cut off: of", "no sound": "cannot be read"}
    assert says[broken] in mine[-1].now
    assert found.wavs == 2
    assert found.figures >= 24
    assert not any(one.file == f"wav/{other.name}" for one in found.differences)


def test_an_earlier_run_is_verified_as_far_as_it_goes(copied: Path) -> None:
    rewritten(copied, without("wav_sha256", "places", "prices"))
    found = verified(copied)
    assert (found.differences, found.figures) == ([], 0)
    assert found.tables == ["summary.json", "turns.csv"]
    notes = "\n".join(found.notes)
    for told in (
        "no SHA-256",
        "where 3 turns are",
        "not keep its prices",
        "report.html",
    ):
        assert told in notes


def test_a_run_that_was_killed_is_verified_without_its_tables(copied: Path) -> None:
    rewritten(copied, lambda line: line.update(interrupted=True) if "seed" in line else None)
    for name in TABLES:
        (copied / name).unlink()
    found = verified(copied)
    assert (found.differences, found.figures, found.tables) == ([], 24, [])
    assert sum("the run was interrupted" in note for note in found.notes) == 2


def test_what_a_whole_run_lacks_is_a_difference(copied: Path) -> None:
    (copied / "summary.json").unlink()
    assert others(verified(copied)) == [("summary.json", "the file")]


async def test_a_profile_is_verified_alike(tmp_path: Path) -> None:
    folder = tmp_path / "profile"
    folder.mkdir()
    await profiled(folder)
    found = verified(folder)
    assert (found.differences, found.wavs, found.figures) == ([], 1, 3)
    assert found.tables == TABLES
    shifted(folder / "wav/0000.wav", 1)
    found = verified(folder)
    assert figures(found) == {LATENCY: [50]}
    assert ("wav/0000.wav", "SHA-256") in others(found)


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (None, "no such folder"),
        ("", "holds no run"),
        ('{"comparison": 99}', "version 99 of the format"),
        ("what?", "is no comparison's records"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, made: str | None, wrong: str) -> None:
    folder = tmp_path / "run"
    if made is not None:
        folder.mkdir()
    if made:
        (folder / RESULTS).write_text(made + "\n", "utf-8")
    with pytest.raises(BadInput, match=wrong):
        verified(folder)
    assert run_here("verify", str(folder)).code == 2
