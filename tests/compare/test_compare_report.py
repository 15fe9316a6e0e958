"""What a comparison's report says, and that it is stamped wherever it must be.

That its file is self-contained is tested with `measure.report`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import comparison_samples as samples
from support.report_page import content

from pipeline.compare import cost, report
from pipeline.compare.record import Conversation
from pipeline.compare.scoring import words
from pipeline.compare.summary import summarise
from pipeline.measure.record import Record, Turn
from pipeline.speech_to_speech.brief import STAMP

TABLE = cost.prices()
MEASURED = (samples.CASCADE, samples.DIRECT)
Compared = tuple[dict[str, Any], list[Conversation], dict[str, Any]]


def compared(**options: Any) -> Compared:
    header, conversations = samples.comparison(**options)
    return header, conversations, summarise(header, conversations, TABLE)


def written(folder: Path, *args: Any, **options: Any) -> str:
    return report.rendered(folder, *args, **options)


@pytest.fixture(scope="module")
def comparison() -> Compared:
    return compared(repeats=1)


@pytest.fixture(scope="module")
def page(comparison: Compared, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("comparison"), *comparison)


@pytest.fixture(scope="module")
def found(comparison: Compared) -> dict[str, Any]:
    return report.content(*comparison)


def sections(page: str) -> list[str]:
    return re.findall(r"<section .*?</section>", page, re.S)


def test_a_simulation_is_stamped_before_any_script_has_run(page: str) -> None:
    assert re.search(rf"<title>{STAMP}\b", page)
    [banner] = re.findall(r'<div id="stamp".*?</div>', page, re.S)
    assert STAMP in banner and samples.SIMULATED in banner
    assert f'<div class="watermark" aria-hidden="true">{STAMP}</div>' in page
    assert len(sections(page)) == len(report.SECTIONS)
    for section in sections(page):
        [heading] = re.findall(r"<h2.*?</h2>", section)
        assert f'<b class="stamped">{STAMP}</b>' in heading


def test_whatever_the_script_draws_of_a_simulated_path_names_it_so(found: dict[str, Any]) -> None:
    assert found["stamp"] == STAMP
    [simulated] = [path for path in found["paths"] if path["simulated"]]
    assert simulated["name"] == samples.SIMULATED and STAMP in simulated["label"]
    assert simulated["simulation"]["source"] == samples.SOURCE
    assert simulated["simulation"]["latency"] == samples.SIMULATION["latency"]
    for turn in found["turns"]:
        assert (STAMP in turn["title"]) == (turn["path"] == samples.SIMULATED)
    assert any(STAMP in name for name in found["prices"])
    assert all(STAMP not in path["label"] for path in found["paths"] if not path["simulated"])


def test_a_path_with_one_simulated_conversation_is_a_simulated_path() -> None:
    header, conversations = samples.comparison(paths=MEASURED, repeats=1)
    at = next(i for i, one in enumerate(conversations) if one.path == samples.DIRECT)
    facts = {**conversations[at].facts, "simulated": samples.SIMULATION}
    conversations[at] = replace(conversations[at], facts=facts)
    summary = summarise(header, conversations, TABLE)
    drawn = report.content(header, conversations, summary)
    assert drawn["stamp"] == STAMP
    assert all(STAMP in turn["title"] for turn in drawn["turns"] if turn["path"] == samples.DIRECT)
    assert all(STAMP in one["title"] for one in drawn["broken"])


def test_what_was_measured_bears_no_stamp(tmp_path: Path) -> None:
    page = written(tmp_path, *compared(paths=MEASURED, repeats=1))
    assert "<title>Cascade comparison</title>" in page
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    assert STAMP not in markup and 'id="stamp"' not in markup and "stamped" not in markup


def test_every_turn_that_counts_is_a_dot(found: dict[str, Any]) -> None:
    whole, answering, *parts = found["panels"]
    assert [whole["kind"], answering["kind"]] == ["total"] * 2
    assert [part["kind"] for part in parts] == list(report.PART_NAMES)
    assert {number for row in whole["drawn"]["rows"] for *_, number, _ in row["dots"]} == {
        turn["id"] for turn in found["turns"] if turn["repeat"] and turn["wav_ms"] is not None
    }
    assert [row["label"] for row in whole["drawn"]["rows"]] == [
        path["label"] for path in found["paths"]
    ]


def test_an_utterance_is_one_row_with_each_path_in_it(found: dict[str, Any]) -> None:
    turns = found["turns"]
    assert sorted(number for row in found["rows"] for number in row["turns"]) == [
        *range(len(turns))
    ]
    names = [path["name"] for path in found["paths"]]
    for row in found["rows"]:
        mine = [turns[number] for number in row["turns"]]
        places = [names.index(turn["path"]) for turn in mine]
        assert places == sorted(set(places))
        for turn in mine:
            assert (turn["scenario"], turn["number"], turn["repeat"], turn["expected"]) == (
                *(row["scenario"], row["number"], row["repeat"], row["said"]),
            )
    repeats = [row["repeat"] == 0 for row in found["rows"]]
    assert repeats == sorted(repeats)


def test_what_asks_for_no_answer_has_an_outcome_and_no_latency(tmp_path: Path) -> None:
    header, conversations = samples.comparison(paths=MEASURED, repeats=1, faults=False)
    held = [samples.selective(one) for one in conversations]
    summary = summarise(header, held, TABLE)
    found = report.content(header, held, summary)
    sounds = [turn for turn in found["turns"] if turn["outcome"] == "ignore"]
    assert [turn["shown"] for turn in sounds[:3]] == ["answered it", "stopped for it", "ignored"]
    assert sounds[1]["times"] == {"silent after": 300, "back after": 1000}
    assert len(sounds) == 3 * len(held)
    dots = {number for row in found["panels"][0]["drawn"]["rows"] for *_, number, _ in row["dots"]}
    assert dots.isdisjoint(turn["id"] for turn in sounds)
    [table] = [one for one in found["measures"] if one["title"] == "Selectivity"]
    cells = {row["label"]: row["cells"][0] for row in table["rows"]}
    assert cells["Spurious replies"]["note"] == f"{len(held) // 2 - 1} of {3 * len(held) // 2 - 3}"
    page = written(tmp_path, header, held, summary)
    assert '<option value="stopped for it">' in page
    assert '<select data-facet="Asks for">' in page
    failures = sections(page)[[name for name, _ in report.SECTIONS].index("failures")]
    assert "Turns that failed" not in failures
    assert "silent after 300 ms, for 1000 ms" in failures


@pytest.mark.parametrize("missing", ["conversations", "summary", "header", "everything"])
def test_what_is_missing_is_left_out(tmp_path: Path, missing: str) -> None:
    header, conversations, summary = compared(repeats=1)
    whole = missing == "everything"
    args = (
        {} if missing == "header" or whole else header,
        [] if missing == "conversations" or whole else conversations,
        {} if missing == "summary" or whole else summary,
    )
    page = written(tmp_path, *args)
    assert len(sections(page)) == len(report.SECTIONS)
    assert len(content(page)["turns"]) == sum(len(one.turns) for one in args[1])


def test_a_comparison_in_which_all_failed_is_written(tmp_path: Path) -> None:
    header, conversations = samples.comparison(repeats=1)
    failed = [
        replace(
            one,
            status="failed",
            reason="wrong key",
            facts={},
            turns=tuple(
                Turn(Record(one.path, "", 1, 0, "failed", "wrong key"), turn.number)
                for turn in one.turns
            ),
        )
        for one in conversations
    ]
    summary = summarise(header, failed, TABLE)
    assert "there is nothing to draw" in written(tmp_path, header, failed, summary)
    found = report.content(header, failed, summary)
    assert len(found["broken"]) == len(failed)
    assert found["panels"] == [] and found["curves"] == []
    assert all(turn["reason"] == "wrong key" for turn in found["turns"])


def test_the_axis_of_a_turns_sound_begins_at_the_end_of_speech(
    found: dict[str, Any], comparison: Compared
) -> None:
    turns = [turn for one in comparison[1] for turn in one.turns]
    for drawn, turn in zip(found["turns"], turns, strict=True):
        record = turn.record
        begins_ns = record.wav_start_ns + turn.start_ns - record.marks["speech.end"]
        assert drawn["wav_start_ms"] == pytest.approx(begins_ns / 1e6, abs=0.001)
        assert dict(drawn["marks"])["speech.end"] == 0


def test_the_words_that_differ_are_marked() -> None:
    assert report.diff("Set a timer for five minutes.", "set the time for 5 minutes please") == [
        ["same", "set", "set"],
        ["changed", "a timer", "the time"],
        ["same", "for 5 minutes", "for 5 minutes"],
        ["extra", "", "please"],
    ]
    assert report.diff("Twenty-three, please.", "23 please") == []
    assert report.diff("", "anything") == report.diff("anything", "") == []


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("abcdef")))
def test_no_word_is_lost_between_what_is_the_same_and_what_differs(
    said: list[str], heard: list[str]
) -> None:
    found = report.diff(" ".join(said), " ".join(heard))
    if found:
        assert " ".join(filter(None, (part[1] for part in found))).split() == words(" ".join(said))
        assert " ".join(filter(None, (part[2] for part in found))).split() == words(" ".join(heard))
        assert all((kind == "same") == (a == b) for kind, a, b in found)
