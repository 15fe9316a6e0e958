"""The comparison's report: self-contained, and stamped wherever it must be."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import comparison_samples as samples
from support.report_page import NAMESPACE, Elements, content, sounds

from pipeline.compare import cost, report
from pipeline.compare.record import Check, Conversation, MeasuredCall, Turn
from pipeline.compare.report import data
from pipeline.compare.scoring import words
from pipeline.compare.summary import summarise
from pipeline.errors import StageError
from pipeline.measure.html import page as pages
from pipeline.measure.html import sound
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
def found(page: str) -> dict[str, Any]:
    return content(page)


def test_it_names_nothing_outside_itself(page: str) -> None:
    assert set(re.findall(r"(?:https?:|ftp:|wss?:|//)[\w./-]+\.\w+[\w./-]*", page)) <= {NAMESPACE}
    for _, attributes in Elements(page).found:
        assert not {"src", "srcset", "action", "data"} & attributes.keys()
        assert (attributes.get("href") or "data:,") == "data:,"
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_its_policy_allows_its_own_script_and_style_and_no_request(page: str) -> None:
    [policy] = [
        attributes["content"] or ""
        for tag, attributes in Elements(page).found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none';")
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def sections(page: str) -> list[str]:
    return re.findall(r"<section .*?</section>", page, re.S)


def test_a_simulation_is_stamped_before_any_script_has_run(page: str) -> None:
    assert re.search(rf"<title>{STAMP}\b", page)
    [banner] = re.findall(r'<div id="stamp".*?</div>', page)
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
    assert content(page)["stamp"] == ""
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    assert STAMP not in markup and 'id="stamp"' not in markup and "stamped" not in markup


def test_the_verdict_can_be_read_without_the_script(page: str, comparison: Compared) -> None:
    text = re.sub(r"<[^>]*>", "", sections(page)[0]).replace("&#x27;", "'").replace("&quot;", '"')
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


HOSTILE = "</script><b>bold</b><script>alert(1)</script><!-- {{script}} & \u2028 \0 \\u003c"


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
    def made(told: str) -> str:
        header = {
            "variants": {told: {"kind": told}},
            "scenarios": {told: {"name": told}},
            "figures": {told: told},
            "judge": {"model": told, "prompt": told},
        }
        drawn = report.content(header, [hostile(told)], {"verdict": [told], "warnings": [told]})
        return pages.text(report.KIT, report.made(drawn, {}))

    found = content(made(text))
    [turn] = found["turns"]
    assert (turn["transcript"], turn["reply"], turn["kept"]) == (text, text, text)
    assert found["header"]["judge"]["prompt"] == text
    assert [tag for tag, _ in Elements(made(text)).found] == [
        tag for tag, _ in Elements(made("plain")).found
    ]


def test_a_hostile_comparison_is_written_whole(tmp_path: Path) -> None:
    page = written(tmp_path, {"judge": HOSTILE}, [hostile(HOSTILE)], {"verdict": [HOSTILE]})
    assert content(page)["turns"][0]["transcript"] == HOSTILE
    assert "<b>bold</b>" not in page


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
    found = content(written(tmp_path, header, failed, summarise(header, failed, TABLE)))
    assert len(found["broken"]) == len(failed)
    assert found["strips"] == [] and found["curves"] == []
    assert all(turn["reason"] == "wrong key" for turn in found["turns"])


def test_a_path_that_tells_nothing_of_itself_has_empty_cells(tmp_path: Path) -> None:
    found = content(written(tmp_path, *compared(paths=("wss://example.org", *MEASURED), repeats=1)))
    [server] = [g for g in found["measures"] if g["title"] == "The server's own figures"]
    rows = {row["label"]: row["cells"] for row in server["rows"]}
    assert rows["First audio"][0] is None and rows["First audio"][2] is not None


def test_no_more_sound_is_inside_than_may_be_and_the_rest_is_linked(
    folder: Path, comparison: Compared, page: str
) -> None:
    whole = sounds(page)
    most = sum(map(len, whole.values())) // 3
    small = written(folder, *comparison, sound_bytes=most)
    inside = sounds(small)
    assert 0 < sum(map(len, inside.values())) <= most
    turns = content(small)["turns"]
    assert {turn["id"] for turn in turns if turn["sound"] == "inside"} == set(inside)
    linked = [turn for turn in turns if turn["sound"] == "linked"]
    assert linked and all((folder / turn["wav"]).is_file() for turn in linked)
    for turn in linked:
        start, end = map(float, turn["window"].removeprefix("#t=").split(","))
        assert start == pytest.approx(turn["offset_s"], abs=0.001) and end > start
    # What went wrong is what people want to hear; the warm-up is what they want least.
    assert {turn["id"] for turn in turns if turn["status"] != "ok"} <= set(inside)
    assert not {turn["id"] for turn in turns if turn["repeat"] == 0} & set(inside)


def decoded(source: Any) -> np.ndarray[Any, Any]:
    with av.open(source) as container:
        frames = [frame.to_ndarray().reshape(-1, 2) for frame in container.decode(audio=0)]
    return np.concatenate(frames)


def test_a_turns_sound_is_its_window_of_the_wav_to_the_sample(
    folder: Path, comparison: Compared, page: str
) -> None:
    conversation = next(one for one in comparison[1] if one.scenario == "names" and one.repeat)
    whole = decoded(folder / conversation.wav)
    ids = [
        turn["id"]
        for turn in content(page)["turns"]
        if (turn["scenario"], turn["path"], turn["repeat"])
        == ("names", conversation.path, conversation.repeat)
    ]
    assert len(ids) == len(conversation.turns) > 1
    for number, turn in zip(ids, conversation.turns, strict=True):
        first, last = (ns * sound.RATE // 10**9 for ns in (turn.start_ns, turn.end_ns))
        embedded = decoded(io.BytesIO(base64.b64decode(sounds(page)[number])))
        assert np.array_equal(embedded, whole[first:last])


def test_the_axis_of_a_turns_sound_begins_at_the_end_of_speech(
    found: dict[str, Any], comparison: Compared
) -> None:
    turns = [turn for one in comparison[1] for turn in one.turns]
    for drawn, turn in zip(found["turns"], turns, strict=True):
        record = turn.record
        begins_ns = record.wav_start_ns + turn.start_ns - record.marks["speech.end"]
        assert drawn["wav_start_ms"] == pytest.approx(begins_ns / 1e6, abs=0.001)
        assert dict(drawn["marks"])["speech.end"] == 0


@pytest.mark.parametrize("wav", ["", "wav/none.wav", "../beside.wav", "a\0b.wav", "wav", "broken"])
def test_a_recording_that_is_not_there_or_not_the_runs_is_left_out(
    tmp_path: Path, wav: str
) -> None:
    inside = tmp_path / "inside"
    header, [one, *_], _ = compared(inside, paths=MEASURED, repeats=1)
    (inside / one.wav).rename(tmp_path / "beside.wav")
    (inside / "broken").write_bytes(b"RIFF no sound at all")
    page = written(inside, header, [replace(one, wav=wav)], {})
    assert all((turn["sound"], turn["wav"]) == ("none", "") for turn in content(page)["turns"])
    assert not sounds(page)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"report\.html: the report cannot be written"):
        report.write(tmp_path / "none", {}, [], {})


def test_the_words_that_differ_are_marked() -> None:
    assert data.diff("Set a timer for five minutes.", "set the time for 5 minutes please") == [
        ["same", "set", "set"],
        ["changed", "a timer", "the time"],
        ["same", "for 5 minutes", "for 5 minutes"],
        ["extra", "", "please"],
    ]
    assert data.diff("Twenty-three, please.", "23 please") == []
    assert data.diff("", "anything") == data.diff("anything", "") == []


@given(st.lists(st.sampled_from("abcdef")), st.lists(st.sampled_from("abcdef")))
def test_no_word_is_lost_between_what_is_the_same_and_what_differs(
    said: list[str], heard: list[str]
) -> None:
    found = data.diff(" ".join(said), " ".join(heard))
    if found:
        assert " ".join(filter(None, (part[1] for part in found))).split() == words(" ".join(said))
        assert " ".join(filter(None, (part[2] for part in found))).split() == words(" ".join(heard))
        assert all((kind == "same") == (a == b) for kind, a, b in found)


def test_every_mapping_of_the_header_may_be_of_any_kind(tmp_path: Path) -> None:
    odd: Mapping[str, Any] = {"variants": None, "scenarios": [], "figures": None, "noise": None}
    assert content(written(tmp_path, odd, samples.comparison(repeats=1)[1], {}))["rows"]
