"""A comparison's figures: each of the right turns, and no simulated one without its stamp."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import comparison_samples as made

from pipeline.compare import summary
from pipeline.compare.cost import prices
from pipeline.compare.record import Conversation, simulations, titled
from pipeline.compare.scoring import tool_ok, turn_ok
from pipeline.compare.summary import COLUMNS, summarise
from pipeline.measure import summary as profile
from pipeline.measure.record import Check, Turn
from pipeline.measure.run import as_csv, as_json
from pipeline.trace import DIRECT_PARTS, PARTS

STAMPED = f"{made.SIMULATED} [SIMULATED]"
TABLE = prices()


@cache
def compared(*systems: str) -> tuple[Any, list[Conversation]]:
    """A summary, which no test changes, and what it is of."""
    header, conversations = made.comparison(paths=systems or made.PATHS)
    return summarise(header, conversations, TABLE), conversations


def of(conversations: list[Conversation], path: str) -> list[Conversation]:
    return [one for one in conversations if one.path == path and one.repeat > 0]


def test_the_format_is_a_profiles_with_paths_as_variants() -> None:
    found, conversations = compared()
    assert [*found["variants"]] == [made.CASCADE, made.DIRECT, STAMPED]
    turns = [turn for one in of(conversations, made.CASCADE) for turn in one.turns]
    cascade = found["variants"][made.CASCADE]
    assert cascade["n"] + cascade["failed"] == len(turns) == sum(cascade["statuses"].values())
    latencies = [
        (turn.record.wav_voice_to_voice_ns or 0) / 1e6
        for turn in turns
        if turn.record.status == "ok"
    ]
    whole = cascade["voice_to_voice_ms"]
    assert whole["median"] == pytest.approx(statistics.median(latencies), abs=0.001)
    assert whole["ci95"][0] < whole["median"] < whole["ci95"][1]
    assert {*whole} >= {"median", "p90", "p95", "ci95"}
    assert (*cascade["parts_ms"],) == PARTS
    assert (*found["variants"][made.DIRECT]["parts_ms"],) == DIRECT_PARTS
    assert found["machine"]["cores"] == 2
    assert json.loads(json.dumps(found)) == found


def test_the_warm_up_counts_nowhere_else() -> None:
    header, conversations = made.comparison(repeats=1)
    assert sum(one.repeat == 0 for one in conversations) == 3
    counts = []
    for held in (conversations, [one for one in conversations if one.repeat]):
        found: Any = summarise(header, held, TABLE)
        counts.append([one.pop("warm_up")["n"] for one in found["variants"].values()] + [found])
    assert [one[:-1] for one in counts] == [[1, 1, 1], [0, 0, 0]]
    assert counts[0][-1] == counts[1][-1]


def test_the_difference_is_paired() -> None:
    def slower(turn: Turn) -> Turn:
        late = (turn.record.wav_voice_to_voice_ns or 0) + 40 * made.MS
        return replace(turn, record=replace(turn.record, wav_voice_to_voice_ns=late))

    header, conversations = made.comparison(paths=(made.CASCADE, made.DIRECT), faults=False)
    mine = of(conversations, made.CASCADE)
    other = [
        replace(one, path=made.DIRECT, facts={}, turns=tuple(map(slower, one.turns)))
        for one in mine
    ]
    found: Any = summarise(header, [*mine, *other], TABLE)
    against = found["variants"][made.DIRECT]["against_first"]
    assert against["variant"] == made.CASCADE
    assert against["n"] == found["variants"][made.CASCADE]["n"]
    assert against["voice_to_voice_ms"]["median"] == pytest.approx(40)
    assert against["voice_to_voice_ms"]["verdict"] == "slower"
    assert against["success"]["difference"] == 0
    assert against["success"]["verdict"] == "no difference shown"
    assert "simulated" not in against


def test_parts_that_mean_different_things_are_not_compared() -> None:
    found, _ = compared()
    assert {*found["variants"][made.DIRECT]["against_first"]["parts_ms"]} == {"endpoint", "device"}


def test_tools_by_turn_and_length() -> None:
    found, conversations = compared(made.DIRECT)
    tools = found["variants"][made.DIRECT]["tools"]
    turns = [(one, turn) for one in of(conversations, made.DIRECT) for turn in one.turns]
    judged = [(one, turn, ok) for one, turn in turns if (ok := tool_ok(turn)) is not None]
    for point in tools["by_turn"]:
        mine = [ok for _, turn, ok in judged if turn.number == point["turn"]]
        assert (point["n"], point["met"]) == (len(mine), sum(mine))
        assert point["ci95"][0] <= point["share"] <= point["ci95"][1]
    assert [point["turn"] for point in tools["by_turn"]] == [*range(1, made.TOOL_TURNS + 1)]
    assert [point["length"] for point in tools["by_length"]] == ["short", "16k", "64k"]
    assert [point["instruction_chars"] for point in tools["by_length"]] == [300, 16_000, 64_000]
    assert tools["overall"]["n"] == len(judged) == sum(p["n"] for p in tools["by_turn"])
    by_both = tools["by_length_and_turn"]
    assert len(by_both) == 3 * made.TOOL_TURNS
    assert sum(p["n"] for p in by_both) == sum(p["n"] for p in tools["by_length"])


def test_what_asks_for_no_answer_changes_no_other_figure() -> None:
    header, conversations = made.comparison()
    old: Any = summarise(header, conversations, TABLE)
    new: Any = summarise(header, [made.selective(one) for one in conversations], TABLE)
    for name, before in old["variants"].items():
        after = new["variants"][name]
        selective, told = after.pop("selectivity"), before.pop("selectivity")
        assert told["spurious"]["n"] == told["false_barge_in"]["n"] == 0
        held = sum(
            one.repeat > 0 and one.status == "ok" and titled(one.path, one.simulated) == name
            for one in conversations
        )
        assert (selective["spurious"]["met"], selective["spurious"]["n"]) == (held, 3 * held)
        assert selective["false_stop"] == selective["false_barge_in"]
        assert (selective["came_back"]["met"], selective["false_stop"]["n"]) == (held, held)
        assert selective["back_ms"]["median"] == 1000
        for rate in ("cut_in", "missed", "stops"):
            assert selective[rate] == told[rate]
        after["cost"], before["cost"] = {}, {}  # by the turn
        kinds = [one["checks"].pop("turn-taking", None) for one in (before, after)]
        assert kinds[0] is None
        assert (kinds[1]["met"], kinds[1]["n"]) == (held, 3 * held)
        before.pop("expectations"), after.pop("expectations")
        if "against_first" in after:
            plain, apart = (one["against_first"].pop("selectivity") for one in (before, after))
            assert apart["spurious"]["verdict"] == "no difference shown"
            assert {rate: apart[rate] for rate in plain} == plain
            assert "spurious" not in plain
            before["against_first"].pop("success"), after["against_first"].pop("success")
        assert after == before
    assert new["sound"] == old["sound"]


def test_words_that_were_misheard() -> None:
    found, conversations = compared()
    direct = found["variants"][made.DIRECT]
    words = direct["wer"]
    turns = [turn for one in of(conversations, made.DIRECT) for turn in one.turns]
    heard = [turn for turn in turns if turn.word_errors is not None]
    assert words["errors"] == sum(turn.word_errors or 0 for turn in heard)
    assert words["words"] == sum(turn.words for turn in heard)
    assert words["ci95"][0] <= words["rate"] <= words["ci95"][1]


def test_entities_of_what_was_said_are_paired() -> None:
    found, conversations = compared(made.CASCADE, made.DIRECT)
    shares = {}
    for path in (made.CASCADE, made.DIRECT):
        turns = [turn for one in of(conversations, path) for turn in one.turns]
        checks = [check for turn in turns for check in turn.entities]
        decided = [check for check in checks if check.met is not None]
        entities = found["variants"][path]["entities"]
        assert entities["overall"]["n"] == len(decided) > 50
        assert entities["overall"]["met"] == sum(check.met is True for check in decided)
        assert entities["overall"]["undecided"] == len(checks) - len(decided)
        assert {*entities["by_kind"]} == {"number"}
        shares[path] = entities["overall"]["share"]
    apart = found["variants"][made.DIRECT]["against_first"]["entities"]
    assert apart["second"] == pytest.approx(shares[made.DIRECT], abs=0.1)
    assert apart["groups"] < apart["n"]


def test_words_that_are_not_in_the_sound_are_paired() -> None:
    found, conversations = compared(made.CASCADE, made.DIRECT)
    cascade = found["variants"][made.CASCADE]["spoken_words"]
    turns = [turn for one in of(conversations, made.CASCADE) for turn in one.turns]
    read = [turn.fidelity for turn in turns if turn.fidelity is not None]
    assert cascade["errors"] == sum(one.errors or 0 for one in read) == 3  # at each length
    assert cascade["words"] == sum(one.words for one in read)
    assert cascade["entities"]["n"] - cascade["entities"]["met"] == 3
    direct = found["variants"][made.DIRECT]
    assert direct["spoken_words"]["rate"] == 0.0
    apart = direct["against_first"]["spoken_words"]
    assert apart["first"] > apart["second"] == 0.0
    assert apart["verdict"] == "no difference shown"
    assert found["fidelity"]["floor"]["rate"] == 0.021
    mute = compared(made.CASCADE, "ws://host:1/v1")[0]["variants"]["ws://host:1/v1"]
    assert mute["spoken_words"]["rate"] is None
    assert mute["spoken_words"]["unknown"] == mute["n"]
    assert mute["entities"]["overall"]["share"] is None


def test_who_never_answers_has_not_misheard_more() -> None:
    def silent(turn: Turn) -> Turn:
        record = replace(turn.record, status="no reply", transcript="")
        entities = tuple(replace(check, met=False) for check in turn.entities)
        return replace(turn, record=record, word_errors=turn.words, entities=entities)

    header, held = made.comparison(paths=(made.CASCADE, made.DIRECT))
    mute = [replace(one, turns=tuple(map(silent, one.turns))) for one in of(held, made.DIRECT)]
    found: Any = summarise(header, [*of(held, made.CASCADE), *mute], TABLE)
    one = found["variants"][made.DIRECT]
    assert (one["wer"]["rate"], one["entities"]["overall"]["share"]) == (None, None)
    assert one["against_first"]["wer"] is one["against_first"]["entities"] is None


def test_an_answer_after_a_filler_is_later_than_the_first_sound() -> None:
    found, conversations = compared()
    direct = found["variants"][made.DIRECT]
    fillers = [t for one in of(conversations, made.DIRECT) for t in one.turns if t.calls]
    assert direct["answering"]["fillers"] == sum(
        t.number == 1 and t.record.file.startswith("archive") for t in fillers
    )
    assert direct["answering"]["ms"]["mean"] > direct["voice_to_voice_ms"]["mean"] + 10


def test_a_path_that_tells_nothing_of_itself() -> None:
    found, _ = compared(made.CASCADE, "ws://host:1/v1")
    mute = found["variants"]["ws://host:1/v1"]
    assert mute["wer"]["rate"] is None
    assert mute["wer"]["without_transcript"] == mute["n"]
    assert mute["cost"]["usd"] is None
    assert mute["cost"]["note"]
    assert mute["rtt_ms"] is None
    assert mute["server_ms"] == {}
    assert mute["n"] > 0


def test_a_path_without_transcripts_has_misheard_nothing() -> None:
    """Even where it left a turn unanswered, of which every word counts as lost."""
    header, conversations = made.comparison(paths=(made.CASCADE,))
    silent = [
        replace(
            one,
            turns=tuple(
                replace(turn, word_errors=None) if turn.record.status == "ok" else turn
                for turn in one.turns
            ),
        )
        for one in conversations
    ]
    lost = [t for one in silent for t in one.turns if t.word_errors is not None]
    assert len(lost) == 1
    found: Any = summarise(header, silent, TABLE)
    words = found["variants"][made.CASCADE]["wer"]
    assert (words["rate"], words["turns"], words["ci95"]) == (None, 0, None)


def test_a_path_that_was_never_held() -> None:
    header, conversations = made.comparison(paths=(made.CASCADE, made.SIMULATED))
    mine = of(conversations, made.CASCADE)
    found: Any = summarise(header, mine, TABLE)
    assert found["simulated"] is True
    lost = found["variants"][STAMPED]
    assert (lost["n"], lost["simulated"], lost["voice_to_voice_ms"]) == (0, True, None)
    assert lost["against_first"]["simulated"] is True
    assert lost["against_first"]["voice_to_voice_ms"] is None
    empty = summarise({}, [], TABLE)
    assert empty["variants"] == {}
    assert len(empty["verdict"]) == 3


def test_turns_csv() -> None:
    found, conversations = compared()
    assert json.loads(as_json(found)) == found
    text = as_csv(COLUMNS, summary.rows(found, conversations, TABLE))
    rows = [*csv.DictReader(io.StringIO(text))]
    assert (*rows[0],) == COLUMNS
    assert COLUMNS[: len(profile.COLUMNS) - 4][:6] == profile.COLUMNS[:6]
    assert len(rows) == sum(len(one.turns) for one in conversations)
    turns = [turn for one in conversations for turn in one.turns]
    for row, turn in zip(rows, turns, strict=True):
        assert int(row["turn"]) == turn.number
        parts = [row[f"{name}_ms"] for name in dict.fromkeys((*PARTS, *DIRECT_PARTS))]
        if row["voice_to_voice_ms"]:
            total = sum(float(part) for part in parts if part)
            assert total == pytest.approx(float(row["voice_to_voice_ms"]), abs=0.01)
        assert (row["answering_ms"] == "") == (turn.record.status != "ok")
        assert (row["tool_ok"] == "") == (tool_ok(turn) is None)
        assert (row["checks"] == "") == (turn_ok(turn) is None)
    assert {bool(row["cost_usd"]) for row in rows if row["variant"] == made.CASCADE} == {False}
    assert any(float(row["cost_usd"]) > 0 for row in rows if row["cost_usd"])
    assert {row["model_ms"] for row in rows if row["variant"] == made.CASCADE} == {""}
    for row in rows:
        mine = row["variant"].startswith(made.SIMULATED)
        assert (row["simulated"] == "SIMULATED") == mine == ("[SIMULATED]" in row["variant"])


@settings(max_examples=15)
@given(
    st.permutations([*made.PATHS, "ws://host:1/v1"]).flatmap(
        lambda paths: st.integers(1, 4).map(lambda n: tuple(paths[:n]))
    ),
    st.sets(st.integers(0, 200)),
    st.booleans(),
)
def test_what_has_a_simulated_part_is_stamped_and_nothing_else(
    paths: tuple[str, ...], lost: set[int], faults: bool
) -> None:
    header, conversations = made.comparison(paths=paths, repeats=1, faults=faults)
    left = [one for one in conversations if one.order not in lost]
    found: Any = summarise(header, left, TABLE)
    stamped = made.SIMULATED in paths
    assert found["simulated"] is stamped
    for name, variant in found["variants"].items():
        mine = variant["path"] == made.SIMULATED
        assert (variant.get("simulated") is True) == mine == ("SIMULATED" in name)
        if mine and any(one.path == made.SIMULATED for one in left):
            assert variant["simulation"] == made.SIMULATION
        if "against_first" in variant:
            against = variant["against_first"]
            either = mine or "SIMULATED" in against["variant"]
            assert (against.get("simulated") is True) == either
    for sentence in found["verdict"]:
        assert sentence.endswith(".")
        assert not re.search(r"[.!?]\s|None|nan", sentence)
        assert ("SIMULATED" in sentence) == stamped
    assert ("SIMULATED" in json.dumps(found)) == stamped
    every = " ".join(found["verdict"])
    assert found["verdict"][0].startswith("SIMULATED: ") == stamped
    assert every.count(made.SIMULATED) == every.count(STAMPED)


def test_a_path_is_simulated_if_its_server_says_so() -> None:
    plain = Conversation(
        "ws://x", "one", 1, 0, "ok", facts={"model": "m", "simulated": {"seed": 1}}
    )
    assert simulations({}, [plain]) == {"ws://x": {"seed": "1"}}
    assert simulations({}, [replace(plain, facts={"simulated": None})]) == {}
    assert titled("ws://x", True) == "ws://x [SIMULATED]"
    assert titled("ws://x", False) == "ws://x"


@pytest.mark.parametrize(
    ("met", "right"),
    [
        ([], None),
        ([None], None),
        ([True, None], True),
        ([True, False], False),
        ([None, False], False),
    ],
)
def test_a_turn_is_right_if_all_that_is_decided_is(
    met: list[bool | None], right: bool | None
) -> None:
    checks = tuple(Check("contains", "a", one, topic="answer") for one in met)
    turn = replace(compared()[1][0].turns[0], checks=checks)
    assert turn_ok(turn) is right
    assert tool_ok(turn) is None
