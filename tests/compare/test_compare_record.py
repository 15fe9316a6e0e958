"""The folder of a comparison: what was written is read again, and gone on with as what it was."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support import comparison_samples as made
from support.comparison_samples import SIMULATED, comparison, header
from support.noise import utterance

from pipeline.compare.conditions import Condition
from pipeline.compare.cost import prices
from pipeline.compare.record import ASKED, CONVERSATIONS, asked_of, resumed
from pipeline.compare.run import _plain
from pipeline.compare.scenario import Scenario, Step
from pipeline.compare.summary import summarise
from pipeline.errors import BadInput
from pipeline.measure.corpus import silence
from pipeline.measure.run import TRACE, Journal, Made

SECRET = "x=ws://me:hunter2@host/v1/realtime?api_key=sesame,voice=alloy"


def test_what_is_written_is_read_again_and_each_line_of_a_simulation_says_so(
    tmp_path: Path,
) -> None:
    file, conversations = tmp_path / CONVERSATIONS.name, comparison()[1]
    store = Journal(tmp_path, CONVERSATIONS)
    store.begin(header())
    for one in conversations:
        store.add(Made(one, [{"turn": 1, "mark": "committed", "t_ns": 1}]))
    found, held = CONVERSATIONS.read(file)
    assert (found["interrupted"], held) == (True, conversations)
    lines = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    lines += [json.loads(line) for line in (tmp_path / TRACE).read_text().splitlines()[1:]]
    played = [line for line in lines if line["path"] == SIMULATED]
    assert played
    assert all(line["simulated"] for line in played if line.get("facts", True))
    assert not any("simulated" in line for line in lines if line["path"] != SIMULATED)
    store.end({**header(), "interrupted": False}, conversations)
    found, held = CONVERSATIONS.read(file)
    assert (found["interrupted"], held) == (False, conversations)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "name a folder that `compare` made"),
        ("", "is no comparison's records"),
        ('{"profile": 1}\n', "is no comparison's records"),
        ('{"comparison": 99}\n', "version 99"),
        ('{"comparison": 1}\nnothing\n{}\n', "line 2 is damaged"),
    ],
)
def test_what_is_no_comparison_is_told(tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / CONVERSATIONS.name).write_text(text)
    with pytest.raises(BadInput, match=why):
        CONVERSATIONS.read(tmp_path / CONVERSATIONS.name)


def asked(*paths: str) -> dict[str, Any]:
    more = {"sources": ("recall",), "paths": paths, "say": Path("lines.txt")}
    later = {"expect": ("p90_ms=900",), "together": True, "conditions": ("codec=g711u",)}
    return asked_of(dict.fromkeys(ASKED, 1) | more | later)


def left(folder: Path, *paths: str) -> dict[str, Any]:
    """A folder of an earlier run, one of whose conversations failed; its header."""
    header = {**made.header(), "asked": asked(*paths)}
    one, other, *rest = [one for one in made.comparison()[1] if one.status == "ok" and one.repeat]
    Journal(folder, CONVERSATIONS).end(
        header, [dataclasses.replace(one, status="failed"), other, *rest]
    )
    return header


def test_what_was_asked_is_asked_again(tmp_path: Path) -> None:
    header = left(tmp_path, "cascade", "ws://host/v1")
    earlier = resumed(tmp_path, ["cascade"])
    assert earlier.asked["paths"] == ("cascade", "ws://host/v1")
    assert earlier.asked["say"] == Path("lines.txt")
    assert earlier.asked["expect"] == ("p90_ms=900",)
    assert earlier.asked["together"] is True
    assert earlier.asked["conditions"] == ("codec=g711u",)
    assert all(one.status == "ok" for one in earlier.kept)
    assert sum(earlier.retried.values()) == 1
    earlier.check(header)


def test_a_secret_is_not_kept_and_is_given_again(tmp_path: Path) -> None:
    left(tmp_path, "cascade", SECRET)
    assert not any(
        word in file.read_text("utf-8")
        for file in tmp_path.iterdir()
        for word in ("hunter", "sesam")
    )
    with pytest.raises(BadInput, match="give each --path again"):
        resumed(tmp_path, ["cascade"])
    assert resumed(tmp_path, ["cascade", SECRET]).asked["paths"] == ("cascade", SECRET)


@pytest.mark.parametrize("name", ["settings", "scenarios", "variants", "models"])
def test_another_run_is_not_taken_for_the_same(tmp_path: Path, name: str) -> None:
    header = left(tmp_path, "cascade")
    with pytest.raises(BadInput, match=f"{name} have changed"):
        resumed(tmp_path, []).check({**header, name: {}})


def test_another_noise_of_the_same_name_is_another_run(tmp_path: Path) -> None:
    noise = tmp_path / "cafe.wav"
    noisy = Scenario("a", condition="cafe 3 dB", through=Condition(noise=noise, snr_db=3))
    header = left(tmp_path, "cascade")
    told = []
    for sound in (b"one", b"other"):
        noise.write_bytes(sound)
        told.append({**header, "scenarios": {"a": _plain(noisy)}})
    assert str(tmp_path) not in json.dumps(told[0]["scenarios"])
    earlier = dataclasses.replace(resumed(tmp_path, []), header=told[0])
    earlier.check(told[0])
    with pytest.raises(BadInput, match="scenarios have changed"):
        earlier.check(told[1])


def test_a_recording_of_the_users_own_stays_as_it_was(tmp_path: Path) -> None:
    lamp = utterance(tmp_path / "lamp.wav")
    said = Scenario("a", steps=(Step("a lamp", lamp, 0.9), Step("silence", silence(1.0))))
    header = left(tmp_path, "cascade")
    was = {**header, "scenarios": {"a": _plain(said)}}
    assert [step["own"] for step in was["scenarios"]["a"]["steps"]] == [True, False]
    earlier = dataclasses.replace(resumed(tmp_path, []), header=was)
    earlier.check(was)
    # What is made here may be made anew.
    anew = json.loads(json.dumps(was))
    anew["scenarios"]["a"]["steps"][1]["sha256"] = "other"
    earlier.check(anew)
    relabelled = dataclasses.replace(said.steps[0], end_of_speech_s=1.0)
    again = {"a": _plain(dataclasses.replace(said, steps=(relabelled, said.steps[1])))}
    with pytest.raises(BadInput, match=r"recording lamp\.wav of a, or its label, has changed"):
        earlier.check({**was, "scenarios": again})
    lamp.write_bytes(b"another")
    with pytest.raises(BadInput, match=r"recording lamp\.wav of a, or its label, has changed"):
        earlier.check({**was, "scenarios": {"a": _plain(said)}})


def test_failures_that_are_tried_again_are_told(tmp_path: Path) -> None:
    header = left(tmp_path, "cascade")
    earlier = resumed(tmp_path, [])
    ((path, _),) = earlier.retried.items()
    figures = summarise({**header, "retried": earlier.retried}, earlier.kept, prices(None))
    (told,) = (one for one in figures["warnings"] if "--resume" in one)
    assert told.startswith(path)
    assert "1 conversation that failed" in told
