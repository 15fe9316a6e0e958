"""Comparing two profiles: worse is told from noise, from too little, and from not the same."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support import pages
from support.known_turns import header, turn

from pipeline.errors import UNMET, BadInput
from pipeline.measure.record import RECORDS, Record
from pipeline.profile.regression import compare, compared

FILES = tuple(f"{letter}.wav" for letter in "abcdefgh")


def run(
    *, files: Sequence[str] = FILES, repeats: int = 3, seed: int = 1, more_ms: float = 0
) -> list[Record]:
    """A run of one variant: recordings differ much, repeats little; all take `more_ms` longer."""
    draw = random.Random(seed)
    return [
        turn(file=file, repeat=repeat, stt=200 + 60 * index + draw.uniform(0, 4) + more_ms)
        for repeat in range(1, repeats + 1)
        for index, file in enumerate(files)
    ]


def found(old: Sequence[Record], new: Sequence[Record], **new_header: float) -> dict[str, Any]:
    return compared(header("plain"), old, header("plain", **new_header), new)


def saved(folder: Path, records: Sequence[Record], head: dict[str, Any] | None = None) -> Path:
    folder.mkdir()
    RECORDS.write(folder / RECORDS.name, head or header("plain"), records)
    return folder


def quiet() -> Console:
    return Console(file=io.StringIO(), width=80)


def mute() -> list[Record]:
    """A run in which one recording was never replied to."""
    lost = [turn(file="c.wav", repeat=repeat, status="timeout") for repeat in (1, 2, 3)]
    return [*(one for one in run(seed=2) if one.file != "c.wav"), *lost]


CASES: dict[str, tuple[list[Record], list[Record], int]] = {
    "slower": (run(), run(seed=2, more_ms=120), UNMET),
    "the same": (run(), run(seed=2), 0),
    "faster": (run(), run(seed=2, more_ms=-150), 0),
    "slower by less than anybody would notice": (run(), run(seed=2, more_ms=40), 0),
    "a recording that is no longer replied to": (run(), mute(), UNMET),
    "what only one has": (
        [*run(), turn("gone", "a.wav"), turn(file="y.wav")],
        [*run(seed=2), turn("fresh", "a.wav"), turn(file="z.wav", stt=9000)],
        0,
    ),
    "too few to tell": (run(files=FILES[:1]), run(files=FILES[:1], seed=2, more_ms=900), 0),
}


def test_what_is_said_in_each_case_and_whether_it_is_worse(tmp_path: Path) -> None:
    told = []
    for name, (old, new, code) in CASES.items():
        console = quiet()
        folders = [
            saved(tmp_path / f"{name} {side}", of, header(*dict.fromkeys(r.variant for r in of)))
            for side, of in (("old", old), ("new", new))
        ]
        assert compare(*folders, console) == code, name
        assert isinstance(console.file, io.StringIO)
        told.append(f"# {name}\n{console.file.getvalue()}")
    assert UNMET == 3
    pages.check("regressions.txt", "\n".join(told))


def test_a_tenth_of_very_little_is_very_little() -> None:
    little = {"endpoint": 0, "llm_first_token": 0, "first_clause": 0, "tts_first_audio": 0}

    def fast(stt: float) -> list[Record]:
        return [turn(file=file, stt=stt, **little) for file in FILES]

    assert not found(fast(50), fast(59))["worse"]
    assert found(fast(50), fast(61))["worse"]


def test_slower_by_what_the_machine_varied_anyway_is_not_worse() -> None:
    one = found(run(), run(seed=2, more_ms=120), relative=0.15)["variants"]["plain"]
    assert (one["slower"], one["voice_to_voice_ms"]["verdict"]) == (False, "slower")
    assert one["voice_to_voice_ms"]["within_noise"] is True
    assert found(run(), run(seed=2, more_ms=120), relative=0.05)["worse"]


def test_a_machine_that_was_slower_in_the_new_run_is_told_and_counted_as_noise() -> None:
    both = found(run(), run(seed=2, more_ms=120), loop_ms=11.5)
    assert both["noise"] == pytest.approx(0.15)
    assert not both["worse"]
    assert both["caveats"] == ["the machine itself was 15% slower in the new run"]


def test_unknown_noise_is_told_and_excuses_nothing() -> None:
    old = header("plain") | {"noise": None}
    both = compared(old, run(), header("plain"), run(seed=2, more_ms=120))
    assert both["noise"] is None
    assert both["worse"]
    assert both["caveats"] == ["how steady the machine was is not known of both runs"]


def test_a_difference_that_only_some_recordings_have_is_not_shown() -> None:
    new = [*run(files=FILES[:4], seed=2, more_ms=300), *run(files=FILES, seed=3)[4:8]]
    new = [one for one in new if one.repeat == 1]
    one = found(run(), new)["variants"]["plain"]
    assert one["voice_to_voice_ms"]["verdict"] == "no difference shown"
    assert not one["worse"]


def test_few_recordings_are_paired_by_repeat_and_very_few_turns_say_nothing() -> None:
    few = found(run(files=FILES[:2]), run(files=FILES[:2], seed=2, more_ms=120))
    one = few["variants"]["plain"]
    assert (one["paired_by"], one["voice_to_voice_ms"]["n"]) == ("recording and repeat", 6)
    assert few["worse"]
    fewer = found(run(files=FILES[:2], repeats=2), run(files=FILES[:2], repeats=2, more_ms=900))
    assert fewer["variants"]["plain"]["voice_to_voice_ms"]["ci95"] is None
    assert not fewer["worse"]


def test_a_recording_that_is_replied_to_now_and_then_is_told_but_not_worse() -> None:
    new = [turn(file="c.wav", status="failed"), *run(seed=2)[8:]]
    new += [one for one in run(seed=2)[:8] if one.file != "c.wav"]
    one = found(run(), new)["variants"]["plain"]
    assert one["failed"] == {"old": 0, "new": 1}
    assert (one["worse"], one["lost"]) == (False, [])


def test_nothing_replied_to_any_more_is_worse() -> None:
    new = [turn(file=file, status="failed") for file in FILES]
    one = found(run(), new)["variants"]["plain"]
    assert one["worse"]
    assert one["lost"] == list(FILES)
    assert one["voice_to_voice_ms"] is None


def test_the_warm_up_counts_for_nothing() -> None:
    warm = [turn(file=file, repeat=0, stt=9000) for file in FILES]
    assert found(run(), [*warm, *run(seed=2)]) == found(run(), run(seed=2))


def test_the_order_of_the_run_does_not_matter() -> None:
    old, new = run(), run(seed=2, more_ms=30)
    assert found(old[::-1], new[::-1])["variants"] == found(old, new)["variants"]


def test_another_machine_version_or_setting_is_told() -> None:
    new = header("plain") | {
        "machine": {"system": "macOS", "cores": 8},
        "versions": {"voice-cascade": "0.2.0"},
        "settings": {"stt": {"threads": 2, "beam": 1}},
        "interrupted": True,
    }
    assert compared(header("plain"), run(), new, run(seed=2))["caveats"] == [
        "not the same machine: system Linux -> macOS, cores 2 -> 8",
        "not the same versions: voice-cascade 0.1.0 -> 0.2.0",
        "not the same settings: stt.threads 1 -> 2, stt.beam - -> 1",
        "the new run was interrupted",
    ]
    many = header("plain") | {"models": {f"m{index}": "x" for index in range(9)}}
    assert compared(header("plain"), run(), many, run())["caveats"][0].endswith(", and 4 more")


def test_for_machines_it_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = quiet()
    folders = saved(tmp_path / "old", run()), saved(tmp_path / "new", run(seed=2, more_ms=120))
    assert compare(*folders, console, as_json=True) == UNMET
    printed = json.loads(capsys.readouterr().out)
    assert printed["worse"] is True
    assert printed["variants"]["plain"]["moved"] == ["stt"]
    assert isinstance(console.file, io.StringIO)
    assert not console.file.getvalue()


def test_bad_input_is_told(tmp_path: Path) -> None:
    good = saved(tmp_path / "good", run())
    empty = tmp_path / "empty"
    empty.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / "records.jsonl").write_text('{"profile": 99}\n', encoding="utf-8")
    for bad, words in (
        (tmp_path / "none", "none/records.jsonl: No such file or directory; name a folder that"),
        (good / "records.jsonl", "records.jsonl: Not a directory; name a folder that `profile`"),
        (empty, "No such file or directory; name a folder that `profile` made"),
        (other, "version 99 of the format"),
    ):
        for pair in ((bad, good), (good, bad)):
            with pytest.raises(BadInput, match=re.escape(words)):
                compare(*pair, quiet())


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ([turn("other")], "only the old one has plain, b.wav"),
        ([turn(file="z.wav")], "only the new one has z.wav"),
        ([turn(repeat=0)], "only the old one has a.wav"),
    ],
)
def test_nothing_in_common_is_bad_input(tmp_path: Path, new: list[Record], words: str) -> None:
    variants = {one.variant: {} for one in new}
    folders = (
        saved(tmp_path / "old", run()),
        saved(tmp_path / "new", new, header("plain") | {"variants": variants}),
    )
    with pytest.raises(BadInput, match="no variant with a recording in common") as error:
        compare(*folders, quiet())
    assert words in str(error.value)
