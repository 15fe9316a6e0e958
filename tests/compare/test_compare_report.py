"""What a comparison's report says, and that it is stamped wherever it must be.

That its file is self-contained is tested with `measure.report`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import comparison_samples as samples
from support.report_page import HOSTILE, Elements, content, sounds

from pipeline.compare import cost, report
from pipeline.compare.record import Check, Conversation, MeasuredCall, Turn
from pipeline.compare.scoring import words
from pipeline.compare.summary import summarise
from pipeline.measure.record import Record
from pipeline.speech_to_speech.brief import STAMP

TABLE = cost.prices()
MEASURED = (samples.CASCADE, samples.DIRECT)
Compared = tuple[dict[str, Any], list[Conversation], dict[str, Any]]


def compared(folder: Path | None = None, **options: Any) -> Compared:
    header, conversations = samples.comparison(folder, **options)
    return header, conversations, summarise(header, conversations, TABLE)


def written(folder: Path, *args: Any, **options: Any) -> str:
    return report.write(folder, *args, **options).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Compared:
    return compared(folder, repeats=2)


@pytest.fixture(scope="module")
def page(folder: Path, comparison: Compared) -> str:
    return written(folder, *comparison)


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


def test_the_verdict_can_be_read_without_the_script(page: str, comparison: Compared) -> None:
    text = Elements(sections(page)[0]).text
    assert comparison[2]["verdict"]
    for sentence in comparison[2]["verdict"]:
        assert sentence in text


def test_the_tables_say_what_the_summary_says(found: dict[str, Any], comparison: Compared) -> None:
    _, _, summary = comparison
    each = list(summary["variants"].values())
    groups = {group["title"]: group["rows"] for group in found["measures"]}
    assert all(len(row["cells"]) == len(found["paths"]) for rows in groups.values() for row in rows)
    [median] = [row for row in groups["Latency"] if row["label"] == "Median"]
    for cell, variant in zip(median["cells"], each, strict=True):
        latency = variant["voice_to_voice_ms"]
        assert (cell["value"], cell["ci"]) == (latency["median"], list(latency["ci95"]))
        against = variant.get("against_first", {}).get("voice_to_voice_ms")
        assert (cell["difference"] is None) == (against is None)
        if against:
            assert cell["difference"]["value"] == against["median"]
            assert cell["difference"]["verdict"].startswith(against["verdict"])
    [wer] = [row for row in groups["Understanding and doing"] if row["label"] == "Word error rate"]
    assert [cell["value"] for cell in wer["cells"]] == [one["wer"]["rate"] for one in each]
    [failed] = [row for row in groups["Failures"] if row["label"] == "Turns that failed"]
    assert [cell["value"] for cell in failed["cells"]] == [one["failed"] for one in each]
    [minute] = [row for row in groups["Cost"] if row["label"] == "Per minute of conversation"]
    assert [cell["value"] for cell in minute["cells"]] == [
        one["cost"]["per_minute_usd"] for one in each
    ]


def test_the_servers_figures_come_with_their_definitions(
    found: dict[str, Any], comparison: Compared
) -> None:
    header, _, summary = comparison
    [rows] = [g["rows"] for g in found["measures"] if g["title"] == "The server's own figures"]
    told = {name for one in summary["variants"].values() for name in one["server_ms"]}
    notes = {row["label"].lower().replace(" ", "_"): row["note"] for row in rows}
    assert told
    for name in told:
        assert notes[name] == header["figures"][name]
    assert {"round_trip", "connecting"} <= notes.keys()


def test_where_no_difference_is_shown_the_table_says_so(found: dict[str, Any]) -> None:
    differences = [
        cell["difference"]
        for group in found["measures"]
        for row in group["rows"]
        for cell in row["cells"]
        if cell and cell["difference"]
    ]
    unclear = [one for one in differences if not one["clear"]]
    assert unclear and all(one["verdict"] == "no difference shown" for one in unclear)
    assert any(one["clear"] for one in differences)


def test_the_curves_are_the_summarys(found: dict[str, Any], comparison: Compared) -> None:
    tools = [one["tools"] for one in comparison[2]["variants"].values()]
    curves = {one["title"]: one for one in found["curves"]}
    for title, name in (
        ("Tools by turn", "by_turn"),
        ("Tools by length of the instructions", "by_length"),
    ):
        for series in curves[title]["series"]:
            wanted = [(p["share"], list(p["ci95"]), p["n"]) for p in tools[series["path"]][name]]
            assert [(p["share"], p["ci"], p["n"]) for p in series["points"]] == wanted
    assert [label for _, label in curves["Tools by turn"]["ticks"]] == [
        str(turn) for turn in range(1, samples.TOOL_TURNS + 1)
    ]
    assert {"Instructions by turn", "Recall by turn"} <= curves.keys()


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


def test_everything_that_failed_is_there_with_its_reason(
    found: dict[str, Any], comparison: Compared
) -> None:
    wanted = {(one.scenario, one.reason) for one in comparison[1] if one.status == "failed"}
    broken = {(one["scenario"], one["reason"]) for one in found["broken"] if one["reason"]}
    assert wanted and broken == wanted
    reasons = {turn["reason"] for turn in found["turns"] if turn["status"] != "ok"}
    assert {samples.QUOTA, samples.CLOSED, "nothing was understood"} <= reasons


def hostile(text: str) -> Conversation:
    record = Record(text, text, 1, 0, "failed", text, transcript=text, expected=text, reply=text)
    turn = Turn(
        record,
        1,
        server_ms={text: 1.0},
        calls=(MeasuredCall(text, text, 1),),
        checks=(Check(text, text, None, text, text),),
        kept=text,
    )
    facts = {"model": text, "host": text, "connect_ms": 1.0, "simulated": {text: text}}
    return Conversation(text, text, 1, 0, "failed", text, facts, topic=text, turns=(turn,))


@given(st.text(min_size=1))
@example(HOSTILE)
@example("\ud800 half a pair")
def test_no_text_leaves_its_place(text: str) -> None:
    def made(told: str) -> Elements:
        header = {
            "variants": {told: {"kind": told}},
            "scenarios": {told: {"name": told}},
            "figures": {told: told},
            "judge": {"model": told, "prompt": told},
        }
        shown = report.content(header, [hostile(told)], {"verdict": [told], "warnings": [told]})
        return Elements(report.page(shown, {}))

    found = made(text)
    assert text in found.text
    assert [tag for tag, _ in found.found] == [tag for tag, _ in made("plain").found]


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


def test_a_path_that_tells_nothing_of_itself_has_empty_cells() -> None:
    found = report.content(*compared(paths=("wss://example.org", *MEASURED), repeats=1))
    [server] = [g for g in found["measures"] if g["title"] == "The server's own figures"]
    rows = {row["label"]: row["cells"] for row in server["rows"]}
    assert rows["First audio"][0] is None and rows["First audio"][2] is not None


def test_what_went_wrong_is_heard_first_and_the_warm_up_last(
    folder: Path, comparison: Compared, page: str, found: dict[str, Any]
) -> None:
    most = sum(map(len, sounds(page).values())) // 3
    inside = set(sounds(written(folder, *comparison, sound_bytes=most)))
    turns = found["turns"]
    assert {turn["id"] for turn in turns if turn["status"] != "ok"} <= inside
    assert not {turn["id"] for turn in turns if turn["repeat"] == 0} & inside


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


def test_every_mapping_of_the_header_may_be_of_any_kind(tmp_path: Path) -> None:
    odd: Mapping[str, Any] = {"variants": None, "scenarios": [], "figures": None, "noise": None}
    assert content(written(tmp_path, odd, samples.comparison(repeats=1)[1], {}))["turns"]
